"""Checking one stream, the feed included: everything that its head leads to, from the first changeset to the newest.

Rules:

* A walk sees the stream as one head object showed it, and what that refers to never changes. So a stream that grows meanwhile is checked
  as it was when its head was read.
* Segments are reached by the index, and each must name the one before it: so the linked list and the index agree, or a fault says where they do not.
* Digests run from the first frame to the head. Each segment repeats the digest before it, so a walk goes on behind an object that cannot be
  read, and damage in one place is one fault.
* Behind an index page that cannot be read nothing is looked at: it is found again when the page is repaired.
* A snapshot that the head names is decoded, and not compared with the events: only its decider could.
* One step is bounded: one index page, a window of segments, or the tail.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import msgspec

from headstream import limits
from headstream.errors import CorruptData, UnsupportedFormat
from headstream.protocol import codec, fault, head, keys, snapshot
from headstream.protocol.codec import NO_DIGEST, Batch, Chain, Frame
from headstream.protocol.fault import Fault, Kind, kind_of
from headstream.protocol.head import Known, Span, State, nothing, spans, spans_of
from headstream.protocol.ops import FAULTS, About, Found, Gen, Get, GetAnswer, GetMany, Missing, unavailable
from headstream.protocol.retime import is_only_the_time, is_only_the_time_of
from headstream.protocol.segment import Ref, Segment, decode_page, decode_segment
from headstream.protocol.snapshot import Snapshot

AGAIN: Final = "the storage did not answer while the store was checked: run it again later"

Describe: TypeAlias = Callable[[About], Mapping[str, str]] | None
"""What a backend keeps beside an object; ``None`` for one that keeps nothing."""


class Link(msgspec.Struct, frozen=True):
    """Where a walk has come: what the next object must follow."""

    version: int
    changeset_id: bytes | None
    parent_id: bytes | None
    """The changeset before that."""
    digest: bytes
    key: str
    """The object that ends there."""


START: Final = Link(0, None, None, NO_DIGEST, "")


class Part(msgspec.Struct, frozen=True):
    """Consecutive changesets that were read, and are right in themselves."""

    key: str
    """The object that holds them."""
    chain: Chain
    digest: bytes
    """That they begin with."""
    link: Link
    """Where they end."""
    ref: Ref | None = None
    """The segment; ``None`` for the tail of a head."""


class Tally(msgspec.Struct, frozen=True):
    """What was checked."""

    segments: int = 0
    pages: int = 0
    changesets: int = 0
    events: int = 0
    size: int = 0
    """Bytes of the objects."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            *[mine + theirs for mine, theirs in zip(*map(msgspec.structs.astuple, (self, other)), strict=True)]
        )


class Opened(msgspec.Struct, frozen=True):
    """The head of a stream."""

    known: Known | None
    """``None`` when it cannot be read; of version 0, without an etag, when there is none."""
    faults: list[Fault]
    etag: str | None
    """Of the object, whatever is in it."""
    size: int = 0


class Walk(msgspec.Struct, frozen=True):
    """The rest of the check of one stream."""

    known: Known
    rest: tuple[Span, ...]
    """What was not looked at yet, oldest first."""
    link: Link | None = START
    """``None`` after an object that could not be read: the next one says where it begins."""
    previous: Ref | None = None
    """The segment before the next, as the index has it."""
    listed: bool = True
    """Whether ``previous`` is known."""
    ended: bool = False


class Stride(msgspec.Struct, frozen=True):
    """What a step of a walk found."""

    walk: Walk
    parts: list[Part] = []
    faults: list[Fault] = []
    tally: Tally = Tally()


def begin(known: Known, after: int = 0) -> Walk:
    """The walk of a stream as ``known`` shows it, from what holds the version that follows ``after``, or from earlier on."""
    rest = tuple([span for span in spans(known.state.fields) if span.last > after])
    return Walk(known, rest, link=None, listed=False) if after else Walk(known, rest)


def open_head(stream: str, describe: Describe) -> Gen[Opened]:
    """The head of a stream, checked as far as it can be by itself. Raises :class:`Unavailable`."""
    key = keys.head(stream)
    (answer,) = yield from get_many((key,))
    if not isinstance(answer, Found):
        return Opened(nothing(stream), [], None)
    try:
        state = head.decode(answer.body, key, stream)
    except (CorruptData, UnsupportedFormat) as error:
        return Opened(None, [fault.damaged_head(stream, key, error)], answer.etag, len(answer.body))
    fields = state.fields
    about = About(stream, fields.version, fields.changeset_id or bytes(16), fields.parent_id)
    faults = check_metadata(answer, about, key, describe)
    return Opened(Known(state, answer.etag), faults, answer.etag, len(answer.body))


def check_snapshots(known: Known) -> Gen[list[Fault]]:
    """The snapshots of a stream that are objects of their own. Raises :class:`Unavailable`."""
    stream = known.state.stream
    faults: list[Fault] = []
    for key, entry in _snapshots(known.state).items():  # one at a time: each may be large
        (answer,) = yield from get_many((key,))
        if not isinstance(answer, Found):
            if not (yield from _is_named(stream, key)):
                continue  # it was replaced since the head was read, and collected
            faults.append(fault.lost_snapshot(stream, key, "the snapshot is missing", Kind.MISSING))
            continue
        try:
            snapshot.decode_named(answer.body, key, stream, entry)
        except (CorruptData, UnsupportedFormat) as error:
            faults.append(fault.lost_snapshot(stream, key, error.message, fault.kind_of(error)))
    return faults


def _snapshots(state: State) -> dict[str, Snapshot]:
    return {key: entry for entry in state.snapshots if (key := entry.key(state.stream)) is not None}


def _is_named(stream: str, key: str) -> Gen[bool]:
    """Whether the head still names a snapshot, or cannot say."""
    name = keys.head(stream)
    (answer,) = yield from get_many((name,))
    try:
        return isinstance(answer, Found) and key in _snapshots(head.decode(answer.body, name, stream))
    except (CorruptData, UnsupportedFormat):
        return True


def check_metadata(found: Found, about: About, key: str, describe: Describe) -> list[Fault]:
    """Whether an object has the names of its content."""
    if describe is None:
        return []
    names = describe(about)
    kept = found.metadata or {}
    wrong = [name for name, value in names.items() if kept.get(name) != value]
    if not wrong:
        return []
    bare = not any(name in kept for name in names)
    return [fault.wrong_metadata(about, key, [] if bare else wrong)]


def step(walk: Walk, describe: Describe = None) -> Gen[Stride]:
    """The next part of a walk that has not ended. Raises :class:`Unavailable`."""
    if not walk.rest:
        return _finish(walk)
    if walk.rest[0].level > 0:
        return (yield from _open_page(walk))
    return (yield from _read_segments(walk, describe))


# --- index pages ---------------------------------------------------------------------------------------------------


def _open_page(walk: Walk) -> Gen[Stride]:
    span, rest = walk.rest[0], walk.rest[1:]
    stream = walk.known.state.stream
    key = span.key(stream)
    (answer,) = yield from get_many((key,))
    try:
        refs = read_page(stream, span, answer, key)
    except (CorruptData, UnsupportedFormat) as error:
        lost = msgspec.structs.replace(walk, rest=rest, link=None, previous=None, listed=False)
        kind = Kind.MISSING if isinstance(answer, Missing) else kind_of(error)
        return Stride(
            lost, faults=[fault.lost_page(stream, key, span.ref.first, span.last, kind=kind, problem=error.message)]
        )
    children = tuple(spans_of([(span.level - 1, ref) for ref in refs], span.last))
    tally = Tally(pages=1, size=len(body_of(answer, key)))
    return Stride(msgspec.structs.replace(walk, rest=(*children, *rest)), tally=tally)


def read_page(stream: str, span: Span, answer: GetAnswer, key: str) -> list[Ref]:
    """The references of an index page; :class:`CorruptData` and :class:`UnsupportedFormat` if it is not what ``span`` says."""
    refs = decode_page(body_of(answer, key), key, stream, span.ref, span.level)
    if refs[-1].first > span.last:
        raise CorruptData("the index page references more than it covers", key=key)
    return refs


# --- segments ------------------------------------------------------------------------------------------------------


def _read_segments(walk: Walk, describe: Describe) -> Gen[Stride]:
    stream = walk.known.state.stream
    window = _window(walk.rest)
    names = tuple([span.key(stream) for span in window])
    answers = yield from get_many(names)
    inspector = _Inspector(walk, describe)
    for span, key, answer in zip(window, names, answers, strict=True):
        inspector.inspect(span, key, answer)
    return inspector.stride(walk.rest[len(window) :])


def _window(rest: tuple[Span, ...]) -> list[Span]:
    """The next segments, as many as are fetched together."""
    window: list[Span] = []
    size = 0
    for span in rest[: limits.READ_WINDOW_OBJECTS]:
        size += span.ref.size
        if span.level > 0 or (window and size > limits.READ_WINDOW):
            break
        window.append(span)
    return window


class _Inspector:
    """Looks at segments, one after the other."""

    def __init__(self, walk: Walk, describe: Describe) -> None:
        self._walk = walk
        self._stream = walk.known.state.stream
        self._describe = describe
        self._link = walk.link
        self._previous = walk.previous
        self._listed = walk.listed
        self._parts: list[Part] = []
        self._faults: list[Fault] = []
        self._tally = Tally()

    def inspect(self, span: Span, key: str, answer: GetAnswer) -> None:
        """One segment."""
        try:
            segment = decode_segment(body_of(answer, key), key, self._stream, span.ref, span.last)
        except (CorruptData, UnsupportedFormat) as error:
            kind = Kind.MISSING if isinstance(answer, Missing) else kind_of(error)
            first, last = span.ref.first, span.last
            if isinstance(answer, Found) and is_only_the_time_of(answer.body, key, self._stream, span.ref, last):
                found = fault.wrong_time(self._stream, key, first, last)
            else:
                found = fault.lost_segment(self._stream, key, first, last, kind=kind, problem=error.message)
            self._faults.append(found)
            self._link = None
        else:
            assert isinstance(answer, Found)
            self._follow(span, key, segment)
            end = segment.chain[-1]
            about = About(self._stream, span.last, end.id, segment.fields.parent_id)
            self._faults += check_metadata(answer, about, key, self._describe)
            digest = codec.chain_digest(segment.fields.digest, segment.frames)
            self._link = Link(span.last, end.id, end.parent, digest, key)
            self._parts.append(Part(key, segment.chain, segment.fields.digest, self._link, span.ref))
            self._tally += _tally_of(segment.chain, segments=1, size=len(answer.body))
        self._previous, self._listed = span.ref, True

    def _follow(self, span: Span, key: str, segment: Segment) -> None:
        """What a segment says of those before it."""
        fields, link = segment.fields, self._link
        if self._listed and fields.previous != self._previous:
            self._contradict(span, key, "it names another segment before it than the index does")
        if link is not None and fields.parent_id != link.changeset_id:
            self._contradict(span, key, "it does not follow the newest changeset before it")
        elif link is not None and fields.digest != link.digest:
            self._contradict(
                span, link.key or key, f"its changesets have another digest than {key} begins with", last=link.version
            )
        if not ascends(segment.chain):
            self._contradict(span, key, "the ids of its changesets do not increase")

    def _contradict(self, span: Span, key: str, problem: str, last: int | None = None) -> None:
        self._faults.append(
            fault.contradiction(self._stream, key, problem, span.ref.first if last is None else last, last or span.last)
        )

    def stride(self, rest: tuple[Span, ...]) -> Stride:
        """What was found."""
        walk = msgspec.structs.replace(
            self._walk, rest=rest, link=self._link, previous=self._previous, listed=self._listed
        )
        return Stride(walk, self._parts, self._faults, self._tally)


def ascends(chain: Chain) -> bool:
    """Whether the ids of changesets increase."""
    return all(frame.parent is None or frame.parent < frame.id for frame in chain)


# --- the tail ------------------------------------------------------------------------------------------------------


def _finish(walk: Walk) -> Stride:
    """The tail of the head, and what the head says of everything before it."""
    state = walk.known.state
    stream, fields, key = state.stream, state.fields, keys.head(state.stream)
    sealed, link = fields.sealed, walk.link
    ended = msgspec.structs.replace(walk, ended=True)
    faults: list[Fault] = []
    if link is not None and (link.changeset_id, link.digest) != (sealed.changeset_id, sealed.digest):
        problem = f"its changesets end with another digest or changeset than {key} says"
        faults.append(fault.contradiction(stream, link.key or key, problem, max(link.version, 1), max(link.version, 1)))
    chain, error = read_tail(walk.known)
    intact = chain[-1].version if chain else sealed.version
    if error is not None:
        if is_only_the_time(state.tail, stream, key):
            faults.append(fault.wrong_time(stream, key, intact + 1, fields.version))
        else:
            faults.append(fault.damaged_tail(stream, intact, fields.version, error))
    else:
        parent = chain[-1].parent if chain else (link.parent_id if link is not None else fields.parent_id)
        problems = {
            "its digest is not that of its changesets": codec.chain_digest(sealed.digest, state.tail) != fields.digest,
            "it does not end with its newest changeset": (chain[-1].id if chain else sealed.changeset_id)
            != fields.changeset_id,
            "it does not end with its version": intact != fields.version,
            "it names another changeset before the newest than there is": parent != fields.parent_id,
            "the ids of its changesets do not increase": not ascends(chain),
        }
        first = min(sealed.version + 1, max(fields.version, 1))
        faults += [
            fault.contradiction(stream, key, problem, first, max(fields.version, 1))
            for problem, wrong in problems.items()
            if wrong
        ]
    parts = [Part(key, chain, sealed.digest, _end_of_tail(walk.known, chain))] if chain else []
    return Stride(ended, parts, faults, _tally_of(chain))


def _end_of_tail(known: Known, chain: Chain) -> Link:
    """Where the changesets of a tail end, as far as they can be read."""
    digest = codec.chain_digest(known.state.fields.sealed.digest, known.state.tail[: len(chain)])
    return Link(chain[-1].version, chain[-1].id, chain[-1].parent, digest, keys.head(known.state.stream))


def read_tail(known: Known) -> tuple[list[Frame | Batch], CorruptData | None]:
    """The changesets of a tail up to the first that cannot be read, and why it cannot."""
    state = known.state
    key, version, parent = keys.head(state.stream), state.fields.sealed.version, state.fields.sealed.changeset_id
    chain: list[Frame | Batch] = []
    for raw in state.tail:
        try:
            chain += codec.decode_chain((raw,), version, parent, key, stream=state.stream)
        except CorruptData as error:
            return chain, error
        version, parent = chain[-1].version, chain[-1].id
    return chain, None


def _tally_of(chain: Chain, *, segments: int = 0, size: int = 0) -> Tally:
    events = chain[-1].version - chain[0].follows if chain else 0
    return Tally(segments=segments, changesets=len(chain), events=events, size=size)


def get_many(names: tuple[str, ...]) -> Gen[tuple[GetAnswer, ...]]:
    """Several objects. Raises :class:`Unavailable`."""
    try:
        return (yield from GetMany(tuple(map(Get, names))))
    except FAULTS as error:
        raise unavailable(AGAIN, error, key=names[0]) from error


def body_of(answer: GetAnswer, key: str) -> bytes:
    """What was found; :class:`CorruptData` if nothing was."""
    if not isinstance(answer, Found):
        raise CorruptData("an object that the stream needs is missing", key=key)
    return answer.body
