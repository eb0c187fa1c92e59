"""Projections as applications run them: for callers that block, and for asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, closing, contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Final, ParamSpec, TypeVar
from uuid import UUID

from headstream import limits
from headstream.aio import AsyncEventStore
from headstream.backends.beside import future_of, settled
from headstream.backends.workers import Workers
from headstream.client import EventStore
from headstream.errors import CheckpointLost, InvalidInput
from headstream.following import check_standby
from headstream.model import FeedEvent
from headstream.projections.databases import opened
from headstream.projections.definition import Definition
from headstream.projections.pauses import AsyncPause, Pause
from headstream.projections.work import Work
from headstream.protocol.mark import Mark

P = ParamSpec("P")
T = TypeVar("T")

MarkOf = Callable[[FeedEvent], Mark]

LOOK_EVERY: Final = 5.0
"""Seconds between two looks of a standby, at most."""
SWITCH_ATTEMPTS: Final = 10
"""How often a rebuild stops the old worker, before it leaves the projection to whoever starts that again and again."""


class Projection(Definition):
    """A read model in a SQL database that is made of the events of a store.

    ``name``: what its position is kept under, at most 256 bytes; one for each projection in a database.

    ``handle(db, tables, event)`` puts an event into the read model. ``db`` is the connection (of SQLAlchemy, if ``database`` is), in a
    transaction that is not the handler's to end. Whatever it raises makes the event a poison event: see ``dead_letters``.

    ``database``: a DB-API connection; or a function that opens one, for each run; or an SQLAlchemy engine or connection.

    ``tables``: the names of the read model's tables, in lower case. ``create(db, tables)`` creates them, once for each generation, under the
    names that it is given: ``tables.orders`` is ``"orders_1"``, later ``"orders_2"``. Readers see them under their own names, as views.
    Without tables the handler looks after its own, and cannot be rebuilt.

    ``version`` of the handler and its tables: count it up when they change, so that a process with the old code, which somebody starts once
    more, does not write into what the new code has built.

    ``streams`` and ``types`` select events, as in :meth:`headstream.EventStore.subscribe`.

    ``dead_letters``: a stream for what the handler could not handle. It gets an event ``EventNotProjected`` that says which, and why; and
    the projection goes on. Without it, the projection stops with :class:`~headstream.ProjectionStopped`.

    ``batch``: how many events at most share a transaction. ``driver``: the DB-API module, for a connection that does not tell.

    Raises :class:`~headstream.InvalidInput`.
    """

    def run(
        self,
        store: EventStore,
        *,
        poll: tuple[float, float] | None = None,
        advance: bool = True,
        standby: bool | float | timedelta = False,
    ) -> int:
        """Project the events of ``store`` that are there and those that will be, until :meth:`close` is called; how many it has handled.

        Of two workers of one projection, the one that began later goes on, and the other gets :class:`CheckpointLost`. ``poll`` and ``advance``
        are those of :meth:`headstream.EventStore.subscribe`. While the storage of the store does not answer, it waits.

        ``standby=True``, or a number of seconds: it waits while another worker runs the projection, and takes over when that one has ended or has
        given no sign of life in the database for 30 seconds, or for so many. All workers of the projection have to say so. Make it longer than the
        longest time that a batch takes.

        An error, ``KeyboardInterrupt`` included, rolls back the transaction that is open and comes through; run it again, and it goes on
        after the last event that was committed.

        Raises :class:`CheckpointLost`, :class:`ProjectionStopped`, :class:`FeedChanged`; :class:`InvalidInput` if the read model is of another store or version;
        the database's errors as they are; and what :meth:`headstream.EventStore.subscribe` and ``append`` raise.
        """
        patience = check_standby(standby)
        with _working(self, store.store_id) as work:
            if patience is None:
                work.begin()
                return self._follow(store, work, poll=poll, advance=advance)
            with _releasing(work):
                if not self._stand_by(work, patience):
                    return 0
                beat_every = patience / limits.SIGNS_OF_LIFE
                return self._follow(store, work, poll=poll, advance=advance, beat_every=beat_every)

    def _stand_by(self, work: Work, patience: float) -> bool:
        """Wait until the projection is this worker's; ``False`` if it was closed before."""
        pause = Pause()
        with self.closing(pause):
            while not self.closed and not work.stand_by(patience, time.monotonic):
                pause.wait(min(patience / limits.SIGNS_OF_LIFE, LOOK_EVERY))
        return not self.closed

    def _follow(
        self,
        store: EventStore,
        work: Work,
        *,
        poll: tuple[float, float] | None,
        advance: bool,
        beat_every: float | None = None,
    ) -> int:
        handled = 0
        subscription = store.subscribe(
            after=work.mark, streams=self.streams, types=self.types, advance=advance, poll=poll
        )
        if beat_every is not None:
            subscription._beat_every(beat_every, work.beat)  # noqa: SLF001 - its own subscription
        with subscription, self.closing(subscription):
            for batch in subscription.batches(self.batch):
                self._apply(store, work, batch, subscription.mark_of)
                handled += len(batch)
            work.skip(subscription.mark)
        return handled

    def run_until_caught_up(self, store: EventStore, *, advance: bool = True) -> int:
        """Project all events that were appended before this call; how many it has handled. For function apps and cron.

        Raises what :meth:`run` raises, and :class:`Unavailable` if the storage does not answer.
        """
        with _working(self, store.store_id) as work:
            work.begin()
            return self._catch_up(store, work, advance=advance)

    def rebuild(self, store: EventStore, *, resume: bool = False, advance: bool = True) -> int:
        """Build new tables from all events of ``store`` while the old ones serve, then switch over; how many events it has handled.

        In one transaction the views change to the new tables, and the old ones are dropped. Just before it, the worker of the old tables is stopped
        with :class:`CheckpointLost`, and what it was ahead is caught up. If :meth:`close`, an error or a crash ends the rebuild before,
        the old tables serve on. Call it again: it begins anew, or with ``resume`` goes on where it was, which is right
        only if the handler is the same as then.

        The database must be one in which creating and dropping tables is part of a transaction, such as SQLite and PostgreSQL.

        Raises what :meth:`run_until_caught_up` raises.
        """
        _check_rebuild(self)
        with _working(self, store.store_id) as work:
            work.begin_rebuild(resume=resume)
            handled = self._catch_up(store, work, advance=advance)
            for _ in range(SWITCH_ATTEMPTS):
                if self.closed:
                    return handled
                work.stop_serving_worker()
                handled += self._catch_up(store, work, advance=advance)
                if work.switch():
                    return handled
        raise _fought_over(self)

    def _catch_up(self, store: EventStore, work: Work, *, advance: bool) -> int:
        feed = store.feed(after=work.mark, streams=self.streams, types=self.types, advance=advance)
        end, handled = feed.mark(), 0
        for batch in feed.batches(self.batch):
            if self.closed:
                return handled
            self._apply(store, work, batch, feed.mark_of)
            handled += len(batch)
        work.skip(end)
        return handled

    def _apply(self, store: EventStore, work: Work, batch: list[FeedEvent], mark_of: MarkOf) -> None:
        while (letter := work.apply(batch, mark_of)) is not None:
            store.append(letter.stream, letter.event, key=letter.key)
            work.skip(letter.mark)


class AsyncProjection(Definition):
    """A projection for an :class:`~headstream.AsyncEventStore`: a :class:`Projection` whose methods are awaited.

    The database blocks, and so does the handler, an ordinary function. Both have a thread of their own, one for each run, in which a function
    given as ``database`` opens the connection and each batch is one step; the event loop stays free. A connection that was opened elsewhere
    must permit that: ``sqlite3.connect(…, check_same_thread=False)``.

    When a task that runs it is cancelled, a transaction that has begun is finished, and then it ends.
    """

    async def run(
        self,
        store: AsyncEventStore,
        *,
        poll: tuple[float, float] | None = None,
        advance: bool = True,
        standby: bool | float | timedelta = False,
    ) -> int:
        """Project what is there and what will be, until it is closed or cancelled: see :meth:`Projection.run`."""
        patience = check_standby(standby)
        async with _working_in_a_thread(self, store.store_id) as (thread, work):
            if patience is None:
                await thread.run(work.begin)
                return await self._follow(store, thread, work, poll=poll, advance=advance)
            async with _releasing_in_a_thread(thread, work):
                if not await self._stand_by(thread, work, patience):
                    return 0
                beat_every = patience / limits.SIGNS_OF_LIFE
                return await self._follow(store, thread, work, poll=poll, advance=advance, beat_every=beat_every)

    async def _stand_by(self, thread: _Thread, work: Work, patience: float) -> bool:
        """Wait until the projection is this worker's; ``False`` if it was closed before."""
        pause = AsyncPause()
        with self.closing(pause):
            while not self.closed and not await thread.run(work.stand_by, patience, time.monotonic):
                await pause.wait(min(patience / limits.SIGNS_OF_LIFE, LOOK_EVERY))
        return not self.closed

    async def _follow(
        self,
        store: AsyncEventStore,
        thread: _Thread,
        work: Work,
        *,
        poll: tuple[float, float] | None,
        advance: bool,
        beat_every: float | None = None,
    ) -> int:
        handled = 0
        subscription = store.subscribe(
            after=work.mark, streams=self.streams, types=self.types, advance=advance, poll=poll
        )
        if beat_every is not None:
            subscription._beat_every(beat_every, partial(thread.run, work.beat))  # noqa: SLF001 - its own subscription
        async with subscription:
            with self.closing(subscription):
                async for batch in subscription.batches(self.batch):
                    await self._apply(store, thread, work, batch, subscription.mark_of)
                    handled += len(batch)
                await thread.run(work.skip, subscription.mark)
        return handled

    async def run_until_caught_up(self, store: AsyncEventStore, *, advance: bool = True) -> int:
        """Project all events that were appended before this call: see :meth:`Projection.run_until_caught_up`."""
        async with _working_in_a_thread(self, store.store_id) as (thread, work):
            await thread.run(work.begin)
            return await self._catch_up(store, thread, work, advance=advance)

    async def rebuild(self, store: AsyncEventStore, *, resume: bool = False, advance: bool = True) -> int:
        """Build new tables while the old ones serve, then switch over: see :meth:`Projection.rebuild`."""
        _check_rebuild(self)
        async with _working_in_a_thread(self, store.store_id) as (thread, work):
            await thread.run(partial(work.begin_rebuild, resume=resume))
            handled = await self._catch_up(store, thread, work, advance=advance)
            for _ in range(SWITCH_ATTEMPTS):
                if self.closed:
                    return handled
                await thread.run(work.stop_serving_worker)
                handled += await self._catch_up(store, thread, work, advance=advance)
                if await thread.run(work.switch):
                    return handled
        raise _fought_over(self)

    async def _catch_up(self, store: AsyncEventStore, thread: _Thread, work: Work, *, advance: bool) -> int:
        feed = store.feed(after=work.mark, streams=self.streams, types=self.types, advance=advance)
        end, handled = await feed.mark(), 0
        async for batch in feed.batches(self.batch):
            if self.closed:
                return handled
            await self._apply(store, thread, work, batch, feed.mark_of)
            handled += len(batch)
        await thread.run(work.skip, end)
        return handled

    async def _apply(
        self, store: AsyncEventStore, thread: _Thread, work: Work, batch: list[FeedEvent], mark_of: MarkOf
    ) -> None:
        while (letter := await thread.run(work.apply, batch, mark_of)) is not None:
            await store.append(letter.stream, letter.event, key=letter.key)
            await thread.run(work.skip, letter.mark)


class _Thread:
    """The thread of a run, in which its database is used."""

    def __init__(self) -> None:
        self._workers = Workers(self, "headstream-projection", 1)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function`` in the thread. It is always finished, before a cancellation comes through."""
        return await settled(asyncio.wrap_future(future_of(partial(function, *args, **kwargs), self._workers)))

    def close(self) -> None:
        """Let the thread end."""
        self._workers.close()


@contextmanager
def _working(definition: Definition, store_id: UUID) -> Iterator[Work]:
    with definition.logging_its_end(), opened(definition.database, definition.driver) as database:
        yield Work(definition, database, store_id)


@asynccontextmanager
async def _working_in_a_thread(definition: Definition, store_id: UUID) -> AsyncIterator[tuple[_Thread, Work]]:
    with definition.logging_its_end(), closing(_Thread()) as thread:
        stack = ExitStack()
        try:
            yield thread, await thread.run(stack.enter_context, _working(definition, store_id))
        finally:
            await thread.run(stack.close)


@contextmanager
def _releasing(work: Work) -> Iterator[None]:
    """Let a standby take over at the end of the block, whatever ends it."""
    try:
        yield
    except CheckpointLost:
        raise
    except BaseException:
        with suppress(Exception):  # which must not hide the error
            work.release()
        raise
    work.release()


@asynccontextmanager
async def _releasing_in_a_thread(thread: _Thread, work: Work) -> AsyncIterator[None]:
    try:
        yield
    except CheckpointLost:
        raise
    except BaseException:
        with suppress(Exception):  # which must not hide the error
            await thread.run(work.release)
        raise
    await thread.run(work.release)


def _check_rebuild(definition: Definition) -> None:
    if not definition.tables:
        raise InvalidInput(
            "only a projection that names its tables and creates them can be rebuilt: pass tables= and create="
        )


def _fought_over(definition: Definition) -> CheckpointLost:
    return CheckpointLost(
        "another worker takes the projection over again and again: stop it, then call rebuild with resume=True",
        name=definition.name,
    )
