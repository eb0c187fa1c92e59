"""A slow network before a storage server: each request waits, and is noted. It is a process of its own, so that it takes no time of the client's.

Delays are log-normal: most are near the median, one in a hundred is three and a half times as long. Each hundred requests have the same hundred delays, in an order
that a seed decides, so that no measurement is much luckier than another. Requests that are in flight together wait together.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from collections.abc import Iterable
from contextlib import suppress
from math import exp
from multiprocessing.connection import Connection
from statistics import NormalDist
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

from servers.http1 import HEAD_LIMIT, Message, read_request, read_response

LATENCY = 0.015
"""Seconds, at the median."""
SPREAD = 0.5
DELAYS = [exp(SPREAD * NormalDist().inv_cdf((place + 0.5) / 100)) for place in range(100)]
"""Of a hundred requests, as multiples of the median."""
IDLE = 1.0
"""Seconds after which a connection to the server is not used again: servers close idle ones."""
PATIENCE = 30


class Request(NamedTuple):
    """What went by, and when, by one clock."""

    method: str
    target: str
    begin: float
    end: float


def round_trips(requests: Iterable[Request]) -> int:
    """The most requests that waited for one another: those that overlap are one round trip."""
    count, end = 0, float("-inf")
    for request in sorted(requests, key=lambda request: request.end):
        if request.begin >= end:
            count, end = count + 1, request.end
    return count


class Network:
    """Stands before ``upstream`` (``http://HOST:PORT``), at ``address``, inside the ``with`` block."""

    address: str

    def __init__(self, upstream: str, *, latency: float = LATENCY, seed: int = 1) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(theirs, upstream, latency, seed), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self.address = self._answer()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._process.terminate()
        self._process.join(PATIENCE)

    def requests(self) -> list[Request]:
        """What has been answered since the last time."""
        self._pipe.send(None)
        found: list[Request] = self._answer()
        return found

    def _answer(self) -> Any:
        if not self._pipe.poll(PATIENCE):
            raise SystemExit(f"the slow network did not answer within {PATIENCE} seconds")
        return self._pipe.recv()


def _run(pipe: Connection, upstream: str, latency: float, seed: int) -> None:
    asyncio.run(_Relay(upstream, latency, seed).serve(pipe))


class _Relay:
    """The process's part."""

    def __init__(self, upstream: str, latency: float, seed: int) -> None:
        self._upstream = urlsplit(upstream)
        self._latency = latency
        self._random = random.Random(seed)
        self._delays: list[float] = []
        """Of the requests to come."""
        self._requests: list[Request] = []

    async def serve(self, pipe: Connection) -> None:
        """Serve until the process is ended."""

        def tell() -> None:
            pipe.recv()
            pipe.send(self._requests)
            self._requests = []

        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=HEAD_LIMIT, backlog=512)
        pipe.send(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        asyncio.get_running_loop().add_reader(pipe.fileno(), tell)
        await server.serve_forever()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of the client's, by one connection to the server."""
        server = _Server(self._upstream.hostname or "", self._upstream.port or 80)
        clock = asyncio.get_running_loop().time
        with suppress(OSError, EOFError):  # the client goes away when it likes to
            open_ = True
            while open_:
                request = await read_request(reader, writer)
                begin = clock()
                await asyncio.sleep(self._delay())
                response = await server.exchange(request)
                self._requests.append(Request(request.words[0], request.words[1], begin, clock()))
                writer.write(response.head + response.body)
                await writer.drain()
                open_ = not (request.last or response.last)
        server.close()
        writer.close()

    def _delay(self) -> float:
        if not self._delays:
            self._delays = self._random.sample(DELAYS, len(DELAYS))
        return self._latency * self._delays.pop()


class _Server:
    """A connection to the server, opened when it is needed."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._used = 0.0

    async def exchange(self, request: Message) -> Message:
        """The server's response. Raises :class:`OSError` or :class:`EOFError` when there is none."""
        clock = asyncio.get_running_loop().time
        if self._streams is None or self._streams[0].at_eof() or clock() - self._used > IDLE:
            self.close()
            self._streams = await asyncio.open_connection(*self._address, limit=HEAD_LIMIT)
        reader, writer = self._streams
        writer.write(request.head + request.body)
        await writer.drain()
        response = await read_response(reader, request)
        self._used = clock()
        if response.last:
            self.close()
        return response

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None
