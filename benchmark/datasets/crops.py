"""What an epoch sees: order, crops and flips, a pure function of (count, seed, epoch), the same on every device.

Small images (CIFAR) are cropped out of a border; larger ones, kept as squares, by random resized crops (Szegedy et al.,
2015, with the numbers of torchvision), and in the middle where they are not augmented.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from benchmark.datasets.colours import Colours
from benchmark.streams import stream

PADDING = 4  # pixels of black on each side before the random crop
TRIES, AREA, RATIO = 10, (0.08, 1.0), (3 / 4, 4 / 3)  # of random resized crops, as torchvision has them


@dataclass(frozen=True)
class Augmentation:
    """What one epoch sees: `order` int64 (N,), and per position the crop's corner and whether it is mirrored.

    colours: what becomes of them; None: nothing
    """

    order: Tensor
    top: Tensor
    left: Tensor
    mirrored: Tensor
    colours: Colours | None = field(default=None, kw_only=True)

    def to(self, device: torch.device) -> Self:
        there: dict[str, Any] = {name: what if what is None else what.to(device) for name, what in vars(self).items()}
        return type(self)(**there)


@dataclass(frozen=True)
class ResizedCrops(Augmentation):
    """The same of crops that differ in their sides, in pixels."""

    height: Tensor
    width: Tensor


def augmentation(count: int, seed: int, epoch: int) -> Augmentation:
    """Order, crops and flips of an epoch: a pure function of (count, seed, epoch)."""
    draw = stream("epoch", seed, epoch)
    order = draw.permutation(count)
    corners = draw.integers(0, 2 * PADDING + 1, size=(2, count))
    mirrored = draw.integers(0, 2, size=count)
    return Augmentation(*(torch.from_numpy(a) for a in (order, corners[0], corners[1], mirrored)))


def resized_crops(count: int, stored: int, seed: int, epoch: int) -> ResizedCrops:
    """Order, random resized crops and flips of an epoch: a pure function of (count, stored, seed, epoch).

    stored: side of the images in pixels. As torchvision's RandomResizedCrop: area 8 to 100 % of the image, ratio of the
    sides 3/4 to 4/3, evenly in its logarithm; ten tries for a box that fits, else the largest in the middle, which of a
    square is all of it.
    """
    draw = stream("epoch", seed, epoch)
    order = draw.permutation(count)
    mirrored = draw.integers(0, 2, size=count)
    places = draw.random((2, count))
    height, width = (np.full(count, stored) for _ in range(2))
    waiting = np.full(count, True)
    for _ in range(TRIES):
        area = stored**2 * draw.uniform(AREA[0], AREA[1], count)
        ratio = np.exp(draw.uniform(math.log(RATIO[0]), math.log(RATIO[1]), count))
        w, h = np.rint(np.sqrt(area * ratio)).astype(int), np.rint(np.sqrt(area / ratio)).astype(int)
        fits = waiting & (w > 0) & (w <= stored) & (h > 0) & (h <= stored)
        height[fits], width[fits] = h[fits], w[fits]
        waiting &= ~fits
    top, left = (
        (place * (stored - length + 1)).astype(int) for place, length in zip(places, (height, width), strict=True)
    )
    return ResizedCrops(*(torch.from_numpy(a) for a in (order, top, left, mirrored, height, width)))


def resample(pixels: Tensor, boxes: Sequence[Tensor], mirrored: Tensor, side: int) -> Tensor:
    """Boxes of images, each scaled to a square by bilinear interpolation, mirrored where asked: float32 (B, side, side, 3).

    pixels: uint8 (B, H, W, 3); boxes: int64, four of (B,): top, left, height, width; mirrored: int64 (B,), 0 or 1. As `torchvision.transforms.functional.resized_crop` does it to tensors with antialias=False.
    """
    top, left, height, width = boxes
    steps = (torch.arange(side, device=pixels.device) + 0.5) / side

    def between(low: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(pixel before, pixel after, weight of the latter) of each place in the output, (B, side)."""
        place = (steps * length[:, None] - 0.5).clamp(min=0)
        before = place.long()
        after = torch.minimum(before + 1, length[:, None] - 1)
        return low[:, None] + before, low[:, None] + after, (place - before).to(torch.float32)

    y0, y1, dy = between(top, height)
    x0, x1, dx = between(left, width)
    flipped = mirrored[:, None] == 1
    x0, x1, dx = (torch.where(flipped, x.flip(1), x) for x in (x0, x1, dx))
    image = torch.arange(len(pixels), device=pixels.device)[:, None, None]

    def rows(y: Tensor) -> Tensor:
        one, other = (pixels[image, y[:, :, None], x[:, None, :]].to(torch.float32) for x in (x0, x1))
        return torch.lerp(one, other, dx[:, None, :, None])

    return torch.lerp(rows(y0), rows(y1), dy[:, :, None, None])


def middle(pixels: Tensor, side: int) -> Tensor:
    """The middle of images, 7/8 of each side, as squares of a side: (B, side, side, 3) of uint8 (B, H, H, 3).

    As they are (uint8) where the side is just that, 224 of 256; else scaled as `resample` does (float32).
    """
    stored = pixels.shape[1]
    inner = stored - 2 * (stored // 16)
    corner = (stored - inner) // 2
    if inner == side:
        return pixels[:, corner : corner + side, corner : corner + side]
    box = [torch.full((len(pixels),), value, device=pixels.device) for value in (corner, corner, inner, inner, 0)]
    return resample(pixels, box[:4], box[4], side)


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
