"""What users rely on, checked through the public methods alone, so that it can be run on every backend.

Each check takes a connected store and works on streams of its own, so one store serves for all of them::

    @pytest.mark.parametrize("check", SUITE, ids=lambda check: check.__name__)
    def test_api(store, check):
        check(store)

    @pytest.mark.parametrize("check", SUITE_OF_TWO, ids=lambda check: check.__name__)
    def test_api_of_two_clients(store, other, check):
        check(store, other)

``other`` is a second connection to the same store. The checks hold with any settings of the store.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import pytest

from headstream import (
    ANY,
    EXISTS,
    NO_STREAM,
    Event,
    EventStore,
    Head,
    InvalidInput,
    KeyReused,
    RecordedEvent,
    WrongExpectedVersion,
    limits,
)
from headstream.model import Expectation
from support import api_deciding, api_feed  # noqa: F401 - their checks are part of the suite
from support.api_checks import SUITE, SUITE_OF_TWO, filled, fresh, numbered, numbers, one, two

__all__ = ["SUITE", "SUITE_OF_TWO", "check_interleaved", "check_long_names", "filled", "fresh", "numbered"]

PATIENCE: Final = timedelta(minutes=10)
"""How far the clocks of one test may be apart."""


# --- append and read ---------------------------------------------------------------------------------------------


@one
def check_a_first_event(store: EventStore) -> None:
    """Appended to a stream that does not exist, it is event 1, and says when and with which changeset it was recorded."""
    stream = fresh()
    before = datetime.now(UTC)
    head = store.append(stream, Event("Placed", {"total": 7}, {"by": "me"}, "id-1"), expected=NO_STREAM)
    assert (head.stream, head.version, head.exists) == (stream, 1, True)
    (event,) = store.read(stream)
    assert (event.stream, event.version, event.type, event.data) == (stream, 1, "Placed", {"total": 7})
    assert (event.metadata, event.id) == ({"by": "me"}, "id-1")
    assert event.changeset_id == head.changeset_id
    assert event.changeset_id.version == 7
    assert before - PATIENCE < event.recorded_at < datetime.now(UTC) + PATIENCE


@one
def check_several_events_at_once(store: EventStore) -> None:
    """They are one changeset, in order; the next append is another."""
    stream = fresh()
    first = store.append(stream, numbered(1, 3))
    second = store.append(stream, numbered(4, 5))
    events = list(store.read(stream))
    assert numbers(events) == [1, 2, 3, 4, 5]
    assert [event.changeset_id for event in events] == [first.changeset_id] * 3 + [second.changeset_id] * 2
    assert first.changeset_id != second.changeset_id


@one
def check_kinds_of_data(store: EventStore) -> None:
    """JSON comes back as JSON, bytes as the same bytes, nothing as nothing."""
    kinds: list[Any] = [
        None,
        b"",
        bytes(range(256)),
        "",
        "text",
        "é\0\n\U0001f600",
        0,
        -(2**63),
        2**64 - 1,
        1.5,
        True,
        [],
        {},
        [None, [{"a": {"b": []}}]],
        {"": None, "é": "\0"},
    ]
    stream = fresh()
    store.append(stream, [Event("Kind", kind, {"kind": kind} if not isinstance(kind, bytes) else {}) for kind in kinds])
    events = list(store.read(stream))
    assert [event.data for event in events] == kinds
    assert [type(event.data) for event in events] == [type(kind) for kind in kinds]
    assert [event.metadata.get("kind") for event in events if not isinstance(event.data, bytes)] == [
        kind for kind in kinds if not isinstance(kind, bytes)
    ]


@one
def check_ids_of_the_applications_own(store: EventStore) -> None:
    """A string, a UUID, or none; headstream does not look at them."""
    stream = fresh()
    ids: list[str | UUID | None] = ["x", UUID(int=1), None, "x"]
    store.append(stream, [Event("E", id=event_id) for event_id in ids])
    assert [event.id for event in store.read(stream)] == ["x", str(UUID(int=1)), None, "x"]


@one
def check_large_events(store: EventStore) -> None:
    """From a byte to a few times what a head may carry, alone and in between."""
    stream = fresh()
    sizes = [1, 3_000, limits.MAX_TAIL + 1, 10, 70_000, 5]
    for size in sizes:
        store.append(stream, Event("Large", b"\xff" * size))
    assert [len(event.data) for event in store.read(stream)] == sizes
    assert [len(event.data) for event in store.read(stream, backwards=True)] == sizes[::-1]


@one
def check_a_stream_that_does_not_exist(store: EventStore) -> None:
    """It has no events and no head; reading it is no error."""
    stream = fresh()
    assert list(store.read(stream)) == []
    assert list(store.read(stream, backwards=True)) == []
    assert store.head(stream) is None
    head = store.read(stream).head()
    assert (head.stream, head.version, head.exists, head.changeset_id) == (stream, 0, False, None)


@one
def check_every_range(store: EventStore) -> None:
    """``after < version < before``, at most ``limit``, in either direction."""
    stream = filled(store)
    everything = list(range(1, 26))
    for after in (0, 1, 9, 24, 25, 99):
        for before in (None, 1, 2, 11, 25, 26, 99):
            for limit in (None, 0, 1, 7, 99):
                expected = [version for version in everything if after < version < (before or 99)]
                forwards = list(store.read(stream, after=after, before=before, limit=limit))
                backwards = list(store.read(stream, after=after, before=before, limit=limit, backwards=True))
                assert numbers(forwards) == expected[:limit]
                assert numbers(backwards) == expected[::-1][:limit]


@one
def check_a_read_is_a_snapshot(store: EventStore) -> None:
    """It sees the stream as it was when the first event was asked for."""
    stream = filled(store)
    reading = store.read(stream)
    assert next(reading).version == 1
    store.append(stream, numbered(26, 27))
    assert numbers(list(reading)) == list(range(2, 26))
    assert reading.head().version == 25
    assert len(list(store.read(stream))) == 27


@one
def check_a_read_is_one_iterator(store: EventStore) -> None:
    """A second loop goes on where the first one stopped."""
    reading = store.read(filled(store))
    for event in reading:
        if event.version == 10:
            break
    assert next(reading).version == 11
    assert numbers(list(reading)) == list(range(12, 26))
    assert list(reading) == []
    with pytest.raises(StopIteration):
        next(reading)


@one
def check_a_read_tells_where_to_append(store: EventStore) -> None:
    """Load, decide, append: the head of the read is what the decision was based on."""
    stream = filled(store)
    reading = store.read(stream)
    total = sum(event.data for event in reading)
    head = store.append(stream, Event("Total", total), expected=reading.head())
    assert (head.version, total) == (26, 325)
    with pytest.raises(WrongExpectedVersion):
        store.append(stream, Event("Total", total), expected=reading.head())


@one
def check_heads(store: EventStore) -> None:
    """Append, read and ``head`` agree."""
    stream = fresh()
    appended = store.append(stream, numbered(1, 2))
    assert store.head(stream) == appended == store.read(stream).head()
    assert store.head(stream) != store.append(stream, numbered(3, 3))


# --- expectations ------------------------------------------------------------------------------------------------


@one
def check_expectations_that_hold(store: EventStore) -> None:
    """A head, a version, ``NO_STREAM``, ``EXISTS`` and ``ANY``."""
    stream = fresh()
    head: Head = store.append(stream, numbered(1, 1), expected=NO_STREAM)
    expectations: list[Expectation] = [head, 2, EXISTS, ANY]
    for version, expected in enumerate(expectations, 2):
        head = store.append(stream, numbered(version, version), expected=expected)
        assert head.version == version
    store.append(stream, numbered(6, 6), expected=head)
    store.append(fresh(), numbered(1, 1), expected=0)
    store.append(fresh(), numbered(1, 1), expected=ANY)
    assert numbers(list(store.read(stream))) == [1, 2, 3, 4, 5, 6]


@one
def check_expectations_that_do_not_hold(store: EventStore) -> None:
    """Nothing is written, and the error tells both versions."""
    stream, missing = fresh(), fresh()
    old = store.append(stream, numbered(1, 2))
    store.append(stream, numbered(3, 3))
    attempts: list[tuple[str, Expectation, int | str, int]] = [
        (stream, old, 2, 3),
        (stream, NO_STREAM, 0, 3),
        (stream, 2, 2, 3),
        (stream, 4, 4, 3),
    ]
    attempts += [(missing, EXISTS, "EXISTS", 0), (missing, 1, 1, 0)]
    for name, expected, said, actual in attempts:
        with pytest.raises(WrongExpectedVersion) as caught:
            store.append(name, Event("Wrong"), expected=expected)
        error = caught.value
        assert (error.stream, error.expected, error.actual) == (name, said, actual)
    assert numbers(list(store.read(stream))) == [1, 2, 3]
    assert store.head(missing) is None


@one
def check_input_that_is_refused(store: EventStore) -> None:
    """Before anything is written."""
    stream = fresh()
    for name in ("", "$feed", "$mine", "a/../b", ".", "x" * 257):
        with pytest.raises(InvalidInput):
            store.append(name, Event("E"))
    for events in ([], [Event("E"), "text"], Event("E", object()), Event("E", float("nan")), [Event("E")] * 10_001):
        with pytest.raises(InvalidInput):
            store.append(stream, events)  # type: ignore[arg-type]  # what must not work
    with pytest.raises(InvalidInput):
        store.append(stream, Event("E", b"x" * (limits.MAX_CHANGESET + 1)))
    with pytest.raises(InvalidInput):
        store.read(stream, after=-1)
    with pytest.raises(InvalidInput):
        store.head("")
    with pytest.raises(InvalidInput):
        store.streams("x" * 257)
    assert store.head(stream) is None


# --- keys --------------------------------------------------------------------------------------------------------


@one
def check_a_key_with_a_version(store: EventStore) -> None:
    """The same append again returns the result of the first, whatever happened since, and writes nothing."""
    stream = filled(store)
    first = store.append(stream, numbered(26, 27), expected=25, key="pay-17")
    again = store.append(stream, numbered(26, 27), expected=25, key="pay-17")
    assert (again.version, again.changeset_id) == (27, first.changeset_id)
    for version in range(28, 60):
        store.append(stream, numbered(version, version))
    late = store.append(stream, numbered(26, 27), expected=25, key="pay-17")
    assert (late.stream, late.version, late.changeset_id) == (stream, 27, first.changeset_id)
    with pytest.raises(WrongExpectedVersion):
        store.append(stream, numbered(26, 27), expected=25, key="pay-18")
    with pytest.raises(WrongExpectedVersion):
        store.append(stream, numbered(26, 27), expected=25)
    assert numbers(list(store.read(stream))) == list(range(1, 60))


@one
def check_a_key_that_creates_a_stream(store: EventStore) -> None:
    """``NO_STREAM`` is a version like another."""
    stream = fresh()
    first = store.append(stream, Event("E"), expected=NO_STREAM, key="new")
    assert store.append(stream, Event("E"), expected=NO_STREAM, key="new") == first
    assert len(list(store.read(stream))) == 1


@one
def check_a_key_with_any(store: EventStore) -> None:
    """Found among the newest changesets; another key is another append, and so is none."""
    stream = fresh()
    first = store.append(stream, numbered(1, 1), key="a")
    assert store.append(stream, numbered(1, 1), key="a") == first
    store.append(stream, numbered(2, 2), key="b")
    store.append(stream, numbered(3, 3))
    store.append(stream, numbered(4, 4))
    again = store.append(stream, numbered(2, 2), key="b", expected=EXISTS)
    assert again.version in (2, 5), "with a tail it is there; without one, older segments are not searched"
    assert store.append(stream, [Event("E")], key="a" * 256).version in (5, 6)


@one
def check_a_key_with_other_events(store: EventStore) -> None:
    """An error, which is neither a success nor a conflict; nothing is written, and the earlier append can still be repeated."""
    stream = filled(store)
    first = store.append(stream, Event("E", {"a": 1, "b": 2}, {"trace": 1}), expected=25, key="k")
    for expected in (25, ANY, EXISTS):
        for other in (Event("E", {"a": 1}), Event("F", {"a": 1, "b": 2}), [Event("E", {"a": 1, "b": 2}), Event("E")]):
            with pytest.raises(KeyReused) as caught:
                store.append(stream, other, expected=expected, key="k")
            assert (caught.value.stream, caught.value.key, caught.value.version) == (stream, "k", 26)
        again = store.append(stream, Event("E", {"b": 2, "a": 1}, {"trace": 2}), expected=expected, key="k")
        assert (again.version, again.changeset_id) == (26, first.changeset_id)
    assert len(list(store.read(stream))) == 26


# --- names -------------------------------------------------------------------------------------------------------


@one
def check_any_name(store: EventStore) -> None:
    """Names that differ in anything are different streams, on every storage."""
    prefix = fresh("")
    odd = [
        "a",
        "A",
        "a ",
        " a",
        "a.",
        "a/b",
        "a\\b",
        "a%2fb",
        "a%b",
        "é",
        "e\u0301",
        "\0",
        "\n",
        "con",
        "COM1",
        "a~",
        "~a",
    ]
    odd += ["a_", "a=b", "a!b", "x" * 150, "-", "_", "a//b", "...", "a:b", "a*?<>|\"'#;&+,@$b"]
    for name in odd:
        store.append(prefix + name, Event("E", name), expected=NO_STREAM)
    for name in odd:
        assert [event.data for event in store.read(prefix + name)] == [name]
    assert list(store.streams(prefix)) == sorted(prefix + name for name in odd)


@one
def check_long_names(store: EventStore) -> None:
    """As long as names may be, in letters that take the most room in a key."""
    prefix = fresh("")
    for name in ("X" * (limits.MAX_STREAM_NAME - len(prefix)), "😀" * ((limits.MAX_STREAM_NAME - len(prefix)) // 4)):
        store.append(prefix + name, Event("E", name), expected=NO_STREAM)
        assert [event.data for event in store.read(prefix + name)] == [name]


@one
def check_listing_by_prefix(store: EventStore) -> None:
    """The names that begin with it, in order; headstream's own are not among them."""
    prefix = fresh("order")
    names = [prefix + end for end in ("", "-1", "-10", "-2", "/a", "1")]
    for name in reversed(names):
        store.append(name, Event("E"))
    assert list(store.streams(prefix)) == sorted(names)
    assert list(store.streams(prefix + "-")) == sorted(names[1:4])
    assert list(store.streams(prefix + "-1")) == sorted(names[1:3])
    assert list(store.streams(prefix + "none")) == []
    everything = list(store.streams())
    assert set(names) <= set(everything)
    assert everything == sorted(everything)
    assert not any(name.startswith("$") for name in everything)


# --- many at once ------------------------------------------------------------------------------------------------


@one
def check_threads_of_one_client(store: EventStore) -> None:
    """Each append is there once, with its events together, and the versions have no gap."""
    stream = fresh()
    heads: list[Head] = []

    def write(writer: int) -> None:
        heads.extend(store.append(stream, [Event("E", f"{writer}-{number}")] * 2) for number in range(5))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    check_interleaved(list(store.read(stream)), heads, {f"{writer}-{n}" for writer in range(4) for n in range(5)})


def check_interleaved(events: list[RecordedEvent], heads: list[Head], expected: set[str]) -> None:
    """Pairs of events, each pair once."""
    assert [event.version for event in events] == list(range(1, 2 * len(expected) + 1))
    pairs = list(zip(events[::2], events[1::2], strict=True))
    assert all(left.data == right.data and left.changeset_id == right.changeset_id for left, right in pairs)
    assert {left.data for left, _ in pairs} == expected
    assert {(head.version, head.changeset_id) for head in heads} == {
        (right.version, right.changeset_id) for _, right in pairs
    }


@two
def check_two_clients_see_each_other(store: EventStore, other: EventStore) -> None:
    """At once: what was appended by one is there for the other, whatever it remembered."""
    stream = fresh()
    store.append(stream, numbered(1, 1))
    assert numbers(list(other.read(stream))) == [1]
    other.append(stream, numbered(2, 2))
    assert numbers(list(store.read(stream))) == [1, 2]
    head = store.append(stream, numbered(3, 3))
    assert other.head(stream) == head
    assert numbers(list(other.read(stream, backwards=True, limit=1))) == [3]


@two
def check_a_stale_client(store: EventStore, other: EventStore) -> None:
    """With ``ANY`` its append goes after what others wrote; with a version or a head it is told."""
    stream = fresh()
    old = store.append(stream, numbered(1, 1))
    other.append(stream, numbered(2, 2))
    for expected in (old, 1):
        with pytest.raises(WrongExpectedVersion) as caught:
            store.append(stream, Event("Wrong"), expected=expected)
        assert caught.value.actual == 2
    other.append(stream, numbered(3, 3))
    assert store.append(stream, numbered(4, 4)).version == 4
    assert other.append(stream, numbered(5, 5), expected=4).version == 5
    assert numbers(list(store.read(stream))) == [1, 2, 3, 4, 5]


@two
def check_a_head_goes_from_hand_to_hand(store: EventStore, other: EventStore) -> None:
    """A head that one client returned is good for the other."""
    stream = fresh()
    head = store.append(stream, numbered(1, 1))
    head = other.append(stream, numbered(2, 2), expected=head)
    head = store.append(stream, numbered(3, 3), expected=head)
    assert head == other.head(stream)


@two
def check_two_clients_that_race(store: EventStore, other: EventStore) -> None:
    """On one stream, at the same time: nothing is lost, nothing doubled."""
    stream = fresh()
    heads: list[Head] = []

    def write(writer: int) -> None:
        client = (store, other)[writer % 2]
        heads.extend(client.append(stream, [Event("E", f"{writer}-{number}")] * 2) for number in range(5))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    check_interleaved(list(store.read(stream)), heads, {f"{writer}-{n}" for writer in range(4) for n in range(5)})


@two
def check_one_creator_wins(store: EventStore, other: EventStore) -> None:
    """Of those who create one stream at the same time."""
    stream = fresh()

    def create(client: EventStore) -> int:
        try:
            client.append(stream, numbered(1, 2), expected=NO_STREAM)
        except WrongExpectedVersion as error:
            return error.actual
        return 0

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(create, [store, other] * 2))
    assert sorted(found) == [0, 2, 2, 2]
    assert numbers(list(other.read(stream))) == [1, 2]


@two
def check_a_key_of_another_client(store: EventStore, other: EventStore) -> None:
    """Whoever repeats an append gets its result, also from a process that knows nothing of the first."""
    stream = fresh()
    first = store.append(stream, numbered(1, 1), expected=NO_STREAM, key="k")
    assert other.append(stream, numbered(1, 1), expected=NO_STREAM, key="k").changeset_id == first.changeset_id
    assert other.append(stream, numbered(1, 1), key="k").changeset_id == first.changeset_id
    assert len(list(store.read(stream))) == 1
