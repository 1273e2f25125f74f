"""Compares two tables of ground truth: do they rank alike, and are they equal within a margin?

    python -m benchmark.compare published results/tables/NAME.csv
    python -m benchmark.compare A B --margin 0.3 --out results/numerics      # keeps A-vs-B.md and A-vs-B.json

Differences are B - A, in percentage points. Tables may be partial: what both hold is compared.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmark import cli
from benchmark.files import bounded, write_atomically
from benchmark.scoring.comparison import MARGIN, Comparison, compare
from benchmark.scoring.comparison_page import page
from benchmark.tables.files import load_table
from benchmark.tables.table import GroundTruth


def arguments() -> cli.Parser:
    parser = cli.Parser(prog="python -m benchmark.compare", description=__doc__)
    parser.add_argument("a", metavar="A", help="a table's name or path")
    parser.add_argument("b", metavar="B", help="another's")
    parser.add_argument("--margin", type=cli.number, default=MARGIN, metavar="X", help=f"points; default {MARGIN}")
    parser.add_argument("--out", type=cli.folder, metavar="DIR", help="also write A-vs-B.md and A-vs-B.json there")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments().parse(argv)
    tables = load_table(options.a), load_table(options.b)
    result = compare(*tables, margin=options.margin)
    if result.paired is None:
        cli.say(f"Equal within {options.margin:g} points: not asked, for that takes pairs, {_why_unpaired(*tables)}")
    if options.json:
        cli.print_json(result.to_dict())
    else:
        cli.answer(page(result).removesuffix("\n"))
    if options.out:
        cli.say("kept: {} and {}".format(*write(result, options.out)))
    return 0


def _why_unpaired(a: GroundTruth, b: GroundTruth) -> str:
    bare = [table.name for table in (a, b) if not table.seeds]
    if bare:
        return f"and {' and '.join(bare)} states means alone, without the accuracy of each seed"
    return "and no configuration has a seed that is in both tables: train some seeds of one table in the other"


def write(result: Comparison, folder: Path | str) -> tuple[Path, Path]:
    """Writes A-vs-B.md and A-vs-B.json into a folder, which is made if needed; the same bytes for the same tables."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    texts = {".md": page(result), ".json": json.dumps(result.to_dict(), indent=1, allow_nan=False) + "\n"}
    name = bounded(result.name)
    for end, text in texts.items():
        write_atomically(folder / f"{name}{end}", text.encode())
    return folder / f"{name}.md", folder / f"{name}.json"


if __name__ == "__main__":
    cli.command(main)
