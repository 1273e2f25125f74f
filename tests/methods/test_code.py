"""Which code a ranking is of: what is kept stays valid, and no part that decides a ranking changes in silence."""

import shutil

import pytest

from benchmark import datasheets, training
from benchmark.scoring.ranking import read_ranking
from nas_methods import built_in, stamps
from tests.conftest import REPOSITORY
from tests.kept import RANKINGS

MINE = "from nas_methods.supernet import Sampler\nimport helper\nimport json\nclass Method(Sampler): ...\n"


@pytest.mark.parametrize("path", RANKINGS, ids=lambda path: path.stem)
def test_what_is_kept_is_of_the_code_of_now(path):
    ranking = read_ranking(path)
    assert stamps.is_same_code(ranking.provenance["method_code"], stamps.code_of(ranking.method))


def test_a_method_stands_on_its_bases_and_on_training():
    assert stamps.code_of("mcts") == {"benchmark.training": 1, "nas_methods.mcts": 1, "nas_methods.supernet": 1}
    assert set(stamps.code_of("short_training")) == {
        "benchmark.training", "nas_methods.alone", "nas_methods.conet", "nas_methods.short_training",
    }  # fmt: skip
    assert stamps.code_of("macs") == {"benchmark.training": 1, "nas_methods.macs": 1}


def test_a_file_put_beside_ours_that_declares_no_version_counts_with_its_hash(tmp_path, monkeypatch):
    monkeypatch.setattr(stamps, "_HERE", tmp_path)
    mine, base = tmp_path / "mine.py", tmp_path / "base.py"
    mine.write_text("from nas_methods.base import Base\nclass Method(Base): ...\n")
    base.write_text("VERSION = 3\nclass Base: ...\n")
    stamps.declare()
    before = stamps.code_of(str(mine))
    assert before["nas_methods.base"] == 3
    mine.write_text("from nas_methods.base import Base\nclass Method(Base):\n    x = 1\n")
    base.write_text("VERSION = 3\nclass Base:\n    x = 1\n")
    stamps.declare()
    after = stamps.code_of(str(mine))
    assert {part for part in before if before[part] != after[part]} == {"nas_methods.mine"}


def test_a_raised_version_anywhere_below_makes_kept_rankings_another_codes(monkeypatch):
    before = stamps.code_of("spos")
    really = stamps._version
    monkeypatch.setattr(stamps, "_version", lambda path: really(path) + (path.stem == "supernet"))
    after = stamps.code_of("spos")
    assert after == before | {"nas_methods.supernet": 2}
    assert not stamps.is_same_code(before, after)
    assert not stamps.is_same_code("861966ad4bc0", after)
    monkeypatch.undo()
    monkeypatch.setattr(training, "VERSION", 2)
    assert not stamps.is_same_code(before, stamps.code_of("spos"))
    assert not stamps.is_same_code("861966ad4bc0", stamps.code_of("macs"))


def test_a_file_of_ones_own_counts_with_what_it_imports_beside_itself(tmp_path):
    mine, helper, other = (tmp_path / f"{name}.py" for name in ("mine", "helper", "other"))
    mine.write_text(MINE)
    helper.write_text("import deeper\n")
    (tmp_path / "deeper.py").write_text("x = 1\n")
    other.write_text("x = 1\n")
    before = stamps.code_of(str(mine))
    assert set(before) == {"benchmark.training", "deeper", "helper", "mine", "nas_methods.supernet"}
    other.write_text("x = 2\n")
    helper.write_text("# said\nimport deeper\n")
    assert stamps.code_of(str(mine)) == before
    (tmp_path / "deeper.py").write_text("x = 2\n")
    after = stamps.code_of(str(mine))
    assert {part for part in before if before[part] != after[part]} == {"deeper"}


def test_packages_count_too_and_so_does_what_lies_where_the_command_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    package, here = tmp_path / "sub" / "lib", tmp_path / "helper.py"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "inner" / "core.py").write_text("x = 1\n")
    here.write_text("x = 1\n")
    mine = tmp_path / "sub" / "mine.py"
    mine.write_text("from lib.inner import core\nimport helper\nfrom nas_methods.supernet import Sampler\n")
    before = stamps.code_of("sub/mine.py")
    assert set(before) == {"benchmark.training", "helper", "lib", "mine", "nas_methods.supernet"}
    (package / "inner" / "core.py").write_text("x = 2\n")
    here.write_text("x = 2\n")
    after = stamps.code_of("sub/mine.py")
    assert {part for part in before if before[part] != after[part]} == {"helper", "lib"}


def test_a_ranking_of_a_single_file_from_before_versions_were_declared_stays_valid(tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text("class Method: ...\n")
    now = stamps.code_of(str(mine))
    assert stamps.is_same_code(now["mine"], now)
    mine.write_text("class Method:\n    x = 1\n")
    assert not stamps.is_same_code(now["mine"], stamps.code_of(str(mine)))
    assert not stamps.is_same_code(None, now)


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A copy of the code to be edited, as the place where parts of ours are looked for."""
    for package in ("benchmark", "nas_methods"):
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(stamps, "_HERE", tmp_path / "nas_methods")
    monkeypatch.setattr(stamps, "_HOUSE", tmp_path / "benchmark")
    return tmp_path


def test_the_versions_are_declared_for_the_code_of_now():
    for name in built_in():
        edited = [part for part, version in stamps.code_of(name).items() if not isinstance(version, int)]
        assert edited == [], "raise its VERSION if it ranks otherwise now; then: python -m nas_methods"


def test_a_part_counts_with_what_was_moved_out_of_it(checkout):
    before = stamps.code_of("conet")
    path = checkout / "benchmark" / "channels" / "metrics.py"
    path.write_text(path.read_text().replace("2.5129", "2.6"))
    after = stamps.code_of("conet")
    assert {name for name in after if after[name] != before[name]} == {"nas_methods.conet"}
    assert stamps.code_of("spos") == dict.fromkeys(stamps.code_of("spos"), 1)


@pytest.mark.parametrize(
    ("file", "old", "new", "part"),
    [
        (
            "nas_methods/supernet.py",
            "scores[list(stand.found)] = ",
            "scores[list(stand.found)] = -1 * ",
            "nas_methods.supernet",
        ),
        ("nas_methods/spos.py", "VERSION = 1\n", "VERSION = 1\nmore = 1\n", "nas_methods.spos"),
        ("benchmark/training/schedule.py", "math.pi * step", "math.pi * 2 * step", "benchmark.training"),
        ("benchmark/spaces/networks.py", "math.sqrt(2 / fan_in)", "math.sqrt(3 / fan_in)", "benchmark.training"),
        ("benchmark/datasets/crops.py", "mirror", "morrir", "benchmark.training"),
    ],
)
def test_an_edit_below_a_method_makes_kept_rankings_another_codes(checkout, file, old, new, part):
    before = stamps.code_of("spos")
    path = checkout / file
    text = path.read_text()
    path.write_text(text.replace("\n", "\n\n# a comment\n\n"))
    assert stamps.code_of("spos") == before
    assert old in text
    path.write_text(text.replace(old, new))
    after = stamps.code_of("spos")
    assert {name for name in after if after[name] != before[name]} == {part}
    assert not stamps.is_same_code(before, after)
    assert not stamps.is_same_code("861966ad4bc0", after)
    stamps.declare()
    assert stamps.code_of("spos") == before


def test_a_data_set_of_one_file_is_part_of_what_trains():
    """Found by its place, as the sheets are: a new one needs no second line."""
    known = {path.stem for path in (REPOSITORY / "benchmark/datasets/known").glob("[!_]*.py")}
    assert {name.removeprefix("datasets/known/") for name in stamps.TRAINS if "known" in name} == known
    assert set(datasheets.names()) == known
