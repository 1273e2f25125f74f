"""How well a ranking agrees with a table of ground truth. No torch; scipy loads when a score is asked for.

The headline is Kendall's tau-b, signed, with an interval that resamples seeds only. Beside it always
stand the noise ceiling of the table and what counting MACs would have got.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import UsageError
from benchmark.scoring.ranking import Ranking
from benchmark.spaces.costs import macs
from benchmark.spaces.space import Config, PoolingSpace
from benchmark.tables.files import load_table
from benchmark.tables.table import GroundTruth, Row

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray

TOP = (1, 3, 5)
LEVEL = 0.05  # of the significance test, and what the intervals leave out


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


@dataclass(frozen=True)
class Pick:
    """The architecture picked. Where it lies outside the space, accuracy, rank and regret are None.

    accuracy   the table's mean, in per cent
    rank       1 + the number of configurations that are truly better
    regret     best mean - accuracy, in percentage points
    projected  of a pick outside the space: the configuration scored highest (of ties the first); None inside
    """

    config: str
    accuracy: float | None
    rank: int | None
    regret: float | None
    projected: Pick | None = None


@dataclass(frozen=True)
class Top:
    """The k best by score. Ties in the scores count with their expected value: none is broken.

    precision  share of them that is in the true top k; the true top k holds all that tie with its k-th
    best       accuracy of the truly best among them, in per cent
    regret     best mean of the table - best, in percentage points
    """

    k: int
    precision: float
    best: float
    regret: float


@dataclass(frozen=True)
class Agreement:
    """One method against one table; averages over the method's seeds.

    tau              Kendall's tau-b with the table's means
    taus             the same for each seed of the method
    interval         95 % percentile interval of tau; None where it cannot be had
    spearman         Spearman's rank correlation
    tau_significant  tau-b over the pairs of configurations that differ significantly
    tau_given_macs   partial tau given MACs
    picks            one per seed of the method
    regret           mean regret of the picks, in percentage points; None if any lies outside the space
    top              for k in 1, 3, 5
    """

    method: str
    tau: float
    taus: tuple[float, ...]
    interval: tuple[float, float] | None
    spearman: float
    tau_significant: float | None
    tau_given_macs: float | None
    picks: tuple[Pick, ...]
    regret: float | None
    top: tuple[Top, ...]


@dataclass(frozen=True)
class Score:
    """A ranking's agreement with a table, and beside it that of counting MACs.

    method       the ranking, or the method's rankings with several seeds
    macs         the baseline; None for spaces whose MACs cannot be counted yet
    ceiling      None where some configuration has one seed only
    significant  pairs of configurations that differ significantly; None likewise
    size, pairs  number of configurations, and of pairs of them
    n            fewest and most seeds of a configuration in the table
    why          why ceiling and intervals are None; empty where they are not
    recipes      of the ranking and of the table, in words; None where not known
    seconds      that each of the rankings took on its device, over all attempts; None where not known
    table_sha256 the content that was scored against: a growing table keeps its name
    """

    table: str
    dataset: str
    space: str
    n: tuple[int, int]
    method: Agreement
    macs: Agreement | None
    ceiling: Ceiling | None
    significant: int | None
    size: int
    pairs: int
    why: str
    recipes: tuple[str | None, str | None]
    options: Mapping[str, Any]
    draws: int
    seconds: tuple[float | None, ...]
    device: str | None
    table_sha256: str

    @property
    def tau(self) -> float:
        """Kendall's tau-b, averaged over the method's seeds."""
        return self.method.tau

    @property
    def interval(self) -> tuple[float, float] | None:
        return self.method.interval

    @property
    def regret(self) -> float | None:
        return self.method.regret

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON types; None where there is no number."""
        return json.loads(json.dumps(asdict(self), allow_nan=False, default=str))

    def text(self) -> str:
        """The score for people: one line per quantity, MACs in the second column."""
        columns = [self.method] + ([self.macs] if self.macs else [])
        options = " ".join(f"{key}={value}" for key, value in self.options.items())
        low, high = self.n
        seeds = f"{low} to {high} seeds" if low != high else f"{low} seed{'s' * (low > 1)}"
        lines = [
            f"{' '.join(filter(None, [self.method.method, options]))} against table {self.table}",
            f"{self.space} on {self.dataset}, {seeds} per configuration",
        ]
        if self.recipes[0]:
            lines.append(f"recipes: ranking {self.recipes[0]}; table {self.recipes[1] or 'not stated'}")
        rows: list[tuple[str, list[str]]] = [
            ("", [column.method for column in columns]),
            ("Kendall tau-b", [_number(column.tau) for column in columns]),
            ("  95 % interval over seeds", [_range(column.interval) for column in columns]),
        ]
        if len(self.method.taus) > 1:
            rows.append(("  per seed of the method", ["; ".join(map(_number, self.method.taus))]))
        significant = f"  {self.significant or 0} of {self.pairs} pairs that differ"
        rows += [
            (significant, [_number(column.tau_significant) for column in columns]),
            ("  given MACs (partial)", [_number(column.tau_given_macs) for column in columns]),
            ("Spearman", [_number(column.spearman) for column in columns]),
            ("pick", [_each(column, _where) for column in columns]),
            ("  accuracy %", [_each(column, lambda p: _number(p.accuracy, 2)) for column in columns]),
            (f"  true rank of {self.size}", [_each(column, lambda p: _number(p.rank, 0)) for column in columns]),
            ("  regret, points", [_each(column, lambda p: _number(p.regret, 2)) for column in columns]),
        ]
        if any(pick.projected for pick in self.method.picks):
            rows.append(("  projected: accuracy %, regret", [_each(column, _projected) for column in columns]))
        for number, top in enumerate(self.method.top):
            tops = [column.top[number] for column in columns]
            rows.append((f"top {top.k}: precision", [f"{t.precision:.2f}" for t in tops]))
            rows.append(("  best accuracy %, regret", [f"{t.best:.2f}, {t.regret:.2f}" for t in tops]))
        left = max(len(name) for name, _ in rows)
        middle = max(len(cells[0]) for _, cells in rows)
        lines += ["  ".join([name.ljust(left), cells[0].ljust(middle), *cells[1:]]).rstrip() for name, cells in rows]
        if any(self.seconds):
            took = ", ".join(_number(seconds, 0) for seconds in self.seconds)
            lines.append(f"device seconds: {took} ({self.device or 'device not stated'})")
        if self.ceiling:
            lines.append(f"ceiling: a perfect predictor gets {self.ceiling.perfect},")
            lines.append(f"         two tables of this noise agree at {self.ceiling.independent}")
        if self.why:
            lines.append(f"no ceiling and no interval: {self.why}")
        return "\n".join(lines)

    __str__ = text


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
    table.require_complete()
    space = table.space
    rankings = _rankings(ranking, table)
    means = np.array([row.mean for row in table.rows])
    if (means == means[0]).all():
        raise UsageError(f"table {table.name} has the accuracy {means[0]} everywhere: it cannot judge a ranking")

    single = [row for row in table.rows if row.n == 1]
    why = (
        f"{len(single)} of {len(space)} configurations have one seed only, so the noise is not known" if single else ""
    )
    baseline = None
    if space.widths:
        baseline = Ranking(space.name, tuple(float(macs(space, config)) for config in space), method="macs")

    # Drawn in this order, the ceiling and the baseline's interval do not depend on the ranking.
    generator = np.random.default_rng(0)
    ceiling, tables, significant = None, None, None
    if not single:
        known = estimates(table.rows)
        ceiling = ceiling_of(known, draws, generator)
        tables = _redraw(table, means, draws, generator)
        noise = pool(table.rows)
        assert noise is not None  # every configuration has two seeds or more
        significant = significant_pairs(known, noise)
    context = _Context(space, means, baseline, tables, significant)
    return Score(
        table=table.name,
        dataset=table.dataset,
        space=space.name,
        n=(min(row.n for row in table.rows), max(row.n for row in table.rows)),
        method=_agreement(rankings, context, generator),
        macs=_agreement([baseline], context, generator) if baseline else None,
        ceiling=ceiling,
        significant=None if significant is None else int(significant.sum()),
        size=len(space),
        pairs=math.comb(len(space), 2),
        why=why,
        recipes=(_recipe(rankings[0].provenance), _recipe(table.header)),
        options=dict(rankings[0].options),
        draws=draws,
        seconds=tuple(r.provenance.get("timings", {}).get("seconds") for r in rankings),
        device=rankings[0].provenance.get("device"),
        table_sha256=table.sha256,
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

    means        (C,) accuracies
    tables       (draws, C) redrawn accuracies, or None
    significant  (pairs,) whether the pair differs, in the order of `_pairs`, or None
    """

    space: PoolingSpace
    means: Array
    macs: Ranking | None
    tables: Array | None
    significant: Array | None


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
    tops = [[top_of(k, s, context.means) for k in TOP] for s in scores]
    return Agreement(
        method=rankings[0].method,
        tau=math.fsum(taus) / len(taus),
        taus=tuple(taus),
        interval=interval,
        spearman=math.fsum(float(spearmanr(s, context.means).statistic) for s in scores) / len(scores),
        tau_significant=_average([_tau_over(context.significant, s, context.means) for s in scores]),
        tau_given_macs=_average([_partial(tau, s, context) for tau, s in zip(taus, scores, strict=True)]),
        picks=picks,
        regret=_average([pick.regret for pick in picks]),
        top=tuple(_average_top(same_k) for same_k in zip(*tops, strict=True)),
    )


def _pairs(values: Array) -> Array:
    """Signs of the differences of all pairs along the last axis: (..., C) -> (..., C (C - 1) / 2)."""
    import numpy as np

    first, second = np.triu_indices(values.shape[-1], k=1)
    return np.sign(values[..., first] - values[..., second])


def kendall(tables: Array, scores: Array, copies: Array | None = None) -> Array:
    """tau-b of many tables (draws, C) with scores (C,) or (draws, C): (draws,); NaN where either is constant.

    copies: (draws, C) how many times each configuration counts; a pair of copies of one configuration does not, for
    it would be a tie that nobody made.

    The same numbers as scipy's, which takes one pair of vectors at a time. In chunks, so that the
    signs of all pairs fit in memory for large spaces.
    """
    import numpy as np

    found = []
    step = max(1, 2_000_000 // math.comb(tables.shape[-1], 2))
    for start in range(0, len(tables), step):
        a = _pairs(tables[start : start + step])
        b = _pairs(scores if scores.ndim == 1 else scores[start : start + step])
        if copies is not None:
            first, second = np.triu_indices(tables.shape[-1], k=1)
            here = np.sqrt(copies[start : start + step])
            a = a * (here[:, first] * here[:, second])
            b = b * (here[:, first] * here[:, second])
        untied = (a * a).sum(axis=-1) * (b * b).sum(axis=-1)
        with np.errstate(invalid="ignore"):
            found.append((a * b).sum(axis=-1) / np.sqrt(untied))
    return np.concatenate(found)


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

    return known.means + known.stds / np.sqrt(known.n) * generator.standard_normal((draws, len(known.means)))


def redraw(rows: Sequence[Row], known: Estimates, draws: int, generator: np.random.Generator) -> Array:
    """(draws, C) tables that other seeds might have given: from the seeds of each configuration where all have
    several, else as normal(mean, std / sqrt(n))."""
    import numpy as np

    if not all(len(row.values) > 1 for row in rows):
        return redraw_normal(known, draws, generator)
    columns = []
    for row, mean in zip(rows, known.means, strict=True):
        resampled = np.array(list(row.values.values()))[generator.integers(row.n, size=(draws, row.n))].mean(axis=1)
        # n values drawn with replacement vary by (n - 1)/n too little: 18 % too narrow an interval at n = 3.
        columns.append(mean + (resampled - mean) * math.sqrt(row.n / (row.n - 1)))
    # Sums of the same numbers in another order differ in the last bits, which would break true ties.
    return np.round(np.stack(columns, axis=1), 9)


def _redraw(table: GroundTruth, means: Array, draws: int, generator: np.random.Generator) -> Array:
    return redraw(table.rows, replace(estimates(table.rows), means=means), draws, generator)


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


def significant_pairs(known: Estimates, noise: Pooled) -> Array:
    """(pairs,) whether two configurations differ, as the docstring of `score` says."""
    import numpy as np
    from scipy.stats import false_discovery_control, t

    i, j = np.triu_indices(len(known.means), k=1)
    difference = np.abs(known.means[i] - known.means[j])
    if noise.std > 0:
        error = noise.std * np.sqrt(1 / known.n[i] + 1 / known.n[j])
        p = 2 * t.sf(difference / error, noise.freedom)
    else:
        p = np.where(difference > 0, 0.0, 1.0)  # where nothing varies, any difference is one
    return false_discovery_control(np.clip(p, 0, 1)) <= LEVEL


def _tau_over(chosen: Array | None, scores: Array, means: Array) -> float | None:
    """tau-b over the chosen pairs; None without any, or where the ranking ties them all."""
    if chosen is None:
        return None
    a, b = _pairs(scores)[chosen], _pairs(means)[chosen]
    untied = float(abs(a).sum() * abs(b).sum())
    return float((a * b).sum()) / math.sqrt(untied) if untied else None


def _partial(tau: float, scores: Array, context: _Context) -> float | None:
    from scipy.stats import kendalltau

    if context.macs is None:
        return None
    with_macs = float(kendalltau(scores, context.macs.scores).statistic)
    table_macs = float(kendalltau(context.means, context.macs.scores).statistic)
    found = float(partial(tau, with_macs, table_macs))
    return found if math.isfinite(found) else None


def partial(between: Array | float, with_one: Array | float, with_other: Array | float) -> Array:
    """Kendall's partial tau (1942) from the tau-b between two and of each with what is given; all of one shape.

    NaN where one of both orders exactly as what is given does, or where a tau is NaN.
    """
    import numpy as np

    rest = (1 - np.square(with_one)) * (1 - np.square(with_other))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(rest > 1e-12, (between - with_one * with_other) / np.sqrt(rest), np.nan)


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


def _number(value: float | None, decimals: int = 3) -> str:
    return "-" if value is None else f"{value:.{decimals}f}"


def _range(interval: tuple[float, float] | None) -> str:
    return "-" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}"


def _where(pick: Pick) -> str:
    return pick.config if pick.accuracy is not None else f"{pick.config} (outside the space)"


def _projected(pick: Pick) -> str:
    """The configuration that stands for a pick in the space; none where the pick is one itself."""
    inside = pick.projected
    return f"{inside.config}: {inside.accuracy:.2f}, {inside.regret:.2f}" if inside else "-"


def _each(column: Agreement, show: Callable[[Pick], str]) -> str:
    """One quantity of the picks, seed by seed; once where they agree."""
    texts = [show(pick) for pick in column.picks]
    return "; ".join(texts) if len(set(texts)) > 1 else texts[0]
