"""Typed events come back as what they were, or are refused when they are appended; the kinds of values that did not."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import InitVar, dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from typing import Any, Generic, NamedTuple, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AliasChoices, AliasPath, BaseModel, ConfigDict, Field, RootModel, SecretStr, computed_field
from pydantic.alias_generators import to_camel

from headstream import Decider, EventStore, InvalidInput, Registry, WithMetadata, connect
from headstream.fidelity import difference

T = TypeVar("T")


class Color(Enum):
    """Not a string."""

    RED = "red"


class Currency(StrEnum):
    """A string, too."""

    EUR = "EUR"


class Level(IntEnum):
    """A number, too."""

    HIGH = 3


@dataclass(frozen=True)
class Money:
    """A part."""

    cents: int


@dataclass(frozen=True)
class Taxed(Money):
    """A part that has more than its parent."""

    tax: int = 0


@dataclass(frozen=True)
class Paid:
    """A dataclass that says what it holds."""

    money: Money
    at: datetime | None = None
    color: Color = Color.RED
    currency: str = "EUR"
    rate: float = 1.0
    days: frozenset[date] = frozenset()
    parts: tuple[Money, ...] = ()


@dataclass
class Loose:
    """A dataclass that says nothing of it."""

    value: Any


@dataclass
class Derived:
    """A field that no constructor takes."""

    net: int
    gross: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self.gross = self.net * 2


@dataclass
class Uncompared:
    """A field that ``==`` does not look at."""

    name: str
    note: Any = field(default=None, compare=False)


@dataclass
class Typed:
    """Whatever was promised is held to."""

    count: int = 0
    ids: list[UUID] = field(default_factory=list)
    amounts: dict[str, Decimal] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    order: tuple[int, ...] = ()
    by_number: dict[int, str] = field(default_factory=dict)
    at: time | None = None
    wait: timedelta | None = None


class Short(msgspec.Struct, omit_defaults=True):
    """Defaults are not written."""

    tags: list[str] = msgspec.field(default_factory=lambda: ["a"])
    more: dict[str, int] = {}
    at: int = 0


class Cat(msgspec.Struct, tag=True):
    """One of two."""

    lives: int


class Dog(msgspec.Struct, tag=True):
    """The other."""

    name: str


class Adopted(msgspec.Struct, rename="camel"):
    """Holds one of two."""

    the_pet: Cat | Dog


class Scanned(NamedTuple):
    """A tuple."""

    place: str
    value: Any


class Box(msgspec.Struct, Generic[T]):
    """Of whatever."""

    inside: T


class Login(BaseModel):
    """A part that shows stars."""

    user: str
    word: SecretStr


class Card(BaseModel):
    """A part."""

    number: str


class Gold(Card):
    """A part that has more than its parent."""

    limit: int


class Bought(BaseModel):
    """Serialized by the declared type."""

    cards: list[Card]


class Hidden(BaseModel):
    """A field that is never written."""

    name: str
    note: str = Field("", exclude=True)


class Gauge(BaseModel):
    """A number."""

    degrees: float


class Anything(BaseModel):
    """A field of which nothing is said."""

    value: Any


class Free(BaseModel):
    """Takes more than it declares."""

    model_config = ConfigDict(extra="allow")
    name: str


class Strict(BaseModel):
    """Takes no more than it declares, and computes more."""

    model_config = ConfigDict(extra="forbid")
    cents: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def euros(self) -> str:
        """From the cents."""
        return str(Decimal(self.cents) / 100)


class Outer(BaseModel):
    """Holds one that computes more."""

    strict: Strict


class Aliased(BaseModel):
    """One alias for both directions."""

    user_name: str = Field(alias="userName")


class Camel(BaseModel):
    """Aliases that are made, and names, too."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    user_name: str
    inside: Aliased


class ReadAs(BaseModel):
    """Read by another name than written; and by its own."""

    model_config = ConfigDict(populate_by_name=True)
    user_name: str = Field(validation_alias="userName")


class WrittenAs(BaseModel):
    """Written by another name than read, if that was asked for."""

    user_name: str = Field(serialization_alias="userName")


class Choosy(BaseModel):
    """Read by several names, one of which it is written by."""

    user_name: str = Field(
        validation_alias=AliasChoices("userName", AliasPath("user", 0), "user"), serialization_alias="user"
    )


class Swapped(BaseModel):
    """Each has the name of the other."""

    a: int = Field(alias="b")
    b: int = Field(alias="a")


class Names(RootModel[list[str]]):
    """Not an object."""


BERLIN = ZoneInfo("Europe/Berlin")
ODD = timezone(timedelta(minutes=53, seconds=28))

GOOD: list[Any] = [
    Paid(Money(1), datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=0)),
    Paid(Money(1), datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1), days=frozenset([date(2026, 1, 1)])),
    Paid(Money(1), datetime(2026, 10, 25, 2, 30, tzinfo=UTC).replace(tzinfo=None), parts=(Money(2), Money(3))),
    Paid(Money(1), currency=Currency.EUR, rate=5),
    Paid(Money(Level.HIGH), rate=-0.0),
    Loose({"a": [None, True, 1, 1.5, "x", {"b": {}}]}),
    Loose(Level.HIGH),
    Derived(2),
    Uncompared("a", "b"),
    Typed(
        1,
        [UUID(int=1)],
        {"a": Decimal("1.10")},
        {"a", "b"},
        (1, 2),
        {1: "a"},
        time(1, 2, tzinfo=UTC),
        timedelta(1, 2, 3),
    ),
    Short(),
    Short([], {"a": 1}, 3),
    Adopted(Cat(9)),
    Adopted(Dog("Rex")),
    Scanned("Lisbon", [1]),
    Box(1),
    Bought(cards=[Card(number="1")]),
    Hidden(name="a"),  # type: ignore[call-arg]
    Anything(value={"a": [1]}),
    Free.model_validate({"name": "a", "more": [1]}),
    Strict(cents=5),
    Aliased(userName="ada"),
    Camel(user_name="ada", inside=Aliased(userName="bob")),
    ReadAs.model_validate({"userName": "ada"}),
    WrittenAs(user_name="ada"),
    Choosy.model_validate({"userName": "ada"}),
    Swapped(b=1, a=2),
    Names(["a"]),
]

BAD: list[tuple[Any, str]] = [
    (Paid(Taxed(1, 2)), "with 'money' as Money, not Taxed"),
    (Paid(Money(1), datetime(1890, 1, 1, tzinfo=ODD)), "with 'at' as another datetime"),
    (Paid(Money(1), parts=(Money(1), Taxed(2))), r"with 'parts\[1\]' as Money, not Taxed"),
    (Paid(Money(1), parts=[Money(1)]), "with 'parts' as tuple, not list"),  # type: ignore[arg-type]
    (Paid(Money(1), rate=2**53 + 1), "with 'rate' as float, not int"),
    (Loose(Decimal("1.10")), "with 'value' as str, not Decimal"),
    (Loose((1, 2)), "with 'value' as list, not tuple"),
    (Loose({1, 2}), "with 'value' as list, not set"),
    (Loose(datetime(2026, 1, 1, tzinfo=UTC)), "with 'value' as str, not datetime"),
    (Loose(date(2026, 1, 1)), "with 'value' as str, not date"),
    (Loose(UUID(int=1)), "with 'value' as str, not UUID"),
    (Loose(b"x"), "with 'value' as str, not bytes"),
    (Loose(Color.RED), "with 'value' as str, not Color"),
    (Loose(Money(1)), "with 'value' as dict, not Money"),
    (Loose({"secret": (1,)}), r"with 'value\[…\]' as list, not tuple"),
    (Loose({1: "a"}), "with 'value' as a mapping with other keys"),
    (Loose(Counter("a")), "with 'value' as dict, not Counter"),
    (Loose(defaultdict(int, a=1)), "with 'value' as dict, not defaultdict"),
    (Loose([{"a": [0, (1,)]}]), r"with 'value\[0\]\[…\]\[1\]' as list, not tuple"),
    (Uncompared("a", (1,)), "with 'note' as list, not tuple"),
    (Box(Decimal(1)), "with 'inside' as str, not Decimal"),
    (Scanned("Lisbon", (1,)), "with 'value' as list, not tuple"),
    (Login(user="ada", word=SecretStr("secret")), "with 'word' as another SecretStr"),
    (Bought(cards=[Card(number="1"), Gold(number="2", limit=3)]), r"with 'cards\[1\]' as Card, not Gold"),
    (Hidden(name="a", note="secret"), "with 'note' as another str"),
    (Anything(value=Decimal("1.10")), "with 'value' as str, not Decimal"),
    (Anything(value=datetime(2026, 1, 1, tzinfo=UTC)), "with 'value' as str, not datetime"),
    (Free.model_validate({"name": "a", "more": (1,)}), r"with '\[…\]' as list, not tuple"),
]


@pytest.fixture(scope="module")
def store() -> Iterator[EventStore]:
    """A store for all of them."""
    with connect("memory://", feed=False) as store:
        yield store


def decider(cls: type) -> Decider[Any, Any]:
    """Its state is the last event."""
    return Decider(lambda: None, lambda _state, event: event, Registry(cls))


@pytest.mark.parametrize("instance", GOOD, ids=[type(instance).__name__ for instance in GOOD])
def test_what_comes_back_is_appended(store, instance):
    """In ``transact``, and as an event of its own."""
    last = decider(type(instance))
    assert last.events is not None
    stream = f"good-{type(instance).__name__}"
    decision = store.transact(stream, last, lambda _: instance)
    store.append(stream, last.events.encode(instance))
    for event in list(store.read(stream))[-2:]:
        found = last.events.decode(event)
        assert type(found) is type(instance)
        assert difference(instance, found) is None
        assert difference(decision.state, found) is None


@pytest.mark.parametrize(("instance", "why"), BAD, ids=[type(instance).__name__ for instance, _ in BAD])
def test_what_would_come_back_as_another_value_is_refused(store, instance, why):
    """By both; with the field, and without its value."""
    last, name = decider(type(instance)), type(instance).__name__
    for attempt in (
        lambda: store.transact("bad", last, lambda _: [instance]),
        lambda: store.transact("bad", last, lambda _: WithMetadata(instance)),
        lambda: last.events.encode(instance),
    ):
        by_class = f"an event of type '{name}' cannot be appended: it would come back .*{why}.*or register {name} with encode and decode"
        by_encoder = "the offset of a time from UTC has seconds, which JSON does not keep: convert it to UTC first"
        match = f"{by_class}|{by_encoder}" if "another datetime" in why else by_class
        with pytest.raises(InvalidInput, match=match) as caught:
            attempt()
        assert "secret" not in str(caught.value)
    assert store.head("bad") is None


@pytest.mark.parametrize("wrong", [None, 0, 1, 499])
def test_many_parts(wrong):
    """They are compared together, and the one that differs is found."""
    parts = tuple(Taxed(number, number) for number in range(500))
    others = tuple(Taxed(number, -1 if number == wrong else number) for number in range(500))
    found = difference(parts, others)
    assert found == (None if wrong is None else ["another int", ".tax", f"[{wrong}]"])


def test_a_number_that_json_does_not_have(store):
    """In a dataclass and in a model: no null takes its place."""
    for instance in (Loose(math.nan), Loose([math.inf]), Anything(value=math.nan), Gauge(degrees=-math.inf)):
        with pytest.raises(InvalidInput, match=r"it holds NaN or an infinity|NoneType, not float"):
            store.transact("bad", decider(type(instance)), lambda _, instance=instance: instance)
    assert store.head("bad") is None


def test_a_field_that_changed_its_value(store):
    """One that the constructor does not take is stored, and made again: it is what it was, or the event is refused."""
    derived = Derived(2)
    derived.gross = 7
    with pytest.raises(InvalidInput, match="with 'gross' as another int"):
        store.transact("bad", decider(Derived), lambda _: derived)


def test_a_model_inside_that_cannot_be_read(store):
    """What it computes is not what it takes: the append is refused, and the cause names the field."""
    with pytest.raises(InvalidInput, match="does not fit Outer") as caught:
        store.transact("bad", decider(Outer), lambda _: Outer(strict=Strict(cents=1)))
    assert "euros" in str(caught.value.__cause__)


class Blob(BaseModel):
    """Bytes, which are text in JSON."""

    content: bytes


def test_a_model_that_is_no_json(store):
    """pydantic's error is the cause."""
    for attempt in (
        lambda: store.transact("bad", decider(Blob), lambda _: Blob(content=b"\xff")),
        lambda: Registry(Blob).encode(Blob(content=b"\xff")),
    ):
        with pytest.raises(InvalidInput, match="an event of type 'Blob' cannot be encoded: see the cause") as caught:
            attempt()
        assert isinstance(caught.value.__cause__, ValueError)


@dataclass
class Holder:
    """A dataclass with a model in it, which msgspec encodes and does not decode."""

    card: Card


def test_what_could_not_be_loaded(store):
    """Says so, and why."""
    for attempt in (
        lambda: store.transact("bad", decider(Holder), lambda _: Holder(Card(number="secret"))),
        lambda: Registry(Holder).encode(Holder(Card(number="secret"))),
    ):
        with pytest.raises(
            InvalidInput, match=r"nothing was appended, for it could not be loaded.*does not fit Holder"
        ) as caught:
            attempt()
        assert "card" in str(caught.value.__cause__)
        assert "secret" not in str(caught.value)


class Opaque:
    """A class that says nothing of itself, and is equal to itself only."""

    def __init__(self, text: str) -> None:
        self.text = text


class Same(Opaque):
    """The same, with a comparison."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Same) and other.text == self.text

    __hash__ = None  # type: ignore[assignment]


class Ambiguous(Opaque):
    """Its comparison has no answer, as that of arrays."""

    def __eq__(self, other: object) -> bool:
        raise ValueError("ambiguous")

    __hash__ = None  # type: ignore[assignment]


def registered(cls: Any, *, lossy: bool = False) -> Registry:
    """With functions of its own."""
    registry = Registry()
    registry.register(
        cls,
        encode=lambda value: {"text": value.text.lower() if lossy else value.text},
        decode=lambda data: cls(data["text"]),
    )
    return registry


def test_functions_of_the_application(store):
    """What they make is compared by the class; where that cannot be, by what they make of it again."""
    for cls in (Opaque, Same, Ambiguous):
        assert registered(cls).decode(next(iter_of(store, registered(cls).encode(cls("A"))))).text == "A"
    with pytest.raises(InvalidInput, match="as another Same"):
        registered(Same, lossy=True).encode(Same("A"))
    shrinking = ["A", "B"]
    registry = Registry()
    registry.register(Ambiguous, encode=lambda _value: shrinking.pop(), decode=Ambiguous)
    with pytest.raises(InvalidInput, match="as a value that cannot be compared"):
        registry.encode(Ambiguous("A"))


def iter_of(store: EventStore, event: Any) -> Iterator[Any]:
    """It, as it was recorded."""
    store.append("functions", event)
    return iter(store.read("functions", backwards=True, limit=1))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
    max_leaves=10,
)


@given(JSON)
def test_whatever_json_has_comes_back(value):
    """Without a declared type."""
    assert Registry(Loose).encode(Loose(value)).data == Loose(value)


# --- what is seen when a class is registered --------------------------------------------------------------------------


class Unwritten(BaseModel):
    """A field that must be there, and never is."""

    name: str
    note: str = Field(exclude=True)


class Elsewhere(BaseModel):
    """Read by one name, written by another."""

    user_name: str = Field(validation_alias="a", serialization_alias="b")


class Nowhere(BaseModel):
    """Read from inside another field."""

    user_name: str = Field(validation_alias=AliasPath("user", "name"))


class Mixed(BaseModel):
    """One field wants to be written by its alias, another by its name."""

    a: int = Field(alias="x")
    b: int = Field(serialization_alias="y")


@dataclass
class Started:
    """It has an argument that is no field."""

    total: int
    tax: InitVar[int] = 0


@pytest.mark.parametrize(
    ("cls", "why"),
    [
        (Unwritten, "the field 'note' of Unwritten is excluded from what is stored, and has no default"),
        (Elsewhere, "the field 'user_name' of Elsewhere is written by another name than it is read: give it one alias"),
        (Nowhere, "the field 'user_name' of Nowhere is written by another name"),
        (Mixed, "of Mixed is written by another name"),
        (Started, "msgspec cannot decode Started: .*InitVar"),
    ],
)
def test_classes_that_can_never_come_back(cls, why):
    """Are refused when they are registered."""
    with pytest.raises(InvalidInput, match=why):
        Registry(cls)


def test_a_class_with_a_type_that_is_not_known():
    """Its own name may be known later; another, never."""

    @dataclass
    class Lost:
        where: Nirvana  # noqa: F821 - that is the point

    registry = Registry(Lost)
    with pytest.raises(InvalidInput, match="Lost has a field of a type that is not known"):
        registry.encode(Lost(1))
