"""What a configuration costs, counted by hand: parameters and multiply-accumulates (MACs).

Convolutions and the linear layer count; batch norm, pooling and additions do not, as in torch's own
FLOP counter (one MAC = two of its FLOPs), against which a test checks every configuration. No torch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from benchmark.spaces.space import Config, PoolingSpace, require_trainable


def _convolutions(space: PoolingSpace, path: Sequence[Any]) -> list[tuple[int, int, int, int]]:
    """(channels in, channels out, kernel side, pixels of what it puts out) of every convolution along a path."""
    backbone = require_trainable(space)
    pixels = [r[0] * r[1] if isinstance(r, tuple) else space.sizes[r] ** 2 for r in path]
    if backbone.stem == "cifar":
        found = [(3, backbone.widths[0], 3, pixels.pop(0))]
    else:
        found = [(3, backbone.widths[0], 7, (backbone.side // 2) ** 2)]
    for (before, width, after), count in zip(backbone.blocks, pixels, strict=True):
        if backbone.block == "basic":
            kinds = [(before, after, 3), (after, after, 3)]
        else:
            kinds = [(before, width, 1), (width, width, 3), (width, after, 1)]
        if before != after:  # the projection of the skip connection
            kinds.append((before, after, 1))
        found += [(*kind, count) for kind in kinds]
    return found


def macs(space: PoolingSpace, config: Config | str | Iterable[int], classes: int | None = None) -> int:
    """Multiply-accumulates of one image's forward pass. Raises UsageError as `space.index` does.

    classes: here and below, those of the space's data set unless given.
    """
    return path_macs(space, space[space.index(config)].path, classes)


def path_macs(space: PoolingSpace, path: Sequence[Any], classes: int | None = None) -> int:
    """MACs of one image's forward pass along a path (`networks.ResNet.forward`): of indices, falling or rising, or of sizes."""
    convolutions = sum(i * o * k * k * pixels for i, o, k, pixels in _convolutions(space, path))
    return convolutions + require_trainable(space).features * (classes or space.classes)


def outputs(space: PoolingSpace, path: Sequence[Any]) -> int:
    """Numbers that all convolutions put out for one image along a path: what memory goes by."""
    return sum(o * pixels for _, o, _, pixels in _convolutions(space, path))


def parameters(space: PoolingSpace, affine: bool = True, classes: int | None = None) -> int:
    """Trainable numbers, the same for every configuration: widths never move with the pooling.

    affine=True counts batch norm's scale and shift (stand-alone networks); supernets have none.
    """
    convolutions = _convolutions(space, space.default.path)
    weights = sum(i * o * k * k for i, o, k, _ in convolutions)
    norms = sum(2 * o for _, o, _, _ in convolutions) if affine else 0
    return weights + norms + (require_trainable(space).features + 1) * (classes or space.classes)
