"""Turns: the threads of one process that append to one stream do so one after the other."""

from __future__ import annotations

from threading import Lock

from headstream.backends import forks


class Turns:
    """A lock for each stream that somebody appends to right now."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._turns: dict[str, tuple[Lock, int]] = {}
        forks.watch(self)

    def after_fork(self) -> None:
        """Whoever had a turn is in the parent."""
        self._guard = Lock()
        self._turns = {}

    def take(self, stream: str) -> None:
        """Wait until no other thread has the turn."""
        with self._guard:
            turn, users = self._turns.get(stream) or (Lock(), 0)
            self._turns[stream] = (turn, users + 1)
        try:
            turn.acquire()
        except BaseException:  # interrupted while it waited
            self._leave(stream)
            raise

    def give(self, stream: str) -> None:
        """Let the next thread have it."""
        self._leave(stream).release()

    def _leave(self, stream: str) -> Lock:
        with self._guard:
            turn, users = self._turns[stream]
            if users == 1:
                del self._turns[stream]
            else:
                self._turns[stream] = (turn, users - 1)
            return turn
