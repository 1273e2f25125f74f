"""Numbers that must not move: what a seed draws, and the record of a short run, kept in `golden/`.

    python -m tests.test_golden      # writes golden/ anew

Rewrite them only for a change that is meant to move the numbers of every record: another initialisation, order,
augmentation, normalisation, architecture, optimiser or schedule. Such a change parts old ledgers from new ones, so
it also needs a new field or default in `Recipe` (its hash names the ledger), a new `CHECKPOINT_FORMAT` and a line in
the changelog. A new torch, processor or engine is no reason: there the runs must agree within MARGIN.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark.datasets import crops, named
from benchmark.datasets.batches import Batches
from benchmark.datasets.halves import split_in_half
from benchmark.recipe import CURVES, Recipe
from benchmark.spaces import networks
from benchmark.spaces.space import load_space
from benchmark.training import devices
from benchmark.training.train import Training

SPACE = load_space()
CPU = torch.device("cpu")
FOLDER = Path(__file__).parent / "golden"
# A low rate, so that the last bits that machines differ in are not amplified beyond the margins.
RECIPE = {"dataset": "synthetic", "epochs": 3, "lr": 0.01, "batch_size": 64, "train_images": 256, "eval_images": 128}
CONFIG, SEED = SPACE[SPACE.index("[1,2,7]")], 3
NAMED = ("instructions", "engine", "numpy", "torch")  # two machines that agree in these should agree in every bit
# Relative, for losses on another machine. Seen with oneDNN and torch limited to AVX2 and SSE4.1: 2e-4 and 4e-3.
MARGIN = {"fp32": 1e-3, "bf16": 1e-2}


def fingerprint(*arrays: object) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(np.asarray(array)).tobytes())
    return digest.hexdigest()[:16]


def drawn() -> dict[str, str]:
    """Fingerprints of all that a seed decides before a kernel runs: no machine may change them."""
    network = networks.ResNet(SPACE)
    networks.initialise(network, SEED)
    weights = {name: fingerprint(value.detach()) for name, value in network.named_parameters() if value.dim() > 1}
    found = {"weights": fingerprint(*(value.detach() for value in network.parameters()))}
    found |= {name: weights[name] for name in ("conv.weight", "blocks.3.projection.0.weight", "classifier.weight")}
    for epoch in (0, 1):
        plan = crops.augmentation(1000, SEED, epoch)
        found[f"augmentation {epoch}"] = fingerprint(plan.order, plan.top, plan.left, plan.mirrored)
    split = split_in_half(50_000, 0)
    found["split"] = fingerprint(split.train, split.validation)
    synthetic = named.load("synthetic")
    found["synthetic"] = fingerprint(synthetic.train.pixels, synthetic.train.labels, synthetic.test.pixels)
    batches = Batches.of(synthetic.train, synthetic, Recipe(precision="fp32"), CPU)
    drawn = (plan.order, plan.top, plan.left, plan.mirrored)
    pixels = crops.crop_and_flip(crops.crop_windows(batches.images.pixels), *(t[:64] for t in drawn))
    found["cropped and mirrored"] = fingerprint(pixels)
    return found


def record(precision: str) -> dict[str, object]:
    recipe = Recipe(precision=precision, **RECIPE)
    dataset = named.load("synthetic")
    results, _ = Training(SPACE, CONFIG, SEED, recipe, dataset, CPU).run()
    facts = devices.numerics(recipe, CPU, dataset)
    return {"numerics": {name: facts[name] for name in NAMED}, "recipe_hash": recipe.hash, "results": results}


def test_what_a_seed_draws_is_the_same_on_every_machine():
    assert drawn() == json.loads((FOLDER / "drawn.json").read_text())


@pytest.mark.parametrize("precision", sorted(MARGIN))
def test_the_record_of_a_short_run(precision):
    kept = json.loads((FOLDER / f"{precision}.json").read_text())
    found = record(precision)
    assert found["recipe_hash"] == kept["recipe_hash"]
    assert found["results"]["images"] == kept["results"]["images"]
    if found["numerics"] == kept["numerics"]:
        assert found["results"] == kept["results"]
        return
    for name in ("train_loss", "test_loss"):
        assert found["results"]["curves"][name] == pytest.approx(kept["results"]["curves"][name], rel=MARGIN[precision])


@pytest.mark.parametrize("change", ["rate", "seed", "momentum"])
def test_the_margin_would_catch_another_training(change):
    # Where bits cannot be compared, a wrong seed, schedule or optimiser must still show.
    kept = json.loads((FOLDER / "fp32.json").read_text())
    fields = {"rate": {"lr": 0.009}, "momentum": {"momentum": 0.89}, "seed": {}}[change]
    recipe = Recipe(precision="fp32", **RECIPE | fields)
    seed = SEED + (change == "seed")
    results, _ = Training(SPACE, CONFIG, seed, recipe, named.load("synthetic"), CPU).run()
    pairs = [zip(results["curves"][name], kept["results"]["curves"][name], strict=True) for name in CURVES[::2]]
    assert max(abs(a / b - 1) for pair in pairs for a, b in pair) > MARGIN["fp32"]


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, content in {"drawn": drawn(), **{precision: record(precision) for precision in MARGIN}}.items():
        (FOLDER / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
