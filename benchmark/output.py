"""Standard output belongs to a command's result; what anything else prints goes to standard error. No torch.

Methods, plug-ins, libraries and all processes that a command starts print where they like. While `reserved` lasts,
descriptor 1 leads to standard error for them all, and `answer` alone reaches what standard output was.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

# Characters that move a terminal's cursor, colour what follows, end a line or turn its direction: all but \t and \n.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class Aside(io.TextIOWrapper):
    """Stands in for `sys.stdout` and writes to descriptor 1; `result` is what standard output was before."""

    def __init__(self, result: TextIO) -> None:
        super().__init__(
            os.fdopen(1, "wb", closefd=False), encoding="utf-8", errors="backslashreplace", line_buffering=True
        )
        self.result = result


@contextmanager
def reserved() -> Iterator[None]:
    """While this lasts, only `answer` and the help reach standard output.

    Streams that the shell has closed (`>&-`, `2>&-`) are opened on nothing: a file opened later would take their
    descriptors, and what is said would land in it. A standard output that is no file of the system's (of a notebook,
    of a test) has the results as it is.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_RDWR), number)
            os.set_inheritable(number, True)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    before = sys.stdout
    if before is None or _descriptor(before) == 1:
        encoding = "utf-8" if before is None else before.encoding
        result: TextIO = os.fdopen(os.dup(1), "w", encoding=encoding, errors="backslashreplace")
    else:
        result = before
    if before is not None:
        before.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = Aside(result)
    try:
        yield
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        sys.stdout = before
        os.dup2(kept, 1)
        os.close(kept)
        if result is not before:
            result.close()


def _descriptor(stream: TextIO) -> int | None:
    try:
        return stream.fileno()
    except (OSError, ValueError):
        return None


def standard() -> TextIO:
    """Where results go."""
    return getattr(sys.stdout, "result", sys.stdout)


def answer(*lines: str) -> None:
    """A command's result, or a part of it, on standard output; a reader sees it at once."""
    try:
        print(*map(printable, lines), sep="\n", file=standard(), flush=True)
    except OSError as error:
        if error.errno and error.filename is None:
            error.filename = "standard output"
        raise


def printable(text: str) -> str:
    """The text with control characters written out, as in \\x1b: names that users choose may hold any."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def hang_up() -> None:
    """Has what is still to be written go nowhere: whoever read it has left."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (standard(), sys.stdout, sys.stderr):
        if (number := _descriptor(stream)) is not None:
            os.dup2(nowhere, number)
    os.close(nowhere)
