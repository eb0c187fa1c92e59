"""A cached backend keeps every promise, and gets nothing twice that never changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from headstream.backends.base import AsyncBackend, Backend
from headstream.backends.caching import AsyncCached, Cached
from headstream.backends.memory import MemoryBackend
from headstream.backends.metering import Meter
from headstream.backends.objects import IMMUTABLE, MemoryObjects, Objects
from headstream.backends.objects_folder import FolderObjects
from headstream.protocol import keys
from headstream.protocol.ops import ABSENT, ALWAYS, MISSING, Found, Get, NotApplied, Put, Stored
from headstream.testing import Blocking
from headstream.testing.conformance import AsyncBackendConformance, BackendConformance
from support.backends import AsyncMemory, Watched

ROOM = 1 << 24


class TestCachedInMemory(BackendConformance):
    """The whole suite."""

    @pytest.fixture
    def backend(self) -> Cached:
        """Over memory."""
        return Cached(MemoryBackend(), MemoryObjects(ROOM), Meter())


class TestCachedInAFolder(BackendConformance):
    """The whole suite."""

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Cached:
        """Over memory."""
        return Cached(MemoryBackend(), FolderObjects(tmp_path, ROOM, UUID(int=1)), Meter())


class TestAsyncCachedInMemory(AsyncBackendConformance):
    """The same, awaited."""

    @pytest.fixture
    def aio(self) -> AsyncCached:
        """Over memory."""
        return AsyncCached(AsyncMemory(MemoryBackend()), MemoryObjects(ROOM), Meter())


class TestAsyncCachedInAFolder(AsyncBackendConformance):
    """The same, awaited."""

    @pytest.fixture
    def aio(self, tmp_path: Path) -> AsyncCached:
        """Over memory."""
        return AsyncCached(AsyncMemory(MemoryBackend()), FolderObjects(tmp_path, ROOM, UUID(int=1)), Meter())


@pytest.fixture
def watched() -> Watched:
    """What is below, with an object in each folder."""
    watched = Watched()
    for folder in (*IMMUTABLE, keys.HEADS, keys.INBOX, keys.CHECKPOINTS):
        for name in "abc":
            watched.commit((), Put(f"{folder}{name}", f"{folder}{name}".encode(), ABSENT))
    watched.commit((), Put(keys.STORE, b"{}", ABSENT))
    watched.take()
    return watched


@pytest.fixture
def meter() -> Meter:
    """What counts hits."""
    return Meter()


@pytest.fixture(params=["memory", "folder"])
def objects(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    """Both places for copies."""
    return MemoryObjects(ROOM) if request.param == "memory" else FolderObjects(tmp_path, ROOM, UUID(int=1))


@pytest.fixture(params=["blocking", "awaited"])
def cached(request: pytest.FixtureRequest, watched: Watched, objects: Objects, meter: Meter) -> Iterator[Backend]:
    """Both kinds, to be called alike."""
    if request.param == "blocking":
        yield Cached(watched, objects, meter)
    else:
        blocking = Blocking(AsyncCached(AsyncMemory(watched), objects, meter))
        yield blocking
        blocking.close()


def hits(meter: Meter) -> tuple[int, int]:
    """Hits and misses."""
    counted = meter.stats(head_hits=0, head_misses=0, state_hits=0, state_misses=0)
    return counted.object_hits, counted.object_misses


@pytest.mark.parametrize("folder", IMMUTABLE)
def test_what_never_changes_is_got_once(cached, watched, meter, folder):
    """Alone or together; the copy is what was got."""
    key = f"{folder}a"
    first = cached.get(Get(key))
    assert isinstance(first, Found)
    assert [cached.get(Get(key)), *cached.get_many([Get(key)])] == [first, first]
    assert watched.take() == [f"get {key}"]
    assert hits(meter) == (2, 1)


@pytest.mark.parametrize(
    "key", [keys.STORE, f"{keys.HEADS}a", f"{keys.INBOX}a", f"{keys.CHECKPOINTS}a", "probes/a", "segment", "index"]
)
def test_what_may_change_is_got_each_time(cached, watched, meter, key):
    """It is neither kept nor counted."""
    cached.get(Get(key))
    cached.get(Get(key))
    cached.get_many([Get(key), Get(key)])
    assert watched.take() == [f"get {key}"] * 2 + [f"get {key} {key}"]
    assert hits(meter) == (0, 0)


def test_several_are_put_together_in_order(cached, watched, meter):
    """Of those asked for together, only what is lacking is got."""
    asked = [Get(f"{folder}{name}") for name in "abc" for folder in (keys.SEGMENTS, keys.HEADS, keys.INDEX)]
    expected = watched.get_many(asked)
    for get in (asked[0], asked[5], asked[8]):
        cached.get(get)
    watched.take()
    assert cached.get_many(asked) == expected
    lacking = [get.key for at, get in enumerate(asked) if at not in {0, 5, 8}]
    assert watched.take() == [f"get {' '.join(lacking)}"]
    assert hits(meter) == (3, 3 + 3)
    assert cached.get_many([]) == ()


def test_what_is_missing_is_not_remembered(cached, watched):
    """It may be written any time."""
    get = Get(f"{keys.SEGMENTS}new")
    assert cached.get(get) == MISSING
    watched.commit((), Put(get.key, b"new", ABSENT))
    assert isinstance(cached.get(get), Found)


def test_a_get_with_an_etag_is_passed_on(cached, watched):
    """The storage knows what is current."""
    get = Get(f"{keys.SEGMENTS}a")
    found = cached.get(get)
    cached.get(Get(get.key, found.etag))
    cached.get_many([Get(get.key, found.etag), get])
    assert watched.take() == [f"get {get.key}"] * 3


def test_what_this_client_writes_or_removes_is_seen(cached, watched):
    """Though nobody writes such objects twice but a repair."""
    get = Get(f"{keys.SEGMENTS}a")
    for _ in range(2):
        cached.get(get)
    assert isinstance(cached.commit((Put(get.key, b"mended", ALWAYS),), Put("heads/new", b"1", ABSENT)), Stored)
    assert cached.get(get).body == b"mended"
    cached.commit((), Put(get.key, b"again", ALWAYS))
    assert cached.get(get).body == b"again"
    cached.delete([get.key, "heads/a"])
    assert cached.get(get) == MISSING


GET: Final = Get(f"{keys.SEGMENTS}a")


@pytest.mark.parametrize(
    "write",
    [lambda cached: cached.commit((), Put(GET.key, b"new", ALWAYS)), lambda cached: cached.delete([GET.key])],
    ids=["commit", "delete"],
)
def test_nothing_is_kept_of_what_a_failed_write_may_have_changed(cached, watched, write):
    """The outcome may be unknown."""
    cached.get(GET)
    watched.take()
    watched.faults.append(NotApplied("busy"))
    with pytest.raises(NotApplied):
        write(cached)
    cached.get(GET)
    assert watched.take()[1:] == [f"get {GET.key}"]


def test_a_copy_outlives_what_others_remove(cached, watched):
    """Nothing refers to it any more but readers that began before."""
    get = Get(f"{keys.SEGMENTS}a")
    found = cached.get(get)
    watched.delete([get.key])
    assert cached.get(get) == found


def test_a_fault_comes_through(cached, watched):
    """And nothing is kept of it."""
    watched.faults.append(NotApplied("busy"))
    with pytest.raises(NotApplied):
        cached.get(Get(f"{keys.SEGMENTS}a"))
    assert isinstance(cached.get(Get(f"{keys.SEGMENTS}a")), Found)


def test_lists_are_passed_on(cached, watched):
    """They are about what is there now."""
    assert len(cached.list(keys.SEGMENTS, "", 10).keys) == 3
    assert watched.take() == [f"list {keys.SEGMENTS}"]


def test_many_threads_get_the_same(watched, objects, meter):
    """Each gets what is there, whoever got it first."""
    cached = Cached(watched, objects, meter)
    keys_ = [f"{folder}{name}" for folder in IMMUTABLE for name in "abc"]
    bodies: list[list[bytes]] = []

    def work() -> None:
        bodies.extend([found.body for found in cached.get_many([Get(key) for key in keys_])] for _ in range(20))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert bodies == [[key.encode() for key in keys_]] * 80


def test_it_looks_like_what_it_caches(watched, objects, meter):
    """In errors and reports, and to whoever asks for its defaults."""
    both: list[Cached | AsyncCached] = [
        Cached(watched, objects, meter),
        AsyncCached(AsyncMemory(watched), objects, meter),
    ]
    for cached in both:
        inner: Backend | AsyncBackend = cached.inner
        assert repr(cached) == repr(inner)
        for name in ("keeps_metadata", "default_tail", "default_poll"):
            assert getattr(cached, name) == getattr(inner, name)


def test_closing_closes_what_is_below(cached, watched):
    """And leaves the copies."""
    cached.close()
    assert watched.closed == 1
