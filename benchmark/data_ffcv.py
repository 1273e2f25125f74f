"""FFCV: images in one `.beton` file, for data that memory does not hold. Decodes; the rest is `benchmark.data`'s.

    python -m benchmark.data_ffcv write cifar10                                # DATA/ffcv/cifar10-train.beton, -test.beton
    python -m benchmark.data_ffcv write food101 --images food-101 --side 256   # also imagenet: train/CLASS/, val/CLASS/

Beside a file stands FILE.json with its size, SHA-256 and content. No file is opened before it agrees with them: FFCV
itself checks nothing, and ends the process or gives other pixels where a file is damaged.

FFCV 1.0.2 (Leclerc et al., 2023) is the last release. What it does wrong is mended here, at its root: an error in its
thread is passed on instead of leaving the reader waiting for ever; an epoch that is left early ends its thread;
torch's number of threads stays as it was; batches are copied out of its ring of buffers.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import queue
import re
import threading
import time
import warnings
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, Self

import numpy as np
import torch
from torch import Tensor

from benchmark import cli, data, files
from benchmark.errors import Failure, UsageError, choices
from benchmark.progress import ProgressLine

LIBRARY = "1.0.2"
PATIENCE = 300.0  # seconds without a batch after which an epoch has failed; compiling takes some of the first ones
POLL = 0.2
FORMAT = 1  # of the statement beside a file
DECODED_AHEAD = 256  # images of a folder that are in memory at once while it is written

APT = "apt-get install libopencv-dev libturbojpeg0-dev pkg-config g++ python3-dev"
PIP = "pip install 'nas-bench-pooling[ffcv]'"


@lru_cache
def library() -> Any:
    """The module ffcv. Raises UsageError where it is not installed, Failure where it is but does not work."""
    if importlib.util.find_spec("ffcv") is None:
        raise UsageError(f"FFCV is not installed: {APT} && {PIP}, or use --loader resident or torchvision")
    try:
        with warnings.catch_warnings(), torch_threads_kept():
            warnings.simplefilter("ignore")  # it is of 2023
            import ffcv
            import ffcv.fields
            import ffcv.loader.epoch_iterator
            import ffcv.writer
    except Exception as error:  # libraries that are missing or of another version raise anything
        why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise Failure(
            f"FFCV is installed but broken ({why}): {APT} && pip install --force-reinstall --no-cache-dir "
            f"ffcv=={LIBRARY}, or use --loader resident or torchvision"
        ) from error
    return ffcv


@contextmanager
def torch_threads_kept() -> Iterator[None]:
    """A block after which torch computes with as many threads as before: FFCV sets them to its own."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


# --- files and what is stated beside them ---


@dataclass(frozen=True)
class Statement:
    """What stands in FILE.json.

    checksum  of the data set's content, as records name it
    images    their number
    shape     (height, width, 3) of all images; None where they differ
    encoding  raw, or jpg with its quality: the pixels are then no longer those of the source
    classes   names in order of labels, for folders
    """

    dataset: str
    split: str
    checksum: str
    images: int
    shape: tuple[int, int, int] | None
    encoding: str
    size: int
    sha256: str
    side: int | None = None
    classes: tuple[str, ...] = ()
    ffcv: str = LIBRARY
    format: int = FORMAT

    @classmethod
    def of(cls, path: Path) -> Statement:
        """What is stated beside a file. Raises UsageError where nothing is, or nothing that can be understood."""
        beside = statement_path(path)
        try:
            said = json.loads(beside.read_bytes())
            if said.get("format") != FORMAT:
                raise ValueError(f"its format is {said.get('format')!r}, not {FORMAT}")
            said |= {key: tuple(said[key]) for key in ("shape", "classes") if said.get(key) is not None}
            return cls(**said)
        except OSError as error:
            raise UsageError(f"{beside} cannot be read ({error.strerror}): {_again(path)}") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"{beside} does not state what {path.name} is ({error}): {_again(path)}") from None

    def verify(self, path: Path) -> None:
        """Raises UsageError unless the file has the size and the SHA-256 that are stated."""
        try:
            size = path.stat().st_size
            if size != self.size:
                raise UsageError(f"{path} has {size:,} bytes, not {self.size:,}: {_again(path)}")
            if file_sha256(path) != self.sha256:
                raise UsageError(f"{path} is not the file that was written (another SHA-256): {_again(path)}")
        except OSError as error:
            raise UsageError(f"{path} cannot be read ({error.strerror}): {_again(path)}") from None


def statement_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def beton_path(root: Path, dataset: str, split: str) -> Path:
    return root / "ffcv" / f"{dataset}-{split}.beton"


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _again(path: Path) -> str:
    name = path.name.rpartition("-")[0] or "NAME"
    return f"write it with python -m benchmark.data_ffcv write {name} --data {path.parent.parent}"


# --- reading ---


@dataclass(frozen=True)
class Beton(data.Streamed):
    """The images of a verified file, or the first so many of them."""

    path: Path
    stated: Statement
    count: int
    seen: tuple[int, int, int]  # inode, size and time of change of the file that was verified

    @classmethod
    def open(cls, path: Path) -> Beton:
        """Raises UsageError for a file that is not what is stated beside it, or whose images differ in size."""
        stated = Statement.of(path)
        if stated.shape is None:
            raise UsageError(f"the images in {path} differ in size: write it with --side N")
        try:
            seen = _identity(path)
        except OSError as error:
            raise UsageError(f"{path} cannot be read ({error.strerror}): {_again(path)}") from None
        stated.verify(path)
        return cls(path, stated, stated.images, seen)

    def __len__(self) -> int:
        return self.count

    @property
    def shape(self) -> tuple[int, int, int]:
        assert self.stated.shape is not None
        return self.stated.shape

    def take(self, count: int) -> Self:
        return replace(self, count=count)

    def decoded(self, order: Tensor, batch_size: int) -> Generator[data.Pair, None, None]:
        if len(order) and not 0 <= int(order.min()) <= int(order.max()) < self.count:
            raise IndexError(f"{self.path} has the positions 0 to {self.count - 1}")  # FFCV would read what lies there
        workers = min(torch.get_num_threads(), available_cores())
        loader = _loader(self.path, self.seen, batch_size, workers)
        epoch = _epoch_class()(loader, order.numpy().astype(np.uint64))
        try:
            for pixels, labels in epoch:
                yield pixels.clone(), labels.flatten().clone()  # the originals are views of a ring of buffers
        finally:
            epoch.close()


def available_cores() -> int:
    """FFCV raises where it is asked for more workers."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _identity(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


@lru_cache(maxsize=8)  # making one takes seconds of compiling
def _loader(path: Path, seen: tuple[int, int, int], batch_size: int, workers: int) -> Any:
    """FFCV's loader of a file that was verified as `seen`. Raises Failure if it is another one by now."""
    ffcv = library()
    if _identity(path) != seen:
        raise Failure(f"{path} was changed since it was verified: start again")
    with torch_threads_kept():
        return ffcv.loader.Loader(str(path), batch_size=batch_size, num_workers=workers, os_cache=True, drop_last=False)


@lru_cache
def _epoch_class() -> Any:
    """FFCV's iterator over an epoch, which is a thread, made to end in every case."""
    import numba

    class Epoch(library().loader.epoch_iterator.EpochIterator):  # type: ignore[misc]
        ended = False

        def run(self) -> None:
            slots = self.loader.batches_ahead + 2
            try:
                numba.set_num_threads(self.loader.num_workers)  # of this thread; the original sets torch's too
                for number, indices in enumerate(self.iter_ixes):
                    slot = number % slots
                    if not self._hand_over((slot, self.run_pipeline(number, indices, slot, None))):
                        return
                self._hand_over(None)
            except BaseException as error:
                self._hand_over(error)

        def _hand_over(self, what: Any) -> bool:
            while not self.terminate_event.is_set():
                try:
                    self.output_queue.put(what, timeout=POLL)
                    return True
                except queue.Full:
                    pass
            return False

        def __next__(self) -> Any:
            until = time.monotonic() + PATIENCE
            while True:
                try:
                    found = self.output_queue.get(timeout=POLL)
                    break
                except queue.Empty:
                    if not self.is_alive() and self.output_queue.empty():
                        raise Failure(f"FFCV's thread ended in the middle of {self.loader.fname}") from None
                    if time.monotonic() > until:
                        raise Failure(
                            f"FFCV gave no batch of {self.loader.fname} for {PATIENCE:.0f} s: start again, or use "
                            "--loader resident or torchvision"
                        ) from None
            if found is None:
                raise StopIteration
            if isinstance(found, BaseException):
                why = " ".join(f"{type(found).__name__}: {found}".split())[:200]
                raise Failure(f"FFCV cannot decode {self.loader.fname} ({why})") from found
            return found[1]

        def close(self) -> None:
            self.terminate_event.set()
            if threading.current_thread() is not self and self.is_alive():
                self.join(PATIENCE)  # at most one batch and one POLL; it reads the file until then
            if not self.ended:
                self.ended = True
                self.memory_context.__exit__(None, None, None)

    return Epoch


def load(name: str, root: Path | str | None = None) -> data.Dataset[data.Streamed]:
    """A known data set from its two files below `root`. Raises UsageError for what is missing, damaged or foreign."""
    if name not in data.STATISTICS:
        raise UsageError(f"unknown data set '{name}': {choices(name, data.STATISTICS)}")
    place = Path(root) if root is not None else data.default_root()
    found = {split: Beton.open(beton_path(place, name, split)) for split in ("train", "test")}
    checksum = found["train"].stated.checksum
    if name == "cifar10":
        checksum = data.cifar10_checksum()
    for split, beton in found.items():
        stated = beton.stated
        for key, said, expected in (
            ("data set", stated.dataset, name),
            ("split", stated.split, split),
            ("checksum of the content", stated.checksum, checksum),
            ("encoding", stated.encoding, "raw"),
        ):
            if said != expected:
                raise UsageError(f"{beton.path} states the {key} {said}, not {expected}: {_again(beton.path)}")
    return data.Dataset.described(name, found["train"], found["test"], checksum)


# --- writing ---


class Source(Protocol):
    """What is written: an iterable of (uint8 (H, W, 3), label), read once, with its checksum known afterwards."""

    @property
    def shape(self) -> tuple[int, int, int] | None: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def largest(self) -> int: ...  # bytes of the largest image, decoded
    @property
    def checksum(self) -> str: ...
    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[tuple[np.ndarray, int]]: ...


@dataclass(frozen=True)
class Held:
    """Images in memory."""

    images: data.Images
    checksum: str
    classes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width, channels = self.images.pixels.shape[1:]
        return height, width, channels

    @property
    def largest(self) -> int:
        return self.images.pixels[0].numel()

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
        return zip(self.images.pixels.numpy(), self.images.labels.tolist(), strict=True)


@dataclass
class Folder:
    """Image files by class.

    side    crop the middle square and scale it to so many pixels; None: as they are
    to_rgb  convert what is not RGB, which is refused otherwise
    """

    paths: Sequence[tuple[Path, int]]
    classes: tuple[str, ...]
    side: int | None
    to_rgb: bool
    shape: tuple[int, int, int] | None = None
    largest: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)

    def scan(self, title: str) -> Self:
        """Looks at all headers before anything is written. Raises UsageError for what is no image or not RGB."""
        from PIL import Image

        shapes, others = set(), []
        with ProgressLine(title, [1.0], [f"{len(self.paths):,} headers"]) as line:
            for number, (path, _) in enumerate(self.paths, 1):
                try:
                    with Image.open(path) as image:
                        mode, (width, height) = image.mode, image.size
                except (OSError, ValueError, Image.DecompressionBombError) as error:
                    raise UsageError(f"{path} is no image that can be read ({error}): remove or replace it") from None
                if mode != "RGB":
                    others.append(f"{path} ({mode})")
                shapes.add((height, width, 3))
                if number % DECODED_AHEAD == 0:
                    line.report(0, {"fraction": number / len(self.paths), "images": number})
        if others and not self.to_rgb:
            raise UsageError(
                f"{len(others)} images are not RGB, the first is {others[0]}: convert them, or add --to-rgb"
            )
        if self.side is not None:
            shapes = {(self.side, self.side, 3)}
        if (most := max(max(shape) for shape in shapes)) >= 2**16:
            raise UsageError(f"an image is {most} pixels long, 65535 is the most: use --side N")
        self.shape = shapes.pop() if len(shapes) == 1 else None
        self.largest = max(h * w * c for h, w, c in ([self.shape] if self.shape else shapes))
        return self

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[tuple[np.ndarray, int]]:
        with ThreadPoolExecutor(available_cores()) as pool:  # decoding leaves Python's lock
            for start in range(0, len(self.paths), DECODED_AHEAD):
                for pixels, label, digest in pool.map(self._read, self.paths[start : start + DECODED_AHEAD]):
                    self._digest.update(digest + label.to_bytes(8, "little"))
                    yield pixels, label

    @property
    def checksum(self) -> str:
        """SHA-256 over the SHA-256 of each file and its label, in order."""
        return self._digest.hexdigest()

    def _read(self, item: tuple[Path, int]) -> tuple[np.ndarray, int, bytes]:
        from PIL import Image, ImageOps

        path, label = item
        try:
            content = path.read_bytes()
            with Image.open(io.BytesIO(content)) as image:
                rgb = image.convert("RGB")  # of RGB a copy
        except (OSError, ValueError) as error:
            raise UsageError(f"{path} cannot be decoded ({error}): remove or replace it") from None
        if self.side is not None:
            rgb = ImageOps.fit(rgb, (self.side, self.side), Image.Resampling.BICUBIC)
        return np.asarray(rgb), label, hashlib.sha256(content).digest()


def write(path: Path, source: Source, dataset: str, split: str, encoding: str = "raw", side: int | None = None) -> Path:
    """Writes a file and its statement; each appears whole, under its name, or not at all.

    In this process and without FFCV's own workers, so that an error ends the writing (theirs hang) and the same source
    gives the same bytes. Raises UsageError for an empty source.
    """
    if not len(source):
        raise UsageError(f"{dataset} has no {split} images: nothing to write")
    ffcv = library()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with files.claim(path.with_name(path.name + ".lock")) as mine:
        if not mine:
            raise Failure(f"another process is writing {path}: wait for it")
        try:
            _write(ffcv, partial, source, f"writing {path.name}", encoding)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        with open(partial, "rb") as file:
            os.fsync(file.fileno())
        stated = Statement(
            dataset,
            split,
            source.checksum,
            len(source),
            source.shape,
            encoding,
            partial.stat().st_size,
            file_sha256(partial),
            side,
            source.classes,
        )
        os.replace(partial, path)  # between this and the next line, a statement of old refuses the file
        files.write_atomically(statement_path(path), (json.dumps(asdict(stated), indent=1) + "\n").encode())
        path.with_name(path.name + ".lock").unlink(missing_ok=True)
    return path


def _write(ffcv: Any, path: Path, source: Source, title: str, encoding: str) -> None:
    kind, _, quality = encoding.partition(" ")
    image = ffcv.fields.RGBImageField(write_mode=kind, jpeg_quality=int(quality or 90))
    page = max(2**23, 1 << (2 * source.largest - 1).bit_length())
    writer = ffcv.writer.DatasetWriter(
        str(path), {"image": image, "label": ffcv.fields.IntField()}, page_size=page, num_workers=1
    )
    writer.num_samples = len(source)
    writer.prepare()
    writer.metadata_sm.close()  # memory that its workers would share, and that outlives a kill
    writer.metadata_sm.unlink()
    allocator = ffcv.writer.MemoryAllocator(str(path), writer.data_region_start, page)
    metadata = np.zeros(len(source), writer.metadata_type)
    names = metadata.dtype.names
    with ProgressLine(title, [1.0], [f"{len(source):,} images"]) as line, _opened(allocator):
        for number, sample in enumerate(source):
            ffcv.writer.handle_sample(sample, number, names, metadata, allocator, writer.fields)
            if number % DECODED_AHEAD == 0:
                line.report(0, {"fraction": number / len(source), "images": number})
    writer.metadata_sm = SimpleNamespace(buf=metadata.tobytes())
    writer.finalize(allocator.allocations)


@contextmanager
def _opened(allocator: Any) -> Iterator[None]:
    """Its own `with`, which flushes a page that an error has left half-made: then there may be none to flush."""
    allocator.__enter__()
    try:
        yield
    except BaseException:
        allocator.fp.close()
        raise
    allocator.__exit__(None, None, None)


# --- folders of images ---


def food101(root: Path) -> dict[str, tuple[list[tuple[Path, int]], tuple[str, ...]]]:
    """Food-101 (Bossard et al., 2014): images/CLASS/ID.jpg, listed in meta/train.txt and meta/test.txt."""
    listed = {}
    for split in ("train", "test"):
        path = root / "meta" / f"{split}.txt"
        try:
            listed[split] = path.read_text(encoding="utf-8").split()
        except OSError as error:
            raise UsageError(f"{path} cannot be read ({error.strerror}): give --images the folder food-101") from None
    classes = tuple(sorted({line.partition("/")[0] for lines in listed.values() for line in lines}))
    index = {name: label for label, name in enumerate(classes)}
    return {
        split: ([(root / "images" / f"{line}.jpg", index[line.partition("/")[0]]) for line in lines], classes)
        for split, lines in listed.items()
    }


def imagenet(root: Path) -> dict[str, tuple[list[tuple[Path, int]], tuple[str, ...]]]:
    """ImageNet (Russakovsky et al., 2015) and whatever is laid out like it: train/CLASS/FILE, val/CLASS/FILE."""
    found = {}
    for split, name in (("train", "train"), ("test", "val")):
        folder = root / name
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder: give --images one that holds train/CLASS/ and val/CLASS/")
        classes = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))
        paths = [
            (path, label)
            for label, name in enumerate(classes)
            for path in sorted((folder / name).iterdir())
            if re.fullmatch(r"\.(jpe?g|png)", path.suffix, re.IGNORECASE)
        ]
        found[split] = (paths, classes)
    if found["train"][1] != found["test"][1]:
        raise UsageError(
            f"{root}: train and val have other classes ({len(found['train'][1])}, {len(found['test'][1])})"
        )
    return found


FOLDERS = {"food101": food101, "imagenet": imagenet}


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.Parser(prog="python -m benchmark.data_ffcv", description=__doc__)
    parser.add_argument("verb", choices=["write"], help="write: a .beton for each split, where it is not there yet")
    parser.add_argument("dataset", choices=[*data.STATISTICS, *FOLDERS])
    cli.add_data(parser)
    folders = parser.add_argument_group("of image folders")
    folders.add_argument("--images", metavar="DIR", help="the folder that holds them")
    folders.add_argument(
        "--side", type=cli.positive, metavar="N", help="the middle square, scaled to N; default: as is"
    )
    folders.add_argument(
        "--quality", type=cli.positive, metavar="Q", help="as JPEG of this quality; default: raw pixels"
    )
    folders.add_argument("--to-rgb", action="store_true", help="convert images that are not RGB, refused otherwise")
    options = parser.parse(argv)
    from_folder = options.dataset in FOLDERS
    if from_folder != (options.images is not None):
        raise UsageError(f"{options.dataset} {'needs' if from_folder else 'takes no'} --images DIR")
    if not from_folder and (options.side or options.quality or options.to_rgb):
        raise UsageError(
            f"--side, --quality and --to-rgb are for {', '.join(FOLDERS)}: {options.dataset} is written as is"
        )
    if options.quality and options.quality > 100:
        raise UsageError(f"--quality {options.quality}: give 1 to 100")
    library()
    root = Path(options.data) if options.data else data.default_root()
    encoding = f"jpg {options.quality}" if options.quality else "raw"
    for split, source in _sources(options).items():
        path = beton_path(root, options.dataset, split)
        if path.exists() and _stands(path, encoding, options.side):
            cli.answer(f"{path}: there already, verified")
            continue
        if isinstance(source, Folder):
            source.scan(f"looking at {options.dataset} {split}")
        write(path, source, options.dataset, split, encoding, options.side)
        cli.answer(f"{path}: {len(source):,} images, {path.stat().st_size:,} bytes, {encoding}")
    return 0


def _sources(options: Any) -> dict[str, Held | Folder]:
    if options.dataset in FOLDERS:
        found = FOLDERS[options.dataset](Path(options.images))
        return {split: Folder(paths, names, options.side, options.to_rgb) for split, (paths, names) in found.items()}
    held = data.load(options.dataset, options.data)
    return {"train": Held(held.train, held.checksum), "test": Held(held.test, held.checksum)}


def _stands(path: Path, encoding: str, side: int | None) -> bool:
    """Whether a file is whole. One that is damaged is written anew, one of another encoding stays and is an error."""
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
