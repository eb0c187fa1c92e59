"""A metered backend is the backend that it meters; and what it logs of requests."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator

import pytest

from headstream import CorruptData
from headstream.backends.base import Backend
from headstream.backends.memory import MemoryBackend
from headstream.backends.metering import AsyncMetered, Meter, Metered
from headstream.protocol.ops import ABSENT, ALWAYS, Get, NotApplied, Put, Unknown
from headstream.stats import Stats
from headstream.testing import Blocking
from headstream.testing.conformance import AsyncBackendConformance, BackendConformance
from support.backends import AsyncMemory, Watched


class TestMetered(BackendConformance):
    """Keeps every promise of what is below."""

    @pytest.fixture
    def backend(self) -> Metered:
        """Over memory."""
        return Metered(MemoryBackend(), Meter())


class TestAsyncMetered(AsyncBackendConformance):
    """The same, awaited."""

    @pytest.fixture
    def aio(self) -> AsyncMetered:
        """Over memory."""
        return AsyncMetered(AsyncMemory(MemoryBackend()), Meter())


def counted(meter: Meter) -> Stats:
    """What it counted."""
    return meter.stats(head_hits=0, head_misses=0, state_hits=0, state_misses=0)


@pytest.fixture
def meter() -> Meter:
    """One that has counted nothing."""
    return Meter()


@pytest.fixture
def watched() -> Watched:
    """What is below."""
    return Watched()


@pytest.fixture(params=["blocking", "awaited"])
def metered(request: pytest.FixtureRequest, watched: Watched, meter: Meter) -> Iterator[Backend]:
    """Both kinds, to be called alike."""
    if request.param == "blocking":
        yield Metered(watched, meter)
    else:
        blocking = Blocking(AsyncMetered(AsyncMemory(watched), meter))
        yield blocking
        blocking.close()


REQUESTS: dict[str, tuple[Callable[[Backend], object], Stats]] = {
    "get heads/a": (lambda backend: backend.get(Get("heads/a")), Stats(gets=1)),
    "get heads/a and 1 more": (
        lambda backend: backend.get_many([Get("heads/a"), Get("heads/b")]),
        Stats(gets=2, together=2),
    ),
    "put heads/a": (
        lambda backend: backend.commit((Put("inbox/a", b"12", ALWAYS),), Put("heads/a", b"345", ABSENT)),
        Stats(preludes=1, bytes_written=5),
    ),
    "get nothing": (lambda backend: backend.get_many([]), Stats()),
    "delete inbox/a": (lambda backend: backend.delete(["inbox/a"]), Stats(deletes=1)),
    "list inbox/": (lambda backend: backend.list("inbox/", "", 9), Stats(lists=1)),
}


@pytest.mark.parametrize("line", REQUESTS)
@pytest.mark.parametrize("fault", [NotApplied("busy"), Unknown("lost"), CorruptData("bad", key="heads/a")])
def test_requests_that_fail_are_counted_and_logged(metered, meter, caplog, line, fault, watched):  # noqa: PLR0917 - fixtures
    """As the request that it was, and as a fault; the error comes through as it is."""
    ask, expected = REQUESTS[line]
    watched.faults.append(fault)
    caplog.set_level(logging.INFO, "headstream")
    with pytest.raises(type(fault)) as caught:
        ask(metered)
    assert caught.value is fault
    assert counted(meter) - expected == Stats(faults=1, unknown=int(isinstance(fault, Unknown)))
    assert caplog.messages == [f"{line} failed: {type(fault).__name__}: {fault}"]


def test_any_other_exception_is_no_fault(metered, watched, meter, caplog):
    """A bug, or the end of the program: it is passed on, and the request is counted."""
    watched.faults.append(RuntimeError("bug"))
    caplog.set_level(logging.DEBUG, "headstream")
    with pytest.raises(RuntimeError, match="bug"):
        metered.list("inbox/", "", 9)
    assert counted(meter) == Stats(lists=1)
    assert caplog.messages == ["list inbox/: no answer"]


async def test_a_cancelled_request_is_counted(watched, meter):
    """It was sent; and nobody failed."""
    backend = AsyncMetered(AsyncMemory(watched), meter)
    task = asyncio.create_task(backend.get(Get("heads/a")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert counted(meter) == Stats(gets=1)


def test_each_request_is_a_line_at_debug(metered, caplog):
    """With its key, its size and what came of it; never with a body."""
    caplog.set_level(logging.DEBUG, "headstream.requests")
    stored = metered.commit((Put("inbox/a", b"secret", ALWAYS),), Put("heads/a", b"secret!", ABSENT))
    metered.commit((), Put("heads/a", b"secret!", ABSENT))
    metered.get(Get("heads/a"))
    metered.get_many([Get("heads/a", stored.etag), Get("heads/b")])
    metered.list("inbox/", "", 9)
    metered.delete(["inbox/a", "inbox/b"])
    assert caplog.messages == [
        "put inbox/a: 6 bytes",
        "put heads/a: 7 bytes, written",
        "put heads/a: 7 bytes, refused",
        "get heads/a: 7 bytes",
        "get heads/a: not modified",
        "get heads/b: missing",
        "list inbox/: 1 keys",
        "delete inbox/a",
        "delete inbox/b",
    ]
    assert "secret" not in caplog.text


def test_nothing_is_logged_unasked(metered, watched, caplog):
    """Above DEBUG requests that succeed say nothing."""
    caplog.set_level(logging.INFO, "headstream")
    for ask, _ in REQUESTS.values():
        ask(metered)
    assert caplog.messages == []


def test_it_looks_like_what_it_meters():
    """In errors and reports, and to whoever asks for its defaults."""
    for metered in (Metered(Watched(), Meter()), AsyncMetered(AsyncMemory(Watched()), Meter())):
        assert repr(metered) == repr(metered.inner)
        for name in ("keeps_metadata", "default_tail", "default_poll"):
            assert getattr(metered, name) == getattr(metered.inner, name)


def test_closing_closes_what_is_below(watched):
    """As often as it is asked to."""
    Metered(watched, Meter()).close()
    asyncio.run(AsyncMetered(AsyncMemory(watched), Meter()).close())
    assert watched.closed == 2
