"""Trains what searches found from scratch, by the ground-truth recipe: `benchmark.evaluate --retrain`. No torch until then.

A find is a configuration, any path of resolutions ("012220220") or any sizes of the maps ("32,32,24x23,..."). Each is trained
once, on the full training set, with the seed of its search; sizes are reached by max-pooling, whatever the method had between
its blocks. Records lie in a ledger of their own, OUT/retrained/NAME; one of the same run in
OUT/ledgers/NAME is taken instead, for it is the same training.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark import cli
from benchmark.errors import Failure, UsageError
from benchmark.jobs.runs import require_memory, say_how_long, train_runs
from benchmark.recipe import Recipe, SearchRecipe
from benchmark.spaces.space import Config, PoolingSpace
from benchmark.tables.ledger import CorruptRecord, Ledger, Run, table_name
from benchmark.tables.table import GroundTruth


def ground_truth_recipe(space: PoolingSpace, table: GroundTruth | None, preset: str, search: SearchRecipe) -> Recipe:
    """The recipe by which the table was made; where it states none, or there is none, the preset, computed as the search was.

    Raises UsageError for a table whose recipe this version has not.
    """
    if table and (stated := table.header.get("recipe")) and (digest := table.recipe_hash):
        return Recipe.stated(stated, digest)
    numerics = {name: getattr(search, name) for name in ("precision", "memory_layout")}
    return space.preset(Recipe, preset, dataset=table.dataset if table else search.dataset, **numerics)


@dataclass(frozen=True)
class Retrained:
    """What became of the finds. records: by run, in the order of the seeds; some are missing where it ended early."""

    recipe: Recipe
    records: Mapping[Run, Mapping[str, Any]]
    left: int
    interrupted: bool

    def to_dict(self) -> list[dict[str, Any]]:
        """One entry per find; accuracy in per cent, of the last epoch."""
        keys = ("config", "seed", "test_accuracy", "recipe_hash", "recipe_label", "timings")
        return [{key: record[key] for key in keys} for record in self.records.values()]

    def text(self) -> str:
        accuracies = "; ".join(
            f"{run.config} seed {run.seed} {record['test_accuracy']:.2f} %" for run, record in self.records.items()
        )
        return f"retrained: {accuracies} (test accuracy, recipe {self.recipe.label} {self.recipe.hash})"


def retrain(
    space: PoolingSpace, recipe: Recipe, finds: Mapping[int, Sequence[str]], options: argparse.Namespace
) -> Retrained:
    """Trains the finds that have no record yet.

    finds: by seed, what a ranking picks, and what else its history names under `finds`, as text. options: `out`, `data`,
    `device`, `engine`, `together` and `stop_after` as the command's flags give them. Raises UsageError for a find that
    names no network, Failure if a training fails.
    """
    folder = Path(options.out) / "retrained" / table_name(space, recipe)
    ledger = Ledger(folder, space, recipe)
    named = {seed: [space.architecture(text) for text in texts] for seed, texts in sorted(finds.items())}
    runs = list(dict.fromkeys(Run(seed, find) for seed, found in named.items() for find in found))
    interrupted = False
    if missing := [run for run in runs if not _record(ledger, run, options.out)]:
        interrupted = _train(ledger, missing, options)
    records = {run: record for run in runs if (record := _record(ledger, run, options.out))}
    return Retrained(recipe, records, len(runs) - len(records), interrupted)


def _record(ledger: Ledger, run: Run, out: str) -> Mapping[str, Any] | None:
    homes = [ledger]
    if isinstance(run.config, Config):
        homes.append(Ledger.under(out, ledger.space, ledger.recipe))
    try:
        return next((record for home in homes if (record := home.read(run))), None)
    except CorruptRecord as error:
        raise UsageError(f"{error}: remove it to have it trained again") from None


def _train(ledger: Ledger, missing: Sequence[Run], options: argparse.Namespace) -> bool:
    """Whether Ctrl-C ended it."""
    from benchmark.datasets import loaders
    from benchmark.training import devices, train

    space, recipe, device = ledger.space, ledger.recipe, devices.device_named(options.device)
    dataset = loaders.load(recipe.dataset, options.data, loader=options.loader)
    dataset = dataset.sized_for(space, recipe.side).reduced(recipe)
    ledger.prepare()
    works = {run: train.work(space, run.config, recipe, len(dataset.train), len(dataset.test)) for run in missing}
    cli.say(f"to be trained from scratch: {', '.join(f'{run.config} seed {run.seed}' for run in missing)}")
    # Its recipe is that of the table or a preset: no flag of a batch is read here.
    cli.say(require_memory(space, recipe, missing, device, options.together, way_out="another --device"))
    if device.type == "cpu":
        say_how_long(space, recipe, device, options.together, sum(works.values()))
    failed, interrupted = train_runs(ledger, missing, works, options.together, options)
    if failed:
        raise Failure("; ".join(f"{run.config} seed {run.seed}: {why}" for run, why in failed.items()))
    return interrupted
