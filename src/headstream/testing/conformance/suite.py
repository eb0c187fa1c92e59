"""The two classes that a backend's own tests subclass."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from headstream.backends.base import AsyncBackend, Backend
from headstream.protocol.ops import ABSENT, ALWAYS, MISSING, REFUSED, Found, Get, Matches, Put, Stored
from headstream.testing.blocking import Blocking
from headstream.testing.conformance.keys import KeyChecks
from headstream.testing.conformance.lists import ListChecks
from headstream.testing.conformance.objects import ObjectChecks
from headstream.testing.conformance.races import RaceChecks


class BackendConformance(ObjectChecks, KeyChecks, ListChecks, RaceChecks):
    """Checks a :class:`~headstream.backends.base.Backend`. Subclass it and override ``backend``; see the module.

    Attributes that a subclass may lower for a slow service:

    * ``racers`` (16): clients of a race, one thread each;
    * ``increments`` (8): how often each of at most four threads adds one to a shared counter;
    * ``many`` (1,500): objects of the tests that need more than one page or one bulk request;
    * ``large_bodies`` (1 MiB and 5 MiB): sizes in bytes.

    And one for a service that cannot hold the longest names of streams: ``longest_segment`` (850), in bytes.
    """

    @pytest.fixture
    def backend(self) -> Backend | Iterator[Backend]:
        """A fresh, empty backend. To be overridden."""
        raise NotImplementedError("override the fixture `backend` with one that yields a fresh, empty backend")

    @pytest.fixture
    def another(self, backend: Backend) -> Backend | Iterator[Backend]:
        """A second, independent client of the same storage; the first one where there is no such thing."""
        return backend


class AsyncBackendConformance(BackendConformance):
    """Checks an :class:`~headstream.backends.base.AsyncBackend`. Subclass it and override ``aio``.

    A subclass that has a second client overrides ``another`` with a :class:`~headstream.testing.Blocking` of it.
    """

    @pytest.fixture
    def aio(self) -> AsyncBackend | Iterator[AsyncBackend]:
        """A fresh, empty async backend; the suite closes it. To be overridden."""
        raise NotImplementedError("override the fixture `aio` with one that yields a fresh, empty async backend")

    @pytest.fixture
    def backend(self, aio: AsyncBackend) -> Iterator[Blocking]:
        """The async backend on an event loop of its own."""
        blocking = Blocking(aio)
        yield blocking
        blocking.close()

    def test_one_task_of_many_wins_a_race(self, backend: Blocking) -> None:
        """Tasks of one event loop that swap the same etag: one is stored, and its body is what is read."""

        async def race(aio: AsyncBackend) -> None:
            first = await aio.commit((), Put("heads/race", b"first", ABSENT))
            assert isinstance(first, Stored)
            bodies = [b"racer %d" % number for number in range(self.racers)]
            puts = [Put("heads/race", body, Matches(first.etag)) for body in bodies]
            answers = await asyncio.gather(*(aio.commit((), put) for put in puts))
            winners = [body for body, answer in zip(bodies, answers, strict=True) if isinstance(answer, Stored)]
            assert len(winners) == 1
            found = await aio.get(Get("heads/race"))
            assert isinstance(found, Found)
            assert found.body == winners[0]

        backend.run(race(backend.backend))

    def test_a_cancelled_get_leaves_the_backend_usable(self, backend: Blocking) -> None:
        """Gets cancelled while they wait raise CancelledError, and the backend goes on working."""

        async def cancel(aio: AsyncBackend) -> None:
            await aio.commit((), Put("heads/a", b"body", ABSENT))
            tasks = [asyncio.create_task(aio.get(Get("heads/a"))) for _ in range(8)]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                assert isinstance(outcome, asyncio.CancelledError | Found)
            found = await aio.get(Get("heads/a"))
            assert isinstance(found, Found)
            assert found.body == b"body"

        backend.run(cancel(backend.backend))

    def test_a_cancelled_commit_counts_wholly_or_not_at_all(self, backend: Blocking) -> None:
        """A commit cancelled while it waits never leaves a head without its prelude, and the key stays usable."""

        async def cancel(aio: AsyncBackend) -> None:
            prelude = [Put(f"inbox/{number}", b"intent", ALWAYS) for number in range(4)]
            task = asyncio.create_task(aio.commit(prelude, Put("heads/a", b"cancelled", ABSENT)))
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            retry = await aio.commit((), Put("heads/a", b"after", ABSENT))
            found = await aio.get(Get("heads/a"))
            assert isinstance(found, Found)
            assert found.body == (b"cancelled" if retry == REFUSED else b"after")
            if found.body == b"cancelled":
                assert MISSING not in await aio.get_many([Get(put.key) for put in prelude])

        backend.run(cancel(backend.backend))
