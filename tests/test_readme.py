"""The numbers on README are those of what is kept. That its commands work is tested with all pages, in test_docs."""

from __future__ import annotations

import re
from pathlib import Path

from scipy.stats import kendalltau

from benchmark.scoring.ranking import read_ranking, read_scores
from benchmark.scoring.scores import score
from benchmark.scoring.versus import verdict
from benchmark.spaces import costs
from benchmark.tables.files import load_table
from nas_methods import resizing

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
TEXT = " ".join(README.split())
TABLES = [load_table(name) for name in ("published", "resnet20-cifar10-paper-epochs10-2daccdc2036b")]


def kept(pattern: str):
    found = [read_ranking(path) for path in sorted((ROOT / "results" / "rankings").glob(pattern))]
    assert len(found) == 3, pattern
    return found


def test_the_headline_table_says_what_is_scored() -> None:
    last_stage = read_scores(ROOT / "examples" / "last_stage_of_two.csv", TABLES[0].space)
    assert last_stage.scores == tuple(-abs(config.layers[2] - 2) for config in TABLES[0].space)
    rules = [score(last_stage, table) for table in TABLES]
    early = {config: config.layers[0] for config in TABLES[0].space}  # the method in ten lines, too
    rows = {
        "a perfect predictor": [found.ceiling and found.ceiling.perfect.mean for found in rules],
        "a rule: last stage of two layers": [found.tau for found in rules],
        "counting MACs": [found.macs and found.macs.tau for found in rules],
        "a rule: the layers before the first pooling": [score(early, table).tau for table in TABLES],
        "SPOS, 30 epochs": [score(kept("spos-3ce1627bba71-*.json"), table).tau for table in TABLES],
        "balanced mixture, M = 4": [score(kept("mixture-1c767d4492c7-*.json"), table).tau for table in TABLES],
        "a random order": [score(kept("random_order-8d9dcac5868d-*.json"), table).tau for table in TABLES],
    }
    told = re.findall(r"^\| ([^|]+) \| (-?\d\.\d{3}) \| (-?\d\.\d{3}) \|$", README, re.MULTILINE)
    assert len(told) == len(rows)
    for (name, *numbers), (begins, expected) in zip(told, rows.items(), strict=True):
        assert name.startswith(begins)
        assert numbers == [f"{value:.3f}" for value in expected]


def test_what_readme_says_of_the_space_is_counted() -> None:
    space = TABLES[0].space
    macs = [costs.macs(space, config) for config in space]
    assert f"{len(space)} configurations" in TEXT
    assert f"the same {costs.parameters(space):,} parameters" in TEXT
    assert f"between {min(macs) / 1e6:.1f} and {max(macs) / 1e6:.1f} million MACs" in TEXT


def test_no_method_that_searched_beats_counting_macs_as_readme_says() -> None:
    """Not by more than chance allows: what lies above it is named, and so is how far that tells."""
    published, ours = TABLES
    for name in ("spos-3ce1627bba71", "mixture-1c767d4492c7"):
        found = score(kept(f"{name}-*.json"), ours)
        assert found.macs
        assert found.macs.tau < found.tau < score({config: config.layers[0] for config in ours.space}, ours).tau
    searched = sorted((ROOT / "results" / "scores").glob("*-vs-published.json"))
    assert searched
    told = {re.sub(r"-seed.*", "", path.stem) for path in searched}
    for name in sorted(told):
        if name.startswith(("macs-", "zero_cost-")):  # proxies train nothing; README names those that lie above
            continue
        rankings = [read_ranking(p) for p in sorted((ROOT / "results" / "rankings").glob(f"{name}-*.json"))]
        found, few = score(rankings, published), len(rankings) == 1
        assert found.macs
        assert (found.tau > found.macs.tau) == (rankings[0].method == "shape_adaptor" and few), name
    folder = ROOT / "results" / "rankings"
    [resized], [macs] = ([read_ranking(p) for p in folder.glob(f"{name}-*.json")] for name in ("shape_adaptor", "macs"))
    for table in TABLES:
        assert verdict([resized], [macs], table).word == "unresolved"
        assert score(resized, table).tau > score(macs, table).tau
        started = kendalltau(
            resizing.scores(resized.history["sizes"][0], table.space), [row.mean for row in table.rows]
        )
        assert started.statistic > score(resized, table).tau / 2  # "mostly by the sizes that it starts from"
