"""An exclusive lock among all threads of all processes, on a file that holds nothing.

The operating system queues those who wait and releases the lock when its holder ends, however it ends: nobody is starved,
and no crash leaves a lock behind.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

from headstream.backends import forks
from headstream.errors import InvalidInput
from headstream.protocol.ops import NotApplied

if sys.platform == "win32":
    import portalocker

    def _lock(file: IO[bytes]) -> None:
        try:
            portalocker.lock(file, portalocker.LockFlags.EXCLUSIVE)
        except portalocker.LockException as error:
            raise OSError(errno.EDEADLK, f"another process keeps it locked: {error}") from error

    def _unlock(file: IO[bytes]) -> None:
        try:
            portalocker.unlock(file)
        except portalocker.LockException as error:
            raise OSError(errno.EIO, str(error)) from error

else:  # a seventh of portalocker's time, which each commit would spend
    import fcntl

    def _lock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX)

    def _unlock(file: IO[bytes]) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


_ATTEMPTS: Final = 16
"""How often a lock file that somebody deleted is made again before that counts as a fault."""


class FileLock:
    """A lock on the file ``path``, which is made when it is first needed. Not reentrant.

    The file must not be deleted while the lock is in use: whoever holds it then holds another one than those who come
    later.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        #: Among the threads of this process: to be held around :meth:`take` and :meth:`release`.
        self.threads = threading.Lock()
        self._file: IO[bytes] | None = None
        self._closed = False
        forks.watch(self)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Wait for the lock and hold it.

        Raises :class:`NotApplied` when the system gives it up, ``OSError`` when the file cannot be opened,
        :class:`InvalidInput` after :meth:`close`.
        """
        with self.threads:
            try:
                self.take()
                yield
            finally:
                self.release()

    def take(self) -> None:
        """Wait for the lock among processes; raises as :meth:`held`."""
        if self._closed:
            raise InvalidInput("the store is closed: connect again")
        for _ in range(_ATTEMPTS):
            file = self._file
            if file is None:
                file = self._file = self._path.open("ab", buffering=0)
            try:
                _lock(file)
            except OSError as error:  # Windows stops waiting after ten seconds
                raise NotApplied(f"{self._path} cannot be locked: {error.strerror}") from error
            if os.fstat(file.fileno()).st_nlink:
                return
            self._drop()
        raise NotApplied(f"{self._path} is deleted again and again: leave lock files alone")

    def release(self) -> None:
        """Let go of it, if it was taken."""
        if self._file is not None:
            try:
                _unlock(self._file)
            except OSError:
                self._drop()  # closing releases too

    def close(self) -> None:
        """Close the file, once nobody of this process holds the lock. Idempotent."""
        with self.threads:
            self._closed = True
            self._drop()

    def after_fork(self) -> None:
        """Close the inherited file, which does not release the parent's lock: as long as the child had it open, the
        parent's death would not release it either.
        """
        self.threads = threading.Lock()
        self._drop()

    def _drop(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
