"""Deciders: how the events of a stream become a state, and what that state is called when it is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from typing import Any, Generic, TypeVar, cast, overload

import msgspec

from headstream import limits
from headstream.errors import InvalidInput
from headstream.events import Registry
from headstream.model import Event, RecordedEvent, check_text
from headstream.session import check_number
from headstream.states import Snapshots

S = TypeVar("S")
E = TypeVar("E")


class Decider(Generic[S, E]):
    """How the events of a stream become a state.

    ``initial``: makes the state before the first event: a class or function without arguments, such as ``Order``, ``dict`` or ``lambda: 0``.
    It is called for every load, so no two of them share a state.

    ``evolve(state, event)``: the state after an event. It returns a new state and changes nothing. Without a registry an event is
    an :class:`~headstream.Event`, with data as JSON has it; with one, an instance of a registered class.

    ``events``: the :class:`~headstream.Registry` of the classes that events have.

    ``name`` and ``version`` say which fold this is: count ``version`` up whenever ``initial`` or ``evolve`` change, so that a state that an older program kept
    under this name is not taken for one of this program.

    ``snapshots``: :class:`~headstream.Snapshots`, if states are to be kept; then ``name`` is needed.

    Raises :class:`~headstream.InvalidInput`.
    """

    @overload
    def __init__(
        self: Decider[S, Event],
        initial: Callable[[], S],
        evolve: Callable[[S, Event], S],
        events: None = None,
        *,
        name: str | None = None,
        version: int = 1,
        snapshots: Snapshots[S] | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        initial: Callable[[], S],
        evolve: Callable[[S, E], S],
        events: Registry,
        *,
        name: str | None = None,
        version: int = 1,
        snapshots: Snapshots[S] | None = None,
    ) -> None: ...

    def __init__(
        self,
        initial: Callable[[], S],
        evolve: Callable[[S, Any], S],
        events: Registry | None = None,
        *,
        name: str | None = None,
        version: int = 1,
        snapshots: Snapshots[S] | None = None,
    ) -> None:
        if not callable(initial):
            raise InvalidInput(
                "initial is a function without arguments that makes the first state: a class, or lambda: 0"
            )
        if not callable(evolve):
            raise InvalidInput("evolve is a function of a state and an event that returns the state after it")
        if events is not None and not isinstance(events, Registry):
            raise InvalidInput(f"events is a Registry, not {type(events).__name__}")
        if name is not None:
            check_text("a decider's name", name, limits.MAX_DECIDER_NAME)
        check_number("a decider's version", version, 1)
        if version > limits.MAX_VERSION:
            raise InvalidInput(f"a decider's version is {version}; it can be at most {limits.MAX_VERSION}")
        if snapshots is not None:
            if not isinstance(snapshots, Snapshots):
                raise InvalidInput(f"snapshots is a Snapshots, not {type(snapshots).__name__}")
            if name is None:
                raise InvalidInput(
                    "a decider that keeps states has a name, which says whose they are: Decider(…, name='orders')"
                )
        self.initial = initial
        self.evolve = evolve
        self.events = events
        self.name = name
        self.version = version
        self.snapshots = snapshots

    def fold(self, events: Iterable[RecordedEvent]) -> S:
        """The state after these events of a stream, from its first on.

        Raises :class:`~headstream.InvalidInput` for an event that the registry cannot decode, and what ``evolve`` raises.
        """
        return self.fold_onto(self.initial(), events)

    def fold_onto(self, state: S, events: Iterable[RecordedEvent]) -> S:
        """The state after these events, which follow those that ``state`` is made of. Raises what :meth:`fold` raises."""
        return reduce(self.evolve, self.decoded(events), state)

    def decoded(self, events: Iterable[RecordedEvent]) -> Iterable[E]:
        """Recorded events as ``evolve`` sees them."""
        if self.events is None:
            return (cast("E", Event(event.type, event.data, event.metadata, event.id)) for event in events)
        decoded = map(self.events.decode, events)
        return decoded if self.events.unknown != "skip" else (event for event in decoded if event is not None)

    def encoded(self, events: Iterable[E], metadata: Mapping[str, Any]) -> list[Event]:
        """What ``decide`` returned, to be appended."""
        if self.events is not None:
            encode = self.events.encode
            return [encode(event, metadata) for event in events]
        batch: list[Event] = []
        for event in events:
            if not isinstance(event, Event):
                raise InvalidInput(f"decide returns events, not {type(event).__name__}: wrap it in Event(type, data)")
            batch.append(msgspec.structs.replace(event, metadata={**metadata, **event.metadata}) if metadata else event)
        return batch

    def is_event(self, value: object) -> bool:
        """Whether it is one of the events of this decider."""
        return isinstance(value, Event) if self.events is None else type(value) in self.events

    def __repr__(self) -> str:
        named = "" if self.name is None else f"{self.name!r}, version={self.version}, "
        return f"Decider({named}initial={_called(self.initial)}, evolve={_called(self.evolve)})"


def _called(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
