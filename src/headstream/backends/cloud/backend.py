"""The two shells: they send what the dialect decides, one by blocking, one by awaiting."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from headstream import limits
from headstream.backends.cloud.dialect import Batch, Dialect
from headstream.backends.cloud.faults import ERRORS, FAILURES, Failure
from headstream.backends.cloud.service import Address, Provider, open_clients
from headstream.backends.workers import Workers
from headstream.protocol.ops import REFUSED, Get, GetAnswer, Missing, Page, Put, Refused, Stored

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")

IN_FLIGHT: Final = limits.READ_WINDOW_OBJECTS
"""Requests in flight at most: of all operations of a sync backend that need several, of each one of an async backend."""


class _Cloud:
    """What both shells are made of."""

    keeps_metadata = True
    is_remote = True
    default_tail = 64 * limits.KIB
    default_poll = (0.2, 5.0)

    def __init__(
        self,
        url: str,
        *,
        client_options: Mapping[str, Any] | None = None,
        retry_config: Mapping[str, Any] | None = None,
        timeout: float = limits.CLOUD_TIMEOUT,
        **options: Any,
    ) -> None:
        address = Address.parse(url)
        self._url = str(address)
        self._dialect = Dialect(address, Provider.put_into(options))
        self._reads, self._writes = open_clients(address, client_options, retry_config, options, timeout)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r})"


class CloudBackend(_Cloud):
    """A :class:`~headstream.backends.base.Backend` in a cloud's object storage.

    ``url`` is ``az://container/path``, ``s3://bucket/path`` or ``gs://bucket/path``. ``options`` are obstore's, for
    credentials and endpoints, and win over the environment. ``client_options`` (time-outs, proxies, certificates) and
    ``retry_config`` are obstore's too; the latter holds for gets, lists and deletes only, since a write is never repeated.

    ``timeout`` is the bound of one call of a store, in seconds: a request may take a quarter of it, unless ``client_options`` say otherwise.

    Makes no request until it is used. Raises :class:`~headstream.errors.InvalidInput` for a URL or options that cannot be.
    """

    def __init__(
        self,
        url: str,
        *,
        client_options: Mapping[str, Any] | None = None,
        retry_config: Mapping[str, Any] | None = None,
        timeout: float = limits.CLOUD_TIMEOUT,
        **options: Any,
    ) -> None:
        super().__init__(url, client_options=client_options, retry_config=retry_config, timeout=timeout, **options)
        self._main = Workers(self, "headstream-cloud-main")
        self._workers = Workers(self, "headstream-cloud", IN_FLIGHT)

    def get(self, get: Get) -> GetAnswer:
        """One object, or that it is missing or not modified."""
        outcome = self._interruptibly(self._try_get, get)
        if isinstance(outcome, FAILURES):
            raise outcome
        return outcome

    def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        """Several objects, in flight together; answers in the order of ``gets``."""
        return self._dialect.answers(self._interruptibly(self._together, self._try_get, gets))

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        """All of ``prelude`` together, and when it is durable, ``head`` under its condition."""
        return self._interruptibly(self._commit, prelude, head)

    def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects that are there."""
        self._interruptibly(self._delete, keys)

    def list(self, prefix: str, after: str, limit: int) -> Page:
        """At most ``limit`` keys that start with ``prefix`` and sort after ``after``."""
        outcome = self._interruptibly(self._try_list, prefix, after, limit)
        if isinstance(outcome, FAILURES):
            raise outcome
        return outcome

    def close(self) -> None:
        """Let go of the threads. Idempotent. Connections are closed when they have been idle for a while."""
        self._main.close()
        self._workers.close()

    def _commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        self._dialect.check_prelude(self._together(self._try_put, prelude))
        outcome = self._try_put(head)
        if isinstance(outcome, FAILURES):
            raise outcome
        return outcome

    def _delete(self, keys: Sequence[str]) -> None:
        batches = self._dialect.batches(keys)
        while batches:  # twice at most
            batches = self._dialect.undecided(batches, self._together(self._try_delete, batches))

    def _try_get(self, get: Get) -> GetAnswer | Failure:
        try:
            result = self._reads.get(get.key, options=self._dialect.get_options(get))
            body = result.bytes().to_bytes()
        except ERRORS as error:
            return self._dialect.get_failure(get, error)
        return self._dialect.found(get, result.meta, result.attributes, body)

    def _try_put(self, put: Put) -> Stored | Refused | Failure:
        arguments = self._dialect.put_arguments(put)
        if arguments is None:
            return REFUSED
        try:
            result = self._writes.put(put.key, put.body, **arguments)
        except ERRORS as error:
            return self._dialect.put_failure(put, error)
        return self._dialect.stored(put, result)

    def _try_delete(self, batch: Batch) -> Missing | Failure | None:
        try:
            self._reads.delete(batch)
        except ERRORS as error:
            return self._dialect.delete_failure(batch, error)
        return None

    def _try_list(self, prefix: str, after: str, limit: int) -> Page | Failure:
        scan = self._dialect.scan(prefix, after, limit)
        try:
            for chunk in self._reads.list(scan.folder, offset=scan.offset, chunk_size=scan.chunk_size):
                if scan.take(item["path"] for item in chunk):
                    break
        except ERRORS as error:
            return self._dialect.list_failure(prefix, error)
        return scan.page()

    def _together(self, work: Callable[[T], R], items: Sequence[T]) -> tuple[R, ...]:
        """``work`` of each item, in their order: the first on this thread, the others on threads of the backend."""
        if not items:
            return ()
        others = [self._workers.begin(partial(work, item)) for item in items[1:]]
        return (work(items[0]), *(wait() for wait in others))

    def _interruptibly(self, work: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """What ``work`` returns. In the main thread, where signal handlers run, it is done by another one: none runs while
        the native client waits for an answer, which takes half a minute if none comes.
        """
        if threading.get_ident() == threading.main_thread().ident:
            return self._main.call(work, *args, **kwargs)
        return work(*args, **kwargs)


class AsyncCloudBackend(_Cloud):
    """An :class:`~headstream.backends.base.AsyncBackend` in a cloud's object storage.

    Takes and raises what :class:`CloudBackend` does.
    """

    async def get(self, get: Get) -> GetAnswer:
        """One object, or that it is missing or not modified."""
        outcome = await self._try_get(get)
        if isinstance(outcome, FAILURES):
            raise outcome
        return outcome

    async def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        """Several objects, in flight together; answers in the order of ``gets``."""
        return self._dialect.answers(await self._together(self._try_get, gets))

    async def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        """All of ``prelude`` together, and when it is durable, ``head`` under its condition."""
        self._dialect.check_prelude(await self._together(self._try_put, prelude))
        outcome = await self._try_put(head)
        if isinstance(outcome, FAILURES):
            raise outcome
        return outcome

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects that are there."""
        batches = self._dialect.batches(keys)
        while batches:  # twice at most
            batches = self._dialect.undecided(batches, await self._together(self._try_delete, batches))

    async def list(self, prefix: str, after: str, limit: int) -> Page:
        """At most ``limit`` keys that start with ``prefix`` and sort after ``after``."""
        outcome = await self._try_list(prefix, after, limit)
        if isinstance(outcome, FAILURES):
            raise outcome
        return outcome

    async def close(self) -> None:
        """Nothing to let go of: connections are closed when they have been idle for a while."""

    async def _try_get(self, get: Get) -> GetAnswer | Failure:
        try:
            result = await self._reads.get_async(get.key, options=self._dialect.get_options(get))
            body = (await result.bytes_async()).to_bytes()
        except ERRORS as error:
            return self._dialect.get_failure(get, error)
        return self._dialect.found(get, result.meta, result.attributes, body)

    async def _try_put(self, put: Put) -> Stored | Refused | Failure:
        arguments = self._dialect.put_arguments(put)
        if arguments is None:
            return REFUSED
        try:
            result = await self._writes.put_async(put.key, put.body, **arguments)
        except ERRORS as error:
            return self._dialect.put_failure(put, error)
        return self._dialect.stored(put, result)

    async def _try_delete(self, batch: Batch) -> Missing | Failure | None:
        try:
            await self._reads.delete_async(batch)
        except ERRORS as error:
            return self._dialect.delete_failure(batch, error)
        return None

    async def _try_list(self, prefix: str, after: str, limit: int) -> Page | Failure:
        scan = self._dialect.scan(prefix, after, limit)
        try:
            async for chunk in self._reads.list(scan.folder, offset=scan.offset, chunk_size=scan.chunk_size):
                if scan.take(item["path"] for item in chunk):
                    break
        except ERRORS as error:
            return self._dialect.list_failure(prefix, error)
        return scan.page()

    @staticmethod
    async def _together(work: Callable[[T], Awaitable[R]], items: Sequence[T]) -> tuple[R, ...]:
        """``work`` of each item, in their order; all of it has ended when this returns."""
        gate = asyncio.Semaphore(IN_FLIGHT)

        async def gated(item: T) -> R:
            async with gate:
                return await work(item)

        return tuple(await asyncio.gather(*map(gated, items)))
