"""Measures how many times as fast this suite is as the loop a user would write. From the root of a checkout:

    python -m speed.measure            # minutes; a quiet machine, please
    python -m speed.measure --quick    # about a minute, to see it work; its numbers are not to be quoted

Training: our trainer as the builder runs it (one process of one thread per core, recipe `paper`) against
`speed.plain`, in seconds per trained image at a few configurations. A line through these (seconds = a + b MACs)
gives all 36, and the time-weighted ratio is the sum of their seconds over the sum of ours.
Data path: augmented batches per second, nothing trained, on the same number of cores.

The two sides take turns, each in fresh processes, and medians over rounds are compared. Quote ratios, not seconds.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmark import cli, costs, data, provenance, train
from benchmark.errors import Failure, UsageError
from benchmark.files import write_atomically
from benchmark.launch import LEAN_ENVIRONMENT, launch
from benchmark.recipe import Recipe
from benchmark.space import Config, load_space

SPACE = load_space()
RECIPE = Recipe()
CPU = torch.device("cpu")
SPREAD_OVER_MACS = ("[1,1,8]", "[2,4,4]", "[4,3,3]", "[6,2,2]", "[8,1,1]")
SEEDS = 3  # of a whole table
WARM_UP = 2  # batches that set things up before a window opens
REQUIRED = {"training": 2.2, "data path": 15.0}
QUIET = 0.95  # the share of its cores that our side gets on a machine without neighbours


class Window:
    """Counts events for some seconds after a warm-up. `event` is True when the window is over.

    `opening` is called once, just before the window opens: workers wait there for each other.
    """

    def __init__(self, seconds: float, opening: Callable[[], Any] = lambda: None) -> None:
        self.seconds, self.opening = seconds, opening
        self.count = -WARM_UP
        self.elapsed = self.busy = 0.0

    def event(self) -> bool:
        self.count += 1
        if self.count < 0:
            return False
        if self.count == 0:
            self.opening()
            self._began, self._busy = time.perf_counter(), time.process_time()
        self.elapsed = time.perf_counter() - self._began
        self.busy = time.process_time() - self._busy
        return self.count > 0 and self.elapsed >= self.seconds

    def result(self) -> dict[str, float]:
        """Images per second and the share of one core that this process had."""
        return {"rate": self.count * RECIPE.batch_size / self.elapsed, "share": self.busy / self.elapsed}


@dataclass(frozen=True)
class Task:
    """One measurement: the training of a configuration, or (None) the data path alone."""

    config: Config | None
    root: str | None  # of the real CIFAR-10; None: random images
    cores: int
    seconds: float


def images(root: str | None) -> data.Dataset:
    """CIFAR-10, or as many random images of its shape: what they show costs no time."""
    if root is not None:
        return data.load("cifar10", root, download=False)
    draw = np.random.default_rng(0)
    pixels = torch.from_numpy(draw.integers(0, 256, (50_000, 32, 32, 3), np.uint8))
    train_set = data.Images(pixels, torch.from_numpy(draw.integers(0, 10, 50_000)))
    return data.Dataset("random", train_set, train_set.first(10_000), 10, (0.5,) * 3, (0.25,) * 3, "")


def our_side(task: tuple[Task, Barrier], report: Callable[[Any], None], stop: Callable[[], bool]) -> bool:
    """What one of our workers does: the trainer itself, watched through its progress callback."""
    what, barrier = task
    window = Window(what.seconds, partial(barrier.wait, timeout=300))
    dataset = images(what.root)
    if what.config is not None:
        over = [False]

        def progress(fraction: float, facts: Mapping[str, Any]) -> None:
            over[0] = window.event()

        train.train_alone(SPACE, what.config, 0, RECIPE, dataset, CPU, None, progress, lambda: over[0])
    else:
        torch.set_num_threads(RECIPE.threads)
        _our_batches(dataset, window.event)
    report(window.result())
    return True


def _our_batches(dataset: data.Dataset, done: Callable[[], bool]) -> None:
    train_set = data.Batches.of(dataset.train, dataset, RECIPE, CPU)
    epoch = 0
    while True:
        plan = data.augmentation(len(train_set), 0, epoch)
        for step in range(train_set.steps):
            train_set.train(plan, step)
            if done():
                return
        epoch += 1


def ours(task: Task) -> dict[str, float]:
    """All our workers at once, as the builder launches them; their rates add up."""
    found: list[dict[str, float]] = []
    barrier = get_context("spawn").Barrier(task.cores)
    outcome = launch(
        our_side,
        [(task, barrier)] * task.cores,
        processes=task.cores,
        report=lambda position, news: found.append(news),
        environment=LEAN_ENVIRONMENT,
    )
    if outcome.interrupted:
        raise KeyboardInterrupt
    if outcome.failed:
        raise Failure(f"a worker failed: {next(iter(outcome.failed.values()))}")
    return {"rate": sum(f["rate"] for f in found), "share": sum(f["share"] for f in found) / task.cores}


def plain_side(task: Task) -> dict[str, float]:
    from speed import plain

    window = Window(task.seconds)
    dataset = images(task.root)
    if task.config is not None:
        plain.train(dataset, task.config, RECIPE, task.cores, window.event)
    else:
        plain.batches(dataset, RECIPE, task.cores, window.event)
    return window.result()


def plain(task: Task) -> dict[str, float]:
    """The user's loop in a process of its own, with the user's environment."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(plain_side, task).result()


SIDES: dict[str, Callable[[Task], dict[str, float]]] = {"ours": ours, "plain": plain}


def take_turns(tasks: Sequence[Task], rounds: int) -> list[dict[str, Any]]:
    """Every task by every side in every round; who goes first alternates, so that drift falls on both alike."""
    found = []
    for turn in range(rounds):
        for task in tasks:
            for side in sorted(SIDES, reverse=turn % 2 == 1):
                what = "data path" if task.config is None else str(task.config)
                load = os.getloadavg()[0]
                result = SIDES[side](task)
                found.append({"round": turn, "what": what, "side": side, "load": round(load, 2)} | result)
                cli.say(f"round {turn + 1}/{rounds}  {what:<10} {side:<6} {result['rate']:>9,.0f} images/s")
    return found


def line(macs: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """(a, b) of the least-squares line seconds = a + b MACs."""
    b, a = np.polyfit(macs, seconds, 1)
    return float(a), float(b)


def training_ratio(seconds: Mapping[str, Mapping[str, float]]) -> tuple[float, dict[str, float]]:
    """(time-weighted ratio, per side the mean seconds per image over all 36), from side -> config -> seconds."""
    mean = {}
    for side, by_config in seconds.items():
        a, b = line([costs.macs(SPACE, config) for config in by_config], list(by_config.values()))
        mean[side] = sum(a + b * costs.macs(SPACE, config) for config in SPACE) / len(SPACE)
    return mean["plain"] / mean["ours"], mean


def whole_table(seconds_per_image: float) -> float:
    """Seconds for 36 configurations x 3 seeds. A tested image is counted as a third of a trained one, as MACs have it."""
    per_epoch = 50_000 + 10_000 / 3
    return len(SPACE) * SEEDS * RECIPE.epochs * per_epoch * seconds_per_image


def summary(found: Sequence[Mapping[str, Any]], configs: Sequence[Config], rounds: int) -> dict[str, Any]:
    """The ratios with what they came from; `by_round` is their spread."""

    def rates(side: str, what: str) -> list[float]:
        return [f["rate"] for f in found if f["side"] == side and f["what"] == what]

    def ratio(choose: Callable[[list[float]], float]) -> tuple[float, dict[str, float]]:
        return training_ratio({s: {str(c): 1 / choose(rates(s, str(c))) for c in configs} for s in SIDES})

    weighted, mean = ratio(median)
    pace = {side: median(rates(side, "data path")) for side in SIDES}
    return {
        "training": {
            "ratio": weighted,
            "by_round": [ratio(lambda values, r=r: values[r])[0] for r in range(rounds)],
            "by_config": {
                str(c): {
                    "mmacs": costs.macs(SPACE, c) / 1e6,
                    **{f"{side}_images_per_second": median(rates(side, str(c))) for side in SIDES},
                    "ratio": median(rates("ours", str(c))) / median(rates("plain", str(c))),
                }
                for c in configs
            },
            "seconds_per_image_mean_of_36": mean,
        },
        "data path": {
            "ratio": pace["ours"] / pace["plain"],
            "by_round": [o / p for o, p in zip(rates("ours", "data path"), rates("plain", "data path"), strict=True)],
            **{f"{side}_images_per_second": value for side, value in pace.items()},
        },
        "whole_table_seconds": {side: whole_table(value) for side, value in mean.items()},
        "share_of_cores_ours": median(f["share"] for f in found if f["side"] == "ours"),
    }


def hardware(cores: int) -> dict[str, Any]:
    return {
        "cpu": train.device_label(CPU),
        "cores": cores,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "system": platform.platform(),
    }


def print_table(result: Mapping[str, Any], out: Path) -> None:
    training, path, machine = result["training"], result["data path"], result["hardware"]
    print(f"{machine['cpu']}, {machine['cores']} cores, torch {result['torch']}, images: {result['images']}")
    print(f"\n{'training':<12}{'MMACs':>8}{'ours':>12}{'plain':>12}{'ratio':>9}   (images/s, medians of {result['n']})")
    for config, row in training["by_config"].items():
        rates = f"{row['ours_images_per_second']:>12,.0f}{row['plain_images_per_second']:>12,.0f}"
        print(f"{config:<12}{row['mmacs']:>8.1f}{rates}{row['ratio']:>8.2f}x")
    rates = f"{path['ours_images_per_second']:>12,.0f}{path['plain_images_per_second']:>12,.0f}"
    print(f"{'data path':<12}{'':>8}{rates}{path['ratio']:>8.1f}x")
    print()
    for name, text in (("training", "training, time-weighted over the 36"), ("data path", "data path, equal cores")):
        spread = result[name]["by_round"]
        range_ = f"{min(spread):.2f} to {max(spread):.2f} by round"
        print(f"{text:<37}{result[name]['ratio']:>7.2f}x   ({range_}; required {REQUIRED[name]}x)")
    seconds = result["whole_table_seconds"]
    days = {side: cli.readable(value) for side, value in seconds.items()}
    print(f"whole table, 108 runs x {RECIPE.epochs} epochs: ours {days['ours']}, plain {days['plain']}")
    if result["share_of_cores_ours"] < QUIET:
        print(f"not a quiet machine: our workers got {result['share_of_cores_ours']:.0%} of their cores; measure again")
    print(f"\nwritten: {out}")


def arguments() -> cli.Parser:
    parser = cli.Parser(prog="python -m speed.measure", description=__doc__)
    parser.add_argument("--rounds", type=cli.positive, metavar="N", help="turns of each side; default 5, quick 1")
    parser.add_argument("--configs", nargs="+", metavar="C", help=f"default {' '.join(SPREAD_OVER_MACS)}")
    parser.add_argument("--out", default="results/speed", metavar="DIR", help="default ./results/speed")
    parser.add_argument("--data", metavar="DIR", help="default $NASBENCH_POOLING_DATA, else the user's cache")
    parser.add_argument("--quick", action="store_true", help="one round, two configurations, short windows")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    options = arguments().parse(words)
    chosen = SPREAD_OVER_MACS[:: len(SPREAD_OVER_MACS) - 1] if options.quick else SPREAD_OVER_MACS
    configs = SPACE.select(options.configs or chosen)
    if len({costs.macs(SPACE, config) for config in configs}) < 2:
        raise UsageError("--configs names one configuration: a line over MACs needs two or more")
    rounds = options.rounds or (1 if options.quick else 5)
    seconds = 2.0 if options.quick else 5.0
    root = options.data or str(data.default_root())
    real = not data.read_cifar10(Path(root))[1]
    if not real:
        cli.say(f"no CIFAR-10 in {root}: random images take its place")
    cores = train.default_together(RECIPE, CPU)
    began = datetime.now(UTC)
    tasks = [Task(config, root if real else None, cores, seconds) for config in (*configs, None)]
    found = take_turns(tasks, rounds)
    result = {
        "command": shlex.join(["python", "-m", "speed.measure", *words]),
        "quick": options.quick,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": hardware(cores),
        "torch": torch.__version__,
        "code": provenance.code_version(),
        "environment_of_our_workers": LEAN_ENVIRONMENT,
        "recipe": asdict(RECIPE),
        "images": "cifar10" if real else "random",
        "n": rounds,
        "window_seconds": seconds,
        **summary(found, configs, rounds),
        "measurements": found,
    }
    machine = re.sub(r"\W+", "-", result["hardware"]["cpu"].lower()).strip("-")
    out = Path(options.out) / f"{machine}-{cores}cores-{began:%Y%m%dT%H%M%SZ}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    print_table(result, out)
    return 0


if __name__ == "__main__":
    cli.command(main)
