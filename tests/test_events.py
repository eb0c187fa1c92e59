"""Typed events: what is stored for an instance, and what comes back for a stored event."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec
import pytest
from pydantic import BaseModel

from headstream import Event, InvalidInput, RecordedEvent, Registry, connect


@dataclass(frozen=True)
class Placed:
    customer: str
    total: Decimal
    due: date


class Paid(msgspec.Struct, frozen=True):
    cents: int


class Moved(BaseModel):
    street: str
    on: date


class Scanned(NamedTuple):
    place: str
    gate: int


class Seen:
    """A class that says nothing of its fields."""

    def __init__(self, where: str) -> None:
        self.where = where

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Seen) and other.where == self.where

    def __hash__(self) -> int:
        return hash(self.where)


INSTANCES = [
    Placed("ada", Decimal("24.50"), date(2027, 1, 31)),
    Paid(2450),
    Moved(street="Rua Nova 1", on=date(2027, 2, 1)),
    Scanned("Lisbon", 7),
]


def recorded(*events: Event) -> list[RecordedEvent]:
    """The events as a store gives them back."""
    with connect("memory://", feed=False) as store:
        store.append("s", events)
        return list(store.read("s"))


def one(name: str, data: Any = None, metadata: dict[str, Any] | None = None) -> RecordedEvent:
    """A recorded event."""
    return recorded(Event(name, data, metadata or {}))[0]


# --- there and back ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("instance", INSTANCES, ids=lambda instance: type(instance).__name__)
def test_an_instance_comes_back(instance):
    """Of a dataclass, a Struct, a pydantic model, a named tuple."""
    registry = Registry(type(instance))
    event = registry.encode(instance)
    assert event.type == type(instance).__name__
    assert registry.decode(recorded(event)[0]) == instance


def test_an_attrs_class_is_described():
    """By what the attrs library leaves on it; msgspec decodes such classes."""

    class Attrs:
        __attrs_attrs__ = ()

    assert Attrs in Registry(Attrs)


def test_data_of_the_first_version_is_stored_without_a_version():
    """So events from before there was a registry are of version 1, and nothing is spent on it."""
    assert Registry(Paid).encode(Paid(1)).metadata == {}


def test_metadata_is_kept_beside_the_version():
    """Both are there."""
    registry = Registry()
    registry.register(Paid, upcasters=[dict])
    assert registry.encode(Paid(1), {"user": "ada"}).metadata == {"user": "ada", "schema_version": 2}


def test_the_name_of_the_version_is_taken():
    """Metadata of the application cannot pretend to be a version."""
    with pytest.raises(InvalidInput, match="schema_version"):
        Registry(Paid).encode(Paid(1), {"schema_version": 7})


def test_a_class_that_says_nothing_of_its_fields_has_functions():
    """They make JSON of it, and it of JSON."""
    registry = Registry()
    registry.register(Seen, encode=lambda seen: {"at": seen.where}, decode=lambda data: Seen(data["at"]))
    (event,) = recorded(registry.encode(Seen("here")))
    assert event.data == {"at": "here"}
    assert registry.decode(event) == Seen("here")


def test_functions_may_make_bytes():
    """For Protobuf and the like."""
    registry = Registry()
    registry.register(Seen, encode=lambda seen: seen.where.encode(), decode=lambda data: Seen(data.decode()))
    (event,) = recorded(registry.encode(Seen("here")))
    assert event.data == b"here"
    assert registry.decode(event) == Seen("here")


def test_no_data_is_an_instance_without_fields():
    """What was appended as ``Event("Closed")`` can get a class later."""

    @dataclass(frozen=True)
    class Closed:
        pass

    assert Registry(Closed).decode(one("Closed")) == Closed()


def test_a_class_may_refer_to_itself():
    """Its decoder is made when its name is known."""
    registry = Registry(Nested)
    nested = Nested(Nested(None))
    assert registry.decode(recorded(registry.encode(nested))[0]) == nested


@dataclass(frozen=True)
class Nested:
    inside: Nested | None


# --- registering -------------------------------------------------------------------------------------------------


def test_a_decorator_registers():
    """With a name of its own, or that of the class; the class stays what it is."""
    registry = Registry()

    @registry.register
    @dataclass
    class Closed:
        pass

    @registry.register(name="OrderOpened", formerly=["OrderBegun", "OrderStarted"])
    class Opened(msgspec.Struct):
        pass

    assert registry.types == ("Closed", "OrderOpened", "OrderBegun", "OrderStarted")
    assert Closed in registry
    assert Opened in registry
    assert Paid not in registry
    assert repr(registry) == "Registry(Closed, Opened)"


def test_a_former_name_is_still_read():
    """And written no more."""
    registry = Registry()
    registry.register(Paid, name="OrderPaid", formerly="Paid")
    assert registry.encode(Paid(1)).type == "OrderPaid"
    assert [registry.decode(one(name, {"cents": 1})) for name in ("Paid", "OrderPaid")] == [Paid(1), Paid(1)]


@pytest.mark.parametrize(
    ("arguments", "options", "why"),
    [
        ((Paid,), {}, "Paid is registered already"),
        ((Moved,), {"name": "Paid"}, "'Paid' is registered already"),
        ((Moved,), {"formerly": ["Paid"]}, "'Paid' is registered already"),
        ((Moved,), {"formerly": ["Moved"]}, "'Moved' is registered already"),
        ((Moved,), {"name": ""}, "an event's type cannot be empty"),
        ((Moved,), {"encode": repr}, "encode and decode go together"),
        ((Seen,), {}, "does not say what its fields are"),
        (("Paid",), {}, "a class is registered"),
    ],
)
def test_what_cannot_be_registered(arguments, options, why):
    """And leaves the registry as it was."""
    registry = Registry(Paid)
    with pytest.raises(InvalidInput, match=why):
        registry.register(*arguments, **options)
    assert registry.types == ("Paid",)


def test_an_instance_of_another_class_is_refused():
    """Of a subclass too: it would come back as its parent."""

    class Refunded(Paid, frozen=True):
        pass

    for instance in (Refunded(1), Event("Paid"), 7):
        with pytest.raises(InvalidInput, match=f"no event type is registered for {type(instance).__name__}"):
            Registry(Paid).encode(instance)


# --- versions ----------------------------------------------------------------------------------------------------


def paid_in_three_versions() -> Registry:
    """Dollars as text; then as ``dollars``; then cents."""
    registry = Registry()

    def named(data: Any) -> Any:
        return {"dollars": data.pop("amount")}

    def in_cents(data: Any) -> Any:
        return {"cents": int(Decimal(data["dollars"]) * 100)}

    registry.register(Paid, upcasters=[named, in_cents])
    return registry


@pytest.mark.parametrize(
    ("data", "metadata"),
    [
        ({"amount": "24.50"}, {}),
        ({"amount": "24.50"}, {"schema_version": 1}),
        ({"amount": "24.50"}, {"user": "ada"}),
        ({"dollars": "24.50"}, {"schema_version": 2}),
        ({"cents": 2450}, {"schema_version": 3}),
    ],
)
def test_old_data_becomes_what_it_is_today(data, metadata):
    """From any version on, by the upcasters after it."""
    event = one("Paid", data, metadata)
    registry = paid_in_three_versions()
    assert [registry.decode(event), registry.decode(event)] == [Paid(2450), Paid(2450)]
    assert event.data == data, "an upcaster that changes what it is given changes a copy"


def test_new_data_says_its_version():
    """That after the last upcaster."""
    registry = paid_in_three_versions()
    event = registry.encode(Paid(1))
    assert event.metadata == {"schema_version": 3}
    assert registry.decode(recorded(event)[0]) == Paid(1)


def test_old_data_of_a_class_with_functions():
    """The upcasters come first, then ``decode``."""
    registry = Registry()
    registry.register(
        Seen,
        upcasters=[lambda data: {"at": data}],
        encode=lambda seen: {"at": seen.where},
        decode=lambda data: Seen(data["at"]),
    )
    assert registry.decode(one("Seen", "here")) == Seen("here")


@pytest.mark.parametrize("unknown", ["raise", "skip", "keep"])
def test_a_version_of_the_future_is_an_error(unknown):
    """Whatever is done with unknown types: an old program would decide without the fact."""
    registry = Registry(Paid, unknown=unknown)
    with pytest.raises(InvalidInput, match="up to schema version 1: run the newer program") as caught:
        registry.decode(one("Paid", {"cents": 1}, {"schema_version": 2}))
    assert caught.value.details == {"stream": "s", "version": 1, "type": "Paid", "schema_version": 2}


@pytest.mark.parametrize("version", [0, -1, "2", None, True, 1.5])
def test_what_is_no_version(version):
    """Somebody else has written it."""
    with pytest.raises(InvalidInput, match="is not a version"):
        Registry(Paid).decode(one("Paid", {"cents": 1}, {"schema_version": version}))


# --- what does not fit -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "data"),
    [(Paid, {"cents": "secret"}), (Paid, None), (Paid, b'{"cents": 1}'), (Moved, {"street": "secret"})],
)
def test_data_that_does_not_fit_is_refused(cls, data):
    """With its place, and without its content; the cause says more."""
    with pytest.raises(InvalidInput, match=f"does not fit {cls.__name__}") as caught:
        Registry(cls).decode(one(cls.__name__, data))
    assert "secret" not in str(caught.value)
    assert caught.value.details == {"stream": "s", "version": 1, "type": cls.__name__, "schema_version": 1}
    assert caught.value.__cause__ is not None


def test_an_upcaster_that_fails():
    """Its error is the cause."""
    with pytest.raises(InvalidInput, match="does not fit Paid") as caught:
        paid_in_three_versions().decode(one("Paid", {}))
    assert isinstance(caught.value.__cause__, KeyError)


def test_an_unknown_type_is_treated_as_chosen():
    """An error, nothing, or the event itself."""
    event = one("Other")
    with pytest.raises(InvalidInput, match="its type is not registered") as caught:
        Registry(Paid).decode(event)
    assert caught.value.details == {"stream": "s", "version": 1, "type": "Other"}
    assert Registry(Paid, unknown="skip").decode(event) is None
    assert Registry(Paid, unknown="keep").decode(event) is event


def test_no_other_choice_can_be_made():
    """Than those three."""
    with pytest.raises(InvalidInput, match="'raise', 'skip', 'keep', not 'ignore'"):
        Registry(unknown="ignore")
