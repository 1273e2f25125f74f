"""How fast this machine is: cores under a quota, precisions compared, times told as a range."""

import os

import pytest
import torch

from benchmark.recipe import Recipe
from benchmark.running.cores import usable_cores
from benchmark.spaces.space import load_space
from benchmark.training import engine, pace
from benchmark.training.pace import Speed, measure_speed, precision_rates

SPACE, CPU = load_space(), torch.device("cpu")


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 16),
        ({"cpu.max": "max 100000\n"}, 16),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "1000 100000\n"}, 1),
        ({"cpu.max": "6400000 100000\n"}, 16),
        ({"cpu.max": "what"}, 16),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 16),
        ({"cpu/cpu.cfs_quota_us": "400000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
    ],
)
def test_a_containers_quota_counts_for_more_than_the_cores_that_it_shows(tmp_path, monkeypatch, files, cores):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    assert usable_cores(tmp_path) == cores
    monkeypatch.setattr(pace, "usable_cores", lambda: cores)
    assert pace.default_together(Recipe(threads=2), CPU) == max(1, cores // 2)


class Clock:
    """Time that passes only where a step is taken: `seconds` for each, by precision."""

    def __init__(self, monkeypatch, **seconds):
        self.now, self.taken = 0.0, dict.fromkeys(seconds, 0)
        monkeypatch.setattr(pace.time, "perf_counter", lambda: self.now)

        def step(learner, x, y, path, rate):
            each = seconds[learner.recipe.precision]
            if isinstance(each, Exception):
                raise each
            self.taken[learner.recipe.precision] += 1
            self.now += each
            return torch.zeros(2)

        monkeypatch.setattr(engine.Learner, "learn", step)


def test_precisions_are_compared_by_steps_and_the_clear_case_ends_at_once(monkeypatch):
    clock = Clock(monkeypatch, bf16=1.0, fp32=0.1)
    assert precision_rates(SPACE, Recipe(), CPU) == pytest.approx({"bf16": 32.0, "fp32": 320.0})
    assert clock.taken == {"bf16": 2, "fp32": 2}  # one to set up, one that counts


def test_one_unlucky_step_decides_nothing(monkeypatch):
    clock = Clock(monkeypatch, bf16=0.1, fp32=0.2)
    once = iter([0.0, 0.7])  # a neighbour, while the first step that counts is taken
    honest = engine.Learner.learn

    def disturbed(learner, *inputs):
        if learner.recipe.precision == "bf16":
            clock.now += next(once, 0.0)
        return honest(learner, *inputs)

    monkeypatch.setattr(engine.Learner, "learn", disturbed)
    assert precision_rates(SPACE, Recipe(), CPU) == pytest.approx({"bf16": 320.0, "fp32": 160.0})
    assert clock.taken == {"bf16": 4, "fp32": 4}


def test_a_near_tie_takes_more_steps(monkeypatch):
    clock = Clock(monkeypatch, bf16=0.1, fp32=0.11)
    rates = precision_rates(SPACE, Recipe(batch_size=16), CPU)
    assert rates == pytest.approx({"bf16": 160.0, "fp32": 16 / 0.11})
    assert clock.taken == {"bf16": 1 + pace.PRECISION_STEPS, "fp32": 1 + pace.PRECISION_STEPS}


def test_a_precision_that_raises_is_infinitely_slow(monkeypatch):
    Clock(monkeypatch, bf16=RuntimeError("could not create a primitive descriptor"), fp32=1.0)
    assert precision_rates(SPACE, Recipe(), CPU) == {"bf16": 0.0, "fp32": 32.0}


def test_both_precisions_really_train_here_and_threads_stay():
    torch.set_num_threads(2)
    rates = precision_rates(SPACE, Recipe(batch_size=4), CPU)
    assert set(rates) == {"bf16", "fp32"}
    assert max(rates.values()) > 0
    assert torch.get_num_threads() == 2


def test_measured_speed_is_a_positive_number_and_leaves_the_threads_alone():
    torch.set_num_threads(2)
    speed = measure_speed(SPACE, Recipe(batch_size=4), CPU, seconds=0.0)
    assert 0 < speed.slowest <= speed.mean < float("inf")
    assert torch.get_num_threads() == 2


def test_a_time_is_told_as_a_range():
    assert Speed(100.0, 90.0).readable(100 * 600.0) == "10 min to 20 min"
    assert Speed(100.0, 10.0).readable(100 * 600.0) == "10 min to 1.7 h"
