"""What a client asked of its storage: each counter, where it counts, and that all of them add up."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from headstream import Event, EventStore, Stats, Unavailable, WrongExpectedVersion, connect, connect_async
from headstream.backends.memory import MemoryBackend
from headstream.protocol.ops import NotApplied, Unknown
from support.backends import AsyncMemory, Watched

EVENT = Event("E", {"text": "x" * 100})


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """A backend that can be made to fail; pauses take no time."""
    monkeypatch.setattr("headstream.drivers.sync.time.sleep", lambda _seconds: None)
    return Watched()


@pytest.fixture
def store(watched: Watched) -> Iterator[EventStore]:
    """A client of it."""
    with connect(watched, tail_bytes=1000, advance_every=0) as store:
        yield store


def test_stats_are_counted_from_zero_by_name() -> None:
    """A value that compares, adds and subtracts field by field."""
    a, b = Stats(gets=3, bytes_read=10), Stats(gets=1, lists=2)
    assert Stats() == Stats(**dict.fromkeys(Stats.__struct_fields__, 0))
    assert (a - b, a + b) == (Stats(gets=2, bytes_read=10, lists=-2), Stats(gets=4, bytes_read=10, lists=2))
    assert a - a == Stats()
    for operation in (lambda: a - 1, lambda: a + 1):  # type: ignore[operator]
        with pytest.raises(TypeError):
            operation()
    with pytest.raises(AttributeError):
        a.gets = 4  # type: ignore[misc]


def test_opening_is_counted() -> None:
    """A new store is looked for, tried out and written; one that is there is read."""
    backend = MemoryBackend()
    with connect(backend) as store:
        first = store.stats()
    assert (first.missing, first.commits > 0, first.bytes_written > 0) == (1, True, True)
    with connect(backend) as store:
        again = store.stats()
    assert again == Stats(gets=1, bytes_read=again.bytes_read)
    assert again.bytes_read == len(backend._objects["store.json"].body)


def test_an_append_is_an_intent_and_a_head(store: EventStore) -> None:
    """With their bytes; the second needs no get, since the head is remembered."""
    before = store.stats()
    store.append("s", EVENT)
    first = store.stats()
    store.append("s", EVENT)
    first, second = first - before, store.stats() - first
    sizes = first.bytes_written, second.bytes_written
    assert first == Stats(gets=1, missing=1, commits=1, preludes=1, bytes_written=sizes[0], head_misses=1)
    assert second == Stats(commits=1, preludes=1, bytes_written=sizes[1], head_hits=1)
    assert min(sizes) > 100


def test_reads(store: EventStore) -> None:
    """A head that has not changed costs no body; segments are got together."""
    for _ in range(30):
        store.append("s", EVENT)
    before = store.stats()
    assert len(list(store.read("s"))) == 30
    spent = store.stats() - before
    assert (spent.gets, spent.not_modified, spent.missing) == (1 + spent.together, 1, 0)
    assert spent.together >= 2
    assert spent.bytes_read > 0


def test_the_feed(store: EventStore) -> None:
    """Lists, and deletes of what was settled."""
    for number in range(3):
        store.append(f"s-{number}", EVENT)
    before = store.stats()
    assert store.advance() == 3
    spent = store.stats() - before
    assert (spent.lists, spent.deletes, spent.commits) == (2, 3, 1)


def test_conflicts_and_refused_commits(store: EventStore, watched: Watched) -> None:
    """A race that is lost is a refused commit and a retry; one that cannot be won is a conflict."""
    store.append("s", EVENT)
    with connect(watched) as other:
        other.append("s", EVENT)
    before = store.stats()
    store.append("s", EVENT)
    won = store.stats() - before
    assert (won.refused, won.retries, won.commits, won.conflicts) == (1, 1, 1, 0)
    with pytest.raises(WrongExpectedVersion):
        store.append("s", EVENT, expected=1)
    assert (store.stats() - before - won).conflicts == 1


def test_faults_and_retries(store: EventStore, watched: Watched) -> None:
    """Each request that failed counts, as a request too; and so does each attempt that follows."""
    store.append("s", EVENT)
    before = store.stats()
    watched.faults += [NotApplied("busy"), Unknown("lost")]
    store.append("s", EVENT)
    spent = store.stats() - before
    assert (spent.faults, spent.unknown, spent.retries) == (2, 1, 2)
    assert (spent.commits, spent.preludes, spent.gets) == (1, 3, 1)
    watched.faults.append(NotApplied("busy"))
    with pytest.raises(Unavailable):
        store.head("s")
    assert (store.stats() - before - spent).faults == 1


def test_counts_are_exact_with_many_threads(store: EventStore) -> None:
    """None is lost when threads count at the same time."""
    before = store.stats()
    threads = [threading.Thread(target=lambda: [store.head("none") for _ in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = store.stats() - before
    assert (spent.gets, spent.missing) == (1600, 1600)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_counts_on(store: EventStore) -> None:
    """Even if a thread of the parent was counting at that moment: its lock is not inherited."""
    meter = store._session._meter
    before = store.stats()
    with meter._lock:
        child = os.fork()
        if child == 0:
            try:
                store.head("none")
                os._exit(0 if (store.stats() - before).gets == 1 else 1)
            finally:
                os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert store.stats() == before


def test_stats_after_closing() -> None:
    """They can be told when the work is done."""
    with connect("memory://") as store:
        store.append("s", EVENT)
    assert store.stats().commits > 0


@pytest.mark.parametrize("place", ["memory://", AsyncMemory(MemoryBackend())], ids=["threaded", "awaited"])
async def test_an_async_store_counts_the_same(place: Any) -> None:
    """As the blocking one does for the same calls."""
    async with connect_async(place, tail_bytes=300, advance_every=0) as store:
        for number in range(9):
            await store.append("s", EVENT, expected=number)
        await store.advance()
        assert [event async for event in store.read("s")]
        with pytest.raises(WrongExpectedVersion):
            await store.append("s", EVENT, expected=1)
        counted = store.stats()
    with connect("memory://", tail_bytes=300, advance_every=0) as blocking:
        for number in range(9):
            blocking.append("s", EVENT, expected=number)
        blocking.advance()
        assert list(blocking.read("s"))
        with pytest.raises(WrongExpectedVersion):
            blocking.append("s", EVENT, expected=1)
        expected = blocking.stats()
    sizes = {"bytes_read": 0, "bytes_written": 0}  # times differ in size
    assert msgspec.structs.replace(counted, **sizes) == msgspec.structs.replace(expected, **sizes)


async def test_retries_of_an_async_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """Are counted by its driver."""
    watched = Watched()
    async with connect_async(AsyncMemory(watched), advance_every=0) as store:
        await store.append("s", EVENT)
        before = store.stats()
        watched.faults.append(NotApplied("busy"))
        await store.append("s", EVENT)
        spent = store.stats() - before
    assert (spent.faults, spent.retries, spent.commits) == (1, 1, 1)
