"""Training the runs of a ledger: what a worker does with one, and doing many here. Tables, verifying and retraining share it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmark import cli, provenance
from benchmark.recipe import Recipe
from benchmark.running.claims import Terms, Work, carry_out
from benchmark.running.launch import LEAN_ENVIRONMENT, launch
from benchmark.running.worker import Workers
from benchmark.spaces import costs
from benchmark.spaces.space import PoolingSpace
from benchmark.tables.ledger import Ledger, Run

PROBES = ("rank",)  # what may be read off the network after each epoch, as one more curve of the record


@dataclass(frozen=True)
class TrainRun:
    """What a worker does with one run: claims it, trains it, writes its record. Yields after every step."""

    ledger: Ledger
    data_root: str | None
    device: str
    engine: str
    loader: str
    together: int  # how many share the machine: it explains the timings, and nothing else depends on it
    sharing: int  # how many of those take turns on one device
    provenance: dict[str, Any]
    probe: str | None = None  # one of PROBES. An observation: all else of the record is the same with it and without
    terms: Terms = field(default_factory=Terms)
    under_way: dict[Run, int] = field(default_factory=dict)  # in this worker, and how many steps they took

    def __call__(
        self, run: Run, report: Callable[[Any], None], stop: Callable[[], bool]
    ) -> Generator[None, None, bool | None]:
        place, ledger = self.ledger.place(run), self.ledger
        work = Work(
            place,
            lambda: ledger.read(run) is not None,
            lambda stop: self._train(run, place.checkpoint, report, stop),
            lambda made: ledger.write(run, *made),
        )
        return (yield from carry_out(work, self.terms, stop))

    def _train(
        self, run: Run, checkpoint: Path, report: Callable[[Any], None], stop: Callable[[], bool]
    ) -> Generator[None, None, tuple[dict[str, Any], dict[str, Any], dict[str, Any]] | None]:
        """(results, provenance, timings) of its record."""
        from benchmark.training import devices, engine
        from benchmark.training.train import Training, in_turns, now_and_then

        space, recipe, device = self.ledger.space, self.ledger.recipe, devices.device_named(self.device)
        dataset = _dataset(recipe.dataset, self.data_root, self.loader, device)
        seldom = now_and_then(report)

        def progress(fraction: float, facts: dict[str, Any]) -> None:
            self.under_way[run] += 1
            seldom(fraction, facts)

        self.under_way[run] = 0
        try:
            chosen = engine.working_engine(self.engine, space, recipe, device)
            training = Training(space, run.config, run.seed, recipe, dataset, device, chosen, _probe(self.probe))
            with engine.owning_up(device, f"{run.config} seed {run.seed}"):
                steps = engine.taking_turns(training.steps(checkpoint, stop), device)
                outcome = yield from in_turns(steps, progress)
        finally:
            self.under_way.pop(run, None)
        if outcome is None:
            return None
        results, seconds = outcome
        numerics = devices.numerics(recipe, device, dataset, chosen)
        timings = {"seconds": round(seconds, 3), "finished": _now(), "together": self.together}
        if self.sharing > 1:
            timings["sharing"] = self.sharing
        return results, numerics | self.provenance | {"loader": self.loader}, timings

    def done(self, run: Run) -> bool:
        """Whether the run has a record by now."""
        return self.ledger.record_path(run).exists()

    def room(self) -> bool:
        """Whether another run fits beside those under way, which is known once they have recorded their steps."""
        from benchmark.training import devices, engine

        if any(steps <= engine.WARM_UP for steps in self.under_way.values()):
            return False
        return engine.room_for_another(devices.device_named(self.device), len(self.under_way))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _probe(name: str | None) -> Callable[[Any], dict[str, Any]] | None:
    from benchmark.channels import metrics

    return {None: None, "rank": metrics.rank}[name]


@lru_cache(maxsize=1)
def _dataset(name: str, root: str | None, loader: str, device: Any) -> Any:
    """The data set, where it is resident on the device, once for all runs of a worker."""
    from benchmark.datasets import loaders

    return loaders.load(name, root, download=False, loader=loader).to(device)


def require_memory(
    space: PoolingSpace, recipe: Recipe, runs: Iterable[Run], device: Any, together: int, **way_out: str
) -> str:
    """A line on what the largest of these runs takes of the device's memory, `together` at once.

    way_out: as `memory.require` takes it. Raises UsageError where that cannot fit.
    """
    from benchmark.training import memory

    sized = space.at(recipe.side)
    found = [(costs.outputs(sized, run.config.path), str(run.config)) for run in runs]
    numbers, largest = max(found)
    needed = memory.training_bytes(space, recipe, numbers, device=str(device))
    at_once = min(together, len(found))
    return memory.require(needed, f"{largest} at batch {recipe.batch_size}", device, at_once, **way_out)


def say_how_long(space: PoolingSpace, recipe: Recipe, device: Any, together: int, work: float) -> None:
    """One line, measured, for so many MACs of work on a CPU."""
    from benchmark.training import devices, pace

    at_once = min(together, pace.default_together(recipe, device))
    duration = pace.measure_speed(space, recipe, device).readable(work / at_once)
    cli.say(f"on the CPU: {duration} on this machine ({devices.device_label(device)}, {together} at once, measured)")


def train_runs(
    ledger: Ledger,
    missing: Sequence[Run],
    works: Mapping[Run, float],
    together: int,
    options: Any,
    probe: str | None = None,
) -> tuple[dict[Run, str], bool]:
    """Trains the missing runs; returns those that failed, with why, and whether Ctrl-C ended it.

    works: MACs of each run. options: `data`, `device`, `engine`, `loader` and `stop_after` as the flags give them.
    """
    from benchmark.running.progress import ProgressLine
    from benchmark.training import devices

    on_cpu = devices.device_named(options.device).type == "cpu"
    slots = 1 if on_cpu else together  # on a GPU, runs are streams of one process
    code = provenance.code_version()
    function = TrainRun(
        ledger, options.data, options.device, options.engine, options.loader, together, slots, code, probe
    )
    names = [f"{run.config} seed {run.seed}" for run in missing]
    with ProgressLine("training", [works[run] for run in missing], names) as line:
        deadline = time.monotonic() + options.stop_after if options.stop_after is not None else None
        workers = Workers(together // slots, slots, LEAN_ENVIRONMENT)
        outcome = launch(function, missing, workers, report=line.report, deadline=deadline)
    return {missing[p]: why for p, why in outcome.failed.items()}, outcome.interrupted
