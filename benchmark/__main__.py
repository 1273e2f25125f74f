"""`python -m benchmark`: the commands, a line each."""

import ast
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmark.cli import answer, command
from benchmark.errors import UsageError, choices

COMMANDS = ("build_groundtruth", "evaluate", "compare", "verify", "report", "datasets", "datasets.ffcv")


def about(name: str) -> str:
    """The first line of what a command says of itself, read without importing it."""
    path = Path(__file__).parent.joinpath(*name.split("."))
    source = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] not in ("-h", "--help"):
        if words[0] in COMMANDS:
            raise UsageError(f"a point comes before a command's name: python -m benchmark.{words[0]}")
        raise UsageError(f"no command '{words[0]}': {choices(words[0], COMMANDS)}, as in python -m benchmark.evaluate")
    width = max(map(len, COMMANDS))
    answer(*(f"python -m benchmark.{name:{width}}  {about(name)}" for name in COMMANDS))
    answer("", "Each of them explains itself with --help.")
    return 0


if __name__ == "__main__":
    command(main)
