"""A reverse proxy that makes things go wrong between a client and a server, on demand.

It speaks plain HTTP/1.1, forwards every byte as it came (signatures stay valid; ``Host`` is the one that the client
signed), and holds each message in memory. A test asks for a fault, and can see that it happened::

    with Proxy(azurite.address) as proxy:
        rule = proxy.fault(lambda method, path, headers: method == "PUT" and "/heads/" in path, Cut(acted=True))
        ...
        assert rule.happened == 1
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, NamedTuple, Self, TypeAlias
from urllib.parse import unquote, urlsplit

from servers.http1 import HEAD_LIMIT, Message, read_request, read_response

IDLE_SECONDS: Final = 1.0
"""A connection to the server is not used again after this: servers close idle ones, and that would look like a fault."""
RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends RST instead of FIN."""
_S3_CODES: Final = {
    408: "RequestTimeout",
    409: "ConditionalRequestConflict",
    429: "TooManyRequests",
    500: "InternalError",
    503: "SlowDown",
}
_AZURE_CODES: Final = {
    408: "RequestTimeout",
    409: "BlobAlreadyExists",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServerBusy",
}

Match: TypeAlias = Callable[[str, str, Mapping[str, str]], bool]
"""Of a method, the request's path and query without percent-escapes (``/bucket/key?query``), and headers by lower-case
names."""


@dataclass(frozen=True)
class Cut:
    """Close the client's connection without an answer; with ``acted``, after the server has done its part.

    With ``reset`` the client sees "connection reset", else an orderly end where an answer should have begun.
    """

    acted: bool
    reset: bool = False


@dataclass(frozen=True)
class Delay:
    """Hold the server's answer back for some seconds; the server acts at once."""

    seconds: float
    acted = True


@dataclass(frozen=True)
class Answer:
    """An error instead of the server's answer, in Azure's words to an Azure client, else in those of S3."""

    status: int
    acted: bool = False
    code: str = ""
    """The service's name for it; without one, the usual one of that status."""


Action: TypeAlias = Cut | Delay | Answer


class Seen(NamedTuple):
    """A request that went by, and the status that the client got; None: the connection was cut."""

    method: str
    path: str
    status: int | None


class Rule:
    """A fault that waits for its requests."""

    def __init__(self, match: Match, action: Action, times: int) -> None:
        self.match = match
        self.action = action
        self.times = times
        self.happened = 0
        """How many requests it has met."""


class Proxy:
    """Stands before ``upstream`` (``http://HOST:PORT``), at ``address``, inside the ``with`` block.

    ``latency`` is added to every request, in seconds. With a ``spread`` it is the median of a log-normal distribution
    (0.5: one request in a hundred takes three times as long), drawn from ``seed``.
    """

    def __init__(self, upstream: str, *, latency: float = 0.0, spread: float = 0.0, seed: int = 0) -> None:
        self.latency = latency
        self.spread = spread
        self.requests: list[Seen] = []
        """In the order of their answers; a request is here before the client has its answer. A test may clear it."""
        self._upstream = urlsplit(upstream)
        self._random = random.Random(seed)
        self._rules: list[Rule] = []
        self._tasks: set[asyncio.Task[None]] = set()
        """Those that serve connections: asyncio itself would let the garbage collector have one that waits."""
        self._lock = threading.Lock()

    def fault(self, match: Match, action: Action, *, times: int = 1) -> Rule:
        """Do ``action`` to the next ``times`` requests that ``match``; earlier rules go first."""
        rule = Rule(match, action, times)
        with self._lock:
            self._rules.append(rule)
        return rule

    def heal(self) -> None:
        """Forget the faults that did not happen yet."""
        with self._lock:
            self._rules.clear()

    def __enter__(self) -> Self:
        started: Future[str] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(started)), name="proxy")
        self._thread.start()
        self.address = started.result()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    async def _run(self, started: Future[str]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=HEAD_LIMIT, backlog=512)
        started.set_result(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await self._stopped.wait()
        server.close()  # the tasks that serve connections are cancelled by asyncio.run, and close them

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = _Upstream(self._upstream.hostname or "", self._upstream.port or 80)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while await self._answer(await read_request(reader, writer), upstream, writer):
                pass
        except (OSError, EOFError):
            pass  # the client went away
        except asyncio.CancelledError:
            pass  # the proxy stops; before Python 3.12, asyncio would report a cancelled connection as an error
        finally:
            upstream.close()
            writer.transport.abort()
            self._tasks.discard(task)

    async def _answer(self, request: Message, upstream: _Upstream, writer: asyncio.StreamWriter) -> bool:
        """Serve one request. Returns whether the client's connection stays open."""
        action = self._due(request)
        if self.latency:
            await asyncio.sleep(self._draw_latency())
        response = await upstream.exchange(request) if action is None or action.acted else None
        match action:
            case Cut(reset=reset):
                response = None
                if reset:
                    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            case Delay(seconds):
                await asyncio.sleep(seconds)
            case Answer(status, code=code):
                response = _error(request, status, code)
        method, path = _target(request)
        self.requests.append(Seen(method, path, int(response.words[1]) if response else None))
        if response is None:
            return False
        writer.write(response.head + response.body)
        await writer.drain()
        return not (request.last or response.last)

    def _draw_latency(self) -> float:
        return self.latency * self._random.lognormvariate(0, self.spread)

    def _due(self, request: Message) -> Action | None:
        method, path = _target(request)
        with self._lock:
            for rule in self._rules:
                if rule.happened < rule.times and rule.match(method, path, request.headers):
                    rule.happened += 1
                    return rule.action
        return None


class _Upstream:
    """A connection to the server, for one connection of a client."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._used = 0.0

    async def exchange(self, request: Message) -> Message | None:
        """The server's response; None when there is none, as after a cut."""
        try:
            reader, writer = await self._open()
            writer.write(request.head + request.body)
            await writer.drain()
            response = await read_response(reader, request)
        except (OSError, EOFError):
            self.close()
            return None
        if response.last:
            self.close()
        self._used = asyncio.get_running_loop().time()
        return response

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        idle = asyncio.get_running_loop().time() - self._used
        if self._streams is None or self._streams[0].at_eof() or idle > IDLE_SECONDS:
            self.close()
            self._streams = await asyncio.open_connection(*self._address, limit=HEAD_LIMIT)
        return self._streams

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None


def _target(request: Message) -> tuple[str, str]:
    """Method, and path with query as a person writes them: some clients escape every slash of a key."""
    return request.words[0], unquote(request.words[1])


def _error(request: Message, status: int, code: str) -> Message:
    """An error as the request's service words it; what it carries of Azure means nothing to S3, and the reverse."""
    azure = "x-ms-version" in request.headers
    code = code or (_AZURE_CODES[status] if azure else _S3_CODES[status])
    body = (
        f"<?xml version='1.0' encoding='utf-8'?><Error><Code>{code}</Code><Message>{code}.</Message></Error>".encode()
    )
    lines = [
        f"HTTP/1.1 {status} {code}",
        "Content-Type: application/xml",
        f"Content-Length: {len(body)}",
        *([f"x-ms-error-code: {code}"] if azure else []),
    ]
    head = "\r\n".join((*lines, "", "")).encode()
    words = ("HTTP/1.1", str(status), code)
    return Message(head, words, {}, b"" if request.words[0] == "HEAD" else body, last=False)
