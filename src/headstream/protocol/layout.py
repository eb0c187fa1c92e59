"""Where the objects of a stream lie: what ``headstream head`` draws, and whoever is curious may ask for.

Rules:

* A layout is what one head object says, in one small request. What an index page references is one request more; so any stream, however
  long, is walked in bounded memory.
* Nothing is reported that was not read and checked: it leans on the same decoders as every read.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec

from headstream.errors import CorruptData, InvalidInput
from headstream.protocol import head, keys
from headstream.protocol.head import Known, Span, spans, spans_of
from headstream.protocol.ops import FAULTS, Found, Gen, Get, unavailable
from headstream.protocol.read import load_head, tail_chain
from headstream.protocol.segment import Ref, decode_page

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Changeset(msgspec.Struct, frozen=True):
    """A changeset in the tail of a head."""

    id: UUID
    first: int
    """The version of its first event."""
    last: int
    """The version of its last event."""
    recorded_at: datetime
    """When it was appended, by the writer's clock, in UTC."""
    size: int
    """Its bytes, as stored."""
    key: str | None
    """The idempotency key that it was appended with."""


class Reference(msgspec.Struct, frozen=True):
    """What a head or an index page knows of an immutable object: a segment, or an index page one level below."""

    stream: str
    level: int
    """0 for a segment; index pages have their level: 1 references segments, 2 references pages of level 1, and so on."""
    first: int
    """The first version that it covers."""
    last: int
    """The last version that it covers."""
    size: int
    """Bytes of the changesets that it covers, before compression."""
    id: UUID
    """The attempt that made it: with ``first``, its name."""

    @property
    def key(self) -> str:
        """The key of the object, relative to the store."""
        return Span(self.level, self._ref, self.last).key(self.stream)

    @property
    def _ref(self) -> Ref:
        return Ref(self.first, self.id.bytes, self.size)


class Layout(msgspec.Struct, frozen=True):
    """The head of a stream: what it carries and what it references."""

    stream: str
    version: int
    """How many events the stream has."""
    key: str
    """The key of the head object, relative to the store."""
    etag: str
    """The storage's tag of the head object."""
    size: int
    """Bytes of the head object."""
    changeset_id: UUID | None
    """The newest changeset."""
    parent_id: UUID | None
    """The changeset before it."""
    digest: str
    """The digest of all changesets of the stream, in hexadecimal."""
    fence: int
    """How often the head was fenced."""
    tail: tuple[Changeset, ...]
    """The changesets that the head carries, oldest first."""
    references: tuple[Reference, ...]
    """The segments and index pages that the head references, oldest first; together they cover all versions before the tail."""


def load(stream: str, known: Known | None) -> Gen[Layout | None]:
    """The layout of ``stream``; ``None`` if it does not exist. ``known`` saves a body, as in :func:`read.load_head`.

    Raises :class:`Unavailable` and :class:`CorruptData`.
    """
    known = yield from load_head(stream, known)
    if known.etag is None or not known.state.version:
        return None
    fields = known.state.fields
    return Layout(
        stream=stream,
        version=fields.version,
        key=keys.head(stream),
        etag=known.etag,
        size=len(head.encode(known.state)),
        changeset_id=_uuid(fields.changeset_id),
        parent_id=_uuid(fields.parent_id),
        digest=fields.digest.hex(),
        fence=fields.fence,
        tail=_tail(known),
        references=_references(stream, spans(fields)),
    )


def open_page(page: Reference) -> Gen[tuple[Reference, ...]]:
    """What an index page references, oldest first.

    Raises :class:`InvalidInput` for a segment, which references nothing by an index; :class:`Unavailable` and :class:`CorruptData`.
    """
    if page.level == 0:
        raise InvalidInput("a segment holds no references: ask for those of an index page, whose level is above 0")
    key = page.key
    try:
        answer = yield from Get(key)
    except FAULTS as fault:
        raise unavailable("the storage did not answer; nothing was written: try again later", fault, key=key) from fault
    if not isinstance(answer, Found):
        raise CorruptData("an index page that the stream needs is missing", key=key)
    refs = decode_page(answer.body, key, page.stream, page._ref, page.level)  # noqa: SLF001 - one module
    return _references(page.stream, spans_of([(page.level - 1, ref) for ref in refs], page.last))


def _references(stream: str, run: list[Span]) -> tuple[Reference, ...]:
    return tuple(
        Reference(stream, span.level, span.ref.first, span.last, span.ref.size, UUID(bytes=span.ref.id)) for span in run
    )


def _tail(known: Known) -> tuple[Changeset, ...]:
    chain = tail_chain(known)
    return tuple(
        Changeset(
            id=UUID(bytes=frame.id),
            first=frame.follows + 1,
            last=frame.version,
            recorded_at=_EPOCH + timedelta(microseconds=frame.micros),
            size=len(raw),
            key=frame.key,
        )
        for frame, raw in zip(chain, known.state.tail, strict=True)
    )


def _uuid(object_id: bytes | None) -> UUID | None:
    return None if object_id is None else UUID(bytes=object_id)
