"""Progress on standard error: one live line on a terminal, a plain line now and then in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from benchmark.cli import readable, say

LOG_SECONDS = 20.0


class ProgressLine:
    """How far along, how fast, how long still. `total` and `done` are in any one unit of work."""

    def __init__(self, title: str, total: float) -> None:
        self.title, self.total = title, max(total, 1e-12)
        self._said = time.monotonic()
        self._first: tuple[float, float] | None = None  # when the first news came, and the work done before
        columns = (
            TextColumn(title, markup=False),
            BarColumn(),
            TextColumn("{task.percentage:.1f}%"),
            TextColumn("{task.fields[words]}", markup=False),  # [4,3,3] is no markup
        )
        self._live = Progress(*columns, console=Console(stderr=True), transient=True) if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
            self._task = self._live.add_task(self.title, total=self.total, words="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def update(self, done: float, images: float, words: str = "") -> None:
        """done: work finished so far; images: how many were trained on since this process began."""
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
        passed, gained = now - self._first[0], done - self._first[1]
        left = readable((self.total - done) * passed / gained) + " left" if gained > 0 and passed > 2 else ""
        rate = f"{images / passed:,.0f} images/s" if passed > 2 else ""
        text = " · ".join(part for part in (words, rate, left) if part)
        if self._live:
            self._live.update(self._task, completed=done, words=text)
        elif now - self._said > LOG_SECONDS:
            self._said = now
            say(f"{self.title}: {100 * done / self.total:.1f}% · {text}")
