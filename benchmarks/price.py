"""What a feed costs those who append: appends a second on SQLite without one, with one, and advanced every so often.

The clock stops when the last append has returned and the step of an advance that may be under way is over.

``python -m benchmarks.price [repetitions] [appends]``
"""

from __future__ import annotations

import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from threading import Thread
from time import perf_counter, process_time

from rich.console import Console
from rich.table import Table

from benchmarks.rivals import TYPE, payload
from headstream import Event, EventStore, Head, connect

STREAMS = 96
APPENDS = 44 * STREAMS
"""More than the largest ``advance_every``."""
THREADS = (1, 16)
BASE = "no feed"
FOLLOWED = "followed in this process"

WAYS: dict[str, tuple[bool, int]] = {
    BASE: (False, 0),
    "never advanced": (True, 0),
    "advance_every=64": (True, 64),
    "advance_every=256": (True, 256),
    "advance_every=1000": (True, 1000),
    "advance_every=4096": (True, 4096),
    FOLLOWED: (True, 0),
}
"""By name: whether there is a feed, and after how many appends it is advanced."""

Measured = tuple[float, float]
"""Appends a second, and microseconds of processor time an append."""


def write(store: EventStore, threads: int, appends: int) -> None:
    """Appends of one event to streams in turn; each thread has streams of its own."""

    def work(worker: int) -> None:
        mine = range(worker, STREAMS, threads)
        heads: dict[int, Head | int] = dict.fromkeys(mine, 0)
        for version in range(1, appends // STREAMS + 1):
            for stream in mine:
                heads[stream] = store.append(f"order-{stream}", Event(TYPE, payload(version)), expected=heads[stream])

    if threads == 1:
        work(0)
        return
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))


def measure(way: str, threads: int, appends: int) -> Measured:
    """One store, filled in one way."""
    feed, every = WAYS[way]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        store = stack.enter_context(connect(str(Path(folder) / "price.db"), feed=feed, advance_every=every))
        if way == FOLLOWED:
            subscription = store.subscribe()
            follower = Thread(target=lambda: sum(1 for _ in subscription))
            follower.start()
            stack.callback(follower.join)
            stack.callback(subscription.close)
        begin, cpu = perf_counter(), process_time()
        write(store, threads, appends)
        stack.close()
        seconds, cpu = perf_counter() - begin, process_time() - cpu
    return appends / seconds, cpu / appends * 1e6


def main(repetitions: int, appends: int) -> None:
    """Measure, one way after the other in each repetition."""
    appends -= appends % STREAMS
    samples: dict[tuple[int, str], list[Measured]] = {}
    for _ in range(repetitions):
        for threads in THREADS:
            for way in WAYS:
                samples.setdefault((threads, way), []).append(measure(way, threads, appends))
    show(samples, appends)


def show(samples: dict[tuple[int, str], list[Measured]], appends: int) -> None:
    """Medians; a ratio is the median of those within each repetition."""
    table = Table(title=f"the price of a feed: {appends:,} appends of one event, on SQLite", title_justify="left")
    table.add_column("")
    for threads in THREADS:
        table.add_column(f"{threads} thread{'s' if threads > 1 else ''}, 1/s", justify="right")
        table.add_column("of no feed", justify="right")
        table.add_column("CPU, µs", justify="right")
    for way in WAYS:
        cells: list[str] = []
        for threads in THREADS:
            measured, base = samples[threads, way], samples[threads, BASE]
            share = median([ours[0] / without[0] for ours, without in zip(measured, base, strict=True)])
            cells += [f"{median([one[0] for one in measured]):,.0f}", f"{share:.0%}"]
            cells.append(f"{median([one[1] for one in measured]):.0f}")
        table.add_row(way, *cells)
    Console(width=110).print(table)


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 3,
        int(sys.argv[2]) if len(sys.argv) > 2 else APPENDS,
    )
