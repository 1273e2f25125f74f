"""evaluate --configs and --gradients: what is trained, what is kept, what is said, and what is refused."""

import json

import pytest

from benchmark import cli, evaluate, load_space
from benchmark.errors import UsageError
from benchmark.jobs import carrying
from benchmark.scoring.interference import read_interference
from benchmark.scoring.ranking import read_ranking
from tests.flags import instead
from tests.machine import FAST
from tests.turns import ended

SPACE = load_space()
PAIR = ["[1,1,8]", "[6,2,2]"]
SMALL = ["--recipe", "smoke", "--dataset", "synthetic", "--epochs", "1", "--train-images", "64", "--eval-images", "32"]
SMALL += ["--batch-size", "32", "--side", "8", "--calibration-images", "32", "--precision", "fp32", "--threads", "1"]


@pytest.fixture
def here(monkeypatch):
    """Trainings run in this process; here.calls lists them. A worker would load torch again for each."""

    def in_process(search, seeds, options, again, deadline):
        in_process.calls.append((search.options.get("configs"), search.recipe.epochs, list(seeds)))
        for seed in seeds:
            if ended(search(seed, lambda news: None, lambda: False)) is not True:
                return 0
        return None

    in_process.calls = []
    monkeypatch.setattr(carrying, "search_here", in_process)
    monkeypatch.setattr("benchmark.training.pace.measure_speed", lambda *a: FAST)
    return in_process


def run(capsys, *words):
    capsys.readouterr()
    code = evaluate.main(["--method", "spos", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_each_alone_and_all_together_for_as_many_batches_each(tmp_path, here, capsys):
    code, out, err = run(capsys, "--configs", *PAIR, *SMALL, "--seeds", 0, 1, "--out", tmp_path, "--json")
    assert code == 0
    assert here.calls == [(PAIR[:1], 1, [0, 1]), (PAIR[1:], 1, [0, 1]), (PAIR, 2, [0, 1])]
    found = json.loads(out)
    [path] = (tmp_path / "interference").glob("*.json")
    assert json.loads(path.read_text()) == found
    assert str(path) in err
    result = read_interference(path)
    assert (result.configs, result.seeds, result.epochs) == (tuple(PAIR), (0, 1), (1, 2))
    for shares in zip(*result.shares, strict=True):  # by seed: the epochs of all together are those of each
        assert sum(shares) == pytest.approx(2)
    rankings = [read_ranking(one) for one in (tmp_path / "interference" / "rankings").glob("*.json")]
    assert len(rankings) == 6
    for at, config in enumerate(PAIR):
        alone = {r.provenance["seed"]: r for r in rankings if r.options["configs"] == [config]}
        for seed in (0, 1):
            assert result.alone[at][seed] == pytest.approx(100 * alone[seed].scores[SPACE.index(config)])
    assert [look.epoch for look in result.looks] == [1, 2]
    assert not (tmp_path / "rankings").exists()  # it ranks nothing that a leaderboard should hold

    again = run(capsys, "--configs", *PAIR[::-1], *SMALL, "--seeds", 0, 1, "--out", tmp_path, "--json")
    assert (json.loads(again[1]), len(here.calls)) == (found, 3)  # nothing is trained twice


def test_gradients_of_all_are_those_of_a_search_with_the_same_scores(tmp_path, here, capsys):
    code, out, _ = run(capsys, "--gradients", *instead(SMALL, "--eval-images", 16), "--out", tmp_path)
    assert code == 0
    assert "cosine of gradients after epoch 1: mean of 630 pairs" in out
    assert here.calls == [([str(config) for config in SPACE], 1, [0])]
    [kept] = (tmp_path / "interference" / "rankings").glob("*.json")
    run(capsys, *instead(SMALL, "--eval-images", 16), "--curve-images", 0, "--space", SPACE.name, "--out", tmp_path)
    [plain] = (tmp_path / "rankings").glob("*.json")
    assert read_ranking(kept).scores == read_ranking(plain).scores


def test_a_result_says_what_is_lost(tmp_path, here, capsys):
    _, out, _ = run(capsys, "--configs", *PAIR, *SMALL, "--out", tmp_path)
    [path] = (tmp_path / "interference").glob("*.json")
    result = read_interference(path)
    line = next(line for line in out.splitlines() if line.startswith("[6,2,2]"))
    alone, together = result.mean("alone", 1), result.mean("together", 1)
    assert line.split()[1:4] == [f"{alone:.2f}", f"{together:.2f}", f"{alone - together:.2f}"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--configs", "[9,9,9]"], r"\[9,9,9\] is not in resnet20-cifar10"),
        (["--configs", "7"], "alone shares its weights with no other"),
        (["--configs", "1", "2", "--retrain"], "nothing to --retrain"),
        (["--gradients", "--status"], "leave these flags out"),
        (["--gradients", "--paths", "19683"], "every path is drawn"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_trained(tmp_path, here, words, why):
    with pytest.raises(UsageError, match=why):
        evaluate.main(["--method", "spos", *words, *SMALL, "--out", str(tmp_path)])
    assert here.calls == []


@pytest.mark.parametrize("method", ["mixture", "macs", "all"])
def test_other_methods_are_refused(tmp_path, here, method):
    with pytest.raises(UsageError, match="--method spos"):
        evaluate.main(["--method", method, "--configs", "1", "2", "--out", str(tmp_path), "--dataset", "cifar10"])


def test_an_altered_result_is_no_result(tmp_path, here, capsys):
    run(capsys, "--configs", *PAIR, *SMALL, "--out", tmp_path)
    [path] = (tmp_path / "interference").glob("*.json")
    body = json.loads(path.read_text())
    for change in ({"together": [[99.0], [1.0]]}, {"kind": "ranking"}, {"checksum": None}):
        path.write_text(json.dumps(body | change))
        with pytest.raises(UsageError, match="is no result of an interference experiment"):
            read_interference(path)
    for text in ("", "[]", "{", "3", '"x"', "null"):
        path.write_text(text)
        with pytest.raises(UsageError, match=str(path)):
            read_interference(path)


def test_the_command_ends_in_one_line(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("sys.argv", ["evaluate", "--method", "spos", "--configs", "nonsense", "--out", str(tmp_path)])
    with pytest.raises(SystemExit) as ended:
        cli.command(evaluate.main)
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
