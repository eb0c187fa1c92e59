"""From an append to a subscriber, in milliseconds, beside the cost of one flush and of one commit in the same run.

``python -m benchmarks.latency [rounds] [events]``
"""

from __future__ import annotations

import multiprocessing
import os
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from random import Random
from statistics import quantiles
from threading import Thread
from time import perf_counter, sleep
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks import servers
from benchmarks.rivals import TYPE, payload
from headstream import Event, EventStore, connect

EVENTS = 100
"""In a round; the rounds alternate, since the disk has moods."""
BUSY = 0.005
"""Seconds between two appends, on average."""
IDLE = 0.25
"""The same, so that whoever polls has reached its longest pause."""
IDLE_SHARE = 5
"""One event of so many is measured idle: it takes long."""
WARM = 10
"""Events at the beginning that do not count."""
PATIENCE = 30

Times = list[tuple[float, float, float]]
"""When an append was called, when it returned, and when a subscriber had the event."""


def measure(append: Callable[[int], object], seen: Callable[[int], float] | None, events: int, pause: float) -> Times:
    """Append events, one after the other, each after the one before it was seen; or where nobody sees them, returned."""
    chance = Random(7)
    times: Times = []
    for number in range(1, events + WARM + 1):
        sleep(chance.uniform(0, 2 * pause))
        called = perf_counter()
        append(number)
        returned = perf_counter()
        times.append((called, returned, returned if seen is None else seen(number)))
    return times[WARM:]


# --- subscribers ---------------------------------------------------------------------------------------------------


@contextmanager
def in_thread(numbers: Iterator[int], stop: Callable[[], object]) -> Iterator[Callable[[int], float]]:
    """Follow in a thread; a function that waits for a number, and says when it came."""
    told: SimpleQueue[tuple[int, float]] = SimpleQueue()

    def follow() -> None:
        for number in numbers:
            told.put((number, perf_counter()))

    thread = Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield lambda wanted: next(
            at for number, at in iter(lambda: told.get(timeout=PATIENCE), None) if number == wanted
        )
    finally:
        stop()
        thread.join(PATIENCE)


def _await(wanted: int, take: Callable[[], tuple[int, float]]) -> float:
    """When a number came."""
    while True:
        number, at = take()
        if number == wanted:
            return at


def _follow_elsewhere(path: str, pipe: Connection) -> None:
    """Follow in a process of its own; times can be compared, since the clock is that of the machine."""
    with connect(path) as store, store.subscribe() as subscription:
        pipe.send((0, 0.0))
        for event in subscription:
            pipe.send((event.data["order"], perf_counter()))


@contextmanager
def in_process(path: Path) -> Iterator[Callable[[int], float]]:
    """Follow in another process."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_follow_elsewhere, args=(str(path), theirs), daemon=True)
    process.start()
    try:
        seen = partial(_await, take=partial(_receive, ours))
        seen(0)
        yield seen
    finally:
        process.terminate()
        process.join(PATIENCE)


def _receive(pipe: Connection) -> tuple[int, float]:
    if not pipe.poll(PATIENCE):
        raise SystemExit(f"nothing was seen within {PATIENCE} seconds")
    number, at = pipe.recv()
    return number, at


# --- what is measured ----------------------------------------------------------------------------------------------


def headstream_here(store: EventStore, events: int, pause: float) -> Times:
    """Append and follow in this process."""
    subscription = store.subscribe()
    numbers = (event.data["order"] for event in subscription)
    with in_thread(numbers, subscription.close) as seen:
        return measure(lambda number: store.append("s", Event(TYPE, payload(number))), seen, events, pause)


def headstream_elsewhere(path: Path, events: int, pause: float) -> Times:
    """Append in this process, follow in another one."""
    with connect(str(path)) as store, in_process(path) as seen:
        return measure(lambda number: store.append("s", Event(TYPE, payload(number))), seen, events, pause)


def uma(folder: Path, events: int, pause: float) -> Times:
    """UmaDB: append and follow in this process, each with a client of its own."""
    with servers.umadb(folder) as url:
        import umadb  # noqa: PLC0415 - it may be missing

        writer, reader = umadb.Client(url), umadb.Client(url)
        subscription = reader.subscribe()

        def numbers() -> Iterator[int]:
            try:
                for event in subscription:
                    yield msgspec.json.decode(event.event.data)["order"]
            except umadb.CancelledByUserError:
                return

        with in_thread(numbers(), subscription.cancel) as seen:
            return measure(
                lambda number: writer.append([umadb.Event(TYPE, msgspec.json.encode(payload(number)), ["s"])]),
                seen,
                events,
                pause,
            )


def postgres(events: int, pause: float) -> Times:
    """``eventsourcing`` on PostgreSQL, which notifies."""
    from uuid import uuid4  # noqa: PLC0415

    from eventsourcing.persistence import StoredEvent  # noqa: PLC0415

    with ExitStack() as stack:
        place = stack.enter_context(servers.postgres())
        from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore  # noqa: PLC0415 - optional

        datastore = PostgresDatastore("postgres", str(place), 5432, "postgres", "none", pool_size=5)
        stack.callback(datastore.close)
        recorder = PostgresApplicationRecorder(datastore)
        recorder.create_table()
        stream = uuid4()
        subscription: Any = stack.enter_context(recorder.subscribe())
        numbers = (msgspec.json.decode(event.state)["order"] for event in subscription)
        with in_thread(numbers, subscription.stop) as seen:
            return measure(
                lambda number: recorder.insert_events(
                    [StoredEvent(stream, number, TYPE, msgspec.json.encode(payload(number)))]
                ),
                seen,
                events,
                pause,
            )


def flushes(folder: Path, events: int) -> Times:
    """One write of 4 KiB and fdatasync: what the disk takes."""
    block = os.urandom(4096)
    sync = getattr(os, "fdatasync", os.fsync)
    with (folder / "flushes").open("wb", buffering=0) as file:

        def flush(_number: int) -> None:
            file.write(block)
            sync(file.fileno())

        return measure(flush, None, events, BUSY)


def commits(folder: Path, events: int) -> Times:
    """One bare INSERT and COMMIT in SQLite (WAL, synchronous=FULL)."""
    connection = sqlite3.connect(folder / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE events (number INTEGER PRIMARY KEY, data TEXT)")

    def commit(number: int) -> None:
        connection.execute("INSERT INTO events VALUES (?, ?)", (number, msgspec.json.encode(payload(number)).decode()))

    try:
        return measure(commit, None, events, BUSY)
    finally:
        connection.close()


# --- the table -----------------------------------------------------------------------------------------------------


def _spread(values: list[float]) -> tuple[str, str]:
    """Median and 99th percentile in milliseconds."""
    cuts = quantiles(values, n=100, method="inclusive")
    return f"{cuts[49] * 1000:.2f}", f"{cuts[98] * 1000:.2f}"


def cases(events: int) -> dict[str, Callable[[Path], Times]]:
    """What is measured, by name; each gets an empty folder."""
    few = max(events // IDLE_SHARE, 10)

    def here(url: str, count: int, pause: float) -> Times:
        with connect(url) as store:
            return headstream_here(store, count, pause)

    return {
        "a flush of the disk": lambda folder: flushes(folder, events),
        "a bare commit in SQLite": lambda folder: commits(folder, events),
        "same process, memory": lambda _folder: here("memory://", events, BUSY),
        "same process, SQLite": lambda folder: here(str(folder / "a.db"), events, BUSY),
        "same process, SQLite, 4 events/s": lambda folder: here(str(folder / "b.db"), few, IDLE),
        "other process, SQLite": lambda folder: headstream_elsewhere(folder / "c.db", events, BUSY),
        "other process, SQLite, 4 events/s": lambda folder: headstream_elsewhere(folder / "d.db", few, IDLE),
        "UmaDB": lambda folder: uma(folder, events, BUSY),
        "eventsourcing, PostgreSQL": lambda _folder: postgres(events, BUSY),
    }


def main(rounds: int, events: int) -> None:
    """Measure and print."""
    times: dict[str, Times | None] = {}
    for _ in range(rounds):
        for name, case in cases(events).items():
            with tempfile.TemporaryDirectory() as folder:
                try:
                    times[name] = (times.get(name) or []) + case(Path(folder))
                except servers.NotInstalled:
                    times[name] = None
    table = Table(title="from an append to a subscriber, milliseconds", title_justify="left")
    for name in ("", "from its call: median", "p99", "from its return: median", "p99"):
        table.add_column(name, justify="right" if name else "left")
    for name, found in times.items():
        table.add_row(name, *(_cells(found) if found else ("not installed",)))
    Console(width=110).print(table)


def _cells(times: Times) -> list[str]:
    """Medians and 99th percentiles; from the return only where it is not the end."""
    from_call = [seen - called for called, _, seen in times]
    from_return = [seen - returned for _, returned, seen in times]
    return [*_spread(from_call), *(_spread(from_return) if any(from_return) else ("–", "–"))]


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 3,
        int(sys.argv[2]) if len(sys.argv) > 2 else EVENTS,
    )
