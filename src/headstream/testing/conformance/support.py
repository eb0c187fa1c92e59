"""Small steps that the checks are written in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from headstream import limits
from headstream.backends.base import Backend
from headstream.protocol.ops import ABSENT, ALWAYS, MISSING, About, Condition, Found, Get, Put, Stored

LONGEST = 850
"""Bytes of the longest key of a store, relative to the store: with the longest prefix it is one of 1,000."""


class Checks:
    """What all checks share: the bounds that a subclass of the suite may lower."""

    racers = 16
    increments = 8
    many = 1_500
    longest_segment = LONGEST
    large_bodies: tuple[int, ...] = (1 * limits.MIB, 5 * limits.MIB)


def store(
    backend: Backend, key: str, body: bytes = b"body", when: Condition = ABSENT, about: About | None = None
) -> str:
    """Write one object, which must succeed; its etag."""
    answer = backend.commit((), Put(key, body, when, about))
    assert isinstance(answer, Stored), f"{key} was refused"
    return answer.etag


def fill(backend: Backend, keys: Sequence[str]) -> None:
    """Write an object under each of the keys, up to a hundred in one commit; its body is its key."""
    for start in range(0, len(keys), 100):
        *prelude, head = (Put(key, key.encode(), ALWAYS) for key in keys[start : start + 100])
        assert isinstance(backend.commit(prelude, head), Stored)


def found(backend: Backend, key: str) -> Found:
    """The object under ``key``, which must be there."""
    answer = backend.get(Get(key))
    assert isinstance(answer, Found), f"{key}: {answer}"
    assert type(answer.body) is bytes
    return answer


def is_missing(backend: Backend, key: str) -> bool:
    """Whether no object has that key."""
    return backend.get(Get(key)) == MISSING


def paged(backend: Backend, prefix: str = "", after: str = "", limit: int = limits.LIST_PAGE) -> list[str]:
    """All keys of a list, page by page; checks what holds for every page.

    ``more`` may be true on a full page that happens to be the last, where the service would charge another request
    to know; it is never false when keys follow.
    """
    keys: list[str] = []
    while True:
        page = backend.list(prefix, after, limit)
        assert len(page.keys) <= limit
        assert page.keys or not page.more, "an empty page promises more: no reader can go on from it"
        keys.extend(page.keys)
        if not page.more:
            return keys
        after = page.keys[-1]


def in_order(keys: Iterable[str]) -> list[str]:
    """The keys in ascending order of their bytes."""
    return sorted(keys, key=str.encode)
