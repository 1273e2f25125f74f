"""The two halves of a training set that a search sees: drawn by a seed, and stored as text beside its results."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.datasets.sets import Dataset
from benchmark.errors import UsageError
from benchmark.running.files import write_atomically
from benchmark.streams import stream


@dataclass(frozen=True)
class Split:
    """The two halves of a training set: `train` learns weights, `validation` gives rewards and scores (appendix B.1)."""

    train: np.ndarray
    validation: np.ndarray
    seed: int

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.train.astype("<i8").tobytes() + self.validation.astype("<i8").tobytes()).hexdigest()


def split_in_half(count: int, seed: int = 0) -> Split:
    """A seeded 50/50 split of `count` images; both halves in ascending order of index."""
    order = stream("split", seed).permutation(count)
    half = count // 2
    return Split(np.sort(order[:half]), np.sort(order[half:]), seed)


def store_split(split: Split, dataset: Dataset, folder: Path) -> Path:
    """Writes the split's indices as text, or checks them where they are stored already.

    Raises UsageError if the stored split is another one.
    """
    path = folder / f"{dataset.name}-seed{split.seed}.json"
    stored = {
        "dataset": dataset.name,
        "dataset_checksum": dataset.checksum,
        "seed": split.seed,
        "sha256": split.sha256,
        "train": split.train.tolist(),
        "validation": split.validation.tolist(),
    }
    if path.exists():
        if _content(path) != stored:  # not its bytes: git may have given it other line ends
            raise UsageError(f"{path} holds another split than this version makes: keep it and use another --out")
        return path
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(stored) + "\n").encode())
    return path


def _content(path: Path) -> Any:
    """What a JSON file holds; None where it is none."""
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return None
