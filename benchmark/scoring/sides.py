"""One of two tables that are compared: its noise, its best, and how far single configurations can be told apart. No torch.

`benchmark.comparison` holds the two against each other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from benchmark.scoring.estimate import Estimate, finite, tidy
from benchmark.scoring.kendall import kendall, partial
from benchmark.scoring.noise import (
    LEVEL,
    Ceiling,
    Estimates,
    Pooled,
    ceiling_of,
    estimates,
    percentiles,
    pool,
    redraw,
)
from benchmark.scoring.paired import POWER
from benchmark.scoring.significance import significance
from benchmark.spaces.costs import macs
from benchmark.streams import stream
from benchmark.tables.table import DECIMALS, GroundTruth, Row

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray


TOP = 5
BLOCK, BLOCKS = 2000, 100  # draws for the chances of being best, which are printed to 0.01: a standard error of 0.001
CACHED = 2**15  # numbers drawn and looked at together: they stay in a processor's cache
MADE_ON = ("device", "instructions", "engine", "torch", "numpy")


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
class Compared:
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
    def of(cls, table: GroundTruth, rows: list[Row], draw: np.random.Generator, draws: int) -> Compared:
        import numpy as np

        pooled = pool(rows)
        known = estimates(rows, pooled)
        redrawn = redraw(rows, known, draws, draw) if pooled else None
        counted = [float(macs(table.space, row.config)) for row in rows] if table.space.backbone else None
        late = np.array([row.config.layers[0] for row in rows], dtype=float)
        return cls(table, rows, pooled, known, redrawn, None if counted is None else np.array(counted), late)


def side_of(compared: Compared, other: Array, draws: int) -> Side:
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
        late_given_macs=_told_by(compared.late, compared, beyond(compared.macs)),
        resolved=_resolved(rows, known, noisy) if noisy else None,
        leaders=_leaders(rows, known, noisy) if noisy else None,
        settling=_settling(compared, other),
    )


def _values(table: GroundTruth, key: str) -> tuple[str, ...]:
    """What the provenance says of a key: one value, or one of each kind of run."""
    found = (table.header.get("provenance") or {}).get(key, [])
    return tuple(map(str, found if isinstance(found, list | tuple) else [found]))


def _told_by(predictor: Array | None, compared: Compared, measure: Callable[[Array, Array], Array] | None) -> Estimate:
    """How a predictor (C,) agrees with a table, by a measure, with its interval over seeds."""
    if measure is None or predictor is None or len(compared.rows) < 2:
        return Estimate(None, None)
    value = finite(measure(compared.known.means[None], predictor)[0])
    if value is None or compared.redrawn is None:
        return Estimate(value, None)
    return Estimate(value, percentiles(measure(compared.redrawn, predictor)))


def beyond(given: Array | None) -> Callable[[Array, Array], Array] | None:
    """`kendall` with something (C,) taken out of both; None without it."""
    import numpy as np

    if given is None:
        return None
    return lambda one, other: partial(kendall(one, other), kendall(one, given), kendall(np.atleast_2d(other), given))


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


def _leaders(rows: Sequence[Row], known: Estimates, noise: Pooled) -> Leaders:

    best = sorted(rows, key=lambda row: (-row.mean, row.config))[:TOP]
    shares = _chances(known, noise)
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


def _chances(known: Estimates, noise: Pooled) -> Array:
    """The posterior (C,) that each configuration is the best of all."""
    import numpy as np

    size = len(known.means)
    generator = stream("compare", "best")
    shares = np.zeros(size)
    rows = max(1, CACHED // size)
    part = np.empty((rows, size))
    for _ in range(BLOCKS):
        sigma = noise.std * np.sqrt(noise.freedom / generator.chisquare(noise.freedom, (BLOCK, 1)))
        best = []
        for start in range(0, BLOCK, rows):  # in order, so that the generator gives the same whatever a part's size
            drawn = part[: BLOCK - start]
            generator.standard_normal(out=drawn)
            drawn *= sigma[start : start + rows] / np.sqrt(known.n)
            drawn += known.means
            best.append(np.flatnonzero(drawn == drawn.max(axis=1, keepdims=True)) + start * size)
        draw, first = np.divmod(np.concatenate(best), size)
        share = 1 / np.bincount(draw)[draw]
        shares += np.bincount(first, weights=share, minlength=size) / BLOCK / BLOCKS
    return shares


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


def _settling(compared: Compared, other: Array) -> Settling | None:
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


def _tau(one: Array, other: Array) -> float | None:
    """tau-b of (C,) and (C,); None for a constant."""
    return finite(kendall(one[None], other)[0])
