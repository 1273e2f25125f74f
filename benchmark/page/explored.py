"""A table, ready to be explored: each configuration with its cost, its rank, its records and its curves. No torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.page.kept import KeptTable, link
from benchmark.scoring.noise import estimates, pool
from benchmark.scoring.significance import significance
from benchmark.spaces import costs
from benchmark.tables.table import GroundTruth


@dataclass(frozen=True)
class Training:
    """One training of a configuration.

    link      its record, as it is seen from the report's folder; None where there is none
    seconds   on its device; None where not known, as are device and commit
    """

    seed: int
    accuracy: float
    link: str | None
    device: str | None = None
    seconds: float | None = None
    commit: str | None = None


@dataclass(frozen=True)
class Configuration:
    """One row of a table.

    path       (L,) resolution index of each layer
    first      layers before the first pooling
    megamacs   multiply-accumulates of one image, in millions; None for spaces whose MACs cannot be counted yet
    rank       1 + the number of configurations of the table that are better
    better     positions of those that are significantly better; worse: likewise; None where no noise is known
    """

    number: int
    config: str
    path: tuple[int, ...]
    layers: tuple[int, ...]
    first: int
    megamacs: float | None
    mean: float
    std: float | None
    n: int
    rank: int
    better: tuple[int, ...] | None
    worse: tuple[int, ...] | None
    trainings: tuple[Training, ...]


@dataclass(frozen=True)
class Curve:
    """(E,) test and training accuracy in per cent of one training, the first after epoch 1."""

    number: int
    config: str
    seed: int
    test: tuple[float, ...]
    train: tuple[float, ...]


@dataclass(frozen=True)
class Explored:
    """A table as it is explored; `of` is the size of its space, `sizes` the sides of the searched feature maps."""

    name: str
    title: str
    space: str
    dataset: str
    recipe: str | None
    recipe_hash: str | None
    source: str
    sha256: str
    link: str | None
    sizes: tuple[int, ...]
    of: int
    default: str
    complete: bool
    configurations: tuple[Configuration, ...]
    curves: tuple[Curve, ...]


def explore(kept: KeptTable, out: Path, report: Path) -> Explored:
    """`out` is the folder under which the ledgers lie, `report` the one from which records are linked."""
    table = kept.table
    space, trained, rows = table.space, table.trained_space, table.rows
    means = [row.mean for row in rows]
    better, worse = _resolved(table)
    configurations = tuple(
        Configuration(
            number=space.number(row.config),
            config=str(row.config),
            path=row.config.path,
            layers=row.config.layers,
            first=row.config.layers[0],
            megamacs=costs.macs(trained, row.config) / 1e6 if trained.backbone else None,
            mean=row.mean,
            std=row.std,
            n=row.n,
            rank=1 + sum(mean > row.mean for mean in means),
            better=None if better is None else better[place],
            worse=None if worse is None else worse[place],
            trainings=tuple(
                _training(table, space.number(row.config), seed, accuracy, out, report)
                for seed, accuracy in row.values.items()
            ),
        )
        for place, row in enumerate(rows)
    )
    curves = tuple(
        Curve(space.number(config), str(config), seed, curve["test_accuracy"], curve["train_accuracy"])
        for (config, seed), curve in sorted(table.curves.items())
    )
    return Explored(
        name=table.name,
        title=kept.title,
        space=space.name,
        dataset=table.dataset,
        recipe=table.recipe_label,
        recipe_hash=table.recipe_hash,
        source=str(table.header.get("source") or ""),
        sha256=table.sha256,
        link=kept.link,
        sizes=space.sizes,
        of=len(space),
        default=str(space.default),
        complete=table.complete,
        configurations=configurations,
        curves=curves,
    )


def _resolved(table: GroundTruth) -> tuple[list[tuple[int, ...]] | None, list[tuple[int, ...]] | None]:
    """Of each row, which rows are significantly better and which worse; None where no noise is known."""
    noise = pool(table.rows)
    if noise is None or len(table.rows) < 2:
        return None, None
    known = estimates(table.rows, noise)
    worse: list[tuple[int, ...]] = [()] * len(table.rows)
    better: list[list[int]] = [[] for _ in table.rows]
    for place, below in significance(known, noise).worse(known):
        worse[place] = tuple(map(int, below.nonzero()[0]))
        for other in worse[place]:
            better[other].append(place)
    return [tuple(places) for places in better], worse


def _training(table: GroundTruth, number: int, seed: int, accuracy: float, out: Path, report: Path) -> Training:
    """Where the ledger of that name has a record of this very result, with what it says of its making."""
    path = out / "ledgers" / str(table.header["name"]) / "records" / f"{number:03d}-seed{seed}.json"
    try:
        record: Any = json.loads(path.read_bytes())
        if record["test_accuracy"] != accuracy or record["recipe_hash"] != table.recipe_hash:
            return Training(seed, accuracy, None)
        made, clock = record["provenance"], record.get("timings") or {}
        seconds, commit = clock.get("seconds"), made.get("git_commit")
        return Training(
            seed,
            accuracy,
            link(path, report),
            str(made.get("device")),
            float(seconds) if seconds is not None else None,
            str(commit)[:12] if commit else None,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Training(seed, accuracy, None)
