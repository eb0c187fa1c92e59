"""Write ``tests/data/format-N``: a store of the current format, and what is in it. Run once for each format, then never again.

``python tools/make_format_data.py``
"""

from __future__ import annotations

import json
import shutil
import time
from base64 import b64encode
from pathlib import Path
from typing import Any

from headstream import NO_STREAM, Event, EventStore, Expectation, connect
from headstream.backends.files import FilesBackend
from headstream.chance import bits80
from headstream.drivers import sync
from headstream.drivers.ids import uuid7
from headstream.protocol import checkpoint, feed, intent, keys
from headstream.protocol.codec import FORMAT
from headstream.protocol.intent import Intent

FOLDER = Path(__file__).parents[1] / "tests" / "data" / f"format-{FORMAT}"
STREAMS = {
    "short": 1,
    "Order_1/é ü": 3,
    "a $ ~name.with %all! [kinds]": 2,
    "long-東京": 40,
}
ABANDONED = ["never/was", "short"]
"""Streams to which somebody began to append an hour ago: one does not exist."""
UNPUBLISHED = ["short", "new", "long-東京"]
"""Streams that were appended to after the feed was advanced for the last time."""

CHECKPOINTS = {"mailer": 7, "report/é 1": 0}


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


def append_all(store: EventStore) -> None:
    """Every stream, while the feed is advanced now and then."""
    for stream, changesets in STREAMS.items():
        head: Expectation = NO_STREAM
        for number in range(changesets):
            head = store.append(stream, events_of(stream, number), expected=head, key=f"key-{number}")
            if number % 3 == 2:
                store.advance()
    store.advance()


def abandon(store: EventStore, backend: FilesBackend, stream: str, seconds_ago: int) -> None:
    """Announce an append that never comes."""
    nanos = time.time_ns() - seconds_ago * 1_000_000_000
    head = store.head(stream)
    announced = Intent(uuid7(nanos, bits80()), stream, head.version if head else 0, nanos // 1000, [])
    backend.commit((), intent.put(announced))


def advance_and_die(store: EventStore, backend: FilesBackend) -> None:
    """Advance the feed, and leave the intents that this settles in the inbox."""
    plan = sync.run(feed.survey(None, 1000), backend)
    sync.run(feed.publish(store.settings, plan), backend)


def contents(store: EventStore, fenced: list[str]) -> dict[str, Any]:
    """What any reader must find."""
    return {
        "streams": {
            stream: [
                [event.version, event.type, plain(event.data), event.metadata, event.id, str(event.changeset_id)]
                for event in store.read(stream)
            ]
            for stream in [*STREAMS, "new"]
        },
        "feed": [[event.position, event.stream, event.version] for event in store.feed(advance=False)],
        "fenced": fenced,
        "unpublished": UNPUBLISHED,
        "checkpoints": {one.name: [one.position, one.owner] for one in store.checkpoints()},
    }


def main() -> None:
    """Write the store, and what any reader must find in it."""
    if FOLDER.exists():
        raise SystemExit(f"{FOLDER} exists: a store that was committed stays as it is")
    backend = FilesBackend(FOLDER / "store")
    with connect(backend, tail_bytes=400, fan_out=3, advance_every=0) as store:
        append_all(store)
        for stream in ABANDONED:
            abandon(store, backend, stream, seconds_ago=3600)
        store.advance()
        for name, position in CHECKPOINTS.items():
            sync.run(checkpoint.save(name, None, position, "a-host:1"), backend)
        for number in range(3):
            store.append("long-東京", events_of("long-東京", 40 + number), key=f"key-{40 + number}")
        advance_and_die(store, backend)
        for stream in UNPUBLISHED:
            number = {"short": 1, "new": 0, "long-東京": 43}[stream]
            store.append(stream, events_of(stream, number), key=f"key-{number}")
        abandon(store, backend, "new", seconds_ago=0)
        expected = contents(store, ["never/was"])
        assert keys.FEED in store.streams("$")
    shutil.rmtree(FOLDER / "store" / ".headstream")  # locks, of use to nobody but running processes
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main()
