"""Methods against each other: how fast their rankings get good, and which of two is better. No torch.

A method's history holds its scores after each epoch, with the images seen and the device seconds spent until then
(`nas_methods/__init__.py`); here they are held against a table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Literal

from benchmark.errors import UsageError
from benchmark.scoring.kendall import kendall
from benchmark.scoring.noise import estimates, percentiles, redraw
from benchmark.scoring.ranking import Ranking
from benchmark.scoring.scores import tops_of
from benchmark.tables.table import GroundTruth

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.scoring.scored import Top


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
    """

    difference: float
    interval: tuple[float, float]

    @property
    def word(self) -> Literal["better", "worse", "unresolved"]:
        low, high = self.interval
        return "better" if low > 0 else "worse" if high < 0 else "unresolved"

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.word} ({self.difference:+.3f}, {low:+.3f} to {high:+.3f})"


def verdict(one: Sequence[Ranking], other: Sequence[Ranking], table: GroundTruth, *, draws: int = 2000) -> Verdict:
    """The paired comparison of two methods against one table; the same call gives the same numbers.

    one, other  rankings of each method, one per seed

    Each draw takes configurations with replacement (a pair of copies of one configuration is dropped: it would be a
    tie that nobody made), a table that other seeds might have given, and seeds of each method with replacement, and
    takes both taus of the same configurations and table: what is hard for both cancels. Where some configuration of
    the table has one seed only, its noise is not known and is left out.
    Raises UsageError for no rankings, and for a table that is incomplete or of another space.
    """
    return verdicts({"one": one, "other": other}, table, draws=draws)["one", "other"]


def verdicts(
    entrants: Mapping[str, Sequence[Ranking]], table: GroundTruth, *, draws: int = 2000
) -> dict[tuple[str, str], Verdict]:
    """The `verdict` of every two of them, number for number; each ranking is held against the draws once.

    Raises UsageError as `verdict` does.
    """
    import numpy as np

    for ranking in (ranking for group in entrants.values() for ranking in group):
        _require_same(ranking, table)
    if not all(entrants.values()):
        raise UsageError("a verdict needs a ranking of each of two methods")
    generator = np.random.default_rng(0)
    means = np.array([row.mean for row in table.rows])
    copies = generator.multinomial(len(means), np.full(len(means), 1 / len(means)), size=draws)
    tables = np.tile(means, (draws, 1))
    if all(row.n > 1 for row in table.rows):
        tables = redraw(table.rows, estimates(table.rows), draws, generator)
    state = generator.bit_generator.state  # every pair draws its seeds from here
    taus: dict[str, np.ndarray] = {}
    plain: dict[str, float] = {}
    for label, group in entrants.items():
        scores = [np.array(ranking.scores) for ranking in group]
        taus[label] = np.stack([kendall(tables, s, copies) for s in scores], axis=1)
        plain[label] = math.fsum(float(kendall(means[None], s)[0]) for s in scores) / len(scores)

    def drawn(label: str) -> np.ndarray:
        which = generator.integers(taus[label].shape[1], size=taus[label].shape)
        return np.take_along_axis(taus[label], which, axis=1).mean(axis=1)

    found = {}
    for one, other in combinations(entrants, 2):
        generator.bit_generator.state = state
        interval = percentiles(drawn(one) - drawn(other))
        if interval is None:
            raise UsageError(f"table {table.name} has one accuracy everywhere: it cannot tell two methods apart")
        found[one, other] = Verdict(plain[one] - plain[other], interval)
    return found


def _require_same(ranking: Ranking, table: GroundTruth) -> None:
    table.require_complete()
    if ranking.space != table.space.name:
        raise UsageError(f"the ranking is of {ranking.space}, table {table.name} of {table.space.name}: give its own")
