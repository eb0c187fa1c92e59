"""The asyncio driver, and its two ways to run a step: awaited, or whole in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from headstream.backends.memory import MemoryBackend
from headstream.drivers import aio
from headstream.drivers.aio import Awaited, Threaded
from headstream.errors import AccessDenied, InvalidInput
from headstream.protocol.ops import (
    ABSENT,
    ALWAYS,
    MISSING,
    NOT_MODIFIED,
    REFUSED,
    Commit,
    Delete,
    Found,
    Gen,
    Get,
    GetMany,
    List,
    NotApplied,
    Op,
    Page,
    Pause,
    Put,
    Stamp,
    Stored,
    Unknown,
)
from support import shown
from support.backends import AsyncMemory, Watched


def ask(op: Op[Any]) -> Gen[Any]:
    """A step of one operation."""
    return (yield from op)


def each_operation() -> Gen[str]:
    """A step with every operation there is."""
    assert (yield from Get("heads/s")) == MISSING
    stored = yield from Commit((Put("inbox/1", b"intent", ALWAYS),), Put("heads/s", b"head", ABSENT))
    assert isinstance(stored, Stored)
    assert (yield from Commit((), Put("heads/s", b"head", ABSENT))) == REFUSED
    found = yield from Get("heads/s")
    assert isinstance(found, Found)
    assert (found.body, found.etag) == (b"head", stored.etag)
    assert (yield from Get("heads/s", stored.etag)) == NOT_MODIFIED
    assert (yield from GetMany((Get("inbox/1"), Get("inbox/2"))))[1] == MISSING
    assert (yield from List("")) == Page(("heads/s", "inbox/1"), more=False)
    yield from Delete(("inbox/1", "inbox/2"))
    assert (yield from List("inbox/")) == Page((), more=False)
    stamp = yield from Stamp()
    assert len(stamp.id) == 16
    assert (yield from Stamp(b"\xff" * 6 + bytes(10))).id > b"\xff" * 6
    yield from Pause(0.0)
    return "done"


@pytest.fixture
def backend() -> Watched:
    """What both runners run on."""
    return Watched()


@pytest.fixture(params=["awaited", "threaded"])
async def runner(request: pytest.FixtureRequest, backend: Watched) -> AsyncIterator[Awaited | Threaded]:
    """Each runner in turn."""
    runner = Awaited(AsyncMemory(backend)) if request.param == "awaited" else Threaded(backend, threads=2)
    yield runner
    await runner.close()


async def test_each_operation(runner):
    """Executed by the backend, its answer sent in."""
    assert await runner.run(each_operation()) == "done"


@pytest.mark.parametrize("fault", [NotApplied("throttled"), Unknown("time-out"), AccessDenied("no")], ids=shown)
async def test_faults_are_thrown_in(runner, backend, fault):
    """The core decides what they mean; it may go on."""
    backend.faults.append(fault)

    def step() -> Gen[Any]:
        with pytest.raises(type(fault)) as caught:
            yield from Get("a")
        yield from Get("b")
        return caught.value

    assert await runner.run(step()) is fault
    assert backend.requests == ["get a", "get b"]


@pytest.mark.parametrize("error", [NotApplied("throttled"), AccessDenied("no"), ZeroDivisionError()], ids=shown)
async def test_what_the_core_does_not_catch_comes_through(runner, backend, error):
    """As it is."""
    backend.faults.append(error)
    with pytest.raises(type(error)) as caught:
        await runner.run(ask(Get("a")))
    assert caught.value is error


async def test_a_defect_that_looks_like_the_end(runner, backend):
    """A StopIteration from a backend is no result."""
    backend.faults.append(StopIteration("a bug"))
    with pytest.raises(RuntimeError, match="StopIteration"):
        await runner.run(ask(Get("a")))


async def test_pauses_are_bounded_and_vary(monkeypatch):
    """A random part of what the core allows."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("headstream.drivers.aio.asyncio.sleep", sleep)
    for _ in range(200):
        await aio.run(ask(Pause(0.5)), AsyncMemory(MemoryBackend()))
    assert len(slept) == 200
    assert all(0 <= seconds <= 0.5 for seconds in slept)
    assert min(slept) < 0.1
    assert max(slept) > 0.4


async def test_closing_closes_the_backend(backend):
    """Both runners, and more than once."""
    for runner in (Awaited(AsyncMemory(backend)), Threaded(backend)):
        await runner.close()
        await runner.close()
    assert backend.closed == 4


async def test_after_closing(backend):
    """No step is run any more, and the message says what to do."""
    runner = Threaded(backend)
    await runner.close()
    with pytest.raises(InvalidInput, match="the store is closed: connect again"):
        await runner.run(ask(Get("a")))
    assert backend.requests == []


async def test_a_thread_runs_a_whole_step(backend):
    """Not one request: the event loop is free in the meantime, and threads change twice a step."""
    threads = set()
    original = backend.get

    def get(request: Get) -> Any:
        threads.add(threading.current_thread())
        return original(request)

    backend.get = get

    def step() -> Gen[None]:
        for number in range(10):
            yield from Get(f"a{number}")

    runner = Threaded(backend, threads=8)
    await runner.run(step())
    await runner.close()
    assert len(threads) == 1
    assert threading.current_thread() not in threads


async def test_steps_run_side_by_side(backend):
    """As many as there are threads."""
    together = threading.Barrier(2, timeout=30)
    backend.get = lambda _request: together.wait() and MISSING
    runner = Threaded(backend, threads=2)
    await asyncio.gather(runner.run(ask(Get("a"))), runner.run(ask(Get("b"))))
    await runner.close()


async def test_a_cancelled_waiter_does_not_stop_a_thread(backend):
    """What was begun is finished before the backend is closed."""
    begun, go_on = threading.Event(), threading.Event()
    finished = []

    def get(_request: Get) -> Any:
        begun.set()
        go_on.wait(30)
        finished.append(backend.closed)
        return MISSING

    backend.get = get
    runner = Threaded(backend)
    task = asyncio.create_task(runner.run(ask(Get("a"))))
    assert await asyncio.to_thread(begun.wait, 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    closing = asyncio.create_task(runner.close())
    go_on.set()
    await closing
    assert finished == [0]
    assert backend.closed == 1


async def test_a_cancelled_waiter_stops_awaiting():
    """The request in flight is given up, and no other is made."""
    asked = []
    in_flight = asyncio.Event()

    class Slow(AsyncMemory):
        async def get(self, get: Get) -> Any:
            asked.append(get.key)
            in_flight.set()
            await asyncio.Event().wait()

    def step() -> Gen[None]:
        yield from Get("a")
        yield from Get("b")

    task = asyncio.create_task(aio.run(step(), Slow(MemoryBackend())))
    await in_flight.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asked == ["a"]
