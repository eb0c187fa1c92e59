"""Readings: the events of a stream or of the feed, one after the other, for callers that block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Generic, TypeVar, cast

from headstream.following import FINISHED, Reached, Wanted
from headstream.model import FeedEvent, Head, RecordedEvent
from headstream.protocol.mark import Mark, end_of
from headstream.protocol.ops import Gen
from headstream.protocol.read import Cursor
from headstream.session import Session, check_number
from headstream.subscribing import Runs

E = TypeVar("E", bound=RecordedEvent)


class Pages(Iterator[E], Generic[E]):
    """The events of a read, which come in pages.

    After an error it may be asked again: it goes on where it was, and never skips an event.
    """

    def __init__(self, run: Runs, session: Session, start: Callable[[], Gen[Cursor]]) -> None:
        self._run = run
        self._session = session
        self._start = start
        self._begun: Cursor | None = None
        self._rest: Cursor | None = None
        self._events: Iterator[E] = iter(())

    def __iter__(self) -> Iterator[E]:  # noqa: PYI034 - a generator costs a third of a call for each event
        """Itself, faster: what one of them takes, the other does not see again."""
        yield from self._events
        while self._turn():
            yield from self._events

    def __next__(self) -> E:
        while True:
            for event in self._events:
                return event
            if not self._turn():
                raise StopIteration

    def _turn(self) -> bool:
        """Turn to the next page, if there is one."""
        rest = self._rest or self._begin()
        if rest.exhausted:
            return False
        self._keep(*self._page(rest))
        return True

    def _page(self, rest: Cursor) -> tuple[list[RecordedEvent], Cursor]:
        return self._run(self._session.step(rest))

    def _begin(self) -> Cursor:
        if self._begun is None:
            self._begun = self._rest = self._run(self._start())
        return self._begun

    def _keep(self, events: list[RecordedEvent], rest: Cursor) -> None:
        """Have these events returned, then those of the rest. Both or none: nothing is called between the assignments, so
        no interrupt falls between them, which would skip a page.
        """
        taken = iter(cast("list[E]", events))
        self._events = taken
        self._rest = rest


class Reading(Pages[RecordedEvent]):
    """The events of a stream, one after the other; see :meth:`headstream.EventStore.read`.

    After an error it may be asked again: it goes on where it was, and never skips an event.
    """

    def head(self) -> Head:
        """Where the stream ended when the read began; version 0 if it did not exist. Hand it to ``append(expected=…)``."""
        return self._session.head_of(self._begin().known)


class FeedReading(Pages[FeedEvent]):
    """The events of the feed, one after the other; see :meth:`headstream.EventStore.feed`.

    After an error it may be asked again: it goes on where it was, and never skips an event.
    """

    def __init__(
        self,
        run: Runs,
        session: Session,
        after: Mark,
        wanted: Wanted,
        limit: int | None,
        *,
        backwards: bool,
        advance: Callable[[], object] | None,
    ) -> None:
        super().__init__(run, session, session.reading_feed(after, backwards=backwards))
        self._reached = Reached(after, backwards=backwards)
        self._wanted = wanted
        self._limit = limit
        self._advance = advance

    def position(self) -> int:
        """How many events the feed had when the read began."""
        return self._begin().known.state.version

    def mark(self) -> Mark:
        """The same position, with what tells whether a feed is the one that was read: for a later ``after``."""
        return end_of(self._begin().known)

    def mark_of(self, event: FeedEvent) -> Mark:
        """The position of the event that was returned last, or of one of the batch that was."""
        return self._reached.mark_at(event.position)

    def batches(self, size: int = 1000) -> Iterator[list[FeedEvent]]:
        """The rest of the events as lists of 1 to ``size``, as large as the pages in which they are read."""
        check_number("size", size, 1)
        return self._batches(size)

    def _batches(self, size: int) -> Iterator[list[FeedEvent]]:
        while True:
            batch = list(islice(self._events, size))
            if batch:
                yield batch
            elif not self._turn():
                return

    def _page(self, rest: Cursor) -> tuple[list[RecordedEvent], Cursor]:
        events, after, chain = self._run(self._session.page(rest))
        self._reached.take(chain, rest)
        return events, after

    def _begin(self) -> Cursor:
        if self._begun is None and self._advance is not None:
            self._advance()
        return super()._begin()

    def _keep(self, events: list[RecordedEvent], rest: Cursor) -> None:
        taken, limit = self._wanted.page(events, self._limit)
        wanted = iter(taken)
        self._events = wanted
        self._rest = FINISHED if limit == 0 else rest
        self._limit = limit
