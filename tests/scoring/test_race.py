"""`--method all`: every variant as if asked for alone, each failure its own, and the paper's tables beside ours."""

import dataclasses
import json
import signal
import subprocess
import sys
import time

import pytest
from test_evaluate import SMALL, SPACE, table_at

import nas_methods
from benchmark import cli, evaluate, load_table
from benchmark.errors import UsageError
from benchmark.jobs import carrying
from benchmark.running import launch, worker
from benchmark.scoring import race
from benchmark.tables.published import BEST, DEFAULT, ROWS, Published, Variant
from tests.flags import instead
from tests.machine import FAST
from tests.turns import ended

# A method that trains nothing but says what it would cost, and keeps a diary.
PLANTED = """
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from benchmark import Ranking
from nas_methods import Published, Stopped, Variant


@dataclass(frozen=True)
class Method:
    layer: int = 0

    VARIANTS: ClassVar[tuple[Variant, ...]] = (
        Variant({"layer": 2}, (Published(1, 3, "by the last stage", "Fig. 9", 12.34, 0.05),)),
        Variant({}, (Published(2, 4, "by the first stage", "[4,2,4]", 56.78, 0.1, 1.5),), tau=0.123),
        Variant({"layer": 1}),
    )

    def work(self, task):
        return {0: 3e3, 1: 1e3, 2: 2e3}[self.layer]

    def rank(self, task):
        with Path(__file__).with_name("diary").open("a") as diary:
            diary.write(f"{self.layer} {task.seed}\\n")
        return Ranking(task.space.name, tuple(config.layers[self.layer] + 0.0 for config in task.space))
"""
PLAIN = PLANTED.partition("    VARIANTS")[0] + "    def work" + PLANTED.partition("    def work")[2]
FAILING = PLAIN.replace("        with ", "        raise RuntimeError('on\\npurpose')\n        with ")
CONSTANT = PLAIN.replace("config.layers[self.layer] + 0.0", "1.0")
OUTSIDE = PLAIN.replace("for config in task.space)", "for config in task.space), pick='012220220'")


def here(function, items, workers, *, deadline, **_):
    """`launch` without processes, each of which would import torch."""
    outcome = launch.Outcome()
    for position, item in enumerate(items):
        if deadline is None or time.monotonic() < deadline:
            try:
                if ended(worker.in_steps(function(item, lambda news: None, lambda: False))):
                    outcome.done.append(position)
            except Exception as error:
                outcome.failed[position] = worker._one_line(error)
    return outcome


@pytest.fixture
def start(tmp_path, monkeypatch, capsys):
    """start(*words, a=text, ...) -> (exit code, standard output, standard error) of `--method all` with such methods."""
    monkeypatch.setattr("benchmark.training.pace.measure_speed", lambda *_: FAST)
    monkeypatch.setattr(carrying, "launch", here)
    table = table_at(tmp_path / "tables")

    def call(*words, **methods):
        for name, text in methods.items():
            (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.setattr(nas_methods, "available", lambda: tuple(str(tmp_path / f"{name}.py") for name in methods))
        capsys.readouterr()
        code = evaluate.main(
            instead(["--method", "all", *SMALL, "--table", str(table), "--out", str(tmp_path / "out")], *words)
        )
        said = capsys.readouterr()
        return code, said.out.replace(f"{tmp_path}/", ""), said.err.replace(f"{tmp_path}/", "")

    return call


def diary(folder):
    path = folder / "diary"
    return path.read_text().splitlines() if path.exists() else []


def test_variants_run_from_cheap_to_dear_and_never_twice(start, tmp_path):
    code, out, err = start(a=PLANTED)
    assert code == 0
    assert diary(tmp_path) == ["1 0", "2 0", "0 0"]
    assert [line for line in err.splitlines() if " of 3: " in line] == [
        "1 of 3: a.py --layer 1",
        "2 of 3: a.py --layer 2",
        "3 of 3: a.py",
    ]
    assert len(list((tmp_path / "out" / "scores").glob("*.json"))) == 3
    # What is there stays; what is gone, and a seed more, is made.
    assert start(a=PLANTED)[:2] == (0, out)
    assert len(diary(tmp_path)) == 3
    for path in (tmp_path / "out" / "rankings").glob("*.json"):
        if json.loads(path.read_text())["options"] == {"layer": 2}:
            path.unlink()
    assert start("--seeds", "0", "1", a=PLANTED)[0] == 0
    assert diary(tmp_path)[3:] == ["1 1", "0 1", "2 0", "2 1"]  # two of the middle one are dearer than one of the last


def test_each_entry_is_what_a_single_evaluation_gives(start, tmp_path, capsys):
    result = json.loads(start("--json", a=PLANTED)[1])
    assert result["complete"]
    assert [entry["options"] for entry in result["entries"]] == [{"layer": 2}, {}, {"layer": 1}]
    for entry in result["entries"]:
        words = ["--method", str(tmp_path / "a.py"), *cli.flags(entry["options"]), *SMALL]
        words += ["--table", str(tmp_path / "tables" / "made-up.csv"), "--out", str(tmp_path / "out"), "--json"]
        assert evaluate.main(words) == 0
        said = capsys.readouterr()
        assert "is there already" in said.err
        assert entry["score"] == json.loads(said.out)
    assert len(diary(tmp_path)) == 3


def line_of(text, beginning, within):
    block = text.partition(within)[2].partition("\n\n")[0]
    [line] = [line for line in block.splitlines() if line.startswith(beginning)]
    return line.replace("|", "").split()


def test_the_tables_show_the_printed_numbers_beside_ours(start, tmp_path):
    _, out, _ = start(a=PLANTED, b=OUTSIDE)
    table = load_table(tmp_path / "tables" / "made-up.csv")
    first = line_of(out, "by the last stage", "Table 1\n")
    assert first[4:9] == ["Fig.", "9", "12.34", "±", "0.05"]
    assert first[9:11] == ["[1,1,8]", f"{table.row('[1,1,8]').mean:.2f}"]
    second = line_of(out, "by the first stage", "Table 2\n")
    assert second[4:10] == ["[4,2,4]", "56.78", "±", "0.1", "1.5", "0.123"]
    kept = {
        record["options"]["layer"]: record["method"]
        for path in (tmp_path / "out" / "scores").glob("a-*.json")
        for record in [json.loads(path.read_text())]
    }
    low, high = kept[0]["interval"]
    assert second[10:16] == [
        "[8,1,1]", f"{table.row('[8,1,1]').mean:.2f}", f"{kept[0]['tau']:.3f}", f"({low:.3f}", "to", f"{high:.3f})"
    ]  # fmt: skip
    assert line_of(out, "Default", "Table 1\n")[1:] == ["[4,3,3]", "90.52", "±", "0.1", "[4,3,3]", f"{table.row('[4,3,3]').mean:.2f}"]  # fmt: skip
    assert line_of(out, "Best", "Table 2\n")[-2:] == [str(table.best.config), f"{table.best.mean:.2f}"]
    assert "Rows of Table 1 without a method here: 2, 4, 5, 6, 7, 8\n" in out
    assert line_of(out, "a.py --layer 1", "In neither table\n")[3] == "[1,8,1]"
    outside = line_of(out, "b.py", "In neither table\n")
    assert outside[1:5] == ["012220220", "outside", "([8,1,1]", f"{table.row('[8,1,1]').mean:.2f})"]
    assert out.count("a perfect predictor gets") == out.count("counting MACs") == 1


def test_a_failing_method_is_told_and_stops_no_other(start, tmp_path):
    code, out, err = start("--json", a=FAILING, b="import nothing_of_that_name\n", c=PLAIN, d=CONSTANT)
    result = json.loads(out)
    assert code == 1
    assert result["complete"]
    why = {entry["method"].rpartition("/")[2]: entry["why"] for entry in result["entries"]}
    assert "RuntimeError: on purpose" in why["a.py"]
    assert "nothing_of_that_name" in why["b.py"]
    assert why["c.py"] == ""
    assert "no ranking" in why["d.py"]
    assert [entry["failed"] for entry in result["entries"]] == [True, True, False, False]
    assert [entry["score"] is None for entry in result["entries"]] == [True, True, False, True]
    assert "Traceback" not in err
    for name in ("a.py failed: ", "b.py failed: ", "d.py: no ranking: "):
        assert err.count(name) == 1
    code, out, _ = start(c=PLAIN, d=CONSTANT)
    assert code == 0  # a constant answers the question
    assert line_of(out, "d.py", "In neither table\n")[1:] == ["no", "ranking"]
    assert "\nd.py: d seed 0: every configuration has the same score" in out


def test_a_ranking_of_other_code_fails_alone(start, tmp_path):
    start(a=PLANTED, b=PLAIN)
    edited = PLAIN.replace("+ 0.0", "+ 0.5")
    code, out, _ = start("--json", a=PLANTED, b=edited)
    assert code == 1
    *others, last = json.loads(out)["entries"]
    assert "made by other code than that of now" in last["why"]
    assert all(entry["score"] for entry in others)


def test_the_time_is_for_the_whole(start, tmp_path):
    code, out, err = start("--stop-after", "0s", "--json", a=PLANTED)
    assert code == 0
    result = json.loads(out)
    assert not result["complete"]
    assert [entry["why"] for entry in result["entries"]] == ["not run yet"] * 3
    assert err.count("go on with: python -m benchmark.evaluate --method all") == 1
    slow = PLANTED.replace("        with", "        import time; time.sleep(1.5)\n        with")
    code, out, _ = start("--stop-after", "1s", a=slow)
    assert code == 0
    assert len(diary(tmp_path)) < 3  # a limit for each of them would let all three end
    assert "not run yet" in out


SCRIPT = """
import sys
import nas_methods
from benchmark import cli, evaluate
from benchmark.training import pace
pace.measure_speed = lambda *_: pace.Speed(1e10, 1e10)
if __name__ == "__main__":
    nas_methods.available = lambda: ("./a.py",)
    cli.command(evaluate.main)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_interrupted_it_says_how_to_go_on_and_then_does(tmp_path, environment):
    patient = PLANTED.replace(
        "        with",
        """        import time
        while self.layer == 2 and not Path("go").exists():
            if task.stop():
                raise Stopped
            time.sleep(0.05)
        with""",
    )
    (tmp_path / "a.py").write_text(patient)
    (tmp_path / "all.py").write_text(SCRIPT)
    words = [sys.executable, "all.py", "--method", "all", *SMALL, "--table", str(table_at(tmp_path)), "--out", "out"]
    options = {"cwd": tmp_path, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(words, **options)
    try:
        began = time.monotonic()
        while len(list(tmp_path.glob("out/rankings/work/*.lock"))) == 0 or not list(tmp_path.glob("out/scores/*")):
            assert process.poll() is None
            assert time.monotonic() - began < 240
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=240)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "not run yet" in out
    assert "go on with: python -m benchmark.evaluate --method all" in err
    assert diary(tmp_path) == ["1 0"]
    (tmp_path / "go").touch()
    done = subprocess.run(words, **options, check=False)
    assert done.returncode == 0, done.stderr
    assert diary(tmp_path) == ["1 0", "2 0", "0 0"]
    assert "not run yet" not in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--M 4", "'--M': the flags here are"),
        ("--recipe nope", "choose from paper, smoke"),
        ("--dataset cifar10", "made on synthetic, the search would see cifar10"),
        ("--train-images 5000", "5000 images"),
        ("--device tpu", "choose from auto, cpu, cuda"),
    ],
)
def test_what_is_wrong_for_all_is_said_once_and_nothing_begins(start, tmp_path, words, said):
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        start(*words.split(), a=PLANTED)
    assert not (tmp_path / "diary").exists()


# What the methods declare --------------------------------------------------------------------------------------------

# Tables 1 and 2 of the paper, typed off by hand: row, architecture, accuracy, std, GPU hours.
PAPER = {
    1: """
1 [4,3,3] 90.52 0.1 -
2 Fig.4a 89.23 0.13 -
3 Fig.4b 89.85 0.18 -
4 Fig.4b 90.03 0.21 -
5 [3,3,4] 90.61 0.17 -
6 [4,2,4] 90.34 0.12 -
7 [4,2,4] 90.34 0.12 -
8 [5,3,2] 91.55 0.08 -""",
    2: """
1 Fig.4a 89.12 0.1 12
2 Fig.4a 89.23 0.08 12
3 [1,6,3] 90.13 0.06 2.5
4 [4,2,4] 90.34 0.12 1.5
5 [4,2,4] 90.34 0.12 2.5
6 [2,3,5] 90.42 0.08 2
7 [4,3,3] 90.52 0.10 -
8 [4,4,2] 90.85 0.09 2.5
9 [5,3,2] 91.55 0.08 6
10 [7,1,2] 92.01 0.12 98""",
}


def declared():
    found = [(name, variant) for name in nas_methods.built_in() for variant in nas_methods.variants(nas_methods.load(name))]  # fmt: skip
    return [(name, variant, row) for name, variant in found for row in variant.published]


def test_published_rows_are_those_of_the_paper():
    printed = {
        (number, int(row)): (architecture, float(accuracy), float(std), None if hours == "-" else float(hours))
        for number, text in PAPER.items()
        for row, architecture, accuracy, std, hours in (line.split() for line in text.strip().splitlines())
    }
    assert {number: sum(key[0] == number for key in printed) for number in PAPER} == ROWS
    rows = [row for _, _, row in declared()] + [*DEFAULT, BEST]
    places = [(row.table, row.row) for row in rows]
    assert len(set(places)) == len(places)
    for row in rows:
        ours = (row.architecture.replace(" ", ""), row.accuracy, row.std, row.hours)
        assert ours == printed[row.table, row.row], row.name


def test_published_accuracies_are_those_of_the_published_table():
    table = load_table("published")
    for row in [row for _, _, row in declared()] + [*DEFAULT, BEST]:
        if row.architecture.startswith("["):
            assert row.accuracy == table.row(row.architecture).mean


def test_who_answers_to_which_row():
    answers = {(row.table, row.row): (name, dict(variant.options)) for name, variant, row in declared()}
    expected = {
        (1, 2): ("darts", {}),
        (1, 3): ("darts", {"sharing": "unshared"}),
        (1, 4): ("darts", {"sharing": "unshared", "init": "random"}),
        (1, 5): ("spos", {}),
        (1, 6): ("spos", {"sharing": "unshared"}),
        (1, 7): ("spos", {"sharing": "unshared", "paths": 19683}),
        (1, 8): ("mixture", {"M": 4}),
        (2, 1): ("darts", {"optimizer": "gaea"}),
        (2, 2): ("darts", {}),
        (2, 3): ("bse", {"warmup": 0.5}),
        (2, 4): ("spos", {}),
        (2, 5): ("mcts", {}),
        (2, 6): ("bse", {}),
        (2, 8): ("mcts", {"warmup": 0.5}),
        (2, 9): ("mixture", {"M": 4}),
    }
    assert {place: answers[place] for place in expected} == expected
    mixtures = {v.options["M"]: v.tau for v in nas_methods.variants(nas_methods.load("mixture")) if len(v.options) == 1}
    assert mixtures == {1: 0.142, 2: 0.311, 4: 0.533, 8: 0.530}


@pytest.mark.parametrize("name", nas_methods.built_in())
def test_variants_are_methods_and_differ(name):
    method = nas_methods.load(name)
    made = [method(**variant.options) for variant in nas_methods.variants(method)]
    assert made
    assert len({str(dataclasses.asdict(one)) for one in made}) == len(made)
    for variant, one in zip(nas_methods.variants(method), made, strict=True):  # as they are typed, so as single runs
        words = ["--method", name, *cli.flags(variant.options)]
        assert method(**cli.given_fields(evaluate.arguments(method).parse(words), method)) == one


def test_a_method_without_variants_runs_as_it_is():
    assert nas_methods.variants(nas_methods.load("macs")) == (Variant(),)
    assert str(race.Entry("macs")) == "macs"


def test_list_shows_every_variant(capsys):
    assert evaluate.main(["--list"]) == 0
    out = capsys.readouterr().out
    assert "spos --sharing unshared --paths 19683: the paper's Table 1 [4,2,4] 90.34\n" in out
    assert "mixture --M 4: the paper's Table 1 [5,3,2] 91.55; Table 2 [5,3,2] 91.55; Figure 3 tau 0.533\n" in out
    for name, variant, _ in declared():
        assert f" {' '.join([name, *cli.flags(variant.options)])}: " in out
    assert Published(2, 6, "BSE", "[2,3,5]", 90.42, 0.08, 2.0) == declared_row(2, 6)
    assert len(SPACE) == 36


def declared_row(table, row):
    [found] = [r for _, _, r in declared() if (r.table, r.row) == (table, row)]
    return found
