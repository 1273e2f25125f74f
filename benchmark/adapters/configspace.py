"""A space for ConfigSpace, which SMAC and others read. Needs `pip install 'nas-bench-pooling[configspace]'`."""

from __future__ import annotations

from benchmark.errors import UsageError
from benchmark.spaces.space import PoolingSpace

try:
    from ConfigSpace import CategoricalHyperparameter, ConfigurationSpace
except ImportError:
    raise UsageError("this needs ConfigSpace: pip install 'nas-bench-pooling[configspace]'") from None


def configuration_space(space: PoolingSpace, seed: int | None = None) -> ConfigurationSpace:
    """One categorical, `config`, whose values are the configurations as text; the default is the space's.

    Positions of poolings as parameters of their own would make combinations that are in no space.
    """
    made = ConfigurationSpace(name=space.name, seed=seed)
    made.add(CategoricalHyperparameter("config", [str(config) for config in space], default_value=str(space.default)))
    return made
