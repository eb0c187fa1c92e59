"""Turns: the threads of one process that append to one stream do so one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, get_ident

from headstream.backends import forks
from headstream.errors import InvalidInput


class Turns:
    """A lock for each stream that somebody appends to right now."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._turns: dict[str, tuple[Lock, int]] = {}
        self._deciding: set[int] = set()
        forks.watch(self)

    def after_fork(self) -> None:
        """Whoever had a turn is in the parent."""
        self._guard = Lock()
        self._turns = {}
        self._deciding = set()

    @contextmanager
    def deciding(self, stream: str) -> Iterator[None]:
        """Have the turn while code of the application runs."""
        self.take(stream)
        thread = get_ident()
        self._deciding.add(thread)
        try:
            yield
        finally:
            self._deciding.discard(thread)
            self.give(stream)

    def take(self, stream: str) -> None:
        """Wait until no other thread has the turn. What the application appended while it decides could wait for
        this very turn, or for one whose owner waits for it: so that is :class:`InvalidInput`.
        """
        if self._deciding and get_ident() in self._deciding:
            raise InvalidInput(
                "decide appends to a stream: it may be called again, so it returns events instead", stream=stream
            )
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
