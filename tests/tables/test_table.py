"""Tables: what is written is what is read, and what is not there or was altered is refused in one line."""

import json
import math
import random
import shlex
import subprocess
import sys

import numpy as np
import pytest

import benchmark
from benchmark import build_groundtruth, cli
from benchmark.errors import UsageError
from benchmark.recipe import Recipe
from benchmark.scoring.scores import score
from benchmark.spaces.space import load_space
from benchmark.tables import files as module
from benchmark.tables.files import load_table, shipped_tables, write_table
from benchmark.tables.ledger import Ledger
from benchmark.tables.table import GroundTruth, Origin, Row

SPACE = load_space()

# The paper's Table 6, typed a second time and apart from the file that ships.
TABLE_6 = """87.45±.06 87.69±.08 87.89±.17 88.6±.15 89.38±.07 90.13±.14 90.16±.1 89.41±.15 88.78±.1 89.03±.12 90.42±.1
90.57±.11 90.89±.07 91.01±.13 90.22±.18 89.1±.06 89.7±.1 90.61±.17 90.92±.1 90.88±.08 90.14±.16 89.68±.14
90.34±.13 90.52±.15 90.85±.12 89.71±.16 91.05±.15 90.96±.15 91.55±.09 89.84±.08 91.78±.11 91.83±.13 90.96±.12
92.01±.18 90.47±.11 89.99±.12"""


def ask(table, config, seed=None, epoch=None, split="test"):
    """A query, which has no defaults, with some."""
    return table.query(config, seed=seed, epoch=epoch, split=split)


def record(config, seed, accuracy, epochs=2, seconds=1.0, **changes):
    curves = {
        "train_loss": [1.5 / (e + 1) for e in range(epochs)],
        "train_accuracy": [40.0 + e for e in range(epochs)],
        "test_loss": [1.7 / (e + 1) for e in range(epochs)],
        "test_accuracy": [30.0 + e for e in range(epochs - 1)] + [accuracy],
    }
    provenance = {
        "dataset": {"name": "cifar10", "checksum": "sha256:aa"},
        "device": f"device {seed % 2}",
        "torch": "2.9.0",
        "git_dirty": False,
        "together": 2,
    }
    made = {
        "schema": 1,
        "space": SPACE.name,
        "config": str(config),
        "number": SPACE.number(config),
        "seed": seed,
        "recipe": {"epochs": epochs},
        "recipe_hash": "0123456789ab",
        "recipe_label": "smoke",
        "test_accuracy": accuracy,
        "images": 1024,
        "curves": curves,
        "provenance": provenance,
        "timings": {"seconds": seconds, "finished": "2025-01-01T00:00:00+00:00"},
        "checksum": "ff",
    }
    return made | changes


def records(configs=tuple(SPACE), seeds=(0, 1, 2)):
    draw = random.Random(7)
    return [record(c, s, draw.randrange(5120, 9000) / 100, seconds=draw.random()) for s in seeds for c in configs]


@pytest.fixture(scope="module")
def full():
    return GroundTruth.from_records(records(), "full")


def refusal(call, *args, **kwargs) -> str:
    with pytest.raises(UsageError) as caught:
        call(*args, **kwargs)
    text = str(caught.value)
    assert "\n" not in text
    assert len(text) < 500
    return text


def test_published_is_table_6():
    published = load_table("published")
    expected = [tuple(map(float, cell.split("±"))) for cell in TABLE_6.split()]
    assert list(zip(published.means, published.stds, strict=True)) == expected
    assert {row.n for row in published.rows} == {3}
    assert published.complete
    assert published.seeds == ()
    assert (str(published.best.config), published.best.mean) == ("[7,1,2]", 92.01)
    assert published.dataset == "cifar10"
    assert published.header["dataset"]["checksum"] is None
    assert published.recipe_hash is None
    assert "Table 6" in published.header["source"]
    notes = " ".join(published.header["notes"])
    for contradiction in ("[6,1,2]", "0.6 in", "28", "33", "recipe", "network"):
        assert contradiction in notes
    assert "published" in shipped_tables()


# What the paper prints of the other spaces: Tables 3, 4 and 7.
PRINTED = {
    "resnet18-cifar10": {"[3,2,2,2]": (90.45, 0.21)},
    "resnet50-cifar100": {"[4,4,6,3]": (77.57, 0.18)},
    "resnet50-food101": {
        "[3,4,6,3]": (84.00, 0.10),
        "[6,4,5,1]": (84.24, 0.09),
        "[4,5,6,1]": (84.34, 0.18),
        "[8,3,3,2]": (84.35, 0.14),
        "[9,4,2,1]": (84.73, 0.09),
    },
    "resnet18-imagenet": {
        "[2,2,2,2]": (68.32, 0.24),
        "[1,3,1,3]": (62.21, 0.26),
        "[3,1,1,3]": (62.56, 0.18),
        "[5,1,1,1]": (65.88, 0.24),
        "[2,3,2,1]": (64.81, 0.11),
    },
}


@pytest.mark.parametrize("name", PRINTED)
def test_what_the_paper_prints_of_other_spaces_can_be_queried_and_not_scored_against(name):
    table = load_table(f"published-{name}")
    assert {str(row.config): (row.mean, row.std) for row in table.rows} == PRINTED[name]
    assert {row.n for row in table.rows} == {3}
    assert (table.space.name, table.dataset) == (name, table.space.dataset)
    default = str(table.space.default)
    assert table.query(default, seed=None, epoch=None, split="test") == PRINTED[name][default][0]
    for said in (refusal(score, list(range(len(table.space))), table), refusal(table.row, table.space[1])):
        assert f"it holds {len(table.rows)} of {len(table.space)} configurations and no recipe" in said
        assert f"benchmark.evaluate --space {name}" in said
    assert "Table " in table.header["source"]
    assert "no ranking can be scored" in table.header["notes"][0]


def test_a_table_shows_itself_in_one_line():
    name = "resnet20-cifar10-paper-epochs10-2daccdc2036b"  # with curves: number by number it is thousands of lines
    shown = "36 configurations of resnet20-cifar10, sha256 76f615cb518d"
    assert repr(load_table(name)) == f"<GroundTruth {name}: {shown}>"


def test_a_table_is_light():
    code = "import sys, benchmark; benchmark.load_table('published').query('[4,3,3]', seed=None, epoch=None, split='test'); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "pandas", "scipy", "numpy"} & set(done.stdout.split())


@pytest.mark.parametrize("ending", [".csv", ".json", ".curves.csv", ""])
def test_round_trip(full, tmp_path, ending):
    path = write_table(full, tmp_path / "new" / "folder")
    assert path.name == "full.csv"
    again = load_table(str(path).removesuffix(".csv") + ending)
    assert again == full
    assert again.verify() == full.sha256
    assert sorted(p.name for p in path.parent.iterdir()) == ["full.csv", "full.curves.csv", "full.json"]


def test_query(full):
    config = SPACE[23]
    curves = [full.curves[config, seed] for seed in (0, 1, 2)]
    values = [curve["test_accuracy"][-1] for curve in curves]
    assert ask(full, config, seed=1) == values[1]
    assert ask(full, "[4, 3, 3]") == ask(full, (4, 3, 3), seed="mean", epoch="last") == round(sum(values) / 3, 10)
    assert ask(full, config, epoch=2) == ask(full, config)
    assert ask(full, config, epoch=1) == 30.0
    assert ask(full, config, epoch=1, split="train", seed=2) == 40.0
    assert ask(full, config, split="train") == 41.0
    assert ask(full, config, seed=np.int64(1), epoch=np.int32(2)) == values[1]


@pytest.mark.parametrize(
    ("config", "options", "said"),
    [
        ("[4,3,3]", {"seed": 3}, "it has 0, 1, 2"),
        ("[4,3,3]", {"seed": True}, "it has 0, 1, 2"),
        ("[4,3,3]", {"seed": -1}, "it has 0, 1, 2"),
        ("[4,3,3]", {"seed": "0"}, "it has 0, 1, 2"),
        ("[4,3,3]", {"seed": 0.0}, "it has 0, 1, 2"),
        ("[4,3,3]", {"epoch": 0}, "1 to 2"),
        ("[4,3,3]", {"epoch": -1}, "1 to 2"),
        ("[4,3,3]", {"epoch": 3}, "1 to 2"),
        ("[4,3,3]", {"epoch": True}, "1 to 2"),
        ("[4,3,3]", {"epoch": 1.0}, "1 to 2"),
        ("[4,3,3]", {"epoch": "best"}, "1 to 2"),
        ("[4,3,3]", {"split": "val"}, "all training images"),
        ("[4,3,3]", {"split": "validation"}, "'test' or 'train'"),
        ("[4,3,4]", {}, "sum to 10"),
        ("4,3,3", {}, "write it as"),
        (24, {}, "write it as"),
    ],
)
def test_query_refuses(full, config, options, said):
    assert said in refusal(ask, full, config, **options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seed": 0}, "means over 3 seeds only"),
        ({"epoch": 1}, "no curves"),
        ({"split": "train"}, "no curves"),
        ({"split": "x"}, "ask for 'test'"),
    ],
)
def test_published_refuses_what_was_not_printed(options, said):
    assert said in refusal(ask, load_table("published"), "[4,3,3]", **options)


def test_partial_table_imputes_nothing(tmp_path):
    made = records(SPACE[:3], seeds=(0, 1)) + records(SPACE[3:4], seeds=(1,))
    table = load_table(write_table(GroundTruth.from_records(made, "part"), tmp_path))
    assert not table.complete
    assert table.missing() == SPACE.configs[4:]
    assert table.means[4:] == table.stds[4:] == (None,) * 32
    assert table.row(SPACE[3]).n == 1
    assert table.stds[3] is None
    assert ask(table, SPACE[3]) == ask(table, SPACE[3], seed=1)
    assert "it has 1" in refusal(ask, table, SPACE[3], seed=0)
    said = refusal(ask, table, "[4,3,3]")
    assert "4 of 36" in said
    assert "no recipe by which the others could be trained" in said
    frame = table.to_pandas()
    assert list(frame.columns) == ["number", "config", "mean", "std", "n", "seed0", "seed1"]
    assert list(frame["config"]) == [str(c) for c in SPACE[:4]]
    assert math.isnan(frame["std"][3])
    assert math.isnan(frame["seed0"][3])
    assert frame["std"][0] == pytest.approx(frame.loc[0, ["seed0", "seed1"]].astype(float).std(ddof=1), abs=1e-9)


@pytest.mark.parametrize(
    ("preset", "fields", "seeds"),
    [
        ("paper", {}, (0, 1, 2)),
        ("paper", {"epochs": 10, "precision": "fp32"}, (3,)),
        ("smoke", {"dataset": "synthetic", "train_images": None, "lr": 0.01}, (0, 4)),
    ],
)
def test_a_partial_table_gives_the_command_that_completes_it(tmp_path, monkeypatch, preset, fields, seeds):
    """Not the one that trains another table in another folder, of 300 core-hours."""
    recipe = Recipe.preset(preset, **fields)
    ledger = Ledger.under(tmp_path / "my own", SPACE, recipe)
    more = {"recipe": recipe.to_dict(), "recipe_hash": recipe.hash, "recipe_label": recipe.label}
    made = [record(config, seed, 80.0 + seed, **more) for config in SPACE[:3] for seed in seeds]
    written = write_table(GroundTruth.from_records(made, ledger.name), tmp_path / "my own" / "tables")
    monkeypatch.chdir(tmp_path)
    for path in (written, written.relative_to(tmp_path)):
        said = refusal(load_table(path).require_complete)
        assert "3 of 36" in said
        words = shlex.split(said.partition("`")[2].partition("`")[0])
        assert words[:3] == ["python", "-m", "benchmark.build_groundtruth"]
        options = build_groundtruth.arguments().parse(words[3:])
        asked = Recipe.preset(options.recipe, **cli.given_fields(options, Recipe))
        assert asked == recipe
        assert Ledger.under(options.out, load_space(options.space), asked).folder == ledger.folder
        assert tuple(options.seeds) == seeds
        assert options.configs is None


def test_equal_values_in_another_order_stay_tied():
    one = Row.of(SPACE[0], {0: 91.1, 1: 91.2, 2: 91.3})
    two = Row.of(SPACE[1], {0: 91.0, 1: 91.2, 2: 91.4})
    assert one.mean == two.mean == 91.2
    assert (one.std, two.std) == (0.1, 0.2)


def test_order_and_timings_of_records_do_not_matter(tmp_path):
    made = records(SPACE[:5])
    shuffled = random.Random(0).sample(made, len(made))
    other_times = [r | {"timings": {"seconds": 9.0, "finished": "2026"}} for r in made]
    for name, some in (("a", made), ("b", shuffled), ("c", other_times)):
        write_table(GroundTruth.from_records(some, "t"), tmp_path / name)
    for file in ("t.csv", "t.curves.csv", "t.json"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    for file in ("t.csv", "t.curves.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "c" / file).read_bytes()
    first, third = (json.loads((tmp_path / x / "t.json").read_text()) for x in "ac")
    assert first.pop("timings") != third.pop("timings")
    assert first == third


def test_provenance_lists_what_the_records_say(full):
    found = full.header["provenance"]
    assert found["runs"] == 108
    assert found["device"] == ["device 0", "device 1"]
    assert found["git_dirty"] == [False]
    assert full.header["dataset"] == {"name": "cifar10", "checksum": "sha256:aa"}
    assert full.header["timings"]["device_seconds"] == pytest.approx(sum(r["timings"]["seconds"] for r in records()))


def bad_curve(key, value):
    return record(SPACE[1], 0, 88.0)["curves"] | {key: value}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"space": "resnet18-cifar10"}, "disagree in their space"),
        ({"recipe_hash": "ba9876543210"}, "recipe_hash"),
        ({"provenance": {"dataset": {"name": "cifar10", "checksum": "bb"}}}, "checksum"),
        ({"provenance": {"dataset": {"name": "synthetic", "checksum": "sha256:aa"}}}, "dataset name"),
        ({"config": str(SPACE[0])}, "two records"),
        ({"config": "[1,1,1]"}, "not in"),
        ({"test_accuracy": 120.0, "curves": None}, "between 0 and 100"),
        ({"test_accuracy": math.nan, "curves": None}, "between 0 and 100"),
        ({"test_accuracy": 87.0}, "its result is 87.0"),
        ({"test_accuracy": None}, "malformed"),
        ({"seed": True}, "malformed"),
        ({"provenance": {}}, "lacks 'dataset'"),
        ({"curves": bad_curve("train_loss", [1.0])}, "differ in length"),
        ({"curves": bad_curve("train_loss", [1.0, math.inf])}, "not finite"),
        ({"curves": record(SPACE[1], 0, 88.0, epochs=3)["curves"]}, "differ in length"),
    ],
)
def test_records_that_cannot_be_one_table(changes, said):
    made = [record(SPACE[0], 0, 88.0), record(SPACE[1], 0, 88.0) | changes]
    assert said in refusal(GroundTruth.from_records, made, "t")


@pytest.mark.parametrize("given", [(5,), (5, "x"), (None, "x"), ("abc", "x"), ({"config": "[4,3,3]"}, "x"), ([],)])
def test_what_is_no_list_of_records_is_refused(given):
    with pytest.raises(UsageError, match="a table is made of a list of records, under a name"):
        GroundTruth.from_records(*given)


def test_no_records_and_bad_names():
    assert "finish a run" in refusal(GroundTruth.from_records, [], "t")
    for name in ("", "../t", "a b", ".t", "a\nb"):
        assert "cannot name a table" in refusal(GroundTruth.from_records, records(SPACE[:1]), name)


@pytest.mark.parametrize("file", ["t.csv", "t.curves.csv"])
def test_every_edited_cell_is_noticed(tmp_path, file):
    path = write_table(GroundTruth.from_records(records(SPACE[:2], seeds=(0, 1)), "t"), tmp_path).with_name(file)
    original = path.read_text()
    lines = original.splitlines()
    for number, line in enumerate(lines):
        for at, character in enumerate(line):
            if character.isdigit():
                changed = line[:at] + str((int(character) + 1) % 10) + line[at + 1 :]
                path.write_text("\n".join([*lines[:number], changed, *lines[number + 1 :]]) + "\n")
                refusal(load_table, path)
    for number in range(1, len(lines)):  # a row dropped, a row twice
        path.write_text("\n".join(lines[:number] + lines[number + 1 :]) + "\n")
        refusal(load_table, path)
        path.write_text("\n".join([*lines, lines[number]]) + "\n")
        refusal(load_table, path)
    path.write_text(original)
    assert load_table(path).complete is False


@pytest.mark.parametrize("key", ["space", "dataset", "recipe", "recipe_hash", "unit", "split", "sha256", "curves"])
def test_what_the_values_are_of_cannot_be_edited(full, tmp_path, key):
    path = write_table(full, tmp_path).with_suffix(".json")
    header = json.loads(path.read_text())
    header[key] = {"name": "synthetic", "checksum": None} if key == "dataset" else None
    path.write_text(json.dumps(header))
    refusal(load_table, path)


def test_line_ends_order_and_byte_marks_of_other_systems_change_nothing(full, tmp_path):
    path = write_table(full, tmp_path)
    for file in tmp_path.iterdir():
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert load_table(path) == full
    header, *rows = path.read_text(encoding="utf-8-sig").splitlines()
    path.write_text("\n".join([header, *reversed(rows)]))
    assert load_table(path) == full


DAMAGES = {
    "empty": lambda data: b"",
    "half": lambda data: data[: len(data) // 2],
    "binary": lambda data: b"\x00\xff\xfe" + data,
    "nul": lambda data: data.replace(b"1", b"\0"),
    "open quote": lambda data: data + b'"[4,3',
    "foreign": lambda data: b"a,b\n1,2\n",
    "line break in a cell": lambda data: data.replace(b"[1,1,8]", b"[1,1,\n8]x"),
    "nan": lambda data: data.replace(b"1,", b"nan,"),
    "long": lambda data: data.replace(b"[1,1,8]", b"9" * 200_000),
}


@pytest.mark.parametrize("file", ["full.csv", "full.json", "full.curves.csv"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_refused_in_one_line(full, tmp_path, file, damage):
    path = write_table(full, tmp_path)
    damaged = tmp_path / file
    before = damaged.read_bytes()
    damaged.write_bytes(DAMAGES[damage](before))
    if damaged.read_bytes() != before:  # not every damage finds something to spoil in the header
        assert "full" in refusal(load_table, path)
    damaged.unlink()
    assert file in refusal(load_table, tmp_path / "full")


@pytest.mark.parametrize(
    "text", ["[]", "null", '{"schema": 2}', '{"schema": 1}', '{"schema": 1, "name": 3}', "[" * 99999]
)
def test_foreign_headers(full, tmp_path, text):
    path = write_table(full, tmp_path).with_suffix(".json")
    path.write_text(text)
    assert "full.json" in refusal(load_table, path)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("provenance", 5, "its provenance is no JSON object"),
        ("provenance", [1, 2], "its provenance is no JSON object"),
        ("recipe", "x", "its recipe is no JSON object"),
        ("timings", True, "its timings is no JSON object"),
        ("recipe_hash", 3, "its recipe_hash is no text"),
        ("source", math.inf, "not a whole JSON header"),
        ("source", "\ud800", "not a whole JSON header"),
    ],
)
def test_a_header_whose_hash_does_not_cover_what_is_wrong_with_it(full, tmp_path, key, value, said):
    path = write_table(full, tmp_path).with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    assert said in refusal(load_table, path)


def test_unknown_names_list_the_known(tmp_path):
    for name in ("nope", "", "pub\nlished", tmp_path, tmp_path / "x.csv", "\0"):
        assert "published" in refusal(load_table, name)
    assert "name or the path" in refusal(load_table, None)


def test_a_write_cut_short_never_loads_as_something_else(full, tmp_path, monkeypatch):
    """Whatever file the interruption falls before: the old table, the new one or a refusal."""
    new = GroundTruth.from_records([record(c, 0, 50.0) for c in SPACE], "full")
    write = module.write_atomically
    for allowed in range(3):
        old = write_table(full, tmp_path)
        count = iter(range(10))

        def stop(path, data, count=count, allowed=allowed):
            if next(count) == allowed:
                raise KeyboardInterrupt
            write(path, data)

        monkeypatch.setattr(module, "write_atomically", stop)
        with pytest.raises(KeyboardInterrupt):
            write_table(new, tmp_path)
        monkeypatch.setattr(module, "write_atomically", write)
        if allowed:
            refusal(load_table, old)
        else:
            assert load_table(old) == full
    assert load_table(write_table(new, tmp_path)) == new


def test_curves_of_an_earlier_table_go(full, tmp_path):
    write_table(full, tmp_path)
    bare = GroundTruth.from_rows("full", SPACE, full.rows, Origin("cifar10"))
    path = write_table(bare, tmp_path)
    assert load_table(path) == bare
    assert not (tmp_path / "full.curves.csv").exists()


def test_verify_notices_altered_objects(full):
    altered = GroundTruth(full.header, full.rows[1:], full.curves)
    assert "altered" in refusal(altered.verify)
    refusal(write_table, altered, "nowhere")


def test_public_names():
    assert benchmark.load_table is load_table
    assert benchmark.GroundTruth is GroundTruth


def test_a_query_names_seed_epoch_and_split(full):
    with pytest.raises(UsageError, match=r"seed=None, epoch=None, split='test'"):
        full.query("[4,3,3]")


def test_numpy_numbers_in_a_row_read_back(tmp_path):
    rows = [Row(c, np.float64(90), np.float32(0.5), np.int64(2), {}) for c in SPACE]
    made = GroundTruth.from_rows("numpy", SPACE, rows, Origin("cifar10"))
    assert load_table(write_table(made, tmp_path)) == made
