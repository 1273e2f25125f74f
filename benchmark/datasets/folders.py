"""Data sets that are folders of image files: which files there are, whether each can be read, and reading them.

An image is kept as a square of STORED pixels: the middle of the file's, scaled (its shorter side to STORED, bilinear). What
is not RGB is converted and EXIF's rotation is ignored, as torchvision's image folders do. No torch until images are loaded.
"""

from __future__ import annotations

import hashlib
import os
import re
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from benchmark.cli import say
from benchmark.datasets import sets
from benchmark.datasheets import Datasheet
from benchmark.errors import UsageError
from benchmark.files import write_atomically
from benchmark.running.cores import usable_cores
from benchmark.running.progress import ProgressLine
from benchmark.streams import stream

STORED = 256  # pixels
AT_ONCE = 256  # images that are decoded between two reports
MEMORY_SHARE = 0.5  # of the machine's, which held images may take

ENDINGS = r"\.(jpe?g|png|ppm|bmp|pgm|tiff?|webp)"

Item = tuple[Path, int]  # a file and its label
Listing = dict[str, tuple[list[Item], tuple[str, ...]]]  # by split, train and test: items and names of classes


def food101(root: Path) -> Listing:
    """Food-101 (Bossard et al., 2014): images/CLASS/ID.jpg, listed in meta/train.txt and meta/test.txt."""
    listed = {}
    for split in ("train", "test"):
        path = root / "meta" / f"{split}.txt"
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except OSError as error:
            raise UsageError(f"{path} cannot be read ({error.strerror}): {root} must be the folder food-101") from None
        except UnicodeDecodeError:
            raise UsageError(f"{path} is no text in UTF-8: take it from the archive again") from None
        listed[split] = [line.strip() for line in lines if line.strip()]
        for line in listed[split]:
            if not re.fullmatch(r"[^./\0][^/\0]*/[^/\0]+", line):
                raise UsageError(f"{path} lists '{line[:80]!a}', not CLASS/ID: take it from the archive again")
    classes = tuple(sorted({line.partition("/")[0] for lines in listed.values() for line in lines}))
    index = {name: label for label, name in enumerate(classes)}
    return {
        split: ([(root / "images" / f"{line}.jpg", index[line.partition("/")[0]]) for line in lines], classes)
        for split, lines in listed.items()
    }


def imagenet(root: Path) -> Listing:
    """ImageNet (Russakovsky et al., 2015) and whatever is laid out like it: train/CLASS/FILE, val/CLASS/FILE."""
    try:
        return _by_class(root)
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be read ({error.strerror}): {root} must be readable") from None


def _by_class(root: Path) -> Listing:
    found = {}
    for split, name in (("train", "train"), ("test", "val")):
        folder = root / name
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder: {root} must be one that holds train/CLASS/ and val/CLASS/")
        classes = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] != "."))
        if not classes and any(map(_is_image, folder.iterdir())):
            raise UsageError(
                f"{folder} is flat, its images lie in no folders of classes: sort it into {name}/WNID/, e.g. with valprep.sh of "
                "https://github.com/soumith/imagenetloader.torch"
            )
        paths = [
            (path, label)
            for label, name in enumerate(classes)
            for path in sorted((folder / name).iterdir())
            if _is_image(path)
        ]
        found[split] = (paths, classes)
    train, val = (set(found[split][1]) for split in ("train", "test"))
    if odd := sorted(train ^ val):
        there, missing = ("train", "val") if odd[0] in train else ("val", "train")
        more = f" (and {len(odd) - 1} more)" if len(odd) > 1 else ""
        raise UsageError(
            f"{root}: the class {odd[0]} is in {there} and not in {missing}{more}: take it out, or make its folder in both, "
            "be it empty"
        )
    return found


def _is_image(path: Path) -> bool:
    """By its ending, one of torchvision's. What begins with a dot is what systems leave beside images."""
    return bool(re.fullmatch(ENDINGS, path.suffix, re.IGNORECASE)) and path.name[0] != "."


FOLDERS: dict[str, Callable[[Path], Listing]] = {"food101": food101, "imagenet": imagenet}


def shuffled(items: Sequence[Item]) -> list[Item]:
    """In an order of its own, always the same: the first so many are then of all classes, as files by class are not."""
    return [items[k] for k in stream("order of files", 0).permutation(len(items))]


@contextmanager
def decoding(path: Path) -> Iterator[None]:
    """A block that opens or decodes an image. Raises UsageError, naming the file, for whatever goes wrong in it."""
    try:
        if path.is_fifo():  # to open it would wait for a writer, for ever
            raise OSError("it is a pipe")
        yield
    except Exception as error:  # of damaged files Pillow's decoders raise many kinds
        why = "it is missing" if isinstance(error, FileNotFoundError) else " ".join(str(error).split())[:120]
        raise UsageError(f"{path} cannot be decoded ({why or type(error).__name__}): remove or replace it") from None


def in_rgb(image: Any) -> Any:
    """An open image of Pillow's in RGB, as torchvision would convert it."""
    if image.mode == "P" and "transparency" in image.info:  # the same colours, but Pillow warns of it
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


def opened(path: Path) -> Any:
    """The image in a file, in RGB. Raises UsageError, naming it, where there is none."""
    from PIL import Image

    with decoding(path), Image.open(path) as image:
        return in_rgb(image)


def square(image: Any, side: int) -> np.ndarray:
    """The middle of an RGB image as uint8 (side, side, 3)."""
    from PIL import Image

    width, height = image.size
    inner = min(width, height)
    left, top = (width - inner) / 2, (height - inner) / 2
    box = (left, top, left + inner, top + inner)
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box))


@dataclass(frozen=True)
class ImageFolder(sets.Streamed):
    """Image files with their labels, decoded by several threads.

    resident  whether they are to be decoded once and held, as `Dataset.fitted` does
    """

    items: tuple[Item, ...]
    resident: bool = False

    def __len__(self) -> int:
        return len(self.items)

    @property
    def shape(self) -> tuple[int, int, int]:
        return STORED, STORED, 3

    @property
    def labels(self) -> Tensor:
        return torch.tensor([label for _, label in self.items])

    def take(self, count: int) -> Self:
        return replace(self, items=self.items[:count])

    def subset(self, indices: np.ndarray) -> ImageFolder:
        return replace(self, items=tuple(self.items[k] for k in indices))

    def decoded(self, order: Tensor, batch_size: int) -> Generator[sets.Pair, None, None]:
        with ThreadPoolExecutor(usable_cores()) as pool:  # decoding leaves Python's lock
            for start in range(0, len(order), batch_size):
                items = [self.items[k] for k in order[start : start + batch_size].tolist()]
                pixels = np.stack(list(pool.map(lambda item: square(opened(item[0]), STORED), items)))
                yield torch.from_numpy(pixels), torch.tensor([label for _, label in items])

    def held(self) -> sets.Images:
        return _held(self)


@lru_cache(maxsize=4)  # both sets of a training, or both halves of a search, for all runs of a worker
def _held(folder: ImageFolder) -> sets.Images:
    parts = list(folder.decoded(torch.arange(len(folder)), AT_ONCE))
    return sets.Images(torch.cat([pixels for pixels, _ in parts]), torch.cat([labels for _, labels in parts]))


def checksum(root: Path, found: Listing) -> str:
    """SHA-256 over the names, labels and sizes of all files: what records name a folder by. Missing files count as of size 0."""
    digest = hashlib.sha256()
    for split in ("train", "test"):
        for path, label in sorted(found[split][0]):
            try:
                size = path.stat().st_size
            except OSError:
                size = 0
            digest.update(
                f"{split}\0{path.relative_to(root).as_posix()}\0{label}\0{size}\n".encode(errors="surrogateescape")
            )
    return digest.hexdigest()


def folder_of(sheet: Datasheet, root: Path) -> Path:
    """Where a data set's folder is, or belongs: below the root, or it is the root."""
    below = root / str(sheet.place)
    return root if not below.exists() and any((root / name).is_dir() for name in ("meta", "train")) else below


def load(sheet: Datasheet, root: Path, check: bool) -> sets.Dataset[sets.Streamed]:
    """A data set from its folder. Raises UsageError for a folder that is missing or laid out otherwise.

    check: whether every file is decoded before, unless that was done already: files that cannot be are then named.
    """
    folder = folder_of(sheet, root)
    if not folder.is_dir():
        raise UsageError(
            f"{sheet.title} is not in {folder}: put its folder there, or name the one above it with --data"
        )
    found = FOLDERS[sheet.name](folder)
    names = found["train"][1]
    if len(names) > sheet.classes:
        raise UsageError(f"{folder} has {len(names)} classes, {sheet.title} {sheet.classes}: take the others out")
    for split, (items, _) in found.items():
        if not items:
            raise UsageError(f"{folder} has no {split} images: take them from the archive again")
    digest = checksum(folder, found)
    if check:
        _check(sheet, root, folder, found, digest)
    train, test = (ImageFolder(tuple(shuffled(found[split][0]))) for split in ("train", "test"))
    made: sets.Dataset[sets.Streamed] = sets.Dataset.of(sheet, train, test, digest)
    return replace(made, decoder=decoder())


def _check(sheet: Datasheet, root: Path, folder: Path, found: Listing, digest: str) -> None:
    """Decodes every file once; what was found in order is noted, and not looked at again while names and sizes stay."""
    note = root / "checked" / f"{sheet.name}-{digest[:12]}.txt"
    if note.exists():
        return
    items = [item for split in found.values() for item in split[0]]
    if len(found["train"][1]) < sheet.classes:
        say(f"{folder} is not the whole of {sheet.title}: {len(found['train'][1])} of {sheet.classes} classes")
    for split, (listed, names) in found.items():
        there = {label for _, label in listed}
        if empty := [name for label, name in enumerate(names) if label not in there]:
            say(f"{folder}: {len(empty)} of {len(names)} classes have no {split} images, the first is {empty[0]}")
    faults, kinds = examine([path for path, _ in items], f"checking {sheet.title}")
    if faults:
        more = f" (and {len(faults) - 1} more of {len(items):,})" if len(faults) > 1 else ""
        raise UsageError(f"{faults[0]}{more}")
    for kind, count in sorted(kinds.items()):
        say(f"{sheet.title}: {count:,} images {kind}")
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(note, f"{len(items)} images of {sheet.title} were decoded\n".encode())
    except OSError as error:
        say(f"{note} cannot be written ({error.strerror}): the next start checks all images again")


def examine(paths: Sequence[Path], title: str) -> tuple[list[str], dict[str, int]]:
    """(what is wrong with files, one line each; how many are of a kind that is converted, by what is done with them)."""
    faults: list[str] = []
    kinds: dict[str, int] = {}
    with (
        warnings.catch_warnings(),
        ThreadPoolExecutor(usable_cores()) as pool,
        ProgressLine(title, [1.0], [f"{len(paths):,} images"]) as line,
    ):
        warnings.simplefilter("ignore")  # Pillow's, of tags that nobody reads here and of images that are merely large
        for start in range(0, len(paths), AT_ONCE):
            for fault, odd in pool.map(_look, paths[start : start + AT_ONCE]):
                faults += [fault] if fault else []
                for kind in odd:
                    kinds[kind] = kinds.get(kind, 0) + 1
            line.report(0, {"fraction": min(1.0, (start + AT_ONCE) / len(paths)), "images": start})
    return faults, kinds


def _look(path: Path) -> tuple[str | None, list[str]]:
    from PIL import Image

    try:
        opened(path)
    except UsageError as error:
        return str(error), []
    with decoding(path), Image.open(path) as image:
        odd = [] if image.mode == "RGB" else [f"are {image.mode}, which is converted to RGB"]
        try:
            if image.getexif().get(274, 1) != 1:  # the tag of the orientation
                odd.append("have a rotation in EXIF, which is ignored")
        except Exception:  # tags that cannot be read are asked for nothing
            pass
    return None, odd


def decoder() -> str:
    """Which library decodes: another build of it may give pixels that differ by one."""
    from PIL import __version__, features

    return f"Pillow {__version__}, libjpeg-turbo {features.version('libjpeg_turbo') or 'none'}"


def require_memory(images: int) -> None:
    """Raises UsageError where so many images would take more than a share of this machine's memory."""
    needed = images * STORED * STORED * 3
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else needed
    if needed > MEMORY_SHARE * there:
        raise UsageError(
            f"{images:,} images of {STORED} pixels take {needed / 1e9:.0f} GB, this machine has {there / 1e9:.0f} GB: use "
            "--loader torchvision or ffcv"
        )
