"""An advance past streams that cannot be read: they keep their intents, and all others are published (feed, rule 9)."""

from __future__ import annotations

import pytest

from headstream import limits
from headstream.errors import CorruptData, UnsupportedFormat
from headstream.protocol import feed, keys
from headstream.protocol.feed import Progress
from headstream.protocol.ops import ALWAYS, Get, GetMany, List, Put
from support.world import GRACE, SECOND, World, nobody
from support.wrong_clock import AFTER_2286, BEFORE_1970, append_at


@pytest.fixture
def world() -> World:
    """A store."""
    return World()


def damage_head(world: World, stream: str) -> None:
    """Its head is no head any more."""
    world.put(Put(keys.head(stream), b"damaged", ALWAYS))


def damage_segment(world: World, stream: str) -> None:
    """Its oldest segment is none any more."""
    world.put(Put(world.keys_of(f"segments/{stream}/")[0], b"damaged", ALWAYS))


def damage_time(world: World, stream: str) -> None:
    """It gets a changeset from before 1970."""
    append_at(world.backend, world.settings, stream, BEFORE_1970)


def damage_later_time(world: World, stream: str) -> None:
    """It gets a changeset from after 2286."""
    append_at(world.backend, world.settings, stream, AFTER_2286)


def lose_head(world: World, stream: str) -> None:
    """Its head is gone."""
    world.backend.delete([keys.head(stream)])


DAMAGES = [damage_head, damage_segment, damage_time, damage_later_time, lose_head]


def filled(world: World) -> list[tuple[str, int]]:
    """Three streams that take turns, with segments; what a whole feed has of the healthy ones."""
    for number in range(1, 4):
        for stream in ("a", "bad", "c"):
            world.append(stream, b"x" * 300 * number)
    return [(stream, number) for number in range(1, 4) for stream in ("a", "c")]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_stream_that_cannot_be_read_stops_no_other(world, damage):
    """The others are in the feed; of the damaged one nothing is lost: its intents are there, in their order."""
    healthy = filled(world)
    damage(world, "bad")
    before = [key for key in world.keys_of("inbox/") if key.endswith("-bad")]
    progress = world.advance()
    published = world.published()
    assert [event for event in published if event[0] != "bad"] == healthy
    assert world.versions("bad") == list(range(1, len(world.versions("bad")) + 1))
    assert [key for key in world.keys_of("inbox/") if key.endswith("-bad")] == before[len(world.versions("bad")) :]
    assert list(progress.unreadable) == ["bad"]
    with pytest.raises(CorruptData) as caught:
        progress.check()
    assert caught.value.key in {keys.head("bad"), *world.keys_of("segments/bad/")}


@pytest.mark.parametrize("damage", [damage_head, damage_segment, lose_head])
def test_what_was_left_comes_when_it_can_be_read(world, damage):
    """Once, and in its order, whatever was published before."""
    filled(world)
    objects = {key: world.backend.get(Get(key)).body for key in world.keys_of("")}
    damage(world, "bad")
    world.advance()
    world.append("a")
    world.advance()
    for key, body in objects.items():
        if key.startswith(("heads/bad", "segments/bad")):
            world.put(Put(key, body, ALWAYS))
    world.append("bad")
    progress = world.advance()
    assert (progress.problems, world.keys_of("inbox/")) == ([], [])
    assert world.versions("bad") == [1, 2, 3, 4]
    assert world.versions("a") == [1, 2, 3, 4]


def test_a_stream_of_a_newer_headstream_is_left_to_it(world):
    """Nothing is wrong with it, and the others go on."""
    healthy = filled(world)
    world.put(Put(keys.head("bad"), b"\x95\x02\xa4head", ALWAYS))
    progress = world.advance()
    assert world.published() == healthy
    with pytest.raises(UnsupportedFormat):
        progress.check()


def test_a_window_that_is_full_of_a_damaged_stream(world, monkeypatch):
    """It is passed over: windows stay as small as they are, and what lies behind it is reached by one more survey."""
    monkeypatch.setattr(limits, "FEED_WINDOW", 3)
    monkeypatch.setattr(limits, "LIST_PAGE", 1)
    monkeypatch.setattr(limits, "FEED_BATCH_INTENTS", 2)
    for _ in range(20):
        world.append("bad")
    for _ in range(5):
        world.append("good")
    damage_head(world, "bad")
    progress, windows = Progress(), []
    while not progress.done:
        progress = world.run(feed.step(world.settings, progress, nobody))
        windows.append(progress.window)
        if progress.plan is not None:
            assert len(progress.plan.rest) <= 3
    assert world.published() == [("good", number) for number in range(1, 6)]
    assert set(windows) == {0}
    assert len(world.keys_of("inbox/")) == 20


def test_several_damaged_streams_among_many(world):
    """Each of them is found, and told of: the segments of several streams are fetched together."""
    for number in range(12):
        for _ in range(3):
            world.append(f"s{number:02}", b"x" * 300)
    bad = ["s03", "s04", "s09"]
    for stream in bad:
        damage_segment(world, stream)
    progress = world.advance()
    assert sorted(progress.unreadable) == bad
    assert {stream for stream, _ in world.published()} == {f"s{number:02}" for number in range(12)} - set(bad)
    with pytest.raises(CorruptData, match="2 other objects of the store cannot be read either"):
        progress.check()


def test_what_is_settled_of_a_damaged_stream_is_deleted(world):
    """Another advance may have published it, before the damage: left in the inbox, it would be published twice after a repair."""
    for stream in ("bad", "good"):
        world.append(stream)
    survey = world.run(feed.survey(None, 10))
    crashed = world.run(feed.publish(world.settings, survey, nobody))  # it dies before it deletes what it settled
    assert crashed.published == 2
    world.append("good")
    plan = world.run(feed.survey(None, 10, {"bad"}))
    assert [entry.stream for entry in plan.rest] == ["good"]
    assert [key for key in world.keys_of("inbox/") if key.endswith("-bad")] == []


def test_a_dead_intent_of_a_damaged_stream_waits(world):
    """Nothing is fenced where the head cannot be read."""
    world.append("bad")
    world.advance()
    late = world.announce("bad", known=world.head("bad"))
    damage_head(world, "bad")
    world.now += GRACE + SECOND
    progress = world.advance()
    assert list(progress.unreadable) == ["bad"]
    assert late.keys[0] in world.keys_of("inbox/")


def test_a_healthy_store_pays_nothing(world):
    """The same requests as ever: one head for each stream, two lists, one commit."""
    for stream in "abc":
        world.append(stream)
    world.requests.clear()
    world.advance()
    kinds = [type(request) for request in world.requests]
    assert (kinds.count(List), kinds.count(GetMany)) == (2, 1)
    world.requests.clear()
    damage_head(world, "a")
    world.append("b")
    world.append("c")
    assert not world.advance().problems
