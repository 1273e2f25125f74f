"""Measures what a step costs that learns sizes of feature maps, as a factor to a step of SPOS. From the root of a checkout:

    python -m speed.resizing              # a few minutes
    python -m speed.resizing --quick      # to see it work, not to be quoted

An iteration is what a search takes for one batch: a training step, and the batch of the other half that is tested for it.
SPOS goes through all configurations, so that it takes the mean of them; the methods stand at the sizes of their start, which
their searches move. All take turns in one process of one thread. Seconds are of the processor, so that a busy neighbour
does not count; the median over rounds does.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmark import cli, provenance
from benchmark.files import write_atomically
from benchmark.recipe import SearchRecipe
from benchmark.spaces import costs, networks
from benchmark.spaces.space import PoolingSpace, Sizes, load_space
from benchmark.training.engine import Learner
from nas_methods import Task, diffstride, dynopool, shape_adaptor
from nas_methods.resizing import Resizing, ResizingLearner
from speed import measure

METHODS: dict[str, Resizing] = {
    "diffstride": diffstride.Method(),
    "dynopool": dynopool.Method(),
    "shape_adaptor": shape_adaptor.Method(),
}
CPU = torch.device("cpu")


def iterations(space: PoolingSpace, recipe: SearchRecipe) -> dict[str, tuple[float, Callable[[], None]]]:
    """(MACs of a forward pass, one round) by name; a round of SPOS has an iteration per configuration, of the others one."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(recipe.batch_size, 3, space.sizes[0], space.sizes[0], generator=draw)
    x = x.to(torch.bfloat16 if recipe.precision == "bf16" else torch.float32)
    if recipe.memory_layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    y = torch.randint(0, space.classes, (recipe.batch_size,), generator=draw)

    def network(affine: bool) -> torch.nn.Module:
        made = networks.ResNet(space, affine=affine)
        networks.initialise(made, 0)
        return made

    def iteration(learner: Learner, path: Any) -> None:
        learner.learn(x, y, path, 0.0)
        learner.evaluate([(x, y)], path)

    def every(learner: Learner) -> None:
        for config in space:
            iteration(learner, config.path)

    supernet = Learner(network(affine=False), recipe, CPU)
    found = {
        "spos": (
            sum(costs.macs(space, config) for config in space) / len(space),
            partial(every, supernet),
        )
    }
    for name, method in METHODS.items():
        learner = ResizingLearner(network(affine=True), method, Task(space, recipe, 0, "cpu", _no_data))
        macs = float(costs.path_macs(space, Sizes(tuple(learner.sizes)).path))
        found[name] = (macs, partial(iteration, learner, None))
    return found


def _no_data() -> Any:
    raise AssertionError("nothing is read here")


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    parser = cli.Parser(prog="python -m speed.resizing", description=__doc__)
    parser.add_argument("--rounds", type=cli.positive, default=3, metavar="N", help="default 3; quick 1")
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp32"), help="default bf16")
    parser.add_argument(
        "--out", type=cli.folder, default="results/speed", metavar="DIR", help="default ./results/speed"
    )
    parser.add_argument("--quick", action="store_true", help="one round of small batches")
    options = parser.parse(words)
    space = load_space()
    recipe = SearchRecipe(threads=1, precision=options.precision, batch_size=4 if options.quick else 64)
    rounds = 1 if options.quick else options.rounds
    torch.set_num_threads(1)
    began, code, turns = datetime.now(UTC), provenance.code_version(), iterations(space, recipe)
    seconds: dict[str, list[float]] = {name: [] for name in turns}
    for number in range(rounds + 1):
        for name, (_, turn) in turns.items():
            start = time.process_time()
            turn()
            if number:  # the first round sets things up
                steps = len(space) if name == "spos" else 1
                seconds[name].append((time.process_time() - start) / steps / recipe.batch_size)
    unit, macs = median(seconds["spos"]), turns["spos"][0]
    hardware = measure.hardware(1)
    result = {
        "command": cli.command_line("speed.resizing", words),
        "quick": options.quick,
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "hardware": hardware,
        "torch": str(torch.__version__),
        "code": code,
        "space": space.name,
        "recipe": recipe.to_dict(),
        "rounds": rounds,
        "seconds_per_image": seconds,
        "times": {name: median(found) / unit for name, found in seconds.items()},
        "macs": {name: mine / macs for name, (mine, _) in turns.items()},
    }
    machine = re.sub(r"\W+", "-", hardware["cpu"].lower()).strip("-")
    out = Path(options.out) / f"{machine}-{hardware['cores']}cores-resizing-{began:%Y%m%dT%H%M%SZ}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    for name in turns:
        factors = result["times"][name], result["macs"][name]
        cli.answer("{:14} {:6.2f} x the time, {:5.2f} x the MACs of an iteration of SPOS".format(name, *factors))
    cli.answer(f"written: {out}" + (" (quick: not to be quoted)" if options.quick else ""))
    return 0


if __name__ == "__main__":
    cli.command(main)
