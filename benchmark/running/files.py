"""Files that survive a kill at any instant: whole or absent, and held by one process at a time. No torch."""

from __future__ import annotations

import fcntl
import glob
import hashlib
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

LEASE_SECONDS = 60.0  # without a heartbeat for so long, whoever holds a claim on another host counts as dead
BEATS = 6  # in that time
LOOK_SECONDS = 1.0  # between two looks whether a claim is still ours
LONGEST_STEM = 180  # bytes of a file's name before its ending: some file systems take 255, our own endings included
OVERTAKEN = 5  # times in a row that a file may vanish between two of our calls before something else must be wrong


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
    """Whether nobody writes a partial file any more; one without locks counts as abandoned a while before `written`."""
    with open(partial, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return written.stat().st_mtime - partial.stat().st_mtime > LEASE_SECONDS
        return True


def lock_file(path: Path) -> int | None:
    """A descriptor that holds the operating system's lock on a file, made if need be, until it is closed.

    None where somebody else holds it. Raises NotImplementedError where the file system has no locks.
    """
    for _ in range(OVERTAKEN):
        descriptor = _opened(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError as error:  # ENOLCK, EOPNOTSUPP, ENOSYS and what else file systems say
            os.close(descriptor)
            raise NotImplementedError(f"{path}: its file system has no locks ({error.strerror})") from None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
        os.close(descriptor)  # its last holder has removed the file: a lock on it keeps nobody away
    raise NotImplementedError(f"{path}: its file system does not say which file it is")


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:
        if not path.exists():
            raise
        return os.open(path, os.O_RDONLY)  # another user's, whose umask lets us read only: enough for a lock


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
                _put_exclusively(mine, self.path)
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


def _put_exclusively(content: Path, path: Path) -> None:
    """Gives a file another name. Raises FileExistsError where that is taken."""
    try:
        os.link(content, path)  # whole at once, and exclusive on network file systems too
    except FileExistsError:
        raise
    except OSError:  # no hard links (FUSE, exFAT, object stores): exclusive all the same, if not whole at once
        with open(path, "x") as file:
            file.write(content.read_text())


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
    path = lock.with_suffix(".lease")
    works = True
    try:
        held = lock_file(lock)
    except NotImplementedError:  # the lease alone decides
        held, works = None, False
    locked = held is not None
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
        if held is not None:
            os.close(held)


def is_held(lock: Path) -> bool:
    """Whether somebody seems to hold the claim, for people to read. Changes nothing.

    Of a holder on another host only the lease is seen; one that is very old by the clock here passes for left behind.
    """
    found = read_lease(lock.with_suffix(".lease"))
    if found is not None and time.time() - found[1][1] / 1e9 > 3 * patience_of(found[0]):
        found = None
    if not lock.exists():
        return found is not None
    try:
        held = lock_file(lock)
    except (NotImplementedError, OSError):
        return found is not None
    if held is None:
        return True
    os.close(held)
    return found is not None and not (found[0].get("locked") is True and found[0].get("host") == host())


def sweep(folder: Path, stem: str) -> None:
    """Removes what finished work left in its folder: STEM.pt, STEM.lock, STEM.lease and halves that a kill left."""
    for path in folder.glob(f"{glob.escape(stem)}.*"):
        path.unlink(missing_ok=True)
