"""Projections: read models in a SQL database of the reader's own, each event in them exactly once.

A projection writes events and its position in one transaction of that database. So whenever a process dies, the two agree, and the next one goes on
where the last one was. It takes any DB-API connection (sqlite3, psycopg, …) or an SQLAlchemy engine::

    def create(db, tables):
        db.execute(f"CREATE TABLE {tables.orders} (number TEXT PRIMARY KEY, total INTEGER)")

    def handle(db, tables, event):
        if event.type == "OrderPlaced":
            db.execute(f"INSERT INTO {tables.orders} VALUES (?, ?)", (event.stream, event.data["total"]))

    projection = Projection("orders", handle, lambda: sqlite3.connect("shop-read.db"), tables=["orders"], create=create)
    projection.run(store)

:class:`Projection` is for an :class:`~headstream.EventStore`, :class:`AsyncProjection` for an :class:`~headstream.AsyncEventStore`.
"""

from headstream.projections.databases import DbApiConnection, Source
from headstream.projections.definition import Creator, Handler
from headstream.projections.ledger import Tables
from headstream.projections.running import AsyncProjection, Projection

__all__ = ["AsyncProjection", "Creator", "DbApiConnection", "Handler", "Projection", "Source", "Tables"]
