"""Successive halving (Jamieson and Talwalkar, 2016): many for a few epochs, the best of them for eta times as many.

Brackets follow each other, each of configurations that none before had. A promoted configuration goes on from where it
stopped, so only the further epochs cost. A value after few epochs is that of the recorded run on its way, whose learning
rate falls over all its epochs: it is no training of that length.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from benchmark.errors import UsageError
from benchmark.simulation.asking import SearchTask, Trial


@dataclass(frozen=True)
class Optimizer:
    """Successive halving.

    eta         one in eta is promoted, to eta times the epochs
    min_epochs  of the first rung, at least
    """

    eta: int = 3
    min_epochs: int = 1

    def __post_init__(self) -> None:
        if self.eta < 2 or self.min_epochs < 1:
            raise UsageError(
                f"successive_halving with eta={self.eta},min_epochs={self.min_epochs}: eta must be 2 or more, "
                "min_epochs 1 or more"
            )

    def rungs(self, epochs: int) -> list[int]:
        """Epochs of each rung, the last a full training: 10 with eta 3 gives 1, 3, 10."""
        found = [epochs]
        while found[0] / self.eta >= self.min_epochs:
            found.insert(0, max(self.min_epochs, math.floor(epochs / self.eta ** len(found))))
            if found[0] == found[1]:
                return found[1:]
        return found

    def begin(self, task: SearchTask) -> _Search:
        order = task.draw.permutation(len(task.space)).tolist()
        return _Search(self, self.rungs(task.epochs), list(reversed(order)))


@dataclass
class _Search:
    options: Optimizer
    rungs: list[int]
    fresh: list[int]
    rung: int = -1
    told: list[tuple[float, int]] = field(default_factory=list)  # of this rung: (accuracy, configuration)
    waiting: list[int] = field(default_factory=list)
    out: int = 0

    def ask(self) -> Trial | None:
        if not self.waiting and not self.out:
            self._next_rung()
        if not self.waiting:
            return None
        self.out += 1
        return Trial(self.waiting.pop(), self.rungs[self.rung])

    def tell(self, trial: Trial, accuracy: float) -> None:
        self.out -= 1
        self.told.append((accuracy, trial.config))

    def _next_rung(self) -> None:
        if self.told and self.rung + 1 < len(self.rungs):
            best = sorted(self.told, key=lambda one: -one[0])[: max(1, len(self.told) // self.options.eta)]
            self.rung, self.waiting = self.rung + 1, [config for _, config in reversed(best)]
        else:
            size = min(len(self.fresh), self.options.eta ** (len(self.rungs) - 1))
            self.rung, self.waiting = 0, [self.fresh.pop() for _ in range(size)]
        self.told = []
