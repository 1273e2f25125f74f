"""Measures how fast each loader hands out augmented, normalised batches. From the root of a checkout:

    python -m speed.loaders              # a few minutes on two cores; a quiet machine, please
    python -m speed.loaders --quick      # to see it work; its numbers are not to be quoted

On CIFAR-10 (random images where it is not found) and on generated JPEGs of 288x256, in one run: images that are
resident, a torchvision DataLoader (PIL, one image at a time, one worker per core), torchvision on whole batches, and
FFCV. Every one of them uses all cores; crop, flip and normalisation are the same code behind each.

The sides take turns, each in a fresh process, and medians over rounds are compared. Quote ratios, not seconds.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tempfile
import traceback
import warnings
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from benchmark import cli, provenance
from benchmark.datasets import beton, crops, ffcv_loader, ffcv_writer, loaders, named, sets
from benchmark.datasets.batches import served
from benchmark.datasets.known import cifar10
from benchmark.errors import Failure, UsageError
from benchmark.files import write_atomically
from benchmark.training import pace
from speed.measure import hardware
from speed.sides import CPU, RECIPE, Window, images, reason

HEIGHT, WIDTH, QUALITY = 256, 288, 90
PICTURES = 1024
BATCH = {"cifar10": RECIPE.batch_size, "jpeg": 64}
SIDES = {
    "cifar10": ("resident", "torchvision", "torchvision batches", "ffcv raw"),
    "jpeg": ("resident", "torchvision", "torchvision batches", "ffcv jpg", "ffcv raw"),
}
REPEATS = 2**22  # images that an endless epoch has, about: to start one anew costs more than a batch


def pictures(count: int) -> tuple[list[bytes], Tensor]:
    """JPEGs that are smooth with some grain, as photographs are, and labels; a function of their number."""
    from PIL import Image

    draw = np.random.default_rng(0)
    encoded = []
    for _ in range(count):
        coarse = Image.fromarray(draw.integers(0, 256, (8, 9, 3), np.uint8)).resize((WIDTH, HEIGHT))
        grain = draw.integers(-8, 9, (HEIGHT, WIDTH, 3))
        file = io.BytesIO()
        Image.fromarray((np.asarray(coarse) + grain).clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=QUALITY)
        encoded.append(file.getvalue())
    return encoded, torch.from_numpy(draw.integers(0, 10, count))


@dataclass(frozen=True)
class Encoded(sets.Streamed):
    """JPEGs in memory. workers: of a DataLoader that decodes image by image; None: torchvision decodes whole batches."""

    files: Sequence[bytes]
    classes: Tensor
    workers: int | None

    @property
    def labels(self) -> Tensor:
        return self.classes

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        return HEIGHT, WIDTH, 3

    def take(self, count: int) -> Self:
        return replace(self, files=self.files[:count], classes=self.classes[:count])

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        from PIL import Image
        from torchvision.transforms.functional import pil_to_tensor

        return pil_to_tensor(Image.open(io.BytesIO(self.files[position]))), int(self.labels[position])

    def decoded(self, order: Tensor, batch_size: int) -> Generator[sets.Pair, None, None]:
        if self.workers is None:
            yield from self._whole_batches(order, batch_size)
            return
        made: Any = torch.utils.data.DataLoader(
            self,  # type: ignore[arg-type]
            batch_size,
            sampler=order.tolist(),
            num_workers=self.workers,
        )
        for planes, labels in made:
            yield planes.permute(0, 2, 3, 1).contiguous(), labels

    def _whole_batches(self, order: Tensor, batch_size: int) -> Generator[sets.Pair, None, None]:
        from torchvision.io import decode_jpeg

        for chosen in order.split(batch_size):
            files = [torch.frombuffer(bytearray(self.files[i]), dtype=torch.uint8) for i in chosen.tolist()]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # torchvision 0.29 gives it up
                decoded: Any = decode_jpeg(files)  # type: ignore[arg-type]
            yield torch.stack(decoded).permute(0, 2, 3, 1).contiguous(), self.labels[chosen]


@dataclass(frozen=True)
class Gathered(loaders.ImageByImage):
    """Decoded images, gathered batch by batch before they are cropped: what whole batches are of CIFAR-10."""

    def decoded(self, order: Tensor, batch_size: int) -> Generator[sets.Pair, None, None]:
        for chosen in order.split(batch_size):
            yield self.images.pixels.index_select(0, chosen), self.images.labels[chosen]


@dataclass(frozen=True)
class Repeated(sets.Streamed):
    """A set many times over: one epoch that lasts for a whole measurement."""

    one: sets.Streamed
    times: int

    def __len__(self) -> int:
        return len(self.one) * self.times

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.one.shape

    @property
    def labels(self) -> Tensor:
        return self.one.labels.repeat(self.times)

    def take(self, count: int) -> Self:
        raise NotImplementedError("an endless set is not cut")

    def decoded(self, order: Tensor, batch_size: int) -> Generator[sets.Pair, None, None]:
        return self.one.decoded(order % len(self.one), batch_size)


@dataclass(frozen=True)
class Turn:
    """One measurement. place: the folder of the files for FFCV."""

    material: str
    side: str
    place: str
    root: str | None
    count: int
    cores: int
    seconds: float


def held(material: str, root: str | None, count: int) -> sets.Images:
    """All images decoded, in memory."""
    if material == "cifar10":
        return images(root).train.first(count)
    files, labels = pictures(count)
    decoded = list(Encoded(files, labels, 0).decoded(torch.arange(count), BATCH["jpeg"]))
    return sets.Images(torch.cat([pixels for pixels, _ in decoded]), labels)


def side_of(turn: Turn) -> sets.Images | sets.Streamed:
    """What a side decodes from."""
    kind, _, how = turn.side.partition(" ")
    if kind == "ffcv":
        return ffcv_loader.Beton.open(beton.beton_path(Path(turn.place), f"{turn.material}-{how}", "train"))
    if turn.side == "resident" or turn.material == "cifar10":
        there = held(turn.material, turn.root, turn.count)
        if turn.side == "resident":
            return there
        return Gathered(there) if how else loaders.ImageByImage(there, turn.cores)
    return Encoded(*pictures(turn.count), None if how else turn.cores)


def batches(turn: Turn) -> Iterator[sets.Pair]:
    """Augmented batches without end."""
    source = side_of(turn)
    if not isinstance(source, sets.Images):
        source = Repeated(source, max(1, REPEATS // len(source)))
    half, quarter = (0.5,) * 3, (0.25,) * 3
    described: sets.Dataset[Any] = sets.Dataset(turn.material, source, source, 10, half, quarter, "")
    recipe = replace(RECIPE, batch_size=BATCH[turn.material])
    ours = served(source, described, recipe, CPU)
    epoch = 0
    while True:
        with closing(ours.epoch(crops.augmentation(len(ours), 0, epoch))) as found:
            yield from found
        epoch += 1


def measured(turn: Turn) -> dict[str, float] | str:
    """In a process of its own: images per second; where it fails, the traceback as text."""
    try:
        torch.set_num_threads(turn.cores)
        stream = batches(turn)
        window = Window(turn.seconds)
        for _ in stream:
            if window.event():
                break
        stream.close()  # type: ignore[attr-defined]
        return {
            "images_per_second": window.rate * BATCH[turn.material],
            "cores_used": window.busy / window.elapsed,  # of this process; a DataLoader's workers are others
            "first_batch_seconds": window.first,
        }
    except Exception:
        return traceback.format_exc()


def prepare(place: Path, root: str | None, counts: dict[str, int]) -> dict[str, Any]:
    """Writes FFCV's files. Returns their sizes in bytes."""
    sizes = {}
    for material, count in counts.items():
        source = ffcv_writer.Held(held(material, root, count), "")
        for side in SIDES[material]:
            kind, _, how = side.partition(" ")
            if kind == "ffcv":
                path = beton.beton_path(place, f"{material}-{how}", "train")
                encoding = f"jpg {QUALITY}" if how == "jpg" else how
                ffcv_writer.write(path, source, f"{material}-{how}", "train", encoding)
                sizes[f"{material} {side}"] = path.stat().st_size
    return sizes


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    parser = cli.Parser(prog="python -m speed.loaders", description=__doc__)
    parser.add_argument("--rounds", type=cli.positive, metavar="N", help="turns of each side; default 3, quick 1")
    parser.add_argument(
        "--out", type=cli.folder, default="results/speed", metavar="DIR", help="default ./results/speed"
    )
    cli.add_data(parser)
    parser.add_argument("--quick", action="store_true", help="one round, few images, short windows")
    options = parser.parse(words)
    try:
        beton.library()
        lacking = None
    except (UsageError, Failure) as error:
        lacking = str(error)
        cli.say(f"without FFCV: {lacking}")
    root = options.data or str(named.default_root())
    real = root if not cifar10.read_cifar10(Path(root))[1] else None
    rounds, seconds = options.rounds or (1 if options.quick else 3), 1.0 if options.quick else 5.0
    counts = {"cifar10": 4096 if options.quick else 50_000, "jpeg": 256 if options.quick else PICTURES}
    cores = pace.default_together(RECIPE, CPU)
    began = datetime.now(UTC)
    with tempfile.TemporaryDirectory() as place:
        sizes = {} if lacking else prepare(Path(place), real, counts)
        turns = [
            Turn(material, side, place, real, counts[material], cores, seconds)
            for turn in range(rounds)
            for material, sides in SIDES.items()
            for side in (*sides[turn % len(sides) :], *sides[: turn % len(sides)])  # another one first in every round
            if not (lacking and side.startswith("ffcv"))
        ]
        found, absent = [], {}
        for turn in turns:
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                facts = pool.submit(measured, turn).result()
            if isinstance(facts, str):
                cli.say(facts)
                absent[f"{turn.material} {turn.side}"] = reason(facts)
                continue
            cli.say(f"{turn.material} {turn.side}: {facts['images_per_second']:,.0f} images/s")
            found.append({key: asdict(turn)[key] for key in ("material", "side")} | facts)
    result = {
        "command": cli.command_line("speed.loaders", words),
        "quick": options.quick,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "minutes": round((datetime.now(UTC) - began).total_seconds() / 60, 1),
        "hardware": hardware(cores),
        "torch": torch.__version__,
        "not_measured": absent,
        "ffcv": None if lacking else beton.LIBRARY,
        "code": provenance.code_version(),
        "images": {"cifar10": "cifar10" if real else "random", "jpeg": f"{WIDTH}x{HEIGHT}, quality {QUALITY}"},
        "counts": counts,
        "batch_size": BATCH,
        "window_seconds": seconds,
        "rounds": rounds,
        "ffcv_file_bytes": sizes,
        "images_per_second": summary(found),
        "measurements": found,
    }
    machine = re.sub(r"\W+", "-", result["hardware"]["cpu"].lower()).strip("-")
    out = Path(options.out) / f"{machine}-{cores}cores-loaders-{began:%Y%m%dT%H%M%SZ}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    for material, rates in result["images_per_second"].items():
        for side, rate in rates.items():
            ratio = f"  {rate / rates['torchvision']:6.1f} x the DataLoader" if "torchvision" in rates else ""
            cli.answer(f"{material:8}{side:20}{rate:12,.0f} images/s{ratio}")
    for what, why in absent.items():
        cli.answer(f"{what}: not measured: {why}")
    cli.answer(f"written: {out}" + (" (quick: not to be quoted)" if options.quick else ""))
    return 0


def summary(found: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Median images per second of each side, by material."""
    return {
        material: {
            side: median(
                one["images_per_second"] for one in found if (one["material"], one["side"]) == (material, side)
            )
            for side in sides
            if any((one["material"], one["side"]) == (material, side) for one in found)
        }
        for material, sides in SIDES.items()
    }


if __name__ == "__main__":
    cli.command(main)
