"""Objects as plain files in a folder, which any tool can copy, sync and back up.

How each promise of :mod:`headstream.backends.base` is kept, and what of the file system it leans on:

* An object is a file, its body verbatim (:mod:`.filenames` says which). It is replaced by renaming another file over it, which
  is atomic, so reads take no lock; it and its folder are flushed before a write is answered (:mod:`.durable`).
* A head's condition is checked, and the head replaced, under an exclusive file lock; so are deletes. Keys share 64 locks:
  writers of different streams seldom wait for each other, and a lock file is never removed.
* An etag is a hash of the content: a file that a tool has copied keeps it. A head's content never repeats.
* A list reads the folders that can hold matching keys, whole. A file that stays is in every such reading.

What headstream needs besides is in the folder ``.headstream``: locks, and files not yet renamed. It need not be copied, and must not
be removed while a process uses the store.
"""

from __future__ import annotations

import errno
import os
import stat
import time
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from heapq import heappop, heappush
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import Final, TypeAlias

from headstream import limits
from headstream.backends.durable import DurableFolder, make_durably
from headstream.backends.filelock import FileLock
from headstream.backends.filenames import beginning_of, key_of, path_of
from headstream.backends.osfaults import check_plain, explain_os, open_file
from headstream.errors import InvalidInput, StoreNotFound
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
)

TEMPORARY: Final = ".headstream/tmp"
LOCKS: Final = ".headstream/locks"
STRIPES: Final = 64

Paths: TypeAlias = list[str]

_HARMLESS: Final = {
    errno.EACCES,
    errno.EDQUOT,
    errno.ENOENT,
    errno.ENOSPC,
    errno.EPERM,
    errno.EROFS,
    errno.EISDIR,
    errno.ENOTDIR,
    errno.EXDEV,
    errno.ENAMETOOLONG,
    errno.ELOOP,
}
"""Errors by which the system says that it did not rename anything. After others, nobody knows."""


class FilesBackend:
    """A :class:`~headstream.backends.base.Backend` in a folder. Safe to use from threads and processes.

    Args:
        path: The folder, on a disk of this machine: file locks of network file systems are not to be relied on.
        create: Make the folder, and those that it is in, if there is none.
        timeout: Seconds of one call of the store. A quarter of it a write waits at most for other processes.

    Raises:
        StoreNotFound: There is no such folder, and ``create=False``.
        InvalidInput: ``path`` is something else than a folder.
        RequestRejected: The path is too long, or leads through a loop of links or something that is no folder.
        AccessDenied: The folder may not be made.
    """

    keeps_metadata = False
    default_tail = 16 * limits.KIB
    default_poll = (0.01, 0.25)

    def __init__(self, path: str | Path, *, create: bool = True, timeout: float = limits.LOCAL_TIMEOUT) -> None:
        self._patience = limits.REQUEST_PART * timeout
        self._root = Path(path).absolute()
        self._name = str(self._root)
        self._closed = False
        self._identity: tuple[int, int] | None = None
        self._disk = DurableFolder(self._root, TEMPORARY)
        with self._using():
            if self._root.exists() and not self._root.is_dir():
                raise InvalidInput(f"{path} is not a folder: name one, or use sqlite:// for a database file")
            if create:
                make_durably(self._root)
            self._check_root()
        self._locks = [FileLock(self._root / LOCKS / f"{stripe:02x}", like=self._root) for stripe in range(STRIPES)]

    def __repr__(self) -> str:
        return f"FilesBackend({str(self._root)!r})"

    # --- reads -----------------------------------------------------------------------------------------------

    def get(self, get: Get) -> GetAnswer:
        """One object, or that it is missing or not modified."""
        with self._using():
            body = self._read(path_of(get.key))
        if body is None:
            return MISSING
        etag = _etag(body)
        return NOT_MODIFIED if etag == get.if_none_match else Found(body, etag)

    def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        """Several objects; answers in the order of ``gets``."""
        return tuple([self.get(get) for get in gets])

    def list(self, prefix: str, after: str, limit: int) -> Page:
        """At most ``limit`` keys that start with ``prefix`` and sort after ``after``."""
        with self._using():
            keys = [*islice(self._walk(prefix, after), limit + 1)]
        return Page(tuple(keys[:limit]), more=len(keys) > limit)

    def _read(self, path: str) -> bytes | None:
        try:
            with FileIO(self._disk.full(path), opener=open_file) as file:
                return file.readall()
        except FileNotFoundError:
            self._check_root()
            return None

    def _walk(self, prefix: str, after: str) -> Iterator[str]:
        """The keys in order. The heap holds files by their keys and folders by what all keys in them start with, so
        whatever comes out of it next is no later than all that is still in it or in its folders.
        """
        self._check_root()
        folder = prefix.rpartition("/")[0]
        try:
            start = (f"{folder}/", path_of(folder), True) if folder else ("", "", True)
        except InvalidInput:  # no key has this prefix
            return
        heap = [start]
        while heap:
            beginning, path, is_folder = heappop(heap)
            if is_folder:
                for child in self._children(beginning, path):
                    if _may_match(child, prefix, after):
                        heappush(heap, child)
            elif key_of(path) == beginning:
                yield beginning

    def _children(self, beginning: str, path: str) -> Iterator[tuple[str, str, bool]]:
        try:
            entries = os.scandir(self._disk.full(path))
        except (FileNotFoundError, NotADirectoryError):
            return
        with entries:
            for entry in entries:
                text = beginning_of(entry.name)
                if text is None:
                    continue
                is_folder = _is_folder(entry)
                text = beginning + (text if is_folder else text.removesuffix("/"))
                yield text, f"{path}/{entry.name}" if path else entry.name, is_folder

    # --- writes ----------------------------------------------------------------------------------------------

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        """All of ``prelude``, then ``head`` under its condition. A commit that is refused leaves nothing."""
        until = time.monotonic() + self._patience
        path = path_of(head.key)
        before = [(put, path_of(put.key)) for put in prelude]
        with self._using():
            lock = self._lock_of(path)
            with lock.threads, lock.file() as file:
                lock.take(file, until)
                if not self._holds(head, path):
                    return REFUSED
                self._put_prelude(before)
                self._put_head(head.body, path, file)
        return Stored(_etag(head.body))

    def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects that are there. Folders stay: another process may be about to use them."""
        until = time.monotonic() + self._patience
        paths = tuple(map(path_of, keys))
        by_lock: defaultdict[FileLock, Paths] = defaultdict(list)
        with self._using():
            for path in paths:
                by_lock[self._lock_of(path)].append(path)
            for lock, locked in by_lock.items():
                with lock.threads, lock.file() as file:
                    lock.take(file, until)
                    for path in locked:
                        self._disk.remove(path)
            for folder in _folders(paths):
                with suppress(FileNotFoundError, NotADirectoryError):
                    self._disk.flush(folder)

    def _put_prelude(self, puts: Sequence[tuple[Put, str]]) -> None:
        for put, path in puts:
            if not self._holds(put, path):
                raise NotApplied(f"the object {put.key!r} of the prelude is there already")
            self._disk.place(self._disk.stage(put.body), path)
        for folder in _folders(path for _, path in puts):
            self._disk.flush(folder)

    def _put_head(self, body: bytes, path: str, lock: FileIO) -> None:
        staged = self._disk.stage(body)
        if lock.closed:  # by FileLock, in a child; the staged file is the parent's
            raise InvalidInput("this process was forked in the middle of a write, which is left to the parent")
        try:
            self._disk.place(staged, path)
        except OSError as error:
            raise explain_os(error, self._root, committing=error.errno not in _HARMLESS) from error
        try:
            for folder in _folders([path]):
                self._disk.flush(folder)
        except OSError as error:
            raise explain_os(error, self._root, committing=True) from error

    def _holds(self, put: Put, path: str) -> bool:
        if isinstance(put.when, Matches):
            body = self._read(path)
            return body is not None and _etag(body) == put.when.etag
        if not isinstance(put.when, Absent):
            return True
        full = self._disk.full(path)
        if not os.path.lexists(full):
            return True
        if not full.exists():
            raise OSError(errno.ELOOP, "a link to nothing", str(full))
        check_plain(full.stat(), str(full))
        return False

    def _lock_of(self, path: str) -> FileLock:
        self._disk.make(LOCKS)
        return self._locks[zlib.crc32(path.encode()) % STRIPES]

    # --- the rest --------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the locks, once the writes in progress are done. Idempotent."""
        self._closed = True
        for lock in self._locks:
            lock.close()

    @contextmanager
    def _using(self) -> Iterator[None]:
        if self._closed:
            raise InvalidInput("the store is closed: connect again")
        try:
            if self._identity is not None:
                self._check_root()
            yield
        except OSError as error:
            raise explain_os(error, self._root) from error

    def _check_root(self) -> None:
        """Raise unless the folder is there, and is the one that was opened."""
        try:
            about = os.stat(self._name)  # noqa: PTH116 - faster, and done for each call
        except (FileNotFoundError, NotADirectoryError):
            about = None
        if about is None or not stat.S_ISDIR(about.st_mode):
            if self._identity is not None:
                raise StoreNotFound(f"{self._root} was deleted while it was open: restore it, and connect again")
            raise StoreNotFound(f"{self._root} does not exist: create it with `headstream init`, or correct the path")
        if self._identity is None:
            self._identity = about.st_ino, about.st_dev
        elif self._identity != (about.st_ino, about.st_dev):
            raise StoreNotFound(f"{self._root} was replaced while it was open: connect again")


def _etag(body: bytes) -> str:
    return blake2b(body, digest_size=16).hexdigest()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links, which is told to who reads it
        return False


def _folders(paths: Iterable[str]) -> set[str]:
    return {path.rpartition("/")[0] for path in paths}


def _may_match(item: tuple[str, str, bool], prefix: str, after: str) -> bool:
    """Whether a file's key, or a key in a folder, can start with ``prefix`` and sort after ``after``."""
    text, _, is_folder = item
    if is_folder:
        return (text.startswith(prefix) or prefix.startswith(text)) and (text > after or after.startswith(text))
    return text.startswith(prefix) and text > after
