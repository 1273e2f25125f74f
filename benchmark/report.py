"""Writes what lies under an output folder as one page that people look at, and its figures and tables as files.

    python -m benchmark.report                       # reads ./results, writes ./results/report/index.html
    python -m benchmark.report --formats svg         # figures as SVG alone; without a format, none

The page needs no network: methods against each table as a leaderboard, with a verdict for any two; every table to be
explored; methods against the truth and against their budget; two tables beside each other; what searches did; the papers'
tables beside ours. A method has the same colour and marker in all figures. A ranking is set beside every complete table
that was made on the data it saw. A file that cannot be read is named and left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmark import cli
from benchmark.errors import UsageError
from benchmark.files import write_atomically
from benchmark.page import (
    channel_figures,
    explored,
    figures,
    files,
    histories,
    kept,
    leaderboard,
    page,
    pairs,
    papers,
    studies,
    styles,
)


def arguments() -> cli.Parser:
    parser = cli.Parser(prog="python -m benchmark.report", description=__doc__)
    parser.add_argument(
        "--out", type=cli.folder, default="results", metavar="DIR", help="where results lie (default ./results)"
    )
    parser.add_argument(
        "--formats",
        nargs="*",
        default=list(files.FORMATS),
        choices=files.FORMATS,
        metavar="FORMAT",
        help=f"of the figures' files: {' '.join(files.FORMATS)} (default: all)",
    )
    parser.add_argument("--json", action="store_true", help="print what was written as one JSON object")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments().parse(argv)
    out = Path(options.out)
    if not out.is_dir():
        raise UsageError(f"--out {out} is no folder: give the one that build_groundtruth and evaluate wrote to")
    require_charts()
    folder = out / "report"
    folder.mkdir(exist_ok=True)
    found = kept.read(out, folder, offered())
    labels = leaderboard.labels_of(found.rankings)
    told = histories.histories_of(found.rankings, labels)
    beside = studies.studies_of(out, folder, told.mixing)
    left_out = [*found.left_out, *told.left_out, *beside.left_out]

    boards, why = _boards(found, labels)
    named = styles.styles([*labels.values(), *(row.label for board in boards.values() for row in board.standings)])
    tables = [explored.explore(one, out, folder) for one in found.tables]
    chapters = [_chapter(table, boards.get(table.name), why.get(table.name, ""), named) for table in tables]
    both = pairs.pairs_of(found.tables)
    paper = papers.papers_of(found, boards.get("published"), beside)
    shown = page.Page(
        chapters=chapters,
        pairs=list(zip(both, figures.pairs(both), strict=True)),
        histories=[*figures.histories(told), *channel_figures.figures_of(out)],
        studies=figures.studies(beside),
        papers=paper,
        styles=named,
        counts=(len(tables), len(found.rankings)),
        left_out=left_out,
    )
    for line in left_out:
        cli.say(f"left out: {line}")
    target = folder / "index.html"
    write_atomically(target, page.html(shown).encode("utf-8", "backslashreplace"))
    drawn = [one for chapter in chapters for group in chapter.figures.values() for one in group]
    drawn += [figures.leaderboard(board, named) for board in boards.values()]
    drawn += [*(figure for _, figure in shown.pairs), *shown.histories, *shown.studies]
    sheets = files.sheets(tables, list(boards.values()), paper)
    written = {
        "tables": sorted(map(str, files.write(sheets, folder / "tables"))),
        "figures": sorted(map(str, _drawn(drawn, folder / "figures", options.formats))),
    }
    if options.json:
        cli.print_json({"page": str(target), **written, "left_out": left_out})
    else:
        counts = (len(tables), "table"), (len(found.rankings), "ranking")
        count = ", ".join(f"{number} {noun}{'s' * (number != 1)}" for number, noun in counts)
        cli.answer(f"report: {target} ({count}); {len(written['figures'])} figures and {len(written['tables'])} tables beside it")  # fmt: skip
    return 0


def require_charts() -> None:
    """Raises UsageError where what draws is not installed."""
    try:
        import altair  # noqa: F401
        import jinja2  # noqa: F401
        import vl_convert  # noqa: F401
    except ImportError as error:
        raise UsageError(f"the report needs {error.name}: pip install 'nas-bench-pooling[report]'") from None


def offered() -> list[kept.Offered]:
    """Every variant of the suite's own methods; one that cannot be loaded says so when it is run."""
    import nas_methods

    found = []
    for name in nas_methods.built_in():
        try:
            method = nas_methods.load(name)
            found += [
                kept.Offered(name, variant, vars(method(**variant.options))) for variant in nas_methods.variants(method)
            ]
        except (UsageError, TypeError):
            continue
    return found


def _boards(found: kept.Kept, labels: Mapping[int, str]) -> tuple[dict[str, leaderboard.Board], dict[str, str]]:
    """(the board of each table, why another has none), by the tables' names."""
    from benchmark.running.progress import ProgressLine

    boards: dict[str, leaderboard.Board] = {}
    why: dict[str, str] = {}
    names = [one.table.name for one in found.tables]
    with ProgressLine("scoring", [1.0] * len(names), names) as line:
        for place, one in enumerate(found.tables):

            def progress(fraction: float, place: int = place) -> None:
                line.report(place, {"fraction": fraction})

            try:
                one.table.require_judge()
                boards[one.table.name] = leaderboard.board_of(one, found, labels, progress)
            except UsageError as error:
                why[one.table.name] = f"No method is held against it: {error}"
            progress(1.0)
    return boards, why


def _drawn(drawn: Sequence[figures.Figure], folder: Path, formats: Sequence[str]) -> list[Path]:
    from benchmark.running.progress import ProgressLine

    found: list[Path] = []
    with ProgressLine("drawing", [1.0] * len(drawn), [figure.key for figure in drawn]) as line:
        for place, figure in enumerate(drawn):
            found += files.draw([figure], folder, formats)
            line.report(place, {"fraction": 1.0})
    return found


def _chapter(
    table: explored.Explored, board: leaderboard.Board | None, why: str, named: dict[str, styles.Style]
) -> page.Chapter:
    about = [] if board is None else [*figures.budget(board, named), *figures.truth(board, named, table.sizes)]
    return page.Chapter(table, board, why, {"methods": about, "table": figures.explorer(table)})


if __name__ == "__main__":
    cli.command(main)
