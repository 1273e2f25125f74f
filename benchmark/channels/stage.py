"""Trainings of one kind that a command asks for: what is done of them, and the rest carried out, here or on Slurm. No torch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

from benchmark import cli
from benchmark.running import cluster
from benchmark.running.claims import Terms
from benchmark.running.launch import LEAN_ENVIRONMENT, launch
from benchmark.running.submission import Submission, settings_of
from benchmark.running.worker import Workers


@dataclass(frozen=True)
class Ended:
    """How far it came: why some failed, by label, and whether it was interrupted."""

    failed: dict[str, str] = field(default_factory=dict)
    interrupted: bool = False


@dataclass(frozen=True)
class Stage:
    """Items with a `name` each, no other's in the queue, and an `out` that they write below.

    run     what a worker does with one; it has `data_root` and `terms`
    labels  what people call them; works: how much each takes, in any unit
    queue   the folder of its queue on Slurm
    there   the names of all that are done, whichever command asked for them
    """

    title: str
    run: Any
    items: Sequence[Any]
    labels: Sequence[str]
    works: Sequence[float]
    queue: Path
    there: Callable[[], set[str]]

    def left(self) -> list[int]:
        """Positions of the items that are not done."""
        there = self.there()
        return [position for position, item in enumerate(self.items) if item.name not in there]

    def submission(self, options: Any) -> Submission:
        queue = cluster.Queue(self.queue.resolve(), settings_of(options), attrgetter("name"), options.together)
        return Submission(queue, self.there)

    def carry_out(self, options: Any, deadline: float | None) -> Ended:
        """What is left of it; on Slurm it is submitted, and waited for where that is asked."""
        left, submission = self.left(), self.submission(options)
        if not left:
            submission.settle(options.wait, f"{self.title}: all is there")
            return Ended()
        if options.where == "slurm":
            return self._on_slurm(left, submission, options)
        from benchmark.running.progress import ProgressLine

        items, labels = [self.items[p] for p in left], [self.labels[p] for p in left]
        workers = Workers(options.together, 1, LEAN_ENVIRONMENT)
        with ProgressLine(self.title, [self.works[p] for p in left], labels) as line:
            outcome = launch(self.run, items, workers, report=line.report, deadline=deadline)
        return Ended({labels[p]: why for p, why in outcome.failed.items()}, outcome.interrupted)

    def _on_slurm(self, left: Sequence[int], submission: Submission, options: Any) -> Ended:
        data = str(Path(self.run.data_root).resolve()) if self.run.data_root else None
        run = replace(self.run, data_root=data, terms=Terms(submission.queue.settings.lease))
        items = [replace(self.items[p], out=self.items[p].out.resolve()) for p in left]
        count = submission.submit(run, items, options.again, processes=options.together)
        cli.say(f"{self.title}: {count} of {len(left)} that are left are submitted")
        if not options.wait:
            return Ended()
        names = {self.items[p].name: self.labels[p] for p in left}
        why = submission.wait(lambda tasks: cluster.lines(submission.queue, tasks, names)[0])
        failed = {label: why[name] for name, label in names.items() if name in why}
        if not failed:
            submission.settle(False, f"{self.title}: all is there")
        return Ended(failed)

    def status(self, options: Any) -> tuple[dict[str, Any], list[str]]:
        """How it stands, as JSON and in lines."""
        queue = self.submission(options).queue
        tasks = queue.tasks()  # before what is done: a task that ends in between has left its own
        left = {self.items[p].name: self.labels[p] for p in self.left()}
        done = [label for item, label in zip(self.items, self.labels, strict=True) if item.name not in left]
        lines = [f"{self.title}: {len(done)} of {len(self.items)} are there"]
        if left:
            lines += cluster.lines(queue, tasks, left)
        found = {"done": done, "left": list(left.values()), "tasks": [task.to_dict() for task in tasks]}
        return found | {"failed": queue.failed()}, lines
