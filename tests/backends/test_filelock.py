"""The lock among threads and processes: it excludes, is released whatever happens, and survives its file's removal."""

import errno
import multiprocessing
import threading
from contextlib import closing

import pytest

from headstream.backends import filelock
from headstream.backends.filelock import FileLock
from headstream.errors import InvalidInput
from headstream.protocol.ops import NotApplied


@pytest.fixture
def path(tmp_path):
    """The lock's file."""
    return tmp_path / "lock"


@pytest.fixture
def lock(path):
    """A lock of this process."""
    with closing(FileLock(path)) as lock:
        yield lock


def enter(lock):
    """A thread that takes the lock; what says that it has."""
    entered = threading.Event()

    def take():
        with lock.held():
            entered.set()

    thread = threading.Thread(target=take)
    thread.start()
    return thread, entered


@pytest.mark.parametrize("same", [True, False])
def test_one_holds_it_at_a_time(lock, path, same):
    """Threads that share a lock object exclude each other, as do objects on the same file."""
    with closing(FileLock(path)) as another:
        with lock.held():
            thread, entered = enter(lock if same else another)
            assert not entered.wait(0.05)
        thread.join()
        assert entered.is_set()


def test_it_is_released_by_an_exception(lock):
    """Whatever leaves the block, an interrupt too, releases the lock."""
    for error in (ValueError, KeyboardInterrupt):
        with pytest.raises(error), lock.held():
            raise error
    with lock.held():
        pass


def test_it_is_released_when_taking_it_is_interrupted(lock, path, monkeypatch):
    """An interrupt at the moment when the system has given the lock does not leave it taken."""

    take = filelock._lock

    def interrupted(file):
        take(file)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(filelock, "_lock", interrupted)
        with pytest.raises(KeyboardInterrupt), lock.held():
            pytest.fail("it was interrupted")
    with closing(FileLock(path)) as another:
        thread, _ = enter(another)
        thread.join(30)
        assert not thread.is_alive()


def test_a_file_that_was_removed_is_made_anew(lock, path):
    """Those who had the removed file open take the new one: they exclude those who came later."""
    with closing(FileLock(path)) as another:
        for one in (lock, another):
            with one.held():
                pass
        path.unlink()
        with lock.held():
            assert path.exists()
            thread, entered = enter(another)
            assert not entered.wait(0.05)
        thread.join()


def test_a_lock_that_the_system_gives_up_is_a_fault(lock, monkeypatch):
    """Windows stops waiting after ten seconds: nothing was written, and the next try is free."""

    def refuse(file):
        raise OSError(errno.EDEADLK, "another process keeps it locked")

    with monkeypatch.context() as patch:
        patch.setattr(filelock, "_lock", refuse)
        with pytest.raises(NotApplied, match="cannot be locked"), lock.held():
            pytest.fail("it was refused")
    with lock.held():
        pass


def test_a_closed_lock_is_not_taken(lock):
    """After close the lock says so; closing again does nothing."""
    lock.close()
    lock.close()
    with pytest.raises(InvalidInput, match="closed"), lock.held():
        pytest.fail("it is closed")


def test_a_child_does_not_keep_the_parents_lock(lock, path):
    """A forked child lets go of the inherited file, without releasing what the parent holds."""

    def work():
        assert lock._file is None

    with lock.held():
        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        child.join()
        assert child.exitcode == 0
        with closing(FileLock(path)) as another:
            thread, entered = enter(another)
            assert not entered.wait(0.05)
            lock.release()
            thread.join()
