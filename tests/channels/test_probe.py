"""The probe of a ground truth: it sees the networks as they are after each epoch, and moves no bit of a record."""

import json

import numpy as np
import pytest
import torch

from benchmark import build_groundtruth
from benchmark.channels.metrics import ranks
from benchmark.jobs.runs import TrainRun
from benchmark.recipe import Recipe
from benchmark.spaces import networks
from benchmark.spaces.space import load_space
from benchmark.tables.ledger import Ledger, Run
from tests.machine import PRECISION

SPACE = load_space()
RECIPE = Recipe(
    dataset="synthetic", epochs=4, train_images=96, eval_images=16, batch_size=4, lr=0.1, precision=PRECISION
)
RUN = Run(0, SPACE[0])


def build(folder, probe=None, stop=lambda: False):
    """The record that a worker leaves, without timings; None where it was stopped."""
    ledger = Ledger.under(folder, SPACE, RECIPE)
    ledger.prepare()
    function = TrainRun(ledger, None, "cpu", "eager", "resident", 1, 1, {"version": "test"}, probe)
    for _ in function(RUN, lambda news: None, stop):
        pass
    record = ledger.read(RUN)
    return record and {key: value for key, value in record.items() if key not in ("timings", "checksum")}


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    torch.set_num_threads(1)
    return build(tmp_path_factory.mktemp("probed"), "rank")


def test_nothing_else_of_a_record_moves(probed, tmp_path):
    plain = build(tmp_path)
    curves = dict(probed["curves"])
    rank = curves.pop("rank")
    assert probed | {"curves": curves} == plain
    assert len(rank) == 4
    assert 0 < rank[-1] < 1  # it has learned something by then, and full rank is never found


def test_it_is_the_mean_rank_of_the_trained_network(probed, tmp_path):
    """Of all convolutions and both sides, after the last update of each epoch: those of a checkpoint after the third."""
    asked = iter(range(10**9))
    assert build(tmp_path, "rank", lambda: next(asked) == 3 * 24 - 1) is None
    from benchmark.training.checkpoint import read_checkpoint

    state = read_checkpoint(Ledger.under(tmp_path, SPACE, RECIPE).checkpoint_path(RUN))["state"]
    assert state["step"] == 3 * 24
    network = networks.ResNet(SPACE, 10)
    network.load_state_dict(state["learner"]["network"])
    assert np.mean(ranks(network)) == state["curves"]["rank"][-1] == probed["curves"]["rank"][2] > 0


def test_stopped_and_begun_without_it_a_run_has_the_curve_of_all_epochs(probed, tmp_path, capsys):
    asked = iter(range(10**9))
    assert build(tmp_path, None, lambda: next(asked) == 30) is None
    asked = iter(range(10**9))
    assert build(tmp_path, "rank", lambda: next(asked) == 50) is None
    assert "another probe: this training starts afresh" in capsys.readouterr().err
    assert build(tmp_path, "rank") == probed
    assert capsys.readouterr().err == ""  # it went on


def test_records_that_were_made_without_it_are_counted(tmp_path, capsys):
    build(tmp_path)
    fields = RECIPE.to_dict() | {"train_images": 96, "eval_images": 16}
    words = [word for key, value in fields.items() for word in (f"--{key.replace('_', '-')}", str(value))]
    words += ["--configs", "1", "--seeds", "0", "--out", str(tmp_path), "--probe", "rank", "--json"]
    assert build_groundtruth.main(words) == 0
    said = capsys.readouterr()
    assert "1 of 1 records have no curve 'rank'" in said.err
    assert json.loads(said.out)["recipe_hash"] == RECIPE.hash
