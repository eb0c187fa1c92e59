"""The stores that have a server, behind the interface of :mod:`benchmarks.rivals`; and the list of all. All of them flush to the disk before they answer.

* ``PostgreSQL``: the recorder of ``eventsourcing`` for it, with its insert function, which is twice as fast as without.
* ``UmaDB``: its server, asked by its own client. The stream is a tag of each event, and an append is conditional on that tag: the others
  check the stream's version, too.
* ``Message DB``: its functions in PostgreSQL. Each stream is a category of its own: a category is locked during an append.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import msgspec

from benchmarks import servers
from benchmarks.rivals import HEADSTREAM, TYPE, BareSqlite, EventSourcing, Headstream, Recorded, Store, encoded
from benchmarks.servers import NotInstalled

CONNECTIONS = 16
"""As many as there are threads."""
SECTION = 1_000
"""Events that are asked for at once, where that can be said."""
PAGE = 4096


class Postgres(Recorded):
    """``eventsourcing`` on PostgreSQL, through a socket."""

    def __init__(self, _folder: Path) -> None:
        self._size = 0
        self._stack = ExitStack()
        place = self._stack.enter_context(servers.postgres())
        from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore  # noqa: PLC0415 - optional

        self._datastore = PostgresDatastore(
            "postgres", str(place), 5432, "postgres", "none", pool_size=CONNECTIONS, enable_db_functions=True
        )
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


class Uma:
    """UmaDB."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = ExitStack()
        url = self._stack.enter_context(servers.umadb(folder))
        import umadb  # noqa: PLC0415 - it may be missing

        self._library = umadb
        self._client = umadb.Client(url, batch_size=SECTION)
        self._positions: dict[str, list[int]] = {}
        """Of the events of each stream: UmaDB counts no versions."""

    def append(self, stream: str, first: int, count: int) -> None:
        positions = self._positions.setdefault(stream, [])
        events = [self._event(stream, number) for number in range(first, first + count)]
        last = self._client.append(events, self._condition(stream, positions[-1] if positions else None))
        positions += range(last - count + 1, last + 1)

    def read(self, stream: str, after: int, limit: int | None) -> int:
        start = self._positions[stream][after] if after else None
        events = self._client.read(self._query(stream), start=start, limit=limit)
        return len([msgspec.json.decode(event.event.data) for event in events])

    def last(self, stream: str, limit: int) -> int:
        events = self._client.read(self._query(stream), backwards=True, limit=limit)
        return len([msgspec.json.decode(event.event.data) for event in events])

    def tail(self, stream: str) -> Any:
        answer = self._client.read(self._query(stream), backwards=True, limit=1)
        newest = list(answer)  # to its end: many that are given up make the server reset the connection
        return newest[0].position if newest else None

    def follow(self, stream: str, tail: Any, number: int) -> bool:
        try:
            self._client.append([self._event(stream, number)], self._condition(stream, tail))
        except self._library.IntegrityError:
            return False
        return True

    def push(self, stream: str, number: int) -> None:
        """Append one event after whatever is there."""
        self._client.append([self._event(stream, number)])

    def publish(self) -> None:
        """What is appended is in the log."""

    def close(self) -> None:
        self._stack.close()

    def size(self) -> int:
        """Only pages with something in them: it makes its file 256 MiB large at once."""
        with (self._folder / "uma.db").open("rb") as file:
            return sum(len(page) for page in iter(lambda: file.read(PAGE), b"") if any(page))

    def _event(self, stream: str, number: int) -> Any:
        return self._library.Event(TYPE, encoded(number), [stream])

    def _query(self, stream: str) -> Any:
        return self._library.Query([self._library.QueryItem(tags=[stream])])

    def _condition(self, stream: str, after: int | None) -> Any:
        return self._library.AppendCondition(self._query(stream), after=after)


class MessageDb:
    """Message DB in PostgreSQL, through a socket. Its positions begin with 0."""

    WRITE = "SELECT message_store.write_message(%s, %s, %s, %s, NULL, %s)"
    READ = "SELECT data FROM message_store.get_stream_messages(%s, %s, %s)"
    LAST = "SELECT data FROM message_store.get_stream_messages(%s, message_store.stream_version(%s) - %s + 1, %s)"

    def __init__(self, _folder: Path) -> None:
        self._size = 0
        scripts = servers.message_db()
        self._stack = ExitStack()
        place = self._stack.enter_context(servers.postgres())
        import psycopg  # noqa: PLC0415 - it may be missing
        from psycopg_pool import ConnectionPool  # noqa: PLC0415 - it may be missing

        self._error = psycopg.errors.RaiseException
        options = {"autocommit": True, "options": "-c search_path=message_store"}
        self._pool = self._stack.enter_context(
            ConnectionPool(
                f"host={place} user=postgres dbname=postgres", kwargs=options, min_size=CONNECTIONS, open=True
            )
        )
        with self._pool.connection() as connection:
            for script in scripts:
                connection.execute(script.encode())

    def append(self, stream: str, first: int, count: int) -> None:
        rows = [self._row(stream, number, number - 2) for number in range(first, first + count)]
        if count == 1:
            self._write(rows[0])
            return
        with self._pool.connection() as connection, connection.transaction(), connection.cursor() as cursor:
            cursor.executemany(self.WRITE, rows)

    def read(self, stream: str, after: int, limit: int | None) -> int:
        return self._decoded(self.READ, (_name(stream), after, -1 if limit is None else limit))

    def last(self, stream: str, limit: int) -> int:
        name = _name(stream)
        return self._decoded(self.LAST, (name, name, limit, limit))

    def tail(self, stream: str) -> Any:
        with self._pool.connection() as connection:
            found = connection.execute("SELECT message_store.stream_version(%s)", (_name(stream),)).fetchone()
        return -1 if not found or found[0] is None else found[0]

    def follow(self, stream: str, tail: Any, number: int) -> bool:
        try:
            self._write(self._row(stream, number, tail))
        except self._error:
            return False
        return True

    def push(self, stream: str, number: int) -> None:
        """Append one event after whatever is there."""
        self._write(self._row(stream, number, None))

    def publish(self) -> None:
        """What is appended is in the log."""

    def close(self) -> None:
        with self._pool.connection() as connection:
            found = connection.execute("SELECT pg_total_relation_size('message_store.messages')").fetchone()
            self._size = int(found[0]) if found else 0
        self._stack.close()

    def size(self) -> int:
        return self._size

    def _row(self, stream: str, number: int, expected: int | None) -> tuple[str, str, str, str, int | None]:
        return str(uuid4()), _name(stream), TYPE, encoded(number).decode(), expected

    def _write(self, row: tuple[str, str, str, str, int | None]) -> None:
        with self._pool.connection() as connection:
            connection.execute(self.WRITE, row)

    def _decoded(self, query: str, arguments: tuple[object, ...]) -> int:
        with self._pool.connection() as connection:
            rows = connection.execute(query.encode(), arguments).fetchall()
        return len([msgspec.json.decode(data) for (data,) in rows])


def _name(stream: str) -> str:
    """What precedes the first hyphen is the category: here the whole name."""
    return f"{stream.replace('-', '_')}-0"


STORES: dict[str, Callable[[Path], Store]] = {
    HEADSTREAM: Headstream,
    "eventsourcing": EventSourcing,
    "PostgreSQL": Postgres,
    "UmaDB": Uma,
    "Message DB": MessageDb,
    "bare SQLite": BareSqlite,
}


def each(measure: Callable[[str, Store], None], missing: list[str]) -> dict[str, int]:
    """Call ``measure`` with the name of each store and a new one, one after the other. Returns the bytes that each then has on the disk.

    ``missing`` gets the names of those that are not installed.
    """
    sizes: dict[str, int] = {}
    for name, make in STORES.items():
        with TemporaryDirectory(prefix="bench-") as folder:
            try:
                store = make(Path(folder))
            except NotInstalled:
                missing.append(name)
                continue
            try:
                measure(name, store)
            finally:
                store.close()
            sizes[name] = store.size()
    return sizes
