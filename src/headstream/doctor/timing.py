"""The clocks of both sides, and how long requests take."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from headstream.doctor.bench import Bench
from headstream.doctor.report import Seen, broken, kept, not_applicable, warned
from headstream.protocol.store import Breach

CLOCK_SAMPLES: Final = 4
SKEW: Final = 5.0
"""Seconds. Clocks of writers decide the order of the feed within a batch, and the age of intents."""
SLOW: Final = 0.5
"""Seconds: a median above this is worth knowing."""
LISTED: Final = 20
"""Objects in the list whose latency is measured."""


def clock(bench: Bench) -> Seen:
    """How far this machine's clock is from the server's, by the times at which objects are said to be written.

    A time of whole seconds stands for the second that it begins; a few of them narrow down what the difference can be.
    """
    modified = bench.place.modified
    if modified is None:
        return not_applicable("the storage has this machine's clock, or does not tell")
    least, most = -float("inf"), float("inf")
    for _ in range(CLOCK_SAMPLES):
        key = bench.fresh("clock")
        before = time.time()
        etag = bench.clients[0].create(key, b"when?")
        after = time.time()
        if etag is None:
            return broken(Breach.REFUSES_CREATE)
        bench.meter.begin(1)
        written = modified(key)
        if written is None:
            return not_applicable("the storage does not say when an object was written")
        stamp = written.timestamp()
        least = max(least, stamp - after)
        most = min(most, stamp + (0.001 if stamp % 1 else 1.0) - before)
    return _skew(least, most)


def _skew(least: float, most: float) -> Seen:
    """The verdict on a server that is between ``least`` and ``most`` seconds ahead."""
    ahead = least if least > 0 else min(most, 0.0)
    figures = {"least_seconds": round(least, 3), "most_seconds": round(most, 3)}
    if abs(ahead) > SKEW:
        side = "behind" if ahead > 0 else "ahead of"
        return warned(f"this machine's clock is {abs(ahead):,.0f} s {side} the server's: set it", **figures)
    if ahead:
        return kept(f"{abs(ahead):.1f} s or more apart from the server's", **figures)
    return kept(f"within {max(-least, most):.1f} s of the server's", **figures)


def get_latency(bench: Bench) -> Seen:
    """Of a small object."""
    key, client = bench.fresh("get"), bench.clients[0]
    client.fill([key])
    return _latency([partial(client.read, key)] * bench.bounds.samples)


def put_latency(bench: Bench) -> Seen:
    """Of conditional writes, each of another object: some services allow one a second of the same."""
    keys, client = [bench.fresh("put") for _ in range(bench.bounds.samples)], bench.clients[0]
    return _latency([partial(client.create, key, b"small") for key in keys])


def list_latency(bench: Bench) -> Seen:
    """Of a short list."""
    folder, client = bench.fresh("short"), bench.clients[0]
    client.fill([f"{folder}/{number:03d}" for number in range(LISTED)])
    return _latency([partial(client.page, f"{folder}/")] * bench.bounds.samples)


def delete_latency(bench: Bench) -> Seen:
    """Of single objects."""
    folder, client = bench.fresh("delete"), bench.clients[0]
    keys = [f"{folder}/{number:04d}" for number in range(bench.bounds.samples)]
    client.fill(keys)
    return _latency([partial(client.delete, [key]) for key in keys])


def _latency(requests: Sequence[Callable[[], object]]) -> Seen:
    """The verdict on how long each of the requests takes."""
    times: list[float] = []
    for request in requests:
        begun = time.perf_counter()
        request()
        times.append(time.perf_counter() - begun)
    times.sort()
    median, high = times[len(times) // 2], times[len(times) * 95 // 100]
    text = f"median {shown(median)}, 95 of 100 within {shown(high)}"
    figures = {"median_seconds": round(median, 6), "p95_seconds": round(high, 6), "samples": len(times)}
    return warned(f"slow: {text}", **figures) if median > SLOW else kept(text, **figures)


def shown(seconds: float) -> str:
    """A time in a unit that a person can read."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    millis = seconds * 1000
    return f"{millis:.{0 if millis >= 100 else 1 if millis >= 1 else 2}f} ms"
