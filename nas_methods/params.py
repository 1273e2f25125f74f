"""Baseline: counts parameters. They are the same for every configuration, so this ends with "no ranking", and says so.

    python -m benchmark.evaluate --method params

Cost: none.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.scoring.ranking import Ranking
from benchmark.spaces import costs
from nas_methods import Task

VERSION = 1


@dataclass(frozen=True)
class Method:
    """Counting parameters. No options."""

    trains = False

    def rank(self, task: Task) -> Ranking:
        return Ranking(task.space.name, (float(costs.parameters(task.space)),) * len(task.space))
