"""DynOPool: its cells against poolings and samples by hand, its gradient against differences, and a planted resolution."""

import math

import numpy as np
import planted
import pytest
import torch
import torch.nn.functional as F
from planted import SPACE, Planted, recipe, task
from torch.autograd import gradcheck

from benchmark.spaces import costs
from nas_methods.dynopool import Method, block_macs, pool, pooled_size


def noise(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def ratios(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(("aggregate", "pooling"), [("max", F.max_pool2d), ("average", F.avg_pool2d)])
def test_at_one_half_samples_are_pixels_and_cells_are_pooled_by_two(aggregate, pooling):
    x = noise(2, 3, 8, 12)
    assert pooled_size((8, 12), (0.5, 0.5), 32) == (4, 6)
    torch.testing.assert_close(pool(x, ratios(0.5, 0.5), (4, 6), aggregate), pooling(x, 2), rtol=0, atol=1e-12)


@pytest.mark.parametrize("given", [(0.37, 0.71), (1.0, 1.0), (1.3, 0.2)])
@pytest.mark.parametrize(("aggregate", "combined"), [("max", np.max), ("average", np.mean)])
def test_a_cell_combines_four_bilinear_samples_around_its_centre(given, aggregate, combined):
    """By torch's own sampling, cell by cell: the centre of a cell of 1 / r pixels, and a quarter of a cell around it."""
    height, width = 9, 7
    x = noise(1, 1, height, width)
    size = pooled_size((height, width), given, 32)
    assert size == tuple(round(side * r) for side, r in zip((height, width), given, strict=True))
    found = pool(x, ratios(*given), size, aggregate)[0, 0]
    for i in range(size[0]):
        for j in range(size[1]):
            samples = []
            for up in (-0.25, 0.25):
                for right in (-0.25, 0.25):
                    y, z = (i + 0.5 + up) / given[0], (j + 0.5 + right) / given[1]  # in pixels from the edge
                    at = torch.tensor([[[[2 * z / width - 1, 2 * y / height - 1]]]], dtype=torch.float64)
                    samples.append(F.grid_sample(x, at, padding_mode="border", align_corners=False).item())
            assert found[i, j].item() == pytest.approx(combined(samples), abs=1e-12)


@pytest.mark.parametrize(("ratio", "side"), [(0.01, 1), (0.46, 15), (0.51, 16), (0.99, 32), (3.0, 32)])
def test_sides_are_rounded_and_stay_between_one_and_the_first_layers(ratio, side):
    assert pooled_size((32, 32), (ratio, 0.5), 32) == (side, 16)


@pytest.mark.parametrize("aggregate", ["max", "average"])
@pytest.mark.parametrize("given", [(0.37, 0.71), (1.13, 0.29)])
def test_gradients_against_finite_differences(aggregate, given):
    """Of maps of the same size: the rounding has no gradient."""
    x, r = noise(1, 2, 9, 7).requires_grad_(), ratios(*given).requires_grad_()
    size = pooled_size((9, 7), given, 32)
    assert gradcheck(lambda x, r: pool(x, r, size, aggregate), (x, r))
    (found,) = torch.autograd.grad(pool(x, r, size, aggregate).square().sum(), r)
    assert found.abs().min() > 0


def test_where_samples_are_pixels_the_gradient_still_moves_the_ratio():
    """Between two slopes of the interpolation it is one of them, not 0: else no ratio would ever leave 1/2."""
    r = ratios(0.5, 0.5).requires_grad_()
    (found,) = torch.autograd.grad(pool(noise(2, 3, 8, 8), r, (4, 4)).square().sum(), r)
    assert found.abs().min() > 0.1


def test_ratios_that_a_step_drove_off_are_brought_back():
    values = torch.full((9, 2), 1e6)
    values[3:, 0] = -1e6
    sizes = Method().settle(values, SPACE)
    assert sizes == 3 * [(1, 1)] + 6 * [(32, 1)]  # a map of one row may grow again
    assert values[:2].tolist() == [[32, 32], [1, 1]]
    assert values[3:5].tolist() == [[1 / 32, 1], [1, 1]]
    x = torch.randn(1, 2, 1, 1)
    assert torch.equal(pool(x, torch.tensor([32.0, 1.0]), (32, 1)), x.expand(1, 2, 32, 1))


def test_the_cost_is_the_share_of_macs_that_is_left():
    strides = Method().start(SPACE)  # of whole ratios, so the same as if counted
    level = costs.path_macs(SPACE, SPACE.default.path[:1] + (0,) * 9)
    outside = costs.path_macs(SPACE, (0, *[(1, 1)] * 9)) - sum(block_macs(SPACE))  # the stem and the classifier
    expected = (costs.macs(SPACE, SPACE.default) - outside) / (level - outside)
    assert Method(cost=2.0).penalty(strides, SPACE).item() == pytest.approx(2 * expected)
    assert Method().penalty(strides, SPACE) is None
    assert block_macs(SPACE)[:4] == [2 * 9 * 16 * 16] * 3 + [9 * 16 * 32 + 9 * 32 * 32 + 16 * 32]


class Waves(Planted):
    """Sure of an answer as far as a wave is there that large cells average away, or as far as it is gone."""

    periods, there = 4, 1

    def stem(self, x):
        wave = torch.cos(2 * math.pi * self.periods * torch.arange(32) / 32)
        return torch.cat((super().stem(x), (wave + wave[:, None]).expand(len(x), 1, 32, 32)), 1)

    def head(self, x):
        power = x[:, 10:].square().mean((2, 3))
        sure = 10 * power if self.there else 5 - 20 * power
        return x[:, :10].mean((2, 3)) * sure + self.bias + 0 * self.weight.sum()


class Gone(Waves):
    periods, there = 3, 0


def learned(network):
    images = planted.planted_images(8, 1), planted.planted_images(8, 2)
    given = task(lambda model: network(), *images, recipe=recipe(epochs=12, batch_size=8, momentum=0.5))
    return Method(size_lr=0.05, aggregate="average").rank(given).history


def test_ratios_go_where_alone_the_answer_is_to_be_had():
    kept, averaged = learned(Waves), learned(Gone)
    assert kept["sizes"][0][-1] == averaged["sizes"][0][-1] == [8, 8]
    assert min(kept["sizes"][-1][-1]) > 16
    assert max(averaged["sizes"][-1][-1]) < 6
    for history in (kept, averaged):
        assert history["loss"][-1] < 0.7 * history["loss"][0]
