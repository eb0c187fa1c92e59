"""The story of ``headstream demo``: each chapter is a function whose docstring is told and whose code is shown and run.

The code is what an application would write, so it says nothing that the store does not do: whatever is reported is returned.
"""

from __future__ import annotations

from math import sin

from headstream import NO_STREAM, Event, EventStore, FeedEvent, Head, Reading, RecordedEvent, WrongExpectedVersion


def place_order(store: EventStore, order: str) -> Head:
    """Two facts are appended together: both are kept, or none.
    The stream must not exist yet, and it is durable when the call returns.
    """
    placed = Event("OrderPlaced", {"sku": "mug", "quantity": 2})
    paid = Event("OrderPaid", {"amount": 24, "by": "card"})
    return store.append(order, [placed, paid], expected=NO_STREAM)


def ship_order(anna: EventStore, ben: EventStore, order: str) -> tuple[WrongExpectedVersion, list[RecordedEvent], Head]:
    """Two writers see the same version. One wins, the other is refused:
    it reads what is new, decides again, and appends again.
    """
    seen = ben.read(order).head()
    moved = Event("AddressChanged", {"city": "Lisbon"})
    anna.append(order, moved, expected=seen)
    try:
        ben.append(order, Event("Shipped", {"to": "Oslo"}), expected=seen)
    except WrongExpectedVersion as refused:
        news = list(ben.read(order, after=seen.version))
        shipped = Event("Shipped", {"to": news[-1].data["city"]})
        end = ben.append(order, shipped, expected=refused.actual)
        return refused, news, end
    raise AssertionError("two writers won the same version")


def send_invoice(store: EventStore, order: str, end: Head) -> tuple[Head, Head]:
    """Was the answer lost on the way? With a key, the same append can be made
    again: it finds that it was made, and returns what it returned.
    """
    invoice = Event("InvoiceSent", {"number": 7})
    first = store.append(order, invoice, expected=end, key="invoice-7")
    again = store.append(order, invoice, expected=end, key="invoice-7")
    return first, again


def measure(store: EventStore, sensor: str) -> Head:
    """A day of measurements, an hour of them in each append. The head that an
    append returns saves the next one a request.
    """
    head = store.read(sensor).head()
    for hour in range(24):
        minutes = [60 * hour + minute for minute in range(60)]
        values = [round(20 + 4 * sin(minute / 229), 2) for minute in minutes]
        events = [Event("Measured", {"celsius": value}) for value in values]
        head = store.append(sensor, events, expected=head)
    return head


def read_sensor(store: EventStore, sensor: str, middle: int) -> list[Reading]:
    """Forwards, backwards, or from the middle: a read fetches the objects
    that hold what was asked for, and no others.
    """
    return [
        store.read(sensor),
        store.read(sensor, backwards=True, limit=3),
        store.read(sensor, after=middle, limit=3),
    ]


def read_feed(store: EventStore, order: str, parcel: str) -> list[FeedEvent]:
    """The events of all streams are in one order, the feed, numbered without
    a gap. It needs no server: whoever reads it moves into it what is new.
    """
    seen = store.feed().position()
    store.append(parcel, Event("Packed", {"grams": 640}))
    store.append(order, Event("Closed"))
    store.append(parcel, Event("Sent", {"to": "Lisbon"}))
    return list(store.feed(after=seen, streams=[order, parcel]))


def subscribe(store: EventStore, parcel: str, worker: str, seen: int) -> tuple[list[FeedEvent], list[FeedEvent]]:
    """A worker has a name, under which the store keeps how far it has come.
    It stops, and goes on from there: tomorrow, or on another machine.
    """
    with store.subscribe(checkpoint=worker, after=seen, follow=False) as events:
        today = list(events)
    store.append(parcel, Event("Delivered", {"by": "bicycle"}))
    with store.subscribe(checkpoint=worker, follow=False) as events:
        tomorrow = list(events)
    return today, tomorrow
