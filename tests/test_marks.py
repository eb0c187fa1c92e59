"""A position is an identity: a reader is told when the feed is not the one that it has read, whatever the lengths."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstream import AsyncEventStore, Event, EventStore, FeedChanged, InvalidInput, Mark, connect, limits
from headstream.backends.memory import MemoryBackend
from headstream.drivers import sync
from headstream.drivers.aio import Threaded
from headstream.projections import AsyncProjection, Projection
from headstream.protocol import checkpoint, keys
from headstream.protocol.ops import Found
from headstream.protocol.store import open_store
from headstream.verifying import repair, verify
from support.backends import Watched

Copy = dict[str, Found]
LENGTHS = pytest.mark.parametrize("more", [0, 1, 2, 3], ids=["shorter", "at", "as long", "longer"])
"""How many changesets were appended to the restored store: the lost one was the third."""


def copied(place: MemoryBackend) -> Copy:
    """A backup, without the checkpoints: they are as they were when the store was lost."""
    return {key: found for key, found in place._objects.items() if not key.startswith(keys.CHECKPOINTS)}


def restore(place: MemoryBackend, copy: Copy) -> None:
    """Put the backup back."""
    kept = {key: found for key, found in place._objects.items() if key.startswith(keys.CHECKPOINTS)}
    place._objects.clear()
    place._objects.update({**copy, **kept})
    place._keys[:] = sorted(place._objects)


@pytest.fixture
def place() -> Watched:
    """A backend that tells what was asked of it."""
    return Watched()


@pytest.fixture(params=[limits.MIB // 4, 0], ids=["in the tail", "in segments"])
def store(place: Watched, request: pytest.FixtureRequest) -> Iterator[EventStore]:
    """A client of a store whose feed has three events, in three changesets."""
    with connect(place, tail_bytes=request.param, advance_every=0) as store:
        yield store


def awaiting(place: MemoryBackend) -> AsyncEventStore:
    """An asyncio client of a store that is there."""
    description = sync.run(open_store(place.default_tail, {}, create=False), place)
    return AsyncEventStore(Threaded(place), description, url="memory://", cache_bytes=limits.HEAD_CACHE)


def publish(store: EventStore, *numbers: int) -> None:
    """One changeset of the feed for each."""
    for number in numbers:
        store.append("s", Event("E", number), publish=True)


def lose_one(place: MemoryBackend, store: EventStore, use: Callable[[], object], *, more: int) -> EventStore:
    """Publish three, ``use`` them, and restore what there was before the third; then publish others."""
    publish(store, 1, 2)
    copy = copied(place)
    publish(store, 3)
    use()
    restore(place, copy)
    later = connect(place)
    publish(later, *range(30, 30 + more))
    return later


@LENGTHS
def test_a_checkpoint_of_another_feed(store, place, more):
    """The worker is told before it handles anything; the checkpoint stays."""

    def work() -> None:
        with store.subscribe(checkpoint="w", follow=False) as subscription:
            assert [event.data for event in subscription] == [1, 2, 3]

    later = lose_one(place, store, work, more=more)
    with later.subscribe(checkpoint="w", follow=False) as subscription:
        with pytest.raises(FeedChanged, match="the store was restored or repaired") as caught:
            next(subscription)
        assert (caught.value.position, caught.value.end) == (3, 2 + more)
    assert next(later.checkpoints()).position == 3
    later.forget("w")
    assert [event.data for event in later.subscribe(checkpoint="w", after=2, follow=False)] == [*range(30, 30 + more)]


@LENGTHS
@pytest.mark.parametrize("backwards", [False, True])
def test_reading_after_a_mark_of_another_feed(store, place, more, backwards):
    """By the feed and by a subscription; also from a text."""
    marks: list[Mark] = []

    def read() -> None:
        subscription = store.subscribe(follow=False)
        list(subscription)
        marks.extend((subscription.mark, store.feed().mark(), Mark.parse(str(subscription.mark))))

    later = lose_one(place, store, read, more=more)
    assert len(set(marks)) == 1
    for mark in marks:
        with pytest.raises(FeedChanged):
            list(later.feed(after=mark, backwards=backwards))
        with pytest.raises(FeedChanged):
            next(later.subscribe(after=mark, follow=False))
        assert len(list(store.feed(after=mark.position - 1))) == max(0, more)


@LENGTHS
def test_a_subscription_that_runs_while_the_store_is_restored(store, place, more):
    """It is told at its next look."""
    subscription = store.subscribe(follow=False)
    later = lose_one(place, store, lambda: [next(subscription) for _ in range(3)], more=more)
    assert later.feed().position() == 2 + more
    with pytest.raises(FeedChanged):
        next(subscription)


@LENGTHS
def test_a_projection_of_another_feed(store, place, more):
    """Each way of running it; a rebuild makes it right."""
    with closing(sqlite3.connect(":memory:")) as database:

        def create(db: sqlite3.Connection, tables: Any) -> None:
            db.execute(f"CREATE TABLE {tables.seen} (number INTEGER)")

        def handle(db: sqlite3.Connection, tables: Any, event: Any) -> None:
            db.execute(f"INSERT INTO {tables.seen} VALUES (?)", (event.data,))

        projection = Projection("p", handle, database, tables=["seen"], create=create)
        later = lose_one(place, store, lambda: projection.run_until_caught_up(store), more=more)
        for run in (projection.run, projection.run_until_caught_up):
            with pytest.raises(FeedChanged):
                run(later)
        assert database.execute("SELECT * FROM seen").fetchall() == [(1,), (2,), (3,)]
        projection.rebuild(later)
        assert database.execute("SELECT number FROM seen").fetchall() == [(1,), (2,), *[(30 + n,) for n in range(more)]]
        assert projection.run_until_caught_up(later) == 0


@LENGTHS
async def test_the_same_for_asyncio(place, more):
    """The checkpoint, the reading and the projection."""
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as database, connect(place) as store:
        projection = Projection("p", lambda *_: None, database)
        marks: list[Mark] = []

        def use() -> None:
            projection.run_until_caught_up(store)
            with store.subscribe(checkpoint="w", follow=False) as subscription:
                list(subscription)
            marks.append(subscription.mark)

        lose_one(place, store, use, more=more)
        async with awaiting(place) as later:
            with pytest.raises(FeedChanged):
                await anext(later.feed(after=marks[0]))
            with pytest.raises(FeedChanged):
                await anext(later.subscribe(checkpoint="w", follow=False))
            for run in (
                AsyncProjection("p", lambda *_: None, database).run,
                AsyncProjection("p", lambda *_: None, database).run_until_caught_up,
            ):
                with pytest.raises(FeedChanged):
                    await run(later)


def test_marks_of_the_same_feed(store):
    """At every event, whichever way it was read; in one changeset of the feed or between two."""
    for number in range(4):
        store.append("s", Event("E", number))
        store.append("t", [Event("E", number), Event("F", number)], publish=True)
    everything = list(store.feed())
    reading, subscription = store.feed(streams="t"), store.subscribe(follow=False)
    for event in everything:
        next(subscription)
        subscription.acknowledge()
        assert subscription.mark.changeset is not None
        assert list(store.feed(after=subscription.mark)) == everything[event.position :]
        assert list(store.feed(after=subscription.mark, backwards=True))[::-1] == everything[event.position :]
        assert list(store.subscribe(after=subscription.mark, follow=False)) == everything[event.position :]
    for batch in reading.batches(3):
        for event in batch:
            assert list(store.feed(after=reading.mark_of(event))) == everything[event.position :]
    assert reading.mark() == subscription.mark


async def test_async_marks_of_the_same_feed(store, place):
    """The same for asyncio."""
    publish(store, 1, 2, 3)
    async with awaiting(place) as other:
        reading = other.feed()
        seen = [(event, reading.mark_of(event)) async for batch in reading.batches(2) for event in batch]
        for event, mark in seen:
            assert len([1 async for _ in other.feed(after=mark)]) == 3 - event.position
        assert await reading.mark() == seen[-1][1]
        assert await other.feed(after=await reading.mark()).position() == 3


def test_it_costs_no_request(store, place):
    """Neither an idle look, nor a resume, nor a read after a mark."""
    publish(store, 1, 2, 3, 4)
    with store.subscribe(checkpoint="w", follow=False) as subscription:
        for event in subscription:
            if event.data == 2:
                break
    known = next(iter(store.checkpoints()))

    def requests(mark: int | Mark) -> list[list[str]]:
        with connect(place) as fresh:
            fresh.settings  # noqa: B018 - the description is read
            place.take()
            list(fresh.feed(after=mark, advance=False))
            reading = place.take()
            list(fresh.subscribe(after=mark, advance=False, follow=False))
            return [reading, place.take()]

    for mark in (known.mark, store.feed().mark()):
        assert mark.changeset is not None
        assert requests(mark) == requests(mark.position)


def test_after_more_than_there_is(store):
    """A number is compared with the length of the feed, as it is after it was advanced."""
    store.append("s", [Event("E", number) for number in range(3)])
    assert list(store.feed(after=3)) == []
    store.append("s", Event("E"))
    assert list(store.subscribe(after=4, follow=False)) == []
    for after in (5, 10**15):
        with pytest.raises(FeedChanged):
            list(store.feed(after=after))
        with pytest.raises(FeedChanged):
            store.feed(after=after, limit=0).position()
        with pytest.raises(FeedChanged):
            next(store.subscribe(after=after))


def test_a_checkpoint_without_a_mark(store, place):
    """One of an earlier version is taken at its number, and gets the mark when it is next saved."""
    publish(store, 1, 2, 3)
    sync.run(checkpoint.save("w", None, Mark(2), "old"), place)
    with store.subscribe(checkpoint="w", follow=False) as subscription:
        assert [event.data for event in subscription] == [3]
    (saved,) = store.checkpoints()
    assert saved.mark == store.feed().mark()
    sync.run(checkpoint.save("w", saved, Mark(9), "old"), place)
    with pytest.raises(FeedChanged):
        next(store.subscribe(checkpoint="w", follow=False))


def test_a_ledger_without_marks(store):
    """One of an earlier version gets the columns, and is taken at its number; also after that version moved it once more."""
    publish(store, 1, 2, 3)
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(
            "CREATE TABLE headstream_projections (name VARCHAR(256) NOT NULL, generation INTEGER NOT NULL, "
            "serving INTEGER NOT NULL, version INTEGER NOT NULL, position BIGINT NOT NULL, owner VARCHAR(256) NOT NULL, "
            "store VARCHAR(36) NOT NULL, tables VARCHAR(4000) NOT NULL, PRIMARY KEY (name, generation))"
        )
        row = ("p", 1, 1, 1, 2, "old", str(store.store_id), "")
        database.execute("INSERT INTO headstream_projections VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
        database.commit()
        projection = Projection("p", lambda *_: None, database)
        assert projection.run_until_caught_up(store) == 1
        ask = "SELECT mark FROM headstream_projections"
        assert database.execute(ask).fetchall() == [(str(store.feed().mark()),)]
        database.execute("UPDATE headstream_projections SET position = 1")
        database.commit()
        assert projection.run_until_caught_up(store) == 2


@given(st.integers(0, limits.MAX_VERSION), st.one_of(st.none(), st.binary(min_size=16, max_size=16)))
def test_texts_of_marks(position, changeset):
    """What is written is read."""
    mark = Mark(position, changeset)
    assert Mark.parse(str(mark)) == mark


@pytest.mark.parametrize("text", ["", "-", "x", "-1", "1-", "1-ab", "1-zz", "1.0", "²", f"{10**16}", "1-" + "ab" * 17])
def test_texts_that_are_no_marks(text):
    """Refused."""
    with pytest.raises(InvalidInput, match="not a mark"):
        Mark.parse(text)


@pytest.mark.parametrize("after", ["1", 1.5, None, True, -1])
def test_what_after_cannot_be(store, after):
    """Refused at once."""
    for read in (store.feed, store.subscribe):
        with pytest.raises(InvalidInput, match="after is"):
            read(after=after)


@pytest.mark.parametrize("place_of_damage", [1, 2, 3])
def test_a_feed_that_was_repaired(place_of_damage):
    """Readers up to where the repair begins notice nothing; those behind it are told, as the repair says."""
    place = MemoryBackend()
    with connect(place, tail_bytes=0, advance_every=0) as store:
        publish(store, 1, 2, 3, 4)
        subscription = store.subscribe(follow=False)
        marks = [Mark(0), *[subscription.mark for _ in subscription if not subscription.acknowledge()]]
        segments = sorted(key for key in place._objects if key.startswith("segments/!24feed/"))
        damaged = segments[place_of_damage - 1]
        place._objects[damaged] = Found(b"?", place._objects[damaged].etag)
    with connect(place) as later:
        list(repair(verify(later), feed=True))
        start = place_of_damage - 1
        for mark in marks[: start + 1]:
            assert len(list(later.feed(after=mark))) == 4 - mark.position
        for mark in marks[start + 1 :]:
            with pytest.raises(FeedChanged):
                list(later.feed(after=mark))


@pytest.mark.parametrize("parts", [(-1,), (True,), ("1",), (1.0,), (1, b"short"), (1, "x" * 16)])
def test_a_mark_that_was_made_by_hand_is_checked(store, parts):
    """Before anything is read: it would be met in the middle of a read, as an error of Python's."""
    for use in (store.feed, lambda after: store.subscribe(after=after, checkpoint="c")):
        with pytest.raises(InvalidInput, match="mark"):
            use(after=Mark(*parts))
    assert not list(store.checkpoints())


@pytest.mark.parametrize("text", [None, 5, b"5", Mark(5)])
def test_a_mark_is_read_from_a_string(text):
    """Anything else is named."""
    with pytest.raises(InvalidInput, match="string"):
        Mark.parse(text)
