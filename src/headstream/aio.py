"""The event store for asyncio: the same methods as :class:`~headstream.client.EventStore`, awaited or iterated with ``async for``."""

from __future__ import annotations

from asyncio import Lock
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator
from types import TracebackType
from typing import Protocol, Self, TypeVar
from uuid import UUID
from weakref import WeakValueDictionary

from headstream.model import ANY, Event, Expectation, Head, RecordedEvent, Settings, check_stream
from headstream.protocol import layout
from headstream.protocol.layout import Layout, Reference
from headstream.protocol.ops import Gen
from headstream.protocol.read import Cursor
from headstream.protocol.store import Description
from headstream.session import Session, check_prefix

T = TypeVar("T")


class Runner(Protocol):
    """What executes steps of the core: see ``headstream.drivers.aio``."""

    async def run(self, gen: Gen[T]) -> T:
        """Execute a step."""

    async def close(self) -> None:
        """Let go of files and connections."""


class AsyncEventStore:
    """Streams of events in one place of storage. Made by :func:`headstream.connect_async`. Safe to use from several tasks."""

    def __init__(self, runner: Runner, description: Description, *, url: str, cache_bytes: int) -> None:
        self._runner = runner
        self._description = description
        self._session = Session(description.settings, cache_bytes, description.store_id)
        self._turns: WeakValueDictionary[str, Lock] = WeakValueDictionary()
        #: Where the store is; without credentials.
        self.url = url

    @property
    def settings(self) -> Settings:
        """What was chosen when the store was created."""
        return self._description.settings

    @property
    def store_id(self) -> UUID:
        """The id that the store got when it was created."""
        return self._description.store_id

    async def append(
        self, stream: str, events: Event | Iterable[Event], *, expected: Expectation = ANY, key: str | None = None
    ) -> Head:
        """Append events to a stream, all of them or none: see :meth:`headstream.EventStore.append`.

        When the waiting task is cancelled, the append may or may not have happened, as after
        :class:`~headstream.OutcomeUnknown`: repeat it with the same ``key``.
        """
        request = self._session.request(stream, events, expected, key)
        # Writers of one process take turns: racing each other would only cost refused commits.
        async with self._turns.setdefault(stream, Lock()):
            return await self._runner.run(self._session.append(request))

    def read(
        self,
        stream: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        backwards: bool = False,
    ) -> AsyncReading:
        """The events of a stream, for ``async for``: see :meth:`headstream.EventStore.read`."""
        reading = self._session.reading(stream, after=after, before=before, limit=limit, backwards=backwards)
        return AsyncReading(self, reading)

    async def head(self, stream: str) -> Head | None:
        """Where a stream ends, or ``None`` if it does not exist: see :meth:`headstream.EventStore.head`."""
        return await self._runner.run(self._session.head(stream))

    async def layout(self, stream: str) -> Layout | None:
        """Where the objects of a stream lie: see :meth:`headstream.EventStore.layout`."""
        check_stream(stream)
        return await self._runner.run(layout.load(stream, self._session.cache.get(stream)))

    async def references(self, page: Reference) -> tuple[Reference, ...]:
        """What an index page references, oldest first: see :meth:`headstream.EventStore.references`."""
        return await self._runner.run(layout.open_page(page))

    def streams(self, prefix: str = "") -> AsyncIterator[str]:
        """The names of streams, for ``async for``: see :meth:`headstream.EventStore.streams`."""
        check_prefix(prefix)
        return self._streams(prefix)

    async def _streams(self, prefix: str) -> AsyncGenerator[str, None]:
        after: str | None = ""
        while after is not None:
            names, after = await self._runner.run(self._session.list_streams(prefix, after))
            for name in names:
                yield name

    async def close(self) -> None:
        """Let go of files and connections. Idempotent."""
        await self._runner.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncEventStore({self.url!r})"


class AsyncReading(AsyncIterator[RecordedEvent]):
    """The events of a read, one after the other; see :meth:`AsyncEventStore.read`.

    After an error it may be asked again: it goes on where it was, and never skips an event.
    """

    def __init__(self, store: AsyncEventStore, start: Callable[[], Gen[Cursor]]) -> None:
        self._store = store
        self._start = start
        self._begun: Cursor | None = None
        self._rest: Cursor | None = None
        self._events: Iterator[RecordedEvent] = iter(())

    async def head(self) -> Head:
        """Where the stream ended when the read began; version 0 if it did not exist. Hand it to ``append(expected=…)``."""
        return self._store._session.head_of((await self._begin()).known)  # noqa: SLF001 - one class in two parts

    async def __anext__(self) -> RecordedEvent:
        for event in self._events:
            return event
        return await self._next_page()

    async def _begin(self) -> Cursor:
        if self._begun is None:
            self._begun = self._rest = await self._store._runner.run(self._start())  # noqa: SLF001 - one class in two parts
        return self._begun

    async def _next_page(self) -> RecordedEvent:
        rest = self._rest or await self._begin()
        if rest.exhausted:
            raise StopAsyncIteration
        events, self._rest = await self._store._runner.run(self._store._session.step(rest))  # noqa: SLF001
        self._events = iter(events)
        return next(self._events)
