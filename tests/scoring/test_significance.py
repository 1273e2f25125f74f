"""Pairs that differ significantly: found by counting, and the same as from all p-values."""

import math

import numpy as np
import pytest
from scipy.stats import false_discovery_control, t

from benchmark.scoring.noise import Estimates, Pooled
from benchmark.scoring.significance import significance


def by_p_values(known, noise):
    """(C, C): whether the second of two is significantly worse, from the p-values of all pairs."""
    i, j = np.triu_indices(len(known.means), k=1)
    difference = known.means[i] - known.means[j]
    error = noise.std * np.sqrt(1 / known.n[i] + 1 / known.n[j])
    differ = false_discovery_control(2 * t.sf(abs(difference) / error, noise.freedom)) <= 0.05
    found = np.zeros((len(known.means),) * 2, bool)
    found[i, j], found[j, i] = differ & (difference > 0), differ & (difference < 0)
    return found


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spread", [0.0, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("seeds", [(3,), (2, 3, 9)], ids=["as many seeds each", "unequal seeds"])
def test_the_pairs_are_those_of_benjamini_and_hochberg(spread, seeds, seed):
    draw = np.random.default_rng(seed)
    n = draw.choice(seeds, size=40)
    # to two decimals, so that some means and many differences are tied
    means = np.round(90 + spread * draw.standard_normal(40) + draw.standard_normal(40) / np.sqrt(n), 2)
    known, noise = Estimates(means, np.ones(40), n), Pooled(1.0, int((n - 1).sum()))
    found, expected = significance(known, noise), by_p_values(known, noise)
    assert [place for place, _ in found.worse(known)] == list(range(40))
    assert np.array_equal([worse for _, worse in found.worse(known)], expected)
    assert found.pairs == expected.sum()
    assert found.pairs > 100 or spread < 3


def test_without_noise_any_difference_is_one():
    known = Estimates(np.array([1.0, 2.0, 2.0, 1.0 + 1e-12]), np.zeros(4), np.array([2, 3, 2, 2]))
    found = significance(known, Pooled(0.0, 5))
    assert found.pairs == 5
    assert [worse.tolist() for _, worse in found.worse(known)] == [
        [False] * 4,
        [True, False, False, True],
        [True, False, False, True],
        [True, False, False, False],
    ]


@pytest.mark.parametrize("means", [[5.0], [5.0, 5.0, 5.0], [5.0, 5.1, 5.2]])
def test_where_none_differ_there_is_no_step(means):
    known = Estimates(np.array(means), np.ones(len(means)), np.full(len(means), 2))
    found = significance(known, Pooled(1.0, len(means)))
    assert (found.step, found.pairs) == (math.inf, 0)
    assert not any(worse.any() for _, worse in found.worse(known))
