"""A proxy that cuts, delays, or answers for the server while the feed is advanced: afterwards the feed is the streams."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta

import pytest

from acceptance.places import Place
from acceptance.test_faults import ACTIONS, FOREVER, SERVERS, TIMEOUT
from headstream import Event, EventStore, FeedEvent, OutcomeUnknown, RecordedEvent, Subscription, Unavailable, connect
from headstream.protocol import intent, keys
from headstream.protocol.intent import Intent
from headstream.protocol.ops import Stored
from servers.proxy import Action, Answer, Cut, Delay, Match
from support import shown

FEED = keys.head(keys.FEED)
PARTS: dict[str, Match] = {
    "the feed's head is read": lambda method, path, _headers: method == "GET" and FEED in path,
    "the inbox is listed": lambda method, path, _headers: method == "GET" and "prefix=" in path and "inbox" in path,
    "heads are read": lambda method, path, _headers: method == "GET" and "/heads/s-" in path,
    "a head is fenced": lambda method, path, _headers: method == "PUT" and "/heads/dead-" in path,
    "an intent is read": lambda method, path, _headers: method == "GET" and "/inbox/" in path and "prefix=" not in path,
    "segments of the feed are written": lambda method, path, _headers: method == "PUT" and "/segments/!24feed" in path,
    "the feed's head is written": lambda method, path, _headers: method == "PUT" and FEED in path,
    "intents are deleted": lambda method, path, _headers: method in ("POST", "DELETE"),
}
READS = [part for part in PARTS if "read" in part or "listed" in part]
"""Here it makes no difference whether the server did its part."""
ANSWERED: list[Action] = [action for action in ACTIONS if not (isinstance(action, Answer) and action.status == 409)]
"""What can happen to any request; 409 is an answer to a write."""
ONE_RETRY = {"max_retries": 1, "backoff": {"init_backoff": timedelta(milliseconds=1)}}
LONG_AGO = 1_600_000_000_000
"""Milliseconds since 1970."""


def open_store(place: Place, **options: object) -> EventStore:
    """A store whose requests time out soon, and in which a batch of the feed is sealed at once."""
    client_options = {"timeout": f"{TIMEOUT}s", "connect_timeout": "2s"}
    return connect(
        place.url,
        tail_bytes=100,
        advance_every=0,
        client_options=client_options,
        **options,  # type: ignore[arg-type]
    )


def faults_of(part: str) -> list[Action]:
    """All that can happen to such a request."""
    if part in READS:
        return [action for action in ANSWERED if isinstance(action, Delay) or not action.acted]
    return ANSWERED if "deleted" in part else ACTIONS


def announce_dead(store: EventStore, number: int) -> None:
    """An intent of a writer that died long ago, before it wrote the head of a new stream."""
    changeset = LONG_AGO.to_bytes(6, "big") + bytes([0x70, 0, 0x80, 0, 0, 0]) + number.to_bytes(4, "big")
    put = intent.put(Intent(changeset, f"dead-{number}", 0, LONG_AGO * 1000, []))
    assert isinstance(store._backend.commit((), put), Stored)


def check(store: EventStore, appended: dict[str, list[str]]) -> None:
    """Streams hold what was appended; the feed every event once, each stream in its order; and the inbox is empty."""
    feed = list(store.feed(advance=False))
    assert [event.position for event in feed] == list(range(1, len(feed) + 1))
    by_stream: dict[str, list[RecordedEvent]] = {}
    for event in feed:
        by_stream.setdefault(event.stream, []).append(event)
    assert by_stream == {stream: list(store.read(stream)) for stream in appended}
    assert {stream: [event.data for event in events] for stream, events in by_stream.items()} == appended
    assert store._backend.list(keys.INBOX, "", 10).keys == ()


def append_some(store: EventStore, appended: dict[str, list[str]]) -> None:
    """One event to each of four streams."""
    for number in range(4):
        payloads = appended.setdefault(f"s-{number}", [])
        payloads.append(f"{number}-{len(payloads)}" + "x" * 100)
        store.append(f"s-{number}", Event("E", payloads[-1]))


@pytest.mark.parametrize("proxied", SERVERS, indirect=True)
@pytest.mark.parametrize("part", PARTS)
def test_one_fault(proxied, part):
    """Each fault in turn: the advance publishes all the same, and the next one finds nothing but what could not be settled."""
    place, proxy = proxied
    appended: dict[str, list[str]] = {}
    with open_store(place) as store, open_store(place) as writer:
        for number, action in enumerate(faults_of(part)):
            append_some(writer, appended)
            announce_dead(store, number)
            rule = proxy.fault(PARTS[part], action)
            try:
                if "deleted" in part:  # bulk deletes are POSTs, which the client library may not repeat
                    with suppress(Unavailable):
                        store.advance()
                else:
                    assert store.advance() == 4
                assert rule.happened == 1
                store.advance()  # what was not settled is settled now
                assert store.feed(advance=False).position() == 4 * (number + 1)
                assert store._backend.list(keys.INBOX, "", 10).keys == ()
            except BaseException as error:
                error.add_note(f"{part}, {shown(action)}")
                raise
        check(store, appended)


@pytest.mark.parametrize("proxied", SERVERS, indirect=True)
@pytest.mark.parametrize(
    ("part", "acted"), [(part, acted) for part in PARTS for acted in (False, True) if not (acted and part in READS)]
)
def test_faults_without_end(proxied, part, acted):
    """An advance that cannot go on says so, whatever the server did; when it can, another client leaves the feed whole."""
    place, proxy = proxied
    appended: dict[str, list[str]] = {}
    with open_store(place, retry_config=ONE_RETRY) as store, open_store(place) as writer:
        append_some(writer, appended)
        announce_dead(store, 1)
        store.advance()
        append_some(writer, appended)
        announce_dead(store, 2)
        rule = proxy.fault(PARTS[part], Cut(acted=acted), times=FOREVER)
        with suppress(Unavailable):
            store.advance()
        assert rule.happened
        proxy.heal()
        append_some(writer, appended)
        with open_store(place) as other:
            other.advance()
            check(other, appended)
        append_some(writer, appended)
        assert store.advance() == 4
        check(store, appended)


@pytest.mark.parametrize("proxied", SERVERS, indirect=True)
def test_a_storm(proxied):
    """Two clients advance, one follows and two append while one request in fifteen fails: each event is in the feed once."""
    place, proxy = proxied
    rng = random.Random(20160101)
    over = threading.Event()

    def sometimes(only: str) -> Match:
        return lambda method, _path, _headers: method.startswith(only) and rng.random() < 0.005

    rules = [proxy.fault(sometimes(""), action, times=1 if isinstance(action, Delay) else 8) for action in ANSWERED]
    rules += [proxy.fault(sometimes("PUT"), action, times=8) for action in ACTIONS if action not in ANSWERED]
    appended: dict[str, list[str]] = {f"s-{number}": [] for number in range(10)}
    with open_store(place) as one, open_store(place) as two, ThreadPoolExecutor(5) as pool:
        advancers = [pool.submit(advance_until, over, store) for store in (one, two)]
        seen: list[FeedEvent] = []
        with one.subscribe(poll=(0.01, 0.05)) as subscription:
            follower = pool.submit(follow, subscription, seen)
            writers = [pool.submit(write, store, half, appended) for half, store in enumerate((one, two))]
            try:
                for writer in writers:
                    writer.result(200)
            finally:
                over.set()
                proxy.heal()
            for advancer in advancers:
                advancer.result(60)
            one.advance()
            check(two, appended)
            one.append("last", Event("E"))
            follower.result(60)
            assert seen == list(two.feed())
    assert sum(rule.happened for rule in rules) > 20


def write(store: EventStore, half: int, appended: dict[str, list[str]]) -> None:
    """Events for every other stream, each with a key by which it is repeated until the outcome is known."""
    for number in range(100):
        stream = f"s-{2 * (number % 5) + half}"
        payload = f"{number}" + "x" * 60
        for attempt in range(20):
            try:
                store.append(stream, Event("E", payload), expected=len(appended[stream]), key=payload)
            except (OutcomeUnknown, Unavailable):
                assert attempt < 19
            else:
                break
        appended[stream].append(payload)


def follow(subscription: Subscription, seen: list[FeedEvent]) -> None:
    """Note all events up to the last."""
    for event in subscription:
        seen.append(event)
        if event.stream == "last":
            break


def advance_until(over: threading.Event, store: EventStore) -> None:
    """Advance again and again."""
    while not over.wait(0.02):
        with suppress(Unavailable):
            store.advance()
