"""The channel graph: tied widths found as another tool finds them, and networks of any widths that are what was counted."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision.models
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmark.channels import ChannelGraph
from benchmark.errors import UsageError

IMAGES = torch.zeros(2, 3, 32, 32)


def conv(before, after, kernel=3, **more):
    return nn.Sequential(
        nn.Conv2d(before, after, kernel, padding=kernel // 2, **more), nn.BatchNorm2d(after), nn.ReLU()
    )


class Head(nn.Module):
    """The body's map, averaged, to five logits."""

    def __init__(self, features):
        super().__init__()
        self.classifier = nn.Linear(features, 5)

    def forward(self, x):
        return self.classifier(F.adaptive_avg_pool2d(x, 1).flatten(1))


class UShaped(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2, self.middle = conv(3, 8), conv(8, 12), conv(12, 16)
        self.up1 = nn.ConvTranspose2d(16, 10, 2, stride=2)
        self.merge1, self.merge2 = conv(22, 12), conv(20, 8)
        self.out = nn.Conv2d(8, 4, 1)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(F.max_pool2d(a, 2))
        c = self.up1(self.middle(F.max_pool2d(b, 2)))
        d = self.merge1(torch.cat([c, b], 1))
        d = F.interpolate(d, scale_factor=2, mode="nearest")
        return self.out(self.merge2(torch.cat((d, a), dim=1)))


class Shuffling(nn.Module):
    """ShuffleNet V1: grouped 1x1 convolutions with a shuffle between them."""

    def __init__(self, groups=4):
        super().__init__()
        self.groups = groups
        self.stem = conv(3, 16)
        self.squeeze = conv(16, 8, 1, groups=groups)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.expand = conv(8, 16, 1, groups=groups)
        self.head = Head(16)

    def forward(self, x):
        x = self.stem(x)
        y = self.squeeze(x)
        b, c, h, w = y.size()
        y = y.view(b, self.groups, c // self.groups, h, w).transpose(1, 2).contiguous().view(b, c, h, w)
        return self.head(F.relu(x + self.expand(self.depthwise(y))))


class Squeezed(nn.Module):
    """Squeeze-and-excitation over a concatenation, and one within a branch of it."""

    def __init__(self):
        super().__init__()
        self.one, self.other = conv(3, 6), conv(3, 10)
        self.squeeze_one, self.excite_one = nn.Linear(6, 2), nn.Linear(2, 6)
        self.squeeze, self.excite = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.head = Head(16)

    def forward(self, x):
        a, b = self.one(x), self.other(x)
        batch, channels, _, _ = a.size()
        gate = torch.sigmoid(self.excite_one(F.relu(self.squeeze_one(a.mean((2, 3))))))
        a = a * gate.view(batch, channels, 1, 1).expand_as(a)
        y = torch.cat([a, b], 1)
        return self.head(y * self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(y, 1)))).sigmoid())


class Numbers(nn.Module):
    """States widths as numbers in its forward pass."""

    def __init__(self):
        super().__init__()
        self.body, self.left, self.right = conv(3, 12), conv(4, 6), conv(8, 6)
        self.gated, self.hidden, self.out = conv(6, 8), nn.Linear(4 * 16, 20), nn.Linear(20, 5)

    def forward(self, x):
        a, b = torch.split(self.body(x), [4, 8], dim=1)
        value, gate = self.gated(self.left(a) + self.right(b)).chunk(2, 1)
        y = F.adaptive_avg_pool2d(value * torch.sigmoid(gate), 4)
        return self.out(F.relu(self.hidden(y.view(-1, 4 * 16))))


class Assorted(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(4, 8), nn.PReLU(8))
        self.multiplied = nn.Conv2d(8, 16, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(16, 16, 3, padding=1, groups=2)
        self.attention = nn.Conv2d(2, 1, 7, padding=3)
        self.before, self.up, self.after = nn.Conv2d(16, 16, 1), nn.PixelShuffle(2), conv(4, 6)
        self.shuffle = nn.ChannelShuffle(3)
        self.head = Head(6)

    def forward(self, x):
        x = self.grouped(self.multiplied(self.stem(x))[:, :, ::2, ::2])
        pooled = torch.cat([x.mean(1, keepdim=True), torch.amax(x, 1, True)], 1)
        x = x * torch.sigmoid(self.attention(pooled)) + 0.5
        return self.head(self.shuffle(self.after(self.up(self.before(x)))))


class Residual(nn.Module):
    """A sum with a concatenation: the sum's other side is cut where the concatenation is."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c, self.d = conv(3, 4), conv(3, 6), conv(3, 10), conv(10, 7)
        self.head = Head(7)

    def forward(self, x):
        return self.head(self.d(torch.cat([self.a(x), self.b(x)], 1) + self.c(x)))


OWN = {made.__name__: made for made in (UShaped, Shuffling, Squeezed, Numbers, Assorted, Residual)}
PUBLIC = [
    "vgg16_bn", "mobilenet_v2", "shufflenet_v2_x1_0", "squeezenet1_1", "densenet121", "googlenet", "efficientnet_b0",
    "regnet_y_400mf", "resnet18", "resnet50",
]  # fmt: skip


def public(name):
    more = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    return getattr(torchvision.models, name)(weights=None, num_classes=10, **more)


def widths_of(graph):
    return {variable.name: variable.width for variable in graph.variables}


def drawn(graph, draw, most=24):
    """Widths at random, from the floor on."""
    return {v.name: int(v.floor * draw.integers(1, max(2, most // v.floor))) for v in graph.variables}


def counted(network):
    return sum(parameter.numel() for parameter in network.parameters())


def macs_of(network, images):
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        network.eval()(images)
    return counter.get_total_flops() // 2 // len(images)


# --- any widths ---


@pytest.mark.parametrize("name", OWN)
def test_networks_of_any_widths_are_what_was_counted(name):
    graph, draw = ChannelGraph.of(OWN[name](), IMAGES), np.random.default_rng(7)
    for _ in range(40):
        widths = drawn(graph, draw)
        network = graph.rebuild(widths)
        assert counted(network) == graph.parameters(widths)
        assert macs_of(network, IMAGES) == graph.macs(widths)
        network.train()(torch.randn(2, 3, 32, 32)).sum().backward()
        assert all(p.grad is not None for p in network.parameters())
        if any(v.floor > 1 for v in graph.variables):
            continue  # at some widths, what a grouped convolution does is what a depthwise one does
        again = ChannelGraph.of(network, IMAGES)  # and it has these widths
        assert widths_of(again) == widths
        assert [v.floor for v in again.variables] == [v.floor for v in graph.variables]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_networks_of_any_widths_are_what_was_counted(name):
    network, images = public(name), torch.zeros(2, 3, 64, 64)
    graph, draw = ChannelGraph.of(network, images), np.random.default_rng(8)
    assert counted(network) == graph.parameters()
    assert macs_of(network, images) == graph.macs()
    for _ in range(3):
        widths = drawn(graph, draw)
        built = graph.rebuild(widths)
        assert counted(built) == graph.parameters(widths)
        assert macs_of(built, images) == graph.macs(widths)


def test_the_network_that_is_given_stays_as_it_is():
    network = OWN["UShaped"]().eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    ChannelGraph.of(network, torch.randn(1, 3, 32, 32)).rebuild(seed=3)
    assert not network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_weights_are_drawn_from_the_seed_and_the_name_of_the_layer():
    graph = ChannelGraph.of(OWN["UShaped"](), IMAGES)
    torch.manual_seed(1)
    one, again, other = graph.rebuild(seed=1), graph.rebuild(seed=1), graph.rebuild(seed=2)
    wider = graph.rebuild({"middle.0": 20}, seed=1)
    for name, value in one.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
        assert torch.equal(value, other.state_dict()[name]) == (value.numel() == 1 or name.split(".")[1:2] == ["1"])
    assert torch.equal(one.down1[0].weight, wider.down1[0].weight)
    weight = one.merge1[0].weight
    assert weight.abs().max() < 1 / np.sqrt(22 * 9) < 1.05 * weight.abs().max()  # torch's default rule
    assert (
        len(np.unique([float(p.detach().flatten()[0]) for n, p in one.named_parameters() if n.endswith("0.weight")]))
        == 5
    )


# --- which widths there are ---


def test_a_u_shaped_network():
    graph = ChannelGraph.of(OWN["UShaped"](), IMAGES)
    assert widths_of(graph) == {
        "down1.0": 8, "down2.0": 12, "middle.0": 16, "up1": 10, "merge1.0": 12, "merge2.0": 8,
    }  # fmt: skip
    by_name = {v.name: v for v in graph.variables}
    assert by_name["down1.0"].producers == ("down1.0",)
    assert by_name["down1.0"].consumers == ("down2.0",)  # merge2 reads a concatenation
    assert by_name["merge2.0"].consumers == ("out",)
    assert {v.floor for v in graph.variables} == {1}


def test_residuals_tie_and_groups_ask_for_multiples():
    graph = ChannelGraph.of(OWN["Shuffling"](), IMAGES)
    assert {v.name: (v.width, v.floor) for v in graph.variables} == {"stem.0": (16, 4), "squeeze.0": (8, 4)}
    assert graph.variables[0].producers == ("stem.0", "expand.0")
    with pytest.raises(UsageError, match=r"'stem.0' is 18: it must be a multiple of 4"):
        graph.parameters({"stem.0": 18})


def test_a_gate_over_a_concatenation_follows_its_parts():
    graph = ChannelGraph.of(OWN["Squeezed"](), IMAGES)
    assert widths_of(graph) == {"one.0": 6, "other.0": 10, "squeeze_one": 2, "squeeze": 4}
    network = graph.rebuild({"one.0": 5, "other.0": 3, "squeeze_one": 1, "squeeze": 2})
    assert (network.excite.out_channels, network.excite_one.out_features, network.squeeze.in_channels) == (8, 5, 8)
    squeezing = {v.name: (v.producers, v.consumers) for v in graph.variables}
    assert squeezing["squeeze"] == (("squeeze",), ("excite",))
    assert squeezing["squeeze_one"] == ((), ())  # read by linear layers alone
    assert squeezing["one.0"] == (("one.0",), ())


def test_numbers_in_the_forward_pass_move_with_the_widths():
    graph = ChannelGraph.of(OWN["Numbers"](), IMAGES)
    assert widths_of(graph) == {"body.0[0]": 4, "body.0[1]": 8, "left.0": 6, "gated.0[0]": 4, "hidden": 20}
    network = graph.rebuild({"body.0[0]": 3, "body.0[1]": 2, "gated.0[0]": 7})
    assert network(torch.zeros(4, 3, 32, 32)).shape == (4, 5)
    assert network.hidden.in_features == 7 * 16


def test_what_the_image_and_the_logits_have_is_fixed():
    graph = ChannelGraph.of(nn.Sequential(conv(3, 8), Head(8)), IMAGES)
    assert widths_of(graph) == {"0.0": 8}
    tied = ChannelGraph.of(Tied3(), IMAGES)
    assert [v.name for v in tied.variables] == ["a"]


class Tied3(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.head = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 3, 1), Head(3)

    def forward(self, x):
        return self.head(x + self.b(self.a(x)))


def test_multiples_of_several_kinds():
    graph = ChannelGraph.of(OWN["Assorted"](), IMAGES)
    assert {v.name: (v.width, v.floor) for v in graph.variables} == {
        "stem.0": (8, 4), "before": (16, 4), "after.0": (6, 3),
    }  # fmt: skip


def test_resnet_and_shufflenet_as_the_papers_count_them():
    resnet = ChannelGraph.of(torchvision.models.resnet34(weights=None), IMAGES)
    assert len(resnet.variables) == 20  # CONet: a width per superblock and one per block
    shuffle = ChannelGraph.of(public("shufflenet_v2_x1_0"), IMAGES)
    first = next(v for v in shuffle.variables if v.name == "stage2.0.branch1.2")
    assert first.width == 58
    assert len(first.producers) == 2 + 2  # both branches of the first unit, and all units but the last


# --- another tool ---


def cells_of(graph):
    """(layer, channel made) -> which channels are one and the same choice."""
    found = {}
    kinds = dict(graph._network.named_modules())
    for layer in graph._layers.values():
        if isinstance(kinds[layer.name], (nn.Conv2d, nn.Linear)):
            place = 0
            for unknown, share in graph._unknowns.parts(layer.makes):
                for offset in range(int(graph._unknowns.size[unknown] * share)):
                    found[layer.name, place + offset] = (unknown, int(offset // share))
                place += int(graph._unknowns.size[unknown] * share)
    return found


@pytest.mark.parametrize("name", [n for n in PUBLIC if n != "shufflenet_v2_x1_0"])  # on which torch-pruning breaks off
def test_channels_are_tied_as_torch_pruning_ties_them(name):
    """The first and last channel of every layer: what else goes when it is pruned.

    For torch-pruning a grouped convolution unties what it reads and what it makes; here it keeps the width, as the
    specification has it, so its two groups count as one.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch_pruning as pruning

        network, images = public(name).eval(), torch.randn(1, 3, 64, 64)
        theirs = pruning.DependencyGraph().build_dependency(network, example_inputs=images)
    names = {module: name for name, module in network.named_modules()}
    ours = cells_of(ChannelGraph.of(network, images))
    cells = {}
    for channel, cell in ours.items():
        cells.setdefault(cell, set()).add(channel)

    checked, together = 0, {}
    grouped = {name for name, module in network.named_modules() if getattr(module, "groups", 1) > 1}
    for (layer, channel), cell in ours.items():
        module = network.get_submodule(layer)
        if channel not in (0, len(module.weight) - 1) or layer in grouped:
            continue
        linear = isinstance(module, nn.Linear)
        how = pruning.prune_linear_out_channels if linear else pruning.prune_conv_out_channels
        found = {
            (names[step.target.module], index)
            for step, indices in theirs.get_pruning_group(module, how, idxs=[channel])
            if isinstance(step.target.module, nn.Linear | nn.Conv2d) and theirs.is_out_channel_pruning_fn(step.handler)
            for index in indices
        }
        assert found <= cells[cell], (layer, channel)
        together.setdefault(cell, set()).update(found)
        if name != "regnet_y_400mf":
            assert found == cells[cell], (layer, channel)
        checked += 1
    assert checked > 30
    assert all(found == cells[cell] for cell, found in together.items())


# --- what is refused ---


class Forward(nn.Module):
    """One or two convolutions and a forward pass of its own."""

    def __init__(self, forward):
        super().__init__()
        self.a, self.b, self.inner = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Identity()
        self.sharpness = nn.Parameter(torch.ones(()))
        self.way = forward

    def forward(self, x):
        return self.way(self, x)


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (lambda m, x: m.b(m.b(m.a(x))), "module 'b': it is used twice: weights that are tied"),
        (lambda m, x: m.sharpness * F.conv2d(m.a(x), m.b.weight), "'b.weight' is a tensor of shape"),
        (lambda m, x: m.b(torch.fft.fft2(m.a(x)).real), "fft_fft2 in the network"),
        (lambda m, x: m.b(m.a(x).permute(0, 2, 1, 3).permute(0, 2, 1, 3)), "permute mixes channels with space"),
        (lambda m, x: m.b(m.a(x).view(2, 8 * 4, 16, 16).view(2, 8, 32, 32)), "2x8x32x32 to 2x32x16x16 mixes channels"),
        (lambda m, x: m.b(m.a(x)[:, :8]), "a slice of channels is not understood"),
        (lambda m, x: m.b(torch.cat([m.a(x), m.a(x)], 0)), "it is used twice"),
        (lambda m, x: m.b((y := m.a(x)) + torch.randn(y.shape)), "randn makes a tensor of its own"),
        (lambda m, x: m.b(m.a(x)).mean(1), "without keepdim"),
        (lambda m, x: m.b(m.a(x)) if x.sum() > 0 else m.a(x), "cannot be traced"),
        (lambda m, x: m.a(x), "module 'b' .Conv2d. has weights, but the forward pass never calls it"),
        (lambda m, x: m.b(x), "does not run on images 2x3x32x32"),
        (lambda m, x: m.b(torch.einsum("nchw->nchw", m.a(x))), "einsum in the network"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_said_in_one_line(way, said):
    with pytest.raises(UsageError, match=said) as caught:
        ChannelGraph.of(Forward(way), IMAGES)
    assert "\n" not in str(caught.value)


def test_an_operation_is_named_with_the_module_in_which_it_stands():
    inner = nn.Sequential(conv(3, 8), Forward(lambda m, x: torch.cumsum(m.b(x), 1)))
    del inner[1].a
    with pytest.raises(UsageError, match="cumsum in module '1'"):
        ChannelGraph.of(inner, IMAGES)


def test_tied_weights_are_refused():
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), Head(8))
    network[2].weight = network[1].weight
    with pytest.raises(UsageError, match=r"'1.weight' and '2.weight' are one weight"):
        ChannelGraph.of(network, IMAGES)
    shared = nn.Conv2d(8, 8, 1)
    with pytest.raises(UsageError, match="are one weight"):
        ChannelGraph.of(nn.Sequential(nn.Conv2d(3, 8, 1), shared, nn.ReLU(), shared, Head(8)), IMAGES)


@pytest.mark.parametrize(
    ("widths", "said"),
    [
        ({"middle": 4}, "no width 'middle': did you mean middle.0"),
        ({"middle.0": 0}, "'middle.0' is 0: it must be a whole number of 1 or more"),
        ({"middle.0": 4.0}, "'middle.0' is 4.0"),
        ({"middle.0": True}, "'middle.0' is True"),
    ],
)
def test_widths_of_another_network_or_none_at_all(widths, said):
    graph = ChannelGraph.of(OWN["UShaped"](), IMAGES)
    for verb in (graph.parameters, graph.macs, graph.rebuild):
        with pytest.raises(UsageError, match=said):
            verb(widths)


# --- declared ---


class Declared(nn.Module):
    """Its forward depends on the image, so it cannot be traced; it says what becomes of channels."""

    def __init__(self):
        super().__init__()
        self.stem, self.one, self.two, self.last = (
            nn.Conv2d(3, 8, 1),
            nn.Conv2d(8, 3, 1),
            nn.Conv2d(8, 5, 1),
            nn.Conv2d(8, 8, 1),
        )
        self.norm, self.out = nn.BatchNorm2d(8), nn.Linear(8, 5)

    def forward(self, x):
        x = self.stem(x)
        y = self.norm(torch.cat([self.one(x), self.two(x)], 1))
        return self.out((self.last(y) if y.sum() > -1e9 else y).mean((2, 3)))

    def channels(self, x, on):
        x = on(self.stem, x)
        y = on(self.norm, on.cat(on(self.one, x), on(self.two, x)))
        return on(self.out, on.add(y, on(self.last, y)))


def test_a_network_that_cannot_be_traced_says_its_channels():
    graph = ChannelGraph.of(Declared(), IMAGES)
    assert widths_of(graph) == {"stem": 8, "one": 3, "two": 5}
    built = graph.rebuild({"one": 7})
    assert counted(built) == graph.parameters({"one": 7})
    assert built.last.out_channels == 12
    assert built(torch.zeros(1, 3, 8, 8)).shape == (1, 5)


def test_a_number_called_channels_declares_nothing():
    network = nn.Sequential(conv(3, 8), Head(8))
    network.channels = 8
    assert widths_of(ChannelGraph.of(network, IMAGES)) == {"0.0": 8}
