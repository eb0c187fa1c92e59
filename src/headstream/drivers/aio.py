"""The asyncio driver: runs a step of the core against an :class:`~headstream.backends.base.AsyncBackend`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from headstream import limits
from headstream.backends.base import AsyncBackend, Backend
from headstream.backends.caching import AsyncCached
from headstream.backends.metering import AsyncMetered, Meter
from headstream.backends.objects import Objects
from headstream.drivers import sync
from headstream.drivers.ids import stamp
from headstream.drivers.patience import Patience
from headstream.errors import CorruptData, HeadstreamError, InvalidInput
from headstream.protocol.ops import FAULTS, Commit, Delete, Gen, Get, GetMany, List, Op, Pause, Stamp

T = TypeVar("T")

_EXECUTE: Final[dict[type[Op[Any]], Callable[[AsyncBackend, Any], Awaitable[object]]]] = {
    Get: lambda backend, op: backend.get(op),
    GetMany: lambda backend, op: backend.get_many(op.gets),
    List: lambda backend, op: backend.list(op.prefix, op.after, limits.LIST_PAGE),
    Commit: lambda backend, op: backend.commit(op.prelude, op.head),
    Delete: lambda backend, op: backend.delete(op.keys),
    Pause: lambda _backend, op: asyncio.sleep(random.uniform(0, op.at_most)),  # noqa: S311 - jitter, no secret
}


async def run(gen: Gen[T], backend: AsyncBackend, meter: Meter | None = None, seconds: float | None = None) -> T:
    """Execute the operations that ``gen`` yields, until it returns; its value. What it raises comes through.

    ``meter`` counts the pauses: each comes before something is tried again. After ``seconds`` nothing is; see :mod:`.patience`.
    """
    patience = None if seconds is None else Patience(seconds)
    try:
        op = next(gen)
        while True:
            try:
                if patience is not None and type(op) is Pause:
                    patience.check()
                answer = stamp(op.after) if type(op) is Stamp else await _EXECUTE[type(op)](backend, op)
            except (*FAULTS, HeadstreamError) as error:
                if patience is not None:
                    patience.failed(error)
                op = gen.throw(error)
            else:
                if meter is not None and type(op) is Pause:
                    meter.retry()
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
        self.default_tail = backend.default_tail
        self.default_poll = backend.default_poll

    async def run(self, gen: Gen[T]) -> T:
        """Execute ``gen``. When the waiter is cancelled, the request in flight may or may not take effect."""
        return await run(gen, self._metered, self.meter, self._seconds)

    async def recall(self, gen: Gen[T]) -> T:
        """The same for a step that reads events: immutable objects may be copies; see :meth:`.sync.Direct.recall`."""
        try:
            return await run(gen, self._cached, self.meter, self._seconds)
        except CorruptData:
            if self._objects is not None:
                await asyncio.to_thread(self._objects.clear)
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
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="headstream")
        self._closed = False

    async def run(self, gen: Gen[T]) -> T:
        """Execute ``gen`` in a thread. Cancelling the waiter does not stop it: what was begun is finished."""
        return await self._off(self._direct.run, gen)

    async def recall(self, gen: Gen[T]) -> T:
        """The same for a step that reads events: immutable objects may be copies; see :meth:`.sync.Direct.recall`."""
        return await self._off(self._direct.recall, gen)

    async def _off(self, execute: Callable[[Gen[T]], T], gen: Gen[T]) -> T:
        if self._closed:
            raise InvalidInput("the store is closed: connect again")
        return await asyncio.get_running_loop().run_in_executor(self._pool, execute, gen)

    def keep(self, objects: Objects) -> None:
        """Have :meth:`recall` look for immutable objects here first."""
        self._direct.keep(objects)

    async def close(self) -> None:
        """Wait for the steps that run, then close the backend. Idempotent."""
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(None, self._shut)

    def _shut(self) -> None:
        self._pool.shutdown()
        self.backend.close()
