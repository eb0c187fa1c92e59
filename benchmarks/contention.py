"""16 writers on one stream, each repeating its append until it is committed: commits a second.

A writer learns where the stream ends, appends one event on that condition, and begins anew if another one was faster. Where the store offers it, also without a condition; and
headstream's whole cycle of load, decide, append, in which it repeats by itself.

``python -m benchmarks.contention [repetitions] [commits of a writer]``

Then how writers that are processes of their own share a stream: what each of them gets, and how long the slowest append takes.

``python -m benchmarks.contention shares [seconds]`` shows that alone.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Barrier, Thread
from time import monotonic, perf_counter
from typing import Protocol, runtime_checkable

from benchmarks.network import Network
from benchmarks.rivals import HEADSTREAM, TYPE, Headstream, Store, payload
from benchmarks.served import each
from benchmarks.table import Measured, Samples, add, show
from headstream import Decider, Event, EventStore, Snapshots, connect
from servers.azure import Azurite

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


# --- shares ------------------------------------------------------------------------------------------------------

LATENCY = 0.02
"""Seconds that a request takes on the slow network, at the median."""
SHARED = 60.0
"""Seconds."""


def share(pipe: Connection, url: str, seconds: float) -> None:
    """A process that appends to one stream without a pause: how often, and the seconds of its slowest append."""
    with connect(url) as store:
        pipe.send(None)
        pipe.recv()
        end = monotonic() + seconds
        appends, slowest = 0, 0.0
        while (began := monotonic()) < end:
            store.append("s", Event(TYPE, {"number": appends}))
            appends += 1
            slowest = max(slowest, monotonic() - began)
    pipe.send((appends, slowest))


def shares(url: str, writers: int, seconds: float) -> str:
    """What each of some processes gets of a stream, in a line."""
    connect(url, create=True).close()
    context = multiprocessing.get_context("spawn")
    pipes = []
    for _ in range(writers):
        ours, theirs = context.Pipe()
        context.Process(target=share, args=(theirs, url, seconds), daemon=True).start()
        pipes.append(ours)
    for pipe in pipes:
        pipe.recv()
    for pipe in pipes:
        pipe.send(None)
    found = sorted([pipe.recv() for pipe in pipes])
    counts = [appends for appends, _ in found]
    return (
        f"{writers:>2} writers: {sum(counts) / seconds:6.1f} appends a second; slowest append {max([slow for _, slow in found]):5.2f} s; "
        f"smallest share {counts[0] / max(counts[-1], 1):4.2f} of the largest; {counts}"
    )


@contextmanager
def slow_azurite() -> Iterator[Callable[[], str]]:
    """URLs of new stores behind a slow network."""
    with Azurite() as server, Network(server.address, latency=LATENCY) as network:
        os.environ.update(server.environment(network.address))
        yield lambda: server.url(f"{server.fresh_bucket()}/shop")


def show_shares(seconds: float) -> None:
    """How processes share a stream, over a slow network and on this machine."""
    print(f"one stream, {seconds:.0f} s; Azurite, {1000 * LATENCY:.0f} ms a request", flush=True)
    with slow_azurite() as new:
        for writers in (1, 2, 4, 16):
            print(shares(new(), writers, seconds), flush=True)
    print("SQLite", flush=True)
    with TemporaryDirectory() as folder:
        for writers in (1, 4):
            print(shares(str(Path(folder) / f"{writers}.db"), writers, min(seconds, 10.0)), flush=True)


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
    if sys.argv[1:2] != ["shares"]:
        main(
            int(sys.argv[1]) if len(sys.argv) > 1 else 3,
            int(sys.argv[2]) if len(sys.argv) > 2 else COMMITS,
        )
    show_shares(float(sys.argv[2]) if sys.argv[1:2] == ["shares"] and len(sys.argv) > 2 else SHARED)
