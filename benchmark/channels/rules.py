"""How widths move from trial to trial (CONet, 2021, Algorithm 2), and the recipe of a search. No torch.

Of every width, alone: a slope of its mean rank below delta, or a condition of mu or more, shrinks it; anything else lets
it grow. Whenever that turns around, the step phi is halved, and once phi is below gamma the width is frozen. Where text
and code of the paper disagree, this is the code's (specification, section 8).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from benchmark.errors import UsageError
from benchmark.recipe import Recipe

SHRINK, FREEZE, EXPAND = -1, 0, 1


@dataclass(frozen=True, kw_only=True)
class ChannelRecipe(Recipe):
    """How the trials of a search are trained, and how widths move after each. The defaults are the preset `paper`.

    epochs     of one trial
    trials     trainings, one after the other, each of a fresh network
    updates    how many of them are followed by an update; None: all but the last, as in the release
    optimizer  `adas`: a rate per convolution, from what it learned (Hosseini and Plataniotis, 2020); `sgd`: `lr` throughout
    beta       Adas' momentum of rates
    start      all widths at the beginning; None: the network's own
    floor, cap between which widths stay. The release has 16 for DARTS cells and 32 for ResNet34, and 256
    phi        first step, as a share of the width
    gamma      of a phi below it, the next turn freezes the width
    mu         condition from which on a width shrinks
    sides      which ranks a width reads: `release`, the published maps, where there is one; `general`
    """

    epochs: int = 20
    batch_size: int = 128
    lr: float = 0.03
    weight_decay: float = 5e-4
    trials: int = 25
    updates: int | None = None
    optimizer: Literal["adas", "sgd"] = "adas"
    beta: float = 0.8
    start: int | None = 32
    floor: int = 32
    cap: int = 256
    phi: float = 0.2
    gamma: float = 0.01
    mu: float = 10.0
    sides: Literal["release", "general"] = "release"

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        # Small batches, or ranks would still be 0; three trials, so that something turns.
        "smoke": {"epochs": 2, "trials": 3, "train_images": 512, "eval_images": 256, "batch_size": 16},
    }
    CELLS: ClassVar[dict[str, Any]] = {"lr": 0.1, "floor": 16}  # of DARTS cells, as published

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("trials", "updates", "start", "floor", "cap"):
            value, least = getattr(self, name), 0 if name == "updates" else 1
            if value is not None and (type(value) is not int or value < least):
                raise UsageError(f"{name} is {value}: it must be a whole number of {least} or more")
        if self.updates is not None and self.updates > self.trials:
            raise UsageError(f"updates is {self.updates}: there are {self.trials} trials to learn from")
        if self.cap < self.floor:
            raise UsageError(f"cap is {self.cap}, below floor, {self.floor}: widths need room in between")
        for name, low, high in (("beta", 0.0, 0.9999), ("phi", 0.0, 1.0), ("gamma", 0.0, 1.0), ("mu", 1.0, math.inf)):
            value = getattr(self, name)
            if type(value) not in (int, float) or not low <= value <= high:
                raise UsageError(f"{name} is {value}: it must lie between {low} and {high}")
            object.__setattr__(self, name, float(value))

    @property
    def moves(self) -> int:
        """How many updates there are."""
        return self.trials - 1 if self.updates is None else self.updates


@dataclass(frozen=True)
class Moving:
    """Where one width stands.

    last  what was done at the last update: SHRINK, EXPAND, FREEZE; None before the first
    """

    width: int
    phi: float
    last: int | None = None


def moved(now: Moving, slope: float, condition: float, delta: float, recipe: ChannelRecipe, unit: int = 2) -> Moving:
    """A width after an update (Algorithm 2; equation 5, rounded and bounded as in the release).

    slope, condition: S and kappa of the width's mean over the sides that read it. unit: what widths are multiples of.
    """
    if now.last == FREEZE:
        return now
    low = -(-recipe.floor // unit) * unit
    high = max(low, recipe.cap // unit * unit)  # of a unit above the cap, one
    shrinks = ((slope < delta or condition >= recipe.mu) and now.width > low) or now.width > high
    what, phi = SHRINK if shrinks else EXPAND, now.phi
    if now.last is not None and what != now.last:
        if phi < recipe.gamma:
            what = FREEZE
        phi /= 2
    width = unit * round(now.width * (1 + phi * what) / unit)  # halves go to the even multiple, as Python rounds
    return Moving(min(max(width, low), high), phi, what)


def why(now: Moving, after: Moving, slope: float, condition: float, delta: float, recipe: ChannelRecipe) -> str:
    """The decision in words."""
    if now.last == FREEZE:
        return "frozen"
    if after.last == FREEZE:
        return f"turns again at phi {now.phi:g} < gamma {recipe.gamma:g}: frozen"
    if after.last == EXPAND:
        at_floor = slope < delta or condition >= recipe.mu
        return "at the floor: grows" if at_floor else f"slope {slope:.4g} >= delta {delta:g}: grows"
    if slope < delta:
        return f"slope {slope:.4g} < delta {delta:g}: shrinks"
    if condition >= recipe.mu:
        return f"condition {condition:.4g} >= mu {recipe.mu:g}: shrinks"
    return f"above the cap {recipe.cap}: shrinks"
