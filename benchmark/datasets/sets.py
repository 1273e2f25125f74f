"""Data sets as tensors: images that are held, images that are decoded when they are asked for, and both sets of one.

Images are uint8 pixels of shape (N, H, W, 3) and int64 labels of shape (N,). What is held lies where the training
runs. What is `Streamed` something else decodes, batch by batch, and no more: order, crops, flips and normalisation
are the same code, so that the batches have the same bits (`benchmark.datasets.loaders`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from benchmark.datasets.crops import crop_windows
from benchmark.datasheets import Datasheet
from benchmark.errors import UsageError
from benchmark.recipe import Recipe

if TYPE_CHECKING:
    from benchmark.spaces.space import PoolingSpace

Pair = tuple[Tensor, Tensor]  # pixels or normalised images, and labels int64 (B,)


class Streamed(ABC):
    """A labelled set of images of one size whose images are decoded when they are asked for.

    resident  whether they are few enough to be held instead, once it is known which of them are wanted
    """

    resident: bool = False

    @abstractmethod
    def __len__(self) -> int: ...

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """(height, width, 3) of every image."""

    @abstractmethod
    def take(self, count: int) -> Self:
        """The first so many."""

    @property
    @abstractmethod
    def labels(self) -> Tensor:
        """int64 (N,), known before any image is decoded."""

    def subset(self, indices: np.ndarray) -> Streamed:
        """Those at some positions, in their order."""
        return Part(self, indices)

    def held(self) -> Images:
        """All of them, decoded now."""
        parts = list(self.decoded(torch.arange(len(self)), 256))
        return Images(torch.cat([pixels for pixels, _ in parts]), torch.cat([labels for _, labels in parts]))

    @abstractmethod
    def decoded(self, order: Tensor, batch_size: int) -> Generator[Pair, None, None]:
        """The images at these positions (int64), in this order: uint8 (B, H, W, 3) and their labels, on the CPU.

        A batch may be kept: nothing writes over it. Close what is not used up.
        """

    def first(self, count: int | None) -> Self:
        """The first so many (None: all). Raises UsageError if there are fewer."""
        _require_enough(count, len(self))
        return self if count is None or count == len(self) else self.take(count)

    def scaled(self, side: int | None) -> Self:
        """Raises UsageError for a side other than theirs: they are decoded as they are kept."""
        if side not in (None, self.shape[0]):
            raise UsageError(
                f"side is {side}, but these images are kept with {self.shape[0]} pixels: --loader resident"
            )
        return self

    def to(self, device: torch.device) -> Self:
        return self  # it is decoded on the CPU, batch by batch


@dataclass(frozen=True)
class Part(Streamed):
    """Some images of a set, by their positions in it (N,)."""

    whole: Streamed
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.whole.shape

    @property
    def labels(self) -> Tensor:
        return self.whole.labels[torch.from_numpy(self.positions)]

    def take(self, count: int) -> Part:
        return replace(self, positions=self.positions[:count])

    def decoded(self, order: Tensor, batch_size: int) -> Generator[Pair, None, None]:
        return self.whole.decoded(torch.from_numpy(self.positions)[order], batch_size)


@dataclass(frozen=True)
class Images:
    """One labelled set: pixels uint8 (N, H, W, 3), labels int64 (N,)."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, channels) of each image."""
        height, width, channels = self.pixels.shape[1:]
        return height, width, channels

    def first(self, count: int | None) -> Images:
        """The first so many (None: all). Raises UsageError if there are fewer."""
        _require_enough(count, len(self))
        return self if count is None or count == len(self) else Images(self.pixels[:count], self.labels[:count])

    def scaled(self, side: int | None) -> Images:
        """Scaled down to a side by whole ratios, each pixel the mean of those that it stands for (None: as they are).

        Raises UsageError for a side that does not divide theirs.
        """
        ours = self.pixels.shape[1]
        if side is None or side == ours:
            return self
        if ours % side:
            raise UsageError(f"side is {side}: these images have {ours} pixels, so that it must divide {ours}")
        n, ratio = len(self), ours // side
        means = self.pixels.view(n, side, ratio, side, ratio, 3).float().mean((2, 4))
        return Images(means.round().to(torch.uint8), self.labels)

    def subset(self, indices: np.ndarray) -> Images:
        chosen = torch.from_numpy(indices)
        return Images(self.pixels[chosen], self.labels[chosen])

    def to(self, device: torch.device) -> Images:
        there = self.pixels.device == device
        return self if there else Images(self.pixels.to(device), self.labels.to(device))

    @cached_property
    def windows(self) -> Tensor:
        """What `crop_and_flip` crops from, made when first trained on: sets that only test need none."""
        return crop_windows(self.pixels)


def _require_enough(count: int | None, there: int) -> None:
    if count is not None and count > there:
        raise UsageError(f"{count} images were asked for, but the set has {there}: ask for fewer, or for all")


Set = TypeVar("Set", Images, Streamed)


@dataclass(frozen=True)
class Dataset(Generic[Set]):
    """Training and test set, with what normalisation needs (per channel, of pixels scaled to [0, 1])."""

    name: str
    train: Set
    test: Set
    classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    checksum: str
    crop: int | None = None  # as in `Datasheet`
    decoder: str | None = None  # the library that made pixels of files, where its build may move them

    @classmethod
    def of(cls, sheet: Datasheet, train: Set, test: Set, checksum: str) -> Dataset[Set]:
        """What the sheet describes, with its images, held or streamed."""
        return cls(sheet.name, train, test, sheet.classes, sheet.mean, sheet.std, checksum, sheet.crop)

    def fitted(self, images: Set, recipe: Recipe) -> Set:
        """A set as it is kept for a recipe: held where it can be; scaled to its side, but where crops are scaled to it."""
        if isinstance(images, Streamed) and images.resident:
            return images.held()  # type: ignore[return-value]
        return images if self.crop else images.scaled(recipe.side)

    def sized_for(self, space: PoolingSpace, scaled: int | None = None) -> Dataset[Set]:
        """This data set. Raises UsageError unless all its images have the size that the space's network takes.

        scaled: the side in pixels to which a recipe scales the images, and the space with them; None: neither
        """
        side = space.backbone.side if space.backbone and scaled is None else None
        for images in (self.train, self.test):
            height, width = (self.crop, self.crop) if self.crop else images.shape[:2]
            if side and (height, width) != (side, side):
                raise UsageError(
                    f"the images of {self.name} are {height} x {width} pixels, but the network of {space.name} takes "
                    f"{side} x {side}: use --dataset {space.dataset}, or the --space of this data set"
                )
        return self

    def reduced(self, recipe: Recipe) -> Dataset[Set]:
        """With the subset sizes and the side of images of a recipe, for stand-alone training."""
        train, test = self.train.first(recipe.train_images), self.test.first(recipe.eval_images)
        return replace(self, train=self.fitted(train, recipe), test=self.fitted(test, recipe))

    def to(self, device: torch.device) -> Dataset[Set]:
        """With all images on the device, ready for every stream there."""
        moved = replace(self, train=self.train.to(device), test=self.test.to(device))
        if device.type == "cuda" and isinstance(moved.train, Images):
            if self.crop is None:
                _ = moved.train.windows
            torch.cuda.synchronize(device)
        return moved
