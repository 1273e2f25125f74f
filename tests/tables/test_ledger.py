"""The ledger: whole records or none, nothing believed unchecked, one trainer per run, two recipes never in one folder."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import fields

import pytest
from test_recipe import CHANGED

from benchmark import given
from benchmark.errors import UsageError
from benchmark.files import write_atomically
from benchmark.recipe import Recipe
from benchmark.spaces.space import load_space
from benchmark.tables import ledger as module
from benchmark.tables.ledger import CorruptRecord, Ledger, Run, checksum

SPACE = load_space()
SMOKE = Recipe.preset("smoke")
RUN = Run(1, SPACE.default)
PROVENANCE = {"device": "a processor", "torch": "2.9.0", "dataset": {"name": "cifar10", "checksum": "ab12"}}


def results(accuracy=51.25):
    curves = {
        "train_loss": [2.25, 1.75],
        "train_accuracy": [20.5, 40.75],
        "test_loss": [2.5, 1.5],
        "test_accuracy": [30.25, accuracy],
    }
    return {"test_accuracy": accuracy, "images": 1024, "curves": curves}


@pytest.fixture
def ledger(tmp_path):
    made = Ledger.under(tmp_path, SPACE, SMOKE)
    made.prepare()
    return made


def write(ledger, run=RUN, **timings):
    ledger.write(run, results(), PROVENANCE, {"seconds": 12.5} | timings)
    return ledger.record_path(run)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def corrupt(ledger, run=RUN):
    with pytest.raises(CorruptRecord) as caught:
        ledger.read(run)
    assert "\n" not in str(caught.value)
    assert str(ledger.record_path(run)) in str(caught.value)
    return str(caught.value)


# --- records ---


def test_what_is_written_is_what_is_read(ledger):
    assert ledger.read(RUN) is None
    write(ledger, finished="2025-01-01")
    record = ledger.read(RUN)
    assert record["space"] == "resnet20-cifar10"
    assert (record["config"], record["number"], record["seed"]) == ("[4,3,3]", 24, 1)
    assert record["recipe"] == SMOKE.to_dict()
    assert (record["recipe_hash"], record["recipe_label"]) == (SMOKE.hash, "smoke")
    assert {key: record[key] for key in results()} == results()
    assert record["provenance"] == PROVENANCE
    assert record["timings"] == {"seconds": 12.5, "finished": "2025-01-01"}
    assert ledger.records() == [record]


def test_a_curve_of_a_probe_is_as_long_as_the_others_and_finite(ledger):
    found = results()
    found["curves"]["rank"] = [0.0, 0.125]
    ledger.write(RUN, found, PROVENANCE, {"seconds": 1})
    assert ledger.read(RUN)["curves"]["rank"] == [0.0, 0.125]
    for curve, said in (([0.125], "epochs"), ([0.0, "a"], "finite"), ("ab", "finite")):
        path = ledger.record_path(RUN)
        record = json.loads(path.read_text())
        record["curves"]["rank"] = curve
        path.write_text(json.dumps(record | {"checksum": checksum(record)}))
        assert said in corrupt(ledger)
    found["curves"]["rank"] = [0.0, float("nan")]
    with pytest.raises(ValueError, match="finite"):
        ledger.write(RUN, found, PROVENANCE, {"seconds": 1})


def test_checksum_covers_all_but_the_timings(ledger):
    write(ledger)
    record = ledger.read(RUN)
    assert checksum(record | {"timings": {"seconds": 99}}) == record["checksum"]
    for key in set(record) - {"timings", "checksum"}:
        assert checksum(record | {key: "changed"}) != record["checksum"], key


def test_every_altered_digit_is_found(ledger):
    path = write(ledger)
    text = path.read_text()
    timings = range(text.index('"timings"'), text.index("}", text.index('"timings"')))
    places = [i for i, letter in enumerate(text) if letter.isdigit()]
    assert len(places) > 50
    for i in places:
        path.write_text(text[:i] + str((int(text[i]) + 1) % 10) + text[i + 1 :])
        if i in timings:
            assert ledger.read(RUN) is not None
        else:
            corrupt(ledger)


@pytest.mark.parametrize("key", ["schema", "space", "config", "seed", "recipe_hash"])
def test_a_record_of_something_else_is_refused_though_whole(ledger, key):
    # Its checksum is right: a file that was copied to the wrong place, or made by a forger.
    path = write(ledger)
    record = ledger.read(RUN)
    values = {"schema": 2, "space": "x", "config": "[1,1,8]", "seed": 0, "recipe_hash": "0" * 12}
    for value in (values[key], None, str(record[key]) + " "):
        changed = record | {key: value}
        path.write_text(json.dumps(changed | {"checksum": checksum(changed)}))
        assert key in corrupt(ledger)
    without = {k: v for k, v in record.items() if k != key}
    path.write_text(json.dumps(without | {"checksum": checksum(without)}))
    assert key in corrupt(ledger)


@pytest.mark.parametrize("key", ["checksum", "curves", "provenance", "test_accuracy"])
def test_a_record_that_lacks_something_is_refused(ledger, key):
    path = write(ledger)
    record = ledger.read(RUN)
    del record[key]
    path.write_text(json.dumps(record))
    assert "checksum" in corrupt(ledger)


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"3", b"\x00\xff\xfe", b"{}", b'"text"', b"nan"])
def test_a_file_of_any_other_content_is_refused(ledger, content):
    write(ledger).write_bytes(content)
    corrupt(ledger)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("stand_in", ["pipe", "folder", "loop", "device", "giant"])
def test_what_is_no_file_is_no_record_and_is_put_aside(ledger, monkeypatch, stand_in):
    monkeypatch.setattr(given, "LIMIT", 2**20)
    path = ledger.record_path(RUN)
    if stand_in == "pipe":
        os.mkfifo(path)  # which nobody writes to: reading it would wait for ever
    elif stand_in == "folder":
        path.mkdir()
    elif stand_in == "giant":
        path.write_bytes(bytes(2**20 + 1))
    else:
        path.symlink_to({"loop": path.name, "device": "/dev/zero"}[stand_in])
    corrupt(ledger)
    assert ledger.status([RUN.config], [RUN.seed])["corrupt"] == [RUN]
    ledger.set_aside(RUN)
    assert ledger.read(RUN) is None


def test_a_record_cut_short_anywhere_is_refused(ledger):
    path = write(ledger)
    content = path.read_bytes()
    for length in range(0, len(content) - 2, 37):  # without the last line break it is still whole
        path.write_bytes(content[:length])
        corrupt(ledger)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", ["curve", "accuracy", "provenance", "timings"])
def test_numbers_that_are_not_finite_are_never_written(ledger, bad, place):
    made, provenance, timings = results(), dict(PROVENANCE), {"seconds": 1.0}
    if place == "curve":
        made["curves"]["test_loss"][0] = bad
    elif place == "accuracy":
        made["test_accuracy"] = bad
    else:
        {"provenance": provenance, "timings": timings}[place]["number"] = bad
    with pytest.raises(ValueError, match=r"finite|JSON compliant"):
        ledger.write(RUN, made, provenance, timings)
    assert files(ledger.folder / "records") == []
    assert ledger.read(RUN) is None


def test_records_come_by_seed_then_configuration_and_foreign_files_are_left_alone(ledger):
    runs = [Run(10, SPACE[0]), Run(2, SPACE[1]), Run(2, SPACE[0]), Run(0, SPACE[35])]
    for run in runs:
        write(ledger, run)
    for name in ("notes.txt", "037-seed0.json", "000-seed0.json", "001-seedx.json", "001-seed0.json.corrupt"):
        (ledger.folder / "records" / name).write_text("{")
    found = [(record["seed"], record["config"]) for record in ledger.records()]
    assert found == [(0, "[8,1,1]"), (2, "[1,1,8]"), (2, "[1,2,7]"), (10, "[1,1,8]")]
    write(ledger, Run(2, SPACE[0])).write_text("{")
    with pytest.raises(CorruptRecord, match="001-seed2"):
        ledger.records()


# --- atomic writes ---


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_write_that_breaks_off_leaves_the_old_content(tmp_path, monkeypatch, broken):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(*args):
        raise OSError("no power")

    monkeypatch.setattr(os, broken, fail)
    with pytest.raises(OSError, match="no power"):
        write_atomically(path, b"new and longer")
    assert path.read_bytes() == b"old"
    monkeypatch.undo()
    write_atomically(path, b"new and longer")
    assert path.read_bytes() == b"new and longer"
    assert files(tmp_path) == ["file"]


def test_content_is_on_disk_before_it_gets_its_name(tmp_path, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    write_atomically(tmp_path / "file", b"x")
    assert calls == ["fsync", "replace"]


def test_a_record_never_stands_half_written_among_the_records(ledger, monkeypatch):
    def fail(*args):
        assert files(ledger.folder / "records") == []
        raise OSError("killed here")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="killed here"):
        write(ledger)
    assert files(ledger.folder / "records") == []


# --- claims ---

HOLD = """
import sys, time
from benchmark.tables.ledger import Ledger, Run
from benchmark.errors import UsageError
from benchmark.recipe import Recipe
from benchmark.spaces.space import load_space
ledger = Ledger.under(sys.argv[1], load_space(), Recipe.preset("smoke"))
with ledger.claim(Run(1, load_space().default)) as mine:
    print(bool(mine), flush=True)
    time.sleep(60)
"""


def test_records_that_cannot_be_read_are_not_taken_for_missing_ones(ledger):
    write(ledger)
    assert ledger.recorded() == [RUN]
    records = ledger.folder / "records"
    records.rename(ledger.folder / "elsewhere")
    assert ledger.recorded() == []
    records.touch()  # in place of a folder without permission, which does not stop root
    with pytest.raises(NotADirectoryError, match="records"):
        ledger.recorded()


@pytest.fixture
def holder(tmp_path, environment):
    """Another process that holds RUN."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], env=environment, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def claimed(ledger, run=RUN):
    with ledger.claim(run) as mine:
        return mine


def test_a_run_is_held_by_one_process_until_that_is_killed(ledger, holder):
    assert not claimed(ledger)
    assert claimed(ledger, Run(0, SPACE.default))
    assert claimed(ledger, Run(1, SPACE[0]))
    assert ledger.status([SPACE.default], [1])["running"] == [RUN]
    assert not claimed(ledger)  # asking for the status took nothing away
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert claimed(ledger)
    assert ledger.status([SPACE.default], [1])["running"] == []


def test_a_claim_ends_with_its_block_however_that_ends(ledger):
    def fail_inside():
        with ledger.claim(RUN) as mine:
            assert mine
            assert not claimed(ledger)  # nor by another part of this process
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert claimed(ledger)


def test_another_users_ledger_is_refused_before_any_training(ledger, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    with pytest.raises(
        UsageError, match=r"records may not be written by this user: use another --out, or have its owner share"
    ):
        ledger.prepare()


# --- what is left behind ---


def test_finishing_a_run_sweeps_all_that_its_training_left(ledger):
    work = ledger.folder / "work"
    with ledger.claim(RUN):
        ledger.checkpoint_path(RUN).write_bytes(b"checkpoint")
        # A kill in the middle of a write leaves the half behind.
        for name in ("024-seed1.pt.partial", "024-seed1.json.partial"):
            (work / name).write_bytes(b"half")
        others = ["024-seed10.pt", "024-seed0.pt", "023-seed1.pt"]
        for name in others:
            (work / name).write_bytes(b"of another run")
        write(ledger)
    assert files(work) == sorted(others)
    assert files(ledger.folder / "records") == ["024-seed1.json"]


def test_a_corrupt_record_is_set_aside_and_kept(ledger):
    path = write(ledger)
    path.write_bytes(b"first fault")
    first = ledger.set_aside(RUN)
    assert first.read_bytes() == b"first fault"
    assert ledger.read(RUN) is None
    assert ledger.status([SPACE.default], [1])["missing"] == [RUN]
    assert ledger.records() == []


def test_setting_aside_twice_loses_nothing(ledger):
    kept = []
    for fault in (b"first fault", b"second fault", b"third fault"):
        write(ledger).write_bytes(fault)
        kept.append(ledger.set_aside(RUN))
    assert [path.read_bytes() for path in kept] == [b"first fault", b"second fault", b"third fault"]


# --- status ---


def test_status_knows_five_states(ledger, holder):
    done, started, bad, fresh = Run(1, SPACE[0]), Run(1, SPACE[1]), Run(0, SPACE[1]), Run(0, SPACE[0])
    write(ledger, done)
    ledger.checkpoint_path(started).write_bytes(b"x")
    write(ledger, bad).write_bytes(b"{")
    state = ledger.status([SPACE.default, SPACE[1], SPACE[0]], [1, 0])
    assert state == {
        "done": [done],
        "running": [RUN],
        "started": [started],
        "missing": [fresh, Run(0, SPACE.default)],
        "corrupt": [bad],
    }


def test_a_checkpoint_or_a_free_lock_beside_a_record_is_still_done(ledger):
    write(ledger)
    ledger.checkpoint_path(RUN).write_bytes(b"x")
    assert ledger.status([SPACE.default], [1])["done"] == [RUN]
    ledger.record_path(RUN).unlink()
    assert claimed(ledger)  # leaves the lock's file behind, held by nobody
    assert ledger.status([SPACE.default], [1])["started"] == [RUN]


def test_asking_a_ledger_that_does_not_exist_makes_nothing(tmp_path):
    ledger = Ledger.under(tmp_path / "out", SPACE, SMOKE)
    assert len(ledger.status(SPACE, [0, 1, 2])["missing"]) == 108
    assert ledger.records() == []
    assert not (tmp_path / "out").exists()


# --- names and places ---


def test_runs_are_ordered_seed_by_seed():
    runs = [Run(seed, config) for config in SPACE for seed in (2, 0, 1)]
    assert [run.seed for run in sorted(runs)] == [0] * 36 + [1] * 36 + [2] * 36
    assert [run.config for run in sorted(runs)[:36]] == list(SPACE)


def test_two_recipes_never_share_a_folder(tmp_path):
    recipes = [Recipe(), SMOKE]
    for name in {field.name for field in fields(Recipe)} - {"gamma"}:  # of milestones only
        recipes += [Recipe(**{name: CHANGED[name]}), Recipe.preset("smoke", **{name: CHANGED[name]})]
    folders = {Ledger.under(tmp_path, SPACE, recipe).folder for recipe in recipes}
    other = Ledger.under(tmp_path, load_space("resnet18-cifar10"), SMOKE).folder
    assert len(folders | {other}) == len(recipes) + 1


def test_the_folders_name_says_space_data_and_recipe(tmp_path):
    assert Ledger.under(tmp_path, SPACE, SMOKE).folder == tmp_path / "ledgers" / f"resnet20-cifar10-smoke-{SMOKE.hash}"
    other = Recipe.preset("smoke", dataset="synthetic")
    assert module.table_name(SPACE, other) == f"resnet20-cifar10-on-synthetic-smoke-{other.hash}"


def test_the_folder_states_its_recipe_in_words(ledger):
    stated = json.loads((ledger.folder / "recipe.json").read_text())
    assert stated == {"space": "resnet20-cifar10", "recipe": SMOKE.to_dict(), "recipe_hash": SMOKE.hash}
    before = (ledger.folder / "recipe.json").stat().st_mtime_ns
    ledger.prepare()
    assert (ledger.folder / "recipe.json").stat().st_mtime_ns == before
    assert files(ledger.folder) == ["recipe.json", "records", "work"]
