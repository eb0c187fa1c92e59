"""Group commit: threads that wait for one flush of the disk instead of one each.

Whoever finds nobody leading takes the lead: it carries out its own work and that of all who came meanwhile, as one batch.
Those who come during a batch wait in a queue, and the first of them leads the next batch. A caller alone is served in its own
thread, without a switch.

Rules, and what they are for:

* Only the holder of one lock leads, serves, and takes work out of the queue; ``with`` releases the lock whatever happens.
* Work is queued before its caller looks whether somebody leads, and a leader looks for waiting work after it has stepped
  down: so one of the two sees the other, and no work waits for a leader that does not come.
* To lead is offered, not handed over: an offer made twice, or to a thread that is interrupted, does no harm, because
  everyone who leaves makes it again. An offer that a second interrupt has lost is made up for: who waits looks by itself
  after some seconds.
* Work is begun once. After a batch each piece of it has an answer or an error; one that an interrupted leader has left
  without either, even in the middle of clearing up, gets an error from the next leader, and is not begun again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, Generic, TypeVar

from headstream.protocol.ops import Unknown

R = TypeVar("R")

LOOK: Final = 5.0
"""Seconds after which a waiting caller looks whether it should lead, without an offer."""


class Job(Generic[R]):
    """A piece of work of one caller and, once it is settled, its answer or its error."""

    __slots__ = ("answer", "begun", "error", "settled", "wake", "work")

    def __init__(self, work: Callable[[Any], R]) -> None:
        self.work = work
        self.answer: R | None = None
        self.error: BaseException | None = None
        #: Whether a leader has taken it, or its caller has left: it is not to be begun any more.
        self.begun = False
        self.settled = False
        self.wake: SimpleQueue[None] = SimpleQueue()

    def succeed(self, answer: R) -> None:
        """Settle the job with an answer."""
        self.answer = answer
        self.settled = True

    def fail(self, error: BaseException) -> None:
        """Settle the job with an error, which must be its own: it is raised in its caller's thread."""
        self.error = error
        self.settled = True


class Group:
    """Batches of jobs, served by one of the callers at a time.

    Args:
        serve: Called with the jobs of a batch; takes and settles at least those that are there. As it goes it may find
            others that have come meanwhile.
        most: Jobs in one batch, so that nobody waits for an endless one.
    """

    def __init__(self, serve: Callable[[Iterator[Job[Any]]], None], most: int) -> None:
        self._serve = serve
        self._most = most
        self._queue: deque[Job[Any]] = deque()
        self._leading = threading.Lock()

    def run(self, work: Callable[[Any], R]) -> R:
        """What ``work`` returns, having been called in a batch by this thread or another; or what it raises.

        Raises :class:`Unknown` when the thread that served the batch was interrupted.
        """
        job = Job(work)
        try:
            self._queue.append(job)
            while not job.settled:
                if self._leading.locked():
                    with suppress(Empty):
                        job.wake.get(timeout=LOOK)
                else:
                    with self._leading:
                        if not job.settled:
                            self._lead()
                    self._offer()
        except BaseException:
            job.begun = True  # its caller leaves: a leader that has not begun it shall not do so
            self._offer()
            raise
        if job.error is not None:
            raise job.error
        return job.answer  # type: ignore[return-value] # a job without an error has the answer of its work

    def _lead(self) -> None:
        batch: list[Job[Any]] = []
        try:
            self._serve(self._arriving(batch))
        finally:
            for job in batch:
                if not job.settled:
                    job.fail(Unknown("the thread that carried out this write was interrupted: see whether it counts"))
                job.wake.put(None)
                self._queue.popleft()

    def _arriving(self, batch: list[Job[Any]]) -> Iterator[Job[Any]]:
        """The jobs in the queue, those that come meanwhile too. They stay in it until they are settled: an interrupt
        between two lines loses none.
        """
        while len(batch) < min(len(self._queue), self._most):
            job = self._queue[len(batch)]
            batch.append(job)
            if not job.begun:
                job.begun = True
                yield job

    def _offer(self) -> None:
        """Wake whoever is to lead next, and whoever an interrupted leader left asleep with a settled job."""
        with suppress(IndexError):  # jobs go only while somebody leads, who will make an offer too
            for place in range(len(self._queue)):
                job = self._queue[place]
                job.wake.put(None)
                if not job.settled:
                    return
