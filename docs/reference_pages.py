"""The reference, made from the code: a page of every command's flags, of every method, of every package's names.

Commands are those that `python -m benchmark` lists, methods those in `nas_methods`, packages those of the house: what is
added there turns up here by itself. Flags come from the very parser that answers --help.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import benchmark
import nas_methods
from benchmark import evaluate
from benchmark.__main__ import COMMANDS, about, parser_of

ROOT = Path(benchmark.__file__).parent.parent
INTERNAL = {"benchmark.__main__", "nas_methods.__main__"}


def write_all(folder: Path) -> None:
    """Writes every page below a folder; leaves alone what has not changed, and removes what no longer exists."""
    pages = {"commands.md": commands_page(), "methods.md": methods_page()}
    pages |= {f"api/{room}.md": room_page(room, modules) for room, modules in rooms().items()}
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    for path in folder.rglob("*.md"):
        if str(path.relative_to(folder)) not in pages:
            path.unlink()


# Commands


def commands_page() -> str:
    lines = ["# Commands", "", "Every flag of every command, from the parsers that answer `--help`.", ""]
    lines += ["| command | |", "|---|---|"]
    lines += [f"| [`{name}`](#{_anchor(name)}) | {_cell(about(name))} |" for name in COMMANDS]
    lines += ["", "Each is typed as `python -m benchmark.NAME` or, where the package is installed,"]
    lines += ["`nas-bench-pooling NAME`. The options of search methods are on [their own page](methods.md).", ""]
    for name in COMMANDS:
        parser = parser_of(name)
        lines += [f"({_anchor(name)})=", f"## {name}", ""]
        lines += _rst(plain(inspect.cleandoc(parser.description or "").splitlines()))
        for group in parser._action_groups:
            lines += flags(group)
    return "\n".join(lines) + "\n"


def flags(group: Any) -> list[str]:
    """The flags of one group of a parser, as a table with its title."""
    rows = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
    if not rows:
        return []
    title = {"options": "flags", "positional arguments": "words"}.get(group.title, group.title)
    return [f"**{title}**", "", "| flag | |", "|---|---|", *map(_row, rows), ""]


def _row(action: argparse.Action) -> str:
    said = (action.help or "") % (vars(action) | {"prog": ""}) if "%(" in (action.help or "") else action.help or ""
    return f"| `{_cell(shape(action))}` | {_cell(said.replace('%%', '%'))} |"


def shape(action: argparse.Action) -> str:
    """How a flag is typed: `--seeds N [N ...]`, as argparse itself writes it."""
    formatter = argparse.HelpFormatter("")
    if not action.option_strings:
        return formatter._format_args(action, str(action.metavar or action.dest)) or action.dest
    args = formatter._format_args(action, action.dest.upper()) if action.nargs != 0 else ""
    return f"{', '.join(action.option_strings)} {args}".strip()


def _anchor(name: str) -> str:
    return f"command-{name.replace('.', '-').replace('_', '-')}"


# Methods


def methods_page() -> str:
    lines = ["# Search methods", "", "From the code: what each is, its options with their defaults, and what the paper"]
    lines += ["printed of it. Each option is a flag of [`evaluate`](commands.md) beside `--method`.", ""]
    for name in nas_methods.built_in():
        method = nas_methods.load(name)
        lines += [f"## {name}", ""]
        lines += _rst(plain(inspect.cleandoc(inspect.getmodule(method).__doc__ or "").splitlines()))  # type: ignore[union-attr]
        lines += _rst(plain(inspect.cleandoc(method.__doc__ or "").splitlines()))
        titled = {group.title: group for group in evaluate.arguments(method)._action_groups}
        lines += flags(titled["options of the method"])
    return "\n".join(lines) + "\n"


# Packages


def rooms() -> dict[str, list[str]]:
    """Modules by the page they stand on: a package of `benchmark`, a module beside the packages, the methods."""
    found: dict[str, list[str]] = {}
    for package in ("benchmark", "nas_methods"):
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            if name not in INTERNAL and not name.endswith(".__main__"):
                room = ".".join(name.split(".")[:2]) if package == "benchmark" else package
                found.setdefault(room, []).append(name)
    return found


def type_variables() -> list[str]:
    """Names of our modules that stand for a type in a signature and are none."""
    pattern = re.compile(r"^(\w+) = TypeVar\(", re.MULTILINE)
    modules = (name for names in rooms().values() for name in names)
    return [f"{name}.{found}" for name in modules for found in pattern.findall(_source(name))]


def _source(module: str) -> str:
    path = ROOT.joinpath(*module.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")


def room_page(room: str, modules: Sequence[str]) -> str:
    lines = [f"# {room}", ""]
    for name in modules:
        if len(modules) > 1:
            lines += [f"## {name}", ""]
        # What the package hands on has its home elsewhere.
        members = "" if name == "benchmark" else "\n   :members:"
        lines += _rst([f".. automodule:: {name}{members}"])
    return "\n".join(lines) + "\n"


# Docstrings: plain text with conventions of its own


def on_docstring(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Sphinx's hook: `lines` is changed in place."""
    if what == "module" and isinstance(obj, ModuleType) and obj.__name__ == "benchmark":
        lines += ["", "Names that it hands on:", "", *(f"    benchmark.{n}" for n in benchmark.__all__)]
    lines[:] = plain(lines)


def on_signature(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None]:
    """Sphinx's hook: a default that cannot be written as code, such as a lambda, becomes `...`."""
    return signature and re.sub(r"<function [^>]*<lambda>>|<[\w. ]+( at 0x\w+)?>", "...", signature), returns


def plain(lines: Sequence[str]) -> list[str]:
    """reStructuredText of a docstring, which here is plain text: an indented paragraph is a block of its own, two spaces
    or more after a first word make an entry of a list of names, `this` is code, and nothing else is markup."""
    out: list[str] = []
    for block in _blocks(lines):
        if all(line.startswith(" ") for line in block if line):
            margin = min(len(line) - len(line.lstrip()) for line in block if line)
            out += ["::", "", *(f"    {line[margin:]}" if line else "" for line in block), ""]
        elif entries := _entries(block):
            for term, text in entries:
                out += [f"``{term}``", f"    {_escaped(text)}", ""]
        else:
            out += [_escaped(" ".join(line.strip() for line in block)), ""]
    return out


def _blocks(lines: Sequence[str]) -> Iterator[list[str]]:
    """Paragraphs; indented ones that follow each other are one."""
    block: list[str] = []
    gap = False
    for line in [*lines, "\0"]:
        if not line.strip():
            gap = True
            continue
        indented = line.startswith(" ")
        inside = bool(block) and block[0].startswith(" ")
        if block and ((gap and not (indented and inside)) or (inside and not indented) or line == "\0"):
            yield block
            block = []
        elif block and gap:
            block.append("")
        if block and indented and not inside and not gap and not _entry(block[0]):
            yield block  # a paragraph whose example follows without an empty line
            block = []
        block.append(line.rstrip())
        gap = False


def _entry(line: str) -> re.Match[str] | None:
    return re.match(r"^(\S(?:.{0,40}?\S)?) {2,}(\S.*)$", line)


def _entries(block: Sequence[str]) -> list[tuple[str, str]]:
    """(name, what it is) of each line of an aligned list; empty where the paragraph is none."""
    found: list[tuple[str, str]] = []
    for line in block:
        if match := _entry(line):
            found.append((match[1], match[2]))
        elif found and line.startswith("   "):
            found[-1] = (found[-1][0], f"{found[-1][1]} {line.strip()}")
        else:
            return []
    return found


def _escaped(text: str) -> str:
    """Text in which only `code` means anything."""
    parts = re.split(r"`([^`]+)`", text)
    prose = [re.sub(r"([\\*|`_])", r"\\\1", part) for part in parts[::2]]
    spans = [f"``{part}``" for part in parts[1::2]]
    woven = [prose[0]]
    for span, after in zip(spans, prose[1:], strict=True):
        before = "" if not woven[-1] or woven[-1][-1] in " ([-/\"'" else "\\ "
        follow = "\\ " if after and (after[0].isalnum() or after[0] == "\\") else ""
        woven += [before + span, follow + after]
    joined = "".join(woven)
    return (
        f"\\{joined}"
        if re.match(r"([-+•>]|\.\.|\w+[.)]) ", joined) or joined.startswith(("::", ">>>", ":"))
        else joined
    )


def _rst(lines: Sequence[str]) -> list[str]:
    return ["```{eval-rst}", *lines, "```", ""]


def _cell(text: str) -> str:
    """Text for a cell of a Markdown table, in which nothing but `code` is markup."""
    return " ".join(text.split()).replace("|", "\\|").replace("*", "\\*").replace("<", "\\<")
