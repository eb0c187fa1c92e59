"""The SQLite file of a store: what is in it, how it is opened, and what SQLite's errors mean for the caller."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Final

from headstream.backends import forks
from headstream.backends.filelock import FileLock
from headstream.backends.osfaults import explain_os
from headstream.errors import (
    AccessDenied,
    CorruptData,
    InvalidInput,
    StoreNotFound,
    UnsuitableBackend,
    UnsupportedFormat,
)
from headstream.protocol.ops import NotApplied, Unknown

APPLICATION_ID: Final = int.from_bytes(b"hdst")
"""In the file's header: ``file`` and headstream tell by it whose database this is."""
FORMAT: Final = 1
"""The header's ``user_version``."""
PAGE_SIZE: Final = 4096
"""Bytes. Measured with heads of 0.2 to 16 KB: 8 and 16 KiB pages are 10-35 % slower, since each commit writes whole pages."""
CHECKPOINT_PAGES: Final = 1000
BUSY_SECONDS: Final = 5.0
"""How long to wait for a program other than headstream that has the database locked."""
IDLE_READERS: Final = 16
"""Read connections that are kept open when nobody reads."""

SCHEMA: Final = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {FORMAT}",
    "CREATE TABLE objects (key TEXT NOT NULL UNIQUE, etag INTEGER NOT NULL, body BLOB NOT NULL)",
    # Small objects that come and go in the order of their keys: without a rowid each costs one page of log, not two.
    "CREATE TABLE inbox (key TEXT NOT NULL PRIMARY KEY, etag INTEGER NOT NULL, body BLOB NOT NULL) WITHOUT ROWID",
)

_LOCKED: Final = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_DENIED: Final = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH}
_DAMAGED: Final = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


class SqliteFile:
    """A store's database file (an absolute path), which exists and is headstream's once the constructor returns.

    The file must be opened by nothing but SQLite: closing any other handle of it would drop SQLite's locks (POSIX).
    """

    def __init__(self, path: Path, lock: FileLock, *, create: bool) -> None:
        self.path = path
        try:
            self._check_place()
            if self._is_new(create=create):
                with lock.held():
                    self._create()
        except (sqlite3.Error, OSError) as error:
            raise self.explain(error) from error

    def writer(self) -> sqlite3.Connection:
        """A new connection that writes durably. To be used under the file lock."""
        connection = self._connect("rw")
        try:
            _make_durable(connection)
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except BaseException:
            connection.close()
            raise
        if mode != "wal":
            connection.close()
            raise UnsuitableBackend(f"{self.path} is on a file system without shared memory: use a local disk")
        return connection

    def reader(self) -> sqlite3.Connection:
        """A new connection that only reads."""
        connection = self._connect("rw")  # "ro" could not recover the log after a crash
        try:
            connection.execute("PRAGMA query_only = ON")
        except BaseException:
            connection.close()
            raise
        return connection

    def explain(self, error: Exception, *, key: str = "", committing: bool = False) -> Exception:
        """What to raise instead of ``error``, which came from SQLite or the system; others come back as they are.

        ``committing`` says that COMMIT was asked for: then an error does not tell whether the transaction counts,
        unless SQLite says that it wrote nothing.
        """
        if isinstance(error, OSError):
            return explain_os(error, self.path)
        if not isinstance(error, sqlite3.Error) or not hasattr(error, "sqlite_errorcode"):
            return error
        code = error.sqlite_errorcode & 0xFF
        if code in _LOCKED:
            return NotApplied(f"{self.path} is locked by another program: {error}")
        if code == sqlite3.SQLITE_FULL:
            return NotApplied(f"the disk of {self.path} is full")
        if code in _DAMAGED:
            return CorruptData(f"{self.path} is damaged ({error}): restore it from a backup", key=key)
        if code in _DENIED or (code == sqlite3.SQLITE_CANTOPEN and self._is_barred()):
            return AccessDenied(f"{self.path} and its folder must be readable and writable: {error}")
        if code == sqlite3.SQLITE_CANTOPEN and not self.path.exists():
            return StoreNotFound(f"{self.path} does not exist: create it with `headstream init`, or correct the path")
        message = f"{self.path}: {error} ({error.sqlite_errorname})"
        return Unknown(message) if committing else NotApplied(message)

    def _check_place(self) -> None:
        folder = self.path.parent
        if not folder.is_dir():
            raise StoreNotFound(f"{folder} is no folder: create it, or correct the path of the store")
        if self.path.is_dir():
            raise InvalidInput(f"{self.path} is a folder: name a database file, or use file:// for a folder of files")

    def _connect(self, mode: str) -> sqlite3.Connection:
        return sqlite3.connect(
            f"{self.path.as_uri()}?mode={mode}",
            uri=True,
            timeout=BUSY_SECONDS,
            isolation_level=None,
            check_same_thread=False,
        )

    def _is_new(self, *, create: bool) -> bool:
        """Whether the file has still to become a store; raises unless it may, or is one."""
        connection = self._connect("rwc" if create else "rw")
        try:
            empty = self._is_empty(connection)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
                raise InvalidInput(f"{self.path} is not a SQLite database: name another file") from error
            raise
        finally:
            connection.close()
        if empty and not create:
            raise StoreNotFound(f"{self.path} is empty: create the store with `headstream init`")
        return empty

    def _is_empty(self, connection: sqlite3.Connection) -> bool:
        connection.execute("BEGIN")  # one snapshot: another process may be creating the store just now
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        connection.execute("ROLLBACK")
        if application == APPLICATION_ID:
            if version > FORMAT:
                raise UnsupportedFormat(f"{self.path} has format {version}, this headstream knows {FORMAT}: upgrade it")
            return False
        if application or version or tables:
            raise InvalidInput(f"{self.path} is the database of another application: name another file")
        return True

    def _create(self) -> None:
        connection = self._connect("rw")
        try:
            if not self._is_empty(connection):
                return  # another process was faster
            connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            connection.execute("PRAGMA journal_mode = WAL")
            _make_durable(connection)
            connection.execute("BEGIN IMMEDIATE")
            for statement in SCHEMA:
                connection.execute(statement)
            connection.execute("COMMIT")
        finally:
            connection.close()

    def _is_barred(self) -> bool:
        """Whether this process lacks permission for the file or for the files that SQLite makes beside it."""
        beside = self.path.parent
        return not os.access(beside, os.W_OK | os.X_OK) or (
            self.path.exists() and not os.access(self.path, os.R_OK | os.W_OK)
        )


def _make_durable(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS: through the cache of the drive; elsewhere no difference
    connection.execute("PRAGMA checkpoint_fullfsync = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")


class Readers:
    """Read connections, each used by one thread at a time; the newest used is the next used, so that few stay warm.

    There are as many as threads that read at one moment; :data:`IDLE_READERS` of them are kept.
    """

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._idle: deque[sqlite3.Connection] = deque()
        self._closed = False

    def take(self) -> sqlite3.Connection:
        """A connection, to be given back. Raises :class:`InvalidInput` after :meth:`close`."""
        with self._lock:
            if self._closed:
                raise InvalidInput("the store is closed: connect again")
            if self._idle:
                return self._idle.pop()
        return self._file.reader()

    def give(self, connection: sqlite3.Connection) -> None:
        """Give back what :meth:`take` gave."""
        with self._lock:
            if not self._closed and len(self._idle) < IDLE_READERS:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close the idle connections; those in use are closed when they are given back. Idempotent."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, deque()
        for connection in idle:
            with suppress(sqlite3.Error):
                connection.close()

    def abandon(self) -> None:
        """Leave all connections to the parent of this forked process."""
        for connection in self._idle:
            forks.abandon(connection)
