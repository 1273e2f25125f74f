"""Boltzmann exploration: probabilities by hand, frequencies against them, memory, warm-up."""

import math

import numpy as np
import pytest
from planted import LEVELS, SPACE, task
from scipy.stats import chisquare

from benchmark import load_space
from benchmark.errors import UsageError
from nas_methods import Task, spos
from nas_methods.bse import Method
from nas_methods.supernet import Step, search


def step(iteration=0, iterations=100, seed=0):
    return Step(iteration, iterations, 0, 1, seed)


def test_inverse_temperature_rises_linearly_from_1():
    method = Method()
    assert method.inverse_temperature(step(0, 1000)) == 1
    assert method.inverse_temperature(step(500, 1000)) == 50.5
    assert method.inverse_temperature(step(1000, 1000)) == 100
    rises = np.diff([method.inverse_temperature(step(t, 1000)) for t in range(1001)])
    assert rises == pytest.approx(0.099)
    assert Method(tau_inv=5.0).inverse_temperature(step(75, 100)) == 4
    # The schedule is that of the whole search, whatever its warm-up.
    assert Method(warmup=0.5).inverse_temperature(step(500, 1000)) == 50.5


def test_probabilities_by_hand():
    """1 + 99 / 2 = 50.5 at half-time; rewards that differ by 0.01 give odds of exp(0.505)."""
    found = Method().chances({"rewards": np.array([0.60, 0.61, 0.62])}, step(50))
    odds = math.exp(0.505)
    assert found == pytest.approx(np.array([1, odds, odds**2]) / (1 + odds + odds**2), rel=1e-9)
    assert Method().watch({"rewards": np.array([0.60, 0.61, 0.62])}, step(50))["p(c)"] == pytest.approx(found)


def test_large_inverse_temperatures_stay_finite():
    rewards = np.array([0.0, 0.999, 1.0])
    found = Method(tau_inv=1e6).chances({"rewards": rewards}, step(999_999, 1_000_000))
    assert found == pytest.approx([0, 0, 1])


def test_draws_follow_the_probabilities():
    method = Method()
    state = {"rewards": np.random.default_rng(3).uniform(0.5, 0.54, size=12)}
    p = method.chances(state, step(5000, 10_000))
    # One moment of the search, seen under many seeds: the temperature must not move between the draws.
    drawn = [method.pick(state, step(5000, 10_000, seed)) for seed in range(6000)]
    assert {model for _, model in drawn} == {0}
    counts = np.bincount([index for index, _ in drawn], minlength=12)
    assert chisquare(counts, len(drawn) * p).pvalue > 0.001
    assert chisquare(counts).pvalue < 1e-9  # this would be noticed


def test_equal_rewards_are_drawn_uniformly():
    method = Method()
    state = method.start(task())
    assert (state["rewards"] == np.ones(36)).all()
    for when in (step(0), step(99)):
        assert method.chances(state, when) == pytest.approx(1 / 36)


def test_update_remembers_nine_tenths_of_the_drawn_configuration_only():
    method = Method()
    state = method.start(task())
    once = method.update(state, (7, 0), 0.5)
    twice = method.update(once, (7, 0), 0.25)
    assert once["rewards"][7] == pytest.approx(0.9 + 0.05)
    assert twice["rewards"][7] == pytest.approx(0.9 * 0.95 + 0.025)
    assert (np.delete(twice["rewards"], 7) == 1).all()
    assert (state["rewards"] == 1).all()  # the state handed in is left as it was
    assert Method(decay=0.0).update(state, (0, 0), 0.25)["rewards"][0] == 0.25


def explored(method, iterations, seed=0):
    """(how often each configuration was drawn, last state) where configuration c always pays LEVELS[c] / 36."""
    state, counts = method.start(task()), np.zeros(36, int)
    for i in range(iterations):
        picked = method.pick(state, step(i, iterations, seed))
        counts[picked[0]] += 1
        state = method.update(state, picked, LEVELS[picked[0]] / 36)
    return counts, state


def test_it_ends_at_what_pays_best():
    counts, state = explored(Method(), 3000)
    assert counts.min() > 0  # what was never drawn is hoped to be good, so all are tried
    assert counts.argmax() == LEVELS.argmax()
    last = Method().chances(state, step(2999, 3000))
    assert last.argmax() == LEVELS.argmax()
    assert last.max() > 0.5
    assert explored(Method(), 3000, seed=1)[0].tolist() != counts.tolist()


def test_warm_up_draws_what_spos_draws_and_remembers():
    method, uniform = Method(warmup=0.5), spos.Method()
    cold, state = uniform.start(task()), method.start(task())
    same = []
    for i in range(400):
        picked = method.pick(state, step(i, 400))
        same.append(picked == uniform.pick(cold, step(i, 400)))
        state = method.update(state, picked, LEVELS[picked[0]] / 36)
        if i == 199:
            assert (state["rewards"] < 1).sum() > 30
    assert all(same[:200])
    assert sum(same[200:]) < 50
    assert explored(Method(warmup=0.5), 400)[0].tolist() != explored(Method(), 400)[0].tolist()


def test_warm_up_to_the_end_is_spos_bit_for_bit():
    one, other = search(Method(warmup=1.0), task(seed=3)), search(spos.Method(), task(seed=3))
    assert one.scores == other.scores
    assert one.history["reward"] == other.history["reward"]
    assert search(Method(), task(seed=3)).scores != other.scores


def test_the_history_shows_the_probabilities_of_every_epoch():
    watched = search(Method(), task()).history["watched"]
    assert [seen["epoch"] for seen in watched] == [1, 2]
    for seen in watched:
        assert len(seen["p(c)"]) == len(seen["a(c)"]) == len(SPACE)
        assert sum(seen["p(c)"]) == pytest.approx(1, abs=1e-3)
        assert seen["p(c)"][int(np.argmax(seen["a(c)"]))] == max(seen["p(c)"])


def test_560_configurations():
    space, method = load_space("resnet50-cifar100"), Method()
    state = method.start(Task(space, task().recipe, 0, "cpu", task().load))
    assert state["rewards"].shape == (560,)
    for i in range(300):
        picked = method.pick(state, step(i, 300))
        assert 0 <= picked[0] < 560
        state = method.update(state, picked, 0.1)
    assert method.chances(state, step(299, 300)).sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *((option, bad) for option in ("tau_inv", "decay", "warmup") for bad in (-0.1, math.inf, math.nan)),
        ("tau_inv", 0.5),
        ("decay", 1.0),
        ("warmup", 1.1),
    ],
)
def test_options_out_of_range_are_named(option, value):
    with pytest.raises(UsageError, match=option):
        Method(**{option: value})
