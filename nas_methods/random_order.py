"""Baseline: a random order, drawn from the seed. What a method that has learned nothing scores.

    python -m benchmark.evaluate --method random_order --seeds 0 1 2

Cost: none.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.scoring.ranking import Ranking
from benchmark.streams import stream
from nas_methods import Task

VERSION = 1


@dataclass(frozen=True)
class Method:
    """A random permutation as scores. No options."""

    trains = False

    def rank(self, task: Task) -> Ranking:
        order = stream("random_order", task.seed).permutation(len(task.space))
        return Ranking(task.space.name, tuple(order.astype(float).tolist()))
