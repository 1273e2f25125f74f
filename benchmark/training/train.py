"""Training: the one loop over epochs that makes a network's record.

    training = Training(space, config, seed, recipe, dataset, device)      what is trained, on what: decides the result
    outcome = training.run(checkpoint, progress, stop)                     from beginning to end; how it is watched
    training.steps(checkpoint, stop)                                       step by step, so that several can take turns

Below it stands the loop, for who has a learner and two sets of batches already, as short trainings on halves have:
`fitting(Fit(learner, config, seed, train_set, test_set), checkpoint, stop)`. A new curve is a `probe` of the Fit, a new
schedule belongs into `benchmark.training.schedule`. A method never trains a stand-alone network by itself.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from benchmark.datasets import sets
from benchmark.datasets.batches import Batches, StreamedBatches, served
from benchmark.datasheets import datasheet
from benchmark.errors import Failure
from benchmark.recipe import CURVES, Recipe
from benchmark.spaces import costs, networks
from benchmark.spaces.space import Architecture, PoolingSpace
from benchmark.training.checkpoint import Checkpoint
from benchmark.training.devices import numerics
from benchmark.training.engine import Learner, learners
from benchmark.training.schedule import learning_rate

DECIMALS = 6  # of accuracies in per cent: 41.98, where the floating point product would be 41.980000000000004
REPORT_SECONDS = 0.1  # between two reports of one training

Outcome = tuple[dict[str, Any], float] | None  # ({test_accuracy, images, curves}, seconds), or None when stopped
News = tuple[float, dict[str, Any]]  # after each step: (fraction done, {epoch, images})
Steps = Generator[News, None, Outcome]
Progress = Callable[[float, dict[str, Any]], None]
Stop = Callable[[], bool]
Probe = Callable[[torch.nn.Module], dict[str, Any]]


def _unwatched(fraction: float, facts: dict[str, Any]) -> None:
    pass


def _never() -> bool:
    return False


def _nothing(network: torch.nn.Module) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Training:
    """The training of one configuration, or of any path, from scratch. Its result depends on these fields alone.

    engine  one that works on the device (`engine.working_engine`)
    probe   as a Fit's; a checkpoint with other curves than it gives is not resumed
    """

    space: PoolingSpace
    config: Architecture
    seed: int
    recipe: Recipe
    dataset: sets.Dataset
    device: torch.device
    engine: str = "eager"
    probe: Probe | None = None

    def run(self, checkpoint: Path | None = None, progress: Progress = _unwatched, stop: Stop = _never) -> Outcome:
        """The training from beginning to end: `steps`, their news handed to a callback."""
        return followed(self.steps(checkpoint, stop), progress)

    def steps(self, checkpoint: Path | None = None, stop: Stop = _never) -> Steps:
        """Trains, and tests after every epoch.

        A generator: it yields (fraction done, {epoch, images}) after each step, so that several trainings can take
        turns on a GPU, and returns ({test_accuracy, images, curves}, seconds), accuracies in per cent, or None when
        `stop` ended it at a checkpoint. Neighbours and being stopped, killed or resumed change no bit of the result.
        Raises Failure if the loss is no longer finite.

        checkpoint: the file from which it goes on and into which it is kept; None keeps nothing.
        """
        torch.set_num_threads(self.recipe.threads)
        dataset = self.dataset.sized_for(self.space, self.recipe.side).reduced(self.recipe)
        train_set = served(dataset.train, dataset, self.recipe, self.device)
        test_set = served(dataset.test, dataset, self.recipe, self.device)
        network = networks.ResNet(self.space.at(self.recipe.side), dataset.classes)
        networks.initialise(network, self.seed)
        (learner,) = learners([network], self.recipe, self.device, self.engine)
        stamp = {"recipe": self.recipe.hash, "config": str(self.config), "seed": self.seed}
        stamp |= {"probe": self.probe.__name__} if self.probe else {}
        keeper = Checkpoint(checkpoint, stamp | numerics(self.recipe, self.device, dataset, self.engine))
        fit = Fit(learner, self.config, self.seed, train_set, test_set, self.probe or _nothing)
        return (yield from fitting(fit, keeper, stop))


def followed(steps: Steps, progress: Progress) -> Outcome:
    """What the steps of a training come to, their news handed to a callback."""
    while True:
        try:
            progress(*next(steps))
        except StopIteration as end:
            return end.value


def in_turns(steps: Steps, progress: Progress) -> Generator[None, None, Outcome]:
    """The same for an item of a worker's, which takes its turn after every step."""
    while True:
        try:
            progress(*next(steps))
        except StopIteration as end:
            return end.value
        yield


def now_and_then(report: Callable[[Any], None]) -> Progress:
    """Progress as one report of all news, but seldom: a GPU takes hundreds of steps a second."""
    reported = -math.inf

    def progress(fraction: float, facts: dict[str, Any]) -> None:
        nonlocal reported
        if time.monotonic() - reported > REPORT_SECONDS:
            report({"fraction": fraction} | facts)
            reported = time.monotonic()

    return progress


@dataclass(frozen=True)
class Fit:
    """What the loop fits: a learner's network, along one path, to a set of batches, tested on another.

    probe  more curves, {name: value}, from the network as it stands at the end of each epoch; it must draw nothing
           from torch's generators and change nothing
    """

    learner: Learner
    config: Architecture
    seed: int
    train_set: Batches | StreamedBatches
    test_set: Batches | StreamedBatches
    probe: Probe = _nothing

    @property
    def steps(self) -> int:
        """Of the whole training, all epochs together."""
        return self.train_set.steps * self.learner.recipe.epochs

    @property
    def batch(self) -> int:
        """Images per step."""
        return min(self.learner.recipe.batch_size, len(self.train_set))

    def batches(self, step: int) -> Generator[sets.Pair, None, None]:
        """The batches of the whole training from a step on, epoch after epoch."""
        while step < self.steps:
            epoch, within = divmod(step, self.train_set.steps)
            plan = self.train_set.plan(self.seed, epoch)
            with closing(self.train_set.epoch(plan, within)) as batches:
                yield from batches
            step += self.train_set.steps - within


def fitting(fit: Fit, keeper: Checkpoint, stop: Stop = _never) -> Steps:
    """The loop: learn each batch, test after each epoch, keep a checkpoint now and then. As `Training.steps`."""
    stand = _Stand(fit, keeper)
    with closing(fit.batches(stand.step)) as batches:
        for x, y in batches:
            stand.learn(x, y)
            epoch_over = stand.step % fit.train_set.steps == 0
            if epoch_over:
                stand.end_epoch()
            epoch = -(-stand.step // fit.train_set.steps)
            yield stand.step / fit.steps, {"epoch": epoch, "images": stand.step * fit.batch}
            if stop():
                stand.keep()
                return None
            # A death without notice costs an epoch, or twenty checkpoints' time; what is finished needs no checkpoint.
            if keeper.due or (epoch_over and stand.step < fit.steps and keeper.affordable):
                stand.keep()
    return stand.results(), stand.seconds


class _Stand:
    """Where a fit stands, all of which a checkpoint keeps: steps taken, curves, this epoch's sums, seconds."""

    def __init__(self, fit: Fit, keeper: Checkpoint) -> None:
        self.fit, self.keeper = fit, keeper
        self.step, seconds = 0, 0.0
        self.curves: dict[str, list[Any]] = {name: [] for name in CURVES}
        # Of losses and of right answers in this epoch, on the device: read once an epoch, for reading waits.
        self.sums = torch.zeros(2, dtype=torch.float64, device=fit.learner.device)
        if saved := keeper.load():
            fit.learner.restore(saved["learner"])
            self.curves, self.step, seconds = saved["curves"], saved["step"], saved["seconds"]
            self.sums += torch.tensor(saved["sums"], dtype=torch.float64, device=fit.learner.device)
        self.began = time.monotonic() - seconds

    @property
    def seconds(self) -> float:
        """Over all attempts, if there were several."""
        return time.monotonic() - self.began

    def keep(self) -> None:
        state = {"learner": self.fit.learner.state(), "curves": self.curves, "step": self.step, "seconds": self.seconds}
        self.keeper.save(state | {"sums": self.sums.tolist()})

    def learn(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """One step on a batch."""
        fit = self.fit
        rate = learning_rate(fit.learner.recipe, self.step, fit.steps)
        loss, right = fit.learner.learn(x, y, fit.config.path, rate)
        self.sums += torch.stack((loss.double(), right.double()))
        self.step += 1

    def end_epoch(self) -> None:
        """Tests the network and continues every curve by one point."""
        fit, steps = self.fit, self.fit.train_set.steps
        loss_sum, right_sum = self.sums.tolist()
        self._require_finite("loss", loss_sum)
        with closing(fit.test_set.plain()) as tested:
            test_loss, test_fraction = fit.learner.evaluate(tested, fit.config.path)
        self._require_finite("test loss", test_loss)
        fractions = right_sum / (steps * fit.batch), test_fraction
        train_accuracy, test_accuracy = (round(100 * fraction, DECIMALS) for fraction in fractions)
        values = (loss_sum / steps, train_accuracy, test_loss, test_accuracy)
        for name, value in (dict(zip(CURVES, values, strict=True)) | fit.probe(fit.learner.network)).items():
            self.curves.setdefault(name, []).append(value)
        self.sums.zero_()

    def _require_finite(self, what: str, value: float) -> None:
        if not math.isfinite(value):
            fit, epoch = self.fit, self.step // self.fit.train_set.steps
            raise Failure(f"{fit.config} seed {fit.seed}: the {what} is {value} in epoch {epoch}; try a lower --lr")

    def results(self) -> dict[str, Any]:
        return {
            "test_accuracy": self.curves["test_accuracy"][-1],  # of the last epoch, never of the best
            "images": self.fit.steps * self.fit.batch,
            "curves": self.curves,
        }


def work(space: PoolingSpace, config: Architecture, recipe: Recipe, train_images: int, eval_images: int) -> float:
    """MACs of a whole training: three forward passes per trained image, one per tested image."""
    classes = datasheet(recipe.dataset).classes
    macs = costs.path_macs(space.at(recipe.side), config.path, classes)
    return macs * recipe.epochs * (3 * train_images + eval_images)
