"""What a client remembers, within one number of bytes: values, heads of an age, states. More of heads is in ``test_session``."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstream.caches import Cache, HeadCache, KeptState, StateCache
from support.streams import Stream


def always(_seen: object) -> bool:
    """What is there is better."""
    return True


def never(_seen: object) -> bool:
    """What comes is better."""
    return False


# --- values --------------------------------------------------------------------------------------------------------


def test_values_by_key():
    """Any that can be hashed."""
    cache: Cache[str] = Cache(100)
    cache.put("a", "one", 10, never)
    cache.put(("a", 1), "two", 10, never)
    assert [cache.get(key) for key in ("a", ("a", 1), "b")] == ["one", "two", None]


def test_what_is_there_may_be_better():
    """Then it stays, with its size."""
    cache: Cache[str] = Cache(100)
    cache.put("a", "one", 10, always)
    cache.put("a", "two", 90, always)
    cache.put("b", "other", 90, never)
    assert [cache.get(key) for key in "ab"] == ["one", "other"]
    cache.put("a", "two", 10, never)
    assert cache.get("a") == "two"


def test_what_was_not_asked_for_the_longest_gives_way():
    """As much as it takes."""
    cache: Cache[int] = Cache(30)
    for key in "abc":
        cache.put(key, 1, 10, never)
    cache.get("a")
    cache.put("d", 1, 20, never)
    assert [key for key in "abcd" if cache.get(key)] == ["a", "d"]


def test_what_is_larger_than_all():
    """It is not kept, and nothing gives way for it; but it is no longer what it was."""
    cache: Cache[str] = Cache(30)
    for key in "abc":
        cache.put(key, "small", 10, never)
    cache.put("d", "large", 31, never)
    cache.put("a", "large", 31, never)
    assert [cache.get(key) for key in "abcd"] == [None, "small", "small", None]
    cache.put("d", "just right", 10, never)
    assert [cache.get(key) for key in "bcd"] == ["small", "small", "just right"]


@given(
    st.integers(0, 60), st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 70), st.booleans()), max_size=40)
)
def test_it_never_holds_more_than_it_may(capacity, puts):
    """Whatever is put, in whatever order; and it knows how much that is."""
    cache: Cache[int] = Cache(capacity)
    for key, size, better in puts:
        cache.put(key, size, size, never if better else always)
        held = {key: found for key in "abcdef" if (found := cache.get(key)) is not None}
        assert sum(held.values()) == cache._size <= capacity
        if better:
            assert held.get(key) == (size if size <= capacity else None)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only where processes fork")
def test_a_fork():
    """The child begins empty, even if a thread of the parent was in the middle of a change; the parent goes on."""
    cache: Cache[str] = Cache(100)
    cache.put("a", "parent", 10, never)
    with cache._lock:
        child = os.fork()
        if child == 0:  # pragma: no cover - in the child
            cache.put("a", "child", 100, never)
            os._exit(0 if cache.get("a") == "child" else 1)
        _, status = os.waitpid(child, 0)
    assert status == 0
    assert cache.get("a") == "parent"


def test_threads_share_it():
    """Nothing is lost of the count."""
    cache: Cache[int] = Cache(50)

    def work(seed: int) -> None:
        for number in range(500):
            cache.put((seed * number) % 17, number, number % 13, never)
            cache.get(number % 17)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(1, 5)))
    assert cache._size == sum(size for _, size in cache._entries.values()) <= 50


# --- heads of an age -----------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still until it is set."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("headstream.caches.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_a_head_that_was_seen_recently(clock):
    """Up to its age in seconds, and no longer."""
    cache = HeadCache(Cache(10_000))
    known = Stream().grow().known
    cache.put(known)
    clock.now += 5
    assert cache.recent("s", 5) is known
    assert cache.recent("s", 4.9) is None
    assert cache.recent("s", float("inf")) is known
    assert cache.recent("other", 5) is None


def test_no_age_is_no_head(clock):
    """Even one that was seen in the same moment may have been followed by another."""
    cache = HeadCache(Cache(10_000))
    cache.put(Stream().grow().known)
    assert cache.recent("s", 0) is None


def test_a_head_that_is_seen_again_is_young_again(clock):
    """The storage has said that it is the newest still. An older one that comes late changes nothing."""
    cache = HeadCache(Cache(10_000))
    stream = Stream().grow()
    older, newer = stream.known, stream.grow().known
    cache.put(newer)
    clock.now += 5
    cache.put(older)
    assert cache.recent("s", 4) is None
    cache.put(newer)
    assert cache.recent("s", 0.1) is newer


def test_whether_a_head_was_just_seen(clock):
    """This very one, and not too long ago; it counts neither as a hit nor as a miss."""
    cache = HeadCache(Cache(10_000))
    stream = Stream().grow()
    older, newer = stream.known, stream.grow().known
    assert not cache.saw(newer, 1)
    cache.put(newer)
    clock.now += 1
    assert [cache.saw(newer, age) for age in (0, 1, 1.1)] == [False, False, True]
    assert not cache.saw(older, 2)
    assert (cache.hits, cache.misses) == (0, 0)


def test_a_head_that_was_rebuilt():
    """It may have fewer versions than what is remembered, and is newer all the same."""
    cache = HeadCache(Cache(10_000))
    before, after = Stream().times(3).known, Stream().times(2).fence().known
    cache.put(before)
    cache.put(after)
    assert cache.get("s") is after
    cache.put(before)
    assert cache.get("s") is after


def test_hits_and_misses(clock):
    """A head that is young enough is a hit; one that is not is looked for again, and counted then."""
    cache = HeadCache(Cache(10_000))
    assert cache.get("s") is None
    assert (cache.hits, cache.misses) == (0, 1)
    cache.put(Stream().grow().known)
    assert cache.get("s") is not None
    assert cache.recent("s", 1) is not None
    assert (cache.hits, cache.misses) == (2, 1)
    clock.now += 5
    assert cache.recent("s", 1) is None
    assert (cache.hits, cache.misses) == (2, 1)


# --- states --------------------------------------------------------------------------------------------------------


def test_states_by_stream_name_and_version():
    """Each of its own."""
    cache = StateCache(Cache(10_000))
    for number, place in enumerate((("s", "d", 1), ("t", "d", 1), ("s", "e", 1), ("s", "d", 2)), 1):
        cache.put(*place, KeptState(number, b"state", 0))
    assert [
        found and found.at for found in (cache.get("s", "d", 1), cache.get("s", "d", 2), cache.get("s", "d", 3))
    ] == [
        1,
        4,
        None,
    ]
    assert (cache.hits, cache.misses) == (2, 1)


def test_a_newer_state_is_not_replaced_by_an_older_one():
    """Nor by another of the same version, which says the same."""
    cache = StateCache(Cache(10_000))
    first, newer = KeptState(5, b"first", 0), KeptState(6, b"newer", 0)
    for put, expected in (
        (first, first),
        (KeptState(4, b"older", 0), first),
        (KeptState(5, b"same", 0), first),
        (newer, newer),
    ):
        cache.put("s", "d", 1, put)
        assert cache.get("s", "d", 1) == expected


def test_whether_a_state_is_there():
    """Of that version or a later one; it counts neither as a hit nor as a miss."""
    cache = StateCache(Cache(10_000))
    cache.put("s", "d", 1, KeptState(5, b"state", 0))
    assert [cache.holds("s", "d", 1, at) for at in (4, 5, 6)] == [True, True, False]
    assert not cache.holds("s", "d", 2, 1)
    assert (cache.hits, cache.misses) == (0, 0)


def test_heads_and_states_share_the_bytes():
    """What was not asked for the longest gives way, whichever it is; and each takes about what it says."""
    known = Stream().grow().known
    state = KeptState(1, bytes(1000), 0)
    shared: Cache[Any] = Cache(known.state.size + 1300)
    heads, states = HeadCache(shared), StateCache(shared)
    heads.put(known)
    states.put("s", "d", 1, state)
    assert (heads.get("s"), states.get("s", "d", 1)) == (known, state)
    states.put("s", "e", 1, state)
    assert (heads.get("s"), states.get("s", "d", 1), states.get("s", "e", 1)) == (None, None, state)
