"""A run of a space of three poolings that is killed twenty times ends with the record of one that nobody disturbed."""

import json
import os
import random
import signal
import time
from dataclasses import replace

import pytest
import torch

from benchmark.datasets import named
from benchmark.datasets.loaders import ImageByImage
from benchmark.jobs import runs
from benchmark.jobs.runs import TrainRun
from benchmark.recipe import Recipe
from benchmark.spaces.space import SPACES, Backbone, Config, PoolingSpace
from benchmark.tables.ledger import Ledger, Run
from benchmark.training import checkpoint
from benchmark.training.checkpoint import read_checkpoint

KILLS = 20
PATIENCE = 120  # seconds for one attempt, on a machine however busy
SPACE = PoolingSpace(
    "tiny-killed",
    (8, 4, 2, 1),
    5,
    Config((2, 1, 1, 1)),
    "synthetic",
    Backbone("bottleneck", (2, 2, 4, 4, 8), "imagenet", 32),
)
RECIPE = Recipe(
    dataset="synthetic",
    epochs=8,
    batch_size=8,
    train_images=64,
    eval_images=16,
    precision="fp32",
    memory_layout="contiguous",
)
RUN = Run(seed=0, config=SPACE.default)


def train(folder, loader):
    """What a worker does with the run."""
    work = TrainRun(Ledger(folder, SPACE, RECIPE), None, "cpu", "eager", loader, 1, 1, {})
    return list(work(RUN, lambda news: None, lambda: False))


def step_of(path):
    return read_checkpoint(path)["state"]["step"] if path.exists() else 0


def record(ledger):
    found = ledger.read(RUN)
    return {key: value for key, value in found.items() if key != "timings"}


@pytest.mark.parametrize("loader", ["resident", "torchvision"])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_run_that_is_killed_twenty_times_leaves_the_undisturbed_record(tmp_path, monkeypatch, loader):
    made = named.load("synthetic").reduced(RECIPE)
    if loader == "torchvision":  # image by image, decoded in this process
        made = replace(made, train=ImageByImage(made.train), test=ImageByImage(made.test))
    monkeypatch.setitem(SPACES, SPACE.name, SPACE)
    monkeypatch.setattr(runs, "_dataset", lambda *words: made)
    torch.set_num_threads(1)
    ledgers = [Ledger(tmp_path / name, SPACE, RECIPE) for name in ("undisturbed", "killed")]
    for ledger in ledgers:
        ledger.prepare()
    began = time.monotonic()
    train(ledgers[0].folder, loader)
    took = time.monotonic() - began

    monkeypatch.setattr(checkpoint, "CHECKPOINT_SECONDS", 0.0)  # after every step: kills fall into writing, too
    killed, path, draw, steps = ledgers[1], ledgers[1].checkpoint_path(RUN), random.Random(0), [0]
    for _ in range(KILLS):
        child = os.fork()
        if not child:
            try:
                train(killed.folder, loader)
            finally:
                os._exit(0)  # nothing of the test's process is to be ended twice
        until = time.monotonic() + PATIENCE
        while step_of(path) <= steps[-1] and time.monotonic() < until:  # it got a little further
            time.sleep(0.001)
        time.sleep(draw.uniform(0, took / KILLS / 10))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL  # it had not ended by itself
        steps.append(step_of(path))
    assert steps == sorted(set(steps))
    assert 0 < steps[1] < steps[-1] < RECIPE.epochs * 8
    assert killed.read(RUN) is None
    train(killed.folder, loader)
    assert json.dumps(record(killed)) == json.dumps(record(ledgers[0]))
    assert [file.name for file in (killed.folder / "work").iterdir() if "partial" in file.name] == []
