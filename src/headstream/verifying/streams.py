"""One stream: its objects, and what the feed has of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import msgspec

from headstream.model import FeedEvent, RecordedEvent
from headstream.protocol import fault, inventory, keys
from headstream.protocol.census import Census, Comparison, Unannounced, content_of
from headstream.protocol.codec import Frame
from headstream.protocol.fault import Fault
from headstream.protocol.head import Known
from headstream.protocol.ops import Gen
from headstream.protocol.verify import Describe, Opened, Part, Tally, begin, check_snapshots, open_head, step

LOCATED: Final = 16
"""Streams of which the first event is looked for that is another in the feed: each takes a reading of the feed."""


class Checked(msgspec.Struct, frozen=True):
    """What was found of one stream."""

    stream: str
    version: int | None
    """``None`` when its head cannot be read."""
    faults: list[Fault]
    tally: Tally = Tally()
    unannounced: Unannounced | None = None
    sealed: bool = False
    """Whether it has segments."""
    etag: str | None = None


class StreamCheck:
    """Checks streams, when the feed was read. Safe to use from several threads."""

    def __init__(
        self, run: Callable[[Gen[Any]], Any], describe: Describe, census: Census, feed: Known | None, *, announced: bool
    ) -> None:
        self._run = run
        self._describe = describe
        self._census = census
        self._feed = feed
        self._announced = announced
        """Whether what is not in the feed must be announced."""
        self._located = 0

    def check(self, name: str) -> Checked:
        """One stream; again, if it has faults and its head was written meanwhile."""
        checked = self._check(name)
        if checked.faults:
            again: Opened = self._run(open_head(name, None))
            if again.etag != checked.etag:
                checked = self._check(name)
        return checked

    def _check(self, name: str) -> Checked:
        opened: Opened = self._run(open_head(name, self._describe))
        known, published = opened.known, self._census.of(name)
        if known is None:
            return Checked(name, None, opened.faults, etag=opened.etag)
        if known.etag is None:
            problem = "the feed has events of the stream" if published.version else "it was listed"
            return Checked(name, None, [fault.missing_head(name, f"the head is missing: {problem}")])
        comparison, missing = Comparison(name, published), list[Frame]()
        faults: list[Fault] = [*opened.faults, *self._run(check_snapshots(known))]
        tally, walk = Tally(size=opened.size), begin(known)
        while not walk.ended:
            stride = self._run(step(walk, self._describe))
            walk, tally = stride.walk, tally + stride.tally
            faults += stride.faults
            for part in stride.parts:
                missing += self._unannounced(name, comparison.absorb(part))
                del missing[1:-1]  # the first and the last of them say it all
        version = known.state.version
        if version < published.version:
            reached = published.version
            faults.append(fault.behind(name, version, f"the feed has its events up to {reached}", reached))
        elif comparison.differs:
            faults.append(self._difference(name, known))
        sealed = bool(known.state.fields.levels)
        return Checked(name, version, faults, tally, _late(name, missing), sealed=sealed, etag=known.etag)

    def _unannounced(self, name: str, frames: Sequence[Frame]) -> list[Frame]:
        """Of changesets that are not in the feed, those that are not in the inbox."""
        if not frames or not self._announced:
            return []
        names = tuple([keys.intent(frame.id, frame.follows, name) for frame in frames])
        missing = self._run(inventory.missing_intents(names))
        return [frame for frame, is_missing in zip(frames, missing, strict=True) if is_missing]

    def _difference(self, name: str, known: Known) -> Fault:
        """The first event of a stream that is another in the feed."""
        self._located += 1
        if self._feed is not None and self._located <= LOCATED:
            copies = (entry for entry in self._events(self._feed) if entry[1].stream == name)
            for (_, event), (key, copy) in zip(self._events(known), copies, strict=False):
                if isinstance(copy, FeedEvent) and content_of(event) != content_of(copy):
                    return fault.differs(name, key, event.version, copy.position)
        return fault.differs_somewhere(name)

    def _events(self, known: Known) -> Iterator[tuple[str, RecordedEvent]]:
        """All events of a stream or of the feed, each with the key of the object that holds it."""
        walk = begin(known)
        while not walk.ended:
            stride = self._run(step(walk))
            walk = stride.walk
            for part in stride.parts:
                yield from _events_of(part, known.state.stream)


def _late(stream: str, missing: Sequence[Frame]) -> Unannounced | None:
    """What is to be looked for in the feed later: all from the first to the last of ``missing``."""
    if not missing:
        return None
    first = missing[0]
    key = keys.intent(first.id, first.follows, stream)
    return Unannounced(stream, key, first.follows + 1, missing[-1].version)


def _events_of(part: Part, stream: str) -> Iterator[tuple[str, RecordedEvent]]:
    for frame in part.chain:
        for event in frame.recorded(stream, frame.follows + 1, frame.version):
            yield part.key, event
