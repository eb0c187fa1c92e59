"""What each error of SQLite means for the caller: an error of the disk or of the moment is never called damage."""

import os
import resource
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from headstream import limits
from headstream.backends.sqlite import SqliteBackend
from headstream.backends.sqlite_faults import explain
from headstream.errors import AccessDenied, CorruptData, StoreNotFound
from headstream.protocol.ops import ABSENT, ALWAYS, FAULTS, MISSING, Get, NotApplied, Put, Stored, Unknown
from support.embedded import in_child

HEAD = Put("heads/a", b"body", ABSENT)


@pytest.fixture
def path(tmp_path):
    """Where the store is."""
    return tmp_path / "store.db"


@pytest.fixture
def backend(path):
    """A store with one object."""
    with closing(SqliteBackend(path)) as backend:
        backend.commit((), HEAD)
        yield backend


def error(name):
    """An error of SQLite."""
    made = sqlite3.OperationalError("it failed")
    made.sqlite_errorcode, made.sqlite_errorname = getattr(sqlite3, name), name
    return made


CODES = [
    name
    for name in dir(sqlite3)
    if name.startswith(
        tuple(
            f"SQLITE_{kind}"
            for kind in (
                "IOERR",
                "FULL",
                "CANTOPEN",
                "BUSY",
                "LOCKED",
                "INTERRUPT",
                "NOMEM",
                "PROTOCOL",
                "READONLY",
                "CORRUPT",
                "NOTADB",
                "PERM",
                "AUTH",
            )
        )
    )
]


@pytest.mark.parametrize("name", CODES)
def test_only_two_codes_are_damage(backend, path, name):
    """Each of the others, extended ones too, is a fault that names the code; after COMMIT was asked for it is unknown."""
    told = explain(error(name), path, key="heads/a")
    assert isinstance(told, CorruptData if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")) else NotApplied)
    assert name in str(told)
    certain = ("SQLITE_FULL", "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")
    asked = explain(error(name), path, committing=True)
    assert isinstance(asked, NotApplied if name.startswith(certain) else Unknown)
    assert name in str(asked)


def test_what_is_not_there_is_not_found(tmp_path):
    """A database that cannot be opened because there is none."""
    assert isinstance(explain(error("SQLITE_CANTOPEN"), tmp_path / "none.db"), StoreNotFound)


class Flawed:
    """A connection whose statements fail as if the file were damaged."""

    in_transaction = False

    def __init__(self, connection, name):
        self.connection, self.name = connection, name

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def execute(self, *_):
        raise error(self.name)

    def close(self):
        self.connection.close()


@pytest.mark.parametrize("name", ["SQLITE_CORRUPT", "SQLITE_NOTADB"])
def test_damage_is_looked_for_again(backend, name):
    """What a new connection does not find was none: a failed read can look like damage."""
    assert backend.get(Get("heads/a")).body == b"body"
    (slot,) = backend._pool._idle
    slot.connection = Flawed(slot.connection, name)
    assert backend.get(Get("heads/a")).body == b"body"
    backend._pool.writer.connection = Flawed(backend._pool.writer.connection, name)
    assert isinstance(backend.commit((), Put("heads/b", b"", ABSENT)), Stored)


def limited(path, which, value, work):
    """Do ``work`` with a store in a process that the system limits."""

    def limit():
        backend = SqliteBackend(path)
        backend.commit((), Put("heads/0", b"", ALWAYS))
        resource.setrlimit(which, (value, resource.getrlimit(which)[1]))
        work(backend)
        os._exit(0)

    assert in_child(limit) == 0


def test_a_file_that_may_not_grow(path):
    """What cannot be written is not applied, and what is there can be read."""

    def work(backend):
        with pytest.raises(FAULTS, match="SQLITE_"):
            backend.commit((), Put("heads/a", b"x" * 300_000, ABSENT))
        assert backend.get(Get("heads/a")) == MISSING

    limited(path, resource.RLIMIT_FSIZE, 100_000, work)
    with closing(SqliteBackend(path)) as backend:
        assert backend.list("", "", 9).keys == ("heads/0",)


def test_too_many_open_files(path):
    """Each call is a fault that says so; when files can be opened again, all goes on."""

    def work(backend):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with pytest.raises(NotApplied, match=r"Too many open files|SQLITE_CANTOPEN"):
            backend.commit((), Put("heads/a", b"", ABSENT))
        with pytest.raises(NotApplied, match="SQLITE_CANTOPEN"):
            SqliteBackend(path.with_name("other.db"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        assert isinstance(backend.commit((), Put("heads/a", b"", ABSENT)), Stored)

    limited(path, resource.RLIMIT_NOFILE, len(list(Path("/dev/fd").iterdir())) - 1, work)


def test_a_disk_without_room_is_said_to_be_full(path, monkeypatch):
    """Below the reserve nothing is written or opened; what is open can be read. With room all goes on."""
    with closing(SqliteBackend(path)) as backend:
        backend.commit((), HEAD)
        backend.get(Get("heads/a"))
        with monkeypatch.context() as patch:
            patch.setattr(limits, "DISK_RESERVE", 2**70)
            with pytest.raises(NotApplied, match="is full"):
                backend.commit((), Put("heads/b", b"", ABSENT))
            with pytest.raises(NotApplied, match="is full"):
                SqliteBackend(path)
            assert backend.get(Get("heads/a")).body == b"body"
        assert isinstance(backend.commit((), Put("heads/b", b"", ABSENT)), Stored)


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-lock"])
def test_the_file_that_may_not_be_used_is_named(path, suffix, monkeypatch):
    """Of database, log, shared memory and lock it is the one that is barred that the error names."""
    barred = str(path) + suffix
    with closing(SqliteBackend(path)) as backend:
        backend.commit((), HEAD)
        access = os.access
        monkeypatch.setattr(os, "access", lambda file, mode: str(file) != barred and access(file, mode))
        if suffix == "-lock":
            told = explain(PermissionError(13, "Permission denied", barred), path)
        else:
            told = explain(error("SQLITE_CANTOPEN"), path)
    assert isinstance(told, AccessDenied)
    assert str(told).startswith(f"{barred} must be readable and writable")
