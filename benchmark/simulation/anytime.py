"""How good incumbents are at any time: regret with its spread over searches, mean ranks, and the random-search line."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmark.scoring.estimate import tidy
from benchmark.simulation.problem import Problem
from benchmark.simulation.replay import Trace

if TYPE_CHECKING:
    import numpy as np

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


@dataclass(frozen=True)
class Curve:
    """Regret of one optimiser's incumbents over simulated time, in points; each array has one entry per time.

    mean, error  over searches, and the standard error of that mean
    quantiles    (5, times): those of QUANTILES
    rank         mean place among the optimisers at that time, 1 the best, ties shared; None for one optimiser alone
    found        share of searches whose incumbent is the best there is, by what judges
    """

    mean: np.ndarray
    error: np.ndarray
    quantiles: np.ndarray
    rank: np.ndarray | None
    found: np.ndarray


def regrets(traces: Sequence[Trace], times: np.ndarray) -> np.ndarray:
    """(searches, times): regret of the incumbent at each time, in points; before the first answer, a blind choice's."""

    import numpy as np

    rows = []
    for trace in traces:
        steps = np.array([trace.blind, *(event.regret for event in trace.events)])
        ends = np.array([event.ended for event in trace.events])
        rows.append(steps[np.searchsorted(ends, times, side="right")])
    return np.array(rows)


def curves(traces: Mapping[str, Sequence[Trace]], times: np.ndarray) -> dict[str, Curve]:
    """The curve of each optimiser. All have searches of the same seeds, which are ranked seed by seed."""

    import numpy as np

    by_name = {name: regrets(found, times) for name, found in traces.items()}
    ranks = _ranks(np.stack(list(by_name.values()))).mean(axis=1) if len(by_name) > 1 else None
    return {
        name: Curve(
            found.mean(axis=0),
            found.std(axis=0, ddof=1) / math.sqrt(len(found)),
            np.quantile(found, QUANTILES, axis=0),
            None if ranks is None else ranks[place],
            (found == 0).mean(axis=0),
        )
        for place, (name, found) in enumerate(by_name.items())
    }


def _ranks(values: np.ndarray) -> np.ndarray:
    """Ranks along the first axis, from 1, the mean of the places where values are equal."""
    lower = (values[None] < values[:, None]).sum(axis=1)
    equal = (values[None] == values[:, None]).sum(axis=1)
    return lower + (equal + 1) / 2


def random_line(problem: Problem) -> np.ndarray:
    """(C,): regret to be expected of random search after 1, 2, ... C full trainings, exactly.

    Of k configurations without replacement the one that is r-th from below in what is seen leads with the chance
    C(r - 1, k - 1) / C(C, k); its regret is by what judges. Of those that are seen alike the first drawn leads, so each
    with the same chance. The mean over the seeds that may be seen.
    """

    import numpy as np

    size = len(problem.space)
    worth = np.mean([_worth(s, j) for s, j in zip(problem.seen[:, :, -1], problem.judged, strict=True)], axis=0)
    rank, chance, line = np.arange(size), np.full(size, 1 / size), [float(worth.mean())]
    for k in range(2, size + 1):
        chance = chance * (rank - k + 2) / (k - 1) * k / (size - k + 1)  # 0 from r = k - 2 down
        line.append(float(chance @ worth))
    return np.array(line)


def _worth(seen: np.ndarray, judged: np.ndarray) -> np.ndarray:
    """(C,): regret of the r-th from below in what is seen, r from 0; where several are seen alike, their mean."""

    import numpy as np

    _, places, counts = np.unique(seen, return_inverse=True, return_counts=True)
    means = np.bincount(places, weights=judged.max() - judged) / counts
    return np.repeat(means, counts)


def draws_to_best(size: int) -> float:
    """Trainings after which random search without replacement meets the best of so many, on average: (C + 1) / 2."""
    return (size + 1) / 2


def to_dict(curve: Curve) -> dict[str, Any]:
    """Plain lists, one number per time."""
    listed = {"mean": curve.mean, "standard_error": curve.error, "found": curve.found}
    listed |= {f"q{round(100 * q)}": row for q, row in zip(QUANTILES, curve.quantiles, strict=True)}
    if curve.rank is not None:
        listed["mean_rank"] = curve.rank
    return {key: [tidy(float(x)) for x in values] for key, values in listed.items()}
