"""The lock among threads and processes: it excludes, is released whatever happens, and survives its file's removal."""

import errno
import multiprocessing
import os
import stat
import threading
import time
from contextlib import closing, contextmanager
from itertools import takewhile
from pathlib import Path
from tempfile import gettempdir

import pytest

from headstream.backends import filelock
from headstream.backends.filelock import FileLock
from headstream.errors import InvalidInput
from headstream.protocol.ops import NotApplied
from support.embedded import in_child


@pytest.fixture
def path(tmp_path):
    """The lock's file."""
    return tmp_path / "lock"


@pytest.fixture
def lock(path):
    """A lock of this process."""
    with closing(FileLock(path, path.parent)) as lock:
        yield lock


@contextmanager
def held(lock):
    """Hold the lock as its users do."""
    with lock.threads, lock.file() as file:
        lock.take(file, time.monotonic() + 60)
        yield


def enter(lock):
    """A thread that takes the lock; what says that it has."""
    entered = threading.Event()

    def take():
        with held(lock):
            entered.set()

    thread = threading.Thread(target=take)
    thread.start()
    return thread, entered


@contextmanager
def given_up(lock, another):
    """``another`` holds the lock, and ``lock`` has waited for it for too long."""
    with held(another):
        for _ in range(2):
            with pytest.raises(NotApplied, match="locked by another program"), lock.threads, lock.file() as file:
                lock.take(file, time.monotonic() + 0.02)
        yield


def waiting():
    """The threads of this process that wait for a lock."""
    return [thread for thread in threading.enumerate() if thread.name == "headstream-lock"]


@pytest.mark.parametrize("same", [True, False])
def test_one_holds_it_at_a_time(lock, path, same):
    """Threads that share a lock object exclude each other, as do objects on the same file."""
    with closing(FileLock(path, path.parent)) as another:
        with held(lock):
            thread, entered = enter(lock if same else another)
            assert not entered.wait(0.05)
        thread.join()
        assert entered.is_set()


def test_it_is_released_by_an_exception(lock):
    """Whatever leaves the block, an interrupt too, releases the lock."""
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), held(lock):
            raise error
    with held(lock):
        pass


def test_it_is_released_when_taking_it_is_interrupted(lock, path, monkeypatch):
    """An interrupt at the moment when the system has given the lock does not leave it taken."""

    take = filelock._try

    def interrupted(file):
        take(file)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(filelock, "_try", interrupted)
        with pytest.raises(KeyboardInterrupt), held(lock):
            pytest.fail("it was interrupted")
    with closing(FileLock(path, path.parent)) as another:
        thread, _ = enter(another)
        thread.join(30)
        assert not thread.is_alive()


def test_a_file_that_was_removed_is_made_anew(lock, path):
    """Those who had the removed file open take the new one: they exclude those who came later."""
    with closing(FileLock(path, path.parent)) as another:
        for one in (lock, another):
            with held(one):
                pass
        path.unlink()
        with held(lock):
            assert path.exists()
            thread, entered = enter(another)
            assert not entered.wait(0.05)
        thread.join()


def test_a_lock_that_the_system_gives_up_is_a_fault(lock, monkeypatch):
    """Windows stops waiting after ten seconds: nothing was written, and the next try is free."""

    def refuse(file):
        raise OSError(errno.EDEADLK, "another process keeps it locked")

    with monkeypatch.context() as patch:
        patch.setattr(filelock, "_try", refuse)
        with pytest.raises(NotApplied, match="cannot be locked"), held(lock):
            pytest.fail("it was refused")
    with held(lock):
        pass


def test_who_has_given_up_leaves_nothing_behind(lock, path):
    """What its thread gets at last is released at once; until then there is one such thread, however often it was tried."""
    with closing(FileLock(path, path.parent)) as another:
        with given_up(lock, another):
            (thread,) = waiting()
        thread.join(30)
        for one in (another, lock):
            with held(one):
                pass


def test_a_lock_that_is_free_is_had_without_a_wait(lock):
    """Also by who is late, and without a thread."""
    with lock.threads, lock.file() as file:
        lock.take(file, time.monotonic() - 1)
        assert not waiting()


def test_without_a_thread_it_is_waited_for_all_the_same(lock, path, monkeypatch):
    """At the end of a process none can be started."""

    def refuse(work, name):
        raise RuntimeError("can't start new thread at interpreter shutdown")

    monkeypatch.setattr(filelock, "spawn", refuse)
    with closing(FileLock(path, path.parent)) as another:
        with held(another):
            thread, entered = enter(lock)
            assert not entered.wait(0.05)
        thread.join(30)
        assert entered.is_set()


def test_a_child_does_not_keep_what_a_thread_waits_for(lock, path):
    """Its copy of the descriptor is closed: else the lock that the parent's thread gets would be held by the child."""
    with closing(FileLock(path, path.parent)) as another:
        with given_up(lock, another):
            (thread,) = waiting()
            reader, writer = os.pipe()
            child = multiprocessing.get_context("fork").Process(target=os.read, args=(reader, 1))
            child.start()
        thread.join(30)
        with held(another):
            os.write(writer, b".")
        child.join()
        os.close(reader)
        os.close(writer)


def test_a_closed_lock_is_not_taken(lock):
    """After close the lock says so; closing again does nothing."""
    lock.close()
    lock.close()
    with pytest.raises(InvalidInput, match="closed"), held(lock):
        pytest.fail("it is closed")


def test_a_child_does_not_keep_the_parents_lock(lock, path):
    """A forked child lets go of the inherited file, without releasing what the parent holds."""

    def work():
        assert lock._file.closed

    with lock.threads, lock.file() as file:
        lock.take(file, time.monotonic() + 60)
        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        child.join()
        assert child.exitcode == 0
        with closing(FileLock(path, path.parent)) as another:
            thread, entered = enter(another)
            assert not entered.wait(0.05)
            file.close()
            thread.join()


def test_a_signal_handler_does_not_wait_for_its_own_thread(lock):
    """A thread that holds the lock and comes again, as a signal handler may, gets an error instead of waiting for ever."""
    with held(lock), pytest.raises(InvalidInput, match="signal handler"), held(lock):
        pytest.fail("it is held")
    with held(lock):
        pass


def test_a_lock_file_of_another_owner_will_do(lock, path):
    """Who may only read the lock file can take the lock."""
    path.touch(mode=0o444)

    def work():
        if os.geteuid() == 0:
            os.setuid(65534)
        with held(lock):
            pass

    for parent in takewhile(lambda parent: parent != Path(gettempdir()), path.parents) if os.geteuid() == 0 else ():
        parent.chmod(0o711)
    assert in_child(work) == 0


def test_a_new_lock_file_is_like_the_stores(tmp_path):
    """It has the permissions, and if this process is root's the owner, of the store's file; so has its folder, of a folder."""
    store = tmp_path / "store"
    store.mkdir()
    store.chmod(0o2770)
    if os.geteuid() == 0:
        os.chown(store, 1234, 2345)
    with held(FileLock(store / "locks" / "00", store)):
        pass
    for file, mode in ((store / "locks", 0o2770), (store / "locks" / "00", 0o660)):
        about = file.stat()
        assert stat.S_IMODE(about.st_mode) == mode
        assert (about.st_uid, about.st_gid) == (store.stat().st_uid, store.stat().st_gid)
