"""Advancing the feed beside the appends, for clients that block."""

from __future__ import annotations

import logging
from threading import Lock, Thread
from typing import Final

from headstream.backends import forks
from headstream.errors import HeadstreamError
from headstream.protocol.feed import Progress
from headstream.session import Session
from headstream.subscribing import Runs

log: Final = logging.getLogger("headstream.feed")


class Advancer:
    """Advances the feed beside the appends, in a thread that lives for one advance."""

    def __init__(self, run: Runs, session: Session) -> None:
        self._run = run
        self._session = session
        self._running = Lock()
        self._thread: Thread | None = None
        self._stopped = False
        forks.watch(self)

    def start(self) -> None:
        """Advance, unless that is going on already."""
        if self._running.acquire(blocking=False):
            thread = Thread(target=self._advance, name="headstream-advance", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # no more threads, or the interpreter ends: the append is done all the same
                self._running.release()
                log.warning("the feed was not advanced: %s", error)
            else:
                self._thread = thread

    def stop(self) -> None:
        """Wait for the step that is going on, and let no other follow."""
        self._stopped = True
        if self._thread is not None:
            self._thread.join()

    def after_fork(self) -> None:
        """The thread is in the parent."""
        self._running, self._thread = Lock(), None

    def _advance(self) -> None:
        progress = Progress()
        try:
            while not progress.done and not self._stopped:
                progress = self._run(self._session.advance(progress))
            self._session.report(progress.problems)
        except HeadstreamError as error:  # the events are safe in their streams: whoever reads the feed meets it again
            log.warning("the feed was not advanced: %s", error)
        finally:
            self._running.release()
