"""A backend that counts what another is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from headstream.backends.base import Backend
from headstream.protocol.ops import Found, Get, GetAnswer, Page, Put, Refused, Stored


@dataclass
class Counts:
    """Requests, as a cloud would count them, and bytes."""

    gets: int = 0
    puts: int = 0
    others: int = 0
    """Lists and deletes."""
    bytes_read: int = 0
    bytes_written: int = 0

    @property
    def requests(self) -> int:
        """All of them."""
        return self.gets + self.puts + self.others

    @property
    def bytes(self) -> int:
        """In both directions."""
        return self.bytes_read + self.bytes_written


class Counting:
    """Counts, and hands on to ``backend``."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.keeps_metadata = backend.keeps_metadata
        self.default_tail = backend.default_tail
        self.default_poll = backend.default_poll
        self._counts = Counts()

    def taken(self) -> Counts:
        """What has been counted since the last time."""
        counts, self._counts = replace(self._counts), Counts()
        return counts

    def get(self, get: Get) -> GetAnswer:
        return self._noted(self._backend.get(get))

    def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        return tuple(map(self._noted, self._backend.get_many(gets)))

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        self._counts.puts += len(prelude) + 1
        self._counts.bytes_written += sum(len(put.body) for put in (*prelude, head))
        return self._backend.commit(prelude, head)

    def delete(self, keys: Sequence[str]) -> None:
        self._counts.others += 1
        self._backend.delete(keys)

    def list(self, prefix: str, after: str, limit: int) -> Page:
        self._counts.others += 1
        return self._backend.list(prefix, after, limit)

    def close(self) -> None:
        self._backend.close()

    def _noted(self, answer: GetAnswer) -> GetAnswer:
        self._counts.gets += 1
        if isinstance(answer, Found):
            self._counts.bytes_read += len(answer.body)
        return answer
