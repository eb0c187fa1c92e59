"""Collecting the garbage of a whole store: what failed appends and crashed processes left behind.

How the work is found and done:

* The streams that have objects are found by walking the folders of segments, index pages and snapshots: a list for a thousand objects, and none for the many
  streams that live in their heads alone. It also finds folders whose stream has no head. Storage that keeps folders as folders refuses such a
  list; there every head's stream is swept, and :attr:`Collected.headless` says that folders without a head were not looked for.
* Each stream is swept by :mod:`headstream.protocol.gc` in a thread, several at once, each in bounded memory. Few wait in between.
* A stream that is damaged is left as it is, and reported; the others are swept all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from heapq import merge
from itertools import groupby
from typing import Final, TypeAlias, TypeVar
from uuid import UUID

import msgspec

from headstream.backends.crew import side_by_side
from headstream.client import EventStore
from headstream.errors import (
    CorruptData,
    HeadstreamError,
    InvalidInput,
    Unavailable,
    UnsuitableBackend,
    UnsupportedFormat,
)
from headstream.protocol import gc, keys, leftovers, read
from headstream.protocol.gc import Swept, Tally
from headstream.protocol.intent import Announced
from headstream.protocol.leftovers import PROBES_LAST
from headstream.protocol.ops import Gen
from headstream.session import check_number

__all__ = ["PROBES_LAST", "Collected", "Found", "Garbage", "Problem", "Stale", "Tally", "Unknown", "collect"]

T = TypeVar("T")

MAX_JOBS: Final = 64
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAMAGE: Final = (CorruptData, UnsupportedFormat, Unavailable)
"""What keeps one stream from being swept, and not the next."""


class Garbage(msgspec.Struct, frozen=True):
    """A stream of which something was removed; in a dry run, would be."""

    stream: str
    segments: Tally
    pages: Tally
    snapshots: Tally
    left: int
    """Objects that are garbage and were left to the next collection: others kept writing, or the storage did not answer."""


class Stale(msgspec.Struct, frozen=True):
    """An intent older than the grace: its changeset is not in the feed yet, or was never appended. An advance of the feed settles it."""

    stream: str
    changeset_id: UUID
    announced_at: datetime
    """By the writer's clock, in UTC."""


class Unknown(msgspec.Struct, frozen=True):
    """An object that headstream does not make, among those that it does. It is never removed."""

    key: str


class Problem(msgspec.Struct, frozen=True):
    """What could not be collected, and why. Nothing of it was removed after the error."""

    what: str
    """The stream, or ``inbox/`` or ``probes/``."""
    error: HeadstreamError


Found: TypeAlias = Garbage | Stale | Unknown | Problem


class Collected(msgspec.Struct, frozen=True):
    """What a collection did. In a dry run nothing was removed, and it says what would have been."""

    dry_run: bool = False
    streams: int = 0
    """That have segments, index pages or snapshots, and were swept; where ``headless`` is false, all streams."""
    looked: int = 0
    """Segments, index pages and snapshots that were looked at."""
    segments: Tally = Tally()
    """Removed: objects, and bytes as stored."""
    pages: Tally = Tally()
    """Index pages that were removed."""
    snapshots: Tally = Tally()
    """Snapshots that were removed."""
    probes: Tally = Tally()
    """Objects by which storage was tested that were removed."""
    fences: int = 0
    """Heads that were fenced."""
    left: int = 0
    """Objects that are garbage and were left to the next collection."""
    published: int = 0
    """Events that were moved into the feed on the way."""
    stale: int = 0
    """Intents older than the grace that are still there."""
    oldest: datetime | None = None
    """When the oldest of them was announced, by the writer's clock."""
    unknown: int = 0
    """Objects that headstream does not make. They are left."""
    problems: int = 0
    """Streams, and other parts of the store, that could not be collected."""
    headless: bool = True
    """Whether objects of streams that have no head were looked for."""

    @property
    def removed(self) -> Tally:
        """All that was removed."""
        return self.segments + self.pages + self.snapshots + self.probes


def collect(
    store: EventStore,
    *,
    dry_run: bool = False,
    jobs: int = 4,
    grace_seconds: int | None = None,
    on_found: Callable[[Found], None] | None = None,
    on_progress: Callable[[Collected], None] | None = None,
) -> Collected:
    """Remove what no stream refers to, and no append in flight ever will: segments and index pages of appends that failed, snapshots that were replaced, and old probes.

    First the feed is advanced, which settles intents. It is safe beside writers and other collections, and can be interrupted at any time.

    Args:
        store: Where to collect.
        dry_run: Look only; nothing at all is written, and the feed is not advanced.
        jobs: Streams that are swept at once, 1 to 64.
        grace_seconds: What is younger is left, since it may belong to an append in flight, which would have to start over; by default the
            store's ``grace_seconds``. It has no bearing on what is safe.
        on_found: Is called, in the caller's thread, with everything worth a line.
        on_progress: Is called, in the caller's thread, with the sums so far after each stream.

    Raises :class:`InvalidInput`, :class:`Unavailable` (the store cannot even be listed), :class:`AccessDenied`, :class:`RequestRejected`, :class:`StoreNotFound`.
    """
    check_number("jobs", jobs, 1)
    if jobs > MAX_JOBS:
        raise InvalidInput(f"jobs is {jobs}; at most {MAX_JOBS} are possible")
    if grace_seconds is not None:
        check_number("grace_seconds", grace_seconds, 0)
    grace = store.settings.grace_seconds if grace_seconds is None else grace_seconds
    collection = _Collection(
        store,
        dry_run=dry_run,
        jobs=jobs,
        grace=grace,
        on_found=on_found or _ignore,
        on_progress=on_progress or _ignore,
    )
    return collection.run()


def _ignore(_something: object) -> None:
    """Nobody listens."""


class _Collection:
    """One collection, and what it has found so far."""

    def __init__(
        self,
        store: EventStore,
        *,
        dry_run: bool,
        jobs: int,
        grace: int,
        on_found: Callable[[Found], None],
        on_progress: Callable[[Collected], None],
    ) -> None:
        self._store = store
        self._dry = dry_run
        self._jobs = jobs
        self._grace = grace
        self._on_found = on_found
        self._on_progress = on_progress
        self._sum = Collected(dry_run=dry_run)
        self._reported: set[str] = set()
        """Streams with anything worth a line: they are counted once, also when they are swept again."""

    def run(self) -> Collected:
        """All of it."""
        if self._store.settings.feed:
            with self._reporting(keys.INBOX):
                self._advance()
            with self._reporting(keys.INBOX):
                self._look_at_inbox()
        self._sweep_all(self._with_objects())
        if not self._sum.headless:
            self._sum = msgspec.structs.replace(self._sum, streams=0, looked=0)
            self._sweep_all(self._with_heads())
        with self._reporting(keys.PROBES):
            self._remove_probes()
        return self._sum

    # --- streams -----------------------------------------------------------------------------------------------------

    def _with_objects(self) -> Iterator[str]:
        """The streams that have segments, index pages or snapshots, in the order of their folders, as far as the storage lists them in order."""
        folders = [self._folders(folder) for folder in gc.KINDS]
        try:
            for stream, _ in groupby(merge(*folders, key=lambda stream: f"{keys.escape(stream)}/")):
                yield stream
        except UnsuitableBackend:
            self._sum = msgspec.structs.replace(self._sum, headless=False)

    def _folders(self, folder: str) -> Iterator[str]:
        after: str | None = ""
        while after is not None:
            found = self._do(leftovers.folders(folder, after))
            self._report_unknown(found.unknown)
            yield from found.streams
            after = found.rest

    def _with_heads(self) -> Iterator[str]:
        """All streams that have a head, in order."""
        after, more = "", True
        while more:
            names, more = self._do(read.list_streams("", after))
            yield from names
            more = more and bool(names)
            after = names[-1] if names else ""

    def _sweep_all(self, streams: Iterable[str]) -> None:
        sweeps = side_by_side(self._sweep, streams, self._jobs, "headstream-gc", in_order=True)
        for swept in sweeps:
            try:
                self._take(*swept)
            except Exception as error:  # noqa: BLE001 - it is raised again, when no thread removes anything any more
                sweeps.throw(error)

    def _sweep(self, stream: str) -> tuple[Swept, HeadstreamError | None]:
        """In a thread: all steps of the sweep of a stream, summed up, until an error ends it."""
        total = Swept(stream)
        place: gc.Place | None = gc.Place()
        try:
            while place is not None:
                swept = self._do(gc.sweep(stream, grace=self._grace, dry=self._dry, place=place))
                total, place = total + swept, swept.rest
        except _DAMAGE as error:
            return total, error
        return total, None

    def _take(self, swept: Swept, error: HeadstreamError | None) -> None:
        """Count what became of a stream, and report it."""
        total = self._sum
        self._sum = msgspec.structs.replace(total, streams=total.streams + 1, looked=total.looked + swept.looked)
        if swept.stream not in self._reported:
            self._report(swept, error)
        self._on_progress(self._sum)

    def _report(self, swept: Swept, error: HeadstreamError | None) -> None:
        """What is worth a line."""
        total = self._sum
        garbage = Garbage(swept.stream, swept.segments, swept.pages, swept.snapshots, swept.left)
        worth = garbage != Garbage(swept.stream, Tally(), Tally(), Tally(), 0)
        if worth or swept.unknown or error is not None:
            self._reported.add(swept.stream)
        if worth:
            self._on_found(garbage)
        self._sum = msgspec.structs.replace(
            total,
            segments=total.segments + swept.segments,
            pages=total.pages + swept.pages,
            snapshots=total.snapshots + swept.snapshots,
            fences=total.fences + swept.fences,
            left=total.left + swept.left,
        )
        self._report_unknown(swept.unknown)
        if error is not None:
            self._report_problem(swept.stream, error)

    # --- the inbox and probes ------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Which settles the intents."""
        if not self._dry:
            progress = self._store._advancer.advance()  # noqa: SLF001 - a part of the same shell
            self._store._session.report(progress.problems)  # noqa: SLF001
            self._sum = msgspec.structs.replace(self._sum, published=progress.published)

    def _look_at_inbox(self) -> None:
        """Report the intents that should have been settled long ago."""
        after: str | None = ""
        while after is not None:
            found = self._do(leftovers.inbox(grace=self._grace, after=after))
            self._report_unknown(found.unknown)
            for entry in found.stale:
                self._report_stale(entry)
            after = found.rest

    def _report_stale(self, entry: Announced) -> None:
        announced_at = _EPOCH + timedelta(milliseconds=entry.millis)
        oldest = min(self._sum.oldest or announced_at, announced_at)
        self._sum = msgspec.structs.replace(self._sum, stale=self._sum.stale + 1, oldest=oldest)
        self._on_found(Stale(entry.stream, UUID(bytes=entry.id), announced_at))

    def _remove_probes(self) -> None:
        after: str | None = ""
        while after is not None:
            found = self._do(leftovers.probes(grace=self._grace, dry=self._dry, after=after))
            self._sum = msgspec.structs.replace(self._sum, probes=self._sum.probes + found.removed)
            self._report_unknown(found.unknown)
            after = found.rest

    # --- reporting -----------------------------------------------------------------------------------------------------

    def _report_unknown(self, unknown: Sequence[str]) -> None:
        self._sum = msgspec.structs.replace(self._sum, unknown=self._sum.unknown + len(unknown))
        for key in unknown:
            self._on_found(Unknown(key))

    def _report_problem(self, what: str, error: HeadstreamError) -> None:
        self._sum = msgspec.structs.replace(self._sum, problems=self._sum.problems + 1)
        self._on_found(Problem(what, error))

    @contextmanager
    def _reporting(self, what: str) -> Iterator[None]:
        """Damage ends this part of the collection, and not the whole."""
        try:
            yield
        except _DAMAGE as error:
            self._report_problem(what, error)

    def _do(self, gen: Gen[T]) -> T:
        return self._store._run(gen)  # noqa: SLF001 - what all methods of the store do
