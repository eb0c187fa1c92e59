"""A client of the simulation: one process that appends, reads, advances, follows and collects, and may die at any request."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar, cast

import msgspec

from headstream.decider import Decider
from headstream.deciding import Transaction
from headstream.errors import (
    CheckpointLost,
    HeadstreamError,
    KeyReused,
    OutcomeUnknown,
    Unavailable,
    WrongExpectedVersion,
)
from headstream.following import Follower, Wanted
from headstream.model import ANY, EXISTS, Event, Expectation, FeedEvent, RecordedEvent
from headstream.protocol import gc, keys
from headstream.protocol.feed import Progress
from headstream.protocol.ops import Gen, Pause
from headstream.session import Session
from headstream.states import Snapshots
from headstream.testing.simulator.requests import Steps, drive

if TYPE_CHECKING:
    from headstream.testing.simulator.world import World

T = TypeVar("T")


def _grown(state: list[str], event: Event) -> list[str]:
    return [*state, event.data]


def _grown_backwards(state: list[str], event: Event) -> list[str]:
    return [event.data, *state]


DECIDERS: Final = [
    Decider(list[str], evolve, name=name, version=version, snapshots=Snapshots(list[str], every=every))
    for evolve, name, version, every in ((_grown, "d", 1, 1), (_grown_backwards, "d", 2, 2), (_grown, "e", 1, 3))
]
"""Version 2 of a decider has other states than version 1."""


def _decided(deed: Deed, _state: list[str]) -> list[Event]:
    return [Event("E", deed.payload)] * deed.events


class Crash(Exception):
    """The client dies here."""


class Deed(msgspec.Struct):
    """One append of a client, and what became of it."""

    stream: str
    payload: str
    begun: int
    """The step of the world at which it began."""
    events: int
    outcome: str = "running"
    version: int = 0
    ended: int = 0
    key: str | None = None
    expected: int = 0
    """With a key: the version that it expects."""


class Delivery(msgspec.Struct):
    """What one subscription was given: all events of the feed after a position."""

    after: int
    events: list[tuple[int, str, int, str]]
    """Position, stream, version, payload."""


class Client:
    """One process. It remembers heads, and forgets everything when it crashes."""

    def __init__(self, name: str, world: World, skew: int = 0) -> None:
        self.name = name
        self.world = world
        self.skew = skew
        """Microseconds by which its clock is wrong."""
        self.session = Session(world.settings, cache_bytes=world.rng.choice((0, 100_000)))
        self._seen: dict[str, list[str]] = {}

    def live(self, actions: int) -> Steps[None]:
        """Some actions, one after the other."""
        for _ in range(actions):
            try:
                yield from self.world.rng.choice(self.world.habits)(self)
            except Crash:
                self.world.tell(self.name, "crashes, and starts again")
                self.session = Session(self.world.settings, cache_bytes=100_000)
            except Unavailable as error:
                self.world.tell(self.name, f"gives up: {error.message}")

    def run(self, gen: Gen[T]) -> Steps[T]:
        """Execute a step of the core."""
        return drive(gen, self.world.order)

    # --- what a client does ------------------------------------------------------------------------------------

    def append(self) -> Steps[None]:
        """An append with a random expectation, repeated with its key when the outcome is unknown."""
        rng, world = self.world.rng, self.world
        stream = rng.choice(world.streams)
        deed = Deed(stream, f"{self.name}-{len(world.deeds)}", world.steps, rng.randint(1, 3))
        world.deeds.append(deed)
        events = [Event("E", deed.payload)] * deed.events
        expected: Expectation = ANY
        if rng.random() < 0.6:
            expected = self._expectation(stream)
        elif rng.random() < 0.1:
            expected = EXISTS
        if isinstance(expected, int):
            deed.key, deed.expected = deed.payload, expected
        yield from self._append(deed, events, expected)

    def append_again(self) -> Steps[None]:
        """An append with the key of an earlier one that was acknowledged: the same events, which returns what that did; or other events."""
        rng, world = self.world.rng, self.world
        done = [deed for deed in world.deeds if deed.key == deed.payload and deed.outcome == "acknowledged"]
        if not done:
            return
        first = rng.choice(done)
        with_version = rng.random() < 0.7
        expected: Expectation = first.expected if with_version else ANY
        if rng.random() < 0.5:
            deed = Deed(first.stream, f"{self.name}-{len(world.deeds)}", world.steps, first.events, key=first.key)
            world.deeds.append(deed)
            events = [Event("E", deed.payload)] * deed.events
            yield from self._append(deed, events, expected)
            world.check(deed.outcome != "acknowledged" or not with_version, f"{deed.payload} has the place of another")
        elif with_version:
            world.tell(self.name, f"repeats {first.payload} x{first.events} on {first.stream} after {expected}")
            events = [Event("E", first.payload, {"again": world.steps})] * first.events
            request = self.session.request(first.stream, events, expected, first.key)
            with suppress(Unavailable, OutcomeUnknown):
                head = yield from self.run(self.session.append(request))
                world.check(head.version == first.version, f"{first.payload} is at another place when it is repeated")

    def _append(self, deed: Deed, events: list[Event], expected: Expectation) -> Steps[None]:
        """Append, and again with the same key while the outcome is unknown."""
        world, stream = self.world, deed.stream
        for _ in range(3):
            world.tell(self.name, f"appends {deed.payload} x{len(events)} to {stream} after {expected}")
            sure = deed.outcome != "unknown"
            deed.outcome = "unknown"  # should it crash
            began = world.watcher.version(stream)
            try:
                request = self.session.request(stream, events, expected, deed.key)
                head = yield from self.run(self.session.append(request))
                deed.outcome, deed.version = "acknowledged", head.version
            except WrongExpectedVersion:
                deed.outcome = "nothing"
                stood = expected == began == world.watcher.version(stream) or (expected is EXISTS and began > 0)
                world.check(not stood, f"{self.name} was refused, but {stream} was where it expected it all the time")
            except KeyReused as error:
                deed.outcome = "nothing"
                world.tell(self.name, error.message)
                world.check(
                    deed.key != deed.payload, f"{deed.payload} has a key of its own, and was told that it had not"
                )
            except Unavailable:  # speaks of this call, not of the one before
                deed.outcome = "nothing" if sure else "unknown"
            except OutcomeUnknown:
                pass
            deed.ended = world.steps
            world.tell(self.name, f"{deed.outcome}: {deed.payload} {deed.version or ''}")
            if deed.outcome != "unknown" or deed.key is None or not isinstance(expected, int):
                return

    def _expectation(self, stream: str) -> int:
        """The version that this client saw last, or has heard of from another, or dreams of."""
        rng, known = self.world.rng, self.session.cache.get(stream)
        dice = rng.random()
        if known is not None and dice < 0.7:
            return known.state.version
        return self.world.watcher.version(stream) if dice < 0.9 else rng.randint(0, 3)

    def transact(self) -> Steps[None]:
        """A load, a decision that depends on the state, and an append; the states are kept, by two deciders and two versions of each."""
        rng, world = self.world.rng, self.world
        stream = rng.choice(world.streams)
        deed = Deed(stream, f"{self.name}-{len(world.deeds)}", world.steps, rng.randint(0, 2))
        done = self._done(stream)
        decider = rng.choice(DECIDERS)
        world.deeds.append(deed)
        world.tell(self.name, f"decides {deed.payload} x{deed.events} on {stream} as {decider.name} {decider.version}")
        key = deed.payload if rng.random() < 0.5 else None
        decide = partial(_decided, deed)
        max_age = rng.choice((0, 0, math.inf))
        work = Transaction(self.session, stream, decider, decide, key=key, attempts=3, max_age=max_age)
        deed.outcome = "unknown" if deed.events else "nothing"  # should it crash
        try:
            while work.decision is None:
                if work.unread:
                    work.fold((yield from self.run(work.read())))
                elif request := work.propose():
                    try:
                        work.accept((yield from self.run(self.session.append(request))))
                    except HeadstreamError as error:
                        yield from self.run(work.retry(error))
        except (WrongExpectedVersion, Unavailable):
            deed.outcome = "nothing"
        except OutcomeUnknown:
            pass
        else:
            if deed.events:
                deed.outcome, deed.version = "acknowledged", work.decision.head.version
            state = work.decision.state[:: 1 if decider.version == 1 else -1]
            fresh = deed.events > 0 or max_age == 0
            world.check(len(state) == work.decision.head.version, f"{self.name} has a state of {stream} with a gap")
            world.check(not fresh or done <= set(state), f"{self.name} misses an acknowledged append of {stream}")
            world.reads.append((stream, state))
        deed.ended = world.steps
        world.tell(self.name, f"{deed.outcome}: {deed.payload} {deed.version or ''}")

    def _done(self, stream: str) -> set[str]:
        """What is in a stream for certain."""
        return {deed.payload for deed in self.world.deeds if deed.stream == stream and deed.outcome == "acknowledged"}

    def read(self) -> Steps[None]:
        """A whole read, checked against what this client saw before and what was acknowledged before it began."""
        rng, world = self.world.rng, self.world
        stream = rng.choice(world.streams)
        done = self._done(stream)
        events = yield from self.events(stream, backwards=rng.random() < 0.3)
        payloads = [event.data for event in events]
        before = self._seen.get(stream, [])
        world.check(payloads[: len(before)] == before, f"{self.name} saw {stream} go back")
        world.check(done <= set(payloads), f"{self.name} misses an acknowledged append of {stream}")
        self._seen[stream] = payloads
        world.reads.append((stream, payloads))

    def look(self) -> Steps[None]:
        """A look at a head, which must hold what was acknowledged before."""
        stream = self.world.rng.choice(self.world.streams)
        least = max([deed.version for deed in self.world.deeds if deed.stream == stream], default=0)
        head = yield from self.run(self.session.head(stream))
        version = head.version if head is not None else 0
        self.world.check(version >= least, f"{self.name} saw {stream} at {version} after {least} was acknowledged")

    def advance(self) -> Steps[None]:
        """An advance of the feed."""
        self.world.tell(self.name, "advances the feed")
        progress = Progress()
        while not progress.done:
            progress = yield from self.run(self.session.advance(progress))

    def read_feed(self) -> Steps[None]:
        """A read of the feed, checked against what this client saw of it before."""
        events = yield from self.events(keys.FEED, backwards=self.world.rng.random() < 0.3)
        seen = [event.data for event in events]
        before = self._seen.get(keys.FEED, [])
        self.world.check(seen[: len(before)] == before, f"{self.name} saw the feed go back")
        self._seen[keys.FEED] = seen
        self.world.deliveries.append(Delivery(0, _facts(events)))

    def follow(self) -> Steps[None]:
        """A subscription, with a checkpoint or without, that handles some events and stops somewhere."""
        rng, world = self.world.rng, self.world
        name = rng.choice((None, "w", "w", "v"))
        follower = Follower(
            self.session,
            Wanted(None, None),
            after=0,
            checkpoint_name=name,
            poll=(0.1, 1.0),
            advance=rng.random() < 0.8,
            follow=True,
        )
        world.tell(self.name, f"follows the feed as {name}")
        try:
            if not follower.begun:
                yield from self.run(follower.begin())
            delivery = Delivery(follower.handled, [])
            world.deliveries.append(delivery)
            for _ in range(rng.randint(1, 12)):
                batch = cast("list[RecordedEvent]", follower.next_batch(rng.randint(1, 3)))
                if batch:
                    delivery.events += _facts(batch)
                elif follower.absorb((yield from self.run(follower.poll()))):
                    yield Pause(follower.pause())
                if follower.unsaved and rng.random() < 0.3:
                    yield from self.run(follower.save())
        except CheckpointLost:
            world.tell(self.name, f"lost the checkpoint {name}")

    def collect(self) -> Steps[None]:
        """A collection of garbage, in one stream or the feed."""
        stream = self.world.rng.choice((*self.world.streams, keys.FEED))
        self.world.tell(self.name, f"collects the garbage of {stream}")
        yield from self.sweep(stream, self.world.settings.grace_seconds)

    # --- what it is made of --------------------------------------------------------------------------------------

    def sweep(self, stream: str, grace: int) -> Steps[None]:
        """Collect what is older than ``grace`` seconds of the garbage of a stream."""
        place: gc.Place | None = gc.Place()
        while place is not None:
            place = (yield from self.run(gc.sweep(stream, grace=grace, dry=False, place=place))).rest

    def events(self, stream: str, *, backwards: bool = False) -> Steps[list[RecordedEvent]]:
        """All events of a stream, or of the feed, oldest first."""
        start = self.session.reading(stream, after=0, before=None, limit=None, backwards=backwards)
        cursor = yield from self.run(start())
        events: list[RecordedEvent] = []
        while not cursor.exhausted:
            some, cursor = yield from self.run(self.session.step(cursor))
            events.extend(some)
        if backwards:
            events.reverse()
        numbers = [event.position if isinstance(event, FeedEvent) else event.version for event in events]
        self.world.check(numbers == list(range(1, len(events) + 1)), f"{stream} has a gap: {numbers}")
        return events


def _facts(events: list[RecordedEvent]) -> list[tuple[int, str, int, str]]:
    return [(event.position, event.stream, event.version, event.data) for event in cast("list[FeedEvent]", events)]


Habit = Callable[[Client], Steps[None]]
HABITS: tuple[tuple[Habit, int], ...] = (
    (Client.append, 8),
    (Client.append_again, 2),
    (Client.transact, 4),
    (Client.read, 2),
    (Client.look, 1),
    (Client.advance, 4),
    (Client.read_feed, 1),
    (Client.follow, 3),
    (Client.collect, 1),
)
"""What clients do, and how often at most, beside each other."""
FEED_HABITS: Final = {Client.advance, Client.read_feed, Client.follow}
"""Those that need a feed."""
