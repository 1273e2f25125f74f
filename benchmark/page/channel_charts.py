"""The charts of searches of widths, as those of `charts` are. Of several searches a reader sets the one, by SOLE.

ranks      of every convolution, epoch by epoch, in the last trial of a search
slopes     of every width, against the width (CONet, Figure 3)
widths     trial by trial (Figure 6)
compared   accuracy against parameters and MACs, with the controls (Figure 7); static scaling, by seconds too (Figure 4)
following  tau and Spearman of the networks' mean rank with final accuracy, epoch by epoch, beside counting MACs (Figure 1c)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.page import marks
from benchmark.page.channels import MACS, RANK, Followed, Judged, Searched, average
from benchmark.page.styles import NEUTRAL, styles

SOLE = "search"  # the parameter by which a reader chooses one


def _one_of(chart: Any, found: Sequence[Searched], width: Any, height: int) -> Any:
    import altair as alt

    chosen = chart.transform_filter(f"datum.search == {SOLE}").add_params(alt.param(name=SOLE, value=found[0].label))
    return marks.sized(chosen, width, height)


def _whole(rows: Sequence[Mapping[str, Any]], key: str) -> Any:
    """An axis of numbers that are counted."""
    import altair as alt

    last = max((row[key] for row in rows), default=1)
    return alt.Axis(values=list(range(1, last + 1, -(-last // 12))), format="d")


def ranks(found: Sequence[Searched], width: Any = 520) -> Any:
    """Mean rank of both sides of every convolution after each epoch of the last trial."""
    import altair as alt

    rows = [
        {"search": one.label, "convolution": name, "depth": depth, "epoch": epoch, "rank": average([side[0] for side in epoch_sides[depth]])}
        for one in found
        for depth, name in enumerate(one.trials[-1]["convolutions"])
        for epoch, epoch_sides in enumerate(one.trials[-1]["curves"]["sides"], 1)
    ]  # fmt: skip
    chart = alt.Chart(marks.data(rows)).mark_line(strokeWidth=1.6, point=True)
    made = chart.encode(
        x=alt.X("epoch:Q", title="epoch of the last trial", axis=_whole(rows, "epoch")).scale(nice=False),
        y=alt.Y("rank:Q", title="rank of the convolution, mean of both sides"),
        color=alt.Color("depth:Q", title="depth in the network").scale(scheme=marks.GROUND),
        detail="convolution:N",
        tooltip=["convolution:N", "epoch:Q", "rank:Q"],
    )
    return _one_of(made, found, width, 300)


def slopes(found: Sequence[Searched], width: Any = 520) -> Any:
    """Slope of rank of every width in every trial, against the width."""
    import altair as alt

    rows = [
        {"search": one.label, "name": name, "trial": trial["trial"] + 1, "width": said["from"], "slope": said["slope"], "why": said["why"]}
        for one in found
        for trial in one.trials
        for name, said in trial["decisions"].items()
        if "slope" in said
    ]  # fmt: skip
    chart = alt.Chart(marks.data(rows)).mark_circle(size=55, opacity=0.8)
    made = chart.encode(
        x=alt.X("width:Q", title="width, channels").scale(zero=False, padding=10),
        y=alt.Y("slope:Q", title="slope S of the mean rank"),
        color=alt.Color("trial:Q", title="trial").scale(scheme=marks.GROUND),
        tooltip=["name:N", "trial:Q", "width:Q", "slope:Q", "why:N"],
    )
    return _one_of(made, found, width, 300)


def widths(found: Sequence[Searched], width: Any = 520) -> Any:
    """Every width, trial by trial."""
    import altair as alt

    rows = [
        {"search": one.label, "name": name, "depth": depth, "trial": trial["trial"] + 1, "width": value}
        for one in found
        for trial in one.trials
        for depth, (name, value) in enumerate(trial["widths"].items())
    ]
    chart = alt.Chart(marks.data(rows)).mark_line(strokeWidth=1.6, point=True)
    made = chart.encode(
        x=alt.X("trial:Q", title="trial", axis=_whole(rows, "trial")).scale(nice=False),
        y=alt.Y("width:Q", title="width, channels").scale(zero=False),
        color=alt.Color("depth:Q", title="depth in the network").scale(scheme=marks.GROUND),
        detail="name:N",
        tooltip=["name:N", "trial:Q", "width:Q"],
    )
    return _one_of(made, found, width, 300)


X = {
    "parameters": ("parameters, thousands", "parameters", 1e3),
    "macs": ("MACs of one image, millions", "MACs", 1e6),
    "seconds": ("seconds of a training", "seconds", 1.0),
}


def compared(one: Judged, x: str, width: Any = 520) -> Any:
    """Accuracy of every contender, with its interval over seeds, against what it costs."""
    import altair as alt

    title, _, unit = X[x]
    rows = []
    for row in one.rows:
        spent = row[x]
        cost = average(spent) if isinstance(spent, list) else spent
        mean, low, high = (row["accuracy"][key] for key in ("mean", "low", "high"))
        rows.append({"label": row["contender"], "cost": cost / unit, "mean": mean, "low": low, "high": high})
    accuracy = alt.Y("mean:Q", title="test accuracy, %").scale(zero=False, padding=12)
    base = alt.Chart(marks.data(rows)).encode(x=alt.X("cost:Q", title=title).scale(zero=False, padding=14))
    mine = {row["label"] for row in rows}
    colours = marks.colours_of({name: style for name, style in styles(one.all).items() if name in mine})
    bars = base.mark_rule(color=NEUTRAL, opacity=0.6).encode(
        y=alt.Y("low:Q", title="test accuracy, %").scale(zero=False), y2="high:Q"
    )
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(
        y=accuracy, tooltip=["label:N", "cost:Q", "mean:Q", "low:Q", "high:Q"], **colours
    )
    return marks.sized(alt.layer(bars, dots), width, 320)


def following(one: Followed, width: Any = 520) -> Any:
    """tau and Spearman of mean rank with final accuracy after each epoch; dashed: of counting MACs."""
    import altair as alt

    rows = [{"measure": m, "epoch": e, "of": of, "value": value} for m, e, of, value in one.values]
    base = alt.Chart(marks.data(rows)).encode(
        x=alt.X("epoch:Q", title="epoch", axis=_whole(rows, "epoch")).scale(nice=False),
        y=alt.Y("value:Q", title=f"with final accuracy, {one.configurations} configurations"),
        color=alt.Color("measure:N", title=None, legend=alt.Legend(orient="bottom")),
        tooltip=["measure:N", "of:N", "epoch:Q", "value:Q"],
    )
    # Said which is dashed, or the order of the names would say it.
    dash = alt.StrokeDash("of:N", title=None, legend=alt.Legend(orient="bottom", symbolSize=400))
    lines = base.mark_line(strokeWidth=1.8).encode(strokeDash=dash.scale(domain=[RANK, MACS], range=[[1, 0], [5, 4]]))
    made = alt.layer(lines, base.mark_point(filled=True, opacity=1))  # apart, or the legend of dashes would show dots
    return marks.sized(made, width, 300)
