"""Builds a ground-truth table: trains what is missing, keeps a record of each run, writes the table.

    python -m benchmark.build_groundtruth                                   # 36 configurations x 3 seeds, recipe paper
    python -m benchmark.build_groundtruth --recipe smoke                    # the same in minutes, to see it work
    python -m benchmark.build_groundtruth --epochs 10 --configs "[4,3,3]" --seeds 0
    python -m benchmark.build_groundtruth --where slurm                     # as a job array: slurm/README.md
    python -m benchmark.build_groundtruth --status

Runs are filled seed by seed, so that any cut leaves a table that ranks. Kill it at any moment: the same
command goes on where it stopped, and the records are the same as if nothing had happened.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from benchmark import cli, provenance
from benchmark.errors import Failure, UsageError
from benchmark.recipe import Recipe
from benchmark.running import cluster, files
from benchmark.running.launch import LEAN_ENVIRONMENT, Spoiled, launch
from benchmark.spaces import costs
from benchmark.spaces.space import SPACES, PoolingSpace, load_space, require_trainable
from benchmark.tables.ledger import CorruptRecord, Ledger, Run
from benchmark.training import precision

REPORT_SECONDS = 0.1  # between two reports of one run: a GPU takes hundreds of steps a second


def arguments() -> cli.Parser:
    parser = cli.Parser(prog="python -m benchmark.build_groundtruth", description=__doc__)
    parser.add_argument("--space", default="resnet20-cifar10", metavar="S", help=f"one of {', '.join(SPACES)}")
    parser.add_argument("--recipe", default="paper", metavar="R", help="paper (default) or smoke")
    parser.add_argument("--configs", nargs="+", metavar="C", help='numbers, ranges or configurations: 1-36 "[4,3,3]"')
    parser.add_argument("--seeds", nargs="+", type=cli.seed, default=[0, 1, 2], metavar="N", help="default 0 1 2")
    parser.add_argument("--out", type=cli.folder, default="results", metavar="DIR", help="default ./results")
    cli.add_data(parser)
    cli.add_device(parser)
    cli.add_loader(parser)
    parser.add_argument(
        "--together",
        type=cli.positive,
        metavar="K",
        help="runs at once (on Slurm: runs per task), 1.4 to 2.5 GB each at batch 256; "
        "default: one per core, or 4 on a GPU where they fit",
    )
    parser.add_argument("--stop-after", type=cli.duration, metavar="T", help="end at a checkpoint after 90s, 8m, 1.5h")
    parser.add_argument("--status", action="store_true", help="say what is done and what is missing, and stop")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    cli.add_slurm(parser)
    instead = {"precision": precision.AUTO}
    cli.add_fields(parser, Recipe, "recipe, field by field (defaults of the preset paper)", instead)
    return parser


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
        from benchmark.training import engine, train

        ledger, device = self.ledger, train.device_named(self.device)
        dataset = _dataset(ledger.recipe.dataset, self.data_root, self.loader, device)
        chosen = engine.working_engine(self.engine, ledger.space, ledger.recipe, device)
        path = ledger.checkpoint_path(run)
        steps = train.training(ledger.space, run.config, run.seed, ledger.recipe, dataset, device, path, stop, chosen)
        turns = engine.taking_turns(steps, device)
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
        numerics = train.numerics(ledger.recipe, device, dataset, chosen)
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
        from benchmark.training import engine, train

        if any(steps <= engine.WARM_UP for steps in self.under_way.values()):
            return False
        return engine.room_for_another(train.device_named(self.device), len(self.under_way))


@lru_cache(maxsize=1)
def _dataset(name: str, root: str | None, loader: str, device: Any) -> Any:
    """The data set, where it is resident on the device, once for all runs of a worker."""
    from benchmark.datasets import loaders

    return loaders.load(name, root, download=False, loader=loader).to(device)


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    options = arguments().parse(words)
    space = load_space(options.space)
    require_trainable(space)
    recipe = _recipe(space, options)
    configs = space.select(options.configs) if options.configs else space.configs
    seeds = sorted(set(options.seeds))
    ledger = Ledger.under(options.out, space, recipe)
    queue = _queue(ledger, options)
    if options.status:
        return _print_status(ledger, configs, seeds, queue, options.json)
    if options.cancel:
        cli.say(f"{queue.cancel()} tasks are taken out of Slurm; what they had kept is not lost")
        return 0
    runs = sorted(Run(seed, config) for seed in seeds for config in configs)
    if len(ledger.status(configs, seeds)["done"]) == len(runs):  # a table anew, which takes neither torch nor data
        cli.say(f"{ledger.name}: {len(runs)} of {len(runs)} runs are there, data set {recipe.dataset}")
        ledger.prepare()
        _missing(ledger, runs)  # sweeps up, and sets aside corrupt records of other runs
        if options.wait:  # a task may still be on its way out
            queue.wait(lambda tasks: f"all runs are there, {len(tasks)} tasks end", lambda: _names(ledger, queue))
        queue.clear(_names(ledger, queue))
        return _finish(ledger, configs, seeds, {}, False, options, words)
    if options.where == "slurm":
        return _build_on_slurm(ledger, configs, seeds, runs, queue, options, words)

    from benchmark.datasets import loaders
    from benchmark.training import engine, pace, train  # imports torch, so --status and errors in flags come before it

    device = train.device_named(options.device)
    engine.require_engine(options.engine, device)
    faultless = loaders.load(recipe.dataset, options.data, loader=options.loader)  # or so it says before any training
    dataset = faultless.reduced(recipe)
    together = options.together or pace.default_together(recipe, device)
    ledger.prepare()
    missing = _missing(ledger, runs)
    works = {run: train.work(space, run.config, recipe, len(dataset.train), len(dataset.test)) for run in runs}
    cli.say(f"{ledger.name}: {len(runs) - len(missing)} of {len(runs)} runs are there, data set {dataset.name}")
    failed: dict[Run, str] = {}
    interrupted = False
    if missing:
        if device.type == "cpu":
            say_how_long(space, recipe, device, together, sum(works[run] for run in missing))
            if options.recipe != "smoke":
                cli.say("to see it work in minutes: python -m benchmark.build_groundtruth --recipe smoke")
        failed, interrupted = train_runs(ledger, missing, works, together, options)
    return _finish(ledger, configs, seeds, failed, interrupted, options, words)


def _recipe(space: PoolingSpace, options: Any) -> Recipe:
    """The recipe as the flags give it. On Slurm's CPUs, precisions are compared here, where it is submitted."""

    def kept(recipe: Recipe) -> int:
        ledger = Ledger.under(options.out, space, recipe)
        return len(ledger.recorded()) or int(ledger.folder.exists())

    trains_here = not (options.status or options.cancel)
    on_gpus = options.where == "slurm" and trains_here and cluster.Settings.read(options.cluster).gpus > 0
    measure = precision.measured_on(options.device, space) if trains_here and not on_gpus else precision.unmeasured
    return precision.recipe_for(Recipe, options.recipe, cli.given_fields(options, Recipe), kept, measure)


def _queue(ledger: Ledger, options: Any) -> cluster.Queue:
    """The queue of a ledger's runs. Settings are read where they are needed only: a status needs none."""
    submits = options.where == "slurm" and not (options.status or options.cancel)
    settings = cluster.Settings.read(options.cluster) if submits else cluster.Settings()
    together = options.together or (4 if settings.gpus else max(1, settings.cpus // ledger.recipe.threads))
    return cluster.Queue((ledger.folder / "work" / "slurm").resolve(), settings, ledger.stem, together)


def _build_on_slurm(
    ledger: Ledger,
    configs: Sequence[Any],
    seeds: list[int],
    runs: list[Run],
    queue: cluster.Queue,
    options: Any,
    words: list[str],
) -> int:
    """Submits the missing runs that are not queued yet. With --wait, stays, and writes the table."""
    from benchmark.datasets import loaders  # imports torch: faults of the data are named before anything is submitted

    dataset = loaders.load(ledger.recipe.dataset, options.data, loader=options.loader).reduced(ledger.recipe)
    ledger.prepare()
    missing = _missing(ledger, runs)
    cli.say(f"{ledger.name}: {len(runs) - len(missing)} of {len(runs)} runs are there, data set {dataset.name}")
    if options.again:
        queue.again()
    on_gpu = queue.settings.gpus > 0
    at_once = queue.together if on_gpu else min(queue.together, max(1, queue.settings.cpus // ledger.recipe.threads))
    slots = at_once if on_gpu else 1
    function = TrainRun(
        replace(ledger, folder=ledger.folder.resolve()),
        str(Path(options.data).resolve()) if options.data else None,
        options.device,
        options.engine,
        options.loader,
        at_once,
        slots,
        provenance.code_version(),
        files.Terms(queue.settings.lease),
    )
    outcome = launch(
        function,
        missing,
        processes=at_once // slots,
        slots=slots,
        environment=LEAN_ENVIRONMENT,
        where="slurm",
        queue=queue,
    )
    cli.say(f"{len(outcome.queued)} runs are submitted, {-(-len(outcome.queued) // queue.together)} tasks")
    again = shlex.join(["python", "-m", "benchmark.build_groundtruth", *words])
    if options.wait:
        queue.wait(lambda tasks: _slurm_lines(ledger, configs, seeds, queue, tasks)[0], lambda: _names(ledger, queue))
        gone = _names(ledger, queue)
        failed = {run: times[-1]["why"] for run in missing if (times := queue.failed().get(queue.name(run)))}
        failed = {run: why for run, why in failed.items() if queue.name(run) not in gone}
        if not failed and gone.issuperset(queue.name(run) for run in runs):
            queue.clear(gone)
        return _finish(ledger, configs, seeds, failed, False, options, words)
    stuck = queue.failed_for_good()
    for run in missing:
        if times := stuck.get(queue.name(run)):
            cli.say(
                f"{run.config} seed {run.seed} failed {len(times)} times, not submitted (--again): {times[-1]['why']}"
            )
    cli.say(f"see how it goes with --status; once all is done, this writes the table: {again}")
    return 0


def _names(ledger: Ledger, queue: cluster.Queue) -> set[str]:
    """What the runs that have a record are called in the queue."""
    return {queue.name(run) for run in ledger.recorded()}


def _slurm_lines(
    ledger: Ledger, configs: Sequence[Any], seeds: Sequence[int], queue: cluster.Queue, tasks: list[cluster.Queued]
) -> list[str]:
    """How the runs stand that are not done, and how long they still take by what the others took."""
    state = ledger.status(configs, seeds)
    left = {queue.name(run): run for key, runs in state.items() if key != "done" for run in runs}
    running = {queue.name(run) for run in state["running"]}
    lines = cluster.lines(queue, tasks, {n: f"{run.config} seed {run.seed}" for n, run in left.items()}, running)
    work = sum(
        costs.path_macs(ledger.space, left[name].config.path) for task in tasks for name in task.names if name in left
    )
    records = [(costs.path_macs(ledger.space, run.config.path), ledger.read(run)) for run in state["done"]]
    macs = sum(each for each, _ in records)
    if macs and running and work:
        seconds = sum(record["timings"]["seconds"] for _, record in records if record)
        lines[0] += f"; about {cli.readable(seconds / macs * work / len(running))} left, {len(running)} runs at once"
    lines[0] = f"on Slurm: {len(records)} done, {lines[0]}"
    return lines


def _missing(ledger: Ledger, runs: list[Run]) -> list[Run]:
    """The runs without a record, in order. A corrupt record is set aside, with a line, and counts as missing."""
    asked = set(runs)
    for run in ledger.recorded():
        try:
            ledger.read(run)
            ledger.sweep(run)
        except CorruptRecord as error:
            with ledger.claim(run, wait=True) as mine:
                if mine and ledger.record_path(run).exists():  # another builder may have been quicker
                    what = (
                        "to be trained again"
                        if run in asked
                        else "and out of the table until it is trained again, with "
                        + shlex.join(["--configs", str(run.config), "--seeds", str(run.seed)])
                    )
                    cli.say(f"{error}: kept as {ledger.set_aside(run).name}, {what}")
    done = set(ledger.recorded())
    return [run for run in runs if run not in done]


def say_how_long(space: PoolingSpace, recipe: Recipe, device: Any, together: int, work: float) -> None:
    """One line, measured, for so many MACs of work on a CPU."""
    from benchmark.training import pace, train

    at_once = min(together, pace.default_together(recipe, device))
    duration = pace.measure_speed(space, recipe, device).readable(work / at_once)
    cli.say(f"on the CPU: {duration} on this machine ({train.device_label(device)}, {together} at once, measured)")


def train_runs(
    ledger: Ledger, missing: Sequence[Run], works: Mapping[Run, float], together: int, options: Any
) -> tuple[dict[Run, str], bool]:
    """Trains the missing runs; returns those that failed, with why, and whether Ctrl-C ended it.

    works: MACs of each run. options: `data`, `device`, `engine`, `loader` and `stop_after` as the flags give them.
    """
    from benchmark.running.progress import ProgressLine
    from benchmark.training import train

    on_cpu = train.device_named(options.device).type == "cpu"
    slots = 1 if on_cpu else together  # on a GPU, runs are streams of one process
    code = provenance.code_version()
    function = TrainRun(ledger, options.data, options.device, options.engine, options.loader, together, slots, code)
    names = [f"{run.config} seed {run.seed}" for run in missing]
    with ProgressLine("training", [works[run] for run in missing], names) as line:
        deadline = time.monotonic() + options.stop_after if options.stop_after is not None else None
        outcome = launch(
            function,
            missing,
            processes=together // slots,
            slots=slots,
            report=line.report,
            environment=LEAN_ENVIRONMENT,
            deadline=deadline,
        )
    return {missing[p]: why for p, why in outcome.failed.items()}, outcome.interrupted


def _finish(
    ledger: Ledger,
    configs: Sequence[Any],
    seeds: list[int],
    failed: dict[Run, str],
    interrupted: bool,
    options: Any,
    words: list[str],
) -> int:
    """Writes the table of all that is in the ledger and says how things stand."""
    path = None
    try:
        path = _write_table(ledger, Path(options.out) / "tables")
    except OSError as error:
        if not failed:
            raise
        cli.say(f"no table is written: {error}")  # and what is worse follows: why the runs failed
    state = ledger.status(configs, seeds)
    left = sum(len(runs) for key, runs in state.items() if key != "done")
    if left and not failed:
        again = shlex.join(["python", "-m", "benchmark.build_groundtruth", *words])
        cli.say(f"{left} runs are left; go on with: {again}")
    if options.json:
        cli.print_json(_status_json(ledger, state) | {"table": str(path) if path else None})
    elif path:
        cli.answer(f"table: {path} ({len(state['done'])} of {len(configs) * len(seeds)} runs, {ledger.recipe.dataset})")
    if failed:
        why = "; ".join(f"{run.config} seed {run.seed}: {why}" for run, why in sorted(failed.items())[:3])
        raise Failure(f"{len(failed)} of {len(configs) * len(seeds)} runs failed, the others are kept: {why}")
    return 130 if interrupted else 0


def _write_table(ledger: Ledger, folder: Path) -> Path | None:
    """Writes the table of all that is in the ledger; builders that finish together write one after the other."""
    from benchmark.tables.files import write_table
    from benchmark.tables.table import GroundTruth

    terms = files.Terms()
    while True:
        with files.claim(ledger.folder / "work" / "table.lock", terms) as mine:
            if mine:
                records = ledger.records()
                path = write_table(GroundTruth.from_records(records, ledger.name), folder) if records else None
                (ledger.folder / "work" / "table.lock").unlink(missing_ok=True)
                return path
        time.sleep(files.LOOK_SECONDS)


def _status_json(ledger: Ledger, state: dict[str, list[Run]]) -> dict[str, Any]:
    return {
        "name": ledger.name,
        "space": ledger.space.name,
        "dataset": ledger.recipe.dataset,
        "recipe": ledger.recipe.to_dict(),
        "recipe_hash": ledger.recipe.hash,
        "folder": str(ledger.folder),
        "runs": {key: [{"config": str(r.config), "seed": r.seed} for r in runs] for key, runs in state.items()},
    }


def _print_status(ledger: Ledger, configs: Sequence[Any], seeds: list[int], queue: cluster.Queue, as_json: bool) -> int:
    state = ledger.status(configs, seeds)
    said = _status_json(ledger, state)
    lines: list[str] = []
    if queue.folder.exists():
        try:
            tasks = queue.tasks()
            lines = _slurm_lines(ledger, configs, seeds, queue, tasks)
        except (Failure, UsageError) as error:
            tasks, lines = [], [f"on Slurm: not known ({error})"]
        said["slurm"] = {"tasks": [task.to_dict() for task in tasks], "failed": queue.failed()}
    if as_json:
        cli.print_json(said)
        return 0
    cli.answer(f"{ledger.name}  ({ledger.folder})")
    for seed in seeds:
        counts = {key: sum(run.seed == seed for run in runs) for key, runs in state.items()}
        cli.answer(f"seed {seed}: " + ", ".join(f"{n} {key}" for key, n in counts.items() if n or key == "done"))
    missing = state["missing"]
    if missing:
        shown = ", ".join(f"{run.config} seed {run.seed}" for run in missing[:5])
        cli.answer(f"missing: {shown}" + (f" and {len(missing) - 5} more" if len(missing) > 5 else ""))
    if lines:
        cli.answer(*lines)
    return 0


if __name__ == "__main__":
    from benchmark import build_groundtruth  # under its own name, by which other machines find what it sends them

    cli.command(build_groundtruth.main)
