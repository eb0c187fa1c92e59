"""The event store as users see it: the whole API suite, blocking and awaited, and what a client does beneath it."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import pytest

from headstream import (
    EXISTS,
    NO_STREAM,
    CorruptData,
    Event,
    EventStore,
    InvalidInput,
    OutcomeUnknown,
    Unavailable,
    WrongExpectedVersion,
    connect,
    limits,
)
from headstream.aio import AsyncEventStore
from headstream.backends.memory import MemoryBackend
from headstream.drivers import sync
from headstream.drivers.aio import Awaited, Threaded
from headstream.protocol import keys
from headstream.protocol.ops import ALWAYS, NotApplied, Put, Unknown
from headstream.protocol.store import open_store
from headstream.turns import Turns
from support.api_suite import SUITE, SUITE_OF_TWO, numbered
from support.awaited import AwaitedStore, Loop
from support.backends import AsyncMemory, Watched

# --- the suite ---------------------------------------------------------------------------------------------------

SETTINGS = {
    "tail": {"tail_bytes": 8192},
    "short tail": {"tail_bytes": 200, "fan_out": 2},
    "blobs": {"tail_bytes": 0, "fan_out": 3, "feed": False},
}
KINDS = ("blocking", "threaded", "awaited")


@pytest.fixture(scope="module", params=SETTINGS)
def backend(request: pytest.FixtureRequest) -> MemoryBackend:
    """A store in memory, with each of some settings."""
    backend = MemoryBackend()
    sync.run(open_store(backend.default_tail, SETTINGS[request.param], create=True), backend)
    return backend


@pytest.fixture(scope="module", params=KINDS)
def clients(request: pytest.FixtureRequest, backend: MemoryBackend) -> Iterator[list[Any]]:
    """Two clients of it: that block, or that are awaited and run in threads or on the loop."""
    with ExitStack() as stack:
        yield [client_of(backend, request.param, stack) for _ in range(2)]


def client_of(backend: MemoryBackend, kind: str, stack: ExitStack) -> EventStore | AwaitedStore:
    """One client."""
    description = sync.run(open_store(backend.default_tail, {}, create=False), backend)
    if kind == "blocking":
        return stack.enter_context(EventStore(backend, description, url="memory://", cache_bytes=limits.HEAD_CACHE))
    loop = stack.enter_context(Loop())
    runner = Threaded(backend) if kind == "threaded" else Awaited(AsyncMemory(backend))
    store = AsyncEventStore(runner, description, url="memory://", cache_bytes=limits.HEAD_CACHE)
    adapted = AwaitedStore(store, loop)
    stack.callback(adapted.close)
    return adapted


@pytest.mark.parametrize("check", SUITE, ids=lambda check: check.__name__)
def test_api(clients: list[Any], check: Callable[[Any], None]):
    """Every check of the suite, by every kind of client."""
    check(clients[0])


@pytest.mark.parametrize("check", SUITE_OF_TWO, ids=lambda check: check.__name__)
def test_api_of_two_clients(clients: list[Any], check: Callable[[Any, Any], None]):
    """Every check that needs two clients."""
    check(*clients)


# --- requests ----------------------------------------------------------------------------------------------------


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """A backend that can be watched; pauses take no time."""
    monkeypatch.setattr("headstream.drivers.sync.time.sleep", lambda _seconds: None)
    return Watched()


@pytest.fixture
def store(watched: Watched) -> Iterator[EventStore]:
    """A client of it whose third append seals a segment."""
    with connect(watched, tail_bytes=150, feed=False) as store:
        watched.take()
        yield store


def filled(store: EventStore, watched: Watched, count: int = 9) -> None:
    """So many appends to stream ``s``."""
    for number in range(1, count + 1):
        store.append("s", numbered(number, number), expected=number - 1)
    watched.take()


def test_what_appends_ask_for(store, watched):
    """A commit each: the client knows the head from the one before."""
    store.append("s", Event("E"), expected=NO_STREAM)
    store.append("s", Event("E"))
    store.append("s", Event("E"), expected=2)
    store.append("s", Event("E"), expected=EXISTS)
    assert watched.take() == ["commit heads/s"] * 4


def test_what_reads_ask_for(store, watched):
    """The head, then the segments together; nothing before the first event is wanted."""
    filled(store, watched)
    reading = store.read("s")
    assert watched.take() == []
    assert len(list(reading)) == 9
    head, segments = watched.take()
    assert head == "get heads/s"
    assert segments.startswith("get segments/s/0000000000000001-")
    assert reading.head().version == 9
    assert watched.take() == []


def test_a_head_before_the_events(store, watched):
    """It begins the read; iterating goes on with it."""
    filled(store, watched)
    reading = store.read("s", after=8)
    assert reading.head().version == 9
    assert [event.version for event in reading] == [9]
    assert watched.take() == ["get heads/s"]


def test_a_read_after_a_failure_goes_on(store, watched):
    """Whatever failed: asked again it yields the next event, and never ends early."""
    filled(store, watched)
    reading = store.read("s")
    watched.faults.extend([Unknown("time-out"), NotApplied("throttled")])
    for _ in range(2):
        with pytest.raises(Unavailable):
            next(reading)
    watched.faults.extend([None, Unknown("time-out")])
    with pytest.raises(Unavailable):
        next(reading)
    assert reading.head().version == 9
    assert [event.version for event in reading] == list(range(1, 10))


def test_a_head_after_a_failure(store, watched):
    """The same for the head of a read."""
    filled(store, watched)
    reading = store.read("s")
    watched.faults.append(Unknown("time-out"))
    with pytest.raises(Unavailable):
        reading.head()
    assert reading.head().version == 9


def test_a_read_in_the_middle_of_which_storage_fails(watched, monkeypatch):
    """Events that were read are given; then the error; then the rest. None is skipped or repeated."""
    monkeypatch.setattr(limits, "READ_WINDOW_OBJECTS", 2)
    with connect(watched, tail_bytes=0, feed=False) as store:
        filled(store, watched)
        for backwards in (False, True):
            watched.faults.extend([None, None, Unknown("time-out")])
            reading = store.read("s", backwards=backwards)
            seen: list[int] = []
            failures = 0
            while True:
                try:
                    seen.extend(event.version for event in reading)
                    break
                except Unavailable:
                    failures += 1
            assert failures == 1
            assert seen == sorted(range(1, 10), reverse=backwards)


def test_a_missing_segment(store, watched):
    """An error with its key, again and again; the events behind it are not given."""
    filled(store, watched)
    key = next(key for key in watched.list("segments/", "", 10).keys)
    watched.delete([key])
    reading = store.read("s")
    for _ in range(2):
        with pytest.raises(CorruptData) as caught:
            next(reading)
        assert caught.value.key == key


def test_an_append_with_faults(store, watched):
    """It tries again, and the caller does not notice."""
    filled(store, watched, 1)
    watched.faults.extend([NotApplied("throttled"), Unknown("time-out"), None, None])
    assert store.append("s", Event("E"), expected=1).version == 2
    assert watched.take() == ["commit heads/s", "commit heads/s", "get heads/s", "commit heads/s"]


def test_an_append_whose_outcome_stays_unknown(store, watched):
    """With the key the caller finds out."""
    filled(store, watched, 1)
    watched.faults.extend([Unknown("time-out")] * 2)
    with pytest.raises(OutcomeUnknown) as caught:
        store.append("s", Event("E"), expected=1, key="k")
    assert (caught.value.follows, len(caught.value.changeset_ids)) == (1, 1)
    assert store.append("s", Event("E"), expected=1, key="k").version == 2
    assert len(list(store.read("s"))) == 2


def test_a_client_without_a_cache(watched):
    """Every append without a head costs a GET; with one, none."""
    with connect(watched, feed=False, cache_bytes=0) as store:
        watched.take()
        head = store.append("s", Event("E"))
        head = store.append("s", Event("E"), expected=head)
        store.append("s", Event("E"))
    assert watched.take() == ["get heads/s", "commit heads/s", "commit heads/s", "get heads/s", "commit heads/s"]


def test_streams_are_listed_page_by_page(store, watched, monkeypatch):
    """Lazily, as far as they are wanted."""
    monkeypatch.setattr(limits, "LIST_PAGE", 2)
    for name in "abcde":
        store.append(name, Event("E"))
    watched.take()
    names = store.streams()
    assert watched.take() == []
    assert next(names) == "a"
    assert watched.take() == ["list heads/"]
    assert list(names) == ["b", "c", "d", "e"]
    assert watched.take() == ["list heads/"] * 2


def test_a_page_full_of_names_that_are_not_shown(store, watched, monkeypatch):
    """Headstream's own streams fill a page, and the list goes on."""
    monkeypatch.setattr(limits, "LIST_PAGE", 2)
    for name in ("$a", "$b", "$c", "x"):
        watched.commit((), Put(keys.head(name), b"a head", ALWAYS))
    assert list(store.streams()) == ["x"]
    assert list(store.streams("$")) == ["$a", "$b", "$c"]


def test_names_that_cannot_be_listed(store, watched):
    """The prefix is checked at once, not when the first name is asked for."""
    with pytest.raises(InvalidInput):
        store.streams("x" * 257)
    assert watched.take() == []


def test_a_head_of_another_store():
    """It is worth its version, and not more: nothing of one store gets into another."""
    options: Any = {"feed": False, "cache_bytes": 0}
    with connect("memory://", **options) as one, connect("memory://", **options) as other:
        head = one.append("s", Event("E", "of one"))
        other.append("s", Event("E", "of the other"))
        other.append("s", Event("E", "next"), expected=head)
        assert [event.data for event in other.read("s")] == ["of the other", "next"]


def test_a_head_travels(watched):
    """Pickled, as between processes, it still saves the request that would read it."""
    with connect(watched, feed=False, cache_bytes=0, tail_bytes=0) as store:
        head = store.append("s", Event("E"))
        watched.take()
        arrived = pickle.loads(pickle.dumps(head))
        assert arrived == head
        assert store.append("s", Event("E"), expected=arrived).version == 2
    assert watched.take() == ["commit heads/s"]


def test_layout_of_a_stream(store, watched):
    """What the head says, and what its pages reference."""
    assert store.layout("s") is None
    filled(store, watched)
    layout = store.layout("s")
    assert layout is not None
    assert layout.version == 9
    assert layout.references[0].key.startswith("segments/s/")
    with pytest.raises(InvalidInput):
        store.layout("")
    with pytest.raises(InvalidInput):
        store.references(layout.references[0])


# --- threads -----------------------------------------------------------------------------------------------------


def test_threads_of_one_client_take_turns(store, watched):
    """They do not race each other: no commit is refused, and no head is read."""
    store.append("s", Event("E"))
    watched.take()

    def write(_writer: int) -> None:
        for _ in range(10):
            store.append("s", Event("E"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert watched.take() == ["commit heads/s"] * 80
    assert len(list(store.read("s"))) == 81


def test_streams_do_not_wait_for_each_other(store, watched):
    """Only appends to one stream take turns."""
    together = threading.Barrier(2, timeout=30)
    commit = watched.commit

    def meet(prelude: Any, head: Put) -> Any:
        together.wait()
        return commit(prelude, head)

    watched.commit = meet
    with ThreadPoolExecutor(2) as pool:
        heads = list(pool.map(lambda name: store.append(name, Event("E"), expected=0), "ab"))
    assert [head.version for head in heads] == [1, 1]


def test_turns_are_given_back(store):
    """Also after a failure, and those of streams that nobody appends to any more are not kept."""
    for number in range(1000):
        with pytest.raises(WrongExpectedVersion):
            store.append(f"s-{number}", Event("E"), expected=7)
    store.append("s-0", Event("E"))
    assert len(store._turns._turns) < 100


def test_a_turn_is_of_its_stream_as_long_as_it_is_used():
    """However many others come and go meanwhile."""
    turns = Turns()
    turn = turns.of("s")
    with turn:
        for number in range(1000):
            turns.of(f"s-{number}")
        assert turns.of("s") is turn
        assert turns.of("t") is not turn


def test_closing(watched):
    """The backend is closed when the block is left, and as often as asked for."""
    with connect(watched) as store:
        pass
    store.close()
    assert watched.closed == 2
