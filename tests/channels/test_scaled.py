"""Scaling as a command: results that --network takes again, controls of as many parameters, and Slurm without Slurm."""

import json
import os
import stat

import pytest
from test_search import FLAGS, NETWORK

from benchmark import search_channels
from benchmark.channels.scaling import static
from benchmark.channels.search import Subject
from benchmark.channels.trial import epochs_of
from benchmark.errors import Failure, UsageError
from benchmark.running.launch import launch
from benchmark.running.worker import Workers
from tests.flags import instead

TRAINED = ["--train-recipe", "smoke", "--train-epochs", "1", "--train-batch-size", "32", "--seeds", "0", "1"]


@pytest.fixture
def network(tmp_path):
    path = tmp_path / "my_net.py"
    path.write_text(NETWORK.replace("12", "60").replace("20", "120"))  # wide enough to meet any number within 1 %
    return f"{path}:make"


@pytest.fixture
def run(network, tmp_path, capsys):
    def answered(*words):
        code = search_channels.main(
            instead(
                ["--network", network, *instead(FLAGS, "--cap", "300"), "--out", str(tmp_path / "out")],
                *map(str, words),
            )
        )
        return code, capsys.readouterr()

    return answered


def test_compound_scaling_leaves_results_that_are_networks(run, network):
    code, said = run("--scale", "compound", "--k", "0", "2", "--json")
    results = json.loads(said.out)["results"]
    assert code == 0
    own, twice = results.values()
    assert own["widths"] == {"stem": 60, "last": 120}
    assert own["parameters"] == own["own"]["parameters"]
    assert twice["widths"] == {"stem": 120, "last": 240}
    assert twice["scaling"] == {"label": "compound scaling, k 2", "kind": "compound", "k": 2.0, "cap": 300}
    for path, result in results.items():
        graph = Subject(path, "cifar", 10, 32).graph()
        assert {v.name: v.width for v in graph.variables} == result["widths"]
    plain = run("--scale", "compound", "--k", "2")[1]
    assert "compound scaling, k 2: " in plain.out
    assert "images/s" not in plain.err  # nothing trains, so no speed is measured


def test_compound_scaling_to_parameters_is_within_one_per_cent(run):
    _, said = run("--scale", "compound", "--parameters", "30000", "70000", "--json")
    found = [result["parameters"] for result in json.loads(said.out)["results"].values()]
    assert found == [pytest.approx(30000, rel=0.01), pytest.approx(70000, rel=0.01)]
    with pytest.raises(Failure, match="not within 1 % of 10,000,000"):
        run("--scale", "compound", "--parameters", "10000000")


def test_static_scaling_trains_the_baseline_once_and_is_judged_beside_controls(run, network, tmp_path):
    words = ["--scale", "static", "--share", "0.5", "1", *TRAINED, "--json"]
    results = json.loads(run(*words)[1].out)["results"]
    (record,) = (tmp_path / "out" / "channels" / "evaluations").glob("*/*-seed0-sides.json")
    kept = json.loads(record.read_text())
    history = epochs_of(kept["convolutions"], kept["curves"]["sides"])
    graph = Subject(network, "cifar", 10, 32).graph()
    assert [r["widths"] for r in results.values()] == [static(graph, history, share) for share in (0.5, 1.0)]
    assert [r["scaling"]["ranks"] for r in results.values()] == [record.stem] * 2
    before = record.read_bytes()
    said = json.loads(run(*words, "--train", "--against", "baseline", "compound", "--floor", "2")[1].out)
    rows = {row["contender"]: row for row in said["rows"]}
    for share, result in zip(("50%", "100%"), results.values(), strict=True):
        name = f"static scaling, {share}"
        assert rows[name]["parameters"] == [result["parameters"]] * 2
        assert rows[f"compound scaling, parameters of {name}"]["parameters"][0] == pytest.approx(
            result["parameters"], rel=0.01
        )
        assert rows["baseline"]["against"][name]["verdict"] in ("better", "worse", "unresolved")
    assert record.read_bytes() == before


def test_another_network_of_the_same_file_leaves_a_result_alone(run, network, tmp_path):
    run("--scale", "compound", "--k", "1")
    (path,) = (tmp_path / "out" / "channels").glob("*/result.json")
    before = path.read_bytes()
    (tmp_path / "my_net.py").write_text((tmp_path / "my_net.py").read_text() + "\n\nsecond = make\n")
    for other, what in ((network, "from"), (network.replace(":make", ":second"), "network")):
        with pytest.raises(UsageError, match=f"is of another network .its '{what}' is .*use another --out"):
            run("--network", other, "--scale", "compound", "--k", "1")
    assert path.read_bytes() == before


def test_a_result_has_the_stem_that_it_states(run, tmp_path):
    run("--network", "resnet18", "--stem", "imagenet", "--scale", "compound", "--k", "-6")
    (path,) = (tmp_path / "out" / "channels").glob("*/result.json")
    result = json.loads(path.read_text())
    again = json.loads(run("--network", path, "--scale", "compound", "--k", "0", "--json")[1].out)["results"]
    (found,) = again.values()
    assert (found["stem"], found["macs"]) == ("imagenet", result["macs"])
    with pytest.raises(UsageError, match="is of a network with the stem imagenet: leave --stem out"):
        run("--network", path, "--stem", "cifar", "--scale", "compound", "--k", "0")


def test_a_result_of_cells_is_searched_as_cells(run, tmp_path, capsys):
    """Rate and floor are those of DARTS cells, whether these are named or taken from a result."""
    out = ["--out", str(tmp_path / "out")]
    search_channels.main(["--network", "darts7", "--dataset", "synthetic", "--scale", "compound", "--k", "0", *out])
    (path,) = (tmp_path / "out" / "channels").glob("*/result.json")
    words = ["--trials", "1", "--epochs", "1", "--train-images", "4", "--eval-images", "4", "--batch-size", "4"]
    words += ["--dataset", "synthetic", "--precision", "fp32", "--start", "16"]
    search_channels.main(["--network", str(path), *words, *out])
    (made,) = (tmp_path / "out" / "channels").glob("*/search.json")
    recipe = json.loads(made.read_text())["recipe"]
    assert (recipe["lr"], recipe["floor"]) == (0.1, 16)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--k", "1"], "--k is of --scale compound: give both"),
        (["--scale", "static", "--parameters", "10"], "--parameters is of --scale compound"),
        (["--scale", "compound", "--share", "1"], "--share is of --scale static"),
        (["--scale", "compound", "--k", "1", "--parameters", "9"], "give one of them"),
        (["--scale", "compound", "--k", "99"], "k is 99.0: widths are scaled by"),
        (["--scale", "compound", "--parameters", "0"], "--parameters is 0"),
        (["--scale", "quadratic"], "'quadratic' is unknown: .*compound"),
        (["--scale", "static", "--train", "--against", "static"], "leave 'static' out of --against"),
        (["--scale", "static", "--share", "2", *TRAINED], "share is 2.0"),
        (["--against", "random"], "give --train, too"),
    ],
)
def test_what_does_not_go_together_is_one_line(run, words, said):
    with pytest.raises(UsageError, match=said) as caught:
        run(*words)
    assert "\n" not in str(caught.value)


# --- Slurm ---


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Stand-ins for Slurm's commands, which have what `squeue` of them is said to have; every call is noted."""
    pytest.importorskip("submitit")
    folder, calls, queued = tmp_path / "bin", tmp_path / "calls", tmp_path / "queued"
    folder.mkdir()
    for path in (calls, queued):
        path.touch()
    scripts = {
        "squeue": f"cat {queued}",
        "sbatch": "echo Submitted batch job 7",
        "srun": "",
        "scancel": f": >{queued}",
        "scontrol": "echo MaxArraySize = 1001",
    }
    for name, script in scripts.items():
        path = folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $@" >>{calls}\n{script}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "cluster.toml").write_text("attempts = 2\n")

    def queue(place, state="PENDING"):
        """From now on, Slurm has the tasks of the arrays in that folder."""
        lines = []
        for path in (place / "arrays").glob("*.json"):
            tasks = json.loads(path.read_text())["tasks"]
            lines += [f"{path.stem}|7|{number}|{state}||Priority" for number in range(len(tasks))]
        queued.write_text("".join(f"{line}\n" for line in lines))

    queue.calls = lambda: [line.split()[0] for line in calls.read_text().splitlines()]
    return queue


def test_searches_and_trainings_go_to_slurm_and_end_as_here(run, slurm, tmp_path, monkeypatch):
    from benchmark.running import submission

    there = ["--delta", "0.01", "0.1", "--where", "slurm", "--cluster", tmp_path / "cluster.toml"]
    trained = ["--train", "--against", "compound", "--start", "60", "--trials", "1", *TRAINED]
    asked = []
    submitted = launch

    def noting(function, items, workers, **more):  # what is pickled for a task, to be carried out here later on
        asked.append((function, items))
        return submitted(function, items, workers, **more)

    monkeypatch.setattr(submission, "launch", noting)
    code, said = run(*there, *trained)
    place = tmp_path / "out" / "channels" / "work" / "slurm"
    assert code == 0
    assert "searching widths: 2 of 2 that are left are submitted" in said.err
    assert "searches left: 2; go on with: python -m benchmark.search_channels" in said.err
    assert slurm.calls().count("sbatch") == 1
    assert len(list((place / "arrays").glob("*.json"))) == 1

    slurm(place)
    assert "0 of 2 that are left are submitted" in run(*there, *trained)[1].err
    assert slurm.calls().count("sbatch") == 1  # typed twice, it submits nothing twice
    status = json.loads(run(*there, *trained, "--status", "--json")[1].out)["searching widths"]
    assert (status["done"], status["left"]) == ([], ["delta 0.01", "delta 0.1"])
    assert [task["reason"] for task in status["tasks"]] == ["Priority"] * 2
    assert "searching widths: 0 of 2 are there" in run(*there, "--status", *trained)[1].out

    def at_work(function, items):
        ended = submitted(function, items, Workers(2))
        assert len(ended.done) == len(items), ended

    at_work(*asked[0])
    slurm(tmp_path)  # the queue is empty
    code, said = run(*there, *trained)
    assert "training from scratch: 8 of 8 that are left are submitted" in said.err
    assert not place.exists()  # cleared
    (place,) = (tmp_path / "out" / "channels" / "evaluations").glob("*/work/slurm")
    slurm(place)
    assert "training from scratch: 0 of 8 are there" in run(*there, *trained, "--status")[1].out
    at_work(*asked[-1])
    slurm(tmp_path)
    code, said = run(*there, *trained, "--wait", "--json")
    rows = {row["contender"]: row for row in json.loads(said.out)["rows"]}
    assert code == 0
    assert set(rows) == {
        *(f"search, delta {delta}" for delta in ("0.01", "0.1")),
        *(f"compound scaling, parameters of search, delta {delta}" for delta in ("0.01", "0.1")),
    }
    assert not place.exists()


def test_what_is_queued_is_cancelled_and_can_be_submitted_again(run, slurm, tmp_path):
    there = ["--where", "slurm", "--cluster", tmp_path / "cluster.toml"]
    run(*there)
    place = tmp_path / "out" / "channels" / "work" / "slurm"
    slurm(place)
    assert "1 tasks are taken out of Slurm" in run(*there, "--cancel")[1].err
    assert slurm.calls()[-1] == "scancel"
    assert "1 of 1 that are left are submitted" in run(*there)[1].err
    assert slurm.calls().count("sbatch") == 2
