"""Progress on standard error: one live line on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from benchmark.cli import readable, say
from benchmark.output import printable

LOG_SECONDS = 20.0
SAMPLE_SECONDS = 1.0  # between two looks back: news may come with every step


class ProgressLine:
    """How far along, how fast, how long still; its `report` is what `launch` calls with the workers' news.

    works, names: of the items by position; works in any one unit. News: {fraction, epoch, images} of an item,
    images, where there are any, counted from its very beginning; or None where another process holds it.
    """

    def __init__(self, title: str, works: Sequence[float], names: Sequence[str]) -> None:
        self.title, self.works, self.names = printable(title), works, [printable(name) for name in names]
        self._fractions = [0.0] * len(works)
        self._images: dict[int, tuple[int, int]] = {}  # position -> first count heard, latest: it may be a resumed one
        self._began: tuple[float, float] | None = None  # when the first news came, and the work done before
        self._lately: deque[tuple[float, float]] = deque()  # the same, of the later half of the time since
        self._said = time.monotonic()
        self._waiting_said = False
        columns = (
            TextColumn(self.title, markup=False),
            BarColumn(),
            TextColumn("{task.percentage:.1f}%"),
            TextColumn("{task.fields[words]}", markup=False),  # [4,3,3] is no markup
        )
        self._live = Progress(*columns, console=Console(stderr=True), transient=True) if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
            self._task = self._live.add_task(self.title, total=sum(self.works), words="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def report(self, position: int, news: Mapping[str, Any] | None) -> None:
        if news is None:
            if not self._waiting_said:
                say(f"another process is at {self.names[position]}: waiting for it")
            self._waiting_said = True
            return
        now, count = time.monotonic(), news.get("images", 0)
        self._fractions[position] = news["fraction"]
        first, before = self._images.get(position, (count, count))
        self._images[position] = (first, count)
        done = sum(work * fraction for work, fraction in zip(self.works, self._fractions, strict=True))
        if self._began is None:
            self._began = (now, done)
        passed, gained = now - self._began[0], done - self._began[1]
        images = sum(last - first for first, last in self._images.values())
        parts = [f"{self._fractions.count(1.0)}/{len(self.works)} done · {self.names[position]}"]
        parts += [f"epoch {news['epoch']}"] if "epoch" in news else []
        lately = self._later_half(now, done)
        if passed > 2 and gained > 0:
            # While configurations are scored no image is trained on: the rate would sink, and say nothing of the machine.
            parts += [f"{images / passed:,.0f} images/s"] if count > before else []
            parts += [f"{self._left(done, {gained / passed, lately} - {0.0})} left"]
        text = " · ".join(parts)
        if self._live:
            self._live.update(self._task, completed=done, words=text)
        elif now - self._said > LOG_SECONDS:
            self._said = now
            say(f"{self.title}: {100 * done / sum(self.works):.1f}% · {text}")

    def _later_half(self, now: float, done: float) -> float:
        """Work per second in the later half of the time so far; 0 where that is not known."""
        assert self._began is not None
        if not self._lately:
            self._lately.append(self._began)
        middle = (self._began[0] + now) / 2
        while len(self._lately) > 1 and self._lately[1][0] <= middle:
            self._lately.popleft()
        then, before = self._lately[0]
        if now - self._lately[-1][0] >= SAMPLE_SECONDS:
            self._lately.append((now, done))
        return (done - before) / (now - then) if now > then else 0.0

    def _left(self, done: float, rates: Iterable[float]) -> str:
        """How long the rest takes: a range where the machine lately was faster or slower than on the whole."""
        times = [readable((sum(self.works) - done) / rate) for rate in sorted(rates, reverse=True)]
        return " to ".join(dict.fromkeys(times))
