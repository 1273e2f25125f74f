"""Who may import whom: the directions of the house's one street, read from the source of every module."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import benchmark

ROOT = Path(benchmark.__file__).parent.parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("benchmark", "nas_methods")
    for path in sorted((ROOT / package).rglob("*.py"))
}
METHODS = [name for name in FILES if name.split(".")[0] == "nas_methods"]
COMMANDS = [
    "build_groundtruth",
    "evaluate",
    "compare",
    "verify",
    "search_channels",
    "correlate",
    "simulate",
    "export",
    "report",
]  # none of which imports another
# The floors of the house, the ground first: a module imports from its own room and from those on lower floors.
FLOORS = [
    {"errors", "output", "files"},
    {"given"},
    {"cli", "streams", "provenance", "datasheets"},
    {"recipe"},
    {"running", "spaces"},
    {"datasets", "tables"},
    {"training", "scoring"},
    {"channels"},
    {"nas_methods", "simulation"},
    {"jobs", "page", "adapters"},
    set(COMMANDS),
]


def room(name):
    """Where a module stands: a package of `benchmark`, a module beside them, or the methods' package."""
    parts = name.split(".")
    return parts[1] if parts[0] == "benchmark" and len(parts) > 1 else parts[0]


LIGHT = [
    "benchmark",
    *(
        name
        for name in FILES
        if room(name) in {"tables", "scoring", "simulation", "page", "recipe", "jobs"}
        or room(name) in {*FLOORS[0], *FLOORS[1], *FLOORS[2], *COMMANDS}
    ),
    "benchmark.spaces.space",
    "benchmark.spaces.costs",
    "benchmark.datasets.named",
    "benchmark.datasets.ffcv",
    *(name for name in FILES if name.startswith("benchmark.datasets.known")),
    "benchmark.running.claims",
    "benchmark.running.launch",
    "benchmark.running.worker",
    "benchmark.running.cluster",
    "benchmark.running.node",
    "benchmark.running.submission",
]
HEAVY = {
    "torch", "torchvision", "pandas", "scipy", "rich", "altair", "vl_convert", "jinja2", "submitit", "ffcv", "xarray", "pyarrow",
}  # fmt: skip
ANSWERS = {"benchmark.tables.ledger", "benchmark.tables.table", "benchmark.tables.files", "benchmark.scoring.scores"}


def is_type_checking(node):
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def nodes(tree, lazily):
    """Every node that runs; without `lazily` only what runs when the module is imported."""
    for child in ast.iter_child_nodes(tree):
        if is_type_checking(child):
            for other in child.orelse:
                yield other
                yield from nodes(other, lazily)
            continue
        if not lazily and isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        yield child
        yield from nodes(child, lazily)


def imports(source, name="benchmark.x", lazily=True):
    """Full names of the modules that a module imports by statement, by `import_module` or as `benchmark.name`."""
    found = set()
    for node in nodes(ast.parse(source), lazily):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = name.split(".")[: -node.level] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            found |= {member(base, alias.name) for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            argument = node.args[0]
            found.add(argument.value if isinstance(argument, ast.Constant) else ast.unparse(argument))
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "benchmark":
            found.add(member("benchmark", node.attr))
    return found


def member(base, name):
    """The module that `from base import name` reaches: a submodule, the home of a public name, or base itself."""
    if base == "benchmark" and name in benchmark._HOME:
        return f"benchmark.{benchmark._HOME[name]}"
    return f"{base}.{name}" if f"{base}.{name}" in FILES else base


def imported_by(name, lazily=True):
    return imports(FILES[name].read_text(encoding="utf-8"), name, lazily)


def roots(modules):
    return {module.split(".")[0] for module in modules}


def closure(name):
    """Everything that importing a module imports, packages' own `__init__` included."""
    seen, waiting = set(), [name]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            if module in FILES:
                waiting += [*imported_by(module, lazily=False), module.rpartition(".")[0] or module]
    return seen


@pytest.mark.parametrize(
    ("source", "now", "ever"),
    [
        ("import torch", {"torch"}, {"torch"}),
        ("import torch.nn as nn", {"torch.nn"}, {"torch.nn"}),
        ("from torch import nn", {"torch"}, {"torch"}),
        ("def f():\n    import torch", set(), {"torch"}),
        ("class A:\n    import torch", {"torch"}, {"torch"}),
        ("try:\n    import torch\nexcept ImportError:\n    import numpy", {"torch", "numpy"}, {"torch", "numpy"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch", {"typing"}, {"typing"}),
        ("from benchmark.tables import table", {"benchmark.tables.table"}, {"benchmark.tables.table"}),
        ("from benchmark import score", {"benchmark.scoring.scores"}, {"benchmark.scoring.scores"}),
        ("from benchmark.errors import Failure", {"benchmark.errors"}, {"benchmark.errors"}),
        ("from .recipe import Recipe", {"benchmark.recipe"}, {"benchmark.recipe"}),
        ("from . import recipe", {"benchmark.recipe"}, {"benchmark.recipe"}),
        ("f = lambda: benchmark.load_table('x')", set(), {"benchmark.tables.files"}),
        ("import benchmark\nbenchmark.score(1)", {"benchmark", "benchmark.scoring.scores"}, {"benchmark", "benchmark.scoring.scores"}),
        ("importlib.import_module('benchmark.tables.table')", {"benchmark.tables.table"}, {"benchmark.tables.table"}),
    ],
)  # fmt: skip
def test_this_file_sees_imports_of_every_kind(source, now, ever):
    assert imports(source, lazily=False) == now
    assert imports(source) == ever


def test_every_module_is_looked_at():
    assert set(LIGHT) <= set(FILES)
    assert {"nas_methods", "nas_methods.supernet", "benchmark.training.train", "benchmark.evaluate"} <= set(FILES)
    # and the closure does reach torch where it is used
    assert "torch" in closure("nas_methods.supernet")
    assert "torch" in closure("nas_methods.spos")


@pytest.mark.parametrize("name", LIGHT)
def test_light_modules_import_nothing_heavy_and_nothing_that_does(name):
    assert roots(closure(name)) & HEAVY == set()


@pytest.mark.parametrize("name", [*COMMANDS, "datasets.__main__", "datasets.ffcv", "__main__"])
def test_a_command_loads_nothing_before_it_can_say_what_is_wrong(name):
    """Else a Python without numpy would end in a traceback in the place of a line that says what to install."""
    assert roots(closure(f"benchmark.{name}")) & (HEAVY | {"numpy"}) == set()


@pytest.mark.parametrize("name", METHODS)
def test_a_method_cannot_see_the_answers(name):
    assert imported_by(name) & ANSWERS == set()
    assert closure(name) & ANSWERS == set()  # nor does anything that it stands on


def test_imports_run_down_the_floors():
    """Lazily or not; and every room has its floor. `benchmark` itself hands names of lower floors on."""
    floor = {name: number for number, rooms in enumerate(FLOORS) for name in rooms}
    assert {room(name) for name in FILES} - {"benchmark", "__main__"} == set(floor)
    up = [
        f"{name} -> {module}"
        for name in FILES
        if room(name) in floor
        for module in imported_by(name)
        if module in FILES
        and room(module) not in ("benchmark", room(name))
        and floor[room(module)] >= floor[room(name)]
    ]
    assert up == []
    # `benchmark` hands on names of all floors, so what asks it for anything would stand on them all
    assert [name for name in FILES if "benchmark" in imported_by(name)] == []


def test_no_module_reaches_into_another_for_what_it_keeps_to_itself():
    """A name with an underscore is its module's own, imported or asked for as `module._name`."""

    def is_own(word):
        return word.startswith("_") and not word.startswith("__")

    reached = []
    for name, path in FILES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        modules = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("benchmark", "nas_methods"):
                reached += [f"{name}: {alias.name}" for alias in node.names if is_own(alias.name)]
                names = {alias.asname or alias.name: member(node.module, alias.name) for alias in node.names}
                modules |= {own for own, module in names.items() if module in FILES and module != node.module}
        reached += [
            f"{name}: {ast.unparse(node)}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute) and is_own(node.attr) and ast.unparse(node.value) in modules
        ]
    assert reached == []


def test_packages_hand_nothing_on():
    """Whoever imports a package's light module loads nothing of its heavy ones, and a name has one home."""
    for package in (
        "spaces",
        "datasets",
        "datasets.known",
        "training",
        "running",
        "tables",
        "scoring",
        "simulation",
        "simulation.optimizers",
        "adapters",
    ):
        assert imported_by(f"benchmark.{package}") == set()


def test_nothing_imports_what_comes_after_it_in_the_street():
    """space -> networks, data -> train -> ledger -> table -> scores -> comparison."""
    later = ["tables.ledger", "tables.table", "tables.files", "scoring.scores", "scoring.comparison"]
    later = [f"benchmark.{name}" for name in later]
    earlier = [
        "spaces.space",
        "spaces.costs",
        "spaces.networks",
        "datasets.named",
        "datasets.batches",
        "training.train",
    ]
    for name in (*earlier, "recipe", "scoring.ranking", "running.launch"):
        assert closure(f"benchmark.{name}") & {*later, "benchmark.evaluate"} == set(), name
    for place, name in enumerate(later):
        assert closure(name) & set(later[place + 1 :]) == set(), name


def test_methods_find_no_module_by_a_computed_name():
    """But for the package's loader, which takes names of methods only."""
    for name in METHODS:
        if name != "nas_methods":
            assert "import_module" not in FILES[name].read_text(encoding="utf-8")
            assert "__import__" not in FILES[name].read_text(encoding="utf-8")
    assert {module for module in imported_by("nas_methods") if "{" in module} == {"f'nas_methods.{name}'"}


def test_data_sets_and_commands_are_found_by_their_place_and_nothing_else_is():
    """Sheets stand below recipes, the files that register them above: only a computed name may lead up there."""
    computed = {name: {m for m in imported_by(name) if "{" in m} for name in FILES if name not in METHODS}
    assert {name: found for name, found in computed.items() if found} == {
        "benchmark": {"f'benchmark.{_HOME[name]}'"},
        "benchmark.__main__": {"f'benchmark.{name}'", "f'benchmark.{name}.__main__'"},
        "benchmark.datasheets": {"f'benchmark.datasets.known.{path.stem}'"},
    }
    files = [name for name in FILES if name.startswith("benchmark.datasets.known.")]
    assert files
    assert [name for name in files if "benchmark.recipe" in closure(name)] == []  # a recipe loads them in its midst


def test_only_commands_load_methods_and_a_search_knows_no_answers():
    loaders = [name for name in FILES if name not in METHODS and "nas_methods" in roots(imported_by(name))]
    of_jobs = [f"benchmark.jobs.{name}" for name in ("interference", "listing", "planning", "search")]
    assert loaders == ["benchmark.evaluate", *of_jobs, "benchmark.report"]
    assert closure("benchmark.jobs.search") & ANSWERS == set()


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("launch", {"cli", "running.worker"}),
        ("worker", {"errors"}),
        ("slurm", {"errors"}),
        (
            "cluster",
            {"cli", "errors", "files", "given", "running.claims", "running.node", "running.slurm", "running.worker"},
        ),
        ("submission", {"cli", "running.cluster", "running.launch", "running.worker"}),
        ("node", {"cli", "errors", "files", "running.progress", "running.slurm", "running.worker"}),
    ],
)
def test_what_runs_things_knows_nothing_of_pooling(name, known):
    found = imported_by(f"benchmark.running.{name}")
    ours = {module for module in found if module.split(".")[0] in ("benchmark", "nas_methods")}
    assert ours == {f"benchmark.{module}" for module in known}


def test_networks_know_no_data():
    ours = {module for module in imported_by("benchmark.spaces.networks") if module.startswith("benchmark")}
    assert ours == {"benchmark.spaces.space", "benchmark.streams"}


def test_the_street_runs_one_way():
    """No module is reached from what it imports, lazily or not; packages' own names aside."""
    graph = {name: {m for m in imported_by(name) if m in FILES and m not in ("benchmark", name)} for name in FILES}

    def reachable(name):
        seen, waiting = set(), list(graph[name])
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting += graph[module]
        return seen

    assert [name for name in FILES if name != "benchmark" and name in reachable(name)] == []


def test_what_loads_slowly_loads_where_it_is_used():
    """pandas, scipy, torchvision, altair: never by importing a module; submitit: in cluster alone, where asked for."""
    for name in FILES:
        slow = {
            "pandas",
            "scipy",
            "torchvision",
            "submitit",
            "ffcv",
            "xarray",
            "pyarrow",
            "altair",
            "vl_convert",
            "jinja2",
        }
        assert roots(imported_by(name, lazily=False)) & slow == set()
        if name != "benchmark.running.cluster":
            assert "submitit" not in roots(imported_by(name))


def test_no_module_is_a_drawer_for_everything():
    assert [name for name in FILES if name.split(".")[-1] in ("utils", "util", "helpers", "common", "misc")] == []


def test_no_function_keeps_global_state():
    guilty = [
        name
        for name, path in FILES.items()
        if any(isinstance(node, ast.Global) for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    ]
    assert guilty == []


def loaded(code):
    """Top-level modules that a fresh interpreter has loaded after running the code."""
    code += "\nimport json, sys; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(json.loads(done.stdout))


def test_a_query_loads_neither_torch_nor_pandas_nor_scipy():
    modules = loaded(
        "import benchmark; benchmark.load_table('published').query('[4,3,3]', seed=None, epoch=None, split='test'); benchmark.load_space()"
    )
    assert "benchmark" in modules
    assert modules & (HEAVY | {"numpy"}) == set()


def test_a_score_loads_scipy_but_no_torch():
    modules = loaded(
        "import benchmark; t = benchmark.load_table('published'); benchmark.score(list(range(36)), t, draws=10)"
    )
    assert "scipy" in modules
    assert modules & {"torch", "torchvision", "pandas", "rich"} == set()
