"""What came of a decision, and of a load."""

from __future__ import annotations

from typing import Generic, TypeVar

import msgspec

from headstream.model import Head

S = TypeVar("S")
E = TypeVar("E")
R = TypeVar("R")


class Decision(msgspec.Struct, Generic[S, E, R], frozen=True):
    """What came of :meth:`headstream.EventStore.transact`."""

    result: R
    """What ``decide`` returned beside its events; ``None`` if that was nothing, or if it was not called."""
    events: tuple[E, ...]
    """The events that were appended, as ``evolve`` sees them; none if nothing was to be done."""
    state: S
    """The state after them."""
    head: Head
    """The head after them. Without events, that of the load."""
    repeated: bool = False
    """Whether the events are those of another call with the same key, which was first."""


class Loaded(msgspec.Struct, Generic[S], frozen=True):
    """What came of :meth:`headstream.EventStore.load`."""

    state: S
    """The state after the newest event."""
    head: Head
    """Where the stream ends. Hand it to ``append(expected=…)``."""
