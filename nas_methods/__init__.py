"""Search methods: one file each, one frozen dataclass `Method` in it, one verb.

    @dataclass(frozen=True)
    class Method:
        option: int = 4                              # becomes the flag --option 4

        def rank(self, task: Task) -> Ranking: ...   # one score per configuration, higher is better

The file's name is the method's name. A method that samples configurations and trains supernets derives
from `supernet.Sampler` and supplies its formula only. A method that has scores after each epoch may keep them for
curves of tau against budget, as `supernet` does: history["curve"], a list of {"epoch", "images", "scores"}, and
provenance["timings"]["curve"], the seconds at each. A method sees the task and nothing else: no file in
this package imports the ledger, the tables or the scoring, so that none can look at the answers.

Each module here declares a VERSION, which `nas_methods.stamps` explains; after any edit, run `python -m nas_methods`.

A method that looks at no image says so in its class, `trains = False`; then neither data nor an engine
is asked for. All others are checked against the data before their first step; one with a verb `work(task)`, the MACs of
the whole search, has its time told beforehand; one with `memory(task)`, the bytes that it takes at most, is refused
where these are not there.

Methods of installed packages are found by their entry points:

    [project.entry-points."nas_bench_pooling.methods"]
    my_method = "my_module:Method"                   # any name for the class

`evaluate --method all` runs every method with its default options, or, where the class says so, these variants;
`published` are the rows of the paper's Tables 1 and 2 that a variant answers to, each (table, row, name,
architecture, accuracy, std, GPU hours if printed), `tau` is that of Figure 3:

    VARIANTS: ClassVar[tuple[Variant, ...]] = (
        Variant({}, (Published(1, 2, "DARTS, fully shared", "Fig. 4a", 89.23, 0.13),
                     Published(2, 2, "DARTS", "Fig. 4a", 89.23, 0.08, 12.0))),
        Variant({"optimizer": "gaea"}, (Published(2, 1, "DARTS + GAEA", "Fig. 4a", 89.12, 0.1, 12.0),)),
    )
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.errors import UsageError, choices, in_a_line, not_installed
from benchmark.recipe import SearchRecipe
from benchmark.running.claims import Taken
from benchmark.scoring.ranking import Ranking as Ranking
from benchmark.spaces.space import PoolingSpace
from benchmark.tables.published import Published as Published
from benchmark.tables.published import Variant as Variant

if TYPE_CHECKING:
    import torch

    from benchmark.datasets.batches import Batches, StreamedBatches

GROUP = "nas_bench_pooling.methods"  # of the entry points


class Stopped(Exception):
    """Raised by a method that was asked to stop and has kept a checkpoint."""


class Busy(Taken):
    """Raised by a method whose work another process is doing just now: it will be asked again."""


@dataclass(frozen=True)
class Halves:
    """The two halves of the training set, ready as batches, and a maker of networks that fit them.

    train       augmented batches for the weights
    validation  the other half, not augmented: rewards and final scores
    network     network(model) -> supernet number `model`, drawn from (seed, model), batch norm stateless;
                network(model, shared=False) has a set of weights for each (block, resolution);
                network(model, affine=True) is a stand-alone network, to be trained on one path only (a method that
                trains these says `affine = True` in its class, for the engine's probe)
    provenance  data set, split, device, engine and precision: what a checkpoint and a record must know
    """

    train: Batches | StreamedBatches
    validation: Batches | StreamedBatches
    network: Callable[..., torch.nn.Module]
    provenance: Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """What a method is given.

    space       the configurations to rank, in canonical order
    recipe      how supernets are trained (E epochs per model, rates, batch size, batch-norm option)
    seed        the only source of randomness: draw from `benchmark.streams.stream(purpose, task.seed, ...)`
    device      a torch device, as text
    engine      how steps run on it: pass it on to `benchmark.training.engine.learners`
    load        makes the halves; use `task.data`, which calls it once, when first needed
    progress    progress(fraction, facts): call it now and then
    stop        stop() is true when the search should keep a checkpoint and raise `Stopped`
    checkpoint  where to keep it, or None; the folder stays, for what several methods share
    """

    space: PoolingSpace
    recipe: SearchRecipe
    seed: int
    device: str
    load: Callable[[], Halves]
    progress: Callable[[float, dict[str, Any]], None] = lambda fraction, facts: None
    stop: Callable[[], bool] = lambda: False
    checkpoint: Path | None = None
    engine: str = "eager"

    @cached_property
    def data(self) -> Halves:
        """The data. A ranking made without touching it counts as made on no data."""
        return self.load()


def built_in() -> tuple[str, ...]:
    """Names of the methods in this package: its files that define a class `Method`."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return tuple(f.stem for f in files if re.search(r"^class Method\b", f.read_text(encoding="utf-8"), re.MULTILINE))


def available() -> tuple[str, ...]:
    """Names of all methods: those of this package, then those of installed packages. Loads none of them."""
    return (*built_in(), *sorted(_offers()))


def origin(name: str) -> str:
    """The installed packages, with versions, that a method comes from; empty for this package's own and for files."""
    return ", ".join(f"{point.dist.name} {point.dist.version}" for point in _offers().get(name, ()) if point.dist)


def load(name: str) -> type[Any]:
    """The class of a method, by name or by the path of a file of your own ("./my_method.py").

    Raises UsageError, in one line, for unknown names and for methods that do not keep to the contract.
    """
    if name.endswith(".py"):
        method = getattr(_module_at(Path(name)), "Method", None)
    elif name in built_in():
        method = getattr(_guarded(name, lambda: importlib.import_module(f"nas_methods.{name}")), "Method", None)
    elif points := _offers().get(name):
        if len(points) > 1:
            raise UsageError(f"method '{name}' is offered by several packages ({origin(name)}): uninstall all but one")
        method = _guarded(f"{name}' of '{origin(name)}", points[0].load)
    else:
        raise UsageError(f"unknown method '{name}': {choices(name, available())}, or give the path of a .py file")
    if not (isinstance(method, type) and is_dataclass(method) and callable(getattr(method, "rank", None))):
        raise UsageError(f"method '{name}': its class Method must be a dataclass with the verb rank(task)")
    if not method.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise UsageError(f"method '{name}': its class Method must be frozen, as in @dataclass(frozen=True)")
    if not (isinstance(variants(method), tuple) and all(isinstance(v, Variant) for v in variants(method))):
        raise UsageError(f"method '{name}': its VARIANTS must be a tuple of nas_methods.Variant")
    return method


def trains(method: Any) -> bool:
    """Whether a method, class or instance, may look at images: what its class declares as `trains`, else True."""
    return bool(getattr(method, "trains", True))


def variants(method: type[Any]) -> tuple[Variant, ...]:
    """What `--method all` runs of a method: its VARIANTS, else the method as it is."""
    return getattr(method, "VARIANTS", (Variant(),))


def _offers() -> dict[str, list[metadata.EntryPoint]]:
    """Entry points of installed packages by the method's name. This package's names, and `all`, are not theirs to take."""
    taken = {*built_in(), "all"}
    found: dict[str, list[metadata.EntryPoint]] = {}
    for point in metadata.entry_points(group=GROUP):
        fits = re.fullmatch(r"[A-Za-z_][\w-]*", point.name, re.ASCII)  # it becomes a part of files' names
        if fits and point.name not in taken:
            found.setdefault(point.name, []).append(point)
    return found


def _module_at(path: Path) -> Any:
    if not path.is_file():
        raise UsageError(f"no method file '{path}': give the path of a .py file, or one of {', '.join(available())}")

    def run() -> Any:
        spec = importlib.util.spec_from_file_location(f"method_file_{path.stem}", path)  # shadows no library
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look their module up there
        spec.loader.exec_module(module)
        return module

    return _guarded(str(path), run)


def _guarded(name: str, run: Callable[[], Any]) -> Any:
    try:
        return run()
    except (Exception, SystemExit) as error:
        where = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        why = f"{type(error).__name__}: {in_a_line(error)}{where}"
        if isinstance(error, ModuleNotFoundError):
            why = not_installed(error) or why
        raise UsageError(f"method '{name}' cannot be loaded: {why}") from error
