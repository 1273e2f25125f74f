"""The command that scores: files and methods in, one score out; every mistake of a user in one line."""

import gzip
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

import nas_methods
from benchmark import cli, evaluate, load_space, load_table
from benchmark.errors import UsageError
from benchmark.jobs.search import Search
from benchmark.recipe import SearchRecipe
from benchmark.running.worker import Spoiled
from benchmark.scoring.ranking import read_ranking
from benchmark.tables.files import write_table
from benchmark.tables.table import GroundTruth, Origin, Row
from nas_methods import stamps
from tests.flags import instead
from tests.machine import FAST
from tests.turns import ended

SPACE = load_space()
MEANS = load_table("published").means
CONFIGS = [str(config) for config in SPACE]

# A search small enough for a test, on data that every machine can make.
SMALL = [
    "--recipe",
    "smoke",
    "--dataset",
    "synthetic",
    "--epochs",
    "1",
    "--train-images",
    "64",
    "--eval-images",
    "32",
]
SMALL += ["--batch-size", "32", "--calibration-images", "32", "--precision", "fp32", "--threads", "1"]


@pytest.fixture
def run(capsys, monkeypatch):
    """run(*words) -> (exit code, standard output, standard error), as the command would end, in this process."""

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["evaluate", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.command(evaluate.main)
        said = capsys.readouterr()
        return ended.value.code, said.out, said.err

    return call


@pytest.fixture
def refused(run):
    """refused(*words) -> the one line in which a wrong use is refused."""

    def call(*words):
        code, out, err = run(*words)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert err.endswith("\n")
        assert len(err) < 600
        return err

    return call


def csv_of(scores, order=range(36)):
    return "config,score\n" + "".join(f'"{CONFIGS[i]}",{scores[i]!r}\n' for i in order)


def random_scores(seed, levels=None):
    draw = np.random.default_rng(seed)
    return (draw.standard_normal(36) if levels is None else draw.integers(levels, size=36) / 3).tolist()


PLAIN = random_scores(0)


def table_at(folder, configs=SPACE, name="made-up"):
    draw = np.random.default_rng(1)
    rows = [Row(config, round(float(draw.uniform(30, 60)), 2), 0.5, 3) for config in configs]
    return write_table(GroundTruth.from_rows(name, SPACE, rows, Origin("synthetic")), folder)


# A file of scores -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [None, 2, 5, 20])
def test_tau_of_a_file_is_scipys(run, tmp_path, levels):
    file = tmp_path / "mine.csv"
    scores = random_scores(levels or 0, levels)
    file.write_text(csv_of(scores, np.random.default_rng(levels).permutation(36)))
    code, out, err = run("--scores", file, "--table", "published", "--json")
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert result["method"]["tau"] == pytest.approx(kendalltau(scores, MEANS).statistic, abs=1e-12)
    assert result["method"]["method"] == "mine"
    assert result["macs"]["tau"] == pytest.approx(0.498, abs=5e-4)


def test_a_perfect_file_and_its_reverse(run, tmp_path):
    for sign, file in ((1, tmp_path / "best.csv"), (-1, tmp_path / "worst.csv")):
        file.write_text(csv_of([sign * mean for mean in MEANS]))
        result = json.loads(run("--scores", file, "--json")[1])  # the table is `published` unless said otherwise
        assert result["method"]["tau"] == pytest.approx(sign)
        assert result["method"]["picks"][0]["config"] == ("[7,1,2]" if sign == 1 else "[1,1,8]")


FORMS = {
    "crlf": lambda text: text.replace("\n", "\r\n"),
    "byte mark": lambda text: "\ufeff" + text,
    "more columns": lambda text: "".join(f"x,{line},7\n" for line in text.splitlines()).replace("x,", "id,", 1),
    "spaces inside": lambda text: text.replace("[", "[ ").replace(",3,", ", 3 , "),
    "spaces around": lambda text: text.replace('",', '",  ').replace("config,score", "config , score"),
    "comments and empty lines": lambda text: "# mine\n\n" + text.replace("\n", "\n\n") + "# end\n",
    "no line end": lambda text: text.rstrip("\n"),
    "columns swapped": lambda text: (
        "score,config\n"
        + "".join(f"{line.rpartition(',')[2]},{line.rpartition(',')[0]}\n" for line in text.splitlines()[1:])
    ),
    "scores quoted": lambda text: (
        text.splitlines()[0]
        + "\n"
        + "".join(f'{line.rpartition(",")[0]},"{line.rpartition(",")[2]}"\n' for line in text.splitlines()[1:])
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_csv_that_make_no_difference(run, tmp_path, form):
    file = tmp_path / "mine.csv"
    file.write_text(csv_of(PLAIN))
    expected = run("--scores", file, "--json")
    changed = FORMS[form](csv_of(PLAIN))
    assert changed != csv_of(PLAIN)
    file.write_bytes(changed.encode())
    assert run("--scores", file, "--json") == expected


LINES = csv_of(PLAIN).splitlines()


def with_score(score, line=7):
    """The plain file with another score in a line (counted from 1)."""
    changed = [*LINES]
    changed[line - 1] = f"{changed[line - 1].rpartition(',')[0]},{score}"
    return "\n".join(changed) + "\n"


BAD = {
    "a configuration missing": ("\n".join(LINES[:20] + LINES[21:]), "1 of 36"),
    "all but one missing": ("\n".join(LINES[:2]), "35 of 36"),
    "one too many": (csv_of(PLAIN) + '"[4,3,4]",0.5\n', "line 38"),
    "of another space": (csv_of(PLAIN) + '"[3,2,2,2]",0.5\n', "line 38"),
    "a second score": (csv_of(PLAIN) + LINES[4] + "\n", "line 38"),
    "a second score, written otherwise": (csv_of(PLAIN) + '"[ 4, 3, 3 ]",0.5\n', "line 38"),
    "nan": (with_score("nan"), "line 7"),
    "inf": (with_score("inf"), "line 7"),
    "-inf": (with_score("-Infinity"), "line 7"),
    "overflow": (with_score("1e999"), "line 7"),
    "text": (with_score("high"), "line 7"),
    "blank": (with_score(""), "line 7"),
    "per cent": (with_score("91%"), "line 7"),
    "decimal comma": (with_score("0,91"), "line 7"),
    "long text": (with_score("9" * 50_000 + "x"), "line 7"),
    "long configuration": (csv_of(PLAIN) + '"' + "[" * 50_000 + '",1\n', "line 38"),
    "line after comments": ("# a\n\n# b\n" + with_score("nan"), "line 10"),
    "constant": (csv_of([0.5] * 36), "no ranking"),
    "empty": ("", "empty"),
    "comments only": ("# nothing\n\n", "empty"),
    "header only": ("config,score\n", "36 of 36"),
    "no header": ("\n".join(LINES[1:]), "column"),
    "wrong header": (csv_of(PLAIN).replace("config,score", "architecture,score"), "config"),
    "two score columns": (csv_of(PLAIN).replace("config,score", "score,score"), "config"),
    "configurations not quoted": (csv_of(PLAIN).replace('"', ""), "line 2"),
    "a row cut short": (csv_of(PLAIN)[:-25], "mine.csv"),
    "open quote": (csv_of(PLAIN) + '"[4,3', "mine.csv"),
    "configuration over two lines": (csv_of(PLAIN).replace("[4,3,3]", "[4,\n3,3]"), "mine.csv"),
    "json": (json.dumps(dict(zip(CONFIGS, PLAIN, strict=True))), "mine.csv"),
    "other data": ("# dataset: synthetic\n" + csv_of(PLAIN), "synthetic"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_files_are_refused_in_one_line(refused, tmp_path, fault):
    text, said = BAD[fault]
    file = tmp_path / "mine.csv"
    file.write_text(text)
    line = refused("--scores", file, "--table", "published", "--json")
    assert said in line
    if fault != "other data":
        assert "mine.csv" in line


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x01\x02",
        csv_of(PLAIN).encode("utf-16-le"),  # without the mark that says so
        gzip.compress(csv_of(PLAIN).encode()),
        csv_of(PLAIN).encode().replace(b"3", b"\x00"),
        csv_of(PLAIN).encode() + b"\xe9",
        bytes(range(256)) * 400,
    ],
    ids=["bytes", "utf-16", "gzip", "nul", "latin-1", "noise"],
)
def test_files_that_are_no_text_are_refused_in_one_line(refused, tmp_path, data):
    file = tmp_path / "mine.csv"
    file.write_bytes(data)
    line = refused("--scores", file)
    assert "mine.csv" in line
    assert "not a text file" in line


def test_files_that_are_no_files_are_refused_in_one_line(refused, tmp_path):
    assert str(tmp_path) in refused("--scores", tmp_path)
    assert "no_such.csv" in refused("--scores", tmp_path / "no_such.csv")
    (tmp_path / "under").write_text("")
    assert "x.csv" in refused("--scores", tmp_path / "under" / "x.csv")
    assert "broken name" in refused("--scores", tmp_path / "broken\nname")


def test_a_ranking_made_on_synthetic_scores_against_a_table_of_it(run, tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text("# dataset: synthetic\n# method: guess\n" + csv_of(PLAIN))
    code, out, _ = run("--scores", file, "--table", table_at(tmp_path), "--json")
    assert code == 0
    assert json.loads(out)["dataset"] == "synthetic"
    assert json.loads(out)["method"]["method"] == "guess"


def test_exit_codes_and_streams_of_the_real_command(tmp_path, run_python):
    """What the tests above look at in this process, once through the shell's eyes."""
    file = tmp_path / "mine.csv"
    file.write_text(csv_of(PLAIN))
    command = ["-m", "benchmark.evaluate", "--json", "--scores", file]
    good = run_python(*command)
    assert (good.returncode, good.stderr) == (0, "")
    assert json.loads(good.stdout)["method"]["tau"] == pytest.approx(kendalltau(PLAIN, MEANS).statistic, abs=1e-12)
    file.write_text(with_score("nan"))
    bad = run_python(*command)
    assert (bad.returncode, bad.stdout) == (2, "")
    assert bad.stderr.count("\n") == 1
    assert f"{file}, line 7" in bad.stderr


# Flags --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--method", "--method"),
        ("--method=", "no name is given: --method takes " + nas_methods.available()[0]),
        ("--scores=", "no name is given"),
        ("--method nope", "choose from " + ", ".join(nas_methods.available())),
        ("--method nope.py", "nope.py"),
        ("--method macs --scores x.csv", "not allowed with"),
        ("--method macs --list", "not allowed with"),
        ("--method macs --method random_order", "--method"),
        ("--method mixture --N 4", "'--N': the flags here are --M --again --batch-size"),
        ("--method macs --M 4", "'--M': the flags here are"),
        ("--method mixture --temp linear", "'--temp'"),  # no abbreviations
        ("--scores x.csv --recipe smoke", "'--recipe': the flags here are --json --list"),
        ("--scores x.csv y.csv", "'y.csv'"),
        ("--method mixture --M 0", "M is 0"),
        ("--method mixture --M four", "four"),
        ("--method mixture --M 2.5", "2.5"),
        ("--method mixture --M", "--M"),
        ("--method mixture --temperature warm", "inverse"),
        ("--method mixture --decay nan", "decay"),
        ("--method mixture --decay 1", "decay"),
        ("--method mixture --proxy -3", "proxy"),
        ("--method spos --sharing half", "unshared"),
        ("--method spos --paths 37", "choose from 36 (the configurations), 19683 (every path)"),
        ("--method spos --paths all", "'all' is not a whole number"),
        ("--method mcts --temperature 0", "temperature is 0.0"),
        ("--method mcts --c nan", "c is nan"),
        ("--method mcts --argmax maybe", "neither true nor false"),
        ("--method mcts --warmup 2", "warmup is 2.0: it is a share"),
        ("--method darts --init random", "add --sharing unshared"),
        ("--method darts --second-order maybe", "neither true nor false"),
        ("--method bse --warmup -1", "warmup is -1.0"),
        ("--method bse --tau-inv 0.5", "tau_inv is 0.5"),
        ("--method conet --score best", "score"),
        ("--method conet --score slope --epochs-each 1", "2 epochs or more"),
        ("--method short_training --epochs-each 0", "epochs_each is 0"),
        ("--method short_training --score rank", "'--score': did you mean --scores? the flags here are"),
        ("--method spos --recipe nope", "choose from paper, smoke"),
        ("--method spos --epochs 0", "epochs is 0"),
        ("--method spos --epochs all", "epochs"),
        ("--method spos --lr nan", "lr is nan"),
        ("--method spos --batch-size 1", "batch_size"),
        ("--method spos --bn sometimes", "calibrated"),
        ("--method spos --calibration-images 1", "calibration_images"),
        ("--method spos --dataset mnist", "synthetic"),
        ("--method spos --seeds -1", "-1"),
        ("--method spos --seeds zero", "'zero' is no seed"),
        ("--method spos --seeds", "--seeds"),
        ("--method spos --together 0", "--together"),
        ("--method spos --stop-after soon", "90s, 8m or 1.5h"),
        ("--method spos --device tpu", "choose from auto, cpu, cuda"),
        ("--method macs --table nope", "published"),
        ("--scores x.csv --table nope", "published"),
        ("--method spos --dataset synthetic", "made on cifar10, the search would see synthetic"),
    ],
)
def test_wrong_flags_are_named_in_one_line(refused, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    assert said in refused(*words.split())
    assert list(tmp_path.iterdir()) == []  # before anything was begun


def test_a_line_break_in_a_flag_makes_no_second_line(refused):
    refused("--method", "spos", "--recipe", "pa\nper")
    refused("--scores", "x.csv", "--a\nb")


def test_more_images_than_there_are_is_said_before_any_training(refused, tmp_path):
    words = [*instead(SMALL, "--train-images", "5000"), "--table", table_at(tmp_path / "t"), "--out", tmp_path / "out"]
    assert "5000 images" in refused("--method", "spos", *words)
    assert not (tmp_path / "out" / "rankings").exists()


@pytest.mark.parametrize("fault", ["partial", "constant"])
def test_a_table_that_can_judge_nothing_is_refused_before_any_training(refused, tmp_path, fault):
    if fault == "partial":
        path, said = table_at(tmp_path / "t", SPACE[:30]), "30 of 36 configurations"
    else:
        rows = [Row(config, 50.0, 0.5, 3) for config in SPACE]
        path = write_table(GroundTruth.from_rows("made-up", SPACE, rows, Origin("synthetic")), tmp_path / "t")
        said = "table made-up has the accuracy 50.0 everywhere: it cannot judge a ranking"
    words = ["--table", path, "--out", tmp_path / "out"]
    mine = tmp_path / "mine.py"
    mine.write_text(MINE)
    for what in (["spos", *SMALL], ["all", *SMALL], ["spos", *SMALL, "--where", "slurm"], ["macs"], [mine]):
        assert said in refused("--method", *what, *words)
        assert not (tmp_path / "out").exists()
    file = tmp_path / "mine.csv"
    file.write_text("# dataset: synthetic\n" + csv_of(PLAIN))
    assert said in refused("--scores", file, "--table", path)


def test_list(run):
    code, out, err = run("--list")
    assert (code, err) == (0, "")
    for name in nas_methods.available():
        assert f"\n{name} " in "\n" + out
    assert "--M 4" in out
    listed = json.loads(run("--list", "--json")[1])
    assert set(listed) == set(nas_methods.available())
    assert listed["mixture"]["options"] == {
        "M": 4,
        "temperature": "inverse",
        "decay": 0.9,
        "proxy": 0,
        "inverse_end": 100.0,
    }
    assert listed["darts"]["options"]["alpha_lr"] == 0.01  # what 0, "the optimizer's own", comes to
    assert all(facts["about"] for facts in listed.values())


# Methods ------------------------------------------------------------------------------------------------------------


def test_macs_is_the_baseline(run, tmp_path):
    code, out, _ = run("--method", "macs", "--json", "--out", tmp_path)
    result = json.loads(out)
    assert code == 0
    assert result["method"]["tau"] == result["macs"]["tau"] == pytest.approx(0.498, abs=5e-4)
    _, out, _ = run("--method", "macs", "--out", tmp_path)
    assert out.count("macs") == 2  # the title and one column, not two
    assert "Kendall tau-b                   0.498\n" in out
    assert result["ceiling"]["perfect"]["mean"] == pytest.approx(0.956, abs=0.003)
    assert result["recipes"] == [None, None]  # no data seen, so no recipe to state
    [kept] = (tmp_path / "scores").iterdir()
    assert json.loads(kept.read_text()) == result
    # The second time nothing is computed: the ranking is there. In words, this time.
    code, out, err = run("--method", "macs", "--out", tmp_path)
    assert code == 0
    assert "is there already" in err
    for words in ("Kendall tau-b", "0.498", "0.956", "[8,1,1]", "published"):
        assert words in out
    # Where the score cannot be kept, it is shown all the same.
    kept.unlink()
    kept.parent.rmdir()
    kept.parent.write_text("in the way")
    code, again, err = run("--method", "macs", "--out", tmp_path)
    assert (code, again) == (1, out)
    assert err.splitlines()[-1] == f"error: {kept.parent}: File exists"


MINE = """
from dataclasses import dataclass
from benchmark import Ranking

@dataclass(frozen=True)
class Method:
    trains = False
    target: int = 2

    def rank(self, task):
        return Ranking(task.space.name, tuple(-abs(c.layers[-1] - self.target) + task.seed * c.layers[0] / 100
                                              for c in task.space))
"""


def test_a_method_in_a_file_of_ones_own(run, refused, tmp_path):
    """Its field is a flag, and its rankings of several seeds are scored together."""
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    words = ["--method", file, "--target", 3, "--seeds", 0, 1, "--json", "--out", tmp_path / "out"]
    code, out, _ = run(*words)
    result = json.loads(out)
    expected = [
        kendalltau([-abs(c.layers[-1] - 3) + seed * c.layers[0] / 100 for c in SPACE], MEANS).statistic
        for seed in (0, 1)
    ]
    assert code == 0
    assert result["method"]["taus"] == pytest.approx(expected, abs=1e-12)
    assert result["method"]["method"] == "mine"
    assert result["options"] == {"target": 3}
    assert "'--aim': the flags here are" in refused("--method", file, "--aim", 3)
    # Words may change, but a ranking that other code made is not taken for this code's.
    file.write_text(MINE.replace("    target", "    # the best length of the last stage\n    target"))
    assert json.loads(run(*words)[1]) == result
    file.write_text(MINE.replace("-abs", "abs"))
    assert "made by other code than that of now" in refused(*words)
    elsewhere = json.loads(run(*words[:-1], tmp_path / "elsewhere")[1])
    assert elsewhere["method"]["taus"][0] == pytest.approx(-expected[0], abs=1e-12)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def rank(:\n", "SyntaxError"),
        (MINE.replace("(frozen=True)", ""), "frozen"),
        (MINE.replace("def rank", "def order"), "verb rank"),
        ("import nothing_of_that_name\n", "nothing_of_that_name"),
        (MINE.replace("target: int = 2", "target: list = None"), "field of type"),
        (MINE.replace("target", "table"), "--table"),  # a flag of the command itself
        (MINE.replace(": int = 2", ": int"), "target"),  # an option without default that is not given
        (MINE + "    def __post_init__(self):\n        raise ValueError('target must be odd')\n", "must be odd"),
    ],
)
def test_a_broken_file_is_refused_in_one_line(refused, tmp_path, text, said):
    file = tmp_path / "mine.py"
    file.write_text(text)
    line = refused("--method", file, "--out", tmp_path / "out")
    assert said in line
    assert not (tmp_path / "out").exists()


def test_without_data_an_author_hears_how_a_method_says_that_it_looks_at_none(run, tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", offline)
    monkeypatch.setattr("benchmark.training.pace.measure_speed", lambda *_: FAST)
    file = tmp_path / "mine.py"
    words = ["--method", file, "--data", tmp_path / "empty", "--precision", "fp32", "--out", tmp_path / "out"]
    file.write_text(MINE.replace("    trains = False\n", ""))
    code, out, err = run(*words)
    assert (code, out) == (1, "")
    assert "CIFAR-10 is not in" in err.splitlines()[-1]
    assert err.endswith("If method 'mine' looks at no image, say so in its class: trains = False\n")
    file.write_text(MINE)
    assert run(*words)[0] == 0


def test_a_method_that_fails_while_it_ranks_is_told_in_one_line_each(run, tmp_path):
    file = tmp_path / "mine.py"
    body = """
        if task.seed == 0:
            return [float(i) for i in range(36)]
        if task.seed == 1:
            return Ranking(task.space.name, (0.5,) * 36)
        if task.seed == 2:
            raise RuntimeError("something\\nbroke")
        if task.seed == 3:
            return Ranking(task.space.name, tuple(range(36)))
"""
    file.write_text(MINE.partition("        return")[0] + body)
    code, out, err = run("--method", file, "--seeds", 0, 1, 2, 3, "--json", "--out", tmp_path / "out")
    assert (code, out) == (1, "")
    assert "Traceback" not in err
    lines = err.splitlines()
    for seed, why in ((0, "returned list"), (1, "no ranking"), (2, "RuntimeError: something broke")):
        assert [why in line for line in lines if f"seed {seed}" in line] == [True]
    assert lines[-1].startswith("error: ")
    assert sum(line.startswith("error: ") for line in lines) == 1
    # The seed that worked is kept, and only that one.
    assert [path.name.rpartition("-")[2] for path in (tmp_path / "out" / "rankings").glob("*.json")] == ["seed3.json"]


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("        return deeper()\n\ndef deeper():\n    raise ValueError('rank')", "raise ValueError('rank')"),
        ("        return 3\nraise ValueError('load')", "raise ValueError('load')"),
        (
            "        return 3\n\n    def __post_init__(self):\n        raise ValueError('init')",
            "raise ValueError('init')",
        ),
    ],
)
def test_an_author_can_see_the_traceback_of_an_error(run, tmp_path, fault, line):
    file = tmp_path / "mine.py"
    file.write_text(MINE.partition("        return")[0] + fault)
    words = ["--method", file, "--json", "--out", tmp_path / "out"]
    code, out, told = run(*words)
    assert "Traceback" not in told
    assert run(*words, "--traceback")[:2] == (code, out)
    # A worker's own goes to its standard error, a file of the system's, not the stream of this process.
    command = [sys.executable, "-m", "benchmark.evaluate", *map(str, words), "--traceback"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert (done.returncode, done.stdout) == (code, "")
    assert f'File "{file}", line' in done.stderr
    assert line in done.stderr
    assert done.stderr.splitlines()[-1] == told.splitlines()[-1]


def test_a_fault_of_the_device_ends_the_process_and_not_only_the_seed(tmp_path, monkeypatch):
    """After a fault in a GPU's kernel, the next seed would fail in the same process whatever it does."""
    file = tmp_path / "mine.py"
    file.write_text(MINE.partition("        return")[0] + "        raise RuntimeError('an illegal memory access')\n")
    recipe = SearchRecipe.preset("smoke", dataset="synthetic")
    given = (SPACE, recipe, tmp_path, None, "cpu", "eager", stamps.code_of(str(file)), {})
    search = Search(str(file), {}, *given)
    with pytest.raises(RuntimeError, match="illegal"):
        ended(search(0, lambda news: None, lambda: False))
    monkeypatch.setattr("benchmark.training.engine.still_computes", lambda device, error: False)
    with pytest.raises(Spoiled, match="seed 0: an illegal memory access"):
        ended(search(0, lambda news: None, lambda: False))


ODD = """from dataclasses import dataclass
import os
from benchmark import Ranking

@dataclass(frozen=True)
class Method:
    trains = False

    def rank(self, task):
        WHAT
        scores = tuple(float(i) for i in range(len(task.space)))
        return Ranking(task.space.name, scores, provenance={"seed": "mine", "method_code": 1, "own": 2})
"""


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """odd(what it does) -> (a search with a method that does it before it ranks, as a worker carries it out; news)."""
    monkeypatch.chdir(tmp_path)

    def make(what):
        Path("odd.py").write_text(ODD.replace("WHAT", what))
        code = stamps.code_of("./odd.py")
        search = Search("./odd.py", {}, SPACE, SearchRecipe(), Path("out"), None, "cpu", "auto", code, {"commit": "c"})
        news = []
        return search, lambda: ended(search(0, news.append, lambda: False)), news

    return make


def test_a_method_that_changes_the_folder_keeps_its_ranking(odd, tmp_path):
    search, carry_out, _ = odd("os.chdir('/')")
    assert carry_out()
    assert Path.cwd() == Path("/")
    assert (tmp_path / search.path(0)).is_file()


def test_what_made_a_ranking_is_for_the_suite_to_say(odd):
    search, carry_out, _ = odd("pass")
    assert carry_out()
    made = read_ranking(search.path(0)).provenance
    assert (made["seed"], made["method_code"], made["commit"], made["own"]) == (0, search.method_code, "c", 2)
    assert search.kept(0)


@pytest.mark.parametrize(
    "call",
    ["'half', {}", "float('nan'), {}", "None, {}", "0.5, None", "0.5, {'images': 'many'}", "0, {'epoch': 10**400}"],
)
def test_a_method_whose_progress_is_none_is_told_how_to_say_it(odd, call):
    _, carry_out, news = odd(f"task.progress({call})")
    with pytest.raises(UsageError, match=r"task.progress\(.*it takes a number from 0 to 1 and a dict"):
        carry_out()
    assert news == []


def test_progress_is_what_the_line_on_the_screen_can_show(odd):
    _, carry_out, news = odd("task.progress(1 + 1e-9, {'images': 3.0, 'loss': object(), 'fraction': 'x'})")
    assert carry_out()
    assert news == [{"fraction": 1.0, "images": 3}]


# A search, small, from the command to the score ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """(the folder of an undisturbed search, its table)."""
    folder = tmp_path_factory.mktemp("searched")
    table = table_at(folder / "tables")
    words = ["--method", "spos", *SMALL, "--table", str(table), "--out", str(folder / "out")]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("benchmark.training.pace.measure_speed", lambda *_: FAST)  # three seconds of measuring
        assert evaluate.main(words) == 0
    return folder / "out", table


def only(folder, pattern):
    [path] = folder.glob(pattern)
    return path


def lasting(path):
    """All of a ranking but timings, and but the commit: one may be made while the tests run."""
    record = json.loads(path.read_text())
    for key in ("timings", "git_commit", "git_dirty"):
        del record["provenance"][key]
    return record


def test_a_search_leaves_a_ranking_that_says_all_of_itself(searched):
    out, _ = searched
    record = json.loads(only(out, "rankings/*.json").read_text())
    assert record["method"] == "spos"
    assert record["dataset"] == "synthetic"
    assert len(set(record["scores"].values())) > 1
    assert all(score * 32 % 1 == 0 for score in record["scores"].values())  # shares of 32 images
    provenance = record["provenance"]
    assert provenance["seed"] == 0
    assert provenance["recipe"]["dataset"] == "synthetic"
    assert provenance["recipe"]["epochs"] == 1
    assert provenance["dataset"]["name"] == "synthetic"
    assert len(provenance["dataset"]["checksum"]) == 64
    for key in ("recipe_hash", "recipe_label", "device", "engine", "precision", "torch", "version", "timings"):
        assert provenance[key]
    split = json.loads(only(out, "splits/*.json").read_text())
    assert split["sha256"] == provenance["split"]["sha256"]
    assert not set(split["train"]) & set(split["validation"])
    assert record["history"]["images"] == 64
    assert not list((out / "rankings" / "work").iterdir())  # neither checkpoint nor lock is left


def test_a_ranking_that_is_there_is_used_again(searched, run):
    out, table = searched
    before = {path: path.stat().st_mtime_ns for path in (out / "rankings").glob("*.*")}
    code, said, err = run("--method", "spos", *SMALL, "--table", table, "--out", out, "--json")
    assert code == 0
    assert "is there already" in err
    assert {path: path.stat().st_mtime_ns for path in (out / "rankings").glob("*.*")} == before
    assert json.loads(said) == json.loads(only(out, "scores/*.json").read_text())
    assert json.loads(said)["recipes"][0].startswith("smoke-epochs1-")


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("spos --sharing unshared --paths 19683", {"sharing": "unshared", "paths": 19683}),
        ("mcts --warmup 0.5 --argmax true", {"c": 1.0, "temperature": 0.7, "argmax": True, "warmup": 0.5}),
    ],
)
def test_samplers_and_their_options_run_on_the_real_network(run, tmp_path, words, options):
    table, out = table_at(tmp_path / "t"), tmp_path / "out"
    # A rate at which so short a training tells the configurations apart.
    small = [*SMALL, "--lr", 0.01, "--table", table, "--out", out, "--json"]
    code, said, err = run("--method", *words.split(), *small)
    assert code == 0, err
    assert -1 <= json.loads(said)["method"]["tau"] <= 1
    record = json.loads(only(out, "rankings/*.json").read_text())
    assert record["options"] == options
    assert len(record["scores"]) == 36
    assert all(np.isfinite(list(record["scores"].values())))


def test_the_exported_scores_score_alike(searched, run, refused):
    out, table = searched
    direct = json.loads(only(out, "scores/*.json").read_text())
    again = json.loads(run("--scores", only(out, "rankings/*.csv"), "--table", table, "--json")[1])
    for key in ("tau", "interval", "spearman", "picks", "regret", "top"):
        assert again["method"][key] == direct["method"][key]
    assert again["macs"] == direct["macs"]
    # the JSON, which is what the protocol asks to publish, states its recipe as well
    kept = json.loads(run("--scores", only(out, "rankings/*.json"), "--table", table, "--json")[1])
    assert kept == direct
    # and they know on which data they were made
    assert "made on synthetic" in refused("--scores", only(out, "rankings/*.csv"), "--table", "published")


def test_a_damaged_ranking_is_named(searched, refused, tmp_path):
    out, table = searched
    (tmp_path / "rankings").mkdir()
    ranking = only(out, "rankings/*.json")
    (tmp_path / "rankings" / ranking.name).write_text(ranking.read_text()[:500])
    words = ["--method", "spos", *SMALL, "--table", table, "--out", tmp_path]
    assert ranking.name in refused(*words)


# The command, but it stays at its first checkpoint until it is killed; worker processes run these lines too.
HASTY = """
import time
from pathlib import Path
from benchmark import cli, evaluate
from benchmark.training import checkpoint, pace
from benchmark.training.checkpoint import Checkpoint
checkpoint.CHECKPOINT_SECONDS = -1.0
pace.measure_speed = lambda *_: pace.Speed(1e10, 1e10)
save = Checkpoint.save
Checkpoint.save = lambda self, state: (save(self, state), time.sleep(600))
if __name__ == "__main__":
    cli.command(evaluate.main)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system cannot kill")
def test_killed_midway_and_started_again_the_ranking_is_the_same(searched, tmp_path, environment, capfd, monkeypatch):
    from benchmark.training.checkpoint import read_checkpoint

    undisturbed, table = searched
    script = tmp_path / "hasty.py"
    script.write_text(HASTY)
    words = ["--method", "spos", *SMALL, "--table", str(table), "--out", str(tmp_path / "out")]
    process = subprocess.Popen([sys.executable, script, *words], env=environment)
    work = tmp_path / "out" / "rankings" / "work"
    try:
        while not list(work.glob("*.pt")):
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    checkpoint = only(work, "*.pt")
    assert read_checkpoint(checkpoint)["state"]["iteration"] > 0  # as a search reads it
    assert not list((tmp_path / "out" / "rankings").glob("*.json"))

    monkeypatch.setattr("benchmark.training.pace.measure_speed", lambda *_: FAST)
    assert evaluate.main(words) == 0
    assert "starts afresh" not in capfd.readouterr().err
    found, expected = (only(out, "rankings/*.json") for out in (tmp_path / "out", undisturbed))
    assert found.name == expected.name
    assert lasting(found) == lasting(expected)
    assert found.with_suffix(".csv").read_text() == expected.with_suffix(".csv").read_text()
    assert not checkpoint.exists()


def test_typed_bare_it_starts_the_mixture_and_says_so(run, tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.training.pace.measure_speed", lambda *_: FAST)
    table = table_at(tmp_path / "tables")
    code, out, err = run(*SMALL, "--table", table, "--out", tmp_path / "out", "--stop-after", "0s")
    assert (code, out) == (0, "")
    assert "--method mixture" in err.splitlines()[0]
    assert "go on with: python -m benchmark.evaluate --method mixture" in err


def test_seconds_add_up_over_attempts_and_reach_the_score(run, searched, monkeypatch):
    monkeypatch.setattr("benchmark.training.pace.measure_speed", lambda *_: FAST)
    folder, table = searched
    kept = json.loads(only(folder, "rankings/spos-*.json").read_text())
    seconds = kept["provenance"]["timings"]["seconds"]
    assert seconds > 0
    code, out, _ = run("--method", "spos", *SMALL, "--table", table, "--out", folder, "--json")
    assert code == 0
    assert json.loads(out)["seconds"] == [seconds]


@pytest.mark.parametrize(("failed", "stays"), [(0, False), (1, True)])
def test_once_all_is_there_the_folder_of_its_slurm_queue_goes_unless_another_seed_failed(run, searched, failed, stays):
    folder, table = searched
    name = only(folder, "rankings/spos-*.json").stem.removesuffix("-seed0")
    queue = folder / "rankings" / "work" / f"slurm-{name}"
    (queue / "failed").mkdir(parents=True)
    once = {"why": "killed", "log": "task.log", "when": "2026-01-01T00:00:00+00:00", "of": 3}
    (queue / "failed" / f"{name}-seed{failed}.json").write_text(json.dumps([once]))
    assert run("--method", "spos", *SMALL, "--table", table, "--out", folder)[0] == 0
    assert queue.exists() == stays


FAITHFUL = """
from dataclasses import dataclass
from nas_methods.supernet import Sampler

@dataclass(frozen=True)
class Method(Sampler):
    '''A docstring.'''
    def pick(self, state, step):
        return int(step.configuration.integers(36)), 0
"""


def test_a_search_of_edited_code_neither_resumes_nor_passes_for_the_old_one(tmp_path, environment, capfd, monkeypatch):
    monkeypatch.setattr("benchmark.training.pace.measure_speed", lambda *_: FAST)
    table, method = table_at(tmp_path / "tables"), tmp_path / "mine.py"
    words = [
        "--method",
        str(method),
        *instead(SMALL, "--epochs", "3"),
        "--table",
        str(table),
        "--out",
        str(tmp_path / "out"),
    ]
    edited = FAITHFUL.replace("integers(36)", "integers(35)")
    method.write_text(FAITHFUL)
    script = tmp_path / "hasty.py"
    script.write_text(HASTY)
    process = subprocess.Popen([sys.executable, script, *words], env=environment)
    try:
        while not list((tmp_path / "out" / "rankings" / "work").glob("*.pt")):
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        process.kill()
        process.wait()
    method.write_text(edited)
    assert evaluate.main(words) == 0
    assert "starts afresh" in capfd.readouterr().err
    method.write_text(FAITHFUL)
    with pytest.raises(UsageError, match="made by other code than that of now"):
        evaluate.main(words)
    method.write_text(edited.replace("A docstring", "Another"))  # what it does has not changed
    assert evaluate.main(words) == 0
    assert "is there already" in capfd.readouterr().err


def test_a_hundred_seeds_and_a_method_with_a_long_name_have_their_score(run, tmp_path):
    file = tmp_path / f"{'m' * 250}.py"
    file.write_text((Path(nas_methods.__file__).parent / "random_order.py").read_text())
    seeds = [2**31 - 1 - number for number in range(100)]
    for method in ("random_order", file):
        words = ["--method", method, "--seeds", *seeds, "--json", "--out", tmp_path / "out"]
        code, out, err = run(*words)
        assert code == 0, err
        assert len(json.loads(out)["method"]["picks"]) == 100
        assert run(*words)[:2] == (0, out)
    assert len(list((tmp_path / "out" / "rankings").glob("*.json"))) == 200
    assert len(list((tmp_path / "out" / "scores").iterdir())) == 2


def test_an_author_who_edits_and_runs_again_removes_no_files(run, refused, tmp_path):
    mine = tmp_path / "mine.py"
    text = (
        "from dataclasses import dataclass\nfrom nas_methods import Ranking\n@dataclass(frozen=True)\nclass Method:\n"
        "    trains = False\n    def rank(self, task):\n        return Ranking(task.space.name, range(len(task.space)))\n"
    )
    mine.write_text(text)
    words = ["--method", mine, "--out", tmp_path / "out", "--json"]
    first = json.loads(run(*words)[1])
    mine.write_text(text.replace("range(len(task.space))", "range(len(task.space), 0, -1)"))
    assert "made by other code than that of now" in (said := refused(*words))
    assert "--fresh searches again" in said
    code, out, err = run(*words, "--fresh")
    assert (code, json.loads(out)["method"]["tau"]) == (0, pytest.approx(-first["method"]["tau"]))
    assert ".json.replaced and made again" in err
    assert json.loads(run(*words)[1])["method"]["tau"] == json.loads(out)["method"]["tau"]
    assert len(list((tmp_path / "out" / "rankings").glob("mine-*.json.replaced"))) == 1


# Spaces without a table -------------------------------------------------------------------------------------------


def test_a_space_without_a_table_is_searched_and_not_scored(run, refused, tmp_path):
    code, out, err = run("--method", "macs", "--space", "resnet50-cifar100", "--out", tmp_path)
    assert code == 0
    assert "macs on resnet50-cifar100 (560 configurations), not scored: no table is given" in out
    assert "seed 0 picks [14,1,1,1], 10,609.4 M MACs (8.68 of the default [4,4,6,3])" in out
    assert "kept: " in err
    code, out, _ = run("--method", "macs", "--space", "resnet50-cifar100", "--out", tmp_path, "--json")
    said = json.loads(out)
    assert (code, said["score"]) == (0, None)
    assert said["picks"] == [{"seed": 0, "config": "[14,1,1,1]", "macs": 10609369088}]
    assert "unknown space 'resnet50'" in refused("--method", "macs", "--space", "resnet50")
    assert "not allowed with" in refused("--method", "macs", "--space", "resnet20-cifar10", "--table", "published")
    assert "--method all is shown against a table" in refused("--method", "all", "--space", "resnet20-cifar10")
