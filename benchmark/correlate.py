"""Says what ranks like what: tau-b between kept rankings, MACs, layers before the first pooling and accuracies.

python -m benchmark.correlate --method zero_cost                  # those in ./results, against `published`
python -m benchmark.correlate --tables published NAME --csv FILE
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark import cli
from benchmark.errors import UsageError
from benchmark.files import write_atomically
from benchmark.scoring.correlations import Correlations, correlations
from benchmark.scoring.ranking import read_ranking
from benchmark.scoring.versus import entrants
from benchmark.tables.files import load_table


def arguments() -> cli.Parser:
    parser = cli.Parser(prog="python -m benchmark.correlate", description=__doc__)
    parser.add_argument(
        "--tables", nargs="+", default=["published"], metavar="T", help="names or paths; default published"
    )
    parser.add_argument("--method", metavar="NAME", help="only rankings of this method")
    parser.add_argument("--out", type=cli.folder, default="results", metavar="DIR", help="where rankings/ lies")
    parser.add_argument("--csv", metavar="FILE", help="also write the matrix there")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    options = arguments().parse(argv)
    tables = [load_table(name) for name in options.tables]
    kept = [read_ranking(path) for path in sorted((Path(options.out) / "rankings").glob("*.json"))]
    rankings = [ranking for ranking in kept if options.method in (None, ranking.method)]
    if not rankings:
        which = f" of method '{options.method}'" if options.method else ""
        raise UsageError(f"{options.out} holds no rankings{which}: make some with benchmark.evaluate, or give --out")
    found = correlations(entrants(rankings, tables[0]), tables)
    if options.json:
        cli.print_json(found.to_dict())
    else:
        cli.answer(text(found))
    if options.csv:
        path = Path(options.csv)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, found.csv().encode())
        cli.say(f"kept: {path}")
    return 0


def text(found: Correlations) -> str:
    """For people: a numbered list of names and the matrix."""
    lines = [f"Kendall tau-b between rankings of {found.space}, averaged over seeds"]
    lines += [f"{number:3} {name}" for number, name in enumerate(found.names, start=1)]
    lines.append(" " * 4 + "".join(f"{number:7}" for number in range(1, len(found.names) + 1)))
    lines += [f"{number:3} " + "".join(f"{tau:7.2f}" for tau in row) for number, row in enumerate(found.taus, start=1)]
    return "\n".join(lines)


if __name__ == "__main__":
    cli.command(main)
