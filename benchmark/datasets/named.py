"""The data sets by name: what is known of each, and loading it. A new one is a file beside this one and an entry here."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import torch

from benchmark.cli import Parser, add_data, answer
from benchmark.datasets.cifar10 import CIFAR10, load_cifar10
from benchmark.datasets.sets import Dataset, Facts, Images
from benchmark.errors import UsageError, choices

SYNTHETIC = Facts("synthetic", 10, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
KNOWN = {facts.name: facts for facts in (CIFAR10, SYNTHETIC)}


def default_root() -> Path:
    """`$NASBENCH_POOLING_DATA`, where `~` is the user's home, else the user's cache.

    Raises UsageError for a user who has no home, as in some containers.
    """
    given = os.environ.get("NASBENCH_POOLING_DATA")
    try:
        if given:
            return Path(given).expanduser()
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nas-bench-pooling"
    except RuntimeError:
        raise UsageError(
            f"there is no home folder for {given or 'the data'}: set NASBENCH_POOLING_DATA to a whole path, or give --data"
        ) from None


def load(name: str, root: Path | str | None = None, download: bool = True) -> Dataset[Images]:
    """The named data set: `cifar10` (official files below `root`) or `synthetic` (made in code).

    Raises UsageError for unknown names and for files that are missing in part, cut short or foreign;
    Failure where CIFAR-10 is absent and cannot be downloaded.
    """
    if name == "synthetic":
        return _synthetic()
    if name == "cifar10":
        return load_cifar10(Path(root) if root is not None else default_root(), download)
    raise UsageError(f"unknown data set '{name}': {choices(name, KNOWN)}")


def _synthetic() -> Dataset[Images]:
    from benchmark.datasets import synthetic

    digest = hashlib.sha256()
    sets = []
    for split, count in (("train", 8192), ("test", 2048)):
        pixels, labels = synthetic.generate(count, 0, split)
        digest.update(pixels.tobytes() + labels.astype("<i8").tobytes())
        sets.append(Images(torch.from_numpy(pixels), torch.from_numpy(labels)))
    return SYNTHETIC.of(sets[0], sets[1], digest.hexdigest())


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m benchmark.datasets [--data DIR]`: has CIFAR-10 in place, or says why not."""
    parser = Parser(
        prog="python -m benchmark.datasets", description="Checks CIFAR-10, and fetches it where it is missing."
    )
    add_data(parser)
    options = parser.parse(argv)
    found = load("cifar10", options.data)
    answer(
        f"CIFAR-10 is in {options.data or default_root()}: {len(found.train):,} + {len(found.test):,} images, checked"
    )
    return 0
