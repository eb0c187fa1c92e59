"""Laying out the feed anew, from the position after which it cannot be read or is wrong.

Rules:

* What is before that position stays, segment by segment; nobody who has read no further notices anything.
* What follows are the changesets of the streams that are neither before it nor in the inbox, in the order of their ids, which is that of their times, and
  that of each stream. So everything is in the feed once, and what is announced still comes after it.
* The new feed is made of fresh objects beside the old one, and becomes the feed by one conditional write of its head. If anybody advanced
  the feed meanwhile, that fails, and nothing has happened.
* Its head settles what the old one settled: the inbox may still have these intents.
* Memory is bounded by one batch, and a reference to each segment that stays.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from headstream.errors import CorruptData
from headstream.model import FeedEvent, Settings
from headstream.protocol import codec, head, keys
from headstream.protocol.codec import Frame
from headstream.protocol.feed import feed_settings
from headstream.protocol.head import Change, Fields, Sealed, State
from headstream.protocol.ops import About, Condition, Gen, Put, Stamp, Stamped
from headstream.protocol.read import changesets, load_head
from headstream.protocol.repair import fence_above, shelve, write
from headstream.protocol.segment import Ref
from headstream.protocol.verify import Link


class Kept(msgspec.Struct, frozen=True):
    """The part of a feed that stays."""

    refs: list[Ref]
    """Its segments."""
    sealed: Link
    """Where they end."""
    tail: tuple[bytes, ...]
    """What stays of the tail."""
    end: Link
    """Where that ends."""
    fence: int = 0
    """Of the head that there was."""


class Entry(msgspec.Struct, frozen=True):
    """A changeset to be published."""

    id: bytes
    stream: str
    follows: int


def begin(kept: Kept, settings: Settings, stamp: Stamped) -> Gen[State]:
    """The feed without what does not stay; its index pages are written. Raises :class:`Unavailable`."""
    levels, pages = shelve(keys.FEED, kept.refs, settings.fan_out, stamp.id)
    if pages:
        yield from write(pages)
    sealed, end = kept.sealed, kept.end
    fields = Fields(
        keys.FEED,
        end.version,
        end.changeset_id,
        end.parent_id,
        end.digest,
        fence_above(kept.fence, stamp),
        Sealed(sealed.version, sealed.changeset_id, sealed.digest),
        levels,
        {},
    )
    return State(fields, kept.tail, sum(map(len, kept.tail)))


def fetch(entries: Sequence[Entry]) -> Gen[list[Frame]]:
    """The changesets of ``entries``, in their order. Raises :class:`CorruptData` and :class:`Unavailable`."""
    streams: dict[str, list[int]] = {}
    for entry in entries:
        streams.setdefault(entry.stream, []).append(entry.follows)
    found: dict[tuple[str, int], Frame] = {}
    for stream, rest in streams.items():
        known = yield from load_head(stream, None)
        while rest:
            chain, answered = yield from changesets(known, rest)
            found.update({(stream, frame.follows): frame for frame in chain if isinstance(frame, Frame)})
            del rest[:answered]
    for entry in entries:
        if (entry.stream, entry.follows) not in found or found[entry.stream, entry.follows].id != entry.id:
            raise CorruptData("a changeset is not where it was a moment ago", key=keys.head(entry.stream))
    return [found[entry.stream, entry.follows] for entry in entries]


def extend(state: State, entries: Sequence[Entry], settings: Settings) -> Gen[State]:
    """The feed with one more batch; its segments and pages are written, its head is not. Raises what :func:`fetch` does."""
    frames = yield from fetch(entries)
    events: list[FeedEvent] = []
    for entry, frame in zip(entries, frames, strict=True):
        events += frame.published(entry.stream, state.version + 1 + len(events))
    before = state.fields.changeset_id
    stamp = yield from Stamp(before)
    rows = codec.encode_published(events)
    packed = codec.encode_frame(stamp.id, before, state.version, stamp.micros, key=None, rows=rows)
    grown, puts = head.follow(state, Change(stamp.id, packed, len(events)), feed_settings(settings))
    if puts:
        yield from write(puts)
    return grown


def finish(state: State, settled: Sequence[bytes], when: Condition) -> Gen[bool]:
    """Make it the feed, unless that was written meanwhile; whether it is. Raises :class:`Unavailable`."""
    fields = msgspec.structs.replace(state.fields, extensions={"settled": list(settled)})
    body = head.encode(msgspec.structs.replace(state, fields=fields))
    about = About(keys.FEED, fields.version, fields.changeset_id or bytes(16), fields.parent_id)
    return (yield from write([Put(keys.head(keys.FEED), body, when, about)]))
