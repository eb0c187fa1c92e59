"""Interrupted at any moment: an exception out of a signal handler (Ctrl-C, a soft time limit, an alarm), at every place where
the interpreter may deliver one. Afterwards nothing that is shared is held, what was acknowledged is there, and nothing is twice."""

import os
import threading
from collections.abc import Callable, Iterator

import pytest

from headstream import NO_STREAM, Decider, Event, EventStore, connect
from headstream.backends.memory import MemoryBackend
from headstream.backends.objects import MemoryObjects
from headstream.backends.objects_folder import FolderObjects
from headstream.backends.workers import Workers
from headstream.bells import bell_of
from headstream.caches import Cache
from headstream.protocol.ops import ALWAYS, Found, Put
from support.embedded import until
from support.interrupting import every_place

PLACES = ("memory", "sqlite", "files")

STEPS = {"memory": 3, "sqlite": 23, "files": 37}
"""Of so many places one is tried: each append is a flush of the disk."""
LONG = {"publish": 13, "advance": 7, "feed": 7, "transact": 5, "load": 3, "close": 3, "subscription": 3}
"""The same of operations with many places. With ``THOROUGH`` in the environment all places of all are tried."""


def step(kind: str, name: str = "") -> int:
    """Every which place is tried."""
    return 1 if "THOROUGH" in os.environ else STEPS[kind] * LONG.get(name, 1)


pytestmark = [
    pytest.mark.timeout(600 if "THOROUGH" in os.environ else 120),
    # After an interrupt between the call that opens a file or a folder and the assignment it is Python that closes it, at once.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
]


@pytest.fixture(params=PLACES)
def kind(request):
    """Where the store is."""
    return request.param


@pytest.fixture
def opened(kind, tmp_path) -> Callable[[], EventStore]:
    """What opens one and the same store."""
    backend = MemoryBackend()
    place = {"memory": backend, "sqlite": str(tmp_path / "shop.db"), "files": (tmp_path / "shop").as_uri()}[kind]
    return lambda: connect(place, advance_every=0)


@pytest.fixture
def store(opened) -> Iterator[EventStore]:
    """The client that is interrupted."""
    with opened() as store:
        yield store


@pytest.fixture
def other(opened) -> Iterator[EventStore]:
    """Another client of the store, with files and locks of its own, as another process has."""
    with opened() as other:
        yield other


class Promises:
    """What a store must hold: events that were acknowledged, and those whose append was interrupted, once or not at all."""

    def __init__(self, store: EventStore, other: EventStore) -> None:
        self._store, self._other = store, other
        self._acknowledged: dict[str, set[str]] = {}
        self._streams: list[str] = []

    def append(self, stream: str, name: str, **options: object) -> None:
        """Append one event, and remember that it was acknowledged."""
        self._store.append(stream, Event("E", name), **options)  # type: ignore[arg-type]
        self._acknowledged.setdefault(stream, set()).add(name)

    def go_on(self, stream: str) -> None:
        """Both clients can write at once, and what they read is right."""
        self._streams.append(stream)
        self._other.append(stream, Event("E", "other"))
        self._store.append(stream, Event("E", "after"))
        if len(self._streams) % 8 == 0:  # the rest is held by the same locks, and takes its time
            self._store.transact(stream, COUNTING, lambda count: Event("Counted", count))
            self._other.advance()
        for client in (self._store, self._other):
            events = list(client.read(stream))
            data = [event.data for event in events]
            assert [event.version for event in events] == [*range(1, len(events) + 1)]
            assert len(data) == len(set(map(str, data)))
            assert self._acknowledged.get(stream, set()) | {"other", "after"} <= set(data)

    def hold(self) -> None:
        """The feed has what the streams have, in their orders, once."""
        for client in (self._store, self._other):
            streams: dict[str, list[int]] = {}
            for event in client.feed():
                streams.setdefault(event.stream, []).append(event.version)
            assert sorted(streams) == [name for name in client.streams() if client.head(name)]
            assert set(self._streams) <= set(streams)
            for name, versions in streams.items():
                assert versions == [event.version for event in client.read(name)]


COUNTING = Decider(initial=lambda: 0, evolve=lambda count, _event: count + 1)


@pytest.fixture
def promises(store, other) -> Promises:
    """Of a test."""
    return Promises(store, other)


OPERATIONS: dict[str, Callable[[EventStore, Promises, str], object]] = {
    "append": lambda _store, promises, stream: promises.append(stream, "interrupted"),
    "append to a new stream": lambda _store, promises, stream: promises.append(
        f"{stream}-new", "interrupted", expected=NO_STREAM
    ),
    "append with a key": lambda _store, promises, stream: promises.append(stream, "interrupted", key="k"),
    "publish": lambda _store, promises, stream: promises.append(stream, "interrupted", publish=True),
    "transact": lambda store, _promises, stream: store.transact(stream, COUNTING, lambda _: Event("E", "interrupted")),
    "load": lambda store, _promises, stream: store.load(stream, COUNTING),
    "read": lambda store, _promises, stream: list(store.read(stream)),
    "advance": lambda store, _promises, _stream: store.advance(),
    "feed": lambda store, _promises, _stream: list(store.feed(limit=5, backwards=True)),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_interrupt_at_every_place(name, kind, store, promises):
    """Of each operation."""
    for place, work in every_place(step(kind, name)):
        stream = f"s-{place}"
        promises.append(stream, "before")
        work(lambda stream=stream: OPERATIONS[name](store, promises, stream))
        promises.go_on(stream)
    promises.hold()


def test_an_append_with_a_key_is_repeated_after_an_interrupt(kind, store, promises):
    """It is appended once, whatever the first attempt did."""
    for place, work in every_place(step(kind)):
        stream = f"s-{place}"
        work(lambda stream=stream: store.append(stream, Event("E", "once"), key="k"))
        promises.append(stream, "once", key="k")
        promises.go_on(stream)
    promises.hold()


def test_an_interrupt_of_a_close(kind, opened):
    """It can be closed again, and the next client finds all free."""
    for place, work in every_place(step(kind, "close")):
        store = opened()
        store.append(f"s-{place}", Event("E"))
        work(store.close)
        store.close()
    with opened() as store:
        assert len(list(store.feed())) == len(list(store.streams()))


@pytest.mark.parametrize(
    "reading", [lambda store: store.read("s"), lambda store: store.feed(), lambda store: store.feed(limit=50)]
)
def test_an_interrupted_read_goes_on(reading, kind, monkeypatch):
    """Asked again it skips no event and repeats none, however many pages there are."""
    monkeypatch.setattr("headstream.limits.READ_WINDOW_OBJECTS", 2)
    with connect("memory://", tail_bytes=500, advance_every=0) as store:
        for number in range(60):
            store.append("s", Event("E", number))
        store.advance()
        wanted = [event.version for event in reading(store)]
        for _, work in every_place(29):
            seen = []
            events = reading(store)
            work(lambda seen=seen, events=events: seen.extend(_each(events)))
            seen.extend(_each(events))
            assert seen == wanted


def _each(events):
    """A loop as applications write it; what it was given before an interrupt is kept."""
    while True:
        try:
            event = next(events)
            yield event.version
        except StopIteration:
            return


def test_an_interrupted_subscription_goes_on(kind, store):
    """From its checkpoint: no event is left out."""
    for number in range(20):
        store.append("s", Event("E", number))
    for place, work in every_place(step(kind, "subscription")):
        handled = []

        def follow(handled=handled, name=f"w-{place}"):
            with store.subscribe(checkpoint=name, follow=False) as subscription:
                for event in subscription:
                    handled.append(event.data)
                    if event.data == 10:
                        subscription.save()

        work(follow)
        first = len(handled)
        follow()
        assert handled[:first] == [*range(first)]
        assert handled[first:] == [*range(handled[first] if len(handled) > first else 20, 20)]
        assert set(handled) == {*range(20)}
    store.append("s", Event("E", "after"))


def test_appends_advance_the_feed_after_an_interrupt():
    """A thread that advances beside the appends is started, if the one before did not come to life or to its end."""
    backend = MemoryBackend()
    with connect(backend, advance_every=1) as store:
        for place, work in every_place():
            work(lambda place=place: store.append("s", Event("E", place)))
            until(lambda: not store._advancer._running.locked())
            store.append("s", Event("E"))
            until(lambda: not backend.list("inbox/", "", 10).keys)


def test_decide_may_not_append_and_is_not_held_to_that_for_ever(kind, store):
    """After an interrupt of the decision the thread appends as before."""
    for place, work in every_place(step(kind)):
        work(lambda place=place: store.transact(f"s-{place}", COUNTING, lambda _: Event("E")))
        store.append(f"s-{place}", Event("E"))
        assert not store._turns.deciding.locked()


# --- what is shared within a process --------------------------------------------------------------------------------


def test_keys_of_memory():
    """Neither a phantom, nor one twice, nor one that is lost."""
    backend = MemoryBackend()

    def change() -> None:
        backend.commit([Put("a", b"", ALWAYS), Put("c", b"", ALWAYS)], Put("b", b"", ALWAYS))
        backend.delete(["a", "b"])

    for _, work in every_place():
        work(change)
        assert list(backend.list("", "", 10).keys) == sorted(backend._objects)
        backend.commit([Put("a", b"", ALWAYS)], Put("b", b"", ALWAYS))
        assert list(backend.list("", "", 10).keys) == sorted(backend._objects)
        assert {"a", "b"} <= set(backend._objects)
        backend.delete(["a", "b", "c"])
        assert backend.list("", "", 10).keys == ()


def test_what_a_cache_holds():
    """Its sum is that of its entries, so its bound stays what it is."""
    cache: Cache[int] = Cache(100)

    def change() -> None:
        cache.put("a", 1, 60, lambda _: False)
        cache.put("a", 2, 50, lambda _: False)
        cache.put("b", 3, 60, lambda _: False)
        cache.get("b")

    for _, work in every_place():
        work(change)
        assert cache._size == sum(size for _, size in cache._entries.values())
        cache.put("c", 4, 100, lambda _: False)
        assert cache.get("c") == 4


@pytest.mark.parametrize("where", ["memory", "folder"])
def test_what_a_cache_of_objects_holds(where, tmp_path):
    """Its sum is that of its objects; each is intact or not there."""
    found = Found(b"x" * 1000, "1")
    store_id = bell_store()
    objects = MemoryObjects(4000) if where == "memory" else FolderObjects(tmp_path, 4000, store_id)

    def change() -> None:
        for number in range(3):
            objects.put(f"segments/{number}", found)
        objects.drop("segments/2")
        objects.clear()

    for _, work in every_place(1 if where == "memory" else 7):
        work(change)
        if isinstance(objects, MemoryObjects):
            assert objects._size == sum(len(one.body) + 512 for one in objects._objects.values())
        objects.put("segments/a", found)
        assert objects.get("segments/a") == found
        assert all(objects.get(f"segments/{number}") in (None, found) for number in range(3))


def bell_store():
    """The id of a store."""
    with connect("memory://") as store:
        return store.store_id


def test_bells():
    """They ring for those who listen, and can be left and listened to again."""

    class Listener:
        heard = 0

        def hear(self) -> None:
            self.heard += 1

    for _, work in every_place():
        listener, store_id = Listener(), bell_store()
        kept = bell_of(store_id)

        def listen(listener=listener, store_id=store_id) -> None:
            bell = bell_of(store_id)
            bell.listen(listener.hear)
            bell.ring()
            bell.leave(listener.hear)

        work(listen)
        listener.heard = 0
        assert bell_of(store_id) is kept
        kept.leave(listener.hear)
        kept.listen(listener.hear)
        kept.ring()
        assert listener.heard == 1


def test_workers():
    """Those of a backend in a cloud: a call after an interrupted one is made, and no thread is waited for."""
    workers = Workers(owner := threading.Event(), "test-workers", 2)
    for _, work in every_place():
        work(lambda: workers.call(len, "interrupted"))
        assert [workers.call(len, "a" * length) for length in range(4)] == [0, 1, 2, 3]
    waits = [workers.begin(lambda number=number: number) for number in range(10)]
    assert [wait() for wait in waits] == [*range(10)]
    workers.close()
    for thread in [thread for thread in threading.enumerate() if thread.name == "test-workers"]:
        thread.join(30)
    assert workers.call(len, "closed") == 6
    assert owner is not None
