"""Exhaustive exploration: every schedule of a small case, with every placing of a few faults.

A case is some actors, each of which does one thing through the real core. From every state each possible next event is tried: a request of any actor takes
effect, or is lost, or takes effect without an answer, or is refused untruly, or takes effect later; or an actor dies before or after it. States that
different schedules lead to are explored once: ids and etags depend on what was written, not on when, and an actor's state is the answers that it got.
At every end the storage calms down, the feed is advanced, and the promises are checked as after a random history.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Final, TypeAlias

import msgspec

from headstream.drivers.ids import stamped
from headstream.errors import HeadstreamError, OutcomeUnknown, Unavailable, WrongExpectedVersion
from headstream.model import ANY, Event, Expectation, FeedEvent, RecordedEvent, Settings
from headstream.protocol import gc, keys
from headstream.protocol.feed import Progress
from headstream.protocol.ops import Found, Get, GiveWay, List, NotApplied, Pause, Put, Refused, Stamp, Stored, Unknown
from headstream.session import Session
from headstream.testing.simulator.requests import Remove, Request, Steps, drive
from headstream.testing.simulator.storage import Storage
from headstream.testing.simulator.tiny import limited

_NOON: Final = 1_700_000_000_000_000_000
_LATER: Final = 3_600_000_000_000
_DIED: Final = "died"

Actor: TypeAlias = Callable[[Session, str], Steps[str]]
"""What an actor does, given a client and its own name; it returns what came of it."""
Move: TypeAlias = tuple[int, str]
"""The actor, and what becomes of its request; or -1 and the number of a late request that arrives."""


class Case(msgspec.Struct, frozen=True):
    """A small case."""

    name: str
    actors: tuple[Actor, ...]
    before: tuple[Actor, ...] = ()
    """Actors that are done before the others begin."""
    faults: int = 0
    """How many there are at most."""
    clocks: tuple[int, ...] = (_NOON, _NOON + _LATER)
    """Nanoseconds since 1970 by the actors' clocks: those of others look old to one whose clock is ahead, and are fenced."""
    tail_bytes: int = 1000
    page: int = 1
    """Keys in a page of a list."""
    batch: int = 1000
    """Intents in a batch of the feed."""
    window: int = 10_000
    """Intents that an advance looks at."""
    attempts: int = 200
    """Attempts of an append, and batches that an advance may lose: few, where others can make it start over for ever."""
    knock: int = 16
    """Races that an append loses before it raises the fence of the head."""


class Explored(msgspec.Struct, frozen=True):
    """What an exploration covered."""

    case: str
    schedules: int
    """Different sequences of events, from the beginning to an end."""
    states: int
    ends: int


class Broken(AssertionError):
    """A promise was broken; the message has the promise and the schedule."""


class _Running:
    """An actor at work."""

    def __init__(self, number: int, steps: Steps[Any], clock: int) -> None:
        self.number = number
        self._clock = clock
        self.stamps = 0
        self.result: str | None = None
        self.request: Request | None = None
        self.past = hashlib.blake2b(digest_size=16)
        """All answers that it got: with them, its state is determined."""
        self._steps = steps

    def proceed(self, answer: Any) -> None:
        """Hand it an answer or a fault; it goes on to its next request, or to its end."""
        self.past.update(repr(answer).encode())
        while True:
            try:
                self.request = self._steps.throw(answer) if isinstance(answer, Exception) else self._steps.send(answer)
            except StopIteration as stop:
                self.request, self.result = None, stop.value
                return
            if isinstance(self.request, Stamp):
                answer = self._stamp(self.request)
            elif isinstance(self.request, (Pause, GiveWay)):
                answer = None
            else:
                return

    def _stamp(self, request: Stamp) -> Any:
        self.stamps += 1
        chance = (self.number + 1) << 32 | self.stamps
        return stamped(self._clock + self.stamps * 1_000_000, lambda: chance, request.after)

    def die(self) -> None:
        """It stops here."""
        self.request, self.result = None, _DIED


class _Content(Storage):
    """A storage whose etags say what was written, so that equal contents are equal states."""

    def apply(self, request: Put | Remove) -> Stored | Refused | None:
        answer = super().apply(request)
        if isinstance(answer, Stored) and isinstance(request, Put):
            etag = hashlib.blake2b(request.body, digest_size=8).hexdigest()
            self.objects[request.key] = Found(request.body, etag)
            return Stored(etag)
        return answer


class Play:
    """One run of a case, along some schedule."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.settings = Settings(tail_bytes=case.tail_bytes, grace_seconds=1)
        self.storage = _Content()
        self.faults = case.faults
        for number, earlier in enumerate(case.before):
            self._finish(earlier(Session(self.settings, 0), f"b{number}"), number + 100, _NOON)
        self.actors = [
            _Running(
                number, actor(Session(self.settings, 100_000), f"a{number}"), case.clocks[number % len(case.clocks)]
            )
            for number, actor in enumerate(case.actors)
        ]
        for actor in self.actors:
            actor.proceed(None)

    def moves(self) -> list[Move]:
        """All that can happen next."""
        moves: list[Move] = [(-1, str(number)) for number in range(len(self.storage.late))]
        for actor in self.actors:
            if actor.request is not None:
                moves.append((actor.number, "done"))
                if self.faults:
                    moves += [(actor.number, fault) for fault in _faults(actor.request)]
        return moves

    def make(self, move: Move) -> None:
        """Let it happen."""
        number, event = move
        if number < 0:
            self.storage.apply(self.storage.late.pop(int(event)))
            return
        actor = self.actors[number]
        request = actor.request
        assert request is not None
        if event != "done":
            self.faults -= 1
        if event == "dies before":
            actor.die()
        elif event == "dies after":
            self._take_effect(request)
            actor.die()
        elif event == "lost":
            actor.proceed(NotApplied("lost"))
        elif event == "unknown":
            actor.proceed(Unknown("lost"))
        elif event == "silent":
            self._take_effect(request)
            actor.proceed(Unknown("done"))
        elif event == "contrary":
            self._take_effect(request)
            actor.proceed(Refused())
        elif event == "late":
            assert isinstance(request, (Put, Remove))
            self.storage.late.append(request)
            actor.proceed(Unknown("late"))
        else:
            actor.proceed(self._take_effect(request))

    def _take_effect(self, request: Request) -> Any:
        if isinstance(request, Get):
            return self.storage.get(request)
        if isinstance(request, List):
            return self.storage.page(request, self.case.page)
        assert isinstance(request, (Put, Remove))
        return self.storage.apply(request)

    def state(self) -> bytes:
        """What tells this state from all others."""
        digest = hashlib.blake2b(digest_size=16)
        for key in self.storage.keys(""):
            digest.update(f"{key} {self.storage.objects[key].etag} ".encode())
        for actor in self.actors:
            digest.update(actor.past.digest() + f"{actor.result} ".encode())
        digest.update(f"{self.faults} {self.storage.late!r}".encode())
        return digest.digest()

    # --- the end ---------------------------------------------------------------------------------------------------

    def judge(self) -> str | None:
        """The promise that was broken, if one was."""
        session = Session(self.settings, 0)
        self._finish(_advance(session))
        self._finish(_advance(session))
        feed = [event for event in self._finish(_events(session, keys.FEED)) if isinstance(event, FeedEvent)]
        streams = sorted({keys.stream_of_head(key) for key in self.storage.keys(keys.HEADS)} - {keys.FEED})
        found = {stream: self._finish(_events(session, stream)) for stream in streams}
        for stream, events in found.items():
            if [event for event in feed if event.stream == stream] != events:
                return f"the feed does not hold {stream} as it is"
        if self.storage.keys(keys.INBOX):
            return "an intent is never settled"
        payloads = [event.data for events in found.values() for event in events]
        for number, actor in enumerate(self.actors):
            times = payloads.count(f"a{number}")
            if times > 1 or times != {"acknowledged": 1, "nothing": 0}.get(actor.result or "", times):
                return f"actor {number} was told {actor.result}, and its changeset is there {times} times"
        return None

    def _finish(self, steps: Steps[Any], number: int = 99, clock: int = _NOON + 2 * _LATER) -> Any:
        bystander = _Running(number, steps, clock)
        bystander.proceed(None)
        while bystander.request is not None:
            bystander.proceed(self._take_effect(bystander.request))
        return bystander.result


def _faults(request: Request) -> Iterator[str]:
    yield "dies before"
    yield "lost"
    if isinstance(request, (Put, Remove)):
        yield from ("dies after", "unknown", "silent", "late")
        if isinstance(request, Put) and request.key.startswith(keys.HEADS):
            yield "contrary"


# --- what actors do ------------------------------------------------------------------------------------------------


def append(stream: str, expected: Expectation = ANY) -> Actor:
    """An actor that appends one event, whose data is the actor's own."""

    def act(session: Session, name: str) -> Steps[str]:
        request = session.request(stream, Event("E", name), expected, None)
        try:
            yield from drive(session.append(request), list)
        except (WrongExpectedVersion, Unavailable):
            return "nothing"
        except OutcomeUnknown:
            return "unknown"
        return "acknowledged"

    return act


def advance(session: Session, _name: str) -> Steps[str]:
    """An actor that advances the feed."""
    try:
        yield from _advance(session)
    except Unavailable:
        return "given up"
    return "advanced"


def collect(_session: Session, _name: str) -> Steps[str]:
    """An actor that collects the garbage of the stream ``s``."""
    place: gc.Place | None = gc.Place()
    try:
        while place is not None:
            place = (yield from drive(gc.sweep("s", grace=1, dry=False, place=place), list)).rest
    except Unavailable:
        return "given up"
    return "collected"


def _advance(session: Session) -> Steps[int]:
    progress = Progress()
    while not progress.done:
        progress = yield from drive(session.advance(progress), list)
    return progress.published


def _events(session: Session, stream: str) -> Steps[list[RecordedEvent]]:
    start = session.reading(stream, after=0, before=None, limit=None, backwards=False)
    cursor = yield from drive(start(), list)
    events: list[RecordedEvent] = []
    while not cursor.exhausted:
        some, cursor = yield from drive(session.step(cursor), list)
        events += some
    return events


# --- exploring -----------------------------------------------------------------------------------------------------


def explore(case: Case) -> Explored:
    """Every schedule of ``case``; :class:`Broken` for the first that breaks a promise."""
    limits = {
        "FEED_BATCH_INTENTS": case.batch,
        "FEED_WINDOW": case.window,
        "CONFLICT_AGE": 10**9,
        "APPEND_ATTEMPTS": case.attempts,
        "ADVANCE_ATTEMPTS": case.attempts,
        "KNOCK": case.knock,
    }
    with limited(limits):
        return _explore(case)


def _explore(case: Case) -> Explored:
    known: dict[bytes, int] = {}
    ends = 0

    def visit(play: Play, path: list[Move]) -> int:
        nonlocal ends
        state = play.state()
        if state in known:
            return known[state]
        moves = play.moves()
        schedules = 0
        for index, move in enumerate(moves):
            at = play if index == len(moves) - 1 else _replay(case, path)
            path.append(move)
            try:
                at.make(move)
            except HeadstreamError as error:
                raise Broken(f"{case.name}: {error!r} escaped\n" + "\n".join(_tell(case, path))) from error
            schedules += visit(at, path)
            path.pop()
        if not moves or all(number < 0 for number, _ in moves):  # what is late may never arrive
            ends += 1
            schedules += 1
            problem = _judge(_replay(case, path))
            if problem is not None:
                raise Broken(f"{case.name}: {problem}\n" + "\n".join(_tell(case, path)))
        known[state] = schedules
        return schedules

    schedules = visit(Play(case), [])
    return Explored(case.name, schedules, len(known), ends)


def _judge(play: Play) -> str | None:
    try:
        return play.judge()
    except HeadstreamError as error:
        return f"{error!r} escaped"


def _replay(case: Case, path: list[Move]) -> Play:
    play = Play(case)
    for move in path:
        play.make(move)
    return play


def _tell(case: Case, path: list[Move]) -> Iterator[str]:
    play = Play(case)
    for number, event in path:
        if number < 0:
            yield f"  late: {play.storage.late[int(event)]}"
        else:
            request = play.actors[number].request
            yield f"  actor {number}: {type(request).__name__} {getattr(request, 'key', '')}: {event}"
        with suppress(HeadstreamError):  # the last one is what is told
            play.make((number, event))


_LAST_AHEAD: Final = (_NOON, _NOON, _NOON + _LATER)
_WRITERS: Final = (append("s"), append("s"))
CASES: Final = (
    Case("two writers, two faults", _WRITERS, faults=2),
    Case("three writers", (*_WRITERS, append("s", 1))),
    Case("two writers that raise the fence, two faults", _WRITERS, faults=2, attempts=3, knock=1),
    Case("three writers that raise the fence", (*_WRITERS, append("s")), attempts=3, knock=1),
    Case(
        "two writers that raise the fence, and an advance that fences",
        (*_WRITERS, advance),
        clocks=_LAST_AHEAD,
        attempts=3,
        knock=1,
    ),
    Case("three writers, one fault", (*_WRITERS, append("s", 1)), faults=1),
    Case("a writer and an advance, one fault", (append("s"), advance), faults=1),
    Case("a writer and an advance, two faults", (append("s"), advance), faults=2),
    Case("two writers and an advance", (*_WRITERS, advance)),
    Case("two writers and an advance that finds a backlog", (*_WRITERS, advance), (append("t"),)),
    Case("two writers and an advance, one fault", (*_WRITERS, advance), faults=1),
    Case("two writers of segments and an advance", (*_WRITERS, advance), tail_bytes=0),
    Case("two advances of two batches, one fault", (advance, advance), (append("s"), append("t")), faults=1, batch=1),
    Case(
        "two writers and a collection",
        (*_WRITERS, collect),
        (append("s"),),
        tail_bytes=0,
        clocks=_LAST_AHEAD,
        attempts=2,
    ),
    Case("two writers and an advance that fences", (*_WRITERS, advance), clocks=_LAST_AHEAD),
    Case("a writer and two advances", (append("s"), advance, advance)),
    Case("a writer and two advances, one fault", (append("s"), advance, advance), faults=1),
)
"""Small enough to be explored to the end."""
HUNTS: Final = (
    Case(
        "two advances and a writer whose clock is behind, one fault",
        (advance, append("t"), advance),
        (append("s"),),
        faults=1,
        window=1,
        clocks=(_NOON, _NOON - _LATER, _NOON),
        attempts=2,
    ),
)
"""Larger ones, whose first schedules already show an error that chance meets rarely. Nobody has seen their end."""
