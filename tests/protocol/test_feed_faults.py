"""Advances that fail at any request, and histories in which everything goes on at once: nothing is lost, nothing is there twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from headstream import limits
from headstream.errors import AccessDenied, HeadstreamError, Unavailable
from headstream.model import Settings
from headstream.protocol import feed
from headstream.protocol.feed import Progress
from headstream.protocol.ops import Commit, Delete, Gen, Get, GetMany, List, NotApplied, Op, Pause, Stamp, Unknown
from support import shown
from support.script import Script
from support.world import GRACE, SECOND, World, broken, nobody

SMALL = Settings(tail_bytes=150, fan_out=2, feed=True, grace_seconds=60)


def whole(world: World, progress: Progress | None = None) -> Gen[Progress]:
    """An advance in one step."""
    progress = progress or Progress()
    while not progress.done:
        progress = yield from feed.step(world.settings, progress, nobody)
    return progress


def busy(patch: pytest.MonkeyPatch) -> World:
    """A store with all that an advance can meet: leftovers of a crash, segments, dead intents with objects, old and young ones."""
    patch.setattr(limits, "FEED_BATCH_INTENTS", 4)
    patch.setattr(limits, "FEED_WINDOW", 6)
    patch.setattr(limits, "LIST_PAGE", 3)
    world = World(SMALL)
    world.append("a", 1)
    plan = world.run(feed.survey(None, limits.FEED_WINDOW))
    world.run(feed.publish(world.settings, plan, nobody))
    known = world.append("b", 1).known
    world.announce("b", b"x" * 500, known=known)
    world.announce("new", b"x" * 500)
    world.now += GRACE + SECOND
    for number in range(4):
        loser = world.announce("a", b"x" * 500)
        world.append("a", b"x" * 50, number)
        assert not loser.land()
    world.announce("young")
    return world


def check(world: World) -> None:
    """What the feed of the store above has to be."""
    assert (world.versions("a"), world.versions("b")) == ([*range(1, 10)], [1])
    assert len(world.feed()) == 10
    assert [key.rsplit("-", 1)[1] for key in world.keys_of("inbox/")] == ["young"]


def requests_of(world: World) -> list[Op[object]]:
    """All that can fail, of those that were executed."""
    return [op for op in world.requests if not isinstance(op, (Stamp, Pause))]


def test_nothing_fails(monkeypatch):
    """The store that the tests below begin with."""
    world = busy(monkeypatch)
    world.requests.clear()
    progress = world.advance()
    assert progress.published == 9
    check(world)
    assert {type(op) for op in requests_of(world)} == {Get, GetMany, List, Commit, Delete}


@pytest.mark.parametrize(
    ("fault", "applied"),
    [
        (NotApplied("throttled"), False),
        (Unknown("time-out"), False),
        (Unknown("time-out"), True),
        (AccessDenied("expired"), False),
    ],
    ids=shown,
)
def test_a_fault_at_any_request(monkeypatch, fault, applied):
    """It is survived, or said to be ``Unavailable``; and a later advance completes, whatever took effect."""
    world = busy(monkeypatch)
    before = len(requests_of(world))
    world.advance()
    count = len(requests_of(world)) - before
    for at in range(1, count + 1):
        world = busy(monkeypatch)
        story = broken(world, whole(world), at, fault, applied=applied)
        if story.error is not None:
            assert type(story.error) is (AccessDenied if isinstance(fault, AccessDenied) else Unavailable)
        world.advance()
        check(world)


def test_what_a_fault_is_called(monkeypatch):
    """A read, a list or a removal that fails ends the advance, which can be repeated; an append or a fence is tried again."""
    ended = set()
    survived = set()
    world = busy(monkeypatch)
    before = len(requests_of(world))
    world.advance()
    for at, op in enumerate(requests_of(world)[before:], 1):
        world = busy(monkeypatch)
        story = broken(world, whole(world), at, Unknown("time-out"), applied=False)
        (survived if story.error is None else ended).add(type(op))
        if story.error is not None:
            assert isinstance(story.error, Unavailable)
            assert isinstance(story.error.__cause__, (Unknown, HeadstreamError))
    assert ended == {Get, GetMany, List, Delete}
    assert survived == {Commit}


@pytest.mark.parametrize("fault", [NotApplied("throttled"), Unknown("time-out")], ids=shown)
def test_an_append_that_fails_for_good(world, fault):
    """Nobody knows whether the feed has the events: the next advance finds out."""
    world.append("s")
    story = world.start(whole(world))
    for _ in range(limits.FAULT_ATTEMPTS):
        world.play(story, until=Commit)
        landed = story.asked
        assert isinstance(landed, Commit)
        story.commit(fault)
    assert isinstance(world.play(story).raised(Unavailable), Unavailable)
    if isinstance(fault, Unknown):
        world.execute(landed)  # late
    assert world.advance().published == (0 if isinstance(fault, Unknown) else 1)
    assert world.versions("s") == [1]


@pytest.fixture
def world() -> World:
    """A new store."""
    return World(SMALL)


def test_an_append_whose_outcome_is_unknown(world):
    """Neither was it answered, nor can the head be read: try again later."""
    world.append("s")
    story = world.play(world.start(whole(world)), until=Commit)
    landed = story.asked
    story.commit(Unknown("time-out"))
    world.play(story, until=Get)
    story.expect(Get, Unknown("time-out"))
    story.raised(Unavailable)
    assert isinstance(landed, Commit)
    world.execute(landed)
    assert world.advance().published == 0
    assert world.versions("s") == [1]
    assert world.keys_of("inbox/") == []


def test_the_last_removal_can_wait(world):
    """The feed has the events: whoever waits for them has them, and the next advance removes the intents."""
    world.append("s")
    story = world.play(world.start(whole(world)), until=Delete)
    story.delete(Unknown("time-out"))
    assert story.returned().published == 1
    assert len(world.keys_of("inbox/")) == 1
    assert world.advance().published == 0
    assert world.keys_of("inbox/") == []


def test_a_removal_before_the_next_batch_cannot_wait(world, monkeypatch):
    """Else the next head would no longer name what was settled; the step can be repeated."""
    monkeypatch.setattr(limits, "FEED_BATCH_INTENTS", 1)
    world.append("s")
    world.append("t")
    story = world.play(world.start(whole(world)), until=Delete)
    story.delete(Unknown("time-out"))
    story.raised(Unavailable)
    assert world.advance().published == 1
    assert world.published() == [("s", 1), ("t", 1)]


def test_a_step_may_be_repeated(world):
    """After a fault, with the progress that it began with: a follower does so."""
    world.append("s")
    progress = Progress()
    for kind in (Get, List, GetMany, Commit, Delete):
        while True:
            story = world.play(world.start(feed.step(world.settings, progress, nobody)), until=kind)
            if story.asked is not None:
                break
            progress = story.returned()
        story.expect(kind, Unknown("time-out"))
        if kind is Delete:  # at the end of an advance, the next one can do it
            assert story.returned().done
        elif kind is not Commit:
            story.raised(Unavailable)
    assert world.advance().done
    assert world.versions("s") == [1]


# --- any history -------------------------------------------------------------------------------------------------


class History:
    """Writers and advances of one store, whose requests take turns, are lost, take effect late, or are the last of their process."""

    def __init__(self, world: World, choose: Callable[[int], int]) -> None:
        self.world = world
        self.choose = choose
        """Any number from 0 up to another."""
        self.actors: list[Script[object]] = []
        self.late: list[Commit] = []
        """Commits that were not answered, and may take effect yet."""

    def go_on(self) -> None:
        """One request of somebody."""
        world = self.world
        if self.late and self.choose(8) == 0:
            commit = self.late.pop(self.choose(len(self.late) - 1))
            world.execute(Commit((), commit.head))
        if len(self.actors) < 5 and self.choose(3) == 0:
            self.actors.append(self._begin())
        if not self.actors:
            return
        place = self.choose(len(self.actors) - 1)
        actor = self.actors[place]
        op = actor.asked
        fate = self.choose(30)
        if op is None or fate == 0:  # it has ended, or dies
            if isinstance(op, Commit):
                self._write_prelude(op)
            self.actors.pop(place)
        elif isinstance(op, (Stamp, Pause)) or fate > 6:
            actor.expect(type(op), world.execute(op))
        elif fate > 4:
            actor.expect(type(op), NotApplied("throttled"))
        elif isinstance(op, Commit):
            self._write_prelude(op)
            self.late.append(op)
            actor.expect(type(op), Unknown("time-out"))
        else:
            actor.expect(type(op), Unknown("time-out"))
        if self.choose(20) == 0:
            world.now += self.choose(2) * GRACE

    def _begin(self) -> Script[object]:
        kind = self.choose(2)
        if kind == 0:
            return self.world.start(whole(self.world))
        stream = "abc"[self.choose(2)]
        return self.world.appending(stream, *range(1 + self.choose(2)))  # type: ignore[return-value]

    def _write_prelude(self, commit: Commit) -> None:
        for put in commit.prelude:
            self.world.put(put)

    def heal(self) -> None:
        """What may land lands; then nobody writes, and the feed is advanced until nothing is left, and once more after the grace period."""
        for commit in self.late:
            self.world.execute(Commit((), commit.head))
        self.world.advance()
        self.world.now += GRACE + SECOND
        self.world.advance()


@pytest.mark.parametrize("seed", range(100))
def test_any_history(seed):
    """The feed has every event of every stream once, each stream in order; and the inbox is empty at the end."""
    random = Random(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "FEED_BATCH_INTENTS", random.choice([1, 2, 1000]))
        patch.setattr(limits, "FEED_BATCH_EVENTS", random.choice([1, 3, 10_000]))
        patch.setattr(limits, "FEED_WINDOW", random.choice([1, 2, 5, 10_000]))
        patch.setattr(limits, "FEED_HEADS", random.choice([1, 64]))
        patch.setattr(limits, "LIST_PAGE", random.choice([1, 2, 1000]))
        world = World(SMALL)
        history = History(world, lambda most: random.randint(0, most))
        for _ in range(400):
            history.go_on()
        history.heal()
        assert world.keys_of("inbox/") == []
        found = world.published()
        assert max(Counter(found).values(), default=1) == 1
        for stream in "abc":
            assert world.versions(stream) == list(range(1, world.head(stream).state.version + 1))
        assert len(found) == sum(world.head(stream).state.version for stream in "abc")
        assert [event.position for event in world.feed()] == list(range(1, len(found) + 1))
