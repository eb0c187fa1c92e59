"""What is logged, under which names, and that nothing is shown unasked."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from headstream import Event, EventStore, connect
from headstream.protocol.feed import Progress
from headstream.protocol.ops import NotApplied, Unknown
from support.backends import Watched

SECRET = "sesame"


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """A backend that can be made to fail; pauses take no time."""
    monkeypatch.setattr("headstream.drivers.sync.time.sleep", lambda _seconds: None)
    return Watched()


def test_nothing_is_shown_unasked() -> None:
    """Not even a warning, in a program that has not configured logging."""
    script = "import headstream, logging; logging.getLogger('headstream.feed').warning('not to be seen')"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


def test_an_append_that_met_faults_is_told_step_by_step(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """At INFO what failed; at DEBUG what was done about it."""
    with connect(watched, feed=False) as store:
        store.append("s", Event("E"))
        watched.faults += [NotApplied("busy"), Unknown("lost")]
        caplog.set_level(logging.DEBUG, "headstream.requests")
        store.append("s", Event("E"))
    assert [(record.levelname, record.getMessage().partition(": ")[0]) for record in caplog.records] == [
        ("INFO", "put heads/s failed"),
        ("DEBUG", "put heads/s"),
        ("DEBUG", "trying again, after a pause"),
        ("INFO", "put heads/s failed"),
        ("DEBUG", "put heads/s"),
        ("DEBUG", "trying again, after a pause"),
        ("DEBUG", "get heads/s"),
        ("DEBUG", "put heads/s"),
    ]
    assert caplog.messages[0] == "put heads/s failed: NotApplied: busy"


def test_a_lost_race_for_the_feed(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """It is said at INFO, and the advance begins anew."""
    caplog.set_level(logging.INFO, "headstream.feed")
    with connect(watched, advance_every=0) as store, connect(watched) as other:
        store.append("s", Event("E"))
        progress = store._run(store._session.advance(Progress()))
        assert other.advance() == 1
        while not progress.done:
            progress = store._run(store._session.advance(progress))
    assert caplog.messages == ["another client advanced the feed first: looking again (lost in a row: 1)"]


CALLS: dict[str, Callable[[EventStore], Any]] = {
    "append": lambda store: store.append("s", Event("E", {"password": SECRET}, {"token": SECRET})),
    "read": lambda store: list(store.read("s")),
    "feed": lambda store: list(store.feed()),
    "subscribe": lambda store: list(store.subscribe(follow=False)),
}


def test_no_event_data_is_logged(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """At no level, whatever is done, and whatever fails."""
    caplog.set_level(logging.DEBUG, "headstream")
    with connect(watched, tail_bytes=0) as store:
        for name, call in CALLS.items():
            caplog.clear()
            call(store)
            assert caplog.records, name
            assert SECRET not in caplog.text
            watched.faults.append(NotApplied("busy") if name == "append" else None)
            call(store)
            assert SECRET not in caplog.text
