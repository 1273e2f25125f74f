"""Two tables held against each other over the same configurations and seeds. No torch; scipy loads when it is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.scoring.estimate import Estimate, tidy
from benchmark.scoring.noise import LEVEL, Pooled, pool
from benchmark.spaces.space import Config
from benchmark.tables.table import DECIMALS, Row

POWER = 0.8  # of the tests that the numbers of further seeds are for


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


def paired(a: Sequence[Row], b: Sequence[Row], margin: float) -> Paired | None:
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
