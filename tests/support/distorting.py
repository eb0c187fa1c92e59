"""Proxies that make a liar of a server that keeps its promises."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from servers.http1 import Message
from servers.proxy import Proxy, _Upstream


class Distorting(Proxy):
    """Changes requests on their way to the server, and responses on their way back."""

    def request(self, request: Message) -> Message:
        """What the server gets."""
        return request

    def response(self, request: Message, response: Message) -> Message:
        """What the client gets."""
        return response

    async def _answer(self, request: Message, upstream: _Upstream, writer: asyncio.StreamWriter) -> bool:
        return await super()._answer(self.request(request), _Changed(self, upstream), writer)


class _Changed(_Upstream):
    """The server, as it seems to be."""

    def __init__(self, proxy: Distorting, upstream: _Upstream) -> None:
        self._proxy = proxy
        self._connection = upstream

    async def exchange(self, request: Message) -> Message | None:
        response = await self._connection.exchange(request)
        return None if response is None else self._proxy.response(request, response)


def lines(message: Message) -> list[bytes]:
    """The first line and the headers."""
    return message.head.removesuffix(b"\r\n\r\n").split(b"\r\n")


def with_lines(message: Message, changed: list[bytes]) -> Message:
    """The message with this first line and these headers."""
    return replace(message, head=b"\r\n".join(changed) + b"\r\n\r\n")


class Forgetful(Distorting):
    """Drops one header of all writes, such as ``If-Match``."""

    def __init__(self, upstream: str, header: str) -> None:
        super().__init__(upstream)
        self._header = f"{header.lower()}:".encode()

    def request(self, request: Message) -> Message:
        if request.words[0] != "PUT":
            return request
        return with_lines(request, [line for line in lines(request) if not line.lower().startswith(self._header)])


class Weakening(Distorting):
    """Makes every etag a weak one."""

    def response(self, request: Message, response: Message) -> Message:
        changed = []
        for line in lines(response):
            name, separator, value = line.partition(b":")
            changed.append(b"ETag: W/" + value.strip() if separator and name.lower() == b"etag" else line)
        return with_lines(response, changed)


class Caching(Distorting):
    """Answers a list that it has answered before in the same way, however long ago."""

    def __init__(self, upstream: str) -> None:
        super().__init__(upstream)
        self._lists: dict[str, Message] = {}

    def response(self, request: Message, response: Message) -> Message:
        method, target, _ = request.words
        if method == "GET" and "list-type=2" in target:
            return self._lists.setdefault(target, response)
        return response
