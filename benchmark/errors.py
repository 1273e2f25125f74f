"""The two ways in which a command can end badly, and how a name that is not known is put right."""

import itertools
import re
import sys
from collections.abc import Iterable

MOST_OF_A_TEXT = 2000  # characters of a message
MOST_OF_A_WORD = 400  # characters of what it quotes, such as a value without a space or a file's path
MOST_LISTED = 300  # characters of the valid names, so that what else it says is still read
NEEDED = ("torch", "torchvision", "numpy", "scipy", "pandas", "rich")  # what an installation always brings


class UsageError(ValueError):
    """What the user asked for or handed in is wrong: one line, exit code 2.

    The message names the value, what would be valid, and the way out.
    """


class Failure(RuntimeError):
    """The request was right but could not be carried out: one line, exit code 1."""


def not_installed(error: ModuleNotFoundError) -> str:
    """What this Python lacks of NEEDED, and how to have it; empty where it is another module that is missing."""
    name = (error.name or "").partition(".")[0]
    if name not in NEEDED:
        return ""
    return (
        f"{name} is not installed in {sys.executable}: pip install 'nas-bench-pooling[report]', "
        "or in a checkout pip install -e '.[report]'"
    )


def in_a_line(error: BaseException) -> str:
    """The text of an exception, whoever's code raised it, in one line that is not without end.

    What is too long loses its middle: a message names the value first and the way out last.
    """
    try:
        text = str(error)
    except Exception as own:  # its own __str__ fails
        text = f"its text cannot be had, {type(own).__name__}"
    line = " ".join(text.splitlines())
    words = re.sub(rf"\S{{{MOST_OF_A_WORD},}}", lambda word: _without_middle(word[0], MOST_OF_A_WORD), line)
    return _without_middle(words, MOST_OF_A_TEXT)


def _without_middle(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-(most // 2) :]}"


def nearest(name: str, valid: Iterable[str], cutoff: float = 0.7) -> str:
    """The valid name that a misspelt one most likely stands for, whatever its case and dashes; empty where none is near."""
    from difflib import get_close_matches

    plain = {_plain(one): one for one in reversed(list(valid))}
    found = get_close_matches(_plain(name), plain, n=1, cutoff=cutoff)
    return plain[found[0]] if found else ""


def choices(name: str, valid: Iterable[str], lead: str = "choose from") -> str:
    """The end of a message about an unknown name: the nearest valid one first, if there is one, then all of them.

    Of more than MOST_LISTED characters of names it lists those that fit, and says how many it left out.
    """
    names = list(valid)
    near = nearest(str(name), names)
    ends = itertools.accumulate(len(one) + len(", ") for one in names)
    fit = max(sum(end <= MOST_LISTED for end in ends), 1)
    more = f" and {len(names) - fit} more" if len(names) > fit else ""
    return (f"did you mean {near}? " if near else "") + f"{lead} {', '.join(names[:fit])}{more}"


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").lstrip("-")
