"""Kept states: when one is due, how it becomes bytes and comes back, and what is refused before it is written."""

from __future__ import annotations

import math
import pickle
from collections import Counter, OrderedDict, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from headstream import Decider, InvalidInput, Snapshots, limits
from support import shown


@dataclass(frozen=True)
class Line:
    """A part of a state."""

    sku: str
    count: int


@dataclass(frozen=True)
class Rush(Line):
    """A line that has more than its parent."""

    days: int


@dataclass
class Parcel:
    """A state with a part of which nothing is said."""

    parts: Any


class Login(BaseModel):
    """A state with a part that no encoding shows."""

    word: SecretStr


@dataclass
class Order:
    """A state, as a dataclass."""

    lines: list[Line] = field(default_factory=list)
    placed: datetime | None = None


class Book(msgspec.Struct):
    """A state, as a Struct."""

    title: str = ""
    readers: set[str] = msgspec.field(default_factory=set)


class Cart(BaseModel):
    """A state, as a model."""

    owner: UUID | None = None
    total: Decimal = Decimal(0)


class Color(Enum):
    """A state of few values."""

    RED = "red"


class Point(NamedTuple):
    """A state that is a tuple."""

    x: int
    y: int


class Plain:
    """A class that nobody can encode, and whose instances are equal to themselves only."""

    def __init__(self, value: int = 0) -> None:
        self.value = value


class Undecided:
    """Its instances cannot be compared, as arrays cannot."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]  # it has an __eq__


# --- when ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "events", "size", "due"),
    [
        ({}, limits.SNAPSHOT_EVERY - 1, 10**9, False),
        ({}, limits.SNAPSHOT_EVERY, 0, True),
        ({"every": 1}, 1, 0, True),
        ({"every": 10}, 9, 10**9, False),
        ({"every": 10}, 11, 0, True),
        ({"every": 10, "every_bytes": 100}, 9, 99, False),
        ({"every": 10, "every_bytes": 100}, 9, 100, True),
        ({"every": 10, "every_bytes": 100}, 10, 0, True),
    ],
)
def test_when_a_state_is_due(options, events, size, due):
    """After so many events, or so many bytes of their data, whichever is first."""
    assert Snapshots(int, **options).is_due(events, size) is due


# --- what ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        (int, 3),
        (str, "é\0"),
        (float, 0.1),
        (bool, True),
        (dict[str, int], {"a": 1}),
        (dict[int, str], {1: "a"}),
        (list[str], ["a"]),
        (set[int], {1}),
        (frozenset[str], frozenset("a")),
        (tuple[int, str], (1, "a")),
        (dict, {"a": [None, True, {"b": 0.5}]}),
        (Order, Order([Line("a", 2)], datetime(2026, 7, 1, tzinfo=UTC))),
        (Order, Order()),
        (Book, Book("B", {"ada"})),
        (Cart, Cart(owner=UUID(int=1), total=Decimal("1.10"))),
        (Color, Color.RED),
        (Point, Point(1, 2)),
        (Order | None, None),
        (Order | None, Order()),
        (bytes, b"\xff"),
    ],
    ids=shown,
)
def test_states_come_back(kind, state):
    """As what they are, of every kind that msgspec or pydantic can tell from its type."""
    snapshots: Snapshots[Any] = Snapshots(kind)
    again = snapshots.decode(snapshots.encode(state))
    assert again == state
    assert type(again) is type(state)
    assert again is not state or isinstance(state, (bool, int, str, Enum, type(None)))


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), st.lists))
def test_any_json_comes_back(state):
    """Whatever the program calls its state."""
    snapshots: Snapshots[Any] = Snapshots(Any)
    assert snapshots.decode(snapshots.encode(state)) == state


@pytest.mark.parametrize(
    ("kind", "state", "other"),
    [
        (list[int], (1, 2), "tuple comes back as list, not tuple"),
        (dict, {1: "a"}, "dict comes back as a mapping with other keys"),
        (dict, {"a": (1,)}, "dict comes back with '[…]' as list, not tuple"),
        (dict[str, int], Counter("a"), "Counter comes back as dict, not Counter"),
        (dict[str, int], defaultdict(int, a=1), "defaultdict comes back as dict, not defaultdict"),
        (dict[str, int], OrderedDict(a=1), "OrderedDict comes back as dict, not OrderedDict"),
        (tuple[int, int], Point(1, 2), "Point comes back as tuple, not Point"),
        (float, 2**53 + 1, "int comes back as float, not int"),
        (Any, Line("a", 1), "Line comes back as dict, not Line"),
        (Any, datetime(2026, 7, 1, tzinfo=UTC), "datetime comes back as str, not datetime"),
        (list[Line], [Line("a", 1), Rush("b", 1, 2)], "list comes back with '[1]' as Line, not Rush"),
        (Parcel, Parcel(("a",)), "Parcel comes back with 'parts' as list, not tuple"),
        (Login, Login(word=SecretStr("x")), "Login comes back with 'word' as another SecretStr"),
    ],
    ids=shown,
)
def test_states_that_would_come_back_as_something_else(kind, state, other):
    """They are refused, also where they are equal to what would come back: it would not do what they do."""
    with pytest.raises(InvalidInput) as caught:
        Snapshots(kind).encode(state)
    assert str(caught.value) == f"the state cannot be kept: {other}: give its exact type, or encode and decode"


@pytest.mark.parametrize(
    ("kind", "state", "cause"),
    [
        (int, "secret", "ValidationError"),
        (Cart, {"total": "secret"}, "ValidationError"),
        (float, math.nan, "InvalidInput"),
        (dict, {"a": [math.inf]}, "InvalidInput"),
        (Plain, Plain(), "TypeError"),
        (Any, object(), "TypeError"),
    ],
    ids=shown,
)
def test_states_that_cannot_be_encoded(kind, state, cause):
    """One line, which says of what kind they are, and nothing of what is in them; the cause says more."""
    with pytest.raises(InvalidInput, match="the state cannot be kept") as caught:
        Snapshots(kind).encode(state)
    assert type(caught.value.__cause__).__name__ == cause
    assert f"{type(state).__name__} cannot be encoded, decoded and compared: see the cause ({cause})" in str(
        caught.value
    )
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


# --- encode and decode -----------------------------------------------------------------------------------------------


def pickled() -> Snapshots[Any]:
    """States that Python itself encodes."""
    return Snapshots(encode=pickle.dumps, decode=pickle.loads)


def test_states_of_any_other_kind():
    """With both functions; a class without a comparison is believed to come back."""
    assert pickled().decode(pickled().encode({"a": (1, {2})})) == {"a": (1, {2})}
    assert pickled().decode(pickled().encode(Plain(7))).value == 7


def test_functions_that_lose_something():
    """The state is compared with what would come back."""
    lossy: Snapshots[Any] = Snapshots(encode=lambda state: str(state).encode(), decode=lambda data: data.decode())
    assert lossy.encode("1") == b"1"
    with pytest.raises(InvalidInput, match="int comes back as str, not int"):
        lossy.encode(1)
    forgetful: Snapshots[int] = Snapshots(encode=lambda state: b"", decode=lambda data: 0)
    with pytest.raises(InvalidInput, match="int comes back as another int"):
        forgetful.encode(1)


def test_states_that_cannot_be_compared():
    """An error of the comparison is one of the program's, and not one of the append."""
    with pytest.raises(
        InvalidInput, match=r"Undecided cannot be encoded, decoded and compared: see the cause \(ValueError\)"
    ):
        pickled().encode(Undecided())


@pytest.mark.parametrize("data", ["text", bytearray(b"x"), memoryview(b"x"), None])
def test_encode_returns_bytes(data):
    """And nothing that may change, or be something else when it comes back."""
    snapshots: Snapshots[int] = Snapshots(encode=lambda state: data, decode=lambda found: 0)
    with pytest.raises(InvalidInput, match=f"encode returns bytes, not {type(data).__name__}"):
        snapshots.encode(0)


def test_what_decode_raises():
    """It comes through, for whoever loads knows what to do."""
    good = Snapshots(int).encode(1)
    with pytest.raises(msgspec.ValidationError):
        Snapshots(int).decode(good[:-1] + b'"a"')
    with pytest.raises(msgspec.DecodeError):
        Snapshots(int).decode(good[:-1] + b"\xff")


# --- what is refused when it is made -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "options", "why"),
    [
        ((), {}, "give the type of the states, or encode and decode"),
        ((int,), {"encode": bytes, "decode": int}, "give the type of the states, or encode and decode"),
        ((), {"encode": bytes}, "encode and decode go together"),
        ((int,), {"decode": int}, "encode and decode go together"),
        ((int,), {"every": 0}, "every is a whole number of at least 1, not 0"),
        ((int,), {"every": True}, "every is a whole number of at least 1, not True"),
        ((int,), {"every": 1.5}, "every is a whole number"),
        ((int,), {"every_bytes": 0}, "every_bytes is a whole number of at least 1, not 0"),
        ((7,), {}, "no state can be decoded as 7"),
        ((list["Nowhere"],), {}, "no state can be decoded as"),  # type: ignore[name-defined]  # noqa: F821 - that is the point
    ],
)
def test_what_are_no_snapshots(arguments, options, why):
    """With what to do instead."""
    with pytest.raises(InvalidInput, match=why):
        Snapshots(*arguments, **options)


def test_what_they_look_like():
    """The type, and when."""
    assert repr(Snapshots(Order)) == "Snapshots(Order, every=100)"
    assert repr(Snapshots(dict[str, int], every=5, every_bytes=9)) == "Snapshots(dict, every=5, every_bytes=9)"
    assert repr(Snapshots(encode=bytes, decode=int)) == "Snapshots(every=100)"


# --- the decider that has them -----------------------------------------------------------------------------------


def test_deciders_that_keep_states_have_a_name():
    """It says whose they are."""
    snapshots = Snapshots(int)
    decider = Decider(int, lambda state, event: state, name="n", version=3, snapshots=snapshots)
    assert (decider.name, decider.version, decider.snapshots) == ("n", 3, snapshots)
    with pytest.raises(InvalidInput, match="a decider that keeps states has a name"):
        Decider(int, lambda state, event: state, snapshots=snapshots)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"snapshots": int}, "snapshots is a Snapshots, not type"),
        ({"name": "n" * (limits.MAX_DECIDER_NAME + 1)}, "a decider's name has 257 bytes"),
        ({"name": 7}, "a decider's name is a string"),
        ({"version": 1.0}, "a decider's version is a whole number"),
        (
            {"version": limits.MAX_VERSION + 1},
            "a decider's version is 10000000000000000; it can be at most 9999999999999999",
        ),
        ({"version": 2**64}, "it can be at most"),
    ],
)
def test_deciders_whose_states_could_not_be_named(options, why):
    """A head could not say whose state it is: it is refused before there is one."""
    with pytest.raises(InvalidInput, match=why):
        Decider(int, lambda state, event: state, **options)
