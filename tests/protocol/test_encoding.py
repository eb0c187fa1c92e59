"""What applications hand in is stored so that any reader finds what was given, or refused before anything is written."""

from __future__ import annotations

import dataclasses
import enum
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headstream import CorruptData, Event, InvalidInput, RecordedEvent, limits
from headstream.nesting import has_long_number, is_deep_json, is_deep_messagepack, may_have_long_number
from headstream.protocol import codec
from headstream.protocol.encoding import encode_events
from support.decoders import framed, pack
from support.script import MICROS, ident

Raw = msgspec.Raw


class Colour(enum.Enum):
    """Encoded by its value."""

    RED = "red"


class Name(str, enum.Enum):  # noqa: UP042 - whose str() is not its value, unlike that of a StrEnum
    """An id of an application."""

    FIRST = "first"


class Holder(msgspec.Struct):
    """Something with anything in it."""

    held: Any


@dataclasses.dataclass
class Data:
    """The same."""

    held: Any


def stored(*events: Event) -> list[RecordedEvent]:
    """Events as a reader finds them."""
    frame = codec.encode_frame(ident(1), None, 0, MICROS, key=None, rows=encode_events(events))
    return codec.decode_frame(frame, "k").recorded("s", 1, len(events))


def read_back(data: Any) -> Any:
    """Data as a reader finds it."""
    (event,) = stored(Event("E", data))
    return event.data


def deep(levels: int, bottom: Any = 1) -> Any:
    """Lists and dictionaries within each other."""
    for level in range(levels):
        bottom = [bottom] if level % 2 else {"a": bottom}
    return bottom


IN_IT: list[Callable[[Any], Any]] = [
    lambda value: value,
    lambda value: [0, value],
    lambda value: {"a": {"b": (value,)}},
    Holder,
    Data,
    lambda value: {"a": Holder([value])},
]

# --- text that is handed in as it is -----------------------------------------------------------------------------------


@pytest.mark.parametrize("around", IN_IT)
@pytest.mark.parametrize(
    "text", [b"", b"{", b"tru", b"1,2", b'1,"a":2', b"NaN", b"1e999", b'"\xff"', b'"\\ud800"', b"\n"]
)
def test_raw_text_that_is_not_json_is_refused(around, text):
    """Wherever it is, also where it would become JSON together with what is around it."""
    for event in (Event("E", around(Raw(text))), Event("E", metadata={"m": around(Raw(text))})):
        with pytest.raises(InvalidInput, match=r"of event 1 \('E'\) is not JSON"):
            encode_events([Event("Fine", {"a": 1}), event])


@pytest.mark.parametrize(
    "text", [b"1.10", b' {"a": 1 ,\n"b":null}', b'{"a":1,"a":2}', b"12345678901234567890.123456789", b"1e5"]
)
def test_raw_text_is_kept_as_it_is(text):
    """To the byte: numbers, blanks, and even names that occur twice, for it says so itself."""
    (event,) = stored(Event("E", Raw(text)))
    assert event.payload == text.decode()
    assert event.data == msgspec.json.decode(text)


# --- keys --------------------------------------------------------------------------------------------------------------

TWINS = [
    {1: "a", "1": "b"},
    {1.5: 1, "1.5": 2},
    {Colour.RED: 1, "red": 2},
    {UUID(int=1): 1, str(UUID(int=1)): 2},
    {date(2020, 1, 1): 1, "2020-01-01": 2},
    {datetime(2020, 1, 1, tzinfo=UTC): 1, "2020-01-01T00:00:00Z": 2},
    {Decimal("1.0"): 1, "1.0": 2},
    {b"a": 1, "YQ==": 2},
]


@pytest.mark.parametrize("around", IN_IT)
@pytest.mark.parametrize("twins", TWINS, ids=str)
def test_keys_that_become_one_are_refused(around, twins):
    """A reader would find one of the two members."""
    for event in (Event("E", around(twins)), Event("E", metadata={"m": around(twins)})):
        with pytest.raises(InvalidInput, match="two keys of one mapping are the same in JSON"):
            encode_events([event])
    assert len(read_back(dict(list(twins.items())[:1]))) == 1


@pytest.mark.parametrize("key", [None, True, (1, 2)])
def test_keys_that_json_does_not_have_are_refused(key):
    """As ever."""
    with pytest.raises(InvalidInput, match="is not JSON"):
        encode_events([Event("E", {"a": {key: 1}})])


def test_keys_that_are_no_strings_are_taken_where_they_differ():
    """Each has its member."""
    assert read_back({1: "a", 2: "b", "x": {UUID(int=1): 0}}) == {"1": "a", "2": "b", "x": {str(UUID(int=1)): 0}}


# --- depth -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrap", [lambda value: value, Holder, lambda value: {1: value}])
def test_nesting_has_a_bound(wrap):
    """The same for plain data and any other, exactly."""
    fits = limits.MAX_NESTING - (0 if wrap(0) == 0 else 1)
    assert read_back(wrap(deep(fits))) == msgspec.to_builtins(wrap(deep(fits)), str_keys=True)
    for levels in (fits + 1, 900, 5000):
        with pytest.raises(InvalidInput, match="nested too deeply"):
            encode_events([Event("E", wrap(deep(levels)))])


def test_brackets_in_strings_are_no_nesting():
    """However many, and however they are quoted."""
    data = {1: '\\"[{' * 500, "b": "[" * 1000}
    assert read_back(data) == {"1": data[1], "b": data["b"]}


def test_what_holds_itself_is_refused():
    """A cycle has no end, as plain data and otherwise; and one that branches would be twice as wide on each level."""
    cycle: list[Any] = []
    cycle.append(cycle)
    branching: list[Any] = []
    branching += [branching, {"a": branching}]
    for data in (cycle, Holder(cycle), branching):
        with pytest.raises(InvalidInput, match="nested too deeply"):
            encode_events([Event("E", data)])


def at_depth(frames: int, call: Callable[[], Any]) -> Any:
    """A call from so deep in the stack."""
    return call() if frames <= 0 else at_depth(frames - 1, call)


def almost_full(call: Callable[[], Any], *, room: int) -> Any:
    """A call with room for so many calls in the stack, or a few less."""
    used = 0
    frame: Any = sys._getframe()
    while frame is not None:
        used, frame = used + 1, frame.f_back
    return at_depth(sys.getrecursionlimit() - used - room, call)


def test_a_full_stack_is_not_called_damage():
    """The event is right: where there is room it is read, and where there is none the reason is the stack."""
    (event,) = stored(Event("E", deep(limits.MAX_NESTING)))
    with pytest.raises(RecursionError, match="deeper than the stack has room for"):
        almost_full(lambda: event.data, room=60)
    assert event.data == deep(limits.MAX_NESTING)


def test_what_an_older_version_took_is_read_where_there_is_room():
    """900 levels were possible once."""
    event = RecordedEvent("s", 1, "E", "[" * 500 + "]" * 500, None, None, ident(1), MICROS)
    with pytest.raises(RecursionError):
        almost_full(lambda: event.data, room=200)
    assert msgspec.json.encode(event.data).decode() == event.payload


def test_hostile_depth_is_damage_wherever_it_is_met():
    """Also deep in a stack: no version wrote that."""
    event = RecordedEvent("s", 1, "E", "[" * 100_000, None, None, ident(1), MICROS)
    for look in (lambda: event.data, lambda: almost_full(lambda: event.data, room=60)):
        with pytest.raises(CorruptData):
            look()


@pytest.mark.parametrize("room", [12, 8, 6, 5, 4, 3])
def test_an_object_in_a_full_stack_is_not_called_damaged(room):
    """A changeset is decoded, or the stack is too small to tell."""
    frame = codec.encode_frame(ident(1), None, 0, MICROS, key=None, rows=encode_events([Event("E", {"a": 1})]))
    with suppress(RecursionError):
        assert almost_full(lambda: codec.decode_frame(frame, "k"), room=room).id == ident(1)


def test_hostile_depth_in_an_object_is_damage_deep_in_a_stack():
    """As everywhere."""
    frame = framed(pack([ident(1), None, 0, MICROS, None, [["E", Raw(b"\x91" * 3000 + b"\xc0"), None, None]]]))
    for look in (
        lambda: codec.decode_frame(frame, "k"),
        lambda: almost_full(lambda: codec.decode_frame(frame, "k"), room=30),
    ):
        with pytest.raises(CorruptData):
            look()


TREES: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.integers(-(2**63), 2**64 - 1)
    | st.text('[]{}"\\a', max_size=8)
    | st.binary(max_size=8)
    | st.floats(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=30,
)


def depth(value: Any) -> int:
    """Lists and mappings within each other."""
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(TREES)
def test_depth_is_told_without_recursion(tree):
    """In MessagePack and in JSON."""
    levels = depth(tree)
    packed, text = msgspec.msgpack.encode(tree), msgspec.json.encode(tree).decode()
    empty = isinstance(tree, (list, dict)) and not tree
    assert [is_deep_json(text, most) for most in range(levels, levels + 2)] == [False, False]
    assert levels == 0 or is_deep_json(text, levels - 1)
    assert not is_deep_messagepack(packed, levels)
    assert empty or levels < 2 or is_deep_messagepack(packed, levels - 2)


@given(st.binary(max_size=60), st.text(max_size=60))
def test_any_bytes_have_a_depth(packed, text):
    """No exception, whatever they are."""
    assert is_deep_messagepack(packed, 1000) is False
    assert is_deep_json(text, 1000) is False


# --- numbers and the rest ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("around", IN_IT)
def test_whole_numbers_have_as_many_digits_as_any_python_reads(around):
    """The bound is the least that an interpreter can be set to."""
    fits = around(10**limits.MAX_DIGITS - 1)
    before = sys.get_int_max_str_digits()
    (event,) = stored(Event("E", fits))
    try:
        sys.set_int_max_str_digits(sys.int_info.str_digits_check_threshold)
        assert event.data is not None
    finally:
        sys.set_int_max_str_digits(before)
    for number in (10**limits.MAX_DIGITS, -(10**limits.MAX_DIGITS), 10**5000):
        with pytest.raises(InvalidInput, match="is not JSON"):
            encode_events([Event("E", around(number))])


@given(st.integers(0, 100), st.integers(0, 40), st.integers(2, 20))
def test_a_long_number_is_found_wherever_it_begins(before, length, digits):
    """The quick look at blocks misses none."""
    text = "x" * before + "7" * length + "x"
    assert has_long_number(text, digits) == (length > digits)
    assert may_have_long_number(text.encode(), digits) or length <= digits


def test_long_texts_beside_numbers_are_taken():
    """Digits in a string are no number."""
    data = {"a": 1, "b": "7" * 5000, "c": [2, "8" * 700]}
    assert read_back(data) == data


def test_a_number_that_this_process_does_not_read_is_not_called_damage():
    """Older versions took up to 4,300 digits, and this interpreter may be set to fewer."""
    event = RecordedEvent("s", 1, "E", "1" * 3000, None, None, ident(1), MICROS)
    before = sys.get_int_max_str_digits()
    try:
        sys.set_int_max_str_digits(700)
        with pytest.raises(ValueError, match=r"sys\.set_int_max_str_digits") as caught:
            _ = event.data
        assert not isinstance(caught.value, CorruptData)
    finally:
        sys.set_int_max_str_digits(before)
    assert event.data == int("1" * 3000)


def test_ids_that_are_enums_are_stored_by_their_values():
    """As they were checked."""
    (event,) = stored(Event("E", 1, id=Name.FIRST))
    assert event.id == "first"


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**limits.MAX_DIGITS) + 1, 10**limits.MAX_DIGITS - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(
    st.lists(
        st.tuples(JSON | st.binary(max_size=20), st.dictionaries(st.text("ab"), JSON, max_size=2)),
        min_size=1,
        max_size=4,
    )
)
@example([(-0.0, {}), ("\0", {"a": "\u2028"}), (b"", {}), (None, {"": None})])
def test_json_comes_back_as_it_was(pairs):
    """Plain data and metadata, several events together, in their order; the sign of zero too."""
    found = stored(*[Event("E", data, metadata) for data, metadata in pairs])
    assert repr([(event.data, event.metadata) for event in found]) == repr(pairs)


@given(
    st.lists(
        st.sampled_from([1, {"a": 1}, Raw(b"2"), Holder(3), b"x", None, [b"y"], bytearray(b"z")]),
        min_size=1,
        max_size=6,
    )
)
def test_plain_events_among_others(data):
    """One that is not plain changes nothing for the others."""
    together = [event.payload for event in stored(*[Event("E", one) for one in data])]
    assert together == [event.payload for one in data for event in stored(Event("E", one))]


ODD = timezone(timedelta(minutes=19, seconds=32))
"""The offset of Amsterdam until 1937."""


@pytest.mark.parametrize("moment", [datetime(1930, 1, 1, tzinfo=ODD), time(1, 2, tzinfo=ODD)], ids=["datetime", "time"])
@pytest.mark.parametrize("where", [lambda it: it, lambda it: {"a": [it]}, lambda it: [1, (it,)], lambda it: {1: it}])
def test_a_time_that_would_be_cut_is_refused(moment, where):
    """Its offset has seconds; whole minutes are kept."""
    for event in (Event("E", where(moment)), Event("E", 1, {"at": where(moment)})):
        with pytest.raises(InvalidInput, match="offset of a time from UTC has seconds"):
            encode_events([event])
    kept = moment.replace(tzinfo=timezone(timedelta(hours=-3, minutes=-30)))
    assert b"-03:30" in encode_events([Event("E", where(kept))])
