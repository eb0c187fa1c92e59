"""Deciders: how the events of a stream become a state, and what that state is called when it is kept."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, Generic, Literal, TypeVar, cast, overload

import msgspec

from headstream import limits
from headstream.errors import InvalidInput
from headstream.events import Registry
from headstream.metadata import WithMetadata
from headstream.mistakes import is_several, no_event
from headstream.model import Event, Head, RecordedEvent, check_text
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

    ``recorded``: whether ``evolve`` gets a third argument, the :class:`~headstream.RecordedEvent` with version,
    time, metadata and id of the event. An event that is being decided is not appended yet: its time and
    changeset id are estimates then, and it is given again, as recorded, when it is.

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
        recorded: Literal[False] = False,
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
        recorded: Literal[False] = False,
        name: str | None = None,
        version: int = 1,
        snapshots: Snapshots[S] | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self: Decider[S, Event],
        initial: Callable[[], S],
        evolve: Callable[[S, Event, RecordedEvent], S],
        events: None = None,
        *,
        recorded: Literal[True],
        name: str | None = None,
        version: int = 1,
        snapshots: Snapshots[S] | None = None,
    ) -> None: ...

    @overload
    def __init__(
        self,
        initial: Callable[[], S],
        evolve: Callable[[S, E, RecordedEvent], S],
        events: Registry,
        *,
        recorded: Literal[True],
        name: str | None = None,
        version: int = 1,
        snapshots: Snapshots[S] | None = None,
    ) -> None: ...

    def __init__(
        self,
        initial: Callable[[], S],
        evolve: Callable[..., S],
        events: Registry | None = None,
        *,
        recorded: bool = False,
        name: str | None = None,
        version: int = 1,
        snapshots: Snapshots[S] | None = None,
    ) -> None:
        _check_plain("initial", initial)
        _check_plain("evolve", evolve)
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
        self.recorded = recorded
        self.warned = False
        """Whether it was logged that a state of this decider cannot be kept."""
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
        if not self.recorded:
            return self.evolved(state, self.decoded(events), ())
        pairs = [(event, stored) for stored in events for event in self.decoded((stored,))]
        return self.evolved(state, [event for event, _ in pairs], [stored for _, stored in pairs])

    def evolved(self, state: S, events: Iterable[E], recorded: Sequence[RecordedEvent]) -> S:
        """The state after events that are decoded; ``recorded`` are the same, for a decider that wants them.

        Raises what ``evolve`` raises, and :class:`~headstream.InvalidInput` if it returns nothing.
        """
        evolve = self.evolve
        if self.recorded:
            for event, stored in zip(events, recorded, strict=True):
                state = self._checked(evolve(state, event, stored))
            return state
        for event in events:
            state = evolve(state, event)
            if state is None:
                self._checked(state)
        return state

    def _checked(self, state: S) -> S:
        if state is None and self._forgotten:
            raise InvalidInput(
                "evolve returned None: it returns the state after the event (a state can be None only if initial makes None)"
            )
        return state

    @cached_property
    def _forgotten(self) -> bool:
        """Whether ``None`` is no state, but what a function without ``return`` returns."""
        return self.initial() is not None

    def decoded(self, events: Iterable[RecordedEvent]) -> Iterable[E]:
        """Recorded events as ``evolve`` sees them."""
        if self.events is None:
            return (cast("E", Event(event.type, event.data, event.metadata, event.id)) for event in events)
        decoded = map(self.events.decode, events)
        return decoded if self.events.unknown != "skip" else (event for event in decoded if event is not None)

    # --- what decide returns -----------------------------------------------------------------------------------------

    def parted(self, returned: Any) -> tuple[Any, list[Any]]:
        """The result and the events of what ``decide`` returned; :class:`~headstream.InvalidInput` for what is neither."""
        result = None
        if type(returned) is tuple and len(returned) == 2:
            if not self.is_event(returned[1]):
                result, returned = returned
            elif not self.is_event(returned[0]):
                raise InvalidInput(
                    "decide returned a pair with one event: return (result, [event]); or, if both are events, the first is not "
                    + self._no_event(returned[0])
                )
        if returned is None:
            return result, []
        if self.is_event(returned):
            return result, [returned]
        if inspect.iscoroutine(returned):
            returned.close()
            raise InvalidInput(
                "decide is a plain function, which may be called again: await before transact what it needs"
            )
        if not is_several(returned):
            raise InvalidInput(f"decide returns events, (result, events) or None, not {self._no_event(returned)}")
        return result, list(islice(returned, limits.MAX_EVENTS + 1))

    def encoded(self, events: Sequence[Any], metadata: Mapping[str, Any]) -> list[Event]:
        """What ``decide`` returned, to be appended. Raises :class:`~headstream.InvalidInput` for what is no event."""
        for event in events:
            if not self.is_event(event):
                raise InvalidInput(f"decide returns events, not {self._no_event(event)}")
        if self.events is not None:
            prepare = self.events.prepare
            return [prepare(event, metadata) for event in events]
        if not metadata:
            return list(events)
        return [msgspec.structs.replace(event, metadata={**metadata, **event.metadata}) for event in events]

    def reread(self, events: Sequence[Any], recorded: Sequence[RecordedEvent]) -> tuple[E, ...]:
        """Events that are to be appended, as a load will see them.

        Raises :class:`~headstream.InvalidInput` for an event of a registered class that cannot be decoded, or
        is another value then.
        """
        if self.events is None:
            return tuple(self.decoded(recorded))
        again = self.events.reread(recorded)
        for event, found, stored in zip(events, again, recorded, strict=True):
            self.events.compare(event, found, stored.payload)
        return tuple(again)

    def is_event(self, value: object) -> bool:
        """Whether it is one of the events of this decider."""
        if self.events is None:
            return isinstance(value, Event)
        return type(value) in self.events or (type(value) is WithMetadata and type(value.event) in self.events)

    def _no_event(self, value: Any) -> str:
        if self.events is None:
            return no_event(value)
        value = value.event if type(value) is WithMetadata else value
        if isinstance(value, Event | RecordedEvent | Head | type) or not hasattr(type(value), "__annotations__"):
            return no_event(value)
        return f"{type(value).__name__}: is its class registered, or is it a result without events?"

    def __repr__(self) -> str:
        named = "" if self.name is None else f"{self.name!r}, version={self.version}, "
        return f"Decider({named}initial={_called(self.initial)}, evolve={_called(self.evolve)})"


def _called(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))


def _check_plain(what: str, function: object) -> None:
    """A function that is awaited, or that yields, is not called by its call."""
    for kind, found in (
        ("coroutine", inspect.iscoroutinefunction(function)),
        ("generator", inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)),
    ):
        if found:
            raise InvalidInput(f"{what} is a plain function that returns a state, and not a {kind} function")
