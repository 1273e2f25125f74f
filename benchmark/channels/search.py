"""CONet's search of widths (Hosseini et al., 2021, Algorithm 2): trials one after the other, each kept as a record.

    OUT/channels/NAME/search.json        what is searched, and how
    OUT/channels/NAME/trials/000.json    a trial: widths, curves, what every convolution learned, decisions and why
    OUT/channels/NAME/result.json        what was found; `--network` takes this file again

A search killed at any moment goes on where it stopped, with the records that it would have had.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmark.channels.graph import ChannelGraph
from benchmark.channels.networks import make
from benchmark.channels.reading import readers, said
from benchmark.channels.results import SCHEMA, base_of, checksum_of, file_of, is_file, read_result
from benchmark.channels.rules import ChannelRecipe, Moving, moved, why
from benchmark.channels.trial import Trial, convolutions, epochs_of, learner_of
from benchmark.datasets import loaders
from benchmark.errors import UsageError, choices
from benchmark.files import bounded, write_atomically
from benchmark.given import read_bytes
from benchmark.provenance import checksum
from benchmark.running.claims import Terms, Work, Workplace, carry_out
from benchmark.streams import stream
from benchmark.training.devices import device_named, numerics
from benchmark.training.engine import owning_up
from benchmark.training.train import in_turns, now_and_then

DIGITS = 6  # significant ones of slopes in the decisions; the trials' sides are kept in full


@dataclass(frozen=True)
class Subject:
    """A network whose widths may be chosen, by the words that name it.

    name   as `--network` takes it: a name, a file's function, or a result of a search
    stem   cifar or imagenet, for networks by name
    """

    name: str
    stem: str
    classes: int
    side: int  # of images

    def network(self) -> nn.Module:
        """At its own widths. Raises UsageError where there is none, or where its logits are not of these classes."""
        if self.name.endswith(".json"):
            result = read_result(Path(self.name))
            if result["classes"] != self.classes:
                raise UsageError(
                    f"{self.name} is a network of {result['classes']} classes, but the data has {self.classes}: "
                    f"give its data set, {result['dataset']}"
                )
            base = Subject(result["network"], result["stem"], self.classes, self.side)
            graph = base.graph()
            if "file" in result and file_of(base.name)["file"] != result["file"]:
                raise UsageError(
                    f"{self.name} is of '{base.name}' as that was before the file was changed: its widths may mean others "
                    "now; search again, or go back to that file"
                )
            missing = {v.name for v in graph.variables} - set(result["widths"])
            if missing:
                raise UsageError(f"{self.name} states widths of another network: '{min(missing)}' is not among them")
            return graph.rebuild(result["widths"])
        network = make(self.name, self.classes, self.stem)
        with torch.no_grad():
            try:
                shape = tuple(network.eval()(self.images).shape)
            except Exception as error:  # whatever a user's file does
                why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                raise UsageError(f"network '{self.name}' does not run on images of {self.side} pixels: {why}") from None
        if shape != (2, self.classes):
            raise UsageError(
                f"network '{self.name}' makes {shape[1:]} of an image, but the data has {self.classes} classes"
            )
        return network.train()

    def require_layout(self, layout: str) -> None:
        """Raises UsageError where a file's network cannot be trained in a memory layout, as where it calls `view`."""
        if not is_file(self.base) or layout != "channels_last":
            return
        network = self.network().eval().to(memory_format=torch.channels_last)
        try:
            with torch.no_grad():
                network(self.images.to(memory_format=torch.channels_last))
        except Exception as error:  # whatever a user's file does; it runs in the other layout
            why = " ".join(f"{type(error).__name__}: {error}".split())[:150]
            raise UsageError(
                f"network '{self.name}' does not run in the memory layout channels_last ({why}): write reshape in the place "
                "of view, or give --memory-layout contiguous"
            ) from None

    @property
    def images(self) -> torch.Tensor:
        return torch.zeros(2, 3, self.side, self.side)

    def graph(self) -> ChannelGraph:
        """Raises UsageError where there is no width to choose."""
        graph = ChannelGraph.of(self.network(), self.images)
        if not graph.variables:
            raise UsageError(
                f"network '{self.name}' has no width that may be chosen: images and classes fix all of them"
            )
        return graph

    @property
    def base(self) -> str:
        """The name of the network that a result is of, else its own."""
        return base_of(self.name)

    def source(self) -> str:
        """SHA-256 of a file that makes the network, in part; empty for one by name."""
        path = Path(self.name.partition(":")[0])
        return checksum_of(path) if path.suffix in (".py", ".json") else ""


@dataclass(frozen=True)
class Search:
    """One search: of a network's widths, with one delta and one seed, in a folder of its own below `out`."""

    subject: Subject
    recipe: ChannelRecipe
    delta: float
    seed: int
    out: Path
    source: str = ""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.delta) and self.delta >= 0):
            raise UsageError(f"delta is {self.delta}: it must be a finite number of 0 or more")

    @property
    def name(self) -> str:
        short = Path(self.subject.name.partition(":")[0]).stem or "network"
        if self.subject.name.endswith(".json"):  # all of which are called result.json
            short = f"{self.subject.base}-from-{self.source}"
        short += "-imagenet" if self.subject.stem != "cifar" else ""
        label = f"{short}-{self.recipe.dataset}-delta{self.delta:g}-{self.recipe.label}"
        return bounded(f"{label}-{self.recipe.hash}-seed{self.seed}")

    @property
    def folder(self) -> Path:
        return self.out / "channels" / self.name

    def identity(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "network": self.subject.base,
            "from": self.source,
            "stem": self.subject.stem,
            "classes": self.subject.classes,
            "dataset": self.recipe.dataset,
            "delta": self.delta,
            "seed": self.seed,
            "recipe": self.recipe.to_dict(),
            "recipe_hash": self.recipe.hash,
        }

    def prepare(self) -> None:
        """Makes the folder. Raises UsageError where another search lies in it."""
        for part in ("trials", "work"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        path = self.folder / "search.json"
        if not path.exists():
            write_atomically(path, (json.dumps(self.identity(), indent=1) + "\n").encode())
            return
        try:
            there = json.loads(read_bytes(path))
        except (OSError, ValueError, RecursionError):
            there = {}
        mine = self.identity()
        if there != mine:
            what = next((k for k in mine if not isinstance(there, dict) or there.get(k) != mine[k]), "schema")
            raise UsageError(
                f"{path} is of a search with another '{what}': nothing of it is touched; use another --out, or go on with "
                "what it states"
            )

    def trial_path(self, number: int) -> Path:
        return self.folder / "trials" / f"{number:03d}.json"

    @property
    def result_path(self) -> Path:
        return self.folder / "result.json"

    def read_trial(self, number: int) -> dict[str, Any] | None:
        """A trial's record; None where there is none. Raises UsageError for one that cannot be believed."""
        path = self.trial_path(number)
        try:
            record = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict) or record.get("checksum") != checksum(record) or record.get("trial") != number:
            raise UsageError(f"{path} is no whole record of trial {number}: remove it to have it made again")
        return record

    def seed_of(self, number: int) -> int:
        """Of a trial: it decides fresh weights, order and augmentation."""
        return int(stream("channels", "trial", self.seed, number).integers(2**31))

    def start(self, graph: ChannelGraph) -> dict[str, Moving]:
        """Where every width stands before the first trial."""
        start = self.recipe.start
        return {
            v.name: Moving(
                v.width if start is None else max(v.floor, v.floor * round(start / v.floor)), self.recipe.phi
            )
            for v in graph.variables
        }

    def decided(
        self, graph: ChannelGraph, states: Mapping[str, Moving], record: Mapping[str, Any]
    ) -> tuple[dict[str, Moving], dict[str, Any]]:
        """(where every width stands after a trial, the decisions in words and numbers)."""
        history = epochs_of(record["convolutions"], record["curves"]["sides"])
        read = readers(graph.variables, self.subject.base, self.recipe.sides)
        after, decisions = dict(states), {}
        for variable in graph.variables:
            now, name = states[variable.name], variable.name
            if not read[name]:
                decisions[name] = {"from": now.width, "to": now.width, "why": "no convolution speaks for it"}
                continue
            found = said(history, read[name])
            unit = math.lcm(2, variable.floor)
            after[name] = moved(now, found.slope, found.condition, self.delta, self.recipe, unit)
            decisions[name] = {
                "slope": _significant(found.slope),
                "condition": _significant(found.condition),
                "from": now.width,
                "to": after[name].width,
                "phi": after[name].phi,
                "why": why(now, after[name], found.slope, found.condition, self.delta, self.recipe),
            }
        return after, decisions


def _significant(number: float) -> float:
    return float(f"{number:.{DIGITS}g}")


@dataclass(frozen=True)
class SearchRun:
    """What a worker does with one search: claims it, makes what is missing of it. Yields after every step."""

    data_root: str | None
    device: str
    loader: str
    provenance: dict[str, Any]
    terms: Terms = field(default_factory=Terms)

    def done(self, search: Search) -> bool:
        return search.result_path.exists()

    def __call__(
        self, search: Search, report: Callable[[Any], None], stop: Callable[[], bool]
    ) -> Generator[None, None, bool | None]:
        place = Workplace(search.folder / "work", "search")
        work = Work(
            place,
            lambda: False,  # trial by trial, what is kept is read and not made again
            lambda stop: self._run(search, report, stop),
            lambda found: self._write_result(search, *found),
        )
        return (yield from carry_out(work, self.terms, stop))

    def _run(
        self, search: Search, report: Callable[[Any], None], stop: Callable[[], bool]
    ) -> Generator[None, None, tuple[ChannelGraph, Mapping[str, Moving]] | None]:
        """The graph, and where its widths are after the last trial."""
        device, recipe = device_named(self.device), search.recipe
        dataset = data(recipe.dataset, self.data_root, self.loader)
        graph = search.subject.graph()
        states, seldom = search.start(graph), now_and_then(report)
        for number in range(recipe.trials):
            record = search.read_trial(number)
            place = Workplace(search.folder / "work", f"{number:03d}")
            if record is None:
                widths = {name: state.width for name, state in states.items()}
                network = graph.rebuild(widths, search.seed_of(number))
                names = convolutions(network)
                stamp = {"search": search.identity(), "trial": number}
                label = f"{search.name} trial {number}"
                trial = Trial(label, network, recipe, learner_of, search.seed_of(number), dataset, device, stamp)

                def progress(fraction: float, facts: dict[str, Any], number: int = number) -> None:
                    whole = facts | {"images": facts["images"] * (number + 1)}
                    seldom((number + fraction) / recipe.trials, whole)

                with owning_up(device, label):
                    outcome = yield from in_turns(trial.steps(place.checkpoint, stop), progress)
                if outcome is None:
                    return None
                results, seconds = outcome
                facts = numerics(recipe, device, dataset) | self.provenance | {"loader": self.loader}
                finished = datetime.now(UTC).isoformat(timespec="seconds")
                record = {
                    "schema": SCHEMA,
                    "trial": number,
                    "widths": widths,
                    "parameters": graph.parameters(widths),
                    "macs": graph.macs(widths),
                    "convolutions": names,
                    **results,
                    "provenance": facts,
                    "timings": {"seconds": round(seconds, 3), "finished": finished},
                }
                after, record["decisions"] = search.decided(graph, states, record)
                if number >= recipe.moves:
                    after, record["decisions"] = states, {}
                record["checksum"] = checksum(record)
                stop()  # an attempt that was given up for dead leaves no record
                text = json.dumps(record, allow_nan=False) + "\n"
                write_atomically(search.trial_path(number), text.encode(), beside=place.folder)
            else:
                after = search.decided(graph, states, record)[0] if number < recipe.moves else states
            place.sweep()
            states = after
        return graph, states

    def _write_result(self, search: Search, graph: ChannelGraph, states: Mapping[str, Moving]) -> None:
        widths = {name: state.width for name, state in states.items()}
        records = [search.read_trial(number) or {} for number in range(search.recipe.trials)]
        result = (
            search.identity()
            | file_of(search.subject.base)
            | {
                "widths": widths,
                "parameters": graph.parameters(widths),
                "macs": graph.macs(widths),
                "own": {"parameters": graph.parameters(), "macs": graph.macs()},
                "history": [
                    {key: record[key] for key in ("trial", "parameters", "macs", "test_accuracy", "widths")}
                    for record in records
                ],
                "seconds": round(sum(record["timings"]["seconds"] for record in records), 3),
                "provenance": records[-1]["provenance"],
            }
        )
        write_atomically(search.result_path, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())


@lru_cache(maxsize=1)
def data(name: str, root: str | None, loader: str) -> Any:
    """The data set, loaded once for all that a worker does."""
    return loaders.load(name, root, download=False, loader=loader)


def require_readers(graph: ChannelGraph, base: str, sides: str) -> None:
    """Raises UsageError where no convolution says anything of any width."""
    if not any(readers(graph.variables, base, sides).values()):
        raise UsageError(
            f"network '{base}' has no convolution that speaks for a width: a search goes by ranks of convolutions; "
            "--scale compound needs none"
        )


def subject_of(name: str, stem: str | None, dataset: Any) -> Subject:
    """The network of that name for a data set; stem None: that of a result, else cifar.

    Raises UsageError where it cannot be searched on it.
    """
    if stem not in (None, "cifar", "imagenet"):
        raise UsageError(f"unknown stem '{stem}': {choices(stem, ('cifar', 'imagenet'))}")
    if name.endswith(".json"):
        own = read_result(Path(name))["stem"]
        if stem not in (None, own):
            raise UsageError(f"{name} is of a network with the stem {own}: leave --stem out")
        stem = own
    images = dataset.train
    side = images.pixels.shape[1] if hasattr(images, "pixels") else images.shape[0]
    return Subject(name, stem or "cifar", dataset.classes, side)
