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

from benchmark.channels.adas import Adas
from benchmark.channels.graph import CONVOLUTIONS
from benchmark.channels.learning import Seeded
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


def learner_of(network: nn.Module, recipe: ChannelRecipe, device: torch.device, seed: int) -> Learner:
    """As a search's recipe has it: Adas, or SGD at one rate."""
    if recipe.optimizer == "adas":
        return Adas(network, recipe, device, seed, recipe.beta)
    return Seeded(network, recipe, device, seed)


@dataclass(frozen=True)
class Trial:
    """The training of a network. Its result depends on these fields alone.

    learner   makes what steps it, from (network, recipe, device, seed)
    seed      of the order of images, their augmentation, and what the network draws
    stamp     what names the trial in its checkpoint
    measures  whether all convolutions are measured after each epoch; Adas needs it
    jitter    of colours, its strength (`benchmark.datasets.colours`)
    """

    name: str
    network: nn.Module
    recipe: Any
    learner: Callable[[nn.Module, Any, torch.device, int], Learner]
    seed: int
    dataset: Dataset
    device: torch.device
    stamp: dict[str, Any]
    measures: bool = True
    jitter: float = 0.0

    def steps(self, checkpoint: Path | None, stop: Callable[[], bool]) -> Steps:
        """As those of `benchmark.training.train.Training`; one more curve, `sides`: (convolutions, 2, 3) by epoch."""
        recipe = self.recipe
        torch.set_num_threads(recipe.threads)
        dataset = self.dataset.reduced(recipe)
        learner = self.learner(Pathless(self.network), recipe, self.device, self.seed)

        def probe(network: nn.Module) -> dict[str, Any]:
            if not self.measures:
                return {}
            pairs = measured(network)
            if isinstance(learner, Adas):
                learner.advance(pairs)
            return {"sides": [[[side.rank, side.condition, side.gain] for side in pair] for pair in pairs]}

        keeper = Checkpoint(checkpoint, self.stamp | numerics(recipe, self.device, dataset))
        train_set = served(dataset.train, dataset, recipe, self.device, self.jitter)
        test_set = served(dataset.test, dataset, recipe, self.device)
        fit = Fit(learner, Named(self.name), self.seed, train_set, test_set, probe)  # type: ignore[arg-type]
        return (yield from fitting(fit, keeper, stop))


def epochs_of(names: Sequence[str], curve: Sequence[Sequence[Any]]) -> list[Epoch]:
    """The curve `sides` of a trial, by convolution."""
    return [
        {name: (Side(*pair[0]), Side(*pair[1])) for name, pair in zip(names, epoch, strict=True)} for epoch in curve
    ]
