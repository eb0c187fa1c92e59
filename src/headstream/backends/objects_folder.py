"""Copies of immutable objects in a folder, for clients that come and go, and for several of one machine.

* A copy is a file. Its name is a hash of the store's id and the object's key, so no key can name a file elsewhere, or one that
  a file system does not like. Only files with such names are ever read or removed.
* It is written under a temporary name, then renamed: nobody meets half a file. It is not flushed: what a crash leaves of it does not have its checksum.
* It begins with a checksum of all that follows: the store's id, the key, and the object. Where that does not hold, or it is another's, the
  file is removed and the object got again. So damage to the folder costs a request, and is never taken for damage to the store.
* The folder may have ``capacity`` bytes; each client looks at it when it has added a tenth of that, and removes what was used longest ago. So with
  several clients it may grow by as many tenths more.
* The folder and its files can be read by their owner only: events are in them.
* A file system that fails costs requests, no reads: it is said once in the log.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex
from threading import Lock
from typing import Final
from uuid import UUID

import msgspec

from headstream.backends import forks
from headstream.errors import InvalidInput
from headstream.protocol.ops import Found

log: Final = logging.getLogger("headstream.cache")

SLICE: Final = 10
"""A tenth of the capacity is added between two looks at the folder, and free after one that had to remove something."""
LEFTOVER_SECONDS: Final = 3600.0
"""Temporary files older than this are those of a process that died."""
_DIGEST: Final = 16
_NAME: Final = re.compile(r"[0-9a-f]{40}\.(?:object|[a-z0-9_]{8}\.tmp)")


class _Copy(msgspec.Struct, frozen=True, array_like=True):
    """What a file holds behind its checksum."""

    store: bytes
    key: str
    found: Found


_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(_Copy).decode


class FolderObjects:
    """Copies in a folder, ``capacity`` bytes at most, about. Safe to use from several processes.

    The folder is made if it is not there. Raises :class:`InvalidInput` if it cannot be made, or not be written.
    """

    blocks = True

    def __init__(self, folder: str | Path, capacity: int, store: UUID) -> None:
        self._folder = Path(folder).absolute()
        self._capacity = capacity
        self._store = store.bytes
        self._lock = Lock()
        self._added = 0
        self._complained = False
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._stage("0" * 40, b"").unlink()
            self._prune()
        except OSError as error:
            raise InvalidInput(
                f"object_cache must name a folder that this process can write to: {error.strerror}"
            ) from None
        forks.watch(self)

    def after_fork(self) -> None:
        """Another thread of the parent may have held the lock."""
        self._lock = Lock()

    def get(self, key: str) -> Found | None:
        """A copy, if there is one and it is intact."""
        path = self._path(key)
        try:
            record = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._complain(error)
            return None
        copy = _opened(record)
        if copy is None or (copy.store, copy.key) != (self._store, key):
            log.info("a damaged copy of %s was removed from the cache", key)
            self.drop(key)
            return None
        with suppress(OSError):  # it is used now; whoever makes room goes by that
            os.utime(path)
        return copy.found

    def put(self, key: str, found: Found) -> None:
        """Keep a copy; none of an object that would take all the room and more."""
        record = _encode(_Copy(self._store, key, found))
        if len(record) + _DIGEST > self._capacity:
            return
        path = self._path(key)
        try:
            staged = self._stage(path.stem, _checksum(record) + record)
            try:
                staged.replace(path)
            except BaseException:
                staged.unlink(missing_ok=True)
                raise
            self._make_room(len(record))
        except OSError as error:
            self._complain(error)

    def drop(self, key: str) -> None:
        """Keep no copy of this object."""
        self._remove(self._path(key))

    def clear(self) -> None:
        """Keep nothing of what there is, of whatever store."""
        for entry in self._files():
            self._remove(Path(entry.path))

    # --- the folder ------------------------------------------------------------------------------------------------

    def _path(self, key: str) -> Path:
        name = blake2b(self._store + key.encode(), digest_size=20).hexdigest()
        return self._folder / f"{name}.object"

    def _stage(self, stem: str, content: bytes) -> Path:
        """A temporary file, which its owner alone can read."""
        path = self._folder / f"{stem}.{token_hex(4)}.tmp"
        try:
            with open(path, "xb", opener=_for_owner) as file:
                file.write(content)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def _make_room(self, added: int) -> None:
        """Look at the folder if enough was added to it since that was done last."""
        with self._lock:
            self._added += added
            if self._added * SLICE < self._capacity:
                return
            self._added = 0
        self._prune()

    def _prune(self) -> None:
        """Remove what is left over, and what was used longest ago if there is too much."""
        files: list[tuple[float, int, str]] = []
        oldest = time.time() - LEFTOVER_SECONDS
        for entry in self._files():
            with suppress(FileNotFoundError):  # somebody else makes room too
                about = entry.stat(follow_symlinks=False)
                if not entry.name.endswith(".tmp"):
                    files.append((about.st_mtime, about.st_size, entry.path))
                elif about.st_mtime < oldest:
                    self._remove(Path(entry.path))
        size = sum([size for _, size, _ in files])
        if size <= self._capacity:
            return
        files.sort(reverse=True)
        while files and size > self._capacity - self._capacity // SLICE:
            _, removed, path = files.pop()
            self._remove(Path(path))
            size -= removed

    def _files(self) -> Iterator[os.DirEntry[str]]:
        """The files in the folder that are ours."""
        with suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                if _NAME.fullmatch(entry.name):
                    yield entry

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        """Say once that the folder does not do."""
        if not self._complained:
            self._complained = True
            log.warning("the object cache does not work, and is done without: %s", error.strerror)


def _for_owner(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def _checksum(record: bytes) -> bytes:
    return blake2b(record, digest_size=_DIGEST).digest()


def _opened(content: bytes) -> _Copy | None:
    """What a file holds, if it is as it was written."""
    record = content[_DIGEST:]
    if _checksum(record) != content[:_DIGEST]:
        return None
    try:
        return _decode(record)
    except (msgspec.DecodeError, UnicodeDecodeError):  # that of another version
        return None
