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
from benchmark.errors import Failure
from benchmark.scoring.ranking import Ranking
from benchmark.spaces import costs
from benchmark.spaces.space import PoolingSpace
from benchmark.streams import stream
from benchmark.training.checkpoint import Checkpoint
from benchmark.training.engine import Learner
from benchmark.training.engine import learners as make_learners
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
            self._plan = epoch, crops.augmentation(len(half), self.task.seed, epoch).to(torch.device(self.task.device))
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

    def work(self, task: Task) -> float:
        """Expected MACs of the whole search, from which its time on this machine is told beforehand."""
        mean = sum(costs.macs(task.space, c) for c in task.space) / len(task.space)
        return mean * sum(forward_passes(self, task))

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
    recipe, space, train = task.recipe, task.space, task.data.train
    device = torch.device(task.device)
    torch.set_num_threads(recipe.threads)
    learners = make_learners([method.network(task, m) for m in range(method.models)], recipe, device, task.engine)
    state = method.start(task)
    epochs = recipe.epochs * method.models
    iterations = epochs * train.steps
    snapshot_every = max(1, math.ceil(epochs / SNAPSHOTS))

    iteration, rewards, seconds = 0, 0.0, 0.0
    history: dict[str, list[Any]] = {"reward": [], "watched": [], "curve": []}
    clock: list[float] = []  # seconds at each point of the curve
    found: dict[int, float] = {}
    stamp = {"method": repr(method), "recipe": recipe.hash, "seed": task.seed} | dict(task.data.provenance)
    keeper = Checkpoint(task.checkpoint, stamp)
    if saved := keeper.load():
        for learner, kept in zip(learners, saved["learners"], strict=True):
            learner.restore(kept)
        state = {name: value.numpy() for name, value in saved["state"].items()}
        iteration, rewards, seconds = saved["iteration"], saved["rewards"], saved["seconds"]
        history, found, clock = saved["history"], saved["found"], saved["clock"]
    began = time.monotonic() - seconds

    def keep() -> None:
        keeper.save(
            {
                "learners": [learner.state() for learner in learners],
                "state": {name: torch.from_numpy(np.array(value)) for name, value in state.items()},
                "iteration": iteration,
                "rewards": rewards,
                "seconds": time.monotonic() - began,
                "history": history,
                "found": found,
                "clock": clock,
            }
        )

    def step_at(i: int) -> Step:
        return Step(i, iterations, i // train.steps, epochs, task.seed)

    choices = method.choices(space)
    batch = min(recipe.batch_size, len(train))
    training, final = forward_passes(method, task)
    training_share = training / (training + final)
    feed = Feed(task)
    while iteration < iterations:
        step = step_at(iteration)
        within = iteration % train.steps
        index, model = _drawn(method.pick(state, step), choices, len(learners))
        path = method.path(space, index)
        loss, _ = learners[model].learn(*feed.train(iteration), path, learning_rate(recipe, iteration, iterations))
        _, reward = learners[model].evaluate([feed.validation(iteration)], path)
        if not math.isfinite(float(loss)):  # after the reward, for which a GPU is waited for anyway
            raise Failure(f"the loss is {float(loss)} in iteration {iteration + 1}; try a lower --lr")
        state = method.update(state, (index, model), reward)
        rewards += reward
        iteration += 1
        if within + 1 == train.steps:
            history["reward"].append(rewards / train.steps)
            rewards = 0.0
            if step.epoch % snapshot_every == 0 or iteration == iterations:
                if seen := method.watch(state, step):
                    values = {name: np.round(value, 5).tolist() for name, value in seen.items()}
                    history["watched"].append({"epoch": step.epoch + 1} | values)
                if recipe.curve_images:
                    now = time.monotonic()
                    clock.append(round(now - began, 3))
                    accuracies = glance(learners, _assigned(method, state, step, len(space)), task)
                    history["curve"].append(
                        {"epoch": step.epoch + 1, "images": iteration * batch, "scores": accuracies}
                    )
                    began += time.monotonic() - now  # looking is no part of what a search costs
        task.progress(training_share * iteration / iterations, {"epoch": step.epoch + 1, "images": iteration * batch})
        if task.stop():
            keep()
            raise Stopped
        if keeper.due or within + 1 == train.steps:  # a death without notice costs an epoch at most
            keep()

    last = step_at(iterations - 1)
    models = _assigned(method, state, last, len(space))
    cheap = method.shortlist(state, last, len(space))
    chosen = np.arange(len(space)) if cheap is None else np.argsort(-cheap[0], kind="stable")[: cheap[1]]
    for position, index in enumerate(chosen.tolist(), start=1):
        if index in found:  # evaluated before an interruption
            continue
        found[index] = evaluate_configuration(learners[models[index]], task, index, epochs)
        task.progress(
            training_share + (1 - training_share) * position / len(chosen),
            {"epoch": epochs, "images": iterations * batch},
        )
        if task.stop():
            keep()
            raise Stopped
        if keeper.due:
            keep()

    # Whoever was not evaluated ranks below all that were: accuracies and cheap scores both lie in [0, 1].
    scores = np.zeros(len(space)) if cheap is None else cheap[0] - 2
    scores[list(found)] = list(found.values())
    facts = {"models": models.tolist(), "images": iterations * batch}
    # Over all attempts, if there were several.
    timings = {"seconds": round(time.monotonic() - began, 3), "curve": clock}
    return Ranking(space.name, tuple(scores.tolist()), history=history | facts, provenance={"timings": timings})


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
    plan = crops.augmentation(len(train), task.seed, unused_epoch).to(learner.device)
    count = max(1, min(recipe.calibration_images // recipe.batch_size, train.steps))
    with learner.calibrated(path, (train.train(plan, k)[0] for k in range(count))):
        return learner.evaluate(task.data.validation.plain(), path)[1]
