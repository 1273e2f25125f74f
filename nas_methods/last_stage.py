"""Baseline: the fewer layers at the lowest resolution, the higher the rank. Sees no data and trains nothing.

python -m benchmark.evaluate --method last_stage
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.scoring.ranking import Ranking
from nas_methods import Task

VERSION = 1


@dataclass(frozen=True)
class Method:
    """The length of the last stage, negated. No options."""

    trains = False

    def rank(self, task: Task) -> Ranking:
        return Ranking(task.space.name, tuple(-float(config.layers[-1]) for config in task.space))
