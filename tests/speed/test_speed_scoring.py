"""What the measurement of scoring is made of: tables of the size that is asked for, medians, and a figure that is the same again."""

import json

import pytest

from benchmark import score
from benchmark.scoring.comparison import compare
from benchmark.spaces import space
from speed import figures, scoring
from speed.scoring import made_up, summary

MEASUREMENTS = [
    {"what": what, "size": size, "seconds": seconds, "processor_seconds": seconds / 2, "peak_memory_bytes": 1e8 + size}
    for what in ("score", "compare")
    for size in (36, 560)
    for seconds in (size / 10, size / 1000, size / 100)
]


def test_medians_over_rounds():
    found = summary(MEASUREMENTS)
    assert {what: list(by_size) for what, by_size in found.items()} == {
        "score": ["36", "560"],
        "compare": ["36", "560"],
    }
    assert found["compare"]["560"] == {"seconds": 5.6, "processor_seconds": 2.8, "peak_memory_bytes": 1e8 + 560}


def test_made_up_tables_have_their_size_and_one_truth(monkeypatch):
    spaces = dict(space.SPACES)  # which the made-up one joins
    for module in ("benchmark.spaces.space", "speed.scoring"):
        monkeypatch.setattr(f"{module}.SPACES", spaces)
    (a, b), rankings = made_up(100)
    assert a.complete
    assert len(a.rows) == len(b.rows) == 100
    assert {row.n for row in a.rows} == {3}
    assert compare(a, b, draws=10).tau.value > 0.7
    assert all(0.3 < score(ranking, a, draws=10).tau < 0.8 for ranking in rankings)
    assert made_up(100)[1] == rankings


def test_the_figure_is_the_same_for_the_same_file(tmp_path):
    pytest.importorskip("matplotlib")
    result = {
        "quick": True,
        "hardware": {"cpu": "planted"},
        "versions": {"numpy": "1", "scipy": "2"},
        "rounds": 3,
        "draws": 2000,
        "seeds": 3,
        "scoring": summary(MEASUREMENTS),
        "measurements": MEASUREMENTS,
    }
    written = tmp_path / "planted.json"
    written.write_text(json.dumps(result))
    assert figures.lacking() is None
    drawn = figures.draw_scoring(written)
    assert drawn == tmp_path / "planted.png"
    first = drawn.read_bytes()
    assert figures.draw_scoring(written).read_bytes() == first


def test_the_command_measures_and_keeps_what_it_found(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scoring, "QUICK_SIZES", (36,))
    monkeypatch.setattr(scoring, "LARGEST", {"score": 36})
    assert scoring.main(["--quick", "--out", str(tmp_path)]) == 0
    (written,) = tmp_path.glob("*-scoring-*.json")
    kept = json.loads(written.read_text())
    assert kept["quick"]
    assert [(one["what"], one["size"]) for one in kept["measurements"]] == [("score", 36)]
    assert kept["hardware"]["cores"] >= 1
    assert str(written) in capsys.readouterr().out
