"""Durable appends a second: serial, 16 threads, 16 threads on one stream's neighbours, batches of 100.

``python -m benchmarks.append [repetitions]``
"""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path
from time import perf_counter

from benchmarks.rivals import STORES, Store, payload
from benchmarks.table import Samples, add, show

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


def main(repetitions: int) -> None:
    """Measure, one store after the other in each repetition."""
    for number in range(1, BATCHES * 100 + 1):
        payload(number)
    samples: Samples = {}
    sizes: Samples = {}
    workloads = {"1 event a call": serial, "16 threads": threads, "batches of 100": batches}
    for repetition in range(repetitions):
        for make in STORES:
            with tempfile.TemporaryDirectory() as folder:
                store = make(Path(folder))
                for name, workload in workloads.items():
                    add(samples, name, store.name, workload(store, f"{name}-{repetition}"))
                store.close()
                written = SERIAL + THREADS * PER_THREAD + BATCHES * 100
                size = sum(file.stat().st_size for file in Path(folder).iterdir())
                add(sizes, "on disk, of all these", store.name, size / written)
    show("durable appends, events a second", samples, ours="headstream", lower_is_better=False)
    show("bytes for an event of 200", sizes, ours="headstream", lower_is_better=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
