"""Verifying a whole store: every stream, the feed against the streams, the inbox, the checkpoints, and what nothing refers to.

The order is what makes it right beside live writers: the feed first; then the streams, which are never behind it; then the inbox, whose
intents are never ahead of the streams; and at the end the feed again, for what was published meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import msgspec

from headstream.backends.base import metadata_of
from headstream.backends.crew import side_by_side
from headstream.client import EventStore
from headstream.errors import CorruptData, InvalidInput, UnsuitableBackend, UnsupportedFormat
from headstream.protocol import fault, gc, inventory, keys, leftovers
from headstream.protocol.census import Census, Unannounced
from headstream.protocol.checkpoint import Checkpoint
from headstream.protocol.fault import Fault, Kind, Mend
from headstream.protocol.head import Known
from headstream.protocol.verify import Describe, Opened, Walk, begin, open_head, step
from headstream.verifying.report import Progress, Report
from headstream.verifying.streams import Checked, StreamCheck

JOBS: Final = 8
"""Streams that are checked at once, by default."""
MAX_JOBS: Final = 256
_THREADS: Final = "headstream-verify"


def verify(store: EventStore, *, jobs: int = JOBS, progress: Callable[[Progress], None] | None = None) -> Verification:
    """Check everything in a store; nothing is written. Iterate it for the faults, as they are found::

        verification = verify(store)
        for fault in verification:
            print(fault)
        print(verification.report.events, verification.report.clean)

    ``jobs``: how many streams are checked at once, 1 to 256. ``progress`` is called as it goes, from the thread that iterates.
    Writers may go on meanwhile: what they do after it began is no fault. It holds a few values for each stream, and a few MiB for each job.

    Raises :class:`InvalidInput` at once, and while iterating :class:`Unavailable`, :class:`AccessDenied`, :class:`StoreNotFound`.
    """
    if not 1 <= jobs <= MAX_JOBS:
        raise InvalidInput(f"jobs is {jobs!r}; it must be a whole number from 1 to {MAX_JOBS}")
    return Verification(store, jobs, progress)


class Verification(Iterator[Fault]):
    """The faults of a store, one after the other; see :func:`verify`."""

    def __init__(self, store: EventStore, jobs: int, progress: Callable[[Progress], None] | None) -> None:
        self.store = store
        self.jobs = jobs
        #: What was looked at, and found, so far.
        self.report = Report()
        #: What the feed has of each stream.
        self.census = Census()
        #: The versions of the streams whose heads can be read.
        self.versions: dict[str, int] = {}
        self._run = store._run  # noqa: SLF001 - a part of the same shell, in a package of its own
        self._description = store._description  # noqa: SLF001
        self._describe: Describe = metadata_of if store._backend.keeps_metadata else None  # noqa: SLF001
        self._progress = progress
        self._feed: Opened = Opened(None, [], None)
        self._unread: set[str] = set()
        self._sealed: set[str] = set()
        self._keys: set[str] = set()
        """Of all that was reported."""
        self._late: list[Unannounced] = []
        self._checkpoints: list[Checkpoint] = []
        self._faults = self._check()

    def __next__(self) -> Fault:
        found = next(self._faults)
        self.report.faults.append(found)
        self._keys.add(found.key)
        return found

    def finish(self) -> Report:
        """All that is left of it at once; the report."""
        for _ in self:
            pass
        return self.report

    def _check(self) -> Iterator[Fault]:
        yield from self._run(inventory.describe_store(self._description))
        yield from self._check_feed()
        yield from self._check_streams()
        yield from self._check_objects()
        yield from self._check_probes()
        yield from self._check_inbox()
        yield from self._check_checkpoints()
        yield from self._check_late()

    def _tell(self, phase: str, done: int, total: int | None = None) -> None:
        if self._progress is not None:
            self._progress(Progress(phase, done, total))

    # --- the feed ----------------------------------------------------------------------------------------------------

    def _check_feed(self) -> Iterator[Fault]:
        self._feed = self._run(open_head(keys.FEED, self._describe))
        yield from self._feed.faults
        known = self._feed.known
        if known is None:
            self._unread.add(keys.FEED)
            self.census.end(1)  # nobody knows what is in it
        elif known.etag is not None:
            if not self.store.settings.feed:
                yield fault.description("it says that the store has no feed, and there is one")
            self.census.settled = known.state.settled
            self.versions[keys.FEED] = known.state.version
            self.report.positions = known.state.version
            self.report.size += self._feed.size
            yield from self._take_feed(begin(known))

    def _take_feed(self, walk: Walk) -> Iterator[Fault]:
        """Walk the feed, and note what it has of each stream."""
        version = walk.known.state.version
        while not walk.ended:
            stride = self._run(step(walk, self._describe))
            walk = stride.walk
            yield from stride.faults
            for part in stride.parts:
                yield from self.census.absorb(part)
            self.report.count(stride.tally)
            self._tell("feed", self.census.position, version)
        self.census.end(version)

    def _check_late(self) -> Iterator[Fault]:
        """The feed once more: what was not in the inbox must be there now, and checkpoints are not ahead of it."""
        before, known = self._feed.known, self._run(open_head(keys.FEED, None)).known
        if known is None or before is None:
            return
        if known.etag != before.etag:
            yield from self._take_feed(begin(known, self.census.position))
        late = [
            found for entry in self._late if self.census.covers(entry.stream) for found in entry.missing(self.census)
        ]
        if late and known.etag is None:
            if keys.head(keys.FEED) not in self._keys:
                yield fault.missing_head(
                    keys.FEED, "there is no feed, and not all events are announced: it is lost, or these are"
                )
            late = [msgspec.structs.replace(found, mend=Mend.FEED) for found in late]
        yield from late
        if known.etag is not None or keys.head(keys.FEED) not in self._keys:  # else that is why
            end = known.state.version
            for checkpoint in self._checkpoints:
                if checkpoint.position > end:
                    yield fault.ahead(keys.checkpoint(checkpoint.name), checkpoint.name, checkpoint.position, end)

    # --- streams -----------------------------------------------------------------------------------------------------

    def _check_streams(self) -> Iterator[Fault]:
        feed: Known | None = self._feed.known
        announced = self.store.settings.feed and feed is not None
        check = StreamCheck(self._run, self._describe, self.census, feed, announced=announced).check
        strays: list[Fault] = []
        for checked in side_by_side(check, self._listed(strays), self.jobs, _THREADS):
            yield from self._note(checked)
        yield from strays
        unlisted = [name for name in self.census.streams if name not in self.versions and name not in self._unread]
        for checked in side_by_side(check, unlisted, self.jobs, _THREADS):
            yield from self._note(checked)

    def _listed(self, faults: list[Fault]) -> Iterator[str]:
        """The streams that have heads, but for the feed; and what else lies among the heads."""
        after: str | None = ""
        while after is not None:
            page = self._run(inventory.heads(after))
            faults += page.faults
            after = page.rest
            yield from [name for name in page.streams if name != keys.FEED]

    def _note(self, checked: Checked) -> Iterator[Fault]:
        """Take in what was found of a stream."""
        report, tally = self.report, checked.tally
        if checked.version is None:
            self._unread.add(checked.stream)
        else:
            self.versions[checked.stream] = checked.version
        if checked.sealed:
            self._sealed.add(checked.stream)
        if checked.unannounced is not None:
            self._late.append(checked.unannounced)
        report.streams += 1 if checked.version != 0 else 0
        report.changesets += tally.changesets
        report.events += tally.events
        report.count(tally)
        self._tell("streams", report.streams, max(len(self.census.streams), report.streams))
        yield from checked.faults

    # --- what nothing refers to --------------------------------------------------------------------------------------

    def _check_objects(self) -> Iterator[Fault]:
        strays: list[str] = []
        try:
            yield from self._sweep_all(self._folders(strays))
        except UnsuitableBackend:  # it lists no more than one folder in order
            yield from self._sweep_all(sorted(self._sealed))
        yield from [fault.unknown(key, "it lies in no stream's folder", grave=False) for key in strays]

    def _folders(self, strays: list[str]) -> Iterator[str]:
        """The streams that have segments or pages, each once; and the keys of what is no stream's."""
        seen: set[str] = set()
        for folder in gc.KINDS:
            after: str | None = ""
            while after is not None:
                page = self._run(leftovers.folders(folder, after))
                after = page.rest
                strays += page.unknown
                fresh = [stream for stream in page.streams if stream not in seen]
                seen.update(fresh)
                yield from fresh

    def _sweep_all(self, streams: Iterable[str]) -> Iterator[Fault]:
        for number, (objects, faults) in enumerate(side_by_side(self._sweep, streams, self.jobs, _THREADS), 1):
            self._tell("objects", number)
            fresh = [found for found in faults if found.key not in self._keys]
            self.report.garbage += objects if any(found.kind is Kind.GARBAGE for found in fresh) else 0
            yield from fresh

    def _sweep(self, stream: str) -> tuple[int, list[Fault]]:
        """How many objects of a stream nothing refers to, and what is to be said of them."""
        objects, size, faults = 0, 0, list[Fault]()
        grace = self.store.settings.grace_seconds
        headless = stream not in self.versions and stream not in self._unread
        try:
            if (
                headless
            ):  # whatever its age, it may prove that there was a head; it may also be the first append, in flight
                deque(self._swept(stream, grace=0), maxlen=0)
            for swept in self._swept(stream, grace=grace):
                swept_all = swept.segments + swept.pages + swept.snapshots
                objects, size = objects + swept_all.objects, size + swept_all.size
                faults += [fault.unknown(key, "it is no object of a stream", grave=False) for key in swept.unknown]
        except (CorruptData, UnsupportedFormat) as error:
            faults.append(_unswept(stream, error))
        if objects:
            problem = f"nothing refers to {objects} object{'s' if objects > 1 else ''} of the stream, {size} bytes"
            faults.append(fault.garbage(f"{keys.SEGMENTS}{keys.escape(stream)}/", problem, stream))
        return objects, faults

    def _swept(self, stream: str, *, grace: int) -> Iterator[gc.Swept]:
        place: gc.Place | None = gc.Place()
        while place is not None:
            swept: gc.Swept = self._run(gc.sweep(stream, grace=grace, dry=True, place=place))
            place = swept.rest
            yield swept

    def _check_probes(self) -> Iterator[Fault]:
        after: str | None = ""
        objects = 0
        while after is not None:
            page = self._run(leftovers.probes(grace=self.store.settings.grace_seconds, dry=True, after=after))
            after = page.rest
            objects += page.removed.objects
            yield from [fault.unknown(key, "it is no test of the storage", grave=False) for key in page.unknown]
        if objects:
            self.report.garbage += objects
            yield fault.garbage(keys.PROBES, f"tests of the storage were left here: {objects}")

    # --- inbox and checkpoints ---------------------------------------------------------------------------------------

    def _check_inbox(self) -> Iterator[Fault]:
        after: str | None = ""
        while after is not None:
            page = self._run(inventory.inbox(self.census, self.versions, after))
            after = page.rest
            self.report.intents += page.intents
            self._tell("inbox", self.report.intents)
            yield from [found for found in page.faults if found.kind is not Kind.MISSING or found.key not in self._keys]
        if self.report.intents and not self.store.settings.feed and keys.STORE not in self._keys:
            yield fault.description("it says that the store has no feed, and appends were announced to it")

    def _check_checkpoints(self) -> Iterator[Fault]:
        after: str | None = ""
        while after is not None:
            page = self._run(inventory.checkpoints(after))
            after = page.rest
            self._checkpoints += page.found
            self.report.checkpoints += len(page.found)
            self._tell("checkpoints", self.report.checkpoints)
            yield from page.faults


def _unswept(stream: str, error: CorruptData | UnsupportedFormat) -> Fault:
    """Why the objects of a stream could not be told from garbage."""
    key = str(error.details["key"])
    if key == keys.head(stream):
        return fault.missing_head(stream, error.message)
    return fault.unreadable(stream, key, error)
