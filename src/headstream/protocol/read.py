"""Reading: the head, then the segments that hold the asked versions, in order, in bounded memory.

Rules:

* A read sees the stream as one head object showed it: a prefix of the stream, whatever is appended meanwhile. It leans on
  reads being consistent (an answered write is seen by every later get) and on segments and pages never changing.
* A head that the client knows is revalidated by its etag, so an unchanged stream costs no body. Content never repeats, so an equal etag
  is an equal head.
* Only objects that overlap the asked versions are fetched: at most one index page a level to find the first, then runs of
  segments together, as many as fit in ``READ_WINDOW`` (always at least one).
* An object that a head or page references and that is missing, damaged or misplaced is :class:`CorruptData` with its key.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec

from headstream import limits
from headstream.errors import CorruptData
from headstream.model import RecordedEvent
from headstream.protocol import codec, keys, snapshot
from headstream.protocol.codec import Batch, Chain, Frame
from headstream.protocol.head import Known, Span, decode, nothing, spans, spans_of
from headstream.protocol.ops import FAULTS, Found, Gen, Get, GetAnswer, GetMany, List, Missing, NotModified, unavailable
from headstream.protocol.segment import decode_page, decode_segment

_RETRY: Final = "the storage did not answer; nothing was written: try again later"


class Cursor(msgspec.Struct, frozen=True):
    """The rest of a read: versions ``first`` to ``last`` of the stream as ``known`` shows it."""

    known: Known
    first: int
    last: int
    backwards: bool = False
    siblings: tuple[Span, ...] = ()
    """The references beside the segment that was read last: the next one is likely among them."""

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left."""
        return self.first > self.last


def load_head(stream: str, known: Known | None) -> Gen[Known]:
    """The head of ``stream`` as it is now; ``known`` saves its body when it has not changed.

    Raises :class:`Unavailable` and :class:`CorruptData`.
    """
    key = keys.head(stream)
    try:
        answer = yield from Get(key, known.etag if known is not None else None)
    except FAULTS as fault:
        raise unavailable(_RETRY, fault, key=key) from fault
    if isinstance(answer, NotModified):
        assert known is not None, "nobody asked whether it was modified"
        return known
    if isinstance(answer, Found):
        return Known(decode(answer.body, key, stream), answer.etag)
    return nothing(stream)


def start(
    stream: str, known: Known | None, *, after: int, before: int | None, limit: int | None, backwards: bool
) -> Gen[Cursor]:
    """The read of at most ``limit`` events with ``after < version < before``, from the end if ``backwards``."""
    known = yield from load_head(stream, known)
    first = after + 1
    last = known.state.version if before is None else min(before - 1, known.state.version)
    if limit is not None:
        if backwards:
            first = max(first, last - limit + 1)
        else:
            last = min(last, first + limit - 1)
    return Cursor(known, first, last, backwards)


def step(cursor: Cursor, look: Callable[[Chain], None] | None = None) -> Gen[tuple[list[RecordedEvent], Cursor]]:
    """The next events of a read that is not exhausted, in its direction, and the cursor after them.

    ``look`` gets the changesets that hold them.
    """
    state = cursor.known.state
    tail_first = state.fields.sealed.version + 1
    at = cursor.last if cursor.backwards else cursor.first
    if at >= tail_first:
        first, last = max(cursor.first, tail_first), cursor.last
        chain = tail_chain(cursor.known, first - 1)
        siblings: tuple[Span, ...] = ()
    else:
        siblings = yield from _siblings(cursor.known, cursor.siblings, at)
        run = _window(siblings, at, cursor)
        chain = yield from _fetch(state.stream, run)
        first, last = max(cursor.first, run[0].ref.first), min(cursor.last, run[-1].last)
    if look is not None:
        look(chain)
    events = codec.recorded(state.stream, chain, first, last)
    if cursor.backwards:
        events.reverse()
        return events, Cursor(cursor.known, cursor.first, first - 1, backwards=True, siblings=siblings)
    return events, Cursor(cursor.known, last + 1, cursor.last, siblings=siblings)


def tail_chain(known: Known, after: int = 0) -> Chain:
    """The changesets in the tail that have events after the version ``after``, oldest first."""
    state, sealed = known.state, known.state.fields.sealed
    key = keys.head(state.stream)
    newest = state.fields.changeset_id
    chain = codec.decode_newest(state.tail, state.version, newest, key, stream=state.stream, after=after)
    if len(chain) == len(state.tail) > 0 and (chain[0].follows, chain[0].parent) != (
        sealed.version,
        sealed.changeset_id,
    ):
        raise CorruptData("the tail of the head does not begin where its segments end", key=key)
    return chain


def changeset_after(known: Known, version: int) -> Gen[Frame | Batch]:
    """The changeset that follows ``version``, which the stream has reached and passed.

    Raises :class:`CorruptData` when no changeset holds what comes after it, which no writer of this stream can have caused.
    """
    if version >= known.state.fields.sealed.version:
        chain = tail_chain(known, version)
    else:
        run = yield from _siblings(known, (), version + 1)
        chain = yield from _fetch(known.state.stream, [_at(run, version + 1)])
    for frame in chain:
        if frame.follows <= version < frame.version:
            return frame
    raise CorruptData(f"no changeset holds version {version + 1}", key=keys.head(known.state.stream))


def changesets(known: Known, follows: Sequence[int]) -> Gen[tuple[Chain, int]]:
    """The changesets that follow the first of some versions, which the stream has passed; and how many versions that answers for.

    ``follows`` ascends and is not empty. Versions in the middle of a changeset have none that follows them. The segments that hold
    versions next to each other are fetched together, as many as fit in ``READ_WINDOW``.
    """
    (answer,) = yield from changesets_of([(known, follows)])
    return answer


def changesets_of(wanted: Iterable[tuple[Known, Sequence[int]]]) -> Gen[list[tuple[Chain, int]]]:
    """The same for the first of several streams, at least one: for as many as fit in ``READ_WINDOW``."""
    asked: list[tuple[Known, Sequence[int], list[Span]]] = []
    size = objects = 0
    for known, follows in wanted:
        window = yield from _holding(known, follows)
        size += sum([span.ref.size for span in window])
        objects += len(window)
        if asked and (size > limits.READ_WINDOW or objects > limits.READ_WINDOW_OBJECTS):
            break
        asked.append((known, follows, window))
    chains = yield from _fetch_all([(known.state.stream, window) for known, _, window in asked if window])
    fetched = iter(chains)
    answers: list[tuple[Chain, int]] = []
    for known, follows, window in asked:
        chain = next(fetched) if window else tail_chain(known, follows[0])
        answered = bisect_left(follows, window[-1].last) if window else len(follows)
        those = frozenset(follows[:answered])
        answers.append(([frame for frame in chain if frame.follows in those], answered))
    return answers


def _holding(known: Known, follows: Sequence[int]) -> Gen[list[Span]]:
    """The segments that hold what comes after the first of some versions; none if the tail does."""
    if follows[0] >= known.state.fields.sealed.version:
        return []
    run = yield from _siblings(known, (), follows[0] + 1)
    window: list[Span] = []
    size = 0
    for span in run[run.index(_at(run, follows[0] + 1)) :]:
        size += span.ref.size
        unwanted = bisect_left(follows, span.ref.first - 1) == bisect_left(follows, span.last)
        if window and (unwanted or size > limits.READ_WINDOW or len(window) == limits.READ_WINDOW_OBJECTS):
            break
        window.append(span)
    return window


def kept_state(known: Known, name: str, version: int) -> Gen[tuple[int, bytes] | None]:
    """The version and the state of the snapshot that a decider has in a head; ``None`` if it has none that can be read.

    One that went since the head was read is :class:`Missing` here too: whoever wants to be sure reads the head again. Raises :class:`CorruptData` for one
    that cannot be decoded, and :class:`Unavailable`.
    """
    for entry in known.state.snapshots:
        if (entry.name, entry.version) != (name, version):
            continue
        if entry.state is not None:
            return entry.at, entry.state
        key = entry.key(known.state.stream)
        assert key is not None
        try:
            answer = yield from Get(key)
        except FAULTS as fault:
            raise unavailable(_RETRY, fault, key=key) from fault
        if isinstance(answer, Found):
            return entry.at, snapshot.decode_named(answer.body, key, known.state.stream, entry)
    return None


def newest_segment(known: Known) -> Gen[Chain]:
    """The changesets of the newest segment; none if nothing was sealed yet."""
    levels = known.state.fields.levels
    if not levels:
        return []
    return (yield from _fetch(known.state.stream, [Span(0, levels[0][-1], known.state.fields.sealed.version)]))


def in_tail(known: Known, key: str) -> Frame | Batch | None:
    """The newest changeset in the tail that was appended with this key; ``None`` if none was."""
    written = key.encode()  # a frame has it as it is: so most need not be decoded to know that it is not there
    if not any(written in frame for frame in known.state.tail):
        return None
    return newest_with_key(tail_chain(known), key)


def newest_with_key(chain: Chain, key: str) -> Frame | Batch | None:
    """The newest of some changesets that was appended with this key; ``None`` if none was."""
    return next((frame for frame in reversed(chain) if frame.key == key), None)


def list_streams(prefix: str, after: str) -> Gen[tuple[list[str], bool]]:
    """Some names of streams that begin with ``prefix`` and come after the name ``after``, in order; and whether there are more."""
    try:
        page = yield from List(keys.head(prefix), keys.head(after) if after else "")
    except FAULTS as fault:
        raise unavailable(_RETRY, fault, prefix=prefix) from fault
    return [keys.stream_of_head(key) for key in page.keys], page.more


# --- finding and fetching ------------------------------------------------------------------------------------------


def _at(run: tuple[Span, ...], version: int) -> Span:
    return run[bisect_right(run, version, key=lambda span: span.ref.first) - 1]


def _siblings(known: Known, near: tuple[Span, ...], version: int) -> Gen[tuple[Span, ...]]:
    """The references to segments beside the one that holds ``version``: those in ``near``, or found down the index."""
    if near and near[0].ref.first <= version <= near[-1].last:
        return near
    stream = known.state.stream
    run = tuple(spans(known.state.fields))
    while (span := _at(run, version)).level > 0:
        key = span.key(stream)
        try:
            answer = yield from Get(key)
        except FAULTS as fault:
            raise unavailable(_RETRY, fault, key=key) from fault
        refs = decode_page(_body(answer, key), key, stream, span.ref, span.level)
        run = tuple(spans_of([(span.level - 1, ref) for ref in refs], span.last))
    return tuple(span for span in run if span.level == 0)


def _window(run: tuple[Span, ...], at: int, cursor: Cursor) -> list[Span]:
    """The segments to fetch together, oldest first: from the one that holds ``at``, in the direction of the read."""
    middle = run.index(_at(run, at))
    ahead = reversed(run[: middle + 1]) if cursor.backwards else iter(run[middle:])
    window: list[Span] = []
    size = 0
    for span in ahead:
        size += span.ref.size
        outside = span.last < cursor.first or span.ref.first > cursor.last
        if window and (outside or size > limits.READ_WINDOW or len(window) == limits.READ_WINDOW_OBJECTS):
            break
        window.append(span)
    return window[::-1] if cursor.backwards else window


def _fetch(stream: str, run: list[Span]) -> Gen[Chain]:
    """The changesets of consecutive segments."""
    (chain,) = yield from _fetch_all([(stream, run)])
    return chain


def _fetch_all(runs: list[tuple[str, list[Span]]]) -> Gen[list[Chain]]:
    """The same for several streams, all at once."""
    requests = tuple([Get(span.key(stream)) for stream, run in runs for span in run])
    if not requests:
        return []
    try:
        answers = iter((yield from GetMany(requests)))
    except FAULTS as fault:
        raise unavailable(_RETRY, fault, key=requests[0].key) from fault
    chains: list[Chain] = []
    for stream, run in runs:
        chain: list[Frame | Batch] = []
        for span in run:
            key = span.key(stream)
            segment = decode_segment(_body(next(answers), key), key, stream, span.ref, span.last)
            if chain and segment.fields.parent_id != chain[-1].id:
                raise CorruptData("the segment does not follow the one before it", key=key)
            chain.extend(segment.chain)
        chains.append(chain)
    return chains


def _body(answer: GetAnswer, key: str) -> bytes:
    if isinstance(answer, Missing):
        raise CorruptData("an object that the stream needs is missing", key=key)
    assert isinstance(answer, Found)
    return answer.body
