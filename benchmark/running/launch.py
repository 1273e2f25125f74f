"""Runs a function on many items, several at once, in processes of their own, here or on Slurm. Knows no pooling.

    launch(function, items, Workers(4), report=print)       # blocks until nothing is left to do
    launch(function, items, Workers(4), queue=queue)        # on Slurm: returns once the items are submitted

`function(item, report, stop)` is called once per item in some worker process and returns True when the item
is finished, False when somebody else holds it (it is tried again later), None when `stop()` made it leave.
It may be a generator function: the items of a worker with several slots then take turns at each `yield`, as runs
on one GPU do. A failing item takes only itself down. Workers die with their parent, however it dies.
What a worker does stands in `benchmark.running.worker`; what Slurm needs beyond this in `benchmark.running.cluster`,
each of whose tasks (`node`) calls `launch` for its items again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from benchmark.cli import say
from benchmark.running.worker import POLITE, Function, Workers, block, unblock, work

if TYPE_CHECKING:
    from benchmark.running.cluster import Queue

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
BUSY_PAUSE = 0.5  # seconds before asking again for an item that somebody else holds


@dataclass
class Outcome:
    """What became of the items, by position: `done`, `failed` (with one line why), `queued`, the rest left over."""

    done: list[int] = field(default_factory=list)
    failed: dict[int, str] = field(default_factory=dict)
    queued: list[int] = field(default_factory=list)
    interrupted: bool = False


def _unheard(position: int, news: Any) -> None:
    pass


def launch(
    function: Function,
    items: Sequence[Any],
    workers: Workers,
    *,
    report: Callable[[int, Any], None] = _unheard,
    deadline: float | None = None,
    queue: Queue | None = None,
) -> Outcome:
    """Runs `function` on all items, in order, as many at once as the workers have slots.

    report    called in this process with (position, whatever the function reported), and with (position, None)
              each time somebody else turns out to hold the item
    deadline  `time.monotonic()` at which the workers are asked to stop at their next checkpoint
    queue     None runs the items here and blocks until nothing is left to do; a queue of Slurm's is given those that
              it does not hold yet. Where `function.done(item)` exists, what is done by then is left out

    Ctrl-C asks the workers to stop likewise, and so do SIGTERM and SIGUSR2; the outcome then says `interrupted`. A
    second Ctrl-C kills them.
    """
    if queue is not None:
        return Outcome(queued=queue.submit(launch, function, items, workers))
    crew = _Crew(function, items, workers, report)
    with closing(crew), _notices() as heard:
        crew.start()
        while True:
            if heard and not crew.outcome.interrupted:
                crew.outcome.interrupted = True
                say("\nstopping at the next checkpoint (Ctrl-C again: at once) ...")
                crew.ask_to_stop()
            if deadline is not None and not crew.stopping and time.monotonic() >= deadline:
                crew.ask_to_stop()
            crew.feed()
            if crew.idle:
                return crew.outcome
            crew.listen()


@contextmanager
def _notices() -> Iterator[list[int]]:
    """The signals that ask to stop, as they come; outside of the main thread, where none can be heard, none.

    They are only counted: an exception in the middle of a pipe's message would lose or garble it.
    """
    heard: list[int] = []

    def hear(number: int, _: Any) -> None:
        heard.append(number)
        if len(heard) > 1 and number == signal.SIGINT:  # schedulers repeat theirs
            raise KeyboardInterrupt

    signals = POLITE if threading.current_thread() is threading.main_thread() else ()
    previous = {number: signal.signal(number, hear) for number in signals}
    try:
        yield heard
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@dataclass(eq=False)
class _Hand:
    """A worker as its parent sees it."""

    process: multiprocessing.process.BaseProcess
    pipe: Connection
    ready: bool = False
    sent: set[int] = field(default_factory=set)  # positions whose end is not heard yet
    took: set[int] = field(default_factory=set)  # those of them that it has begun


class _Crew:
    """The workers and what they still have to do.

    waiting  positions not sent to anybody, in order
    held     positions that somebody else holds, and when to ask again
    lost     items whose process died while it had others too: each gets one more chance, alone
    """

    def __init__(
        self, function: Function, items: Sequence[Any], workers: Workers, report: Callable[[int, Any], None]
    ) -> None:
        self.function, self.items, self.workers, self.report = function, items, workers, report
        self.outcome = Outcome()
        self.waiting = list(range(len(items)))
        self.held: dict[int, float] = {}
        self.lost: set[int] = set()
        self.hands: list[_Hand] = []
        self.stopping = False

    def start(self) -> None:
        for _ in range(min(self.workers.processes, len(self.items))):
            self.hands.append(self._started())

    def close(self) -> None:
        """Sends idle workers home; those still at it get 5 seconds, none where this was interrupted."""
        for hand in self.hands:
            hand.pipe.close()  # an idle worker leaves by itself
        for hand in self.hands:
            hand.process.join(timeout=0 if self.outcome.interrupted and hand.sent else 5)
            if hand.process.is_alive():
                hand.process.kill()
                hand.process.join()

    def _started(self) -> _Hand:
        context = multiprocessing.get_context("spawn")  # forking a process that has used threads can hang it
        ours, theirs = context.Pipe()
        process = context.Process(target=work, args=(self.function, self.items, theirs), daemon=True)
        saved = dict(os.environ)
        os.environ.update(self.workers.environment)  # some variables are read before any of our code runs
        # Ctrl-C reaches the whole group of processes, a scheduler's signals all of them: none may end a worker before
        # it can listen. What comes while it starts waits for it.
        blocked = block(POLITE)
        resource_tracker.ensure_running()  # which unblocks some on its own way up
        block(POLITE)
        try:
            process.start()
        finally:
            unblock([number for number in POLITE if number not in blocked])
            os.environ.clear()
            os.environ.update(saved)
        theirs.close()
        return _Hand(process, ours)

    @property
    def idle(self) -> bool:
        """Whether nothing is under way and nothing more will be."""
        left = bool(self.waiting or self.held) and not self.stopping
        return not left and not any(hand.sent for hand in self.hands)

    def ask_to_stop(self) -> None:
        self.stopping = True
        for hand in self.hands:
            if hand.process.is_alive():
                hand.process.terminate()

    def feed(self) -> None:
        """Sends every worker as many items as it has slots."""
        for hand in self.hands:
            while not self.stopping and len(hand.sent) < self.workers.slots and not hand.sent & self.lost:
                if (position := self._next()) is None:
                    break
                if (hand.sent and position in self.lost) or not self._sent(hand, position):
                    self.waiting.insert(0, position)
                    break

    def _next(self) -> int | None:
        now = time.monotonic()
        for position, when in self.held.items():
            if when <= now:
                del self.held[position]
                return position
        return self.waiting.pop(0) if self.waiting else None

    def _sent(self, hand: _Hand, position: int) -> bool:
        try:
            hand.pipe.send(position)
        except OSError:  # it died while idle: `listen` will hear so and replace it
            return False
        hand.sent.add(position)
        return True

    def listen(self) -> None:
        """One message of each worker that has one."""
        for ready in wait([hand.pipe for hand in self.hands], timeout=0.2):
            hand = next(hand for hand in self.hands if hand.pipe is ready)
            try:
                kind, position, payload = hand.pipe.recv()
            except (EOFError, OSError):
                self._bury(hand)
            else:
                self._hear(hand, kind, position, payload)

    def _hear(self, hand: _Hand, kind: str, position: int, payload: Any) -> None:
        """A message, as `benchmark.running.worker` names them."""
        match kind:
            case "ready":
                hand.ready = True
            case "took":
                hand.took.add(position)
            case "news":
                self.report(position, payload)
            case "spoiled":  # its process ends now, which is heard next
                if len(hand.took) == 1 or position in self.lost:
                    self.outcome.failed[position] = payload
            case _:
                hand.sent.discard(position)
                hand.took.discard(position)
                if kind == "failed":
                    self.outcome.failed[position] = payload
                elif payload is True:
                    self.outcome.done.append(position)
                elif payload is False:
                    self.held[position] = time.monotonic() + BUSY_PAUSE
                    self.report(position, None)

    def _bury(self, hand: _Hand) -> None:
        """A worker is dead: what it had begun failed with it, or is tried again alone; the rest never began."""
        hand.process.join()
        self.hands.remove(hand)
        if self.stopping:
            return
        begun = hand.took if hand.ready else hand.sent  # one that cannot even start would take any number of items down
        again = hand.sent - begun
        for position in begun:
            if len(begun) > 1 and position not in self.lost:  # it may have been a neighbour's fault
                self.lost.add(position)
                again.add(position)
            else:
                self.outcome.failed.setdefault(position, _why_it_ended(hand.process.exitcode, hand.ready))
        self.waiting[:0] = sorted(again)
        if self.waiting or self.held:
            self.hands.append(self._started())


def _why_it_ended(code: int | None, ready: bool) -> str:
    """What the exit code of a process says that ended with an item under way."""
    if code is not None and code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        return f"its process was ended by {name}" + (" (out of memory, or killed)" if name == "SIGKILL" else "")
    if not ready:
        return (
            f"its process ended with code {code} before it could begin: what it said stands above. A program of your own "
            'must keep what it does below `if __name__ == "__main__":`, for each worker reads it first'
        )
    return f"its process ended itself with code {code}, without an answer"
