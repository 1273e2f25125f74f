"""Methods against a table: a row each, verdicts of every two, points, budgets, and what was not run. No torch."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmark import cli
from benchmark.errors import UsageError
from benchmark.output import printable
from benchmark.page.kept import Kept, KeptRanking, KeptTable
from benchmark.scoring import versus
from benchmark.scoring.noise import Simulated
from benchmark.scoring.ranking import Ranking
from benchmark.scoring.scored import Agreement, Score
from benchmark.scoring.scores import score
from benchmark.spaces import costs
from benchmark.spaces.space import PoolingSpace, load_space
from benchmark.tables.table import GroundTruth

COUNTING = "counting MACs"
LONGEST = 60  # characters of a method's name in a figure


@dataclass(frozen=True)
class Picked:
    """What one seed of a method picked; accuracy, rank and regret are None outside the space.

    path       (L,) resolution index of each layer
    projected  the best-scored configuration of the space, of a pick outside it
    """

    text: str
    path: tuple[int, ...]
    accuracy: float | None
    rank: int | None
    regret: float | None
    projected: str | None


@dataclass(frozen=True)
class Standing:
    """A row of the leaderboard: one method with all its seeds.

    tau, interval, given_macs, spearman, regret  as `benchmark.score` has them
    top5      share of the five best by score that are truly among the five best, averaged over seeds
    seconds   on its device, per seed; None where not known or nothing was trained
    links     the rankings, as they are seen from the report's folder
    """

    label: str
    method: str
    options: Mapping[str, Any]
    recipe: str | None
    device: str | None
    seeds: tuple[str, ...]
    taus: tuple[float, ...]
    tau: float
    interval: tuple[float, float] | None
    given_macs: float | None
    spearman: float
    picks: tuple[Picked, ...]
    regret: float | None
    top5: float | None
    seconds: float | None
    links: tuple[str, ...]


@dataclass(frozen=True)
class NotRun:
    """A variant of a method without a ranking here, and the command that makes one."""

    label: str
    command: str


@dataclass(frozen=True)
class Verdict:
    """word: on its own, at 95 %; adjusted: what remains of it among all verdicts against this table (Holm)."""

    one: str
    other: str
    difference: float
    interval: tuple[float, float]
    word: str
    adjusted: str


@dataclass(frozen=True)
class Point:
    """One configuration as one seed of a method scored it.

    order     its rank by score, 1 the best; ties share their average
    rank      its rank by accuracy, likewise
    residual  rank - order: above 0 it was put higher than it belongs
    """

    label: str
    seed: str
    config: str
    score: float
    order: float
    accuracy: float
    rank: float
    residual: float
    layers: tuple[int, ...]


@dataclass(frozen=True)
class Moment:
    """A method after an epoch: the median over those of its seeds that have it, the lowest and the highest."""

    label: str
    epoch: int
    images: float
    seconds: float | None
    tau: float | None
    tau_low: float | None
    tau_high: float | None
    regret: float
    regret_low: float
    regret_high: float
    seeds: int


@dataclass(frozen=True)
class Spent:
    """One seed of a method after an epoch, as `versus.Point` has it."""

    label: str
    seed: str
    epoch: int
    images: int
    seconds: float | None
    tau: float | None
    regret: float


@dataclass(frozen=True)
class Board:
    """Methods against one table, best first.

    macs      tau of counting MACs; None for spaces whose MACs cannot be counted yet
    ceiling   tau of a perfect predictor; None where no noise is known, for the reason that `why` gives
    verdicts_told  what a reader of so many must know
    left_out  a line for what could not be scored
    """

    table: str
    title: str
    standings: tuple[Standing, ...]
    macs: float | None
    ceiling: Simulated | None
    why: str
    verdicts: tuple[Verdict, ...]
    verdicts_told: str
    not_run: tuple[NotRun, ...]
    points: tuple[Point, ...]
    spent: tuple[Spent, ...]
    moments: tuple[Moment, ...]
    left_out: tuple[str, ...]


def board_of(
    judge: KeptTable,
    kept: Kept,
    labels: Mapping[int, str],
    progress: Callable[[float], None] = lambda fraction: None,
) -> Board:
    """Everything of one table, complete and not constant.

    labels    the name of each ranking on the page, by its `id`
    progress  called with the share of the work that is done: one half are the scores, the other the verdicts
    """
    table = judge.table
    groups, left_out = _groups(table, kept.rankings, labels)
    scores: dict[str, Score] = {}
    for place, (label, group) in enumerate(list(groups.items())):
        progress(place / len(groups) / 2)
        try:
            scores[label] = score([one.ranking for one in group], table)
        except UsageError as error:
            left_out.append(f"{label}: {' '.join(str(error).split())}")
            del groups[label]
    standings = [_standing(label, groups[label], scores[label].method, scores[label]) for label in groups]
    judged = {label: [one.ranking for one in group] for label, group in groups.items()}
    counted = _counting(table.space)
    reference = score(counted or _any(table.space), table)
    if counted and not any(list(one.scores) == list(counted.scores) for group in judged.values() for one in group):
        judged[COUNTING] = [counted]
        standings.append(_standing(COUNTING, [], reference.method, reference))
    spent, faults = _spent(table, groups)
    found = versus.verdicts(judged, table, progress=lambda share: progress((1 + share) / 2))
    return Board(
        table=table.name,
        title=judge.title,
        standings=tuple(sorted(standings, key=lambda row: (-row.tau, row.label))),
        macs=reference.macs.tau if reference.macs else None,
        ceiling=reference.ceiling.perfect if reference.ceiling else None,
        why=reference.why,
        verdicts=tuple(
            Verdict(one, other, v.difference, v.interval, v.word, v.adjusted_word) for (one, other), v in found.items()
        ),
        verdicts_told=versus.in_words(found.values()) if found else "There is one method, so there is no verdict.",
        not_run=_not_run(table, kept),
        points=tuple(_points(table, groups)),
        spent=spent,
        moments=_moments(spent),
        left_out=(*left_out, *faults),
    )


def labels_of(rankings: Sequence[KeptRanking]) -> dict[int, str]:
    """A name for each ranking, by its `id`: the method, the options that differ between two of it, and its recipe where
    these do not tell it from another. Seeds of one method share theirs. Other spaces than that of most are named, too,
    and so is the recipe smoke: its numbers are no results, and a figure is shown without the table beside it."""
    whole: dict[int, tuple[str, str]] = {}
    spaces = Counter(kept.ranking.space for kept in rankings).most_common(1)
    for kept in rankings:
        ranking = kept.ranking
        alike = (ranking.method, ranking.space)
        same = [one.ranking.options for one in rankings if (one.ranking.method, one.ranking.space) == alike]
        words = [f"{key}={value}" for key, value in ranking.options.items() if any(o.get(key) != value for o in same)]
        words += [ranking.space] if ranking.space != spaces[0][0] else []
        recipe = str(ranking.provenance.get("recipe_label") or "")
        whole[id(ranking)] = (_short(" ".join([ranking.method, *words])), recipe)
    recipes: dict[str, set[str]] = {}
    for name, recipe in whole.values():
        recipes.setdefault(name, set()).add(recipe)
    return {
        key: _short(f"{name} {recipe}".strip()) if len(recipes[name]) > 1 or recipe.startswith("smoke") else name
        for key, (name, recipe) in whole.items()
    }


def _short(text: str) -> str:
    plain = " ".join(printable(text).split())
    if plain == COUNTING:  # the name of what stands beside every method
        plain = f"{COUNTING} (a ranking's name)"
    return plain if len(plain) <= LONGEST else plain[: LONGEST - 1] + "…"


def _groups(
    table: GroundTruth, rankings: Sequence[KeptRanking], labels: Mapping[int, str]
) -> tuple[dict[str, list[KeptRanking]], list[str]]:
    """Rankings of the table's space and data by label; those that are no seeds of one method stand one by one."""
    found: dict[str, list[KeptRanking]] = {}
    for kept in rankings:
        ranking = kept.ranking
        if ranking.space == table.space.name and ranking.dataset in (None, table.dataset):
            found.setdefault(labels[id(ranking)], []).append(kept)
    apart: dict[str, list[KeptRanking]] = {}
    for label, group in found.items():
        seeds = [one.ranking.provenance.get("seed") for one in group]
        known = [str(seed) for seed in seeds if seed is not None]
        alike = all(
            (one.ranking.method, one.ranking.options, one.ranking.provenance.get("recipe_hash"))
            == (group[0].ranking.method, group[0].ranking.options, group[0].ranking.provenance.get("recipe_hash"))
            for one in group
        )
        if len(set(known)) == len(known) and alike:
            apart[label] = group
        else:
            apart |= {f"{label}, {k} of {len(group)}": [one] for k, one in enumerate(group, start=1)}
    return apart, []


def _counting(space: PoolingSpace) -> Ranking | None:
    if not space.backbone:
        return None
    return Ranking(space.name, tuple(float(costs.macs(space, config)) for config in space), method="macs")


def _any(space: PoolingSpace) -> Ranking:
    return Ranking(space.name, tuple(map(float, range(len(space)))))


def _standing(label: str, group: Sequence[KeptRanking], agreement: Agreement, found: Score) -> Standing:
    space = load_space(found.space)
    known = [seconds for seconds in found.seconds if seconds is not None] if found.device else []
    ranking = group[0].ranking if group else None
    return Standing(
        label=label,
        method=_short(agreement.method),
        options=dict(ranking.options) if ranking else {},
        recipe=ranking.provenance.get("recipe_label") if ranking else None,
        device=found.device,
        seeds=tuple(one.seed for one in group),
        taus=agreement.taus,
        tau=agreement.tau,
        interval=agreement.interval,
        given_macs=agreement.tau_given_macs,
        spearman=agreement.spearman,
        picks=tuple(
            Picked(
                text=pick.config,
                path=tuple(space.architecture(pick.config).path),
                accuracy=pick.accuracy,
                rank=pick.rank,
                regret=pick.regret,
                projected=pick.projected.config if pick.projected else None,
            )
            for pick in agreement.picks
        ),
        regret=agreement.regret,
        top5=next((top.precision for top in agreement.top if top.k == 5), None),
        seconds=sum(known) / len(known) if known else None,
        links=tuple(one.link for one in group),
    )


def _not_run(table: GroundTruth, kept: Kept) -> tuple[NotRun, ...]:
    """The variants of which no ranking of this space and data is kept."""
    if not table.space.backbone:
        return ()
    there = [
        (kept.ranking.method, dict(kept.ranking.options))
        for kept in kept.rankings
        if kept.ranking.space == table.space.name and kept.ranking.dataset in (None, table.dataset)
    ]
    found = []
    for offer in kept.offered:
        if (offer.method, dict(offer.options)) not in there:
            flags = cli.flags(offer.variant.options)
            words = ["python", "-m", "benchmark.evaluate", "--method", offer.method, *flags, *_where(table, kept)]
            found.append(NotRun(" ".join([offer.method, *flags]), shlex.join(words)))
    return tuple(found)


def _where(table: GroundTruth, kept: Kept) -> list[str]:
    space = [] if table.space.name == load_space().name else ["--space", table.space.name]
    data = [] if table.dataset == table.space.dataset else ["--dataset", table.dataset]
    return [*space, *data, *([] if str(kept.out) == "results" else ["--out", str(kept.out)])]


def _points(table: GroundTruth, groups: Mapping[str, Sequence[KeptRanking]]) -> list[Point]:
    import numpy as np
    from scipy.stats import rankdata

    means = np.array([row.mean for row in table.rows])
    truth = rankdata(-means)
    found = []
    for label, group in groups.items():
        for kept in group:
            orders = rankdata(-np.array(kept.ranking.scores))
            for place, config in enumerate(table.space):
                found.append(
                    Point(
                        label,
                        kept.seed,
                        str(config),
                        kept.ranking.scores[place],
                        float(orders[place]),
                        float(means[place]),
                        float(truth[place]),
                        float(truth[place] - orders[place]),
                        config.layers,
                    )
                )
    return found


def _spent(table: GroundTruth, groups: Mapping[str, Sequence[KeptRanking]]) -> tuple[tuple[Spent, ...], list[str]]:
    found: list[Spent] = []
    faults = []
    for label, group in groups.items():
        for kept in group:
            try:
                points = versus.curve(kept.ranking, table)
            except (KeyError, TypeError, ValueError, IndexError, AttributeError):
                faults.append(f"{kept.link}: the curve in its history cannot be read, its scores can")
                continue
            found += [Spent(label, kept.seed, p.epoch, p.images, p.seconds, p.tau, p.regret) for p in points]
    return tuple(found), faults


def _moments(spent: Sequence[Spent]) -> tuple[Moment, ...]:
    epochs: dict[tuple[str, int], list[Spent]] = {}
    for one in spent:
        epochs.setdefault((one.label, one.epoch), []).append(one)
    found = []
    for (label, epoch), group in epochs.items():
        taus = [one.tau for one in group if one.tau is not None]
        clock = [one.seconds for one in group if one.seconds is not None]
        regrets = [one.regret for one in group]
        tau: tuple[Any, Any, Any] = (median(taus), min(taus), max(taus)) if taus else (None, None, None)
        found.append(
            Moment(
                label,
                epoch,
                median(one.images for one in group),
                median(clock) if len(clock) == len(group) else None,
                *tau,
                median(regrets),
                min(regrets),
                max(regrets),
                len(group),
            )
        )
    return tuple(found)
