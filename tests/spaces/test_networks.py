"""The one ResNet, against a plain re-implementation; initialisation; calibration of a supernet's batch norms."""

import math
import re
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from benchmark.spaces.networks import ResNet, calibrate, forget_statistics, initialise, resize
from benchmark.spaces.space import Backbone, Config, PoolingSpace, load_space

SPACE = load_space()
PATHS = {
    "[4,3,3]": (0, 0, 0, 0, 1, 1, 1, 2, 2, 2),
    "[1,1,8]": (0, 1, 2, 2, 2, 2, 2, 2, 2, 2),
    "falls by two at once": (0, 0, 0, 2, 2, 2, 2, 2, 2, 2),
    "rises and falls": (0, 1, 1, 2, 0, 0, 1, 2, 0, 1),
    "never pooled": (0,) * 10,
}


def images(count, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((count, 3, 32, 32), np.float32))


def made(affine, seed=0, model=0):
    network = ResNet(SPACE, affine=affine)
    initialise(network, seed, model)
    return network


def reference(weights, x, path):
    """ResNet20 written down once more: functional, float64, statistics of the batch, pooling by hand.

    weights: the state of the network by name; x: float64 (B, 3, 32, 32). Returns logits (B, 10).
    """

    def convolve(name, x):
        weight = weights[name + ".weight"]
        return F.conv2d(x, weight, stride=1, padding=weight.shape[-1] // 2)

    def norm(name, x):
        mean = x.mean((0, 2, 3), keepdim=True)
        variance = ((x - mean) ** 2).mean((0, 2, 3), keepdim=True)
        x = (x - mean) / torch.sqrt(variance + 1e-5)
        if name + ".weight" in weights:
            x = x * weights[name + ".weight"].view(1, -1, 1, 1) + weights[name + ".bias"].view(1, -1, 1, 1)
        return x

    def halve(x):
        return torch.maximum(
            torch.maximum(x[..., ::2, ::2], x[..., 1::2, ::2]), torch.maximum(x[..., ::2, 1::2], x[..., 1::2, 1::2])
        )

    def double(x):
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2)

    x = norm("norm", convolve("conv", x)).clamp(min=0)
    now = 0
    for block, r in enumerate(path[1:]):
        name = f"blocks.{block}."
        for _ in range(abs(r - now)):
            x = halve(x) if r > now else double(x)
        now = r
        skip = x
        if block in (3, 6):  # the width changes
            skip = norm(name + "projection.1", convolve(name + "projection.0", x))
        y = norm(name + "norm1", convolve(name + "conv1", x)).clamp(min=0)
        x = (norm(name + "norm2", convolve(name + "conv2", y)) + skip).clamp(min=0)
    return x.mean((2, 3)) @ weights["classifier.weight"].T + weights["classifier.bias"]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_forward_is_the_plain_network_along_the_path(path, affine):
    network = made(affine)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.dim() == 1:  # scales, shifts and biases that are not 1 and 0, so that each of them counts
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=draw))
    x = images(4)
    weights = {name: tensor.double() for name, tensor in network.state_dict().items()}
    expected = reference(weights, x.double(), path)
    with torch.no_grad():
        torch.testing.assert_close(network(x, path).double(), expected, rtol=1e-3, atol=1e-4)
    assert expected.std() > 0.1  # the comparison was one of numbers that differ


def test_paths_of_configurations_give_different_networks():
    network, x = made(False), images(2)
    with torch.no_grad():
        outputs = {tuple(network(x, config.path).flatten().tolist()) for config in SPACE}
    assert len(outputs) == 36


def test_resize_pools_by_maximum_and_repeats_pixels():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert resize(x, 2).tolist() == [[[[5.0, 7.0], [13.0, 15.0]]]]
    assert resize(x, 1).tolist() == [[[[15.0]]]]
    assert resize(torch.tensor([[[[1.0, 2.0]] * 2]]), 4).tolist() == [[[[1.0, 1.0, 2.0, 2.0]] * 4]]
    assert resize(x, 4) is x


def test_a_block_answers_at_the_resolution_asked_for():
    block = made(False).blocks[3]
    for side in (32, 16, 8):
        for r, expected in enumerate((32, 16, 8)):
            assert block(torch.rand(2, 16, side, side), r).shape == (2, 32, expected, expected)


@pytest.mark.parametrize("path", [(), (0,), (0,) * 9, (0,) * 11, (1,) + (1,) * 9, (2,) * 10, (-1,) + (0,) * 9])
def test_paths_of_another_length_or_a_pooled_stem_raise(path):
    with pytest.raises(ValueError):  # noqa: PT011 (an empty path cannot even be taken apart)
        made(True)(images(2), path)


@pytest.mark.parametrize("r", [3, -1])
def test_resolutions_that_do_not_exist_raise(r):
    with pytest.raises((ValueError, IndexError)):
        made(True)(images(2), (0,) * 9 + (r,))


def test_every_configuration_uses_every_weight():
    # The same weights serve all placements: none is idle in one of them and none belongs to one alone.
    network, x = made(True), images(2)
    names = [name for name, _ in network.named_parameters()]
    for config in (SPACE[0], SPACE.default, SPACE[-1]):
        gradients = torch.autograd.grad(network(x, config.path)[:, 0].sum(), [*network.parameters()], allow_unused=True)
        # The loss looks at one logit, so the other rows of the classifier rest.
        assert [name for name, g in zip(names, gradients, strict=True) if g is None or not g.any()] == []


def unshared(seed=0, model=0, affine=False):
    network = ResNet(SPACE, affine=affine, shared=False)
    initialise(network, seed, model)
    return network


def along(network, path):
    """A plain network with the weights that an unshared one has along a path."""
    plain = ResNet(SPACE, affine=network.norm.affine)
    state = network.state_dict()
    chosen = {f"blocks.{block}.": f"blocks.{block}.{r}." for block, r in enumerate(path[1:])}
    names = {name: chosen.get(name[:9], name[:9]) + name[9:] for name in plain.state_dict()}
    plain.load_state_dict({name: state[theirs] for name, theirs in names.items()})
    return plain


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_the_unshared_network_along_one_path_is_a_plain_network(path, affine):
    """Trained along one path it stays one, bit for bit; what is off the path rests, momentum and decay included."""
    network = unshared(affine=affine)
    plain = along(network, path)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizers = [torch.optim.SGD(n.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3) for n in (network, plain)]
    for step in range(3):
        x, y = images(4, seed=step), torch.arange(4)
        losses = [F.cross_entropy(n(x, path), y) for n in (network, plain)]
        assert torch.equal(*losses)
        for loss, optimizer in zip(losses, optimizers, strict=True):
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    trained = along(network, path).state_dict()
    assert all(torch.equal(tensor, trained[name]) for name, tensor in plain.state_dict().items())
    resting = [
        name for name in before if name[0] == "b" and not name.startswith(f"blocks.{name[7]}.{path[1 + int(name[7])]}.")
    ]
    after = network.state_dict()
    assert len(resting) == 2 * sum(name[0] == "b" for name in trained)
    assert all(torch.equal(after[name], before[name]) for name in resting)
    moved = {name for name in before if not torch.equal(after[name], before[name])}
    assert {name for name in before if name.endswith("conv1.weight")} - set(resting) <= moved


def test_unshared_weights_are_those_of_the_blocks_three_times():
    counts = {shared: sum(p.numel() for p in ResNet(SPACE, shared=shared).parameters()) for shared in (True, False)}
    stem_and_classifier = 3 * 16 * 9 + 2 * 16 + 64 * 10 + 10
    assert counts[False] - stem_and_classifier == 3 * (counts[True] - stem_and_classifier)


def test_unshared_weights_are_drawn_by_seed_model_and_name():
    network = unshared(3, 1)
    again, other_seed, other_model = (unshared(*key).state_dict() for key in ((3, 1), (4, 1), (3, 2)))
    drawn = [name for name, p in network.named_parameters() if p.dim() > 1]
    for name in drawn:
        tensor = network.state_dict()[name]
        assert torch.equal(tensor, again[name])
        assert not torch.equal(tensor, other_seed[name])
        assert not torch.equal(tensor, other_model[name])
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not torch.equal(network.blocks[4][one].conv2.weight, network.blocks[4][other].conv2.weight)
    # What has no resolution starts as in the plain network.
    assert torch.equal(network.conv.weight, made(False, 3, 1).conv.weight)


def test_initialisation_is_a_pure_function_of_seed_and_model():
    torch.manual_seed(1)
    first = made(True, seed=3, model=1)
    torch.manual_seed(2)
    torch.rand(5)
    again = made(True, seed=3, model=1)
    for (name, a), b in zip(first.state_dict().items(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize(("seed", "model"), [(4, 1), (3, 2), (1, 3), (31, 0)])
def test_other_seeds_and_models_draw_other_weights(seed, model):
    first, other = made(False, 3, 1).state_dict(), made(False, seed, model).state_dict()
    for name, tensor in first.items():
        if tensor.dim() > 1:
            assert not torch.isclose(tensor, other[name]).float().mean() > 0.01, name


def test_a_layer_is_drawn_by_its_name():
    # Layers of one shape differ, and a network with more classes starts with the same convolutions.
    network = made(True)
    assert not torch.equal(network.blocks[0].conv1.weight, network.blocks[0].conv2.weight)
    wide = ResNet(SPACE, classes=100)
    initialise(wide, 0)
    assert torch.equal(wide.blocks[8].conv2.weight, network.blocks[8].conv2.weight)
    supernet = made(False)
    assert torch.equal(supernet.blocks[8].conv2.weight, network.blocks[8].conv2.weight)


def test_initial_weights_are_pinned():
    # Ground truth made before and after must start alike: these numbers may only change with the recipes' hashes.
    first = made(True, seed=0).conv.weight.flatten()[:3].tolist()
    assert first == pytest.approx([0.01419031, 0.32899624, 0.44216129], abs=1e-7)


def test_convolutions_are_he_normal_and_the_rest_as_stated():
    for name, parameter in made(True, seed=1).named_parameters():
        values = parameter.detach().double().flatten()
        if parameter.dim() == 4:
            sigma, n = math.sqrt(2 / parameter[0].numel()), len(values)
            assert abs(values.mean()) < 5 * sigma / math.sqrt(n), name
            assert abs(values.std() / sigma - 1) < 5 / math.sqrt(2 * n), name
            # Normal, not uniform with the same deviation: 4.55 % lie beyond two sigma (uniform: none).
            beyond = (values.abs() > 2 * sigma).double().mean()
            assert abs(beyond - 0.0455) < 5 * math.sqrt(0.0455 / n), name
        elif parameter.dim() == 2:
            assert 0.95 / 8 < values.abs().max() <= 1 / 8
            assert abs(values.std() - 1 / 8 / math.sqrt(3)) < 0.01
            assert abs(values.mean()) < 0.02
        else:
            assert set(values.tolist()) == {1.0 if name.endswith("weight") else 0.0}, name


def test_stand_alone_networks_have_running_statistics_and_supernets_none():
    assert made(True).norm.running_mean is not None
    supernet = made(False)
    assert supernet.norm.running_mean is None
    assert supernet.norm.weight is None
    x = images(8)
    with torch.no_grad():
        training = supernet.train()(x, SPACE.default.path)
        assert torch.equal(supernet.eval()(x, SPACE.default.path), training)


def calibration_batches():
    # Two batches of different statistics, so that averaging them differs from taking the last one.
    return [images(6, seed=1), 2 * images(6, seed=2) + 0.5]


def test_calibrated_statistics_are_the_mean_over_the_batches():
    network = made(False)
    calibrate(network, SPACE.default.path, calibration_batches())
    means, variances = [], []
    for x in calibration_batches():
        y = F.conv2d(x.double(), network.conv.weight.detach().double(), padding=1)
        n = 6 * 32 * 32
        means.append(y.sum((0, 2, 3)) / n)
        squares = ((y - means[-1].view(1, -1, 1, 1)) ** 2).sum((0, 2, 3))
        variances.append(squares / (n - 1))
    torch.testing.assert_close(network.norm.running_mean.double(), sum(means) / 2, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(network.norm.running_var.double(), sum(variances) / 2, rtol=1e-4, atol=1e-5)


def test_a_calibrated_network_judges_each_image_by_itself():
    network, path, x = made(False), SPACE.default.path, images(8, seed=3)
    with torch.no_grad():
        network.eval()
        assert (network(x[:4], path) - network(x, path)[:4]).abs().max() > 0.01  # neighbours matter before
        calibrate(network, path, calibration_batches())
        torch.testing.assert_close(network(x[:4], path), network(x, path)[:4], rtol=1e-4, atol=1e-5)


def test_calibration_starts_afresh_and_belongs_to_its_path():
    twice, once, x = made(False), made(False), images(4, seed=3)
    calibrate(twice, SPACE[0].path, calibration_batches())
    elsewhere = twice.blocks[8].norm2.running_var.clone()
    calibrate(twice, SPACE.default.path, calibration_batches())
    calibrate(once, SPACE.default.path, calibration_batches())
    with torch.no_grad():
        assert torch.equal(twice(x, SPACE.default.path), once(x, SPACE.default.path))
    assert not torch.allclose(twice.blocks[8].norm2.running_var, elsewhere, rtol=1e-3)


def test_calibration_moves_no_weight():
    network = made(False)
    before = {name: p.clone() for name, p in network.named_parameters()}
    calibrate(network, SPACE.default.path, calibration_batches())
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in network.named_parameters())


@pytest.mark.parametrize("mode", [True, False])
def test_forgetting_restores_the_statistics_of_the_batch(mode):
    network, path, x = made(False), SPACE.default.path, images(4, seed=3)
    with torch.no_grad():
        before = network(x, path)
        calibrate(network, path, calibration_batches())
        assert not torch.allclose(network(x, path), before, atol=1e-2)
        forget_statistics(network)
        assert torch.equal(network.train(mode)(x, path), before)
    assert set(network.state_dict()) == set(made(False).state_dict())


# The other backbones, small: of each kind of block with each stem.
KINDS = {
    "basic, cifar": PoolingSpace(
        "a", (16, 8, 4, 2), 5, Config((2, 1, 1, 1)), "synthetic", Backbone("basic", (4, 4, 8, 8, 16), "cifar", 16)
    ),
    "bottleneck, cifar": PoolingSpace(
        "b", (16, 8, 4, 2), 5, Config((2, 1, 1, 1)), "synthetic", Backbone("bottleneck", (4, 4, 8, 8, 16), "cifar", 16)
    ),
    "basic, imagenet": PoolingSpace(
        "c", (16, 8, 4, 2), 5, Config((2, 1, 1, 1)), "synthetic", Backbone("basic", (4, 4, 8, 8, 16), "imagenet", 64)
    ),
    "bottleneck, imagenet": PoolingSpace(
        "d", (16, 8, 4, 2), 4, Config((1, 1, 1, 1)), "synthetic", Backbone("bottleneck", (4, 8, 8, 16), "imagenet", 64)
    ),
}
EVERY_KIND = pytest.mark.parametrize("space", KINDS.values(), ids=KINDS)


def theirs(space):
    """torchvision's network for the default path of a space: its strides taken out, and max-pools in their places."""
    from torchvision.models.resnet import BasicBlock, Bottleneck
    from torchvision.models.resnet import ResNet as Theirs

    backbone = space.backbone
    kind = {"basic": BasicBlock, "bottleneck": Bottleneck}[backbone.block]
    network = Theirs(kind, [1, 1, 1, 1], num_classes=10)
    searched = backbone.stem == "cifar"
    network.conv1 = nn.Conv2d(
        3, backbone.widths[0], 3 if searched else 7, 1 if searched else 2, 1 if searched else 3, bias=False
    )
    network.bn1 = nn.BatchNorm2d(backbone.widths[0])
    if searched:
        network.maxpool = nn.Identity()
    layers = []
    for before, width, after in backbone.blocks:
        skip = None
        if before != after:
            skip = nn.Sequential(nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))
        layers.append(kind(before, width, downsample=skip))
    network.layer1 = nn.Sequential(*layers)
    network.layer2 = network.layer3 = network.layer4 = nn.Identity()
    network.fc = nn.Linear(backbone.features, 10)
    return network.eval()


def renamed(name, searched):
    """What torchvision calls a weight of ours."""
    name = re.sub(r"^classifier\.", "fc.", re.sub(r"^(conv|norm)\.", r"\g<1>1.", name))
    name = re.sub(r"^first\.", "layer1.0.", name)
    name = re.sub(r"^blocks\.(\d+)", lambda match: f"layer1.{int(match[1]) + (0 if searched else 1)}", name)
    return name.replace("norm", "bn").replace("projection", "downsample")


@EVERY_KIND
def test_blocks_and_stems_are_torchvisions(space):
    """Weight for weight after a mapping of names, and the same logits along the default path."""
    ours, other = ResNet(space).eval(), theirs(space)
    with torch.no_grad():
        for number, tensor in enumerate(ours.state_dict().values()):
            if tensor.is_floating_point():  # scales and running statistics too: nothing is 1 or 0
                tensor.copy_(
                    torch.rand(tensor.shape, generator=torch.Generator().manual_seed(number)) - 0.3 * (tensor.dim() > 1)
                )
    searched = space.backbone.stem == "cifar"
    mapped = {renamed(name, searched): tensor for name, tensor in ours.state_dict().items()}
    other.load_state_dict(mapped)  # which refuses a name or a shape that is not there
    x = torch.from_numpy(
        np.random.default_rng(3).standard_normal((2, 3, space.backbone.side, space.backbone.side), np.float32)
    )
    path = space.default.path[1:] if searched else space.default.path
    with torch.no_grad():
        y = other.maxpool(other.relu(other.bn1(other.conv1(x))))
        for block, (before, after) in zip(other.layer1, pairwise((0, *path)), strict=True):
            y = block(F.max_pool2d(y, 2 ** (after - before)))
        expected = other.fc(y.mean((2, 3)))
        assert expected.std() > 0.01 * expected.mean().abs()
        torch.testing.assert_close(ours(x, space.default.path), expected, rtol=1e-4, atol=1e-4)


REAL = pytest.mark.parametrize(("name", "of"), [("resnet18", "resnet18-imagenet"), ("resnet50", "resnet50-food101")])


def named_as_torchvisions(names):
    """What torchvision's names, layer by layer, are called where all blocks stand in one row."""
    blocks = sorted({name[:8] for name in names if name.startswith("layer")})
    return {
        name: name.replace(name[:8], f"layer1.{blocks.index(name[:8])}") if name[:8] in blocks else name
        for name in names
    }


@REAL
def test_the_weights_of_torchvisions_networks_are_ours_name_by_name(name, of):
    import torchvision

    with torch.device("meta"):
        ours = ResNet(load_space(of), classes=1000).state_dict()
        other = getattr(torchvision.models, name)().state_dict()
    shapes = {said: other[key].shape for key, said in named_as_torchvisions(other).items()}
    assert {renamed(key, False): tensor.shape for key, tensor in ours.items()} == shapes


@REAL
def test_the_logits_of_torchvisions_networks_are_ours_along_the_default_path(name, of):
    """The whole ResNet18 and ResNet50 with weights copied from torchvision's, whose strides became pools before the block."""
    import torchvision

    space = load_space(of).at(64)
    torch.manual_seed(0)
    other = getattr(torchvision.models, name)().eval()
    for layer in (other.layer2, other.layer3, other.layer4):
        for module in layer.modules():
            if isinstance(module, nn.Conv2d):
                module.stride = (1, 1)
        layer.insert(0, nn.MaxPool2d(2))
    weights = getattr(torchvision.models, name)().state_dict()  # by their usual names, without the pools
    for tensor in weights.values():  # scales and running statistics: nothing is 1 or 0
        if tensor.is_floating_point() and tensor.dim() == 1:
            tensor.copy_(0.5 + 0.5 * torch.rand(tensor.shape))
    moved = {re.sub(r"^(layer[234]\.)(\d)", lambda m: f"{m[1]}{int(m[2]) + 1}", key): w for key, w in weights.items()}
    other.load_state_dict(moved)
    ours, mapped = ResNet(space, classes=1000).eval(), named_as_torchvisions(weights)
    by_name = {said: weights[key] for key, said in mapped.items()}
    ours.load_state_dict({key: by_name[renamed(key, False)] for key in ours.state_dict()})
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        expected = other(x)
        torch.testing.assert_close(
            ours(x, space.default.path), expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max())
        )
        assert (ours(x, space[0].path) - expected).abs().max() > 0.01 * expected.abs().max()
    assert expected.std() > 0.01 * expected.mean().abs()


@EVERY_KIND
def test_every_kind_trains_along_every_path_shared_or_not_and_calibrates(space):
    side = space.backbone.side
    x = torch.from_numpy(np.random.default_rng(4).standard_normal((4, 3, side, side), np.float32))
    paths = [space[0].path, space[-1].path, (0, *[3, 0, 2, 1][: space.depth - 1])]
    plain, single = ResNet(space, affine=False), ResNet(space, affine=False, shared=False)
    for network in (plain, single):
        initialise(network, 0)
    for path in paths:
        for network in (plain, single):
            network(x, path)[:, 0].sum().backward()
            assert network.conv.weight.grad.abs().sum() > 0
        copied = ResNet(space, affine=False)
        state = single.state_dict()
        chosen = {f"blocks.{block}.": f"blocks.{block}.{r}." for block, r in enumerate(path[1:])}
        copied.load_state_dict({name: state[chosen.get(name[:9], name[:9]) + name[9:]] for name in copied.state_dict()})
        with torch.no_grad():
            assert torch.equal(single(x, path), copied(x, path))
            calibrate(plain, path, [x, 2 * x])
            torch.testing.assert_close(plain(x[:2], path), plain(x, path)[:2], rtol=1e-3, atol=1e-4)
            forget_statistics(plain)
    assert sum(p.numel() for p in single.blocks.parameters()) == 4 * sum(p.numel() for p in plain.blocks.parameters())
    if plain.first is not None:  # it has one resolution, so one set of weights
        assert sum(p.numel() for p in single.first.parameters()) == sum(p.numel() for p in plain.first.parameters())


@EVERY_KIND
def test_blocks_behind_a_fixed_stem_start_as_their_skips(space):
    for affine in (True, False):
        network = ResNet(space, affine=affine)
        initialise(network, 0)
        blocks = [*network.blocks, *([network.first] if network.first is not None else [])]
        quiet = [block.last.affine and not block.last.weight.any() for block in blocks]
        assert quiet == len(blocks) * [affine and space.backbone.stem == "imagenet"]
        others = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d) and m.affine]
        assert sum(int((m.weight == 1).all()) for m in others) == len(others) - sum(quiet)
