"""The event store for asyncio: what differs from the one that blocks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from headstream import (
    NO_STREAM,
    AsyncEventStore,
    Event,
    InvalidInput,
    Unavailable,
    WrongExpectedVersion,
    connect_async,
    limits,
)
from headstream.drivers import sync
from headstream.drivers.aio import Awaited, Threaded
from headstream.protocol.ops import NotApplied, Unknown
from headstream.protocol.store import open_store
from support.api_suite import check_interleaved, numbered
from support.backends import AsyncMemory, Watched


@pytest.fixture
def watched() -> Watched:
    """The backend that the stores of these tests share."""
    backend = Watched()
    sync.run(open_store(backend.default_tail, {"tail_bytes": 150, "feed": False}, create=True), backend)
    return backend


@pytest.fixture(params=["awaited", "threaded"])
async def store(request: pytest.FixtureRequest, watched: Watched) -> AsyncIterator[AsyncEventStore]:
    """A client, awaited on the loop or run in threads."""
    description = sync.run(open_store(watched.default_tail, {}, create=False), watched)
    runner = Awaited(AsyncMemory(watched)) if request.param == "awaited" else Threaded(watched)
    async with AsyncEventStore(runner, description, url="memory://", cache_bytes=limits.HEAD_CACHE) as store:
        watched.take()
        yield store


async def filled(store: AsyncEventStore, watched: Watched) -> None:
    """Nine appends to stream ``s``."""
    for number in range(1, 10):
        await store.append("s", numbered(number, number), expected=number - 1)
    watched.take()


async def test_append_and_read(store, watched):
    """The same requests as a client that blocks."""
    await filled(store, watched)
    reading = store.read("s")
    assert watched.take() == []
    assert [event.version async for event in reading] == list(range(1, 10))
    head, segments = watched.take()
    assert head == "get heads/s"
    assert segments.startswith("get segments/s/")
    assert (await reading.head()).version == 9
    assert watched.take() == []
    assert [event.version async for event in store.read("s", backwards=True, limit=2)] == [9, 8]


async def test_a_head_before_the_events(store, watched):
    """It begins the read; iterating goes on with it."""
    await filled(store, watched)
    reading = store.read("s", after=8)
    assert (await reading.head()).version == 9
    assert [event.version async for event in reading] == [9]
    assert watched.take() == ["get heads/s"]


async def test_a_read_is_one_iterator(store, watched):
    """A second loop goes on where the first one stopped, and nothing is left to be closed."""
    await filled(store, watched)
    reading = store.read("s")
    async for event in reading:
        if event.version == 3:
            break
    assert (await anext(reading)).version == 4
    assert [event.version async for event in reading] == [5, 6, 7, 8, 9]
    with pytest.raises(StopAsyncIteration):
        await anext(reading)


async def test_a_read_after_a_failure_goes_on(store, watched):
    """Whatever failed: asked again it yields the next event, and never ends early."""
    await filled(store, watched)
    reading = store.read("s")
    watched.faults.extend([Unknown("time-out"), NotApplied("throttled"), None, Unknown("time-out")])
    for _ in range(3):
        with pytest.raises(Unavailable):
            await anext(reading)
    assert [event.version async for event in reading] == list(range(1, 10))


async def test_arguments_are_checked_at_once(store, watched):
    """Not when something is awaited or iterated."""
    with pytest.raises(InvalidInput):
        store.read("")
    with pytest.raises(InvalidInput):
        store.read("s", limit=-1)
    with pytest.raises(InvalidInput):
        store.streams("x" * 257)
    with pytest.raises(InvalidInput):
        await store.append("$feed", Event("E"))
    with pytest.raises(InvalidInput):
        await store.head("")
    with pytest.raises(InvalidInput):
        await store.layout("")
    assert watched.take() == []


async def test_streams(store, watched, monkeypatch):
    """Page by page, as far as they are wanted."""
    monkeypatch.setattr(limits, "LIST_PAGE", 2)
    for name in "abcde":
        await store.append(name, Event("E"))
    watched.take()
    names = store.streams()
    assert watched.take() == []
    assert await anext(names) == "a"
    assert watched.take() == ["list heads/"]
    assert [name async for name in names] == ["b", "c", "d", "e"]
    assert watched.take() == ["list heads/"] * 2


async def test_layout_of_a_stream(store, watched):
    """What the head says."""
    assert await store.layout("s") is None
    await filled(store, watched)
    layout = await store.layout("s")
    assert layout is not None
    assert layout.version == 9
    with pytest.raises(InvalidInput):
        await store.references(layout.references[0])


async def test_tasks_take_turns(store, watched):
    """They do not race each other: no commit is refused, and no head is read."""
    await store.append("s", Event("E"))
    watched.take()

    async def write() -> None:
        for _ in range(5):
            await store.append("s", Event("E"))

    await asyncio.gather(*(write() for _ in range(8)))
    assert watched.take() == ["commit heads/s"] * 40
    assert not store._own.turns, "a turn is kept for a stream that nobody appends to"


async def test_clients_race(watched):
    """Tasks of several clients on one stream: nothing is lost, nothing doubled."""
    description = sync.run(open_store(watched.default_tail, {}, create=False), watched)
    stores = [
        AsyncEventStore(Awaited(AsyncMemory(watched)), description, url="memory://", cache_bytes=0) for _ in range(3)
    ]
    heads: list[Any] = []

    async def write(writer: int) -> None:
        heads.extend([await stores[writer].append("s", [Event("E", f"{writer}-{n}")] * 2) for n in range(4)])

    await asyncio.gather(*(write(writer) for writer in range(3)))
    events = [event async for event in stores[0].read("s")]
    check_interleaved(events, heads, {f"{writer}-{number}" for writer in range(3) for number in range(4)})


async def test_a_failed_append_gives_its_turn_back(store):
    """The next one does not wait for ever."""
    with pytest.raises(WrongExpectedVersion):
        await store.append("s", Event("E"), expected=7)
    assert (await asyncio.wait_for(store.append("s", Event("E")), 30)).version == 1


async def test_a_cancelled_append_is_resolved_by_its_key(store, watched):
    """It may have happened or not; repeated with its key it has happened once."""
    entered = asyncio.Event()
    loop = asyncio.get_running_loop()
    commit = watched.commit

    def noticed(prelude: Any, head: Any) -> Any:
        loop.call_soon_threadsafe(entered.set)
        return commit(prelude, head)

    watched.commit = noticed
    task = asyncio.create_task(store.append("s", Event("E"), expected=NO_STREAM, key="k"))
    await entered.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    head = await asyncio.wait_for(store.append("s", Event("E"), expected=NO_STREAM, key="k"), 30)
    assert head.version == 1
    assert len([event async for event in store.read("s")]) == 1


async def test_closing():
    """The backend is closed when the block is left, and as often as asked for."""
    backend = Watched()
    async with connect_async(AsyncMemory(backend)) as store:
        pass
    await store.close()
    assert backend.closed == 2
