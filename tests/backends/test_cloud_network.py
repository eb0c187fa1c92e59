"""The cloud backends on a network that fails: what they raise is what has happened, and no write is sent twice."""

from __future__ import annotations

import asyncio
import socket
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from datetime import timedelta
from typing import Any, ClassVar
from uuid import uuid4

import pytest

from headstream.backends.base import Backend
from headstream.backends.cloud import AsyncCloudBackend, CloudBackend
from headstream.errors import AccessDenied, InvalidInput, StoreNotFound
from headstream.protocol.ops import (
    ABSENT,
    ALWAYS,
    MISSING,
    REFUSED,
    Found,
    Get,
    Matches,
    NotApplied,
    Page,
    Put,
    Stored,
    Unknown,
)
from headstream.testing import Blocking
from servers.base import Server
from servers.proxy import Answer, Cut, Delay, Proxy
from support import shown

Open = Callable[..., Backend]
HEAD = Put("heads/a", b"body", ABSENT)
PRELUDE = tuple(Put(f"inbox/{number}", b"intent", ALWAYS) for number in range(3))
ONE_RETRY = {"max_retries": 1, "backoff": {"init_backoff": timedelta(milliseconds=1)}}


@pytest.fixture(params=["azurite", "ministack"])
def server(request: pytest.FixtureRequest) -> Server:
    """Azure and S3."""
    server: Server = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    """The network."""
    with Proxy(server.address) as proxy:
        yield proxy


@pytest.fixture
def url(server: Server) -> str:
    """Of an empty store."""
    return server.url(f"{server.fresh_bucket()}/{uuid4().hex}")


@pytest.fixture(params=[CloudBackend, AsyncCloudBackend])
def shell(request: pytest.FixtureRequest) -> Iterator[Open]:
    """How to open a backend: one of the two shells. What was opened is closed."""
    opened: list[Backend] = []

    def open_backend(url: str, **options: Any) -> Backend:
        backend = request.param(url, **options)
        opened.append(Blocking(backend) if isinstance(backend, AsyncCloudBackend) else backend)
        return opened[-1]

    yield open_backend
    for backend in opened:
        backend.close()


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, str]], None]:
    """Puts a server into the environment."""

    def set_all(variables: Mapping[str, str]) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return set_all


@pytest.fixture
def backend(shell: Open, server: Server, proxy: Proxy, url: str, use: Callable[[Mapping[str, str]], None]) -> Backend:
    """Behind the proxy; reads are tried twice, and a request may take two seconds."""
    use(server.environment(proxy.address))
    return shell(url, retry_config=ONE_RETRY, client_options={"timeout": "2s", "allow_http": True})


def writes(proxy: Proxy, key: str) -> int:
    """How often a key was sent."""
    return sum(seen.method == "PUT" and seen.path.endswith(key) for seen in proxy.requests)


def puts_of(key: str) -> Callable[[str, str, Mapping[str, str]], bool]:
    """Matches the writes of a key."""
    return lambda method, path, _headers: method == "PUT" and path.endswith(key)


LOST = [
    Cut(acted=True),
    Cut(acted=True, reset=True),
    Cut(acted=False),
    Cut(acted=False, reset=True),
    Delay(3.0),
    *(Answer(status, acted=acted) for status in (408, 429, 500, 503) for acted in (False, True)),
]


@pytest.mark.parametrize("fault", LOST, ids=shown)
def test_a_lost_answer_is_unknown_and_the_write_is_sent_once(
    backend: Backend, proxy: Proxy, fault: Cut | Delay | Answer
) -> None:
    """When no answer tells, the head may be there or not; the commit says so, and nothing sends it again."""
    rule = proxy.fault(puts_of("heads/a"), fault, times=100)
    with pytest.raises(Unknown):
        backend.commit(PRELUDE, HEAD)
    answer = backend.get(Get("heads/a"))
    assert answer == MISSING if not fault.acted else isinstance(answer, Found)
    assert rule.happened == 1


@pytest.mark.parametrize("fault", [*LOST[:4], Answer(503), Answer(409), Answer(503, acted=True)], ids=shown)
def test_a_prelude_that_fails_is_not_applied(backend: Backend, proxy: Proxy, fault: Cut | Answer) -> None:
    """When any object of the prelude may be lacking, the head is not tried, and no write is repeated."""
    proxy.fault(puts_of("inbox/1"), fault)
    with pytest.raises(NotApplied):
        backend.commit(PRELUDE, HEAD)
    assert writes(proxy, "heads/a") == 0
    assert [writes(proxy, put.key) for put in PRELUDE] == [1, 1, 1]
    assert backend.get(Get("heads/a")) == MISSING


def test_the_prelude_is_there_before_the_head_is_sent(backend: Backend, proxy: Proxy) -> None:
    """The head is the last request of a commit, and each object is sent once."""
    assert isinstance(backend.commit(PRELUDE, HEAD), Stored)
    sent = [seen.path.rpartition("/")[2] for seen in proxy.requests if seen.method == "PUT"]
    assert sorted(sent[:-1]) == ["0", "1", "2"]
    assert sent[-1] == "a"


def test_a_conflict_of_racing_requests_is_refused(backend: Backend, proxy: Proxy) -> None:
    """409 says that nothing was written, so the same write may succeed a moment later."""
    proxy.fault(puts_of("heads/a"), Answer(409))
    assert backend.commit((), HEAD) == REFUSED
    assert isinstance(backend.commit((), HEAD), Stored)


def test_reads_lists_and_deletes_try_again(backend: Backend, proxy: Proxy) -> None:
    """What may be repeated is repeated when the service is busy."""
    backend.commit(PRELUDE, HEAD)
    for action in (
        lambda: backend.get(Get("heads/a")),
        lambda: backend.list("inbox/", "", 10),
        lambda: backend.delete(["inbox/0"]),
    ):
        rule = proxy.fault(lambda _method, _path, _headers: True, Answer(503))
        action()
        assert rule.happened == 1
    assert backend.list("inbox/", "", 10) == Page(("inbox/1", "inbox/2"), more=False)


def test_a_busy_service_is_unknown_to_readers(backend: Backend, proxy: Proxy) -> None:
    """Reads, lists and deletes give up when their retries have run out."""
    proxy.fault(lambda _method, _path, _headers: True, Answer(503), times=100)
    for action in (
        lambda: backend.get(Get("heads/a")),
        lambda: backend.get_many([Get("heads/a"), Get("heads/b")]),
        lambda: backend.list("inbox/", "", 10),
        lambda: backend.delete(["inbox/0", "inbox/1"]),
    ):
        with pytest.raises(Unknown):
            action()


def test_without_a_connection_nothing_is_applied(
    shell: Open, server: Server, url: str, use: Callable[[Mapping[str, str]], None]
) -> None:
    """A refused connection has certainly sent nothing."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # and does not listen
        use(server.environment(f"http://127.0.0.1:{reserved.getsockname()[1]}"))
        backend = shell(url, retry_config={"max_retries": 0})
        for action in (
            lambda: backend.commit((), HEAD),
            lambda: backend.commit(PRELUDE, HEAD),
            lambda: backend.get(Get("a")),
        ):
            with pytest.raises(NotApplied):
                action()


@pytest.mark.parametrize("name", ["azurite", "ministack", "seaweedfs", "gcs"])
def test_a_missing_container_is_no_store(
    request: pytest.FixtureRequest, shell: Open, name: str, use: Callable[[Mapping[str, str]], None]
) -> None:
    """Every operation tells a missing container from a missing key."""
    place: Server = request.getfixturevalue(name)
    use(place.environment())
    backend = shell(place.url("no-such-bucket/store"))
    swap = Put("heads/a", b"", Matches('1/"0x1"' if name == "gcs" else '"0x1"'))
    for action in (
        lambda: backend.get(Get("heads/a")),
        lambda: backend.get_many([Get("heads/a"), Get("heads/b")]),
        lambda: backend.list("heads/", "", 10),
        lambda: backend.list("", "", 10),
        lambda: backend.delete(["inbox/0"]),
        lambda: backend.delete(["inbox/0", "inbox/1"]),
        lambda: backend.commit((), HEAD),
        lambda: backend.commit(PRELUDE, HEAD),
    ):
        with pytest.raises(StoreNotFound, match=r"headstream init"):
            action()
    if name == "seaweedfs":  # looks at the condition first
        assert backend.commit((), swap) == REFUSED
    else:
        with pytest.raises(StoreNotFound):
            backend.commit((), swap)


SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA=="


@pytest.mark.parametrize(
    "wrong",
    [
        ("azurite", {"account_key": SECRET}),
        ("azurite", {"sas_key": f"sv=2024-01-01&ss=b&srt=sco&sp=rwdl&se=2039-01-01T00:00:00Z&sig={SECRET}"}),
        ("seaweedfs", {"secret_access_key": SECRET}),
        ("seaweedfs", {"session_token": SECRET, "access_key_id": "nobody"}),
    ],
)
def test_refused_credentials_are_not_shown(
    request: pytest.FixtureRequest,
    shell: Open,
    caplog: pytest.LogCaptureFixture,
    use: Callable[[Mapping[str, str]], None],
    wrong: tuple[str, dict[str, str]],
) -> None:
    """Wrong credentials raise AccessDenied; neither it, nor a repr, nor a log shows them."""
    caplog.set_level(0, "headstream")
    name, options = wrong
    place: Server = request.getfixturevalue(name)
    environment = place.environment()
    if "sas_key" in options:
        environment.pop("AZURE_STORAGE_ACCOUNT_KEY")
    use(environment)
    backend = shell(place.url(f"{place.fresh_bucket()}/store"), **options)
    texts = [repr(backend)]
    for action in (
        lambda: backend.get(Get("heads/a")),
        lambda: backend.commit(PRELUDE, HEAD),
        lambda: backend.commit((), HEAD),
        lambda: backend.list("", "", 10),
        lambda: backend.delete(["inbox/0", "inbox/1"]),
    ):
        with pytest.raises(AccessDenied) as raised:
            action()
        texts += [f"{raised.value!r} {raised.value}", "".join(traceback.format_exception(raised.value))]
        assert raised.value.__context__ is None
    for text in [*texts, caplog.text]:
        assert SECRET not in text
        assert "sig=" not in text


def test_plain_http_must_be_asked_for(shell: Open, ministack: Server, use: Callable[[Mapping[str, str]], None]) -> None:
    """An endpoint without TLS is not used by accident; the error says how to allow it."""
    use(ministack.environment() | {"AWS_ALLOW_HTTP": "false"})
    with pytest.raises(InvalidInput, match="set AWS_ALLOW_HTTP=true"):
        shell(ministack.url("shop"), retry_config={"max_retries": 0})


class TestTogether:
    """The objects of a prelude are in flight together, and the head waits for all of them."""

    URL = "s3://shop/store"
    OPTIONS: ClassVar[dict[str, Any]] = {"access_key_id": "key", "secret_access_key": "secret", "region": "us-east-1"}

    def test_threads_send_a_prelude_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each of three writes waits for the two others to have begun."""
        meeting = threading.Barrier(len(PRELUDE))
        sent = []

        class Store:
            def put(self, key: str, _body: bytes, **_arguments: Any) -> dict[str, str]:
                if key.startswith("inbox/"):
                    meeting.wait(30)
                sent.append(key)
                return {"e_tag": '"1"'}

        with closing(CloudBackend(self.URL, **self.OPTIONS)) as backend:
            monkeypatch.setattr(backend, "_writes", Store())
            assert backend.commit(PRELUDE, HEAD) == Stored('"1"')
        assert sent[-1] == "heads/a"

    @pytest.mark.parametrize("main", [True, False])
    def test_one_object_is_sent_by_the_thread_of_the_head(self, monkeypatch: pytest.MonkeyPatch, main: bool) -> None:
        """The usual append, an intent and a head: of the caller, but for the main thread, which signals may interrupt."""
        threads = []

        class Store:
            def put(self, _key: str, _body: bytes, **_arguments: Any) -> dict[str, str]:
                threads.append(threading.current_thread())
                return {"e_tag": '"1"'}

        with closing(CloudBackend(self.URL, **self.OPTIONS)) as backend:
            monkeypatch.setattr(backend, "_writes", Store())
            caller = threading.current_thread()
            if main:
                backend.commit(PRELUDE[:1], HEAD)
            else:
                caller = threading.Thread(target=backend.commit, args=(PRELUDE[:1], HEAD))
                caller.start()
                caller.join()
        assert len(threads) == 2
        assert threads[0] is threads[1]
        assert (threads[0] is caller) is not main

    async def test_tasks_send_a_prelude_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each of three writes waits for the two others to have begun."""
        begun: list[str] = []
        met = asyncio.Event()

        class Store:
            async def put_async(self, key: str, _body: bytes, **_arguments: Any) -> dict[str, str]:
                begun.append(key)
                if len(begun) == len(PRELUDE):
                    met.set()
                await met.wait()
                return {"e_tag": '"1"'}

        backend = AsyncCloudBackend(self.URL, **self.OPTIONS)
        monkeypatch.setattr(backend, "_writes", Store())
        assert await backend.commit(PRELUDE, HEAD) == Stored('"1"')
        assert begun[-1] == "heads/a"

    async def test_a_cancelled_prelude_takes_its_writes_along(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A commit cancelled in its prelude cancels every write of it, and never tries the head."""
        begun: list[str] = []
        cancelled: list[str] = []
        met = asyncio.Event()

        class Store:
            async def put_async(self, key: str, _body: bytes, **_arguments: Any) -> dict[str, str]:
                begun.append(key)
                if len(begun) == len(PRELUDE):
                    met.set()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    cancelled.append(key)
                    raise
                return {}

        backend = AsyncCloudBackend(self.URL, **self.OPTIONS)
        monkeypatch.setattr(backend, "_writes", Store())
        task = asyncio.create_task(backend.commit(PRELUDE, HEAD))
        await met.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sorted(cancelled) == sorted(begun) == [put.key for put in PRELUDE]
