"""Methods against each other: how fast their rankings get good, and which of two is better. No torch.

A method's history holds its scores after each epoch, with the images seen and the device seconds spent until then
(`nas_methods/__init__.py`); here they are held against a table.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Literal, Self

from benchmark.errors import UsageError
from benchmark.scoring.kendall import kendall
from benchmark.scoring.noise import LEVEL, estimates, percentiles, redraw
from benchmark.scoring.ranking import Ranking
from benchmark.scoring.scores import tops_of
from benchmark.tables.table import GroundTruth

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from benchmark.scoring.scored import Top

    Array = np.ndarray

Word = Literal["better", "worse", "unresolved"]
DRAWS = 2000  # of a verdict
MOST_DRAWS = (
    20_000  # of one among many: enough for 250 to stand beside each other, and beyond that errs on the careful side
)


@dataclass(frozen=True)
class Point:
    """How good a ranking was when part of its budget was spent.

    images   training images seen until then
    seconds  on the method's device, without looking at the scores; None where not kept
    tau      Kendall's tau-b of the scores then; None where they were all the same
    regret   best mean of the table - that of the best score then, in percentage points (ties: expected value)
    top      for k in 1, 3, 5, as far as there are so many configurations
    """

    epoch: int
    images: int
    seconds: float | None
    tau: float | None
    regret: float
    top: tuple[Top, ...]


def curve(ranking: Ranking, table: GroundTruth) -> list[Point]:
    """A ranking's points in the order of its epochs; empty for a method that keeps none.

    Its scores are those of a few validation images and are noisier than the final ones: the last point is not the
    ranking's tau. Raises UsageError for a table that is incomplete or of another space.
    """
    import numpy as np
    from scipy.stats import kendalltau

    _require_same(ranking, table)
    means = np.array([row.mean for row in table.rows])
    seen = list(ranking.history.get("curve", ()))
    clock = list(ranking.provenance.get("timings", {}).get("curve", ()))
    found = []
    for place, then in enumerate(seen):
        scores = np.array(then["scores"], dtype=float)
        tops = tops_of(scores, means)
        tau = float(kendalltau(scores, means).statistic) if np.ptp(scores) else None
        seconds = float(clock[place]) if len(clock) == len(seen) else None
        found.append(Point(int(then["epoch"]), int(then["images"]), seconds, tau, tops[0].regret, tops))
    return found


def entrants(rankings: Sequence[Ranking], table: GroundTruth) -> dict[str, list[Ranking]]:
    """Rankings of the table's space and data by label: method, options that differ between two of it, recipe."""
    fitting = [r for r in rankings if r.space == table.space.name and r.dataset in (None, table.dataset)]
    recipes = {r.provenance.get("recipe_label") for r in fitting} - {None}
    found: dict[str, list[Ranking]] = {}
    for ranking in fitting:
        same = [r.options for r in fitting if r.method == ranking.method]
        words = [f"{key}={value}" for key, value in ranking.options.items() if any(o.get(key) != value for o in same)]
        recipe = ranking.provenance.get("recipe_label") if len(recipes) > 1 else None
        found.setdefault(" ".join(filter(None, [ranking.method, *words, recipe])), []).append(ranking)
    return found


def curves(entrants: Mapping[str, Sequence[Ranking]], table: GroundTruth) -> pd.DataFrame:
    """The points of all of them, one row each: method, seed, epoch, images, seconds, tau, regret, precision of top k."""
    import pandas as pd

    rows = []
    for label, rankings in entrants.items():
        for ranking in rankings:
            for p in curve(ranking, table):
                tops = {f"top{top.k}": top.precision for top in p.top}
                start = {"method": label, "seed": ranking.provenance.get("seed"), "epoch": p.epoch, "images": p.images}
                rows.append(start | {"seconds": p.seconds, "tau": p.tau, "regret": p.regret} | tops)
    columns = {"seconds": float, "tau": float}  # what is not known is NaN
    return pd.DataFrame(rows).astype(columns) if rows else pd.DataFrame()


@dataclass(frozen=True)
class Verdict:
    """Whether one method ranks better than another.

    difference  tau-b of the first - that of the second, averages over seeds
    interval    95 %, over configurations, seeds of the table and seeds of both methods, drawn together
    p           two-sided, from the same draws: 2 (1 + how many lie on the other side of 0) / (1 + all), at most 1
    adjusted    that p, adjusted for all verdicts that were asked for at once (`verdicts`); None where it was one
    """

    difference: float
    interval: tuple[float, float]
    p: float
    adjusted: float | None = None

    @property
    def word(self) -> Word:
        """What this verdict says on its own: were two methods equal, one in twenty would still say better or worse."""
        low, high = self.interval
        return "better" if low > 0 else "worse" if high < 0 else "unresolved"

    @property
    def adjusted_word(self) -> Word:
        """What remains of the word when it is one of many: the same one, or unresolved."""
        return self.word if (self.p if self.adjusted is None else self.adjusted) <= LEVEL else "unresolved"

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.word} ({self.difference:+.3f}, {low:+.3f} to {high:+.3f})"


def verdict(one: Sequence[Ranking], other: Sequence[Ranking], table: GroundTruth, *, draws: int = DRAWS) -> Verdict:
    """The paired comparison of two methods against one table; the same call gives the same numbers.

    one, other  rankings of each method, one per seed

    Each draw takes configurations with replacement (a pair of copies of one configuration is dropped: it would be a
    tie that nobody made), a table that other seeds might have given, and seeds of each method with replacement, and
    takes both taus of the same configurations and table: what is hard for both cancels. Where some configuration of
    the table has one seed only, its noise is not known and is left out.
    Raises UsageError for no rankings, and for a table that is incomplete or of another space.
    """
    drawn = _Drawn.of(table, draws)
    return drawn.verdict(drawn.taus(one), drawn.taus(other))


def verdicts(
    entrants: Mapping[str, Sequence[Ranking]],
    table: GroundTruth,
    *,
    draws: int = DRAWS,
    progress: Callable[[float], None] = lambda fraction: None,
) -> dict[tuple[str, str], Verdict]:
    """The verdict of every two of the entrants, in their order, each with its p adjusted over all of them (`holm`).

    There are as many draws as it takes for one verdict to stand beside so many others, at least those that are given.
    progress: called with the share of the entrants that have been held against what was drawn.
    """
    pairs = list(combinations(entrants, 2))
    drawn = _Drawn.of(
        table, max(draws, min(MOST_DRAWS, math.ceil(4 * len(pairs) / LEVEL)))
    )  # the least p is 2 / (1 + draws)
    taus = {}
    for name, rankings in entrants.items():
        taus[name] = drawn.taus(rankings)
        progress(len(taus) / len(entrants))
    found = {(one, other): drawn.verdict(taus[one], taus[other]) for one, other in pairs}
    adjusted = holm([one.p for one in found.values()])
    return {pair: replace(one, adjusted=p) for (pair, one), p in zip(found.items(), adjusted, strict=True)}


def in_words(found: Collection[Verdict]) -> str:
    """What a reader of many verdicts must know, in two sentences."""
    alone = sum(one.word != "unresolved" for one in found)
    together = sum(one.adjusted_word != "unresolved" for one in found)
    return (
        f"Of {len(found)} verdicts {alone} say better or worse, each at 95 % on its own: were no two methods different, about "
        f"one in twenty would still say so. Adjusted for how many they are (Holm, 1979), {together} do: at most 5 % that even "
        "one of these is wrong."
    )


def holm(ps: Sequence[float]) -> list[float]:
    """p-values adjusted for how many they are, whatever they have in common (Holm, 1979).

    The i-th smallest of m is multiplied by m - i + 1, and is no smaller than those before it. Those that are 5 % or less
    then hold together: that even one of them is an error has a chance of at most 5 %.
    """
    order = sorted(range(len(ps)), key=ps.__getitem__)
    adjusted = [1.0] * len(ps)
    least = 0.0
    for before, place in enumerate(order):
        least = adjusted[place] = max(least, min(1.0, (len(ps) - before) * ps[place]))
    return adjusted


@dataclass(frozen=True)
class _Taus:
    """A method's taus: of its rankings against the table, their mean, and (draws, seeds) against what was drawn."""

    mean: float
    drawn: Array


@dataclass(frozen=True)
class _Drawn:
    """What all verdicts on a table draw in common.

    copies     (draws, C) how many times each configuration was drawn
    tables     (draws, C) accuracies that other seeds might have given
    generator  as it is after these, for the seeds of two methods
    """

    table: GroundTruth
    copies: Array
    tables: Array
    generator: np.random.Generator

    @classmethod
    def of(cls, table: GroundTruth, draws: int) -> Self:
        import numpy as np

        table.require_complete()
        generator = np.random.default_rng(0)
        means = np.array([row.mean for row in table.rows])
        copies = generator.multinomial(len(means), np.full(len(means), 1 / len(means)), size=draws)
        tables = np.tile(means, (draws, 1))
        if all(row.n > 1 for row in table.rows):
            tables = redraw(table.rows, estimates(table.rows), draws, generator)
        return cls(table, copies, tables, generator)

    def taus(self, rankings: Sequence[Ranking]) -> _Taus:
        import numpy as np

        for ranking in rankings:
            _require_same(ranking, self.table)
        if not rankings:
            raise UsageError("a verdict needs a ranking of each of two methods")
        means = np.array([[row.mean for row in self.table.rows]])
        plain = [float(kendall(means, np.array(ranking.scores))[0]) for ranking in rankings]
        drawn = [kendall(self.tables, np.array(ranking.scores), self.copies) for ranking in rankings]
        return _Taus(math.fsum(plain) / len(plain), np.stack(drawn, axis=1))

    def verdict(self, one: _Taus, other: _Taus) -> Verdict:
        import numpy as np

        generator = copy.deepcopy(self.generator)  # so that a pair's verdict does not depend on those before

        def mean_of_seeds(taus: Array) -> Array:
            which = generator.integers(taus.shape[1], size=taus.shape)
            return np.take_along_axis(taus, which, axis=1).mean(axis=1)

        differences = mean_of_seeds(one.drawn) - mean_of_seeds(other.drawn)
        interval = percentiles(differences)
        if interval is None:
            raise UsageError(f"table {self.table.name} has one accuracy everywhere: it cannot tell two methods apart")
        known = differences[np.isfinite(differences)]
        against = min(int((known <= 0).sum()), int((known >= 0).sum()))
        return Verdict(one.mean - other.mean, interval, min(1.0, 2 * (1 + against) / (1 + len(known))))


def _require_same(ranking: Ranking, table: GroundTruth) -> None:
    table.require_complete()
    if ranking.space != table.space.name:
        raise UsageError(f"the ranking is of {ranking.space}, table {table.name} of {table.space.name}: give its own")
