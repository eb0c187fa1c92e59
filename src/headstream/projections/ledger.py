"""Where a projection has got to, kept in the reader's own database: one small table for all projections in it.

A projection's tables exist in generations: ``orders_1``, ``orders_2``, …, of which one serves, under the view ``orders``, while another may be
being built. The table has a row for each generation: how far it has come, and who works on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Final, NamedTuple, TypeAlias

from headstream.projections.databases import Database
from headstream.protocol.mark import Mark

_CREATE: Final = """
CREATE TABLE IF NOT EXISTS headstream_projections (
    name VARCHAR(256) NOT NULL,
    generation INTEGER NOT NULL,
    serving INTEGER NOT NULL,
    version INTEGER NOT NULL,
    position BIGINT NOT NULL,
    owner VARCHAR(256) NOT NULL,
    store VARCHAR(36) NOT NULL,
    tables VARCHAR(4000) NOT NULL,
    mark VARCHAR(64) DEFAULT '' NOT NULL,
    beats BIGINT DEFAULT 0 NOT NULL,
    PRIMARY KEY (name, generation)
)
"""
_ADDED: Final = ("mark VARCHAR(64) DEFAULT '' NOT NULL", "beats BIGINT DEFAULT 0 NOT NULL")
"""Columns that a table of an earlier version does not have."""
_COLUMNS: Final = "generation, serving, version, position, owner, store, tables, mark, beats"

Tables: TypeAlias = SimpleNamespace
"""The names of a generation's tables: ``tables.orders`` is ``"orders_2"``."""


class Row(NamedTuple):
    """What the database says of one generation."""

    generation: int
    serving: int
    """1 for the generation that readers see, 0 for one that is being built."""
    version: int
    """Of the handler that builds it."""
    position: int
    """Of the feed: every event up to it is in the tables."""
    owner: str
    """Who works on it: a host, a process and a random part; empty when its worker has ended and a standby may take it over."""
    store: str
    """The id of the store that the events come from."""
    tables: str
    """The names that the views have, in the order in which the tables were created."""
    mark: str = ""
    """The position as a mark, which tells of which feed it is; empty, or of another position, where an earlier version wrote last."""
    beats: int = 0
    """Signs of life of its worker while there were no events."""

    @property
    def place(self) -> Mark:
        """The position, and the feed that it is of, if that is known."""
        mark = Mark.parse(self.mark) if self.mark else Mark(self.position)
        return mark if mark.position == self.position else Mark(self.position)


class Ledger:
    """The rows of one projection. Whatever changes is changed inside of :meth:`transaction`."""

    def __init__(self, database: Database, name: str) -> None:
        self._database = database
        self._name = name

    def create(self) -> None:
        """Create the table, unless it is there."""
        with self._database.transaction():
            self._database.execute(_CREATE)
        for column in _ADDED:
            name = column.partition(" ")[0]
            if not self._has(name):
                try:
                    with self._database.transaction():
                        self._database.execute(f"ALTER TABLE headstream_projections ADD COLUMN {column}")
                except Exception:
                    if not self._has(name):  # otherwise another worker was faster
                        raise

    def _has(self, column: str) -> bool:
        try:
            with self._database.transaction():
                self._database.execute(f"SELECT {column} FROM headstream_projections WHERE name = ''")  # noqa: S608 - constants
        except Exception:  # noqa: BLE001 - each driver has an error of its own; if it is about something else, what follows meets it again
            return False
        return True

    @contextmanager
    def transaction(self, generation: int | None = None) -> Iterator[list[Row]]:
        """A transaction that has the row of a generation, or all rows, to itself; the rows as they are now."""
        database = self._database
        which, values = ("", (self._name,)) if generation is None else (" AND generation = ?", (self._name, generation))
        with database.transaction():
            # The lock comes before the look: so what is seen holds until the end.
            database.execute(f"UPDATE headstream_projections SET position = position WHERE name = ?{which}", *values)  # noqa: S608 - constants
            database.check()
            found = database.execute(f"SELECT {_COLUMNS} FROM headstream_projections WHERE name = ?{which}", *values)  # noqa: S608
            yield sorted(Row(*row) for row in found)

    def add(self, row: Row) -> None:
        """Add a generation. Raises the database's error of a conflict if another worker has just done so."""
        self._database.execute(
            f"INSERT INTO headstream_projections (name, {_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            self._name,
            *row,
        )

    def take(self, generation: int, owner: str) -> None:
        """Have a generation worked on by ``owner``, and by nobody else."""
        self._set("owner", owner, generation)

    def move(self, generation: int, mark: Mark) -> None:
        """Note how far a generation has come."""
        self._database.execute(
            "UPDATE headstream_projections SET position = ?, mark = ? WHERE name = ? AND generation = ?",
            mark.position,
            str(mark),
            self._name,
            generation,
        )

    def beat(self, row: Row) -> None:
        """Give a sign of life."""
        self._set("beats", row.beats + 1, row.generation)

    def show(self, generation: int, tables: str) -> None:
        """Have a generation serve."""
        self._set("serving", 1, generation)
        for name in tables.split():
            self._database.execute(f"CREATE VIEW {name} AS SELECT * FROM {name}_{generation}")  # noqa: S608 - checked names

    def remove(self, row: Row) -> None:
        """Drop a generation with its tables; and its views, if it serves."""
        for name in reversed(row.tables.split()):
            if row.serving:
                self._database.execute(f"DROP VIEW IF EXISTS {name}")
            self._database.execute(f"DROP TABLE IF EXISTS {name}_{row.generation}")
        self._database.execute(
            "DELETE FROM headstream_projections WHERE name = ? AND generation = ?", self._name, row.generation
        )

    def _set(self, column: str, value: object, generation: int) -> None:
        statement = f"UPDATE headstream_projections SET {column} = ? WHERE name = ? AND generation = ?"  # noqa: S608
        self._database.execute(statement, value, self._name, generation)


def names_of(row: Row) -> Tables:
    """The names of a generation's tables."""
    return Tables(**{name: f"{name}_{row.generation}" for name in row.tables.split()})
