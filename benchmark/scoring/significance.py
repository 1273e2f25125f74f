"""Which configurations of a table differ by more than their seeds do. No torch; scipy loads when it is asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from benchmark.scoring.noise import LEVEL, Estimates, Pooled

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray


@dataclass(frozen=True)
class Significance:
    """Two configurations of n and m seeds differ where their means lie more than step x sqrt(1/n + 1/m) apart.

    step   in points; infinite where none differ
    pairs  how many pairs of configurations differ
    """

    step: float
    pairs: int

    def worse(self, known: Estimates) -> Iterator[tuple[int, Array]]:
        """Each configuration, and which ones are significantly worse: its position and (C,) booleans."""
        import numpy as np

        for place, (mean, n) in enumerate(zip(known.means, known.n, strict=True)):
            yield place, known.means < mean - self.step * np.sqrt(1 / n + 1 / known.n)


def significance(known: Estimates, noise: Pooled) -> Significance:
    """Student's t-test of every pair of means with the pooled std and its degrees of freedom, as in a one-way analysis of
    variance, p-values adjusted over all pairs (Benjamini and Hochberg, 1995), at most 5 %.

    No p-value is worked out. Of m pairs their rule keeps the largest k of which k have p <= 0.05 k / m: from k = m on,
    those that lie far enough apart for a p of that are counted, and their number is the next k, until it stays. To count
    takes a sort.
    """
    import numpy as np
    from scipy.stats import t

    by_n = {int(n): np.sort(known.means[known.n == n]) for n in np.unique(known.n)}

    def apart(step: float) -> int:
        return sum(
            int(np.searchsorted(worse, better - step * math.sqrt(1 / n + 1 / m)).sum())
            for (n, better), (m, worse) in product(by_n.items(), repeat=2)
        )

    every = math.comb(len(known.means), 2)
    kept, found = -1, every
    while found not in (kept, 0):
        kept = found
        step = noise.std * float(t.isf(LEVEL * kept / every / 2, noise.freedom))
        found = apart(step)
    return Significance(step, found) if found else Significance(math.inf, 0)
