"""Builds a table on the development cluster while everything goes wrong, and holds it against an undisturbed one.

    python slurm/chaos.py --out DIR --undisturbed DIR --recipe smoke

As root, from the root of a checkout. `--undisturbed` is the output folder of the same build, made here; further flags are those
of build_groundtruth. Tasks are pre-empted, two nodes lose their daemon and one of them its power, the
controller is killed, tasks are cancelled and submitted again, one takes more memory than it may have. At the end:
the same records and the same table, no step trained twice but for what deaths had lost, no process and no file left.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark import build_groundtruth
from benchmark.jobs import runs
from benchmark.jobs.runs import TrainRun
from benchmark.running import claims, cluster, node, slurm
from benchmark.tables.ledger import Run

SCRIPT = Path(__file__).resolve().parent / "dev_cluster.sh"
SETTINGS = 'time = "20m"\nmemory = "3000M"\nnotice = 20\nlease = 6\n'
HOARD = 3_600_000_000  # bytes: more than a task may have


@dataclass(frozen=True)
class Audited(TrainRun):
    """Trains a run, notes every step in AUDIT/NAME, and once takes far too much memory."""

    def __call__(self, run: Run, report: Any, stop: Any) -> Generator[None, None, bool | None]:
        audit, name = Path(os.environ["CHAOS_AUDIT"]), self.ledger.stem(run)
        runs.REPORT_SECONDS = -1.0  # every step
        if name == os.environ["CHAOS_HOARDER"] and not (audit / "hoarded").exists():
            (audit / "hoarded").touch()
            hoard = bytearray(HOARD)
            hoard[::4096] = b"x" * len(hoard[::4096])
            time.sleep(60)

        def noted(news: Any) -> None:
            with open(audit / name, "a") as file:
                file.write(f"{news['images']} {claims.host()} {node.attempt()}\n")
            report(news)

        return (yield from super().__call__(run, noted, stop))


def dev_cluster(*words: str) -> str:
    return subprocess.run([str(SCRIPT), *words], check=True, capture_output=True, text=True).stdout


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


def events(draw: random.Random, submit: Callable[[], None], queue: cluster.Queue) -> Iterator[Callable[[], None]]:
    """What goes wrong, one after the other."""

    def preempt() -> None:
        nodes = draw.randint(1, 4)
        say(f"pre-emption on {nodes} nodes")
        wrap = f"--nodes={nodes}", "--mem=3000", "--output=/dev/null", "--wrap=sleep 2"
        slurm.ask_slurm("sbatch", "--partition=urgent", *wrap)

    def node_dies(how: str, node: str) -> Callable[[], None]:
        def die() -> None:
            say(f"{how} {node}")
            dev_cluster(how, node)
            time.sleep(25)
            dev_cluster("start", node)
            say(f"{node} is back")

        return die

    def controller_dies() -> None:
        say("the controller dies")
        dev_cluster("kill", "slurmctld")
        time.sleep(5)
        dev_cluster("start", "slurmctld")

    def cancel_all() -> None:
        say(f"{queue.cancel()} tasks cancelled")
        while queue_has_tasks():
            time.sleep(1)
        submit()

    def queue_has_tasks() -> bool:
        names = ",".join(path.stem for path in (queue.folder / "arrays").iterdir())
        return bool(slurm.ask_slurm("squeue", "--noheader", f"--name={names}").strip())

    def cancel_one() -> None:
        if running := [task for task in queue.tasks() if task.running]:
            task = draw.choice(running)
            say(f"{task.job} cancelled")
            slurm.ask_slurm("scancel", task.job)
            while task.job in {other.job for other in queue.tasks()}:
                time.sleep(1)
            submit()

    first, second = draw.sample(["n1", "n2", "n3", "n4"], 2)
    found = [preempt, preempt, controller_dies, cancel_one, cancel_all]
    found += [node_dies("kill", first), node_dies("crash", second)]
    draw.shuffle(found)
    return iter(found)


def records(out: Path) -> dict[str, Any]:
    found = {path.name: json.loads(path.read_text()) for path in out.glob("ledgers/*/records/*")}
    for record in found.values():
        del record["timings"]
    return found


def tables(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = {path.name: path.read_text() for path in (out / "tables").iterdir()}
    for name, text in found.items():
        if name.endswith(".json"):
            found[name] = {key: value for key, value in json.loads(text).items() if key != "timings"}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--undisturbed", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--together", default="9")
    parser.add_argument("--every", type=float, default=15.0, help="seconds between two events, on average")
    options, flags = parser.parse_known_args()
    out, draw = options.out.resolve(), random.Random(options.seed)
    audit = out.with_name(out.name + "-audit")
    audit.mkdir(parents=True)
    (audit / "cluster.toml").write_text(SETTINGS)
    os.environ.setdefault("DEV_CLUSTER", f"/tmp/nbp-chaos-{os.getpid()}")
    folder = os.environ["DEV_CLUSTER"]
    here = Path(__file__).resolve().parent
    paths = [str(here.parent), str(here), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ |= {
        "PYTHONPATH": os.pathsep.join(paths),
        "SLURM_CONF": f"{folder}/slurm.conf",
        "CHAOS_AUDIT": str(audit),
        "CHAOS_HOARDER": "011-seed0",
    }
    import chaos  # under the name by which the tasks find it

    build_groundtruth.TrainRun = chaos.Audited  # type: ignore[misc]
    words = [*flags, "--where", "slurm", "--cluster", str(audit / "cluster.toml"), "--out", str(out)]
    words += ["--together", options.together, "--device", "cpu"]

    def submit() -> None:
        if code := build_groundtruth.main(words):
            raise RuntimeError(f"the command ended with {code}")

    dev_cluster("up")
    try:
        began = time.monotonic()
        submit()
        (place,) = (out / "ledgers").iterdir()
        queue = cluster.Queue(place / "work" / "slurm")
        todo = events(draw, submit, queue)
        due = time.monotonic() + 20
        while True:
            with contextlib.suppress(cluster.Failure):  # the controller may be away
                if not (tasks := queue.tasks()):
                    break
                cluster.release(task for task in tasks if task.refused)
                dev_cluster("resume")
                if time.monotonic() > due and (event := next(todo, None)):
                    event()
                    due = time.monotonic() + draw.uniform(0.5, 1.5) * options.every
                    done = len(list((place / "records").iterdir()))
                    say(f"{done} records; {len(tasks)} tasks were queued or running")
            time.sleep(2)
        left = len(list(todo))
        submit()  # nothing is left: this writes the table
        seconds = time.monotonic() - began
        daemons = {"slurmctld", "slurmd"}
        names = [Path(f"/proc/{pid}/comm").read_text().strip() for pid in dev_cluster("members").split()]
        verdicts = {
            "every event took place": left == 0,
            "the same records": records(out) == records(options.undisturbed),
            "the same table": tables(out) == tables(options.undisturbed),
            "no process is left": set(names) <= daemons,
            "no file is left": list((place / "work").iterdir()) == [],
            "no claim is left": list(place.rglob("*.lease")) == [],
        }
    finally:
        dev_cluster("down")
    steps = {path.name: [line.split() for line in path.read_text().splitlines()] for path in audit.glob("*-seed*")}
    again = {
        name: sum(n - 1 for n in Counter(images for images, *_ in lines).values()) for name, lines in steps.items()
    }
    again = {name: n for name, n in again.items() if n}
    attempts = Counter(len({tuple(rest) for _, *rest in lines}) for lines in steps.values())
    total = sum(map(len, steps.values()))
    (ledger,) = (out / "ledgers").iterdir()
    print(f"{len(records(out))} records of {ledger.name} in {seconds:.0f} s")
    print(f"{total} steps trained, {sum(again.values())} of them again, in {len(again)} runs: {again}")
    print(f"runs by number of attempts that took a step: {dict(sorted(attempts.items()))}")
    for words_, holds in verdicts.items():
        print(f"{'yes' if holds else 'NO '}  {words_}")
    return 0 if all(verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
