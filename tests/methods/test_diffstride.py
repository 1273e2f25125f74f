"""DiffStride: its transform against sums written out, its gradient against differences, and a planted resolution."""

import math

import numpy as np
import planted
import pytest
import torch
from planted import SPACE, Planted, recipe, task
from torch.autograd import gradcheck

from nas_methods.diffstride import Method, bounds, column_window, pool, pooled_size, row_window


def written_out(x, s_v, s_h, smoothness):
    """A map (H, W) by the formulas, one frequency at a time."""
    height, width = x.shape
    kept_v, kept_h = max(height / s_v, 2), max(width / s_h, 2)
    spectrum = {}
    for k in range(-(height // 2), (height + 1) // 2):
        n = k if k >= 0 else -k - (1 - height % 2)  # an even side has one more negative frequency
        vertical = min(max((smoothness + kept_v / 2 - n) / smoothness, 0), 1)
        for m in range(width // 2 + 1):
            horizontal = min(max((smoothness + kept_h / 2 + 1 - m) / smoothness, 0), 1)
            if vertical * horizontal > 0:
                waves = np.exp(-2j * np.pi * k * np.arange(height) / height)[:, None]
                waves = waves * np.exp(-2j * np.pi * m * np.arange(width) / width)
                spectrum[k, m] = vertical * horizontal * (x * waves).sum()
    rows, columns = len({k for k, _ in spectrum}), len({m for _, m in spectrum})
    side = max(1, 2 * (columns - 1))
    found = np.zeros((rows, side))
    for (k, m), value in spectrum.items():
        wave = np.exp(2j * np.pi * k * np.arange(rows) / rows)[:, None] * np.exp(
            2j * np.pi * m * np.arange(side) / side
        )
        twice = 1 if m in (0, side / 2) else 2  # the other half of the spectrum is its mirror image
        found += twice * (value * wave).real / (rows * side)
    return found


def noise(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def strides(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(16, 16), (15, 13), (12, 17), (2, 3), (1, 1)])
@pytest.mark.parametrize("given", [(2.0, 2.0), (1.3, 3.7), (8.0, 1.0)])
def test_a_map_is_what_the_formulas_say(shape, given):
    x = noise(1, 1, *shape)
    expected = written_out(x[0, 0].numpy(), *given, 4.0)
    np.testing.assert_allclose(pool(x, strides(*given))[0, 0].numpy(), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("size", "given", "expected"),
    [
        ((64, 64), (2, 4), (40, 24)),
        ((32, 32), (2, 2), (24, 24)),
        ((24, 24), (2, 2), (20, 20)),
        ((20, 20), (10, 12), (10, 10)),
    ],
)
def test_kept_maps_are_larger_than_a_stride_leaves(size, given, expected):
    assert pooled_size(size, torch.tensor(given), 4.0) == expected
    assert tuple(pool(torch.zeros(1, 1, *size), torch.tensor(given)).shape[2:]) == expected


def test_without_smoothness_the_spectrum_is_cropped():
    """Spectral pooling: the 18 middle rows and columns of the spectrum, at a stride of 2 from 32."""
    x = noise(2, 3, 32, 32)
    middle = np.fft.fftshift(np.fft.rfft2(x.numpy()), axes=2)[:, :, 7:25, :10]
    expected = np.fft.irfft2(np.fft.ifftshift(middle, axes=2), s=(18, 18))
    np.testing.assert_allclose(pool(x, strides(2, 2), 1e-9).numpy(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("side", [31, 32])
def test_every_stride_gives_a_map_of_the_size_that_is_foretold(side):
    before = (side, side)
    for stride in np.linspace(1, 8, 29):
        given = torch.tensor([stride, stride])
        size = pooled_size((side, side), given, 4.0)
        cut = pool(torch.randn(1, 2, side, side), given)
        assert tuple(cut.shape[2:]) == size
        assert cut.isfinite().all()
        assert all(10 <= now <= then for now, then in zip(size, before, strict=True))  # 10 is 2 R + 2
        assert abs(size[0] - min(side, side / stride + 8)) <= 2
        before = size


@pytest.mark.parametrize(("shape", "given"), [((12, 16), (2.3, 1.7)), ((13, 15), (1.6, 3.1)), ((10, 10), (1.7, 1.9))])
def test_gradients_against_finite_differences(shape, given):
    x, s = noise(1, 2, *shape).requires_grad_(), strides(*given).requires_grad_()
    assert gradcheck(pool, (x, s))
    # And by hand, of the windowed sum: the cut has none.
    weights = noise(*pooled_size(shape, s, 4.0))
    (found,) = torch.autograd.grad((weights * pool(x, s)).sum(), s)
    for axis in range(2):
        step = 1e-6 * torch.eye(2, dtype=torch.float64)[axis]
        there, back = ((weights * pool(x, s.detach() + sign * step)).sum() for sign in (1, -1))
        assert found[axis].item() == pytest.approx((there - back).item() / 2e-6, rel=1e-5)
    assert found.abs().min() > 0


@pytest.mark.parametrize("side", [6, 8, 9, 13, 32])
def test_at_its_bounds_a_stride_can_be_moved_and_outside_it_cannot(side):
    def slope(stride):
        s = strides(stride).requires_grad_()
        (row_window(side, s[0], 4.0).sum() + column_window(side, s[0], 4.0).sum()).backward()
        return s.grad.item()

    low, high = bounds(side, 4.0)
    assert 1 <= low <= high == side / 2
    assert slope(low) != 0
    assert slope(high) != 0
    assert slope(high + 0.1) == 0  # it would never come back
    if side in (9, 13, 32):
        assert low == side / (side - 4)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 5])
def test_a_map_that_is_too_small_to_be_cut_is_left_in_its_size(side):
    low, high = bounds(side, 4.0)
    assert 1 <= low <= high
    cut = pool(torch.ones(1, 1, side, side), torch.tensor([low, high]))
    assert tuple(cut.shape[2:]) == (side, max(1, side - side % 2))
    assert cut.isfinite().all()


def test_strides_that_a_step_drove_off_are_brought_back():
    values = torch.full((9, 2), 1e6)
    values[3:] = -1e6
    sizes = Method().settle(values, SPACE)
    assert sizes == 9 * [(10, 10)]  # the smallest map that a stride leaves, and it stays
    assert values[0].tolist() == [16, 16]
    assert values[5].tolist() == pytest.approx([10 / 6] * 2)


def test_the_cost_is_the_sum_over_blocks_of_what_is_left():
    values = torch.tensor([[2.0, 1.0], [1.0, 4.0], [1.0, 1.0]], dtype=torch.float64)
    assert Method(cost=3.0).penalty(values, SPACE).item() == pytest.approx(3 * (1 / 2 + 1 / 8 + 1 / 8))
    assert Method().penalty(values, SPACE) is None


class Tones(Planted):
    """Sure of an answer as far as a wave of so many periods is there (sign +1) or gone (-1)."""

    sign, periods = 1, 10

    def stem(self, x):
        wave = torch.cos(2 * math.pi * self.periods * torch.arange(32) / 32)
        return torch.cat((super().stem(x), (wave + wave[:, None]).expand(len(x), 1, 32, 32)), 1)

    def head(self, x):
        answer = x[:, :10].mean((2, 3))
        scale = answer.sum(1, keepdim=True)  # transforms are not normalised
        power = (x[:, 10:] / scale[:, :, None, None]).square().mean((2, 3))  # 1 as it comes
        return answer / scale * (5 + 5 * self.sign * power) + self.bias + 0 * self.weight.sum()


class Noises(Tones):
    sign, periods = -1, 8


def learned(network):
    images = planted.planted_images(8, 1), planted.planted_images(8, 2)
    given = task(lambda model: network(), *images, recipe=recipe(epochs=12, batch_size=8))
    return Method(size_lr=5.0).rank(given)


def test_strides_go_where_alone_the_answer_is_to_be_had():
    """From maps of 20 pixels, which hold 10 periods and hardly more."""
    kept, cut = learned(Tones), learned(Noises)
    assert kept.history["sizes"][0][-1] == cut.history["sizes"][0][-1] == [20, 20]
    assert min(kept.history["sizes"][-1][-1]) >= 28
    assert max(cut.history["sizes"][-1][-1]) <= 12
    for ranking in (kept, cut):
        assert ranking.history["loss"][-1] < 0.2 * ranking.history["loss"][0]
    assert kept.pick == "[8,1,1]"
    assert SPACE.architecture(cut.pick).layers[0] < 8
