"""What both shells share: the meaning of a call's arguments, and what the client remembers of heads."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from itertools import count, islice
from typing import Any, Final, cast
from uuid import UUID

import msgspec

from headstream import limits
from headstream.backends.metering import Meter
from headstream.caches import Cache, HeadCache, StateCache
from headstream.errors import (
    CorruptData,
    HeadstreamError,
    InvalidInput,
    OutcomeUnknown,
    UnsupportedFormat,
    WrongExpectedVersion,
)
from headstream.mistakes import is_several, no_event
from headstream.model import (
    NO_STREAM,
    Event,
    Expectation,
    Expected,
    FeedEvent,
    Head,
    RecordedEvent,
    Settings,
    check_stream,
    check_text,
    check_writable,
)
from headstream.protocol import append, encoding, feed, follow, keys, mark, read
from headstream.protocol.append import Proposal
from headstream.protocol.codec import Batch, Chain, Frame
from headstream.protocol.feed import Progress
from headstream.protocol.follow import Place, Polled
from headstream.protocol.head import Known, nothing
from headstream.protocol.mark import Mark
from headstream.protocol.ops import Gen, GiveWay
from headstream.protocol.read import Cursor
from headstream.protocol.rivals import Rivals
from headstream.stats import Stats

log: Final = logging.getLogger("headstream.feed")


class Request(msgspec.Struct, frozen=True):
    """An append as the caller asked for it, checked."""

    proposal: Proposal
    head: Head | None


class Session:
    """One client's view of one store: what it is, and the heads it remembers. It does no I/O."""

    def __init__(
        self, settings: Settings, cache_bytes: int, store_id: UUID | None = None, meter: Meter | None = None
    ) -> None:
        check_number("cache_bytes", cache_bytes, 0)
        self.settings = settings
        self._reported: dict[str, HeadstreamError] = {}
        self.store_id = store_id
        remembered: Cache[Any] = Cache(cache_bytes)
        self.cache = HeadCache(remembered)
        self.states = StateCache(remembered)
        self._segment_keys: Cache[frozenset[str | None]] = remembered
        self._meter = meter or Meter()
        self._appends = count(1)
        self._rivals = Rivals()

    def stats(self) -> Stats:
        """What was counted so far."""
        return self._meter.stats(
            head_hits=self.cache.hits,
            head_misses=self.cache.misses,
            state_hits=self.states.hits,
            state_misses=self.states.misses,
        )

    # --- append ----------------------------------------------------------------------------------------------------

    def request(
        self,
        stream: str,
        events: Event | Iterable[Event],
        expected: Expectation,
        key: str | None,
        *,
        adopts: bool = False,
    ) -> Request:
        """An append, checked; :class:`InvalidInput` if it cannot be made."""
        check_writable(stream)
        if key is not None:
            check_text("a key", key, limits.MAX_IDEMPOTENCY_KEY)
        batch = _batch(events)
        rows = encoding.encode_events(batch)
        proposal = Proposal(stream, rows, len(batch), _version(stream, expected), key, adopts=adopts)
        return Request(proposal, expected if isinstance(expected, Head) else None)

    def append(self, request: Request) -> Gen[Head]:
        """Append, beginning with the newest head that is known."""
        proposal = request.proposal
        known = self.cache.get(proposal.stream)
        if (held := self._held(request.head)) is not None and held is not known:
            known = held if known is None or known.state.age < held.state.age else known
        elif known is None and proposal.expected == 0:
            known = nothing(proposal.stream)
        # One that decides has just read the head, as the others do: it has no advantage to make up for.
        if not proposal.adopts and self._rivals.is_due(proposal.stream):
            yield from GiveWay(limits.TRIPS)
        try:
            appended = yield from append.append(self.settings, proposal, known, self._remember, just_saw=self._just_saw)
        except WrongExpectedVersion:
            self._meter.conflict()
            self._rivals.met(proposal.stream)
            raise
        except OutcomeUnknown:
            self.cache.forget(proposal.stream)
            raise
        if appended.lost:
            self._rivals.met(proposal.stream)
        else:
            self._rivals.won(proposal.stream)
        if appended.known is not known:  # else it was not read or written just now, and is as old as it was
            self.cache.put(appended.known)
        if appended.version == appended.known.state.version:
            return self.head_of(appended.known)
        return Head(proposal.stream, appended.version, "", appended.changeset_id)

    def _held(self, head: Head | None) -> Known | None:
        """What a head that the caller holds knows; nothing, if it is of another store: then it is but a version."""
        if head is None or (head._store is not self.store_id and head._store != self.store_id):  # noqa: SLF001 - a Head is ours
            return None
        return head._known if isinstance(head._known, Known) else None  # noqa: SLF001

    def _just_saw(self, known: Known) -> bool:
        """Whether a head is as good as fresh."""
        return self.cache.saw(known, limits.CONFLICT_AGE)

    def recent(self, stream: str, max_age: float) -> Known | None:
        """The head of a stream, if it was seen in the last ``max_age`` seconds."""
        return self.cache.recent(stream, max_age)

    def is_advance_due(self) -> bool:
        """Whether this client should advance the feed, after an append."""
        every = self.settings.advance_every
        return self.settings.feed and every > 0 and next(self._appends) % every == 0

    # --- feed ------------------------------------------------------------------------------------------------------

    def advance(self, progress: Progress) -> Gen[Progress]:
        """The next step of an advance."""
        lost = progress.lost
        progress = yield from feed.step(self.settings, progress, self.cache.get)
        if progress.lost > lost:
            log.info("another client advanced the feed first: looking again (lost in a row: %d)", progress.lost)
        if progress.plan is not None:
            self._remember(progress.plan.feed)
        return progress

    def poll(self, place: Place, *, advance: bool) -> Gen[Polled]:
        """The next events of the feed after ``place``, if there are any yet."""
        polled = yield from follow.poll(self.settings, place, self.cache.get, self._remember, advance=advance)
        if polled.problems is not None:
            self.report(polled.problems)
        return polled

    def report(self, problems: Iterable[CorruptData | UnsupportedFormat]) -> None:
        """Log what an advance could not publish, once for as long as it stays so: whoever reads the feed goes on without it."""
        before, self._reported = self._reported, {str(problem.details.get("key")): problem for problem in problems}
        for key, problem in self._reported.items():
            if key not in before:
                log.error("the feed is advanced without what cannot be read: run `headstream verify`: %s", problem)

    def feed_version(self) -> Gen[int]:
        """A position that the feed has reached."""
        known = self.cache.get(keys.FEED)
        if known is None:
            known = yield from read.load_head(keys.FEED, None)
            self._remember(known)
        return known.state.version

    def positions(self, changeset: bytes, after: int) -> Gen[range | None]:
        """Where the events of a changeset are in the feed, if they are there after position ``after``."""
        cursor = yield from self._start(keys.FEED, after=after, before=None, limit=None, backwards=True)
        while not cursor.exhausted:
            events, cursor = yield from read.step(cursor)
            found = [event.position for event in cast("list[FeedEvent]", events) if event.changeset == changeset]
            if found:  # they lie in one changeset of the feed, and so in one page
                return range(found[-1], found[0] + 1)
        return None

    def check_feed(self) -> None:
        """:class:`InvalidInput` for a store that has no feed."""
        if not self.settings.feed:
            raise InvalidInput(
                "the store was created without a feed: create one with feed=True, and import this one into it"
            )

    # --- read ------------------------------------------------------------------------------------------------------

    def reading(
        self, stream: str, *, after: int, before: int | None, limit: int | None, backwards: bool
    ) -> Callable[[], Gen[Cursor]]:
        """How a read begins, now or again after a failure; the arguments are checked at once."""
        check_stream(stream)
        check_number("after", after, 0)
        if before is not None:
            check_number("before", before, 1)
        if limit is not None:
            check_number("limit", limit, 0)
        return partial(self._start, stream, after=after, before=before, limit=limit, backwards=backwards)

    def _start(self, stream: str, *, after: int, before: int | None, limit: int | None, backwards: bool) -> Gen[Cursor]:
        known = self.cache.get(stream)
        cursor = yield from read.start(stream, known, after=after, before=before, limit=limit, backwards=backwards)
        self._remember(cursor.known)
        return cursor

    def reading_feed(self, after: Mark, *, backwards: bool) -> Callable[[], Gen[Cursor]]:
        """How a read of the feed after a mark begins. What comes first is to be compared with the mark, unless it reads backwards."""
        return partial(self._start_feed, after, backwards=backwards)

    def _start_feed(self, after: Mark, *, backwards: bool) -> Gen[Cursor]:
        cursor = yield from self._start(keys.FEED, after=after.position, before=None, limit=None, backwards=backwards)
        mark.check_end(after, cursor.known)
        if backwards and after.changeset is not None and after.position < cursor.known.state.version:
            frame = yield from read.changeset_after(cursor.known, after.position)
            mark.check_next(after, [frame], cursor.known)
        return cursor

    def step(self, cursor: Cursor) -> Gen[tuple[list[RecordedEvent], Cursor]]:
        """The next events of a read."""
        return read.step(cursor)

    def changeset_with_key(self, known: Known, key: str) -> Gen[Frame | Batch | None]:
        """The newest changeset in the tail or the newest segment that was appended with this key; ``None`` if none was."""
        state = known.state
        found = read.in_tail(known, key)
        if found is not None or not state.fields.levels:
            return found
        segment = ("keys", state.stream, state.fields.levels[0][-1].id)
        keys = self._segment_keys.get(segment)
        if keys is not None and key not in keys:  # a segment never changes, so it is read once
            return None
        chain = yield from read.newest_segment(known)
        keys = frozenset([frame.key for frame in chain])
        self._segment_keys.put(segment, keys, 300 + 2 * len(state.stream) + 150 * len(keys), lambda _: True)
        return read.newest_with_key(chain, key)

    def page(self, cursor: Cursor) -> Gen[tuple[list[RecordedEvent], Cursor, Chain]]:
        """The same, and the changesets that the events lie in."""
        return read.page(cursor)

    def head(self, stream: str) -> Gen[Head | None]:
        """The head of a stream, if it exists; the name is checked at once."""
        check_stream(stream)
        return self._head(stream)

    def _head(self, stream: str) -> Gen[Head | None]:
        known = yield from read.load_head(stream, self.cache.get(stream))
        self._remember(known)
        return self.head_of(known) if known.state.version else None

    def list_streams(self, prefix: str, after: str) -> Gen[tuple[list[str], str | None]]:
        """Some names, and the name to go on after; headstream's own streams only for a prefix that names them."""
        names, more = yield from read.list_streams(prefix, after)
        last = names[-1] if more and names else None
        return names if prefix.startswith("$") else [name for name in names if not name.startswith("$")], last

    def head_of(self, known: Known) -> Head:
        """A head as applications see it."""
        fields = known.state.fields
        etag = known.etag if known.etag is not None and fields.version else ""
        return Head(fields.stream, fields.version, etag, fields.changeset_id, None, known, self.store_id)

    def _remember(self, known: Known) -> None:
        if known.etag is not None:
            self.cache.put(known)


def check_prefix(prefix: object) -> None:
    """What stream names can begin with; empty for all."""
    if prefix != "":
        check_text("a prefix", prefix, limits.MAX_STREAM_NAME)


def _batch(events: object) -> list[Event]:
    if isinstance(events, Event):
        return [events]
    if type(events) is not list and not is_several(events):
        raise InvalidInput(f"append takes an Event or several, not {no_event(events)}")
    batch = list(islice(cast("Iterable[Event]", events), limits.MAX_EVENTS + 1))
    for event in batch:
        if not isinstance(event, Event):
            raise InvalidInput(f"append takes events, not {no_event(event)}")
    if not 1 <= len(batch) <= limits.MAX_EVENTS:
        raise InvalidInput(f"an append has 1 to {limits.MAX_EVENTS} events, not {'more' if batch else 'none'}")
    return batch


def _version(stream: str, expected: Expectation) -> int | Expected:
    if isinstance(expected, Head):
        if expected.stream != stream:
            raise InvalidInput(f"the expected head is that of stream {expected.stream!r}, not of {stream!r}")
        return expected.version
    if isinstance(expected, Expected):
        return 0 if expected is NO_STREAM else expected
    check_number("the expected version", expected, 0)
    return expected


def check_age(max_age: object) -> None:
    """Seconds, or :class:`InvalidInput`."""
    if isinstance(max_age, bool) or not isinstance(max_age, int | float) or not max_age >= 0:
        raise InvalidInput(f"max_age is a number of seconds, 0 or more, not {max_age!r}")


def check_number(what: str, value: object, least: int) -> None:
    """A whole number of at least ``least``, or :class:`InvalidInput` that begins with ``what``."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidInput(f"{what} is a whole number, not {type(value).__name__}")
    if value < least:
        raise InvalidInput(f"{what} is {value}; it must be at least {least}")
