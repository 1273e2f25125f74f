"""Training the runs of a ledger: what a worker does with one, and doing many here. Tables, verifying and retraining share it."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from benchmark import cli, provenance
from benchmark.recipe import Recipe
from benchmark.running import files
from benchmark.running.launch import LEAN_ENVIRONMENT, Workers, launch
from benchmark.running.worker import Spoiled
from benchmark.spaces.space import PoolingSpace
from benchmark.tables.ledger import Ledger, Run

PROBES = ("rank",)  # what may be read off the network after each epoch, as one more curve of the record
REPORT_SECONDS = 0.1  # between two reports of one run: a GPU takes hundreds of steps a second


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
    terms: files.Terms = field(default_factory=files.Terms)
    under_way: dict[Run, int] = field(default_factory=dict)  # in this worker, and how many steps they took

    def __call__(
        self, run: Run, report: Callable[[Any], None], stop: Callable[[], bool]
    ) -> Generator[None, None, bool | None]:
        with self.ledger.claim(run, self.terms) as mine:
            if not mine:
                return False
            if self.ledger.read(run):  # another builder finished it meanwhile
                self.ledger.sweep(run)
                return True
            self.under_way[run] = 0
            try:
                return (yield from self._train(run, report, mine.guarding(stop)))
            except files.Lost:
                return False  # somebody else is at it
            finally:
                self.under_way.pop(run, None)

    def _train(
        self, run: Run, report: Callable[[Any], None], stop: Callable[[], bool]
    ) -> Generator[None, None, bool | None]:
        from benchmark.training import devices, engine
        from benchmark.training.train import Training

        ledger, device = self.ledger, devices.device_named(self.device)
        dataset = _dataset(ledger.recipe.dataset, self.data_root, self.loader, device)
        chosen = engine.working_engine(self.engine, ledger.space, ledger.recipe, device)
        path = ledger.checkpoint_path(run)
        training = Training(
            ledger.space, run.config, run.seed, ledger.recipe, dataset, device, chosen, _probe(self.probe)
        )
        turns = engine.taking_turns(training.steps(path, stop), device)
        reported = 0.0
        try:
            while True:
                fraction, facts = next(turns)
                self.under_way[run] += 1
                if time.monotonic() - reported > REPORT_SECONDS:
                    report({"fraction": fraction} | facts)
                    reported = time.monotonic()
                yield
        except StopIteration as end:
            outcome = end.value
        except RuntimeError as error:
            if engine.still_computes(device, error):
                raise
            raise Spoiled(f"{run.config} seed {run.seed}: {error}") from error
        if outcome is None:
            return None
        results, seconds = outcome
        numerics = devices.numerics(ledger.recipe, device, dataset, chosen)
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        timings = {"seconds": round(seconds, 3), "finished": finished, "together": self.together}
        if self.sharing > 1:
            timings["sharing"] = self.sharing
        stop()  # for the last time: an attempt that was given up for dead leaves no record
        ledger.write(run, results, numerics | self.provenance | {"loader": self.loader}, timings)
        return True

    def done(self, run: Run) -> bool:
        """Whether the run has a record by now."""
        return self.ledger.record_path(run).exists()

    def room(self) -> bool:
        """Whether another run fits beside those under way, which is known once they have recorded their steps."""
        from benchmark.training import devices, engine

        if any(steps <= engine.WARM_UP for steps in self.under_way.values()):
            return False
        return engine.room_for_another(devices.device_named(self.device), len(self.under_way))


def _probe(name: str | None) -> Callable[[Any], dict[str, Any]] | None:
    from benchmark.channels import metrics

    return {None: None, "rank": metrics.rank}[name]


@lru_cache(maxsize=1)
def _dataset(name: str, root: str | None, loader: str, device: Any) -> Any:
    """The data set, where it is resident on the device, once for all runs of a worker."""
    from benchmark.datasets import loaders

    return loaders.load(name, root, download=False, loader=loader).to(device)


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
