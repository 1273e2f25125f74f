"""Files that survive a kill at any instant: whole or absent, and held by one process at a time. No torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout


def write_atomically(path: Path, data: bytes, partial: Path | None = None) -> None:
    """Writes beside (or at `partial`, on the same file system) and renames: whole or absent, even after a power cut.

    The partial file has one name, so that a rerun takes over what a kill left: for writers that hold a lock.
    """
    partial = partial or path.with_name(path.name + ".partial")
    with open(partial, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


@contextmanager
def claim(lock: Path) -> Iterator[bool]:
    """Yields True while this process alone holds the lock, False where another one does.

    The lock goes when its holder does, however it ends. Removing the file while holding it is safe if by then
    whoever still waits for it will find the work done.
    """
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        held.release()


def sweep(folder: Path, stem: str) -> None:
    """Removes what finished work left in its folder: STEM.pt, STEM.lock and halves that a kill left in the making."""
    for path in folder.glob(f"{stem}.*"):
        path.unlink(missing_ok=True)
