"""The charts of interference, of what ranks like what, and of searches in simulated time, as those of `charts` are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from benchmark.page import marks
from benchmark.page.marks import Width
from benchmark.page.studies import KeptInterference, Matrix, Simulation
from benchmark.page.styles import ACCENT, NEUTRAL
from benchmark.page.styles import styles as styles_of

ALONE, TOGETHER = "alone", "in one set of weights"


def interference(study: KeptInterference, published: Mapping[str, tuple[float, float]], width: Width = 460) -> Any:
    """Accuracy of each configuration alone and together with the others, here and as the paper prints it.

    published: (alone, together) in per cent, by configuration.
    """
    import altair as alt

    result = study.result
    rows = []
    for place, config in enumerate(result.configs):
        mine = (result.mean("alone", place), result.mean("together", place))
        for source, pair in (("here", mine), ("paper", published.get(config))):
            if pair and pair[0] is not None:
                rows.append({"what": f"{config}, {source}", "config": config, "alone": pair[0], "together": pair[1]})
    base = alt.Chart(marks.data(rows))
    y = alt.Y("what:N", sort=[row["what"] for row in rows], title=None)
    title = "accuracy, % (here: validation half)"
    layers = [
        base.mark_rule(color=NEUTRAL, strokeWidth=2, opacity=0.6).encode(
            y=y, x=alt.X("alone:Q", title=title).scale(zero=False, padding=14), x2="together:Q"
        )
    ]
    colour = alt.Color("side:N", legend=alt.Legend(title=None, orient="bottom")).scale(
        domain=[ALONE, TOGETHER], range=["#0072B2", ACCENT]
    )
    shape = alt.Shape("side:N", legend=alt.Legend(title=None, orient="bottom")).scale(
        domain=[ALONE, TOGETHER], range=["circle", "diamond"]
    )
    for field, side in (("alone", ALONE), ("together", TOGETHER)):
        marked = base.transform_calculate(side=f"'{side}'")
        layers.append(
            marked.mark_point(filled=True, size=110, opacity=1).encode(
                y=y, x=alt.X(f"{field}:Q", title=title), color=colour, shape=shape,
                tooltip=["config:N", "alone:Q", "together:Q"],
            )
        )  # fmt: skip
    return marks.sized(alt.layer(*layers), width, 34 * len(rows) + 10)


def cosines(study: KeptInterference, epoch: int, width: Width = 460) -> Any:
    """Cosine of the gradients of every two configurations after an epoch; the diagonal is one with itself."""
    configs = study.result.configs
    [look] = [one for one in study.result.looks if one.epoch == epoch]
    rows = [
        {"a": configs[i], "b": configs[j], "cosine": value}
        for i, row in enumerate(look.cosines)
        for j, value in enumerate(row)
    ]
    return marks.sized(_square(rows, configs, "cosine", "cosine of gradients"), width, _tall(configs))


def apart(study: KeptInterference, width: Width = 460) -> Any:
    """How often a mixture serves two configurations by one model, against the cosine of their gradients in one supernet."""
    import altair as alt

    result = study.result
    pairs = list(combinations(range(len(result.configs)), 2))
    rows = [
        {
            "search": marks.run_name(one.label, one.seed) + ("" if one.tau is None else f" (tau {one.tau:.2f})"),
            "pair": f"{result.configs[a]} with {result.configs[b]}",
            "cosine": result.looks[-1].cosines[a][b],
            "chance": chance,
        }
        for one in study.shared
        for (a, b), chance in zip(pairs, one.chances, strict=True)
    ]
    chart = alt.Chart().mark_circle(size=18, opacity=0.5).encode(
        x=alt.X("cosine:Q", title="cosine of gradients").scale(zero=False),
        y=alt.Y("chance:Q", title="chance of one model for both"),
        tooltip=["search:N", "pair:N", "cosine:Q", "chance:Q"],
    )  # fmt: skip
    return chart.properties(width=190, height=150).facet(
        facet=alt.Facet("search:N", title=None), columns=2, data=marks.data(rows)
    )


def _tall(names: Sequence[str]) -> int:
    return max(90, min(900, 15 * len(names)))


def _square(rows: Sequence[Mapping[str, Any]], names: Sequence[str], field: str, title: str) -> Any:
    """A heat map of values between -1 and 1, in which 0 is pale; of few names each value is written."""
    import altair as alt

    shown = len(names) <= marks.MOST_NAMED
    axis = {"labels": shown, "ticks": False, "labelFontSize": 9, "labelLimit": 170}
    x = alt.X("b:N", sort=list(names), title=None, axis=alt.Axis(labelAngle=-90, orient="top", **axis))
    y = alt.Y("a:N", sort=list(names), title=None, axis=alt.Axis(**axis))
    base = alt.Chart(marks.data(rows)).encode(x=x, y=y)
    cells = base.mark_rect().encode(
        color=alt.Color(f"{field}:Q", title=title).scale(scheme="blueorange", domain=[-1, 1], domainMid=0)
        .legend(orient="bottom", gradientLength=160),
        tooltip=["a:N", "b:N", f"{field}:Q"],
    )  # fmt: skip
    if len(names) > 8:
        return cells
    return alt.layer(cells, base.mark_text(color="#111111").encode(text=alt.Text(f"{field}:Q", format=".2f")))


def correlations(matrix: Matrix, width: Width = 460) -> Any:
    """Kendall's tau-b between every two rankings, costs and accuracies."""
    names = _without_what_all_share(matrix.names)
    rows = [
        {"a": names[i], "b": names[j], "tau": value}
        for i, row in enumerate(matrix.taus)
        for j, value in enumerate(row)
        if value is not None
    ]
    return marks.sized(_square(rows, names, "tau", "Kendall's tau-b"), width, _tall(names))


def _without_what_all_share(names: Sequence[str]) -> list[str]:
    """`zero_cost proxy=swap` is `swap` where all rankings are of that method and that option."""
    heads = {name.partition("=")[0] for name in names if "=" in name}
    plain = [name.partition("=")[2] if "=" in name else name for name in names]
    return plain if len(heads) == 1 and len(set(plain)) == len(names) else list(names)


REPLAYED = {
    "regret": "regret of the incumbent, points",
    "rank": "mean rank among the optimisers (1 is best)",
    "found": "share of searches that hold the best",
}


def replayed(study: Simulation, y: str, width: Width = 620) -> Any:
    """Regret (mean over searches, band of the middle half), mean rank or share of finds over simulated time."""
    import altair as alt

    rows = [
        {
            "label": one.optimizer,
            "trainings": at,
            "regret": one.mean[place],
            "low": one.low[place],
            "high": one.high[place],
            "found": one.found[place],
            "rank": one.rank[place] if one.rank else None,
        }
        for one in study.optimizers
        for place, at in enumerate(study.trainings)
    ]
    named = styles_of([one.optimizer for one in study.optimizers])
    picked = alt.selection_point(name="legend", fields=["label"], bind="legend")
    x = alt.X("trainings:Q", title="simulated time, in trainings").scale(nice=False)
    base = alt.Chart(marks.data(rows)).encode(x=x)
    colours = marks.colours_of(named)
    title = REPLAYED[y]
    layers = []
    if y == "regret":
        layers.append(
            base.mark_area().encode(
                y=alt.Y("low:Q", title=title), y2="high:Q", color=colours["color"],
                opacity=alt.condition(picked, alt.value(0.14), alt.value(0.02)),
            )
        )  # fmt: skip
    layers.append(
        base.mark_line(strokeWidth=2).encode(
            y=alt.Y(f"{y}:Q", title=title).scale(reverse=y == "rank", zero=y != "rank"), color=colours["color"],
            opacity=alt.condition(picked, alt.value(1), alt.value(0.15)),
            tooltip=["label:N", "trainings:Q", "regret:Q", "low:Q", "high:Q", "found:Q", "rank:Q"],
        ).add_params(picked)
    )  # fmt: skip
    if y == "regret":
        last = study.trainings[-1]
        exact = [{"trainings": k, "regret": value} for k, value in enumerate(study.expected, start=1) if k <= last]
        layers.append(
            alt.Chart(marks.data(exact)).mark_line(strokeDash=[5, 4], color=NEUTRAL, strokeWidth=1.5)
            .encode(x=x, y=alt.Y("regret:Q", title=title))
        )  # fmt: skip
    return marks.sized(alt.layer(*layers), width, 320)
