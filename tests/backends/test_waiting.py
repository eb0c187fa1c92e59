"""What keeps a SQLite file or a folder locked for too long ends a call in time, and says so. The processes and the signals are real."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from headstream import Event, Unavailable, connect
from headstream.backends.base import Backend
from headstream.backends.files import FilesBackend
from headstream.backends.sqlite import SqliteBackend
from headstream.protocol.ops import ABSENT, NotApplied, Put, Stored

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")

HOLD = """
import sys, time
from pathlib import Path
from headstream.backends.filelock import FileLock
lock = FileLock(Path(sys.argv[1]), Path(sys.argv[1]).parent)
with lock.threads, lock.file() as file:
    lock.take(file, time.monotonic() + 60)
    print("held", flush=True)
    sys.stdin.readline()
"""

BUSY = """
import sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
"""


@contextmanager
def stopped(script: str, path: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has locked the file ``path``, and is stopped: as in a debugger, or by Ctrl-Z."""
    process = subprocess.Popen(
        [sys.executable, "-c", script, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        os.kill(process.pid, signal.SIGSTOP)
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(params=["sqlite", "file"])
def kind(request: pytest.FixtureRequest) -> str:
    """Both kinds of local stores."""
    kind: str = request.param
    return kind


def url_of(kind: str, folder: Path) -> str:
    return str(folder / "shop.db") if kind == "sqlite" else folder.as_uri()


def backend_of(kind: str, folder: Path, timeout: float) -> Backend:
    return (
        SqliteBackend(folder / "shop.db", timeout=timeout)
        if kind == "sqlite"
        else FilesBackend(folder, timeout=timeout)
    )


def lock_of(kind: str, folder: Path, key: str) -> str:
    """The lock file that a write of this head takes."""
    if kind == "sqlite":
        return str(folder / "shop.db-lock")
    with closing(FilesBackend(folder)) as backend:
        return backend._lock_of(key)._path


def waiting() -> int:
    """Threads of this process that wait for a lock."""
    return sum(thread.name == "headstream-lock" for thread in threading.enumerate())


def test_a_stopped_process_that_holds_the_lock(kind: str, tmp_path: Path) -> None:
    """The call ends in time and names what is locked; nothing was written, and when the other goes on, so does this one."""
    url = url_of(kind, tmp_path)
    with connect(url, timeout=1, feed=False) as store:
        store.append("s", Event("E", 1))
        with stopped(HOLD, lock_of(kind, tmp_path, "heads/s")) as process:
            begun = time.monotonic()
            with pytest.raises(Unavailable) as raised:
                store.append("s", Event("E", 2))
            assert time.monotonic() - begun < 30  # a bound for a busy machine: without it, it would wait for ever
            assert "locked by another program" in str(raised.value.details["reason"])
            assert raised.value.details["code"] == "LOCKED"
            assert [event.data for event in store.read("s")] == [1]  # reads need no lock
            with pytest.raises(Unavailable):
                store.append("s", Event("E", 2))
            assert waiting() == 1
            os.kill(process.pid, signal.SIGCONT)
            process.communicate("\n")
        assert store.append("s", Event("E", 3)).version == 2


def test_threads_wait_together(kind: str, tmp_path: Path) -> None:
    """Of threads that want the same lock each waits as long as one alone, not one after the other."""
    with closing(backend_of(kind, tmp_path, timeout=4)) as backend:
        assert isinstance(backend.commit((), Put("heads/s", b"", ABSENT)), Stored)

        def commit(_number: int) -> BaseException | None:
            try:
                backend.commit((), Put("heads/s", b"", ABSENT))
            except NotApplied as fault:
                return fault
            return None

        with stopped(HOLD, lock_of(kind, tmp_path, "heads/s")), ThreadPoolExecutor(40) as pool:
            begun = time.monotonic()
            faults = list(pool.map(commit, range(40)))
            assert time.monotonic() - begun < 20  # one after the other, it would be 40
        assert all(isinstance(fault, NotApplied) and fault.code == "LOCKED" for fault in faults)


def test_closing_does_not_wait_for_ever(tmp_path: Path) -> None:
    """The log stays beside the file, and whoever opens it next finds all that was written."""
    url = str(tmp_path / "shop.db")
    store = connect(url, timeout=1)
    store.append("s", Event("E", 1))
    with stopped(HOLD, f"{url}-lock"):
        store.close()
    with connect(url) as again:
        assert [event.data for event in again.read("s")] == [1]


def test_a_lock_can_prevent_the_creation(kind: str, tmp_path: Path) -> None:
    """That is told as well, in time."""
    with stopped(HOLD, lock_of(kind, tmp_path, "store.json")), pytest.raises(Unavailable) as raised:
        connect(url_of(kind, tmp_path), timeout=1)
    assert "locked by another program" in str(raised.value.details["reason"])


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_stopped_program_that_writes_the_database(tmp_path: Path, statement: str) -> None:
    """SQLite's own wait has its part of the time too."""
    path = tmp_path / "shop.db"
    with connect(str(path), timeout=1) as store:
        store.append("s", Event("E", 1))
        with stopped(BUSY.replace("BEGIN IMMEDIATE", statement), str(path)):
            begun = time.monotonic()
            with pytest.raises(Unavailable) as raised:
                store.append("s", Event("E", 2))
            assert time.monotonic() - begun < 30
            assert "locked by another program" in str(raised.value.details["reason"])
        assert store.append("s", Event("E", 2)).version == 2


def test_a_database_that_is_not_shared(tmp_path: Path) -> None:
    """Another program has all of it for itself, so it cannot be read either."""
    path = tmp_path / "shop.db"
    connect(str(path)).close()
    script = BUSY.replace("other.execute", 'other.execute("PRAGMA locking_mode = EXCLUSIVE")\nother.execute')
    with stopped(script, str(path)), pytest.raises(Unavailable) as raised:
        connect(str(path), timeout=1)
    assert "locked by another program" in str(raised.value.details["reason"])
    with closing(sqlite3.connect(path)) as whole:
        assert whole.execute("PRAGMA integrity_check").fetchone() == ("ok",)
