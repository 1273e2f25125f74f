"""The data sets by name, and what is known of each without its images. No torch.

A data set is one file in `benchmark/datasets/known`, which registers its sheet when it is imported. This stands below
the recipes, which name data sets, and so it finds those files by their place instead of importing what lies above it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from benchmark.errors import UsageError, choices

SHEETS: dict[str, Datasheet] = {}

_FILES = Path(__file__).parent / "datasets" / "known"


@dataclass(frozen=True)
class Datasheet:
    """What is known of a data set without its images.

    name        as in a recipe and in `--dataset`
    title       as people write it
    classes     how many; labels are 0 to classes - 1
    mean, std   per channel, of pixels scaled to [0, 1]
    load        from (the folder of the user's data, whether missing files may be fetched) to a
                `benchmark.datasets.sets.Dataset` of `Images`. Raises UsageError for files that are missing in part, cut
                short or foreign, Failure for those that cannot be fetched
    checksum    what names the official files in records, known without reading them; None: made in code, without files,
                or a folder of images, whose checksum is that of what lies there
    crop        side of the random resized crops that networks see, out of images that are kept as larger squares; None:
                they see whole images, cropped from a border
    place       below the folder of the user's data, where a folder of images lies
    """

    name: str
    title: str
    classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    load: Callable[[Path, bool], Any]
    checksum: Callable[[], str] | None = None
    crop: int | None = None
    place: str | None = None

    @property
    def has_files(self) -> bool:
        return self.checksum is not None or self.place is not None


def register(sheet: Datasheet) -> Datasheet:
    """Makes a data set known by its name."""
    SHEETS[sheet.name] = sheet
    return sheet


def names() -> tuple[str, ...]:
    """Of all data sets, in alphabetical order."""
    _import_files()
    return tuple(sorted(SHEETS))


def datasheet(name: str) -> Datasheet:
    """The sheet of a data set. Raises UsageError, listing the names, for any other."""
    if name not in names():
        raise UsageError(f"unknown data set '{name}': {choices(name, names())}")
    return SHEETS[name]


@cache
def _import_files() -> None:
    for path in sorted(_FILES.glob("[!_]*.py")):
        import_module(f"benchmark.datasets.known.{path.stem}")
