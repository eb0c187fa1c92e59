"""Intents: what they say, and that nothing else passes for one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstream import limits
from headstream.errors import CorruptData
from headstream.protocol import codec, intent, keys
from headstream.protocol.intent import Announced, Intent
from headstream.protocol.ops import ALWAYS
from support.damage import check_every_damage
from support.script import MICROS, ident

INTENT = Intent(ident(7), "order-1", 3, MICROS, [keys.segment("order-1", 1, ident(7))])

INTENT_KEY = keys.intent(ident(7), 0, "s")

NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@st.composite
def intents(draw: st.DrawFn) -> Intent:
    """An intent as an append makes it."""
    identity, stream = draw(st.binary(min_size=16, max_size=16)), draw(NAMES)
    follows = draw(st.integers(0, limits.MAX_VERSION - 1))
    first = draw(st.integers(1, follows + 1))
    made = [keys.segment(stream, first, identity), keys.page(stream, draw(st.integers(1, 60)), first, identity)]
    return Intent(identity, stream, follows, draw(st.integers(0, limits.MAX_VERSION)), made[: draw(st.integers(0, 2))])


@given(intents())
def test_round_trip(announced):
    """What was announced is read; and its key alone says all that a list has to say."""
    put = intent.put(announced)
    assert intent.decode(put.body, put.key) == announced
    assert intent.announced(put.key) == Announced(put.key, announced.id, announced.follows, announced.stream)


def test_its_key():
    """It needs no condition: no other send ever has this id. It sorts by age, since ids do."""
    put = intent.put(INTENT)
    assert put.key == f"inbox/{INTENT.id.hex()}-3-order-1"
    assert put.when == ALWAYS


def test_when_it_was_announced():
    """The first 48 bits of an id are milliseconds."""
    identity = (1_700_000_000_123).to_bytes(6, "big") + bytes(10)
    assert intent.announced(keys.intent(identity, 0, "s")).millis == 1_700_000_000_123


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".DS_Store",
        f"{ident(7).hex()}",
        f"{ident(7).hex()}-0",
        f"{ident(7).hex()}-0-",
        f"{ident(7).hex()}--s",
        f"{ident(7).hex()}-01-s",
        f"{ident(7).hex()}--1-s",
        f"{ident(7).hex()}-{10**16}-s",
        f"{ident(7).hex()}-0-a b",
        f"{ident(7).hex()}-0-~ff",
        f"{ident(7).hex()[:-1]}-0-s",
        f"{ident(7).hex()}0-0-s",
        f"{b'A'.hex() * 15}4A-0-s",
        f"{ident(7).hex()}-0-s\n",
    ],
)
def test_a_stranger_in_the_inbox(name):
    """What is no intent's key is reported, never skipped: a list that misses an intent would lose events."""
    with pytest.raises(CorruptData, match="no intent lies in the inbox") as caught:
        intent.announced(f"inbox/{name}")
    assert caught.value.key == f"inbox/{name}"


@pytest.mark.parametrize(
    "key",
    [
        "inbox/00",
        keys.intent(ident(8), 3, "order-1"),
        keys.intent(ident(7), 4, "order-1"),
        keys.intent(ident(7), 3, "order-2"),
    ],
)
def test_under_another_key(key):
    """An intent that was copied or renamed is not believed."""
    with pytest.raises(CorruptData, match="under another key") as caught:
        intent.decode(intent.put(INTENT).body, key)
    assert caught.value.key == key


@pytest.mark.parametrize(
    "name",
    [
        "",
        "store.json",
        keys.head("order-1"),
        keys.segment("order-1", 1, ident(8)),
        keys.segment("order-2", 1, ident(7)),
        keys.page("order-2", 1, 1, ident(7)),
        keys.segment("order-1", 1, ident(7)) + "0",
        keys.intent(ident(7), 3, "order-1"),
        f"segments/order-10/1-{ident(7).hex()}",
    ],
)
def test_objects_that_its_append_cannot_have_made(name):
    """They would be deleted when it is dead, so it may name none of another's."""
    forged = Intent(ident(7), "order-1", 3, MICROS, [*INTENT.objects, name])
    with pytest.raises(CorruptData, match="cannot have made"):
        intent.decode(intent.put(forged).body, intent.put(forged).key)


@pytest.mark.parametrize(
    "fields",
    [
        (bytes(15), "s", 0, MICROS, []),
        (bytes(17), "s", 0, MICROS, []),
        (ident(7), b"s", 0, MICROS, []),
        (ident(7), "s", -1, MICROS, []),
        (ident(7), "s", None, MICROS, []),
        (ident(7), "s", 0, 1.5, []),
        (ident(7), "s", 0, MICROS, [b"key"]),
        (ident(7), "s", 0, MICROS),
        (ident(7), "s", 0, MICROS, [], None),
        {"id": ident(7), "stream": "s", "follows": 0, "micros": MICROS, "objects": []},
    ],
    ids=repr,
)
def test_an_intent_that_no_writer_makes(fields):
    """A right checksum over wrong content is not enough."""
    packed: Any = codec.pack(fields)
    with pytest.raises(CorruptData, match="the intent cannot be decoded"):
        intent.decode(codec.seal("intent", packed), INTENT_KEY)


def test_an_intent_by_hand():
    """What the test above begins from."""
    packed: Any = codec.pack((ident(7), "s", 0, MICROS, []))
    assert intent.decode(codec.seal("intent", packed), INTENT_KEY) == Intent(ident(7), "s", 0, MICROS, [])


def test_every_damage_is_found():
    """Each changed byte, each truncation, each byte too many."""
    put = intent.put(INTENT)
    check_every_damage(put.body, put.key, lambda body: intent.decode(body, put.key))
