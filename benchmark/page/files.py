"""Figures and tables as files: SVG, PNG and PDF by stable names; CSV, Markdown and LaTeX (booktabs)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.output import printable
from benchmark.page import styles
from benchmark.page.explored import Explored
from benchmark.page.figures import Figure, file_name
from benchmark.page.leaderboard import Board
from benchmark.page.papers import PaperTable
from benchmark.running.files import write_atomically

FORMATS = ("svg", "png", "pdf")
SCALE = 2.0  # pixels of a PNG for each pixel of the figure


@dataclass(frozen=True)
class Sheet:
    """A table of texts and numbers as it goes to files; None is an empty cell."""

    key: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float | int | None, ...], ...]


def draw(figures: Iterable[Figure], folder: Path, formats: Sequence[str]) -> Iterator[Path]:
    """Writes each figure's charts into a folder, which is made if needed; the paths, one by one."""
    import vl_convert

    folder.mkdir(parents=True, exist_ok=True)
    made = {"png": lambda svg: vl_convert.svg_to_png(svg, scale=SCALE), "pdf": vl_convert.svg_to_pdf, "svg": str.encode}
    for figure in figures:
        for view in figure.views:
            if view.file is None or not formats:
                continue
            spec = view.file().to_dict(validate=False) | {"config": styles.FILE}
            svg = vl_convert.vegalite_to_svg(spec)
            for form in formats:
                write_atomically(folder / f"{view.key}.{form}", made[form](svg))
                yield folder / f"{view.key}.{form}"


def sheets(tables: Sequence[Explored], boards: Sequence[Board], papers: Sequence[PaperTable]) -> list[Sheet]:
    """Every table of numbers that the page shows."""
    found = []
    for board in boards:
        name = file_name(board.title)
        found.append(_standings(f"leaderboard-{name}", board))
        if board.verdicts:
            found.append(
                Sheet(
                    f"verdicts-{name}",
                    f"Paired verdicts against {board.title}: tau of the first - tau of the second, 95 %",
                    ("method", "beside", "difference", "low", "high", "verdict", "adjusted (Holm)"),
                    tuple((v.one, v.other, v.difference, *v.interval, v.word, v.adjusted) for v in board.verdicts),
                )
            )
        if board.spent:
            found.append(
                Sheet(
                    f"budget-{name}",
                    f"tau against {board.title} and regret after each epoch of every search",
                    ("method", "seed", "epoch", "images", "seconds", "tau", "regret"),
                    tuple((s.label, s.seed, s.epoch, s.images, s.seconds, s.tau, s.regret) for s in board.spent),
                )
            )
    for table in tables:
        found.append(
            Sheet(
                f"configurations-{file_name(table.title)}",
                f"{table.title}: test accuracy on {table.dataset}",
                ("number", "config", "mean", "std", "n", "rank", "MACs (millions)"),
                tuple((c.number, c.config, c.mean, c.std, c.n, c.rank, c.megamacs) for c in table.configurations),
            )
        )
    found += [
        Sheet(paper.key, paper.title, paper.columns, tuple(tuple(cell.text for cell in row) for row in paper.rows))
        for paper in papers
    ]
    return found


def _standings(key: str, board: Board) -> Sheet:
    rows = [
        (
            row.label,
            len(row.seeds) or None,
            row.tau,
            *(row.interval or (None, None)),
            row.given_macs,
            "; ".join(dict.fromkeys(pick.text for pick in row.picks)),
            "; ".join(dict.fromkeys("outside" if p.accuracy is None else f"{p.accuracy:.2f}" for p in row.picks)),
            row.regret,
            row.top5,
            None if row.seconds is None else row.seconds / 3600,
            row.recipe,
        )
        for row in board.standings
    ]
    columns = (
        "method",
        "n",
        "tau-b",
        "low",
        "high",
        "given MACs",
        "pick",
        "accuracy",
        "regret",
        "top 5",
        "hours",
        "recipe",
    )
    return Sheet(key, f"Methods against {board.title}", columns, tuple(rows))


def write(found: Iterable[Sheet], folder: Path) -> Iterator[Path]:
    """Writes each sheet as CSV with all digits, as Markdown and as LaTeX rounded; the paths, one by one."""
    folder.mkdir(parents=True, exist_ok=True)
    for sheet in found:
        for form, text in (("csv", as_csv(sheet)), ("md", as_markdown(sheet)), ("tex", as_latex(sheet))):
            write_atomically(folder / f"{sheet.key}.{form}", text.encode("utf-8", "backslashreplace"))
            yield folder / f"{sheet.key}.{form}"


def as_csv(sheet: Sheet) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows([sheet.columns, *sheet.rows])
    return out.getvalue()


def as_markdown(sheet: Sheet) -> str:
    lines = [sheet.columns, ["---"] * len(sheet.columns), *([_rounded(cell) for cell in row] for row in sheet.rows)]
    body = "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
    return f"{sheet.title}\n\n{body}\n"


_SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "–": "--", "…": r"\ldots{}", "×": r"$\times$",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
}  # fmt: skip


def as_latex(sheet: Sheet) -> str:
    """A `tabular` with booktabs' rules: \\usepackage{booktabs}. Numbers stand at the right."""
    number = [all(isinstance(row[at], float | int | None) for row in sheet.rows) for at in range(len(sheet.columns))]
    lines = [
        f"% {_latin(sheet.title)}",
        rf"\begin{{tabular}}{{{''.join('r' if is_number else 'l' for is_number in number)}}}",
    ]
    lines += [r"\toprule", " & ".join(map(_latex, sheet.columns)) + r" \\", r"\midrule"]
    # A row must not begin with [, which would be an argument of the line break before it.
    lines += [" & ".join(f"{{}}{_latex(cell)}" if at == 0 else _latex(cell) for at, cell in enumerate(map(_rounded, row))) + r" \\" for row in sheet.rows]  # fmt: skip
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _latex(text: str) -> str:
    return "".join(_SPECIAL.get(letter, letter) for letter in text)


def _latin(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def _rounded(cell: str | float | int | None) -> str:
    if cell is None:
        return ""
    text = f"{cell:.3f}" if isinstance(cell, float) else str(cell)
    return " ".join(printable(text).split())
