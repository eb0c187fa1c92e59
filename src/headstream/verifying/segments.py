"""Restoring a segment from the feed."""

from __future__ import annotations

from headstream.protocol import rebuild, repair
from headstream.protocol.fault import Fault
from headstream.protocol.verify import Opened, Part, begin, get_many, open_head, step
from headstream.verifying.bench import ELSEWHERE, Bench, Repair


class SegmentRepair:
    """Restores segments whose events are all in the feed, when the digests around them prove that nothing else was in them."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._run = bench.run

    def repair(self, found: Fault) -> Repair:
        """One segment."""
        stream, first, last = found.stream, found.first, found.last
        assert stream is not None
        assert first is not None
        assert last is not None
        before, digest, broken = self._neighbours(stream, found)
        if not broken:
            return self._bench.cannot(found, ELSEWHERE)
        if digest is None or (before is None and first > 1):
            return self._bench.cannot(found, "what is before or after it cannot be read either")
        events = self._bench.copies(stream, first, last)
        if not events:
            return self._bench.cannot(found, "the feed does not have its events")
        (answer,) = self._run(get_many((found.key,)))
        when = repair.condition(answer)
        put = rebuild.restore(found.key, stream, events, before=before, digest=digest, when=when)
        if put is None:
            return self._bench.cannot(
                found, "the feed has its events, but it held something else, such as idempotency keys"
            )
        return self._bench.put(found, [put], "restored from the feed")

    def _neighbours(self, stream: str, found: Fault) -> tuple[Part | None, bytes | None, bool]:
        """What is before a segment, the digest that what follows it begins with, and whether it still cannot be read."""
        assert found.first is not None
        opened: Opened = self._run(open_head(stream, None))
        if opened.known is None:
            return None, None, True
        before, broken = None, False
        sealed = opened.known.state.fields.sealed
        digest = sealed.digest if sealed.version == found.last else None
        walk = begin(opened.known, max(found.first - 2, 0))
        while not walk.ended:
            stride = self._run(step(walk))
            walk = stride.walk
            broken = broken or any(one.key == found.key for one in stride.faults)
            for part in stride.parts:
                before = part if part.link.version == found.first - 1 else before
                digest = part.digest if part.chain[0].follows == found.last else digest
            if digest is not None and walk.rest and walk.rest[0].ref.first > found.first:
                break
        return before, digest, broken
