"""The official files of CIFAR (Krizhevsky, 2009): checked byte for byte, and fetched where they are missing.

CIFAR-10 and CIFAR-100 come alike: pickles of 32x32 colour images, red, green and blue planes one after the other, in a
folder of an archive. `known/cifar10.py` and `known/cifar100.py` say which files. No torch until images are loaded.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmark.cli import say
from benchmark.errors import Failure, UsageError
from benchmark.given import read_bytes

if TYPE_CHECKING:
    from benchmark.datasets.sets import Images

PAGE = "https://www.cs.toronto.edu/~kriz/cifar.html"


@dataclass(frozen=True)
class OfficialFiles:
    """What the makers of a data set hand out.

    title    of the set; torchvision's class of that name, without the hyphen, fetches it
    folder   in which the archive holds the files
    archive  its name
    size     of the archive, in megabytes
    files    by name, SHA-256 and size in bytes; the last one is the test set, the others are the training set
    labels   under which a pickle holds the labels
    """

    title: str
    folder: str
    archive: str
    size: int
    files: Mapping[str, tuple[str, int]]
    labels: str

    def below(self, root: Path) -> Path:
        """Where the files are, or belong: below the root, or in it where somebody names their own folder."""
        return root if (root / next(iter(self.files))).is_file() else root / self.folder

    @property
    def checksum(self) -> str:
        """By which records name the official files: SHA-256 over theirs."""
        return hashlib.sha256("".join(sha256 for sha256, _ in self.files.values()).encode()).hexdigest()

    def by_hand(self, root: Path) -> str:
        """What a user can do who has no network."""
        return f"fetch {self.archive} from {PAGE} and unpack it in {root}, or train on --dataset synthetic"

    def read(self, root: Path) -> tuple[dict[str, bytes], list[str]]:
        """The files below root by name, and what is wrong with them, one line each; empty when all are right."""
        found, faults = {}, []
        for name, (sha256, size) in self.files.items():
            path = self.below(root) / name
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
            found[name] = data
        return found, faults

    def load(self, root: Path, download: bool) -> tuple[Images, Images]:
        """Training and test images, from the files below `root`, which are fetched where none are.

        Raises UsageError for files that are missing in part, cut short or foreign, Failure for those that cannot be fetched.
        """
        folder = self.below(root)
        if download and not folder.exists():
            if (archive := root / self.archive).is_file():
                unpack(self, archive)
            else:
                fetch(self, root)
        contents, faults = self.read(root)
        if faults:
            more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
            again = f"remove {folder} to have it downloaded again, or {self.by_hand(root)}"
            raise UsageError(f"{faults[0]}{more}: {again}")
        *train, test = self.files
        return self._images(contents, train), self._images(contents, [test])

    def _images(self, contents: dict[str, bytes], names: list[str]) -> Images:
        import torch

        from benchmark.datasets.sets import Images

        # Unpickling is safe here and only here: these very bytes are known to be the official ones.
        parts = [pickle.loads(contents.pop(name), encoding="latin1") for name in names]
        planar = np.concatenate([part["data"] for part in parts]).reshape(-1, 3, 32, 32)
        labels = np.concatenate([np.asarray(part[self.labels], np.int64) for part in parts])
        return Images(torch.from_numpy(np.ascontiguousarray(planar.transpose(0, 2, 3, 1))), torch.from_numpy(labels))


def unpack(official: OfficialFiles, archive: Path) -> None:
    """Unpacks the official archive where it lies; what is in it appears in one rename, and is checked like all files."""
    folder = archive.parent / official.folder
    say(f"unpacking {archive} ...")
    try:
        with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=archive.parent) as scratch:
            (Path(scratch) / official.folder).mkdir()
            with tarfile.open(archive) as packed:
                for name in official.files:
                    member = packed.extractfile(f"{official.folder}/{name}")
                    assert member is not None, f"{name} is no file"
                    (Path(scratch) / official.folder / name).write_bytes(member.read())
            if not folder.exists():  # else another process was quicker
                os.rename(Path(scratch) / official.folder, folder)
    except Exception as error:  # gzip, zlib, tarfile and the system have many kinds; each means that it stays packed
        reason = " ".join(str(error).split())[:120]
        raise UsageError(
            f"{archive} cannot be unpacked ({reason}): remove it, or {official.by_hand(archive.parent)}"
        ) from None


def fetch(official: OfficialFiles, root: Path) -> None:
    """Has torchvision fetch the official archive; what arrives appears in one rename."""
    import torchvision

    say(f"{official.title} is not in {root}: downloading it ({official.size} MB) ...")
    previous = socket.getdefaulttimeout()
    try:
        root.mkdir(parents=True, exist_ok=True)
        socket.setdefaulttimeout(15)  # without a network, say so soon instead of hanging
        with tempfile.TemporaryDirectory(prefix=".download-", dir=root) as scratch, redirect_stdout(sys.stderr):
            getattr(torchvision.datasets, official.title.replace("-", ""))(scratch, download=True)
            if not (root / official.folder).exists():  # else another process was quicker
                os.rename(Path(scratch) / official.folder, root / official.folder)
    except Exception as error:  # torchvision and urllib raise many kinds; each means that there is no data
        reason = " ".join(str(error).split())[:120]
        raise Failure(
            f"{official.title} is not in {root} and could not be downloaded ({reason}): {official.by_hand(root)}"
        ) from None
    finally:
        socket.setdefaulttimeout(previous)
