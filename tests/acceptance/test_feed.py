"""Ten processes append to a thousand streams, three advance the feed, two follow it; some are killed: the feed is the streams."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from acceptance.feed_crew import ADVANCERS, FOLLOWERS, KILLS, STREAMS, WRITERS, Ack, Crew, Told
from acceptance.feed_worker import noted
from acceptance.places import Place
from headstream import EventStore, FeedEvent, RecordedEvent
from headstream.protocol import head, intent, keys
from headstream.protocol.layout import Reference
from headstream.protocol.ops import Found, Get

GRACE = 1
"""Seconds after which an append that was not committed is made impossible."""
PATIENCE = 60
"""Seconds, by which all of them must be settled."""


def test_the_numbers():
    """What the names of these tests say."""
    assert (len(WRITERS), len(ADVANCERS), len(FOLLOWERS), STREAMS) == (10, 3, 2, 1000)


@pytest.mark.parametrize(
    ("place", "appends", "tail", "doom"),
    [("sqlite", 300, 400, 0.0), ("azurite", 50, 64 * 1024, 0.02), ("ministack", 50, 400, 0.02)],
    indirect=["place"],
)
def test_a_feed_of_processes(place: Place, tmp_path: Path, appends: int, tail: int, doom: float):
    """At the end it has every event of every stream once, each stream in its order; both followers saw exactly that."""
    logs = tmp_path / "logs"
    logs.mkdir()
    with place.connect(tail_bytes=tail, fan_out=4, grace_seconds=GRACE) as store:
        with Crew(place, logs, appends=appends, doom=doom, seed=20160101) as crew:
            crew.work()
            settle(store)
            end = store.feed(advance=False).position()
            crew.follow(end)
        feed = list(store.feed(advance=False))
        check_feed(store, feed)
        check_promises(crew.told, feed)
        for name in FOLLOWERS:
            check_follower(crew.notes(name), crew.told.saved[name], feed)
        assert {checkpoint.name: checkpoint.position for checkpoint in store.checkpoints()} == dict.fromkeys(
            FOLLOWERS, end
        )
        check_garbage(store, crew, whole_commits=place.name == "sqlite")
        check_fences(store, crew.told.doomed, expected=doom > 0)
    assert crew.killed.keys() == set(KILLS)


def settle(store: EventStore) -> None:
    """Advance until nothing is announced any more: what was never committed is settled after the grace period."""
    deadline = time.monotonic() + PATIENCE
    while store.advance() or listed(store, keys.INBOX):
        assert time.monotonic() < deadline, listed(store, keys.INBOX)[:10]
        time.sleep(GRACE / 10)


def listed(store: EventStore, prefix: str) -> list[str]:
    """All keys that begin with it."""
    found: list[str] = []
    while True:
        page = store._backend.list(prefix, found[-1] if found else "", 1000)
        found += page.keys
        if not page.more:
            return found


# --- what must hold ----------------------------------------------------------------------------------------------


def check_feed(store: EventStore, feed: list[FeedEvent]) -> None:
    """Positions without gap, and of each stream just its events, in their order."""
    assert [event.position for event in feed] == list(range(1, len(feed) + 1))
    by_stream: dict[str, list[RecordedEvent]] = {}
    for event in feed:
        by_stream.setdefault(event.stream, []).append(event)
    names = list(store.streams())
    assert by_stream.keys() <= set(names), "a name whose first append was fenced is listed, too"
    for name in names:
        events = list(store.read(name))
        assert [event.version for event in events] == list(range(1, len(events) + 1))
        assert by_stream.get(name, []) == events


def check_promises(told: Told, feed: list[FeedEvent]) -> None:
    """All that was acknowledged is there, at its place; nothing is there twice."""
    payloads = [event.data for event in feed]
    assert len(set(payloads)) == len(payloads)
    changesets: dict[bytes, list[FeedEvent]] = {}
    for event in feed:
        changesets.setdefault(event.changeset, []).append(event)
    by_end = {(events[-1].stream, events[-1].version): events for events in changesets.values()}
    for ack in told.acks:
        check_promise(ack, by_end[ack.stream, ack.version])
    assert any(ack.positions for ack in told.acks)
    assert told.published > 0


def check_promise(ack: Ack, events: list[FeedEvent]) -> None:
    """One append: its events are one changeset, side by side in the feed."""
    assert [event.data for event in events] == ack.payloads
    first = events[0].position
    assert [event.position for event in events] == list(range(first, first + len(events)))
    if ack.positions is not None:
        assert ack.positions == [first, first + len(events)]


def check_follower(sessions: list[list[str]], saved: list[tuple[int, int]], feed: list[FeedEvent]) -> None:
    """Each session saw a part of the feed, without gap, that begins after what was saved and not after what was seen."""
    lines = [noted(event).rstrip("\n") for event in feed]
    seen = 0
    for number, notes in enumerate(sessions):
        if notes:
            first = int(notes[0].split()[0])
            assert first <= seen + 1
            assert first > max((position for session, position in saved if session < number), default=0)
            assert notes == lines[first - 1 : first - 1 + len(notes)]
            seen = max(seen, first - 1 + len(notes))
    assert seen == len(feed)
    assert len(sessions) > 1


def check_garbage(store: EventStore, crew: Crew, *, whole_commits: bool) -> None:
    """All that is needed is there, and nothing of appends that were announced and died.

    A writer that is killed while it announces an append may leave objects that no intent names: one attempt a kill. And so may an
    advance that lost a race, since the feed is announced to nobody. Where a commit is one transaction, neither can be.
    """
    there = {*listed(store, keys.SEGMENTS), *listed(store, keys.INDEX)}
    needed = set(referenced(store, there))
    assert needed <= there
    assert not there.intersection(crew.told.doomed)
    orphans = there - needed
    if whole_commits:
        assert there
        assert not orphans
    attempts = {key[-32:] for key in orphans if f"/{keys.escape(keys.FEED)}/" not in key}
    assert len(attempts) <= crew.killed["writer"]


def check_fences(store: EventStore, doomed: list[str], *, expected: bool) -> None:
    """Where a writer died before the head and nobody else wrote, the head was fenced."""
    streams = {intent.announced(key).stream for key in doomed if key.startswith(keys.INBOX)}
    fences = 0
    for stream in streams:
        found = store._backend.get(Get(keys.head(stream)))
        assert isinstance(found, Found), "a head that nobody wrote was not fenced either"
        fences += head.decode(found.body, keys.head(stream), stream).fields.fence
    assert (fences > 0) is expected


def referenced(store: EventStore, objects: set[str]) -> Iterator[str]:
    """The keys of all that the heads of the streams with such objects refer to."""
    for folder in {key.split("/")[1] for key in objects}:
        layout = store.layout(keys.unescape(folder))
        pending: list[Reference] = list(layout.references) if layout else []
        while pending:
            reference = pending.pop()
            yield reference.key
            if reference.level:
                pending += store.references(reference)
