"""Replaying the feed, events a second in one process; and what an event takes on the disk, feed included.

``python -m benchmarks.replay [repetitions] [events]``
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from time import perf_counter

from benchmarks.logs import LOGS, STREAMS, HeadstreamLog, Log, fill
from benchmarks.servers import NotInstalled
from benchmarks.table import Measured, Samples, add, show

EVENTS = 100_000
EACH = 100
"""Events in one append of what is replayed."""
SINGLE = 10_000
"""Appends of one event, for the bytes on the disk; of more events to an append there are as many as are replayed by default."""
LIVE = 3_000
"""Events that were published each by itself, as where somebody follows all the time."""


def rate(replay: Callable[[], int], expected: int) -> float:
    """Events a second."""
    begin = perf_counter()
    count = replay()
    seconds = perf_counter() - begin
    if count != expected:
        raise SystemExit(f"replayed {count} events instead of {expected}")
    return count / seconds


def fill_live(log: Log) -> None:
    """Publish after each append."""
    for number in range(1, LIVE + 1):
        log.append("live", number, 1)
        log.publish()


def replays(repetitions: int, events: int) -> Measured:
    """Measure, one store after the other in each repetition."""
    samples: Samples = {}
    missing: list[str] = []
    with ExitStack() as stack:

        def opened(make: Callable[[Path], Log]) -> Log:
            log = make(Path(stack.enter_context(tempfile.TemporaryDirectory())))
            stack.callback(log.close)
            return log

        logs: dict[str, Log] = {}
        for name, make in LOGS.items():
            try:
                logs[name] = opened(make)
            except NotInstalled:
                missing.append(name)
            else:
                fill(logs[name], events, EACH)
        live = opened(HeadstreamLog)
        fill_live(live)
        for _ in range(repetitions):
            for name, log in logs.items():
                add(samples, "one by one", name, rate(log.one_by_one, events))
                add(samples, "in lists", name, rate(log.in_lists, events))
                add(samples, "one by one, JSON decoded", name, rate(log.decoded, events))
            add(samples, "one by one, published singly", "headstream", rate(live.one_by_one, LIVE))
    title = f"replay of {events:,} events of 200 bytes, events a second"
    return show("replay", title, samples, ours="headstream", lower_is_better=False, missing=missing)


def sizes() -> Measured:
    """Bytes on the disk for an event."""
    stores: dict[str, Callable[[Path], Log]] = {
        "headstream": HeadstreamLog,
        "no feed": partial(HeadstreamLog, feed=False),
        **{name: make for name, make in LOGS.items() if name != "headstream"},
    }
    samples: Samples = {}
    missing: list[str] = []
    for name, make in stores.items():
        for workload, count, each in (
            ("1 an append", SINGLE, 1),
            (f"{EACH} an append", EVENTS, EACH),
        ):
            with tempfile.TemporaryDirectory() as folder:
                try:
                    log = make(Path(folder))
                except NotInstalled:
                    missing.append(name)
                    break
                try:
                    fill(log, count, each)
                finally:
                    log.close()
                add(samples, workload, name, log.size() / count)
    title = f"bytes on disk for an event of 200, on {STREAMS:,} streams"
    return show("replay-sizes", title, samples, ours="headstream", lower_is_better=True, missing=missing)


def main(repetitions: int, events: int) -> list[Measured]:
    """Measure and print."""
    return [replays(repetitions, events), sizes()]


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 3,
        int(sys.argv[2]) if len(sys.argv) > 2 else EVENTS,
    )
