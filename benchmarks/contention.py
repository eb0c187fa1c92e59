"""16 writers on one stream, each repeating its append until it is committed: commits a second.

A writer learns where the stream ends, appends one event on that condition, and begins anew if another one was faster. Where the store offers it, also without a condition; and
headstream's whole cycle of load, decide, append, in which it repeats by itself.

``python -m benchmarks.contention [repetitions] [commits of a writer]``
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from threading import Barrier, Thread
from time import perf_counter
from typing import Protocol, runtime_checkable

from benchmarks.rivals import HEADSTREAM, TYPE, Headstream, Store, payload
from benchmarks.served import each
from benchmarks.table import Measured, Samples, add, show
from headstream import Decider, Event, EventStore, Snapshots

WRITERS = 16
COMMITS = 40
COUNT = Decider(int, lambda count, _event: count + 1, name="count", snapshots=Snapshots(int))
CONDITIONAL, UNCONDITIONAL, TRANSACT = "on a version", "on any version", "load, decide, append"

Write = Callable[[str, int], None]
"""Appends one event, of a number, to a stream."""


@runtime_checkable
class Pushing(Protocol):
    """A store that appends without a condition."""

    def push(self, stream: str, number: int) -> None:
        """Append one event after whatever is there."""


def ways(store: Store) -> dict[str, Write]:
    """How a writer can append, by name."""

    def on_a_version(stream: str, number: int) -> None:
        while not store.follow(stream, store.tail(stream), number):
            pass

    found: dict[str, Write] = {CONDITIONAL: on_a_version}
    if isinstance(store, Pushing):
        found[UNCONDITIONAL] = store.push
    if isinstance(store, Headstream):
        found[TRANSACT] = partial(transact, store.store)
    return found


def transact(store: EventStore, stream: str, number: int) -> None:
    """A decision that does not care."""
    store.transact(stream, COUNT, lambda _: Event(TYPE, payload(number)))


def contend(write: Write, stream: str, commits: int) -> float:
    """Commits a second."""
    barrier = Barrier(WRITERS + 1)

    def work(writer: int) -> None:
        barrier.wait()
        for number in range(commits):
            write(stream, writer * commits + number)

    workers = [Thread(target=work, args=(number,)) for number in range(WRITERS)]
    for worker in workers:
        worker.start()
    barrier.wait()
    begin = perf_counter()
    for worker in workers:
        worker.join()
    return WRITERS * commits / (perf_counter() - begin)


def main(repetitions: int, commits: int) -> list[Measured]:
    """Measure, one store after the other in each repetition."""
    for number in range(WRITERS * commits):
        payload(number)
    samples: Samples = {}
    missing: list[str] = []

    def measure(name: str, store: Store) -> None:
        for number, (way, write) in enumerate(ways(store).items()):
            stream = f"contended-{number}"
            add(samples, way, name, contend(write, stream, commits))
            if (count := store.read(stream, 0, None)) != WRITERS * commits:
                raise SystemExit(f"{name} has {count} events of {WRITERS * commits}")

    for _ in range(repetitions):
        each(measure, missing)
    title = f"{WRITERS} writers on one stream, commits a second"
    return [show("contention", title, samples, ours=HEADSTREAM, lower_is_better=False, missing=missing)]


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 3,
        int(sys.argv[2]) if len(sys.argv) > 2 else COMMITS,
    )
