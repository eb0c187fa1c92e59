"""Collecting the garbage of a store: by itself, beside live writers, on storage with limits, with damage."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from threading import Event as Signal
from threading import get_ident
from typing import Any

import pytest

from headstream import Decider, Event, EventStore, Snapshots, connect, limits
from headstream.backends.memory import MemoryBackend
from headstream.collecting import Collected, Found, Garbage, Problem, Stale, Tally, Unknown, collect
from headstream.drivers import ids
from headstream.errors import AccessDenied, CorruptData, InvalidInput, Unavailable, UnsuitableBackend
from headstream.protocol import keys
from headstream.protocol.ops import ALWAYS, Commit, Get, Page, Put, Stored
from headstream.protocol.ops import Found as Object
from headstream.protocol.ops import Unknown as Silence
from support import garbage
from support.garbage import LONG, begin, clock_moved, contents, crash, live

STREAMS = ("a", "a-1", "b", "never", "A", "s0", "s1", "s2")
"""All that the tests write to."""


@pytest.fixture
def backend() -> MemoryBackend:
    """A place in memory."""
    return MemoryBackend()


@pytest.fixture
def store(backend: MemoryBackend) -> Iterator[EventStore]:
    """A store in it, of many small objects."""
    with connect(backend, tail_bytes=0, fan_out=2) as opened:
        yield opened


def shop(store: EventStore, *, crashes: int = 2) -> dict[str, list[Any]]:
    """Some streams, their garbage, and what is in them; all of it old."""
    with clock_moved(-LONG):
        for number in range(10):
            for stream in ("a", "a-1", "b"):
                store.append(stream, Event("Kept", f"{stream} {number}"))
        for stream in ("a", "b", "never"):
            crash(store, stream, crashes)
    return contents(store)


def everything(backend: MemoryBackend) -> dict[str, bytes]:
    """All objects."""
    found = {key: backend.get(Get(key)) for key in backend.list("", "", 1_000_000).keys}
    return {key: answer.body for key, answer in found.items() if isinstance(answer, Object)}


def objects(store: EventStore) -> set[str]:
    """The keys of all segments and index pages."""
    return garbage.objects(store, STREAMS)


def reports(store: EventStore, **options: object) -> tuple[Collected, list[Found]]:
    """What a collection returned, and what it reported on the way."""
    found: list[Found] = []
    return collect(store, on_found=found.append, **options), found  # type: ignore[arg-type]


# --- garbage and nothing else ----------------------------------------------------------------------------------------


def test_after_crashes_all_garbage_goes_and_nothing_else(store, backend):
    """Segments and pages of streams with and without a head, whose intents were never written; what is live is as it was."""
    before = shop(store)
    backend.delete(backend.list(keys.INBOX, "", 1_000).keys)
    kept = {key: body for key, body in everything(backend).items() if not key.startswith(("heads/", "index/$"))}
    dead = objects(store) - live(store)
    sizes = {key: len(body) for key, body in everything(backend).items()}
    done, found = reports(store)
    assert done.segments == tally(sizes, dead, keys.SEGMENTS)
    assert done.pages == tally(sizes, dead, keys.INDEX)
    assert done.removed == Tally(len(dead), sum(sizes[key] for key in dead))
    assert done.fences == 3 + 2
    assert (done.left, done.unknown, done.problems, done.headless, done.dry_run) == (0, 0, 0, True, False)
    assert [one.stream for one in found if isinstance(one, Garbage)] == ["a", "b", "never"]
    assert sum([one.segments for one in found if isinstance(one, Garbage)], Tally()) == done.segments
    assert objects(store) == live(store)
    assert contents(store) == before
    assert {key for key in kept if key not in everything(backend)} == dead
    again, found = reports(store)
    assert (again.removed, again.fences, found) == (Tally(), 0, [])


def test_snapshots_that_were_replaced_go_and_no_others(store, backend):
    """Of each decider the newest stays; they are counted apart, and streams that have nothing else are found by them."""
    kept: Snapshots[str] = Snapshots(str, every=1)
    states = Decider(str, lambda _, event: f"{event.data}".ljust(limits.SNAPSHOT_INLINE + 1), name="d", snapshots=kept)
    with connect(MemoryBackend(), feed=False) as roomy:
        for some in (store, roomy):
            with clock_moved(-LONG):
                for number in range(4):
                    for stream in ("a", "b"):
                        some.transact(stream, states, lambda _, number=number: Event("E", number))
            dead = objects(some) - live(some)
            assert len(dead) == 6
            done, found = reports(some)
            assert (done.snapshots.objects, done.segments, done.pages) == (6, Tally(), Tally())
            assert done.removed == done.snapshots
            assert [(one.stream, one.snapshots.objects) for one in found if isinstance(one, Garbage)] == [
                ("a", 3),
                ("b", 3),
            ]
            assert objects(some) == live(some)
            with connect(some._backend) as another:
                assert another.load("a", states).state.strip() == "3"


def tally(sizes: dict[str, int], dead: set[str], folder: str) -> Tally:
    """What of the garbage lies in a folder."""
    some = [sizes[key] for key in dead if key.startswith(folder)]
    return Tally(len(some), sum(some))


def test_what_is_young_stays(store):
    """It may belong to an append in flight; a shorter grace may be asked for."""
    store.append("a", Event("E"))
    crash(store, "a", 2)
    store._backend.delete(store._backend.list(keys.INBOX, "", 1_000).keys)
    before = objects(store)
    assert collect(store).removed == Tally()
    assert collect(store, grace_seconds=3600).removed == Tally()
    assert objects(store) == before


def test_the_first_thing_is_to_advance_the_feed(store):
    """Which settles the intents, publishes what waits, and removes what dead intents name."""
    shop(store)
    done, found = reports(store)
    assert (done.published, done.stale, done.oldest) == (30, 0, None)
    assert store._backend.list(keys.INBOX, "", 1).keys == ()
    assert not any(isinstance(one, Stale) for one in found)
    assert objects(store) == live(store)


def test_a_store_without_a_feed():
    """There is no inbox to look at."""
    with connect(MemoryBackend(), tail_bytes=0, fan_out=2, feed=False) as store:
        before = shop(store)
        assert collect(store).removed.objects >= 6
        assert (contents(store), objects(store)) == (before, live(store))


def test_old_probes_and_unknown_names(store, backend):
    """Probes of hours ago go; what headstream does not make is reported, and stays."""
    with clock_moved(-LONG):
        old = keys.probe(ids.stamp().id)
    mine = ["inbox/x", "index/x", "probes/x", "segments/a/x", "segments/x"]
    for key in (old, *mine, "other/x"):
        backend.commit((), Put(key, b"12345", ALWAYS))
    done, found = reports(store)
    assert (done.probes, done.unknown) == (Tally(1, 5), 5)
    assert sorted(one.key for one in found if isinstance(one, Unknown)) == mine
    assert [one.what for one in found if isinstance(one, Problem)] == ["inbox/"]  # the feed cannot be advanced
    assert {*mine, "other/x"} <= everything(backend).keys()
    assert old not in everything(backend)


# --- a dry run -------------------------------------------------------------------------------------------------------


def test_a_dry_run_changes_nothing(store, backend):
    """Not a byte, and says what the real one then does; intents are reported with their ages."""
    shop(store)
    backend.delete(backend.list(keys.INBOX, "", 2).keys)
    with clock_moved(-LONG):
        backend.commit((), Put(keys.probe(ids.stamp().id), b"12345", ALWAYS))
    before = everything(backend)
    dry, found = reports(store, dry_run=True)
    assert everything(backend) == before
    assert (dry.dry_run, dry.fences, dry.published) == (True, 0, 0)
    stale = [one for one in found if isinstance(one, Stale)]
    assert dry.stale == len(stale) == 36 - 2
    assert dry.oldest == min(one.announced_at for one in stale)
    assert {one.stream for one in stale} == {"a", "a-1", "b", "never"}
    assert all(one.changeset_id.version == 7 for one in stale)
    dead = objects(store) - live(store)
    assert dry.removed.objects == len(dead) + 1
    collect(store)
    assert objects(store) == live(store)


# --- beside others ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_beside_live_writers(kind: str, tmp_path: Path):
    """Collections without any grace, one after the other, while writers append, crash and come late: nothing acknowledged is lost."""
    place: str | MemoryBackend = MemoryBackend() if kind == "memory" else str(tmp_path / "shop.db")
    with connect(place, tail_bytes=200, fan_out=2, advance_every=16) as store:
        writers = [Writer(store, number) for number in range(4)]
        stop = Signal()
        with ThreadPoolExecutor(6) as pool:
            collections = [pool.submit(collect_until, store, stop) for _ in range(2)]
            for work in [pool.submit(writer.work, 50) for writer in writers]:
                work.result()
            stop.set()
            assert sum(future.result() for future in collections) > 0
        acknowledged = [data for writer in writers for data in writer.acknowledged]
        read = [data for stream in contents(store).values() for data in stream]
        assert len(read) == len(set(read))
        assert set(acknowledged) <= set(read) <= set(acknowledged) | {data for w in writers for data in w.late}
        assert sorted(event.data for event in store.feed()) == sorted(read)
        with clock_moved(LONG):
            collect(store)
        assert objects(store) == live(store)
        assert sorted(data for stream in contents(store).values() for data in stream) == sorted(read)


def collect_until(store: EventStore, stop: Signal) -> int:
    """Collect again and again; how many objects were removed."""
    removed = 0
    while not stop.is_set():
        done = collect(store, grace_seconds=0, jobs=2)
        assert done.problems == 0
        removed += done.removed.objects
    return removed


class Writer:
    """Appends, crashes before the head is tried, and appends whose heads are tried much later than what they refer to was written."""

    def __init__(self, store: EventStore, number: int) -> None:
        self._store = store
        self._number = number
        self._waiting: list[tuple[Commit, str]] = []
        self.acknowledged: list[str] = []
        self.late: list[str] = []
        """What may or may not be there."""

    def work(self, times: int) -> None:
        """Some of all that, on streams that all writers share."""
        for turn in range(times):
            stream, data = f"s{(turn + self._number) % 3}", f"{self._number}/{turn} {'x' * (turn * 37 % 150)}"
            self._store.append(stream, Event("E", data))
            self.acknowledged.append(data)
            self._waiting.append((begin(self._store, f"s{turn % 3}", f"late {data}"), f"late {data}"))
            while len(self._waiting) > turn % 4:
                self._finish()

    def _finish(self) -> None:
        commit, data = self._waiting.pop(0)
        if isinstance(self._store._backend.commit((), commit.head), Stored):
            self.acknowledged.append(data)


def test_two_collections_at_once(store):
    """Together they remove everything; neither fails."""
    shop(store, crashes=20)
    store._backend.delete(store._backend.list(keys.INBOX, "", 1_000).keys)
    with ThreadPoolExecutor(2) as pool:
        done = [future.result() for future in [pool.submit(collect, store) for _ in range(2)]]
    assert [one.problems for one in done] == [0, 0]
    assert objects(store) == live(store)


# --- storage with limits ---------------------------------------------------------------------------------------------


class Hierarchical(MemoryBackend):
    """Storage that keeps folders as folders, so that ``a/`` comes before ``a-1/``; a list that is seen to be out of order is refused."""

    def list(self, prefix: str, after: str, limit: int) -> Page:
        """As the cloud backend does it, for who lists a page."""
        found = super().list(prefix, "", 1_000_000).keys
        tree = sorted(found, key=lambda key: key.split("/"))
        some = [key for key in tree if key.split("/") > after.split("/")]
        for last, key in pairwise([after, *some[:limit]]):
            if key <= last:
                raise UnsuitableBackend("the storage does not list keys in the order of their bytes")
        return Page(tuple(some[:limit]), more=len(some) > limit)


@pytest.mark.parametrize("page", [1, 1000])
def test_storage_that_keeps_folders_as_folders(page, monkeypatch):
    """The streams that have a head are swept, each counted once; the others are not looked for, and it says so."""
    monkeypatch.setattr(limits, "LIST_PAGE", page)
    backend = Hierarchical()
    with connect(backend, tail_bytes=0, fan_out=2, feed=False) as store:
        before = shop(store)
        with clock_moved(-LONG):
            crash(store, "A")  # it comes before the folders that are out of order, and has no head
        backend.commit((), Put("segments/b/mine", b"", ALWAYS))
        headless = {key for key in objects(store) if key.startswith("segments/never/")}
        dead = objects(store) - live(store) - headless - {"segments/b/mine"}
        if page > 1:
            dead = {key for key in dead if not key.startswith("segments/A/")}
        for dry in (True, False):
            done, found = reports(store, dry_run=dry)
            assert (done.removed.objects, done.headless) == (len(dead), False)
            assert [one.stream for one in found if isinstance(one, Garbage)] == (["A"] if page == 1 else []) + [
                "a",
                "b",
            ]
            assert [one.key for one in found if isinstance(one, Unknown)] == ["segments/b/mine"]
            assert done.streams == 3 + (page == 1 and not dry)
        assert dead.isdisjoint(objects(store))
        assert headless <= objects(store)
        assert contents(store) == before


def test_many_streams_in_pages(monkeypatch):
    """The order of the reports is that of the streams, whatever thread was first."""
    monkeypatch.setattr(limits, "LIST_PAGE", 2)
    with connect(MemoryBackend(), tail_bytes=0, feed=False) as store:
        names = [f"stream-{number:02}" for number in range(40)]
        with clock_moved(-LONG):
            for name in names:
                store.append(name, Event("E"))
                crash(store, name)
        done, found = reports(store, jobs=8)
        assert [one.stream for one in found if isinstance(one, Garbage)] == names
        assert (done.streams, done.looked, done.segments.objects) == (40, 80, 40)


# --- damage and faults -----------------------------------------------------------------------------------------------


def test_a_damaged_stream(store, backend):
    """It is left as it is, and reported; the others are swept."""
    shop(store)
    store.advance()
    with clock_moved(-LONG):
        crash(store, "a")
        crash(store, "b")
    backend.delete(backend.list(keys.INBOX, "", 1_000).keys)
    backend.commit((), Put("heads/a", b"junk", ALWAYS))
    before = {key: body for key, body in everything(backend).items() if "/a/" in key}
    done, found = reports(store)
    (problem,) = [one for one in found if isinstance(one, Problem)]
    assert (problem.what, type(problem.error), done.problems) == ("a", CorruptData, 1)
    assert {key: body for key, body in everything(backend).items() if "/a/" in key} == before
    assert [one.stream for one in found if isinstance(one, Garbage)] == ["b"]


def test_a_damaged_inbox(store, backend):
    """The feed cannot be advanced; the streams are swept all the same."""
    shop(store)
    backend.commit((), Put("inbox/junk", b"junk", ALWAYS))
    done, found = reports(store)
    assert [(one.what, type(one.error)) for one in found if isinstance(one, Problem)] == [("inbox/", CorruptData)]
    assert done.stale == 36
    assert objects(store) == live(store)
    assert done.removed.objects > 0


class Failing(MemoryBackend):
    """Storage that fails for some lists."""

    def __init__(self) -> None:
        super().__init__()
        self.failing: dict[str, Exception] = {}
        self.threads: set[int] = set()

    def list(self, prefix: str, after: str, limit: int) -> Page:
        """The page, or a failure."""
        self.threads.add(get_ident())
        if prefix in self.failing:
            raise self.failing[prefix]
        return super().list(prefix, after, limit)


@pytest.fixture
def failing() -> Failing:
    """Storage that fails when it is told to."""
    return Failing()


def test_a_stream_that_cannot_be_listed(failing):
    """It is reported; the others are swept."""
    with connect(failing, tail_bytes=0, feed=False) as store:
        shop(store)
        failing.failing["segments/a/"] = Silence("time-out")
        done, found = reports(store)
        assert [(one.what, type(one.error)) for one in found if isinstance(one, Problem)] == [("a", Unavailable)]
        assert (done.problems, done.segments.objects) == (1, 4)


def test_probes_that_cannot_be_listed(failing):
    """They are the last: all else is done."""
    with connect(failing, tail_bytes=0, feed=False) as store:
        shop(store)
        failing.failing["probes/"] = Silence("time-out")
        done, found = reports(store)
        assert [one.what for one in found if isinstance(one, Problem)] == ["probes/"]
        assert done.segments.objects == 6


@pytest.mark.parametrize(
    ("prefix", "raised", "kind"),
    [
        ("segments/", Silence("time-out"), Unavailable),
        ("segments/a/", AccessDenied("no"), AccessDenied),
        ("segments/b/", UnsuitableBackend("no"), UnsuitableBackend),
    ],
)
def test_what_ends_a_collection(failing, prefix, raised, kind):
    """Storage that cannot be listed at all, and what no retry mends, wherever it is met; no thread is left."""
    with connect(failing, tail_bytes=0, feed=False) as store:
        shop(store)
        failing.failing[prefix] = raised
        with pytest.raises(kind):
            collect(store)


def test_what_is_reported_is_reported_by_the_caller(failing):
    """The lists are made in other threads; the reports are not."""
    with connect(failing, tail_bytes=0, feed=False) as store:
        shop(store)
        failing.threads.clear()
        by: set[int] = set()
        collect(store, on_found=lambda _found: by.add(get_ident()))
        assert by == {get_ident()}
        assert len(failing.threads - by) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"jobs": 0}, "jobs is 0; it must be at least 1"),
        ({"jobs": 65}, "jobs is 65; at most 64"),
        ({"jobs": 1.5}, "jobs is a whole number"),
        ({"grace_seconds": -1}, "grace_seconds is -1"),
    ],
)
def test_arguments_that_are_refused(store, options, message):
    """Before anything is asked of the storage."""
    with pytest.raises(InvalidInput, match=message):
        collect(store, **options)
