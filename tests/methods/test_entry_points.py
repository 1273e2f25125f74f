"""Methods that installed packages bring: found by entry point, told apart from the suite's own, harmless when broken."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_evaluate import SMALL, table_at

import nas_methods
from benchmark import evaluate
from benchmark.errors import UsageError
from benchmark.scoring import race
from nas_methods import stamps

EXAMPLE = Path(__file__).parents[2] / "examples" / "third_party_method"

METHOD = '''"""A method from elsewhere."""
from dataclasses import dataclass
from benchmark import Ranking

@dataclass(frozen=True)
class Elsewhere:
    trains = False
    layer: int = 0

    def rank(self, task):
        return Ranking(task.space.name, tuple(float(config.layers[self.layer]) for config in task.space))
'''


@pytest.fixture
def install(tmp_path, monkeypatch):
    """install(package, files, name=value, ...): what pip leaves of a package with such entry points, for this test only."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def call(package, files, **points):
        about = site / f"{package}-1.5.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.5\n")
        lines = [f"{name} = {value}" for name, value in points.items()]
        (about / "entry_points.txt").write_text("\n".join([f"[{nas_methods.GROUP}]", *lines]) + "\n")
        for name, text in files.items():
            (site / name).parent.mkdir(exist_ok=True)
            (site / name).write_text(text)
        return site

    before = set(sys.modules)
    yield call
    for name in set(sys.modules) - before:
        if str(site) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def listed(capsys):
    assert evaluate.main(["--list", "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_method_of_a_package_is_one_of_the_methods(install, capsys, tmp_path):
    others = nas_methods.available()  # this environment may have some of its own
    install("elsewhere", {"elsewhere_module.py": METHOD}, elsewhere="elsewhere_module:Elsewhere")
    assert nas_methods.available() == (
        *nas_methods.built_in(),
        *sorted({*others, "elsewhere"} - {*nas_methods.built_in()}),
    )
    assert nas_methods.load("elsewhere")(layer=2).layer == 2
    about = listed(capsys)
    assert about["elsewhere"] == {
        "about": "A method from elsewhere.",
        "options": {"layer": 0},
        "from": "elsewhere 1.5",
        "variants": [],
    }
    assert {about[name]["from"] for name in nas_methods.built_in()} == {""}
    assert evaluate.main(["--list"]) == 0
    assert "from elsewhere 1.5\n" in capsys.readouterr().out
    with pytest.raises(UsageError, match=r"elsewhere.*, or give the path"):
        nas_methods.load("nope")
    assert evaluate.main(["--method", "elsewhere", "--layer", "2", "--out", str(tmp_path / "out"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["method"]["method"] == "elsewhere"
    [kept] = (tmp_path / "out" / "rankings").glob("elsewhere-*.json")
    assert json.loads(kept.read_text())["provenance"]["method_from"] == "elsewhere 1.5"


def test_a_name_of_the_suite_stays_the_suites(install, capsys):
    others = nas_methods.available()
    install("thief", {"thief.py": METHOD}, macs="thief:Elsewhere", all="thief:Elsewhere")
    assert nas_methods.available() == others
    assert nas_methods.load("macs").__module__ == "nas_methods.macs"
    assert nas_methods.origin("macs") == ""
    assert listed(capsys)["macs"]["from"] == ""


def test_two_packages_with_one_name_clash_in_one_line(install, capsys):
    install("first", {"first_module.py": METHOD}, same="first_module:Elsewhere")
    install("second", {"second_module.py": METHOD}, same="second_module:Elsewhere")
    with pytest.raises(
        UsageError, match=r"'same' is offered by several packages \((first 1.5, second|second 1.5, first)"
    ):
        nas_methods.load("same")
    assert "several packages" in listed(capsys)["same"]["about"]


BROKEN = {
    "raises": ("raise RuntimeError('on\\npurpose')", "broken:Method", "RuntimeError: on purpose"),
    "leaves": ("import sys; sys.exit(3)", "broken:Method", "SystemExit: 3"),
    "no such library": ("import nothing_of_that_name", "broken:Method", "nothing_of_that_name"),
    "no such class": (METHOD, "broken:Nobody", "Nobody"),
    "no such module": (METHOD, "absent:Method", "absent"),
    "no reference": (METHOD, "!!", "cannot be loaded"),
    "a module": (METHOD, "broken", "verb rank"),
    "not frozen": (METHOD.replace("(frozen=True)", ""), "broken:Elsewhere", "frozen"),
    "variants of another kind": (
        METHOD.replace("    layer: int", "    VARIANTS = ['x']\n    layer: int"),
        "broken:Elsewhere",
        "VARIANTS must be a tuple",
    ),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_package_breaks_nothing_but_its_own_method(install, capsys, fault):
    text, value, said = BROKEN[fault]
    install("broken", {"broken.py": text}, mine=value)
    install("sound", {"sound.py": METHOD}, sound="sound:Elsewhere")
    with pytest.raises(UsageError, match="'mine'") as caught:
        nas_methods.load("mine")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    about = listed(capsys)
    assert said in about["mine"]["about"]
    assert about["mine"]["from"] == "broken 1.5"
    assert about["sound"]["options"] == {"layer": 0}
    assert nas_methods.load("macs") is not None
    with pytest.raises(UsageError, match="'mine'"):
        evaluate.main(["--method", "mine"])
    results = race.Results(None)
    entry = race.Entry("mine")
    assert results.attempt(entry, lambda: nas_methods.load("mine")) is None
    assert results.failed == {entry}


def test_names_that_cannot_be_files_are_no_methods(install):
    others = nas_methods.available()
    install("odd", {"odd.py": METHOD}, **{"../up": "odd:Elsewhere", "mine.py": "odd:Elsewhere", "a b": "odd:Elsewhere"})
    assert nas_methods.available() == others


def test_the_hash_covers_what_a_ranking_depends_on(install):
    site = install("alone", {"alone.py": METHOD, "beside.py": ""}, alone="alone:Elsewhere")
    install("many", {"many/__init__.py": "", "many/it.py": METHOD, "many/more.py": "x = 1"}, many="many.it:Elsewhere")

    def hashes():
        return [stamps.code_of(name) for name in ("alone", "many")]

    before = hashes()
    assert before[0] == stamps.code_of(str(site / "alone.py"))
    (site / "alone.py").write_text(METHOD.replace("A method", "# A method"))  # a docstring
    (site / "beside.py").write_text("x = 2")
    assert hashes() == before
    (site / "alone.py").write_text(METHOD.replace("float", "-float"))
    assert [new == old for new, old in zip(hashes(), before, strict=True)] == [False, True]
    (site / "many" / "more.py").write_text("x = 2")
    assert [new == old for new, old in zip(hashes(), before, strict=True)] == [False, False]


def test_the_hash_knows_what_was_published_from_what_is_done(tmp_path):
    path = tmp_path / "mine.py"
    declared = METHOD.replace("    layer: int", "    VARIANTS: ClassVar = (Variant({'layer': 1}),)\n    layer: int")
    hashes = []
    for text in (METHOD, declared, declared.replace(": 1", ": 2"), declared.replace("VARIANTS", "OTHERS")):
        path.write_text(text)
        hashes.append(stamps.code_of(str(path)))
    assert hashes[0] == hashes[1] == hashes[2] != hashes[3]


def test_the_example_package_is_installed_and_scored(tmp_path, environment):
    """As a user would, but beside the environment and without a network."""
    site = tmp_path / "site"
    install = "-m pip install --quiet --no-deps --no-build-isolation --no-index --disable-pip-version-check --target"
    done = subprocess.run(
        [sys.executable, *install.split(), str(site), str(EXAMPLE)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert {path.name for path in site.glob("*")} >= {"halving_method.py", "nas_bench_pooling_halving-0.1.0.dist-info"}
    words = ["-m", "benchmark.evaluate", "--method", "halving", "--rounds", "2", *SMALL, "--lr", "0.01"]
    words += ["--table", str(table_at(tmp_path / "tables")), "--out", str(tmp_path / "out")]
    paths = environment | {"PYTHONPATH": os.pathsep.join([str(site), environment["PYTHONPATH"]])}
    done = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, env=paths, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "halving rounds=2 against table made-up" in done.stdout
    assert "Kendall tau-b" in done.stdout
    assert len(list((tmp_path / "out" / "rankings").glob("halving-*-seed0.json"))) == 1
    # Where it is not installed, it is unknown.
    done = subprocess.run([sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert "unknown method 'halving': choose from" in done.stderr
