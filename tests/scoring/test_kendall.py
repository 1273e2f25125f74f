"""tau-b of many tables at once: against all pairs, taken one by one, and against scipy's."""

import math
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import kendalltau

from benchmark.scoring.kendall import BASE, CHUNK, kendall


def by_pairs(table, scores, copies):
    """All pairs, one by one, in whole numbers."""
    difference = in_table = in_scores = 0
    for i, j in combinations(range(len(table)), 2):
        a, b = int(np.sign(table[i] - table[j])), int(np.sign(scores[i] - scores[j]))
        weight = int(copies[i]) * int(copies[j])
        difference, in_table, in_scores = (
            difference + weight * a * b,
            in_table + weight * a * a,
            in_scores + weight * b * b,
        )
    return difference / math.sqrt(in_table * in_scores) if in_table and in_scores else math.nan


@pytest.mark.parametrize("values", [1, 2, 7, 10**6], ids="{} values".format)
# the edges of the blocks of which all pairs are taken, and of one, two and four of them
@pytest.mark.parametrize("size", [1, 2, 3, BASE, BASE + 1, 2 * BASE, 2 * BASE + 1, 4 * BASE + 3])
def test_tau_is_that_of_all_pairs(size, values):
    draw = np.random.default_rng(size)
    tables, scores = draw.integers(values, size=(2, 5, size)).astype(float)
    copies = draw.multinomial(size, np.full(size, 1 / size), size=5)
    for weights in (None, copies, 1000 * copies, np.zeros_like(copies)):
        each = np.ones_like(copies) if weights is None else weights
        expected = [by_pairs(*of_one) for of_one in zip(tables, scores, each, strict=True)]
        assert np.array_equal(kendall(tables, scores, weights), expected, equal_nan=True)  # to the last bit
        expected = [by_pairs(table, scores[0], of_one) for table, of_one in zip(tables, each, strict=True)]
        assert np.array_equal(kendall(tables, scores[0], weights), expected, equal_nan=True)


@pytest.mark.parametrize("values", [3, 40, 10**6])
def test_tau_is_scipys_over_several_chunks(values):
    draw = np.random.default_rng(values)
    size = 700
    tables, scores = draw.integers(values, size=(2, CHUNK // size + 20, size)).astype(float)
    found = kendall(tables, scores)
    for place in (0, 1, -1):
        assert found[place] == pytest.approx(kendalltau(tables[place], scores[place]).statistic, abs=1e-12)
    assert np.array_equal(found[::-1], kendall(tables[::-1], scores[::-1]))


def test_a_table_that_is_larger_than_a_chunk_is_scored_all_the_same():
    tables = np.random.default_rng(0).integers(50, size=(2, CHUNK + 1)).astype(float)
    assert kendall(tables, tables[0]) == pytest.approx([1, kendalltau(*tables).statistic], abs=1e-12)


def test_order_and_sign_of_what_is_given():
    up = np.arange(100.0)
    assert kendall(np.stack([up, -up, up * 0]), up) == pytest.approx([1, -1, math.nan], nan_ok=True)
    assert np.isnan(kendall(np.stack([up, -up]), up * 0)).all()
    assert kendall(np.array([[0.0, -0.0, 1.0]]), np.array([1.0, 1.0, 2.0])) == [1]  # zeros of both signs are tied


def test_what_is_given_is_left_as_it_is():
    draw = np.random.default_rng(1)
    given = draw.standard_normal((3, 50)), draw.standard_normal(50), draw.integers(4, size=(3, 50))
    before = [array.copy() for array in given]
    kendall(*given)
    assert all(np.array_equal(*both) for both in zip(given, before, strict=True))
