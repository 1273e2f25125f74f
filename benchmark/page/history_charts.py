"""The charts of what a search did, epoch by epoch, as those of `charts` are. Of several searches a reader sets the `run`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmark.page import marks
from benchmark.page.histories import Drawing, Mixing, Sizing, Weighing
from benchmark.page.marks import Width
from benchmark.page.styles import ACCENT, NEUTRAL


def _of_run(chart: Any, runs: Sequence[str]) -> Any:
    """The chart of one search, as the reader sets it."""
    import altair as alt

    return chart.transform_filter("datum.run == run").add_params(alt.param(name="run", value=runs[0]))


def runs_of(histories: Sequence[Mixing] | Sequence[Weighing] | Sequence[Sizing] | Sequence[Drawing]) -> list[str]:
    return [marks.run_name(one.label, one.seed) for one in histories]


def mixing(histories: Sequence[Mixing]) -> Any:
    """p(m|c) at some epochs (the paper's Figure 5): a panel an epoch, a row a configuration, a column a model."""
    import altair as alt

    rows = [
        {"run": marks.run_name(one.label, one.seed), "epoch": epoch, "order": order, "config": config}
        | {str(model + 1): round(chance, 3) for model, chance in enumerate(one.chances[place][order])}
        for one in histories
        for place, epoch in enumerate(one.epochs)
        for order, config in enumerate(one.configs)
    ]
    models = max(len(one.chances[0][0]) for one in histories)
    size = max(len(one.configs) for one in histories)
    cells = alt.Chart().mark_rect().encode(
        x=alt.X("model:O", title=None, axis=alt.Axis(labelAngle=0)),
        y=alt.Y(
            "config:N", title=None, sort=alt.EncodingSortField("order", op="min"),
            axis=alt.Axis(labels=size <= marks.MOST_NAMED, ticks=False, labelFontSize=9),
        ),
        color=alt.Color("p:Q", title="p(m | c)").scale(scheme="viridis", domain=[0, 1])
        .legend(orient="top", gradientLength=160),
        tooltip=["config:N", "model:O", "epoch:Q", "p:Q"],
    )  # fmt: skip
    cells = cells.transform_fold([str(model + 1) for model in range(models)], as_=["model", "p"]).transform_filter(
        "isValid(datum.p)"
    )
    chart = cells.properties(width=max(26, 13 * models), height=max(120, min(900, 11 * size))).facet(
        column=alt.Column("epoch:O", title="after epoch; columns are models", header=alt.Header(labelPadding=4)),
        data=marks.data(rows),
        spacing=6,
    )
    return _of_run(chart, runs_of(histories))


def weighing(histories: Sequence[Weighing], width: Width = 560) -> Any:
    """The weights of the resolutions of each block at the end (the paper's Figure 4), and the path that was picked."""
    import altair as alt

    cells = [
        {"run": marks.run_name(one.label, one.seed), "layer": block, "side": str(side), "weight": weight}
        for one in histories
        for block, row in enumerate(one.weights, start=1)
        for side, weight in zip(one.sizes, row, strict=True)
    ]
    way = [
        {"run": marks.run_name(one.label, one.seed), "layer": layer, "side": str(one.sizes[r]), "fixed": layer == 0}
        for one in histories
        for layer, r in enumerate(one.found)
    ]
    runs = runs_of(histories)
    sides = [str(side) for side in histories[0].sizes]
    x = alt.X("layer:O", title="layer (0, in grey, is fixed)", axis=alt.Axis(labelAngle=0))
    y = alt.Y("side:N", sort=sides, title="side of the feature map, pixels")
    here = "datum.run == run"
    heat = alt.Chart(marks.data(cells)).transform_filter(here).encode(x=x, y=y)
    path = alt.Chart(marks.data(way)).transform_filter(here).encode(x=x, y=y)
    chart = alt.layer(
        heat.mark_rect().encode(
            color=alt.Color("weight:Q").scale(scheme="viridis", domain=[0, 1]).legend(orient="top", gradientLength=160),
            tooltip=["layer:O", "side:N", "weight:Q"],
        ),
        path.mark_line(color=ACCENT, strokeWidth=2, interpolate="step").encode(order="layer:Q"),
        path.mark_circle(size=330, opacity=1, strokeWidth=2.5, filled=False).encode(
            color=alt.condition("datum.fixed", alt.value(NEUTRAL), alt.value(ACCENT))
        ),
        heat.mark_text(fontSize=9, dy=17).encode(
            text=alt.Text("weight:Q", format=".2f"),
            color=alt.condition("datum.weight > 0.6", alt.value("#111111"), alt.value("#ffffff")),
        ),
    )
    return marks.sized(chart.add_params(alt.param(name="run", value=runs[0])), width, 52 * len(sides))


def sizing(histories: Sequence[Sizing], width: Width = 560) -> Any:
    """The sides of all layers over the epochs of a search that learns them, beside those of the space."""
    import altair as alt

    rows = [
        {
            "run": marks.run_name(one.label, one.seed),
            "epoch": epoch,
            "layer": layer,
            "side": (height * width) ** 0.5,
            "size": f"{height} x {width}",
        }
        for one in histories
        for epoch, layers in enumerate(one.learned)
        for layer, (height, width) in enumerate(layers, start=1)
    ]
    sides = histories[0].sizes
    y = alt.Y("side:Q", title="side of the feature map, pixels").scale(type="log", base=2, nice=False)
    lines = (
        alt.Chart(marks.data(rows))
        .transform_filter("datum.run == run")
        .mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=20))
        .encode(
            x=alt.X("epoch:Q", title="epoch (0 is before the first step)", axis=alt.Axis(tickMinStep=1)),
            y=y,
            color=alt.Color("layer:O", title="layer").scale(scheme="viridis").legend(orient="right"),
            tooltip=["layer:O", "epoch:Q", "size:N"],
        )
    )
    rules = (
        alt.Chart(marks.data([{"side": side} for side in sides]))
        .mark_rule(strokeDash=[4, 3], color=NEUTRAL)
        .encode(y=y)
    )
    chart = alt.layer(rules, lines).add_params(alt.param(name="run", value=runs_of(histories)[0]))
    return marks.sized(chart, width, 300)


def drawing(histories: Sequence[Drawing], width: Width = 560) -> Any:
    """Which configurations were drawn, or how probable each was to be drawn, over the epochs of a search."""
    import altair as alt

    rows = [
        {"run": marks.run_name(one.label, one.seed), "epoch": epoch, "config": config, "share": share}
        for one in histories
        for epoch, shares in zip(one.epochs, one.shares, strict=True)
        for config, share in zip(one.configs, shares, strict=True)
    ]
    size = max(len(one.configs) for one in histories)
    chart = alt.Chart(marks.data(rows)).mark_rect().encode(
        x=alt.X("epoch:O", title="until epoch", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("config:N", sort=list(histories[0].configs), title=None,
                axis=alt.Axis(labels=size <= marks.MOST_NAMED, ticks=False, labelFontSize=9)),
        color=alt.Color("share:Q", title="share of draws").scale(scheme="viridis")
        .legend(orient="top", gradientLength=160, format="%"),
        tooltip=["config:N", "epoch:O", alt.Tooltip("share:Q", format=".1%")],
    )  # fmt: skip
    return marks.sized(_of_run(chart, runs_of(histories)), width, max(160, min(900, 11 * size)))
