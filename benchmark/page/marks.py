"""What charts are made of: their data, size, colours and lines of reference. altair loads when one is made.

width: in pixels, or "container" for a chart that takes the width of the page around it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmark.page.styles import NEUTRAL, Style

Width = int | str
SIDES = {"container": {"type": "fit-x", "contains": "padding"}}
GROUND = {"name": "viridis", "extent": [0.2, 0.95]}  # light enough for a dark page, dark enough for a light one
MOST_NAMED = 60  # configurations, beyond which their names would cover each other


def data(rows: Iterable[Mapping[str, Any]]) -> Any:
    """The rows as they stand in a chart. They are not held against Vega-Lite's schema: that takes minutes for a hundred
    thousand, and any row would do."""
    import altair as alt
    from altair.utils.schemapi import debug_mode

    with debug_mode(False):
        return alt.Data(values=[{key: tidy(value) for key, value in row.items()} for row in rows])


def tidy(value: Any) -> Any:
    """A number with six digits, which is more than a chart shows; anything else as it is."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def sized(chart: Any, width: Width, height: int) -> Any:
    """The chart in pixels, or as wide as the page around it."""
    made = chart.properties(width=width, height=height)
    return made.properties(autosize=SIDES["container"]) if width == "container" else made


def colours_of(styles: Mapping[str, Style], shown: bool = True) -> dict[str, Any]:
    """Colour and marker of the field `label`, with one legend."""
    import altair as alt

    names = list(styles)
    legend = alt.Legend(title=None, orient="bottom", columns=2) if shown else None
    return {
        "color": alt.Color("label:N", legend=legend).scale(domain=names, range=[s.colour for s in styles.values()]),
        "shape": alt.Shape("label:N", legend=legend).scale(domain=names, range=[s.marker for s in styles.values()]),
    }


def line(value: float, name: str, dash: Sequence[int], vertical: bool) -> Any:
    """A line of reference through the chart, named at its end."""
    import altair as alt

    base = alt.Chart(data([{"at": value, "name": name}]))
    at = {"x": alt.X("at:Q")} if vertical else {"y": alt.Y("at:Q")}
    rule = base.mark_rule(strokeDash=list(dash), color=NEUTRAL, strokeWidth=1.5).encode(
        **at, tooltip=["name:N", "at:Q"]
    )
    place = {"y": alt.value(0)} if vertical else {"x": alt.value(0)}
    style = {"baseline": "bottom", "align": "center", "dy": -3} if vertical else {"align": "left", "dx": 3, "dy": -6}
    return rule + base.mark_text(fontSize=10, **style).encode(**at, **place, text="name:N")


def run_name(label: str, seed: str) -> str:
    """One search among several in a chart."""
    return f"{label}, seed {seed}"
