"""What became of announced changesets: each is in its stream, or dead, or may still come. Steps 5 and 6 of an advance (:mod:`headstream.protocol.feed`).

Rules:

* What is in its stream stays there, and what is dead stays dead (feed, rule 4): such a verdict holds however much later it is used. So whoever looks
  at a stream judges all that a plan has of it, and fetches no head, and no segment, twice for it.
* What may still come is judged anew, on a head that is read anew.
* What cannot be read concerns its own stream only. A stream whose head, segments or changesets cannot be read keeps its intents, from the first
  that could not be judged on; so its order is kept, nothing of it is lost, and the others go on. It is looked at again by the next advance.
* Segments of several streams are fetched together, as many as fit in ``READ_WINDOW``; what is found before it is needed is kept, about
  ``FEED_AHEAD`` bytes of it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Final, TypeAlias

import msgspec

from headstream import limits
from headstream.errors import CorruptData, UnsupportedFormat
from headstream.protocol import head, keys
from headstream.protocol.codec import Frame
from headstream.protocol.head import Known, nothing
from headstream.protocol.intent import Announced
from headstream.protocol.ops import FAULTS, Commit, Found, Gen, Get, GetAnswer, GetMany, Missing, Stored, unavailable
from headstream.protocol.read import changesets_of

AGAIN = "the storage did not answer while the feed was advanced; nothing is lost: try again later"

Cached: TypeAlias = Callable[[str], Known | None]
"""The head of a stream as it was seen last, to save its body."""


class Committed(msgspec.Struct, frozen=True):
    """A changeset that is in its stream."""

    frame: Frame
    weight: int
    """About how many bytes it takes in the feed."""


class Dead(msgspec.Struct, frozen=True):
    """A changeset that will never be in its stream."""


DEAD = Dead()
Verdict: TypeAlias = Committed | Dead


Defect: TypeAlias = CorruptData | UnsupportedFormat
"""Why something cannot be read."""
DEFECTS: Final = (CorruptData, UnsupportedFormat)


class Verdicts:
    """What is known of the intents of a plan, by their ids."""

    def __init__(self) -> None:
        self._known: dict[bytes, Verdict] = {}
        self._weight = 0
        self.unreadable: dict[str, Defect] = {}
        """Streams that cannot be judged any further, and why."""

    def is_stuck(self, entry: Announced) -> bool:
        """Whether it stays in the inbox, for its stream cannot be read."""
        return entry.stream in self.unreadable and self.of(entry) is None

    def of(self, entry: Announced) -> Verdict | None:
        """What became of it, if that is known."""
        return self._known.get(entry.id)

    def add(self, entry: Announced, frame: Frame | None) -> None:
        """Its changeset was found, or it is dead."""
        verdict = DEAD if frame is None else Committed(frame, frame.weight)
        self._known[entry.id] = verdict
        if isinstance(verdict, Committed):
            self._weight += verdict.weight

    def drop(self, entry: Announced) -> None:
        """It was dealt with."""
        verdict = self._known.pop(entry.id, None)
        if isinstance(verdict, Committed):
            self._weight -= verdict.weight

    @property
    def full(self) -> bool:
        """Whether no more should be found ahead of its time."""
        return self._weight >= limits.FEED_AHEAD

    def suffice(self, chunk: Sequence[Announced]) -> bool:
        """Whether enough of ``chunk`` is known: all of it, or a batch full; or some, and there is no room for more."""
        if chunk and self.full and self.of(chunk[0]) is not None:
            return True
        events = weight = 0
        for entry in chunk:
            verdict = self.of(entry)
            if verdict is None:
                return False
            if isinstance(verdict, Committed):
                events += len(verdict.frame.events)
                weight += verdict.weight
                if events >= limits.FEED_BATCH_EVENTS or weight >= limits.FEED_BATCH_BYTES:
                    return True
        return True


def look(
    verdicts: Verdicts, rest: Sequence[Announced], count: int, cached: Cached, is_old: Callable[[Announced], bool]
) -> Gen[set[bytes]]:
    """Find verdicts for the first ``count`` intents of ``rest``, as many as make a batch; and for others of the same streams, on the way.

    Returns the ids of those that may still come. A stream that has lost events is unreadable too. Raises :class:`Unavailable`.
    """
    chunk = rest[:count]
    coming: set[bytes] = set()
    unknown = iter(dict.fromkeys([entry.stream for entry in chunk if verdicts.of(entry) is None]))
    waiting: dict[str, list[Announced]] = {}
    while not verdicts.suffice([entry for entry in chunk if entry.id not in coming and not verdicts.is_stuck(entry)]):
        some = list(islice(unknown, limits.FEED_HEADS))
        if not some:
            break
        waiting = waiting or _by_stream(verdicts, rest)
        pasts: list[tuple[Known, list[Announced]]] = []
        for known in (yield from _heads(some, cached, verdicts.unreadable)):
            entries = waiting[known.state.stream]
            if (lost := _lost(known, entries)) is not None:
                verdicts.unreadable[known.state.stream] = lost
                continue
            version = known.state.version
            if past := [entry for entry in entries if entry.follows < version]:
                pasts.append((known, past))
            pending = [entry for entry in entries if entry.follows >= version]
            if (yield from _fence(known, pending, is_old)):
                for entry in pending:
                    verdicts.add(entry, None)
            else:
                coming.update([entry.id for entry in pending])
        yield from _judge(pasts, verdicts)
    return coming


def _by_stream(verdicts: Verdicts, rest: Sequence[Announced]) -> dict[str, list[Announced]]:
    streams: dict[str, list[Announced]] = {}
    for entry in rest:
        if verdicts.of(entry) is None:
            streams.setdefault(entry.stream, []).append(entry)
    return streams


def _lost(known: Known, entries: Sequence[Announced]) -> CorruptData | None:
    """What is wrong with a stream that is shorter than its intents say."""
    seen = max([entry.follows for entry in entries])
    if seen <= known.state.version:
        return None
    return CorruptData(  # whoever announced it had seen the stream there
        f"the head is gone or an old copy took its place: it has version {known.state.version} after {seen}: run `headstream verify`",
        key=keys.head(known.state.stream),
    )


def _heads(streams: Sequence[str], cached: Cached, unreadable: dict[str, Defect]) -> Gen[list[Known]]:
    """The heads of ``streams``, in their order, but for those that cannot be read."""
    before = [cached(stream) for stream in streams]
    gets = tuple(
        [Get(keys.head(stream), known.etag if known else None) for stream, known in zip(streams, before, strict=True)]
    )
    answers = yield from get_many(gets)
    heads: list[Known] = []
    for stream, known, get, answer in zip(streams, before, gets, answers, strict=True):
        if isinstance(answer, Found):
            try:
                heads.append(Known(head.decode(answer.body, get.key, stream), answer.etag))
            except DEFECTS as error:
                unreadable[stream] = error
        elif isinstance(answer, Missing) or known is None:
            heads.append(nothing(stream))
        else:
            heads.append(known)
    return heads


def _judge(pasts: Iterable[tuple[Known, list[Announced]]], verdicts: Verdicts) -> Gen[None]:
    """Find what the streams have grown past: some of the first stream at least, and no more than there is room for."""
    waiting = deque([(known, past, sorted({entry.follows for entry in past})) for known, past in pasts])
    alone = False
    while waiting:
        some = islice(waiting, 1 if alone else None)
        try:
            answers = yield from changesets_of([(known, follows) for known, _, follows in some])
        except DEFECTS as error:
            if alone:
                verdicts.unreadable[waiting.popleft()[0].state.stream] = error
            alone = not alone  # one at a time until the stream is found that cannot be read
            continue
        for chain, answered in answers:
            known, past, follows = waiting.popleft()
            there = {frame.follows: frame for frame in chain}
            rest = follows[answered:]
            for entry in past:
                if not rest or entry.follows < rest[0]:
                    frame = there.get(entry.follows)
                    verdicts.add(entry, frame if isinstance(frame, Frame) and frame.id == entry.id else None)
            if rest:
                waiting.append((known, [entry for entry in past if entry.follows >= rest[0]], rest))
        if verdicts.full:
            break


def _fence(known: Known, pending: Sequence[Announced], is_old: Callable[[Announced], bool]) -> Gen[bool]:
    """Make the appends impossible that should have been over long ago, and those of the stream that were sent before this; whether they are."""
    if not any(map(is_old, pending)):
        return False
    with suppress(*FAULTS):  # it is tried again by the next advance
        answer = yield from Commit((), head.put(head.fenced(known.state), known.etag))
        return isinstance(answer, Stored)
    return False


def get_many(gets: tuple[Get, ...]) -> Gen[tuple[GetAnswer, ...]]:
    """Raises :class:`Unavailable`."""
    try:
        return (yield from GetMany(gets))
    except FAULTS as fault:
        raise unavailable(AGAIN, fault) from fault
