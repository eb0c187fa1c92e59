"""The logs of all events that are replayed, behind one small interface: what ``feed`` is measured against.

* ``headstream``: the public API on one SQLite file.
* ``eventsourcing``: the notification log of its SQLite recorder, in sections of 1,000: the fastest layer of that library.
* ``PostgreSQL``: the same of its PostgreSQL recorder.
* ``UmaDB``: its server, asked by its own client, on this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Protocol
from uuid import NAMESPACE_URL, uuid5

import msgspec
from eventsourcing.persistence import ApplicationRecorder, StoredEvent
from eventsourcing.sqlite import SQLiteApplicationRecorder, SQLiteDatastore

from benchmarks import servers
from benchmarks.rivals import TYPE, payload
from headstream import Event, Head, connect

STREAMS = 1_000
SECTION = 1_000
"""Events that are asked for at once, where that can be said."""
PAYLOADS = 10_000
"""Different payloads."""
PAGE = 4096


class Log(Protocol):
    """What is measured."""

    def append(self, stream: str, first: int, count: int) -> None:
        """Append events ``first`` to ``first+count-1`` of a stream, which follow what is there, durably."""

    def publish(self) -> None:
        """Have everything in the log, where that takes more than appending."""

    def one_by_one(self) -> int:
        """Take every event; how many there were."""

    def in_lists(self) -> int:
        """Take every event, in the lists that they come in; how many there were."""

    def decoded(self) -> int:
        """Take every event and decode its JSON; how many there were."""

    def close(self) -> None:
        """Let go of files, and end servers."""

    def size(self) -> int:
        """Bytes on the disk, once it is closed."""


def fill(log: Log, events: int, each: int) -> None:
    """Append ``events`` to streams in turn, ``each`` at a time, and publish them."""
    for call in range(events // each):
        log.append(f"order-{call % STREAMS}", call // STREAMS * each + 1, each)
    log.publish()


class HeadstreamLog:
    """headstream on SQLite."""

    def __init__(self, folder: Path, *, feed: bool = True) -> None:
        self._folder = folder
        self._feed = feed
        self._store = connect(str(folder / "headstream.db"), feed=feed)
        self._heads: dict[str, Head | int] = {}

    def append(self, stream: str, first: int, count: int) -> None:
        events = [Event(TYPE, payload(number % PAYLOADS)) for number in range(first, first + count)]
        self._heads[stream] = self._store.append(stream, events, expected=self._heads.get(stream, 0))

    def publish(self) -> None:
        if self._feed:
            self._store.advance()

    def one_by_one(self) -> int:
        return sum(1 for _ in self._store.feed(advance=False))

    def in_lists(self) -> int:
        with self._store.subscribe(follow=False) as subscription:
            return sum(map(len, subscription.batches(SECTION)))

    def decoded(self) -> int:
        return sum(1 for event in self._store.feed(advance=False) if event.data)

    def close(self) -> None:
        self._store.close()

    def size(self) -> int:
        return _bytes_in(self._folder)


class _Recorded:
    """A notification log of ``eventsourcing``: its fastest layer, given and returning encoded bytes."""

    def __init__(self, recorder: ApplicationRecorder) -> None:
        self._recorder = recorder

    def append(self, stream: str, first: int, count: int) -> None:
        originator = uuid5(NAMESPACE_URL, stream)
        self._recorder.insert_events(
            [
                StoredEvent(originator, number, TYPE, msgspec.json.encode(payload(number % PAYLOADS)))
                for number in range(first, first + count)
            ]
        )

    def publish(self) -> None:
        """What is appended is in the log."""

    def one_by_one(self) -> int:
        return sum(1 for section in self._sections() for _ in section)

    def in_lists(self) -> int:
        return sum(map(len, self._sections()))

    def decoded(self) -> int:
        return sum(1 for section in self._sections() for event in section if msgspec.json.decode(event.state))

    def _sections(self) -> Iterator[Any]:
        last = 0
        while section := self._recorder.select_notifications(last + 1, SECTION):
            yield section
            last = section[-1].id


class EventSourcingLog(_Recorded):
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
        return _bytes_in(self._folder)


class PostgresLog(_Recorded):
    """``eventsourcing`` on PostgreSQL, through a socket."""

    def __init__(self, _folder: Path) -> None:
        self._size = 0
        self._stack = ExitStack()
        place = self._stack.enter_context(servers.postgres())
        from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore  # noqa: PLC0415 - optional

        self._datastore = PostgresDatastore("postgres", str(place), 5432, "postgres", "none", pool_size=5)
        self._stack.callback(self._datastore.close)
        recorder = PostgresApplicationRecorder(self._datastore)
        recorder.create_table()
        super().__init__(recorder)

    def close(self) -> None:
        with self._datastore.transaction(commit=False) as cursor:
            cursor.execute("SELECT pg_total_relation_size('stored_events') AS bytes")
            (row,) = cursor.fetchall()
            self._size = int(row["bytes"])
        self._stack.close()

    def size(self) -> int:
        return self._size


class UmaLog:
    """UmaDB: the stream is a tag of each event."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._url = self._stack.enter_context(servers.umadb(folder))
        import umadb  # noqa: PLC0415 - it may be missing

        self._library = umadb
        self._client = umadb.Client(self._url, batch_size=SECTION)

    def append(self, stream: str, first: int, count: int) -> None:
        tags = [stream]
        event = self._library.Event
        self._client.append(
            [
                event(TYPE, msgspec.json.encode(payload(number % PAYLOADS)), tags)
                for number in range(first, first + count)
            ]
        )

    def publish(self) -> None:
        """What is appended is in the log."""

    def one_by_one(self) -> int:
        return sum(1 for _ in self._client.read())

    def in_lists(self) -> int:
        response, count = self._client.read(), 0
        while section := response.next_batch():
            count += len(section)
        return count

    def decoded(self) -> int:
        return sum(1 for event in self._client.read() if msgspec.json.decode(event.event.data))

    def close(self) -> None:
        self._stack.close()

    def size(self) -> int:
        """Only pages with something in them: it makes its file 256 MiB large at once."""
        with (self._folder / "uma.db").open("rb") as file:
            return sum(len(page) for page in iter(lambda: file.read(PAGE), b"") if any(page))


LOGS: dict[str, Callable[[Path], Log]] = {
    "headstream": HeadstreamLog,
    "eventsourcing": EventSourcingLog,
    "PostgreSQL": PostgresLog,
    "UmaDB": UmaLog,
}


def _bytes_in(folder: Path) -> int:
    """Bytes that the files of ``folder`` take."""
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file())
