"""Runs a function on many items, several at once, in processes of their own, here or on Slurm. Knows no pooling.

    launch(function, items, processes=4, report=print)                    # blocks until nothing is left to do
    launch(function, items, processes=4, where="slurm", queue=queue)      # returns once the items are submitted

`function(item, report, stop)` is called once per item in some worker process and returns True when the item
is finished, False when somebody else holds it (it is tried again later), None when `stop()` made it leave.
It may be a generator function: the items of a worker with several slots then take turns at each `yield`, as runs
on one GPU do. A failing item takes only itself down. Workers die with their parent, however it dies.
What Slurm needs beyond this stands in `benchmark.running.cluster`; each of its tasks (`node`) calls `launch` for its items again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Literal

from benchmark.cli import say
from benchmark.errors import Failure, UsageError, in_a_line

if TYPE_CHECKING:
    from benchmark.running.cluster import Queue

Answer = bool | None
Function = Callable[[Any, Callable[[Any], None], Callable[[], bool]], Answer | Generator[None, None, Answer]]

# For workers that compute. None of it can change a bit of a result: large blocks are kept, on huge pages, instead of
# being handed back to the system after every layer (each return costs page faults), and idle threads sleep instead
# of spinning. Other C libraries ignore it.
LEAN_ENVIRONMENT = {
    "GLIBC_TUNABLES": ":".join(
        f"glibc.malloc.{name}" for name in ("mmap_max=0", "trim_threshold=17179869184", "top_pad=67108864", "hugetlb=1")
    ),
    "OMP_WAIT_POLICY": "PASSIVE",
    "GOMP_SPINCOUNT": "0",
}

# All ask to stop at the next checkpoint; SIGUSR2 is what schedulers send before a time limit or a pre-emption.
POLITE = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR2") if hasattr(signal, name)]
BUSY_PAUSE = 0.5  # seconds before asking again for an item that somebody else holds


@dataclass
class Outcome:
    """What became of the items, by position: `done`, `failed` (with one line why), `queued`, the rest left over."""

    done: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    queued: list[int] = field(default_factory=list)
    interrupted: bool = False


class Spoiled(Exception):
    """Raised by an item's function after which its process can compute nothing more, such as a fault of the GPU."""


def _work(function: Function, items: Sequence[Any], pipe: Connection) -> None:
    """A worker: takes positions from the pipe until it closes."""
    if sys.stderr is not None:  # what functions and their libraries print is no result of the command that asked
        os.dup2(2, 1)
        sys.stdout = sys.stderr
    stopping = False

    def ask_to_stop(*_: Any) -> None:
        nonlocal stopping
        stopping = True  # no threading.Event: a second signal would wait for ever for the lock that the first one holds

    signal.signal(signal.SIGTERM, ask_to_stop)
    for number in POLITE:
        if number != signal.SIGTERM:  # Ctrl-C and the like reach the parent too, which asks politely
            signal.signal(number, signal.SIG_IGN)
    _unblock(POLITE)

    parent = multiprocessing.parent_process()
    assert parent is not None

    def die_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)  # a killed parent can ask for nothing any more

    threading.Thread(target=die_with_parent, daemon=True).start()

    def tell(kind: str, position: int, payload: Any) -> None:
        try:
            pipe.send((kind, position, payload))
        except OSError:  # the parent hung up: it was told to end at once, and nobody is left to read a traceback
            os._exit(1)

    tell("began", -1, None)

    def run(position: int) -> Generator[None, None, Answer]:
        def report(news: Any) -> None:
            tell("news", position, news)

        answer = function(items[position], report, lambda: stopping)
        if isinstance(answer, Generator):
            answer = yield from answer
        return answer

    under_way: dict[int, Generator[None, None, Answer]] = {}
    handed_over: deque[int] = deque()
    room = getattr(function, "room", lambda: True)
    while True:
        while pipe.poll(0 if under_way or handed_over else None):
            try:
                handed_over.append(pipe.recv())
            except (EOFError, OSError):  # hung up; the latter where it left without having heard us out
                return
        if handed_over and (not under_way or room()):
            position = handed_over.popleft()
            under_way[position] = run(position)
        for position, steps in list(under_way.items()):
            try:
                next(steps)
                continue
            except StopIteration as end:
                tell("end", position, end.value)
            except Spoiled as error:
                tell("spoiled", position, _one_line(error))
                os._exit(1)  # not even the interpreter's own end can be trusted
            except SystemExit as error:  # of a library that takes itself for the program
                tell("failed", position, f"it ended with sys.exit({error.code!r}) where an answer was expected")
            except BaseException as error:  # its own KeyboardInterrupt, too: those of users are ignored here
                tell("failed", position, _one_line(error))
            del under_way[position]


def _block(numbers: Sequence[int]) -> Any:
    """Keeps signals waiting, in this process and those it starts; returns what was blocked before."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, numbers) if hasattr(signal, "pthread_sigmask") else ()


def _unblock(numbers: Sequence[int]) -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def _one_line(error: BaseException) -> str:
    """Why an item failed; for errors that are not meant for users, also where."""
    if isinstance(error, (UsageError, Failure, Spoiled)):
        return " ".join(str(error).split())
    last = traceback.extract_tb(error.__traceback__)[-1]
    return " ".join(f"{type(error).__name__}: {in_a_line(error)} ({last.filename}, line {last.lineno})".split())


def _why_it_ended(code: int | None, began: bool) -> str:
    """What the exit code of a process says that ended with an item under way."""
    if code is not None and code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"its process was ended by {name}" + (" (out of memory, or killed)" if name == "SIGKILL" else "")
    if not began:
        return (
            f"its process ended with code {code} before it could begin: what it said stands above. A program of your own "
            'must keep what it does below `if __name__ == "__main__":`, for each worker reads it first'
        )
    return f"its process ended itself with code {code}, without an answer"


@dataclass
class _Worker:
    process: multiprocessing.process.BaseProcess
    pipe: Connection
    positions: set[int] = field(default_factory=set)
    began: bool = False


def launch(
    function: Function,
    items: Sequence[Any],
    *,
    processes: int,
    slots: int = 1,
    report: Callable[[int, Any], None] = lambda position, news: None,
    environment: Mapping[str, str] | None = None,
    deadline: float | None = None,
    where: Literal["here", "slurm"] = "here",
    queue: Queue | None = None,
) -> Outcome:
    """Runs `function` on all items, in order, at most `processes` x `slots` at once (on Slurm: in each task).

    slots        items that one process may have under way, taking turns. Where `function.room()` exists, a process
                 asks it before it begins another item beside those it has
    report       called in this process with (position, whatever the function reported), and with (position, None)
                 each time somebody else turns out to hold the item
    environment  variables that the workers get on top of this process's
    deadline     `time.monotonic()` at which the workers are asked to stop at their next checkpoint
    where        here: blocks until nothing is left to do. slurm: submits what `queue` does not hold yet, and returns.
                 Where `function.done(item)` exists, what is done by then is left out

    Ctrl-C asks the workers to stop likewise, and so do SIGTERM and SIGUSR2; the outcome then says `interrupted`. A
    second Ctrl-C kills them.
    """
    if where == "slurm":
        if queue is None:
            raise ValueError("where='slurm' needs a queue")
        how = {"processes": processes, "slots": slots, "environment": environment}
        return Outcome(queued=queue.submit(launch, function, items, how))
    in_main_thread = threading.current_thread() is threading.main_thread()
    context = multiprocessing.get_context("spawn")  # forking a process that has used threads can hang it
    outcome = Outcome()
    lost: set[int] = set()  # items whose process died while it had others too: each gets one more chance, alone
    waiting = list(range(len(items)))
    held: dict[int, float] = {}  # position -> when to ask again
    workers: list[_Worker] = []
    stopping = False

    def start_worker() -> _Worker:
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(function, items, theirs), daemon=True)
        saved = dict(os.environ)
        os.environ.update(environment or {})  # some variables are read before any of our code runs
        # Ctrl-C reaches the whole group of processes, a scheduler's signals all of them: none may end a worker before
        # it can listen. What comes while it starts waits for it.
        blocked = _block(POLITE)
        resource_tracker.ensure_running()  # which unblocks some on its own way up
        _block(POLITE)
        try:
            process.start()
        finally:
            _unblock([number for number in POLITE if number not in blocked])
            os.environ.clear()
            os.environ.update(saved)
        theirs.close()
        return _Worker(process, ours)

    def ask_to_stop() -> None:
        nonlocal stopping
        stopping = True
        for worker in workers:
            if worker.process.is_alive():
                worker.process.terminate()

    def next_position() -> int | None:
        now = time.monotonic()
        for position, when in held.items():
            if when <= now:
                del held[position]
                return position
        return waiting.pop(0) if waiting else None

    def feed(worker: _Worker) -> None:
        while not stopping and len(worker.positions) < slots and not worker.positions & lost:
            if (position := next_position()) is None:
                return
            if worker.positions and position in lost:
                waiting.insert(0, position)
                return
            try:
                worker.pipe.send(position)
            except OSError:  # it died while idle: `listen` will hear so and replace it
                waiting.insert(0, position)
                return
            worker.positions.add(position)

    def listen(worker: _Worker) -> None:
        try:
            kind, position, payload = worker.pipe.recv()
        except (EOFError, OSError):
            worker.process.join()
            for position in sorted(worker.positions) if not stopping else ():
                if len(worker.positions) > 1 and position not in lost:  # it may have been a neighbour's fault
                    lost.add(position)
                    waiting.insert(0, position)
                else:
                    outcome.failed.setdefault(position, _why_it_ended(worker.process.exitcode, worker.began))
            workers.remove(worker)
            if not stopping and (waiting or held):
                workers.append(start_worker())
            return
        if kind == "began":
            worker.began = True
            return
        if kind == "news":
            report(position, payload)
            return
        if kind == "spoiled":
            if len(worker.positions) == 1 or position in lost:
                outcome.failed[position] = payload
            return  # its process ends now, which is heard next
        worker.positions.discard(position)
        if kind == "failed":
            outcome.failed[position] = payload
        elif payload is True:
            outcome.done.append(position)
        elif payload is False:
            held[position] = time.monotonic() + BUSY_PAUSE
            report(position, None)

    asked = 0

    def interrupt(number: int, _: Any) -> None:
        nonlocal asked
        asked += 1
        if asked > 1 and number == signal.SIGINT:  # schedulers repeat theirs
            raise KeyboardInterrupt

    # The first signal only counts: an exception in the middle of a pipe's message would lose or garble it.
    signals = POLITE if in_main_thread else ()
    previous = {number: signal.signal(number, interrupt) for number in signals}
    try:
        workers += [start_worker() for _ in range(min(processes, len(items)))]
        while True:
            if asked and not outcome.interrupted:
                outcome.interrupted = True
                say("\nstopping at the next checkpoint (Ctrl-C again: at once) ...")
                ask_to_stop()
            if deadline is not None and not stopping and time.monotonic() >= deadline:
                ask_to_stop()
            for worker in workers:
                feed(worker)
            if not any(worker.positions for worker in workers) and (stopping or not (waiting or held)):
                break
            for ready in wait([worker.pipe for worker in workers], timeout=0.2):
                listen(next(worker for worker in workers if worker.pipe is ready))
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        for worker in workers:
            worker.pipe.close()  # an idle worker leaves by itself
        for worker in workers:
            worker.process.join(timeout=0 if outcome.interrupted and worker.positions else 5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
    return outcome
