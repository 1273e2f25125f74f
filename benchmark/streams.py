"""Where every random number comes from: a named stream for each purpose. No torch.

A stream is a pure function of its key, so nothing random needs to be kept in a checkpoint, and the
same numbers are drawn on a CPU, on a GPU, alone or beside others.
"""

from __future__ import annotations

import hashlib
from operator import index
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def stream(*key: str | int) -> np.random.Generator:
    """A generator for one purpose, as in `stream("order", seed, epoch)`. Keys that differ are independent."""
    import numpy as np

    plain = tuple(part if isinstance(part, str) else index(part) for part in key)  # numpy's integers print otherwise
    digest = hashlib.sha256(repr(plain).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))
