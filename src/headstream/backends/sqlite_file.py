"""The SQLite file of a store: what is in it, how it is made, and how connections to it are opened."""

from __future__ import annotations

import errno
import os
import sqlite3
from functools import partial
from pathlib import Path
from typing import Final

from headstream import limits
from headstream.backends.filelock import FileLock
from headstream.backends.sqlite_faults import beside, explain, is_damage
from headstream.backends.sqlite_pool import Pool, Slot, descriptors
from headstream.errors import AccessDenied, InvalidInput, StoreNotFound, UnsuitableBackend, UnsupportedFormat
from headstream.protocol.ops import NotApplied

APPLICATION_ID: Final = int.from_bytes(b"hdst")
"""In the file's header: ``file`` and headstream tell by it whose database this is."""
FORMAT: Final = 1
"""The header's ``user_version``."""
PAGE_SIZE: Final = 4096
"""Bytes. Measured with heads of 0.2 to 16 KB: 8 and 16 KiB pages are 10-35 % slower, since each commit writes whole pages."""
CHECKPOINT_PAGES: Final = 1000

SCHEMA: Final = (
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {FORMAT}",
    "CREATE TABLE objects (key TEXT NOT NULL UNIQUE, etag INTEGER NOT NULL, body BLOB NOT NULL)",
    # Small objects that come and go in the order of their keys: without a rowid each costs one page of log, not two.
    "CREATE TABLE inbox (key TEXT NOT NULL PRIMARY KEY, etag INTEGER NOT NULL, body BLOB NOT NULL) WITHOUT ROWID",
)

_SHARED_PAGE: Final = 4096
"""SQLite writes one byte into each page of so many bytes of the file that it shares memory by."""


def resolved(path: Path) -> Path:
    """The name by which SQLite finds the log too, whatever link was given."""
    try:
        return path.resolve(strict=path.is_symlink())
    except FileNotFoundError:
        return path.resolve()
    except (OSError, RuntimeError) as error:  # Python before 3.13 has an error of its own for a loop of links
        known = error if isinstance(error, OSError) else OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
        raise explain(known, path, creating=True) from error


def prepare(path: Path, pool: Pool, lock: FileLock, until: float, *, create: bool) -> None:
    """See to it that there is a store in the file ``path``; make one if there is nothing and ``create`` says so.

    The lock is waited for until ``until`` (:func:`time.monotonic`). Raises what :class:`~headstream.backends.sqlite.SqliteBackend` does.
    """
    try:
        _check_place(path)
        try:
            new = _is_new(path, pool, create=create)
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
            new = _is_new(path, pool, create=create)  # a read that failed can look like damage
        if new:
            with lock.threads, lock.file() as file:
                lock.take(file, until)
                _create(path, pool)
    except (sqlite3.Error, OSError) as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_NOTADB:
            raise InvalidInput(f"{path} is not a SQLite database: name another file") from error
        raise explain(error, path, creating=create) from error


def connect_writer(path: Path, slot: Slot) -> None:
    """Open a connection that writes durably. To be used under the file lock."""
    check_room(path)
    if not _is_writable(path):
        _refuse(path)
    connection = _connect(path, slot, "mode=rw")
    _make_durable(connection)
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise UnsuitableBackend(f"{path} is on a file system without shared memory: use a local disk")
    _reserve(path)


def connect_reader(pool: Pool, path: Path, slot: Slot) -> None:
    """Open a connection that only reads, also where nothing can be written."""
    if _is_writable(path):
        check_room(path)
        connection = _connect(path, slot, "mode=rw")  # "ro" could not recover the log after a crash
        connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
        _reserve(path)
        connection.execute("PRAGMA query_only = ON")
    elif _has_log(path):
        try:
            _connect(path, slot, "mode=ro").execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()
        except sqlite3.Error as error:
            raise AccessDenied(
                f"{path} has a log that is not merged into it yet, and nothing can be written there: open the store once"
                f" where its folder can be written ({error})"
            ) from error
    else:
        pool.freeze(slot)
        _connect(path, slot, "immutable=1")


def check_room(path: Path, folder: str = "") -> None:
    """Raise :class:`NotApplied` if the disk has not the room that SQLite needs to stay alive.

    A file system that has no blocks at all does not tell. ``folder`` is that of ``path``, for who asks often.
    """
    if hasattr(os, "statvfs"):
        disk = os.statvfs(folder or path.parent)
        room = limits.DISK_RESERVE // disk.f_frsize
        if (
            disk.f_bavail < room
            and disk.f_blocks
            and not disk.f_flag & os.ST_RDONLY
            and (disk.f_bfree < room or os.geteuid() != 0)
        ):
            raise NotApplied(
                f"the disk of {path} is full: it has less than {limits.DISK_RESERVE // limits.KIB} KiB left"
            )


def _reserve(path: Path) -> None:
    """Give the file by which SQLite shares memory the room on the disk that it may need.

    Where the disk has smaller blocks than the pages that SQLite extends it by, the file has holes. Touching one when the disk is
    full ends the process (SIGBUS). Opening it here and closing it again would drop SQLite's locks; so the descriptor that
    SQLite has is used, where the system tells which that is.
    """
    if not hasattr(os, "statvfs") or os.statvfs(path.parent).f_frsize >= _SHARED_PAGE:
        return
    try:
        about = beside(path, "-shm").stat()
        for descriptor in descriptors((about.st_ino, about.st_dev))[:1]:
            os.posix_fallocate(descriptor, 0, limits.SHARED_MEMORY)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise


def _check_place(path: Path) -> None:
    folder = path.parent
    if not folder.is_dir():
        raise StoreNotFound(f"{folder} is no folder: create it, or correct the path of the store")
    if path.is_dir():
        raise InvalidInput(f"{path} is a folder: name a database file, or use file:// for a folder of files")
    if path.exists() and not path.is_file():
        raise InvalidInput(f"{path} is no plain file: name a database file")


def _connect(path: Path, slot: Slot, how: str) -> sqlite3.Connection:
    slot.connection = sqlite3.connect(  # at once: what an interrupt leaves is in the slot
        f"{path.as_uri()}?{how}", uri=True, timeout=slot.busy, isolation_level=None, check_same_thread=False
    )
    return slot.connection


def _is_writable(path: Path) -> bool:
    return os.access(path, os.W_OK) and os.access(path.parent, os.W_OK | os.X_OK)


def _refuse(path: Path) -> None:
    named = path.parent if os.access(path, os.W_OK) else path
    if named.exists():
        raise AccessDenied(f"{named} must be writable by this process, which can only read the store there")


def _has_log(path: Path) -> bool:
    try:
        return beside(path, "-wal").stat().st_size > 0
    except FileNotFoundError:
        return False


def _is_new(path: Path, pool: Pool, *, create: bool) -> bool:
    """Whether the file has still to become a store; raises unless it may, or is one."""

    def connect(slot: Slot) -> None:
        if path.exists():
            connect_reader(pool, path, slot)
        else:
            check_room(path)
            _connect(path, slot, "mode=rwc" if create else "mode=rw")

    slot = pool.slot()
    with slot.lock:
        try:
            empty = _is_empty(path, pool.open(slot, connect))
        except BaseException:
            slot.close()
            raise
        if empty:
            slot.close()
    if empty and not create:
        raise StoreNotFound(f"{path} is empty: create the store with `headstream init`")
    if not empty:
        pool.give(slot)
    return empty


def _is_empty(path: Path, connection: sqlite3.Connection | None) -> bool:
    assert connection is not None
    with connection:
        connection.execute("BEGIN")  # one snapshot: another process may be creating the store just now
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application == APPLICATION_ID:
        if version > FORMAT:
            raise UnsupportedFormat(f"{path} has format {version}, this headstream knows {FORMAT}: upgrade it")
        return False
    if application or version or tables:
        raise InvalidInput(f"{path} is the database of another application: name another file")
    return True


def _create(path: Path, pool: Pool) -> None:
    slot = pool.slot()
    with slot.lock:
        try:
            connection = pool.open(slot, partial(_connect, path, how="mode=rw"))
            if not _is_empty(path, connection):
                return  # another process was faster
            assert connection is not None
            connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
            connection.execute("PRAGMA journal_mode = WAL")
            _make_durable(connection)
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                for statement in SCHEMA:
                    connection.execute(statement)
        finally:
            slot.close()


def _make_durable(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")  # macOS: through the cache of the drive; elsewhere no difference
    connection.execute("PRAGMA checkpoint_fullfsync = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
