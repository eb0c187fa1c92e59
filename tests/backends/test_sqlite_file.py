"""Which files are a store's, how a new one is made, and what is refused."""

import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from headstream.backends import sqlite_pool
from headstream.backends.sqlite import SqliteBackend
from headstream.backends.sqlite_file import check_room
from headstream.errors import AccessDenied, InvalidInput, StoreNotFound, UnsupportedFormat
from headstream.protocol.ops import ABSENT, ALWAYS, REFUSED, NotApplied, Page, Put, Stored
from support.embedded import in_child

HEAD = Put("heads/a", b"body", ABSENT)


@pytest.fixture
def path(tmp_path):
    """Where the store is."""
    return tmp_path / "store.db"


@pytest.fixture
def backend(path):
    """An empty store."""
    with closing(SqliteBackend(path)) as backend:
        yield backend


def database(path):
    """The file as a foreign program opens it."""
    return closing(sqlite3.connect(path, isolation_level=None))


def test_a_new_file_says_whose_it_is(backend, path):
    """The header carries headstream's application id and the format, for ``file`` and for other programs."""
    backend.close()
    header = path.read_bytes()[:100]
    assert header[68:72] == b"hdst"
    assert header[60:64] == (1).to_bytes(4)


def test_what_was_written_is_there_after_reopening(backend, path):
    """A closed store is one file, beside its lock, and opens with all that was in it."""
    backend.commit([Put("inbox/1", b"intent", ALWAYS)], HEAD)
    backend.close()
    assert sorted(file.name for file in path.parent.iterdir()) == ["store.db", "store.db-lock"]
    with closing(SqliteBackend(path, create=False)) as again:
        assert again.list("", "", 10) == Page(("heads/a", "inbox/1"), more=False)


def test_an_empty_file_becomes_a_store(path):
    """A file of no bytes, as ``touch`` or a temporary file makes it, may be filled."""
    path.touch()
    with closing(SqliteBackend(path)) as backend:
        assert isinstance(backend.commit((), HEAD), Stored)


@pytest.mark.parametrize("exists", [False, True])
def test_without_create_a_store_must_be_there(path, exists):
    """With create=False a missing or empty file is no store, and stays what it is."""
    if exists:
        path.touch()
    with pytest.raises(StoreNotFound, match="headstream init"):
        SqliteBackend(path, create=False)
    assert path.exists() == exists


def test_the_folder_must_be_there(tmp_path):
    """A missing folder is not made: the path may be mistyped."""
    with pytest.raises(StoreNotFound, match="is no folder"):
        SqliteBackend(tmp_path / "missing" / "store.db")
    with pytest.raises(InvalidInput, match="is a folder"):
        SqliteBackend(tmp_path)


def test_a_file_of_another_kind_is_refused(path):
    """A file that is no database is left as it is."""
    path.write_text("Dear diary, " * 100)
    with pytest.raises(InvalidInput, match="not a SQLite database"):
        SqliteBackend(path)
    assert path.read_text() == "Dear diary, " * 100
    assert [file.name for file in path.parent.iterdir()] == ["store.db"]


@pytest.mark.parametrize(
    "statement", ["CREATE TABLE objects (a)", "PRAGMA application_id = 7", "PRAGMA user_version = 3"]
)
def test_a_database_of_another_application_is_refused(path, statement):
    """Whatever shows that somebody else uses the database, it is left as it is."""
    with database(path) as foreign:
        foreign.execute(statement)
    before = path.read_bytes()
    with pytest.raises(InvalidInput, match="another application"):
        SqliteBackend(path)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["store.db"]


def test_a_newer_format_asks_for_an_upgrade(backend, path):
    """A file of a later headstream is not touched."""
    backend.close()
    with database(path) as foreign:
        foreign.execute("PRAGMA user_version = 2")
    with pytest.raises(UnsupportedFormat, match="upgrade"):
        SqliteBackend(path)


def test_awkward_paths_name_the_file_that_they_say(tmp_path, monkeypatch):
    """Characters that mean something in a URI, and relative paths after a change of the working folder."""
    monkeypatch.chdir(tmp_path)
    with closing(SqliteBackend("50% of a?b#c.db")) as backend:
        monkeypatch.chdir("/")
        assert isinstance(backend.commit((), HEAD), Stored)
    assert (tmp_path / "50% of a?b#c.db").exists()


def test_a_link_and_its_target_share_one_lock(backend, path):
    """Whoever comes by a symbolic link queues with the others."""
    link = path.with_name("link.db")
    link.symlink_to(path)
    with closing(SqliteBackend(link)) as linked:
        assert isinstance(linked.commit((), HEAD), Stored)
    assert not link.with_name("link.db-lock").exists()


def test_many_processes_may_create_one_store(path):
    """Processes that open a new path at the same time all get the same store."""
    with ThreadPoolExecutor(8) as threads:
        backends = list(threads.map(lambda _: SqliteBackend(path), range(8)))
    answers = [backend.commit((), HEAD) for backend in backends]
    for backend in backends:
        backend.close()
    assert answers[1:] == [REFUSED] * 7


@pytest.mark.parametrize("mode", [0o000, 0o555])
def test_a_folder_that_may_not_be_used_is_access_denied(tmp_path, mode):
    """Neither looking into a folder nor creating in it is possible without permission, and the error says so."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=mode)
    is_root = os.geteuid() == 0
    for parent in [tmp_path, *tmp_path.parents][:3] if is_root else ():
        parent.chmod(0o711)

    def work():
        if is_root:
            os.setuid(65534)
        with pytest.raises(AccessDenied):
            SqliteBackend(folder / "store.db")

    try:
        assert in_child(work) == 0
    finally:
        folder.chmod(0o755)


def test_readers_that_nobody_uses_are_few(backend):
    """However many threads have read at one moment, a bounded number of connections stays open."""
    taken = [backend._pool.take() for _ in range(40)]
    for slot in taken:
        backend._pool.give(slot)
    assert len(backend._pool._idle) == sqlite_pool.IDLE_READERS


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no file system without blocks here")
def test_a_file_system_that_does_not_tell_its_size_is_not_called_full():
    """Some, such as those of user space, have neither blocks nor free ones."""
    check_room(Path("/proc/shop.db"))
    with pytest.raises((AccessDenied, NotApplied, StoreNotFound)) as told:
        SqliteBackend("/proc/shop.db")
    assert "full" not in str(told.value)
