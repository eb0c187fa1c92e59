"""Tails: how much of them is compressed, when, and what a decoder refuses."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from headstream import limits
from headstream.errors import CorruptData, UnsupportedFormat
from headstream.model import Settings
from headstream.protocol import codec, head, tail
from headstream.protocol.head import Change, Known, State, nothing
from headstream.protocol.read import tail_chain
from headstream.protocol.snapshot import Kept
from support.damage import check_every_damage
from support.script import ident
from support.streams import Stream

KEY = "heads/s"
WIDE = Settings(tail_bytes=64 * 1024, feed=False)


def stored(state: State) -> tuple[dict[str, Any], list[bytes]]:
    """The extensions of a head's body and the frames that lie beside them, as any decoder of MessagePack sees them."""
    _, _, _, fields, frames = msgspec.msgpack.decode(head.encode(state))
    return msgspec.msgpack.decode(fields)[8], frames


def follow(state: State, number: int, frame: bytes, settings: Settings = WIDE) -> State:
    """The state after one more frame."""
    return head.follow(state, Change(ident(number), frame, 1), settings)[0]


def alike(size: int) -> bytes:
    """A frame that compresses well."""
    return b"f" * size


def different(size: int, seed: int) -> bytes:
    """A frame that does not compress."""
    return random.Random(seed).randbytes(size)


# --- when it is compressed ---------------------------------------------------------------------------------------


def test_a_short_tail_stays_as_it_is():
    """Below the limit nothing is compressed; at it, all is."""
    state = follow(nothing("s").state, 1, alike(limits.TAIL_RAW - 1))
    assert stored(state) == ({}, [alike(limits.TAIL_RAW - 1)])
    state = follow(state, 2, alike(1))
    extensions, frames = stored(state)
    assert (list(extensions), frames) == (["packed_tail"], [])


def test_what_comes_after_stays_as_it_is_until_there_is_enough_of_it():
    """A quarter of what is compressed, and at least the limit."""
    size = 8 * limits.TAIL_RAW
    state = follow(nothing("s").state, 1, alike(size))
    few = alike(size // limits.TAIL_RATIO - 1)
    later = follow(state, 2, few)
    assert stored(later) == (stored(state)[0], [few]), "what is compressed is copied"
    all_of_it = follow(later, 3, alike(1))
    assert stored(all_of_it)[1] == []
    assert all_of_it.tail == (alike(size), few, alike(1))


def test_what_does_not_compress_stays_as_it_is(monkeypatch):
    """And is not tried again with each append."""
    tried = []
    compress = tail._compress
    monkeypatch.setattr(tail, "_compress", lambda frames: tried.append(len(frames)) or compress(frames))
    state = nothing("s").state
    for number in range(1, 101):
        state = follow(state, number, different(200, number))
    assert stored(state) == ({}, list(state.tail))
    assert len(tried) < 20
    for number in range(101, 201):
        state = follow(state, number, alike(200))
    assert list(stored(state)[0]) == ["packed_tail"], "what saves a third now is compressed after all"


def test_all_that_is_compressed_for_a_tail_is_a_small_multiple_of_it(monkeypatch):
    """However long it grows, by however small steps."""
    work = [0]
    compress = tail._compress

    def counted(frames: tuple[bytes, ...]) -> bytes:
        work[0] += sum(map(len, frames))
        packed: bytes = compress(frames)
        return packed

    monkeypatch.setattr(tail, "_compress", counted)
    state = nothing("s").state
    number = 0
    while state.tail_size + 100 <= WIDE.tail_bytes:
        number += 1
        state = follow(state, number, alike(100))
    assert len(state.tail) == number > 600
    assert work[0] < 6 * WIDE.tail_bytes


def test_a_tail_that_was_sealed_begins_anew():
    """What was compressed goes with the frames that it was made of."""
    small = Settings(tail_bytes=2 * limits.TAIL_RAW, feed=False)
    state = follow(nothing("s").state, 1, alike(limits.TAIL_RAW), small)
    assert stored(state)[1] == []
    state = follow(state, 2, alike(limits.TAIL_RAW + 1), small)
    assert state.tail == (alike(limits.TAIL_RAW + 1),)
    assert msgspec.msgpack.decode(zstandard.decompress(stored(state)[0]["packed_tail"])) == list(state.tail)
    state = follow(state, 3, alike(small.tail_bytes + 1), small)
    assert (state.tail, stored(state)) == ((), ({}, []))


# --- what it does not change --------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 900) | st.integers(1, 30), min_size=1, max_size=60), st.integers(0, 60))
def test_a_tail_is_its_frames(sizes, forgotten):
    """A client that read the head anywhere on the way goes on as the one that wrote it all; the frames are the same, byte for byte."""
    stream = Stream(Settings(tail_bytes=4096, fan_out=4, feed=False))
    state = nothing("s").state
    for number, size in enumerate(sizes, 1):
        stream.grow(size)
        state = follow(state, number, stream.frames[-1], stream.settings)
        if number == forgotten:
            state = head.decode(head.encode(state), KEY, "s")
        assert head.decode(head.encode(state), KEY, "s") == state == stream.known.state
    chain = tail_chain(Known(state, "e"))
    assert [frame.version for frame in chain] == stream.ends[len(stream.ends) - len(state.tail) :]


def test_the_fence_and_a_kept_state_leave_it_alone():
    """They are of the head, not of the tail."""
    stream = Stream().times(30)
    before = stored(stream.known.state)
    assert stored(head.fenced(stream.known.state)) == before
    stream.grow(kept=Kept("d", 1, b"state"))
    extensions, _ = stored(stream.known.state)
    assert sorted(extensions) == ["packed_tail", "snapshots"]
    read = head.decode(head.encode(stream.known.state), KEY, "s")
    assert [kept.state for kept in read.snapshots] == [b"state"]
    assert list(read.fields.extensions) == ["snapshots"]


def test_it_is_smaller():
    """JSON and ids that repeat: a third of the size, at least."""
    stream = Stream()
    for _ in range(100):
        stream.grow(150)
    assert len(head.encode(stream.known.state)) < stream.known.state.tail_size // 3


# --- decoding it -------------------------------------------------------------------------------------------------


def test_every_damage_is_found():
    """Each changed byte, each truncation, each byte too many."""

    def read_all(body: bytes) -> State:
        state = head.decode(body, KEY, "s")
        tail_chain(Known(state, "e"))
        return state

    stream = Stream()
    for _ in range(10):
        stream.grow(100)
    assert "packed_tail" in stored(stream.known.state)[0]
    check_every_damage(head.encode(stream.known.state), KEY, read_all, every=16)


def forged(packed: object, stream: Stream | None = None) -> bytes:
    """The head of a stream with this in place of its compressed changesets, and the right checksum."""
    state = (stream or Stream().times(30)).known.state
    fields = msgspec.structs.replace(state.fields, extensions={"packed_tail": packed})
    return head.encode(State(fields, (), 0))


def compressed(value: object, **options: Any) -> bytes:
    """A value as zstd."""
    return zstandard.ZstdCompressor(**options).compress(msgspec.msgpack.encode(value))


def test_the_forger_can_forge():
    """Without a lie what he makes is a head."""
    stream = Stream().times(30)
    assert head.decode(forged(compressed(stream.frames), stream), KEY, "s") == stream.known.state


@pytest.mark.parametrize(
    "packed",
    [
        b"",
        b"no zstd",
        compressed([]),
        compressed({}),
        compressed(["text"]),
        compressed([b"abc"]),
        compressed([b"long enough"])[:-1],
        compressed([b"long enough"]) + b"more",
        compressed([b"long enough"], write_content_size=False),
        compressed([b"x" * 2 * limits.MAX_TAIL]),
    ],
    ids=["empty", "no zstd", "no frames", "no list", "text", "too short", "cut", "trailing", "no size", "too large"],
)
def test_what_nobody_writes(packed):
    """It is corrupt, and the error says where."""
    with pytest.raises(CorruptData, match="compressed tail of the head") as caught:
        head.decode(forged(packed), KEY, "s")
    assert caught.value.key == KEY


@pytest.mark.parametrize("packed", [None, "dGV4dA==", 7, [b"frame"], {"a": 1}])
def test_another_type(packed):
    """Of an extension that is known, what it holds is checked."""
    with pytest.raises(CorruptData, match="extensions"):
        head.decode(forged(packed), KEY, "s")


def test_an_unknown_feature_beside_it():
    """It is refused first: who knows what the tail means with it."""
    state = Stream().times(30).known.state
    fields = msgspec.structs.replace(state.fields, extensions={"packed_tail": b"no zstd", "rotated": 1})
    with pytest.raises(UnsupportedFormat):
        head.decode(codec.seal("head", fields, []), KEY, "s")


def test_there_is_room_for_it_in_a_head():
    """Beside the largest index, all that the feed settles, and kept states: whatever was chosen, no head is written that nobody can read."""
    levels = next(number for number in range(1, 20) if limits.MAX_FAN_OUT**number > limits.MAX_VERSION)
    index = levels * (limits.MAX_FAN_OUT * 37 + 5)
    states = limits.SNAPSHOT_INLINE + limits.MAX_SNAPSHOTS * (limits.MAX_DECIDER_NAME * 4 + 60)
    fields = limits.MAX_STREAM_NAME + 300
    assert limits.MAX_TAIL * 2 // 3 + index + max(18 * limits.FEED_BATCH_INTENTS, states) + fields < limits.MAX_FIELDS
