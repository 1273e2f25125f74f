"""What runs inside a task of Slurm's, on a node: its items, with a mark for each, and what is noted where one dies.

The queue that submits tasks is `benchmark.running.cluster`, and its folder, described there, is all that both share.
"""

from __future__ import annotations

import glob
import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmark import cli, files
from benchmark.errors import Failure
from benchmark.running.slurm import ask_slurm
from benchmark.running.worker import in_steps

REQUEUE_SECONDS = 3.0  # between two tries to go back into the queue
BEFORE_IT_LISTENED = (128 + signal.SIGUSR2, 128 + signal.SIGTERM)  # how a task ends that a notice met while it started
TELLING = [re.compile(words, re.IGNORECASE) for words in (r"memory limit|out.of.memory|oom", r"\w+Error\b|fatal")]


def attempt() -> str:
    """This attempt of this task: a requeued one has another."""
    return f"{os.environ.get('SLURM_JOB_ID', os.getpid())}.{os.environ.get('SLURM_RESTART_COUNT', 0)}"


def failures(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Why items failed, by name, each time: {why, log, when, of}, `of` how many are allowed."""
    paths = sorted((folder / "failed").glob("*.json"))
    return {path.stem: written(path, list) for path in paths}


def written(path: Path, kind: type[list[Any]] | type[dict[str, Any]]) -> Any:
    """What a file of a queue's folder says: a submission's a dict, an item's failures a list.

    Raises Failure, with the way out, for one that is damaged.
    """
    try:
        said = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        said = None
    whole = isinstance(said, kind) and ("tasks" in said if kind is dict else all(isinstance(one, dict) for one in said))
    if not (whole and said):
        out = f"scancel --name={path.stem}, and then remove it" if kind is dict else "remove it"
        raise Failure(f"{path}: damaged, so that what Slurm was asked to do is not known: {out}")
    return said


def note_failure(folder: Path, name: str, why: str, attempts: int) -> int:
    """Adds to an item's failures; returns how many there are, of at most `attempts`."""
    path = folder / "failed" / f"{name}.json"
    times = written(path, list) if path.exists() else []
    times.append(
        {"why": why, "log": log_of(folder), "when": datetime.now(UTC).isoformat(timespec="seconds"), "of": attempts}
    )
    files.write_atomically(path, json.dumps(times, indent=1).encode())
    return len(times)


def requeue(folder: Path, label: str) -> None:
    """Puts this task back into the queue, unless it was cancelled. Until Slurm has agreed, it must not end by itself."""
    job, restarts = os.environ["SLURM_JOB_ID"], os.environ.get("SLURM_RESTART_COUNT", "0")
    while (folder / "arrays" / f"{label}.json").exists():
        try:
            said = ask_slurm("scontrol", "show", "job", "--oneliner", job)
            if "JobState=CANCELLED" in said or f" Restarts={restarts} " not in said:
                return  # in the second case, this is what goes on of it on a node that Slurm holds for dead
            ask_slurm("scontrol", "requeue", job)
            return
        except Failure as error:
            print(f"not back in the queue yet: {error}", flush=True)
            time.sleep(REQUEUE_SECONDS)


@dataclass(frozen=True)
class Marked:
    """A function whose items, (name, item), leave a mark while they are under way."""

    function: Any
    folder: Path

    def __call__(self, item: tuple[str, Any], report: Any, stop: Any) -> Generator[None, None, bool | None]:
        mark = self.folder / "marks" / f"{item[0]}@{attempt()}"
        mark.touch()
        try:
            return (yield from in_steps(self.function(item[1], report, stop)))
        finally:
            mark.unlink(missing_ok=True)

    def room(self) -> bool:
        return getattr(self.function, "room", lambda: True)()


@dataclass(frozen=True)
class Task:
    """What one task does: runs its items; on a notice keeps checkpoints and goes back into the queue.

    Items that failed before run after the others, each alone.
    """

    folder: Path
    label: str
    number: int
    names: list[str]
    items: list[Any]
    run: Callable[..., Any]
    function: Any
    workers: Any  # as `launch` takes them
    attempts: int

    def __call__(self) -> None:
        noticed = []
        for name in ("SIGTERM", "SIGUSR2"):  # in place of submitit's, which asks nobody to keep anything
            signal.signal(getattr(signal, name), lambda number, _: noticed.append(number))
        for path in self._marks():
            path.unlink(missing_ok=True)  # of earlier attempts
        groups = list(self._groups())
        while groups:
            group = groups.pop(0)
            outcome = self._launch(group)
            for position, why in outcome.failed.items():
                if outcome.interrupted or noticed:
                    continue
                name = self.names[group[position]]
                (self.folder / "marks" / f"{name}@{attempt()}").unlink(missing_ok=True)
                times = note_failure(self.folder, name, why, self.attempts)
                cli.say(f"{name} failed, {times} of at most {self.attempts} times: {why}")
                if times < self.attempts:
                    groups.append([group[position]])
            if outcome.interrupted or noticed:
                cli.say("noticed: back into the queue")
                requeue(self.folder, self.label)
                sys.exit(0)

    def _groups(self) -> Iterator[list[int]]:
        failed = failures(self.folder)
        left = [p for p, name in enumerate(self.names) if len(failed.get(name, ())) < self.attempts]
        if calm := [p for p in left if self.names[p] not in failed]:
            yield calm
        for position in left:
            if self.names[position] in failed:
                yield [position]

    def _launch(self, group: list[int]) -> Any:
        from benchmark.running.progress import ProgressLine

        items = [(self.names[p], self.items[p]) for p in group]
        with ProgressLine("task", [1.0] * len(group), [self.names[p] for p in group]) as line:
            return self.run(Marked(self.function, self.folder), items, self.workers, report=line.report)

    def _marks(self) -> Iterator[Path]:
        job = attempt().partition(".")[0]
        for name in self.names:
            yield from (self.folder / "marks").glob(f"{glob.escape(name)}@{job}.*")


def log_of(folder: Path) -> str:
    array, number = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    name = f"{array}_{number}" if array else os.environ.get("SLURM_JOB_ID", "")
    return str(folder / "tasks" / f"{name}_0_log.out")


def last_line(log: Path | str, telling: re.Pattern[str] | None = None) -> str:
    """The last line that the latest attempt left in a log, or the last one that tells something of the kind."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 20000))
            text = file.read().decode(errors="replace").rpartition("Starting with")[2]  # what submitit says first
        lines = [line.strip() for line in text.splitlines() if line.strip()]
    except OSError:
        return ""
    if telling:
        lines = [line for line in lines if telling.search(line)]
    return lines[-1] if lines else ""


def after_a_task(folder: Path, label: str, number: int, code: int) -> None:
    """What the batch shell calls once a task has ended: a killed one's items are blamed, the others go on."""
    path = folder / "arrays" / f"{label}.json"
    if code == 0 or not path.exists():
        return
    said = written(path, dict)
    names, attempts = said["tasks"][number], said["attempts"]
    this = attempt()
    marked = [name for name in names if (folder / "marks" / f"{name}@{this}").exists()]
    if code in BEFORE_IT_LISTENED and not marked:
        requeue(folder, label)
        return
    log = log_of(folder)
    why = next(filter(None, (last_line(log, words) for words in TELLING)), "") or last_line(log)
    for name in marked:
        (folder / "marks" / f"{name}@{this}").unlink(missing_ok=True)
        beside = f" beside {len(marked) - 1} others" if len(marked) > 1 else ""
        note_failure(folder, name, f"killed with code {code}{beside}: {why}", attempts)
    if not marked:  # nothing of ours ran, and nothing would if it were tried again
        for name in names:
            note_failure(folder, name, f"its task ended with code {code}, no item under way: {why}", attempts)
        return
    failed = failures(folder)
    if any(len(failed.get(name, ())) < attempts for name in names):
        requeue(folder, label)


if __name__ == "__main__":
    after_a_task(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
