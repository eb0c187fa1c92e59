"""Where the checks work: several connections, a scratch prefix, and the bounds of requests and time.

Rules:

* Whatever is written is noted first, and removed at the end, also after an error or Ctrl-C; after the latter if the storage
  answers within a few seconds.
* No request begins after the time is over, or after somebody has stopped the examination.
* What happens on several connections at once happens here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from typing import Final, TypeAlias, TypeVar

from headstream import limits
from headstream.backends.base import Backend
from headstream.backends.workers import Workers, answer
from headstream.doctor.bounds import LEAST_ROUNDS, Bounds
from headstream.doctor.places import Place
from headstream.errors import HeadstreamError, UnsuitableBackend
from headstream.protocol.ops import (
    ABSENT,
    ALWAYS,
    FAULTS,
    About,
    Found,
    Get,
    GetAnswer,
    Matches,
    NotApplied,
    Page,
    Put,
    Stored,
    Unknown,
)

T = TypeVar("T")
Fault: TypeAlias = NotApplied | Unknown

DELETED_TOGETHER: Final = 250
"""Keys in one request to delete, about: what Azure takes."""
PREPARED_TOGETHER: Final = 100
"""Objects in one commit of those that a check needs before it begins."""
PATIENCE: Final = 300.0
"""Seconds that a racer waits for the others to begin."""
HURRY: Final = 3.0
"""Seconds that removing what was written may take after an interrupt: the storage may not answer. A command ends by itself in less than 5."""
SWEEPS: Final = 3
"""How often the end looks for what is left: a write whose answer was lost may arrive late."""


class OutOfTime(Exception):
    """The time is over, or somebody stopped the examination."""


class Meter:
    """Counts what all connections do, and says when they have to stop."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests = 0
        self.transferred = 0
        self.deadline = float("inf")
        """By the monotonic clock."""
        self.stopped = False

    def begin(self, requests: int, sent: int = 0) -> None:
        """Count requests that are about to be made; :class:`OutOfTime` if they must not be."""
        if self.stopped or time.monotonic() > self.deadline:
            raise OutOfTime
        with self._lock:
            self.requests += requests
            self.transferred += sent

    def receive(self, size: int) -> None:
        """Count bytes that came."""
        with self._lock:
            self.transferred += size


class Client:
    """One connection to the storage, in the words of the checks."""

    def __init__(self, backend: Backend, meter: Meter, written: set[str]) -> None:
        self.backend = backend
        self._meter = meter
        self._written = written

    def create(self, key: str, body: bytes, about: About | None = None) -> str | None:
        """Write if there is nothing; the etag, or ``None`` if refused."""
        return self._commit((), Put(key, body, ABSENT, about))

    def swap(self, key: str, body: bytes, etag: str) -> str | None:
        """Write if the object has this etag; the new one, or ``None`` if refused."""
        return self._commit((), Put(key, body, Matches(etag)))

    def fill(self, keys: Sequence[str]) -> None:
        """Write a small object under each key."""
        for start in range(0, len(keys), PREPARED_TOGETHER):
            *others, last = (Put(key, key.encode(), ALWAYS) for key in keys[start : start + PREPARED_TOGETHER])
            self._commit(others, last)

    def get(self, key: str, unless: str | None = None) -> GetAnswer:
        """One object, unless it has that etag."""
        self._meter.begin(1)
        answer = self.backend.get(Get(key, unless))
        if isinstance(answer, Found):
            self._meter.receive(len(answer.body))
        return answer

    def read(self, key: str) -> bytes | None:
        """The body of an object, ``None`` if it is missing."""
        answer = self.get(key)
        return answer.body if isinstance(answer, Found) else None

    def page(self, prefix: str, after: str = "", limit: int = limits.LIST_PAGE) -> Page:
        """One page of a list."""
        self._meter.begin(1)
        return self.backend.list(prefix, after, limit)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove what is there."""
        self._meter.begin(-(-len(keys) // DELETED_TOGETHER))
        self.backend.delete(keys)
        self._written.difference_update(keys)

    def _commit(self, prelude: Sequence[Put], head: Put) -> str | None:
        puts = [*prelude, head]
        self._meter.begin(len(puts), sum(len(put.body) for put in puts))
        self._written.update([put.key for put in puts])
        answer = self.backend.commit(prelude, head)
        if isinstance(answer, Stored):
            return answer.etag
        if head.when == ALWAYS:
            raise UnsuitableBackend("it refuses to write an object without any condition")
        return None


class Bench:
    """Several connections to one place, for one check after the other."""

    def __init__(self, place: Place, bounds: Bounds, prefix: str) -> None:
        self.place = place
        self.bounds = bounds
        self.prefix = prefix
        """What all keys of this examination begin with."""
        self.meter = Meter()
        self._written: set[str] = set()
        self._numbers = count(1)
        self._share_ends = float("inf")
        self._used = self._closed = False
        self._workers = Workers(self, "headstream-doctor", bounds.connections + 1)  # and one that removes what is left
        self._begun = 0
        self._ended: SimpleQueue[None] = SimpleQueue()
        with ExitStack() as opening:
            clients: list[Client] = []
            for _ in range(bounds.connections):
                backend = place.connect()
                opening.callback(backend.close)
                clients.append(Client(backend, self.meter, self._written))
            self.clients = tuple(clients)
            self._resources = opening.pop_all()

    # --- for the checks --------------------------------------------------------------------------------------

    def fresh(self, name: str) -> str:
        """A key, or a folder for keys, that was not used before."""
        self._used = True
        return f"{self.prefix}/{next(self._numbers):04d}-{name}"

    def rounds(self, wanted: int) -> Iterator[int]:
        """The numbers of so many rounds; of fewer when the check's share of the time is over."""
        for number in range(wanted):
            if number >= LEAST_ROUNDS and time.monotonic() > self._share_ends:
                return
            yield number

    def turn(self, number: int) -> tuple[Client, tuple[Client, ...]]:
        """The connection that writes in a round, and the others."""
        place = number % len(self.clients)
        return self.clients[place], self.clients[:place] + self.clients[place + 1 :]

    def race(self, calls: Sequence[Callable[[], T]]) -> list[T | Fault]:
        """What the calls return, begun at the same moment, on a thread each; or the fault that they meet."""
        start = threading.Barrier(len(calls))

        def begin(call: Callable[[], T]) -> T | Fault:
            try:
                start.wait(PATIENCE)
                return call()
            except FAULTS as fault:
                return fault
            finally:
                self._ended.put(None)

        try:
            self._begun += len(calls)
            waits = [self._workers.begin(partial(begin, call)) for call in calls]
            return [wait() for wait in waits]
        except BaseException:
            start.abort()  # who has not begun shall not wait for who never will
            raise

    def together(self, calls: Sequence[Callable[[], T]]) -> list[T]:
        """What the calls return, made at the same time; raises the first fault."""
        outcomes: list[T] = []
        for outcome in self.race(calls):
            if isinstance(outcome, FAULTS):
                raise outcome
            outcomes.append(outcome)
        return outcomes

    # --- for the examination ---------------------------------------------------------------------------------

    def begin(self, deadline: float, checks_left: int) -> None:
        """A check begins: its share of the time is what is left, divided by the checks that are."""
        now = time.monotonic()
        self.meter.deadline = deadline
        self._share_ends = now + max(0.0, deadline - now) / checks_left

    def tidy(self) -> None:
        """Remove what the checks have written. Raises what the storage does."""
        if self._written:
            self.clients[0].delete(sorted(self._written))

    @property
    def left(self) -> int:
        """Objects that were written and may still be there."""
        return len(self._written)

    def close(self, *, hurry: bool = False) -> None:
        """Remove what is left, close the connections. Idempotent.

        In a ``hurry``, as after an interrupt, it waits only a few seconds for the storage; :attr:`left` is what may be there.
        """
        if self._closed:
            return
        self._closed = self.meter.stopped = True
        with self._resources:
            if hurry:
                removed: SimpleQueue[tuple[None, BaseException | None]] = SimpleQueue()
                self._workers.start(partial(answer, self._remove, removed))
                with suppress(Empty):
                    removed.get(timeout=HURRY)
            else:
                self._remove()
            self._workers.close()

    def _remove(self) -> None:
        """When no call is running any more, remove what was written."""
        for _ in range(self._begun):
            self._ended.get()
        self.meter.stopped, self.meter.deadline = False, float("inf")
        for _ in range(SWEEPS if self._used else 0):
            with suppress(*FAULTS, HeadstreamError):
                self.tidy()
                self._written.update(self.clients[-1].page(f"{self.prefix}/").keys)
            if not self._written:
                break
