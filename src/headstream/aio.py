"""The event store for asyncio: the same methods as :class:`~headstream.client.EventStore`, awaited or iterated with ``async for``."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Lock
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, Generic, Protocol, Self, TypeVar, cast, overload
from uuid import UUID
from weakref import WeakValueDictionary

import msgspec

from headstream import limits
from headstream.backends import forks
from headstream.backends.metering import Meter
from headstream.bells import bell_of
from headstream.decider import Decider
from headstream.deciding import Decision, Loaded, Transaction, nothing_to_do
from headstream.errors import HeadstreamError, NotPublished
from headstream.following import FINISHED, NOT_PUBLISHED, Follower, Wanted, check_checkpoint
from headstream.model import ANY, Event, Expectation, FeedEvent, Head, RecordedEvent, Settings, check_stream
from headstream.protocol import layout
from headstream.protocol.checkpoint import Checkpoint, forget, list_checkpoints
from headstream.protocol.feed import Progress
from headstream.protocol.keys import FEED
from headstream.protocol.layout import Layout, Reference
from headstream.protocol.ops import Gen
from headstream.protocol.read import Cursor
from headstream.protocol.store import Description
from headstream.session import Request, Session, check_number, check_prefix
from headstream.stats import Stats
from headstream.subscribing_aio import AsyncSubscription

T = TypeVar("T")
E = TypeVar("E", bound=RecordedEvent)
F = TypeVar("F")
R = TypeVar("R")
S = TypeVar("S")

log: Final = logging.getLogger("headstream.feed")


class Runner(Protocol):
    """What executes steps of the core: see ``headstream.drivers.aio``."""

    async def run(self, gen: Gen[T]) -> T:
        """Execute a step."""

    async def recall(self, gen: Gen[T]) -> T:
        """Execute a step that reads events: immutable objects may be copies."""

    @property
    def meter(self) -> Meter:
        """What counts the requests."""

    @property
    def default_poll(self) -> tuple[float, float]:
        """The shortest and the longest pause, in seconds, of those who follow the feed."""

    async def close(self) -> None:
        """Let go of files and connections."""


class _Own:
    """What belongs to tasks of this process: a forked child has neither."""

    def __init__(self) -> None:
        self.after_fork()
        forks.watch(self)

    def after_fork(self) -> None:
        """Start afresh."""
        #: Held by tasks that append to a stream.
        self.turns: WeakValueDictionary[str, Lock] = WeakValueDictionary()
        self.advancing: asyncio.Task[None] | None = None


class AsyncEventStore:
    """Streams of events in one place of storage. Made by :func:`headstream.connect_async`. Safe to use from several tasks."""

    def __init__(self, runner: Runner, description: Description, *, url: str, cache_bytes: int) -> None:
        self._runner = runner
        self._description = description
        self._session = Session(description.settings, cache_bytes, description.store_id, runner.meter)
        self._own = _Own()
        self._bell = bell_of(description.store_id)
        self._closed = False
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
        self,
        stream: str,
        events: Event | Iterable[Event],
        *,
        expected: Expectation = ANY,
        key: str | None = None,
        publish: bool = False,
    ) -> Head:
        """Append events to a stream, all of them or none: see :meth:`headstream.EventStore.append`.

        When the waiting task is cancelled, the append may or may not have happened, as after
        :class:`~headstream.OutcomeUnknown`: repeat it with the same ``key``.
        """
        request = self._session.request(stream, events, expected, key)
        if publish:
            self._session.check_feed()
            since = await self._run(self._session.feed_version())
        async with self._own.turns.setdefault(stream, Lock()):
            head = await self._append(request)
        return await self._publish(head, since) if publish else head

    async def _append(self, request: Request) -> Head:
        """Append, in one's turn: writers of one process that raced each other would only cost refused commits."""
        head = await self._run(self._session.append(request))
        self._bell.ring()
        if self._session.is_advance_due() and self._own.advancing is None:
            self._own.advancing = asyncio.create_task(self._advance())
        return head

    async def _publish(self, head: Head, since: int) -> Head:
        """Advance until the changeset of ``head`` is in the feed."""
        assert head.changeset is not None
        try:
            for attempt in range(1, limits.PUBLISH_ATTEMPTS + 1):
                await self.advance()
                after = since if attempt == 1 else 0  # a repeated append may be there for long
                positions = await self._run(self._session.positions(head.changeset, after))
                if positions is not None:
                    return msgspec.structs.replace(head, positions=positions)
        except HeadstreamError as error:
            raise NotPublished(f"{NOT_PUBLISHED}: {error.message}", head=head) from error
        raise NotPublished(NOT_PUBLISHED, head=head)

    async def _advance(self) -> None:
        """Advance the feed beside the appends."""
        progress = Progress()
        try:
            while not progress.done and not self._closed:
                progress = await self._run(self._session.advance(progress))
        except HeadstreamError as error:  # the events are safe in their streams: whoever reads the feed meets it again
            log.warning("the feed was not advanced: %s", error)
        finally:
            self._own.advancing = None

    @overload
    async def transact(  # type: ignore[overload-overlap]  # a pair is an iterable, too: the first that fits is meant
        self,
        stream: str,
        decider: Decider[S, F],
        decide: Callable[[S], tuple[R, Iterable[F] | None]],
        *,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        attempts: int = limits.TRANSACT_ATTEMPTS,
        max_age: float = 0.0,
    ) -> Decision[S, F, R]: ...

    @overload
    async def transact(
        self,
        stream: str,
        decider: Decider[S, F],
        decide: Callable[[S], F | Iterable[F] | None],
        *,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        attempts: int = limits.TRANSACT_ATTEMPTS,
        max_age: float = 0.0,
    ) -> Decision[S, F, None]: ...

    async def transact(
        self,
        stream: str,
        decider: Decider[S, F],
        decide: Callable[[S], Any],
        *,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        attempts: int = limits.TRANSACT_ATTEMPTS,
        max_age: float = 0.0,
    ) -> Decision[S, F, Any]:
        """Load, decide, append, and decide anew after a conflict: see :meth:`headstream.EventStore.transact`.

        ``decide`` and ``evolve`` are plain functions, called on the event loop: await before it what they need.
        """
        work = Transaction(
            self._session, stream, decider, decide, key=key, metadata=metadata, attempts=attempts, max_age=max_age
        )
        async with self._own.turns.setdefault(stream, Lock()):
            while (decision := work.decision) is None:
                if work.unread:
                    work.fold(await self._recall(work.read()))
                elif request := work.propose():
                    try:
                        work.accept(await self._append(request))
                    except HeadstreamError as error:
                        await self._run(work.retry(error))
        return decision

    async def load(self, stream: str, decider: Decider[S, F], *, max_age: float = 0.0) -> Loaded[S]:
        """The state of a stream after its newest event, and the head that it ends with: see :meth:`headstream.EventStore.load`."""
        work = Transaction(self._session, stream, decider, nothing_to_do, max_age=max_age)
        while (decision := work.decision) is None:
            if work.unread:
                work.fold(await self._recall(work.read()))
            else:
                work.propose()
        return Loaded(decision.state, decision.head)

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

    # --- the feed --------------------------------------------------------------------------------------------------

    def feed(
        self,
        *,
        after: int = 0,
        limit: int | None = None,
        backwards: bool = False,
        streams: str | Iterable[str] | None = None,
        types: str | Iterable[str] | None = None,
        advance: bool = True,
    ) -> AsyncFeedReading:
        """The events of all streams, for ``async for``: see :meth:`headstream.EventStore.feed`."""
        self._session.check_feed()
        wanted = Wanted(streams, types)
        if limit is not None:
            check_number("limit", limit, 0)
        start = self._session.reading(FEED, after=after, before=None, limit=None, backwards=backwards)
        return AsyncFeedReading(self, start, wanted, limit, advance=advance)

    async def advance(self, told: Callable[[int], object] | None = None) -> int:
        """Move into the feed what is not there yet: see :meth:`headstream.EventStore.advance`."""
        self._session.check_feed()
        progress = Progress()
        while not progress.done:
            progress = await self._run(self._session.advance(progress))
            if told is not None:
                told(progress.published)
        return progress.published

    def subscribe(
        self,
        *,
        after: int = 0,
        checkpoint: str | None = None,
        streams: str | Iterable[str] | None = None,
        types: str | Iterable[str] | None = None,
        follow: bool = True,
        advance: bool = True,
        poll: tuple[float, float] | None = None,
    ) -> AsyncSubscription:
        """The events of all streams, those that are there and then those that will be: see :meth:`headstream.EventStore.subscribe`.

        Call it where the event loop runs. A task that is cancelled while it waits stops at once.
        """
        self._session.check_feed()
        follower = Follower(
            self._session,
            Wanted(streams, types),
            after=after,
            checkpoint_name=checkpoint,
            poll=poll if poll is not None else self._runner.default_poll,
            advance=advance,
            follow=follow,
        )
        return AsyncSubscription(follower, self._recall, self._bell)

    async def checkpoints(self) -> AsyncIterator[Checkpoint]:
        """The checkpoints in the store, for ``async for``: see :meth:`headstream.EventStore.checkpoints`."""
        after: str | None = ""
        while after is not None:
            found, after = await self._run(list_checkpoints(after))
            for checkpoint in found:
                yield checkpoint

    async def forget(self, checkpoint: str) -> None:
        """Remove a checkpoint: see :meth:`headstream.EventStore.forget`."""
        check_checkpoint(checkpoint)
        await self._run(forget(checkpoint))

    async def head(self, stream: str) -> Head | None:
        """Where a stream ends, or ``None`` if it does not exist: see :meth:`headstream.EventStore.head`."""
        return await self._run(self._session.head(stream))

    async def layout(self, stream: str) -> Layout | None:
        """Where the objects of a stream lie: see :meth:`headstream.EventStore.layout`."""
        check_stream(stream)
        return await self._run(layout.load(stream, self._session.cache.get(stream)))

    async def references(self, page: Reference) -> tuple[Reference, ...]:
        """What an index page references, oldest first: see :meth:`headstream.EventStore.references`."""
        return await self._run(layout.open_page(page))

    def streams(self, prefix: str = "") -> AsyncIterator[str]:
        """The names of streams, for ``async for``: see :meth:`headstream.EventStore.streams`."""
        check_prefix(prefix)
        return self._streams(prefix)

    async def _streams(self, prefix: str) -> AsyncGenerator[str, None]:
        after: str | None = ""
        while after is not None:
            names, after = await self._run(self._session.list_streams(prefix, after))
            for name in names:
                yield name

    def stats(self) -> Stats:
        """What this client has asked of the storage since it was connected: see :meth:`headstream.EventStore.stats`."""
        return self._session.stats()

    async def close(self) -> None:
        """Let go of files and connections. Idempotent."""
        self._closed = True
        if self._own.advancing is not None:
            await self._own.advancing
        await self._runner.close()

    async def _run(self, gen: Gen[T]) -> T:
        return await self._runner.run(gen)

    async def _recall(self, gen: Gen[T]) -> T:
        return await self._runner.recall(gen)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncEventStore({self.url!r})"


class _AsyncPages(AsyncIterator[E], Generic[E]):
    def __init__(self, store: AsyncEventStore, start: Callable[[], Gen[Cursor]]) -> None:
        self._store = store
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
            events, self._rest = await self._store._recall(self._store._session.step(rest))  # noqa: SLF001 - one class in two parts
            self._events = iter(self._taken(events))

    async def _begin(self) -> Cursor:
        if self._begun is None:
            self._begun = self._rest = await self._store._recall(self._start())  # noqa: SLF001 - one class in two parts
        return self._begun

    def _taken(self, events: list[RecordedEvent]) -> list[E]:
        """Those of a page that are returned."""
        return cast("list[E]", events)


class AsyncReading(_AsyncPages[RecordedEvent]):
    """The events of a read, one after the other; see :meth:`AsyncEventStore.read`.

    After an error it may be asked again: it goes on where it was, and never skips an event.
    """

    async def head(self) -> Head:
        """Where the stream ended when the read began; version 0 if it did not exist. Hand it to ``append(expected=…)``."""
        return self._store._session.head_of((await self._begin()).known)  # noqa: SLF001 - one class in two parts


class AsyncFeedReading(_AsyncPages[FeedEvent]):
    """The events of the feed, one after the other; see :meth:`AsyncEventStore.feed`.

    After an error it may be asked again: it goes on where it was, and never skips an event.
    """

    def __init__(
        self,
        store: AsyncEventStore,
        start: Callable[[], Gen[Cursor]],
        wanted: Wanted,
        limit: int | None,
        *,
        advance: bool,
    ) -> None:
        super().__init__(store, start)
        self._wanted = wanted
        self._limit = limit
        self._advance = advance

    async def position(self) -> int:
        """How many events the feed had when the read began."""
        return (await self._begin()).known.state.version

    async def _begin(self) -> Cursor:
        if self._begun is None and self._advance:
            await self._store.advance()
        return await super()._begin()

    def _taken(self, events: list[RecordedEvent]) -> list[FeedEvent]:
        taken, self._limit = self._wanted.page(events, self._limit)
        if self._limit == 0:
            self._rest = FINISHED
        return taken
