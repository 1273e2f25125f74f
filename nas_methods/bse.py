"""BSE: Boltzmann softmax exploration, good configurations are drawn more often (paper, equation 7; "SBE" in Table 2).

    python -m benchmark.evaluate --method bse
    python -m benchmark.evaluate --method bse --warmup 0.5

One supernet; configuration c is drawn with p(c) = softmax(tau a)[c], where a[c] is a moving average of its rewards
that starts at 1, so that what was never drawn is hoped to be good. The inverse temperature tau rises linearly from 1
over the whole search (appendix C), during the warm-up too. Cost: E epochs of one supernet. Published: [2,3,5], 90.42,
in 2 GPU hours; with uniform warm-up [1,6,3], 90.13, in 2.5 (Table 2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from benchmark.errors import UsageError
from nas_methods import Published, Task, Variant
from nas_methods.supernet import Sampler, State, Step

VERSION = 1


@dataclass(frozen=True)
class Method(Sampler):
    """Boltzmann softmax exploration.

    tau_inv  the inverse temperature at the end of the search; the paper prints none, 100 is the authors' release's
    decay    weight of the past in the moving average of the rewards
    warmup   share of the search, from its beginning, in which configurations are drawn uniformly; rewards are
             remembered all along. The paper compares none with some and does not say how much: our choice is 0.5
    """

    tau_inv: float = 100.0
    decay: float = 0.9
    warmup: float = 0.0

    VARIANTS: ClassVar[tuple[Variant, ...]] = (
        Variant({}, (Published(2, 6, "BSE", "[2,3,5]", 90.42, 0.08, 2.0),)),
        Variant({"warmup": 0.5}, (Published(2, 3, "BSE, uniform warm-up", "[1,6,3]", 90.13, 0.06, 2.5),)),
    )

    def __post_init__(self) -> None:
        if not 1 <= self.tau_inv < np.inf:
            raise UsageError(f"tau_inv is {self.tau_inv}: it must be finite and at least 1, where it starts")
        if not 0 <= self.decay < 1:
            raise UsageError(f"decay is {self.decay}: it must be at least 0 and below 1")
        if not 0 <= self.warmup <= 1:
            raise UsageError(f"warmup is {self.warmup}: it is a share of the search, between 0 and 1")

    def start(self, task: Task) -> State:
        return {"rewards": np.ones(len(task.space))}

    def inverse_temperature(self, step: Step) -> float:
        """tau of equation 7 in an iteration: 1 in the first, `tau_inv` after the last."""
        return 1 + (self.tau_inv - 1) * step.iteration / step.iterations

    def chances(self, state: State, step: Step) -> np.ndarray:
        """p(c) (C,) of equation 7."""
        from scipy.special import softmax

        return softmax(self.inverse_temperature(step) * state["rewards"])

    def pick(self, state: State, step: Step) -> tuple[int, int]:
        count = len(state["rewards"])
        if step.within(self.warmup):
            return int(step.configuration.integers(count)), 0
        return int(step.configuration.choice(count, p=self.chances(state, step))), 0

    def update(self, state: State, picked: tuple[int, int], reward: float) -> State:
        rewards = state["rewards"].copy()
        rewards[picked[0]] = self.decay * rewards[picked[0]] + (1 - self.decay) * reward
        return {"rewards": rewards}

    def watch(self, state: State, step: Step) -> dict[str, np.ndarray]:
        return {"p(c)": self.chances(state, step), "a(c)": state["rewards"]}
