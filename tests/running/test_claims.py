"""Claims: one holder at a time, on one host by its lock, over hosts by a heartbeat; and nobody's clock is believed."""

import errno
import fcntl
import json
import os
import time

import pytest

from benchmark.files import write_atomically
from benchmark.running import claims
from benchmark.running.claims import Lost, Terms, claim, is_held, lock_file, read_lease
from tests.turns import ended


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
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])
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
            patch.setattr(claims, "read_lease", broken)
            mine.check()  # the file system is away for a moment: that proves nothing
        lock.with_suffix(".lease").unlink()
        mine.check()  # looked a moment ago
        clock[0] += 2
        with pytest.raises(Lost):
            mine.check()


@pytest.fixture(params=["ENOLCK", "EOPNOTSUPP", "ENOSYS", "EINVAL"])
def no_locks(monkeypatch, request):
    """A file system whose locks fail with that error."""

    def flock(*_):
        raise OSError(getattr(errno, request.param), "no locks here")

    monkeypatch.setattr(claims.fcntl, "flock", flock)


@pytest.fixture(params=["EPERM", "EOPNOTSUPP", "ENOSYS"])
def no_links(monkeypatch, request):
    """A file system without hard links."""

    def link(*_, **__):
        raise OSError(getattr(errno, request.param), "no links here")

    monkeypatch.setattr(os, "link", link)


def test_where_the_file_system_has_no_locks_the_lease_alone_decides(lock, clock, no_locks):
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

    monkeypatch.setattr(claims.time, "sleep", sleep)
    with claim(lock, wait=True) as mine:
        assert mine is not None
    assert len(waited) == 4  # more than 30 seconds, by tens
    left_behind(lock, seconds=30)
    monkeypatch.setattr(claims.time, "sleep", lambda _: os.utime(lock.with_suffix(".lease"), (1, len(waited))))
    with claim(lock, wait=True) as mine:
        assert mine is None


def test_two_that_find_no_lease_do_not_both_get_it(lock):
    first, second = (claims.Lease(lock.with_suffix(".lease"), 30.0, False) for _ in range(2))
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
    clock[0] += claims.LEASE_SECONDS + 1
    assert claimed(lock, terms)


# --- file systems that lack something ---


def test_where_there_are_no_hard_links_two_that_find_no_lease_do_not_both_get_it(lock, no_links):
    first, second = (claims.Lease(lock.with_suffix(".lease"), 30.0, False) for _ in range(2))
    assert first.take(over=False)
    assert not second.take(over=False)
    first._look()
    first.check()
    first.release()
    assert list(lock.parent.iterdir()) == []


def test_where_there_are_neither_locks_nor_links_a_claim_is_held_by_one_and_let_go(lock, no_locks, no_links):
    with claim(lock) as mine:
        mine.check()
        assert is_held(lock)
        assert not claimed(lock, Terms())
    assert not is_held(lock)
    assert claimed(lock, Terms())


def test_another_users_lock_that_may_only_be_read_is_enough(lock, monkeypatch):
    lock.touch()
    opened = os.open

    def refuse(path, flags, *mode):
        if flags & os.O_RDWR:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, flags, *mode)

    monkeypatch.setattr(os, "open", refuse)
    held = lock_file(lock)
    assert held is not None
    assert lock_file(lock) is None
    os.close(held)
    lock.unlink()
    with pytest.raises(PermissionError):  # and not that there is no file
        lock_file(lock)


def test_a_lock_on_a_file_that_its_last_holder_removed_is_none(lock, monkeypatch):
    flock = fcntl.flock
    removed = []

    def after_the_holder_has_gone(descriptor, how):
        if not removed:
            removed.append(lock.unlink())
        flock(descriptor, how)

    monkeypatch.setattr(claims.fcntl, "flock", after_the_holder_has_gone)
    held = lock_file(lock)
    assert os.path.samestat(os.fstat(held), os.stat(lock))
    assert lock_file(lock) is None
    os.close(held)


# --- writing ---


def test_sweeping_takes_a_name_as_it_is(tmp_path):
    for name in ("a[1].pt", "a[1].lock", "a1.pt"):
        (tmp_path / name).touch()
    claims.Workplace(tmp_path, "a[1]").sweep()
    assert [path.name for path in tmp_path.iterdir()] == ["a1.pt"]


class Item:
    """An item of two steps that is kept as a file; what happens to it is noted."""

    def __init__(self, folder):
        self.place, self.kept, self.heard = claims.Workplace(folder / "work", "7"), folder / "7.json", []

    def make(self, stop):
        for step in (1, 2):
            self.place.checkpoint.write_text(str(step))
            self.heard.append(f"step {step}")
            yield
            if stop():
                return None
        return "made"

    def keep(self, made):
        self.heard.append(f"holds {is_held(self.place.lock)}")
        write_atomically(self.kept, made.encode())

    def work(self):
        return claims.Work(self.place, self.kept.exists, self.make, self.keep)

    def carried_out(self, stop=lambda: False):
        return ended(claims.carry_out(self.work(), Terms(), stop))


def test_a_worker_claims_makes_keeps_and_sweeps(tmp_path):
    item = Item(tmp_path)
    assert item.carried_out() is True
    assert item.heard == ["step 1", "step 2", "holds True"]
    assert item.kept.read_text() == "made"
    assert list(item.place.folder.iterdir()) == []


def test_what_was_done_meanwhile_is_swept_up_after_and_not_made_again(tmp_path):
    item = Item(tmp_path)
    item.place.folder.mkdir()
    item.place.checkpoint.write_text("of one that was killed after it had kept its record")
    item.kept.write_text("theirs")
    assert item.carried_out() is True
    assert (item.heard, item.kept.read_text(), list(item.place.folder.iterdir())) == ([], "theirs", [])


def test_whoever_is_asked_to_stop_leaves_its_checkpoint_and_gives_up_its_claim(tmp_path):
    item = Item(tmp_path)
    assert item.carried_out(stop=lambda: True) is None
    assert (item.place.checkpoint.read_text(), item.kept.exists()) == ("1", False)
    assert item.carried_out() is True


def test_what_somebody_else_is_at_is_not_touched(tmp_path):
    item = Item(tmp_path)
    item.place.folder.mkdir()
    with claim(item.place.lock):
        assert item.carried_out() is False
        assert is_held(item.place.lock)
    assert item.heard == []


def test_an_item_part_of_which_somebody_else_makes_is_tried_again_later(tmp_path):
    item = Item(tmp_path)

    def taken(stop):
        yield
        raise claims.Taken

    item.make = taken
    assert item.carried_out() is False
    assert not item.kept.exists()


def test_whoever_lost_its_claim_in_the_last_step_keeps_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "LOOK_SECONDS", 0.0)
    item = Item(tmp_path)
    steps = claims.carry_out(item.work(), Terms(), lambda: False)
    next(steps)
    left_behind(item.place.lock)  # of who has taken over

    assert ended(steps) is False
    assert not item.kept.exists()
    assert json.loads(item.place.lock.with_suffix(".lease").read_text())["token"] == "theirs"


def test_an_error_frees_the_claim_and_leaves_the_checkpoint(tmp_path):
    item = Item(tmp_path)
    item.keep = lambda made: 1 / 0
    with pytest.raises(ZeroDivisionError):
        item.carried_out()
    assert item.place.checkpoint.exists()
    assert not is_held(item.place.lock)
