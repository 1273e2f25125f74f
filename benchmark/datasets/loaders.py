"""Where an epoch's images come from: memory (`resident`), a torch DataLoader (`torchvision`) or a file (`ffcv`).

All give the same batches, bit for bit: order, crops, flips (`crops`) and normalisation (`batches`) are functions of (seed, epoch). So the loader is no part of a recipe; its name stands under a record's provenance.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from benchmark.cli import LOADERS
from benchmark.datasets import beton, ffcv_loader, folders, named, sets
from benchmark.datasheets import datasheet
from benchmark.errors import UsageError, choices


def require_loader(loader: str) -> None:
    """Raises UsageError for a loader that is unknown or not installed, Failure for one that is broken."""
    if loader not in LOADERS:
        raise UsageError(f"unknown loader '{loader}': {choices(loader, LOADERS)}")
    if loader == "ffcv":
        beton.library()


def load(
    name: str, root: Path | str | None = None, download: bool = True, loader: str = "resident"
) -> sets.Dataset[Any]:
    """The named data set, its images served by a loader. Raises as `named.load` and `require_loader` do."""
    require_loader(loader)
    if loader == "ffcv":
        return ffcv_loader.load(name, root)
    held: sets.Dataset[Any] = named.load(name, root, download)
    if datasheet(name).place:  # a folder of images
        if loader == "torchvision":
            return held
        folders.require_memory(len(held.train) + len(held.test))
        return replace(held, train=replace(held.train, resident=True), test=replace(held.test, resident=True))
    if loader == "resident":
        return held
    return sets.Dataset.of(datasheet(name), ImageByImage(held.train), ImageByImage(held.test), held.checksum)


@dataclass(frozen=True)
class ImageByImage(sets.Streamed):
    """Images as torchvision's data sets hand them out: one at a time, through PIL, collated by a DataLoader.

    workers  its processes; 0: this one, as workers of a build can have none
    """

    images: sets.Images
    workers: int = 0

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.images.shape

    @property
    def labels(self) -> Tensor:
        return self.images.labels

    def take(self, count: int) -> Self:
        return replace(self, images=self.images.first(count))

    def decoded(self, order: Tensor, batch_size: int) -> Generator[sets.Pair, None, None]:
        from torch.utils.data import DataLoader

        chosen: DataLoader[Any] = DataLoader(
            Pictures(self.images.pixels, self.images.labels),  # type: ignore[arg-type]
            batch_size,
            sampler=order.tolist(),
            num_workers=self.workers,
            generator=torch.Generator(),  # it draws a number per epoch, which must not be one of torch's own
        )
        for planes, labels in chosen:
            yield planes.permute(0, 2, 3, 1).contiguous(), labels


@dataclass(frozen=True)
class Pictures:
    """What a DataLoader indexes: (uint8 (3, H, W), label)."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        from PIL import Image
        from torchvision.transforms.functional import pil_to_tensor

        return pil_to_tensor(Image.fromarray(self.pixels[position].numpy())), int(self.labels[position])
