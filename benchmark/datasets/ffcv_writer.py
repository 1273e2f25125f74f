"""Writes FFCV's files: images in one `.beton`, with the statement beside it. What writes it is FFCV itself."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, Self

import numpy as np

from benchmark import files
from benchmark.datasets import folders, sets
from benchmark.datasets.beton import Statement, available_cores, file_sha256, library, statement_path
from benchmark.errors import Failure, UsageError
from benchmark.running import claims
from benchmark.running.progress import ProgressLine

DECODED_AHEAD = 256  # images of a folder that are in memory at once while it is written


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

    images: sets.Images
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
    listed  the checksum of the folder that they are from; None: of what is read
    """

    paths: Sequence[tuple[Path, int]]
    classes: tuple[str, ...]
    side: int | None
    to_rgb: bool
    listed: str | None = None
    shape: tuple[int, int, int] | None = None
    largest: int = 0
    _digest: Any = field(default_factory=hashlib.sha256)

    def scan(self, title: str) -> Self:
        """Looks at all headers before anything is written. Raises UsageError for what is no image or not RGB."""
        from PIL import Image

        shapes, others = set(), []
        with ProgressLine(title, [1.0], [f"{len(self.paths):,} headers"]) as line:
            for number, (path, _) in enumerate(self.paths, 1):
                with folders.decoding(path), Image.open(path) as image:
                    mode, (width, height) = image.mode, image.size
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
        """That of the folder where it is known, else SHA-256 over the SHA-256 of each file and its label, in order."""
        return self.listed or self._digest.hexdigest()

    def _read(self, item: tuple[Path, int]) -> tuple[np.ndarray, int, bytes]:
        from PIL import Image

        path, label = item
        with folders.decoding(path):
            content = path.read_bytes()
            with Image.open(io.BytesIO(content)) as image:
                rgb = folders.in_rgb(image)
        pixels = np.asarray(rgb) if self.side is None else folders.square(rgb, self.side)
        return pixels, label, hashlib.sha256(content).digest()


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
    with claims.claim(path.with_name(path.name + ".lock")) as mine:
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
