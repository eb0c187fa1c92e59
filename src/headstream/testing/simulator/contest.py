"""Contests: clients of one store that all append at once, in simulated time, each request with a delay of its own.

The other histories ask what may happen; this one asks who waits how long. The core is that which is shipped, as are the driver's estimates; only
requests and pauses take time here.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator
from contextlib import suppress
from itertools import count
from random import Random
from typing import Any, Final, TypeAlias

import msgspec

from headstream import limits
from headstream.backends.memory import MemoryBackend
from headstream.drivers.ids import stamped
from headstream.drivers.pace import Pace
from headstream.errors import OutcomeUnknown, Unavailable
from headstream.model import ANY, Event, Settings
from headstream.protocol.feed import Progress
from headstream.protocol.ops import Commit, Delete, Gen, Get, GetMany, GiveWay, List, Op, Pause, Stamp
from headstream.session import Session

_START: Final = 1_700_000_000.0

Wait: TypeAlias = Generator[float, None, Any]
"""Work that takes simulated time: it yields how many seconds."""


class Field(msgspec.Struct, frozen=True):
    """The conditions of a contest."""

    clients: int
    seconds: float = 60.0
    latency: float = 0.02
    """Seconds that a request takes, at the median."""
    spread: float = 0.25
    """Of a log-normal distribution: 0 for always the same."""
    think: float = 0.0
    """Seconds between two appends of a client."""
    work: float = 0.0005
    """Seconds that a client computes for each request."""
    publish: bool = False
    feed: bool = True
    seed: int = 1


class Result(msgspec.Struct, frozen=True):
    """What one client came to."""

    appends: int
    slowest: float
    """Seconds of its slowest append, the one that was under way at the end included."""
    requests: int


class _Client:
    """One process, which appends to the stream in a loop."""

    def __init__(self, contest: _Contest, number: int) -> None:
        self.contest = contest
        self.session = Session(contest.settings, cache_bytes=limits.HEAD_CACHE)
        self.pace = Pace(remote=True)
        self.number = number
        self.appends = self.requests = 0
        self.slowest = 0.0
        self.began = 0.0

    def live(self) -> Wait:
        """Append without end."""
        field = self.contest.field
        yield self.contest.rng.uniform(0, field.latency)
        while True:
            self.began = self.contest.now
            with suppress(Unavailable, OutcomeUnknown):
                yield from self._append()
                self.appends += 1
            self.slowest = max(self.slowest, self.contest.now - self.began)
            if field.think:
                yield field.think * self.contest.rng.uniform(0.5, 1.5)

    def _append(self) -> Wait:
        request = self.session.request("s", Event("E", {"client": self.number}), ANY, None)
        yield from self._run(self.session.append(request))
        if self.contest.field.publish:
            progress = Progress()
            while not progress.done:
                progress = yield from self._run(self.session.advance(progress))

    def _run(self, gen: Gen[Any]) -> Wait:
        try:
            op = next(gen)
            while True:
                op = gen.send((yield from self._execute(op)))
        except StopIteration as stop:
            return stop.value

    def _execute(self, op: Op[Any]) -> Wait:
        contest = self.contest
        if isinstance(op, Stamp):
            return stamped(int((_START + contest.now) * 1e9), lambda: contest.rng.getrandbits(80), op.after)
        if isinstance(op, Pause):
            yield contest.rng.uniform(0, self.pace.longest(op))
            return None
        if isinstance(op, GiveWay):
            yield self.pace.give_way(op)
            return None
        yield contest.field.work
        if not isinstance(op, Commit):
            self.requests += len(op.gets) if isinstance(op, GetMany) else 1
            half = contest.delay() / 2
            yield half
            answer = contest.apply(op)
            yield half
            return answer
        began = contest.now
        if op.prelude:
            self.requests += len(op.prelude)
            yield max([contest.delay() for _ in op.prelude])
        self.requests += 1
        half = contest.delay() / 2
        yield half
        answer = contest.apply(op)
        yield half
        self.pace.committed(contest.now - began, prelude=bool(op.prelude))
        return answer


class _Contest:
    def __init__(self, field: Field) -> None:
        self.field = field
        self.rng = Random(field.seed)  # noqa: S311 - a seed must decide
        self.settings = Settings(tail_bytes=16 * 1024, feed=field.feed)
        self.now = 0.0
        self._backend = MemoryBackend()

    def delay(self) -> float:
        """Of one request."""
        return self.field.latency * self.rng.lognormvariate(0, self.field.spread)

    def apply(self, op: Op[Any]) -> Any:
        """A request takes effect."""
        backend = self._backend
        match op:
            case Get():
                return backend.get(op)
            case GetMany():
                return backend.get_many(op.gets)
            case List():
                return backend.list(op.prefix, op.after, limits.LIST_PAGE)
            case Delete():
                return backend.delete(op.keys)
            case _:
                assert isinstance(op, Commit)
                return backend.commit(op.prelude, op.head)

    def run(self) -> list[Result]:
        clients = [_Client(self, number) for number in range(self.field.clients)]
        order = count()
        queue = [(0.0, next(order), client.live()) for client in clients]
        while queue[0][0] < self.field.seconds:
            self.now, _, work = heapq.heappop(queue)
            heapq.heappush(queue, (self.now + next(work), next(order), work))
        end = self.field.seconds
        return [Result(client.appends, max(client.slowest, end - client.began), client.requests) for client in clients]


def contest(field: Field) -> list[Result]:
    """Let the clients append until the time is over."""
    return _Contest(field).run()
