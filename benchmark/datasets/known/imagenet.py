"""ImageNet (Russakovsky et al., 2015): 1,281,167 + 50,000 photographs of 1,000 classes, as train/WNID/ and val/WNID/."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.datasheets import Datasheet, register

if TYPE_CHECKING:
    from benchmark.datasets.sets import Dataset


def load_imagenet(root: Path, download: bool) -> Dataset[Any]:
    """From the folder imagenet below `root`, or `root` itself. Nothing is fetched: `download` has every image checked.

    Raises UsageError for a folder that is missing or laid out otherwise and for images that cannot be decoded.
    """
    from benchmark.datasets import folders

    return folders.load(IMAGENET, root, download)


IMAGENET = register(
    Datasheet(
        "imagenet",
        "ImageNet",
        1000,
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
        load_imagenet,
        crop=224,
        place="imagenet",
    )
)
