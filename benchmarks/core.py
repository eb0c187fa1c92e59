"""The cost of the core itself, in microseconds an append, blocking and asyncio, and what each part takes.

Storage is a stand-in that answers at once and keeps nothing, so what is left is headstream.

``python -m benchmarks.core [appends]``
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from itertools import count
from time import perf_counter
from typing import Any
from uuid import uuid4

from rich.console import Console
from rich.table import Table

from benchmarks.rivals import TYPE, payload
from headstream import AsyncEventStore, Event, EventStore, Head, Settings
from headstream.drivers.aio import Awaited
from headstream.drivers.ids import stamp
from headstream.protocol import codec, encoding, head, intent
from headstream.protocol.head import Change
from headstream.protocol.intent import Intent
from headstream.protocol.ops import MISSING, Get, GetAnswer, Page, Put, Refused, Stored
from headstream.protocol.store import Description

TAIL = 4096


class Nowhere:
    """A backend that says yes."""

    keeps_metadata = False
    default_tail = TAIL
    default_poll = (0.001, 0.05)

    def __init__(self) -> None:
        self._etags = count(1)

    def get(self, get: Get) -> GetAnswer:
        return MISSING

    def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        return tuple(self.get(get) for get in gets)

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        return Stored(str(next(self._etags)))

    def delete(self, keys: Sequence[str]) -> None:
        pass

    def list(self, prefix: str, after: str, limit: int) -> Page:
        return Page((), more=False)

    def close(self) -> None:
        pass


class AsyncNowhere:
    """The same, awaited."""

    keeps_metadata = False
    default_tail = TAIL
    default_poll = (0.001, 0.05)

    def __init__(self) -> None:
        self._blocking = Nowhere()

    async def get(self, get: Get) -> GetAnswer:
        return self._blocking.get(get)

    async def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        return self._blocking.get_many(gets)

    async def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        return self._blocking.commit(prelude, head)

    async def delete(self, keys: Sequence[str]) -> None:
        pass

    async def list(self, prefix: str, after: str, limit: int) -> Page:
        return self._blocking.list(prefix, after, limit)

    async def close(self) -> None:
        pass


SETTINGS = Settings(tail_bytes=TAIL)
DESCRIPTION = Description(1, uuid4(), "", SETTINGS)


def per_call(call: Callable[[], object], times: int) -> float:
    """Microseconds, the best of five rounds."""
    best = float("inf")
    for _ in range(5):
        begin = perf_counter()
        for _ in range(times):
            call()
        best = min(best, perf_counter() - begin)
    return best / times * 1e6


def blocking(times: int) -> float:
    """A whole append, blocking, with the head at hand."""
    store = EventStore(Nowhere(), DESCRIPTION, url="nowhere://", cache_bytes=1 << 20)
    event = Event(TYPE, payload(1))
    latest: list[Head | int] = [0]

    def append() -> None:
        latest[0] = store.append("stream", event, expected=latest[0])

    return per_call(append, times)


def awaited(times: int) -> float:
    """A whole append in asyncio, with the head at hand."""
    event = Event(TYPE, payload(1))

    async def round_() -> float:
        store = AsyncEventStore(Awaited(AsyncNowhere()), DESCRIPTION, url="nowhere://", cache_bytes=1 << 20)
        expected: Head | int = 0
        begin = perf_counter()
        for _ in range(times):
            expected = await store.append("stream", event, expected=expected)
        return (perf_counter() - begin) / times * 1e6

    return min(asyncio.run(round_()) for _ in range(5))


def parts(times: int) -> dict[str, float]:
    """What the pieces of an append take, one by one."""
    events = [Event(TYPE, payload(1))]
    rows = encoding.encode_events(events)
    stamped = stamp()
    frame = codec.encode_frame(stamped.id, stamped.id, 100, stamped.micros, key=None, rows=rows)
    change = Change(stamped.id, frame, 1)
    state = head.nothing("stream").state
    while state.tail_size + 2 * len(frame) < TAIL:
        state, _ = head.follow(state, change, SETTINGS)
    half, _ = head.follow(head.nothing("stream").state, change, SETTINGS)
    calls: dict[str, Callable[[], Any]] = {
        "an Event": lambda: Event(TYPE, events[0].data),
        "its JSON and MessagePack": lambda: encoding.encode_events(events),
        "an id and the time": stamp,
        "the frame and its checksum": lambda: codec.encode_frame(
            stamped.id, stamped.id, 100, stamped.micros, key=None, rows=rows
        ),
        "the next head: digest, tail": lambda: head.follow(half, change, SETTINGS),
        "its body, tail full": lambda: head.put(state, "1"),
        "sealing a full tail (one in 12)": lambda: head.follow(state, Change(stamped.id, frame * 2, 1), SETTINGS),
        "the intent": lambda: intent.put(Intent(stamped.id, "stream", 100, stamped.micros, [])),
    }
    return {name: per_call(call, times) for name, call in calls.items()}


def main(times: int) -> None:
    """Measure and print."""
    table = Table(title="the core: microseconds an append, one event of 200 bytes", title_justify="left")
    table.add_column("what")
    table.add_column("µs", justify="right")
    table.add_row("blocking: everything but storage", f"{blocking(times):.1f}")
    table.add_row("asyncio: everything but storage", f"{awaited(times):.1f}", end_section=True)
    for name, micros in parts(times).items():
        table.add_row(f"  {name}", f"{micros:.1f}")
    Console(width=90).print(table)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3000)
