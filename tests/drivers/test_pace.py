"""What a driver knows of round trips: measured where requests go over a network, and nowhere else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headstream import limits
from headstream.backends.memory import MemoryBackend
from headstream.drivers import aio, sync
from headstream.drivers.pace import Pace
from headstream.protocol.ops import ALWAYS, Commit, Gen, GiveWay, Op, Pause, Put

PUT = Put("heads/s", b"", ALWAYS)
COMMITS = (Commit((), PUT), Commit((PUT,), PUT))


class Clock:
    """Time that passes when something is slept for, or by so much at each look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.step = 0.0
        self.slept: list[float] = []
        for driver in ("sync", "aio"):
            monkeypatch.setattr(f"headstream.drivers.{driver}.time.perf_counter", self.read)
        monkeypatch.setattr("headstream.drivers.sync.time.sleep", self.slept.append)
        monkeypatch.setattr("headstream.drivers.aio.asyncio.sleep", self.sleep)

    def read(self) -> float:
        self.now += self.step
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def step(*ops: Op[Any]) -> Gen[None]:
    for op in ops:
        yield from op


class Remote(MemoryBackend):
    """A memory that says it is far away."""

    is_remote = True


@pytest.fixture(params=["sync", "aio"])
def run(request, clock):
    """Runs operations on a backend, by one client of each driver."""

    def make(backend: MemoryBackend) -> Any:
        if request.param == "sync":
            client = sync.Direct(backend)
            return lambda *ops: client.run(step(*ops))
        awaited = aio.Awaited(Awaiting(backend))  # type: ignore[arg-type]
        return lambda *ops: asyncio.run(awaited.run(step(*ops)))

    return make


class Awaiting:
    """A backend that awaits, made of one that does not."""

    def __init__(self, backend: MemoryBackend) -> None:
        self._backend = backend
        self.is_remote = getattr(backend, "is_remote", False)
        self.keeps_metadata, self.default_tail, self.default_poll = True, 0, (0.1, 1.0)

    async def commit(self, prelude: Any, head: Any) -> Any:
        return self._backend.commit(prelude, head)


def test_a_round_trip_is_measured_by_commits(run, clock):
    """One is one round trip without a prelude, and two with one."""
    clock.step = 0.2
    client = run(Remote())
    client(COMMITS[0], GiveWay(2.0))
    assert clock.slept == [pytest.approx(0.4)]
    client(*[COMMITS[1]] * 100, GiveWay(1.0))
    assert clock.slept[1] == pytest.approx(0.1, rel=0.01)


def test_pauses_after_races_are_parts_of_a_round_trip(run, clock):
    """Once one is known; those that are not told in round trips stay as they are."""
    clock.step = 0.1
    client = run(Remote())
    client(*[Pause(0.5, 1.0)] * 200)
    assert 0.4 < max(clock.slept) <= 0.5
    clock.slept.clear()
    client(COMMITS[0], *[Pause(0.5, 1.0)] * 200)
    assert 0.08 < max(clock.slept) <= 0.1
    assert min(clock.slept) < 0.02
    clock.slept.clear()
    client(*[Pause(0.5)] * 200)
    assert 0.4 < max(clock.slept) <= 0.5


def test_a_storage_on_the_same_machine_has_no_round_trips(run, clock):
    """Its pauses are those that they were, and it gives way to nobody."""
    clock.step = 0.1
    client = run(MemoryBackend())
    client(*COMMITS, GiveWay(2.0))
    assert clock.slept == []
    assert clock.now == 0, "the clock is not even looked at"
    client(*[Pause(0.5, 1.0)] * 200)
    assert 0.4 < max(clock.slept) <= 0.5


def test_nothing_is_waited_for_before_a_round_trip_was_measured(run, clock):
    """A client that has made no commit has won none."""
    run(Remote())(GiveWay(2.0))
    assert clock.slept == []


def test_a_very_slow_answer_is_no_measure():
    """A large upload, or a storage that hangs, makes nobody wait for seconds; and it is soon forgotten."""
    pace = Pace(remote=True)
    pace.committed(100.0, prelude=True)
    assert pace.trip == limits.RACE_PAUSE[1]
    for _ in range(50):
        pace.committed(0.02, prelude=False)
    assert pace.trip == pytest.approx(0.02, rel=0.1)
