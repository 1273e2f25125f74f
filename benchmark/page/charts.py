"""The charts of tables and of methods against them, each defined once in Vega-Altair for the page and for the files.

Every function returns a chart without configuration (`styles.theme` has it); altair loads when one is made. width: as in
`marks`. What a reader can set on the page is a parameter of the chart (`chosen`, `method`, `seed`); in a file it keeps its
first value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.page import marks
from benchmark.page.explored import Explored
from benchmark.page.leaderboard import Board, Spent
from benchmark.page.marks import Width
from benchmark.page.pairs import Pair
from benchmark.page.styles import ACCENT, NEUTRAL, Style

ALL = "all seeds"


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
    base = alt.Chart(marks.data(rows)).encode(y=y)
    colours = marks.colours_of(styles, shown=False)
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
        alt.Chart(marks.data(seeds)).mark_circle(size=22, opacity=0.9, color=NEUTRAL).encode(y=y, x="tau:Q"),
    ]
    if board.macs is not None:
        layers.append(marks.line(board.macs, "counting MACs", (5, 4), vertical=True))
    if board.ceiling is not None:
        layers.append(marks.line(board.ceiling.mean, "ceiling", (2, 2), vertical=True))
    return marks.sized(alt.layer(*layers), width, 24 * len(names) + 10)


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
    base = alt.Chart(marks.data(rows)).encode(x=alt.X(f"{field}:Q", title=title, axis=axis).scale(scale))
    accuracy = f"test accuracy on {table.dataset}, %"
    tip = ["config:N", "mean:Q", "std:Q", "n:Q", "rank:Q", "megamacs:Q"]
    here = "datum.config == chosen"
    layers = [
        base.mark_rule(opacity=0.4, color=NEUTRAL).encode(
            y=alt.Y("low:Q", title=accuracy).scale(zero=False, padding=12), y2="high:Q"
        ),
        base.mark_circle(size=70, opacity=1).encode(
            y=alt.Y("mean:Q", title=accuracy).scale(zero=False, padding=12),
            color=alt.Color("first:Q", title="layers before the first pooling").scale(scheme=marks.GROUND)
            .legend(orient="top", gradientLength=160),
            tooltip=tip,
        ),
    ]  # fmt: skip
    name = base.mark_text(align="left", dx=7, dy=-7, fontSize=8 if named else 12).encode(y="mean:Q", text="config:N")
    if named and len(rows) <= marks.MOST_NAMED:
        layers.append(name)
    if not named:
        chosen = base.transform_filter(here)
        layers.append(chosen.mark_point(size=220, color=ACCENT, strokeWidth=2.5).encode(y="mean:Q"))
        layers.append(name.transform_filter(here))
    return marks.sized(alt.layer(*layers).add_params(alt.param(name="chosen", value=best)), width, 340)


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
    base = alt.Chart(marks.data(rows)).encode(
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
    return marks.sized(alt.layer(*layers).add_params(alt.param(name="chosen", value=best)), width, 300)


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
    dots = base.mark_point(filled=True, size=50, opacity=0.7).encode(**marks.colours_of(styles, shown=False))
    rings = base.transform_filter("datum.picked").mark_circle(
        size=190, filled=False, color=NEUTRAL, strokeWidth=1.5, opacity=1
    )
    return marks.sized(alt.layer(dots, rings), width, 300 if width == "container" else 180)


def truth(board: Board, styles: Mapping[str, Style], width: Width = "container") -> Any:
    """Accuracy against score, of one method and of one or all of its seeds; picks are ringed."""
    return _filtered(_truth(board, styles, width).properties(data=marks.data(_point_rows(board))), _first(board))


def truths(board: Board, styles: Mapping[str, Style]) -> Any:
    """The same of every method, a panel each."""
    import altair as alt

    panel = _truth(board, styles, 220)
    names = [row.label for row in board.standings if any(point.label == row.label for point in board.points)]
    return panel.facet(
        facet=alt.Facet("label:N", sort=names, title=None), columns=3, data=marks.data(_point_rows(board))
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
        y=y, tooltip=["config:N", "seed:N", "order:Q", "rank:Q", "residual:Q"], **marks.colours_of(styles, shown=False)
    )
    mean = base.mark_tick(thickness=3, width=22, color=NEUTRAL).encode(y="mean(residual):Q")
    zero = alt.Chart(marks.data([{"at": 0}])).mark_rule(color=NEUTRAL, opacity=0.6).encode(y="at:Q")
    return _filtered(
        marks.sized(alt.layer(zero, dots, mean, data=marks.data(_point_rows(board))), width, 280), _first(board)
    )


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
    ticks: dict[str, Any] = {"tickCount": 6, "format": "~s"} | ({"tickMinStep": 1} if x == "epoch" else {})
    base = (
        alt.Chart(marks.data(rows))
        .transform_filter(f"isValid(datum.{x}) && datum.{x} > 0 && isValid(datum.{y})")
        .encode(x=alt.X(f"{x}:Q", title=BUDGET[x], axis=alt.Axis(**ticks)).scale(scale))
    )
    colours = marks.colours_of(there)
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
        layers.append(marks.line(board.macs, "counting MACs", (5, 4), vertical=False))
    return marks.sized(alt.layer(*layers), width, 340)


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
    base = alt.Chart(marks.data(rows)).encode(
        x=alt.X("a:Q", title=f"{pair.a}, %").scale(zero=False), y=alt.Y("b:Q", title=f"{pair.b}, %").scale(zero=False)
    )
    bars = {"color": NEUTRAL, "opacity": 0.4}
    return marks.sized(
        alt.layer(
            base.mark_rule(**bars).encode(x=alt.X("a_low:Q", title=f"{pair.a}, %"), x2="a_high:Q"),
            base.mark_rule(**bars).encode(y=alt.Y("b_low:Q", title=f"{pair.b}, %"), y2="b_high:Q"),
            base.mark_circle(size=70, opacity=1).encode(
                color=alt.Color("first:Q", title="layers before the first pooling").scale(scheme=marks.GROUND)
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
    base = alt.Chart(marks.data(rows)).encode(
        x=alt.X("table:N", sort=[pair.a, pair.b], title=None, axis=alt.Axis(labelAngle=0, labelLimit=200, orient="top"))
        .scale(padding=0.6, type="point"),
        y=alt.Y("rank:Q", title="rank").scale(reverse=True, zero=False, nice=False, padding=8),
        tooltip=["config:N", "table:N", "rank:Q", "moved:Q"],
    )  # fmt: skip
    lines = base.mark_line(strokeWidth=2).encode(
        detail="config:N",
        color=alt.Color("first:Q", title="layers before the first pooling").scale(scheme=marks.GROUND)
        .legend(orient="bottom", gradientLength=160),
        opacity=alt.Opacity("moved:Q", legend=None).scale(range=[0.35, 1]),
    )  # fmt: skip
    layers = [lines]
    if pair.size <= marks.MOST_NAMED:
        for table, align, dx in ((pair.a, "right", -6), (pair.b, "left", 6)):
            names = base.transform_filter(alt.FieldEqualPredicate(equal=table, field="table"))
            layers.append(names.mark_text(align=align, dx=dx, fontSize=10).encode(text="config:N"))
    return marks.sized(alt.layer(*layers), width, max(180, min(900, 14 * pair.size)))


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
    return marks.sized(
        alt.Chart(marks.data(rows)).mark_line(point=True).encode(
            x=alt.X("epoch:Q", title="epoch of the training"), y=alt.Y("tau:Q", title="Kendall's tau-b"),
            color=colour, strokeDash=alt.StrokeDash("with:N", legend=None), tooltip=["with:N", "epoch:Q", "tau:Q"],
        ),
        width,
        280,
    )  # fmt: skip
