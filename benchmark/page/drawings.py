"""Small pictures within a table's cell, as SVG: where a network pools, a tau with its interval, a method's marker.

They take their ink from the text around (`currentColor`) and hold nothing that a user names.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmark.page.leaderboard import Board, Standing
from benchmark.page.styles import STAGES, Style

STEP, TALL = 7, 24  # pixels of a layer, and of a layer at full resolution


def symbol_id(path: Sequence[int]) -> str:
    """The name of a path's drawing on the page."""
    return "p" + "-".join(map(str, path))


def network(path: Sequence[int]) -> str:
    """A `<symbol>`: a bar a layer, (L,) resolution indices; half as high is half as many pixels a side."""
    bars = []
    for layer, r in enumerate(path):
        height = TALL / 2**r
        colour = STAGES[min(r, len(STAGES) - 1)]
        bars.append(
            f'<rect x="{layer * STEP + 1}" y="{(TALL - height) / 2:g}" width="{STEP - 2}" height="{height:g}" fill="{colour}"/>'
        )
    return f'<symbol id="{symbol_id(path)}" viewBox="0 0 {len(path) * STEP} {TALL}">{"".join(bars)}</symbol>'


def marker(style: Style) -> str:
    return (
        '<svg class="marker" viewBox="-1.2 -1.2 2.4 2.4" width="14" height="14" aria-hidden="true">'
        f'<path d="{style.marker}" fill="{style.colour}"/></svg>'
    )


def reach(board: Board) -> tuple[float, float]:
    """The lowest and the highest tau that the cells of a leaderboard show; all have one axis."""
    numbers = [0.0, 1.0]
    for row in board.standings:
        numbers += [*row.taus, *(row.interval or ())]
    return min(numbers) - 0.03, max(numbers) + 0.03


def tau(row: Standing, board: Board, style: Style, width: int = 230, height: int = 22) -> str:
    """A row of the forest: interval as a bar, seeds as dots, tau as the method's marker; MACs and ceiling as lines."""
    low, high = reach(board)

    def x(value: float) -> str:
        return f"{(value - low) / (high - low) * width:.1f}"

    middle = height / 2
    parts = [f'<line x1="{x(0)}" x2="{x(0)}" y1="0" y2="{height}" class="zero"/>']
    if board.macs is not None:
        parts.append(f'<line x1="{x(board.macs)}" x2="{x(board.macs)}" y1="0" y2="{height}" class="macs"/>')
    if board.ceiling is not None:
        at = x(board.ceiling.mean)
        parts.append(f'<line x1="{at}" x2="{at}" y1="0" y2="{height}" class="ceiling"/>')
    if row.interval is not None:
        one, other = map(x, row.interval)
        parts.append(
            f'<line x1="{one}" x2="{other}" y1="{middle}" y2="{middle}" stroke="{style.colour}" class="interval"/>'
        )
    if len(row.taus) > 1:
        parts += [f'<circle cx="{x(value)}" cy="{middle}" r="2.2" class="seed"/>' for value in row.taus]
    parts.append(
        f'<path transform="translate({x(row.tau)} {middle}) scale(5.5)" d="{style.marker}" fill="{style.colour}"/>'
    )
    return f'<svg class="forest" viewBox="0 0 {width} {height}" width="{width}" height="{height}" aria-hidden="true">{"".join(parts)}</svg>'


def axis(board: Board, width: int = 230) -> str:
    """The axis above the forest."""
    low, high = reach(board)
    ticks = [tenth / 10 for tenth in range(-10, 11, 5) if low <= tenth / 10 <= high]
    texts = [
        f'<text x="{(value - low) / (high - low) * width:.1f}" y="10" text-anchor="middle">{value:g}</text>'
        for value in ticks
    ]
    return f'<svg class="axis" viewBox="0 0 {width} 12" width="{width}" height="12" aria-hidden="true">{"".join(texts)}</svg>'
