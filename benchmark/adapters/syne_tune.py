"""Syne Tune on a table: the table as a blackbox with seeds and fidelities, for its simulator back end.

Needs `pip install 'nas-bench-pooling[syne-tune]'`. A runnable example: examples/syne_tune_simulation.py.
"""

from __future__ import annotations

import numpy as np

from benchmark.errors import UsageError
from benchmark.simulation.problem import problem_of
from benchmark.tables.table import GroundTruth

try:
    from syne_tune.blackbox_repository.blackbox_tabular import BlackboxTabular
    from syne_tune.config_space import choice, randint
except ImportError:
    raise UsageError("this needs Syne Tune: pip install 'nas-bench-pooling[syne-tune]'") from None

METRIC, ELAPSED, FIDELITY = "test_accuracy", "elapsed_time", "epoch"


def blackbox(table: GroundTruth, clock: str = "auto") -> BlackboxTabular:
    """The table for `UserBlackboxBackend(blackbox, elapsed_time_attr="elapsed_time", seed=...)`.

    A configuration is one categorical, `config`, its text. Fidelity `epoch` runs from 1 to a full training. Objectives
    `test_accuracy` (per cent) and `elapsed_time` (clock units from the start of the training, cumulative), one pair for
    each of the table's seeds that every configuration has; the back end's `seed` picks one, from 0.
    Raises UsageError as `problem_of` does.
    """
    import pandas as pd

    problem = problem_of(table, clock)
    names = [str(config) for config in problem.space]
    values = np.stack([problem.seen, problem.cost], axis=-1)  # (S, C, E, 2)
    box = BlackboxTabular(
        hyperparameters=pd.DataFrame({"config": names}),
        configuration_space={"config": choice(names)},
        fidelity_space={FIDELITY: randint(1, problem.epochs)},
        objectives_evaluations=values.transpose(1, 0, 2, 3),
        objectives_names=[METRIC, ELAPSED],
    )
    # It looks configurations up by tuples, which an index of a single column takes only as a MultiIndex.
    box.hyperparameters_index.index = pd.MultiIndex.from_arrays([names], names=["config"])
    return box
