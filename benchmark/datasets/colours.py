"""Colour jitter: each image's brightness, contrast, saturation and hue changed by chance, one after the other, in any order.

As torchvision's ColorJitter does it to images of floating point, with its formulas, for a whole batch at once: factors
and order are image by image, a pure function of (count, strength, seed, epoch), the same on every device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

from benchmark.streams import stream

GREY = (0.2989, 0.587, 0.114)  # shares of red, green and blue in the lightness that torchvision means (ITU-R 601-2)


@dataclass(frozen=True)
class Colours:
    """What becomes of the colours of the images of an epoch, position by position.

    factors  float32 (N, 4): of brightness, contrast and saturation, 1 changes nothing; shift of the hue, in turns
    order    int64 (N, 4): which of these four is changed first, second, third and last
    """

    factors: Tensor
    order: Tensor

    def at(self, here: slice) -> Self:
        return type(self)(self.factors[here], self.order[here])

    def to(self, device: torch.device) -> Self:
        return type(self)(self.factors.to(device, non_blocking=True), self.order.to(device, non_blocking=True))


def colours(count: int, strength: float, seed: int, epoch: int) -> Colours:
    """Factors evenly from 1 - strength to 1 + strength, a shift of the hue evenly to half of it either way, any order.

    strength: 0 to 1; at 0.4 the numbers are those of DARTS (Liu et al., 2019) and CONet on ImageNet: 0.4, 0.4, 0.4, 0.2.
    """
    draw = stream("colours", seed, epoch)
    factors = draw.uniform(1 - strength, 1 + strength, (count, 4))
    factors[:, 3] = (factors[:, 3] - 1) / 2
    order = draw.permuted(np.tile(np.arange(4), (count, 1)), axis=1)
    return Colours(torch.from_numpy(factors.astype(np.float32)), torch.from_numpy(order))


def jittered(pixels: Tensor, how: Colours) -> Tensor:
    """Images with other colours: float32 (B, H, W, 3), 0 to 255, of uint8 or float32 alike. how: of these B images."""
    images = pixels.to(torch.float32) / 255
    for place in range(4):
        # Every image takes all four and keeps one: which one it is, a GPU need not tell the host.
        turn, before = how.order[:, place, None, None, None], images
        for number, change in enumerate(_CHANGES):
            changed = change(before, how.factors[:, number, None, None, None])
            images = torch.where(turn == number, changed, images)
    return images * 255


def _blended(images: Tensor, others: Tensor | float, factor: Tensor) -> Tensor:
    return (factor * images + (1 - factor) * others).clamp(0, 1)


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images.unbind(-1)
    return (GREY[0] * red + GREY[1] * green + GREY[2] * blue)[..., None]


def _bright(images: Tensor, factor: Tensor) -> Tensor:
    return _blended(images, 0.0, factor)


def _contrasted(images: Tensor, factor: Tensor) -> Tensor:
    return _blended(images, _grey(images).mean((1, 2, 3), keepdim=True), factor)


def _saturated(images: Tensor, factor: Tensor) -> Tensor:
    return _blended(images, _grey(images), factor)


def _turned(images: Tensor, shift: Tensor) -> Tensor:
    """With the hue moved round its circle, by way of hue, saturation and value (Smith, 1978)."""
    value, least = images.amax(-1, keepdim=True), images.amin(-1, keepdim=True)
    span = value - least
    red, green, blue = ((value - images) / torch.where(span == 0, 1.0, span)).split(1, -1)
    first, second, third = images.split(1, -1)
    hue = torch.where(value == third, 4 + green - red, torch.zeros_like(red))
    hue = torch.where(value == second, 2 + red - blue, hue)
    hue = torch.where(value == first, blue - green, hue)
    sixths = (hue / 6 + shift).remainder(1) * 6
    # As far as red, green and blue each lie above the least: a trapezium over the circle, two sixths apart.
    peaks = torch.tensor((0.0, 2.0, 4.0), device=images.device)
    away = (sixths - peaks).abs()
    away = torch.minimum(away, 6 - away)
    return least + span * (2 - away).clamp(0, 1)


_CHANGES: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (_bright, _contrasted, _saturated, _turned)
