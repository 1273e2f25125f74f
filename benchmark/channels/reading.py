"""Which convolutions speak for a width, and what they say of it after a trial: slope and condition.

By the general rule these are the output side of every convolution that makes the width and the input side of every one
that reads it alone. The published maps of ResNet34 and the DARTS cells differ a little (specification, section 4): there,
a superblock's width is read from its blocks, and a stem's width from the stem.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmark.channels.metrics import Side, rank_slope
from benchmark.channels.results import is_of_cells

if TYPE_CHECKING:
    from benchmark.channels.graph import Variable

INPUT, OUTPUT = 0, 1
Epoch = Mapping[str, tuple[Side, Side]]  # by convolution, both sides
Reader = tuple[str, int]  # a convolution, several of one width joined by "+", and which side of it


@dataclass(frozen=True)
class Said:
    """Of one width: mean rank by epoch, its slope S, and the mean condition after the last epoch."""

    rank: tuple[float, ...]
    slope: float
    condition: float


def readers(variables: Sequence[Variable], network: str, sides: str = "release") -> dict[str, tuple[Reader, ...]]:
    """Who speaks for each width, by the width's name; nobody, for one that no convolution reads alone or makes."""
    general = {
        v.name: (*((name, OUTPUT) for name in v.producers), *((name, INPUT) for name in v.consumers)) for v in variables
    }
    if sides == "general":
        return general
    if network == "resnet34":
        return general | _superblocks(general)
    if is_of_cells(network):
        return {name: said[:1] if name.startswith("stem") else said for name, said in general.items()}
    return general


def _superblocks(general: Mapping[str, tuple[Reader, ...]]) -> dict[str, tuple[Reader, ...]]:
    """Of the width that a superblock's blocks share: into the first, out of the second convolution of every block.

    So the first block counts with what it reads from the superblock before; stem and projections do not count.
    """
    found: dict[str, tuple[Reader, ...]] = {}
    for name, said in general.items():
        blocks = [
            match[1] for reader, side in said if side == OUTPUT and (match := re.fullmatch(r"(.*)\.conv2", reader))
        ]
        if blocks:
            found[name] = tuple(
                one for block in blocks for one in ((f"{block}.conv1", INPUT), (f"{block}.conv2", OUTPUT))
            )
    return found


def said(history: Sequence[Epoch], of: Sequence[Reader]) -> Said:
    """What the readers of a width say after a trial's epochs."""
    ranks = tuple(_mean([_value(epoch, reader, "rank") for reader in of]) for epoch in history)
    return Said(ranks, rank_slope(ranks), _mean([_value(history[-1], reader, "condition") for reader in of]))


def _value(epoch: Epoch, reader: Reader, what: str) -> float:
    name, side = reader
    return _mean([getattr(epoch[one][side], what) for one in name.split("+")])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
