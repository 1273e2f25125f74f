"""What a command does with Slurm: submit, wait, say how it stands, cancel, clear. Once, for tables and for searches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark import cli
from benchmark.running.cluster import Queue, Queued, Settings
from benchmark.running.launch import LEAN_ENVIRONMENT, launch
from benchmark.running.worker import Workers


def settings_of(options: Any) -> Settings:
    """The cluster's settings, which are read where something is submitted only: a status needs none."""
    submits = options.where == "slurm" and not (options.status or options.cancel)
    return Settings.read(options.cluster) if submits else Settings()


@dataclass(frozen=True)
class Submission:
    """A command's items in a queue of Slurm's.

    queue  where they are, by name
    done   the names of all items that are done by now, whichever command asked for them
    """

    queue: Queue
    done: Callable[[], set[str]]

    def cancel(self) -> None:
        """Takes all out of Slurm, and says so."""
        cli.say(f"{self.queue.cancel()} tasks are taken out of Slurm; what they had kept is not lost")

    def settle(self, wait: bool, said: str) -> None:
        """Once all is done: waits, if so asked, for tasks that are still on their way out; then clears the queue."""
        if wait:
            self.queue.wait(lambda tasks: f"{said}, {len(tasks)} tasks end", self.done)
        self.queue.clear(self.done())

    def submit(self, function: Any, items: Sequence[Any], again: bool, processes: int = 1, slots: int = 1) -> int:
        """Submits the items that are not queued yet, those that failed too often only if `again`; returns how many.

        processes, slots: of each task, as `worker.Workers` has them.
        """
        if again:
            self.queue.again()
        workers = Workers(processes, slots, LEAN_ENVIRONMENT)
        return len(launch(function, items, workers, queue=self.queue).queued)

    def wait(self, look: Callable[[list[Queued]], str]) -> dict[str, str]:
        """Until Slurm has none of the tasks; look gives the line to show meanwhile. Why items failed that are not done."""
        self.queue.wait(look, self.done)
        done = self.done()
        return {name: times[-1]["why"] for name, times in self.queue.failed().items() if name not in done}
