"""The reader's database: statements and transactions, through the driver that the application uses.

A projection's own statements are few and plain, with ``?`` where a value goes. What drivers differ in is here: how values are marked, how a
transaction begins, and which of their errors speak about the database rather than about an event.
"""

from __future__ import annotations

import sqlite3
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, cast

from headstream.errors import InvalidInput

if TYPE_CHECKING:
    import sqlalchemy

_MARKS: Final = {"qmark": "?", "numeric": ":{0}", "named": ":v{0}", "format": "%s", "pyformat": "%(v{0})s"}
"""How a value is marked in a statement, by the names of PEP 249."""
_FAULTS: Final = ("OperationalError", "InterfaceError", "InternalError")
"""Errors of PEP 249 that speak about the database: a lost connection, a lock, a full disk. The others speak about the statement and its values."""
_IDLE: Final = 0
"""What drivers made of libpq call a connection that is in no transaction."""


class DbApiConnection(Protocol):
    """A connection of any driver that follows PEP 249, "DB-API 2": sqlite3, psycopg, …"""

    def cursor(self) -> Any:
        """Something that executes statements."""

    def commit(self) -> object:
        """End the transaction, and keep what it did."""

    def rollback(self) -> object:
        """End the transaction, and undo what it did."""

    def close(self) -> object:
        """Let go of the database."""


Source: TypeAlias = "DbApiConnection | sqlalchemy.Connection | sqlalchemy.Engine | Callable[[], DbApiConnection]"
"""Where a projection finds its database: a connection, which stays open, or what opens one: an SQLAlchemy engine, or a function."""


class Database(ABC):
    """One open connection to a database. To be used by one thread at a time."""

    connection: Any
    """What handlers are given."""
    faults: tuple[type[Exception], ...]
    """Errors that speak about the database."""
    conflict: type[Exception]
    """The error of a constraint that does not hold."""
    raced: tuple[type[Exception], ...]
    """Errors of who creates something that another has just created."""

    @abstractmethod
    def execute(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Execute a statement that has ``?`` for each value; its rows, if it has any."""

    @abstractmethod
    def transaction(self) -> AbstractContextManager[None]:
        """A transaction: committed at the end of the block, rolled back when anything is raised in it."""

    @abstractmethod
    def _driven(self) -> Any:
        """The driver's connection."""

    def check(self) -> None:
        """:class:`InvalidInput` if no transaction is open where one should be, as far as the driver tells."""
        driven = self._driven()
        status = getattr(getattr(driven, "info", None), "transaction_status", None)
        if self._ended(driven) or status == _IDLE or getattr(driven, "autocommit", False) is True:
            raise InvalidInput(
                "there is no transaction: connect without autocommit, and let no handler commit, roll back or call executescript"
            )

    def _ended(self, driven: Any) -> bool:
        return getattr(driven, "in_transaction", True) is False


class DbApi(Database):
    """A connection of a driver that follows PEP 249."""

    def __init__(self, connection: DbApiConnection, driver: ModuleType | None = None) -> None:
        self.connection = connection
        driver = driver or _driver_of(connection)
        if driver.paramstyle not in _MARKS:
            raise InvalidInput(f"the driver's paramstyle is none of PEP 249: {driver.paramstyle!r}")
        self._style: str = driver.paramstyle
        self.faults = tuple(getattr(driver, name) for name in _FAULTS)
        self.conflict = driver.IntegrityError
        self.raced = (driver.IntegrityError, driver.ProgrammingError)

    def execute(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Execute a statement with a cursor of its own."""
        text, parameters = rendered(sql, values, self._style)
        cursor = self.connection.cursor()
        try:
            cursor.execute(text, *((parameters,) if values else ()))
            found = cursor.fetchall() if cursor.description else []
        finally:
            cursor.close()
        return [tuple(row.values()) if isinstance(row, Mapping) else tuple(row) for row in found]

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction, which most drivers begin by themselves."""
        connection = self.connection
        if isinstance(connection, sqlite3.Connection) and not connection.in_transaction:
            # By itself it would begin at the first change, or never, and take the lock too late to wait for it.
            self.execute("BEGIN IMMEDIATE")
        try:
            yield
            connection.commit()
        except BaseException:
            with suppress(Exception):  # a lost connection: it must not hide what was raised
                connection.rollback()
            raise

    def _driven(self) -> Any:
        return self.connection


class SqlAlchemy(Database):
    """A connection of SQLAlchemy."""

    def __init__(self, connection: sqlalchemy.Connection) -> None:
        from sqlalchemy import exc, text  # noqa: PLC0415 - headstream does not need SQLAlchemy, its user does

        self.connection = connection
        self._text = text
        self.faults = (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError)
        self.conflict = exc.IntegrityError
        self.raced = (exc.IntegrityError, exc.ProgrammingError)

    def execute(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Execute a statement as SQLAlchemy's ``text``."""
        text, parameters = rendered(sql, values, "named")
        result = self.connection.execute(self._text(text), parameters)
        return [tuple(row) for row in result] if result.returns_rows else []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """A transaction of SQLAlchemy."""
        with self.connection.begin():
            yield

    def _driven(self) -> Any:
        return self.connection.connection.driver_connection

    def _ended(self, driven: Any) -> bool:
        return not self.connection.in_transaction() or super()._ended(driven)


@contextmanager
def opened(source: Source, driver: ModuleType | None = None) -> Iterator[Database]:
    """The database behind ``source``. What was opened for it is closed again; a connection that was given stays open.

    ``driver`` is the driver's module, for a connection that does not tell it. Raises :class:`InvalidInput` for what is no database, and
    whatever the driver raises.
    """
    alchemy = sys.modules.get("sqlalchemy")  # whoever has an engine has imported it
    if alchemy is not None and isinstance(source, alchemy.Connection):
        yield SqlAlchemy(source)
    elif alchemy is not None and isinstance(source, alchemy.Engine):
        with source.connect() as connection:
            yield SqlAlchemy(connection)
    elif hasattr(source, "cursor"):
        yield DbApi(cast("DbApiConnection", source), driver)
    elif callable(source):
        made = source()
        try:
            with opened(made, driver) as database:
                yield database
        finally:
            with suppress(Exception):  # a lost connection: what counts was committed before
                made.close()
    else:
        raise InvalidInput(
            f"a projection's database is a DB-API connection, a function that opens one, or an SQLAlchemy engine, not {type(source).__name__}"
        )


def rendered(sql: str, values: tuple[object, ...], style: str) -> tuple[str, Mapping[str, object] | tuple[object, ...]]:
    """A statement with ``?`` for each value, and its values, in a driver's paramstyle."""
    first, *rest = sql.split("?")
    mark = _MARKS[style]
    text = first + "".join([mark.format(number) + part for number, part in enumerate(rest, 1)])
    if style in {"named", "pyformat"}:
        return text, {f"v{number}": value for number, value in enumerate(values, 1)}
    return text, values


def _driver_of(connection: object) -> ModuleType:
    """The module of the driver that a connection comes from: the one that has a paramstyle."""
    for kind in type(connection).__mro__:
        name = kind.__module__
        while name:
            module = sys.modules.get(name)
            if module is not None and hasattr(module, "paramstyle"):
                return module
            name = name.rpartition(".")[0]
    raise InvalidInput(
        f"{type(connection).__name__} does not tell which driver it comes from: pass driver=, the driver's module"
    )
