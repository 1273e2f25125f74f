"""Numbers with their intervals, and as they are kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

DIGITS = 8  # significant ones that are kept: the last bits of a sum differ from processor to processor

Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval; None where it cannot be had."""

    value: float | None
    interval: Interval | None


def tidy(value: float) -> float:
    """The number to 8 significant digits."""
    return float(f"{value:.{DIGITS}g}")


def finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
