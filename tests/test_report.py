"""The report: one page and its files, from what lies under an output folder."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import benchmark
from benchmark import report
from benchmark.errors import UsageError
from benchmark.scoring import versus
from benchmark.scoring.ranking import Ranking, ranking_json
from benchmark.spaces import costs
from benchmark.tables.files import write_table
from benchmark.tables.table import GroundTruth, Origin, Row

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


def test_verdicts_are_of_two_things_and_say_that_they_are_not_corrected(tmp_path):
    counted = [float(costs.macs(TABLE.space, config)) for config in TABLE.space]
    keep(tmp_path, "counted", counted, M=1)
    report.main(["--out", str(tmp_path)])
    assert "Which is better" not in (tmp_path / "report" / "README.md").read_text()  # than itself
    keep(tmp_path, "a", MEANS, M=2)
    keep(tmp_path, "b", -MEANS, M=3)
    report.main(["--out", str(tmp_path)])
    page = (tmp_path / "report" / "README.md").read_text()
    verdicts = page.partition("### Which is better")[2].partition("\n#")[0]
    rows = [line.split(" | ")[:2] for line in verdicts.splitlines() if line.startswith("| planted")]
    assert rows == [
        ["| planted M=2", "planted M=3"],
        ["| planted M=2", "planted M=1"],
        ["| planted M=3", "planted M=1"],
    ]
    assert "Verdicts: 3, each at 95 % on its own and not corrected for how many they are" in verdicts


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
    assert "![resolutions](resolutions-mixing.png)" in page
    assert (tmp_path / "report" / "resolutions-mixing.png").stat().st_size > 10_000
    assert f"{found} (outside the space)" in page


@pytest.mark.parametrize("weights", [[], [0.5], {"a": 1}, "heavy", [[[0.5, 0.5]]]], ids=repr)
def test_weights_of_another_kind_are_not_drawn(tmp_path, weights):
    (tmp_path / "rankings").mkdir()
    made = Ranking(TABLE.space.name, tuple(MEANS), None, "cifar10", "mixing", {}, {"seed": 4}, {"weights": weights})
    (tmp_path / "rankings" / "a.json").write_text(ranking_json(made))
    report.main(["--out", str(tmp_path)])
    assert "Resolutions that" not in (tmp_path / "report" / "README.md").read_text()


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="is no folder"):
        report.main(["--out", str(tmp_path / "none")])


def test_a_table_that_bears_the_name_of_the_published_one_has_its_own_place(tmp_path):
    rows = [Row(row.config, row.mean - 1.0, row.std, row.n) for row in TABLE.rows]
    other = GroundTruth.from_rows("published", TABLE.space, rows, Origin("cifar10"))
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
    own = GroundTruth.from_rows("own", TABLE.space, rows, Origin("cifar10"))
    write_table(own, tmp_path / "tables")
    report.main(["--out", str(tmp_path)])
    page = (tmp_path / "report" / "README.md").read_text()
    assert [line for line in page.splitlines() if line.startswith("## ")] == ["## published", "## own"]
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
    weights = np.random.default_rng(1).dirichlet((1, 1, 1), 9).tolist()
    for name in ("../../x", "a/b" * 200, "a/b" * 200 + "c", "$\\frac\x1b|\n"):
        made = Ranking(
            TABLE.space.name, tuple(MEANS), None, "cifar10", name, {}, {"seed": name}, {"weights": [weights]}
        )
        (out / "rankings").mkdir(exist_ok=True)
        (out / "rankings" / f"{abs(hash(name))}.json").write_text(ranking_json(made))
    report.main(["--out", str(out)])
    assert [path.name for path in out.iterdir() if path.name not in ("rankings", "report")] == []
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["out"]
    assert len(list((out / "report").glob("resolutions-*.png"))) == 4
    page = (out / "report" / "README.md").read_text()
    assert "\x1b" not in page
    row = next(line for line in page.splitlines() if line.startswith("| $"))
    assert row.replace("\\|", "").count("|") == 9


@pytest.fixture
def figures(monkeypatch):
    """The figures of a report by name, as matplotlib holds them."""
    drawn = {}
    save = report._save
    monkeypatch.setattr(report, "_save", lambda figure, folder, name: drawn.update({name: figure}) or save(figure, folder, name))  # fmt: skip
    return drawn


def test_a_method_has_one_colour_and_marker_in_every_figure(tmp_path, figures):
    noise = np.random.default_rng(0).standard_normal((2, 3, 36))
    for number in range(2):
        for seed in range(3):
            points = [MEANS + 5 * noise[number, seed], MEANS + noise[number, seed]]
            keep(tmp_path, f"{number}-{seed}", points[-1], seed, points, M=number)
    report.main(["--out", str(tmp_path)])
    styles = report._styles(["planted M=1", "planted M=0"])
    assert len({style.colour for style in styles.values()}) == len({style.marker for style in styles.values()}) == 2
    for panel in figures["budget-published"].axes:
        for label, style in styles.items():
            [strong] = [line for line in panel.lines if line.get_label() == label]
            assert strong.get_marker() == style.marker
            same = [line for line in panel.lines if line.get_color() == strong.get_color() == style.colour]
            assert len(same) == 4  # three seeds and their mean
            seeds = [line.get_ydata() for line in same if line is not strong]
            assert strong.get_ydata() == pytest.approx(np.mean(seeds, axis=0))
            assert all(line.get_linewidth() < strong.get_linewidth() for line in same if line is not strong)
    colours = [tuple(panel.collections[0].get_facecolor()[0][:3]) for panel in figures["methods-published"].axes]
    from matplotlib.colors import to_rgb

    assert colours == [to_rgb(styles[f"planted M={number}"].colour) for number in range(2)]


def test_no_two_of_many_methods_are_drawn_alike():
    styles = report._styles(map(str, range(100)))
    assert len(set(styles.values())) == 100
    assert report._styles(map(str, reversed(range(100)))) == styles


def test_one_table_of_all_methods_stands_above_every_seed(tmp_path):
    for seed in range(3):
        keep(tmp_path, f"a{seed}", MEANS + np.random.default_rng(seed).standard_normal(36), seed, M=1)
        keep(tmp_path, f"b{seed}", -MEANS, seed, M=2)
    report.main(["--out", str(tmp_path)])
    lines = (tmp_path / "report" / "README.md").read_text().splitlines()
    start = lines.index("| method | seeds | tau-b | 95 % | given MACs | pick | accuracy % | regret |") + 2
    rows = [line.strip("| ").split(" | ") for line in lines[start : start + 3]]
    assert [row[:2] for row in rows] == [["planted M=1", "3"], ["counting MACs", "1"], ["planted M=2", "3"]]
    given = versus.entrants([report.read_ranking(p) for p in sorted((tmp_path / "rankings").iterdir())], TABLE)
    assert rows[0][2] == f"{benchmark.score(given['planted M=1'], TABLE).tau:.3f}"
    first = lines.index("```")
    assert first > lines.index("## Every seed against published") > start
    assert sum(line.startswith("seed ") for line in lines[first:]) == 6
    assert {path.name for path in (tmp_path / "report").glob("*.png")} == {"published.png", "methods-published.png"}


def test_rankings_that_are_no_seeds_of_one_method_are_scored_one_by_one(tmp_path):
    keep(tmp_path, "a", MEANS, 0)
    keep(tmp_path, "b", -MEANS, 0)
    report.main(["--out", str(tmp_path)])
    page = (tmp_path / "report" / "README.md").read_text()
    assert "| planted, 1 of 2 | 1 | 1.000 |" in page
    assert "| planted, 2 of 2 | 1 | -1.000 |" in page


@pytest.mark.parametrize("backend", ["module://matplotlib_inline.backend_inline", "nonsense"])
def test_a_backend_that_a_notebook_has_set_decides_nothing(tmp_path, environment, backend):
    code = "import os, sys; from benchmark import report; report.main(sys.argv[1:]); print(os.environ['MPLBACKEND'])"
    done = subprocess.run(
        [sys.executable, "-c", code, "--out", str(tmp_path)],
        env=environment | {"MPLBACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == backend  # left as it was
    assert (tmp_path / "report" / "published.png").exists()


def test_one_long_option_does_not_end_the_report(tmp_path):
    keep(tmp_path, "a", MEANS, note="x" * 300)
    keep(tmp_path, "b", MEANS, note="x" * 301)
    report.main(["--out", str(tmp_path)])


def test_a_part_of_a_space_is_shown_with_all_that_is_printed_of_it(tmp_path):
    part = benchmark.load_table("published-resnet50-food101")
    write_table(part, tmp_path / "tables")
    report.main(["--out", str(tmp_path)])
    page = (tmp_path / "report" / "README.md").read_text()
    assert "resnet50-food101 on food101, recipe not stated: 5 of 455 configurations" in page
    assert "[6,4,5,1] 84.24 ± 0.09; [8,3,3,2] 84.35 ± 0.14; [9,4,2,1] 84.73 ± 0.09." in page
    assert "- [3,4,6,3] is the default; the mixture finds" in page
