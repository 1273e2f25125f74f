"""--retrain: what a search found, trained from scratch by the ground-truth recipe, once and for all."""

import json
import signal
import subprocess
import sys
import time

import pytest
from test_evaluate import HASTY, refused, run  # noqa: F401 (fixtures)

from benchmark import load_space, load_table
from benchmark.datasets import named
from benchmark.jobs.retrain import ground_truth_recipe
from benchmark.recipe import Recipe, SearchRecipe
from benchmark.tables.files import write_table
from benchmark.tables.ledger import Ledger, Run
from benchmark.tables.table import GroundTruth, Origin, Row
from tests.machine import FAST
from tests.tables.test_ledger import PROVENANCE, results

SPACE = load_space()
RECIPE = Recipe(dataset="synthetic", epochs=2, batch_size=8, train_images=16, eval_images=8, precision="fp32")
FOUND = "012220220"

# A method that takes no time and picks what it is told to.
TOLD = """
from dataclasses import dataclass
from benchmark import Ranking

@dataclass(frozen=True)
class Method:
    find: str = "012220220"
    also: str = ""
    trains = False

    def rank(self, task):
        history = {"finds": self.also.split()}
        return Ranking(task.space.name, tuple(float(i) for i in range(len(task.space))), pick=self.find, history=history)
"""


@pytest.fixture
def words(tmp_path, monkeypatch):
    """A search that finds a path outside the space, and a table that states its recipe."""
    monkeypatch.setattr("benchmark.training.pace.measure_speed", lambda *_: FAST)
    (tmp_path / "told.py").write_text(TOLD)
    rows = [Row(config, 50.0 + i / 7, 0.5, 3) for i, config in enumerate(SPACE)]
    stated = {"recipe": RECIPE.to_dict(), "recipe_hash": RECIPE.hash, "recipe_label": RECIPE.label}
    table = write_table(
        GroundTruth.from_rows("stated", SPACE, rows, Origin("synthetic", **stated)), tmp_path / "tables"
    )
    given = ["--method", tmp_path / "told.py", "--table", table, "--out", tmp_path / "out", "--retrain"]
    return [*map(str, given)]


def retrained(out):
    [folder] = (out / "retrained").iterdir()
    return {path.stem: json.loads(path.read_text()) for path in (folder / "records").glob("*.json")}


def lasting(record):
    return {key: record[key] for key in ("config", "number", "seed", "test_accuracy", "images", "curves")}


def trained(text, seed):
    """The results of the training of a find without any command."""
    import torch

    from benchmark.training.train import Training

    return Training(SPACE, SPACE.architecture(text), seed, RECIPE, named.load("synthetic"), torch.device("cpu")).run()[
        0
    ]


@pytest.fixture(scope="module")
def alone():
    return trained(FOUND, 3)


def test_a_find_outside_the_space_is_trained_once_as_found(run, words, tmp_path, alone):  # noqa: F811
    code, out, err = run(*words, "--seeds", 3, "--json")
    assert code == 0, err
    [record] = retrained(tmp_path / "out").values()
    assert lasting(record) == {"config": FOUND, "number": None, "seed": 3} | alone
    result = json.loads(out)
    assert result["method"]["picks"][0]["accuracy"] is None
    [told] = result["retrained"]
    assert (told["config"], told["seed"], told["test_accuracy"]) == (FOUND, 3, alone["test_accuracy"])
    assert told["recipe_hash"] == RECIPE.hash
    before = retrained(tmp_path / "out")
    code, out, err = run(*words, "--seeds", 3)  # in words, and nothing is trained any more
    assert code == 0
    assert f"retrained: {FOUND} seed 3 {alone['test_accuracy']:.2f} %" in out
    assert "to be trained" not in err
    assert retrained(tmp_path / "out") == before
    assert not list((tmp_path / "out").glob("retrained/*/work/*"))


def test_sizes_that_were_learned_are_trained_as_found_beside_the_pick(run, words, tmp_path):  # noqa: F811
    sizes = "32,32,32,24x23,24x23,12,12,9,9"
    words += ["--find", "[4,3,3]", "--also", f"{sizes} [4,3,3]"]  # the pick among them is trained once
    assert run(*(word for word in words if word != "--retrain"))[0] == 0
    code, out, err = run(*words, "--stop-after", "0s")
    assert code == 0, err
    assert "2 of 2 finds are not trained yet" in err
    code, out, err = run(*words)
    assert code == 0, err
    records = retrained(tmp_path / "out")
    assert sorted(records) == ["024-seed0", f"sizes{sizes}-seed0"]
    expected = trained(sizes, 0)
    assert lasting(records[f"sizes{sizes}-seed0"]) == {"config": sizes, "number": None, "seed": 0} | expected
    assert out.splitlines()[-1].startswith("retrained: [4,3,3] seed 0 ")
    assert f"; {sizes} seed 0 {expected['test_accuracy']:.2f} %" in out


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill")
def test_killed_while_it_trains_again_it_ends_alike(run, words, tmp_path, environment, alone):  # noqa: F811
    script = tmp_path / "hasty.py"
    script.write_text(HASTY)
    words += ["--seeds", "3"]
    process = subprocess.Popen([sys.executable, script, *words], env=environment, stdout=subprocess.DEVNULL)
    try:
        while not list((tmp_path / "out").glob("retrained/*/work/*.pt")):
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not retrained(tmp_path / "out")
    code, _, err = run(*words)
    assert code == 0
    assert "starts afresh" not in err
    [record] = retrained(tmp_path / "out").values()
    assert lasting(record) == {"config": FOUND, "number": None, "seed": 3} | alone


def test_stopped_before_it_begins_it_says_how_to_go_on(run, words):  # noqa: F811
    searched = run(*(word for word in words if word != "--retrain"))
    assert searched[0] == 0
    code, out, err = run(*words, "--stop-after", "0s")
    assert (code, out) == (0, searched[1])  # the score, and no more
    assert "1 of 1 finds are not trained yet; go on with: python -m benchmark.evaluate --method" in err


def test_a_find_inside_the_space_with_a_record_is_not_trained(run, words, tmp_path):  # noqa: F811
    ledger = Ledger.under(tmp_path / "out", SPACE, RECIPE)
    ledger.prepare()
    ledger.write(Run(0, SPACE.default), results(12.34), PROVENANCE, {"seconds": 1.0})
    code, out, err = run(*words, "--find", "[4,3,3]")
    assert code == 0
    assert "retrained: [4,3,3] seed 0 12.34 %" in out
    assert not (tmp_path / "out" / "retrained").exists()
    # A damaged one is named, not trusted.
    path = ledger.record_path(Run(0, SPACE.default))
    path.write_text(path.read_text().replace("12.34", "99.99"))
    code, _, err = run(*words, "--find", "[4,3,3]")
    assert code == 2
    assert path.name in err
    assert "remove it" in err


def test_a_find_that_does_not_fit_memory_is_refused_before_it_trains(run, words, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr("benchmark.training.memory.available_bytes", lambda device: 1e8)
    code, _, err = run(*words)
    assert code == 2
    last = err.splitlines()[-1]
    assert last.startswith(f"error: {FOUND} at batch 8 takes about ")
    assert last.endswith("cpu has 100 MB left: use another --device")  # no flag of a batch moves the table's recipe
    assert not list((tmp_path / "out" / "retrained").rglob("*.pt"))


def test_a_find_that_names_no_network_is_told_in_one_line(run, words):  # noqa: F811
    code, _, err = run(*words, "--find", "a wide one")
    assert code == 1  # the method's fault, which is seen when it ranks
    assert "'a wide one' names neither a configuration, as [4,3,3] does, nor" in (last := err.splitlines()[-1])
    assert last.startswith("error: told seed 0: ")


@pytest.mark.parametrize(("preset", "epochs"), [("paper", 100), ("smoke", 2)])
def test_without_a_stated_recipe_the_preset_is_taken_in_the_precision_of_the_search(preset, epochs):
    search = SearchRecipe.preset(preset, precision="fp32", epochs=7, lr=0.5)
    recipe = ground_truth_recipe(load_space(), load_table("published"), preset, search)
    assert recipe == Recipe.preset(preset, precision="fp32")
    assert recipe.epochs == epochs


def test_the_recipe_that_the_table_states_rules():
    stated = {"recipe": RECIPE.to_dict(), "recipe_hash": RECIPE.hash}
    table = GroundTruth.from_rows("t", SPACE, [Row(SPACE[0], 1.0, 0.1, 3)], Origin("synthetic", **stated))
    assert ground_truth_recipe(table.space, table, "paper", SearchRecipe()) == RECIPE


def test_only_one_search_at_a_time_can_be_retrained(refused):  # noqa: F811
    assert "give its name" in refused("--method", "all", "--retrain")
    assert "'--retrain'" in refused("--scores", "x.csv", "--retrain")
