"""The cache of immutable objects in a client: a second replay gets no segments, and nothing that is cached hides the truth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headstream import CorruptData, Decider, Event, EventStore, InvalidInput, Stats, connect, connect_async, verifying
from headstream.backends.memory import MemoryBackend
from headstream.collecting import collect
from headstream.protocol import keys
from headstream.protocol.ops import ALWAYS, Found, Get, Put
from support.api_suite import SUITE, SUITE_OF_TWO
from support.backends import AsyncMemory, Watched

ROOM = 1 << 24
EVENTS = 40


@pytest.fixture
def backend() -> Watched:
    """A store with a long stream ``s`` and a long feed, both with an index."""
    backend = Watched()
    with connect(backend, tail_bytes=200, fan_out=2) as store:
        for number in range(EVENTS):
            store.append("s", Event("E", {"number": number, "text": "x" * 60}))
            store.append(f"t-{number}", Event("E", {"text": "x" * 60}))
            if number % 4 == 3:
                store.advance()
    return backend


@pytest.fixture(params=["memory", "folder"])
def options(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """Both kinds of cache."""
    return {"object_cache_bytes": ROOM} if request.param == "memory" else {"object_cache": tmp_path / "cache"}


def spent(store: EventStore, work: Callable[[], object]) -> Stats:
    """What some work costs."""
    before = store.stats()
    work()
    return store.stats() - before


# --- fewer requests --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["stream", "feed"])
def test_a_second_replay_gets_the_head_alone(backend, options, place):
    """No segments and no index pages; and it reads the same events."""
    with connect(backend, **options) as store:
        read = {"stream": lambda: store.read("s"), "feed": lambda: store.feed(advance=False)}[place]
        events = list(read())
        assert len(events) == (EVENTS if place == "stream" else 2 * EVENTS)
        again = spent(store, lambda: list(read()))
        assert (again.gets, again.not_modified, again.object_misses) == (1, 1, 0)
        assert again.object_hits > 10
        assert list(read()) == events


def test_subscriptions_and_transactions_use_it_too(backend, options):
    """Whatever reads events."""
    counter = Decider(initial=lambda: 0, evolve=lambda count, _event: count + 1)
    with connect(backend, **options) as store:
        for _ in range(2):
            subscription = store.subscribe(follow=False, advance=False)
            following = spent(store, lambda subscription=subscription: list(subscription))
            deciding = spent(store, lambda: store.transact("s", counter, lambda _count: None))
        assert (following.object_misses, deciding.object_misses) == (0, 0)
        assert min(following.object_hits, deciding.object_hits) > 10


def test_a_folder_serves_the_next_client(backend, tmp_path):
    """Another process, or the same after a restart."""
    cache = tmp_path / "cache"
    with connect(backend, object_cache=cache) as store:
        events = list(store.read("s"))
    with connect(backend, object_cache=str(cache)) as store:
        assert list(store.read("s")) == events
        assert (store.stats().object_misses, store.stats().gets) == (0, 2)  # store.json and the head


async def test_an_async_store_uses_it_too(backend, options):
    """Awaited, and in threads."""
    for place in (backend, AsyncMemory(backend)):
        direct = place if isinstance(place, AsyncMemory) else AsyncMemory(place)
        async with connect_async(direct, **options) as store:
            for _ in range(2):
                before = store.stats()
                assert len([event async for event in store.read("s")]) == EVENTS
                assert len([event async for event in store.feed(advance=False)]) == 2 * EVENTS
                again = store.stats() - before
            assert (again.object_misses, again.gets) == (0, 2)


async def test_an_async_store_in_threads_uses_it_too(tmp_path):
    """SQLite, with copies in a folder."""
    url = str(tmp_path / "shop.db")
    async with connect_async(url, tail_bytes=0, object_cache=tmp_path / "cache") as store:
        for number in range(5):
            await store.append("s", Event("E", number))
        for _ in range(2):
            before = store.stats()
            assert [event.data async for event in store.read("s")] == [0, 1, 2, 3, 4]
            again = store.stats() - before
        assert (again.object_hits, again.object_misses) == (5, 0)


def test_without_it_nothing_is_kept(backend):
    """The default; and 0 says so even where a folder is named."""
    for options in ({}, {"object_cache_bytes": 0}, {"object_cache_bytes": 0, "object_cache": "nowhere"}):
        with connect(backend, **options) as store:
            list(store.read("s"))
            again = spent(store, lambda store=store: list(store.read("s")))
            assert (again.object_hits, again.object_misses) == (0, 0)
            assert again.gets > 10
    assert not Path("nowhere").exists()


# --- and the truth ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("check", SUITE, ids=lambda check: check.__name__)
@pytest.mark.parametrize("capacity", [1500, ROOM])
def test_api(check, capacity):
    """Every check of the suite, with room for a few objects or for all."""
    with connect(MemoryBackend(), tail_bytes=200, fan_out=2, object_cache_bytes=capacity) as store:
        check(store)


@pytest.mark.parametrize("check", SUITE_OF_TWO, ids=lambda check: check.__name__)
def test_api_of_two_clients(check, tmp_path):
    """With a folder that both share."""
    backend = MemoryBackend()
    with (
        connect(backend, tail_bytes=200, fan_out=2, object_cache=tmp_path) as store,
        connect(backend, object_cache=tmp_path) as other,
    ):
        check(store, other)


def test_damage_to_the_folder_is_no_damage_to_the_store(backend, tmp_path):
    """The copy is dropped, and the object got again."""
    cache = tmp_path / "cache"
    with connect(backend, object_cache=cache) as store:
        events = list(store.read("s"))
        fetched = store.stats().object_misses
        for number, path in enumerate(sorted(cache.iterdir())):
            content = bytearray(path.read_bytes())
            content[number % len(content)] ^= 0xFF
            path.write_bytes(content)
        mended = spent(store, lambda: list(store.read("s")))
        assert mended.object_misses == fetched > 10
        assert list(store.read("s")) == events
        assert spent(store, lambda: list(store.read("s"))).object_misses == 0


def segments(backend: MemoryBackend) -> list[str]:
    """Those of stream ``s``."""
    return list(backend.list(f"{keys.SEGMENTS}s/", "", 1000).keys)


@pytest.mark.parametrize("damage", ["changed", "in another's place"])
def test_damage_to_the_store_is_not_kept(backend, options, damage):
    """It is reported as long as it is there; once it is mended, nobody remembers it."""
    key, neighbour = segments(backend)[5:7]
    found, other = backend.get_many([Get(key), Get(neighbour)])
    assert isinstance(found, Found)
    assert isinstance(other, Found)
    backend.commit(
        (), Put(key, found.body[:-1] + bytes([found.body[-1] ^ 1]) if damage == "changed" else other.body, ALWAYS)
    )
    with connect(backend, **options) as store:
        for _ in range(2):
            with pytest.raises(CorruptData) as caught:
                list(store.read("s"))
            assert caught.value.key == key
        backend.commit((), Put(key, found.body, ALWAYS))
        assert len(list(store.read("s"))) == EVENTS


async def test_damage_to_the_store_is_not_kept_by_an_async_store(backend, options):
    """The same."""
    key = segments(backend)[5]
    found = backend.get(Get(key))
    assert isinstance(found, Found)
    async with connect_async(AsyncMemory(backend), **options) as store:
        backend.commit((), Put(key, found.body[:-1] + bytes([found.body[-1] ^ 1]), ALWAYS))
        with pytest.raises(CorruptData):
            [event async for event in store.read("s")]
        backend.commit((), Put(key, found.body, ALWAYS))
        assert len([event async for event in store.read("s")]) == EVENTS
        backend.commit((), Put(keys.head("t-1"), b"?", ALWAYS))
    async with connect_async(AsyncMemory(backend)) as store:
        with pytest.raises(CorruptData):  # without copies to give up
            [event async for event in store.read("t-1")]


def test_verify_looks_at_the_storage_itself(backend, options):
    """A copy does not vouch for the object."""
    with connect(backend, **options) as store:
        list(store.read("s"))
        key = segments(backend)[5]
        backend.delete([key])
        assert len(list(store.read("s"))) == EVENTS
        assert key in {fault.key for fault in verifying.verify(store)}
        assert spent(store, lambda: collect(store, dry_run=True)).object_hits == 0


def test_only_the_right_arguments(backend, tmp_path):
    """Bytes, and the path of a folder that can be."""
    taken = tmp_path / "file"
    taken.write_text("")
    for options, message in (
        ({"object_cache_bytes": -1}, "object_cache_bytes is -1; it must be at least 0"),
        ({"object_cache_bytes": "1"}, "object_cache_bytes is a whole number, not str"),
        ({"object_cache": 1}, "object_cache is the path of a folder, not int"),
        ({"object_cache": taken}, "object_cache must name a folder that this process can write to: "),
    ):
        closed = backend.closed
        with pytest.raises(InvalidInput) as caught:
            connect(backend, **options)
        assert str(caught.value).startswith(message)
        assert backend.closed == closed + 1


async def test_only_the_right_arguments_for_an_async_store(backend):
    """The same, when it is awaited."""
    with pytest.raises(InvalidInput):
        await connect_async(AsyncMemory(backend), object_cache_bytes=-1)
    assert backend.closed == 2  # by its writer, too
