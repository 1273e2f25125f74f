"""What the README tells people to type works as told."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import nas_methods
from benchmark.scoring.ranking import read_scores
from benchmark.scoring.scores import score
from benchmark.tables.files import load_table, write_table
from benchmark.tables.table import GroundTruth, Origin, Row

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_the_python_example_prints_what_its_comments_say(capsys: pytest.CaptureFixture[str]) -> None:
    example = next(block for block in BLOCKS if "load_table" in block)
    names: dict[str, object] = {}
    exec(example, names)
    assert "0.593" in capsys.readouterr().out
    table = names["table"]
    assert table.query("[4,3,3]", seed=None, epoch=None, split="test") == 90.52  # type: ignore[attr-defined]
    best = table.to_pandas().nlargest(3, "mean")  # type: ignore[attr-defined]
    assert list(best["config"]) == ["[7,1,2]", "[6,2,2]", "[6,1,3]"]


def test_the_table_of_baselines_says_what_is_scored() -> None:
    tables = [load_table(name) for name in ("published", "resnet20-cifar10-paper-epochs10-2daccdc2036b")]
    space = tables[0].space
    last_stage = read_scores(ROOT / "examples" / "last_stage_of_two.csv", space)
    assert last_stage.scores == tuple(-abs(config.layers[2] - 2) for config in space)
    one, other = (score(last_stage, table) for table in tables)
    assert one.ceiling
    assert other.ceiling
    for name, a, b in (
        ("a perfect predictor", one.ceiling.perfect.mean, other.ceiling.perfect.mean),
        ("counting MACs", one.macs.tau, other.macs.tau),
        ("last stage of two layers", one.method.tau, other.method.tau),
    ):
        assert re.search(rf"^\| {name}[^|]* \| {a:.3f} \| {b:.3f} \|", README, re.MULTILINE), name


def test_the_complete_method_is_scored_without_touching_another_file(tmp_path: Path) -> None:
    method = next(block for block in BLOCKS if "class Method" in block)
    (tmp_path / "my_method.py").write_text(method)
    published = load_table("published")
    rows = [Row(row.config, row.mean, row.std, row.n, {}) for row in published.rows]
    made_up = write_table(GroundTruth.from_rows("made-up", published.space, rows, Origin("synthetic")), tmp_path)
    words = "-m benchmark.evaluate --method ./my_method.py --epsilon 0.3 --recipe smoke --dataset synthetic --epochs 1"
    small = "--train-images 64 --eval-images 64 --batch-size 32 --calibration-images 64 --threads 1"
    done = subprocess.run(
        [sys.executable, *words.split(), *small.split(), "--table", str(made_up), "--out", str(tmp_path / "out")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "Kendall tau-b" in done.stdout
    assert len(list((tmp_path / "out" / "rankings").glob("my_method-*-seed0.json"))) == 1


def test_the_tables_of_methods_and_flags_are_those_of_the_code() -> None:
    listed = re.findall(r"^\| `(\w+)` \| (?:`(--[^`]*)`)? ?\|", README, re.MULTILINE)
    assert {name for name, _ in listed} == set(nas_methods.built_in())
    for name, flags in listed:
        method = nas_methods.load(name)()
        told = dict(zip(flags.split()[::2], flags.split()[1::2], strict=True))
        assert told == {f"--{key}": str(value) for key, value in vars(method).items()}, name


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
