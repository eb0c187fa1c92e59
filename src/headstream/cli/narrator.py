"""Tells the story of ``headstream demo``: shows a chapter's code, runs it, reports what it returned."""

from __future__ import annotations

import inspect
import shlex
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import msgspec
from rich.rule import Rule
from rich.syntax import Syntax
from rich.text import Text

import headstream
from headstream.cli import story
from headstream.cli.drawing import Drawing
from headstream.cli.output import Terminal, count, size, versions
from headstream.cli.rows import FeedRows, Rows
from headstream.cli.spending import watched
from headstream.client import EventStore
from headstream.connecting import connect
from headstream.model import Head, RecordedEvent

P = ParamSpec("P")
T = TypeVar("T")

INDENT: Final = "   "
FEW: Final = 10
"""So many events are shown one by one."""


class Place(msgspec.Struct, frozen=True):
    """Where the story is told."""

    url: str
    order: str
    """The names of its streams."""
    sensor: str
    parcel: str
    worker: str
    """The name of a checkpoint."""
    kept: bool
    """Whether it is there afterwards."""
    keywords: dict[str, Any]
    """For ``connect``."""
    file: Path | None = None
    """The database, if it is one file."""


class Narrator:
    """Two people with a connection each, and somebody who tells what they do."""

    def __init__(self, terminal: Terminal, place: Place) -> None:
        self._terminal = terminal
        self._place = place
        self._chapter = 0
        self._seconds = 0.0

    def tell(self) -> None:
        """The whole story."""
        begun = time.perf_counter()
        self._title()
        with self._connect() as anna, self._connect() as ben:
            self._append(anna)
            end = self._conflict(anna, ben)
            self._retry(ben, end)
            self._measure(anna)
            self._read(ben)
            seen = self._feed(anna)
            self._subscribe(ben, seen)
            self._where(ben)
        # Now that the store is closed, its log is empty, and the file has the size that it keeps.
        if self._place.file is not None:
            self._file(self._place.file)
        self._goodbye(time.perf_counter() - begun)

    def _connect(self) -> EventStore:
        return watched(connect(self._place.url, **self._place.keywords))

    # --- the chapters --------------------------------------------------------------------------------------------

    def _title(self) -> None:
        self._terminal.show()
        self._terminal.show(
            (f" headstream {headstream.__version__}", "title"),
            ("  an event store that lives in a bucket, a folder or one file", "quiet"),
        )
        self._terminal.show((" this store: ", "quiet"), self._place.url)

    def _append(self, anna: EventStore) -> None:
        head = self._run("Append", story.place_order, anna, self._place.order)
        self._report((head.stream, "name"), " is at version ", (count(head.version), "number"), self._took())

    def _conflict(self, anna: EventStore, ben: EventStore) -> Head:
        refused, news, end = self._run("Conflict", story.ship_order, anna, ben, self._place.order)
        (last,) = ben.read(end.stream, backwards=True, limit=1)
        self._report("anna appends ", *self._event(news[-1]))
        found = f": version {refused.expected} expected, {refused.actual} found"
        self._report("ben is ", ("refused", "bad"), found)
        self._report(f"ben reads what is new, {count(len(news), 'event')}, and decides again")
        self._report("ben appends ", *self._event(last), self._took())
        return end

    def _retry(self, ben: EventStore, end: Head) -> None:
        first, again = self._run("Retry", story.send_invoice, ben, self._place.order, end)
        for word, head in (("first", first), ("again", again)):
            changeset = (f"  changeset {head.changeset_id}", "quiet")
            self._report(f"{word}  version ", (count(head.version), "number"), changeset)
        if first.changeset_id != again.changeset_id:
            raise AssertionError("an append with a key was made twice")
        self._report("it is ", ("the same changeset", "good"), self._took())

    def _measure(self, anna: EventStore) -> None:
        head = self._run("A longer stream", story.measure, anna, self._place.sensor)
        rate = round(head.version / self._seconds)
        self._report((count(head.version, "event"), "number"), f", durable at {count(rate)} a second", self._took())

    def _read(self, ben: EventStore) -> None:
        middle = ben.read(self._place.sensor).head().version // 2
        readings = self._run("Read", story.read_sensor, ben, self._place.sensor, middle)
        rows = Rows(self._terminal, 3 + len("version"), len("Measured"))
        for reading in readings:
            begun = time.perf_counter()
            events = list(reading)
            self._seconds = time.perf_counter() - begun
            ends = versions(events[0].version, events[-1].version)
            self._report((count(len(events), "event"), "number"), f", {ends}", self._took())
            if len(events) < FEW:
                for event in events:
                    rows.add(event)

    def _feed(self, anna: EventStore) -> int:
        """Returns the position before what happens here."""
        events = self._run("The feed", story.read_feed, anna, self._place.order, self._place.parcel)
        self._report((count(len(events), "event"), "number"), " of several streams, in one order", self._took())
        FeedRows(self._terminal).write(events)
        return events[0].position - 1

    def _subscribe(self, ben: EventStore, seen: int) -> None:
        worker = self._place.worker
        runs = self._run("A subscription", story.subscribe, ben, self._place.parcel, worker, seen)
        took = self._took()
        for word, events in zip(("today   ", "tomorrow"), runs, strict=True):
            ends = versions(events[0].position, events[-1].position)
            self._report(f"{word}  ", (count(len(events), "event"), "number"), f", {ends}")
        (position,) = [checkpoint.position for checkpoint in ben.checkpoints() if checkpoint.name == worker]
        self._report((worker, "name"), " is at position ", (count(position), "number"), took)

    def _where(self, ben: EventStore) -> None:
        self._heading("Where it lies")
        self._say(
            "The stream is a linked list of immutable segments. A small head points at the\n"
            "newest, carries what is not sealed yet, and moves only by compare-and-swap."
        )
        self._terminal.show()
        layout = ben.layout(self._place.sensor)
        assert layout is not None
        Drawing(self._terminal, ben, layout, everything=False).draw()

    def _file(self, file: Path) -> None:
        self._terminal.show()
        everything = ("  all of it, streams and settings, in one file", "quiet")
        self._report((file.name, "name"), "  ", (size(file.stat().st_size), "number"), everything)

    def _goodbye(self, seconds: float) -> None:
        self._terminal.show()
        self._terminal.print(Rule(style="quiet"))
        if self._place.kept:
            self._terminal.show((f" Told in {seconds:.1f} s. Look around:", "quiet"))
            url = shlex.quote(self._place.url)
            commands = [
                f"read {url} {self._place.order}",
                f"head {url} {self._place.sensor} --all",
                f"streams {url} --long",
                f"feed {url} --backwards --limit 5",
                f"checkpoints {url}",
            ]
        else:
            self._terminal.show((f" Told in {seconds:.1f} s, and the store is removed. To keep one:", "quiet"))
            commands = ["demo --keep demo.db"]
        for command in commands:
            self._terminal.show(f"{INDENT}headstream {command}")

    # --- how a chapter is told -----------------------------------------------------------------------------------

    def _run(self, title: str, chapter: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        self._heading(title)
        self._say(inspect.getdoc(chapter) or "")
        self._terminal.show()
        self._show(chapter)
        self._terminal.show()
        begun = time.perf_counter()
        answer = chapter(*args, **kwargs)
        self._seconds = time.perf_counter() - begun
        return answer

    def _heading(self, title: str) -> None:
        self._chapter += 1
        self._terminal.show()
        self._terminal.print(Rule(Text(f"{self._chapter}  {title}", "title"), align="left", style="quiet"))

    def _say(self, text: str) -> None:
        for line in text.splitlines():
            self._terminal.show(f" {line}")

    def _show(self, chapter: Callable[..., Any]) -> None:
        code = Syntax("", "python", theme="ansi_dark").highlight(_body(chapter))
        for line in code.split("\n"):
            self._terminal.show(INDENT, line)

    def _report(self, *parts: str | Text | tuple[str, str]) -> None:
        self._terminal.show((" → ", "good"), *parts)

    def _event(self, event: RecordedEvent) -> tuple[tuple[str, str], Text]:
        return (f"{event.type} ", "type"), self._terminal.value(event.payload)

    def _took(self) -> tuple[str, str]:
        return f"  in {self._seconds * 1000:,.1f} ms", "quiet"


def _body(chapter: Callable[..., Any]) -> str:
    """The code of a chapter without its signature and docstring; empty if Python was shipped without sources."""
    try:
        source = inspect.getsource(chapter)
    except OSError:
        return ""
    _, _, body = source.split('"""', 2)
    return textwrap.dedent(body.strip("\n")).rstrip()
