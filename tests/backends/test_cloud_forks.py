"""Forks of a process that used a cloud: a child never waits for threads that do not exist there. Real forks, against a server on loopback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, Final

import pytest

from servers.base import Server

TIMES: Final = 30
"""Forks of each kind."""

PREPARE: Final = """
import asyncio, gc, json, multiprocessing, os, signal, sys
from headstream import Event, InvalidInput, connect, connect_async
url = sys.argv[1]

def child(work):
    # Runs work in a forked child, which is ended if it hangs; what became of it.
    pid = os.fork()
    if pid == 0:
        signal.alarm(30)
        code = 9
        try:
            code = work() or 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def refused(work):
    try:
        work()
    except InvalidInput as error:
        return 0 if "spawn or forkserver" in str(error) else 2
    return 3

async def aconnect():
    async with connect_async(url) as store:
        return await store.head("a")

def tally(*works):
    print(json.dumps([sorted({child(work) for _ in range(int(sys.argv[2]))}) for work in works]))
"""


def run(script: str, server: Server, url: str) -> Any:
    """What a process prints that runs the script after the preparation."""
    done = subprocess.run(
        [sys.executable, "-c", PREPARE + script, url, str(TIMES)],
        env={**os.environ, **server.environment()},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def url(ministack: Server) -> str:
    """Of an empty store."""
    return ministack.url(f"{ministack.fresh_bucket()}/shop")


def test_children_of_a_process_that_used_a_cloud_are_refused(ministack: Server, url: str) -> None:
    """Its store and one of their own, sync and async; closing, collecting and leaving do not hang."""
    script = """
store = connect(url)
store.append("a", Event("E"))
list(store.read("a"))
def close():
    store.close()
def drop():
    global store
    del store
    gc.collect()
tally(lambda: refused(lambda: store.append("a", Event("E"))),
      lambda: refused(lambda: list(store.read("a"))),
      lambda: refused(lambda: connect(url)),
      lambda: refused(lambda: asyncio.run(aconnect())),
      lambda: child(lambda: refused(lambda: store.head("a"))),
      close, drop)
store.append("a", Event("E"))
store.close()
"""
    assert run(script, ministack, url) == [[0]] * 7


def test_an_async_store_in_a_child_is_refused_and_can_be_closed(ministack: Server, url: str) -> None:
    """The store of the parent's loop, used by a loop of the child."""
    script = """
async def main():
    store = await connect_async(url)
    await store.append("a", Event("E"))
    return store
store = asyncio.run(main())
tally(lambda: refused(lambda: asyncio.run(store.head("a"))), lambda: asyncio.run(store.close()))
"""
    assert run(script, ministack, url) == [[0], [0]]


def test_children_of_a_process_that_made_no_request_work(ministack: Server, url: str) -> None:
    """Also if the parent made a client; each has an own store, and may be the parent of others, which are refused."""
    script = """
from headstream.backends.cloud import CloudBackend
backend = CloudBackend(url)
def work():
    with connect(url) as store:
        store.append("a", Event("E"))
        return child(lambda: refused(lambda: store.head("a")))
tally(work, lambda: connect(backend).close())
"""
    assert run(script, ministack, url) == [[0], [0]]


def test_multiprocessing_by_fork_is_refused_and_by_spawn_works(ministack: Server, url: str, tmp_path: Any) -> None:
    """The error comes out of the pool; what another start method starts is not concerned."""
    (tmp_path / "work.py").write_text(
        "from headstream import connect\ndef head(url):\n    with connect(url) as store:\n        return store.head('a').version\n"
    )
    script = f"""
sys.path.insert(0, {str(tmp_path)!r})
import work
from concurrent.futures import ProcessPoolExecutor
def by(method):
    with ProcessPoolExecutor(1, multiprocessing.get_context(method)) as pool:
        return pool.submit(work.head, url).result(60)
if __name__ == "__main__":
    with connect(url) as store:
        store.append("a", Event("E"))
    print(json.dumps([refused(lambda: by("fork")), by("spawn"), by("forkserver")]))
"""
    (tmp_path / "main.py").write_text(PREPARE + script)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "main.py"), url],
        env={**os.environ, **ministack.environment()},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [0, 1, 1]
