"""The contract, on which every method in `nas_methods` is driven: new files are found and tested by themselves."""

import dataclasses
import json
import re
import sys
from itertools import combinations, pairwise

import numpy as np
import pytest
from planted import LEVELS, SPACE, planted_task, stop_every, to_the_end
from scipy.stats import kendalltau

import nas_methods
from benchmark import Ranking, evaluate
from benchmark.cli import given_fields
from benchmark.errors import UsageError
from benchmark.scoring.ranking import ranking_json, read_ranking
from benchmark.spaces import costs
from benchmark.spaces.space import Config
from nas_methods import Task
from nas_methods.alone import Alone
from nas_methods.supernet import Sampler

METHODS = nas_methods.built_in()
CONSTANT = {"params"}  # which end in a line that says so, and rank nothing
# Those that train one network for all paths at once, one whose sizes are no path, or none at all, so that no planted order
# of paths can show; what is planted for them instead, their own tests look for.
MIXING = ("darts", "diffstride", "dynopool", "shape_adaptor", "zero_cost")

# What else a method's options make of it: these must keep the contract as the defaults do.
OPTIONS = {
    "bse": [{"warmup": 0.5}],
    "darts": [{"optimizer": "gaea"}, {"second_order": True}],
    "diffstride": [{"cost": 10.0}],
    "dynopool": [{"cost": 10.0}],
    "mcts": [{"warmup": 0.5}, {"argmax": True}],
    "mixture": [{"temperature": "linear"}, {"M": 2}],
    "shape_adaptor": [{"every": 1, "limit": 6}],
    "spos": [{"sharing": "unshared"}, {"sharing": "unshared", "paths": 19683}],
}
VARIANTS = {name: nas_methods.load(name)() for name in METHODS if name not in CONSTANT} | {
    " ".join([name, *(f"{key}={value}" for key, value in given.items())]): nas_methods.load(name)(**given)
    for name, variants in OPTIONS.items()
    for given in variants
}
TRAINING = [name for name, method in VARIANTS.items() if nas_methods.trains(method)]
BASELINES = [name for name in VARIANTS if name not in TRAINING]


def no_data():
    raise AssertionError("this method should not need any data")


@pytest.fixture(scope="module")
def ranked():
    """Every variant's ranking of the planted task with seed 0."""
    return {name: method.rank(planted_task()) for name, method in VARIANTS.items()}


def test_all_methods_are_found():
    assert {"spos", "mixture", "mcts", "bse", "conet", "short_training", *MIXING} <= set(TRAINING)
    assert {"last_stage", "macs", "random_order"} <= set(BASELINES)
    assert not {"supernet", "alone", "resizing"} & set(METHODS)
    assert set(METHODS) >= CONSTANT
    assert list(METHODS) == sorted(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_options_are_a_frozen_record_whose_fields_all_become_flags(name):
    method = nas_methods.load(name)
    instance = method()  # every option has a default
    assert dataclasses.is_dataclass(method)
    words = ["--method", name]
    for field in dataclasses.fields(method):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(instance, field.name, None)
        words += [f"--{field.name.replace('_', '-')}", str(getattr(instance, field.name))]
    given = given_fields(evaluate.arguments(method).parse(words), method)
    assert set(given) == {field.name for field in dataclasses.fields(method)}
    assert method(**given) == instance


@pytest.mark.parametrize("name", METHODS)
def test_the_file_says_where_the_method_comes_from_and_how_to_run_it(name):
    method = nas_methods.load(name)
    about = sys.modules[method.__module__].__doc__
    assert re.search(rf"python -m benchmark\.evaluate --method {name}\b", about)
    assert re.search(r"\bpaper\b|\b(19|20)\d\d\b|^Baseline", about)
    assert len(about.splitlines()[0]) <= 120  # `--list` shows it
    options = method.__doc__
    for field in dataclasses.fields(method):
        assert re.search(rf"^ *{field.name}\b", options, re.MULTILINE), f"{field.name} is not described"


@pytest.mark.parametrize("name", VARIANTS)
def test_rank_returns_a_ranking_of_the_space(ranked, name, tmp_path):
    ranking = ranked[name]
    assert isinstance(ranking, Ranking)
    assert ranking.space == SPACE.name
    assert len(ranking.scores) == len(SPACE)
    assert np.isfinite(ranking.scores).all()
    # A pick that is written like a configuration is one of the space; anything else counts as outside it.
    if re.match(r"\s*\[", ranking.pick):
        assert Config.parse(ranking.pick) in SPACE
    assert str(SPACE.architecture(ranking.pick)) == ranking.pick  # it can be trained by itself
    # All that it says can be kept as text.
    path = tmp_path / "ranking.json"
    path.write_text(ranking_json(ranking))
    assert read_ranking(path) == Ranking(**json.loads(json.dumps(vars(ranking))))


@pytest.mark.parametrize("name", VARIANTS)
def test_a_seed_decides(ranked, name):
    again, other = (VARIANTS[name].rank(planted_task(seed)) for seed in (0, 1))
    assert again.scores == ranked[name].scores
    assert again.pick == ranked[name].pick
    assert again.history == ranked[name].history
    if name == "random_order":
        assert other.scores != again.scores
    if name in TRAINING and not isinstance(VARIANTS[name], Alone):  # the planted trainings draw nothing
        assert other.history != again.history
    if isinstance(VARIANTS[name], Sampler):  # what was drawn differs, whatever the planted scores come to
        assert other.history["reward"] != again.history["reward"]


def test_variants_are_methods_of_their_own(ranked):
    """Else an option might do nothing, and pass all the rest."""
    for name in OPTIONS:
        mine = [ranked[variant].history for variant in VARIANTS if variant.split()[0] == name]
        if name != "spos":  # the planted network has nothing to share, so here `sharing` changes nothing
            assert all(one != other for one, other in combinations(mine, 2)), name
    assert ranked["spos sharing=unshared paths=19683"].history != ranked["spos"].history


@pytest.mark.parametrize("name", [name for name in TRAINING if name.split()[0] not in MIXING])
def test_a_method_that_trains_recovers_the_planted_ranking(ranked, name):
    assert kendalltau(ranked[name].scores, LEVELS).statistic > 0.9
    assert ranked[name].pick == str(SPACE[int(LEVELS.argmax())])


@pytest.mark.parametrize("name", ["last_stage", "macs", "random_order"])
def test_the_plant_cannot_be_guessed(ranked, name):
    """Without this, the test above might pass for a method that looks at the configurations alone."""
    assert abs(kendalltau(ranked[name].scores, LEVELS).statistic) < 0.25


@pytest.mark.parametrize("name", TRAINING)
def test_a_method_that_trains_can_be_stopped_and_resumed(ranked, name, tmp_path):
    checkpoint, stop = tmp_path / "search.pt", stop_every(5)
    resumed, stops = to_the_end(lambda: VARIANTS[name].rank(planted_task(checkpoint=checkpoint, stop=stop)))
    assert stops > 1
    assert resumed.scores == ranked[name].scores
    assert resumed.pick == ranked[name].pick
    assert resumed.history == ranked[name].history


@pytest.mark.parametrize("name", TRAINING)
def test_a_method_that_trains_can_be_killed_without_notice(ranked, name, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.training.checkpoint.CHECKPOINT_SECONDS", -1.0)  # a checkpoint is due at every chance
    checkpoint = tmp_path / "search.pt"
    begun = []  # where each attempt began
    for kill_after in (3, 9):
        said = []

        def progress(fraction, facts, said=said, kill_after=kill_after):
            said.append(fraction)
            if len(said) == kill_after:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            VARIANTS[name].rank(planted_task(checkpoint=checkpoint, progress=progress))
        begun.append(said[0])
    said = []
    resumed = VARIANTS[name].rank(
        planted_task(checkpoint=checkpoint, progress=lambda fraction, facts: said.append(fraction))
    )
    assert begun[0] < begun[1] < said[0]  # none started afresh
    assert resumed.scores == ranked[name].scores
    assert resumed.pick == ranked[name].pick
    assert resumed.history == ranked[name].history


@pytest.mark.parametrize("name", TRAINING)
def test_a_method_that_trains_foretells_its_work_and_reports_progress(name):
    said = []
    task = planted_task(progress=lambda fraction, facts: said.append((fraction, facts["images"])))
    if hasattr(VARIANTS[name], "work"):  # which a method may leave out
        assert VARIANTS[name].work(task) > 0
    VARIANTS[name].rank(task)
    assert said == sorted(said)
    assert said[0][0] > 0
    assert said[-1][0] == pytest.approx(1)


def blind(seed=0):
    return Task(SPACE, planted_task().recipe, seed, "cpu", no_data)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_see_no_data(name):
    assert len(VARIANTS[name].rank(blind()).scores) == 36


@pytest.mark.parametrize("name", sorted(CONSTANT))
def test_a_constant_is_no_ranking(name):
    with pytest.raises(UsageError, match=r"same score, 272474\.0: that is no ranking"):
        nas_methods.load(name)().rank(blind())


def test_last_stage_ranks_by_the_last_stage():
    scores = VARIANTS["last_stage"].rank(blind()).scores
    assert [scores[SPACE.index(text)] for text in ("[1,1,8]", "[4,3,3]", "[8,1,1]")] == [-8, -3, -1]


def test_macs_ranks_by_macs():
    scores = VARIANTS["macs"].rank(blind()).scores
    assert scores == tuple(costs.macs(SPACE, config) for config in SPACE)
    by_hand = {"[1,1,8]": 18.6, "[4,3,3]": 40.8, "[7,1,2]": 91.1, "[8,1,1]": 149.3}
    assert {text: round(scores[SPACE.index(text)] / 1e6, 1) for text in by_hand} == by_hand


def test_random_order_is_a_permutation_that_each_seed_draws_anew():
    orders = [VARIANTS["random_order"].rank(blind(seed)).scores for seed in range(20)]
    assert {tuple(sorted(order)) for order in orders} == {tuple(range(36))}
    assert len(set(orders)) == 20
    taus = [kendalltau(a, b).statistic for a, b in pairwise(orders)]
    assert abs(np.mean(taus)) < 0.15  # the standard error of this mean is 0.03


def test_data_is_made_once_and_only_when_needed():
    calls = []
    base = planted_task()
    task = Task(SPACE, base.recipe, 0, "cpu", lambda: calls.append(1) or base.load())
    assert not calls
    assert "data" not in vars(task)
    assert task.data is task.data
    assert calls == [1]


METHOD = """
from dataclasses import dataclass
from benchmark import Ranking

@dataclass(frozen=True)
class Method:
    sign: int = 1

    def rank(self, task):
        return Ranking(task.space.name, tuple(self.sign * float(i) for i in range(len(task.space))))
"""


def test_a_file_of_ones_own_is_loaded_by_path(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(METHOD)
    method = nas_methods.load(str(path))
    assert method(sign=-1).rank(blind()).pick == "[1,1,8]"
    assert "mine" not in METHODS


def test_a_file_named_like_a_library_takes_nothings_place(tmp_path, monkeypatch):
    import random

    monkeypatch.setitem(sys.modules, "random", random)  # puts it back if this test fails
    path = tmp_path / "random.py"
    path.write_text(METHOD)
    assert nas_methods.load(str(path))().sign == 1
    assert sys.modules["random"] is random


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def rank(:\n", "SyntaxError"),
        ("import no_such_library_at_all\n", "no_such_library_at_all"),
        ("raise RuntimeError('on\\npurpose')\n", "RuntimeError"),
        ("", "verb rank"),
        ("Method = 3\n", "verb rank"),
        ("class Method:\n    def rank(self, task): ...\n", "must be a dataclass"),
        (METHOD.replace("(frozen=True)", ""), "frozen"),
        (METHOD.replace("def rank", "def order"), "verb rank"),
    ],
)
def test_files_that_do_not_keep_to_the_contract_are_named_in_one_line(tmp_path, text, said):
    path = tmp_path / "broken.py"
    path.write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        nas_methods.load(str(path))
    assert "broken.py" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["nope", "", "supernet", "__init__", "macs ", "MACS", "nope.py", "os"])
def test_unknown_methods_list_the_known(name):
    with pytest.raises(UsageError, match=", ".join(METHODS)):
        nas_methods.load(name)
