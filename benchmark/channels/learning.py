"""Learners of networks that may draw random numbers as they train: dropout, dropped paths.

Every step draws from (seed, number of the step), so that a training that was stopped goes on with the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.channels.darts import set_drop_path
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


@dataclass(frozen=True)
class Regularised:
    """What a training does beside SGD, as the paper's evaluation of DARTS cells has it. 0: not.

    cutout in pixels; auxiliary: weight of the loss of a second pair of logits; drop_path: share, of the last epoch;
    clip: of the gradient's norm; smoothing: share of the label that all classes get alike (Szegedy et al., 2016)
    """

    cutout: int = 0
    auxiliary: float = 0.0
    drop_path: float = 0.0
    clip: float = 0.0
    smoothing: float = 0.0


@dataclass(frozen=True)
class Steps:
    """When the rate drops: it is multiplied by `factor` after `every` so many steps; an epoch has `epoch` of them."""

    every: int
    factor: float
    epoch: int = 1


class Stepped(Seeded):
    """SGD whose rate drops by steps: the paper's evaluation."""

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        device: torch.device,
        seed: int,
        steps: Steps,
        more: Regularised = Regularised(),
    ) -> None:
        super().__init__(network, recipe, device, seed)
        self.steps, self.more = steps, more

    def rates(self) -> list[float]:
        return [self.recipe.lr * self.steps.factor ** (self.taken // self.steps.every)] * len(
            self.optimizer.param_groups
        )

    def _step(self, x: Tensor, y: Tensor, path: Way) -> Outputs:
        more = self.more
        if more.cutout:
            x = cut_out(x, more.cutout)
        if more.drop_path:
            set_drop_path(self.network, more.drop_path * (self.taken // self.steps.epoch) / self.recipe.epochs)
        with self.precision():
            made = self.network(x, path)
        logits, *beside = made if isinstance(made, tuple) else (made,)

        def loss(of: Tensor) -> Tensor:
            return F.cross_entropy(of, y, label_smoothing=more.smoothing)

        whole = sum((more.auxiliary * loss(other) for other in beside), loss(logits))
        self.optimizer.zero_grad(set_to_none=True)
        whole.backward()
        if more.clip:
            nn.utils.clip_grad_norm_(self.network.parameters(), more.clip)
        self.optimizer.step()
        logits = logits.detach()
        return F.cross_entropy(logits, y), (logits.argmax(1) == y).sum()  # of the labels as they are


def cut_out(x: Tensor, side: int) -> Tensor:
    """Images (B, C, H, W) with a square of that side set to 0 in each, wherever torch's generator puts its middle.

    What lies outside of the image is lost, so that the square may be smaller (DeVries and Taylor, 2017).
    """

    def within(length: int) -> Tensor:
        middle = torch.randint(length, (len(x), 1))
        place = torch.arange(length)
        return (place >= middle - side // 2) & (place < middle - side // 2 + side)

    rows, columns = within(x.shape[2]), within(x.shape[3])
    return x.masked_fill((rows[:, None, :, None] & columns[:, None, None, :]).to(x.device), 0.0)
