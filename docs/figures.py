"""Draws the figures of README and of the documentation from what `results/` holds.

    python docs/figures.py                   # writes docs/figures/*.svg
    python docs/figures.py --out DIR

Needs matplotlib (extra `docs`). The same tables and rankings, by the same matplotlib, give the same bytes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.cli import answer
from benchmark.scoring.kendall import kendall
from benchmark.scoring.noise import ceiling_of, estimates, redraw_normal
from benchmark.scoring.ranking import Ranking, read_ranking
from benchmark.scoring.scores import score
from benchmark.scoring.versus import entrants
from benchmark.spaces import costs
from benchmark.tables.files import load_table
from benchmark.tables.table import GroundTruth

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = "published"
OURS = "resnet20-cifar10-paper-epochs10-2daccdc2036b"
TITLES = {PUBLISHED: "published, 3 seeds", OURS: "our own, 10 epochs of 100"}
BLUE, ORANGE, GREY, RED = "#2f6fb2", "#d9822b", "#8a8f98", "#c0392b"
STYLE = {"svg.hashsalt": "nas-bench-pooling", "font.size": 10, "axes.spines.top": False, "axes.spines.right": False}


def figure(width: float, height: float, columns: int = 1, **more: Any) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(width, height), layout="constrained")
    return drawn, drawn.subplots(1, columns, **more)


def every_configuration() -> Any:
    """Accuracy over MACs of all configurations, in both tables; bars are one standard deviation over seeds."""
    drawn, both = figure(9, 3.6, 2)
    for axes, (name, title) in zip(both, TITLES.items(), strict=True):
        table = load_table(name)
        macs = np.array([costs.macs(table.space, row.config) for row in table.rows]) / 1e6
        means, stds = np.array([row.mean for row in table.rows]), [row.std for row in table.rows]
        axes.errorbar(macs, means, stds, fmt="none", ecolor=GREY, elinewidth=1, alpha=0.6)
        first = int(means.argmax())
        standard = table.space.index(table.space.default)
        axes.scatter(macs, means, s=26, color=BLUE, zorder=3)
        for place, word, colour in ((first, "the best", RED), (standard, "the standard", ORANGE)):
            label = f"{table.rows[place].config}, {word}: {means[place]:.2f} %"
            axes.scatter(macs[place], means[place], s=46, color=colour, zorder=4, label=label)
        axes.legend(frameon=False, loc="lower right", handletextpad=0.1)
        axes.set(xlabel="million MACs", title=title)
        axes.margins(y=0.14)
    both[0].set_ylabel("test accuracy, %")
    return drawn


def tau() -> Any:
    """Six configurations as SPOS ranks them (seed 0) and as the published table does; lines that cross are pairs on
    which they disagree."""
    table = load_table(PUBLISHED)
    scores = np.array(kept(table)["spos"][0].scores)
    means = np.array([row.mean for row in table.rows])
    chosen = [table.space.index(text) for text in ("[7,1,2]", "[5,2,3]", "[4,3,3]", "[6,1,3]", "[3,1,6]", "[1,2,7]")]
    left, right = ranks(scores[chosen]), ranks(means[chosen])
    pairs = [(i, j) for i in range(len(chosen)) for j in range(i)]
    crossed = sum((left[i] - left[j]) * (right[i] - right[j]) < 0 for i, j in pairs)
    drawn, axes = figure(6, 3.6)
    for place, one, other in zip(chosen, left, right, strict=True):
        config = table.rows[place].config
        axes.plot([0, 1], [one, other], "o-", color=BLUE, linewidth=2)
        axes.annotate(str(config), (0, one), (-10, 0), textcoords="offset points", ha="right", va="center")
        axes.annotate(f"{config}  {means[place]:.2f} %", (1, other), (10, 0), textcoords="offset points", va="center")
    agreed = len(pairs) - crossed
    value = (agreed - crossed) / len(pairs)
    axes.set_title(f"{agreed} pairs agree, {crossed} cross: tau = ({agreed} - {crossed}) / {len(pairs)} = {value:.2f}")
    axes.set(xlim=(-0.45, 1.6), ylim=(len(chosen) + 0.6, 0.4), xticks=[0, 1], yticks=range(1, len(chosen) + 1))
    axes.set_xticklabels(["the method's order", "the table's order"])
    axes.set_ylabel("rank, 1 is best")
    return drawn


def ceiling() -> Any:
    """The tau of a perfect predictor against many tables with the noise of the published one and of ours."""
    drawn, axes = figure(7, 3.2)
    step = 2 / 630  # a pair that changes sides moves tau by so much
    for name, colour in ((PUBLISHED, BLUE), (OURS, ORANGE)):
        known = estimates(load_table(name).rows)
        generator = np.random.default_rng(0)
        taus = kendall(redraw_normal(known, 4000, generator), known.means)
        middle = ceiling_of(known, 4000, np.random.default_rng(0))
        assert middle is not None
        axes.hist(taus, bins=np.arange(0.82, 1.0, 2 * step) - step / 2, color=colour, alpha=0.55, label=TITLES[name])
        axes.axvline(middle.perfect.mean, color=colour)
        axes.annotate(
            f"{middle.perfect.mean:.3f}",
            (middle.perfect.mean, 0.98),
            (4, 0),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            color=colour,
            va="top",
        )
    axes.margins(y=0.18)
    axes.set(xlabel="tau of a perfect predictor", ylabel="simulated tables", yticks=[])
    axes.legend(frameon=False, loc="upper left")
    return drawn


def methods() -> Any:
    """Tau of each kept method, the many zero-cost proxies aside, against the published table: the mean over seeds with its interval, and every seed."""
    table = load_table(PUBLISHED)
    found_by = {
        label: score(rankings, table)
        for label, rankings in kept(table).items()
        if not label.startswith(("macs", "zero_cost"))
    }
    scored = dict(sorted(found_by.items(), key=lambda item: item[1].tau))
    drawn, axes = figure(7.5, 3.9)
    for place, found in enumerate(scored.values()):
        axes.plot(found.interval, [place, place], color=BLUE, linewidth=2.5, solid_capstyle="butt")
        axes.plot(found.method.taus, [place] * len(found.method.taus), "o", color=BLUE, markersize=4, alpha=0.6)
        axes.plot(found.tau, place, "|", color="black", markersize=12, markeredgewidth=2)
    axes.set_yticks(range(len(scored)), list(scored))
    some = next(iter(scored.values()))
    assert some.macs
    assert some.ceiling
    lines = (("counting MACs", some.macs.tau, ORANGE), ("ceiling", some.ceiling.perfect.mean, RED), ("", 0.0, GREY))
    for word, at, colour in lines:
        axes.axvline(at, color=colour, linestyle="--" if word else "-", linewidth=1)
        axes.annotate(word, (at, 1.0), (0, 4), xycoords=("data", "axes fraction"), textcoords="offset points",
                      color=colour, ha="center")  # fmt: skip
    axes.set_xlabel("Kendall tau-b against the published table")
    return drawn


FIGURES: dict[str, Callable[[], Any]] = {
    drawing.__name__: drawing for drawing in (every_configuration, tau, ceiling, methods)
}


def kept(table: GroundTruth) -> dict[str, list[Ranking]]:
    """The rankings that `results/` holds, by method; with its recipe where one method has several."""
    found = entrants([read_ranking(path) for path in sorted((ROOT / "results" / "rankings").glob("*.json"))], table)
    names = [label.split()[0] for label in found]
    return {
        name if names.count(name) == 1 else label: group
        for name, (label, group) in zip(names, found.items(), strict=True)
    }


def ranks(values: np.ndarray) -> np.ndarray:
    """(N,) from 1, the largest first."""
    return np.argsort(np.argsort(-values)) + 1


def draw(folder: Path) -> list[Path]:
    """Writes every figure below a folder."""
    import matplotlib

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with matplotlib.rc_context(STYLE):
        for name, drawing in FIGURES.items():
            paths.append(folder / f"{name}.svg")
            drawing().savefig(paths[-1], metadata={"Date": None}, facecolor="white")
    return paths


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=ROOT / "docs" / "figures", metavar="DIR", help="default docs/figures"
    )
    answer(*map(str, draw(parser.parse_args(argv).out)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
