"""Training what was found beside its controls: equal parameters, records that are used again, verdicts worked out by hand."""

import json
from dataclasses import replace

import pytest
import torch
from test_search import FLAGS, NETWORK

from benchmark import search_channels
from benchmark.channels import ChannelGraph
from benchmark.channels.judge import (
    Contender,
    Controls,
    EvaluationRecipe,
    EvaluationRun,
    _interval,
    contenders,
    judged,
    table,
)
from benchmark.channels.learning import Stepped, Steps
from benchmark.channels.networks import make
from benchmark.channels.scaling import compound
from benchmark.channels.search import Subject
from benchmark.errors import UsageError
from tests.flags import instead

RECIPE = EvaluationRecipe(
    dataset="synthetic", epochs=2, every=1, train_images=48, eval_images=16, batch_size=8, precision="fp32", lr=0.05
)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "my_net.py"
    path.write_text(NETWORK)
    return f"{path}:make"


def record(accuracy, parameters=100, macs=1000):
    curves = {"test_accuracy": [accuracy + 1, accuracy]}
    return {
        "test_accuracy": accuracy,
        "parameters": parameters,
        "macs": macs,
        "curves": curves,
        "timings": {"seconds": accuracy / 10},
    }


def test_rows_and_verdicts_by_hand():
    runs = {"search": (80.0, 81.0, 82.5), "same": (79.8, 81.4, 82.4), "less": (78.1, 79.0, 80.6)}
    records = {(g, g, s): record(a) for g, accuracies in runs.items() for s, a in enumerate(accuracies)}
    for draw, accuracies in enumerate(((80.0, 80.0, 80.0), (82.0, 82.0, 82.0))):
        records |= {("random", f"draw {draw}", s): record(a, 100 + draw) for s, a in enumerate(accuracies)}
    rows = {row["contender"]: row for row in judged(records, ["search"])}
    assert rows["search"]["against"] == {}
    assert rows["search"]["accuracy"]["mean"] == pytest.approx(81.1667, abs=1e-4)
    # differences 1.9, 2.0, 1.9: mean 1.9333, std 0.057735, t(0.975, 2) = 4.302653
    against = rows["less"]["against"]["search"]
    assert against["mean"] == pytest.approx(1.9333, abs=1e-4)
    assert against["low"] == pytest.approx(1.9333 - 4.302653 * 0.057735 / 3**0.5, abs=1e-4)
    assert against["verdict"] == "better"
    assert rows["same"]["against"]["search"]["verdict"] == "unresolved"
    assert rows["random"]["accuracy"] == {"mean": 81.0, "low": 81.0, "high": 81.0}  # means of the draws
    assert (rows["random"]["networks"], rows["random"]["parameters"]) == (2, [100, 101])
    assert rows["search"]["seconds"] == 8.1  # of 8.0, 8.1 and 8.25, to a tenth
    assert rows["search"]["best_epoch"] == pytest.approx(82.1667, abs=1e-4)
    swapped = {row["contender"]: row for row in judged(records, ["less"])}
    assert swapped["search"]["against"]["less"]["verdict"] == "worse"
    text = "\n".join(table(list(rows.values())))
    assert "| less | 1 | 3 | 100 | 0.0 | 79.23 (76.09 to 82.38) | search: +1.93 (+1.79 to +2.08), better |" in text
    assert "100 to 101" in text


def test_one_seed_resolves_nothing():
    rows = judged({("a", "a", 0): record(90.0), ("b", "b", 0): record(10.0)}, ["a"])
    assert rows[1]["against"]["a"] == {"mean": 80.0, "low": None, "high": None, "verdict": "unresolved"}
    assert _interval([5.0]) == {"mean": 5.0, "low": None, "high": None}
    assert "80.00, unresolved" in "\n".join(table(rows))


def test_the_rate_is_halved_in_steps():
    body = torch.nn.Linear(2, 2)
    learner = Stepped(body, RECIPE, torch.device("cpu"), 0, Steps(25, 0.5))
    rates = []
    for taken in (0, 24, 25, 49, 50, 249):
        learner.taken = taken
        rates += learner.rates()
    assert rates == [0.05, 0.05, 0.025, 0.025, 0.0125, 0.05 / 2**9]


@pytest.mark.parametrize(("measures", "more"), [(False, {}), (True, {}), (False, {"jitter": 0.4, "smoothing": 0.1})])
def test_a_contender_that_is_stopped_and_killed_leaves_the_same_record(network, tmp_path, measures, more):
    recipe = replace(RECIPE, **more)

    def trained(out, every=None, deaths=(), recipe=recipe):
        one = Contender(
            Subject(network, "cifar", 10, 32), "g", "g", {"stem": 6, "last": 4}, 1, recipe, out, "", measures
        )
        run, deaths = EvaluationRun(None, "cpu", "resident", {"version": "test"}), list(deaths)
        for _ in range(40):
            asked = iter(range(1, 10**9))
            steps, answer = run(one, lambda news: None, lambda: every is not None and next(asked) % every == 0), None  # noqa: B023
            for taken in range(10**6):
                if deaths and taken == deaths[0]:
                    deaths.pop(0)
                    steps.close()
                    break
                try:
                    next(steps)
                except StopIteration as end:
                    answer = end.value
                    break
            if answer is True:
                return one.read()
        raise AssertionError("it never ends")

    plain = trained(tmp_path / "a")
    again = trained(tmp_path / "b", every=5, deaths=(3, 4))
    assert plain.pop("timings")
    assert again.pop("timings")
    assert plain == again
    assert ("sides" in plain["curves"]) == measures
    for name in more:  # each alone moves the training
        other = trained(tmp_path / name, recipe=replace(recipe, **{name: 0.0}))
        assert other["curves"]["train_loss"] != plain["curves"]["train_loss"]
    assert plain["parameters"] == sum(
        p.numel() for p in Subject(network, "cifar", 10, 32).graph().rebuild(plain["widths"]).parameters()
    )


def test_search_train_and_controls_in_one_command(network, tmp_path, capsys):
    other = ["--cap", "200", "--start", "60", "--trials", "1", "--epochs", "1"]
    words = ["--network", network, "--delta", "0.01", *instead(FLAGS, *other)]
    words += ["--train", "--against", "baseline", "compound", "random", "static", "--seeds", "0", "1", "--draws", "2"]
    words += ["--train-recipe", "smoke", "--train-epochs", "1", "--train-batch-size", "32", "--out", str(tmp_path)]
    assert search_channels.main([*words, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    rows = {row["contender"]: row for row in said["rows"]}
    assert len(rows) == 4 + 5
    found = rows["search, delta 0.01"]["parameters"][0]
    for name, row in rows.items():
        if "parameters of" in name:
            assert all(abs(p - found) <= 0.01 * found for p in row["parameters"])
        assert row["seeds"] == 2
    assert rows["random widths, parameters of search, delta 0.01"]["networks"] == 2
    assert rows["static scaling, 20%"]["parameters"][0] <= rows["baseline"]["parameters"][0]
    folder = next((tmp_path / "channels" / "evaluations").iterdir())
    records = {path: path.read_bytes() for path in folder.glob("*seed*.json")}
    assert search_channels.main(words) == 0
    assert "| baseline | 1 | 2 |" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in folder.glob("*seed*.json")} == records
    spoiled = min(records)
    spoiled.write_bytes(records[spoiled][:100])
    with pytest.raises(UsageError, match="no whole record of these widths: remove it"):
        search_channels.main(words)


@pytest.mark.parametrize(("fields", "said"), [({"every": 0}, "every is 0"), ({"factor": 0.0}, "factor is 0.0")])
def test_recipes_that_make_no_sense(fields, said):
    with pytest.raises(UsageError, match=said):
        EvaluationRecipe(**fields)


def test_controls_go_as_far_as_what_was_found():
    """Scaled widths lie below the floor and above the cap of a search; random ones of as many parameters are there still."""
    graph = ChannelGraph.of(make("resnet18", 10), torch.zeros(2, 3, 32, 32))
    for k in (-4, 0):
        found = compound(graph, k, 512)
        made = contenders(graph, {"found": found}, Controls(("compound", "random"), 32, 256, 1))
        assert len(made) == 3
        for _, _, widths in made:
            assert graph.parameters(widths) == pytest.approx(graph.parameters(found), rel=0.01)
