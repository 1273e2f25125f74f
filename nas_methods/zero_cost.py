"""Zero-cost proxies: scores of untrained networks from a few batches (Abdelfattah et al., 2021; formulas: `proxies`).

    python -m benchmark.evaluate --method zero_cost --proxy synflow --seeds 0 1 2
    python -m benchmark.evaluate --method zero_cost --proxy all

A stand-alone network with the weights that a training of this seed would start from, in float32 whatever the recipe says,
sees batches of images of the training half, not augmented, and takes no step. What is measured is kept beside the
checkpoints in `proxies/`, value by value, so that after `all` no single proxy measures again. Most proxies are said to count
MACs in disguise: scores print tau given MACs. `l2_norm` and, where every image has a region of its own, `regions` are the
same for every configuration and end with "no ranking". Cost: seconds a configuration.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch

from benchmark.cli import say
from benchmark.errors import Failure, UsageError
from benchmark.running.files import claim, write_atomically
from benchmark.scoring.ranking import NO_RANKING, NoRanking, Ranking
from benchmark.spaces import costs
from benchmark.spaces.space import Config
from benchmark.streams import stream
from nas_methods import Busy, Stopped, Task, proxies
from nas_methods.stamps import code_of

VERSION = 1

Values = dict[str, list[float]]  # of one network, by part of a proxy: one per batch, or one


@dataclass(frozen=True)
class Kept:
    """What has been measured so far with one seed, on one file that a single process holds; None keeps nothing."""

    path: Path | None
    stamp: Mapping[str, Any]

    @classmethod
    @contextmanager
    def beside(cls, checkpoint: Path | None, stamp: Mapping[str, Any]) -> Iterator[Kept]:
        """The file for this stamp, in the folder of a search's checkpoint. Raises Busy where another process has it."""
        if checkpoint is None:
            yield cls(None, stamp)
            return
        folder = checkpoint.parent / "proxies"
        folder.mkdir(parents=True, exist_ok=True)
        key = hashlib.sha256(json.dumps(stamp, sort_keys=True).encode()).hexdigest()[:12]
        with claim(folder / f"{key}.lock", wait=True) as mine:
            if not mine:
                raise Busy
            yield cls(folder / f"{key}.json", stamp)

    def read(self) -> dict[str, Values]:
        """By configuration; empty where there is nothing. A line says so where a file had to be ignored."""
        if self.path is None or not self.path.exists():
            return {}
        try:
            record = json.loads(self.path.read_text(encoding="utf-8"))
            if record["stamp"] != self.stamp:
                raise ValueError("it is of other measurements")
            return {
                config: {part: [float(v) for v in values] for part, values in found.items()}
                for config, found in record["values"].items()
            }
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            say(f"{self.path} is no record of these proxies ({type(error).__name__}: {error}): it is made again")
            return {}

    def write(self, values: Mapping[str, Values]) -> None:
        if self.path:
            record = {"stamp": self.stamp, "values": values}
            write_atomically(self.path, (json.dumps(record, allow_nan=False) + "\n").encode())


@dataclass(frozen=True)
class Method:
    """A proxy's mean over batches as the score of each configuration.

    proxy    which one; all: every one in shared passes, kept in the ranking's history, and as the score the mean rank
    batches  from the training half, each drawn anew from (seed, its number); zico takes them together and needs 2 or more
    images   of a batch
    """

    proxy: Literal[
        "all",
        "az_nas",
        "effective_receptive_field",
        "epe_nas",
        "fisher",
        "grad_norm",
        "grasp",
        "jacob_cov",
        "l2_norm",
        "meco",
        "ntk",
        "nwot",
        "plain",
        "regions",
        "snip",
        "swap",
        "synflow",
        "zen",
        "zico",
    ] = "grad_norm"
    batches: int = 3
    images: int = 32

    affine: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.proxy not in ("all", *proxies.PROXIES):
            raise UsageError(f"proxy is '{self.proxy}': choose from all, {', '.join(proxies.PROXIES)}")
        for name, least in (("batches", 2 if self.proxy in ("zico", "all") else 1), ("images", 2)):
            if getattr(self, name) < least:
                raise UsageError(
                    f"{name} is {getattr(self, name)}: {self.proxy} needs a whole number of {least} or more"
                )

    @property
    def _asked(self) -> tuple[str, ...]:
        return proxies.PROXIES if self.proxy == "all" else (self.proxy,)

    def rank(self, task: Task) -> Ranking:
        torch.set_num_threads(task.recipe.threads)
        stamp = {name: value for name, value in task.data.provenance.items() if name != "method_code"} | {
            "code": code_of(__file__),
            "seed": task.seed,
            "space": task.space.name,
            "batches": self.batches,
            "images": self.images,
            "data": [task.recipe.split_seed, task.recipe.train_images],
            "sizes": list(task.space.sizes),
            "threads": task.recipe.threads,  # by which sums round
        }
        stamp.pop("precision", None)  # the recipe's, which decides nothing here
        began = time.monotonic()
        with Kept.beside(task.checkpoint, stamp) as kept:
            measured = self._measured(task, kept)
        scores = {name: _scores(name, task, measured) for name in self._asked}
        if self.proxy == "all":
            final = proxies.vote(scores)
            constant = [name for name, values in scores.items() if len(set(values)) == 1]
            history: dict[str, Any] = {"proxies": scores, "constant": constant}
        else:
            final = scores[self.proxy]
            if len(set(final)) == 1:
                raise NoRanking(f"every configuration has the same {self.proxy}, {final[0]}: {NO_RANKING}")
            history = {}
        parts = proxies.parts_of(self._asked)
        history["values"] = {part: [measured[str(c)][part] for c in task.space] for part in parts}
        images = self.batches * min(self.images, len(task.data.train)) * len(task.space)
        facts = {"precision": "fp32", "timings": {"seconds": round(time.monotonic() - began, 3)}}
        return Ranking(task.space.name, tuple(final), history=history | {"images": images}, provenance=facts)

    def _measured(self, task: Task, kept: Kept) -> dict[str, Values]:
        """All that is asked for, by configuration; what is kept is not measured again."""
        network = proxies.prepared(task.data.network(0, affine=True).to(task.device))
        drawn = list(self._batches(task))
        parts = proxies.parts_of(self._asked)
        found = kept.read()
        for number, config in enumerate(task.space, start=1):
            have = found.setdefault(str(config), {})
            missing = [part for part in parts if part not in have]
            if not missing:
                continue
            have.update(_measure(network, config, drawn, missing, task.seed))
            kept.write(found)
            task.progress(number / len(task.space), {"images": number * sum(len(y) for _, y in drawn)})
            if task.stop() and number < len(task.space):
                raise Stopped
        return found

    def _batches(self, task: Task) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Images (N, 3, S, S) in float32, whatever the recipe's precision, and labels (N,)."""
        half = task.data.train
        plain = replace(half.normalise, dtype=torch.float32, memory_format=torch.channels_last)
        for number in range(self.batches):
            order = stream("zero_cost", "images", task.seed, number).permutation(len(half))[: self.images]
            yield replace(half, normalise=plain).chosen(torch.from_numpy(order))


def _measure(network: torch.nn.Module, config: Config, drawn: Any, parts: list[str], seed: int) -> Values:
    try:
        return proxies.measure(network, config.path, drawn, parts, seed)
    except Failure as error:
        raise Failure(f"{config}, seed {seed}: {error}") from error


def _scores(name: str, task: Task, measured: Mapping[str, Values]) -> list[float]:
    """One score per configuration, canonical order."""

    def means(part: str) -> list[float]:
        return [math.fsum(v := measured[str(config)][part]) / len(v) for config in task.space]

    if name == "az_nas":
        macs = [float(costs.macs(task.space, config)) for config in task.space]
        return proxies.az_nas([*map(means, proxies.AZ_PARTS), macs])
    return means(name)
