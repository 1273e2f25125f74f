"""What users hand in: files that may be anything, numbers as text, words to choose from. No torch."""

from __future__ import annotations

import errno
import re
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from benchmark.errors import UsageError, choices

LIMIT = 256 * 2**20  # bytes; a table of the largest space with all its curves has a tenth of it

_NUMBER = re.compile(r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?|inf|infinity|nan)", re.ASCII | re.IGNORECASE)


def read_bytes(path: Path | str) -> bytes:
    """All of a file that somebody named, which may be a pipe. Raises OSError, also where it has more than LIMIT bytes.

    A device such as /dev/zero never ends, and /proc/kcore is as long as all memory.
    """
    parts, size = [], 0
    with open(path, "rb") as file:
        for part in iter(partial(file.read, 2**20), b""):
            size += len(part)
            if size > LIMIT:
                raise OSError(errno.EFBIG, f"more than {LIMIT >> 20} MiB", str(path))
            parts.append(part)
    return b"".join(parts)


def plain_number(text: str) -> str:
    """The text of a number without spaces around it. Raises ValueError for what only a programmer would write: 1_05."""
    if not _NUMBER.fullmatch(text.strip()):
        raise ValueError(f"'{text[:40]}' is not a number")
    return text.strip()


def require_values(record: Any) -> None:
    """Raises UsageError for a field of a dataclass that has none of the values it chooses among."""
    for name, valid in values_of(type(record)).items():
        if (value := getattr(record, name)) not in valid:
            raise UsageError(f"{name} is '{value}': {choices(value, valid)}")


def values_of(record: type) -> dict[str, tuple[str, ...]]:
    """The values of those fields of a dataclass that choose among some, by field: a Literal's, or what `values` in the
    field's metadata returns when it is called, for choices that no type can list."""
    hints = get_type_hints(record)
    found = {}
    for field in fields(record):
        if get_origin(hints[field.name]) is Literal:
            found[field.name] = get_args(hints[field.name])
        elif "values" in field.metadata:
            found[field.name] = tuple(field.metadata["values"]())
    return found
