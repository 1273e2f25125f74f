"""A table in the shapes that others read: what their own libraries find in it is what the table says."""

import csv
import json
import math
from pathlib import Path

import pytest

from benchmark import export, load_space, load_table
from benchmark.errors import UsageError
from benchmark.recipe import CURVES, Recipe
from benchmark.spaces import costs
from benchmark.tables.table import GroundTruth, Origin, Row
from tests.kept import OURS


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def test_every_number_of_a_table_with_curves_stands_in_one_row(tmp_path):
    table = load_table(OURS)
    path, _ = export.write(table, tmp_path)
    rows = rows_of(path)
    assert len(rows) == 117 * 10
    assert list(rows[0]) == ["number", "config", "macs", "seed", "epoch", *CURVES]
    found = {(row["config"], int(row["seed"]), int(row["epoch"])): row for row in rows}
    for (config, seed), curve in table.curves.items():
        for name in CURVES:
            assert [float(found[str(config), seed, e][name]) for e in range(1, 11)] == list(curve[name])
    assert all(int(row["macs"]) == costs.macs(table.space, row["config"]) for row in rows[::50])


def test_a_table_of_means_has_a_row_per_configuration(tmp_path):
    path, _ = export.write(load_table("published"), tmp_path)
    rows = rows_of(path)
    assert len(rows) == 36
    assert {**rows[19], "macs": ""} == {"number": "20", "config": "[3,5,2]", "macs": "", "mean": rows[19]["mean"], "std": rows[19]["std"], "n": "3"}  # fmt: skip
    assert float(next(row["mean"] for row in rows if row["config"] == "[4,3,3]")) == 90.52


def test_seeds_without_curves_and_spaces_without_macs(tmp_path):
    pytest.importorskip("xarray")
    space = load_space("resnet18-imagenet")
    rows = [Row.of(config, {4: 50.0 + i, 7: 51.5 + i}) for i, config in enumerate(space)]
    table = GroundTruth.from_rows("plain", space, rows, Origin("imagenet", recipe={"epochs": 90}))
    found = rows_of(export.write(table, tmp_path)[0])
    expected = {"number", "config", "seed", "epoch", "test_accuracy"} | ({"macs"} if space.backbone else set())
    assert set(found[0]) == expected
    assert (found[1]["seed"], found[1]["epoch"], found[1]["test_accuracy"]) == ("7", "90", "51.5")
    array = table.to_xarray()
    assert array.dims == ("config", "seed", "epoch", "metric")
    assert float(array.sel(config=str(space[3]), seed=7, epoch=90, metric="test_accuracy")) == 54.5


def test_macs_are_those_of_the_images_that_were_trained_on(tmp_path):
    """Smoke recipes of the larger spaces train on small ones."""
    space = load_space("resnet18-cifar10")
    rows = [Row.of(config, {0: 50.0}) for config in space]
    recipe = space.preset(Recipe, "smoke").to_dict()
    assert recipe["side"] == 8
    table = GroundTruth.from_rows("small", space, rows, Origin("cifar10", recipe=recipe))
    expected = [costs.macs(space.at(8), config) for config in space]
    assert [int(row["macs"]) for row in rows_of(export.write(table, tmp_path)[0])] == expected
    assert expected[0] < costs.macs(space, space[0]) / 15  # the classifier's do not shrink


@pytest.mark.parametrize("name", ["published", OURS])
def test_parquet_holds_what_csv_holds(tmp_path, name):
    parquet = pytest.importorskip("pyarrow.parquet")
    table = load_table(name)
    rows = rows_of(export.write(table, tmp_path)[0])
    held = parquet.read_table(export.write(table, tmp_path, "parquet")[0]).to_pylist()
    assert len(held) == len(rows)
    for one, other in zip(held[::7], rows[::7], strict=True):
        assert one == {key: type(one[key])(text) for key, text in other.items()}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("name", ["published", OURS])
def test_croissant_is_valid_and_leads_to_the_numbers(tmp_path, name, form):
    mlcroissant = pytest.importorskip("mlcroissant")
    table = load_table(name)
    path, beside = export.write(table, tmp_path, form)
    dataset = mlcroissant.Dataset(jsonld=beside)  # raises where it is not valid
    assert not dataset.metadata.ctx.issues.errors
    assert dataset.metadata.name == name
    assert table.sha256 in dataset.metadata.description
    first = next(iter(dataset.records(record_set="accuracies")))
    assert first["accuracies/config"] in ("[1,1,8]", b"[1,1,8]")
    accuracy = first.get("accuracies/test_accuracy", first.get("accuracies/mean"))
    seed = first.get("accuracies/seed")
    expected = table.query("[1,1,8]", seed=seed, epoch=None if seed is None else 1, split="test")
    assert accuracy == pytest.approx(expected, abs=1e-6)
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(Exception, match="Download"):
        next(iter(mlcroissant.Dataset(jsonld=beside).records(record_set="accuracies")))


def test_the_same_table_is_exported_to_the_same_bytes(tmp_path):
    table = load_table("published")
    one, other = (export.write(table, tmp_path / name) for name in "ab")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]


def test_axes_have_names_and_what_is_not_there_is_nan():
    pytest.importorskip("xarray")
    table = load_table(OURS)
    array = table.to_xarray()
    assert dict(array.sizes) == {"config": 36, "seed": 6, "epoch": 10, "metric": 4}
    assert float(array.sel(config="[4,3,3]", seed=1, epoch=5, metric="test_accuracy")) == table.query(
        "[4,3,3]", seed=1, epoch=5, split="test"
    )
    last = array.sel(epoch=10, metric="test_accuracy").mean("seed")
    assert last.values.tolist() == pytest.approx([row.mean for row in table.rows])
    assert math.isnan(array.sel(config="[4,3,3]", seed=5, epoch=5, metric="test_loss"))
    assert array.attrs["sha256"] == table.sha256
    means = load_table("published").to_xarray()
    assert means.dims == ("config", "metric")
    assert float(means.sel(config="[7,1,2]", metric="mean")) == 92.01


def test_the_command_says_where_and_refuses_what_it_cannot_write(tmp_path, capsys):
    assert export.main(["published", "--out", str(tmp_path), "--license", "https://example.org/license"]) == 0
    path, beside = capsys.readouterr().out.split()
    assert path.endswith("published.tidy.csv")
    assert json.loads(Path(beside).read_text())["license"] == "https://example.org/license"
    for words in (["published"], ["nothing", "--out", "x"], ["published", "--out", "x", "--format", "xlsx"]):
        with pytest.raises(UsageError) as caught:
            export.main(words)
        assert "\n" not in str(caught.value)
