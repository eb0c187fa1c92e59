"""Projections on standby: one worker projects, another takes over; each event is in the tables once, whatever they do."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from uuid import UUID

import pytest

from headstream import AsyncEventStore, CheckpointLost, Event, InvalidInput, ProjectionStopped, connect_async
from headstream.projections import AsyncProjection
from headstream.projections.databases import opened
from headstream.projections.running import _working
from headstream.projections.work import Work
from projections.readers import TABLES, Model, Reader, check, fill

PATIENCE = 30.0


class Crew:
    """Workers of one projection, on one clock."""

    def __init__(self, model: Model, store_id: UUID, stack: AsyncExitStack) -> None:
        self.now = 0.0
        self.works: list[Work] = [stack.enter_context(_working(model.projection(), store_id)) for _ in range(3)]

    def look(self, number: int, now: float) -> bool:
        """One looks; whether the projection is its own."""
        return self.works[number].stand_by(PATIENCE, lambda: now)


@pytest.fixture
async def crew(model, store):
    """Three, of which the first is the owner."""
    async with AsyncExitStack() as stack:
        crew = Crew(model, store.store_id, stack)
        assert crew.look(0, 0)
        yield crew


async def test_standbys_wait_for_as_long_as_the_owner_lives(crew):
    """By what it projects, or by signs of life."""
    for now in range(0, 300, 5):
        if now % 10 == 0:
            crew.works[0].beat()
        assert not crew.look(1, now + 1)
        assert not crew.look(2, now + 2)


async def test_of_two_standbys_one_takes_over(crew):
    """The other waits for that one from then on; the owner that was only paused is told."""
    owners: list[int] = []
    for now in range(0, 200, 5):
        owners += [number for number in (1, 2) if number not in owners and crew.look(number, now + number)]
    assert owners == [1, 2]
    for number in (0, 1):
        with pytest.raises(CheckpointLost, match="another worker runs the projection"):
            crew.works[number].beat()
    crew.works[2].beat()


async def test_a_released_projection_is_taken_at_the_next_look(crew):
    """By the first that looks."""
    assert not crew.look(1, 0)
    crew.works[0].release()
    assert crew.look(2, 1)
    assert not crew.look(1, 2)


async def test_a_standby_of_another_version(crew, model, store):
    """It says at once that the tables have to be rebuilt, rather than after it has waited."""
    with opened(model.reader.source) as database:
        work = Work(model.projection(version=2), database, store.store_id)
        with pytest.raises(InvalidInput, match="rebuild it"):
            work.stand_by(PATIENCE, lambda: 0.0)


def in_a_thread(run: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Call it there; what it returned or raised."""
    outcome: list[object] = []

    def call() -> None:
        try:
            outcome.append(run())
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    return thread, outcome


def test_a_standby_projects_when_the_owner_has_ended(reader, model, store):
    """At once; the owner was closed. Then it is closed itself."""
    projected = threading.Semaphore(0)
    model.reactions["Counted"] = lambda *_: projected.release()
    owner, standby = model.projection(), model.projection()
    fill(store, ["Counted"])
    first, outcome = in_a_thread(lambda: owner.run(store, standby=600))
    assert projected.acquire(timeout=60)
    second, other = in_a_thread(lambda: standby.run(store, standby=0.3))
    owner.close()
    first.join(60)
    fill(store, ["Counted"], first=2)
    assert projected.acquire(timeout=60)
    standby.close()
    second.join(60)
    assert (outcome, other) == ([1], [1])
    check(reader, store)


def test_an_idle_owner_keeps_the_projection(reader, model, store):
    """Its signs of life come while it waits for events; a standby that is closed returns."""
    beats = "SELECT beats FROM headstream_projections"
    projected = threading.Event()
    model.reactions["Counted"] = lambda *_: projected.set()
    owner, standby = model.projection(), model.projection()
    fill(store, ["Counted"])
    first, outcome = in_a_thread(lambda: owner.run(store, standby=0.1))
    assert projected.wait(60)
    second, other = in_a_thread(lambda: standby.run(store, standby=600))
    while reader.rows(beats)[0][0] < 3:
        assert first.is_alive()
        first.join(0.01)
    standby.close()
    second.join(60)
    owner.close()
    first.join(60)
    assert (outcome, other) == ([1], [0])


def test_a_standby_takes_over_what_a_crash_left(reader, model, store):
    """Its owner is still in the database."""
    fill(store, ["Counted"] * 3)
    model.projection().run_until_caught_up(store)
    reader.change("UPDATE headstream_projections SET owner = 'killed'")
    standby = model.projection()
    fill(store, ["Last"], first=4)
    model.reactions["Last"] = lambda *_: standby.close()
    assert standby.run(store, standby=0.1) == 1
    check(reader, store)
    assert reader.rows("SELECT owner FROM headstream_projections") == [("",)]


def test_poison_is_logged_and_releases(reader, model, store, caplog):
    """As an error, without the text of the error, which may hold data."""
    fill(store, ["Poison"])

    def refuse(*_: object) -> None:
        raise ValueError("secret")

    model.reactions["Poison"] = refuse
    with pytest.raises(ProjectionStopped):
        model.projection().run(store, standby=600)
    (record,) = caplog.records
    assert (record.levelno, record.name) == (logging.ERROR, "headstream.projections")
    assert record.getMessage() == "projection 'items' ends at position 1: ValueError in its handler"
    assert reader.rows("SELECT owner FROM headstream_projections") == [("",)]


def test_a_lost_projection_is_logged(model, store, caplog):
    """As a warning."""
    fill(store, ["Counted"])
    projection = model.projection()

    def take_over(*_: object) -> None:
        model.reactions.clear()
        raise CheckpointLost("another worker runs the projection: stop this one")

    with pytest.raises(CheckpointLost), projection.logging_its_end():
        take_over()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "projection 'items' ends: another worker runs the projection" in record.getMessage()


@pytest.fixture
async def async_store(tmp_path):
    """A client for asyncio."""
    async with connect_async(str(tmp_path / "shop.db")) as opened_store:
        yield opened_store


def projection_of(model: Model) -> AsyncProjection:
    """A projection of all events to the model."""
    return AsyncProjection("items", model.handle, model.reader.source, tables=TABLES, create=model.create)


async def until(is_so: Callable[[], bool]) -> None:
    """Wait."""
    async with asyncio.timeout(60):
        while not is_so():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("way", ["close", "cancel"])
async def test_async_standbys(reader: Reader, model: Model, async_store: AsyncEventStore, way: str):
    """Closed or cancelled, the owner releases; a standby that is closed returns."""
    await async_store.append("s", Event("Counted", {"number": 1}))
    owner, standby, third = projection_of(model), projection_of(model), projection_of(model)
    first = asyncio.create_task(owner.run(async_store, standby=600))
    await until(lambda: model.seen == [1])
    second = asyncio.create_task(standby.run(async_store, standby=0.3))
    if way == "close":
        owner.close()
        assert await first == 1
    else:
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    await async_store.append("s", Event("Counted", {"number": 2}))
    await until(lambda: model.seen == [1, 2])
    waiting = asyncio.create_task(third.run(async_store, standby=600))
    await until(lambda: bool(third._following))
    third.close()
    assert await waiting == 0
    standby.close()
    assert await second == 1
