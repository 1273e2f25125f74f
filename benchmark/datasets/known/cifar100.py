"""CIFAR-100 (Krizhevsky, 2009): 50,000 + 10,000 images of 32x32 in 100 fine classes, from the official files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.datasets.cifar import OfficialFiles
from benchmark.datasheets import Datasheet, register

if TYPE_CHECKING:
    from benchmark.datasets.sets import Dataset, Images

# SHA-256 and size in bytes; `meta`, the names of the classes, is not read.
CIFAR100 = OfficialFiles(
    "CIFAR-100",
    "cifar-100-python",
    "cifar-100-python.tar.gz",
    169,
    {
        "train": ("735e79b04f092ca3d2e6d07f368c0a7d70d48c48d28865950cc24454cf45129b", 155249918),
        "test": ("4b67687d9933c4db8f0831104447f15b93774f4f464bd0516f0f0f2ac83b7864", 31049707),
    },
    "fine_labels",
)


def load_cifar100(root: Path, download: bool) -> Dataset[Images]:
    """From the files below `root`, which are fetched where none are. Raises as `named.load` does."""
    from benchmark.datasets.sets import Dataset

    return Dataset.of(SHEET, *CIFAR100.load(root, download), CIFAR100.checksum)


SHEET = register(
    Datasheet(
        "cifar100",
        "CIFAR-100",
        100,
        (0.5071, 0.4865, 0.4409),
        (0.2673, 0.2564, 0.2762),
        load_cifar100,
        lambda: CIFAR100.checksum,
    )
)
