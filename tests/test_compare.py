"""Comparisons: what is planted is found, what can be worked out by hand is that, and small n claims nothing."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import f_oneway, kendalltau, kstest, norm, t, ttest_1samp, ttest_ind

from benchmark.compare import main, write
from benchmark.errors import UsageError
from benchmark.recipe import CURVES, Recipe
from benchmark.scoring.comparison import compare
from benchmark.scoring.comparison_page import page
from benchmark.scoring.noise import pool
from benchmark.scoring.sides import seeds_needed, std_spread
from benchmark.spaces.costs import macs
from benchmark.spaces.space import SPACES, load_space
from benchmark.tables.files import load_table, write_table
from benchmark.tables.ledger import Ledger, Run
from benchmark.tables.table import GroundTruth, Origin, Row
from tests.kept import COMPARISONS, RESULTS

SPACE = load_space()
PUBLISHED = load_table("published")
WITHOUT_TORCH = """
import sys
from benchmark.{} import main
code = main(sys.argv[1:])
assert "torch" not in sys.modules, "torch was imported"
sys.exit(code)
"""


def table_of(values, name="a", curves=None, space=SPACE, dataset="cifar10", **more):
    """values: accuracies by number of the configuration, one per seed 0, 1, ... or by seed."""
    rows = []
    for number, found in values.items():
        by_seed = found if isinstance(found, dict) else dict(enumerate(found))
        rows.append(Row.of(space[number - 1], by_seed))
    return GroundTruth.from_rows(name, space, rows, Origin(dataset, **more), curves)


def lone(*means, start=1):
    """One seed each of configurations start, start + 1, ..."""
    return {number: [mean] for number, mean in enumerate(means, start)}


def pair(a, b, **more):
    return compare(table_of(a, "a"), table_of(b, "b"), draws=200, **more)


def planted(shift, noise=0.3, configs=8, seeds=3, seed=3):
    """Two tables of the same seeds: B's truth is A's, moved by shift(number) points; independent noise in both."""
    draw = np.random.default_rng(seed)
    truth = {number: 80.0 + number for number in range(1, configs + 1)}
    a, b = (
        {
            number: np.round(mean + move(number) + noise * draw.standard_normal(seeds), 2).tolist()
            for number, mean in truth.items()
        }
        for move in (lambda number: 0.0, shift)
    )
    return a, b


# --- do they rank alike? ---


def test_correlations_of_a_planted_order():
    """One pair of ten is turned: tau = (9 - 1) / 10, Spearman = 1 - 6 (1 + 1) / (5 x 24)."""
    found = pair(lone(80, 81, 82, 83, 84), lone(71, 72, 74, 73, 75))
    assert found.tau.value == pytest.approx(0.8)
    assert found.spearman.value == pytest.approx(0.9)
    assert found.pearson.value == pytest.approx(np.corrcoef([80, 81, 82, 83, 84], [71, 72, 74, 73, 75])[0, 1])
    reverse = pair(lone(80, 81, 82, 83, 84), lone(75, 74, 73, 72, 71))
    assert (reverse.tau.value, reverse.spearman.value) == (pytest.approx(-1), pytest.approx(-1))
    assert [line.a.rank for line in reverse.lines] == [5, 4, 3, 2, 1]
    assert [line.b.rank for line in reverse.lines] == [1, 2, 3, 4, 5]


def test_macs_stand_beside():
    numbers = (1, 9, 16, 36)
    truth = [macs(SPACE, SPACE[number - 1]) for number in numbers]
    by_macs = np.argsort(np.argsort(truth)).tolist()
    a = {number: [80.0 + place] for number, place in zip(numbers, by_macs, strict=True)}
    b = {number: [80.0 - place] for number, place in zip(numbers, by_macs, strict=True)}
    found = pair(a, b)
    assert found.a.macs.value == pytest.approx(1)
    assert found.b.macs.value == pytest.approx(-1)


def partial(one, other, given):
    """Kendall's of 1942, from scipy's tau-b."""
    between, with_one, with_other = (kendalltau(*p).statistic for p in ((one, other), (one, given), (other, given)))
    return (between - with_one * with_other) / math.sqrt((1 - with_one**2) * (1 - with_other**2))


def test_what_macs_tell_of_both_is_taken_out():
    draw = np.random.default_rng(4)
    a, b = ({number: [80 + float(x)] for number, x in enumerate(draw.random(36), 1)} for _ in range(2))
    one, other = ([values[0] for values in table.values()] for table in (a, b))
    counted = [macs(SPACE, config) for config in SPACE]
    found = pair(a, b)
    assert found.tau_given_macs.value == pytest.approx(partial(one, other, counted))
    # Accuracies that are MACs, and nothing besides, agree with nothing beyond them.
    by_macs = {number: [float(x)] for number, x in enumerate(20 + np.array(counted) / 3e6, 1)}
    alone = pair(by_macs, b)
    assert alone.tau.value == pytest.approx(kendalltau(counted, other).statistic)
    assert alone.tau_given_macs.value is None


def test_what_is_left_where_macs_explain_all_of_both():
    """Normal noise on normal scores of MACs: not 0, but what the docstring works out; over many tables, for each is 36."""
    draw = np.random.default_rng(6)
    order = np.argsort(np.argsort([macs(SPACE, config) for config in SPACE]))
    normal = norm.ppf((order + 0.5) / 36)
    found = []
    for _ in range(40):
        a, b = ({n: [50 + 5 * float(x)] for n, x in enumerate(normal + draw.normal(0, 1, 36), 1)} for _ in range(2))
        found.append(pair(a, b))
    tau = 0.5  # of normal variables with correlation 1 / sqrt(2)
    assert np.mean([one.a.macs.value for one in found]) == pytest.approx(tau, abs=0.03)
    shared = 2 / math.pi * math.asin(math.sin(math.pi * tau / 2) ** 2)
    left = (shared - tau**2) / (1 - tau**2)
    assert left == pytest.approx(0.111, abs=0.001)
    assert np.mean([one.tau_given_macs.value for one in found]) == pytest.approx(left, abs=0.04)


def test_a_table_that_macs_order_has_nothing_beyond_them_and_no_interval_of_nothing():
    counted = sorted({macs(SPACE, config): number for number, config in enumerate(SPACE, 1)}.items())
    a = {number: [50 + place + x for x in (-0.4, 0, 0.9)] for place, (_, number) in enumerate(counted)}
    found = pair(a, a)
    assert found.a.macs.value == pytest.approx(1)
    assert (found.a.late_given_macs.value, found.a.late_given_macs.interval) == (None, None)


def test_pooling_late_stands_beside():
    first = [config.layers[0] for config in SPACE]
    draw = np.random.default_rng(5)
    a = {number: [80.0 + n0 + x for x in draw.normal(0, 0.01, 3)] for number, n0 in enumerate(first, 1)}
    b = {number: [80.0 - n0 + x for x in draw.normal(0, 0.01, 3)] for number, n0 in enumerate(first, 1)}
    found = pair(a, b)
    means = [np.mean(values) for values in a.values()]
    assert found.a.late.value == pytest.approx(kendalltau(first, means).statistic)
    assert found.a.late.value > 0.9
    assert found.b.late.value < -0.9
    counted = [macs(SPACE, config) for config in SPACE]
    assert found.a.late_given_macs.value == pytest.approx(partial(first, means, counted))
    low, high = found.a.late.interval
    assert low <= found.a.late.value <= high
    assert "tau of pooling late with A" in page(found)


def test_the_chance_of_being_best():
    """Far ahead: certain. Equal means and noise: one half. Else by the t of few seeds, which has longer tails.

    With one std for all, the difference of two means of n seeds over std sqrt(2 / n) is Student's t, here of 3 x 2.
    """
    spread = (-0.1, 0.0, 0.1)  # std 0.1, of the mean 0.1 / sqrt(3)

    def chances(*means, seeds=spread):
        values = {number: [mean + x for x in seeds] for number, mean in enumerate(means, start=1)}
        return compare(table_of(values, "a"), table_of(values, "b"), draws=10).a.leaders.chances

    assert chances(80, 81, 99) == (
        pytest.approx(1, abs=0.001),
        pytest.approx(0, abs=0.001),
        pytest.approx(0, abs=0.001),
    )
    assert chances(20, 90, 90)[:2] == pytest.approx((0.5, 0.5), abs=0.004)
    gap = 2 * 0.1 / math.sqrt(3)
    by_hand = t.cdf(math.sqrt(2), 6)
    assert by_hand < norm.cdf(math.sqrt(2)) - 0.02  # what it would be if the std were known
    assert chances(20, 90, 90 + gap)[0] == pytest.approx(by_hand, abs=0.004)
    many = np.tile([-0.1, 0.1], 50)  # 100 seeds: normal after all
    near = many.std(ddof=1) / math.sqrt(100) * math.sqrt(2)
    assert chances(20, 90, 90 + near, seeds=many)[0] == pytest.approx(norm.cdf(1), abs=0.006)
    tied = {1: [80.0] * 3, 2: [90.0] * 3, 3: [90.0] * 3}
    assert pair(tied, tied).a.leaders.chances[:2] == pytest.approx((0.5, 0.5), abs=0.01)  # no noise: ties share


def test_tables_of_one_truth_agree_as_their_noise_allows():
    """The published stds at n = 3: 0.937 (0.91 to 0.965), simulated apart from this code."""
    found = compare(PUBLISHED, PUBLISHED)
    assert found.tau.value == pytest.approx(1)
    for simulated in (found.one_truth, found.a.ceiling.independent):
        assert simulated.mean == pytest.approx(0.937, abs=0.003)
        assert simulated.low == pytest.approx(0.91, abs=0.006)
        assert simulated.high == pytest.approx(0.965, abs=0.006)
    assert found.identical
    assert "the same content" in page(found)
    assert found.paired is None  # no values of single seeds


def test_the_same_seeds_are_redrawn_in_both_only_where_all_are_paired():
    draw = np.random.default_rng(0)
    values = {number: np.round(80 + draw.standard_normal(4), 2).tolist() for number in range(1, 9)}
    moved = {number: [x + 1 for x in found] for number, found in values.items()}
    together = pair(values, moved)
    assert together.jointly
    assert together.tau.interval == pytest.approx((1, 1))  # every draw of B is that of A, moved
    other_seeds = {number: {seed + 10: x for seed, x in enumerate(found)} for number, found in moved.items()}
    apart = pair(values, other_seeds)
    assert not apart.jointly
    assert apart.tau.interval[0] < 0.9
    # a single seed somewhere: noise is then drawn, and must not be the same in both
    with_lone = pair(values | {9: [81.0]}, moved | {9: [82.0]})
    assert not with_lone.jointly
    assert with_lone.tau.interval[0] < 0.9


def test_resolved_pairs_and_those_that_contradict():
    a = {1: [80.0, 80.1, 79.9], 2: [85.0, 85.1, 84.9], 3: [90.0, 90.1, 89.9], 4: [90.0, 90.1, 89.9]}
    b = {1: [70.0, 70.1, 69.9], 2: [79.0, 79.1, 78.9], 3: [75.0, 75.1, 74.9], 4: [70.0, 70.1, 69.9]}
    found = pair(a, b)
    one, two, three, four = map(str, SPACE.configs[:4])
    assert set(found.a.resolved) == {
        f"{better} > {worse}" for better, worse in [(two, one), (three, one), (four, one), (three, two), (four, two)]
    }  # 3 and 4 are equal
    assert set(found.b.resolved) == {
        f"{better} > {worse}" for better, worse in [(two, one), (three, one), (two, three), (two, four), (three, four)]
    }  # 1 and 4 are equal
    assert (found.resolved, found.agree) == (4, 2)
    assert found.contradictions == (f"{three} > {two}", f"{four} > {two}")
    assert f"they order 2 alike; the others, as A has them: {three} > {two}, {four} > {two}" in page(found)


def test_more_seeds_resolve_more():
    """A second seed that only repeats what is known of the noise must not cost what one seed resolved."""
    means = {number: 80 + 1.2 * number for number in range(1, 9)}
    one = {number: [mean] for number, mean in means.items()} | {9: [70.0, 70.5], 10: [70.1, 69.6], 11: [70.2, 70.7]}
    two = {number: [mean - 0.25, mean + 0.25] for number, mean in means.items()} | {k: one[k] for k in (9, 10, 11)}
    found = pair(one, two)
    assert found.a.pooled.std == pytest.approx(found.b.pooled.std)
    assert set(found.a.resolved) < set(found.b.resolved)


def test_how_far_apart_stds_lie():
    """By chance: in the middle, whatever the numbers of seeds. Alike to the last digit: at 0. Of two kinds: at 1."""
    draw = np.random.default_rng(2)

    def spread(stds, n):
        rows = [Row(config, 80.0, std, k) for config, std, k in zip(SPACE, stds, n, strict=True)]
        return std_spread(rows, np.random.default_rng(0))

    n = [2 + k % 3 for k in range(36)]
    chance = [spread([draw.standard_normal(k).std(ddof=1) for k in n], n) for _ in range(60)]
    assert kstest(chance, "uniform").pvalue > 0.01
    assert spread([0.1 + 0.0001 * k for k in range(36)], [3] * 36) == 0
    assert spread([0.1, 3.0] * 18, [3] * 36) == 1
    assert spread([0.1, 0.0] * 18, [3] * 36) is None


def test_two_that_borrow_one_std_have_its_freedom_and_no_more():
    """std 1 with 2 degrees of freedom; single seeds apart by d: Student's t = d / sqrt(2)."""
    edge, too_near = (t.isf(0.025, freedom) * math.sqrt(2) for freedom in (2, 4))  # 4 are what Welch would give
    assert too_near < edge - 2
    for gap, told in ((edge + 0.01, True), (edge - 0.01, False)):
        # The third, which lends its std, is far off: its two pairs are resolved, so that the last is tested at 5 %.
        rows = {1: [1.0], 2: [1.0 + gap], 3: [98.0, 99.0, 100.0]}
        found = pair(rows, rows)
        assert (f"{SPACE[1]} > {SPACE[0]}" in found.a.resolved) == told
        assert len(found.a.resolved) == 2 + told


@pytest.mark.parametrize(("effect", "n"), [(1.0, 17), (0.8, 26), (0.5, 64), (0.2, 394)])
def test_seeds_needed_are_those_of_the_books(effect, n):
    """Cohen's table and G*Power: two-sample t-test, two-sided 5 %, power 80 %."""
    assert seeds_needed(effect * 0.3, 0.3) == n


def test_seeds_needed_at_the_ends():
    assert seeds_needed(0, 0.3) is None
    assert seeds_needed(5, 0.001) == 2
    assert seeds_needed(5, 0) == 2
    assert seeds_needed(0.001, 0.1) == math.ceil(2 * (1.959964 + 0.841621) ** 2 * 100**2)


def test_leaders_count_the_runs_that_are_missing():
    spread = [-1.0, 0.0, 1.0]  # a std of 1
    a = {number: [mean + x for x in spread] for number, mean in enumerate((60, 70, 71, 80, 85, 90), start=1)}
    b = {number: [80 + x for x in spread] for number in a}
    found = pair(a, b)
    assert found.a.leaders.configs == tuple(str(SPACE[number - 1]) for number in (6, 5, 4, 3, 2))
    assert found.a.leaders.gaps == pytest.approx((5, 5, 9, 1))
    assert found.a.leaders.seeds[3] == 17  # one std
    assert found.a.leaders.more == 5 * (17 - 3)
    assert found.b.leaders.seeds == (None,) * 4
    assert found.b.leaders.more is None
    assert found.b.macs.value is None  # a constant ranks nothing
    assert found.tau.value is None


# --- noise ---


def test_pooled_std_by_hand():
    """Variances 1 and 18 of 3 and 2 seeds: (2 x 1 + 1 x 18) / 3."""
    rows = [Row.of(SPACE[0], {0: 79, 1: 80, 2: 81}), Row.of(SPACE[1], {0: 80, 1: 86}), Row.of(SPACE[2], {0: 50})]
    assert pool(rows).std == pytest.approx(math.sqrt(20 / 3))
    assert pool(rows).freedom == 3
    assert pool(rows[2:]) is None


def test_ratio_of_stds_by_hand():
    """Stds 1 and 2, four degrees of freedom each; F(0.975; 4, 4) = 9.6045."""
    found = pair({1: [79, 80, 81], 2: [89, 90, 91]}, {1: [78, 80, 82], 2: [88, 90, 92]})
    assert found.std_ratio.value == pytest.approx(2)
    assert found.std_ratio.interval == pytest.approx((2 / math.sqrt(9.6045), 2 * math.sqrt(9.6045)), rel=1e-4)
    assert (found.a.median, found.b.median) == (1, 2)


def test_intervals_of_a_configuration_are_welchs():
    a, b = [80.1, 80.4, 79.9, 80.2], [80.9, 81.6, 80.2]
    (line,) = pair({5: a}, {5: b}).lines
    expected = ttest_ind(b, a, equal_var=False).confidence_interval(0.95)
    assert line.delta.value == pytest.approx(np.mean(b) - np.mean(a))
    assert line.delta.interval == pytest.approx((expected.low, expected.high))
    assert (line.number, line.config) == (5, str(SPACE[4]))


def test_a_single_seed_borrows_the_pooled_std_and_says_so():
    a = {1: [79.0, 81.0], 2: [89.0, 91.0], 3: [70.0]}  # pooled std sqrt(2), two degrees of freedom
    b = {1: [79.0, 81.0], 2: [89.0, 91.0], 3: [72.0, 74.0]}
    found = pair(a, b)
    line = found.lines[2]
    assert found.a.lone == 1
    # Variances of the means: 2 / 1 with 2 degrees of freedom, 2 / 2 with 3; Welch's are 3^2 / (2^2 / 2 + 1 / 3) = 27 / 7.
    half = t.ppf(0.975, 27 / 7) * math.sqrt(3)
    assert line.delta.interval == pytest.approx((3 - half, 3 + half))
    assert "A has a single seed of 1 of the 3 configurations" in page(found)


def test_one_seed_each_knows_no_noise():
    a, b = planted(lambda number: 0.0, seeds=1)
    found = pair(a, b)
    assert found.tau.value > 0.8
    assert found.tau.interval is None
    assert (found.a.ceiling, found.a.resolved, found.a.leaders, found.one_truth, found.resolved) == (None,) * 5
    assert all(line.delta.interval is None for line in found.lines)
    assert found.std_ratio.value is None
    # the pairs are there all the same: eight differences have a std
    assert found.paired.pairs == 8
    assert found.paired.mean.interval is not None
    assert found.paired.heterogeneity is None
    assert "A has one seed per configuration: its noise is not known" in page(found)


# --- the same seeds in both ---


def test_paired_interval_by_hand():
    """0.1, 0.2, 0.3, 0.4: mean 0.25, std 0.129099, t(0.975; 3) = 3.182446."""
    found = pair({1: [80.0, 80.5], 2: [85.0, 85.5]}, {1: [80.1, 80.7], 2: [85.3, 85.9]}).paired
    half = 3.182446 * 0.1290994 / 2
    assert found.mean.value == pytest.approx(0.25)
    assert found.std == pytest.approx(0.1290994)
    assert found.mean.interval == pytest.approx((0.25 - half, 0.25 + half), rel=1e-5)
    assert found.equal is False
    assert found.least_margin == pytest.approx(0.25 + half)
    # of the two configurations: means 0.15 and 0.35, t(0.975; 1) = 12.7062
    assert found.of_configs.interval == pytest.approx((0.25 - 12.7062 * 0.1, 0.25 + 12.7062 * 0.1), rel=1e-5)
    # each: std within 0.0707107 with two degrees of freedom, t(0.975; 2) = 4.302653
    assert found.configs[0].mean.interval == pytest.approx((0.15 - 4.302653 * 0.05, 0.15 + 4.302653 * 0.05))
    assert found.configs[0].seeds == (0, 1)


def test_a_planted_shift_is_found_and_none_is_shown_to_be_small():
    shifted = pair(*planted(lambda number: 0.5)).paired
    assert shifted.pairs == 24
    assert shifted.mean.interval[0] > 0
    assert shifted.mean.interval[0] < 0.5 < shifted.mean.interval[1]
    assert shifted.equal is False
    a, b = planted(lambda number: 0.0)
    same = pair(a, b)
    assert same.paired.mean.interval[0] < 0 < same.paired.mean.interval[1]
    assert same.paired.equal is True
    assert same.paired.heterogeneity.p > 0.05
    assert "**Equal within 0.3 points**" in page(same)
    differences = np.concatenate([np.subtract(b[number], a[number]) for number in a])
    expected = ttest_1samp(differences, 0).confidence_interval(0.95)
    assert same.paired.mean.interval == pytest.approx((expected.low, expected.high))
    # the std of differences of independent noise: 0.3 sqrt(2), both ways of reckoning
    assert same.paired.std == pytest.approx(0.42, abs=0.1)
    assert same.paired.unpaired_std == pytest.approx(0.42, abs=0.1)
    assert pair(a, b, margin=0.05).paired.equal is False


def test_pairs_needed_by_hand():
    """(1.959964 + 1.281552)^2 x 0.129099^2 / 0.05^2 = 70.05"""
    found = pair({1: [80.0, 80.5], 2: [85.0, 85.5]}, {1: [80.1, 80.7], 2: [85.3, 85.9]}, margin=0.05).paired
    assert found.pairs_needed == 71


def test_heterogeneity_by_hand():
    """Differences 1, 2, 3 and 2, 3, 4: mean squares 1.5 and 1, F(1, 4) = 1.5; between sqrt(0.5 / 3)."""
    a = {1: [80.0, 80.0, 80.0], 2: [85.0, 85.0, 85.0]}
    found = pair(a, {1: [81.0, 82.0, 83.0], 2: [87.0, 88.0, 89.0]}).paired.heterogeneity
    assert (found.f, found.freedom) == (pytest.approx(1.5), (1, 4))
    assert found.p == pytest.approx(0.2879, abs=1e-4)
    assert found.within == pytest.approx(1)
    assert found.between.value == pytest.approx(math.sqrt(0.5 / 3))
    # F(0.975; 1, 4) = 12.2179 > 1.5; F(0.025; 1, 4) = 1 / 899.583
    assert found.between.interval == pytest.approx((0, math.sqrt((1.5 * 899.583 - 1) / 3)), rel=1e-4)


def test_heterogeneity_of_unequal_numbers_is_scipys_and_a_planted_one_is_found():
    a, b = planted(lambda number: 1.0 if number % 2 else -1.0)
    for number in (1, 2, 3):
        a[number], b[number] = a[number][:2], b[number][:2]
    result = pair(a, b)
    found = result.paired.heterogeneity
    expected = f_oneway(*(np.subtract(b[number], a[number]) for number in a))
    assert (found.f, found.p) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    assert found.freedom == (7, 13)
    low, high = found.between.interval
    assert low < 1 < high
    assert found.between.value == pytest.approx(1, abs=0.3)
    assert "of these configurations together, not of each" in page(result)


def test_only_common_seeds_are_paired():
    found = pair({1: {0: 80.0, 1: 80.5}, 2: {5: 81.0}}, {1: {1: 80.9, 2: 99.0}, 2: {6: 81.0}})
    assert found.paired.pairs == 1
    assert found.paired.configs[0].seeds == (1,)
    assert found.paired.mean.value == pytest.approx(0.4)
    assert (found.paired.mean.interval, found.paired.equal, found.paired.std) == (None,) * 3
    assert "cannot be told from 1 pair" in page(found)
    assert pair({1: {0: 80.0}}, {1: {1: 80.9}}).paired is None


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_it_says_why_equality_within_the_margin_is_not_answered(tmp_path, capsys, words):
    made = [
        write_table(table_of({1: {0: 80.0, 1: 80.1}, 2: {0: 81.0}}, name="one"), tmp_path),
        write_table(table_of({1: {2: 80.0}, 2: {3: 81.0}}, name="other"), tmp_path),
        write_table(table_of({1: {1: 80.0}, 2: {3: 81.0}}, name="paired"), tmp_path),
    ]
    a, other, shared = map(str, made)
    assert main([a, other, "--margin", "0.5", *words]) == 0
    said = "Equal within 0.5 points: not asked, for that takes pairs, and no configuration has a seed that is in both"
    assert said in capsys.readouterr().err
    assert main([a, "published", *words]) == 0
    assert "published states means alone, without the accuracy of each seed" in capsys.readouterr().err
    assert main([a, shared, *words]) == 0
    assert "not asked" not in capsys.readouterr().err


def test_equal_differences_are_no_certainty_unless_they_are_none():
    values = {1: [80.0, 80.3, 80.9], 2: [85.0, 85.1, 85.7]}
    moved = pair(values, {number: [x + 0.1 for x in found] for number, found in values.items()}).paired
    assert moved.mean.value == pytest.approx(0.1)
    assert (moved.mean.interval, moved.equal) == (None, None)
    same = pair(values, values).paired
    assert same.mean.interval == (0, 0)
    assert same.equal is True


# --- how fast the rankings settle ---


def curves_of(values, by_epoch):
    """Curves of two seeds around the planted accuracies: {number: one per epoch}."""
    curves = {}
    for number, accuracies in by_epoch.items():
        for seed, off in ((0, -0.25), (1, 0.25)):
            test = (*(x + off for x in accuracies[:-1]), values[number][seed])
            curves[SPACE[number - 1], seed] = {
                name: test if name == "test_accuracy" else (1.0,) * len(test) for name in CURVES
            }
    return curves


def test_settling_of_a_planted_table():
    """Of four configurations: all six pairs turned, then two, then one, then none."""
    ends = {1: 60.0, 2: 70.0, 3: 80.0, 4: 90.0}
    by_epoch = {1: (9, 5, 4, 60.0), 2: (8, 6, 6, 70.0), 3: (7, 4, 5.5, 80.0), 4: (6, 7, 7, 90.0)}
    values = {number: [x - 0.25, x + 0.25] for number, x in ends.items()}
    a = table_of(values, "a", curves_of(values, by_epoch))
    b = table_of({1: [60.0], 2: [70.0], 3: [90.0], 4: [80.0]}, "b")
    found = compare(a, b, draws=10)
    assert found.a.settling.own == pytest.approx((-1, 1 / 3, 2 / 3, 1))
    assert found.a.settling.other == pytest.approx((-2 / 3, 0, 1 / 3, 2 / 3))
    assert found.b.settling is None
    counted = [macs(SPACE, config) for config in SPACE.configs[:4]]
    order = np.sign([y - x for i, x in enumerate(counted) for y in counted[i + 1 :]])
    assert found.a.settling.own_macs == pytest.approx(order.sum() / math.sqrt(6 * np.abs(order).sum()))
    assert "- A with its own end: -1.00 0.33 0.67 1.00 (MACs" in page(found)
    assert compare(b, a, draws=10).b.settling == found.a.settling


def test_a_table_that_lacks_a_curve_has_no_settling():
    values = {1: [60.0, 60.5], 2: [70.0, 70.5], 3: [80.0, 80.5]}
    curves = curves_of(values, {1: (1, 60.0), 2: (2, 70.0)})
    assert compare(table_of(values, "a", curves), PUBLISHED, draws=10).a.settling is None


# --- tables of any kind ---


def test_partial_tables_are_compared_where_both_have_something():
    found = pair(lone(80, 81, 82, 83, 84, start=1), lone(90, 95, 91, 92, start=4))
    assert (found.size, found.of, found.a.holds, found.b.holds) == (2, 36, 5, 4)
    assert [line.number for line in found.lines] == [4, 5]
    assert [line.a.rank for line in found.lines] == [2, 1]  # among the compared
    assert "2 of 36 configurations of resnet20-cifar10 are in both tables" in page(found)
    one = pair(lone(80), {1: [79.0, 79.5]})
    assert (one.size, one.tau.value, one.b.ceiling, one.b.macs.value) == (1, None, None, None)
    assert "## Do they rank alike?" not in page(one)


def test_a_space_whose_macs_are_not_counted(monkeypatch):
    space = replace(load_space("resnet18-cifar10"), name="odd", backbone=None)
    monkeypatch.setitem(SPACES, "odd", space)
    values = {1: [60.0, 60.5], 2: [70.0, 70.5], 3: [80.0, 80.5]}
    found = compare(table_of(values, "a", space=space), table_of(values, "b", space=space), draws=10)
    assert found.a.macs.value is None
    assert found.tau.value == pytest.approx(1)
    assert page(found)


def test_recipes_hardware_and_what_differs_are_said():
    provenance = {"device": ["chip x", "chip y"], "torch": ["2.9.0"], "runs": 1}
    recipes = [Recipe(), Recipe(precision="fp32")]
    a, b = (
        table_of(
            lone(80, 81),
            name,
            recipe=recipe.to_dict(),
            recipe_hash=recipe.hash,
            recipe_label=recipe.label,
            provenance=provenance,
        )
        for name, recipe in zip("ab", recipes, strict=True)
    )
    found = compare(a, b, draws=10)
    assert found.differ == {"precision": ("bf16", "fp32")}
    assert found.a.made_on["device"] == ("chip x", "chip y")
    text = page(found)
    assert "chip x; chip y" in text
    assert f"paper-precisionfp32 ({recipes[1].hash})" in text
    assert "a seed fixes initial weights, order and augmentation in both" in text
    assert "is not known of these tables" in page(compare(a, table_of(lone(80, 82), "c"), draws=10))


@pytest.mark.parametrize(
    ("a", "b", "options", "expected"),
    [
        ({}, {"space": load_space("resnet18-cifar10")}, {}, "compare tables of one space"),
        ({}, {"dataset": "synthetic"}, {}, "compare tables of one data set"),
        ({"checksum": "x"}, {"checksum": "y"}, {}, "different versions of cifar10"),
        ({}, {"start": 3}, {}, "no configuration in common"),
        ({}, {}, {"margin": 0}, "the margin is 0"),
        ({}, {}, {"margin": math.nan}, "the margin is nan"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(a, b, options, expected):
    tables = [
        table_of(lone(80, 81, start=more.pop("start", 1)), name, **more) for name, more in (("a", {**a}), ("b", {**b}))
    ]
    with pytest.raises(UsageError, match=expected) as caught:
        compare(*tables, **options)
    assert "\n" not in str(caught.value)


# --- the command ---


def test_the_command_prints_what_it_keeps_and_keeps_the_same_bytes(tmp_path, run_python):
    a, b = planted(lambda number: 0.2)
    paths = [write_table(table_of(values, name), tmp_path / name) for name, values in (("a", a), ("b", b))]
    printed = run_python("-c", WITHOUT_TORCH.format("compare"), *paths, "--out", tmp_path / "one")
    assert printed.returncode == 0, printed.stderr
    name = "-vs-".join(f"{path.stem}-{load_table(path).sha256[:12]}" for path in paths)
    page_path, json_path = (tmp_path / "one" / f"{name}{end}" for end in (".md", ".json"))
    assert printed.stdout == page_path.read_text()
    assert str(tmp_path) not in printed.stdout + json_path.read_text()  # a path would not be the same elsewhere
    as_json = run_python("-m", "benchmark.compare", *paths, "--json", "--out", tmp_path / "two")
    assert as_json.returncode == 0, as_json.stderr
    assert as_json.stdout == json_path.read_text()
    for path in (page_path, json_path):
        assert (tmp_path / "two" / path.name).read_bytes() == path.read_bytes()
    found = json.loads(as_json.stdout)
    assert found["command"] == "python -m benchmark.compare FOLDER/a.csv FOLDER/b.csv"
    assert found["paired"]["pairs"] == 24
    narrow = run_python("-m", "benchmark.compare", *paths, "--json", "--margin", "0.05")
    assert json.loads(narrow.stdout)["command"].endswith(" --margin 0.05")


def test_a_table_that_has_a_shipped_ones_name_is_told_apart_from_it(tmp_path):
    """What is kept of the one takes not the place of what is kept of the other, nor does its command make the other's."""
    shipped = load_table("published")
    rows = [replace(row, mean=row.mean - 1) for row in shipped.rows]
    other = GroundTruth.from_rows("published", SPACE, rows, Origin("cifar10"))
    found = compare(other, shipped, draws=10)
    assert found.name == f"published-{other.sha256[:12]}-vs-published"
    assert found.command == "python -m benchmark.compare FOLDER/published.csv published"
    assert compare(shipped, shipped, draws=10).name == "published-vs-published"
    assert compare(shipped, shipped, draws=10).command == "python -m benchmark.compare published published"


def test_two_tables_of_one_name_that_is_not_shipped_are_told_apart():
    a, b = (table_of({1: [80, 81], 2: [shift, 83]}, "mine") for shift in (82, 84))
    names = {compare(*pair, draws=10).name for pair in ((a, b), (b, a), (a, a), (b, b))}
    assert len(names) == 4
    assert all(name.count("mine-") == 2 for name in names)


def test_a_shipped_header_that_cannot_be_read_is_no_other_tables_matter(tmp_path, monkeypatch):
    (tmp_path / "mine.json").write_text("{")
    monkeypatch.setattr("benchmark.tables.files._FOLDERS", (tmp_path,))
    table = table_of({1: [80, 81], 2: [82, 83]}, "mine")
    assert compare(table, table, draws=10).name == f"mine-{table.sha256[:12]}-vs-mine-{table.sha256[:12]}"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["published"], "the following arguments are required: B"),
        (["published", "nowhere.csv"], "no table 'nowhere.csv'"),
        (["published", "published", "--margin", "wide"], "--margin: 'wide' is not a number"),
        (["published", "published", "--margin", "nan"], "the margin is nan"),
        (["published", "published", "--out", ""], "--out: '' names no folder"),
        (["published", "published", "--out", f"{__file__}/x"], "test_compare.py' is no folder"),
        (["published", "published", "--out", "x" * 300], "cannot name a folder"),
        (["published", "published", "--margin", "-1"], "the margin is -1"),
        (["published", "published", "--bogus"], "--bogus"),
    ],
)
def test_wrong_usage_is_one_line(words, expected):
    with pytest.raises(UsageError, match=expected) as caught:
        main(words)
    assert "\n" not in str(caught.value)


# --- what lies in results/numerics and results/comparisons is what the ledgers give ---


def assert_regenerates(kept, tables, ledgers, scratch):
    """A comparison is what its tables give, and these what their ledgers give: byte for byte."""
    said = json.loads(kept.read_text())
    names = said["a"]["name"], said["b"]["name"]
    built = []
    for name in names:
        if not (ledgers / name).exists():  # of the paper there is only its table
            built.append(load_table(name))
            continue
        records = Ledger.at(ledgers / name).records()
        path = write_table(GroundTruth.from_records(records, name), scratch)
        for file in scratch.glob(f"{name}.*"):
            assert file.read_bytes() == (tables / file.name).read_bytes(), file.name
        built.append(load_table(path))
    margin = {"margin": said["paired"]["margin"]} if said["paired"] else {}
    for path in write(compare(*built, **margin), scratch / "again"):
        assert path.read_bytes() == kept.with_name(path.name).read_bytes(), path.name


def test_both_studies_are_kept():
    assert {path.parent.name for path in COMPARISONS} == {"comparisons", "numerics"}


@pytest.mark.parametrize("kept", COMPARISONS, ids=lambda path: path.stem)
def test_a_kept_comparison_is_what_its_ledgers_give(kept, tmp_path):
    assert_regenerates(kept, RESULTS / "tables", RESULTS / "ledgers", tmp_path)


def test_a_study_is_built_from_ledgers_alone_and_an_altered_one_is_found(tmp_path, run_python):
    """The commands of results/numerics/README.md, on planted ledgers: no data, no training, the same bytes again."""
    draw = np.random.default_rng(1)
    out = tmp_path / "results"
    names = []
    for recipe in (Recipe(epochs=3), Recipe(epochs=3, precision="fp32")):
        ledger = Ledger.under(out, SPACE, recipe)
        ledger.prepare()
        names.append(ledger.name)
        for seed in (0, 1):
            for config in SPACE.configs[:3]:
                accuracies = [round(60 + 5 * e + float(draw.standard_normal()), 2) for e in range(3)]
                curves = {
                    name: accuracies if name.endswith("accuracy") else [1.5, 1.25, float(draw.random())]
                    for name in CURVES
                }
                made = {
                    "dataset": {"name": "cifar10", "checksum": "c"},
                    "device": "chip",
                    "precision": recipe.precision,
                }
                results = {"test_accuracy": accuracies[-1], "images": 1, "curves": curves}
                ledger.write(Run(seed, config), results, made, {"seconds": 1.0, "finished": "2026-01-01"})
    for more in ([], ["--precision", "fp32"]):
        flags = ["--epochs", "3", *more, "--configs", "1-3", "--seeds", "0", "1", "--out", out]
        done = run_python("-c", WITHOUT_TORCH.format("build_groundtruth"), *flags, "--data", tmp_path / "no-data")
        assert done.returncode == 0, done.stderr
        assert "6 of 6 runs are there" in done.stderr
    assert main([*(str(out / "tables" / f"{name}.csv") for name in names), "--out", str(out / "numerics")]) == 0
    (kept,) = (out / "numerics").glob("*.json")
    scratch = [tmp_path / name for name in ("one", "two")]
    assert_regenerates(kept, out / "tables", out / "ledgers", scratch[0])
    kept.write_text(kept.read_text().replace('"pairs": 6', '"pairs": 7'))
    with pytest.raises(AssertionError):
        assert_regenerates(kept, out / "tables", out / "ledgers", scratch[1])


def test_tables_with_the_longest_names_are_compared_into_files_of_bounded_names(tmp_path):
    a, b = (table_of(lone(50.0, 60.0), letter * 180) for letter in "ab")
    for path in write(compare(a, b, draws=200), tmp_path):
        assert path.stem.startswith("a" * 150)
        assert path.stat().st_size > 0
    with pytest.raises(UsageError, match=r"cannot name a table: .* 180 at most"):
        table_of(lone(50.0), "a" * 181)
