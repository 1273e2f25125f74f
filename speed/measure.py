"""Measures how many times as fast this suite is as the loop a user would write. From the root of a checkout:

    python -m speed.measure              # about twelve minutes on two cores; a quiet machine, please
    python -m speed.measure --quick      # a minute or two, to see it work; its numbers are not to be quoted
    python -m speed.measure --beside 1   # the training alone, with a busy process as neighbour

Training: our trainer as the builder runs it (one process of one thread per core, recipe `paper`) against
`speed.plain`, as it is and under torch.compile, in seconds per trained image at a few configurations. A line through
these (seconds = a + b MACs) gives all 36, and a time-weighted ratio is the sum of a side's seconds over the sum of ours.
Data path: augmented batches per second, nothing trained, on the same number of cores.
Floor: what part of the machine's own rates of arithmetic and memory the training reaches.
Growth: images per second with the number of processes and with the batch size.

The sides take turns, each in fresh processes, and medians over rounds are compared. Quote ratios, not seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import partial
from operator import itemgetter
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmark import cli, provenance
from benchmark.datasets import named
from benchmark.datasets.known import cifar10
from benchmark.errors import UsageError, choices
from benchmark.files import write_atomically
from benchmark.recipe import Recipe
from benchmark.running.launch import LEAN_ENVIRONMENT
from benchmark.spaces import costs
from benchmark.spaces.space import Config
from benchmark.training import devices, pace, precision
from speed import figures, floor
from speed.sides import CPU, RECIPE, SIDES, SPACE, NotMeasured, Side, Task, neighbours

OURS, *_ = SIDES
SPREAD_OVER_MACS = ("[1,1,8]", "[2,4,4]", "[4,3,3]", "[6,2,2]", "[8,1,1]")
BATCH_SIZES = (64, 128, 256, 512)
SEEDS = 3  # of a whole table
QUIET = 0.95  # the share of its cores that our side gets on a machine without neighbours
ON_TWO_CORES = 2  # the requirements that name a machine name this one

Found = Sequence[Mapping[str, Any]]


# --- what is measured ---


def plan(
    configs: Sequence[Config],
    root: str | None,
    cores: int,
    seconds: float,
    rounds: int,
    sides: Sequence[str],
    alone: bool,
) -> list[list[tuple[str, Task]]]:
    """Per round, which side measures what. Who goes first changes, so that drift falls on all alike.

    alone: nobody is busy beside. Then the data path is measured too, and in the first round how our cost grows.
    """
    turns = []
    for turn in range(rounds):
        now = [side for side in sides if turn < (SIDES[side].rounds or rounds)]
        now = now[turn % len(now) :] + now[: turn % len(now)]
        tasks = [(side, Task(config, root, cores, seconds)) for config in configs for side in now]
        if alone:
            tasks += [(side, Task(None, root, cores, seconds)) for side in now if SIDES[side].feeds]
        if alone and turn == 0:
            growth = [(processes, RECIPE.batch_size) for processes in numbers_at_once(cores)]
            growth += [(cores, batch_size) for batch_size in BATCH_SIZES]
            tasks += [(OURS, Task(SPACE.default, root, k, seconds, size)) for k, size in growth]
        turns.append(list(dict.fromkeys(tasks)))  # growth shares a task with the comparison
    return turns


def numbers_at_once(cores: int) -> list[int]:
    """1, 2, 4, ... up to the cores, and one more."""
    powers = {2**n for n in range(cores.bit_length())}
    return sorted(powers | {cores, cores + 1})


def take_turns(
    turns: Iterable[Sequence[tuple[str, Task]]], environment: Mapping[str, str], sides: Mapping[str, Side] = SIDES
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """(every measurement in order, why which side was not measured). A side that cannot run is not tried again."""
    found: list[dict[str, Any]] = []
    absent: dict[str, str] = {}
    for number, turn in enumerate(turns):
        for side, task in turn:
            if side in absent:
                continue
            about = {"round": number, "side": side, "what": str(task), "processes": task.processes}
            load = round(os.getloadavg()[0], 2)
            try:
                result = sides[side].measure(task, environment)
            except NotMeasured as why:
                absent[side] = str(why)
                cli.say(f"{side}: not measured: {why}")
                continue
            found.append(about | {"batch_size": task.batch_size, "load_before": load} | result)
            where = f"{task}, {task.processes} at once, batch {task.batch_size}"
            cli.say(f"round {number + 1}  {where:<34} {side:<9} {result['images_per_second']:>9,.0f} images/s")
    return found, absent


# --- what follows from it ---


def line(macs: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """(a, b) of the least-squares line seconds = a + b MACs."""
    b, a = np.polyfit(macs, seconds, 1)
    return float(a), float(b)


def time_weighted(seconds: Mapping[str, Mapping[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """From side -> config -> seconds per image: (per other side the ratio of its seconds for all 36 configurations
    to those of our side, per side the mean seconds of the 36)."""
    mean = {}
    for side, by_config in seconds.items():
        a, b = line([costs.macs(SPACE, config) for config in by_config], list(by_config.values()))
        mean[side] = sum(a + b * costs.macs(SPACE, config) for config in SPACE) / len(SPACE)
    return {side: mean[side] / mean[OURS] for side in mean if side != OURS}, mean


def whole_table(seconds_per_image: float) -> float:
    """Seconds for 36 configurations x 3 seeds. A tested image is counted as a third of a trained one, as MACs have it."""
    per_epoch = 50_000 + 10_000 / 3
    return len(SPACE) * SEEDS * RECIPE.epochs * per_epoch * seconds_per_image


def values(found: Found, side: str, what: object, key: str, **others: int) -> list[float]:
    """What a side measured of one thing, by round: at the recipe's batch size with as many processes as cores,
    or where `others` say (processes, batch_size)."""
    wanted = {"side": side, "what": str(what)} | others
    return [f[key] for f in found if all(f[name] == value for name, value in wanted.items())]


def summary(
    found: Found,
    configs: Sequence[Config],
    cores: int,
    sides: Sequence[str],
    rates: Mapping[str, float] | None,
    ours: str = RECIPE.precision,
) -> dict[str, Any]:
    """Ratios, estimates and requirements, with what they came from. `by_round` is the spread of a ratio.

    sides: those that were measured, ours first. rates: of `floor`; None: not measured. ours: our precision.
    """
    standard = {"processes": cores, "batch_size": RECIPE.batch_size}

    def of(side: str, what: object, key: str = "images_per_second") -> list[float]:
        return values(found, side, what, key, **standard)

    def ratios(
        choose: Callable[[list[float]], float], among: Sequence[str]
    ) -> tuple[dict[str, float], dict[str, float]]:
        return time_weighted({s: {str(c): 1 / choose(of(s, c)) for c in configs} for s in among})

    others = [side for side in sides if side != OURS]
    weighted, mean = ratios(median, sides)
    rounds = {side: len(of(side, configs[0])) for side in sides}
    by_config = {}
    for c in configs:
        pace = {side: median(of(side, c)) for side in sides}
        row: dict[str, Any] = {
            "mmacs": costs.macs(SPACE, c) / 1e6,
            "images_per_second": pace,
            "ratio": {side: pace[OURS] / pace[side] for side in others},
            "evaluation_images_per_second": median(of(OURS, c, "evaluation_images_per_second")),
            "peak_memory_mb": {side: max(of(side, c, "peak_memory_bytes")) / 1e6 for side in sides},
            "first_step_seconds": {side: max(of(side, c, "first_step_seconds")) for side in sides},
        }
        flops, moved = floor.step_flops(SPACE, c), floor.step_bytes(SPACE, c)
        row["tflops"] = {side: flops * pace[side] / 1e12 for side in sides}
        row["unfused_bytes_per_image"] = moved
        if rates is not None:
            used = {side: ours if side == OURS else SIDES[side].precision for side in sides}
            peak = {side: rates[f"{used[side]}_flops_per_second"] for side in sides}
            row["fraction_of_matrix_peak"] = {side: flops * pace[side] / peak[side] for side in sides}
            row["unfused_traffic_over_copy"] = moved * pace[OURS] / rates["copy_bytes_per_second"]
        by_config[str(c)] = row
    result: dict[str, Any] = {
        "training": {
            "ratio": weighted,
            "by_round": {
                side: [ratios(itemgetter(turn), (OURS, side))[0][side] for turn in range(rounds[side])]
                for side in others
            },
            "n": rounds,
            "by_config": by_config,
            "seconds_per_image_mean_of_36": mean,
        },
        "whole_table_seconds": {side: whole_table(value) for side, value in mean.items()},
        "share_of_cores_ours": median(cores_used / cores for c in configs for cores_used in of(OURS, c, "cores_used")),
    }
    fed = [side for side in sides if of(side, "data path")]
    if fed:
        pace = {side: median(of(side, "data path")) for side in fed}
        result["data path"] = {
            "images_per_second": pace,
            "ratio": {side: pace[OURS] / pace[side] for side in fed if side != OURS},
            "by_round": {
                side: [o / s for o, s in zip(of(OURS, "data path"), of(side, "data path"), strict=True)]
                for side in fed
                if side != OURS
            },
        }
        result["growth"] = growth(found, cores)
    return result


def growth(found: Found, cores: int) -> dict[str, Any]:
    """Our images per second at the default configuration by number of processes and by batch size, first round."""

    def at(processes: int, batch_size: int) -> float:
        where = {"processes": processes, "batch_size": batch_size}
        return values(found, OURS, SPACE.default, "images_per_second", **where)[0]

    return {
        "config": str(SPACE.default),
        "processes": {str(k): at(k, RECIPE.batch_size) for k in numbers_at_once(cores)},
        "batch_size": {str(size): at(cores, size) for size in BATCH_SIZES},
    }


def requirements(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What is asked of this kind of run: {what, value, at_least, met}; value and met are None where it was not measured."""
    beside, cores = result["beside"], result["hardware"]["cores"]
    training, path = result["training"], result.get("data path", {})

    def asked(what: str, value: float | None, at_least: float) -> dict[str, Any]:
        met = None if value is None else value >= at_least
        return {"what": what, "value": value, "at_least": at_least, "met": met}

    weighted = training["ratio"].get("plain")
    if beside:
        if (beside, cores) != (1, ON_TWO_CORES):
            return []
        return [asked("training against plain beside one busy process, time-weighted", weighted, 5.0)]
    slowest = min(
        row["evaluation_images_per_second"] / row["images_per_second"][OURS] for row in training["by_config"].values()
    )
    found = [
        asked("training against plain, time-weighted (the goal is 3)", weighted, 2.5),
        asked("evaluation against training, images/s, worst configuration", slowest, 1.0),
        asked("data path against plain", path.get("ratio", {}).get("plain"), 15.0),
    ]
    if cores == ON_TWO_CORES:
        found.append(asked("data path, images/s", path["images_per_second"][OURS], 250_000.0))
    return found


def hardware(cores: int) -> dict[str, Any]:
    return {
        "cpu": devices.device_label(CPU),
        "cores": cores,
        "instructions": devices.instruction_set(CPU),
        "system": platform.platform(),
    }


# --- how it is said ---


def print_table(result: Mapping[str, Any], out: Path) -> None:
    training, machine, rates = result["training"], result["hardware"], result["floor"]
    measured, absent = training["n"], result["not_measured"]
    sides, others = list(SIDES), [side for side in SIDES if side != OURS]

    def cells(found: Mapping[str, Any], names: Sequence[str], width: int, style: str, unit: str = "") -> str:
        return "".join(f"{format(found[n], style) + unit if n in found else '-':>{width}}" for n in names)

    beside = f", beside {result['beside']} busy processes" if result["beside"] else ""
    cli.answer(
        f"{machine['cpu']}, {machine['cores']} cores{beside}, torch {result['torch']}, images: {result['images']}"
    )
    counts = ", ".join(f"{side} {n}" for side, n in measured.items())
    cli.answer(f"\nimages/s, medians over rounds ({counts}), and how many times as fast ours is")
    cli.answer(f"{'':<11}{'MMACs':>7}" + "".join(f"{s:>11}" for s in sides) + "".join(f"{'/' + s:>11}" for s in others))
    for config, row in training["by_config"].items():
        rate = cells(row["images_per_second"], sides, 11, ",.0f")
        cli.answer(f"{config:<11}{row['mmacs']:>7.1f}{rate}{cells(row['ratio'], others, 11, '.2f', 'x')}")
    if path := result.get("data path"):
        rate = cells(path["images_per_second"], sides, 11, ",.0f")
        cli.answer(f"{'data path':<18}{rate}{cells(path['ratio'], others, 11, '.1f', 'x')}")
    days = {side: cli.readable(value) for side, value in result["whole_table_seconds"].items()}
    cli.answer(f"{'whole table':<18}{cells(days, sides, 11, '')}{cells(training['ratio'], others, 11, '.2f', 'x')}")
    for side, spread in training["by_round"].items():
        cli.answer(f"  against {side}, time-weighted over the 36: {min(spread):.2f} to {max(spread):.2f} by round")
    cli.answer(f"  whole table: {len(SPACE) * SEEDS} runs x {RECIPE.epochs} epochs, estimated")
    for side, why in absent.items():
        cli.answer(f"  {side}: not measured: {why}")

    cli.answer("\nours, all cores together; memory of one worker and of the plain loop; first steps in seconds")
    heads = ("evaluate/s", "TFLOP/s", "of peak", "traffic", "MB", "MB plain")
    first = "".join(f"{'1st ' + s:>13}" for s in others)
    cli.answer(f"{'':<11}" + "".join(f"{head:>11}" for head in heads) + first)
    for config, row in training["by_config"].items():
        memory = cells(row["peak_memory_mb"], [OURS, "plain"], 11, ",.0f")
        peak = traffic = "-"
        if rates:
            peak, traffic = f"{row['fraction_of_matrix_peak'][OURS]:.0%}", f"{row['unfused_traffic_over_copy']:.0%}"
        cli.answer(
            f"{config:<11}{row['evaluation_images_per_second']:>11,.0f}{row['tflops'][OURS]:>11.2f}{peak:>11}{traffic:>11}"
            f"{memory}{cells(row['first_step_seconds'], others, 13, '.1f')}"
        )
    if rates:
        cli.answer(
            f"  the machine, all cores at once: {rates['bf16_flops_per_second'] / 1e12:.2f} TFLOP/s in bf16, "
            f"{rates['fp32_flops_per_second'] / 1e12:.2f} in fp32, copies {rates['copy_bytes_per_second'] / 1e9:.1f} GB/s"
        )
    for name, found in result.get("growth", {}).items():
        if name != "config":
            text = ", ".join(f"{key}: {value:,.0f}" for key, value in found.items())
            cli.answer(f"  images/s at {result['growth']['config']} by {name.replace('_', ' ')}: {text}")

    cli.answer("")
    for r in result["requirements"]:
        verdict = {True: "met", False: "NOT MET", None: "not measured"}[r["met"]]
        value = "" if r["value"] is None else f"{r['value']:,.2f}"
        cli.answer(f"required: {r['what']:<63}{value:>11}   at least {r['at_least']:,g}: {verdict}")
    if not result["requirements"]:
        cli.answer("no requirement is set for so many neighbours on so many cores")
    if not result["beside"] and result["share_of_cores_ours"] < QUIET:
        cli.answer(
            f"not a quiet machine: our workers got {result['share_of_cores_ours']:.0%} of their cores; measure again"
        )
    cli.answer(f"\nwritten: {out}")


def arguments() -> cli.Parser:
    parser = cli.Parser(prog="python -m speed.measure", description=__doc__)
    parser.add_argument("--rounds", type=cli.positive, metavar="N", help="turns of each side; default 3, quick 1")
    parser.add_argument("--configs", nargs="+", metavar="C", help=f"default {' '.join(SPREAD_OVER_MACS)}")
    parser.add_argument("--sides", nargs="+", metavar="S", help=f"default {' '.join(SIDES)}; quick without compiled")
    parser.add_argument("--beside", type=cli.whole, default=0, metavar="N", help="busy neighbours; training alone then")
    parser.add_argument("--out", default="results/speed", metavar="DIR", help="default ./results/speed")
    cli.add_data(parser)
    parser.add_argument(
        "--precision",
        default=precision.AUTO,
        choices=[precision.AUTO, *precision.PRECISIONS],
        help="of ours (default auto: the faster one here)",
    )
    parser.add_argument("--figures", action=argparse.BooleanOptionalAction, default=True, help="default: drawn")
    parser.add_argument("--quick", action="store_true", help="one round, two configurations, short windows")
    return parser


def chosen_sides(given: Sequence[str] | None, quick: bool) -> tuple[list[str], dict[str, str]]:
    """(sides to measure, ours first; why which of the others are not)."""
    if unknown := sorted(set(given or ()) - set(SIDES)):
        raise UsageError(f"--sides {unknown[0]}: {choices(unknown[0], SIDES)}")
    asked = {OURS, *(given or [side for side in SIDES if not (quick and side == "compiled")])}
    why = "not asked for" if given else "left out by --quick, --sides asks for it"
    return [side for side in SIDES if side in asked], {side: why for side in SIDES if side not in asked}


def main(argv: Sequence[str] | None = None, environment: Mapping[str, str] | None = None) -> int:
    """environment: the user's, as it was before this command put anything in; None: as it is."""
    words = list(sys.argv[1:] if argv is None else argv)
    options = arguments().parse(words)
    chosen = SPREAD_OVER_MACS[:: len(SPREAD_OVER_MACS) - 1] if options.quick else SPREAD_OVER_MACS
    configs = SPACE.select(options.configs or chosen)
    if len({costs.macs(SPACE, config) for config in configs}) < 2:
        raise UsageError("--configs names one configuration: a line over MACs needs two or more")
    if not 0 <= options.beside <= 1000:
        raise UsageError(f"--beside {options.beside}: give a number of processes from 0 to 1000")
    sides, absent = chosen_sides(options.sides, options.quick)
    if options.figures and (lacking := figures.lacking()):
        cli.say(lacking)
    rounds = options.rounds or (1 if options.quick else 3)
    seconds = 2.0 if options.quick else 5.0
    root = options.data or str(named.default_root())
    real = not cifar10.read_cifar10(Path(root))[1]
    if not real:
        cli.say(f"no CIFAR-10 in {root}: random images take its place")
    cores = pace.default_together(RECIPE, CPU)
    began = datetime.now(UTC)
    given = {"precision": options.precision}
    recipe = precision.recipe_for(SPACE, Recipe, "paper", given, lambda _: 0, precision.measured_on("cpu", SPACE))
    turns = [
        [(side, replace(task, precision=recipe.precision)) for side, task in turn]
        for turn in plan(configs, root if real else None, cores, seconds, rounds, sides, alone=not options.beside)
    ]
    with tempfile.TemporaryDirectory() as cache, neighbours(options.beside):  # what was compiled before does not count
        users = {**(os.environ if environment is None else environment), "TORCHINDUCTOR_CACHE_DIR": cache}
        rates = None if options.beside else floor.rates(cores, seconds / 3)
        found, failed = take_turns(turns, users)
        if rates is not None:  # a peak is the best that was seen
            rates = {name: max(rates[name], value) for name, value in floor.rates(cores, seconds / 3).items()}
    absent |= failed
    measured = [side for side in sides if side not in failed]
    result = {
        "command": cli.command_line("speed.measure", words),
        "quick": options.quick,
        "beside": options.beside,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "minutes": round((datetime.now(UTC) - began).total_seconds() / 60, 1),
        "hardware": hardware(cores),
        "torch": torch.__version__,
        "code": provenance.code_version(),
        "environment_of_our_workers": LEAN_ENVIRONMENT,
        "recipe": asdict(recipe),
        "images": "cifar10" if real else "random",
        "window_seconds": seconds,
        "not_measured": absent,
        "floor": rates,
        **summary(found, configs, cores, measured, rates, recipe.precision),
    }
    result |= {"requirements": requirements(result), "measurements": found}
    machine = re.sub(r"\W+", "-", result["hardware"]["cpu"].lower()).strip("-")
    beside = f"-beside{options.beside}" if options.beside else ""
    out = Path(options.out) / f"{machine}-{cores}cores{beside}-{began:%Y%m%dT%H%M%SZ}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    print_table(result, out)
    if options.figures and not figures.lacking():
        for path in figures.draw(out):
            cli.answer(f"written: {path}")
    return 0


if __name__ == "__main__":
    cli.command(partial(main, environment=dict(os.environ)))
