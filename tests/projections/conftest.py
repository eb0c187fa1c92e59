"""``reader``: a fresh database of a reader. ``store``: an empty store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
import sqlalchemy

from headstream import EventStore, connect
from projections.postgres import server
from projections.readers import ALL, Model, Reader


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """How to connect to a PostgreSQL server."""
    with server() as conninfo:
        yield conninfo


def fresh_schema(conninfo: str) -> str:
    """How to connect to an empty schema."""
    name = f"test_{uuid4().hex}"
    with psycopg.connect(conninfo) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{conninfo} options='-c search_path={name}'"


@pytest.fixture(params=ALL)
def reader(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Reader]:
    """An empty database."""
    path = tmp_path / "read.db"
    if request.param == "sqlite3":
        yield Reader(lambda: sqlite3.connect(path), "qmark")
        return
    if request.param == "psycopg":
        conninfo = fresh_schema(request.getfixturevalue("postgres"))
        yield Reader(lambda: psycopg.connect(conninfo), "pyformat")
        return
    if request.param == "sqlalchemy":
        engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    else:
        conninfo = fresh_schema(request.getfixturevalue("postgres"))
        engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=lambda: psycopg.connect(conninfo))
    yield Reader(engine, "named")
    engine.dispose()


@pytest.fixture
def model(reader: Reader) -> Model:
    """A read model that is not built yet."""
    return Model(reader)


@pytest.fixture
def store() -> Iterator[EventStore]:
    """An empty store."""
    with connect("memory://") as opened:
        yield opened
