"""Advancing the feed over a backlog on SQLite: events a second, and where the time goes.

A backlog is appended once, one event a changeset, and then drained from a fresh copy of its file in each repetition.

``python -m benchmarks.advance [repetitions] [events]``
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from time import perf_counter

from rich.console import Console
from rich.table import Table

from benchmarks.rivals import TYPE, payload
from benchmarks.table import Samples, add
from headstream import Event, Head, connect
from headstream.backends.base import Backend
from headstream.backends.sqlite import SqliteBackend
from headstream.protocol.ops import Get, GetAnswer, Page, Put, Refused, Stored

EVENTS = 20_000
SPREADS = {"1,000 streams": 1000, "one stream": 1}
THREADS = 16
TOTAL = "all"

PHASES = {
    ("list", "list"): "core: keys of the inbox",
    ("list", "get"): "core: what the lists say",
    ("get", "get"): "core: heads and changesets",
    ("get", "commit"): "core: heads and changesets, and the batch encoded",
    ("commit", "delete"): "core: the batch remembered",
}
"""What the core does between two operations; the rest is not worth a line."""
_NAMES = {"list": "lists", "get": "heads and segments", "commit": "publish", "delete": "deletes"}


class Timed:
    """A backend that measures another: each operation, and what its caller does between two of them."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.keeps_metadata = backend.keeps_metadata
        self.default_tail = backend.default_tail
        self.default_poll = backend.default_poll
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._last = "start"
        self._begin = self._end = perf_counter()

    def get(self, get: Get) -> GetAnswer:
        self._before("get")
        answer = self._backend.get(get)
        self._after("get")
        return answer

    def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        self._before("get")
        answers = self._backend.get_many(gets)
        self._after("get")
        return answers

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        self._before("commit")
        answer = self._backend.commit(prelude, head)
        self._after("commit")
        return answer

    def delete(self, keys: Sequence[str]) -> None:
        self._before("delete")
        self._backend.delete(keys)
        self._after("delete")

    def list(self, prefix: str, after: str, limit: int) -> Page:
        self._before("list")
        page = self._backend.list(prefix, after, limit)
        self._after("list")
        return page

    def close(self) -> None:
        self._backend.close()

    def _before(self, kind: str) -> None:
        self._begin = perf_counter()
        self._add(PHASES.get((self._last, kind), "core: the rest"), self._begin - self._end)

    def _after(self, kind: str) -> None:
        self._end = perf_counter()
        self._last = kind
        self._add(_NAMES[kind], self._end - self._begin)

    def _add(self, phase: str, seconds: float) -> None:
        self.seconds[phase] = self.seconds.get(phase, 0.0) + seconds
        self.calls[phase] = self.calls.get(phase, 0) + 1


def backlog(path: Path, events: int, streams: int) -> None:
    """Appends of one event to streams in turn that nobody has advanced."""

    def write(worker: int) -> None:
        mine = range(worker, streams, THREADS)
        heads: dict[int, Head | int] = dict.fromkeys(mine, 0)
        for version in range(1, events // streams + 1):
            for stream in mine:
                event = Event(TYPE, payload(version))
                heads[stream] = store.append(f"order-{stream}", event, expected=heads[stream])

    with connect(str(path), advance_every=0) as store, ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(write, range(min(THREADS, streams))))


def drain(path: Path, events: int, samples: Samples, spread: str) -> dict[str, int]:
    """Advance over a backlog; how often each phase came."""
    timed = Timed(SqliteBackend(path))
    with connect(timed) as store:
        timed.seconds.clear()
        timed.calls.clear()
        begin = perf_counter()
        published = store.advance()
        seconds = perf_counter() - begin
    if published != events:
        raise SystemExit(f"published {published} events instead of {events}")
    add(samples, TOTAL, spread, seconds)
    for phase, taken in timed.seconds.items():
        add(samples, phase, spread, taken)
    return dict(timed.calls)


def main(repetitions: int, events: int) -> None:
    """Measure and print."""
    samples: Samples = {}
    calls: dict[str, dict[str, int]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for streams in SPREADS.values():
            backlog(folder / f"{streams}.db", events, streams)
        for _ in range(repetitions):
            for spread, streams in SPREADS.items():
                copy = folder / "copy.db"
                shutil.copy(folder / f"{streams}.db", copy)
                calls[spread] = drain(copy, events, samples, spread)
                for file in folder.glob("copy.db*"):
                    file.unlink()
    show(samples, calls, events)


def show(samples: Samples, calls: dict[str, dict[str, int]], events: int) -> None:
    """Events a second, and microseconds an event by phase."""
    table = Table(title=f"advance over {events:,} changesets of one event, on SQLite", title_justify="left")
    table.add_column("")
    for spread in SPREADS:
        table.add_column(spread, justify="right")
        table.add_column("times", justify="right")
    totals = {spread: median(samples[TOTAL][spread]) for spread in SPREADS}
    table.add_row(
        "events a second",
        *(cell for spread in SPREADS for cell in (f"{events / totals[spread]:,.0f}", "")),
        end_section=True,
    )
    for phase, by_spread in sorted(samples.items(), key=lambda entry: -sum(map(median, entry[1].values()))):
        cells = []
        for spread in SPREADS:
            taken = by_spread.get(spread)
            cells.append(f"{median(taken) / events * 1e6:.1f}" if taken else "–")
            cells.append(str(calls[spread].get(phase, "")))
        table.add_row(f"µs an event: {phase}", *cells)
    Console(width=110).print(table)


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 3,
        int(sys.argv[2]) if len(sys.argv) > 2 else EVENTS,
    )
