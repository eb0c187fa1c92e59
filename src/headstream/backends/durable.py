"""Files that are written whole or not at all, and are on the disk when that is said.

* A file is written under a temporary name, flushed, and then renamed: a reader, or a crash at any moment, meets the old content
  or the new.
* A new file or folder gets the permissions of the root, and its owner if this process is root's: who else works with the
  store can go on.
* A name is on the disk when its folder has been flushed, and a new folder when the one that it is in has been.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from pathlib import Path
from typing import Final, TypeVar

from headstream.backends.osfaults import adopt

if sys.platform == "darwin":
    from fcntl import F_FULLFSYNC, fcntl

T = TypeVar("T")

WINDOWS: Final = os.name == "nt"

LEFTOVER_SECONDS: Final = 24 * 3600
"""Temporary files older than this are removed. Should one be a live process's after all, its write fails and counts for nothing."""
KNOWN_FOLDERS: Final = 10_000
"""Folders that are remembered to be on the disk."""
ATTEMPTS: Final = 10
"""Tries to replace a file on Windows while others read it; the pauses add up to a second."""

_NO_FOLDER_FLUSH: Final = {errno.EINVAL, errno.ENOTSUP}
"""What file systems answer that cannot flush a folder."""


class DurableFolder:
    """Writes files below ``root``. Paths are relative to it, with ``/`` between names. Errors are ``OSError``.

    Temporary files live in the folder ``temporary``, a path too, so that no rename leaves the file system.
    """

    def __init__(self, root: Path, temporary: str) -> None:
        self._root = root
        self._temporary = temporary
        self._known: set[str] = set()
        self._is_clean = False

    def full(self, path: str) -> Path:
        """Where a file or folder is; ``""`` is the root."""
        return self._root / path

    def make(self, path: str) -> None:
        """Make a folder with all that it is in, durably. Cheap when this object has done so before."""
        if not path or path in self._known:
            return
        self.make(path.rpartition("/")[0])
        folder = self.full(path)
        try:
            folder.mkdir()
            adopt(folder, self._root.stat())
        except FileExistsError:
            if not folder.is_dir():
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from None
        flush_folder(folder.parent)  # even if it was there: whoever made it may not have come so far
        if len(self._known) >= KNOWN_FOLDERS:
            self._known.clear()
        self._known.add(path)

    def stage(self, body: bytes) -> Path:
        """Write a temporary file, flushed. Give it to :meth:`place`."""
        if not self._is_clean:
            self.make(self._temporary)
            _remove_leftovers(self.full(self._temporary))
            self._is_clean = True
        staged = self.full(self._temporary) / f"{os.getpid()}-{os.urandom(12).hex()}"
        try:
            with self._opened(staged) as file:
                adopt(file.fileno(), self._root.stat())
                remaining = memoryview(body)
                while remaining:
                    remaining = remaining[file.write(remaining) :]
                _flush(file.fileno())
        except BaseException:
            _drop(staged)
            raise
        return staged

    def _opened(self, staged: Path) -> FileIO:
        try:
            return FileIO(staged, "x")
        except FileNotFoundError:  # the folder was removed since it became known
            self._known.clear()
            self.make(self._temporary)
            return FileIO(staged, "x")

    def place(self, staged: Path, path: str) -> None:
        """Give a staged file its name, or remove it if that fails. Visible at once, for good after :meth:`flush`."""
        folder = path.rpartition("/")[0]
        try:
            self.make(folder)
            try:
                _insist(lambda: staged.replace(self.full(path)))
            except FileNotFoundError:  # the folder was removed since it became known
                self._known.clear()
                self.make(folder)
                staged.replace(self.full(path))
        except BaseException:
            _drop(staged)
            raise

    def flush(self, folder: str) -> None:
        """Flush a folder: what was placed in it, or removed from it, is so for good."""
        flush_folder(self.full(folder))

    def remove(self, path: str) -> None:
        """Remove a file, if it is there. For good after :meth:`flush`."""
        with suppress(FileNotFoundError, NotADirectoryError):
            _insist(lambda: self.full(path).unlink())


def make_durably(folder: Path) -> None:
    """Make a folder and all that it is in, if it is not there; what is new is on the disk on return."""
    if not folder.is_dir():
        make_durably(folder.parent)
        folder.mkdir(exist_ok=True)
        flush_folder(folder.parent)


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder; nothing on Windows, whose file systems do not need it and have no call for it."""
    if WINDOWS:
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)  # a FIFO is no folder, and would be waited for
    try:
        _flush(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_FLUSH:
            raise
    finally:
        os.close(descriptor)


def _flush(descriptor: int) -> None:
    if sys.platform == "darwin":
        fcntl(descriptor, F_FULLFSYNC)  # fsync leaves the data in the drive's cache there
    else:
        os.fsync(descriptor)


def _drop(staged: Path) -> None:
    with suppress(OSError):  # one that cannot be removed now is a leftover some day
        staged.unlink()


def _insist(act: Callable[[], T]) -> T:
    """Act; on Windows again and again, which refuses to rename or remove a file that another process has open."""
    for attempt in range(ATTEMPTS):
        try:
            return act()
        except PermissionError:
            if not WINDOWS:
                raise
            time.sleep(0.001 * 2**attempt)
    return act()


def _remove_leftovers(folder: Path) -> None:
    oldest = time.time() - LEFTOVER_SECONDS
    for leftover in folder.iterdir():
        with suppress(OSError):
            if leftover.stat().st_mtime < oldest:
                leftover.unlink()
