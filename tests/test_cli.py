"""What all commands share: their flags, and how they word what went wrong."""

import re
import sys
import tomllib
from pathlib import Path

import pytest

import benchmark
from benchmark import build_groundtruth, cli, compare, evaluate, export, verify
from benchmark.errors import MOST_OF_A_TEXT, MOST_OF_A_WORD, NEEDED, Failure, UsageError, in_a_line


@pytest.mark.parametrize(
    ("command", "words", "named"),
    [
        (evaluate.main, ["--method", "macs", "--table", "published", "--table", "mine"], "--table"),
        (evaluate.main, ["--method", "macs", "--method", "params"], "--method"),
        (evaluate.main, ["--method", "macs", "--batch-size", "16", "--batch_size", "32"], "--batch-size"),
        (evaluate.main, ["--list", "--list"], "--list"),
        (evaluate.main, ["--method", "darts", "--second-order", "--second-order", "false"], "--second-order"),
        (build_groundtruth.main, ["--seeds", "0", "--seeds", "1"], "--seeds"),
        (compare.main, ["published", "published", "--margin=0.1", "--margin=0.2"], "--margin"),
        (verify.main, ["published", "--out", "a", "--out", "b"], "--out"),
        (export.main, ["published", "--out", "a", "--out", "b"], "--out"),
    ],
)
def test_a_flag_given_twice_is_refused_before_anything_begins(command, words, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="given twice: give it once") as caught:
        command(words)
    assert named in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_flags_that_take_several_values_and_those_made_to_be_repeated_are_as_ever():
    parser = cli.Parser()
    parser.add_argument("--seeds", nargs="+")
    parser.add_argument("--also", action="append")
    parser.add_argument("--more", action="extend", nargs="+")
    parser.add_argument("-v", action="count")
    parser.add_argument("--one")
    words = ["--seeds", "0", "1", "--also", "a", "--also", "b", "--more", "c", "--more", "d", "-v", "-v", "--one", "1"]
    for _ in range(2):  # a parser may be used again
        assert vars(parser.parse(words)) == {
            "seeds": ["0", "1"],
            "also": ["a", "b"],
            "more": ["c", "d"],
            "v": 2,
            "one": "1",
        }


def test_a_value_without_end_is_shown_by_its_ends_and_the_way_out_stands_behind_it(capsys):
    long = "a" + 5000 * "x" + "z"

    def main(_):
        raise UsageError(f"unknown table '{long}': choose from published")

    assert cli._code_of(main) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: unknown table 'axxx")
    assert said.endswith("xxxz': choose from published\n")
    assert len(said) < MOST_OF_A_WORD + 100


@pytest.mark.parametrize("length", [MOST_OF_A_WORD - 1, MOST_OF_A_WORD, MOST_OF_A_WORD + 1, 10 * MOST_OF_A_WORD])
def test_a_word_is_whole_up_to_its_bound(length):
    said = in_a_line(Failure("/" + (length - 1) * "p"))
    assert (said == "/" + (length - 1) * "p") == (length <= MOST_OF_A_WORD)
    assert len(said) <= MOST_OF_A_WORD + len(" ... ")


def test_a_message_of_many_words_keeps_its_start_and_its_end():
    words = [str(number) for number in range(4000)]
    said = in_a_line(UsageError("\n".join(words)))
    assert said.startswith("0 1 2 ")
    assert said.endswith(" 3998 3999")
    assert len(said) <= MOST_OF_A_TEXT + len(" ... ")
    assert "\n" not in said


def test_a_message_that_cannot_be_had_is_said_to_be():
    class Broken(Exception):
        def __str__(self):
            raise ZeroDivisionError

    assert in_a_line(Broken()) == "its text cannot be had, ZeroDivisionError"


def test_what_is_not_installed_is_said_in_a_line_and_a_module_of_ours_is_a_defect(capsys):
    def without(name):
        def main(argv):
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)

        return main

    assert cli._code_of(without("torch.nn")) == 2
    assert (
        capsys.readouterr().err == f"error: torch is not installed in {sys.executable}: pip install "
        "'nas-bench-pooling[report]', or in a checkout pip install -e '.[report]'\n"
    )
    for name in ("benchmark.misspelt", None):
        with pytest.raises(ModuleNotFoundError):
            cli._code_of(without(name))


def test_what_an_installation_brings_is_what_the_project_depends_on():
    project = tomllib.loads((Path(benchmark.__file__).parent.parent / "pyproject.toml").read_text())["project"]
    assert sorted(NEEDED) == sorted(re.match(r"[\w-]+", one)[0] for one in project["dependencies"])
