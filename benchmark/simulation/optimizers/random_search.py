"""Random search without replacement (Bergstra and Bengio, 2012): every configuration once, fully trained, in random order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmark.simulation.asking import SearchTask, Trial


@dataclass(frozen=True)
class Optimizer:
    """No options."""

    def begin(self, task: SearchTask) -> _Search:
        order = task.draw.permutation(len(task.space)).tolist()
        return _Search(iter([Trial(config, task.epochs) for config in order]))


@dataclass
class _Search:
    trials: Iterator[Trial]

    def ask(self) -> Trial | None:
        return next(self.trials, None)

    def tell(self, trial: Trial, accuracy: float) -> None:
        """Nothing is learned."""
