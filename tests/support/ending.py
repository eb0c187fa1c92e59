"""A program that has imported headstream, makes no request, and forks children that use a store and end, each in its own way.

Run with the URL of a store, a seed, a number of children and a folder. It writes a line of JSON for each child. What a child is
about to append it notes in the file ``notes`` of the folder, and again when it is acknowledged.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from headstream import AsyncEventStore, Event, EventStore, HeadstreamError, connect, connect_async
from headstream.backends import cloud, files, sqlite

IMPORTED: Final = (cloud, files, sqlite)
"""So that a child need not."""
TOGETHER: Final = 3
"""Children at a time."""
HANGING: Final = 60
"""Seconds after which a child counts as hanging, and is ended by SIGALRM."""


class Child:
    """What a child does, and notes."""

    def __init__(self, url: str, number: int, notes: int, chance: random.Random) -> None:
        self.url = url
        self.chance = chance
        self.appended = threading.Event()
        """Set when something was acknowledged."""
        self.ended = False
        self._number = number
        self._notes = notes
        self._events = count(1)

    def connect(self) -> EventStore:
        """The store."""
        return connect(self.url)

    def _note(self) -> tuple[str, Event]:
        name = f"{self._number}-{next(self._events)}"
        os.write(self._notes, f"? {name}\n".encode())
        stream = self.chance.choice([f"child-{self._number}", f"child-{self._number}", "shared"])
        return stream, Event("E", name)

    def _acknowledged(self, event: Event) -> None:
        os.write(self._notes, f"! {event.data}\n".encode())
        self.appended.set()

    def append(self, store: EventStore, times: int = 1) -> None:
        """Append, one event at a time."""
        for _ in range(times):
            stream, event = self._note()
            store.append(stream, event, publish=self.chance.random() < 0.1)
            self._acknowledged(event)

    async def append_async(self, store: AsyncEventStore, times: int = 1) -> None:
        """The same for asyncio."""
        for _ in range(times):
            stream, event = self._note()
            await store.append(stream, event)
            self._acknowledged(event)

    def for_ever(self, store: EventStore) -> None:
        """Append until the store is closed, or this child has ended so far."""
        with suppress(HeadstreamError):
            while not self.ended:
                self.append(store)

    def beside(self, work: Callable[[], object], *, daemon: bool = True) -> threading.Thread:
        """A thread that does ``work``."""
        thread = threading.Thread(target=work, daemon=daemon)
        thread.start()
        return thread


# --- the ways to end ------------------------------------------------------------------------------------------------


def out_of_atexit(child: Child) -> None:
    store = child.connect()
    if child.chance.random() < 0.5:
        atexit.register(store.close)
    atexit.register(child.append, store, 2)
    child.append(store)


def out_of_atexit_with_a_store_of_its_own(child: Child) -> None:
    def late() -> None:
        with child.connect() as store:
            child.append(store, 2)

    atexit.register(late)


def out_of_atexit_by_asyncio(child: Child) -> None:
    async def late() -> None:
        async with connect_async(child.url) as store:
            await child.append_async(store, 2)

    atexit.register(lambda: asyncio.run(late()))
    asyncio.run(late())


def amid_a_daemon(child: Child) -> None:
    store = child.connect()
    child.beside(lambda: child.for_ever(store))
    child.appended.wait()


def after_a_late_thread(child: Child) -> None:
    store = child.connect()

    def late() -> None:
        threading.main_thread().join()
        child.append(store, 3)
        if child.chance.random() < 0.5:
            store.close()

    child.beside(late, daemon=False)
    child.append(store)


def by_sys_exit_in_a_thread(child: Child) -> None:
    store = child.connect()

    def leaves() -> NoReturn:
        child.append(store)
        sys.exit(9)

    child.beside(leaves, daemon=False)
    child.append(store)


def by_sys_exit(child: Child) -> NoReturn:
    with child.connect() as store:
        child.beside(lambda: child.for_ever(store))
        child.append(store, 2)
        sys.exit(5)


def by_an_error(child: Child) -> NoReturn:
    if child.chance.random() < 0.5:
        with child.connect() as store:
            child.append(store)
            raise ZeroDivisionError
    child.append(child.connect())
    raise ZeroDivisionError


def by_sigterm(child: Child) -> NoReturn:
    store = child.connect()
    for _ in range(2):
        child.beside(lambda: child.for_ever(store))
    child.appended.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    child.for_ever(store)
    sys.exit(1)


def by_a_handled_sigterm(child: Child) -> NoReturn:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with child.connect() as store:
        _send_soon(child, signal.SIGTERM)
        child.for_ever(store)
    sys.exit(1)


def by_ctrl_c(child: Child) -> NoReturn:
    with child.connect() as store:
        child.beside(lambda: child.for_ever(store))
        _send_soon(child, signal.SIGINT)
        child.for_ever(store)
    sys.exit(1)


def by_ctrl_c_of_asyncio(child: Child) -> NoReturn:
    async def main() -> None:
        async with connect_async(child.url) as store:
            _send_soon(child, signal.SIGINT)
            await child.append_async(store, 100_000)

    asyncio.run(main())
    sys.exit(1)


def by_os_exit(child: Child) -> NoReturn:
    store = child.connect()
    child.beside(lambda: child.for_ever(store))
    child.appended.wait()
    os._exit(7)


def by_cancelled_tasks(child: Child) -> None:
    async def appends(store: AsyncEventStore) -> None:
        with suppress(HeadstreamError):  # it was closed
            await child.append_async(store, 50)

    async def main() -> None:
        async with connect_async(child.url) as store:
            tasks = [asyncio.create_task(appends(store)) for _ in range(3)]
            await asyncio.sleep(child.chance.uniform(0, 0.01))
            if child.chance.random() < 0.5:
                for task in asyncio.all_tasks() - {asyncio.current_task()}:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
            else:
                tasks.clear()  # asyncio.run cancels them when the store is closed

    asyncio.run(main())


def amid_an_advance_of_asyncio(child: Child) -> None:
    async def main() -> None:
        async with connect_async(child.url) as store:
            await child.append_async(store, child.chance.randint(1, 4))

    asyncio.run(main())


def amid_an_advance(child: Child) -> None:
    store = child.connect()
    child.append(store, child.chance.randint(1, 4))
    if child.chance.random() < 0.5:
        store.close()


def without_a_close_of_asyncio(child: Child) -> None:
    async def main() -> None:
        store = await connect_async(child.url)
        await child.append_async(store, 3)

    asyncio.run(main())


def closed_twice(child: Child) -> None:
    with child.connect() as store:
        child.append(store, 2)
        store.close()
    atexit.register(store.close)
    child.beside(store.close, daemon=False)


def closed_amid_appends(child: Child) -> None:
    with child.connect() as store:
        threads = [child.beside(lambda: child.for_ever(store), daemon=False) for _ in range(2)]
        child.appended.wait()
    child.ended = True
    for thread in threads:
        thread.join()


def amid_a_read(child: Child) -> None:
    store = child.connect()
    child.append(store, 3)
    for reading in (store.read("shared"), store.feed()):
        next(iter(reading))
    subscription = store.subscribe(checkpoint="ends")
    next(subscription)


def without_stdout(child: Child) -> None:
    if child.chance.random() < 0.5:
        sys.stdout.close()
    else:
        os.close(1)
    with child.connect() as store:
        child.append(store, 2)


def _send_soon(child: Child, number: signal.Signals) -> None:
    """To the main thread, at some moment after the first append was acknowledged."""
    pause = child.chance.uniform(0, 0.01)

    def send() -> None:
        child.appended.wait()
        threading.Event().wait(pause)
        os.kill(os.getpid(), number)

    child.beside(send)


class End(NamedTuple):
    """A way to end, its exit code, and whether Python tells of an error."""

    way: Callable[[Child], None]
    code: int = 0
    error: str = ""


ENDS: Final = (
    End(out_of_atexit),
    End(out_of_atexit_with_a_store_of_its_own),
    End(out_of_atexit_by_asyncio),
    End(amid_a_daemon),
    End(after_a_late_thread),
    End(by_sys_exit_in_a_thread),
    End(by_sys_exit, 5),
    End(by_an_error, 1, "ZeroDivisionError"),
    End(by_sigterm, -signal.SIGTERM),
    End(by_a_handled_sigterm, 143),
    End(by_ctrl_c, -signal.SIGINT, "KeyboardInterrupt"),
    End(by_ctrl_c_of_asyncio, -signal.SIGINT, "KeyboardInterrupt"),
    End(by_os_exit, 7),
    End(by_cancelled_tasks),
    End(amid_an_advance_of_asyncio),
    End(amid_an_advance),
    End(without_a_close_of_asyncio),
    End(closed_twice),
    End(closed_amid_appends),
    End(amid_a_read),
    End(without_stdout),
)


# --- the program ----------------------------------------------------------------------------------------------------


def main(url: str, seed: str, children: str, folder: Path) -> None:
    """Fork the children, some at a time. Returns in the children, too: they end as a program does."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    notes = os.open(folder / "notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    running: dict[int, int] = {}
    for number in range(int(children)):
        child = os.fork()
        if child == 0:
            signal.alarm(HANGING)
            os.dup2(os.open(folder / f"{number}", os.O_WRONLY | os.O_CREAT), 2)
            chance = random.Random(f"{seed}-{number}")
            ENDS[number % len(ENDS)].way(Child(url, number, notes, chance))
            return
        running[child] = number
        while len(running) == TOGETHER or (running and number + 1 == int(children)):
            _tell(running, folder)


def _tell(running: dict[int, int], folder: Path) -> None:
    """Wait for a child, and write what became of it."""
    child, status = os.waitpid(-1, 0)
    number = running.pop(child)
    end = ENDS[number % len(ENDS)]
    line = {
        "child": f"{number} {end.way.__name__}",
        "codes": [os.waitstatus_to_exitcode(status), end.code],
        "error": end.error,
        "said": (folder / f"{number}").read_text(),
    }
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4]))
