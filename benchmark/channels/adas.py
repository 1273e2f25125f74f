"""Adas: SGD whose rate for each convolution follows what its weights have learned (Hosseini and Plataniotis, 2020).

After epoch e, a convolution's knowledge gain g[e] gives r <- max(beta r + g[e] - g[e-1], 1e-20), its rate in epoch e + 1;
at e = 0 the initial rate stands in for the difference. What follows a convolution up to the next one, as its batch norm,
has its rate, and so has what precedes the first; linear layers have one of their own, from the output side of the last
convolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from benchmark.channels.learning import Seeded
from benchmark.channels.metrics import Side
from benchmark.recipe import Recipe

LEAST = 1e-20


def next_rate(rate: float, gains: Sequence[float], initial: float, beta: float) -> float:
    """The rate in the epoch after the last of `gains`; rate: that of this epoch, 0 before the first update."""
    step = initial if len(gains) == 1 else gains[-1] - gains[-2]
    return max(beta * rate + step, LEAST)


class Adas(Seeded):
    """SGD with a rate per convolution, moved by `advance` after each epoch."""

    def __init__(self, network: nn.Module, recipe: Recipe, device: torch.device, seed: int, beta: float) -> None:
        super().__init__(network, recipe, device, seed)
        self.beta = beta
        linear = {id(p) for m in network.modules() if isinstance(m, nn.Linear) for p in m.parameters()}
        groups: list[list[nn.Parameter]] = [[]]
        met = False  # a convolution: what stands before the first one has its rate
        for parameter in network.parameters():
            if parameter.dim() == 4 and met:
                groups.append([])
            met = met or parameter.dim() == 4
            if id(parameter) not in linear:
                groups[-1].append(parameter)
        groups.append([p for p in network.parameters() if id(p) in linear])
        self.optimizer = torch.optim.SGD(
            [{"params": group} for group in groups],
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
        )
        self.now = [recipe.lr] * len(groups)  # the rates
        self.gains: list[list[float]] = []  # by epoch, as many as rates

    def advance(self, measured: Sequence[tuple[Side, Side]]) -> None:
        """Moves the rates by what all convolutions, in order of registration, have learned in an epoch."""
        gains = [(before.gain + after.gain) / 2 for before, after in measured]
        self.gains = [*self.gains[-1:], [*gains, measured[-1][1].gain]]
        first = len(self.gains) == 1
        self.now = [
            next_rate(0.0 if first else rate, [epoch[i] for epoch in self.gains], self.recipe.lr, self.beta)
            for i, rate in enumerate(self.now)
        ]

    def rates(self) -> list[float]:
        return self.now

    def state(self) -> dict[str, Any]:
        return super().state() | {"rates": self.now, "gains": self.gains}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self.now, self.gains = state["rates"], state["gains"]
