"""What users hand in: files of every kind of spreadsheet, numbers a float cannot hold, names that are nearly right."""

import json
import os
import sys
from decimal import Decimal

import numpy as np
import pytest
from test_evaluate import CONFIGS, LINES, PLAIN, SMALL, csv_of, refused, run, table_at  # noqa: F401 (fixtures)

import benchmark
import nas_methods
from benchmark import given
from benchmark.errors import UsageError, choices, nearest
from benchmark.recipe import Recipe, SearchRecipe
from benchmark.running.cluster import Settings
from benchmark.scoring.ranking import Ranking, holdable, ranking_json, read_ranking, read_scores, scores_csv

SPACE = benchmark.load_space()


def refusal(call, *args, **kwargs):
    with pytest.raises(UsageError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def separated(mark, decimal="."):
    rows = [f"{config}{mark}{score!r}" for config, score in zip(CONFIGS, PLAIN, strict=True)]
    return "\n".join([f"config{mark}score", *(row.rpartition(mark)[0] + mark + row.rpartition(mark)[2].replace(".", decimal) for row in rows)]) + "\n"  # fmt: skip


# Files of scores ----------------------------------------------------------------------------------------------------

SAVED = {
    "semicolons": separated(";").encode(),
    "semicolons and decimal commas": separated(";", ",").encode(),
    "tabs": separated("\t").encode(),
    "tabs and decimal commas": separated("\t", ",").encode(),
    "UTF-16, as Excel's Unicode text": separated("\t", ",").encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + csv_of(PLAIN).encode("utf-16-be"),
    "quoted by semicolons": separated(";").replace("[", '"[').replace("]", ']"').encode(),
    "lines of commas": csv_of(PLAIN).replace("\n", "\n,\n", 3).encode(),
    "form feeds in a comment": b"# a\x0cpage\xe2\x80\xa8more\n" + csv_of(PLAIN).encode(),
}


@pytest.mark.parametrize("form", SAVED)
def test_what_spreadsheets_save_reads_alike(tmp_path, form):
    (tmp_path / "mine.csv").write_bytes(SAVED[form])
    assert read_scores(tmp_path / "mine.csv", SPACE).scores == tuple(PLAIN)


def test_decimal_points_and_commas_in_one_file_are_refused(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(separated(";").replace(repr(PLAIN[0]), "1,234"))
    assert "line 2: the score '1,234' is not a number" in refusal(read_scores, path, SPACE)
    path.write_text(csv_of(PLAIN).replace(",score", "|score"))
    assert "commas, semicolons or tabs" in refusal(read_scores, path, SPACE)


ENDLESS = [path for path in ("/dev/zero", "/proc/kcore") if os.access(path, os.R_OK)]


@pytest.mark.parametrize("path", ENDLESS)
def test_a_file_without_an_end_is_refused(path, monkeypatch):
    monkeypatch.setattr(given, "LIMIT", 2**21)
    readers = [
        lambda: read_scores(path, SPACE),
        lambda: read_ranking(path),
        lambda: Settings.read(path),
        lambda: nas_methods.load(path),
        lambda: benchmark.load_table(path),
    ]
    for read in readers:
        assert path in refusal(read)
    assert "more than 2 MiB" in refusal(read_scores, path, SPACE)


def test_the_bound_is_above_what_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(given, "LIMIT", 10)
    (tmp_path / "ten").write_bytes(b"0123456789")
    assert given.read_bytes(tmp_path / "ten") == b"0123456789"
    (tmp_path / "eleven").write_bytes(b"0123456789a")
    with pytest.raises(OSError, match="more than") as caught:
        given.read_bytes(tmp_path / "eleven")
    assert caught.value.filename == str(tmp_path / "eleven")


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes with names")
def test_scores_may_come_through_a_pipe(tmp_path, run_python):
    (tmp_path / "mine.csv").write_text(csv_of(PLAIN))
    os.mkfifo(tmp_path / "pipe.csv")
    code = "import shutil, threading, sys; from benchmark import evaluate\n"
    code += "threading.Thread(target=shutil.copyfile, args=('mine.csv', 'pipe.csv')).start()"
    code = code.replace("shutil.copyfile", "lambda a, b: open(b, 'w').write(open(a).read())")
    done = run_python("-c", f"{code}\nevaluate.main(['--scores', 'pipe.csv', '--json'])")
    assert json.loads(done.stdout)["method"]["method"] == "pipe"


@pytest.mark.parametrize(
    "comment",
    [
        "# dataset: synthetic",
        "# Dataset: synthetic",
        "#dataset=synthetic",
        "# DATASET : synthetic ",
        "# data set: synthetic",
        "# data: synthetic",
        " # dataset: synthetic",
        "# dataset: synthetic,,",
        '"# dataset: synthetic",,',
        "# dataset: synthetic;;;",
        "# dataset: synthetic\t\t",
    ],
)
def test_every_way_to_state_the_data_is_read(tmp_path, comment):
    path = tmp_path / "mine.csv"
    path.write_text(f"{comment}\n{csv_of(PLAIN)}")
    assert read_scores(path, SPACE).dataset == "synthetic"


@pytest.mark.parametrize(
    "comment",
    ["# dataset synthetic", "# dataset:", "# datset: synthetic", "# Dataset: synthetic and more", "# methd: mine"],
)
def test_a_comment_that_looks_like_ours_and_cannot_be_read_is_an_error(tmp_path, comment):
    path = tmp_path / "mine.csv"
    path.write_text(f"# mine\n{comment}\n{csv_of(PLAIN)}")
    said = refusal(read_scores, path, SPACE)
    assert "mine.csv, line 2" in said
    assert "write it as '# " in said
    path.write_text(f"# dataset: synthetic\n# dataset: cifar10\n{csv_of(PLAIN)}")
    assert "line 2: a second dataset, 'cifar10'" in refusal(read_scores, path, SPACE)


@pytest.mark.parametrize(
    "comment", ["# date: 2026", "# data were shuffled", "# model: x", "# methodical", "#", "# a: b"]
)
def test_other_comments_are_comments(tmp_path, comment):
    path = tmp_path / "mine.csv"
    path.write_text(f"{comment}\n{csv_of(PLAIN)}")
    made = read_scores(path, SPACE)
    assert (made.dataset, made.method, made.scores) == (None, "mine", tuple(PLAIN))


def test_our_own_file_saved_again_by_a_spreadsheet_is_the_same_ranking(tmp_path):
    path = tmp_path / "mine.csv"
    kept = Ranking(SPACE.name, tuple(PLAIN), dataset="synthetic", method="a, b")
    lines = [line + ",," if line.startswith("#") else line + "," for line in scores_csv(kept).splitlines()]
    path.write_text("\n".join(lines))
    again = read_scores(path, SPACE)
    assert (again.scores, again.dataset, again.method) == (kept.scores, "synthetic", "a, b")


# Scores -------------------------------------------------------------------------------------------------------------

LARGE = [10**17 + i for i in range(36)]


@pytest.mark.parametrize(
    "scores",
    [LARGE, np.array(LARGE), [Decimal(s) for s in LARGE], list(map(str, LARGE)), dict(zip(CONFIGS, LARGE, strict=True))],
    ids=["int", "numpy", "decimal", "text", "mapping"],
)  # fmt: skip
def test_scores_that_a_float_cannot_tell_apart_are_refused(scores):
    said = refusal(benchmark.score, scores, "published", draws=10)
    assert "the scores of [1,1,8] and [1,2,7] differ, but both are 1e+17" in said


def test_scores_in_a_file_that_a_float_cannot_tell_apart_are_refused(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(csv_of(LARGE))
    assert "differ, but both are" in refusal(read_scores, path, SPACE)
    path.write_text(csv_of([10**17 + 1024 * (i // 2) for i in range(36)]))  # ties that are meant
    assert len(set(read_scores(path, SPACE).scores)) == 18


def test_numbers_too_large_for_a_float_are_one_line(tmp_path):
    for huge, said in ((10**400, "is inf"), (-(10**400), "is -inf")):
        assert said in refusal(benchmark.score, [huge, *range(35)], "published")
        assert said in refusal(Ranking.from_mapping, dict(zip(CONFIGS, [huge, *range(35)], strict=True)))
    path = tmp_path / "mine.csv"
    path.write_text(csv_of([10**400, *range(35)]))
    assert "line 2: the score of [1,1,8] is inf" in refusal(read_scores, path, SPACE)


@pytest.mark.parametrize("text", ["1_05", "0x10", "١٢", "1e", "", ".", "1.5.2", "--1"])
def test_numbers_are_read_as_people_write_them(tmp_path, refused, text):  # noqa: F811
    path = tmp_path / "mine.csv"
    path.write_text("\n".join([*LINES[:6], f'"{CONFIGS[5]}",{text}', *LINES[7:]]), encoding="utf-8")
    assert "line 7" in refusal(read_scores, path, SPACE)
    with pytest.raises(UsageError):
        benchmark.score([text, *range(35)], "published")
    assert "is not a number" in refused("--method", "mixture", f"--lr={text}")


# Picks and histories ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pick", ["[9,9,9]", "[4,3]", "the default", "0122", "012345678", 7, ""])
def test_a_pick_that_is_no_architecture_is_refused(pick):
    assert "a pick that is no architecture: " in refusal(Ranking, SPACE.name, tuple(PLAIN), pick)


def test_a_pick_is_kept_as_it_is_written_everywhere():
    for pick in ("[4, 3, 3]", "000111222", SPACE.default):
        assert Ranking(SPACE.name, tuple(PLAIN), pick).pick == "[4,3,3]"


def test_what_a_search_keeps_of_itself_it_can_read_again():
    curve = [{"epoch": 1, "images": 10, "scores": list(PLAIN)}]
    provenance = {"timings": {"seconds": 3, "curve": [1.5]}, "recipe_label": "paper"}
    kept, faults = holdable(Ranking(SPACE.name, tuple(PLAIN), history={"curve": curve}, provenance=provenance))
    assert (kept.history, kept.provenance, faults) == ({"curve": curve}, provenance, [])


def test_a_history_that_json_cannot_hold_costs_itself_and_not_the_scores():
    history = {"loss": [float("inf")], "net": object(), "fine": [1.0]}
    made = Ranking(SPACE.name, tuple(PLAIN), history=history, provenance={"array": np.zeros(2), "seed": 3})
    kept, faults = holdable(made)
    assert (dict(kept.history), dict(kept.provenance), kept.scores) == ({"fine": [1.0]}, {"seed": 3}, made.scores)
    assert [fault.partition(" is left out")[0] for fault in faults] == [
        "'loss' of its history",
        "'net' of its history",
        "'array' of its provenance",
    ]
    ranking_json(kept)


@pytest.mark.parametrize(
    ("part", "entries"),
    [
        ("history", [1, 2]),
        ("provenance", None),
        ("provenance", {"timings": "long"}),
        ("provenance", {"timings": {"seconds": "3"}}),
        ("provenance", {"timings": {"curve": [1.0, None]}}),
        ("provenance", {"recipe_label": 3}),
        ("provenance", {"seed": {"a": 1}}),
        ("provenance", {"dataset": "cifar10"}),
        ("history", {"curve": "abc"}),
        ("history", {"curve": [{"epoch": 1, "images": 10}]}),
        ("history", {"curve": [{"epoch": 1, "images": 10, "scores": [1.0]}]}),
    ],
)
def test_an_entry_that_nobody_could_read_costs_itself_and_not_the_scores(tmp_path, part, entries):
    made = Ranking(SPACE.name, tuple(PLAIN), **{part: entries})
    kept, faults = holdable(made)
    assert (dict(getattr(kept, part)), kept.scores) == ({}, made.scores)
    assert len(faults) == 1
    assert "is left out" in faults[0]
    (tmp_path / "kept.json").write_text(ranking_json(kept))
    benchmark.score(read_ranking(tmp_path / "kept.json"), "published")
    if isinstance(entries, dict):  # one that is in a file all the same is refused where it is read
        (tmp_path / "odd.json").write_text(ranking_json(made))
        assert f"{next(iter(entries))} of its {part}: " in refusal(read_ranking, tmp_path / "odd.json")


METHOD = """from dataclasses import dataclass
from benchmark import Ranking

@dataclass(frozen=True)
class Method:
    size: float = 1.0

    def rank(self, task):
        scores = tuple(float(i) for i in range(len(task.space)))
        return Ranking(task.space.name, scores, history={"loss": [float("inf")], "fine": [1]})
"""


def test_a_search_with_such_a_history_is_scored_and_says_so(tmp_path, run_python):
    (tmp_path / "mine.py").write_text(METHOD)
    words = ["-m", "benchmark.evaluate", "--method", "./mine.py", "--table", table_at(tmp_path), *SMALL, "--out", "out"]
    done = run_python(*words, "--json")
    assert done.returncode == 0, done.stderr
    assert "mine seed 0: 'loss' of its history is left out" in done.stderr
    [path] = (tmp_path / "out" / "rankings").glob("*.json")
    assert dict(read_ranking(path).history) == {"fine": [1]}
    done = run_python(*words, "--size", "inf")
    assert done.returncode == 2
    assert "cannot be kept as JSON" in done.stderr


# Names --------------------------------------------------------------------------------------------------------------


def test_the_nearest_name_stands_first(refused):  # noqa: F811
    assert "did you mean mixture? choose from bse," in refused("--method", "Mixture")
    assert "did you mean --temperature? the flags here" in refused("--method", "mixture", "--temperatur", "linear")
    assert "did you mean --temperature? the flags here" in refused("--method", "mixture", "--temperatur=linear")
    assert "did you mean synthetic? choose from cifar10, cifar100," in refused(
        "--method", "mixture", "--dataset", "Syntetic"
    )
    assert "did you mean published? the shipped ones are" in refused("--method", "macs", "--table", "publsihed")
    assert "did you mean smoke? choose from paper, smoke" in refused("--method", "mixture", "--recipe", "Smoke")
    assert "did you mean resnet20-cifar10? choose from" in refusal(benchmark.load_space, "resnet20_cifar10")
    assert "did you mean cuda? " in refused("--method", "mixture", "--device", "CUDA")
    assert "did you mean batch_size? its fields are" in refusal(Recipe.preset, "paper", batchsize=3)
    for method, option, wrong, right in (
        ("conet", "score", "Rank", "rank, slope"),
        ("darts", "optimizer", "adm", "adam, gaea"),
        ("darts", "sharing", "share", "shared, unshared"),
        ("mixture", "temperature", "invers", "inverse, linear"),
        ("spos", "sharing", "Unshared", "shared, unshared"),
    ):
        near = nearest(wrong, right.split(", "))
        said = refusal(nas_methods.load(method), **{option: wrong})
        assert said == f"{option} is '{wrong}': did you mean {near}? choose from {right}"
    assert "did you mean batch? choose from calibrated, batch" in refusal(SearchRecipe, bn="Batch")


def test_a_key_of_the_clusters_settings_that_is_misspelt(tmp_path):
    (tmp_path / "c.toml").write_text('partitoin = "x"\n')
    assert "did you mean partition? the keys are" in refusal(Settings.read, tmp_path / "c.toml")


def test_where_nothing_is_near_only_the_list_is_said():
    assert choices("nothing like it", ["paper", "smoke"]) == "choose from paper, smoke"
    hundred = [f"a-name-of-a-table-{number}" for number in range(100)]
    text = choices("a-name-of-a-table-99x", hundred, "the tables are")
    assert text.startswith("did you mean a-name-of-a-table-99? the tables are a-name-of-a-table-0, ")
    listed = text.count("a-name-of-a-table") - 1
    assert len(text) < 400
    assert text.endswith(f" and {100 - listed} more")
    assert listed > 10
    assert choices("", ["long" * 100, "b"]) == f"choose from {'long' * 100} and 1 more"
    assert nearest("x", []) == ""


# What anybody types first -------------------------------------------------------------------------------------------


def test_a_score_takes_a_tables_name(tmp_path):
    scores = list(range(36))
    named = benchmark.score(scores, "published", draws=10)
    assert named == benchmark.score(scores, benchmark.load_table("published"), draws=10)
    assert benchmark.score(scores, table_at(tmp_path), draws=10).table == "made-up"
    assert "benchmark.score(scores, 'published')" in refusal(benchmark.score, scores)
    assert "did you mean published?" in refusal(benchmark.score, scores, "publised")


def test_a_query_shows_how_it_is_asked():
    table = benchmark.load_table("published")
    for asked in ({}, {"seed": None}, {"seed": 0, "epoch": None}, {"split": "test"}):
        said = refusal(table.query, "[4,3,3]", **asked)
        assert "table.query('[4,3,3]', seed=None, epoch=None, split='test')" in said
