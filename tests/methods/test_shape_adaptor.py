"""ShapeAdaptor: its sum against its branches, its gradient against differences, and planted branches."""

import math
from itertools import pairwise

import numpy as np
import planted
import pytest
import torch
import torch.nn.functional as F
from planted import SPACE, Planted, PlantedBlock, recipe, task
from torch.autograd import gradcheck

from benchmark.errors import UsageError
from benchmark.spaces import networks
from benchmark.spaces.space import SPACES, Backbone, Config, PoolingSpace
from nas_methods.shape_adaptor import Method, adapt, adapted, adapted_size, spread


def noise(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("alpha", "scale", "branch"), [(-800.0, 0.5, 0), (800.0, 1.0, 1)])
def test_at_its_ends_it_is_one_of_its_branches(alpha, scale, branch):
    low, high = noise(2, 3, 4, 6), noise(2, 3, 8, 12, seed=1)
    size = adapted_size((8, 12), scale)
    found = adapt(low, high, torch.tensor(alpha, dtype=torch.float64), size)
    assert torch.equal(found, (low, high)[branch])
    assert Method().scales(torch.tensor([alpha]), 32) == [scale]


@pytest.mark.parametrize("alpha", [-0.7, 0.0, 1.9])
def test_between_them_it_is_their_weighed_sum_at_a_size_between(alpha):
    low, high = noise(2, 3, 5, 4), noise(2, 3, 9, 7, seed=1)
    weight = 1 / (1 + math.exp(-alpha))
    size = adapted_size((9, 7), 0.5 + 0.5 * weight)
    assert size == (math.floor(9 * (1 + weight) / 2), math.floor(7 * (1 + weight) / 2))
    one, other = (F.interpolate(x, size, mode="bilinear", align_corners=True) for x in (low, high))
    found = adapt(low, high, torch.tensor(alpha, dtype=torch.float64), size)
    torch.testing.assert_close(found, (1 - weight) * one + weight * other, rtol=0, atol=1e-12)


def test_gradients_against_finite_differences():
    """That of alpha comes by the weights: the side has none."""
    given = noise(1, 2, 4, 5).requires_grad_(), noise(1, 2, 8, 9, seed=1).requires_grad_()
    alpha = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda low, high, alpha: adapt(low, high, alpha, (6, 7)), (*given, alpha))
    (found,) = torch.autograd.grad(adapt(*given, alpha, (6, 7)).square().sum(), alpha)
    assert found.abs() > 0.1


@pytest.mark.parametrize("widths", [(4, 4), (4, 6)])
def test_in_a_block_the_skip_is_pooled_and_the_sum_doubled(widths):
    block = networks.BasicBlock(widths[0], widths[1], widths[1], (8, 4), affine=True).double()
    x = noise(2, 4, 7, 8)
    alpha = torch.tensor(0.4, dtype=torch.float64)
    pooled = F.max_pool2d(F.pad(x, (0, 0, 0, 1), value=-math.inf), 2)  # 4 x 4
    skip = pooled if block.projection is None else block.projection(pooled)
    branch = block.norm2(block.conv2(F.relu(block.norm1(block.conv1(x)))))
    weight = torch.sigmoid(alpha)
    one, other = (F.interpolate(y, (5, 6), mode="bilinear", align_corners=True) for y in (skip, branch))
    expected = F.relu(2 * ((1 - weight) * one + weight * other))
    torch.testing.assert_close(adapted(block, x, alpha, (5, 6)), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("count", "blocks", "places"), [(4, 9, (1, 3, 5, 7)), (4, 8, (1, 3, 5, 7)), (3, 9, (1, 4, 7)), (3, 3, (0, 1, 2))]
)
def test_adaptors_are_spread_evenly(count, blocks, places):
    assert spread(count, blocks) == places


def test_at_the_start_they_bring_the_first_side_to_the_standard_networks_last():
    values = Method().start(SPACE)
    assert values.tolist() == pytest.approx(4 * [-0.346], abs=1e-3)
    assert math.prod(Method().scales(values, 32)) * 32 == pytest.approx(8)
    sizes = Method().settle(values, SPACE)
    assert sizes == [(side, side) for side in (32, 32, 22, 22, 15, 15, 10, 10, 7)]


@pytest.mark.parametrize("limit", [1, 5, 12, 40])
def test_under_a_limit_the_last_side_keeps_to_it_whatever_is_learned(limit):
    for values in (torch.full((4,), 30.0), torch.tensor([-3.0, 9.0, 0.0, 2.0])):
        free, bound = (Method(limit=given).scales(values, 32) for given in (0, limit))
        last = Method(limit=limit).settle(values, SPACE)[-1]
        assert last[0] <= limit
        assert last[0] >= 1
        assert len({round(b / f, 9) for b, f in zip(bound, free, strict=True)}) == 1  # all are lowered alike
        assert (bound == free) == (math.prod(free) * 32 <= limit)


@pytest.mark.parametrize("alpha", [-1e6, 1e6])
def test_adaptors_that_are_driven_off_leave_one_pixel_or_the_whole_map(alpha):
    values = torch.full((9,), alpha)
    method = Method(adaptors=9)
    sides = [size[0] for size in method.settle(values, SPACE)]
    assert sides == ([32, 16, 8, 4, 2, 1, 1, 1, 1] if alpha < 0 else 9 * [32])
    x = torch.randn(2, 2, 32, 32)
    out = method.run([PlantedBlock(number) for number in range(9)], x, values)
    assert out.isfinite().all()


@pytest.mark.parametrize("adaptors", [2, 10])
def test_adaptors_that_cannot_reach_the_last_side_are_refused(adaptors):
    with pytest.raises(UsageError, match=rf"adaptors is {adaptors}: .*it must be a whole number from 3 to 9"):
        Method(adaptors=adaptors).start(SPACE)


def test_by_default_every_space_has_as_many_as_it_needs():
    short = PoolingSpace(
        "short", (32, 16), 4, Config((2, 2)), "synthetic", Backbone("basic", (4, 4, 8, 16), "cifar", 32)
    )
    for space in [*SPACES.values(), short]:
        values = Method().start(space)
        assert space.poolings < len(values) < space.depth
        assert math.prod(Method().scales(values, space.sizes[0])) == pytest.approx(space.sizes[-1] / space.sizes[0])


class Surer(PlantedBlock):
    """Its branch says the answer louder than the skip does."""

    def branch(self, x):
        return 1.5 * x


class Quieter(PlantedBlock):
    def branch(self, x):
        return 0.5 * x


class Dim(Planted):
    """So unsure of an answer that every block may still make it surer."""

    def head(self, x):
        return super().head(0.05 * x)


def learned(kind, **options):
    def network(model):
        made = Dim()
        made.blocks = [kind(number) for number in range(9)]
        return made

    images = planted.planted_images(8, 1), planted.planted_images(8, 2)
    given = task(network, *images, recipe=recipe(epochs=12, batch_size=8))
    return Method(**{"every": 1, "size_lr": 5.0} | options).rank(given)


def test_scales_go_where_alone_the_answer_is_to_be_had():
    whole, halved = learned(Surer), learned(Quieter)
    assert whole.history["sizes"][0] == halved.history["sizes"][0]
    assert whole.history["sizes"][-1][-1][0] > 12
    assert halved.history["sizes"][-1][-1][0] < 5
    assert np.argmax(whole.scores) > np.argmax(halved.scores)


def test_they_take_one_step_every_so_many_iterations():
    values = learned(Surer, every=5).history["values"]
    assert [one != other for one, other in pairwise(values)] == [step % 5 == 0 for step in range(1, 13)]
