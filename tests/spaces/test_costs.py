"""Parameters and MACs counted by hand, against torch's own counter and the real network."""

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from benchmark.errors import UsageError
from benchmark.spaces.costs import macs, parameters, path_macs
from benchmark.spaces.networks import ResNet
from benchmark.spaces.space import Config, PoolingSpace, load_space

SPACE = load_space()


def test_macs_of_every_configuration_are_torchs_count():
    network = ResNet(SPACE).eval()
    image = torch.zeros(1, 3, 32, 32)
    for config in SPACE:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(image, config.path)
        assert counter.get_total_flops() == 2 * macs(SPACE, config), config


@pytest.mark.parametrize("path", [(0, 1, 1, 2, 0, 0, 1, 2, 0, 1), (0,) + 9 * (2,), 10 * (0,)])
def test_macs_of_any_path_are_torchs_count(path):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        ResNet(SPACE).eval()(torch.zeros(1, 3, 32, 32), path)
    assert counter.get_total_flops() == 2 * path_macs(SPACE, path)


@pytest.mark.parametrize(
    ("config", "millions"), [("[1,1,8]", 18.6), ("[4,3,3]", 40.8), ("[7,1,2]", 91.1), ("[8,1,1]", 149.3)]
)
def test_macs_that_the_specification_prints(config, millions):
    assert round(macs(SPACE, config) / 1e6, 1) == millions


def test_macs_of_the_default_by_hand():
    stem = 3 * 16 * 9 * 32**2
    first = 3 * (2 * 16 * 16 * 9 * 32**2)
    second = (16 * 32 * 9 + 32 * 32 * 9 + 16 * 32) * 16**2 + 2 * (2 * 32 * 32 * 9 * 16**2)
    third = (32 * 64 * 9 + 64 * 64 * 9 + 32 * 64) * 8**2 + 2 * (2 * 64 * 64 * 9 * 8**2)
    assert macs(SPACE, SPACE.default) == stem + first + second + third + 64 * 10


def test_extremes_and_ties():
    values = [macs(SPACE, config) for config in SPACE]
    assert len(set(values)) == 25
    assert min(values) == macs(SPACE, "[1,1,8]")
    assert max(values) == macs(SPACE, "[8,1,1]")


@pytest.mark.parametrize(("affine", "count"), [(True, 272_474), (False, 270_906)])
def test_parameters_are_those_of_the_real_network(affine, count):
    network = ResNet(SPACE, affine=affine)
    assert parameters(SPACE, affine) == sum(p.numel() for p in network.parameters()) == count


def test_more_classes_widen_the_last_layer_alone():
    assert parameters(SPACE, classes=100) - parameters(SPACE) == 90 * (64 + 1)
    assert macs(SPACE, "[4,3,3]", classes=100) - macs(SPACE, "[4,3,3]") == 90 * 64


def test_a_space_without_a_backbone_cannot_be_costed():
    other = PoolingSpace("odd", (2, 1), 2, Config((1, 1)), "synthetic")
    with pytest.raises(UsageError, match="odd can be enumerated but not trained or costed yet"):
        macs(other, other.default)
    with pytest.raises(UsageError, match="odd can be enumerated but not trained or costed yet"):
        parameters(other)


# The other spaces: parameters, millions of MACs of the default, of the fewest and the most (with who has them), the mean.
OTHERS = {
    "resnet18-cifar10": (11_173_962, 555.42272, 201.52832, "[1,1,1,6]", 2241.532928, "[6,1,1,1]", 626.9599451),
    "resnet50-cifar100": (23_705_252, 1222.516736, 398.139392, "[1,1,1,14]", 10609.369088, "[14,1,1,1]", 2047.4006967),
    "resnet50-food101": (23_714_981, 3856.132096, 1556.064256, "[1,1,1,13]", 32603.367424, "[13,1,1,1]", 7049.9458757),
    "resnet18-imagenet": (11_689_512, 1814.073344, 980.750336, "[1,1,1,5]", 6977.785856, "[5,1,1,1]", 2415.6348416),
}
CLASSES = {"resnet18-cifar10": 10, "resnet50-cifar100": 100, "resnet50-food101": 101, "resnet18-imagenet": 1000}
EACH = pytest.mark.parametrize("name", OTHERS)


@EACH
def test_costs_of_the_other_spaces_are_those_of_the_specification(name):
    count, default, least, who_least, most, who_most, mean = OTHERS[name]
    space, classes = load_space(name), CLASSES[name]
    values = {config: macs(space, config, classes) / 1e6 for config in space}
    assert parameters(space, classes=classes) == count
    assert values[space.default] == pytest.approx(default, abs=1e-9)
    assert min(values.values()) == values[Config.parse(who_least)] == pytest.approx(least, abs=1e-9)
    assert max(values.values()) == values[Config.parse(who_most)] == pytest.approx(most, abs=1e-9)
    assert sum(values.values()) / len(values) == pytest.approx(mean, abs=1e-6)


@EACH
def test_costs_of_every_configuration_of_the_other_spaces_are_those_of_the_real_network(name):
    """torch counts the first layer, every block at every resolution and the head; a configuration is a sum of them."""
    space, classes = load_space(name), CLASSES[name]
    side = space.backbone.side

    def counted(call, *inputs):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            call(*inputs)
        return counter.get_total_flops()

    with FakeTensorMode():  # shapes without numbers
        network = ResNet(space, classes).eval()
        image = torch.zeros(1, 3, side, side)
        fixed = counted(network.stem, image) + counted(network.head, torch.zeros(1, space.backbone.features, 4, 4))
        before = [channels for channels, _, _ in space.backbone.blocks][-len(network.blocks) :]
        blocks = [
            [counted(block, torch.zeros(1, channels, space.sizes[0], space.sizes[0]), r) for r in range(4)]
            for block, channels in zip(network.blocks, before, strict=True)
        ]
        for config in space:
            expected = fixed + sum(row[r] for row, r in zip(blocks, config.path[1:], strict=True))
            assert 2 * macs(space, config, classes) == expected, config
        for config in (space[0], space.default, space[-1]):  # and the whole is the sum
            assert counted(network, image, config.path) == 2 * macs(space, config, classes)
        for affine in (True, False):
            made = ResNet(space, classes, affine=affine)
            assert parameters(space, affine, classes) == sum(p.numel() for p in made.parameters())


def test_configurations_outside_the_space_are_refused():
    with pytest.raises(UsageError, match=r"\[4,3,4\] is not in resnet20-cifar10"):
        macs(SPACE, "[4,3,4]")
