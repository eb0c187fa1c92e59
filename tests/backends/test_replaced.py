"""A store whose files are deleted, replaced or touched by others while it is open: said, or mended, and nothing lost."""

import os
import shutil
import sqlite3
import sys
from contextlib import closing

import pytest

from headstream.backends import sqlite_pool
from headstream.backends.files import FilesBackend
from headstream.backends.sqlite import SqliteBackend
from headstream.errors import InvalidInput, StoreNotFound
from headstream.protocol.ops import ABSENT, ALWAYS, MISSING, Found, Get, Put, Stored
from support.embedded import COMMIT_FOREVER, in_child, lines, process

HEAD = Put("heads/a", b"body", ABSENT)
NAME = "headstream.backends.sqlite.SqliteBackend"

WRITE_ONCE = """
import sys
from contextlib import closing
from headstream.backends.sqlite import SqliteBackend
from headstream.protocol.ops import *
with closing(SqliteBackend(sys.argv[1])) as backend:
    backend.commit((), Put(sys.argv[2], b"of another process" * 100, ALWAYS))
print("done")
"""

ofd = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs locks that belong to an open file")


@pytest.fixture(params=[SqliteBackend, FilesBackend])
def opened(request):
    """The backend's class."""
    return request.param


def calls(backend):
    """Every call of a backend."""
    return (
        lambda: backend.get(Get("heads/a")),
        lambda: backend.get_many([Get("heads/a")]),
        lambda: backend.list("", "", 1),
        lambda: backend.commit((), Put("heads/b", b"", ALWAYS)),
        lambda: backend.delete(["heads/a"]),
    )


def remove(path):
    """Delete a store, as ``rm -r shop.db*`` would."""
    for each in path.parent.glob(path.name + "*"):
        shutil.rmtree(each) if each.is_dir() else each.unlink()


@pytest.mark.parametrize("used", [True, False])
def test_a_store_that_is_deleted_is_said_to_be(tmp_path, opened, used):
    """No call is answered out of files, or into files, that have no name any more, and none makes a new store."""
    path = tmp_path / "store.db"
    with closing(opened(path)) as backend:
        if used:
            backend.commit((), HEAD)
            backend.get(Get("heads/a"))
        remove(path)
        for call in calls(backend):
            with pytest.raises(StoreNotFound, match="was deleted while it was open"):
                call()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("used", [True, False])
def test_a_store_that_is_replaced_is_said_to_be(tmp_path, opened, used):
    """A store that was moved to the place of an open one is neither read nor written by who had the other one open."""
    path, other = tmp_path / "store.db", tmp_path / "other.db"
    with closing(opened(other)) as backup:
        backup.commit((), Put("heads/a", b"restored", ABSENT))
    backend = opened(path)
    if used:
        backend.commit((), HEAD)
        backend.get(Get("heads/a"))
    remove(path) if path.is_dir() else None
    other.rename(path)
    for call in calls(backend):
        with pytest.raises(StoreNotFound, match="was replaced while it was open: connect again"):
            call()
    backend.close()
    for suffix in ("-wal", "-shm"):  # as the documentation says: they are the old database's
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    with closing(opened(path)) as again:
        assert again.get(Get("heads/a")).body == b"restored"
        assert again.list("", "", 9).keys == ("heads/a",)


def test_a_replaced_database_is_closed_without_harm_to_the_other(tmp_path):
    """Closing the old database does not remove the log that another process has for the new one."""
    path, other = tmp_path / "store.db", tmp_path / "other.db"
    SqliteBackend(other).close()
    backend = SqliteBackend(path)
    backend.commit((), HEAD)
    other.rename(path)
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()
    with process(COMMIT_FOREVER, NAME, path) as running:
        numbers = lines(running)
        next(numbers)
        backend.close()
        next(numbers)
        running.kill()
        last = [*numbers][-1:] or ["2"]
    with closing(SqliteBackend(path)) as again:
        assert int(again.get(Get("heads/h")).body.split()[0]) >= int(last[0])


def drop_locks(path):
    """Read the file without SQLite, as for a checksum: the system drops all locks of this process on it."""
    path.read_bytes()


def write_elsewhere(path, key):
    """Another process opens the store, writes and closes it: if it sees no lock of others, it removes the log."""
    with process(WRITE_ONCE, path, key) as running:
        assert list(lines(running)) == ["done"]


@ofd
def test_an_application_may_read_the_file_itself(tmp_path):
    """Readers and writers of this process and of others see one history, though the log was removed behind one's back."""
    path = tmp_path / "store.db"
    with closing(SqliteBackend(path)) as backend, closing(SqliteBackend(path)) as another:
        for number in range(3):
            assert isinstance(backend.commit((), Put(f"heads/{number}-0", b"x" * 5000, ABSENT)), Stored)
            drop_locks(path)
            write_elsewhere(path, f"heads/{number}-1")
            if number % 2:
                assert another.get(Get(f"heads/{number}-1")) != MISSING
            assert isinstance(another.commit((), Put(f"heads/{number}-2", b"y" * 5000, ABSENT)), Stored)
            assert backend.get(Get(f"heads/{number}-2")).body == b"y" * 5000
    with closing(SqliteBackend(path)) as again:
        assert again.list("", "", 20).keys == tuple(f"heads/{n}-{m}" for n in range(3) for m in range(3))
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@ofd
@pytest.mark.parametrize("use", ["get", "commit", "close", "fork"])
def test_the_log_of_a_killed_process_is_not_removed(tmp_path, use):
    """Who lost its own log leaves alone the one that is there now, which a killed process may have left."""
    path = tmp_path / "store.db"
    with closing(SqliteBackend(path)) as backend:
        backend.commit((), HEAD)
        backend.get(Get("heads/a"))
        drop_locks(path)
        write_elsewhere(path, "heads/b")
        with process(COMMIT_FOREVER, NAME, path) as running:
            numbers = lines(running)
            printed = [next(numbers)]
            running.kill()
            printed.extend(numbers)
        match use:
            case "get":
                assert backend.get(Get("heads/b")) != MISSING
            case "commit":
                assert isinstance(backend.commit((), Put("heads/c", b"", ABSENT)), Stored)
            case "close":
                backend.close()
            case "fork":
                assert in_child(lambda: None) == 0
    with closing(SqliteBackend(path)) as again:
        assert again.get(Get("heads/a")) != MISSING
        assert again.get(Get("heads/b")) != MISSING
        assert int(again.get(Get("heads/h")).body.split()[0]) >= int(printed[-1])


@pytest.mark.parametrize("guarded", [True, False])
def test_a_log_that_cannot_be_opened_again_bars_the_file(tmp_path, monkeypatch, guarded):
    """Where the application has a connection of its own, or the system has no lock for it, this process is refused."""
    path = tmp_path / "store.db"
    SqliteBackend(path).close()

    def work():
        backend = SqliteBackend(path)
        own = sqlite3.connect(path)
        own.execute("SELECT count(*) FROM objects").fetchall()
        if not guarded:
            own.close()
            monkeypatch.setattr(sqlite_pool, "_OFD_SETLK", None)
        backend.commit((), HEAD)
        drop_locks(path)
        write_elsewhere(path, "heads/b")
        for use in (lambda: backend.get(Get("heads/a")), *calls(backend), lambda: SqliteBackend(path)):
            with pytest.raises(InvalidInput, match="restart this process"):
                use()
        os._exit(0)

    assert in_child(work) == 0
    with closing(SqliteBackend(path)) as again:
        assert again.list("", "", 9).keys == ("heads/a", "heads/b")


def test_the_locks_of_a_folder_may_be_deleted(tmp_path):
    """What headstream needs besides is made again when it is next needed."""
    with closing(FilesBackend(tmp_path / "store")) as backend:
        etag = backend.commit((), HEAD).etag
        shutil.rmtree(tmp_path / "store" / ".headstream")
        assert isinstance(backend.commit([Put("inbox/1", b"", ALWAYS)], Put("heads/b", b"", ABSENT)), Stored)
        assert backend.get(Get("heads/a")) == Found(b"body", etag)
