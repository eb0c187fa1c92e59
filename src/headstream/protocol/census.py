"""Whether the feed has just what the streams have. Pure functions of what was read, no I/O.

Rules:

* The feed is read first, then the streams: a stream is never behind what a feed that was read before it says.
* Of each stream the feed's part is kept as two values, whatever its length: the version it reaches, and a digest of all fields of its events.
  The stream, read later, must have that digest at that version.
* What a stream has beyond that version must be announced, or in the feed by the time that is looked at again: an intent is deleted only
  after the feed has its changeset.
* Where a part of the feed cannot be read, versions may be missing, and nothing is said of the content of streams that go on behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import blake2b
from typing import Final

import msgspec

from headstream.model import FeedEvent, RecordedEvent
from headstream.protocol import fault, keys
from headstream.protocol.codec import Batch, Frame
from headstream.protocol.fault import Fault
from headstream.protocol.verify import Part

_NOTHING: Final = bytes(16)
_pack: Final = msgspec.msgpack.Encoder().encode


def mix(digest: bytes, events: Iterable[RecordedEvent]) -> bytes:
    """The digest of events after those that ``digest`` stands for."""
    for event in events:
        content = _pack(content_of(event))
        digest = blake2b(digest + content, digest_size=16).digest()
    return digest


def content_of(event: RecordedEvent) -> tuple[object, ...]:
    """All that the feed repeats of an event, besides the stream."""
    return (
        event.version,
        event.type,
        event.payload,
        event.metadata_json,
        event.id,
        event.changeset,
        event.micros,
    )


class Published(msgspec.Struct):
    """What the feed has of one stream."""

    version: int = 0
    """It has the events up to this one."""
    digest: bytes | None = _NOTHING
    """Of their content; ``None`` when that is not known."""
    gaps: int = 0
    """How many parts of the feed that cannot be read lie before its last event."""
    faulty: bool = False
    """Whether a fault of it was reported."""


class Census:
    """What the feed has of each stream, gathered from its parts in their order."""

    def __init__(self) -> None:
        self.streams: dict[str, Published] = {}
        self.position = 0
        """All that can be read up to here was taken in."""
        self.gaps = 0
        """How many parts of the feed could not be read."""
        self.settled: frozenset[bytes] = frozenset()
        """The intents that the feed's newest changeset settled, when the feed was read first."""

    def of(self, stream: str) -> Published:
        """What the feed has of a stream."""
        return self.streams.get(stream) or Published(gaps=self.gaps, digest=None if self.gaps else _NOTHING)

    def covers(self, stream: str) -> bool:
        """Whether what the feed has of a stream ends behind everything that cannot be read of the feed."""
        known = self.streams.get(stream)
        return not self.gaps if known is None else known.gaps == self.gaps

    def absorb(self, part: Part) -> list[Fault]:
        """The next part of the feed."""
        faults: list[Fault] = []
        for batch in part.chain:
            assert isinstance(batch, Batch)
            if batch.version <= self.position:  # it was taken in before, when the feed was shorter
                continue
            if batch.follows != self.position:
                self.gaps += 1
            self.position = batch.version
            for stream, events in _runs(batch.events):
                faults += self._take(stream, events, part.key)
        return faults

    def end(self, version: int) -> None:
        """The feed has ended, at this position; what could not be read at its end is a gap, too."""
        if version != self.position:
            self.gaps += 1
            self.position = version

    def _take(self, stream: str, events: Sequence[FeedEvent], key: str) -> Iterator[Fault]:
        """Consecutive events of the feed that are of one stream."""
        known = self.streams.get(stream)
        if known is None:
            known = self.streams[stream] = Published()
        position = events[0].position
        first = events[0].version
        problem = None
        if stream.startswith(keys.FEED[0]):
            problem = "the feed has events of a stream of headstream's own"
        elif any(event.version != first + number for number, event in enumerate(events)):
            problem = "the events of a stream are out of order"
        elif first <= known.version:
            problem = f"the feed has version {first} of a stream again, or too late"
        elif first > known.version + 1 and known.gaps == self.gaps:
            problem = f"the feed skips version {known.version + 1} of a stream"
        if problem is not None or first != known.version + 1:
            known.digest = None
        if known.digest is not None:
            known.digest = mix(known.digest, events)
        known.version = max(known.version, events[-1].version)
        known.gaps = self.gaps
        if problem is not None and not known.faulty:
            known.faulty = True
            yield fault.misplaced(stream, key, f"{problem}, at position {position}", first, position)


def _runs(events: Sequence[FeedEvent]) -> Iterator[tuple[str, list[FeedEvent]]]:
    """Events, together as long as they are of the same stream."""
    run: list[FeedEvent] = []
    for event in events:
        if run and run[0].stream != event.stream:
            yield run[0].stream, run
            run = []
        run.append(event)
    yield run[0].stream, run


class Comparison:
    """One stream, read from its first changeset on, against what the feed has of it."""

    def __init__(self, stream: str, published: Published) -> None:
        self._stream = stream
        self._published = published
        self._version = 0
        self._digest: bytes | None = _NOTHING

    def absorb(self, part: Part) -> list[Frame]:
        """The next part of the stream; its changesets that are not in the feed."""
        reached = self._published.version
        pending: list[Frame] = []
        for frame in part.chain:
            assert isinstance(frame, Frame)
            if frame.follows != self._version:
                self._digest = None
            if self._digest is not None and frame.follows < reached:
                self._digest = mix(self._digest, frame.recorded(self._stream, 1, reached))
            self._version = frame.version
            if frame.version > reached:
                pending.append(frame)
        return pending

    @property
    def differs(self) -> bool:
        """Whether the content of the feed is another, as far as both are known."""
        known = None not in {self._digest, self._published.digest}
        return known and self._version >= self._published.version and self._digest != self._published.digest


class Unannounced(msgspec.Struct, frozen=True):
    """Changesets of a stream that were neither in the feed nor in the inbox when that was looked at."""

    stream: str
    key: str
    """Of the intent that the first of them had."""
    first: int
    """Of their versions."""
    last: int

    def missing(self, census: Census) -> list[Fault]:
        """The fault, unless the feed has them now."""
        reached = census.of(self.stream).version
        if reached >= self.last:
            return []
        return [fault.unpublished(self.stream, self.key, max(self.first, reached + 1), self.last)]
