"""What a user would write without this suite: the other sides of every ratio that `measure` prints.

fp32, contiguous tensors, torch.optim.SGD, torchvision's CIFAR-10 and transforms behind a DataLoader, all cores
as torch threads, one network at a time. The network itself is the suite's, so that a ratio is about the engine
and not about the architecture. `done` is called after every batch and ends the loop by returning True.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmark.datasets import sets
from benchmark.recipe import Recipe
from benchmark.spaces import networks
from benchmark.spaces.space import Config, load_space

WORKERS = 2  # of the DataLoader beside a training


class Pictures(datasets.CIFAR10):
    """torchvision's CIFAR-10 with the images handed in: its own `__getitem__` (PIL, transforms), not its files."""

    def __init__(self, dataset: sets.Dataset) -> None:
        steps = [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(dataset.mean, dataset.std),
        ]
        datasets.VisionDataset.__init__(self, root="", transform=transforms.Compose(steps))
        self.data = dataset.train.pixels.numpy()
        self.targets = dataset.train.labels.tolist()


def loader(dataset: sets.Dataset, recipe: Recipe, workers: int) -> DataLoader:
    return DataLoader(Pictures(dataset), recipe.batch_size, shuffle=True, num_workers=workers, drop_last=True)


def train(
    dataset: sets.Dataset, config: Config, recipe: Recipe, cores: int, done: Callable[[], bool], compiled: bool = False
) -> None:
    """Trains one network, batch after batch; if `compiled`, under torch.compile as it comes (inductor, default mode)."""
    torch.set_num_threads(cores)
    network: nn.Module = networks.ResNet(load_space(), dataset.classes)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    network.train()
    run: Callable[..., torch.Tensor] = torch.compile(network) if compiled else network
    while True:
        for x, y in loader(dataset, recipe, WORKERS):
            optimizer.zero_grad()
            loss = F.cross_entropy(run(x, config.path), y)
            loss.backward()
            optimizer.step()
            loss.item()
            if done():
                return


def batches(dataset: sets.Dataset, recipe: Recipe, cores: int, done: Callable[[], bool]) -> None:
    """Takes batches and does nothing with them: the data path alone, one DataLoader worker per core."""
    while True:
        for _ in loader(dataset, recipe, cores):
            if done():
                return
