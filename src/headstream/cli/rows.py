"""Events as rows of a table whose columns do not wait for rows to come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.text import Text

from headstream.cli import texts
from headstream.cli.output import Terminal, count, moment, printable, shortened, value
from headstream.model import FeedEvent, RecordedEvent

WIDEST: Final = 28
"""Columns of a name or type, at most; longer ones move what follows them."""


class Rows:
    """The events of a stream: a table whose columns have fixed widths."""

    def __init__(self, terminal: Terminal, number_width: int, type_width: int) -> None:
        self._terminal = terminal
        self._number_width = number_width
        self._type_width = type_width

    def title(self) -> None:
        """The names of the columns."""
        self._terminal.show(
            (f"{'version':>{self._number_width}}  {'time (UTC)':<19}  {'type':<{self._type_width}}  data", "quiet")
        )

    def add(self, event: RecordedEvent) -> None:
        """One event."""
        self._terminal.show(
            (f"{event.version:>{self._number_width},}", "number"),
            "  ",
            (moment(event.recorded_at), "time"),
            "  ",
            (f"{printable(event.type):<{self._type_width}}", "type"),
            "  ",
            *_details(self._terminal, event),
        )


class FeedRows:
    """The events of the feed: a table whose columns grow when wider values come, up to a limit."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._cut = terminal.is_terminal
        self._titled = False
        self._position = len("position")
        self._stream = len("stream")
        self._version = len("version")
        self._type = len("type")

    def write(self, events: Sequence[FeedEvent]) -> None:
        """Some events; the names of the columns stand above the first. They are out when this returns."""
        self._fit(events)
        if not self._titled:
            self._titled = True
            self._title()
        for event in events:
            self._add(event)
        self._terminal.file.flush()

    def _fit(self, events: Sequence[FeedEvent]) -> None:
        widest = self._widest()
        for event in events:
            self._position = max(self._position, len(count(event.position)))
            self._version = max(self._version, len(count(event.version)))
            self._stream = max(self._stream, min(widest, len(printable(event.stream))))
            self._type = max(self._type, min(widest, len(printable(event.type))))

    def _widest(self) -> int:
        """On a terminal something must be left for the data."""
        return max(12, self._terminal.width // 6) if self._cut else WIDEST

    def _title(self) -> None:
        numbered = f"{'position':>{self._position}}  {'time (UTC)':<19}"
        named = f"{'stream':<{self._stream}}  {'version':>{self._version}}  {'type':<{self._type}}"
        self._terminal.show((f"{numbered}  {named}  data", "quiet"))

    def _add(self, event: FeedEvent) -> None:
        self._terminal.show(
            (f"{event.position:>{self._position},}", "number"),
            "  ",
            (moment(event.recorded_at), "time"),
            "  ",
            (self._name(event.stream, self._stream), "name"),
            "  ",
            (f"{event.version:>{self._version},}", "number"),
            "  ",
            (self._name(event.type, self._type), "type"),
            "  ",
            *_details(self._terminal, event),
        )

    def _name(self, text: str, width: int) -> str:
        text = printable(text)
        return f"{shortened(text, width) if self._cut else text:<{width}}"


def _details(terminal: Terminal, event: RecordedEvent) -> Iterator[Text | tuple[str, str]]:
    texts.check(event)
    yield terminal.value(event.payload)
    if event.metadata_json is not None:
        yield (f"  metadata {value(event.metadata_json)}", "quiet")
    if event.id is not None:
        yield (f"  id {printable(event.id)}", "quiet")
