"""A decorator that serves immutable objects from copies: once for callers that block and once for asyncio.

It keeps every promise of :mod:`headstream.backends.base` for what passes through it. What another client overwrites or removes is served as it was,
which is right for objects that are written once (:mod:`.objects`); whoever examines or mends a store goes past it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import ParamSpec, TypeVar

from headstream.backends.base import AsyncBackend, Backend
from headstream.backends.beside import beside
from headstream.backends.metering import Meter
from headstream.backends.objects import IMMUTABLE, Objects
from headstream.protocol.ops import Found, Get, GetAnswer, Page, Put, Refused, Stored

P = ParamSpec("P")
T = TypeVar("T")


class _Copies:
    """What both shells look up and keep."""

    def __init__(self, objects: Objects, meter: Meter) -> None:
        self.objects = objects
        self._meter = meter

    def recall(self, gets: Sequence[Get]) -> list[Found | None]:
        """The copies that there are."""
        answers = [self.objects.get(get.key) if _lasts(get) else None for get in gets]
        asked, hits = sum(map(_lasts, gets)), len(gets) - answers.count(None)
        if asked:
            self._meter.recalled(hits, asked - hits)
        return answers

    def keep(self, gets: Iterable[Get], answers: Iterable[GetAnswer]) -> None:
        """Keep copies of what was got."""
        for get, answer in zip(gets, answers, strict=True):
            if isinstance(answer, Found) and _lasts(get):
                self.objects.put(get.key, answer)

    def drop(self, keys: Iterable[str]) -> None:
        """Keep none of what was written or removed."""
        for key in keys:
            if key.startswith(IMMUTABLE):
                self.objects.drop(key)


def _lasts(get: Get) -> bool:
    """Whether the answer is right for ever. Nobody asks by an etag for what never changes: such a get is passed on."""
    return get.if_none_match is None and get.key.startswith(IMMUTABLE)


def _lacking(gets: Sequence[Get], copies: Sequence[Found | None]) -> list[Get]:
    return [get for get, found in zip(gets, copies, strict=True) if found is None]


def _together(copies: Sequence[Found | None], fetched: Iterable[GetAnswer]) -> tuple[GetAnswer, ...]:
    """Copies, and what was got in place of those that were lacking, in the order that was asked for."""
    rest = iter(fetched)
    return tuple([found if found is not None else next(rest) for found in copies])


class Cached:
    """A :class:`~headstream.backends.base.Backend` that serves immutable objects from copies, and gets the rest from another."""

    def __init__(self, inner: Backend, objects: Objects, meter: Meter) -> None:
        self.inner = inner
        self._copies = _Copies(objects, meter)
        self.keeps_metadata = inner.keeps_metadata
        self.default_tail = inner.default_tail
        self.default_poll = inner.default_poll

    def __repr__(self) -> str:
        return repr(self.inner)

    def get(self, get: Get) -> GetAnswer:
        """One object, or that it is missing or not modified."""
        (answer,) = self.get_many((get,)) if _lasts(get) else (self.inner.get(get),)
        return answer

    def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        """Several objects; answers in the order of ``gets``."""
        copies = self._copies.recall(gets)
        lacking = _lacking(gets, copies)
        fetched = self.inner.get_many(lacking) if lacking else ()
        self._copies.keep(lacking, fetched)
        return _together(copies, fetched)

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        """All of ``prelude``, then ``head`` under its condition."""
        try:
            return self.inner.commit(prelude, head)
        finally:
            self._copies.drop([put.key for put in (*prelude, head)])

    def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects that are there."""
        try:
            self.inner.delete(keys)
        finally:
            self._copies.drop(keys)

    def list(self, prefix: str, after: str, limit: int) -> Page:
        """At most ``limit`` keys that start with ``prefix`` and sort after ``after``."""
        return self.inner.list(prefix, after, limit)

    def close(self) -> None:
        """Close the other one. Idempotent."""
        self.inner.close()


class AsyncCached:
    """The same for asyncio. Copies in a folder are looked up and kept in threads."""

    def __init__(self, inner: AsyncBackend, objects: Objects, meter: Meter) -> None:
        self.inner = inner
        self._copies = _Copies(objects, meter)
        self.keeps_metadata = inner.keeps_metadata
        self.default_tail = inner.default_tail
        self.default_poll = inner.default_poll

    def __repr__(self) -> str:
        return repr(self.inner)

    async def get(self, get: Get) -> GetAnswer:
        """One object, or that it is missing or not modified."""
        (answer,) = await self.get_many((get,)) if _lasts(get) else (await self.inner.get(get),)
        return answer

    async def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        """Several objects; answers in the order of ``gets``."""
        if not any(map(_lasts, gets)):
            return await self.inner.get_many(gets)
        copies = await self._off(self._copies.recall, gets)
        lacking = _lacking(gets, copies)
        fetched = await self.inner.get_many(lacking) if lacking else ()
        if lacking:
            await self._off(self._copies.keep, lacking, fetched)
        return _together(copies, fetched)

    async def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        """All of ``prelude``, then ``head`` under its condition."""
        try:
            return await self.inner.commit(prelude, head)
        finally:
            await self._drop([put.key for put in (*prelude, head)])

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects that are there."""
        try:
            await self.inner.delete(keys)
        finally:
            await self._drop(keys)

    async def list(self, prefix: str, after: str, limit: int) -> Page:
        """At most ``limit`` keys that start with ``prefix`` and sort after ``after``."""
        return await self.inner.list(prefix, after, limit)

    async def close(self) -> None:
        """Close the other one. Idempotent."""
        await self.inner.close()

    async def _drop(self, keys: Iterable[str]) -> None:
        lasting = [key for key in keys if key.startswith(IMMUTABLE)]
        if lasting:
            await self._off(self._copies.drop, lasting)

    async def _off(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Do it in a thread if it takes long."""
        if self._copies.objects.blocks:
            return await beside(work, *args, **kwargs)
        return work(*args, **kwargs)
