"""One colour and marker per method in every figure, and what figures look like on the page and in a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

# Okabe and Ito (2008), which colour-blind eyes tell apart, without black and yellow, which one of two grounds swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8C8C8C", "#8F6BD6")
# SVG paths within -1 and 1, as Vega takes them, so that a legend in HTML and a chart draw the same.
MARKERS = (
    "M0.8,0A0.8,0.8,0,1,1,-0.8,0A0.8,0.8,0,1,1,0.8,0Z",  # circle
    "M-0.7,-0.7L0.7,-0.7L0.7,0.7L-0.7,0.7Z",  # square
    "M0,-1L0.8,0L0,1L-0.8,0Z",  # diamond
    "M0,-0.85L0.95,0.75L-0.95,0.75Z",  # triangle, up
    "M-0.3,-0.9L0.3,-0.9L0.3,-0.3L0.9,-0.3L0.9,0.3L0.3,0.3L0.3,0.9L-0.3,0.9L-0.3,0.3L-0.9,0.3L-0.9,-0.3L-0.3,-0.3Z",  # cross
    "M0,0.85L0.95,-0.75L-0.95,-0.75Z",  # triangle, down
    "M0,-1L0.24,-0.32L0.95,-0.31L0.38,0.12L0.59,0.81L0,0.4L-0.59,0.81L-0.38,0.12L-0.95,-0.31L-0.24,-0.32Z",  # star
    "M0.85,0L-0.75,0.95L-0.75,-0.95Z",  # triangle, right
    "M0,-0.9L0.78,-0.45L0.78,0.45L0,0.9L-0.78,0.45L-0.78,-0.45Z",  # hexagon
    "M-0.85,0L0.75,-0.95L0.75,0.95Z",  # triangle, left
    "M-0.8,-0.8L0.8,-0.8L-0.8,0.8L0.8,0.8Z",  # hourglass
    "M-0.95,-0.4L0.95,-0.4L0.95,0.4L-0.95,0.4Z",  # bar
    "M-0.8,-0.8L-0.8,0.8L0.8,-0.8L0.8,0.8Z",  # bow
)
ACCENT = "#D55E00"  # what is chosen
NEUTRAL = "#808080"  # what is no method: the ceiling, counting MACs, all others
STAGES = ("#0072B2", "#009E73", "#E69F00", "#CC79A7")  # resolutions, the full one first


@dataclass(frozen=True)
class Style:
    colour: str
    marker: str


def styles(labels: Iterable[str]) -> dict[str, Style]:
    """One per name, in the order of names; the markers change where colours have to come again, so that the first 104
    differ."""
    size = len(COLOURS)
    return {
        name: Style(COLOURS[i % size], MARKERS[(i + i // size) % len(MARKERS)])
        for i, name in enumerate(sorted(set(labels)))
    }


def theme(ink: str, ground: str | None) -> dict[str, Any]:
    """Vega-Lite's configuration. ink: of text and lines; "currentColor" is that of the page around, dark or light."""
    font = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
    axis = {
        "labelColor": ink,
        "titleColor": ink,
        "domainColor": ink,
        "tickColor": ink,
        "gridColor": ink,
        "domainOpacity": 0.5,
        "tickOpacity": 0.5,
        "gridOpacity": 0.12,
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
    }
    return {
        "background": ground,
        "font": font,
        "axis": axis,
        "legend": {
            "labelColor": ink,
            "titleColor": ink,
            "titleFontWeight": "normal",
            "titleLimit": 320,
            "labelLimit": 340,
            "symbolLimit": 0,
            "symbolOpacity": 1,
            "labelFontSize": 11,
        },
        "header": {
            "labelColor": ink,
            "titleColor": ink,
            "labelFontSize": 11,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
        },
        "title": {"color": ink, "fontSize": 13, "anchor": "start", "subtitleColor": ink},
        "text": {"color": ink},
        "view": {"stroke": ink, "strokeOpacity": 0.2},
    }


PAGE = theme("currentColor", None)
FILE = theme("#222222", "white")
