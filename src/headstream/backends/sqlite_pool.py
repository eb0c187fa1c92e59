"""The connections of a store to its SQLite file: which thread has which, and that all of them are to the file that is there.

* A connection is in a :class:`Slot`, and used by the thread that holds the slot's lock. A slot that an interrupted thread
  does not give back is closed when Python frees it; what it left half done is mended by who holds the lock next.
* Before each use the database and its log are compared, by device and inode, with those that were opened: somebody may have
  deleted or replaced the database. The log may be another one without that: if the application opens and closes the database
  file by itself, the system drops SQLite's locks (POSIX), and another process takes itself for the last one and removes the log.
  It has merged the log first, so nothing is lost if all connections are closed and opened again. But closing them like that
  would remove the other's log in turn. So it is done under a lock of Linux that an application cannot drop by accident
  (:func:`_guard`); where there is none, or the application has connections of its own, the file is not used any more.
* SQLite keeps one record of its locks for each file and process, and a forked child inherits it. So all connections are closed
  while the process forks. If one cannot be, because a thread does not finish, the fork is in the middle of a call, or the
  application has a connection of its own, the child must not use the file (``_BARRED``).
"""

from __future__ import annotations

import os
import sqlite3
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Any, Final, TypeAlias
from weakref import WeakSet

from headstream import limits
from headstream.backends import forks
from headstream.backends.sqlite_faults import beside
from headstream.errors import InvalidInput, StoreNotFound

try:
    import fcntl

    _OFD_SETLK: int | None = fcntl.F_OFD_SETLK
except (ImportError, AttributeError):
    _OFD_SETLK = None

IDLE_READERS: Final = 16
"""Read connections that are kept open when nobody reads."""
_SHARED: Final = (0x40000002, 510)
"""The bytes of a database that SQLite locks for its connections: where they begin, and how many there are."""

_DESCRIPTORS: Final = Path("/proc/self/fd")

Seen: TypeAlias = tuple[int, int, int]
"""Inode and device of a database, and the inode of its log; 0 for none."""

_POOLS: Final[WeakSet[Pool]] = WeakSet()
_BARRED: Final[dict[tuple[int, int] | None, str]] = {}
"""Files (inode and device) that this process must not open, and why; ``None`` stands for all of them."""

_FORKED: Final = (
    "this process was forked while its parent had the file open, so SQLite is not safe to use here: use the start method"
    " spawn, or fork when no call to the store is running and no connection of your own is open"
)
_TORN: Final = (
    "another process has removed the log of the database while this one had it open, since this process opened and closed the"
    " file itself: restart this process, and open the file by SQLite only"
)


class Slot:
    """A connection, or the place for one."""

    __slots__ = ("__weakref__", "busy", "connection", "frozen", "lock", "seen")

    def __init__(self, busy: float) -> None:
        #: Seconds that its connection waits for other programs.
        self.busy = busy
        #: To be held by the thread that uses the slot.
        self.lock = threading.RLock()
        self.connection: sqlite3.Connection | None = None
        #: The files that were opened; ``None`` until the connection is as it should be.
        self.seen: Seen | None = None
        #: Size and time of a database that is read without locks, since nothing can be written there.
        self.frozen: tuple[int, int] | None = None

    def close(self) -> None:
        """Close the connection, if there is one."""
        self.seen = self.frozen = None
        if self.connection is not None:
            self.connection.close()
            self.connection = None


class Pool:
    """The connections to one file. Safe to use from threads; closed while the process forks.

    There are as many readers as threads that read at one moment; :data:`IDLE_READERS` of them are kept. Each connection waits for ``busy`` seconds
    for other programs that have the file locked.
    """

    def __init__(self, path: Path, busy: float = limits.BUSY_SECONDS) -> None:
        self._busy = busy
        self._path = path
        self._name = str(path)
        self._log_name = str(beside(path, "-wal"))
        self._identity: tuple[int, int] | None = None
        self._closed = False
        self._start()
        _POOLS.add(self)
        forks.suspend(self)

    def _start(self) -> None:
        self._gate = threading.RLock()  # held while a connection is opened
        self._held: list[Any] = []
        self._slots: WeakSet[Slot] = WeakSet()
        self._idle: deque[Slot] = deque()
        #: The one that writes.
        self.writer = self.slot()

    def slot(self) -> Slot:
        """A new slot."""
        slot = Slot(self._busy)
        self._slots.add(slot)
        return slot

    # --- readers ---------------------------------------------------------------------------------------------------

    def take(self) -> Slot:
        """A slot to read by, to be given back. Raises :class:`InvalidInput` after :meth:`close`."""
        if self._closed:
            raise InvalidInput("the store is closed: connect again")
        try:
            return self._idle.pop()  # the newest used: few stay warm
        except IndexError:
            return self.slot()

    def give(self, slot: Slot) -> None:
        """Give back what :meth:`take` gave."""
        if not self._closed and len(self._idle) < IDLE_READERS:
            self._idle.append(slot)
        else:
            with slot.lock:
                slot.close()

    # --- the file that is there ------------------------------------------------------------------------------------

    def ready(self, slot: Slot, connect: Callable[[Slot], object]) -> sqlite3.Connection | None:
        """The slot's connection, made by ``connect`` if need be; ``None`` if its log is gone: then :meth:`renew`.

        To be called with the slot's lock. Raises :class:`StoreNotFound` if the database is not the one that was opened.
        """
        seen = slot.seen
        try:
            file, log = os.stat(self._name), os.stat(self._log_name)  # noqa: PTH116 - for each read
        except FileNotFoundError:
            return self._judged(slot, connect)
        if seen != (file.st_ino, file.st_dev, log.st_ino) or slot.frozen is not None:
            return self._judged(slot, connect)
        return slot.connection

    def has_log(self, slot: Slot) -> bool:
        """Whether the log that the slot's connection has just written to is the one that is there."""
        try:
            return slot.seen is not None and os.stat(self._log_name).st_ino == slot.seen[2]  # noqa: PTH116
        except FileNotFoundError:
            return False

    def is_current(self, slot: Slot) -> bool:
        """Whether what was just done by the slot's connection was done to the files that are there."""
        return slot.seen == self._look() and (slot.frozen is None or slot.frozen == self._stamp())

    def _judged(self, slot: Slot, connect: Callable[[Slot], object]) -> sqlite3.Connection | None:
        seen = self._look()
        self.check(seen)
        if slot.seen is not None and self.is_current(slot):
            return slot.connection
        if slot.seen is not None and slot.frozen is None and slot.seen[2]:
            return None
        return self.open(slot, connect, seen)

    def open(
        self, slot: Slot, connect: Callable[[Slot], object], seen: Seen | None = None
    ) -> sqlite3.Connection | None:
        """As :meth:`ready`, of a slot that is not open. ``seen`` is what is there, if anything is."""
        with self._gate:
            slot.close()
            if seen is not None and self._is_torn(seen):
                return None
            try:
                connect(slot)
                assert slot.connection is not None
                slot.connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchall()  # opens the log too
                opened = self._look()
                self.check(opened)
                self._identity = opened[:2]
                slot.seen = opened
            except BaseException:
                slot.close()
                raise
        return slot.connection

    def _look(self) -> Seen:
        try:
            file = os.stat(self._name)  # noqa: PTH116
        except FileNotFoundError:
            if self._identity is None:
                raise
            raise StoreNotFound(f"{self._path} was deleted while it was open: restore it, and connect again") from None
        try:
            log = os.stat(self._log_name).st_ino  # noqa: PTH116
        except FileNotFoundError:
            log = 0
        return file.st_ino, file.st_dev, log

    def _stamp(self) -> tuple[int, int]:
        file = os.stat(self._name)  # noqa: PTH116
        return file.st_size, file.st_mtime_ns

    def freeze(self, slot: Slot) -> None:
        """Note what the file is like that ``slot`` will read without locks; call it before the first read."""
        slot.frozen = self._stamp()

    def check(self, seen: Seen | None = None) -> None:
        """Raise unless this process may use the database, and it is the one that was opened first."""
        seen = seen or self._look()
        if self._identity not in {None, seen[:2]}:
            raise StoreNotFound(f"{self._path} was replaced while it was open: connect again")
        for reason in (_BARRED.get(None), _BARRED.get(seen[:2])):
            if reason is not None:
                raise InvalidInput(f"{self._path}: {reason}")

    # --- the log that is gone --------------------------------------------------------------------------------------

    def _is_torn(self, seen: Seen) -> bool:
        """Whether some connection of this process to the database has another log than the one that is there."""
        return any(
            slot.seen is not None
            and slot.seen[2]
            and slot.frozen is None
            and slot.seen[:2] == seen[:2]
            and slot.seen != seen
            for pool in list(_POOLS)
            for slot in list(pool._slots)  # noqa: SLF001 - of the same class
        )

    def renew(self) -> None:
        """Close all connections of this process to the database, whose log is gone, so that they are opened again.

        To be called without the lock of any slot. Raises :class:`InvalidInput` if that is impossible.
        """
        until = time.monotonic() + limits.FORK_SECONDS
        with forks.turn():
            seen = self._look()
            if not self._is_torn(seen):
                return
            pools = [pool for pool in list(_POOLS) if pool._identity == seen[:2]]  # noqa: SLF001
            try:
                for pool in pools:
                    pool.suspend(until)
                if any(pool.is_open for pool in pools) or _is_open_here(seen[:2]):
                    _BARRED[seen[:2]] = _TORN
            finally:
                for pool in pools:
                    pool.resume()
        self.check()

    # --- the end, and forks ----------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        """Whether a connection is open."""
        return any(slot.connection is not None for slot in list(self._slots))

    def discard(self, slot: Slot) -> None:
        """Close a connection that may not be as it should be. To be called with the slot's lock."""
        self._close(slot)

    def shut(self) -> None:
        """Give no more readers away."""
        self._closed = True

    def close(self, work: Callable[[sqlite3.Connection], None] = lambda _: None) -> None:
        """Close all that no thread uses just now, and the writer at last, which first does ``work``. Idempotent."""
        self._closed = True
        for slot in (*self._idle, self.writer):
            with slot.lock:
                if slot is self.writer and slot.connection is not None and self._is_whole():
                    with suppress(sqlite3.Error):
                        work(slot.connection)
                self._close(slot)

    def suspend(self, until: float) -> None:
        """Close all connections, and keep other threads from opening any until :meth:`resume`; see :mod:`.forks`.

        Those that this very thread uses, or another one for too long, stay open.
        """
        if self._gate._is_owned():  # type: ignore[attr-defined] # noqa: SLF001 - as threading.Condition asks
            return
        if not self._hold(self._gate, until):
            return
        for slot in list(self._slots):
            if slot.connection is None or slot.lock._is_owned():  # type: ignore[attr-defined] # noqa: SLF001
                continue
            if self._hold(slot.lock, until):
                self._close(slot)

    def _hold(self, lock: Any, until: float) -> bool:
        self._held.append(lock)  # first: resume() then looks whether it was had
        return bool(lock.acquire(timeout=max(0.0, until - time.monotonic())))

    def resume(self) -> None:
        """Let other threads go on."""
        while self._held:
            lock = self._held.pop()
            if lock._is_owned():  # noqa: SLF001
                lock.release()

    def after_fork(self) -> None:
        """Start afresh if all was closed; else leave it alone for ever, and the file too."""
        if self._gate not in self._held or self.is_open or (self._identity and descriptors(self._identity)):
            self._bar()
        self._start()

    def _bar(self) -> None:
        with suppress(OSError):
            _BARRED[self._identity or self._look()[:2]] = _FORKED
        for slot in list(self._slots):
            connection, slot.connection, slot.seen = slot.connection, None, None
            if connection is None:
                continue
            forks.abandon(connection)
            if slot.lock._is_owned():  # type: ignore[attr-defined] # noqa: SLF001
                connection.set_authorizer(lambda *_: sqlite3.SQLITE_DENY)  # for the call that goes on in the child
            else:
                _BARRED[None] = _FORKED  # that thread may have held locks of SQLite that concern all files

    def _is_whole(self) -> bool:
        try:
            return not self._is_torn(self._look())
        except (OSError, StoreNotFound):  # SQLite itself sees to it that a deleted file takes nothing along
            return True

    def _close(self, slot: Slot) -> None:
        """Close a connection. One whose log is gone must neither merge it nor remove the one that is there now."""
        if slot.connection is None or self._is_whole():
            slot.close()
        elif (guard := _guard(self._path)) is not None:
            with guard:
                slot.close()
        else:
            forks.abandon(slot.connection)
            slot.connection = slot.seen = None
            if self._identity is not None:
                _BARRED[self._identity] = _TORN


def _guard(path: Path) -> FileIO | None:
    """A lock that keeps SQLite from believing that it is the only user of a database, until it is closed; ``None`` if this
    system has none. To be closed when SQLite is: closing it drops the locks of SQLite.
    """
    if _OFD_SETLK is None:
        return None
    guard = FileIO(path)
    fcntl.fcntl(guard, _OFD_SETLK, struct.pack("hhqqi0q", fcntl.F_RDLCK, os.SEEK_SET, *_SHARED, 0))
    return guard


def _is_open_here(identity: tuple[int, int]) -> bool:
    """Whether this process has a file open; not known, so feared, where the system does not tell."""
    return bool(descriptors(identity)) or not _DESCRIPTORS.is_dir()


def descriptors(identity: tuple[int, int]) -> list[int]:
    """The descriptors by which this process has a file (inode and device) open, where the system tells."""
    found = []
    with suppress(OSError):
        for entry in _DESCRIPTORS.iterdir():
            with suppress(OSError):
                about = os.fstat(int(entry.name))
                if (about.st_ino, about.st_dev) == identity:
                    found.append(int(entry.name))
    return found
