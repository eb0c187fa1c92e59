"""The lists that the checks of the API suite are in, and what the checks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Final, TypeVar, cast
from uuid import uuid4

import pytest

from headstream import Event, EventStore, InvalidInput, RecordedEvent

C = TypeVar("C", bound=Callable[..., None])

SUITE: Final[list[Callable[[EventStore], None]]] = []
"""Checks of one client."""
SUITE_OF_TWO: Final[list[Callable[[EventStore, EventStore], None]]] = []
"""Checks of two clients of the same store."""


def one(check: Callable[[EventStore], None]) -> Callable[[EventStore], None]:
    """Part of :data:`SUITE`."""
    SUITE.append(check)
    return check


def two(check: Callable[[EventStore, EventStore], None]) -> Callable[[EventStore, EventStore], None]:
    """Part of :data:`SUITE_OF_TWO`."""
    SUITE_OF_TWO.append(check)
    return check


def with_feed(check: C) -> C:
    """A check of the feed. A store without one says so, wherever the check first needs it."""

    @wraps(check)
    def checked(store: EventStore, *others: EventStore) -> None:
        if store.settings.feed:
            check(store, *others)
        else:
            with pytest.raises(InvalidInput, match="created without a feed"):
                check(store, *others)

    return cast("C", checked)


def fresh(name: str = "s") -> str:
    """The name of a stream that nobody else uses."""
    return f"{uuid4().hex}/{name}"


def numbered(first: int, last: int) -> list[Event]:
    """Events that hold the numbers from ``first`` to ``last``."""
    return [Event("Numbered", number) for number in range(first, last + 1)]


def numbers(events: Sequence[RecordedEvent]) -> list[int]:
    """The numbers that events hold; each must be its version, too."""
    assert all(event.data == event.version for event in events)
    return [event.version for event in events]


def filled(store: EventStore, sizes: tuple[int, ...] = (1, 2, 3, 4, 5, 1, 1, 1, 1, 6)) -> str:
    """A stream of changesets of so many events, each of which holds its version."""
    stream = fresh()
    version = 0
    for size in sizes:
        version = store.append(stream, numbered(version + 1, version + size), expected=version).version
    return stream
