"""An exclusive lock among all threads of all processes, on a file that holds nothing.

The operating system queues those who wait and releases the lock when its holder ends, however it ends: nobody is starved,
and no crash leaves a lock behind.

An interrupt (Ctrl-C, a signal handler that raises) leaves no lock behind either. It can arrive between any two lines, so
what is held is held by ``with`` and an object whose exit is C code: the lock among threads, and the open lock file, whose
closing releases the lock among processes. So the file is opened for each hold, which takes some microseconds, and used as

    with lock.threads, lock.file() as file:
        lock.take(file, until)
        ...

Waiting in the system's queue is what makes the lock fair, and the system waits without a bound. So a lock that is not free at once is
waited for by a thread of its own: on a second descriptor of the same open file, so that what the thread gets is its caller's. If the caller has
given up by then and has closed the file, the thread closes the last descriptor, which releases the lock. A lock has one such thread at most: those who come while it
still waits for a caller that has gone wait for it to end.

The lock among processes belongs to the open file, and a forked child inherits that. So the process forks while no thread has
it open: one that is just being opened or closed is a descriptor which the child would not know of, and so would not close.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
import threading
import time
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Final

from headstream.backends import forks
from headstream.backends.osfaults import UNSUPPORTED, adopt, check_plain, without_wait
from headstream.backends.workers import spawn
from headstream.errors import InvalidInput
from headstream.protocol.ops import NotApplied

if sys.platform == "win32":
    import portalocker

    def _try(file: FileIO) -> bool:
        """Take the lock if it is free; whether it was."""
        try:
            portalocker.lock(file, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
        except portalocker.AlreadyLocked:
            return False
        except portalocker.LockException as error:
            raise OSError(errno.EDEADLK, str(error)) from error
        return True

    def _wait(file: FileIO) -> None:
        """Wait for the lock in the system's queue; Windows gives up after ten seconds."""
        with suppress(portalocker.LockException):
            portalocker.lock(file, portalocker.LockFlags.EXCLUSIVE)

else:  # a seventh of portalocker's time, which each commit would spend
    import fcntl

    def _try(file: FileIO) -> bool:
        """Take the lock if it is free; whether it was."""
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait(file: FileIO) -> None:
        """Wait for the lock in the system's queue."""
        with suppress(OSError):  # what it is shows at the next try
            fcntl.flock(file, fcntl.LOCK_EX)


_ATTEMPTS: Final = 16
"""How often a lock file that somebody deleted is made again before that counts as a fault."""
_PAUSE: Final = 0.001
"""Seconds between two tries where no thread can be started to wait: at the end of a process."""


class _Waiting:
    """A thread that waits in the system's queue until the lock of ``file`` is had, for its caller or for no one."""

    def __init__(self, file: FileIO) -> None:
        self.ended = threading.Event()
        self._file = FileIO(os.dup(file.fileno()))

    def start(self) -> None:
        """Have it wait. Where no thread can be started, it has ended after a moment."""
        try:
            spawn(self._run, "headstream-lock")
        except RuntimeError:
            time.sleep(_PAUSE)
            self.close()
            self.ended.set()

    def _run(self) -> None:
        try:
            _wait(self._file)
        finally:
            self.close()
            self.ended.set()

    def close(self) -> None:
        """Close its descriptor."""
        with suppress(OSError):
            self._file.close()


class FileLock:
    """A lock on the file ``path``, which is made when it is first needed. Not reentrant.

    The file must not be deleted while the lock is in use: whoever holds it then holds another one than those who come
    later. A new file gets the owner, as far as this process may give that, and the permissions of ``like``, a file or
    folder; its folder is made if it is missing.
    """

    def __init__(self, path: Path, like: Path) -> None:
        self._path = str(path)
        self._like = like
        #: Among the threads of this process: to be held around :meth:`file` and :meth:`take`.
        self.threads = threading.RLock()
        self._file: FileIO | None = None
        self._waiting: _Waiting | None = None
        self._closed = False
        self._suspending = False
        forks.suspend(self, lock=True)

    def file(self, *, create: bool = True) -> FileIO:
        """The lock's file, open and not yet locked: closing it releases the lock.

        Raises ``OSError`` when it cannot be opened, or is not there and not to be created, and :class:`InvalidInput` after
        :meth:`close`, or when this very thread holds the lock: a signal handler came in between.
        """
        if self._closed:
            raise InvalidInput("the store is closed: connect again")
        if self._file is not None and not self._file.closed:
            raise InvalidInput(
                "this thread is in the middle of a write: do not use the store in a signal handler, set a flag there"
            )
        try:
            # For reading: that is enough, and all that another owner's file may allow.
            return FileIO(self._path, opener=without_wait)
        except FileNotFoundError:
            if not create:
                raise
            return self._new()

    def take(self, file: FileIO, until: float) -> None:
        """Wait for the lock among processes, until ``until`` (:func:`time.monotonic`) at most; one that is free is had later, too.

        Raises :class:`NotApplied` when it is not had, and ``OSError``.
        """
        self._file = file  # from here on it is sure to be closed
        for _ in range(_ATTEMPTS):
            try:
                while not _try(file):
                    self._queue(file, until)
            except OSError as error:
                if error.errno in UNSUPPORTED:
                    raise
                raise NotApplied(
                    f"{self._path} cannot be locked: {error.strerror}", code=errno.errorcode.get(error.errno or 0)
                ) from error
            about = os.fstat(file.fileno())
            check_plain(about, self._path)
            if about.st_nlink:
                return
            with self._new() as again:  # it was deleted: those who come now lock another one
                os.dup2(again.fileno(), file.fileno(), inheritable=False)
        raise NotApplied(f"{self._path} is deleted again and again: leave lock files alone")

    def _queue(self, file: FileIO, until: float) -> None:
        """Wait until the lock may be had. Raises :class:`NotApplied` if that is not soon enough."""
        left = until - time.monotonic()
        if left > 0:
            if self._waiting is None or self._waiting.ended.is_set():
                self._waiting = _Waiting(file)
                self._waiting.start()
            if self._waiting.ended.wait(left):
                return
        raise NotApplied(
            f"{self._path} is locked by another program, which does not release it: see whether one is stopped or hangs",
            code="LOCKED",
        )

    def close(self) -> None:
        """Take it no more; waits until no other thread of this process holds it. Idempotent."""
        with self.threads:
            self._closed = True

    def suspend(self, until: float) -> None:
        """Keep other threads from taking it until :meth:`resume`, once they have given it back; see :mod:`.forks`."""
        if not self.threads._is_owned():  # type: ignore[attr-defined] # noqa: SLF001 - as threading.Condition asks
            self._suspending = True  # first: resume() then looks whether it was had
            self.threads.acquire(timeout=max(0.0, until - time.monotonic()))

    def resume(self) -> None:
        """Let other threads go on."""
        if self._suspending:
            self._suspending = False
            if self.threads._is_owned():  # type: ignore[attr-defined] # noqa: SLF001
                self.threads.release()

    def after_fork(self) -> None:
        """Close the inherited file, which does not release the parent's lock: as long as the child had it open, the
        parent's death would not release it either.
        """
        self.threads = threading.RLock()
        if self._waiting is not None:
            self._waiting.close()
            self._waiting = None
        self._suspending = False
        if self._file is not None:
            with suppress(OSError):
                self._file.close()

    def _new(self) -> FileIO:
        """The file, made if it is not there."""
        like = self._like.stat()
        mode = stat.S_IMODE(like.st_mode) & 0o666
        folder = Path(self._path).parent
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            adopt(folder, like)
        try:
            made = FileIO(self._path, "x", opener=lambda path, flags: os.open(path, flags, mode))
        except FileExistsError:
            return FileIO(self._path, opener=without_wait)
        with made:
            adopt(made.fileno(), like)
        return FileIO(self._path, opener=without_wait)
