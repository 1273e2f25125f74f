"""Networks written to break the channel graph: each is followed, and then is what was counted at any widths, or refused in a line."""

import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.channels import ChannelGraph
from benchmark.errors import UsageError

IMAGES = torch.zeros(2, 3, 16, 16)


def conv(before, after, kernel=3, **more):
    return nn.Sequential(nn.Conv2d(before, after, kernel, padding=kernel // 2, **more), nn.ReLU())


class Net(nn.Module):
    """Layers by name, a forward pass over them, and a classifier over the channels' means."""

    def __init__(self, forward, features, **layers):
        super().__init__()
        self.way = forward
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.classifier = nn.Linear(features, 5)

    def forward(self, x):
        return self.classifier(self.way(self, x).mean((2, 3)))


def u_shaped(net, x):
    kept = []
    for layer in net.down:
        x = layer(x)
        kept.append(x)
        x = F.max_pool2d(x, 2)
    for up, merge, skip in zip(net.up, net.merge, reversed(kept), strict=True):
        x = merge(torch.cat([skip, up(x)], 1))
    return x


def gated(net, x):
    x = net.stem(x)
    y = net.wide(x)
    gate = torch.sigmoid(net.excite(F.relu(net.squeeze(F.adaptive_avg_pool2d(y, 1)))))
    return net.last(torch.cat([net.plain(x), y * gate], 1))


def twice(net, x):
    x = net.stem(x)
    both = torch.cat([x, x], 1)
    return net.last(net.narrow(both)) + both


def crossed(net, x):
    x = net.stem(x)
    y = net.wide(x)
    return net.last(torch.cat([x, y], 1) + torch.cat([y, x], 1))


def halved(net, x):
    one, other = torch.cat([net.left(x), net.right(x)], 1).chunk(2, 1)
    return net.one(one) + net.other(other)


def halved_as_it_runs(net, x):
    x = net.stem(x)
    half = x.shape[1] // 2
    one, other = torch.split(x, [half, half], 1)
    return torch.cat([one, net.body(other)], 1)


def as_wide_as_another(net, x):
    x = net.stem(x)
    return net.last(net.hidden(x.mean((2, 3))).view(-1, x.size(1), 1, 1))


def parted_again(net, x):
    one, other = net.left(x), net.right(x)
    one, other = torch.cat([one, other], 1).split([one.size(1), other.size(1)], dim=1)
    return net.one(one) + net.other(other)


def thirds(net, x):
    parts = net.stem(x).chunk(3, dim=1)
    return torch.cat([layer(parts[place]) for place, layer in enumerate(net.layers)], 1)


def by_name(net, x):
    x = net.stem(x)
    return torch.add(input=x, other=F.relu(input=net.body(x)), alpha=0.5)


def shuffled(net, x):
    x = net.stem(x)
    n, c, h, w = x.shape
    x = net.grouped(x.reshape(n, 4, c // 4, h, w).transpose(1, 2).flatten(1, 2))
    return net.last(x)


class Across(nn.Module):
    """A layer norm over the channels, as ConvNeXt has it."""

    def __init__(self, width):
        super().__init__()
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def inverted(net, x):
    """ConvNeXt's block: depthwise, then linear layers at each position."""
    x = net.stem(x)
    y = net.wide(net.norm(net.depthwise(x).permute(0, 2, 3, 1)))
    return net.across(net.last(x + net.narrow(F.gelu(y.permute(0, 3, 1, 2)))))


def tokens(net, x):
    x = net.stem(x).flatten(2).transpose(1, 2)
    return net.act(net.norm(net.project(x))).transpose(1, 2)[..., None]


def competing(net, x):
    x = torch.max(net.stem(x), net.other(x))
    x = F.glu((x - x.mean((2, 3), keepdim=True)) / (x.std((2, 3), keepdim=True) + 1e-5), 1)
    return net.last(F.pixel_unshuffle(x, 2))


def normalised(net, x):
    return net.one(net.group(net.instance(net.prelu(net.stem(x)))))


def layers(*made):
    return nn.ModuleList(made)


FOLLOWED = {
    "u-shaped": lambda: Net(u_shaped, 6, down=layers(conv(3, 6), conv(6, 8)), up=layers(nn.ConvTranspose2d(8, 7, 2, 2), nn.ConvTranspose2d(9, 5, 2, 2)), merge=layers(conv(15, 9), conv(11, 6))),
    "a gate within a concatenation": lambda: Net(gated, 5, stem=conv(3, 6), plain=conv(6, 4), wide=conv(6, 8), squeeze=nn.Conv2d(8, 2, 1), excite=nn.Conv2d(2, 8, 1), last=conv(12, 5)),
    "the same map twice": lambda: Net(twice, 12, stem=conv(3, 6), narrow=conv(12, 4), last=conv(4, 12)),
    "crossed": lambda: Net(crossed, 7, stem=conv(3, 6), wide=conv(6, 10), last=conv(16, 7)),
    "halves of a concatenation": lambda: Net(halved, 4, left=conv(3, 8), right=conv(3, 4), one=conv(6, 4), other=conv(6, 4)),
    "halves that are computed": lambda: Net(halved_as_it_runs, 9, stem=conv(3, 8), body=conv(4, 5)),
    "parts as wide as other maps": lambda: Net(parted_again, 4, left=conv(3, 8), right=conv(3, 8), one=conv(8, 4), other=conv(8, 4)),
    "as wide as another map": lambda: Net(as_wide_as_another, 5, stem=conv(3, 6), hidden=nn.Linear(6, 6), last=conv(6, 5)),
    "thirds": lambda: Net(thirds, 15, stem=conv(3, 12), layers=layers(*(conv(4, 5) for _ in range(3)))),
    "arguments by name": lambda: Net(by_name, 6, stem=conv(3, 6), body=conv(6, 6)),
    "linear layers at each position": lambda: Net(inverted, 5, stem=conv(3, 8), depthwise=nn.Conv2d(8, 8, 3, padding=1, groups=8), norm=nn.LayerNorm(8), wide=nn.Linear(8, 12), narrow=nn.Conv2d(12, 8, 1), last=conv(8, 5), across=Across(5)),
    "tokens": lambda: Net(tokens, 10, stem=conv(3, 6), project=nn.Linear(6, 10), norm=nn.LayerNorm(10), act=nn.GELU()),
    "a contest of maps, and a gate of halves": lambda: Net(competing, 5, stem=conv(3, 12), other=conv(3, 12), last=conv(24, 5)),
    "norms of all kinds": lambda: Net(normalised, 8, stem=conv(3, 8), prelu=nn.PReLU(8), instance=nn.InstanceNorm2d(8, affine=True, track_running_stats=True), group=nn.GroupNorm(4, 8), one=nn.GroupNorm(1, 8)),
    "a shuffle": lambda: Net(shuffled, 5, stem=conv(3, 16), grouped=conv(16, 8, 1, groups=4), last=conv(8, 5)),
}  # fmt: skip


def counted(network):
    """Multiply-accumulates for one image, layer by layer, once it runs: every weight times where it is used."""
    found = []

    def note(layer, given, made):
        shape = given[0].shape if isinstance(layer, nn.ConvTranspose2d) else made.shape
        found.append(layer.weight.numel() * (shape[1:-1] if isinstance(layer, nn.Linear) else shape[2:]).numel())

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            layer.register_forward_hook(note)
    return found


@pytest.mark.parametrize("name", FOLLOWED)
def test_it_is_followed_and_at_any_widths_is_what_was_counted(name):
    torch.manual_seed(0)
    network, draw = FOLLOWED[name](), random.Random(0)
    graph = ChannelGraph.of(network, IMAGES)
    assert graph.parameters() == sum(p.numel() for p in network.parameters())
    for seed in range(12):
        widths = {v.name: v.floor * draw.randint(1, 24 // v.floor) for v in graph.variables}
        built = graph.rebuild(widths, seed)
        assert sum(p.numel() for p in built.parameters()) == graph.parameters(widths)
        used = counted(built)
        assert built(torch.randn(2, 3, 16, 16)).shape == (2, 5)
        assert sum(used) == graph.macs(widths)


def test_which_widths_there_are():
    def widths(name):
        return {v.name: v.width for v in ChannelGraph.of(FOLLOWED[name](), IMAGES).variables}

    assert widths("u-shaped") == {"down.0.0": 6, "down.1.0": 8, "up.0": 7, "merge.0.0": 9, "up.1": 5, "merge.1.0": 6}
    assert widths("the same map twice") == {"stem.0": 6, "narrow.0": 4}
    # 8 + 4 cut into 6 + 6: of the 8 the first 2 are the second half's first, too, and 4 tie with the other convolution
    assert widths("halves of a concatenation") == {"left.0[0]": 2, "left.0[1]": 4, "one.0": 4}
    assert widths("linear layers at each position") == {"stem.0": 8, "wide": 12, "last.0": 5}
    assert widths("tokens") == {"stem.0": 6, "project": 10}
    assert widths("a contest of maps, and a gate of halves") == {"stem.0[0]": 6, "last.0": 5}
    assert widths("halves that are computed") == {"stem.0[0]": 4, "body.0": 5}
    assert widths("parts as wide as other maps") == {"left.0": 8, "right.0": 8, "one.0": 4}
    assert widths("thirds") == {"stem.0[0]": 4, "layers.0.0": 5, "layers.1.0": 5, "layers.2.0": 5}
    graph = ChannelGraph.of(FOLLOWED["a shuffle"](), IMAGES)
    assert {v.name: v.floor for v in graph.variables} == {"stem.0": 4, "grouped.0": 4, "last.0": 1}


class Odd(nn.Conv2d):
    """A convolution that doubles what it makes."""

    def forward(self, x):
        y = super().forward(x)
        return torch.cat([y, y], 1)


def tied(net, x):
    x = net.stem(x)
    for _ in range(2):
        x = net.body(x)
    return x


def sharing_memory():
    network = Net(lambda net, x: net.two(net.one(net.stem(x))), 6, stem=conv(3, 6), one=nn.Conv2d(6, 6, 1), two=nn.Conv2d(6, 6, 1))  # fmt: skip
    network.two.weight = nn.Parameter(network.one.weight.data)
    return network


def functional():
    network = Net(lambda net, x: F.conv2d(net.stem(x), net.kernel, padding=1), 6, stem=conv(3, 6))
    network.kernel = nn.Parameter(torch.randn(6, 6, 3, 3))
    return network


def reshaped(net, x):
    x = net.stem(x)
    n, c, h, w = x.shape
    return net.last(x.view(n, c // 4, 2 * h, 2 * w))


REFUSED = {
    "attention": (lambda: Net(lambda net, x: net.heads(*[net.stem(x).flatten(2).transpose(1, 2)] * 3)[0].transpose(1, 2)[..., None], 6, stem=conv(3, 6), heads=nn.MultiheadAttention(6, 2, batch_first=True)), "module 'heads': a layer MultiheadAttention is not understood"),
    "a norm of positions": (lambda: Net(lambda net, x: net.norm(net.stem(x)), 16, stem=conv(3, 16), norm=nn.LayerNorm(16)), "module 'norm': a LayerNorm on a map of which channels are not the last axis"),
    "a norm that hangs on the images' size": (lambda: Net(lambda net, x: net.norm(net.stem(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2), 6, stem=conv(3, 6), norm=nn.LayerNorm([16, 6])), "module 'norm': a LayerNorm over channels and positions"),
    "a pooling of channels": (lambda: Net(lambda net, x: net.last(F.max_pool2d(net.stem(x).permute(0, 2, 3, 1), 2).permute(0, 3, 1, 2)), 5, stem=conv(3, 6), last=conv(3, 5)), "max_pool2d .*: it is given a map whose channels are the last axis"),
    "a rest": (lambda: Net(lambda net, x: net.last(net.stem(x).split(8, 1)[1]), 5, stem=conv(3, 12), last=conv(4, 5)), r"split .*: a split by 8 leaves a rest: state the sizes of all parts, \[8, 4\]"),
    "a layer in a loop": (lambda: Net(tied, 6, stem=conv(3, 6), body=conv(6, 6)), "module 'body.0': it is used twice"),
    "weights that share memory": (sharing_memory, "'one.weight' and 'two.weight' are one weight"),
    "a functional convolution": (functional, r"'kernel' is a tensor of shape \(6, 6, 3, 3\) outside of a layer"),
    "channels mixed with space": (lambda: Net(reshaped, 5, stem=conv(3, 8), last=conv(2, 5)), "view .* from 2x8x16x16 to 2x2x32x32 mixes channels with space"),
    "groups that do not divide a part": (
        lambda: Net(lambda net, x: net.last(torch.cat([net.one(x), net.two(x)], 1)), 8, one=conv(3, 6), two=conv(3, 10), last=conv(16, 8, groups=4)),
        "module 'last.0': 6 channels are no multiple of 4",
    ),
    "unequal parts": (lambda: Net(lambda net, x: net.last(net.stem(x).chunk(3, 1)[0]), 5, stem=conv(3, 10), last=conv(4, 5)), "chunk .*: 10 channels are not cut into 3 equal parts"),
    "a layer with a forward of its own": (lambda: Net(lambda net, x: net.odd(x), 8, odd=Odd(3, 4, 3)), "module 'odd': it makes 2x8x14x14, not 4 channels"),
    "a mean over the groups of a shuffle": (lambda: Net(lambda net, x: net.stem(x).view(2, 4, -1, 16, 16).mean(2), 4, stem=nn.Conv2d(3, 64, 1)), "mean .*: mean of channels that are split into groups"),
    "sizes that are computed": (lambda: Net(lambda net, x: net.last((y := net.stem(x)).split([y.size(1) - 4, 4], 1)[0]), 5, stem=conv(3, 8), last=conv(4, 5)), "split .*: a split whose sizes are computed is not understood: cut by chunk"),
    "another way in evaluation": (lambda: Net(lambda net, x: net.last((net.stem(x) if net.training else -net.stem(x)).mean((2, 3)).view(-1, 6))[..., None, None], 5, stem=conv(3, 6), last=nn.Linear(6, 5)), "does other things in training than in evaluation"),
    "a layer without a size": (lambda: Net(lambda net, x: net.last(net.stem(x)), 6, stem=conv(3, 8), last=nn.Sequential(nn.LazyConv2d(6, 1))), "'last.0.weight' is lazy and has no size yet"),
    "no argument that is known": (lambda: Net(lambda net, x: F.interpolate(net.stem(x), scale_factor=(2.0, 2.0)).unflatten(1, (2, 3)).flatten(1, 2), 6, stem=conv(3, 6)), "the operation unflatten is not understood"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_in_a_line_that_names_the_place(name):
    make, said = REFUSED[name]
    network = make()
    if name != "a layer without a size":  # which it has once it ran
        network(IMAGES)  # it does run
    with pytest.raises(UsageError, match=said) as caught:
        ChannelGraph.of(network, IMAGES)
    assert "\n" not in str(caught.value)


def dropping(net, x):
    """As in PyTorch's own examples: a number of channels in the forward pass, and a dropout that is told the mode."""
    x = net.hidden(F.max_pool2d(net.stem(x), 8).view(-1, 24))
    return F.dropout(F.relu(x), 0.5, net.training)[..., None, None]


@pytest.mark.parametrize("widths", [{}, {"stem.0": 9, "hidden": 40}])
def test_what_is_rebuilt_drops_in_training_only(widths):
    network = Net(dropping, 30, stem=conv(3, 6), hidden=nn.Linear(24, 30))
    built, images = ChannelGraph.of(network, IMAGES).rebuild(widths), torch.randn(2, 3, 16, 16)
    assert built.training
    assert not torch.equal(built(images), built(images))
    built.eval()
    assert torch.equal(built(images), built(images))
    assert not torch.equal(built.train()(images), built(images))
