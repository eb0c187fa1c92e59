"""The feed: each rule at the top of ``protocol/feed.py``, as a history of one store in which others go first."""

from __future__ import annotations

import pytest

from headstream import limits
from headstream.errors import CorruptData
from headstream.model import Settings
from headstream.protocol import feed, keys, read
from headstream.protocol.feed import Plan, Progress
from headstream.protocol.ops import ALWAYS, Commit, Delete, GetMany, List, Op, Pause, Put, Unknown
from support.script import Script
from support.world import SECOND, World, nobody


@pytest.fixture
def world() -> World:
    """A new store."""
    return World()


def survey(world: World, window: int = limits.FEED_WINDOW) -> Script[Plan]:
    """A survey that is about to begin."""
    return world.start(feed.survey(None, window))


def feed_commit(op: Op[object]) -> bool:
    """Whether this is about to move the feed."""
    return isinstance(op, Commit) and op.head.key == keys.head(keys.FEED)


# --- what an advance does ----------------------------------------------------------------------------------------


def test_everything_that_was_appended(world):
    """Each event once, with its position, its stream and its version; the inbox is empty then."""
    world.append("a", 1, 2)
    world.append("b", 3)
    world.append("a", 4)
    progress = world.advance()
    assert (progress.published, progress.settled, progress.lost) == (4, 3, 0)
    found = world.feed()
    assert [event.position for event in found] == [1, 2, 3, 4]
    assert [(event.stream, event.version, event.data) for event in found] == [
        ("a", 1, 1),
        ("a", 2, 2),
        ("b", 1, 3),
        ("a", 3, 4),
    ]
    assert world.keys_of("inbox/") == []


def test_an_event_of_the_feed_is_the_event_of_its_stream(world):
    """Type, data, metadata, id, changeset and time are the same: they are equal."""
    made = world.append("a", {"n": 1}, b"raw", None)
    world.advance()
    cursor = world.run(read.start("a", None, after=0, before=None, limit=None, backwards=False))
    recorded, _ = world.run(read.step(cursor))
    found = world.feed()
    assert found == recorded
    assert [event.data for event in found] == [{"n": 1}, b"raw", None]
    assert [event.micros for event in found] == [event.micros for event in recorded]
    assert {event.changeset for event in found} == {made.changeset_id}


def test_an_empty_inbox(world):
    """Nothing to do: the feed's head and one list, and no write."""
    assert world.advance().published == 0
    assert [type(op).__name__ for op in world.requests] == ["Get", "List"]
    world.append("a")
    world.advance()
    world.requests.clear()
    assert world.advance().done
    assert [type(op).__name__ for op in world.requests] == ["Get", "List"]


def test_what_it_costs(world):
    """Two lists, the heads of the streams together, one append, one removal: whatever the number of intents."""
    for number in range(12):
        world.append(f"s{number % 3}")
    world.requests.clear()
    world.advance()
    asked = [type(op).__name__ for op in world.requests if type(op).__name__ != "Stamp"]
    assert asked == ["Get", "List", "List", "GetMany", "Commit", "Delete"]
    assert next(len(op.gets) for op in world.requests if isinstance(op, GetMany)) == 3


def test_sealed_changesets(world):
    """Those that lie in segments by now are fetched from there, neighbours together."""
    for number in range(40):
        world.append("s", b"x" * 90, number)
        world.append("t", number)
    assert len(world.head("s").state.fields.levels) > 1
    world.advance()
    assert world.versions("s") == list(range(1, 81))
    assert world.versions("t") == list(range(1, 41))


def test_a_feed_is_a_stream(world):
    """It has a tail, segments and index pages as any other, and is read like any other."""
    for number in range(60):
        world.append("s", b"x" * 200, number)
        world.advance()
    assert world.keys_of("segments/!24feed/")
    assert world.keys_of("index/!24feed/")
    assert world.versions("s") == list(range(1, 121))
    assert [event.position for event in world.feed()] == list(range(1, 121))


def test_the_feed_is_announced_to_nobody(world):
    """Its own appends leave nothing in the inbox, else an advance would never end."""
    world.append("s")
    world.advance()
    assert world.keys_of("inbox/") == []
    assert feed.feed_settings(world.settings).feed is False


def test_the_tail_of_the_feed(world):
    """Longer than that of other streams, within what a tail may have."""
    assert feed.feed_settings(world.settings).tail_bytes == limits.FEED_TAIL * world.settings.tail_bytes
    largest = type(world.settings)(tail_bytes=limits.MAX_TAIL)
    assert feed.feed_settings(largest).tail_bytes == limits.MAX_TAIL


def test_events_of_one_batch_are_in_the_order_of_their_times(world):
    """By the clocks of their writers; the keys of intents sort by them, but not within a stream that a late clock joined."""
    world.append("a")
    world.now -= 10 * SECOND
    world.append("a", "late clock")
    world.append("b")
    world.advance()
    assert world.published() == [("b", 1), ("a", 1), ("a", 2)]


# --- rule 1: two lists -------------------------------------------------------------------------------------------


def test_a_later_changeset_never_overtakes(world, monkeypatch):
    """A list is no snapshot: it may miss the first of two appends that are made while it goes on. The second list has both."""
    monkeypatch.setattr(limits, "LIST_PAGE", 1)
    world.now += 100 * SECOND
    world.append("middle")
    world.now += 100 * SECOND
    world.append("last")
    story = world.play(survey(world), until=List, count=2)  # the first page is read: it ends with the one in the middle
    world.now -= 250 * SECOND
    world.append("s")
    world.now += 150 * SECOND
    world.append("s")
    plan = world.play(story).returned()
    assert [(entry.stream, entry.follows) for entry in plan.rest] == [
        ("s", 0),
        ("middle", 0),
        ("s", 1),
        ("last", 0),
    ]
    batch = world.run(feed.publish(world.settings, plan, nobody))
    assert batch.published == 4
    assert world.versions("s") == [1, 2]


def test_what_the_first_list_does_not_make_sure_of_is_left(world, monkeypatch):
    """The second list may miss one as well; so only what precedes an intent of the first one is taken from it."""
    world.append("s")
    world.now += 100 * SECOND
    world.append("last")
    story = world.play(survey(world), until=List, count=2)  # the first list is whole
    monkeypatch.setattr(limits, "LIST_PAGE", 1)
    world.play(story, until=List, count=2)  # the second one has got as far as the first intent
    world.now -= 150 * SECOND
    world.append("t")  # behind it
    world.now += 100 * SECOND
    world.append("t")  # before it
    world.append("s")
    plan = world.play(story).returned()
    assert [(entry.stream, entry.follows) for entry in plan.rest] == [("s", 0), ("last", 0)]
    world.run(feed.publish(world.settings, plan, nobody))
    assert world.published() == [("s", 1), ("last", 1)]
    world.advance()
    assert (world.versions("s"), world.versions("t")) == ([1, 2], [1, 2])


def test_one_pair_of_lists_serves_many_batches(world, monkeypatch):
    """A backlog costs no lists more, however many batches it takes."""
    monkeypatch.setattr(limits, "FEED_BATCH_INTENTS", 2)
    for number in range(9):
        world.append(f"s{number % 4}")
    world.requests.clear()
    assert world.advance().published == 9
    assert sum(isinstance(op, List) for op in world.requests) == 2
    assert sum(isinstance(op, Commit) for op in world.requests) == 5


# --- rule 2: nothing twice ---------------------------------------------------------------------------------------


def test_leftovers_of_a_crash_are_removed_before_the_next_append(world):
    """An advance that dies after its append leaves settled intents; the feed's head names them, and the next one removes them first."""
    world.append("s")
    plan = world.play(survey(world)).returned()
    world.run(feed.publish(world.settings, plan, nobody))
    (left,) = world.keys_of("inbox/")
    world.append("s")
    world.requests.clear()
    world.advance()
    writes = [op for op in world.requests if isinstance(op, (Delete, Commit))]
    assert isinstance(writes[0], Delete)
    assert writes[0].keys == (left,)
    assert isinstance(writes[1], Commit)
    assert world.versions("s") == [1, 2]


def test_leftovers_alone(world):
    """They are removed even when there is nothing to append."""
    world.append("s")
    world.run(feed.publish(world.settings, world.play(survey(world)).returned(), nobody))
    progress = world.advance()
    assert (progress.published, world.keys_of("inbox/"), world.versions("s")) == (0, [], [1])


def test_a_batch_removes_what_it_settled_before_the_next_one(world, monkeypatch):
    """Else a crash between them would leave intents that no head names."""
    monkeypatch.setattr(limits, "FEED_BATCH_INTENTS", 1)
    for number in range(3):
        world.append(f"s{number}")
    world.requests.clear()
    world.advance()
    writes = [type(op) for op in world.requests if isinstance(op, (Delete, Commit))]
    assert writes == [Commit, Delete] * 3


def test_who_waits_has_the_events_before_the_intents_are_gone(world):
    """The step that appends is another than the step that removes."""
    world.append("s")
    progress = Progress()
    while not (progress.plan and progress.plan.settled):
        progress = world.run(feed.step(world.settings, progress, nobody))
    assert world.versions("s") == [1]
    assert len(world.keys_of("inbox/")) == 1
    assert not progress.done
    assert world.advance(progress).published == 1
    assert world.keys_of("inbox/") == []


def test_leftovers_behind_the_window(world, monkeypatch):
    """What the feed's head names as settled is removed wherever it lies in the inbox: the next head no longer names it."""
    monkeypatch.setattr(limits, "FEED_WINDOW", 2)
    monkeypatch.setattr(limits, "LIST_PAGE", 1)
    early = [world.announce("early"), world.announce("early")]
    world.append("s")
    wide = world.play(survey(world, window=4)).returned()  # a window that was doubled, since the oldest were waiting
    world.run(feed.publish(world.settings, wide, nobody))  # it dies before it removes what it settled
    assert early[0].land()
    world.advance()
    assert (world.versions("early"), world.versions("s")) == ([1], [1])


# --- rule 3: one wins --------------------------------------------------------------------------------------------


def test_of_two_advances_one_wins(world):
    """The other starts over, and finds that nothing is left to do."""
    world.append("s")
    plan = world.play(survey(world)).returned()
    slow = world.play(world.start(feed.publish(world.settings, plan, nobody)), until=feed_commit)
    assert world.advance().published == 1
    batch = world.play(slow).returned()
    assert (batch.lost, batch.published, batch.settled) == (True, 0, 0)
    assert world.versions("s") == [1]


def test_an_advance_that_lost_starts_over(world):
    """It surveys again, after a pause, and publishes what the other did not."""
    world.append("s")
    progress = world.run(feed.step(world.settings, Progress(), nobody))
    slow = world.play(world.start(feed.step(world.settings, progress, nobody)), until=feed_commit)
    world.advance()
    world.append("t")
    lost = world.play(slow).returned()
    assert (lost.plan, lost.lost, lost.done, lost.published) == (None, 1, False, 0)
    done = world.advance(lost)
    assert (done.published, done.lost) == (1, 0)
    assert world.published() == [("s", 1), ("t", 1)]


def test_an_advance_that_always_loses_leaves_it_to_the_others(world, monkeypatch):
    """It waits a little each time, and it ends: whoever wins does the work."""
    monkeypatch.setattr(limits, "ADVANCE_ATTEMPTS", 12)
    progress = Progress()
    pauses: list[float] = []
    for number in range(12):
        assert not progress.done
        world.append(f"s{number}")
        progress = world.run(feed.step(world.settings, progress, nobody))
        story = world.play(world.start(feed.step(world.settings, progress, nobody)), until=feed_commit)
        world.advance()
        pauses.append(last_pause(world, story))
        progress = story.returned()
        assert progress.lost == number + 1
    assert progress.done
    assert pauses == [limits.RACE_PAUSE[0]] * 12
    assert len(world.published()) == 12


def last_pause(world: World, story: Script[Progress]) -> float:
    """Play the rest of a step; how long it waits at last."""
    waited = 0.0
    while world.play(story, until=Pause).asked is not None:
        waited = story.pause()
    return waited


@pytest.mark.parametrize("fault", [None, Unknown("time-out")], ids=["removed", "left"])
def test_the_garbage_of_a_lost_append(fault):
    """A segment that was written for it is removed, if that can be done; it is no reason to fail."""
    world = World(Settings(tail_bytes=0, feed=True))
    world.append("s")
    plan = world.play(survey(world)).returned()
    slow = world.play(world.start(feed.publish(world.settings, plan, nobody)), until=feed_commit)
    commit = slow.asked
    assert isinstance(commit, Commit)
    for put in commit.prelude:
        world.put(put)
    world.advance()
    (removed,) = world.play(slow, until=Delete).delete(fault)
    assert removed == commit.prelude[0].key
    assert slow.returned().lost
    assert world.versions("s") == [1]


def test_one_batch_that_wins_ends_the_losing(world):
    """Only losses one after the other count."""
    world.append("s")
    progress = world.run(feed.step(world.settings, Progress(lost=3), nobody))
    progress = world.run(feed.step(world.settings, progress, nobody))
    assert (progress.lost, progress.published) == (0, 1)


def test_a_batch_that_was_overtaken_after_it_landed(world):
    """Its answer was lost, and another advance came after it: it counts, but the plan is void, for the head has moved on."""
    world.append("s")
    world.append("t")
    progress = world.run(feed.step(world.settings, Progress(), nobody))
    story = world.play(world.start(feed.step(world.settings, progress, nobody)), until=feed_commit)
    commit = story.asked
    assert isinstance(commit, Commit)
    world.execute(commit)
    world.append("u")
    world.advance()
    story.expect(Commit, Unknown("time-out"))
    after = world.play(story).returned()
    assert (after.plan, after.lost, after.published, after.settled) == (None, 1, 2, 2)
    assert world.advance(after).published == 2
    assert world.published() == [("s", 1), ("t", 1), ("u", 1)]
    assert world.keys_of("inbox/") == []


# --- strangers -----------------------------------------------------------------------------------------------------


def test_a_stranger_in_the_inbox(world):
    """It is named, and the advance stops: what it hides could be an event."""
    world.append("s")
    world.put(Put("inbox/notes.txt", b"hello", ALWAYS))
    assert survey_fails(world) == "inbox/notes.txt"


def survey_fails(world: World) -> str:
    """The key that a survey complains about."""
    return world.play(survey(world)).raised(CorruptData).key


def test_a_damaged_head(world):
    """Its intent stays where it is, so that nothing is skipped; the advance tells of it."""
    world.append("s")
    world.put(Put(keys.head("s"), b"damaged", ALWAYS))
    plan = world.play(survey(world)).returned()
    batch = world.run(feed.publish(world.settings, plan, nobody))
    assert (batch.published, batch.settled, batch.plan.rest) == (0, 0, ())
    assert batch.plan.verdicts.unreadable["s"].key == "heads/s"
    assert len(world.keys_of("inbox/")) == 1
