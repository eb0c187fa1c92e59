"""Whatever an encoder accepts, its decoder accepts, and finds the same: over the whole range of every field."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import wraps
from uuid import UUID

import msgspec
from hypothesis import assume, example, given
from hypothesis import strategies as st

from headstream import Event, InvalidInput, Settings, limits
from headstream.model import RecordedEvent
from headstream.protocol import checkpoint, codec, encoding, head, intent, keys, segment, snapshot, store
from headstream.protocol.codec import NO_DIGEST
from headstream.protocol.head import Change, Known, nothing
from headstream.protocol.intent import Intent
from headstream.protocol.mark import Mark
from headstream.protocol.ops import Commit, Stamp, Stamped
from headstream.protocol.read import tail_chain
from headstream.protocol.segment import Ref
from headstream.protocol.snapshot import Kept
from support.script import Script

EDGES = [
    -(2**63),
    -1,
    0,
    1,
    limits.MAX_MICROS,
    limits.MAX_MICROS + 1,
    limits.MAX_VERSION,
    2**63,
    2**64 - 1,
    2**64,
    10**30,
]
NUMBERS = (
    st.integers(0, 2000) | st.sampled_from(EDGES) | st.integers(0, limits.MAX_MICROS) | st.integers(-(2**70), 2**70)
)
IDS = st.binary(min_size=16, max_size=16) | st.binary(max_size=20)
TEXTS = st.text(max_size=20) | st.sampled_from(["", "s", "\ud800", "x" * 300, "$feed", "a/../b"])
ROWS = encoding.encode_events([Event("E", {"a": 1}), Event("F", b"x")])


def or_refused(test: Callable[..., None]) -> Callable[..., None]:
    """Nothing else is asked of what an encoder refuses, with the error that says so; decoders raise another."""

    @wraps(test)
    def judged(*args: object, **kwargs: object) -> None:
        with suppress(InvalidInput):
            test(*args, **kwargs)

    return judged


@given(IDS, st.none() | IDS, NUMBERS, NUMBERS, st.none() | TEXTS)
@example(bytes(16), None, 0, 0, None)
@example(bytes(16), bytes(16), 5, limits.MAX_MICROS, "k")
@or_refused
def test_frames(changeset, parent, follows, micros, key):
    """Of a stream. Each time that is decoded can be had as a datetime."""
    frame = codec.encode_frame(changeset, parent, follows, micros, key=key, rows=ROWS)
    found = codec.decode_frame(frame, "k")
    assert (found.id, found.parent, found.follows, found.micros, found.key) == (changeset, parent, follows, micros, key)
    event = RecordedEvent("s", 1, "E", None, None, None, changeset, micros)
    assert event.recorded_at == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros)


@given(IDS, NUMBERS, NUMBERS, st.integers(1, 3))
@example(bytes(16), 0, limits.MAX_MICROS, 2)
@or_refused
def test_batches_of_the_feed(changeset, follows, micros, count):
    """Made of what was decoded, and so of what can be stored."""
    frame = codec.encode_frame(changeset, None, 0, micros, key=None, rows=ROWS)
    events = [event for number in range(count) for event in codec.decode_frame(frame, "k").published(f"s{number}", 1)]
    events = [msgspec.structs.replace(event, position=follows + at) for at, event in enumerate(events, 1)]
    rows = codec.encode_published(events) if abs(follows) < 2**62 else ROWS
    batch = codec.encode_frame(changeset, None, follows, micros, key=None, rows=rows)
    assert codec.decode_batch(batch, "k").events == events


@given(IDS, TEXTS, NUMBERS, NUMBERS, st.integers(0, 3))
@example(bytes(16), "s", 0, limits.MAX_MICROS, 1)
@or_refused
def test_intents(changeset, stream, follows, micros, objects):
    """With the keys of what was made for them."""
    assume(stream and "\ud800" not in stream)
    made = [keys.segment(stream, number + 1, changeset) for number in range(objects)]
    written = Intent(changeset, stream, follows, micros, made)
    put = intent.put(written)
    assert intent.decode(put.body, put.key) == written
    announced = intent.announced(put.key)
    assert (announced.id, announced.follows, announced.stream) == (changeset, follows, stream)


@given(TEXTS, NUMBERS, TEXTS, NUMBERS, IDS)
@example("w", 0, "host:1", limits.MAX_MICROS, bytes(16))
@or_refused
def test_checkpoints(name, position, owner, micros, save):
    """Also with the name of a host that is no text."""
    assume(name and "\ud800" not in name)
    story = Script(checkpoint.save(name, None, Mark(position), owner))
    story.expect(Stamp, Stamped(save, micros))
    if story.error is not None:
        assert isinstance(story.error, InvalidInput)
        return
    asked = story.asked
    assert isinstance(asked, Commit)
    found = checkpoint.decode(asked.head.body, keys.checkpoint(name), "e")
    assert (found.name, found.position, found.micros, found.id) == (name, max(position, 0), micros, save)
    assert found.owner == owner.encode(errors="replace").decode()
    assert found.saved_at.tzinfo is UTC


@given(st.lists(st.tuples(NUMBERS, IDS, NUMBERS), min_size=0, max_size=4), TEXTS, NUMBERS)
@example([(1, bytes(16), 5), (6, bytes(16), 5)], "s", 1)
@or_refused
def test_pages(refs, stream, level):
    """Index pages."""
    made = [Ref(*ref) for ref in refs]
    body = segment.encode_page(stream, level, made)
    firsts = [ref.first for ref in made]
    assume(firsts == sorted(set(firsts)))
    whole = Ref(firsts[0], bytes(16), sum(ref.size for ref in made))
    assert segment.decode_page(body, "k", stream, whole, level) == made


@given(IDS, NUMBERS, st.integers(1, 4), st.booleans())
@example(bytes(16), 0, 2, True)
@or_refused
def test_segments(attempt, first, count, parted):
    """Of changesets that could be encoded."""
    first = max(first, 1)
    parent = bytes(16) if parted else None
    frames, follows, before = [], first - 1, parent
    for number in range(count):
        changeset = number.to_bytes(16, "big")
        frames.append(codec.encode_frame(changeset, before, follows, 7, key=None, rows=ROWS))
        follows, before = follows + 2, changeset
    ref = Ref(first, attempt, sum(map(len, frames)))
    body = segment.encode_segment(
        stream="s", ref=ref, last=follows, previous=None, parent_id=parent, digest=NO_DIGEST, frames=tuple(frames)
    )
    assert segment.decode_segment(body, "k", "s", ref, follows).frames == frames


@given(TEXTS, NUMBERS, st.binary(max_size=40) | st.sampled_from([bytes(limits.SNAPSHOT_INLINE + 1)]), NUMBERS)
@example("d", 1, bytes(limits.SNAPSHOT_INLINE + 1), 1)
@or_refused
def test_snapshots(name, version, state, follows):
    """In a head, and as objects."""
    kept = Kept(name, version, state)
    listed, puts = snapshot.keep([], kept, stream="s", attempt=bytes(16), follows=follows, at=follows + 1)
    assert snapshot.listed(msgspec.to_builtins(listed, builtin_types=(bytes,))) == listed
    for put in puts:
        fields, found = snapshot.decode(put.body, put.key, "s")
        assert (fields.name, fields.version, fields.follows, found) == (name, version, follows, state)


@given(NUMBERS, NUMBERS, st.integers(1, 5), st.sampled_from([0, 200, 4096]))
@example(0, limits.MAX_VERSION, 1, 0)
@example(limits.MAX_VERSION - 2, 0, 1, 0)
@example(limits.MAX_VERSION - 1, 0, 1, 0)
@or_refused
def test_heads_and_tails(version, fence, count, tail):
    """With any version and fence, and a tail that is compressed in part."""
    settings = Settings(tail_bytes=tail)
    state = nothing("s").state
    for number in range(count):
        before = state.fields.changeset_id
        changeset = (number + 1).to_bytes(16, "big")
        frame = codec.encode_frame(changeset, before, state.version, 7, key="k" * 100, rows=ROWS)
        state, _ = head.follow(state, Change(changeset, frame, 2), settings)
    sealed = state.fields.sealed
    if not state.tail and version > state.version:
        sealed = msgspec.structs.replace(sealed, version=version)
        state = msgspec.structs.replace(
            state, fields=msgspec.structs.replace(state.fields, version=version, sealed=sealed)
        )
    state = msgspec.structs.replace(state, fields=msgspec.structs.replace(state.fields, fence=fence))
    body = head.encode(state)
    found = head.decode(body, "k", "s")
    assert (found.fields.version, found.fields.fence, found.tail) == (state.version, fence, state.tail)
    if state.tail:
        tail_chain(Known(found, "e"))
    if fence < limits.MAX_VERSION:
        assert head.decode(head.encode(head.fenced(found)), "k", "s").fields.fence == fence + 1


@given(
    st.fixed_dictionaries(dict.fromkeys(("tail_bytes", "fan_out", "advance_every", "grace_seconds"), NUMBERS)),
    st.booleans(),
    NUMBERS,
)
@example({"tail_bytes": 65536}, True, 0)
@or_refused
def test_descriptions(numbers, feed, seconds):
    """``store.json``: format, id, time and every setting."""
    micros = min(max(seconds, 0), limits.MAX_MICROS)
    created_at = datetime.fromtimestamp(micros // 1_000_000, UTC).isoformat()
    description = store.Description(1, UUID(int=7), created_at, Settings(**numbers, feed=feed))
    assert store.decode(msgspec.json.encode(description)) == description
