"""Training: the loop that makes a stand-alone network's record, checkpoints, and what the last bits depend on.

    train_alone(space, config, seed, recipe, dataset, device)     the way in: from beginning to end
    training(...)                the same step by step, a generator, so that several can take turns on a GPU
    fitting(learner, ...)        the loop of both, for who has a learner and two sets already: short trainings on halves
    followed(steps, progress)    runs such a generator to its end

`training` and the supernets' search put networks and batches together; both step and test through a `Learner` of
`benchmark.training.engine`. A method never trains by itself: short stand-alone trainings are this loop on the two halves.
"""

from __future__ import annotations

import hashlib
import io
import math
import os
import platform
import re
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmark.cli import say
from benchmark.datasets import crops, sets
from benchmark.datasets.batches import Batches, StreamedBatches, served
from benchmark.errors import Failure, UsageError, choices
from benchmark.recipe import CURVES, Recipe
from benchmark.running.files import write_atomically
from benchmark.spaces import costs, networks
from benchmark.spaces.space import Architecture, PoolingSpace
from benchmark.training.engine import Learner, learners

CHECKPOINT_SECONDS = 30.0
CHECKPOINT_FORMAT = 2  # goes up when a checkpoint of old must not be resumed by new code
DECIMALS = 6  # of accuracies in per cent: 41.98, where the floating point product would be 41.980000000000004


def device_named(name: str) -> torch.device:
    """The torch device for `auto`, `cpu`, `cuda` or `cuda:N`. Raises UsageError where it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", name, re.ASCII):
        raise UsageError(f"unknown device '{name}': {choices(name, ['auto', 'cpu', 'cuda', 'cuda:N'])}")
    device = torch.device("cuda:0" if name == "cuda" else name)  # with its number, as tensors state it
    if device.type == "cuda" and device.index >= torch.cuda.device_count():
        raise UsageError(f"device '{name}' is not there: torch sees {torch.cuda.device_count()} GPUs; use --device cpu")
    return device


@lru_cache
def device_label(device: torch.device) -> str:
    """The device's name as its maker gives it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


@lru_cache
def instruction_set(device: torch.device) -> str:
    """The instructions that torch's kernels choose from, for makers' names of processors hide them.

    Two processors of one name, or one with `ATEN_CPU_CAPABILITY` or `ONEDNN_MAX_CPU_ISA` set, may round differently.
    """
    if device.type == "cuda":
        return "sm_{}{}".format(*torch.cuda.get_device_capability(device))
    words = [torch.backends.cpu.get_cpu_capability()]
    for name in ("avx512_bf16", "amx_tile", "amx_fp16"):
        supported = getattr(torch.cpu, f"_is_{name}_supported", None)  # private, so it may go or change its name
        if supported is not None and supported():
            words.append(name)
    chosen = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "ONEDNN_DEFAULT_FPMATH_MODE")
    words += [f"{name}={os.environ[name]}" for name in chosen if os.environ.get(name)]
    return " ".join(words)


def numerics(recipe: Recipe, device: torch.device, dataset: sets.Dataset, engine: str = "eager") -> dict[str, Any]:
    """What the last bits of a result depend on, beside recipe and seed. A checkpoint is resumed under the same only."""
    libraries = {"cudnn": torch.backends.cudnn.version()} if device.type == "cuda" else {}
    if engine == "compiled":
        import triton  # it compiles the blocks

        libraries["triton"] = triton.__version__
    return libraries | {
        "device": device_label(device),
        "instructions": instruction_set(device),
        "engine": engine,
        "precision": recipe.precision,
        "numpy": np.__version__,  # it draws weights, order and crops
        "torch": str(torch.__version__),  # its own class could not be read back from a checkpoint
        "dataset": {"name": dataset.name, "checksum": dataset.checksum},
    }


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Cosine from `lr` to 0, stepped per batch: step 0 trains with the full rate."""
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * step / steps))


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The stamp and state in a checkpoint's file: a SHA-256, for torch checks no sums, and what torch saved."""
    content = path.read_bytes()
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        raise ValueError("the content does not match its checksum")
    return torch.load(io.BytesIO(content[32:]), map_location="cpu", weights_only=True)


@dataclass
class Checkpoint:
    """A file with everything that a killed training needs to go on as if nothing had happened.

    `stamp` says which training and which numerics; a checkpoint with another stamp is not resumed.
    """

    path: Path | None
    stamp: dict[str, Any]

    def __post_init__(self) -> None:
        self.stamp = self.stamp | {"format": CHECKPOINT_FORMAT}
        self._written = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """The state, or None where there is none that fits. One line says so where one had to be ignored."""
        if self.path is None or not self.path.exists():
            return None
        try:
            saved = read_checkpoint(self.path)
            stamp, state = saved["stamp"], saved["state"]
        except Exception as error:  # a file of any content may stand there; torch raises many kinds
            say(f"{self.path} is no checkpoint ({type(error).__name__}): this training starts afresh")
            return None
        if stamp != self.stamp:
            say(
                f"{self.path} was made by another version, device or data set, or with another probe: this training starts afresh"
            )
            return None
        return state

    @property
    def due(self) -> bool:
        return self.path is not None and time.monotonic() - self._written > CHECKPOINT_SECONDS

    def save(self, state: dict[str, Any]) -> None:
        if self.path is None:
            return
        buffer = io.BytesIO()
        torch.save({"stamp": self.stamp, "state": state}, buffer)
        payload = buffer.getvalue()
        write_atomically(self.path, hashlib.sha256(payload).digest() + payload)
        self._written = time.monotonic()


Outcome = tuple[dict[str, Any], float] | None  # ({test_accuracy, images, curves}, seconds), or None when stopped


def train_alone(
    space: PoolingSpace,
    config: Architecture,
    seed: int,
    recipe: Recipe,
    dataset: sets.Dataset,
    device: torch.device,
    checkpoint: Path | None = None,
    progress: Callable[[float, dict[str, Any]], None] = lambda fraction, facts: None,
    stop: Callable[[], bool] = lambda: False,
    engine: str = "eager",
) -> Outcome:
    """Trains one configuration from scratch, from beginning to end: `training` with a callback."""
    return followed(training(space, config, seed, recipe, dataset, device, checkpoint, stop, engine), progress)


def followed(
    steps: Generator[tuple[float, dict[str, Any]], None, Outcome], progress: Callable[[float, dict[str, Any]], None]
) -> Outcome:
    """What the steps of a training come to, their news handed to a callback."""
    while True:
        try:
            progress(*next(steps))
        except StopIteration as end:
            return end.value


def training(
    space: PoolingSpace,
    config: Architecture,
    seed: int,
    recipe: Recipe,
    dataset: sets.Dataset,
    device: torch.device,
    checkpoint: Path | None = None,
    stop: Callable[[], bool] = lambda: False,
    engine: str = "eager",
    probe: Callable[[torch.nn.Module], dict[str, Any]] | None = None,
) -> Generator[tuple[float, dict[str, Any]], None, Outcome]:
    """Trains one configuration, or any path, from scratch and tests it after every epoch.

    A generator: it yields (fraction done, facts) after each step, so that several runs can take turns on a GPU, and
    returns ({test_accuracy, images, curves}, seconds), accuracies in per cent, or None when `stop` ended it at a
    checkpoint. The result depends on (space, config, seed, recipe, data, device, engine) alone, not on neighbours or
    on being stopped, killed or resumed. Raises Failure if the loss is no longer finite.

    engine: one that works on the device (`engine.working_engine`).
    probe: `fitting`'s measure; a checkpoint with other curves than it gives is not resumed.
    """
    torch.set_num_threads(recipe.threads)
    dataset = dataset.reduced(recipe)
    train_set = served(dataset.train, dataset, recipe, device)
    test_set = served(dataset.test, dataset, recipe, device)
    network = networks.ResNet(space, dataset.classes)
    networks.initialise(network, seed)
    (learner,) = learners([network], recipe, device, engine)
    stamp = {"recipe": recipe.hash, "config": str(config), "seed": seed} | numerics(recipe, device, dataset, engine)
    stamp |= {"probe": probe.__name__} if probe else {}
    keeper, measure = Checkpoint(checkpoint, stamp), probe or (lambda network: {})
    return (yield from fitting(learner, config, seed, train_set, test_set, keeper, stop, measure))


def fitting(
    learner: Learner,
    config: Architecture,
    seed: int,
    train_set: Batches | StreamedBatches,
    test_set: Batches | StreamedBatches,
    keeper: Checkpoint,
    stop: Callable[[], bool] = lambda: False,
    measure: Callable[[torch.nn.Module], dict[str, Any]] = lambda network: {},
) -> Generator[tuple[float, dict[str, Any]], None, Outcome]:
    """The loop of `training`, from a learner and two sets on.

    measure: more curves, {name: value}, from the network as it stands at the end of each epoch.
    """
    recipe, device = learner.recipe, learner.device
    curves: dict[str, list[Any]] = {name: [] for name in CURVES}
    step, seconds = 0, 0.0
    sums = torch.zeros(2, dtype=torch.float64, device=device)  # of losses and of right answers; read once an epoch
    if saved := keeper.load():
        learner.restore(saved["learner"])
        curves, step, seconds = saved["curves"], saved["step"], saved["seconds"]
        sums += torch.tensor(saved["sums"], dtype=torch.float64, device=device)
    began = time.monotonic() - seconds

    def keep() -> None:
        state = {"learner": learner.state(), "curves": curves, "step": step, "seconds": time.monotonic() - began}
        keeper.save(state | {"sums": sums.tolist()})

    steps = train_set.steps
    total = steps * recipe.epochs
    batch = min(recipe.batch_size, len(train_set))
    with closing(_batches(train_set, seed, step, total)) as batches:
        for x, y in batches:
            epoch, within = divmod(step, steps)
            loss, right = learner.learn(x, y, config.path, learning_rate(recipe, step, total))
            sums += torch.stack((loss.double(), right.double()))
            step += 1
            if within + 1 == steps:
                loss_sum, right_sum = sums.tolist()
                if not math.isfinite(loss_sum):
                    raise Failure(
                        f"{config} seed {seed}: the loss is {loss_sum} in epoch {epoch + 1}; try a lower --lr"
                    )
                with closing(test_set.plain()) as tested:
                    test_loss, test_fraction = learner.evaluate(tested, config.path)
                if not math.isfinite(test_loss):
                    raise Failure(
                        f"{config} seed {seed}: the test loss is {test_loss} in epoch {epoch + 1}; try a lower --lr"
                    )
                fractions = right_sum / (steps * batch), test_fraction
                train_accuracy, test_accuracy = (round(100 * fraction, DECIMALS) for fraction in fractions)
                values = (loss_sum / steps, train_accuracy, test_loss, test_accuracy)
                for name, value in (dict(zip(CURVES, values, strict=True)) | measure(learner.network)).items():
                    curves.setdefault(name, []).append(value)
                sums.zero_()
            yield step / total, {"epoch": epoch + 1, "images": step * batch}
            if stop():
                keep()
                return None
            if keeper.due or (within + 1 == steps and step < total):  # a death without notice costs an epoch at most
                keep()
    results = {"test_accuracy": curves["test_accuracy"][-1], "images": total * batch, "curves": curves}
    return results, time.monotonic() - began


def _batches(
    train_set: Batches | StreamedBatches, seed: int, step: int, total: int
) -> Generator[sets.Pair, None, None]:
    """The batches of a whole training from a step on, epoch after epoch."""
    while step < total:
        epoch, within = divmod(step, train_set.steps)
        plan = crops.augmentation(len(train_set), seed, epoch).to(train_set.device)
        with closing(train_set.epoch(plan, within)) as batches:
            yield from batches
        step += train_set.steps - within


def work(space: PoolingSpace, config: Architecture, recipe: Recipe, train_images: int, eval_images: int) -> float:
    """MACs of a whole training: three forward passes per trained image, one per tested image."""
    return costs.path_macs(space, config.path) * recipe.epochs * (3 * train_images + eval_images)
