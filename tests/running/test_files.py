"""Claims: one holder at a time, on one host by its lock, over hosts by a heartbeat; and nobody's clock is believed."""

import json
import os
import time

import pytest
from filelock import FileLock

from benchmark.running import files
from benchmark.running.files import Lost, Terms, claim, is_held, read_lease


@pytest.fixture
def lock(tmp_path):
    return tmp_path / "run.lock"


@pytest.fixture
def on(monkeypatch):
    """on(name): from now on this process is a node of that name."""
    return lambda name: monkeypatch.setenv("SLURMD_NODENAME", name)


@pytest.fixture
def clock(monkeypatch):
    """This process's own clock, moved by hand; `clock[0]` are seconds."""
    now = [1000.0]
    monkeypatch.setattr(files.time, "monotonic", lambda: now[0])
    return now


def left_behind(lock, host="far", seconds=30.0, locked=True):
    """The lease of a holder that went without a word."""
    said = {"token": "theirs", "host": host, "locked": locked, "seconds": seconds}
    lock.with_suffix(".lease").write_text(json.dumps(said))


def claimed(lock, terms):
    with claim(lock, terms) as mine:
        return mine is not None


def test_a_claim_leaves_its_lock_alone_and_no_lease(lock):
    with claim(lock) as mine:
        assert read_lease(lock.with_suffix(".lease"))[0]["token"] == mine.token
        assert is_held(lock)
        mine.check()
        assert not claimed(lock, Terms())
    assert not is_held(lock)
    assert [path.name for path in lock.parent.iterdir() if path.suffix != ".lock"] == []


def test_a_holder_that_died_on_this_host_is_followed_at_once(lock, on):
    on("near")
    left_behind(lock, host="near", seconds=1e6)
    assert claimed(lock, Terms())


def test_a_silent_holder_elsewhere_is_waited_for_by_our_own_clock_and_no_other(lock, on, clock):
    on("near")
    left_behind(lock, seconds=30)
    lease = lock.with_suffix(".lease")
    # Their clock is an hour behind or ahead of ours: all the same.
    for shift in (-3600, 3600):
        os.utime(lease, (time.time() + shift,) * 2)
        terms = Terms()
        assert not claimed(lock, terms)
        clock[0] += 29
        assert not claimed(lock, terms)
        os.utime(lease, (time.time() + shift + 5,) * 2)  # a heartbeat: the wait begins anew
        clock[0] += 29
        assert not claimed(lock, terms)
        clock[0] += 29
        assert not claimed(lock, terms)
        assert not claimed(lock, Terms())  # who has not watched knows nothing
    clock[0] += 2
    with claim(lock, terms) as mine:
        assert mine is not None
        assert read_lease(lease)[0]["host"] == "near"


def test_a_holder_without_a_lock_is_not_dead_because_the_lock_is_free(lock, on):
    on("near")
    left_behind(lock, host="near", locked=False)
    assert not claimed(lock, Terms())


def test_a_holder_that_was_frozen_loses_its_claim_and_notices(lock, on, clock, monkeypatch):
    on("far")
    with claim(lock, Terms(seconds=30)) as frozen:
        frozen._ended.set()  # no heartbeat any more
        on("near")
        terms = Terms(seconds=30)
        assert not claimed(lock, terms)
        clock[0] += 31
        with claim(lock, terms) as mine:  # its lock is held still: the lease decides
            assert mine is not None
            stop = frozen.guarding(lambda: False)
            with pytest.raises(Lost):
                stop()
            assert not mine.guarding(lambda: False)()
            frozen.release()  # takes nothing from the new holder
            mine.check()
            assert read_lease(lock.with_suffix(".lease"))[0]["token"] == mine.token
            assert not claimed(lock, terms)


def test_a_living_holder_keeps_its_claim(lock, on, clock):
    on("far")
    with claim(lock, Terms(seconds=0.6)) as holder:
        on("near")
        terms = Terms()
        for _ in range(4):
            _, sign = read_lease(lock.with_suffix(".lease"))
            assert not claimed(lock, terms)
            clock[0] += 0.5
            assert not claimed(lock, terms)
            for _ in range(6000):  # of our clock it has hardly any time left, but of its own it has: the heart beats
                if read_lease(lock.with_suffix(".lease"))[1] != sign:
                    break
                time.sleep(0.01)
            clock[0] += 0.5
        holder.check()


def test_a_lease_that_went_away_is_lost_but_one_that_cannot_be_read_is_not(lock, clock, monkeypatch):
    with claim(lock) as mine:
        clock[0] += 2

        def broken(path):
            raise OSError("stale file handle")

        with monkeypatch.context() as patch:
            patch.setattr(files, "read_lease", broken)
            mine.check()  # the file system is away for a moment: that proves nothing
        lock.with_suffix(".lease").unlink()
        mine.check()  # looked a moment ago
        clock[0] += 2
        with pytest.raises(Lost):
            mine.check()


@pytest.mark.parametrize("fault", [NotImplementedError("flock"), OSError(38, "not implemented")])
def test_where_the_file_system_has_no_locks_the_lease_alone_decides(lock, clock, monkeypatch, fault):
    def unsupported(self, **_):
        raise fault

    monkeypatch.setattr(FileLock, "acquire", unsupported)
    terms = Terms()
    with claim(lock, Terms(seconds=30)) as mine:
        assert mine is not None
        assert not mine.locked
        mine._ended.set()
        assert not claimed(lock, terms)
        clock[0] += 31
        assert claimed(lock, terms)


def test_a_lease_that_was_left_behind_long_ago_is_not_shown_as_held_but_waited_for_all_the_same(lock, on):
    on("near")
    left_behind(lock, seconds=30)
    assert is_held(lock)
    os.utime(lock.with_suffix(".lease"), (time.time() - 100,) * 2)
    assert not is_held(lock)
    assert not claimed(lock, Terms())


def test_who_asks_only_once_waits_for_a_sign_of_life_or_for_none(lock, on, clock, monkeypatch):
    on("near")
    left_behind(lock, seconds=30)
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        clock[0] += 10

    monkeypatch.setattr(files.time, "sleep", sleep)
    with claim(lock, wait=True) as mine:
        assert mine is not None
    assert len(waited) == 4  # more than 30 seconds, by tens
    left_behind(lock, seconds=30)
    monkeypatch.setattr(files.time, "sleep", lambda _: os.utime(lock.with_suffix(".lease"), (1, len(waited))))
    with claim(lock, wait=True) as mine:
        assert mine is None


def test_two_that_find_no_lease_do_not_both_get_it(lock):
    first, second = (files.Lease(lock.with_suffix(".lease"), 30.0, False) for _ in range(2))
    assert first.take(over=False)
    assert not second.take(over=False)
    first.check()
    first.release()
    second.release()
    assert list(lock.parent.iterdir()) == []


def test_a_lease_that_holds_rubbish_is_waited_for_like_any(lock, clock):
    lock.with_suffix(".lease").write_text("[")
    terms = Terms()
    assert not claimed(lock, terms)
    clock[0] += files.LEASE_SECONDS + 1
    assert claimed(lock, terms)
