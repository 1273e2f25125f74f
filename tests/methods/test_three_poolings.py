"""Every method on a space of three poolings: bottleneck blocks behind a fixed stem, real networks, tiny."""

import re

import numpy as np
import pytest
from planted import stop_every, to_the_end

import nas_methods
from benchmark import Ranking
from benchmark.datasets import named
from benchmark.datasets.halves import split_of
from benchmark.errors import UsageError
from benchmark.jobs.search import Search
from benchmark.recipe import SearchRecipe
from benchmark.spaces.space import SPACES, Backbone, Config, PoolingSpace

SPACE = PoolingSpace(
    "tiny-synthetic",
    (8, 4, 2, 1),
    5,
    Config((2, 1, 1, 1)),
    "synthetic",
    Backbone("bottleneck", (2, 2, 4, 4, 8), "imagenet", 32),
)
RECIPE = SearchRecipe(
    dataset="synthetic",
    epochs=1,
    batch_size=8,
    lr=0.1,
    train_images=64,
    eval_images=24,
    calibration_images=8,
    curve_images=8,
    precision="fp32",
    memory_layout="contiguous",
    threads=1,
)
OPTIONS = {
    "spos": [{"sharing": "unshared"}, {"paths": 19683}],
    "mixture": [{"M": 2, "proxy": 2}, {"M": 2, "inverse_end": 150.0}],
    "mcts": [{"warmup": 0.5}],
    "darts": [{"sharing": "unshared"}, {"optimizer": "gaea"}, {"second_order": True}],
}
VARIANTS = [(name, given) for name in nas_methods.built_in() for given in ({}, *OPTIONS.get(name, []))]
EACH = pytest.mark.parametrize(
    ("name", "given"), VARIANTS, ids=[" ".join([name, *map(str, given.items())]) for name, given in VARIANTS]
)


@pytest.fixture(scope="module")
def made():
    """The data set, made once: a search that goes on loads it anew."""
    return named.load("synthetic")


@pytest.fixture(autouse=True)
def _known(monkeypatch, made):
    monkeypatch.setitem(SPACES, SPACE.name, SPACE)
    monkeypatch.setattr(named, "load", lambda name, root=None, download=True: made)


def ranked(folder, name, given, seed=0, **more):
    search = Search(name, given, SPACE, RECIPE, folder, None, "cpu", "eager", {}, {})
    return search.instance().rank(search.task(seed, **more))


@EACH
def test_every_method_ranks_it_and_goes_on_where_it_stopped(name, given, tmp_path):
    if name == "params":
        with pytest.raises(UsageError, match="same score"):
            ranked(tmp_path, name, given)
        return
    ranking = ranked(tmp_path, name, given)
    assert isinstance(ranking, Ranking)
    assert (ranking.space, len(ranking.scores)) == (SPACE.name, len(SPACE.configs))
    assert np.isfinite(ranking.scores).all()
    assert str(SPACE.architecture(ranking.pick)) == ranking.pick
    if nas_methods.trains(nas_methods.load(name)):
        stopped = {"checkpoint": tmp_path / "work" / "search.pt", "stop": stop_every(3)}
        stopped["checkpoint"].parent.mkdir()
        resumed, stops = to_the_end(lambda: ranked(tmp_path, name, given, **stopped))
        assert stops > 0
        assert (resumed.scores, resumed.pick) == (ranking.scores, ranking.pick)


def test_a_search_sees_smaller_images_where_its_recipe_says_so(tmp_path):
    small = Search(
        "spos", {}, SPACE.at(64), SearchRecipe(**RECIPE.to_dict(), side=32), tmp_path, None, "cpu", "eager", {}, {}
    )
    task = small.task(0)
    assert task.space == SPACE
    assert task.data.train.images.pixels.shape == (64, 32, 32, 3)
    assert task.data.network(0).space == SPACE
    assert re.fullmatch(r"[\w-]+-seed0", small.path(0).stem)


def test_the_halves_are_those_of_the_data_sets_split(tmp_path, made):
    search = Search("spos", {}, SPACE, RECIPE, tmp_path, None, "cpu", "eager", {}, {})
    split = split_of(made, RECIPE.split_seed)
    assert search.task(0).data.provenance["split"]["sha256"] == split.sha256
