"""Reading: whole streams of 10, 1,000 and 10,000 events, the newest ten, ten from the middle. Longer streams are the subject of :mod:`benchmarks.long`.

``python -m benchmarks.read [repetitions]``
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter

from benchmarks.rivals import HEADSTREAM, Store
from benchmarks.served import each
from benchmarks.table import Measured, Samples, add, show

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


def measure(name: str, store: Store, samples: Samples) -> None:
    """All reads of one store."""
    for length in LENGTHS:
        add(samples, f"load {length:,}", name, timed(lambda n=length: store.read(f"s{n}", 0, None), length))  # type: ignore[misc]
    longest = f"s{LENGTHS[-1]}"
    add(samples, "last 10 of 10,000", name, timed(lambda: store.last(longest, 10), 10))
    add(samples, "10 from the middle", name, timed(lambda: store.read(longest, 5_000, 10), 10))


def main(repetitions: int) -> list[Measured]:
    """Measure, one store after the other in each repetition."""
    samples: Samples = {}
    missing: list[str] = []

    def run(name: str, store: Store) -> None:
        fill(store)
        measure(name, store, samples)

    for _ in range(repetitions):
        each(run, missing)
    title = "reads, milliseconds (JSON decoded)"
    return [show("read", title, samples, ours=HEADSTREAM, lower_is_better=True, digits=3, missing=missing)]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
