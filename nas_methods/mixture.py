"""Balanced mixture of supernets (paper, section 2.3): configurations find the model that suits them.

    python -m benchmark.evaluate --method mixture --M 4

M supernets. A matrix a[c, m] remembers the rewards of each pair; softmax(a / temperature) gives a joint p(c, m),
which iterative proportional fitting balances so that every configuration and every model is trained equally
often. Cost: E x M epochs of one supernet. Published: M = 4 finds [5,3,2], 91.55, in 6 GPU hours (Table 2); Figure 3
prints tau 0.142, 0.311, 0.533, 0.530 for M = 1, 2, 4, 8. M = 1 is SPOS, bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from benchmark.errors import UsageError
from benchmark.given import require_values
from benchmark.recipe import later
from nas_methods import Published, Task, Variant
from nas_methods.supernet import Sampler, State, Step

VERSION = 1

TOLERANCE = 1e-4  # delta of section 2.3: balanced when KL(p(m) || uniform) is no larger
PASSES = 1000


def balance(p: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    """The joint with uniform marginals that iterative proportional fitting makes of positive weights.

    p: (C, M), positive, any scale. Returns (C, M): every row sums to 1/C exactly, every column to 1/M within
    KL(p(m) || uniform) <= tolerance (at most 1,000 passes). Raises ValueError for anything but a matrix of
    finite positive weights.
    """
    p = np.asarray(p, dtype=np.float64)
    if p.ndim != 2 or p.size == 0 or not np.all(np.isfinite(p)) or not np.all(p > 0):
        raise ValueError("balance needs a matrix (C, M) of finite, positive weights")
    return _balance(np.log(p), tolerance)


def _balance(log_p: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    """`balance` of exp(log_p): in log space, where a low temperature cannot underflow."""
    configurations, models = log_p.shape
    log_p = log_p - _log_sum(log_p, axis=1) - np.log(configurations)
    for _ in range(PASSES):
        # Measured after the rows: right after a column step it is 0 by construction.
        p_model = np.exp(log_p).sum(axis=0)
        if np.sum(p_model * np.log(np.maximum(p_model, 1e-300) * models)) <= tolerance:
            break
        log_p = log_p - _log_sum(log_p, axis=0) - np.log(models)
        log_p = log_p - _log_sum(log_p, axis=1) - np.log(configurations)
    return np.exp(log_p)


def _log_sum(log_p: np.ndarray, axis: int) -> np.ndarray:
    top = log_p.max(axis=axis, keepdims=True)
    return top + np.log(np.exp(log_p - top).sum(axis=axis, keepdims=True))


@dataclass(frozen=True)
class Method(Sampler):
    """Balanced mixture of M supernets.

    M            number of supernets; training lasts E x M epochs
    temperature  `inverse`: 1/temperature rises from 1 to inverse_end with e/E, fixed within an epoch (the authors' release; the only one
                 that gives the nearly one-hot p(m|c) of their Figure 5); `linear`: max(1 - t/T, 1/(100 M))
                 (appendix B.1)
    decay        weight of the past in the moving average of the rewards; the paper takes 0.95 on ResNet18
    inverse_end  1/temperature of `inverse` at the end of the search; the paper takes 150 on ResNet50
    proxy        0 evaluates every configuration at the end; k > 0 ranks by the remembered rewards, evaluates only
                 the k best, and puts the rest below them
    """

    M: int = 4
    temperature: Literal["inverse", "linear"] = "inverse"
    decay: float = 0.9
    proxy: int = 0
    inverse_end: float = later(100.0)

    VARIANTS: ClassVar[tuple[Variant, ...]] = (
        Variant({"M": 1}, tau=0.142),
        Variant({"M": 2}, tau=0.311),
        Variant(
            {"M": 4},
            (
                Published(1, 8, "Balanced mixture, M = 4", "[5,3,2]", 91.55, 0.08),
                Published(2, 9, "Balanced mixture", "[5,3,2]", 91.55, 0.08, 6.0),
            ),
            tau=0.533,
        ),
        Variant({"M": 8}, tau=0.530),
        Variant({"M": 4, "temperature": "linear"}),
    )

    def __post_init__(self) -> None:
        require_values(self)
        if not 1 <= self.M <= 64:
            raise UsageError(f"M is {self.M}: the mixture needs 1 to 64 models")
        if not 0 <= self.decay < 1:
            raise UsageError(f"decay is {self.decay}: it must be at least 0 and below 1")
        if not 1 <= self.inverse_end < np.inf:
            raise UsageError(f"inverse_end is {self.inverse_end}: it must be finite and at least 1, where it starts")
        if self.proxy < 0:
            raise UsageError(f"proxy is {self.proxy}: 0 evaluates every configuration, k the k best")

    @property
    def models(self) -> int:
        return self.M

    def start(self, task: Task) -> State:
        return {"rewards": np.ones((len(task.space), self.M))}

    def heat(self, step: Step) -> float:
        """The temperature of equation 3 in an iteration."""
        if self.temperature == "linear":
            return max(1 - step.iteration / step.iterations, 1 / (100 * self.M))
        return 1 / (1 + (self.inverse_end - 1) * step.epoch / step.epochs)

    def joint(self, state: State, step: Step) -> np.ndarray:
        """p(c, m), balanced (C, M)."""
        return _balance(state["rewards"] / self.heat(step))

    def pick(self, state: State, step: Step) -> tuple[int, int]:
        configuration = int(step.configuration.integers(len(state["rewards"])))
        given = np.cumsum(self.joint(state, step)[configuration])  # p(m | c), up to its scale
        model = int(np.searchsorted(given, step.model.random() * given[-1], side="right"))
        return configuration, min(model, self.M - 1)

    def update(self, state: State, picked: tuple[int, int], reward: float) -> State:
        rewards = state["rewards"].copy()
        rewards[picked] = self.decay * rewards[picked] + (1 - self.decay) * reward
        return {"rewards": rewards}

    def assign(self, state: State, step: Step, configurations: int) -> np.ndarray:
        return self.joint(state, step).argmax(axis=1)  # ties go to the lowest model

    def shortlist(self, state: State, step: Step, configurations: int) -> tuple[np.ndarray, int] | None:
        if self.proxy == 0:
            return None
        models = self.assign(state, step, configurations)
        return state["rewards"][np.arange(configurations), models], min(self.proxy, configurations)

    def watch(self, state: State, step: Step) -> dict[str, np.ndarray]:
        return {"p(m|c)": self.joint(state, step) * len(state["rewards"])}
