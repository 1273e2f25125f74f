"""SPOS: one supernet, every configuration drawn equally often (Guo et al., 2020; paper, section 3.2, M = 1).

    python -m benchmark.evaluate --method spos

Shared weights, 36 paths. Published: [3,3,4] found with fully shared weights (Table 1), [4,2,4] in 1.5 GPU hours
(Table 2); Figure 3 prints tau 0.142 for M = 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas_methods import Task
from nas_methods.supernet import Sampler, State, Step


@dataclass(frozen=True)
class Method(Sampler):
    """Single path one-shot with uniform sampling. No options."""

    def start(self, task: Task) -> State:
        return {"configurations": np.array(len(task.space))}

    def pick(self, state: State, step: Step) -> tuple[int, int]:
        return int(step.configuration.integers(state["configurations"])), 0
