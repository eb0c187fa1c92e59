"""The cloud: append and load against the protocol of the article of 2012, behind a slow network; and the processor's part of an append.

Azurite and an S3 server answer at once; :mod:`benchmarks.network` adds 15 milliseconds to each request, and a long tail. Round trips are requests that waited for
one another. What headstream's append takes of the processor is set against the bare PUTs of the same bytes, by the same library, without the slow network.

``python -m benchmarks.cloud [repetitions] [appends] [changesets to load]``
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from statistics import median
from time import perf_counter, process_time
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table

from benchmarks import article
from benchmarks.article import Article
from benchmarks.network import LATENCY, Network, round_trips
from benchmarks.rivals import TYPE, payload
from benchmarks.table import Measured, Samples, add
from headstream import Event, EventStore, Head, connect
from headstream.backends.base import metadata_of
from headstream.backends.cloud import CloudBackend
from headstream.backends.cloud.service import Store
from headstream.protocol.ops import Put, Refused, Stored
from servers.azure import Azurite
from servers.base import Server, ServerError
from servers.s3 import Ministack

SERVERS: dict[str, Callable[[], Server]] = {"Azurite": Azurite, "S3": Ministack}
APPENDS = 100
"""Of one event each, to one stream."""
CHANGESETS = 1_000
LOADS = 100
"""Each by a new client; the article's load is one, of so many requests that luck evens out."""
WARM = 2
"""Appends that open connections."""
CPU_STREAMS = 20
CPU_APPENDS = 400
"""For the processor's part: to streams in turn."""

ARTICLE, FEED, PLAIN = "article", "headstream", "no feed"
SETTINGS: dict[str, dict[str, Any]] = {FEED: {"feed": True, "advance_every": 0}, PLAIN: {"feed": False}}
"""Nobody advances here: whoever reads the feed does."""
CPU, BARE = "headstream", "bare PUTs"


class Place(NamedTuple):
    """A bucket, and how to reach it."""

    url: str
    options: dict[str, Any]

    @classmethod
    def of(cls, server: Server, bucket: str, address: str | None = None) -> Place:
        """A bucket of a server's; by way of ``address``, if that is given."""
        environment = server.environment(address).items()
        options = {name.lower(): value for name, value in environment if not name.endswith("ALLOW_HTTP")}
        return cls(server.url(bucket), options)

    def store(self, column: str) -> EventStore:
        """A client that has seen nothing yet, of a store of its own for each way."""
        url = f"{self.url}/{column.replace(' ', '-')}"
        return connect(url, client_options=article.HTTP, **SETTINGS[column], **self.options)

    def article(self) -> Article:
        """The article's client."""
        return Article(self.bare())

    def bare(self) -> Store:
        """A client of the bucket."""
        return article.client(self.url, self.options)


def appender(place: Place, column: str, stream: str, stack: ExitStack) -> Callable[[int], None]:
    """A function that appends an event to a new stream, holding on to the head."""
    if column == ARTICLE:
        writer = place.article()
        latest: list[article.Head | None] = [None]

        def append_plainly(number: int) -> None:
            latest[0] = writer.append(stream, latest[0], payload(number))

        return append_plainly

    store = stack.enter_context(place.store(column))
    head: list[Head | int] = [0]

    def append(number: int) -> None:
        head[0] = store.append(stream, Event(TYPE, payload(number)), expected=head[0])

    return append


def loader(place: Place, column: str, stream: str, stack: ExitStack) -> Callable[[], int]:
    """A function that loads a stream, by a client that has seen nothing of it; how many events there were."""
    if column == ARTICLE:
        reader = place.article()
        return lambda: len(reader.load(stream))
    store = stack.enter_context(place.store(column))
    return lambda: len([event.data for event in store.read(stream)])


class Trial:
    """What is measured on one server: milliseconds, and round trips."""

    def __init__(self, name: str, times: Samples, trips: Samples) -> None:
        self._name = name
        self._times = times
        self._trips = trips

    def run(self, server: Server, repetitions: int, appends: int, changesets: int) -> None:
        """Measure, one way after the other in each repetition."""
        bucket = server.fresh_bucket()
        with Network(server.address) as network, ExitStack() as stack:
            direct, slow = Place.of(server, bucket), Place.of(server, bucket, network.address)
            for column in (ARTICLE, FEED, PLAIN):
                append = appender(direct, column, "long", stack)
                for number in range(changesets):
                    append(number)
            for repetition in range(repetitions):
                for column in (ARTICLE, FEED, PLAIN):
                    self._append(slow, network, column, f"short-{repetition}", appends)
                for column in (ARTICLE, FEED, PLAIN):
                    self._load(slow, network, column, changesets)

    def _append(self, place: Place, network: Network, column: str, stream: str, appends: int) -> None:
        with ExitStack() as stack:
            append = appender(place, column, stream, stack)
            for number in range(WARM):
                append(number)
            network.requests()
            begin = perf_counter()
            for number in range(WARM, WARM + appends):
                append(number)
            seconds = perf_counter() - begin
            self._note("append", column, seconds / appends, round_trips(network.requests()) / appends)

    def _load(self, place: Place, network: Network, column: str, changesets: int) -> None:
        loads = 1 if column == ARTICLE else LOADS
        seconds, trips = 0.0, 0
        for _ in range(loads):
            with ExitStack() as stack:
                load = loader(place, column, "long", stack)
                network.requests()
                begin = perf_counter()
                count = load()
                seconds += perf_counter() - begin
                trips += round_trips(network.requests())
            if count != changesets:
                raise SystemExit(f"loaded {count} events instead of {changesets}")
        self._note(f"load {changesets:,} changesets", column, seconds / loads, trips / loads)

    def _note(self, what: str, column: str, seconds: float, trips: float) -> None:
        workload = f"{self._name}: {what}"
        add(self._times, workload, column, seconds * 1000)
        add(self._trips, workload, column, trips)


# --- the processor's part ------------------------------------------------------------------------------------------


class Noted(CloudBackend):
    """Remembers what it wrote."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, **options)
        self.commits: list[tuple[Sequence[Put], Put]] = []

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        self.commits.append((prelude, head))
        return super().commit(prelude, head)


def processor(server: Server, name: str, samples: Samples, appends: int) -> None:
    """Microseconds of processor time, of this process, for an append and for the PUTs that it made."""
    for column, settings in SETTINGS.items():
        place, other = Place.of(server, server.fresh_bucket()), Place.of(server, server.fresh_bucket())
        backend = Noted(f"{place.url}/cpu", client_options=article.HTTP, **place.options)
        with connect(backend, **settings) as store:
            heads: dict[str, Head | int] = {}
            streams = [f"order-{number % CPU_STREAMS}" for number in range(appends)]
            backend.commits.clear()  # those that made the store
            begin = process_time()
            for number, stream in enumerate(streams):
                heads[stream] = store.append(stream, Event(TYPE, payload(number)), expected=heads.get(stream, 0))
            seconds = process_time() - begin
        workload = f"{name}: append, {'feed' if column == FEED else 'no feed'}"
        add(samples, workload, CPU, seconds / appends * 1e6)
        add(samples, workload, BARE, bare(other.bare(), backend.commits) / appends * 1e6)


def bare(store: Store, commits: Sequence[tuple[Sequence[Put], Put]]) -> float:
    """Seconds of processor time for the same writes, under the same conditions, and nothing else."""
    prepared = [([(put, _attributes(put)) for put in prelude], head, _attributes(head)) for prelude, head in commits]
    etags: dict[str, str] = {}
    begin = process_time()
    for prelude, head, attributes in prepared:
        for put, its_attributes in prelude:
            store.put(put.key, put.body, attributes=its_attributes, use_multipart=False)
        mode: Any = {"e_tag": etags[head.key]} if head.key in etags else "create"
        result = store.put(head.key, head.body, mode=mode, attributes=attributes, use_multipart=False)
        etags[head.key] = str(result["e_tag"])
    return process_time() - begin


def _attributes(put: Put) -> dict[str, str]:
    return {"Content-Type": "application/octet-stream", **(metadata_of(put.about) if put.about else {})}


# --- the tables ----------------------------------------------------------------------------------------------------


def main(repetitions: int, appends: int, changesets: int) -> list[Measured]:
    """Measure and print."""
    times: Samples = {}
    trips: Samples = {}
    cpu: Samples = {}
    missing: list[str] = []
    for name, make in SERVERS.items():
        try:
            with make() as server:
                Trial(name, times, trips).run(server, repetitions, appends, changesets)
                for _ in range(repetitions):
                    processor(server, name, cpu, CPU_APPENDS)
        except ServerError as error:
            missing.append(f"{name} ({error})")
    show(times, trips)
    show_processor(cpu)
    if missing:
        print(f"not measured: {'; '.join(missing)}")
    title = f"the cloud at {LATENCY * 1000:.0f} ms a request, milliseconds"
    return [
        Measured("cloud", title, times, lower_is_better=True),
        Measured("processor", "processor, µs an append", cpu, lower_is_better=True),
    ]


def show(times: Samples, trips: Samples) -> None:
    """Milliseconds and round trips."""
    table = Table(
        title=f"the cloud at {LATENCY * 1000:.0f} ms a request: milliseconds (round trips)", title_justify="left"
    )
    for column in ("workload", ARTICLE, FEED, PLAIN, f"{ARTICLE} ÷ {FEED}", f"{ARTICLE} ÷ {PLAIN}"):
        table.add_column(column, justify="left" if column == "workload" else "right")
    for workload, by_column in times.items():
        middle = {column: median(values) for column, values in by_column.items()}
        cells = [f"{middle[column]:,.1f} ({median(trips[workload][column]):,.3g})" for column in (ARTICLE, FEED, PLAIN)]
        ratios = [f"{middle[ARTICLE] / middle[column]:,.2f}" for column in (FEED, PLAIN)]
        table.add_row(workload, *cells, *ratios)
    Console(width=150).print(table)


def show_processor(samples: Samples) -> None:
    """Microseconds, and how many times the bare PUTs."""
    table = Table(title="microseconds of processor time, of the client, without the slow network", title_justify="left")
    for column in ("workload", CPU, BARE, "times the bare PUTs"):
        table.add_column(column, justify="left" if column == "workload" else "right")
    for workload, by_column in samples.items():
        ours, theirs = median(by_column[CPU]), median(by_column[BARE])
        table.add_row(workload, f"{ours:,.0f}", f"{theirs:,.0f}", f"{ours / theirs:.2f}")
    Console(width=150).print(table)


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 3,
        int(sys.argv[2]) if len(sys.argv) > 2 else APPENDS,
        int(sys.argv[3]) if len(sys.argv) > 3 else CHANGESETS,
    )
