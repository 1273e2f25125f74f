"""`python -m benchmark`: the commands, a line each."""

import ast
from pathlib import Path

COMMANDS = (
    "build_groundtruth",
    "evaluate",
    "compare",
    "verify",
    "correlate",
    "simulate",
    "export",
    "report",
    "datasets",
    "datasets.ffcv",
)


def about(name: str) -> str:
    """The first line of what a command says of itself, read without importing it."""
    path = Path(__file__).parent.joinpath(*name.split("."))
    source = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


if __name__ == "__main__":
    width = max(map(len, COMMANDS))
    for command in COMMANDS:
        print(f"python -m benchmark.{command:{width}}  {about(command)}")
    print("\nEach of them explains itself with --help.")
