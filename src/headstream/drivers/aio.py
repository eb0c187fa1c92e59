"""The asyncio driver: runs a step of the core against an :class:`~headstream.backends.base.AsyncBackend`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

from headstream import limits
from headstream.backends.base import AsyncBackend, Backend
from headstream.drivers import sync
from headstream.drivers.ids import stamp
from headstream.errors import HeadstreamError, InvalidInput
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


async def run(gen: Gen[T], backend: AsyncBackend) -> T:
    """Execute the operations that ``gen`` yields, until it returns; its value. What it raises comes through."""
    try:
        op = next(gen)
        while True:
            try:
                answer = stamp(op.after) if type(op) is Stamp else await _EXECUTE[type(op)](backend, op)
            except (*FAULTS, HeadstreamError) as error:
                op = gen.throw(error)
            else:
                op = gen.send(answer)
    except StopIteration as stop:
        value: T = stop.value
        return value


class Awaited:
    """Runs steps on a backend that awaits."""

    def __init__(self, backend: AsyncBackend) -> None:
        self.backend = backend
        self.default_tail = backend.default_tail
        self.default_poll = backend.default_poll

    async def run(self, gen: Gen[T]) -> T:
        """Execute ``gen``. When the waiter is cancelled, the request in flight may or may not take effect."""
        return await run(gen, self.backend)

    async def close(self) -> None:
        """Close the backend."""
        await self.backend.close()


class Threaded:
    """Runs whole steps on a backend that blocks, each in a thread: one change of threads a step, not one a request."""

    def __init__(self, backend: Backend, threads: int = limits.THREADS) -> None:
        self.backend = backend
        self.default_tail = backend.default_tail
        self.default_poll = backend.default_poll
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="headstream")
        self._closed = False

    async def run(self, gen: Gen[T]) -> T:
        """Execute ``gen`` in a thread. Cancelling the waiter does not stop it: what was begun is finished."""
        if self._closed:
            raise InvalidInput("the store is closed: connect again")
        return await asyncio.get_running_loop().run_in_executor(self._pool, sync.run, gen, self.backend)

    async def close(self) -> None:
        """Wait for the steps that run, then close the backend. Idempotent."""
        self._closed = True
        await asyncio.get_running_loop().run_in_executor(None, self._shut)

    def _shut(self) -> None:
        self._pool.shutdown()
        self.backend.close()
