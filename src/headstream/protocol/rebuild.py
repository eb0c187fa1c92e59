"""Building the head of a stream again, when it is missing or cannot be read.

What a head knows, and where else that is found:

* the segments behind it: they describe themselves (:mod:`.lineage`);
* the tail: in the damaged body, each changeset with a checksum of its own; and in the feed, event by event, but for idempotency keys;
* where the stream ends: the body says it by a version, and by a digest of the whole stream.

Rules:

1. Of a damaged body only what says by itself that it is this stream's is used: its fields must name the stream.
2. A rebuilt head is *whole* if it is certain that no committed changeset is missing: its digest is the one in the body; or the body's tail can be
   read to its end, and begins where the segments do, or where what the feed has ends; or the feed was read to its end, the stream ends where the feed
   says, and no later append is announced. A digest is SHA-256 over every changeset: if it is equal, everything is.
3. What may be the changeset of an attempt that failed is not taken: the end of a leaf with its attempt's own id, unless rule 2 or the feed says that it was committed.
4. A leaf may be what a failed attempt left, to be deleted with it, even where its changesets are the stream's. So what it holds is copied, unless the body refers to it.
5. The fence of a rebuilt head is the time of the repair, which is above any fence that was counted, or above that of an earlier repair: so its content, and its etag, are new.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, TypeAlias

import msgspec

from headstream import limits
from headstream.errors import CorruptData, UnsupportedFormat
from headstream.model import FeedEvent, Settings
from headstream.protocol import codec, keys
from headstream.protocol import head as heads
from headstream.protocol.codec import Batch, Frame
from headstream.protocol.head import KNOWN, Fields, Sealed, State
from headstream.protocol.lineage import Lineage, Node
from headstream.protocol.ops import ALWAYS, About, Condition, Found, Gen, Put, Stamped
from headstream.protocol.repair import condition, fence_above, shelve
from headstream.protocol.segment import Ref, encode_segment
from headstream.protocol.tail import unpacked
from headstream.protocol.verify import START, Link, Part, get_many

_fields: Final = msgspec.msgpack.Decoder(Fields)
_Raw: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=codec.MIN_FRAME)]
_body: Final = msgspec.msgpack.Decoder(tuple[int, str, bytes, bytes, list[_Raw]])
_pack: Final = msgspec.msgpack.Encoder().encode


class Wreck(msgspec.Struct, frozen=True):
    """What there is in place of a head, and what of it can be believed."""

    stream: str
    when: Condition
    """That it is still that."""
    fields: Fields | None = None
    """What it says, wherever the damage is; ``None`` if it says nothing, or speaks of another stream."""
    tail: tuple[bytes, ...] = ()
    """Its changesets up to the first that cannot be read."""
    all_read: bool = False
    """Whether those are all."""
    newer: tuple[bytes, ...] = ()
    """Its changesets after the last that cannot be read: of use if the feed has what lies between."""


class Base(msgspec.Struct, frozen=True):
    """What a head is built on: segments, and changesets after them."""

    refs: Sequence[Ref]
    link: Link
    frames: tuple[bytes, ...] = ()
    sure: bool = False
    """Whether the damaged body says that the stream has just these, and no others."""


class Rebuilt(msgspec.Struct, frozen=True):
    """A head that was built again."""

    state: State
    puts: tuple[Put, ...]
    """Its segments and pages, then the head."""
    whole: bool
    """Whether nothing is missing, by what the damaged body says (rule 2)."""


# --- what is there -------------------------------------------------------------------------------------------------


def examine(stream: str) -> Gen[Wreck]:
    """What there is in place of the head of a stream. Raises :class:`Unavailable`."""
    key = keys.head(stream)
    (answer,) = yield from get_many((key,))
    wreck = Wreck(stream, condition(answer))
    return salvage(wreck, answer.body, key) if isinstance(answer, Found) else wreck


def salvage(wreck: Wreck, body: bytes, key: str) -> Wreck:
    """What can be believed of a body."""
    try:
        codec.check_format(body, key)
        _, _, _, packed, tail = _body.decode(body)
        if len(packed) > limits.MAX_FIELDS:
            return wreck
        fields = _fields.decode(packed)
    except (CorruptData, UnsupportedFormat, msgspec.DecodeError, UnicodeDecodeError):
        return wreck
    except RecursionError as error:
        if error is codec.undecodable("", body, error, key):
            raise
        return wreck
    if fields.stream != wreck.stream or fields.version == 0 or not fields.extensions.keys() <= KNOWN:
        return wreck
    older = _expanded(fields.extensions.pop("packed_tail", None), key)
    runs = _runs(wreck.stream, [*(older or ()), *tail], key)
    if older is None:  # what is compressed cannot be had, and the others come after it
        return msgspec.structs.replace(wreck, fields=fields, newer=tuple(runs[-1]))
    newer = () if len(runs) == 1 else tuple(runs[-1])
    return msgspec.structs.replace(wreck, fields=fields, tail=tuple(runs[0]), all_read=len(runs) == 1, newer=newer)


def _expanded(packed: object, key: str) -> list[bytes] | None:
    """The changesets of a tail that are compressed; ``None`` if they cannot be had."""
    if packed is None:
        return []
    try:
        return unpacked(packed, key)[0] if isinstance(packed, bytes) else None
    except CorruptData:
        return None


def _runs(stream: str, frames: Sequence[bytes], key: str) -> list[list[bytes]]:
    """Changesets that can be read and follow each other, up to each that does not."""
    runs: list[list[bytes]] = [[]]
    before: Frame | Batch | None = None
    for raw in frames:
        try:
            frame = decode(stream, raw, key)
        except CorruptData:
            runs.append([])
            before = None
            continue
        if before is not None and (frame.follows, frame.parent) != (before.version, before.id):
            runs.append([])
        runs[-1].append(raw)
        before = frame
    return runs


def decode(stream: str, raw: bytes, key: str) -> Frame | Batch:
    """A changeset of a stream, or of the feed."""
    return codec.decoder_for(stream)(raw, key)


def leaf_of(wreck: Wreck, lineage: Lineage, committed: int) -> Node | None:
    """The leaf whose changesets are needed, to be fetched for :func:`base_of`; the feed has ``committed`` events of the stream."""
    if _ends_at(lineage.end, wreck):
        return None
    believed = [leaf for leaf in lineage.leaves if _ends_at(leaf.end, wreck)]
    return max(believed or lineage.leaves, key=lambda leaf: _reach(leaf, committed), default=None)


def _reach(leaf: Node, committed: int) -> int:
    """The version up to which what a leaf holds was committed."""
    return leaf.end.version if leaf.end.version <= committed else leaf.committed


def _ends_at(link: Link, wreck: Wreck) -> bool:
    """Whether the segments of a damaged head end here: it says so by a digest, or its tail begins here."""
    if wreck.fields is None:
        return False
    if wreck.tail:
        first = decode(wreck.stream, wreck.tail[0], keys.head(wreck.stream))
        return (link.version, link.changeset_id) == (first.follows, first.parent)
    return link.digest in {wreck.fields.digest, wreck.fields.sealed.digest}


def base_of(wreck: Wreck, lineage: Lineage, leaf: Node | None, frames: Sequence[bytes], committed: int) -> Base:
    """What the head is built on: ``frames`` are those of ``leaf``; the feed says that the stream has ``committed`` events at least."""
    if leaf is None:
        believed = _ends_at(lineage.end, wreck)
        return Base(lineage.chain, lineage.end, wreck.tail if believed else (), sure=believed and wreck.all_read)
    if wreck.fields is None or not _ends_at(leaf.end, wreck):
        doubtful = leaf.end.version > _reach(leaf, committed)
        return Base(lineage.chain, lineage.end, tuple(frames[:-1] if doubtful else frames))
    if any(leaf.ref in level for level in wreck.fields.levels[:1]):
        return Base([*lineage.chain, leaf.ref], leaf.end, wreck.tail, sure=wreck.all_read)
    return Base(lineage.chain, lineage.end, (*frames, *wreck.tail), sure=wreck.all_read)


def joined(wreck: Wreck, base: Base) -> Base:
    """And with what can be read of the damaged head behind what cannot, if ``base`` reaches up to that."""
    if not wreck.newer:
        return base
    key = keys.head(wreck.stream)
    end = end_of(base, wreck.stream)
    first, last = (decode(wreck.stream, raw, key) for raw in (wreck.newer[0], wreck.newer[-1]))
    if (first.follows, first.parent) != (end.version, end.changeset_id):
        return base
    sure = wreck.fields is not None and (last.version, last.id) == (wreck.fields.version, wreck.fields.changeset_id)
    return Base(base.refs, base.link, (*base.frames, *wreck.newer), sure=sure)


# --- what the feed has ---------------------------------------------------------------------------------------------


def from_feed(events: Iterable[FeedEvent], after: Link) -> list[bytes]:
    """The changesets of events that the feed has, oldest first, which follow ``after``; without their idempotency keys."""
    frames: list[bytes] = []
    parent, version = after.changeset_id, after.version
    rows: list[FeedEvent] = []
    for event in [*events, None]:
        if rows and (event is None or event.changeset != rows[0].changeset):
            frames.append(_frame(rows, parent))
            parent, version = rows[0].changeset, rows[-1].version
            rows = []
        if event is not None:
            assert event.version == version + len(rows) + 1, "the feed is read from where the stream ends"
            rows.append(event)
    return frames


def _frame(events: Sequence[FeedEvent], parent: bytes | None) -> bytes:
    rows = [(event.type, event.payload, event.metadata_json, event.id) for event in events]
    first = events[0]
    return codec.encode_frame(first.changeset, parent, first.version - 1, first.micros, key=None, rows=_pack(rows))


def restore(
    key: str, stream: str, events: Sequence[FeedEvent], *, before: Part | None, digest: bytes, when: Condition
) -> Put | None:
    """A segment, made of the events that it had: ``before`` is what is before it, and ``digest`` what follows it begins with.

    ``None`` if that is not the digest: then the feed lacks something, and be it an idempotency key.
    """
    link, previous = (START, None) if before is None else (before.link, before.ref)
    frames = tuple(from_feed(events, link))
    if codec.chain_digest(link.digest, frames) != digest:
        return None
    name = key.rpartition("-")[2]
    _, _, put = seal(stream, [] if previous is None else [previous], link, frames, bytes.fromhex(name))
    assert put.key == key, "the segment begins where the one before it ends"
    return msgspec.structs.replace(put, when=when)


# --- the head ------------------------------------------------------------------------------------------------------


def end_of(base: Base, stream: str) -> Link:
    """Where the stream ends with the changesets of ``base``."""
    if not base.frames:
        return base.link
    last = decode(stream, base.frames[-1], keys.head(stream))
    digest = codec.chain_digest(base.link.digest, base.frames)
    return Link(last.version, last.id, last.parent, digest, keys.head(stream))


def rebuild(
    wreck: Wreck, base: Base, settings: Settings, stamp: Stamped, newest: Frame | Batch | None
) -> Rebuilt | None:
    """The head on ``base``; ``None`` when there is nothing to build it of. ``newest``: the last changeset of the stream, for the feed."""
    stream, end = wreck.stream, end_of(base, wreck.stream)
    if end == START:
        return None
    whole = base.sure or (wreck.fields is not None and wreck.fields.digest == end.digest)
    refs, link, tail = list(base.refs), base.link, base.frames
    puts: list[Put] = []
    if sum(map(len, tail)) > settings.tail_bytes:
        for frames in _loads(tail):
            ref, link, put = seal(stream, refs, link, frames, stamp.id)
            refs.append(ref)
            puts.append(put)
        tail = ()
    levels, pages = shelve(stream, refs, settings.fan_out, stamp.id)
    sealed = Sealed(link.version, link.changeset_id, link.digest)
    fields = Fields(
        stream,
        end.version,
        end.changeset_id,
        end.parent_id,
        end.digest,
        fence_above(0 if wreck.fields is None else wreck.fields.fence, stamp),
        sealed,
        levels,
        settled_by(newest),
    )
    state = State(fields, tail, sum(map(len, tail)))
    body = heads.encode(state)
    about = About(stream, end.version, end.changeset_id or bytes(16), end.parent_id)
    return Rebuilt(state, (*puts, *pages, Put(keys.head(stream), body, wreck.when, about)), whole)


def settled_by(newest: Frame | Batch | None) -> dict[str, Any]:
    """The extensions of a head: in the feed's, the intents that its newest changeset settled, which are those of what it published."""
    if not isinstance(newest, Batch):
        return {}
    return {"settled": list(dict.fromkeys([event.changeset for event in newest.events]))}


def _loads(frames: Sequence[bytes]) -> Iterable[tuple[bytes, ...]]:
    """The changesets in as many segments as it takes."""
    load: list[bytes] = []
    for frame in frames:
        if load and sum(map(len, load)) + len(frame) > limits.MAX_SEGMENT:
            yield tuple(load)
            load = []
        load.append(frame)
    yield tuple(load)


def seal(
    stream: str, refs: Sequence[Ref], link: Link, frames: tuple[bytes, ...], fresh: bytes
) -> tuple[Ref, Link, Put]:
    """A segment of ``frames``, which follow ``link``: the reference to it, where it ends, and its write."""
    last = decode(stream, frames[-1], keys.head(stream))
    ref = Ref(link.version + 1, fresh, sum(map(len, frames)))
    body = encode_segment(
        stream=stream,
        ref=ref,
        last=last.version,
        previous=refs[-1] if refs else None,
        parent_id=link.changeset_id,
        digest=link.digest,
        frames=frames,
    )
    key = keys.segment(stream, ref.first, fresh)
    end = Link(last.version, last.id, last.parent, codec.chain_digest(link.digest, frames), key)
    return ref, end, Put(key, body, ALWAYS, About(stream, end.version, last.id, link.changeset_id))
