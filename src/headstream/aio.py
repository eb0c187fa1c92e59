"""The event store for asyncio: the same methods as :class:`~headstream.client.EventStore`, awaited or iterated with ``async for``."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Lock
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Protocol, Self, TypeVar, overload
from uuid import UUID
from weakref import WeakValueDictionary

import msgspec

from headstream import limits
from headstream.backends import forks
from headstream.backends.metering import Meter
from headstream.bells import bell_of
from headstream.decider import Decider
from headstream.deciding import Transaction, nothing_to_do
from headstream.decisions import Decision, Loaded
from headstream.errors import HeadstreamError, NotPublished
from headstream.following import NOT_PUBLISHED, Follower, Wanted, check_checkpoint
from headstream.metadata import Typed
from headstream.model import ANY, Event, Expectation, Head, RecordedEvent, Settings, check_stream
from headstream.protocol import layout
from headstream.protocol.checkpoint import Checkpoint, forget, list_checkpoints
from headstream.protocol.feed import Progress
from headstream.protocol.keys import FEED
from headstream.protocol.layout import Layout, Reference
from headstream.protocol.ops import Gen
from headstream.protocol.store import Description
from headstream.readings_aio import AsyncFeedReading, AsyncReading
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


class AsyncEventStore:
    """Streams of events in one place of storage. Made by :func:`headstream.connect_async`. Safe to use from several tasks."""

    def __init__(self, runner: Runner, description: Description, *, url: str, cache_bytes: int) -> None:
        self._runner = runner
        self._description = description
        self._session = Session(description.settings, cache_bytes, description.store_id, runner.meter)
        self.after_fork()
        forks.watch(self)
        self._bell = bell_of(description.store_id)
        self._closed = False
        #: Where the store is; without credentials.
        self.url = url

    def after_fork(self) -> None:
        """The tasks that had turns, and the one that advanced, are in the parent."""
        self._turns: WeakValueDictionary[str, Lock] = WeakValueDictionary()
        self._advancing: asyncio.Task[None] | None = None

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
        async with self._turns.setdefault(stream, Lock()):
            head = await self._append(request)
        return await self._publish(head, since) if publish else head

    async def _append(self, request: Request) -> Head:
        """Append, in one's turn: writers of one process that raced each other would only cost refused commits."""
        head = await self._run(self._session.append(request))
        self._bell.ring()
        if self._session.is_advance_due() and self._advance_going_on() is None:
            self._advancing = asyncio.create_task(self._advance_beside())
        return head

    def _advance_going_on(self) -> asyncio.Task[None] | None:
        """The task that advances the feed beside the appends. One that was cancelled, or whose loop has ended, does not."""
        task = self._advancing
        return None if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop() else task

    async def _publish(self, head: Head, since: int) -> Head:
        """Advance until the changeset of ``head`` is in the feed."""
        assert head.changeset is not None
        try:
            for attempt in range(1, limits.PUBLISH_ATTEMPTS + 1):
                progress = await self._advance()
                after = since if attempt == 1 else 0  # a repeated append may be there for long
                positions = await self._run(self._session.positions(head.changeset, after))
                if positions is not None:
                    return msgspec.structs.replace(head, positions=positions)
                if head.stream in progress.unreadable:
                    raise progress.unreadable[head.stream]
        except HeadstreamError as error:
            raise NotPublished(f"{NOT_PUBLISHED}: {error.message}", head=head) from error
        raise NotPublished(NOT_PUBLISHED, head=head)

    async def _advance_beside(self) -> None:
        """Advance the feed beside the appends."""
        progress = Progress()
        try:
            while not progress.done and not self._closed:
                progress = await self._run(self._session.advance(progress))
            self._session.report(progress.problems)
        except HeadstreamError as error:  # the events are safe in their streams: whoever reads the feed meets it again
            log.warning("the feed was not advanced: %s", error)

    @overload
    async def transact(  # type: ignore[overload-overlap]  # a pair is an iterable, too: the first that fits is meant
        self,
        stream: str,
        decider: Decider[S, F],
        decide: Callable[[S], tuple[R, Iterable[Typed[F]] | None]],
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
        decide: Callable[[S], Typed[F] | Iterable[Typed[F]] | None],
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
        async with self._turns.setdefault(stream, Lock()):
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
        return AsyncReading(self._recall, self._session, reading)

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
        return AsyncFeedReading(
            self._recall, self._session, start, wanted, limit, advance=self._advance_to_read if advance else None
        )

    async def advance(self, told: Callable[[int], object] | None = None) -> int:
        """Move into the feed what is not there yet: see :meth:`headstream.EventStore.advance`."""
        self._session.check_feed()
        progress = await self._advance(told)
        progress.check()
        return progress.published

    async def _advance(self, told: Callable[[int], object] | None = None) -> Progress:
        """Advance as far as that is possible."""
        progress = Progress()
        while not progress.done:
            progress = await self._run(self._session.advance(progress))
            if told is not None:
                told(progress.published)
        return progress

    async def _advance_to_read(self) -> None:
        """Advance before the feed is read: what cannot be published is logged."""
        self._session.report((await self._advance()).problems)

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
        """Let go of files and connections. Idempotent. When the waiter is cancelled, that comes through once they are closed."""
        self._closed = True
        try:
            await self._advanced()
        finally:
            await self._runner.close()

    async def _advanced(self) -> None:
        """Wait for the step of an advance that is going on; a waiter that is cancelled takes it along."""
        advancing = self._advance_going_on()
        if advancing is not None:
            try:
                await asyncio.wait([advancing])
            except asyncio.CancelledError:
                advancing.cancel()
                raise

    async def _run(self, gen: Gen[T]) -> T:
        return await self._runner.run(gen)

    async def _recall(self, gen: Gen[T]) -> T:
        return await self._runner.recall(gen)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        advancing = self._advance_going_on()
        if advancing is not None and kind is not None and not issubclass(kind, Exception):
            advancing.cancel()  # its step may hang, as what was cancelled may have done
        await self.close()

    def __repr__(self) -> str:
        return f"AsyncEventStore({self.url!r})"
