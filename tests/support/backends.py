"""Backends that tests can look into, interrupt, or await."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from headstream.backends.memory import MemoryBackend
from headstream.protocol.ops import Get, GetAnswer, Page, Put, Refused, Stored


class Watched(MemoryBackend):
    """Notes each request, and fails those that it was told to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[str] = []
        """Such as ``get heads/s``: since :meth:`take` was called last."""
        self.faults: deque[Exception | None] = deque()
        """What the next requests raise; ``None`` lets one through."""
        self.closed = 0

    def __repr__(self) -> str:
        return "Watched()"

    def take(self) -> list[str]:
        """The requests since the last time."""
        requests, self.requests = self.requests, []
        return requests

    def _note(self, request: str) -> None:
        self.requests.append(request)
        fault = self.faults.popleft() if self.faults else None
        if fault is not None:
            raise fault

    def get(self, get: Get) -> GetAnswer:
        """One object."""
        self._note(f"get {get.key}")
        return super().get(get)

    def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        """Several objects."""
        self._note(f"get {' '.join(get.key for get in gets)}")
        return tuple(super(Watched, self).get(get) for get in gets)

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        """A commit."""
        self._note(f"commit {head.key}")
        return super().commit(prelude, head)

    def delete(self, keys: Sequence[str]) -> None:
        """Removal."""
        self._note(f"delete {' '.join(keys)}")
        super().delete(keys)

    def list(self, prefix: str, after: str, limit: int) -> Page:
        """A page of keys."""
        self._note(f"list {prefix}")
        return super().list(prefix, after, limit)

    def close(self) -> None:
        """Count."""
        self.closed += 1


class AsyncMemory:
    """A backend in memory that awaits: other tasks run before and after each request."""

    keeps_metadata = True

    def __init__(self, inner: MemoryBackend) -> None:
        self.inner = inner
        self.default_tail = inner.default_tail
        self.default_poll = inner.default_poll

    async def get(self, get: Get) -> GetAnswer:
        """One object."""
        await asyncio.sleep(0)
        answer = self.inner.get(get)
        await asyncio.sleep(0)
        return answer

    async def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        """Several objects."""
        await asyncio.sleep(0)
        answers = self.inner.get_many(gets)
        await asyncio.sleep(0)
        return answers

    async def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        """A commit."""
        await asyncio.sleep(0)
        answer = self.inner.commit(prelude, head)
        await asyncio.sleep(0)
        return answer

    async def delete(self, keys: Sequence[str]) -> None:
        """Removal."""
        await asyncio.sleep(0)
        self.inner.delete(keys)

    async def list(self, prefix: str, after: str, limit: int) -> Page:
        """A page of keys."""
        await asyncio.sleep(0)
        return self.inner.list(prefix, after, limit)

    async def close(self) -> None:
        """Close what is inside."""
        self.inner.close()
