"""Searches how many channels each layer of a network should have (CONet: Hosseini et al., 2021).

    python -m benchmark.search_channels --network resnet34 --dataset cifar10 --delta 0.01
    python -m benchmark.search_channels --network darts7 --dataset cifar100 --delta 0.005 0.0075 0.01
    python -m benchmark.search_channels --network ./my_net.py:make --delta 0.01 --optimizer sgd --start none
    python -m benchmark.search_channels --network darts7 --scale compound --k 1 3 5 # no search: every width times sqrt(2)^k
    python -m benchmark.search_channels --network resnet34 --scale static --train   # no search: by what a training uses of it
    python -m benchmark.search_channels --network darts7 --where slurm              # as tasks of a cluster: slurm/README.md
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark import cli, provenance
from benchmark.channels.published import beside, tables
from benchmark.channels.results import base_of, is_of_cells
from benchmark.channels.rules import ChannelRecipe
from benchmark.channels.stage import Ended, Stage
from benchmark.errors import Failure, UsageError
from benchmark.files import write_atomically
from benchmark.running.cluster import Settings
from benchmark.spaces.space import load_space
from benchmark.training import precision

SCALES = ("compound", "static")
TRAIN: dict[str, tuple[Any, str]] = {  # fields of the recipe of training from scratch that have a flag
    "epochs": (cli.positive, "instead of the recipe's"),
    "every": (cli.positive, "epochs after which the rate is multiplied by the factor"),
    "factor": (cli.number, "that factor (default 0.5)"),
    "batch_size": (cli.positive, "instead of the recipe's"),
    "lr": (cli.number, "instead of the recipe's"),
    "cutout": (cli.whole, "side of the square that is blanked in each image, in pixels; 0: none"),
    "auxiliary": (cli.number, "weight of the loss of the auxiliary head of DARTS cells; 0: no such head"),
    "drop_path": (cli.number, "share of the paths of DARTS cells that is dropped towards the end; 0: none"),
    "clip": (cli.number, "the gradient's norm is cut to; 0: it is not"),
    "smoothing": (cli.number, "share of each label that all classes get alike; 0: none"),
    "jitter": (cli.number, "strength of that of colours, 0 to 1; 0: none"),
}
AGAINST = ("baseline", "compound", "random", "static")


def arguments() -> cli.Parser:
    parser = cli.Parser(prog="python -m benchmark.search_channels", description=__doc__)
    parser.add_argument(
        "--network",
        default="resnet34",
        metavar="N",
        help="a name (default resnet34; a wrong one lists all), ./my_net.py:make, or a result.json of a search",
    )
    parser.add_argument(
        "--stem", metavar="S", help="cifar, for small images, or imagenet (default cifar, and that of a result.json)"
    )
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
    parser.add_argument("--status", action="store_true", help="say what is done and what is left, and stop")
    parser.add_argument("--published", action="store_true", help="print what the paper prints, Tables 2 to 4, and stop")
    parser.add_argument("--json", action="store_true", help="print the results as one JSON object")
    group = parser.add_argument_group("widths by scaling, without a search")
    group.add_argument(
        "--scale",
        choices=SCALES,
        help="compound: every width times sqrt(2)^k; static: to the share of it that the network uses, by the ranks of "
        "a training of --train-recipe with the first of --seeds",
    )
    group.add_argument("--k", nargs="+", type=cli.number, metavar="K", help="of compound scaling (default 1 3 5 7 9)")
    group.add_argument(
        "--parameters", nargs="+", type=cli.whole, metavar="N", help="instead of --k, so many, within 1 %%"
    )
    group.add_argument("--share", nargs="+", type=cli.number, metavar="S", help="of static scaling (default 0.2 to 1)")
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
    group.add_argument(
        "--train-recipe",
        metavar="R",
        help="paper (250 epochs, default), cells and imagenet (the paper's for DARTS cells, and their default), or smoke",
    )
    for name, (read, said) in TRAIN.items():
        shape = "N" if read is not cli.number else "X"
        group.add_argument(f"--train-{name.replace('_', '-')}", type=read, metavar=shape, help=said)
    cli.add_slurm(parser)
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
    _require_that_they_fit(options)
    if options.published:
        cli.answer(*tables())
        return 0
    given = cli.given_fields(options, ChannelRecipe)
    fields = (ChannelRecipe.CELLS if is_of_cells(base_of(options.network)) else {}) | precision.plain(given)
    recipe = ChannelRecipe.preset(options.recipe, **fields)

    from benchmark.channels.search import Search, require_readers, subject_of  # imports torch
    from benchmark.datasets import loaders

    dataset = loaders.load(recipe.dataset, options.data, loader=options.loader)
    dataset.reduced(recipe)
    subject = subject_of(options.network, options.stem, dataset)
    graph = subject.graph()  # or it says why not
    if not options.scale:
        require_readers(graph, subject.base, recipe.sides)
    if options.scale != "compound" or options.train:
        subject.require_layout(recipe.memory_layout)
    source, out = subject.source(), Path(options.out)
    looks = options.status or options.cancel

    def searches_by(recipe: ChannelRecipe) -> list[Search]:
        deltas = dict.fromkeys(options.delta)
        return [Search(subject, recipe, delta, options.seed, out, source) for delta in deltas]

    if "precision" not in fields:
        counts_only = options.scale == "compound" and not options.train
        elsewhere = options.where == "slurm" and not looks and Settings.read(options.cluster).gpus > 0
        recipe = precision.settled(
            recipe,
            lambda each: sum(search.folder.exists() for search in searches_by(each)),
            precision.unmeasured
            if looks or elsewhere or counts_only
            else precision.measured_on(options.device, load_space()),
        )
    asked = _Asked(options, words, recipe, subject, graph, source)
    if not options.scale:
        searches = searches_by(recipe)
        if not looks:
            for search in searches:
                search.prepare()
        return asked.searched(searches)
    return asked.scaled()


def _require_that_they_fit(options: Any) -> None:
    """Raises UsageError for flags that say nothing beside the others, or contradict them."""
    of = {"k": "compound", "parameters": "compound", "share": "static"}
    for flag, scale in of.items():
        if getattr(options, flag) is not None and options.scale != scale:
            raise UsageError(f"--{flag} is of --scale {scale}: give both, or neither")
    if options.k is not None and options.parameters is not None:
        raise UsageError("--k and --parameters both say how far compound scaling goes: give one of them")
    if least := [number for number in options.parameters or () if number < 1]:
        raise UsageError(f"--parameters is {least[0]}: it must be a whole number of 1 or more")
    if options.scale and options.scale in options.against:
        raise UsageError(f"{options.scale} scaling is what is trained: leave '{options.scale}' out of --against")
    if options.against and not options.train:
        raise UsageError("--against names what is trained beside what was found: give --train, too")


@dataclass(frozen=True)
class _Asked:
    """What one command asks for: a network's widths, searched or scaled, and how they compare."""

    options: Any
    words: Sequence[str]
    recipe: ChannelRecipe
    subject: Any  # channels.search.Subject
    graph: Any  # channels.graph.ChannelGraph
    source: str
    deadline: float | None = field(init=False)

    def __post_init__(self) -> None:
        after = self.options.stop_after
        object.__setattr__(self, "deadline", None if after is None else time.monotonic() + after)

    @property
    def out(self) -> Path:
        return Path(self.options.out)

    def searched(self, searches: Sequence[Any]) -> int:
        stage = self._search_stage(searches)
        if self.looks:
            return self._look([stage, *self._evaluation_stages(searches)])
        ended = stage.carry_out(self.options, self.deadline)
        results = _read(searches)
        if not ended.failed and len(results) < len(searches):
            self._say_how_to_go_on("searches", len(searches) - len(results))
        found = {f"search, delta {result['delta']:g}": result["widths"] for result in results.values()}
        return self._shown(results, found, ended, whole=len(results) == len(searches))

    def scaled(self) -> int:
        from benchmark.channels import judge, scaling
        from benchmark.channels.scaled import Scaled

        options, graph = self.options, self.graph
        made: list[Scaled] = []

        def add(label: str, key: str, how: Mapping[str, Any], widths: Mapping[str, int]) -> None:
            name = self.recipe.dataset
            made.append(Scaled(self.subject, name, label, key, how, widths, self.out, self.source))

        if options.scale == "compound":
            cap = max(self.recipe.cap, *(v.width for v in graph.variables))
            for number in dict.fromkeys(options.parameters or ()):
                widths = scaling.compound_of(graph, number, cap)
                how = {"kind": "compound", "parameters": number, "cap": cap}
                add(f"compound scaling, {number:,} parameters", f"compound-{number}-cap{cap}", how, widths)
            for k in dict.fromkeys(options.k or (() if options.parameters else scaling.STEPS)):
                how = {"kind": "compound", "k": k, "cap": cap}
                add(f"compound scaling, k {k:g}", f"compound-k{k:g}-cap{cap}", how, scaling.compound(graph, k, cap))
            stages = []
        else:
            baseline = self._contender("baseline", "baseline", graph.widths(), min(options.seeds), measures=True)
            stages = [self._stage([baseline])]
            if not self.looks:
                ended = stages[0].carry_out(options, self.deadline)
                if code := self._unfinished(stages[0], ended):
                    return code.value
            shares = options.share or judge.SHARES
            if record := baseline.read():
                of = f"{baseline.recipe.hash}-seed{baseline.seed}"
                for share, (label, _, widths) in zip(shares, judge.scaled(graph, record, shares), strict=True):
                    how = {
                        "kind": "static",
                        "share": share,
                        "ranks": baseline.name,
                        "recipe": baseline.recipe.to_dict(),
                    }
                    add(label, f"static-{share:g}-{of}", how, widths)
        found = {one.label: one.widths for one in made}
        if self.looks:
            return self._look([*stages, *([self._stage(self._entries(found))] if options.train else [])])
        results = {str(one.path): one.write(graph) for one in made}
        return self._shown(results, found, Ended(), whole=True)

    def _shown(self, results: Mapping[str, Any], found: Mapping[str, Any], ended: Ended, whole: bool) -> int:
        """Says what there is by now; then judges it, where that is asked and all of it is there."""
        if self.options.json and not self.options.train:
            cli.print_json({"results": results})
        elif not self.options.json:
            for path, result in results.items():
                cli.answer(*_lines(path, result))
        if ended.failed:
            raise _failure(ended)
        if not whole or ended.interrupted or not self.options.train:
            return 130 if ended.interrupted else 0
        return self._judged(found)

    def _judged(self, found: Mapping[str, Any]) -> int:
        """Trains what was found and its controls, with several seeds each, and says how they compare."""
        from benchmark.channels import judge

        options = self.options
        entries = self._entries(found)
        stage = self._stage(entries)
        if code := self._unfinished(stage, stage.carry_out(options, self.deadline)):
            return code.value
        if statics := self._statics(entries):
            stage = self._stage(statics)
            if code := self._unfinished(stage, stage.carry_out(options, self.deadline)):
                return code.value
            entries = [*entries, *statics]
        records = {(e.group, e.label, e.seed): e.read() or {} for e in entries}
        rows = judge.judged(records, list(found))
        trained = entries[0].recipe
        said = {
            "network": self.subject.base,
            "dataset": self.recipe.dataset,
            "recipe": trained.to_dict(),
            "recipe_label": trained.label,
            "command": cli.command_line("benchmark.search_channels", self.words),
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

    def _entries(self, found: Mapping[str, Any]) -> list[Any]:
        """All that is trained in the first place."""
        from benchmark.channels import judge

        options, recipe = self.options, self.recipe
        controls = judge.Controls(options.against, recipe.floor, recipe.cap, options.draws)
        made = judge.contenders(self.graph, found, controls)
        measures = "static" in (*options.against, options.scale)
        return [
            self._contender(group, label, widths, seed, measures and label == "baseline")
            for seed in sorted(set(options.seeds))
            for group, label, widths in made
        ]

    def _statics(self, entries: Sequence[Any]) -> list[Any]:
        """Static scaling as a control, by the first baseline's ranks; nothing before that is there."""
        from benchmark.channels import judge

        baseline = next((entry for entry in entries if entry.label == "baseline"), None)
        if "static" not in self.options.against or baseline is None or not (record := baseline.read()):
            return []
        made = judge.scaled(self.graph, record)
        seeds = sorted(set(self.options.seeds))
        return [self._contender(group, label, widths, seed) for seed in seeds for group, label, widths in made]

    def _contender(self, group: str, label: str, widths: Any, seed: int, measures: bool = False) -> Any:
        from benchmark.channels.judge import Contender

        recipe = _evaluation(self.options, self.recipe, self.subject)
        return Contender(self.subject, group, label, widths, seed, recipe, self.out, self.source, measures)

    def _search_stage(self, searches: Sequence[Any]) -> Stage:
        from benchmark.channels.search import SearchRun

        options, folder = self.options, self.out / "channels"
        run = SearchRun(options.data, options.device, options.loader, provenance.code_version())
        labels = [f"delta {search.delta:g}" for search in searches]

        def there() -> set[str]:
            return {path.parent.name for path in folder.glob("*/result.json")}

        return Stage("searching widths", run, searches, labels, [1.0] * len(labels), folder / "work" / "slurm", there)

    def _stage(self, entries: Sequence[Any]) -> Stage:
        from benchmark.channels.judge import EvaluationRun

        options, folder = self.options, entries[0].path.parent
        run = EvaluationRun(options.data, options.device, options.loader, provenance.code_version())
        for entry in entries:
            entry.read()  # one that cannot be believed is said now
        labels = [f"{entry.label} seed {entry.seed}" for entry in entries]
        works = [float(self.graph.macs(entry.widths)) for entry in entries]

        def there() -> set[str]:
            return {path.stem for path in folder.glob("*-seed*.json")}

        return Stage("training from scratch", run, entries, labels, works, folder / "work" / "slurm", there)

    def _evaluation_stages(self, searches: Sequence[Any]) -> list[Stage]:
        """Of what is trained after the searches, as far as that is known by now."""
        results = _read(searches)
        if not self.options.train or len(results) < len(searches):
            return []
        entries = self._entries({f"search, delta {r['delta']:g}": r["widths"] for r in results.values()})
        return [self._stage([*entries, *self._statics(entries)])]

    @property
    def looks(self) -> bool:
        """Whether it trains nothing."""
        return self.options.status or self.options.cancel

    def _look(self, stages: Sequence[Stage]) -> int:
        """--cancel and --status."""
        if self.options.cancel:
            for stage in stages:
                stage.submission(self.options).cancel()
            return 0
        told = [stage.status(self.options) for stage in stages]
        if self.options.json:
            cli.print_json({stage.title: found for stage, (found, _) in zip(stages, told, strict=True)})
        else:
            cli.answer(*(line for _, lines in told for line in lines))
        return 0

    def _unfinished(self, stage: Stage, ended: Ended) -> _Code | None:
        """The exit code where trainings are left; raises Failure where some failed."""
        if ended.failed:
            raise _failure(ended)
        left = len(stage.left())
        if left:
            self._say_how_to_go_on("trainings", left)
        return _Code(130 if ended.interrupted else 0) if left or ended.interrupted else None

    def _say_how_to_go_on(self, what: str, left: int) -> None:
        again = shlex.join(["python", "-m", "benchmark.search_channels", *self.words])
        cli.say(f"{what} left: {left}; go on with: {again}")


@dataclass(frozen=True)
class _Code:
    """With which the command ends, 0 too."""

    value: int


def _read(searches: Sequence[Any]) -> dict[str, Any]:
    """The results that are there, by path."""
    return {str(s.result_path): json.loads(s.result_path.read_bytes()) for s in searches if s.result_path.exists()}


def _failure(ended: Ended) -> Failure:
    return Failure("; ".join(f"{label}: {why}" for label, why in ended.failed.items()))


def _evaluation(options: Any, recipe: ChannelRecipe, subject: Any) -> Any:
    """The recipe of training from scratch: on the search's data, in its precision."""
    from benchmark.channels.judge import EvaluationRecipe, require_cells

    asked = {name: f"train_{name}" for name in TRAIN}
    fields = {name: getattr(options, flag) for name, flag in asked.items() if getattr(options, flag) is not None}
    if recipe.train_images is not None:
        fields |= {"train_images": recipe.train_images}
    if recipe.eval_images is not None:
        fields |= {"eval_images": recipe.eval_images}
    same = {name: getattr(recipe, name) for name in ("dataset", "precision", "memory_layout", "threads")}
    cells = "imagenet" if recipe.dataset == "imagenet" else "cells"
    preset = options.train_recipe or (cells if is_of_cells(subject.base) else "paper")
    chosen = EvaluationRecipe.preset(preset, **same | fields)
    require_cells(chosen, subject)
    return chosen


def _lines(path: str, result: Mapping[str, Any]) -> list[str]:
    """A result for people: sizes over the trials, widths at the end."""
    own, scaling = result["own"], result.get("scaling")
    of = scaling["label"] if scaling else f"delta {result['delta']:g}"
    lines = [
        f"{result['network']} on {result['dataset']}, {of}: {result['parameters']:,} parameters, "
        f"{result['macs'] / 1e6:.1f} million MACs (as it comes: {own['parameters']:,} and {own['macs'] / 1e6:.1f})",
    ]
    if not scaling:
        lines.append(
            "parameters of the trials: " + ", ".join(f"{trial['parameters']:,}" for trial in result["history"])
        )
    lines += ["widths: " + ", ".join(f"{name} {width}" for name, width in result["widths"].items())]
    own_of = {"k": scaling.get("k")} if scaling else {"delta": result["delta"]}
    # Of widths that were found or scaled before, the paper has no row.
    if not result.get("from") and (paper := beside(result["network"], result["dataset"], **own_of)):
        lines.append(
            f"published at this {next(iter(own_of))}: {paper.parameters:g} million parameters, {paper.accuracy:g} (std {paper.std:g}) "
            "by the recipe paper of search and training"
        )
    return [*lines, f"result: {path}"]


if __name__ == "__main__":
    cli.command(main)
