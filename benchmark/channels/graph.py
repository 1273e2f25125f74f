"""The channel graph of any convolutional network: which widths may be chosen, and the network of other widths.

    graph = ChannelGraph.of(network, torch.zeros(2, 3, 32, 32))
    graph.variables                                  # each with name, width, floor, producers and consumers
    graph.parameters({"layer1.0.conv1": 48})         # counted, without building
    graph.rebuild({"layer1.0.conv1": 48}, seed=0)    # a fresh network of these widths

The forward pass is traced by torch.fx. Convolutions and linear layers may change the number of channels; depthwise
convolutions, normalisation, activations, pooling, dropout and resizing keep it; sums and products tie two numbers, a
concatenation adds them and whoever reads it sees the parts (CONet, 2021, section 4.1, Algorithm 1). Linear layers and layer
norms may stand where the channels are the last axis. The image's channels and the logits are fixed. What is not understood is an error that names module and operation, never a guess.

A module that cannot be traced says itself what becomes of channels, in a method `channels(x, on)` beside its forward:
x is what goes in, `on(layer, x)` what a layer of its makes of it, `on.add(x, y)` and `on.cat(x, y)` join, `on.share(x, n)`
is the n-th part of x, `on.together(layers, x)` what several layers make that have equal shares of one width. It returns
what comes out. The module may be the whole network.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from benchmark.channels.widths import Channels, Unknowns, Untied
from benchmark.errors import UsageError, choices
from benchmark.streams import stream

Widths = Mapping[str, int]

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.InstanceNorm1d, nn.InstanceNorm2d)
_KEEP_MODULES = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh, nn.Softplus,
    nn.Softsign, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.LogSigmoid, nn.Softmax2d, nn.Dropout, nn.Dropout1d,
    nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout, nn.Identity, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d,
    nn.AdaptiveMaxPool2d, nn.LPPool2d, nn.FractionalMaxPool2d, nn.Upsample, nn.UpsamplingNearest2d, nn.UpsamplingBilinear2d,
    nn.ZeroPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.ConstantPad2d, nn.CircularPad2d, nn.LocalResponseNorm,
    nn.RReLU, nn.Hardshrink, nn.Softshrink, nn.Tanhshrink, nn.Threshold, nn.Softmax, nn.LogSoftmax,
)  # fmt: skip
_ANYWHERE = (  # what may be given a map whose channels are the last axis
    nn.Linear, nn.LayerNorm,
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.SELU, nn.CELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh, nn.Softplus,
    nn.Softsign, nn.Hardswish, nn.Hardsigmoid, nn.Hardtanh, nn.LogSigmoid, nn.Dropout, nn.AlphaDropout, nn.Identity,
)  # fmt: skip
_KEEP_FUNCTIONS = {
    *(getattr(F, name) for name in (
        "relu", "relu_", "relu6", "leaky_relu", "leaky_relu_", "elu", "elu_", "selu", "celu", "gelu", "silu", "mish",
        "sigmoid", "tanh", "softplus", "softsign", "hardswish", "hardsigmoid", "hardtanh", "logsigmoid", "dropout", "dropout2d",
        "alpha_dropout", "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d", "adaptive_max_pool2d", "interpolate",
        "local_response_norm", "softmax", "log_softmax", "normalize", "rrelu", "hardshrink", "softshrink", "tanhshrink",
        "threshold",
    )),
    *(getattr(torch, name) for name in (
        "relu", "relu_", "sigmoid", "tanh", "abs", "exp", "sqrt", "rsqrt", "square", "neg", "clamp", "clone", "softmax",
        "log_softmax", "pow",
    )),
    operator.neg, operator.pow,
}  # fmt: skip
_KEEP_METHODS = {
    "contiguous", "clone", "detach", "float", "half", "double", "bfloat16", "to", "type", "type_as", "cpu", "cuda", "relu",
    "relu_", "sigmoid", "sigmoid_", "tanh", "tanh_", "clamp", "clamp_", "abs", "exp", "sqrt", "square", "neg", "pow", "softmax",
    "log_softmax",
}  # fmt: skip
_JOIN_FUNCTIONS = {
    operator.add, operator.iadd, operator.sub, operator.isub, operator.mul, operator.imul, operator.truediv,
    operator.itruediv, torch.add, torch.sub, torch.mul, torch.div, torch.maximum, torch.minimum,
}  # fmt: skip
_JOIN_METHODS = {"add", "add_", "sub", "sub_", "mul", "mul_", "div", "div_", "maximum", "minimum", "expand_as"}
_REDUCE_FUNCTIONS = {torch.mean, torch.sum, torch.amax, torch.amin, torch.std, torch.var}
_REDUCE_METHODS = {"mean", "sum", "amax", "amin", "std", "var"}
_RESHAPE_FUNCTIONS = {torch.reshape, torch.flatten, torch.squeeze, torch.unsqueeze}
_RESHAPE_METHODS = {"view", "reshape", "flatten", "squeeze", "unsqueeze"}
_CAT_FUNCTIONS = {torch.cat, torch.concat, torch.concatenate}


class _Unknown(Exception):
    """Why an operation is not understood."""


@dataclass(frozen=True)
class Variable:
    """A number of channels that may be chosen: one per class of tied widths.

    name       of the layer that makes it, the first one where there are several
    width      as the network that was given has it
    floor      the least width; every width is a multiple of it (of the groups of a convolution, say), so often 1
    producers  convolutions, not depthwise, whose output has this width
    consumers  convolutions, not depthwise, that read it and nothing else

    Of convolutions that share one width with others, all of them are one entry: "a+b".
    """

    name: str
    width: int
    floor: int
    producers: tuple[str, ...]
    consumers: tuple[str, ...]


@dataclass(frozen=True)
class _Layer:
    """A module with weights, and the channels that it reads and makes; positions: MACs per image and weight."""

    name: str
    reads: Channels
    makes: Channels
    depthwise: bool = False


class Flow:
    """What becomes of channels: called with a layer and what it reads, returns what it makes. `on` of a declared form."""

    def __init__(self, network: nn.Module) -> None:
        self.unknowns = Unknowns()
        self.layers: dict[str, _Layer] = {}
        self.teams: list[tuple[str, ...]] = []  # layers that share one width
        self._names = {id(module): name for name, module in network.named_modules(remove_duplicate=False)}

    def __call__(self, layer: nn.Module, x: Channels) -> Channels:
        if _declares(layer):
            return cast(Any, layer).channels(x, self)
        rule = next((rule for kinds, rule in _RULES if isinstance(layer, kinds)), None)
        if rule is None:
            raise _Unknown(f"a layer {type(layer).__name__} is not understood")
        return rule(self, layer, x)

    def add(self, x: Channels, y: Channels) -> Channels:
        """A sum or product of maps of one width; one of width 1 is spread over the other's channels."""
        one, other = self.unknowns.width(x), self.unknowns.width(y)
        if one != other and 1 in (one, other):
            small, large = (x, y) if one == 1 else (y, x)
            self.unknowns.fix(small)
            return large
        self.unknowns.tie(x, y)
        return x

    def cat(self, *maps: Channels) -> Channels:
        return Channels(tuple(part for each in maps for part in each.parts), any(each.mixed for each in maps))

    def share(self, x: Channels, count: int) -> Channels:
        """The count-th part of so many channels, which must then be a multiple of it."""
        self.unknowns.require_multiple(x, count)
        return x.times(Fraction(1, count))

    def together(self, layers: Sequence[nn.Conv2d], x: Channels) -> Channels:
        """What convolutions make of x whose outputs are joined, each an equal share of one width."""
        makes = self.unknowns.new(sum(layer.out_channels for layer in layers), len(layers))
        for layer in layers:
            self._expect(x, layer.in_channels)
            self._record(layer, x, makes.times(Fraction(1, len(layers))), {"weight", "bias"})
        self.teams += [tuple(self._names[id(layer)] for layer in layers)]
        return makes

    def shuffled(self, x: Channels, groups: int) -> Channels:
        """The same channels in another order; each part must come in so many equal groups."""
        self.unknowns.require_multiple(x, groups)
        return replace(x, mixed=True, groups=0)

    def gated(self, x: Channels) -> Channels:
        """One half of the channels, times what the other lets through (Dauphin et al., 2017)."""
        one, other = self.unknowns.halves(x, 2)
        return self.add(one, other)

    def _record(
        self, layer: nn.Module, reads: Channels, makes: Channels, own: set[str], depthwise: bool = False
    ) -> Channels:
        name = self._names[id(layer)]
        if name in self.layers:
            raise _Unknown("it is used twice: weights that are tied cannot have widths of their own")
        if more := {key for key, _ in layer.named_parameters()} - own:
            raise _Unknown(f"a {type(layer).__name__} with a parameter '{min(more)}' of its own is not understood")
        self.layers[name] = _Layer(name, reads, makes, depthwise)
        return makes

    def _convolution(self, layer: nn.Conv2d | nn.ConvTranspose2d, x: Channels) -> Channels:
        self._expect(x, layer.in_channels)
        before, after, groups = layer.in_channels, layer.out_channels, layer.groups
        depthwise = groups > 1 and groups == before
        if depthwise:
            makes = x.times(after // before)
        elif groups > 1:
            self.unknowns.require_multiple(x, groups)
            makes = x if before == after else self.unknowns.new(after, groups)
        else:
            makes = self.unknowns.new(after)
        return self._record(layer, x, makes, {"weight", "bias"}, depthwise)

    def _linear(self, layer: nn.Linear, x: Channels) -> Channels:
        self._expect(x, layer.in_features)
        return self._record(layer, x, self.unknowns.new(layer.out_features), {"weight", "bias"})

    def _norm(self, layer: nn.Module, x: Channels) -> Channels:
        self._expect(x, cast(int, layer.num_features))
        return self._record(layer, x, x, {"weight", "bias"})

    def _group_norm(self, layer: nn.GroupNorm, x: Channels) -> Channels:
        self._expect(x, layer.num_channels)
        self.unknowns.require_multiple(x, layer.num_groups)
        return self._record(layer, x, x, {"weight", "bias"})

    def _layer_norm(self, layer: nn.LayerNorm, x: Channels) -> Channels:
        if len(layer.normalized_shape) != 1:
            raise _Unknown(
                "a LayerNorm over channels and positions is not understood: its weights hang on the images' size"
            )
        self._expect(x, layer.normalized_shape[0])
        return self._record(layer, x, x, {"weight", "bias"})

    def _glu(self, layer: nn.GLU, x: Channels) -> Channels:
        return self.gated(x)

    def _prelu(self, layer: nn.PReLU, x: Channels) -> Channels:
        return x if layer.num_parameters == 1 else self._record(layer, x, x, {"weight"})

    def _keep(self, layer: nn.Module, x: Channels) -> Channels:
        return x

    def _shuffle(self, layer: nn.Module, x: Channels) -> Channels:
        return self.shuffled(x, cast(int, layer.groups))

    def _pixels(self, layer: nn.PixelShuffle, x: Channels) -> Channels:
        return self.share(x, layer.upscale_factor**2)

    def _unpixels(self, layer: nn.PixelUnshuffle, x: Channels) -> Channels:
        return x.times(layer.downscale_factor**2)

    def _expect(self, x: Channels, width: int) -> None:
        if self.unknowns.width(x) != width:
            raise _Unknown(f"it reads {width} channels, but {self.unknowns.width(x)} come in")


_RULES: list[tuple[Any, Callable[[Flow, Any, Channels], Channels]]] = [
    (CONVOLUTIONS, Flow._convolution),
    (nn.Linear, Flow._linear),
    (_NORMS, Flow._norm),
    (nn.GroupNorm, Flow._group_norm),
    (nn.LayerNorm, Flow._layer_norm),
    (nn.GLU, Flow._glu),
    (nn.PReLU, Flow._prelu),
    (nn.ChannelShuffle, Flow._shuffle),
    (nn.PixelShuffle, Flow._pixels),
    (nn.PixelUnshuffle, Flow._unpixels),
    (_KEEP_MODULES, Flow._keep),
]
_LEAVES = tuple(kind for kinds, _ in _RULES for kind in (kinds if isinstance(kinds, tuple) else (kinds,)))


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, _LEAVES) or _declares(module) or super().is_leaf_module(module, name)


class _Values(fx.Interpreter):
    """Runs a traced network on an example; leaves shapes of tensors, and values of all else, in each node's `meta`."""

    def run_node(self, node: fx.Node) -> Any:
        result = super().run_node(node)
        node.meta["value"] = fx.node.map_aggregate(result, lambda v: v.shape if isinstance(v, Tensor) else v)
        return result


@dataclass(frozen=True)
class _Literal:
    """A number in an argument of an operation that states channels, and so moves with the widths."""

    node: str
    place: tuple[int, ...]  # in its arguments
    stands_for: Channels


class _Reader:
    """Follows the channels through a traced network, node by node."""

    def __init__(self, flow: Flow, network: nn.Module) -> None:
        self.flow, self.network = flow, network
        self.of: dict[fx.Node, Any] = {}  # Channels; lists of them; None for what has no channels
        self.literals: list[_Literal] = []

    def read(self, node: fx.Node) -> None:
        try:
            self.of[node] = getattr(self, f"_{node.op}")(node)
            self._checked(node)
        except (_Unknown, Untied) as error:
            raise UsageError(f"{_where(node)}: {error}") from None
        except (
            LookupError,
            TypeError,
            ValueError,
            AttributeError,
        ) as error:  # arguments in a form that none here expects
            why = " ".join(str(error).split())[:100]
            raise UsageError(f"{_where(node)}: it is called in a way that is not understood ({why})") from None

    def _checked(self, node: fx.Node) -> None:
        """Whatever the rules say, the example has the last word: a layer with a forward of its own may do as it likes."""
        held, shape = self.of[node], node.meta["value"]
        if not isinstance(held, Channels) or not isinstance(shape, torch.Size):
            return
        axes = shape[-1:] if held.last else shape[1:3] if held.groups else shape[1:2]
        seen = math.prod(axes) if axes else 0
        if seen != self.flow.unknowns.width(held):
            raise _Unknown(f"it makes {_of(shape)}, not {self.flow.unknowns.width(held)} channels")

    def _placeholder(self, node: fx.Node) -> Channels:
        shape = node.meta["value"]
        if not isinstance(shape, torch.Size) or len(shape) != 4:
            raise _Unknown("the network takes something else than images (B, C, H, W)")
        return self.flow.unknowns.new(shape[1], fixed=True)

    def _get_attr(self, node: fx.Node) -> Channels | None:
        shape = node.meta["value"]
        if not isinstance(shape, torch.Size) or math.prod(shape) == 1:
            return None
        value: Any = self.network
        for name in str(node.target).split("."):
            value = getattr(value, name)
        if isinstance(value, nn.Parameter) or len(shape) != 4:
            raise _Unknown(f"'{node.target}' is a tensor of shape {tuple(shape)} outside of a layer")
        return self.flow.unknowns.new(shape[1], fixed=True)

    def _call_module(self, node: fx.Node) -> Any:
        layer = self.network.get_submodule(str(node.target))
        x = self._channels(node.args[0], last=not _declares(layer))
        if x.last and isinstance(layer, (*_LEAVES, nn.Flatten)) and not isinstance(layer, _ANYWHERE):
            raise _Unknown("it is given a map whose channels are the last axis")
        if isinstance(layer, nn.Flatten):
            return self._reshaped(node, x)
        if isinstance(layer, (nn.Linear, nn.LayerNorm)) and not x.last and len(self._shape(node.args[0])) != 2:
            raise _Unknown(
                f"a {type(layer).__name__} on a map of which channels are not the last axis is not understood"
            )
        if isinstance(layer, nn.GLU) and layer.dim % len(self._shape(node.args[0])) != 1:
            raise _Unknown("a GLU along another axis than the channels is not understood")
        return replace(self.flow(layer, x), last=x.last)

    def _call_function(self, node: fx.Node) -> Any:
        return self._call(node, node.target)

    def _call_method(self, node: fx.Node) -> Any:
        return self._call(node, node.target)

    def _output(self, node: fx.Node) -> None:
        found: list[Channels] = []
        fx.node.map_arg(node.args, lambda n: found.append(self.of[n]) if isinstance(self.of[n], Channels) else None)
        for channels in found:
            self.flow.unknowns.fix(channels)

    def _call(self, node: fx.Node, target: Any) -> Any:
        method = node.op == "call_method"
        if not any(self._carries(n) for n in node.all_input_nodes):
            return self._without_channels(node)
        if target is getattr or target == "size" or target in (torch.numel, "dim", "numel"):
            return None  # numbers that are read off a shape at run time
        if target is operator.getitem:
            return self._item(node)
        if target in (_CAT_FUNCTIONS if not method else ()):
            return self._cat(node)
        if target in (_JOIN_METHODS if method else _JOIN_FUNCTIONS):
            return self._join(node)
        if target in (_KEEP_METHODS if method else _KEEP_FUNCTIONS) or _called(target) in ("pad", "stochastic_depth"):
            x = self._channels(node.args[0])
            if node.meta["value"][:2] != self._shape(node.args[0])[:2]:
                raise _Unknown(f"{_called(target)} changes the channels")
            return x
        if target in (_RESHAPE_METHODS if method else _RESHAPE_FUNCTIONS):
            return self._reshaped(node, self._channels(node.args[0]))
        if target in ("permute", "transpose", torch.permute, torch.transpose):
            return self._permuted(node)
        if target in ("chunk", torch.chunk, "split", torch.split):
            return self._split(node)
        if target in (_REDUCE_METHODS if method else _REDUCE_FUNCTIONS):
            return self._reduced(node)
        if target is torch.channel_shuffle or target is F.channel_shuffle:
            return self.flow.shuffled(self._channels(node.args[0]), _argument(node, 1, "groups"))
        if target is F.pixel_shuffle:
            return self.flow.share(self._channels(node.args[0]), _argument(node, 1, "upscale_factor") ** 2)
        if target is F.pixel_unshuffle:
            return self._channels(node.args[0]).times(_argument(node, 1, "downscale_factor") ** 2)
        if target is F.glu:
            if _argument(node, 1, "dim", -1) % len(self._shape(node.args[0])) != 1:
                raise _Unknown("glu along another axis than the channels is not understood")
            return self.flow.gated(self._channels(node.args[0]))
        if target in ("max", "min", torch.max, torch.min) and sum(map(self._carries, node.all_input_nodes)) == 2:
            return self._join(node)
        raise _Unknown(f"the operation {_called(target)} is not understood")

    def _without_channels(self, node: fx.Node) -> None:
        if isinstance(node.meta["value"], torch.Size) and math.prod(node.meta["value"]) != 1:
            raise _Unknown(f"{_called(node.target)} makes a tensor of its own")

    def _carries(self, node: fx.Node) -> bool:
        held = self.of.get(node)
        return isinstance(held, Channels) or (isinstance(held, list) and any(isinstance(h, Channels) for h in held))

    def _channels(self, argument: Any, last: bool = False) -> Channels:
        """Of a feature map. last: where they are the last axis, too."""
        found = self.of.get(argument) if isinstance(argument, fx.Node) else None
        if not isinstance(found, Channels):
            raise _Unknown("it is given something else than one feature map")
        if found.last and not last:
            raise _Unknown("it is given a map whose channels are the last axis")
        return found

    def _shape(self, argument: Any) -> torch.Size:
        return argument.meta["value"]

    def _item(self, node: fx.Node) -> Any:
        held, index = self.of[cast(fx.Node, node.args[0])], node.args[1]
        if isinstance(held, list):
            return held[cast(int, index)]
        before, after = self._shape(node.args[0]), node.meta["value"]
        whole = slice(None, None, None)
        asked = index if isinstance(index, tuple) else (index,)
        if asked[0] is Ellipsis and sum(one is not None for one in asked) <= len(before) - 1:
            asked = (whole, whole)
        if all(one == whole for one in asked[:2]) and before[:2] == after[:2]:
            return held
        raise _Unknown("a slice of channels is not understood: cut them by chunk or split")

    def _cat(self, node: fx.Node) -> Channels:
        maps = cast(Sequence[fx.Node], _argument(node, 0, "tensors"))
        dim = _argument(node, 1, "dim", 0)
        if not isinstance(dim, int) or dim % len(self._shape(maps[0])) != 1:
            raise _Unknown(f"cat along dimension {dim} is not understood: only channels are joined")
        return self.flow.cat(*(self._channels(each) for each in maps))

    def _join(self, node: fx.Node) -> Channels:
        words = (*node.args, *node.kwargs.values())
        maps = [n for n in words if isinstance(n, fx.Node) and self._carries(n)]
        if len(maps) == 1:
            others = [n for n in node.all_input_nodes if n is not maps[0]]
            if any(isinstance(n.meta["value"], torch.Size) and math.prod(n.meta["value"]) != 1 for n in others):
                raise _Unknown(f"{_called(node.target)} with a tensor that is no feature map")
            return self._channels(maps[0])
        one, other = maps
        if len(self._shape(one)) != len(self._shape(other)):
            raise _Unknown(
                f"{_called(node.target)} of maps of shapes {_of(self._shape(one))} and {_of(self._shape(other))}"
            )
        return self.flow.add(self._channels(one), self._channels(other))

    def _reduced(self, node: fx.Node) -> Channels:
        shape = self._shape(node.args[0])
        if self._channels(node.args[0]).groups:
            raise _Unknown(f"{_called(node.target)} of channels that are split into groups is not understood")
        dims = _argument(node, 1, "dim", None)
        dims = tuple(range(len(shape))) if dims is None else (dims,) if isinstance(dims, int) else tuple(dims)
        dims = tuple(dim % len(shape) for dim in dims)
        if 0 in dims or (1 in dims and not _argument(node, 2, "keepdim", False)):
            raise _Unknown(f"{_called(node.target)} over channels is not understood without keepdim=True")
        return self.flow.unknowns.new(1, fixed=True) if 1 in dims else self._channels(node.args[0])

    def _split(self, node: fx.Node) -> list[Channels]:
        x, shape = self._channels(node.args[0]), self._shape(node.args[0])
        dim = _argument(node, 2, "dim", 0)
        if dim % len(shape) != 1:
            return [x] * len(node.meta["value"])
        found = [part[1] for part in node.meta["value"]]
        asked = _argument(node, 1, "split_size_or_sections" if "split" in _called(node.target) else "chunks")
        if node.target in ("chunk", torch.chunk):
            return self.flow.unknowns.halves(x, len(found))
        stated = asked if isinstance(asked, list | tuple) else [asked]
        if any(isinstance(size, fx.Node) for size in stated):
            return self._split_as_computed(x, stated if len(stated) > 1 else stated * len(found))
        if len(set(found)) == 1 and len(stated) == 1:
            parts = self.flow.unknowns.halves(x, len(found))
        elif x.mixed:
            raise _Unknown("a split of shuffled channels into unequal parts is not understood")
        elif len(stated) == 1:
            raise _Unknown(f"a split by {asked} leaves a rest: state the sizes of all parts, {found}")
        else:
            parts = self.flow.unknowns.cut(x, found)
        place = (1,) if len(node.args) > 1 else None
        for number, size in enumerate(stated):
            if isinstance(size, int):
                if place is None:
                    raise _Unknown("split: give the sizes by place, not by name")
                self.literals.append(_Literal(node.name, place if asked is size else (*place, number), parts[number]))
        return parts

    def _split_as_computed(self, x: Channels, stated: Sequence[Any]) -> list[Channels]:
        """Into parts whose sizes are read off maps as it runs: equal ones of this map, or as wide as other maps."""
        counts = [self._counted(size) for size in stated]
        if all(count == (x, len(counts)) for count in counts):
            return self.flow.unknowns.halves(x, len(counts))
        parts = [count[0] for count in counts if count is not None and count[1] == 1]
        if x.mixed or len(parts) < len(counts):
            raise _Unknown("a split whose sizes are computed is not understood: cut by chunk, or state the numbers")
        self.flow.unknowns.tie(x, self.flow.cat(*parts))
        return parts

    def _counted(self, word: Any) -> tuple[Channels, int] | None:
        """Of a number that is read off a map as it runs: whose channels it counts, and by what they are divided."""
        if not isinstance(word, fx.Node):
            return None
        if word.target is operator.floordiv and isinstance(word.args[1], int):
            whole = self._counted(word.args[0])
            return whole and (whole[0], whole[1] * word.args[1])
        if word.target is operator.getitem and word.args[1] == 1:  # of x.shape or x.size()
            source = cast(fx.Node, word.args[0])
            read = source.target == "size" or (source.target is getattr and source.args[1] == "shape")
        else:
            source, read = word, word.target == "size" and word.args[1:] == (1,)
        return (self._channels(source.args[0]), 1) if read and source.args else None

    def _permuted(self, node: fx.Node) -> Channels:
        x, before = self._channels(node.args[0], last=True), self._shape(node.args[0])
        words = [a % len(before) for a in _flat(node.args[1:]) if isinstance(a, int)]
        order = list(range(len(before)))
        if node.target in ("transpose", torch.transpose):
            a, b = words
            order[a], order[b] = order[b], order[a]
        else:
            order = words
        place = len(before) - 1 if x.last else 1
        if order[0] == 0 and not x.groups and place in (order[1], order[-1]):
            return replace(x, last=order[1] != place)
        if order[:3] == [0, 1, 2]:
            return x
        if x.groups and order[:3] == [0, 2, 1] and order[3:] == sorted(order[3:]):
            return replace(x, mixed=True)
        raise _Unknown(f"{_called(node.target)} mixes channels with space or with the batch")

    def _reshaped(self, node: fx.Node, x: Channels) -> Channels:
        """A view: channels stay, are laid out with their positions, are split into groups, or are joined from these."""
        before, after = self._shape(node.args[0]), node.meta["value"]
        if len(after) < 2 or before[0] != after[0]:
            raise _Unknown(f"{_called(node.target)} from {_of(before)} to {_of(after)} mixes images")
        stated = _flat(node.args[1:])
        space, left = math.prod(before[2:]), math.prod(after[2:])
        named = node.target in ("view", "reshape", torch.reshape)
        if x.groups:
            if after[1] != before[1] * before[2] or left != math.prod(before[3:]):
                raise _Unknown(f"{_called(node.target)} from {_of(before)} to {_of(after)} mixes channels with space")
            made = replace(x, groups=0)
        elif after[1] == before[1] and left == space:
            made = x
        elif after[1] == before[1] * space and left == 1:
            made = x.times(space)
        elif named and len(before) > 2 and after[1] * after[2] == before[1] and after[3:] == before[2:]:
            numbers = [s if isinstance(s, int) and s > 0 else None for s in stated[1:3]]
            if (numbers[0] is None) == (numbers[1] is None):
                raise _Unknown(
                    f"{_called(node.target)} to {_of(after)} must state one of its two factors of the channels"
                )
            groups = cast(int, numbers[0] or numbers[1])
            self.flow.unknowns.require_multiple(x, groups)
            return replace(x, groups=groups)
        elif space == 1 and before[1] == after[1] * left:
            made = self.flow.share(x, left)
        else:
            raise _Unknown(f"{_called(node.target)} from {_of(before)} to {_of(after)} mixes channels with space")
        if named and len(stated) > 1 and (count := self._counted(stated[1])) and count[1] == 1:
            self.flow.unknowns.tie(made, count[0])  # it has as many as the map off which they are read
        if named and len(stated) > 1 and isinstance(stated[1], int) and stated[1] > 0:
            nested = isinstance(node.args[1], list | tuple)
            self.literals.append(_Literal(node.name, (1, 1) if nested else (2,), made))
        return made


def _flat(words: Any) -> list[Any]:
    return [inner for word in words for inner in (word if isinstance(word, list | tuple) else [word])]


def _argument(node: fx.Node, place: int, name: str, default: Any = None) -> Any:
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, default)


def _called(target: Any) -> str:
    return target if isinstance(target, str) else getattr(target, "__name__", str(target))


def _of(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))


def _where(node: fx.Node) -> str:
    """The module in whose forward an operation stands, and the operation."""
    stack = list(node.meta.get("nn_module_stack", {}).values())
    module = str(node.target) if node.op == "call_module" else str(stack[-1][0]) if stack else ""
    what = node.op if node.op in ("placeholder", "output") else _called(node.target)
    return (
        f"module '{module}'"
        if node.op == "call_module"
        else f"{what} in {f'module {module!r}' if module else 'the network'}"
    )


@dataclass(frozen=True)
class ChannelGraph:
    """The variables of a network, and what becomes of it at other widths. Make one by `of`."""

    variables: tuple[Variable, ...]
    _network: nn.Module
    _traced: fx.GraphModule | None
    _layers: Mapping[str, _Layer]
    _unknowns: Unknowns
    _numbers: Mapping[int, str]  # of free unknowns, the names of their variables
    _positions: Mapping[str, int]
    _literals: tuple[_Literal, ...]

    @classmethod
    def of(cls, network: nn.Module, example: Tensor) -> ChannelGraph:
        """The graph of a network, of which the network itself is not changed.

        example: images (B, C, H, W) of the size that it is meant for. Raises UsageError, naming module and operation,
        for what is not understood, and for weights that are tied.
        """
        _refuse_tied(network)  # before it is copied: parameters that share their memory would then do so no more
        network = copy.deepcopy(network).cpu()
        images = example.detach().cpu()
        images = (
            images.expand(2, *images.shape[1:]) if len(images) == 1 else images
        )  # one image's axis looks like others
        flow = Flow(network)
        traced: fx.GraphModule | None = None
        literals: list[_Literal] = []
        positions = _positions(network, images)
        if _declares(network):
            try:
                flow.unknowns.fix(cast(Any, network).channels(flow.unknowns.new(images.shape[1], fixed=True), flow))
            except (_Unknown, Untied) as error:
                raise UsageError(f"the channels that {type(network).__name__} declares: {error}") from None
        else:
            traced, literals = _followed(network, flow, images)
        for name, module in network.named_modules():
            reached = name in flow.layers or all(p.numel() == 1 for p in module.parameters(recurse=False))
            if not reached:
                what = f"module '{name}' ({type(module).__name__})" if name else f"{type(module).__name__} itself"
                raise UsageError(f"{what} has weights, but the forward pass never calls it with channels")
        return cls._named(network, traced, flow, positions, literals)

    @classmethod
    def _named(
        cls,
        network: nn.Module,
        traced: fx.GraphModule | None,
        flow: Flow,
        positions: Mapping[str, int],
        literals: Sequence[_Literal],
    ) -> ChannelGraph:
        unknowns = flow.unknowns
        names: dict[int, str] = {}
        producers: dict[int, list[str]] = {}
        consumers: dict[int, list[str]] = {}
        modules = dict(network.named_modules())
        teams = {name: team for team in flow.teams for name in team}
        for layer in flow.layers.values():
            if not isinstance(modules[layer.name], (*CONVOLUTIONS, nn.Linear)) or layer.depthwise:
                continue
            made = unknowns.parts(layer.makes)
            for number, (unknown, _) in enumerate(made):
                if not unknowns.fixed[unknown]:
                    names.setdefault(unknown, layer.name if len(made) == 1 else f"{layer.name}[{number}]")
            if isinstance(modules[layer.name], CONVOLUTIONS):
                team = teams.get(layer.name, (layer.name,))
                for found, parts, whole in (
                    (producers, made, Fraction(1, len(team))),
                    (consumers, unknowns.parts(layer.reads), Fraction(1)),
                ):
                    if len(parts) == 1 and parts[0][1] == whole and layer.name == team[0]:
                        found.setdefault(parts[0][0], []).append("+".join(team))
        variables = tuple(
            Variable(
                name,
                unknowns.size[unknown],
                unknowns.multiple[unknown],
                tuple(producers.get(unknown, ())),
                tuple(consumers.get(unknown, ())),
            )
            for unknown, name in names.items()
        )
        return cls(variables, network, traced, flow.layers, unknowns, names, positions, tuple(literals))

    def widths(self, widths: Widths | None = None) -> dict[str, int]:
        """All widths by name: those that are given, else the network's own.

        Raises UsageError for names that the network has not and for widths that are no multiples of their floor.
        """
        given = dict(widths or {})
        known = {variable.name: variable for variable in self.variables}
        for name, width in given.items():
            if name not in known:
                raise UsageError(f"the network has no width '{name}': {choices(name, known, 'its widths are')}")
            floor = known[name].floor
            if type(width) is not int or width < floor or width % floor:
                what = f"a multiple of {floor}" if floor > 1 else "a whole number of 1 or more"
                raise UsageError(f"width '{name}' is {width}: it must be {what}")
        return {name: given.get(name, variable.width) for name, variable in known.items()}

    def _sizes(self, widths: Widths | None) -> Callable[[Channels], int]:
        chosen = self.widths(widths)

        def size(unknown: int) -> int:
            return chosen[self._numbers[unknown]] if unknown in self._numbers else self._unknowns.size[unknown]

        return lambda channels: self._unknowns.width(channels, size)

    def parameters(self, widths: Widths | None = None) -> int:
        """How many parameters the network of these widths has, without building it."""
        size, modules = self._sizes(widths), dict(self._network.named_modules())
        layers = sum(_count(modules[x.name], size(x.reads), size(x.makes), x) for x in self._layers.values())
        others = (m for name, m in modules.items() if name not in self._layers)
        return layers + sum(p.numel() for module in others for p in module.parameters(recurse=False))

    def macs(self, widths: Widths | None = None) -> int:
        """Multiply-accumulates of convolutions and linear layers for one image of the example's size."""
        size, modules = self._sizes(widths), dict(self._network.named_modules())
        return sum(
            self._positions[x.name] * _weights(modules[x.name], size(x.reads), size(x.makes), x)
            for x in self._layers.values()
            if isinstance(modules[x.name], (*CONVOLUTIONS, nn.Linear))
        )

    def rebuild(self, widths: Widths | None = None, seed: int = 0) -> nn.Module:
        """A fresh network of these widths on the CPU; weights are functions of (seed, name of the layer)."""
        size = self._sizes(widths)
        if self._literals:
            assert self._traced is not None
            built: nn.Module = copy.deepcopy(self._traced).train()
            graph = cast(fx.GraphModule, built).graph
            nodes = {node.name: node for node in graph.nodes}
            for literal in self._literals:
                node = nodes[literal.node]
                node.args = _with(node.args, literal.place, size(literal.stands_for))
            cast(fx.GraphModule, built).recompile()
        else:
            built = copy.deepcopy(self._network)
        modules = dict(built.named_modules())
        for layer in self._layers.values():
            _resize(modules[layer.name], size(layer.reads), size(layer.makes), layer)
        initialise(built, seed)
        return built


def _declares(module: Any) -> bool:
    return callable(getattr(type(module), "channels", None))  # a number by that name says nothing


def _with(words: Any, place: tuple[int, ...], value: int) -> Any:
    at, *rest = place
    inner = _with(words[at], tuple(rest), value) if rest else value
    return type(words)([*words[:at], inner, *words[at + 1 :]])


def _refuse_tied(network: nn.Module) -> None:
    seen: dict[int, str] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        if isinstance(parameter, nn.parameter.UninitializedParameter):
            raise UsageError(f"'{name}' is lazy and has no size yet: run the network on images first")
        place = parameter.data_ptr() or id(parameter)  # weights on no device have no place
        if place in seen:
            raise UsageError(
                f"'{seen[place]}' and '{name}' are one weight: tied weights cannot have widths of their own"
            )
        seen[place] = name


def _traced(network: nn.Module) -> fx.GraphModule:
    try:
        tracer = _Tracer()
        traced = fx.GraphModule(tracer.root if hasattr(tracer, "root") else network, tracer.trace(network))
    except Exception as error:  # the network's own code runs on proxies and may raise anything
        why = " ".join(str(error).split())[:200]
        raise UsageError(
            f"{type(network).__name__} cannot be traced ({type(error).__name__}: {why}): let the module say what becomes of "
            "channels in a method channels(x, on), as benchmark.channels.graph explains"
        ) from None
    for node in traced.graph.nodes:
        if node.op == "call_function" and not node.args and "input" in node.kwargs:  # as the rules expect it
            others = dict(node.kwargs)
            node.args, node.kwargs = (others.pop("input"),), others
    traced.recompile()
    return traced


def _obey_mode(traced: fx.GraphModule, evaluated: fx.GraphModule) -> None:
    """Lets a forward pass that was traced in training ask for the mode where it handed it on, as dropout(x, 0.5, self.training).

    evaluated: the same, traced in evaluation. Raises UsageError where more than that differs.
    """
    here, there = list(traced.graph.nodes), list(evaluated.graph.nodes)
    alike = [(n.op, n.target, n.name) for n in here] == [(n.op, n.target, n.name) for n in there]
    for node, other in zip(here, there, strict=True) if alike else ():
        own = [*enumerate(node.args), *node.kwargs.items()]
        others = dict([*enumerate(other.args), *other.kwargs.items()])
        for place, word in own:
            if word is True and others.get(place) is False:
                with traced.graph.inserting_before(node):
                    mode = traced.graph.create_node("get_attr", "training")
                if isinstance(place, int):
                    node.update_arg(place, mode)
                else:
                    node.update_kwarg(place, mode)
            else:
                alike = alike and str(word) == str(others.get(place))
    if not alike:
        raise UsageError(
            "the network does other things in training than in evaluation, and states numbers of channels in its forward pass; "
            "both cannot be rebuilt: state none, as x.flatten(1) in the place of x.view(-1, 512)"
        )
    traced.recompile()


def _followed(network: nn.Module, flow: Flow, images: Tensor) -> tuple[fx.GraphModule, list[_Literal]]:
    traced = _traced(network.train())  # as it is trained: branches that only then exist are part of it
    runner = _Values(traced)
    runner.extra_traceback = False
    with torch.no_grad():
        runner.run(images)
    reader = _Reader(flow, network)
    for node in traced.graph.nodes:
        reader.read(node)
    if reader.literals:  # then this is what is rebuilt
        _obey_mode(traced, _traced(network.eval()))
        network.train()
    return traced, reader.literals


def _positions(network: nn.Module, images: Tensor) -> dict[str, int]:
    """By layer, how often each of its weights is used for one image, of one run. Statistics of batch norm stay."""
    network.train()
    found: dict[str, int] = {}

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, given: Any, made: Any) -> None:
            shape = given[0].shape if isinstance(module, nn.ConvTranspose2d) else made.shape
            found[name] = math.prod(shape[1:-1] if isinstance(module, nn.Linear) else shape[2:])

        return hook

    kinds = (*CONVOLUTIONS, nn.Linear)
    hooks = [m.register_forward_hook(note(name)) for name, m in network.named_modules() if isinstance(m, kinds)]
    norms = [m for m in network.modules() if isinstance(m, _NORMS)]
    for norm in norms:
        norm.eval()  # one position of two images would be refused
    try:
        with torch.no_grad():
            network(images)
    except Exception as error:
        why = " ".join(str(error).split())[:200]
        raise UsageError(
            f"{type(network).__name__} does not run on images {_of(images.shape)} ({type(error).__name__}: {why})"
        ) from None
    finally:
        for hook in hooks:
            hook.remove()
        network.train()
    return found


def _weights(module: nn.Module, reads: int, makes: int, layer: _Layer) -> int:
    """Of a convolution's or linear layer's weight."""
    if isinstance(module, nn.Linear):
        return reads * makes
    assert isinstance(module, CONVOLUTIONS)
    groups = reads if layer.depthwise else module.groups
    return reads * makes // groups * math.prod(module.kernel_size)


def _count(module: nn.Module, reads: int, makes: int, layer: _Layer) -> int:
    if isinstance(module, (*CONVOLUTIONS, nn.Linear)):
        return _weights(module, reads, makes, layer) + (makes if module.bias is not None else 0)
    return makes * len(list(module.parameters(recurse=False)))


def _resize(module: nn.Module, reads: int, makes: int, layer: _Layer) -> None:
    """Gives a layer other widths, in place; its weights are then undefined."""
    shapes: dict[str, tuple[int, ...]] = {"bias": (makes,), "weight": (makes,)}
    if isinstance(module, CONVOLUTIONS):
        module.groups = reads if layer.depthwise else module.groups
        module.in_channels, module.out_channels = reads, makes
        ends = (makes, reads) if isinstance(module, nn.Conv2d) else (reads, makes)
        shapes["weight"] = (ends[0], ends[1] // module.groups, *module.kernel_size)
    elif isinstance(module, nn.Linear):
        module.in_features, module.out_features = reads, makes
        shapes["weight"] = (makes, reads)
    elif isinstance(module, nn.GroupNorm):
        module.num_channels = makes
    elif isinstance(module, nn.LayerNorm):
        module.normalized_shape = (makes,)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = makes
    else:
        module.num_features = makes  # type: ignore[assignment]
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.dim():
                setattr(module, name, torch.full((makes,), 1.0 if name == "running_var" else 0.0))
    for name, parameter in list(module.named_parameters(recurse=False)):
        setattr(module, name, nn.Parameter(torch.empty(shapes[name], dtype=parameter.dtype)))


@torch.no_grad()
def initialise(network: nn.Module, seed: int) -> None:
    """Draws every weight from (seed, name of its layer) by torch's default rules, as the trials of CONet start.

    Convolutions and linear layers: uniform in +-1/sqrt(fan-in), biases too. Batch, group and layer norm: scale 1, shift 0.
    PReLU: 0.25. Weights of other kinds keep their values.
    """
    for name, module in network.named_modules():
        if isinstance(module, (*CONVOLUTIONS, nn.Linear)):
            bound = 1 / math.sqrt(module.weight[0].numel())
            for own, parameter in module.named_parameters(recurse=False):
                draw = stream("channels", "weights", seed, f"{name}.{own}")
                parameter.copy_(torch.from_numpy(draw.uniform(-bound, bound, tuple(parameter.shape))))
        elif isinstance(module, (*_NORMS, nn.GroupNorm, nn.LayerNorm)):
            for own, parameter in module.named_parameters(recurse=False):
                parameter.fill_(1.0 if own == "weight" else 0.0)
            if isinstance(module, _NORMS) and module.running_mean is not None:
                module.reset_running_stats()
        elif isinstance(module, nn.PReLU):
            module.weight.fill_(0.25)
