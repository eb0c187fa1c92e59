"""A simulator: the real core of several clients over a model of storage, with hostile weather, all decided by one seed.

Each client runs appends and reads through the protocols as shipped. Every request is a point where another client may
go first. A request may be lost before it takes effect, lose its answer after it did, or take effect long after the client was told
that nobody knows, or be answered by a refusal that is not true; a client may crash at any point. When the weather is over, what is late arrives or is lost, and everything is checked:

* an acknowledged changeset is in its stream, at the version that was acknowledged, exactly once;
* an append that said "nothing was written" wrote nothing, not even late;
* an append whose outcome is unknown is there once or not at all, also when it was repeated with its key;
* a read is a prefix of the stream, holds all that was acknowledged before it began, and never goes back for one client.

Run it: ``python -m headstream.testing.simulator --seed 1 --histories 1000``. The same seed gives the same trace, byte for byte.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any, Final, TypeVar

import msgspec

from headstream.drivers.ids import uuid7
from headstream.errors import HeadstreamError, OutcomeUnknown, Unavailable, WrongExpectedVersion
from headstream.model import ANY, Event, Expectation, RecordedEvent, Settings
from headstream.protocol.head import fenced, put
from headstream.protocol.ops import (
    FAULTS,
    MISSING,
    NOT_MODIFIED,
    REFUSED,
    Absent,
    Commit,
    Delete,
    Found,
    Gen,
    Get,
    GetAnswer,
    GetMany,
    List,
    Matches,
    NotApplied,
    Op,
    Page,
    Pause,
    Put,
    Refused,
    Stamp,
    Stamped,
    Stored,
    Unknown,
)
from headstream.protocol.read import load_head
from headstream.session import Session

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Work that may be interrupted wherever it yields."""


class Weather(msgspec.Struct, frozen=True):
    """How likely each fault is, for one request; drawn by the seed, many of them zero."""

    lost: float
    """The request has no effect. Half of the time the client learns that, else the outcome is unknown to it."""
    silent: float
    """The request takes effect, and its answer is lost."""
    contrary: float
    """The request takes effect, and is answered as if it had been refused."""
    late: float
    """The outcome is unknown, and the request takes effect later, or never."""
    crash: float
    """The client dies and starts again, knowing nothing."""
    fence: float
    """Somebody fences a stream instead of a client's next step."""

    @staticmethod
    def draw(rng: Random) -> Weather:
        """Each fault is off for half of the seeds."""
        return Weather(*(rng.choice((0.0, rng.uniform(0.0, most))) for most in (0.2, 0.2, 0.1, 0.2, 0.02, 0.05)))


CALM: Final = Weather(0, 0, 0, 0, 0, 0)


class Violation(AssertionError):
    """A promise was broken. The message has the seed, the promise, and the end of the story."""


class Crash(Exception):
    """The client dies here."""


class Storage:
    """Objects, and the writes that are still on their way."""

    def __init__(self, rng: Random, weather: Weather, trace: list[str]) -> None:
        self.objects: dict[str, Found] = {}
        self._late: list[Put] = []
        self._rng = rng
        self._trace = trace
        self._writes = 0
        self.weather = weather

    def get(self, get: Get) -> GetAnswer:
        """What a read sees now."""
        if self._rng.random() < self.weather.lost:
            raise NotApplied("lost")
        found = self.objects.get(get.key)
        if found is None:
            return MISSING
        return NOT_MODIFIED if found.etag == get.if_none_match else found

    def write(self, write: Put) -> Stored | Refused:
        """A write in this weather."""
        chance = self._rng.random()
        if chance < self.weather.lost:
            self._trace.append(f"    lost {write.key}")
            raise self._rng.choice((NotApplied, Unknown))("lost")
        chance -= self.weather.lost
        if chance < self.weather.silent:
            self._apply(write)
            raise Unknown("the answer was lost")
        chance -= self.weather.silent
        if chance < self.weather.contrary:
            self._apply(write)
            return REFUSED
        chance -= self.weather.contrary
        if chance < self.weather.late:
            self._trace.append(f"    late {write.key}")
            self._late.append(write)
            raise Unknown("late")
        return self._apply(write)

    def arrive(self) -> None:
        """One late write arrives, or is lost for good."""
        if self._late:
            write = self._late.pop(self._rng.randrange(len(self._late)))
            if self._rng.random() < 0.8:
                self._apply(write)

    def settle(self) -> None:
        """What is late arrives, or is lost for good."""
        while self._late:
            self.arrive()

    def _apply(self, write: Put) -> Stored | Refused:
        found = self.objects.get(write.key)
        if isinstance(write.when, Matches):
            holds = found is not None and found.etag == write.when.etag
        else:
            holds = found is None or not isinstance(write.when, Absent)
        self._trace.append(f"    {'wrote' if holds else 'refused'} {write.key}")
        if not holds:
            return REFUSED
        self._writes += 1
        self.objects[write.key] = Found(write.body, str(self._writes))
        return Stored(str(self._writes))


class Deed(msgspec.Struct):
    """One append of a client, and what became of it."""

    stream: str
    payload: str
    outcome: str = "running"
    version: int = 0


class Client:
    """One process: it appends and reads at random, remembers heads, and forgets everything when it crashes."""

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.world = world
        self.session = Session(world.settings, cache_bytes=world.rng.choice((0, 100_000)))
        self.seen: dict[str, list[str]] = {}

    def live(self, actions: int) -> Steps[None]:
        """Some actions, one after the other."""
        for _ in range(actions):
            stream = self.world.rng.choice(self.world.streams)
            try:
                if self.world.rng.random() < 0.7:
                    yield from self.append(stream)
                else:
                    yield from self.read(stream)
            except Crash:
                self.world.trace.append(f"{self.name} crashes")
                self.session = Session(self.world.settings, cache_bytes=100_000)

    def append(self, stream: str) -> Steps[None]:
        """An append with a random expectation, repeated with its key when the outcome is unknown."""
        rng, world = self.world.rng, self.world
        deed = Deed(stream, f"{self.name}-{len(world.deeds)}")
        world.deeds.append(deed)
        events = [Event("E", deed.payload)] * rng.randint(1, 3)
        expected: Expectation = ANY
        if rng.random() < 0.6:
            known = self.session.cache.get(stream)
            expected = known.state.version if known is not None and rng.random() < 0.9 else rng.randint(0, 3)
        key = deed.payload if expected is not ANY else None
        for _ in range(3):
            world.trace.append(f"{self.name} appends {deed.payload} x{len(events)} to {stream} after {expected}")
            sure = deed.outcome != "unknown"
            deed.outcome = "unknown"  # should it crash
            try:
                request = self.session.request(stream, events, expected, key)
                head = yield from self.drive(self.session.append(request))
                deed.outcome, deed.version = "acknowledged", head.version
            except WrongExpectedVersion:
                deed.outcome = "nothing"
            except Unavailable:  # speaks of this call, not of the one before
                deed.outcome = "nothing" if sure else "unknown"
            except OutcomeUnknown:
                pass
            world.trace.append(f"{self.name}: {deed.outcome} {deed.payload} {deed.version or ''}")
            if deed.outcome != "unknown" or key is None:
                return

    def read(self, stream: str) -> Steps[None]:
        """A whole read, checked against what this client saw before and what was acknowledged before it began."""
        rng = self.world.rng
        done = [deed.payload for deed in self.world.deeds if deed.stream == stream and deed.outcome == "acknowledged"]
        try:
            payloads = yield from self.payloads(stream, backwards=rng.random() < 0.3)
        except Unavailable:
            return
        before = self.seen.get(stream, [])
        self.world.check(payloads[: len(before)] == before, f"{self.name} saw {stream} go back")
        self.world.check(set(done) <= set(payloads), f"{self.name} misses an acknowledged append of {stream}")
        self.seen[stream] = payloads
        self.world.reads.append((stream, payloads))

    def payloads(self, stream: str, *, backwards: bool = False) -> Steps[list[str]]:
        """The data of all events of a stream, oldest first."""
        start = self.session.reading(stream, after=0, before=None, limit=None, backwards=backwards)
        cursor = yield from self.drive(start())
        events: list[RecordedEvent] = []
        while not cursor.exhausted:
            some, cursor = yield from self.drive(self.session.step(cursor))
            events.extend(some)
        if backwards:
            events.reverse()
        self.world.check([event.version for event in events] == list(range(1, len(events) + 1)), f"{stream} has a gap")
        return [event.data for event in events]

    def drive(self, gen: Gen[T]) -> Steps[T]:
        """Execute a step of the core; every request is a point of interruption."""
        try:
            op = next(gen)
            while True:
                try:
                    answer = yield from self.world.perform(op)
                except (*FAULTS, HeadstreamError) as error:
                    op = gen.throw(error)
                else:
                    op = gen.send(answer)
        except StopIteration as stop:
            value: T = stop.value
            return value


class World:
    """One history."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = rng = Random(seed)  # noqa: S311 - a seed must decide
        self.trace: list[str] = []
        self.settings = Settings(
            tail_bytes=rng.choice((0, 100, 300, 2000)), fan_out=rng.choice((2, 3, 128)), feed=rng.random() < 0.8
        )
        self.weather = Weather.draw(rng)
        self.storage = Storage(rng, self.weather, self.trace)
        self.streams = [f"s{number}" for number in range(rng.randint(1, 2))]
        self.deeds: list[Deed] = []
        self.reads: list[tuple[str, list[str]]] = []
        self._micros = 0

    def run(self) -> None:
        """The whole history; :class:`Violation` if a promise is broken."""
        running = [Client(f"c{number}", self).live(self.rng.randint(1, 8)) for number in range(self.rng.randint(1, 4))]
        while running:
            turn = self.rng.random()
            if turn < self.weather.fence:
                self._fence(self.rng.choice(self.streams))
            elif turn < 0.2:
                self.storage.arrive()
            steps = self.rng.choice(running)
            if next(steps, self) is self:
                running.remove(steps)
        self.storage.settle()
        with self._calm():
            self._judge()

    def check(self, holds: bool, promise: str) -> None:
        """One promise."""
        if not holds:
            story = "\n".join(self.trace[-60:])
            raise Violation(f"seed {self.seed}: {promise}\n{story}")

    def perform(self, op: Op[Any]) -> Steps[Any]:
        """The requests of one operation, each after a point of interruption."""
        if isinstance(op, Stamp):
            self._micros += self.rng.randint(1, 5000)
            return Stamped(uuid7(self._micros * 1000, self.rng.getrandbits(80)), self._micros)
        if isinstance(op, Pause):
            for _ in range(self.rng.randint(0, 2)):
                yield
            return None
        yield from self._interrupt()
        if isinstance(op, Get):
            return self.storage.get(op)
        if isinstance(op, GetMany):
            answers = []
            for get in op.gets:
                yield from self._interrupt()
                answers.append(self.storage.get(get))
            return tuple(answers)
        if isinstance(op, Commit):
            return (yield from self._commit(op))
        if isinstance(op, List):
            keys = sorted(key for key in self.storage.objects if key.startswith(op.prefix) and key > op.after)
            return Page(tuple(keys[:2]), more=len(keys) > 2)
        assert isinstance(op, Delete)
        for key in op.keys:
            self.storage.objects.pop(key, None)
        return None

    def _commit(self, commit: Commit) -> Steps[Stored | Refused]:
        prelude = list(commit.prelude)
        self.rng.shuffle(prelude)
        failed = False
        for write in prelude:
            yield from self._interrupt()
            try:
                failed = isinstance(self.storage.write(write), Refused) or failed
            except FAULTS:
                failed = True
        if failed:
            raise NotApplied("the prelude failed")
        yield from self._interrupt()
        answer = self.storage.write(commit.head)
        yield from self._interrupt()
        return answer

    def _interrupt(self) -> Steps[None]:
        yield
        if self.rng.random() < self.weather.crash:
            raise Crash

    def _fence(self, stream: str) -> None:
        bystander = Client("fence", self)
        with self._calm():
            known = _finish(bystander.drive(load_head(stream, None)))
            if known.etag is not None:
                self.storage.write(put(fenced(known.state), known.etag))

    @contextmanager
    def _calm(self) -> Iterator[None]:
        """No fault happens inside."""
        weather, self.weather = self.weather, CALM
        self.storage.weather = CALM
        yield
        self.weather = self.storage.weather = weather

    def _judge(self) -> None:
        for stream in self.streams:
            final = _finish(Client("judge", self).payloads(stream))
            for deed in self.deeds:
                if deed.stream == stream:
                    self._judge_deed(deed, final)
            for seen in (payloads for name, payloads in self.reads if name == stream):
                self.check(final[: len(seen)] == seen, f"a read of {stream} was no prefix of it")

    def _judge_deed(self, deed: Deed, final: list[str]) -> None:
        times = [version for version, payload in enumerate(final, 1) if payload == deed.payload]
        together = times == list(range(times[0], times[-1] + 1)) and len(times) <= 3 if times else True
        self.check(together, f"{deed.payload} is there more than once")
        if deed.outcome == "acknowledged":
            self.check(bool(times) and times[-1] == deed.version, f"{deed.payload} was acknowledged and is not there")
        if deed.outcome == "nothing":
            self.check(not times, f"{deed.payload} said that nothing was written, and is there")


def _finish(steps: Steps[T]) -> T:
    """Run without interruption."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            value: T = stop.value
            return value


def simulate(seeds: Iterator[int]) -> int:
    """Run a history for each seed; how many events were acknowledged. :class:`Violation` for the first that breaks a promise."""
    acknowledged = 0
    for seed in seeds:
        world = World(seed)
        world.run()
        acknowledged += sum(deed.outcome == "acknowledged" for deed in world.deeds)
    return acknowledged


def main(arguments: list[str] | None = None) -> int:
    """The command: prints what it ran, or the story of the first broken promise."""
    parser = argparse.ArgumentParser(prog="headstream-sim", description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1, help="the first seed (default: 1)")
    parser.add_argument("--histories", type=int, default=1000, help="how many seeds from there (default: 1000)")
    parser.add_argument("--trace", action="store_true", help="print the whole story of the first seed")
    chosen = parser.parse_args(arguments)
    try:
        if chosen.trace:
            world = World(chosen.seed)
            world.run()
            print("\n".join(world.trace))
            return 0
        acknowledged = simulate(iter(range(chosen.seed, chosen.seed + chosen.histories)))
    except Violation as violation:
        print(violation, file=sys.stderr)
        return 1
    print(
        f"{chosen.histories} histories from seed {chosen.seed}: every promise held; {acknowledged} appends acknowledged"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
