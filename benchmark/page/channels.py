"""Figures of searches of widths, from what `search_channels` and `build_groundtruth --probe rank` have left. No torch.

ranks      of every convolution, epoch by epoch, in the last trial of a search
slopes     of every width, against the width (CONet, Figure 3)
widths     trial by trial (Figure 6)
judged     accuracy against parameters and MACs, with the controls (Figure 7); static scaling, by seconds too (Figure 4)
following  tau and Spearman of the networks' mean rank with final accuracy, epoch by epoch, beside counting MACs (Figure 1c)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.page import charts
from benchmark.page.figures import PAGE, Control, Figure, View, file_name
from benchmark.page.styles import NEUTRAL, styles

RANK, MACS = "mean rank", "counting MACs"
SOLE = "search"  # the parameter by which a reader chooses one


@dataclass(frozen=True)
class Searched:
    """One search. trials: its records, in order."""

    label: str
    trials: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Judged:
    """Contenders that were trained from scratch beside each other. all: the names of all, for one style each everywhere."""

    label: str
    rows: tuple[Mapping[str, Any], ...]
    all: tuple[str, ...]


@dataclass(frozen=True)
class Followed:
    """A ledger whose records have the curve `rank`. values: (measure, epoch or None for MACs, of what, value)."""

    label: str
    configurations: int
    values: tuple[tuple[str, int, str, float], ...]


def figures_of(out: Path) -> list[Figure]:
    """All that there are under an output folder. What cannot be read as such is passed over."""
    searched, judged, followed = list(_searched(out)), list(_judged(out)), list(_followed(out))
    found: list[Figure] = []
    if searched:
        found += [
            _chosen("channel-ranks", "Ranks of convolutions as they train", searched, ranks, RANKS),
            _chosen("channel-slopes", "What the search saw of each width", searched, slopes, SLOPES),
            _chosen("channel-widths", "How widths moved", searched, widths, WIDTHS),
        ]
    for one in judged:
        key = file_name(one.label)
        views = [(f"channel-accuracy-{x}-{key}", X[x][1], x) for x in ("parameters", "macs")]
        found.append(_several(f"channel-accuracy-{key}", f"Widths compared: {one.label}", one, views, COMPARED))
        if any(row["contender"].startswith("static") for row in one.rows):
            views = [(f"channel-static-{x}-{key}", X[x][1], x) for x in X if all(row.get(x) for row in one.rows)]
            statics = [row for row in one.rows if row["contender"].startswith(("static", "baseline"))]
            only = Judged(one.label, tuple(statics), one.all)
            found.append(_several(f"channel-static-{key}", f"Static scaling: {one.label}", only, views, STATIC))
    for each in followed:
        view = View(f"channel-follows-{file_name(each.label)}", "all", _of(following, each, PAGE), _of(following, each))
        found.append(Figure(view.key, f"Does rank follow accuracy? {each.label}", (view,), FOLLOWS))
    return found


def _of(draw: Callable[..., Any], *words: Any) -> Callable[[], Any]:
    return lambda: draw(*words)


def _chosen(key: str, title: str, found: Sequence[Searched], draw: Callable[..., Any], meaning: str) -> Figure:
    labels = tuple(one.label for one in found)
    files = [View(f"{key}-{file_name(one.label)}", one.label, None, _of(draw, [one])) for one in found]
    views = (View(key, "all", _of(draw, found, PAGE), None), *files)
    return Figure(key, title, views, meaning, (Control(SOLE, "search", labels, labels[0]),))


def _several(key: str, title: str, one: Judged, views: Sequence[tuple[str, str, str]], meaning: str) -> Figure:
    made = [View(name, f"by {what}", _of(compared, one, x, PAGE), _of(compared, one, x)) for name, what, x in views]
    return Figure(key, title, tuple(made), meaning)


# --- what lies under a folder ---


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None


def _searched(out: Path) -> Iterator[Searched]:
    seen: set[str] = set()
    for path in sorted((out / "channels").glob("*/search.json")):
        try:
            said = _read(path)
            trials = [_read(one) for one in sorted((path.parent / "trials").glob("*.json"))]
            label = f"{said['network']}, {said['dataset']}, delta {said['delta']:g}, seed {said['seed']}"
            label = label if label not in seen else f"{label}, {said['recipe_hash']}"
            for trial in trials:
                _ = trial["curves"]["sides"], trial["convolutions"], trial["widths"], trial["decisions"]
        except (TypeError, KeyError, ValueError):
            continue
        if trials:
            seen.add(label)
            yield Searched(label, tuple(trials))


def _judged(out: Path) -> Iterator[Judged]:
    for path in sorted((out / "channels" / "evaluations").glob("*/judged-*.json")):
        try:
            said = _read(path)
            rows = tuple(said["rows"])
            for row in rows:
                _ = row["contender"], row["parameters"][0], row["macs"][0], row["accuracy"]["mean"]
            label = f"{said['network']}, {said['dataset']}, {path.stem.removeprefix('judged-')}"
            yield Judged(label, rows, tuple(row["contender"] for row in rows))
        except (TypeError, KeyError, IndexError):
            continue


def _followed(out: Path) -> Iterator[Followed]:
    from scipy.stats import kendalltau, spearmanr

    from benchmark.spaces import costs
    from benchmark.spaces.space import load_space

    for folder in sorted((out / "ledgers").glob("*")):
        try:
            records = [_read(path) for path in sorted((folder / "records").glob("*.json"))]
            records = [record for record in records if "rank" in record["curves"]]
            by: dict[str, list[Any]] = {}
            for record in records:
                by.setdefault(record["config"], []).append(record)
            if len(by) < 3:  # no order to speak of
                continue
            space = load_space(records[0]["space"])
            accuracy = [_mean([r["test_accuracy"] for r in mine]) for mine in by.values()]
            epochs = min(len(record["curves"]["rank"]) for record in records)
            macs = [costs.path_macs(space, space.architecture(config).path) for config in by]
            values = []
            for name, measured in (("tau", kendalltau), ("Spearman", spearmanr)):
                for epoch in range(epochs):
                    rank = [_mean([r["curves"]["rank"][epoch] for r in mine]) for mine in by.values()]
                    for of, order in ((RANK, rank), (MACS, macs)):
                        if min(len({*order}), len({*accuracy})) > 1:  # all alike are in no order
                            values.append((name, epoch + 1, of, float(measured(order, accuracy)[0])))
        except (TypeError, KeyError, ValueError, IndexError):
            continue
        if values:
            yield Followed(folder.name, len(by), tuple(values))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


# --- charts ---


def _one_of(chart: Any, found: Sequence[Searched], width: Any, height: int) -> Any:
    import altair as alt

    chosen = chart.transform_filter(f"datum.search == {SOLE}").add_params(alt.param(name=SOLE, value=found[0].label))
    return charts._sized(chosen, width, height)


def _whole(rows: Sequence[Mapping[str, Any]], key: str) -> Any:
    """An axis of numbers that are counted."""
    import altair as alt

    last = max((row[key] for row in rows), default=1)
    return alt.Axis(values=list(range(1, last + 1, -(-last // 12))), format="d")


def ranks(found: Sequence[Searched], width: Any = 520) -> Any:
    """Mean rank of both sides of every convolution after each epoch of the last trial."""
    import altair as alt

    rows = [
        {"search": one.label, "convolution": name, "depth": depth, "epoch": epoch, "rank": _mean([side[0] for side in epoch_sides[depth]])}
        for one in found
        for depth, name in enumerate(one.trials[-1]["convolutions"])
        for epoch, epoch_sides in enumerate(one.trials[-1]["curves"]["sides"], 1)
    ]  # fmt: skip
    chart = alt.Chart(charts._data(rows)).mark_line(strokeWidth=1.6, point=True)
    made = chart.encode(
        x=alt.X("epoch:Q", title="epoch of the last trial", axis=_whole(rows, "epoch")).scale(nice=False),
        y=alt.Y("rank:Q", title="rank of the convolution, mean of both sides"),
        color=alt.Color("depth:Q", title="depth in the network").scale(scheme=charts.GROUND),
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
    chart = alt.Chart(charts._data(rows)).mark_circle(size=55, opacity=0.8)
    made = chart.encode(
        x=alt.X("width:Q", title="width, channels").scale(zero=False, padding=10),
        y=alt.Y("slope:Q", title="slope S of the mean rank"),
        color=alt.Color("trial:Q", title="trial").scale(scheme=charts.GROUND),
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
    chart = alt.Chart(charts._data(rows)).mark_line(strokeWidth=1.6, point=True)
    made = chart.encode(
        x=alt.X("trial:Q", title="trial", axis=_whole(rows, "trial")).scale(nice=False),
        y=alt.Y("width:Q", title="width, channels").scale(zero=False),
        color=alt.Color("depth:Q", title="depth in the network").scale(scheme=charts.GROUND),
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
        cost = _mean(spent) if isinstance(spent, list) else spent
        mean, low, high = (row["accuracy"][key] for key in ("mean", "low", "high"))
        rows.append({"label": row["contender"], "cost": cost / unit, "mean": mean, "low": low, "high": high})
    accuracy = alt.Y("mean:Q", title="test accuracy, %").scale(zero=False, padding=12)
    base = alt.Chart(charts._data(rows)).encode(x=alt.X("cost:Q", title=title).scale(zero=False, padding=14))
    mine = {row["label"] for row in rows}
    colours = charts._colour({name: style for name, style in styles(one.all).items() if name in mine})
    bars = base.mark_rule(color=NEUTRAL, opacity=0.6).encode(
        y=alt.Y("low:Q", title="test accuracy, %").scale(zero=False), y2="high:Q"
    )
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(
        y=accuracy, tooltip=["label:N", "cost:Q", "mean:Q", "low:Q", "high:Q"], **colours
    )
    return charts._sized(alt.layer(bars, dots), width, 320)


def following(one: Followed, width: Any = 520) -> Any:
    """tau and Spearman of mean rank with final accuracy after each epoch; dashed: of counting MACs."""
    import altair as alt

    rows = [{"measure": m, "epoch": e, "of": of, "value": value} for m, e, of, value in one.values]
    base = alt.Chart(charts._data(rows)).encode(
        x=alt.X("epoch:Q", title="epoch", axis=_whole(rows, "epoch")).scale(nice=False),
        y=alt.Y("value:Q", title=f"with final accuracy, {one.configurations} configurations"),
        color=alt.Color("measure:N", title=None, legend=alt.Legend(orient="bottom")),
        tooltip=["measure:N", "of:N", "epoch:Q", "value:Q"],
    )
    # Said which is dashed, or the order of the names would say it.
    dash = alt.StrokeDash("of:N", title=None, legend=alt.Legend(orient="bottom", symbolSize=400))
    lines = base.mark_line(strokeWidth=1.8).encode(strokeDash=dash.scale(domain=[RANK, MACS], range=[[1, 0], [5, 4]]))
    made = alt.layer(lines, base.mark_point(filled=True, opacity=1))  # apart, or the legend of dashes would show dots
    return charts._sized(made, width, 300)


RANKS = (
    "The rank of a convolution is the share of its weights' directions that stand out from noise. Before training it is 0; "
    "it rises as the layer learns. Dark lines are layers near the image, bright ones near the logits. A layer that rises "
    "fast makes use of its channels, one that stays low has more of them than it needs, or has not been trained for long "
    "enough to tell."
)
SLOPES = (
    "Each dot is one width in one trial: how many channels it had, and how fast the rank of the convolutions around it rose. "
    "The search widens what lies above delta and narrows what lies below. Were slope a matter of width alone, all dots "
    "would lie on one curve."
)
WIDTHS = (
    "Each line is one width of the network, from trial to trial. A line that goes up and down in ever smaller steps has "
    "been turned around again and again, and will soon be frozen; one at the lower or upper edge is held by a bound."
)
COMPARED = (
    "Each mark is one way to choose widths, trained from scratch; the bar is its 95 % interval over seeds. Compare what the "
    "search found with the marks right above or below it, which have as many parameters: scaling every width alike, and "
    "widths at random. If those reach as high, the search has found a size, and not a shape."
)
STATIC = (
    "The baseline, trained as it comes, says how much of each width it uses; static scaling cuts the rest away, a share at "
    "a time. Marks to the left are smaller networks. As long as they do not sink, what was cut was not needed."
)
FOLLOWS = (
    "After each epoch the networks of the table are ordered by the mean rank of their convolutions, and that order is held "
    "against their final accuracies: 1 is the same order, 0 a shuffle. The dashed lines are what counting "
    "multiply-accumulates gives, for nothing. Below them, rank tells less than size."
)
