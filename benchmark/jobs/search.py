"""A search on its own: a method with all that decides its ranking, carried out seed by seed and kept.

What `launch` sends to workers, here and on other machines; `benchmark.evaluate` plans searches and scores what they find.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nas_methods
from benchmark import cli
from benchmark.errors import Failure, UsageError
from benchmark.files import bounded, write_atomically
from benchmark.recipe import SearchRecipe
from benchmark.running.claims import Taken, Terms, Work, Workplace, carry_out
from benchmark.scoring.ranking import Ranking, holdable, ranking_json, read_ranking, scores_csv
from benchmark.spaces.space import PoolingSpace
from nas_methods.stamps import is_same_code

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Search:
    """A method with everything that decides its ranking, but for the seed."""

    method: str  # name or path
    options: dict[str, Any]
    space: PoolingSpace
    recipe: SearchRecipe
    folder: Path
    data_root: str | None
    device: str
    engine: str
    method_code: dict[str, int | str]  # of what `nas_methods.stamps` said when the search began
    made_by: dict[str, Any]
    terms: Terms = field(default_factory=Terms)
    loader: str = "resident"
    traceback: bool = False  # whether an error is also told as Python does, for whoever writes the method

    @property
    def name(self) -> str:
        return Path(self.method).stem if self.method.endswith(".py") else self.method

    def instance(self) -> Any:
        return nas_methods.load(self.method)(**self.options)

    def path(self, seed: int) -> Path:
        """Where the ranking of a seed is kept; the name holds a hash of all that decides it."""
        decides = [self.name, self.options, self.space.name, self.recipe.hash]
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]
        return self.folder / "rankings" / f"{bounded(f'{self.name}-{digest}')}-seed{seed}.json"

    def place(self, seed: int) -> Workplace:
        """Where a search of a seed is under way, and keeps what it needs to go on."""
        path = self.path(seed).absolute()  # whatever folder the method changes to
        return Workplace(path.parent / "work", path.stem)

    def begun(self, seed: int) -> bool:
        """Whether there is a ranking of a seed, or a part of the way to one."""
        return self.done(seed) or self.place(seed).checkpoint.exists()

    def done(self, seed: int) -> bool:
        """Whether the ranking of a seed is there by now."""
        return self.path(seed).exists()

    def set_aside(self, seed: int) -> None:
        """Puts the ranking of a seed out of the way, if there is one: it is kept as NAME.json.replaced."""
        path = self.path(seed)
        with suppress(FileNotFoundError):
            os.replace(path, path.with_name(f"{path.name}.replaced"))
            cli.say(f"seed {seed}: {path.name} is kept as {path.name}.replaced and made again")

    def kept(self, seed: int) -> bool:
        """Whether the ranking of a seed is there already. Raises UsageError if other code made it."""
        if not self.done(seed):
            return False
        path = self.path(seed)
        made = read_ranking(path).provenance.get("method_code")
        if not is_same_code(made, self.method_code):
            now = ", ".join(f"{part} {version}" for part, version in self.method_code.items())
            raise UsageError(
                f"{path} was made by other code than that of now ({now}): --fresh searches again, or use another --out"
            )
        self.place(seed).sweep()
        cli.say(f"seed {seed}: {path} is there already")
        return True

    def task(self, seed: int, **more: Any) -> nas_methods.Task:
        from benchmark.training import devices

        device = str(devices.device_named(self.device))
        halves = partial(self._halves, seed, more.get("engine", "eager"))
        if not nas_methods.trains(nas_methods.load(self.method)):
            halves = partial(_refuse_data, self.name)
        return nas_methods.Task(self.space.at(self.recipe.side), self.recipe, seed, device, halves, **more)

    def _halves(self, seed: int, engine: str) -> nas_methods.Halves:
        from benchmark.datasets import loaders
        from benchmark.datasets.batches import served
        from benchmark.datasets.halves import split_of, store_split
        from benchmark.spaces import networks
        from benchmark.training import devices

        device, space = devices.device_named(self.device), self.space.at(self.recipe.side)
        dataset = loaders.load(self.recipe.dataset, self.data_root, loader=self.loader)
        dataset.sized_for(self.space, self.recipe.side)
        split = split_of(dataset, self.recipe.split_seed)
        store_split(split, dataset, self.folder / "splits")
        halves = [
            served(
                dataset.fitted(dataset.train.subset(indices).first(count), self.recipe), dataset, self.recipe, device
            )
            for indices, count in ((split.train, self.recipe.train_images), (split.validation, self.recipe.eval_images))
        ]

        def network(model: int, shared: bool = True, affine: bool = False) -> torch.nn.Module:
            made = networks.ResNet(space, dataset.classes, affine=affine, shared=shared)
            networks.initialise(made, seed, model)
            return made

        facts = devices.numerics(self.recipe, device, dataset, engine)
        facts["split"] = {"seed": split.seed, "sha256": split.sha256}
        facts["method_code"] = self.method_code  # a checkpoint of other code is not resumed
        return nas_methods.Halves(halves[0], halves[1], network, facts)

    def __call__(
        self, seed: int, report: Callable[[Any], None], stop: Callable[[], bool]
    ) -> Generator[None, None, bool | None]:
        """What a worker does with one seed: ranks, and keeps the ranking."""
        place, path = self.place(seed), self.path(seed).absolute()

        def make(stop: Callable[[], bool]) -> Generator[None, None, Ranking | None]:
            yield from ()  # a method takes no turns
            return self._rank(seed, report, stop, place.checkpoint)

        def keep(ranking: Ranking) -> None:
            write_atomically(path.with_suffix(".csv"), scores_csv(ranking).encode())
            write_atomically(path, ranking_json(ranking).encode())  # last: it says that all is done

        return (yield from carry_out(Work(place, path.exists, make, keep), self.terms, stop))

    def _rank(
        self, seed: int, report: Callable[[Any], None], stop: Callable[[], bool], checkpoint: Path
    ) -> Ranking | None:
        """The method's ranking with all that is known of how it came about; None when asked to stop."""
        from benchmark.training import devices, engine

        device, method = devices.device_named(self.device), self.instance()
        chosen = "eager"
        if nas_methods.trains(method):
            affine = getattr(method, "affine", False)
            chosen = engine.working_engine(self.engine, self.space, self.recipe, device, affine)
        task = self.task(
            seed,
            progress=partial(_tell, report),
            stop=stop,
            checkpoint=checkpoint,
            engine=chosen,
        )
        began = time.monotonic()
        try:
            with engine.owning_up(device, f"seed {seed}"), engine.own_stream(device):
                ranking = method.rank(task)
        except nas_methods.Stopped:
            return None
        except Exception as error:
            if self.traceback and not isinstance(error, Taken):
                cli.say(traceback.format_exc())
            raise
        if not isinstance(ranking, Ranking):
            raise Failure(f"method '{self.name}' returned {type(ranking).__name__} where a Ranking was expected")
        if ranking.space != self.space.name:
            raise Failure(f"method '{self.name}' ranked {ranking.space}, but was asked for {self.space.name}")
        provenance = {"seed": seed, "method_code": self.method_code} | self.made_by
        saw_data = "data" in vars(task)
        if saw_data:
            recipe = {
                "recipe": self.recipe.to_dict(),
                "recipe_hash": self.recipe.hash,
                "recipe_label": self.space.label(self.recipe),
            }
            provenance |= recipe | dict(task.data.provenance)
        provenance["timings"] = {"seconds": round(time.monotonic() - began, 3)}
        ranking, faults = holdable(ranking)
        for fault in faults:
            cli.say(f"{self.name} seed {seed}: {fault}; the scores are kept")
        return replace(
            ranking,
            method=self.name,
            options=self.options,
            dataset=self.recipe.dataset if saw_data else None,
            provenance=provenance
            | dict(ranking.provenance)
            | {"seed": seed, "method_code": self.method_code}
            | self.made_by,
        )


def _tell(report: Callable[[Any], None], fraction: Any, facts: Any) -> None:
    """What a method says of its progress, as the line on the screen needs it. Raises UsageError for what is none."""
    try:
        news: dict[str, Any] = {key: int(facts[key]) for key in ("epoch", "images") if key in facts}
        news["fraction"] = min(max(float(fraction), 0.0), 1.0)
        if math.isnan(float(fraction)) or any(abs(value) > sys.maxsize for value in news.values()):
            raise ValueError(fraction)
    except (TypeError, ValueError, OverflowError):
        what = f"task.progress({str(fraction)[:40]}, {str(facts)[:80]})"
        raise UsageError(
            f"{what}: it takes a number from 0 to 1 and a dict, in which `epoch` and `images` are whole numbers"
        ) from None
    report(news)


def _refuse_data(method: str) -> nas_methods.Halves:
    raise Failure(f"method '{method}' says trains = False and asks for task.data: remove that line from its class")
