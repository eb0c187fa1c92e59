"""The asyncio driver: runs a step of the core against an :class:`~headstream.backends.base.AsyncBackend`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, wait
from functools import partial
from typing import Any, Final, TypeVar

from headstream import limits
from headstream.backends import forks
from headstream.backends.base import AsyncBackend, Backend, is_remote
from headstream.backends.beside import beside, future_of, settled
from headstream.backends.caching import AsyncCached
from headstream.backends.metering import AsyncMetered, Meter
from headstream.backends.objects import Objects
from headstream.backends.workers import Workers
from headstream.drivers import sync
from headstream.drivers.ids import stamp
from headstream.drivers.pace import Pace
from headstream.drivers.patience import Patience
from headstream.errors import CorruptData, HeadstreamError, InvalidInput
from headstream.protocol.ops import FAULTS, Commit, Delete, Gen, Get, GetMany, GiveWay, List, Op, Pause, Stamp

T = TypeVar("T")

_EXECUTE: Final[dict[type[Op[Any]], Callable[[AsyncBackend, Any], Awaitable[object]]]] = {
    Get: lambda backend, op: backend.get(op),
    GetMany: lambda backend, op: backend.get_many(op.gets),
    List: lambda backend, op: backend.list(op.prefix, op.after, limits.LIST_PAGE),
    Commit: lambda backend, op: backend.commit(op.prelude, op.head),
    Delete: lambda backend, op: backend.delete(op.keys),
}
_LOCAL: Final = Pace(remote=False)


async def _perform(op: Any, backend: AsyncBackend, meter: Meter | None, pace: Pace) -> object:
    """One operation; pauses are counted, since each comes before something is tried again."""
    kind = type(op)
    if kind is Stamp:
        return stamp(op.after)
    if kind is Commit and pace.remote:
        began = time.perf_counter()
        answer = await backend.commit(op.prelude, op.head)
        pace.committed(time.perf_counter() - began, prelude=bool(op.prelude))
        return answer
    if kind is Pause:
        await asyncio.sleep(pace.pause(op))
        if meter is not None:
            meter.retry()
        return None
    if kind is GiveWay:
        if pace.trip:
            await asyncio.sleep(pace.give_way(op))
        return None
    return await _EXECUTE[kind](backend, op)


async def run(
    gen: Gen[T], backend: AsyncBackend, meter: Meter | None = None, pace: Pace = _LOCAL, seconds: float | None = None
) -> T:
    """Execute the operations that ``gen`` yields, until it returns; its value. What it raises comes through.

    After ``seconds`` nothing is tried again; see :mod:`.patience`.
    """
    patience = None if seconds is None else Patience(seconds)
    try:
        op = next(gen)
        while True:
            try:
                if patience is not None and type(op) is Pause:
                    patience.check()
                answer = await _perform(op, backend, meter, pace)
            except (*FAULTS, HeadstreamError) as error:
                if patience is not None:
                    patience.failed(error)
                op = gen.throw(error)
            else:
                op = gen.send(answer)
    except StopIteration as stop:
        value: T = stop.value
        return value


class Awaited:
    """Runs steps on a backend that awaits; counts and logs the requests that they make. One may take so many ``seconds``, as in :class:`.sync.Direct`."""

    def __init__(self, backend: AsyncBackend, seconds: float | None = None) -> None:
        self.backend = backend
        self._seconds = seconds
        self.meter = Meter()
        self._metered = AsyncMetered(backend, self.meter)
        self._cached: AsyncBackend = self._metered
        self._objects: Objects | None = None
        self._pace = Pace(remote=is_remote(backend))
        self.default_tail = backend.default_tail
        self.default_poll = backend.default_poll

    async def run(self, gen: Gen[T]) -> T:
        """Execute ``gen``. When the waiter is cancelled, the request in flight may or may not take effect."""
        return await run(gen, self._metered, self.meter, self._pace, self._seconds)

    async def recall(self, gen: Gen[T]) -> T:
        """The same for a step that reads events: immutable objects may be copies; see :meth:`.sync.Direct.recall`."""
        try:
            return await run(gen, self._cached, self.meter, self._pace, self._seconds)
        except CorruptData:
            if self._objects is not None:
                await beside(self._objects.clear)
            raise

    def keep(self, objects: Objects) -> None:
        """Have :meth:`recall` look for immutable objects here first."""
        self._objects = objects
        self._cached = AsyncCached(self._metered, objects, self.meter)

    async def close(self) -> None:
        """Close the backend."""
        await self.backend.close()


class Threaded:
    """Runs whole steps on a backend that blocks, each in a thread: one change of threads a step, not one a request."""

    def __init__(self, backend: Backend, threads: int = limits.THREADS, seconds: float | None = None) -> None:
        self.backend = backend
        self.default_tail = backend.default_tail
        self.default_poll = backend.default_poll
        self._direct = sync.Direct(backend, seconds)
        self.meter = self._direct.meter
        self._workers = Workers(self, "headstream", threads)
        self._closed = False
        self.after_fork()
        forks.watch(self)

    def after_fork(self) -> None:
        """The steps that ran, and their threads, are in the parent."""
        self._steps: set[Future[Any]] = set()

    async def run(self, gen: Gen[T]) -> T:
        """Execute ``gen`` in a thread. Cancelling the waiter does not stop it: what was begun is finished."""
        return await self._off(self._direct.run, gen)

    async def recall(self, gen: Gen[T]) -> T:
        """The same for a step that reads events: immutable objects may be copies; see :meth:`.sync.Direct.recall`."""
        return await self._off(self._direct.recall, gen)

    async def _off(self, execute: Callable[[Gen[T]], T], gen: Gen[T]) -> T:
        if self._closed:
            raise InvalidInput("the store is closed: connect again")
        step = future_of(partial(execute, gen), self._workers)
        self._steps.add(step)
        step.add_done_callback(self._steps.discard)
        return await asyncio.wrap_future(step)

    def keep(self, objects: Objects) -> None:
        """Have :meth:`recall` look for immutable objects here first."""
        self._direct.keep(objects)

    async def close(self) -> None:
        """Wait for the steps that run, then close the backend; also if the waiter is cancelled. Idempotent."""
        self._closed = True
        await settled(asyncio.wrap_future(future_of(self._shut)))

    def _shut(self) -> None:
        wait(self._steps.copy())
        self._workers.close()
        self.backend.close()
