"""Which figures of searches of widths there are, and what each means in plain words, as `figures` says of all others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmark.page import channel_charts
from benchmark.page.channels import Judged, Searched, followings, judgements, searches
from benchmark.page.figures import PAGE, Control, Figure, View, file_name

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


def figures_of(out: Path) -> list[Figure]:
    """All that there are under an output folder. What cannot be read as such is passed over."""
    searched, judged, followed = list(searches(out)), list(judgements(out)), list(followings(out))
    found: list[Figure] = []
    if searched:
        found += [
            _chosen("channel-ranks", "Ranks of convolutions as they train", searched, channel_charts.ranks, RANKS),
            _chosen("channel-slopes", "What the search saw of each width", searched, channel_charts.slopes, SLOPES),
            _chosen("channel-widths", "How widths moved", searched, channel_charts.widths, WIDTHS),
        ]
    for one in judged:
        key = file_name(one.label)
        views = [(f"channel-accuracy-{x}-{key}", channel_charts.X[x][1], x) for x in ("parameters", "macs")]
        found.append(_several(f"channel-accuracy-{key}", f"Widths compared: {one.label}", one, views, COMPARED))
        if any(row["contender"].startswith("static") for row in one.rows):
            views = [
                (f"channel-static-{x}-{key}", channel_charts.X[x][1], x)
                for x in channel_charts.X
                if all(row.get(x) for row in one.rows)
            ]
            statics = [row for row in one.rows if row["contender"].startswith(("static", "baseline"))]
            only = Judged(one.label, tuple(statics), one.all)
            found.append(_several(f"channel-static-{key}", f"Static scaling: {one.label}", only, views, STATIC))
    for each in followed:
        view = View(
            f"channel-follows-{file_name(each.label)}",
            "all",
            _of(channel_charts.following, each, PAGE),
            _of(channel_charts.following, each),
        )
        found.append(Figure(view.key, f"Does rank follow accuracy? {each.label}", (view,), FOLLOWS))
    return found


def _of(draw: Callable[..., Any], *words: Any) -> Callable[[], Any]:
    return lambda: draw(*words)


def _chosen(key: str, title: str, found: Sequence[Searched], draw: Callable[..., Any], meaning: str) -> Figure:
    labels = tuple(one.label for one in found)
    files = [View(f"{key}-{file_name(one.label)}", one.label, None, _of(draw, [one])) for one in found]
    views = (View(key, "all", _of(draw, found, PAGE), None), *files)
    return Figure(key, title, views, meaning, (Control(channel_charts.SOLE, "search", labels, labels[0]),))


def _several(key: str, title: str, one: Judged, views: Sequence[tuple[str, str, str]], meaning: str) -> Figure:
    made = [
        View(name, f"by {what}", _of(channel_charts.compared, one, x, PAGE), _of(channel_charts.compared, one, x))
        for name, what, x in views
    ]
    return Figure(key, title, tuple(made), meaning)
