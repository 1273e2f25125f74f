"""Writes a folder of generated JPEGs in the layout of Food-101 or ImageNet, to try the two large spaces without their data.

    python examples/image_folders.py DATA food101 --train 1500 --test 500 --classes 101          # DATA/food-101
    python examples/image_folders.py DATA imagenet --train 1500 --test 500 --classes 200         # DATA/imagenet

The images are those of the data set `synthetic` (textures of two scales, arrangements of shapes; 10 classes), enlarged to
sizes between 200 and 420 pixels, no two alike; where more classes are asked for, each of these comes in several tints.
What is trained on them says nothing of Food-101 or ImageNet.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from benchmark.datasets.known.synthetic import CLASSES, generate


def write(data: Path, layout: str, train: int, test: int, classes: int = CLASSES, seed: int = 0) -> Path:
    """The folder. data: the one above it; layout: food101 or imagenet; train, test: how many images."""
    tints = np.random.default_rng(seed).uniform(0.4, 1, (-(-classes // CLASSES), 3))
    tints[0] = 1  # the first ten classes are as they come
    folder = data / {"food101": "food-101", "imagenet": "imagenet"}[layout]
    lists: dict[str, list[str]] = {}
    if layout == "imagenet":  # every class has a folder in both, be it empty
        for place in ((split, label) for split in ("train", "val") for label in range(classes)):
            (folder / place[0] / f"n{place[1]:08d}").mkdir(parents=True, exist_ok=True)
    for split, count in (("train", train), ("test", test)):
        pixels, labels = generate(count, seed, split)
        draw = np.random.default_rng(seed)
        for number, (image, label) in enumerate(zip(pixels, labels.tolist(), strict=True)):
            if classes > CLASSES:
                tint = int(draw.integers(-(-(classes - label) // CLASSES)))  # no label beyond the last
                image, label = (image * tints[tint]).astype(np.uint8), label + CLASSES * tint
            width, height = draw.integers(200, 421, 2).tolist()
            if layout == "food101":
                name = f"dish_{label}/{split}{number}"
                path = folder / "images" / f"{name}.jpg"
                lists.setdefault(split, []).append(name)
            else:
                path = folder / {"train": "train", "test": "val"}[split] / f"n{label:08d}" / f"{number:08d}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC).save(path, "JPEG", quality=90)
    for split, names in lists.items():
        (folder / "meta").mkdir(exist_ok=True)
        (folder / "meta" / f"{split}.txt").write_text("\n".join(names) + "\n", encoding="utf-8")
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA")
    parser.add_argument("layout", choices=["food101", "imagenet"])
    parser.add_argument("--train", type=int, default=1500, metavar="N")
    parser.add_argument("--test", type=int, default=500, metavar="N")
    parser.add_argument("--classes", type=int, default=CLASSES, metavar="N", help=f"{CLASSES} or more")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    given = parser.parse_args()
    print(write(given.data, given.layout, given.train, given.test, given.classes, given.seed))
