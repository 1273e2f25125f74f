"""DynOPool: poolings whose cells are sampled at positions that gradients move (Jang et al., 2022).

    python -m benchmark.evaluate --method dynopool
    python -m benchmark.evaluate --method dynopool --aggregate average --cost 0.1
    python -m benchmark.evaluate --method dynopool --retrain

Before each block a map of side S becomes one of side round(r x S): each output cell takes bilinear samples at the four
quarter points of its share of the input, 1 / r pixels wide, and aggregates them. The positions depend on r continuously, and
so the loss has a gradient; the rounded side has none. At r = 1/2 this is a pooling of 2x2; at r = 1 it is no identity.
No maintained release was found. Ours, where the paper's text leaves it open: what is learned is 1 / r, in which positions
are linear; sides stay between 1 and that of the first layer; samples outside the map are those at its border.

Cost: E epochs; an iteration takes 3.5 times as long as one of SPOS, for 0.83 times its MACs (41 M at the sizes of the
start, those of the default; four samples a cell are what takes the time), by `python -m speed.resizing` on one core of an
AMD EPYC, in bf16.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmark.errors import UsageError, choices
from benchmark.spaces import costs
from benchmark.spaces.space import PoolingSpace
from nas_methods.resizing import Resizing, Size, resampled, standard_strides

VERSION = 1
AGGREGATES: dict[str, Callable[..., Tensor]] = {"max": F.max_pool2d, "average": F.avg_pool2d}


def pooled_size(size: Size, ratios: Sequence[float], most: int) -> Size:
    """Height and width of what `pool` makes of a map of this size: round(side x ratio), from 1 to `most`."""
    height, width = (min(most, max(1, round(side * ratio))) for side, ratio in zip(size, ratios, strict=True))
    return height, width


def pool(x: Tensor, ratios: Tensor, size: Size, aggregate: str = "max") -> Tensor:
    """x (B, C, H, W), pooled to (B, C, *size). In fp32, or in x's float64.

    ratios: (2,), vertical and horizontal, with gradient; size: as `pooled_size` gives it.
    """
    # Two samples in each direction of a cell: a map of twice the size, pooled by 2x2.
    points = [(2 * torch.arange(2 * count) + 1) / (4 * ratio) - 0.5 for count, ratio in zip(size, ratios, strict=True)]
    return AGGREGATES[aggregate](resampled(x, points[0], points[1]), 2)


@dataclass(frozen=True)
class Method(Resizing):
    """One pair of ratios before each block; at the start 1/2 where the default configuration pools and 1 elsewhere.

    size_lr    rate of the SGD of 1 / r, which falls as that of the weights does; 0: the weights' own. It has the weights'
               momentum and no weight decay. Ours: at a rate of 0.1 maps of ResNet20 fell to one pixel within 32 steps
    aggregate  of the four samples: `max` or `average`
    cost       weight of the cost in the loss: MACs of the blocks at their ratios, not rounded, as a share of those without
               any pooling
    """

    size_lr: float = 0.001
    aggregate: Literal["max", "average"] = "max"
    cost: float = 0.0

    overhead: ClassVar[float] = 4.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.aggregate not in AGGREGATES:
            raise UsageError(f"aggregate is '{self.aggregate}': {choices(self.aggregate, AGGREGATES)}")
        if not 0 <= self.cost <= 1000:
            raise UsageError(f"cost is {self.cost}: it must lie between 0 and 1000")

    def start(self, space: PoolingSpace) -> Tensor:
        return standard_strides(space)

    def settle(self, values: Tensor, space: PoolingSpace) -> list[Size]:
        most = space.sizes[0]
        size, sizes = (most, most), []
        for strides in values:
            for stride, side in zip(strides, size, strict=True):
                stride.clamp_(side / most, side)  # to sides from `most` to 1
            size = pooled_size(size, (1 / strides).tolist(), most)
            sizes.append(size)
        return sizes

    def run(self, blocks: Sequence[Any], x: Tensor, values: Tensor) -> Tensor:
        most = x.shape[-1]
        for block, strides in zip(blocks, values, strict=True):
            ratios = 1 / strides
            height, width = x.shape[2:]
            x = block.at(pool(x, ratios, pooled_size((height, width), ratios.tolist(), most), self.aggregate))
        return x

    def penalty(self, values: Tensor, space: PoolingSpace) -> Tensor | None:
        if not self.cost:
            return None
        shares = torch.tensor(block_macs(space), dtype=values.dtype)
        return self.cost * (shares / shares.sum() / values.prod(1).cumprod(0)).sum()


def block_macs(space: PoolingSpace) -> list[int]:
    """MACs (L - 1,) of each block on a map of one pixel."""
    without = [0, *((1, 1) for _ in range(space.depth - 1))]
    return [
        (costs.path_macs(space, [*without[:layer], (1, 2), *without[layer + 1 :]]) - costs.path_macs(space, without))
        for layer in range(1, space.depth)
    ]
