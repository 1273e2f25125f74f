"""Searches carried out: seeds that are missing made here by worker processes, or as tasks of Slurm."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmark import cli
from benchmark.errors import Failure
from benchmark.jobs.planning import Plan
from benchmark.jobs.search import Search
from benchmark.running import claims, cluster
from benchmark.running.launch import LEAN_ENVIRONMENT, launch
from benchmark.running.submission import Submission, settings_of
from benchmark.running.worker import Workers
from benchmark.scoring.ranking import NO_RANKING, NoRanking


def command_again(words: list[str]) -> str:
    """The command that goes on where this one ends: without --fresh, which would put aside what is made by then."""
    return shlex.join(["python", "-m", "benchmark.evaluate", *(word for word in words if word != "--fresh")])


def search_here(search: Search, seeds: list[int], options: Any, again: str, deadline: float | None) -> int | None:
    """Makes the missing rankings. Returns an exit code if that ended early, None when all are there."""
    from benchmark.running.progress import ProgressLine

    with ProgressLine(search.name, [1.0] * len(seeds), [f"seed {seed}" for seed in seeds]) as line:
        workers = Workers(options.together, environment=LEAN_ENVIRONMENT)
        outcome = launch(search, seeds, workers, report=line.report, deadline=deadline)
    if outcome.failed:
        why = "; ".join(f"{search.name} seed {seeds[p]}: {why}" for p, why in outcome.failed.items())
        if not outcome.interrupted:
            constant = all(NO_RANKING in reason for reason in outcome.failed.values())
            raise (NoRanking if constant else Failure)(why)
        cli.say(why)
    if len(outcome.done) < len(seeds):
        cli.say(f"searches unfinished: {len(seeds) - len(outcome.done)}; go on with: {again}")
        return 130 if outcome.interrupted else 0
    return None


def submission_of(search: Search, options: Any) -> Submission:
    """A search's seeds as items of Slurm's. Done is what has a ranking, of whatever search."""
    one = search.path(0)
    folder = (one.parent / "work" / f"slurm-{one.stem.removesuffix('-seed0')}").resolve()
    queue = cluster.Queue(folder, settings_of(options), lambda seed: search.path(seed).stem, options.together)
    return Submission(queue, lambda: {path.stem for path in one.parent.glob("*.json")})


def print_status(queue: cluster.Queue, search: Search, seeds: list[int], as_json: bool) -> int:
    tasks = queue.tasks()  # before the rankings: a task that ends in between has left its own
    done = [seed for seed in seeds if search.done(seed)]
    if as_json:
        cli.print_json({"done": done, "tasks": [task.to_dict() for task in tasks], "failed": queue.failed()})
    else:
        cli.answer(f"{search.name}: {len(done)} of {len(seeds)} seeds are there")
        cli.answer(
            *cluster.lines(queue, tasks, {queue.name(seed): f"seed {seed}" for seed in seeds if seed not in done})
        )
    return 0


def search_on_slurm(plan: Plan, submission: Submission, options: Any, words: list[str]) -> int | None:
    """Submits the missing rankings. Returns an exit code unless it waited until all were there."""
    from benchmark.datasets import loaders

    search, missing, queue = plan.search, plan.missing, submission.queue
    if plan.trains:  # faults are named, and data fetched, before anything is submitted
        dataset = loaders.load(search.recipe.dataset, options.data, loader=options.loader)
        dataset.sized_for(search.space, search.recipe.side)
    method = str(Path(search.method).resolve()) if search.method.endswith(".py") else search.method
    terms = claims.Terms(queue.settings.lease)
    elsewhere = replace(search, method=method, folder=search.folder.resolve(), terms=terms)
    count = submission.submit(elsewhere, missing, options.again, processes=options.together)
    cli.say(f"{count} searches are submitted")
    again = command_again(words)
    if not options.wait:
        cli.say(f"see how it goes with --status; once all is done, this scores them: {again}")
        return 0
    names = {queue.name(seed): f"seed {seed}" for seed in missing}
    failed = submission.wait(lambda tasks: cluster.lines(queue, tasks, names)[0])
    if why := [
        f"{search.name} seed {seed}: {failed[queue.name(seed)]}" for seed in missing if queue.name(seed) in failed
    ]:
        raise Failure("; ".join(why))
    if left := [seed for seed in missing if not search.done(seed)]:
        cli.say(f"searches unfinished: {len(left)}; go on with: {again}")
        return 0
    return None
