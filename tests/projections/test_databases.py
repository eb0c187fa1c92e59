"""What drivers differ in: marks for values, transactions, and what their errors speak about."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from types import ModuleType

import psycopg
import pytest
import sqlalchemy

from headstream import InvalidInput, ProjectionStopped, connect
from headstream.projections.databases import DbApi, opened, rendered
from projections.readers import Model, Reader, check, fill


@pytest.fixture
def path(tmp_path):
    """Where a database of SQLite is."""
    return tmp_path / "read.db"


@pytest.fixture
def connection(path):
    """A connection that the application has opened."""
    with closing(sqlite3.connect(path)) as found:
        yield found


@pytest.mark.parametrize(
    ("style", "sql", "values"),
    [
        ("qmark", "a = ? AND b = ?", (7, "x")),
        ("numeric", "a = :1 AND b = :2", (7, "x")),
        ("format", "a = %s AND b = %s", (7, "x")),
        ("named", "a = :v1 AND b = :v2", {"v1": 7, "v2": "x"}),
        ("pyformat", "a = %(v1)s AND b = %(v2)s", {"v1": 7, "v2": "x"}),
    ],
)
def test_marks(style, sql, values):
    """Each paramstyle of PEP 249."""
    assert rendered("a = ? AND b = ?", (7, "x"), style) == (sql, values)


@pytest.mark.parametrize("isolation", ["", None, "EXCLUSIVE"])
def test_a_connection_of_sqlite(store, connection, isolation):
    """It is used as it is, whatever it does about transactions by itself, and stays open."""
    connection.isolation_level = isolation
    model = Model(Reader(connection, "qmark"))
    fill(store, ["Counted"] * 3)
    assert model.projection(batch=2).run_until_caught_up(store) == 3
    check(model.reader, store)
    assert model.projection().rebuild(store) == 3
    assert not connection.in_transaction


@pytest.mark.parametrize(
    "factory",
    [sqlite3.Row, lambda cursor, row: {name[0]: cell for name, cell in zip(cursor.description, row, strict=True)}],
)
def test_rows_of_any_kind(store, connection, factory):
    """The application's row factory does not confuse a projection."""
    connection.row_factory = factory
    model = Model(Reader(connection, "qmark"))
    fill(store, ["Counted"] * 3)
    for _ in range(2):
        model.projection().run_until_caught_up(store)
    check(model.reader, store)


def test_what_was_opened_is_closed(path):
    """A function's connection is; one that was given is not."""
    made = []

    def connect():
        made.append(sqlite3.connect(path))
        return made[-1]

    with opened(connect) as database:
        assert database.connection is made[0]
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        made[0].execute("SELECT 1")


def test_a_connection_of_sqlalchemy(store, path):
    """It is used as it is and stays open, also if a function made it."""
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    fill(store, ["Counted"] * 3)
    with engine.connect() as connection:
        assert Model(Reader(connection, "named")).projection().run_until_caught_up(store) == 3
        assert not connection.closed
    assert Model(Reader(engine.connect, "named")).projection().run_until_caught_up(store) == 0
    check(Reader(engine, "named"), store)
    engine.dispose()


@pytest.mark.parametrize("source", [7, "shop.db", None])
def test_what_is_no_database(store, source):
    """It is refused when the projection runs, and said what would do."""
    with pytest.raises(InvalidInput, match="a function that opens one"):
        Model(Reader(source, "qmark")).projection().run_until_caught_up(store)


# --- transactions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", ["sqlalchemy", "sqlalchemy+psycopg"], indirect=True)
def test_autocommit_of_sqlalchemy(model, reader, store):
    """Without transactions nothing could be exactly once: refused before anything is written."""
    fill(store, ["Counted"])
    reader.source = reader.source.execution_options(isolation_level="AUTOCOMMIT")
    with pytest.raises(InvalidInput, match="without autocommit"):
        model.projection().run_until_caught_up(store)
    assert reader.rows("SELECT * FROM headstream_projections") == []


def test_autocommit_of_a_driver(store, postgres):
    """The same with a driver that says so."""
    fill(store, ["Counted"])
    model = Model(Reader(lambda: psycopg.connect(postgres, autocommit=True), "pyformat"))
    with pytest.raises(InvalidInput, match="without autocommit"):
        model.projection().run_until_caught_up(store)


def test_executescript(store, connection):
    """It ends the transaction, as no function of a projection may."""

    def create(db, tables):
        db.executescript(f"CREATE TABLE {tables.items} (position INTEGER PRIMARY KEY)")

    with pytest.raises(InvalidInput, match="executescript"):
        Model(Reader(connection, "qmark")).projection(tables=["items"], create=create).run_until_caught_up(store)


def test_a_rule_that_is_checked_at_the_end(store, path):
    """A constraint that is looked at by the commit does not say which event broke it: it is found all the same."""

    def connect():
        made = sqlite3.connect(path)
        made.execute("PRAGMA foreign_keys = ON")
        return made

    with closing(connect()) as connection:
        connection.execute("CREATE TABLE known (number INTEGER PRIMARY KEY)")
        connection.execute("CREATE TABLE mine (number INTEGER REFERENCES known DEFERRABLE INITIALLY DEFERRED)")
        connection.execute("INSERT INTO known VALUES (1), (2), (3), (4), (6), (7)")
        connection.commit()
    fill(store, ["Counted"] * 7)
    projection = Model(Reader(connect, "qmark")).projection(tables=(), create=None)
    projection.handle = lambda db, _tables, event: db.execute("INSERT INTO mine VALUES (?)", [event.data["number"]])
    with pytest.raises(ProjectionStopped) as caught:
        projection.run_until_caught_up(store)
    assert caught.value.position == 5
    assert isinstance(caught.value.__cause__, sqlite3.IntegrityError)
    assert Reader(connect, "qmark").rows("SELECT number FROM mine") == [(1,), (2,), (3,), (4,)]


def test_the_file_of_the_store(tmp_path):
    """The read model may lie in the same SQLite file as the store, also when the handler reads the store, or letters are written."""
    url = str(tmp_path / "shop.db")
    with connect(url) as store:
        reader = Reader(lambda: sqlite3.connect(url, timeout=0.5), "qmark")
        model = Model(reader)
        model.reactions["Look"] = lambda _db, event: list(store.read(event.stream))
        model.reactions["Poison"] = lambda _db, _event: {}["nothing"]
        fill(store, ["Look", "Poison", "Look"])
        assert model.projection(dead_letters="letters").run_until_caught_up(store) == 3
        assert model.projection(dead_letters="letters").rebuild(store) == 5  # and the letter of each generation
        check(reader, store, without=[2, 4, 5])


# --- faults ----------------------------------------------------------------------------------------------------------


def test_a_locked_database(store, path):
    """A fault of the database comes through as it is; the event is not to blame, so there is no letter."""
    reader = Reader(lambda: sqlite3.connect(path, timeout=0.01), "qmark")
    model = Model(reader)
    model.projection().run_until_caught_up(store)
    fill(store, ["Counted"])
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            model.projection(dead_letters="letters").run_until_caught_up(store)
    assert store.head("letters") is None
    model.projection().run_until_caught_up(store)
    check(reader, store)


def test_a_fault_in_a_handler(store, connection):
    """So does one that a handler meets, with a note where that was: a table is missing for all events, not for one."""
    fill(store, ["Counted"])
    projection = Model(Reader(connection, "qmark")).projection(dead_letters="letters")
    projection.handle = lambda db, _tables, _event: db.execute("INSERT INTO nowhere VALUES (1)")
    with pytest.raises(sqlite3.OperationalError, match="no such table") as caught:
        projection.run_until_caught_up(store)
    assert "position 1" in caught.value.__notes__[0]
    assert store.head("letters") is None


@pytest.mark.parametrize("reader", ["psycopg", "sqlalchemy+psycopg"], indirect=True)
def test_a_connection_that_is_lost(reader, model, store):
    """The driver's error is raised, and nothing that failed because of it hides it; the next run goes on."""
    fill(store, ["Counted", "Cut", "Counted"])
    model.reactions["Cut"] = lambda db, _event: reader.put(db, "SELECT pg_terminate_backend(pg_backend_pid())")
    with pytest.raises((psycopg.OperationalError, sqlalchemy.exc.OperationalError)) as caught:
        model.projection(dead_letters="letters").run_until_caught_up(store)
    assert "position 2" in caught.value.__notes__[0]
    assert store.head("letters") is None
    model.reactions.clear()
    assert model.projection().run_until_caught_up(store) == 3
    check(reader, store)


def test_a_connection_that_cannot_be_closed(path):
    """What counts was committed before: it is no error."""

    class Stubborn(sqlite3.Connection):
        def close(self):
            super().close()
            raise sqlite3.OperationalError("it is lost")

    with opened(lambda: sqlite3.connect(path, factory=Stubborn)) as database:
        assert database.execute("SELECT ?", 7) == [(7,)]


# --- the driver ------------------------------------------------------------------------------------------------------


class Wrapped:
    """A connection that does not tell where it comes from, as pools make them."""

    def __init__(self, connection):
        self.cursor, self.commit, self.rollback = connection.cursor, connection.commit, connection.rollback


def test_a_driver_that_is_told(connection):
    """A wrapped connection needs its driver's module."""
    with pytest.raises(InvalidInput, match="pass driver="):
        DbApi(Wrapped(connection))
    database = DbApi(Wrapped(connection), sqlite3)
    with database.transaction():
        database.execute("CREATE TABLE t (a)")
    assert database.execute("SELECT ? + 1", 7) == [(8,)]


def test_a_driver_of_no_known_style(connection):
    """A paramstyle that PEP 249 does not know is refused."""
    driver = ModuleType("driver")
    driver.paramstyle = "braces"
    with pytest.raises(InvalidInput, match="braces"):
        DbApi(connection, driver)
