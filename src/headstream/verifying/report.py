"""What a verification tells while it goes, and when it has ended."""

from __future__ import annotations

import msgspec

from headstream.protocol.fault import Fault
from headstream.protocol.verify import Tally


class Progress(msgspec.Struct, frozen=True):
    """How far a verification has come."""

    phase: str
    """``feed``, ``streams``, ``objects``, ``inbox`` or ``checkpoints``."""
    done: int
    total: int | None = None
    """As far as that is known."""


class Report(msgspec.Struct):
    """What a verification looked at and found; complete when its faults have been iterated."""

    streams: int = 0
    changesets: int = 0
    """Of the streams."""
    events: int = 0
    """Of the streams."""
    positions: int = 0
    """Events of the feed."""
    segments: int = 0
    pages: int = 0
    size: int = 0
    """Bytes of the heads, segments and pages."""
    intents: int = 0
    checkpoints: int = 0
    garbage: int = 0
    """Objects that nothing refers to."""
    faults: list[Fault] = []

    @property
    def grave(self) -> list[Fault]:
        """The faults that are more than information."""
        return [found for found in self.faults if found.grave]

    @property
    def clean(self) -> bool:
        """Whether there is none."""
        return not self.grave

    def count(self, tally: Tally) -> None:
        """Objects were read."""
        self.segments += tally.segments
        self.pages += tally.pages
        self.size += tally.size
