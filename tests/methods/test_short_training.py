"""Short stand-alone trainings: the ground truth's loop on the two halves, made once for all methods that read them."""

import dataclasses
import json
import signal
import subprocess
import sys
import time
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from planted import (
    SPACE,
    Planted,
    Small,
    coded_images,
    codes_of,
    planted_images,
    random_images,
    recipe,
    stop_every,
    task,
    to_the_end,
)

from benchmark import provenance
from benchmark.datasets.sets import Dataset
from benchmark.errors import Failure, UsageError
from benchmark.jobs.search import Search
from benchmark.recipe import SearchRecipe
from benchmark.running import claims
from benchmark.spaces import networks
from benchmark.training import checkpoint, devices, train
from benchmark.training.train import Training
from nas_methods import Busy, Stopped, alone, conet, short_training
from nas_methods.alone import Alone
from nas_methods.stamps import code_of
from tests.turns import ended


def sums(network):
    """A measure that every weight moves: two sums for each parameter."""
    return [[float(p.detach().double().sum()), float(p.detach().double().abs().sum())] for p in network.parameters()]


@pytest.fixture
def begun(monkeypatch):
    """The configurations whose training was begun or resumed, as they are."""
    seen, really = [], train.fitting

    def counting(fit, *more):
        seen.append(str(fit.config))
        return really(fit, *more)

    monkeypatch.setattr(train, "fitting", counting)
    return seen


TINY = {"train": random_images(32, 1), "validation": random_images(32, 2)}


def brief(**more):
    """The planted task on fewer images: a step per epoch."""
    return task(lambda model: Planted(), planted_images(16, 3), planted_images(48, 4), **more)


def facts(ranking):
    return ranking.scores, ranking.pick, dict(ranking.history)


# What is trained on what ----------------------------------------------------------------------------------------------


def test_a_training_is_that_of_the_ground_truth_on_the_halves(monkeypatch):
    """Same loop, weights, order and schedule, bit for bit, on the real network; measured after the last update."""
    halves, given, made = (random_images(32, 1), random_images(24, 2)), recipe(epochs=7), []

    def network(model):
        made.append(networks.ResNet(SPACE, affine=True))
        networks.initialise(made[-1], 5, model)
        return made[-1]

    class Once(Exception):
        pass

    def progress(fraction, facts):
        if facts["images"] > 2 * 32:  # the first configuration is done
            raise Once

    done = []
    monkeypatch.setattr(alone.Shelf, "keep", lambda shelf, config, training: done.append(training))
    with pytest.raises(Once):
        Alone(epochs_each=2).trainings(task(network, *halves, seed=5, recipe=given, progress=progress), sums)
    [found] = done

    dataset = Dataset("planted", *halves, 10, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "none")
    two_epochs = dataclasses.replace(given, epochs=2)
    results, _ = Training(SPACE, SPACE[0], 5, two_epochs, dataset, torch.device("cpu")).run()
    assert found.accuracy == pytest.approx([value / 100 for value in results["curves"]["test_accuracy"]], abs=1e-9)
    assert found.images == results["images"] == 64
    assert len(found.measured) == 2
    assert found.measured[1] == sums(made[0]) != found.measured[0]


def test_halves_are_never_mixed():
    """Weights learn on one half, all of it in every epoch; accuracies come from the other, all of it."""
    seen = []

    class Recording(Small):
        def forward(self, x, path):
            code = codes_of(x)
            seen.append((torch.is_grad_enabled(), path, (256 * code[:, 0] + code[:, 1]).tolist()))
            return super().forward(x, path)

    def numbered(first, count):
        numbers = np.arange(first, first + count)
        return coded_images(np.stack([numbers // 256, numbers % 256, 0 * numbers], axis=1), numbers % 10)

    short_training.Method(epochs_each=2).rank(task(Recording, numbered(0, 48), numbered(1024, 24)))
    for config in SPACE:
        learned = [ids for learning, path, ids in seen if learning and path == config.path]
        judged = [ids for learning, path, ids in seen if not learning and path == config.path]
        assert [sorted(chain(*learned[epoch : epoch + 3])) for epoch in (0, 3)] == 2 * [list(range(48))]
        assert learned[:3] != learned[3:]
        assert judged == 2 * [list(range(1024, 1040)), list(range(1040, 1048))]
    assert len(seen) == 36 * 2 * (3 + 2)


def test_the_score_is_the_accuracy_after_the_last_epoch():
    ranking = short_training.Method(epochs_each=3).rank(task(**TINY))
    assert np.shape(ranking.history["accuracy"]) == (36, 3)
    assert list(ranking.scores) == [series[-1] for series in ranking.history["accuracy"]]
    assert all(score * 32 % 1 == pytest.approx(0, abs=1e-5) for score in ranking.scores)  # shares of 32 images
    assert any(series[-1] != series[0] for series in ranking.history["accuracy"])
    assert ranking.history["images"] == 36 * 3 * 32
    for e, then in enumerate(ranking.history["curve"]):
        scores = [series[e] for series in ranking.history["accuracy"]]
        assert then == {"epoch": e + 1, "images": 36 * (e + 1) * 32, "scores": scores}


@pytest.mark.parametrize("method", [short_training.Method(epochs_each=3), conet.Method(epochs_each=3)], ids=repr)
def test_a_ranking_states_the_recipe_of_its_trainings_and_when_each_epoch_was_through(method):
    ranking = method.rank(task(lambda model: Planted(), planted_images(16, 3), planted_images(48, 4)))
    made = ranking.provenance
    assert made["recipe"]["epochs"] == 3 != recipe().epochs
    assert made["recipe_hash"] == SearchRecipe(**made["recipe"]).hash
    *some, last = made["timings"]["curve"]
    assert (len(some), last) == (2, made["timings"]["seconds"])
    assert sorted(some) == some
    assert some[-1] <= last


def test_the_supernets_epochs_do_not_matter_and_these_do(begun, shelved):
    """E is not among what decides these trainings: they are found again."""
    first = short_training.Method().rank(task(**TINY, checkpoint=shelved))
    assert facts(short_training.Method().rank(task(**TINY, recipe=recipe(epochs=9), checkpoint=shelved))) == facts(
        first
    )
    assert begun == []
    longer = short_training.Method(epochs_each=3).rank(task(**TINY))
    assert longer.history["accuracy"] != first.history["accuracy"]


def test_seeds_differ_and_each_repeats(shelved):
    rankings = [
        short_training.Method().rank(task(**TINY, **more)) for more in ({"checkpoint": shelved}, {}, {"seed": 1})
    ]
    assert facts(rankings[0]) == facts(rankings[1])
    assert rankings[2].scores != rankings[0].scores


def test_stand_alone_networks_have_affine_batch_norms(tmp_path):
    """What the command hands to a method: the supernet as before, and the ground truth's network."""
    given = SearchRecipe(dataset="synthetic", train_images=4, eval_images=4)
    search = Search("short_training", {}, SPACE, given, tmp_path, None, "cpu", "eager", "code", {})
    made = search.task(3).data.network
    expected = networks.ResNet(SPACE, 10, affine=True)
    networks.initialise(expected, 3)
    for name, value in made(0, affine=True).state_dict().items():
        assert torch.equal(value, expected.state_dict()[name])
    assert "norm.weight" not in made(0).state_dict()
    assert "norm.running_mean" not in made(0).state_dict()
    assert conet.Method.affine
    assert short_training.Method.affine


# Made once ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("methods", [(conet, short_training), (short_training, conet)], ids=["conet", "short_training"])
def test_whichever_method_comes_second_trains_nothing(begun, tmp_path, methods):
    first, second = (module.Method() for module in methods)
    rankings = [first.rank(brief(checkpoint=tmp_path / "first.pt"))]
    assert begun == [str(config) for config in SPACE]
    begun.clear()
    rankings.append(second.rank(brief(checkpoint=tmp_path / "second.pt")))
    assert begun == []
    assert facts(rankings[1]) == facts(second.rank(brief()))  # as if it had trained all by itself
    # and it is charged for what the trainings cost
    assert rankings[0].provenance["timings"] == rankings[1].provenance["timings"]
    assert rankings[0].provenance["timings"]["seconds"] > 0


@pytest.fixture(scope="module")
def shelved(tmp_path_factory):
    """A checkpoint beside which all trainings of `task(**TINY)` are kept."""
    checkpoint = tmp_path_factory.mktemp("shelved") / "search.pt"
    short_training.Method().rank(task(**TINY, checkpoint=checkpoint))
    return checkpoint


@pytest.mark.parametrize(
    "change", ["seed", "epochs", "rate", "data", "device", "code of the trainings", "code of the measure", "scipy"]
)
def test_trainings_that_anything_else_decided_are_not_taken(begun, shelved, monkeypatch, change):
    given = TINY | {"checkpoint": shelved, "stop": lambda: True}  # at the first step, if there is one
    short_training.Method().rank(task(**given))
    assert begun == []
    method = short_training.Method()
    if change == "seed":
        given["seed"] = 1
    elif change == "epochs":
        method = short_training.Method(epochs_each=1)
    elif change == "rate":
        given["recipe"] = recipe(lr=0.05)
    elif change in ("data", "device"):
        really = devices.numerics
        changed = {"data": {"dataset": {"checksum": "other"}}, "device": {"device": "other"}}[change]
        monkeypatch.setattr("planted.numerics", lambda *words: really(*words) | changed)
    elif change == "scipy":
        monkeypatch.setattr(alone, "version", lambda name: "0")
    else:
        name = alone.__file__ if change == "code of the trainings" else conet.__file__
        monkeypatch.setattr(alone, "code_of", lambda of: {of: "other"} if of == name else code_of(of))
    with pytest.raises(Stopped):
        method.rank(task(**given))
    assert begun == ["[1,1,8]"]


@pytest.mark.parametrize("k", [3, 7])
def test_stopped_again_and_again_no_step_is_taken_twice(tmp_path, k):
    undisturbed = Alone().trainings(task(**TINY), sums)
    checkpoint, stop = tmp_path / "search.pt", stop_every(k)
    steps = []

    def note(fraction, facts):
        steps.append(facts["images"])

    resumed, stops = to_the_end(
        lambda: Alone().trainings(task(**TINY, checkpoint=checkpoint, stop=stop, progress=note), sums), limit=200
    )
    assert stops == 36 * 4 // k
    assert [(t.accuracy, t.measured, t.images) for t in resumed] == [
        (t.accuracy, t.measured, t.images) for t in undisturbed
    ]
    assert steps == [16 * step for step in range(1, 36 * 4 + 1)]  # every step once
    assert not list(tmp_path.rglob("*.pt"))
    assert not list(tmp_path.rglob("*.partial"))


# It stays at the first checkpoint of its fourth training until it is killed.
KILLED = """
import sys
import time
from pathlib import Path
from test_short_training import brief
from benchmark.training import checkpoint
from benchmark.training.checkpoint import Checkpoint
from nas_methods import conet

checkpoint.CHECKPOINT_SECONDS = -1.0
save = Checkpoint.save


def save_and_stay(self, state):
    save(self, state)
    if len(list(self.path.parent.glob("*.json"))) == 3:
        time.sleep(600)


Checkpoint.save = save_and_stay
conet.Method().rank(brief(checkpoint=Path(sys.argv[1])))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill")
def test_killed_midway_the_other_method_takes_over(begun, tmp_path, environment, capsys):
    environment = environment | {
        "PYTHONPATH": f"{Path(__file__).parent}:{Path(__file__).parents[1]}:{environment['PYTHONPATH']}"
    }
    command = [sys.executable, "-c", KILLED, str(tmp_path / "conet.pt")]
    process = subprocess.Popen(command, env=environment)
    try:
        while len(list(tmp_path.rglob("*.json"))) < 3:
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    there = [path for path in tmp_path.rglob("*.json") if json.loads(path.read_text())]
    assert len(there) == 3
    found = short_training.Method().rank(brief(checkpoint=tmp_path / "short_training.pt"))
    assert len(begun) == 36 - len(there)
    said = capsys.readouterr().err
    assert f"{len(there)} of 36 trainings are there already" in said
    assert "starts afresh" not in said
    assert facts(found) == facts(short_training.Method().rank(brief()))


def test_a_kill_between_record_and_sweep_leaves_nothing_behind(begun, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    def killed(*words):
        raise Killed

    monkeypatch.setattr(checkpoint, "CHECKPOINT_SECONDS", -1.0)
    monkeypatch.setattr(alone.Shelf, "sweep", killed)
    with pytest.raises(Killed):
        short_training.Method().rank(brief(checkpoint=tmp_path / "search.pt"))
    assert [path.name for path in tmp_path.rglob("*.pt")] == ["1-1-8.pt"]
    monkeypatch.undo()
    short_training.Method().rank(brief(checkpoint=tmp_path / "search.pt"))
    assert begun == ["[1,1,8]"]  # `undo` took the counting away, too
    assert not list(tmp_path.rglob("*.pt"))


@pytest.mark.parametrize("text", ["", "[]", "{}", "\x00", "another's"])
def test_a_damaged_record_is_made_again_with_a_line(begun, tmp_path, capsys, text):
    given = partial(brief, checkpoint=tmp_path / "search.pt")
    expected = short_training.Method().rank(given())
    [path] = tmp_path.rglob("4-3-3.json")
    [other] = tmp_path.rglob("4-4-2.json")
    path.write_text(other.read_text() if text == "another's" else text)
    begun.clear()
    capsys.readouterr()
    assert facts(short_training.Method().rank(given())) == facts(expected)
    assert begun == ["[4,3,3]"]
    assert "4-3-3.json is no record of this training" in capsys.readouterr().err
    begun.clear()
    short_training.Method().rank(given())
    assert begun == []


def test_one_process_at_a_time(tmp_path):
    """Another one that makes the same trainings is waited for; other trainings are not."""
    given = partial(brief, checkpoint=tmp_path / "search.pt", stop=lambda: True)
    with pytest.raises(Stopped):
        conet.Method().rank(given())
    [lock] = tmp_path.rglob("lock")
    with claims.claim(lock):
        for method in (conet.Method(), short_training.Method()):
            with pytest.raises(Busy):
                method.rank(given())
        with pytest.raises(Stopped):
            conet.Method().rank(given(seed=1))
    with pytest.raises(Stopped):
        conet.Method().rank(given())


BUSY = """
from dataclasses import dataclass
from pathlib import Path
from benchmark import Ranking
from nas_methods import Busy

@dataclass(frozen=True)
class Method:
    def rank(self, task):
        asked = Path(__file__).with_suffix(".asked")
        if not asked.exists():
            asked.touch()
            raise Busy
        return Ranking(task.space.name, tuple(range(36)))
"""


def test_a_method_that_is_busy_elsewhere_is_asked_again(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(BUSY)
    search = Search(
        str(file),
        {},
        SPACE,
        SearchRecipe(),
        tmp_path,
        None,
        "cpu",
        "eager",
        code_of(str(file)),
        provenance.code_version(),
    )
    assert ended(search(0, print, lambda: False)) is False  # to be tried again
    assert not search.path(0).exists()
    assert ended(search(0, print, lambda: False)) is True
    assert search.path(0).exists()


# What goes wrong ------------------------------------------------------------------------------------------------------


def test_a_training_that_explodes_is_named():
    with pytest.raises(Failure, match=r"\[1,1,8\] seed 0: .* try a lower --lr"):
        short_training.Method(epochs_each=8).rank(task(recipe=recipe(lr=100.0, weight_decay=1.0, momentum=0.99)))


def test_trainings_too_short_to_move_a_rank_are_no_ranking():
    with pytest.raises(
        Failure, match=r"same rank, 0\.0, after 2 epochs: that is no ranking; train longer \(--epochs-each\)"
    ):
        conet.Method().rank(task(**TINY))


def test_no_epochs_are_refused():
    with pytest.raises(UsageError, match="epochs_each is 0"):
        short_training.Method(epochs_each=0)


def test_the_work_foretold_grows_with_epochs_and_images():
    def work(epochs=1, **more):
        return short_training.Method(epochs_each=epochs).work(task(**more))

    assert work(4) == pytest.approx(4 * work())
    assert work(recipe=recipe(epochs=50)) == work()
    # three forward passes per trained image, one per tested image
    assert work() / work(validation=random_images(160, 2)) == pytest.approx((3 * 96 + 64) / (3 * 96 + 160))


def test_halves_of_a_checkpoint_go_with_the_training_that_is_kept(tmp_path):
    shelf = alone.Shelf(tmp_path, {})
    for name in ("1-1-8.pt", "1-1-8.pt.0123456789ab.partial", "1-1-8.json", "1-1-81.pt"):
        (tmp_path / name).touch()
    shelf.sweep(SPACE[0])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1-1-8.json", "1-1-81.pt"]
