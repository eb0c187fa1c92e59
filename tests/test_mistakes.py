"""What is handed in by mistake: each message names the mistake, and what to do; nothing is written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, Protocol, TypedDict, TypeVar, runtime_checkable

import msgspec
import pytest
from pydantic import BaseModel

from headstream import Event, EventStore, InvalidInput, Registry, WithMetadata, connect
from headstream.model import RecordedEvent

T = TypeVar("T")


@pytest.fixture
def store() -> Iterator[EventStore]:
    """A store that has one event, in another stream."""
    with connect("memory://", feed=False) as store:
        store.append("other", Event("E"))
        yield store


@dataclass(frozen=True)
class Paid:
    """A dataclass."""

    cents: int


class Moved(BaseModel):
    """A model, which can be iterated for its fields."""

    street: str = "Rua Nova"


class Closed(msgspec.Struct):
    """A Struct."""


class Scanned(NamedTuple):
    """A named tuple, which is iterated for its fields."""

    place: str
    gate: int


class Plain:
    """A class that says nothing of itself."""


async def fetched() -> Event:
    """Something that must be awaited."""
    return Event("E")


async def streamed() -> AsyncIterator[Event]:
    """Something that must be waited for again and again."""
    yield Event("E")


def made() -> Event:
    """A function."""
    return Event("E")


MISTAKES: list[tuple[Callable[[EventStore], Any], str]] = [
    (lambda _: Paid(1), "Paid: wrap it in Event('Paid', …), or register its class and let the registry encode it"),
    (lambda _: Moved(), "Moved: wrap it in Event('Moved', …), or register its class and let the registry encode it"),
    (lambda _: Closed(), "Closed: wrap it in Event('Closed', …), or register its class"),
    (lambda _: Scanned("Lisbon", 7), "Scanned: wrap it in Event('Scanned', …), or register its class"),
    (
        lambda _: WithMetadata(Paid(1)),
        "WithMetadata: it goes with typed events; let Registry.encode make an Event of it",
    ),
    (lambda _: {"type": "E"}, "dict: a dictionary is the data of an event; wrap it in Event(type, data)"),
    (lambda _: Event, "the class Event: make an instance of it, as Event(…)"),
    (lambda _: Paid, "the class Paid: make an instance of it, as Paid(…)"),
    (lambda store: store.head("other"), "Head: a head is given as expected=head"),
    (lambda store: next(store.read("other")), "RecordedEvent: it is in a stream already; to copy it, append Event("),
    (lambda _: fetched(), "coroutine: await it first"),
    (lambda _: streamed(), "async_generator: collect its events first: [event async for event in …]"),
    (lambda _: made, "function: call it, and hand over what it returns"),
    (lambda _: "E", "str: wrap it in Event(type, data)"),
    (lambda _: b"E", "bytes: wrap it in Event(type, data)"),
    (lambda _: None, "NoneType: wrap it in Event(type, data)"),
    (lambda _: 7, "int: wrap it in Event(type, data)"),
    (lambda _: Plain(), "Plain: wrap it in Event(type, data)"),
]


@pytest.mark.parametrize(("make", "why"), MISTAKES, ids=[why.split(":")[0] for _, why in MISTAKES])
def test_what_is_appended_by_mistake(store, make, why):
    """Alone, in a list, behind an event, from a generator."""
    with pytest.raises(InvalidInput) as caught:
        store.append("s", make(store))
    assert str(caught.value).startswith(f"append takes an Event or several, not {why}")
    for several in (lambda value: [value], lambda value: (Event("E"), value), lambda value: iter([value])):
        with pytest.raises(InvalidInput) as caught:
            store.append("s", several(make(store)))
        assert str(caught.value).startswith(f"append takes events, not {why}")
    assert store.head("s") is None


def test_a_head_and_an_event(store):
    """The pair that another library takes."""
    with pytest.raises(InvalidInput, match="append takes events, not Head: a head is given as expected=head"):
        store.append("s", (store.head("other"), Event("E")))
    with pytest.raises(InvalidInput, match="append takes events, not list: events are handed over as one flat list"):
        store.append("s", [[Event("E")]])


class Base(ABC):
    """A class without instances."""

    @abstractmethod
    def total(self) -> int:
        """A number."""


@runtime_checkable
class Totalled(Protocol):
    """What other classes are like."""

    total: int


class Box(msgspec.Struct, Generic[T]):
    """Of whatever."""

    inside: T


class Row(TypedDict):
    """A dictionary, in truth."""

    cents: int


class Both(msgspec.Struct):
    """msgspec cannot tell which of two is meant."""

    either: Paid | Closed


@pytest.mark.parametrize(
    ("cls", "why"),
    [
        ([Paid, Closed], r"a class is registered, not \[.*\]: Registry\(First, Second\)"),
        (Paid(1), "a class is registered, not Paid"),
        (Paid | Closed, "register each class of it"),
        (Box[int], "make a subclass of it, and register that"),
        (list[int], "make a class with a field of it, and register that"),
        (Base, "Base is abstract and has no instances: register its subclasses"),
        (Totalled, "Totalled is a Protocol, which no stored event has: register the classes that follow it"),
        (Row, "Row does not say what its fields are|Row is a TypedDict"),
        (dict, "dict does not say what its fields are"),
        (Plain, "Plain does not say what its fields are: make it a dataclass"),
        (Event, "Event is headstream's own: register the classes that your events have"),
        (RecordedEvent, "RecordedEvent is headstream's own"),
        (Both, "msgspec cannot decode Both: .*: change the class, or give encode and decode"),
    ],
)
def test_what_is_registered_by_mistake(cls, why):
    """By the constructor, and by the method; the registry stays as it was."""
    registry = Registry()
    for register in (Registry, registry.register):
        with pytest.raises(InvalidInput, match=why):
            register(cls)
    assert registry.types == ()


def test_instances_of_what_is_not_registered():
    """Of a subclass it says of which; for a class, that an instance is meant."""

    class Refunded(Paid):
        pass

    with pytest.raises(InvalidInput, match="for Refunded, a subclass of Paid, as which it would come back"):
        Registry(Paid).encode(Refunded(1))
    with pytest.raises(InvalidInput, match=r"no event is the class Paid: make an instance of it, as Paid\(…\)"):
        Registry(Paid).encode(Paid)
    with pytest.raises(InvalidInput, match="no event type is registered for dict: register the class"):
        Registry(Paid).encode({"cents": 1})
