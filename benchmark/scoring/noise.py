"""How far a table's means may be off: tables that other seeds might have given, and what they leave reachable. No torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.scoring.kendall import kendall
from benchmark.tables.table import Row

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray

LEVEL = 0.05  # of the significance tests, and what the intervals leave out


@dataclass(frozen=True)
class Simulated:
    """Mean over simulated tables and the 95 % percentile interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True)
class Ceiling:
    """What noise leaves reachable: tables are drawn as normal(mean, std / sqrt(n)) per configuration.

    perfect      tau-b of the table's means, taken as the truth, against one such table
    independent  tau-b of two such tables against each other
    """

    perfect: Simulated
    independent: Simulated


@dataclass(frozen=True)
class Estimates:
    """The means of some rows of a table and how far they may be off.

    means  (C,) accuracies, in per cent
    stds   (C,) over seeds, in points
    n      (C,) seeds behind each mean
    """

    means: Array
    stds: Array
    n: Array


@dataclass(frozen=True)
class Pooled:
    """One std for all configurations of a table: sqrt(sum (n - 1) std^2 / sum (n - 1)), in points.

    freedom  sum (n - 1), over the configurations with two seeds or more
    """

    std: float
    freedom: int


def estimates(rows: Sequence[Row], pooled: Pooled | None = None) -> Estimates:
    """What rows say; where one has a single seed, so no std of its own, `pooled` stands in."""
    import numpy as np

    lone = pooled.std if pooled else 0.0
    stds = np.array([lone if row.std is None else row.std for row in rows])
    return Estimates(np.array([row.mean for row in rows]), stds, np.array([row.n for row in rows]))


def pool(rows: Iterable[Row]) -> Pooled | None:
    """The pooled std over seeds; None where no row has two."""
    several = [(row.n - 1, row.std) for row in rows if row.std is not None]
    if not several:
        return None
    freedom = sum(weight for weight, _ in several)
    return Pooled(math.sqrt(math.fsum(weight * std**2 for weight, std in several) / freedom), freedom)


def redraw_normal(known: Estimates, draws: int, generator: np.random.Generator) -> Array:
    """(draws, C) tables drawn as normal(mean, std / sqrt(n))."""
    import numpy as np

    tables = generator.standard_normal((draws, len(known.means)))
    tables *= known.stds / np.sqrt(known.n)  # in place, for a space of 15,625 configurations takes 250 MB each time
    tables += known.means
    return tables


def redraw(rows: Sequence[Row], known: Estimates, draws: int, generator: np.random.Generator) -> Array:
    """(draws, C) tables that other seeds might have given: from the seeds of each configuration where all have
    several, else as normal(mean, std / sqrt(n))."""
    import numpy as np

    if not all(len(row.values) > 1 for row in rows):
        return redraw_normal(known, draws, generator)
    tables = np.empty((draws, len(rows)))
    for place, (row, mean) in enumerate(zip(rows, known.means, strict=True)):
        resampled = np.array(list(row.values.values()))[generator.integers(row.n, size=(draws, row.n))].mean(axis=1)
        # n values drawn with replacement vary by (n - 1)/n too little: 18 % too narrow an interval at n = 3.
        tables[:, place] = mean + (resampled - mean) * math.sqrt(row.n / (row.n - 1))
    # Sums of the same numbers in another order differ in the last bits, which would break true ties.
    return np.round(tables, 9, out=tables)


def ceiling_of(known: Estimates, draws: int, generator: np.random.Generator) -> Ceiling | None:
    """None where no noise is left in which tables could be told apart."""
    one = redraw_normal(known, draws, generator)
    other = redraw_normal(known, draws, generator)
    perfect, independent = simulated(kendall(one, known.means)), simulated(kendall(one, other))
    return Ceiling(perfect, independent) if perfect and independent else None


def percentiles(values: Array) -> tuple[float, float] | None:
    """The 95 % percentile interval; values that are not finite are left out, None without any other."""
    import numpy as np

    known = values[np.isfinite(values)]
    if not len(known):
        return None
    low, high = np.percentile(known, [100 * LEVEL / 2, 100 * (1 - LEVEL / 2)])
    return float(low), float(high)


def simulated(values: Array) -> Simulated | None:
    """Mean and interval; None without a finite value."""
    import numpy as np

    interval = percentiles(values)
    return Simulated(float(np.nanmean(values)), *interval) if interval else None
