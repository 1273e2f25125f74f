"""The command that builds a table, as a user starts it: killed, doubled, stopped, asked for its status, misused."""

import contextlib
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest

from benchmark import build_groundtruth
from benchmark.errors import Failure, UsageError
from benchmark.jobs.runs import TrainRun
from benchmark.recipe import Recipe
from benchmark.running import claims
from benchmark.spaces.space import load_space
from benchmark.tables.files import load_table
from benchmark.tables.ledger import CorruptRecord, Ledger, Run, checksum
from benchmark.training.checkpoint import read_checkpoint
from tests.machine import PRECISION

MODULE = "benchmark.build_groundtruth"
# Two of the cheapest runs; an epoch has two steps, so that there are forty moments at which a run can be stopped.
SMALL = {
    "dataset": "synthetic",
    "epochs": 20,
    "train_images": 32,
    "eval_images": 32,
    "batch_size": 16,
    "precision": PRECISION,
}
FLAGS = ["--recipe", "smoke", *(word for k, v in SMALL.items() for word in (f"--{k.replace('_', '-')}", str(v)))]
RUNS = ["--configs", "[1,1,8]", "[1,2,7]", "--seeds", "0", "--together", "1"]
RECIPE = Recipe.preset("smoke", **SMALL)
NAME = f"resnet20-cifar10-on-synthetic-{RECIPE.label}-{RECIPE.hash}"
PATIENCE = 600  # seconds after which something that must happen counts as not happening


def ledger_of(out):
    return out / "ledgers" / NAME


def records(out):
    """The records by file name, without their timings."""
    found = {path.name: json.loads(path.read_text()) for path in (ledger_of(out) / "records").iterdir()}
    for record in found.values():
        assert record.pop("timings")["seconds"] > 0
    return found


def table_files(out):
    """The table's files by name; of the header all but the timings."""
    texts = {path.name: path.read_text() for path in (out / "tables").iterdir()}
    header = json.loads(texts[f"{NAME}.json"])
    assert header.pop("timings")
    return texts | {f"{NAME}.json": header}


def left_over(out):
    return sorted(path.name for path in (ledger_of(out) / "work").iterdir())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, environment):
    """The output folder of a build that nothing happened to."""
    out = tmp_path_factory.mktemp("undisturbed")
    words = [sys.executable, "-m", MODULE, *FLAGS, *RUNS, "--out", str(out)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"table: {out}/tables/{NAME}.csv (2 of 2 runs, synthetic)\n"
    return out


@pytest.fixture
def start(tmp_path, environment):
    """start(*words): the command as a process of its own."""
    started = []

    def begin(*words):
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        command = [sys.executable, "-m", MODULE, *words]
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **pipes))
        return started[-1]

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def wait_for_training(process, out):
    """Until somebody holds one of the runs (or the process has ended)."""
    ledger = Ledger.under(out, load_space(), RECIPE)
    until = time.monotonic() + PATIENCE
    while not ledger.status(load_space().configs[:2], [0])["running"] and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.05)


# --- builds ---


def test_an_undisturbed_build_leaves_records_a_table_and_nothing_else(undisturbed):
    found = records(undisturbed)
    assert sorted(found) == ["001-seed0.json", "002-seed0.json"]
    for record, config in zip((found["001-seed0.json"], found["002-seed0.json"]), ("[1,1,8]", "[1,2,7]"), strict=True):
        assert (record["config"], record["seed"], record["recipe_hash"]) == (config, 0, RECIPE.hash)
        assert len(record["curves"]["test_accuracy"]) == 20
        assert record["test_accuracy"] == record["curves"]["test_accuracy"][-1]
        assert record["images"] == 20 * 32
        assert record["provenance"]["dataset"]["name"] == "synthetic"
    assert sorted(table_files(undisturbed)) == [f"{NAME}.csv", f"{NAME}.curves.csv", f"{NAME}.json"]
    assert left_over(undisturbed) == []
    assert sorted(path.name for path in ledger_of(undisturbed).iterdir()) == ["recipe.json", "records", "work"]


def test_a_partial_table_loads_says_what_is_missing_and_refuses_the_rest(undisturbed):
    table = load_table(undisturbed / "tables" / f"{NAME}.csv")
    found = records(undisturbed)
    for name, config in (("001-seed0.json", "[1,1,8]"), ("002-seed0.json", "[1,2,7]")):
        assert table.query(config, seed=0, epoch=None, split="test") == found[name]["test_accuracy"]
        curve = [table.query(config, seed=0, epoch=e, split="train") for e in range(1, 21)]
        assert curve == found[name]["curves"]["train_accuracy"]
    assert not table.complete
    assert table.missing() == load_space().configs[2:]
    assert table.dataset == "synthetic"
    for ask in (
        lambda: table.query("[4,3,3]", seed=None, epoch=None, split="test"),
        lambda: table.query("[1,1,8]", seed=1, epoch=None, split="test"),
        lambda: table.query("[1,1,8]", seed=0, epoch=21, split="test"),
        lambda: table.query("[1,1,8]", seed=None, epoch=None, split="val"),
        table.require_complete,
    ):
        with pytest.raises(UsageError):
            ask()


def test_stopped_interrupted_and_killed_builds_end_like_an_undisturbed_one(undisturbed, tmp_path, start, run_python):
    out = tmp_path / "out"
    words = [*FLAGS, *RUNS, "--out", str(out)]
    draw = random.Random(0)

    # asked to stop before it can be done: a good end, and the line that goes on
    stopped = run_python("-m", MODULE, *words, "--stop-after", "0.5s")
    assert stopped.returncode == 0, stopped.stderr
    last = stopped.stderr.splitlines()[-1]
    assert last.startswith("runs left: 2; go on with: ")
    resume = shlex.split(last.partition("go on with: ")[2])
    assert resume == ["python", "-m", MODULE, *words, "--stop-after", "0.5s"]

    # Ctrl-C once it trains: a checkpoint
    process = start(*words)
    wait_for_training(process, out)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "go on with: " in err
    assert (ledger_of(out) / "work" / "001-seed0.pt").exists()
    assert records(out) == {}

    # killed with -9 while training, twice
    for _ in range(2):
        process = start(*words)
        wait_for_training(process, out)
        time.sleep(draw.uniform(0, 3))
        process.kill()
        process.wait()

    # Killed while a second builder works on the same ledger: that one finishes alone.
    process = start(*words)
    finisher = start(*words)
    wait_for_training(process, out)
    time.sleep(draw.uniform(0, 3))
    process.kill()
    _, err = finisher.communicate(timeout=PATIENCE)
    assert finisher.returncode == 0, err
    assert "no checkpoint" not in err
    assert "starts afresh" not in err
    assert records(out) == records(undisturbed)
    assert table_files(out) == table_files(undisturbed)
    assert left_over(out) == []


@pytest.mark.parametrize("together", [2, 3])
def test_neither_how_many_run_together_nor_kills_move_a_bit(undisturbed, tmp_path, start, run_python, together):
    # Other runs, another order and other slots than in the undisturbed build, which ran one by one; and a worker or
    # the builder dies at a random moment.
    out, draw = tmp_path / "out", random.Random(together)
    words = [*FLAGS, "--configs", "3", "2", "1", "--seeds", "0", "--together", str(together), "--out", str(out)]
    for victim in ("worker", "builder"):
        process = start(*words)
        wait_for_training(process, out)
        time.sleep(draw.uniform(0, 2))
        if victim == "builder":
            process.kill()
            process.wait()
            continue
        found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
        if workers := found.stdout.split():
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(int(draw.choice(workers)), signal.SIGKILL)
        process.communicate(timeout=PATIENCE)
    done = run_python("-m", MODULE, *words)
    assert done.returncode == 0, done.stderr
    found = records(out)
    assert sorted(found) == ["001-seed0.json", "002-seed0.json", "003-seed0.json"]
    assert {name: record for name, record in found.items() if name != "003-seed0.json"} == records(undisturbed)
    assert left_over(out) == []


def test_two_builders_at_once_end_like_one(undisturbed, tmp_path, start):
    out = tmp_path / "out"
    both = [start(*FLAGS, *RUNS, "--out", str(out)) for _ in range(2)]
    for process in both:
        stdout, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        assert "failed" not in err
        assert "error" not in err
        assert "(2 of 2 runs, synthetic)" in stdout
    assert records(out) == records(undisturbed)
    assert table_files(out) == table_files(undisturbed)
    assert left_over(out) == []


def test_a_run_that_its_task_finishes_while_slurm_is_asked_is_not_submitted(
    undisturbed, tmp_path, environment, run_python, monkeypatch
):
    pytest.importorskip("submitit")
    out, commands = tmp_path / "out", tmp_path / "bin"
    shutil.copytree(undisturbed, out)
    record = ledger_of(out) / "records" / "002-seed0.json"
    finished = record.rename(tmp_path / record.name)
    arrays = ledger_of(out) / "work" / "slurm" / "arrays"
    arrays.mkdir(parents=True)
    (arrays / "nbp-1.json").write_text(json.dumps({"tasks": [["002-seed0"]], "attempts": 3}))
    commands.mkdir()
    for name, script in {"squeue": f"mv {finished} {record}", "scontrol": "", "sbatch": "exit 1"}.items():
        (commands / name).write_text(f"#!/bin/sh\n{script}\n")
        (commands / name).chmod(0o755)
    monkeypatch.setitem(environment, "PATH", f"{commands}{os.pathsep}{environment['PATH']}")
    (tmp_path / "cluster.toml").touch()
    words = ["--out", str(out), "--where", "slurm", "--cluster", "cluster.toml"]
    done = run_python("-m", MODULE, *FLAGS, *RUNS, *words)
    assert done.returncode == 0, done.stderr
    assert "1 of 2 runs are there" in done.stderr
    assert "0 runs are submitted, 0 tasks" in done.stderr
    assert records(out) == records(undisturbed)


def test_only_what_is_missing_or_corrupt_is_trained(undisturbed, tmp_path, run_python):
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    folder = ledger_of(out) / "records"
    bad, good = folder / "002-seed0.json", folder / "001-seed0.json"
    text = bad.read_text()
    accuracy = f'"test_accuracy": {json.loads(text)["test_accuracy"]}'
    assert accuracy in text
    altered = text.replace(accuracy, '"test_accuracy": 99.5')
    bad.write_text(altered)
    before = good.stat()

    # Two at once this time: neighbours and grouping change no result.
    words = [*FLAGS, *RUNS[:-1], "2", "--out", str(out)]
    done = run_python("-m", MODULE, *words, "--json")
    assert done.returncode == 0, done.stderr
    assert "1 of 2 runs are there" in done.stderr
    assert f"{bad}: its content does not match its checksum: kept as 002-seed0.json.corrupt" in done.stderr
    assert (folder / "002-seed0.json.corrupt").read_text() == altered
    assert (good.stat().st_mtime_ns, good.stat().st_ino) == (before.st_mtime_ns, before.st_ino)
    made, expected = json.loads(bad.read_text()), json.loads(text)
    for key in set(expected) - {"timings", "checksum", "provenance"}:
        assert made[key] == expected[key], key
    printed = json.loads(done.stdout)
    assert printed["table"] == str(out / "tables" / f"{NAME}.csv")
    assert {key: len(runs) for key, runs in printed["runs"].items() if runs} == {"done": 2}

    # and once more: nothing left to do, nothing touched
    stats = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    again = run_python("-m", MODULE, *words)
    assert again.returncode == 0, again.stderr
    assert "2 of 2 runs are there" in again.stderr
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == stats


def test_a_corrupt_record_that_was_not_asked_for_is_left_out_and_the_way_back_is_said(
    undisturbed, tmp_path, run_python
):
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    path = ledger_of(out) / "records" / "002-seed0.json"
    record = json.loads(path.read_text())
    record["curves"]["test_accuracy"][-1] = 99.5  # and it states the right checksum, as who edits it would
    record["checksum"] = checksum(record)
    path.write_text(json.dumps(record))
    done = run_python("-m", MODULE, *FLAGS, "--configs", "1", "--seeds", "0", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert (
        f"{path}: its curves are not of {RECIPE.epochs} epochs, or do not end at its accuracy: kept as {path.name}.corrupt"
        in done.stderr
    )
    assert "out of the table until it is trained again, with --configs '[1,2,7]' --seeds 0" in done.stderr
    (table,) = (out / "tables").glob("*.json")
    assert [str(row.config) for row in load_table(table).rows] == ["[1,1,8]"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda record: record.pop("provenance"), "names no data set"),
        (lambda record: record["provenance"].update(dataset="cifar10"), "names no data set"),
        (lambda record: record["provenance"]["dataset"].update(checksum=None), "names no data set"),
        (lambda record: record.update(recipe_label=1.5), "its recipe_label is no text"),
        (lambda record: record["provenance"].update(device="\udcff"), "it holds half a character"),
        (lambda record: record["curves"].pop("test_loss"), "its curves are not "),
        (lambda record: record["curves"]["test_loss"].__setitem__(0, "abc"), "no finite number"),
        (lambda record: record["curves"]["test_loss"].__setitem__(0, 10**400), "no finite number"),
        (lambda record: record["curves"]["train_accuracy"].__setitem__(0, 150.0), "no per cent"),
        (lambda record: record["curves"]["test_loss"].append(1.0), "are not of "),
        (lambda record: [curve.pop(0) for curve in record["curves"].values()], "are not of "),
        (lambda record: record.update(test_accuracy=1.5), "do not end at its accuracy"),
        (lambda record: record.update(test_accuracy=None), "do not end at its accuracy"),
        (lambda record: record.update(timings=5), "its timings are no numbers"),
        (lambda record: record["timings"].update(seconds="x"), "its timings are no numbers"),
        (lambda record: record["recipe"].update(lr=0.5), "its recipe is not the one of its hash"),
        (lambda record: record.pop("recipe"), "its recipe is not the one of its hash"),
    ],
)
def test_a_record_of_which_no_table_can_be_made_is_corrupt_whatever_its_checksum(undisturbed, tmp_path, change, said):
    shutil.copytree(undisturbed, tmp_path / "out")
    ledger = Ledger.at(ledger_of(tmp_path / "out"))
    run = ledger.recorded()[0]
    record = json.loads(ledger.record_path(run).read_text())
    change(record)
    record["checksum"] = checksum(record)
    ledger.record_path(run).write_text(json.dumps(record))
    with pytest.raises(CorruptRecord, match=said):
        ledger.read(run)
    ledger.record_path(run).write_text("[" * 99999)
    with pytest.raises(CorruptRecord, match="not a whole JSON record"):
        ledger.read(run)


def test_data_that_is_cut_short_is_named_before_anything_is_written(tmp_path, run_python):
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    (folder / "data_batch_1").write_bytes(b"half")
    done = run_python("-m", MODULE, "--recipe", "smoke", "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"{folder / 'data_batch_1'} is not the official file (cut short: 4 of 31,035,704 bytes)" in line
    assert not (tmp_path / "out").exists()


# --- status ---

WITHOUT_TORCH = f"""
import sys
from {MODULE} import main
code = main(sys.argv[1:])
assert "torch" not in sys.modules, "torch was imported"
sys.exit(code)
"""


def test_status_counts_each_state_without_torch(undisturbed, tmp_path, run_python):
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    (ledger_of(out) / "records" / "002-seed0.json").write_text("{")
    (ledger_of(out) / "work" / "003-seed0.pt").write_bytes(b"x")
    words = [*FLAGS, "--configs", "1-4", "--seeds", "1", "0", "--out", str(out), "--status"]
    before = sorted(path for path in out.rglob("*"))

    done = run_python("-c", WITHOUT_TORCH, *words)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        f"{NAME}  ({ledger_of(out)})",
        "seed 0: 1 done, 1 started, 1 missing, 1 corrupt",
        "seed 1: 0 done, 4 missing",
        "missing: [1,4,5] seed 0, [1,1,8] seed 1, [1,2,7] seed 1, [1,3,6] seed 1, [1,4,5] seed 1",
    ]

    as_json = run_python("-c", WITHOUT_TORCH, *words, "--json")
    assert as_json.returncode == 0, as_json.stderr
    printed = json.loads(as_json.stdout)
    assert printed["name"] == NAME
    assert printed["recipe"] == RECIPE.to_dict()
    assert (printed["recipe_hash"], printed["dataset"]) == (RECIPE.hash, "synthetic")
    runs = printed["runs"]
    assert runs["done"] == [{"config": "[1,1,8]", "seed": 0}]
    assert runs["corrupt"] == [{"config": "[1,2,7]", "seed": 0}]
    assert runs["started"] == [{"config": "[1,3,6]", "seed": 0}]
    assert runs["running"] == []
    assert len(runs["missing"]) == 5
    assert sorted(path for path in out.rglob("*")) == before  # asking changes nothing


def test_status_of_nothing_makes_nothing(tmp_path, run_python):
    done = run_python("-c", WITHOUT_TORCH, "--status", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[1:4] == [f"seed {seed}: 0 done, 36 missing" for seed in range(3)]
    assert lines[4].endswith("and 103 more")
    assert list(tmp_path.iterdir()) == []


def test_records_of_another_recipe_are_never_taken(undisturbed, tmp_path, run_python):
    out = tmp_path / "out"
    shutil.copytree(undisturbed, out)
    done = run_python("-m", MODULE, *FLAGS, *RUNS, "--lr", "0.05", "--out", out, "--status", "--json")
    assert {key: len(runs) for key, runs in json.loads(done.stdout)["runs"].items() if runs} == {"missing": 2}
    # nor when somebody copies them into its folder: its checksum is right, its recipe is another
    other = json.loads(done.stdout)["folder"]
    shutil.copytree(ledger_of(out), other)
    done = run_python("-m", MODULE, *FLAGS, *RUNS, "--lr", "0.05", "--out", out, "--status", "--json")
    assert {key: len(runs) for key, runs in json.loads(done.stdout)["runs"].items() if runs} == {"corrupt": 2}
    record = json.loads((ledger_of(out) / "records" / "001-seed0.json").read_text())
    assert record["checksum"] == checksum(record)


# --- wrong usage ---


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--bogus"], "'--bogus'"),
        (["--epoch", "3"], "'--epoch'"),  # no abbreviations
        (["stray"], "'stray'"),
        (["--configs"], "--configs"),
        (["--configs", "[1,1,9]"], "[1,1,9] is not in resnet20-cifar10"),
        (["--configs", "1", "0"], "'0' is outside the numbers 1 to 36"),
        (["--configs", "30-37"], "'30-37' is outside"),
        (["--configs", "[1,1,8"], "'[1,1,8' is no configuration"),
        (["--configs", "[1,1\n,x]"], "is no configuration"),
        (["--seeds", "-1"], "-1"),
        (["--seeds", "1.5"], "'1.5' is no seed"),
        (["--seeds", "2147483648"], "'2147483648' is no seed"),
        (["--seeds", "٣"], "'٣' is no seed"),
        (["--space", "resnet20"], "unknown space 'resnet20'"),
        (["--recipe", "fast"], "unknown recipe 'fast': choose from paper, smoke"),
        (["--epochs", "0"], "epochs is 0"),
        (["--epochs", "many"], "--epochs"),
        (["--lr", "nan"], "lr is nan"),
        (["--lr", "-0.1"], "lr is -0.1"),
        (["--batch-size", "1"], "batch_size is 1"),
        (["--precision", "fp16"], "bf16"),
        (["--dataset", "mnist"], "cifar10"),
        (["--train-images", "0"], "train_images is 0"),
        (["--together", "0"], "'0' is not a whole number from 1 to 999999"),
        (["--stop-after", "soon"], "'soon' is no time"),
        (["--where", "moon"], "--where"),
        (["--status", "--configs", "x"], "'x' is no configuration"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_one_line_and_code_2(tmp_path, run_python, words, expected):
    done = run_python("-m", MODULE, *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert expected in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--dataset", "synthetic", "--train-images", "1000000"], "1000000 images were asked for"),
    ],
    ids=["device", "images"],
)
def test_wrong_usage_that_only_torch_or_the_data_can_tell(tmp_path, run_python, words, expected):
    done = run_python("-m", MODULE, *words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert expected in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_output_folder_that_is_a_file_is_refused_in_one_line(tmp_path, run_python):
    (tmp_path / "file").write_text("kept")
    done = run_python("-m", MODULE, *FLAGS, *RUNS, "--out", tmp_path / "file")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert str(tmp_path / "file") in done.stderr
    assert (tmp_path / "file").read_text() == "kept"


# --- claims that are lost, deaths without notice ---


def steps_of(out):
    """(ledger, run, generator of a run's steps) of a fresh builder in this process."""
    ledger = Ledger.under(out, load_space(), RECIPE)
    ledger.prepare()
    run = Run(0, load_space()[0])
    function = TrainRun(ledger, None, "cpu", "eager", "resident", 1, 1, {"version": "test"})
    return ledger, run, function(run, lambda news: None, lambda: False)


def test_an_attempt_that_was_taken_over_stops_at_its_next_step_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "LOOK_SECONDS", 0.0)
    ledger, run, steps = steps_of(tmp_path)
    for _ in range(5):
        next(steps)
    work = ledger.folder / "work"
    lease = next(work.glob("*.lease"))
    checkpoint = ledger.checkpoint_path(run).read_bytes()
    lease.write_text(json.dumps({"token": "of another", "host": "far", "locked": True, "seconds": 60}))
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value is False  # to be asked for again, as any run that somebody holds
    assert ledger.recorded() == []
    assert ledger.checkpoint_path(run).read_bytes() == checkpoint
    assert json.loads(lease.read_text())["token"] == "of another"


def test_an_attempt_that_was_taken_over_in_its_last_step_leaves_no_record(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "LOOK_SECONDS", 0.0)
    ledger, _, steps = steps_of(tmp_path)
    for _ in range(2 * 20):  # two steps an epoch
        next(steps)
    next((ledger.folder / "work").glob("*.lease")).unlink()
    with pytest.raises(StopIteration) as end:
        next(steps)
    assert end.value.value is False
    assert ledger.recorded() == []


def test_a_death_without_notice_costs_one_epoch_at_most(tmp_path):
    ledger, run, steps = steps_of(tmp_path)
    for step in range(1, 20):
        next(steps)
        kept = read_checkpoint(ledger.checkpoint_path(run))["state"]["step"] if step > 2 else 0
        assert step - kept <= 2  # two steps an epoch
    steps.close()


def test_a_table_that_cannot_be_written_does_not_hide_why_runs_failed(undisturbed, tmp_path, monkeypatch, capsys):
    def denied(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(build_groundtruth.claims, "claim", denied)
    ledger = Ledger.under(undisturbed, load_space(), RECIPE)
    options = build_groundtruth.arguments().parse_args(["--out", str(tmp_path)])
    build = build_groundtruth.Build(ledger, load_space().configs[:2], [0], options, [])
    with pytest.raises(Failure, match="the loss is nan"):
        build_groundtruth._finish(build, {Run(0, load_space()[0]): "the loss is nan"}, False)
    assert "table.lock" in capsys.readouterr().err
    with pytest.raises(PermissionError):  # the only fault is not passed over
        build_groundtruth._finish(build, {}, False)


BARE_FILE_SYSTEM = """
import errno, fcntl, os
def lacking(*_, **__):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
fcntl.flock = os.link = lacking
"""


def test_a_file_system_without_locks_and_hard_links_gets_the_same_table(undisturbed, tmp_path, environment):
    (tmp_path / "sitecustomize.py").write_text(BARE_FILE_SYSTEM)  # what every Python of this environment begins with
    more = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{environment['PYTHONPATH']}"}
    words = [sys.executable, "-m", MODULE, *FLAGS, *RUNS, "--out", str(tmp_path / "out")]
    done = subprocess.run(words, env=environment | more, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr
    assert table_files(tmp_path / "out") == table_files(undisturbed)
    assert left_over(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ([1.0], "10 min"),
        ([1.0, 1.0, 1.0], "10 min"),
        ([1.0] * 17 + [3.0, 3.0, 9.0], "10 min to 30 min"),  # one node of many is slow, and another is no measure
        ([1.0, 7.0], "40 min to 70 min"),
    ],
)
def test_how_long_slurm_still_takes_is_a_range_from_the_middle_run_to_the_slowest(rates, said):
    assert build_groundtruth._time_left(rates, 600.0) == said
