"""What else is left in a store: folders of streams, probes and stale intents."""

from __future__ import annotations

import pytest

from headstream import limits
from headstream.errors import Unavailable
from headstream.model import Settings
from headstream.protocol import keys, leftovers
from headstream.protocol.gc import Tally
from headstream.protocol.ops import ALWAYS, Delete, List, NotApplied, Put, Stamp, Unknown
from support.world import SECOND, World, broken

BLOBS = Settings(tail_bytes=0, fan_out=2, feed=False)
LATER = leftovers.PROBES_LAST + 1.0


@pytest.fixture
def world() -> World:
    """A store of many small objects."""
    return World(BLOBS)


def walk(world: World, folder: str) -> tuple[list[str], list[str], int]:
    """The streams, the unknown keys and the number of steps of a walk."""
    streams: list[str] = []
    unknown: list[str] = []
    steps, after = 0, ""
    while True:
        found = world.run(leftovers.folders(folder, after))
        streams += found.streams
        unknown += found.unknown
        steps += 1
        if found.rest is None:
            return streams, unknown, steps
        after = found.rest


def put(world: World, key: str, body: bytes = b"junk") -> None:
    """An object that nobody here has made."""
    world.put(Put(key, body, ALWAYS))


# --- folders ---------------------------------------------------------------------------------------------------------


def test_streams_with_objects(world):
    """Those that have segments or pages, with or without a head; in the order of their folders."""
    for name in ("b", "a-1", "a", "$x"):
        for number in range(4):
            world.append(name, number)
    world.announce("without a head")
    put(world, "heads/tail")
    assert walk(world, keys.SEGMENTS) == (["$x", "a-1", "a", "b", "without a head"], [], 1)
    assert walk(world, keys.INDEX) == (["$x", "a-1", "a", "b"], [], 1)


def test_a_long_folder_is_jumped_over(world, monkeypatch):
    """One list tells that it is there; its other objects are not listed."""
    monkeypatch.setattr(limits, "LIST_PAGE", 3)
    for number in range(20):
        world.append("long", number)
    world.append("short", 0)
    assert walk(world, keys.SEGMENTS) == (["long", "short"], [], 2)


@pytest.mark.parametrize("name", ["file", "!zz/x", "~ff/x", "!61/x", "order_9/x"])
def test_keys_in_no_streams_folder(world, monkeypatch, name):
    """They are reported, and the walk goes on."""
    monkeypatch.setattr(limits, "LIST_PAGE", 1)
    put(world, f"segments/{name}")
    put(world, "segments/zz/x")
    assert walk(world, keys.SEGMENTS) == (["zz"], [f"segments/{name}"], 2)


# --- probes ----------------------------------------------------------------------------------------------------------


def probe(world: World, rest: str = "", body: bytes = b"12345") -> str:
    """The key of an object by which storage was tested, just now."""
    key = keys.probe(world.stamp().id) + rest
    put(world, key, body)
    return key


def test_old_probes_are_removed(world):
    """One object, or several in a folder; young ones and names that nobody makes stay."""
    old = [probe(world), probe(world, "/race/1"), probe(world, "/race/2", b"1")]
    put(world, "probes/mine")
    world.wait(LATER)
    young = probe(world)
    before = world.keys_of("")
    dry = world.run(leftovers.probes(grace=60, dry=True))
    assert world.keys_of("") == before
    found = world.run(leftovers.probes(grace=60, dry=False))
    assert found == dry
    assert (found.removed, found.unknown, found.rest) == (Tally(3, 11), ("probes/mine",), None)
    assert set(world.keys_of("probes/")) == {young, "probes/mine"}
    assert not set(old) & set(world.keys_of(""))


def test_probes_wait_for_the_longest_examination(world):
    """Longer than the grace of appends; a longer grace counts."""
    probe(world)
    world.wait(LATER - 10)
    assert world.run(leftovers.probes(grace=1, dry=False)).removed.objects == 0
    world.wait(20)
    assert world.run(leftovers.probes(grace=10 * leftovers.PROBES_LAST, dry=False)).removed.objects == 0
    assert world.run(leftovers.probes(grace=1, dry=False)).removed.objects == 1


def test_probes_in_pages(world, monkeypatch):
    """A step is one page; the time may be given."""
    monkeypatch.setattr(limits, "LIST_PAGE", 2)
    for _ in range(3):
        probe(world)
    now = world.now + int(LATER) * SECOND
    world.requests.clear()
    first = world.run(leftovers.probes(grace=1, dry=False, now=now))
    second = world.run(leftovers.probes(grace=1, dry=False, now=now, after=first.rest or ""))
    assert (first.removed.objects, second.removed.objects, second.rest) == (2, 1, None)
    assert not any(isinstance(op, Stamp) for op in world.requests)


# --- intents ---------------------------------------------------------------------------------------------------------


def test_stale_intents():
    """Those that should have been settled long ago, committed or not; nothing is removed."""
    world = World()
    world.append("a", 1)
    late = world.announce("b")
    world.wait(61)
    world.append("a", 2)
    put(world, "inbox/mine")
    world.requests.clear()
    found = world.run(leftovers.inbox(grace=60))
    assert [(entry.stream, entry.follows) for entry in found.stale] == [("a", 0), ("b", 0)]
    assert found.stale[1].key == late.keys[0]
    assert (found.unknown, found.rest) == (("inbox/mine",), None)
    assert {type(op) for op in world.requests} == {Stamp, List}


def test_intents_in_pages(monkeypatch):
    """A step is one page; the time may be given."""
    monkeypatch.setattr(limits, "LIST_PAGE", 2)
    world = World()
    for name in "abc":
        world.append(name)
    now = world.now + 61 * SECOND
    first = world.run(leftovers.inbox(grace=60, now=now))
    second = world.run(leftovers.inbox(grace=60, now=now, after=first.rest or ""))
    assert [entry.stream for entry in (*first.stale, *second.stale)] == ["a", "b", "c"]
    assert second.rest is None


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Unknown("time-out"), NotApplied("throttled")])
def test_storage_that_does_not_answer(world, fault):
    """It says so, whatever was asked."""
    probe(world)
    world.wait(LATER)
    for at, request in enumerate(("list", "sizes", "deletion"), 1):
        story = broken(world, leftovers.probes(grace=1, dry=False), at, fault, applied=False)
        assert isinstance(story.error, Unavailable), request
    for step in (leftovers.folders(keys.SEGMENTS), leftovers.inbox(grace=1)):
        assert isinstance(broken(world, step, 1, fault, applied=False).error, Unavailable)
    assert not any(isinstance(op, Delete) for op in world.requests)
