"""One training of a network of given widths, with what its convolutions learned in each epoch.

The loop, the batches, the checkpoints and the test after each epoch are those of every other training here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmark.channels.adas import Adas, Constant
from benchmark.channels.graph import CONVOLUTIONS
from benchmark.channels.metrics import Side, sides
from benchmark.channels.reading import Epoch
from benchmark.channels.rules import ChannelRecipe
from benchmark.datasets.batches import served
from benchmark.datasets.sets import Dataset
from benchmark.training.checkpoint import Checkpoint
from benchmark.training.devices import numerics
from benchmark.training.engine import Learner
from benchmark.training.train import Fit, Steps, fitting


class Pathless(nn.Module):
    """A network whose forward pass takes images alone, where the loop hands over a path as well."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor, path: Sequence[int]) -> Tensor:
        return self.body(x)


@dataclass(frozen=True)
class Named:
    """What the loop calls a training in its messages; there is no path."""

    name: str
    path: tuple[int, ...] = ()

    def __str__(self) -> str:
        return self.name


def convolutions(network: nn.Module) -> list[str]:
    """Names of all convolutions, in order of registration."""
    return [name for name, module in network.named_modules() if isinstance(module, CONVOLUTIONS)]


def measured(network: nn.Module) -> list[tuple[Side, Side]]:
    """Input and output side of every convolution, in order of registration."""
    modules = [module for module in network.modules() if isinstance(module, CONVOLUTIONS)]
    pairs = [(sides(module.weight), isinstance(module, nn.ConvTranspose2d)) for module in modules]
    return [(after, before) if turned else (before, after) for (before, after), turned in pairs]


@dataclass(frozen=True)
class Trial:
    """The training of a fresh network by a search's recipe. Its result depends on these fields alone.

    seed   of the order of images and their augmentation
    stamp  what names the trial in its checkpoint
    """

    name: str
    network: nn.Module
    recipe: ChannelRecipe
    seed: int
    dataset: Dataset
    device: torch.device
    stamp: dict[str, Any]

    def steps(self, checkpoint: Path | None, stop: Callable[[], bool]) -> Steps:
        """As those of `benchmark.training.train.Training`; one more curve, `sides`: (convolutions, 2, 3) by epoch."""
        recipe = self.recipe
        torch.set_num_threads(recipe.threads)
        dataset = self.dataset.reduced(recipe)
        learner = self._learner()

        def probe(network: nn.Module) -> dict[str, Any]:
            pairs = measured(network)
            if isinstance(learner, Adas):
                learner.advance(pairs)
            return {"sides": [[[side.rank, side.condition, side.gain] for side in pair] for pair in pairs]}

        keeper = Checkpoint(checkpoint, self.stamp | numerics(recipe, self.device, dataset))
        train_set, test_set = (served(s, dataset, recipe, self.device) for s in (dataset.train, dataset.test))
        fit = Fit(learner, Named(self.name), self.seed, train_set, test_set, probe)  # type: ignore[arg-type]
        return (yield from fitting(fit, keeper, stop))

    def _learner(self) -> Learner:
        network = Pathless(self.network)
        if self.recipe.optimizer == "adas":
            return Adas(network, self.recipe, self.device, self.recipe.beta)
        return Constant(network, self.recipe, self.device)


def epochs_of(names: Sequence[str], curve: Sequence[Sequence[Any]]) -> list[Epoch]:
    """The curve `sides` of a trial, by convolution."""
    return [
        {name: (Side(*pair[0]), Side(*pair[1])) for name, pair in zip(names, epoch, strict=True)} for epoch in curve
    ]
