"""The writing side: an order is a stream; a command reads it, decides, and appends an event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce

from headstream import Event, EventStore, RecordedEvent, WrongExpectedVersion


class Refused(Exception):
    """The rules of the shop are against it."""


@dataclass(frozen=True)
class Line:
    """Some pieces of an article, each at a price in cents."""

    sku: str
    quantity: int
    price: int


@dataclass(frozen=True)
class Order:
    """What the rules need to know of an order."""

    status: str = "unknown"
    total: int = 0


def place(store: EventStore, number: str, customer: str, lines: list[Line]) -> None:
    """A new order."""
    _decide(store, number, {"unknown"}, lambda _: Event("OrderPlaced", {"customer": customer, "lines": lines}))


def pay(store: EventStore, number: str) -> None:
    """The customer pays all of it."""
    _decide(store, number, {"placed"}, lambda order: Event("OrderPaid", {"amount": order.total}))


def ship(store: EventStore, number: str, parcel: str) -> None:
    """It leaves the house."""
    _decide(store, number, {"paid"}, lambda _: Event("OrderShipped", {"parcel": parcel}))


def cancel(store: EventStore, number: str) -> None:
    """The customer has thought better of it."""

    def decide(order: Order) -> Event:
        return Event("OrderCancelled", {"refund": order.total if order.status == "paid" else 0})

    _decide(store, number, {"placed", "paid"}, decide)


def _decide(store: EventStore, number: str, allowed: set[str], decide: Callable[[Order], Event]) -> None:
    stream = f"order-{number}"
    while True:
        reading = store.read(stream)
        order = reduce(_evolve, reading, Order())
        if order.status not in allowed:
            raise Refused(f"order {number} is {order.status}")
        try:
            store.append(stream, decide(order), expected=reading.head())
        except WrongExpectedVersion:
            continue  # somebody was faster: look again
        return


def _evolve(order: Order, event: RecordedEvent) -> Order:
    match event.type:
        case "OrderPlaced":
            return Order("placed", sum(line["quantity"] * line["price"] for line in event.data["lines"]))
        case "OrderPaid":
            return replace(order, status="paid")
        case "OrderShipped":
            return replace(order, status="shipped")
        case "OrderCancelled":
            return replace(order, status="cancelled")
    return order
