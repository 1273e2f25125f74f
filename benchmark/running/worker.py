"""A worker: a process that carries out the items that its parent, `benchmark.running.launch`, sends it. Knows no pooling.

It hears positions of items through a pipe and answers in messages (kind, position, payload):

    ready     it can begin, at position -1
    took      it begins this item: from now on, its death is this item's fault
    news      whatever the item's function reports
    end       with the function's answer
    failed    with why, in one line
    spoiled   likewise, and the process ends: it can compute nothing more
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from benchmark.errors import Failure, UsageError, in_a_line

Answer = bool | None
Function = Callable[[Any, Callable[[Any], None], Callable[[], bool]], Answer | Generator[None, None, Answer]]

# All ask to stop at the next checkpoint; SIGUSR2 is what schedulers send before a time limit or a pre-emption.
POLITE = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR2") if hasattr(signal, name)]


@dataclass(frozen=True)
class Workers:
    """How many workers there are, and what each has: here, or in each task of Slurm's.

    processes    at most so many
    slots        items that one process may have under way, taking turns. Where `function.room()` exists, a process
                 asks it before it begins another item beside those it has
    environment  variables that they get on top of this process's
    """

    processes: int
    slots: int = 1
    environment: Mapping[str, str] = field(default_factory=dict)


class Spoiled(Exception):
    """Raised by an item's function after which its process can compute nothing more, such as a fault of the GPU."""


def work(function: Function, items: Sequence[Any], pipe: Connection) -> None:
    """What the process does: takes positions of items from the pipe until it closes."""
    if sys.stderr is not None:  # what functions and their libraries print is no result of the command that asked
        os.dup2(2, 1)
        sys.stdout = sys.stderr
    worker = _Worker(function, items, pipe)
    signal.signal(signal.SIGTERM, worker.ask_to_stop)
    for number in POLITE:
        if number != signal.SIGTERM:  # Ctrl-C and the like reach the parent too, which asks politely
            signal.signal(number, signal.SIG_IGN)
    unblock(POLITE)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    worker.tell("ready", -1, None)
    while worker.listen():
        worker.begin()
        worker.take_turns()


class _Worker:
    """Items handed over and items under way, which take turns at each of their steps."""

    def __init__(self, function: Function, items: Sequence[Any], pipe: Connection) -> None:
        self.function, self.items, self.pipe = function, items, pipe
        self.room: Callable[[], bool] = getattr(function, "room", lambda: True)
        self.handed_over: deque[int] = deque()
        self.under_way: dict[int, Generator[None, None, Answer]] = {}
        self.stopping = False

    def ask_to_stop(self, *_: Any) -> None:
        """A handler of signals."""
        self.stopping = True  # no threading.Event: a second signal would wait for ever for the lock the first one holds

    def tell(self, kind: str, position: int, payload: Any) -> None:
        try:
            self.pipe.send((kind, position, payload))
        except OSError:  # the parent hung up: it was told to end at once, and nobody is left to read a traceback
            os._exit(1)

    def listen(self) -> bool:
        """Takes what was handed over, waiting where there is nothing else to do; False once the parent hung up."""
        while self.pipe.poll(0 if self.under_way or self.handed_over else None):
            try:
                self.handed_over.append(self.pipe.recv())
            except (EOFError, OSError):  # the latter where it left without having heard us out
                return False
        return True

    def begin(self) -> None:
        """Begins the next item, where there is one and room for it."""
        if self.handed_over and (not self.under_way or self.room()):
            position = self.handed_over.popleft()
            self.tell("took", position, None)
            self.under_way[position] = self._steps(position)

    def _steps(self, position: int) -> Generator[None, None, Answer]:
        def report(news: Any) -> None:
            self.tell("news", position, news)

        return (yield from in_steps(self.function(self.items[position], report, lambda: self.stopping)))

    def take_turns(self) -> None:
        """A step of every item under way; those that end thereby are told of."""
        for position, steps in list(self.under_way.items()):
            try:
                next(steps)
                continue
            except StopIteration as end:
                self.tell("end", position, end.value)
            except Spoiled as error:
                self.tell("spoiled", position, _one_line(error))
                os._exit(1)  # not even the interpreter's own end can be trusted
            except SystemExit as error:  # of a library that takes itself for the program
                self.tell("failed", position, f"it ended with sys.exit({error.code!r}) where an answer was expected")
            except BaseException as error:  # its own KeyboardInterrupt, too: those of users are ignored here
                self.tell("failed", position, _one_line(error))
            del self.under_way[position]


def in_steps(answer: Answer | Generator[None, None, Answer]) -> Generator[None, None, Answer]:
    """What a function of items answers, whether it is a generator function or not."""
    if isinstance(answer, Generator):
        answer = yield from answer
    return answer


def _die_with_parent() -> None:
    """However the parent dies: killed, it can ask for nothing any more."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def block(numbers: Sequence[int]) -> Any:
    """Keeps signals waiting, in this process and those it starts; returns what was blocked before."""
    return signal.pthread_sigmask(signal.SIG_BLOCK, numbers) if hasattr(signal, "pthread_sigmask") else ()


def unblock(numbers: Sequence[int]) -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)


def _one_line(error: BaseException) -> str:
    """Why an item failed; for errors that are not meant for users, also where."""
    if isinstance(error, (UsageError, Failure, Spoiled)):
        return in_a_line(error)
    last = traceback.extract_tb(error.__traceback__)[-1]
    return " ".join(f"{type(error).__name__}: {in_a_line(error)} ({last.filename}, line {last.lineno})".split())
