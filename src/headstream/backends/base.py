"""What a backend must promise. Everything else of headstream stands on these sentences.

* **Objects** are bytes under a key, with an etag. A key is one to 1,000 ASCII bytes: segments of ``A-Z a-z 0-9 ! - . = _ ~``
  (none of them ``.`` or ``..``) joined by ``/``. No key is a folder of another (``a`` and ``a/b`` never both exist).
* **Etags** change whenever the content changes. Two writes of equal content may have equal etags: heads never repeat.
* **commit** makes every object of the prelude durable, then tries the head. It returns :class:`Stored` only when all of it is
  durable and visible to every later read and list of any client; :class:`Refused` only when the head certainly was
  not written. The head's condition is checked and applied atomically against every other writer in the world.
  It raises :class:`NotApplied` when the head was certainly not and never will be written, :class:`Unknown` when nobody knows. It never
  sends a write twice.
* **list** returns keys in ascending order of their bytes, and misses none that was written before the list began.
* **delete** is idempotent, and removes the other keys when one is missing already.
* Reads, lists and deletes may retry by themselves. When they give up they raise :class:`NotApplied` or :class:`Unknown` (both: try later).
* ``AccessDenied`` and ``StoreNotFound`` (the container, bucket or folder is missing) are raised as such.
* **Metadata** (:class:`About`) travels in the same request as the body. It is for people; a backend that has no place for it says
  so with ``keeps_metadata = False`` and drops it.
* A backend whose requests go over a network says so with ``is_remote = True``: then clients that compete for a head measure how long a round trip takes, and take turns.

:class:`Backend` is for callers that block, :class:`AsyncBackend` for asyncio. The conformance suite in ``headstream.testing``
checks all of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Protocol
from urllib.parse import quote

from headstream import limits
from headstream.errors import InvalidInput
from headstream.protocol.ops import About, Get, GetAnswer, Page, Put, Refused, Stored


class Backend(Protocol):
    """A place for objects, for callers that block. Safe to use from several threads."""

    @property
    def keeps_metadata(self) -> bool:
        """Whether :class:`About` is stored with the object."""

    @property
    def default_tail(self) -> int:
        """The ``tail_bytes`` that a new store gets here, in bytes: what measurements favour on this storage."""

    @property
    def default_poll(self) -> tuple[float, float]:
        """The shortest and the longest pause, in seconds, of those who follow the feed here: what a poll costs decides."""

    def get(self, get: Get) -> GetAnswer:
        """One object, or that it is missing or not modified."""

    def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        """Several objects, in flight together where that helps; answers in the order of ``gets``."""

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        """All of ``prelude``, then ``head`` under its condition."""

    def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects that are there."""

    def list(self, prefix: str, after: str, limit: int) -> Page:
        """At most ``limit`` keys that start with ``prefix`` and sort after ``after``."""

    def close(self) -> None:
        """Let go of files and connections. Idempotent."""


class AsyncBackend(Protocol):
    """The same for asyncio. Safe to use from several tasks of one event loop."""

    @property
    def keeps_metadata(self) -> bool:
        """Whether :class:`About` is stored with the object."""

    @property
    def default_tail(self) -> int:
        """The ``tail_bytes`` that a new store gets here, in bytes."""

    @property
    def default_poll(self) -> tuple[float, float]:
        """The shortest and the longest pause, in seconds, of those who follow the feed here."""

    async def get(self, get: Get) -> GetAnswer:
        """One object, or that it is missing or not modified."""

    async def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        """Several objects, in flight together; answers in the order of ``gets``."""

    async def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        """All of ``prelude``, then ``head`` under its condition."""

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects that are there."""

    async def list(self, prefix: str, after: str, limit: int) -> Page:
        """At most ``limit`` keys that start with ``prefix`` and sort after ``after``."""

    async def close(self) -> None:
        """Let go of connections. Idempotent."""


def is_remote(backend: Backend | AsyncBackend) -> bool:
    """Whether a backend says by an attribute ``is_remote = True`` that its requests go over a network."""
    return getattr(backend, "is_remote", False) is True


def check_timeout(timeout: object) -> float:
    """The bound of one call in seconds; :class:`InvalidInput` if that is no time."""
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= limits.MAX_TIMEOUT:
        raise InvalidInput(f"the option timeout is a number of seconds, above 0 and at most {limits.MAX_TIMEOUT}")
    return float(timeout)


def metadata_of(about: About) -> Mapping[str, str]:
    """The four names of the 2012 article. Values are ASCII on every service: the stream's name is percent-encoded.

    The first changeset of a stream has the nil UUID for its parent: a service may drop an empty value.
    """
    return {
        "aggregateid": _percent(about.stream),
        "aggregateversion": str(about.version),
        "changesetid": _uuid(about.changeset_id),
        "parentchangesetid": _uuid(about.parent_id or bytes(16)),
    }


@lru_cache(maxsize=4096)
def _percent(stream: str) -> str:
    return quote(stream, safe="!$&'()*+,/:;@")


def _uuid(object_id: bytes) -> str:
    """As ``UUID`` writes it, in a third of the time."""
    digits = object_id.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
