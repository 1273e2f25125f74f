"""Food-101 (Bossard et al., 2014): 75,750 + 25,250 photographs of 101 dishes, the official folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.datasheets import Datasheet, register

if TYPE_CHECKING:
    from benchmark.datasets.sets import Dataset


def load_food101(root: Path, download: bool) -> Dataset[Any]:
    """From the folder food-101 below `root`, or `root` itself. Nothing is fetched: `download` has every image checked.

    Raises UsageError for a folder that is missing or laid out otherwise and for images that cannot be decoded.
    """
    from benchmark.datasets import folders

    return folders.load(FOOD101, root, download)


FOOD101 = register(
    Datasheet(
        "food101",
        "Food-101",
        101,
        (0.561, 0.440, 0.312),
        (0.252, 0.256, 0.259),
        load_food101,
        crop=224,
        place="food-101",
    )
)
