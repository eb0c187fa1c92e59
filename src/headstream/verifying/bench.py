"""What all repairs work with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from headstream.model import FeedEvent, Settings
from headstream.protocol import keys, lineage, repair
from headstream.protocol.codec import Batch
from headstream.protocol.fault import Fault, Mend
from headstream.protocol.lineage import Lineage, Survey
from headstream.protocol.ops import Gen, Put
from headstream.protocol.verify import Opened, begin, open_head, step
from headstream.verifying.verification import Verification

ELSEWHERE: Final = "somebody else wrote or removed it meanwhile: verify again"


class Repair(msgspec.Struct, frozen=True):
    """What became of a fault that might be repaired."""

    mend: Mend
    key: str
    """The object that was to be repaired."""
    text: str
    """What was done, or would be, or why nothing is."""
    possible: bool
    """Whether it was done, or would be."""
    done: bool
    """Whether anything was written."""

    def __str__(self) -> str:
        return f"{self.key}: {'' if self.done else 'would be ' if self.possible else 'not repaired: '}{self.text}"


class Bench:
    """A store under repair, or one of which it is only said what would be done."""

    def __init__(self, verification: Verification, *, write: bool) -> None:
        self.verification = verification
        self.settings: Settings = verification.store.settings
        self.run: Callable[[Gen[Any]], Any] = verification.store._run  # noqa: SLF001 - a part of the same shell
        #: Whether anything is written.
        self.write = write

    def put(self, found: Fault, puts: Sequence[Put], text: str) -> Repair:
        """Write objects, the last of them on a condition."""
        if self.write and not self.run(repair.write(puts)):
            return self.cannot(found, ELSEWHERE)
        return self.can(found, text)

    def can(self, found: Fault, text: str) -> Repair:
        """It is done, or would be."""
        return Repair(found.mend or Mend.HEAD, found.key, text, possible=True, done=self.write)

    def cannot(self, found: Fault, why: str) -> Repair:
        """It is not done, and would not be."""
        return Repair(found.mend or Mend.HEAD, found.key, why, possible=False, done=False)

    def survey(self, found: Lineage, rest: Survey) -> Lineage:
        """All of a survey."""
        while not rest.ended:
            nodes, rest = self.run(lineage.step(rest))
            found.take(nodes)
        return found

    def copies(self, stream: str, first: int, last: int) -> list[FeedEvent]:
        """Events of a stream as the feed has them, in order; none, if what can be read of it does not have them all."""
        opened: Opened = self.run(open_head(keys.FEED, None))
        if opened.known is None:
            return []
        events: list[FeedEvent] = []
        walk = begin(opened.known)
        while not walk.ended and (not events or events[-1].version < last):
            stride = self.run(step(walk))
            walk = stride.walk
            batches = [batch for part in stride.parts for batch in part.chain if isinstance(batch, Batch)]
            found = [event for batch in batches for event in batch.events if event.stream == stream]
            events += [event for event in found if first <= event.version <= last]
        return events if [event.version for event in events] == list(range(first, last + 1)) else []
