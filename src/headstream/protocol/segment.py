"""The immutable objects of a stream: segments, which hold sealed changesets, and index pages, which reference them.

Rules:

* A segment knows its stream, its place (first and last version), its own name, the segment before it, the changeset before its first and
  the digest before it. A reader checks all that it can against where it found the reference: an object in the wrong place is corrupt.
* Frames are compressed together (:mod:`.compression`). A reader allocates only what the reference to the segment announced.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from headstream import limits
from headstream.errors import CorruptData
from headstream.protocol import codec
from headstream.protocol.codec import Chain, Count, Digest, Id, Name, Version
from headstream.protocol.compression import Compressor, expand

ZSTD: Final = "zstd"
LEVEL: Final = 1
_compress: Final = Compressor(LEVEL).compress


class Ref(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A reference to a segment, or to a page of references."""

    first: Version
    """The first version that it covers."""
    id: Id
    """The attempt that made it: with ``first``, its name."""
    size: Count
    """Bytes of the frames that it covers, uncompressed."""


class SegmentFields(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The fields of a segment, as stored."""

    stream: Name
    first: Version
    id: Id
    size: Annotated[int, msgspec.Meta(ge=1, le=limits.MAX_SEGMENT)]
    last: Version
    previous: Ref | None
    parent_id: Id | None
    digest: Digest
    """The digest of the stream before the first frame."""
    codec: Annotated[str, msgspec.Meta(max_length=40)]


class PageFields(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The fields of an index page, as stored."""

    stream: Name
    level: Count
    refs: Annotated[list[Ref], msgspec.Meta(min_length=1)]


_segments: Final = msgspec.msgpack.Decoder(SegmentFields)
_pages: Final = msgspec.msgpack.Decoder(PageFields)


def encode_segment(
    *,
    stream: str,
    ref: Ref,
    last: int,
    previous: Ref | None,
    parent_id: bytes | None,
    digest: bytes,
    frames: tuple[bytes, ...],
) -> bytes:
    """The body of a segment."""
    fields = SegmentFields(stream, ref.first, ref.id, ref.size, last, previous, parent_id, digest, ZSTD)
    return codec.seal("segment", fields, _compress(frames), check=_segments)


class Segment(msgspec.Struct, frozen=True):
    """A segment in memory."""

    fields: SegmentFields
    frames: list[bytes]
    chain: Chain


def decode_segment(body: bytes, key: str, stream: str, ref: Ref, last: int) -> Segment:
    """The segment that ``ref`` names, which holds the versions up to ``last``, from the body of the object ``key``."""
    fields, (packed,) = codec.unseal("segment", body, key, _segments, extra=1)
    if (fields.stream, fields.first, fields.id, fields.last) != (stream, ref.first, ref.id, last):
        raise CorruptData("the segment belongs in another place", key=key)
    if fields.size != ref.size:
        raise CorruptData("the segment does not have the size that its reference announces", key=key)
    if fields.codec != ZSTD or not isinstance(packed, bytes):
        raise CorruptData(f"the segment is compressed by {fields.codec!r}, which nobody writes", key=key)
    frames = expand(packed, "the segment", key, least=fields.size, most=fields.size)
    chain = codec.decode_chain(frames, fields.first - 1, fields.parent_id, key, stream=stream)
    if not chain or chain[-1].version != last or sum(map(len, frames)) != ref.size:
        raise CorruptData("the segment does not hold the changesets that it announces", key=key)
    return Segment(fields, frames, chain)


def encode_page(stream: str, level: int, refs: list[Ref]) -> bytes:
    """The body of an index page that references objects of the level below ``level``."""
    return codec.seal("page", PageFields(stream, level, refs), check=_pages)


def decode_page(body: bytes, key: str, stream: str, ref: Ref, level: int) -> list[Ref]:
    """The references of the index page that ``ref`` names, from the body of the object ``key``."""
    fields, _ = codec.unseal("page", body, key, _pages)
    firsts = [entry.first for entry in fields.refs]
    if (fields.stream, fields.level, firsts[0]) != (stream, level, ref.first):
        raise CorruptData("the index page belongs in another place", key=key)
    if sorted(set(firsts)) != firsts or sum(entry.size for entry in fields.refs) != ref.size:
        raise CorruptData("the index page does not hold the references that it announces", key=key)
    return fields.refs
