"""Regularised evolution (Real et al., 2019): the best of a few is mutated, the oldest dies.

A mutation moves one pooling by one place. A child that was asked for already would tell nothing new: it is mutated once
more, until it is new. Population and sample are small, for spaces are: 100 would be more than the 36 of ResNet20.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from benchmark.errors import UsageError
from benchmark.simulation.asking import SearchTask, Trial, neighbours


@dataclass(frozen=True)
class Optimizer:
    """Regularised evolution.

    population  how many live at once; so many are drawn at random at first
    sample      how many of them compete to be the parent
    """

    population: int = 10
    sample: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.sample <= self.population:
            raise UsageError(
                f"evolution with population={self.population},sample={self.sample}: "
                "the sample must be from 1 to the population"
            )

    def begin(self, task: SearchTask) -> _Search:
        first = task.draw.permutation(len(task.space))[: self.population].tolist()
        return _Search(self, task, list(reversed(first)), alive=deque(maxlen=self.population))


@dataclass
class _Search:
    options: Optimizer
    task: SearchTask
    first: list[int]
    alive: deque[tuple[float, int]]  # (accuracy, configuration), the oldest first
    asked: set[int] = field(default_factory=set)

    def ask(self) -> Trial | None:
        config = self.first.pop() if self.first else self._child()
        if config is None:
            return None
        self.asked.add(config)
        return Trial(config, self.task.epochs)

    def tell(self, trial: Trial, accuracy: float) -> None:
        self.alive.append((accuracy, trial.config))

    def _child(self) -> int | None:
        if not self.alive or len(self.asked) == len(self.task.space):
            return None
        count = min(self.options.sample, len(self.alive))
        chosen = self.task.draw.choice(len(self.alive), size=count, replace=False)
        _, config = max((self.alive[i] for i in chosen), key=lambda one: one[0])
        while config in self.asked:
            around = neighbours(self.task.space, config)
            config = around[int(self.task.draw.integers(len(around)))]
        return config
