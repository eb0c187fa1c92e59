"""Events as JSON Lines: what ``read --json`` and ``feed --json`` write and ``append --from`` takes."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import IO, Any, Final

import msgspec

from headstream import limits
from headstream.cli import texts
from headstream.errors import InvalidInput
from headstream.model import Event, FeedEvent, RecordedEvent, check_writable

MAX_LINE: Final = 4 * limits.MAX_CHANGESET
"""Bytes: an event of the largest size in Base64, or with most of its characters escaped."""


_NOTHING: Final = msgspec.Raw()


class Line(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """An event on a line.

    Where it was recorded and how (``position``, ``version``, ``recorded_at``, ``changeset_id``) is for readers: an append ignores it.
    """

    position: int | None = None
    """In the feed, if it was read from there."""
    stream: str | None = None
    version: int | None = None
    type: str
    data: msgspec.Raw = _NOTHING
    data_base64: str | None = None
    """Data that is bytes."""
    metadata: msgspec.Raw = _NOTHING
    id: str | None = None
    recorded_at: str | None = None
    changeset_id: str | None = None


_decoder: Final = msgspec.json.Decoder(Line)


class Entry(msgspec.Struct, frozen=True):
    """An event to be appended, from line ``number`` (1, 2, 3 …) of a file."""

    number: int
    stream: str
    event: Event
    size: int
    """Bytes of the line."""
    end: int
    """Bytes of the file up to the end of the line."""


def line_of(event: RecordedEvent) -> Line:
    """A recorded event as a line."""
    line = Line(
        position=event.position if isinstance(event, FeedEvent) else None,
        stream=event.stream,
        version=event.version,
        type=event.type,
        id=event.id,
        recorded_at=event.recorded_at.isoformat().replace("+00:00", "Z"),
        changeset_id=str(event.changeset_id),
    )
    if isinstance(event.payload, bytes):
        line.data_base64 = b64encode(event.payload).decode()
    elif event.payload is not None:
        texts.check(event)
        line.data = texts.line(event.payload)
    if event.metadata_json is not None:
        line.metadata = texts.line(event.metadata_json)
    return line


def entries(file: IO[bytes], stream: str | None, skip: int) -> Iterator[Entry]:
    """The events of a file, without its first ``skip`` lines. All go to ``stream`` if it is given, whatever the lines say.

    Raises :class:`InvalidInput`, whose message begins with the number of the line.
    """
    number = end = 0
    while text := _read(file, number + 1):
        number += 1
        end += len(text)
        if number <= skip:
            continue
        try:
            if number == 1:
                text = texts.without_mark(text, "the input")
            if text.strip():
                yield _entry(number, end, text, stream)
        except InvalidInput as error:
            raise InvalidInput(f"line {number}: {error.message}", **error.details) from None


def _read(file: IO[bytes], number: int) -> bytes:
    try:
        return file.readline(MAX_LINE + 1)
    except OSError as error:
        raise InvalidInput(f"line {number}: the input cannot be read: {error.strerror}") from None


def _entry(number: int, end: int, text: bytes, stream: str | None) -> Entry:
    if len(text) > MAX_LINE:
        raise InvalidInput(f"it is longer than {MAX_LINE} bytes")
    try:
        text = texts.compact(text)
        line = _decoder.decode(text)
    except texts.NOT_JSON as error:
        raise InvalidInput(f"it is no event: {error}") from None
    texts.members(text, "it")
    target = stream if stream is not None else line.stream
    if target is None:
        raise InvalidInput("it names no stream: give STREAM, or a stream on every line")
    check_writable(target)
    event = Event(line.type, _data(line), _metadata(line), line.id)
    return Entry(number, target, event, len(text), end)


def _metadata(line: Line) -> dict[str, msgspec.Raw]:
    text = bytes(line.metadata)
    return {} if text in {b"", b"null"} else texts.members(text, "its metadata")


def _data(line: Line) -> Any:
    text = bytes(line.data)
    if line.data_base64 is None:
        return texts.data(text) if text else None
    if text:
        raise InvalidInput("it has both data and data_base64")
    try:
        return b64decode(line.data_base64, validate=True)
    except ValueError as error:
        raise InvalidInput(f"its data_base64 is not Base64: {error}") from None
