"""Successive halving: round by round, fewer and fewer of the best so far are trained on.

    python -m benchmark.evaluate --method halving --rounds 4

After Jamieson and Talwalkar, 2016, on one supernet. Cost: E epochs of one supernet.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmark.errors import UsageError
from nas_methods import Task
from nas_methods.supernet import Sampler, State, Step


@dataclass(frozen=True)
class SuccessiveHalving(Sampler):
    """Uniform draws from those that are still in the race.

    rounds  of equal length; the first one draws from all configurations
    """

    rounds: int = 4

    def __post_init__(self) -> None:
        if self.rounds < 1:
            raise UsageError(f"rounds is {self.rounds}: it must be 1 or more")

    def start(self, task: Task) -> State:
        return {"visits": np.zeros(len(task.space)), "rewards": np.zeros(len(task.space))}

    def pick(self, state: State, step: Step) -> tuple[int, int]:
        mean = state["rewards"] / np.maximum(state["visits"], 1)
        left = max(1, len(mean) >> self.rounds * step.iteration // step.iterations)
        return int(step.configuration.choice(np.argsort(-mean, kind="stable")[:left])), 0

    def update(self, state: State, picked: tuple[int, int], reward: float) -> State:
        visits, rewards = state["visits"].copy(), state["rewards"].copy()
        visits[picked[0]] += 1
        rewards[picked[0]] += reward
        return {"visits": visits, "rewards": rewards}
