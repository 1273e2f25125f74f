"""Normalised batches of a set: augmented, in the order of an epoch; or plain, as the set comes.

A batch is one gather: crop, flip and selection are index arithmetic on what `benchmark.datasets.crops` drew. Colours, where
they are changed, are so by `benchmark.datasets.colours`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Generic, Self

import torch
from torch import Tensor

from benchmark.datasets.colours import colours, jittered
from benchmark.datasets.crops import (
    Augmentation,
    augmentation,
    crop_and_flip,
    crop_windows,
    middle,
    resample,
    resized_crops,
)
from benchmark.datasets.sets import Dataset, Images, Pair, Set, Streamed
from benchmark.recipe import Recipe


@dataclass(frozen=True)
class Normalise:
    """pixels of 0 to 255 (B, H, W, 3) -> (B, 3, H, W) in `dtype`: x = pixel * scale + shift."""

    scale: Tensor  # float32 (3 H W,): one entry per byte of an image
    shift: Tensor
    dtype: torch.dtype
    memory_format: torch.memory_format

    @classmethod
    def of(cls, shape: Sequence[int], dataset: Dataset[Any], recipe: Recipe, device: torch.device) -> Normalise:
        mean, std = (torch.tensor(v, device=device).repeat(shape[0] * shape[1]) for v in (dataset.mean, dataset.std))
        return cls(
            1 / (255 * std),
            -mean / std,
            torch.bfloat16 if recipe.precision == "bf16" else torch.float32,
            torch.channels_last if recipe.memory_layout == "channels_last" else torch.contiguous_format,
        )

    def __call__(self, pixels: Tensor) -> Tensor:
        # Flat rows with one scale per byte: four times as fast on a CPU as broadcasting over a last axis of 3.
        x = torch.addcmul(self.shift, pixels.flatten(1).to(torch.float32), self.scale).to(self.dtype)
        return x.view(pixels.shape).permute(0, 3, 1, 2).contiguous(memory_format=self.memory_format)


@dataclass(frozen=True)
class Served(ABC, Generic[Set]):
    """One set as normalised batches (x: (B, 3, H, W), y: int64 (B,)), in an epoch's order or as it comes."""

    images: Set
    normalise: Normalise
    batch_size: int
    device: torch.device
    side: int | None = None  # of resized crops; None: whole images, cropped from a border
    jitter: float = 0.0  # strength of that of colours (`benchmark.datasets.colours`)

    @classmethod
    def of(cls, images: Set, dataset: Dataset[Any], recipe: Recipe, device: torch.device, jitter: float = 0.0) -> Self:
        shape = images.pixels.shape[1:] if isinstance(images, Images) else images.shape
        side = dataset.crop and (recipe.side or dataset.crop)
        normalise = Normalise.of((side, side, 3) if side else shape, dataset, recipe, device)
        return cls(images.to(device), normalise, recipe.batch_size, device, side, jitter)

    def __len__(self) -> int:
        return len(self.images)

    @property
    def steps(self) -> int:
        """Training batches per epoch: full ones only, or a single short one where the set is smaller than a batch."""
        return max(1, len(self) // self.batch_size)

    def plan(self, seed: int, epoch: int) -> Augmentation:
        """Order, crops, flips and colours of an epoch, on the device."""
        if self.side is None:
            plan = augmentation(len(self), seed, epoch)
        else:
            plan = resized_crops(len(self), self.stored, seed, epoch)
        if self.jitter:
            plan = replace(plan, colours=colours(len(self), self.jitter, seed, epoch))
        return plan.to(self.device)

    @property
    def stored(self) -> int:
        """Side of the images as they are kept, in pixels."""
        return self.images.pixels.shape[1] if isinstance(self.images, Images) else self.images.shape[0]

    @abstractmethod
    def train(self, plan: Augmentation, step: int) -> Pair:
        """The step-th augmented batch of an epoch."""

    @abstractmethod
    def chosen(self, indices: Tensor) -> Pair:
        """The images at these positions, not augmented."""

    @abstractmethod
    def epoch(self, plan: Augmentation, start: int = 0) -> Generator[Pair, None, None]:
        """The augmented batches of an epoch, from the start-th on. Close it where it is left early."""

    @abstractmethod
    def plain(self) -> Generator[Pair, None, None]:
        """The whole set in order, not augmented, nothing dropped. Close it where it is left early."""

    def _here(self, step: int) -> slice:
        """The positions in an epoch's order of a batch."""
        return slice(step * self.batch_size, (step + 1) * self.batch_size)

    def _of_step(self, plan: Augmentation, step: int) -> list[Tensor]:
        """What the plan says of one batch, on the device: order, corner, whether mirrored; of resized crops their sides."""
        here = self._here(step)
        placed = [what for what in vars(plan).values() if isinstance(what, Tensor)]
        return [t[here].to(self.device, non_blocking=True) for t in placed]

    def _finished(self, plan: Augmentation, step: int, pixels: Tensor) -> Tensor:
        """Crops of one batch in the colours that the plan gives them, normalised."""
        if plan.colours is not None:
            pixels = jittered(pixels, plan.colours.at(self._here(step)).to(self.device))
        return self.normalise(pixels)

    def _whole(self, pixels: Tensor) -> Tensor:
        """Images as a test sees them, normalised."""
        return self.normalise(pixels if self.side is None else middle(pixels, self.side))


class Batches(Served[Images]):
    """Batches of resident images: any of them at any time."""

    def train(self, plan: Augmentation, step: int) -> Pair:
        chosen, top, left, mirrored, *sides = self._of_step(plan, step)
        if self.side is None:
            pixels = crop_and_flip(self.images.windows, chosen, top, left, mirrored)
        else:
            pixels = resample(self.images.pixels[chosen], (top, left, *sides), mirrored, self.side)
        return self._finished(plan, step, pixels), self.images.labels[chosen]

    def epoch(self, plan: Augmentation, start: int = 0) -> Generator[Pair, None, None]:
        for step in range(start, self.steps):
            yield self.train(plan, step)

    def chosen(self, indices: Tensor) -> Pair:
        indices = indices.to(self.device)
        return self._whole(self.images.pixels.index_select(0, indices)), self.images.labels[indices]

    def plain(self) -> Generator[Pair, None, None]:
        for start in range(0, len(self), self.batch_size):
            here = slice(start, start + self.batch_size)
            yield self._whole(self.images.pixels[here]), self.images.labels[here]


class StreamedBatches(Served[Streamed]):
    """Batches of images that are decoded on the way: the same bits as if they were resident."""

    def train(self, plan: Augmentation, step: int) -> Pair:
        return self._augmented(plan, step, *self._decoded(plan.order[self._here(step)]))

    def epoch(self, plan: Augmentation, start: int = 0) -> Generator[Pair, None, None]:
        order = plan.order[start * self.batch_size : self.steps * self.batch_size].cpu()
        with closing(self.images.decoded(order, self.batch_size)) as batches:
            for step, (pixels, labels) in enumerate(batches, start):
                yield self._augmented(plan, step, pixels, labels)

    def chosen(self, indices: Tensor) -> Pair:
        pixels, labels = self._decoded(indices)
        return self._whole(self._sent(pixels)), self._sent(labels)

    def plain(self) -> Generator[Pair, None, None]:
        with closing(self.images.decoded(torch.arange(len(self)), self.batch_size)) as batches:
            for pixels, labels in batches:
                yield self._whole(self._sent(pixels)), self._sent(labels)

    def _augmented(self, plan: Augmentation, step: int, pixels: Tensor, labels: Tensor) -> Pair:
        _, top, left, mirrored, *sides = self._of_step(plan, step)
        pixels = self._sent(pixels)
        if self.side is None:
            rows = torch.arange(len(labels), device=self.device)
            crops = crop_and_flip(crop_windows(pixels), rows, top, left, mirrored)
        else:
            crops = resample(pixels, (top, left, *sides), mirrored, self.side)
        return self._finished(plan, step, crops), self._sent(labels)

    def _decoded(self, indices: Tensor) -> Pair:
        """One batch of any size, decoded now."""
        with closing(self.images.decoded(indices.cpu(), max(1, len(indices)))) as batches:
            return next(batches)

    def _sent(self, values: Tensor) -> Tensor:
        """A tensor on the device, without waiting for the steps that a GPU is still at."""
        if self.device.type != "cuda":
            return values
        return values.pin_memory().to(self.device, non_blocking=True)


def served(
    images: Images | Streamed, dataset: Dataset[Any], recipe: Recipe, device: torch.device, jitter: float = 0.0
) -> Batches | StreamedBatches:
    """Batches of a set, held or streamed. jitter: of colours, where it is trained on (`Served`)."""
    kind: Any = Batches if isinstance(images, Images) else StreamedBatches
    return kind.of(images, dataset, recipe, device, jitter)
