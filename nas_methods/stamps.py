"""Stamps: which code made a ranking, so that what is kept of other code is refused and never taken for that of now.

Each module of this package declares a VERSION. Raise it in the commit after which the module, on some configuration,
would rank otherwise: kept rankings and checkpoints of the old one are then refused. `benchmark.training` has one likewise.
After any edit, `python -m nas_methods` declares that the VERSIONs are right for the lines of now; until then a part
counts as edited, and what is kept as made by other code. This module decides no ranking and is no part of any.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark import training
from nas_methods import built_in, load

DECLARED = "declared.json"  # the lines of each part for which its VERSION was declared, as hashes
TRAINING = "benchmark.training"
_HOUSE = Path(training.__file__).parent.parent  # `benchmark`
TRAINS = (  # the modules of `benchmark` for which that part stands: what they compute is in every ranking that trains
    "streams",
    "spaces/space",
    "spaces/networks",
    "spaces/costs",
    "datasets/sets",
    "datasets/crops",
    "datasets/batches",
    "datasets/halves",
    "datasets/cifar",
    "datasets/folders",
    *(f"datasets/known/{path.stem}" for path in sorted((_HOUSE / "datasets" / "known").glob("[!_]*.py"))),
    "training/checkpoint",
    "training/engine",
    "training/schedule",
    "training/train",
)
BELOW = {TRAINING: TRAINS, "nas_methods.conet": ("channels/metrics",)}  # by part, the modules of `benchmark` in it
_HERE = Path(__file__).resolve().parent


def code_of(name: str) -> dict[str, int | str]:
    """The code that decides a method's rankings, part by part, as in {"mine": "1f0c...", "nas_methods.supernet": 1}.

    The parts are the method, the modules of this package that it stands on, and `benchmark.training`. Ours declare a
    VERSION, which is raised on purpose where they would no longer make what is kept. `declared.json` says for which lines
    that was declared; a part that has other lines by now counts as edited: "1+3fa9...".
    Of whatever declares none a part is a hash of what the code does (12 hex digits; comments, docstrings and VARIANTS aside):
    of the method's file and of each file or package beside it that it imports, or of all modules of an installed package.
    """
    if name.endswith(".py"):
        own = [Path(name).resolve()]
    elif name in built_in():
        own = [_HERE / f"{name}.py"]
    else:
        module = sys.modules[load(name).__module__]
        file = Path(str(module.__file__)).resolve()
        own = sorted(file.parent.rglob("*.py")) if module.__package__ else [file]
    parts: dict[str, int | str] = {TRAINING: _as_declared(TRAINING, training.VERSION)}
    if own[0].parent != _HERE:
        parts[Path(name).stem] = _hash(own)
    seen: set[Path] = set()
    waiting = list(own)
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        if path.parent == _HERE:
            part, version = f"nas_methods.{path.stem}", _version(path)
            parts[part] = _as_declared(part, version) if version else _hash([path])
        elif not set(files) & set(own):
            parts[path.stem] = _hash(files)
        waiting += [found for file in files for found in _imported(file)]
    return dict(sorted(parts.items()))


def is_same_code(made: Any, now: Mapping[str, int | str]) -> bool:
    """Whether what `made` stands for, in a ranking that is kept, is the code of now.

    Rankings from before the parts declared versions hold the hash of their method alone: all parts of ours are of version 1.
    """
    return all(part in (1, made) for part in now.values()) if isinstance(made, str) else made == now


def _version(path: Path) -> int | None:
    """The VERSION that a module of this package declares, read without importing it; None where it declares none."""
    for line in ast.parse(path.read_bytes()).body:
        if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "VERSION":
            return int(ast.literal_eval(line.value))
    return None


def _as_declared(part: str, version: int) -> int | str:
    """The version of a part of ours, with a hash of its lines where they are not those for which it was declared."""
    now = lines_of(part)
    declared = json.loads((_HERE / DECLARED).read_text(encoding="utf-8"))
    return version if declared.get(part) == now else f"{version}+{now}"


def lines_of(part: str) -> str:
    """12 hex digits over the lines of a part's code, comments and empty ones aside: the same on every system and Python."""
    paths = [_HOUSE / f"{name}.py" for name in BELOW.get(part, ())]
    if part != TRAINING:
        paths.append(_HERE / f"{part.partition('.')[2]}.py")
    lines = [line for path in paths for line in path.read_text(encoding="utf-8").splitlines()]
    code = [line.rstrip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return hashlib.sha256("\n".join(code).encode()).hexdigest()[:12]


def declare() -> None:
    """Says of the code of now that its VERSIONs are right: what is kept of these versions, it would make again."""
    parts = [TRAINING, *(f"nas_methods.{path.stem}" for path in sorted(_HERE.glob("[a-z]*.py")) if _version(path))]
    text = json.dumps({part: lines_of(part) for part in parts}, indent=1)
    (_HERE / DECLARED).write_text(text + "\n", encoding="utf-8")


def _imported(path: Path) -> list[Path]:
    """The files of this package that a file's code imports by a statement, and the files and packages beside it and in the
    folder that a command runs in, where Python looks first."""
    try:
        nodes = list(ast.walk(ast.parse(path.read_bytes())))
    except (OSError, SyntaxError, ValueError):
        return []  # loading it says what is wrong
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    ours = [_HERE / f"{name.split('.')[1]}.py" for name in names if name.startswith("nas_methods.")]
    ours = [file for file in ours if file.name != Path(__file__).name]  # to stamp is not to rank
    theirs = (
        sorted({name.split(".")[0] for name in names} - {"benchmark", "nas_methods"}) if path.parent != _HERE else []
    )
    beside = [folder / name for name in theirs for folder in dict.fromkeys((path.parent, Path.cwd()))]
    files = [file for file in (*ours, *(one.with_name(f"{one.name}.py") for one in beside)) if file.is_file()]
    return [*files, *(folder for folder in beside if (folder / "__init__.py").is_file())]


def _hash(paths: Sequence[Path]) -> str:
    return hashlib.sha256("\0".join(map(_meaning, paths)).encode()).hexdigest()[:12]


def _meaning(path: Path) -> str:
    """What Python code does, as text; of anything else a hash."""
    data = path.read_bytes()
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        return hashlib.sha256(data).hexdigest()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        if isinstance(node, ast.ClassDef):  # what was published and what is declared decide no ranking
            node.body = [line for line in node.body if not _declares(line)] or [ast.Pass()]
    return ast.unparse(tree)


def _declares(line: ast.stmt) -> bool:
    targets = [line.target] if isinstance(line, ast.AnnAssign) else getattr(line, "targets", [])
    return [target.id for target in targets if isinstance(target, ast.Name)] in (["VARIANTS"], ["trains"])
