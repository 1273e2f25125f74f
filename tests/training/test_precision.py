"""What `--precision auto` comes to, in every command that trains."""

import json

import pytest

from benchmark import build_groundtruth, evaluate
from benchmark.recipe import Recipe, SearchRecipe
from benchmark.spaces.space import load_space
from benchmark.tables.ledger import Ledger
from benchmark.training import precision
from tests.machine import FAST

SPACE = load_space()
TINY = {"dataset": "synthetic", "epochs": 1, "train_images": 32, "eval_images": 16, "batch_size": 16}
WORDS = ["--recipe", "smoke", *(word for k, v in TINY.items() for word in (f"--{k.replace('_', '-')}", str(v)))]


def none_kept(recipe):
    return 0


@pytest.fixture
def rates(monkeypatch):
    """rates(bf16=..., fp32=...): what will be measured; the list of how often it was."""
    asked = []

    def so(**found):
        def measured(space, recipe, device):
            asked.append(recipe)
            return found

        monkeypatch.setattr("benchmark.training.pace.precision_rates", measured)
        monkeypatch.setattr("benchmark.training.pace.measure_speed", lambda *_: FAST)
        return asked

    return so


@pytest.mark.parametrize(
    ("rates", "chosen", "said"),
    [
        ({"bf16": 92.2, "fp32": 227.0}, "fp32", "precision fp32: 227 images/s of one run here, bf16 92"),
        ({"bf16": 598.0, "fp32": 365.0}, "bf16", "precision bf16: 598 images/s of one run here, fp32 365"),
        ({"bf16": 0.0, "fp32": 12.0}, "fp32", "precision fp32: 12 images/s of one run here, bf16 does not train here"),
    ],
)
def test_the_faster_one_is_taken_and_said_with_both_rates(capsys, rates, chosen, said):
    recipe = precision.recipe_for(SPACE, Recipe, "smoke", {"precision": "auto"}, none_kept, lambda _: rates)
    assert recipe == Recipe.preset("smoke", precision=chosen)
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["bf16", "fp32"])
def test_given_explicitly_it_is_obeyed_and_nothing_is_measured(capsys, name):
    def measure(recipe):
        raise AssertionError

    found = precision.recipe_for(SPACE, SearchRecipe, "paper", {"precision": name, "epochs": 3}, none_kept, measure)
    assert found == SearchRecipe(precision=name, epochs=3)
    assert capsys.readouterr().err == ""


def test_what_was_begun_goes_on_in_its_precision():
    rates = {"bf16": 1.0, "fp32": 100.0}
    bf16 = Recipe()
    assert precision.settled(bf16, lambda r: int(r.precision == "bf16"), lambda _: rates).precision == "bf16"
    fp32 = {"bf16": 3, "fp32": 5}
    assert (
        precision.settled(bf16, lambda r: fp32[r.precision], lambda _: {"bf16": 9.0, "fp32": 1.0}).precision == "fp32"
    )


def test_no_choice_leaves_the_recipe_alone():
    assert precision.settled(Recipe(), none_kept, precision.unmeasured) == Recipe()


def test_the_builder_takes_the_faster_one_and_keeps_to_it(tmp_path, rates, capsys):
    asked = rates(bf16=1.0, fp32=2.0)
    words = [*WORDS, "--configs", "1", "--seeds", "0", "--device", "cpu", "--together", "1", "--out", str(tmp_path)]
    assert build_groundtruth.main(words) == 0
    recipe = Recipe.preset("smoke", **TINY, precision="fp32")
    ledger = Ledger.under(tmp_path, SPACE, recipe)
    (record,) = ledger.records()
    assert record["provenance"]["precision"] == "fp32"
    assert len(asked) == 1
    rates(bf16=9.0, fp32=1.0)  # another machine, or a noisy one
    capsys.readouterr()
    assert build_groundtruth.main(words) == 0
    assert build_groundtruth.main([*words, "--status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.partition("\n")[2])["recipe_hash"] == recipe.hash
    assert [path.name for path in (tmp_path / "ledgers").iterdir()] == [ledger.name]
    assert len(asked) == 1


def test_a_search_takes_the_faster_one_and_baselines_measure_nothing(tmp_path, rates):
    asked = rates(bf16=1.0, fp32=2.0)
    words = [*WORDS, "--table", "published", "--out", str(tmp_path)]
    assert evaluate.main(["--method", "macs", "--out", str(tmp_path)]) == 0
    assert asked == []
    (tmp_path / "mine.py").write_text(
        "from dataclasses import dataclass\nfrom nas_methods import Ranking\n"
        "@dataclass(frozen=True)\nclass Method:\n    def rank(self, task):\n        task.data\n"
        "        return Ranking(task.space.name, range(len(task.space)))\n"
    )
    table = _table(tmp_path)
    words[words.index("published")] = table
    assert evaluate.main(["--method", str(tmp_path / "mine.py"), *words]) == 0
    (ranking,) = (tmp_path / "rankings").glob("mine-*.json")
    assert json.loads(ranking.read_text())["provenance"]["precision"] == "fp32"
    rates(bf16=9.0, fp32=1.0)
    assert evaluate.main(["--method", str(tmp_path / "mine.py"), *words]) == 0
    assert len(list((tmp_path / "rankings").glob("mine-*.json"))) == 1


def _table(folder):
    """A whole table on the data set `synthetic`."""
    from tests.scoring.test_race import table_at

    return str(table_at(folder / "tables"))
