"""The test servers and the proxy do what they claim: every other test against a server leans on this."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from http.client import HTTPConnection, RemoteDisconnected
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import pytest
from obstore import exceptions as errors
from obstore.store import from_url

import servers.gcs
from servers import base
from servers.base import ProcessServer, Server, ServerError
from servers.gcs import GoogleStorage
from servers.proxy import Answer, Cut, Delay, Proxy

SERVERS = ("azurite", "ministack", "seaweedfs", "gcs")
CREATE: Any = "create"
REFUSALS = (errors.AlreadyExistsError, errors.PreconditionError)


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Server:
    """Each server in turn."""
    server: Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def open_store(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Opens an obstore store on a server, found by environment variables alone; ``retries`` are the client's own."""

    def opened(server: Server, *, bucket: str = "", address: str | None = None, retries: int = 0) -> Any:
        for name, value in server.environment(address).items():
            monkeypatch.setenv(name, value)
        retry: Any = {"max_retries": retries, "retry_timeout": timedelta(seconds=10)}
        return from_url(server.url(f"{bucket or server.fresh_bucket()}/some/prefix"), retry_config=retry)

    return opened


def swap(stored: dict[str, Any]) -> dict[str, str]:
    """The mode of a put that replaces exactly what an earlier put stored."""
    return {name: value for name, value in stored.items() if value is not None}


# --- every server ------------------------------------------------------------------------------------------------


def test_create_if_absent(server: Server, open_store: Any) -> None:
    """The first create wins, the second is refused, and the object is the first one's."""
    store = open_store(server)
    store.put("heads/a", b"first", mode="create")
    with pytest.raises(errors.AlreadyExistsError):
        store.put("heads/a", b"second", mode="create")
    assert store.get("heads/a").bytes() == b"first"


def test_compare_and_swap(server: Server, open_store: Any) -> None:
    """A put on the newest version wins, one on an older version is refused and changes nothing."""
    store = open_store(server)
    first = store.put("heads/a", b"1", mode="create")
    store.put("heads/a", b"2", mode=swap(first))
    with pytest.raises(errors.PreconditionError):
        store.put("heads/a", b"3", mode=swap(first))
    assert store.get("heads/a").bytes() == b"2"


def test_unchanged_object_costs_no_body(server: Server, open_store: Any) -> None:
    """A get that names the current etag is answered by 304, and one that names an old etag by the object."""
    store = open_store(server)
    first = store.put("heads/a", b"1")
    with pytest.raises(errors.NotModifiedError):
        store.get("heads/a", options={"if_none_match": first["e_tag"]})
    store.put("heads/a", b"2")
    assert store.get("heads/a", options={"if_none_match": first["e_tag"]}).bytes() == b"2"


def test_metadata_travels_with_the_object(server: Server, open_store: Any) -> None:
    """What a put says about an object comes back with the object."""
    store = open_store(server)
    store.put("heads/a", b"1", attributes={"aggregateid": "order-1", "aggregateversion": "7"})
    attributes = store.get("heads/a").attributes
    assert attributes["aggregateid"] == "order-1"
    assert attributes["aggregateversion"] == "7"


def test_list_and_delete(server: Server, open_store: Any) -> None:
    """A list has the keys under a prefix, in order; a deleted key is gone from it."""
    store = open_store(server)
    for key in ("b/2", "b/1", "a/1", "b&<1>"):
        store.put(key, b"x")
    assert [found["path"] for found in store.list("b").collect()] == ["b/1", "b/2"]
    store.delete("b/1")
    assert [found["path"] for found in store.list("b").collect()] == ["b/2"]
    with pytest.raises(FileNotFoundError):
        store.get("b/1")


def test_missing_bucket(server: Server, open_store: Any) -> None:
    """A bucket that nobody made is an error, not an empty one."""
    with pytest.raises(FileNotFoundError):
        open_store(server, bucket="nobody-made-this").put("a", b"x")


@pytest.mark.parametrize("name", ["azurite", "ministack", "seaweedfs"])
def test_a_bucket_whose_creation_was_not_answered_is_made(
    request: pytest.FixtureRequest, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client repeats a creation that took effect: what the repetition finds is no failure."""
    server: Server = request.getfixturevalue(name)
    with Proxy(server.address) as proxy:
        cut = proxy.fault(lambda method, _path, _headers: method == "PUT", Cut(acted=True))
        monkeypatch.setattr(server, "address", proxy.address)
        server.create_bucket(f"test-{name}-cut")
        assert cut.happened == 1


def test_signatures_survive_the_proxy(server: Server, open_store: Any) -> None:
    """Signed requests, list and delete included, are accepted through the proxy; it counts each of them."""
    with Proxy(server.address) as proxy:
        store = open_store(server, address=proxy.address)
        store.put("a b/ü+1", b"x" * 300_000, mode="create")
        assert store.get("a b/ü+1").bytes() == b"x" * 300_000
        assert len(store.list().collect()) == 1
        store.delete(["a b/ü+1"])
        methods = [seen.method for seen in proxy.requests]
        assert methods[:3] == ["PUT", "GET", "GET"]
        assert methods[3] in {"POST", "DELETE"}
        assert all(200 <= (seen.status or 0) < 300 for seen in proxy.requests)


# --- processes ---------------------------------------------------------------------------------------------------


class Script(ProcessServer):
    """A server that is a line of Python."""

    name: ClassVar[str] = "script"
    scheme: ClassVar[str] = "none"

    def __init__(self, line: str) -> None:
        super().__init__()
        self.line = line

    def command(self) -> Sequence[str | Path]:
        return (sys.executable, "-c", self.line)

    def environment(self, address: str | None = None) -> dict[str, str]:
        return {}

    def create_bucket(self, name: str) -> None: ...


def test_a_server_that_ends_is_an_error_with_its_log() -> None:
    """A server that does not come up raises, and shows what it logged."""
    with (
        pytest.raises(ServerError, match=r"(?s)script ended with status 3 .*the disk is full"),
        Script("print('the disk is full'); raise SystemExit(3)"),
    ):
        pass


def test_a_silent_server_is_an_error_with_its_log_and_is_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A server that never answers raises after a bounded time, and is not left running."""
    monkeypatch.setattr(base, "READY_SECONDS", 1.0)
    monkeypatch.setattr(base, "START_ATTEMPTS", 1)
    pid_file = tmp_path / "pid"
    script = f"import os, pathlib, signal; pathlib.Path({str(pid_file)!r}).write_text(str(os.getpid())); signal.pause()"
    with pytest.raises(ServerError, match="did not answer within 1 s"), Script(script):
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_a_server_that_ignores_requests_to_stop_is_killed() -> None:
    """Leaving the block ends a server that ignores SIGTERM, too, and nobody listens on its port then."""
    serve = (
        "import os, signal; from http.server import *; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        "HTTPServer(('127.0.0.1', int(os.environ['PORT'])), BaseHTTPRequestHandler).serve_forever()"
    )

    class Stubborn(Script):
        stop_seconds = 0.2

        def variables(self) -> dict[str, str]:
            return {"PORT": str(self.port)}

    with Stubborn(serve) as server:
        socket.create_connection(("127.0.0.1", server.port)).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))


def test_a_missing_program_says_what_to_do() -> None:
    """A server that is not installed names the command that installs it."""

    class Missing(Script):
        def command(self) -> Sequence[str | Path]:
            return (self.folder / "no-such-program",)

    with pytest.raises(ServerError, match="run `make setup`"), Missing(""):
        pass


# --- the Google server -------------------------------------------------------------------------------------------


def test_gcs_lists_in_pages(gcs: GoogleStorage, open_store: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """More keys than one page holds come complete and in order, from an offset on too, each page by one request."""
    monkeypatch.setattr(servers.gcs, "PAGE", 3)
    with Proxy(gcs.address) as proxy:
        store = open_store(gcs, address=proxy.address)
        keys = [f"k/{number}" for number in range(8)]
        for key in keys:
            store.put(key, b"")
        proxy.requests.clear()
        assert [found["path"] for found in store.list("k").collect()] == keys
        assert len(proxy.requests) == 3
        assert [found["path"] for found in store.list("k", offset="k/4").collect()] == keys[5:]
        assert len(proxy.requests) == 4


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Threads take turns every few instructions, so that a check that is apart from its write is found out."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("eager_switches")
def test_gcs_races_have_one_winner(gcs: GoogleStorage, open_store: Any) -> None:
    """Of 8 threads that create one key, and then swap one version, exactly one wins, every time."""
    store = open_store(gcs)
    barrier = threading.Barrier(8)

    def contend(key: str, mode: Any, body: bytes) -> dict[str, Any] | None:
        barrier.wait()
        try:
            stored: dict[str, Any] = store.put(key, body, mode=mode)
        except REFUSALS:
            return None
        return stored

    with ThreadPoolExecutor(8) as pool:
        for turn in range(60):
            key, mode = f"race/{turn}", CREATE
            for _ in range(2):
                bodies = [os.urandom(8) for _ in range(8)]
                results = list(pool.map(contend, [key] * 8, [mode] * 8, bodies))
                [winner] = [(stored, body) for stored, body in zip(results, bodies, strict=True) if stored]
                assert store.get(key).bytes() == winner[1]
                mode = swap(winner[0])


def test_gcs_generations_grow(gcs: GoogleStorage, open_store: Any) -> None:
    """Equal bodies have equal etags, as in the real service, but each write has a generation of its own."""
    store = open_store(gcs)
    first, second = store.put("a", b"same"), store.put("a", b"same")
    assert first["e_tag"] == second["e_tag"]
    assert int(first["version"]) < int(second["version"])
    with pytest.raises(errors.PreconditionError):
        store.put("a", b"other", mode=swap(first))


def test_gcs_refuses_what_it_does_not_know(gcs: GoogleStorage) -> None:
    """A request outside the part that is implemented is answered by 501, never by a guess."""
    gcs.create_bucket("strict")
    for method, target, headers in (
        ("POST", "/strict/key?uploads", {}),
        ("GET", "/strict?delimiter=/", {}),
        ("GET", "/strict/key", {"Range": "bytes=0-1"}),
    ):
        assert ask(gcs.address, method, target, headers=headers)[0] == 501


# --- the proxy: faults -------------------------------------------------------------------------------------------


@pytest.fixture
def proxy(gcs: GoogleStorage) -> Iterator[Proxy]:
    """A proxy before the Google server."""
    with Proxy(gcs.address) as proxy:
        yield proxy


@pytest.fixture
def pair(gcs: GoogleStorage, proxy: Proxy, open_store: Any) -> tuple[Any, Any]:
    """One bucket seen through the proxy, and directly."""
    bucket = gcs.fresh_bucket()
    return open_store(gcs, bucket=bucket, address=proxy.address), open_store(gcs, bucket=bucket)


def puts(method: str, path: str, headers: Any) -> bool:
    """Matches writes of heads."""
    return method == "PUT" and "/heads/" in path


def ask(address: str, method: str, target: str, **options: Any) -> tuple[int, bytes, Any]:
    """One request by a client that adds nothing of its own: status, body and headers."""
    with closing(HTTPConnection(urlsplit(address).netloc, timeout=10)) as connection:
        connection.request(method, target, **options)
        response = connection.getresponse()
        return response.status, response.read(), response.headers


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("acted", [False, True])
def test_cut(proxy: Proxy, pair: tuple[Any, Any], acted: bool, reset: bool) -> None:
    """A cut request has no answer; the server has acted on it or not, as asked; the next one goes through."""
    through, direct = pair
    rule = proxy.fault(puts, Cut(acted=acted, reset=reset))
    with pytest.raises(errors.GenericError):
        through.put("heads/a", b"1", mode="create")
    assert rule.happened == 1
    assert [found["path"] for found in direct.list().collect()] == (["heads/a"] if acted else [])
    through.put("heads/b", b"1", mode="create")
    assert [seen.status for seen in proxy.requests] == [None, 200]


@pytest.mark.parametrize(("reset", "error"), [(False, RemoteDisconnected), (True, ConnectionResetError)])
def test_cut_ends_the_connection_in_two_ways(proxy: Proxy, reset: bool, error: type[Exception]) -> None:
    """A client sees an orderly end, or a reset, as asked."""
    proxy.fault(lambda *_: True, Cut(acted=False, reset=reset))
    with pytest.raises(ConnectionResetError) as caught:
        ask(proxy.address, "GET", "/none")
    assert caught.type is error


def test_a_retrying_client_meets_its_own_write(gcs: GoogleStorage, proxy: Proxy, open_store: Any) -> None:
    """A create that was applied but not answered is refused when the client itself sends it again."""
    store = open_store(gcs, address=proxy.address, retries=3)
    proxy.fault(puts, Answer(503, acted=True))
    with pytest.raises(REFUSALS):
        store.put("heads/a", b"1", mode="create")
    assert [seen.status for seen in proxy.requests] == [503, 412]


def test_delay_holds_the_answer_only(gcs: GoogleStorage, open_store: Any) -> None:
    """The server acts at once; the answer waits, and is lost when the proxy goes."""
    bucket = gcs.fresh_bucket()
    direct = open_store(gcs, bucket=bucket)
    with ThreadPoolExecutor(1) as pool:
        with Proxy(gcs.address) as proxy:
            proxy.fault(puts, Delay(60))
            put = pool.submit(open_store(gcs, bucket=bucket, address=proxy.address).put, "heads/a", b"1")
            deadline = time.monotonic() + 10
            while not direct.list().collect() and time.monotonic() < deadline:
                pass
            assert direct.get("heads/a").bytes() == b"1"
            assert not put.done()
        with pytest.raises(errors.GenericError):
            put.result()


def test_delayed_answer_arrives(proxy: Proxy, pair: tuple[Any, Any]) -> None:
    """An answer that was held back arrives when its time has come."""
    proxy.fault(puts, Delay(0.2))
    start = time.monotonic()
    pair[0].put("heads/a", b"1", mode="create")
    assert time.monotonic() - start >= 0.2


@pytest.mark.parametrize("acted", [False, True])
@pytest.mark.parametrize("status", [408, 409, 429, 500, 503])
def test_answer(proxy: Proxy, pair: tuple[Any, Any], status: int, acted: bool) -> None:
    """An error instead of the answer has the status asked for; the server has acted or not, as asked."""
    through, direct = pair
    proxy.fault(puts, Answer(status, acted=acted))
    with pytest.raises((errors.GenericError, errors.AlreadyExistsError)):
        through.put("heads/a", b"1", mode="create")
    assert len(direct.list().collect()) == acted
    assert [seen.status for seen in proxy.requests] == [status]


def test_answer_speaks_the_language_of_the_client(proxy: Proxy) -> None:
    """An error to an Azure client has Azure's header and code, one to any other client the code of S3."""
    proxy.fault(lambda *_: True, Answer(503), times=3)
    _, body, headers = ask(proxy.address, "GET", "/x", headers={"x-ms-version": "2025-01-05"})
    assert headers["x-ms-error-code"] == "ServerBusy"
    assert b"<Code>ServerBusy</Code>" in body
    _, body, headers = ask(proxy.address, "GET", "/x")
    assert "x-ms-error-code" not in headers
    assert b"<Code>SlowDown</Code>" in body
    assert ask(proxy.address, "HEAD", "/x")[:2] == (503, b"")


def test_rules_count_and_wait_their_turn(proxy: Proxy) -> None:
    """A rule happens as often as asked, an earlier one goes first, and none happens after healing."""
    first = proxy.fault(lambda *_: True, Answer(500), times=2)
    second = proxy.fault(
        lambda method, path, headers: headers["x-who"] == "me" and path == "/a?b", Answer(429), times=9
    )
    statuses = [ask(proxy.address, "GET", "/a?b", headers={"X-Who": "me"})[0] for _ in range(3)]
    assert statuses == [500, 500, 429]
    assert ask(proxy.address, "GET", "/other", headers={"X-Who": "me"})[0] == 404
    proxy.heal()
    assert ask(proxy.address, "GET", "/a?b", headers={"X-Who": "me"})[0] != 429
    assert (first.happened, second.happened) == (2, 1)


# --- the proxy: everything else as it was ------------------------------------------------------------------------


def test_requests_are_counted(proxy: Proxy, pair: tuple[Any, Any]) -> None:
    """Every request is in the list, with what the client was told, in order."""
    through, _ = pair
    through.put("heads/a", b"1", mode="create")
    with pytest.raises(errors.AlreadyExistsError):
        through.put("heads/a", b"1", mode="create")
    through.delete("heads/a")
    assert [(seen.method, seen.path.rsplit("/", 1)[1], seen.status) for seen in proxy.requests] == [
        ("PUT", "a", 200),
        ("PUT", "a", 412),
        ("DELETE", "a", 204),
    ]


def test_latency_is_added_to_each_request(gcs: GoogleStorage, open_store: Any) -> None:
    """Requests take the latency longer, one by one; those in flight together wait together."""
    with Proxy(gcs.address, latency=0.1) as proxy:
        store = open_store(gcs, address=proxy.address)
        start = time.monotonic()
        store.put("a", b"1")
        store.get("a")
        assert time.monotonic() - start >= 0.2
        start = time.monotonic()
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda _: store.get("a"), range(32)))
        assert 0.2 <= time.monotonic() - start < 32 * 0.1


def test_latency_with_a_spread_depends_on_the_seed_alone() -> None:
    """The same seed draws the same latencies; they lie around the median, with a long tail."""
    one, same, other = (Proxy("http://127.0.0.1:1", latency=1, spread=0.5, seed=seed) for seed in (1, 1, 2))
    draws = sorted(one._draw_latency() for _ in range(1000))
    assert draws == sorted(same._draw_latency() for _ in range(1000))
    assert draws != sorted(other._draw_latency() for _ in range(1000))
    assert 0.9 < draws[500] < 1.1
    assert 2 < draws[990] < 5


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was sent, in chunks, or up to the end of the connection."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        body = b""
        if self.headers["Transfer-Encoding"] == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("X-Host", self.headers["Host"])
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x;note=1\r\n%s\r\n0\r\nX-Trailer: 1\r\n\r\n" % (len(body), body))
        else:
            self.close_connection = True
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None: ...


@pytest.fixture
def echo() -> Iterator[Proxy]:
    """A proxy before a server that echoes."""
    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        with Proxy(f"http://127.0.0.1:{server.server_port}") as proxy:
            yield proxy
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("target", ["/chunked", "/to-the-end"])
@pytest.mark.parametrize("chunked", [False, True])
def test_bodies_pass_unchanged(echo: Proxy, target: str, chunked: bool) -> None:
    """Bodies of any framing arrive whole in both directions, and the server sees the Host that the client sent."""
    body = os.urandom(200_000)
    sent = iter([body[:70_000], body[70_000:]]) if chunked else body
    status, received, headers = ask(
        echo.address, "PUT", target, body=sent, headers={"Host": "signed.example"}, encode_chunked=chunked
    )
    assert (status, received) == (200, body)
    assert headers["X-Host"] == "signed.example"


def test_a_client_that_asks_before_it_sends_is_told_to(echo: Proxy) -> None:
    """A request with ``Expect: 100-continue`` is answered by 100, and then served."""
    address = urlsplit(echo.address)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(b"PUT /to-the-end HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        reader = connection.makefile("rb")
        assert reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        assert reader.readline() == b"\r\n"
        connection.sendall(b"hello")
        assert reader.read().endswith(b"\r\n\r\nhello")
        reader.close()


def test_a_server_that_is_down_is_a_cut() -> None:
    """Behind the proxy, a server that nobody answers for looks like a cut connection."""
    with Proxy(f"http://127.0.0.1:{base.free_port()}") as proxy:
        with pytest.raises(RemoteDisconnected):
            ask(proxy.address, "GET", "/")
        assert [seen.status for seen in proxy.requests] == [None]
