"""Advancing the feed, for clients that block: at once, until a changeset is in it, and beside the appends."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock
from typing import Final

import msgspec

from headstream import limits
from headstream.backends import forks
from headstream.backends.workers import spawn
from headstream.errors import HeadstreamError, NotPublished
from headstream.following import NOT_PUBLISHED
from headstream.model import Head
from headstream.protocol.feed import Progress
from headstream.session import Session
from headstream.subscribing import Runs

log: Final = logging.getLogger("headstream.feed")

PATIENCE: Final = 1.0
"""Seconds that a client which is left by an interrupt waits for the step of an advance that is going on."""


class Advancer:
    """Advances the feed; beside the appends in a thread that lives for one advance.

    That one is going on is said by a lock which its thread holds by ``with``: so it is right however the thread began or
    ended, and whatever happened to who started it. Two that were started at once go one after the other, and the second
    finds nothing due.
    """

    def __init__(self, run: Runs, session: Session) -> None:
        self._run = run
        self._session = session
        self._running = Lock()
        self._due = False
        self._stopped = False
        forks.watch(self)

    def advance(self, told: Callable[[int], object] | None = None) -> Progress:
        """Advance as far as that is possible. ``told`` is called with the number of events so far."""
        progress = Progress()
        while not progress.done:
            progress = self._run(self._session.advance(progress))
            if told is not None:
                told(progress.published)
        return progress

    def before_read(self) -> None:
        """Advance before the feed is read: what cannot be published is logged."""
        self._session.report(self.advance().problems)

    def publish(self, head: Head, since: int) -> Head:
        """Advance until the changeset of ``head`` is in the feed, which had the version ``since`` before the append."""
        assert head.changeset is not None
        try:
            for attempt in range(1, limits.PUBLISH_ATTEMPTS + 1):
                progress = self.advance()
                after = since if attempt == 1 else 0  # a repeated append may be there for long
                positions = self._run(self._session.positions(head.changeset, after))
                if positions is not None:
                    return msgspec.structs.replace(head, positions=positions)
                if head.stream in progress.unreadable:
                    raise progress.unreadable[head.stream]
        except HeadstreamError as error:
            raise NotPublished(f"{NOT_PUBLISHED}: {error.message}", head=head) from error
        raise NotPublished(NOT_PUBLISHED, head=head)

    def start(self) -> None:
        """Advance beside what the caller does, unless that is going on already."""
        if self._running.locked():
            return
        self._due = True
        try:
            spawn(self._beside, "headstream-advance")
        except RuntimeError as error:  # no more threads, or the process ends: the append is done all the same
            log.warning("the feed was not advanced: %s", error)

    def stop(self) -> None:
        """Let no other step follow, and wait for the one that is going on."""
        self._stopped = True
        with self._running:
            pass

    def leave(self) -> None:
        """The same after an interrupt, which may have come since the storage does not answer: so it waits a little only."""
        self._stopped = True
        end = time.monotonic() + PATIENCE
        while self._running.locked() and time.monotonic() < end:
            time.sleep(0.01)

    def after_fork(self) -> None:
        """The thread is in the parent."""
        self._running, self._due = Lock(), False

    def _beside(self) -> None:
        with self._running:
            progress = Progress(done=not self._due)
            self._due = False
            try:
                while not progress.done and not self._stopped:
                    progress = self._run(self._session.advance(progress))
                self._session.report(progress.problems)
            except HeadstreamError as error:  # the events are safe in their streams: readers of the feed meet it again
                log.warning("the feed was not advanced: %s", error)
