"""NAS-Bench-Pooling: ground truth for the placement of a network's poolings.

The house has floors, and imports run down only:

    build_groundtruth  evaluate  compare  verify
    correlate  simulate  export  report                        the commands: `python -m benchmark` says what each does
    jobs  page                                                 what commands have carried out; the page of `report`
    adapters                                                   tables and spaces for Optuna, Syne Tune, ConfigSpace
    nas_methods  simulation                                    a file per search method; search on a table in simulated time
    channels                                                   CONet: ranks of convolutions, widths of networks
    training  scoring                                          training needs torch, scoring does not
    datasets  tables
    running  spaces                                            processes, Slurm, files; configurations, costs, networks
    recipe  datasheets  cli  provenance  streams  given  files  output  errors      small, used by all

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
    from benchmark.provenance import __version__ as __version__
    from benchmark.recipe import Recipe as Recipe
    from benchmark.recipe import SearchRecipe as SearchRecipe
    from benchmark.scoring.ranking import Ranking as Ranking
    from benchmark.scoring.ranking import read_scores as read_scores
    from benchmark.scoring.scores import score as score
    from benchmark.spaces.space import Config as Config
    from benchmark.spaces.space import PoolingSpace as PoolingSpace
    from benchmark.spaces.space import load_space as load_space
    from benchmark.tables.files import load_table as load_table
    from benchmark.tables.table import GroundTruth as GroundTruth

_HOME = {
    "__version__": "provenance",
    "Failure": "errors",
    "UsageError": "errors",
    "Config": "spaces.space",
    "PoolingSpace": "spaces.space",
    "load_space": "spaces.space",
    "Recipe": "recipe",
    "SearchRecipe": "recipe",
    "Ranking": "scoring.ranking",
    "read_scores": "scoring.ranking",
    "GroundTruth": "tables.table",
    "load_table": "tables.files",
    "score": "scoring.scores",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'benchmark' has no attribute '{name}'")
    return getattr(import_module(f"benchmark.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
