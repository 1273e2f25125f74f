"""Searches how many channels each layer of a network should have (CONet: Hosseini et al., 2021).

    python -m benchmark.search_channels --network resnet34 --dataset cifar10 --delta 0.01
    python -m benchmark.search_channels --network darts7 --dataset cifar100 --delta 0.005 0.0075 0.01
    python -m benchmark.search_channels --network ./my_net.py:make --delta 0.01 --optimizer sgd --start none
    python -m benchmark.search_channels --network resnet20 --recipe smoke           # to see it work

Networks are trained for a few epochs, again and again; after each trial every width grows or shrinks by how fast the rank
of the convolutions around it has risen, compared with delta: a smaller delta gives a larger network. The default recipe
is the paper's, 25 trials of 20 epochs. Kill it at any moment: the same command goes on where it stopped. OUT/channels
keeps every trial with its decisions; a result.json there is a network that --network takes again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark import cli, provenance
from benchmark.channels.rules import ChannelRecipe
from benchmark.errors import Failure
from benchmark.running.launch import LEAN_ENVIRONMENT, launch
from benchmark.spaces.space import load_space
from benchmark.training import precision


def arguments() -> cli.Parser:
    parser = cli.Parser(prog="python -m benchmark.search_channels", description=__doc__)
    parser.add_argument(
        "--network",
        default="resnet34",
        metavar="N",
        help="a name (default resnet34; a wrong one lists all), ./my_net.py:make, or a result.json of a search",
    )
    parser.add_argument("--stem", default="cifar", metavar="S", help="cifar (default), for small images, or imagenet")
    parser.add_argument(
        "--delta", nargs="+", type=cli.number, default=[0.01], metavar="X", help="default 0.01; one search each"
    )
    parser.add_argument("--seed", type=cli.seed, default=0, metavar="N", help="default 0")
    parser.add_argument("--recipe", default="paper", metavar="R", help="paper (default) or smoke")
    parser.add_argument("--out", type=cli.folder, default="results", metavar="DIR", help="default ./results")
    cli.add_data(parser)
    parser.add_argument("--device", default="auto", metavar="D", help="auto (default), cpu, cuda or cuda:N")
    cli.add_loader(parser)
    parser.add_argument("--together", type=cli.positive, default=1, metavar="K", help="searches at once (default 1)")
    parser.add_argument("--stop-after", type=cli.duration, metavar="T", help="end at a checkpoint after 90s, 8m, 1.5h")
    parser.add_argument("--json", action="store_true", help="print the results as one JSON object")
    cli.add_fields(
        parser,
        ChannelRecipe,
        "recipe, field by field (defaults of the preset paper; lr 0.1 and floor 16 for DARTS cells)",
        {"precision": precision.AUTO},
    )
    parser.add_argument(
        "--epochs-per-trial",
        dest="epochs",
        type=cli.positive,
        default=argparse.SUPPRESS,
        metavar="N",
        help="as --epochs",
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    options = arguments().parse(words)
    given = cli.given_fields(options, ChannelRecipe)
    fields = (ChannelRecipe.CELLS if options.network.startswith("darts") else {}) | precision.plain(given)
    recipe = ChannelRecipe.preset(options.recipe, **fields)

    from benchmark.channels.search import Search, SearchRun, subject_of  # import torch
    from benchmark.datasets import loaders
    from benchmark.running.progress import ProgressLine

    dataset = loaders.load(recipe.dataset, options.data, loader=options.loader)
    dataset.reduced(recipe)
    subject = subject_of(options.network, options.stem, dataset)
    subject.graph()  # or it says why not
    source, out = subject.source(), Path(options.out)

    def searches_by(recipe: ChannelRecipe) -> list[Search]:
        deltas = dict.fromkeys(options.delta)
        return [Search(subject, recipe, delta, options.seed, out, source) for delta in deltas]

    if "precision" not in fields:
        recipe = precision.settled(
            recipe,
            lambda each: sum(search.folder.exists() for search in searches_by(each)),
            precision.measured_on(options.device, load_space()),
        )
    searches = searches_by(recipe)
    for search in searches:
        search.prepare()
    missing = [search for search in searches if not search.result_path.exists()]
    failed: dict[str, str] = {}
    interrupted = False
    if missing:
        run = SearchRun(options.data, options.device, options.loader, provenance.code_version())
        names = [f"delta {search.delta:g}" for search in missing]
        deadline = time.monotonic() + options.stop_after if options.stop_after is not None else None
        with ProgressLine("searching widths", [1.0] * len(missing), names) as line:
            outcome = launch(
                run,
                missing,
                processes=options.together,
                report=line.report,
                environment=LEAN_ENVIRONMENT,
                deadline=deadline,
            )
        failed = {names[position]: why for position, why in outcome.failed.items()}
        interrupted = outcome.interrupted
    results = {str(s.result_path): json.loads(s.result_path.read_bytes()) for s in searches if s.result_path.exists()}
    if options.json:
        cli.print_json({"results": results})
    else:
        for path, result in results.items():
            cli.answer(*_lines(path, result))
    if failed:
        raise Failure("; ".join(f"{name}: {why}" for name, why in failed.items()))
    if left := len(searches) - len(results):
        cli.say(
            f"{left} searches are left; go on with: {shlex.join(['python', '-m', 'benchmark.search_channels', *words])}"
        )
    return 130 if interrupted else 0


def _lines(path: str, result: Mapping[str, Any]) -> list[str]:
    """A result for people: sizes over the trials, widths at the end."""
    own = result["own"]
    lines = [
        f"{result['network']} on {result['dataset']}, delta {result['delta']:g}: {result['parameters']:,} parameters, "
        f"{result['macs'] / 1e6:.1f} million MACs (as it comes: {own['parameters']:,} and {own['macs'] / 1e6:.1f})",
        "parameters of the trials: " + ", ".join(f"{trial['parameters']:,}" for trial in result["history"]),
    ]
    lines += ["widths: " + ", ".join(f"{name} {width}" for name, width in result["widths"].items())]
    return [*lines, f"result: {path}"]


if __name__ == "__main__":
    cli.command(main)
