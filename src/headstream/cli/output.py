"""How results are shown: one console for people, JSON Lines for programs."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final

import msgspec
from rich.console import Console
from rich.highlighter import JSONHighlighter
from rich.text import Text
from rich.theme import Theme

from headstream.cli.texts import spaced

THEME: Final = Theme(
    {
        "title": "bold",
        "name": "bold cyan",
        "number": "green",
        "time": "blue",
        "type": "bold yellow",
        "quiet": "bright_black",
        "good": "bold green",
        "bad": "bold red",
        "json.key": "cyan",
        "json.str": "default",
        "json.number": "green",
        "json.bool_true": "magenta",
        "json.bool_false": "magenta",
        "json.null": "magenta",
        "json.brace": "bright_black",
    }
)
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB")
NOTHING: Final = "–"
"""Stands for data that was not given."""
_highlighter: Final = JSONHighlighter()


class Terminal(Console):
    """A console that prints what it is given: no markup in names, and a closed pipe is the caller's affair."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, theme=THEME, markup=False, emoji=False, highlight=False)

    def on_broken_pipe(self) -> None:
        """Raise it: the program decides about its exit code."""
        raise BrokenPipeError

    def show(self, *parts: str | Text | tuple[str, str]) -> None:
        """One line of texts and ``(text, style)`` pairs, which is never wrapped; on a terminal it is cut to the width."""
        text = Text.assemble(*parts, no_wrap=True)
        text.rstrip()
        if self.is_terminal:
            text.truncate(self.width, overflow="ellipsis")
        if self.color_system is None:
            self.file.write(f"{text.plain}\n")  # a pipe: rendering takes five times as long
        else:
            self.print(text, soft_wrap=True)

    def value(self, data: str | bytes | None) -> Text:
        """Event data as it is stored, on one line, no longer than the terminal needs it, in colours if it has any."""
        text = value(data, self.width if self.is_terminal else None)
        if data is None or isinstance(data, bytes):
            return Text(text, "quiet")
        return Text(text) if self.color_system is None else _highlighter(text)


# --- for programs ------------------------------------------------------------------------------------------------


def write_json(rows: Iterable[object]) -> None:
    """JSON Lines on stdout, in UTF-8 whatever the locale."""
    encode = msgspec.json.Encoder().encode
    out = sys.stdout.buffer
    try:
        for row in rows:
            out.write(encode(row) + b"\n")
    finally:
        out.flush()


# --- for people --------------------------------------------------------------------------------------------------


def printable(text: str) -> str:
    """``text`` without what could move the cursor, hide or reorder what is shown: such characters appear as escapes."""
    if text.isprintable():
        return text
    return "".join([char if char.isprintable() else ascii(char)[1:-1] for char in text])


def shortened(text: str, room: int) -> str:
    """``text`` in ``room`` characters, without its middle if it has more: names differ at their ends."""
    if len(text) <= room:
        return text
    end = (room - 1) // 2
    return f"{text[: room - 1 - end]}…{text[len(text) - end :]}"


def count(number: int, noun: str = "") -> str:
    """``1,234 events``, ``1 event``, or the number alone."""
    if not noun:
        return f"{number:,}"
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def size(number: float) -> str:
    """Bytes in a unit that a person can read."""
    if number < 1024:
        return f"{number:.0f} B"
    for unit in _UNITS:
        number /= 1024
        if number < 1024 or unit == _UNITS[-1]:
            break
    return f"{number:.1f} {unit}"


def versions(first: int, last: int) -> str:
    """A range of versions."""
    return count(first) if first == last else f"{first:,}–{last:,}"


def moment(time: datetime) -> str:
    """A time to the second, in UTC."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def value(data: str | bytes | None, room: int | None = None) -> str:
    """Event data as it is stored (JSON text, bytes, nothing) on one line; not much more of it than ``room`` characters."""
    if data is None:
        return NOTHING
    if isinstance(data, bytes):
        shown = data if room is None else data[:room]
        return f"{size(len(data))}: {shown.hex(' ')}"
    text = printable(spaced(data))
    return text if room is None else text[: room + 1]
