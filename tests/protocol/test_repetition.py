"""Whether an append repeats an earlier one: its events are compared by what they say."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstream.model import Event
from headstream.protocol import codec, encoding
from headstream.protocol.codec import Row
from headstream.protocol.repetition import is_same
from support import shown


def same(one: list[Event], other: list[Event]) -> bool:
    """Whether the second append would repeat the first, whose frame is stored."""
    rows = encoding.encode_events(one)
    frame = codec.decode_frame(codec.encode_frame(bytes(16), None, 0, 0, key="k", rows=rows), "heads/s")
    return is_same(frame.events, encoding.encode_events(other))


def texts(one: str, other: str) -> tuple[bool, bool]:
    """The same of data that is JSON text, in both directions."""
    first: list[Row] = [("E", one, None, None)]
    second: list[Row] = [("E", other, None, None)]
    return is_same(first, msgspec.msgpack.encode(second)), is_same(second, msgspec.msgpack.encode(first))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ('{"a":1,"b":[2,{"c":3}]}', '{ "b": [2, {"c": 3}], "a": 1 }'),
        ('"\\u00e9"', '"é"'),
        ("1.10", "1.1"),
        ("1e2", "100"),
        ("-0", "0"),
        ("123456789012345678901234567890", "123456789012345678901234567890.0"),
        ("[]", "[ ]"),
        ('{"a":1,"a":2}', '{"a": 1, "a": 2}'),
    ],
    ids=shown,
)
def test_texts_that_say_the_same(one: str, other: str):
    """Order of names, spaces, escapes and digits are form."""
    assert texts(one, other) == (True, True)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1", "true"),
        ("0", "false"),
        ("1", '"1"'),
        ("[1,2]", "[2,1]"),
        ('{"a":1}', '{"a":1,"b":null}'),
        ("null", "0"),
        ("[]", "{}"),
        ("0.1", "0.1000000000000000055511151231257827"),
        ("9007199254740993", "9007199254740992"),
        ('{"a":1,"a":2}', '{"a":2}'),
        ('{"a":1,"a":2}', '{"a":2,"a":1}'),
        ("1e99999999999999999999", "1e99999999999999999998"),
        ('["number",1]', "1"),
        ("[" * 3000 + "]" * 3000, "[ " + "[" * 2999 + "]" * 3000),
    ],
    ids=shown,
)
def test_texts_that_do_not(one: str, other: str):
    """And those that cannot be told, such as too deep ones, are taken for different."""
    assert texts(one, other) == (False, False)


def test_a_deep_text_is_the_same_as_itself():
    """Equal texts need not be looked into."""
    text = "[" * 3000 + "]" * 3000
    assert texts(text, text) == (True, True)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (None, None, True),
        (None, b"", False),
        (b"", "", False),
        (b"1", 1, False),
        (b"{}", b"{ }", False),
        ("1", 1, False),
    ],
    ids=shown,
)
def test_data_of_every_kind(one: Any, other: Any, expected: bool):
    """Bytes are compared as they are, and are no JSON."""
    assert same([Event("E", one)], [Event("E", other)]) is expected


def test_order_and_number_of_events():
    """All of them, in their order."""
    a, b = Event("E", 1), Event("E", 2)
    assert same([a, b], [a, b])
    assert not same([a, b], [b, a])
    assert not same([a, b], [a])
    assert not same([a], [a, b])


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)


@given(json_values)
def test_any_value_is_the_same_when_it_is_written_differently(value: Any):
    """Names in another order, other spaces."""

    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: turned(value[name]) for name in reversed(value)}
        return [turned(one) for one in value] if isinstance(value, list) else value

    text = msgspec.json.format(msgspec.json.encode(turned(value)), indent=3).decode()
    assert texts(msgspec.json.encode(value).decode(), text) == (True, True)
