"""What ends a command that follows the feed: a signal, or that whoever read its output has gone."""

from __future__ import annotations

import os
import select
import signal
import stat
import sys
from collections.abc import Callable
from threading import Thread
from types import FrameType, TracebackType
from typing import Any, Self

from headstream.subscribing import Subscription

Handler = Callable[[int, FrameType | None], Any] | int | None


class Ending:
    """Closes a subscription on Ctrl-C, on SIGTERM and when the pipe of stdout is closed at its other end; says which it was.

    So the events at hand are still written, and the checkpoint is saved. A second signal acts at once.
    """

    def __init__(self, subscription: Subscription) -> None:
        self._subscription = subscription
        self._handlers: dict[int, Handler] = {}
        #: The signal that came.
        self.signal: int | None = None
        #: Whether nobody reads the output any more.
        self.unread = False

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.getsignal(number)
            if before not in {signal.SIG_IGN, None}:  # shells have commands in the background ignore Ctrl-C
                self._handlers[number] = before
                signal.signal(number, self._end)
        pipe = _pipe()
        if pipe is not None:
            # Without it, a command that has nothing to write would wait for ever for an event to tell it.
            Thread(target=self._watch, args=(pipe,), name="headstream-output", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _end(self, number: int, _frame: FrameType | None) -> None:
        self._restore()
        self.signal = number
        self._subscription.close()

    def _restore(self) -> None:
        while self._handlers:
            signal.signal(*self._handlers.popitem())

    def _watch(self, pipe: int) -> None:
        poll = select.poll()
        poll.register(pipe, 0)  # an error, which is what a closed end is, is reported unasked
        poll.poll()
        self.unread = True
        self._subscription.close()


def _pipe() -> int | None:
    """The file descriptor of stdout, if it is a pipe or a socket that can be watched."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):  # it is no file
        return None
    mode = os.fstat(descriptor).st_mode
    return descriptor if hasattr(select, "poll") and (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)) else None
