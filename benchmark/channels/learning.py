"""Learners of networks that may draw random numbers as they train: dropout, dropped paths.

Every step draws from (seed, number of the step), so that a training that was stopped goes on with the same numbers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from benchmark.recipe import Recipe
from benchmark.streams import stream
from benchmark.training.engine import Learner, Outputs, Way


class Seeded(Learner):
    """Learns at the rate that `rates` gives each group of parameters in a step; the loop's own rate is not used."""

    def __init__(self, network: nn.Module, recipe: Recipe, device: torch.device, seed: int) -> None:
        super().__init__(network, recipe, device)
        self.seed = seed
        self.taken = 0  # steps

    def rates(self) -> list[float]:
        """By group of the optimizer's. Here the recipe's rate throughout: SGD without a schedule."""
        return [self.recipe.lr] * len(self.optimizer.param_groups)

    def learn(self, x: Tensor, y: Tensor, path: Way, rate: float) -> Outputs:
        for group, own in zip(self.optimizer.param_groups, self.rates(), strict=True):
            group["lr"] = own
        self.network.train()
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(int(stream("channels", "step", self.seed, self.taken).integers(2**63)))
            outputs = self.run("step", self._step, x, y, path)
        self.taken += 1
        return outputs

    def state(self) -> dict[str, Any]:
        return super().state() | {"taken": self.taken}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.taken = state["taken"]


class Stepped(Seeded):
    """SGD whose rate is multiplied by `factor` after every so many steps: the paper's evaluation."""

    def __init__(
        self, network: nn.Module, recipe: Recipe, device: torch.device, seed: int, every: int, factor: float
    ) -> None:
        super().__init__(network, recipe, device, seed)
        self.every, self.factor = every, factor

    def rates(self) -> list[float]:
        return [self.recipe.lr * self.factor ** (self.taken // self.every)] * len(self.optimizer.param_groups)
