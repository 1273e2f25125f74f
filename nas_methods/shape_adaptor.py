"""ShapeAdaptor: blocks whose skip and branch meet at a size between theirs, which a gradient moves (Liu et al., 2020).

    python -m benchmark.evaluate --method shape_adaptor
    python -m benchmark.evaluate --method shape_adaptor --limit 12
    python -m benchmark.evaluate --method shape_adaptor --retrain

In a block with an adaptor the branch keeps the side S of its input, the skip is pooled by 2x2 (the space's pooling, in the
place of the paper's stride); both are resized bilinearly to floor(s x S), s = 1/2 + sigmoid(a) / 2, weighed by sigmoid(a)
and 1 - sigmoid(a), and summed, times 2. The side has no gradient; a has one by the weights. From the paper's formulas
alone: its release has a licence that allows no more.

A size without gradient moves by the weights alone: an adaptor that is driven far to either side keeps half a side or all of
it, and hardly moves any more. MACs are counted as if the skip were as large as the branch, which is less than 1 % too many.

Cost: E epochs; an iteration takes 1.5 times as long as one of SPOS, for 0.90 times its MACs (44 M at the sizes of the start),
by `python -m speed.resizing` on one core of an AMD EPYC, in bf16.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.errors import UsageError
from benchmark.recipe import SearchRecipe
from benchmark.spaces.space import PoolingSpace
from nas_methods.resizing import Resizing, Size, resampled

VERSION = 1
LEAST = 0.5  # r1, the scale of the skip; that of the branch is 1


def spread(count: int, blocks: int) -> tuple[int, ...]:
    """So many of the blocks, counted from 0: the middles of equal shares of them."""
    return tuple((2 * number + 1) * blocks // (2 * count) for number in range(count))


def adapt(low: Tensor, high: Tensor, alpha: Tensor, size: Size) -> Tensor:
    """The sum (B, C, *size) of both maps, resized bilinearly with corners aligned; low: (B, C, h, w), high: (B, C, H, W).

    alpha: a number, with gradient; sigmoid(alpha) is the weight of `high`.
    """
    weight = torch.sigmoid(alpha)
    one, other = (
        resampled(
            x,
            *(
                torch.linspace(0, before - 1, side, dtype=torch.float64)
                for before, side in zip(x.shape[2:], size, strict=True)
            ),
        )
        for x in (low, high)
    )
    weight = weight.to(other.device, other.dtype)
    return (1 - weight) * one + weight * other


def adapted_size(size: Size, scale: float) -> Size:
    """Height and width at which the branches of a block on a map of this size meet: floor(side x scale), 1 at the least."""
    height, width = (max(1, math.floor(side * scale)) for side in size)
    return height, width


@dataclass(frozen=True)
class Method(Resizing):
    """One scale in each of some blocks, spread evenly, the same for height and width.

    At the start all are alike, and bring the first layer's side to that of the standard network's last layers.

    size_lr   rate of the SGD of a, which falls as that of the weights does; momentum 0.9, Nesterov; 0: the weights' own
    every     iterations from one step of a to the next
    adaptors  how many; 0: log2(side / 2), 4 from a side of 32, but one more than the space has poolings at the least
    limit     memory-bounded: all scales are lowered alike where the last side would be larger than so many pixels; 0: none
    """

    size_lr: float = 0.1
    every: int = 20
    adaptors: int = 0
    limit: int = 0

    overhead: ClassVar[float] = 1.6

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("every", 1), ("adaptors", 0), ("limit", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} is {getattr(self, name)}: it must be a whole number of {least} or more")

    def places(self, space: PoolingSpace) -> tuple[int, ...]:
        """The blocks that have an adaptor, counted from 0.

        Raises UsageError where adaptors are more than blocks, or so few that none of them could pool less than by half.
        """
        blocks = space.depth - 1
        count = self.adaptors or min(max(int(math.log2(space.sizes[0] / 2)), space.poolings + 1), blocks)
        if not space.poolings < count <= blocks:
            raise UsageError(
                f"adaptors is {count}: to bring a side of {space.sizes[0]} to {space.sizes[-1]} in {blocks} blocks, it must be "
                f"a whole number from {space.poolings + 1} to {blocks}"
            )
        return spread(count, blocks)

    def scales(self, values: Tensor, side: int) -> list[float]:
        """s of each adaptor on the way from this side; under a limit, lowered alike until the last side keeps to it."""
        found = (LEAST + (1 - LEAST) * torch.sigmoid(values.detach().double())).tolist()
        last = side * math.prod(found)
        less = (self.limit / last) ** (1 / len(found)) if self.limit and last > self.limit else 1.0
        return [less * scale for scale in found]

    def start(self, space: PoolingSpace) -> Tensor:
        count = len(self.places(space))
        weight = ((space.sizes[-1] / space.sizes[0]) ** (1 / count) - LEAST) / (1 - LEAST)
        return torch.full((count,), math.log(weight / (1 - weight)))

    def settle(self, values: Tensor, space: PoolingSpace) -> list[Size]:
        scales = dict(zip(self.places(space), self.scales(values, space.sizes[0]), strict=True))
        size, sizes = (space.sizes[0], space.sizes[0]), []
        for number in range(space.depth - 1):
            sizes.append(size)  # at which the branch works
            if number in scales:
                size = adapted_size(size, scales[number])
        return sizes

    def run(self, blocks: Sequence[Any], x: Tensor, values: Tensor) -> Tensor:
        scales = self.scales(values, x.shape[-1])
        adaptors = dict(zip(spread(len(values), len(blocks)), zip(values, scales, strict=True), strict=True))
        for number, block in enumerate(blocks):
            if number in adaptors:
                alpha, scale = adaptors[number]
                x = adapted(block, x, alpha, adapted_size((x.shape[2], x.shape[3]), scale))
            else:
                x = block.at(x)
        return x

    def steps_at(self, step: int) -> bool:
        return step % self.every == 0

    def optimizer(self, values: Tensor, recipe: SearchRecipe) -> torch.optim.Optimizer:
        return torch.optim.SGD([values], lr=recipe.lr, momentum=0.9, nesterov=True)


def adapted(block: Any, x: Tensor, alpha: Tensor, size: Size) -> Tensor:
    """A residual block whose skip, pooled by 2x2, and whose branch meet at a size."""
    low = F.max_pool2d(x, 2, ceil_mode=True)  # as many pixels as a stride of 2 leaves
    skip = low if block.projection is None else block.projection(low)
    return F.relu(2 * adapt(skip, block.branch(x), alpha, size))
