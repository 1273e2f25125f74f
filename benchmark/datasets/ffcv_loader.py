"""Reading FFCV's files: images decoded as they are asked for. It decodes and no more: order, crops and flips are ours.

FFCV 1.0.2 (Leclerc et al., 2023) is the last release. What it does wrong is mended here, at its root: an error in its
thread is passed on instead of leaving the reader waiting for ever; an epoch that is left early ends its thread;
torch's number of threads stays as it was; batches are copied out of its ring of buffers.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from benchmark.datasets import folders, named, sets
from benchmark.datasets.beton import Statement, available_cores, beton_path, library, torch_threads_kept, write_again
from benchmark.datasheets import datasheet
from benchmark.errors import Failure, UsageError

PATIENCE = 300.0  # seconds without a batch after which an epoch has failed; compiling takes some of the first ones
POLL = 0.2


@dataclass(frozen=True)
class Beton(sets.Streamed):
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
            raise UsageError(f"{path} cannot be read ({error.strerror}): {write_again(path)}") from None
        stated.verify(path)
        return cls(path, stated, stated.images, seen)

    def __len__(self) -> int:
        return self.count

    @property
    def shape(self) -> tuple[int, int, int]:
        assert self.stated.shape is not None
        return self.stated.shape

    @property
    def labels(self) -> Tensor:
        """From the file's index, which no image is decoded for."""
        index = library().reader.Reader(str(_unchanged(self.path, self.seen))).metadata
        return torch.from_numpy(
            index["f1"][: self.count].reshape(-1).astype(np.int64)
        )  # the second field that is written

    def take(self, count: int) -> Self:
        return replace(self, count=count)

    def decoded(self, order: Tensor, batch_size: int) -> Generator[sets.Pair, None, None]:
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


def _identity(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _unchanged(path: Path, seen: tuple[int, int, int]) -> Path:
    """The file. Raises Failure if it is another one by now than was verified."""
    if _identity(path) != seen:
        raise Failure(f"{path} was changed since it was verified: start again")
    return path


@lru_cache(maxsize=8)  # making one takes seconds of compiling
def _loader(path: Path, seen: tuple[int, int, int], batch_size: int, workers: int) -> Any:
    """FFCV's loader of a file that was verified as `seen`. Raises Failure if it is another one by now."""
    ffcv = library()
    _unchanged(path, seen)
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


def load(name: str, root: Path | str | None = None) -> sets.Dataset[sets.Streamed]:
    """A known data set from its two files below `root`. Raises UsageError for what is missing, damaged or foreign."""
    sheet = datasheet(name)
    place = Path(root) if root is not None else named.default_root()
    found = {split: Beton.open(beton_path(place, name, split)) for split in ("train", "test")}
    checksum = sheet.checksum() if sheet.checksum else found["train"].stated.checksum
    for split, beton in found.items():
        stated = beton.stated
        for key, said, expected in (
            ("data set", stated.dataset, name),
            ("split", stated.split, split),
            ("checksum of the content", stated.checksum, checksum),
            ("encoding", stated.encoding, stated.encoding if sheet.crop else "raw"),
            ("side", stated.side, folders.STORED if sheet.crop else stated.side),
        ):
            if said != expected:
                raise UsageError(f"{beton.path} states the {key} {said}, not {expected}: {write_again(beton.path)}")
    made: sets.Dataset[sets.Streamed] = sets.Dataset.of(sheet, found["train"], found["test"], checksum)
    if not sheet.crop:
        return made
    how = found["train"].stated.encoding  # raw pixels were decoded by Pillow when they were written
    return replace(
        made, decoder=f"{folders.decoder()}, {how}" if how == "raw" else f"FFCV {found['train'].stated.ffcv}, {how}"
    )
