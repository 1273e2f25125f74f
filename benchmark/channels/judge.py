"""Are the widths that a search found better than counting parameters? Trained from scratch, beside controls.

Contenders of one network and data set are trained with the same seeds and recipe: what the search found, the network as
it comes, compound scaling and random widths at the parameters of what was found, and static scaling by the ranks of the
network as it comes. Every training is a record below OUT/channels/evaluations, which is used again wherever it fits.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import nn

from benchmark.channels.darts import CellNetwork
from benchmark.channels.graph import ChannelGraph, initialise
from benchmark.channels.learning import Regularised, Stepped, Steps
from benchmark.channels.results import SCHEMA
from benchmark.channels.rules import refuse_schedule
from benchmark.channels.scaling import Widths, compound_of, random_of, static
from benchmark.channels.search import Subject, data
from benchmark.channels.trial import Trial, convolutions, epochs_of
from benchmark.errors import UsageError
from benchmark.files import bounded, write_atomically
from benchmark.provenance import checksum
from benchmark.recipe import Recipe, later
from benchmark.running.claims import Terms, Work, Workplace, carry_out
from benchmark.training.devices import device_named, numerics
from benchmark.training.engine import Learner, owning_up
from benchmark.training.train import in_turns, now_and_then

SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)  # of static scaling
LEVEL = 0.05


@dataclass(frozen=True, kw_only=True)
class EvaluationRecipe(Recipe):
    """How contenders are trained from scratch: SGD, the rate halved after every `every` epochs (CONet, appendix A.3).

    The others are of the preset `cells`, by which the paper trains DARTS cells, and of `imagenet`, the same on ImageNet:
    without cutout and dropped paths, with smoothed labels and jittered colours (the release names the former, and uses
    the latter only).

    cutout     side of the square that is blanked in each training image, in pixels (DeVries and Taylor, 2017)
    auxiliary  weight of the loss of a head after two thirds of the cells (Liu et al., 2019); its weights are not counted
    drop_path  share of paths that is dropped: 0 in the first epoch, rising to it (Larsson et al., 2017)
    clip       the gradient's norm is cut to it
    smoothing  share of each label that all classes get alike (Szegedy et al., 2016); the losses that are kept are without
    jitter     strength of that of colours: factors of 1 - jitter to 1 + jitter, hues by up to half of it (torchvision)
    """

    epochs: int = 250
    batch_size: int = 128
    weight_decay: float = 5e-4
    every: int = 25
    factor: float = 0.5
    cutout: int = later(0)
    auxiliary: float = later(0.0)
    drop_path: float = later(0.0)
    clip: float = later(0.0)
    smoothing: float = later(0.0)
    jitter: float = later(0.0)

    PRESETS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {},
        "cells": {
            "batch_size": 96,
            "weight_decay": 3e-4,
            "cutout": 16,
            "auxiliary": 0.4,
            "drop_path": 0.2,
            "clip": 5.0,
        },
        "imagenet": {
            "epochs": 200,
            "weight_decay": 3e-5,
            "auxiliary": 0.4,
            "clip": 5.0,
            "smoothing": 0.1,
            "jitter": 0.4,
        },
        "smoke": {"epochs": 2, "train_images": 512, "eval_images": 256, "batch_size": 16, "every": 1},
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_schedule(self)
        if type(self.every) is not int or self.every < 1:
            raise UsageError(f"every is {self.every}: it must be a whole number of epochs, 1 or more")
        if type(self.factor) not in (int, float) or not 0 < self.factor <= 1:
            raise UsageError(f"factor is {self.factor}: it must lie above 0 and be 1 at most")
        if type(self.cutout) is not int or not 0 <= self.cutout <= 10_000:
            raise UsageError(f"cutout is {self.cutout}: it must be a whole number of pixels, 0 for none")
        for name, most in (
            ("auxiliary", 10.0),
            ("drop_path", 0.99),
            ("clip", 1e6),
            ("smoothing", 0.99),
            ("jitter", 1.0),
        ):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 <= value <= most:
                raise UsageError(f"{name} is {value}: it must lie between 0 and {most:g}")
            object.__setattr__(self, name, float(value))


def require_cells(recipe: EvaluationRecipe, subject: Subject) -> None:
    """Raises UsageError where the recipe asks for what only DARTS cells have, or the images do not fit that."""
    if not (recipe.auxiliary or recipe.drop_path):
        return
    network = subject.graph().rebuild()
    if not isinstance(network, CellNetwork):
        what = next(name for name in ("auxiliary", "drop_path") if getattr(recipe, name))
        raise UsageError(f"{what} is {getattr(recipe, what):g}, but '{subject.base}' has no DARTS cells: leave it at 0")
    if recipe.auxiliary:
        try:
            with_auxiliary(network, subject.classes, 0)(subject.images)
        except RuntimeError:
            raise UsageError(
                f"auxiliary is {recipe.auxiliary:g}, but that head does not fit images of {subject.side} pixels: give 0"
            ) from None


def with_auxiliary(network: CellNetwork, classes: int, seed: int) -> CellNetwork:
    """The network, with a head of fresh weights; those of the others are as they were."""
    network.add_auxiliary(classes)
    initialise(network, seed)
    return network


@dataclass(frozen=True)
class Contender:
    """A network of certain widths, trained with one seed. group: those whose mean is one contender, as random draws."""

    subject: Subject
    group: str
    label: str
    widths: Mapping[str, int]
    seed: int
    recipe: EvaluationRecipe
    out: Path
    source: str
    measures: bool = False

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def path(self) -> Path:
        said = json.dumps(
            [self.subject.base, self.source, self.subject.stem, self.subject.classes, sorted(self.widths.items())]
        )
        short = Path(self.subject.base.partition(":")[0]).stem
        name = f"{short}-{hashlib.sha256(said.encode()).hexdigest()[:12]}-seed{self.seed}"
        folder = bounded(f"{self.recipe.dataset}-{self.recipe.label}-{self.recipe.hash}")
        return self.out / "channels" / "evaluations" / folder / f"{name}{'-sides' if self.measures else ''}.json"

    def read(self) -> dict[str, Any] | None:
        """Its record; None where there is none. Raises UsageError for one that cannot be believed."""
        try:
            record = json.loads(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):
            record = None
        fits = isinstance(record, dict) and record.get("checksum") == checksum(record)
        if not fits or record["widths"] != dict(self.widths):
            raise UsageError(f"{self.path} is no whole record of these widths: remove it to have it made again")
        return record


@dataclass(frozen=True)
class Controls:
    """What is trained beside what was found.

    against     some of baseline, compound, random, static
    floor, cap  between which random widths lie, and compound scaling below the latter; both go as far as what was found
    draws       of random widths, for each search
    """

    against: Sequence[str]
    floor: int
    cap: int
    draws: int


def contenders(
    graph: ChannelGraph, found: Mapping[str, Mapping[str, int]], controls: Controls
) -> list[tuple[str, str, Widths]]:
    """(group, label, widths) of all that are trained in the first place; static scaling needs the baseline's ranks.

    found: by name of the search. Raises Failure where a control cannot have the parameters of what was found.
    """
    made: list[tuple[str, str, Widths]] = []
    for name, widths in found.items():
        parameters = graph.parameters(widths)
        floor, cap = min(controls.floor, *widths.values()), max(controls.cap, *widths.values())
        made.append((name, name, dict(widths)))
        if "compound" in controls.against:
            label = f"compound scaling, parameters of {name}"
            made.append((label, label, compound_of(graph, parameters, cap)))
        if "random" in controls.against:
            label = f"random widths, parameters of {name}"
            made += [
                (label, f"{label}, draw {draw}", random_of(graph, parameters, 0, draw, floor, cap))
                for draw in range(controls.draws)
            ]
    if {"baseline", "static"} & set(controls.against):
        made.append(("baseline", "baseline", graph.widths()))
    return made


def scaled(
    graph: ChannelGraph, baseline: Mapping[str, Any], shares: Sequence[float] = SHARES
) -> list[tuple[str, str, Widths]]:
    """Static scaling by these shares, by the record of the network as it comes."""
    history = epochs_of(baseline["convolutions"], baseline["curves"]["sides"])
    return [(label := f"static scaling, {100 * share:g}%", label, static(graph, history, share)) for share in shares]


@dataclass(frozen=True)
class EvaluationRun:
    """What a worker does with one contender and seed: claims it, trains it, writes its record. Yields after every step."""

    data_root: str | None
    device: str
    loader: str
    provenance: dict[str, Any]
    terms: Terms = field(default_factory=Terms)

    def done(self, one: Contender) -> bool:
        return one.path.exists()

    def __call__(
        self, one: Contender, report: Callable[[Any], None], stop: Callable[[], bool]
    ) -> Generator[None, None, bool | None]:
        place = Workplace(one.path.parent / "work", one.path.stem)

        def keep(record: dict[str, Any]) -> None:
            text = json.dumps(record, allow_nan=False) + "\n"
            write_atomically(one.path, text.encode(), beside=place.folder)

        work = Work(
            place,
            lambda: one.read() is not None,
            lambda stop: self._train(one, place.checkpoint, report, stop),
            keep,
        )
        return (yield from carry_out(work, self.terms, stop))

    def _train(
        self, one: Contender, checkpoint: Path, report: Callable[[Any], None], stop: Callable[[], bool]
    ) -> Generator[None, None, dict[str, Any] | None]:
        """Its record."""
        device, recipe = device_named(self.device), one.recipe
        dataset = data(recipe.dataset, self.data_root, self.loader)
        images = dataset.reduced(recipe).train
        steps_an_epoch = max(1, len(images) // recipe.batch_size)
        graph = one.subject.graph()
        network = graph.rebuild(one.widths, one.seed)
        if recipe.auxiliary:
            network = with_auxiliary(cast(CellNetwork, network), one.subject.classes, one.seed)
        names = convolutions(network)
        stamp = {"evaluation": one.path.stem, "recipe": recipe.hash}
        learner = partial(_stepped, epoch=steps_an_epoch)
        name = f"{one.label} seed {one.seed}"
        trial = Trial(name, network, recipe, learner, one.seed, dataset, device, stamp, one.measures, recipe.jitter)
        with owning_up(device, trial.name):
            outcome = yield from in_turns(trial.steps(checkpoint, stop), now_and_then(report))
        if outcome is None:
            return None
        results, seconds = outcome
        made = numerics(recipe, device, dataset) | self.provenance | {"loader": self.loader}
        timings = {"seconds": round(seconds, 3), "finished": datetime.now(UTC).isoformat(timespec="seconds")}
        record = {
            "schema": SCHEMA,
            "network": one.subject.base,
            "from": one.source,
            "stem": one.subject.stem,
            "classes": one.subject.classes,
            "dataset": recipe.dataset,
            "seed": one.seed,
            "recipe": recipe.to_dict(),
            "recipe_hash": recipe.hash,
            "widths": dict(one.widths),
            "parameters": graph.parameters(one.widths),
            "macs": graph.macs(one.widths),
            "convolutions": names if one.measures else [],
            **results,
            "provenance": made,
            "timings": timings,
        }
        record["checksum"] = checksum(record)
        return record


def _stepped(network: nn.Module, recipe: EvaluationRecipe, device: torch.device, seed: int, epoch: int) -> Learner:
    more = Regularised(recipe.cutout, recipe.auxiliary, recipe.drop_path, recipe.clip, recipe.smoothing)
    return Stepped(network, recipe, device, seed, Steps(recipe.every * epoch, recipe.factor, epoch), more)


def judged(records: Mapping[tuple[str, str, int], Mapping[str, Any]], found: Sequence[str]) -> list[dict[str, Any]]:
    """A row per group of contenders, and how each compares with every search: paired by seed, t intervals of 95 %.

    records: by (group, label, seed). Draws of random widths count as their mean, seed by seed. Verdicts are of what was
    found against the row: better, worse, or unresolved where the interval holds 0 or there is one seed only.
    """
    groups = list(dict.fromkeys(group for group, _, _ in records))
    seeds = sorted({seed for _, _, seed in records})
    by: dict[str, list[float]] = {}
    for group in groups:
        rows = [[r["test_accuracy"] for (g, _, s), r in records.items() if (g, s) == (group, seed)] for seed in seeds]
        by[group] = [sum(row) / len(row) for row in rows]
    made = []
    for group in groups:
        mine = [record for (g, _, _), record in records.items() if g == group]
        best = [max(record["curves"]["test_accuracy"]) for record in mine]
        row: dict[str, Any] = {
            "contender": group,
            "networks": len({label for g, label, _ in records if g == group}),
            "seeds": len(seeds),
            "parameters": [min(r["parameters"] for r in mine), max(r["parameters"] for r in mine)],
            "macs": [min(r["macs"] for r in mine), max(r["macs"] for r in mine)],
            "accuracy": _interval(by[group]),
            "best_epoch": round(sum(best) / len(best), 4),
            "seconds": round(sum(r["timings"]["seconds"] for r in mine) / len(mine), 1),  # of one training
            "against": {},
        }
        for name in found:
            if name != group:
                difference = _interval([a - b for a, b in zip(by[name], by[group], strict=True)])
                row["against"][name] = difference | {"verdict": _verdict(difference)}
        made.append(row)
    return made


def _interval(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and 95 % t interval; no interval of one value."""
    n, mean = len(values), sum(values) / len(values)
    if n < 2:
        return {"mean": round(mean, 4), "low": None, "high": None}
    from scipy.stats import t

    std = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1))
    half = float(t.ppf(1 - LEVEL / 2, n - 1)) * std / math.sqrt(n)
    return {"mean": round(mean, 4), "low": round(mean - half, 4), "high": round(mean + half, 4)}


def _verdict(difference: Mapping[str, float | None]) -> str:
    low, high = difference["low"], difference["high"]
    if low is None or high is None or low <= 0 <= high:
        return "unresolved"
    return "better" if low > 0 else "worse"


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The rows in Markdown."""
    lines = ["| contender | networks | seeds | parameters | MACs (M) | test accuracy (95 %) | search minus it |"]
    lines.append("|---|---|---|---|---|---|---|")
    for row in rows:
        parameters = _span(row["parameters"], "{:,}")
        macs = _span([m / 1e6 for m in row["macs"]], "{:.1f}")
        versus = "; ".join(f"{name}: {_said(d, '+.2f')}, {d['verdict']}" for name, d in row["against"].items())
        lines.append(
            f"| {row['contender']} | {row['networks']} | {row['seeds']} | {parameters} | {macs} "
            f"| {_said(row['accuracy'], '.2f')} | {versus} |"
        )
    return lines


def _span(ends: Sequence[float], how: str) -> str:
    texts = list(dict.fromkeys(how.format(end) for end in ends))
    return " to ".join(texts)


def _said(interval: Mapping[str, float | None], how: str) -> str:
    text = format(interval["mean"], how)
    return (
        text
        if interval["low"] is None
        else f"{text} ({format(interval['low'], how)} to {format(interval['high'], how)})"
    )
