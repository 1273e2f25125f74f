"""What is handed out: wheel and sdist, the console script, completion; and the light half where torch is broken."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

import benchmark
from benchmark.__main__ import COMMANDS, completion, main
from benchmark.errors import UsageError
from tests.test_docs import BUDGET, small

ROOT = Path(__file__).resolve().parent.parent
OURS = "resnet20-cifar10-paper-epochs10-2daccdc2036b"


def call(words, **more):
    return subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=300, check=False, **more)


@pytest.fixture(scope="module")
def handed_out(tmp_path_factory):
    """(wheel, sdist), built as `python -m build` does, but of what is installed."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("dist")
    done = call([sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT], cwd=folder)
    assert done.returncode == 0, done.stderr
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def installed(handed_out, tmp_path_factory):
    """The folder of programs of an environment that has the wheel, and what it depends on, and no checkout."""
    folder = tmp_path_factory.mktemp("env") / "venv"
    assert call([sys.executable, "-m", "venv", "--without-pip", folder]).returncode == 0
    python = folder / "bin" / "python"
    site = call([python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"]).stdout.strip()
    # A path in a .pth is searched after the environment's own, and no .pth in it counts: not that of an editable install.
    (Path(site) / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    words = ["-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", "--force-reinstall"]
    done = call([sys.executable, *words, "--disable-pip-version-check", handed_out[0]])
    assert done.returncode == 0, done.stderr
    return folder / "bin"


@pytest.fixture
def bare(tmp_path):
    """Variables without the checkout."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "NASBENCH", "GIT_"))}
    return kept | {"NASBENCH_POOLING_DATA": str(tmp_path / "no data")}


def test_wheel_and_sdist_hold_what_they_should_and_pass_twine(handed_out):
    pytest.importorskip("twine")
    done = call([sys.executable, "-m", "twine", "check", "--strict", *handed_out])
    assert done.returncode == 0, done.stdout
    wheel = set(zipfile.ZipFile(handed_out[0]).namelist())
    assert {"benchmark/py.typed", "nas_methods/declared.json"} <= wheel
    assert {f"benchmark/tables/shipped/{name}.csv" for name in ("published", OURS)} <= wheel
    assert {name.split("/")[0] for name in wheel} == {
        "benchmark", "nas_methods", f"nas_bench_pooling-{benchmark.__version__}.dist-info",
    }  # fmt: skip
    with tarfile.open(handed_out[1]) as archive:
        sdist = {name.partition("/")[2] for name in archive.getnames()}
    assert {"README.md", "CHANGELOG.md", "docs/conf.py", "docs/start.md", "tests/test_release.py", "Makefile"} <= sdist
    assert not [
        name for name in sdist if name.startswith(("docs/_build", "docs/reference/generated", "results/ledgers"))
    ]


def test_the_wheel_works_without_a_checkout(installed, bare, tmp_path):
    def run(*words):
        done = call([installed / words[0], *words[1:]], cwd=tmp_path, env=bare)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run("python", "-c", "import benchmark; print(benchmark.__file__, benchmark.__version__)").split()
    assert Path(where[0]).is_relative_to(installed.parent)
    assert where[1] == benchmark.__version__
    query = "benchmark.load_table('published').query('[4,3,3]', seed=None, epoch=None, split='test')"
    assert run("python", "-c", f"import benchmark; print({query})") == "90.52\n"
    assert all(f"benchmark.{name} " in run("nas-bench-pooling") for name in COMMANDS)
    (tmp_path / "mine.csv").write_text((ROOT / "examples" / "last_stage_of_two.csv").read_text())
    assert "0.593" in run("nas-bench-pooling", "evaluate", "--scores", "mine.csv")

    smoke = ["--recipe", "smoke", *BUDGET.split()]
    built = run("nas-bench-pooling", "build_groundtruth", *smoke, "--seeds", "0", "1", "--configs", "1", "--json")
    assert json.loads(built)["runs"]["missing"] == []
    found = run("nas-bench-pooling", "evaluate", "--method", "macs", "--recipe", "smoke", "--json")
    assert json.loads(found)["method"]["tau"] == pytest.approx(0.498, abs=5e-4)
    search = small("evaluate", ["--method", "spos", "--recipe", "smoke"], tmp_path)
    assert "spos sharing=shared paths=36 against table made-up" in run("nas-bench-pooling", "evaluate", *search)
    exported = run("nas-bench-pooling", "export", "published", "--out", "exported").split()
    assert [(tmp_path / name).name for name in exported] == ["published.tidy.csv", "published.croissant.json"]
    assert "report:" in run("nas-bench-pooling", "report")
    simulated = run("nas-bench-pooling", "simulate", "--table", OURS, "--runs", "10", "--json")
    assert json.loads(simulated)["random_search_draws_to_best"] == 18.5
    unknown = call([installed / "nas-bench-pooling", "evaluat"], cwd=tmp_path, env=bare)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert unknown.stderr.startswith("error: unknown command 'evaluat': did you mean evaluate?")


@pytest.mark.parametrize(
    ("words", "needs", "expected"),
    [
        (["image_folders.py", "DATA", "food101", "--train", "12", "--test", "12"], "PIL", "food-101"),
        (["optuna_study.py"], "optuna", "% by the seeds not seen"),
    ],
)
def test_the_examples_run_from_the_wheel(installed, bare, tmp_path, words, needs, expected):
    pytest.importorskip(needs)
    example = tmp_path / words[0]
    example.write_bytes((ROOT / "examples" / words[0]).read_bytes())
    done = call([installed / "python", *words], cwd=tmp_path, env=bare)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


def test_query_score_simulate_and_report_work_where_torch_is_broken(tmp_path, environment):
    for name in ("torch", "torchvision"):
        (tmp_path / "broken" / name).mkdir(parents=True)
        (tmp_path / "broken" / name / "__init__.py").write_text("raise ImportError('a broken torch')")
    broken = environment | {"PYTHONPATH": os.pathsep.join([str(tmp_path / "broken"), environment["PYTHONPATH"]])}
    broken["NASBENCH_POOLING_DATA"] = str(tmp_path / "no data")

    def run(*words):
        done = call([sys.executable, *words], cwd=tmp_path, env=broken)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "a broken torch" in call([sys.executable, "-c", "import torch"], env=broken).stderr
    query = "benchmark.load_table('published').query('[4,3,3]', seed=None, epoch=None, split='test')"
    assert run("-c", f"import benchmark; print({query})") == "90.52\n"
    assert "0.593" in run("-m", "benchmark", "evaluate", "--scores", ROOT / "examples" / "last_stage_of_two.csv")
    assert "407 alike" in run("-m", "benchmark", "compare", "published", OURS)
    simulated = run("-m", "benchmark", "simulate", "--table", OURS, "--runs", "10", "--json")
    assert json.loads(simulated)["random_search_draws_to_best"] == 18.5
    assert "published.tidy.csv" in run("-m", "benchmark", "export", "published", "--out", "exported")
    (tmp_path / "results" / "rankings").mkdir(parents=True)
    kept = next((ROOT / "results" / "rankings").glob("macs-*.json"))
    (tmp_path / "results" / "rankings" / kept.name).write_bytes(kept.read_bytes())
    assert "report:" in run("-m", "benchmark", "report")


BARE = {  # a call of each command that needs more than Python alone
    "build_groundtruth": ["--recipe", "smoke", "--dataset", "synthetic"],
    "evaluate": ["--method", "spos"],
    "compare": ["published", OURS],
    "verify": [OURS, "--sample", "1"],
    "search_channels": ["--network", "resnet20", "--dataset", "synthetic", "--delta", "0.01"],
    "correlate": ["--method", "macs", "--tables", "published", OURS],
    "simulate": ["--table", "published"],
    "export": ["published", "--out", "exported"],
    "report": [],
    "datasets": ["cifar10"],
    "datasets.ffcv": ["write", "cifar10"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_python_with_no_dependency_says_in_a_line_what_to_install(name, environment, tmp_path):
    """Without site-packages (-S), as after `pip install --no-deps` of the wheel."""
    (tmp_path / "results" / "rankings").mkdir(parents=True)
    for kept in (ROOT / "results" / "rankings").glob("macs-*.json"):
        (tmp_path / "results" / "rankings" / kept.name).write_bytes(kept.read_bytes())
    done = call([sys.executable, "-S", "-m", f"benchmark.{name}", *BARE[name]], cwd=tmp_path, env=environment)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert re.match(r"error: .*(torch|numpy|scipy|altair)\b.*: pip install '", line), line


def test_a_python_with_no_dependency_answers_a_query_and_lists_what_there_is(environment, tmp_path):
    def run(*words):
        done = call([sys.executable, "-S", *words], cwd=tmp_path, env=environment)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    query = "benchmark.load_table('published').query('[4,3,3]', seed=None, epoch=None, split='test')"
    assert run("-c", f"import benchmark; print({query})") == "90.52\n"
    assert "benchmark.evaluate " in run("-m", "benchmark")
    assert "mixture" in run("-m", "benchmark.evaluate", "--list")


def test_one_version_is_said_everywhere():
    cited = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {benchmark.__version__}\n" in cited
    assert f"\n## {benchmark.__version__}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_every_command(shell):
    pytest.importorskip("shtab")
    script = completion(shell)
    assert all(name in script for name in COMMANDS)
    assert "--stop-after" in script


def test_bash_completes_commands_and_flags(tmp_path):
    pytest.importorskip("shtab")
    script = tmp_path / "complete.sh"
    script.write_text(completion("bash"))
    ask = f"source {script}; COMP_WORDS=({{words}}); COMP_CWORD={{at}}; _shtab_nas_bench_pooling; echo ${{{{COMPREPLY[@]}}}}"

    def completed(*words):
        done = call(["bash", "-c", ask.format(words=" ".join(map(repr, words)), at=len(words) - 1)])
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    assert completed("nas-bench-pooling", "eval") == ["evaluate"]
    assert completed("nas-bench-pooling", "build_groundtruth", "--stop") == ["--stop-after"]
    assert "cifar10" in completed("nas-bench-pooling", "datasets", "cif")


def test_completion_for_another_shell_says_which_there_are():
    pytest.importorskip("shtab")
    with pytest.raises(UsageError, match="choose from bash"):
        main(["--completion", "dos"])
