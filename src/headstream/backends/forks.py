"""What a forked child must not share with its parent: locks, and connections that own them.

A child inherits its parent's open files, and with them the parent's file locks; and it inherits thread locks in whatever
state other threads left them. Objects that hold such things are told in the child, before any of its code runs.

SQLite also keeps a record of its locks in memory, which a child inherits and then trusts. So what belongs to SQLite is
closed *before* the fork (:class:`Suspended`), and opened again on demand on both sides.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import Any, Final, Protocol
from weakref import WeakSet

from headstream import limits


class Inheritor(Protocol):
    """An object with something that belongs to one process only."""

    def after_fork(self) -> None:
        """Called in the child, by its only thread: let go of what is the parent's and start afresh."""


class Suspended(Inheritor, Protocol):
    """An object with something that must not be open while the process forks."""

    def suspend(self, until: float) -> None:
        """Close it and keep other threads from opening it, waiting for them until ``until`` (:func:`time.monotonic`)."""

    def resume(self) -> None:
        """Let other threads go on. Called in the parent after the fork; the child has :meth:`Inheritor.after_fork`."""


_INHERITORS: Final[WeakSet[Inheritor]] = WeakSet()
_LOCKS: Final[WeakSet[Suspended]] = WeakSet()
_SUSPENDED: Final[WeakSet[Suspended]] = WeakSet()
_INHERITED: Final[list[object]] = []


class _Turn:
    """Held by the thread that forks or suspends, so that two of them do not wait for each other."""

    fork: Any = threading.RLock()
    lock: Any = threading.RLock()


class _Forks(threading.local):
    """Of the forks that this thread is in the middle of: whether each has to suspend and resume."""

    def __init__(self) -> None:
        self.going_on: list[bool] = []


_FORKS: Final = _Forks()


def watch(inheritor: Inheritor) -> None:
    """Have ``inheritor.after_fork()`` called in every child that this process forks. It is not kept alive by this."""
    _INHERITORS.add(inheritor)


def suspend(suspended: Suspended, *, lock: bool = False) -> None:
    """The same, and have it suspended while this process forks. A ``lock`` is held while others are used, so it comes first."""
    (_LOCKS if lock else _SUSPENDED).add(suspended)
    _INHERITORS.add(suspended)


def turn() -> Any:
    """The lock to hold for who suspends objects for another reason than a fork."""
    return _Turn.lock


def abandon(inherited: object) -> None:
    """Keep ``inherited`` until this process is gone, past the end of the interpreter too: closing it here would act on
    the parent's files.
    """
    _INHERITED.append(inherited)
    with suppress(ImportError, AttributeError):  # where there is no ctypes, the list above has to do
        import ctypes  # noqa: PLC0415 - for the rare process that needs it

        ctypes.pythonapi.Py_IncRef(ctypes.py_object(inherited))


def _before() -> None:
    nested = _Turn.fork._is_owned() or _Turn.lock._is_owned()  # noqa: SLF001 - a signal handler forks while this thread suspends
    _FORKS.going_on.append(not nested)
    if nested:
        return
    until = time.monotonic() + limits.FORK_SECONDS
    if _Turn.fork.acquire(timeout=limits.FORK_SECONDS):
        for lock in list(_LOCKS):
            lock.suspend(until)
        if _Turn.lock.acquire(timeout=max(0.0, until - time.monotonic())):
            for suspended in list(_SUSPENDED):
                suspended.suspend(until)


def _in_parent() -> None:
    if not (_FORKS.going_on and _FORKS.going_on.pop()):
        return
    for turn, suspended in ((_Turn.lock, _SUSPENDED), (_Turn.fork, _LOCKS)):
        if turn._is_owned():  # noqa: SLF001
            for one in list(suspended):
                one.resume()
            turn.release()


def _in_child() -> None:
    _Turn.fork, _Turn.lock = threading.RLock(), threading.RLock()
    _FORKS.going_on[-1:] = []
    for inheritor in list(_INHERITORS):
        inheritor.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
