"""An ``AsyncEventStore`` for tests that are written for callers that block: its event loop runs in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Iterator
from typing import Any, Self, TypeVar

from headstream import AsyncEventStore, AsyncReading, Event, Head, RecordedEvent

T = TypeVar("T")


class Loop:
    """An event loop in a thread."""

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it in the loop; its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)


class AwaitedStore:
    """The methods of :class:`headstream.EventStore` by those of an :class:`headstream.AsyncEventStore`."""

    def __init__(self, store: AsyncEventStore, loop: Loop) -> None:
        self._store = store
        self._loop = loop

    def append(self, stream: str, events: Event | Iterable[Event], **options: Any) -> Head:
        """Awaited."""
        return self._loop.wait(self._store.append(stream, events, **options))

    def read(self, stream: str, **options: Any) -> AwaitedReading:
        """To be iterated."""
        return AwaitedReading(self._store.read(stream, **options), self._loop)

    def head(self, stream: str) -> Head | None:
        """Awaited."""
        return self._loop.wait(self._store.head(stream))

    def streams(self, prefix: str = "") -> list[str]:
        """All names."""
        names = self._store.streams(prefix)

        async def collect() -> list[str]:
            return [name async for name in names]

        return self._loop.wait(collect())

    def close(self) -> None:
        """Awaited."""
        self._loop.wait(self._store.close())


class AwaitedReading(Iterator[RecordedEvent]):
    """The methods of :class:`headstream.Reading`."""

    def __init__(self, reading: AsyncReading, loop: Loop) -> None:
        self._reading = reading
        self._loop = loop

    def head(self) -> Head:
        """Awaited."""
        return self._loop.wait(self._reading.head())

    def __next__(self) -> RecordedEvent:
        async def following() -> RecordedEvent | None:
            return await anext(self._reading, None)

        event = self._loop.wait(following())
        if event is None:
            raise StopIteration
        return event
