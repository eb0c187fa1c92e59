"""Subscriptions for callers that block."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Protocol, Self, TypeVar

from headstream.bells import Bell
from headstream.errors import CheckpointLost, HeadstreamError, Unavailable
from headstream.following import Follower, ends, jittered, log, log_end
from headstream.model import FeedEvent
from headstream.protocol.mark import Mark
from headstream.protocol.ops import Gen
from headstream.session import check_number

T = TypeVar("T")


class Runs(Protocol):
    """Executes a step of the core."""

    def __call__(self, gen: Gen[T], /) -> T:
        """Execute ``gen``; what it returns."""


class Subscription(Iterator[FeedEvent]):
    """The events of the feed, one after the other, until it is closed; see :meth:`headstream.EventStore.subscribe`.

    An event counts as handled when the same loop asks for the next one. A new loop over the subscription begins with what the last loop was given
    and did not ask beyond, because of an error or ``break``; :meth:`save` or :meth:`acknowledge` say that it was handled. ``next(subscription)``
    by hand says that everything before was handled.

    ``close`` may be called from another thread or a signal handler: then the iteration ends. While the storage does not answer, it waits
    and tries again.
    """

    def __init__(self, follower: Follower, run: Runs, bell: Bell) -> None:
        self._follower = follower
        self._run = run
        self._bell = bell
        self._calls: SimpleQueue[None] = SimpleQueue()  # its put may interrupt its get, even in a signal handler
        self._called = False
        self._closed = False
        self._beat: Callable[[], object] | None = None
        self._beats_every = self._next_beat = math.inf
        bell.listen(self._call)

    @property
    def position(self) -> int:
        """Every event up to this position was handled, or was not asked for."""
        return self._follower.handled

    @property
    def mark(self) -> Mark:
        """The same position, with what tells whether a feed is the one that was read: for ``after``, in a place of your own."""
        return self._follower.mark

    def mark_of(self, event: FeedEvent) -> Mark:
        """The position of an event of the batch that was returned last."""
        return self._follower.mark_at(event.position)

    def __iter__(self) -> Iterator[FeedEvent]:  # noqa: PYI034 - each loop is one of its own
        return _Loop(self)

    def __next__(self) -> FeedEvent:
        return self._next(self._follower.next_event, None)

    def batches(self, size: int = 1000) -> Iterator[list[FeedEvent]]:
        """The same events as lists of 1 to ``size``, as they come: nothing waits for a list to be full.

        The events of a list count as handled when the same loop asks for the next list.
        """
        check_number("size", size, 1)
        return _Batches(self, size)

    def acknowledge(self) -> None:
        """Count what was returned last as handled, before more is asked for: after ``break``, for example. Saves nothing."""
        self._follower.acknowledge()

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
        if isinstance(error, CheckpointLost):
            return
        log_end(self._follower, error)
        if self._follower.unsaved or self._follower.releases:
            with suppress(*(() if error is None else (HeadstreamError,))):  # which must not hide the error
                self._save(release=True)

    def _beat_every(self, seconds: float, beat: Callable[[], object]) -> None:
        """Have ``beat`` called so often while events are waited for."""
        self._beat, self._beats_every = beat, seconds
        self._next_beat = time.monotonic() + seconds

    def _next(self, take: Callable[[object], T | None], loop: object) -> T:
        follower = self._follower
        follower.ask(loop)
        while not self._closed:
            # First: what was taken, and was kept from the caller by an error, would never come again.
            if not self._save_if_due():
                self._wait(follower.due(time.monotonic()))
                continue
            taken = take(loop)
            if taken is not None:
                return taken
            if follower.over:
                self.close()
            elif self._poll():
                self._wait(self._pause())
        raise StopIteration

    def _poll(self) -> bool:
        """Take the checkpoint over, or look for events; whether to wait now."""
        self._called = False
        try:
            if self._follower.begun:
                return self._follower.absorb(self._run(self._follower.poll()))
            self._write(self._follower.begin(time.monotonic()))
        except Unavailable as error:
            log.warning("a subscription waits for the storage: %s", error)
            return True
        return not self._follower.begun

    def _pause(self) -> float:
        """Seconds to wait at most."""
        now = time.monotonic()
        rest = self._follower.rest_until_look(now) or jittered(self._follower.pause())
        return min(rest, self._follower.due(now), max(0.0, self._next_beat - now))

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

    def _save_if_due(self) -> bool:
        """Save the checkpoint, if it is time; whether this worker may go on."""
        if self._beat is None and not self._follower.keeps:
            return True
        now = time.monotonic()
        if self._beat is not None and now >= self._next_beat:
            self._next_beat = now + self._beats_every
            self._beat()
        if self._follower.due(now) <= 0:
            try:
                self._save()
            except Unavailable as error:
                log.warning("a subscription saves its checkpoint later: %s", error)
                return not self._follower.failed(time.monotonic())
            return True
        return not self._follower.lapsed(now)

    def _save(self, *, release: bool = False) -> None:
        self._write(self._follower.save(time.monotonic(), release=release))

    def _write(self, step: Gen[None]) -> None:
        try:
            self._run(step)
        except CheckpointLost as error:
            ends.warning("%s ends: %s", self._follower.name, error)
            raise


class _Loop(Iterator[FeedEvent]):
    """One loop over a subscription."""

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription

    def __next__(self) -> FeedEvent:
        return self._subscription._next(self._subscription._follower.next_event, self)  # noqa: SLF001 - one class in two parts


class _Batches(Iterator[list[FeedEvent]]):
    """The same, a list at a time."""

    def __init__(self, subscription: Subscription, size: int) -> None:
        self._subscription = subscription
        self._size = size

    def __next__(self) -> list[FeedEvent]:
        return self._subscription._next(self._take, self)  # noqa: SLF001 - one class in two parts

    def _take(self, loop: object) -> list[FeedEvent] | None:
        return self._subscription._follower.next_batch(self._size, loop) or None  # noqa: SLF001 - one class in two parts
