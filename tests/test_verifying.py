"""Verifying whole stores: of every layout, damaged at random, beside live writers, on every embedded backend."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from headstream import Event, EventStore, InvalidInput, Unavailable, UnsuitableBackend, connect
from headstream.backends.files import FilesBackend
from headstream.backends.memory import MemoryBackend
from headstream.backends.sqlite import SqliteBackend
from headstream.drivers import sync
from headstream.protocol import checkpoint, keys
from headstream.protocol.mark import Mark
from headstream.protocol.ops import NotApplied, Page
from headstream.verifying import Fault, Kind, Mend, Progress, Report, verify
from headstream.verifying import streams as streams_module
from support.backends import Watched
from support.garbage import LONG, clock_moved, crash
from support.lab import DECIDERS, LAYOUTS, STREAMS, Lab, Layout, forge, harm

ROOMY = Layout(4096, 128, feed=True)
BLOBS = Layout(0, 2, feed=True)
SMALL = Layout(100, 2, feed=True, advanced="all")


def faults_of(store: EventStore, jobs: int = 1) -> list[Fault]:
    """All of them."""
    return list(verify(store, jobs=jobs))


def report_of(store: EventStore) -> Report:
    """The report of a whole verification."""
    return verify(store, jobs=1).finish()


def test_a_store_as_it_was_written_is_clean() -> None:
    """Whatever its layout: nothing at all is reported, and everything is counted."""
    for layout in LAYOUTS:
        lab = Lab.filled(layout)
        report = report_of(lab.store)
        assert report.faults == [], str(layout)
        assert report.clean
        contents = lab.contents()
        assert report.streams == len(STREAMS)
        assert report.events == sum(map(len, contents.values()))
        assert report.changesets == layout.rounds * len(STREAMS)
        assert report.positions == (len(lab.feed()) if layout.feed else 0)
        assert report.segments == len(lab.keys("segments/"))
        assert report.pages == len(lab.keys("index/"))
        assert report.intents == len(lab.keys("inbox/"))
        assert report.checkpoints == len(lab.keys("checkpoints/"))
        assert report.garbage == 0
        read = [*lab.keys("segments/"), *lab.keys("index/"), *lab.keys("heads/")]
        assert report.size == sum(len(lab.get(key)) for key in read)


@pytest.mark.parametrize("layout", [ROOMY, BLOBS, SMALL, Layout(100, 2, feed=False)], ids=str)
@pytest.mark.parametrize("kind", ["sqlite", "files"])
def test_embedded_stores(kind: str, layout: Layout, tmp_path: Path) -> None:
    """Clean; damaged in one place, that is named; several streams at once."""
    backend = SqliteBackend(tmp_path / "shop.db") if kind == "sqlite" else FilesBackend(tmp_path)
    lab = Lab.filled(layout, backend)
    with lab.store:
        assert faults_of(lab.store, jobs=3) == []
        before = lab.snapshot()
        rng = Random(3)
        for folder in ("heads/", "segments/", "index/", "snapshots/", "inbox/"):
            names = lab.keys(folder)
            if names:
                key = rng.choice(names)
                lab.put(key, lab.get(key)[:-1])
                assert [fault.key for fault in faults_of(lab.store, jobs=3)] == [key]
                lab.restore(before)
        assert faults_of(lab.store, jobs=3) == []


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_every_change_is_found_and_named(layout: Layout) -> None:
    """A bit, a cut, an object that is missing, two that are swapped, one in the place of another: at random places."""
    lab = Lab.filled(layout)
    before = lab.snapshot()
    published = {event.changeset.hex() for event in lab.store.feed(advance=False)} if layout.feed else set()
    rng = Random(str(layout))
    damages = 0
    for _ in range(40):
        damage = harm(lab, rng, list(before))
        if damage is not None and not (damage.what == "delete" and _leaves_no_trace(damage.keys[0], lab, published)):
            damages += 1
            faults = faults_of(lab.store)
            named = {fault.key for fault in faults if fault.grave}
            missed = set(damage.keys) - named
            if damage.what == "swap" and damage.keys[0].startswith("index/"):  # one may be behind the other
                assert missed < set(damage.keys), damage
            else:
                assert not missed, (damage, faults)
            assert all(fault.remedy for fault in faults)
        lab.restore(before)
    assert damages > 20
    assert faults_of(lab.store) == []


def _leaves_no_trace(key: str, lab: Lab, published: set[str]) -> bool:
    """Whether nothing in a store says that there was an object: or it was of no use any more."""
    folder, _, name = key.partition("/")
    if folder == "heads":
        gone = keys.stream_of_head(key)
        return gone == "never" or (not lab.store.settings.feed and not lab.keys(f"segments/{name}/"))
    return folder == "checkpoints" or (folder == "inbox" and name[:32] in published)


def test_snapshots_that_are_damaged() -> None:
    """Each is named; no event is lost, and the next append of its decider replaces it."""
    lab = Lab.filled(ROOMY)
    first, second = lab.keys("snapshots/")
    lab.delete(first)
    lab.put(second, lab.get(second)[:-1])
    faults = faults_of(lab.store)
    assert [(fault.key, fault.kind, fault.stream) for fault in faults] == [
        (first, Kind.MISSING, "a/1"),
        (second, Kind.DAMAGED, "b"),
    ]
    assert all(fault.grave and fault.mend is None for fault in faults)
    for stream, decider in DECIDERS.items():
        with connect(lab.backend) as store:
            store.transact(stream, decider, lambda _: Event("E"))
    assert faults_of(lab.store) == []


# --- beside live writers -------------------------------------------------------------------------------------------


def test_writers_go_on(tmp_path: Path) -> None:
    """What they do meanwhile is no fault: appends, advances, sealing, checkpoints."""
    url = str(tmp_path / "shop.db")
    connect(url, tail_bytes=600, fan_out=2, advance_every=7).close()
    stop = threading.Event()

    def append(number: int) -> None:
        rng = Random(number)
        with connect(url) as store:
            while not stop.is_set():
                store.append(f"s{rng.randrange(8)}", [Event("E", "x" * rng.randrange(200))] * rng.randint(1, 3))

    def follow() -> None:
        with connect(url) as store, store.subscribe(checkpoint="worker", poll=(0.001, 0.01)) as subscription:
            for _ in subscription:
                if stop.is_set():
                    return

    writers = [threading.Thread(target=append, args=(number,)) for number in range(2)]
    follower = threading.Thread(target=follow)
    for thread in (*writers, follower):
        thread.start()
    try:
        with connect(url) as store:
            seen = [report_of(store)]
            while len(seen) < 12 or seen[-1].events < 100:
                seen.append(report_of(store))
    finally:
        stop.set()
        with connect(url) as store:
            store.append("last", Event("E"))  # wakes the follower
        for thread in (*writers, follower):
            thread.join()
    assert [fault for report in seen for fault in report.faults] == []
    assert seen[-1].positions
    with connect(url) as store:
        assert faults_of(store) == []


class Meddled(MemoryBackend):
    """Lets others go first before a request that a test names."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[str, Callable[[], None]] = {}

    def _meddle(self, request: str) -> None:
        for name in [name for name in self.before if request.startswith(name)]:
            self.before.pop(name)()

    def get_many(self, gets: Any) -> Any:
        """Several objects, after what was to come first."""
        for get in gets:
            self._meddle(f"get {get.key}")
        return super().get_many(gets)

    def list(self, prefix: str, after: str, limit: int) -> Page:
        """A page of keys, after what was to come first."""
        self._meddle(f"list {prefix}")
        return super().list(prefix, after, limit)


@pytest.mark.parametrize(
    "request_name",
    [
        "get heads/b",
        "list heads/",
        "get inbox/",
        "list inbox/",
        "list segments/",
        "list checkpoints/",
        "get store.json",
    ],
)
@pytest.mark.parametrize("layout", [ROOMY, SMALL], ids=str)
def test_whatever_comes_in_between(request_name: str, layout: Layout) -> None:
    """Appends and an advance at any point of the check: what was announced is settled, what was checked has grown."""
    backend = Meddled()
    lab = Lab.filled(msgspec.structs.replace(layout, advanced="partly"), backend)

    def meddle() -> None:
        for stream in (*STREAMS, "new"):
            lab.store.append(stream, [Event("E", "x" * 90)] * 3)
        with lab.store.subscribe(checkpoint="worker", follow=False) as subscription:
            assert list(subscription)

    backend.before[request_name] = meddle
    report = report_of(lab.store)
    assert report.faults == []
    assert not backend.before


def test_a_damaged_stream_that_is_mended_meanwhile() -> None:
    """It is looked at again when its head has changed: the second look counts."""
    backend = Meddled()
    lab = Lab.filled(SMALL, backend)
    body = lab.get("heads/b")
    lab.put("heads/b", body[:-1])
    backend.before["get heads/b"] = lambda: backend.before.update({"get heads/b": lambda: lab.put("heads/b", body)})
    assert faults_of(lab.store) == []


# --- the feed and the streams --------------------------------------------------------------------------------------


def test_events_that_nobody_will_publish() -> None:
    """Neither in the feed nor announced: the intent is named, and the versions."""
    lab = Lab.filled(ROOMY)
    key = next(key for key in lab.keys("inbox/") if key.endswith("-b") and int(key.split("-")[1]) > 15)
    follows = int(key.split("-")[1])
    lab.delete(key)
    (fault,) = faults_of(lab.store)
    assert (fault.key, fault.kind, fault.stream) == (key, Kind.UNPUBLISHED, "b")
    assert fault.first == follows + 1


@pytest.mark.parametrize("advanced", ["never", "partly"])
@pytest.mark.parametrize("tail", [0, 4096])
def test_a_feed_that_is_missing(tail: int, advanced: str) -> None:
    """Its head is named, whether or not segments of it are left."""
    lab = Lab.filled(Layout(tail, 2, feed=True, advanced=advanced))
    if advanced == "never":
        lab.delete(lab.keys("inbox/")[0])
    lab.delete("heads/!24feed")
    faults = faults_of(lab.store)
    (fault,) = [fault for fault in faults if fault.key == "heads/!24feed"]
    assert (fault.kind, fault.mend) == (Kind.MISSING, Mend.FEED)
    assert {fault.mend for fault in faults} == {Mend.FEED}


def test_events_of_the_feed_that_are_not_those_of_the_stream() -> None:
    """The first one is named: position, version, and the object of the feed that holds it."""
    lab = Lab.filled(BLOBS)
    lab.store.advance()
    before = [event for event in lab.store.feed() if event.stream == "c"]
    forge(lab, "c", 4)
    (fault,) = faults_of(lab.store)
    assert (fault.kind, fault.mend, fault.stream, fault.first) == (Kind.CONTRADICTION, Mend.FEED, "c", 4)
    position = before[3].position
    assert fault.key.startswith("segments/!24feed/")
    assert f"event 4 of a stream, at position {position}," in fault.problem


def test_only_some_streams_are_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the others it is said that they differ, for it takes a reading of the feed to say where."""
    monkeypatch.setattr(streams_module, "LOCATED", 1)
    lab = Lab.filled(BLOBS)
    lab.store.advance()
    for stream in ("b", "c"):
        forge(lab, stream, 2)
    faults = faults_of(lab.store)
    assert [(fault.stream, fault.first) for fault in faults] == [("b", 2), (keys.FEED, None)]
    assert "'c'" in faults[1].problem
    assert faults[1].key == "heads/!24feed"


def test_a_head_that_is_an_old_copy() -> None:
    """The feed has more of the stream: nothing is mended, for it may have grown on another way."""
    lab = Lab.filled(SMALL)
    old = lab.get("heads/b")
    lab.store.append("b", Event("E"))
    lab.store.advance()
    lab.put("heads/b", old)
    (fault,) = [fault for fault in faults_of(lab.store) if fault.kind is not Kind.METADATA]
    assert (fault.key, fault.kind, fault.mend) == ("heads/b", Kind.CONTRADICTION, None)
    assert "the feed has its events up to 25" in fault.problem


@pytest.mark.parametrize("layout", [BLOBS, SMALL, ROOMY, Layout(0, 2, feed=False)], ids=str)
def test_a_head_that_is_missing(layout: Layout) -> None:
    """Whatever says that there was one: the feed, intents, or segments, and also when they are young."""
    lab = Lab.filled(layout)
    lab.delete("heads/c")
    (fault,) = [fault for fault in faults_of(lab.store) if fault.key == "heads/c"]
    assert (fault.kind, fault.mend, fault.stream) == (Kind.MISSING, Mend.HEAD, "c")


def test_a_first_append_that_is_in_flight_is_no_fault() -> None:
    """It has made a segment, and there is no head yet."""
    for feed in (True, False):
        with connect(MemoryBackend(), tail_bytes=50, feed=feed) as store:
            crash(store, "s")
            report = report_of(store)
            assert (report.faults, report.garbage, report.streams) == ([], 0, 0)


def test_checkpoints_and_the_feed() -> None:
    """None may be ahead of it, or be unreadable."""
    lab = Lab.filled(SMALL)
    end = len(lab.feed())
    body = lab.get("checkpoints/worker")
    sync.run(checkpoint.save("eager", None, Mark(end + 5), "a host"), lab.backend)
    (fault,) = faults_of(lab.store)
    assert (fault.key, fault.first, fault.last) == ("checkpoints/eager", end + 1, end + 5)
    lab.put("checkpoints/eager", body)
    (fault,) = faults_of(lab.store)
    assert (fault.key, fault.kind) == ("checkpoints/eager", Kind.DAMAGED)


def test_a_store_that_says_it_has_no_feed() -> None:
    """Though there is one, or something in the inbox: what says so is named, once."""
    for layout in (SMALL, Layout(100, 2, feed=True, advanced="never")):
        lab = Lab.filled(layout)
        lab.put("store.json", lab.get("store.json").replace(b"true", b"false"))
        faults = faults_of(connect(lab.backend))
        assert [(fault.key, fault.kind) for fault in faults] == [("store.json", Kind.CONTRADICTION)]


# --- what nothing refers to ----------------------------------------------------------------------------------------


def test_garbage_is_for_information() -> None:
    """When it is old; and not if its append may be in flight."""
    lab = Lab.filled(SMALL)
    before = set(lab.keys())
    for stream in ("b", "never"):
        crash(lab.store, stream, 2)
    made = [key for key in set(lab.keys()) - before if key.startswith(("segments/", "index/"))]
    assert report_of(lab.store).faults == []
    with clock_moved(LONG):
        report = report_of(lab.store)
    assert [(fault.key, fault.kind, fault.grave) for fault in report.faults] == [
        ("segments/b/", Kind.GARBAGE, False),
        ("segments/never/", Kind.GARBAGE, False),
    ]
    assert report.clean
    assert report.garbage == len(made)
    assert f"{report.garbage - 2} objects" in report.faults[0].problem


def test_names_that_nobody_makes() -> None:
    """Among the heads and in the inbox they do harm; elsewhere they are only named."""
    lab = Lab.filled(SMALL)
    grave = ["heads/!6", "inbox/what"]
    for key in (*grave, "segments/b/what", "segments/what", "index/b/what", "index/!6/x", "probes/what"):
        lab.put(key, b"?")
    with clock_moved(LONG):
        faults = faults_of(lab.store)
    assert {fault.kind for fault in faults} == {Kind.UNKNOWN}
    assert sorted(fault.key for fault in faults if fault.grave) == grave
    assert sorted(fault.key for fault in faults if not fault.grave) == [
        "index/!6/x",
        "index/b/what",
        "probes/what",
        "segments/b/what",
        "segments/what",
    ]


def test_tests_of_the_storage_that_were_left() -> None:
    """They are garbage."""
    lab = Lab.filled(SMALL)
    lab.put(keys.probe(bytes(16)), b"x")
    report = report_of(lab.store)
    assert [(fault.key, fault.kind, fault.grave) for fault in report.faults] == [("probes/", Kind.GARBAGE, False)]
    assert report.garbage == 1


def test_garbage_that_cannot_be_read() -> None:
    """It is named, for information: nothing refers to it."""
    lab = Lab.filled(SMALL)
    before = set(lab.keys())
    crash(lab.store, "b")
    (key,) = [key for key in set(lab.keys()) - before if key.startswith("segments/b/")]
    lab.put(key, lab.get(key)[:-1])
    with clock_moved(LONG):
        (fault,) = faults_of(lab.store)
    assert (fault.key, fault.kind, fault.grave) == (key, Kind.DAMAGED, False)


class Foldered(MemoryBackend):
    """Lists one folder in order, and no more than one."""

    def list(self, prefix: str, after: str, limit: int) -> Page:
        """A page of keys."""
        if prefix in {"segments/", "index/"}:
            raise UnsuitableBackend("the storage does not list keys in the order of their bytes")
        return super().list(prefix, after, limit)


def test_storage_that_keeps_folders_as_folders() -> None:
    """Garbage is looked for in the streams that have a head."""
    lab = Lab.filled(SMALL, Foldered())
    assert report_of(lab.store).faults == []
    crash(lab.store, "b")
    with clock_moved(LONG):
        assert [fault.key for fault in faults_of(lab.store)] == ["segments/b/"]


# --- how it is used ------------------------------------------------------------------------------------------------


def test_it_tells_how_far_it_has_come() -> None:
    """Phase by phase; each counts up."""
    lab = Lab.filled(BLOBS)
    told: list[Progress] = []
    verify(lab.store, jobs=2, progress=told.append).finish()
    phases = list(dict.fromkeys(one.phase for one in told))
    assert phases == ["feed", "streams", "objects", "inbox", "checkpoints"]
    for phase in phases:
        done = [one.done for one in told if one.phase == phase]
        assert done == sorted(done)
    assert [one for one in told if one.phase == "feed"][-1] == Progress("feed", len(lab.feed()), len(lab.feed()))


@pytest.mark.parametrize("jobs", [0, 257, -1])
def test_how_many_at_once(jobs: int) -> None:
    """1 to 256."""
    with connect(MemoryBackend()) as store, pytest.raises(InvalidInput, match="jobs"):
        verify(store, jobs=jobs)


@pytest.mark.parametrize("jobs", [1, 4])
def test_storage_that_does_not_answer(jobs: int) -> None:
    """The error comes through; nothing is said of what was not read."""
    backend = Watched()
    lab = Lab.filled(SMALL, backend)
    backend.faults.extend([None] * 20 + [NotApplied("throttled")] * 50)
    with pytest.raises(Unavailable):
        faults_of(lab.store, jobs)


def test_many_streams_at_once() -> None:
    """More than are worked on; each is checked once."""
    with connect(MemoryBackend(), tail_bytes=0) as store:
        for number in range(60):
            store.append(f"s{number}", Event("E"))
        report = verify(store, jobs=4).finish()
    assert (report.streams, report.events, report.faults) == (60, 60, [])


def test_a_verification_that_is_given_up() -> None:
    """Nothing goes on behind it."""
    lab = Lab.filled(SMALL)
    for key in lab.keys("heads/"):
        lab.put(key, b"?")
    verification: Iterator[Fault] = verify(lab.store, jobs=2)
    assert next(verification).grave
    del verification
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("headstream-verify")]


def test_nothing_is_written() -> None:
    """By a verification, whatever it finds."""
    lab = Lab.filled(SMALL)
    for key in (lab.keys("index/")[0], "heads/b"):
        lab.put(key, b"?")
    before = lab.snapshot()
    assert not report_of(lab.store).clean
    assert lab.snapshot() == before
