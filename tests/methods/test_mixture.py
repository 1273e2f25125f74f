"""The balanced mixture's formulas: balancing against an independent solution, temperatures, draws, memory."""

import math
from dataclasses import fields

import numpy as np
import pytest
from planted import SPACE, task
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import chisquare

from benchmark.errors import UsageError
from benchmark.recipe import is_implicit
from nas_methods.mixture import TOLERANCE, Method, _balance, balance
from nas_methods.spos import Method as Spos
from nas_methods.supernet import Step

TIGHT = 1e-15
SHAPES = [(36, 4), (36, 8), (36, 1), (1, 1), (1, 5), (5, 1), (2, 2), (3, 7), (56, 3)]


def weights(shape, spread=2.0, seed=0):
    return np.exp(spread * np.random.default_rng(seed).standard_normal(shape))


def solved(log_p):
    """The joint with uniform marginals that is a scaling of rows and columns of exp(log_p), by convex optimisation.

    It has the form p(c, m) = exp(log_p + b_m) / (C sum_m' exp(log_p + b_m')), where b minimises the function below.
    """
    models = log_p.shape[1]

    def dual(b):
        total = logsumexp(log_p + b, axis=1)
        given = np.exp(log_p + b - total[:, None])
        return total.mean() - b.mean(), given.mean(axis=0) - 1 / models

    b = minimize(dual, np.zeros(models), jac=True, method="BFGS", options={"gtol": 1e-10}).x
    joint = np.exp(log_p + b - logsumexp(log_p + b, axis=1, keepdims=True)) / len(log_p)
    assert joint.sum(axis=0) == pytest.approx(1 / models, abs=1e-8)  # the optimiser did arrive
    return joint


def divergence(joint):
    """KL(p(m) || uniform)."""
    p = joint.sum(axis=0)
    return float(np.sum(p * np.log(p * len(p))))


def step(iteration=0, iterations=100, epoch=0, epochs=10, seed=0):
    return Step(iteration, iterations, epoch, epochs, seed)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("spread", [0.1, 1.0, 3.0])
def test_balance_is_the_scaling_that_convex_optimisation_finds(shape, spread):
    p = weights(shape, spread)
    assert balance(p, TIGHT) == pytest.approx(solved(np.log(p)), abs=1e-7)


def test_balance_by_hand():
    # The odds ratio (4 x 4) / (1 x 1) = 16 stays; with uniform marginals x / (1/2 - x) must be its root, 4.
    assert balance(np.array([[4.0, 1.0], [1.0, 4.0]]), TIGHT) == pytest.approx(np.array([[0.4, 0.1], [0.1, 0.4]]))
    assert balance(np.array([[8.0, 1.0], [2.0, 4.0]]), TIGHT) == pytest.approx(np.array([[0.4, 0.1], [0.1, 0.4]]))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(3))
def test_rows_are_exact_and_columns_within_the_tolerance(shape, seed):
    for tolerance in (1e-2, TOLERANCE, 1e-9):
        joint = balance(weights(shape, seed=seed), tolerance)
        assert joint.sum(axis=1) == pytest.approx(1 / shape[0], rel=1e-13)
        assert divergence(joint) <= tolerance + 1e-15
    assert np.array_equal(balance(weights(shape, seed=seed)), balance(weights(shape, seed=seed), 1e-4))


def test_balance_stops_as_soon_as_the_tolerance_is_met():
    p = weights((36, 4))
    rows_only = p / p.sum(axis=1, keepdims=True) / 36
    assert divergence(rows_only) > TOLERANCE
    assert balance(p, tolerance=10.0) == pytest.approx(rows_only, rel=1e-12)
    # and one pass further: columns, then rows
    columns = rows_only / rows_only.sum(axis=0) / 4
    once = columns / columns.sum(axis=1, keepdims=True) / 36
    assert balance(p, tolerance=divergence(rows_only) * 0.999) == pytest.approx(once, rel=1e-12)


def test_balance_keeps_every_odds_ratio():
    """What makes it the projection of p: rows and columns are scaled, nothing else happens, at any tolerance."""
    p = weights((36, 4), 1.0)
    before, after = np.log(p), np.log(balance(p))
    ratios = [x[1:, 1:] - x[1:, :1] - x[:1, 1:] + x[:1, :1] for x in (before, after)]
    assert ratios[0] == pytest.approx(ratios[1], abs=1e-10)


def test_scales_of_matrix_rows_and_columns_do_not_matter():
    p = weights((36, 4))
    expected = balance(p, TIGHT)
    draw = np.random.default_rng(1)
    rows, columns = np.exp(draw.standard_normal((36, 1))), np.exp(draw.standard_normal(4))
    for scaled in (1e-200 * p, 1e200 * p, rows * p, columns * p, 7 * rows * columns * p):
        assert balance(scaled, TIGHT) == pytest.approx(expected, abs=1e-8)
    # A softmax over each row in the place of one over all pairs is a scaling of the rows.
    by_row = p / p.sum(axis=1, keepdims=True)
    assert balance(by_row) == pytest.approx(balance(p / p.sum()), rel=1e-12)


def test_order_of_rows_and_columns_goes_with_the_result():
    p = weights((5, 3))
    assert balance(p[::-1, [2, 0, 1]], TIGHT) == pytest.approx(balance(p, TIGHT)[::-1, [2, 0, 1]], abs=1e-8)


def test_balanced_stays_and_the_argument_is_not_altered():
    uniform = np.ones((36, 4))
    assert balance(uniform) == pytest.approx(np.full((36, 4), 1 / 144), rel=1e-14)
    assert np.array_equal(uniform, np.ones((36, 4)))
    p = weights((6, 3))
    before, joint = p.copy(), balance(p, TIGHT)
    assert np.array_equal(p, before)
    assert balance(joint) == pytest.approx(joint, rel=1e-12)


def test_one_model_gets_everything():
    assert balance(weights((36, 1))) == pytest.approx(np.full((36, 1), 1 / 36), rel=1e-14)


@pytest.mark.parametrize(
    "bad",
    [
        [[1.0, 0.0], [1.0, 1.0]],
        [[1.0, -2.0], [1.0, 1.0]],
        [[1.0, math.nan], [1.0, 1.0]],
        [[1.0, math.inf], [1.0, 1.0]],
        [1.0, 2.0],
        [[[1.0]]],
        [[]],
        np.empty((0, 4)),
        3.0,
        [["a"]],
    ],
)
def test_anything_but_positive_weights_is_refused(bad):
    with pytest.raises(ValueError):  # noqa: PT011  numpy words its own
        balance(bad)


@pytest.mark.parametrize("spread", [1.0, 40.0, 400.0])
@pytest.mark.parametrize("models", [1, 2, 8])
def test_extreme_logits_stay_finite(spread, models):
    """Rewards lie in [0, 1] and 1/temperature reaches 100 M: logits up to 400 for M = 4, beyond exp's range in sums."""
    logits = spread * np.random.default_rng(2).random((36, models))
    joint = _balance(logits)
    assert np.isfinite(joint).all()
    assert joint.sum(axis=1) == pytest.approx(1 / 36, rel=1e-12)
    with np.errstate(all="raise", under="ignore"):
        assert np.array_equal(_balance(logits), joint)
    assert _balance(logits - 5000) == pytest.approx(joint, rel=1e-9)
    assert _balance(logits + 5000) == pytest.approx(joint, rel=1e-9)


def test_a_low_temperature_shares_the_configurations_out():
    """Each of 36 configurations prefers one of 4 models, 9 each, by 0.1: at 1/temperature 100 all get their wish."""
    wish = np.arange(36) % 4
    rewards = 0.5 + 0.1 * (wish[:, None] == np.arange(4))
    joint = _balance(100 * rewards)
    assert np.array_equal(joint.argmax(axis=1), wish)
    # exp(10) to 1 to 1 to 1 in every row; the columns are balanced already.
    assert joint.max(axis=1) * 36 == pytest.approx(1 / (1 + 3 * math.exp(-10)), rel=1e-12)


@pytest.mark.parametrize("models", [1, 2, 4, 8])
def test_linear_temperature_falls_from_one_to_its_floor(models):
    method = Method(M=models, temperature="linear")
    assert method.heat(step(0, 1000)) == 1
    assert method.heat(step(250, 1000)) == 0.75
    assert method.heat(step(1000, 1000)) == 1 / (100 * models)
    assert method.heat(step(10**6 - 1, 10**6)) == 1 / (100 * models)  # the floor, above 1 - t/T here
    heats = [method.heat(step(t, 1000)) for t in range(1001)]
    assert heats == sorted(heats, reverse=True)


def test_inverse_temperature_rises_by_epoch():
    method = Method()
    assert method.heat(step(epoch=0, epochs=400)) == 1
    assert method.heat(step(epoch=200, epochs=400)) == pytest.approx(1 / 50.5)
    assert 1 / method.heat(step(epoch=399, epochs=400)) == pytest.approx(1 + 99 * 399 / 400)
    # fixed within an epoch, wherever in it
    assert {method.heat(step(i, 1000, 3, 10)) for i in range(300, 400)} == {1 / (1 + 99 * 3 / 10)}


def test_the_end_of_the_inverse_temperature_is_an_option_that_old_rankings_do_not_state():
    method = Method(inverse_end=150.0)
    assert 1 / method.heat(step(epoch=0, epochs=75)) == 1
    assert 1 / method.heat(step(epoch=75, epochs=75)) == pytest.approx(150)
    (field,) = (f for f in fields(Method) if f.name == "inverse_end")
    assert is_implicit(field, Method().inverse_end)
    assert not is_implicit(field, 150.0)
    with pytest.raises(UsageError, match=r"inverse_end is 0\.5"):
        Method(inverse_end=0.5)


@pytest.mark.parametrize("temperature", ["inverse", "linear"])
@pytest.mark.parametrize("models", [1, 2, 4, 8])
def test_equal_rewards_give_equal_chances(temperature, models):
    method = Method(M=models, temperature=temperature)
    state = method.start(task())
    assert state["rewards"].shape == (len(SPACE), models)
    assert (state["rewards"] == 1).all()
    for when in (step(), step(50, 100, 5, 10), step(99, 100, 9, 10)):
        given = method.watch(state, when)["p(m|c)"]
        assert given == pytest.approx(np.full((36, models), 1 / models), rel=1e-12)


def test_p_of_m_given_c_by_hand():
    """Two models; configurations 0 and 1 have rewards of opposite preference; 1/temperature 50.5 at half-time."""
    method = Method(M=2)
    rewards = np.array([[0.61, 0.60], [0.60, 0.61]])
    found = method.watch({"rewards": rewards}, step(epoch=5, epochs=10))["p(m|c)"]
    share = 1 / (1 + math.exp(-50.5 * 0.01))
    assert found == pytest.approx(np.array([[share, 1 - share], [1 - share, share]]), rel=1e-9)


def test_picks_follow_p_of_m_given_c_and_configurations_are_uniform():
    method = Method(M=3)
    draw = np.random.default_rng(3)
    state = {"rewards": draw.uniform(0.3, 0.4, size=(4, 3))}
    counts = np.zeros((4, 3))
    for i in range(8000):
        counts[method.pick(state, step(i, 8000, 5, 10))] += 1
    assert chisquare(counts.sum(axis=1)).pvalue > 0.001
    given = 4 * solved(50.5 * state["rewards"])  # p(m|c)
    per_configuration = counts.sum(axis=1, keepdims=True)
    # ddof: the number drawn of each of the 4 configurations is taken as given.
    assert chisquare(counts, per_configuration * given, ddof=3, axis=None).pvalue > 0.001
    uniform = np.broadcast_to(per_configuration / 3, (4, 3))
    assert chisquare(counts, uniform, ddof=3, axis=None).pvalue < 1e-9  # this would be noticed
    # Balanced means that every model is trained equally often.
    assert chisquare(counts.sum(axis=0)).pvalue > 0.001


def test_every_mixture_draws_the_configurations_that_spos_draws():
    methods = [Spos(), Method(M=1), Method(M=4), Method(M=8, temperature="linear")]
    states = [method.start(task()) for method in methods]
    drawn = [
        [method.pick(state, step(i, 500))[0] for method, state in zip(methods, states, strict=True)] for i in range(500)
    ]
    assert all(len(set(same)) == 1 for same in drawn)
    assert len({same[0] for same in drawn}) == 36


def test_update_remembers_nine_tenths_of_the_drawn_pair_only():
    method = Method(M=3)
    state = method.start(task())
    once = method.update(state, (7, 2), 0.5)
    twice = method.update(once, (7, 2), 0.25)
    assert once["rewards"][7, 2] == pytest.approx(0.9 * 1 + 0.1 * 0.5)
    assert twice["rewards"][7, 2] == pytest.approx(0.9 * 0.95 + 0.1 * 0.25)
    others = np.ones((36, 3), bool)
    others[7, 2] = False
    assert (twice["rewards"][others] == 1).all()
    assert (state["rewards"] == 1).all()  # the state handed in is left as it was
    assert Method(M=3, decay=0.0).update(state, (0, 0), 0.25)["rewards"][0, 0] == 0.25


def test_final_model_is_the_likeliest_and_ties_go_to_the_lowest():
    method = Method(M=3)
    last = step(99, 100, 9, 10)
    assert method.assign({"rewards": np.full((36, 3), 0.7)}, last, 36).tolist() == [0] * 36
    rewards = np.full((36, 3), 0.5)
    rewards[0::2, 1:] += 0.1  # even configurations: models 1 and 2 alike, above model 0
    assert method.assign({"rewards": rewards}, last, 36).tolist() == [1, 0] * 18
    # Not the largest reward but the largest p(m|c): model 0 is best for all, and it cannot train them all.
    rewards = np.array([[0.9, 0.1], [0.9, 0.8], [0.9, 0.8], [0.9, 0.1]])
    assert method.assign({"rewards": rewards}, last, 4).tolist() == [0, 1, 1, 0]


def test_proxy_ranks_by_the_remembered_rewards_of_the_final_models():
    rewards = np.array([[0.9, 0.1], [0.9, 0.8], [0.9, 0.8], [0.9, 0.2]])
    last = step(99, 100, 9, 10)
    assert Method(M=2).shortlist({"rewards": rewards}, last, 4) is None
    cheap, count = Method(M=2, proxy=3).shortlist({"rewards": rewards}, last, 4)
    assert cheap.tolist() == [0.9, 0.8, 0.8, 0.9]
    assert count == 3
    assert Method(M=2, proxy=99).shortlist({"rewards": rewards}, last, 4)[1] == 4


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("M", 0),
        ("M", -1),
        ("M", 65),
        ("temperature", "warm"),
        ("temperature", ""),
        ("decay", 1.0),
        ("decay", -0.1),
        ("decay", math.nan),
        ("proxy", -1),
    ],
)
def test_options_out_of_range_are_named(option, value):
    with pytest.raises(UsageError, match=option):
        Method(**{option: value})


def test_models_are_as_many_as_asked_for():
    assert [Method(M=m).models for m in (1, 4, 64)] == [1, 4, 64]
