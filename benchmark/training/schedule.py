"""Learning-rate schedules: a rate per step, a function of the recipe and of where the training stands."""

from __future__ import annotations

import math

from benchmark.recipe import Recipe


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """The rate of step number `step`, from 0, of `steps`.

    Cosine from `lr` to 0, stepped per batch: the first step trains with the full rate. Where the recipe has milestones,
    `lr` times `gamma` for each of them that lies behind.
    """
    if recipe.milestones:
        return recipe.lr * recipe.gamma ** sum(step / steps >= share for share in recipe.drops)
    return recipe.lr * 0.5 * (1 + math.cos(math.pi * step / steps))
