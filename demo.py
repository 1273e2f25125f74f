"""The whole street in a few minutes: a small ground truth, a search method scored against it, a page about both.

    make demo          (or: python demo.py, where the package is installed)

Uses CIFAR-10 where it is at hand or can be fetched within two minutes, else the data set made in code. It runs
the public commands only, and prints each before it runs: every line can be typed by hand.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

OUT = "demo_results"
FETCH_SECONDS = 120
BUDGET_SECONDS = 240  # for all training; installation and figures take some more minutes


def run(*words: str) -> None:
    """Runs `python -m ...` as a user would; the demonstration ends where a command fails."""
    print(f"\n$ python -m {shlex.join(words)}", flush=True)
    code = subprocess.run([sys.executable, "-m", *words]).returncode
    if code:
        sys.exit(code)


def data_set() -> str:
    """`cifar10` if its files are right or can be fetched in time, else `synthetic`."""
    fetch = [sys.executable, "-m", "benchmark.datasets", "cifar10"]
    try:
        found = subprocess.run(fetch, timeout=FETCH_SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        print(f"CIFAR-10 did not arrive within {FETCH_SECONDS} s", file=sys.stderr)
        found = False
    if not found:
        print("going on without CIFAR-10: the demonstration uses the data set `synthetic`, made in code", flush=True)
    return "cifar10" if found else "synthetic"


def size() -> list[str]:
    """Flags for a precision that is fast here, and for so few images that a slow machine keeps to its minutes, too."""
    from benchmark.recipe import Recipe
    from benchmark.spaces import costs
    from benchmark.spaces.space import load_space
    from benchmark.training import devices, pace, precision

    space, device = load_space(), devices.device_named("auto")
    recipe = precision.settled(space.preset(Recipe, "smoke"), lambda _: 0, precision.measured_on("auto", space))
    chosen = ["--precision", recipe.precision]
    if device.type != "cpu":
        return chosen
    speed = pace.measure_speed(space, recipe, device).slowest * pace.default_together(recipe, device)
    macs = sum(costs.macs(space, config) for config in space)
    for images in (512, 256, 128, 64):
        # A trained image counts three, a tested one once; the search after it takes about as long as the table.
        seconds = 2 * recipe.epochs * images * 4 * macs / speed
        if seconds < BUDGET_SECONDS:
            break
    if images < 512:
        print(f"a slow machine: the demonstration takes {images} images instead of 512", flush=True)
        chosen += ["--train-images", str(images), "--eval-images", str(images)]
    return chosen


def main() -> None:
    began = time.monotonic()
    shutil.rmtree(OUT, ignore_errors=True)  # each demonstration starts from nothing
    dataset = data_set()
    # One seed of every configuration: a partial ground truth that ranks already.
    recipe = ["--recipe", "smoke", "--dataset", dataset, *size()]
    run("benchmark.build_groundtruth", *recipe, "--seeds", "0", "--out", OUT)
    (table,) = Path(OUT, "tables").glob("*.json")
    search = ("--method", "mixture", "--M", "2", *recipe)
    run("benchmark.evaluate", *search, "--table", str(table), "--out", OUT)
    run("benchmark.evaluate", "--scores", "examples/last_stage_of_two.csv", "--table", "published", "--out", OUT)
    run("benchmark.report", "--out", OUT)
    print(
        f"\nDone in {time.monotonic() - began:.0f} s. The numbers of recipe smoke say that everything works and no more:"
    )
    print("four steps of training rank nothing. For real ones: python -m benchmark.build_groundtruth")
    print(f"The page with all of it, for a browser: {Path(OUT, 'report', 'index.html').resolve()}")


if __name__ == "__main__":
    main()
