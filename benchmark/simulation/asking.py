"""Ask and tell: what an optimiser is given, what it asks for, what it is told. No table is in sight here.

@dataclass(frozen=True)
class Optimizer:
    population: int = 10                                     # its options

    def begin(self, task: SearchTask) -> Search: ...         # a search of its own, with all that it remembers

search.ask() -> Trial | None          # None: nothing now; asked again once it has been told something
search.tell(trial, accuracy)          # per cent, as it ends, in the order of simulated time
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from benchmark.spaces.space import Config, PoolingSpace

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class SearchTask:
    """What an optimiser knows of a search.

    space   the configurations that it may ask for
    epochs  of a full training; 1 where there are no curves, so that there is no shorter one
    draw    its only source of randomness
    """

    space: PoolingSpace
    epochs: int
    draw: np.random.Generator


@dataclass(frozen=True)
class Trial:
    """A question: what does the configuration of this index (from 0, canonical order) reach after so many epochs?"""

    config: int
    epochs: int


class Search(Protocol):
    """One search of an optimiser."""

    def ask(self) -> Trial | None: ...

    def tell(self, trial: Trial, accuracy: float) -> None: ...


class Optimizer(Protocol):
    """Makes searches; a frozen record of options."""

    def begin(self, task: SearchTask) -> Search: ...


def neighbours(space: PoolingSpace, config: int) -> tuple[int, ...]:
    """The configurations that differ by one pooling which stands one place earlier or later: indices, ascending."""
    layers = space[config].layers
    found = []
    for stage in range(len(layers) - 1):
        for step in (-1, 1):
            moved = list(layers)
            moved[stage] += step
            moved[stage + 1] -= step
            if min(moved) >= 1:
                found.append(space.index(Config(tuple(moved))))
    return tuple(sorted(found))
