"""The bound of one call: nothing is tried again when half of its time is over, and the last reason is told."""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest

from headstream import Event, InvalidInput, OutcomeUnknown, Unavailable, connect, connect_async
from headstream.backends.cloud.service import Address, open_clients
from headstream.backends.memory import MemoryBackend
from headstream.drivers import aio, patience, sync
from headstream.protocol.ops import Gen, Get, NotApplied, Pause, Unknown
from servers.base import Server
from servers.proxy import Delay, Proxy
from support.backends import AsyncMemory


class Clock:
    """A clock that each failing request moves by so many seconds."""

    def __init__(self, step: float) -> None:
        self.now = 1000.0
        self.step = step

    def monotonic(self) -> float:
        """What the drivers read."""
        return self.now


class Failing(MemoryBackend):
    """Memory whose requests fail when they are told to, each after a while."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.fault: Exception | None = None
        self.asked = 0

    def get(self, get: Get) -> Any:
        """The object, or the fault."""
        self._fail()
        return super().get(get)

    def commit(self, prelude: Any, head: Any) -> Any:
        """The answer, or the fault."""
        self._fail()
        return super().commit(prelude, head)

    def _fail(self) -> None:
        self.asked += 1
        if self.fault is not None:
            self.clock.now += self.clock.step
            raise self.fault


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """In place of the machine's, for the bound only; pauses are short."""
    clock = Clock(step=10.0)
    monkeypatch.setattr(patience, "time", SimpleNamespace(monotonic=clock.monotonic))
    monkeypatch.setattr("headstream.limits.FAULT_PAUSE", (0.0, 0.0))
    return clock


def trying() -> Gen[str]:
    """A step that never gives up by itself."""
    while True:
        try:
            yield from Get("heads/a")
        except NotApplied:
            yield from Pause(0)
        else:
            return "done"


async def run_sync(backend: MemoryBackend, seconds: float | None) -> str:
    """By the blocking driver."""
    return sync.Direct(backend, seconds).run(trying())


async def run_awaited(backend: MemoryBackend, seconds: float | None) -> str:
    """By the one for asyncio."""
    return await aio.Awaited(AsyncMemory(backend), seconds).run(trying())


async def run_threaded(backend: MemoryBackend, seconds: float | None) -> str:
    """By threads."""
    runner = aio.Threaded(backend, seconds=seconds)
    try:
        return await runner.run(trying())
    finally:
        await runner.close()


@pytest.mark.parametrize("run", [run_sync, run_awaited, run_threaded])
async def test_nothing_is_tried_when_half_of_the_time_is_over(
    clock: Clock, run: Callable[[MemoryBackend, float | None], Awaitable[str]]
) -> None:
    """Of 60 seconds, requests of ten are begun in the first 30; the error has the last one's reason."""
    backend = Failing(clock)
    backend.fault = NotApplied("the disk is full", code="ENOSPC")
    with pytest.raises(Unavailable) as raised:
        await run(backend, 60.0)
    assert backend.asked == 3
    assert raised.value.details == {"timeout": 60.0, "reason": "the disk is full", "code": "ENOSPC"}
    assert raised.value.__cause__ is backend.fault
    backend.fault = None
    assert await run(backend, 60.0) == "done"  # each call has its own time


def test_an_append_without_an_answer_is_unknown_when_its_time_is_over(clock: Clock) -> None:
    """The attempt may have taken effect: its id is told, with the reason."""
    backend = Failing(clock)
    with connect(backend, timeout=20) as store:
        store.append("a", Event("E"))
        backend.fault = Unknown("no answer in time", code="timeout")
        with pytest.raises(OutcomeUnknown) as raised:
            store.append("a", Event("E"))
        assert len(raised.value.changeset_ids) == 1
        assert raised.value.reason == "no answer in time"
        assert raised.value.code == "timeout"
        backend.fault = None


def test_a_refused_append_is_unavailable_when_its_time_is_over(clock: Clock) -> None:
    """No attempt is open, so nothing was written; fewer tries than without a bound."""
    backend = Failing(clock)
    with connect(backend, timeout=40) as store:
        store.append("a", Event("E"))
        backend.fault = NotApplied("locked")
        asked = backend.asked
        with pytest.raises(Unavailable, match="the time for this call is over") as raised:
            store.append("a", Event("E"))
        assert backend.asked == asked + 2
        assert raised.value.details["reason"] == "locked"
        backend.fault = None
        assert store.append("a", Event("E")).version == 2


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), 100_000, "5", True])
def test_what_is_no_time_is_refused(timeout: Any) -> None:
    """Before anything is opened."""
    with pytest.raises(InvalidInput, match="seconds"):
        connect("memory://", timeout=timeout)
    with pytest.raises(InvalidInput, match="seconds"):
        connect_async("memory://", timeout=timeout)


def test_requests_of_a_cloud_have_their_part_of_the_time() -> None:
    """A commit is two requests, and a read one with its repetitions: both fit into the half that is left for them."""
    options = {"access_key_id": "key", "secret_access_key": "secret", "region": "us-east-1"}
    reads, writes = open_clients(Address.parse("s3://shop"), None, None, options, 12.0)
    for client in (reads, writes):
        assert client.client_options is not None
        assert client.client_options["timeout"] == "3s"
        assert client.client_options["connect_timeout"] == "3s"
    retries: Any = reads.retry_config
    assert retries["retry_timeout"].total_seconds() + retries["backoff"]["max_backoff"].total_seconds() + 3 <= 6


def test_an_append_into_a_black_hole_ends(ministack: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections are taken, and nothing is answered any more; without the bound, this takes four minutes."""
    with Proxy(ministack.address) as proxy:
        for name, value in ministack.environment(proxy.address).items():
            monkeypatch.setenv(name, value)
        with connect(ministack.url(f"{ministack.fresh_bucket()}/{uuid4().hex}"), advance_every=0) as first:
            head = first.append("a", Event("E"))
        with connect(first.url, timeout=2) as store:
            proxy.fault(lambda _method, _path, _headers: True, Delay(300), times=1000)
            begun = time.monotonic()
            with pytest.raises((Unavailable, OutcomeUnknown)) as raised:
                store.append("a", Event("E"), expected=head)
            with pytest.raises(Unavailable):
                list(store.read("a"))
            assert time.monotonic() - begun < 60  # a bound for a busy machine
            assert raised.value.details["code"] == "timeout"


async def test_a_read_from_a_black_hole_ends() -> None:
    """Awaited as well."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with pytest.raises(Unavailable) as raised:
            await connect_async(
                "s3://events/shop",
                timeout=1,
                endpoint=f"http://127.0.0.1:{listener.getsockname()[1]}",
                client_options={"allow_http": True},
                access_key_id="key",
                secret_access_key="secret",
                region="us-east-1",
            )
        assert raised.value.details["code"] == "timeout"
