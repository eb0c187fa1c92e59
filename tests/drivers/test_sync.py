"""The blocking driver: it executes operations, throws faults in, and adds nothing of its own."""

from __future__ import annotations

from typing import Any

import pytest

from headstream import limits
from headstream.backends.memory import MemoryBackend
from headstream.drivers import sync
from headstream.errors import AccessDenied
from headstream.protocol.ops import (
    ABSENT,
    ALWAYS,
    MISSING,
    NOT_MODIFIED,
    REFUSED,
    Commit,
    Delete,
    Found,
    Gen,
    Get,
    GetMany,
    List,
    NotApplied,
    Op,
    Page,
    Pause,
    Put,
    Stamp,
    Stored,
    Unknown,
)
from support import shown
from support.backends import Watched


def ask(op: Op[Any]) -> Gen[Any]:
    """A step of one operation."""
    return (yield from op)


def test_each_operation():
    """Executed by the backend, its answer sent in."""
    backend = MemoryBackend()

    def step() -> Gen[str]:
        assert (yield from Get("heads/s")) == MISSING
        stored = yield from Commit((Put("inbox/1", b"intent", ALWAYS),), Put("heads/s", b"head", ABSENT))
        assert isinstance(stored, Stored)
        assert (yield from Commit((), Put("heads/s", b"head", ABSENT))) == REFUSED
        found = yield from Get("heads/s")
        assert isinstance(found, Found)
        assert (found.body, found.etag) == (b"head", stored.etag)
        assert (yield from Get("heads/s", stored.etag)) == NOT_MODIFIED
        assert (yield from GetMany((Get("inbox/1"), Get("inbox/2"))))[1] == MISSING
        assert (yield from List("")) == Page(("heads/s", "inbox/1"), more=False)
        assert (yield from List("", "heads/s")) == Page(("inbox/1",), more=False)
        yield from Delete(("inbox/1", "inbox/2"))
        assert (yield from List("inbox/")) == Page((), more=False)
        stamp = yield from Stamp()
        assert len(stamp.id) == 16
        assert (yield from Stamp(b"\xff" * 6 + bytes(10))).id > b"\xff" * 6
        yield from Pause(0.0)
        return "done"

    assert sync.run(step(), backend) == "done"


def test_a_step_without_operations():
    """It just returns."""

    def step() -> Gen[int]:
        yield from ()
        return 7

    assert sync.run(step(), MemoryBackend()) == 7


def test_pages_of_lists_have_the_usual_size(monkeypatch):
    """What S3 and GCS return at most."""
    asked = []
    backend = MemoryBackend()
    monkeypatch.setattr(backend, "list", lambda *arguments: asked.append(arguments))
    sync.run(ask(List("heads/", "heads/a")), backend)
    assert asked == [("heads/", "heads/a", limits.LIST_PAGE)]


@pytest.mark.parametrize("fault", [NotApplied("throttled"), Unknown("time-out"), AccessDenied("no")], ids=shown)
def test_faults_are_thrown_in(fault):
    """The core decides what they mean; it may go on."""
    backend = Watched()
    backend.faults.append(fault)

    def step() -> Gen[Any]:
        with pytest.raises(type(fault)) as caught:
            yield from Get("a")
        yield from Get("b")
        return caught.value

    assert sync.run(step(), backend) is fault
    assert backend.requests == ["get a", "get b"]


@pytest.mark.parametrize("error", [NotApplied("throttled"), AccessDenied("no"), ZeroDivisionError()], ids=shown)
def test_what_the_core_does_not_catch_comes_through(error):
    """As it is."""
    backend = Watched()
    backend.faults.append(error)
    with pytest.raises(type(error)) as caught:
        sync.run(ask(Get("a")), backend)
    assert caught.value is error


def test_a_defect_of_a_backend_is_not_shown_to_the_core():
    """The core handles what it knows; anything else is a bug that must not be handled."""
    backend = Watched()
    backend.faults.append(ZeroDivisionError())
    seen = []

    def step() -> Gen[None]:
        try:
            yield from Get("a")
        except Exception as error:
            seen.append(error)

    with pytest.raises(ZeroDivisionError):
        sync.run(step(), backend)
    assert seen == []


def test_a_defect_that_looks_like_the_end():
    """A StopIteration from a backend is no result."""
    backend = Watched()
    backend.faults.append(StopIteration("a bug"))
    with pytest.raises(RuntimeError, match="StopIteration"):
        sync.run(ask(Get("a")), backend)


def test_pauses_are_bounded_and_vary(monkeypatch):
    """A random part of what the core allows, so that clients do not meet again and again."""
    slept: list[float] = []
    monkeypatch.setattr("headstream.drivers.sync.time.sleep", slept.append)
    for _ in range(200):
        sync.run(ask(Pause(0.5)), MemoryBackend())
    assert len(slept) == 200
    assert all(0 <= seconds <= 0.5 for seconds in slept)
    assert min(slept) < 0.1
    assert max(slept) > 0.4
