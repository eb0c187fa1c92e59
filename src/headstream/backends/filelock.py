"""An exclusive lock among all threads of all processes, on a file that holds nothing.

The operating system queues those who wait and releases the lock when its holder ends, however it ends: nobody is starved,
and no crash leaves a lock behind.

An interrupt (Ctrl-C, a signal handler that raises) leaves no lock behind either. It can arrive between any two lines, so
what is held is held by ``with`` and an object whose exit is C code: the lock among threads, and the open lock file, whose
closing releases the lock among processes. So the file is opened for each hold, which takes some microseconds, and used as

    with lock.threads, lock.file() as file:
        lock.take(file)
        ...

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
from headstream.backends.osfaults import adopt
from headstream.errors import InvalidInput
from headstream.protocol.ops import NotApplied

if sys.platform == "win32":
    import portalocker

    def _lock(file: FileIO) -> None:
        try:
            portalocker.lock(file, portalocker.LockFlags.EXCLUSIVE)
        except portalocker.LockException as error:
            raise OSError(errno.EDEADLK, f"another process keeps it locked: {error}") from error

else:  # a seventh of portalocker's time, which each commit would spend
    import fcntl

    def _lock(file: FileIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)


_ATTEMPTS: Final = 16
"""How often a lock file that somebody deleted is made again before that counts as a fault."""


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
            return FileIO(self._path)  # for reading: that is enough, and all that another owner's file may allow
        except FileNotFoundError:
            if not create:
                raise
            return self._new()

    def take(self, file: FileIO) -> None:
        """Wait for the lock among processes. Raises :class:`NotApplied` when the system gives it up, and ``OSError``."""
        self._file = file  # from here on it is sure to be closed
        for _ in range(_ATTEMPTS):
            try:
                _lock(file)
            except OSError as error:  # Windows stops waiting after ten seconds
                raise NotApplied(f"{self._path} cannot be locked: {error.strerror}") from error
            if os.fstat(file.fileno()).st_nlink:
                return
            with self._new() as again:  # it was deleted: those who come now lock another one
                os.dup2(again.fileno(), file.fileno(), inheritable=False)
        raise NotApplied(f"{self._path} is deleted again and again: leave lock files alone")

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
            return FileIO(self._path)
        with made:
            adopt(made.fileno(), like)
        return FileIO(self._path)
