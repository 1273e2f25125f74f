"""One command for a machine with a GPU: how fast each engine is there, and whether its results hold. Under 8 minutes.

    make gpu-check                       # or, where everything is installed: python -m speed.gpu_check
    python -m speed.gpu_check --quick    # two configurations and short windows
    python -m speed.gpu_check --minutes 30 --full       # more runs at once, and time for all of it

Times the eager, graph and compiled engines with one run, and the faster ones with several runs taking turns, on some
configurations; then the iterations of supernets and of DARTS; then runs the tests marked `gpu`. Prints images per
second, their share of the device's measured rates, and the minutes that the whole table (108 runs of 100 epochs), a
mixture of four supernets and DARTS at recipe `paper` would take. What does not fit into the minutes is left out, which
is said; the tests get what the times leave, half of it at least. Compiling takes most of the time: a second run is
faster. Writes all of it to one JSON below `results/speed`.
"""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from benchmark import cli, provenance
from benchmark.datasets import named, sets
from benchmark.datasets.batches import Batches
from benchmark.datasets.halves import split_in_half
from benchmark.datasets.known import cifar10
from benchmark.errors import UsageError
from benchmark.files import write_atomically
from benchmark.recipe import Recipe, SearchRecipe
from benchmark.spaces import costs, networks
from benchmark.spaces.space import Config, load_space
from benchmark.training import devices, engine
from benchmark.training.train import Training
from nas_methods import Halves, Stopped, Task
from nas_methods.darts import Method as Darts
from nas_methods.spos import Method as Spos
from speed.floor import step_bytes, step_flops
from speed.measure import SPREAD_OVER_MACS, line, whole_table
from speed.sides import images

SPACE = load_space()
RECIPE = Recipe()
TOGETHER = (4,)  # runs that take turns, beside one alone
TOGETHER_FULL = (2, 4, 6)
MIXTURE = 4  # supernets
SIDE = 8192  # of the square matrices
COPIED = 2**31  # bytes


def seconds_of(function: Any, repeats: int) -> float:
    """Mean seconds of a call, by the device's own clock, after two calls that do not count."""
    function()
    function()
    began, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    began.record()
    for _ in range(repeats):
        function()
    ended.record()
    torch.cuda.synchronize()
    return began.elapsed_time(ended) / 1000 / repeats


def rates(device: torch.device) -> dict[str, float]:
    """bf16 FLOP/s of a large product of random matrices, and copied bytes/s (read + written)."""
    a, b = (torch.randn(SIDE, SIDE, device=device, dtype=torch.bfloat16) for _ in range(2))
    product = torch.empty_like(a)
    flops = 2.0 * SIDE**3 / seconds_of(lambda: torch.mm(a, b, out=product), 10)
    source = torch.randn(COPIED // 4, device=device)
    target = torch.empty_like(source)
    return {
        "bf16_flops_per_second": flops,
        "copy_bytes_per_second": 2.0 * COPIED / seconds_of(lambda: target.copy_(source), 10),
    }


def training_pace(
    dataset: sets.Dataset, config: Config, name: str, together: int, device: torch.device, seconds: float
) -> dict[str, Any]:
    """Images per second of the trainer itself, several runs taking turns, once every run has its graphs."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    began = time.perf_counter()
    runs = [
        engine.taking_turns(Training(SPACE, config, seed, RECIPE, dataset, device, name).steps(), device)
        for seed in range(together)
    ]
    for run in runs:
        for _ in range(engine.WARM_UP + 2):
            next(run)
    torch.cuda.synchronize(device)
    ready = time.perf_counter()
    # An epoch ends with a test, so whole steps are counted only while all runs are in the first epoch: a fast device is
    # through with it before the seconds are over.
    most = len(dataset.train) // RECIPE.batch_size - engine.WARM_UP - 3
    steps = 0
    while steps < most and time.perf_counter() - ready < seconds:
        for run in runs:
            next(run)
        steps += 1
        if steps % 16 == 0:
            torch.cuda.synchronize(device)  # Python may not run ahead of the clock
    torch.cuda.synchronize(device)
    elapsed = time.perf_counter() - ready
    return {
        "config": str(config),
        "engine": name,
        "together": together,
        "images_per_second": steps * together * RECIPE.batch_size / elapsed,
        "steps": steps,
        "seconds_to_get_ready": ready - began,
        "peak_memory_bytes": torch.cuda.max_memory_reserved(device),
    }


def search_pace(
    dataset: sets.Dataset, method: Spos | Darts, name: str, device: torch.device, seconds: float
) -> dict[str, Any]:
    """Iterations per second of a search, its loss or reward read back each time, once all that comes up has its graphs."""
    recipe = SearchRecipe(epochs=100)
    split = split_in_half(len(dataset.train), 0)
    halves = [Batches.of(dataset.train.subset(i), dataset, recipe, device) for i in (split.train, split.validation)]

    def network(model: int) -> torch.nn.Module:
        made = networks.ResNet(SPACE, dataset.classes, affine=False)
        networks.initialise(made, 0, model)
        return made

    # By then nearly every configuration has come up often enough to be recorded; DARTS takes all in every step.
    warm_up = 16 * len(SPACE) if isinstance(method, Spos) else 2 * engine.WARM_UP
    count, window = 0, [0.0, 0.0]

    def progress(fraction: float, facts: Any) -> None:
        nonlocal count
        count += 1
        if count == warm_up:
            window[0] = time.perf_counter()

    def stop() -> bool:
        window[1] = time.perf_counter()
        return count > warm_up and window[1] - window[0] > seconds

    task = Task(SPACE, recipe, 0, str(device), lambda: Halves(*halves, network, {}), progress, stop, engine=name)
    began = time.perf_counter()
    try:
        with engine.own_stream(device):
            method.rank(task)
    except Stopped:
        pass
    rate = (count - warm_up) / (window[1] - window[0])
    models = MIXTURE if isinstance(method, Spos) else 1
    return {
        "method": "supernets" if isinstance(method, Spos) else "darts",
        "engine": name,
        "iterations_per_second": rate,
        "seconds_to_get_ready": window[0] - began,
        "minutes_paper": recipe.epochs * models * halves[0].steps / rate / 60,
    }


def table_minutes(found: Sequence[dict[str, Any]], configs: Sequence[Config]) -> dict[str, float]:
    """Minutes for 108 runs of 100 epochs, by `engine x together`, from a line through the measured configurations.

    Each run's time to get ready is not in it. Where a configuration could not be measured there is no line.
    """
    minutes = {}
    for name, together in sorted({(f["engine"], f["together"]) for f in found}):
        mine = [f for f in found if (f["engine"], f["together"]) == (name, together)]
        if len(mine) < len(configs):
            continue
        macs = [costs.macs(SPACE, SPACE[SPACE.index(f["config"])]) for f in mine]
        a, b = line(macs, [1 / f["images_per_second"] for f in mine])
        mean = sum(a + b * costs.macs(SPACE, config) for config in SPACE) / len(SPACE)
        minutes[f"{name} x {together}"] = whole_table(mean) / 60
    return minutes


def run_tests(log: Path, seconds: float) -> dict[str, Any]:
    """Runs the tests marked `gpu`, that long at most; their output goes to a file as it comes: a kill loses none of it."""
    began = time.monotonic()
    words = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "tests/test_gpu.py", "-p", "no:cacheprovider"]
    try:
        with log.open("w") as out:
            code = subprocess.run(words, stdout=out, stderr=subprocess.STDOUT, timeout=seconds, check=False).returncode
    except subprocess.TimeoutExpired:
        code = 1
        cli.say(f"the tests were not through after {seconds:.0f} s: more --minutes, or once more, with blocks compiled")
    lines = log.read_text().strip().splitlines()
    cli.answer("\n".join(lines[-30:]))
    return {"exit_code": code, "summary": lines[-1] if lines else "", "seconds": time.monotonic() - began}


def arguments() -> cli.Parser:
    parser = cli.Parser(prog="python -m speed.gpu_check", description=__doc__)
    parser.add_argument("--device", default="cuda", metavar="D", help="cuda (default) or cuda:N")
    parser.add_argument("--out", default="results/speed", metavar="DIR", help="default ./results/speed")
    cli.add_data(parser)
    parser.add_argument("--quick", action="store_true", help="two configurations, short windows")
    parser.add_argument("--full", action="store_true", help="2, 4 and 6 runs at once, not only 4")
    parser.add_argument("--minutes", type=cli.positive, default=8, metavar="N", help="in all (default 8)")
    parser.add_argument("--no-tests", action="store_true", help="only the times")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    options = arguments().parse(words)
    device = devices.device_named(options.device)
    if device.type != "cuda":
        raise UsageError(f"device '{options.device}' is no GPU: give cuda or cuda:N")
    torch.cuda.set_device(device)  # events and waiting go by the current one
    ends = time.monotonic() + 60 * options.minutes
    measured_by = ends if options.no_tests else ends - 30 * options.minutes
    root = options.data or str(named.default_root())
    real = not cifar10.read_cifar10(Path(root))[1]
    dataset = images(root if real else None).to(device)
    configs = SPACE.select(SPREAD_OVER_MACS[::4] if options.quick else SPREAD_OVER_MACS[::2])
    seconds = 1.0 if options.quick else 2.0
    began = datetime.now(UTC)
    result: dict[str, Any] = {
        "command": cli.command_line("speed.gpu_check", words),
        "device": devices.device_label(device),
        "torch": str(torch.__version__),
        "code": provenance.code_version(),
        "recipe": asdict(RECIPE),
        "images": "cifar10" if real else "random",
        "window_seconds": seconds,
        "rates": rates(device),
        "training": [],
        "search": [],
        "failures": [],
        "left_out": [],
    }
    machine = re.sub(r"\W+", "-", result["device"].lower()).strip("-")
    out = Path(options.out) / f"{machine}-{began:%Y%m%dT%H%M%SZ}.json"
    out.parent.mkdir(parents=True, exist_ok=True)

    def keep() -> None:  # after every number: whatever ends the run, what was measured is there
        write_atomically(out, (json.dumps(result, indent=1) + "\n").encode())

    def failed(what: str, error: Exception) -> None:
        cli.say(f"{what}: {' '.join(str(error).split())[:150]}")
        result["failures"].append({"what": what, "trace": traceback.format_exc()})
        if isinstance(error, engine.Unrecordable):  # after which no other recording of this process means anything
            broken.append(what)
        keep()

    broken: list[str] = []

    def left_out(what: str, name: str) -> bool:
        """Whether there is no use, or no time, in measuring this; said and kept."""
        why = f"after the failure of {broken[0]}" if broken and name != "eager" else ""
        why = why or ("no time left" if time.monotonic() > measured_by else "")
        if why:
            cli.say(f"{what} is left out: {why}")
            result["left_out"].append({"what": what, "why": why})
        return bool(why)

    result["engines"] = []
    peak, bandwidth = result["rates"]["bf16_flops_per_second"], result["rates"]["copy_bytes_per_second"]
    cli.answer(
        f"{result['device']}, torch {result['torch']}: {peak / 1e12:.0f} TFLOP/s, {bandwidth / 1e12:.2f} TB/s copied"
    )
    cli.answer(
        f"{'config':<10}{'engine':<10}{'runs':>5}{'images/s':>12}{'of FLOP/s':>11}{'of copy':>9}{'ready s':>9}{'GB':>6}"
    )
    ks = TOGETHER_FULL if options.full else TOGETHER
    for name in reversed(engine.ENGINES):  # compiling takes longest, so what needs none of it is measured by then
        if left_out(f"engine {name}", name) or name != engine.working_engine(name, SPACE, RECIPE, device):
            continue
        result["engines"].append(name)
        for config, together in itertools.product(configs, (1, *ks) if name != "eager" else (1,)):
            if left_out(f"{config} {name} x {together}", name):
                continue
            try:
                row = training_pace(dataset, config, name, together, device, seconds)
            except Exception as error:  # too little memory for so many, say: the others still count
                failed(f"{config} {name} x {together}", error)
                continue
            pace = row["images_per_second"]
            row["share_of_flops"] = step_flops(SPACE, config) * pace / peak
            row["share_of_copy"] = step_bytes(SPACE, config) * pace / bandwidth
            result["training"].append(row)
            keep()
            shares = f"{row['share_of_flops']:>10.1%} {row['share_of_copy']:>8.0%}"
            ready, memory = row["seconds_to_get_ready"], row["peak_memory_bytes"] / 1e9
            cli.answer(
                f"{row['config']:<10}{name:<10}{together:>5}{pace:>12,.0f} {shares}{ready:>9.1f}{memory:>6.1f}",
                flush=True,
            )
    result["table_minutes"] = table_minutes(result["training"], configs)
    for name, minutes in result["table_minutes"].items():
        cli.answer(f"whole table, {name}: {minutes:.1f} min")
    for method, what in ((Spos(), f"mixture M = {MIXTURE}"), (Darts(), "darts")):
        for name in result["engines"]:
            if left_out(f"{what}, {name}", name):
                continue
            try:
                row = search_pace(dataset, method, name, device, 2 * seconds)
            except Exception as error:
                failed(f"{what}, {name}", error)
                continue
            result["search"].append(row)
            keep()
            text = f"{row['iterations_per_second']:.0f} iterations/s, ready after {row['seconds_to_get_ready']:.0f} s"
            cli.answer(f"{what}, {name}: {text}; at recipe paper {row['minutes_paper']:.1f} min")
    if not options.no_tests:
        result["tests"] = run_tests(out.with_suffix(".tests.log"), ends - time.monotonic())
    result["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
    keep()
    cli.answer(f"written: {out}")
    return 0 if options.no_tests else int(result["tests"]["exit_code"] != 0)


if __name__ == "__main__":
    cli.command(main)
