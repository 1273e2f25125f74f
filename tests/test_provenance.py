"""Which code made a result: that of this checkout, whatever repository the environment names; and bytes that git keeps."""

import os
import shutil
import subprocess

import pytest

from benchmark import provenance


@pytest.fixture
def git(tmp_path, monkeypatch):
    """git(folder, *words) as nobody in particular, whatever this machine is set up like."""
    if not shutil.which("git"):
        pytest.skip("git is not installed")
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)

    def call(folder, *words):
        who = ["-c", "user.name=n", "-c", "user.email=e@x", "-c", "init.defaultBranch=main", "-c", "safe.directory=*"]
        done = subprocess.run(["git", *who, *words], cwd=folder, capture_output=True, text=True, check=True)
        return done.stdout

    return call


@pytest.fixture
def checkout(git, tmp_path, monkeypatch):
    """checkout(name): a repository of its own with one commit, and its id."""

    def make(name):
        folder = tmp_path / name
        (folder / "benchmark").mkdir(parents=True)
        (folder / "nas_methods").mkdir()
        (folder / "benchmark" / "provenance.py").write_text(f"# {name}\n")
        git(folder, "init", "--quiet")
        git(folder, "add", ".")
        git(folder, "commit", "--quiet", "-m", name)
        return folder, git(folder, "rev-parse", "HEAD").strip()

    return make


def version_in(folder, monkeypatch):
    monkeypatch.setattr(provenance, "__file__", str(folder / "benchmark" / "provenance.py"))
    provenance.code_version.cache_clear()
    try:
        return provenance.code_version()
    finally:
        provenance.code_version.cache_clear()


def test_inherited_variables_of_git_decide_nothing(checkout, monkeypatch):
    ours, commit = checkout("ours")
    theirs, other = checkout("theirs")
    assert commit != other
    (ours / "nas_methods" / "new.py").touch()
    for name, value in {
        "GIT_DIR": theirs / ".git",
        "GIT_WORK_TREE": theirs,
        "GIT_INDEX_FILE": theirs / ".git" / "index",
        "GIT_CONFIG_COUNT": 1,
        "GIT_CONFIG_KEY_0": "status.showUntrackedFiles",
        "GIT_CONFIG_VALUE_0": "no",
    }.items():
        monkeypatch.setenv(name, str(value))
    found = version_in(ours, monkeypatch)
    assert (found["git_commit"], found["git_dirty"]) == (commit, True)


def test_what_a_user_has_git_leave_out_counts_as_changed_all_the_same(git, checkout, monkeypatch):
    ours, commit = checkout("ours")
    git(ours, "config", "status.showUntrackedFiles", "no")
    assert version_in(ours, monkeypatch)["git_dirty"] is False
    (ours / "nas_methods" / "new.py").touch()
    found = version_in(ours, monkeypatch)
    assert (found["git_commit"], found["git_dirty"]) == (commit, True)


def test_without_git_the_commit_is_not_known(checkout, monkeypatch, tmp_path):
    ours, _ = checkout("ours")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert version_in(ours, monkeypatch)["git_commit"] is None


def test_a_clone_with_other_line_ends_holds_the_bytes_that_were_committed(git, tmp_path):
    """Of the files as they lie here: `.gitattributes` pins all of them, so that hashes of code and data stay."""
    root = provenance.Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        pytest.skip("no checkout: made from an archive")
    names = [name for name in git(root, "ls-files", "-z").split("\0") if (root / name).is_file()]
    source, clone = tmp_path / "source", tmp_path / "clone"
    for name in names:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, source / name)
    if (root / ".gitattributes").exists():
        shutil.copyfile(root / ".gitattributes", source / ".gitattributes")
    git(source, "init", "--quiet")
    git(source, "add", "--force", ".")
    git(source, "commit", "--quiet", "-m", "all")
    git(tmp_path, "-c", "core.autocrlf=true", "clone", "--quiet", str(source), str(clone))
    changed = [name for name in names if (clone / name).read_bytes() != (root / name).read_bytes()]
    assert changed == []
