"""The stores that are measured, behind one small interface. All of them flush to the disk before they answer.

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
from eventsourcing.persistence import StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

from headstream import Event, Head, connect

TYPE = "OrderLineAdded"


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


class Store(Protocol):
    """What is measured."""

    name: str

    def append(self, stream: str, first: int, count: int) -> None:
        """Append events ``first`` to ``first+count-1`` of a stream, which follow what is there, durably."""

    def read(self, stream: str, after: int, limit: int | None) -> int:
        """Read events in order; how many there were."""

    def last(self, stream: str, limit: int) -> int:
        """Read the newest events; how many there were."""

    def close(self) -> None:
        """Let go of files."""


class Headstream:
    """headstream on SQLite."""

    name = "headstream"

    def __init__(self, folder: Path) -> None:
        self._store = connect(str(folder / "headstream.db"))
        self._heads: dict[str, Head | int] = {}

    def append(self, stream: str, first: int, count: int) -> None:
        events = [Event(TYPE, payload(number)) for number in range(first, first + count)]
        self._heads[stream] = self._store.append(stream, events, expected=self._heads.get(stream, 0))

    def read(self, stream: str, after: int, limit: int | None) -> int:
        return len([event.data for event in self._store.read(stream, after=after, limit=limit)])

    def last(self, stream: str, limit: int) -> int:
        return len([event.data for event in self._store.read(stream, limit=limit, backwards=True)])

    def close(self) -> None:
        self._store.close()


class EventSourcing:
    """The recorder of ``eventsourcing`` on SQLite (WAL, synchronous=FULL)."""

    name = "eventsourcing"

    def __init__(self, folder: Path) -> None:
        self._datastore = SQLiteDatastore(str(folder / "eventsourcing.db"))
        self._recorder = SQLiteApplicationRecorder(self._datastore)
        self._recorder.create_table()

    def append(self, stream: str, first: int, count: int) -> None:
        originator = uuid5(NAMESPACE_URL, stream)
        self._recorder.insert_events(
            [
                StoredEvent(originator, number, TYPE, msgspec.json.encode(payload(number)))
                for number in range(first, first + count)
            ]
        )

    def read(self, stream: str, after: int, limit: int | None) -> int:
        originator = uuid5(NAMESPACE_URL, stream)
        events = self._recorder.select_events(originator, gt=after or None, limit=limit)
        return len([msgspec.json.decode(event.state) for event in events])

    def last(self, stream: str, limit: int) -> int:
        events = self._recorder.select_events(uuid5(NAMESPACE_URL, stream), desc=True, limit=limit)
        return len([msgspec.json.decode(event.state) for event in events])

    def close(self) -> None:
        self._datastore.close()


class BareSqlite:
    """Rows in SQLite (WAL, synchronous=FULL), a connection per thread."""

    name = "bare SQLite"

    def __init__(self, folder: Path) -> None:
        self._path = folder / "bare.db"
        self._local = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._connection().execute(
            "CREATE TABLE events (stream TEXT, version INTEGER, type TEXT, data TEXT, PRIMARY KEY (stream, version))"
        )

    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._local, "connection"):
            connection = sqlite3.connect(self._path, isolation_level=None, timeout=60, check_same_thread=False)
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            self._local.connection = connection
            self._connections.append(connection)
        found: sqlite3.Connection = self._local.connection
        return found

    def append(self, stream: str, first: int, count: int) -> None:
        connection = self._connection()
        rows = [
            (stream, number, TYPE, msgspec.json.encode(payload(number)).decode())
            for number in range(first, first + count)
        ]
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

    def close(self) -> None:
        for connection in self._connections:
            connection.close()


STORES: tuple[type[Headstream | EventSourcing | BareSqlite], ...] = (Headstream, EventSourcing, BareSqlite)
