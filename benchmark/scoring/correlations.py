"""What ranks like what: Kendall's tau-b between rankings, costs and accuracies of one space. No torch."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.errors import UsageError
from benchmark.scoring.estimate import tidy
from benchmark.scoring.kendall import kendall
from benchmark.scoring.ranking import Ranking
from benchmark.spaces import costs
from benchmark.tables.table import GroundTruth

MACS, LATE = "MACs", "layers before the first pooling"


@dataclass(frozen=True)
class Correlations:
    """A symmetric matrix.

    names  of its rows and columns: the rankings, MACs where they can be counted, layers before the first pooling, then
           the accuracy of each table
    taus   by row; tau-b, averaged over seeds where a ranking has several
    """

    space: str
    names: tuple[str, ...]
    taus: tuple[tuple[float, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        return {"space": self.space, "names": list(self.names), "taus": [list(row) for row in self.taus]}

    def csv(self) -> str:
        """One row per name, the first column its name."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["", *self.names])
        writer.writerows(
            [name, *(f"{tau:.4f}" for tau in row)] for name, row in zip(self.names, self.taus, strict=True)
        )
        return out.getvalue()


def correlations(entrants: Mapping[str, Sequence[Ranking]], tables: Sequence[GroundTruth]) -> Correlations:
    """Between all of them: of two rankings with several seeds, the mean over seeds, the n-th of one with the n-th of the other.

    entrants: by label, one ranking per seed. Raises UsageError for no table, one that cannot judge, or another space.
    """
    import numpy as np

    if not tables:
        raise UsageError("correlations need a table")
    space = tables[0].space
    for table in tables:
        table.require_judge()
    others = {table.space.name for table in tables} | {r.space for group in entrants.values() for r in group}
    if others != {space.name}:
        raise UsageError(f"correlations are of one space, these are of {', '.join(sorted(others))}: give those of one")
    values = {label: [np.array(ranking.scores) for ranking in group] for label, group in entrants.items()}
    if space.backbone:
        values[MACS] = [np.array([float(costs.macs(space, config)) for config in space])]
    values[LATE] = [np.array([float(config.layers[0]) for config in space])]
    values |= {f"accuracy, {table.name}": [np.array([row.mean for row in table.rows])] for table in tables}

    def between(one: Sequence[Any], other: Sequence[Any]) -> float:
        pairs = max(len(one), len(other))
        taus = [float(kendall(one[i % len(one)][None], other[i % len(other)])[0]) for i in range(pairs)]
        return tidy(sum(taus) / pairs)

    names = tuple(values)
    return Correlations(space.name, names, tuple(tuple(between(values[a], values[b]) for b in names) for a in names))
