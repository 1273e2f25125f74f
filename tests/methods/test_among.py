"""SPOS among some configurations: it draws and scores these alone, moves nothing by looking at gradients, and these are right."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from planted import SPACE, random_images, recipe, stop_every, task, to_the_end
from torch import nn

from benchmark.errors import UsageError
from benchmark.training.engine import Learner
from nas_methods.among import Among, cosines, moments
from nas_methods.spos import Method
from nas_methods.supernet import Step, search

PAIR = ("[1,1,8]", "[6,2,2]")
EVERY = tuple(map(str, SPACE))


def test_among_all_it_is_spos_bit_for_bit_whatever_it_looks_at():
    plain = search(Method(), task())
    looked = search(Among(configs=EVERY, looks=2), task())
    assert looked.scores == plain.scores
    assert looked.history["reward"] == plain.history["reward"]
    assert [one["epoch"] for one in looked.history["observed"]] == [1, 2]
    assert np.array(looked.history["observed"][0]["cosines"]).shape == (36, 36)


def test_only_the_chosen_are_drawn_and_scored_and_each_equally_often():
    method = Among(configs=PAIR)
    state = method.start(task())
    for i in range(2000):
        picked = method.pick(state, Step(i, 2000, 0, 1, 3))
        assert method.path(SPACE, picked[0]) == SPACE[SPACE.index(PAIR[picked[0]])].path
        state = method.update(state, picked, 0.5)
    assert abs(int(state["draws"][0]) - 1000) < 100
    assert state["draws"].sum() == 2000
    found = search(method, task())
    mine = [SPACE.index(config) for config in PAIR]
    assert all(0 <= found.scores[place] <= 1 for place in mine)
    assert {score for place, score in enumerate(found.scores) if place not in mine} == {-2}
    assert sum(found.history["watched"][-1]["draws"]) == 12  # two epochs of six batches
    assert "observed" not in found.history


def test_one_alone_never_moves_the_weights_of_others():
    """What it leaves is what plain SGD on that path leaves: scored as SPOS scores it, from the same batches."""
    one = search(Among(configs=PAIR[:1]), task())
    two = search(Among(configs=PAIR), task())
    place = SPACE.index(PAIR[0])
    assert one.scores[place] != two.scores[place]
    assert one.history["watched"][-1]["draws"] == [12]


def test_stopped_anywhere_it_ends_with_the_same_scores_and_the_same_cosines(tmp_path):
    method = Among(configs=PAIR, looks=2)
    whole = search(method, task())
    pieces, stops = to_the_end(lambda: search(method, task(stop=stop_every(5), checkpoint=tmp_path / "search.pt")))
    assert stops >= 2
    assert pieces.scores == whole.scores
    assert pieces.history == whole.history
    json.dumps(pieces.history, allow_nan=False)


class Signed(nn.Module):
    """Logits W x, -W x or V x, by the resolution of the last layer. With weights of 0 the second gradient is minus the first."""

    def __init__(self):
        super().__init__()
        self.w, self.v = (nn.Parameter(torch.zeros(10, 3)) for _ in range(2))

    def forward(self, x, path):
        x = x.mean((2, 3))
        return {0: x @ self.w.T, 1: -(x @ self.w.T), 2: x @ self.v.T}[path[-1]]


def batches(seed):
    draw = torch.Generator().manual_seed(seed)
    return [(torch.randn(8, 3, 4, 4, generator=draw), torch.randint(0, 10, (8,), generator=draw)) for _ in range(2)]


def test_cosines_are_those_of_gradients_by_hand():
    learner = Learner(Signed(), recipe(), torch.device("cpu"))
    ones, others = batches(1), batches(2)
    found = np.array(cosines(learner, [(0, 0), (0, 1), (0, 2)], ones, others))

    def by_hand(some):  # softmax of zeros is 0.1 everywhere: dL/dW = mean of (0.1 - onehot) x^T
        parts = [
            ((0.1 - F.one_hot(y, 10).double()).T @ x.double().mean((2, 3)) / len(y)).numpy().ravel() for x, y in some
        ]
        return np.mean(parts, axis=0)

    a, b = by_hand(ones), by_hand(others)
    own = a @ b / np.linalg.norm(a) / np.linalg.norm(b)
    assert found == pytest.approx(np.array([[own, -own, 0], [-own, own, 0], [0, 0, own]]), abs=1e-6)


def test_looking_leaves_weights_gradients_and_momentum_alone():
    learner = Learner(Signed(), recipe(), torch.device("cpu"))
    x, y = batches(1)[0]
    learner.learn(x, y, (0, 0), 0.1)
    before = {name: value.clone() for name, value in learner.network.state_dict().items()}
    grads = [p.grad.clone() for p in learner.network.parameters() if p.grad is not None]
    cosines(learner, [(0, 0), (0, 1)], batches(3), batches(4))
    assert all(torch.equal(value, before[name]) for name, value in learner.network.state_dict().items())
    after = [p.grad for p in learner.network.parameters() if p.grad is not None]
    assert all(torch.equal(a, b) for a, b in zip(grads, after, strict=True))


@pytest.mark.parametrize(
    ("epochs", "looks", "wanted"),
    [(60, 4, (1, 21, 40, 60)), (2, 4, (1, 2)), (1, 4, (1,)), (10, 0, ()), (10, 1, (1,))],
)
def test_looks_are_spread_evenly(epochs, looks, wanted):
    assert moments(epochs, looks) == wanted


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(UsageError, match="name some"):
        Among()
    with pytest.raises(UsageError, match="every path is drawn"):
        Among(configs=PAIR, paths=19683)
    small = task(train=random_images(16, 1))
    with pytest.raises(UsageError, match="the training half has one: lower --batch-size"):
        search(Among(configs=PAIR, looks=1), small)
    search(Among(configs=PAIR), small)
