"""Subscriptions for asyncio: what differs from those that block: tasks that wake, cancel and close them."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from headstream import (
    AccessDenied,
    AsyncEventStore,
    AsyncSubscription,
    CheckpointLost,
    Event,
    InvalidInput,
    connect,
    limits,
)
from headstream.drivers import sync
from headstream.drivers.aio import Awaited, Threaded
from headstream.protocol.ops import NotApplied, Page, Put, Unknown
from headstream.protocol.store import open_store
from support.backends import AsyncMemory, Watched

DOWN = Unknown("time-out")
NEVER = (3600.0, 3600.0)
"""Pauses that no test outlasts: whoever wakes was woken."""


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses without chance in them."""
    monkeypatch.setattr("headstream.subscribing_aio.jittered", lambda pause: pause)


class Place(Watched):
    """Tells when somebody found nothing to do; and its writes of checkpoints can be held."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = threading.Event()
        self.writing = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def list(self, prefix: str, after: str, limit: int) -> Page:
        """A page of keys."""
        page = super().list(prefix, after, limit)
        if not page.keys:
            self.idle.set()
        return page

    def commit(self, prelude: Any, head: Put) -> Any:
        """A commit."""
        answer = super().commit(prelude, head)
        if head.key.startswith("checkpoints/"):
            self.writing.set()
            assert self.go.wait(30)
        return answer


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    """A backend with a store; pauses of the core take no time."""
    monkeypatch.setattr("headstream.drivers.sync.time", SimpleNamespace(sleep=lambda _seconds: None))
    monkeypatch.setattr("headstream.drivers.pace.random", SimpleNamespace(uniform=lambda _least, _most: 0))
    backend = Place()
    sync.run(open_store(backend.default_tail, {"advance_every": 0}, create=True), backend)
    return backend


def client(place: Place, kind: str) -> AsyncEventStore:
    """A client, awaited on the loop or run in threads."""
    description = sync.run(open_store(place.default_tail, {}, create=False), place)
    runner = Awaited(AsyncMemory(place)) if kind == "awaited" else Threaded(place)
    return AsyncEventStore(runner, description, url="memory://", cache_bytes=limits.HEAD_CACHE)


async def fill(store: AsyncEventStore) -> AsyncEventStore:
    """Five events."""
    for number in range(5):
        await store.append(f"s-{number % 2}", Event("AB"[number % 2], number))
    return store


@pytest.fixture(params=["awaited", "threaded"])
async def store(request: pytest.FixtureRequest, place: Place) -> AsyncIterator[AsyncEventStore]:
    """A client with five events in its store."""
    async with client(place, request.param) as store:
        yield await fill(store)


@pytest.fixture
async def threaded(place: Place) -> AsyncIterator[AsyncEventStore]:
    """The same, in threads: requests go on when nobody waits for them."""
    async with client(place, "threaded") as store:
        yield await fill(store)


class Clock:
    """Time as the subscription sees it."""

    now = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stands still until it is moved."""
    clock = Clock()
    monkeypatch.setattr("headstream.subscribing_aio.time", clock)
    return clock


def waits_of(subscription: AsyncSubscription, monkeypatch: pytest.MonkeyPatch, *, end: int) -> list[float]:
    """How long it waits; it is closed after so many waits, none of which takes any time."""
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == end:
            subscription.close()

    monkeypatch.setattr(subscription, "_wait", wait)
    return waits


async def numbers(events: AsyncIterator[Any]) -> list[Any]:
    """What is in them."""
    return [event.data async for event in events]


async def saved(store: AsyncEventStore) -> dict[str, int]:
    """Positions of the checkpoints."""
    return {one.name: one.position async for one in store.checkpoints()}


async def soon(event: threading.Event) -> None:
    """Wait for another thread."""
    assert await asyncio.to_thread(event.wait, 30)


# --- what it yields ----------------------------------------------------------------------------------------------


async def test_it_catches_up_and_ends(store):
    """Without following, where there is nothing more; filtered; with positions."""
    subscription = store.subscribe(follow=False)
    assert [event.position async for event in subscription] == [1, 2, 3, 4, 5]
    assert await numbers(subscription) == []
    assert subscription.position == 5
    assert await numbers(store.subscribe(follow=False, after=1, streams="s-1")) == [1, 3]
    assert await numbers(store.subscribe(follow=False, types=["A"], after=4)) == [4]


async def test_batches(store):
    """Lists of at most so many, as they come; handled when the next is asked for."""
    subscription = store.subscribe(follow=False)
    seen = [([event.data for event in batch], subscription.position) async for batch in subscription.batches(2)]
    assert seen == [([0, 1], 0), ([2, 3], 2), ([4], 4)]
    assert subscription.position == 5
    assert [batch async for batch in subscription.batches()] == []
    with pytest.raises(InvalidInput, match="size is 0"):
        subscription.batches(0)


async def test_arguments_are_checked_at_once(store, place):
    """Not when something is awaited."""
    place.take()
    for asked in ({"after": -1}, {"checkpoint": ""}, {"poll": (0, 1)}, {"streams": 7}, {"types": [None]}):
        with pytest.raises(InvalidInput):
            store.subscribe(**asked)
    assert place.take() == []


# --- waking and ending -------------------------------------------------------------------------------------------


async def test_it_wakes_for_an_append_of_the_same_process(store, place):
    """At once, however long its pauses are: of this client, or of one in another thread."""
    subscription = store.subscribe(after=5, poll=NEVER)
    waiting = asyncio.create_task(anext(subscription))
    await soon(place.idle)
    await store.append("t", Event("E", "of this client"))
    assert (await asyncio.wait_for(waiting, 30)).data == "of this client"
    place.idle.clear()
    waiting = asyncio.create_task(anext(subscription))
    await soon(place.idle)
    with connect(place, advance_every=0) as other:
        await asyncio.to_thread(other.append, "t", Event("E", "of another thread"))
    assert (await asyncio.wait_for(waiting, 30)).data == "of another thread"


async def test_pauses_grow_while_nothing_comes(store, monkeypatch):
    """From the shortest to the longest."""
    subscription = store.subscribe(after=5, poll=(0.5, 3.0))
    waits = waits_of(subscription, monkeypatch, end=5)
    assert await numbers(subscription) == []
    assert waits == [0.5, 1.0, 2.0, 3.0, 3.0]


async def test_a_pause_comes_to_an_end(store, place):
    """What others append is seen after it, without a bell."""
    subscription = store.subscribe(after=5, poll=(0.001, 0.001))
    waiting = asyncio.create_task(anext(subscription))
    await soon(place.idle)
    subscription._bell.leave(subscription._call)
    await store.append("t", Event("E", "seen"))
    assert (await asyncio.wait_for(waiting, 30)).data == "seen"


async def test_closing_from_another_task(store, place):
    """The iteration ends, and the last event was handled, since the next was asked for."""

    async def close() -> None:
        await soon(place.idle)
        subscription.close()

    async with store.subscribe(checkpoint="w", poll=NEVER) as subscription:
        closing = asyncio.create_task(close())
        assert await numbers(subscription) == [0, 1, 2, 3, 4]
        await closing
    assert await saved(store) == {"w": 5}


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signal here")
async def test_closing_from_a_signal_handler_of_the_loop(store, place):
    """As a worker does that is told to stop."""
    subscription = store.subscribe(poll=NEVER)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, subscription.close)

    def send() -> None:
        assert place.idle.wait(30)
        signal.raise_signal(signal.SIGUSR1)

    try:
        sending = asyncio.create_task(asyncio.to_thread(send))
        assert [len(batch) async for batch in subscription.batches()] == [5]
        await sending
    finally:
        loop.remove_signal_handler(signal.SIGUSR1)


async def test_closing_while_it_saves(threaded, place, clock):
    """It does not begin to wait then."""
    subscription = threaded.subscribe(checkpoint="w", poll=NEVER)
    assert [(await anext(subscription)).data for _ in range(5)] == [0, 1, 2, 3, 4]
    clock.now += limits.SAVE_EVERY
    place.writing.clear()
    place.go.clear()
    waiting = asyncio.create_task(anext(subscription, None))
    await soon(place.writing)
    subscription.close()
    place.go.set()
    assert await asyncio.wait_for(waiting, 30) is None


async def test_a_subscription_that_ended_hears_no_more(store):
    """Closed, left or at its end; and nobody keeps one alive that was forgotten."""
    store.subscribe().close()
    async with store.subscribe():
        pass
    await numbers(store.subscribe(follow=False))
    store.subscribe()
    assert [one() for one in store._bell._listeners if one() is not None] == []


async def test_a_bell_after_the_loop_was_closed(place):
    """A subscription that nobody closed does no harm to appends of other threads."""

    async def subscribe() -> AsyncSubscription:
        return client(place, "awaited").subscribe()

    def forgotten() -> AsyncSubscription:
        return asyncio.run(subscribe())

    subscription = await asyncio.to_thread(forgotten)
    with connect(place) as store:
        store.append("s", Event("E"))
    assert not subscription._called.is_set()


# --- cancelling ----------------------------------------------------------------------------------------------------


async def test_cancelled_while_it_waits(store, place):
    """It stops at once; what was handled is saved, and the subscription could go on."""

    async def work() -> None:
        async with store.subscribe(checkpoint="w", poll=NEVER) as subscription:
            async for event in subscription:
                seen.append(event.data)
                place.idle.clear()

    seen: list[int] = []
    working = asyncio.create_task(work())
    await soon(place.idle)
    while len(seen) < 5 or not place.idle.is_set():
        await asyncio.sleep(0)
    working.cancel()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert await saved(store) == {"w": 5}


async def test_a_time_limit_for_the_next_event(store, place):
    """Given up and asked again, it skips nothing."""
    subscription = store.subscribe(poll=NEVER)
    assert [(await anext(subscription)).data for _ in range(5)] == [0, 1, 2, 3, 4]
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(subscription), 0.01)
    await store.append("t", Event("E", "new"))
    assert (await asyncio.wait_for(anext(subscription), 30)).data == "new"


async def test_cancelled_while_it_saves(threaded, place, clock):
    """The save goes on, and the subscription knows of it: it does not take itself for another worker, and skips no event."""
    subscription = threaded.subscribe(checkpoint="w")
    assert (await anext(subscription)).data == 0
    clock.now += limits.SAVE_EVERY
    place.writing.clear()
    place.go.clear()
    waiting = asyncio.create_task(anext(subscription))
    await soon(place.writing)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    waiting = asyncio.create_task(anext(subscription))
    place.go.set()
    assert (await waiting).data == 1
    await subscription.save()
    assert await saved(threaded) == {"w": 2}


async def test_cancelled_while_it_takes_its_checkpoint_over(threaded, place):
    """The same before the first event."""
    place.go.clear()
    subscription = threaded.subscribe(checkpoint="w")
    waiting = asyncio.create_task(anext(subscription))
    await soon(place.writing)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    waiting = asyncio.create_task(anext(subscription))
    place.go.set()
    assert (await waiting).data == 0
    await subscription.save()
    assert await saved(threaded) == {"w": 1}


async def test_leaving_while_a_save_goes_on(threaded, place, clock):
    """It is waited for: nothing is written after the block was left."""

    async def work() -> None:
        async with threaded.subscribe(checkpoint="w") as subscription:
            await anext(subscription)
            clock.now += limits.SAVE_EVERY
            place.writing.clear()
            place.go.clear()
            async for _ in subscription:
                pass

    working = asyncio.create_task(work())
    while place.go.is_set():
        await asyncio.sleep(0)
    await soon(place.writing)
    working.cancel()
    await asyncio.sleep(0)
    assert not working.done()
    place.go.set()
    with pytest.raises(asyncio.CancelledError):
        await working
    assert await saved(threaded) == {"w": 1}


async def test_a_save_that_fails_when_nobody_waits(threaded, place, clock):
    """The next one meets the error again; it is not lost, and nobody complains of it."""
    subscription = threaded.subscribe(checkpoint="w")
    await anext(subscription)
    await threaded.forget("w")
    clock.now += limits.SAVE_EVERY
    place.writing.clear()
    place.go.clear()
    waiting = asyncio.create_task(anext(subscription))
    await soon(place.writing)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    place.go.set()
    with pytest.raises(CheckpointLost):
        await anext(subscription)


# --- storage that does not answer, checkpoints ---------------------------------------------------------------------


async def test_it_waits_while_the_storage_does_not_answer(store, place, monkeypatch, caplog):
    """It says so in the log, and goes on; also before it has its checkpoint."""
    async with store.subscribe(checkpoint="w", follow=False, poll=(0.5, 4.0)) as subscription:
        waits = waits_of(subscription, monkeypatch, end=9)
        place.faults.extend([DOWN, None, None, DOWN, NotApplied("throttled")])
        with caplog.at_level(logging.WARNING, "headstream"):
            assert await numbers(subscription) == [0, 1, 2, 3, 4]
    assert waits == [0.5, 1.0, 2.0]
    assert len(caplog.records) == 3
    assert await saved(store) == {"w": 5}


async def test_errors_that_no_waiting_mends(store, place, clock):
    """They come through; asked again, the subscription skips nothing."""
    subscription = store.subscribe(checkpoint="w")
    assert (await anext(subscription)).data == 0
    clock.now += limits.SAVE_EVERY
    place.faults.append(AccessDenied("expired"))
    with pytest.raises(AccessDenied):
        await anext(subscription)
    assert (await anext(subscription)).data == 1


async def test_a_save_that_fails_is_made_later(store, place, clock, caplog):
    """The events go on; it is said in the log."""
    async with store.subscribe(checkpoint="w") as subscription:
        await anext(subscription)
        clock.now += limits.SAVE_EVERY
        place.faults.extend([NotApplied("throttled")] * limits.FAULT_ATTEMPTS)
        with caplog.at_level(logging.WARNING, "headstream"):
            assert (await anext(subscription)).data == 1
        assert "a subscription saves its checkpoint later" in caplog.text
        assert (await anext(subscription)).data == 2
        clock.now += limits.SAVE_EVERY
        assert (await anext(subscription)).data == 3
        assert await saved(store) == {"w": 3}


async def test_it_does_not_wait_longer_than_until_the_next_save(store, monkeypatch, clock):
    """The position is saved a second after the last event was handled."""
    subscription = store.subscribe(checkpoint="w", poll=NEVER)
    waits: list[float] = []

    async def wait(seconds: float) -> None:
        waits.append(seconds)
        clock.now += seconds
        if len(waits) == 2:
            subscription.close()

    monkeypatch.setattr(subscription, "_wait", wait)
    assert len(await numbers(subscription)) == 5
    assert waits == [limits.SAVE_EVERY, 3600.0]
    assert await saved(store) == {"w": 5}


async def test_of_two_workers_the_later_goes_on(store, clock):
    """The older is told at its next save, and saves nothing any more."""

    async def work() -> None:
        async with store.subscribe(checkpoint="w") as older:
            assert [(await anext(older)).data, (await anext(older)).data] == [0, 1]
            await anext(store.subscribe(checkpoint="w"))
            clock.now += limits.SAVE_EVERY
            await anext(older)

    with pytest.raises(CheckpointLost):
        await work()
    assert await saved(store) == {"w": 0}
    async with store.subscribe(checkpoint="w", follow=False) as later:
        assert await numbers(later) == [0, 1, 2, 3, 4]
    assert await saved(store) == {"w": 5}


async def test_an_exception_in_the_body(store, place):
    """The event at hand comes again; a save that fails does not hide the error."""

    async def work(*, faults: int) -> None:
        async with store.subscribe(checkpoint="w") as subscription:
            async for event in subscription:
                if event.data == 2:
                    place.faults.extend([NotApplied("throttled")] * faults)
                    raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work(faults=limits.FAULT_ATTEMPTS)
    assert await saved(store) == {"w": 0}
    with pytest.raises(ZeroDivisionError):
        await work(faults=0)
    assert await saved(store) == {"w": 2}


async def test_saving(store):
    """What was returned last counts as handled; there must be a checkpoint to save it in."""
    async with store.subscribe(checkpoint="w") as subscription:
        await anext(subscription)
        await subscription.save()
        assert await saved(store) == {"w": 1}
    async with store.subscribe() as subscription:
        await anext(subscription)
        with pytest.raises(InvalidInput, match="no checkpoint to save"):
            await subscription.save()
    subscription = store.subscribe(checkpoint="w", after=3)
    await subscription.save()
    assert await saved(store) == {"w": 1}
