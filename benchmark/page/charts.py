"""Each chart, defined once in Vega-Altair for the page and for the files. altair loads when a chart is made.

Every function returns a chart without configuration (`styles.theme` has it). width: in pixels, or "container" for a chart
that takes the width of the page around it. What a reader can set on the page is a parameter of the chart (`chosen`,
`method`, `seed`); in a file it keeps its first value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from benchmark.page.explored import Explored
from benchmark.page.histories import Drawing, Mixing, Sizing, Weighing
from benchmark.page.leaderboard import Board, Spent
from benchmark.page.pairs import Pair
from benchmark.page.studies import KeptInterference, Matrix, Simulation
from benchmark.page.styles import ACCENT, NEUTRAL, Style
from benchmark.page.styles import styles as styles_of

Width = int | str
ALL = "all seeds"
SIDES = {"container": {"type": "fit-x", "contains": "padding"}}
GROUND = {"name": "viridis", "extent": [0.2, 0.95]}  # light enough for a dark page, dark enough for a light one
MOST_NAMED = 60  # configurations, beyond which their names would cover each other


def _data(rows: Iterable[Mapping[str, Any]]) -> Any:
    """The rows as they stand in a chart. They are not held against Vega-Lite's schema: that takes minutes for a hundred
    thousand, and any row would do."""
    import altair as alt
    from altair.utils.schemapi import debug_mode

    with debug_mode(False):
        return alt.Data(values=[{key: _tidy(value) for key, value in row.items()} for row in rows])


def _tidy(value: Any) -> Any:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def _sized(chart: Any, width: Width, height: int) -> Any:
    sized = chart.properties(width=width, height=height)
    return sized.properties(autosize=SIDES["container"]) if width == "container" else sized


def _colour(styles: Mapping[str, Style], shown: bool = True) -> dict[str, Any]:
    """Colour and marker of the field `label`, with one legend."""
    import altair as alt

    names = list(styles)
    legend = alt.Legend(title=None, orient="bottom", columns=2) if shown else None
    return {
        "color": alt.Color("label:N", legend=legend).scale(domain=names, range=[s.colour for s in styles.values()]),
        "shape": alt.Shape("label:N", legend=legend).scale(domain=names, range=[s.marker for s in styles.values()]),
    }


def _line(value: float, name: str, dash: Sequence[int], vertical: bool) -> Any:
    """A line of reference through the chart, named at its end."""
    import altair as alt

    base = alt.Chart(_data([{"at": value, "name": name}]))
    at = {"x": alt.X("at:Q")} if vertical else {"y": alt.Y("at:Q")}
    rule = base.mark_rule(strokeDash=list(dash), color=NEUTRAL, strokeWidth=1.5).encode(
        **at, tooltip=["name:N", "at:Q"]
    )
    place = {"y": alt.value(0)} if vertical else {"x": alt.value(0)}
    style = {"baseline": "bottom", "align": "center", "dy": -3} if vertical else {"align": "left", "dx": 3, "dy": -6}
    return rule + base.mark_text(fontSize=10, **style).encode(**at, **place, text="name:N")


def forest(board: Board, styles: Mapping[str, Style], width: Width = 460) -> Any:
    """tau of every method: its interval as a bar, its mean as its marker, its seeds as dots."""
    import altair as alt

    names = [row.label for row in board.standings]
    rows = [
        {
            "label": row.label,
            "tau": row.tau,
            "low": row.interval and row.interval[0],
            "high": row.interval and row.interval[1],
        }
        for row in board.standings
    ]
    seeds = [{"label": row.label, "tau": tau} for row in board.standings for tau in row.taus if len(row.taus) > 1]
    y = alt.Y("label:N", sort=names, title=None, axis=alt.Axis(labelLimit=260))
    base = alt.Chart(_data(rows)).encode(y=y)
    colours = _colour(styles, shown=False)
    title = f"Kendall's tau-b against {board.title}, 95 % interval; dots: seeds"
    layers = [
        base.mark_rule(strokeWidth=7, opacity=0.35).encode(
            x=alt.X("low:Q", title=title),
            x2="high:Q",
            color=colours["color"],  # a shape would be drawn at its end
        ),
        base.mark_point(filled=True, size=90, opacity=1).encode(
            x=alt.X("tau:Q", title=title), tooltip=["label:N", "tau:Q", "low:Q", "high:Q"], **colours
        ),
        alt.Chart(_data(seeds)).mark_circle(size=22, opacity=0.9, color=NEUTRAL).encode(y=y, x="tau:Q"),
    ]
    if board.macs is not None:
        layers.append(_line(board.macs, "counting MACs", (5, 4), vertical=True))
    if board.ceiling is not None:
        layers.append(_line(board.ceiling.mean, "ceiling", (2, 2), vertical=True))
    return _sized(alt.layer(*layers), width, 24 * len(names) + 10)


X = {
    "macs": ("megamacs", "MACs of one image, millions"),
    "number": ("number", "number of the configuration, as in the paper's Table 6"),
    "first": ("first", "layers before the first pooling"),
}


def configurations(table: Explored, x: str, width: Width = 620, named: bool = False) -> Any:
    """Accuracy of every configuration against one of `X`, with its std over seeds. named: each bears its name."""
    import altair as alt

    rows = [
        {
            "config": one.config,
            "number": one.number,
            "first": one.first,
            "megamacs": one.megamacs,
            "mean": one.mean,
            "low": None if one.std is None else one.mean - one.std,
            "high": None if one.std is None else one.mean + one.std,
            "std": one.std,
            "n": one.n,
            "rank": one.rank,
        }
        for one in table.configurations
    ]
    field, title = X[x]
    best = max(table.configurations, key=lambda one: one.mean).config
    scale = alt.Scale(type="log", nice=False, padding=14) if x == "macs" else alt.Scale(zero=False, padding=12)
    axis = alt.Axis(values=_decades()) if x == "macs" else alt.Axis(tickMinStep=1)
    base = alt.Chart(_data(rows)).encode(x=alt.X(f"{field}:Q", title=title, axis=axis).scale(scale))
    accuracy = f"test accuracy on {table.dataset}, %"
    tip = ["config:N", "mean:Q", "std:Q", "n:Q", "rank:Q", "megamacs:Q"]
    here = "datum.config == chosen"
    layers = [
        base.mark_rule(opacity=0.4, color=NEUTRAL).encode(
            y=alt.Y("low:Q", title=accuracy).scale(zero=False, padding=12), y2="high:Q"
        ),
        base.mark_circle(size=70, opacity=1).encode(
            y=alt.Y("mean:Q", title=accuracy).scale(zero=False, padding=12),
            color=alt.Color("first:Q", title="layers before the first pooling").scale(scheme=GROUND)
            .legend(orient="top", gradientLength=160),
            tooltip=tip,
        ),
    ]  # fmt: skip
    name = base.mark_text(align="left", dx=7, dy=-7, fontSize=8 if named else 12).encode(y="mean:Q", text="config:N")
    if named and len(rows) <= MOST_NAMED:
        layers.append(name)
    if not named:
        chosen = base.transform_filter(here)
        layers.append(chosen.mark_point(size=220, color=ACCENT, strokeWidth=2.5).encode(y="mean:Q"))
        layers.append(name.transform_filter(here))
    return _sized(alt.layer(*layers).add_params(alt.param(name="chosen", value=best)), width, 340)


def _decades() -> list[float]:
    """Where a logarithmic axis of millions of MACs has its ticks; those outside it are not drawn."""
    return [step * 10.0**power for power in range(-1, 6) for step in (1, 1.5, 2, 3, 4, 6, 8)]


def curves(table: Explored, width: Width = 620) -> Any:
    """Test accuracy of every configuration epoch by epoch, the mean over seeds; of the chosen one each seed."""
    import altair as alt

    rows = [
        {"config": curve.config, "seed": str(curve.seed), "epoch": epoch, "test": test, "train": train}
        for curve in table.curves
        for epoch, (test, train) in enumerate(zip(curve.test, curve.train, strict=True), start=1)
    ]
    best = max(table.configurations, key=lambda one: one.mean).config
    base = alt.Chart(_data(rows)).encode(
        x=alt.X("epoch:Q", title="epoch", axis=alt.Axis(tickMinStep=1)).scale(nice=False)
    )
    y = f"accuracy on {table.dataset}, %"
    mine = base.transform_filter("datum.config == chosen")
    layers = [
        base.mark_line(color=NEUTRAL, opacity=0.35, strokeWidth=1).encode(
            y=alt.Y("mean(test):Q", title=y).scale(zero=False), detail="config:N", tooltip=["config:N"]
        ),
        mine.mark_line(color=ACCENT, strokeWidth=2).encode(
            y=alt.Y("test:Q", title=y), detail="seed:N", tooltip=["config:N", "seed:N", "epoch:Q", "test:Q", "train:Q"]
        ),
        mine.mark_line(color="#56B4E9", strokeWidth=1, strokeDash=[4, 3]).encode(
            y=alt.Y("train:Q", title=y), detail="seed:N"
        ),
    ]
    return _sized(alt.layer(*layers).add_params(alt.param(name="chosen", value=best)), width, 300)


def _point_rows(board: Board) -> list[dict[str, Any]]:
    picks = {
        (row.label, seed): pick.text
        for row in board.standings
        for seed, pick in zip(row.seeds, row.picks, strict=False)
    }
    return [
        {
            "label": point.label,
            "seed": point.seed,
            "config": point.config,
            "score": point.score,
            "accuracy": point.accuracy,
            "order": point.order,
            "rank": point.rank,
            "residual": point.residual,
            "picked": picks.get((point.label, point.seed)) == point.config,
        }
        | {f"stage{stage}": count for stage, count in enumerate(point.layers)}
        for point in board.points
    ]


def _filtered(chart: Any, first: str) -> Any:
    """A chart of one method, and of one of its seeds or all, as the reader sets them."""
    import altair as alt

    mine = "datum.label == method && (seed == 'all seeds' || datum.seed == seed)"
    return chart.transform_filter(mine).add_params(
        alt.param(name="method", value=first), alt.param(name="seed", value=ALL)
    )


def _truth(board: Board, styles: Mapping[str, Style], width: Width) -> Any:
    import altair as alt

    tip = ["label:N", "seed:N", "config:N", "score:Q", "accuracy:Q", "order:Q", "rank:Q"]
    base = alt.Chart().encode(
        x=alt.X("score:Q", title="score of the method", axis=alt.Axis(format="~g", tickCount=5)).scale(zero=False),
        y=alt.Y("accuracy:Q", title=f"accuracy in {board.title}, %").scale(zero=False),
        tooltip=tip,
    )
    dots = base.mark_point(filled=True, size=50, opacity=0.7).encode(**_colour(styles, shown=False))
    rings = base.transform_filter("datum.picked").mark_circle(
        size=190, filled=False, color=NEUTRAL, strokeWidth=1.5, opacity=1
    )
    return _sized(alt.layer(dots, rings), width, 300 if width == "container" else 180)


def truth(board: Board, styles: Mapping[str, Style], width: Width = "container") -> Any:
    """Accuracy against score, of one method and of one or all of its seeds; picks are ringed."""
    return _filtered(_truth(board, styles, width).properties(data=_data(_point_rows(board))), _first(board))


def truths(board: Board, styles: Mapping[str, Style]) -> Any:
    """The same of every method, a panel each."""
    import altair as alt

    panel = _truth(board, styles, 220)
    names = [row.label for row in board.standings if any(point.label == row.label for point in board.points)]
    return panel.facet(
        facet=alt.Facet("label:N", sort=names, title=None), columns=3, data=_data(_point_rows(board))
    ).resolve_scale(x="independent")


def _first(board: Board) -> str:
    """The best method that has points."""
    having = {point.label for point in board.points}
    return next(row.label for row in board.standings if row.label in having)


def residuals(board: Board, styles: Mapping[str, Style], stage: int, side: int, width: Width = 460) -> Any:
    """How many ranks too high a method puts a configuration, against its layers at one resolution."""
    import altair as alt

    base = alt.Chart().encode(
        x=alt.X(f"stage{stage}:Q", title=f"layers at {side} x {side} pixels").scale(zero=False, padding=14),
    )
    y = alt.Y("residual:Q", title="ranks too high (below 0: too low)")
    dots = base.mark_point(filled=True, size=40, opacity=0.55).encode(
        y=y, tooltip=["config:N", "seed:N", "order:Q", "rank:Q", "residual:Q"], **_colour(styles, shown=False)
    )
    mean = base.mark_tick(thickness=3, width=22, color=NEUTRAL).encode(y="mean(residual):Q")
    zero = alt.Chart(_data([{"at": 0}])).mark_rule(color=NEUTRAL, opacity=0.6).encode(y="at:Q")
    return _filtered(_sized(alt.layer(zero, dots, mean, data=_data(_point_rows(board))), width, 280), _first(board))


BUDGET = {
    "images": "training images seen",
    "seconds": "device seconds, looking at scores aside",
    "epoch": "epoch of the search",
}


def budget(board: Board, styles: Mapping[str, Style], y: str, x: str, width: Width = 620) -> Any:
    """tau or regret against what was spent: a line for the median over seeds, a band from the lowest to the highest."""
    import altair as alt

    rows = [
        {name: getattr(moment, name) for name in ("label", "epoch", "images", "seconds", "seeds")}
        | {
            f"{what}{end}": getattr(moment, f"{what}{end}")
            for what in ("tau", "regret")
            for end in ("", "_low", "_high")
        }
        for moment in board.moments
    ]
    title = (
        f"Kendall's tau-b against {board.title}" if y == "tau" else f"regret of the best score in {board.title}, points"
    )
    drawn = {row["label"] for row in rows if None not in (row[x], row[y])}
    there = {name: style for name, style in styles.items() if name in drawn}
    picked = alt.selection_point(name="legend", fields=["label"], bind="legend")
    scale = alt.Scale(type="linear" if x == "epoch" else "log", nice=False, padding=6)
    base = (
        alt.Chart(_data(rows))
        .transform_filter(f"isValid(datum.{x}) && datum.{x} > 0 && isValid(datum.{y})")
        .encode(x=alt.X(f"{x}:Q", title=BUDGET[x], axis=alt.Axis(tickCount=6, format="~s")).scale(scale))
    )
    colours = _colour(there)
    middle = alt.Y(f"{y}:Q", title=title)
    layers = [
        base.mark_area().encode(
            y=alt.Y(f"{y}_low:Q", title=title),
            y2=f"{y}_high:Q",
            color=colours["color"],
            opacity=alt.condition(picked, alt.value(0.16), alt.value(0.03)),
        ),
        base.mark_line(strokeWidth=1.8).encode(
            y=middle, color=colours["color"], opacity=alt.condition(picked, alt.value(1), alt.value(0.15))
        ),
        base.mark_point(filled=True, size=34).encode(
            y=middle,
            tooltip=["label:N", "epoch:Q", "images:Q", "seconds:Q", f"{y}:Q", f"{y}_low:Q", f"{y}_high:Q", "seeds:Q"],
            opacity=alt.condition(picked, alt.value(1), alt.value(0.1)),
            **colours,
        ).add_params(picked),
    ]  # fmt: skip
    if y == "tau" and board.macs is not None:
        layers.append(_line(board.macs, "counting MACs", (5, 4), vertical=False))
    return _sized(alt.layer(*layers), width, 340)


def has_budget(spent: Sequence[Spent], x: str) -> bool:
    return any(getattr(one, x) is not None for one in spent)


def scatter(pair: Pair, width: Width = 460) -> Any:
    """Accuracy in one table against accuracy in the other, with both stds."""
    import altair as alt

    rows = [
        {
            "config": one.config,
            "first": one.first,
            "a": one.a,
            "b": one.b,
            "a_rank": one.a_rank,
            "b_rank": one.b_rank,
            "a_low": one.a - (one.a_std or 0),
            "a_high": one.a + (one.a_std or 0),
            "b_low": one.b - (one.b_std or 0),
            "b_high": one.b + (one.b_std or 0),
        }
        for one in pair.lines
    ]
    base = alt.Chart(_data(rows)).encode(
        x=alt.X("a:Q", title=f"{pair.a}, %").scale(zero=False), y=alt.Y("b:Q", title=f"{pair.b}, %").scale(zero=False)
    )
    bars = {"color": NEUTRAL, "opacity": 0.4}
    return _sized(
        alt.layer(
            base.mark_rule(**bars).encode(x=alt.X("a_low:Q", title=f"{pair.a}, %"), x2="a_high:Q"),
            base.mark_rule(**bars).encode(y=alt.Y("b_low:Q", title=f"{pair.b}, %"), y2="b_high:Q"),
            base.mark_circle(size=70, opacity=1).encode(
                color=alt.Color("first:Q", title="layers before the first pooling").scale(scheme=GROUND)
                .legend(orient="top", gradientLength=160),
                tooltip=["config:N", "a:Q", "a_rank:Q", "b:Q", "b_rank:Q"],
            ),
        ),
        width,
        360,
    )  # fmt: skip


def bump(pair: Pair, width: Width = 460) -> Any:
    """The rank of every configuration in one table and in the other, joined by a line."""
    import altair as alt

    rows = [
        {"config": one.config, "first": one.first, "table": table, "rank": rank, "moved": abs(one.a_rank - one.b_rank)}
        for one in pair.lines
        for table, rank in ((pair.a, one.a_rank), (pair.b, one.b_rank))
    ]
    base = alt.Chart(_data(rows)).encode(
        x=alt.X("table:N", sort=[pair.a, pair.b], title=None, axis=alt.Axis(labelAngle=0, labelLimit=200, orient="top"))
        .scale(padding=0.6, type="point"),
        y=alt.Y("rank:Q", title="rank").scale(reverse=True, zero=False, nice=False, padding=8),
        tooltip=["config:N", "table:N", "rank:Q", "moved:Q"],
    )  # fmt: skip
    lines = base.mark_line(strokeWidth=2).encode(
        detail="config:N",
        color=alt.Color("first:Q", title="layers before the first pooling").scale(scheme=GROUND)
        .legend(orient="bottom", gradientLength=160),
        opacity=alt.Opacity("moved:Q", legend=None).scale(range=[0.35, 1]),
    )  # fmt: skip
    layers = [lines]
    if pair.size <= MOST_NAMED:
        for table, align, dx in ((pair.a, "right", -6), (pair.b, "left", 6)):
            names = base.transform_filter(alt.FieldEqualPredicate(equal=table, field="table"))
            layers.append(names.mark_text(align=align, dx=dx, fontSize=10).encode(text="config:N"))
    return _sized(alt.layer(*layers), width, max(180, min(900, 14 * pair.size)))


def settling(pair: Pair, width: Width = 460) -> Any:
    """How a table ranks after each of its epochs: tau-b with its own end, and with the other table."""
    import altair as alt

    rows = [
        {"table": one.table, "epoch": one.epoch, "tau": tau, "with": f"{one.table}: with {whose}"}
        for one in pair.settling
        for tau, whose in ((one.own, "its own end"), (one.other, "the other table"))
        if tau is not None
    ]
    names = list(dict.fromkeys(row["with"] for row in rows))
    colour = alt.Color("with:N", legend=alt.Legend(title=None, orient="bottom", columns=1, labelLimit=340)).scale(
        domain=names, range=["#0072B2", "#D55E00", "#009E73", "#E69F00"][: len(names)]
    )
    return _sized(
        alt.Chart(_data(rows)).mark_line(point=True).encode(
            x=alt.X("epoch:Q", title="epoch of the training"), y=alt.Y("tau:Q", title="Kendall's tau-b"),
            color=colour, strokeDash=alt.StrokeDash("with:N", legend=None), tooltip=["with:N", "epoch:Q", "tau:Q"],
        ),
        width,
        280,
    )  # fmt: skip


def _run(label: str, seed: str) -> str:
    return f"{label}, seed {seed}"


def _of_run(chart: Any, runs: Sequence[str]) -> Any:
    """The chart of one search, as the reader sets it."""
    import altair as alt

    return chart.transform_filter("datum.run == run").add_params(alt.param(name="run", value=runs[0]))


def runs_of(histories: Sequence[Mixing] | Sequence[Weighing] | Sequence[Sizing] | Sequence[Drawing]) -> list[str]:
    return [_run(one.label, one.seed) for one in histories]


def mixing(histories: Sequence[Mixing]) -> Any:
    """p(m|c) at some epochs (the paper's Figure 5): a panel an epoch, a row a configuration, a column a model."""
    import altair as alt

    rows = [
        {"run": _run(one.label, one.seed), "epoch": epoch, "order": order, "config": config}
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
            axis=alt.Axis(labels=size <= MOST_NAMED, ticks=False, labelFontSize=9),
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
        data=_data(rows),
        spacing=6,
    )
    return _of_run(chart, runs_of(histories))


def weighing(histories: Sequence[Weighing], width: Width = 560) -> Any:
    """The weights of the resolutions of each block at the end (the paper's Figure 4), and the path that was picked."""
    import altair as alt

    cells = [
        {"run": _run(one.label, one.seed), "layer": block, "side": str(side), "weight": weight}
        for one in histories
        for block, row in enumerate(one.weights, start=1)
        for side, weight in zip(one.sizes, row, strict=True)
    ]
    way = [
        {"run": _run(one.label, one.seed), "layer": layer, "side": str(one.sizes[r]), "fixed": layer == 0}
        for one in histories
        for layer, r in enumerate(one.found)
    ]
    runs = runs_of(histories)
    sides = [str(side) for side in histories[0].sizes]
    x = alt.X("layer:O", title="layer (0, in grey, is fixed)", axis=alt.Axis(labelAngle=0))
    y = alt.Y("side:N", sort=sides, title="side of the feature map, pixels")
    here = "datum.run == run"
    heat = alt.Chart(_data(cells)).transform_filter(here).encode(x=x, y=y)
    path = alt.Chart(_data(way)).transform_filter(here).encode(x=x, y=y)
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
    return _sized(chart.add_params(alt.param(name="run", value=runs[0])), width, 52 * len(sides))


def sizing(histories: Sequence[Sizing], width: Width = 560) -> Any:
    """The sides of all layers over the epochs of a search that learns them, beside those of the space."""
    import altair as alt

    rows = [
        {
            "run": _run(one.label, one.seed),
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
        alt.Chart(_data(rows))
        .transform_filter("datum.run == run")
        .mark_line(strokeWidth=2, point=alt.OverlayMarkDef(size=20))
        .encode(
            x=alt.X("epoch:Q", title="epoch (0 is before the first step)", axis=alt.Axis(tickMinStep=1)),
            y=y,
            color=alt.Color("layer:O", title="layer").scale(scheme="viridis").legend(orient="right"),
            tooltip=["layer:O", "epoch:Q", "size:N"],
        )
    )
    rules = alt.Chart(_data([{"side": side} for side in sides])).mark_rule(strokeDash=[4, 3], color=NEUTRAL).encode(y=y)
    chart = alt.layer(rules, lines).add_params(alt.param(name="run", value=runs_of(histories)[0]))
    return _sized(chart, width, 300)


def drawing(histories: Sequence[Drawing], width: Width = 560) -> Any:
    """Which configurations were drawn, or how probable each was to be drawn, over the epochs of a search."""
    import altair as alt

    rows = [
        {"run": _run(one.label, one.seed), "epoch": epoch, "config": config, "share": share}
        for one in histories
        for epoch, shares in zip(one.epochs, one.shares, strict=True)
        for config, share in zip(one.configs, shares, strict=True)
    ]
    size = max(len(one.configs) for one in histories)
    chart = alt.Chart(_data(rows)).mark_rect().encode(
        x=alt.X("epoch:O", title="until epoch", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("config:N", sort=list(histories[0].configs), title=None,
                axis=alt.Axis(labels=size <= MOST_NAMED, ticks=False, labelFontSize=9)),
        color=alt.Color("share:Q", title="share of draws").scale(scheme="viridis")
        .legend(orient="top", gradientLength=160, format="%"),
        tooltip=["config:N", "epoch:O", alt.Tooltip("share:Q", format=".1%")],
    )  # fmt: skip
    return _sized(_of_run(chart, runs_of(histories)), width, max(160, min(900, 11 * size)))


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
    base = alt.Chart(_data(rows))
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
    return _sized(alt.layer(*layers), width, 34 * len(rows) + 10)


def cosines(study: KeptInterference, epoch: int, width: Width = 460) -> Any:
    """Cosine of the gradients of every two configurations after an epoch; the diagonal is one with itself."""
    configs = study.result.configs
    [look] = [one for one in study.result.looks if one.epoch == epoch]
    rows = [
        {"a": configs[i], "b": configs[j], "cosine": value}
        for i, row in enumerate(look.cosines)
        for j, value in enumerate(row)
    ]
    return _sized(_square(rows, configs, "cosine", "cosine of gradients"), width, _tall(configs))


def apart(study: KeptInterference, width: Width = 460) -> Any:
    """How often a mixture serves two configurations by one model, against the cosine of their gradients in one supernet."""
    import altair as alt

    result = study.result
    pairs = list(combinations(range(len(result.configs)), 2))
    rows = [
        {
            "search": _run(one.label, one.seed) + ("" if one.tau is None else f" (tau {one.tau:.2f})"),
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
        facet=alt.Facet("search:N", title=None), columns=2, data=_data(rows)
    )


def _tall(names: Sequence[str]) -> int:
    return max(90, min(900, 15 * len(names)))


def _square(rows: Sequence[Mapping[str, Any]], names: Sequence[str], field: str, title: str) -> Any:
    """A heat map of values between -1 and 1, in which 0 is pale; of few names each value is written."""
    import altair as alt

    shown = len(names) <= MOST_NAMED
    axis = {"labels": shown, "ticks": False, "labelFontSize": 9, "labelLimit": 170}
    x = alt.X("b:N", sort=list(names), title=None, axis=alt.Axis(labelAngle=-90, orient="top", **axis))
    y = alt.Y("a:N", sort=list(names), title=None, axis=alt.Axis(**axis))
    base = alt.Chart(_data(rows)).encode(x=x, y=y)
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
    return _sized(_square(rows, names, "tau", "Kendall's tau-b"), width, _tall(names))


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
    base = alt.Chart(_data(rows)).encode(x=x)
    colours = _colour(named)
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
            alt.Chart(_data(exact)).mark_line(strokeDash=[5, 4], color=NEUTRAL, strokeWidth=1.5)
            .encode(x=x, y=alt.Y("regret:Q", title=title))
        )  # fmt: skip
    return _sized(alt.layer(*layers), width, 320)
