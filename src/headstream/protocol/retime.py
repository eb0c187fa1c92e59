"""Changesets of writers whose clock was wrong: everything in them is right, but for a time that no decoder takes.

Older versions stored the time before 1970 or after 2286 that a clock showed. Such a changeset has a right checksum, and stops every read of
its stream.

Rules:

* Only the time is replaced, by the nearest that can be stored. A changeset in which anything else is wrong is left to other repairs.
* Another time is another frame, and so another digest of all that follows. So what follows is written again, into fresh segments: the
  head names them in one conditional write, and what they replace is then garbage.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from headstream import limits
from headstream.errors import CorruptData
from headstream.protocol import codec
from headstream.protocol.codec import Id
from headstream.protocol.compression import expand
from headstream.protocol.segment import Ref, SegmentFields

_segment: Final = msgspec.msgpack.Decoder(SegmentFields)


class _Timed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A changeset of any time."""

    id: Id
    parent: Id | None
    follows: int
    micros: int
    key: str | None
    events: msgspec.Raw


_timed: Final = msgspec.msgpack.Decoder(_Timed)


class Retimed(msgspec.Struct, frozen=True):
    """Some changesets of a stream, as they are or with a time that can be stored."""

    frames: tuple[bytes, ...]
    changed: int
    """How many of them have another time now."""


def retimed(raws: Iterable[bytes], stream: str, key: str) -> Retimed:
    """Changesets in the object ``key``, which can then be read; :class:`CorruptData` if more is wrong with one than its time."""
    frames: list[bytes] = []
    changed = 0
    for raw in raws:
        try:
            codec.decoder_for(stream)(raw, key)
        except CorruptData as error:
            frames.append(_retimed(raw, stream, key, error))
            changed += 1
        else:
            frames.append(raw)
    return Retimed(tuple(frames), changed)


def _retimed(raw: bytes, stream: str, key: str, error: CorruptData) -> bytes:
    packed = codec.checked(raw, key)
    try:
        timed = _timed.decode(packed)
    except codec.NO_MESSAGEPACK:
        raise error from None
    micros = min(max(timed.micros, 0), limits.MAX_MICROS)
    if micros == timed.micros:
        raise error
    rows = bytes(timed.events)
    frame = codec.encode_frame(timed.id, timed.parent, timed.follows, micros, key=timed.key, rows=rows)
    codec.decoder_for(stream)(frame, key)
    return frame


def in_segment(body: bytes, key: str, stream: str, ref: Ref, last: int) -> Retimed:
    """The changesets of a segment; :class:`CorruptData` if more is wrong with it than their times."""
    fields, (packed,) = codec.unseal("segment", body, key, _segment, extra=1)
    if (fields.stream, fields.first, fields.id, fields.last, fields.size) != (
        stream,
        ref.first,
        ref.id,
        last,
        ref.size,
    ):
        raise CorruptData("the segment belongs in another place", key=key)
    if not isinstance(packed, bytes):
        raise CorruptData("the segment holds no changesets", key=key)
    found = retimed(expand(packed, "the segment", key, least=fields.size, most=fields.size), stream, key)
    codec.decode_chain(found.frames, fields.first - 1, fields.parent_id, key, stream=stream)
    return found


def is_only_the_time(raws: Sequence[bytes], stream: str, key: str) -> bool:
    """Whether nothing but times is wrong with changesets that cannot be read."""
    try:
        return retimed(raws, stream, key).changed > 0
    except CorruptData:
        return False


def is_only_the_time_of(body: bytes, key: str, stream: str, ref: Ref, last: int) -> bool:
    """The same of a segment."""
    try:
        return in_segment(body, key, stream, ref, last).changed > 0
    except CorruptData:
        return False
