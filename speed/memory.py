"""How much memory a process has had. Light, so that whoever measures a program without torch measures it without."""

from __future__ import annotations

import sys


def peak_memory() -> int:
    """Bytes of physical memory that this process has had at most."""
    import resource  # not on every system

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
