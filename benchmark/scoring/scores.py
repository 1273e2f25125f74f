"""How well a ranking agrees with a table of ground truth. No torch; scipy loads when a score is asked for.

The headline is Kendall's tau-b, signed, with an interval that resamples seeds only. Beside it always
stand the noise ceiling of the table and what counting MACs would have got.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import UsageError
from benchmark.scoring.kendall import kendall, partial
from benchmark.scoring.noise import Estimates, ceiling_of, estimates, percentiles, pool, redraw
from benchmark.scoring.ranking import Ranking
from benchmark.scoring.scored import Agreement, Pick, Score, Top
from benchmark.scoring.significance import Significance, significance
from benchmark.spaces.costs import macs
from benchmark.spaces.space import Config, PoolingSpace
from benchmark.tables.files import load_table
from benchmark.tables.table import GroundTruth

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray

TOP = (1, 3, 5)


def score(
    ranking: Ranking | Mapping[Any, float] | Sequence[float] | Sequence[Ranking] | Any,
    table: GroundTruth | str | Path | None = None,
    *,
    draws: int = 2000,
) -> Score:
    """Scores a ranking against a table. The same call gives the same numbers: the generator is seeded with 0.

    ranking  a Ranking; {configuration: score}; C scores in canonical order (list, array, pandas Series, the
             last also indexed by configuration); or several Rankings of one method, with different seeds
    table    complete, and of the ranking's space and data set; or its name or path, as `load_table` takes them. It must
             be given: what a score is against is never a default
    draws    number of simulated tables, for intervals and ceilings

    tau-b (Kendall, 1945) is scipy's, between scores and the table's means; signed, so a reversed ranking is
    negative. Its interval redraws the table - from the seeds of each configuration, with replacement, where
    the table holds them for all; else normal(mean, std / sqrt(n)) - and, where several rankings are given,
    these with replacement too. Draws in which a table has a single value are left out.

    Pairs that differ significantly: Student's t-test of the two means with the std pooled over all configurations and
    its degrees of freedom, as in a one-way analysis of variance (of two or three seeds, an own std says next to nothing),
    p-values adjusted over all pairs (Benjamini and Hochberg, 1995), kept where at most 5 %. Over those,
    tau = (concordant - discordant) / sqrt(pairs x pairs not tied by the ranking).

    Partial tau given MACs (Kendall, 1942), s the scores, a the accuracies, m the MACs, each t a tau-b:
    (t_sa - t_sm t_am) / sqrt((1 - t_sm^2) (1 - t_am^2)); None where ranking or table order exactly as MACs do.

    Raises UsageError for a ranking that is constant, incomplete, not finite, or of another space or data set,
    and for a table that is incomplete or constant.
    """
    import numpy as np

    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 2:
        raise UsageError(f"draws is {draws!r}: it must be a whole number of 2 or more; 2000 is usual")
    if isinstance(table, str | Path):
        table = load_table(table)
    if not isinstance(table, GroundTruth):
        said = "no table is given" if table is None else f"{str(table)[:80]!r} is no table"
        raise UsageError(
            f"{said}: write benchmark.score(scores, 'published'), or benchmark.load_table(PATH) for another"
        )
    table.require_judge()
    space = table.space
    rankings = _rankings(ranking, table)
    known = estimates(table.rows)

    single = [row for row in table.rows if row.n == 1]
    why = (
        f"{len(single)} of {len(space)} configurations have one seed only, so the noise is not known" if single else ""
    )
    baseline = None
    if space.backbone:
        baseline = Ranking(space.name, tuple(float(macs(space, config)) for config in space), method="macs")

    # Drawn in this order, the ceiling and the baseline's interval do not depend on the ranking.
    generator = np.random.default_rng(0)
    ceiling, tables, significant = None, None, None
    if not single:
        ceiling = ceiling_of(known, draws, generator)
        tables = redraw(table.rows, known, draws, generator)
        noise = pool(table.rows)
        assert noise is not None  # every configuration has two seeds or more
        significant = significance(known, noise)
    context = _Context(space, known, baseline, tables, significant)
    return Score(
        table=table.name,
        dataset=table.dataset,
        space=space.name,
        n=(min(row.n for row in table.rows), max(row.n for row in table.rows)),
        method=_agreement(rankings, context, generator),
        macs=_agreement([baseline], context, generator) if baseline else None,
        ceiling=ceiling,
        significant=None if significant is None else significant.pairs,
        size=len(space),
        pairs=math.comb(len(space), 2),
        why=why,
        recipes=(_recipe(rankings[0].provenance), _recipe(table.header)),
        options=dict(rankings[0].options),
        draws=draws,
        seconds=tuple(r.provenance.get("timings", {}).get("seconds") for r in rankings),
        device=rankings[0].provenance.get("device"),
        table_sha256=table.sha256,
        tied=tuple(ranking.scores.count(max(ranking.scores)) for ranking in rankings),
    )


def _rankings(given: Any, table: GroundTruth) -> list[Ranking]:
    """One or several valid rankings from whatever `score` accepts."""
    if isinstance(given, Ranking):
        found = [given]
    elif isinstance(given, list | tuple) and any(isinstance(item, Ranking) for item in given):
        found = list(given)
    else:
        found = [_from_scores(given, table.space)]
    for ranking in found:
        if not isinstance(ranking, Ranking):
            raise UsageError("rankings and other things are mixed: give one Ranking per seed of the method")
        if ranking.space != table.space.name:
            raise UsageError(
                f"the ranking is of {ranking.space}, table {table.name} of {table.space.name}: give its own"
            )
        if ranking.dataset is not None and ranking.dataset != table.dataset:
            raise UsageError(
                f"the ranking was made on {ranking.dataset}, table {table.name} on {table.dataset}: "
                f"score it against a table of {ranking.dataset}"
            )
        seen = ranking.provenance.get("dataset", {}).get("checksum")
        if seen and table.checksum and seen != table.checksum:
            raise UsageError(
                f"the ranking was made on another version of {table.dataset} than table {table.name}: make one of them anew"
            )
        if (ranking.method, dict(ranking.options)) != (found[0].method, dict(found[0].options)):
            raise UsageError(
                f"{found[0].method} and {ranking.method} differ in method or options: score them one by one"
            )
        if _recipe(ranking.provenance) != _recipe(found[0].provenance):
            raise UsageError(
                f"the rankings of {ranking.method} were made with different recipes: score them one by one"
            )
    seeds = [ranking.provenance["seed"] for ranking in found if ranking.provenance.get("seed") is not None]
    if len(set(seeds)) != len(seeds):
        raise UsageError(f"two rankings of {found[0].method} have the same seed: give each seed once")
    return found


def _from_scores(given: Any, space: PoolingSpace) -> Ranking:
    try:
        if isinstance(given, Mapping):
            return Ranking.from_mapping(given, space)
        if hasattr(given, "items") and hasattr(given, "index"):  # a pandas Series
            labels = list(given.index)
            if labels != list(range(len(space))):  # anything but 0, 1, 2 in order must name configurations
                return Ranking.from_mapping(dict(zip(labels, given, strict=True)), space)
        if getattr(given, "ndim", 1) != 1:
            raise TypeError("a matrix")
        return Ranking(space.name, tuple(given))
    except UsageError:
        raise
    except (TypeError, ValueError):
        raise UsageError(
            f"a {type(given).__name__} that is no ranking: give a Ranking, {{configuration: score}} "
            f"or {len(space)} numbers in canonical order"
        ) from None


def _recipe(said: Mapping[str, Any]) -> str | None:
    """The recipe that a provenance or a header states, as `label (hash)`."""
    label, digest = said.get("recipe_label"), said.get("recipe_hash")
    return f"{label or 'unnamed'} ({digest or 'no hash'})" if label or digest else None


@dataclass(frozen=True)
class _Context:
    """What every ranking of one call is held against.

    tables       (draws, C) redrawn accuracies; None where the noise is not known
    significant  None likewise
    """

    space: PoolingSpace
    known: Estimates
    macs: Ranking | None
    tables: Array | None
    significant: Significance | None

    @property
    def means(self) -> Array:
        """(C,) accuracies, in per cent."""
        return self.known.means


def _agreement(rankings: list[Ranking], context: _Context, generator: np.random.Generator) -> Agreement:
    import numpy as np
    from scipy.stats import kendalltau, spearmanr

    scores = [np.array(ranking.scores) for ranking in rankings]
    taus = [float(kendalltau(s, context.means).statistic) for s in scores]
    interval = None
    if context.tables is not None:
        redrawn = np.stack([kendall(context.tables, s) for s in scores], axis=1)  # (draws, seeds)
        which = generator.integers(len(scores), size=redrawn.shape) if len(scores) > 1 else np.zeros_like(redrawn, int)
        drawn = np.take_along_axis(redrawn, which, axis=1).mean(axis=1)
        interval = percentiles(drawn)
    picks = tuple(_pick(ranking, context) for ranking in rankings)
    tops = [tops_of(s, context.means) for s in scores]
    return Agreement(
        method=rankings[0].method,
        tau=math.fsum(taus) / len(taus),
        taus=tuple(taus),
        interval=interval,
        spearman=math.fsum(float(spearmanr(s, context.means).statistic) for s in scores) / len(scores),
        tau_significant=_average([_tau_over(context.significant, s, context.known) for s in scores]),
        tau_given_macs=_average([_partial(tau, s, context) for tau, s in zip(taus, scores, strict=True)]),
        picks=picks,
        regret=_average([pick.regret for pick in picks]),
        top=tuple(_average_top(same_k) for same_k in zip(*tops, strict=True)),
    )


def _tau_over(chosen: Significance | None, scores: Array, known: Estimates) -> float | None:
    """tau-b over the pairs that differ; None without any, or where the ranking ties them all. Once, in O(C^2)."""
    import numpy as np

    if chosen is None:
        return None
    concordant = discordant = 0
    for place, worse in chosen.worse(known):
        concordant += int(np.count_nonzero(worse & (scores < scores[place])))
        discordant += int(np.count_nonzero(worse & (scores > scores[place])))
    untied = (concordant + discordant) * chosen.pairs
    return (concordant - discordant) / math.sqrt(untied) if untied else None


def _partial(tau: float, scores: Array, context: _Context) -> float | None:
    from scipy.stats import kendalltau

    if context.macs is None:
        return None
    with_macs = float(kendalltau(scores, context.macs.scores).statistic)
    table_macs = float(kendalltau(context.means, context.macs.scores).statistic)
    found = float(partial(tau, with_macs, table_macs))
    return found if math.isfinite(found) else None


def _pick(ranking: Ranking, context: _Context) -> Pick:
    text = str(ranking.pick)
    try:
        return _inside(context.space.index(Config.parse(text)), context)
    except UsageError:
        highest = ranking.scores.index(max(ranking.scores))
        return Pick(text, None, None, None, _inside(highest, context))


def _inside(index: int, context: _Context) -> Pick:
    accuracy = float(context.means[index])
    better = int((context.means > accuracy).sum())
    return Pick(str(context.space[index]), accuracy, 1 + better, float(context.means.max()) - accuracy)


def tops_of(scores: Array, means: Array) -> tuple[Top, ...]:
    """The top k for every k of TOP; a space of fewer configurations has no top so long."""
    return tuple(top_of(k, scores, means) for k in TOP if k <= len(scores))


def top_of(k: int, scores: Array, means: Array) -> Top:
    import numpy as np

    truly = means >= np.sort(means)[-k]
    threshold = np.sort(scores)[-k]
    sure, tied = scores > threshold, scores == threshold
    places, size = k - int(sure.sum()), int(tied.sum())
    precision = (truly[sure].sum() + truly[tied].sum() * places / size) / k
    # The best of `places` drawn from the tied ones is the j-th best of them with this chance.
    floor = float(means[sure].max()) if sure.any() else -math.inf
    chances = [math.comb(size - 1 - j, places - 1) / math.comb(size, places) for j in range(size - places + 1)]
    ordered = np.sort(means[tied])[::-1]
    best = math.fsum(chance * max(floor, float(x)) for chance, x in zip(chances, ordered, strict=False))
    return Top(k, float(precision), best, float(means.max()) - best)


def _average_top(tops: Sequence[Top]) -> Top:
    n = len(tops)
    precision, best, regret = (math.fsum(getattr(t, key) for t in tops) / n for key in ("precision", "best", "regret"))
    return Top(tops[0].k, precision, best, regret)


def _average(values: Iterable[float | None]) -> float | None:
    """The mean, or None if any value is."""
    known = list(values)
    if any(value is None for value in known):
        return None
    return math.fsum(value for value in known if value is not None) / len(known)
