"""Bells: who follows a store hears at once of appends that are made in the same process, whichever object made them."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock, RLock
from typing import Final
from uuid import UUID
from weakref import WeakMethod, WeakValueDictionary

from headstream.backends import forks

Listener = Callable[[], None]


class Bell:
    """Rung after every append to one store. Safe to use from several threads; a listener must be fast and must not raise.

    Listeners are methods, and are not kept alive by this: whoever is gone is called no more.
    """

    def __init__(self) -> None:
        self._lock = RLock()  # a signal handler may leave in the middle of another leaving
        self._listeners: tuple[WeakMethod[Listener], ...] = ()
        forks.watch(self)

    def ring(self) -> None:
        """Call every listener."""
        for reference in self._listeners:
            listener = reference()
            if listener is not None:
                listener()

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` whenever the bell rings."""
        with self._lock:
            self._listeners = (*[one for one in self._listeners if one() is not None], WeakMethod(listener))

    def leave(self, listener: Listener) -> None:
        """Call it no more."""
        with self._lock:
            self._listeners = tuple([one for one in self._listeners if one() not in (None, listener)])

    def after_fork(self) -> None:
        """Forget the listeners: they are in the parent."""
        self._lock = RLock()
        self._listeners = ()


class _Bells:
    """The bells of the stores that this process uses."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._bells: WeakValueDictionary[UUID, Bell] = WeakValueDictionary()
        forks.watch(self)

    def of(self, store_id: UUID) -> Bell:
        """That of one store; a new one, unless somebody has it."""
        with self._lock:
            bell = self._bells.get(store_id)
            if bell is None:
                bell = self._bells[store_id] = Bell()
            return bell

    def after_fork(self) -> None:
        """Another thread of the parent may have held the lock."""
        self._lock = Lock()


_bells: Final = _Bells()


def bell_of(store_id: UUID) -> Bell:
    """The bell of a store, which all its clients in this process share."""
    return _bells.of(store_id)
