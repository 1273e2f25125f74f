"""`python -m nas_methods`, after an edit: declares that the VERSIONs of all parts are right for the code of now."""

from collections.abc import Sequence

from benchmark.cli import Parser, command
from nas_methods.stamps import declare


def main(argv: Sequence[str] | None = None) -> int:
    Parser(prog="python -m nas_methods", description=__doc__).parse(argv)
    declare()
    return 0


if __name__ == "__main__":
    command(main)
