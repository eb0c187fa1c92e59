"""What an append and a read cost, in sequential requests and in bytes, is a promise: it is counted."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from headstream import NO_STREAM, Event, EventStore, Expectation, limits
from headstream.backends.memory import MemoryBackend
from headstream.drivers import sync
from headstream.protocol.ops import Commit, Get, GetAnswer, Put, Refused, Stored
from headstream.protocol.store import open_store

CLOUD_TAIL = 64 * limits.KIB
HEAD_BOUND = CLOUD_TAIL + 64 * 3 * 40 + 500
"""A full tail, three levels of references, and the fields."""


class Counted(MemoryBackend):
    """Counts round trips: what can be in flight at once is one."""

    default_tail = CLOUD_TAIL
    default_poll = (0.001, 0.05)

    def __init__(self) -> None:
        super().__init__()
        self.round_trips = 0
        self.largest_head = 0

    def get(self, get: Get) -> GetAnswer:
        self.round_trips += 1
        return super().get(get)

    def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        self.round_trips += 1
        return tuple(super(Counted, self).get(get) for get in gets)

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        self.round_trips += 2 if prelude else 1
        self.largest_head = max(self.largest_head, len(head.body))
        return super().commit(prelude, head)

    def take(self) -> int:
        """Round trips since the last time."""
        count, self.round_trips = self.round_trips, 0
        return count


def fresh_client(backend: Counted, cache_bytes: int = 0) -> EventStore:
    """A client that remembers nothing, or as much as it is allowed."""
    description = sync.run(open_store(backend.default_tail, {}, create=False), backend)
    backend.take()
    return EventStore(backend, description, url="counted://", cache_bytes=cache_bytes)


def new_store(backend: Counted, *, feed: bool) -> EventStore:
    """One whose clients advance the feed only when they are asked to: a thread of theirs would be counted as well."""
    sync.run(open_store(backend.default_tail, {"feed": feed, "advance_every": 0}, create=True), backend)
    return fresh_client(backend)


@pytest.fixture(scope="module")
def long_stream() -> Counted:
    """A stream of 100,000 events, and one of 100."""
    backend = Counted()
    store = new_store(backend, feed=True)
    for stream, appends in (("long", 1000), ("short", 1)):
        head: Expectation = NO_STREAM
        for batch in range(appends):
            events = [Event("E", {"number": batch * 100 + i, "text": "x" * 150}) for i in range(100)]
            head = store.append(stream, events, expected=head)
    return backend


@pytest.mark.parametrize(("feed", "expected"), [(True, 2), (False, 1)])
def test_an_append_with_a_head_or_to_a_new_stream(feed, expected):
    """Two sequential requests with a feed, one without; none of them a GET."""
    backend = Counted()
    store = new_store(backend, feed=feed)
    head = store.append("s", Event("E"), expected=NO_STREAM)
    assert backend.take() == expected
    store.append("s", Event("E"), expected=head)
    assert backend.take() == expected


def test_sealing_and_paging_cost_no_round_trip():
    """Segments and index pages are written beside the intent."""
    backend = Counted()
    sync.run(open_store(100, {"tail_bytes": 100, "fan_out": 2}, create=True), backend)
    store = fresh_client(backend)
    head: Expectation = NO_STREAM
    for _ in range(50):
        head = store.append("s", Event("E", "x" * 60), expected=head)
        assert backend.take() == 2
    assert any("index/s/2-" in key for key in backend._objects)


def test_loading_a_short_stream():
    """One GET."""
    backend = Counted()
    store = new_store(backend, feed=True)
    store.append("s", [Event("E", i) for i in range(50)])
    client = fresh_client(backend)
    assert len(list(client.read("s"))) == 50
    assert backend.take() == 1


@pytest.mark.parametrize("after", [0, 9, 12_345, 50_000, 99_000, 99_980, 99_990])
@pytest.mark.parametrize("backwards", [False, True])
def test_any_ten_events_of_a_long_stream(long_stream, after, backwards):
    """At most three: the head, an index page, a segment or two side by side."""
    client = fresh_client(long_stream)
    events = list(client.read("long", after=after, before=after + 11, backwards=backwards))
    assert sorted(event.version for event in events) == list(range(after + 1, after + 11))
    assert long_stream.take() <= 3


def test_the_newest_events_touch_no_old_segment(long_stream):
    """The head, or the head and what was sealed last."""
    client = fresh_client(long_stream)
    events = list(client.read("long", limit=10, backwards=True))
    assert [event.version for event in events] == list(range(100_000, 99_990, -1))
    assert long_stream.take() <= 2


def test_an_append_costs_the_same_at_any_length(long_stream):
    """As many requests, and no larger head than the bound, at 100 events and at 100,000."""
    for stream in ("short", "long"):
        client = fresh_client(long_stream)
        head = client.read(stream).head()
        long_stream.take()
        client.append(stream, Event("E"), expected=head)
        assert long_stream.take() == 2
    assert long_stream.largest_head <= HEAD_BOUND


def test_an_unchanged_stream_costs_no_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second load is answered by 304."""
    backend = Counted()
    new_store(backend, feed=True)
    store = fresh_client(backend, cache_bytes=limits.HEAD_CACHE)
    store.append("s", [Event("E", i) for i in range(50)])
    bodies: list[int] = []
    original = backend.get

    def get(request: Get) -> GetAnswer:
        answer = original(request)
        bodies.append(len(getattr(answer, "body", b"")))
        return answer

    monkeypatch.setattr(backend, "get", get)
    assert len(list(store.read("s"))) == 50
    assert bodies == [0]


def test_a_commit_is_one_operation():
    """The prelude and the head reach the backend together."""
    operations = []
    backend = Counted()
    store = new_store(backend, feed=True)
    request = store._session.request("s", Event("E"), NO_STREAM, None)
    step = store._session.append(request)
    answer: object = None
    while True:
        try:
            operation = step.send(answer)
        except StopIteration:
            break
        operations.append(operation)
        answer = Stored("1") if isinstance(operation, Commit) else sync._EXECUTE[type(operation)](backend, operation)
    commits = [operation for operation in operations if isinstance(operation, Commit)]
    assert len(commits) == 1
    assert [put.key.split("/")[0] for put in commits[0].prelude] == ["inbox"]
    assert commits[0].head.key == "heads/s"
