"""Bells: who follows a store hears at once of appends that are made in the same process, whichever object made them."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Final
from uuid import UUID
from weakref import WeakValueDictionary

from headstream.backends import forks

Listener = Callable[[], None]


class Bell:
    """Rung after every append to one store. Safe to use from several threads; a listener must be fast and must not raise."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._listeners: tuple[Listener, ...] = ()
        forks.watch(self)

    def ring(self) -> None:
        """Call every listener."""
        for listener in self._listeners:
            listener()

    def listen(self, listener: Listener) -> None:
        """Call ``listener`` whenever the bell rings."""
        with self._lock:
            self._listeners = (*self._listeners, listener)

    def leave(self, listener: Listener) -> None:
        """Call it no more."""
        with self._lock:
            self._listeners = tuple(other for other in self._listeners if other != listener)

    def after_fork(self) -> None:
        """Forget the listeners: they are in the parent."""
        self._lock = Lock()
        self._listeners = ()


_bells: Final[WeakValueDictionary[UUID, Bell]] = WeakValueDictionary()


def bell_of(store_id: UUID) -> Bell:
    """The bell of a store, which all its clients in this process share."""
    return _bells.setdefault(store_id, Bell())
