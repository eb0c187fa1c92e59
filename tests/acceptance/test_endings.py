"""The end of a process: Ctrl-C while a request hangs, appends of ``atexit`` handlers and of late threads, tasks that are all cancelled."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from acceptance.places import Place
from headstream import Event, connect_async

DESCRIPTORS = Path("/proc/self/fd")
SECONDS = 20
"""Far below the half minute that a hanging request takes, and far above what the end of a process takes."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are those of POSIX")


class Silence:
    """A server on loopback that accepts, reads and never answers."""

    def __init__(self) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.asked = threading.Semaphore(0)
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=self._read, args=(connection,), daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
        try:
            if connection.recv(1):
                self.asked.release()
        except OSError:
            pass

    def wait_for(self, process: subprocess.Popen[str]) -> None:
        """Until it has asked."""
        while not self.asked.acquire(timeout=0.1):
            assert process.poll() is None, process.communicate()

    @property
    def environment(self) -> dict[str, str]:
        """For a process that asks it."""
        host, port = self._server.getsockname()
        return os.environ | {
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT": f"http://{host}:{port}",
            "AWS_ALLOW_HTTP": "true",
        }

    def close(self) -> None:
        """Its connections too."""
        for one in (self._server, *self._connections):
            one.close()


@pytest.fixture
def silence() -> Iterator[Silence]:
    """A server that does not answer."""
    silence = Silence()
    yield silence
    silence.close()


@contextmanager
def running(*command: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """A Python process, gone afterwards."""
    with subprocess.Popen(
        [sys.executable, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def end(process: subprocess.Popen[str], silence: Silence) -> tuple[int, str]:
    """Ctrl-C once it waits for an answer; its exit code, and what it said on stderr."""
    silence.wait_for(process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=SECONDS)
    return process.returncode, errors


LIBRARY = {
    "connect": 'with connect("s3://bucket/shop") as store: pass',
    "backend": 'CloudBackend("s3://bucket/shop").commit([Put("a", b"", ALWAYS), Put("b", b"", ALWAYS)], Put("c", b"", ALWAYS))',
    "append": 'with open_(CloudBackend("s3://bucket/shop")) as store: store.append("s", Event("E"))',
    "advance": """
with open_(CloudBackend("s3://bucket/shop")) as store:
    store._advancer.start()
    store.append("s", Event("E"))
""",
    "async connect": """
async def main():
    async with connect_async("s3://bucket/shop") as store: pass
asyncio.run(main())
""",
    "async append": """
async def main():
    async with open_async(AsyncCloudBackend("s3://bucket/shop")) as store: await store.append("s", Event("E"))
asyncio.run(main())
""",
}
PRELUDE = """
import asyncio, uuid
from headstream import Event, EventStore, AsyncEventStore, Settings, connect, connect_async
from headstream.backends.cloud import CloudBackend, AsyncCloudBackend
from headstream.drivers.aio import Awaited
from headstream.protocol.ops import ALWAYS, Put
from headstream.protocol.store import Description
description = Description(1, uuid.uuid4(), "", Settings(tail_bytes=0))
def open_(backend): return EventStore(backend, description, url="", cache_bytes=0)
def open_async(backend): return AsyncEventStore(Awaited(backend), description, url="", cache_bytes=0)
"""


@pytest.mark.parametrize("name", LIBRARY)
def test_ctrl_c_while_a_request_hangs(name, silence):
    """``KeyboardInterrupt`` comes at once, and the process ends without waiting for an answer. obstore may have a last word about
    its own threads.
    """
    with running("-c", PRELUDE + LIBRARY[name], environment=silence.environment) as process:
        code, errors = end(process, silence)
    assert code in {-signal.SIGINT, 130}, errors
    assert "KeyboardInterrupt" in errors.splitlines(), errors


@pytest.mark.parametrize(
    "command",
    [
        ["append", "s3://bucket/shop", "s", "E", "{}"],
        ["read", "s3://bucket/shop", "s"],
        ["feed", "s3://bucket/shop", "--follow"],
        ["verify", "s3://bucket/shop"],
        ["init", "s3://bucket/shop"],
    ],
    ids=lambda command: command[0],
)
def test_ctrl_c_while_a_command_hangs(command, silence):
    """It ends as interrupted, without a traceback."""
    with running("-c", "from headstream.cli import main; main()", *command, environment=silence.environment) as process:
        code, errors = end(process, silence)
    assert (code, "Traceback" in errors) == (130, False), errors


def test_a_caught_interrupt(silence):
    """Who catches it goes on, closes the store, and ends with an exit code of its own choice."""
    program = """
import sys
with open_(CloudBackend("s3://bucket/shop")) as store:
    try:
        store.append("s", Event("E"))
    except KeyboardInterrupt:
        print("caught")
sys.exit(7)
"""
    with running("-c", PRELUDE + program, environment=silence.environment) as process:
        silence.wait_for(process)
        process.send_signal(signal.SIGINT)
        said, errors = process.communicate(timeout=SECONDS)
    assert (process.returncode, said, errors) == (7, "caught\n", "")


LATE = """
import asyncio, atexit, sys, threading
from headstream import Event, connect, connect_async

url = sys.argv[1]
store = connect(url, tail_bytes=1000)
store.append("sync", [Event("E", number) for number in range(100)])

def at_exit(name):
    store.append(name, Event("E", name))
    store.append(name, [Event("E", "x" * 900) for number in range(5)])
    list(store.feed())

async def awaited(name):
    async with connect_async(url) as other:
        await other.append(name, Event("E", name))
        assert [event async for event in other.read(name)]

def late():
    threading.main_thread().join()
    at_exit("late")
    asyncio.run(awaited("late-async"))

atexit.register(store.close)
atexit.register(at_exit, "atexit")
atexit.register(lambda: asyncio.run(awaited("atexit-async")))
threading.Thread(target=late).start()
"""


@pytest.mark.parametrize("place", ["sqlite", "files", "ministack"], indirect=True)
def test_appends_at_the_end_of_a_process(place: Place):
    """Out of ``atexit`` handlers, and of a thread that outlives the main one; for callers that block and for asyncio."""
    with running("-c", LATE, place.url, environment=place.process_environment) as process:
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    with place.connect() as store:
        assert sorted(store.streams()) == ["atexit", "atexit-async", "late", "late-async", "sync"]
        assert store.read("atexit").head().version == store.read("late").head().version == 6


# --- tasks that are cancelled ----------------------------------------------------------------------------------------


def open_files() -> set[str]:
    """Of this process."""
    found = set()
    for descriptor in DESCRIPTORS.iterdir():
        with suppress(OSError):  # that of the listing itself
            found.add(str(descriptor.readlink()))
    return found


@pytest.mark.parametrize("place", ["sqlite", "files", "ministack"], indirect=True)
async def test_all_tasks_are_cancelled(place: Place):
    """As an application does that ends: leaving the block raises nothing of its own, and the store is closed."""
    async with connect_async(place.url, advance_every=1) as store:
        for number in range(20):
            await store.append("s", Event("E", number))
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
    async with connect_async(place.url) as store:
        assert [event.data async for event in store.read("s")] == [*range(20)]
        assert [event.data async for event in store.feed()] == [*range(20)]


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="needs /proc")
@pytest.mark.parametrize("place", ["sqlite", "files"], indirect=True)
@pytest.mark.parametrize("turns", range(6))
async def test_a_close_that_is_cancelled(place: Place, tmp_path: Path, turns: int):
    """Whenever that is: files are closed, and then the cancellation comes through."""
    store = await connect_async(place.url, advance_every=1)
    await store.append("s", Event("E"))
    closing = asyncio.create_task(store.close())
    for _ in range(turns):
        await asyncio.sleep(0)
    if closing.cancel():
        with pytest.raises(asyncio.CancelledError):
            await closing
    if turns:
        assert not [name for name in open_files() if name.startswith(str(tmp_path))]
    await store.close()
    assert not [name for name in open_files() if name.startswith(str(tmp_path))]
