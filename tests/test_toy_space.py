"""A space is one entry: with it, everything there is builds, evaluates, scores and reports, without another line."""

import json
import re

import pytest

# Workers read a program anew before they begin, as they do every command; so the entry stands above the call.
TOY = """
import sys
from importlib import import_module

from benchmark.cli import command
from benchmark.spaces.space import SPACES, Backbone, Config, PoolingSpace

SPACES["resnet8-synthetic"] = PoolingSpace(
    "resnet8-synthetic", (32, 16), 4, Config((2, 2)), "synthetic", Backbone("basic", (4, 4, 8, 16), "cifar", 32)
)

if __name__ == "__main__":
    command(import_module(f"benchmark.{sys.argv.pop(1)}").main)
"""
HASTY = "--recipe smoke --precision fp32 --threads 1 --train-images 64 --eval-images 32 --batch-size 16 --epochs 1"


@pytest.fixture
def toy(tmp_path, run_python):
    """toy("command --flags"): the command with the entry in place; what it printed."""
    program = tmp_path / "toy.py"
    program.write_text(TOY)

    def run(words):
        done = run_python(program, *words.split())
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_one_entry_builds_evaluates_scores_and_reports(toy, tmp_path):
    built = json.loads(toy(f"build_groundtruth --space resnet8-synthetic {HASTY} --seeds 0 1 --together 1 --json"))
    assert built["name"].startswith("resnet8-synthetic-paper-epochs1-")  # the preset that is closest
    assert built["recipe"]["dataset"] == "synthetic"
    assert [run["config"] for run in built["runs"]["done"] if run["seed"] == 0] == ["[1,3]", "[2,2]", "[3,1]"]
    table = built["table"]

    macs = json.loads(toy(f"evaluate --method macs --table {table} --json"))
    spos = json.loads(toy(f"evaluate --method spos {HASTY} --curve-images 0 --table {table} --json"))
    for found in (macs, spos):
        assert found["space"] == "resnet8-synthetic"

    scores = tmp_path / "scores.csv"
    scores.write_text('config,score\n"[1,3]",1\n"[2,2]",2\n"[3,1]",3\n')
    assert "tau" in toy(f"evaluate --scores {scores} --table {table}")

    pytest.importorskip("altair")
    toy("report --formats svg")
    boards = [
        path.read_text(encoding="utf-8") for path in (tmp_path / "results/report/tables").glob("leaderboard-*.csv")
    ]
    page = (tmp_path / "results" / "report" / "index.html").read_text(encoding="utf-8")
    assert built["name"] in page
    assert "resnet8-synthetic on synthetic" in page
    assert any(
        all(re.search(rf"^{method}[ ,]", board, re.MULTILINE) for method in ("macs", "spos")) for board in boards
    )


def test_what_a_toy_costs_is_counted_and_its_network_is_what_was_counted(monkeypatch):
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from benchmark.spaces import costs, networks, space

    monkeypatch.setattr(space, "SPACES", dict(space.SPACES))
    exec(compile(TOY, "toy.py", "exec"), {"__name__": "toy"})
    toy = space.load_space("resnet8-synthetic")
    network = networks.ResNet(toy).eval()
    assert costs.parameters(toy) == sum(p.numel() for p in network.parameters())
    for config in toy:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, 3, 32, 32), config.path)
        assert counter.get_total_flops() == 2 * costs.macs(toy, config), config
