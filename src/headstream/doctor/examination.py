"""One examination: the checks in their order, each within its share of the time, and what they found."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from headstream.backends.base import Backend
from headstream.doctor import conditions, consistency, lists, objects, timing
from headstream.doctor.bench import DELETED_TOGETHER, Bench, OutOfTime
from headstream.doctor.bounds import Bounds
from headstream.doctor.places import opened
from headstream.doctor.report import Finding, Report, Seen, Verdict
from headstream.drivers.ids import stamp
from headstream.errors import AccessDenied, HeadstreamError, InvalidInput, StoreNotFound, Unavailable
from headstream.limits import KIB
from headstream.protocol import keys
from headstream.protocol.ops import FAULTS, Fault, unavailable

ATTEMPTS: Final = 3
"""How often a check is begun anew, with other objects, when a request fails."""
PAUSE: Final = 0.2
"""Seconds before it is."""
_NOT_A_FINDING: Final = (AccessDenied, InvalidInput, StoreNotFound, Unavailable)
"""What ends an examination: it speaks of the credentials, the URL or the network, not of the storage."""


class Check(NamedTuple):
    """One row of the report to be."""

    name: str
    run: Callable[[Bench], Seen]
    essential: bool
    requests: Callable[[Bounds], int]
    """How many it makes, if nothing fails and time is enough."""


ESSENTIAL, INFORMATIVE = True, False

CHECKS: Final = (
    Check("create race", conditions.create_race, ESSENTIAL, lambda of: of.rounds * 2 * of.connections),
    Check("swap race", conditions.swap_race, ESSENTIAL, lambda of: of.rounds * (1 + 2 * of.connections)),
    Check("second create", conditions.second_create, ESSENTIAL, lambda of: 1 + 2 * of.connections),
    Check("stale swap", conditions.stale_swap, ESSENTIAL, lambda of: 3 * of.connections - 1),
    Check("swap of nothing", conditions.missing_swap, ESSENTIAL, lambda of: 6 + 2 * of.connections),
    Check("etags", objects.etags, ESSENTIAL, lambda of: 1 + of.comparisons + of.comparisons // 2),
    Check("reads", consistency.reads, ESSENTIAL, lambda of: of.comparisons * (3 + 4 * (of.connections - 1))),
    Check("lists", consistency.lists, ESSENTIAL, lambda of: of.comparisons * (3 + 2 * (of.connections - 1))),
    Check("list pages", lists.pages, ESSENTIAL, lambda of: of.keys + 2 + 2 * lists.PAGES),
    Check("list of folders", lists.folders, INFORMATIVE, lambda _: len(lists.FOLDERS) + 1),
    Check("deletes", lists.deletes, ESSENTIAL, lambda _: lists.DELETED + 6),
    Check("large object", objects.large_object, ESSENTIAL, lambda _: 4),
    Check("conditional get", objects.conditional_get, ESSENTIAL, lambda _: 4),
    Check("metadata", objects.metadata, INFORMATIVE, lambda _: 2),
    Check("get latency", timing.get_latency, INFORMATIVE, lambda of: of.samples + 1),
    Check("put latency", timing.put_latency, INFORMATIVE, lambda of: of.samples),
    Check("list latency", timing.list_latency, INFORMATIVE, lambda of: of.samples + timing.LISTED),
    Check("delete latency", timing.delete_latency, INFORMATIVE, lambda of: 2 * of.samples),
    Check("clock", timing.clock, INFORMATIVE, lambda _: 2 * timing.CLOCK_SAMPLES),
)
_SCRATCH: Final = "scratch"


class Examination:
    """The checks of one place, to be iterated inside a ``with`` block; :func:`examine` does both.

    Iterating makes the checks, and yields the finding of each as soon as it is there. Leaving the block removes all that
    was written, also after an error or Ctrl-C, when it takes a few seconds at most; then :attr:`left` says how many objects
    could not be removed.
    """

    def __init__(
        self, place: str | os.PathLike[str] | Callable[[], Backend], *, bounds: Bounds | None = None, **options: Any
    ) -> None:
        self.bounds = bounds or Bounds()
        self.prefix = keys.probe(stamp().id)
        """What the keys of all objects begin with that are written, relative to the store."""
        self.findings: list[Finding] = []
        """What was found so far."""
        self._target, self._options = place, options
        self._bench: Bench | None = None
        self._seconds = 0.0

    @property
    def requests(self) -> int:
        """About how many requests it makes: the checks', and those that tidy up after them."""
        tidying = len(CHECKS) + self.bounds.keys // DELETED_TOGETHER + 3
        return sum(check.requests(self.bounds) for check in CHECKS) + tidying

    @property
    def transfer(self) -> int:
        """About how many bytes of bodies it sends and receives, at most."""
        racing = 2 * self.bounds.rounds * 2 * self.bounds.connections * sum(conditions.SIZES) // len(conditions.SIZES)
        return racing + 4 * self.bounds.body_bytes + self.requests * KIB // 8

    @property
    def left(self) -> int:
        """After the block: how many objects under :attr:`prefix` could not be removed."""
        return self._bench.left if self._bench else 0

    def __enter__(self) -> Self:
        """Open the connections, and make one request that writes nothing.

        Raises :class:`InvalidInput`, :class:`StoreNotFound`, :class:`AccessDenied`, :class:`Unavailable`.
        """
        with ExitStack() as opening:
            place = opening.enter_context(opened(self._target, self._options))
            try:
                self._bench = Bench(place, self.bounds, self.prefix)
                opening.callback(self._bench.close)
                self._bench.clients[0].page(f"{self.prefix}/")
            except FAULTS as fault:
                raise unavailable("the storage did not answer: try again later", fault) from fault
            self._resources = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._resources:
            self._opened().close(hurry=kind is not None and not issubclass(kind, Exception))

    def __iter__(self) -> Iterator[Finding]:
        """Make the checks, once.

        Raises :class:`StoreNotFound`, :class:`AccessDenied`; :class:`Unavailable` when not even the first check gets answers.
        """
        bench, begun = self._opened(), time.monotonic()
        for number, check in enumerate(CHECKS):
            bench.begin(begun + self.bounds.seconds, len(CHECKS) - number)
            self.findings.append(self._perform(check, bench))
            self._seconds = time.monotonic() - begun
            yield self.findings[-1]
        bench.close()
        if self.left:
            self.findings.append(self._leftovers())
            yield self.findings[-1]

    def report(self) -> Report:
        """All that was found so far."""
        bench = self._opened()
        return Report(
            place=bench.place.name,
            findings=tuple(self.findings),
            requests=bench.meter.requests,
            transferred=bench.meter.transferred,
            seconds=round(self._seconds, 3),
        )

    def _opened(self) -> Bench:
        if self._bench is None:
            raise InvalidInput("the examination has not begun: use it in a `with` statement")
        return self._bench

    def _perform(self, check: Check, bench: Bench) -> Finding:
        seen = self._attempts(check, bench)
        with suppress(OutOfTime, *FAULTS, HeadstreamError):  # whatever is left now is removed at the end
            bench.tidy()
        verdict = seen.verdict
        if verdict == Verdict.BROKEN and not check.essential:
            verdict = Verdict.WARNING
        return Finding(
            check=check.name, verdict=verdict, seen=seen.text, figures=seen.figures, essential=check.essential
        )

    def _attempts(self, check: Check, bench: Bench) -> Seen:
        last: Fault | None = None
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(PAUSE)
            try:
                return check.run(bench)
            except OutOfTime:
                return Seen(Verdict.UNDECIDED, "the time was over: allow more seconds")
            except FAULTS as fault:
                last = fault
            except _NOT_A_FINDING:
                raise
            except HeadstreamError as problem:
                return Seen(Verdict.BROKEN, str(problem))
        if not self.findings:
            raise unavailable("the storage did not answer: try again later", last) from last
        return Seen(Verdict.UNDECIDED, f"requests failed, {ATTEMPTS} times: {last}")

    def _leftovers(self) -> Finding:
        return Finding(
            check=_SCRATCH,
            verdict=Verdict.WARNING,
            seen=f"{self.left:,} objects may be left under {self.prefix}/: nothing needs them, delete them",
            figures={"left": self.left},
            essential=False,
        )


def examine(
    place: str | os.PathLike[str] | Callable[[], Backend],
    *,
    bounds: Bounds | None = None,
    on_finding: Callable[[Finding], None] | None = None,
    **options: Any,
) -> Report:
    """Find out whether storage keeps the promises that headstream stands on, by racing it from several connections.

    Args:
        place: The URL or path of a store, which need not exist, in a bucket or on a disk that does; or a function that opens
            another connection to one place each time that it is called. Each is used by one thread at a time, and closed.
        bounds: How much to do.
        on_finding: Is called with each finding as soon as it is there.
        options: What the storage client of a cloud is told, as with :func:`headstream.connect`.

    It writes only under ``probes/<id>/``, in small objects but for one, and removes all of it. A store that is there can be
    in use meanwhile. Of a folder or a SQLite file it examines the file system, in a temporary folder beside it.

    Raises :class:`InvalidInput`, :class:`StoreNotFound` (there is no such bucket or folder), :class:`AccessDenied`,
    :class:`Unavailable`. That a promise is broken is no error: see :attr:`Report.suitable`.
    """
    with Examination(place, bounds=bounds, **options) as examination:
        for finding in examination:
            if on_finding is not None:
                on_finding(finding)
    return examination.report()
