"""Hostile bytes: whatever a decoder is given, it answers, or raises CorruptData or UnsupportedFormat, in bounded memory.

Checksums keep accidents out, not enemies. So most of what is made here has right ones, and is wrong inside.
"""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headstream import limits
from headstream.errors import CorruptData, HeadstreamError, UnsupportedFormat
from headstream.model import Event
from headstream.protocol import checkpoint, codec, encoding, keys
from headstream.protocol.intent import Intent
from support.decoders import HOSTILE, TARGETS, Target, framed, pack, segment_of
from support.feeds import feed_stream
from support.script import MICROS, ident
from support.streams import TAIL, Stream
from support.trees import at, places, with_value

every_target = pytest.mark.parametrize("target", TARGETS, ids=[target.name for target in TARGETS])


def answer(target: Target, body: bytes) -> bytes | None:
    """What a decoder made of a body, encoded again; ``None`` if it refused it, as it should."""
    try:
        again = target.read(body)
    except (CorruptData, UnsupportedFormat) as error:
        check_complaint(target, error)
        return None
    assert target.read(again) == again, "what was decoded does not survive"
    return again


def check_complaint(target: Target, error: HeadstreamError) -> None:
    """One short line, which names the object."""
    assert "\n" not in str(error)
    assert len(str(error)) < 6000
    if target.key is not None and isinstance(error, CorruptData):
        assert error.key == target.key


@every_target
def test_a_real_body(target):
    """What all of this begins from: it is read, and written as it was."""
    assert target.read(target.body) == target.body


# --- bytes -------------------------------------------------------------------------------------------------------

BODIES = [target.body for target in TARGETS]


def flipped(draw: st.DrawFn, body: bytes) -> bytes:
    """One byte is another."""
    at = draw(st.integers(0, len(body) - 1))
    return body[:at] + bytes([draw(st.integers(0, 255))]) + body[at + 1 :]


def cut(draw: st.DrawFn, body: bytes) -> bytes:
    """A piece is missing."""
    start = draw(st.integers(0, len(body) - 1))
    return body[:start] + body[draw(st.integers(start, len(body))) :]


def inserted(draw: st.DrawFn, body: bytes) -> bytes:
    """There is something more."""
    at = draw(st.integers(0, len(body)))
    return body[:at] + draw(st.binary(max_size=9)) + body[at:]


def doubled(draw: st.DrawFn, body: bytes) -> bytes:
    """A piece is there twice."""
    start = draw(st.integers(0, len(body) - 1))
    end = draw(st.integers(start, len(body)))
    return body[:end] + body[start:]


def spliced(draw: st.DrawFn, body: bytes) -> bytes:
    """It begins as one body and ends as another."""
    other = draw(st.sampled_from(BODIES))
    return body[: draw(st.integers(0, len(body)))] + other[draw(st.integers(0, len(other))) :]


def counted(draw: st.DrawFn, body: bytes) -> bytes:
    """Four bytes are a length, small or huge."""
    at = draw(st.integers(0, len(body)))
    return body[:at] + draw(st.sampled_from([1, 2**16, 2**31, 2**32 - 1])).to_bytes(4, "big") + body[at + 4 :]


DAMAGES = [flipped, cut, inserted, doubled, spliced, counted]


@st.composite
def damaged(draw: st.DrawFn, body: bytes) -> bytes:
    """A body with up to three damages."""
    for damage in draw(st.lists(st.sampled_from(DAMAGES), min_size=1, max_size=3)):
        body = damage(draw, body) if body else draw(st.binary(max_size=9))
    return body


@every_target
@given(data=st.data())
def test_any_bytes(target, data):
    """Nothing but noise, as the body and under right checksums."""
    noise = data.draw(st.binary(max_size=120))
    answer(target, noise)
    answer(target, target.wrap(noise))


@every_target
@given(data=st.data())
def test_a_damaged_body(target, data):
    """Where a checksum covers it, no damage passes; nowhere does it crash."""
    answer(target, data.draw(damaged(target.body)))


@every_target
@given(data=st.data())
def test_damage_under_a_right_checksum(target, data):
    """The same, made by somebody who can count."""
    answer(target, target.wrap(data.draw(damaged(target.inner))))


@pytest.mark.parametrize("stream", [Stream(TAIL).grow(5, 1).times(3), feed_stream(3, TAIL)], ids=["stream", "feed"])
@given(data=st.data())
def test_a_damaged_chain(stream, data):
    """Changesets in another order, of another stream, twice, or broken: the chain that was, or corrupt."""
    other = Stream(TAIL).grow(5, number=8).grow(number=9)
    candidates = [*stream.frames, other.frames[1], framed(stream.frames[0][4:-1])]
    frames = data.draw(st.lists(st.sampled_from(candidates), max_size=5))
    if frames == stream.frames[: len(frames)]:
        assert len(codec.decode_chain(frames, 0, None, "k", stream=stream.name)) == len(frames)
    else:
        with pytest.raises(CorruptData) as caught:
            codec.decode_chain(frames, 0, None, "k", stream=stream.name)
        assert caught.value.key == "k"


def kind(value: object) -> str:
    """A name for a test."""
    return f"{type(value).__name__} {len(value) if hasattr(value, '__len__') else value}"


# --- structure ---------------------------------------------------------------------------------------------------

VALUES: st.SearchStrategy[Any] = (
    st.sampled_from([msgspec.Raw(value) for value in HOSTILE])
    | st.integers(-(2**63), 2**64 - 1)
    | st.binary(max_size=40)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
    | st.none()
    | st.booleans()
)


def twisted(draw: st.DrawFn, tree: Any) -> Any:
    """One thing is wrong: a value of another kind, one from another place, or a list with more, less or nothing in it."""
    path = draw(st.sampled_from(list(places(tree))))
    value = at(tree, path)
    choices = [VALUES, st.sampled_from(list(places(tree))).map(lambda other: at(tree, other))]
    if isinstance(value, list):
        choices += [
            st.permutations(value),
            st.just([*value, *value]),
            st.just(value[:-1]),
            st.just([]),
            st.just([value]),
        ]
        choices.append(VALUES.map(lambda more: [*value, more]))
    if isinstance(value, dict):
        choices += [st.just({}), VALUES.map(lambda more: {**value, "settled": more}), st.just({**value, "more": 1})]
    return with_value(tree, path, draw(st.one_of(choices)))


@st.composite
def wrong(draw: st.DrawFn, tree: Any) -> Any:
    """A tree with up to three things wrong."""
    for _ in range(draw(st.integers(1, 3))):
        tree = twisted(draw, tree)
    return tree


def is_canonical(packed: bytes) -> bool:
    """Whether it says what it says in the shortest way, and each thing once."""
    try:
        return pack(msgspec.msgpack.decode(packed)) == packed
    except (msgspec.DecodeError, ValueError, RecursionError):
        return False


PACKED = [target for target in TARGETS if target.wrap is not bytes]


@pytest.mark.parametrize("target", PACKED, ids=[target.name for target in PACKED])
@given(data=st.data())
def test_right_checksums_around_wrong_fields(target, data):
    """Refused; or it was a body that a writer could have made, and is made again byte for byte."""
    packed = pack(data.draw(wrong(msgspec.msgpack.decode(target.inner))))
    body = target.wrap(packed)
    again = answer(target, body)
    if again is not None and is_canonical(packed):
        assert again == body


@pytest.mark.parametrize("target", PACKED, ids=[target.name for target in PACKED])
def test_every_hostile_value_in_every_place(target):
    """No chance here: each value of the list above, in the place of each value of a real body."""
    tree = msgspec.msgpack.decode(target.inner)
    for path in places(tree):
        for value in HOSTILE:
            packed = pack(with_value(tree, path, msgspec.Raw(value)))
            again = answer(target, target.wrap(packed))
            assert again is None or again == target.wrap(packed) or not is_canonical(packed)


JSON_VALUES: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from(
        [10**30, -1, 0, 1, 1.5, 1e300, "", "1", [], {}, [[]], {"a": 1}, "01a20e2b-6b97-7abe-a0b4-1994ff175434"]
    )
)


@given(st.data())
def test_a_description_with_wrong_members(data):
    """``store.json`` is JSON, and as strict."""
    (target,) = [target for target in TARGETS if target.name == "store.json"]
    tree = msgspec.json.decode(target.inner)
    path = data.draw(st.sampled_from(list(places(tree))))
    answer(target, msgspec.json.encode(with_value(tree, path, data.draw(JSON_VALUES))))


NUMBERS = st.sampled_from([-(2**63), -1, 0, 1, 10**15, 10**16 - 1, 10**16, 2**64 - 1]) | st.integers(
    -(2**63), 2**64 - 1
)


@given(NUMBERS, NUMBERS, st.binary(max_size=20) | st.just(bytes(16)))
@example(1, 0, bytes(16))
@example(0, 0, bytes(16))
@example(10**16, 0, bytes(16))
@example(1, -1, bytes(16))
@example(1, 10**16, bytes(16))
@example(1, 0, bytes(15))
@example(1, 0, bytes(17))
def test_events_of_the_feed_are_in_bounds(version, micros, changeset):
    """Whatever is decoded has a version, an id and a time that Python can express."""
    event = ["s", version, "E", None, None, None, changeset, micros, 1]
    raw = framed(pack([ident(9), None, 0, MICROS, None, [event]]))
    if 1 <= version < 10**16 and 0 <= micros < 10**16 and len(changeset) == 16:
        (found,) = codec.decode_batch(raw, "k").events
        assert repr(found).startswith("FeedEvent(position=1, stream='s'")
    else:
        with pytest.raises(CorruptData, match="cannot be decoded"):
            codec.decode_batch(raw, "k")


def large(data: object) -> tuple[bytes, bytes]:
    """A changeset that is looked through before it is decoded, and one of the feed; each holds ``data`` among other data."""
    long = bytes(codec.LARGE)
    rows = [["E", part, None, None] for part in (long, "text", None, data)]
    published = [["s", number, *row, ident(1), MICROS, number] for number, row in enumerate(rows, 1)]
    start = [ident(9), None, 0, MICROS, None]
    return framed(pack([*start, rows])), framed(pack([*start, published]))


@pytest.mark.parametrize(
    "data", [None, "", "x" * 40, "x" * 300, "é" * 40_000, b"", bytes(300), bytes(70_000)], ids=kind
)
def test_a_large_changeset(data):
    """It is what it was, whatever kind of data is in it."""
    frame, batch = large(data)
    assert codec.decode_frame(frame, "k").events[-1][1] == data
    assert codec.decode_batch(batch, "k").events[-1].payload == data


@pytest.mark.parametrize(
    "data",
    [[], {}, [1] * 20, {"a": 1}, [1] * 70_000, msgspec.msgpack.Ext(5, b"x"), 1.5, True],
    ids=["no list", "no map", "a list", "a map", "a long list", "an extension", "a float", "a boolean"],
)
def test_a_large_changeset_with_other_data(data):
    """Neither text, bytes nor nothing: refused, as in a small one."""
    for raw, decode in zip(large(data), (codec.decode_frame, codec.decode_batch), strict=True):
        with pytest.raises(CorruptData, match="neither text, bytes nor nothing") as caught:
            decode(raw, "k")
        assert caught.value.key == "k"


def test_as_many_events_as_there_can_be():
    """One more than an append may have is not in any changeset."""
    event = Event("E")
    for count, fine in [(limits.MAX_EVENTS, True), (limits.MAX_EVENTS + 1, False)]:
        raw = codec.encode_frame(ident(9), None, 0, MICROS, key=None, rows=encoding.encode_events([event] * count))
        if fine:
            assert codec.decode_frame(raw, "k").version == count
        else:
            with pytest.raises(CorruptData):
                codec.decode_frame(raw, "k")


# --- memory ------------------------------------------------------------------------------------------------------


def peak_of(target: Target, body: bytes) -> int:
    """Bytes that a decoder took at most while it looked at a body."""
    gc.disable()  # it would look at a million small things again and again
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        try:
            target.read(body)
        except (CorruptData, UnsupportedFormat) as error:
            check_complaint(target, error)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
        gc.enable()


CLAIMS = [
    b"\xdd\xff\xff\xff\xff",
    b"\xdd\x01\x00\x00\x00\x90",
    b"\xdf\xff\xff\xff\xff",
    b"\xdf\x01\x00\x00\x00\xa1a\xc0",
    b"\xdb\xff\xff\xff\xff",
    b"\xc6\xff\xff\xff\xff",
    b"\xc9\xff\xff\xff\xff\x05",
]


@pytest.mark.parametrize("target", PACKED, ids=[target.name for target in PACKED])
def test_claims_cost_nothing(target):
    """An array, map, string or extension of four thousand million elements, anywhere: nothing is set aside for what is not there."""
    tree = msgspec.msgpack.decode(target.inner)
    for path in places(tree):
        for claim in CLAIMS:
            body = target.wrap(pack(with_value(tree, path, msgspec.Raw(claim))))
            assert peak_of(target, body) < limits.MIB // 4


@pytest.mark.parametrize("target", PACKED, ids=[target.name for target in PACKED])
@pytest.mark.parametrize("opening", [b"\x91", b"\x81\xa0", b"\x81"], ids=["arrays", "maps", "keys"])
def test_depth_is_bounded(target, opening):
    """A hundred thousand arrays or maps in each other, anywhere: refused, by no crash of the interpreter."""
    tree = msgspec.msgpack.decode(target.inner)
    for path in places(tree):
        body = target.wrap(pack(with_value(tree, path, msgspec.Raw(opening * 100_000))))
        assert answer(target, body) is None


FILLINGS = {
    "nil": b"\xc0",
    "empty arrays": b"\x90",
    "empty maps": b"\x80",
    "maps of one": b"\x81\x00\xc0",
    "extensions": b"\xd4\x05\x00",
    "short bytes": b"\xc4\x02ab",
    "short frames": b"\xc4\x04abcd",
    "short text": b"\xa2\xc3\xa9",
    "rows": pack(["", None, None, None]),
    "references": pack([1, bytes(16), 1]),
}
GROWING: list[tuple[str, tuple[Any, ...]]] = [
    ("head with an index", (7,)),
    ("head with an index", (7, 0)),
    ("head of the feed", (8, "settled")),
    ("segment of s, content", ()),
    ("segment of s, changeset", (5,)),
    ("segment of $feed, changeset", (5, 0, 3)),
    ("changeset", (5, 0)),
    ("changeset", (5, 0, 1)),
    ("page", (2,)),
    ("intent", (4,)),
]
"""Where a list, or anything, may be."""


def filled(filling: bytes, size: int) -> bytes:
    """An array of so many bytes."""
    count = size // len(filling)
    return b"\xdd" + count.to_bytes(4, "big") + filling * count


def check_growth(name: str, place: tuple[Any, ...], filling: str, scale: int) -> None:
    """What is just not too large to be decoded at once, and what is four times as large, take little memory."""
    (target,) = [target for target in TARGETS if target.name == name]
    tree = msgspec.msgpack.decode(target.inner)
    for size in (codec.LARGE - 1000, 4 * codec.LARGE):
        packed = msgspec.Raw(filled(FILLINGS[filling], size))
        assert peak_of(target, target.wrap(pack(with_value(tree, place, packed)))) < 5 * limits.MAX_OBJECT // scale


@pytest.mark.parametrize("filling", FILLINGS)
@pytest.mark.parametrize(("name", "place"), GROWING, ids=str)
def test_small_things_cannot_grow(monkeypatch, name, place, filling):
    """A byte of MessagePack can become a hundred of memory, but not many of them can. With bounds of an eighth, to be quick."""
    monkeypatch.setattr(codec, "LARGE", codec.LARGE // 8)
    monkeypatch.setattr(limits, "MAX_FIELDS", limits.MAX_FIELDS // 8)
    check_growth(name, place, filling, 8)


@pytest.mark.parametrize(("name", "place"), [("head of the feed", (8, "settled")), ("changeset", (5, 0, 1))], ids=str)
def test_the_real_bounds(name, place):
    """The worst of the test above, as large as it can be."""
    assert codec.LARGE == limits.MAX_FIELDS == limits.MIB
    check_growth(name, place, "empty maps", 1)


def test_the_segment_that_takes_most():
    """A writer can make it: nothing but the smallest events. Memory is bounded by what the reference announced, and so by ``MAX_SEGMENT``."""
    frames, size, version = [], 0, 0
    rows = pack([["", None, None, None]] * limits.MAX_EVENTS)
    while size < limits.MAX_SEGMENT // 8:
        raw = codec.encode_frame(ident(9), ident(9) if frames else None, version, 0, key=None, rows=rows)
        frames.append(raw)
        size += len(raw)
        version += limits.MAX_EVENTS
    body = segment_of(pack(frames), size=size, last=version)
    assert len(body) < size // 100
    (target,) = [target for target in TARGETS if target.name == "segment of s, content"]
    assert peak_of(target, body) < 25 * size


def test_long_names_are_not_remembered():
    """Escaped names are kept for later; one that no stream can have is refused before it is escaped."""
    keys.escape.cache_clear()
    name = "x" * (limits.MAX_STREAM_NAME + 1)
    for kind, fields in [
        ("intent", Intent(ident(7), name, 6, MICROS, [])),
        ("checkpoint", checkpoint.Fields(name, ident(5), 42, "host:1", MICROS)),
    ]:
        (target,) = [target for target in TARGETS if target.name == kind]
        assert answer(target, target.wrap(pack(fields))) is None
    assert keys.escape.cache_info().currsize == 0
