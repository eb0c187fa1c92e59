"""The reason of a failure reaches the user: in the error that gives up, and in the one line of the command line. Nothing here is simulated."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from headstream import Event, OutcomeUnknown, Unavailable, connect, limits
from headstream.protocol import keys
from servers.base import Server
from servers.proxy import Answer, Proxy, Rule
from support.commands import Commands

SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="
OPTIONS: dict[str, Any] = {"access_key_id": "key", "secret_access_key": SECRET, "region": "us-east-1"}


class Failing(NamedTuple):
    """A place that does not work."""

    endpoint: str
    code: str
    reason: str
    client_options: Mapping[str, Any] = MappingProxyType({})


def self_signed(folder: Path) -> ssl.SSLContext:
    """A server's side of TLS, with a certificate that no authority has signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .issuer_name(name)
        .subject_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context


@contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A port on loopback; ``answer`` is given each connection, which is closed then."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                with connection, suppress(OSError):
                    answer(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@contextmanager
def closed_port() -> Iterator[str]:
    """A port of which it is certain that nothing listens there."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{reserved.getsockname()[1]}"


def says(text: bytes) -> Callable[[socket.socket], None]:
    """A server that reads a little, says ``text`` and hangs up."""

    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(text)

    return answer


@contextmanager
def untrusted(tmp_path: Path) -> Iterator[Failing]:
    """A server whose certificate nothing trusts."""
    context = self_signed(tmp_path)
    with serving(lambda connection: context.wrap_socket(connection, server_side=True).close()) as place:
        yield Failing(f"https://{place}", "certificate", "not trusted")


@contextmanager
def without_tls(_tmp_path: Path) -> Iterator[Failing]:
    """https:// to a port that speaks plain HTTP."""
    with serving(says(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")) as place:
        yield Failing(f"https://{place}", "tls", f"no connection to {place}: it does not speak TLS")


@contextmanager
def no_name(_tmp_path: Path) -> Iterator[Failing]:
    """A name that no one can register (RFC 2606)."""
    yield Failing("http://storage.invalid", "dns", "no connection to storage.invalid: its name cannot be resolved")


@contextmanager
def wrong_port(_tmp_path: Path) -> Iterator[Failing]:
    """A port at which nothing listens."""
    with closed_port() as place:
        yield Failing(f"http://{place}", "ECONNREFUSED", f"no connection to {place}: Connection refused")


@contextmanager
def dead_proxy(_tmp_path: Path) -> Iterator[Failing]:
    """The proxy is not there."""
    with closed_port() as place:
        options = {"proxy_url": f"http://{place}"}
        yield Failing(
            "http://storage.invalid", "ECONNREFUSED", f"the proxy {place}, on the way to storage.invalid", options
        )


@contextmanager
def refusing_proxy(_tmp_path: Path) -> Iterator[Failing]:
    """The proxy makes no connection."""
    with serving(says(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")) as place:
        options = {"proxy_url": f"http://{place}"}
        yield Failing("https://storage.invalid", "proxy", "the proxy does not let the connection pass", options)


@contextmanager
def silence(_tmp_path: Path) -> Iterator[Failing]:
    """Connections are taken, and nothing is answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
        yield Failing(f"http://{place}", "timeout", f"no answer of {place} in time", {"timeout": "200ms"})


@contextmanager
def hanging_up(_tmp_path: Path) -> Iterator[Failing]:
    """Connections are closed before an answer."""
    with serving(says(b"")) as place:
        yield Failing(f"http://{place}", "closed", "was closed before an answer came")


@contextmanager
def busy(_tmp_path: Path) -> Iterator[Failing]:
    """The service asks to slow down."""
    body = b"<Error><Code>SlowDown</Code></Error>"
    head = f"HTTP/1.1 503 Slow Down\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    with serving(says(head + body)) as place:
        yield Failing(f"http://{place}", "SlowDown", "the storage answered 503")


PLACES = [untrusted, without_tls, no_name, wrong_port, dead_proxy, refusing_proxy, silence, hanging_up, busy]


@pytest.fixture(params=PLACES, ids=lambda make: make.__name__)
def failing(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Failing]:
    """Each place, one after the other."""
    with request.param(tmp_path) as place:
        yield place


def test_the_reason_and_the_code_are_in_the_error(failing: Failing) -> None:
    """What failed is told in words and by a code, and no credential with it."""
    options = {"allow_http": True, **failing.client_options}
    with pytest.raises(Unavailable) as raised:
        connect(
            "s3://events/shop",
            endpoint=failing.endpoint,
            client_options=options,
            retry_config={"max_retries": 0},
            **OPTIONS,
        )
    assert raised.value.details["code"] == failing.code
    assert failing.reason in str(raised.value.details["reason"])
    assert SECRET not in f"{raised.value} {raised.value.details} {raised.value.__cause__}"


def test_the_reason_and_the_code_are_in_the_line_of_a_command(
    failing: Failing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line on stderr, and exit code 5."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    options = {
        "endpoint": failing.endpoint,
        "client_options": json.dumps({"allow_http": True, **failing.client_options}),
        "retry_config": '{"max_retries": 0}',
        "region": "us-east-1",
        "access_key_id": "key",
    }
    given = [part for name, value in options.items() for part in ("--option", f"{name}={value}")]
    line = Commands().error("head", "s3://events/shop", "order-1", *given, code=5)
    assert failing.reason in line
    assert f"code='{failing.code}'" in line
    assert SECRET not in line


def test_too_many_open_files_are_named() -> None:
    """In a process that may open no more files, a cloud says so."""
    script = f"""
import os, resource
from headstream import Unavailable, connect
from headstream.backends.cloud import CloudBackend
from headstream.protocol.ops import FAULTS, Get
backend = CloudBackend("s3://events/shop", endpoint="http://127.0.0.1:9", retry_config={{"max_retries": 0}},
                       client_options={{"allow_http": True}}, **{OPTIONS!r})
try: backend.get(Get("a"))
except FAULTS: pass
highest = max(int(name) for name in os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (3, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
try: connect(backend)
except Unavailable as error: print(error.details["code"], error)
"""
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert shown.stdout.startswith("EMFILE "), shown.stderr
    assert "Too many open files" in shown.stdout


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses are short."""
    monkeypatch.setattr("headstream.limits.FAULT_PAUSE", (0.001, 0.001))


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("url", ["shop.db", "file:///{}/shop"])
def test_a_full_disk_is_named(tmp_path: Path, url: str) -> None:
    """The system allows no file to grow: the append says so, not only that it was given up."""
    script = """
import resource, signal, sys
import headstream.limits
headstream.limits.FAULT_PAUSE = (0.001, 0.001)
from headstream import Event, HeadstreamError, connect
with connect(sys.argv[1]) as store:
    store.append("a", Event("E"))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
    try: store.append("a", Event("E"))
    except HeadstreamError as error: print(error.details.get("reason"))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""
    place = url.format(tmp_path) if url.startswith("file") else str(tmp_path / url)
    shown = subprocess.run(
        [sys.executable, "-c", script, place], capture_output=True, text=True, timeout=60, check=False
    )
    assert shown.stdout.strip() not in ("", "None"), shown.stderr
    assert str(tmp_path) in shown.stdout


@pytest.mark.usefixtures("quick")
def test_a_locked_database_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program keeps the file locked."""
    monkeypatch.setattr("headstream.limits.FAULT_ATTEMPTS", 1)
    monkeypatch.setattr("headstream.limits.BUSY_SECONDS", 0.05)
    path = tmp_path / "shop.db"
    with connect(str(path)) as store:
        store.append("order-1", Event("OrderPlaced"))
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Unavailable) as raised:
                store.append("order-1", Event("OrderPaid"))
            other.execute("ROLLBACK")
    assert "locked by another program" in str(raised.value.details["reason"])


def test_a_line_shows_few_of_many_ids() -> None:
    """The details have all of them."""
    ids = tuple(f"id-{number}" for number in range(200))
    error = OutcomeUnknown("perhaps", stream="s", follows=1, changeset_ids=ids, reason="the storage answered 503")
    assert "'id-2', … 197 more" in str(error)
    assert "id-3" not in str(error)
    assert "the storage answered 503" in str(error)
    assert error.details["changeset_ids"] == ids


@contextmanager
def refusing(proxy: Proxy, path: str, answer: Answer) -> Iterator[Rule]:
    """Each write of an object whose path has this in it gets the answer."""
    rule = proxy.fault(lambda method, target, _headers: method == "PUT" and path in target, answer, times=1000)
    yield rule
    proxy.heal()


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("name", ["azurite", "ministack"])
@pytest.mark.parametrize("status", [409, 412])
def test_what_is_refused_for_ever_by_a_code_of_its_own(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, name: str, status: int
) -> None:
    """No table has the code. The head does not change, so it is no lost race: it ends after a few tries, and the code is told."""
    server: Server = request.getfixturevalue(name)
    answer = Answer(status, code="SpecialLease")
    with Proxy(server.address) as proxy:
        for variable, value in server.environment(proxy.address).items():
            monkeypatch.setenv(variable, value)
        with connect(server.url(f"{server.fresh_bucket()}/{uuid4().hex}"), advance_every=0) as store:
            store.append("old", Event("E"))
            for stream in ("old", "new"):
                with refusing(proxy, f"heads/{stream}", answer) as rule, pytest.raises(OutcomeUnknown) as unknown:
                    store.append(stream, Event("E"))
                assert rule.happened == limits.FAULT_ATTEMPTS
                assert (unknown.value.reason, unknown.value.code) == (f"the storage answered {status}", answer.code)
            with refusing(proxy, keys.head(keys.FEED), answer), pytest.raises(Unavailable) as raised:
                store.advance()
            assert raised.value.details["code"] == answer.code
            with refusing(proxy, "checkpoints/", answer), pytest.raises(Unavailable) as raised:
                store.subscribe(checkpoint="w").save()
            assert raised.value.details["code"] == answer.code
        with refusing(proxy, "store.json", answer), pytest.raises(Unavailable) as raised:
            connect(server.url(f"{server.fresh_bucket()}/{uuid4().hex}"))
        assert raised.value.details["code"] == answer.code


def test_a_request_with_a_signature_that_finds_nothing_names_no_proxy() -> None:
    """The library hides the URL of one; what is known is where the connection was to go."""
    with closed_port() as place, pytest.raises(Unavailable) as raised:
        connect(
            "az://events/shop",
            account_name="myshop",
            sas_key="sv=2024-01-01&sig=c2VjcmV0",
            endpoint=f"http://{place}",
            allow_http=True,
            timeout=1,
        )
    assert (
        raised.value.details["reason"]
        == f"no connection to {place}: Connection refused: check the address and the port"
    )
