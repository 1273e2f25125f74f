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
    if sheet.checksum is None:
        return sheet.load(Path(), download)  # made in code: nobody needs to have a home for it
    return sheet.load(Path(root) if root is not None else default_root(), download)


def main(argv: Sequence[str] | None = None) -> int:
    """`python -m benchmark.datasets [NAME] [--data DIR]`: has a data set in place, or says why not."""
    parser = Parser(
        prog="python -m benchmark.datasets",
        description="Checks a data set's files, and fetches them where they are missing.",
    )
    on_disk = [name for name in datasheets.names() if datasheets.datasheet(name).checksum]
    parser.add_argument("dataset", nargs="?", default="cifar10", choices=on_disk, help="default %(default)s")
    add_data(parser)
    options = parser.parse(argv)
    found = load(options.dataset, options.data)
    title = datasheets.datasheet(options.dataset).title
    place = options.data or default_root()
    answer(f"{title} is in {place}: {len(found.train):,} + {len(found.test):,} images, checked")
    return 0
