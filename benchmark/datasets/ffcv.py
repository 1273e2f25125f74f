"""Writes and checks FFCV's files: images in one `.beton`, for data that memory does not hold.

    python -m benchmark.datasets.ffcv write cifar10                                # DATA/ffcv/cifar10-train.beton, -test.beton
    python -m benchmark.datasets.ffcv write food101 --images food-101 --side 256 --to-rgb --quality 90   # also imagenet

A file is verified by what stands beside it (`benchmark.datasets.beton`) before anybody reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import cli, datasheets
from benchmark.datasets import named
from benchmark.errors import UsageError

if TYPE_CHECKING:
    from benchmark.datasets.ffcv_writer import Folder, Held


def arguments() -> cli.Parser:
    parser = cli.Parser(prog="python -m benchmark.datasets.ffcv", description=__doc__)
    parser.add_argument("verb", choices=["write"], help="write: a .beton for each split, where it is not there yet")
    parser.add_argument("dataset", choices=datasheets.names(), help="which one")
    cli.add_data(parser)
    of_folders = parser.add_argument_group("of image folders")
    of_folders.add_argument("--images", metavar="DIR", help="the folder that holds them")
    of_folders.add_argument(
        "--side", type=cli.positive, metavar="N", help="the middle square, scaled to N; default: as is"
    )
    of_folders.add_argument(
        "--quality", type=cli.positive, metavar="Q", help="as JPEG of this quality; default: raw pixels"
    )
    of_folders.add_argument("--to-rgb", action="store_true", help="convert images that are not RGB, refused otherwise")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments().parse(argv)
    from benchmark.datasets import beton, ffcv_writer, folders

    from_folder = options.dataset in folders.FOLDERS
    if from_folder != (options.images is not None):
        raise UsageError(f"{options.dataset} {'needs' if from_folder else 'takes no'} --images DIR")
    if not from_folder and (options.side or options.quality or options.to_rgb):
        raise UsageError(
            f"--side, --quality and --to-rgb are for {', '.join(folders.FOLDERS)}: {options.dataset} is written as is"
        )
    if options.quality and options.quality > 100:
        raise UsageError(f"--quality {options.quality}: give 1 to 100")
    beton.library()
    root = Path(options.data) if options.data else named.default_root()
    encoding = f"jpg {options.quality}" if options.quality else "raw"
    for split, source in _sources(options).items():
        path = beton.beton_path(root, options.dataset, split)
        if path.exists() and _stands(path, encoding, options.side):
            cli.answer(f"{path}: there already, verified")
            continue
        if isinstance(source, ffcv_writer.Folder):
            source.scan(f"looking at {options.dataset} {split}")
        ffcv_writer.write(path, source, options.dataset, split, encoding, options.side)
        cli.answer(f"{path}: {len(source):,} images, {path.stat().st_size:,} bytes, {encoding}")
    return 0


def _sources(options: Any) -> dict[str, Held | Folder]:
    from benchmark.datasets import folders
    from benchmark.datasets.ffcv_writer import Folder, Held

    if options.dataset in folders.FOLDERS:
        root = Path(options.images)
        found = folders.FOLDERS[options.dataset](root)
        digest = folders.checksum(root, found)
        return {
            split: Folder(folders.shuffled(paths), names, options.side, options.to_rgb, digest)
            for split, (paths, names) in found.items()
        }
    held = named.load(options.dataset, options.data)
    return {"train": Held(held.train, held.checksum), "test": Held(held.test, held.checksum)}


def _stands(path: Path, encoding: str, side: int | None) -> bool:
    """Whether a file is whole. One that is damaged is written anew, one of another encoding stays and is an error."""
    from benchmark.datasets.beton import Statement

    try:
        stated = Statement.of(path)
        stated.verify(path)
    except UsageError as error:
        cli.say(f"{error.args[0].rpartition(': ')[0]}: writing it anew")
        return False
    if (stated.encoding, stated.side) != (encoding, side):
        kept = f"{stated.encoding}, side {stated.side or 'as is'}"
        raise UsageError(f"{path} is there as {kept}: remove it first, or use another --data")
    return True


if __name__ == "__main__":
    cli.command(main)
