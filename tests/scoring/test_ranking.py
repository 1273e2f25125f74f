"""Rankings: what is one, which architecture it picks, and the two text forms in which it is kept."""

import json
import math
import random

import numpy as np
import pytest

import benchmark
from benchmark import Ranking, load_space, read_scores
from benchmark.errors import UsageError
from benchmark.scoring.ranking import checksum, ranking_json, read_ranking, require_complete, scores_csv

SPACE = load_space()
DRAW = random.Random(1)
SCORES = tuple(DRAW.random() for _ in SPACE)


def ranking(**more):
    return Ranking(SPACE.name, SCORES, **more)


def refusal(call, *args, **kwargs):
    with pytest.raises(UsageError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_pick_is_the_best_score_and_ties_go_to_the_lowest_number():
    assert Ranking(SPACE.name, tuple(range(36))).pick == "[8,1,1]"
    scores = [0.0] * 36
    scores[33] = scores[7] = scores[20] = 1.0
    assert Ranking(SPACE.name, tuple(scores)).pick == str(SPACE[7])
    assert Ranking(SPACE.name, tuple(-s for s in scores)).pick == str(SPACE[0])
    assert ranking(pick="012220220").pick == "012220220"
    assert ranking(pick="[1,1,8]").pick == "[1,1,8]"


def test_scores_become_plain_floats():
    made = Ranking(SPACE.name, np.arange(36, dtype=np.float32))
    assert {type(s) for s in made.scores} == {float}
    assert made == Ranking(SPACE.name, list(range(36)))
    with pytest.raises(AttributeError):
        made.pick = "[1,1,8]"


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([1.0] * 36, "same score"),
        ([0.0, -0.0] * 18, "same score"),
        (SCORES[:-1], "needs 36 scores, not 35"),
        ((*SCORES, 1.0), "needs 36 scores, not 37"),
        ((), "needs 36 scores, not 0"),
        ((*SCORES[:35], math.nan), r"\[8,1,1\] is nan"),
        ((math.inf, *SCORES[1:]), r"\[1,1,8\] is inf"),
        ((-math.inf, *SCORES[1:]), r"\[1,1,8\] is -inf"),
    ],
)
def test_what_ranks_nothing_is_refused(scores, said):
    with pytest.raises(UsageError, match=said):
        Ranking(SPACE.name, tuple(scores))


def test_an_unknown_space_is_refused():
    assert "resnet20-cifar10" in refusal(Ranking, "resnet7", SCORES)


def test_from_mapping_takes_any_form_of_key_in_any_order():
    keys = [[c, str(c), c.layers][i % 3] for i, c in enumerate(SPACE)]
    pairs = list(zip(keys, SCORES, strict=True))
    random.Random(2).shuffle(pairs)
    assert Ranking.from_mapping(dict(pairs), method="mine") == ranking(method="mine")


def test_from_mapping_refuses_missing_extra_and_second_scores():
    given = {str(c): s for c, s in zip(SPACE, SCORES, strict=True)}
    missing = {key: s for key, s in given.items() if key not in ("[4,3,3]", "[1,1,8]")}
    said = refusal(Ranking.from_mapping, missing)
    assert "2 of 36" in said
    assert "([1,1,8], [4,3,3])" in said
    assert "[4,3,4] is not in" in refusal(Ranking.from_mapping, given | {"[4,3,4]": 1.0})
    assert "two scores" in refusal(Ranking.from_mapping, given | {(4, 3, 3): 1.0})
    assert "write it as" in refusal(Ranking.from_mapping, given | {7: 1.0})
    assert "(..." not in refusal(require_complete, SPACE, range(1, 36))
    assert "..." in refusal(require_complete, SPACE, [])


def full():
    return ranking(
        pick="012220220",
        dataset="synthetic",
        method="mixture",
        options={"M": 4, "temperature": "inverse", "flag": None},
        provenance={"seed": 3, "recipe_hash": "0123456789ab", "split": {"seed": 0}},
        history={"reward": [0.1, 0.25], "seconds": 1.5},
    )


def test_json_round_trip_keeps_everything(tmp_path):
    path = tmp_path / "r.json"
    path.write_text(ranking_json(full()))
    assert read_ranking(path) == full()
    path.write_text(ranking_json(ranking()))
    assert read_ranking(str(path)) == ranking()  # repr of floats: no bit is lost
    # Written for people too: one line per configuration, by its name.
    assert json.loads(path.read_text())["scores"]["[4,3,3]"] == SCORES[SPACE.index("[4,3,3]")]


DAMAGES = {
    "empty": lambda text: "",
    "half": lambda text: text[: len(text) // 2],
    "list": lambda text: "[]",
    "null": lambda text: "null",
    "number": lambda text: "3",
    "other schema": lambda text: text.replace('"schema": 2', '"schema": 3'),
    "no schema": lambda text: text.replace('"schema": 2,', ""),
    "no history": lambda text: text.replace('"history"', '"story"'),
    "unknown space": lambda text: text.replace("resnet20-cifar10", "resnet7"),
    "other space": lambda text: text.replace("resnet20-cifar10", "resnet18-cifar10"),
    "a score missing": lambda text: text.replace('"[4,3,3]"', '"[4,3,4]"'),
    "nan": lambda text: text.replace(repr(SCORES[5]), "NaN"),
    "text": lambda text: text.replace(repr(SCORES[5]), '"high"'),
    "list for a score": lambda text: text.replace(repr(SCORES[5]), "[1]"),
    "edited": lambda text: text.replace(repr(SCORES[5]), "0.123"),
    "edited pick": lambda text: text.replace('"pick": "', '"pick": "1'),
    "no checksum": lambda text: text.replace('"checksum"', '"sum"'),
    "deep": lambda text: "[" * 99999,
    "huge": lambda text: text.replace(repr(SCORES[5]), "1e999"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_ranking_file_is_named(tmp_path, damage):
    path, text = tmp_path / "r.json", ranking_json(full())
    damaged = DAMAGES[damage](text)
    assert damaged != text
    path.write_text(damaged)
    assert "r.json" in refusal(read_ranking, path)


@pytest.mark.parametrize("key", ["options", "provenance", "history", "method", "pick", "dataset"])
def test_a_ranking_of_other_types_is_refused_whatever_its_checksum(tmp_path, key):
    record = json.loads(ranking_json(full()))
    record[key] = [1]
    record["checksum"] = checksum(record)
    path = tmp_path / "r.json"
    path.write_text(json.dumps(record))
    assert f"its {key} is no " in refusal(read_ranking, path)
    record[key] = None  # of a pick and of a data set, that is none
    record["checksum"] = checksum(record)
    path.write_text(json.dumps(record))
    if key in ("pick", "dataset"):
        read_ranking(path)
    else:
        assert f"its {key} is no " in refusal(read_ranking, path)


def test_a_ranking_of_an_earlier_version_is_read_without_a_checksum(tmp_path):
    record = json.loads(ranking_json(full())) | {"schema": 1}
    del record["checksum"]
    path = tmp_path / "r.json"
    path.write_text(json.dumps(record))
    assert read_ranking(path) == full()


def test_the_checksum_is_of_what_is_read_back(tmp_path):
    """Keys that JSON makes text of are sorted as text on the way back."""
    path = tmp_path / "r.json"
    path.write_text(ranking_json(ranking(history={"by_epoch": {2: 1.0, 10: 0.5}})))
    assert read_ranking(path).history == {"by_epoch": {"2": 1.0, "10": 0.5}}


def test_ranking_files_that_cannot_be_read_are_named(tmp_path):
    assert "nothing.json" in refusal(read_ranking, tmp_path / "nothing.json")
    assert str(tmp_path) in refusal(read_ranking, tmp_path)
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    assert "b.json" in refusal(read_ranking, tmp_path / "b.json")


def test_a_ranking_that_json_cannot_hold_is_not_written():
    with pytest.raises(ValueError, match="JSON"):
        ranking_json(ranking(history={"loss": math.nan}))


def test_scores_file_round_trip(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text(scores_csv(full()))
    again = read_scores(path, SPACE)
    assert (again.scores, again.dataset, again.method) == (SCORES, "synthetic", "mixture")
    assert again.provenance == {"file": "r.csv"}
    assert scores_csv(again) == scores_csv(full())
    # Data that nobody states is left unstated; the file's name serves as method.
    path.write_text("config,score\n" + "".join(f'"{c}",{s!r}\n' for c, s in zip(SPACE, SCORES, strict=True)))
    assert (read_scores(path, SPACE).dataset, read_scores(path, SPACE).method) == (None, "r")
    assert "# dataset" not in scores_csv(ranking())


def test_scores_of_another_space(tmp_path):
    space = load_space("resnet18-imagenet")
    made = Ranking(space.name, tuple(range(len(space))))
    path = tmp_path / "r.csv"
    path.write_text(scores_csv(made))
    assert read_scores(path, space).scores == made.scores
    assert "line 3" in refusal(read_scores, path, SPACE)  # a comment, the header, then the first configuration


def test_public_names():
    assert benchmark.Ranking is Ranking
    assert benchmark.read_scores is read_scores


@pytest.mark.parametrize("score", [None, "a", object(), [1]])
def test_scores_that_are_no_numbers_are_refused_in_a_line(score):
    with pytest.raises(UsageError, match=r"a score that is no number .*: give 36 numbers") as caught:
        Ranking("resnet20-cifar10", [score] * 36)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("given", [(5, load_space()), (None, load_space()), ("scores.csv", "resnet20-cifar10")])
def test_reading_scores_of_what_is_no_file_says_the_call_that_works(given):
    with pytest.raises(UsageError, match=r"read_scores\('scores.csv', benchmark.load_space\(\)\)"):
        read_scores(*given)
