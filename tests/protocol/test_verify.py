"""Checking one stream: what is clean, and which object is named for whatever is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from headstream import limits
from headstream.errors import Unavailable
from headstream.model import Settings
from headstream.protocol import codec, head, keys, verify
from headstream.protocol.census import Census
from headstream.protocol.fault import Fault, Kind, Mend
from headstream.protocol.head import Fields, Sealed, State, nothing
from headstream.protocol.ops import MISSING, About, Found, NotApplied, Unknown
from headstream.protocol.segment import Ref, SegmentFields, encode_page, encode_segment
from headstream.protocol.snapshot import Kept
from headstream.protocol.verify import Opened, Part, Tally, Walk
from support.feeds import feed_stream
from support.script import Script, ident, run
from support.streams import BLOBS, TAIL, Stream

PAIRS = Settings(tail_bytes=0, fan_out=2, feed=False)
SMALL = Settings(tail_bytes=150, fan_out=2, feed=False)
LAYOUTS = {"tail": TAIL, "blobs": BLOBS, "pages": PAIRS, "small tails": SMALL}


def walk(stream: Stream, after: int = 0) -> tuple[list[Part], list[Fault], Tally]:
    """All that a walk of the stream finds."""
    opened: Opened = run(verify.open_head(stream.name, None), stream.objects)
    if opened.known is None:
        return [], opened.faults, Tally()
    parts: list[Part] = []
    faults = list(opened.faults)
    tally = Tally()
    rest = verify.begin(opened.known, after)
    while not rest.ended:
        stride = run(verify.step(rest), stream.objects)
        rest = stride.walk
        parts += stride.parts
        faults += stride.faults
        tally += stride.tally
    return parts, faults, tally


def faults_of(stream: Stream) -> list[Fault]:
    """What a walk complains about."""
    return walk(stream)[1]


def versions(parts: list[Part]) -> list[int]:
    """The versions after each changeset that was read."""
    return [frame.version for part in parts for frame in part.chain]


# --- what is clean -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("count", [1, 2, 5, 17])
def test_a_stream_as_it_was_written_is_clean(settings: Settings, count: int):
    """Every changeset is read, in order, and counted."""
    stream = Stream(settings).times(count)
    parts, faults, tally = walk(stream)
    assert faults == []
    assert versions(parts) == list(range(1, count + 1))
    assert (tally.changesets, tally.events) == (count, count)
    assert (tally.segments, tally.pages) == (len(stream.keys_of("segments/")), len(stream.keys_of("index/")))
    assert tally.size == sum(len(body) for key, body in stream.objects.items() if not key.startswith("heads/"))
    assert parts[-1].link.digest == stream.known.state.fields.digest
    assert [part.digest for part in parts[1:]] == [part.link.digest for part in parts[:-1]]


def test_a_stream_that_does_not_exist_is_clean():
    """It has version 0, and no etag."""
    opened = run(verify.open_head("s", None))
    assert opened.known is not None
    assert (opened.known.state.version, opened.etag, opened.faults) == (0, None, [])


def test_a_fenced_head_is_clean():
    """Also that of a stream that does not exist."""
    assert faults_of(Stream(SMALL).times(5).fence()) == []
    stream = Stream()
    stream.objects[stream.head_key] = head.encode(head.fenced(head.nothing("s").state))
    assert walk(stream) == ([], [], Tally())


@pytest.mark.parametrize("settings", LAYOUTS.values(), ids=LAYOUTS)
def test_a_walk_may_begin_later(settings: Settings):
    """It reads what holds the version asked for, and all that follows; not much of what is before."""
    stream = Stream(settings).times(12)
    for after in range(1, 12):
        parts, faults, _ = walk(stream, after)
        assert faults == []
        assert versions(parts)[-(12 - after) :] == list(range(after + 1, 13))
    assert versions(walk(stream, 12)[0])[-1:] in ([], [12])


def test_segments_are_fetched_together_within_a_window(monkeypatch: pytest.MonkeyPatch):
    """By their number and by their bytes; always at least one."""
    stream = Stream(BLOBS).times(4)
    size = stream.known.state.fields.levels[0][1].size
    for window, objects, expected in ((10 * size, 3, [3, 1]), (2 * size, 9, [2, 2]), (1, 9, [1, 1, 1, 1])):
        monkeypatch.setattr(limits, "READ_WINDOW", window)
        monkeypatch.setattr(limits, "READ_WINDOW_OBJECTS", objects)
        rest, together = verify.begin(stream.known), []
        while not rest.ended:
            stride = run(verify.step(rest), stream.objects)
            rest = stride.walk
            together.append(len(stride.parts))
        assert together == [*expected, 0]


# --- objects that cannot be read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", LAYOUTS.values(), ids=LAYOUTS)
def test_every_object_that_is_cut_changed_or_missing_is_named(settings: Settings):
    """By its key, once; everything else is still read, but for what only an index page leads to."""
    clean = Stream(settings).times(11)
    for key, body in clean.objects.items():
        for damaged in (None, body[:-1], body[: len(body) // 2], b"", body[:30] + bytes([body[30] ^ 4]) + body[31:]):
            stream = Stream(settings).times(11)
            if damaged is None:
                if key == stream.head_key:
                    continue
                del stream.objects[key]
            else:
                stream.objects[key] = damaged
            parts, faults, _ = walk(stream)
            assert [fault.key for fault in faults] == [key]
            (fault,) = faults
            assert fault.grave
            assert fault.kind is (Kind.MISSING if damaged is None else Kind.DAMAGED)
            assert fault.stream == "s"
            assert fault.remedy
            if fault.first is not None:
                assert fault.last is not None
                lost = set(range(fault.first, fault.last + 1))
                assert set(versions(parts)) == set(range(1, 12)) - lost


def test_how_each_kind_of_object_can_be_mended():
    """Pages from segments, segments from the feed, heads from what is left; the feed anew. What is newer, by an upgrade."""
    for folder, mend in (("heads/", Mend.HEAD), ("segments/", Mend.SEGMENT), ("index/", Mend.PAGE)):
        stream = Stream(PAIRS).times(7)
        key = stream.keys_of(folder)[0]
        body = stream.objects[key]
        stream.objects[key] = body[:-1]
        assert [fault.mend for fault in faults_of(stream)] == [mend]
        stream.objects[key] = bytes([body[0], 2]) + body[2:]
        (newer,) = faults_of(stream)
        assert (newer.kind, newer.mend, newer.remedy) == (Kind.NEWER, None, "upgrade headstream")
    feed = feed_stream(7, PAIRS)
    key = feed.keys_of("segments/")[0]
    feed.objects[key] = feed.objects[key][:-1]
    (fault,) = faults_of(feed)
    assert (fault.mend, fault.stream) == (Mend.FEED, keys.FEED)
    assert "order" in (fault.lost or "")


def test_a_feed_is_a_stream():
    """Its changesets hold events of others."""
    parts, faults, tally = walk(feed_stream(7, PAIRS))
    assert faults == []
    assert tally.events == 14
    census = Census()
    assert [fault for part in parts for fault in census.absorb(part)] == []
    assert {name: entry.version for name, entry in census.streams.items()} == {f"s{n}": 2 for n in range(1, 8)}


@pytest.mark.parametrize("settings", [TAIL, SMALL])
def test_a_damaged_tail_is_read_up_to_the_damage(settings: Settings):
    """What follows is lost; the head can be rebuilt if the feed has it."""
    stream = Stream(settings).times(5)
    state = stream.known.state
    for at, raw in enumerate(state.tail):
        tail = (*state.tail[:at], raw[:-1] + b"?", *state.tail[at + 1 :])
        stream.objects[stream.head_key] = head.encode(State(state.fields, tail))
        parts, (fault,), _ = walk(stream)
        first = state.fields.sealed.version + at + 1
        assert (fault.key, fault.first, fault.last) == (stream.head_key, first, 5)
        assert (fault.kind, fault.mend) == (Kind.DAMAGED, Mend.HEAD)
        assert versions(parts) == list(range(1, first))
    assert "event" in (fault.lost or "")
    feed = feed_stream(3, TAIL)
    state = feed.known.state
    feed.objects[feed.head_key] = head.encode(State(state.fields, (*state.tail[:-1], b"\0" * 40)))
    parts, (fault,), _ = walk(feed)
    assert (fault.mend, fault.first, fault.last) == (Mend.FEED, 5, 6)
    assert parts[0].link.digest == codec.chain_digest(codec.NO_DIGEST, state.tail[:-1])


def test_a_tail_without_its_first_changesets_is_found():
    """The versions that the head claims are not there."""
    stream = Stream(TAIL).times(3)
    state = stream.known.state
    stream.objects[stream.head_key] = head.encode(State(state.fields, state.tail[1:]))
    (fault,) = faults_of(stream)
    assert (fault.kind, fault.key, fault.first) == (Kind.DAMAGED, stream.head_key, 1)


# --- objects that disagree -----------------------------------------------------------------------------------------


def forged_head(stream: Stream, **changes: Any) -> None:
    """Put a head in place that says something else."""
    state = stream.known.state
    fields: Fields = msgspec.structs.replace(state.fields, **changes)
    stream.objects[stream.head_key] = head.encode(State(fields, state.tail))


@pytest.mark.parametrize("settings", [TAIL, BLOBS, SMALL], ids=["tail", "blobs", "small tails"])
@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"digest": bytes(31) + b"1"}, "its digest is not that of its changesets"),
        ({"changeset_id": ident(99)}, "it does not end with its newest changeset"),
        ({"parent_id": ident(99)}, "it names another changeset before the newest than there is"),
    ],
)
def test_a_head_that_contradicts_its_changesets(settings: Settings, changes: dict[str, Any], problem: str):
    """Digest, newest changeset and the one before it are those of its changesets."""
    stream = Stream(settings).times(5)
    forged_head(stream, **changes)
    assert [(fault.kind, fault.key, fault.problem) for fault in faults_of(stream)] == [
        (Kind.CONTRADICTION, stream.head_key, problem)
    ]


def test_a_head_with_another_version():
    """More versions than its tail has, or fewer."""
    for version in (4, 6):
        stream = Stream(TAIL).times(5)
        forged_head(stream, version=version)
        assert [fault.problem for fault in faults_of(stream)] == ["it does not end with its version"]


@pytest.mark.parametrize("change", [{"digest": bytes(32)}, {"changeset_id": ident(99)}])
def test_a_head_that_contradicts_its_segments(change: dict[str, Any]):
    """What it says of their end is not what they hold: both are named."""
    stream = Stream(SMALL).times(5)
    sealed: Sealed = msgspec.structs.replace(stream.known.state.fields.sealed, **change)
    forged_head(stream, sealed=sealed)
    first = faults_of(stream)[0]
    assert first.key == stream.keys_of("segments/")[-1]
    assert stream.head_key in first.problem


def test_ids_increase():
    """In a tail and in a segment."""
    for settings, key in ((TAIL, "heads/s"), (Settings(tail_bytes=0, fan_out=4, feed=False), None)):
        stream = Stream(settings).grow(number=1).grow(number=9).grow(number=4)
        (fault,) = faults_of(stream)
        assert fault.problem == "the ids of its changesets do not increase"
        assert fault.key == (key or stream.keys_of("segments/")[-1])


def forge(stream: Stream, number: int, change: Callable[[dict[str, Any]], dict[str, Any]]) -> str:
    """Write a segment of one changeset again, with something changed; its key."""
    key = stream.keys_of("segments/")[number]
    fields, _ = codec.unseal("segment", stream.objects[key], key, msgspec.msgpack.Decoder(SegmentFields), extra=1)
    given: dict[str, Any] = {
        "stream": "s",
        "ref": Ref(fields.first, fields.id, fields.size),
        "last": fields.last,
        "previous": fields.previous,
        "parent_id": fields.parent_id,
        "digest": fields.digest,
        "frames": (stream.frames[number],),
    }
    stream.objects[key] = encode_segment(**(given | change(given)))
    return key


def test_a_segment_that_names_another_before_it():
    """The linked list and the index disagree."""
    for number, previous in ((2, None), (2, Ref(1, ident(1), 7)), (0, Ref(1, ident(7), 7))):
        stream = Stream(BLOBS).times(4)
        key = forge(stream, number, lambda _given, ref=previous: {"previous": ref})
        assert [(fault.key, fault.problem) for fault in faults_of(stream)] == [
            (key, "it names another segment before it than the index does")
        ]


def test_a_segment_with_another_digest_before_it():
    """The one before it is named, and its own key is in the text; the chain breaks there and after it."""
    stream = Stream(BLOBS).times(4)
    key = forge(stream, 2, lambda _given: {"digest": bytes(32)})
    faults = faults_of(stream)
    assert [fault.key for fault in faults] == [stream.keys_of("segments/")[1], key]
    assert key in faults[0].problem
    assert (faults[0].first, faults[0].last) == (2, 2)
    stream = Stream(BLOBS).times(1)
    key = forge(stream, 0, lambda _given: {"digest": bytes(31) + b"1"})
    assert faults_of(stream)[0].key == key


def test_a_changeset_that_was_written_anew():
    """Its checksums are right, and its digest is not: the segment that holds it is named, and no other."""
    stream = Stream(BLOBS).times(4)
    other = Stream(BLOBS).times(4)
    frame = codec.decode_frame(stream.frames[1], "")
    rows = codec._pack([("Other", None, None, None)])
    raw = codec.encode_frame(frame.id, frame.parent, frame.follows, frame.micros, key=None, rows=rows)
    ref = Ref(2, ident(2), len(raw))
    key = forge(stream, 1, lambda _given: {"frames": (raw,), "ref": ref})
    refs = [entry if entry.first != 2 else ref for entry in stream.known.state.fields.levels[0]]
    forged_head(stream, levels=[refs])
    forge(stream, 2, lambda _given: {"previous": ref})
    assert [fault.key for fault in faults_of(stream)] == [key]
    assert faults_of(other) == []


def test_a_segment_that_follows_another_changeset():
    """Its first changeset names a parent that the one before it does not end with."""
    stream = Stream(BLOBS).times(3)
    frame = codec.decode_frame(stream.frames[1], "")
    rows = codec._pack(frame.events)
    raw = codec.encode_frame(frame.id, ident(0), frame.follows, frame.micros, key=None, rows=rows)
    key = forge(stream, 1, lambda _given: {"frames": (raw,), "parent_id": ident(0)})
    faults = faults_of(stream)
    assert (faults[0].key, faults[0].problem) == (key, "it does not follow the newest changeset before it")


def test_an_index_page_that_references_more_than_it_covers():
    """Its references reach into what follows it."""
    stream = Stream(PAIRS).times(5)
    key = stream.keys_of("index/")[0]
    (first, second) = [Ref(1, ident(1), 0), Ref(9, ident(9), stream.known.state.fields.levels[1][0].size)]
    stream.objects[key] = encode_page("s", 1, [first, second])
    (fault,) = faults_of(stream)
    assert (fault.key, fault.kind, fault.mend) == (key, Kind.DAMAGED, Mend.PAGE)
    assert fault.problem == "the index page references more than it covers"


def test_a_contradiction_in_the_feed_is_mended_by_laying_it_out_anew():
    """For a stream there is only a backup."""
    feed, stream = feed_stream(3, PAIRS), Stream(BLOBS).times(3)
    for one in (feed, stream):
        forged_head(one, digest=bytes(31) + b"1")
    assert [fault.mend for fault in faults_of(feed)] == [Mend.FEED]
    assert [fault.mend for fault in faults_of(stream)] == [None]


# --- metadata ------------------------------------------------------------------------------------------------------


def names(about: About) -> Mapping[str, str]:
    """What a backend would keep."""
    return {"stream": about.stream, "version": str(about.version), "id": about.changeset_id.hex()}


def test_metadata_is_that_of_the_content():
    """Of heads and segments; where a backend keeps none, nothing is said."""
    stream = Stream(BLOBS).times(2)
    kept = {put.key: names(put.about) for put in stream.puts if put.about}
    (key,) = kept
    right = About("s", 2, ident(2), ident(1))
    for metadata, grave, problem in (
        (names(right), None, ""),
        (names(right) | {"more": "1"}, None, ""),
        (names(right) | {"version": "1"}, True, "its version is wrong"),
        ({"more": "1"}, False, "it has none of the names"),
        (None, False, "it has none of the names"),
    ):
        story = Script(verify.open_head("s", names))
        story.get_many(["heads/s"], (Found(stream.objects["heads/s"], "e", metadata),))
        heads = story.returned().faults
        rest = Walk(stream.known, verify.begin(stream.known).rest[1:], link=None, listed=False)
        segment = Script(verify.step(rest, names))
        segment.get_many([key], (Found(stream.objects[key], "e", metadata),))
        for faults in (heads, segment.returned().faults):
            assert [fault.grave for fault in faults] == ([] if grave is None else [grave])
            assert all(problem in fault.problem and fault.kind is Kind.METADATA for fault in faults)


# --- snapshots -----------------------------------------------------------------------------------------------------


def keeping(large: bytes = b"x" * 5000) -> Stream:
    """A stream with a snapshot in its head, and two that are objects."""
    stream = Stream(TAIL).grow(kept=Kept("a", 1, b"small"))
    return stream.grow(kept=Kept("b", 1, large)).grow(kept=Kept("b", 2, large))


def lost(stream: Stream) -> list[Fault]:
    """What is said of its snapshots."""
    found: list[Fault] = run(verify.check_snapshots(stream.known), stream.objects)
    return found


def test_snapshots_as_they_were_written_are_clean():
    """Those in the head take no request; of the others, only what the head names is looked at, one at a time."""
    stream = keeping()
    first, second = stream.keys_of("snapshots/")
    story = Script(verify.check_snapshots(stream.known))
    assert story.serve(stream.objects) == [[first], [second]]
    assert story.returned() == []
    stream.grow(kept=Kept("b", 1, b"small now"))
    story = Script(verify.check_snapshots(stream.known))
    assert story.serve(stream.objects) == [[second]]
    assert Script(verify.check_snapshots(nothing("s"))).returned() == []


def test_each_damage_to_a_snapshot_is_named():
    """By its key; nothing but time is lost, and nothing has to be mended."""
    clean = keeping()
    first, second = clean.keys_of("snapshots/")
    body = clean.objects[first]
    newer = bytes([body[0], 2]) + body[2:]
    for changed, kind in (
        (None, Kind.MISSING),
        (b"", Kind.DAMAGED),
        (body[:-1], Kind.DAMAGED),
        (body[:40] + bytes([body[40] ^ 1]) + body[41:], Kind.DAMAGED),
        (clean.objects[second], Kind.DAMAGED),
        (newer, Kind.NEWER),
    ):
        stream = keeping()
        if changed is None:
            del stream.objects[first]
        else:
            stream.objects[first] = changed
        (fault,) = lost(stream)
        assert (fault.key, fault.kind, fault.stream, fault.mend) == (first, kind, "s", None)
        assert fault.grave
        assert fault.lost == "nothing but time: its decider folds the events again"
        assert faults_of(stream) == [], "the stream itself is whole"


def test_snapshots_that_are_swapped():
    """Each is named."""
    stream = keeping()
    first, second = stream.keys_of("snapshots/")
    stream.objects |= {first: stream.objects[second], second: stream.objects[first]}
    assert [fault.key for fault in lost(stream)] == [first, second]


@pytest.mark.parametrize("fault", [NotApplied("throttled"), Unknown("time-out")])
def test_a_snapshot_that_cannot_be_had(fault: NotApplied | Unknown):
    """The check is given up."""
    stream = keeping()
    story = Script(verify.check_snapshots(stream.known))
    key = stream.keys_of("snapshots/")[0]
    story.get_many([key], fault)
    assert story.raised(Unavailable).details == {"key": key, "reason": fault.reason}


# --- storage that does not answer ----------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [NotApplied("throttled"), Unknown("time-out")])
def test_storage_that_does_not_answer(fault: NotApplied | Unknown):
    """The check is given up: nothing is said of what was not read."""
    story = Script(verify.open_head("s", None))
    story.get_many(["heads/s"], fault)
    assert story.raised(Unavailable).details == {"key": "heads/s", "reason": fault.reason}


def test_what_a_fault_says():
    """One line: key, problem, versions, what is lost and what to do."""
    stream = Stream(BLOBS).times(3)
    key = stream.keys_of("segments/")[1]
    del stream.objects[key]
    (fault,) = faults_of(stream)
    assert str(fault).startswith(f"{key}: an object that the stream needs is missing (stream 's', 2); lost: 1 event")
    assert str(fault).endswith(fault.remedy)
    wide = msgspec.structs.replace(fault, last=3, lost=None)
    assert "(stream 's', 2 to 3); put" in str(wide)
    assert "(stream 's');" in str(msgspec.structs.replace(wide, first=None))
    assert "(" not in str(msgspec.structs.replace(wide, stream=None)).split(";")[0]
    story = Script(verify.get_many(("a", "b")))
    story.get_many(["a", "b"], (MISSING, MISSING))
    assert story.returned() == (MISSING, MISSING)
