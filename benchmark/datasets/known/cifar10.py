"""CIFAR-10 (Krizhevsky, 2009): 50,000 + 10,000 images of 32x32 in 10 classes, from the official files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.datasets.cifar import OfficialFiles
from benchmark.datasheets import Datasheet, register

if TYPE_CHECKING:
    from benchmark.datasets.sets import Dataset, Images

CIFAR10_FOLDER = "cifar-10-batches-py"
CIFAR10_ARCHIVE = "cifar-10-python.tar.gz"

# SHA-256 and size in bytes of the official files of the python version.
CIFAR10_FILES = {
    "data_batch_1": ("54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd", 31035704),
    "data_batch_2": ("766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8", 31035320),
    "data_batch_3": ("0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9", 31035999),
    "data_batch_4": ("3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b", 31035696),
    "data_batch_5": ("d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154", 31035623),
    "test_batch": ("f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831", 31035526),
}


def official() -> OfficialFiles:
    return OfficialFiles("CIFAR-10", CIFAR10_FOLDER, CIFAR10_ARCHIVE, 170, CIFAR10_FILES, "labels")


def read_cifar10(root: Path) -> tuple[dict[str, bytes], list[str]]:
    """The official files below root by name, and what is wrong with them, one line each; empty when all six are right."""
    return official().read(root)


def load_cifar10(root: Path, download: bool) -> Dataset[Images]:
    """From the files below `root`, which are fetched where none are. Raises as `named.load` does."""
    from benchmark.datasets.sets import Dataset

    return Dataset.of(CIFAR10, *official().load(root, download), cifar10_checksum())


def cifar10_checksum() -> str:
    """By which records name the official files: SHA-256 over theirs."""
    return official().checksum


CIFAR10 = register(
    Datasheet(
        "cifar10",
        "CIFAR-10",
        10,
        (0.4914, 0.4822, 0.4465),
        (0.2470, 0.2435, 0.2616),
        load_cifar10,
        cifar10_checksum,
    )
)
