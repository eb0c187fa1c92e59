"""The feed as users read it, appends that are published, and advances that clients make by themselves."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import pytest

from headstream import (
    AsyncEventStore,
    CheckpointLost,
    CorruptData,
    Event,
    EventStore,
    Exactly,
    FeedEvent,
    Head,
    InvalidInput,
    NotPublished,
    Unavailable,
    connect,
    limits,
)
from headstream.advancing import Advancer
from headstream.drivers import sync
from headstream.drivers.aio import Awaited, Threaded
from headstream.projections import Projection
from headstream.protocol.feed import Progress
from headstream.protocol.ops import ALWAYS, NotApplied, Put, Unknown
from headstream.protocol.store import open_store
from support.backends import AsyncMemory, Watched
from support.embedded import in_child

DOWN = Unknown("time-out")


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """A backend that can be watched; pauses take no time."""
    monkeypatch.setattr("headstream.drivers.sync.time.sleep", lambda _seconds: None)
    return Watched()


@pytest.fixture
def store(watched: Watched) -> Iterator[EventStore]:
    """A client that advances the feed only when it is told to."""
    with connect(watched, advance_every=0) as store:
        watched.take()
        yield store


def inbox(watched: Watched) -> int:
    """How many intents wait."""
    return sum(key.startswith("inbox/") for key in watched._keys)


def fill(store: EventStore) -> None:
    """Six events of three streams and two types, in this order."""
    for stream, kind in [("order-1", "A"), ("order-2", "B"), ("user-1", "A")] * 2:
        store.append(stream, Event(kind, stream))


def positions(events: Any) -> list[int]:
    """Of the feed."""
    return [event.position for event in events]


# --- reading it --------------------------------------------------------------------------------------------------


def test_everything_that_was_appended_is_in_the_feed(store):
    """In one order, with its place in it and in its stream; and nobody had to do anything for it."""
    fill(store)
    found = list(store.feed())
    assert positions(found) == [1, 2, 3, 4, 5, 6]
    assert all(type(event) is FeedEvent for event in found)
    assert [(event.stream, event.version, event.data) for event in found[2:4]] == [
        ("user-1", 1, "user-1"),
        ("order-1", 2, "order-1"),
    ]
    assert found[3] == list(store.read("order-1"))[1]
    assert list(store.feed()) == found


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"after": 4}, [5, 6]),
        ({"after": 6}, []),
        ({"limit": 2}, [1, 2]),
        ({"limit": 0}, []),
        ({"limit": 100}, [1, 2, 3, 4, 5, 6]),
        ({"after": 2, "limit": 2}, [3, 4]),
        ({"backwards": True}, [6, 5, 4, 3, 2, 1]),
        ({"backwards": True, "limit": 2}, [6, 5]),
        ({"backwards": True, "after": 4}, [6, 5]),
        ({"streams": "order-"}, [1, 2, 4, 5]),
        ({"streams": ""}, [1, 2, 3, 4, 5, 6]),
        ({"streams": ["order-2", "user-"]}, [2, 3, 5, 6]),
        ({"streams": []}, []),
        ({"streams": "nobody"}, []),
        ({"types": "A"}, [1, 3, 4, 6]),
        ({"types": {"A", "C"}}, [1, 3, 4, 6]),
        ({"types": ()}, []),
        ({"streams": "order-", "types": "A"}, [1, 4]),
        ({"streams": "order-", "types": ["A"], "limit": 1}, [1]),
        ({"streams": iter(["user-"]), "limit": 1, "backwards": True}, [6]),
        ({"types": "B", "after": 2, "limit": 9}, [5]),
    ],
)
def test_parts_of_the_feed(store, asked, expected):
    """By position, number, direction, prefix of the stream's name and type; ``limit`` counts what is returned."""
    fill(store)
    assert positions(store.feed(**asked)) == expected


@pytest.mark.parametrize("backwards", [False, True])
def test_a_limit_over_many_pages(watched, monkeypatch, backwards):
    """Pages are asked for until enough events were found, and none after that."""
    monkeypatch.setattr(limits, "READ_WINDOW_OBJECTS", 1)
    with connect(watched, tail_bytes=0, advance_every=0) as store:
        for number in range(12):
            store.append(f"s-{number}", Event("E" if number % 3 else "F"), publish=True)
        watched.take()
        found = list(store.feed(types="F", limit=2, backwards=backwards, advance=False))
        assert positions(found) == ([10, 7] if backwards else [1, 4])
        fetched = [request for request in watched.take() if "segments/" in request]
        assert len(fetched) == (6 if backwards else 4)


def test_a_feed_of_nothing(store):
    """It has no events and no position."""
    reading = store.feed()
    assert list(reading) == []
    assert reading.position() == 0


def test_where_a_read_of_the_feed_ends(store):
    """The number of events when it began; what is appended meanwhile is not in it."""
    fill(store)
    reading = store.feed(types="A", limit=1)
    assert reading.position() == 6
    store.append("order-1", Event("A"))
    assert positions(reading) == [1]
    assert reading.position() == 6
    assert store.feed().position() == 7


def test_a_reader_that_may_not_write(store, watched):
    """It sees what others advanced, and writes nothing."""
    fill(store)
    assert list(store.feed(advance=False)) == []
    store.advance()
    store.append("s", Event("E"))
    watched.take()
    assert positions(store.feed(advance=False)) == [1, 2, 3, 4, 5, 6]
    assert {request.split()[0] for request in watched.take()} == {"get"}
    assert inbox(watched) == 1


def test_a_read_of_the_feed_after_a_failure_goes_on(store, watched):
    """Whatever failed, the advance included: asked again it yields the next event, and never ends early."""
    fill(store)
    reading = store.feed()
    # Of an advance, then of the read. Between them are the append, which is tried again, and the removal, which can wait.
    for before in (0, 1, 2, 3, 6):
        watched.faults.extend([*[None] * before, DOWN])
        with pytest.raises(Unavailable):
            next(reading)
        assert not watched.faults
    assert positions(reading) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "asked",
    [
        {"after": -1},
        {"after": "1"},
        {"limit": -1},
        {"limit": 1.0},
        {"streams": 7},
        {"streams": [7]},
        {"streams": b"order-"},
        {"streams": "x" * 257},
        {"streams": ["", None]},
        {"types": 7},
        {"types": [""]},
        {"types": [["A"]]},
        {"types": "x" * 257},
    ],
    ids=str,
)
def test_what_cannot_be_asked_of_the_feed(store, watched, asked):
    """It is said at once, and nothing is read."""
    with pytest.raises(InvalidInput):
        store.feed(**asked)
    if "limit" not in asked:
        with pytest.raises(InvalidInput):
            store.subscribe(**asked)
    assert watched.take() == []


def test_a_store_without_a_feed(watched):
    """All that needs one says what to do."""
    with connect(watched, feed=False) as store:
        watched.take()
        for call in (
            store.feed,
            store.advance,
            store.subscribe,
            lambda: store.append("s", Event("E"), publish=True),
        ):
            with pytest.raises(InvalidInput, match="created without a feed"):
                call()
        assert watched.take() == []
        store.append("s", Event("E"))
        assert not advancing()


def test_the_feed_is_no_stream_of_applications(store):
    """It is not listed, nothing can be appended to it; who names it can read it."""
    store.append("s", Event("E"), publish=True)
    assert list(store.streams()) == ["s"]
    assert list(store.streams("$")) == ["$feed"]
    with pytest.raises(InvalidInput):
        store.append("$feed", Event("E"))
    assert list(store.read("$feed")) == list(store.feed())


def test_events_of_the_feed_travel(store):
    """Pickled and copied, with what was decoded and without."""
    import copy
    import pickle

    store.append("s", Event("E", {"a": 1}, {"by": "me"}))
    (event,) = store.feed()
    for other in (pickle.loads(pickle.dumps(event)), copy.copy(event), copy.deepcopy(event)):
        assert other == event
        assert (other.position, other.data, other.metadata) == (1, {"a": 1}, {"by": "me"})
    assert repr(event).startswith("FeedEvent(position=1, stream='s', version=1, type='E', data={'a': 1}")


# --- advancing ---------------------------------------------------------------------------------------------------


def test_advancing(store, watched):
    """It says how many events it moved; and there is nothing to move then."""
    fill(store)
    assert store.advance() == 6
    assert inbox(watched) == 0
    assert store.advance() == 0


@pytest.mark.parametrize("fault", [DOWN, NotApplied("throttled")], ids=repr)
def test_an_advance_that_fails(store, watched, fault):
    """Try again later; nothing is lost."""
    fill(store)
    watched.faults.extend([None, None, fault])
    with pytest.raises(Unavailable, match="nothing is lost: try again later"):
        store.advance()
    assert store.advance() == 6


def test_a_client_remembers_the_heads_of_its_streams(store, watched):
    """An advance asks for the heads of the streams that this client wrote by their etags: they cost no body."""
    fill(store)
    asked: list[str | None] = []
    get_many = watched.get_many

    def noted(gets: Any) -> Any:
        asked.extend(get.if_none_match for get in gets)
        return get_many(gets)

    watched.get_many = noted
    store.advance()
    assert len(asked) == 3
    assert all(etag is not None for etag in asked)


# --- published appends -------------------------------------------------------------------------------------------


def test_an_append_that_is_published(store):
    """The head says where its events are in the feed; those before it are there, too."""
    store.append("a", Event("E"))
    head = store.append("b", [Event("E", 1), Event("E", 2)], publish=True)
    assert (head.version, head.positions) == (2, range(2, 4))
    assert [event.data for event in store.feed(after=1, advance=False)] == [1, 2]
    assert store.append("a", Event("E"), publish=True).positions == range(4, 5)
    assert store.append("a", Event("E")).positions is None
    assert store.append("b", Event("E"), expected=head).version == 3


def test_an_append_that_is_published_by_another(store, watched):
    """It looks for its events where the feed has grown since."""
    with connect(watched) as other:
        commit = watched.commit

        def interfere(prelude: Any, head: Put) -> Any:
            answer = commit(prelude, head)
            if head.key == "heads/b":
                other.advance()
            return answer

        watched.commit = interfere
        other.append("a", Event("E"))
        assert store.append("b", Event("E"), publish=True).positions == range(2, 3)


def test_a_repeated_append_is_published(store):
    """With its key: it may have been in the feed for long, or be on its way."""
    store.append("s", Event("E"), expected=0, key="k")
    first = store.append("s", Event("E"), expected=0, key="k", publish=True)
    assert first.positions == range(1, 2)
    for number in range(5):
        store.append("t", Event("E", number), publish=True)
    again = store.append("s", Event("E"), expected=0, key="k", publish=True)
    assert (again, again.positions) == (first, range(1, 2))
    with connect(store._backend) as other:
        assert other.append("s", Event("E"), expected=0, key="k", publish=True).positions == range(1, 2)
    assert len(list(store.feed())) == 6


def test_an_append_that_cannot_be_published(store, watched):
    """It is made, and the error says so, and has its head: do not append it again."""
    watched.faults.extend([None, None, None, DOWN])
    with pytest.raises(NotPublished) as caught:
        store.append("s", Event("E"), publish=True)
    assert isinstance(caught.value.__cause__, Unavailable)
    assert "do not append them again" in str(caught.value)
    head = caught.value.head
    assert isinstance(head, Head)
    assert head.version == 1
    assert store.append("s", Event("E"), expected=head, publish=True).positions == range(2, 3)


def test_an_append_whose_events_do_not_come_up(store, watched, monkeypatch):
    """After so many advances it is given up, with the same error and no cause."""
    monkeypatch.setattr(Advancer, "advance", lambda *_: Progress())
    with pytest.raises(NotPublished) as caught:
        store.append("s", Event("E"), publish=True)
    assert caught.value.__cause__ is None
    assert caught.value.head.version == 1
    monkeypatch.undo()
    assert positions(store.feed()) == [1]


def test_an_append_that_fails_before_it_is_made(store, watched):
    """It is no matter of the feed: nothing was written."""
    watched.faults.append(DOWN)
    with pytest.raises(Unavailable):
        store.append("s", Event("E"), publish=True)
    assert store.head("s") is None
    with connect(watched, advance_every=0) as other, pytest.raises(Exception, match="version"):
        other.append("s", Event("E"), expected=3, publish=True)


# --- checkpoints -------------------------------------------------------------------------------------------------


def test_checkpoints(store, watched, monkeypatch):
    """In the order of their names, a page at a time, with position, owner and time."""
    monkeypatch.setattr(limits, "LIST_PAGE", 2)
    fill(store)
    for name in ("c", "a", "e", "b", "d"):
        with store.subscribe(checkpoint=name, follow=False) as subscription:
            for _ in subscription:
                pass
    watched.take()
    found = store.checkpoints()
    assert watched.take() == []
    first = next(found)
    assert (first.name, first.position) == ("a", 6)
    assert first.owner.endswith(f":{os.getpid()}")
    assert first.saved_at.tzinfo is not None
    assert [one.name for one in found] == ["b", "c", "d", "e"]
    assert sum(request.startswith("list") for request in watched.take()) == 3


def test_forgetting_a_checkpoint(store):
    """A subscription of this name begins anew, and one that runs is told; what is not there may be forgotten, too."""
    fill(store)
    with store.subscribe(checkpoint="w", follow=False) as one:
        assert len(list(one)) == 6
    running = store.subscribe(checkpoint="w", follow=False)
    assert list(running) == []
    store.forget("w")
    store.forget("w")
    with pytest.raises(CheckpointLost, match="removed"):
        running.save()
    assert list(store.checkpoints()) == []
    assert positions(store.subscribe(checkpoint="w", after=4, follow=False)) == [5, 6]


@pytest.mark.parametrize("name", ["", None, 7, "x" * 257])
def test_names_that_checkpoints_cannot_have(store, watched, name):
    """Refused at once."""
    with pytest.raises(InvalidInput):
        store.forget(name)
    if name is not None:
        with pytest.raises(InvalidInput):
            store.subscribe(checkpoint=name)
    assert watched.take() == []


def test_a_stranger_among_the_checkpoints(store, watched):
    """It is named."""
    watched.commit((), Put("checkpoints/notes", b"hello", ALWAYS))
    with pytest.raises(CorruptData) as caught:
        list(store.checkpoints())
    assert caught.value.key == "checkpoints/notes"


# --- by themselves -----------------------------------------------------------------------------------------------


def test_a_client_advances_by_itself(watched):
    """After every so many of its own appends, in a thread beside them; closing waits for it."""
    with connect(watched, advance_every=4) as store:
        for _ in range(3):
            store.append("s", Event("E"))
        assert not advancing()
        assert inbox(watched) == 3
        store.append("s", Event("E"))
        ended(advancing())
        assert inbox(watched) == 0
        for _ in range(4):
            store.append("s", Event("E"))
        ended(advancing())
        assert inbox(watched) == 0
    with connect(watched) as other:
        assert len(list(other.feed())) == 8


def test_a_client_that_shall_not_advance(store):
    """With 0 it never does."""
    for _ in range(300):
        store.append("s", Event("E"))
    assert not advancing()


def advancing() -> list[threading.Thread]:
    """The threads that advance a feed right now."""
    return [thread for thread in threading.enumerate() if thread.name == "headstream-advance"]


def ended(threads: list[threading.Thread]) -> None:
    """They have come to their end."""
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


class Held(Watched):
    """Its lists of the inbox wait until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.go = threading.Event()

    def list(self, prefix: str, after: str, limit: int) -> Any:
        """A page of keys."""
        self.entered.set()
        assert self.go.wait(30)
        return super().list(prefix, after, limit)


def test_appends_do_not_wait_for_an_advance():
    """And a second one is not begun beside it."""
    held = Held()
    with connect(held, advance_every=1) as store:
        store.append("s", Event("E"))
        assert held.entered.wait(30)
        (thread,) = advancing()
        for _ in range(5):
            store.append("s", Event("E"))
        assert advancing() == [thread]
        held.go.set()
    ended([thread])


def test_closing_ends_an_advance_between_two_steps():
    """It waits for the step that goes on, and no other follows."""
    held = Held()
    store = connect(held, advance_every=1)
    store.append("s", Event("E"))
    assert held.entered.wait(30)
    stop = store._advancer.stop

    def stopped() -> None:
        closing.set()
        stop()

    closing = threading.Event()
    store._advancer.stop = stopped
    closer = threading.Thread(target=store.close)
    closer.start()
    assert closing.wait(30)
    while not store._advancer._stopped:  # the next thing that the closer does
        pass
    held.take()
    held.go.set()
    closer.join(30)
    assert not [request for request in held.take() if request.startswith(("commit", "get heads/s"))]
    assert inbox(held) == 1
    assert held.closed == 1


def test_an_advance_that_fails_by_itself(watched, caplog):
    """The append does not notice; it is logged, and the next one that is due tries again."""
    with connect(watched, advance_every=1) as store:
        watched.faults.extend([None, None, DOWN])
        with caplog.at_level(logging.WARNING, "headstream"):
            store.append("s", Event("E"))
            ended(advancing())
        (record,) = caplog.records
        assert record.getMessage().startswith("the feed was not advanced: the storage did not answer")
        assert inbox(watched) == 1
        store.append("s", Event("E"))
        ended(advancing())
        assert inbox(watched) == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are not forked here")
def test_a_forked_child_advances_by_itself():
    """Also if its parent was advancing when it was forked: that thread is not in the child."""
    held = Held()
    with connect(held, advance_every=1) as store:
        store.append("s", Event("E"))
        assert held.entered.wait(30)

        def work() -> None:
            held.entered.clear()
            held.go.set()
            store.append("t", Event("E"))
            assert held.entered.wait(30)
            store.close()

        assert in_child(work) == 0
        assert not held.go.is_set()
        held.go.set()


# --- asyncio -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=["awaited", "threaded"])
async def aio(request: pytest.FixtureRequest) -> AsyncIterator[AsyncEventStore]:
    """A client for asyncio that advances by itself after every third append."""
    backend = Watched()
    description = sync.run(open_store(backend.default_tail, {"advance_every": 3}, create=True), backend)
    runner = Awaited(AsyncMemory(backend)) if request.param == "awaited" else Threaded(backend)
    async with AsyncEventStore(runner, description, url="memory://", cache_bytes=limits.HEAD_CACHE) as store:
        yield store


def backend_of(store: AsyncEventStore) -> Watched:
    """What is below a client."""
    runner: Any = store._runner
    inner = getattr(runner.backend, "inner", runner.backend)
    assert isinstance(inner, Watched)
    return inner


async def test_async_reading(aio):
    """The same parts, the same order, the same errors."""
    for number in range(5):
        await aio.append(f"s-{number % 2}", Event("AB"[number % 2], number))
    assert [event.position async for event in aio.feed()] == [1, 2, 3, 4, 5]
    assert [event.data async for event in aio.feed(backwards=True, limit=2, streams="s-0", types=["A"])] == [4, 2]
    assert [event async for event in aio.feed(limit=0)] == []
    reading = aio.feed(after=3, advance=False)
    assert await reading.position() == 5
    assert [event.position async for event in reading] == [4, 5]
    with pytest.raises(InvalidInput):
        aio.feed(limit=-1)
    assert await aio.advance() == 0


async def test_async_publishing(aio):
    """The head says where the events are."""
    await aio.append("a", Event("E"))
    head = await aio.append("b", [Event("E"), Event("E")], expected=0, key="k", publish=True)
    assert head.positions == range(2, 4)
    again = await aio.append("b", [Event("E"), Event("E")], expected=0, key="k", publish=True)
    assert (again, again.positions) == (head, head.positions)


async def test_async_publishing_that_fails(aio, monkeypatch):
    """The append is made, and the error has its head."""
    backend = backend_of(aio)
    backend.faults.extend([None, None, None, DOWN])
    with pytest.raises(NotPublished) as caught:
        await aio.append("s", Event("E"), publish=True)
    assert isinstance(caught.value.__cause__, Unavailable)

    async def advance(_store: AsyncEventStore) -> Progress:
        return Progress()

    monkeypatch.setattr(AsyncEventStore, "_advance", advance)
    with pytest.raises(NotPublished) as caught:
        await aio.append("s", Event("E"), publish=True)
    assert (caught.value.__cause__, caught.value.head.version) == (None, 2)


async def test_async_advances_by_itself(aio):
    """In a task beside the appends; closing waits for it."""
    for _ in range(2):
        await aio.append("s", Event("E"))
    assert aio._advance_going_on() is None
    await aio.append("s", Event("E"))
    task = aio._advance_going_on()
    assert task is not None
    await task
    assert aio._advance_going_on() is None
    assert inbox(backend_of(aio)) == 0


async def test_async_one_advance_at_a_time(aio):
    """A second one is not begun beside it."""
    tasks = set()
    for _ in range(9):
        await aio.append("s", Event("E"))
        aio._own.advancing = aio._advance_going_on() or asyncio.get_running_loop().create_future()
        tasks.add(id(aio._own.advancing))
    assert len(tasks) == 1
    aio._own.advancing = None


async def test_async_advance_that_fails_by_itself(aio, caplog):
    """It is logged, and nobody else notices."""
    backend = backend_of(aio)
    await aio.append("s", Event("E"))
    await aio.append("s", Event("E"))
    backend.faults.extend([None, DOWN])
    with caplog.at_level(logging.WARNING, "headstream"):
        await aio.append("s", Event("E"))
        assert aio._own.advancing is not None
        await aio._own.advancing
    assert "the feed was not advanced" in caplog.text
    assert inbox(backend) == 3


async def test_async_closing_ends_an_advance(aio):
    """Between two steps; what was begun is finished."""
    for _ in range(3):
        await aio.append("s", Event("E"))
    task = aio._own.advancing
    assert task is not None
    await aio.close()
    assert task.done()
    assert task.exception() is None
    assert inbox(backend_of(aio)) == 3


async def test_async_checkpoints(aio, monkeypatch):
    """Listed page by page, and forgotten."""
    monkeypatch.setattr(limits, "LIST_PAGE", 1)
    await aio.append("s", Event("E"))
    for name in ("b", "a"):
        async with aio.subscribe(checkpoint=name, follow=False) as subscription:
            assert [event.position async for event in subscription] == [1]
    assert [(one.name, one.position) async for one in aio.checkpoints()] == [("a", 1), ("b", 1)]
    await aio.forget("a")
    assert [one.name async for one in aio.checkpoints()] == ["b"]
    with pytest.raises(InvalidInput):
        await aio.forget("")


# --- exact names -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("streams", "expected"),
    [
        (Exactly("order-1"), ["order-1"]),
        ([Exactly("order-1")], ["order-1"]),
        ([Exactly("order-1"), Exactly("order-10")], ["order-1", "order-10"]),
        ([Exactly("order-1"), "cart"], ["order-1", "cart-1"]),
        ("order-1", ["order-1", "order-10", "order-1x"]),
        (Exactly("order-"), []),
        ([], []),
    ],
    ids=repr,
)
def test_streams_by_whole_names(streams, expected):
    """One stream is not those whose names begin like it: in the feed, a subscription and a projection."""
    with connect("memory://") as store, contextlib.closing(sqlite3.connect(":memory:")) as database:
        for name in ("order-1", "order-10", "order-1x", "cart-1", "order"):
            store.append(name, Event("E"))
        assert [event.stream for event in store.feed(streams=streams)] == expected
        assert [event.stream for event in store.subscribe(streams=streams, follow=False)] == expected
        seen: list[str] = []
        projection = Projection("p", lambda _db, _tables, event: seen.append(event.stream), database, streams=streams)
        projection.run_until_caught_up(store)
        assert seen == expected


@pytest.mark.parametrize("streams", [Exactly(""), [Exactly("x" * 257)], cast("Any", Exactly)(1), 1, [1]], ids=repr)
def test_streams_that_cannot_be(streams):
    """Refused at once."""
    with connect("memory://") as store:
        for read in (store.feed, store.subscribe):
            with pytest.raises(InvalidInput):
                read(streams=streams)
