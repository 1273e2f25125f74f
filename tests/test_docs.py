"""What README, CONTRIBUTING and the documentation tell people to type works as told.

The word after a block's language says what is done with it; readers do not see it:

    ```sh            each command is read by its own parser; what it names (a file, an extra, a make target) must exist
    ```sh run        and runs, in a folder of its own with copies of what is kept
    ```sh small      and runs with a budget of seconds, on the data set made in code
    ```python        runs; a page's blocks share their names
    ```python X.py   is written to that file
    ```text          is what the block before it prints; a line of `...` stands for any lines
"""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
import textwrap
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import benchmark
import nas_methods
from benchmark import evaluate
from benchmark.__main__ import COMMANDS, COMPLETION, PROGRAM, module_of, parser_of
from benchmark.spaces.space import SPACES
from benchmark.tables.files import load_table, write_table
from benchmark.tables.table import GroundTruth, Origin, Row

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [
    path
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")), ROOT / "slurm" / "README.md",
                 ROOT / "results" / "README.md", ROOT / "results" / "numerics" / "README.md",
                 ROOT / "examples" / "third_party_method" / "README.md", ROOT / "speed" / "README.md")
    if path.exists()
]  # fmt: skip
BUDGET = (
    "--dataset synthetic --epochs 1 --train-images 32 --eval-images 16 --batch-size 16 --threads 1 --precision fp32"
)
SHELL = {
    "cd",
    "cp",
    "mkdir",
    "export",
    "git",
    "ssh",
    "source",
    "apt-get",
    "for",
    "done",
    "do",
    "$EDITOR",
    "python3",
    "python",
}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    word: str
    text: str

    @property
    def commands(self) -> list[list[str]]:
        """Its lines as words, without comments; of several commands in one line each."""
        joined = self.text.replace("\\\n", " ")
        for name, value in re.findall(r"\bfor (\w+) in (\S+)", joined):
            joined = joined.replace(f"${name}", value)
        lines = [shlex.split(line, comments=True) for line in joined.splitlines()]
        found: list[list[str]] = []
        for line in lines:
            while "&&" in line:
                at = line.index("&&")
                found.append(line[:at])
                line = line[at + 1 :]
            found.append(line)
        return [words for words in found if words]


def blocks(path: Path) -> list[Block]:
    fence = re.compile(r"^( *)```(\w+)(?: (\S+))?\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
    found = fence.findall(path.read_text(encoding="utf-8"))
    return [Block(language, word, textwrap.dedent(text)) for _, language, word, text in found]


def command_of(words: list[str]) -> tuple[str, list[str]] | None:
    """(name, its flags) where the words start a command of the suite."""
    if words[0] == PROGRAM and words[1] != COMPLETION:
        return words[1], words[2:]
    if words[:2] == ["python", "-m"] and words[2].startswith("benchmark."):
        return words[2].removeprefix("benchmark."), words[3:]
    return None


def parse(name: str, words: list[str], folder: Path) -> None:
    """Raises UsageError for flags that the command does not have."""
    assert name in COMMANDS
    if name == "evaluate" and "--method" in words:
        method = words[words.index("--method") + 1]
        if method.endswith(".py"):
            kind = nas_methods.load(str(folder / method))
        elif method == "halving":  # of the package that its page installs
            kind = nas_methods._module_at(folder / "examples/third_party_method/halving_method.py").SuccessiveHalving
        else:
            kind = evaluate.Everything if method == "all" else nas_methods.load(method)
        evaluate.arguments(kind).parse(words)
    else:
        parser_of(name).parse(words)


def require_known(words: list[str]) -> None:
    """Of what is no command of the suite: what it names must be there."""
    if words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert [word for word in words[1:] if "=" not in word and word not in (*targets, ".venv/ready")] == []
    elif "pip" in words[:2] or words[0].endswith("/pip"):
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        named = [name for word in words for found in re.findall(r"\[([\w,]+)\]$", word) for name in found.split(",")]
        assert set(named) <= set(extras)
        assert all((ROOT / word).exists() for word in words if word.startswith("./"))
    elif words[:2] == ["python", "-m"]:
        place = ROOT.joinpath(*words[2].split("."))
        assert (
            words[2] in ("pytest", "build", "ruff", "mypy", "venv", "twine")
            or place.is_dir()
            or place.with_suffix(".py").is_file()
        ), words
    elif words[0] == "python" or words[0].startswith((".ci/", "slurm/")):
        assert (ROOT / next(word for word in words if word.endswith(".py") or "/" in word)).exists(), words
    else:
        assert words[0] in SHELL or words[0] in (PROGRAM, "ruff", "mypy"), words


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of what pages name, so that nothing that is kept is written to."""
    folder = tmp_path_factory.mktemp("kept")
    for name in ("rankings/macs*", "rankings/last_stage*", "rankings/spos*", "tables/*"):
        for path in (ROOT / "results").glob(name):
            (folder / "results" / path.parent.name).mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / "results" / path.parent.name)
    shutil.copytree(ROOT / "examples", folder / "examples")
    shutil.copytree(ROOT / "slurm", folder / "slurm")
    return folder


def small(name: str, words: list[str], folder: Path) -> list[str]:
    """The words with a budget of seconds, and results of their own."""
    extra = [*BUDGET.split(), "--out", str(folder / "small")]
    if name == "build_groundtruth":
        return [*words, *extra, "--configs", "1", "2", "--together", "1"]
    published = load_table("published")
    rows = [Row(row.config, row.mean, row.std, row.n, {}) for row in published.rows]
    made_up = write_table(
        GroundTruth.from_rows("made-up", published.space, rows, Origin("synthetic")), folder / "small"
    )
    return [*words, *extra, "--calibration-images", "16", "--curve-images", "0", "--table", str(made_up)]


def matches(told: str, printed: str) -> bool:
    """Whether a page tells what was printed; a line of `...` stands for any lines."""
    pattern = "".join("(?:.*\n)*?" if line == "..." else re.escape(line) + r"[ ]*\n" for line in told.splitlines())
    return re.fullmatch(pattern, printed if printed.endswith("\n") else printed + "\n") is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_of_a_page_works(
    page: Path, kept: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(kept)
    names: dict[str, object] = {"__name__": "page"}
    printed = None
    for block in blocks(page):
        capsys.readouterr()
        if block.language == "sh":
            printed = ""
            for words in block.commands:
                found = command_of(words)
                if found is None:
                    require_known(words)
                    continue
                parse(*found, kept)
                if block.word in ("run", "small"):
                    name, flags = found
                    done = module_of(name).main(small(name, flags, kept) if block.word == "small" else flags)
                    assert done == 0
                    printed += capsys.readouterr().out
        elif block.language == "python" and block.word:
            (kept / block.word).write_text(block.text)
        elif block.language == "python":
            exec(block.text, names)
            printed = capsys.readouterr().out
        elif block.language == "text":
            assert printed is not None
            assert matches(block.text, printed), printed
        else:
            assert block.language in ("toml",), f"nobody checks a block of {block.language}"


def test_a_page_that_tells_what_is_not_so_is_seen(tmp_path: Path) -> None:
    assert matches("a\n...\nd\n", "a\nb\nc\nd\n")
    assert not matches("a\n...\nd\n", "a\nb\nc\n")
    with pytest.raises(benchmark.UsageError, match="unknown argument '--epoch'"):
        parse("build_groundtruth", ["--epoch", "3"], tmp_path)
    with pytest.raises(AssertionError):
        require_known(["make", "tea"])
    with pytest.raises(AssertionError):
        require_known(["pip", "install", "-e", ".[tea]"])


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text):
        if "generated/" not in link:  # made at every build of the site, which follows them
            assert (page.parent / link).exists(), link
    for name in re.findall(
        r"`((?:docs|examples|benchmark|nas_methods|tests|speed|results|slurm|\.ci|\.github)/[\w./-]+)`", text
    ):
        assert (ROOT / name).exists() or name.startswith(("results/report", "results/retrained")) or "NAME" in name, (
            name
        )


@pytest.fixture(scope="module")
def reference(request: pytest.FixtureRequest):
    sys.path.insert(0, str(DOCS))
    try:
        import reference_pages
    finally:
        sys.path.remove(str(DOCS))
    return reference_pages


@pytest.mark.parametrize("name", COMMANDS)
def test_the_reference_has_every_flag_that_help_has_and_no_other(
    name: str, reference, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        module_of(name).main(["--help"])
    told = capsys.readouterr().out
    section = reference.commands_page().partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    lines = [line for line in told.splitlines() if line.startswith("  -")]  # an example stands further in
    in_help = {flag for line in lines for flag in re.findall(r"--[a-z][\w-]*", re.split(r" {2,}", line.strip())[0])}
    rows = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in section.splitlines() if line.startswith("| `")]
    assert in_help
    assert {flag for row in rows for flag in re.findall(r"--[a-z][\w-]*", row[0])} == in_help
    for row in rows:
        said = re.sub(r"\\([|*<])", r"\1", row[1]).split() if len(row) > 1 else []
        assert "".join(said) in "".join(told.split()), row  # argparse breaks lines where it likes


def test_every_method_has_its_options_in_the_reference_and_in_the_table_of_methods(reference) -> None:
    page, table = reference.methods_page(), (DOCS / "methods.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(\w+)` \| (?:`(--[^`]*)`)? ?\|", table, re.MULTILINE))
    assert set(listed) == set(nas_methods.built_in())
    for name, told in listed.items():
        method = nas_methods.load(name)()
        assert dict(zip(told.split()[::2], told.split()[1::2], strict=True)) == {
            f"--{key}": str(value) for key, value in vars(method).items()
        }
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
        for key in vars(method):
            assert f"--{key.replace('_', '-')}" in section, (name, key)


def test_the_table_of_spaces_is_that_of_the_code() -> None:
    text = (DOCS / "spaces.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| `([\w-]+)` \| ([\d ]+) \| (\d+), (\d) \| (\d+) \|", text, re.MULTILINE)
    spaces = [
        (s.name, " ".join(map(str, s.sizes)), str(s.depth), str(s.poolings), str(len(s))) for s in SPACES.values()
    ]
    assert told == spaces


@pytest.mark.parametrize(
    ("docstring", "expected"),
    [
        ("One line of `code` and *stars*.", ["One line of ``code`` and \\*stars\\*.", ""]),
        ("Text\n\n    python -m x  # why\n\nMore", ["Text", "", "::", "", "    python -m x  # why", "", "More", ""]),
        (
            "name   what it is,\n       and more\nother  `that`",
            ["``name``", "    what it is, and more", "", "``other``", "    ``that``", ""],
        ),
        ("an odd_ `name`s", ["an odd\\_ ``name``\\ s", ""]),
    ],
)
def test_docstrings_are_plain_text_with_code_and_lists_of_names(reference, docstring: str, expected: list[str]) -> None:
    assert reference.plain(docstring.splitlines()) == expected


def test_every_public_name_has_a_docstring_and_a_page(reference) -> None:
    pages = {name for names in reference.rooms().values() for name in names}
    for name in benchmark.__all__:
        if name != "__version__":
            assert getattr(benchmark, name).__doc__, name
            assert getattr(benchmark, name).__module__ in pages
    for name in pages:
        assert reference._source(name).lstrip().startswith(('"""', "'")), f"{name} says nothing of itself"


def test_figures_are_those_that_the_command_draws(reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(DOCS))
    import figures

    drawn = {path.name: path.read_bytes() for path in figures.draw(tmp_path)}
    stored = {path.name: path.read_bytes() for path in (DOCS / "figures").glob("*.svg")}
    assert set(drawn) == set(stored)
    for name, old in stored.items():
        if f"Matplotlib v{matplotlib.__version__}".encode() in old:  # another one places letters otherwise
            assert drawn[name] == old, f"{name}: run python docs/figures.py"


RESULTS = (ROOT / "results" / "README.md").read_text(encoding="utf-8")  # which test_results holds to what is kept
NUMBER = r"(?<![\w.,-])[-+]?\d+\.\d{2,}\b(?!\.)"
OTHER = {"2.15"}  # torch's version


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda path: path.stem)
def test_numbers_on_pages_are_those_of_results(page: Path) -> None:
    """With two decimals or more; those in blocks are printed or run, those of methods' options have a test of their own."""
    text = re.sub(r"^( *)```.*?^\1```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    if page.stem == "methods":
        text = re.sub(r"^\|.*$", "", text, flags=re.MULTILINE)
    printed = " ".join(block.text for block in blocks(page) if block.language == "text")  # which another test holds
    known = set(re.findall(NUMBER, f"{RESULTS} {printed} {(ROOT / 'README.md').read_text(encoding='utf-8')}"))
    assert set(re.findall(NUMBER, text)) - known <= OTHER


def test_what_the_pages_sum_up_is_so() -> None:
    """What `results`, `limits` and `read_a_score` say in words, from the tables and rankings that are kept."""
    published, ours = (load_table(name) for name in ("published", "resnet20-cifar10-paper-epochs10-2daccdc2036b"))
    best = [max(table.rows, key=lambda row: row.mean).config for table in (published, ours)]
    assert f"{best[0]} leads the published one, {best[1]}\nours" in (DOCS / "results.md").read_text(encoding="utf-8")
    for table in (published, ours):
        standard = table.query(table.space.default, seed=None, epoch=None, split="test")
        assert max(row.mean for row in table.rows) > standard
        assert table.query("[8,1,1]", seed=None, epoch=None, split="test") < standard
    assert {row.n for row in published.rows} == {3}
    assert min(row.n for row in ours.rows) == 3
    for claim in ("78 seeds", "2.70 times", "30 epochs"):
        assert claim in RESULTS.replace("\n", " ")
        assert claim in (DOCS / "limits.md").read_text(encoding="utf-8").replace("\n", " ")
    assert "200 to 340 core-hours" in RESULTS
    assert "200 to 340 core-hours" in (DOCS / "build_a_table.md").read_text(encoding="utf-8")


def test_the_speed_that_is_told_is_what_was_measured() -> None:
    alone, beside = (
        json.loads(next((ROOT / "results" / "speed").glob(name)).read_text(encoding="utf-8"))["training"]
        for name in ("intel*cores-2*.json", "intel*beside1*.json")
    )
    text = (DOCS / "numerics.md").read_text(encoding="utf-8").replace("\n", " ")

    def told(found: dict[str, Any]) -> str:
        rounds = [each["plain"] if isinstance(each, dict) else each for each in found["by_round"]["plain"]]
        return f"({min(rounds):.1f} to {max(rounds):.1f} in {len(rounds)} rounds)"

    assert f"{alone['ratio']['plain']:.1f} times as fast as a plain fp32 loop" in text
    assert f"{alone['ratio']['compiled']:.1f} times as fast as that loop under torch.compile" in text
    assert f"it is {beside['ratio']['plain']:.1f} times as fast" in text
    assert told(alone) in text
    assert told(beside) in text
