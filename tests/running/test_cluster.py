"""Slurm's part of launching without Slurm: settings, what a queue remembers, what a task does with notices and failures."""

import json
import os
import re
import shutil
import stat
from pathlib import Path

import pytest

from benchmark.errors import Failure, UsageError
from benchmark.running import cluster, node
from benchmark.running.claims import claim
from benchmark.running.cluster import Queue, Settings
from benchmark.running.launch import Outcome, launch
from benchmark.running.node import Marked, Task, after_a_task, last_line
from benchmark.running.worker import Workers

SLURM = Path(__file__).resolve().parents[2] / "slurm"


# --- settings ---


def test_the_shipped_settings_are_the_defaults_and_name_every_key():
    text = (SLURM / "cluster.toml").read_text()
    shipped = Settings.read(SLURM / "cluster.toml")
    assert shipped == Settings(memory="4GB")
    for key in Settings.__dataclass_fields__:
        assert re.search(rf"^(# )?\[?{key}\b", text, re.MULTILINE), key


def test_the_example_for_gpus_is_valid(tmp_path):
    example = (SLURM / "cluster.toml").read_text().partition("example: a partition with GPUs")[2]
    lines = [line.removeprefix("# ") for line in example.splitlines() if " = " in line]
    path = tmp_path / "gpu.toml"
    path.write_text("\n".join(lines))
    assert Settings.read(path).gpus == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('partion = "gpu"', "unknown key 'partion': did you mean partition? the keys are partition, account, "),
        ("partition = 3", "partition is 3: it must be text"),
        ('cpus = "4"', "cpus is '4': it must be a whole number"),
        ("cpus = true", "cpus is True"),
        ("cpus = 0", "cpus is 0: it must be 1 or more"),
        ("lease = 'long'", "lease is 'long': it must be a number"),
        ('setup = "module load"', "setup is 'module load': it must be a list of lines"),
        ("setup = [1]", "it must be a list of lines"),
        ('memory = "4"', "memory is '4': write it as 8GB or 4000M"),
        ('time = "soon"', "time is 'soon': write it as 90m or 4h"),
        ('time = "30s"', "one minute or more"),
        ('time = "1m"', "notice is 90 s: it must be shorter than time"),
        ('[sbatch]\narray = "0-3"', "sbatch sets 'array'"),
        ('[sbatch]\nclusters = "b"', "sbatch sets 'clusters': name another cluster by SLURM_CONF"),
        ("cpus = ", "not TOML"),
    ],
)
def test_wrong_settings_are_named(tmp_path, text, expected):
    path = tmp_path / "cluster.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as error:
        Settings.read(path)
    assert str(path) in str(error.value)
    assert expected in str(error.value)


def test_settings_that_are_not_there_are_an_error_with_the_way_out(tmp_path):
    with pytest.raises(UsageError, match="name a file with --cluster"):
        Settings.read(tmp_path / "none.toml")


def test_what_is_asked_of_sbatch(tmp_path):
    pytest.importorskip("submitit")
    settings = Settings(
        partition="gpu", time="8h", gpus=1, cpus=4, setup=["module load x"], sbatch={"mail-type": "END"}
    )
    asked = Queue(tmp_path, settings)._parameters("label")
    assert (asked["partition"], asked["time"], asked["gpus_per_node"], asked["cpus_per_task"]) == ("gpu", 480, 1, 4)
    assert asked["setup"] == ["module load x"]
    assert asked["additional_parameters"] == {"requeue": True, "mail-type": "END"}
    assert "account" not in asked
    assert "gpus_per_node" not in Queue(tmp_path, Settings())._parameters("label")  # some sites refuse 0


# --- a stand-in for Slurm's commands ---


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """slurm(name, script) puts a command in place; every call is noted in `calls`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    calls = tmp_path / "calls"
    calls.touch()

    def put(name, script):
        path = folder / name
        path.write_text(f'#!/bin/sh\necho "{name} $@" >>{calls}\n{script}\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)

    put.calls = lambda: calls.read_text().splitlines()
    return put


@pytest.fixture
def queue(tmp_path):
    made = Queue(tmp_path / "queue", Settings(attempts=2))
    for part in ("arrays", "marks", "failed", "tasks"):
        (made.folder / part).mkdir(parents=True)
    said = {"tasks": [["a", "b"], ["c"]], "attempts": 2}
    (made.folder / "arrays" / "nbp-1.json").write_text(json.dumps(said))
    return made


def test_tasks_are_those_of_our_arrays(queue, slurm):
    slurm("squeue", 'printf "nbp-1|7|1|RUNNING|n3|None\\nnbp-1|7|0|PENDING||Priority\\nother|8|0|RUNNING|n1|None\\n"')
    first, second = queue.tasks()
    assert (first.job, first.node, first.names, first.running) == ("7_1", "n3", ("c",), True)
    assert (second.job, second.reason, second.names, second.running) == ("7_0", "Priority", ("a", "b"), False)
    assert first.log == queue.folder / "tasks" / "7_1_0_log.out"


def test_lines_that_are_no_tasks_are_passed_over_and_a_reason_may_hold_anything(queue, slurm):
    lines = ["CLUSTER: x", "", "maintenance | tonight | 20:00 | a | b | c | d", "nbp-1|7|0|PENDING||held | by|admin"]
    slurm("squeue", f"printf '{chr(10).join(lines)}'")
    (task,) = queue.tasks()
    assert (task.job, task.reason) == ("7_0", "held | by|admin")


def test_a_task_of_ours_that_cannot_be_read_is_not_taken_for_none(queue, slurm):
    slurm("squeue", "echo 'nbp-1|7|0|RUNNING'")
    with pytest.raises(Failure, match="what cannot be read: nbp-1"):  # else it would be submitted twice
        queue.tasks()


def test_output_that_is_not_utf8_is_read_all_the_same(queue, slurm):
    slurm("squeue", r"printf 'gr\374\337e\nnbp-1|7|0|RUNNING|n3|None\n'")
    assert [task.job for task in queue.tasks()] == ["7_0"]


OF_THE_USER = {
    "SQUEUE_PARTITION": "x",
    "SQUEUE_USERS": "x",
    "SQUEUE_STATES": "x",
    "SLURM_CLUSTERS": "x",
    "SCANCEL_USER": "x",
}
OF_THE_PARENT = {
    "SLURM_JOB_ID": "9",
    "SLURM_ARRAY_JOB_ID": "9",
    "SLURM_ARRAY_TASK_ID": "5",
    "SLURM_MEM_PER_CPU": "100",
    "SLURM_RESTART_COUNT": "2",
    "SLURMD_NODENAME": "n1",
    "SRUN_CPUS_PER_TASK": "2",
    "SUBMITIT_EXECUTOR": "slurm",
}
OURS = {"SLURM_CONF": "/etc/our.conf", "SLURM_JWT": "token", "NBP_KEPT": "1"}


@pytest.fixture
def inherited(monkeypatch, slurm, tmp_path):
    """A shell that sets all of it, with commands that note their variables; inherited() gives what they saw."""
    seen = tmp_path / "seen"
    for name, value in (OF_THE_USER | OF_THE_PARENT | OURS).items():
        monkeypatch.setenv(name, value)
    for name in ("squeue", "scancel", "scontrol", "sbatch", "srun"):
        says = {"squeue": "nbp-1|7|0|RUNNING|n3|None", "scontrol": "MaxArraySize = 1001", "sbatch": "Submitted job 8"}
        slurm(name, f"env >>{seen}; echo '{says.get(name, '')}'")

    def read():
        names = dict(line.split("=", 1) for line in seen.read_text().splitlines() if "=" in line)
        seen.unlink()
        return {name: value for name, value in names.items() if name.startswith(("S", "NBP"))}

    return read


def test_slurms_commands_are_asked_without_what_the_environment_sets(queue, inherited):
    assert len(queue.tasks()) == 1
    assert inherited().keys() >= OURS.keys()
    queue.cancel()
    assert not inherited().keys() & (OF_THE_USER | OF_THE_PARENT).keys()


def test_hidden_partitions_are_asked_for_too(queue, slurm):
    slurm("squeue", "")
    queue.tasks()
    assert "--all" in slurm.calls()[0].split()


def test_a_task_submitted_from_inside_a_job_inherits_nothing_of_it(queue, inherited, monkeypatch, tmp_path):
    pytest.importorskip("submitit")
    before = dict(os.environ)
    launch(Kept(tmp_path), ["d"], Workers(1), queue=queue)
    seen = inherited()
    assert {name: seen.get(name) for name in OURS} == OURS
    assert not seen.keys() & (OF_THE_USER | OF_THE_PARENT).keys()
    assert dict(os.environ) == before


@pytest.mark.parametrize("settings", [Settings(), Settings(partition="mine", sbatch={"reservation": "r"})])
def test_who_pays_may_come_from_the_environment_and_nothing_else_and_the_settings_go_first(
    queue, inherited, monkeypatch, tmp_path, settings
):
    pytest.importorskip("submitit")
    for name in ("ACCOUNT", "PARTITION", "QOS", "RESERVATION", "ARRAY_INX", "EXPORT", "TIMELIMIT", "CLUSTERS"):
        monkeypatch.setenv(f"SBATCH_{name}", "theirs")
    launch(Kept(tmp_path), ["d"], Workers(1), queue=Queue(queue.folder, settings))
    owned = {"SBATCH_PARTITION", "SBATCH_RESERVATION"} if settings.partition else set()
    taken = {"SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_QOS", "SBATCH_RESERVATION"} - owned
    assert {name for name in inherited() if name.startswith("SBATCH_")} == taken


def test_where_srun_is_missing_nothing_is_submitted(queue, slurm, monkeypatch, tmp_path):
    pytest.importorskip("submitit")
    for name, says in (("squeue", ""), ("scontrol", "MaxArraySize = 1001"), ("sbatch", "Submitted batch job 8")):
        slurm(name, f"echo {says}")
    for name in ("sh", "env", "grep"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(UsageError, match="this machine has no srun"):
        launch(Kept(tmp_path), ["d"], Workers(1), queue=queue)
    assert [path.stem for path in (queue.folder / "arrays").iterdir()] == ["nbp-1"]
    assert not any(call.startswith("sbatch") for call in slurm.calls())


@pytest.mark.parametrize("text", ["", "{", "[]", '{"attempts": 2}', "[" * 100000, "\udcff"])
@pytest.mark.parametrize(
    ("name", "out"), [("arrays/nbp-1", "scancel --name=nbp-1, and then remove it"), ("failed/a", "remove it")]
)
def test_a_damaged_file_of_a_queue_is_named_with_the_way_out(queue, slurm, name, out, text):
    slurm("squeue", "true")
    path = queue.folder / f"{name}.json"
    path.write_text(text, errors="surrogateescape")
    with pytest.raises(Failure, match="damaged") as error:
        queue.tasks() if name.startswith("arrays") else queue.failed()
    assert str(error.value).startswith(str(path))
    assert str(error.value).endswith(out)


def test_no_arrays_are_asked_for_nowhere(tmp_path, slurm):
    slurm("squeue", "exit 1")
    assert Queue(tmp_path / "nothing").tasks() == []
    assert slurm.calls() == []


def test_a_controller_that_is_away_is_a_failure_and_no_slurm_at_all_is_wrong_usage(queue, slurm, monkeypatch):
    slurm("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    with pytest.raises(Failure, match="Unable to contact"):
        queue.tasks()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UsageError, match="this machine has no squeue"):
        queue.tasks()


def test_waiting_survives_a_controller_that_is_away_for_a_while(queue, slurm, monkeypatch, tmp_path):
    monkeypatch.setattr(cluster, "LOOK_SECONDS", 0.01)
    # away, then one task runs, then nothing is left
    slurm(
        "squeue",
        f"n=$(grep -c . {tmp_path}/calls); case $n in 1) exit 1;; 2) echo 'nbp-1|7|1|RUNNING|n3|None';; esac",
    )
    seen = []
    queue.wait(lambda tasks: seen.append([task.job for task in tasks]) or "[4,3,3] text", set)
    assert seen == [["7_1"]]
    monkeypatch.setattr(cluster, "SILENCE_SECONDS", 0.0)
    slurm("squeue", "exit 1")
    with pytest.raises(Failure):
        queue.wait(lambda tasks: "", set)


def held_by_slurm(number):
    return f"nbp-1|7|{number}|PENDING||launch failed requeued held"


def test_waiting_lets_a_task_go_that_a_node_refused_and_takes_out_one_that_has_nothing_to_do(
    queue, slurm, monkeypatch, tmp_path
):
    monkeypatch.setattr(cluster, "LOOK_SECONDS", 0.01)
    # both are held, and all items of the second are done; then the first, released, runs; then nothing is left
    slurm(
        "squeue",
        f"n=$(grep -c squeue {tmp_path}/calls); case $n in 1) printf '{held_by_slurm(0)}\\n{held_by_slurm(1)}\\n';; "
        "2) echo 'nbp-1|7|0|RUNNING|n3|None';; esac",
    )
    slurm("scancel", "")
    slurm("scontrol", "")
    queue.wait(lambda tasks: "", lambda: {"b", "c"})
    assert [call for call in slurm.calls() if "squeue" not in call] == ["scancel 7_1", "scontrol release 7_0"]


def test_what_people_hold_and_what_waits_for_its_turn_is_left_alone(queue, slurm, monkeypatch, tmp_path):
    monkeypatch.setattr(cluster, "LOOK_SECONDS", 0.01)
    lines = "nbp-1|7|0|PENDING||JobHeldUser\\nnbp-1|7|1|PENDING||Priority\\n"
    slurm("squeue", f"[ $(grep -c squeue {tmp_path}/calls) -gt 2 ] || printf '{lines}'")
    slurm("scancel", "")
    slurm("scontrol", "")
    queue.wait(lambda tasks: "", lambda: {"a"})
    assert {call.split()[0] for call in slurm.calls()} == {"squeue"}


def test_waiting_ends_where_nodes_refuse_a_task_again_and_again(queue, slurm, monkeypatch):
    monkeypatch.setattr(cluster, "LOOK_SECONDS", 0.01)
    slurm("squeue", f"echo '{held_by_slurm(0)}'")
    slurm("scontrol", "")
    with pytest.raises(Failure, match=r"no node starts the task 7_0, and Slurm holds it .* --cancel takes it out"):
        queue.wait(lambda tasks: "", set)
    assert slurm.calls().count("scontrol release 7_0") == 2


def test_submitting_again_lets_a_refused_task_go_and_says_so_where_asked(queue, slurm, tmp_path):
    pytest.importorskip("submitit")
    slurm("squeue", f"printf '{held_by_slurm(0)}\\n{held_by_slurm(1)}\\n'")
    *_, told = cluster.lines(queue, queue.tasks(), {"a": "A"})
    assert told == "  refused by a node and held: 7_0, 7_1 (the command that submitted them lets them go)"
    for code in (0, 1):  # where it may not, the rest is submitted all the same
        slurm("scontrol", f'[ "$1" = show ] || exit {code}; echo MaxArraySize = 1001')
        assert launch(Kept(tmp_path), ["a", "c"], Workers(1), queue=queue).queued == []
    assert slurm.calls().count("scontrol release 7_0") == slurm.calls().count("scontrol release 7_1") == 2


def test_a_task_that_slurm_lets_nobody_take_out_is_waited_for(queue, slurm, monkeypatch, tmp_path):
    monkeypatch.setattr(cluster, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(cluster, "SILENCE_SECONDS", 0.0)
    lines = "nbp-1|7|0|PENDING||Priority"
    slurm("squeue", f"[ $(grep -c squeue {tmp_path}/calls) -gt 2 ] || echo '{lines}'")
    slurm("scancel", "echo 'Access denied' >&2; exit 1")
    queue.wait(lambda tasks: "", lambda: {"a", "b"})
    assert slurm.calls().count("scancel 7_0") == 2


@pytest.mark.parametrize(
    ("state", "reason"),
    [("PENDING", "JobHoldMaxRequeue"), ("REQUEUE_HOLD", "launch failure limit exceeded requeued held")],
)
def test_held_for_too_many_launches_counts_as_refused(queue, slurm, state, reason):
    slurm("squeue", f"echo 'nbp-1|7|0|{state}||{reason}'; echo 'nbp-1|7|1|PENDING||JobHeldAdmin'")
    assert [task.refused for task in queue.tasks()] == [True, False]


def test_the_folder_goes_once_nothing_is_queued_and_nothing_that_failed_is_left_to_do(queue, slurm):
    node.note_failure(queue.folder, "c", "the loss is nan", 2)
    slurm("squeue", "")
    queue.clear({"a", "b"})
    assert list(queue.failed()) == ["c"]  # else it would be submitted again though nobody said --again
    slurm("squeue", "echo 'nbp-1|7|0|RUNNING|n3|None'")
    queue.clear({"a", "b", "c"})
    assert queue.tasks() != []
    slurm("squeue", "exit 1")
    queue.clear({"a", "b", "c"})
    assert queue.folder.exists()
    slurm("squeue", "")
    queue.clear({"a", "b", "c"})
    assert not queue.folder.exists()


def test_the_folder_stays_while_another_process_submits(queue, slurm):
    slurm("squeue", "")
    with claim(queue.folder / "submit.lock"):
        queue.clear({"a", "b", "c"})
    assert queue.folder.exists()


def test_the_summary_counts_every_item_once(queue, slurm):
    slurm("squeue", 'printf "nbp-1|7|0|RUNNING|n3|None\\n"')
    (queue.folder / "tasks" / "7_0_0_log.out").write_text("begins\ntask: 50.0% · 1/2 done\n")
    node.note_failure(queue.folder, "c", "the loss is nan", 2)
    left = {name: name.upper() for name in "abcd"}
    first, task, failed = cluster.lines(queue, queue.tasks(), left, running={"a"})
    assert first == "1 running, 1 queued, 1 failed, 1 in no queue (1 of 1 tasks run)"
    assert task == "  7_0 on n3: A (task: 50.0% · 1/2 done)"
    assert failed.startswith("  failed 1 of at most 2 times: C: the loss is nan (log: ")


def test_cancelling_takes_whole_arrays_out_and_keeps_their_tasks_from_coming_back(queue, slurm, monkeypatch):
    slurm("squeue", 'printf "nbp-1|7|0|RUNNING|n3|None\\nnbp-1|7|1|PENDING||None\\n"')
    slurm("scancel", "")
    slurm("scontrol", "echo JobState=RUNNING Restarts=0 x")
    assert queue.cancel() == 2
    assert slurm.calls()[-1] == "scancel 7"
    monkeypatch.setenv("SLURM_JOB_ID", "9")
    node.requeue(queue.folder, "nbp-1")
    assert slurm.calls()[-1] == "scancel 7"


class Kept:
    """Items that are done once their file is there."""

    def __init__(self, folder):
        self.folder = folder

    def done(self, item):
        return (self.folder / item).exists()

    def __call__(self, item, report, stop):
        return True


def test_what_a_task_finishes_while_slurm_is_asked_is_not_submitted_again(queue, slurm, tmp_path):
    pytest.importorskip("submitit")
    # c's task ends after the caller has looked for c's result and before squeue answers: it is in neither
    slurm("squeue", f"touch {tmp_path}/c; echo 'nbp-1|7|0|RUNNING|n3|None'")
    slurm("scontrol", "echo MaxArraySize = 1001")
    slurm("sbatch", "echo Submitted batch job 8")
    slurm("srun", "")
    outcome = launch(Kept(tmp_path), ["a", "c", "d"], Workers(1), queue=queue)
    assert outcome.queued == [2]  # a is queued, c done
    submitted = [json.loads(path.read_text())["tasks"] for path in (queue.folder / "arrays").glob("*.json")]
    assert sorted(submitted) == [[["a", "b"], ["c"]], [["d"]]]


# --- what a task does ---


@pytest.fixture
def inside(monkeypatch):
    """The variables of a task."""
    for name, value in {"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SLURM_RESTART_COUNT", raising=False)


def task_of(queue, run, names=("a", "b")):
    return Task(queue.folder, "nbp-1", 0, list(names), list(names), run, None, Workers(1), 2)


def test_a_failing_item_is_tried_again_alone_and_only_so_often(queue, inside):
    groups = []

    def run(function, items, workers, **how):
        groups.append([name for name, _ in items])
        bad = {position: "broken" for position, (name, _) in enumerate(items) if name == "b"}
        return Outcome(failed=bad)

    task_of(queue, run)()
    assert groups == [["a", "b"], ["b"]]
    assert [times["why"] for times in queue.failed()["b"]] == ["broken", "broken"]
    task_of(queue, run)()  # the task again: b has no attempt left
    assert groups[2:] == [["a"]]
    assert list(queue.failed_for_good()) == ["b"]


def test_a_noticed_task_goes_back_into_the_queue_and_blames_nobody(queue, slurm, inside):
    slurm("scontrol", "echo JobId=9 JobState=RUNNING Restarts=0 BatchFlag=1")
    with pytest.raises(SystemExit) as end:
        task_of(queue, lambda *_, **how: Outcome(failed={0: "its process ended"}, interrupted=True))()
    assert end.value.code == 0
    assert slurm.calls()[-1] == "scontrol requeue 9"
    assert queue.failed() == {}


@pytest.mark.parametrize("said", ["JobState=CANCELLED Restarts=0 x", "JobState=RUNNING Restarts=1 x"])
def test_a_cancelled_task_and_one_that_runs_elsewhere_already_stay_out_of_the_queue(queue, slurm, inside, said):
    slurm("scontrol", f"echo {said}")
    node.requeue(queue.folder, "nbp-1")
    assert [call for call in slurm.calls() if "requeue" in call] == []


def fails_on_c(item, report, stop):
    if item == "c":
        raise ValueError("c")
    marks.append(item)
    yield
    return True


marks: list[str] = []


def test_a_mark_lasts_as_long_as_its_item_is_under_way(queue, inside):
    steps = Marked(fails_on_c, queue.folder)(("a", "a"), None, None)
    next(steps)
    assert [path.name for path in (queue.folder / "marks").iterdir()] == ["a@9.0"]
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value is True
    with pytest.raises(ValueError, match="c"):
        next(Marked(fails_on_c, queue.folder)(("c", "c"), None, None))
    assert list((queue.folder / "marks").iterdir()) == []


def test_after_a_killed_step_the_item_under_way_is_blamed_and_the_rest_goes_on(queue, slurm, inside):
    slurm("scontrol", "echo JobState=RUNNING Restarts=0 x")
    (queue.folder / "tasks" / "7_0_0_log.out").write_text(
        "ValueError: of an earlier attempt\nStarting with x\nerror: Exceeded job memory limit\nsrun: Killed\n"
    )
    (queue.folder / "marks" / "b@9.0").touch()
    (queue.folder / "marks" / "a@8.0").touch()  # of another job
    after_a_task(queue.folder, "nbp-1", 0, 137)
    assert list(queue.failed()) == ["b"]
    assert queue.failed()["b"][0]["why"] == "killed with code 137: error: Exceeded job memory limit"
    assert slurm.calls()[-1] == "scontrol requeue 9"


def test_a_task_that_never_came_to_its_items_is_not_tried_for_ever(queue, slurm, inside):
    slurm("scontrol", "echo JobState=RUNNING Restarts=0 x")
    (queue.folder / "tasks" / "7_0_0_log.out").write_text("ModuleNotFoundError: No module named 'benchmark'\n")
    after_a_task(queue.folder, "nbp-1", 0, 1)
    assert sorted(queue.failed()) == ["a", "b"]
    assert "No module named" in queue.failed()["a"][0]["why"]
    assert slurm.calls() == []


@pytest.mark.parametrize("code", [140, 143])
def test_a_notice_that_came_too_early_is_no_failure(queue, slurm, inside, code):
    slurm("scontrol", "echo JobState=RUNNING Restarts=0 x")
    after_a_task(queue.folder, "nbp-1", 0, code)
    assert queue.failed() == {}
    assert slurm.calls()[-1] == "scontrol requeue 9"


def test_a_good_end_and_a_cancelled_array_leave_nothing(queue, slurm, inside):
    (queue.folder / "marks" / "b@9.0").touch()
    after_a_task(queue.folder, "nbp-1", 0, 0)
    (queue.folder / "arrays" / "nbp-1.json").rename(queue.folder / "arrays" / "nbp-1.cancelled")
    after_a_task(queue.folder, "nbp-1", 0, 137)
    assert queue.failed() == {}
    assert slurm.calls() == []


def test_a_cause_is_looked_for_in_the_latest_attempt_only(tmp_path):
    log = tmp_path / "log"
    log.write_text("error: Exceeded job memory limit\nStarting with x\nValueError: y\nlast\n")
    memory, errors = node.TELLING
    assert last_line(log, memory) == ""
    assert last_line(log, errors) == "ValueError: y"
    assert last_line(log) == "last"


def test_the_last_line_of_no_log_is_empty(tmp_path):
    assert last_line(tmp_path / "none") == ""
