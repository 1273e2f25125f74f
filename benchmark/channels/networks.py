"""The networks by name, whose widths are searched: torchvision's, the suite's own, DARTS cells, and files of one's own.

    network = make("resnet34", classes=10)                  # stem "cifar": for images of 32x32
    network = make("./my_net.py:make", classes=10)          # a function of the number of classes

torchvision's networks are its own classes; with the stem "cifar" their first layers keep more of small images, in the
form in which these networks are usually trained on CIFAR. CONet's ResNet34 (specification, section 4) is torchvision's in
that form: its convolutions have strides, unlike those of the suite's ResNet, where poolings stand.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmark.channels.darts import DARTS, DARTS_PLUS, CellNetwork
from benchmark.channels.widths import Channels
from benchmark.errors import UsageError, choices
from benchmark.spaces import networks
from benchmark.spaces.space import PoolingSpace, load_space

STEMS = ("cifar", "imagenet")
SIDES = {"cifar": 32, "imagenet": 224}  # of images

Maker = Callable[[int, bool], nn.Module]  # from the number of classes, and whether small images are meant


class AtPath(nn.Module):
    """The suite's ResNet at one path: with the space's default poolings, unless another one is given."""

    def __init__(self, space: PoolingSpace, classes: int, path: tuple[int, ...] | None = None) -> None:
        super().__init__()
        self.network = networks.ResNet(space, classes)
        self.path = path or space.default.path

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x, self.path)

    def channels(self, x: Channels, on: Any) -> Channels:
        network = self.network
        x = on(network.norm, on(network.conv, x))
        for block in [*([network.first] if network.first is not None else []), *network.blocks]:
            y = x
            for number in (1, 2, 3):
                if hasattr(block, f"conv{number}"):
                    y = on(getattr(block, f"norm{number}"), on(getattr(block, f"conv{number}"), y))
            for layer in block.projection or ():
                x = on(layer, x)
            x = on.add(y, x)
        return on(network.classifier, x)


class _SqueezedBlock(nn.Module):
    """BN-ReLU-conv3x3-BN-ReLU-conv3x3, times a gate of all channels' means, plus the skip (He et al., 2016b; Hu et al., 2018)."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(before), nn.BatchNorm2d(after)
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        narrow = stride == 1 and before == after
        self.projection = None if narrow else nn.Conv2d(before, after, 1, stride, bias=False)
        self.squeeze, self.excite = nn.Conv2d(after, after // 16, 1), nn.Conv2d(after // 16, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(x))
        skip = x if self.projection is None else self.projection(y)
        y = self.conv2(F.relu(self.norm2(self.conv1(y))))
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))))
        return y * gate + skip


class SqueezedResNet18(nn.Module):
    """A ResNet18 of pre-activation blocks with squeeze-and-excitation, as it is usually trained on CIFAR."""

    def __init__(self, classes: int, small: bool) -> None:
        super().__init__()
        stem = (3, 1, 1) if small else (7, 2, 3)
        self.conv, self.norm = nn.Conv2d(3, 64, *stem, bias=False), nn.BatchNorm2d(64)
        self.pool = nn.Identity() if small else nn.MaxPool2d(3, 2, 1)
        shapes = [(64, 64, 1), (64, 64, 1), (64, 128, 2), (128, 128, 1)]
        shapes += [(128, 256, 2), (256, 256, 1), (256, 512, 2), (512, 512, 1)]
        self.blocks = nn.Sequential(*(_SqueezedBlock(*shape) for shape in shapes))
        self.classifier = nn.Linear(512, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.pool(F.relu(self.norm(self.conv(x)))))
        return self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))


def _torchvision(name: str, adapt: Callable[[Any, int], None], **more: Any) -> Maker:
    def made(classes: int, small: bool) -> nn.Module:
        from torchvision import models

        network = getattr(models, name)(weights=None, num_classes=classes, **more)
        if small:
            adapt(network, classes)
        return network

    return made


def _stem(width: int, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(3, width, 3, padding=1, bias=bias)


def _resnet(network: Any, classes: int) -> None:
    network.conv1, network.maxpool = _stem(64), nn.Identity()


def _vgg(network: Any, classes: int) -> None:
    network.avgpool, network.classifier = nn.AdaptiveAvgPool2d(1), nn.Linear(512, classes)


def _shufflenet(network: Any, classes: int) -> None:
    network.conv1[0], network.maxpool = _stem(24), nn.Identity()


def _squeezenet(network: Any, classes: int) -> None:
    network.features[0], network.features[2] = _stem(64, bias=True), nn.Identity()


def _densenet(network: Any, classes: int) -> None:
    network.features.conv0, network.features.pool0 = _stem(64), nn.Identity()


def _googlenet(network: Any, classes: int) -> None:
    network.conv1.conv, network.maxpool1 = _stem(64), nn.Identity()


def _efficientnet(network: Any, classes: int) -> None:
    network.features[0][0].stride = (1, 1)


def _regnet(network: Any, classes: int) -> None:
    network.stem[0].stride = (1, 1)


def _mobilenet(classes: int, small: bool) -> nn.Module:
    """On small images with fewer strides, every block expanded, and a projection where a block of stride 1 widens."""
    from torchvision.models import mobilenetv2

    if not small:
        return mobilenetv2.mobilenet_v2(weights=None, num_classes=classes)

    class Block(mobilenetv2.InvertedResidual):
        conv: nn.Module

        def __init__(self, inp: int, oup: int, stride: int, expand_ratio: int, norm_layer: Any = None) -> None:
            super().__init__(inp, oup, stride, expand_ratio, norm_layer)
            if expand_ratio == 1:
                first = mobilenetv2.Conv2dNormActivation(inp, inp, kernel_size=1, activation_layer=nn.ReLU6)
                self.conv = nn.Sequential(first, *cast(Any, self).conv)
            widens = stride == 1 and inp != oup
            self.projection = nn.Sequential(nn.Conv2d(inp, oup, 1, bias=False), nn.BatchNorm2d(oup)) if widens else None

        def forward(self, x: Tensor) -> Tensor:
            if self.projection is not None:
                return self.projection(x) + self.conv(x)
            return super().forward(x)

    settings = [
        [1, 16, 1, 1],
        [6, 24, 2, 1],
        [6, 32, 3, 2],
        [6, 64, 4, 2],
        [6, 96, 3, 1],
        [6, 160, 3, 2],
        [6, 320, 1, 1],
    ]
    network = mobilenetv2.MobileNetV2(classes, inverted_residual_setting=settings, block=Block, dropout=0.0)
    network.features[0][0].stride = (1, 1)
    return network


def _own(space: str) -> Maker:
    def made(classes: int, small: bool) -> nn.Module:
        if not small:
            raise UsageError(f"the network of space {space} has the stem cifar only")
        return AtPath(load_space(space), classes)

    return made


def _cells(genotype: Any, cells: int, width: int) -> Maker:
    def made(classes: int, small: bool) -> nn.Module:
        return CellNetwork(genotype, cells, classes, width, imagenet=not small)

    return made


NETWORKS: dict[str, Maker] = {
    "resnet20": _own("resnet20-cifar10"),
    "resnet18": _torchvision("resnet18", _resnet),
    "resnet34": _torchvision("resnet34", _resnet),
    "resnet50": _torchvision("resnet50", _resnet),
    "se_resnet18": SqueezedResNet18,
    "darts7": _cells(DARTS, 7, 16),
    "darts14": _cells(DARTS, 14, 48),
    "darts20": _cells(DARTS, 20, 36),
    "darts_plus7": _cells(DARTS_PLUS, 7, 16),
    "darts_plus14": _cells(DARTS_PLUS, 14, 42),
    "darts_plus20": _cells(DARTS_PLUS, 20, 36),
    "vgg16_bn": _torchvision("vgg16_bn", _vgg),
    "mobilenet_v2": _mobilenet,
    "shufflenet_v2_x1_0": _torchvision("shufflenet_v2_x1_0", _shufflenet),
    "squeezenet1_1": _torchvision("squeezenet1_1", _squeezenet),
    "densenet121": _torchvision("densenet121", _densenet),
    "googlenet": _torchvision("googlenet", _googlenet, aux_logits=False, init_weights=False),
    "efficientnet_b0": _torchvision("efficientnet_b0", _efficientnet),
    "regnet_y_400mf": _torchvision("regnet_y_400mf", _regnet),
}


def make(name: str, classes: int, stem: str = "cifar") -> nn.Module:
    """The network of that name, or of a function in a file of one's own: `./my_net.py:make`, called with `classes`.

    stem: cifar or imagenet; a file's function decides for itself. Raises UsageError for unknown names and for files
    that make no network.
    """
    if ":" in name or name.endswith(".py"):
        return _from_file(name, classes)
    if name not in NETWORKS:
        raise UsageError(
            f"unknown network '{name}': {choices(name, NETWORKS)}, or give a file's function: ./my_net.py:make"
        )
    if stem not in STEMS:
        raise UsageError(f"unknown stem '{stem}': {choices(stem, STEMS)}")
    return NETWORKS[name](classes, stem == "cifar")


def _from_file(name: str, classes: int) -> nn.Module:
    place, _, function = name.rpartition(":") if ":" in name else (name, ":", "make")
    path = Path(place)
    if not path.is_file():
        raise UsageError(f"no file '{path}': give the network as ./my_net.py:make, or one of {', '.join(NETWORKS)}")
    spec = importlib.util.spec_from_file_location(f"network_file_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"'{path}' is no Python file: its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
        made = getattr(module, function)
        network = made(classes) if inspect.signature(made).parameters else made()
    except (Exception, SystemExit) as error:  # whatever a user's file does
        why = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"network '{name}' cannot be made: {why}") from error
    if not isinstance(network, nn.Module):
        raise UsageError(
            f"network '{name}': {function}(classes) must return a torch.nn.Module, not a {type(network).__name__}"
        )
    return network
