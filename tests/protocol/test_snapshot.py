"""Snapshots: which states a head keeps and where, which contradictions are found, and how they are read."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstream import limits
from headstream.errors import CorruptData, Unavailable, UnsupportedFormat
from headstream.model import Settings
from headstream.protocol import append, codec, encoding, head, intent, keys, read, snapshot
from headstream.protocol.append import Proposal
from headstream.protocol.head import Known, nothing
from headstream.protocol.ops import ALWAYS, MISSING, REFUSED, Found, NotApplied, Stored, Unknown
from headstream.protocol.snapshot import Fields, Kept, Snapshot
from support.damage import check_every_damage
from support.feeds import feed_stream
from support.script import Script, ident, run
from support.streams import BLOBS, TAIL, Stream

INLINE = limits.SNAPSHOT_INLINE
LARGE = b"s" * (INLINE + 1)
SMALL = Settings(tail_bytes=150, fan_out=2, feed=False)


def kept(name: str = "d", version: int = 1, state: bytes = b"state") -> Kept:
    """A state to be kept."""
    return Kept(name, version, state)


def inline(name: str, version: int, at: int, state: bytes) -> Snapshot:
    """A snapshot that travels in the head."""
    return Snapshot(name, version, at, len(state), state, None)


def apart(name: str, version: int, at: int, size: int, number: int) -> Snapshot:
    """A snapshot that is an object of its own, made by the attempt of this number."""
    return Snapshot(name, version, at, size, None, ident(number))


def keep(before: list[Snapshot], one: Kept, at: int = 9) -> tuple[list[Snapshot], list[str]]:
    """The snapshots after an append, and the keys of the objects that it took."""
    after, puts = snapshot.keep(before, one, stream="s", attempt=ident(at), follows=at - 1, at=at)
    assert all(put.when == ALWAYS and put.about is None for put in puts)
    return after, [put.key for put in puts]


# --- which are kept, and where -----------------------------------------------------------------------------------


def test_a_small_state_travels_in_the_head():
    """It takes no object."""
    assert keep([], kept()) == ([inline("d", 1, 9, b"state")], [])
    assert keep([], kept(state=b"")) == ([inline("d", 1, 9, b"")], [])


def test_the_limit_is_that_of_all_states_in_the_head():
    """One of just that many bytes fits, one of a byte more does not; nor does one beside others, which stay where they are."""
    assert keep([], kept(state=LARGE[:-1]))[0] == [inline("d", 1, 9, LARGE[:-1])]
    assert keep([], kept(state=LARGE)) == ([apart("d", 1, 9, len(LARGE), 9)], [keys.snapshot("s", 9, ident(9))])
    others = [inline("a", 1, 1, b"a" * 1000), apart("b", 1, 2, 10**6, 2)]
    room = INLINE - 1000
    assert keep(others, kept(state=b"d" * room))[0] == [*others, inline("d", 1, 9, b"d" * room)]
    assert keep(others, kept(state=b"d" * (room + 1)))[0] == [*others, apart("d", 1, 9, room + 1, 9)]


def test_the_object_says_what_it_is():
    """The stream, its version, the attempt and what that follows, the decider, and the state: as it was given."""
    _, (put,) = snapshot.keep([], kept("é", 7, LARGE), stream="a/1", attempt=ident(3), follows=4, at=6)
    assert put.key == f"snapshots/{keys.escape('a/1')}/{6:016d}-{ident(3).hex()}"
    assert snapshot.decode(put.body, put.key, "a/1") == (Fields("a/1", 6, ident(3), 4, "é", 7), LARGE)


@pytest.mark.parametrize("state", [b"state", LARGE], ids=["small", "large"])
def test_a_state_from_before_the_append(state):
    """Is of the version that the changeset follows: the head and the object say so."""
    one = Kept("d", 1, state, 4)
    (entry,), puts = snapshot.keep([], one, stream="s", attempt=ident(6), follows=4, at=6)
    assert (entry.at, snapshot.inconsistency([entry], 6)) == (4, None)
    for put in puts:
        assert put.key == keys.snapshot("s", 4, ident(6))
        assert snapshot.decode(put.body, put.key, "s") == (Fields("s", 4, ident(6), 4, "d", 1), state)
    assert len(puts) == (len(state) > INLINE)


def test_the_next_state_of_a_decider_takes_the_place_of_its_last():
    """By its name and version: other names and other versions stay. What was inline frees its room."""
    before = [inline("d", 1, 1, LARGE[:-1]), apart("d", 2, 2, 10**6, 2), apart("e", 1, 3, 10**6, 3)]
    after, objects = keep(before, kept("d", 1, LARGE[:-1]))
    assert (after, objects) == ([*before[1:], inline("d", 1, 9, LARGE[:-1])], [])
    assert keep(before, kept("d", 2, b"x"))[0] == [before[0], before[2], apart("d", 2, 9, 1, 9)]


def test_the_oldest_state_gives_way():
    """When there would be one too many: of whatever decider it is, and in whatever order they are."""
    full = [inline(f"d{number}", 1, number, b"") for number in (3, 1, 2, *range(4, limits.MAX_SNAPSHOTS + 1))]
    after, _ = keep(full, kept("new"))
    assert len(after) == limits.MAX_SNAPSHOTS
    assert {entry.name for entry in full} - {entry.name for entry in after} == {"d1"}
    assert {entry.name for entry in after} - {entry.name for entry in full} == {"new"}
    after, _ = keep(full, kept("d2"))
    assert {entry.name for entry in after} == {entry.name for entry in full}, "it has a place already"


deciders = st.tuples(st.sampled_from("abcdefghijkl"), st.integers(1, 2))


@given(st.lists(st.tuples(deciders, st.integers(0, 2 * INLINE)), max_size=40))
def test_whatever_is_kept(states):
    """The newest states are there, within both limits; every one can be found where the head says; nothing contradicts itself."""
    found: list[Snapshot] = []
    objects: dict[str, bytes] = {}
    for at, ((name, version), size) in enumerate(states, 1):
        one = Kept(name, version, bytes([at]) * size)
        found, puts = snapshot.keep(found, one, stream="s", attempt=ident(at), follows=at - 1, at=at)
        objects |= {put.key: put.body for put in puts}
        assert snapshot.inconsistency(found, at) is None
        assert len(found) <= limits.MAX_SNAPSHOTS
        assert sum(len(entry.state) for entry in found if entry.state is not None) <= INLINE
        assert (found[-1].name, found[-1].version, found[-1].at) == (name, version, at)
        last_of = {decider: (number, length) for number, (decider, length) in enumerate(states[:at], 1)}
        newest = sorted(last_of.values())[-limits.MAX_SNAPSHOTS :]
        assert sorted((entry.at, entry.size) for entry in found) == newest
        for entry in found:
            key = entry.key("s")
            state = entry.state if key is None else snapshot.decode_named(objects[key], key, "s", entry)
            assert state == bytes([entry.at]) * entry.size


# --- in a head -----------------------------------------------------------------------------------------------------


def test_a_head_keeps_what_is_appended_with_its_events():
    """The state is of the version after them; later appends and fences leave it there."""
    stream = Stream(TAIL).grow().grow(1, 1, kept=kept())
    assert stream.known.state.snapshots == [inline("d", 1, 3, b"state")]
    assert stream.puts == ()
    stream.grow().fence()
    state = head.decode(stream.objects["heads/s"], "heads/s", "s")
    assert state.snapshots == [inline("d", 1, 3, b"state")]
    assert state == stream.known.state


def test_a_head_without_snapshots():
    """It has no extension for them, and takes no byte more than before there were any."""
    state = Stream(TAIL).grow().known.state
    assert (state.snapshots, state.fields.extensions) == ([], {})


def test_a_large_state_beside_what_is_sealed_at_the_same_time():
    """Segment, index page and snapshot are all made before the head is tried, in one prelude."""
    stream = Stream(SMALL)
    while not any(put.key.startswith(keys.INDEX) for put in stream.puts):
        stream.grow(50, kept=kept(state=LARGE))
    number = len(stream.frames)
    made = [put.key.partition("/")[0] for put in stream.puts]
    assert made == ["segments", "index", "snapshots"]
    assert all(put.key.endswith(ident(number).hex()) for put in stream.puts)
    assert stream.known.state.snapshots == [apart("d", 1, number, len(LARGE), number)]
    assert run(read.kept_state(stream.known, "d", 1), stream.objects) == (number, LARGE)


@pytest.mark.parametrize("settings", [TAIL, BLOBS, SMALL], ids=["tail", "blobs", "small tails"])
def test_the_memory_of_a_head_is_counted_with_its_states(settings):
    """A cache has to know; what is elsewhere takes none."""
    plain, keeping = Stream(settings).grow(), Stream(settings).grow(kept=kept(state=bytes(900)))
    assert 900 < keeping.known.state.size - plain.known.state.size < 1900
    large = Stream(settings).grow(kept=kept(state=LARGE))
    assert large.known.state.size == plain.known.state.size


def test_the_intent_names_the_object():
    """So whoever settles it as dead can remove what it made."""
    settings = msgspec.structs.replace(TAIL, feed=True)
    proposal = Proposal("s", encoding.encode_events([]), 1, 0, kept=kept(state=LARGE))
    story = Script(append.append(settings, proposal, nothing("s")))
    story.stamp(1)
    announced, put = story.commit(Stored("e1")).prelude
    assert put.key == keys.snapshot("s", 1, ident(1))
    assert intent.decode(announced.body, announced.key).objects == [put.key]
    assert story.returned().known.state.snapshots == [apart("d", 1, 1, len(LARGE), 1)]


def test_every_attempt_makes_its_own_object():
    """Two attempts share none, so that of the lost one can be removed; all of them are told to the caller."""
    proposal = Proposal("s", encoding.encode_events([]), 1, 0, kept=kept(state=LARGE))
    made: list[str] = []
    story = Script(append.append(TAIL, proposal, nothing("s"), made=made))
    story.stamp(1)
    first = story.commit(REFUSED).prelude
    story.pause()
    story.get("heads/s", MISSING)
    story.pause()
    story.stamp(2)
    second = story.commit(Stored("e1")).prelude
    assert [put.key for put in (*first, *second)] == made == [keys.snapshot("s", 1, ident(n)) for n in (1, 2)]
    assert story.returned().known.state.snapshots == [apart("d", 1, 1, len(LARGE), 2)]


# --- heads that contradict themselves ----------------------------------------------------------------------------


def head_with(snapshots: object, stream: Stream | None = None) -> bytes:
    """A head of version 3 with just these snapshots in it, under a right checksum."""
    state = (stream or Stream(TAIL).grow(1, 1, 1)).known.state
    fields = msgspec.structs.replace(state.fields, extensions={"snapshots": snapshots})
    return head.encode(head.State(fields, state.tail, state.tail_size))


GOOD: list[Any] = ["d", 1, 3, 5, b"state", None]


@pytest.mark.parametrize("good", [[GOOD], [GOOD, ["d", 2, 1, limits.MAX_SNAPSHOT, None, ident(1)]]])
def test_heads_that_are_right(good):
    """What the next test changes is accepted."""
    assert len(head.decode(head_with(good), "heads/s", "s").snapshots) == len(good)


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ([GOOD, GOOD], "a decider has two snapshots"),
        ([["d", 1, 4, 5, b"state", None]], "a snapshot of what is not there"),
        ([["d", 1, 3, 5, None, None]], "neither in it nor elsewhere"),
        ([["d", 1, 3, 5, b"state", ident(1)]], "neither in it nor elsewhere"),
        ([["d", 1, 3, 6, b"state", None]], "neither in it nor elsewhere"),
        ([], "cannot be decoded"),
        ([["", *GOOD[1:]]], "cannot be decoded"),
        ([["d" * (limits.MAX_DECIDER_NAME + 1), *GOOD[1:]]], "cannot be decoded"),
        ([["d", 0, *GOOD[2:]]], "cannot be decoded"),
        ([["d", 1, 0, *GOOD[3:]]], "cannot be decoded"),
        ([["d", 1, 3, limits.MAX_SNAPSHOT + 1, None, ident(1)]], "cannot be decoded"),
        ([["d", 1, 3, 5, None, b"short"]], "cannot be decoded"),
        ([["d", 1, 3, 5, "c3RhdGU=", None]], "cannot be decoded"),
        ([GOOD[:-1]], "cannot be decoded"),
        ([[*GOOD, 1]], "cannot be decoded"),
        ([[name, *GOOD[1:]] for name in "abcdefghi"], "cannot be decoded"),
        ({"d": 1}, "cannot be decoded"),
    ],
)
def test_heads_that_contradict_themselves(bad, why):
    """They are damaged: no load is built on them."""
    with pytest.raises(CorruptData, match=why) as caught:
        head.decode(head_with(bad), "heads/s", "s")
    assert caught.value.key == "heads/s"


def test_the_feed_keeps_no_states():
    """Its head has none."""
    feed = feed_stream(3, TAIL)
    with pytest.raises(CorruptData, match="snapshots, which the feed never has"):
        head.decode(head_with([GOOD], feed), "heads/$feed", keys.FEED)


def test_a_stream_settles_nothing():
    """Only the feed does."""
    state = Stream(TAIL).grow().known.state
    fields = msgspec.structs.replace(state.fields, extensions={"settled": [ident(1)]})
    with pytest.raises(CorruptData, match="only the feed"):
        head.decode(head.encode(head.State(fields, state.tail, state.tail_size)), "heads/s", "s")


# --- damage --------------------------------------------------------------------------------------------------------


def test_every_damage_to_a_head_with_snapshots():
    """It is found, whichever byte it is: those of a state too, and not only when that is looked at."""
    stream = Stream(TAIL).grow(kept=kept()).grow(kept=kept("e", 2, LARGE))

    def whole(body: bytes) -> None:
        read.tail_chain(Known(head.decode(body, "heads/s", "s"), "e"))

    check_every_damage(stream.objects["heads/s"], "heads/s", whole, every=40)


def test_every_damage_to_the_object():
    """It is found, whichever byte it is; of the state as well."""
    state = b"as small as it gets"
    key, named = keys.snapshot("s", 1, ident(1)), apart("d", 1, 1, len(state), 1)
    body = codec.seal("snapshot", Fields("s", 1, ident(1), 0, "d", 1), state)
    check_every_damage(body, key, lambda changed: snapshot.decode_named(changed, key, "s", named), every=20)


@pytest.mark.parametrize(
    ("fields", "state", "why"),
    [
        (Fields("t", 9, ident(1), 8, "d", 1), b"state", "belongs in another place"),
        (Fields("s", 8, ident(1), 8, "d", 1), b"state", "belongs in another place"),
        (Fields("s", 9, ident(2), 8, "d", 1), b"state", "belongs in another place"),
        (Fields("s", 9, ident(1), 8, "e", 1), b"state", "not the one that the head names"),
        (Fields("s", 9, ident(1), 8, "d", 2), b"state", "not the one that the head names"),
        (Fields("s", 9, ident(1), 8, "d", 1), b"other!", "not the one that the head names"),
        (Fields("s", 9, ident(1), 8, "d", 1), [b"state"], "the snapshot has no state"),
        (Fields("s", 0, ident(1), 8, "d", 1), b"state", "cannot be decoded"),
    ],
)
def test_an_object_that_is_another(fields, state, why):
    """Each of its fields says which it is."""
    entry = apart("d", 1, 9, 5, 1)
    key = keys.snapshot("s", 9, ident(1))
    with pytest.raises(CorruptData, match=why) as caught:
        snapshot.decode_named(codec.seal("snapshot", fields, state), key, "s", entry)
    assert caught.value.key == key


# --- reading -------------------------------------------------------------------------------------------------------


def test_a_state_in_the_head_costs_no_request():
    """The one of this name and version, and no other."""
    known = Stream(TAIL).grow(kept=kept("d", 1, b"one")).grow(kept=kept("d", 2, b"two")).known
    assert Script(read.kept_state(known, "d", 1)).returned() == (1, b"one")
    assert Script(read.kept_state(known, "d", 2)).returned() == (2, b"two")
    for name, version in (("d", 3), ("e", 1)):
        assert Script(read.kept_state(known, name, version)).returned() is None


@pytest.fixture
def large() -> tuple[Known, str, bytes]:
    """A head that names an object, its key, and what is in it."""
    stream = Stream(TAIL).grow(kept=kept("e")).grow(kept=kept(state=LARGE))
    (key,) = stream.keys_of("snapshots/")
    return stream.known, key, stream.objects[key]


def test_a_large_state_costs_one_request(large):
    """Of its object, by what the head says."""
    known, key, body = large
    story = Script(read.kept_state(known, "d", 1))
    story.get(key, Found(body, "e"))
    assert story.returned() == (2, LARGE)


def test_an_object_that_is_gone(large):
    """It is no error: whoever asks may have an old head."""
    known, key, _ = large
    story = Script(read.kept_state(known, "d", 1))
    story.get(key, MISSING)
    assert story.returned() is None


@pytest.mark.parametrize("fault", [NotApplied("throttled"), Unknown("time-out")])
def test_an_object_that_cannot_be_had(large, fault):
    """The storage did not answer."""
    known, key, _ = large
    story = Script(read.kept_state(known, "d", 1))
    story.get(key, fault)
    assert story.raised(Unavailable).details == {"key": key, "reason": fault.reason}


def test_an_object_that_cannot_be_read(large):
    """Damaged, or newer than this code."""
    known, key, body = large
    for changed, kind in ((body[:-1], CorruptData), (bytes([body[0], 2]) + body[2:], UnsupportedFormat)):
        story = Script(read.kept_state(known, "d", 1))
        story.get(key, Found(changed, "e"))
        assert story.raised(kind).details["key"] == key


def test_keys_sort_by_version():
    """So a person who lists them sees the newest last."""
    found = [keys.snapshot("s", at, ident(1)) for at in (1, 2, 10, 100, limits.MAX_VERSION)]
    assert all(before < after for before, after in pairwise(found))
