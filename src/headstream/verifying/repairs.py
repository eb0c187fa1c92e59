"""Repairing what a verification found, as far as that can be rebuilt from what is intact."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from headstream.errors import CorruptData, UnsupportedFormat
from headstream.protocol import inventory, keys, repair
from headstream.protocol.codec import Frame
from headstream.protocol.fault import Fault, Mend
from headstream.protocol.lineage import Lineage, survey
from headstream.protocol.verify import Opened, begin, open_head, step
from headstream.verifying.bench import ELSEWHERE, Bench, Repair
from headstream.verifying.heads import HeadRepair
from headstream.verifying.refeeding import FeedRepair
from headstream.verifying.segments import SegmentRepair
from headstream.verifying.times import TimeRepair
from headstream.verifying.verification import Verification

_STREAMS: Final = (Mend.PAGE, Mend.SEGMENT, Mend.HEAD, Mend.TIME)
_FIRST: Final = (*_STREAMS, Mend.INTENT, Mend.SETTLE)
"""What is repaired before the feed is looked at, in this order."""


def repair_store(
    verification: Verification, *, feed: bool = False, accept_loss: bool = False, write: bool = True
) -> Iterator[Repair]:
    """Repair what a verification found, which is finished first; what cannot be repaired is said, and left alone.

    ``write=False`` only says what would be done. ``feed`` also lays the feed out anew from where it cannot be read: positions change after that, and
    whoever has read further has to start over from there. ``accept_loss`` also rebuilds heads that may lack the newest events, for ever.

    Every write is conditional, or makes a new object. Repair a store from one process at a time; with ``feed`` or ``accept_loss``, stop
    its writers. Then verify it again: some faults are seen only when others are gone.

    Raises :class:`Unavailable`, :class:`AccessDenied`, :class:`StoreNotFound`.
    """
    verification.finish()
    return _Repairs(verification, feed=feed, accept_loss=accept_loss, write=write).all()


class _Repairs:
    """One round of repairs."""

    def __init__(self, verification: Verification, *, feed: bool, accept_loss: bool, write: bool) -> None:
        self._verification = verification
        self._bench = Bench(verification, write=write)
        self._run = self._bench.run
        self._feed = feed
        self._heads = HeadRepair(self._bench, accept_loss=accept_loss)
        self._ways: dict[Mend, Callable[[Fault], Repair]] = {
            Mend.PAGE: self._page,
            Mend.SEGMENT: SegmentRepair(self._bench).repair,
            Mend.HEAD: self._heads.repair,
            Mend.TIME: TimeRepair(self._bench).repair,
            Mend.INTENT: self._intent,
            Mend.SETTLE: self._settle,
            Mend.ANNOUNCE: self._announce,
        }

    def all(self) -> Iterator[Repair]:
        """Repair each object once, in an order in which one repair helps the next."""
        faults: dict[Mend, dict[str, Fault]] = {mend: {} for mend in Mend}
        for found in self._verification.report.faults:
            if found.mend is not None:
                # one repair mends all times of a stream
                object_ = found.key if found.mend is not Mend.TIME or found.stream is None else found.stream
                faults[found.mend].setdefault(object_, found)
        lost = list(faults[Mend.FEED].values())
        for mend in _FIRST:
            for found in faults[mend].values():
                done = self._try(found)
                yield done
                if found.stream == keys.FEED and not done.possible and done.text != ELSEWHERE:
                    lost.append(found)
        streams = [found for mend in _STREAMS for found in faults[mend].values() if found.stream != keys.FEED]
        if lost:
            yield self._lay_out(lost, streams)
        if not (lost and self._feed):
            yield from map(self._try, faults[Mend.ANNOUNCE].values())

    def _try(self, found: Fault) -> Repair:
        assert found.mend is not None
        try:
            return self._ways[found.mend](found)
        except (CorruptData, UnsupportedFormat) as error:
            return self._bench.cannot(found, f"what it takes cannot be read: {error}")

    def _lay_out(self, lost: list[Fault], streams: list[Fault]) -> Repair:
        """The feed, when all that it is made of is in order."""
        first = msgspec.structs.replace(lost[0], mend=Mend.FEED)
        if not self._feed:
            return self._bench.cannot(
                first, "the order of the feed is lost in part: --repair-feed lays it out anew from there"
            )
        if streams:
            return self._bench.cannot(first, "the feed is laid out when the streams are repaired: verify again")
        try:
            return FeedRepair(self._bench).repair([first, *lost[1:]])
        except (CorruptData, UnsupportedFormat) as error:
            return self._bench.cannot(first, f"a stream cannot be read: {error}")

    def _page(self, found: Fault) -> Repair:
        """An index page, from the segments that it leads to."""
        stream, first = found.stream, found.first
        assert stream is not None
        assert first is not None
        level = int(found.key.rpartition("/")[2].partition("-")[0])
        place: repair.Place | None = self._run(repair.find_page(stream, level, first))
        if place is None:
            return self._bench.cannot(found, ELSEWHERE)
        segments = self._bench.survey(Lineage(first), survey(stream, first, place.span.last + 1))
        fresh = self._run(repair.fresh()).id
        puts = repair.plan_page(stream, place, segments, self._bench.settings.fan_out, fresh)
        if puts is None:
            return self._bench.cannot(found, "the segments that it leads to are not all intact")
        return self._bench.put(found, puts, f"written again, from {len(segments.chain)} segments")

    def _intent(self, found: Fault) -> Repair:
        """An intent, from its key."""
        put = self._run(repair.plan_intent(found.key))
        if put is None:
            return self._bench.cannot(found, ELSEWHERE)
        return self._bench.put(found, [put], "written again, from its key")

    def _settle(self, found: Fault) -> Repair:
        """An intent of what is in the feed."""
        if self._bench.write:
            self._run(repair.remove(found.key))
        return self._bench.can(found, "removed: the feed has what it announces")

    def _announce(self, found: Fault) -> Repair:
        """The intents of changesets that are neither in the feed nor announced."""
        stream, first, last = found.stream, found.first, found.last
        assert stream is not None
        assert first is not None
        assert last is not None
        opened: Opened = self._run(open_head(stream, None))
        if opened.known is None:
            return self._bench.cannot(found, "the head of the stream cannot be read")
        announced = 0
        walk = begin(opened.known, first - 1)
        while not walk.ended:
            stride = self._run(step(walk))
            walk = stride.walk
            for part in stride.parts:
                frames = [frame for frame in part.chain if frame.follows >= first - 1 and frame.version <= last]
                announced += self._announce_missing(stream, [frame for frame in frames if isinstance(frame, Frame)])
        return self._bench.can(found, f"announced again: {announced} changesets of the stream")

    def _announce_missing(self, stream: str, frames: list[Frame]) -> int:
        puts = repair.announce(stream, frames)
        missing = self._run(inventory.missing_intents(tuple([put.key for put in puts])))
        puts = [put for put, is_missing in zip(puts, missing, strict=True) if is_missing]
        if puts and self._bench.write:
            self._run(repair.write(puts))
        return len(puts)
