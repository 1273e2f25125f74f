"""What the paper prints of the methods that it compares: rows of its Tables 1 and 2, taus of its Figure 3. No torch.

The rows of a method stand in the method's own file, as `VARIANTS`; here stand those that belong to none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Published:
    """A row of Table 1 or 2, as printed.

    table, row     which; rows are counted from 1, headings aside
    name           of the row
    architecture   "[5,3,2]", or the figure that draws it
    accuracy, std  of that architecture trained from scratch, per cent
    hours          GPU hours of the search; None where none are printed
    """

    table: int
    row: int
    name: str
    architecture: str
    accuracy: float
    std: float
    hours: float | None = None


@dataclass(frozen=True)
class Variant:
    """One way to run a method in the comparison.

    options    those that differ from the method's defaults
    published  the rows of Tables 1 and 2 that it answers to
    tau        Kendall's tau that Figure 3 prints for it
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    published: tuple[Published, ...] = ()
    tau: float | None = None


ROWS = {1: 8, 2: 10}  # how many rows each table has
DEFAULT = (
    Published(1, 1, "Default", "[4,3,3]", 90.52, 0.1),
    Published(2, 7, "Default", "[4,3,3]", 90.52, 0.1),
)
BEST = Published(2, 10, "Best configuration (brute force)", "[7,1,2]", 92.01, 0.12, 98.0)
