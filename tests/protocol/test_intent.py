"""Intents: what they say, and that nothing else passes for one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstream import limits
from headstream.errors import CorruptData
from headstream.protocol import codec, intent, keys
from headstream.protocol.intent import Intent
from headstream.protocol.ops import ALWAYS
from support.damage import check_every_damage
from support.script import MICROS, ident

INTENT = Intent(ident(7), "order-1", 3, MICROS, ["segments/order-1/0000000000000001-00"])

INTENT_KEY = keys.intent(ident(7))

INTENTS = st.builds(
    Intent,
    st.binary(min_size=16, max_size=16),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.none() | st.integers(0, limits.MAX_VERSION),
    st.integers(0, limits.MAX_VERSION),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]))),
)


@given(INTENTS)
def test_round_trip(announced):
    """What was announced is read."""
    put = intent.put(announced)
    assert intent.decode(put.body, put.key) == announced


def test_it_lies_under_its_changesets_id():
    """Its key needs no condition: no other send ever has this id."""
    put = intent.put(INTENT)
    assert put.key == f"inbox/{INTENT.id.hex()}"
    assert put.when == ALWAYS


def test_under_another_key():
    """An intent that was copied or renamed is not believed."""
    with pytest.raises(CorruptData) as caught:
        intent.decode(intent.put(INTENT).body, "inbox/00")
    assert caught.value.key == "inbox/00"


@pytest.mark.parametrize(
    "fields",
    [
        (bytes(15), "s", 0, MICROS, []),
        (bytes(17), "s", 0, MICROS, []),
        (ident(7), b"s", 0, MICROS, []),
        (ident(7), "s", -1, MICROS, []),
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
