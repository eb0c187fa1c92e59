"""Projections that run: every event once, in transactions with the position, whatever happens in between."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from headstream import CheckpointLost, Event, FeedChanged, InvalidInput, connect
from headstream.projections.ledger import Ledger
from projections.readers import Crash, Model, check, crash_after, fill


def test_every_event_once(reader, model, store):
    """What is there is projected, then what came since; the call says how many events that were."""
    fill(store, ["Counted"] * 7)
    projection = model.projection(batch=3)
    assert projection.run_until_caught_up(store) == 7
    check(reader, store)
    assert projection.run_until_caught_up(store) == 0
    fill(store, ["Counted"] * 2, first=8)
    assert projection.run_until_caught_up(store) == 2
    check(reader, store)
    assert model.seen == list(range(1, 10))
    assert reader.position() == 9


def test_selected_events(reader, model, store):
    """Streams and types are selected; and what is not wanted is passed, and not looked at again."""
    fill(store, ["Counted", "Other", "Counted", "Counted", "Other", "Other"])
    projection = model.projection(types="Counted", streams=["s-1"])
    assert projection.run_until_caught_up(store) == 2
    assert model.seen == [1, 3]
    assert reader.position() == 6


def test_a_batch_is_a_transaction(reader, model, store):
    """When the process ends in the middle of a batch, nothing of the batch is there, and everything before it is."""

    def end(_db, _event):
        raise Crash

    fill(store, ["Counted"] * 4 + ["End"] + ["Counted"])
    model.reactions["End"] = end
    with pytest.raises(Crash):
        model.projection(batch=3).run_until_caught_up(store)
    assert reader.position() == len(reader.items()) == 3
    model.reactions.clear()
    assert model.projection(batch=3).run_until_caught_up(store) == 3
    check(reader, store)


def test_a_crash_at_any_statement(reader, model, store, monkeypatch):
    """Whatever the last statement of a process was, the next one goes on, and nothing is missing or there twice."""
    fill(store, ["Counted"] * 6)
    projection = model.projection(batch=2)
    for statements in range(40):
        try:
            with crash_after(statements, monkeypatch):
                projection.run_until_caught_up(store)
        except Crash:
            continue
        break
    else:
        pytest.fail("it never came to its end")
    assert statements > 12
    check(reader, store)


def test_following(reader, model, store):
    """It projects what comes while it runs, until it is closed; then it says how many events it has handled."""
    fill(store, ["Counted"] * 2)
    told = threading.Event()
    model.reactions["Last"] = lambda _db, _event: told.set()
    projection = model.projection()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(projection.run, store)
        fill(store, ["Counted", "Last"], first=3)
        assert told.wait(30)
        projection.close()
        assert running.result(30) == 4
    check(reader, store)


def test_closed_before_it_begins(reader, model, store):
    """A projection that was closed handles nothing any more."""
    fill(store, ["Counted"])
    projection = model.projection()
    projection.close()
    assert projection.run(store) == 0
    assert projection.run_until_caught_up(store) == 0
    assert model.projection().run_until_caught_up(store) == 1


def test_closed_between_batches(reader, model, store):
    """A batch that has begun is finished."""
    fill(store, ["Last"] * 5)
    projection = model.projection(batch=2)
    model.reactions["Last"] = lambda _db, _event: projection.close()
    assert projection.run_until_caught_up(store) == 2
    assert reader.position() == 2


def test_interrupted(reader, model, store):
    """Ctrl-C in the middle of a batch undoes the batch and comes through; the next run does it."""

    def interrupt(_db, _event):
        raise KeyboardInterrupt

    fill(store, ["Counted", "Interrupt"])
    model.reactions["Interrupt"] = interrupt
    with pytest.raises(KeyboardInterrupt):
        model.projection().run(store)
    assert reader.position() == 0
    model.reactions.clear()
    assert model.projection().run_until_caught_up(store) == 2
    check(reader, store)


def test_without_events_the_position_moves(reader, model, store):
    """A run that is closed notes what it has passed, so that the next need not look at it."""
    fill(store, ["Other"] * 3 + ["Last"])
    projection = model.projection(types="Last")
    model.reactions["Last"] = lambda _db, _event: projection.close()
    assert projection.run(store) == 1
    assert reader.position() == 4


def test_tables_of_its_own(reader, model, store):
    """A handler may look after tables that the projection knows nothing of."""
    reader.change("CREATE TABLE mine (position BIGINT PRIMARY KEY)")
    fill(store, ["Counted"] * 2)

    def handle(db, tables, event):
        assert vars(tables) == {}
        reader.put(db, "INSERT INTO mine VALUES (?)", event.position)

    projection = model.projection(tables=(), create=None)
    projection.handle = handle
    assert projection.run_until_caught_up(store) == 2
    assert sorted(reader.rows("SELECT * FROM mine")) == [(1,), (2,)]
    with pytest.raises(InvalidInput, match="tables="):
        projection.rebuild(store)


# --- two workers -----------------------------------------------------------------------------------------------------


def test_the_later_worker_goes_on(reader, store):
    """The earlier one is told at its next batch, who took over and where; and what it was at is undone."""
    fill(store, ["Counted"] * 2)
    first, second = Model(reader), Model(reader)
    told = threading.Event()
    first.reactions["Last"] = lambda _db, _event: told.set()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(first.projection().run, store)
        fill(store, ["Last"], first=3)
        assert told.wait(30)
        while reader.position() < 3:
            pass
        assert second.projection().run_until_caught_up(store) == 0
        fill(store, ["Counted"], first=4)
        with pytest.raises(CheckpointLost, match="stop this one") as caught:
            running.result(30)
    assert (caught.value.name, caught.value.position) == ("items", 3)
    assert caught.value.owner
    assert second.projection().run_until_caught_up(store) == 1
    check(reader, store)


def test_workers_that_fight(reader, store):
    """Three that begin at the same moment, and begin again when they are stopped, handle every event once."""
    fill(store, ["Counted"] * 60)

    together = threading.Barrier(3)

    def work():
        together.wait(30)
        while True:
            with suppress(CheckpointLost):
                Model(reader).projection(batch=2).run_until_caught_up(store)
                return

    with ThreadPoolExecutor(3) as pool:
        for worker in [pool.submit(work) for _ in range(3)]:
            worker.result(60)
    check(reader, store)


@pytest.mark.parametrize("method", ["create", "add"])
@pytest.mark.parametrize("reader", ["sqlite3"], indirect=True)
def test_workers_that_begin_at_the_same_moment(reader, model, store, monkeypatch, method):
    """Who is refused because another creates the same tries once more, and finds it."""
    original, calls = getattr(Ledger, method), []

    def refuse_once(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise sqlite3.IntegrityError
        original(*arguments)

    fill(store, ["Counted"])
    monkeypatch.setattr(Ledger, method, refuse_once)
    assert model.projection().run_until_caught_up(store) == 1
    assert len(calls) == 2
    check(reader, store)


@pytest.mark.parametrize("reader", ["sqlite3"], indirect=True)
def test_what_stays_refused(model, store, monkeypatch):
    """Refused again, there is another reason, and it is raised."""

    def refuse(_ledger):
        raise sqlite3.IntegrityError("always")

    monkeypatch.setattr(Ledger, "create", refuse)
    with pytest.raises(sqlite3.IntegrityError, match="always"):
        model.projection().run_until_caught_up(store)


def test_a_position_that_was_removed(reader, model, store):
    """Somebody who deletes the row stops the worker."""

    def meddle(db, _event):
        reader.put(db, "DELETE FROM headstream_projections")

    fill(store, ["Meddle", "Counted"])
    model.reactions["Meddle"] = meddle
    with pytest.raises(CheckpointLost, match="rebuilt"):
        model.projection(batch=1).run_until_caught_up(store)


# --- what does not fit -----------------------------------------------------------------------------------------------


def test_another_store(reader, model, store):
    """The position of one store means nothing in another: neither goes on, until it is rebuilt."""
    fill(store, ["Counted"] * 2)
    model.projection().run_until_caught_up(store)
    with connect("memory://") as other:
        fill(other, ["Counted"] * 5, first=5)
        for run in (model.projection().run, model.projection().run_until_caught_up):
            with pytest.raises(InvalidInput, match=f"another store.*{store.store_id}"):
                run(other)
        assert model.projection().rebuild(other) == 5
        check(reader, other)


def test_an_older_copy_of_the_store(reader, model, store):
    """A feed that ends before the position is refused, rather than waited for until it has grown past it."""
    fill(store, ["Counted"] * 2)
    model.projection().run_until_caught_up(store)
    reader.change("UPDATE headstream_projections SET position = 5")
    for run in (model.projection().run, model.projection().run_until_caught_up):
        with pytest.raises(FeedChanged, match="the feed ends before the position"):
            run(store)


def test_versions_of_the_handler(reader, model, store):
    """New code asks to rebuild; once it has, old code that is started again stops, and touches nothing."""
    fill(store, ["Counted"] * 2)
    model.projection(version=1).run_until_caught_up(store)
    with pytest.raises(InvalidInput, match=r"of version 1 .* of version 2: rebuild"):
        model.projection(version=2).run(store)
    model.projection(version=2).rebuild(store)
    for run in (model.projection(version=1).run, model.projection(version=1).rebuild):
        with pytest.raises(CheckpointLost, match="newer version"):
            run(store)
    fill(store, ["Counted"], first=3)
    assert model.projection(version=2).run_until_caught_up(store) == 1
    check(reader, store)


def test_a_store_without_a_feed(reader, model):
    """It cannot be projected."""
    with connect("memory://", feed=False) as store:
        store.append("s", Event("Counted"))
        with pytest.raises(InvalidInput, match="without a feed"):
            model.projection().run(store)
