"""The report: one page and its files, from what lies under an output folder."""

import numpy as np
import pandas as pd
import pytest

import benchmark
from benchmark import report
from benchmark.errors import UsageError
from benchmark.scoring.ranking import Ranking, ranking_json
from benchmark.tables.files import write_table
from benchmark.tables.table import GroundTruth, Row

TABLE = benchmark.load_table("published")
MEANS = np.array(TABLE.means)


def keep(out, name, scores, seed=0, points=(), **options):
    curve = [{"epoch": e + 1, "images": 100 * (e + 1), "scores": list(s)} for e, s in enumerate(points)]
    provenance = {"seed": seed, "recipe_label": "paper", "timings": {"seconds": 9.0, "curve": [1.0, 2.0][: len(curve)]}}
    made = Ranking(TABLE.space.name, tuple(scores), None, "cifar10", "planted", options, provenance, {"curve": curve})
    (out / "rankings").mkdir(exist_ok=True)
    (out / "rankings" / f"{name}.json").write_text(ranking_json(made))


def test_budgets_and_verdicts(tmp_path, capsys):
    noise = np.random.default_rng(0).standard_normal(36)
    keep(tmp_path, "a", MEANS, 0, [-MEANS, MEANS], M=1)
    keep(tmp_path, "b", MEANS + 3 * noise, 0, [MEANS, -MEANS], M=2)
    report.main(["--out", str(tmp_path)])
    assert "2 rankings" in capsys.readouterr().out
    page = (tmp_path / "report" / "README.md").read_text()
    numbers = pd.read_csv(tmp_path / "report" / "budget-published.csv")
    assert numbers["method"].tolist() == ["planted M=1"] * 2 + ["planted M=2"] * 2
    assert numbers["tau"].round(9).tolist() == [-1, 1, 1, -1]
    assert numbers["seconds"].tolist() == [1, 2, 1, 2]
    assert numbers["regret"][1] == 0
    assert (tmp_path / "report" / "budget-published.png").stat().st_size > 10_000
    assert "| planted M=1 | planted M=2 | better (+" in page
    assert "| planted M=1 | counting MACs | better (+" in page


def test_rankings_without_curves_have_no_budget(tmp_path):
    keep(tmp_path, "a", MEANS)
    report.main(["--out", str(tmp_path)])
    assert not (tmp_path / "report" / "budget-published.csv").exists()
    assert "| planted | counting MACs |" in (tmp_path / "report" / "README.md").read_text()


def test_resolutions_that_were_weighed_are_drawn(tmp_path):
    weights = np.random.default_rng(1).dirichlet((1, 1, 1), 9)
    found = "".join(map(str, weights.argmax(axis=1)))
    (tmp_path / "rankings").mkdir()
    made = Ranking(
        TABLE.space.name, tuple(MEANS), found, "cifar10", "mixing", {}, {"seed": 4}, {"weights": [weights.tolist()]}
    )
    (tmp_path / "rankings" / "a.json").write_text(ranking_json(made))
    report.main(["--out", str(tmp_path)])
    page = (tmp_path / "report" / "README.md").read_text()
    assert "![resolutions that mixing found](mixing-nodata-seed4-resolutions.png)" in page
    assert (tmp_path / "report" / "mixing-nodata-seed4-resolutions.png").stat().st_size > 10_000
    assert f"{found} (outside the space)" in page


@pytest.mark.parametrize("weights", [[], [0.5], {"a": 1}, "heavy", [[[0.5, 0.5]]]], ids=repr)
def test_weights_of_another_kind_are_not_drawn(tmp_path, weights):
    (tmp_path / "rankings").mkdir()
    made = Ranking(TABLE.space.name, tuple(MEANS), None, "cifar10", "mixing", {}, {"seed": 4}, {"weights": weights})
    (tmp_path / "rankings" / "a.json").write_text(ranking_json(made))
    report.main(["--out", str(tmp_path)])
    assert "resolutions that" not in (tmp_path / "report" / "README.md").read_text()


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="is no folder"):
        report.main(["--out", str(tmp_path / "none")])


def test_a_table_that_bears_the_name_of_the_published_one_has_its_own_place(tmp_path):
    rows = [Row(row.config, row.mean - 1.0, row.std, row.n) for row in TABLE.rows]
    other = GroundTruth.from_rows("published", TABLE.space, rows, dataset="cifar10")
    write_table(other, tmp_path / "tables")
    report.main(["--out", str(tmp_path)])
    name = f"published-{other.sha256[:12]}"
    page = (tmp_path / "report" / "README.md").read_text()
    assert [line for line in page.splitlines() if line.startswith("## published")] == ["## published", f"## {name}"]
    best = TABLE.best
    assert f"Best: {best.config} with {best.mean:.2f} " in page
    assert f"Best: {best.config} with {best.mean - 1:.2f} " in page
    drawn = [(tmp_path / "report" / f"{of}.png").read_bytes() for of in ("published", name)]
    assert drawn[0] != drawn[1]


def test_copies_of_a_table_are_told_once(tmp_path):
    rows = [Row(row.config, row.mean - 1.0, row.std, row.n) for row in TABLE.rows]
    own = GroundTruth.from_rows("own", TABLE.space, rows, dataset="cifar10")
    write_table(own, tmp_path / "tables")
    report.main(["--out", str(tmp_path)])
    page = (tmp_path / "report" / "README.md").read_text()
    assert [line for line in page.splitlines() if line.startswith("## ")] == ["## published", "## own", "## Rankings"]
    for table in (TABLE, own):
        write_table(table, tmp_path / "copies")
        for ending in ("csv", "json"):
            place = tmp_path / "tables" / f"{table.name}-again.{ending}"
            (tmp_path / "copies" / f"{table.name}.{ending}").rename(place)
    report.main(["--out", str(tmp_path)])
    assert (tmp_path / "report" / "README.md").read_text() == page


def test_a_rankings_file_cannot_say_where_a_figure_goes(tmp_path):
    out = tmp_path / "one" / "out"
    out.mkdir(parents=True)
    keep(out, "a", MEANS, seed="../../x")
    report.main(["--out", str(out)])
    assert [path.name for path in out.iterdir() if path.name not in ("rankings", "report")] == []
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["out"]
    assert len(list((out / "report").glob("planted-nodata-seed.._.._x-vs-published.png"))) == 1


def test_one_long_option_does_not_end_the_report(tmp_path):
    keep(tmp_path, "a", MEANS, note="x" * 300)
    keep(tmp_path, "b", MEANS, note="x" * 301)
    report.main(["--out", str(tmp_path)])
    figures = [path.name for path in (tmp_path / "report").glob("planted-notexxx*.png")]
    assert len(figures) == 2
