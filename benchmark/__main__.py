"""`python -m benchmark`, installed as `nas-bench-pooling`: the commands, a line each; with a name first, that command.

    nas-bench-pooling evaluate --method macs           # as python -m benchmark.evaluate --method macs
    nas-bench-pooling --completion bash                # what a shell needs to complete commands and flags

A command is a module with `main(argv)` and `arguments()`, named in COMMANDS.
"""

import ast
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from types import ModuleType

from benchmark import cli
from benchmark.errors import UsageError, choices

COMMANDS = (
    "build_groundtruth",
    "evaluate",
    "compare",
    "verify",
    "search_channels",
    "correlate",
    "simulate",
    "export",
    "report",
    "datasets",
    "datasets.ffcv",
)

PROGRAM = "nas-bench-pooling"
COMPLETION = "--completion"


def about(name: str) -> str:
    """The first line of what a command says of itself, read without importing it."""
    path = Path(__file__).parent.joinpath(*name.split("."))
    source = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0]


def module_of(name: str) -> ModuleType:
    """The module of a command: each has `main(argv)` and `arguments()`. Raises UsageError for what is none."""
    if name not in COMMANDS:
        raise UsageError(f"unknown command '{name}': {choices(name, COMMANDS)}")
    module = import_module(f"benchmark.{name}")
    return import_module(f"benchmark.{name}.__main__") if hasattr(module, "__path__") else module


def parser_of(name: str) -> cli.Parser:
    """The parser of a command's flags, which answers its --help."""
    parser: cli.Parser = module_of(name).arguments()
    return parser


def completion(shell: str) -> str:
    """A script that completes commands and flags in a shell. Raises UsageError for other shells, and without shtab."""
    try:
        import shtab
    except ImportError:
        raise UsageError("completion needs shtab: pip install 'nas-bench-pooling[completion]'") from None
    if shell not in shtab.SUPPORTED_SHELLS:
        raise UsageError(f"--completion {shell}: {choices(shell, shtab.SUPPORTED_SHELLS)}")
    root = cli.Parser(prog=PROGRAM)
    commands = root.add_subparsers()
    for name in COMMANDS:
        commands.add_parser(name, parents=[parser_of(name)], add_help=False, help=about(name))
    script: str = shtab.complete(root, shell)
    return script


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == [COMPLETION]:
        if len(words) != 2:
            raise UsageError(f"{COMPLETION} takes the name of a shell, such as bash")
        cli.answer(completion(words[1]))
        return 0
    if words and words[0] not in ("-h", "--help"):
        done: int = module_of(words[0]).main(words[1:])
        return done
    width = max(map(len, COMMANDS))
    cli.answer(*(f"python -m benchmark.{command:{width}}  {about(command)}" for command in COMMANDS))
    cli.answer(f"\nEach of them explains itself with --help; as `{PROGRAM} NAME` they are the same.")
    return 0


def console() -> None:
    """The console script `nas-bench-pooling`."""
    cli.command(main)


if __name__ == "__main__":
    console()
