"""Dead intents: rules 4, 5, 6 and 8 at the top of ``protocol/feed.py``: what is published, what is left, what is fenced, and what goes."""

from __future__ import annotations

import pytest

from headstream import limits
from headstream.errors import CorruptData, WrongExpectedVersion
from headstream.protocol import feed, intent
from headstream.protocol.feed import Plan
from headstream.protocol.intent import Intent
from headstream.protocol.ops import ABSENT, ALWAYS, Commit, Delete, GetMany, Put
from support.script import MICROS
from support.world import GRACE, SECOND, World, nobody


@pytest.fixture
def world() -> World:
    """A new store."""
    return World()


def survey(world: World) -> Plan:
    """What a survey finds."""
    return world.run(feed.survey(None, limits.FEED_WINDOW))


def test_an_intent_that_lost_its_race_is_dead(world):
    """The stream has grown past it without it: what was written for it goes, then the intent, at once, however young."""
    loser = world.announce("s", b"x" * 1000)
    assert len(loser.keys) == 2
    world.append("s")
    assert not loser.land()
    world.requests.clear()
    progress = world.advance()
    assert (progress.published, progress.settled) == (1, 2)
    removed = [op.keys for op in world.requests if isinstance(op, Delete)]
    assert removed[:2] == [(loser.keys[1],), (loser.keys[0],)]
    assert world.keys_of("segments/s/") == []
    assert world.keys_of("inbox/") == []
    assert world.versions("s") == [1]


def test_a_dead_intent_without_objects(world):
    """There is nothing but the intent to remove."""
    loser = world.announce("s")
    world.append("s")
    world.advance()
    removed = [op.keys for op in world.requests if isinstance(op, Delete)]
    assert removed[0] == (loser.keys[0],)


def test_a_dead_intent_that_another_advance_removed(world):
    """Between the list and the look at it: no error, it is gone."""
    loser = world.announce("s")
    world.append("s")
    plan = survey(world)
    world.backend.delete([loser.keys[0]])
    batch = world.run(feed.publish(world.settings, plan, nobody))
    assert (batch.published, batch.settled) == (1, 2)


def test_many_dead_intents(world, monkeypatch):
    """They are looked at some at a time, and each is removed."""
    monkeypatch.setattr(limits, "FEED_HEADS", 2)
    losers = [world.announce("s", b"x" * 1000) for _ in range(5)]
    world.append("s")
    world.requests.clear()
    assert world.advance().settled == 6
    looks = [len(op.gets) for op in world.requests if isinstance(op, GetMany)]
    assert looks == [1, 2, 2, 1]
    assert world.keys_of("inbox/") == world.keys_of("segments/s/") == []
    assert not any(loser.land() for loser in losers)


def test_a_dead_intent_in_the_middle_of_a_changeset(world):
    """No changeset follows the version that it follows: another's changeset reaches beyond."""
    world.append("s")
    loser = world.announce("s", 1, known=world.head("s"))
    forged = Intent(world.stamp().id, "s", 2, MICROS, [])
    world.append("s", 2, 3, 4)
    world.put(intent.put(forged))
    assert world.advance().settled == 4
    assert world.versions("s") == [1, 2, 3, 4]
    assert not loser.land()
    assert world.keys_of("inbox/") == []


def test_a_damaged_intent_that_is_dead(world):
    """Nothing is deleted on its word: it is reported, and lies where it is."""
    loser = world.announce("s")
    world.append("s")
    world.put(Put(loser.keys[0], b"damaged", ALWAYS))
    progress = world.advance()
    assert (world.versions("s"), list(progress.defects)) == ([1], [loser.keys[0]])
    with pytest.raises(CorruptData) as caught:
        progress.check()
    assert caught.value.key == loser.keys[0]
    assert loser.keys[0] in world.keys_of("inbox/")


def test_a_young_intent_is_left(world):
    """Its append may be on its way: it is not touched, and its stream is not, up to the last moment of the grace period."""
    made = world.append("s")
    waiting = world.announce("s", known=made.known)
    assert world.advance().published == 1
    world.now += GRACE - 20_000
    world.requests.clear()
    progress = world.advance()
    assert (progress.published, progress.settled, progress.done) == (0, 0, True)
    assert not any(isinstance(op, (Commit, Delete)) for op in world.requests)
    assert world.keys_of("inbox/") == [waiting.keys[0]]
    assert waiting.land()
    world.advance()
    assert world.versions("s") == [1, 2]


def test_an_old_intent_is_fenced(world):
    """After the grace period its append is made impossible; then it is dead, and its writer has to start over."""
    made = world.append("s")
    waiting = world.announce("s", b"x" * 1000, known=made.known)
    world.now += GRACE + SECOND
    progress = world.advance()
    assert (progress.published, progress.settled) == (1, 2)
    assert world.keys_of("inbox/") == world.keys_of("segments/s/") == []
    fields = world.head("s").state.fields
    assert (fields.version, fields.fence) == (1, 1)
    assert not waiting.land()
    assert world.versions("s") == [1]


def test_a_writer_that_was_fenced_succeeds(world):
    """It was merely slow: it sees a refusal, tries again on the fenced head, and its events are published once."""
    made = world.append("s")
    waiting = world.announce("s", "slow", known=made.known)
    world.now += GRACE + SECOND
    world.advance()
    assert not waiting.land()
    appended = world.play(waiting.story).returned()
    assert appended.version == 2
    world.advance()
    assert world.versions("s") == [1, 2]
    assert [event.data for event in world.feed()] == [None, "slow"]


def test_an_old_intent_of_a_stream_that_does_not_exist(world):
    """It is fenced by a head of version 0: the first append can no longer create the head. The stream still does not exist."""
    waiting = world.announce("new", "first")
    assert waiting.commit.head.when == ABSENT
    world.now += GRACE + SECOND
    assert world.advance().settled == 1
    known = world.head("new")
    assert (known.state.version, known.state.fields.fence) == (0, 1)
    assert known.etag is not None
    assert world.feed() == []
    assert not waiting.land()
    assert world.play(waiting.story).returned().version == 1
    world.advance()
    assert world.versions("new") == [1]


def test_a_stream_that_is_fenced_again_and_again(world):
    """Each fence moves the head, also where there is no stream yet."""
    for number in range(1, 4):
        world.announce("new")
        world.now += GRACE + SECOND
        assert world.advance().settled == 1
        assert world.head("new").state.fields.fence == number
    story = world.appending("new", expected=0)
    assert world.play(story).returned().version == 1


def test_a_fenced_stream_still_conflicts(world):
    """Who expects a version that it does not have is told 0."""
    world.announce("new")
    world.now += GRACE + SECOND
    world.advance()
    assert world.play(world.appending("new", expected=3)).raised(WrongExpectedVersion).actual == 0


def test_a_fence_takes_the_young_ones_with_it(world):
    """One old intent is enough: what else was announced at this version was sent before the fence, and is dead, too."""
    made = world.append("s")
    old = world.announce("s", known=made.known)
    world.now += GRACE
    young = world.announce("s", known=made.known)
    world.now += SECOND
    assert world.advance().settled == 3
    assert not old.land()
    assert not young.land()
    assert world.keys_of("inbox/") == []


def test_a_fence_that_came_too_late(world):
    """The append landed between the look at its head and the fence: nothing is dead, and the next advance publishes it."""
    made = world.append("s")
    waiting = world.announce("s", known=made.known)
    world.now += GRACE + SECOND
    plan = survey(world)
    story = world.play(world.start(feed.publish(world.settings, plan, nobody)), until=Commit)
    assert waiting.land()
    assert world.play(story).returned().published == 1
    assert len(world.keys_of("inbox/")) == 2
    assert world.advance().published == 1
    assert world.versions("s") == [1, 2]


def test_a_fence_does_not_hold_up_what_was_committed(world):
    """The stream's committed changesets are published by the same batch."""
    made = world.append("s", 1, 2)
    world.announce("s", known=made.known)
    world.now += GRACE + SECOND
    assert world.advance().published == 2
    assert world.versions("s") == [1, 2]


def test_a_writer_whose_clock_is_slow(world):
    """It is fenced though it is not old: it costs a conflict, and nothing else."""
    made = world.append("s")
    world.now -= GRACE + SECOND
    slow = world.announce("s", known=made.known)
    world.now += GRACE + SECOND
    world.advance()
    assert slow.land(), "ids of a stream increase, so this one is as young as the changeset before it"
    other = World()
    other.now -= GRACE + SECOND
    late = other.announce("s")
    other.now += GRACE + 2 * SECOND
    other.advance()
    assert not late.land()
    assert other.play(late.story).returned().version == 1
    other.advance()
    assert other.versions("s") == [1]


def test_a_head_that_is_gone_settles_nothing(world):
    """What looks dead may be all that is left of the stream: nothing is fenced, and nothing removed."""
    for _ in range(3):
        world.append("s", b"x" * 1000)
    before = world.keys_of("")
    world.backend.delete(["heads/s"])
    world.now += GRACE + SECOND
    with pytest.raises(CorruptData, match="gone or an old copy took its place: it has version 0 after 2") as caught:
        world.advance().check()
    assert caught.value.key == "heads/s"
    assert set(world.keys_of("")) == set(before) - {"heads/s"}
