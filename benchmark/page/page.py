"""The page: one HTML file that needs no network, from the records and the figures. Jinja escapes every name in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from benchmark.output import printable
from benchmark.page import drawings, figures, styles
from benchmark.page.explored import Explored
from benchmark.page.leaderboard import Board, Standing, Verdict
from benchmark.page.pairs import Pair
from benchmark.page.papers import ABSENT, PaperTable

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Chapter:
    """One table with all that is about it; board is None where nothing can be held against it, for that reason."""

    table: Explored
    board: Board | None
    why: str
    figures: Mapping[str, Sequence[figures.Figure]] = field(default_factory=dict)


@dataclass(frozen=True)
class Page:
    """All that the page shows. left_out: a line for each file that is not on it."""

    chapters: Sequence[Chapter]
    pairs: Sequence[tuple[Pair, figures.Figure]]
    histories: Sequence[figures.Figure]
    studies: Sequence[figures.Figure]
    papers: Sequence[PaperTable]
    styles: Mapping[str, styles.Style]
    counts: tuple[int, int]
    left_out: Sequence[str]


def html(page: Page) -> str:
    """The whole file as text, of ASCII where scripts and data are concerned."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"number": _number, "hours": _hours, "plain": lambda text: printable(str(text))}
    everywhere = [*page.histories, *page.studies, *(figure for _, figure in page.pairs)]
    everywhere += [one for chapter in page.chapters for group in chapter.figures.values() for one in group]
    data = _data(page, everywhere)
    return environment.get_template("page.html").render(
        page=page,
        rows={chapter.table.name: _rows(chapter, page.styles) for chapter in page.chapters if chapter.board},
        axes={chapter.table.name: drawings.axis(chapter.board) for chapter in page.chapters if chapter.board},
        symbols=_symbols(page),
        meaning=figures.LEADERBOARD,
        absent=ABSENT,
        data=_script(data),
        css=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        runtime=runtime(),
        code=(TEMPLATES / "page.js").read_text(encoding="utf-8"),
    )


@cache
def runtime() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that may stand within a page."""
    import vl_convert

    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return bundle.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _script(data: Any) -> str:
    """JSON that may stand within a script: no character of it can end the script or begin a tag."""
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _data(page: Page, everywhere: Iterable[figures.Figure]) -> dict[str, Any]:
    """What the scripts read: the charts, their data once each, verdicts, and tables to be explored."""
    pool: dict[str, Any] = {}
    specs = {
        view.key: _pooled(view.page().to_dict(validate=False), pool)
        for figure in everywhere
        for view in figure.views
        if view.page is not None
    }
    return {
        "config": styles.PAGE,
        "pool": pool,
        "charts": specs,
        "verdicts": {
            chapter.table.name: _verdicts(chapter.board.verdicts) for chapter in page.chapters if chapter.board
        },
        "tables": {chapter.table.name: _explored(chapter.table) for chapter in page.chapters},
    }


def _pooled(spec: dict[str, Any], pool: dict[str, Any]) -> dict[str, Any]:
    """A chart without its data, which goes to the pool by its content: charts of one figure share it."""
    names: set[str] = set()

    def named(part: Any) -> Any:
        if isinstance(part, list):
            return [named(value) for value in part]
        if not isinstance(part, dict):
            return part
        rows = part.get("values") if set(part) == {"values"} else None
        if isinstance(rows, list) and all(isinstance(row, dict) for row in rows):  # else the values of an axis
            packed = _columns(rows)
            key = hashlib.sha256(json.dumps(packed).encode()).hexdigest()[:10]
            pool[key] = packed
            names.add(key)
            return {"name": key}
        return {key: named(value) for key, value in part.items()}

    return named(spec) | {"pools": sorted(names)}


def _columns(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Rows column by column, with null for what one lacks; texts that come again stand once: {"of": [texts], "at": [places]}."""
    columns: dict[str, Any] = {}
    for key in dict.fromkeys(key for row in rows for key in row):
        values = [row.get(key) for row in rows]
        if (
            values
            and all(isinstance(value, str) for value in values)
            and len(kinds := list(dict.fromkeys(values))) < len(values)
        ):
            places = {text: place for place, text in enumerate(kinds)}
            columns[key] = {"of": kinds, "at": [places[value] for value in values]}
        else:
            columns[key] = values
    return columns


def _verdicts(found: Sequence[Verdict]) -> dict[str, Any]:
    """Names once each, and a short row per verdict: there are 45,000 of 300 methods."""
    names = list(dict.fromkeys(name for v in found for name in (v.one, v.other)))
    place = {name: at for at, name in enumerate(names)}
    rows = [
        [place[v.one], place[v.other], *(round(x, 4) for x in (v.difference, *v.interval)), v.word, v.adjusted]
        for v in found
    ]
    return {"names": names, "rows": rows}


def _explored(table: Explored) -> dict[str, Any]:
    return {
        "of": table.of,
        "dataset": table.dataset,
        "link": table.link,
        "sizes": table.sizes,
        "configurations": [
            {
                "config": one.config,
                "number": one.number,
                "layers": one.layers,
                "symbol": drawings.symbol_id(one.path),
                "width": len(one.path),
                "megamacs": one.megamacs,
                "mean": one.mean,
                "std": one.std,
                "n": one.n,
                "rank": one.rank,
                "worse": one.worse,
                "trainings": [
                    [run.seed, run.accuracy, run.link, run.device, run.seconds, run.commit] for run in one.trainings
                ],
            }
            for one in table.configurations
        ],
    }


def _symbols(page: Page) -> list[str]:
    """The drawing of every network that the page shows, once each."""
    paths = {one.path for chapter in page.chapters for one in chapter.table.configurations}
    paths |= {
        pick.path for chapter in page.chapters if chapter.board for row in chapter.board.standings for pick in row.picks
    }
    return [drawings.network(path) for path in sorted(paths)]


@dataclass(frozen=True)
class Cells:
    """A row of the leaderboard as it is shown: drawings, and each pick once with how many seeds share it."""

    row: Standing
    marker: str
    forest: str
    picks: Sequence[tuple[str, str, int, int]]
    accuracy: float | None
    rank: float | None


def _rows(chapter: Chapter, named: Mapping[str, styles.Style]) -> list[Cells]:
    board = chapter.board
    assert board is not None
    found = []
    for row in board.standings:
        picks: dict[str, tuple[str, int, int]] = {}
        for pick in row.picks:
            symbol, width, count = picks.get(pick.text, (drawings.symbol_id(pick.path), len(pick.path), 0))
            picks[pick.text] = (symbol, width, count + 1)
        style = named[row.label]
        found.append(
            Cells(
                row,
                drawings.marker(style),
                drawings.tau(row, board, style),
                [(text, *rest) for text, rest in picks.items()],
                _mean([pick.accuracy for pick in row.picks]),
                _mean([pick.rank for pick in row.picks]),
            )
        )
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    """None if any is."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def _number(value: float | None, decimals: int = 3) -> str:
    """A number with a true minus sign, or a dash."""
    return "–" if value is None else f"{value:.{decimals}f}".replace("-", "−")


def _hours(seconds: float | None) -> str:
    return "–" if seconds is None else f"{seconds / 3600:.2f}"
