"""What convolutions have learned: numbers worked out beforehand, and what must not move them."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

from benchmark.channels.metrics import Side, evbmf, rank_slope, ranks, sides
from benchmark.errors import UsageError


@pytest.fixture(scope="module")
def example():
    """(what is low-rank, the noise): a matrix of rank 3, (20, 50)."""
    draw = np.random.default_rng(0)
    left, right, noise = (draw.standard_normal(shape) for shape in ((20, 3), (3, 50), (20, 50)))
    return left @ right, noise


def kernels():
    """Two weights of convolutions with their sides, (channels out, channels in, height, width)."""
    draw = np.random.default_rng(2)
    out, into, noise = (draw.standard_normal(shape) for shape in ((12, 4), (4, 8, 3, 3), (12, 8, 3, 3)))
    wide = np.einsum("or,rixy->oixy", out, into) + 0.3 * noise
    draw = np.random.default_rng(2)
    out, into, noise = (draw.standard_normal(shape) for shape in ((24, 5), (5, 16), (24, 16)))
    point = (out @ into + 0.3 * noise).reshape(24, 16, 1, 1)
    return {
        "3x3": (wide, Side(0.125, 1.0, 0.125), Side(0.333333, 2.077286, 0.223868)),
        "1x1": (point, Side(0.3125, 3.414190, 0.203067), Side(0.208333, 3.414190, 0.135378)),
    }


# EVBMF ----------------------------------------------------------------------------------------------------------------


def test_low_rank_singular_values(example):
    low_rank, noise = example
    found = evbmf(low_rank + 0.1 * noise)
    assert found == pytest.approx([40.433083, 23.408470, 18.797665], abs=1e-6)
    assert found.dtype == np.float64
    raw = np.linalg.svd(low_rank + 0.1 * noise, compute_uv=False)
    assert raw[:4] == pytest.approx([40.450064, 23.437781, 18.834146, 1.004859], abs=1e-6)
    assert (found < raw[:3]).all()  # shrunk, not just cut off


def test_the_variance_of_the_noise_may_be_given(example):
    low_rank, noise = example
    matrix = low_rank + 0.1 * noise
    assert evbmf(matrix, sigma2=0.01) == pytest.approx([40.432757, 23.407907, 18.796965], abs=1e-6)
    assert evbmf(matrix, sigma2=0.009811639) == pytest.approx(evbmf(matrix), abs=1e-6)
    assert len(evbmf(matrix, sigma2=1e-4)) == 20  # nothing is noise
    assert len(evbmf(matrix, sigma2=1e3)) == 0  # all is


def test_more_noise_hides_more(example):
    low_rank, noise = example
    assert evbmf(low_rank + 3.0 * noise) == pytest.approx([28.814343], abs=1e-6)


def test_without_noise_nothing_is_shrunk(example):
    low_rank, _ = example
    assert evbmf(low_rank) == pytest.approx(np.linalg.svd(low_rank, compute_uv=False)[:3], rel=1e-9)


def test_the_threshold_is_that_of_the_paper(example):
    """With the variance 0.009811639 given, values above 1.260939 stay and those below go."""
    for value, rank in ((1.260942, 3), (1.260936, 2)):
        matrix = np.zeros((20, 50))
        matrix[[0, 1, 2], [0, 1, 2]] = 40.0, 20.0, value
        assert len(evbmf(matrix, sigma2=0.009811639)) == rank


def test_a_matrix_and_its_transpose_are_one(example):
    matrix = example[0] + 0.1 * example[1]
    assert evbmf(matrix.T).tolist() == evbmf(matrix).tolist()
    assert evbmf(np.ascontiguousarray(matrix.T)).tolist() == evbmf(matrix).tolist()
    assert evbmf(matrix.T, sigma2=0.01).tolist() == evbmf(matrix, sigma2=0.01).tolist()


@pytest.mark.parametrize("scale", [1000.0, -1.0, 1e-12, 1e-200, 1e200])
def test_a_multiple_of_a_matrix_gives_that_multiple(example, scale):
    matrix = example[0] + 0.1 * example[1]
    assert evbmf(scale * matrix) == pytest.approx(abs(scale) * evbmf(matrix), rel=1e-7)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
@pytest.mark.parametrize("seed", range(4))
def test_the_rank_of_a_decaying_spectrum_does_not_hang_on_the_scale(seed, scale):
    """Peers search the variance itself, to an absolute precision: there, 48 becomes 21 or 14."""
    matrix = decaying(seed)
    assert 20 < len(evbmf(matrix)) < 60
    assert len(evbmf(scale * matrix)) == len(evbmf(matrix))


@pytest.mark.parametrize("shape", [(16, 144), (144, 16), (32, 32), (1, 30)])
def test_noise_has_rank_0(shape):
    found = evbmf(np.random.default_rng(1).standard_normal(shape))
    assert found.shape == (0,)
    assert found.dtype == np.float64


@pytest.mark.parametrize("shape", [(3, 5), (5, 3), (1, 1)])
def test_nothing_has_rank_0(shape):
    assert evbmf(np.zeros(shape)).shape == (0,)
    assert evbmf(np.zeros(shape), sigma2=1.0).shape == (0,)
    assert evbmf(np.full(shape, 1e-200), sigma2=1.0).shape == (0,)


@pytest.mark.parametrize(("shape", "cap"), [((32, 288), 28), ((32, 32), 15), ((3, 144), 2), ((1, 30), 0)])
def test_the_estimated_rank_is_capped(shape, cap):
    """At ceil(L / (1 + L / M)) - 1, as the bound on the variance has it: full rank is never found."""
    for base in (1.0, 1.3, 2.0, 10.0):
        assert len(evbmf(np.diag(base ** -np.arange(shape[0])) @ np.eye(*shape))) <= cap
    if cap == 2:  # and no lower
        assert len(evbmf(np.diag([1.0, 0.1, 0.01]) @ np.eye(*shape))) == cap


def test_a_matrix_that_is_mostly_zero_is_no_special_case():
    matrix = np.zeros((20, 50))
    matrix[[0, 1], [0, 1]] = 3.0, 2.0
    assert evbmf(matrix) == pytest.approx([3.0, 2.0])
    assert evbmf(np.ones((4, 6))) == pytest.approx([np.sqrt(24)])


def test_torch_and_numpy_alike(example):
    matrix = example[0] + 0.1 * example[1]
    expected = evbmf(matrix)
    assert isinstance(expected, np.ndarray)
    for given in (torch.from_numpy(matrix), torch.from_numpy(matrix).requires_grad_(), matrix.tolist()):
        assert evbmf(given).tolist() == expected.tolist()
    single = evbmf(torch.from_numpy(matrix).float())
    assert single.dtype == np.float64  # worked out in double precision, whatever came in
    assert single.tolist() == evbmf(matrix.astype(np.float32)).tolist()
    assert single == pytest.approx(expected, rel=1e-5)
    assert len(evbmf(torch.from_numpy(matrix).bfloat16())) == 3
    whole = np.rint(10 * matrix).astype(int)
    assert evbmf(whole).tolist() == evbmf(whole.astype(float)).tolist() != []


@pytest.mark.parametrize(
    ("matrix", "sigma2", "said"),
    [
        ([[1.0, np.nan]], None, "not finite"),
        ([[1.0, np.inf]], 0.1, "not finite"),
        (torch.tensor([[1.0, -torch.inf]]), None, "not finite"),
        ([1.0, 2.0], None, r"shape \(2,\)"),
        (np.zeros((2, 3, 3)), None, r"shape \(2, 3, 3\)"),
        (np.zeros((0, 3)), None, r"shape \(0, 3\)"),
        (np.eye(3), 0.0, "sigma2 is 0.0"),
        (np.eye(3), -1.0, "sigma2 is -1.0"),
        (np.eye(3), np.nan, "sigma2 is nan"),
    ],
)
def test_what_is_no_matrix_is_refused(matrix, sigma2, said):
    with pytest.raises(UsageError, match=said):
        evbmf(matrix, sigma2)


def decaying(seed):
    draw = np.random.default_rng(seed)
    matrix = draw.standard_normal((64, 64)) * np.exp(-np.arange(64) / 12) @ draw.standard_normal((64, 576))
    return matrix + 0.05 * draw.standard_normal((64, 576))


def loosely(matrix):
    """The rank by the release's search: of the variance itself, to an absolute 1e-5; nothing scaled."""
    L, M = matrix.shape
    eigenvalues = np.linalg.svd(matrix, compute_uv=False) ** 2 / M
    alpha = L / M
    x_bar = (1 + 2.5129 * np.sqrt(alpha)) * (1 + np.sqrt(alpha) / 2.5129)

    def energy(variance):
        x = eigenvalues / variance
        y = x[x > x_bar]
        tau = (y - 1 - alpha + np.sqrt((y - 1 - alpha) ** 2 - 4 * alpha)) / 2
        noise = x[x <= x_bar]
        return np.sum(noise - np.log(noise)) + np.sum(y - tau + np.log((tau + 1) / y) + alpha * np.log(tau / alpha + 1))

    k = int(np.ceil(L / (1 + alpha)) - 1)
    bounds = max(eigenvalues[k] / x_bar, eigenvalues[k:].mean()), eigenvalues.mean()
    found = minimize_scalar(energy, bounds=bounds, method="bounded")
    return int((eigenvalues > found.x * x_bar).sum())


@pytest.mark.parametrize("seed", range(4))
def test_as_loose_as_the_release(seed):
    """There the rank hangs on the scale of the weights, as published deltas do."""
    matrix = decaying(seed)
    small = [matrix * scale for scale in (0.003, 0.01, 1.0)]
    assert [len(evbmf(one, release=True)) for one in small] == [loosely(one) for one in small]
    assert len({len(evbmf(one)) for one in small}) == 1
    assert len({loosely(one) for one in small}) > 1
    weight = small[0].reshape(64, 64, 3, 3)
    assert sides(weight, release=True)[1].rank == loosely(small[0]) / 64 != sides(weight)[1].rank


# Convolutions, slopes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", kernels())
def test_both_sides_of_a_convolution(name):
    weight, *expected = kernels()[name]
    for given in (weight, torch.from_numpy(weight)):
        for found, side in zip(sides(given), expected, strict=True):
            assert vars(found) == pytest.approx(vars(side), abs=1e-6)


def test_sides_swap_with_the_channels():
    weight = kernels()["3x3"][0]
    assert sides(np.swapaxes(weight, 0, 1)) == sides(weight)[::-1]


def test_a_convolution_that_learned_nothing_has_nothing():
    assert sides(np.zeros((4, 3, 3, 3))) == (Side(0.0, 0.0, 0.0), Side(0.0, 0.0, 0.0))
    depthwise, _ = sides(np.random.default_rng(0).standard_normal((16, 1, 3, 3)))
    assert depthwise == Side(0.0, 0.0, 0.0)
    with pytest.raises(UsageError, match="four dimensions"):
        sides(np.zeros((4, 3)))


def test_all_convolutions_are_measured_and_nothing_else():
    network = torch.nn.Sequential(
        torch.nn.Conv2d(8, 12, 3),
        torch.nn.BatchNorm2d(12),
        torch.nn.Linear(5, 5),
        torch.nn.Conv2d(16, 24, 1, bias=False),
    )
    with torch.no_grad():
        for place, name in ((0, "3x3"), (3, "1x1")):
            network[place].weight.copy_(torch.from_numpy(kernels()[name][0]))
    assert np.array(ranks(network)) == pytest.approx(np.array([[0.125, 0.333333], [0.3125, 0.208333]]), abs=1e-6)


@pytest.mark.parametrize(
    ("history", "slope"),
    [
        ([0.1, 0.2, 0.35, 0.5, 0.5, 0.45], 0.133328889),
        ([0.4, 0.3, 0.2], 0.0),
        ([0.0, 0.1, 0.3, 0.2, 0.6, 0.9], 0.179996400),
        ([0.3], 0.0),
        ([0.0, 0.0], 0.0),
    ],
)
def test_rank_slope(history, slope):
    for given in (history, np.array(history), torch.tensor(history, dtype=torch.float64)):
        assert rank_slope(given) == pytest.approx(slope, abs=1e-9)
    assert rank_slope(np.array(history) + 0.05) == pytest.approx(slope, abs=1e-9)


@pytest.mark.parametrize("history", [[], [[0.1, 0.2]], [0.1, np.nan]])
def test_a_slope_of_anything_else_is_refused(history):
    with pytest.raises(UsageError, match="one finite rank per epoch"):
        rank_slope(history)


SIZES = [(16, 27), (16, 144), (32, 144), (32, 288), (64, 288), (64, 576), (32, 16), (64, 32), (32, 32), (48, 432)]


def rank_at_the_lowest(Y, points=1001):
    """The rank where the free energy, written out here once more, is lowest on a grid between the bounds."""
    L, M = sorted(Y.shape)
    alpha = L / M
    tau_bar = 2.5129 * np.sqrt(alpha)
    x_bar = (1 + tau_bar) * (1 + alpha / tau_bar)
    eigenvalues = np.linalg.svd(Y, compute_uv=False) ** 2 / M
    k = int(np.ceil(L / (1 + alpha))) - 1
    low = max(eigenvalues[k] / x_bar, eigenvalues[k:].mean())
    variances = np.linspace(low, max(low, eigenvalues.mean()), points)
    x = eigenvalues / variances[:, None]
    signal, b = x > x_bar, x - (1 + alpha)
    tau = np.where(signal, b + np.sqrt(np.where(signal, b**2 - 4 * alpha, 0)), 2) / 2
    gain = np.where(signal, np.log1p(tau) + alpha * np.log1p(tau / alpha) - tau, 0)
    best = variances[(x - np.log(x) + gain).sum(1).argmin()]
    return int((eigenvalues > best * x_bar).sum())


@pytest.mark.parametrize(("signal", "differ"), [(False, 1), (True, 7)])
def test_how_often_one_minimum_is_not_the_lowest(signal, differ):
    """What the docstring of the search for the noise says."""
    draw, off = np.random.default_rng(0), []
    for number in range(200):
        rows, columns = SIZES[number % len(SIZES)]
        Y = draw.standard_normal((rows, columns))
        if signal:
            rank = int(draw.integers(1, min(rows, columns) // 2 + 1))
            scale = draw.uniform(0.05, 1)
            Y = scale * draw.standard_normal((rows, rank)) @ draw.standard_normal((rank, columns)) + Y
        off.append(abs(len(evbmf(Y)) - rank_at_the_lowest(Y)))
    assert sum(each > 0 for each in off) == differ
    assert max(off) == 1
