"""An async backend for callers that block: so that one suite checks both kinds."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from headstream.backends.base import AsyncBackend, is_remote
from headstream.protocol.ops import Get, GetAnswer, Page, Put, Refused, Stored

T = TypeVar("T")


class Blocking:
    """A :class:`~headstream.backends.base.Backend` that runs an :class:`~headstream.backends.base.AsyncBackend` on the
    event loop of a thread of its own. Any number of threads may call it: their calls become tasks of that loop.

    For tests and tools; an application that blocks is served better by the sync backend.
    """

    def __init__(self, backend: AsyncBackend) -> None:
        self.backend = backend
        self.keeps_metadata = backend.keeps_metadata
        self.is_remote = is_remote(backend)
        self.default_tail = backend.default_tail
        self.default_poll = backend.default_poll
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="headstream-blocking", daemon=True)
        self._thread.start()

    def __repr__(self) -> str:
        return f"Blocking({self.backend!r})"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What ``work`` returns, or the exception that it raises, having run on the backend's event loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def get(self, get: Get) -> GetAnswer:
        """One object, or that it is missing or not modified."""
        return self.run(self.backend.get(get))

    def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        """Several objects; answers in the order of ``gets``."""
        return self.run(self.backend.get_many(gets))

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        """All of ``prelude``, then ``head`` under its condition."""
        return self.run(self.backend.commit(prelude, head))

    def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects that are there."""
        self.run(self.backend.delete(keys))

    def list(self, prefix: str, after: str, limit: int) -> Page:
        """At most ``limit`` keys that start with ``prefix`` and sort after ``after``."""
        return self.run(self.backend.list(prefix, after, limit))

    def close(self) -> None:
        """Close the backend, then end the event loop and its thread. Idempotent."""
        if self._loop.is_closed():
            return
        self.run(self.backend.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
