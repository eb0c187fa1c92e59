"""Databases of readers, each through the driver or library that an application may use; and a read model in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy

from headstream import Event, EventStore, FeedEvent
from headstream.projections import Projection, Tables
from headstream.projections.databases import Source, opened, rendered

EMBEDDED = ("sqlite3", "sqlalchemy")
ALL = (*EMBEDDED, "psycopg", "sqlalchemy+psycopg")
TABLES = ("items", "counts")


@dataclass
class Reader:
    """A database: how a projection is given it, and how a test looks into it."""

    source: Source
    style: str

    def put(self, db: Any, sql: str, *values: object) -> None:
        """Execute a statement with ``?`` for values on what a handler is given."""
        text, parameters = rendered(sql, values, self.style)
        db.execute(sqlalchemy.text(text) if isinstance(db, sqlalchemy.Connection) else text, parameters)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What a reader sees who comes now."""
        with opened(self.source) as database:
            return database.execute(sql)

    def change(self, sql: str) -> None:
        """Execute a statement, as somebody who meddles with the database."""
        with opened(self.source) as database, database.transaction():
            database.execute(sql)

    def position(self, name: str = "items") -> int:
        """How far the generation that serves has come."""
        (row,) = self.rows(f"SELECT position FROM headstream_projections WHERE name = '{name}' AND serving = 1")
        return int(row[0])

    def items(self) -> list[tuple[int, str, int]]:
        """What the read model has: position, stream and number of each event."""
        return [(row[0], row[1], row[2]) for row in self.rows("SELECT * FROM items ORDER BY position")]

    def relations(self) -> set[str]:
        """The names of all tables and views, the ledger's excepted."""
        with opened(self.source) as database:
            connection = database.connection
            if isinstance(connection, sqlalchemy.Connection):
                inspector = sqlalchemy.inspect(connection)
                names = {*inspector.get_table_names(), *inspector.get_view_names()}
            elif self.style == "qmark":
                names = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type <> 'index'")}
            else:
                query = "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
                names = {row[0] for row in database.execute(query)}
        return names - {"headstream_projections"}


@dataclass
class Model:
    """A read model whose every row says of which event it is, so that twice is an error; and sums, where twice is a wrong number."""

    reader: Reader
    seen: list[int] = field(default_factory=list)
    """Positions of events in the order in which the handler was called, whatever became of it."""
    reactions: dict[str, Callable[[Any, FeedEvent], object]] = field(default_factory=dict)
    """What happens at events of some types, after they are in the tables."""

    def create(self, db: Any, tables: Tables) -> None:
        """Two tables and an index."""
        put = self.reader.put
        put(
            db, f"CREATE TABLE {tables.items} (position BIGINT PRIMARY KEY, stream VARCHAR(99), number BIGINT NOT NULL)"
        )
        put(db, f"CREATE TABLE {tables.counts} (stream VARCHAR(99) PRIMARY KEY, total BIGINT NOT NULL)")
        put(db, f"CREATE INDEX {tables.items}_stream ON {tables.items} (stream)")

    def handle(self, db: Any, tables: Tables, event: FeedEvent) -> None:
        """A row, and a sum."""
        self.seen.append(event.position)
        number = event.data["number"]
        self.reader.put(db, f"INSERT INTO {tables.items} VALUES (?, ?, ?)", event.position, event.stream, number)
        self.reader.put(
            db,
            f"INSERT INTO {tables.counts} VALUES (?, ?) "
            f"ON CONFLICT (stream) DO UPDATE SET total = {tables.counts}.total + excluded.total",
            event.stream,
            number,
        )
        if reaction := self.reactions.get(event.type):
            reaction(db, event)

    def projection(self, **options: Any) -> Projection:
        """A projection of all events to this model."""
        defaults: dict[str, Any] = {"tables": TABLES, "create": self.create}
        return Projection("items", self.handle, self.reader.source, **defaults | options)


def fill(store: EventStore, types: Iterable[str], *, first: int = 1) -> None:
    """Append events of some types, one after the other, to two streams in turn; each has a number, beginning with ``first``."""
    for number, kind in enumerate(types, first):
        store.append(f"s-{number % 2}", Event(kind, {"number": number}))


def check(reader: Reader, store: EventStore, *, without: Iterable[int] = ()) -> None:
    """The read model has every event of the feed once, but for some positions, and the right sums."""
    events = [event for event in store.feed() if event.position not in {*without}]
    expected = [(event.position, event.stream, event.data["number"]) for event in events]
    assert reader.items() == expected
    sums: Counter[str] = Counter()
    for _, stream, number in expected:
        sums[stream] += number
    assert {row[0]: row[1] for row in reader.rows("SELECT * FROM counts")} == dict(sums)


class Crash(BaseException):
    """The end of a process, at a moment of the test's choice."""


@contextmanager
def crash_after(statements: int, patch: Any) -> Iterator[None]:
    """Crash instead of executing a projection's own statement, or committing, after so many of them."""
    left = statements

    def counted(original: Callable[..., Any]) -> Callable[..., Any]:
        def method(*arguments: Any) -> Any:
            nonlocal left
            if left == 0:
                raise Crash
            left -= 1
            return original(*arguments)

        return method

    from headstream.projections.databases import DbApi, SqlAlchemy

    with patch.context() as patched:
        for kind in (DbApi, SqlAlchemy):
            patched.setattr(kind, "execute", counted(kind.execute))
            patched.setattr(kind, "check", counted(kind.check))
        yield
