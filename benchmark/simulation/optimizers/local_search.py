"""Local search (White et al., 2021; first improvement): goes to a neighbour as soon as it is better, on a peak starts anew.

A neighbour has one pooling moved by one place. No configuration is trained twice. Workers that find no neighbour left
to train wait for the answers that are outstanding.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmark.simulation.asking import SearchTask, Trial, neighbours


@dataclass(frozen=True)
class Optimizer:
    """No options: the first place and each restart are drawn among what is not trained yet."""

    def begin(self, task: SearchTask) -> _Search:
        return _Search(task, list(reversed(task.draw.permutation(len(task.space)).tolist())))


@dataclass
class _Search:
    task: SearchTask
    starts: list[int]  # in the order in which `pop` gives them
    known: dict[int, float] = field(default_factory=dict)
    asked: set[int] = field(default_factory=set)
    here: int | None = None

    def ask(self) -> Trial | None:
        new = self._around()
        if not new and len(self.known) < len(self.asked):
            return None
        if new:
            config = new[int(self.task.draw.integers(len(new)))]
        elif (start := self._start()) is not None:
            self.here = config = start
        else:
            return None
        self.asked.add(config)
        return Trial(config, self.task.epochs)

    def tell(self, trial: Trial, accuracy: float) -> None:
        self.known[trial.config] = accuracy

    def _around(self) -> list[int]:
        """Goes up as far as what is known leads; the neighbours there that nobody asked for."""
        if self.here not in self.known:
            return []
        while True:
            around = neighbours(self.task.space, self.here)
            best = max(around, key=lambda config: self.known.get(config, -1.0))
            if self.known.get(best, -1.0) <= self.known[self.here]:
                return [config for config in around if config not in self.asked]
            self.here = best

    def _start(self) -> int | None:
        while self.starts:
            start = self.starts.pop()
            if start not in self.asked:
                return start
        return None
