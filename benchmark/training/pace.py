"""How fast this machine is, measured: its cores, each precision, and the MACs per second of one run.

A flag or a number of cores says what a processor claims; what a training gets is known only from a few steps of one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch

from benchmark.cli import readable
from benchmark.recipe import PRECISIONS, Recipe
from benchmark.running.cores import usable_cores
from benchmark.spaces import costs, networks
from benchmark.spaces.space import PoolingSpace, require_trainable
from benchmark.training.engine import Learner

MEASURED_BATCH = 64  # images a step when speed is measured: enough to tell, soon done on a slow machine
PRECISION_BATCH = 32  # the same, when precisions are compared
PRECISION_STEPS = 6  # of each, at most
BUSIER = 2.0  # times: what runs beside, or several runs on one core's threads, slow one down by about so much
CLEARLY = {
    1: 8.0,
    3: 1.5,
}  # after so many steps of each, how many times as fast ends the comparison; one step may be unlucky


def default_together(recipe: Recipe, device: torch.device) -> int:
    """As many runs as there are cores for them; on a GPU 4, whose kernels fill each other's gaps."""
    return 4 if device.type != "cpu" else max(1, usable_cores() // recipe.threads)


def precision_rates(space: PoolingSpace, recipe: Recipe, device: torch.device) -> dict[str, float]:
    """Images per second of a training step in each precision; 0 for one that cannot train here.

    Measured, since what a processor or a library says of itself does not tell: bf16 may be emulated. Steps of both take
    turns, so that a busy neighbour slows both; the best of each counts. It ends early where one is far ahead.
    """
    best: dict[str, float] = {}
    batch = min(recipe.batch_size, PRECISION_BATCH)
    with _threads(recipe.threads):
        steps = {}
        for name in PRECISIONS:
            try:
                steps[name] = _step(space, replace(recipe, precision=name), device, batch)  # type: ignore[arg-type]
                steps[name]()  # the first step also sets things up
            except Exception:  # libraries refuse in many ways
                steps.pop(name, None)
                best[name] = 0.0
        for taken in range(1, PRECISION_STEPS + 1 if len(steps) > 1 else 2):
            for name, step in steps.items():
                began = time.perf_counter()
                step()
                best[name] = max(best.get(name, 0.0), batch / (time.perf_counter() - began))
            enough = min(margin for after, margin in CLEARLY.items() if taken >= after)
            if max(best.values()) > enough * min(best.values()):
                break
    return {name: best[name] for name in PRECISIONS}


@dataclass(frozen=True)
class Speed:
    """MACs per second that one run reaches on this machine: its mean, and in the slowest tenth of the measured steps."""

    mean: float
    slowest: float

    def readable(self, macs: float) -> str:
        """How long so many MACs take, as a range: from what was measured to what a machine takes that gets busier."""
        least = macs / self.mean
        return f"{readable(least)} to {readable(max(BUSIER * least, macs / self.slowest))}"


def measure_speed(space: PoolingSpace, recipe: Recipe, device: torch.device, seconds: float = 2.0) -> Speed:
    """From a few steps of the default configuration."""
    batch = min(recipe.batch_size, MEASURED_BATCH)
    with _threads(recipe.threads):
        step = _step(space, recipe, device, batch)
        step()  # the first step also sets things up
        times: list[float] = []
        while len(times) < 2 or sum(times) < seconds:
            began = time.perf_counter()
            step()
            times.append(time.perf_counter() - began)
    macs = 3 * costs.macs(space.at(recipe.side), space.default) * batch
    slow = sorted(times)[-(-len(times) * 9 // 10) - 1]
    return Speed(macs * len(times) / sum(times), min(macs / slow, macs * len(times) / sum(times)))


def _step(space: PoolingSpace, recipe: Recipe, device: torch.device, batch: int) -> Callable[[], float]:
    """One training step of the default configuration on images of zeros, which waits for its loss."""
    space = space.at(recipe.side)
    network = networks.ResNet(space)
    networks.initialise(network, 0)
    learner = Learner(network, recipe, device)
    side = require_trainable(space).side
    images = torch.zeros(batch, side, side, 3, device=device).permute(0, 3, 1, 2)
    labels = torch.zeros(batch, dtype=torch.long, device=device)
    return lambda: learner.learn(images, labels, space.default.path, 0.0)[0].item()


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
