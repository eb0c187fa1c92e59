"""What a client has asked of its storage, in numbers."""

from __future__ import annotations

from collections.abc import Callable
from operator import add, sub

import msgspec


class Stats(msgspec.Struct, frozen=True):
    """Counts of what one client has done since it was connected; see :meth:`headstream.EventStore.stats`.

    The difference of two, ``later - earlier``, is what happened in between; the sum is that of two clients.

    Requests are those that headstream makes. What a storage's own client repeats, or splits into several requests, is not seen here. A request that
    failed is counted as well. Bytes are those of bodies.
    """

    gets: int = 0
    """Objects that were asked for, alone or together."""
    together: int = 0
    """Of these, those that were asked for several at once: their round trips overlap."""
    not_modified: int = 0
    """Of the gets, those that were answered without a body, since the client had it already."""
    missing: int = 0
    """Of the gets, those of objects that do not exist."""
    commits: int = 0
    """Heads, and other objects that are written under a condition, that were written."""
    refused: int = 0
    """Writes whose condition did not hold: somebody else was faster."""
    preludes: int = 0
    """Objects that were sent ahead of a head: intents, segments, index pages."""
    lists: int = 0
    """Pages of keys that were asked for."""
    deletes: int = 0
    """Objects whose removal was asked for."""
    bytes_read: int = 0
    bytes_written: int = 0
    """Those of refused writes included."""
    faults: int = 0
    """Requests that failed: not applied, denied, or without an answer."""
    unknown: int = 0
    """Of these, those that may have taken effect all the same."""
    conflicts: int = 0
    """Appends that ended with :class:`~headstream.WrongExpectedVersion`."""
    retries: int = 0
    """Pauses before something was looked at or tried again, after a lost race or a fault."""
    head_hits: int = 0
    """Heads that were remembered when they were needed: that saves the get before an append, and the body of a read."""
    head_misses: int = 0
    state_hits: int = 0
    """States of deciders that were remembered when they were needed: only the events since then are folded."""
    state_misses: int = 0
    object_hits: int = 0
    """Gets of immutable objects that the cache of objects saved; see ``object_cache_bytes``."""
    object_misses: int = 0
    """Those that it could not save, and that are among ``gets``."""

    def __add__(self, other: Stats) -> Stats:
        return self._with(other, add)

    def __sub__(self, other: Stats) -> Stats:
        return self._with(other, sub)

    def _with(self, other: Stats, operation: Callable[[int, int], int]) -> Stats:
        if not isinstance(other, Stats):
            return NotImplemented
        return Stats(*map(operation, msgspec.structs.astuple(self), msgspec.structs.astuple(other)))
