"""What a configuration costs, counted by hand: parameters and multiply-accumulates (MACs).

Convolutions and the linear layer count; batch norm, pooling and additions do not, as in torch's own
FLOP counter (one MAC = two of its FLOPs), against which a test checks every configuration. No torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from benchmark.spaces.space import Backbone, Config, PoolingSpace, require_trainable


def _convolutions(backbone: Backbone) -> list[tuple[int, int, int, int]]:
    """(layer, channels in, channels out, kernel side) of every convolution."""
    stem, *_ = widths = backbone.widths
    found = [(0, 3, stem, 3)]
    for layer, (before, after) in enumerate(pairwise(widths), start=1):
        found += [(layer, before, after, 3), (layer, after, after, 3)]
        if before != after:  # the projection of the skip connection
            found.append((layer, before, after, 1))
    return found


def macs(space: PoolingSpace, config: Config | str | Iterable[int], classes: int | None = None) -> int:
    """Multiply-accumulates of one image's forward pass. Raises UsageError as `space.index` does.

    classes: here and below, those of the space's data set unless given.
    """
    return path_macs(space, space[space.index(config)].path, classes)


def path_macs(space: PoolingSpace, path: Sequence[Any], classes: int | None = None) -> int:
    """MACs of one image's forward pass along a path (`networks.ResNet.forward`): of indices, falling or rising, or of sizes."""
    backbone = require_trainable(space)
    pixels = [r[0] * r[1] if isinstance(r, tuple) else space.sizes[r] ** 2 for r in path]
    convolutions = sum(i * o * k * k * pixels[layer] for layer, i, o, k in _convolutions(backbone))
    return convolutions + backbone.widths[-1] * (classes or space.classes)


def parameters(space: PoolingSpace, affine: bool = True, classes: int | None = None) -> int:
    """Trainable numbers, the same for every configuration: widths never move with the pooling.

    affine=True counts batch norm's scale and shift (stand-alone networks); supernets have none.
    """
    backbone = require_trainable(space)
    convolutions = _convolutions(backbone)
    weights = sum(i * o * k * k for _, i, o, k in convolutions)
    norms = sum(2 * o for _, _, o, _ in convolutions) if affine else 0
    return weights + norms + (backbone.widths[-1] + 1) * (classes or space.classes)
