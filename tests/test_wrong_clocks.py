"""A clock before 1970 or after 2286: refused before anything is written; and what older versions wrote by one is told of, passed over and mended."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace

import msgspec
import pytest

from headstream import CorruptData, Event, EventStore, InvalidInput, NotPublished, StoreNotFound, connect
from headstream.backends.memory import MemoryBackend
from headstream.drivers import ids
from headstream.drivers.sync import run
from headstream.protocol import codec, head, keys
from headstream.protocol.ops import ALWAYS, Get, Put
from headstream.protocol.read import load_head
from headstream.verifying import Mend, repair, verify
from support.lab import Layout
from support.script import MICROS
from support.wrong_clock import AFTER_2286, BEFORE_1970, append_at, frame_of

LAID_OUT = [
    Layout(0, 2, feed=True),
    Layout(100, 2, feed=True),
    Layout(100, 128, feed=False),
    Layout(4096, 2, feed=True),
]
YEAR = 366 * 86_400 * 10**9
JUMPS = pytest.mark.parametrize("nanos", [-1, -(60 * YEAR), 10**19, 2**63 - 1 + 10**19], ids=str)


@pytest.fixture
def store() -> Iterator[EventStore]:
    """A store in memory, advanced by nobody."""
    with connect(MemoryBackend(), advance_every=0) as store:
        yield store


def objects(store: EventStore) -> dict[str, str]:
    """All keys and etags."""
    backend = store._backend
    assert isinstance(backend, MemoryBackend)
    return {key: found.etag for key, found in backend._objects.items()}


# --- refused ---------------------------------------------------------------------------------------------------------


@JUMPS
def test_nothing_is_written_by_a_wrong_clock(store, monkeypatch, nanos):
    """Neither an append, nor an advance, nor a checkpoint; the clock is named, and when it is right all goes on."""
    store.append("s", Event("E"))
    before = objects(store)
    with monkeypatch.context() as patch:
        patch.setattr(ids, "time", SimpleNamespace(time_ns=lambda: nanos))
        with store.subscribe(checkpoint="w", follow=False) as subscription:
            for call in (
                lambda: store.append("s", Event("E")),
                lambda: store.append("t", Event("E"), publish=True),
                store.advance,
                lambda: next(iter(subscription)),
            ):
                with pytest.raises(InvalidInput, match=r"this machine's clock shows .* set the clock"):
                    call()
    assert objects(store) == before
    store.append("s", Event("E"), publish=True)
    assert [(event.stream, event.version) for event in store.feed()] == [("s", 1), ("s", 2)]
    assert verify(store).finish().clean


@JUMPS
def test_no_store_is_created_by_a_wrong_clock(monkeypatch, nanos):
    """Its description would not be what it says."""
    backend = MemoryBackend()
    monkeypatch.setattr(ids, "time", SimpleNamespace(time_ns=lambda: nanos))
    with pytest.raises(InvalidInput, match="set the clock"):
        connect(backend)
    with pytest.raises(StoreNotFound):
        connect(backend, create=False)


@pytest.mark.parametrize("nanos", [0, 10**19 - 1], ids=["1970", "2286"])
def test_every_time_that_is_stored_can_be_read(store, monkeypatch, nanos):
    """From the first to the last; and then clocks go on from there, or back."""
    with monkeypatch.context() as patch:
        patch.setattr(ids, "time", SimpleNamespace(time_ns=lambda: nanos))
        store.append("s", Event("E"), publish=True)
    store.append("s", Event("E"), publish=True)
    first, second = store.read("s")
    assert first.recorded_at.year in {1970, 2286}
    assert first.changeset < second.changeset
    assert [event.recorded_at for event in store.feed()] == [first.recorded_at, second.recorded_at]


# --- passed over -----------------------------------------------------------------------------------------------------


def spoil(store: EventStore, stream: str, micros: int = BEFORE_1970, *data: object) -> None:
    """An older version appends to a stream, by a wrong clock."""
    append_at(store._backend, store.settings, stream, micros, *data)


def test_readers_go_on_with_what_can_be_read(store, caplog):
    """An advance that was asked for tells of it; a feed and a subscription log it, once for as long as it is so."""
    spoil(store, "bad")
    store.append("good", Event("E"))
    with pytest.raises(CorruptData) as caught:
        store.advance()
    assert caught.value.key == "heads/bad"
    with caplog.at_level(logging.ERROR, "headstream.feed"):
        assert [event.stream for event in store.feed()] == ["good"]
        store.append("good", Event("E"))
        with store.subscribe(follow=False) as subscription:
            assert [event.version for event in subscription] == [1, 2]
    (told,) = caplog.records
    assert told.levelname == "ERROR"
    assert "heads/bad" in told.getMessage()


def test_publishing_beside_a_damaged_stream(store):
    """To a healthy stream it works; to the damaged one the append is made, and the error says why its events are not in the feed."""
    spoil(store, "bad")
    assert store.append("good", Event("E"), publish=True).positions == range(1, 2)
    with pytest.raises(NotPublished) as caught:
        store.append("bad", Event("E"), publish=True)
    assert isinstance(caught.value.__cause__, CorruptData)
    assert caught.value.head.version == 2


def test_the_advance_beside_the_appends_tells_of_it(caplog):
    """In its own thread; the appends go on."""
    with connect(MemoryBackend(), advance_every=2) as store, caplog.at_level(logging.ERROR, "headstream.feed"):
        spoil(store, "bad")
        store.append("good", Event("E"))
        store.append("good", Event("E"))
    assert any("heads/bad" in record.getMessage() for record in caplog.records)


# --- mended ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAID_OUT, ids=str)
@pytest.mark.parametrize("micros", [BEFORE_1970, -(2**63), AFTER_2286, 2**64 - 1])
def test_a_repair_gives_it_a_time(layout: Layout, micros: int) -> None:
    """Nothing else is changed, wherever in the stream it is; the feed then has everything."""
    with connect(MemoryBackend(), **layout.settings()) as store:
        for number in range(1, 10):
            time = micros if number in {2, 3, 7} else MICROS
            append_at(store._backend, store.settings, "s", time, number, key=f"k{number}", announced=layout.feed)
            store.append("t", Event("E", number))
        with pytest.raises(CorruptData):
            list(store.read("s"))
        verification = verify(store)
        found = [one for one in verification.finish().faults if one.mend is Mend.TIME]
        assert found
        assert all("by a wrong clock" in one.problem and one.stream == "s" for one in found)
        before = objects(store)
        assert any(one.possible for one in repair(verification, write=False))
        assert objects(store) == before
        done = [one for one in repair(verify(store)) if one.mend is Mend.TIME]
        assert [(one.done, "3 changesets" in one.text) for one in done] == [(True, True)]
        events = list(store.read("s"))
        assert [(event.version, event.data) for event in events] == [(number, number) for number in range(1, 10)]
        assert all(event.recorded_at.year in {1970, 2286} for event in events if event.version in {2, 3, 7})
        store.append("s", Event("E", 10))
        for _ in range(3):  # intents with the same time
            list(repair(verify(store)))
        assert verify(store).finish().clean
        if layout.feed:
            store.advance()
            assert [event.data for event in store.feed() if event.stream == "s"] == list(range(1, 11))
            assert verify(store).finish().clean


def test_a_repair_of_the_feed_itself(store):
    """An advance by a wrong clock made all of it unreadable; positions stay what they were."""
    for number in range(5):
        store.append("s", Event("E", number), publish=True)
    feed = list(store.feed())
    spoil_feed(store)
    with pytest.raises(CorruptData):
        list(store.feed(advance=False))
    assert [one.done for one in repair(verify(store)) if one.mend is Mend.TIME] == [True]
    assert [(event.position, event.data) for event in store.feed()] == [(event.position, event.data) for event in feed]
    assert verify(store).finish().clean


def spoil_feed(store: EventStore) -> None:
    """The newest batch of the feed has a time before 1970."""
    known = run(load_head(keys.FEED, None), store._backend)
    *older, newest = known.state.tail
    batch = codec.decode_batch(newest, "k")
    rows = codec.encode_published(batch.events)
    frames = (*older, frame_of(batch.id, batch.parent, batch.follows, BEFORE_1970, rows=rows, key=None))
    digest = codec.chain_digest(known.state.fields.sealed.digest, frames)
    fields = msgspec.structs.replace(known.state.fields, digest=digest)
    state = head.State(fields, frames, sum(map(len, frames)))
    store._backend.commit((), head.put(state, known.etag))


def test_more_than_a_wrong_time_is_left_to_other_repairs(store):
    """A changeset that says something else, too, is not touched."""
    spoil(store, "s")
    store.append("s", Event("E"))
    body = store._backend.get(Get(keys.head("s"))).body
    store._backend.commit((), Put(keys.head("s"), body[:-1] + bytes([body[-1] ^ 1]), ALWAYS))
    faults = verify(store).finish().faults
    assert Mend.HEAD in [one.mend for one in faults]
    assert Mend.TIME not in [one.mend for one in faults]
