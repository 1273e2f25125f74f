"""What a convolution's weights have learned: EVBMF, rank, condition, knowledge gain, and the slope of a rank.

Weights are unfolded to a matrix from both sides, the noise is taken off by empirical variational Bayes (Nakajima et al.,
JMLR 2013), and what remains counts (Hosseini et al., CONet, 2021, equations 1 to 3; Hosseini and Plataniotis, AdaS, 2020).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from benchmark.errors import UsageError

Matrix = np.ndarray | torch.Tensor


def evbmf(Y: Matrix, sigma2: float | None = None, release: bool = False) -> np.ndarray:
    """Singular values of the low-rank part of a noisy matrix, descending, float64; empty for rank 0.

    The analytic solution of empirical variational Bayesian matrix factorisation, fully observed (Nakajima et al.,
    JMLR 2013). Y and its transpose give the same, and a multiple of Y gives that multiple.

    Y: (rows, columns) of finite numbers. sigma2: variance of the noise; estimated if not given.
    release: estimates it as loosely as the authors' release does, for whoever compares with published deltas; the rank
    of a multiple of Y is then another one.
    Raises UsageError for anything else.
    """
    Y = Y.detach().to("cpu", torch.float64).numpy() if isinstance(Y, torch.Tensor) else np.asarray(Y, np.float64)
    if Y.ndim != 2 or Y.size == 0:
        raise UsageError(f"a matrix of shape {Y.shape}: EVBMF needs rows and columns")
    if not np.isfinite(Y).all():
        raise UsageError("the matrix holds numbers that are not finite: EVBMF needs finite ones")
    if sigma2 is not None and not 0 < sigma2 < math.inf:
        raise UsageError(f"sigma2 is {sigma2}: the variance of the noise must be finite and above 0")
    scale = float(np.abs(Y).max())
    if scale == 0:
        return np.empty(0)
    L, M = sorted(Y.shape)
    wide = Y if len(Y) == L else Y.T  # the same matrix from either side: the same bits
    s = np.linalg.svd(wide / scale, compute_uv=False)  # scaled: squares of tiny weights would be zero
    s = np.maximum(s, 1e-10 * s[0])
    alpha = L / M
    tau_bar = 2.5129 * math.sqrt(alpha)  # exact for alpha = 1; kept for all, as everywhere in the literature
    x_bar = (1 + tau_bar) * (1 + alpha / tau_bar)
    tolerance = 1e-5 / scale / scale if release else None
    variance = _noise(s**2 / M, alpha, x_bar, tolerance) if sigma2 is None else sigma2 / scale / scale
    s = s[s > math.sqrt(M * variance * x_bar)]
    q = 1 - (L + M) * variance / s**2
    return scale * s / 2 * (q + np.sqrt(q**2 - 4 * L * M * variance**2 / s**4))


def _noise(eigenvalues: np.ndarray, alpha: float, x_bar: float, tolerance: float | None) -> float:
    """The variance of the noise that minimises the free energy; eigenvalues (L,): s^2 / M, descending.

    tolerance: how exactly; None: to 1e-8 of its lower bound, as in the original (which searches in multiples of it).
    By a bounded search for one minimum, again as there, which need not be the lowest. Against the lowest of a dense grid, for
    200 matrices of the sizes that ResNet20 and ResNet34 unfold to: of noise alone the rank is another one for 1; of low rank
    under noise for 7; of decaying spectra for 16 (of singular values i^-a, a from 0.3 to 2), each time by 1, up or down. In
    wide layers it can be more: of spectra that decay at 128 x 1152, 75 in the place of 100.
    """
    from scipy.optimize import minimize_scalar

    k = math.ceil(len(eigenvalues) / (1 + alpha)) - 1
    low = max(eigenvalues[k] / x_bar, eigenvalues[k:].mean())
    high = eigenvalues.mean()

    def free_energy(times: float) -> float:
        x = eigenvalues / (low * times)
        signal = x[x > x_bar]
        b = signal - (1 + alpha)
        tau = (b + np.sqrt(b**2 - 4 * alpha)) / 2
        return float((x - np.log(x)).sum() + (np.log1p(tau) + alpha * np.log1p(tau / alpha) - tau).sum())

    if high <= low:
        return float(low)
    # In multiples of the lower bound, or the rank would depend on the scale of the weights.
    exactness = {"xatol": 1e-8 if tolerance is None else tolerance / low}
    found = minimize_scalar(free_energy, bounds=(1, high / low), method="bounded", options=exactness)
    return float(low * found.x)


@dataclass(frozen=True)
class Side:
    """What a convolution has learned, seen from its input or its output channels (CONet, eqs. 1 and 2; Adas).

    rank       R, singular values that are no noise, as a share of the channels
    condition  kappa, the largest of them over the smallest
    gain       KG, their sum over the largest, as a share of the channels

    All three are 0 where everything is noise.
    """

    rank: float
    condition: float
    gain: float


def sides(weight: Matrix, release: bool = False) -> tuple[Side, Side]:
    """(input side, output side) of a convolution's weight (channels out, channels in / groups, height, width).

    release: with the noise estimated as in the authors' release (`evbmf`).
    """
    weight = weight if isinstance(weight, torch.Tensor) else torch.from_numpy(weight)
    if weight.dim() != 4:
        raise UsageError(f"a weight of shape {tuple(weight.shape)}: that of a convolution has four dimensions")
    return _side(weight.transpose(0, 1), release), _side(weight, release)


def _side(weight: torch.Tensor, release: bool) -> Side:
    channels = len(weight)
    values = evbmf(weight.reshape(channels, -1), release=release)
    if len(values) == 0:
        return Side(0.0, 0.0, 0.0)
    return Side(len(values) / channels, float(values[0] / values[-1]), float((values / values[0]).sum() / channels))


def ranks(network: nn.Module) -> list[list[float]]:
    """R of every convolution of a network, (convolutions, 2): input side and output side, in order of registration."""
    return [[side.rank for side in sides(weight)] for weight in network.parameters() if weight.dim() == 4]


def rank(network: nn.Module) -> dict[str, float]:
    """A probe for a training: the mean R of all convolutions and both sides, as the curve `rank`. It changes nothing."""
    return {"rank": float(np.mean(ranks(network)))}


def rank_slope(history: Sequence[float] | np.ndarray) -> float:
    """S: the rise of a mean rank from the first epoch to that of its (first) maximum, per epoch; 0 or more.

    history: one value per epoch, (E,). The 1e-4 in the denominator is the authors' code's.
    """
    values = np.asarray(history, np.float64)
    if values.ndim != 1 or values.size == 0 or not np.isfinite(values).all():
        raise UsageError(f"a rank slope needs one finite rank per epoch, not {str(history)[:60]}")
    peak = int(values.argmax())
    return float((values[peak] - values[0]) / (peak + 1e-4))
