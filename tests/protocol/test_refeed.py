"""The feed, laid out anew from some position on."""

from __future__ import annotations

import pytest

from headstream.errors import CorruptData
from headstream.model import Settings
from headstream.protocol import codec, keys, refeed, repair
from headstream.protocol.census import Census
from headstream.protocol.codec import Frame
from headstream.protocol.head import State
from headstream.protocol.ops import ABSENT, Condition, Matches
from headstream.protocol.read import load_head
from headstream.protocol.refeed import Entry, Kept
from headstream.protocol.segment import Ref
from headstream.protocol.verify import START, begin, step
from support.world import World

BLOBS = Settings(tail_bytes=0, fan_out=2)
ROOMY = Settings(tail_bytes=4000, fan_out=2)


def filled(settings: Settings) -> World:
    """A store of three streams, all of which is in the feed, by several advances."""
    world = World(settings)
    for number in range(9):
        world.append(f"s{number % 3}", number, number)
        if number % 2:
            world.advance()
    world.advance()
    return world


def entries(world: World, after: dict[str, int] | None = None) -> list[Entry]:
    """The changesets of all streams, in the order of their ids; of some streams those after a version."""
    found = []
    for name in ("s0", "s1", "s2"):
        walk = begin(world.run(load_head(name, None)))
        while not walk.ended:
            stride = world.run(step(walk))
            walk = stride.walk
            frames = [frame for part in stride.parts for frame in part.chain if isinstance(frame, Frame)]
            found += [Entry(one.id, name, one.follows) for one in frames if one.follows >= (after or {}).get(name, 0)]
    return sorted(found, key=lambda entry: entry.id)


def keep(world: World, segments: int, tail: int = 0) -> tuple[Kept, dict[str, int]]:
    """So much of the feed; and what it has of each stream."""
    known = world.head(keys.FEED)
    census, refs, sealed = Census(), list[Ref](), START
    walk = begin(known)
    while not walk.ended and len(refs) < segments:
        stride = world.run(step(walk))
        walk = stride.walk
        for part in stride.parts[: segments - len(refs)]:
            assert part.ref is not None
            census.absorb(part)
            refs.append(part.ref)
            sealed = part.link
    raw = known.state.tail[:tail]
    end = sealed
    for frame in codec.decode_chain(raw, sealed.version, sealed.changeset_id, "", stream=keys.FEED):
        assert not isinstance(frame, Frame)
        for event in frame.events:
            census.streams.setdefault(event.stream, census.of(event.stream)).version = event.version
        end = type(sealed)(frame.version, frame.id, frame.parent, codec.chain_digest(end.digest, raw[:1]), "")
        raw = raw[1:]
    return Kept(refs, sealed, known.state.tail[:tail], end), {
        name: entry.version for name, entry in census.streams.items()
    }


def lay_out(world: World, kept: Kept, rest: list[Entry], when: Condition, *, together: int = 2) -> bool:
    """The rest of the feed, some changesets at a time."""
    state: State = world.run(refeed.begin(kept, world.settings, world.run(repair.fresh())))
    for start in range(0, len(rest), together):
        state = world.run(refeed.extend(state, rest[start : start + together], world.settings))
    return world.run(refeed.finish(state, [entry.id for entry in rest[-1:]], when))


def check(world: World) -> None:
    """The feed is in order, has all of every stream once, and can be read and extended."""
    walk, census = begin(world.head(keys.FEED)), Census()
    while not walk.ended:
        stride = world.run(step(walk))
        walk = stride.walk
        assert stride.faults == []
        assert [fault for part in stride.parts for fault in census.absorb(part)] == []
    assert {name: entry.version for name, entry in census.streams.items()} == {"s0": 6, "s1": 6, "s2": 6}
    world.append("s0", "more")
    world.advance()
    assert world.published()[-1] == ("s0", 7)


@pytest.mark.parametrize("settings", [BLOBS, ROOMY], ids=["blobs", "tail"])
@pytest.mark.parametrize("together", [1, 4, 100])
def test_all_of_it(settings: Settings, together: int):
    """From nothing: in the order of the changesets' ids."""
    world = filled(settings)
    etag = world.head(keys.FEED).etag
    assert etag is not None
    rest = entries(world)
    assert lay_out(world, Kept([], START, (), START), rest, Matches(etag), together=together)
    assert world.published() == [(entry.stream, entry.follows + n) for entry in rest for n in (1, 2)]
    assert world.head(keys.FEED).state.settled == {rest[-1].id}
    check(world)


@pytest.mark.parametrize("segments", range(6))
def test_what_is_before_the_damage_stays(segments: int):
    """The same segments, by fresh index pages."""
    world = filled(BLOBS)
    before = world.published()
    kept, after = keep(world, segments)
    etag = world.head(keys.FEED).etag
    assert etag is not None
    assert lay_out(world, kept, entries(world, after), Matches(etag))
    assert world.published()[: kept.end.version] == before[: kept.end.version]
    check(world)


@pytest.mark.parametrize("tail", [1, 2, 5])
def test_a_part_of_the_tail_stays(tail: int):
    """The changesets before the first that cannot be read."""
    world = filled(ROOMY)
    before = world.published()
    kept, after = keep(world, 0, tail)
    etag = world.head(keys.FEED).etag
    assert etag is not None
    assert lay_out(world, kept, entries(world, after), Matches(etag))
    assert kept.end.version > 0
    assert world.published()[: kept.end.version] == before[: kept.end.version]
    check(world)


def test_a_feed_that_was_advanced_meanwhile():
    """Nothing has happened."""
    world = filled(BLOBS)
    etag = world.head(keys.FEED).etag
    assert etag is not None
    world.append("s0", "more")
    world.advance()
    before = world.published()
    for when in (Matches(etag), ABSENT):
        assert not lay_out(world, Kept([], START, (), START), entries(world), when)
        assert world.published() == before


def test_a_missing_feed():
    """Is created, even if there is nothing in it."""
    world = filled(BLOBS)
    world.backend.delete(["heads/!24feed"])
    assert lay_out(world, Kept([], START, (), START), [], ABSENT)
    assert world.published() == []
    world.backend.delete(["heads/!24feed"])
    assert lay_out(world, Kept([], START, (), START), entries(world), ABSENT)
    check(world)


def test_a_changeset_that_is_not_there():
    """Nothing is published that the stream does not have."""
    world = filled(BLOBS)
    for wrong in (Entry(bytes(16), "s0", 0), Entry(bytes(16), "s0", 1)):
        with pytest.raises(CorruptData) as caught:
            world.run(refeed.fetch([*entries(world)[:2], wrong]))
        assert caught.value.key == "heads/s0"


def test_a_feed_that_is_laid_out_anew_is_newer_and_compressed():
    """Its fence is above that of the one before, whatever the clock says; and the tail is stored as ever."""
    world = World(Settings(tail_bytes=64_000))
    for number in range(9):
        world.append("s0", "x" * 200, number)
    world.advance()
    before = world.head(keys.FEED)
    ahead = 9 * 10**15
    kept = Kept([], START, (), START, fence=ahead)
    assert before.etag is not None
    assert lay_out(world, kept, entries(world), Matches(before.etag))
    after = world.head(keys.FEED).state
    assert after.fields.fence == ahead + 1
    assert after.age > before.state.age
    assert after.packed_tail is not None
    assert len(after.tail) > 1
