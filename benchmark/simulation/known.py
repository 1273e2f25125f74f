"""The suite's own optimisers by name, and how a user writes one with its options: evolution:population=20,sample=5."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from benchmark.errors import UsageError, choices
from benchmark.simulation.asking import Optimizer
from benchmark.simulation.optimizers import evolution, local_search, random_search, successive_halving

OPTIMIZERS: dict[str, Any] = {
    "random_search": random_search.Optimizer,
    "local_search": local_search.Optimizer,
    "evolution": evolution.Optimizer,
    "successive_halving": successive_halving.Optimizer,
}


def named(text: str) -> Optimizer:
    """The optimiser that a text names: NAME or NAME:option=N,option=N. All options are whole numbers.

    Raises UsageError for unknown names and options, and for values that the optimiser refuses.
    """
    name, _, given = text.partition(":")
    if name not in OPTIMIZERS:
        raise UsageError(f"unknown optimiser '{name}': {choices(name, OPTIMIZERS)}")
    known = [field.name for field in fields(OPTIMIZERS[name])]
    options = {}
    for part in filter(None, given.split(",")):
        key, _, value = part.partition("=")
        if key not in known:
            has = choices(key, known, "its options are") if known else "it has none"
            raise UsageError(f"{name} has no option '{key}': {has}")
        if not (value.isascii() and value.isdigit() and len(value) < 10):
            raise UsageError(f"{name}: {key} is '{value}', which is no whole number: write it as {key}=3")
        options[key] = int(value)
    return OPTIMIZERS[name](**options)


def all_named(texts: Iterable[str]) -> dict[str, Optimizer]:
    """Optimisers by their texts; "all" stands for one of each. Raises UsageError as `named` does."""
    words = [word for text in texts for word in (OPTIMIZERS if text == "all" else [text])]
    return {word: named(word) for word in dict.fromkeys(words)}
