"""Files are whole or absent, whoever writes and whenever that is killed."""

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmark import files
from benchmark.files import bounded, write_atomically


@pytest.fixture(params=["ENOLCK", "EOPNOTSUPP", "ENOSYS", "EINVAL"])
def no_locks(monkeypatch, request):
    """A file system whose locks fail with that error."""

    def flock(*_):
        raise OSError(getattr(errno, request.param), "no locks here")

    monkeypatch.setattr(files.fcntl, "flock", flock)


def test_many_may_write_one_file_at_once(tmp_path):
    path = tmp_path / "score.json"
    contents = {bytes([letter]) * 50_000 for letter in range(8)}
    faults = []

    def write(data):
        try:
            for _ in range(20):
                write_atomically(path, data)
        except BaseException as error:
            faults.append(error)

    writers = [threading.Thread(target=write, args=(data,)) for data in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if path.exists():
            assert path.read_bytes() in contents
    assert faults == []
    assert [found.name for found in tmp_path.iterdir()] == ["score.json"]


def test_what_another_writer_has_just_begun_is_not_swept_up_before_it_has_its_lock(tmp_path):
    path, old, begun = tmp_path / "a.json", tmp_path / "a.json.0.partial", tmp_path / "a.json.1.partial"
    for partial in (old, begun):
        partial.write_bytes(b"")
    os.utime(old, (1, 1))
    later = time.time() + 60
    os.utime(begun, (later, later))
    write_atomically(path, b"{}")
    assert {found.name for found in tmp_path.iterdir()} == {path.name, begun.name}


KILLED = """
import os, sys
from pathlib import Path
from benchmark.files import write_atomically
os.fsync = lambda file: os.kill(os.getpid(), 9)
write_atomically(Path(sys.argv[1]), b"half")
"""


def test_what_a_killed_writer_left_goes_with_the_next_write_and_another_file_is_left_alone(tmp_path, environment):
    path = tmp_path / "a[1].json"
    assert subprocess.run([sys.executable, "-c", KILLED, path], env=environment, check=False).returncode == -9
    (left,) = tmp_path.iterdir()
    assert left.name.endswith(".partial")
    others = [tmp_path / "a[1].json2.0123456789ab.partial", tmp_path / "a1.json.0123456789ab.partial"]
    for other in others:
        other.touch()
    with open(tmp_path / "a[1].json.ba9876543210.partial", "wb") as busy:  # another one is at it
        fcntl.flock(busy, fcntl.LOCK_EX)
        write_atomically(path, b"whole")
        assert {found.name for found in tmp_path.iterdir()} == {
            path.name,
            Path(busy.name).name,
            *(o.name for o in others),
        }
    write_atomically(path, b"whole")
    assert set(tmp_path.iterdir()) == {path, *others}


def test_without_locks_a_partial_file_is_swept_up_once_it_is_old(tmp_path, no_locks):
    path, young, old = tmp_path / "a", tmp_path / "a.0123456789ab.partial", tmp_path / "a.ba9876543210.partial"
    for partial in (young, old):
        partial.touch()
    os.utime(old, (time.time() - 2 * files.ABANDONED_SECONDS,) * 2)
    write_atomically(path, b"whole")
    assert set(tmp_path.iterdir()) == {path, young}


def test_a_writer_whose_partial_file_is_swept_up_too_early_writes_again(tmp_path, monkeypatch):
    path = tmp_path / "a"
    fsync, swept = os.fsync, []

    def sweep_once(descriptor):
        fsync(descriptor)
        if not swept:
            (partial,) = tmp_path.glob("*.partial")
            swept.append(partial.unlink())

    monkeypatch.setattr(os, "fsync", sweep_once)
    write_atomically(path, b"whole")
    assert path.read_bytes() == b"whole"
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "a", b"whole")


# --- names ---


@pytest.mark.parametrize("letter", ["x", "ä", "\U0001f600", "\udcff"])
def test_names_are_bounded_whatever_goes_into_them_and_stay_distinct(tmp_path, letter):
    assert bounded(letter * 20) == letter * 20
    one, other = bounded(letter * 500), bounded(letter * 501)
    assert one != other
    for stem in (one, other):
        write_atomically(tmp_path / f"{stem}-seed2147483647.curves.json", b"")
    assert len(list(tmp_path.iterdir())) == 2


def test_a_disk_that_fills_up_is_told_with_the_file_that_did_not_fit(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space") as caught:
        files.write_atomically(tmp_path / "a.json", b"{}")
    assert caught.value.filename == str(tmp_path / "a.json")
    assert list(tmp_path.iterdir()) == []
