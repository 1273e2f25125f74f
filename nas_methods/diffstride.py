"""DiffStride: poolings that cut the spectrum at strides which gradients move (Riad et al., 2022).

    python -m benchmark.evaluate --method diffstride
    python -m benchmark.evaluate --method diffstride --cost 0.1
    python -m benchmark.evaluate --method diffstride --retrain

Before each block a map is cut in the frequency domain to about side / stride + 2 x smoothness pixels: at a stride of 2 from
32 to 24 and from 24 to 20, where pooling gives 16 and 8, and to 10 at the least. So sizes and MACs say what a stride comes
to, not the stride. Facts from the authors' release: rows are counted as its even maps have them, (0, 1, ..., -2, -1) as
(0, 1, ..., 1, 0), and transforms are not normalised, so that a cut map is scaled by what was cut.

Cost: E epochs; an iteration takes 4.8 times as long as one of SPOS, for 2.6 times its MACs (126 M at the sizes of the start,
for the maps are larger), by `python -m speed.resizing` on one core of an AMD EPYC, in bf16.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from benchmark.errors import UsageError
from benchmark.spaces.space import PoolingSpace
from nas_methods.resizing import Resizing, Size, standard_strides

VERSION = 1


def row_window(side: int, stride: Tensor, smoothness: float) -> Tensor:
    """Weights (side,) of the rows of a spectrum, in the order of an FFT; stride: a number, with gradient.

    clip((R + H_s / 2 - n) / R, 0, 1) at frequency n, with H_s = max(H / s, 2). Frequency -k of an even side counts as k - 1,
    as in the release: so that an even number of rows is kept, as a map of an even side has them.
    """
    index = torch.arange(side)
    frequency = torch.where(index < (side + 1) // 2, index, side - index - 1 + side % 2)
    return _ramp(_kept(side, stride) / 2, frequency, smoothness)


def column_window(side: int, stride: Tensor, smoothness: float) -> Tensor:
    """Weights (side // 2 + 1,) of the columns of a half spectrum: clip((R + W_s / 2 + 1 - n) / R, 0, 1)."""
    return _ramp(_kept(side, stride) / 2 + 1, torch.arange(side // 2 + 1), smoothness)


def _kept(side: int, stride: Tensor) -> Tensor:
    """max(side / stride, 2), with a gradient at 2, too: versions of torch do not agree on that of a clamp."""
    kept = side / stride
    return torch.where(kept < 2, 2.0, kept)


def _ramp(end: Tensor, frequency: Tensor, smoothness: float) -> Tensor:
    return ((smoothness + end - frequency) / smoothness).clamp(0, 1)


def pooled_size(size: Size, strides: Tensor, smoothness: float) -> Size:
    """Height and width of what `pool` makes of a map of this size."""
    rows = row_window(size[0], strides[0], smoothness) > 0
    columns = column_window(size[1], strides[1], smoothness) > 0
    return int(rows.sum()), _width(int(columns.sum()))


def _width(columns: int) -> int:
    """Of a map with so many columns in its half spectrum: an even one, as an inverse transform gives it by default."""
    return max(1, 2 * (columns - 1))


def pool(x: Tensor, strides: Tensor, smoothness: float = 4.0) -> Tensor:
    """x (B, C, H, W), cut in its spectrum to (B, C, h, w), h and w by `pooled_size`. In fp32, or in x's float64.

    strides: (2,), vertical and horizontal, 1 or more. The windows have a gradient, the cut has none.
    """
    height, width = x.shape[2:]
    rows, columns = row_window(height, strides[0], smoothness), column_window(width, strides[1], smoothness)
    kept = int((columns > 0).sum())
    positive = int((rows[: (height + 1) // 2] > 0).sum())
    negative = height - int((rows[(height + 1) // 2 :] > 0).sum())
    weights = torch.cat((rows[:positive], rows[negative:]))[:, None] * columns[:kept]
    with torch.autocast(x.device.type, enabled=False):
        spectrum = torch.fft.rfft2(x if x.dtype == torch.float64 else x.float())[..., :kept]
        spectrum = torch.cat((spectrum[:, :, :positive], spectrum[:, :, negative:]), dim=2)
        weighed = spectrum * weights.to(x.device, spectrum.real.dtype)
        cut = torch.fft.irfft2(weighed, s=(weighed.shape[2], _width(kept)))
    return cut.to(x.dtype)


def bounds(side: int, smoothness: float) -> tuple[float, float]:
    """Between which strides a gradient can move the stride of a map of this side.

    Below side / (side - R) the window's slope leaves the spectrum: the release raises strides to it, too. Above side / 2
    the map would not shrink any more. Where a side is too small for both, the latter rules.
    """
    high = max(1.0, side / 2)
    low = side / (side - smoothness) if side > smoothness else high
    return min(low, high), high


@dataclass(frozen=True)
class Method(Resizing):
    """One pair of strides before each block; at the start 2 where the default configuration pools and 1 elsewhere.

    size_lr     rate of the strides' SGD, which falls as that of the weights does; 0: the weights' own, as in the release.
                They have the weights' momentum and no weight decay
    smoothness  R, over how many frequencies a window falls from 1 to 0
    cost        weight of the cost in the loss: the sum over blocks of the product of 1 / (s_v s_h) up to there
    """

    smoothness: float = 4.0
    cost: float = 0.0

    overhead: ClassVar[float] = 1.9

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low, high in (("smoothness", 3, 64), ("cost", 0, 1000)):
            if not low <= getattr(self, name) <= high:
                raise UsageError(f"{name} is {getattr(self, name)}: it must lie between {low} and {high}")

    def start(self, space: PoolingSpace) -> Tensor:
        return standard_strides(space)

    def settle(self, values: Tensor, space: PoolingSpace) -> list[Size]:
        size, sizes = (space.sizes[0], space.sizes[0]), []
        for strides in values:
            for stride, side in zip(strides, size, strict=True):
                stride.clamp_(*bounds(side, self.smoothness))
            size = pooled_size(size, strides, self.smoothness)
            sizes.append(size)
        return sizes

    def run(self, blocks: Sequence[Any], x: Tensor, values: Tensor) -> Tensor:
        for block, strides in zip(blocks, values, strict=True):
            x = block.at(pool(x, strides, self.smoothness))
        return x

    def penalty(self, values: Tensor, space: PoolingSpace) -> Tensor | None:
        return self.cost * (1 / values.prod(1)).cumprod(0).sum() if self.cost else None
