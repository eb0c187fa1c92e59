"""The feed against the streams: every event in it once, in the order of its stream, with the same content."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from headstream.model import FeedEvent
from headstream.protocol import codec, keys
from headstream.protocol.census import Census, Comparison, Unannounced, content_of, mix
from headstream.protocol.codec import Batch, Frame
from headstream.protocol.fault import Fault, Kind, Mend
from headstream.protocol.verify import START, Part
from support.script import MICROS, ident
from support.streams import Stream


def event(stream: str, version: int, position: int, **changes: Any) -> FeedEvent:
    """An event of the feed."""
    made = FeedEvent(stream, version, "E", '"x"', None, None, ident(version), MICROS, position)
    return msgspec.structs.replace(made, **changes)


def part(after: int, events: Sequence[tuple[str, int]], key: str = "segments/!24feed/1", **changes: Any) -> Part:
    """A part of the feed, of one changeset after position ``after``."""
    made = [event(stream, version, after + number, **changes) for number, (stream, version) in enumerate(events, 1)]
    batch = Batch(ident(after + 1), None, after, MICROS, None, made)
    return Part(key, [batch], codec.NO_DIGEST, START)


def counted(*parts: Part) -> tuple[Census, list[Fault]]:
    """A census of these parts, and what it complained about."""
    census = Census()
    return census, [fault for one in parts for fault in census.absorb(one)]


def test_a_feed_in_order():
    """Versions of each stream without gap, whatever lies between them."""
    census, faults = counted(part(0, [("a", 1), ("b", 1), ("a", 2)]), part(3, [("a", 3), ("b", 2)]))
    census.end(5)
    assert faults == []
    assert {name: known.version for name, known in census.streams.items()} == {"a": 3, "b": 2}
    assert (census.position, census.gaps) == (5, 0)
    assert census.of("c").version == 0
    assert all(census.covers(name) for name in "abc")


@pytest.mark.parametrize(
    ("events", "problem", "version", "position"),
    [
        ([("a", 1), ("a", 3)], "the events of a stream are out of order", 1, 1),
        ([("a", 2)], "the feed skips version 1 of a stream", 2, 1),
        ([("a", 1), ("b", 1), ("a", 1)], "the feed has version 1 of a stream again, or too late", 1, 3),
        ([("a", 1), ("b", 1), ("a", 3)], "the feed skips version 2 of a stream", 3, 3),
        ([("$a", 1)], "the feed has events of a stream of headstream's own", 1, 1),
    ],
)
def test_a_feed_out_of_order(events: list[tuple[str, int]], problem: str, version: int, position: int):
    """The object that holds the event is named, and the position; each stream once."""
    census, faults = counted(part(0, events, key="the key"), part(len(events), [("a", 1)]))
    (fault,) = [fault for fault in faults if fault.key == "the key"]
    assert fault.problem == f"{problem}, at position {position}"
    assert (fault.first, fault.last, fault.kind, fault.mend) == (version, version, Kind.CONTRADICTION, Mend.FEED)
    assert census.of(events[-1][0]).digest is None
    assert len([fault for fault in faults if fault.stream == events[-1][0]]) == 1


def test_what_was_taken_in_before_is_left_out():
    """The feed is read twice, and has grown meanwhile."""
    first = part(0, [("a", 1), ("a", 2)])
    census, faults = counted(first, first, part(2, [("a", 3)]))
    assert faults == []
    assert census.of("a").version == 3


def test_behind_a_part_that_cannot_be_read_versions_may_be_missing():
    """It is no fault that they are, and no content is compared; but what is there twice is."""
    census, faults = counted(part(0, [("a", 1), ("b", 1), ("c", 1)]), part(9, [("a", 5), ("b", 2), ("d", 4)]))
    assert faults == []
    assert census.gaps == 1
    assert census.of("a").digest is None
    assert census.of("b").digest is not None, "nothing of it can have been there"
    assert census.of("d").digest is None
    assert [name for name in "abcde" if census.covers(name)] == ["a", "b", "d"]
    assert census.of("e").digest is None
    (fault,) = census.absorb(part(12, [("a", 9)]))
    assert "skips version 6" in fault.problem
    census.end(20)
    assert census.gaps == 2
    assert not census.covers("a")


def frames_of(stream: Stream) -> list[Frame]:
    """Its changesets."""
    return [frame for frame in stream.chain() if isinstance(frame, Frame)]


def published(stream: Stream, count: int) -> Census:
    """A feed that has the first so many changesets of a stream."""
    census = Census()
    for frame in frames_of(stream)[:count]:
        batch = Batch(frame.id, None, frame.follows, MICROS, None, frame.published("s", frame.follows + 1))
        census.absorb(Part("k", [batch], codec.NO_DIGEST, START))
    return census


def compare(census: Census, frames: Sequence[Frame]) -> tuple[Comparison, list[int]]:
    """A stream against the feed; and the versions after the changesets that are not in it."""
    comparison = Comparison("s", census.of("s"))
    pending = comparison.absorb(Part("k", frames[:2], codec.NO_DIGEST, START))
    pending += comparison.absorb(Part("k", frames[2:], codec.NO_DIGEST, START))
    return comparison, [frame.version for frame in pending]


@pytest.mark.parametrize("count", range(6))
def test_a_stream_that_the_feed_has_in_part(count: int):
    """What it has is the same, and the rest is told."""
    stream = Stream().grow(1, 1).grow().grow(2, 2, 2).grow().grow()
    comparison, pending = compare(published(stream, count), frames_of(stream))
    assert not comparison.differs
    assert pending == stream.ends[count:]


def test_any_field_that_differs_is_found():
    """All that the feed repeats of an event."""
    stream = Stream().times(3)
    good = frames_of(stream)
    for changes in (
        {"type": "Other"},
        {"payload": b"y"},
        {"payload": "x"},
        {"metadata_json": "{}"},
        {"id": "1"},
        {"changeset": ident(9)},
        {"micros": 1},
    ):
        census = Census()
        for frame in good:
            events = [msgspec.structs.replace(one, **changes) for one in frame.published("s", frame.follows + 1)]
            census.absorb(Part("k", [Batch(frame.id, None, frame.follows, 1, None, events)], codec.NO_DIGEST, START))
        comparison, _ = compare(census, good)
        assert comparison.differs
    assert content_of(event("a", 1, 1)) == content_of(event("b", 1, 2)), "the stream and the position are no content"


def test_a_feed_that_ends_within_a_changeset():
    """The changeset is not in the feed, as a whole."""
    stream = Stream().grow(1, 1).grow(1, 1)
    census = Census()
    first, second = frames_of(stream)
    events = [*first.published("s", 1), *second.published("s", 3)[:1]]
    census.absorb(Part("k", [Batch(ident(1), None, 0, 1, None, events)], codec.NO_DIGEST, START))
    comparison, pending = compare(census, [first, second])
    assert (comparison.differs, pending) == (False, [4])


def test_a_stream_that_cannot_be_read_is_not_compared():
    """In the middle, or up to where the feed has come."""
    stream = Stream().times(4)
    census = published(stream, 4)
    frames = frames_of(stream)
    assert not compare(census, frames[1:])[0].differs
    assert not compare(census, frames[:2])[0].differs
    assert mix(bytes(16), []) == bytes(16)


def test_what_was_not_announced_must_be_in_the_feed_later():
    """Else the intent is named, and the versions that nobody will publish."""
    late = Unannounced("s", "the intent", 3, 5)
    stream = Stream().times(6)
    assert late.missing(published(stream, 5)) == []
    for count, first in ((0, 3), (3, 4)):
        (fault,) = late.missing(published(stream, count))
        assert (fault.key, fault.kind, fault.mend) == ("the intent", Kind.UNPUBLISHED, Mend.ANNOUNCE)
        assert (fault.stream, fault.first, fault.last) == ("s", first, 5)
    assert not Census().of(keys.FEED).version
