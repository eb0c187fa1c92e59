"""Ctrl-C in the middle of work that many threads do, when the storage does not answer any more: the process ends within seconds."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest

from headstream import Event, connect
from servers.base import Server
from servers.proxy import Delay, Proxy

SECONDS = 25
"""Below the half minute that a hanging request takes, and far above what the end of a process takes."""
STREAMS = 12

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")

COMMAND = "from headstream.cli import main; main()"
PROJECTION = """
import asyncio, sqlite3, sys
from headstream import connect, connect_async
from headstream.projections import AsyncProjection, Projection

def count(database, _tables, event):
    database.execute("INSERT INTO seen VALUES (?)", [event.position])

async def run():
    async with connect_async(sys.argv[1]) as store:
        await AsyncProjection(*definition, driver=sqlite3, batch=3).run(store)

database = sqlite3.connect(sys.argv[2], check_same_thread=False)
database.execute("CREATE TABLE seen (position INTEGER PRIMARY KEY)")
definition = ("p", count, database)
if sys.argv[3] == "async":
    asyncio.run(run())
with connect(sys.argv[1]) as store:
    Projection(*definition, driver=sqlite3, batch=3).run(store)
"""


class Stopping:
    """Requests are answered until so many were made to some part of the store; from then on none is."""

    def __init__(self, proxy: Proxy, part: str, answered: int) -> None:
        self._asked = threading.Semaphore(0)
        self._part, self._answered, self._seen = part, answered, count()
        self._stopped = False
        proxy.fault(self._hangs, Delay(3600), times=sys.maxsize)

    def _hangs(self, _method: str, path: str, _headers: object) -> bool:
        if self._part in path and next(self._seen) >= self._answered:
            self._stopped = True
        if self._stopped:
            self._asked.release()
        return self._stopped

    def wait(self, process: subprocess.Popen[str], requests: int) -> None:
        """Until so many requests hang."""
        for _ in range(requests):
            while not self._asked.acquire(timeout=0.1):
                assert process.poll() is None, process.communicate()


@pytest.fixture
def proxy(ministack: Server) -> Iterator[Proxy]:
    """Before a server."""
    with Proxy(ministack.address) as proxy:
        yield proxy


@pytest.fixture
def url(ministack: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a store with some streams."""
    for name, value in ministack.environment().items():
        monkeypatch.setenv(name, value)
    url = ministack.url(f"{ministack.fresh_bucket()}/shop")
    with connect(url, tail_bytes=0, advance_every=0) as store:
        for number in range(STREAMS):
            store.append(f"s-{number}", Event("E", number))
        store.advance()
    return url


@pytest.fixture
def started(ministack: Server, proxy: Proxy) -> Callable[..., object]:
    """A Python process whose requests go through the proxy."""

    @contextmanager
    def started(program: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
        with subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            env=os.environ | ministack.environment(proxy.address),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    return started


@pytest.mark.parametrize(
    ("command", "when"),
    [
        ("verify --jobs 4", ("/heads/s-", 2, 3)),
        ("verify --jobs 4", ("/segments/s-", 3, 3)),
        ("gc --jobs 4", ("/segments/s-", 2, 3)),
        ("gc --jobs 1", ("/segments/s-", 2, 1)),
        ("doctor", ("/probes/", 3, 3)),
        ("doctor", ("/probes/", 40, 2)),
    ],
)
def test_a_command_that_waits_for_many_requests(command, when, url, proxy, started):
    """It ends as interrupted, without a traceback."""
    part, answered, hanging = when
    stopping = Stopping(proxy, part, answered)
    name, *options = command.split()
    with started(COMMAND, name, url, *options) as process:
        stopping.wait(process, hanging)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, "Traceback" in errors) == (130, False), errors
    assert command != "doctor" or "may be left under probes/" in errors, errors


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_projection_that_waits_for_a_request(kind, url, proxy, started, tmp_path: Path):
    """It ends as interrupted; what was committed to its database stays."""
    stopping = Stopping(proxy, "/heads/", 2)
    with started(PROJECTION, url, str(tmp_path / "read.db"), kind) as process:
        stopping.wait(process, 1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode in {-signal.SIGINT, 130}, errors
    assert errors.rstrip().endswith("KeyboardInterrupt"), errors
