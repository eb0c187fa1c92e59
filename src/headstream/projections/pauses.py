"""Pauses of a standby, which closing the projection ends."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from queue import Empty, SimpleQueue


class Pause:
    """For a thread. ``close`` may be called from another one, or from a signal handler."""

    def __init__(self) -> None:
        self._closed: SimpleQueue[None] = SimpleQueue()  # its put may interrupt its get, even in a signal handler

    def wait(self, seconds: float) -> None:
        """Wait, at most until it is closed."""
        with suppress(Empty):
            self._closed.get(timeout=seconds)

    def close(self) -> None:
        """End the pause that is waited in, or else the next one."""
        self._closed.put(None)


class AsyncPause:
    """For a task of the running event loop. ``close`` may be called from another thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._closed = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Wait, at most until it is closed."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._closed.wait(), seconds)

    def close(self) -> None:
        """End the pause."""
        with suppress(RuntimeError):  # the loop is closed, and there is no one to wake
            self._loop.call_soon_threadsafe(self._closed.set)
