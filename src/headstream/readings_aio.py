"""Reads for asyncio: events come page by page, as they are asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Generic, Protocol, TypeVar, cast

from headstream.following import FINISHED, Wanted
from headstream.model import FeedEvent, Head, RecordedEvent
from headstream.protocol.ops import Gen
from headstream.protocol.read import Cursor
from headstream.session import Session

E = TypeVar("E", bound=RecordedEvent)
T = TypeVar("T")


class AwaitedRuns(Protocol):
    """Executes a step of the core."""

    async def __call__(self, gen: Gen[T], /) -> T:
        """Execute ``gen``; what it returns."""


class _AsyncPages(AsyncIterator[E], Generic[E]):
    """The events of a read, which come in pages."""

    def __init__(self, run: AwaitedRuns, session: Session, start: Callable[[], Gen[Cursor]]) -> None:
        self._run = run
        self._session = session
        self._start = start
        self._begun: Cursor | None = None
        self._rest: Cursor | None = None
        self._events: Iterator[E] = iter(())

    async def __anext__(self) -> E:
        while True:
            for event in self._events:
                return event
            rest = self._rest or await self._begin()
            if rest.exhausted:
                raise StopAsyncIteration
            self._keep(*await self._run(self._session.step(rest)))

    async def _begin(self) -> Cursor:
        if self._begun is None:
            self._begun = self._rest = await self._run(self._start())
        return self._begun

    def _keep(self, events: list[RecordedEvent], rest: Cursor) -> None:
        """Have these events returned, then those of the rest: as in :mod:`headstream.readings`."""
        taken = iter(cast("list[E]", events))
        self._events = taken
        self._rest = rest


class AsyncReading(_AsyncPages[RecordedEvent]):
    """The events of a read, one after the other; see :meth:`headstream.AsyncEventStore.read`.

    After an error it may be asked again: it goes on where it was, and never skips an event.
    """

    async def head(self) -> Head:
        """Where the stream ended when the read began; version 0 if it did not exist. Hand it to ``append(expected=…)``."""
        return self._session.head_of((await self._begin()).known)


class AsyncFeedReading(_AsyncPages[FeedEvent]):
    """The events of the feed, one after the other; see :meth:`headstream.AsyncEventStore.feed`.

    After an error it may be asked again: it goes on where it was, and never skips an event.
    """

    def __init__(
        self,
        run: AwaitedRuns,
        session: Session,
        start: Callable[[], Gen[Cursor]],
        wanted: Wanted,
        limit: int | None,
        *,
        advance: Callable[[], Awaitable[object]] | None,
    ) -> None:
        super().__init__(run, session, start)
        self._wanted = wanted
        self._limit = limit
        self._advance = advance

    async def position(self) -> int:
        """How many events the feed had when the read began."""
        return (await self._begin()).known.state.version

    async def _begin(self) -> Cursor:
        if self._begun is None and self._advance is not None:
            await self._advance()
        return await super()._begin()

    def _keep(self, events: list[RecordedEvent], rest: Cursor) -> None:
        taken, limit = self._wanted.page(events, self._limit)
        wanted = iter(taken)
        self._events = wanted
        self._rest = FINISHED if limit == 0 else rest
        self._limit = limit
