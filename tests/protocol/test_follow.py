"""Following: what a poll asks for, what it returns, and where it goes on."""

from __future__ import annotations

import pytest

from headstream import limits
from headstream.errors import Unavailable
from headstream.protocol import follow, keys
from headstream.protocol.follow import Place, Polled
from headstream.protocol.head import Known
from headstream.protocol.ops import Commit, Gen, Get, GetMany, List, Unknown
from support.world import SECOND, World


class Reader:
    """A follower with a memory for heads, as a client has."""

    def __init__(self, world: World, *, after: int = 0, advance: bool = True) -> None:
        self.world = world
        self.place = Place(after)
        self.advance = advance
        self.known: dict[str, Known] = {}
        self.positions: list[int] = []

    def remember(self, known: Known) -> None:
        """A head that was seen."""
        if known.etag is not None:
            self.known[known.state.stream] = known

    def polling(self) -> Gen[Polled]:
        """A poll that is about to begin."""
        return follow.poll(self.world.settings, self.place, self.known.get, self.remember, advance=self.advance)

    def poll(self) -> Polled:
        """One poll."""
        polled = self.world.run(self.polling())
        self.place = polled.place
        self.positions += [event.position for event in polled.events]
        assert polled.events == [] or not polled.idle
        return polled

    def until_idle(self) -> list[int]:
        """Poll until there is nothing to do; the positions that were returned in all."""
        while not self.poll().idle:
            pass
        return self.positions


@pytest.fixture
def world() -> World:
    """A new store."""
    return World()


def test_a_follower_advances_the_feed(world):
    """What was appended is there, in the order of positions."""
    world.append("a", 1, 2)
    world.append("b", 3)
    reader = Reader(world)
    assert reader.until_idle() == [1, 2, 3]
    assert reader.place == Place(3)
    world.append("a", 4)
    assert reader.until_idle() == [1, 2, 3, 4]
    assert world.keys_of("inbox/") == []


def test_an_idle_poll_costs_two_small_requests(world):
    """The feed's head, which did not change, and a list that is empty."""
    world.append("a")
    reader = Reader(world)
    reader.until_idle()
    world.requests.clear()
    assert reader.poll() == Polled([], Place(1), idle=True, problems=[])
    get, listing = world.requests
    assert isinstance(get, Get)
    assert (get.key, get.if_none_match) == (keys.head(keys.FEED), world.head(keys.FEED).etag)
    assert isinstance(listing, List)


def test_events_come_before_the_intents_are_removed(world):
    """Who waits has them one request after the append."""
    world.append("a")
    reader = Reader(world)
    while not reader.positions:
        reader.poll()
    assert len(world.keys_of("inbox/")) == 1
    assert reader.place.progress is not None
    assert reader.until_idle() == [1]
    assert world.keys_of("inbox/") == []


def test_a_poll_is_one_step(world, monkeypatch):
    """A long backlog is advanced batch by batch, and each is returned before the next is made."""
    monkeypatch.setattr(limits, "FEED_BATCH_INTENTS", 2)
    for number in range(6):
        world.append(f"s{number}")
    reader = Reader(world)
    commits = []
    while not reader.poll().idle:
        commits.append(
            (
                sum(isinstance(op, Commit) and op.head.key == keys.head(keys.FEED) for op in world.requests),
                len(reader.positions),
            )
        )
    assert reader.positions == [1, 2, 3, 4, 5, 6]
    assert all(events == 2 * batches for batches, events in commits)


def test_what_others_advanced_is_read_first(world):
    """Before anything else is done."""
    world.append("a")
    world.advance()
    reader = Reader(world)
    assert [event.position for event in reader.poll().events] == [1]


def test_a_long_feed_is_read_in_pages(world, monkeypatch):
    """Each poll returns one, and the feed's head is asked for once."""
    monkeypatch.setattr(limits, "READ_WINDOW_OBJECTS", 2)
    for number in range(40):
        world.append("s", b"x" * 300, number)
        world.advance()
    reader = Reader(world)
    world.requests.clear()
    pages = []
    while not pages or reader.place.cursor is not None:
        pages.append(len(reader.poll().events))
    assert len(pages) > 3
    assert reader.positions == list(range(1, 81))
    assert [op.key for op in world.requests if isinstance(op, Get) and op.key.startswith("heads/")] == [
        keys.head(keys.FEED)
    ]


def test_it_begins_after_a_position(world):
    """Also in the middle of a changeset, and behind the end: then it waits until the feed has come so far."""
    world.append("a", 1, 2, 3)
    assert Reader(world, after=1).until_idle() == [2, 3]
    ahead = Reader(world, after=4)
    assert ahead.until_idle() == []
    world.append("a", 4, 5)
    assert ahead.until_idle() == [5]


def test_without_advancing(world):
    """A reader that may not write sees what others advance; one request when there is nothing new."""
    world.append("a")
    reader = Reader(world, advance=False)
    assert reader.until_idle() == []
    world.advance()
    assert reader.until_idle() == [1]
    world.requests.clear()
    assert reader.poll().idle
    (get,) = world.requests
    assert isinstance(get, Get)
    assert get.if_none_match == world.head(keys.FEED).etag


def test_it_is_not_idle_after_an_advance_that_found_something(world):
    """More may have come meanwhile: the next poll looks at once."""
    world.append("a")
    reader = Reader(world)
    polls = []
    while not polls or not polls[-1].idle:
        polls.append(reader.poll())
    ended = [polled.place.progress is None for polled in polls]
    assert ended[-2:] == [True, True], "an advance ended, and was followed by one more look"


def test_a_young_intent_is_no_reason_not_to_wait(world):
    """Nothing can be done about it yet."""
    world.announce("a")
    reader = Reader(world)
    assert reader.until_idle() == []
    assert len(world.keys_of("inbox/")) == 1


def test_a_lost_batch(world):
    """The follower goes on with a new survey, and returns what the other one published."""
    world.append("a")
    reader = Reader(world)
    reader.poll()
    story = world.play(world.start(reader.polling()), until=lambda op: isinstance(op, Commit))
    world.advance()
    reader.place = world.play(story).returned().place
    assert reader.place.progress is not None
    assert reader.place.progress.plan is None
    assert reader.until_idle() == [1]


@pytest.mark.parametrize("kind", [Get, List, GetMany])
def test_a_poll_that_fails(world, kind):
    """It can be repeated from the place where it began."""
    world.append("a", 1, 2)
    reader = Reader(world)
    while True:
        story = world.play(world.start(reader.polling()), until=kind)
        if story.asked is not None:
            break
        reader.place = story.returned().place
    story.expect(kind, Unknown("time-out"))
    story.raised(Unavailable)
    assert reader.until_idle() == [1, 2]


def test_a_page_that_fails(world):
    """The same for a read in the middle of the feed."""
    for number in range(20):
        world.append("s", b"x" * 300, number)
        world.advance()
    reader = Reader(world)
    story = world.play(world.start(reader.polling()), until=lambda op: isinstance(op, GetMany))
    story.expect(GetMany, Unknown("time-out"))
    story.raised(Unavailable)
    assert reader.until_idle() == list(range(1, 41))


def test_several_followers(world):
    """All see the same order, whoever advances."""
    readers = [Reader(world, advance=number < 2) for number in range(3)]
    for number in range(30):
        world.append(f"s{number % 4}")
        readers[number % 3].poll()
        world.now += SECOND
    world.advance()
    assert [reader.until_idle() for reader in readers] == [list(range(1, 31))] * 3
