"""Objects in one SQLite file: the embedded store for several threads and several processes.

How each promise of :mod:`headstream.backends.base` is kept, and what of SQLite it leans on:

* A commit is part of one transaction with ``synchronous=FULL``: SQLite flushes its log before COMMIT returns, and only then do
  other connections see it. Threads that commit at the same time share a transaction, and so a flush (:mod:`.grouping`).
* A head's condition is part of the statement that writes it, in a transaction begun with ``BEGIN IMMEDIATE``.
* Intents have a table of their own (:data:`.sqlite_file.SCHEMA`); nothing but the statements below knows that there are two.
* An etag is a random number of 63 bits, new with every write; a random one needs no counter that writers would share.
* Writers of several processes queue at a file lock before they begin, where the system is fair; SQLite's own waiting polls, and
  was measured to starve a process for seconds. SQLite's locks still guard the file against other programs.
* The log is checkpointed by COMMIT or on closing, under the same lock: never beside a write or another checkpoint, which
  SQLite before 3.51.3 does not always survive ("WAL-reset bug").
* Readers have connections of their own and are not blocked by writers.
* What the files are is looked at before each transaction and each read, and what is held is given back whatever interrupts it
  (:mod:`.sqlite_pool`, :mod:`.filelock`). A transaction is held by ``with connection``, whose end is C code, which no signal
  interrupts: COMMIT, or ROLLBACK if there is an exception.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from copy import copy
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final, TypeAlias, TypeVar

from headstream import limits
from headstream.backends import forks
from headstream.backends.filelock import FileLock
from headstream.backends.grouping import Group, Job
from headstream.backends.sqlite_faults import beside, explain, is_damage, is_doubtful
from headstream.backends.sqlite_file import check_room, connect_reader, connect_writer, prepare, resolved
from headstream.backends.sqlite_pool import Pool
from headstream.chance import bits80
from headstream.errors import InvalidInput
from headstream.protocol.keys import INBOX
from headstream.protocol.ops import (
    MISSING,
    NOT_MODIFIED,
    REFUSED,
    Absent,
    Found,
    Get,
    GetAnswer,
    Matches,
    NotApplied,
    Page,
    Put,
    Refused,
    Stored,
    Unknown,
)

GROUP: Final = 128
"""Writes in one transaction."""
DELETES: Final = 500
"""Keys that one transaction removes, so that a long delete lets other writers in between."""


class _Statements:
    """What is said to one table; each is prepared once a connection."""

    def __init__(self, table: str) -> None:
        insert = f"INSERT INTO {table} (etag, body, key) VALUES (?, ?, ?)"  # noqa: S608 - names of our own tables
        self.put_absent = f"{insert} ON CONFLICT DO NOTHING"
        self.put_always = f"{insert} ON CONFLICT (key) DO UPDATE SET etag = excluded.etag, body = excluded.body"
        self.put_matching = f"UPDATE {table} SET etag = ?, body = ? WHERE key = ? AND etag = ?"  # noqa: S608
        self.get = f"SELECT etag, body FROM {table} WHERE key = ?"  # noqa: S608
        self.get_changed = f"SELECT etag, CASE WHEN etag = ? THEN NULL ELSE body END FROM {table} WHERE key = ?"  # noqa: S608
        self.delete = f"DELETE FROM {table} WHERE key IN (%s)"  # noqa: S608


_OBJECTS: Final = _Statements("objects")
_INBOX: Final = _Statements("inbox")
_TOGETHER: Final = max(limits.READ_WINDOW_OBJECTS, limits.FEED_HEADS)
_GET_TOGETHER: Final = [
    f"SELECT key, etag, body FROM objects WHERE key IN ({', '.join('?' * count)})"  # noqa: S608
    for count in range(_TOGETHER + 1)
]
_LIST: Final = (
    "SELECT key FROM objects WHERE key >= ?1 AND key > ?2 AND key < ?3"
    " UNION ALL SELECT key FROM inbox WHERE key >= ?1 AND key > ?2 AND key < ?3 ORDER BY key LIMIT ?4"
)
_ABOVE: Final = "\x7f"
"""Sorts after every character of a key: ``prefix + _ABOVE`` is above all keys that start with the prefix."""


R = TypeVar("R")
Jobs: TypeAlias = list[Job[Any]]


class SqliteBackend:
    """A :class:`~headstream.backends.base.Backend` in one SQLite file. Safe to use from threads, and after a fork.

    Args:
        path: The database file. ``-wal``, ``-shm`` and ``-lock`` files appear beside it; the first two belong to it as long
            as a process has the store open. It must be on a local disk.
        create: Make the file if there is none, or an empty one. Its folder must exist.
        timeout: Seconds of one call of the store. A quarter of it a write waits at most for other processes of headstream, and as long again,
            but five seconds at most, for other programs.

    Raises:
        StoreNotFound: The folder, or with ``create=False`` the store, does not exist.
        InvalidInput: The file is something else than a store.
        UnsupportedFormat: A newer headstream made it.
        RequestRejected: The path is too long, or leads through a loop of links or something that is no folder.
        AccessDenied: The file, or its folder, may not be written.
        CorruptData: The file is damaged.
        NotApplied: Another program keeps it locked.
    """

    keeps_metadata = False
    default_tail = 16 * limits.KIB
    default_poll = (0.002, 0.05)

    def __init__(self, path: str | Path, *, create: bool = True, timeout: float = limits.LOCAL_TIMEOUT) -> None:
        self._patience = limits.REQUEST_PART * timeout
        self._path = resolved(Path(path))
        self._folder = str(self._path.parent)
        self._lock = FileLock(beside(self._path, "-lock"), like=self._path)
        self._group = Group(self._serve, GROUP)
        self._pool = Pool(self._path, min(limits.BUSY_SECONDS, self._patience))
        self._connect_reader = partial(connect_reader, self._pool, self._path)
        self._connect_writer = partial(connect_writer, self._path)
        forks.watch(self)
        try:
            prepare(self._path, self._pool, self._lock, self._until(), create=create)
        except BaseException:
            self._pool.close()
            raise

    def __repr__(self) -> str:
        return f"SqliteBackend({str(self._path)!r})"

    # --- reads -----------------------------------------------------------------------------------------------

    def get(self, get: Get) -> GetAnswer:
        """One object, or that it is missing or not modified."""
        return self._read(lambda connection: _get(get, connection), get.key)

    def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        """Several objects; answers in the order of ``gets``."""
        return self._read(partial(_get_many, gets))

    def list(self, prefix: str, after: str, limit: int) -> Page:
        """At most ``limit`` keys that start with ``prefix`` and sort after ``after``."""
        return self._read(lambda connection: _list(prefix, after, limit, connection))

    def _read(self, read: Callable[[sqlite3.Connection], R], key: str = "") -> R:
        try:
            try:
                return self._read_once(read)
            except sqlite3.Error as error:
                if not is_damage(error):
                    raise
            return self._read_once(read)  # by a new connection: a read that failed can look like damage
        except (sqlite3.Error, OSError) as error:
            raise explain(error, self._path, key=key) from error

    def _read_once(self, read: Callable[[sqlite3.Connection], R]) -> R:
        for _ in range(limits.RENEWALS):
            slot = self._pool.take()
            try:
                with slot.lock:
                    connection = self._pool.ready(slot, self._connect_reader)
                    if connection is not None:
                        answer = read(connection)
                        if slot.frozen is None or self._pool.is_current(slot):
                            return answer
                        slot.close()  # it was changed while it was read, so somebody can write there after all
            except sqlite3.Error:
                with slot.lock:
                    self._pool.discard(slot)
                raise
            finally:
                self._pool.give(slot)
            if connection is None:
                self._pool.renew()
        raise NotApplied(f"{self._path} is changed again and again while it is read")

    # --- writes ----------------------------------------------------------------------------------------------

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        """All of ``prelude``, then ``head`` under its condition; all of it or nothing."""
        return self._group.run(partial(_commit, prelude, head))

    def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects that are there."""
        for start in range(0, len(keys), DELETES):
            self._group.run(partial(_delete, keys[start : start + DELETES]))

    def _serve(self, arriving: Iterator[Job[Any]]) -> None:
        """Settle jobs by one transaction. If one of them spoils it, each gets a transaction of its own."""
        jobs: Jobs = []
        try:
            try:
                answers = self._transact(arriving, jobs)
            except FileNotFoundError:
                self._pool.check()  # it can tell what is not there
                raise
        except _SpoiltError as error:
            if len(jobs) == 1:
                jobs[0].fail(explain(error.reason, self._path))
            else:
                for job in jobs:
                    self._serve(iter((job,)))
        except Exception as error:  # noqa: BLE001 - whatever it is, each caller has to get it
            for job in jobs or arriving:
                job.fail(copy(explain(error, self._path)))
        else:
            for job, answer in zip(jobs, answers, strict=True):
                job.succeed(answer)

    def _transact(self, arriving: Iterator[Job[Any]], jobs: Jobs) -> Sequence[Any]:
        """The answers of those who arrive, all durable; they are added to ``jobs`` when their turn comes."""
        until = self._until()
        with self._lock.threads, self._lock.file() as file:
            self._lock.take(file, until)
            check_room(self._path, self._folder)
            damaged = False
            for _ in range(limits.RENEWALS):
                try:
                    answers = self._transact_once(chain(tuple(jobs), arriving), jobs)
                except (sqlite3.Error, _SpoiltError) as error:
                    if damaged or not is_damage(_reason(error)):
                        raise
                    damaged = True  # or the moment was bad: a new connection will tell
                else:
                    if answers is not None:
                        return answers
                    self._pool.renew()
        raise NotApplied(f"the log of {self._path} is removed again and again: let nothing but SQLite open the file")

    def _transact_once(self, arriving: Iterator[Job[Any]], jobs: Jobs) -> Sequence[Any] | None:
        """The same; ``None``, and nothing done, if the database has another log by now."""
        writer = self._pool.writer
        with writer.lock:
            try:
                connection = self._pool.ready(writer, self._connect_writer)
                if connection is None:
                    return None
                if connection.in_transaction:  # an interrupt came before its end
                    connection.rollback()
                answers = self._write(connection, arriving, jobs)
            except (sqlite3.Error, _SpoiltError, Unknown) as error:
                doubtful = isinstance(error, Unknown) or is_doubtful(_reason(error))
                if doubtful or (writer.connection is not None and writer.connection.in_transaction):
                    self._pool.discard(writer)
                raise
            if not self._pool.has_log(writer):
                raise Unknown(f"the log of {self._path} was removed during the write: see whether it counts")
            return answers

    def _write(self, connection: sqlite3.Connection, arriving: Iterator[Job[Any]], jobs: Jobs) -> Sequence[Any]:
        answers = []
        committing, spoilt = False, None
        jobs.clear()
        try:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    for job in arriving:
                        jobs.append(job)
                        answers.append(job.work(connection))
                except Exception as error:
                    spoilt = _SpoiltError(error)
                    raise spoilt from error
                committing = True
        except sqlite3.Error as error:
            if committing:
                raise explain(error, self._path, committing=True) from error
            if spoilt is not None:  # the error is that of ROLLBACK
                raise spoilt from error
            raise
        return answers

    # --- the end ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the file, once the write in progress is done; the last process to do so empties the log. Idempotent."""
        self._pool.shut()
        until = self._until()
        with suppress(OSError, NotApplied, InvalidInput), self._lock.threads, self._lock.file(create=False) as file:
            self._lock.take(file, until)
            self._pool.close(_checkpoint)
        self._lock.close()
        self._pool.close()  # without the lock, if it could not be had: then the log stays, or SQLite merges it if no other has it open

    def _until(self) -> float:
        """Until when a call that begins now waits for the lock."""
        return time.monotonic() + self._patience

    def after_fork(self) -> None:
        """The threads that wrote are in the parent."""
        self._group = Group(self._serve, GROUP)


def _checkpoint(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")  # if others have it open, as much as they let us


class _SpoiltError(Exception):
    """The last job that began failed, and the transaction is rolled back."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(reason)
        self.reason = reason


def _reason(error: Exception) -> Exception:
    return error.reason if isinstance(error, _SpoiltError) else error


# --- the statements of each operation ----------------------------------------------------------------------------


def _table(key: str) -> _Statements:
    return _INBOX if key.startswith(INBOX) else _OBJECTS


def _get(get: Get, connection: sqlite3.Connection) -> GetAnswer:
    table = _table(get.key)
    if get.if_none_match is None:
        row = connection.execute(table.get, (get.key,)).fetchone()
    else:
        row = connection.execute(table.get_changed, (get.if_none_match, get.key)).fetchone()
    if row is None:
        return MISSING
    etag, body = row
    return NOT_MODIFIED if body is None else Found(body, str(etag))


def _get_many(gets: Sequence[Get], connection: sqlite3.Connection) -> tuple[GetAnswer, ...]:
    """Objects that one statement can fetch, by that; one by one, if there is anything special about them."""
    keys = [get.key for get in gets if get.if_none_match is None and _table(get.key) is _OBJECTS]
    if len(keys) < len(gets) or not 1 < len(keys) <= _TOGETHER:
        return tuple([_get(get, connection) for get in gets])
    rows = connection.execute(_GET_TOGETHER[len(keys)], keys).fetchall()
    found = {key: Found(body, str(etag)) for key, etag, body in rows}
    return tuple([found.get(key, MISSING) for key in keys])


def _list(prefix: str, after: str, limit: int, connection: sqlite3.Connection) -> Page:
    rows = connection.execute(_LIST, (prefix, after, prefix + _ABOVE, limit + 1)).fetchall()
    return Page(tuple([key for (key,) in rows[:limit]]), more=len(rows) > limit)


def _commit(prelude: Sequence[Put], head: Put, connection: sqlite3.Connection) -> Stored | Refused:
    etag = _put(head, connection)
    if etag is None:
        return REFUSED
    for put in prelude:
        if _put(put, connection) is None:
            raise NotApplied(f"the object {put.key!r} of the prelude is there already")
    return Stored(str(etag))


def _put(put: Put, connection: sqlite3.Connection) -> int | None:
    """Write one object under its condition; its new etag, or ``None`` if the condition does not hold."""
    etag = bits80() >> 17
    table = _table(put.key)
    if isinstance(put.when, Matches):
        cursor = connection.execute(table.put_matching, (etag, put.body, put.key, put.when.etag))
    else:
        statement = table.put_absent if isinstance(put.when, Absent) else table.put_always
        cursor = connection.execute(statement, (etag, put.body, put.key))
    return etag if cursor.rowcount == 1 else None


def _delete(keys: Sequence[str], connection: sqlite3.Connection) -> None:
    for table in (_OBJECTS, _INBOX):
        if some := [key for key in keys if _table(key) is table]:
            connection.execute(table.delete % ", ".join("?" * len(some)), some)
