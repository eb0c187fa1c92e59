"""Subscriptions for callers that block."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
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


class Runs(Protocol):
    """Executes a step of the core."""

    def __call__(self, gen: Gen[T], /) -> T:
        """Execute ``gen``; what it returns."""


class Subscription(Iterator[FeedEvent]):
    """The events of the feed, one after the other, for as long as nobody closes it; see :meth:`headstream.EventStore.subscribe`.

    An event counts as handled when the next one is asked for. ``close`` may be called from another thread or a signal handler: then the iteration
    ends. While the storage does not answer, it waits and tries again.
    """

    def __init__(self, follower: Follower, run: Runs, bell: Bell) -> None:
        self._follower = follower
        self._run = run
        self._bell = bell
        self._calls: SimpleQueue[None] = SimpleQueue()  # its put may interrupt its get, even in a signal handler
        self._called = False
        self._closed = False
        self._last_save = time.monotonic()
        bell.listen(self._call)

    @property
    def position(self) -> int:
        """Every event up to this position was handled, or was not asked for."""
        return self._follower.handled

    def __next__(self) -> FeedEvent:
        return self._next(self._follower.next_event)

    def batches(self, size: int = 1000) -> Iterator[list[FeedEvent]]:
        """The same events as lists of 1 to ``size``, as they come: nothing waits for a list to be full.

        The events of a list count as handled when the next list is asked for.
        """
        check_number("size", size, 1)
        return self._batches(size)

    def _batches(self, size: int) -> Iterator[list[FeedEvent]]:
        while True:
            try:
                yield self._next(lambda: self._follower.next_batch(size) or None)
            except StopIteration:
                return

    def save(self) -> None:
        """Count what was returned last as handled, and save the checkpoint now.

        Raises :class:`CheckpointLost`, :class:`Unavailable`; :class:`InvalidInput` for a subscription without a checkpoint.
        """
        self._follower.acknowledge()
        self._save()

    def close(self) -> None:
        """End the iteration. Leave the ``with`` block, or call :meth:`save`, to have the checkpoint saved too. Idempotent."""
        self._closed = True
        self._bell.leave(self._call)
        self._calls.put(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if self._follower.unsaved and not isinstance(error, CheckpointLost):
            with suppress(*(() if error is None else (HeadstreamError,))):  # which must not hide the error
                self._save()

    def _next(self, take: Callable[[], T | None]) -> T:
        follower = self._follower
        follower.settle()
        while not self._closed:
            # First: what was taken, and was kept from the caller by an error, would never come again.
            self._save_if_due()
            taken = take()
            if taken is not None:
                return taken
            if follower.over:
                self.close()
            elif self._poll():
                self._wait(min(jittered(follower.pause()), self._due()))
        raise StopIteration

    def _poll(self) -> bool:
        """Take the checkpoint over, or look for events; whether to wait now."""
        self._called = False
        try:
            if self._follower.begun:
                return self._follower.absorb(self._run(self._follower.poll()))
            self._run(self._follower.begin())
        except Unavailable as error:
            log.warning("a subscription waits for the storage: %s", error)
            return True
        return False

    def _wait(self, seconds: float) -> None:
        try:
            self._calls.get(timeout=seconds)
            while True:
                self._calls.get_nowait()
        except Empty:
            pass

    def _call(self) -> None:
        if not self._called:
            self._called = True
            self._calls.put(None)

    def _due(self) -> float:
        """Seconds until the checkpoint should be saved."""
        if not self._follower.unsaved:
            return math.inf
        return max(0.0, self._last_save + limits.SAVE_EVERY - time.monotonic())

    def _save_if_due(self) -> None:
        if self._due() <= 0:
            try:
                self._save()
            except Unavailable as error:
                self._last_save = time.monotonic()
                log.warning("a subscription saves its checkpoint later: %s", error)

    def _save(self) -> None:
        self._run(self._follower.save())
        self._last_save = time.monotonic()
