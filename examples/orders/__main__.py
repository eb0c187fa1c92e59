"""The processes of the shop: ``python -m orders trade|project|rebuild``; see ``__init__.py``."""

from __future__ import annotations

import argparse
import signal
import sys
from random import Random
from uuid import uuid4

from headstream import EventStore, HeadstreamError, connect
from orders import commands, read_model
from orders.commands import Line

CUSTOMERS = ("Ada", "Barbara", "Edsger", "Grace", "Tony")
ARTICLES = {"cup": 900, "pot": 2400, "tea": 650}


def trade(store: EventStore, count: int, chance: Random) -> None:
    """Some orders, of which some are paid, some of those shipped, and some of the others cancelled."""
    for _ in range(count):
        number = uuid4().hex[:12]
        lines = [Line(sku, chance.randint(1, 3), ARTICLES[sku]) for sku in chance.sample(sorted(ARTICLES), 2)]
        commands.place(store, number, chance.choice(CUSTOMERS), lines)
        is_paid, is_shipped, is_cancelled = (chance.random() < 0.6 for _ in range(3))
        if is_paid:
            commands.pay(store, number)
        if is_paid and is_shipped:
            commands.ship(store, number, parcel=f"parcel-{number}")
        elif is_cancelled:
            commands.cancel(store, number)


def main(arguments: list[str] | None = None) -> int:
    """The command; its exit code."""
    parser = argparse.ArgumentParser(
        prog="orders", description="A small shop: orders in streams, a read model in SQLite."
    )
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in {
        "trade": "place some orders",
        "project": "keep the read model up to date, until Ctrl-C",
        "rebuild": "build the read model anew while the old one serves",
    }.items():
        action = actions.add_parser(name, help=text)
        action.add_argument("store", metavar="STORE", help="the store: shop.db, az://container/path, …")
        if name == "trade":
            action.add_argument("--count", metavar="N", type=int, default=100, help="how many orders (100)")
        else:
            action.add_argument("database", metavar="DATABASE", help="the SQLite file of the read model")
    options = parser.parse_args(arguments)
    try:
        with connect(options.store) as store:
            return run(store, options)
    except HeadstreamError as error:
        print(error, file=sys.stderr)
        return 1


def run(store: EventStore, options: argparse.Namespace) -> int:
    """Do what was asked for."""
    if options.action == "trade":
        trade(store, options.count, Random())  # noqa: S311 - customers need not be unpredictable
        return 0
    projection = read_model.projection(options.database)
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: projection.close()) for number in numbers]
    try:
        handled = projection.run(store) if options.action == "project" else projection.rebuild(store)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    print(f"{handled} events")
    return 0


if __name__ == "__main__":
    sys.exit(main())
