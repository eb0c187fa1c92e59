"""What applications hand in and get back: frozen values that check themselves."""

from __future__ import annotations

import enum
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any, Final, Generic, Self, TypeAlias, TypeVar, cast, overload
from uuid import UUID

import msgspec

from headstream import limits
from headstream.errors import CorruptData, InvalidInput
from headstream.nesting import has_long_number, is_deep_json

R = TypeVar("R")

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_from_json: Final = msgspec.json.Decoder().decode
_none: Final = type(None)
_NO_METADATA: Final[Mapping[str, Any]] = {}


class Expected(enum.Enum):
    """What an append may expect of a stream besides a version. Use the names :data:`ANY` and so on."""

    ANY = "ANY"
    NO_STREAM = "NO_STREAM"
    EXISTS = "EXISTS"

    def __repr__(self) -> str:
        return self.value


ANY: Final = Expected.ANY
"""Append after whatever is there."""
NO_STREAM: Final = Expected.NO_STREAM
"""Append only if the stream has no events: the same as version 0."""
EXISTS: Final = Expected.EXISTS
"""Append only if the stream has at least one event."""


class Event(msgspec.Struct, frozen=True):
    """A fact, to be appended.

    ``type``: its name, such as ``"OrderPlaced"``; at most 256 bytes of UTF-8.
    ``data``: anything that msgspec encodes as JSON (dictionaries, dataclasses, Structs, attrs and pydantic models, datetimes, UUIDs, …),
    or ``bytes``, which are kept exactly. It is encoded when it is appended.
    ``metadata``: a mapping for what is about the event rather than in it: correlation ids, the user, a trace.
    ``id``: an id of the application's own, a string or UUID; at most 256 bytes. headstream does not need one.

    Raises :class:`~headstream.InvalidInput` for a type, metadata or id that cannot be stored.
    """

    type: str
    data: Any = None
    metadata: Mapping[str, Any] = _NO_METADATA
    id: str | UUID | None = None

    def __post_init__(self) -> None:
        check_text("an event's type", self.type, limits.MAX_TYPE)
        if self.id is not None:
            check_text("an event's id", str(self.id) if isinstance(self.id, UUID) else self.id, limits.MAX_EVENT_ID)
        if type(self.metadata) is not dict and not isinstance(self.metadata, Mapping):
            raise InvalidInput(f"an event's metadata is a mapping, not {type(self.metadata).__name__}")


def _unreadable(text: str, event: RecordedEvent, error: Exception) -> Exception:
    """Why a text could not be decoded: damage, unless this process only has too small a stack or takes shorter numbers than others."""
    what = f"event {event.version} of stream {event.stream!r} holds"
    if isinstance(error, RecursionError) and not is_deep_json(text, limits.HOSTILE_NESTING):
        return RecursionError(
            f"{what} data nested deeper than the stack has room for here: look at it from where fewer calls are active"
        )
    limit = sys.get_int_max_str_digits()
    if 0 < limit < sys.int_info.default_max_str_digits and has_long_number(text, limit):
        return ValueError(
            f"{what} a whole number of more than {limit} digits, which this process does not read: "
            "raise the limit by sys.set_int_max_str_digits"
        )
    return CorruptData(f"{what} text that is not JSON: {error}")


class _Decoded(Generic[R]):
    """What an event holds as JSON text: decoded when it is first looked at, and remembered. In one piece, for it is done once for each event."""

    def __init__(self, stored: str, nothing: Callable[[], R]) -> None:
        self._stored = attrgetter(stored)
        self._nothing = nothing

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, event: None, owner: type) -> Self: ...

    @overload
    def __get__(self, event: RecordedEvent, owner: type) -> R: ...

    def __get__(self, event: RecordedEvent | None, owner: type) -> Self | R:
        if event is None:
            return self
        made = self._stored(event)
        if type(made) is str:
            try:
                made = _from_json(made)
            except (msgspec.DecodeError, RecursionError) as error:
                raise _unreadable(made, event, error) from None
        elif made is None:
            made = self._nothing()
        event.__dict__[self._name] = made
        return cast("R", made)


class RecordedEvent(msgspec.Struct, frozen=True, eq=False, dict=True):
    """An event as it was recorded. ``data`` and ``metadata`` are decoded when they are first looked at."""

    stream: str
    """The stream that it belongs to."""
    version: int
    """Its number in the stream: 1, 2, 3 … without gap."""
    type: str
    payload: str | bytes | None
    """The data as stored: JSON text, the bytes that were appended, or ``None``."""
    metadata_json: str | None
    """The metadata as stored: JSON text, or ``None`` for an empty mapping."""
    id: str | None
    """The application's own id for it, if it gave one."""
    changeset: bytes
    """The id of the changeset that it was appended with, 16 bytes; see :attr:`changeset_id`."""
    micros: int
    """When it was appended, by the writer's clock: microseconds since 1970-01-01 UTC; see :attr:`recorded_at`."""

    data = _Decoded[Any]("payload", _none)
    """What was appended: JSON as dictionaries, lists, strings, numbers, booleans and ``None``; bytes as bytes."""
    metadata = _Decoded[dict[str, Any]]("metadata_json", dict)
    """The metadata that was appended; an empty dictionary when there was none."""

    @property
    def changeset_id(self) -> UUID:
        """The id of the changeset that it was appended with: a UUIDv7. Events of one append share it."""
        return UUID(bytes=self.changeset)

    @property
    def recorded_at(self) -> datetime:
        """When it was appended, by the writer's clock, in UTC."""
        return _EPOCH + timedelta(microseconds=self.micros)

    def _identity(self) -> tuple[object, ...]:
        return (self.stream, self.version, self.type, self.payload, self.metadata_json, self.id, self.changeset)

    def __eq__(self, other: object) -> bool:
        return self._identity() == other._identity() if isinstance(other, RecordedEvent) else NotImplemented

    def __ne__(self, other: object) -> bool:  # a Struct has one of its own, which does not ask __eq__
        return not self == other

    def __hash__(self) -> int:
        return hash((self.stream, self.version, self.changeset))

    def __repr__(self) -> str:
        return f"RecordedEvent({self._described()})"

    def _described(self) -> str:
        return (
            f"stream={self.stream!r}, version={self.version}, type={self.type!r}, data={self.data!r}, "
            f"metadata={self.metadata!r}, id={self.id!r}, changeset_id={str(self.changeset_id)!r}, "
            f"recorded_at={self.recorded_at.isoformat()!r}"
        )


class FeedEvent(RecordedEvent, frozen=True, eq=False, array_like=True, forbid_unknown_fields=True):
    """An event as the feed of all events has it: with its ``stream`` and ``version``, and its place among all events.

    It equals the same event read from its stream. It is stored as an array of its fields, in their order.
    """

    version: Annotated[int, msgspec.Meta(ge=1, le=limits.MAX_VERSION)]
    payload: Any
    changeset: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    micros: Annotated[int, msgspec.Meta(ge=0, le=limits.MAX_MICROS)]
    position: int
    """Its number in the feed: 1, 2, 3 … without gap, the same for every reader."""

    def __repr__(self) -> str:
        return f"FeedEvent(position={self.position}, {self._described()})"


class Head(msgspec.Struct, frozen=True, eq=False):
    """Where a stream ends: what a read or an append returned. Hand it to ``append(expected=…)`` to save a request."""

    stream: str
    version: int
    """How many events the stream has; 0 when it does not exist."""
    etag: str
    """The storage's tag of the head object; ``""`` when the stream does not exist, or has grown past this version."""
    changeset: bytes | None
    """The id of the newest changeset, 16 bytes, or ``None`` when there is none; see :attr:`changeset_id`."""
    positions: range | None = None
    """Where the events that were just appended are in the feed, if ``append(publish=True)`` returned this."""
    _known: object = None
    _store: UUID | None = None

    @property
    def changeset_id(self) -> UUID | None:
        """The id of the newest changeset: a UUIDv7, or ``None`` when there is none."""
        return None if self.changeset is None else UUID(bytes=self.changeset)

    @property
    def exists(self) -> bool:
        """Whether the stream has any event."""
        return self.version > 0

    def _identity(self) -> tuple[object, ...]:
        return (self.stream, self.version, self.changeset)

    def __eq__(self, other: object) -> bool:
        return self._identity() == other._identity() if isinstance(other, Head) else NotImplemented

    def __ne__(self, other: object) -> bool:  # a Struct has one of its own, which does not ask __eq__
        return not self == other

    def __hash__(self) -> int:
        return hash(self._identity())

    def __repr__(self) -> str:
        changeset_id = str(self.changeset_id) if self.changeset else None
        return (
            f"Head(stream={self.stream!r}, version={self.version}, etag={self.etag!r}, changeset_id={changeset_id!r})"
        )


Expectation: TypeAlias = Head | int | Expected
"""What ``append(expected=…)`` takes."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is chosen when a store is created, and holds for as long as it exists.

    Raises :class:`~headstream.InvalidInput` for a value out of range.
    """

    tail_bytes: int
    """How many bytes of the newest changesets travel inside a stream's head, 0 to 1 MiB. 0: every changeset is its own
    object, as in the 2012 article."""
    fan_out: int = 64
    """How many references a head, or one index page, holds at each level: 2 to 1,024."""
    feed: bool = True
    """Whether appends announce themselves for the feed of all events: one more small object written at the same time."""
    advance_every: int = 1000
    """After how many of its own appends a client advances the feed by itself, 0 to 1,000,000. 0: never; then somebody has to read
    the feed, or run ``headstream advance``, or the inbox grows."""
    grace_seconds: int = 60
    """How long an append may take before an advance of the feed may make it start over, 1 to 86,400: longer than your slowest
    upload, and than your clocks differ."""

    def __post_init__(self) -> None:
        _check_setting("tail_bytes", self.tail_bytes, 0, limits.MAX_TAIL)
        _check_setting("fan_out", self.fan_out, limits.MIN_FAN_OUT, limits.MAX_FAN_OUT)
        _check_setting("advance_every", self.advance_every, 0, limits.MAX_ADVANCE_EVERY)
        _check_setting("grace_seconds", self.grace_seconds, 1, limits.MAX_GRACE)
        if type(self.feed) is not bool:
            raise InvalidInput(f"feed is {self.feed!r}; it must be True or False")


def _check_setting(name: str, value: object, least: int, most: int) -> None:
    if type(value) is not int or not least <= value <= most:
        raise InvalidInput(f"{name} is {value!r}; it must be a whole number from {least} to {most}")


def check_text(what: str, text: object, limit: int) -> None:
    """A string of 1 to ``limit`` bytes of UTF-8, or :class:`~headstream.InvalidInput` that begins with ``what``."""
    if not isinstance(text, str):
        raise InvalidInput(f"{what} is a string, not {type(text).__name__}")
    if not text:
        raise InvalidInput(f"{what} cannot be empty")
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise InvalidInput(f"{what} holds a lone surrogate, which is no text: {text[:40]!r}") from None
    if size > limit:
        raise InvalidInput(f"{what} has {size} bytes in UTF-8; at most {limit} are possible: {text[:40]!r}…")


def check_stream(name: object) -> None:
    """A name that a stream can have. ``$`` begins the names of headstream's own streams; use :func:`check_writable`."""
    if not isinstance(name, str):
        raise InvalidInput(f"a stream's name is a string, not {type(name).__name__}")
    _check_name(name)


@lru_cache(maxsize=4096)
def _check_name(name: str) -> None:
    check_text("a stream's name", name, limits.MAX_STREAM_NAME)
    if "." in name and any(part in {".", ".."} for part in name.replace("\\", "/").split("/")):
        raise InvalidInput(f"a stream's name cannot have '.' or '..' between slashes: {name!r}")


def check_writable(name: object) -> None:
    """A name that an application may append to."""
    check_stream(name)
    assert isinstance(name, str)
    if name.startswith("$"):
        raise InvalidInput(f"names that begin with '$' are headstream's own; choose another than {name!r}")
