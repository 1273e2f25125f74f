"""Tree search: the bound and the walk by hand, the tree's shape, credit, warm-up."""

import math
from itertools import pairwise
from math import comb

import numpy as np
import pytest
from planted import LEVELS, SPACE, task
from scipy.stats import chisquare

from benchmark import load_space
from benchmark.errors import UsageError
from benchmark.spaces.space import SPACES, Config, PoolingSpace
from nas_methods import Task, spos
from nas_methods.mcts import Method, tree, ucb
from nas_methods.supernet import Step, search

# Three configurations, [1,3] [2,2] [3,1]; two forks. Nodes: 0 root; 1 pooled at once, 2 not; 3 [1,3], 4 [2,2], 5 not
# pooled twice; 6, 7, 8 the leaves.
TINY = PoolingSpace("tiny", (2, 1), 4, Config((2, 2)), "made-up")


def step(iteration=0, iterations=100, seed=0):
    return Step(iteration, iterations, 0, 1, seed)


def started(method=Method(), space=SPACE):  # noqa: B008
    return method.start(Task(space, task().recipe, 0, "cpu", task().load))


# The bound --------------------------------------------------------------------------------------------------------


def test_ucb_by_hand():
    assert ucb(0.5, 4, 16, 1.0) == pytest.approx(0.5 + math.sqrt(2.772588722 / 4))  # log 16
    assert ucb(0.5, 4, 16, 1.0) == pytest.approx(1.3325546112)
    assert ucb(0.25, 9, 100, 2.0) == pytest.approx(0.25 + 2 * math.sqrt(4.605170186 / 9))
    assert ucb(0.7, 1, 1, 1.0) == 0.7  # log 1 = 0
    assert ucb(0.7, 3, 50, 0.0) == 0.7
    assert isinstance(ucb(0.5, 4, 16, 1.0), float)


def test_ucb_of_arrays_is_that_of_their_elements():
    draw = np.random.default_rng(0)
    mean, n = draw.random((3, 5)), draw.integers(1, 50, (3, 5))
    parent = n.sum(axis=1, keepdims=True)
    expected = [[mean[i, j] + 0.7 * math.sqrt(math.log(n[i].sum()) / n[i, j]) for j in range(5)] for i in range(3)]
    assert ucb(mean, n, parent, 0.7) == pytest.approx(np.array(expected))
    assert ucb([0.1, 0.2], [1, 2], 3, 1.0).shape == (2,)


@pytest.mark.parametrize("mean", [0.0, math.nan])
@pytest.mark.parametrize("parent", [0, 1, 10])
@pytest.mark.parametrize("c", [0.0, 1.0])
def test_unvisited_nodes_have_an_infinite_bound(mean, parent, c):
    assert ucb(mean, 0, parent, c) == math.inf
    found = ucb(np.array([mean, 0.5]), np.array([0, 1]), max(parent, 1), c)
    assert found[0] == math.inf
    assert found[1] == pytest.approx(0.5 + c * math.sqrt(math.log(max(parent, 1))))


@pytest.mark.parametrize(("n", "parent"), [(-1, 5), (3, 0), (math.nan, 5), (3, math.nan), (1, 0.5)])
def test_visits_that_cannot_be_raise(n, parent):
    with pytest.raises(ValueError, match="visits"):
        ucb(0.5, n, parent, 1.0)
    with pytest.raises(ValueError, match="visits"):
        ucb([0.5, 0.5], [1, n], [1, parent], 1.0)


# The tree ---------------------------------------------------------------------------------------------------------


def children_of(nodes):
    """{node: its children} read from the walks."""
    found = {}
    for walk in nodes.tolist():
        for parent, child in pairwise(walk):
            found.setdefault(parent, set()).add(child)
    return found


def test_resnet20_has_164_nodes_36_leaves_and_93_with_a_single_child():
    nodes = tree(SPACE)
    children = children_of(nodes)
    everything = set(nodes.flatten().tolist())
    assert everything == set(range(164))
    assert len(everything - set(children)) == 36
    assert sum(len(those) == 1 for those in children.values()) == 93
    assert sum(len(those) == 2 for those in children.values()) == 164 - 36 - 93
    assert len(started()["visits"]) == 164


@pytest.mark.parametrize("name", SPACES)
def test_nodes_are_the_decisions_that_can_still_be_completed(name):
    """After l decisions with k poolings of p: C(l, k) prefixes, if the layers left suffice for the poolings left."""
    space = SPACES[name]
    decisions, poolings = space.depth - 1, space.poolings
    expected = [
        sum(comb(made, k) for k in range(poolings + 1) if poolings - k <= decisions - made)
        for made in range(decisions + 1)
    ]
    nodes = tree(space)
    assert [len(set(layer)) for layer in nodes.T.tolist()] == expected
    assert nodes.max() + 1 == sum(expected)
    assert nodes[:, -1].tolist() == list(range(sum(expected) - len(space), sum(expected)))
    # never merged: a node has one parent, and so one layer
    parents = {}
    for walk in nodes.tolist():
        for layer, (parent, child) in enumerate(pairwise(walk)):
            assert parents.setdefault(child, (layer, parent)) == (layer, parent)
    assert (nodes[:, 0] == 0).all()


def test_two_children_are_pooling_and_not_pooling():
    nodes = tree(SPACE)
    for parent, children in children_of(nodes).items():
        walks = [int(np.flatnonzero((nodes == child).any(axis=1))[0]) for child in sorted(children)]
        depth = int(np.flatnonzero(nodes[walks[0]] == parent)[0])
        steps = [SPACE[walk].path[depth + 1] - SPACE[walk].path[depth] for walk in walks]
        assert steps in ([1, 0], [1], [0])


def test_the_tiny_tree_by_hand():
    assert tree(TINY).tolist() == [[0, 1, 3, 6], [0, 2, 4, 7], [0, 2, 5, 8]]


# The walk ---------------------------------------------------------------------------------------------------------


def visited(rewards, method=Method(), space=TINY):  # noqa: B008
    """The state after rewards, (index of the configuration, reward) each."""
    state = started(method, space)
    for index, reward in rewards:
        state = method.update(state, (index, 0), reward)
    return state


KNOWN = [(0, 0.2), (1, 0.5), (0, 0.4), (2, 0.6)]


def test_a_walk_by_hand():
    """Root: 4 visits. Pooled at once 2 visits, mean 0.3; not pooled 2, mean 0.55; below it 1 each, 0.5 and 0.6.

    Bounds: 0.3 + sqrt(log 4 / 2) = 1.132555 and 1.382555; then 0.5 + sqrt(log 2 / 1) = 1.332555 and 1.432555.
    """
    state = visited(KNOWN)
    assert state["visits"].tolist() == [4, 2, 2, 2, 1, 1, 2, 1, 1]
    assert state["rewards"] == pytest.approx([1.7, 0.6, 1.1, 0.6, 0.5, 0.6, 0.6, 0.5, 0.6])
    assert {Method(argmax=True).pick(state, step(seed=seed)) for seed in range(20)} == {(2, 0)}

    bounds = np.array([1.132555, 1.382555])
    right = 1 / (1 + math.exp(-0.25 / 0.7))
    assert right == pytest.approx(0.588349, abs=1e-6)
    assert Method().chances(bounds) == pytest.approx([1 - right, right])
    last = 1 / (1 + math.exp(-0.1 / 0.7))
    p = [1 - right, right * (1 - last), right * last]
    drawn = [Method().pick(state, step(seed=seed))[0] for seed in range(6000)]
    assert chisquare(np.bincount(drawn, minlength=3), 6000 * np.array(p)).pvalue > 0.001
    assert chisquare(np.bincount(drawn, minlength=3)).pvalue < 1e-9
    cold = [Method(temperature=0.001).pick(state, step(seed=seed))[0] for seed in range(50)]
    assert set(cold) == {2}  # as with argmax


def test_exploration_outweighs_the_mean_by_c():
    """Seven visits pooled at once, mean 0.9, one elsewhere, 0.3: only sqrt(log 8 / 1) = 1.442 can call for it."""
    state = visited([(0, 0.9)] * 7 + [(1, 0.3)])
    # 0.9 + c sqrt(log 8 / 7) = 0.9 + 0.545 c against 0.3 + 1.442 c: they cross at c = 0.669. Below, [3,1] is new.
    assert Method(argmax=True, c=0.66).pick(state, step())[0] == 0
    assert Method(argmax=True, c=0.68).pick(state, step())[0] == 2


def test_the_parents_visits_count_not_the_roots():
    """At the second fork 1 visit of mean 0.1 against 4 of 0.9, 5 in all of the root's 100.

    Of 5: 0.1 + sqrt(log 5) = 1.369 and 0.9 + sqrt(log 5 / 4) = 1.534; of 100 it would be 2.246 and 1.973.
    """
    state = visited([(0, 0.0)] * 95 + [(1, 0.1)] + [(2, 0.9)] * 4)
    assert Method(argmax=True).pick(state, step())[0] == 2


def test_unvisited_children_come_first_and_ties_are_drawn():
    empty = started(space=TINY)
    for method in (Method(), Method(argmax=True), Method(c=0.0)):
        drawn = [method.pick(empty, step(seed=seed))[0] for seed in range(2000)]
        # Fair coins: half of the walks pool at once, the others are halved again.
        assert chisquare(np.bincount(drawn, minlength=3), [1000, 500, 500]).pvalue > 0.001
        once = visited([(0, 1.0)])
        assert {method.pick(once, step(seed=seed))[0] for seed in range(50)} == {1, 2}
        twice = visited([(0, 1.0), (1, 1.0), (1, 1.0), (1, 1.0)])
        assert method.chances(ucb([1.0, 0.0], [3, 0], 3, method.c)).tolist() == [0, 1]
        assert 1 not in {method.pick(twice, step(seed=seed))[0] for seed in range(50)}
    tied = visited([(0, 0.5), (1, 0.5), (2, 0.5)])
    tied["visits"][1] = 2
    tied["rewards"][1] = 1.0
    assert {Method(argmax=True).pick(tied, step(seed=seed))[0] for seed in range(50)} == {0, 1, 2}


def explored(method, iterations, space=SPACE, pay=lambda index: LEVELS[index] / 36, seed=0):
    """(the configurations drawn, last state) where each configuration always pays the same."""
    state, drawn = started(method, space), []
    for i in range(iterations):
        picked = method.pick(state, step(i, iterations, seed))
        assert picked[1] == 0
        drawn.append(picked[0])
        state = method.update(state, picked, pay(picked[0]))
    return drawn, state


@pytest.mark.parametrize("method", [Method(), Method(argmax=True), Method(warmup=0.3)], ids=repr)
def test_rewards_are_credited_along_the_way(method):
    drawn, state = explored(method, 300)
    nodes = state["nodes"]
    counts = np.bincount(drawn, minlength=36)
    for node in range(164):
        below = (nodes == node).any(axis=1)
        assert state["visits"][node] == counts[below].sum()
        assert state["rewards"][node] == pytest.approx((counts * LEVELS / 36)[below].sum())
    assert state["visits"][0] == 300
    assert Method().mean(state)[-36:][counts > 0] == pytest.approx(LEVELS[counts > 0] / 36)
    assert explored(method, 300)[0] == drawn
    assert explored(method, 300, seed=1)[0] != drawn


def test_no_fork_visited_twice_has_a_child_without_a_visit():
    _, state = explored(Method(), 200)
    for parent, children in children_of(state["nodes"]).items():
        if state["visits"][parent] >= 2 and len(children) == 2:
            assert state["visits"][sorted(children)].min() >= 1


def test_rewards_steer_the_walk():
    """Where late pooling pays, [8,1,1] is drawn most, of which fair coins give one in 128."""
    for method in (Method(argmax=True, c=0.1), Method(temperature=0.02, c=0.1)):
        drawn, _ = explored(method, 600, pay=lambda index: SPACE[index].layers[0] / 8)
        assert np.bincount(drawn).argmax() == 35
    # At a temperature of 0.7 rewards in [0, 1] barely tilt the coins, so that what pools early is drawn most.
    drawn, _ = explored(Method(), 600, pay=lambda index: SPACE[index].layers[0] / 8)
    assert np.bincount(drawn).argmax() == 0


def test_update_leaves_the_state_handed_in():
    state = started()
    before = {name: value.copy() for name, value in state.items()}
    Method().update(state, (5, 0), 0.5)
    assert all(np.array_equal(state[name], before[name]) for name in before)


# Warm-up, history, other spaces -----------------------------------------------------------------------------------


def test_warm_up_draws_leaves_as_spos_does_and_the_tree_learns():
    uniform = spos.Method()
    cold = uniform.start(task())
    expected = [uniform.pick(cold, step(i, 400))[0] for i in range(400)]
    drawn, _ = explored(Method(warmup=0.5), 400)
    assert drawn[:200] == expected[:200]
    assert sum(a == b for a, b in zip(drawn[200:], expected[200:], strict=True)) < 50
    # The first walk after it stands on all that was seen in it.
    state = started()
    for index in drawn[:200]:
        state = Method().update(state, (index, 0), LEVELS[index] / 36)
    assert state["visits"][0] == 200
    assert Method().pick(state, step(200, 400))[0] == drawn[200]
    after, afresh = ([Method().pick(tree, step(i, 400))[0] for i in range(200, 230)] for tree in (state, started()))
    assert after != afresh


def test_warm_up_to_the_end_is_spos_bit_for_bit():
    one, other = search(Method(warmup=1.0), task(seed=3)), search(spos.Method(), task(seed=3))
    assert one.scores == other.scores
    assert one.history["reward"] == other.history["reward"]
    assert search(Method(), task(seed=3)).scores != other.scores


def test_the_history_shows_the_tree_of_every_epoch():
    watched = search(Method(), task()).history["watched"]
    assert [seen["epoch"] for seen in watched] == [1, 2]
    for epoch, seen in enumerate(watched, start=1):
        assert len(seen["visits"]) == len(seen["mean"]) == 164
        assert seen["visits"][0] == 6 * epoch == sum(seen["visits"][-36:])
        assert all(0 <= mean <= 1 for mean in seen["mean"])
    assert seen["mean"][0] == pytest.approx(np.mean(search(Method(), task()).history["reward"]), abs=1e-4)


@pytest.mark.parametrize("method", [Method(), Method(argmax=True), Method(warmup=0.5)], ids=repr)
def test_560_leaves(method):
    space = load_space("resnet50-cifar100")
    drawn, state = explored(method, 300, space, lambda index: index / 560)
    assert state["nodes"].shape == (560, 17)
    assert state["visits"][0] == 300 == state["visits"][-560:].sum()
    assert np.array_equal(state["visits"][-560:], np.bincount(drawn, minlength=560))
    assert all(0 <= index < 560 for index in drawn)
    assert len(set(drawn)) > 20
    seen = method.watch(state, step(299, 300))  # what the history keeps
    assert len(seen["visits"]) == len(seen["mean"]) == state["nodes"].max() + 1
    assert np.array_equal(seen["visits"], state["visits"])
    assert seen["mean"][0] == pytest.approx(np.mean([index / 560 for index in drawn]))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *((option, bad) for option in ("c", "temperature", "warmup") for bad in (-0.1, math.inf, math.nan)),
        ("temperature", 0.0),
        ("warmup", 1.1),
    ],
)
def test_options_out_of_range_are_named(option, value):
    with pytest.raises(UsageError, match=f"{option} is"):
        Method(**{option: value})
