"""HTTP/1.1 messages on asyncio streams, kept byte for byte, for :mod:`servers.proxy`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

HEAD_LIMIT: Final = 1024 * 1024
"""Bytes of a message before its body."""


@dataclass(frozen=True)
class Message:
    """A request or a response."""

    head: bytes
    words: tuple[str, str, str]
    """The first line: method, target and version, or version, status and reason."""
    headers: Mapping[str, str]
    """By lower-case names."""
    body: bytes
    """As it was sent: frames of chunks included."""
    last: bool
    """Whether the sender uses this connection no more."""


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Message:
    """The client's next request. One that asks for leave to send its body is granted it here."""
    head, words, headers = await _read_head(reader)
    if "expect" in headers:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        head = b"\r\n".join(line for line in head.split(b"\r\n") if not line.lower().startswith(b"expect:"))
    body = await _read_body(reader, headers) or b""
    return Message(head, words, headers, body, last=headers.get("connection", "").lower() == "close")


async def read_response(reader: asyncio.StreamReader, request: Message) -> Message:
    """The server's response to ``request``. Interim responses are skipped: nobody asked this far for them."""
    head, words, headers = await _read_head(reader)
    while words[1].startswith("1"):
        head, words, headers = await _read_head(reader)
    last = headers.get("connection", "").lower() == "close"
    if request.words[0] == "HEAD" or words[1] in ("204", "304"):
        return Message(head, words, headers, b"", last)
    body = await _read_body(reader, headers)
    if body is None:
        return Message(head, words, headers, await reader.read(), last=True)
    return Message(head, words, headers, body, last)


async def _read_head(reader: asyncio.StreamReader) -> tuple[bytes, tuple[str, str, str], dict[str, str]]:
    head = await reader.readuntil(b"\r\n\r\n")
    start, *lines = head.decode("latin-1").split("\r\n")
    first, second, third = f"{start} ".split(" ", 2)
    pairs = (line.partition(":") for line in lines if line)
    return head, (first, second, third), {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes | None:
    """The body as it was sent, frames of chunks included; None when the head says nothing of it."""
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        return await reader.readexactly(int(headers["content-length"])) if "content-length" in headers else None
    frames = bytearray()
    size = -1
    while size != 0:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        frames += line + (await reader.readexactly(size + 2) if size else b"")
    while line != b"\r\n":
        line = await reader.readuntil(b"\r\n")
        frames += line
    return bytes(frames)
