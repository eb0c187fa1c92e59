"""How bodies are encoded: envelopes, frames, event data. ``docs/format.md`` specifies every byte.

Rules:

* Every body is a MessagePack array whose first element is the format number, whose second names the kind of object, and
  whose third is the CRC-32 (4 bytes, big-endian) of the fourth: the object's fields, themselves MessagePack. What follows is specific
  to the kind; where it is bytes, the checksum covers it too. A list of frames has a checksum in each frame.
* A body larger than ``MAX_OBJECT`` is not looked into; nor are fields larger than ``MAX_FIELDS``. What may hold anything is decoded
  bit by bit, if it is large: a byte of MessagePack can become a hundred bytes of memory.
* A body of a newer format is :class:`UnsupportedFormat`; any other body that is not what a writer of this
  format makes is :class:`CorruptData` with the object's key (MessagePack that is longer than it need be is taken: the checksum is of what is there). Decoders raise nothing else, whatever the bytes.
* A frame is one changeset: the CRC-32 of what follows (4 bytes, big-endian), then its MessagePack. It is encoded once, and copied
  byte for byte ever after. ``digest(n) = sha256(digest(n-1) + frame(n))``, with 32 zero bytes before the first.
* The events of the feed's changesets are whole :class:`FeedEvent` arrays, so that a replay decodes each by one step of C.
* Event data keeps its kind (:mod:`headstream.protocol.encoding`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter, itemgetter
from typing import Annotated, Any, Final, TypeAlias, TypeVar
from zlib import crc32

import msgspec

from headstream import limits
from headstream.errors import CorruptData, InvalidInput, UnsupportedFormat
from headstream.model import FeedEvent, RecordedEvent
from headstream.nesting import is_deep_messagepack
from headstream.protocol import keys

FORMAT: Final = 1
NO_DIGEST: Final = bytes(32)
MIN_FRAME: Final = 4
"""Bytes of a frame: it has a checksum."""
LARGE: Final = limits.MIB
"""Bytes of a changeset whose events are decoded one by one, and of an event that is looked through before that."""

ID_SIZE: Final = 16
"""Bytes of an id."""
Id: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=ID_SIZE, max_length=ID_SIZE)]
Digest: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=limits.MAX_VERSION)]
Micros: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=limits.MAX_MICROS)]
"""Microseconds since 1970-01-01 UTC."""
Version: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=limits.MAX_VERSION)]
Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.MAX_STREAM_NAME)]
"""Of a stream or checkpoint. Escaped names are remembered, so none may be long."""
Row: TypeAlias = tuple[str, Any, str | None, str | None]
"""One event in a frame: type, data (``str | bytes | None``, which msgspec cannot check in a union), metadata (JSON), id."""
_DATA_KINDS: Final = frozenset({str, bytes, type(None)})

S = TypeVar("S", bound=msgspec.Struct)
R = TypeVar("R")

_pack: Final = msgspec.msgpack.Encoder().encode


class Changeset(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What every frame begins with: a changeset appended at ``micros``, after version ``follows`` and after changeset ``parent``."""

    id: Id
    parent: Id | None
    follows: Count
    micros: Micros
    key: str | None


class Frame(Changeset, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A changeset of an application's stream."""

    events: Annotated[list[Row], msgspec.Meta(min_length=1, max_length=limits.MAX_EVENTS)]

    @property
    def version(self) -> int:
        """The version of the stream after it."""
        return self.follows + len(self.events)

    def recorded(self, stream: str, first: int, last: int) -> list[RecordedEvent]:
        """Its events whose versions are ``first`` to ``last``."""
        rows = self.events
        version = self.follows + 1
        if version < first or version + len(rows) - 1 > last:
            skip = max(0, first - version)
            rows = rows[skip : max(0, last - version + 1)]
            version += skip
        changeset, micros = self.id, self.micros
        return [
            RecordedEvent(stream, number, type_, data, metadata, event_id, changeset, micros)
            for number, (type_, data, metadata, event_id) in enumerate(rows, version)
        ]

    def published(self, stream: str, position: int) -> list[FeedEvent]:
        """Its events as the feed has them, the first of them at ``position``."""
        changeset, micros, first = self.id, self.micros, self.follows + 1
        ahead = position - first
        return [
            FeedEvent(stream, number, type_, data, metadata, event_id, changeset, micros, ahead + number)
            for number, (type_, data, metadata, event_id) in enumerate(self.events, first)
        ]

    @property
    def weight(self) -> int:
        """About how many bytes it takes in the feed."""
        return sum([200 + _size(data) + _size(metadata) for _, data, metadata, _ in self.events])


def _size(text: str | bytes | None) -> int:
    """Bytes of ``text`` in UTF-8."""
    if text is None:
        return 0
    return len(text) if isinstance(text, bytes) or text.isascii() else len(text.encode())


class Batch(Changeset, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A changeset of the feed."""

    events: Annotated[list[FeedEvent], msgspec.Meta(min_length=1, max_length=limits.MAX_EVENTS)]

    @property
    def version(self) -> int:
        """The position of its last event."""
        return self.follows + len(self.events)

    def recorded(self, _stream: str, first: int, last: int) -> list[FeedEvent]:
        """Its events whose positions are ``first`` to ``last``."""
        return self.events[max(0, first - self.follows - 1) : max(0, last - self.follows)]


class Skimmed(Changeset, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A changeset of which no event is decoded."""

    events: Annotated[list[msgspec.Raw], msgspec.Meta(min_length=1, max_length=limits.MAX_EVENTS)]


_NESTED: Final = frozenset([*range(0x80, 0xA0), *range(0xC7, 0xCA), *range(0xD4, 0xD9), *range(0xDC, 0xE0)])
"""First bytes of MessagePack's maps, arrays and extensions."""

Chain: TypeAlias = Sequence[Frame | Batch]
"""Consecutive changesets of one stream."""
RawFrame: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=MIN_FRAME)]
Rest: TypeAlias = bytes | list[RawFrame]
"""What follows the fields of a body: bytes, or frames."""

_unpack_frame: Final = msgspec.msgpack.Decoder(Frame).decode
_unpack_batch: Final = msgspec.msgpack.Decoder(Batch).decode
_unpack_row: Final = msgspec.msgpack.Decoder(Row).decode
_unpack_event: Final = msgspec.msgpack.Decoder(FeedEvent).decode
_skim: Final = msgspec.msgpack.Decoder(Skimmed).decode
_skim_row: Final = msgspec.msgpack.Decoder(Annotated[list[msgspec.Raw], msgspec.Meta(max_length=9)]).decode
_open: Final[Sequence[Callable[[bytes], Sequence[Any]]]] = (
    msgspec.msgpack.Decoder(tuple[int, str, bytes, bytes]).decode,
    msgspec.msgpack.Decoder(tuple[int, str, bytes, bytes, Rest]).decode,
)
NO_MESSAGEPACK: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises for bytes that are something else; see :func:`undecodable`, which tells them apart."""

_NO_VALUE: Final = (msgspec.MsgspecError, UnicodeEncodeError, OverflowError)
"""What encoding raises for a value that MessagePack does not have, and decoding for one that the format does not."""

# --- envelopes ---------------------------------------------------------------------------------------------------


def pack(value: object) -> msgspec.Raw:
    """A value as MessagePack, to be put into a larger one as it is."""
    return msgspec.Raw(_pack(value))


def seal(
    kind: str,
    fields: msgspec.Struct | tuple[object, ...],
    *rest: object,
    check: msgspec.msgpack.Decoder[Any] | None = None,
) -> bytes:
    """The body of an object of ``kind``. ``check``: what will decode the fields.

    Raises :class:`InvalidInput` for fields that it would refuse: whatever is written can be read.
    """
    try:
        packed = _pack(fields)
        if check is not None:
            check.decode(packed)
    except _NO_VALUE as error:
        raise InvalidInput(f"the {kind} cannot be stored: {error}") from None
    return _pack((FORMAT, kind, _checksum(packed, rest), packed, *rest))


def unseal(kind: str, body: bytes, key: str, fields: msgspec.msgpack.Decoder[S], extra: int = 0) -> tuple[S, list[Any]]:
    """The fields of a body that :func:`seal` made, and the ``extra`` elements (0 or 1) after them, each of which is :data:`Rest`."""
    check_format(body, key)
    try:
        _, found, checksum, packed, *rest = _open[extra](body)
    except NO_MESSAGEPACK as error:
        raise undecodable(f"the object is no {kind}", body, error, key) from None
    if found != kind:
        raise CorruptData(f"the object is no {kind}", key=key)
    if _checksum(packed, rest) != checksum:
        raise CorruptData(f"the checksum of the {kind} is wrong", key=key)
    if len(packed) > limits.MAX_FIELDS:
        raise CorruptData(f"the {kind} has {len(packed)} bytes of fields, which nobody writes", key=key)
    try:
        return fields.decode(packed), rest
    except NO_MESSAGEPACK as error:
        raise undecodable(f"the {kind} cannot be decoded", packed, error, key) from None


def undecodable(what: str, packed: bytes, error: Exception, key: str) -> Exception:
    """The error to raise for one of :data:`NO_MESSAGEPACK`: damage, unless only the stack of this process was too small."""
    if isinstance(error, RecursionError) and not is_deep_messagepack(packed, limits.OBJECT_NESTING):
        return error
    return CorruptData(f"{what}: {error}", key=key)


def _checksum(packed: bytes, rest: Sequence[object]) -> bytes:
    checksum = crc32(packed)
    for part in rest:
        if isinstance(part, bytes):
            checksum = crc32(part, checksum)
    return checksum.to_bytes(4, "big")


def check_format(body: bytes, key: str) -> None:
    """A MessagePack array that begins with this format's number; the number is always one byte."""
    if len(body) > limits.MAX_OBJECT:
        raise CorruptData(f"the object has {len(body)} bytes, which nobody writes", key=key)
    if len(body) < 2 or body[0] & 0xF0 != 0x90 or not 1 <= body[1] < 0x80:
        raise CorruptData("the object is none of headstream's", key=key)
    if body[1] != FORMAT:
        raise UnsupportedFormat(
            "the object was written by a newer headstream: upgrade this one", key=key, format=body[1], known=FORMAT
        )


# --- frames ------------------------------------------------------------------------------------------------------


def encode_frame(
    changeset_id: bytes, parent: bytes | None, follows: int, micros: int, *, key: str | None, rows: bytes
) -> bytes:
    """A frame; ``rows`` are events as :func:`encoding.encode_events` made them.

    Raises :class:`InvalidInput` for what :func:`decode_frame` would refuse in all but the rows.
    """
    if not (0 <= micros <= limits.MAX_MICROS and 0 <= follows <= limits.MAX_VERSION):
        raise InvalidInput(f"a changeset cannot have the time {micros} or follow version {follows}: set the clock")
    if len(changeset_id) != ID_SIZE or (parent is not None and len(parent) != ID_SIZE):
        raise InvalidInput(f"the id of a changeset has {ID_SIZE} bytes")
    try:
        packed = _pack((changeset_id, parent, follows, micros, key, msgspec.Raw(rows)))
    except _NO_VALUE as error:
        raise InvalidInput(f"the changeset cannot be stored: {error}") from None
    return crc32(packed).to_bytes(4, "big") + packed


def decode_frame(frame: bytes, key: str) -> Frame:
    """The changeset of a frame that lies in the object ``key``."""
    packed = checked(frame, key)
    try:
        if len(packed) > LARGE:
            skimmed = _skim(packed)
            rows = _one_by_one(skimmed.events, _unpack_row, itemgetter(1), key)
            return Frame(skimmed.id, skimmed.parent, skimmed.follows, skimmed.micros, skimmed.key, rows)
        changeset = _unpack_frame(packed)
    except NO_MESSAGEPACK as error:
        raise undecodable("a changeset cannot be decoded", packed, error, key) from None
    _check_kinds([type(row[1]) for row in changeset.events], key)
    return changeset


def decode_batch(frame: bytes, key: str) -> Batch:
    """The changeset of a frame of the feed that lies in the object ``key``."""
    packed = checked(frame, key)
    try:
        if len(packed) > LARGE:
            skimmed = _skim(packed)
            events = _one_by_one(skimmed.events, _unpack_event, attrgetter("payload"), key)
            batch = Batch(skimmed.id, skimmed.parent, skimmed.follows, skimmed.micros, skimmed.key, events)
        else:
            batch = _unpack_batch(packed)
            _check_kinds([type(event.payload) for event in batch.events], key)
    except NO_MESSAGEPACK as error:
        raise undecodable("a changeset cannot be decoded", packed, error, key) from None
    if [event.position for event in batch.events] != list(range(batch.follows + 1, batch.version + 1)):
        raise CorruptData(f"the positions of the events after {batch.follows} have a gap", key=key)
    return batch


def checked(frame: bytes, key: str) -> bytes:
    """What the checksum of a frame covers; :class:`CorruptData` if it is wrong."""
    packed = frame[4:]
    if crc32(packed) != int.from_bytes(frame[:4], "big"):
        raise CorruptData("the checksum of a changeset is wrong", key=key)
    return packed


def _one_by_one(
    raws: list[msgspec.Raw], unpack: Callable[[msgspec.Raw], R], payload: Callable[[R], object], key: str
) -> list[R]:
    """The events of a large changeset: the first with data that holds other values ends it."""
    events: list[R] = []
    for raw in raws:
        if len(raw) > LARGE and any(memoryview(value)[0] in _NESTED for value in _skim_row(raw)):
            _check_kinds([list], key)
        event = unpack(raw)
        _check_kinds((type(payload(event)),), key)
        events.append(event)
    return events


def _check_kinds(kinds: Iterable[type], key: str) -> None:
    if not _DATA_KINDS.issuperset(kinds):
        raise CorruptData("an event's data is neither text, bytes nor nothing", key=key)


def decode_chain(frames: Iterable[bytes], follows: int, parent: bytes | None, key: str, *, stream: str) -> Chain:
    """The changesets of consecutive frames of a stream, the first of which follows version ``follows`` and changeset ``parent``."""
    decode = decoder_for(stream)
    chain = []
    for raw in frames:
        frame = decode(raw, key)
        if frame.follows != follows or frame.parent != parent:
            raise CorruptData(f"a changeset does not follow version {follows} as it should", key=key)
        follows += len(frame.events)
        parent = frame.id
        chain.append(frame)
    return chain


def decode_newest(
    frames: Sequence[bytes], version: int, changeset_id: bytes | None, key: str, *, stream: str, after: int
) -> Chain:
    """The newest changesets of consecutive frames of a stream, which end with ``version`` and ``changeset_id``: those with events after ``after``."""
    decode = decoder_for(stream)
    chain: list[Frame | Batch] = []
    for raw in reversed(frames):
        if version <= after:
            break
        frame = decode(raw, key)
        if frame.version != version or frame.id != changeset_id:
            raise CorruptData(f"a changeset does not end with version {version} as it should", key=key)
        version, changeset_id = frame.follows, frame.parent
        chain.append(frame)
    chain.reverse()
    return chain


def decoder_for(stream: str) -> Callable[[bytes, str], Frame | Batch]:
    """What decodes a frame that lies in an object with a key: a changeset of this stream."""
    return decode_batch if stream == keys.FEED else decode_frame


def chain_digest(digest: bytes, frames: Iterable[bytes]) -> bytes:
    """The digest after ``frames``, given the one before them."""
    for frame in frames:
        digest = hashlib.sha256(digest + frame).digest()
    return digest


# --- events ------------------------------------------------------------------------------------------------------


def encode_published(events: Sequence[FeedEvent]) -> bytes:
    """The events of one changeset of the feed as MessagePack."""
    return _pack(events)


def recorded(stream: str, chain: Chain, first: int, last: int) -> list[RecordedEvent]:
    """The events of ``chain`` whose versions are ``first`` to ``last``; of the feed, whose positions are."""
    events: list[RecordedEvent] = []
    for frame in chain:
        events += frame.recorded(stream, first, last)
    return events
