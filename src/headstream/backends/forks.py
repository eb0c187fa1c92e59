"""What a forked child must not share with its parent: locks, and connections that own them.

A child inherits its parent's open files, and with them the parent's file locks; and it inherits thread locks in whatever
state other threads left them. Objects that hold such things are told in the child, before any of its code runs.
"""

from __future__ import annotations

import os
from typing import Final, Protocol
from weakref import WeakSet


class Inheritor(Protocol):
    """An object with something that belongs to one process only."""

    def after_fork(self) -> None:
        """Called in the child, by its only thread: let go of what is the parent's and start afresh."""


_INHERITORS: Final[WeakSet[Inheritor]] = WeakSet()
_INHERITED: Final[list[object]] = []


def watch(inheritor: Inheritor) -> None:
    """Have ``inheritor.after_fork()`` called in every child that this process forks. It is not kept alive by this."""
    _INHERITORS.add(inheritor)


def abandon(inherited: object) -> None:
    """Keep ``inherited`` for as long as this process runs: closing it here would act on the parent's files."""
    _INHERITED.append(inherited)


def _tell() -> None:
    for inheritor in list(_INHERITORS):
        inheritor.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_tell)
