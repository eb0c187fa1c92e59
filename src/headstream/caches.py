"""What a client remembers: heads, and states of deciders, within one number of bytes. Safe to use from several threads, and after a fork."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

import msgspec

from headstream.backends import forks
from headstream.protocol.head import Known

V = TypeVar("V")


class Cache(Generic[V]):
    """Values by key, as many as fit: those that were not asked for the longest give way. What is larger than all is not kept.

    An entry and its part of the sum come and go together: nothing is called in between, so no interrupt makes the sum wrong.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._start()
        forks.watch(self)

    def _start(self) -> None:
        self._lock = Lock()
        self._size = 0
        self._entries: OrderedDict[Hashable, tuple[V, int]] = OrderedDict()

    def after_fork(self) -> None:
        """Another thread of the parent may have held the lock, in the middle of a change."""
        self._start()

    def get(self, key: Hashable) -> V | None:
        """What is remembered."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def forget(self, key: Hashable) -> None:
        """Remember it no more."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                del self._entries[key]
                self._size -= entry[1]

    def put(self, key: Hashable, value: V, size: int, unless: Callable[[V], bool]) -> None:
        """Remember a value of ``size`` bytes, unless that is said of the one that is there."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                if unless(entry[0]):
                    return
                del self._entries[key]
                self._size -= entry[1]
            if size > self._capacity:  # all others would give way, and in the end it too
                return
            self._entries[key] = (value, size)
            self._size += size
            while self._size > self._capacity:
                oldest = next(iter(self._entries))
                size = self._entries[oldest][1]
                del self._entries[oldest]
                self._size -= size


class _Seen(msgspec.Struct, frozen=True):
    """A head, and when it was the newest for certain, by the clock that never goes back."""

    known: Known
    at: float


class HeadCache:
    """The heads that a client saw last, by stream."""

    def __init__(self, cache: Cache[_Seen]) -> None:
        self._cache = cache
        #: How often a head was remembered when it was asked for, and how often not.
        self.hits = self.misses = 0

    def get(self, stream: str) -> Known | None:
        """The head of ``stream`` as it was seen last, if it is remembered."""
        seen = self._cache.get(stream)
        if seen is None:
            self.misses += 1
            return None
        self.hits += 1
        return seen.known

    def recent(self, stream: str, max_age: float) -> Known | None:
        """The head of ``stream``, if it was seen in the last ``max_age`` seconds."""
        seen = self._cache.get(stream) if max_age > 0 else None
        if seen is None or time.monotonic() - seen.at > max_age:
            return None  # no miss: whoever asks the storage now looks for it here first
        self.hits += 1
        return seen.known

    def saw(self, known: Known, max_age: float) -> bool:
        """Whether this head was seen to be the newest less than ``max_age`` seconds ago."""
        seen = self._cache.get(known.state.stream)
        return seen is not None and seen.known is known and time.monotonic() - seen.at < max_age

    def forget(self, stream: str) -> None:
        """Ask for the head next time, whatever it is: one that went back, by a restore, takes no other's place."""
        self._cache.forget(stream)

    def put(self, known: Known) -> None:
        """Remember a head, unless a newer one of the stream is."""
        state = known.state
        age = state.age
        self._cache.put(
            state.fields.stream, _Seen(known, time.monotonic()), state.size, lambda seen: seen.known.state.age > age
        )


class KeptState(msgspec.Struct, frozen=True):
    """A state of a decider, encoded: so nobody who was given it can change it."""

    at: int
    """The version of the stream whose state it is."""
    state: bytes
    size: int
    """Bytes of data of the events since the last state that the stream keeps."""
    changeset: bytes | None = None
    """The id of the changeset at that version, by which a stream that was restored is told; ``None`` if the head itself names the state."""


class StateCache:
    """The newest states of deciders that keep some, by stream, name and version."""

    def __init__(self, cache: Cache[KeptState]) -> None:
        self._cache = cache
        self.hits = self.misses = 0

    def get(self, stream: str, name: str, version: int) -> KeptState | None:
        """The newest state, if it is remembered."""
        found = self._cache.get((stream, name, version))
        if found is None:
            self.misses += 1
        else:
            self.hits += 1
        return found

    def holds(self, stream: str, name: str, version: int, at: int) -> bool:
        """Whether a state of this version of the stream, or a later one, is remembered."""
        found = self._cache.get((stream, name, version))
        return found is not None and found.at >= at

    def forget(self, stream: str, name: str, version: int) -> None:
        """Remember it no more."""
        self._cache.forget((stream, name, version))

    def put(self, stream: str, name: str, version: int, kept: KeptState) -> None:
        """Remember a state, unless a newer one is."""
        size = 250 + 2 * len(stream) + len(kept.state)
        self._cache.put((stream, name, version), kept, size, lambda seen: seen.at >= kept.at)
