"""Data sets that come as folders of images: where the images of each split lie, and of which class each is.

Each reads a folder into {split: ([(file, label), ...], names of the classes)}. Raises UsageError for another layout.
"""

from __future__ import annotations

import re
from pathlib import Path

from benchmark.errors import UsageError

Splits = dict[str, tuple[list[tuple[Path, int]], tuple[str, ...]]]


def food101(root: Path) -> Splits:
    """Food-101 (Bossard et al., 2014): images/CLASS/ID.jpg, listed in meta/train.txt and meta/test.txt."""
    listed = {}
    for split in ("train", "test"):
        path = root / "meta" / f"{split}.txt"
        try:
            listed[split] = path.read_text(encoding="utf-8").split()
        except OSError as error:
            raise UsageError(f"{path} cannot be read ({error.strerror}): give --images the folder food-101") from None
    classes = tuple(sorted({line.partition("/")[0] for lines in listed.values() for line in lines}))
    index = {name: label for label, name in enumerate(classes)}
    return {
        split: ([(root / "images" / f"{line}.jpg", index[line.partition("/")[0]]) for line in lines], classes)
        for split, lines in listed.items()
    }


def imagenet(root: Path) -> Splits:
    """ImageNet (Russakovsky et al., 2015) and whatever is laid out like it: train/CLASS/FILE, val/CLASS/FILE."""
    found = {}
    for split, name in (("train", "train"), ("test", "val")):
        folder = root / name
        if not folder.is_dir():
            raise UsageError(f"{folder} is no folder: give --images one that holds train/CLASS/ and val/CLASS/")
        classes = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir()))
        paths = [
            (path, label)
            for label, name in enumerate(classes)
            for path in sorted((folder / name).iterdir())
            if re.fullmatch(r"\.(jpe?g|png)", path.suffix, re.IGNORECASE)
        ]
        found[split] = (paths, classes)
    if found["train"][1] != found["test"][1]:
        raise UsageError(
            f"{root}: train and val have other classes ({len(found['train'][1])}, {len(found['test'][1])})"
        )
    return found


FOLDERS = {"food101": food101, "imagenet": imagenet}
