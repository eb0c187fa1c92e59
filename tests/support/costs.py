"""Counts the requests of each operation in the tables of ``docs/costs.md``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import ceil
from typing import Final

from headstream import NO_STREAM, Event, EventStore, Head, WrongExpectedVersion, limits
from headstream.backends.memory import MemoryBackend
from headstream.drivers import sync
from headstream.protocol.ops import Get, GetAnswer, Page, Put, Refused, Stored
from headstream.protocol.store import open_store

EVENT: Final = Event("Measured", {"number": 12345, "text": "x" * 155})
"""About 200 bytes as stored."""


class Bucket(MemoryBackend):
    """Counts requests, and round trips: what a cloud's backend has in flight together is one."""

    default_tail = 64 * limits.KIB
    default_poll = (0.001, 0.05)

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def get(self, get: Get) -> GetAnswer:
        self._count("GET")
        return super().get(get)

    def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        self._count("GET", len(gets), round_trips=ceil(len(gets) / limits.READ_WINDOW_OBJECTS))
        return tuple(super(Bucket, self).get(get) for get in gets)

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        self._count("PUT", len(prelude) + 1, round_trips=2 if prelude else 1)
        return super().commit(prelude, head)

    def delete(self, keys: Sequence[str]) -> None:
        self._count("DELETE")
        super().delete(keys)

    def list(self, prefix: str, after: str, limit: int) -> Page:
        self._count("LIST")
        return super().list(prefix, after, limit)

    def client(self) -> EventStore:
        """A client that has seen nothing but ``store.json``."""
        description = sync.run(open_store(self.default_tail, {}, create=False), self)
        return EventStore(self, description, url="counted://", cache_bytes=limits.HEAD_CACHE)

    def cost(self, operation: Callable[[], object]) -> tuple[int, int, int, int]:
        """PUT, GET, LIST and round trips of an operation."""
        self.counts.clear()
        operation()
        counts = self.counts
        return counts["PUT"], counts["GET"], counts["LIST"], counts["round trips"]

    def _count(self, kind: str, requests: int = 1, *, round_trips: int = 1) -> None:
        self.counts[kind] += requests
        self.counts["round trips"] += round_trips


def bucket(**settings: int) -> Bucket:
    """A new store, whose feed nobody advances unasked."""
    made = Bucket()
    sync.run(open_store(made.default_tail, {"advance_every": 0} | settings, create=True), made)
    return made


def costs() -> dict[str, tuple[int, int, int, int]]:
    """PUT, GET, LIST and round trips, by the row of the table."""
    return _appends() | _appends_without_feed() | _reads() | _stores()


def _appends() -> dict[str, tuple[int, int, int, int]]:
    made = bucket()
    store = made.client()
    new = made.cost(lambda: store.append("new", EVENT, expected=NO_STREAM))
    known = made.cost(lambda: store.append("new", EVENT))
    assert new == known
    stale = fill(store, "long", 1_000)
    store.append("long", EVENT)
    unseen, other = made.client(), made.client()
    return {
        "append: to a new stream (`NO_STREAM`), or after a head that the caller holds or the client remembers": new,
        "append to a stream that the client has not seen": made.cost(lambda: unseen.append("new", EVENT)),
        "append that seals the tail": sealing_cost(made, store),
        "append that also fills an index page": paging_cost(),
        "append that is refused: `WrongExpectedVersion`": made.cost(lambda: refused(other, stale)),
        "append with `ANY` and a key, to a long stream": made.cost(lambda: store.append("long", EVENT, key="k-1")),
    }


def _appends_without_feed() -> dict[str, tuple[int, int, int, int]]:
    made = bucket(feed=False)
    store = made.client()
    return {
        "append without a feed": made.cost(lambda: store.append("new", EVENT, expected=NO_STREAM)),
        "append without a feed that seals the tail": sealing_cost(made, store),
    }


def _reads() -> dict[str, tuple[int, int, int, int]]:
    made = bucket()
    writer = made.client()
    writer.append("short", [EVENT] * 10)
    fill(writer, "long", 100_000)
    for number in range(998):
        writer.append(f"stream-{number}", EVENT, expected=NO_STREAM)

    def reading(stream: str, **part: int | bool) -> tuple[int, int, int, int]:
        store = made.client()
        return made.cost(lambda: list(store.read(stream, **part)))  # type: ignore[arg-type]

    store = made.client()
    return {
        "read a stream that fits in its tail": reading("short"),
        "read the newest 10 events of 100,000": reading("long", backwards=True, limit=10),
        "read 10 events from the middle of 100,000": reading("long", after=5_000, limit=10),
        "read all 100,000 events": reading("long"),
        "`head`": made.cost(lambda: store.head("long")),
        "1,000 names of `streams`": made.cost(lambda: list(store.streams())),
    }


def _stores() -> dict[str, tuple[int, int, int, int]]:
    made = Bucket()
    create = made.cost(lambda: sync.run(open_store(made.default_tail, {}, create=True), made))
    return {"create a store": create, "`connect` to a store": made.cost(made.client)}


def feed_costs() -> dict[str, tuple[int, int, int, int, int]]:
    """PUT, GET, LIST, DELETE and round trips of what has to do with the feed, by the row of its table."""
    made = bucket()
    writer, store = made.client(), made.client()
    for _ in range(10):
        announce(writer, 1_000, 1_000)
        writer.advance()
    reading = feed_cost(made, lambda: list(store.feed(advance=False)))
    store.append("order", EVENT)
    store.advance()
    subscription = store.subscribe(checkpoint="worker", follow=False)
    begin = feed_cost(made, lambda: sync.run(subscription._follower.begin(), made))
    return {
        "look for news, find none: a poll, or `advance`": feed_cost(made, store.advance),
        "the same with `advance=False`": feed_cost(made, store.feed(advance=False, after=10_001).position),
        "advance 1 append": advance_cost(made, 1, 1),
        "advance 256 appends to as many streams": advance_cost(made, 256, 256),
        "advance 1,000 appends to 100 streams": advance_cost(made, 1_000, 100),
        "advance 1,000 appends to as many streams": advance_cost(made, 1_000, 1_000),
        "append with `publish=True`": feed_cost(made, lambda: store.append("order", EVENT, publish=True)),
        "read 10,000 events of the feed": reading,
        "save a checkpoint": feed_cost(made, subscription.save),
        "begin with a checkpoint": begin,
    }


def advance_cost(made: Bucket, appends: int, streams: int) -> tuple[int, int, int, int, int]:
    """Of an advance that finds so many appends, and seals the feed's tail only if each such advance does."""
    costs = []
    for _ in range(2):
        announce(made.client(), appends, streams)
        costs.append(feed_cost(made, made.client().advance))
    return min(costs)


def announce(store: EventStore, appends: int, streams: int) -> None:
    """Append single events, in turn to so many streams."""
    for number in range(appends):
        store.append(f"stream-{number % streams}", EVENT)


def feed_cost(made: Bucket, operation: Callable[[], object]) -> tuple[int, int, int, int, int]:
    """PUT, GET, LIST, DELETE and round trips of an operation."""
    put, get, listed, round_trips = made.cost(operation)
    return put, get, listed, made.counts["DELETE"], round_trips


def fill(store: EventStore, stream: str, events: int) -> Head:
    """Append so many events, a hundred at a time."""
    head = store.append(stream, [EVENT] * 100, expected=NO_STREAM)
    while head.version < events:
        head = store.append(stream, [EVENT] * 100, expected=head)
    return head


def sealing_cost(made: Bucket, store: EventStore) -> tuple[int, int, int, int]:
    """Of the first append that is no longer as cheap as the one before it."""
    usual = made.cost(lambda: store.append("sealed", EVENT, expected=NO_STREAM))
    costs = (made.cost(lambda: store.append("sealed", EVENT)) for _ in range(1_000))
    return next(cost for cost in costs if cost != usual)


def paging_cost() -> tuple[int, int, int, int]:
    """Of the dearest append of a stream that begins its first index page."""
    made = bucket(tail_bytes=0, fan_out=2)
    store = made.client()
    return max(made.cost(lambda: store.append("paged", EVENT)) for _ in range(3))


def refused(store: EventStore, stale: Head) -> None:
    """An append after a head that has moved on."""
    with suppress(WrongExpectedVersion):
        store.append("long", EVENT, expected=stale)
        raise AssertionError("it was not refused")
