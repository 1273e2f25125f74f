"""On a real cluster of four nodes on this machine (slurm/dev_cluster.sh): nothing is lost, nothing done twice."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.errors import Failure
from benchmark.running import slurm
from benchmark.running.cluster import Queue, Settings
from benchmark.running.launch import launch
from benchmark.running.worker import Workers

pytestmark = pytest.mark.slurm

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "slurm" / "dev_cluster.sh"
PATIENCE = 600  # seconds after which something that must happen counts as not happening
BUILD = "benchmark.build_groundtruth"
SMALL = ["--recipe", "smoke", "--dataset", "synthetic", "--train-images", "64", "--eval-images", "32", "--batch-size", "16", "--precision", "fp32"]  # fmt: skip


# --- the cluster ---


def why_not():
    """Why no cluster can be had here, or None."""
    programs = ("munged", "slurmctld", "slurmd", "sbatch", "setpriv")
    if missing := [p for p in programs if not shutil.which(p, path=os.environ["PATH"] + ":/usr/sbin:/sbin")]:
        return f"{missing[0]} is not installed: apt-get install slurm-wlm munge"
    if os.geteuid() != 0:
        return "a cluster's daemons need root"
    try:
        import submitit  # noqa: F401
    except ImportError:
        return "submitit is not installed: pip install 'nas-bench-pooling[slurm]'"
    return None


@pytest.fixture(scope="module")
def dev_cluster(environment):
    """dev_cluster(*words) runs the script; the cluster is up, its variables are set."""
    if why := why_not():
        pytest.skip(why)
    folder = f"/tmp/nbp-test-cluster-{os.getpid()}"  # short: the path of a socket has little room
    more = {"DEV_CLUSTER": folder, "DEV_CLUSTER_PORT": str(10000 + os.getpid() % 2000 * 10)}
    paths = os.pathsep.join([environment["PYTHONPATH"], str(Path(__file__).parent)])
    more |= {"PYTHONPATH": paths, "SLURM_CONF": f"{folder}/slurm.conf", "PATH": environment["PATH"]}

    def run(*words):
        command = [str(SCRIPT), *words]
        done = subprocess.run(
            command, env=os.environ | more, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    with pytest.MonkeyPatch.context() as patch:
        for name, value in more.items():
            patch.setenv(name, value)
        try:
            run("up")
            yield run
            assert run("members").split() != []  # what `down` looks for can be found
        finally:
            run("down")
        assert run("members") == ""  # no orphan, whatever the tests have killed


@pytest.fixture
def queue(tmp_path, dev_cluster):
    made = Queue(tmp_path / "queue", Settings(time="5m", memory="1500M", notice=20, lease=4, attempts=2))
    yield made
    made.cancel()
    ended(made)


def until(ask):
    """What `ask` returns once that is true. Slurm may be slow to answer."""
    end = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(Failure):
            if answer := ask():
                return answer
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.2)


def ended(queue):
    """Waits until Slurm has none of the queue's tasks any more, those that were cancelled among them."""

    def gone():
        labels = ",".join(path.stem for path in (queue.folder / "arrays").iterdir())
        return not slurm.ask_slurm("squeue", "--noheader", f"--name={labels}").strip()

    until(gone)


def log_of(queue):
    return "".join(path.read_text() for path in (queue.folder / "tasks").glob("*.out"))


# --- functions for the tasks ---


def note(item, report, stop):
    """One line per call, so that doing an item twice shows. Ends once there is a file `go`."""
    number, folder = item
    while not (Path(folder) / "go").exists():
        time.sleep(0.1)
    with open(Path(folder) / f"{number}.calls", "a") as file:
        file.write("x\n")
    return True


def count(item, report, stop):
    """Counts to 40, a tenth of a second each, from where it was told to stop. Counts on to 40 once there is a file `go`."""
    path = Path(item[1]) / f"{item[0]}.count"
    done = int(path.read_text()) if path.exists() else 0
    with open(Path(item[1]) / f"{item[0]}.attempts", "a") as file:
        print(done, os.environ["SLURMD_NODENAME"], os.environ.get("SLURM_RESTART_COUNT", 0), file=file)
    while done < 40:
        time.sleep(0.1)
        done += done < 39 or (path.parent / "go").exists()
        if stop():
            path.write_text(str(done))
            return None
    path.write_text(str(done))
    return True


def hungry(item, report, stop):
    """Item 1 takes more memory than its task may have; item 2 is wrong in itself."""
    number, _ = item
    if number == 1:
        hoard = [bytes(range(256)) * 4_000_000 for _ in range(3)]
        time.sleep(PATIENCE)
        return len(hoard) > 0
    if number == 2:
        raise ValueError("the loss is nan")
    return note(item, report, stop)


def calls(folder):
    return {path.stem: path.read_text().count("x") for path in folder.glob("*.calls")}


def attempts(folder, number):
    path = folder / f"{number}.attempts"
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


# --- any function ---


def test_a_thousand_items_in_several_arrays_each_done_once(tmp_path, dev_cluster):
    settings = Settings(time="5m", memory="500M", notice=20, array_size=3)
    queue = Queue(tmp_path / "queue", settings, name=lambda item: f"{item[0]:04d}", together=125)
    (tmp_path / "out").mkdir()
    items = [(number, str(tmp_path / "out")) for number in range(1000)]
    first = launch(note, items, Workers(1), queue=queue)
    assert first.queued == list(range(1000))
    assert len({task.label for task in queue.tasks()}) == 3  # of 8 tasks, 3 at most in each
    again = launch(note, items, Workers(1), queue=queue)
    assert again.queued == []
    (tmp_path / "out" / "go").touch()
    ended(queue)
    assert calls(tmp_path / "out") == {str(number): 1 for number in range(1000)}
    assert queue.failed() == {}
    assert list((queue.folder / "marks").iterdir()) == []


def test_from_inside_a_job_and_with_options_in_the_environment_a_single_task_is_done_once(tmp_path, queue, monkeypatch):
    options = {
        "SQUEUE_PARTITION": "none",
        "SQUEUE_USERS": "nobody",
        "SQUEUE_STATES": "FAILED",
        "SBATCH_ARRAY_INX": "0-3",
    }
    parent = {"SLURM_JOB_ID": "1", "SLURM_ARRAY_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": "5", "SLURM_MEM_PER_CPU": "100"}
    for name, value in (options | parent | {"SLURM_CLUSTERS": "another", "SCANCEL_STATE": "SUSPENDED"}).items():
        monkeypatch.setenv(name, value)
    queue, items = replace(queue, name=lambda item: str(item[0])), [(0, str(tmp_path))]
    assert launch(note, items, Workers(1), queue=queue).queued == [0]
    assert launch(note, items, Workers(1), queue=queue).queued == []
    until(lambda: [task for task in queue.tasks() if task.running])
    (tmp_path / "go").touch()
    ended(queue)
    assert calls(tmp_path) == {"0": 1}
    assert queue.failed() == {}
    (tmp_path / "go").unlink()
    assert launch(note, [(2, str(tmp_path))], Workers(1), queue=queue).queued == [0]
    assert queue.cancel() == 1
    ended(queue)
    assert calls(tmp_path) == {"0": 1}


def test_a_killed_task_that_was_submitted_from_inside_a_job_has_its_failure_counted(tmp_path, queue, monkeypatch):
    for name, value in {"SLURM_ARRAY_JOB_ID": "1", "SLURM_ARRAY_TASK_ID": "5"}.items():
        monkeypatch.setenv(name, value)
    named = replace(queue, name=lambda item: str(item[0]))
    assert launch(hungry, [(1, str(tmp_path))], Workers(1), queue=named).queued == [0]
    ended(named)
    assert len(named.failed_for_good()["1"]) == named.settings.attempts


def test_preempted_tasks_keep_what_they_have_and_go_on(tmp_path, queue, dev_cluster):
    items = [(number, str(tmp_path)) for number in range(4)]
    launch(count, items, Workers(1), queue=Queue(queue.folder, queue.settings, lambda item: str(item[0])))
    until(lambda: all(attempts(tmp_path, number) for number in range(4)))
    slurm.ask_slurm("sbatch", "--partition=urgent", "--nodes=4", "--mem=3000", "--output=/dev/null", "--wrap=sleep 1")
    until(lambda: all(len(attempts(tmp_path, number)) == 2 for number in range(4)))
    (tmp_path / "go").touch()
    ended(queue)
    assert [(tmp_path / f"{number}.count").read_text() for number in range(4)] == ["40"] * 4
    tries = [attempts(tmp_path, number) for number in range(4)]
    for first, *more in tries:
        assert first[0] == "0"
        assert all(int(done) > 0 for done, *_ in more)  # it went on, and did not begin again
    assert queue.failed() == {}


def test_what_fails_by_itself_is_named_and_spoils_nothing_else(tmp_path, queue):
    four = Queue(queue.folder, queue.settings, lambda item: f"item{item[0]}", together=4)
    items = [(number, str(tmp_path)) for number in range(4)]
    (tmp_path / "go").touch()
    launch(hungry, items, Workers(4), queue=four)
    ended(four)
    failed = four.failed_for_good()
    assert sorted(failed) == ["item1", "item2"]
    assert [len(times) for times in failed.values()] == [2, 2]
    assert "memory" in failed["item1"][-1]["why"]
    assert "the loss is nan" in failed["item2"][-1]["why"]
    assert Path(failed["item2"][-1]["log"]).is_file()
    done = calls(tmp_path)
    assert sorted(done) == ["0", "3"]
    # and it stays failed until somebody wants it again
    assert launch(hungry, items[1:3], Workers(1), queue=four).queued == []
    four.again()
    assert four.failed() == {}


def test_a_cancelled_task_stays_away_and_can_be_submitted_again(tmp_path, queue):
    named = Queue(queue.folder, queue.settings, lambda item: str(item[0]))
    items = [(0, str(tmp_path))]
    launch(count, items, Workers(1), queue=named)
    until(lambda: attempts(tmp_path, 0))
    assert named.cancel() == 1
    ended(named)
    kept = int((tmp_path / "0.count").read_text())
    assert 0 < kept < 40
    (tmp_path / "go").touch()
    assert launch(count, items, Workers(1), queue=named).queued == [0]
    ended(named)
    assert [int(done) for done, *_ in attempts(tmp_path, 0)] == [0, kept]


# --- the builder ---


def build(out, settings, *words):
    slurm = ["--where", "slurm", "--cluster", str(settings), "--out", str(out), "--device", "cpu"]
    command = [sys.executable, "-m", BUILD, *SMALL, *slurm, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    return done


def records(out):
    found = {path.name: json.loads(path.read_text()) for path in out.glob("ledgers/*/records/*")}
    for record in found.values():
        del record["timings"]
    return found


def submitted(tmp_path, *runs):
    """Four runs as two tasks; returns the output folder, the settings and the queue."""
    settings, out = tmp_path / "cluster.toml", tmp_path / "out"
    settings.write_text('time = "5m"\nmemory = "1500M"\nnotice = 20\nlease = 4\n')
    said = build(out, settings, *runs, "--together", "2")
    assert "4 runs are submitted, 2 tasks" in said.stderr
    (ledger,) = (out / "ledgers").iterdir()
    return out, settings, Queue(ledger / "work" / "slurm")


def is_as_if_made_here(out, tmp_path, *runs):
    assert list(next((out / "ledgers").iterdir()).joinpath("work").iterdir()) == []
    here = tmp_path / "here"
    command = [sys.executable, "-m", BUILD, *SMALL, *runs, "--together", "1", "--out", str(here), "--device", "cpu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert len(records(here)) == 4
    assert records(out) == records(here)
    assert [p.read_text() for p in sorted((out / "tables").glob("*.csv"))] == [
        p.read_text() for p in sorted((here / "tables").glob("*.csv"))
    ]


def test_a_node_that_dies_a_controller_that_restarts_and_a_table_as_if_nothing_had_happened(tmp_path, dev_cluster):
    runs = ["--configs", "1-4", "--seeds", "0", "--epochs", "60"]
    out, settings, queue = submitted(tmp_path, *runs)
    (array,) = (queue.folder / "arrays").iterdir()

    def at_work():
        """The node of a task whose run has a checkpoint, once the controller has written down that it has the tasks."""
        state = Path(os.environ["DEV_CLUSTER"]) / "state" / "job_state"
        with contextlib.suppress(FileNotFoundError):
            if state.stat().st_mtime > array.stat().st_mtime:
                return worked_on()
        return None

    def worked_on():
        nodes = {name: task.node for task in queue.tasks() if task.running for name in task.names}
        return next((nodes[path.stem] for path in queue.folder.parent.glob("*.pt") if path.stem in nodes), None)

    victim = until(at_work)
    dev_cluster("crash", victim)
    dev_cluster("kill", "slurmctld")
    dev_cluster("start", "slurmctld")
    waited = build(out, settings, *runs, "--together", "2", "--wait")
    assert "0 runs are submitted" in waited.stderr or "4 of 4 runs are there" in waited.stderr  # all are queued or done
    assert "(4 of 4 runs, synthetic)" in waited.stdout
    dev_cluster("start", victim)
    dev_cluster("resume")
    is_as_if_made_here(out, tmp_path, *runs)


def test_a_controller_that_has_forgotten_that_it_started_the_tasks(tmp_path, dev_cluster):
    """It writes down every five seconds what it knows. Back, it starts the tasks again where they run: nodes refuse."""
    runs = ["--configs", "1-4", "--seeds", "0", "--epochs", "60"]
    time.sleep(6)  # nothing is left to write down: the submission is at once, and what follows five seconds later
    out, settings, queue = submitted(tmp_path, *runs)
    tasks = until(lambda: [task for task in queue.tasks() if task.running])
    dev_cluster("crash", tasks[-1].node)
    dev_cluster("kill", "slurmctld")
    dev_cluster("start", "slurmctld")

    def refused():
        """The tasks that are held, or that there are none at all any more."""
        tasks = queue.tasks()
        return [task for task in tasks if task.refused] or not tasks

    held = until(refused)
    waited = build(out, settings, *runs, "--together", "2", "--wait")
    assert "(4 of 4 runs, synthetic)" in waited.stdout
    dev_cluster("start", tasks[-1].node)
    dev_cluster("resume")
    # what a process that the controller had forgotten wrote last goes with the same command, typed again
    until(
        lambda: not list(queue.folder.parent.iterdir()) or not build(out, settings, *runs, "--together", "2", "--wait")
    )
    is_as_if_made_here(out, tmp_path, *runs)
    if held is True:
        pytest.skip("no node refused: the controller was quicker")


# --- methods ---


def test_rankings_made_on_the_cluster_are_those_made_here(tmp_path, dev_cluster):
    settings = tmp_path / "cluster.toml"
    settings.write_text('time = "5m"\nmemory = "1500M"\nnotice = 20\nlease = 4\n')
    words = [sys.executable, "-m", "benchmark.evaluate", "--method", "random_order", "--seeds", "0", "1", "2"]
    slurm = ["--where", "slurm", "--cluster", str(settings), "--together", "2", "--wait"]
    made = {}
    for where, more in (("here", []), ("slurm", slurm)):
        out = tmp_path / where
        done = subprocess.run(
            [*words, *more, "--out", str(out)], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, done.stderr
        assert list((out / "rankings" / "work").iterdir()) == []
        rankings = {path.name: json.loads(path.read_text()) for path in (out / "rankings").glob("*.json")}
        assert len(rankings) == 3
        for ranking in rankings.values():
            del ranking["provenance"]["timings"]
        made[where] = rankings, done.stdout
    assert "3 searches are submitted" in done.stderr
    assert made["here"] == made["slurm"]


def test_searches_of_widths_made_on_the_cluster_are_those_made_here(tmp_path, dev_cluster):
    settings = tmp_path / "cluster.toml"
    settings.write_text('time = "5m"\nmemory = "3G"\nnotice = 20\nlease = 4\n')
    small = ["--network", "resnet20", "--start", "8", "--floor", "4", "--trials", "2", "--epochs", "1", "--delta", "0.01", "0.1"]  # fmt: skip
    words = [sys.executable, "-m", "benchmark.search_channels", *SMALL, *small, "--together", "2", "--json"]
    made = {}
    for where, more in (("here", []), ("slurm", ["--where", "slurm", "--cluster", str(settings), "--wait"])):
        out = tmp_path / where
        done = subprocess.run(
            [*words, *more, "--out", str(out)], capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        assert done.returncode == 0, done.stderr
        assert len(json.loads(done.stdout)["results"]) == 2
        records = {path.relative_to(out): json.loads(path.read_text()) for path in out.glob("channels/*/**/*.json")}
        assert len(records) == 2 * 4  # what is searched, two trials, what was found
        for record in records.values():
            for told in ("timings", "checksum", "seconds"):  # the checksum is of the timings, too
                record.pop(told, None)
        made[where] = records
    assert "2 of 2 that are left are submitted" in done.stderr
    assert not (out / "channels" / "work").exists() or not list((out / "channels" / "work").rglob("*.json"))
    assert made["here"] == made["slurm"]
