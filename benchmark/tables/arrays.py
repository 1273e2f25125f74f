"""A table for other tools: tidy columns, one row per observation, and an array with named axes. No torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from benchmark.errors import UsageError
from benchmark.recipe import CURVES
from benchmark.spaces import costs

if TYPE_CHECKING:
    import xarray

    from benchmark.tables.table import GroundTruth

Kind = Literal["text", "whole", "number"]


@dataclass(frozen=True)
class Column:
    """A column of a tidy table.

    about   what it says, with its unit
    values  one per row; None where nothing is known
    """

    name: str
    kind: Kind
    about: str
    values: tuple[Any, ...]


_ABOUT: dict[str, tuple[Kind, str]] = {
    "number": ("whole", "number of the configuration, from 1, as in the paper's Table 6"),
    "config": ("text", "layers at each resolution, the first unpooled: [4,3,3]"),
    "macs": ("whole", "multiply-accumulates of one image's forward pass"),
    "mean": ("number", "test accuracy after the last epoch, per cent, mean over seeds"),
    "std": ("number", "sample standard deviation of the test accuracy over seeds, points"),
    "n": ("whole", "number of seeds"),
    "seed": ("whole", "seed of the training: weights, order and augmentation"),
    "epoch": ("whole", "epochs trained so far, from 1"),
    "train_loss": ("number", "mean cross-entropy on the training images during the epoch, nats"),
    "train_accuracy": ("number", "accuracy on the training images during the epoch, per cent"),
    "test_loss": ("number", "mean cross-entropy on the test images after the epoch, nats"),
    "test_accuracy": ("number", "accuracy on the test images after the epoch, per cent"),
}


def tidy(table: GroundTruth) -> tuple[Column, ...]:
    """The table as columns of equal length, in canonical order.

    A row is a configuration, a seed and an epoch where the table has curves; a configuration and a seed, after the last
    epoch, where it has none; a configuration with mean, std and n where only means are known. MACs where they can be
    counted.
    """
    of_config: list[dict[str, Any]] = []
    trained = table.trained_space
    for row in table.rows:
        start: dict[str, Any] = {"number": table.space.number(row.config), "config": str(row.config)}
        if trained.backbone:
            start["macs"] = costs.macs(trained, row.config)
        if not row.values:
            of_config.append(start | {"mean": row.mean, "std": row.std, "n": row.n})
        for seed, last in row.values.items():
            curve = table.curves.get((row.config, seed))
            if curve is None:
                of_config.append(start | {"seed": seed, "epoch": _last_epoch(table), "test_accuracy": last})
            else:
                of_config += [
                    start | {"seed": seed, "epoch": e + 1} | {name: curve[name][e] for name in CURVES}
                    for e in range(len(curve["test_accuracy"]))
                ]
    names = [name for name in _ABOUT if any(row.get(name) is not None for row in of_config)]
    return tuple(Column(name, *_ABOUT[name], tuple(row.get(name) for row in of_config)) for name in names)


def _last_epoch(table: GroundTruth) -> int | None:
    return table.epochs or (table.header.get("recipe") or {}).get("epochs")


def named_axes(table: GroundTruth) -> xarray.DataArray:
    """The numbers with named axes: (config, seed, epoch, metric) where the table has seeds, else (config, metric).

    NaN where there is none. `.attrs` says the table, its hash, space and data set; `.sel(config="[4,3,3]", epoch=10)`
    picks. Raises UsageError where xarray is not installed.
    """
    try:
        import xarray
    except ImportError:
        raise UsageError("an array with named axes needs xarray: pip install 'nas-bench-pooling[export]'") from None
    import numpy as np

    columns = {column.name: column.values for column in tidy(table)}
    metrics = [name for name in columns if name in (*CURVES, "mean", "std", "n")]
    axes: dict[str, list[Any]] = {"config": list(dict.fromkeys(columns["config"]))}
    if "seed" in columns:
        axes["seed"] = sorted(set(columns["seed"]))
        axes["epoch"] = sorted({epoch or 0 for epoch in columns.get("epoch", (0,))})  # 0: how many is not known
    places = {name: {value: place for place, value in enumerate(axis)} for name, axis in axes.items()}
    values = np.full([len(axis) for axis in axes.values()] + [len(metrics)], math.nan)
    for row in range(len(columns["config"])):
        at = tuple(places[name][columns[name][row] if name in columns else 0] for name in axes)
        values[at] = [math.nan if columns[m][row] is None else columns[m][row] for m in metrics]
    facts = {"table": table.name, "sha256": table.sha256, "space": table.space.name, "dataset": table.dataset}
    return xarray.DataArray(values, {**axes, "metric": metrics}, [*axes, "metric"], name=table.name, attrs=facts)
