"""A long stream: what each operation costs when it has a hundred, ten thousand and a million events, on SQLite.

Reads are those of a client that has seen nothing yet, so that no cache helps; connecting is not counted. Requests and bytes are those that a cloud would be
sent, too.

``python -m benchmarks.long [rounds] [events of the longest stream]``
"""

from __future__ import annotations

import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks.counting import Counting, Counts
from benchmarks.rivals import PAYLOADS, TYPE, payload
from benchmarks.table import Measured
from headstream import Decider, Event, EventStore, Head, Snapshots, connect
from headstream.backends.sqlite import SqliteBackend

EVENTS = 1_000_000
SHORTER = (100, 10_000)
EACH = 10
"""Events in a changeset."""
ROUNDS = 20
APPENDS = 200
STREAM = "long"
PAGE = 100
MIB = 1 << 20
KEEP_EVERY = 100
"""Events after which a decider keeps its state."""
APPEND, SNAPSHOT = "append", "load with snapshot"

Operation = Callable[[EventStore], int]
"""Does it; how many events there were."""


class Cost(NamedTuple):
    """Of one operation at one length, at the median."""

    milliseconds: float
    requests: float
    bytes: float


class Whole(NamedTuple):
    """Of reading everything."""

    rate: float
    """Events a second."""
    memory: float
    """MiB at the peak."""


def fill(path: Path, length: int) -> None:
    """A stream of so many events; its store has no feed, which would be the same at any length."""
    with connect(str(path), feed=False) as store:
        head: Head | int = 0
        for first in range(0, length, EACH):
            events = [Event(TYPE, payload(number % PAYLOADS)) for number in range(first, first + EACH)]
            head = store.append(STREAM, events, expected=head)


def reads(length: int) -> dict[str, tuple[Operation, int]]:
    """What is read, by name, and how many events that are."""
    middle = length // 2

    def read(**options: Any) -> Operation:
        return lambda store: len([event.data for event in store.read(STREAM, **options)])

    return {
        "last 10": (read(limit=10, backwards=True), 10),
        "10 from the middle": (read(after=middle, limit=10), 10),
        f"{PAGE} backwards from the end": (read(limit=PAGE, backwards=True), PAGE),
        f"{PAGE} backwards from the middle": (read(before=middle + 1, limit=PAGE, backwards=True), min(PAGE, middle)),
    }


def load(path: Path) -> Operation:
    """By a decider that has kept its state just now; it decides nothing."""
    snapshots: Snapshots[int] = Snapshots(int, every=KEEP_EVERY)
    count = Decider(lambda: 0, lambda count, _event: count + 1, name="count", snapshots=snapshots)
    with connect(str(path)) as store:
        store.transact(STREAM, count, lambda _: Event(TYPE, payload(1)))
    return lambda store: store.transact(STREAM, count, lambda _: None).state


def cost_of_read(path: Path, operation: Operation, expected: int, rounds: int) -> Cost:
    """By new clients."""
    times: list[float] = []
    counts: list[Counts] = []
    for _ in range(rounds):
        counting = Counting(SqliteBackend(path))
        with connect(counting) as store:
            counting.taken()
            begin = perf_counter()
            found = operation(store)
            times.append((perf_counter() - begin) * 1000)
            counts.append(counting.taken())
        if found != expected:
            raise SystemExit(f"read {found} events instead of {expected}")
    return Cost(median(times), median(count.requests for count in counts), median(count.bytes for count in counts))


def cost_of_append(path: Path) -> Cost:
    """Of one event, by a client that holds the head. A mean of requests and bytes: now and then a tail is sealed."""
    counting = Counting(SqliteBackend(path))
    times: list[float] = []
    counts: list[Counts] = []
    with connect(counting) as store:
        head = store.append(STREAM, Event(TYPE, payload(0)))
        for number in range(APPENDS):
            counting.taken()
            begin = perf_counter()
            head = store.append(STREAM, Event(TYPE, payload(number)), expected=head)
            times.append((perf_counter() - begin) * 1000)
            counts.append(counting.taken())
    return Cost(median(times), fmean(count.requests for count in counts), fmean(count.bytes for count in counts))


def whole(path: Path, length: int) -> Whole:
    """Read everything twice: once for the time, once for the memory, since its trace takes time."""
    with connect(str(path)) as store:
        begin = perf_counter()
        count = sum(1 for _ in store.read(STREAM))
        seconds = perf_counter() - begin
    if count != length:
        raise SystemExit(f"read {count} events instead of {length}")
    with connect(str(path)) as store:
        tracemalloc.start()
        for _ in store.read(STREAM):
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    return Whole(count / seconds, peak / MIB)


def measure(path: Path, length: int, rounds: int) -> tuple[dict[str, Cost], Whole]:
    """Everything at one length."""
    fill(path, length)
    everything = whole(path, length)
    costs = {
        name: cost_of_read(path, operation, expected, rounds) for name, (operation, expected) in reads(length).items()
    }
    costs[SNAPSHOT] = cost_of_read(path, load(path), length + 1, rounds)
    return {APPEND: cost_of_append(path), **costs}, everything


def main(rounds: int, events: int) -> list[Measured]:
    """Measure and print."""
    costs: dict[int, dict[str, Cost]] = {}
    everything: dict[int, Whole] = {}
    for length in sorted({*SHORTER, events}):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            costs[length], everything[length] = measure(folder / "long.db", length, rounds)
    show(costs, everything)
    samples = {
        name: {str(length): [by_name[name].milliseconds] for length, by_name in costs.items()} for name in costs[events]
    }
    return [Measured("long", "a long stream: milliseconds by events", samples, lower_is_better=True, lines=True)]


def show(costs: dict[int, dict[str, Cost]], everything: dict[int, Whole]) -> None:
    """Milliseconds, and what was sent."""
    table = Table(title="a long stream: milliseconds; requests, KiB", title_justify="left")
    table.add_column("events", no_wrap=True)
    for length in costs:
        table.add_column(f"{length:,}", justify="right")
        table.add_column("sent", justify="right")
    for name in next(iter(costs.values())):
        row = [by_name[name] for by_name in costs.values()]
        cells = [(f"{cost.milliseconds:.3f}", f"{cost.requests:.3g}; {cost.bytes / 1024:.1f}") for cost in row]
        table.add_row(name, *(cell for pair in cells for cell in pair))
    table.add_section()
    table.add_row("all, events a second", *(cell for one in everything.values() for cell in (f"{one.rate:,.0f}", "")))
    table.add_row("… MiB of memory", *(cell for one in everything.values() for cell in (f"{one.memory:.1f}", "")))
    Console(width=130).print(table)


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS,
        int(sys.argv[2]) if len(sys.argv) > 2 else EVENTS,
    )
