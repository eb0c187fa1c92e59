"""What tests of collecting garbage share: garbage as crashed writers leave it, and what is live, found without the code under test."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch

from headstream import ANY, Event, EventStore
from headstream.protocol import keys
from headstream.protocol.head import spans, spans_of
from headstream.protocol.ops import Commit, Found, Get
from headstream.protocol.read import load_head
from headstream.protocol.segment import decode_page
from support.script import Script

FOLDERS: Final = (keys.SEGMENTS, keys.INDEX, keys.SNAPSHOTS)
LONG: Final = 3 * 3600
"""Seconds."""


@contextmanager
def clock_moved(seconds: int) -> Iterator[None]:
    """In here the clock of this process is so much later."""
    clock = SimpleNamespace(time_ns=lambda: time.time_ns() + seconds * 10**9)
    with patch("headstream.drivers.ids.time", clock):
        yield


def begin(store: EventStore, stream: str, data: object) -> Commit:
    """An append that has written its objects, with its intent first, and is about to try the head; it never does."""
    story = Script(store._session.append(store._session.request(stream, Event("E", data), ANY, None)))
    while not isinstance(asked := story.asked, Commit):
        assert asked is not None
        story.expect(type(asked), store._run(iter(asked)))
    for put in asked.prelude:
        store._backend.commit((), put)
    return asked


def crash(store: EventStore, stream: str, count: int = 1, *, announced: bool = True) -> None:
    """A writer writes the objects of appends, of more bytes than a tail has, and dies; ``announced``: their intents are there."""
    for _ in range(count):
        commit = begin(store, stream, "x" * (store.settings.tail_bytes + 1))
        if not announced:
            store._backend.delete([put.key for put in commit.prelude if put.key.startswith(keys.INBOX)])


def contents(store: EventStore) -> dict[str, list[Any]]:
    """All that is in a store, as users see it."""
    found = {stream: [event.data for event in store.read(stream)] for stream in store.streams()}
    return {stream: data for stream, data in found.items() if data}


def objects(store: EventStore, streams: tuple[str, ...]) -> set[str]:
    """The keys of all segments, index pages and snapshots of these streams and of the feed."""
    return {
        key
        for stream in (*streams, keys.FEED)
        for folder in FOLDERS
        for key in store._backend.list(f"{folder}{keys.escape(stream)}/", "", 1000).keys
    }


def live(store: EventStore) -> set[str]:
    """The keys of all that heads lead to."""
    found: set[str] = set()
    for stream in (*store.streams(), *store.streams("$")):
        state = store._run(load_head(stream, None)).state
        found.update([key for entry in state.snapshots if (key := entry.key(stream)) is not None])
        run = spans(state.fields)
        while run:
            span = run.pop()
            found.add(key := span.key(stream))
            if span.level:
                answer = store._backend.get(Get(key))
                assert isinstance(answer, Found)
                refs = decode_page(answer.body, key, stream, span.ref, span.level)
                run += spans_of([(span.level - 1, ref) for ref in refs], span.last)
    return found
