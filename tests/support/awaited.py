"""An ``AsyncEventStore`` for tests that are written for callers that block: its event loop runs in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from headstream import (
    AsyncEventStore,
    AsyncFeedReading,
    AsyncReading,
    AsyncSubscription,
    Checkpoint,
    Decider,
    Decision,
    Event,
    FeedEvent,
    Head,
    Loaded,
    RecordedEvent,
    Settings,
)

E = TypeVar("E")
S = TypeVar("S")
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

    def collect(self, values: AsyncIterator[T]) -> list[T]:
        """All that it yields."""

        async def collected() -> list[T]:
            return [value async for value in values]

        return self.wait(collected())


class Awaiting(Iterator[T], Generic[T]):
    """An async iterator, iterated by a caller that blocks."""

    def __init__(self, values: AsyncIterator[T], loop: Loop) -> None:
        self._values = values
        self._loop = loop

    def __next__(self) -> T:
        async def following() -> T | None:
            return await anext(self._values, None)

        value = self._loop.wait(following())
        if value is None:
            raise StopIteration
        return value


class AwaitedStore:
    """The methods of :class:`headstream.EventStore` by those of an :class:`headstream.AsyncEventStore`."""

    def __init__(self, store: AsyncEventStore, loop: Loop) -> None:
        self._store = store
        self._loop = loop

    @property
    def settings(self) -> Settings:
        """The same."""
        return self._store.settings

    def append(self, stream: str, events: Event | Iterable[Event], **options: Any) -> Head:
        """Awaited."""
        return self._loop.wait(self._store.append(stream, events, **options))

    def transact(
        self, stream: str, decider: Decider[S, E], decide: Callable[[S], Any], **options: Any
    ) -> Decision[S, E, Any]:
        """Awaited; ``decide`` is called where the loop runs, so it can wait for stores of other loops only."""
        return self._loop.wait(self._store.transact(stream, decider, decide, **options))

    def load(self, stream: str, decider: Decider[S, E], **options: Any) -> Loaded[S]:
        """Awaited."""
        return self._loop.wait(self._store.load(stream, decider, **options))

    def read(self, stream: str, **options: Any) -> AwaitedReading:
        """To be iterated."""
        return AwaitedReading(self._store.read(stream, **options), self._loop)

    def feed(self, **options: Any) -> AwaitedFeedReading:
        """To be iterated."""
        return AwaitedFeedReading(self._store.feed(**options), self._loop)

    def advance(self) -> int:
        """Awaited."""
        return self._loop.wait(self._store.advance())

    def subscribe(self, **options: Any) -> AwaitedSubscription:
        """To be iterated; made where the loop runs."""

        async def subscribed() -> AsyncSubscription:
            return self._store.subscribe(**options)

        return AwaitedSubscription(self._loop.wait(subscribed()), self._loop)

    def checkpoints(self) -> list[Checkpoint]:
        """All of them."""
        return self._loop.collect(self._store.checkpoints())

    def forget(self, checkpoint: str) -> None:
        """Awaited."""
        self._loop.wait(self._store.forget(checkpoint))

    def head(self, stream: str) -> Head | None:
        """Awaited."""
        return self._loop.wait(self._store.head(stream))

    def streams(self, prefix: str = "") -> list[str]:
        """All names."""
        return self._loop.collect(self._store.streams(prefix))

    def close(self) -> None:
        """Awaited."""
        self._loop.wait(self._store.close())


class AwaitedReading(Awaiting[RecordedEvent]):
    """The methods of :class:`headstream.Reading`."""

    _values: AsyncReading

    def head(self) -> Head:
        """Awaited."""
        return self._loop.wait(self._values.head())


class AwaitedFeedReading(Awaiting[FeedEvent]):
    """The methods of :class:`headstream.FeedReading`."""

    _values: AsyncFeedReading

    def position(self) -> int:
        """Awaited."""
        return self._loop.wait(self._values.position())


class AwaitedSubscription(Awaiting[FeedEvent]):
    """The methods of :class:`headstream.Subscription`."""

    _values: AsyncSubscription

    @property
    def position(self) -> int:
        """The same."""
        return self._values.position

    def batches(self, size: int = 1000) -> Iterator[list[FeedEvent]]:
        """To be iterated."""
        return Awaiting(self._values.batches(size), self._loop)

    def save(self) -> None:
        """Awaited."""
        self._loop.wait(self._values.save())

    def close(self) -> None:
        """Called where the loop runs."""

        async def closed() -> None:
            self._values.close()

        self._loop.wait(closed())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.wait(self._values.__aexit__(kind, error, trace))
