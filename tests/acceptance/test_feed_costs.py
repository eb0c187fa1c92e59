"""What the feed costs is a promise: it is counted, by the operation in memory, and by the request on the wire."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import ceil

import pytest

from headstream import Event, EventStore, Subscription, connect, limits
from headstream.backends.memory import MemoryBackend
from headstream.drivers import sync
from headstream.protocol import keys
from headstream.protocol.ops import NOT_MODIFIED, Get, GetAnswer, Page, Put, Refused, Stored, Unknown
from headstream.protocol.store import open_store
from servers.proxy import Cut, Proxy

EVENT = Event("Measured", {"number": 12345, "text": "x" * 155})
"""About 200 bytes as stored."""
FEED = keys.head(keys.FEED)
BATCH = limits.FEED_BATCH_INTENTS


class Bill(MemoryBackend):
    """Notes what each operation asks for, and what it uploads."""

    default_tail = 64 * limits.KIB

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        """Such as ``GET heads``: a kind of request and a folder; the head of the feed is ``$feed``."""
        self.round_trips = 0
        self.uploaded = 0
        self.unchanged = 0
        """Gets that were answered by "not modified"."""
        self.deleted: list[Sequence[str]] = []
        """The keys of each delete."""
        self.lost_deletes = 0
        """How many of the next deletes fail before they have an effect."""
        self.on_list: Callable[[], None] = lambda: None

    def client(self) -> EventStore:
        """A client that has seen nothing but ``store.json``."""
        description = sync.run(open_store(self.default_tail, {}, create=False), self)
        store = EventStore(self, description, url="counted://", cache_bytes=limits.HEAD_CACHE)
        self.take()
        return store

    def keys_of(self, folder: str) -> list[str]:
        """All keys in a folder."""
        return [key for key in self._keys if key.startswith(folder)]

    def take(self) -> Counter[str]:
        """The bill since the last time."""
        lines, self.lines = self.lines, []
        self.round_trips = self.uploaded = self.unchanged = 0
        self.deleted = []
        return Counter(lines)

    def _note(self, kind: str, *requested: str) -> None:
        self.lines += [f"{kind} {'$feed' if key == FEED else key.partition('/')[0]}" for key in requested]
        self.round_trips += 1

    def get(self, get: Get) -> GetAnswer:
        self._note("GET", get.key)
        answer = super().get(get)
        self.unchanged += answer is NOT_MODIFIED
        return answer

    def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        self._note("GET", *[get.key for get in gets])
        return tuple(super(Bill, self).get(get) for get in gets)

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        self._note("PUT", *[put.key for put in prelude], head.key)
        self.uploaded += sum(len(put.body) for put in (*prelude, head))
        return super().commit(prelude, head)

    def delete(self, keys: Sequence[str]) -> None:
        self._note("DELETE", keys[0])
        if self.lost_deletes:
            self.lost_deletes -= 1
            raise Unknown("time-out")
        self.deleted.append(keys)
        super().delete(keys)

    def list(self, prefix: str, after: str, limit: int) -> Page:
        self._note("LIST", prefix)
        self.on_list()
        return super().list(prefix, after, limit)


@pytest.fixture
def bill() -> Bill:
    """A new store, whose clients advance the feed only when they are asked to."""
    bill = Bill()
    sync.run(open_store(bill.default_tail, {"advance_every": 0}, create=True), bill)
    return bill


def backlog(store: EventStore, intents: int, streams: int) -> list[str]:
    """Appends that nobody has looked at, in turn to each of some streams; the names in their order."""
    names = [f"s-{number % streams}" for number in range(intents)]
    for name in names:
        store.append(name, EVENT)
    return names


# --- following ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("appended", [0, 3])
def test_an_idle_subscription(bill, appended):
    """Two small requests a poll, whether the feed exists or not: its head, which has not changed, and a list of the inbox."""
    store = bill.client()
    backlog(store, appended, 1)
    assert store.advance() == appended
    subscription = store.subscribe(after=appended, poll=(0.001, 0.001))
    bill.take()
    bill.on_list = lambda: subscription.close() if bill.lines.count("LIST inbox") == 20 else None
    assert list(subscription) == []
    assert bill.lines == ["GET $feed", "LIST inbox"] * 20
    assert bill.unchanged == (20 if appended else 0)


def test_an_idle_subscription_of_a_reader(bill):
    """With ``advance=False`` it does not look at the inbox: one request a poll."""
    store = bill.client()
    backlog(store, 3, 1)
    store.advance()
    bill.take()
    assert list(store.subscribe(after=3, advance=False, follow=False)) == []
    assert bill.lines == ["GET $feed"]


def test_a_subscription_that_catches_up(bill):
    """It reads whole segments: one request for each, and the two of a poll; and saves its checkpoint once."""
    store = bill.client()
    backlog(store, 3 * BATCH, 10)
    store.advance()
    segments = len(bill.keys_of("segments/!24feed/"))
    reader = bill.client()
    with reader.subscribe(checkpoint="mails", follow=False) as subscription:
        assert sum(1 for _ in subscription) == 3 * BATCH
    counts = bill.take()
    assert segments > 1
    assert counts.pop("GET segments") == segments
    assert counts == {"GET checkpoints": 1, "PUT checkpoints": 2, "GET $feed": 2, "LIST inbox": 2}


# --- advancing ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("intents", "streams"), [(1, 1), (256, 256), (1000, 100), (1000, 1000), (5000, 50), (5000, 3)])
def test_an_advance(bill, intents, streams):
    """Two lists of n/1000 pages; a get for each stream, and for each of its segments; for each batch one write of the feed and one delete."""
    names = backlog(bill.client(), intents, streams)
    client = bill.client()
    of_streams = len(bill.keys_of("segments/s-"))
    assert client.advance() == intents
    round_trips, deleted = bill.round_trips, bill.deleted
    counts = bill.take()
    batches = [names[start : start + BATCH] for start in range(0, intents, BATCH)]
    sealed = len(bill.keys_of("segments/!24feed/"))
    assert counts.pop("GET segments", 0) <= of_streams
    assert counts.pop("PUT segments", 0) == sealed <= len(batches)
    assert counts == {
        "GET $feed": 1,
        "LIST inbox": 2 * ceil(intents / limits.LIST_PAGE),
        "GET heads": streams,
        "PUT $feed": len(batches),
        "DELETE inbox": len(batches),
    }
    assert [len(keys) for keys in deleted] == [len(batch) for batch in batches]
    heads, segments = ceil(streams / limits.FEED_HEADS), ceil(of_streams / limits.READ_WINDOW_OBJECTS)
    assert round_trips <= 1 + counts["LIST inbox"] + heads + segments + streams + 3 * len(batches)
    assert bill.keys_of(keys.INBOX) == []


@pytest.mark.parametrize(("window", "step"), [(limits.FEED_WINDOW, 3 * BATCH), (2 * BATCH, 4 * BATCH)])
def test_a_backlog_costs_the_same_by_intent(monkeypatch, window, step):
    """In one window of the inbox or in many: as many intents more cost as much more, at most."""
    monkeypatch.setattr(limits, "FEED_WINDOW", window)
    small, large, largest = drained(step), drained(2 * step), drained(3 * step)
    assert small.keys() == large.keys() == largest.keys()
    for kind, count in small.items():
        assert count <= large[kind] <= largest[kind], kind
        assert largest[kind] <= 1.05 * (large[kind] + large[kind] - count) + 1, kind


def drained(intents: int) -> Counter[str]:
    """What it costs to drain a backlog on a hundred streams: requests by kind, round trips and bytes that are sent."""
    bill = Bill()
    sync.run(open_store(bill.default_tail, {"advance_every": 0}, create=True), bill)
    backlog(bill.client(), intents, 100)
    assert bill.client().advance() == intents
    totals = Counter({"round trips": bill.round_trips, "bytes": bill.uploaded})
    return totals + bill.take()


def test_an_advance_that_finds_nothing(bill):
    """Two small requests, and nothing is deleted again that is gone, by whatever client."""
    store = bill.client()
    backlog(store, 10, 3)
    store.advance()
    for client in (store, bill.client(), bill.client()):
        bill.take()
        assert client.advance() == 0
        assert bill.lines == ["GET $feed", "LIST inbox"]


def test_deleting_is_repeated_only_for_what_is_there(bill):
    """After a crash before the delete, the next advance deletes what the last batch settled: once, and nothing else."""
    store = bill.client()
    backlog(store, 10, 3)
    settled = bill.keys_of(keys.INBOX)
    bill.lost_deletes = 1
    assert store.advance() == 10  # the events are in the feed; the next advance deletes
    assert bill.keys_of(keys.INBOX) == settled
    backlog(store, 5, 3)
    fresh = [key for key in bill.keys_of(keys.INBOX) if key not in settled]
    second = bill.client()
    assert second.advance() == 5
    assert list(map(list, bill.deleted)) == [settled, fresh]
    third = bill.client()
    assert third.advance() == 0
    assert bill.deleted == []
    assert [event.version for event in third.feed(streams="s-0")] == list(range(1, 7))


# --- publishing and reading --------------------------------------------------------------------------------------


def test_an_append_that_publishes(bill):
    """Two writes and an advance, and a look at the feed: nine round trips where an append has two."""
    store = bill.client()
    store.append("s", EVENT, publish=True)
    bill.take()
    head = store.append("s", EVENT, publish=True)
    assert (head.version, head.positions) == (2, range(2, 3))
    assert bill.round_trips == 9 - 1, "the memory backend counts a commit as one"
    assert bill.take() == {
        "PUT inbox": 1,
        "PUT heads": 1,
        "GET $feed": 2,
        "LIST inbox": 2,
        "GET heads": 1,
        "PUT $feed": 1,
        "DELETE inbox": 1,
    }


def test_a_replay(bill):
    """The head, and each segment once, many in flight."""
    backlog(bill.client(), 20 * BATCH, 50)
    bill.client().advance()
    segments = len(bill.keys_of("segments/!24feed/"))
    reader = bill.client()
    assert sum(1 for _ in reader.feed(advance=False)) == 20 * BATCH
    assert segments >= 10
    assert bill.round_trips == 1 + ceil(20 * BATCH * 300 / limits.READ_WINDOW) == 2
    assert bill.take() == {"GET $feed": 1, "GET segments": segments}


# --- on the wire -------------------------------------------------------------------------------------------------

DELETES = {"azurite": ("POST", 256), "ministack": ("POST", 1000), "gcs": ("DELETE", 1)}
"""The request that deletes, and how many keys fit in it."""


def seen(proxy: Proxy) -> list[tuple[str, str, int | None]]:
    """Method, object or folder, and status of each request since the last time."""
    requests, proxy.requests = proxy.requests, []
    return [(method, what(path), status) for method, path, status in requests]


def what(path: str) -> str:
    """What a request is about."""
    if FEED in path:
        return "$feed"
    return next((folder for folder in ("inbox", "heads", "segments") if f"/{folder}/" in path), "batch")


@pytest.mark.parametrize("proxied", DELETES, indirect=True)
def test_an_idle_subscription_on_the_wire(proxied):
    """The feed's head is answered 304, and the inbox by an empty page."""
    place, proxy = proxied
    with connect(place.url, advance_every=0) as store:
        store.append("s", EVENT, publish=True)
        subscription = store.subscribe(after=1, poll=(0.001, 0.001))
        proxy.requests.clear()
        close_at(proxy, subscription, 20)
        assert list(subscription) == []
        assert seen(proxy) == [("GET", "$feed", 304), ("GET", "inbox", 200)] * 10


def close_at(proxy: Proxy, subscription: Subscription, requests: int) -> None:
    """Close the subscription when it sends so many requests."""

    def count(_method: str, _path: str, _headers: object) -> bool:
        if len(proxy.requests) == requests - 1:
            subscription.close()
        return False

    proxy.fault(count, Cut(acted=False))


@pytest.mark.parametrize("proxied", DELETES, indirect=True)
def test_an_advance_on_the_wire(proxied):
    """Two lists, a get for each stream, one write, and deletes in batches as large as the service takes."""
    place, proxy = proxied
    with connect(place.url, advance_every=0) as store:
        names = backlog(store, 300, 25)
    with connect(place.url) as client:
        proxy.requests.clear()
        assert client.advance() == len(names)
        counts = Counter(seen(proxy))
        assert client.advance() == 0
        again = seen(proxy)
    method, size = DELETES[place.name]
    deletes = sum(count for (by, _, _), count in counts.items() if by == method)
    assert deletes == ceil(300 / size)
    assert Counter((by, about) for by, about, _ in counts.elements() if by != method) == {
        ("GET", "$feed"): 1,
        ("GET", "inbox"): 2,
        ("GET", "heads"): 25,
        ("PUT", "$feed"): 1,
    }
    assert again == [("GET", "$feed", 304), ("GET", "inbox", 200)]
