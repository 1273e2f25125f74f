"""Search tasks that need no data set and take milliseconds; in one of them the right answer is planted."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from benchmark import load_space
from benchmark.datasets.batches import Batches
from benchmark.datasets.sets import Dataset, Images
from benchmark.recipe import SearchRecipe
from benchmark.spaces.networks import resize
from benchmark.training.devices import numerics
from nas_methods import Halves, Stopped, Task

SPACE = load_space()
CENTRE = 16  # every crop from a padding of 4 holds the pixel in the middle


def recipe(**changes):
    """Small, in float32 and in one thread. The name of the data set is never looked at here."""
    given = {"dataset": "synthetic", "epochs": 2, "batch_size": 16, "precision": "fp32", "memory_layout": "contiguous"}
    return SearchRecipe(**given | {"threads": 1, "calibration_images": 32, "curve_images": 0} | changes)


def random_images(count, seed):
    draw = np.random.default_rng(seed)
    pixels = draw.integers(0, 256, size=(count, 32, 32, 3), dtype=np.uint8)
    return Images(torch.from_numpy(pixels), torch.from_numpy(draw.integers(0, 10, size=count)))


def coded_images(codes, labels):
    """Images of one colour each, which survives crops and flips; codes: (n, 3), 0 to 255, read back by `codes_of`."""
    pixels = np.broadcast_to(np.asarray(codes, np.uint8)[:, None, None, :], (len(labels), 32, 32, 3)).copy()
    return Images(torch.from_numpy(pixels), torch.as_tensor(np.asarray(labels, np.int64)))


def codes_of(x):
    """The codes (B, 3) of the coded images in a batch of a task made by `task`, which does not shift the pixels."""
    return (x[:, :, CENTRE, CENTRE] * 255).round().long()


class Small(nn.Module):
    """A supernet of 400 weights: its output depends on the whole path, and it has stateless batch norms."""

    def __init__(self, seed):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.conv = nn.Conv2d(3, 8, 3, bias=False)
        self.norm1, self.norm2 = (nn.BatchNorm2d(8, affine=False, track_running_stats=False) for _ in range(2))
        self.gains = nn.Parameter(torch.empty(9, 3, 8, 1, 1))
        self.classifier = nn.Linear(8, 10)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.normal_(0, 0.5, generator=generator)

    def forward(self, x, path):
        x = F.relu(self.norm1(self.conv(F.avg_pool2d(x, 4))))
        for layer, r in enumerate(path[1:]):
            x = x + torch.tanh(self.gains[layer, r] * x)
        return self.classifier(F.relu(self.norm2(x)).mean((2, 3)))


def small(model):
    return Small(model)


CPU = torch.device("cpu")


def task(network=small, train=None, validation=None, seed=0, recipe=recipe(), unshared=None, device=CPU, **more):  # noqa: B008
    """A task on 96 training and 64 validation images.

    unshared: makes the networks of a method that asks for unshared weights; by default `network` does, whose paths
    need not share weights.
    """

    def made(model, shared=True, affine=False):
        return (network if shared else unshared or network)(model)

    train = random_images(96, 1) if train is None else train
    validation = random_images(64, 2) if validation is None else validation
    dataset = Dataset("planted", train, validation, 10, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "none")
    batches = [Batches.of(half, dataset, recipe, device) for half in (train, validation)]
    facts = numerics(recipe, device, dataset)  # as in a real search: what a checkpoint must be able to hold
    return Task(SPACE, recipe, seed, str(device), lambda: Halves(*batches, made, facts), **more)


def stop_every(k):
    """A `Task.stop` that says yes every k-th time it is asked."""
    asked = iter(range(1, 10**9))
    return lambda: next(asked) % k == 0


def to_the_end(rank, limit=100):
    """(the ranking, how often it stopped before): calls rank() until it no longer stops."""
    for stops in range(limit):
        try:
            return rank(), stops
        except Stopped:
            continue
    raise AssertionError("a search that stops should get a little further each time")


# The plant: configuration c classifies the share (LEVELS[c] + 0.5) / 36 of the images rightly. The order was
# drawn once and has nothing to do with MACs or any other order of the configurations.
LEVELS = np.random.default_rng(20).permutation(len(SPACE))
GAINS = 1 + np.random.default_rng(21).permuted(np.tile([0.0, 0.2, 0.4], (9, 1)), axis=1)
SHARES = {config.path: (level + 0.5) / len(SPACE) for config, level in zip(SPACE, LEVELS.tolist(), strict=True)}


class PlantedBlock:
    """As `networks.BasicBlock` is called."""

    projection = None

    def __init__(self, number):
        self.number = number

    def __call__(self, x, r):
        return GAINS[self.number, r].item() * resize(x, 32 >> r)

    def at(self, x):
        return x

    def branch(self, x):
        return x


class Planted(nn.Module):
    """Right about an image if and only if the image's difficulty is below the share of the path.

    Images are coded (label, difficulty in 0..239, 0), so there is nothing to learn; the bias only gives SGD something
    to step. The weight starts at nothing, and every step on a path adds a multiple of a matrix whose rank grows with
    the path's share, too little to change an answer.
    """

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(10))
        self.weight = nn.Parameter(torch.zeros(64, 64, 2, 2))

        self.blocks = [PlantedBlock(number) for number in range(9)]

    def forward(self, x, path):
        label, difficulty, _ = codes_of(x).T
        share = SHARES.get(tuple(path), 0.5)
        right = difficulty < 240 * share
        answer = torch.where(right, label, (label + 1) % 10)
        trace = self.weight[:, :, 0, 0].diagonal()[: math.ceil(share * len(SPACE))].sum()
        return 5.0 * F.one_hot(answer, 10) + 1e-3 * self.bias + 1e-3 * trace * F.one_hot(label * 0, 10)

    # For methods that mix or learn resolutions: each block makes the answer, which is always right, as much surer as
    # GAINS says, or leaves it as it is.

    def stem(self, x):
        return F.one_hot(codes_of(x)[:, 0], 10).float()[:, :, None, None].expand(-1, -1, 32, 32)

    def head(self, x):
        return x.mean((2, 3)) + self.bias + 0 * self.weight.sum()  # part of the graph, as a second order needs it


def planted_images(count, seed):
    """Difficulties spread evenly, so that each of the 36 shares gives another accuracy; labels independent of them."""
    draw = np.random.default_rng(seed)
    difficulty = draw.permutation(np.arange(count) % 240)
    labels = draw.integers(0, 10, size=count)
    return coded_images(np.stack([labels, difficulty, 0 * labels], axis=1), labels)


def planted_task(seed=0, **more):
    return task(lambda model: Planted(), planted_images(96, 3), planted_images(240, 4), seed, **more)
