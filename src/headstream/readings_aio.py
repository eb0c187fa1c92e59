"""Readings for asyncio: the events of a stream or of the feed, for ``async for``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import islice
from typing import Generic, TypeVar, cast

from headstream.following import FINISHED, Reached, Wanted
from headstream.model import FeedEvent, Head, RecordedEvent
from headstream.protocol.mark import Mark, end_of
from headstream.protocol.ops import Gen
from headstream.protocol.read import Cursor
from headstream.session import Session, check_number
from headstream.subscribing_aio import AsyncRuns

E = TypeVar("E", bound=RecordedEvent)


class AsyncPages(AsyncIterator[E], Generic[E]):
    """The events of a read, which come in pages: see :class:`headstream.readings.Pages`."""

    def __init__(self, run: AsyncRuns, session: Session, start: Callable[[], Gen[Cursor]]) -> None:
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
            if not await self._turn():
                raise StopAsyncIteration

    async def _turn(self) -> bool:
        """Turn to the next page, if there is one."""
        rest = self._rest or await self._begin()
        if rest.exhausted:
            return False
        self._keep(*await self._page(rest))
        return True

    async def _page(self, rest: Cursor) -> tuple[list[RecordedEvent], Cursor]:
        return await self._run(self._session.step(rest))

    async def _begin(self) -> Cursor:
        if self._begun is None:
            self._begun = self._rest = await self._run(self._start())
        return self._begun

    def _keep(self, events: list[RecordedEvent], rest: Cursor) -> None:
        """Have these events returned, then those of the rest: as in :mod:`headstream.readings`."""
        taken = iter(cast("list[E]", events))
        self._events = taken
        self._rest = rest


class AsyncReading(AsyncPages[RecordedEvent]):
    """The events of a read, one after the other; see :meth:`headstream.AsyncEventStore.read`.

    After an error it may be asked again: it goes on where it was, and never skips an event.
    """

    async def head(self) -> Head:
        """Where the stream ended when the read began; version 0 if it did not exist. Hand it to ``append(expected=…)``."""
        return self._session.head_of((await self._begin()).known)


class AsyncFeedReading(AsyncPages[FeedEvent]):
    """The events of the feed, one after the other; see :meth:`headstream.AsyncEventStore.feed`.

    After an error it may be asked again: it goes on where it was, and never skips an event.
    """

    def __init__(
        self,
        run: AsyncRuns,
        session: Session,
        after: Mark,
        wanted: Wanted,
        limit: int | None,
        *,
        backwards: bool,
        advance: Callable[[], Awaitable[object]] | None,
    ) -> None:
        super().__init__(run, session, session.reading_feed(after, backwards=backwards))
        self._reached = Reached(after, backwards=backwards)
        self._wanted = wanted
        self._limit = limit
        self._advance = advance

    async def position(self) -> int:
        """How many events the feed had when the read began."""
        return (await self._begin()).known.state.version

    async def mark(self) -> Mark:
        """The same position, with what tells whether a feed is the one that was read: for a later ``after``."""
        return end_of((await self._begin()).known)

    def mark_of(self, event: FeedEvent) -> Mark:
        """The position of the event that was returned last, or of one of the batch that was."""
        return self._reached.mark_at(event.position)

    def batches(self, size: int = 1000) -> AsyncIterator[list[FeedEvent]]:
        """The rest of the events as lists of 1 to ``size``, as large as the pages in which they are read."""
        check_number("size", size, 1)
        return self._batches(size)

    async def _batches(self, size: int) -> AsyncIterator[list[FeedEvent]]:
        while True:
            batch = list(islice(self._events, size))
            if batch:
                yield batch
            elif not await self._turn():
                return

    async def _page(self, rest: Cursor) -> tuple[list[RecordedEvent], Cursor]:
        events, after, chain = await self._run(self._session.page(rest))
        self._reached.take(chain, rest)
        return events, after

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
