"""Subscriptions for asyncio."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

from headstream import limits
from headstream.bells import Bell
from headstream.errors import CheckpointLost, HeadstreamError, Unavailable
from headstream.following import Follower, jittered
from headstream.model import FeedEvent
from headstream.protocol.ops import Gen
from headstream.session import check_number

T = TypeVar("T")

log: Final = logging.getLogger("headstream.subscriptions")


class _Runs(Protocol):
    async def __call__(self, gen: Gen[T], /) -> T: ...


class AsyncSubscription(AsyncIterator[FeedEvent]):
    """The events of the feed, one after the other, for as long as nobody closes it; see :meth:`headstream.AsyncEventStore.subscribe`.

    An event counts as handled when the next one is asked for. ``close`` may be called from another task or a signal handler of the loop: then the
    iteration ends. While the storage does not answer, it waits and tries again.
    """

    def __init__(self, follower: Follower, run: _Runs, bell: Bell) -> None:
        self._follower = follower
        self._run = run
        self._bell = bell
        self._loop = asyncio.get_running_loop()
        self._called = asyncio.Event()
        self._closed = False
        self._writing: asyncio.Future[None] | None = None
        self._last_save = time.monotonic()
        bell.listen(self._call)

    @property
    def position(self) -> int:
        """Every event up to this position was handled, or was not asked for."""
        return self._follower.handled

    async def __anext__(self) -> FeedEvent:
        return await self._next(self._follower.next_event)

    def batches(self, size: int = 1000) -> AsyncIterator[list[FeedEvent]]:
        """The same events as lists of 1 to ``size``, as they come: nothing waits for a list to be full.

        The events of a list count as handled when the next list is asked for.
        """
        check_number("size", size, 1)
        return self._batches(size)

    async def _batches(self, size: int) -> AsyncIterator[list[FeedEvent]]:
        while True:
            try:
                yield await self._next(lambda: self._follower.next_batch(size) or None)
            except StopAsyncIteration:
                return

    async def save(self) -> None:
        """Count what was returned last as handled, and save the checkpoint now.

        Raises :class:`CheckpointLost`, :class:`Unavailable`; :class:`InvalidInput` for a subscription without a checkpoint.
        """
        self._follower.acknowledge()
        await self._save()

    def close(self) -> None:
        """End the iteration. Leave the ``with`` block, or call :meth:`save`, to have the checkpoint saved too. Idempotent."""
        self._closed = True
        self._bell.leave(self._call)
        self._called.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        await self._written()
        if self._follower.unsaved and not isinstance(error, CheckpointLost):
            with suppress(*(() if error is None else (HeadstreamError,))):  # which must not hide the error
                await self._save()

    async def _next(self, take: Callable[[], T | None]) -> T:
        follower = self._follower
        follower.settle()
        while not self._closed:
            # First: what was taken, and was kept from the caller by an error or a cancellation, would never come again.
            await self._save_if_due()
            taken = take()
            if taken is not None:
                return taken
            if follower.over:
                self.close()
            elif await self._poll():
                await self._wait(min(jittered(follower.pause()), self._due()))
        raise StopAsyncIteration

    async def _poll(self) -> bool:
        """Take the checkpoint over, or look for events; whether to wait now."""
        self._called.clear()
        try:
            if self._follower.begun:
                return self._follower.absorb(await self._run(self._follower.poll()))
            await self._write(self._follower.begin)
        except Unavailable as error:
            log.warning("a subscription waits for the storage: %s", error)
            return True
        return False

    async def _wait(self, seconds: float) -> None:
        if not self._closed:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._called.wait(), seconds)

    def _call(self) -> None:
        if not self._called.is_set():
            with suppress(RuntimeError):  # the loop is closed, and nobody waits
                self._loop.call_soon_threadsafe(self._called.set)

    def _due(self) -> float:
        """Seconds until the checkpoint should be saved."""
        if not self._follower.unsaved:
            return math.inf
        return max(0.0, self._last_save + limits.SAVE_EVERY - time.monotonic())

    async def _save_if_due(self) -> None:
        if self._due() <= 0:
            try:
                await self._save()
            except Unavailable as error:
                self._last_save = time.monotonic()
                log.warning("a subscription saves its checkpoint later: %s", error)

    async def _save(self) -> None:
        await self._write(self._follower.save)
        self._last_save = time.monotonic()

    async def _write(self, step: Callable[[], Gen[None]]) -> None:
        """Write the checkpoint. A waiter that is cancelled leaves the write to go on, else the follower would not know what became of it."""
        await self._written()
        self._writing = asyncio.ensure_future(self._run(step()))
        self._writing.add_done_callback(_look)
        await asyncio.shield(self._writing)

    async def _written(self) -> None:
        """Wait for a write that a cancelled waiter left."""
        if self._writing is not None:
            await asyncio.wait([self._writing])


def _look(write: asyncio.Future[None]) -> None:
    """Nobody may be left to whom an error could be told: the next write meets it again."""
    if not write.cancelled():
        write.exception()
