"""Many events from JSON Lines, in bounded memory, with a way to go on after whatever stops it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Final

import msgspec
import rich_click as click
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from headstream import limits
from headstream.cli.failures import Stopped, code_of
from headstream.cli.lines import Entry, entries
from headstream.cli.output import Terminal, count, write_json
from headstream.client import EventStore
from headstream.errors import HeadstreamError, KeyReused, OutcomeUnknown
from headstream.model import ANY, EXISTS, Expectation, Head, check_text

BATCH_BYTES: Final = limits.MIB
"""Lines that are longer together are more than one append."""


class Batch(msgspec.Struct, frozen=True):
    """Consecutive lines of one stream."""

    entries: list[Entry]

    @property
    def first(self) -> int:
        """The number of its first line."""
        return self.entries[0].number

    @property
    def last(self) -> int:
        """The number of its last line."""
        return self.entries[-1].number


def batches(lines: Iterable[Entry], most: int) -> Iterator[Batch]:
    """The lines in batches of at most ``most``; which they are depends on the lines alone, so that keys fit when it is repeated."""
    waiting: list[Entry] = []
    size = 0
    for entry in lines:
        full = len(waiting) == most or size + entry.size > BATCH_BYTES
        if waiting and (full or waiting[0].stream != entry.stream):
            yield Batch(waiting)
            waiting, size = [], 0
        waiting.append(entry)
        size += entry.size
    if waiting:
        yield Batch(waiting)


class Import:
    """The events of a file on their way into a store."""

    def __init__(
        self,
        store: EventStore,
        file: IO[bytes],
        stream: str | None,
        *,
        expected: Expectation,
        key: str | None,
        batch: int,
        skip: int,
    ) -> None:
        if stream is None and expected is not ANY:
            raise click.UsageError("--expected with --from needs STREAM: it speaks of one stream")
        if key is not None:
            if expected in {ANY, EXISTS}:
                raise click.UsageError("--key with --from needs STREAM and --expected none or a version")
            check_text("a key", f"{key}/{limits.MAX_VERSION}", limits.MAX_IDEMPOTENCY_KEY)
        self._store = store
        self._file = file
        self._stream = stream
        self._expected = expected
        self._key = key
        self._batch = batch
        self._skip = skip
        self._events = 0
        self._appends = 0
        #: Lines of the file that need not be looked at again.
        self._done = skip

    def run(self, *, as_json: bool) -> None:
        """Append everything, and say how much it was; raises :class:`Stopped` when it ends early."""
        sending: Batch | None = None
        try:
            with self._progress() as progress:
                task = progress.add_task("", total=_size_of(self._file), events="")
                for batch in batches(entries(self._file, self._stream, self._skip), self._batch):
                    sending = batch
                    self._append(batch)
                    sending = None
                    progress.update(task, completed=batch.entries[-1].end, events=count(self._events, "event"))
        except HeadstreamError as error:
            raise Stopped(f"{_place(sending)}{error}; {self._state(sending, error)}", code_of(error)) from error
        except KeyboardInterrupt as interruption:
            raise Stopped(f"interrupted; {self._state(sending, None)}", code_of(interruption)) from None
        self._report(as_json=as_json)

    def _append(self, batch: Batch) -> None:
        key = None if self._key is None else f"{self._key}/{batch.first}"
        stream = batch.entries[0].stream
        events = [entry.event for entry in batch.entries]
        head = self._store.append(stream, events, expected=self._expected, key=key)
        if self._expected is not ANY:
            self._expected = head
        self._events += len(events)
        self._appends += 1
        self._done = batch.last

    def _progress(self) -> Progress:
        terminal = Terminal(stderr=True)
        return Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[events]}"),
            BarColumn(),
            TaskProgressColumn(),
            DownloadColumn(binary_units=True),
            TimeRemainingColumn(),
            console=terminal,
            transient=True,
            disable=not terminal.is_terminal,
        )

    def _state(self, sending: Batch | None, error: HeadstreamError | None) -> str:
        """What was written, and how to go on."""
        written = (
            f"{count(self._events, 'event')} of lines {self._skip + 1} to {self._done}" if self._events else "nothing"
        )
        state = f"{written} {'was' if self._events == 1 or not self._events else 'were'} written"
        unsure = sending is not None and (error is None or isinstance(error, OutcomeUnknown))
        if unsure and sending is not None:
            state += f", and lines {sending.first} to {sending.last} may be"
        if isinstance(error, KeyReused):
            return f"{state}: the file or --batch is not what it was when these lines were imported"
        if self._key is not None:
            return f"{state}: run the same command again, it repeats nothing"
        if not self._events and not unsure:
            return state
        rest = f"--skip {self._done}"
        if isinstance(self._expected, Head):
            rest += f" --expected {self._expected.version}"
        return f"{state}: {'look before you ' if unsure else ''}go on with {rest}"

    def _report(self, *, as_json: bool) -> None:
        if as_json:
            write_json([{"events": self._events, "appends": self._appends, "lines": self._done}])
        else:
            Terminal().show((count(self._events, "event"), "number"), f" appended, in {count(self._appends, 'append')}")


def _place(sending: Batch | None) -> str:
    if sending is None:  # the error names its line
        return ""
    return f"line {sending.first}: " if sending.first == sending.last else f"lines {sending.first} to {sending.last}: "


def _size_of(file: IO[bytes]) -> int | None:
    """Bytes of a file, if it is one."""
    try:
        if file.seekable():
            position = file.tell()
            size = file.seek(0, 2)
            file.seek(position)
            return size
    except (OSError, ValueError):
        pass
    return None
