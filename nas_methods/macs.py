"""Baseline: more multiply-accumulates, higher rank. Sees no data and trains nothing.

    python -m benchmark.evaluate --method macs

Kendall tau-b 0.498 against the published table: a method must be held against this.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.scoring.ranking import Ranking
from benchmark.spaces import costs
from nas_methods import Task

VERSION = 1


@dataclass(frozen=True)
class Method:
    """Counting MACs. No options."""

    trains = False

    def rank(self, task: Task) -> Ranking:
        return Ranking(task.space.name, tuple(float(costs.macs(task.space, config)) for config in task.space))
