"""The head of a stream, built again from its segments, from what can be read of it, and from the feed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from headstream import limits
from headstream.model import FeedEvent, Settings
from headstream.protocol import codec, head, keys, rebuild
from headstream.protocol.codec import Frame
from headstream.protocol.head import State
from headstream.protocol.lineage import Lineage
from headstream.protocol.lineage import read as read_segment
from headstream.protocol.ops import ABSENT, ALWAYS, Matches, Stamped
from headstream.protocol.read import load_head
from headstream.protocol.rebuild import Base, Rebuilt, Wreck
from headstream.protocol.snapshot import Kept
from headstream.protocol.verify import START, Link, Part, begin, step
from support.feeds import feed_stream
from support.script import MICROS, ident
from support.shelf import Shelf, attempt
from support.streams import BLOBS, TAIL, Stream

PAIRS = Settings(tail_bytes=0, fan_out=2, feed=False)
SMALL = Settings(tail_bytes=150, fan_out=2, feed=False)
LAYOUTS = {"tail": TAIL, "blobs": BLOBS, "pages": PAIRS, "small tails": SMALL}
STAMP = Stamped(ident(9_999), MICROS)
each_layout = pytest.mark.parametrize("settings", LAYOUTS.values(), ids=LAYOUTS)


def copies(stream: Stream, first: int, last: int) -> list[FeedEvent]:
    """Events of a stream as the feed has them."""
    events = [event for frame in stream.chain() if isinstance(frame, Frame) for event in frame.published("s", 1)]
    return [event for event in events if first <= event.version <= last]


def newest_of(stream: str, base: Base) -> Any:
    """The last changeset of what the head is built on."""
    return rebuild.decode(stream, base.frames[-1], "") if base.frames else None


def plan(shelf: Shelf, settings: Settings, committed: int = 0, name: str = "s") -> tuple[Wreck, Lineage, Base]:
    """What a head is rebuilt on; the feed has ``committed`` events of the stream."""
    wreck: Wreck = shelf.run(rebuild.examine(name))
    segments = shelf.lineage(name)
    leaf = rebuild.leaf_of(wreck, segments, committed)
    frames: Sequence[bytes] = ()
    if leaf is not None:
        segment = read_segment(shelf.body(leaf.end.key), leaf.end.key, name)
        assert segment is not None
        frames = segment.frames
    assert settings.tail_bytes >= 0
    return wreck, segments, rebuild.base_of(wreck, segments, leaf, frames, committed)


def rebuilt(shelf: Shelf, settings: Settings, committed: int = 0, events: Sequence[FeedEvent] = ()) -> Rebuilt | None:
    """The head that is made, and put in place if there is one."""
    wreck, _, base = plan(shelf, settings, committed)
    end = rebuild.end_of(base, "s")
    more = rebuild.from_feed([event for event in events if event.version > end.version], end)
    base = rebuild.joined(wreck, msgspec.structs.replace(base, frames=(*base.frames, *more)))
    made = rebuild.rebuild(wreck, base, settings, STAMP, newest_of("s", base))
    if made is not None:
        for put in made.puts:
            assert put.key not in shelf.snapshot() or isinstance(put.when, Matches)
            shelf.put(put.key, put.body)
    return made


def check(shelf: Shelf, stream: Stream, version: int | None = None) -> None:
    """The stream reads as before, up to a version, without a fault."""
    version = stream.version if version is None else version
    known = shelf.run(load_head("s", None))
    walk, frames = begin(known), list[Any]()
    while not walk.ended:
        stride = shelf.run(step(walk))
        walk = stride.walk
        assert stride.faults == []
        frames += [frame for part in stride.parts for frame in part.chain]
    assert frames == [frame for frame in stream.chain() if frame.version <= version]
    assert known.state.fields.fence == MICROS


# --- a head that is hostile ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [5_000, limits.MAX_FIELDS])
def test_fields_that_are_nested_deeply(depth: int):
    """Nothing is believed of them, and nothing is raised."""
    body = Stream().times(2).objects["heads/s"]
    number, kind, _, packed, tail = msgspec.msgpack.decode(body)
    fields = msgspec.msgpack.decode(packed)
    fields[8] = msgspec.Raw(b"\x81\xa7settled" + b"\x91" * depth + b"\xc0")
    packed = msgspec.msgpack.encode(fields)
    body = msgspec.msgpack.encode([number, kind, bytes(4), packed, tail])
    wreck = rebuild.Wreck("s", ALWAYS)
    assert rebuild.salvage(wreck, body, "heads/s") == wreck


# --- a head that is damaged ----------------------------------------------------------------------------------------


@each_layout
@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_byte_that_is_wrong(settings: Settings, count: int):
    """Wherever it is: the head is rebuilt whole, or not whole, and never as something else."""
    stream = Stream(settings).times(count)
    body = stream.objects["heads/s"]
    whole = 0
    for at in range(len(body)):
        shelf = Shelf(stream.objects)
        shelf.put("heads/s", body[:at] + bytes([body[at] ^ 8]) + body[at + 1 :])
        made = rebuilt(shelf, settings)
        if made is not None and made.whole:
            whole += 1
            check(shelf, stream)
            assert made.state.fields.digest == stream.known.state.fields.digest
    assert whole > min(len(body) // 4, 80), "all but the changesets of the tail, and lengths"


@each_layout
@pytest.mark.parametrize("size", [10, 5000], ids=["inline", "object"])
def test_a_head_that_had_snapshots(settings: Settings, size: int):
    """Wherever a byte is wrong, the stream is what it was, or less of it. The states are given up: they can be folded again."""
    stream = Stream(settings).grow().grow(1, 1, kept=Kept("d", 1, bytes(size))).grow()
    body = stream.objects["heads/s"]
    whole = 0
    for at in range(len(body)):
        shelf = Shelf(stream.objects)
        shelf.put("heads/s", body[:at] + bytes([body[at] ^ 8]) + body[at + 1 :])
        made = rebuilt(shelf, settings)
        if made is not None and made.whole:
            whole += 1
            check(shelf, stream)
            assert made.state.fields.digest == stream.known.state.fields.digest
            assert made.state.snapshots == []
    assert whole > min(len(body) // 4, 80)


@each_layout
def test_each_field_that_is_wrong(settings: Settings):
    """One of version, ids, digest, fence, sealed or references: the others say where the stream ends."""
    stream = Stream(settings).times(7)
    state = stream.known.state
    sealed = state.fields.sealed
    changes: list[dict[str, Any]] = [
        {"version": 99},
        {"changeset_id": ident(99)},
        {"parent_id": ident(99)},
        {"fence": 99},
        {"digest": bytes(31) + b"1"},
        {"sealed": msgspec.structs.replace(sealed, digest=bytes(31) + b"1")},
        {"levels": []},
    ]
    for change in changes:
        shelf = Shelf(stream.objects)
        fields = msgspec.structs.replace(state.fields, **change)
        shelf.put("heads/s", head.encode(State(fields, state.tail)))
        made = rebuilt(shelf, settings)
        assert made is not None
        assert made.whole, change
        assert isinstance(made.puts[-1].when, Matches)
        check(shelf, stream)


@pytest.mark.parametrize(
    ("before", "after"), [(99, MICROS), (MICROS + 5, MICROS + 6), (limits.MAX_VERSION, MICROS)], ids=str
)
def test_the_fence_of_a_rebuilt_head(before: int, after: int):
    """The time, or more than there was, if an earlier repair had a clock that was ahead; of a damaged number, the time."""
    stream = Stream(TAIL).times(2)
    state = stream.known.state
    fields = msgspec.structs.replace(state.fields, fence=before, digest=bytes(31) + b"1")
    shelf = Shelf(stream.objects)
    shelf.put("heads/s", head.encode(State(fields, state.tail)))
    made = rebuilt(shelf, TAIL)
    assert made is not None
    assert made.state.fields.fence == after


def test_the_head_of_another_stream_is_not_believed():
    """Nor what is no head, one of version 0, and one with a feature that nobody knows."""
    stream = Stream(TAIL).times(3)
    state = stream.known.state
    other = Stream(TAIL, "t").times(3)
    features = msgspec.structs.replace(state.fields, extensions={"pending": 1})
    empty = msgspec.structs.replace(state.fields, version=0)
    for body in (
        other.objects["heads/t"],
        b"no head",
        stream.objects["heads/s"][:-1],
        head.encode(State(features, state.tail)),
        head.encode(State(empty, state.tail)),
    ):
        shelf = Shelf({"heads/s": body})
        wreck: Wreck = shelf.run(rebuild.examine("s"))
        assert wreck == Wreck("s", Matches(shelf.backend._objects["heads/s"].etag))
        assert rebuilt(shelf, TAIL) is None
    assert shelf.run(rebuild.examine("none")) == Wreck("none", ABSENT)


def test_a_compressed_tail_that_cannot_be_read():
    """Nothing of the tail can be told then: the changesets beside it come after it. The feed has them all."""
    stream = Stream(TAIL).times(30)
    state = stream.known.state
    assert state.packed_tail is not None
    packed = state.packed_tail.body
    assert packed is not None
    loose = state.tail[state.packed_tail.frames :]
    assert loose
    for bad in (packed[:-1], b"", "text", 7):
        shelf = Shelf(stream.objects)
        fields = msgspec.structs.replace(state.fields, extensions={"packed_tail": bad})
        shelf.put("heads/s", head.encode(State(fields, loose)))
        wreck: Wreck = shelf.run(rebuild.examine("s"))
        assert wreck.fields == state.fields
        assert (wreck.tail, wreck.all_read, wreck.newer) == ((), False, loose)
        assert rebuilt(shelf, TAIL) is None
        body = shelf.snapshot()["heads/s"]
        for published in (30, 30 - len(loose)):  # what the feed does not have yet can be read: nothing is missing
            shelf.put("heads/s", body)
            made = rebuilt(shelf, TAIL, published, copies(stream, 1, published))
            assert made is not None
            assert made.whole
            check(shelf, stream)
        shelf.put("heads/s", body)
        made = rebuilt(shelf, TAIL, 9, copies(stream, 1, 9))
        assert made is not None
        assert not made.whole
        check(shelf, stream, 9)


def test_a_compressed_tail_beside_damage():
    """All of it is believed, and the head that is built again is the same."""
    stream = Stream(TAIL).times(30)
    state = stream.known.state
    shelf = Shelf(stream.objects)
    fields = msgspec.structs.replace(state.fields, digest=bytes(31) + b"1")
    shelf.put("heads/s", head.encode(State(fields, state.tail, state.tail_size, packed_tail=state.packed_tail)))
    wreck: Wreck = shelf.run(rebuild.examine("s"))
    assert (wreck.tail, wreck.all_read) == (state.tail, True)
    made = rebuilt(shelf, TAIL)
    assert made is not None
    assert made.whole
    check(shelf, stream)
    assert made.state.fields.digest == state.fields.digest


@pytest.mark.parametrize("settings", [TAIL, SMALL], ids=["tail", "small tails"])
def test_a_tail_of_which_a_changeset_is_lost(settings: Settings):
    """It ends before that; with the events from the feed, its digest proves that nothing is missing."""
    stream = Stream(settings).times(6)
    state = stream.known.state
    first = state.fields.sealed.version + 1
    for at in range(len(state.tail)):
        other = codec.encode_frame(ident(7), ident(8), 9, 1, key=None, rows=codec._pack([("E", None, None, None)]))
        for lost in (state.tail[at][:-1] + b"?", other):
            shelf = Shelf(stream.objects)
            tail = (*state.tail[:at], lost, *state.tail[at + 1 :])
            shelf.put("heads/s", head.encode(State(state.fields, tail)))
            made = rebuilt(shelf, settings)
            if made is not None:
                assert not made.whole
                check(shelf, stream, first + at - 1)
            else:
                assert first + at == 1
            shelf.put("heads/s", head.encode(State(state.fields, tail)))
            made = rebuilt(shelf, settings, 6, copies(stream, 1, 6))
            assert made is not None
            assert made.whole
            check(shelf, stream)


def test_changesets_of_the_tail_that_do_not_follow_each_other():
    """What comes after is not believed."""
    stream = Stream(TAIL).times(4)
    state = stream.known.state
    shelf = Shelf(stream.objects)
    shelf.put("heads/s", head.encode(State(state.fields, (state.tail[0], state.tail[2], state.tail[3]))))
    wreck: Wreck = shelf.run(rebuild.examine("s"))
    assert (wreck.tail, wreck.all_read) == ((state.tail[0],), False)


# --- a head that is missing ----------------------------------------------------------------------------------------


@each_layout
def test_a_missing_head_is_rebuilt_from_the_segments_and_the_feed(settings: Settings):
    """Nobody can say that it is whole; but nothing that there is is left out."""
    stream = Stream(settings).times(7)
    shelf = Shelf(stream.objects)
    shelf.delete("heads/s")
    made = rebuilt(shelf, settings, 7, copies(stream, 1, 7))
    assert made is not None
    assert not made.whole
    assert made.puts[-1].when == ABSENT
    check(shelf, stream)


@pytest.mark.parametrize("settings", [BLOBS, PAIRS, SMALL], ids=["blobs", "pages", "small tails"])
def test_what_may_not_have_been_committed_is_not_taken(settings: Settings):
    """Without the feed, the changeset of the attempt that made the last segment may be one that failed."""
    stream = Stream(settings).times(7)
    failed = attempt(stream, 500, 300)
    for committed in (0, 7, 8):
        shelf = Shelf(stream.objects, failed)
        shelf.delete("heads/s")
        made = rebuilt(shelf, settings, committed)
        assert made is not None
        if committed == 8:
            assert made.state.version == 8
        else:
            check(shelf, stream, made.state.version)
            assert made.state.version in (6, 7)
    shelf = Shelf(stream.objects)
    shelf.delete("heads/s")
    made = rebuilt(shelf, PAIRS)
    assert made is not None
    assert made.state.version == (6 if settings.tail_bytes == 0 else stream.known.state.fields.sealed.version)


def test_of_several_leaves_the_one_with_the_most():
    """Whatever else the attempts had that made them."""
    stream = Stream(SMALL).times(5)
    fewer = attempt(stream, 500, 900)
    stream.grow()
    more = attempt(stream, 600, 900)
    shelf = Shelf(stream.objects, fewer, more)
    shelf.delete("heads/s")
    made = rebuilt(shelf, SMALL)
    assert made is not None
    check(shelf, stream, 6)


def test_a_leaf_that_the_head_refers_to_stays():
    """One that it does not refer to may be deleted by others: what it holds is copied."""
    stream = Stream(BLOBS).times(3)
    shelf = Shelf(stream.objects)
    made = rebuilt(shelf, BLOBS)
    assert made is not None
    assert [put.key for put in made.puts] == ["heads/s"]
    fields = msgspec.structs.replace(stream.known.state.fields, levels=[])
    shelf = Shelf(stream.objects)
    shelf.put("heads/s", head.encode(State(fields, ())))
    made = rebuilt(shelf, BLOBS)
    assert made is not None
    assert [put.key for put in made.puts] == [keys.segment("s", 3, STAMP.id), "heads/s"]
    check(shelf, stream)


def test_a_body_that_fits_no_segment():
    """Then only what the segments prove is there."""
    stream = Stream(BLOBS).times(4)
    shelf = Shelf(stream.objects)
    wrong = bytes(31) + b"1"
    fields = stream.known.state.fields
    fields = msgspec.structs.replace(fields, digest=wrong, sealed=msgspec.structs.replace(fields.sealed, digest=wrong))
    shelf.put("heads/s", head.encode(State(fields, ())))
    made = rebuilt(shelf, BLOBS)
    assert made is not None
    assert not made.whole
    check(shelf, stream, 3)


# --- where it all goes ---------------------------------------------------------------------------------------------


def test_what_does_not_fit_in_a_tail_is_sealed(monkeypatch: pytest.MonkeyPatch):
    """In as many segments as it takes."""
    stream = Stream(TAIL).times(6)
    size = len(stream.frames[1])
    for room, segments in ((limits.MAX_SEGMENT, 1), (2 * size + 1, 3), (size, 6)):
        monkeypatch.setattr(limits, "MAX_SEGMENT", room)
        shelf = Shelf(stream.objects)
        shelf.delete("heads/s")
        made = rebuilt(shelf, Settings(tail_bytes=size, fan_out=2, feed=False), 6, copies(stream, 1, 6))
        assert made is not None
        assert len([put for put in made.puts if put.key.startswith("segments/")]) == segments
        assert all(put.when == ALWAYS and put.about for put in made.puts if put.key.startswith("segments/"))
        assert made.state.tail == ()
        check(shelf, stream)


@pytest.mark.parametrize("settings", [TAIL, PAIRS], ids=["tail", "pages"])
def test_the_head_of_the_feed(settings: Settings):
    """Its newest changeset says what it settled."""
    feed = feed_stream(5, settings)
    shelf = Shelf(feed.objects)
    shelf.change(feed.head_key, lambda body: body[:1] + body[1:].replace(bytes([10]), bytes([11]), 1))
    wreck, _, base = plan(shelf, settings, name=keys.FEED)
    newest = rebuild.decode(keys.FEED, feed.frames[-1], "")
    made = rebuild.rebuild(wreck, base, settings, STAMP, newest)
    assert made is not None
    assert made.whole
    assert made.state.settled == feed.known.state.settled == {ident(1005)}
    assert made.state.fields.digest == feed.known.state.fields.digest
    assert rebuild.settled_by(None) == {}


# --- segments from the feed ----------------------------------------------------------------------------------------


def parts_of(stream: Stream) -> list[Part]:
    """What a walk reads."""
    shelf, walk, parts = Shelf(stream.objects), begin(stream.known), list[Part]()
    while not walk.ended:
        stride = shelf.run(step(walk))
        walk = stride.walk
        parts += stride.parts
    return parts


@pytest.mark.parametrize("settings", [BLOBS, SMALL], ids=["blobs", "small tails"])
def test_a_segment_is_restored_from_the_feed(settings: Settings):
    """Byte for byte, as the digest behind it proves."""
    stream = Stream(settings)
    for number in range(1, 8):
        stream.grow(*[1] * (1 + number % 2))
    parts = [None, *parts_of(stream)]
    names = stream.keys_of("segments/")
    for at, key in enumerate(names, 1):
        part, after = parts[at], parts[at + 1] if at + 1 < len(parts) else None
        assert part is not None
        digest = after.digest if after is not None else stream.known.state.fields.sealed.digest
        events = copies(stream, part.chain[0].follows + 1, part.link.version)
        put = rebuild.restore(key, "s", events, before=parts[at - 1], digest=digest, when=ABSENT)
        assert put is not None
        assert (put.key, put.body, put.when) == (key, stream.objects[key], ABSENT)
        less = [msgspec.structs.replace(event, type="Other") for event in events]
        assert rebuild.restore(key, "s", less, before=parts[at - 1], digest=digest, when=ABSENT) is None


def test_an_idempotency_key_is_not_in_the_feed():
    """So the segment is another, and is not restored."""
    stream = Stream(BLOBS).grow().grow(key="k").grow()
    parts = parts_of(stream)
    key = stream.keys_of("segments/")[1]
    events = copies(stream, 2, 2)
    assert rebuild.restore(key, "s", events, before=parts[0], digest=parts[2].digest, when=ABSENT) is None


def test_changesets_from_the_feed():
    """One after the other, each with its events; after what is there."""
    stream = Stream().grow(1, 1).grow().grow(1, 1, 1)
    assert rebuild.from_feed(copies(stream, 1, 6), START) == stream.frames
    after = Link(2, ident(1), None, codec.NO_DIGEST, "k")
    assert rebuild.from_feed(copies(stream, 3, 6), after) == stream.frames[1:]
    assert rebuild.from_feed([], START) == []
