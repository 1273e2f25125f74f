"""FFCV's files and what is stated beside them; and the library itself, where it is installed.

Beside a file stands FILE.json with its size, SHA-256 and content. No file is opened before it agrees with them: FFCV
itself checks nothing, and ends the process or gives other pixels where a file is damaged.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from benchmark.datasets.folders import STORED
from benchmark.datasheets import datasheet, names
from benchmark.errors import Failure, UsageError

LIBRARY = "1.0.2"
FORMAT = 1  # of the statement beside a file
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
            import ffcv.reader
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
            raise UsageError(f"{beside} cannot be read ({error.strerror}): {write_again(path)}") from None
        except (ValueError, TypeError, AttributeError) as error:
            raise UsageError(f"{beside} does not state what {path.name} is ({error}): {write_again(path)}") from None

    def verify(self, path: Path) -> None:
        """Raises UsageError unless the file has the size and the SHA-256 that are stated."""
        try:
            size = path.stat().st_size
            if size != self.size:
                raise UsageError(f"{path} has {size:,} bytes, not {self.size:,}: {write_again(path)}")
            if file_sha256(path) != self.sha256:
                raise UsageError(f"{path} is not the file that was written (another SHA-256): {write_again(path)}")
        except OSError as error:
            raise UsageError(f"{path} cannot be read ({error.strerror}): {write_again(path)}") from None


def statement_path(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def beton_path(root: Path, dataset: str, split: str) -> Path:
    return root / "ffcv" / f"{dataset}-{split}.beton"


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_again(path: Path) -> str:
    name, root = path.name.rpartition("-")[0] or "NAME", path.parent.parent
    words = f"python -m benchmark.datasets.ffcv write {name} --data {root}"
    if name in names() and (place := datasheet(name).place):  # a folder of images
        words += f" --images {root / place} --side {STORED} --to-rgb"
    return f"write it with {words}"


def available_cores() -> int:
    """FFCV raises where it is asked for more workers."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
