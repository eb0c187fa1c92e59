"""Objects in a dictionary: for tests, and the reference that other backends are read against.

The list of keys is derived from the dictionary. It always has every key of it: one is added before its object, and removed after
it. So an interrupt between the two leaves the list longer than the dictionary; then it is made again when it is next read.
"""

from __future__ import annotations

import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from itertools import count
from typing import Final

from headstream import limits
from headstream.backends.base import metadata_of
from headstream.protocol.ops import (
    MISSING,
    NOT_MODIFIED,
    REFUSED,
    Absent,
    Found,
    Get,
    GetAnswer,
    Matches,
    Page,
    Put,
    Refused,
    Stored,
)

_ETAGS: Final = count(1)
"""Of all memory in this process: a head of one store must not look like one of another."""


class MemoryBackend:
    """A :class:`~headstream.backends.base.Backend` in this process's memory. Gone when it is."""

    keeps_metadata = True
    default_tail = 8 * limits.KIB
    default_poll = (0.001, 0.05)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, Found] = {}
        self._keys: list[str] = []
        """In their order."""

    def __repr__(self) -> str:
        return f"MemoryBackend({len(self._objects)} objects)"

    def get(self, get: Get) -> GetAnswer:
        """One object, or that it is missing or not modified."""
        found = self._objects.get(get.key)
        if found is None:
            return MISSING
        return NOT_MODIFIED if found.etag == get.if_none_match else found

    def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        """Several objects; answers in the order of ``gets``."""
        return tuple(self.get(get) for get in gets)

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        """All of ``prelude`` and ``head``, or nothing."""
        with self._lock:
            if not self._holds(head):
                return REFUSED
            for put in prelude:
                self._store(put)
            return Stored(self._store(head))

    def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects that are there."""
        with self._lock:
            for key in keys:
                if self._objects.pop(key, None) is not None:
                    del self._keys[bisect_left(self._keys, key)]

    def list(self, prefix: str, after: str, limit: int) -> Page:
        """At most ``limit`` keys that start with ``prefix`` and sort after ``after``."""
        with self._lock:
            if len(self._keys) != len(self._objects):
                self._keys = sorted(self._objects)
            start = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
            some = self._keys[start : start + limit + 1]
        keys = [key for key in some if key.startswith(prefix)]
        return Page(tuple(keys[:limit]), more=len(keys) > limit)

    def close(self) -> None:
        """Nothing to let go of: the objects stay as long as this object does."""

    def _holds(self, put: Put) -> bool:
        found = self._objects.get(put.key)
        if isinstance(put.when, Matches):
            return found is not None and found.etag == put.when.etag
        return found is None or not isinstance(put.when, Absent)

    def _store(self, put: Put) -> str:
        etag = str(next(_ETAGS))
        if put.key not in self._objects:
            insort(self._keys, put.key)
        self._objects[put.key] = Found(put.body, etag, metadata_of(put.about) if put.about else None)
        return etag
