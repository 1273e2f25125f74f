"""Files that survive a kill at any instant: whole or absent, and held by one process at a time. No torch."""

from __future__ import annotations

import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

LEASE_SECONDS = 60.0  # without a heartbeat for so long, whoever holds a claim on another host counts as dead
BEATS = 6  # in that time
LOOK_SECONDS = 1.0  # between two looks whether a claim is still ours


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


class Lost(Exception):
    """Raised by a holder that was taken for dead, after which somebody else holds its claim: it must write nothing."""


@dataclass
class Watch:
    """What one process has seen of the claims of others: since when, on its own clock, a lease shows no new sign of life.

    Nobody's clock is compared with another's. A heartbeat is any change of the lease's file.
    """

    seen: dict[Path, tuple[Any, float]] = field(default_factory=dict)

    def silent(self, path: Path, sign: Any) -> float:
        """Seconds for which the lease has looked as it does now."""
        now = time.monotonic()
        if self.seen.get(path, (None, now))[0] != sign:
            self.seen.pop(path, None)
        return now - self.seen.setdefault(path, (sign, now))[1]


@dataclass
class Lease:
    """A claim while it is held. A thread keeps it alive; `check` says whether it still is ours."""

    path: Path
    seconds: float
    locked: bool  # the operating system holds the lock for this process: where it lets go of it, the holder is dead

    def __post_init__(self) -> None:
        self.token = uuid.uuid4().hex
        self._ended = threading.Event()
        self._looked = time.monotonic()
        self._lost = False

    def take(self, over: bool) -> bool:
        """Puts the lease in place: of a dead one's if `over`, else unless there is one. False if another was quicker."""
        mine = self.path.with_name(f"{self.path.name}.{self.token}")
        said = {"token": self.token, "host": host(), "locked": self.locked, "seconds": self.seconds}
        mine.write_text(json.dumps(said))
        try:
            if over:
                os.replace(mine, self.path)
            else:
                os.link(mine, self.path)  # exclusive, on network file systems too
        except FileExistsError:
            return False
        finally:
            mine.unlink(missing_ok=True)
        threading.Thread(target=self._keep_alive, daemon=True).start()
        return True

    def _keep_alive(self) -> None:
        while not self._ended.wait(self.seconds / BEATS) and not self._lost:
            self._look()

    def _look(self) -> None:
        """Beats if the lease is still ours. A file system that does not answer proves nothing."""
        try:
            found = read_lease(self.path)
            if found is None or found[0].get("token") != self.token:
                self._lost = True
            else:
                os.utime(self.path)
        except FileNotFoundError:
            self._lost = True
        except OSError:
            pass
        self._looked = time.monotonic()

    def check(self) -> None:
        """Raises Lost where somebody else has taken over. Cheap enough for every step."""
        if not self._lost and time.monotonic() - self._looked > LOOK_SECONDS:
            self._look()
        if self._lost:
            raise Lost(f"{self.path.name} was taken over: this process had shown no sign of life")

    def guarding(self, stop: Callable[[], bool]) -> Callable[[], bool]:
        """The same question, but asked of a holder that lost its claim, it raises Lost."""

        def asked() -> bool:
            self.check()
            return stop()

        return asked

    def release(self) -> None:
        self._ended.set()
        with suppress(OSError):
            found = read_lease(self.path)
            if found is not None and found[0].get("token") == self.token:
                self.path.unlink()


def host() -> str:
    """What shares one operating system, and so its locks. Nodes of a cluster that share a host count as hosts."""
    return os.environ.get("SLURMD_NODENAME") or platform.node()


def read_lease(path: Path) -> tuple[dict[str, Any], Any] | None:
    """What a lease says and its sign of life, or None where there is none. Opening it asks a network's server."""
    try:
        with open(path) as file:
            text, stat = file.read(), os.fstat(file.fileno())
    except FileNotFoundError:
        return None
    try:
        said = json.loads(text)
    except ValueError:
        said = {}
    return (said if isinstance(said, dict) else {}), (text, stat.st_mtime_ns)


@dataclass
class Terms:
    """How one process holds its claims, and what it remembers of those of others.

    seconds: without a heartbeat for so long, this process may be taken for dead.
    """

    seconds: float = LEASE_SECONDS
    watch: Watch = field(default_factory=Watch)


def patience_of(said: dict[str, Any]) -> float:
    """Seconds of silence after which the holder of a lease asks to be taken for dead."""
    seconds = said.get("seconds")
    return seconds if isinstance(seconds, int | float) else LEASE_SECONDS


@contextmanager
def claim(lock: Path, terms: Terms | None = None, wait: bool = False) -> Iterator[Lease | None]:
    """Yields a lease while this process alone holds the claim, None where another one does.

    Two things hold it, for neither does on its own. A lock of the operating system goes when its holder does, however
    that ends, so that a rerun on the same host goes on at once; but over a network it may not work, or outlive a dead
    node. A lease, a file beside it with a heartbeat, works everywhere; but a dead holder's has to be waited for.

    terms  the same object for all attempts of a process, for a lease elsewhere is taken over only once this process has
           seen it silent for as long as its holder said
    wait   for who asks only once: until a holder elsewhere has shown a sign of life, or none for long enough

    Removing the files while holding it is safe if by then whoever still waits for it will find the work done.
    """
    terms = terms or Terms()
    held = FileLock(lock)
    path = lock.with_suffix(".lease")
    locked, works = True, True
    try:
        held.acquire(timeout=0)
    except Timeout:
        locked = False
    except (NotImplementedError, OSError):  # a file system without such locks: the lease alone decides
        locked = works = False
    lease = Lease(path, terms.seconds, locked)
    try:
        found = read_lease(path)
        if found is None:
            mine = (locked or not works) and lease.take(over=False)
        else:
            said, sign = found
            here = said.get("locked") is True and said.get("host") == host()
            died = (here and locked) or terms.watch.silent(path, sign) > patience_of(said)
            while wait and not here and not died and read_lease(path) == found:
                time.sleep(LOOK_SECONDS)
                died = terms.watch.silent(path, sign) > patience_of(said)
            mine = died and lease.take(over=True)
        yield lease if mine else None
    finally:
        lease.release()
        if locked:
            held.release()


def is_held(lock: Path) -> bool:
    """Whether somebody seems to hold the claim, for people to read. Changes nothing.

    Of a holder on another host only the lease is seen; one that is very old by the clock here passes for left behind.
    """
    found = read_lease(lock.with_suffix(".lease"))
    if found is not None and time.time() - found[1][1] / 1e9 > 3 * patience_of(found[0]):
        found = None
    if not lock.exists():
        return found is not None
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        return True
    except (NotImplementedError, OSError):
        return found is not None
    held.release()
    return found is not None and not (found[0].get("locked") is True and found[0].get("host") == host())


def sweep(folder: Path, stem: str) -> None:
    """Removes what finished work left in its folder: STEM.pt, STEM.lock, STEM.lease and halves that a kill left."""
    for path in folder.glob(f"{stem}.*"):
        path.unlink(missing_ok=True)
