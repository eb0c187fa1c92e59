"""Repairs: what is written, from what is intact.

Rules:

* Everything is planned by reading, and written only when the plan is whole. A plan that is not sure of itself is none.
* An object that is replaced is written on the condition that it is still the damaged one, or still missing; all others get fresh keys.
* An index page is made of the references to the segments in its place, and its reference says how many bytes those have: so a page of the lowest level
  is what it was, byte for byte. A page of a higher level gets fresh pages below it.
* An intent is written again only for a changeset that is in its stream, not in the feed, and not announced: nobody else can publish it.
* No event is ever written that was not read from an object whose checksum is right.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from headstream import limits
from headstream.errors import CorruptData, UnsupportedFormat
from headstream.protocol import codec, intent, keys
from headstream.protocol.codec import Frame
from headstream.protocol.head import Span, spans, spans_of
from headstream.protocol.intent import Intent, announced
from headstream.protocol.lineage import Lineage
from headstream.protocol.ops import (
    ABSENT,
    ALWAYS,
    FAULTS,
    Commit,
    Condition,
    Delete,
    Found,
    Gen,
    GetAnswer,
    Matches,
    Put,
    Stamp,
    Stamped,
    Stored,
    unavailable,
)
from headstream.protocol.read import load_head
from headstream.protocol.segment import Ref, encode_page
from headstream.protocol.verify import get_many, read_page

WRITES: Final = 64
"""Objects that are written together."""
_UNSURE: Final = "the storage did not answer while the store was repaired: verify it again, then repair what is left"


class Place(msgspec.Struct, frozen=True):
    """Where an index page belongs, and what is there now."""

    span: Span
    when: Condition
    """On which it is replaced."""


# --- index pages ---------------------------------------------------------------------------------------------------


def find_page(stream: str, level: int, first: int) -> Gen[Place | None]:
    """The place of an index page that cannot be read; ``None`` if it can, or nothing refers to it any more.

    Raises :class:`CorruptData` when what leads to it cannot be read either, and :class:`Unavailable`.
    """
    known = yield from load_head(stream, None)
    run = spans(known.state.fields)
    while True:
        at = bisect_right(run, first, key=lambda span: span.ref.first) - 1
        if at < 0 or run[at].level < level:
            return None
        span = run[at]
        key = span.key(stream)
        (answer,) = yield from get_many((key,))
        if span.level == level:
            return Place(span, condition(answer)) if not _readable(answer, key, stream, span) else None
        refs = read_page(stream, span, answer, key)
        run = spans_of([(span.level - 1, ref) for ref in refs], span.last)


def _readable(answer: GetAnswer, key: str, stream: str, span: Span) -> bool:
    try:
        read_page(stream, span, answer, key)
    except CorruptData:
        return False
    except UnsupportedFormat:  # whoever wrote it knows better
        return True
    return True


def condition(answer: GetAnswer) -> Condition:
    """That an object is still what it is now."""
    return Matches(answer.etag) if isinstance(answer, Found) else ABSENT


def plan_page(stream: str, place: Place, lineage: Lineage, fan_out: int, fresh: bytes) -> list[Put] | None:
    """The page again, after fresh pages of lower levels, named by the id ``fresh``; ``None`` when the segments do not add up to it."""
    span, refs = place.span, lineage.chain
    if not refs or lineage.end.version != span.last or sum([ref.size for ref in refs]) != span.ref.size:
        return None
    puts: list[Put] = []
    for level in range(1, span.level):
        refs, some = _bind(stream, level, refs, fan_out, fresh)
        puts += some
    return [*puts, Put(span.key(stream), encode_page(stream, span.level, refs), place.when)]


def shelve(stream: str, refs: Sequence[Ref], fan_out: int, fresh: bytes) -> tuple[list[list[Ref]], list[Put]]:
    """The levels of a head with these segments, as they are when the stream grows, and the index pages that this takes."""
    levels: list[list[Ref]] = []
    puts: list[Put] = []
    rest = list(refs)
    while rest:
        moved = (len(rest) - 1) // fan_out * fan_out
        levels.append(rest[moved:])
        rest, some = _bind(stream, len(levels), rest[:moved], fan_out, fresh)
        puts += some
    return levels, puts


def _bind(stream: str, level: int, refs: Sequence[Ref], fan_out: int, fresh: bytes) -> tuple[list[Ref], list[Put]]:
    """Pages of ``level`` for references to objects of the level below: references to them, and their writes."""
    bound: list[Ref] = []
    puts: list[Put] = []
    for start in range(0, len(refs), fan_out):
        some = list(refs[start : start + fan_out])
        ref = Ref(some[0].first, fresh, sum([entry.size for entry in some]))
        bound.append(ref)
        puts.append(Put(keys.page(stream, level, ref.first, fresh), encode_page(stream, level, some), ALWAYS))
    return bound, puts


# --- intents -------------------------------------------------------------------------------------------------------


def plan_intent(key: str) -> Gen[Put | None]:
    """An intent that cannot be read, made of its key; ``None`` if it can, or is there no more. The objects that its append made, if it
    failed, are then left to the collection of garbage. Raises :class:`Unavailable`.
    """
    entry = announced(key)
    (answer,) = yield from get_many((key,))
    if not isinstance(answer, Found):
        return None
    try:
        intent.decode(answer.body, key)
    except CorruptData:
        body = codec.seal(
            "intent", Intent(entry.id, entry.stream, entry.follows, min(entry.millis * 1000, limits.MAX_MICROS), [])
        )
        return Put(key, body, Matches(answer.etag))
    return None


def announce(stream: str, frames: Iterable[Frame]) -> list[Put]:
    """The intents of changesets that are in their stream."""
    return [intent.put(Intent(frame.id, stream, frame.follows, frame.micros, [])) for frame in frames]


def remove(key: str) -> Gen[None]:
    """Remove an object that nothing needs: an intent whose changeset is in the feed, a snapshot of what is lost. Raises :class:`Unavailable`."""
    try:
        yield from Delete((key,))
    except FAULTS as error:
        raise unavailable(_UNSURE, error, key=key) from error


# --- writing -------------------------------------------------------------------------------------------------------


def write(puts: Sequence[Put]) -> Gen[bool]:
    """Write objects, the last one when all others are durable; whether its condition held. Raises :class:`Unavailable`."""
    *others, last = puts
    try:
        for start in range(0, len(others), WRITES):
            *some, one = others[start : start + WRITES]
            yield from Commit(tuple(some), one)
        answer = yield from Commit((), last)
    except FAULTS as error:
        raise unavailable(_UNSURE, error, key=last.key) from error
    return isinstance(answer, Stored)


def fence_above(before: int, stamp: Stamped) -> int:
    """The fence of a head that is made again: the time, or what is above the one that there was, if it is of a repair by a clock that was ahead."""
    return max(stamp.micros, before + 1) if before < limits.MAX_VERSION else stamp.micros


def fresh() -> Gen[Stamped]:
    """An id for what a repair makes, and the time."""
    return (yield from Stamp())
