"""What `evaluate --list` says of the methods that there are."""

from __future__ import annotations

import sys
from dataclasses import MISSING, asdict, fields
from typing import Any

import nas_methods
from benchmark import cli
from benchmark.errors import UsageError


def print_methods(as_json: bool) -> int:
    listed = {name: _about(name) for name in nas_methods.available()}
    if as_json:
        cli.print_json(listed)
        return 0
    for name, facts in listed.items():
        lines = [facts["about"]]
        if facts["from"]:
            lines.append(f"from {facts['from']}")
        lines.append(" ".join(f"--{key} {value}" for key, value in facts["options"].items()))
        lines += [f"{' '.join([name, *cli.flags(v['options'])])}: {_said(v)}" for v in facts["variants"]]
        cli.answer(f"{name:14} " + f"\n{'':15}".join(filter(None, lines)))
    return 0


def _said(variant: dict[str, Any]) -> str:
    """What the paper prints of a variant."""
    rows = [f"Table {row['table']} {row['architecture']} {row['accuracy']}" for row in variant["published"]]
    rows += [f"Figure 3 tau {variant['tau']:.3f}"] if variant["tau"] is not None else []
    return f"the paper's {'; '.join(rows)}" if rows else "the paper prints no number"


def _about(name: str) -> dict[str, Any]:
    """What `--list` says of a method; of one that cannot be loaded, why."""
    source = nas_methods.origin(name)
    try:
        method = nas_methods.load(name)
    except UsageError as error:
        return {"about": str(error), "options": {}, "from": source, "variants": []}
    try:
        defaults = vars(method())  # what they come to: some stand for others
    except Exception:  # an option without default; others are said all the same
        defaults = {f.name: "required" if f.default is MISSING else f.default for f in fields(method)}
    return {
        "about": (sys.modules[method.__module__].__doc__ or "").strip().partition("\n")[0],
        "options": {f.name: defaults[f.name] for f in fields(method)},
        "from": source,
        "variants": [asdict(variant) for variant in getattr(method, "VARIANTS", ())],
    }
