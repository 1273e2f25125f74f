"""The networks of DARTS and DARTS+ cells that CONet searches and evaluates (Liu et al., 2019; Liang et al., 2020).

Seven, fourteen or twenty cells; reductions after a third and two thirds of them. A cell's inputs are nodes 0 and 1; its
operations come in pairs, each pair summed to one of the nodes 2 to 5, which are concatenated. As in the release of CONet:
specification, section 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.channels.widths import Channels

Operation = tuple[str, int]  # its name, and the node that it reads


@dataclass(frozen=True)
class Genotype:
    """The operations of both kinds of cells, in pairs."""

    normal: tuple[Operation, ...]
    reduce: tuple[Operation, ...]


DARTS = Genotype(
    (("sep3", 0), ("sep3", 1), ("sep3", 0), ("sep3", 1), ("sep3", 1), ("skip", 0), ("skip", 0), ("dil3", 2)),
    (("max", 0), ("max", 1), ("skip", 2), ("max", 1), ("max", 0), ("skip", 2), ("skip", 2), ("max", 1)),
)
DARTS_PLUS = Genotype(
    (("skip", 0), ("sep3", 1), ("skip", 0), ("sep5", 2), ("sep3", 1), ("sep3", 3), ("sep3", 2), ("sep3", 4)),
    (("max", 0), ("skip", 1), ("max", 0), ("dil5", 2), ("max", 0), ("dil5", 3), ("max", 0), ("skip", 2)),
)


def _pointwise(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 1, bias=False)


def _depthwise(width: int, kernel: int, stride: int, dilation: int = 1) -> nn.Conv2d:
    padding = dilation * (kernel // 2)
    return nn.Conv2d(width, width, kernel, stride, padding, dilation, groups=width, bias=False)


def _preprocessed(before: int, after: int) -> nn.Module:
    return nn.Sequential(nn.ReLU(), _pointwise(before, after), nn.BatchNorm2d(after))


def _separable(width: int, kernel: int, stride: int) -> nn.Module:
    first = nn.ReLU(), _depthwise(width, kernel, stride), _pointwise(width, width), nn.BatchNorm2d(width)
    second = nn.ReLU(), _depthwise(width, kernel, 1), _pointwise(width, width), nn.BatchNorm2d(width)
    return nn.Sequential(*first, *second)


def _dilated(width: int, kernel: int, stride: int) -> nn.Module:
    convolutions = _depthwise(width, kernel, stride, dilation=2), _pointwise(width, width)
    return nn.Sequential(nn.ReLU(), *convolutions, nn.BatchNorm2d(width))


class FactorizedReduce(nn.Module):
    """Halves both sides of a map: two convolutions on every other position, half of the channels each."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.even = nn.Conv2d(before, after // 2, 1, stride=2, bias=False)
        self.odd = nn.Conv2d(before, after // 2, 1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(after)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(x)
        return self.norm(torch.cat([self.even(x), self.odd(x[:, :, 1:, 1:])], 1))

    def channels(self, x: Channels, on: Any) -> Channels:
        return on(self.norm, on.together((self.even, self.odd), x))


def _operation(name: str, width: int, stride: int) -> nn.Module:
    if name == "skip":
        return nn.Identity() if stride == 1 else FactorizedReduce(width, width)
    if name == "max":
        return nn.MaxPool2d(3, stride, padding=1)
    return {"sep": _separable, "dil": _dilated}[name[:3]](width, int(name[3:]), stride)


class Cell(nn.Module):
    """Two maps to one of four times the width; in a reduction at half the side.

    before: channels of the cell before the previous one, and of the previous one. halved: the previous one was a reduction.
    """

    def __init__(
        self, operations: tuple[Operation, ...], before: tuple[int, int], width: int, reduce: bool, halved: bool
    ) -> None:
        from torchvision.ops import StochasticDepth

        super().__init__()
        self.nodes = [node for _, node in operations]
        self.pre0 = FactorizedReduce(before[0], width) if halved else _preprocessed(before[0], width)
        self.pre1 = _preprocessed(before[1], width)
        strides = [2 if reduce and node < 2 else 1 for node in self.nodes]
        self.ops = nn.ModuleList(_operation(name, width, s) for (name, _), s in zip(operations, strides, strict=True))
        self.drop = StochasticDepth(0.0, "row")  # of paths: of what is no identity

    def forward(self, older: Tensor, newer: Tensor) -> Tensor:
        nodes = [self.pre0(older), self.pre1(newer)]
        for pair in range(0, len(self.ops), 2):
            one, other = (self._made(nodes, place) for place in (pair, pair + 1))
            nodes.append(one + other)
        return torch.cat(nodes[2:], 1)

    def _made(self, nodes: list[Tensor], place: int) -> Tensor:
        x = self.ops[place](nodes[self.nodes[place]])
        return x if isinstance(self.ops[place], nn.Identity) else self.drop(x)


class AuxiliaryHead(nn.Module):
    """Logits from the map after two thirds of the cells, 8x8 (CIFAR) or 14x14, for the training's sake."""

    def __init__(self, features: int, classes: int, imagenet: bool) -> None:
        super().__init__()
        second = [nn.Conv2d(128, 768, 2, bias=False), *([] if imagenet else [nn.BatchNorm2d(768)]), nn.ReLU()]
        self.features = nn.Sequential(
            nn.ReLU(), nn.AvgPool2d(5, stride=2 if imagenet else 3), _pointwise(features, 128), nn.BatchNorm2d(128), nn.ReLU(), *second
        )  # fmt: skip
        self.classifier = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


class CellNetwork(nn.Module):
    """A network of cells: images (B, 3, S, S) to logits; while it trains with an auxiliary head, to a pair of logits.

    width: of the first cells' operations; it doubles at each reduction. stem: channels of the CIFAR stem.
    imagenet: two strided convolutions at the start, or three. auxiliary: with that head.
    """

    def __init__(
        self,
        genotype: Genotype,
        cells: int,
        classes: int,
        width: int = 16,
        stem: int = 48,
        imagenet: bool = False,
        auxiliary: bool = False,
    ) -> None:
        super().__init__()
        self.stem0: nn.Module
        self.stem1: nn.Module | None = None
        if imagenet:
            half = nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width // 2), nn.ReLU()
            whole = nn.Conv2d(width // 2, width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(width)
            self.stem0 = nn.Sequential(*half, *whole)
            again = nn.Conv2d(width, width, 3, stride=2, padding=1, bias=False)
            self.stem1 = nn.Sequential(nn.ReLU(), again, nn.BatchNorm2d(width))
        else:
            self.stem0 = nn.Sequential(nn.Conv2d(3, stem, 3, padding=1, bias=False), nn.BatchNorm2d(stem))
        before = (width, width) if imagenet else (stem, stem)
        halved = imagenet
        self.cells = nn.ModuleList()
        for number in range(cells):
            reduce = number in (cells // 3, 2 * cells // 3)
            width *= 2 if reduce else 1
            operations = genotype.reduce if reduce else genotype.normal
            self.cells.append(Cell(operations, before, width, reduce, halved))
            before, halved = (before[1], 4 * width), reduce
            if number == 2 * cells // 3:
                self.auxiliary = AuxiliaryHead(4 * width, classes, imagenet) if auxiliary else None
        self.last = 2 * cells // 3
        self.imagenet = imagenet
        self.classifier = nn.Linear(before[1], classes)

    def add_auxiliary(self, classes: int) -> None:
        """Gives it the head, at whatever widths it has by now."""
        after = self.cells.get_submodule(f"{self.last + 1}.pre1.1")  # what the next cell reads is what the head reads
        assert isinstance(after, nn.Conv2d)
        self.auxiliary = AuxiliaryHead(after.in_channels, classes, self.imagenet)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        older = newer = self.stem0(x)
        if self.stem1 is not None:
            newer = self.stem1(older)
        beside = None
        for number, cell in enumerate(self.cells):
            older, newer = newer, cell(older, newer)
            if number == self.last and self.auxiliary is not None and self.training:
                beside = self.auxiliary(newer)
        logits = self.classifier(F.adaptive_avg_pool2d(newer, 1).flatten(1))
        return logits if beside is None else (logits, beside)


def set_drop_path(network: nn.Module, share: float) -> None:
    """Which share of the paths of each image is dropped from now on, while it trains."""
    for module in network.modules():
        if isinstance(module, Cell):
            module.drop.p = share
