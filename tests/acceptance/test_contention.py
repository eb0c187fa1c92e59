"""16 writers on one stream, each until 50 commits: exactly 800 changesets, none lost, none doubled, on every backend. Processes on a server make a share of them."""

from __future__ import annotations

import asyncio
import os
import threading

import pytest

from acceptance.places import ALL, EMBEDDED, SHARED, Place
from acceptance.processes import SECONDS, acknowledged, check_stream, release, writers
from headstream import ANY, NO_STREAM, Event, WrongExpectedVersion

WRITERS = 16
COMMITS = 50
SHARE = 15
"""Commits of a process on a server: each costs some 30 requests there. With ``THOROUGH`` in the environment they are all."""


def test_the_numbers():
    """What the names of these tests say."""
    assert WRITERS * COMMITS == 800


@pytest.mark.parametrize("place", ALL, indirect=True)
@pytest.mark.parametrize("mode", ["any", "race"])
def test_threads(place: Place, mode: str):
    """Threads that share a client, appending anywhere, or only where they know the end."""
    promised: dict[str, int] = {}
    failures: list[BaseException] = []

    def write(name: str) -> None:
        head = None
        try:
            for number in range(COMMITS):
                payload = f"{name}-{number}"
                events = [Event("Half", payload), Event("Half", payload)]
                while True:
                    try:
                        head = store.append("s", events, expected=ANY if mode == "any" else head or NO_STREAM)
                        break
                    except WrongExpectedVersion:
                        head = store.head("s")
                promised[payload] = head.version
        except BaseException as failure:
            failures.append(failure)

    with place.connect() as store:
        threads = [threading.Thread(target=write, args=(f"t{number}",)) for number in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
        assert failures == []
        assert len(promised) == WRITERS * COMMITS
        events = list(store.read("s"))
    assert len(events) == 2 * WRITERS * COMMITS
    check_stream(events, promised)


@pytest.mark.parametrize("place", ALL, indirect=True)
async def test_tasks(place: Place):
    """Tasks that share a client."""
    promised: dict[str, int] = {}

    async def write(name: str) -> None:
        for number in range(COMMITS):
            payload = f"{name}-{number}"
            head = await store.append("s", [Event("Half", payload), Event("Half", payload)])
            promised[payload] = head.version

    async with place.connect_async() as store:
        await asyncio.gather(*(write(f"t{number}") for number in range(WRITERS)))
        assert len(promised) == WRITERS * COMMITS
        events = [event async for event in store.read("s")]
    assert len(events) == 2 * WRITERS * COMMITS
    check_stream(events, promised)


@pytest.mark.parametrize("place", SHARED, indirect=True)
def test_processes(place: Place):
    """Processes, which know nothing of each other."""
    place.connect().close()
    commits = COMMITS if place.name in EMBEDDED or "THOROUGH" in os.environ else SHARE
    with writers(place, WRITERS, stream="s", commits=commits, mode="any") as processes:
        release(processes)
        promised: dict[str, int] = {}
        for process in processes:
            output, errors = process.communicate(timeout=SECONDS)
            assert process.returncode == 0, errors
            promised |= acknowledged(output)
    assert len(promised) == WRITERS * commits
    with place.connect() as store:
        events = list(store.read("s"))
    assert len(events) == 2 * WRITERS * commits
    check_stream(events, promised)
