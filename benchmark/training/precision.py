"""What `--precision auto` stands for: on a GPU bf16, on a CPU the faster of bf16 and fp32, measured there. No torch.

A recipe, its hash and its records hold what was chosen. What was begun in one precision is gone on with in that one:
neither a noisy measurement nor another machine begins a second table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from benchmark.cli import say
from benchmark.recipe import PRECISIONS, Recipe
from benchmark.spaces.space import PoolingSpace

AUTO = "auto"

R = TypeVar("R", bound=Recipe)
Rates = Mapping[str, float]


def recipe_for(
    space: PoolingSpace,
    kind: type[R],
    preset: str,
    given: Mapping[str, Any],
    kept: Callable[[R], int],
    measure: Callable[[R], Rates | None],
) -> R:
    """The space's preset with the given fields, in the precision that was given or that `auto` stands for.

    kept, measure: as `settled` has them. Raises UsageError for an unknown preset and for bad values.
    """
    fields = plain(given)
    recipe = space.preset(kind, preset, **fields)
    return recipe if "precision" in fields else settled(recipe, kept, measure)


def plain(given: Mapping[str, Any]) -> dict[str, Any]:
    """The given fields but for a precision that is `auto`: of a recipe as it is before any choice."""
    return {name: value for name, value in given.items() if (name, value) != ("precision", AUTO)}


def settled(recipe: R, kept: Callable[[R], int], measure: Callable[[R], Rates | None]) -> R:
    """The recipe in the precision to be used, said in a line where it was measured.

    kept     how many results there are of a recipe already, whole or begun
    measure  images per second of a recipe by precision; None where there is no choice
    """
    choices = [replace(recipe, precision=name) for name in PRECISIONS]  # type: ignore[arg-type]
    counts = [kept(choice) for choice in choices]
    if any(counts):
        return choices[counts.index(max(counts))]
    rates = measure(recipe)
    if rates is None:
        return recipe
    best = max(rates, key=rates.__getitem__)
    others = ", ".join(f"{name} {_pace(rate)}" for name, rate in rates.items() if name != best)
    say(f"precision {best}: {_pace(rates[best])} images/s of one run here, {others} (--precision sets it)")
    return choices[PRECISIONS.index(best)]


def measured_on(device: str, space: PoolingSpace) -> Callable[[Recipe], Rates | None]:
    """What measures on a device (`auto`, `cpu`, `cuda`, `cuda:N`); on a GPU nothing: all that GPUs make is in bf16."""

    def measure(recipe: Recipe) -> Rates | None:
        from benchmark.training import devices, pace  # import torch

        chosen = devices.device_named(device)
        return None if chosen.type == "cuda" else pace.precision_rates(space, recipe, chosen)

    return measure


def unmeasured(recipe: Recipe) -> None:
    """For commands that train nothing here."""


def _pace(rate: float) -> str:
    return f"{rate:.0f}" if rate else "does not train here"
