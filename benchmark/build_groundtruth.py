"""Builds a ground-truth table: trains what is missing, keeps a record of each run, writes the table.

    python -m benchmark.build_groundtruth                                   # 36 configurations x 3 seeds, recipe paper
    python -m benchmark.build_groundtruth --recipe smoke                    # the same in minutes, to see it work
    python -m benchmark.build_groundtruth --epochs 10 --configs "[4,3,3]" --seeds 0
    python -m benchmark.build_groundtruth --probe rank                      # with the networks' mean rank by epoch
    python -m benchmark.build_groundtruth --space resnet50-cifar100 --recipe smoke
    python -m benchmark.build_groundtruth --where slurm                     # as a job array: slurm/README.md
    python -m benchmark.build_groundtruth --status

Runs are filled seed by seed, so that any cut leaves a table that ranks. Kill it at any moment: the same
command goes on where it stopped, and the records are the same as if nothing had happened.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from benchmark import cli, provenance
from benchmark.errors import Failure, UsageError
from benchmark.jobs.runs import PROBES, TrainRun, require_memory, say_how_long, train_runs
from benchmark.recipe import Recipe
from benchmark.running import claims, cluster
from benchmark.running.submission import Submission, settings_of
from benchmark.spaces import costs
from benchmark.spaces.space import SPACES, PoolingSpace, load_space, require_trainable
from benchmark.tables.ledger import CorruptRecord, Ledger, Run
from benchmark.training import precision


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
    parser.add_argument(
        "--probe",
        choices=PROBES,
        help="reads one more curve off the networks as they train and changes nothing else of a record: "
        "rank, the mean rank of the convolutions after each epoch (CONet)",
    )
    parser.add_argument("--stop-after", type=cli.duration, metavar="T", help="end at a checkpoint after 90s, 8m, 1.5h")
    parser.add_argument("--status", action="store_true", help="say what is done and what is missing, and stop")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    cli.add_slurm(parser)
    instead = {"precision": precision.AUTO}
    cli.add_fields(parser, Recipe, "recipe, field by field (defaults of the preset paper)", instead)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    options = arguments().parse(words)
    space = load_space(options.space)
    require_trainable(space)
    configs = _configs(space, options)
    recipe = _recipe(space, options)
    seeds = sorted(set(options.seeds))
    ledger = Ledger.under(options.out, space, recipe)
    build = Build(ledger, configs, seeds, options, words)
    submission = _submission(ledger, options)
    if options.status:
        return _print_status(build, submission.queue)
    if options.cancel:
        submission.cancel()
        return 0
    runs = build.runs
    if len(build.state()["done"]) == len(runs):  # a table anew, which takes neither torch nor data
        cli.say(f"{ledger.name}: {len(runs)} of {len(runs)} runs are there, data set {recipe.dataset}")
        ledger.prepare()
        _missing(ledger, runs)  # sweeps up, and sets aside corrupt records of other runs
        submission.settle(options.wait, "all runs are there")
        return _finish(build, {}, False)
    if options.where == "slurm":
        return _build_on_slurm(build, submission)

    from benchmark.training import (
        devices,
        engine,
        pace,
        train,
    )  # imports torch, so --status and errors in flags come before it

    device = devices.device_named(options.device)
    engine.require_engine(options.engine, device)
    dataset = _loaded(space, recipe, options)  # its faults are said before any training
    together = options.together or pace.default_together(recipe, device)
    ledger.prepare()
    missing = _missing(ledger, runs)
    works = {run: train.work(space, run.config, recipe, len(dataset.train), len(dataset.test)) for run in runs}
    cli.say(f"{ledger.name}: {len(runs) - len(missing)} of {len(runs)} runs are there, data set {dataset.name}")
    failed: dict[Run, str] = {}
    interrupted = False
    if missing:
        cli.say(require_memory(space, recipe, missing, device, together))
        if device.type == "cpu":
            say_how_long(space, recipe, device, together, sum(works[run] for run in missing))
            if options.recipe != "smoke":
                shown = f"python -m benchmark.build_groundtruth --space {space.name} --recipe smoke"
                cli.say(f"to see it work in minutes: {shown}")
        failed, interrupted = train_runs(ledger, missing, works, together, options, options.probe)
    return _finish(build, failed, interrupted)


def _loaded(space: PoolingSpace, recipe: Recipe, options: Any) -> Any:
    """The data set as a training sees it. Its faults are said here, before anything is trained or submitted."""
    from benchmark.datasets import loaders  # imports torch

    dataset = loaders.load(recipe.dataset, options.data, loader=options.loader)
    return dataset.sized_for(space, recipe.side).reduced(recipe)


def _configs(space: PoolingSpace, options: Any, quiet: bool = False) -> Sequence[Any]:
    """What is asked for: all, unless some are named; of a large space, `smoke` takes a few."""
    if options.configs:
        return space.select(options.configs)
    if options.recipe != "smoke":
        return space.configs
    if len(space.few) < len(space) and not quiet:
        cli.say(f"smoke: {len(space.few)} of {len(space)} configurations (--configs 1-{len(space)} for all)")
    return space.few


def _recipe(space: PoolingSpace, options: Any) -> Recipe:
    """The recipe as the flags give it. On Slurm's CPUs, precisions are compared here, where it is submitted."""

    def kept(recipe: Recipe) -> int:
        ledger = Ledger.under(options.out, space, recipe)
        return len(ledger.recorded()) or int(ledger.folder.exists())

    trains_here = not (options.status or options.cancel)
    on_gpus = options.where == "slurm" and trains_here and cluster.Settings.read(options.cluster).gpus > 0

    def measure(recipe: Recipe) -> precision.Rates | None:
        from benchmark.training import devices, engine, pace

        device = devices.device_named(options.device)
        engine.require_engine(options.engine, device)
        _loaded(space, recipe, options)  # its faults are said first
        if options.where != "slurm":  # and what does not fit even in bf16: measuring takes long, too
            runs = [Run(seed, config) for config in _configs(space, options, quiet=True) for seed in set(options.seeds)]
            require_memory(space, recipe, runs, device, options.together or pace.default_together(recipe, device))
        return precision.measured_on(options.device, space)(recipe)

    chosen = measure if trains_here and not on_gpus else precision.unmeasured
    return precision.recipe_for(space, Recipe, options.recipe, cli.given_fields(options, Recipe), kept, chosen)


@dataclass(frozen=True)
class Build:
    """What one command builds: a ledger's runs, each configuration with each seed, and the words that ask for it."""

    ledger: Ledger
    configs: Sequence[Any]
    seeds: list[int]
    options: Any
    words: list[str]

    @property
    def runs(self) -> list[Run]:
        return sorted(Run(seed, config) for seed in self.seeds for config in self.configs)

    @property
    def again(self) -> str:
        """The command, as one types it."""
        return shlex.join(["python", "-m", "benchmark.build_groundtruth", *self.words])

    def state(self) -> dict[str, list[Run]]:
        """The runs by how they stand: done, running, missing, corrupt."""
        return self.ledger.status(self.configs, self.seeds)


def _submission(ledger: Ledger, options: Any) -> Submission:
    """A ledger's runs as items of Slurm's."""
    settings = settings_of(options)
    together = options.together or (4 if settings.gpus else max(1, settings.cpus // ledger.recipe.threads))
    queue = cluster.Queue((ledger.folder / "work" / "slurm").resolve(), settings, ledger.stem, together)
    return Submission(queue, lambda: {queue.name(run) for run in ledger.recorded()})


def _build_on_slurm(build: Build, submission: Submission) -> int:
    """Submits the missing runs that are not queued yet. With --wait, stays, and writes the table."""
    ledger, runs, options = build.ledger, build.runs, build.options
    dataset = _loaded(ledger.space, ledger.recipe, options)
    ledger.prepare()
    missing = _missing(ledger, runs)
    cli.say(f"{ledger.name}: {len(runs) - len(missing)} of {len(runs)} runs are there, data set {dataset.name}")
    queue = submission.queue
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
        options.probe,
        claims.Terms(queue.settings.lease),
    )
    count = submission.submit(function, missing, options.again, processes=at_once // slots, slots=slots)
    cli.say(f"{count} runs are submitted, {-(-count // queue.together)} tasks")
    if options.wait:
        why = submission.wait(lambda tasks: _slurm_lines(build, queue, tasks)[0])
        failed = {run: why[name] for run in missing if (name := queue.name(run)) in why}
        if not failed and submission.done().issuperset(queue.name(run) for run in runs):
            submission.settle(False, "all runs are there")
        return _finish(build, failed, False)
    stuck = queue.failed_for_good()
    for run in missing:
        if times := stuck.get(queue.name(run)):
            cli.say(
                f"{run.config} seed {run.seed} failed {len(times)} times, not submitted (--again): {times[-1]['why']}"
            )
    cli.say(f"see how it goes with --status; once all is done, this writes the table: {build.again}")
    return 0


def _slurm_lines(build: Build, queue: cluster.Queue, tasks: list[cluster.Queued]) -> list[str]:
    """How the runs stand that are not done, and how long they still take by what the others took."""
    ledger, state = build.ledger, build.state()
    left = {queue.name(run): run for key, runs in state.items() if key != "done" for run in runs}
    running = {queue.name(run) for run in state["running"]}
    lines = cluster.lines(queue, tasks, {n: f"{run.config} seed {run.seed}" for n, run in left.items()}, running)
    work = sum(
        costs.path_macs(ledger.space, left[name].config.path) for task in tasks for name in task.names if name in left
    )
    records = [(costs.path_macs(ledger.space, run.config.path), ledger.read(run)) for run in state["done"]]
    if records and running and work:
        rates = [record["timings"]["seconds"] / macs for macs, record in records if record]
        lines[0] += f"; {_time_left(rates, work / len(running))} left, {len(running)} runs at once"
    lines[0] = f"on Slurm: {len(records)} done, {lines[0]}"
    return lines


def _time_left(rates: Sequence[float], work: float) -> str:
    """How long so many MACs take, as a range: at the middle one of the runs' rates, seconds per MAC, to the slowest tenth's."""
    slow = sorted(rates)[-(-len(rates) * 9 // 10) - 1]
    return " to ".join(dict.fromkeys(cli.readable(rate * work) for rate in (median(rates), max(median(rates), slow))))


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


def _finish(build: Build, failed: dict[Run, str], interrupted: bool) -> int:
    """Writes the table of all that is in the ledger and says how things stand."""
    ledger, options = build.ledger, build.options
    path = None
    try:
        path = _write_table(ledger, Path(options.out) / "tables")
    except OSError as error:
        if not failed:
            raise
        cli.say(f"no table is written: {error}")  # and what is worse follows: why the runs failed
    state, count = build.state(), len(build.runs)
    left = sum(len(runs) for key, runs in state.items() if key != "done")
    if left and not failed:
        cli.say(f"runs left: {left}; go on with: {build.again}")
    if options.probe and (unseen := _without_curve(ledger, state["done"], options.probe)):
        cli.say(
            f"{unseen} of {len(state['done'])} records have no curve '{options.probe}': they were made without --probe, "
            "and a record is not made again"
        )
    if options.json:
        cli.print_json(_status_json(ledger, state) | {"table": str(path) if path else None})
    elif path:
        cli.answer(f"table: {path} ({len(state['done'])} of {count} runs, {ledger.recipe.dataset})")
    if failed:
        why = "; ".join(f"{run.config} seed {run.seed}: {why}" for run, why in sorted(failed.items())[:3])
        raise Failure(f"{len(failed)} of {count} runs failed, the others are kept: {why}")
    return 130 if interrupted else 0


def _without_curve(ledger: Ledger, runs: list[Run], name: str) -> int:
    return sum(name not in record["curves"] for run in runs if (record := ledger.read(run)))


def _write_table(ledger: Ledger, folder: Path) -> Path | None:
    """Writes the table of all that is in the ledger; builders that finish together write one after the other."""
    from benchmark.tables.files import write_table
    from benchmark.tables.table import GroundTruth

    terms = claims.Terms()
    while True:
        with claims.claim(ledger.folder / "work" / "table.lock", terms) as mine:
            if mine:
                records = ledger.records()
                path = write_table(GroundTruth.from_records(records, ledger.name), folder) if records else None
                (ledger.folder / "work" / "table.lock").unlink(missing_ok=True)
                return path
        time.sleep(claims.LOOK_SECONDS)


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


def _print_status(build: Build, queue: cluster.Queue) -> int:
    ledger, state = build.ledger, build.state()
    said = _status_json(ledger, state)
    lines: list[str] = []
    if queue.folder.exists():
        try:
            tasks = queue.tasks()
            lines = _slurm_lines(build, queue, tasks)
        except (Failure, UsageError) as error:
            tasks, lines = [], [f"on Slurm: not known ({error})"]
        said["slurm"] = {"tasks": [task.to_dict() for task in tasks], "failed": queue.failed()}
    if build.options.json:
        cli.print_json(said)
        return 0
    cli.answer(f"{ledger.name}  ({ledger.folder})")
    for seed in build.seeds:
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
    cli.command(main)
