"""Projections as applications run them: for callers that block, and for asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from itertools import islice
from typing import Final, ParamSpec, TypeVar
from uuid import UUID

from headstream.aio import AsyncEventStore
from headstream.client import EventStore
from headstream.errors import CheckpointLost, InvalidInput
from headstream.model import FeedEvent
from headstream.projections.databases import opened
from headstream.projections.definition import Definition
from headstream.projections.work import Work
from headstream.readings_aio import AsyncFeedReading

P = ParamSpec("P")
T = TypeVar("T")

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

    def run(self, store: EventStore, *, poll: tuple[float, float] | None = None, advance: bool = True) -> int:
        """Project the events of ``store`` that are there and those that will be, until :meth:`close` is called; how many it has handled.

        Of two workers of one projection, the one that began later goes on, and the other gets :class:`CheckpointLost`. ``poll`` and ``advance``
        are those of :meth:`headstream.EventStore.subscribe`. While the storage of the store does not answer, it waits.

        An error, ``KeyboardInterrupt`` included, rolls back the transaction that is open and comes through; run it again, and it goes on
        after the last event that was committed.

        Raises :class:`CheckpointLost`, :class:`ProjectionStopped`; :class:`InvalidInput` if the read model is of another store or version;
        the database's errors as they are; and what :meth:`headstream.EventStore.subscribe` and ``append`` raise.
        """
        handled = 0
        with _working(self, store.store_id) as work:
            work.begin()
            work.check_end(store.feed(advance=False).position())
            subscription = store.subscribe(
                after=work.position, streams=self.streams, types=self.types, advance=advance, poll=poll
            )
            with subscription, self.closing(subscription):
                for batch in subscription.batches(self.batch):
                    self._apply(store, work, batch)
                    handled += len(batch)
                work.skip(subscription.position)
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
        feed = store.feed(after=work.position, streams=self.streams, types=self.types, advance=advance)
        end, handled = feed.position(), 0
        work.check_end(end)
        while batch := list(islice(feed, self.batch)):
            if self.closed:
                return handled
            self._apply(store, work, batch)
            handled += len(batch)
        work.skip(end)
        return handled

    def _apply(self, store: EventStore, work: Work, batch: list[FeedEvent]) -> None:
        while (letter := work.apply(batch)) is not None:
            store.append(letter.stream, letter.event, key=letter.key)
            work.skip(letter.position)


class AsyncProjection(Definition):
    """A projection for an :class:`~headstream.AsyncEventStore`: a :class:`Projection` whose methods are awaited.

    The database blocks, and so does the handler, an ordinary function. Both have a thread of their own, one for each run, in which a function
    given as ``database`` opens the connection and each batch is one step; the event loop stays free. A connection that was opened elsewhere
    must permit that: ``sqlite3.connect(…, check_same_thread=False)``.

    When a task that runs it is cancelled, a transaction that has begun is finished, and then it ends.
    """

    async def run(
        self, store: AsyncEventStore, *, poll: tuple[float, float] | None = None, advance: bool = True
    ) -> int:
        """Project what is there and what will be, until it is closed or cancelled: see :meth:`Projection.run`."""
        handled = 0
        async with _working_in_a_thread(self, store.store_id) as (thread, work):
            await thread.run(work.begin)
            await thread.run(work.check_end, await store.feed(advance=False).position())
            subscription = store.subscribe(
                after=work.position, streams=self.streams, types=self.types, advance=advance, poll=poll
            )
            async with subscription:
                with self.closing(subscription):
                    async for batch in subscription.batches(self.batch):
                        await self._apply(store, thread, work, batch)
                        handled += len(batch)
                    await thread.run(work.skip, subscription.position)
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
        feed = store.feed(after=work.position, streams=self.streams, types=self.types, advance=advance)
        end, handled = await feed.position(), 0
        work.check_end(end)
        while batch := await _some(feed, self.batch):
            if self.closed:
                return handled
            await self._apply(store, thread, work, batch)
            handled += len(batch)
        await thread.run(work.skip, end)
        return handled

    async def _apply(self, store: AsyncEventStore, thread: _Thread, work: Work, batch: list[FeedEvent]) -> None:
        while (letter := await thread.run(work.apply, batch)) is not None:
            await store.append(letter.stream, letter.event, key=letter.key)
            await thread.run(work.skip, letter.position)


class _Thread:
    """The thread of a run, in which its database is used."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call ``function`` in the thread. It is always finished, and what it raises comes through before a cancellation does."""
        loop = asyncio.get_running_loop()
        future = loop.run_in_executor(self._pool, partial(function, *args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                await asyncio.wait([future])
            raise


@contextmanager
def _working(definition: Definition, store_id: UUID) -> Iterator[Work]:
    with opened(definition.database, definition.driver) as database:
        yield Work(definition, database, store_id)


@asynccontextmanager
async def _working_in_a_thread(definition: Definition, store_id: UUID) -> AsyncIterator[tuple[_Thread, Work]]:
    with ThreadPoolExecutor(1, thread_name_prefix="headstream-projection") as pool:
        thread, stack = _Thread(pool), ExitStack()
        try:
            yield thread, await thread.run(stack.enter_context, _working(definition, store_id))
        finally:
            await thread.run(stack.close)


async def _some(feed: AsyncFeedReading, size: int) -> list[FeedEvent]:
    batch: list[FeedEvent] = []
    async for event in feed:
        batch.append(event)
        if len(batch) == size:
            break
    return batch


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
