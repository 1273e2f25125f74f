"""Searches how many channels each layer of a network should have (CONet: Hosseini et al., 2021).

    python -m benchmark.search_channels --network resnet34 --dataset cifar10 --delta 0.01
    python -m benchmark.search_channels --network darts7 --dataset cifar100 --delta 0.005 0.0075 0.01
    python -m benchmark.search_channels --network ./my_net.py:make --delta 0.01 --optimizer sgd --start none
    python -m benchmark.search_channels --network resnet20 --recipe smoke           # to see it work
    python -m benchmark.search_channels --delta 0.01 --train --against baseline compound random   # is it any better?

Networks are trained for a few epochs, again and again; after each trial every width grows or shrinks by how fast the rank
of the convolutions around it has risen, compared with delta: a smaller delta gives a larger network. The default recipe
is the paper's, 25 trials of 20 epochs. Kill it at any moment: the same command goes on where it stopped. OUT/channels
keeps every trial with its decisions; a result.json there is a network that --network takes again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark import cli, provenance
from benchmark.channels.published import beside
from benchmark.channels.rules import ChannelRecipe
from benchmark.errors import Failure
from benchmark.files import write_atomically
from benchmark.running.launch import LEAN_ENVIRONMENT, Workers, launch
from benchmark.spaces.space import load_space
from benchmark.training import precision

AGAINST = ("baseline", "compound", "random", "static")


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
    group = parser.add_argument_group("training from scratch what was found (recipe of its own: --train-recipe)")
    group.add_argument("--train", action="store_true", help="train what was found, with several seeds")
    group.add_argument(
        "--against",
        nargs="+",
        choices=AGAINST,
        default=[],
        metavar="C",
        help="controls beside it: baseline, the network as it comes; compound and random, scaling and random widths of as "
        "many parameters; static, scaling by the baseline's ranks",
    )
    group.add_argument("--seeds", nargs="+", type=cli.seed, default=[0, 1, 2], metavar="N", help="default 0 1 2")
    group.add_argument("--draws", type=cli.positive, default=3, metavar="N", help="of random widths (default 3)")
    group.add_argument("--train-recipe", default="paper", metavar="R", help="paper (250 epochs, default) or smoke")
    group.add_argument("--train-epochs", type=cli.positive, metavar="N", help="instead of the recipe's")
    group.add_argument("--train-every", type=cli.positive, metavar="N", help="epochs after which the rate is halved")
    group.add_argument("--train-batch-size", type=cli.positive, metavar="N", help="instead of the recipe's")
    group.add_argument("--train-lr", type=cli.number, metavar="X", help="instead of the recipe's")
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
                run, missing, Workers(options.together, 1, LEAN_ENVIRONMENT), report=line.report, deadline=deadline
            )
        failed = {names[position]: why for position, why in outcome.failed.items()}
        interrupted = outcome.interrupted
    results = {str(s.result_path): json.loads(s.result_path.read_bytes()) for s in searches if s.result_path.exists()}
    if options.json and not options.train:
        cli.print_json({"results": results})
    elif not options.json:
        for path, result in results.items():
            cli.answer(*_lines(path, result))
    if failed:
        raise Failure("; ".join(f"{name}: {why}" for name, why in failed.items()))
    if left := len(searches) - len(results):
        cli.say(
            f"{left} searches are left; go on with: {shlex.join(['python', '-m', 'benchmark.search_channels', *words])}"
        )
    if left or interrupted or not options.train:
        return 130 if interrupted else 0
    return _judge(options, recipe, subject, source, results, words)


def _judge(
    options: Any, recipe: ChannelRecipe, subject: Any, source: str, results: Mapping[str, Any], words: Sequence[str]
) -> int:
    """Trains what was found and its controls, with several seeds each, and says how they compare."""
    from benchmark.channels import judge

    trained = _evaluation(options, recipe)
    graph, out = subject.graph(), Path(options.out)
    found = {f"search, delta {result['delta']:g}": result["widths"] for result in results.values()}
    seeds = sorted(set(options.seeds))

    def entered(made: Sequence[tuple[str, str, Any]]) -> list[judge.Contender]:
        return [
            judge.Contender(subject, group, label, widths, seed, trained, out, source, "static" in options.against and label == "baseline")
            for seed in seeds
            for group, label, widths in made
        ]  # fmt: skip

    first = judge.contenders(subject, graph, found, options.against, recipe.floor, recipe.cap, options.draws)
    entries = entered(first)
    deadline = time.monotonic() + options.stop_after if options.stop_after is not None else None
    if not _trained(options, graph, entries, deadline, words):
        return 0
    if "static" in options.against:
        baseline = next(entry for entry in entries if entry.label == "baseline")
        entries += entered(judge.scaled(graph, baseline.read() or {}))
        if not _trained(options, graph, entries, deadline, words):
            return 0
    records = {(e.group, e.label, e.seed): e.read() or {} for e in entries}
    rows = judge.judged(records, list(found))
    said = {
        "network": subject.base,
        "dataset": recipe.dataset,
        "recipe": trained.to_dict(),
        "recipe_label": trained.label,
        "command": cli.command_line("benchmark.search_channels", words),
        "rows": rows,
    }
    key = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]
    path = entries[0].path.parent / f"judged-{key}.json"
    write_atomically(path, (json.dumps(said, indent=1, allow_nan=False) + "\n").encode())
    if options.json:
        cli.print_json(said)
    else:
        cli.answer(f"trained from scratch by recipe {trained.label}, {trained.epochs} epochs:", *judge.table(rows))
        cli.answer(f"judged: {path}")
    return 0


def _evaluation(options: Any, recipe: ChannelRecipe) -> Any:
    """The recipe of training from scratch: on the search's data, in its precision."""
    from benchmark.channels.judge import EvaluationRecipe

    asked = {"epochs": "train_epochs", "every": "train_every", "batch_size": "train_batch_size", "lr": "train_lr"}
    fields = {name: getattr(options, flag) for name, flag in asked.items() if getattr(options, flag) is not None}
    if recipe.train_images is not None:
        fields |= {"train_images": recipe.train_images}
    if recipe.eval_images is not None:
        fields |= {"eval_images": recipe.eval_images}
    same = {name: getattr(recipe, name) for name in ("dataset", "precision", "memory_layout", "threads")}
    return EvaluationRecipe.preset(options.train_recipe, **same | fields)


def _trained(options: Any, graph: Any, entries: Sequence[Any], deadline: float | None, words: Sequence[str]) -> bool:
    """Trains what has no record yet. Whether all have one then; a line says how to go on."""
    from benchmark.channels.judge import EvaluationRun
    from benchmark.running.progress import ProgressLine

    missing = [entry for entry in entries if not entry.read()]
    if not missing:
        return True
    run = EvaluationRun(options.data, options.device, options.loader, provenance.code_version())
    names = [f"{entry.label} seed {entry.seed}" for entry in missing]
    works = [float(graph.macs(entry.widths)) for entry in missing]
    with ProgressLine("training from scratch", works, names) as line:
        outcome = launch(
            run, missing, Workers(options.together, 1, LEAN_ENVIRONMENT), report=line.report, deadline=deadline
        )
    if outcome.failed:
        raise Failure("; ".join(f"{names[position]}: {why}" for position, why in outcome.failed.items()))
    left = sum(not entry.read() for entry in missing)
    if left:
        again = shlex.join(["python", "-m", "benchmark.search_channels", *words])
        cli.say(f"{left} trainings are left; go on with: {again}")
    return not left


def _lines(path: str, result: Mapping[str, Any]) -> list[str]:
    """A result for people: sizes over the trials, widths at the end."""
    own = result["own"]
    lines = [
        f"{result['network']} on {result['dataset']}, delta {result['delta']:g}: {result['parameters']:,} parameters, "
        f"{result['macs'] / 1e6:.1f} million MACs (as it comes: {own['parameters']:,} and {own['macs'] / 1e6:.1f})",
        "parameters of the trials: " + ", ".join(f"{trial['parameters']:,}" for trial in result["history"]),
    ]
    lines += ["widths: " + ", ".join(f"{name} {width}" for name, width in result["widths"].items())]
    if paper := beside(result["network"], result["dataset"], result["delta"]):
        lines.append(
            f"published at this delta: {paper.parameters:g} million parameters, {paper.accuracy:g} (std {paper.std:g}) "
            "by the recipe paper of search and training"
        )
    return [*lines, f"result: {path}"]


if __name__ == "__main__":
    cli.command(main)
