"""Workers on standby as real processes: whichever of them is killed, stopped or ended, events are handled, and about once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from acceptance.places import Place, find
from headstream import Event, EventStore

WORKER = Path(__file__).with_name("standby_worker.py")

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")


class Replicas:
    """Processes with one checkpoint, oldest first."""

    def __init__(self, place: Place, folder: Path, stack: ExitStack, patience: float) -> None:
        self._place, self._patience = place, patience
        self.store: EventStore = stack.enter_context(place.connect())
        self._log = folder / "log"
        self._log.touch()
        self._stack = stack
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        """One more."""
        process = subprocess.Popen(
            [sys.executable, WORKER, self._place.url, self._log, str(self._patience)],
            env=self._place.process_environment,
        )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        self.processes.append(process)
        return process

    def append(self, number: int) -> None:
        """Events, and wait until every one was handled."""
        self.store.append("s", [Event("E", {"n": each}) for each in range(number)], publish=True)
        end = self.store.feed().position()
        until(lambda: set(self.handled()) >= set(range(1, end + 1)))

    def handled(self) -> Counter[int]:
        """How often each position was handled."""
        return Counter(int(word) for _, word in self._lines() if word != "lost")

    def lost(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether a worker lost the checkpoint."""
        return (str(process.pid), "lost") in self._lines()

    def owner(self) -> subprocess.Popen[bytes]:
        """The one that has the checkpoint."""
        (checkpoint,) = self.store.checkpoints()
        pid = int(checkpoint.owner.rpartition(":")[2])
        return next(process for process in self.processes if process.pid == pid)

    def _lines(self) -> list[tuple[str, str]]:
        lines = self._log.read_text().splitlines(keepends=True)
        return [tuple(line.split()) for line in lines if line.endswith("\n")]  # type: ignore[misc]


def until(is_so: Callable[[], bool]) -> None:
    """Wait; a busy machine may take long."""
    deadline = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def replicas(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Replicas]:
    """None yet, on a place and with a patience."""
    name, patience = request.param
    with ExitStack() as stack:
        yield Replicas(find(name, request, tmp_path, monkeypatch.setenv), tmp_path, stack, patience)


@pytest.mark.parametrize("replicas", [("sqlite", 1.0)], ids=["sqlite"], indirect=True)
def test_whatever_becomes_of_the_workers(replicas):
    """Killed, stopped for a while, scaled in at either end: each event is handled, and few are handled twice."""
    for _ in range(3):
        replicas.start()
    replicas.append(100)
    killed = replicas.owner()
    killed.kill()
    killed.wait()
    replicas.processes.remove(killed)
    replicas.append(100)
    paused = replicas.owner()
    os.kill(paused.pid, signal.SIGSTOP)
    replicas.append(100)
    assert replicas.owner() is not paused
    os.kill(paused.pid, signal.SIGCONT)
    until(lambda: replicas.lost(paused))
    replicas.append(100)
    newest = replicas.start()
    newest.terminate()
    replicas.processes.remove(newest)
    newest.wait()
    replicas.append(100)
    oldest = replicas.owner()
    oldest.terminate()
    assert oldest.wait(60) == 0
    replicas.processes.remove(oldest)
    replicas.append(100)
    handled = replicas.handled()
    assert len(handled) == 600
    # A busy machine may pause a worker for longer than the patience, and then an event is handled once more.
    assert handled.total() <= 620


@pytest.mark.parametrize("replicas", [("ministack", 2.0)], ids=["ministack"], indirect=True)
def test_in_a_cloud(replicas):
    """The same in short: one is killed, the next is stopped for a while, and the last has all."""
    for _ in range(3):
        replicas.start()
    replicas.append(20)
    killed = replicas.owner()
    killed.kill()
    killed.wait()
    replicas.processes.remove(killed)
    replicas.append(20)
    paused = replicas.owner()
    os.kill(paused.pid, signal.SIGSTOP)
    replicas.append(20)
    assert replicas.owner() is not paused
    os.kill(paused.pid, signal.SIGCONT)
    until(lambda: replicas.lost(paused))
    replicas.append(20)
    handled = replicas.handled()
    assert len(handled) == 80
    assert handled.total() <= 100
