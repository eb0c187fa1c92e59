"""The part of the API suite that is about the feed: reading it, publishing to it, following it, and checkpoints.

Other streams of the store may be in the feed too, and clients advance it by themselves: a check looks from where the feed ended
when it began, at streams of its own.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from headstream import CheckpointLost, Event, EventStore, FeedEvent, InvalidInput, KeyReused
from support.api_checks import fresh, numbered, numbers, one, two, with_feed

PATIENCE: Final = timedelta(minutes=10)
"""How far the clocks of one test may be apart."""
POLL: Final = (0.005, 0.05)
"""Seconds: what others appended is looked for more often than is cheap, so that no check waits for long."""


def end_of_feed(store: EventStore) -> int:
    """The feed's last position, once all that was appended is in it."""
    return store.feed().position()


def of(prefix: str, events: Iterable[FeedEvent]) -> list[FeedEvent]:
    """Those of streams that begin with ``prefix``."""
    return [event for event in events if event.stream.startswith(prefix)]


# --- reading -----------------------------------------------------------------------------------------------------


@one
@with_feed
def check_the_feed_has_what_was_appended(store: EventStore) -> None:
    """Every event once, with its place: of each stream in its order, the same event as in the stream."""
    start = end_of_feed(store)
    prefix = fresh("")
    for version in range(1, 5):
        for name in ("a", "b"):
            store.append(prefix + name, Event("Kind", {"n": version}, {"by": name}, f"{name}{version}"))
    store.append(prefix + "a", [Event("Bytes", b"\0\xff"), Event("Nothing")])
    events = list(store.feed(after=start))
    assert [event.position for event in events] == list(range(start + 1, start + 11))
    for name in ("a", "b"):
        assert of(prefix + name, events) == list(store.read(prefix + name))
    assert [event.version for event in of(prefix + "a", events)] == [1, 2, 3, 4, 5, 6]
    event = of(prefix + "b", events)[3]
    assert (event.type, event.data, event.metadata, event.id) == ("Kind", {"n": 4}, {"by": "b"}, "b4")
    assert list(store.feed(after=start, advance=False)) == events
    assert store.advance() == 0


@one
@with_feed
def check_parts_of_the_feed(store: EventStore) -> None:
    """By position, number, direction, stream and type."""
    start = end_of_feed(store)
    prefix = fresh("")
    for number in range(6):
        store.append(f"{prefix}{'abc'[number % 3]}", [Event("Odd" if number % 2 else "Even", number)] * 2)
    everything = list(store.feed(after=start))
    assert [event.data for event in everything] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]

    def data(**part: Any) -> list[int]:
        return [event.data for event in store.feed(**{"after": start} | part)]

    assert data(after=start + 9) == [4, 5, 5]
    assert data(after=start + 99) == []
    assert data(limit=0) == []
    assert data(limit=3) == [0, 0, 1]
    assert data(backwards=True, limit=3) == [5, 5, 4]
    assert list(store.feed(after=start, backwards=True)) == everything[::-1]
    assert data(streams=prefix + "b") == [1, 1, 4, 4]
    assert data(streams=[prefix + "a", prefix + "c"], limit=5) == [0, 0, 2, 2, 3]
    assert data(streams=prefix, types="Odd", backwards=True) == [5, 5, 3, 3, 1, 1]
    assert data(types=["Odd", "Even"], streams=[prefix + "none", prefix + "c"]) == [2, 2, 5, 5]
    assert data(types=()) == []


@one
@with_feed
def check_a_reading_of_the_feed_is_a_snapshot(store: EventStore) -> None:
    """It ends where the feed ended when the first event was asked for; what comes later is in the next one."""
    start = end_of_feed(store)
    stream = fresh()
    store.append(stream, numbered(1, 3))
    reading = store.feed(after=start, streams=stream)
    assert next(reading).version == 1
    end = reading.position()
    store.append(stream, numbered(4, 5), publish=True)
    assert [event.version for event in reading] == [2, 3]
    assert (reading.position(), end) == (end, start + 3)
    assert numbers(list(store.feed(after=end, streams=stream))) == [4, 5]


@one
@with_feed
def check_large_events_in_the_feed(store: EventStore) -> None:
    """As many bytes as were appended."""
    start = end_of_feed(store)
    stream = fresh()
    sizes = [1, 5_000, 300_000, 10, 70_000]
    for size in sizes:
        store.append(stream, Event("Large", b"\xff" * size))
    assert [len(event.data) for event in store.feed(after=start, streams=stream)] == sizes
    assert [len(event.data) for event in store.feed(after=start, streams=stream, backwards=True)] == sizes[::-1]


@one
@with_feed
def check_what_the_feed_refuses(store: EventStore) -> None:
    """At once, before anything is asked for."""
    end_of_feed(store)
    wrong: list[dict[str, Any]] = [
        {"after": -1},
        {"after": "1"},
        {"streams": 5},
        {"streams": ["x" * 257]},
        {"types": [""]},
        {"types": [b"E"]},
    ]
    for part in wrong:
        with pytest.raises(InvalidInput):
            store.feed(**part)
        with pytest.raises(InvalidInput):
            store.subscribe(**part)
    with pytest.raises(InvalidInput):
        store.feed(limit=-1)
    for poll in ((0, 1), (2, 1), (1, 1e9)):
        with pytest.raises(InvalidInput):
            store.subscribe(poll=poll)
    for name in ("", "x" * 257):
        with pytest.raises(InvalidInput):
            store.subscribe(checkpoint=name)
        with pytest.raises(InvalidInput):
            store.forget(name)


# --- publishing --------------------------------------------------------------------------------------------------


@one
@with_feed
def check_publishing(store: EventStore) -> None:
    """When the append returns its events are in the feed, where the head says; an append that did not ask knows nothing of it."""
    stream = fresh()
    assert store.append(stream, numbered(1, 1)).positions is None
    head = store.append(stream, numbered(2, 4), publish=True)
    assert head.positions is not None
    events = list(store.feed(after=head.positions.start - 1, limit=3, advance=False))
    assert [event.position for event in events] == list(head.positions)
    assert numbers(events) == [2, 3, 4]
    assert {event.changeset_id for event in events} == {head.changeset_id}
    assert store.append(stream, numbered(5, 5), expected=head, publish=True).version == 5


@one
@with_feed
def check_publishing_again(store: EventStore) -> None:
    """A repeated append has the positions of the first."""
    stream = fresh()
    first = store.append(stream, numbered(1, 2), expected=0, key="k", publish=True)
    store.append(stream, numbered(3, 3), publish=True)
    again = store.append(stream, numbered(1, 2), expected=0, key="k", publish=True)
    assert (again.version, again.changeset_id, again.positions) == (2, first.changeset_id, first.positions)
    with pytest.raises(KeyReused):
        store.append(stream, numbered(2, 3), expected=0, key="k", publish=True)


# --- subscriptions -----------------------------------------------------------------------------------------------


@one
@with_feed
def check_a_subscription_that_catches_up(store: EventStore) -> None:
    """It yields what the feed has, and ends."""
    start = end_of_feed(store)
    prefix = fresh("")
    for version in range(1, 8):
        store.append(prefix + "ab"[version % 2], [Event("Left", version), Event("Right", version)])
    with store.subscribe(after=start, follow=False) as subscription:
        events = list(subscription)
        assert subscription.position == start + 14
    assert events == list(store.feed(after=start))
    with store.subscribe(after=start, follow=False, streams=prefix + "a", types="Left") as subscription:
        assert [event.data for event in subscription] == [2, 4, 6]
        assert subscription.position == start + 14, "what was not asked for need not be read again"
    with store.subscribe(after=start, follow=False, streams=prefix, advance=False) as subscription:
        batches = list(subscription.batches(5))
    assert [event for batch in batches for event in batch] == events
    assert {1, 2, 3, 4, 5}.issuperset(map(len, batches))


@one
@with_feed
def check_a_subscription_that_follows(store: EventStore) -> None:
    """It yields what is there and then what is appended, each event once, until it is closed."""
    start = end_of_feed(store)
    stream = fresh()
    store.append(stream, numbered(1, 1))
    seen: list[FeedEvent] = []
    with store.subscribe(after=start, streams=stream, poll=POLL) as subscription:
        for event in subscription:
            seen.append(event)
            if event.version == 6:
                subscription.close()
            else:
                store.append(stream, numbered(event.version + 1, event.version + 1))
    assert numbers(seen) == [1, 2, 3, 4, 5, 6]
    assert next(subscription, None) is None
    assert numbers(list(store.feed(after=start, streams=stream))) == [1, 2, 3, 4, 5, 6]


@one
@with_feed
def check_position_of_a_subscription(store: EventStore) -> None:
    """An event counts as handled when the next one is asked for, a list when the next list is."""
    start = end_of_feed(store)
    stream = fresh()
    store.append(stream, numbered(1, 4))
    with store.subscribe(after=start, streams=stream, poll=POLL) as subscription:
        assert subscription.position == start
        next(subscription)
        assert subscription.position == start
        next(subscription)
        assert subscription.position == start + 1
        (batch,) = [next(subscription.batches(9))]
        assert numbers(batch) == [3, 4]
        assert subscription.position == start + 2


# --- checkpoints -------------------------------------------------------------------------------------------------


@one
@with_feed
def check_a_checkpoint(store: EventStore) -> None:
    """The store keeps how far a worker has come, and the next of this name goes on from there."""
    start = end_of_feed(store)
    stream, name = fresh(), fresh("mails")
    store.append(stream, numbered(1, 5))
    before = datetime.now(UTC)
    with store.subscribe(after=start, checkpoint=name, streams=stream, poll=POLL) as subscription:
        for event in subscription:
            if event.version == 3:
                break
    (saved,) = [checkpoint for checkpoint in store.checkpoints() if checkpoint.name == name]
    assert saved.position == start + 2, "the third was not handled when the block was left"
    assert before - PATIENCE < saved.saved_at < datetime.now(UTC) + PATIENCE
    assert saved.owner
    with store.subscribe(after=0, checkpoint=name, streams=stream, follow=False) as subscription:
        assert numbers(list(subscription)) == [3, 4, 5]
    with store.subscribe(checkpoint=name, streams=stream, follow=False) as subscription:
        assert list(subscription) == []
        assert subscription.position >= start + 5
    store.forget(name)
    store.forget(name)
    assert name not in [checkpoint.name for checkpoint in store.checkpoints()]
    with store.subscribe(after=start, checkpoint=name, streams=stream, follow=False) as subscription:
        assert numbers(list(subscription)) == [1, 2, 3, 4, 5]


@one
@with_feed
def check_saving_a_checkpoint(store: EventStore) -> None:
    """``save`` counts what was returned last as handled; a failure in the block leaves what was handled before."""
    start = end_of_feed(store)
    stream, name = fresh(), fresh("é/bills")
    store.append(stream, numbered(1, 6))
    with store.subscribe(after=start, checkpoint=name, streams=stream, poll=POLL) as subscription:
        assert next(subscription).version == 1
        subscription.save()
        assert subscription.position == start + 1
        assert [checkpoint.position for checkpoint in store.checkpoints() if checkpoint.name == name] == [start + 1]
    with pytest.raises(ZeroDivisionError):
        fail_at_the_fourth(store, stream, name)
    with store.subscribe(checkpoint=name, streams=stream, follow=False) as subscription:
        assert numbers(list(subscription)) == [4, 5, 6]


def fail_at_the_fourth(store: EventStore, stream: str, name: str) -> None:
    """A worker that handles lists of two."""
    with store.subscribe(checkpoint=name, streams=stream, poll=POLL) as subscription:
        for batch in subscription.batches(2):
            if batch[0].version == 4:
                raise ZeroDivisionError


@one
@with_feed
def check_listing_checkpoints(store: EventStore) -> None:
    """All of them, in the order of their names."""
    start = end_of_feed(store)
    prefix = fresh("")
    names = [prefix + end for end in ("", "b", "a/b", "a", "B", "é", "$")]
    for number, name in enumerate(names):
        with store.subscribe(after=start + number, checkpoint=name, follow=False):
            pass
        assert name not in [checkpoint.name for checkpoint in store.checkpoints()], "nothing was asked for"
        with store.subscribe(after=start, checkpoint=name, follow=False) as subscription:
            assert list(subscription) == []
    listed = [checkpoint.name for checkpoint in store.checkpoints()]
    assert listed == sorted(listed)
    assert [name for name in listed if name.startswith(prefix)] == sorted(names)


# --- two clients -------------------------------------------------------------------------------------------------


@two
@with_feed
def check_one_feed_for_both(store: EventStore, other: EventStore) -> None:
    """Whoever advances it, both read the same."""
    start = end_of_feed(store)
    prefix = fresh("")
    store.append(prefix + "a", numbered(1, 2))
    head = other.append(prefix + "b", numbered(1, 3), publish=True)
    assert head.positions is not None
    seen = list(store.feed(after=start, advance=False))
    assert [event.position for event in seen] == list(range(start + 1, start + 6))
    assert seen == list(other.feed(after=start))
    assert numbers(of(prefix + "b", seen)) == [1, 2, 3]
    assert [event.position for event in of(prefix + "b", seen)] == list(head.positions)


@two
@with_feed
def check_a_subscription_to_what_another_appends(store: EventStore, other: EventStore) -> None:
    """It is found by polling, whether the other one advances the feed or not."""
    start = end_of_feed(store)
    stream = fresh()
    with store.subscribe(after=start, streams=stream, poll=POLL) as subscription:
        for version in range(1, 4):
            other.append(stream, numbered(version, version))
            assert next(subscription).version == version
    with store.subscribe(after=start, streams=stream, poll=POLL, advance=False) as subscription:
        assert [next(subscription).version for _ in range(3)] == [1, 2, 3]
        other.append(stream, numbered(4, 4), publish=True)
        assert next(subscription).version == 4


@two
@with_feed
def check_both_append_and_advance(store: EventStore, other: EventStore) -> None:
    """At the same time, on the same streams: the feed has each event once, each stream in its order."""
    start = end_of_feed(store)
    prefix = fresh("")

    def work(worker: int) -> int:
        client = (store, other)[worker % 2]
        for number in range(5):
            client.append(f"{prefix}{number % 2}", [Event("E", f"{worker}-{number}")] * 2)
            client.advance()
        return worker

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(work, range(4))) == [0, 1, 2, 3]
    events = list(store.feed(after=start))
    assert [event.position for event in events] == list(range(start + 1, start + 41))
    for name in ("0", "1"):
        assert of(prefix + name, events) == list(other.read(prefix + name))


@two
@with_feed
def check_two_workers_with_one_name(store: EventStore, other: EventStore) -> None:
    """The one that began later goes on where the first one saved; the first is told when it saves again."""
    start = end_of_feed(store)
    stream, name = fresh(), fresh("mails")
    store.append(stream, numbered(1, 5))
    with pytest.raises(CheckpointLost) as caught:
        first_then_second(store, other, stream, name, start)
    assert caught.value.name == name
    assert caught.value.position == start + 4
    assert caught.value.owner
    assert [checkpoint.position for checkpoint in other.checkpoints() if checkpoint.name == name] == [start + 4]


def first_then_second(store: EventStore, other: EventStore, stream: str, name: str, start: int) -> None:
    """A worker handles two events, another one two more, and the first goes on."""
    with store.subscribe(after=start, checkpoint=name, streams=stream, poll=POLL) as first:
        assert [next(first).version for _ in range(2)] == [1, 2]
        first.save()
        with other.subscribe(after=start, checkpoint=name, streams=stream, poll=POLL) as second:
            assert [next(second).version for _ in range(2)] == [3, 4]
            second.save()
        assert next(first).version == 3
        first.save()


@two
@with_feed
def check_a_checkpoint_that_was_removed(store: EventStore, other: EventStore) -> None:
    """The worker that used it is told, and nobody has it."""
    start = end_of_feed(store)
    stream, name = fresh(), fresh("mails")
    store.append(stream, numbered(1, 2))
    subscription = store.subscribe(after=start, checkpoint=name, streams=stream, poll=POLL)
    next(subscription)
    other.forget(name)
    with pytest.raises(CheckpointLost) as caught:
        subscription.save()
    subscription.close()
    assert (caught.value.name, caught.value.owner) == (name, "")
    assert next(subscription, None) is None
    assert name not in [checkpoint.name for checkpoint in other.checkpoints()]
