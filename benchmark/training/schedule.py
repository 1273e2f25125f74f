"""Learning-rate schedules: a rate per step, a function of the recipe and of where the training stands."""

from __future__ import annotations

import math

from benchmark.recipe import Recipe


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Cosine from `lr` to 0, stepped per batch: step 0 of `steps` trains with the full rate."""
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * step / steps))
