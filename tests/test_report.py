"""The report: one page, figures and tables, from what lies under an output folder."""

import csv
import json
import re
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import benchmark
from benchmark import report
from benchmark.errors import UsageError
from benchmark.page import figures, files, leaderboard, styles
from benchmark.scoring import versus
from benchmark.scoring.ranking import Ranking, ranking_json
from benchmark.tables.files import write_table
from benchmark.tables.table import GroundTruth, Origin, Row
from tests.kept import SCORES

TABLE = benchmark.load_table("published")
MEANS = np.array(TABLE.means)
EVIL = "<img src=x onerror=alert(1)></script>{{ 7*7 }}\x1b|$%"


def keep(out, name, scores, seed=0, points=(), method="planted", history=None, pick=None, **options):
    curve = [{"epoch": e + 1, "images": 100 * (e + 1), "scores": list(s)} for e, s in enumerate(points)]
    timings = {"seconds": 9.0, "curve": [1.0, 2.0][: len(curve)]}
    provenance = {"seed": seed, "recipe_label": "paper", "timings": timings}
    told = ({"curve": curve} if curve else {}) | (history or {})
    made = Ranking(TABLE.space.name, tuple(scores), pick, "cifar10", method, options, provenance, told)
    (out / "rankings").mkdir(exist_ok=True)
    (out / "rankings" / f"{name}.json").write_text(ranking_json(made))


def data_of(page):
    """What the page's scripts read."""
    [text] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report of planted rankings, two of them under a name made to break pages, and of a broken file among them."""
    out = tmp_path_factory.mktemp("results")
    noise = np.random.default_rng(0).standard_normal((3, 36))
    draw = np.random.default_rng(1)
    watched = [{"epoch": e + 1, "p(m|c)": draw.dirichlet((1, 1), 36).tolist()} for e in range(3)]
    weights = draw.dirichlet((1, 1, 1), 9).tolist()
    for seed in range(3):
        keep(out, f"a{seed}", MEANS + noise[seed], seed, [-MEANS, MEANS], M=1, history={"watched": watched})
    keep(out, "b", -MEANS, 0, [MEANS, -MEANS], pick="012220220", M=2, history={"weights": [weights]})
    keep(out, "evil", MEANS + 2 * noise[0], EVIL, [MEANS, MEANS], method=EVIL, history={"watched": watched})
    (out / "rankings" / "broken.json").write_text('{"schema": 2, "<script>": 1')
    rows = [Row(row.config, row.mean - 1.0, None, 1) for row in TABLE.rows]
    write_table(GroundTruth.from_rows("own", TABLE.space, rows, Origin("cifar10")), out / "tables")
    with pytest.MonkeyPatch.context() as patch:
        said = []
        patch.setattr("benchmark.cli.answer", lambda *lines: said.extend(lines))
        patch.setattr("benchmark.cli.say", lambda *lines: said.extend(lines))
        patch.setattr("benchmark.running.progress.say", lambda line: said.append(f"so far {line}"))
        patch.setattr("benchmark.running.progress.LOG_SECONDS", -1.0)
        assert report.main(["--out", str(out), "--formats", "svg", "--json"]) == 0
    return out, "\n".join(said)


@pytest.fixture(scope="module")
def page(made):
    return (made[0] / "report" / "index.html").read_text()


def test_the_page_says_what_its_files_say(made, page):
    rows = re.findall(r'<tr data-label="([^"]*)" data-tau="([^"]*)"', page)
    published = {label: float(tau) for label, tau in rows[: len(rows) // 2]}
    with open(made[0] / "report" / "tables" / "leaderboard-published.csv") as file:
        kept = {row["method"]: float(row["tau-b"]) for row in csv.DictReader(file)}
    assert len(kept) == 4
    assert [published[label] for label in ("planted M=1", "planted M=2")] == [
        kept["planted M=1"],
        kept["planted M=2"],
    ]
    rankings = [benchmark.scoring.ranking.read_ranking(made[0] / "rankings" / f"a{seed}.json") for seed in range(3)]
    assert kept["planted M=1"] == benchmark.score(rankings, TABLE).tau
    assert "../rankings/a0.json" in page


def test_how_far_it_is_shows_while_it_scores_and_draws(made):
    """Table by table, and within each: scores, then verdicts, of three methods; then figure by figure."""
    told = re.findall(r"^so far (\w+): ([\d.]+)% · (\d+)/(\d+) done · (\S+)", made[1], re.MULTILINE)
    scoring = [float(share) for what, share, *_ in told if what == "scoring"]
    assert scoring == sorted(scoring)
    assert (scoring[0], scoring[-1]) == (0.0, 100.0)
    assert {name for what, *_, name in told if what == "scoring"} == {"published", "own"}
    assert len(set(scoring)) > 2 * 2 * 3
    drawing = [(int(done), int(of)) for what, _, done, of, _ in told if what == "drawing"]
    assert drawing == [(done, len(drawing)) for done in range(1, len(drawing) + 1)]
    assert "images/s" not in made[1]


def test_each_chart_has_its_data_once(page):
    data = data_of(page)
    wanted = {"truth-published", "budget-tau-images-published", "configurations-macs-own", "models", "resolutions"}
    assert wanted <= set(data["charts"])
    assert {key for chart in data["charts"].values() for key in chart["pools"]} == set(data["pool"])
    assert '"values": [{' not in json.dumps(data["charts"])  # those of an axis are no data
    one, other = (data["charts"][f"budget-{y}-published"]["pools"] for y in ("tau-images", "regret-seconds"))
    assert set(other) <= set(one)


def test_names_are_text_wherever_they_stand(page, made):
    scripts = re.findall(r"<script", page)
    assert len(scripts) == 3  # data, runtime, code
    assert len(re.findall(r"</script", page)) == 3
    assert "onerror=alert(1)>" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert "{{ 7*7 }}" in page  # not 49
    assert "\x1b" not in page
    for path in (made[0] / "report").rglob("*"):
        assert re.fullmatch(r"[A-Za-z0-9._+=-]+", path.name)
    for path in (made[0] / "report" / "tables").glob("*.md"):
        lines = [line for line in path.read_text().splitlines() if line.startswith("|")]
        assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


def test_a_broken_file_is_named_and_the_others_are_there(made, page):
    assert "left out: " in made[1]
    assert "broken.json" in made[1]
    assert "broken.json" in page
    assert 'data-label="planted M=1"' in page


def test_json_says_what_was_written(made):
    told = json.loads(made[1][made[1].index("{\n") if "{\n" in made[1] else made[1].index('{"') :])
    written = [*told["figures"], *told["tables"], told["page"]]
    assert sorted(written) == sorted(str(path) for path in (made[0] / "report").rglob("*.*"))
    assert str(made[0] / "report" / "figures" / "leaderboard-published.svg") in told["figures"]
    assert {path.rpartition(".")[2] for path in told["figures"]} == {"svg"}


def test_the_page_asks_no_network(page):
    html = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert re.findall(r'(?:src|href)="(?:https?:)?//', html) == []
    assert "default-src 'none'" in html


def test_what_was_not_run_stands_there_with_its_command(page, made):
    assert f"python -m benchmark.evaluate --method mixture --M 8 --out {made[0]}" in page


def test_every_chart_says_what_it_means(page):
    drawn = page.count("<figure ")
    assert drawn > 8
    assert page.count('<details class="meaning">') == drawn + page.count('<section class="card leaderboard"')


def test_an_empty_folder_has_a_page(tmp_path, capsys):
    report.main(["--out", str(tmp_path), "--formats"])
    page = (tmp_path / "report" / "index.html").read_text()
    assert "1 table, 0 rankings" in capsys.readouterr().out
    assert 'data-label="counting MACs"' in page
    assert "truth-published" not in data_of(page)["charts"]
    assert list((tmp_path / "report").glob("figures/*")) == []


@pytest.fixture
def quick_verdicts(monkeypatch):
    """Few draws: how verdicts come about is tested where they are made, and 45,000 of them take minutes."""
    monkeypatch.setattr(leaderboard.versus, "MOST_DRAWS", 20)
    monkeypatch.setattr(leaderboard.versus, "verdicts", partial(versus.verdicts, draws=20))


def test_300_rankings_of_100_methods_have_a_row_each_and_a_page_of_a_size_to_be_sent(tmp_path, quick_verdicts):
    draw = np.random.default_rng(5)
    for method in range(100):
        for seed in range(3):
            points = MEANS + draw.standard_normal((2, 36))
            keep(tmp_path, f"{method}-{seed}", points[1], seed, points, method=f"m{method}")
    report.main(["--out", str(tmp_path), "--formats"])
    page = (tmp_path / "report" / "index.html").read_text()
    rows = re.findall(r'<tr data-label="(m\d+)" data-tau=', page)
    assert sorted(rows) == sorted(f"m{method}" for method in range(100))
    assert page.count("../rankings/") == 300
    verdicts = data_of(page)["verdicts"]["published"]
    assert len(verdicts["names"]) == 101  # counting MACs stands among them
    assert len(verdicts["rows"]) == 101 * 100 // 2
    assert len(page) < 4 * 2**20


def five_folders(root):
    """Folders of results as five people might have them, by name, and how many rankings and tables are on the page of each."""
    rows = [Row(row.config, row.mean - 1.0, None, 1) for row in TABLE.rows]
    own = GroundTruth.from_rows("own", TABLE.space, rows, Origin("cifar10"))
    part = GroundTruth.from_rows("part", TABLE.space, rows[:5], Origin("cifar10"))
    other = benchmark.load_space("resnet18-cifar10")
    wide = [Row(config, 80 + at / 10, 0.1, 3) for at, config in enumerate(other)]
    folders = {name: root / name for name in ("empty", "one", "tables", "broken", "another space")}
    for folder in folders.values():
        folder.mkdir()
    keep(folders["one"], "a", MEANS, method=EVIL)
    write_table(own, folders["tables"] / "tables")
    write_table(part, folders["tables"] / "tables")
    keep(folders["broken"], "a", MEANS)
    for place, text in (
        ("rankings/x.json", "{"),
        ("rankings/y.json", "[]"),
        ("tables/z.csv", "config\n"),
        ("tables/w.json", "{"),
    ):
        (folders["broken"] / place).parent.mkdir(exist_ok=True)
        (folders["broken"] / place).write_text(text)
    write_table(GroundTruth.from_rows("wide", other, wide, Origin("cifar10")), folders["another space"] / "tables")
    counts = {"empty": (1, 0), "one": (1, 1), "tables": (3, 0), "broken": (1, 1), "another space": (2, 0)}
    return {name: (folder, counts[name]) for name, folder in folders.items()}


def test_five_folders_of_results_have_what_is_theirs(tmp_path, quick_verdicts):
    for name, (folder, (tables, rankings)) in five_folders(tmp_path).items():
        report.main(["--out", str(folder), "--formats"])
        page = (folder / "report" / "index.html").read_text()
        assert f">{tables} table{'s' * (tables != 1)}, {rankings} ranking{'s' * (rankings != 1)}." in page, name
        assert len(re.findall(r"<article class=\"chapter\"", page)) == tables, name
        assert page.count("Left out: 4") == (name == "broken"), name
        assert len(page) < 2 * 2**20, name
        data = data_of(page)
        assert {key for chart in data["charts"].values() for key in chart["pools"]} == set(data["pool"])
        assert not any(key.startswith("curves") for key in data["charts"])  # no table here has any


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="is no folder"):
        report.main(["--out", str(tmp_path / "none")])


def test_no_two_of_many_methods_are_drawn_alike():
    found = styles.styles(map(str, range(104)))
    assert len(set(found.values())) == 104
    assert styles.styles(map(str, reversed(range(104)))) == found


def test_a_file_name_is_no_other_names():
    names = ["../../x", "a/b" * 200, "a/b" * 200 + "c", "a b", "a-b"]
    found = [figures.file_name(name) for name in names]
    assert len(set(found)) == 5
    assert all(re.fullmatch(r"[A-Za-z0-9._+=-]{1,90}", name) for name in found)
    assert found[-1] == "a-b"


def test_a_sheet_in_latex_can_be_set():
    sheet = files.Sheet("k", "a\nb", ("m_1", "x %"), (("[4,3,3] & co", 0.12345), ("<b>", None)))
    lines = files.as_latex(sheet).splitlines()
    assert lines[:3] == ["% a b", r"\begin{tabular}{lr}", r"\toprule"]
    assert lines[3] == r"m\_1 & x \% \\"
    assert lines[5:7] == [r"{}[4,3,3] \& co & 0.123 \\", r"{}\textless{}b\textgreater{} &  \\"]
    assert files.as_csv(sheet).splitlines()[1] == '"[4,3,3] & co",0.12345'


@pytest.mark.parametrize("form", ["png", "pdf"])
def test_figures_in_every_format(tmp_path, form):
    from benchmark.page import explored, kept

    table = explored.explore(kept.KeptTable(TABLE, None), tmp_path, tmp_path)
    [figure] = figures.explorer(table)
    [path] = files.draw([figures.Figure("k", "", figure.views[:1], "")], tmp_path, [form])
    assert path.read_bytes().startswith({"png": b"\x89PNG", "pdf": b"%PDF"}[form])
    assert path.stat().st_size > 5000
    assert path.name == f"configurations-macs-published.{form}"


def test_what_draws_is_asked_for_in_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(UsageError, match=r"the report needs altair: pip install 'nas-bench-pooling\[report\]'"):
        report.main(["--out", str(tmp_path)])


def test_the_pictures_of_readme_and_results_are_of_what_is_kept():
    root = Path(benchmark.__file__).parents[1]
    pages = (root / "README.md").read_text() + (root / "docs" / "results.md").read_text()
    pictures = re.findall(r"!\[[^\]]+\]\((?:docs/)?(figures/report/[^)]+)\)", pages)
    assert len(pictures) == 2
    drawn = {path: (root / "docs" / path).read_text() for path in pictures}
    assert all(len(text) < 80_000 for text in drawn.values())
    every, board = drawn.values()
    for row in TABLE.rows:
        assert f"config: {row.config}; mean: {row.mean:.6g}; " in every
    against_published = [path for path in SCORES if path.name.endswith("-vs-published.json")]  # no own runs beside them
    assert against_published
    for path in against_published:
        kept = json.loads(path.read_text())["method"]
        said = f"; tau: {kept['tau']:.6g}; low: {kept['interval'][0]:.6g}"
        assert said.replace("-", "\u2212") in board
