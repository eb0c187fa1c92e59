"""Collecting the snapshots that no head names: those that were replaced, and those of appends that failed."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headstream import limits
from headstream.errors import CorruptData, Unavailable
from headstream.model import Settings
from headstream.protocol import gc, keys, read, verify
from headstream.protocol.fault import Kind
from headstream.protocol.gc import Place, Swept, Tally
from headstream.protocol.ops import ALWAYS, Commit, Delete, Found, Get, GetMany, List, Op, Put, Stamp, Unknown
from headstream.protocol.snapshot import Kept
from support.script import Script
from support.world import SETTINGS, Announced, World, broken

PLAIN = Settings(tail_bytes=4096, fan_out=2, feed=False, grace_seconds=60)
GRACE = 60
LATER = 3600.0


@pytest.fixture
def world() -> World:
    """A store without a feed, whose streams live in their heads."""
    return World(PLAIN)


def state(number: int, name: str = "d") -> Kept:
    """A state that is too large for a head."""
    return Kept(name, 1, bytes([number]) * (limits.SNAPSHOT_INLINE + 1))


def snapshots(world: World) -> list[str]:
    """The keys of all of them."""
    return world.keys_of(keys.SNAPSHOTS)


def named(world: World) -> list[str]:
    """The keys of those that the head names."""
    return sorted(str(entry.key("s")) for entry in world.head("s").state.snapshots)


def sweep(world: World, *, dry: bool = False, stream: str = "s") -> Swept:
    """All steps of a sweep."""
    swept: Swept = world.run(gc.sweep(stream, grace=GRACE, dry=dry))
    while swept.rest is not None:
        swept += world.run(gc.sweep(stream, grace=GRACE, dry=dry, place=swept.rest))
    return swept


def last_step(world: World) -> Script[Swept]:
    """The step of a sweep that is about snapshots, before its first request."""
    return world.start(gc.sweep("s", grace=GRACE, dry=False, place=Place(f"{keys.SNAPSHOTS}s/")))


def orphans(world: World, count: int = 1) -> list[Announced]:
    """Appends that wrote their objects and went no further, long ago."""
    made = [world.announce("s", number, kept=state(100 + number)) for number in range(count)]
    world.wait(LATER)
    return made


def kept(world: World, name: str = "d") -> tuple[int, bytes] | None:
    """The state that a load finds."""
    return world.run(read.kept_state(world.head("s"), name, 1))


# --- what goes and what stays --------------------------------------------------------------------------------------


def test_what_was_replaced_is_removed(world):
    """The newest of each decider stays; objects and bytes are counted."""
    for number in range(1, 5):
        world.append("s", kept=state(number))
        world.append("s", kept=state(number, "e"))
    world.append("s")
    replaced = sorted(set(snapshots(world)) - set(named(world)))
    size = sum(len(body_of(world, key)) for key in replaced)
    world.wait(LATER)
    swept = sweep(world)
    assert (swept.snapshots, swept.segments, swept.pages) == (Tally(6, size), Tally(), Tally())
    assert (swept.looked, swept.fences, swept.left) == (8, 1, 0)
    assert len(snapshots(world)) == 2
    assert snapshots(world) == named(world)
    assert kept(world) == (7, state(4).state)
    assert kept(world, "e") == (8, state(4).state)


def body_of(world: World, key: str) -> bytes:
    """What is under a key."""
    found = world.backend.get(Get(key))
    assert isinstance(found, Found)
    return found.body


def test_what_gave_way_is_removed(world):
    """A head has so many; the oldest that it no longer names is garbage."""
    for number in range(limits.MAX_SNAPSHOTS + 1):
        world.append("s", kept=state(number, f"d{number}"))
    world.wait(LATER)
    assert sweep(world).snapshots.objects == 1
    assert snapshots(world) == named(world)
    assert kept(world, "d0") is None


def test_a_store_without_garbage(world):
    """Nothing is removed, and nobody is fenced."""
    world.append("s", kept=state(1))
    world.wait(LATER)
    world.requests.clear()
    swept = sweep(world)
    assert (swept.snapshots, swept.fences, swept.looked) == (Tally(), 0, 1)
    assert not any(isinstance(op, (Commit, Delete)) for op in world.requests)


def test_young_ones_are_left(world):
    """Whoever reads by the head before may still want what was replaced a moment ago."""
    for number in range(3):
        world.append("s", kept=state(number))
    world.requests.clear()
    assert sweep(world).snapshots == Tally()
    assert {type(op) for op in world.requests} == {Stamp, List}
    assert len(snapshots(world)) == 3


def test_those_of_appends_that_died(world):
    """What they made goes, and they can no longer land."""
    world.append("s", kept=state(1))
    appends = orphans(world, 3)
    assert sweep(world).snapshots.objects == 3
    assert snapshots(world) == named(world)
    assert not any(one.land() for one in appends)
    assert kept(world) == (1, state(1).state)


def test_a_stream_that_never_was(world):
    """All that is there of it is the snapshot of its first append, which died."""
    (late,) = orphans(world)
    swept = sweep(world)
    assert (swept.snapshots.objects, swept.fences) == (1, 1)
    assert snapshots(world) == []
    assert not late.land()


def test_a_dry_run_writes_nothing(world):
    """It says what would be removed."""
    for number in range(3):
        world.append("s", kept=state(number))
    orphans(world)
    before = snapshots(world)
    world.requests.clear()
    dry = sweep(world, dry=True)
    assert not any(isinstance(op, (Commit, Delete)) for op in world.requests)
    assert snapshots(world) == before
    real = sweep(world)
    assert dry.snapshots == real.snapshots
    assert real.snapshots.objects == 3


def test_segments_pages_and_snapshots_in_one_sweep():
    """Each kind is counted as what it is."""
    world = World(Settings(tail_bytes=0, fan_out=2, feed=False, grace_seconds=60))
    for number in range(10):
        world.append("s", number, kept=state(number))
        orphans(world)
    swept = sweep(world)
    assert swept.segments.objects == 10
    assert swept.pages.objects > 0
    assert swept.snapshots.objects == 19
    assert snapshots(world) == named(world)


@pytest.mark.parametrize("name", ["x", "0000000000000000-" + "0" * 32, "1-0000000000000001-" + "0" * 32])
def test_names_that_nobody_makes(world, name):
    """They are reported and left."""
    key = f"{keys.SNAPSHOTS}s/{name}"
    world.put(Put(key, b"junk", ALWAYS))
    world.wait(LATER)
    assert sweep(world).unknown == (key,)
    assert snapshots(world) == [key]


def test_pages_of_a_list(world, monkeypatch):
    """Two keys a step: the sweep goes on where it was."""
    monkeypatch.setattr(limits, "LIST_PAGE", 2)
    for number in range(7):
        world.append("s", kept=state(number))
    world.wait(LATER)
    assert sweep(world).snapshots.objects == 6
    assert snapshots(world) == named(world)


# --- beside others -------------------------------------------------------------------------------------------------


STEPS: dict[str, Callable[[Op[object]], bool]] = {
    "the list": lambda op: isinstance(op, List),
    "the head": lambda op: isinstance(op, Get),
    "the sizes": lambda op: isinstance(op, GetMany),
    "the fence": lambda op: isinstance(op, Commit),
    "the deletion": lambda op: isinstance(op, Delete),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("more", [0, 1, 3])
def test_an_old_append_lands_during_a_sweep(world, step, more):
    """Before the fence it is in time, and its state is kept until it is replaced; after it, it is dead."""
    world.append("s", kept=state(1))
    late, dead = orphans(world, 2)
    story = world.play(last_step(world), until=STEPS[step])
    landed = late.land()
    assert landed == (step != "the deletion")
    for number in range(more):
        world.append("s", kept=state(10 + number))
    world.play(story).returned()
    assert set(named(world)) <= set(snapshots(world)), "what the head names is there"
    assert dead.keys[0] not in snapshots(world)
    newest = 10 + more - 1 if more else 100 if landed else 1
    found = kept(world)
    assert found is not None
    assert found[1] == state(newest).state
    world.wait(LATER)
    sweep(world)
    assert snapshots(world) == named(world)


def test_what_is_replaced_during_a_sweep(world):
    """It was named by the head of the sweep: it is left to the next one."""
    world.append("s", kept=state(1))
    world.append("s", kept=state(2))
    world.wait(LATER)
    story = world.play(last_step(world), until=Commit)
    world.append("s", kept=state(3))
    assert world.play(story).returned().snapshots.objects == 1
    assert len(snapshots(world)) == 2
    world.wait(LATER)
    assert sweep(world).snapshots.objects == 1
    assert snapshots(world) == named(world)


@pytest.mark.parametrize("applied", [False, True])
def test_any_request_may_fail(applied):
    """What the head names stays; the next sweep removes the rest."""
    outcomes: set[type[object]] = set()
    for at in range(1, 7):
        world = World(PLAIN)
        for number in range(3):
            world.append("s", kept=state(number))
        orphans(world)
        gen = gc.sweep("s", grace=GRACE, dry=False, place=Place(f"{keys.SNAPSHOTS}s/"))
        story = broken(world, gen, at, Unknown("time-out"), applied=applied)
        outcomes.add(type(story.error))
        assert set(named(world)) <= set(snapshots(world))
        assert kept(world) == (3, state(2).state)
        sweep(world)
        assert snapshots(world) == named(world)
    assert outcomes == {type(None), Unavailable}


# --- an advance settles what is dead -------------------------------------------------------------------------------


def test_an_advance_removes_those_of_dead_attempts():
    """The intent names the object."""
    world = World(SETTINGS)
    loser = world.announce("s", kept=state(1))
    assert [key.partition("/")[0] for key in loser.keys] == ["inbox", "snapshots"]
    world.append("s", kept=state(2))
    assert len(snapshots(world)) == 2
    assert world.advance().settled == 2
    assert snapshots(world) == named(world)
    assert kept(world) == (1, state(2).state)
    assert world.keys_of(keys.INBOX) == []
    assert not loser.land()


def test_an_advance_leaves_what_was_replaced():
    """It is no attempt's that died: a collection removes it, when it is old."""
    world = World(SETTINGS)
    for number in range(3):
        world.append("s", kept=state(number))
        world.advance()
    assert len(snapshots(world)) == 3
    world.wait(LATER)
    assert sweep(world).snapshots.objects == 2


# --- proof of what is gone -----------------------------------------------------------------------------------------


def check_nothing_is_removed(world: World, match: str, key: str) -> None:
    """A sweep says that the stream is damaged, and leaves everything as it is."""
    before = snapshots(world)
    with pytest.raises(CorruptData, match=match) as caught:
        sweep(world)
    assert caught.value.key == key
    assert snapshots(world) == before


def test_a_head_that_is_gone(world):
    """A snapshot proves that something was committed before it was made."""
    world.append("s")
    world.append("s", kept=state(1))
    world.wait(LATER)
    world.backend.delete(["heads/s"])
    check_nothing_is_removed(world, "the head is gone", "heads/s")


def test_an_old_copy_of_a_head(world):
    """A snapshot that was made after a later version proves that."""
    world.append("s")
    old = body_of(world, "heads/s")
    world.append("s")
    world.append("s", kept=state(1))
    world.wait(LATER)
    world.put(Put("heads/s", old, ALWAYS))
    check_nothing_is_removed(world, "an old copy", "heads/s")


def test_one_ahead_of_the_head_that_cannot_be_decoded(world):
    """It may be all that proves it: somebody has to look."""
    world.append("s")
    (late,) = orphans(world)
    world.put(Put(late.keys[0], b"junk", ALWAYS))
    check_nothing_is_removed(world, "the object is none of headstream's", late.keys[0])


def test_a_replaced_one_that_is_damaged(world):
    """Its key says that it is of a version that the head has: so it proves nothing, and goes. Else no other of the stream would ever go."""
    for number in range(1, 4):
        world.append("s", kept=state(number))
    world.put(Put(snapshots(world)[0], b"junk", ALWAYS))
    world.wait(LATER)
    assert sweep(world).snapshots.objects == 2
    assert snapshots(world) == named(world)


def test_one_that_was_replaced_while_the_stream_is_verified(world):
    """It was collected since the head was read: that is no fault. One that the head still names is."""
    world.append("s", kept=state(1))
    known = world.head("s")
    world.wait(LATER)
    world.append("s", kept=state(2))
    sweep(world)
    assert world.run(verify.check_snapshots(known)) == []
    (key,) = snapshots(world)
    world.backend.delete([key])
    (found,) = world.run(verify.check_snapshots(world.head("s")))
    assert (found.kind, found.key) == (Kind.MISSING, key)
    world.put(Put(keys.head("s"), b"junk", ALWAYS))
    assert len(world.run(verify.check_snapshots(known))) == 1, "a head that cannot be read says nothing"
