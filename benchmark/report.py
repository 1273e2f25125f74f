"""Writes tables, figures and one page about everything that lies under an output folder.

    python -m benchmark.report                       # reads ./results, writes ./results/report

For each table of ground truth: accuracy against MACs; all methods in one table and one figure (accuracy against score);
tau against budget, with the numbers as CSV; which of two methods is better; at the end of the page, every seed. A
method that weighs the resolutions of each block has a figure of them (the paper's Figure 4). A method has the same
colour and marker in all figures.
A ranking is set beside every complete table that was made on the data it saw. Each figure says which data.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

from benchmark import cli, output
from benchmark.errors import UsageError
from benchmark.scoring import versus
from benchmark.scoring.ranking import Ranking, read_ranking
from benchmark.scoring.scored import Score
from benchmark.scoring.scores import score
from benchmark.spaces import costs
from benchmark.spaces.space import load_space
from benchmark.tables.files import distinct_name, load_table
from benchmark.tables.table import GroundTruth


def arguments() -> cli.Parser:
    parser = cli.Parser(prog="python -m benchmark.report", description=__doc__)
    parser.add_argument(
        "--out", type=cli.folder, default="results", metavar="DIR", help="where results lie (default ./results)"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    out = Path(arguments().parse(argv).out)
    if not out.is_dir():
        raise UsageError(f"--out {out} is no folder: give the one that build_groundtruth and evaluate wrote to")
    require_matplotlib()
    tables = _tables(out)
    rankings = [read_ranking(path) for path in sorted((out / "rankings").glob("*.json"))]
    folder = out / "report"
    folder.mkdir(exist_ok=True)

    lines = ["# Report", ""]
    for table in tables:
        lines += _about(table, folder)
    judged = [(table, found) for table in tables if table.complete and (found := versus.entrants(rankings, table))]
    styles = _styles(label for _, entrants in judged for label in entrants)
    seeds: list[str] = []
    for table, entrants in judged:
        scores = _scores(entrants, table)
        lines += [f"## Methods against {table.name}", "", *_methods(scores)]
        lines += [f"![accuracy against score]({_draw_methods(entrants, scores, table, styles, folder)})", ""]
        lines += _budgets(entrants, table, styles, folder) + _verdicts(entrants, table)
        seeds += [f"## Every seed against {table.name}", ""]
        for ranking in (ranking for group in entrants.values() for ranking in group):
            seeds += ["```", f"seed {_seed(ranking)}: {score(ranking, table).text()}", "```", ""]
    for label, group in _by_method(rankings).items():
        if weighing := [ranking for ranking in group if _weighs_resolutions(ranking)]:
            figure = _draw_resolutions(label, weighing, folder)
            lines += [f"## Resolutions that {_cell(label)} found", "", f"![resolutions]({figure})", ""]
    lines += seeds
    page = folder / "README.md"
    page.write_text(output.printable("\n".join(lines)), encoding="utf-8")
    cli.answer(f"report: {page} ({len(tables)} tables, {len(rankings)} rankings)")
    return 0


def require_matplotlib() -> None:
    """Loads matplotlib for figures that go to files. Raises UsageError where it is not installed.

    The backend that a notebook asks for by a variable decides nothing: this environment may lack it, and matplotlib
    then refuses to load at all.
    """
    asked = os.environ.pop("MPLBACKEND", None)
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("figures need matplotlib: pip install 'nas-bench-pooling[report]'") from None
    finally:
        if asked is not None:
            os.environ["MPLBACKEND"] = asked


def _tables(out: Path) -> list[GroundTruth]:
    """The published table and those under `out`, each once; no two of one name, for figures are named after it."""
    found: dict[str, GroundTruth] = {}
    for table in [load_table("published"), *map(load_table, sorted((out / "tables").glob("*.json")))]:
        if table.sha256 in {other.sha256 for other in found.values()}:
            continue
        name = table.name if table.name not in found else distinct_name(table.name, table.sha256)
        found[name] = replace(table, header=dict(table.header) | {"name": name})
    return list(found.values())


def _about(table: GroundTruth, folder: Path) -> list[str]:
    if not table.rows or not table.space.backbone:  # spaces whose MACs cannot be counted yet have no figure
        return []
    counts = sorted({row.n for row in table.rows})
    seeds = f"{counts[0]} to {counts[-1]}" if len(counts) > 1 else str(counts[0])
    best = table.best
    spread = "" if best.std is None else f" ± {best.std:.2f}"
    return [
        f"## {table.name}",
        "",
        f"{table.space.name} on {table.dataset}, recipe {table.recipe_label or 'not stated'}: "
        f"{len(table.rows)} of {len(table.space)} configurations, seeds per configuration: {seeds}. "
        f"Best: {best.config} with {best.mean:.2f}{spread} % (mean over seeds).",
        "",
        f"![accuracy against MACs]({_draw_table(table, folder)})",
        "",
        *_partial(table),
    ]


def _partial(table: GroundTruth) -> list[str]:
    """All that a part of a space holds, and what its source says besides."""
    if table.complete or table.recipe_hash:
        return []
    rows = [f"{row.config} {row.mean:.2f}" + ("" if row.std is None else f" ± {row.std:.2f}") for row in table.rows]
    notes = [f"- {_cell(str(note))}" for note in table.header.get("notes", ())]
    return [f"{_cell(str(table.header.get('source', '')))}: {'; '.join(rows)}.", "", *notes, ""]


def new_figure(width: float, height: float) -> Any:
    """A figure that no window shows: files only, whatever backend this environment asks for."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: Any, folder: Path, name: str) -> str:
    figure.savefig(folder / f"{name}.png", dpi=130, metadata={"Software": None})
    return f"{name}.png"


@dataclass(frozen=True)
class Style:
    """How a method is drawn, in every figure."""

    colour: str
    marker: str


def _styles(labels: Iterable[str]) -> dict[str, Style]:
    """One colour and marker per method; the markers change where colours have to come again."""
    names = sorted(set(labels))
    markers = "osDv^P*X<>"
    return {name: Style(f"C{i % 10}", markers[(i + i // 10) % 10]) for i, name in enumerate(names)}


def _draw_table(table: GroundTruth, folder: Path) -> str:
    """Accuracy against MACs, coloured by the layers before the first pooling, labelled with the configuration."""
    figure = new_figure(7, 4.5)
    axes = figure.subplots()
    rows = table.rows
    mega = [costs.macs(table.space, row.config) / 1e6 for row in rows]
    means = [row.mean for row in rows]
    axes.errorbar(mega, means, [row.std or 0.0 for row in rows], fmt="none", ecolor="0.75", elinewidth=1, zorder=1)
    dots = axes.scatter(mega, means, c=[row.config.layers[0] for row in rows], cmap="viridis", s=22, zorder=2)
    for row, x, y in zip(rows, mega, means, strict=True):
        bold = "bold" if row.config == table.space.default else "normal"
        axes.annotate(str(row.config), (x, y), (3, 3), textcoords="offset points", fontsize=5.5, weight=bold)
    figure.colorbar(dots, label="layers before the first pooling")
    axes.set(
        xlabel="MACs per image, millions",
        ylabel="test accuracy, %",
        title=f"{table.name}\n{table.space.name} on {table.dataset}, mean and std over seeds",
    )
    axes.title.set_fontsize(9)
    return _save(figure, folder, table.name)


def _scores(entrants: Mapping[str, Sequence[Ranking]], table: GroundTruth) -> dict[str, Score]:
    """The score of each method over its seeds; of rankings that are no seeds of one method, one by one."""
    found: dict[str, Score] = {}
    for label, rankings in entrants.items():
        try:
            found[label] = score(list(rankings), table)
        except UsageError:  # e.g. recipes that have one label
            for number, ranking in enumerate(rankings, start=1):
                found[f"{label}, {number} of {len(rankings)}"] = score(ranking, table)
    return found


def _methods(scores: Mapping[str, Score]) -> list[str]:
    """All methods in one table, best first, with what counting MACs gets and what noise leaves reachable."""
    lines = [
        "| method | seeds | tau-b | 95 % | given MACs | pick | accuracy % | regret |",
        "|---|---|---|---|---|---|---|---|",
    ]
    rows = [(found.tau, label, len(found.method.taus), found.method) for label, found in scores.items()]
    one = next(iter(scores.values()))
    if one.macs:
        rows.append((one.macs.tau, "counting MACs", 1, one.macs))
    for tau, label, count, agreement in sorted(rows, key=lambda row: (-row[0], row[1])):
        low_high = "{:.3f} to {:.3f}".format(*agreement.interval) if agreement.interval else "-"
        given = "-" if agreement.tau_given_macs is None else f"{agreement.tau_given_macs:.3f}"
        picks = {pick.config: pick for pick in agreement.picks}.values()
        accuracies = ["outside" if pick.accuracy is None else f"{pick.accuracy:.2f}" for pick in picks]
        regrets = ["-" if pick.regret is None else f"{pick.regret:.2f}" for pick in picks]
        named = ["; ".join(column) for column in ([pick.config for pick in picks], accuracies, regrets)]
        cells = [_cell(label), str(count), f"{tau:.3f}", low_high, given, *named]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("")
    if one.ceiling:
        lines += [f"A perfect predictor gets {one.ceiling.perfect}.", ""]
    return lines


def _cell(text: str) -> str:
    """A name as it can stand in a Markdown table, whatever a ranking's file says."""
    return " ".join(output.printable(text).split()).replace("|", "\\|")


def _seed(ranking: Ranking) -> str:
    return _cell(str(ranking.provenance.get("seed", "-")))


def _draw_methods(
    entrants: Mapping[str, Sequence[Ranking]],
    scores: Mapping[str, Score],
    table: GroundTruth,
    styles: Mapping[str, Style],
    folder: Path,
) -> str:
    """Ground truth against score: a panel per method, one dot per configuration and seed; picks are ringed."""
    means = [table.row(config).mean for config in table.space]
    columns = min(3, len(entrants))
    rows = -(-len(entrants) // columns)
    figure = new_figure(3.6 * columns, 3.2 * rows + 0.4)
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True)
    for axes in panels.flat[len(entrants) :]:
        axes.set_visible(False)
    for axes, (label, rankings) in zip(panels.flat, entrants.items(), strict=False):
        style = styles[label]
        for ranking in rankings:
            axes.scatter(ranking.scores, means, s=14, color=style.colour, marker=style.marker, alpha=0.6, linewidths=0)
            for config, x, y in zip(table.space, ranking.scores, means, strict=True):
                if str(config) == ranking.pick:
                    axes.scatter([x], [y], s=90, facecolors="none", edgecolors="0.2")
        tau = f"tau-b {scores[label].tau:.3f}, " if label in scores else ""
        axes.set_title(f"{_plain(label)}\n{tau}seeds: {len(rankings)}", fontsize=8)
        axes.tick_params(labelsize=7)
        axes.grid(alpha=0.3)
    figure.supxlabel("score of the method", fontsize=9)
    figure.supylabel(f"test accuracy in {table.dataset}, %", fontsize=9)
    figure.suptitle(f"{table.name}: {table.space.name} on {table.dataset}; picks ringed", fontsize=9)
    return _save(figure, folder, f"methods-{table.name}")


def _plain(text: str) -> str:
    """A name as matplotlib draws it: no formula, no control character, no longer than a title."""
    return output.printable(text)[:60].replace("$", r"\$")


def _file(name: str) -> str:
    """A file's name for whatever a ranking's file says: plain, bounded, and no other name's."""
    plain = re.sub(r"[^A-Za-z0-9._+=-]", "_", name)[:80]
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:8]}"


def _by_method(rankings: Iterable[Ranking]) -> dict[str, list[Ranking]]:
    """Rankings by method, options and recipe, whatever data they saw."""
    found: dict[str, list[Ranking]] = {}
    for ranking in rankings:
        options = [f"{key}={value}" for key, value in ranking.options.items()]
        label = [ranking.method, *options, ranking.provenance.get("recipe_label") or ""]
        found.setdefault(" ".join(filter(None, label)), []).append(ranking)
    return found


def _weighs_resolutions(ranking: Ranking) -> bool:
    """Whether the history ends with a weight for every block and resolution; what else has that name is its method's."""
    import numpy as np

    space = load_space(ranking.space)
    try:
        shape = np.array(ranking.history.get("weights", [[]])[-1], dtype=float).shape
    except (TypeError, ValueError, IndexError, KeyError):
        return False
    return shape == (space.depth - 1, len(space.sizes))


def _draw_resolutions(label: str, rankings: Sequence[Ranking], folder: Path) -> str:
    """The paper's Figure 4, a panel per seed: the resolution found for each layer, the first fixed in grey, over the
    weights of all.
    """
    import numpy as np

    figure = new_figure(7, 3.6 * len(rankings) + 0.4)
    panels = figure.subplots(len(rankings), 1, squeeze=False)[:, 0]
    for axes, ranking in zip(panels, rankings, strict=True):
        space = load_space(ranking.space)
        weights = np.array(ranking.history["weights"][-1])  # (blocks, resolutions), at the end
        found = space.architecture(str(ranking.pick))
        blocks, resolutions = weights.shape
        image = axes.imshow(
            weights.T, cmap="Blues", vmin=0, vmax=1, extent=(0.5, blocks + 0.5, resolutions - 0.5, -0.5), aspect="auto"
        )
        for (block, r), weight in np.ndenumerate(weights):
            axes.text(block + 1, r, f"{weight:.2f}", ha="center", va="center", fontsize=6)
        axes.step(range(len(found.path)), found.path, where="mid", color="tab:red", linewidth=1)
        axes.scatter(
            range(1, len(found.path)), found.path[1:], s=330, facecolors="none", edgecolors="tab:red", zorder=2
        )
        axes.scatter([0], [0], s=330, color="0.7", zorder=2)
        within = "" if found in space else ", outside the space"
        axes.set(
            xlim=(-0.5, blocks + 0.5),
            xticks=range(blocks + 1),
            yticks=range(resolutions),
            yticklabels=space.sizes,
            ylabel="side of the feature map, pixels",
        )
        axes.set_title(f"seed {_seed(ranking)[:20]}: {found}{within}; data seen: {ranking.dataset}", fontsize=8)
    panels[-1].set_xlabel("layer (the first is fixed)")
    figure.colorbar(image, ax=list(panels), label="weight")
    figure.suptitle(_plain(label), fontsize=9)
    return _save(figure, folder, f"resolutions-{_file(label)}")


def _budgets(
    entrants: dict[str, list[Ranking]], table: GroundTruth, styles: Mapping[str, Style], folder: Path
) -> list[str]:
    """tau after each epoch against images seen and against device seconds; nothing where no method keeps a curve.

    Each seed is a thin line; the strong one is their mean, of the epochs that all seeds have.
    """
    points = versus.curves(entrants, table)
    if points.empty:
        return []
    points.to_csv(folder / f"budget-{table.name}.csv", index=False, lineterminator="\n")
    figure = new_figure(11, 4.5)
    panels = figure.subplots(1, 2, sharey=True)
    baseline = score({config: costs.macs(table.space, config) for config in table.space}, table, draws=2).tau
    for axes, column in zip(panels, ("images", "seconds"), strict=True):
        for label, mine in points.groupby("method", sort=False):
            style = styles[label]
            seeds = mine.groupby("seed", sort=False, dropna=False)
            for _, one in seeds:
                axes.plot(one[column], one["tau"], lw=0.7, alpha=0.5, color=style.colour)
            epochs = mine.groupby("epoch")
            middle = epochs[[column, "tau"]].mean()[epochs.size() == len(seeds)]
            axes.plot(
                middle[column],
                middle["tau"],
                lw=1.8,
                color=style.colour,
                marker=style.marker,
                ms=4,
                label=_plain(label),
            )
        axes.axhline(baseline, color="0.4", ls="--", lw=1, label="counting MACs")
        axes.grid(alpha=0.3)
    panels[0].set(xlabel="training images seen", ylabel=f"Kendall tau-b against {table.name}")
    panels[1].set(xlabel="device seconds, looking at scores aside")
    panels[0].legend(fontsize=7)
    figure.suptitle(
        f"Budget: {table.space.name} on {table.dataset}; scores on a few validation images; thin: seeds, strong: their mean",
        fontsize=9,
    )
    name = _save(figure, folder, f"budget-{table.name}")
    return [
        f"### Budget against {table.name}",
        "",
        f"![tau against budget]({name}) ([numbers](budget-{table.name}.csv))",
        "",
    ]


def _verdicts(entrants: dict[str, list[Ranking]], table: GroundTruth) -> list[str]:
    """Each method against each other and against counting MACs, which a method may be itself: that is no pair."""
    scores = tuple(float(costs.macs(table.space, config)) for config in table.space)
    everyone = dict(entrants)
    if not any({ranking.scores for ranking in group} == {scores} for group in entrants.values()):
        everyone["counting MACs"] = [Ranking(table.space.name, scores, method="macs")]
    pairs = list(combinations(everyone, 2))
    if not pairs:
        return []
    lines = [
        f"### Which is better, against {table.name}",
        "",
        f"Verdicts: {len(pairs)}, each at 95 % on its own and not corrected for how many they are: were no two methods "
        "different, about one in twenty would still say better or worse.",
        "",
        "| method | beside | verdict (difference of tau, 95 %) |",
        "|---|---|---|",
    ]
    for one, other in pairs:
        lines.append(f"| {_cell(one)} | {_cell(other)} | {versus.verdict(everyone[one], everyone[other], table)} |")
    return [*lines, ""]


if __name__ == "__main__":
    cli.command(main)
