"""Readings: the events of a stream or of the feed, one after the other, for callers that block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar, cast

from headstream.following import FINISHED, Wanted
from headstream.model import FeedEvent, Head, RecordedEvent
from headstream.protocol.ops import Gen
from headstream.protocol.read import Cursor
from headstream.session import Session
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
        self._keep(*self._run(self._session.step(rest)))
        return True

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
        start: Callable[[], Gen[Cursor]],
        wanted: Wanted,
        limit: int | None,
        *,
        advance: Callable[[], object] | None,
    ) -> None:
        super().__init__(run, session, start)
        self._wanted = wanted
        self._limit = limit
        self._advance = advance

    def position(self) -> int:
        """How many events the feed had when the read began."""
        return self._begin().known.state.version

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
