"""Load, decide, append: what a decider is, and what both shells do for it. No I/O.

Rules, and what each leans on:

1. What was decided is appended with the head that the load returned: it counts only if the stream is still where it was loaded.
2. Nothing is appended that could not be loaded: new events are encoded, decoded and folded before they are sent.
3. A conflict says that others have appended. Their events are folded onto the state, and the decision is made anew. That leans on ``evolve``
   returning a new state. One that returns the state that it was given may have changed it, so then all is folded anew.
4. An append of unknown outcome is repeated as it is, with the same key and the same head: it is in the stream once, or it is dead and that
   shows as a conflict. Until one of the two is seen, every other error leaves the outcome unknown too.
5. With a key, an earlier call may have appended in this one's place. So what is in the stream then is looked at, and it is what the result says.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from itertools import islice
from typing import Any, Final, Generic, TypeVar, cast, overload

import msgspec

from headstream import limits
from headstream.errors import HeadstreamError, InvalidInput, OutcomeUnknown, Unavailable, WrongExpectedVersion
from headstream.events import Registry
from headstream.model import Event, Head, RecordedEvent, check_text, check_writable
from headstream.protocol import codec
from headstream.protocol.ops import Gen, Pause
from headstream.protocol.read import Cursor
from headstream.session import Session, check_number

S = TypeVar("S")
E = TypeVar("E")
R = TypeVar("R")

_NOT_EVENTS: Final = (str, bytes, bytearray, memoryview, Mapping)
_rows: Final = msgspec.msgpack.Decoder(list[tuple[str, Any, str | None, str | None]]).decode


class Decider(Generic[S, E]):
    """How the events of a stream become a state.

    ``initial``: makes the state before the first event: a class or function without arguments, such as ``Order``, ``dict`` or ``lambda: 0``.
    It is called for every load, so no two of them share a state.

    ``evolve(state, event)``: the state after an event. It returns a new state and changes nothing. Without a registry an event is
    an :class:`~headstream.Event`, with data as JSON has it; with one, an instance of a registered class.

    ``events``: the :class:`~headstream.Registry` of the classes that events have.

    ``name`` and ``version`` say which fold this is: count ``version`` up whenever ``initial`` or ``evolve`` change, so that a state that an older program kept
    under this name is not taken for one of this program.

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
    ) -> None: ...

    def __init__(
        self,
        initial: Callable[[], S],
        evolve: Callable[[S, Any], S],
        events: Registry | None = None,
        *,
        name: str | None = None,
        version: int = 1,
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
        self.initial = initial
        self.evolve = evolve
        self.events = events
        self.name = name
        self.version = version

    def fold(self, events: Iterable[RecordedEvent]) -> S:
        """The state after these events of a stream, from its first on.

        Raises :class:`~headstream.InvalidInput` for an event that the registry cannot decode, and what ``evolve`` raises.
        """
        return self.fold_onto(self.initial(), events)

    def fold_onto(self, state: S, events: Iterable[RecordedEvent]) -> S:
        """The state after these events, which follow those that ``state`` is made of. Raises what :meth:`fold` raises."""
        return reduce(self.evolve, self._decoded(events), state)

    def _decoded(self, events: Iterable[RecordedEvent]) -> Iterable[E]:
        if self.events is None:
            return (cast("E", Event(event.type, event.data, event.metadata, event.id)) for event in events)
        decoded = map(self.events.decode, events)
        return decoded if self.events.unknown != "skip" else (event for event in decoded if event is not None)

    def _encoded(self, events: Iterable[E], metadata: Mapping[str, Any]) -> list[Event]:
        if self.events is not None:
            encode = self.events.encode
            return [encode(event, metadata) for event in events]
        batch: list[Event] = []
        for event in events:
            if not isinstance(event, Event):
                raise InvalidInput(f"decide returns events, not {type(event).__name__}: wrap it in Event(type, data)")
            batch.append(msgspec.structs.replace(event, metadata={**metadata, **event.metadata}) if metadata else event)
        return batch

    def _is_event(self, value: object) -> bool:
        return isinstance(value, Event) if self.events is None else type(value) in self.events

    def __repr__(self) -> str:
        named = "" if self.name is None else f"{self.name!r}, version={self.version}, "
        return f"Decider({named}initial={_called(self.initial)}, evolve={_called(self.evolve)})"


class Decision(msgspec.Struct, Generic[S, E, R], frozen=True):
    """What came of :meth:`headstream.EventStore.transact`."""

    result: R
    """What ``decide`` returned beside its events; ``None`` if it returned events only."""
    events: tuple[E, ...]
    """The events that were appended, as ``evolve`` sees them; none if nothing was to be done."""
    state: S
    """The state after them."""
    head: Head
    """The head after them. Without events, that of the load."""


class Transaction(Generic[S, E]):
    """One load, decide, append, as often as it takes: says what is to be done next, and a shell does it.

    ::

        while (decision := work.decision) is None:
            if work.unread:
                work.fold(run(work.read()))
            elif batch := work.propose():
                try:
                    work.accept(append(stream, batch, expected=work.head, key=key))
                except HeadstreamError as error:
                    run(work.retry(error))
    """

    head: Head
    """Where the stream ended when it was loaded."""

    def __init__(
        self,
        session: Session,
        stream: str,
        decider: Decider[S, E],
        decide: Callable[[S], Any],
        *,
        key: str | None,
        metadata: Mapping[str, Any] | None,
        attempts: int,
    ) -> None:
        check_writable(stream)
        if not isinstance(decider, Decider):
            raise InvalidInput(f"transact takes a Decider, not {type(decider).__name__}")
        if not callable(decide):
            raise InvalidInput(f"decide is a function of the state, not {type(decide).__name__}")
        if key is not None:
            check_text("a key", key, limits.MAX_IDEMPOTENCY_KEY)
        if metadata is not None and not isinstance(metadata, Mapping):
            raise InvalidInput(f"metadata is a mapping, not {type(metadata).__name__}")
        check_number("attempts", attempts, 1)
        self._session = session
        self._stream = stream
        self._decider = decider
        self._decide = decide
        self._key = key
        self._metadata = metadata or {}
        self._attempts = attempts
        self._conflicts = self._repeats = 0
        self._unknown: OutcomeUnknown | None = None
        self._accepted: Head | None = None
        self._adopting = False
        self.decision: Decision[S, E, Any] | None = None
        """What came of it, when all is done."""
        self.unread = True
        """Whether something is to be read before anything else."""
        self._start_over()
        self._aim(None)

    # --- load ------------------------------------------------------------------------------------------------------

    def _start_over(self) -> None:
        self._state = self._decider.initial()
        self._version = 0

    def _aim(self, end: int | None) -> None:
        """Read next what follows the state, up to version ``end`` if that is given, which the stream is known to have reached."""
        self._end = end
        self._cursor: Cursor | None = None
        self._found: list[RecordedEvent] = []
        self.unread = True

    def read(self) -> Gen[list[RecordedEvent]]:
        """The next events, when :attr:`unread` says that some may be needed.

        Raises what a read raises; once the events are appended, :class:`OutcomeUnknown` instead, for then something was written.
        """
        try:
            return (yield from self._read())
        except HeadstreamError as error:
            if self._accepted is None:
                raise
            raise OutcomeUnknown(
                "the append is done, by this call or by another with its key, and could not be read back: repeat it with the same key",
                stream=self._stream,
                follows=self.head.version,
                changeset_ids=(str(self._accepted.changeset_id),),
            ) from error

    def _read(self) -> Gen[list[RecordedEvent]]:
        if self._cursor is None:
            self._cursor = self._remembered() or (yield from self._reading()())
        events: list[RecordedEvent] = []
        if not self._cursor.exhausted:
            events, self._cursor = yield from self._session.step(self._cursor)
        return events

    def _remembered(self) -> Cursor | None:
        """A read without a request for the head, if the append has just seen one that is new enough."""
        known = self._session.cache.get(self._stream) if self._end is not None else None
        if known is None or self._end is None or known.state.version < self._end:
            return None
        return Cursor(known, self._version + 1, self._end if self._accepted is not None else known.state.version)

    def _reading(self) -> Callable[[], Gen[Cursor]]:
        before = self._end + 1 if self._end is not None and self._accepted is not None else None
        return self._session.reading(self._stream, after=self._version, before=before, limit=None, backwards=False)

    def fold(self, page: list[RecordedEvent]) -> None:
        """Take in what a read returned. Raises what ``evolve`` raises, and :class:`InvalidInput` for an event that cannot be decoded."""
        assert self._cursor is not None, "nothing was read"
        if self._accepted is None or self._adopting:
            self._state = self._decider.fold_onto(self._state, page)
        if self._accepted is not None:
            self._found += [event for event in page if event.version > self.head.version]
        if not self._cursor.exhausted:
            return
        self.unread = False
        if self._accepted is not None:
            self._compare(self._accepted)
            return
        self._version = self._cursor.known.state.version
        self.head = self._session.head_of(self._cursor.known)

    # --- decide ----------------------------------------------------------------------------------------------------

    def propose(self) -> list[Event]:
        """The events to append. None, when nothing is to be done: then that is the decision.

        Raises what ``decide`` and ``evolve`` raise, and :class:`InvalidInput` for what is no event, or could not be decoded again.
        """
        if self._unknown is None:
            decider = self._decider
            self._result, decided = _parted(decider, self._decide(self._state))
            self._proposed = decider._encoded(decided, self._metadata)  # noqa: SLF001 - one class in two parts
            self._recorded = _recorded(self._stream, self._version, self._proposed)
            self._events = tuple(decider._decoded(self._recorded))  # noqa: SLF001 - the same
            self._after = reduce(decider.evolve, self._events, self._state)
            if not self._proposed:
                self._finish(self._events, self._after, self.head)
        return self._proposed

    # --- append ----------------------------------------------------------------------------------------------------

    def accept(self, head: Head) -> None:
        """They are appended, and ``head`` is after them."""
        if self._key is None:
            self._finish(self._events, self._after, head)
        else:
            self._accepted = head
            self._aim(head.version)

    def retry(self, error: HeadstreamError) -> Gen[None]:
        """The append failed: make ready for the next attempt, and wait a little. Raises, if there is none to be made."""
        if isinstance(error, WrongExpectedVersion):
            self._unknown = None
            self._conflicts += 1
            if self._conflicts >= self._attempts:
                raise error
            # The head that the append has just read is as new as any. After a pause it is not.
            self._load_again(error.actual if self._conflicts == 1 else None)
            if self._conflicts > 1:
                yield from Pause(_pause(limits.RACE_PAUSE, self._conflicts - 1))
            return
        if isinstance(error, OutcomeUnknown):
            self._unknown = self._unknown or error
        if self._unknown is None:
            raise error
        self._repeats += 1
        repeatable = self._key is not None and isinstance(error, OutcomeUnknown | Unavailable)
        if not repeatable or self._repeats > limits.TRANSACT_REPEATS:
            if error is self._unknown:
                raise error
            raise self._unknown from error
        yield from Pause(_pause(limits.FAULT_PAUSE, self._repeats))

    def _load_again(self, end: int | None) -> None:
        """Load what others have appended; or all, if the state may have been changed in place by events that are not in the stream."""
        if self._after is self._state:
            self._start_over()
        self._aim(end)

    def _compare(self, head: Head) -> None:
        """Finish with what is in the stream, which may be from another call with the same key."""
        if self._adopting:
            found = tuple(self._decider._decoded(self._found))  # noqa: SLF001 - one class in two parts
            self._finish(found, self._state, head)
        elif list(map(_content, self._found)) == list(map(_content, self._recorded)):
            self._finish(self._events, self._after, head)
        else:
            self._adopting = True
            self._load_again(head.version)

    def _finish(self, events: tuple[E, ...], state: S, head: Head) -> None:
        self.decision = Decision(self._result, events, state, head)


def _parted(decider: Decider[S, E], returned: Any) -> tuple[Any, list[E]]:
    """The result and the events of what ``decide`` returned."""
    is_event = decider._is_event  # noqa: SLF001 - one class in two parts
    result = None
    if type(returned) is tuple and len(returned) == 2 and not is_event(returned[1]):
        result, returned = returned
    if returned is None:
        return result, []
    if is_event(returned):
        return result, [returned]
    if inspect.iscoroutine(returned):
        returned.close()
        raise InvalidInput("decide is a plain function, which may be called again: await before transact what it needs")
    if not _is_several(returned):
        raise InvalidInput(
            f"decide returns events, (result, events) or None, not {type(returned).__name__}: is its class registered, or is it"
            " a result without events?"
        )
    return result, list(islice(returned, limits.MAX_EVENTS + 1))


def _is_several(value: object) -> bool:
    """Whether it can be iterated, for what is in it: pydantic models can too, for their fields."""
    return (
        isinstance(value, Iterable) and not isinstance(value, _NOT_EVENTS) and not hasattr(type(value), "model_fields")
    )


def _recorded(stream: str, follows: int, events: list[Event]) -> list[RecordedEvent]:
    """The events as they will be read, but for the id and the time of their changeset, which only their append knows."""
    rows = _rows(codec.encode_events(events))
    return [
        RecordedEvent(stream, version, name, data, metadata, event_id, bytes(16), 0)
        for version, (name, data, metadata, event_id) in enumerate(rows, follows + 1)
    ]


def _content(event: RecordedEvent) -> tuple[object, ...]:
    return event.type, event.payload, event.metadata_json, event.id


def _pause(bounds: tuple[float, float], count: int) -> float:
    first, longest = bounds
    return min(first * 2.0 ** min(count - 1, 30), longest)


def _called(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", repr(function))
