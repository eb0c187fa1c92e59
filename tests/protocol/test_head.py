"""Heads: when the tail is sealed, how references move to index pages, and what a decoder refuses."""

from __future__ import annotations

import tracemalloc
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstream import limits
from headstream.errors import CorruptData, UnsupportedFormat
from headstream.model import Settings
from headstream.protocol import codec, head, keys
from headstream.protocol.codec import NO_DIGEST, Batch, Frame
from headstream.protocol.head import NOTHING_SEALED, Change, Fields, Known, PackedLevels, Sealed, Span, State, nothing
from headstream.protocol.ops import ABSENT, ALWAYS, About, Matches
from headstream.protocol.read import tail_chain
from headstream.protocol.segment import Ref, decode_page, decode_segment
from support import shown
from support.damage import check_every_damage
from support.script import MICROS, ident
from support.streams import BLOBS, TAIL, Stream

KEY = "heads/s"
REF_BYTES = 37
"""A reference at most: an array of two numbers of nine bytes and an id."""


def settings(tail_bytes: int, fan_out: int = 4) -> Settings:
    """A store's settings."""
    return Settings(tail_bytes=tail_bytes, fan_out=fan_out, feed=False)


def raw(size: int) -> bytes:
    """A frame of so many bytes, as far as the transition looks at it."""
    return b"f" * size


def follow(state: State, number: int, size: int, chosen: Settings) -> State:
    """The state after a frame of this size."""
    return head.follow(state, Change(ident(number), raw(size), 1), chosen)[0]


# --- sealing -----------------------------------------------------------------------------------------------------


def test_the_first_changeset():
    """It lies in the tail; nothing else is written."""
    stream = Stream(TAIL).grow(1, 1)
    fields = stream.known.state.fields
    assert (fields.version, fields.changeset_id, fields.parent_id, fields.fence) == (2, ident(1), None, 0)
    assert fields.digest == codec.chain_digest(NO_DIGEST, stream.frames)
    assert (fields.sealed, fields.levels) == (NOTHING_SEALED, [])
    assert stream.known.state.tail == tuple(stream.frames)
    assert stream.puts == ()


def test_a_frame_that_just_fits():
    """The tail may have exactly its limit."""
    state = follow(nothing("s").state, 1, 60, settings(100))
    grown, puts = head.follow(state, Change(ident(2), raw(40), 1), settings(100))
    assert (grown.tail, grown.tail_size, puts) == ((raw(60), raw(40)), 100, ())


def test_a_frame_that_just_does_not_fit():
    """One byte more: the old tail becomes a segment, named by the new attempt, and the frame begins a new tail."""
    state = follow(nothing("s").state, 1, 60, settings(100))
    grown, (segment,) = head.follow(state, Change(ident(2), raw(41), 1), settings(100))
    assert (grown.tail, grown.tail_size) == ((raw(41),), 41)
    assert grown.fields.sealed == Sealed(1, ident(1), codec.chain_digest(NO_DIGEST, [raw(60)]))
    assert grown.fields.levels == [[Ref(1, ident(2), 60)]]
    assert segment.key == keys.segment("s", 1, ident(2))
    assert segment.when == ALWAYS
    assert segment.about == About("s", 1, ident(1), None)


def test_a_frame_as_large_as_the_tail():
    """It is not too large: it becomes the tail."""
    grown = follow(nothing("s").state, 1, 100, settings(100))
    assert (grown.tail_size, grown.fields.levels) == (100, [])
    grown = follow(grown, 2, 100, settings(100))
    assert (grown.tail_size, grown.fields.levels) == (100, [[Ref(1, ident(2), 100)]])


def test_a_frame_larger_than_the_tail():
    """It is sealed at once, behind the old tail, in one segment; the tail is empty then."""
    state = follow(nothing("s").state, 1, 60, settings(100))
    grown, (segment,) = head.follow(state, Change(ident(2), raw(101), 1), settings(100))
    assert (grown.tail, grown.tail_size) == ((), 0)
    assert grown.fields.sealed == Sealed(2, ident(2), codec.chain_digest(NO_DIGEST, [raw(60), raw(101)]))
    assert grown.fields.sealed.digest == grown.fields.digest
    assert grown.fields.levels == [[Ref(1, ident(2), 161)]]
    assert segment.about == About("s", 2, ident(2), None)


def test_a_first_frame_larger_than_the_tail():
    """There is no old tail to seal."""
    grown, (segment,) = head.follow(nothing("s").state, Change(ident(1), raw(101), 1), settings(100))
    assert (grown.tail, grown.fields.levels) == ((), [[Ref(1, ident(1), 101)]])
    assert segment.about == About("s", 1, ident(1), None)


def test_without_a_tail_every_changeset_is_a_blob_of_its_own():
    """The layout of the 2012 article: a linked list of blobs, each named by its changeset and linked to its parent."""
    stream = Stream(BLOBS).times(3)
    assert stream.known.state.tail == ()
    segments = stream.keys_of("segments/")
    assert segments == [keys.segment("s", version, ident(version)) for version in (1, 2, 3)]
    refs = stream.known.state.fields.levels[0]
    read = [
        decode_segment(stream.objects[key], key, "s", ref, ref.first) for key, ref in zip(segments, refs, strict=True)
    ]
    assert [one.fields.previous for one in read] == [None, *refs[:2]]
    assert [one.fields.parent_id for one in read] == [None, ident(1), ident(2)]


def test_a_frame_is_never_encoded_again():
    """Byte for byte the same in the tail and in its segment, whatever its checksum says."""
    stream = Stream(settings(200)).times(12)
    found = [frame for key in stream.keys_of("segments/") for frame in read_segment(stream, key)]
    assert found + list(stream.known.state.tail) == stream.frames


def read_segment(stream: Stream, key: str) -> list[bytes]:
    """The frames of the segment under this key."""
    (span,) = [span for span in walk(stream) if span.key(stream.name) == key]
    return decode_segment(stream.objects[key], key, stream.name, span.ref, span.last).frames


# --- references --------------------------------------------------------------------------------------------------


def levels(stream: Stream) -> list[list[int]]:
    """The first versions that the head references, by level."""
    return [[ref.first for ref in level] for level in stream.known.state.fields.levels]


def test_references_carry_to_pages():
    """With a fan-out of 2: two references fill a level, the third moves the older two into a page; and so on, as one counts."""
    stream = Stream(settings(0, fan_out=2))
    seen = [levels(stream.grow()) for _ in range(9)]
    assert seen == [
        [[1]],
        [[1, 2]],
        [[3], [1]],
        [[3, 4], [1]],
        [[5], [1, 3]],
        [[5, 6], [1, 3]],
        [[7], [5], [1]],
        [[7, 8], [5], [1]],
        [[9], [5, 7], [1]],
    ]


def test_one_append_can_fill_several_levels():
    """All the pages are in its prelude, and in what its intent calls its own."""
    stream = Stream(settings(0, fan_out=2)).times(7)
    assert [put.key for put in stream.puts] == [
        keys.segment("s", 7, ident(7)),
        keys.page("s", 1, 5, ident(7)),
        keys.page("s", 2, 1, ident(7)),
    ]
    assert [put.when for put in stream.puts] == [ALWAYS] * 3
    assert [put.about for put in stream.puts[1:]] == [None, None]


def walk(stream: Stream) -> list[Span]:
    """All segments, found down the index as the format describes it, oldest first."""
    fields = stream.known.state.fields
    pending = head.spans(fields)
    found: list[Span] = []
    while pending:
        span, pending = pending[0], pending[1:]
        if span.level == 0:
            found.append(span)
            continue
        key = span.key(stream.name)
        refs = decode_page(stream.objects[key], key, stream.name, span.ref, span.level)
        assert len(refs) == stream.settings.fan_out
        pending = head.spans_of([(span.level - 1, ref) for ref in refs], span.last) + pending
    return found


def descend(stream: Stream, version: int) -> tuple[Frame | Batch, int]:
    """The changeset that holds a version, and how many objects it took; nothing but the rules of the format."""
    fields = stream.known.state.fields
    if version > fields.sealed.version:
        chain = tail_chain(stream.known)
        return next(frame for frame in chain if frame.follows < version <= frame.version), 0
    run = head.spans(fields)
    for gets in range(1, limits.MAX_LEVELS):
        span = [span for span in run if span.ref.first <= version][-1]
        key = span.key(stream.name)
        if span.level == 0:
            chain = decode_segment(stream.objects[key], key, stream.name, span.ref, span.last).chain
            return next(frame for frame in chain if frame.follows < version <= frame.version), gets
        refs = decode_page(stream.objects[key], key, stream.name, span.ref, span.level)
        run = head.spans_of([(span.level - 1, ref) for ref in refs], span.last)
    raise AssertionError("an index without end")


def test_a_short_stream_references_nothing():
    """Everything is in the tail; that is no error for whoever lists what a head references."""
    assert head.spans(Stream(TAIL).grow().known.state.fields) == []


def check(stream: Stream) -> None:
    """All that must hold of a head, at any time."""
    state, chosen = stream.known.state, stream.settings
    fields = state.fields
    assert head.decode(head.encode(state), KEY, "s") == state
    assert fields.version == stream.version
    assert fields.digest == codec.chain_digest(NO_DIGEST, stream.frames)
    assert fields.changeset_id == ident(len(stream.frames))
    assert fields.parent_id == (ident(len(stream.frames) - 1) if len(stream.frames) > 1 else None)
    check_bounds(state, chosen)

    segments = walk(stream)
    assert [span.ref.first for span in segments] == [1, *(span.last + 1 for span in segments)][: len(segments)]
    frames: list[bytes] = []
    newest: Ref | None = None
    for span in segments:
        key = span.key("s")
        segment = decode_segment(stream.objects[key], key, "s", span.ref, span.last)
        assert segment.fields.previous == newest
        assert segment.fields.digest == codec.chain_digest(NO_DIGEST, frames)
        newest = span.ref
        frames += segment.frames
    sealed = len(frames)
    assert fields.sealed.digest == codec.chain_digest(NO_DIGEST, frames)
    assert fields.sealed.changeset_id == (ident(sealed) if sealed else None)
    assert frames + list(state.tail) == stream.frames


def check_bounds(state: State, chosen: Settings) -> None:
    """A head is small, and so is the way to every version."""
    fields = state.fields
    fresh = State(fields, state.tail, state.tail_size, packed_tail=state.packed_tail)
    assert head.encode(state) == head.encode(fresh), "what is remembered is stale"
    assert head.decode(head.encode(state), KEY, "s") == state
    assert state.tail_size == sum(map(len, state.tail)) <= chosen.tail_bytes
    assert all(1 <= len(level) <= chosen.fan_out for level in fields.levels)
    segments = len(fields.levels) and fields.version
    assert chosen.fan_out ** max(0, len(fields.levels) - 1) <= max(1, segments)
    refs = len(fields.levels) * (chosen.fan_out * REF_BYTES + 5)
    assert len(head.encode(state)) <= 300 + chosen.tail_bytes + 5 * len(state.tail) + refs


@given(
    st.integers(0, 400) | st.sampled_from([0, 43, 44, 45, 88]),
    st.integers(2, 5),
    st.lists(st.lists(st.integers(0, 120), min_size=1, max_size=3), min_size=1, max_size=40),
)
def test_any_history(tail_bytes, fan_out, changesets):
    """Whatever the sizes: everything is found, in order, in its place, within bounds, after every single append."""
    stream = Stream(settings(tail_bytes, fan_out))
    for sizes in changesets:
        stream.grow(*sizes)
        check_bounds(stream.known.state, stream.settings)
    check(stream)
    chain = {version: frame for frame in stream.chain() for version in range(frame.follows + 1, frame.version + 1)}
    for version in range(1, stream.version + 1):
        frame, gets = descend(stream, version)
        assert frame == chain[version]
        assert gets <= len(stream.known.state.fields.levels)


@pytest.mark.parametrize(("fan_out", "count"), [(2, 300), (3, 300), (16, 300)])
def test_many_levels(fan_out, count):
    """A long list of blobs: eight levels of pairs, or fewer of more."""
    stream = Stream(settings(0, fan_out)).times(count)
    check(stream)
    assert all(descend(stream, version)[0].follows == version - 1 for version in range(1, count + 1))


def test_what_a_growing_index_writes():
    """Each reference is written once a level: all index pages together are a third of the segments, with a fan-out of 4."""
    stream = Stream(settings(0, fan_out=4)).times(256)
    assert len(stream.keys_of("segments/")) == 256
    assert 256 / 4 <= len(stream.keys_of("index/")) < 256 / 3


# --- writing it --------------------------------------------------------------------------------------------------


def test_the_first_write_creates():
    """A stream that does not exist has no etag to swap by."""
    state = Stream().grow().known.state
    write = head.put(state, None)
    assert (write.key, write.when, write.about) == (KEY, ABSENT, About("s", 1, ident(1), None))
    assert head.decode(write.body, KEY, "s") == state


def test_later_writes_swap():
    """Only the head that the new one was built on is replaced; people see the list in the metadata."""
    write = head.put(Stream().times(2).known.state, "e1")
    assert (write.when, write.about) == (Matches("e1"), About("s", 2, ident(2), ident(1)))


def test_a_fence_changes_the_content_only():
    """The body never repeats, the stream is the same, and the next append keeps the fence."""
    stream = Stream().times(2)
    before = stream.known.state
    after = head.fenced(before)
    assert head.encode(after) != head.encode(before)
    assert after.age > before.age
    assert msgspec.structs.replace(after.fields, fence=0) == before.fields
    assert (after.tail, after.tail_size) == (before.tail, before.tail_size)
    assert follow(after, 3, 50, TAIL).fields.fence == 1


def test_a_stream_that_does_not_exist_can_be_fenced():
    """A head of version 0: it has no changeset, and the first append follows it as if there were none."""
    fenced = head.fenced(nothing("s").state)
    put = head.put(fenced, None)
    assert (put.key, put.when, put.about) == ("heads/s", ABSENT, About("s", 0, bytes(16), None))
    read = head.decode(put.body, KEY, "s")
    assert read == fenced
    assert (read.version, read.fields.fence, read.tail) == (0, 1, ())
    assert tail_chain(Known(read, "e")) == []
    again = head.decode(head.encode(head.fenced(read)), KEY, "s")
    assert again.age == (2, 0) > read.age > nothing("s").state.age
    grown = follow(read, 1, 50, TAIL)
    assert (grown.version, grown.fields.parent_id, grown.fields.fence) == (1, None, 1)
    assert head.put(grown, "f1").when == Matches("f1")


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_age_grows_with_every_write(appends):
    """By it a client knows which of two heads is the newer one."""
    stream = Stream(settings(100)).grow()
    ages = [stream.known.state.age]
    ages += [(stream.grow() if append else stream.fence()).known.state.age for append in appends]
    assert ages == sorted(set(ages))


@pytest.mark.parametrize(
    "stream",
    [
        Stream().grow(),
        Stream().grow(60_000),
        Stream().times(900),
        Stream(settings(0, 128)).times(600),
        Stream(settings(0, 2)).times(600),
    ],
    ids=["one event", "one large event", "a long tail", "many references", "many levels"],
)
def test_size_is_what_it_takes_in_memory(stream):
    """The cache of heads counts by it."""
    body = head.encode(stream.known.state)
    tracemalloc.start()
    try:
        kept = [head.decode(body, KEY, "s") for _ in range(20)]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0.75 < kept[0].size / (taken / 20) < 1.25


def test_what_is_remembered_makes_no_difference():
    """A head that was grown equals the same head when it was read; of its memory only the use can be seen."""
    grown = Stream(BLOBS).times(3).known.state
    read = head.decode(head.encode(grown), KEY, "s")
    assert (grown.packed_levels is None, read.packed_levels is None) == (False, True)
    assert grown == read
    assert read == grown
    other = PackedLevels.of([])
    assert grown.packed_levels == other
    assert (grown.packed_levels != other, grown.packed_levels != "something else") == (False, True)
    assert hash(grown.packed_levels) == hash(other)


def test_nothing():
    """A stream that does not exist has version 0, and no etag."""
    known = nothing("s")
    assert (known.etag, known.state.version, known.state.stream, known.state.tail) == (None, 0, "s", ())


# --- decoding it -------------------------------------------------------------------------------------------------


def read_all(body: bytes) -> State:
    """A head and its tail, as a read decodes them."""
    state = head.decode(body, KEY, "s")
    tail_chain(Known(state, "e"))
    return state


@pytest.mark.parametrize(
    "stream",
    [Stream().times(3), Stream(settings(150)).times(8), Stream().times(30)],
    ids=["tail", "segments", "a compressed tail"],
)
def test_every_damage_is_found(stream):
    """Each changed byte, each truncation, each byte too many."""
    check_every_damage(head.encode(stream.known.state), KEY, read_all, every=16)


def test_another_streams_head():
    """A head that was copied or renamed is not believed."""
    with pytest.raises(CorruptData, match="stream 's', not of 'other'") as caught:
        head.decode(head.encode(Stream().grow().known.state), "heads/other", "other")
    assert caught.value.key == "heads/other"


GOOD = Stream(settings(150)).times(8).known.state


def test_the_head_that_is_changed_below():
    """It has a tail, segments, and a page."""
    assert head.decode(head.encode(GOOD), KEY, "s") == GOOD
    assert GOOD.tail
    assert len(GOOD.fields.levels) >= 1


def changed(**changes: Any) -> bytes:
    """A head with some fields changed, under a right checksum."""
    return head.encode(msgspec.structs.replace(GOOD, fields=msgspec.structs.replace(GOOD.fields, **changes)))


REF = GOOD.fields.levels[0][-1]
SEALED = GOOD.fields.sealed


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"version": 0}, "does not fit its newest changeset"),
        ({"changeset_id": None}, "does not fit its newest changeset"),
        ({"version": 0, "changeset_id": None}, "no changeset"),
        ({"version": 0, "changeset_id": None, "fence": 1, "parent_id": None}, "no changeset"),
        ({"version": 0, "changeset_id": None, "fence": 1, "digest": NO_DIGEST}, "no changeset"),
        ({"version": 0, "changeset_id": None, "parent_id": None, "digest": NO_DIGEST}, "no changeset"),
        ({"extensions": {"settled": []}}, "settles intents"),
        ({"version": SEALED.version - 1}, "does not reach"),
        ({"version": SEALED.version}, "does not reach"),
        ({"sealed": msgspec.structs.replace(SEALED, changeset_id=None)}, "end of its segments does not fit"),
        (
            {"sealed": msgspec.structs.replace(NOTHING_SEALED, changeset_id=ident(1))},
            "end of its segments does not fit",
        ),
        (
            {"sealed": msgspec.structs.replace(NOTHING_SEALED, digest=bytes(31) + b"x")},
            "end of its segments does not fit",
        ),
        ({"levels": [[]]}, "empty or impossible index level"),
        ({"levels": [*GOOD.fields.levels, []]}, "empty or impossible index level"),
        ({"levels": [[REF]] * (limits.MAX_LEVELS + 1)}, "empty or impossible index level"),
        ({"levels": []}, "does not fit its segments"),
        ({"sealed": NOTHING_SEALED}, "does not fit its segments"),
        ({"levels": [[REF]]}, "out of order"),
        ({"levels": [[Ref(1, ident(1), 5), Ref(SEALED.version + 1, ident(1), 5)]]}, "out of order"),
        ({"levels": [[Ref(1, ident(1), 5), Ref(3, ident(1), 5), Ref(2, ident(1), 5)]]}, "out of order"),
        ({"levels": [[Ref(1, ident(1), 5), Ref(1, ident(2), 5)]]}, "out of order"),
        ({"levels": [[Ref(1, ident(1), 5)], [Ref(2, ident(2), 5)]]}, "out of order"),
    ],
    ids=shown,
)
def test_a_head_that_contradicts_itself(changes, problem):
    """Fields that cannot be true together are corrupt, however right the checksum."""
    with pytest.raises(CorruptData, match=f"contradicts itself: .*{problem}") as caught:
        head.decode(changed(**changes), KEY, "s")
    assert caught.value.key == KEY


def test_as_many_levels_as_there_can_be():
    """Sixty levels are no contradiction."""
    count = limits.MAX_LEVELS
    levels = [[Ref(first, ident(1), 5)] for first in range(count, 0, -1)]
    sealed = Sealed(count, ident(1), NO_DIGEST)
    body = changed(levels=levels, sealed=sealed, version=count + 1)
    assert len(head.decode(body, KEY, "s").fields.levels) == count


@pytest.mark.parametrize("feature", ["pending", "deleted", "anything"])
def test_a_feature_of_a_newer_version(feature):
    """What this version does not know it must not ignore: a newer one relies on it."""
    with pytest.raises(UnsupportedFormat, match="upgrade") as caught:
        head.decode(changed(extensions={feature: {"whatever": [1, b"2"]}}), KEY, "s")
    assert caught.value.details == {"key": KEY, "features": [feature]}


def feed_head(settled: Any) -> bytes:
    """A head of the feed that settles this, under a right checksum."""
    fields = msgspec.structs.replace(GOOD.fields, stream="$feed", extensions={"settled": settled})
    return head.encode(msgspec.structs.replace(GOOD, fields=fields))


@pytest.mark.parametrize("settled", [[], [ident(1)], [ident(1), ident(2)]], ids=shown)
def test_what_the_feed_settles(settled):
    """The ids of the intents that its newest changeset settled; each changeset replaces them, a fence keeps them."""
    key = keys.head("$feed")
    state = head.decode(feed_head(settled), key, "$feed")
    assert state.settled == frozenset(settled)
    assert head.fenced(state).settled == state.settled
    change = Change(ident(50), raw(10), 1, (ident(8), ident(9)))
    grown, _ = head.follow(state, change, TAIL)
    assert head.decode(head.encode(grown), key, "$feed").settled == {ident(8), ident(9)}
    assert grown.size - head.follow(state, Change(ident(50), raw(10), 1, ()), TAIL)[0].size == 2 * 57
    assert GOOD.settled == frozenset()


@pytest.mark.parametrize(
    "settled", [None, 7, {}, "text", [7], [b"short"], [bytes(17)], ["MDEyMzQ1Njc4OWFiY2RlZg=="]], ids=shown
)
def test_settled_that_no_writer_makes(settled):
    """It is a list of ids."""
    key = keys.head("$feed")
    with pytest.raises(CorruptData, match="extensions of the head cannot be decoded") as caught:
        head.decode(feed_head(settled), key, "$feed")
    assert caught.value.key == key


@pytest.mark.parametrize("tail", [None, 7, {}, "text", ["text"], [b"frame", 7]], ids=shown)
def test_a_tail_that_is_none(tail):
    """The tail is a list of frames."""
    with pytest.raises(CorruptData, match="the object is no head"):
        head.decode(codec.seal("head", GOOD.fields, tail), KEY, "s")


def test_a_tail_of_bytes():
    """Bytes after the fields have no meaning in a head."""
    with pytest.raises(CorruptData, match="no list of changesets"):
        head.decode(codec.seal("head", GOOD.fields, b"frames"), KEY, "s")


FIELDS: dict[str, Any] = {
    "stream": "s",
    "version": 1,
    "changeset_id": ident(1),
    "parent_id": None,
    "digest": NO_DIGEST,
    "fence": 0,
    "sealed": [0, None, NO_DIGEST],
    "levels": [],
    "extensions": {},
}


@pytest.mark.parametrize(
    "changes",
    [
        {"stream": None},
        {"version": -1},
        {"version": 10**16},
        {"version": True},
        {"version": 1.0},
        {"changeset_id": b"short"},
        {"changeset_id": bytes(17)},
        {"digest": bytes(33)},
        {"parent_id": "text"},
        {"digest": b""},
        {"fence": -1},
        {"sealed": [0, None, NO_DIGEST, 1]},
        {"sealed": [-1, None, NO_DIGEST]},
        {"levels": [[[0, ident(1), 1]]]},
        {"levels": [[[1, ident(1), -1]]]},
        {"levels": [[[1, ident(1)]]]},
        {"levels": [[[1, ident(1), 1, 1]]]},
        {"levels": [[{"first": 1, "id": ident(1), "size": 1}]]},
        {"levels": {}},
        {"extensions": []},
        {"extensions": {1: 2}},
        {"unknown": 7},
    ],
    ids=shown,
)
def test_fields_out_of_range(changes):
    """Every field has its bounds, and there is no field more."""
    packed: Any = msgspec.Raw(msgspec.msgpack.encode(list((FIELDS | changes).values())))
    with pytest.raises(CorruptData, match="cannot be decoded"):
        head.decode(codec.seal("head", packed, [raw(10)]), KEY, "s")


def test_all_fields_are_here():
    """The forged fields of these tests are those of a head."""
    assert tuple(FIELDS) == Fields.__struct_fields__
    packed: Any = msgspec.Raw(msgspec.msgpack.encode(list(FIELDS.values())))
    assert head.decode(codec.seal("head", packed, [raw(10)]), KEY, "s").version == 1


def test_a_tail_that_ends_elsewhere():
    """The newest changeset of the tail is the one that the head names."""
    stream = Stream().times(3)
    lost = msgspec.structs.replace(stream.known.state, tail=stream.known.state.tail[:2])
    named = msgspec.structs.replace(
        stream.known.state, fields=msgspec.structs.replace(stream.known.state.fields, changeset_id=ident(7))
    )
    for state in (lost, named):
        with pytest.raises(CorruptData, match="does not end with version") as caught:
            read_all(head.encode(state))
        assert caught.value.key == KEY


def test_the_times_of_the_model_are_real():
    """The helper stamps as drivers do: microseconds of this century."""
    assert Stream().grow().chain()[0].micros == MICROS + 1_000_000
