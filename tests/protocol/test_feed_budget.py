"""What one batch and one window of an advance take: bounded by events, bytes, intents and heads, with every order kept."""

from __future__ import annotations

from itertools import pairwise

import pytest

from headstream import limits
from headstream.model import Event, Settings
from headstream.protocol import codec, encoding, feed, keys
from headstream.protocol.feed import Batch, Plan, Progress
from headstream.protocol.ops import Commit, Delete, Get, GetMany, List, Page
from support.world import GRACE, SECOND, World, nobody


@pytest.fixture
def world() -> World:
    """A new store."""
    return World()


def survey(world: World, window: int = limits.FEED_WINDOW) -> Plan:
    """What a survey finds."""
    return world.run(feed.survey(None, window))


def publish(world: World, plan: Plan) -> Batch:
    """One batch."""
    return world.run(feed.publish(world.settings, plan, nobody))


def batches(world: World) -> list[int]:
    """Events of each batch of an advance."""
    sizes = []
    progress = Progress()
    while not progress.done:
        before = progress.published
        progress = world.run(feed.step(world.settings, progress, nobody))
        if progress.published > before:
            sizes.append(progress.published - before)
    return sizes


# --- batches -----------------------------------------------------------------------------------------------------


def test_a_batch_has_a_number_of_events(world, monkeypatch):
    """Cut between streams: a changeset that would be one event too many waits for the next batch."""
    monkeypatch.setattr(limits, "FEED_BATCH_EVENTS", 4)
    world.append("a", 1, 2)
    world.append("b", 1, 2)
    world.append("c", 1)
    assert batches(world) == [4, 1]
    assert world.published() == [("a", 1), ("a", 2), ("b", 1), ("b", 2), ("c", 1)]


def test_a_batch_is_cut_within_a_stream(world, monkeypatch):
    """The rest of the stream follows in order; smaller changesets of other streams may still find room."""
    monkeypatch.setattr(limits, "FEED_BATCH_EVENTS", 4)
    world.append("a", 1, 2, 3)
    world.append("a", 4, 5)
    world.append("a", 6)
    world.append("b", 1)
    assert batches(world) == [4, 3]
    assert world.published() == [("a", 1), ("a", 2), ("a", 3), ("b", 1), ("a", 4), ("a", 5), ("a", 6)]


def test_the_first_changeset_always_has_room(world, monkeypatch):
    """Else a large one would stop the feed."""
    monkeypatch.setattr(limits, "FEED_BATCH_EVENTS", 2)
    world.append("a", 1, 2, 3)
    world.append("a", 4)
    assert batches(world) == [3, 1]
    assert world.versions("a") == [1, 2, 3, 4]


def test_a_batch_has_a_number_of_bytes(world, monkeypatch):
    """About: an event weighs what is in it, and something for itself."""
    monkeypatch.setattr(limits, "FEED_BATCH_BYTES", 2 * (200 + 1000))
    for stream in "abc":
        world.append(stream, b"x" * 1000)
    assert batches(world) == [2, 1]
    world.append("a", b"x" * 5000)
    world.append("b", None)
    assert batches(world) == [1, 1]
    world.append("a", b"x" * 1000)
    world.append("b", b"x" * 1001)
    assert batches(world) == [1, 1]


def test_the_weight_of_a_changeset(world):
    """In bytes, as it is stored: text of any language, data and metadata."""
    events = [Event("E", b"x" * 3000), Event("E", "é" * 1000, {"k": "東" * 1000}), Event("E")]
    rows = encoding.encode_events(events)
    frame = codec.decode_frame(codec.encode_frame(bytes(16), None, 0, 1, key=None, rows=rows), "k")
    assert len(rows) <= frame.weight <= len(rows) + 3 * 200


def test_a_batch_has_a_number_of_intents(world, monkeypatch):
    """They are named in the feed's head, so their number is bounded, dead ones included."""
    monkeypatch.setattr(limits, "FEED_BATCH_INTENTS", 3)
    dead = world.announce("a")
    for _ in range(3):
        world.append("a")
    world.append("b")
    assert batches(world) == [2, 2]
    assert world.keys_of("inbox/") == []
    assert world.versions("a") == [1, 2, 3]
    assert not dead.land()


def test_the_head_names_what_was_settled(world, monkeypatch):
    """Just the intents of its newest changeset, and no dead one."""
    monkeypatch.setattr(limits, "FEED_BATCH_INTENTS", 2)
    world.announce("a")
    made = [world.append("a").changeset_id, world.append("b").changeset_id, world.append("c").changeset_id]
    world.advance()
    assert world.head(keys.FEED).state.settled == frozenset(made[-2:])


def test_heads_are_fetched_some_at_a_time(world, monkeypatch):
    """And none for a batch that is full already."""
    monkeypatch.setattr(limits, "FEED_HEADS", 2)
    monkeypatch.setattr(limits, "FEED_BATCH_EVENTS", 3)
    for number in range(5):
        world.append(f"s{number}")
    plan = survey(world)
    world.requests.clear()
    batch = publish(world, plan)
    assert [len(op.gets) for op in world.requests if isinstance(op, GetMany)] == [2, 2]
    assert (batch.published, len(batch.plan.rest)) == (3, 2)
    assert batches(world) == [2]


def test_what_a_full_batch_leaves_is_oldest_first(world, monkeypatch):
    """The order of the keys, across streams, is the order of the next batch."""
    monkeypatch.setattr(limits, "FEED_BATCH_EVENTS", 1)
    for _ in range(3):
        for stream in "abc":
            world.append(stream)
    plan = survey(world)
    while plan.rest:
        plan = publish(world, plan).plan
        world.backend.delete(plan.settled)
        assert all(one.key < other.key for one, other in pairwise(plan.rest))
    assert world.published() == [(stream, version) for version in (1, 2, 3) for stream in "abc"]


def test_a_full_batch_still_fences(world, monkeypatch):
    """What waits too long is made impossible, though there is no room for the stream's events."""
    monkeypatch.setattr(limits, "FEED_BATCH_EVENTS", 1)
    world.append("a")
    made = world.append("b")
    waiting = world.announce("b", known=made.known)
    world.now += GRACE + SECOND
    batch = publish(world, survey(world))
    assert (batch.published, batch.settled, len(batch.plan.rest)) == (1, 2, 1)
    assert not waiting.land()
    assert batches(world) == [1]
    assert world.versions("b") == [1]


def test_a_batch_of_nothing_but_dead_intents(world):
    """The feed does not move."""
    waiting = [world.announce("a"), world.announce("b")]
    world.now += GRACE + SECOND
    batch = publish(world, survey(world))
    assert (batch.published, batch.settled, batch.plan.settled) == (0, 2, ())
    assert world.head(keys.FEED).etag is None
    assert not any(one.land() for one in waiting)


def test_segments_are_fetched_some_at_a_time(monkeypatch):
    """A long stream is published by several reads of its segments, in order."""
    monkeypatch.setattr(limits, "READ_WINDOW_OBJECTS", 2)
    world = World(Settings(tail_bytes=0, fan_out=20, feed=True))
    for number in range(7):
        world.append("s", number)
    plan = survey(world)
    world.requests.clear()
    assert publish(world, plan).published == 7
    segments = [len(op.gets) for op in world.requests if isinstance(op, GetMany) and "segments" in op.gets[0].key]
    assert segments == [2, 2, 2, 1]
    assert [event.data for event in world.feed()] == list(range(7))


def fetched(world: World) -> list[list[str]]:
    """The keys of each request for several objects."""
    return [[get.key for get in op.gets] for op in world.requests if isinstance(op, GetMany)]


def test_no_head_and_no_segment_is_fetched_twice(monkeypatch):
    """A window of m streams costs m heads, and each of their segments once, in however many batches it is published."""
    monkeypatch.setattr(limits, "FEED_BATCH_INTENTS", 5)
    monkeypatch.setattr(limits, "FEED_BATCH_EVENTS", 3)
    world = World(Settings(tail_bytes=400, fan_out=20, feed=True))
    for number in range(30):
        world.append(f"s{number % 4}", number)
    world.requests.clear()
    assert batches(world) == [3] * 10
    keys_of = [key for request in fetched(world) for key in request]
    assert sorted(key for key in keys_of if key.startswith("heads/")) == [f"heads/s{number}" for number in range(4)]
    assert len(keys_of) == len(set(keys_of)) > 4
    assert [event.data for event in world.feed()] == list(range(30))


def test_what_is_found_ahead_of_its_time_has_a_budget(monkeypatch):
    """Beyond it, nothing more is fetched than the oldest intent needs; what it holds is published first."""
    monkeypatch.setattr(limits, "READ_WINDOW_OBJECTS", 1)
    monkeypatch.setattr(limits, "FEED_AHEAD", 2 * (200 + 1000))
    monkeypatch.setattr(limits, "FEED_BATCH_EVENTS", 1)
    world = World(Settings(tail_bytes=0, fan_out=20, feed=True))
    for number in range(4):
        for stream in "ab":
            world.append(stream, bytes([number]) * 1000)
    plan = survey(world)
    found = []
    while plan.rest:
        world.requests.clear()
        plan = publish(world, plan).plan
        world.backend.delete(plan.settled)
        found.append(sum(key.startswith("segments/") for keys in fetched(world) for key in keys))
    assert found == [2, 0, 2, 0, 2, 0, 2, 0]
    assert world.published() == [(stream, version) for version in (1, 2, 3, 4) for stream in "ab"]


def test_the_oldest_is_looked_for_though_the_budget_is_used_up(monkeypatch):
    """Else a stream that is found first would stop the feed."""
    monkeypatch.setattr(limits, "FEED_AHEAD", 1)
    monkeypatch.setattr(limits, "FEED_HEADS", 1)
    monkeypatch.setattr(limits, "READ_WINDOW_OBJECTS", 1)
    world = World(Settings(tail_bytes=0, fan_out=20, feed=True))
    for number in range(6):
        world.append(f"s{number % 3}", number)
    assert batches(world) == [1] * 6
    assert [event.data for event in world.feed()] == list(range(6))


def test_segments_of_several_streams_are_fetched_together(monkeypatch):
    """As many as fit."""
    monkeypatch.setattr(limits, "READ_WINDOW_OBJECTS", 3)
    world = World(Settings(tail_bytes=0, fan_out=20, feed=True))
    for stream in "abcd":
        world.append(stream)
    world.requests.clear()
    assert batches(world) == [4]
    assert [len(keys) for keys in fetched(world)] == [4, 3, 1]


def test_heads_that_did_not_change_cost_no_body(world):
    """What the client remembers is asked for by its etag; what it remembers and is gone, is gone."""
    made = world.append("a")
    world.append("b")
    remembered = {"a": made.known, "gone": world.append("gone").known}
    world.backend.delete(["heads/gone"])
    world.requests.clear()
    plan = survey(world)
    batch = world.run(feed.publish(world.settings, plan, remembered.get))
    (asked,) = [op.gets for op in world.requests if isinstance(op, GetMany)]
    assert [(get.key, get.if_none_match) for get in asked] == [
        ("heads/a", made.known.etag),
        ("heads/b", None),
        ("heads/gone", remembered["gone"].etag),
    ]
    assert batch.published == 2


# --- windows -----------------------------------------------------------------------------------------------------


def test_a_window_smaller_than_the_inbox(world, monkeypatch):
    """The oldest intents first, and again until there are no more; the second list ends where the first one did."""
    monkeypatch.setattr(limits, "FEED_WINDOW", 4)
    monkeypatch.setattr(limits, "LIST_PAGE", 2)
    for number in range(10):
        world.append(f"s{number % 3}")
    plan = survey(world, 4)
    assert (len(plan.rest), plan.more, plan.finished) == (4, True, False)
    lists = [op for op in world.requests if isinstance(op, List)]
    assert len(lists) == 4
    world.requests.clear()
    assert batches(world) == [4, 4, 2]
    assert sum(isinstance(op, List) for op in world.requests) == 4 + 4 + 2
    assert world.published() == [(f"s{number % 3}", number // 3 + 1) for number in range(10)]


def test_pages_do_not_end_where_windows_do(world, monkeypatch):
    """A window that is no multiple of a page is a little larger; what the second list finds behind the first one is left."""
    monkeypatch.setattr(limits, "LIST_PAGE", 3)
    for number in range(8):
        world.append(f"s{number}")
    story = world.play(world.start(feed.survey(None, 4)), until=List, count=3)
    monkeypatch.setattr(limits, "LIST_PAGE", 4)
    plan = world.play(story).returned()
    assert ([entry.stream for entry in plan.rest], plan.more) == ([f"s{number}" for number in range(6)], True)


def test_an_inbox_that_ends_with_the_window(world, monkeypatch):
    """Then nothing lies behind it, and nothing is looked for."""
    monkeypatch.setattr(limits, "LIST_PAGE", 2)
    for number in range(4):
        world.append(f"s{number}")
    plan = survey(world, 4)
    assert (len(plan.rest), plan.more) == (4, False)


def test_a_window_that_is_all_waiting(world, monkeypatch):
    """As long as nothing in it can be settled it doubles, else the appends behind it would wait as well."""
    monkeypatch.setattr(limits, "FEED_WINDOW", 2)
    monkeypatch.setattr(limits, "LIST_PAGE", 1)
    waiting = [world.announce(f"w{number}") for number in range(5)]
    world.append("s")
    windows = []
    progress = Progress()
    while not progress.done:
        progress = world.run(feed.step(world.settings, progress, nobody))
        if not windows or progress.window != windows[-1]:
            windows.append(progress.window)
    assert [window or limits.FEED_WINDOW for window in windows] == [2, 4, 8]
    assert progress.published == 1
    assert len(world.keys_of("inbox/")) == 5
    assert all(one.land() for one in waiting)
    world.advance()
    assert len(world.feed()) == 6


def test_a_window_that_moves_on_does_not_grow(world, monkeypatch):
    """Where something was settled, the next one is of the usual size again."""
    monkeypatch.setattr(limits, "FEED_WINDOW", 2)
    monkeypatch.setattr(limits, "LIST_PAGE", 1)
    for number in range(3):
        world.announce(f"w{number}")
    for number in range(5):
        world.append(f"s{number}")
    progress = Progress()
    windows = []
    while not progress.done:
        progress = world.run(feed.step(world.settings, progress, nobody))
        if progress.plan is None:
            windows.append(progress.window or limits.FEED_WINDOW)
    assert windows == [4, 2, 4, 2, 4, 2, 4, 2, 4]
    assert progress.published == 5
    assert len(world.keys_of("inbox/")) == 3


def test_leftovers_are_part_of_the_window(world, monkeypatch):
    """A window with nothing but what a crash left: it is removed, and the next window is looked at."""
    monkeypatch.setattr(limits, "FEED_WINDOW", 2)
    monkeypatch.setattr(limits, "LIST_PAGE", 1)
    world.append("a")
    world.append("b")
    publish(world, survey(world))
    world.append("c")
    assert world.advance().published == 1
    assert world.published() == [("a", 1), ("b", 1), ("c", 1)]


def test_an_empty_page_in_the_middle(world):
    """Some services send one: the list ends only where they say so, and here there is no key to go on after."""
    story = world.start(feed.survey(None, 10))
    world.play(story, until=List)
    story.lists("inbox/", Page((), more=True))
    assert story.returned().finished


def test_a_backlog_costs_what_it_is_long(monkeypatch):
    """Twice the intents, twice the requests: windows and batches are of one size."""
    monkeypatch.setattr(limits, "FEED_WINDOW", 40)
    monkeypatch.setattr(limits, "LIST_PAGE", 20)
    monkeypatch.setattr(limits, "FEED_BATCH_INTENTS", 10)

    def requests(intents: int) -> int:
        world = World(Settings(tail_bytes=400, fan_out=128, feed=True))
        for number in range(intents):
            world.append(f"s{number % 7}")
        world.requests.clear()
        world.advance()
        return sum(isinstance(op, (Get, GetMany, List, Commit, Delete)) for op in world.requests)

    assert requests(800) < 2.2 * requests(400)


def test_what_is_looked_at_first_may_not_be_the_oldest(monkeypatch):
    """Of two intents of a stream the later one may follow the earlier version, if it is dead; with room for nothing it is found alone."""
    monkeypatch.setattr(limits, "READ_WINDOW_OBJECTS", 1)
    monkeypatch.setattr(limits, "FEED_AHEAD", 0)
    world = World(Settings(tail_bytes=0, fan_out=20, feed=True))
    world.append("s", 1)
    before = world.append("s", 2).known
    world.advance()
    world.append("s", 3)
    world.append("s", 4)
    world.advance()
    alive = world.append("s", 5)
    dead = world.announce("s", known=before)
    assert alive.known.state.version == 5
    batch = publish(world, survey(world))
    assert (batch.published, batch.settled, len(batch.plan.rest)) == (0, 1, 1)
    assert not dead.land()
    assert batches(world) == [1]
    assert world.versions("s") == [1, 2, 3, 4, 5]
