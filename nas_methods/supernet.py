"""The one loop that sampling methods share: draw, one SGD step, reward; at the end evaluate every configuration.

Per iteration: draw a configuration and a model, take one SGD step of that model on a training batch, then
measure its accuracy on one validation batch (a fraction in [0, 1]): the reward (paper, sections 2.2 and 2.3).
Configuration, model and data are drawn from separate streams, each a function of (seed, iteration), so that a
checkpoint holds no generator and a killed search goes on bit for bit.
"""

from __future__ import annotations

import math
import operator
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import numpy as np
import torch

from benchmark.datasets import crops
from benchmark.datasheets import datasheet
from benchmark.errors import Failure
from benchmark.scoring.ranking import Ranking
from benchmark.spaces import costs
from benchmark.spaces.space import PoolingSpace
from benchmark.streams import stream
from benchmark.training.checkpoint import Checkpoint
from benchmark.training.engine import Learner
from benchmark.training.engine import learners as make_learners
from benchmark.training.memory import training_bytes
from benchmark.training.schedule import learning_rate
from nas_methods import Stopped, Task

VERSION = 1

State = dict[str, np.ndarray]
SNAPSHOTS = 100  # how many times at most a method's state and scores are kept for the figures


@dataclass(frozen=True)
class Step:
    """Where a search stands, and the random numbers of this iteration."""

    iteration: int
    iterations: int
    epoch: int
    epochs: int
    seed: int

    @cached_property
    def configuration(self) -> np.random.Generator:
        """For drawing the configuration."""
        return stream("configuration", self.seed, self.iteration)

    @cached_property
    def model(self) -> np.random.Generator:
        """For drawing the model."""
        return stream("model", self.seed, self.iteration)

    def within(self, share: float) -> bool:
        """Whether this iteration is one of the first `share` (0 to 1) of the search: a warm-up."""
        return self.iteration < round(share * self.iterations)


class Feed:
    """The batches of both halves by iteration: functions of (seed, iteration), whatever was asked for before."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._plan: tuple[int, crops.Augmentation] | None = None
        self._order: tuple[int, torch.Tensor] | None = None

    def train(self, iteration: int) -> tuple[torch.Tensor, torch.Tensor]:
        """An augmented batch of the training half."""
        half = self.task.data.train
        epoch, within = divmod(iteration, half.steps)
        if self._plan is None or self._plan[0] != epoch:
            self._plan = epoch, half.plan(self.task.seed, epoch)
        return half.train(self._plan[1], within)

    def validation(self, iteration: int) -> tuple[torch.Tensor, torch.Tensor]:
        """A batch of the validation half, which is gone through in a new order each time."""
        half = self.task.data.validation
        round_, at = divmod(iteration, half.steps)
        if self._order is None or self._order[0] != round_:
            drawn = stream("validation", self.task.seed, round_).permutation(len(half))
            self._order = round_, torch.from_numpy(drawn).to(self.task.device)
        return half.chosen(self._order[1][at * half.batch_size : (at + 1) * half.batch_size])


class Sampler:
    """Base of the sampling methods. A method supplies `start`, `pick` and `update`, and what differs of the rest.

    The state is a dict of plain numpy arrays; it is all that a method remembers, and the loop keeps it.
    """

    @property
    def models(self) -> int:
        """M, how many supernets are trained; the search lasts E x M epochs."""
        return 1

    def start(self, task: Task) -> State:
        """The state before the first iteration."""
        return {}

    def network(self, task: Task, model: int) -> torch.nn.Module:
        """Supernet number `model`, untrained."""
        return task.data.network(model)

    def pick(self, state: State, step: Step) -> tuple[int, int]:
        """(index of the configuration, number of the model) to train now."""
        raise NotImplementedError

    def choices(self, space: PoolingSpace) -> int:
        """How many there are to pick from: `pick` returns an index below it. A method may draw more than configurations."""
        return len(space)

    def path(self, space: PoolingSpace, index: int) -> tuple[int, ...]:
        """The resolutions (L,) that an index from `pick` stands for."""
        return space[index].path

    def update(self, state: State, picked: tuple[int, int], reward: float) -> State:
        """The state after a reward in [0, 1]."""
        return state

    def assign(self, state: State, step: Step, configurations: int) -> np.ndarray:
        """The model (C,) with which each configuration is evaluated at the end."""
        return np.zeros(configurations, dtype=np.int64)

    def shortlist(self, state: State, step: Step, configurations: int) -> tuple[np.ndarray, int] | None:
        """(cheap scores (C,), k) to evaluate only the k best of them; None evaluates every configuration."""
        return None

    def watch(self, state: State, step: Step) -> dict[str, np.ndarray]:
        """What figures want to see of the state, once per epoch."""
        return {}

    def observe(self, learners: Sequence[Learner], task: Task, step: Step) -> dict[str, Any]:
        """What figures want to see of the networks after an epoch: an observation, which leaves all as it was."""
        return {}

    def work(self, task: Task) -> float:
        """Expected MACs of the whole search, from which its time on this machine is told beforehand."""
        classes = datasheet(task.recipe.dataset).classes
        mean = sum(costs.macs(task.space, c, classes) for c in task.space) / len(task.space)
        return mean * sum(forward_passes(self, task))

    def memory(self, task: Task) -> float:
        """Bytes that the search takes at most, told beforehand."""
        numbers = max(costs.outputs(task.space, config.path) for config in task.space)
        return training_bytes(task.space, task.recipe, numbers, self.models, device=task.device)

    def rank(self, task: Task) -> Ranking:
        """The whole search."""
        return search(self, task)


def forward_passes(method: Sampler, task: Task) -> tuple[float, float]:
    """Images of the training loop and of the final evaluation, in forward passes of a mean configuration.

    A trained image counts three (forward, backward twice), the validation image of its reward one, and one each
    of the curve's.
    """
    recipe, train, validation = task.recipe, task.data.train, task.data.validation
    epochs = recipe.epochs * method.models
    images = epochs * train.steps * min(recipe.batch_size, len(train))
    curve = min(epochs, SNAPSHOTS) * len(task.space) * min(recipe.curve_images, len(validation))
    return 4.0 * images + curve, float(len(task.space) * (len(validation) + min(recipe.calibration_images, len(train))))


def _drawn(picked: Any, choices: int, models: int) -> tuple[Any, Any]:
    """What `pick` returned, if there is such an index and such a model: -1 would be the last one, without a word."""
    try:
        index, model = picked
    except (TypeError, ValueError):
        raise Failure(f"pick returned {picked}: give (index, number of the model)") from None
    if not _is_below(choices, index):
        raise Failure(f"pick returned {index}: give an index from 0 to {choices - 1}")
    if not _is_below(models, model):
        raise Failure(f"pick returned model {model}: give a number from 0 to {models - 1}")
    return index, model


def _is_below(count: int, number: Any) -> bool:
    """Whether it is a whole number, Python's or numpy's, from 0 to count - 1."""
    try:
        return 0 <= operator.index(number) < count
    except TypeError:
        return False


def _assigned(method: Sampler, state: State, step: Step, configurations: int) -> np.ndarray:
    """The model (C,) of each configuration, if `assign` gave one that there is for each."""
    models = np.asarray(method.assign(state, step, configurations))
    whole = models.shape == (configurations,) and np.issubdtype(models.dtype, np.integer)
    if not whole or models.min() < 0 or models.max() >= method.models:
        raise Failure(f"assign returned {models}: give {configurations} numbers from 0 to {method.models - 1}")
    return models


def search(method: Sampler, task: Task) -> Ranking:
    """Trains the supernets of a sampling method, then scores every configuration on the whole validation half.

    The result depends on the method's options, recipe, seed, data and device alone, not on interruptions.
    Raises Stopped at a checkpoint when asked to stop, Failure if the loss is no longer finite.
    """
    torch.set_num_threads(task.recipe.threads)
    stand = _Stand(method, task)
    while stand.iteration < stand.iterations:
        stand.train()
        stand.tell(stand.iteration, evaluated=0.0)
        stand.keep(due=stand.within == 0)  # a death without notice costs an epoch at most
    last = stand.step_at(stand.iterations - 1)
    models = _assigned(method, stand.state, last, len(task.space))
    cheap = method.shortlist(stand.state, last, len(task.space))
    chosen = range(len(task.space)) if cheap is None else np.argsort(-cheap[0], kind="stable")[: cheap[1]].tolist()
    for position, index in enumerate(chosen, start=1):
        if index not in stand.found:  # else evaluated before an interruption
            stand.found[index] = evaluate_configuration(stand.learners[models[index]], task, index, stand.epochs)
            stand.tell(stand.iterations, evaluated=position / len(chosen))
            stand.keep()
    # Whoever was not evaluated ranks below all that were: accuracies and cheap scores both lie in [0, 1].
    scores = np.zeros(len(task.space)) if cheap is None else cheap[0] - 2
    scores[list(stand.found)] = list(stand.found.values())
    facts = {"models": models.tolist(), "images": stand.iterations * stand.batch}
    timings = {"seconds": round(stand.seconds, 3), "curve": stand.clock}
    history = stand.history | facts
    return Ranking(task.space.name, tuple(scores.tolist()), history=history, provenance={"timings": timings})


class _Stand:
    """Where a search stands, all of which a checkpoint keeps, and what one iteration moves of it.

    learners   the supernets
    state      the method's
    iteration  how many are done
    rewards    their sum in this epoch
    history    curves for the figures
    clock      seconds at each point of the accuracies' curve
    found      the final accuracy of each configuration that has one by now
    """

    def __init__(self, method: Sampler, task: Task) -> None:
        recipe, train = task.recipe, task.data.train
        self.method, self.task = method, task
        self.epochs = recipe.epochs * method.models
        self.iterations = self.epochs * train.steps
        self.batch = min(recipe.batch_size, len(train))
        self.choices = method.choices(task.space)
        self.feed = Feed(task)
        training, final = forward_passes(method, task)
        self.training_share = training / (training + final)

        made = [method.network(task, m) for m in range(method.models)]
        self.learners = make_learners(made, recipe, torch.device(task.device), task.engine)
        self.state = method.start(task)
        self.iteration, self.rewards = 0, 0.0
        self.history: dict[str, list[Any]] = {"reward": [], "watched": [], "curve": []}
        self.clock: list[float] = []
        self.found: dict[int, float] = {}
        stamp = {"method": repr(method), "recipe": recipe.hash, "seed": task.seed} | dict(task.data.provenance)
        self.keeper = Checkpoint(task.checkpoint, stamp)
        saved = self.keeper.load()
        if saved:
            for learner, kept in zip(self.learners, saved["learners"], strict=True):
                learner.restore(kept)
            self.state = {name: value.numpy() for name, value in saved["state"].items()}
            self.iteration, self.rewards = saved["iteration"], saved["rewards"]
            self.history, self.clock, self.found = saved["history"], saved["clock"], saved["found"]
        self.began = time.monotonic() - (saved["seconds"] if saved else 0.0)

    @property
    def seconds(self) -> float:
        """What the search took, over all attempts if there were several; looking at curves is no part of it."""
        return time.monotonic() - self.began

    @property
    def within(self) -> int:
        """Iterations done in the epoch under way; 0 where one has just ended."""
        return self.iteration % self.task.data.train.steps

    def step_at(self, iteration: int) -> Step:
        return Step(iteration, self.iterations, iteration // self.task.data.train.steps, self.epochs, self.task.seed)

    def train(self) -> None:
        """One iteration: pick, train the pick, reward it; after an epoch's last one, continue the curves."""
        step = self.step_at(self.iteration)
        index, model = _drawn(self.method.pick(self.state, step), self.choices, len(self.learners))
        learner, path = self.learners[model], self.method.path(self.task.space, index)
        rate = learning_rate(self.task.recipe, step.iteration, step.iterations)
        loss, _ = learner.learn(*self.feed.train(step.iteration), path, rate)
        _, reward = learner.evaluate([self.feed.validation(step.iteration)], path)
        if not math.isfinite(float(loss)):  # after the reward, for which a GPU is waited for anyway
            raise Failure(f"the loss is {float(loss)} in iteration {step.iteration + 1}; try a lower --lr")
        self.state = self.method.update(self.state, (index, model), reward)
        self.rewards += reward
        self.iteration += 1
        if self.within == 0:
            self._end_epoch(step)

    def _end_epoch(self, step: Step) -> None:
        self.history["reward"].append(self.rewards / self.task.data.train.steps)
        self.rewards = 0.0
        every = max(1, math.ceil(self.epochs / SNAPSHOTS))
        if step.epoch % every == 0 or self.iteration == self.iterations:
            if seen := self.method.watch(self.state, step):
                values = {name: np.round(value, 5).tolist() for name, value in seen.items()}
                self.history["watched"].append({"epoch": step.epoch + 1} | values)
            if self.task.recipe.curve_images:
                self._look(step)
        now = time.monotonic()
        if seen := self.method.observe(self.learners, self.task, step):
            self.history.setdefault("observed", []).append({"epoch": step.epoch + 1} | seen)
        self.began += time.monotonic() - now  # the clock stood still, as for the curve

    def _look(self, step: Step) -> None:
        """Continues the curve of all accuracies, while the clock stands still."""
        now = time.monotonic()
        self.clock.append(round(now - self.began, 3))
        models = _assigned(self.method, self.state, step, len(self.task.space))
        point = {"epoch": step.epoch + 1, "images": self.iteration * self.batch}
        self.history["curve"].append(point | {"scores": glance(self.learners, models, self.task)})
        self.began += time.monotonic() - now

    def tell(self, iteration: int, evaluated: float) -> None:
        """Progress: iterations done, and the share of the final evaluation."""
        done = self.training_share * iteration / self.iterations + (1 - self.training_share) * evaluated
        epoch = -(-iteration // self.task.data.train.steps)
        self.task.progress(done, {"epoch": epoch, "images": iteration * self.batch})

    def keep(self, due: bool = False) -> None:
        """Keeps a checkpoint where one is due, or where the search is asked to stop. Raises Stopped then."""
        stopped = self.task.stop()
        if stopped or self.keeper.due or (due and self.keeper.affordable):
            self.keeper.save(
                {
                    "learners": [learner.state() for learner in self.learners],
                    "state": {name: torch.from_numpy(np.array(value)) for name, value in self.state.items()},
                    "iteration": self.iteration,
                    "rewards": self.rewards,
                    "seconds": self.seconds,
                    "history": self.history,
                    "found": self.found,
                    "clock": self.clock,
                }
            )
        if stopped:
            raise Stopped


def glance(learners: Sequence[Learner], models: np.ndarray, task: Task) -> list[float]:
    """Accuracies (C,), fractions, on the recipe's first `curve_images` validation images, with batch statistics.

    models: the model (C,) with which each configuration is tested.
    """
    validation = task.data.validation
    count = max(1, task.recipe.curve_images // validation.batch_size)
    some = list(islice(validation.plain(), count))
    return [
        round(learners[model].evaluate(some, config.path)[1], 6)
        for config, model in zip(task.space, models, strict=True)
    ]


def evaluate_configuration(learner: Learner, task: Task, index: int, unused_epoch: int) -> float:
    """Accuracy, a fraction, of one configuration on the whole validation half, by the recipe's option `bn`.

    unused_epoch: number of an epoch that was never trained; its augmented images calibrate the batch norms.
    """
    path = task.space[index].path
    train, recipe = task.data.train, task.recipe
    if recipe.bn == "batch":
        return learner.evaluate(task.data.validation.plain(), path)[1]
    plan = train.plan(task.seed, unused_epoch)
    count = max(1, min(recipe.calibration_images // recipe.batch_size, train.steps))
    with learner.calibrated(path, (train.train(plan, k)[0] for k in range(count))):
        return learner.evaluate(task.data.validation.plain(), path)[1]
