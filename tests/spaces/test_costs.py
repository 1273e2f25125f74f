"""Parameters and MACs counted by hand, against torch's own counter and the real network."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmark.errors import UsageError
from benchmark.spaces.costs import macs, parameters, path_macs
from benchmark.spaces.networks import ResNet
from benchmark.spaces.space import load_space

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


def test_other_spaces_cannot_be_costed_yet():
    other = load_space("resnet18-cifar10")
    with pytest.raises(UsageError, match="resnet18-cifar10 can be enumerated but not trained or costed yet"):
        macs(other, other.default)
    with pytest.raises(UsageError, match="resnet18-cifar10 can be enumerated but not trained or costed yet"):
        parameters(other)


def test_configurations_outside_the_space_are_refused():
    with pytest.raises(UsageError, match=r"\[4,3,4\] is not in resnet20-cifar10"):
        macs(SPACE, "[4,3,4]")
