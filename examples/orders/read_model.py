"""The reading side: two tables, and what each event means for them."""

from __future__ import annotations

import sqlite3
from functools import partial
from pathlib import Path
from typing import Any, Final

from headstream import FeedEvent
from headstream.projections import AsyncProjection, Projection, Tables

VERSION: Final = 1
"""Of this module: count it up when you change it, and rebuild."""


def create(db: sqlite3.Connection, tables: Tables) -> None:
    """A row for each order, and one for each customer."""
    db.execute(f"""CREATE TABLE {tables.orders} (
        number TEXT PRIMARY KEY, customer TEXT NOT NULL, status TEXT NOT NULL, total INTEGER NOT NULL)""")
    db.execute(f"CREATE INDEX {tables.orders}_of_customer ON {tables.orders} (customer)")
    db.execute(f"""CREATE TABLE {tables.customers} (
        name TEXT PRIMARY KEY, orders INTEGER NOT NULL, spent INTEGER NOT NULL)""")


def handle(db: sqlite3.Connection, tables: Tables, event: FeedEvent) -> None:
    """What an event means. It comes exactly once, after the events before it in its stream: there is nothing to check."""
    number, data = event.stream.removeprefix("order-"), event.data

    def set_status(status: str) -> None:
        db.execute(f"UPDATE {tables.orders} SET status = ? WHERE number = ?", (status, number))

    def add_spent(amount: int) -> None:
        customer = f"(SELECT customer FROM {tables.orders} WHERE number = ?)"
        db.execute(f"UPDATE {tables.customers} SET spent = spent + ? WHERE name = {customer}", (amount, number))

    match event.type:
        case "OrderPlaced":
            customer, total = data["customer"], sum(line["quantity"] * line["price"] for line in data["lines"])
            db.execute(f"INSERT INTO {tables.orders} VALUES (?, ?, 'placed', ?)", (number, customer, total))
            counted = "ON CONFLICT (name) DO UPDATE SET orders = orders + 1"
            db.execute(f"INSERT INTO {tables.customers} VALUES (?, 1, 0) {counted}", (customer,))
        case "OrderPaid":
            set_status("paid")
            add_spent(data["amount"])
        case "OrderShipped":
            set_status("shipped")
        case "OrderCancelled":
            set_status("cancelled")
            add_spent(-data["refund"])


def connect(path: str | Path) -> sqlite3.Connection:
    """The database of the read model. Readers need not wait for the projection, nor it for them."""
    db = sqlite3.connect(path, timeout=30)
    db.row_factory = sqlite3.Row
    db.execute("PRAGMA journal_mode = WAL")
    return db


def projection(path: str | Path) -> Projection:
    """Keeps the read model in the database at ``path``."""
    return Projection("orders", handle, partial(connect, path), **_OPTIONS)


def async_projection(path: str | Path) -> AsyncProjection:
    """The same, to run beside an API."""
    return AsyncProjection("orders", handle, partial(connect, path), **_OPTIONS)


_OPTIONS: Final[dict[str, Any]] = {
    "tables": ["orders", "customers"],
    "create": create,
    "version": VERSION,
    "streams": "order-",
}
