"""The trainings that `conet` and `short_training` share: every configuration alone, for a few epochs, on one half.

What they leave is kept beside the search's checkpoint, in `trainings/KEY/`, one JSON file per configuration, and with
it the checkpoint of the training under way. KEY is a hash over all that decides them, so that whichever method comes
second finds every training done, and goes on with one that was interrupted.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from benchmark.cli import say
from benchmark.errors import UsageError
from benchmark.files import write_atomically
from benchmark.recipe import SearchRecipe
from benchmark.running.claims import claim
from benchmark.scoring.ranking import Ranking
from benchmark.spaces import costs
from benchmark.spaces.space import Config
from benchmark.training import train
from benchmark.training.checkpoint import CHECKPOINT_FORMAT, Checkpoint
from benchmark.training.engine import learners
from benchmark.training.memory import training_bytes
from nas_methods import Busy, Stopped, Task
from nas_methods.stamps import code_of

VERSION = 1

Measure = Callable[[nn.Module], list[list[float]]]


@dataclass(frozen=True)
class Training:
    """What is kept of a configuration's training of E' epochs.

    accuracy  on the validation half after each epoch, fractions, (E',)
    measured  of the network after each epoch's last update, (E', convolutions, 2)
    images    that were trained on, repetitions included
    seconds   over all attempts, if there were several
    """

    accuracy: list[float]
    measured: list[list[list[float]]]
    images: int
    seconds: float


@dataclass(frozen=True)
class Shelf:
    """A folder of trainings that only one process holds; None keeps nothing. `stamp` is all that decides them."""

    folder: Path | None
    stamp: Mapping[str, Any]

    @classmethod
    @contextmanager
    def beside(cls, checkpoint: Path | None, stamp: Mapping[str, Any]) -> Iterator[Shelf]:
        """The shelf for this stamp, in the folder of a search's checkpoint. Raises Busy where another process has it."""
        if checkpoint is None:
            yield cls(None, stamp)
            return
        key = hashlib.sha256(json.dumps(stamp, sort_keys=True).encode()).hexdigest()[:12]
        folder = checkpoint.parent / "trainings" / key
        folder.mkdir(parents=True, exist_ok=True)
        with claim(folder / "lock", wait=True) as mine:
            if not mine:
                raise Busy
            yield cls(folder, stamp)

    def _path(self, config: Config, suffix: str) -> Path | None:
        return self.folder and self.folder / ("-".join(map(str, config.layers)) + suffix)

    def checkpoint(self, config: Config) -> Checkpoint:
        """Of the training under way."""
        return Checkpoint(self._path(config, ".pt"), {**self.stamp, "config": str(config)})

    def read(self, config: Config) -> Training | None:
        """The training of a configuration; None where there is none. A line says so where one had to be ignored."""
        path = self._path(config, ".json")
        if path is None or not path.exists():
            return None
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            if (record.pop("stamp"), record.pop("config")) != (self.stamp, str(config)):
                raise ValueError("it is of another training")
            return Training(**record)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            say(f"{path} is no record of this training ({type(error).__name__}: {error}): it is made again")
            return None

    def keep(self, config: Config, training: Training) -> None:
        if path := self._path(config, ".json"):
            record = {"stamp": self.stamp, "config": str(config)} | asdict(training)
            write_atomically(path, (json.dumps(record, allow_nan=False) + "\n").encode())

    def sweep(self, config: Config) -> None:
        """Removes the checkpoint of a training that is kept, halves of it too: they may be there for a kill before this."""
        if path := self._path(config, ".pt"):
            for left in path.parent.glob(f"{path.name}*"):
                left.unlink(missing_ok=True)


@dataclass(frozen=True)
class Alone:
    """Base of the methods that judge configurations by short stand-alone trainings.

    As in the ground truth, all configurations start from the same weights and see the same images in the same order,
    functions of the seed; but they see the training half alone, and are tested on the validation half.
    """

    epochs_each: int = 2

    affine: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.epochs_each < 1:
            raise UsageError(f"epochs_each is {self.epochs_each}: it must be a whole number of 1 or more")

    def _recipe(self, task: Task) -> SearchRecipe:
        return replace(task.recipe, epochs=self.epochs_each, curve_images=0)  # the recipe's own are supernets'

    def _works(self, task: Task) -> list[float]:
        half, recipe = task.data.train, self._recipe(task)
        images = half.steps * min(half.batch_size, len(half))
        return [train.work(task.space, config, recipe, images, len(task.data.validation)) for config in task.space]

    def work(self, task: Task) -> float:
        """MACs of all trainings, from which their time on this machine is told beforehand."""
        return sum(self._works(task))

    def memory(self, task: Task) -> float:
        """Bytes that the largest of them takes, told beforehand: they are made one after the other."""
        numbers = max(costs.outputs(task.space, config.path) for config in task.space)
        return training_bytes(task.space, task.recipe, numbers, device=task.device)

    def trainings(self, task: Task, measure: Measure) -> list[Training]:
        """The training of every configuration, in canonical order; one that is kept already is not made again.

        measure: (convolutions, 2) numbers of a network; the code of its file decides what is kept, too.
        Raises Stopped at a checkpoint when asked to stop, Busy while another process makes the same trainings,
        Failure if a loss is no longer finite.
        """
        torch.set_num_threads(task.recipe.threads)
        stamp = {name: value for name, value in task.data.provenance.items() if name != "method_code"} | {
            "code": code_of(__file__) | code_of(inspect.getfile(measure)),
            "format": CHECKPOINT_FORMAT,
            "recipe": self._recipe(task).hash,
            "scipy": version("scipy"),
            "seed": task.seed,
            "space": task.space.name,
        }
        works = dict(zip(task.space, self._works(task), strict=True))
        with Shelf.beside(task.checkpoint, stamp) as shelf:
            found = {config: training for config in task.space if (training := shelf.read(config))}
            if found:
                say(f"seed {task.seed}: {len(found)} of {len(task.space)} trainings are there already")
            for config in task.space:
                if config not in found:
                    progress = partial(
                        _report,
                        task,
                        sum(works[done] for done in found) / sum(works.values()),
                        works[config] / sum(works.values()),
                        sum(training.images for training in found.values()),
                    )
                    found[config] = self._train(task, config, measure, shelf.checkpoint(config), progress)
                    shelf.keep(config, found[config])
                shelf.sweep(config)
        return [found[config] for config in task.space]

    def _train(
        self,
        task: Task,
        config: Config,
        measure: Measure,
        keeper: Checkpoint,
        progress: Callable[[float, dict[str, Any]], None],
    ) -> Training:
        halves = task.data
        network = halves.network(0, affine=True)
        (learner,) = learners([network], self._recipe(task), torch.device(task.device), task.engine)
        fit = train.Fit(
            learner,
            config,
            task.seed,
            halves.train,
            halves.validation,
            probe=lambda network: {"measured": measure(network)},
        )
        outcome = train.followed(train.fitting(fit, keeper, task.stop), progress)
        if outcome is None:
            raise Stopped
        results, seconds = outcome
        curves = results["curves"]
        accuracy = [round(per_cent / 100, train.DECIMALS + 2) for per_cent in curves["test_accuracy"]]
        return Training(accuracy, curves["measured"], results["images"], round(seconds, 3))

    def ranking(
        self, task: Task, trained: Sequence[Training], series: Sequence[Sequence[float]], history: Mapping[str, Any]
    ) -> Ranking:
        """The last of each configuration's scores (C, E'), with what the trainings cost, whichever method made them."""
        images = sum(training.images for training in trained)
        by_epoch = [list(scores) for scores in zip(*series, strict=True)]
        curve = [
            {"epoch": e + 1, "images": images * (e + 1) // len(by_epoch), "scores": by_epoch[e]}
            for e in range(len(by_epoch))
        ]
        seconds = sum(training.seconds for training in trained)
        shares = [round(seconds * (e + 1) / len(by_epoch), 3) for e in range(len(by_epoch))]  # epochs take alike
        recipe = self._recipe(task)  # as trained: the search's own is of supernets
        return Ranking(
            task.space.name,
            tuple(by_epoch[-1]),
            history={**history, "images": images, "curve": curve},
            provenance={
                "recipe": recipe.to_dict(),
                "recipe_hash": recipe.hash,
                "recipe_label": task.space.label(recipe),
                "timings": {"seconds": round(seconds, 3), "curve": shares},
            },
        )


def _report(task: Task, before: float, share: float, images: int, fraction: float, facts: dict[str, Any]) -> None:
    """The progress of one training as progress of all of them."""
    task.progress(before + share * fraction, facts | {"images": images + facts["images"]})
