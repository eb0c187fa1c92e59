"""What is in a store besides the objects of streams."""

from __future__ import annotations

import pytest

from headstream import limits
from headstream.errors import Unavailable
from headstream.model import Settings
from headstream.protocol import checkpoint, feed, inventory, keys
from headstream.protocol.census import Census
from headstream.protocol.fault import Fault, Kind, Mend
from headstream.protocol.mark import Mark
from headstream.protocol.ops import ALWAYS, MISSING, NotApplied, Page, Put
from headstream.protocol.store import Description, open_store
from headstream.protocol.verify import begin, step
from support.script import Script
from support.world import World, nobody


def put(world: World, key: str, body: bytes) -> None:
    """Write an object, whatever is there."""
    world.backend.delete([key])
    world.put(Put(key, body, ALWAYS))


def body(world: World, key: str) -> bytes:
    """What is in an object."""
    return world.backend._objects[key].body


def counted(world: World) -> Census:
    """What the feed has now."""
    census = Census()
    known = world.head(keys.FEED)
    census.settled = known.state.settled
    walk = begin(known)
    while not walk.ended:
        stride = world.run(step(walk))
        walk = stride.walk
        for part in stride.parts:
            census.absorb(part)
    return census


def inbox(world: World, census: Census | None = None, versions: dict[str, int] | None = None) -> list[Fault]:
    """What is wrong with the inbox, after all streams were checked."""
    if versions is None:
        versions = {name: world.head(name).state.version for name in ("s", "t")}
    mail = world.run(inventory.inbox(census or counted(world), versions))
    assert mail.rest is None
    return mail.faults


# --- the description -----------------------------------------------------------------------------------------------


def test_the_description_is_what_it_was():
    """It can be missing, damaged, of another format, or another one."""
    world = World()
    made: Description = world.run(open_store(100, {}, create=True))
    assert world.run(inventory.describe_store(made)) == []
    good = body(world, keys.STORE)
    cases: list[tuple[bytes, Kind]] = [
        (good[:-5], Kind.DAMAGED),
        (good.replace(b'"format": 1', b'"format": 7'), Kind.DAMAGED),
        (good.replace(b'"fan_out": 64', b'"fan_out": 1'), Kind.DAMAGED),
        (good.replace(b"true", b"false"), Kind.CONTRADICTION),
    ]
    for changed, kind in cases:
        assert changed != good
        put(world, keys.STORE, changed)
        (fault,) = world.run(inventory.describe_store(made))
        assert (fault.key, fault.kind) == (keys.STORE, kind)
    world.backend.delete([keys.STORE])
    (fault,) = world.run(inventory.describe_store(made))
    assert (fault.key, fault.kind) == (keys.STORE, Kind.MISSING)


# --- heads ---------------------------------------------------------------------------------------------------------


def test_heads_by_their_names():
    """What is no name of a stream is reported; a list goes on where it ended."""
    world = World()
    for name in ("b", "a/1"):
        world.append(name)
    put(world, "heads/!6", b"")
    put(world, "heads/", b"")
    found = world.run(inventory.heads())
    assert (found.streams, found.rest) == (["a/1", "b"], None)
    assert [(fault.key, fault.kind, fault.grave) for fault in found.faults] == [
        ("heads/", Kind.UNKNOWN, True),
        ("heads/!6", Kind.UNKNOWN, True),
    ]
    story = Script(inventory.heads("heads/a"))
    story.lists("heads/", Page(("heads/b",), more=True), after="heads/a")
    assert story.returned().rest == "heads/b"
    story = Script(inventory.heads())
    story.lists("heads/", NotApplied("throttled"))
    assert story.raised(Unavailable)


# --- the inbox -----------------------------------------------------------------------------------------------------


def test_intents_that_wait_are_clean():
    """Committed, in flight, dead or settled: an advance deals with each of them."""
    world = World()
    world.append("s", 1)
    assert inbox(world) == []
    world.announce("s", 2)  # in flight
    world.announce("t", 1)  # of a stream that does not exist yet
    assert inbox(world) == []
    world.append("s", 3)  # the first of them is dead now
    assert inbox(world) == []
    plan = world.run(feed.survey(None, 100))
    world.run(feed.publish(world.settings, plan, nobody))
    assert world.keys_of("inbox/"), "what was settled may still be there"
    assert inbox(world) == []
    world.advance()
    assert inbox(world) == []


def test_an_intent_that_was_settled_meanwhile():
    """It was listed, and is gone: that is how it should be."""
    world = World()
    world.append("s")
    (key,) = world.keys_of("inbox/")
    story = Script(inventory.inbox(Census(), {"s": 1}))
    story.lists("inbox/", Page((key,), more=True))
    story.get_many([key], (MISSING,))
    mail = story.returned()
    assert (mail.intents, mail.faults, mail.rest) == (1, [], key)


def test_what_is_no_intent():
    """It stops every advance."""
    world = World()
    put(world, "inbox/x", b"")
    (fault,) = inbox(world)
    assert (fault.key, fault.kind, fault.grave) == ("inbox/x", Kind.UNKNOWN, True)


def test_intents_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch):
    """Damaged, under another key, or newer."""
    monkeypatch.setattr(limits, "FEED_HEADS", 2)
    world = World()
    for _ in range(5):
        world.append("s")
    first, second, third, *_ = world.keys_of("inbox/")
    good = body(world, second)
    put(world, first, good)
    put(world, second, good[:-1])
    put(world, third, bytes([good[0], 9]) + good[2:])
    faults = inbox(world)
    assert [(fault.key, fault.kind, fault.mend) for fault in faults] == [
        (first, Kind.DAMAGED, Mend.INTENT),
        (second, Kind.DAMAGED, Mend.INTENT),
        (third, Kind.NEWER, None),
    ]


@pytest.mark.parametrize("settings", [World().settings, Settings(tail_bytes=0, fan_out=2)])
def test_an_intent_of_what_is_in_the_feed(settings: Settings):
    """Unless the newest changeset of the feed settled it, it would be published again."""
    world = World(settings)
    kept = {}
    for number in range(6):
        world.append("s", number)
        kept.update({key: body(world, key) for key in world.keys_of("inbox/")})
        if number in (2, 4):
            world.advance()
    world.announce("s", "never")
    world.append("s", "next")
    world.advance()
    for key, was in kept.items():
        put(world, key, was)
    faults = inbox(world)
    settled = world.head(keys.FEED).state.settled
    expected = [key for key in kept if bytes.fromhex(key[6:38]) not in settled]
    assert sorted(fault.key for fault in faults) == sorted(expected)
    assert len(expected) == 5
    assert {fault.mend for fault in faults} == {Mend.SETTLE}


def test_an_intent_ahead_of_its_stream():
    """Its writer had seen more than there is: the head is missing, or an old copy."""
    world = World()
    world.append("s", 1, 2)
    world.append("s", 3)
    world.announce("s", 4)
    assert inbox(world, versions={"s": 3}) == []
    assert inbox(world, versions={}) == []
    for key in world.keys_of("inbox/")[:2]:
        world.backend.delete([key])
    put(world, "heads/s", old_body(world))
    (fault,) = inbox(world)
    assert (fault.key, fault.kind, fault.mend) == ("heads/s", Kind.CONTRADICTION, None)
    assert (fault.first, fault.last) == (3, 3)
    world.backend.delete(["heads/s"])
    (fault,) = inbox(world)
    assert (fault.key, fault.kind, fault.mend) == ("heads/s", Kind.MISSING, Mend.HEAD)
    put(world, "heads/s", b"no head")
    assert inbox(world, Census(), {"s": 0}) == [], "that the head cannot be read was said before"


def old_body(world: World) -> bytes:
    """The head of a stream ``s`` of two events."""
    other = World(world.settings)
    other.append("s", 1, 2)
    return body(other, "heads/s")


# --- checkpoints ---------------------------------------------------------------------------------------------------


def test_checkpoints(monkeypatch: pytest.MonkeyPatch):
    """Those that can be read are returned; the others are named."""
    monkeypatch.setattr(limits, "FEED_HEADS", 2)
    world = World()
    for number, name in enumerate("abcd"):
        world.run(checkpoint.save(name, None, Mark(number), "me"))
    good = body(world, "checkpoints/b")
    put(world, "checkpoints/a", good)
    put(world, "checkpoints/c", bytes([good[0], 2]) + good[2:])
    found = world.run(inventory.checkpoints())
    assert [(one.name, one.position) for one in found.found] == [("b", 1), ("d", 3)]
    assert [(fault.key, fault.kind) for fault in found.faults] == [
        ("checkpoints/a", Kind.DAMAGED),
        ("checkpoints/c", Kind.NEWER),
    ]
    assert found.rest is None
    story = Script(inventory.checkpoints("x"))
    story.lists("checkpoints/", Page(("checkpoints/y",), more=True), after="x")
    story.get_many(["checkpoints/y"], (MISSING,))
    assert story.returned() == inventory.Checkpoints([], [], "checkpoints/y")


# --- intents that are looked for -----------------------------------------------------------------------------------


def test_which_intents_are_missing(monkeypatch: pytest.MonkeyPatch):
    """Some at once, in order."""
    monkeypatch.setattr(limits, "FEED_HEADS", 2)
    world = World()
    for _ in range(3):
        world.append("s")
    there = world.keys_of("inbox/")
    asked = (there[0], "inbox/none", there[1], there[2], "inbox/no")
    assert world.run(inventory.missing_intents(asked)) == [False, True, False, False, True]
    assert world.run(inventory.missing_intents(())) == []


def test_the_end_of_a_list():
    """An empty page has no rest, whatever it says."""
    assert inventory.rest_of(Page((), more=True)) is None
    assert inventory.rest_of(Page(("a",), more=False)) is None
