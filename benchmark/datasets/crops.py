"""What an epoch sees: order, crops and flips, a pure function of (count, seed, epoch), the same on every device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.streams import stream

PADDING = 4  # pixels of black on each side before the random crop


@dataclass(frozen=True)
class Augmentation:
    """What one epoch sees: `order` int64 (N,), and per position the crop's corner and whether it is mirrored."""

    order: Tensor
    top: Tensor
    left: Tensor
    mirrored: Tensor

    def to(self, device: torch.device) -> Augmentation:
        return Augmentation(*(t.to(device) for t in (self.order, self.top, self.left, self.mirrored)))


def augmentation(count: int, seed: int, epoch: int) -> Augmentation:
    """Order, crops and flips of an epoch: a pure function of (count, seed, epoch)."""
    draw = stream("epoch", seed, epoch)
    order = draw.permutation(count)
    corners = draw.integers(0, 2 * PADDING + 1, size=(2, count))
    mirrored = draw.integers(0, 2, size=count)
    return Augmentation(*(torch.from_numpy(a) for a in (order, corners[0], corners[1], mirrored)))


def crop_windows(pixels: Tensor) -> Tensor:
    """Every crop of every image, as a view of one padded copy: uint8 (N, 9, 9, H, 3 W) of (N, H, W, 3)."""
    height, width, channels = pixels.shape[1:]
    padded = torch.nn.functional.pad(pixels, (0, 0, *4 * (PADDING,)))
    return padded.flatten(2).unfold(1, height, 1).unfold(2, width * channels, channels)


def crop_and_flip(windows: Tensor, chosen: Tensor, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
    """Crops HxW of the chosen images out of zero padding 4, then mirrors where asked: uint8 (B, H, W, 3).

    windows: of `crop_windows`; chosen: int64 (B,); top, left: int64 (B,), the corner in the padded image, 0 to 8;
    mirrored: int64 (B,), 0 or 1.
    """
    crops = windows[chosen, top, left].unflatten(2, (-1, 3))
    # Bitwise "where": a quarter of torch.where's time on a CPU, and no host has to know how many are mirrored.
    mask = (mirrored * 255).to(torch.uint8).view(-1, 1, 1, 1)
    return crops ^ ((crops ^ crops.flip(2)) & mask)
