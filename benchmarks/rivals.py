"""The stores that are measured, behind one small interface. All of them flush to the disk before they answer. Here are those in a file; the others are in
:mod:`benchmarks.served`.

* ``headstream``: the public API, JSON encoding and decoding included, on one SQLite file, with the feed's intents.
* ``eventsourcing``: its SQLite recorder, given and returning encoded bytes: the fastest layer of that library.
* ``bare SQLite``: one INSERT per event, one COMMIT per call: the limit for anything that stores rows.
"""

from __future__ import annotations

import sqlite3
import threading
from functools import cache
from pathlib import Path
from typing import Any, Protocol
from uuid import NAMESPACE_URL, uuid5

import msgspec
from eventsourcing.persistence import ApplicationRecorder, IntegrityError, StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

from headstream import Event, Head, WrongExpectedVersion, connect

TYPE = "OrderLineAdded"
PAYLOADS = 10_000
"""Different payloads."""
HEADSTREAM = "headstream"


@cache
def payload(number: int) -> dict[str, Any]:
    """About 200 bytes of JSON, different for each number. Made once: it is the stores that are measured."""
    return {
        "order": number,
        "sku": f"sku-{number * 7919 % 100_003:06d}",
        "quantity": number % 9 + 1,
        "price": round(number * 1.37 % 997, 2),
        "note": f"{number * 2654435761 % 2**32:08x}" * 11,
    }


def encoded(number: int) -> bytes:
    """The same as bytes, as the rivals take it: encoded anew each time."""
    return msgspec.json.encode(payload(number % PAYLOADS))


class Store(Protocol):
    """What is measured."""

    def append(self, stream: str, first: int, count: int) -> None:
        """Append events ``first`` to ``first+count-1`` of a stream, which follow what is there, durably."""

    def read(self, stream: str, after: int, limit: int | None) -> int:
        """Read events in order, and decode them; how many there were."""

    def last(self, stream: str, limit: int) -> int:
        """Read the newest events; how many there were."""

    def tail(self, stream: str) -> Any:
        """What an append has to follow, in the store's own terms: learned in the cheapest way."""

    def follow(self, stream: str, tail: Any, number: int) -> bool:
        """Append one event, if the stream still ends there; whether it did."""

    def publish(self) -> None:
        """Have everything in the log of all events, where that takes more than appending."""

    def close(self) -> None:
        """Let go of files, and end servers."""

    def size(self) -> int:
        """Bytes on the disk, once it is closed."""


class Headstream:
    """headstream on SQLite."""

    def __init__(self, folder: Path, *, feed: bool = True) -> None:
        self._folder = folder
        self._feed = feed
        self.store = connect(str(folder / "headstream.db"), feed=feed)
        self._heads: dict[str, Head | int] = {}

    def append(self, stream: str, first: int, count: int) -> None:
        events = [Event(TYPE, payload(number % PAYLOADS)) for number in range(first, first + count)]
        self._heads[stream] = self.store.append(stream, events, expected=self._heads.get(stream, 0))

    def read(self, stream: str, after: int, limit: int | None) -> int:
        return len([event.data for event in self.store.read(stream, after=after, limit=limit)])

    def last(self, stream: str, limit: int) -> int:
        return len([event.data for event in self.store.read(stream, limit=limit, backwards=True)])

    def tail(self, stream: str) -> Any:
        return self.store.head(stream) or 0

    def follow(self, stream: str, tail: Any, number: int) -> bool:
        try:
            self.store.append(stream, Event(TYPE, payload(number)), expected=tail)
        except WrongExpectedVersion:
            return False
        return True

    def push(self, stream: str, number: int) -> None:
        """Append one event after whatever is there."""
        self.store.append(stream, Event(TYPE, payload(number)))

    def publish(self) -> None:
        if self._feed:
            self.store.advance()

    def close(self) -> None:
        self.store.close()

    def size(self) -> int:
        return bytes_in(self._folder)


class Recorded:
    """A recorder of ``eventsourcing``: its fastest layer, given and returning encoded bytes."""

    def __init__(self, recorder: ApplicationRecorder) -> None:
        self._recorder = recorder

    def append(self, stream: str, first: int, count: int) -> None:
        originator = uuid5(NAMESPACE_URL, stream)
        self._recorder.insert_events(
            [StoredEvent(originator, number, TYPE, encoded(number)) for number in range(first, first + count)]
        )

    def read(self, stream: str, after: int, limit: int | None) -> int:
        originator = uuid5(NAMESPACE_URL, stream)
        events = self._recorder.select_events(originator, gt=after or None, limit=limit)
        return len([msgspec.json.decode(event.state) for event in events])

    def last(self, stream: str, limit: int) -> int:
        events = self._recorder.select_events(uuid5(NAMESPACE_URL, stream), desc=True, limit=limit)
        return len([msgspec.json.decode(event.state) for event in events])

    def tail(self, stream: str) -> Any:
        newest = self._recorder.select_events(uuid5(NAMESPACE_URL, stream), desc=True, limit=1)
        return newest[0].originator_version if newest else 0

    def follow(self, stream: str, tail: Any, number: int) -> bool:
        event = StoredEvent(uuid5(NAMESPACE_URL, stream), tail + 1, TYPE, encoded(number))
        try:
            self._recorder.insert_events([event])
        except IntegrityError:
            return False
        return True

    def publish(self) -> None:
        """What is appended is in the log."""


class EventSourcing(Recorded):
    """``eventsourcing`` on SQLite (WAL, synchronous=FULL)."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._datastore = SQLiteDatastore(str(folder / "eventsourcing.db"))
        recorder = SQLiteApplicationRecorder(self._datastore)
        recorder.create_table()
        super().__init__(recorder)

    def close(self) -> None:
        self._datastore.close()

    def size(self) -> int:
        return bytes_in(self._folder)


class BareSqlite:
    """Rows in SQLite (WAL, synchronous=FULL), a connection per thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._connection().execute(
            "CREATE TABLE events (stream TEXT, version INTEGER, type TEXT, data TEXT, PRIMARY KEY (stream, version))"
        )

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._local, "connection"):
            path = self._folder / "bare.db"
            connection = sqlite3.connect(path, isolation_level=None, timeout=60, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._local.connection = connection
            self._connections.append(connection)
        found: sqlite3.Connection = self._local.connection
        return found

    def append(self, stream: str, first: int, count: int) -> None:
        connection = self._connection()
        rows = [(stream, number, TYPE, encoded(number).decode()) for number in range(first, first + count)]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO events VALUES (?, ?, ?, ?)", rows)
        connection.execute("COMMIT")

    def read(self, stream: str, after: int, limit: int | None) -> int:
        query = "SELECT version, type, data FROM events WHERE stream = ? AND version > ? ORDER BY version LIMIT ?"
        rows = self._connection().execute(query, (stream, after, -1 if limit is None else limit))
        return len([msgspec.json.decode(data) for _, _, data in rows])

    def last(self, stream: str, limit: int) -> int:
        query = "SELECT version, type, data FROM events WHERE stream = ? ORDER BY version DESC LIMIT ?"
        return len([msgspec.json.decode(data) for _, _, data in self._connection().execute(query, (stream, limit))])

    def tail(self, stream: str) -> Any:
        query = "SELECT max(version) FROM events WHERE stream = ?"
        ((version,),) = self._connection().execute(query, (stream,))
        return version or 0

    def follow(self, stream: str, tail: Any, number: int) -> bool:
        row = (stream, tail + 1, TYPE, encoded(number).decode())
        try:
            self._connection().execute("INSERT INTO events VALUES (?, ?, ?, ?)", row)
        except sqlite3.IntegrityError:
            return False
        return True

    def push(self, stream: str, number: int) -> None:
        """Append one event after whatever is there."""
        query = "INSERT INTO events SELECT ?, coalesce(max(version), 0) + 1, ?, ? FROM events WHERE stream = ?"
        self._connection().execute(query, (stream, TYPE, encoded(number).decode(), stream))

    def publish(self) -> None:
        """The table is the log."""

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def size(self) -> int:
        return bytes_in(self._folder)


def bytes_in(folder: Path) -> int:
    """Bytes that the files of ``folder`` take."""
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
