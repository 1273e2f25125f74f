"""Searches before they begin: what a command's flags ask for, checked as far as can be, with what it will take.

A method's mistakes, missing data, a table of other data, a device that is not there, memory and time are said here, so that
no search begins that cannot end well.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import nas_methods
from benchmark import cli, provenance
from benchmark.errors import Failure, UsageError, in_a_line
from benchmark.jobs import retrain
from benchmark.jobs.search import Search
from benchmark.recipe import SearchRecipe, is_implicit
from benchmark.running import cluster
from benchmark.spaces.space import PoolingSpace, require_trainable
from benchmark.tables.table import GroundTruth
from benchmark.training import precision
from nas_methods import stamps


@dataclass(frozen=True)
class Plan:
    """A search that can begin: nothing that could be checked beforehand is wrong with it."""

    search: Search
    instance: Any
    seeds: list[int]
    missing: list[int]  # seeds without a ranking

    @property
    def trains(self) -> bool:
        return nas_methods.trains(self.instance)

    def work(self, task: nas_methods.Task) -> float | None:
        """MACs still to be computed, from a task of any seed; None where the method does not foretell any."""
        if not (self.missing and self.trains):
            return 0.0
        if not hasattr(self.instance, "work"):
            return None
        try:
            return len(self.missing) * self.instance.work(task)
        except (UsageError, Failure):
            raise
        except Exception as error:
            why = f"its work(task) raises {type(error).__name__}: {in_a_line(error)}"
            raise Failure(f"method '{self.search.name}': {why}") from error


def search_of(name: str, given: dict[str, Any], space: PoolingSpace, options: Any, recipe: SearchRecipe) -> Search:
    """Raises UsageError for a method that cannot be loaded or that refuses its options."""
    method = nas_methods.load(name)
    try:
        instance = method(**given)
    except UsageError:
        raise
    except Exception as error:  # an option without default, or one that the method refuses in its own way
        raise UsageError(f"method '{name}': {in_a_line(error)}") from error
    chosen = {f.name: value for f in fields(method) if not is_implicit(f, value := getattr(instance, f.name))}
    try:
        json.dumps(chosen, allow_nan=False)  # a ranking is kept with them: said now and not when it is made
    except (TypeError, ValueError) as error:
        raise UsageError(f"method '{name}': its options {chosen} cannot be kept as JSON ({error})") from None
    source = nas_methods.origin(name)
    return Search(
        name,
        chosen,
        space,
        recipe,
        Path(options.out),
        options.data,
        options.device,
        options.engine,
        stamps.code_of(name),
        provenance.code_version() | ({"method_from": source} if source else {}),
        loader=options.loader,
        traceback=options.traceback,
    )


def measured_recipe(searches: Sequence[Search], trains: bool, space: PoolingSpace, options: Any) -> SearchRecipe:
    """The recipe as the flags give it, one for all these searches (whatever recipe they have by now)."""

    def kept(recipe: SearchRecipe) -> int:
        return sum(replace(s, recipe=recipe).begun(seed) for s in searches for seed in set(options.seeds))

    here = trains and searches and not (options.status or options.cancel)
    if here and options.where == "slurm":
        here = not cluster.Settings.read(options.cluster).gpus

    def measure(recipe: SearchRecipe) -> precision.Rates | None:
        if len(searches) == 1 and options.where != "slurm":  # what does not fit even in bf16: measuring takes long, too
            require_memory(replace(searches[0], recipe=recipe), len(set(options.seeds)), options)
        return precision.measured_on(options.device, space)(recipe)

    given = cli.given_fields(options, SearchRecipe)
    return precision.recipe_for(
        space, SearchRecipe, options.recipe, given, kept, measure if here else precision.unmeasured
    )


def unmeasured_recipe(space: PoolingSpace, options: Any) -> SearchRecipe:
    """The recipe as the flags give it, before a precision is chosen."""
    return space.preset(SearchRecipe, options.recipe, **precision.plain(cli.given_fields(options, SearchRecipe)))


def planned(search: Search, table: GroundTruth | None, options: Any) -> Plan:
    """Raises UsageError for whatever is wrong with a search before it begins."""
    instance = search.instance()
    if options.retrain:
        retrain.ground_truth_recipe(
            search.space, table, options.recipe, search.recipe
        )  # what is wrong is said before the search
    seeds = sorted(set(options.seeds))
    if options.fresh and not (options.status or options.cancel):
        for seed in seeds:
            search.set_aside(seed)
    return Plan(search, instance, seeds, [seed for seed in seeds if not search.kept(seed)])


def require_same_data(recipe: SearchRecipe, table: GroundTruth) -> None:
    if recipe.dataset != table.dataset:
        raise UsageError(
            f"table {table.name} was made on {table.dataset}, the search would see {recipe.dataset}: "
            f"use --dataset {table.dataset} or a --table made on {recipe.dataset}"
        )


def require_judge_and_device(space: PoolingSpace, table: GroundTruth | None, options: Any) -> None:
    if table:
        table.require_judge()
    require_trainable(space)
    if (options.device, options.engine) not in (("auto", "auto"), ("cpu", "auto"), ("cpu", "eager")):
        from benchmark.training import devices, engine

        engine.require_engine(options.engine, devices.device_named(options.device))  # said now, whatever the method


def require_data(plan: Plan, task: nas_methods.Task) -> None:
    """What is wrong with the data is said before the search. Raises Failure."""
    try:
        _ = task.data
    except Failure as error:
        if hasattr(plan.instance, "trains") or hasattr(plan.instance, "work"):
            raise
        raise Failure(
            f"{error}. If method '{plan.search.name}' looks at no image, say so in its class: trains = False"
        ) from None


def require_memory(search: Search, searches: int, options: Any) -> str:
    """A line on what so many of these searches take of the device's memory; empty where the method does not foretell it.

    Raises UsageError where that cannot fit.
    """
    from benchmark.training import devices, memory

    instance = search.instance()
    if not hasattr(instance, "memory"):
        return ""
    device, at_once = devices.device_named(options.device), min(options.together, searches)
    models = getattr(instance, "models", 1)
    several = f" with M = {models} (fewer take less)" if models > 1 else ""
    what = f"{search.name} at batch {search.recipe.batch_size}{several}"
    return memory.require(instance.memory(search.task(options.seeds[0])), what, device, at_once)


def say_memory(plan: Plan, options: Any) -> None:
    """Says what a plan's searches take. Raises UsageError where that cannot fit."""
    if line := require_memory(plan.search, len(plan.missing), options):
        cli.say(line)


def say_how_long(search: Search, work: float, searches: int, options: Any) -> None:
    """Says, without a GPU, what so many searches with `work` MACs in all will take."""
    from benchmark.training import devices, pace

    device = devices.device_named(options.device)
    if device.type != "cpu":
        return
    at_once = min(options.together, pace.default_together(search.recipe, device))
    rounds = -(-searches // at_once) / searches
    duration = pace.measure_speed(search.space, search.recipe, device).readable(work * rounds)
    threads = f"{search.recipe.threads} threads" if search.recipe.threads > 1 else "1 thread"
    cli.say(f"on the CPU: {duration} on this machine ({devices.device_label(device)}, {threads}, measured)")
    if options.recipe != "smoke":
        shown = f"--space {search.space.name} --method {options.method} --recipe smoke"
        cli.say(f"to see it work in minutes: python -m benchmark.evaluate {shown}")
