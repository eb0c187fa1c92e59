"""Reading: whole streams of 10, 1,000 and 10,000 events, the newest ten, ten from the middle; memory over a million.

``python -m benchmarks.read [repetitions] [events for the memory test]``
"""

from __future__ import annotations

import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from benchmarks.rivals import STORES, TYPE, Store, payload
from benchmarks.table import Samples, add, show
from headstream import Event, connect

LENGTHS = (10, 1_000, 10_000)


def fill(store: Store) -> None:
    """A stream of each length, appended ten at a time."""
    for length in LENGTHS:
        for first in range(1, length, 10):
            store.append(f"s{length}", first, 10)


def timed(read: Callable[[], int], expected: int) -> float:
    """Milliseconds, the best of three."""
    best = float("inf")
    for _ in range(3):
        begin = perf_counter()
        count = read()
        best = min(best, (perf_counter() - begin) * 1000)
        if count != expected:
            raise SystemExit(f"read {count} events instead of {expected}")
    return best


def measure(store: Store, samples: Samples) -> None:
    """All reads of one store."""
    for length in LENGTHS:
        add(samples, f"load {length:,}", store.name, timed(lambda n=length: store.read(f"s{n}", 0, None), length))  # type: ignore[misc]
    longest = f"s{LENGTHS[-1]}"
    add(samples, "last 10 of 10,000", store.name, timed(lambda: store.last(longest, 10), 10))
    add(samples, "10 from the middle", store.name, timed(lambda: store.read(longest, 5_000, 10), 10))


def memory(events: int) -> None:
    """How much Python memory reading a long stream takes at its peak."""
    with tempfile.TemporaryDirectory() as folder, connect(str(Path(folder) / "long.db")) as store:
        for first in range(0, events, 1000):
            store.append("long", [Event(TYPE, payload(number % 10_000)) for number in range(first, first + 1000)])
        begin = perf_counter()
        count = sum(1 for _ in store.read("long"))
        seconds = perf_counter() - begin
        tracemalloc.start()
        for _ in store.read("long"):
            pass
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        head = store.head("long")
        print(
            f"reading {count:,} events: {count / seconds:,.0f} a second, at most {peak / 2**20:.1f} MiB of memory; {head}"
        )


def main(repetitions: int, events: int) -> None:
    """Measure, one store after the other in each repetition."""
    samples: Samples = {}
    for _ in range(repetitions):
        for make in STORES:
            with tempfile.TemporaryDirectory() as folder:
                store = make(Path(folder))
                fill(store)
                measure(store, samples)
                store.close()
    show("reads, milliseconds (JSON decoded)", samples, ours="headstream", lower_is_better=True, digits=3)
    memory(events)


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 3,
        int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000,
    )
