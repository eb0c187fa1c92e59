"""The head of a stream: its states, and the one transition that grows it. Pure functions of values, no I/O.

Rules:

* ``version`` and ``digest`` cover every changeset of the stream; ``sealed`` says where the segments end and the tail begins.
* The tail holds the newest frames, byte for byte, the older ones of them compressed (:mod:`headstream.protocol.tail`). When the next frame does not fit in ``tail_bytes``, the old tail is sealed as a
  segment and the frame begins a new tail; a frame that is larger than a whole tail is sealed at once, behind the old tail.
* ``levels[0]`` references the newest segments, oldest first. When it would hold more than ``fan_out`` references, the oldest
  ``fan_out`` become an index page, referenced from ``levels[1]``; and so on. So every level holds its newest reference here,
  a head's size is bounded by ``tail_bytes + levels × fan_out`` references, and any version is one GET a level away.
* Segments and pages are named by the id of the attempt that makes them, never by their content: two attempts share no object, so
  what a failed attempt left can be deleted without a look at anybody else's.
* Content never repeats: every write changes the newest changeset's id or the fence. So etags made of content are safe.
* Snapshots are the head's too, and change with no changeset but the one that brings the next (:mod:`headstream.protocol.snapshot`).
* A head of version 0 is that of a stream that does not exist, whose first append was fenced.
"""

from __future__ import annotations

from itertools import chain
from typing import Any, Final

import msgspec

from headstream import limits
from headstream.errors import CorruptData, InvalidInput, UnsupportedFormat
from headstream.model import Settings
from headstream.protocol import codec, keys, snapshot, tail
from headstream.protocol.codec import NO_DIGEST, Count, Digest, Id, Name, Version
from headstream.protocol.ops import ABSENT, ALWAYS, About, Matches, Put
from headstream.protocol.remembered import Remembered
from headstream.protocol.segment import Ref, encode_page, encode_segment
from headstream.protocol.snapshot import Kept, Listed, Snapshot
from headstream.protocol.tail import PackedTail


class Sealed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Where the segments end: their last version, newest changeset and digest."""

    version: Count
    changeset_id: Id | None
    digest: Digest


NOTHING_SEALED: Final = Sealed(0, None, NO_DIGEST)


class Fields(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The fields of a head, as stored."""

    stream: Name
    version: Count
    changeset_id: Id | None
    parent_id: Id | None
    """The changeset before the newest."""
    digest: Digest
    fence: Count
    sealed: Sealed
    levels: list[list[Ref]]
    extensions: dict[str, Any]
    """:class:`Extensions`, and room for what format 1 reserves and this code does not know: that must be refused."""


class Extensions(msgspec.Struct, frozen=True):
    """What this code knows of a head's extensions."""

    settled: list[Id] = []
    """In the feed's head: the intents that its newest changeset settled. They may still be in the inbox, and count no more."""
    snapshots: Listed | None = None
    """In the head of an application's stream: states of deciders (:mod:`headstream.protocol.snapshot`)."""
    packed_tail: bytes = b""
    """The oldest changesets of the tail, compressed (:mod:`headstream.protocol.tail`)."""


_BUILT: Final = msgspec.msgpack.Decoder(Extensions)
"""Has msgspec make here what it keeps of the class and those in it: two threads that make it at once crash the process."""
KNOWN: Final = frozenset(Extensions.__struct_fields__)
"""The names that this code knows in the extensions of a head."""


class PackedLevels(Remembered, frozen=True, eq=False):
    """References, and how they are stored: most appends change none of them, and there may be hundreds."""

    levels: list[list[Ref]]
    raw: msgspec.Raw

    @classmethod
    def of(cls, levels: list[list[Ref]], remembered: PackedLevels | None = None) -> PackedLevels:
        """The references packed, unless that is what is ``remembered``."""
        if remembered is not None and remembered.levels is levels:
            return remembered
        return cls(levels, codec.pack(levels))


class State(msgspec.Struct, frozen=True):
    """A head in memory: what is stored, and the tail."""

    fields: Fields
    tail: tuple[bytes, ...] = ()
    tail_size: int = 0
    """Bytes of the frames in the tail."""
    packed_levels: PackedLevels | None = None
    """The references as they are stored, if that is remembered."""
    packed_tail: PackedTail | None = None
    """How much of the tail is stored compressed."""

    @property
    def stream(self) -> str:
        """The stream's name."""
        return self.fields.stream

    @property
    def version(self) -> int:
        """How many events the stream has."""
        return self.fields.version

    @property
    def settled(self) -> frozenset[bytes]:
        """Of the feed: the intents that its newest changeset settled."""
        return frozenset(self.fields.extensions.get("settled", ()))

    @property
    def snapshots(self) -> list[Snapshot]:
        """States of deciders that are kept with the stream."""
        return snapshot.listed(self.fields.extensions.get("snapshots"))

    @property
    def age(self) -> tuple[int, int]:
        """Grows with every write of the head: one that was rebuilt after a loss has fewer versions, and a higher fence."""
        return self.fields.fence, self.fields.version

    @property
    def size(self) -> int:
        """About how many bytes this takes in memory: measured, with what each object costs besides its content."""
        levels, extensions = self.fields.levels, self.fields.extensions
        size = 450 + self.tail_size + 41 * len(self.tail)
        if self.packed_tail is not None:
            size += self.packed_tail.stored + 130
        if levels:
            size += 90 * len(levels) + 170 * sum(map(len, levels))
        if extensions:
            size += 57 * len(extensions.get("settled", ())) + snapshot.size_of(self.snapshots)
        return size


class Known(msgspec.Struct, frozen=True):
    """A head as a client last saw it, and the etag to swap it by; ``None`` for a stream that does not exist."""

    state: State
    etag: str | None


class Change(msgspec.Struct, frozen=True):
    """A changeset to be appended: its frame and what the head has to know of it."""

    id: bytes
    frame: bytes
    events: int
    settled: tuple[bytes, ...] | None = None
    """In the feed: the intents that this settles."""
    kept: Kept | None = None
    """A state to be kept."""


_decoder: Final = msgspec.msgpack.Decoder(Fields)


def nothing(stream: str) -> Known:
    """A stream that does not exist."""
    return Known(State(Fields(stream, 0, None, None, NO_DIGEST, 0, NOTHING_SEALED, [], {})), None)


def decode(body: bytes, key: str, stream: str) -> State:
    """The head of ``stream``, from the body of the object ``key``."""
    fields, (frames,) = codec.unseal("head", body, key, _decoder, extra=1)
    if fields.stream != stream:
        raise CorruptData(f"the head is that of stream {fields.stream!r}, not of {stream!r}", key=key)
    _check_extensions(fields.extensions, key)
    if not isinstance(frames, list):
        raise CorruptData("the tail of the head is no list of changesets", key=key)
    packed_tail = None
    if (compressed := fields.extensions.pop("packed_tail", None)) is not None:
        older, packed_tail = tail.unpacked(compressed, key)
        frames = older + frames
    problem = _inconsistency(fields, len(frames)) or _misfit(fields)
    if problem:
        raise CorruptData(f"the head contradicts itself: {problem}", key=key)
    return State(fields, tuple(frames), sum(map(len, frames)), None, packed_tail)


def _check_extensions(extensions: dict[str, Any], key: str) -> None:
    if not extensions:
        return
    unknown = extensions.keys() - KNOWN
    if unknown:
        raise UnsupportedFormat(
            "the head uses a feature of a newer headstream: upgrade this one",
            key=key,
            features=[name[:40] for name in sorted(unknown)[:10]],
        )
    try:
        msgspec.convert(extensions, Extensions, builtin_types=(bytes,))  # else text would pass for bytes, as base64
    except msgspec.ValidationError as error:
        raise CorruptData(f"the extensions of the head cannot be decoded: {error}", key=key) from None


def _misfit(fields: Fields) -> str | None:
    """What is wrong with the extensions."""
    if fields.stream == keys.FEED:
        return "it has snapshots, which the feed never has" if "snapshots" in fields.extensions else None
    if "settled" in fields.extensions:
        return "it settles intents, which only the feed does"
    return snapshot.inconsistency(snapshot.listed(fields.extensions.get("snapshots")), fields.version)


def _inconsistency(fields: Fields, frames: int) -> str | None:
    if (fields.version == 0) != (fields.changeset_id is None):
        return "its version does not fit its newest changeset"
    if fields.version == 0 and (fields.fence == 0 or fields.parent_id is not None or fields.digest != NO_DIGEST):
        return "it has no changeset"
    sealed = fields.sealed
    if sealed.version > fields.version or (sealed.version == fields.version) != (frames == 0):
        return "the tail does not reach from the segments to the version"
    if (sealed.version == 0) != (sealed.changeset_id is None) or (sealed.version == 0 and sealed.digest != NO_DIGEST):
        return "the end of its segments does not fit their version"
    if len(fields.levels) > limits.MAX_LEVELS or not all(fields.levels):
        return "it has an empty or impossible index level"
    if (sealed.version == 0) != (not fields.levels):
        return "its index does not fit its segments"
    firsts = [ref.first for level in reversed(fields.levels) for ref in level]
    if firsts and (
        firsts[0] != 1 or firsts[-1] > sealed.version or sorted(firsts) != firsts or len(set(firsts)) < len(firsts)
    ):
        return "its references are out of order"
    return None


def encode(state: State) -> bytes:
    """The body of the head object. Raises :class:`InvalidInput` for numbers that no reader would take."""
    if not (0 <= state.fields.version <= limits.MAX_VERSION and 0 <= state.fields.fence <= limits.MAX_VERSION):
        raise InvalidInput(
            f"a head counts to {limits.MAX_VERSION}: the stream can be neither extended nor fenced any more"
        )
    fields, packed_tail = state.fields, state.packed_tail
    loose, extensions = state.tail, fields.extensions
    if packed_tail is not None and packed_tail.body is not None:
        loose = loose[packed_tail.frames :]
        extensions = {**extensions, "packed_tail": packed_tail.body}
    stored = (
        fields.stream,
        fields.version,
        fields.changeset_id,
        fields.parent_id,
        fields.digest,
        fields.fence,
        fields.sealed,
        PackedLevels.of(fields.levels, state.packed_levels).raw,
        extensions,
    )
    return codec.seal("head", stored, loose)


def put(state: State, etag: str | None) -> Put:
    """The write that makes ``state`` the head, if the head still has ``etag`` (``None``: if there is none)."""
    fields = state.fields
    return Put(
        keys.head(fields.stream),
        encode(state),
        ABSENT if etag is None else Matches(etag),
        About(fields.stream, fields.version, fields.changeset_id or bytes(16), fields.parent_id),
    )


def follow(state: State, change: Change, settings: Settings) -> tuple[State, tuple[Put, ...]]:
    """The state after ``change``, and the objects that must be durable before it may become the head."""
    old = state.fields
    frame = change.frame
    version = old.version + change.events
    digest = codec.chain_digest(old.digest, (frame,))
    sealed, levels = old.sealed, old.levels
    puts: tuple[Put, ...] = ()
    packed_tail = state.packed_tail
    if state.tail_size + len(frame) <= settings.tail_bytes:
        frames, size = (*state.tail, frame), state.tail_size + len(frame)
    else:
        packed_tail = None
        if len(frame) <= settings.tail_bytes:
            seals, end = state.tail, Sealed(old.version, old.changeset_id, old.digest)
            frames, size = (frame,), len(frame)
        else:
            seals, end = (*state.tail, frame), Sealed(version, change.id, digest)
            frames, size = (), 0
        ref, segment = _seal(old, seals, end, change.id)
        levels, pages = _refer(old.stream, levels, ref, change.id, settings.fan_out)
        sealed, puts = end, (segment, *pages)
    extensions = old.extensions
    if change.settled is not None:
        extensions = {"settled": list(change.settled)}
    elif change.kept is not None:
        snapshots, objects = snapshot.keep(
            state.snapshots, change.kept, stream=old.stream, attempt=change.id, follows=old.version, at=version
        )
        extensions, puts = {"snapshots": msgspec.to_builtins(snapshots, builtin_types=(bytes,))}, (*puts, *objects)
    fields = Fields(old.stream, version, change.id, old.changeset_id, digest, old.fence, sealed, levels, extensions)
    packed_levels, packed_tail = PackedLevels.of(levels, state.packed_levels), tail.packed(frames, size, packed_tail)
    return State(fields, frames, size, packed_levels, packed_tail), puts


def _seal(old: Fields, frames: tuple[bytes, ...], end: Sealed, attempt: bytes) -> tuple[Ref, Put]:
    """A segment of ``frames``, which follow the segments of ``old`` and reach to ``end``."""
    ref = Ref(old.sealed.version + 1, attempt, sum(map(len, frames)))
    body = encode_segment(
        stream=old.stream,
        ref=ref,
        last=end.version,
        previous=old.levels[0][-1] if old.levels else None,
        parent_id=old.sealed.changeset_id,
        digest=old.sealed.digest,
        frames=frames,
    )
    assert end.changeset_id is not None
    about = About(old.stream, end.version, end.changeset_id, old.sealed.changeset_id)
    return ref, Put(keys.segment(old.stream, ref.first, ref.id), body, ALWAYS, about)


def _refer(
    stream: str, levels: list[list[Ref]], ref: Ref, attempt: bytes, fan_out: int
) -> tuple[list[list[Ref]], list[Put]]:
    """``levels`` with ``ref`` added, and the index pages that this fills."""
    grown: list[list[Ref]] = []
    pages: list[Put] = []
    carry: Ref | None = ref
    for number, level in enumerate(chain(levels, ([],)), 1):
        if carry is None:
            grown.extend(levels[number - 1 :])
            break
        full = [*level, carry]
        carry = None
        if len(full) > fan_out:
            moved, full = full[:fan_out], full[fan_out:]
            carry = Ref(moved[0].first, attempt, sum(moved_ref.size for moved_ref in moved))
            pages.append(
                Put(keys.page(stream, number, carry.first, attempt), encode_page(stream, number, moved), ALWAYS)
            )
        grown.append(full)
    return grown, pages


def fenced(state: State) -> State:
    """The same stream with its fence moved: every write that knows the old etag now fails."""
    fields = msgspec.structs.replace(state.fields, fence=state.fields.fence + 1)
    return msgspec.structs.replace(state, fields=fields)


class Span(msgspec.Struct, frozen=True):
    """What a reference covers: versions ``ref.first`` to ``last``. Level 0 is a segment, higher ones are index pages."""

    level: int
    ref: Ref
    last: Version

    def key(self, stream: str) -> str:
        """The key of the object."""
        if self.level == 0:
            return keys.segment(stream, self.ref.first, self.ref.id)
        return keys.page(stream, self.level, self.ref.first, self.ref.id)


def spans(fields: Fields) -> list[Span]:
    """All that a head references, oldest first."""
    refs = [(level, ref) for level in reversed(range(len(fields.levels))) for ref in fields.levels[level]]
    return spans_of(refs, fields.sealed.version)


def spans_of(refs: list[tuple[int, Ref]], last: int) -> list[Span]:
    """Consecutive references, the newest of which, if there is any, ends with version ``last``."""
    ends = [*(ref.first - 1 for _, ref in refs[1:]), last]
    return [Span(level, ref, end) for (level, ref), end in zip(refs, ends, strict=False)]
