"""Optuna's TPE, with a pruner that stops trainings by their first epochs, on the suite's own table."""

import optuna

import benchmark
from benchmark.adapters.optuna import TableProblem

optuna.logging.set_verbosity(optuna.logging.WARNING)
table = benchmark.load_table("resnet20-cifar10-paper-epochs10-2daccdc2036b")
problem = TableProblem.of(table, training=0)  # sees the table's first seed

study = optuna.create_study(
    directions=problem.directions,
    sampler=optuna.samplers.TPESampler(seed=0),
    pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3),
)
study.optimize(problem, n_trials=40)

best, spent = study.best_trial, sum(trial.user_attrs["clock"] for trial in study.trials)
print(f"{best.params['config']}: {best.value:.2f} % seen, {best.user_attrs['judged']:.2f} % by the seeds not seen")
print(f"cost: {spent / problem.problem.training:.1f} full trainings, clock {problem.problem.clock}")
