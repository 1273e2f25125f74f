"""Which figures there are, under which names they are kept, what a reader can set, and what each means in plain words."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmark.page import charts, history_charts, study_charts
from benchmark.page.explored import Explored
from benchmark.page.histories import Drawing, Histories, Mixing, Sizing, Weighing
from benchmark.page.leaderboard import Board
from benchmark.page.pairs import Pair
from benchmark.page.papers import FIGURE_1
from benchmark.page.studies import KeptInterference, Matrix, Simulation, Studies
from benchmark.page.styles import Style

PAGE = "container"


@dataclass(frozen=True)
class Control:
    """A parameter of a figure's charts that a reader sets.

    within  the values that make sense for each value of the control before it; empty where all do
    """

    parameter: str
    label: str
    options: tuple[str, ...]
    first: str
    within: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class View:
    """One chart of a figure. name: by which a reader asks for it; page, file: make it for the page, and for a file; None where it is not there."""

    key: str
    name: str
    page: Callable[[], Any] | None
    file: Callable[[], Any] | None


@dataclass(frozen=True)
class Figure:
    """Charts that answer one question, of which the page shows one at a time. meaning: one paragraph in plain words."""

    key: str
    title: str
    views: tuple[View, ...]
    meaning: str
    controls: tuple[Control, ...] = ()


def file_name(text: str) -> str:
    """A file's name for whatever a table or a ranking is called: plain, bounded, and no other name's."""
    plain = re.sub(r"[^A-Za-z0-9._+=-]+", "-", text)[:80]
    return plain if plain == text else f"{plain}-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}"


def leaderboard(board: Board, styles: Mapping[str, Style]) -> Figure:
    """The forest as a file; the page has it within its table."""
    key = f"leaderboard-{file_name(board.title)}"
    return Figure(
        key,
        f"Methods against {board.title}",
        (View(key, "tau", lambda: charts.forest(board, styles, PAGE), lambda: charts.forest(board, styles)),),
        LEADERBOARD,
    )


LEADERBOARD = (
    "Each row is one way to guess which networks are good. Kendall's tau says how well its order of all configurations "
    "matches the table's: 1 is the same order, 0 is a shuffle, -1 is the reverse. The bar is where tau would probably lie "
    "had other seeds been drawn, each dot is one seed. The dotted line is what a perfect guess would reach, for the table "
    "itself is noisy; the dashed one is what you get by counting multiply-accumulates (MACs), which costs nothing. A method "
    "left of the dashed line is not worth its training. Tau given MACs is what it knows beyond that count. Two bars that "
    "overlap may still differ: choose both rows, and the paired verdict says so."
)


def explorer(table: Explored) -> list[Figure]:
    name, found = file_name(table.title), []
    if not table.configurations:
        return []
    names = tuple(one.config for one in table.configurations)
    best = max(table.configurations, key=lambda one: one.mean).config
    chosen = (Control("chosen", "configuration", names, best),)
    counted = table.configurations[0].megamacs is not None
    words = {"macs": "by MACs", "number": "by number", "first": "by layers before the first pooling"}
    views = [
        View(
            f"configurations-{x}-{name}",
            words[x],
            lambda x=x: charts.configurations(table, x, PAGE),  # type: ignore[misc]
            lambda x=x: charts.configurations(table, x, named=True),  # type: ignore[misc]
        )
        for x in charts.X
        if counted or x != "macs"
    ]
    if table.curves:
        views.append(
            View(
                f"curves-{name}",
                "epoch by epoch",
                lambda: charts.curves(table, PAGE),
                lambda: charts.curves(table),
            )
        )
    found.append(
        Figure(
            f"configurations-{name}",
            "All configurations",
            tuple(views),
            "Each dot is one way to place the poolings, trained from scratch; the line through it is how far its seeds "
            "scatter (one standard deviation). Higher is better. Pooling late keeps feature maps large for longer, which "
            "costs more multiply-accumulates, so dots lie further to the right; that they do not simply rise from left to "
            "right is why there is something to search. Choose a dot, or a name in the list, to see its network, its runs, "
            "and from which others its accuracy can be told apart.",
            chosen,
        )
    )
    return found


def truth(board: Board, styles: Mapping[str, Style], sizes: Sequence[int]) -> list[Figure]:
    if not board.points:
        return []
    name = file_name(board.title)
    methods = tuple(row.label for row in board.standings if row.links)
    seeds = {row.label: (charts.ALL, *row.seeds) for row in board.standings if row.links}
    controls = (
        Control("method", "method", methods, methods[0]),
        Control(
            "seed", "seed", tuple(dict.fromkeys(seed for some in seeds.values() for seed in some)), charts.ALL, seeds
        ),
    )
    return [
        Figure(
            f"truth-{name}",
            "Method against truth",
            (
                View(
                    f"truth-{name}",
                    "score and accuracy",
                    lambda: charts.truth(board, styles),
                    lambda: charts.truths(board, styles),
                ),
                *(
                    View(
                        f"residuals-{side}px-{name}",
                        f"errors by layers at {side} pixels",
                        lambda stage=stage, side=side: charts.residuals(board, styles, stage, side, PAGE),  # type: ignore[misc]
                        None,
                    )
                    for stage, side in enumerate(sizes)
                ),
            ),
            "Each dot is one configuration: to the right the method likes it, upwards it is truly good. A perfect method "
            "would draw a line that only rises. The ring is what it picked. The other views ask where it errs: above zero "
            "it puts a configuration higher than it belongs, below zero lower, in ranks; if that changes with how many "
            "layers work at one resolution, the method has a taste of its own.",
            controls,
        )
    ]


def budget(board: Board, styles: Mapping[str, Style]) -> list[Figure]:
    if not board.spent:
        return []
    name = file_name(board.title)
    words = {"images": "images seen", "seconds": "device seconds", "epoch": "epochs"}
    views = [
        View(
            f"budget-{y}-{x}-{name}",
            f"{y} by {words[x]}",
            lambda y=y, x=x: charts.budget(board, styles, y, x, PAGE),  # type: ignore[misc]
            lambda y=y, x=x: charts.budget(board, styles, y, x),  # type: ignore[misc]
        )
        for y in ("tau", "regret")
        for x in charts.BUDGET
        if charts.has_budget(board.spent, x)
    ]
    return [
        Figure(
            f"budget-{name}",
            "What a search gets for its budget",
            tuple(views),
            "Follow a line from left to right to see how good a method's order is after so many training images or seconds. "
            "The line is the median over its seeds, the band reaches from the lowest to the highest. Each step to the right "
            "on the axis multiplies the cost. The orders along the way are judged on a few validation images and are "
            "noisier than the final ones, so a line need not end at the method's tau above. Regret is what you lose by "
            "taking the configuration that looks best at that time, in points of accuracy. Click a name below the chart to "
            "see it alone.",
        )
    ]


def pairs(found: Sequence[Pair]) -> list[Figure]:
    figures = []
    for pair in found:
        name = f"{file_name(pair.a)}-vs-{file_name(pair.b)}"
        views = [
            View(f"scatter-{name}", "accuracies", _on_page(charts.scatter, pair), _in_file(charts.scatter, pair)),
            View(f"bump-{name}", "ranks", _on_page(charts.bump, pair), _in_file(charts.bump, pair)),
        ]
        if any(one.own is not None for one in pair.settling):
            views.append(
                View(
                    f"settling-{name}",
                    "epoch by epoch",
                    _on_page(charts.settling, pair),
                    _in_file(charts.settling, pair),
                )
            )
        figures.append(
            Figure(
                f"tables-{name}",
                "Side by side",
                tuple(views),
                "Two tables of the same configurations, made by different recipes or people. If they agreed on the order, "
                "dots would only rise and lines would not cross. A line that crosses many others is a configuration that "
                "one of them likes and the other does not. Some crossing is chance: tau is held against what two tables of "
                "one truth with this noise would show. Epoch by epoch: how soon the order that a training ends with is "
                "there, which is what a short training can know.",
            )
        )
    return figures


def _on_page(draw: Callable[..., Any], pair: Pair) -> Callable[[], Any]:
    return lambda: draw(pair, PAGE)


def _in_file(draw: Callable[..., Any], pair: Pair) -> Callable[[], Any]:
    return lambda: draw(pair)


def histories(found: Histories) -> list[Figure]:
    figures = []
    if found.mixing:
        figures.append(
            _searches(
                "models",
                "Which model serves which configuration",
                found.mixing,
                history_charts.mixing,
                lambda some: history_charts.mixing(some),
                "A mixture trains several networks at once and learns which of them suits which configuration (the mixture "
                "paper's Figure 5). Each panel is a moment of the search, each row a configuration, each column a model; "
                "bright is certain. At first every model serves all; at the end each row should have one bright cell. Rows "
                "are sorted by the model that they end with, so the blocks of bright cells are the groups that share "
                "weights.",
            )
        )
    if found.weighing:
        figures.append(
            _searches(
                "resolutions",
                "Which resolutions were weighed how",
                found.weighing,
                history_charts.weighing,
                lambda some: history_charts.weighing(some, PAGE),
                "DARTS runs every layer at all resolutions at once and learns a weight for each (the mixture paper's "
                "Figure 4). Bright cells are the resolutions that it trusts; the line is what it picked. A line that goes "
                "down and up again leaves the space of poolings: no network that only ever pools can follow it.",
            )
        )
    if found.sizing:
        figures.append(
            _searches(
                "sizes",
                "Which sizes were learned",
                found.sizing,
                history_charts.sizing,
                lambda some: history_charts.sizing(some, PAGE),
                "Some methods learn the sizes of feature maps by gradient while one network trains. Each line is a layer; "
                "dashed are the sizes of the space. Lines that rise pool later than the standard network, lines that "
                "stay flat were never moved. A map that is not square is drawn at the side of a square with as many pixels.",
            )
        )
    if found.drawing:
        figures.append(
            _searches(
                "draws",
                "Which configurations were tried",
                found.drawing,
                history_charts.drawing,
                lambda some: history_charts.drawing(some, PAGE),
                "Each column is a stretch of the search, each row a configuration; bright rows are those that the search "
                "spent its training on. A search that explores colours a column evenly, one that has made up its mind has "
                "few bright rows. What is never drawn is hardly trained, so its score says little.",
            )
        )
    return figures


def _searches(
    key: str,
    title: str,
    found: Sequence[Mixing] | Sequence[Weighing] | Sequence[Sizing] | Sequence[Drawing],
    draw: Callable[[Any], Any],
    page: Callable[[Any], Any],
    meaning: str,
) -> Figure:
    """A reader chooses the search; files show the first seed of each method."""
    runs = history_charts.runs_of(found)
    firsts: dict[str, Any] = {}
    for one in found:
        firsts.setdefault(one.label, one)
    files = [
        View(f"{key}-{file_name(label)}", label, None, lambda one=one: draw([one]))  # type: ignore[misc]
        for label, one in firsts.items()
    ]
    view = View(key, "all", lambda: page(found), None)
    return Figure(key, title, (view, *files), meaning, (Control("run", "search", tuple(runs), runs[0]),))


def studies(found: Studies) -> list[Figure]:
    """Interference, what ranks like what, and searches in simulated time."""
    figures = [_interference(one) for one in found.interference]
    figures += [_correlations(one) for one in found.correlations]
    return figures + [_simulation(one) for one in found.simulations]


def _interference(study: KeptInterference) -> Figure:
    name, result, views = file_name(study.name), study.result, []
    alike = (result.space, result.dataset) == ("resnet20-cifar10", "cifar10")
    printed = FIGURE_1 if alike else {}
    if result.alone:
        views.append(
            View(
                f"interference-{name}",
                "accuracy alone and together",
                lambda: study_charts.interference(study, printed, PAGE),
                lambda: study_charts.interference(study, printed),
            )
        )
    for look in result.looks:
        views.append(
            View(
                f"gradients-epoch{look.epoch}-{name}",
                f"gradients after epoch {look.epoch}",
                lambda epoch=look.epoch: study_charts.cosines(study, epoch, PAGE),  # type: ignore[misc]
                lambda epoch=look.epoch: study_charts.cosines(study, epoch),  # type: ignore[misc]
            )
        )
    if study.shared:
        views.append(
            View(
                f"gradients-mixture-{name}",
                "gradients and the mixture",
                lambda: study_charts.apart(study),
                lambda: study_charts.apart(study),
            )
        )
    return Figure(
        f"interference-{name}",
        f"Who harms whom in one set of weights: {len(result.configs)} configurations",
        tuple(views),
        "A supernet trains many configurations with one set of weights. Alone, each would have the weights all to itself; what "
        "it loses together is interference (the mixture paper's Figure 1). Together they were trained for as many batches "
        "each as alone, so a loss is not for a shorter training. The heat maps ask why: a cosine near 1 says that a step for "
        "one configuration helps the other as much, near 0 that it does nothing for it, below 0 that it harms it. Gradients are "
        "taken on different images, so the diagonal, a configuration with itself, says how high a cosine could be. A mixture "
        "should give one model to configurations with a high cosine, and different ones to the others: where it does, its dots "
        "rise from left to right.",
    )


def _correlations(study: Matrix) -> Figure:
    name = f"correlations-{file_name(study.name)}"
    return Figure(
        name,
        f"What ranks like what: {study.name}",
        (View(name, "tau", lambda: study_charts.correlations(study, PAGE), lambda: study_charts.correlations(study)),),
        "Each cell is Kendall's tau between two ways to order the configurations: orange is the same order, blue the reverse, "
        "pale has nothing to do with each other. Costs and accuracies stand first, then the methods, those that rank most like "
        "counting MACs on top. A method whose row looks like that of MACs counts them in disguise; worth its name is one that is "
        "orange at the accuracies and pale at MACs. A method without a row's colour gave every configuration one score.",
    )


def _simulation(study: Simulation) -> Figure:
    name = file_name(study.name)
    views = tuple(
        View(
            f"simulation-{y}-{name}",
            words,
            lambda y=y: study_charts.replayed(study, y, PAGE),  # type: ignore[misc]
            lambda y=y: study_charts.replayed(study, y),  # type: ignore[misc]
        )
        for y, words in (("regret", "regret"), ("rank", "mean rank"), ("found", "how many found the best"))
        if y != "rank" or all(one.rank for one in study.optimizers)
    )
    few = " That is few: an optimiser has little room to be better than chance." if study.configurations < 100 else ""
    return Figure(
        f"simulation-{name}",
        f"Search in simulated time on {study.table}",
        views,
        f"{study.runs} searches of each optimiser were replayed on the table, each charged what its trainings cost by the clock "
        f"'{study.clock}'. The line is their mean, the band holds the middle half of them; the dashed line is what random search "
        "without replacement is to be expected, exactly, were all trainings to cost the same. Regret is what is lost by taking the best configuration that a search "
        f"has seen so far. There are {study.configurations} configurations.{few} Ranks compare the optimisers search by search: "
        "lower is better, ties are shared.",
    )
