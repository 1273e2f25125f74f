"""Optuna on a table: the table as a problem for studies, and Optuna's samplers in simulated time.

Needs `pip install 'nas-bench-pooling[optuna]'`. A runnable example: examples/optuna_study.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmark.errors import UsageError
from benchmark.simulation.asking import SearchTask, Trial
from benchmark.simulation.problem import Problem, problem_of
from benchmark.tables.table import GroundTruth

try:
    import optuna
except ImportError:
    raise UsageError("this needs Optuna: pip install 'nas-bench-pooling[optuna]'") from None


@dataclass(frozen=True)
class TableProblem:
    """A table as Optuna's studies and OptunaHub's benchmarks have problems: `search_space`, `directions`, `evaluate`.

        study = optuna.create_study(directions=problem.directions, sampler=..., pruner=...)
        study.optimize(problem, n_trials=50)

    A configuration is one categorical parameter, its text: positions of poolings as parameters of their own would make
    combinations that are in no space. A call reports the accuracy after every epoch, so that pruners can stop it (a
    study's default one does: give NopPruner for none), and leaves in the trial's `user_attrs` what it cost (`clock`, units
    of the problem's clock) and what judges (`judged`, per cent: the mean of the seeds that are not seen, where there are
    several).

    training: which of the table's seeds is seen, as an index into `problem.seeds`
    """

    problem: Problem
    training: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.training < len(self.problem.seen):
            raise UsageError(f"training is {self.training}: it must be from 0 to {len(self.problem.seen) - 1}")

    @classmethod
    def of(cls, table: GroundTruth, training: int = 0, clock: str = "auto") -> TableProblem:
        """Raises UsageError as `problem_of` does."""
        return cls(problem_of(table, clock), training)

    @property
    def search_space(self) -> dict[str, optuna.distributions.BaseDistribution]:
        return {"config": optuna.distributions.CategoricalDistribution([str(c) for c in self.problem.space])}

    @property
    def directions(self) -> list[optuna.study.StudyDirection]:
        return [optuna.study.StudyDirection.MAXIMIZE]

    def evaluate(self, params: dict[str, Any]) -> float:
        """The accuracy seen after the last epoch, per cent."""
        return float(self.problem.seen[self.training, self.problem.space.index(params["config"]), -1])

    def __call__(self, trial: optuna.Trial) -> float:
        (name,), (distribution,) = zip(*self.search_space.items(), strict=True)
        config = self.problem.space.index(trial.suggest_categorical(name, distribution.choices))
        trial.set_user_attr("judged", float(self.problem.judged[self.training, config]))
        for epoch in range(1, self.problem.epochs + 1):
            trial.report(float(self.problem.seen[self.training, config, epoch - 1]), epoch)
            trial.set_user_attr("clock", float(self.problem.cost[self.training, config, epoch - 1]))
            if epoch < self.problem.epochs and trial.should_prune():
                raise optuna.TrialPruned
        return self.evaluate({name: str(self.problem.space[config])})


@dataclass(frozen=True)
class Sampler:
    """An optimiser for `benchmark.simulate.simulate`: full trainings of what one of Optuna's samplers suggests.

    make  a sampler from a seed, as in lambda seed: optuna.samplers.TPESampler(seed=seed)
    """

    make: Callable[[int], optuna.samplers.BaseSampler]

    def begin(self, task: SearchTask) -> _Search:
        names = optuna.distributions.CategoricalDistribution([str(config) for config in task.space])
        sampler = self.make(int(task.draw.integers(2**31)))
        return _Search(task, names, optuna.create_study(direction="maximize", sampler=sampler))


@dataclass
class _Search:
    task: SearchTask
    names: optuna.distributions.CategoricalDistribution
    study: optuna.Study
    open: dict[int, list[optuna.Trial]] = field(default_factory=dict)  # by configuration

    def ask(self) -> Trial | None:
        trial = self.study.ask({"config": self.names})
        config = self.task.space.index(trial.params["config"])
        self.open.setdefault(config, []).append(trial)
        return Trial(config, self.task.epochs)

    def tell(self, trial: Trial, accuracy: float) -> None:
        self.study.tell(self.open[trial.config].pop(0), accuracy)
