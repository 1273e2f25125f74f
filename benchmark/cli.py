"""What the commands share: flags made from dataclass fields, one-line errors, exit codes. No torch.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted, 141 whoever read the output has left, as of other tools.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from benchmark import output
from benchmark.errors import Failure, UsageError, choices, in_a_line, nearest, not_installed
from benchmark.given import plain_number, values_of

ENGINES = ("auto", "compiled", "graph", "eager")  # of benchmark.training.engine, which needs torch
LOADERS = ("resident", "torchvision", "ffcv")  # of benchmark.datasets.loaders, likewise

READER_LEFT = 128 + 13  # what a shell says of a tool that SIGPIPE ended

_FOLDERS = ("--out", "--data")
_REPEATABLE = (argparse._AppendAction, argparse._CountAction)  # actions that keep every value; extending is appending


class Parser(argparse.ArgumentParser):
    """argparse, but strict (no abbreviations, no flag twice) and with errors of one line."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **kwargs)
        self._given: set[str] = set()

    def error(self, message: str) -> NoReturn:
        missing = message.startswith("the following arguments are required")
        raise UsageError(f"{message} (--help shows a whole command)" if missing else message)

    def print_help(self, file: Any = None) -> None:
        output.answer(self.format_help().removesuffix("\n"))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """argparse's own check, with the nearest choice said first."""
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, f"'{value}' is unknown: {choices(value, action.choices)}")

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """argparse's own, called once for each flag given, which would take the last of two without a word."""
        if action.option_strings and not isinstance(action, _REPEATABLE):
            if action.dest in self._given:
                several = " with all its values" if action.nargs in ("+", "*") else ""
                raise argparse.ArgumentError(action, f"given twice: give it once{several}")
            self._given.add(action.dest)
        return super()._get_values(action, arg_strings)

    def parse(self, argv: Sequence[str] | None) -> argparse.Namespace:
        """The namespace. Raises UsageError for a flag given twice, and for the first unknown one, listing the known ones."""
        self._given.clear()
        namespace, unknown = self.parse_known_args(argv)
        if unknown:
            known = sorted({a.option_strings[0] for a in self._actions if a.option_strings} - {"-h"})
            word = unknown[0].partition("=")[0]
            near = nearest(word, [name for a in self._actions for name in a.option_strings]) if word[:2] == "--" else ""
            hint = f"did you mean {near}? " if near else ""
            raise UsageError(f"unknown argument '{unknown[0]}': {hint}the flags here are {' '.join(known)}")
        return namespace


def _parse_bool(text: str) -> bool:
    if text.lower() in ("true", "yes", "1"):
        return True
    if text.lower() in ("false", "no", "0"):
        return False
    raise argparse.ArgumentTypeError(f"'{text}' is neither true nor false")


def _parser_of(hint: Any) -> tuple[Callable[[str], Any], str]:
    """(function that reads the text of a flag, what its value looks like) for the type of a dataclass field."""
    if get_origin(hint) in (Union, types.UnionType):  # `int | None`: the word "all" or "none" stands for None
        inner, shape = _parser_of(next(a for a in get_args(hint) if a is not type(None)))

        def optional(text: str) -> Any:
            return None if text in ("all", "none") else inner(text)

        optional.__name__ = getattr(inner, "__name__", "value")
        return optional, f"{shape}|all"
    if get_origin(hint) is Literal:
        return str, "|".join(map(str, get_args(hint)))
    if hint is bool:
        return _parse_bool, "true|false"
    if hint in (int, float, str):
        readers: dict[type, tuple[Callable[[str], Any], str]] = {
            int: (whole, "N"),
            float: (number, "X"),
            str: (str, "TEXT"),
        }
        return readers[hint]
    raise TypeError(f"no flag can be made for a field of type {hint}: use int, float, str, bool, Literal or X | None")


def add_fields(
    parser: argparse.ArgumentParser, record: type, title: str, instead: Mapping[str, str] | None = None
) -> None:
    """One flag per field of a dataclass: `batch_size: int = 256` becomes `--batch-size N`; of a bool, the bare flag is true.

    instead: by field, a word that may stand for its values and is the default; the command says what it comes to.

    Flags that are not given leave no attribute behind, so that `given_fields` finds the overrides.
    """
    group = parser.add_argument_group(title)
    hints, values = get_type_hints(record), values_of(record)
    for field in fields(record):
        read, shape = _parser_of(hints[field.name])
        choices = values.get(field.name)
        if choices:
            shape = "|".join(map(str, choices))
        names = dict.fromkeys([f"--{field.name.replace('_', '-')}", f"--{field.name}"])
        default = field.default if field.default is not MISSING else "required"
        if word := (instead or {}).get(field.name):
            default, shape, choices = word, f"{word}|{shape}", choices and (word, *choices)
        switch: dict[str, Any] = {"nargs": "?", "const": True} if hints[field.name] is bool else {}
        group.add_argument(
            *names,
            dest=field.name,
            type=read,
            **switch,
            default=argparse.SUPPRESS,
            metavar=shape,
            choices=choices,
            help=f"default {'all' if default is None else default}",
        )


def add_data(parser: argparse.ArgumentParser) -> None:
    """`--data`, the same for every command that reads images."""
    parser.add_argument(
        "--data", type=folder, metavar="DIR", help="default $NASBENCH_POOLING_DATA, else the user's cache"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """`--device` and `--engine`, the same for every command that trains."""
    parser.add_argument("--device", default="auto", metavar="D", help="auto (default), cpu, cuda or cuda:N")
    parser.add_argument(
        "--engine",
        default="auto",
        choices=ENGINES,
        help="how steps run: auto (default) takes compiled CUDA graphs on a GPU, eager on a CPU",
    )


def add_slurm(parser: argparse.ArgumentParser) -> None:
    """The flags --where, --cluster, --wait, --cancel and --again."""
    parser.add_argument(
        "--where",
        default="here",
        choices=["here", "slurm"],
        help="here (default), or as a job array of a Slurm cluster",
    )
    group = parser.add_argument_group("with --where slurm (a page on it: slurm/README.md)")
    group.add_argument(
        "--cluster", default="slurm/cluster.toml", metavar="FILE", help="what a task asks for (default %(default)s)"
    )
    group.add_argument("--wait", action="store_true", help="stay until all tasks have ended")
    group.add_argument("--cancel", action="store_true", help="take what is queued or running out of Slurm, and stop")
    group.add_argument("--again", action="store_true", help="submit those as well that have failed for good")


def add_loader(parser: argparse.ArgumentParser) -> None:
    """`--loader`, for commands that train stand-alone networks."""
    parser.add_argument(
        "--loader",
        default="resident",
        choices=LOADERS,
        help="where images come from, the same batches each: resident (default) in memory, torchvision image by image, "
        "ffcv from files that benchmark.datasets.ffcv has written",
    )


def given_fields(namespace: argparse.Namespace, record: type) -> dict[str, Any]:
    """The fields of the dataclass that were given as flags."""
    return {field.name: getattr(namespace, field.name) for field in fields(record) if hasattr(namespace, field.name)}


def flags(given: Mapping[str, Any]) -> list[str]:
    """Options as they are typed: {"M": 4} is --M 4."""
    return [word for key, value in given.items() for word in (f"--{key}", str(value))]


def whole(text: str) -> int:
    """A whole number in plain digits."""
    if not re.fullmatch(r"-?\d{1,18}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number")
    return int(text)


def seed(text: str) -> int:
    """A seed: a whole number from 0 to 2**31 - 1."""
    if not re.fullmatch(r"\d{1,10}", text, re.ASCII) or int(text) >= 2**31:
        raise argparse.ArgumentTypeError(f"'{text}' is no seed: give whole numbers from 0 to {2**31 - 1}")
    return int(text)


def positive(text: str) -> int:
    if not re.fullmatch(r"\d{1,6}", text, re.ASCII) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1 to 999999")
    return int(text)


def folder(text: str) -> str:
    """A folder, there already or to be made; `~` is the user's home, as the shell has it in `--out ~/x`."""
    if not text:
        raise argparse.ArgumentTypeError("'' names no folder: give one, . for this one")
    if text.startswith("~"):
        try:
            text = str(Path(text).expanduser())
        except RuntimeError:
            raise argparse.ArgumentTypeError(f"'{text[:80]}' is the home of nobody here: give a whole path") from None
    if not os.path.isabs(text):
        try:
            os.getcwd()
        except OSError:
            raise argparse.ArgumentTypeError(
                f"'{text[:80]}' would lie in a folder that is gone: go to one, cd"
            ) from None
    for path in (Path(text), *Path(text).parents):
        try:
            path.lstat()
            is_folder = path.is_dir()
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ValueError) as error:  # e.g. a name that is too long
            why = getattr(error, "strerror", None) or error
            raise argparse.ArgumentTypeError(f"'{text[:80]}' cannot name a folder ({why}): give another") from None
        if not is_folder:
            raise argparse.ArgumentTypeError(f"'{path}' is no folder: give one, or a new name")
        break
    return text


def number(text: str) -> float:
    try:
        return float(plain_number(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number") from None


def duration(text: str) -> float:
    """Seconds from "90", "90s", "8m" or "1.5h"."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text, re.ASCII)
    if not match:
        raise argparse.ArgumentTypeError(f"'{text}' is no time: write it as 90s, 8m or 1.5h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def readable(seconds: float) -> str:
    """A time for people: "45 s", "12 min", "3.5 h", "2.1 days"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"


def say(text: str) -> None:
    """A line of progress: standard error, so that standard output holds results only.

    Where it cannot be written, as in a log on a full disk, the work goes on without it; a reader that has left ends it.
    """
    try:
        print(output.printable(text), file=sys.stderr, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        pass


def answer(*lines: str) -> None:
    """Lines of a command's result: the only thing that reaches standard output."""
    output.answer(*lines)


def command_line(module: str, words: Sequence[str]) -> str:
    """The command as a result may keep it: without the folders of this machine."""
    kept = [w for i, w in enumerate(words) if w not in _FOLDERS and (i == 0 or words[i - 1] not in _FOLDERS)]
    return shlex.join(["python", "-m", module, *(w for w in kept if w.partition("=")[0] not in _FOLDERS)])


def print_json(value: Any) -> None:
    answer(json.dumps(value, indent=1, allow_nan=False))


def _one_line(error: Exception) -> str:
    """What a message quotes (a flag, a file's name) may hold line breaks."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None and error.filename2 is None:
        return in_a_line(Failure(f"{error.filename}: {error.strerror}"))
    return in_a_line(error)


def command(main: Callable[[Sequence[str] | None], int]) -> NoReturn:
    """Runs a command and exits as this module's first lines say, without a traceback for a user's mistake."""
    # Before torch is loaded: idle threads sleep instead of spinning, so that a busy neighbour costs little.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    with output.reserved():
        code = _code_of(main)
        try:
            sys.stderr.flush()
            output.standard().flush()
        except OSError:  # a full disk, said as far as that can be said: Python must not end with a traceback on it
            output.hang_up()
    sys.exit(code)


def _code_of(main: Callable[[Sequence[str] | None], int]) -> int:
    """What a command ends with; says why it ended badly."""
    try:
        try:
            return main(None)
        except UsageError as error:
            say(f"error: {_one_line(error)}")
            return 2
        except BrokenPipeError:
            raise
        except (Failure, OSError) as error:
            say(f"error: {_one_line(error)}")
            return 1
        except ModuleNotFoundError as error:
            if not (what := not_installed(error)):  # a module of ours: a defect, not a matter of installation
                raise
            say(f"error: {what}")
            return 2
        except KeyboardInterrupt:
            say("interrupted: nothing is lost, the same command goes on")
            return 130
    except BrokenPipeError:  # whoever read our output went away: nobody left to tell
        output.hang_up()
        return READER_LEFT
