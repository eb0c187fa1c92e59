"""Copies of immutable objects, in memory: what a client has got once it need not get again.

Why that is safe: segments, index pages and snapshots have fresh ids in their keys and are written once, so a copy is right for ever. One that was deleted
meanwhile may still be served: nothing refers to it any more but readers that began before, and they get what they would have got then. What changes,
or says by its absence that it was settled (heads, ``store.json``, intents, checkpoints), is never kept.
"""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock
from typing import Final, Protocol

from headstream.backends import forks
from headstream.protocol import keys
from headstream.protocol.ops import Found

IMMUTABLE: Final = (keys.SEGMENTS, keys.INDEX, keys.SNAPSHOTS)
"""What the keys of write-once objects start with."""
OVERHEAD: Final = 512
"""Bytes that an object takes besides its body, about."""


class Objects(Protocol):
    """Where copies are kept. Safe to use from several threads."""

    @property
    def blocks(self) -> bool:
        """Whether its methods take so long that an event loop should not wait for them."""

    def get(self, key: str) -> Found | None:
        """A copy, just as it was got, if there is one."""

    def put(self, key: str, found: Found) -> None:
        """Keep a copy, and let go of those that were used longest ago when there is no room."""

    def drop(self, key: str) -> None:
        """Keep no copy of this object, for one that was overwritten or removed by this client."""

    def clear(self) -> None:
        """Keep nothing of what there is."""


class MemoryObjects:
    """Copies in this process's memory, ``capacity`` bytes at most; 0 for none."""

    blocks = False

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._size = 0
        self._lock = Lock()
        self._objects: OrderedDict[str, Found] = OrderedDict()
        forks.watch(self)

    def after_fork(self) -> None:
        """Another thread of the parent may have held the lock, in the middle of a change."""
        self._lock = Lock()
        self.clear()

    def get(self, key: str) -> Found | None:
        """A copy, if there is one."""
        with self._lock:
            found = self._objects.get(key)
            if found is not None:
                self._objects.move_to_end(key)
            return found

    def put(self, key: str, found: Found) -> None:
        """Keep a copy; none of an object that would take all the room and more."""
        size = _size(found)
        if size > self._capacity:
            return
        with self._lock:
            self._drop(key)
            self._objects[key] = found
            self._size += size
            while self._size > self._capacity:
                self._drop(next(iter(self._objects)))

    def drop(self, key: str) -> None:
        """Keep no copy of this object."""
        with self._lock:
            self._drop(key)

    def _drop(self, key: str) -> None:
        found = self._objects.get(key)
        if found is not None:
            size = self._size - _size(found)
            del self._objects[key]
            self._size = size  # nothing is called in between, so no interrupt makes the sum wrong

    def clear(self) -> None:
        """Keep nothing of what there is."""
        nothing: OrderedDict[str, Found] = OrderedDict()
        with self._lock:
            self._objects = nothing
            self._size = 0


def _size(found: Found) -> int:
    return len(found.body) + OVERHEAD
