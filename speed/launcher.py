"""Measures what launching costs: seconds per run that are not training. From the root of a checkout:

    python -m speed.launcher                                   # here
    slurm/dev_cluster.sh up                                    # and on Slurm, wherever its commands work
    SLURM_CONF=... python -m speed.launcher --where slurm --cluster slurm/cluster.toml

Items that do nothing but note the time go through `benchmark.running.launch`. `start`: from the call to the first item, which
a task pays once (Python, submitit, a worker process; torch, which a run imports besides, is not in it). `per item`: between
two items of one process. On Slurm also `submit`, of the whole array; `start` includes the queue.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmark import cli
from benchmark.files import write_atomically
from benchmark.running import cluster
from benchmark.running.launch import launch
from benchmark.running.worker import Workers


def note(item: tuple[int, str], report: Any, stop: Any) -> bool:
    """One line with the time; the clock is the machine's, so all nodes must be on it."""
    number, folder = item
    Path(folder, f"{number}.time").write_text(repr(time.time()))
    report({"fraction": 1.0})
    return True


def measure(where: str, items: int, together: int, settings: cluster.Settings) -> dict[str, float]:
    """Seconds: `start` of a task, `per_item` within one, `submit` of all."""
    with tempfile.TemporaryDirectory(dir=os.getcwd(), prefix="launcher-") as folder:
        everything = [(number, folder) for number in range(items)]
        began = time.time()
        found = {}
        if where == "slurm":
            queue = cluster.Queue(Path(folder) / "queue", settings, lambda item: str(item[0]), together)
            launch(note, everything, Workers(1), queue=queue)
            found["submit"] = time.time() - began
            queue.wait(lambda tasks: f"{len(tasks)} tasks are left")
            together_now = together
        else:
            launch(note, everything, Workers(1))
            together_now = items
        times = [float(Path(folder, f"{number}.time").read_text()) for number in range(items)]
        tasks = [times[first : first + together_now] for first in range(0, items, together_now)]
        gaps = [(task[-1] - task[0]) / (len(task) - 1) for task in tasks if len(task) > 1]
        return found | {"start": min(task[0] for task in tasks) - began, "per_item": median(gaps)}


def main() -> int:
    parser = cli.Parser(prog="python -m speed.launcher", description=__doc__)
    parser.add_argument("--where", default="here", choices=["here", "slurm"])
    parser.add_argument("--cluster", metavar="FILE", help="settings; default: those of a task without any")
    parser.add_argument("--items", type=cli.positive, default=200, metavar="N")
    parser.add_argument("--together", type=cli.positive, default=50, metavar="K", help="items per task (default 50)")
    parser.add_argument("--rounds", type=cli.positive, default=3, metavar="N")
    parser.add_argument("--out", metavar="FILE", help="keep the measurements as JSON")
    options = parser.parse(None)
    settings = cluster.Settings.read(options.cluster) if options.cluster else cluster.Settings()
    rounds = [measure(options.where, options.items, options.together, settings) for _ in range(options.rounds)]
    for name in rounds[0]:
        values = sorted(each[name] for each in rounds)
        cli.answer(f"{name:9} {1000 * median(values):8.1f} ms   ({1000 * values[0]:.1f} to {1000 * values[-1]:.1f})")
    if options.out:
        facts = {"where": options.where, "items": options.items, "together": options.together, "rounds": rounds}
        write_atomically(Path(options.out), (json.dumps(facts, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    from speed import launcher  # under its own name, by which other machines find it

    cli.command(lambda _: launcher.main())
