"""Bodies: envelopes, frames and events survive the round trip, and nothing that was damaged passes."""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any
from uuid import UUID
from zlib import crc32

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headstream import limits
from headstream.errors import CorruptData, InvalidInput, UnsupportedFormat
from headstream.model import Event, FeedEvent
from headstream.protocol import codec, encoding
from headstream.protocol.codec import NO_DIGEST
from support import shown
from support.damage import check_every_damage
from support.script import MICROS, ident
from support.streams import Stream

KEY = "heads/s"
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
EVENTS = st.builds(
    Event,
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20),
    JSON | st.binary(max_size=40),
    st.dictionaries(TEXT, JSON, max_size=3),
    st.none() | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20) | st.uuids(),
)


class Fields(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """What the envelopes of these tests hold."""

    number: int
    text: str


FIELDS = msgspec.msgpack.Decoder(Fields)


def frame_of(*events: Event, key: str | None = None, follows: int = 0, parent: bytes | None = None) -> bytes:
    """A frame with these events."""
    return codec.encode_frame(ident(9), parent, follows, MICROS, key=key, rows=encoding.encode_events(events))


def sealed_frame(*fields: object) -> bytes:
    """A frame whose checksum is right, whatever is in it."""
    packed = msgspec.msgpack.encode(fields)
    return crc32(packed).to_bytes(4, "big") + packed


# --- events ------------------------------------------------------------------------------------------------------


@given(st.lists(EVENTS, min_size=1, max_size=5), st.none() | TEXT, st.integers(0, 10**15))
def test_events_survive(events, key, follows):
    """What was appended is read: JSON as JSON, bytes as bytes, metadata, ids, key and place."""
    frame = codec.decode_frame(frame_of(*events, key=key, follows=follows, parent=ident(8)), KEY)
    assert (frame.id, frame.parent, frame.follows, frame.micros, frame.key) == (
        ident(9),
        ident(8),
        follows,
        MICROS,
        key,
    )
    assert frame.version == follows + len(events)
    read = codec.recorded("s", [frame], follows + 1, frame.version)
    assert [event.version for event in read] == list(range(follows + 1, frame.version + 1))
    for event, recorded in zip(events, read, strict=True):
        assert (recorded.stream, recorded.type, recorded.changeset, recorded.micros) == (
            "s",
            event.type,
            ident(9),
            MICROS,
        )
        assert recorded.data == event.data
        assert type(recorded.data) is type(event.data)
        assert recorded.metadata == event.metadata
        assert recorded.id == (None if event.id is None else str(event.id))


class Colour(enum.Enum):
    """An enumeration, as data."""

    RED = "red"


@dataclasses.dataclass
class Placed:
    """A dataclass, as data."""

    number: int
    at: date


class Modelled:
    """What offers ``model_dump``, as pydantic's models do."""

    def model_dump(self, *, mode: str) -> dict[str, str]:
        return {"mode": mode}


@pytest.mark.parametrize(
    ("data", "stored"),
    [
        (None, None),
        (b"\0raw", b"\0raw"),
        (bytearray(b"raw"), b"raw"),
        (memoryview(b"raw"), b"raw"),
        ({"a": None}, '{"a":null}'),
        ([None], "[null]"),
        ("text", '"text"'),
        (Placed(1, date(2026, 2, 3)), '{"number":1,"at":"2026-02-03"}'),
        (Modelled(), '{"mode":"json"}'),
        ({"nested": [Modelled()], "none": None}, '{"nested":[{"mode":"json"}],"none":null}'),
        (Colour.RED, '"red"'),
        (datetime(2026, 2, 3, tzinfo=UTC), '"2026-02-03T00:00:00Z"'),
        (UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (Decimal("1.10"), '"1.10"'),
        (2**70, "1180591620717411303424"),
        ({1: "one"}, '{"1":"one"}'),
        ("null", '"null"'),
    ],
    ids=shown,
)
def test_how_data_is_stored(data, stored):
    """JSON as text, bytes exactly, nothing as nothing."""
    frame = codec.decode_frame(frame_of(Event("E", data)), KEY)
    assert frame.events[0][1] == stored


@pytest.mark.parametrize("metadata", [{"a": [1, None]}, MappingProxyType({"a": [1, None]})], ids=["dict", "proxy"])
def test_any_mapping_is_metadata(metadata):
    """Metadata is a mapping, not only a dictionary; an empty one takes no room."""
    frame = codec.decode_frame(frame_of(Event("E", metadata=metadata), Event("E", metadata={})), KEY)
    assert [row[2] for row in frame.events] == ['{"a":[1,null]}', None]


class Opaque:
    """What nobody can encode."""

    def __repr__(self) -> str:
        return "Opaque"


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (math.nan, "NaN or an infinity"),
        ({"a": [1, {"b": math.inf}]}, "NaN or an infinity"),
        ((1, -math.inf), "NaN or an infinity"),
        ({"set": {math.nan}}, "NaN or an infinity"),
        (Opaque(), "Opaque is none of the types"),
        ({"deep": [Opaque()], "none": None}, "Opaque is none of the types"),
        ("\ud800", "surrogates"),
        ({(1, 2): 3}, "tuple is none of the types"),
    ],
    ids=shown,
)
def test_what_json_cannot_say_is_refused(data, complaint):
    """Never stored as something else; the message names the event, by place and type."""
    with pytest.raises(InvalidInput, match=complaint) as caught:
        encoding.encode_events([Event("Fine"), Event("Odd", data)])
    assert "data of event 1 ('Odd')" in str(caught.value)
    with pytest.raises(InvalidInput, match="metadata of event 0"):
        encoding.encode_events([Event("Odd", metadata={"a": data})])


@pytest.mark.parametrize("value", [None, {"a": None, "b": "null"}, [1.5, "NaN"]], ids=shown)
def test_one_value_as_json(value):
    """Such as the state of a decider; ``null`` is nothing bad."""
    assert msgspec.json.decode(encoding.encode_json(value)) == value


def test_one_value_that_json_cannot_say():
    """It is refused as in an event."""
    with pytest.raises(InvalidInput, match="NaN or an infinity"):
        encoding.encode_json({"a": [math.nan]})


def test_data_that_holds_itself_is_refused():
    """Recursion without end is an input error, no crash."""
    data: list[Any] = []
    data.append(data)
    with pytest.raises(InvalidInput, match="recursion"):
        encoding.encode_events([Event("E", data)])


def test_an_error_shows_no_data():
    """The complaint about one event does not quote what is in it."""
    with pytest.raises(InvalidInput) as caught:
        encoding.encode_events([Event("E", {"card": "4111-1111", "bad": Opaque()})])
    assert "4111" not in str(caught.value)


def test_the_largest_append(monkeypatch):
    """Exactly the bound is taken, one byte more is not."""
    size = len(encoding.encode_events([Event("E", b"x" * 1000)]))
    monkeypatch.setattr(limits, "MAX_CHANGESET", size)
    assert len(encoding.encode_events([Event("E", b"x" * 1000)])) == size
    with pytest.raises(InvalidInput, match=f"have {size + 1} bytes encoded; at most {size} "):
        encoding.encode_events([Event("E", b"x" * 1001)])


@given(st.lists(st.integers(1, 4), min_size=1, max_size=6), st.data())
def test_a_part_of_a_chain(sizes, data):
    """Any range of versions is cut out of whole changesets."""
    stream = Stream()
    for size in sizes:
        stream.grow(*[1] * size)
    first = data.draw(st.integers(-1, stream.version + 2))
    last = data.draw(st.integers(-1, stream.version + 2))
    part = codec.recorded("s", stream.chain(), first, last)
    assert part == [event for event in stream.events() if first <= event.version <= last]


# --- frames ------------------------------------------------------------------------------------------------------


def test_every_damage_to_a_frame_is_found():
    """Each changed byte, each truncation, each byte too many."""
    frame = frame_of(Event("Placed", {"total": 7}, {"by": "me"}, "id-1"), Event("Raw", b"\0\1"), key="pay-17")
    check_every_damage_to_a_frame(frame)


def check_every_damage_to_a_frame(frame: bytes) -> None:
    """A frame has no format number of its own."""
    check_every_damage(frame, KEY, lambda body: codec.decode_frame(body, KEY), every=5)


ROW = ["E", None, None, None]
NUMBER = MICROS


@pytest.mark.parametrize(
    "fields",
    [
        (),
        (ident(1), None, 0, NUMBER, None),
        (ident(1), None, 0, NUMBER, None, [ROW], "more"),
        (b"short", None, 0, NUMBER, None, [ROW]),
        (bytes(15), None, 0, NUMBER, None, [ROW]),
        (bytes(17), None, 0, NUMBER, None, [ROW]),
        (None, None, 0, NUMBER, None, [ROW]),
        (ident(1), bytes(15), 0, NUMBER, None, [ROW]),
        (ident(1), bytes(17), 0, NUMBER, None, [ROW]),
        (ident(1), None, -1, NUMBER, None, [ROW]),
        (ident(1), None, 10**16, NUMBER, None, [ROW]),
        (ident(1), None, 0, -1, None, [ROW]),
        (ident(1), None, 0, NUMBER, 7, [ROW]),
        (ident(1), None, 0, NUMBER, None, []),
        (ident(1), None, 0, NUMBER, None, [["E", None, None]]),
        (ident(1), None, 0, NUMBER, None, [[*ROW, None]]),
        (ident(1), None, 0, NUMBER, None, [[None, None, None, None]]),
        (ident(1), None, 0, NUMBER, None, [["E", 7, None, None]]),
        (ident(1), None, 0, NUMBER, None, [["E", {}, None, None]]),
        (ident(1), None, 0, NUMBER, None, [["E", [], None, None]]),
        (ident(1), None, 0, NUMBER, None, [["E", True, None, None]]),
        (ident(1), None, 0, NUMBER, None, [["E", 1.5, None, None]]),
        (ident(1), None, 0, NUMBER, None, [["E", datetime(2026, 1, 1, tzinfo=UTC), None, None]]),
        (ident(1), None, 0, NUMBER, None, [["E", msgspec.msgpack.Ext(1, b""), None, None]]),
        (ident(1), None, 0, NUMBER, None, [["E", None, b"", None]]),
        (ident(1), None, 0, NUMBER, None, [["E", None, None, 7]]),
    ],
    ids=shown,
)
def test_a_frame_that_no_writer_makes(fields):
    """A right checksum over wrong content is not enough."""
    with pytest.raises(CorruptData) as caught:
        codec.decode_frame(sealed_frame(*fields), KEY)
    assert caught.value.key == KEY


@given(st.binary(max_size=60))
@example(b"")
@example(b"\x96")
@example(b"\xdd\xff\xff\xff\xff")
@example(b"\x91" * 100_000)
@example(b"\x91\x81\x80\x01")
@example(b"\x91\xa1\xff")
@example(b"\x96\xc4\x10" + bytes(16) + b"\xc0\x00\x00\xc0\xdd\xff\xff\xff\xff")
@example(b"\x96\xc4\x10" + bytes(16) + b"\xc0\x00\x00\xc0\x91\x94\xa1\xff\xc0\xc0\xc0")
def test_hostile_frames(packed):
    """Whatever lies under a right checksum: a changeset or :class:`CorruptData`, and nothing else."""
    with suppress(CorruptData):
        codec.decode_frame(crc32(packed).to_bytes(4, "big") + packed, KEY)


def test_a_chain():
    """Consecutive frames, from where they should begin."""
    frames = Stream().times(3).grow(1, 1).frames
    chain = codec.decode_chain(frames[1:], 1, ident(1), KEY, stream="s")
    assert [(frame.id, frame.parent, frame.follows, frame.version) for frame in chain] == [
        (ident(2), ident(1), 1, 2),
        (ident(3), ident(2), 2, 3),
        (ident(4), ident(3), 3, 5),
    ]


@pytest.mark.parametrize("order", [(0, 2), (1, 0, 2), (0, 1, 1), (1, 2)], ids=shown)
def test_a_chain_with_a_frame_lost_swapped_or_doubled(order):
    """Each frame names the version and the changeset that it follows."""
    frames = Stream().times(3).frames
    with pytest.raises(CorruptData, match="does not follow version"):
        codec.decode_chain([frames[place] for place in order], 0, None, KEY, stream="s")


def test_a_chain_of_two_histories():
    """The right version after the wrong changeset is refused, too."""
    mine, yours = Stream().times(2), Stream().grow(number=8).grow(number=9)
    with pytest.raises(CorruptData, match="does not follow version 1"):
        codec.decode_chain([mine.frames[0], yours.frames[1]], 0, None, KEY, stream="s")


# --- the feed ----------------------------------------------------------------------------------------------------

PUBLISHED = FeedEvent("order-1", 3, "Placed", '{"total":7}', '{"by":"me"}', "id-1", ident(7), MICROS, 5)


def batch_of(*events: object, follows: int = 4) -> bytes:
    """A frame of the feed."""
    rows = msgspec.msgpack.encode(events)
    return codec.encode_frame(ident(9), ident(8), follows, MICROS, key=None, rows=rows)


@given(st.lists(EVENTS, min_size=1, max_size=5), st.integers(0, 10**12), st.integers(0, 10**12))
def test_published_events_survive(events, follows, before):
    """What was appended to a stream is in the feed, with its stream, its version and its position."""
    frame = codec.decode_frame(frame_of(*events, follows=follows, parent=ident(8)), KEY)
    published = frame.published("order-1", before + 1)
    rows = codec.encode_published(published)
    raw = codec.encode_frame(ident(10), ident(8), before, MICROS, key=None, rows=rows)
    batch = codec.decode_batch(raw, KEY)
    assert (batch.id, batch.parent, batch.follows, batch.version) == (ident(10), ident(8), before, before + len(events))
    assert batch.events == codec.recorded("order-1", [frame], follows + 1, frame.version)
    assert [event.position for event in batch.events] == list(range(before + 1, batch.version + 1))
    assert [event.micros for event in batch.events] == [MICROS] * len(events)


@given(st.integers(0, 9), st.integers(0, 9))
def test_a_part_of_a_batch(first, last):
    """Any range of positions."""
    events = [msgspec.structs.replace(PUBLISHED, position=position) for position in range(5, 8)]
    chain = codec.decode_chain([batch_of(*events)], 4, ident(8), KEY, stream="$feed")
    part = codec.recorded("$feed", chain, first, last)
    assert [event.position for event in part] == [number for number in range(5, 8) if first <= number <= last]


def test_only_the_feed_holds_published_events():
    """In another stream they are no changeset; and the feed has nothing else."""
    with pytest.raises(CorruptData):
        codec.decode_chain([batch_of(PUBLISHED)], 4, ident(8), KEY, stream="order-1")
    with pytest.raises(CorruptData):
        codec.decode_chain([frame_of(Event("E"), follows=4, parent=ident(8))], 4, ident(8), KEY, stream="$feed")


def test_every_damage_to_a_batch_is_found():
    """Each changed byte, each truncation, each byte too many."""
    raw = batch_of(PUBLISHED, msgspec.structs.replace(PUBLISHED, payload=b"raw", position=6))
    check_every_damage(raw, KEY, lambda body: codec.decode_batch(body, KEY), every=5)


ROW_OF_FEED = list(msgspec.structs.astuple(PUBLISHED))


def test_a_batch_by_hand():
    """What the test below begins from: an event of the feed is stored as an array of its fields."""
    assert codec.decode_batch(batch_of(ROW_OF_FEED), KEY).events == [PUBLISHED]
    assert ["order-1", 3, "Placed", '{"total":7}', '{"by":"me"}', "id-1", ident(7), MICROS, 5] == ROW_OF_FEED


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [ROW_OF_FEED[:-1]],
        [[*ROW_OF_FEED, None]],
        [[*ROW_OF_FEED[:-1], 4]],
        [[*ROW_OF_FEED[:-1], 6]],
        [ROW_OF_FEED, ROW_OF_FEED],
        [ROW_OF_FEED, [*ROW_OF_FEED[:-1], 7]],
        [[*ROW_OF_FEED[:3], 7, *ROW_OF_FEED[4:]]],
        [[*ROW_OF_FEED[:3], {}, *ROW_OF_FEED[4:]]],
        [[*ROW_OF_FEED[:3], True, *ROW_OF_FEED[4:]]],
        [[None, *ROW_OF_FEED[1:]]],
        [[ROW_OF_FEED[0], "3", *ROW_OF_FEED[2:]]],
        [[*ROW_OF_FEED[:6], "id", *ROW_OF_FEED[7:]]],
        [[*ROW_OF_FEED[:7], None, ROW_OF_FEED[8]]],
        [{"stream": "s"}],
        [[ROW_OF_FEED[0], 0, *ROW_OF_FEED[2:]]],
        [[ROW_OF_FEED[0], 10**16, *ROW_OF_FEED[2:]]],
        [[*ROW_OF_FEED[:6], bytes(15), *ROW_OF_FEED[7:]]],
        [[*ROW_OF_FEED[:7], -1, ROW_OF_FEED[8]]],
        [[*ROW_OF_FEED[:7], 10**16, ROW_OF_FEED[8]]],
    ],
    ids=shown,
)
def test_a_batch_that_no_writer_makes(rows):
    """A right checksum over wrong content is not enough; positions have no gap."""
    with pytest.raises(CorruptData) as caught:
        codec.decode_batch(batch_of(*rows), KEY)
    assert caught.value.key == KEY


@given(st.binary(max_size=60))
@example(b"")
@example(b"\x91" * 100_000)
@example(b"\x96\xc4\x10" + bytes(16) + b"\xc0\x00\x00\xc0\x91\x99\xa1\xff\x01\xa1E\xc0\xc0\xc0\xc4\x00\x00\x01")
def test_hostile_batches(packed):
    """Whatever lies under a right checksum: a changeset or :class:`CorruptData`, and nothing else."""
    with suppress(CorruptData):
        codec.decode_batch(crc32(packed).to_bytes(4, "big") + packed, KEY)


# --- digests -----------------------------------------------------------------------------------------------------


def test_digests_chain():
    """The digest of a stream is that of its frames one after the other, however they are grouped."""
    frames = Stream().times(3).frames
    whole = codec.chain_digest(NO_DIGEST, frames)
    assert whole == codec.chain_digest(codec.chain_digest(NO_DIGEST, frames[:1]), frames[1:])
    assert whole != codec.chain_digest(NO_DIGEST, [frames[1], frames[0], frames[2]])
    assert codec.chain_digest(NO_DIGEST, []) == bytes(32)


# --- envelopes ---------------------------------------------------------------------------------------------------


def unseal(body: bytes, extra: int = 0) -> tuple[Fields, list[Any]]:
    """The fields of an envelope of these tests."""
    return codec.unseal("kind", body, KEY, FIELDS, extra)


@given(st.integers(-(2**63), 2**63 - 1), TEXT, st.binary() | st.lists(st.binary(min_size=4, max_size=20), max_size=3))
def test_an_envelope_survives(number, text, more):
    """The fields, and what follows them."""
    fields, rest = unseal(codec.seal("kind", Fields(number, text), more), extra=1)
    assert (fields.number, fields.text, rest) == (number, text, [more])
    assert unseal(codec.seal("kind", Fields(number, text))) == (fields, [])


@pytest.mark.parametrize("number", range(40))
def test_every_damage_to_an_envelope_is_found(number):
    """Also where MessagePack could say the same in another way; the fields vary, and with them the checksum."""
    body = codec.seal("kind", Fields(number, "text"), b"rest")
    check_every_damage(body, KEY, lambda changed: unseal(changed, extra=1), every=1 if number < 2 else 16)


def test_the_checksum_covers_bytes_after_the_fields():
    """Compressed frames could be damaged where their own checksum does not look."""
    body = codec.seal("kind", Fields(1, "a"), b"rest")
    with pytest.raises(CorruptData, match="checksum of the kind is wrong"):
        unseal(body.replace(b"rest", b"REST"), extra=1)


def pack(*elements: object) -> bytes:
    """An envelope with these elements."""
    return msgspec.msgpack.encode(elements)


PACKED = msgspec.msgpack.encode(Fields(1, "a"))
CHECKSUM = crc32(PACKED).to_bytes(4, "big")


def test_an_envelope_by_hand():
    """What the following tests begin from."""
    assert unseal(pack(1, "kind", CHECKSUM, PACKED)) == (Fields(1, "a"), [])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x94",
        b'{"a": 1}',
        b"<html>",
        bytes(100),
        b"\x94\x80",
        b"\x94\x00",
        pack(),
        pack(0, "kind", CHECKSUM, PACKED),
        pack(-1, "kind", CHECKSUM, PACKED),
        pack(128, "kind", CHECKSUM, PACKED),
        pack("1", "kind", CHECKSUM, PACKED),
        pack(1),
        pack(1, "kind", CHECKSUM),
        pack(1, "kind", CHECKSUM, PACKED, "more"),
        pack(1, "kin", CHECKSUM, PACKED),
        pack(1, b"kind", CHECKSUM, PACKED),
        pack(1, ["kind"], CHECKSUM, PACKED),
        pack(1, "kind", CHECKSUM, "text"),
        pack(1, "kind", CHECKSUM, None),
        pack(1, "kind", int.from_bytes(CHECKSUM, "big"), PACKED),
        pack(1, "kind", None, PACKED),
        pack(1, "kind", CHECKSUM[::-1], PACKED),
        pack(1, "kind", crc32(b"\xc1").to_bytes(4, "big"), b"\xc1"),
        pack(1, "kind", crc32(b"\x92\xa1\xff\xa1\xff").to_bytes(4, "big"), b"\x92\xa1\xff\xa1\xff"),
        pack(1, "kind", crc32(b"\x91" * 100_000).to_bytes(4, "big"), b"\x91" * 100_000),
        b"\x94\x01" + b"\x91" * 100_000,
        b"\x94\x01\xdd\xff\xff\xff\xff",
        b"\x94\x01\xdf\xff\xff\xff\xff",
        b"\x94\x01\xc6\xff\xff\xff\xff",
        b"\x94\x01\xa1\xff\xc0\xc0",
        b"\x94\x01\x81\x80\xc0\xc0\xc0",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_no_envelope(body):
    """Whatever else lies there is corrupt, and said to be, with its key."""
    with pytest.raises(CorruptData) as caught:
        unseal(body)
    assert caught.value.key == KEY
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("number", [2, 77, 127])
@pytest.mark.parametrize("rest", [b"", b"\xc1 whatever comes then"])
def test_a_newer_format(number, rest):
    """Only the first two bytes are looked at, so that a newer format may change all the rest."""
    with pytest.raises(UnsupportedFormat, match="upgrade") as caught:
        unseal(bytes([0x93, number]) + rest)
    assert caught.value.details == {"key": KEY, "format": number, "known": codec.FORMAT}


@given(st.binary(max_size=80))
def test_hostile_envelopes(body):
    """Any bytes at all: :class:`CorruptData` or :class:`UnsupportedFormat`, and nothing else."""
    for candidate in (body, b"\x94\x01" + body, b"\x94\x01\xa4kind" + body):
        with pytest.raises((CorruptData, UnsupportedFormat)):
            unseal(candidate)


def test_mappings_of_many_kinds_are_looked_into():
    """NaN hides in no container."""
    nested: Mapping[str, Any] = {"a": ({"b": frozenset({math.inf})},)}
    with pytest.raises(InvalidInput, match="NaN"):
        encoding.encode_events([Event("E", nested)])


def test_an_object_larger_than_any_that_is_written(monkeypatch):
    """It is refused before it is decoded; one that just fits is not."""
    monkeypatch.setattr(limits, "MAX_OBJECT", 100)
    codec.check_format(b"\x94\x01" + bytes(98), "k")
    with pytest.raises(CorruptData, match="101 bytes") as raised:
        codec.check_format(b"\x94\x01" + bytes(99), "k")
    assert raised.value.key == "k"
