"""NAS-Bench-Pooling: ground truth for the placement of a network's poolings.

The house has one street, and imports run along it only:

    space -> network + data -> training -> ledger -> table
                 \\-> method -> ranking -> scoring (against a table) -> report

This module is the light end of it: names are loaded when first used, and none of them needs torch.

    import benchmark
    space = benchmark.load_space("resnet20-cifar10")
    table = benchmark.load_table("published")
    table.query("[4,3,3]", seed=None, epoch=None, split="test")      # 90.52, per cent
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.errors import Failure as Failure
    from benchmark.errors import UsageError as UsageError
    from benchmark.ranking import Ranking as Ranking
    from benchmark.ranking import read_scores as read_scores
    from benchmark.recipe import Recipe as Recipe
    from benchmark.recipe import SearchRecipe as SearchRecipe
    from benchmark.scoring import score as score
    from benchmark.space import Config as Config
    from benchmark.space import PoolingSpace as PoolingSpace
    from benchmark.space import load_space as load_space
    from benchmark.table import GroundTruth as GroundTruth
    from benchmark.table import load_table as load_table

__version__ = "0.1.0"

_HOME = {
    "Failure": "errors",
    "UsageError": "errors",
    "Config": "space",
    "PoolingSpace": "space",
    "load_space": "space",
    "Recipe": "recipe",
    "SearchRecipe": "recipe",
    "Ranking": "ranking",
    "read_scores": "ranking",
    "GroundTruth": "table",
    "load_table": "table",
    "score": "scoring",
}
__all__ = [*sorted(_HOME), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'benchmark' has no attribute '{name}'")
    return getattr(import_module(f"benchmark.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
