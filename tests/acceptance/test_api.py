"""What users rely on, on every backend."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from acceptance.places import ALL, SHARED, Place
from headstream import AsyncEventStore, EventStore, HeadstreamError, InvalidInput, connect, connect_async
from headstream.backends.memory import MemoryBackend
from headstream.model import Event
from support.api_suite import SUITE, SUITE_OF_TWO, check_long_names
from support.awaited import AwaitedStore, Loop

SHORT_NAMES = ("seaweedfs",)
"""Where a part of a key has 255 bytes at most: what is longer is refused, and says so."""


@pytest.mark.parametrize("place", ALL, indirect=True)
def test_one_client(place: Place):
    """Each check of the suite, on one store."""
    with place.connect() as store:
        run_suite(place, store)


@pytest.mark.parametrize("place", ALL, indirect=True)
def test_one_awaited_client(place: Place):
    """The same by asyncio."""
    with Loop() as loop, awaited(place, loop) as store:
        run_suite(place, store)


@pytest.mark.parametrize("place", SHARED, indirect=True)
def test_two_clients(place: Place):
    """Each check of the suite that takes two clients."""
    with place.connect() as store, place.connect() as other:
        for check in SUITE_OF_TWO:
            run(check, store, other)


@pytest.mark.parametrize("place", SHARED, indirect=True)
def test_a_client_that_blocks_and_one_that_is_awaited(place: Place):
    """They work on the same store, and hear of each other."""
    with place.connect() as store, Loop() as loop, awaited(place, loop) as other:
        for check in SUITE_OF_TWO:
            run(check, store, other)


@contextmanager
def awaited(place: Place, loop: Loop) -> Iterator[Any]:
    """A store for asyncio, as the checks call it."""

    async def opened() -> AsyncEventStore:
        return await place.connect_async()

    store = AwaitedStore(loop.wait(opened()), loop)
    try:
        yield store
    finally:
        store.close()


def run_suite(place: Place, store: Any) -> None:
    """Each check of the suite."""
    for check in SUITE:
        if place.name in SHORT_NAMES and check is check_long_names:
            with pytest.raises(HeadstreamError, match="KeyTooLong"):
                check(store)
        else:
            run(check, store)


def run(check: Callable[..., None], *stores: EventStore) -> None:
    """One check, named when it fails."""
    try:
        check(*stores)
    except BaseException as error:
        error.add_note(f"in {check.__name__}")
        raise


async def test_each_way_takes_its_own_kind_of_backend():
    """One that blocks is no use to asyncio, and the other way round."""
    with pytest.raises(InvalidInput, match="connect_async"):
        await connect_async(MemoryBackend())
    with connect(MemoryBackend()) as store:
        assert store.append("s", Event("E")).version == 1
