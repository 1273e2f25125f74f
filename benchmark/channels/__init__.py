"""CONet (Hosseini et al., 2021): how many channels each layer of a network should have.

from benchmark.channels import ChannelGraph        # needs torch; loaded when it is first used
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark.channels.graph import ChannelGraph as ChannelGraph
    from benchmark.channels.graph import Variable as Variable

__all__ = ["ChannelGraph", "Variable"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'benchmark.channels' has no attribute '{name}'")
    return getattr(import_module("benchmark.channels.graph"), name)
