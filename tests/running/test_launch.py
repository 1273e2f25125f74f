"""Launching: every item ends in one of the known ways, whatever happens to its process, its neighbours or the parent."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmark.errors import UsageError
from benchmark.running.launch import LEAN_ENVIRONMENT, launch
from benchmark.running.worker import Spoiled, Workers, work

PATIENCE = 300  # seconds after which something that must happen counts as not happening


# Functions for the workers stand at the module's level: they travel by name.


def square(item, report, stop):
    report(item * item)
    return True


def fail_on_odd(item, report, stop):
    if item == 1:
        raise ValueError("one\nis odd")
    if item == 3:
        raise UsageError("3 is odd: give an even number")
    if item == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    if item == 7:
        sys.exit(3)
    if item == 9:
        report(lambda: None)  # cannot travel
    return True


def busy_until_third(item, report, stop):
    """False twice, then True; how often is counted in a file."""
    name, folder = item
    if name != "held":
        return True
    path = Path(folder) / name
    times = len(path.read_text()) if path.exists() else 0
    path.write_text("x" * (times + 1))
    return times >= 2


def until_stopped(item, report, stop):
    """Leaves only when told to stop; `deaf` never listens."""
    report(os.getpid())
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and (item == "deaf" or not stop()):
        time.sleep(0.01)


def until_stormed(item, report, stop):
    """Stays, told to stop or not, until a file is there."""
    report(os.getpid())
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and not Path(item).exists():
        time.sleep(0.001)
    return stop()


def alone_or_not(item, report, stop):
    """Reports how many run at this moment, and in which process."""
    number, folder = item
    mark = Path(folder) / f"{number}.running"
    mark.write_text("")
    time.sleep(0.1)
    report((len(list(Path(folder).glob("*.running"))), os.getpid()))
    mark.unlink()
    return True


def environment_of_worker(item, report, stop):
    report((os.environ.get("LAUNCH_TEST"), os.environ.get("LAUNCH_TEST_PARENT"), sys.flags.hash_randomization))
    return True


def both_at_once(item, report, stop):
    """Ends when another item is under way in the same process, which two items in a row never are."""
    under_way.add(item)
    for _ in range(1000):
        if len(under_way) > 1:
            report((item, os.getpid()))
            yield  # once more, so that the other one sees this one too
            return True
        time.sleep(0.01)
        yield
    return False


under_way: set[int] = set()  # in a worker


class OneByOne:
    """Items that would take turns, but for want of room."""

    def room(self):
        return not under_way

    def __call__(self, item, report, stop):
        under_way.add(item)
        for _ in range(5):
            report(len(under_way))
            yield
        under_way.discard(item)
        return True


def spoils(item, report, stop):
    """Item 0 ends its process: as `item[1]` says, by a fault of the device or without a word."""
    number, how = item
    report(number)
    for _ in range(20):
        yield
        time.sleep(0.01)
    if number == 0 and how == "fault":
        raise Spoiled("the device is broken")
    if number == 0:
        os._exit(9)
    for _ in range(20):
        yield
        time.sleep(0.01)
    return True


def die_after_the_end(item, report, stop):
    """The worker is killed a moment after it has finished the first item, while it waits for the next one."""
    report(os.getpid())
    if item == 0:
        threading.Timer(2, os.kill, (os.getpid(), signal.SIGKILL)).start()
    return True


def lie_still_after_the_end(item, report, stop):
    report(os.getpid())
    if item == 0:
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGSTOP)).start()
    return True


def talkative(item, report, stop):
    while True:
        report("still here")


def appears(path):
    until = time.monotonic() + PATIENCE
    while not path.exists() and time.monotonic() < until:
        time.sleep(0.01)
    return path.exists()


def true_once_interrupted(folder):
    (folder / "receiving").touch()
    assert appears(folder / "interrupted")
    return True


@dataclass(frozen=True)
class SlowTruth:
    """True, but the parent has not received it before it is interrupted."""

    folder: Path

    def __reduce__(self):
        return true_once_interrupted, (self.folder,)


def interrupt_the_receiver(item, report, stop):
    """Interrupts the parent while that is receiving the end of this item."""
    folder = Path(item)

    def interrupt():
        appears(folder / "receiving")
        os.kill(os.getppid(), signal.SIGINT)
        (folder / "interrupted").touch()

    threading.Thread(target=interrupt).start()
    return SlowTruth(folder)


def heard(function, items, workers, **options):
    """The outcome, and what was reported as (position, news), in order of arrival."""
    news = []
    outcome = launch(function, items, workers, report=lambda position, what: news.append((position, what)), **options)
    return outcome, news


# --- items ---


def test_one_process_runs_all_items_in_their_order():
    outcome, news = heard(square, [3, 1, 2], Workers(1))
    assert news == [(0, 9), (1, 1), (2, 4)]
    assert outcome.done == [0, 1, 2]
    assert outcome.failed == {}
    assert not outcome.interrupted


def test_several_processes_run_every_item_once():
    outcome, news = heard(square, list(range(9)), Workers(2))
    assert sorted(news) == [(i, i * i) for i in range(9)]
    assert sorted(outcome.done) == list(range(9))
    assert outcome.failed == {}


def test_no_more_than_so_many_run_at_once_and_processes_are_used_again(tmp_path):
    outcome, news = heard(alone_or_not, [(i, str(tmp_path)) for i in range(8)], Workers(2))
    assert len(outcome.done) == 8
    together, pids = zip(*(what for _, what in news), strict=True)
    assert max(together) <= 2
    assert len(set(pids)) <= 2
    assert os.getpid() not in pids


def test_no_items_need_no_process():
    outcome, news = heard(square, [], Workers(4))
    assert (outcome.done, outcome.failed, outcome.interrupted, news) == ([], {}, False, [])


@pytest.mark.parametrize("processes", [1, 2])
def test_failures_and_deaths_take_down_their_item_only(processes):
    outcome = launch(fail_on_odd, list(range(11)), Workers(processes))
    assert sorted(outcome.done) == [0, 2, 4, 6, 8, 10]
    assert sorted(outcome.failed) == [1, 3, 5, 7, 9]
    assert all("\n" not in why for why in outcome.failed.values())
    assert outcome.failed[1].startswith("ValueError: one is odd")
    assert "test_launch.py" in outcome.failed[1]  # where, for an error that is not meant for users
    assert outcome.failed[3] == "3 is odd: give an even number"
    assert "SIGKILL" in outcome.failed[5]
    assert "sys.exit(3)" in outcome.failed[7]
    assert not outcome.interrupted


def test_a_held_item_is_tried_again_and_delays_no_other(tmp_path):
    items = [(name, str(tmp_path)) for name in ("held", "a", "b")]
    outcome = launch(busy_until_third, items, Workers(1))
    assert outcome.done == [1, 2, 0]
    assert (tmp_path / "held").read_text() == "xxx"


def test_a_worker_that_dies_between_two_items_fails_neither():
    def slow_reader(position, pid):
        if position == 0:
            assert all_gone([pid])  # meanwhile the worker ends the item and dies; the next item finds nobody

    outcome = launch(die_after_the_end, [0, 1, 2], Workers(1), report=slow_reader)
    assert outcome.done == [0, 1, 2]
    assert outcome.failed == {}


def stopped(pid):
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system does not say which processes are stopped")
def test_an_item_that_a_dying_worker_was_sent_and_never_began_is_given_to_the_next():
    def slow_reader(position, pid):
        if position == 0:
            until = time.monotonic() + PATIENCE
            while not stopped(pid) and time.monotonic() < until:
                time.sleep(0.01)
            # It has ended item 0, and lies still: item 1 is sent to it now, which it will not live to begin.
            threading.Timer(1, os.kill, (pid, signal.SIGKILL)).start()

    outcome = launch(lie_still_after_the_end, [0, 1, 2], Workers(1), report=slow_reader)
    assert outcome.done == [0, 1, 2]
    assert outcome.failed == {}


# --- stopping ---


def test_the_deadline_stops_what_runs_and_starts_no_more():
    outcome, news = heard(until_stopped, ["slow"] * 4, Workers(2), deadline=time.monotonic() + 2)
    assert outcome.done == []
    assert outcome.failed == {}
    assert not outcome.interrupted
    assert {position for position, _ in news} <= {0, 1}  # two at once, so the last two never began


def test_a_deadline_that_is_never_reached_changes_nothing():
    outcome, _ = heard(square, [1, 2], Workers(1), deadline=time.monotonic() + 1000)
    assert outcome.done == [0, 1]


SCRIPT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from benchmark.running.launch import Workers, launch
import test_launch

if __name__ == "__main__":
    report = lambda position, pid: print(pid, flush=True)
    outcome = launch(getattr(test_launch, sys.argv[2]), sys.argv[3:], Workers(2), report=report)
    print(json.dumps([outcome.done, outcome.failed, outcome.interrupted]))
"""


@pytest.fixture
def parent(tmp_path, environment):
    """parent(*items): a process that launches them two at a time; with the pids of its two busy workers."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    started = []

    def start(*items, function="until_stopped", busy=2):
        words = [sys.executable, script, str(Path(__file__).parent), function, *items]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        # A session of its own, as a terminal gives to a command: signals to the group reach nobody else.
        process = subprocess.Popen(words, env=environment, text=True, start_new_session=True, **pipes)
        started.append(process)
        return process, [int(process.stdout.readline()) for _ in range(busy)]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def gone(pid):
    try:
        os.kill(pid, 0)
        state = Path(f"/proc/{pid}/stat")
        return state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z"  # dead, not yet buried
    except ProcessLookupError:
        return True


def all_gone(pids):
    until = time.monotonic() + PATIENCE
    while not all(map(gone, pids)) and time.monotonic() < until:
        time.sleep(0.02)
    return all(map(gone, pids))


@pytest.mark.parametrize("how", ["ctrl-c", "ctrl-c in the parent alone", "terminate"])
def test_an_interruption_ends_politely(parent, how):
    process, pids = parent("slow", "slow", "slow")
    if how == "ctrl-c":
        os.killpg(process.pid, signal.SIGINT)  # a terminal signals the workers too
    else:
        process.send_signal(signal.SIGTERM if how == "terminate" else signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert json.loads(out) == [[], {}, True]
    assert process.returncode == 0
    assert "stopping at the next checkpoint" in err
    assert "Traceback" not in err
    assert all_gone(pids)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_a_schedulers_notices_to_every_process_end_politely_however_often_they_come(parent, number):
    process, pids = parent("slow", "slow", "slow")
    for other in (number, signal.SIGTERM, signal.SIGUSR2):
        os.killpg(process.pid, other)
    out, err = process.communicate(timeout=PATIENCE)
    assert json.loads(out) == [[], {}, True]
    assert process.returncode == 0
    assert "Traceback" not in err
    assert "resource_tracker" not in err
    assert all_gone(pids)


def test_a_storm_of_notices_does_not_stop_a_worker_in_its_handler(tmp_path):
    """One signal may come while the handler of another runs, which must wait for nothing."""
    enough = tmp_path / "enough"

    def storm(position, pid):
        for _ in range(200_000):
            os.kill(pid, signal.SIGTERM)
        enough.write_text("")
        stuck.append(threading.Timer(PATIENCE / 5, lambda: gone(pid) or os.kill(pid, signal.SIGKILL)))
        stuck[0].start()

    stuck = []
    assert launch(until_stormed, [str(enough)], Workers(1), report=storm).done == [0]
    stuck[0].cancel()  # later, the number may be another process's


def test_a_notice_that_meets_workers_on_their_way_up_is_heard_and_kills_none(parent):
    process, _ = parent("slow", "slow", "slow", busy=0)
    until = time.monotonic() + PATIENCE
    while not (workers := spawned_by(process.pid)) and time.monotonic() < until:
        time.sleep(0.001)
    assert workers
    os.killpg(process.pid, signal.SIGTERM)
    out, _ = process.communicate(timeout=PATIENCE)
    outcome = json.loads(out.splitlines()[-1])
    assert outcome == [[], {}, True]


def spawned_by(pid):
    """Workers of a process, by the words that multiprocessing starts them with."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                found += [path] if b"spawn_main" in path.with_name("cmdline").read_bytes() else []
        except (OSError, IndexError):
            continue
    return found


def test_an_interruption_in_the_middle_of_a_message_loses_nothing(parent, tmp_path):
    process, _ = parent(str(tmp_path), function="interrupt_the_receiver", busy=0)
    out, err = process.communicate(timeout=PATIENCE / 2)
    assert json.loads(out) == [[0], {}, True]
    assert "Traceback" not in err


def test_a_second_interruption_ends_at_once(parent):
    process, pids = parent("deaf", "deaf")
    process.send_signal(signal.SIGINT)
    assert "stopping" in process.stderr.readline() + process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE / 2)  # the workers themselves would go on for twice as long
    assert process.returncode != 0
    assert all_gone(pids)


def test_a_worker_whose_parent_has_hung_up_goes_without_a_word(capfd):
    """Which is what a second Ctrl-C does to it, in the moment before it kills it."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    worker = context.Process(target=work, args=(talkative, [None], theirs), daemon=True)
    worker.start()
    theirs.close()
    ours.send(0)
    assert ours.recv() == ("ready", -1, None)
    assert ours.recv() == ("took", 0, None)
    assert ours.recv() == ("news", 0, "still here")
    ours.close()
    worker.join(timeout=PATIENCE)
    assert worker.exitcode == 1
    assert capfd.readouterr().err == ""


def test_workers_die_with_a_killed_parent(parent):
    process, pids = parent("deaf", "deaf")
    assert not any(map(gone, pids))
    process.kill()
    process.wait()
    assert all_gone(pids)


# --- environment ---


def test_the_environment_reaches_workers_before_their_code_and_leaves_the_parents_alone(monkeypatch):
    monkeypatch.setenv("LAUNCH_TEST_PARENT", "kept")
    before = dict(os.environ)
    during = []
    outcome = launch(
        environment_of_worker,
        [0],
        # PYTHONHASHSEED is read when Python starts: flag 0 says that it was there in time
        Workers(1, environment={"LAUNCH_TEST": "given", "PYTHONHASHSEED": "0"} | LEAN_ENVIRONMENT),
        report=lambda position, news: during.append((news, dict(os.environ))),
    )
    assert outcome.done == [0]
    assert during == [(("given", "kept", 0), before)]
    assert dict(os.environ) == before


def test_signals_are_handled_as_before_afterwards():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    launch(square, [1], Workers(1))
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


# --- several items in one process ---


def test_items_of_a_process_with_slots_take_turns():
    seen = []
    outcome = launch(both_at_once, [0, 1], Workers(1, 2), report=lambda _, news: seen.append(news))
    assert sorted(outcome.done) == [0, 1]
    assert sorted(item for item, _ in seen) == [0, 1]
    assert len({process for _, process in seen}) == 1


def test_a_process_takes_another_item_only_where_there_is_room():
    seen = []
    outcome = launch(OneByOne(), [0, 1, 2], Workers(1, 3), report=lambda _, news: seen.append(news))
    assert sorted(outcome.done) == [0, 1, 2]
    assert set(seen) == {1}


@pytest.mark.parametrize(("how", "why"), [("fault", "the device is broken"), ("silently", "code 9")])
def test_the_neighbours_of_an_item_that_ends_its_process_are_done_all_the_same(how, why):
    outcome = launch(spoils, [(number, how) for number in range(4)], Workers(1, 2))
    assert sorted(outcome.done) == [1, 2, 3]
    assert list(outcome.failed) == [0]
    assert why in outcome.failed[0]


def leaves(item, report, stop):
    """Ends in each of the ways in which a process can end."""
    how, number = item
    {"sys.exit": sys.exit, "os._exit": os._exit, "kill": lambda n: os.kill(os.getpid(), n)}[how](number)


def test_each_end_of_a_process_is_called_by_its_name():
    ends = [("sys.exit", 3), ("sys.exit", 0), ("os._exit", 3), ("kill", signal.SIGSEGV), ("kill", signal.SIGKILL)]
    failed = launch(leaves, ends, Workers(1)).failed
    assert [failed[place] for place in range(5)] == [
        "it ended with sys.exit(3) where an answer was expected",
        "it ended with sys.exit(0) where an answer was expected",
        "its process ended itself with code 3, without an answer",
        "its process was ended by SIGSEGV",
        "its process was ended by SIGKILL (out of memory, or killed)",
    ]


def test_a_program_without_a_main_guard_is_told_of_it(tmp_path, run_python):
    text = "from benchmark.running.launch import Workers, launch\nfrom test_launch import leaves\n"
    (tmp_path / "own.py").write_text(f"{text}print(launch(leaves, [('sys.exit', 3)], Workers(1)).failed[0])\n")
    (tmp_path / "test_launch.py").write_text("def leaves(item, report, stop): pass\n")
    done = run_python("own.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("its process ended with code 1 before it could begin")
    assert 'if __name__ == "__main__":' in done.stdout


class Unsaid(Exception):
    def __str__(self):
        raise ValueError("no text")


def fails_oddly(item, report, stop):
    raise {1: Unsaid(), 2: ValueError("long" * 10**6), 3: KeyboardInterrupt(), 4: GeneratorExit()}[item]


def test_an_exception_of_any_kind_is_told_in_a_line_and_takes_down_its_item_only():
    outcome, _ = heard(fails_oddly, [1, 2, 3, 4], Workers(1))
    assert outcome.failed[0].startswith("Unsaid: its text cannot be had, ValueError (")
    assert outcome.failed[1].startswith("ValueError: longlong")
    assert len(outcome.failed[1]) < 2500
    assert outcome.failed[2].startswith("KeyboardInterrupt: (")
    assert outcome.failed[3].startswith("GeneratorExit: (")
