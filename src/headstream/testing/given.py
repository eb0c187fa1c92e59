"""Given some events, when something is decided, then these events: tests of a decider, without a server and without mocks.

::

    given(orders, OrderPlaced(total=20)).when(pay).then(OrderPaid(amount=20))

    with pytest.raises(Refused):
        given(orders).when(pay)

Each test runs what the application will run: events are stored in memory, loaded, folded, decided on and appended. So it finds too what only storage shows: an
event that does not come back as it was, a schema version without an upcaster. It needs no test framework.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, Self, TypeVar, overload

from headstream.client import EventStore
from headstream.connecting import connect
from headstream.decider import Decider
from headstream.decisions import Decision
from headstream.metadata import Typed
from headstream.model import Event, RecordedEvent

S = TypeVar("S")
E = TypeVar("E")
R = TypeVar("R")

_STREAM: Final = "given"


def given(decider: Decider[S, E], *events: Typed[E] | Event) -> Given[S, E]:
    """A stream with these events: instances of registered classes, or :class:`headstream.Event` for what is stored, in an older schema version for instance.

    Raises :class:`~headstream.InvalidInput` for what cannot be stored.
    """
    return Given(decider, events)


class Given(Generic[S, E]):
    """A stream with events, on which something is to be decided. Made by :func:`given`."""

    def __init__(self, decider: Decider[S, E], events: Iterable[Typed[E] | Event]) -> None:
        self._decider = decider
        self._events = tuple(events)
        self._store = _holding(decider, self._events)

    @property
    def state(self) -> S:
        """The state after the events. Raises what ``evolve`` raises."""
        return self._decider.fold(self._store.read(_STREAM))

    @overload
    def when(  # type: ignore[overload-overlap]  # a pair is an iterable, too: the first that fits is meant
        self, decide: Callable[[S], tuple[R, Iterable[Typed[E]] | None]]
    ) -> Then[S, E, R]: ...

    @overload
    def when(self, decide: Callable[[S], Typed[E] | Iterable[Typed[E]] | None]) -> Then[S, E, None]: ...

    def when(self, decide: Callable[[S], Any]) -> Then[S, E, Any]:
        """Decide, as :meth:`headstream.EventStore.transact` does. Each time on the given events alone.

        Raises what ``decide`` raises, to be caught by ``pytest.raises`` or ``assertRaises``; and ``AssertionError`` if ``decide`` changes the state that it is
        given, or if the state after its events is another one than that of a later load. (States without ``==`` are not compared.)
        """

        def watched(state: S) -> Any:
            returned = decide(state)
            _check_same(
                state,
                self.state,
                "decide has changed the state that it was given: return events, and let evolve make a new state of them",
            )
            return returned

        store = _holding(self._decider, self._events)
        decision = store.transact(_STREAM, self._decider, watched)
        _check_same(
            decision.state,
            self._decider.fold(store.read(_STREAM)),
            "the state after the decision is not that of a later load: evolve must depend on its arguments alone",
        )
        appended = [_content(event) for event in store.read(_STREAM, after=len(self._events))]
        return Then(self._decider, decision, appended)


class Then(Generic[S, E, R]):
    """What was decided, to be compared with what was expected. Each method raises ``AssertionError`` if they differ, and can be followed by another."""

    def __init__(self, decider: Decider[S, E], decision: Decision[S, E, R], appended: list[tuple[object, ...]]) -> None:
        self._decider = decider
        self._appended = appended
        #: The decision itself, for whatever else is to be checked.
        self.decision = decision

    def then(self, *events: Typed[E] | Event) -> Self:
        """Exactly these events were appended, in this order; without any: nothing was. They are compared as they are stored."""
        expected = [_content(event) for event in _holding(self._decider, events).read(_STREAM)]
        if self._appended != expected:
            raise AssertionError(_difference("other events were decided", expected, self._appended))
        return self

    def then_result(self, expected: R) -> Self:
        """``decide`` returned this result."""
        return self._compare("another result was returned", expected, self.decision.result)

    def then_state(self, expected: S) -> Self:
        """The state after the events is this one."""
        return self._compare("the state after the events is another one", expected, self.decision.state)

    def _compare(self, what: str, expected: object, actual: object) -> Self:
        if actual != expected:
            raise AssertionError(_difference(what, [expected], [actual]))
        return self


def _holding(decider: Decider[S, E], events: Iterable[Typed[E] | Event]) -> EventStore:
    """A store in memory with a stream of these events."""
    store = connect("memory://", feed=False)
    if stored := [_stored(decider, event) for event in events]:
        store.append(_STREAM, stored)
    return store


def _stored(decider: Decider[S, E], event: Typed[E] | Event) -> Event:
    if isinstance(event, Event) or decider.events is None:
        return event  # type: ignore[return-value]  # append says what is wrong with anything else
    return decider.events.encode(event)


def _content(event: RecordedEvent) -> tuple[object, ...]:
    return event.type, event.data, event.metadata, event.id


def _check_same(actual: object, expected: object, otherwise: str) -> None:
    if type(actual).__eq__ is not object.__eq__ and actual != expected:
        raise AssertionError(_difference(otherwise, [expected], [actual]))


def _difference(what: str, expected: list[Any], actual: list[Any]) -> str:
    return "\n".join((what, "  expected:", *_lines(expected), "  actual:", *_lines(actual)))


def _lines(values: list[Any]) -> list[str]:
    return [f"    {value!r}" for value in values] or ["    nothing"]
