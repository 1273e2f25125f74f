"""SPOS: which paths are drawn, how often, and what the unshared supernet learns."""

from itertools import count, product

import numpy as np
import pytest
import torch
from planted import SPACE, Small, random_images, recipe, task, to_the_end
from scipy.stats import chisquare

from benchmark import load_space
from benchmark.errors import UsageError
from benchmark.spaces import costs, networks
from benchmark.streams import stream
from nas_methods.spos import Method
from nas_methods.supernet import Step, forward_passes, search

EVERY = Method(sharing="unshared", paths=19683)


def picks(method, n, seed=0):
    state = method.start(task())
    return [method.pick(state, Step(i, n, 0, 1, seed)) for i in range(n)]


def supernet(shared):
    """A maker of the real supernets, from seed 0."""

    def network(model):
        made = networks.ResNet(SPACE, affine=False, shared=shared)
        networks.initialise(made, 0, model)
        return made

    return network


def real(**more):
    """A task of three steps on the real network, at a rate that leaves its outputs apart."""
    given = {"train": random_images(48, 1), "validation": random_images(16, 2), "unshared": supernet(False)}
    return task(supernet(True), **given, recipe=recipe(epochs=1, lr=0.002, bn="batch"), **more)


def test_by_default_the_configurations_are_drawn_uniformly_from_their_stream():
    drawn = picks(Method(), 7200)
    assert drawn[:50] == [(int(stream("configuration", 0, i).integers(36)), 0) for i in range(50)]
    assert [index for index, _ in drawn[:6]] == [16, 7, 8, 5, 30, 18]  # as ever
    assert chisquare(np.bincount([index for index, _ in drawn], minlength=36)).pvalue > 0.001
    assert [Method().path(SPACE, index) for index in range(36)] == [config.path for config in SPACE]
    assert picks(Method(), 50, seed=1) != drawn[:50]


def test_sharing_changes_no_draw():
    assert picks(Method(sharing="unshared"), 50) == picks(Method(), 50)


def test_all_19683_paths_can_be_drawn():
    assert EVERY.start(task())["paths"] == 19683 == 3**9
    paths = {EVERY.path(SPACE, index) for index in range(19683)}
    assert paths == {(0, *rest) for rest in product(range(3), repeat=9)}
    assert all(type(r) is int for r in EVERY.path(SPACE, 12345))  # a path is compared and kept as text


def test_each_block_draws_its_resolution_uniformly_and_by_itself():
    paths = np.array([EVERY.path(SPACE, index) for index, _ in picks(EVERY, 6000)])
    assert (paths[:, 0] == 0).all()
    assert (np.diff(paths) < 0).any()  # resolutions rise, too
    for block in range(1, 10):
        assert chisquare(np.bincount(paths[:, block], minlength=3)).pvalue > 0.0005, block
        for other in range(1, block):
            pairs = np.bincount(3 * paths[:, block] + paths[:, other], minlength=9)
            assert chisquare(pairs).pvalue > 0.0005, (block, other)


def test_in_another_space_the_paths_are_its_own(capsys):
    space = load_space("resnet50-cifar100")
    other = task()
    other = type(other)(space, other.recipe, 0, "cpu", other.load)
    assert Method().start(other)["paths"] == 560
    assert EVERY.start(other)["paths"] == 4**16
    assert "4,294,967,296 paths, 16 layers at 4 resolutions of resnet50-cifar100" in capsys.readouterr().err
    assert EVERY.path(space, 4**16 - 1) == (0,) + 16 * (3,)
    assert Method().path(space, 559) == space[559].path


@pytest.mark.parametrize("method", [Method(), EVERY], ids=["36", "19683"])
def test_a_drawn_path_is_learned_and_rewarded_and_configurations_are_scored(method):
    seen = []

    class Recording(Small):
        def forward(self, x, path):
            seen.append((torch.is_grad_enabled(), tuple(path)))
            return super().forward(x, path)

    ranking = search(method, task(Recording, recipe=recipe(bn="batch")))
    drawn = [method.path(SPACE, index) for index, _ in picks(method, 12)]
    assert seen[:24] == [(learning, path) for path in drawn for learning in (True, False)]
    assert seen[24:] == [(False, config.path) for config in SPACE for _ in range(64 // 16)]
    assert len(set(ranking.scores)) > 3


def test_unshared_searches_ask_for_unshared_networks():
    asked = []

    def maker(kind):
        return lambda model: asked.append((kind, model)) or Small(model)

    for method in (Method(), Method(sharing="unshared"), EVERY, Method(paths=19683)):
        search(method, task(maker("shared"), unshared=maker("unshared"), recipe=recipe(epochs=1, bn="batch")))
    assert asked == [("shared", 0), ("unshared", 0), ("unshared", 0), ("shared", 0)]


def test_the_three_variants_of_table_1_differ_on_the_real_network():
    variants = [search(method, real()) for method in (Method(), Method(sharing="unshared"), EVERY)]
    assert len({ranking.scores for ranking in variants}) == 3


def test_an_unshared_search_stopped_before_every_weight_has_momentum_goes_on_alike(tmp_path):
    undisturbed = search(EVERY, real())
    asked = count(1)
    given = {"checkpoint": tmp_path / "search.pt", "stop": lambda: next(asked) in (1, 2)}  # two steps done of three
    resumed, stops = to_the_end(lambda: search(EVERY, real(**given)))
    assert stops == 2
    assert resumed.scores == undisturbed.scores
    assert resumed.history == undisturbed.history


def test_the_work_foretold_is_that_of_the_mean_path():
    given = task()
    training, final = forward_passes(EVERY, given)
    falling = np.mean([costs.macs(SPACE, config) for config in SPACE])
    every = np.mean([costs.path_macs(SPACE, (0, *rest)) for rest in product(range(3), repeat=9)])
    assert Method().work(given) == pytest.approx(falling * (training + final))
    assert EVERY.work(given) == pytest.approx(every * training + falling * final)


@pytest.mark.parametrize(
    ("option", "value"), [("sharing", "half"), ("sharing", ""), ("paths", 37), ("paths", 0), ("paths", 19638)]
)
def test_options_out_of_range_are_named(option, value):
    with pytest.raises(UsageError, match=f"{option} is .*: choose from"):
        Method(**{option: value})
