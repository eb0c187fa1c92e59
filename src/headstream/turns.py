"""Turns: the threads of one process that append to one stream do so one after the other.

Rules, and what they are for:

* A turn is a plain lock, held by ``with turns.of(stream):``. The interpreter delivers no interrupt between such a lock and
  its block, so an exception out of a signal handler cannot leave a turn taken. There is nothing to give back by hand.
* A turn lives as long as a thread holds it or waits for it; what is remembered of others is thrown away now and then.
* That a thread decides is said by a lock of its own, held in the same way.
"""

from __future__ import annotations

import threading
from threading import Lock
from typing import Final
from weakref import ReferenceType, ref

from headstream.backends import forks
from headstream.errors import InvalidInput

_FEW: Final = 64
"""Streams that are remembered before those that are not used any more are looked for."""


class _Mine(threading.local):
    """What one thread has."""

    def __init__(self) -> None:
        self.deciding = Lock()


class Turns:
    """A lock for each stream that a thread appends to right now."""

    def __init__(self) -> None:
        self._start()
        forks.watch(self)

    def _start(self) -> None:
        self._guard = Lock()
        self._turns: dict[str, ReferenceType[Lock]] = {}
        self._many = _FEW
        self._mine = _Mine()

    def after_fork(self) -> None:
        """The threads that had turns are in the parent."""
        self._start()

    @property
    def deciding(self) -> Lock:
        """To be held, within a turn, while code of the application decides."""
        return self._mine.deciding

    def of(self, stream: str) -> Lock:
        """The turn of a stream, to be held while appending to it.

        An append that the application makes while it decides could wait for this very turn, or for one whose owner waits
        for it: so that is :class:`InvalidInput`.
        """
        if self._mine.deciding.locked():
            raise InvalidInput(
                "decide appends to a stream: it may be called again, so it returns events instead", stream=stream
            )
        known = self._turns.get(stream)
        turn = known() if known is not None else None
        return turn if turn is not None else self._new(stream)

    def _new(self, stream: str) -> Lock:
        with self._guard:
            known = self._turns.get(stream)
            turn = known() if known is not None else None  # another thread may have been faster
            if turn is None:
                if len(self._turns) >= self._many:
                    self._turns = {name: used for name, used in self._turns.items() if used() is not None}
                    self._many = max(_FEW, 2 * len(self._turns))
                turn = Lock()
                self._turns[stream] = ref(turn)
            return turn
