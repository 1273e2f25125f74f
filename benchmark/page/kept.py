"""What lies under an output folder: tables and rankings. What cannot be read is named and left out. No torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark.errors import UsageError
from benchmark.scoring.ranking import Ranking, read_ranking
from benchmark.tables.files import distinct_name, load_table
from benchmark.tables.published import Variant
from benchmark.tables.table import GroundTruth


@dataclass(frozen=True, eq=False)
class KeptTable:
    """A table and its header's path, as it is seen from the report's folder; None where it came with the package.

    `table.name` is no other table's on the page: figures are named after it.
    """

    table: GroundTruth
    link: str | None

    @property
    def title(self) -> str:
        """Its name on the page, without that of its space."""
        return self.table.name.removeprefix(f"{self.table.space.name}-")


@dataclass(frozen=True, eq=False)
class KeptRanking:
    """A ranking and its file, as it is seen from the report's folder."""

    ranking: Ranking
    link: str

    @property
    def seed(self) -> str:
        seed = self.ranking.provenance.get("seed")
        return "-" if seed is None else str(seed)[:20]


@dataclass(frozen=True, eq=False)
class Offered:
    """A variant of a method that the suite has; options: all of them, those by default too."""

    method: str
    variant: Variant
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Kept:
    """offered: what there is to run; left_out: a line for each file that is not on the page, which names it."""

    out: Path
    tables: tuple[KeptTable, ...]
    rankings: tuple[KeptRanking, ...]
    offered: tuple[Offered, ...]
    left_out: tuple[str, ...]


def read(out: Path, report: Path, offered: Sequence[Offered] = ()) -> Kept:
    """The published table, the tables and the rankings under `out`; links are relative to the folder `report`."""
    left_out: list[str] = []
    tables: dict[str, KeptTable] = {"published": KeptTable(load_table("published"), None)}
    for path in _headers(out / "tables"):
        try:
            table = load_table(path)
        except UsageError as error:
            left_out.append(_line(error))
            continue
        place = link(path, report)
        if same := next((name for name, kept in tables.items() if kept.table.sha256 == table.sha256), None):
            if tables[same].link is None:
                tables[same] = replace(tables[same], link=place)
            continue
        name = table.name if table.name not in tables else distinct_name(table.name, table.sha256)
        tables[name] = KeptTable(replace(table, header=dict(table.header) | {"name": name}), place)
    rankings = []
    for path in sorted((out / "rankings").glob("*.json")):
        try:
            rankings.append(KeptRanking(read_ranking(path), link(path, report)))
        except UsageError as error:
            left_out.append(_line(error))
    return Kept(out, tuple(tables.values()), tuple(rankings), tuple(offered), tuple(left_out))


def _headers(folder: Path) -> Sequence[Path]:
    """Every table's header; a CSV file without one is no table, but has to be said."""
    found: Iterable[Path] = {
        path.with_name(path.name.removesuffix(".csv").removesuffix(".curves") + ".json")
        for path in folder.glob("*.csv")
    }
    return sorted({*found, *folder.glob("*.json")})


def link(path: Path, report: Path) -> str:
    """A path as a browser follows it from the page."""
    from urllib.parse import quote

    return quote(Path(os.path.relpath(path, report)).as_posix())


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
