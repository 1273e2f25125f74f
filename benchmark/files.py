"""Files that are whole or absent, whenever a writer is killed, and names that fit into a file system. No torch."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import os
import uuid
from contextlib import suppress
from pathlib import Path

ABANDONED_SECONDS = 60.0  # before the file itself was written, a partial one that no lock can tell of counts as left
LONGEST_STEM = 180  # bytes of a file's name before its ending: some file systems take 255, our own endings included
OVERTAKEN = 20  # times in a row that a file may vanish between two of our calls before something else must be wrong


def bounded(stem: str) -> str:
    """The stem of a file's name as it is, or where it is longer than a name may be, its start and a hash of the whole."""
    data = stem.encode(errors="surrogateescape")
    if len(data) <= LONGEST_STEM:
        return stem
    tail = f"-{hashlib.sha256(data).hexdigest()[:12]}"
    return data[: LONGEST_STEM - len(tail)].decode(errors="ignore") + tail


def write_atomically(path: Path, data: bytes | memoryview, beside: Path | None = None) -> None:
    """Writes a partial file in the folder `beside` (on the same file system; default: the path's) and renames it.

    The path is whole or absent, even after a power cut. Any number of processes may write it at once, each its own
    partial file; the last one's stands. What a kill left of earlier writes goes with the next one.
    """
    folder = beside or path.parent
    for left in range(OVERTAKEN, 0, -1):
        partial = folder / f"{path.name}.{uuid.uuid4().hex[:12]}.partial"
        try:
            with open(partial, "wb") as file:
                with suppress(OSError):  # by its lock others see that it is being written, where there are such locks
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                os.replace(partial, path)
            break
        except FileNotFoundError:  # another writer swept it up before it was locked, or over a network
            if left == 1 or not folder.is_dir():
                raise
        except BaseException as error:
            if (
                isinstance(error, OSError) and error.errno and error.filename is None
            ):  # a full disk does not say what did not fit
                error.filename = str(path)
            partial.unlink(missing_ok=True)
            raise
    for partial in folder.glob(f"{glob.escape(path.name)}.*.partial"):
        with suppress(OSError):  # another process sweeps, too; or it is another user's
            if _is_abandoned(partial, path):
                partial.unlink()


def _is_abandoned(partial: Path, written: Path) -> bool:
    """Whether nobody writes a partial file any more; one without locks counts as abandoned a while before `written`.

    One that is no older than `written` has been begun since: its writer may be about to lock it.
    """
    if partial.stat().st_mtime_ns >= written.stat().st_mtime_ns:
        return False
    with open(partial, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return written.stat().st_mtime - partial.stat().st_mtime > ABANDONED_SECONDS
        return True
