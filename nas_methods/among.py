"""Interference: SPOS among some configurations of a space, or one alone; and whose gradients pull which way.

    python -m benchmark.evaluate --method spos --configs "[1,1,8]" "[6,2,2]"
    python -m benchmark.evaluate --method spos --gradients

No method to be ranked by, but what the paper's Figure 1 asks: do two configurations harm each other where they share
weights? `benchmark.jobs.interference` trains each alone, then all of them together, with this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from benchmark.datasheets import datasheet
from benchmark.errors import UsageError
from benchmark.spaces import costs
from benchmark.spaces.space import Config, PoolingSpace
from benchmark.training.engine import Learner
from benchmark.training.memory import training_bytes
from nas_methods import Task, Variant
from nas_methods.spos import Method as Spos
from nas_methods.supernet import State, Step, forward_passes

VERSION = 1

BATCHES = 2  # of each of the two sets of images on which gradients are taken


@dataclass(frozen=True)
class Among(Spos):
    """SPOS that draws from some configurations alone, each equally often, and scores these; all others rank below, alike.

    With all configurations of a space it is SPOS, bit for bit. The gradients are an observation: they move nothing.

    configs  as text, in canonical order
    looks    after so many epochs, evenly over the search, the first and the last among them, the gradients of all pairs
             are held against each other: history["observed"], a list of {"epoch", "cosines"}; 0: never
    """

    configs: tuple[str, ...] = ()
    looks: int = 0

    VARIANTS: ClassVar[tuple[Variant, ...]] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.paths != 36:
            raise UsageError("every path is drawn with --paths 19683: leave it out to draw among some configurations")
        if not self.configs:
            raise UsageError("among no configurations: name some, as in [1,1,8] [6,2,2]")

    @cached_property
    def chosen(self) -> tuple[Config, ...]:
        return tuple(map(Config.parse, self.configs))

    def start(self, task: Task) -> State:
        if self.looks and task.data.train.steps < 2:
            raise UsageError(
                "gradients are compared between two batches of different images, and the training half has one: lower --batch-size"
            )
        places = [task.space.index(config) for config in self.chosen]
        return {"draws": np.zeros(len(self.chosen), dtype=np.int64), "places": np.array(places)}

    def pick(self, state: State, step: Step) -> tuple[int, int]:
        return int(step.configuration.integers(len(self.chosen))), 0

    def choices(self, space: PoolingSpace) -> int:
        return len(self.chosen)

    def path(self, space: PoolingSpace, index: int) -> tuple[int, ...]:
        return self.chosen[index].path

    def update(self, state: State, picked: tuple[int, int], reward: float) -> State:
        draws = state["draws"].copy()
        draws[picked[0]] += 1
        return {**state, "draws": draws}

    def watch(self, state: State, step: Step) -> dict[str, np.ndarray]:
        return {"draws": state["draws"]}

    def shortlist(self, state: State, step: Step, configurations: int) -> tuple[np.ndarray, int]:
        wanted = np.zeros(configurations)
        wanted[state["places"]] = 1
        return wanted, len(self.chosen)

    def observe(self, learners: Sequence[Learner], task: Task, step: Step) -> dict[str, Any]:
        if step.epoch + 1 not in moments(step.epochs, self.looks):
            return {}
        # Images in an order, and with crops and flips, of an epoch that is never trained or calibrated on.
        plan = task.data.train.plan(task.seed, step.epochs + 1 + step.epoch)
        count = min(BATCHES, task.data.train.steps // 2)
        batches = [task.data.train.train(plan, k) for k in range(2 * count)]
        found = cosines(learners[0], [config.path for config in self.chosen], batches[:count], batches[count:])
        return {"cosines": [[round(value, 4) for value in row] for row in found]}

    def work(self, task: Task) -> float:
        classes = datasheet(task.recipe.dataset).classes
        macs = [costs.macs(task.space, config, classes) for config in self.chosen]
        training, final = forward_passes(self, task)
        looks = len(moments(task.recipe.epochs, self.looks)) * 3 * 2 * BATCHES * task.recipe.batch_size
        return sum(macs) / len(macs) * training + sum(macs) * (final / len(task.space) + looks)

    def memory(self, task: Task) -> float:
        numbers = max(costs.outputs(task.space, config.path) for config in self.chosen)
        return training_bytes(task.space, task.recipe, numbers, device=task.device)


def moments(epochs: int, looks: int) -> tuple[int, ...]:
    """The epochs, from 1, after which gradients are looked at."""
    return tuple(sorted({round(at) for at in np.linspace(1, epochs, min(looks, epochs)).tolist()}))


def cosines(
    learner: Learner, paths: Sequence[Sequence[int]], ones: Sequence[Any], others: Sequence[Any]
) -> list[list[float]]:
    """(C, C) cosines between the gradients of the loss along two paths, over all weights; symmetric, within -1 and 1.

    ones, others: batches (x, y) of different images. The gradient of one path is taken on the ones and that of the other
    on the others, both ways round, and the two cosines are averaged. So none is high for the noise of images that both
    see, and the diagonal, a path with itself, says how high a cosine can be. In fp32, with batch statistics, as trained.
    """
    here, there = (torch.stack([_gradient(learner, path, some) for path in paths]) for some in (ones, others))
    here, there = F.normalize(here), F.normalize(there)
    found = here @ there.T
    return ((found + found.T) / 2).tolist()


def _gradient(learner: Learner, path: Sequence[int], batches: Sequence[Any]) -> torch.Tensor:
    """(P,) the gradient of the mean loss. Leaves weights, momentum and the gradients of training alone."""
    learner.network.train()
    weights = list(learner.network.parameters())
    total = torch.zeros(sum(weight.numel() for weight in weights), device=learner.device)
    with learner.as_written():
        for x, y in batches:
            loss = F.cross_entropy(learner.network(x.float(), path), y)
            grads = torch.autograd.grad(loss, weights, allow_unused=True)
            total += torch.cat(
                [(torch.zeros_like(w) if g is None else g).flatten() for w, g in zip(weights, grads, strict=True)]
            )
    return total / len(batches)
