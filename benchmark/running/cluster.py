"""Slurm, through submitit: items as tasks of job arrays, and what became of them. Knows nothing of pooling, no torch.

    queue = Queue(folder, Settings.read("slurm/cluster.toml"), name=str, together=4)
    launch(function, items, Workers(1), queue=queue)

All that is known lies in the queue's folder, which every node must see: the arrays that were submitted, a mark for each
item under way, a file for each that failed. What an item gives is its function's own business: results are never
taken from Slurm or submitit. Slurm is asked for one thing only: which tasks are still queued or running.

    arrays/LABEL.json   names of the items of each task, written before the array is submitted under that label
    marks/NAME@ATTEMPT  the item is under way; left behind by an attempt that died without a word
    failed/NAME.json    why the item failed, once for each time
    tasks/              what submitit keeps: scripts, the function and items as it pickled them for itself, logs

What runs inside a task is in `benchmark.running.node`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from benchmark import cli, files
from benchmark.errors import Failure, UsageError, choices
from benchmark.given import read_bytes
from benchmark.running import claims
from benchmark.running.node import Task, failures, last_line, written
from benchmark.running.slurm import ask_slurm, clean_environment, max_array_size, no_slurm
from benchmark.running.worker import Workers

LOOK_SECONDS = 5.0  # between two looks at the queue
SILENCE_SECONDS = 600.0  # for which Slurm's controller may be away while we wait
REFUSED = (  # why Slurm holds a task that nodes would not start, or that died with them too often: it never runs by itself
    "launch failed requeued held",
    "launch failure limit exceeded requeued held",
    "JobHoldMaxRequeue",
)
SETTINGS_OF_ENVIRONMENT = ("partition", "account", "qos", "reservation")  # taken where the settings say nothing of them
KINDS: dict[str, tuple[Any, str]] = {  # by the first word of a setting's type: what TOML gives, and what people call it
    "str": (str, "text"),
    "int": (int, "a whole number"),
    "float": ((int, float), "a number"),
    "list": (list, "a list of lines"),
    "dict": (dict, "a table"),
}


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a task asks of the cluster. `slurm/cluster.toml` explains each key."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    time: str = "4h"
    cpus: int = 1
    gpus: int = 0
    memory: str | None = None
    parallel: int = 256
    array_size: int | None = None
    notice: int = 90
    attempts: int = 3
    lease: float = claims.LEASE_SECONDS
    setup: list[str] = field(default_factory=list)
    python: str | None = None
    sbatch: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | str) -> Settings:
        """The settings in a TOML file. Raises UsageError naming the key at fault and the valid ones."""
        try:
            said = tomllib.loads(read_bytes(path).decode())
        except OSError as error:
            raise UsageError(
                f"cluster settings '{path}' cannot be read ({error.strerror or error}): name a file with --cluster"
            ) from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: not TOML ({error})") from None
        known = [entry.name for entry in fields(cls)]
        if unknown := [key for key in said if key not in known]:
            raise UsageError(f"{path}: unknown key '{unknown[0]}': {choices(unknown[0], known, 'the keys are')}")
        for entry in fields(cls):
            value = said.get(entry.name)
            kinds, words = next(of for start, of in KINDS.items() if str(entry.type).startswith(start))
            if entry.name in said and (not isinstance(value, kinds) or isinstance(value, bool)):
                raise UsageError(f"{path}: {entry.name} is {value!r}: it must be {words}")
        if any(not isinstance(line, str) for line in said.get("setup", ())):
            raise UsageError(f"{path}: setup is {said['setup']!r}: it must be a list of lines")
        try:
            return cls(**said)
        except UsageError as error:
            raise UsageError(f"{path}: {error}") from None

    def __post_init__(self) -> None:
        lowest = {"cpus": 1, "gpus": 0, "parallel": 1, "array_size": 1, "notice": 1, "attempts": 1, "lease": 1}
        for name, low in lowest.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise UsageError(f"{name} is {value}: it must be {low} or more")
        if self.memory is not None and not re.fullmatch(r"\d+[KMGT]B?", self.memory):
            raise UsageError(f"memory is '{self.memory}': write it as 8GB or 4000M")
        if not re.fullmatch(r"\d+(\.\d+)?[smh]?", self.time) or self.minutes < 1:
            raise UsageError(f"time is '{self.time}': write it as 90m or 4h, one minute or more")
        if self.notice >= 60 * self.minutes:
            raise UsageError(f"notice is {self.notice} s: it must be shorter than time, {self.time}")
        taken = {"array", "job-name", "output", "error", "signal", "requeue", "open-mode"}
        if clash := sorted(taken & {key.replace("_", "-") for key in self.sbatch}):
            raise UsageError(f"sbatch sets '{clash[0]}', which is set already; the rest of sbatch's options are free")
        if "clusters" in self.sbatch:  # squeue would not see what it does there, and everything be submitted twice
            raise UsageError("sbatch sets 'clusters': name another cluster by SLURM_CONF, or submit on its login node")

    @property
    def minutes(self) -> int:
        return int(cli.duration(self.time) // 60)


@dataclass(frozen=True)
class Queued:
    """A task that Slurm still has."""

    label: str
    number: int
    job: str  # as squeue and scancel know it
    state: str
    node: str
    reason: str
    names: tuple[str, ...]
    log: Path

    @property
    def running(self) -> bool:
        return self.state in ("RUNNING", "COMPLETING")

    @property
    def refused(self) -> bool:
        return not self.running and self.reason in REFUSED

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"log": str(self.log)}


@dataclass(frozen=True)
class Queue:
    """Items by name, as tasks of Slurm's. Everything else about them is the function's own business.

    name      an item's name, one that a file can have
    together  items per task
    """

    folder: Path
    settings: Settings = field(default_factory=Settings)
    name: Callable[[Any], str] = str
    together: int = 1

    def submit(self, run: Callable[..., Any], function: Any, items: Sequence[Any], workers: Workers) -> list[int]:
        """Submits the items that are not queued, not done, and have attempts left; returns their positions. run: `launch`."""
        try:
            import submitit
        except ImportError:
            raise UsageError("where slurm needs submitit: pip install 'nas-bench-pooling[slurm]'") from None
        self.folder.mkdir(parents=True, exist_ok=True)
        with claims.claim(self.folder / "submit.lock", wait=True) as mine:
            if not mine:
                raise Failure(f"another process submits to {self.folder} at this moment: let it finish")
            for part in ("arrays", "marks", "failed", "tasks"):
                (self.folder / part).mkdir(parents=True, exist_ok=True)
            tasks = self.tasks()
            release(task for task in tasks if task.refused)
            busy = {name for task in tasks for name in task.names}
            failed = self.failed()
            done = getattr(function, "done", lambda item: False)  # asked after Slurm: a task may just have finished it
            new = [
                position
                for position, name in enumerate(map(self.name, items))
                if name not in busy and len(failed.get(name, ())) < self.settings.attempts and not done(items[position])
            ]
            chunks = [new[start : start + self.together] for start in range(0, len(new), self.together)]
            size = self.settings.array_size or max_array_size()
            for start in range(0, len(chunks), size):
                self._submit_array(submitit, run, function, items, chunks[start : start + size], workers)
        return new

    def _submit_array(
        self, submitit: Any, run: Any, function: Any, items: Sequence[Any], chunks: list[list[int]], workers: Workers
    ) -> None:
        label = f"nbp-{uuid.uuid4().hex[:12]}"
        names = [[self.name(items[position]) for position in chunk] for chunk in chunks]
        if not shutil.which("srun"):
            raise no_slurm("srun")
        path = self.folder / "arrays" / f"{label}.json"
        files.write_atomically(path, json.dumps({"tasks": names, "attempts": self.settings.attempts}).encode())
        executor = submitit.SlurmExecutor(self.folder / "tasks", python=self.settings.python)
        executor.update_parameters(**self._parameters(label))
        try:
            with as_environment(self._environment()), executor.batch():  # sbatch runs at the end of the batch
                for number, chunk in enumerate(chunks):
                    chosen = [items[position] for position in chunk]
                    attempts = self.settings.attempts
                    executor.submit(
                        Task(self.folder, label, number, names[number], chosen, run, function, workers, attempts)
                    )
        except (subprocess.SubprocessError, OSError, submitit.core.utils.FailedJobError) as error:
            path.unlink()
            lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
            why = next((line for line in lines if "error" in line.lower()), lines[-1]).strip()
            raise Failure(
                f"sbatch refused an array of {len(chunks)} tasks: {why} (what was submitted before stays queued; a "
                "quota: set array_size, or take more per task with --together; the same command submits the rest)"
            ) from None

    def _environment(self) -> dict[str, str]:
        """For sbatch and the tasks, which inherit it: no other options than those of the settings."""
        said = self.settings.sbatch.keys() | {
            key for key in SETTINGS_OF_ENVIRONMENT if getattr(self.settings, key, None)
        }
        wanted = [f"SBATCH_{key.upper()}" for key in SETTINGS_OF_ENVIRONMENT if key not in said]
        return clean_environment() | {name: os.environ[name] for name in wanted if name in os.environ}

    def _parameters(self, label: str) -> dict[str, Any]:
        settings = self.settings
        named = {name: getattr(settings, name) for name in ("partition", "account", "qos", "constraint")}
        python = settings.python or shlex.quote(sys.executable)
        folder = shlex.quote(str(self.folder))
        # The shell outlives a step that is killed for its memory: it says why, and sends the rest back into the queue.
        after = [
            "code=$?",
            f'{python} -m benchmark.running.node {folder} {label} "${{SLURM_ARRAY_TASK_ID:-0}}" "$code"',
            'exit "$code"',
        ]
        wanted = named | {
            "job_name": label,
            "time": settings.minutes,
            "cpus_per_task": settings.cpus,
            "gpus_per_node": settings.gpus or None,
            "mem": settings.memory,
            "setup": settings.setup or None,
            "teardown": after,
            "signal_delay_s": settings.notice,
            "array_parallelism": settings.parallel,
            "stderr_to_stdout": True,
            "additional_parameters": {"requeue": True} | settings.sbatch,
        }
        return {key: value for key, value in wanted.items() if value is not None}

    def _arrays(self) -> dict[str, list[list[str]]]:
        """Names by task, by label."""
        found = {}
        for path in sorted((self.folder / "arrays").glob("*.json")):
            with suppress(FileNotFoundError):  # another command cancels or clears at this moment
                found[path.stem] = written(path, dict)["tasks"]
        return found

    def tasks(self) -> list[Queued]:
        """The tasks that Slurm has. Raises Failure where it does not answer."""
        arrays = self._arrays()
        if not arrays:
            return []
        form = "--format=%j|%F|%K|%T|%N|%r"
        words = ["squeue", "--noheader", "--array", "--all", form, f"--name={','.join(arrays)}"]
        found = []
        for line in ask_slurm(*words).splitlines():
            label, *facts = line.strip().split("|", 5)  # a reason may hold what it likes
            if label not in arrays:
                continue  # somebody else's, or no task at all: a banner of the site's
            if len(facts) < 5:  # to pass over one of ours would be to submit it twice
                raise Failure(f"squeue says of a task what cannot be read: {line.strip()}")
            job, number, state, node, reason = facts
            alone = not number.isdigit()  # an array of one task is no array
            at = 0 if alone else int(number)
            name = job if alone else f"{job}_{number}"
            log = self.folder / "tasks" / f"{name}_0_log.out"
            found.append(Queued(label, at, name, state, node, reason, tuple(arrays[label][at]), log))
        return found

    def failed(self) -> dict[str, list[dict[str, Any]]]:
        """Why items failed, each time: {why, log, when, of}, `of` how many are allowed."""
        return failures(self.folder)

    def failed_for_good(self) -> dict[str, list[dict[str, Any]]]:
        """Those that are not tried again by themselves."""
        return {name: times for name, times in self.failed().items() if len(times) >= times[-1]["of"]}

    def again(self) -> None:
        """Forgets failures, so that the items are submitted again."""
        for path in (self.folder / "failed").glob("*.json"):
            path.unlink()

    def cancel(self) -> int:
        """Takes all tasks out of Slurm; returns how many. They keep a checkpoint where their time allows."""
        tasks = self.tasks()
        for path in (self.folder / "arrays").glob("*.json"):
            path.rename(path.with_suffix(".cancelled"))  # a task that is asked to stop now stays away
        if tasks:
            ask_slurm("scancel", *sorted({task.job.partition("_")[0] for task in tasks}))
        return len(tasks)

    def clear(self, done: Collection[str]) -> None:
        """Removes the folder, unless something is queued, or one of its items failed that is not among the done ones."""
        if not self.folder.exists():
            return
        with suppress(Failure, UsageError), claims.claim(self.folder / "submit.lock") as mine:
            # where Slurm does not answer, or is not here, it stays
            if mine and self.failed().keys() <= set(done) and not self.tasks():
                shutil.rmtree(self.folder, ignore_errors=True)

    def wait(self, look: Callable[[list[Queued]], str], done: Callable[[], Collection[str]]) -> None:
        """Until Slurm has none of the tasks. Survives a restarting controller, even one that has forgotten its last seconds.

        Queued tasks that have nothing left to do are taken out. Those that a node refused are let go again, `attempts`
        times each. Raises Failure where only such are left as are held all the same.

        look  gives the line to show meanwhile
        done  the names of the items that are done
        """
        from rich.console import Console

        console = Console(stderr=True)
        released: Counter[str] = Counter()
        answered = said = time.monotonic()
        with console.status("waiting for Slurm") as status:
            while True:
                try:
                    tasks = self.tasks()
                except Failure:
                    if time.monotonic() - answered > SILENCE_SECONDS:
                        raise
                    time.sleep(LOOK_SECONDS)
                    continue
                answered = time.monotonic()
                if not tasks:
                    return
                finished = set(done())
                idle = [task for task in tasks if not task.running and finished.issuperset(task.names)]
                with suppress(Failure):  # it has just ended, or is somebody else's
                    if idle:
                        ask_slurm("scancel", *(task.job for task in idle))
                held = [task for task in tasks if task.refused and task not in idle]
                again = [task for task in held if released[task.job] < self.settings.attempts]
                release(again)
                released.update(task.job for task in again)
                if len(held) == len(tasks) and not again:
                    raise Failure(
                        f"no node starts the task {held[0].job}, and Slurm holds it ({held[0].reason}): `scontrol show job "
                        f"{held[0].job}` may say why. What is done is kept; --cancel takes it out, then the same command "
                        "submits it anew"
                    )
                text = look(tasks)
                status.update(text.replace("[", r"\["))
                if not console.is_terminal and time.monotonic() - said > 4 * LOOK_SECONDS:
                    said = time.monotonic()
                    cli.say(text)
                time.sleep(LOOK_SECONDS)


def lines(
    queue: Queue, tasks: list[Queued], left: Mapping[str, str], running: Collection[str] | None = None
) -> list[str]:
    """A summary of the items that are not done; then a line for each running task, and for each item that failed.

    left     names of those items, with what people call them
    running  those of them that somebody holds; default: all of the tasks that run
    """
    if running is None:
        running = {name for task in tasks if task.running for name in task.names} & left.keys()
    queued = {name for task in tasks for name in task.names} & left.keys() - set(running)
    failed = {name: times for name, times in queue.failed().items() if name in left}
    counts = {"running": len(running), "queued": len(queued), "failed": len(failed.keys() - queued - set(running))}
    counts["in no queue"] = len(left.keys() - queued - set(running) - failed.keys())
    summary = ", ".join(f"{count} {key}" for key, count in counts.items() if count or key == "queued")
    found = [f"{summary} ({sum(task.running for task in tasks)} of {len(tasks)} tasks run)"]
    for task in tasks:
        if task.running:
            names = ", ".join(left[name] for name in task.names if name in running) or "nothing yet"
            said = last_line(task.log)
            found.append(f"  {task.job} on {task.node}: {names}" + (f" ({said})" if said.startswith("task: ") else ""))
    if reasons := sorted({task.reason for task in tasks if not task.running}):
        found.append(f"  queued tasks wait for: {', '.join(reasons)}")
    if refused := [task.job for task in tasks if task.refused]:
        found.append(
            f"  refused by a node and held: {', '.join(refused)} (the command that submitted them lets them go)"
        )
    for name, times in failed.items():
        last = times[-1]
        found.append(
            f"  failed {len(times)} of at most {last['of']} times: {left[name]}: {last['why']} (log: {last['log']})"
        )
    return found


@contextmanager
def as_environment(variables: Mapping[str, str]) -> Iterator[None]:
    """This process's environment for a while, for a library that starts commands with none of its own."""
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(variables)
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def release(tasks: Iterable[Queued]) -> None:
    """Lets held tasks go, as far as Slurm allows it."""
    for task in tasks:
        with suppress(Failure):
            ask_slurm("scontrol", "release", task.job)
