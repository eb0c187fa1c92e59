"""Rebuilding: new tables beside the old ones, which serve until one transaction exchanges them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from headstream import CheckpointLost, ProjectionStopped
from headstream.projections.running import SWITCH_ATTEMPTS
from headstream.projections.work import Work
from projections.readers import Crash, Model, check, crash_after, fill

FIRST = {"items", "counts", "items_1", "counts_1"}
SECOND = {"items", "counts", "items_2", "counts_2"}


@pytest.fixture
def damaged(reader, model, store):
    """Five events, and a generation that serves in which all numbers are wrong."""
    fill(store, ["Counted"] * 5)
    model.projection().run_until_caught_up(store)
    reader.change("UPDATE items_1 SET number = 0")
    model.seen.clear()


def is_old(reader):
    """Whether readers see the wrong numbers: the old generation, whole."""
    return [item[2] for item in reader.items()] == [0] * 5


def test_new_tables_replace_the_old_ones(reader, model, store, damaged):
    """Readers see the old generation until the end, and then the new one; nothing is left of the old, and it goes on from there."""
    seen = []
    model.reactions["Counted"] = lambda _db, _event: seen.append(is_old(reader))
    assert model.projection(batch=2).rebuild(store) == 5
    assert seen == [True] * 5
    assert reader.relations() == SECOND
    check(reader, store)
    fill(store, ["Other"], first=6)
    assert model.projection().run_until_caught_up(store) == 1
    check(reader, store)


def test_the_first_build(reader, model, store):
    """Where there is nothing yet, it is a build like any other."""
    fill(store, ["Counted"] * 3)
    assert model.projection().rebuild(store) == 3
    assert reader.relations() == FIRST
    check(reader, store)


def test_other_tables(reader, model, store, damaged):
    """A new version may have fewer, more or other tables, of any shape."""

    def create(db, tables):
        reader.put(db, f"CREATE TABLE {tables.streams} (name VARCHAR(99) PRIMARY KEY)")

    def handle(db, tables, event):
        reader.put(db, f"INSERT INTO {tables.streams} VALUES (?) ON CONFLICT DO NOTHING", event.stream)

    projection = model.projection(version=2, tables=["streams"], create=create)
    projection.handle = handle
    projection.rebuild(store)
    assert reader.relations() == {"streams", "streams_2"}
    assert sorted(reader.rows("SELECT * FROM streams")) == [("s-0",), ("s-1",)]


def test_a_crash_at_any_statement(reader, model, store, damaged, monkeypatch):
    """Whatever the last statement was: readers have the old generation, whole; and the next rebuild makes it right."""
    for statements in range(60):
        try:
            with crash_after(statements, monkeypatch):
                model.projection(batch=2).rebuild(store)
        except Crash:
            assert is_old(reader)
            continue
        break
    else:
        pytest.fail("it never came to its end")
    assert statements > 25
    check(reader, store)
    assert len(reader.relations()) == 4


@pytest.mark.parametrize(("options", "again"), [({"resume": True}, 3), ({}, 5)])
def test_go_on_or_begin_anew(reader, model, store, damaged, *, options, again):
    """With ``resume`` a rebuild goes on where the one before it ended; otherwise it begins anew, with fresh tables."""
    model.seen.clear()
    model.reactions["Counted"] = lambda _db, event: crash() if event.position == 4 else None
    with pytest.raises(Crash):
        model.projection(batch=2).rebuild(store)
    assert is_old(reader)
    model.reactions.clear()
    assert model.projection(batch=2).rebuild(store, **options) == again
    assert len(reader.relations()) == 4
    check(reader, store)


def test_another_version_does_not_go_on(reader, model, store, damaged):
    """What an older handler has begun is thrown away, whatever ``resume`` says."""
    model.reactions["Counted"] = lambda _db, event: crash() if event.position == 4 else None
    with pytest.raises(Crash):
        model.projection(batch=2).rebuild(store)
    model.reactions.clear()
    assert model.projection(version=2).rebuild(store, resume=True) == 5
    check(reader, store)


def crash():
    """The end of the process."""
    raise Crash


def test_poison(reader, model, store, damaged):
    """It stops a rebuild like any run, and the old generation serves on."""

    def fail(_db, event):
        raise LookupError

    fill(store, ["Poison"], first=6)
    model.reactions["Poison"] = fail
    with pytest.raises(ProjectionStopped) as caught:
        model.projection().rebuild(store)
    assert caught.value.position == 6
    assert is_old(reader)


def test_closed(reader, model, store, damaged):
    """A rebuild that is closed before its end changes nothing for readers, and can be gone on with."""
    projection = model.projection(batch=2)
    model.reactions["Counted"] = lambda _db, _event: projection.close()
    assert projection.rebuild(store) == 2
    assert is_old(reader)
    assert model.projection().rebuild(store, resume=True) == 3
    check(reader, store)


# --- beside other workers --------------------------------------------------------------------------------------------


def test_the_old_worker_is_stopped(reader, store):
    """Whoever keeps the old generation up to date is told to stop when the new one serves, and has not written into it."""
    fill(store, ["Counted"] * 4)
    old, new = Model(reader), Model(reader)
    told = threading.Event()
    old.reactions["Told"] = lambda _db, _event: told.set()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(old.projection().run, store)
        fill(store, ["Told"], first=5)
        assert told.wait(30)
        assert new.projection(batch=2).rebuild(store) == 5
        fill(store, ["Counted"], first=6)
        with pytest.raises(CheckpointLost, match="stop this one"):
            running.result(30)
    assert new.projection().run_until_caught_up(store) == 1
    check(reader, store)


@pytest.fixture
def before_the_switch(monkeypatch):
    """What happens between the last event of a rebuild and its switch; it is told how often that was before."""
    original = Work.switch
    happens = []

    def switch(work):
        times = len(happens[1:])
        happens.append(None)
        happens[0](times)
        return original(work)

    monkeypatch.setattr(Work, "switch", switch)
    return happens


def test_readers_never_see_time_go_back(reader, model, store, damaged, before_the_switch):
    """If the old worker was started again and came further, the new generation catches up once more before it serves."""

    def old_worker(times):
        if times == 0:
            fill(store, ["Counted"], first=6)
            Model(reader).projection().run_until_caught_up(store)

    before_the_switch.append(old_worker)
    assert model.projection().rebuild(store) == 6
    assert len(before_the_switch) == 3
    check(reader, store)


def test_an_old_worker_that_never_gives_up(reader, model, store, damaged, before_the_switch):
    """Whoever starts it again and again is stronger: the rebuild says so, and serves nothing that is behind."""

    def old_worker(times):
        if times < SWITCH_ATTEMPTS:
            fill(store, ["Counted"], first=6)
            Model(reader).projection().run_until_caught_up(store)

    before_the_switch.append(old_worker)
    with pytest.raises(CheckpointLost, match="again and again"):
        model.projection().rebuild(store)
    assert len(reader.items()) == 5 + SWITCH_ATTEMPTS
    assert model.projection().rebuild(store, resume=True) == 1
    check(reader, store)


@pytest.mark.parametrize(("resume", "message"), [(False, "rebuilt by another"), (True, "another worker runs")])
def test_two_rebuilds(reader, model, store, damaged, *, before_the_switch, resume, message):
    """The later one goes on, and the earlier one is told to stop, whether the later began anew or took over."""
    other = Model(reader)

    def later(times):
        if times == 0:
            with pytest.raises(Crash):
                other.projection().rebuild(store, resume=resume)
        else:
            raise Crash

    before_the_switch.append(later)
    with pytest.raises(CheckpointLost, match=message):
        model.projection().rebuild(store)
    assert is_old(reader)
    assert len(other.seen) == (0 if resume else 5)
    before_the_switch[0] = lambda _times: None
    assert other.projection().rebuild(store, resume=True) == 0
    check(reader, store)
