"""Runs a search method and scores its ranking against a table of ground truth.

    python -m benchmark.evaluate --method mixture --M 4                     # recipe paper, seed 0, table published
    python -m benchmark.evaluate --method spos --recipe smoke               # the same in a minute, to see it work
    python -m benchmark.evaluate --method ./my_method.py                    # a file of your own
    python -m benchmark.evaluate --method mixture --seeds 0 1 2 --where slurm       # a task per seed: slurm/README.md
    python -m benchmark.evaluate --scores FILE.csv --table published        # columns: config, score
    python -m benchmark.evaluate --method spos --configs "[1,1,8]" "[6,2,2]"   # do they harm each other in one set of weights?
    python -m benchmark.evaluate --method spos --gradients                  # whose gradients pull which way
    python -m benchmark.evaluate --method darts --retrain                   # and what it finds, trained from scratch
    python -m benchmark.evaluate --method all                               # every variant, beside the paper's tables
    python -m benchmark.evaluate --method mixture --space resnet18-cifar10  # a space without a table: what it picks
    python -m benchmark.evaluate --list

The ranking is kept under OUT/rankings, the score under OUT/scores, the training of a find under OUT/retrained. Kill it
at any moment: the same command goes on where it stopped, to the same ranking.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import nas_methods
from benchmark import cli, files
from benchmark.errors import Failure, UsageError, in_a_line
from benchmark.jobs import carrying, interference, listing, planning, retrain
from benchmark.jobs.planning import Plan
from benchmark.jobs.search import Search
from benchmark.recipe import SearchRecipe
from benchmark.scoring import race
from benchmark.scoring.finds import Finds
from benchmark.scoring.interference import Interference
from benchmark.scoring.ranking import Ranking, read_ranking, read_scores
from benchmark.scoring.scored import Score
from benchmark.scoring.scores import score
from benchmark.spaces.space import SPACES, PoolingSpace, load_space
from benchmark.tables.files import distinct_name, load_table
from benchmark.tables.table import GroundTruth
from benchmark.training import precision

DEFAULT_METHOD = "mixture"
ALL = "all"
TRACEBACK = "--traceback"


@dataclass(frozen=True)
class Everything:
    """What `--method all` stands for: no method, so no options of one."""


def arguments(method: type[Any] | None = Everything) -> cli.Parser:
    """The flags with a method, whose options are among them; None: those without any, to score a file or to list."""
    parser = cli.Parser(prog="python -m benchmark.evaluate", description=__doc__)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--method", metavar="NAME", help=f"{', '.join([*nas_methods.available(), ALL])}, or a .py file of yours"
    )
    what.add_argument(
        "--scores", metavar="FILE", help="a CSV file with the columns config, score, or a kept ranking's JSON"
    )
    what.add_argument("--list", action="store_true", help="say which methods there are, and stop")
    against = parser.add_mutually_exclusive_group()
    against.add_argument("--table", metavar="T", help="a table's name or path (default published)")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.add_argument("--out", type=cli.folder, default="results", metavar="DIR", help="default ./results")
    parser.add_argument(
        TRACEBACK, action="store_true", help="tell errors with Python's traceback too, those of workers as well"
    )
    if method is not None:
        against.add_argument(
            "--space",
            metavar="S",
            help=f"search a space of which there is no table, unscored: one of {', '.join(SPACES)}",
        )
        parser.add_argument("--recipe", default="paper", metavar="R", help="paper (default) or smoke")
        parser.add_argument("--seeds", nargs="+", type=cli.seed, default=[0], metavar="N", help="default 0")
        cli.add_data(parser)
        cli.add_device(parser)
        parser.add_argument(
            "--together", type=cli.positive, default=1, metavar="K", help="seeds at once, on Slurm per task (default 1)"
        )
        parser.add_argument(
            "--stop-after", type=cli.duration, metavar="T", help="end at a checkpoint after 90s, 8m, 1.5h"
        )
        parser.add_argument(
            "--fresh",
            action="store_true",
            help="search again where a ranking is there already, of this code or another; the old one is put aside",
        )
        cli.add_loader(parser)
        parser.add_argument(
            "--retrain",
            action="store_true",
            help="then train what was found from scratch, with the seed of its search, by the table's recipe (where it "
            "states none: the preset --recipe, in the search's precision), and test it",
        )
        parser.add_argument(
            "--configs",
            nargs="+",
            metavar="C",
            help="interference, with spos: each of these trained alone, for the recipe's epochs, and all in one set of "
            'weights, for that many each; as "[1,1,8]", 36 or 1-36',
        )
        parser.add_argument(
            "--gradients",
            action="store_true",
            help="interference, with spos: no training alone, but whose gradients pull which way, of --configs or all",
        )
        cli.add_slurm(parser)
        parser.add_argument("--status", action="store_true", help="say how the searches on Slurm stand, and stop")
        try:
            cli.add_fields(parser, method, "options of the method")
            title = "search recipe, field by field (defaults of the preset paper)"
            cli.add_fields(parser, SearchRecipe, title, {"precision": precision.AUTO})
        except ModuleNotFoundError:  # said where all commands say it
            raise
        except Exception as error:  # argparse's own ArgumentError, or a field that no flag can be made of
            raise UsageError(f"the options of this method cannot become flags: {in_a_line(error)}") from None
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _main(words)
    except (UsageError, Failure):
        if TRACEBACK in words:  # looked for here, since a method that cannot be loaded has no flags yet
            cli.say(traceback.format_exc())
        raise


def _main(words: list[str]) -> int:
    name = _method_in(words)
    bare = not {"--method", "--scores", "--list", "-h", "--help"} & {word.partition("=")[0] for word in words}
    if bare:
        name, words = DEFAULT_METHOD, ["--method", DEFAULT_METHOD, *words]
    asked = bool({"-h", "--help"} & set(words))  # then of all flags, whichever method it may be
    method = nas_methods.load(name) if name not in (None, ALL) else Everything if name == ALL or asked else None
    options = arguments(method).parse(words)
    if bare:
        cli.say(f"no --method, --scores or --list given: --method {DEFAULT_METHOD}")
    if options.list:
        return listing.print_methods(options.json)
    if not (name or options.scores):
        raise UsageError(
            f"no name is given: --method takes {', '.join(nas_methods.available())}; --scores takes a file"
        )
    if name and options.space:
        if name == ALL:
            raise UsageError("--method all is shown against a table: give --table, or one method with --space")
        return _evaluate(method, load_space(options.space), None, options, words)
    table = load_table(options.table or "published")
    if options.scores:
        kept = options.scores.endswith(".json")  # a ranking that a search left: it states its recipe and its data
        result = score(read_ranking(options.scores) if kept else read_scores(options.scores, table.space), table)
        _show(result, options.json)
        return 0
    if name == ALL:
        return _evaluate_all(table, options, words)
    return _evaluate(method, table.space, table, options, words)


def _method_in(words: list[str]) -> str | None:
    """The value of --method, which must be known before the other flags can be."""
    for flag, value in zip(words, [*words[1:], ""], strict=False):
        if flag == "--method":
            return value or None
        if flag.startswith("--method="):
            return flag.partition("=")[2] or None
    return None


def _deadline(options: Any) -> float | None:
    return time.monotonic() + options.stop_after if options.stop_after is not None else None


def _evaluate(method: Any, space: PoolingSpace, table: GroundTruth | None, options: Any, words: list[str]) -> int:
    if options.configs or options.gradients:
        return _interference(method, space, options, words)
    planning.require_judge_and_device(space, table, options)
    unmeasured = planning.unmeasured_recipe(space, options)
    search = planning.search_of(options.method, cli.given_fields(options, method), space, options, unmeasured)
    if table and nas_methods.trains(method):
        planning.require_same_data(unmeasured, table)
    search = replace(search, recipe=planning.measured_recipe([search], nas_methods.trains(method), space, options))
    plan = planning.planned(search, table, options)
    submission = carrying.submission_of(plan.search, options)
    if options.cancel:
        submission.cancel()
        return 0
    if options.status:
        return carrying.print_status(submission.queue, plan.search, plan.seeds, options.json)
    if plan.missing and options.where == "slurm":
        code = carrying.search_on_slurm(plan, submission, options, words)
        if code is not None:
            return code
        plan = replace(plan, missing=[])
        submission.settle(False, "all rankings are there")
    elif not plan.missing:
        submission.settle(options.wait, "all rankings are there")
    if plan.missing and plan.trains:
        task = plan.search.task(plan.seeds[0])
        planning.require_data(plan, task)
        planning.say_memory(plan, options)
        if (work := plan.work(task)) is not None:
            planning.say_how_long(plan.search, work, len(plan.missing), options)
    deadline = _deadline(options)
    result = _carried_out(plan, table, options, words, deadline)
    if isinstance(result, int):
        return result
    if isinstance(result, Score) and table is not None:
        try:
            _keep(plan, result, table, options)
        except OSError:
            _show(result, options.json)  # what was worked for, whatever became of its file
            raise
    if options.retrain:
        return _retrain(plan, result, table, options, words, deadline)
    _show(result, options.json)
    return 0


def _interference(method: Any, space: PoolingSpace, options: Any, words: list[str]) -> int:
    """Configurations alone and in one set of weights: not scored, for it is no ranking that is asked for."""
    if options.retrain or options.where == "slurm" or options.status or options.cancel:
        raise UsageError("--configs and --gradients run here, and there is nothing to --retrain: leave these flags out")
    planning.require_judge_and_device(space, None, options)
    configs = space.select(options.configs) if options.configs else space.configs
    given = cli.given_fields(options, method)
    search = planning.search_of(options.method, given, space, options, planning.unmeasured_recipe(space, options))
    made = partial(interference.Experiment.of, configs=configs, alone=not options.gradients)
    experiment = made(search)  # what is wrong is said before a precision is measured
    experiment = made(replace(search, recipe=planning.measured_recipe(experiment.trainings, True, space, options)))
    plans = [planning.planned(training, None, options) for training in experiment.trainings]
    if hungry := [plan for plan in plans if plan.missing]:
        task = hungry[0].search.task(hungry[0].seeds[0])
        planning.require_data(hungry[0], task)
        work = sum(plan.work(replace(task, recipe=plan.search.recipe)) or 0.0 for plan in hungry)
        planning.say_memory(plans[-1], options)
        planning.say_how_long(search, work, len(hungry[0].missing), options)
    deadline = _deadline(options)
    for plan in hungry:
        cli.say(
            f"training {' '.join(plan.search.options['configs'][:3])}{' ...' if len(plan.search.options['configs']) > 3 else ''}"
        )
        code = carrying.search_here(plan.search, plan.missing, options, carrying.command_again(words), deadline)
        if code is not None:
            return code
    result = experiment.result(plans[0].seeds)
    cli.say(f"kept: {experiment.keep(result, plans[0].seeds)}")
    _show(result, options.json)
    return 0


def _evaluate_all(table: GroundTruth, options: Any, words: list[str]) -> int:
    """Every variant of every method, each as if asked for alone; a failing one takes only itself down."""
    if options.configs or options.gradients:
        raise UsageError("--configs and --gradients ask what sharing weights does, with --method spos")
    if options.retrain:
        raise UsageError("--retrain trains what one method found: give its name instead of --method all")
    if options.where == "slurm" or options.status or options.cancel:
        raise UsageError(
            f"--method {ALL} runs here: for --where slurm, --status and --cancel name one method at a time"
        )
    recipe = planning.unmeasured_recipe(table.space, options)
    planning.require_same_data(recipe, table)
    planning.require_judge_and_device(table.space, table, options)
    results = race.Results(table)
    searches: dict[race.Entry, Search] = {}
    for name in nas_methods.available():
        method = results.attempt(race.Entry(name), partial(nas_methods.load, name))
        for variant in nas_methods.variants(method) if method else ():
            entry = race.Entry(name, variant)
            results.entries[entry] = race.NOT_YET
            made = partial(planning.search_of, name, dict(variant.options), table.space, options, recipe)
            if search := results.attempt(entry, made):
                searches[entry] = search
    trains = {entry: nas_methods.trains(search.instance()) for entry, search in searches.items()}
    recipe = planning.measured_recipe(
        [search for entry, search in searches.items() if trains[entry]], True, table.space, options
    )
    plans: dict[race.Entry, Plan] = {}
    for entry, search in searches.items():
        final = replace(search, recipe=recipe) if trains[entry] else search
        if plan := results.attempt(entry, partial(planning.planned, final, table, options)):
            plans[entry] = plan

    work = _foretold(plans, results, options)
    deadline, code = _deadline(options), 0
    cheap_first = sorted((entry for entry in plans if entry not in results.failed), key=lambda entry: work[entry])
    for place, entry in enumerate(cheap_first, start=1):
        cli.say(f"{place} of {len(cheap_first)}: {entry}")
        found = results.attempt(entry, partial(_carried_out, plans[entry], table, options, words, deadline))
        if isinstance(found, int):
            code = found
            break
        if isinstance(found, Score):
            results.scores[entry] = found
            results.attempt(entry, partial(_keep, plans[entry], found, table, options))
    _show(results, options.json)
    return code or (1 if results.failed else 0)


def _foretold(plans: dict[race.Entry, Plan], results: race.Results, options: Any) -> dict[race.Entry, float]:
    """MACs still to be computed for each plan; says what all of them will take."""
    work = dict.fromkeys(plans, 0.0)
    if hungry := [entry for entry, plan in plans.items() if plan.missing and plan.trains]:
        search, seeds = plans[hungry[0]].search, plans[hungry[0]].seeds
        task = search.task(seeds[0])
        _ = task.data  # what is wrong with the data is said now, and not by every method
        for entry in hungry:  # one that cannot fit takes only itself down
            plan = plans[entry]
            results.attempt(entry, partial(planning.require_memory, plan.search, len(plan.missing), options))
        hungry = [entry for entry in hungry if entry not in results.failed]
        known = {entry: results.attempt(entry, partial(plans[entry].work, task)) for entry in hungry}
        work |= {entry: macs for entry, macs in known.items() if macs is not None}
        planning.say_how_long(search, sum(work.values()), len(seeds), options)
    return work


def _carried_out(
    plan: Plan, table: GroundTruth | None, options: Any, words: list[str], deadline: float | None
) -> Score | Finds | int:
    """Makes the rankings that are missing and scores them all; an exit code if it ended early."""
    search, seeds = plan.search, plan.seeds
    if plan.missing:
        again = carrying.command_again(words)
        code = carrying.search_here(search, plan.missing, options, again, deadline)
        if code is not None:
            return code
    rankings = {seed: read_ranking(search.path(seed)) for seed in seeds}
    if table is None:
        cli.say(f"kept: {', '.join(str(search.path(seed)) for seed in seeds)}")
        return Finds(search.space.at(search.recipe.side), rankings)
    return score(list(rankings.values()), table)


def _keep(plan: Plan, result: Score, table: GroundTruth, options: Any) -> None:
    """Keeps a score, and says where."""
    search, seeds = plan.search, plan.seeds
    stem = search.path(seeds[0]).stem + "".join(f"-{seed}" for seed in seeds[1:])
    name = files.bounded(f"{stem}-vs-{distinct_name(table.name, table.sha256)}")
    kept = Path(options.out) / "scores" / f"{name}.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    files.write_atomically(kept, (json.dumps(result.to_dict(), indent=1, allow_nan=False) + "\n").encode())
    cli.say(f"kept: {', '.join(str(search.path(seed)) for seed in seeds)} and {kept}")


def _retrain(
    plan: Plan,
    result: Score | Finds,
    table: GroundTruth | None,
    options: Any,
    words: list[str],
    deadline: float | None,
) -> int:
    """Trains from scratch what was found, and shows it beside the score."""
    if not options.json:
        _show(result, False)
    if deadline is not None:
        options.stop_after = max(0.0, deadline - time.monotonic())
    space = plan.search.space
    recipe = retrain.ground_truth_recipe(space, table, options.recipe, plan.search.recipe)
    finds = {seed: _finds(read_ranking(plan.search.path(seed))) for seed in plan.seeds}
    done = retrain.retrain(space, recipe, finds, options)
    if options.json:
        cli.print_json(result.to_dict() | {"retrained": done.to_dict()})
    elif done.records:
        cli.answer(done.text())
    if done.left:
        again = carrying.command_again(words)
        cli.say(f"{done.left} of {done.left + len(done.records)} finds are not trained yet; go on with: {again}")
    return 130 if done.interrupted else 0


def _finds(ranking: Ranking) -> list[str]:
    """What a ranking picks, and what its history names beside it; what is no list has that name for another reason."""
    beside = ranking.history.get("finds")
    return [str(ranking.pick), *(map(str, beside) if isinstance(beside, list) else ())]


def _show(result: Score | Finds | Interference | race.Results, as_json: bool) -> None:
    if as_json:
        cli.print_json(result.to_dict())
    else:
        cli.answer(result.text())


if __name__ == "__main__":
    cli.command(main)
