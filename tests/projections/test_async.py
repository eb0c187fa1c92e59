"""Projections for asyncio: the same, in a thread of their own."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from typing import Any

import pytest

from headstream import (
    AsyncEventStore,
    CheckpointLost,
    Event,
    FeedChanged,
    InvalidInput,
    ProjectionStopped,
    connect_async,
)
from headstream.projections import AsyncProjection
from headstream.projections.running import SWITCH_ATTEMPTS
from projections.readers import TABLES, Model, Reader

SECONDS = 30


@pytest.fixture
async def store() -> AsyncIterator[AsyncEventStore]:
    """An empty store."""
    async with connect_async("memory://") as opened:
        yield opened


def projection_of(model: Model, **options: Any) -> AsyncProjection:
    """A projection of all events to the model."""
    defaults: dict[str, Any] = {"tables": TABLES, "create": model.create}
    return AsyncProjection("items", model.handle, model.reader.source, **defaults | options)


async def fill(store: AsyncEventStore, types: list[str], first: int = 1) -> None:
    """Append events of some types."""
    for number, kind in enumerate(types, first):
        await store.append("s", Event(kind, {"number": number}))


def numbers(reader: Reader) -> list[int]:
    """Of the events in the read model."""
    return [item[2] for item in reader.items()]


async def test_every_event_once(reader, model, store):
    """What is there is projected, then what came since."""
    await fill(store, ["Counted"] * 5)
    assert await projection_of(model, batch=2).run_until_caught_up(store) == 5
    await fill(store, ["Counted"], first=6)
    assert await projection_of(model).run_until_caught_up(store) == 1
    assert numbers(reader) == [1, 2, 3, 4, 5, 6]
    assert reader.position() == 6


async def test_following(reader, model, store):
    """It projects what comes while it runs, off the event loop, until it is closed."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    threads = set()

    def last(_db, _event):
        threads.add(threading.current_thread())
        loop.call_soon_threadsafe(told.set)

    model.reactions["Last"] = last
    projection = projection_of(model)
    task = asyncio.create_task(projection.run(store))
    await fill(store, ["Counted", "Last"])
    await asyncio.wait_for(told.wait(), SECONDS)
    projection.close()
    assert await asyncio.wait_for(task, SECONDS) == 2
    assert numbers(reader) == [1, 2]
    assert threading.main_thread() not in threads


async def test_cancelled(reader, model, store):
    """A transaction that has begun is finished before the task ends, however often it is cancelled."""
    loop, begun, goes_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def slow(_db, _event):
        loop.call_soon_threadsafe(begun.set)
        assert goes_on.wait(SECONDS)

    model.reactions["Slow"] = slow
    await fill(store, ["Slow"])
    task = asyncio.create_task(projection_of(model).run(store))
    await asyncio.wait_for(begun.wait(), SECONDS)
    for _ in range(3):
        task.cancel()
        done, _pending = await asyncio.wait([task], timeout=0.01)
        assert not done
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert numbers(reader) == [1]
    assert reader.position() == 1


async def test_poison(reader, model, store):
    """It stops the projection, or goes to the dead letters."""

    def fail(_db, _event):
        raise LookupError

    model.reactions["Poison"] = fail
    await fill(store, ["Counted", "Poison", "Counted"])
    with pytest.raises(ProjectionStopped) as caught:
        await projection_of(model).run_until_caught_up(store)
    assert caught.value.position == 2
    assert numbers(reader) == [1]
    assert await projection_of(model, dead_letters="letters").run_until_caught_up(store) == 2
    assert numbers(reader) == [1, 3]
    assert [letter.data["position"] async for letter in store.read("letters")] == [2]


async def test_rebuild(reader, model, store):
    """New tables replace the old ones, and the old worker is told to stop."""
    loop, told = asyncio.get_running_loop(), asyncio.Event()
    old = Model(reader)
    old.reactions["Last"] = lambda _db, _event: loop.call_soon_threadsafe(told.set)
    await fill(store, ["Counted"] * 4 + ["Last"])
    running = asyncio.create_task(projection_of(old).run(store))
    await asyncio.wait_for(told.wait(), SECONDS)
    assert await projection_of(model, batch=2).rebuild(store) == 5
    await fill(store, ["Counted"], first=6)
    with pytest.raises(CheckpointLost):
        await asyncio.wait_for(running, SECONDS)
    assert reader.relations() == {"items", "counts", "items_2", "counts_2"}
    assert await projection_of(model).run_until_caught_up(store) == 1
    assert numbers(reader) == [1, 2, 3, 4, 5, 6]


async def test_a_rebuild_that_is_closed(reader, model, store):
    """It changes nothing for readers, and can be gone on with."""
    await fill(store, ["Counted"] * 5)
    projection = projection_of(model, batch=2)
    model.reactions["Counted"] = lambda _db, _event: projection.close()
    assert await projection.rebuild(store) == 2
    assert reader.relations() == {"items_1", "counts_1"}
    assert await projection_of(model).rebuild(store, resume=True) == 3
    assert numbers(reader) == [1, 2, 3, 4, 5]


async def test_a_rebuild_that_is_fought(reader, model, store, monkeypatch):
    """It gives up when the old worker is started again and again."""
    monkeypatch.setattr("headstream.projections.work.Work.switch", lambda _work: False)
    with pytest.raises(CheckpointLost, match="again and again"):
        await projection_of(model).rebuild(store)
    assert SWITCH_ATTEMPTS > 1


async def test_what_cannot_be_rebuilt(model, store):
    """A projection that names no tables."""
    with pytest.raises(InvalidInput, match="tables="):
        await projection_of(model, tables=(), create=None).rebuild(store)


async def test_an_older_copy_of_the_store(reader, model, store):
    """A feed that ends before the position is refused."""
    await fill(store, ["Counted"])
    await projection_of(model).run_until_caught_up(store)
    reader.change("UPDATE headstream_projections SET position = 5")
    with pytest.raises(FeedChanged, match="the feed ends before the position"):
        await projection_of(model).run(store)


async def test_a_connection_from_elsewhere(store, tmp_path):
    """It works if it permits other threads, and the driver's own error says so if it does not."""
    await fill(store, ["Counted"])
    path = tmp_path / "read.db"
    with closing(sqlite3.connect(path)) as bound:
        model = Model(Reader(bound, "qmark"))
        with pytest.raises(sqlite3.ProgrammingError, match="thread"):
            await projection_of(model).run_until_caught_up(store)
    with closing(sqlite3.connect(path, check_same_thread=False)) as free:
        model = Model(Reader(free, "qmark"))
        assert await projection_of(model).run_until_caught_up(store) == 1
        assert numbers(model.reader) == [1]
    with suppress(OSError):
        path.unlink()
