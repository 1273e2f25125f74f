"""Writes tables, figures and one page about everything that lies under an output folder.

    python -m benchmark.report                       # reads ./results, writes ./results/report

One figure per table of ground truth (accuracy against MACs), one per ranking and table (accuracy against score), and
for each table one of tau against budget, with the numbers as CSV, and which of two methods is better. A ranking that
weighs the resolutions of each block has one of them (the paper's Figure 4).
A ranking is set beside every complete table that was made on the data it saw. Each figure says which data.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

from benchmark import cli, costs, versus
from benchmark.errors import UsageError
from benchmark.ranking import Ranking, read_ranking
from benchmark.scored import Score
from benchmark.scoring import score
from benchmark.space import load_space
from benchmark.table import GroundTruth, distinct_name, load_table


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
    try:
        import matplotlib

        matplotlib.use("agg")
    except ImportError:
        raise UsageError("figures need matplotlib: pip install 'nas-bench-pooling[report]'") from None
    tables = _tables(out)
    rankings = [read_ranking(path) for path in sorted((out / "rankings").glob("*.json"))]
    folder = out / "report"
    folder.mkdir(exist_ok=True)

    lines = ["# Report", ""]
    for table in tables:
        lines += _about(table, folder)
    lines += ["## Rankings", ""]
    for ranking in rankings:
        if _weighs_resolutions(ranking):
            lines += [f"![resolutions that {ranking.method} found]({_draw_resolutions(ranking, folder)})", ""]
        for table in tables:
            if table.complete and ranking.space == table.space.name and ranking.dataset in (None, table.dataset):
                result = score(ranking, table)
                figure = _draw_ranking(ranking, table, result, folder)
                lines += ["```", result.text(), "```", "", f"![accuracy against score]({figure})", ""]
    for table in tables:
        if table.complete and (entrants := versus.entrants(rankings, table)):
            lines += _budgets(entrants, table, folder) + _verdicts(entrants, table)
    page = folder / "README.md"
    page.write_text("\n".join(lines), encoding="utf-8")
    print(f"report: {page} ({len(tables)} tables, {len(rankings)} rankings)")
    return 0


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
    if not table.rows or not table.space.widths:  # spaces whose MACs cannot be counted yet have no figure
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
    ]


def _axes() -> tuple[Any, Any]:
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(7, 4.5), layout="constrained")


def _save(figure: Any, folder: Path, name: str) -> str:
    import matplotlib.pyplot as plt

    figure.savefig(folder / f"{name}.png", dpi=130, metadata={"Software": None})
    plt.close(figure)
    return f"{name}.png"


def _draw_table(table: GroundTruth, folder: Path) -> str:
    """Accuracy against MACs, coloured by the layers before the first pooling, labelled with the configuration."""
    figure, axes = _axes()
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


def _draw_ranking(ranking: Ranking, table: GroundTruth, result: Score, folder: Path) -> str:
    """Ground truth against score, one dot per configuration; the pick is ringed."""
    figure, axes = _axes()
    means = [table.row(config).mean for config in table.space]
    axes.scatter(ranking.scores, means, s=22)
    for config, x, y in zip(table.space, ranking.scores, means, strict=True):
        axes.annotate(str(config), (x, y), (3, 3), textcoords="offset points", fontsize=5.5)
        if str(config) == ranking.pick:
            axes.scatter([x], [y], s=110, facecolors="none", edgecolors="tab:red", label=f"pick {ranking.pick}")
            axes.legend(loc="lower right", fontsize=8)
    seed = ranking.provenance.get("seed", "-")
    axes.set(
        xlabel=f"score of {ranking.method} (seed {seed}, data seen: {ranking.dataset or 'none'})",
        ylabel=f"test accuracy in {table.dataset}, %",
        title=f"{ranking.method} against {table.name}: Kendall tau-b {result.tau:.3f}",
    )
    axes.title.set_fontsize(9)
    return _save(figure, folder, f"{_name(ranking)}-vs-{table.name}")


def _name(ranking: Ranking) -> str:
    options = "-".join(f"{key}{value}" for key, value in ranking.options.items())
    recipe, seed = ranking.provenance.get("recipe_hash", "nodata"), ranking.provenance.get("seed", "-")
    text = "-".join(filter(None, [ranking.method, options, recipe, f"seed{seed}"]))
    return re.sub(r"[/\\\0]", "_", text)  # a file's name, whatever the ranking's file says


def _weighs_resolutions(ranking: Ranking) -> bool:
    """Whether the history ends with a weight for every block and resolution; what else has that name is its method's."""
    import numpy as np

    space = load_space(ranking.space)
    try:
        shape = np.array(ranking.history.get("weights", [[]])[-1], dtype=float).shape
    except (TypeError, ValueError, IndexError, KeyError):
        return False
    return shape == (space.depth - 1, len(space.sizes))


def _draw_resolutions(ranking: Ranking, folder: Path) -> str:
    """The paper's Figure 4: the resolution found for each layer, the first fixed in grey, over the weights of all."""
    import numpy as np

    space = load_space(ranking.space)
    weights = np.array(ranking.history["weights"][-1])  # (blocks, resolutions), at the end
    found = space.architecture(str(ranking.pick))
    figure, axes = _axes()
    blocks, resolutions = weights.shape
    image = axes.imshow(
        weights.T, cmap="Blues", vmin=0, vmax=1, extent=(0.5, blocks + 0.5, resolutions - 0.5, -0.5), aspect="auto"
    )
    for (block, r), weight in np.ndenumerate(weights):
        axes.text(block + 1, r, f"{weight:.2f}", ha="center", va="center", fontsize=6)
    axes.step(range(len(found.path)), found.path, where="mid", color="tab:red", linewidth=1)
    axes.scatter(range(1, len(found.path)), found.path[1:], s=330, facecolors="none", edgecolors="tab:red", zorder=2)
    axes.scatter([0], [0], s=330, color="0.7", zorder=2)
    figure.colorbar(image, label="weight")
    within = "" if found in space else ", outside the space"
    axes.set(
        xlim=(-0.5, blocks + 0.5),
        xticks=range(blocks + 1),
        yticks=range(resolutions),
        yticklabels=space.sizes,
        xlabel="layer (the first is fixed)",
        ylabel="side of the feature map, pixels",
        title=f"{_name(ranking)}\nfound: {found}{within}; data seen: {ranking.dataset}",
    )
    axes.title.set_fontsize(8)
    return _save(figure, folder, f"{_name(ranking)}-resolutions")


def _budgets(entrants: dict[str, list[Ranking]], table: GroundTruth, folder: Path) -> list[str]:
    """tau after each epoch against images seen and against device seconds; nothing where no method keeps a curve."""
    import matplotlib.pyplot as plt

    points = versus.curves(entrants, table)
    if points.empty:
        return []
    points.to_csv(folder / f"budget-{table.name}.csv", index=False, lineterminator="\n")
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained", sharey=True)
    baseline = score({config: costs.macs(table.space, config) for config in table.space}, table, draws=2).tau
    for axes, column in zip(panels, ("images", "seconds"), strict=True):
        for label, mine in points.groupby("method", sort=False):
            for number, (_, one) in enumerate(mine.groupby("seed", sort=False)):
                axes.plot(one[column], one["tau"], lw=1.2, marker=".", label=label if number == 0 else None)
        axes.axhline(baseline, color="0.4", ls="--", lw=1, label="counting MACs")
        axes.grid(alpha=0.3)
    panels[0].set(xlabel="training images seen", ylabel=f"Kendall tau-b against {table.name}")
    panels[1].set(xlabel="device seconds, looking at scores aside")
    panels[0].legend(fontsize=7)
    figure.suptitle(f"Budget: {table.space.name} on {table.dataset}; scores on a few validation images", fontsize=9)
    name = _save(figure, folder, f"budget-{table.name}")
    return [
        f"## Against {table.name}: budget",
        "",
        f"![tau against budget]({name}) ([numbers](budget-{table.name}.csv))",
        "",
    ]


def _verdicts(entrants: dict[str, list[Ranking]], table: GroundTruth) -> list[str]:
    """Each method against each other and against counting MACs."""
    scores = tuple(float(costs.macs(table.space, config)) for config in table.space)
    everyone = entrants | {"counting MACs": [Ranking(table.space.name, scores, method="macs")]}
    lines = [f"## Against {table.name}: which is better", "", "| method | beside | verdict (difference of tau, 95 %) |"]
    lines.append("|---|---|---|")
    for one, other in combinations(everyone, 2):
        lines.append(f"| {one} | {other} | {versus.verdict(everyone[one], everyone[other], table)} |")
    return [*lines, ""]


if __name__ == "__main__":
    cli.command(main)
