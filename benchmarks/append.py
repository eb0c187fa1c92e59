"""Durable appends a second: serial, 16 threads, each on a stream of its own, batches of 100; and the bytes that all of them take, feed included.

``python -m benchmarks.append [repetitions]``
"""

from __future__ import annotations

import sys
import threading
from time import perf_counter

from benchmarks.rivals import HEADSTREAM, Store, payload
from benchmarks.served import each
from benchmarks.table import Measured, Samples, add, show

SERIAL = 2000
THREADS = 16
PER_THREAD = 150
BATCHES = 60


def serial(store: Store, tag: str) -> float:
    """One event a call, 100 streams in turn."""
    begin = perf_counter()
    for number in range(SERIAL):
        store.append(f"{tag}-{number % 100}", number // 100 + 1, 1)
    return SERIAL / (perf_counter() - begin)


def threads(store: Store, tag: str) -> float:
    """One event a call, each of 16 threads on a stream of its own."""

    def write(stream: str) -> None:
        for version in range(1, PER_THREAD + 1):
            store.append(stream, version, 1)

    workers = [threading.Thread(target=write, args=(f"{tag}-{number}",)) for number in range(THREADS)]
    begin = perf_counter()
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return THREADS * PER_THREAD / (perf_counter() - begin)


def batches(store: Store, tag: str) -> float:
    """100 events a call, one stream."""
    begin = perf_counter()
    for batch in range(BATCHES):
        store.append(tag, batch * 100 + 1, 100)
    return BATCHES * 100 / (perf_counter() - begin)


WORKLOADS = {"1 event a call": serial, "16 threads": threads, "batches of 100": batches}
EVENTS = SERIAL + THREADS * PER_THREAD + BATCHES * 100


def main(repetitions: int) -> list[Measured]:
    """Measure, one store after the other in each repetition."""
    for number in range(1, BATCHES * 100 + 1):
        payload(number)
    samples: Samples = {}
    sizes: Samples = {}
    missing: list[str] = []

    def measure(name: str, store: Store) -> None:
        for workload, run in WORKLOADS.items():
            add(samples, workload, name, run(store, workload))
        store.publish()

    for _ in range(repetitions):
        for name, size in each(measure, missing).items():
            add(sizes, "on disk, of all these", name, size / EVENTS)
    return [
        show(
            "append",
            "durable appends, events a second",
            samples,
            ours=HEADSTREAM,
            lower_is_better=False,
            missing=missing,
        ),
        show("sizes", "bytes on disk for an event of 200", sizes, ours=HEADSTREAM, lower_is_better=True),
    ]


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
