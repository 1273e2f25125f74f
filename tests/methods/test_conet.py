"""CONet's indicator: the score that the ranks of short trainings come to."""

import numpy as np
import pytest
import torch
from planted import SPACE, Planted, planted_images, task
from scipy.stats import spearmanr

from benchmark.channels.metrics import rank_slope
from benchmark.errors import UsageError
from benchmark.jobs.search import Search
from benchmark.recipe import SearchRecipe
from benchmark.training.engine import learners
from benchmark.training.schedule import learning_rate
from nas_methods import conet
from nas_methods.supernet import Feed
from tests.machine import PRECISION


def brief():
    """The planted task on few images: a step per epoch."""
    return task(lambda model: Planted(), planted_images(16, 3), planted_images(16, 4))


def test_scores_are_the_mean_ranks_of_the_last_epoch():
    ranking = conet.Method(epochs_each=3).rank(brief())
    history = ranking.history
    assert np.shape(history["rank"]) == (len(SPACE), 3)
    assert list(ranking.scores) == [series[-1] for series in history["rank"]]
    assert [then["scores"] for then in history["curve"]] == np.transpose(history["rank"]).tolist()
    assert history["slope"] == [rank_slope(series) for series in history["rank"]]
    # 64 channels on either side, and as many of them are taken up as the planted share says.
    assert sorted(ranking.scores) == pytest.approx([rank / 64 for rank in range(1, 37)])
    assert history["images"] == 36 * 3 * 16


@pytest.mark.real
def test_recipe_smoke_is_long_enough_for_ranks_to_rise(cifar10_root, tmp_path):
    """Nothing as drawn, something after all steps: else every score is 0, and there is no ranking to smoke-test."""
    recipe = SearchRecipe.preset("smoke", threads=1, precision=PRECISION)
    search = Search("conet", {}, SPACE, recipe, tmp_path, str(cifar10_root), "cpu", "eager", "", {})
    smoke = search.task(0)
    network = smoke.data.network(0, affine=True)
    assert np.max(conet.ranks(network)) == 0
    (learner,) = learners([network], recipe, torch.device("cpu"), "eager")
    feed, steps = Feed(smoke), conet.Method().epochs_each * smoke.data.train.steps
    for step in range(steps):
        learner.learn(*feed.train(step), SPACE[1].path, learning_rate(recipe, step, steps))
    assert np.max(conet.ranks(network)) > 0


def test_the_slope_as_the_score(monkeypatch):
    """The second epoch's ranks are made to grow with the number of the configuration, but for the last one."""
    seen = []

    def growing(network):
        seen.append(network)
        number, epoch = divmod(len(seen) - 1, 2)
        return [[0.1, 0.2 + epoch * (number if number < 35 else -1) / 100], [0.3, 0.4]]

    monkeypatch.setattr(conet, "ranks", growing)
    ranking = conet.Method(score="slope").rank(brief())
    expected = [number / 400 / 1.0001 for number in range(35)] + [0.0]
    assert ranking.scores == pytest.approx(expected)
    assert spearmanr(ranking.scores[:35], range(35)).statistic == pytest.approx(1)
    assert ranking.pick == str(SPACE[34])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs_each": 0}, "epochs_each is 0"),
        ({"score": "best"}, "rank, slope"),
        ({"score": "slope", "epochs_each": 1}, "2 epochs"),
    ],
)
def test_options_that_make_no_sense(options, said):
    with pytest.raises(UsageError, match=said):
        conet.Method(**options)
