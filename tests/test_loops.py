"""A loop over a subscription that is entered again: what failed comes again, and no checkpoint has passed it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from itertools import islice

import pytest

from headstream import AsyncEventStore, Event, EventStore, FeedEvent, connect
from headstream.backends.memory import MemoryBackend
from headstream.drivers import sync
from headstream.drivers.aio import Threaded
from headstream.protocol.store import open_store


class BrokenHandler(Exception):
    """What a handler raises."""


@pytest.fixture
def store() -> Iterator[EventStore]:
    """A client with five events in its store."""
    with connect(MemoryBackend(), advance_every=0) as store:
        for number in range(5):
            store.append("s", Event("E", number))
        yield store


@pytest.fixture
async def async_store() -> AsyncIterator[AsyncEventStore]:
    """The same for asyncio."""
    place = MemoryBackend()
    description = sync.run(open_store(place.default_tail, {"advance_every": 0}, create=True), place)
    async with AsyncEventStore(Threaded(place), description, url="memory://", cache_bytes=0) as store:
        for number in range(5):
            await store.append("s", Event("E", number))
        yield store


def fail_at(number: int, loop: Iterable[FeedEvent | list[FeedEvent]]) -> None:
    """A loop whose handler fails at an event, or at the list that begins with it."""
    for given in loop:
        if (given[0] if isinstance(given, list) else given).data == number:
            raise BrokenHandler(number)


async def async_fail_at(number: int, loop: AsyncIterable[FeedEvent | list[FeedEvent]]) -> None:
    """The same for asyncio."""
    async for given in loop:
        if (given[0] if isinstance(given, list) else given).data == number:
            raise BrokenHandler(number)


def saved(store: EventStore) -> int:
    """The position of the checkpoint."""
    return next(store.checkpoints()).position


def test_an_event_that_failed_comes_again(store):
    """As often as it fails; and neither the position nor the checkpoint has passed it."""
    with store.subscribe(checkpoint="w", follow=False) as subscription:
        for _ in range(3):
            with pytest.raises(BrokenHandler, match="2"):
                fail_at(2, subscription)
            assert subscription.position == 2
        assert [event.data for event in subscription] == [2, 3, 4]
    assert saved(store) == 5


def test_a_list_that_failed_comes_again_whole(store):
    """Also as single events."""
    subscription = store.subscribe(follow=False)
    with pytest.raises(BrokenHandler, match="2"):
        fail_at(2, subscription.batches(2))
    assert subscription.position == 2
    assert [event.data for event in next(subscription.batches(2))] == [2, 3]
    assert [event.data for event in subscription] == [2, 3, 4]


def test_what_a_loop_left_comes_again(store):
    """``break`` says nothing of whether it was handled."""
    subscription = store.subscribe(follow=False)
    for event in subscription:
        if event.data == 1:
            break
    assert [event.data for event in subscription] == [1, 2, 3, 4]


@pytest.mark.parametrize("way", ["save", "acknowledge"])
def test_what_was_acknowledged_does_not_come_again(store, way):
    """By saving, or without."""
    subscription = store.subscribe(checkpoint="w", follow=False)
    for event in subscription:
        if event.data == 1:
            getattr(subscription, way)()
            break
    assert subscription.position == 2
    assert [event.data for event in subscription] == [2, 3, 4]


def test_parts_of_a_loop(store):
    """``islice`` does not ask beyond its last: that one comes again, unless it is acknowledged."""
    subscription = store.subscribe(follow=False)
    assert [event.data for event in islice(subscription, 2)] == [0, 1]
    assert [event.data for event in islice(subscription, 2)] == [1, 2]
    subscription.acknowledge()
    assert [event.data for event in islice(subscription, 2)] == [3, 4]


def test_a_loop_that_was_only_made_changes_nothing(store):
    """It begins when it asks for something."""
    subscription = store.subscribe(follow=False)
    for event in subscription:
        iter(subscription)
        subscription.batches()
        assert subscription.position == event.data


def test_two_loops_at_once(store):
    """Neither passes over what the other was given."""
    subscription = store.subscribe(follow=False)
    one, two = iter(subscription), iter(subscription)
    assert [next(one).data, next(one).data, next(two).data, next(one).data, next(one).data] == [0, 1, 1, 1, 2]


def test_by_hand(store):
    """``next`` says that everything before was handled, also to a loop that follows."""
    subscription = store.subscribe(follow=False)
    assert [next(subscription).data, next(subscription).data, subscription.position] == [0, 1, 1]
    for event in subscription:
        assert event.data == 2
        assert next(subscription).data == 3
        break
    assert [event.data for event in subscription] == [4]
    assert subscription.position == 5


def test_a_loop_that_failed_before_the_end_of_the_feed(store):
    """It is not at the end before the last event was handled."""
    subscription = store.subscribe(after=4, follow=False)
    with pytest.raises(BrokenHandler):
        fail_at(4, subscription)
    assert subscription.position == 4
    assert [event.data for event in subscription] == [4]


def test_leaving_with_by_an_error(store):
    """The checkpoint is where the last event that was handled is."""

    def work() -> None:
        with store.subscribe(checkpoint="w", follow=False) as subscription:
            for batch in subscription.batches(3):
                if batch[0].data == 3:
                    raise BrokenHandler

    for _ in range(2):
        with pytest.raises(BrokenHandler):
            work()
        assert saved(store) == 3
        store.append("s", Event("E", 3))


async def test_async_loops(async_store):
    """The same."""
    subscription = async_store.subscribe(follow=False)
    for loop in (subscription, subscription.batches(2), subscription.batches(1)):
        with pytest.raises(BrokenHandler):
            await async_fail_at(1, loop)
    assert subscription.position == 1
    async for event in subscription:
        if event.data == 3:
            break
    assert [event.data async for event in subscription] == [3, 4]
    assert [event.data async for event in subscription] == []


async def test_async_by_hand(async_store):
    """``anext`` says that everything before was handled."""
    subscription = async_store.subscribe(follow=False)
    async for event in subscription:
        assert event.data == 0
        break
    assert (await anext(subscription)).data == 1
    assert [event.data async for event in subscription] == [2, 3, 4]


@pytest.mark.parametrize("way", ["save", "acknowledge"])
async def test_async_acknowledging(async_store, way):
    """By saving, or without."""
    subscription = async_store.subscribe(checkpoint="w", follow=False)
    async for _ in subscription:
        if way == "save":
            await subscription.save()
        else:
            subscription.acknowledge()
        break
    assert [event.data async for event in subscription] == [1, 2, 3, 4]


async def test_a_handler_that_is_cancelled(async_store):
    """Its event comes again, and the checkpoint has not passed it."""
    handling = asyncio.Event()

    async with async_store.subscribe(checkpoint="w", follow=False) as subscription:

        async def work() -> None:
            async for event in subscription:
                if event.data == 2:
                    handling.set()
                    await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await handling.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert subscription.position == 2
        assert (await anext(aiter(subscription))).data == 2
    assert [checkpoint.position async for checkpoint in async_store.checkpoints()] == [2]
