"""The one ResNet: its pooling positions are an argument of the forward pass.

As ResNet20 for CIFAR (He et al., 2016; paper, appendix B.2): conv3x3-BN-ReLU, then basic blocks. Widths belong to the
block's index and never move with the pooling, so that every configuration has the same parameters.
Every convolution has stride 1; a 2x2 max-pool stands before the block it precedes. Knows no data.
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


class BasicBlock(nn.Module):
    """conv3x3-BN-ReLU-conv3x3-BN plus skip, ReLU; where the width changes the skip is conv1x1-BN."""

    def __init__(self, before: int, after: int, sizes: Sequence[int], affine: bool) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.conv1, self.norm1 = _conv(before, after, 3), _norm(after, affine)
        self.conv2, self.norm2 = _conv(after, after, 3), _norm(after, affine)
        self.projection = nn.Sequential(_conv(before, after, 1), _norm(after, affine)) if before != after else None

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
        """What is added to the skip."""
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return self.norm2(self.conv2(y))


class UnsharedBlock(nn.ModuleList):
    """A block with weights of its own for each resolution: number r of these basic blocks runs at resolution r."""

    def forward(self, x: Tensor, r: int) -> Tensor:
        return self[r](x, r)


BLOCKS = {"basic": BasicBlock}  # by `Backbone.block`


class ResNet(nn.Module):
    """The backbone of a space. `blocks[i](x, r)` runs block i at resolution r.

    classes: those of the space's data set unless given.
    affine=True: a stand-alone network (batch norm with scale, shift and running statistics).
    affine=False: a supernet (batch norm stateless: the statistics of the batch, always, until `calibrate`).
    shared=False: a set of weights (convolutions, projection, batch norm) for each (block, resolution); the stem and
        the classifier, which have one resolution, stay single (paper, section 3.3, "not shared").
    """

    def __init__(
        self, space: PoolingSpace, classes: int | None = None, affine: bool = True, shared: bool = True
    ) -> None:
        super().__init__()
        backbone = require_trainable(space)
        self.space = space
        stem, *widths = backbone.widths
        self.conv, self.norm = _conv(3, stem, 3), _norm(stem, affine)
        before, made = (stem, *widths[:-1]), BLOCKS[backbone.block]

        def block(i: int, o: int) -> nn.Module:
            if shared:
                return made(i, o, space.sizes, affine)
            return UnsharedBlock(made(i, o, space.sizes, affine) for _ in space.sizes)

        self.blocks = nn.ModuleList(block(i, o) for i, o in zip(before, widths, strict=True))
        self.classifier = nn.Linear(backbone.widths[-1], classes or space.classes)

    def stem(self, x: Tensor) -> Tensor:
        """Layer 0: images (B, 3, S, S) to (B, widths[0], S, S)."""
        return F.relu(self.norm(self.conv(x)), inplace=True)

    def forward(self, x: Tensor, path: Sequence[Any]) -> Tensor:
        """Logits (B, classes), float32, of images x (B, 3, S, S) along a path.

        path: the resolution index of each of the L layers, the stem's (always 0) first, as `Config.path` gives
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
        """Logits (B, classes), in the weights' precision, of the last block's output (B, widths[-1], s, s) at any side s."""
        with torch.autocast(x.device.type, enabled=False):  # 640 weights: nothing to gain from half precision
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
        if isinstance(module, BasicBlock):
            module.at = torch.compile(module.at, dynamic=False, fullgraph=True, backend=backend)  # type: ignore[method-assign]


@torch.no_grad()
def initialise(network: nn.Module, seed: int, model: int = 0) -> None:
    """Draws every weight from (seed, model, its name): on the CPU, so that all devices start alike.

    Convolutions: He normal, fan-in (He et al., 2015). Linear: uniform in +-1/sqrt(fan-in), bias 0.
    Batch norm: scale 1, shift 0.
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
