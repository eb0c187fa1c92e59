"""Write ``tests/data/format-N…``: stores of the current format, and what is in them. Each is written once, then never again.

``python tools/make_format_data.py``
"""

from __future__ import annotations

import json
import shutil
import time
from base64 import b64encode
from functools import partial
from pathlib import Path
from typing import Any

from headstream import NO_STREAM, Decider, Event, EventStore, Expectation, RecordedEvent, Snapshots, connect
from headstream.backends.files import FilesBackend
from headstream.chance import bits80
from headstream.drivers import sync
from headstream.drivers.ids import uuid7
from headstream.protocol import checkpoint, feed, head, intent, keys
from headstream.protocol.codec import FORMAT
from headstream.protocol.intent import Intent
from headstream.protocol.mark import Mark
from headstream.protocol.ops import Found, Get, Matches, Put

DATA = Path(__file__).parents[1] / "tests" / "data"
STORES = {
    f"format-{FORMAT}": (400, 3, 40, False),
    f"format-{FORMAT}-wide": (3000, 2, 200, True),
    f"format-{FORMAT}-marks": (400, 3, 40, True),
}
"""By name: ``tail_bytes``, ``fan_out``, how many changesets the longest stream has, and whether states are kept.

The first two were written before checkpoints had seven fields, and before states had fingerprints.
"""
LONG = "long-東京"
STREAMS = {
    "short": 1,
    "Order_1/é ü": 3,
    "a $ ~name.with %all! [kinds]": 2,
    LONG: 0,
}
ABANDONED = ["never/was", "short"]
"""Streams to which somebody began to append an hour ago: one does not exist."""
FENCED = "Order_1/é ü"
"""A stream with events whose head was fenced, and not written since."""
UNPUBLISHED = ["short", "new", LONG]
"""Streams that were appended to after the feed was advanced for the last time."""

CHECKPOINTS = {"mailer": (7, False), "report/é 1": (0, False), "standby": (9, True)}
"""By name: the position, and whether the worker has ended and released it."""


def events_of(stream: str, changeset: int) -> list[Event]:
    """One, two or three events of every kind that there is."""
    kinds = [
        Event("Text", {"stream": stream, "number": changeset, "nested": [1, 2.5, None, True, {"é": "ü"}]}),
        Event("Bytes", bytes(range(changeset % 7)), {"user": "eve"}, f"id-{changeset}"),
        Event("Nothing"),
    ]
    return kinds[: changeset % 3 + 1]


def plain(data: Any) -> Any:
    """Data as JSON can express it."""
    return {"base64": b64encode(data).decode()} if isinstance(data, bytes) else data


def append_all(store: EventStore, long: int) -> None:
    """Every stream, while the feed is advanced now and then."""
    for stream, changesets in (STREAMS | {LONG: long}).items():
        at: Expectation = NO_STREAM
        for number in range(changesets):
            at = store.append(stream, events_of(stream, number), expected=at, key=f"key-{number}")
            if number % 3 == 2:
                store.advance()
    store.advance()


def keep_states(store: EventStore) -> None:
    """A stream of which two deciders keep states, one in the head, one in an object."""
    kept: Snapshots[list[str]] = Snapshots(list[str], every=2)
    for number in range(7):
        name, size = [("small", 10), ("large", 5000)][number % 2]
        decider = Decider(list[str], lambda s, event: [*s, event.data["text"]], name=name, snapshots=kept)
        event = Event("Text", {"text": (f"{number} " * size)[:size]})
        store.transact("kept", decider, partial(deciding, event), key=f"key-{number}")
    timed = Decider(list[str], with_time, name="timed", snapshots=Snapshots(list[str], every=1), recorded=True)
    store.transact("kept", timed, partial(deciding, Event("Text", {"text": "last"})), key="key-7")


def with_time(state: list[str], _event: object, recorded: RecordedEvent) -> list[str]:
    """A state that depends on the time of the append, so that the one before the append is kept."""
    return [*state, str(recorded.recorded_at)]


def deciding(event: Event, _state: list[str]) -> Event:
    """Decide for an event, whatever the state is."""
    return event


def abandon(store: EventStore, backend: FilesBackend, stream: str, seconds_ago: int) -> None:
    """Announce an append that never comes."""
    nanos = time.time_ns() - seconds_ago * 1_000_000_000
    found = store.head(stream)
    announced = Intent(uuid7(nanos, bits80()), stream, found.version if found else 0, nanos // 1000, [])
    backend.commit((), intent.put(announced))


def save_checkpoints(store: EventStore, backend: FilesBackend) -> None:
    """Each with the changeset of the feed at its position."""
    reading = store.feed(advance=False)
    marks = {event.position: reading.mark_of(event) for event in reading}
    for name, (position, released) in CHECKPOINTS.items():
        mark = marks.get(position, Mark(0))
        sync.run(checkpoint.save(name, None, mark, "a-host:1", release=released), backend)


def raise_fence(backend: FilesBackend) -> None:
    """As a client does that has lost many races for the head of a stream."""
    key = keys.head(FENCED)
    found = backend.get(Get(key))
    assert isinstance(found, Found)
    fenced = head.fenced(head.decode(found.body, key, FENCED))
    backend.commit((), Put(key, head.encode(fenced), Matches(found.etag)))


def advance_and_die(store: EventStore, backend: FilesBackend) -> None:
    """Advance the feed, and leave the intents that this settles in the inbox."""
    plan = sync.run(feed.survey(None, 1000), backend)
    sync.run(feed.publish(store.settings, plan), backend)


def contents(store: EventStore, streams: list[str], fenced: list[str]) -> dict[str, Any]:
    """What any reader must find."""
    return {
        "streams": {
            stream: [
                [event.version, event.type, plain(event.data), event.metadata, event.id, str(event.changeset_id)]
                for event in store.read(stream)
            ]
            for stream in streams
        },
        "feed": [[event.position, event.stream, event.version] for event in store.feed(advance=False)],
        "fenced": fenced,
        "unpublished": UNPUBLISHED,
        "checkpoints": {
            one.name: [one.position, one.owner, one.changeset.hex() if one.changeset else None, one.released]
            for one in store.checkpoints()
        },
        "fence": {FENCED: 1},
    }


def make(folder: Path, tail_bytes: int, fan_out: int, long: int, *, states: bool) -> None:
    """Write one store, and what any reader must find in it."""
    backend = FilesBackend(folder / "store")
    with connect(backend, tail_bytes=tail_bytes, fan_out=fan_out, advance_every=0) as store:
        append_all(store, long)
        if states:
            keep_states(store)
        for stream in ABANDONED:
            abandon(store, backend, stream, seconds_ago=3600)
        store.advance()
        save_checkpoints(store, backend)
        raise_fence(backend)
        for number in range(long, long + 3):
            store.append(LONG, events_of(LONG, number), key=f"key-{number}")
        advance_and_die(store, backend)
        for stream in UNPUBLISHED:
            number = {"short": 1, "new": 0, LONG: long + 3}[stream]
            store.append(stream, events_of(stream, number), key=f"key-{number}")
        abandon(store, backend, "new", seconds_ago=0)
        expected = contents(store, [*STREAMS, "new", *(["kept"] if states else [])], ["never/was"])
        assert keys.FEED in store.streams("$")
    shutil.rmtree(folder / "store" / ".headstream")  # locks, of use to nobody but running processes
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False), encoding="utf-8")


def main() -> None:
    """Write what is missing: a store that was committed stays as it is."""
    for name, (tail_bytes, fan_out, long, states) in STORES.items():
        if not (DATA / name).exists():
            make(DATA / name, tail_bytes, fan_out, long, states=states)


if __name__ == "__main__":
    main()
