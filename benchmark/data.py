"""Data sets: official files checked, images resident as uint8, order and augmentation from (seed, epoch).

Every set is held as uint8 pixels of shape (N, 32, 32, 3) and int64 labels of shape (N,), where the
training runs. A batch is one gather: crop, flip and selection are index arithmetic, so that what an
epoch sees is a pure function of (seed, epoch), the same on every device.

A set that is not held is `Streamed`: something else decodes its images, batch by batch, and no more. Order, crops,
flips and normalisation are the same code, so that the batches have the same bits (`benchmark.loaders`).
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import socket
import sys
import tarfile
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, redirect_stdout
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from benchmark.cli import Parser, add_data, answer, command, say
from benchmark.errors import Failure, UsageError, choices
from benchmark.files import write_atomically
from benchmark.given import read_bytes
from benchmark.recipe import Recipe
from benchmark.streams import stream

PADDING = 4  # pixels of black on each side before the random crop

# Mean and standard deviation per channel, of pixels scaled to [0, 1].
STATISTICS = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "synthetic": ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25)),
}

# SHA-256 and size in bytes of the official files of the python version of CIFAR-10 (Krizhevsky, 2009).
CIFAR10_FOLDER = "cifar-10-batches-py"
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

Pair = tuple[Tensor, Tensor]  # pixels or normalised images, and labels int64 (B,)


class Streamed(ABC):
    """A labelled set of images of one size whose images are decoded when they are asked for."""

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """(height, width, 3) of every image."""

    @abstractmethod
    def take(self, count: int) -> Self:
        """The first so many."""

    @abstractmethod
    def decoded(self, order: Tensor, batch_size: int) -> Generator[Pair, None, None]:
        """The images at these positions (int64), in this order: uint8 (B, H, W, 3) and their labels, on the CPU.

        A batch may be kept: nothing writes over it. Close what is not used up.
        """

    def first(self, count: int | None) -> Self:
        """The first so many (None: all). Raises UsageError if there are fewer."""
        _require_enough(count, len(self))
        return self if count is None or count == len(self) else self.take(count)

    def to(self, device: torch.device) -> Self:
        return self  # it is decoded on the CPU, batch by batch


@dataclass(frozen=True)
class Images:
    """One labelled set: pixels uint8 (N, 32, 32, 3), labels int64 (N,)."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int | None) -> Images:
        """The first so many (None: all). Raises UsageError if there are fewer."""
        _require_enough(count, len(self))
        return self if count is None or count == len(self) else Images(self.pixels[:count], self.labels[:count])

    def subset(self, indices: np.ndarray) -> Images:
        chosen = torch.from_numpy(indices)
        return Images(self.pixels[chosen], self.labels[chosen])

    def to(self, device: torch.device) -> Images:
        there = self.pixels.device == device
        return self if there else Images(self.pixels.to(device), self.labels.to(device))

    @cached_property
    def windows(self) -> Tensor:
        """What `crop_and_flip` crops from, made when first trained on: sets that only test need none."""
        return crop_windows(self.pixels)


def _require_enough(count: int | None, there: int) -> None:
    if count is not None and count > there:
        raise UsageError(f"{count} images were asked for, but the set has {there}: ask for fewer, or for all")


Set = TypeVar("Set", Images, Streamed)


@dataclass(frozen=True)
class Dataset(Generic[Set]):
    """Training and test set, with what normalisation needs (per channel, of pixels scaled to [0, 1])."""

    name: str
    train: Set
    test: Set
    classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    checksum: str

    @classmethod
    def described(cls, name: str, train: Set, test: Set, checksum: str) -> Dataset[Set]:
        """One of the known data sets, its images held or streamed."""
        mean, std = STATISTICS[name]
        return cls(name, train, test, 10, mean, std, checksum)

    def reduced(self, recipe: Recipe) -> Dataset[Set]:
        """With the subset sizes of a recipe, for stand-alone training."""
        return replace(self, train=self.train.first(recipe.train_images), test=self.test.first(recipe.eval_images))

    def to(self, device: torch.device) -> Dataset[Set]:
        """With all images on the device, ready for every stream there."""
        moved = replace(self, train=self.train.to(device), test=self.test.to(device))
        if device.type == "cuda" and isinstance(moved.train, Images):
            _ = moved.train.windows
            torch.cuda.synchronize(device)
        return moved


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
        return _cifar10(Path(root) if root is not None else default_root(), download)
    raise UsageError(f"unknown data set '{name}': {choices(name, STATISTICS)}")


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


def _cifar10(root: Path, download: bool) -> Dataset[Images]:
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
    return Dataset.described("cifar10", gather(train), gather([test]), cifar10_checksum())


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


def _synthetic() -> Dataset[Images]:
    from benchmark import synthetic

    digest = hashlib.sha256()
    sets = []
    for split, count in (("train", 8192), ("test", 2048)):
        pixels, labels = synthetic.generate(count, 0, split)
        digest.update(pixels.tobytes() + labels.astype("<i8").tobytes())
        sets.append(Images(torch.from_numpy(pixels), torch.from_numpy(labels)))
    return Dataset.described("synthetic", sets[0], sets[1], digest.hexdigest())


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
    text = json.dumps(stored) + "\n"
    if path.exists():
        if path.read_bytes() != text.encode():
            raise UsageError(f"{path} holds another split than this version makes: keep it and use another --out")
        return path
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text.encode(), path.with_name(f"{path.name}.{os.getpid()}.partial"))
    return path


@dataclass(frozen=True)
class Augmentation:
    """What one epoch sees: `order` int64 (N,), and per position the crop's corner and whether it is mirrored."""

    order: Tensor
    top: Tensor
    left: Tensor
    mirrored: Tensor

    def to(self, device: torch.device) -> Augmentation:
        return Augmentation(*(t.to(device) for t in (self.order, self.top, self.left, self.mirrored)))


def augmentation(count: int, seed: int, epoch: int) -> Augmentation:
    """Order, crops and flips of an epoch: a pure function of (count, seed, epoch)."""
    draw = stream("epoch", seed, epoch)
    order = draw.permutation(count)
    corners = draw.integers(0, 2 * PADDING + 1, size=(2, count))
    mirrored = draw.integers(0, 2, size=count)
    return Augmentation(*(torch.from_numpy(a) for a in (order, corners[0], corners[1], mirrored)))


@dataclass(frozen=True)
class Normalise:
    """uint8 (B, H, W, 3) -> (B, 3, H, W) in `dtype`: x = pixel * scale + shift."""

    scale: Tensor  # float32 (3 H W,): one entry per byte of an image
    shift: Tensor
    dtype: torch.dtype
    memory_format: torch.memory_format

    @classmethod
    def of(cls, shape: Sequence[int], dataset: Dataset[Any], recipe: Recipe, device: torch.device) -> Normalise:
        mean, std = (torch.tensor(v, device=device).repeat(shape[0] * shape[1]) for v in (dataset.mean, dataset.std))
        return cls(
            1 / (255 * std),
            -mean / std,
            torch.bfloat16 if recipe.precision == "bf16" else torch.float32,
            torch.channels_last if recipe.memory_layout == "channels_last" else torch.contiguous_format,
        )

    def __call__(self, pixels: Tensor) -> Tensor:
        # Flat rows with one scale per byte: four times as fast on a CPU as broadcasting over a last axis of 3.
        x = torch.addcmul(self.shift, pixels.flatten(1).to(torch.float32), self.scale).to(self.dtype)
        return x.view(pixels.shape).permute(0, 3, 1, 2).contiguous(memory_format=self.memory_format)


@dataclass(frozen=True)
class Served(ABC, Generic[Set]):
    """One set as normalised batches (x: (B, 3, H, W), y: int64 (B,)), in an epoch's order or as it comes."""

    images: Set
    normalise: Normalise
    batch_size: int
    device: torch.device

    @classmethod
    def of(cls, images: Set, dataset: Dataset[Any], recipe: Recipe, device: torch.device) -> Self:
        shape = images.pixels.shape[1:] if isinstance(images, Images) else images.shape
        return cls(images.to(device), Normalise.of(shape, dataset, recipe, device), recipe.batch_size, device)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def steps(self) -> int:
        """Training batches per epoch: full ones only, or a single short one where the set is smaller than a batch."""
        return max(1, len(self) // self.batch_size)

    @abstractmethod
    def epoch(self, plan: Augmentation, start: int = 0) -> Generator[Pair, None, None]:
        """The augmented batches of an epoch, from the start-th on. Close it where it is left early."""

    @abstractmethod
    def plain(self) -> Generator[Pair, None, None]:
        """The whole set in order, not augmented, nothing dropped. Close it where it is left early."""

    def _of_step(self, plan: Augmentation, step: int) -> Iterator[Tensor]:
        """What the plan says of one batch, on the device."""
        here = slice(step * self.batch_size, (step + 1) * self.batch_size)
        return (t[here].to(self.device, non_blocking=True) for t in (plan.order, plan.top, plan.left, plan.mirrored))


class Batches(Served[Images]):
    """Batches of resident images: any of them at any time."""

    def train(self, plan: Augmentation, step: int) -> Pair:
        """The step-th augmented batch of an epoch."""
        chosen, top, left, mirrored = self._of_step(plan, step)
        pixels = crop_and_flip(self.images.windows, chosen, top, left, mirrored)
        return self.normalise(pixels), self.images.labels[chosen]

    def epoch(self, plan: Augmentation, start: int = 0) -> Generator[Pair, None, None]:
        for step in range(start, self.steps):
            yield self.train(plan, step)

    def chosen(self, indices: Tensor) -> Pair:
        """The images at these positions, not augmented."""
        indices = indices.to(self.device)
        return self.normalise(self.images.pixels.index_select(0, indices)), self.images.labels[indices]

    def plain(self) -> Generator[Pair, None, None]:
        for start in range(0, len(self), self.batch_size):
            here = slice(start, start + self.batch_size)
            yield self.normalise(self.images.pixels[here]), self.images.labels[here]


class StreamedBatches(Served[Streamed]):
    """Batches of images that are decoded on the way: the same bits as if they were resident."""

    def epoch(self, plan: Augmentation, start: int = 0) -> Generator[Pair, None, None]:
        order = plan.order[start * self.batch_size : self.steps * self.batch_size].cpu()
        with closing(self.images.decoded(order, self.batch_size)) as batches:
            for step, (pixels, labels) in enumerate(batches, start):
                _, top, left, mirrored = self._of_step(plan, step)
                windows = crop_windows(self._sent(pixels))
                rows = torch.arange(len(labels), device=self.device)
                crops = crop_and_flip(windows, rows, top, left, mirrored)
                yield self.normalise(crops), self._sent(labels)

    def plain(self) -> Generator[Pair, None, None]:
        with closing(self.images.decoded(torch.arange(len(self)), self.batch_size)) as batches:
            for pixels, labels in batches:
                yield self.normalise(self._sent(pixels)), self._sent(labels)

    def _sent(self, values: Tensor) -> Tensor:
        """A tensor on the device, without waiting for the steps that a GPU is still at."""
        if self.device.type != "cuda":
            return values
        return values.pin_memory().to(self.device, non_blocking=True)


def served(
    images: Images | Streamed, dataset: Dataset[Any], recipe: Recipe, device: torch.device
) -> Batches | StreamedBatches:
    """Batches of a set, held or streamed."""
    kind: Any = Batches if isinstance(images, Images) else StreamedBatches
    return kind.of(images, dataset, recipe, device)


def crop_windows(pixels: Tensor) -> Tensor:
    """Every crop of every image, as a view of one padded copy: uint8 (N, 9, 9, H, 3 W) of (N, H, W, 3)."""
    height, width, channels = pixels.shape[1:]
    padded = torch.nn.functional.pad(pixels, (0, 0, *4 * (PADDING,)))
    return padded.flatten(2).unfold(1, height, 1).unfold(2, width * channels, channels)


def crop_and_flip(windows: Tensor, chosen: Tensor, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
    """Crops HxW of the chosen images out of zero padding 4, then mirrors where asked: uint8 (B, H, W, 3).

    windows: of `crop_windows`; chosen: int64 (B,); top, left: int64 (B,), the corner in the padded image, 0 to 8;
    mirrored: int64 (B,), 0 or 1.
    """
    crops = windows[chosen, top, left].unflatten(2, (-1, 3))
    # Bitwise "where": a quarter of torch.where's time on a CPU, and no host has to know how many are mirrored.
    mask = (mirrored * 255).to(torch.uint8).view(-1, 1, 1, 1)
    return crops ^ ((crops ^ crops.flip(2)) & mask)


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m benchmark.data [--data DIR]`: has CIFAR-10 in place, or says why not."""
    parser = Parser(prog="python -m benchmark.data", description="Checks CIFAR-10, and fetches it where it is missing.")
    add_data(parser)
    options = parser.parse(argv)
    found = load("cifar10", options.data)
    answer(
        f"CIFAR-10 is in {options.data or default_root()}: {len(found.train):,} + {len(found.test):,} images, checked"
    )
    return 0


if __name__ == "__main__":
    command(main)
