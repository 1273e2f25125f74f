"""Loading a data set by its name, from the folder that holds the user's data. No torch until one is loaded."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark import datasheets
from benchmark.cli import Parser, add_data, answer, folder
from benchmark.errors import UsageError

if TYPE_CHECKING:
    from benchmark.datasets.sets import Dataset, Images


def default_root() -> Path:
    """`$NASBENCH_POOLING_DATA`, where `~` is the user's home, else the user's cache.

    Raises UsageError for a user who has no home, as in some containers, and where a file is in the way.
    """
    given = os.environ.get("NASBENCH_POOLING_DATA")
    try:
        cache = given or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nas-bench-pooling"
        return Path(folder(str(Path(cache).expanduser())))
    except argparse.ArgumentTypeError as error:
        where = "NASBENCH_POOLING_DATA" if given else "the user's cache"
        raise UsageError(f"{where}: {error}, or give --data") from None
    except RuntimeError:
        raise UsageError(
            f"there is no home folder for {given or 'the data'}: set NASBENCH_POOLING_DATA to a whole path, or give --data"
        ) from None


def load(name: str, root: Path | str | None = None, download: bool = True) -> Dataset[Images]:
    """The named data set: from its official files below `root`, where it has any, or made in code.

    Raises UsageError for unknown names and for files that are missing in part, cut short or foreign;
    Failure where they are absent and cannot be downloaded.
    """
    sheet = datasheets.datasheet(name)
    if not sheet.has_files:
        return sheet.load(Path(), download)  # made in code: nobody needs to have a home for it
    return sheet.load(Path(root) if root is not None else default_root(), download)


def arguments() -> Parser:
    parser = Parser(
        prog="python -m benchmark.datasets",
        description="Checks a data set's files, and fetches CIFAR's where they are missing. Without a name: what is at hand.",
    )
    on_disk = [name for name in datasheets.names() if datasheets.datasheet(name).has_files]
    parser.add_argument("dataset", nargs="?", choices=on_disk, help="default: all, of which none is fetched")
    add_data(parser)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m benchmark.datasets [NAME] [--data DIR]`: has a data set in place, or says why not; without a name, says
    of each whether it is at hand.
    """
    options = arguments().parse(argv)
    if options.dataset:
        answer(f"{_found(options.dataset, options.data, True)}, checked")
        return 0
    for name in (name for name in datasheets.names() if datasheets.datasheet(name).has_files):
        try:
            answer(f"{name}: {_found(name, options.data, False)}")
        except UsageError as error:
            answer(f"{name}: {error}")
    return 0


def _found(name: str, data: str | None, whole: bool) -> str:
    """Where a data set is and how much of it. whole: fetched where it is missing, every image looked at."""
    found = load(name, data, download=whole)
    place = data or default_root()
    return f"{datasheets.datasheet(name).title} is in {place}: {len(found.train):,} + {len(found.test):,} images"
