"""The one ResNet: its pooling positions are an argument of the forward pass.

As He et al. (2016; paper, appendix B.2): a stem, then basic or bottleneck blocks, then a linear layer on the averages.
Widths belong to the block's index and never move with the pooling, so that every configuration has the same parameters.
Every searched convolution has stride 1; a 2x2 max-pool stands before the block it precedes, so that all of it, its skip
too, works at the lower resolution (the usual ResNets stride a convolution of the block and its skip). Knows no data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.spaces.space import PoolingSpace, require_trainable
from benchmark.streams import stream


def _conv(before: int, after: int, kernel: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, kernel, padding=kernel // 2, bias=False)


def _norm(channels: int, affine: bool) -> nn.BatchNorm2d:
    # Stand-alone networks: affine, running statistics. Supernets: neither, since statistics of one path are wrong for another.
    return nn.BatchNorm2d(channels, affine=affine, track_running_stats=affine)


def resize(x: Tensor, side: int | tuple[int, int]) -> Tensor:
    """x (B, C, s, s) brought to (B, C, side, side): max-pooling down, nearest upsampling up, by whole ratios.

    side: (height, width) stands for any size, by any ratio: each output is the maximum over its share of the input.
    """
    if isinstance(side, tuple):
        return F.adaptive_max_pool2d(x, side)
    if x.shape[-1] > side:
        return F.max_pool2d(x, x.shape[-1] // side)
    if x.shape[-1] < side:
        return F.interpolate(x, scale_factor=side // x.shape[-1], mode="nearest")
    return x


class Block(nn.Module):
    """A residual block: a branch, plus a skip, then ReLU.

    branch      what is added to the skip; `last` is the batch norm at its end
    projection  conv1x1-BN in the skip where the number of channels changes, else None
    """

    projection: nn.Module | None

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = tuple(sizes)

    def forward(self, x: Tensor, r: int | tuple[int, int]) -> Tensor:
        """The block at resolution r: x (B, before, s, s) of any searched side s gives (B, after, sizes[r], sizes[r]).

        r: (height, width) runs it at any size.
        """
        return self.at(resize(x, r if isinstance(r, tuple) else self.sizes[r]))

    def at(self, x: Tensor) -> Tensor:
        """The block at the resolution that x already has."""
        y = self.branch(x)
        return F.relu(y.add_(x if self.projection is None else self.projection(x)), inplace=True)

    def branch(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    @property
    def last(self) -> nn.BatchNorm2d:
        raise NotImplementedError


def _projection(before: int, after: int, affine: bool) -> nn.Module | None:
    return nn.Sequential(_conv(before, after, 1), _norm(after, affine)) if before != after else None


class BasicBlock(Block):
    """conv3x3-BN-ReLU-conv3x3-BN plus skip, ReLU."""

    def __init__(self, before: int, width: int, after: int, sizes: Sequence[int], affine: bool) -> None:
        super().__init__(sizes)
        self.conv1, self.norm1 = _conv(before, width, 3), _norm(width, affine)
        self.conv2, self.norm2 = _conv(width, after, 3), _norm(after, affine)
        self.projection = _projection(before, after, affine)

    def branch(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return self.norm2(self.conv2(y))

    @property
    def last(self) -> nn.BatchNorm2d:
        return self.norm2


class Bottleneck(Block):
    """conv1x1-BN-ReLU-conv3x3-BN-ReLU-conv1x1-BN plus skip, ReLU; `width` channels at the conv3x3."""

    def __init__(self, before: int, width: int, after: int, sizes: Sequence[int], affine: bool) -> None:
        super().__init__(sizes)
        self.conv1, self.norm1 = _conv(before, width, 1), _norm(width, affine)
        self.conv2, self.norm2 = _conv(width, width, 3), _norm(width, affine)
        self.conv3, self.norm3 = _conv(width, after, 1), _norm(after, affine)
        self.projection = _projection(before, after, affine)

    def branch(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        y = F.relu(self.norm2(self.conv2(y)), inplace=True)
        return self.norm3(self.conv3(y))

    @property
    def last(self) -> nn.BatchNorm2d:
        return self.norm3


class UnsharedBlock(nn.ModuleList):
    """A block with weights of its own for each resolution: number r of these runs at resolution r."""

    def forward(self, x: Tensor, r: int) -> Tensor:
        return self[r](x, r)


BLOCKS: dict[str, type[Any]] = {"basic": BasicBlock, "bottleneck": Bottleneck}  # by `Backbone.block`


class ResNet(nn.Module):
    """The backbone of a space: `stem`, which is all up to the first searched layer and is never pooled; `blocks`, the
    layers after it, of which `blocks[i](x, r)` runs one at resolution r; and `head`.

    classes: those of the space's data set unless given.
    affine=True: a stand-alone network (batch norm with scale, shift and running statistics).
    affine=False: a supernet (batch norm stateless: the statistics of the batch, always, until `calibrate`).
    shared=False: a set of weights (convolutions, projection, batch norm) for each (block, resolution); the first layer
        and the classifier, which have one resolution, stay single (paper, section 3.3, "not shared").
    """

    def __init__(
        self, space: PoolingSpace, classes: int | None = None, affine: bool = True, shared: bool = True
    ) -> None:
        super().__init__()
        backbone = require_trainable(space)
        self.space = space
        made, width, shapes = BLOCKS[backbone.block], backbone.widths[0], list(backbone.blocks)

        def block(*shape: int) -> nn.Module:
            if shared:
                return made(*shape, space.sizes, affine)
            return UnsharedBlock(made(*shape, space.sizes, affine) for _ in space.sizes)

        searched = backbone.stem == "cifar"
        self.conv = _conv(3, width, 3) if searched else nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.norm = _norm(width, affine)
        self.first: Block | None = None if searched else made(*shapes.pop(0), space.sizes, affine)
        self.blocks = nn.ModuleList(block(*shape) for shape in shapes)
        self.classifier = nn.Linear(backbone.features, classes or space.classes)

    def stem(self, x: Tensor) -> Tensor:
        """Images (B, 3, S, S) to what layer 1 makes of them, (B, channels, sizes[0], sizes[0]).

        Layer 1 is the convolution itself, or the first block where that one is fixed (torchvision's stem).
        """
        x = F.relu(self.norm(self.conv(x)), inplace=True)
        return x if self.first is None else self.first.at(F.max_pool2d(x, 3, stride=2, padding=1))

    def forward(self, x: Tensor, path: Sequence[Any]) -> Tensor:
        """Logits (B, classes), float32, of images x (B, 3, S, S) along a path.

        path: the resolution index of each of the L layers, the first one's (always 0) first, as `Config.path` gives
        it; any path is allowed, falling or rising. In the place of an index may stand a size, (height, width), as in
        `Sizes.path`. Raises ValueError for a path of another length.
        """
        first, *rest = path
        known = all(min(r) > 0 if isinstance(r, tuple) else 0 <= r < len(self.space.sizes) for r in rest)
        if first != 0 or len(rest) != len(self.blocks) or not known:
            raise ValueError(
                f"a path here is 0 and {len(self.blocks)} resolutions below {len(self.space.sizes)}, not {tuple(path)}"
            )
        x = self.stem(x)
        for block, r in zip(self.blocks, rest, strict=True):
            x = block(x, r)
        return self.head(x)

    def head(self, x: Tensor) -> Tensor:
        """Logits (B, classes), in the weights' precision, of the last block's output (B, channels, s, s) at any side s."""
        with torch.autocast(x.device.type, enabled=False):  # few weights: nothing to gain from half precision
            return self.classifier(x.to(self.classifier.weight.dtype).mean((2, 3)))


def compile_blocks(network: nn.Module, backend: str | Callable[..., Any] = "inductor") -> None:
    """Has torch.compile fuse the stem and every block, in place.

    What is compiled is a method of the class, so it is compiled once per (channels, resolution), precision and mode
    in a process, and all blocks and networks of that shape share it: not 36 networks but about 15 blocks.
    Raises RuntimeError where torch is too old to compile the same bits each time.
    """
    settings = torch._dynamo.config
    limit = "recompile_limit" if hasattr(settings, "recompile_limit") else "cache_size_limit"
    setattr(settings, limit, max(256, getattr(settings, limit)))  # of variants, 8 by default
    if backend == "inductor":
        from torch._inductor import config

        if not hasattr(config, "deterministic"):
            raise RuntimeError(f"torch {torch.__version__} chooses kernels by a stop watch, which could change bits")
        config.deterministic = True
        config.triton.autotune_pointwise = False  # those cannot change bits, but choosing takes time
    for module in network.modules():
        if isinstance(module, ResNet):
            module.stem = torch.compile(module.stem, dynamic=False, fullgraph=True, backend=backend)  # type: ignore[method-assign]
        if isinstance(module, Block):
            module.at = torch.compile(module.at, dynamic=False, fullgraph=True, backend=backend)  # type: ignore[method-assign]


@torch.no_grad()
def initialise(network: nn.Module, seed: int, model: int = 0) -> None:
    """Draws every weight from (seed, model, its name): on the CPU, so that all devices start alike.

    Convolutions: He normal, fan-in (He et al., 2015). Linear: uniform in +-1/sqrt(fan-in), bias 0.
    Batch norm: scale 1, shift 0; but in stand-alone networks with a fixed stem the last one of each block starts at scale
    0, so that a block starts as its skip (Goyal et al., 2017; the authors' release).
    """
    for name, parameter in network.named_parameters():
        if parameter.dim() == 1:
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)
            continue
        draw = stream("weights", seed, model, name)
        fan_in = parameter[0].numel()
        shape = tuple(parameter.shape)
        if parameter.dim() == 4:
            values = draw.standard_normal(shape) * math.sqrt(2 / fan_in)
        else:
            values = draw.uniform(-1, 1, shape) / math.sqrt(fan_in)
        parameter.copy_(torch.from_numpy(values))
    if isinstance(network, ResNet) and network.first is not None:
        for block in network.modules():
            if isinstance(block, Block) and block.last.affine:
                block.last.weight.zero_()


@torch.no_grad()
def calibrate(network: nn.Module, path: Sequence[int], batches: Iterable[Tensor]) -> None:
    """Gives a supernet's batch norms, for one path, the mean statistics of some training batches.

    Afterwards `network.eval()` uses them; `forget_statistics` makes the network stateless again. Means and
    (unbiased) variances are averaged over batches, so equal batches weigh the same.
    """
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        device = next(network.parameters()).device
        norm.running_mean = torch.zeros(norm.num_features, device=device)
        norm.running_var = torch.ones(norm.num_features, device=device)
        norm.num_batches_tracked = torch.zeros((), dtype=torch.long, device=device)
        norm.track_running_stats, norm.momentum = True, None  # None: a plain average over batches
    network.train()
    for x in batches:
        network(x, path)
    network.eval()


def forget_statistics(network: nn.Module) -> None:
    """Undoes `calibrate`."""
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean = norm.running_var = norm.num_batches_tracked = None
            norm.track_running_stats, norm.momentum = False, 0.1  # torch's default, which compiled blocks looked at
