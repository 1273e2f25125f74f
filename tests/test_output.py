"""Standard output holds the result and nothing else, whatever methods, libraries and the shell do to the streams."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from test_evaluate import SMALL, table_at

import nas_methods
from benchmark import output

# Prints when it is loaded, made, asked for its work and ranking: in Python, from C, and from a process of its own.
LOUD = '''"""Prints wherever it can."""
import os, subprocess, sys
from dataclasses import dataclass
from benchmark import Ranking

def shout(where):
    print("LOUD", where)
    os.write(1, b"LOUD descriptor\\n")
    subprocess.run([sys.executable, "-c", "print('LOUD child')"], check=True)

shout("import")

@dataclass(frozen=True)
class Method:
    def __post_init__(self):
        shout("made")

    def work(self, task):
        shout("work")
        return 1.0

    def rank(self, task):
        shout("rank")
        return Ranking(task.space.name, tuple(float(i) for i in range(len(task.space))))
'''


@pytest.fixture
def shell(tmp_path, environment):
    """shell(command) run by bash in an empty folder; {python} stands for this interpreter."""

    def run(command, **more):
        command = command.replace("{python}", shlex.quote(sys.executable))
        return subprocess.run(
            ["bash", "-c", command],
            cwd=tmp_path,
            env=environment | more,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    return run


def test_a_method_that_prints_does_not_reach_standard_output(tmp_path, run_python):
    (tmp_path / "loud.py").write_text(LOUD)
    words = ["--method", "./loud.py", *SMALL, "--table", table_at(tmp_path), "--out", "out", "--device", "cpu"]
    done = run_python("-m", "benchmark.evaluate", *words, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["method"]["method"] == "loud"
    for where in ("import", "made", "work", "rank", "descriptor", "child"):
        assert f"LOUD {where}" in done.stderr


HOUSE = """
from benchmark.running.launch import launch
from benchmark.running.worker import Workers

def loud(item, report, stop):
    print("LOUD", item)
    return True

if __name__ == "__main__":
    print(launch(loud, [1, 2], Workers(1)).done)
"""


def test_workers_of_a_program_of_ones_own_leave_its_standard_output_alone(tmp_path, run_python):
    (tmp_path / "own.py").write_text(HOUSE)
    done = run_python("own.py")
    assert (done.returncode, done.stdout) == (0, "[0, 1]\n")
    assert done.stderr == "LOUD 1\nLOUD 2\n"


def test_help_is_a_result(run_python):
    done = run_python("-m", "benchmark.compare", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "--margin" in done.stdout


# What `compare published published` has to say beside its result.
SAID = (
    "Equal within 0.3 points: not asked, for that takes pairs, and published and published states means alone, "
    "without the accuracy of each seed\n"
)


def test_a_reader_that_leaves_ends_a_command_as_it_ends_other_tools(shell):
    done = shell("set -o pipefail; {python} -m benchmark.compare published published | head -1")
    assert done.stdout.count("\n") == 1
    assert (done.returncode in (0, 141), done.stderr) == (
        True,
        SAID,
    )  # a short page may be out before the reader leaves
    done = shell("set -o pipefail; {python} -m benchmark.compare published published | true")
    assert (done.returncode, done.stderr) == (141, SAID)
    done = shell("set -o pipefail; {python} -m benchmark.compare --help | true")
    assert (done.returncode in (0, 141), done.stderr) == (True, "")


def test_a_closed_standard_output_is_no_fault(shell):
    done = shell("{python} -m benchmark.compare published published >&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", SAID)
    done = shell("{python} -m benchmark.evaluate --help >&-")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("benchmark.compare published published", SAID),
        ("benchmark.compare --help", ""),
        ("benchmark", ""),  # so short that all of it waits in a buffer
    ],
)
def test_a_full_disk_behind_standard_output_is_said_once(shell, command, said):
    done = shell(f"{{python}} -m {command} > /dev/full")
    assert done.returncode == 1
    assert done.stderr.startswith(f"{said}error: standard output: ")
    assert done.stderr.removeprefix(said).count("\n") == 1


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_log_on_a_full_disk_stops_no_work(shell):
    done = shell("{python} -m benchmark.compare published published 2> /dev/full")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Kendall" in done.stdout
    done = shell("{python} -m benchmark.compare published nope 2> /dev/full")
    assert (done.returncode, done.stdout) == (2, "")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("benchmark evaluat", "error: unknown command 'evaluat': did you mean evaluate? choose from"),
        ("nas_methods --help", ""),
        ("nas_methods --declare", "error: unknown argument '--declare'"),
    ],
)
def test_words_that_a_command_does_not_know_are_not_passed_over(shell, words, said):
    declared = Path(nas_methods.__file__).with_name("declared.json")
    before = declared.stat().st_mtime_ns
    done = shell("{python} -m " + words)
    assert (done.returncode, done.stderr[: len(said)]) == (2 if said else 0, said)
    assert declared.stat().st_mtime_ns == before


def test_with_standard_error_closed_work_goes_on_and_the_result_is_clean(shell, tmp_path):
    (tmp_path / "loud.py").write_text(LOUD)
    words = shlex.join(["--method", "./loud.py", *SMALL, "--table", str(table_at(tmp_path)), "--out", "out"])
    done = shell("{python} -m benchmark.evaluate --json " + words + " 2>&-")
    assert done.returncode == 0
    assert json.loads(done.stdout)["method"]["method"] == "loud"
    done = shell("{python} -m benchmark.evaluate --method nope 2>&-")
    assert (done.returncode, done.stdout) == (2, "")


def test_a_standard_output_of_ascii_gets_what_it_can_show(shell):
    done = shell("{python} -m benchmark.compare published published", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, SAID)
    assert "\\xb1" in done.stdout


def test_names_reach_a_terminal_without_what_would_drive_it(tmp_path, run_python):
    lines = [f'"{config}",{i}' for i, config in enumerate(table_configs())]
    name = "evil\x1b[31m\u2028name\x0c\u202e"
    (tmp_path / f"{name}.csv").write_text("\n".join(["config,score", *lines]))
    done = run_python("-m", "benchmark.evaluate", "--scores", f"{name}.csv")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("evil\\x1b[31m\\u2028name\\x0c\\u202e against table published\n")
    done = run_python("-m", "benchmark.evaluate", "--scores", f"{name}.none")
    assert done.returncode == 2
    assert not set(done.stderr) & set(name) - set("evilname[31m")
    assert done.stderr.count("\n") == 1


def table_configs():
    import benchmark

    return [str(config) for config in benchmark.load_space()]


def test_printable_keeps_lines_and_letters():
    assert output.printable("a\tb\nä — [4,3,3] ±") == "a\tb\nä — [4,3,3] ±"
    assert output.printable("\x1b\r\x85") == "\\x1b\\r\\x85"
