"""Two tables of ground truth held against each other: the numbers. No torch; scipy loads when it is asked for.

`benchmark.compare` is the command and the page.
"""

from __future__ import annotations

import json
import math
import shlex
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from benchmark.errors import UsageError
from benchmark.scoring.kendall import kendall, partial
from benchmark.scoring.noise import (
    LEVEL,
    Ceiling,
    Estimates,
    Pooled,
    Simulated,
    ceiling_of,
    estimates,
    percentiles,
    pool,
    redraw,
    redraw_normal,
    simulated,
)
from benchmark.scoring.significance import significance
from benchmark.spaces.costs import macs
from benchmark.spaces.space import Config
from benchmark.streams import stream
from benchmark.tables.files import distinct_name
from benchmark.tables.table import DECIMALS, GroundTruth, Row

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray

MARGIN = 0.3  # points within which two recipes are called equal
POWER = 0.8  # of the tests that the numbers of further seeds are for
TOP = 5
BLOCK, BLOCKS = 2000, 100  # draws for the chances of being best, which are printed to 0.01: a standard error of 0.001
DIGITS = 8  # significant ones that are kept: the last bits of a sum differ from processor to processor
MADE_ON = ("device", "instructions", "engine", "torch", "numpy")

Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; None where it cannot be had."""

    value: float | None
    interval: Interval | None


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
class Leaders:
    """The best of one table, and the seeds that would tell them apart.

    configs  the best five, best first
    chances  that each is truly the best of all: the posterior under the usual flat prior of the means and of the log of
             their common std s with f degrees of freedom: means redrawn as mean + sigma / sqrt(n) x normal,
             sigma = s sqrt(f / chi squared of f) of each of 200,000 draws; ties shared
    gaps     in points, each to the next
    seeds    per configuration, that resolve each gap (power 80 %, two-sided 5 %); None for a gap of 0
    more     runs that are missing until every one of them has the largest of these; None likewise
    """

    configs: tuple[str, ...]
    chances: tuple[float, ...]
    gaps: tuple[float, ...]
    seeds: tuple[int | None, ...]
    more: int | None


@dataclass(frozen=True)
class Settling:
    """tau-b after each epoch, averaged over the seeds' curves: with the table's own end, and with the other table.

    own_macs, other_macs: of counting MACs with the same two.
    """

    own: tuple[float | None, ...]
    other: tuple[float | None, ...]
    own_macs: float | None
    other_macs: float | None


@dataclass(frozen=True)
class Side:
    """One table, as far as it is compared.

    holds       configurations in the whole table
    n           fewest and most seeds of a compared configuration
    lone        compared configurations with one seed only: they have no std of their own
    median      of the stds, in points
    std_spread  how far apart the stds of configurations lie, as a share in [0, 1]: see the function of that name
    late        tau-b of pooling late, n_0, the layers before the first pooling; late_given_macs: partial, given MACs
    resolved    pairs that differ significantly, as "better > worse"; None where no noise is known, like ceiling
    """

    name: str
    sha256: str
    recipe: str | None
    made_on: Mapping[str, tuple[str, ...]]
    holds: int
    n: tuple[int, int]
    lone: int
    median: float | None
    pooled: Pooled | None
    std_spread: float | None
    ceiling: Ceiling | None
    macs: Estimate
    late: Estimate
    late_given_macs: Estimate
    resolved: tuple[str, ...] | None
    leaders: Leaders | None
    settling: Settling | None


@dataclass(frozen=True)
class Heterogeneity:
    """Whether paired differences vary between configurations by more than between seeds: one-way random effects.

    f, freedom, p  of the F test; small p: they do vary
    within         std between the seeds of a configuration, in points
    between        std between configurations beyond that, in points, with the interval that inverts the F test
                   (exact for equal numbers of seeds, else with their effective number; normal effects)
    """

    f: float
    freedom: tuple[int, int]
    p: float
    within: float
    between: Estimate


@dataclass(frozen=True)
class PairedLine:
    """The differences of one configuration; the interval takes them to vary within every configuration alike."""

    config: str
    seeds: tuple[int, ...]
    mean: Estimate


@dataclass(frozen=True)
class Paired:
    """B - A over the (configuration, seed) pairs that both tables hold, in points.

    mean           over all pairs, with a t interval that takes them as independent
    std            of the differences; None of a single pair
    unpaired_std   what it would be if same seeds had nothing in common: sqrt(s_A^2 + s_B^2), pooled
    of_configs     mean over configurations of each one's mean, with a t interval between configurations
    margin         points within which the tables are to be called equal
    equal          whether the interval of the mean lies within it; None without interval
    least_margin   the smallest margin of which that could be said
    pairs_needed   for a chance of 80 % to show the margin if the truth is 0
    """

    pairs: int
    configs: tuple[PairedLine, ...]
    mean: Estimate
    std: float | None
    unpaired_std: float | None
    of_configs: Estimate
    margin: float
    equal: bool | None
    least_margin: float | None
    pairs_needed: int | None
    heterogeneity: Heterogeneity | None


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
    one = _Compared.of(a, rows[0], streams[0], draws)
    other = _Compared.of(b, rows[1], streams[1], draws)
    sides = _side(one, other.known.means, draws), _side(other, one.known.means, draws)
    resolved = agree = None
    contradictions: tuple[str, ...] = ()
    if sides[0].resolved is not None and sides[1].resolved is not None:
        in_b = frozenset(sides[1].resolved)
        agree = len(in_b.intersection(sides[0].resolved))
        contradictions = tuple(pair for pair in sides[0].resolved if _reversed(pair) in in_b)
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
        paired=_paired(one.rows, other.rows, margin),
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


# --- one table ---


@dataclass(frozen=True)
class _Compared:
    """One table over the compared configurations.

    known    with the pooled std where a configuration has one seed
    redrawn  (draws, C) tables that other seeds might have given; None where no noise is known
    macs     (C,) of one image; None for spaces whose MACs cannot be counted yet
    late     (C,) layers before the first pooling
    """

    table: GroundTruth
    rows: list[Row]
    pooled: Pooled | None
    known: Estimates
    redrawn: Array | None
    macs: Array | None
    late: Array

    @classmethod
    def of(cls, table: GroundTruth, rows: list[Row], draw: np.random.Generator, draws: int) -> _Compared:
        import numpy as np

        pooled = pool(rows)
        known = estimates(rows, pooled)
        redrawn = redraw(rows, known, draws, draw) if pooled else None
        counted = [float(macs(table.space, row.config)) for row in rows] if table.space.widths else None
        late = np.array([row.config.layers[0] for row in rows], dtype=float)
        return cls(table, rows, pooled, known, redrawn, None if counted is None else np.array(counted), late)


def _side(compared: _Compared, other: Array, draws: int) -> Side:
    """other: (C,) means of the other table"""
    import numpy as np

    table, rows, pooled, known = compared.table, compared.rows, compared.pooled, compared.known
    stds = [row.std for row in rows if row.std is not None]
    noisy = pooled if len(rows) > 1 else None  # a single configuration has no pairs
    label, digest = table.recipe_label, table.recipe_hash
    return Side(
        name=table.name,
        sha256=table.sha256,
        recipe=f"{label or 'unnamed'} ({digest or 'no hash'})" if label or digest else None,
        made_on={key: _values(table, key) for key in MADE_ON},
        holds=len(table.rows),
        n=(int(known.n.min()), int(known.n.max())),
        lone=len(rows) - len(stds),
        median=float(np.median(stds)) if stds else None,
        pooled=pooled,
        std_spread=std_spread(rows, stream("compare", "std_spread")) if noisy else None,
        ceiling=ceiling_of(known, draws, stream("compare", "ceiling")) if noisy else None,
        macs=_told_by(compared.macs, compared, kendall),
        late=_told_by(compared.late, compared, kendall),
        late_given_macs=_told_by(compared.late, compared, _beyond(compared.macs)),
        resolved=_resolved(rows, known, noisy) if noisy else None,
        leaders=_leaders(rows, known, noisy) if noisy else None,
        settling=_settling(compared, other),
    )


def _values(table: GroundTruth, key: str) -> tuple[str, ...]:
    """What the provenance says of a key: one value, or one of each kind of run."""
    found = (table.header.get("provenance") or {}).get(key, [])
    return tuple(map(str, found if isinstance(found, list | tuple) else [found]))


def _told_by(predictor: Array | None, compared: _Compared, measure: Callable[[Array, Array], Array] | None) -> Estimate:
    """How a predictor (C,) agrees with a table, by a measure, with its interval over seeds."""
    if measure is None or predictor is None or len(compared.rows) < 2:
        return Estimate(None, None)
    value = _number(measure(compared.known.means[None], predictor)[0])
    if value is None or compared.redrawn is None:
        return Estimate(value, None)
    return Estimate(value, percentiles(measure(compared.redrawn, predictor)))


def std_spread(rows: Sequence[Row], generator: np.random.Generator, draws: int = 10_000) -> float | None:
    """How far apart the stds of configurations lie: the share of tables with one common std where they lie closer.

    Near 1: configurations differ in their noise; near 0: the stds are more alike than independent seeds of one normal
    noise would make them. Measured by Bartlett's statistic (1937), f log(pooled variance) - sum (n - 1) log(variance),
    f = sum (n - 1), against `draws` simulated tables with the same n, since its chi-squared approximation is poor at two
    seeds. None where fewer than two configurations have several seeds, or a std is 0.
    """
    import numpy as np

    several = [(row.n - 1, row.std) for row in rows if row.std is not None]
    if len(several) < 2 or any(std == 0 for _, std in several):
        return None
    freedom, stds = map(np.array, zip(*several, strict=True))

    def bartlett(variances: Array) -> Array:
        pooled = (variances * freedom).sum(axis=-1) / freedom.sum()
        return freedom.sum() * np.log(pooled) - (freedom * np.log(variances)).sum(axis=-1)

    simulated_tables = bartlett(generator.chisquare(freedom, (draws, len(freedom))) / freedom)
    return float((simulated_tables < bartlett(stds**2)).mean())


def _resolved(rows: Sequence[Row], known: Estimates, noise: Pooled) -> tuple[str, ...]:
    """Pairs that differ significantly, better first, in the order of their positions in the space."""
    import numpy as np

    names = [str(row.config) for row in rows]
    found = [(place, worse.nonzero()[0]) for place, worse in significance(known, noise).worse(known)]
    better = np.repeat([place for place, _ in found], [len(worse) for _, worse in found])
    worse = np.concatenate([worse for _, worse in found])
    order = np.lexsort((np.maximum(better, worse), np.minimum(better, worse)))
    return tuple(f"{names[i]} > {names[j]}" for i, j in zip(better[order].tolist(), worse[order].tolist(), strict=True))


def _reversed(pair: str) -> str:
    return " > ".join(reversed(pair.split(" > ")))


def _leaders(rows: Sequence[Row], known: Estimates, noise: Pooled) -> Leaders:
    import numpy as np

    best = sorted(rows, key=lambda row: (-row.mean, row.config))[:TOP]
    generator = stream("compare", "best")
    shares = np.zeros(len(rows))
    for _ in range(BLOCKS):  # by parts, for a space of 560 configurations would take a gigabyte
        sigma = noise.std * np.sqrt(noise.freedom / generator.chisquare(noise.freedom, (BLOCK, 1)))
        redrawn = generator.standard_normal((BLOCK, len(rows)))
        redrawn *= sigma / np.sqrt(known.n)
        redrawn += known.means
        draw, first = np.divmod(np.flatnonzero(redrawn == redrawn.max(axis=1, keepdims=True)), len(rows))
        share = 1 / np.bincount(draw)[draw]
        shares += np.bincount(first, weights=share, minlength=len(rows)) / BLOCK / BLOCKS
    chances = dict(zip((row.config for row in rows), shares, strict=True))
    gaps = tuple(tidy(x.mean - y.mean) for x, y in pairwise(best))
    seeds = tuple(seeds_needed(gap, noise.std) for gap in gaps)
    enough = None if None in seeds else max(n for n in seeds if n is not None)
    more = None if enough is None else sum(max(0, enough - row.n) for row in best)
    return Leaders(
        configs=tuple(str(row.config) for row in best),
        chances=tuple(float(chances[row.config]) for row in best),
        gaps=gaps,
        seeds=seeds,
        more=more,
    )


def seeds_needed(gap: float, std: float, power: float = POWER) -> int | None:
    """Seeds per configuration at which a two-sample t-test finds a gap, as the docstring of `compare` says.

    gap and std in points; None for a gap of 0. E.g. 17 for a gap of one std, 64 for half of one.
    """
    from scipy.stats import nct, norm, t

    if gap <= 0:
        return None
    effect = (norm.ppf(1 - LEVEL / 2) + norm.ppf(power)) * std / gap
    n = max(2, math.ceil(2 * effect**2))
    while n < 1000:  # beyond, the two agree to less than one seed
        freedom, shift = 2 * n - 2, gap / std * math.sqrt(n / 2) if std else math.inf
        edge = t.ppf(1 - LEVEL / 2, freedom)
        if shift > 10 or nct.sf(edge, freedom, shift) + nct.cdf(-edge, freedom, shift) >= power:
            break
        n += 1
    return n


def _settling(compared: _Compared, other: Array) -> Settling | None:
    """None unless there are several configurations and all have curves."""
    import numpy as np

    held, own, counted = compared.table.curves, compared.known.means, compared.macs
    curves = [
        [held[row.config, seed]["test_accuracy"] for seed in row.values if (row.config, seed) in held]
        for row in compared.rows
    ]
    if len(curves) < 2 or not all(curves):
        return None
    # (epochs, C) accuracies, rounded like the means of a table, so that the last bits of a sum break no tie
    by_epoch = np.round(np.stack([np.mean(of_config, axis=0) for of_config in curves], axis=1), DECIMALS)
    return Settling(
        own=tuple(_tau(means, own) for means in by_epoch),
        other=tuple(_tau(means, other) for means in by_epoch),
        own_macs=None if counted is None else _tau(counted, own),
        other_macs=None if counted is None else _tau(counted, other),
    )


# --- both ---


def _tau(one: Array, other: Array) -> float | None:
    """tau-b of (C,) and (C,); None for a constant."""
    return _number(kendall(one[None], other)[0])


def _number(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None


def _pearson(one: Array, other: Array) -> Array:
    """Correlations of rows: (draws, C) and (draws, C) or (C,) -> (draws,); NaN where either is constant."""
    import numpy as np

    one, other = (x - x.mean(axis=-1, keepdims=True) for x in (one, other))
    with np.errstate(invalid="ignore"):
        return (one * other).sum(axis=-1) / np.sqrt((one**2).sum(axis=-1) * (other**2).sum(axis=-1))


def _spearman(one: Array, other: Array) -> Array:
    from scipy.stats import rankdata

    return _pearson(rankdata(one, axis=-1), rankdata(other, axis=-1))


def _correlation(measure: Callable[[Array, Array], Array], a: _Compared, b: _Compared) -> Estimate:
    """A measure of agreement of the means, with its interval over seeds."""
    if len(a.rows) < 2:
        return Estimate(None, None)
    value = _number(measure(a.known.means[None], b.known.means)[0])
    if value is None or a.redrawn is None or b.redrawn is None:
        return Estimate(value, None)
    return Estimate(value, percentiles(measure(a.redrawn, b.redrawn)))


def _beyond(given: Array | None) -> Callable[[Array, Array], Array] | None:
    """`kendall` with something (C,) taken out of both; None without it."""
    import numpy as np

    if given is None:
        return None
    return lambda one, other: partial(kendall(one, other), kendall(one, given), kendall(np.atleast_2d(other), given))


def _given_macs(a: _Compared, b: _Compared) -> Estimate:
    measure = _beyond(a.macs)
    return Estimate(None, None) if measure is None else _correlation(measure, a, b)


def _one_truth(a: _Compared, b: _Compared, draws: int) -> Simulated | None:
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


def _lines(a: _Compared, b: _Compared) -> tuple[Line, ...]:
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


def _delta_intervals(a: _Compared, b: _Compared) -> list[Interval | None]:
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


# --- the same seeds in both ---


def _paired(a: Sequence[Row], b: Sequence[Row], margin: float) -> Paired | None:
    found: dict[Config, dict[int, float]] = {}
    sides: tuple[list[Row], list[Row]] = ([], [])
    for both in zip(a, b, strict=True):
        x, y = (row.values for row in both)
        if seeds := [seed for seed in x if seed in y]:
            found[both[0].config] = {seed: tidy(y[seed] - x[seed]) for seed in seeds}
            for side, row in zip(sides, both, strict=True):
                side.append(Row.of(row.config, {seed: row.values[seed] for seed in seeds}))
    if not found:
        return None
    groups = [list(by_seed.values()) for by_seed in found.values()]
    error = _within(groups)
    every = [value for group in groups for value in group]
    mean, std = mean_interval(every), _std(every)
    pooled = pool(sides[0]), pool(sides[1])
    reach = None if mean.interval is None else max(map(abs, mean.interval))
    return Paired(
        pairs=len(every),
        configs=tuple(
            PairedLine(str(config), tuple(by_seed), mean_interval(list(by_seed.values()), error))
            for config, by_seed in found.items()
        ),
        mean=mean,
        std=std,
        unpaired_std=math.hypot(pooled[0].std, pooled[1].std) if pooled[0] and pooled[1] else None,
        of_configs=mean_interval([math.fsum(group) / len(group) for group in groups]),
        margin=float(margin),
        equal=None if reach is None else reach <= margin,
        least_margin=reach,
        pairs_needed=None if std is None else _pairs_needed(std, margin),
        heterogeneity=_heterogeneity(groups, error) if error else None,
    )


def _std(values: Sequence[float]) -> float | None:
    """Sample std, rounded as those of a table are, so that equal values have 0; None of a single value."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    return round(math.sqrt(math.fsum((x - mean) ** 2 for x in values) / (len(values) - 1)), DECIMALS)


def _within(groups: Sequence[Sequence[float]]) -> Pooled | None:
    """The std within groups, pooled; None where no group has two values or nothing varies."""
    freedom = sum(len(group) - 1 for group in groups)
    squares = math.fsum((_std(group) or 0.0) ** 2 * (len(group) - 1) for group in groups)
    return Pooled(math.sqrt(squares / freedom), freedom) if squares else None


def mean_interval(values: Sequence[float], error: Pooled | None = None) -> Estimate:
    """Mean with its 95 % t interval, from the std of the values or a pooled one.

    No interval of a single value, nor of equal ones that are not 0: that is chance, no certainty.
    """
    from scipy.stats import t

    mean, std = math.fsum(values) / len(values), _std(values)
    if error is None and std is not None and (std or mean == 0):
        error = Pooled(std, len(values) - 1)
    if error is None:
        return Estimate(mean, None)
    half = float(t.ppf(1 - LEVEL / 2, error.freedom)) * error.std / math.sqrt(len(values))
    return Estimate(mean, (mean - half, mean + half))


def _pairs_needed(std: float, margin: float) -> int:
    from scipy.stats import norm

    return max(2, math.ceil(((norm.ppf(1 - LEVEL / 2) + norm.ppf((1 + POWER) / 2)) * std / margin) ** 2))


def _heterogeneity(groups: Sequence[Sequence[float]], error: Pooled) -> Heterogeneity | None:
    """Of the differences of each configuration and their std within; None of a single configuration."""
    from scipy.stats import f

    total, k = sum(map(len, groups)), len(groups)
    means = [math.fsum(group) / len(group) for group in groups]
    middle = math.fsum(x for group in groups for x in group) / total
    if k < 2:
        return None
    freedom = k - 1, error.freedom
    apart = math.fsum(len(group) * (mean - middle) ** 2 for group, mean in zip(groups, means, strict=True))
    statistic = apart / freedom[0] / error.std**2
    size = (total - sum(len(group) ** 2 for group in groups) / total) / freedom[0]  # effective seeds per configuration

    def between(ratio: float) -> float:
        return math.sqrt(max(0.0, (ratio - 1) / size)) * error.std

    low, high = (between(statistic / float(f.ppf(q, *freedom))) for q in (1 - LEVEL / 2, LEVEL / 2))
    return Heterogeneity(
        statistic, freedom, float(f.sf(statistic, *freedom)), error.std, Estimate(between(statistic), (low, high))
    )


def tidy(value: float) -> float:
    """The number to 8 significant digits."""
    return float(f"{value:.{DIGITS}g}")
