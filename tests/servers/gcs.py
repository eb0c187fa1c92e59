"""The part of Google Cloud Storage's XML API that obstore uses, in threads of this process.

Emulators of it that exist refuse obstore's writes. What is not implemented is answered by 501, never guessed.
"""

from __future__ import annotations

import hashlib
import json
import socket
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar, Final, NamedTuple, Self
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

from servers.base import Server

PAGE: Final = 1000
"""Keys in one page of a list, at most, as in the real service."""
_IF_GENERATION: Final = "x-goog-if-generation-match"
_LIST_OPTIONS: Final = frozenset({"list-type", "prefix", "start-after", "continuation-token", "max-keys"})
_UNSUPPORTED: Final = ("Range", "If-Match", "If-Modified-Since", "Transfer-Encoding", "x-goog-copy-source")
_XML: Final = {"Content-Type": "application/xml"}


class GoogleStorage(Server):
    """Google Cloud Storage: generations, conditions that hold under concurrency, lists in pages. No credentials."""

    scheme: ClassVar[str] = "gs"

    def __init__(self) -> None:
        self._buckets: dict[str, _Bucket] = {}

    def environment(self, address: str | None = None) -> dict[str, str]:
        """What obstore reads: a service account that names the endpoint and needs no token."""
        account = {
            "gcs_base_url": address or self.address,
            "disable_oauth": True,
            "client_email": "",
            "private_key": "",
            "private_key_id": "",
        }
        return {"GOOGLE_SERVICE_ACCOUNT_KEY": json.dumps(account), "GOOGLE_ALLOW_HTTP": "true"}

    def create_bucket(self, name: str) -> None:
        """Make the bucket ``name``."""
        assert name not in self._buckets
        self._buckets[name] = _Bucket()

    def __enter__(self) -> Self:
        self._server = _Listener(self._buckets)
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, name="gcs")
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.close_connections()
        self._server.server_close()


class _Refusal(Exception):
    """An answer that is an error: its HTTP status and Google's code for it."""

    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code


class _Object(NamedTuple):
    body: bytes
    metadata: Mapping[str, str]
    generation: int
    """Microseconds since 1970, made to increase."""

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.body, usedforsecurity=False).hexdigest()}"'

    @property
    def modified(self) -> datetime:
        return datetime.fromtimestamp(self.generation / 1e6, UTC)

    def identity(self) -> dict[str, str]:
        """The headers that tell one state of the object from another."""
        return {
            "ETag": self.etag,
            "Last-Modified": format_datetime(self.modified, usegmt=True),
            "x-goog-generation": str(self.generation),
        }


class _Bucket:
    """Objects by key. One lock makes each check and what follows it one step."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, _Object] = {}
        self._generation = 0

    def put(self, key: str, when: str | None, body: bytes, metadata: Mapping[str, str]) -> _Object:
        with self._lock:
            self._check(key, when)
            self._generation = max(self._generation + 1, time.time_ns() // 1000)
            stored = self._objects[key] = _Object(body, metadata, self._generation)
            return stored

    def get(self, key: str, when: str | None) -> _Object:
        with self._lock:
            found = self._objects.get(key)
            if found is None:
                raise _Refusal(404, "NoSuchKey")
            self._check(key, when)
            return found

    def delete(self, key: str, when: str | None) -> None:
        with self._lock:
            if key not in self._objects:
                raise _Refusal(404, "NoSuchKey")
            self._check(key, when)
            del self._objects[key]

    def page(self, prefix: str, after: str, limit: int) -> tuple[list[tuple[str, _Object]], bool]:
        """At most ``limit`` objects that follow ``after`` in the order of their keys' bytes, and whether more do."""
        with self._lock:
            keys = sorted((key for key in self._objects if key.startswith(prefix)), key=str.encode)
            start = bisect_right(keys, after.encode(), key=str.encode)
            chosen = keys[start : start + limit]
            return [(key, self._objects[key]) for key in chosen], len(keys) > start + limit

    def _check(self, key: str, when: str | None) -> None:
        """Refuse unless the object has the generation ``when``; 0 means that it does not exist."""
        found = self._objects.get(key)
        if when is not None and int(when) != (found.generation if found else 0):
            raise _Refusal(412, "PreconditionFailed")


class _Listener(ThreadingHTTPServer):
    """Accepts connections, and remembers them: a client keeps its own open for as long as it likes."""

    request_queue_size = 128
    daemon_threads = False

    def __init__(self, buckets: dict[str, _Bucket]) -> None:
        self.buckets = buckets
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def close_connections(self) -> None:
        """End every connection, so that the thread that serves it ends."""
        for connection in self.connections.copy():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of the server; anything else is printed, as usual."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Reply(NamedTuple):
    status: int
    headers: Mapping[str, str] = {}
    body: bytes = b""


class _Handler(BaseHTTPRequestHandler):
    """One connection: reads requests, asks the bucket, writes answers."""

    server: _Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self) -> None:
        self.server.connections.discard(self.connection)
        super().finish()

    def log_message(self, *_arguments: object) -> None:
        """Quiet: the tests speak."""

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        try:
            reply = self._reply(body)
        except _Refusal as refusal:
            error = f"<Error><Code>{refusal.code}</Code><Message>{refusal.code}.</Message></Error>"
            reply = _Reply(refusal.status, _XML, error.encode())
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.status not in (204, 304):
            self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(reply.body)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _serve  # noqa: N815 - http.server's names

    def _reply(self, body: bytes) -> _Reply:
        target = urlsplit(self.path)
        name, _, key = target.path.removeprefix("/").partition("/")
        key, query = unquote(key), dict(parse_qsl(target.query, keep_blank_values=True))
        if not query.keys() <= (set() if key else _LIST_OPTIONS) or any(map(self.headers.get, _UNSUPPORTED)):
            raise _Refusal(501, "NotImplemented")
        bucket = self.server.buckets.get(unquote(name))
        if bucket is None:
            raise _Refusal(404, "NoSuchBucket")
        match self.command, bool(key):
            case "PUT", True:
                return self._put(bucket, key, body)
            case "GET" | "HEAD", True:
                return self._get(bucket, key)
            case "DELETE", True:
                bucket.delete(key, self.headers.get(_IF_GENERATION))
                return _Reply(204)
            case "GET", False:
                return _list(bucket, unquote(name), query)
            case _:
                raise _Refusal(501, "NotImplemented")

    def _put(self, bucket: _Bucket, key: str, body: bytes) -> _Reply:
        metadata = {name: value for name, value in self.headers.items() if name.lower().startswith("x-goog-meta-")}
        content_type = self.headers.get("Content-Type", "application/octet-stream")
        stored = bucket.put(key, self.headers.get(_IF_GENERATION), body, {"Content-Type": content_type, **metadata})
        return _Reply(200, stored.identity())

    def _get(self, bucket: _Bucket, key: str) -> _Reply:
        found = bucket.get(key, self.headers.get(_IF_GENERATION))
        if self.headers.get("If-None-Match") in ("*", found.etag):
            return _Reply(304, found.identity())
        return _Reply(200, {**found.identity(), **found.metadata}, found.body)


def _list(bucket: _Bucket, name: str, query: Mapping[str, str]) -> _Reply:
    prefix = query.get("prefix", "")
    after = query.get("continuation-token", query.get("start-after", ""))
    objects, more = bucket.page(prefix, after, min(int(query.get("max-keys", PAGE)), PAGE))
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><Generation>{found.generation}</Generation>"
        f"<LastModified>{found.modified.isoformat()}</LastModified>"
        f"<ETag>{escape(found.etag)}</ETag><Size>{len(found.body)}</Size></Contents>"
        for key, found in objects
    )
    token = f"<NextContinuationToken>{escape(objects[-1][0])}</NextContinuationToken>" if more else ""
    return _Reply(
        200,
        _XML,
        f"<ListBucketResult><Name>{escape(name)}</Name><Prefix>{escape(prefix)}</Prefix>"
        f"<KeyCount>{len(objects)}</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>"
        f"{token}{contents}</ListBucketResult>".encode(),
    )
