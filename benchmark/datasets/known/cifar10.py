"""CIFAR-10 (Krizhevsky, 2009): the official files, checked byte for byte, and fetched where they are missing."""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
import sys
import tarfile
import tempfile
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.cli import say
from benchmark.datasheets import Datasheet, register
from benchmark.errors import Failure, UsageError
from benchmark.given import read_bytes

if TYPE_CHECKING:
    from benchmark.datasets.sets import Dataset, Images

CIFAR10_FOLDER = "cifar-10-batches-py"

# SHA-256 and size in bytes of the official files of the python version of CIFAR-10 (Krizhevsky, 2009).
CIFAR10_FILES = {
    "data_batch_1": ("54636561a3ce25bd3e19253c6b0d8538147b0ae398331ac4a2d86c6d987368cd", 31035704),
    "data_batch_2": ("766b2cef9fbc745cf056b3152224f7cf77163b330ea9a15f9392beb8b89bc5a8", 31035320),
    "data_batch_3": ("0f00d98ebfb30b3ec0ad19f9756dc2630b89003e10525f5e148445e82aa6a1f9", 31035999),
    "data_batch_4": ("3f7bb240661948b8f4d53e36ec720d8306f5668bd0071dcb4e6c947f78e9682b", 31035696),
    "data_batch_5": ("d91802434d8376bbaeeadf58a737e3a1b12ac839077e931237e0dcd43adcb154", 31035623),
    "test_batch": ("f53d8d457504f7cff4ea9e021afcf0e0ad8e24a91f3fc42091b8adef61157831", 31035526),
}
CIFAR10_ARCHIVE = "cifar-10-python.tar.gz"
CIFAR10_PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"


def _by_hand(root: Path) -> str:
    return f"fetch {CIFAR10_ARCHIVE} from {CIFAR10_PAGE} and unpack it in {root}, or train on --dataset synthetic"


def cifar10_folder(root: Path) -> Path:
    """Where the official files are, or belong: below the root, or in it where somebody names their own folder."""
    return root if (root / next(iter(CIFAR10_FILES))).is_file() else root / CIFAR10_FOLDER


def read_cifar10(root: Path) -> tuple[dict[str, bytes], list[str]]:
    """The official files below root by name, and what is wrong with them, one line each; empty when all six are right."""
    files, faults = {}, []
    for name, (sha256, size) in CIFAR10_FILES.items():
        path = cifar10_folder(root) / name
        try:
            data = read_bytes(path)
        except FileNotFoundError:
            faults.append(f"{path} is missing")
            continue
        except OSError as error:
            faults.append(f"{path} cannot be read ({error.strerror})")
            continue
        if hashlib.sha256(data).hexdigest() != sha256:
            short = f" (cut short: {len(data):,} of {size:,} bytes)" if len(data) < size else ""
            faults.append(f"{path} is not the official file{short}")
        files[name] = data
    return files, faults


def load_cifar10(root: Path, download: bool) -> Dataset[Images]:
    """From the files below `root`, which are fetched where none are. Raises as `named.load` does."""
    import torch

    from benchmark.datasets.sets import Dataset, Images

    folder = cifar10_folder(root)
    if download and not folder.exists():
        if (archive := root / CIFAR10_ARCHIVE).is_file():
            _unpack_cifar10(archive)
        else:
            _download_cifar10(root)
    files, faults = read_cifar10(root)
    if faults:
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise UsageError(f"{faults[0]}{more}: remove {folder} to have it downloaded again, or {_by_hand(root)}")

    def read(name: str) -> tuple[np.ndarray, list[int]]:
        # Unpickling is safe here and only here: these very bytes are known to be the official ones.
        batch = pickle.loads(files.pop(name), encoding="latin1")
        return batch["data"], batch["labels"]

    def gather(names: list[str]) -> Images:
        parts = [read(name) for name in names]
        planar = np.concatenate([data for data, _ in parts]).reshape(-1, 3, 32, 32)
        labels = np.concatenate([np.asarray(labels, np.int64) for _, labels in parts])
        return Images(torch.from_numpy(np.ascontiguousarray(planar.transpose(0, 2, 3, 1))), torch.from_numpy(labels))

    *train, test = CIFAR10_FILES
    return Dataset.of(CIFAR10, gather(train), gather([test]), cifar10_checksum())


def cifar10_checksum() -> str:
    """By which records name the official files: SHA-256 over theirs."""
    return hashlib.sha256("".join(sha256 for sha256, _ in CIFAR10_FILES.values()).encode()).hexdigest()


def _unpack_cifar10(archive: Path) -> None:
    """Unpacks the official archive where it lies; what is in it appears in one rename, and is checked like all files."""
    folder = archive.parent / CIFAR10_FOLDER
    say(f"unpacking {archive} ...")
    try:
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=archive.parent) as scratch:
            (Path(scratch) / CIFAR10_FOLDER).mkdir()
            with tarfile.open(archive) as packed:
                for name in CIFAR10_FILES:
                    member = packed.extractfile(f"{CIFAR10_FOLDER}/{name}")
                    assert member is not None, f"{name} is no file"
                    (Path(scratch) / CIFAR10_FOLDER / name).write_bytes(member.read())
            if not folder.exists():  # else another process was quicker
                os.rename(Path(scratch) / CIFAR10_FOLDER, folder)
    except Exception as error:  # gzip, zlib, tarfile and the system have many kinds; each means that it stays packed
        reason = " ".join(str(error).split())[:120]
        raise UsageError(f"{archive} cannot be unpacked ({reason}): remove it, or {_by_hand(archive.parent)}") from None


def _download_cifar10(root: Path) -> None:
    """Has torchvision fetch the official archive; what arrives appears in one rename."""
    import torchvision

    say(f"CIFAR-10 is not in {root}: downloading it (170 MB) ...")
    previous = socket.getdefaulttimeout()
    try:
        root.mkdir(parents=True, exist_ok=True)
        socket.setdefaulttimeout(15)  # without a network, say so soon instead of hanging
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as scratch, redirect_stdout(sys.stderr):
            torchvision.datasets.CIFAR10(scratch, download=True)
            if not (root / CIFAR10_FOLDER).exists():  # else another process was quicker
                os.rename(Path(scratch) / CIFAR10_FOLDER, root / CIFAR10_FOLDER)
    except Exception as error:  # torchvision and urllib raise many kinds; each means that there is no data
        reason = " ".join(str(error).split())[:120]
        raise Failure(f"CIFAR-10 is not in {root} and could not be downloaded ({reason}): {_by_hand(root)}") from None
    finally:
        socket.setdefaulttimeout(previous)


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
