"""Two tables of ground truth held against each other: the numbers. No torch; scipy loads when it is asked for.

`benchmark.compare` is the command and the page.
"""

from __future__ import annotations

import json
import math
import shlex
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from benchmark.errors import UsageError
from benchmark.scoring.estimate import Estimate, Interval, finite, tidy
from benchmark.scoring.kendall import kendall
from benchmark.scoring.noise import (
    LEVEL,
    Pooled,
    Simulated,
    percentiles,
    redraw_normal,
    simulated,
)
from benchmark.scoring.paired import Paired, paired
from benchmark.scoring.sides import Compared, Side, beyond, side_of
from benchmark.spaces.space import Config
from benchmark.streams import stream
from benchmark.tables.files import distinct_name
from benchmark.tables.table import GroundTruth, Row

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray

MARGIN = 0.3  # points within which two recipes are called equal


@dataclass(frozen=True)
class Cell:
    """One configuration in one table: accuracy in per cent; rank: 1 + the number of compared ones that are better."""

    mean: float
    std: float | None
    n: int
    rank: int


@dataclass(frozen=True)
class Line:
    """One configuration in both tables.

    delta  B - A in points, with its interval by the pooled stds of both tables; None for it where no noise is known
    """

    number: int
    config: str
    a: Cell
    b: Cell
    delta: Estimate


@dataclass(frozen=True)
class Comparison:
    """Two tables, held against each other over the configurations that both have.

    tau, spearman, pearson  of the means, with intervals over seeds
    tau_given_macs          partial tau-b: what the tables agree on beyond what counting MACs tells of both
    one_truth               tau of two tables with these stds and n that are draws of one truth
    std_ratio               pooled std of B / that of A, with its F interval
    resolved, agree         pairs resolved in both tables, and those of them in the same order
    contradictions          the others, as A has them
    jointly                 whether the same seeds were redrawn in both: all are paired, two or more of each
    differ                  fields in which the recipes differ: (A's, B's)
    """

    space: str
    dataset: str
    size: int
    of: int
    a: Side
    b: Side
    differ: Mapping[str, tuple[Any, Any]]
    jointly: bool
    identical: bool
    tau: Estimate
    tau_given_macs: Estimate
    spearman: Estimate
    pearson: Estimate
    one_truth: Simulated | None
    std_ratio: Estimate
    resolved: int | None
    agree: int | None
    contradictions: tuple[str, ...]
    paired: Paired | None
    lines: tuple[Line, ...]
    draws: int

    @property
    def name(self) -> str:
        return "-vs-".join(distinct_name(side.name, side.sha256) for side in (self.a, self.b))

    @property
    def command(self) -> str:
        """What makes this comparison; FOLDER stands for where a table lies that is not shipped."""
        margin = self.paired.margin if self.paired else MARGIN
        flags = [] if margin == MARGIN else ["--margin", f"{margin:g}"]
        tables = [
            side.name if distinct_name(side.name, side.sha256) == side.name else f"FOLDER/{side.name}.csv"
            for side in (self.a, self.b)
        ]
        return shlex.join(["python", "-m", "benchmark.compare", *tables, *flags])

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON types, to 8 significant digits; None where there is no number."""
        text = json.dumps({"command": self.command} | asdict(self), allow_nan=False)
        return json.loads(text, parse_float=lambda digits: tidy(float(digits)))


def compare(a: GroundTruth, b: GroundTruth, *, margin: float = MARGIN, draws: int = 2000) -> Comparison:
    """Compares two tables of one space and one data set over the configurations that both hold.

    margin  points within which paired tables are to be called equal
    draws   number of redrawn tables, for intervals and ceilings

    Where tables are redrawn, a configuration has the std of its own seeds; where it has one seed, the pooled one stands in.
    Where no configuration has two, that table has no noise to reckon with, and whatever needs it is None.

    Tests and intervals of single configurations take the std of a table as one, pooled over its configurations, as a
    one-way analysis of variance does: of two or three seeds, an own std says next to nothing. `std_spread` says whether
    the stds contradict that.

    Delta of a configuration: the t interval of two means, with both pooled stds and Welch's degrees of freedom (1947).
    Intervals of tau, Spearman, Pearson: percentiles over tables that are redrawn as `benchmark.score` does, both at once,
    with the same seeds in both where all are paired. They hold the noise twice, once in the means and once in the
    redrawing, so they lie below the value of a high tau.
    Given MACs: Kendall's partial tau-b, as `benchmark.score` has it. Where MACs explain all of both sides it is near 0
    but not 0, for it takes out the order, not the size: normal variables of which each has tau t with MACs, and which
    share nothing else, have (2 / pi asin(sin(pi t / 2)^2) - t^2) / (1 - t^2), 0.11 at t = 0.5.
    One truth: tables drawn as normal(mean of both, std / sqrt(n)); its spread holds noise too, so it is a little high.
    Ratio of stds: F interval; it takes the tables as independent and all configurations of one to vary alike.
    Resolved: Student's t-test with the pooled std, p-values adjusted over all pairs (Benjamini and Hochberg, 1995), at
    most 5 %.

    Seeds that resolve a gap d: the smallest n per configuration at which a two-sample t-test (two-sided 5 %) has power
    80 % at noncentrality d sqrt(n / 2) / s, s the pooled std; for large n: 2 (z_0.975 + z_0.8)^2 s^2 / d^2. The gap is
    the observed one, which noise widens or narrows, so this plans further seeds and proves nothing.

    Equal within the margin: the 95 % t interval of the mean paired difference lies within it: two one-sided tests at
    2.5 % each (Schuirmann, 1987). Pairs that show it if the truth is 0: (z_0.975 + z_0.9)^2 sd^2 / margin^2.

    Raises UsageError for tables of different spaces or data, without a common configuration, and for a bad margin.
    """
    if not 0 < margin <= 100:
        raise UsageError(f"the margin is {margin}: give points above 0 and up to 100, as 0.3")
    configs = _common(a, b)
    rows = [[table.row(config) for config in configs] for table in (a, b)]
    jointly = all(len(x.values) > 1 and x.values.keys() == y.values.keys() for x, y in zip(*rows, strict=True))
    # One stream for both draws the same seeds in both, so that what seeds have in common is kept.
    streams = [stream("compare", "seeds", 0 if jointly else side) for side in (0, 1)]
    one = Compared.of(a, rows[0], streams[0], draws)
    other = Compared.of(b, rows[1], streams[1], draws)
    with ThreadPoolExecutor(
        2
    ) as pool:  # numpy lets go of Python while it draws, and each draws from streams of its own
        sides = tuple(pool.map(side_of, (one, other), (other.known.means, one.known.means), (draws, draws)))
    resolved = agree = None
    contradictions: tuple[str, ...] = ()
    if sides[0].resolved is not None and sides[1].resolved is not None:
        in_a, in_b = map(frozenset, (sides[0].resolved, sides[1].resolved))
        agree = len(in_a & in_b)
        turned = {_reversed(pair) for pair in in_b - in_a}  # few, where the tables agree
        contradictions = tuple(pair for pair in sides[0].resolved if pair in turned)
        resolved = agree + len(contradictions)
    return Comparison(
        space=a.space.name,
        dataset=a.dataset,
        size=len(configs),
        of=len(a.space),
        a=sides[0],
        b=sides[1],
        differ=_differences(a.header.get("recipe"), b.header.get("recipe")),
        jointly=jointly,
        identical=a.sha256 == b.sha256,
        tau=_correlation(kendall, one, other),
        tau_given_macs=_given_macs(one, other),
        spearman=_correlation(_spearman, one, other),
        pearson=_correlation(_pearson, one, other),
        one_truth=_one_truth(one, other, draws),
        std_ratio=_std_ratio(one.pooled, other.pooled),
        resolved=resolved,
        agree=agree,
        contradictions=contradictions,
        paired=paired(one.rows, other.rows, margin),
        lines=_lines(one, other),
        draws=draws,
    )


def _common(a: GroundTruth, b: GroundTruth) -> list[Config]:
    """The configurations that both tables hold. Raises UsageError where the two cannot be compared."""
    if a.space.name != b.space.name:
        raise UsageError(
            f"table {a.name} is of {a.space.name}, {b.name} of {b.space.name}: compare tables of one space"
        )
    if a.dataset != b.dataset:
        raise UsageError(
            f"table {a.name} was made on {a.dataset}, {b.name} on {b.dataset}: compare tables of one data set"
        )
    if a.checksum and b.checksum and a.checksum != b.checksum:
        raise UsageError(
            f"tables {a.name} and {b.name} were made on different versions of {a.dataset}: make one of them anew"
        )
    missing = set(a.missing()) | set(b.missing())
    if not (configs := [config for config in a.space if config not in missing]):
        raise UsageError(f"tables {a.name} and {b.name} have no configuration in common: build some in both")
    return configs


def _differences(a: Mapping[str, Any] | None, b: Mapping[str, Any] | None) -> dict[str, tuple[Any, Any]]:
    if a is None or b is None:
        return {}
    return {key: (a.get(key), b.get(key)) for key in sorted({*a, *b}) if a.get(key) != b.get(key)}


def _reversed(pair: str) -> str:
    return " > ".join(reversed(pair.split(" > ")))


def _pearson(one: Array, other: Array) -> Array:
    """Correlations of rows: (draws, C) and (draws, C) or (C,) -> (draws,); NaN where either is constant."""
    import numpy as np

    one, other = (x - x.mean(axis=-1, keepdims=True) for x in (one, other))
    with np.errstate(invalid="ignore"):
        return (one * other).sum(axis=-1) / np.sqrt((one**2).sum(axis=-1) * (other**2).sum(axis=-1))


def _spearman(one: Array, other: Array) -> Array:
    from scipy.stats import rankdata

    return _pearson(rankdata(one, axis=-1), rankdata(other, axis=-1))


def _correlation(measure: Callable[[Array, Array], Array], a: Compared, b: Compared) -> Estimate:
    """A measure of agreement of the means, with its interval over seeds."""
    if len(a.rows) < 2:
        return Estimate(None, None)
    value = finite(measure(a.known.means[None], b.known.means)[0])
    if value is None or a.redrawn is None or b.redrawn is None:
        return Estimate(value, None)
    return Estimate(value, percentiles(measure(a.redrawn, b.redrawn)))


def _given_macs(a: Compared, b: Compared) -> Estimate:
    measure = beyond(a.macs)
    return Estimate(None, None) if measure is None else _correlation(measure, a, b)


def _one_truth(a: Compared, b: Compared, draws: int) -> Simulated | None:
    if len(a.rows) < 2 or not (a.pooled and b.pooled):
        return None
    truth = (a.known.means + b.known.means) / 2
    one, other = (
        redraw_normal(replace(side.known, means=truth), draws, stream("compare", "truth", i))
        for i, side in enumerate((a, b))
    )
    return simulated(kendall(one, other))


def _std_ratio(a: Pooled | None, b: Pooled | None) -> Estimate:
    from scipy.stats import f

    if a is None or b is None or not a.std or not b.std:
        return Estimate(None, None)
    ratio = b.std / a.std
    low, high = (ratio / math.sqrt(f.ppf(q, b.freedom, a.freedom)) for q in (1 - LEVEL / 2, LEVEL / 2))
    return Estimate(ratio, (float(low), float(high)))


def _lines(a: Compared, b: Compared) -> tuple[Line, ...]:
    lines = []
    ordered = tuple(sorted(row.mean for row in side.rows) for side in (a, b))
    for x, y, interval in zip(a.rows, b.rows, _delta_intervals(a, b), strict=True):
        lines.append(
            Line(
                number=a.table.space.number(x.config),
                config=str(x.config),
                a=_cell(x, ordered[0]),
                b=_cell(y, ordered[1]),
                delta=Estimate(tidy(y.mean - x.mean), interval),
            )
        )
    return tuple(lines)


def _cell(row: Row, ordered: Sequence[float]) -> Cell:
    """ordered: the means of all compared rows, ascending"""
    return Cell(row.mean, row.std, row.n, 1 + len(ordered) - bisect_right(ordered, row.mean))


def _delta_intervals(a: Compared, b: Compared) -> list[Interval | None]:
    """The t interval of each difference of two means; None where no noise is known, or there is none."""
    from scipy.stats import t

    if not (a.pooled and b.pooled) or a.pooled.std == b.pooled.std == 0:
        return [None] * len(a.rows)
    intervals: list[Interval | None] = []
    for x, y in zip(a.rows, b.rows, strict=True):
        one, other = a.pooled.std**2 / x.n, b.pooled.std**2 / y.n
        freedom = (one + other) ** 2 / (one**2 / a.pooled.freedom + other**2 / b.pooled.freedom)
        half = float(t.ppf(1 - LEVEL / 2, freedom)) * math.sqrt(one + other)
        intervals.append((y.mean - x.mean - half, y.mean - x.mean + half))
    return intervals
