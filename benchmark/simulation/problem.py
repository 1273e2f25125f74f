"""A table as a problem for optimisers: what they are told, by what they are judged, and what each training costs. No torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmark.errors import UsageError
from benchmark.spaces import costs
from benchmark.spaces.space import PoolingSpace
from benchmark.tables.ledger import Ledger
from benchmark.tables.table import GroundTruth

if TYPE_CHECKING:
    import numpy as np

CLOCKS = ("seconds", "macs", "trainings")
Clock = Literal["seconds", "macs", "trainings"]


@dataclass(frozen=True)
class Problem:
    """What a search replays.

    space   its configurations, C
    epochs  E of a full training; 1 where the table has no curves
    seeds   S seeds of the table that every configuration has; empty where only means are known, and S is 1
    seen    (S, C, E) per cent: what is told of a training with one seed after each epoch
    judged  (S, C) per cent: by what a search that saw that seed is judged
    cost    (S, C, E) clock units from the start of a training to each epoch's end, ascending
    clock   what the units are
    said    sentences: what is seen, what judges, what the clock is
    """

    space: PoolingSpace
    epochs: int
    seeds: tuple[int, ...]
    seen: np.ndarray
    judged: np.ndarray
    cost: np.ndarray
    clock: Clock
    said: tuple[str, ...]

    @property
    def training(self) -> float:
        """Clock units of one full training, on average over configurations and seeds."""
        return float(self.cost[:, :, -1].mean())


def problem_of(table: GroundTruth, clock: str = "auto", ledger: Path | str | None = None) -> Problem:
    """The problem that a complete table makes.

    clock   seconds: of the ledger's records; macs: of a forward pass, times epochs; trainings: each costs 1.
            auto: the first of them that there is
    ledger  the table's records, by default those that lie beside it, OUT/ledgers/NAME

    Raises UsageError for a table that cannot judge, for a clock that it cannot run by, for records of another table.
    """

    import numpy as np

    table.require_judge()
    seeds = [seed for seed in table.seeds if all(seed in row.values for row in table.rows)]
    seen, epochs, said = _seen(table, seeds)
    judged, judge = _judged(table, seeds)
    chosen, full, about = _clock(table, seeds, clock, ledger)
    shares = np.arange(1, epochs + 1) / epochs
    cost = np.broadcast_to(full[:, :, None] * shares, seen.shape)
    return Problem(table.space, epochs, tuple(seeds), seen, judged, cost, chosen, (said, judge, about))


def _seen(table: GroundTruth, seeds: list[int]) -> tuple[np.ndarray, int, str]:
    import numpy as np

    if not seeds:
        told = "seen: the mean over seeds"
        return np.array([[[row.mean] for row in table.rows]]), 1, f"{told}; there are no curves, so no shorter training"
    if not all((row.config, seed) in table.curves for row in table.rows for seed in seeds):
        values = [[[row.values[seed]] for row in table.rows] for seed in seeds]
        return np.array(values), 1, "seen: the test accuracy of one seed; there are no curves, so no shorter training"
    curves = [[table.curves[row.config, seed]["test_accuracy"] for row in table.rows] for seed in seeds]
    epochs = len(curves[0][0])
    return np.array(curves), epochs, f"seen: the test accuracy of one seed, after any of {epochs} epochs"


def _judged(table: GroundTruth, seeds: list[int]) -> tuple[np.ndarray, str]:
    import numpy as np

    if len(seeds) < 2:
        why = "has one seed" if seeds else "has no seed of every configuration" if table.seeds else "has means only"
        return np.array([[row.mean for row in table.rows]]), (
            f"judged: by the very number that is seen, for the table {why}; luck of a seed counts as merit"
        )
    others = [[[row.values[other] for other in seeds if other != seed] for row in table.rows] for seed in seeds]
    return np.array(others).mean(axis=2), (
        f"judged: by the mean of the other {len(seeds) - 1} of the seeds {', '.join(map(str, seeds))} after the last "
        "epoch, so that the luck of the seen one is not rewarded"
    )


def _clock(
    table: GroundTruth, seeds: list[int], clock: str, ledger: Path | str | None
) -> tuple[Clock, np.ndarray, str]:
    """(which, units of full trainings (S, C), what to say of it)."""

    import numpy as np

    count = max(1, len(seeds))
    if clock not in ("auto", *CLOCKS):
        raise UsageError(f"unknown clock '{clock}': choose from auto, {', '.join(CLOCKS)}")
    if clock in ("auto", "seconds"):
        records = _records(table, ledger, required=clock == "seconds" or ledger is not None)
        if records and seeds:
            return "seconds", *_seconds(table, seeds, records)
        if clock == "seconds":
            raise UsageError(f"table {table.name} has no seconds of single trainings: use --clock macs")
    if clock == "macs" or (clock == "auto" and table.space.backbone):
        macs = [float(costs.macs(table.trained_space, row.config)) for row in table.rows]
        why = "" if clock == "macs" else ", for no records with seconds lie beside the table"
        return "macs", np.tile(macs, (count, 1)), f"clock: MACs of a forward pass of one image{why}; epochs alike"
    why = "" if clock == "trainings" else f", for the MACs of {table.space.name} cannot be counted yet"
    return "trainings", np.ones((count, len(table.rows))), f"clock: every full training costs the same{why}"


def _records(table: GroundTruth, ledger: Path | str | None, required: bool) -> list[dict[str, Any]]:
    folder = Path(ledger) if ledger else table.folder and table.folder.parent / "ledgers" / table.name
    if not folder or not (folder / "recipe.json").is_file():
        if required:
            raise UsageError(
                f"no records of table {table.name} in {folder or 'any folder'}: give --ledger, or --clock macs"
            )
        return []
    found = Ledger.at(folder)
    if (found.space.name, found.recipe.hash) != (table.space.name, table.recipe_hash):
        raise UsageError(f"{folder} holds {found.name}, which is not table {table.name}: give --ledger that table's")
    return found.records()


def _seconds(table: GroundTruth, seeds: list[int], records: Iterable[Mapping[str, Any]]) -> tuple[np.ndarray, str]:
    import numpy as np

    taken: dict[tuple[str, int], float] = {}
    devices: Counter[str] = Counter()
    for record in records:
        timings = record["timings"]
        if timings.get("seconds") is not None and record["seed"] in seeds:
            # Runs that took turns on one GPU each saw the whole time go by.
            taken[record["config"], record["seed"]] = float(timings["seconds"]) / timings.get("sharing", 1)
            devices[str(record["provenance"].get("device", "a machine that is not said"))] += 1
    for row in table.rows:
        for seed in seeds:
            if (str(row.config), seed) not in taken:
                raise UsageError(
                    f"the records of table {table.name} hold no seconds of {row.config}, seed {seed}: use --clock macs"
                )
    where = ", ".join(f"{device} ({count} runs)" for device, count in sorted(devices.items()))
    full = np.array([[taken[str(row.config), seed] for row in table.rows] for seed in seeds])
    return full, f"clock: recorded seconds of each run, on {where}, other work beside them included; epochs alike"
