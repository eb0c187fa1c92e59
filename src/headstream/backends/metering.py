"""Counting and logging: a decorator at the one seam that all requests pass, once for callers that block and once for asyncio.

* A request is counted when it ends, however it ends; so one in flight is in no count yet.
* It is logged at DEBUG, one that failed at INFO: whether it is tried again is decided above, and whoever called is told of
  what comes of it. A line has the key and sizes, never a body, a URL or a credential.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from threading import Lock
from typing import Final

from headstream.backends import forks
from headstream.backends.base import AsyncBackend, Backend
from headstream.errors import HeadstreamError
from headstream.protocol.ops import (
    FAULTS,
    Found,
    Get,
    GetAnswer,
    Missing,
    NotModified,
    Page,
    Put,
    Refused,
    Stored,
    Unknown,
)
from headstream.stats import Stats

log: Final = logging.getLogger("headstream.requests")


class Meter:
    """The counters of one client; each is described at :class:`~headstream.stats.Stats`. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._gets = self._together = self._not_modified = self._missing = 0
        self._commits = self._refused = self._preludes = 0
        self._lists = self._deletes = 0
        self._bytes_read = self._bytes_written = 0
        self._faults = self._unknown = 0
        self._conflicts = self._retries = 0
        self._object_hits = self._object_misses = 0
        forks.watch(self)

    def after_fork(self) -> None:
        """Another thread of the parent may have held the lock. The child counts on from where the parent was."""
        self._lock = Lock()

    def stats(self, *, head_hits: int, head_misses: int, state_hits: int, state_misses: int) -> Stats:
        """All of it at one moment, and what the caches of heads and states have counted."""
        with self._lock:
            return Stats(
                gets=self._gets,
                together=self._together,
                not_modified=self._not_modified,
                missing=self._missing,
                commits=self._commits,
                refused=self._refused,
                preludes=self._preludes,
                lists=self._lists,
                deletes=self._deletes,
                bytes_read=self._bytes_read,
                bytes_written=self._bytes_written,
                faults=self._faults,
                unknown=self._unknown,
                conflicts=self._conflicts,
                retries=self._retries,
                head_hits=head_hits,
                head_misses=head_misses,
                state_hits=state_hits,
                state_misses=state_misses,
                object_hits=self._object_hits,
                object_misses=self._object_misses,
            )

    # --- requests --------------------------------------------------------------------------------------------------

    def got(self, gets: Sequence[Get], answers: Sequence[GetAnswer | None]) -> None:
        """Gets that were made together; an answer is ``None`` if the request failed."""
        with self._lock:
            self._gets += len(gets)
            if len(gets) > 1:
                self._together += len(gets)
            for answer in answers:
                if isinstance(answer, Found):
                    self._bytes_read += len(answer.body)
                elif isinstance(answer, NotModified):
                    self._not_modified += 1
                elif isinstance(answer, Missing):
                    self._missing += 1
        if log.isEnabledFor(logging.DEBUG):
            for get, answer in zip(gets, answers, strict=False):
                log.debug("get %s: %s", get.key, _told(answer))

    def committed(self, prelude: Sequence[Put], head: Put, answer: Stored | Refused | None) -> None:
        """A commit; the answer is ``None`` if it failed."""
        size = len(head.body)
        for put in prelude:
            size += len(put.body)
        with self._lock:
            self._preludes += len(prelude)
            self._bytes_written += size
            if isinstance(answer, Stored):
                self._commits += 1
            elif answer is not None:
                self._refused += 1
        if log.isEnabledFor(logging.DEBUG):
            for put in prelude:
                log.debug("put %s: %d bytes", put.key, len(put.body))
            log.debug("put %s: %d bytes, %s", head.key, len(head.body), _told(answer))

    def listed(self, prefix: str, page: Page | None) -> None:
        """A page of keys; ``None`` if the request failed."""
        with self._lock:
            self._lists += 1
        if log.isEnabledFor(logging.DEBUG):
            log.debug("list %s: %s", prefix, "no answer" if page is None else f"{len(page.keys)} keys")

    def deleted(self, keys: Sequence[str]) -> None:
        """Keys whose removal was asked for."""
        with self._lock:
            self._deletes += len(keys)
        if log.isEnabledFor(logging.DEBUG):
            for key in keys:
                log.debug("delete %s", key)

    def failed(self, request: str, error: BaseException) -> None:
        """That a request failed. One that was given up, since the caller was cancelled, did not."""
        if isinstance(error, (*FAULTS, HeadstreamError)):
            with self._lock:
                self._faults += 1
                self._unknown += isinstance(error, Unknown)
            log.info("%s failed: %s: %s", request, type(error).__name__, error)

    # --- what is known elsewhere -----------------------------------------------------------------------------------

    def conflict(self) -> None:
        """An append met a stream that was not where it was expected."""
        with self._lock:
            self._conflicts += 1

    def retry(self) -> None:
        """Something is going to be looked at or tried again, after a lost race or a fault."""
        with self._lock:
            self._retries += 1
        log.debug("trying again, after a pause")

    def recalled(self, hits: int, misses: int) -> None:
        """What the cache of objects had, and what it had not."""
        with self._lock:
            self._object_hits += hits
            self._object_misses += misses


_TOLD: Final[dict[type[object], str]] = {
    NotModified: "not modified",
    Missing: "missing",
    Stored: "written",
    Refused: "refused",
}


def _told(answer: GetAnswer | Stored | Refused | None) -> str:
    """An answer in a line of the log."""
    return f"{len(answer.body)} bytes" if isinstance(answer, Found) else _TOLD.get(type(answer), "no answer")


def _several(request: str, keys: Sequence[str]) -> str:
    """A request for several objects in a line of the log."""
    return f"{request} {next(iter(keys), 'nothing')}" + (f" and {len(keys) - 1} more" if len(keys) > 1 else "")


class Metered:
    """A :class:`~headstream.backends.base.Backend` that counts what is asked of another. It adds and hides nothing."""

    def __init__(self, inner: Backend, meter: Meter) -> None:
        self.inner = inner
        self._meter = meter
        self.keeps_metadata = inner.keeps_metadata
        self.default_tail = inner.default_tail
        self.default_poll = inner.default_poll

    def __repr__(self) -> str:
        return repr(self.inner)

    def get(self, get: Get) -> GetAnswer:
        """One object, or that it is missing or not modified."""
        answer = None
        try:
            answer = self.inner.get(get)
        except BaseException as error:
            self._meter.failed(f"get {get.key}", error)
            raise
        finally:
            self._meter.got((get,), (answer,))
        return answer

    def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        """Several objects; answers in the order of ``gets``."""
        answers: tuple[GetAnswer, ...] = ()
        try:
            answers = self.inner.get_many(gets)
        except BaseException as error:
            self._meter.failed(_several("get", [get.key for get in gets]), error)
            raise
        finally:
            self._meter.got(gets, answers)
        return answers

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        """All of ``prelude``, then ``head`` under its condition."""
        answer = None
        try:
            answer = self.inner.commit(prelude, head)
        except BaseException as error:
            self._meter.failed(f"put {head.key}", error)
            raise
        finally:
            self._meter.committed(prelude, head, answer)
        return answer

    def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects that are there."""
        try:
            self.inner.delete(keys)
        except BaseException as error:
            self._meter.failed(_several("delete", keys), error)
            raise
        finally:
            self._meter.deleted(keys)

    def list(self, prefix: str, after: str, limit: int) -> Page:
        """At most ``limit`` keys that start with ``prefix`` and sort after ``after``."""
        page = None
        try:
            page = self.inner.list(prefix, after, limit)
        except BaseException as error:
            self._meter.failed(f"list {prefix}", error)
            raise
        finally:
            self._meter.listed(prefix, page)
        return page

    def close(self) -> None:
        """Close the other one. Idempotent."""
        self.inner.close()


class AsyncMetered:
    """An :class:`~headstream.backends.base.AsyncBackend` that counts what is asked of another. It adds and hides nothing."""

    def __init__(self, inner: AsyncBackend, meter: Meter) -> None:
        self.inner = inner
        self._meter = meter
        self.keeps_metadata = inner.keeps_metadata
        self.default_tail = inner.default_tail
        self.default_poll = inner.default_poll

    def __repr__(self) -> str:
        return repr(self.inner)

    async def get(self, get: Get) -> GetAnswer:
        """One object, or that it is missing or not modified."""
        answer = None
        try:
            answer = await self.inner.get(get)
        except BaseException as error:
            self._meter.failed(f"get {get.key}", error)
            raise
        finally:
            self._meter.got((get,), (answer,))
        return answer

    async def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        """Several objects; answers in the order of ``gets``."""
        answers: tuple[GetAnswer, ...] = ()
        try:
            answers = await self.inner.get_many(gets)
        except BaseException as error:
            self._meter.failed(_several("get", [get.key for get in gets]), error)
            raise
        finally:
            self._meter.got(gets, answers)
        return answers

    async def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        """All of ``prelude``, then ``head`` under its condition."""
        answer = None
        try:
            answer = await self.inner.commit(prelude, head)
        except BaseException as error:
            self._meter.failed(f"put {head.key}", error)
            raise
        finally:
            self._meter.committed(prelude, head, answer)
        return answer

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects that are there."""
        try:
            await self.inner.delete(keys)
        except BaseException as error:
            self._meter.failed(_several("delete", keys), error)
            raise
        finally:
            self._meter.deleted(keys)

    async def list(self, prefix: str, after: str, limit: int) -> Page:
        """At most ``limit`` keys that start with ``prefix`` and sort after ``after``."""
        page = None
        try:
            page = await self.inner.list(prefix, after, limit)
        except BaseException as error:
            self._meter.failed(f"list {prefix}", error)
            raise
        finally:
            self._meter.listed(prefix, page)
        return page

    async def close(self) -> None:
        """Close the other one. Idempotent."""
        await self.inner.close()
