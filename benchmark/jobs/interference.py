"""The interference experiment of `evaluate --configs` and `--gradients`: its trainings, and where its result is kept.

Each training is a search of `nas_methods.among`, kept under OUT/interference/rankings and resumed as any search is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nas_methods
from benchmark import files
from benchmark.errors import UsageError
from benchmark.jobs.search import Search
from benchmark.scoring.interference import Interference, interference
from benchmark.scoring.ranking import read_ranking
from benchmark.spaces.space import Config
from nas_methods import stamps

METHOD = "spos"
FOLDER = "interference"
LOOKS = 4  # epochs after which gradients are compared


@dataclass(frozen=True)
class Training(Search):
    """SPOS among some configurations; options: `configs` as text, `looks` and those of SPOS."""

    def instance(self) -> Any:
        from nas_methods.among import Among  # imports torch

        given = dict(self.options)
        return Among(configs=tuple(given.pop("configs")), **given)

    def path(self, seed: int) -> Path:
        found = super().path(seed)  # apart from rankings: it ranks nothing but its own configurations
        return found.parent.with_name(FOLDER) / found.parent.name / found.name


@dataclass(frozen=True)
class Experiment:
    """alone: a training per configuration, in canonical order, or none; together: all of them in one set of weights."""

    alone: tuple[Training, ...]
    together: Training

    @classmethod
    def of(cls, search: Search, configs: Sequence[Config], alone: bool) -> Experiment:
        """From a search of SPOS, whose options and recipe are those of each training.

        Trained alone too, each is trained for the recipe's epochs, and C of them together for C times as many: so each is
        trained on as many batches as alone, and what it loses it loses to the others. Otherwise the recipe's epochs are
        those of the training together. Raises UsageError for other methods, and for fewer than two configurations.
        """
        if search.method != METHOD:
            raise UsageError(
                f"--configs and --gradients ask what sharing weights does, with --method {METHOD}: not '{search.method}'"
            )
        if len(configs) < 2:
            raise UsageError(f"{configs[0]} alone shares its weights with no other: give --configs two or more")
        code = stamps.code_of(str(Path(nas_methods.__file__).with_name("among.py")))
        recipe = replace(search.recipe, curve_images=0)  # the curve is of all of the space

        def training(of: Sequence[Config], epochs: int, looks: int) -> Training:
            options = search.options | {"configs": [str(config) for config in of], "looks": looks}
            given = {name: getattr(search, name) for name in search.__dataclass_fields__}
            return Training(
                **given | {"options": options, "method_code": code, "recipe": replace(recipe, epochs=epochs)}
            )

        times = len(configs) if alone else 1
        return cls(
            tuple(training([config], recipe.epochs, 0) for config in configs) if alone else (),
            training(configs, times * recipe.epochs, LOOKS),
        )

    @property
    def trainings(self) -> tuple[Training, ...]:
        return (*self.alone, self.together)

    def result(self, seeds: Sequence[int]) -> Interference:
        """Of trainings that are all there."""
        alone, together = (
            [{seed: read_ranking(one.path(seed)) for seed in seeds} for one in some]
            for some in (self.alone, [self.together])
        )
        return interference(alone, together[0])

    def keep(self, found: Interference, seeds: Sequence[int]) -> Path:
        """Writes the result; where."""
        names = [training.path(seed).name for training in self.trainings for seed in seeds]
        digest = hashlib.sha256(json.dumps(names).encode()).hexdigest()[:12]
        path = (
            self.together.path(seeds[0]).parent.parent
            / f"{files.bounded(f'{found.space}-{found.recipe[0]}')}-{digest}.json"
        )
        files.write_atomically(path, (json.dumps(found.to_dict(), allow_nan=False) + "\n").encode())
        return path
