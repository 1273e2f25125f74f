"""The programs that take turns in `measure`, and how one measurement of one of them is taken.

A side is a function of a `Task` and of the user's environment that starts fresh processes and returns what they
measured: images per second of all of them together, and what else it can tell. One that cannot run raises `NotMeasured`.
"""

from __future__ import annotations

import os
import re
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from benchmark import cli
from benchmark.datasets import crops, named, sets
from benchmark.datasets.batches import Batches
from benchmark.errors import Failure
from benchmark.recipe import Recipe
from benchmark.running.launch import LEAN_ENVIRONMENT, launch
from benchmark.running.worker import Workers
from benchmark.spaces import networks
from benchmark.spaces.space import Config, load_space
from benchmark.training import train
from speed.memory import peak_memory

SPACE = load_space()
RECIPE = Recipe()
CPU = torch.device("cpu")
WARM_UP = 2  # events that set things up before a window opens
PATIENCE = 300.0  # seconds that a worker waits for the others before the measurement fails
EVALUATED = 0.4  # of a window's seconds: how long evaluation is measured


class NotMeasured(Exception):
    """A side that cannot run on this machine, and why, in a few words without paths."""


class Window:
    """Counts events for some seconds after a warm-up. `event` is True when enough was seen.

    `others` is where the workers of one measurement wait for each other just before their windows open. Each then
    goes on for one event after its own window, so that the last event of the others is not made easier.
    """

    def __init__(self, seconds: float, others: Barrier | None = None) -> None:
        self.seconds, self.others = seconds, others
        self.count = 0
        self.elapsed = self.busy = self.first = 0.0
        self._seen = 0
        self._closed = False
        self._created = time.perf_counter()

    def event(self) -> bool:
        self._seen += 1
        if self._seen == 1:
            self.first = time.perf_counter() - self._created
        if self._seen < WARM_UP:
            return False
        if self._seen == WARM_UP:
            if self.others is not None:
                self.others.wait(PATIENCE)
            self._began, self._busy = time.perf_counter(), time.process_time()
            return False
        if self._closed:
            return True
        self.count += 1
        self.elapsed = time.perf_counter() - self._began
        self.busy = time.process_time() - self._busy
        self._closed = self.elapsed >= self.seconds
        return self._closed and self.others is None

    @property
    def rate(self) -> float:
        """Events per second."""
        return self.count / self.elapsed


@dataclass(frozen=True)
class Task:
    """One measurement: the training of a configuration, or (None) the data path alone."""

    config: Config | None
    root: str | None  # of the real CIFAR-10; None: random images
    processes: int  # of ours, one thread each; threads of a user's loop
    seconds: float
    batch_size: int = RECIPE.batch_size
    precision: Literal["bf16", "fp32"] = RECIPE.precision  # of ours

    @property
    def recipe(self) -> Recipe:
        return replace(RECIPE, batch_size=self.batch_size, precision=self.precision)

    def __str__(self) -> str:
        return "data path" if self.config is None else str(self.config)


def images(root: str | None) -> sets.Dataset:
    """CIFAR-10, or as many random images of its shape: what they show costs no time."""
    if root is not None:
        return named.load("cifar10", root, download=False)
    draw = np.random.default_rng(0)
    pixels = torch.from_numpy(draw.integers(0, 256, (50_000, 32, 32, 3), np.uint8))
    train_set = sets.Images(pixels, torch.from_numpy(draw.integers(0, 10, 50_000)))
    return sets.Dataset("random", train_set, train_set.first(10_000), 10, (0.5,) * 3, (0.25,) * 3, "")


def _facts(window: Window, batch_size: int) -> dict[str, float]:
    """What every side reports. `first_step_seconds`: from the images being in memory to the end of the first batch."""
    return {
        "images_per_second": window.rate * batch_size,
        "cores_used": window.busy / window.elapsed,
        "first_step_seconds": window.first,
        "peak_memory_bytes": peak_memory(),
    }


# --- ours ---


def our_side(task: tuple[Task, Barrier], report: Callable[[Any], None], stop: Callable[[], bool]) -> bool:
    """What one of our workers does: the trainer itself, watched through its progress callback, then its evaluation."""
    what, barrier = task
    dataset = images(what.root)
    window = Window(what.seconds, barrier)
    if what.config is None:
        torch.set_num_threads(RECIPE.threads)
        _our_batches(dataset, what.recipe, window.event)
        report(_facts(window, what.batch_size))
        return True
    over = [False]

    def progress(fraction: float, facts: Mapping[str, Any]) -> None:
        over[0] = window.event()

    training = train.Training(SPACE, what.config, 0, what.recipe, dataset, CPU)
    training.run(progress=progress, stop=lambda: over[0])
    tested = Window(what.seconds * EVALUATED, barrier)
    _our_evaluation(dataset, what.config, what.recipe, tested.event)
    report(
        _facts(window, what.batch_size) | {"evaluation_images_per_second": tested.rate * what.batch_size}
    )  # memory at the end: of both
    return True


def _our_batches(dataset: sets.Dataset, recipe: Recipe, done: Callable[[], bool]) -> None:
    train_set = Batches.of(dataset.train, dataset, recipe, CPU)
    epoch = 0
    while True:
        plan = crops.augmentation(len(train_set), 0, epoch)
        for step in range(train_set.steps):
            train_set.train(plan, step)
            if done():
                return
        epoch += 1


def _our_evaluation(dataset: sets.Dataset, config: Config, recipe: Recipe, done: Callable[[], bool]) -> None:
    test_set = Batches.of(dataset.test, dataset, recipe, CPU)
    network = networks.ResNet(SPACE, dataset.classes)
    networks.initialise(network, 0)

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            for x, y in test_set.plain():
                if len(y) == recipe.batch_size:  # the last one of the set is short: not counted, so not evaluated
                    yield x, y
                    if done():  # `evaluate` has come back for the next one
                        return

    train.Learner(network, recipe, CPU).evaluate(batches(), config.path)


def together(function: Callable[..., bool], work: Any, processes: int) -> list[Any]:
    """What the workers report that run `function` on (work, barrier) at once, launched as the builder launches its own."""
    found: list[Any] = []
    barrier = get_context("spawn").Barrier(processes)
    outcome = launch(
        function,
        [(work, barrier)] * processes,
        Workers(processes, environment=LEAN_ENVIRONMENT),
        report=lambda position, news: found.append(news),
    )
    if outcome.interrupted:
        raise KeyboardInterrupt
    if outcome.failed:
        raise Failure(f"a worker failed: {next(iter(outcome.failed.values()))}")
    return found


def ours(task: Task, environment: Mapping[str, str]) -> dict[str, float]:
    """All our workers at once: rates add up; memory is that of the largest."""
    found = together(our_side, task, task.processes)
    combine = {"first_step_seconds": max, "peak_memory_bytes": max}
    return {key: combine.get(key, sum)(worker[key] for worker in found) for key in found[0]}


# --- what a user would write ---


def user_side(task: Task, compiled: bool) -> dict[str, float] | str:
    """The user's loop; where it fails, the traceback as text, for not every exception can travel."""
    try:
        from speed import plain

        dataset = images(task.root)
        window = Window(task.seconds)
        if task.config is not None:
            plain.train(dataset, task.config, task.recipe, task.processes, window.event, compiled)
        else:
            plain.batches(dataset, task.recipe, task.processes, window.event)
        return _facts(window, task.batch_size)
    except Exception:
        return traceback.format_exc()


def reason(trace: str) -> str:
    """Why a side could not run, from its traceback: a few words that name no path of this machine."""
    if "InvalidCxxCompiler" in trace:
        return "no C++ compiler"
    kinds = re.findall(r"^(?:\w+\.)*(\w*(?:Error|Exception|Failed|Pool))\b", trace, re.MULTILINE)
    return kinds[-1] if kinds else "it failed"


@contextmanager
def exact_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """This process's environment, for the time that others are started, is exactly that."""
    saved = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(saved)


def users_loop(task: Task, environment: Mapping[str, str], compiled: bool = False) -> dict[str, float]:
    """The user's loop in a process of its own, with the user's environment."""
    with exact_environment(environment), ProcessPoolExecutor(1, get_context("spawn")) as pool:
        try:
            result = pool.submit(user_side, task, compiled).result()
        except Exception as error:  # the process itself is gone
            result = f"{type(error).__name__}: {error}"
    if isinstance(result, str):
        cli.say(result)
        raise NotMeasured(reason(result))
    return result


@dataclass(frozen=True)
class Side:
    """measure: a Task and the user's environment in, facts out; raises NotMeasured where it cannot run.

    precision: of its matrix products; of ours what the task says. rounds: how often at most (None: in every round). feeds: it has a data path.
    """

    measure: Callable[[Task, Mapping[str, str]], dict[str, float]]
    precision: str
    rounds: int | None = None
    feeds: bool = True


# The first is the one that the others are compared with. Compiling takes the better part of a minute per configuration.
SIDES = {
    "ours": Side(ours, RECIPE.precision),
    "plain": Side(users_loop, "fp32"),
    "compiled": Side(partial(users_loop, compiled=True), "fp32", rounds=1, feeds=False),
}


# --- busy neighbours ---


def spin(parent: int) -> None:
    """Keeps one core busy until the parent is gone or ends it."""
    while os.getppid() == parent:
        for _ in range(1_000_000):
            pass


@contextmanager
def neighbours(count: int) -> Iterator[None]:
    """So many busy processes beside whatever happens meanwhile."""
    processes = [get_context("spawn").Process(target=spin, args=(os.getpid(),), daemon=True) for _ in range(count)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
            process.join()
