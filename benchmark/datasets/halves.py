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
from benchmark.files import write_atomically
from benchmark.streams import stream

MANY_CLASSES = 50  # more of them would leave some scarce in a half that is drawn over all images


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


def split_within_classes(labels: np.ndarray, seed: int = 0) -> Split:
    """A seeded 50/50 split of each class, so that none is scarce in a half; as `split_in_half` in all else.

    labels: (N,). Of a class of odd size either half gets the odd one in turn: no half is larger by more than 1.
    """
    train: list[np.ndarray] = []
    spare = 0  # how many images the halves differ by so far: 0 or 1 more for validation
    for label in np.unique(labels):
        of_class = np.flatnonzero(labels == label)
        order = of_class[stream("split", seed, int(label)).permutation(len(of_class))]
        half = (len(order) + spare) // 2
        spare = (len(order) + spare) % 2
        train.append(order[:half])
    chosen = np.sort(np.concatenate(train))
    return Split(chosen, np.setdiff1d(np.arange(len(labels)), chosen), seed)


def split_of(dataset: Dataset, seed: int = 0) -> Split:
    """The split of a data set's training images: within each class where there are more than MANY_CLASSES."""
    if dataset.classes > MANY_CLASSES:
        return split_within_classes(dataset.train.labels.cpu().numpy(), seed)
    return split_in_half(len(dataset.train), seed)


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
