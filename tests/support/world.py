"""A store in memory, of which a test may stop any step of the core at any request, fail the request, or let others go first.

::

    world = World()
    world.append("s")
    advance = world.start(feed.survey(None))
    world.play(advance, until=List)      # stopped before its first list
    world.append("s")                    # others go first
    plan = world.play(advance).returned()
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, TypeVar

from headstream import limits
from headstream.backends.memory import MemoryBackend
from headstream.errors import HeadstreamError
from headstream.model import ANY, Event, Expected, FeedEvent, Settings
from headstream.protocol import append, encoding, feed, keys, read
from headstream.protocol.append import Appended, Proposal
from headstream.protocol.feed import Progress
from headstream.protocol.head import Known
from headstream.protocol.ops import (
    FAULTS,
    Commit,
    Delete,
    Gen,
    Get,
    GetMany,
    List,
    Op,
    Pause,
    Put,
    Stamp,
    Stamped,
)
from headstream.protocol.snapshot import Kept
from support.script import MICROS, Script

T = TypeVar("T")

SETTINGS: Final = Settings(tail_bytes=400, fan_out=3, feed=True, grace_seconds=60)
SECOND: Final = 1_000_000
GRACE: Final = SETTINGS.grace_seconds * SECOND

Until = type[Op[Any]] | Callable[[Op[Any]], bool]


def nobody(_stream: str) -> Known | None:
    """The cache of a client that remembers no head."""
    return None


class Announced:
    """An append that has written its prelude, and whose commit is still to come, if it ever does."""

    def __init__(self, world: World, story: Script[Appended]) -> None:
        self._world = world
        self.story = story
        commit = story.asked
        assert isinstance(commit, Commit)
        self.commit = commit
        self.keys = [put.key for put in commit.prelude]
        """Of its intent, then of its other objects."""
        for put in commit.prelude:
            world.put(put)

    def land(self) -> bool:
        """The head is tried at last; whether that was in time."""
        self.story.expect(Commit, self._world.backend.commit((), self.commit.head))
        return self.story.asked is None


class World:
    """A store in memory, its clock, and the ids that it gives."""

    def __init__(self, settings: Settings = SETTINGS) -> None:
        self.settings = settings
        self.backend = MemoryBackend()
        self.now = MICROS
        """Microseconds; each stamp takes one millisecond."""
        self.requests: list[Op[Any]] = []
        """All that were executed, oldest first."""
        self._ids = 0

    # --- executing -------------------------------------------------------------------------------------------------

    def execute(self, op: Op[Any]) -> object:
        """One operation."""
        self.requests.append(op)
        match op:
            case Get():
                return self.backend.get(op)
            case GetMany():
                return self.backend.get_many(op.gets)
            case List():
                return self.backend.list(op.prefix, op.after, limits.LIST_PAGE)
            case Commit():
                return self.backend.commit(op.prelude, op.head)
            case Delete():
                self.backend.delete(op.keys)
            case Stamp():
                return self.stamp(op.after)
            case _:
                assert isinstance(op, Pause)
        return None

    def stamp(self, after: bytes | None = None) -> Stamped:
        """A fresh id of the time that it is, and above ``after``."""
        self.now += 1000
        self._ids += 1
        made = (self.now // 1000).to_bytes(6, "big") + self._ids.to_bytes(10, "big")
        if after is not None and made <= after:
            made = (int.from_bytes(after, "big") + (1 << 40)).to_bytes(16, "big")
        return Stamped(made, self.now)

    def start(self, gen: Gen[T]) -> Script[T]:
        """A step, stopped before its first request."""
        return Script(gen)

    def play(self, story: Script[T], until: Until | None = None, *, count: int = 1) -> Script[T]:
        """Go on until it ends, or before the ``count``-th request of a kind."""
        while (op := story.asked) is not None:
            if until is not None and (type(op) is until if isinstance(until, type) else until(op)):
                count -= 1
                if not count:
                    break
            story.expect(type(op), self.execute(op))
        return story

    def run(self, gen: Gen[T]) -> T:
        """All of a step; what it raises comes through."""
        story = self.play(self.start(gen))
        if story.error is not None:
            raise story.error
        return story.returned()

    def put(self, put: Put) -> None:
        """Write one object."""
        self.backend.commit((), put)

    # --- writing ---------------------------------------------------------------------------------------------------

    def appending(
        self,
        stream: str,
        *data: object,
        expected: int | Expected = ANY,
        known: Known | None = None,
        kept: Kept | None = None,
    ) -> Script[Appended]:
        """An append of an event for each of ``data``, one with nothing if there is none; stopped before its first request."""
        events = [Event("E", one) for one in data or (None,)]
        proposal = Proposal(stream, encoding.encode_events(events), len(events), expected, kept=kept)
        return self.start(append.append(self.settings, proposal, known))

    def append(self, stream: str, *data: object, kept: Kept | None = None) -> Appended:
        """An append that is made."""
        return self.play(self.appending(stream, *data, kept=kept)).returned()

    def announce(self, stream: str, *data: object, known: Known | None = None, kept: Kept | None = None) -> Announced:
        """An append that has got as far as its prelude."""
        return Announced(self, self.play(self.appending(stream, *data, known=known, kept=kept), until=Commit))

    # --- the feed --------------------------------------------------------------------------------------------------

    def advance(self, progress: Progress | None = None) -> Progress:
        """All steps of an advance, from the beginning or from where it is."""
        progress = progress or Progress()
        while not progress.done:
            progress = self.run(feed.step(self.settings, progress, nobody))
        return progress

    def feed(self) -> list[FeedEvent]:
        """What is in the feed."""
        cursor = self.run(read.start(keys.FEED, None, after=0, before=None, limit=None, backwards=False))
        found: list[Any] = []
        while not cursor.exhausted:
            events, cursor = self.run(read.step(cursor))
            found += events
        return found

    def published(self) -> list[tuple[str, int]]:
        """Stream and version of each event of the feed, in its order."""
        return [(event.stream, event.version) for event in self.feed()]

    def versions(self, stream: str) -> list[int]:
        """Those of one stream in the feed, in its order."""
        return [version for name, version in self.published() if name == stream]

    def head(self, stream: str) -> Known:
        """The head of a stream as it is."""
        return self.run(read.load_head(stream, None))

    def keys_of(self, folder: str) -> list[str]:
        """The keys of the objects in a folder, such as ``inbox/``."""
        return list(self.backend.list(folder, "", 1_000_000).keys)

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += int(seconds * SECOND)


def broken(world: World, gen: Gen[T], at: int, fault: Exception, *, applied: bool) -> Script[T]:
    """A step whose request number ``at`` fails, before or after it took effect."""
    story = world.start(gen)
    number = 0
    while (op := story.asked) is not None:
        if not isinstance(op, (Stamp, Pause)):
            number += 1
            if number == at:
                if applied:
                    with suppress(*FAULTS, HeadstreamError):
                        world.execute(op)
                story.expect(type(op), fault)
                continue
        story.expect(type(op), world.execute(op))
    return story
