"""Load, decide, append: what a decider is, and what both shells do for it. No I/O.

Rules, and what each leans on:

1. What was decided is appended with the head that the load returned: it counts only if the stream is still where it was loaded.
2. Nothing is appended that could not be loaded: new events are encoded, decoded, compared and folded before
   they are sent.
3. A conflict says that others have appended. Their events are folded onto the state, and the decision is made anew. That leans on ``evolve``
   returning a new state. One that returns the state that it was given may have changed it, so then all is folded anew.
4. An append of unknown outcome is repeated as it is, with the same key and the same head: it is in the stream once, or it is dead and that
   shows as a conflict. Until one of the two is seen, every other error leaves the outcome unknown too.
5. A kept state stands for the events that it is made of: it is taken if it is of this decider, name and version, and of a version that the load may see. One
   that cannot be read is not used. One that is gone makes the head that names it doubtful: that is read again, once. The next one is written with the append that
   makes it due, and only there. One that cannot be written is not: it costs no append.
6. With a key, an earlier call may have appended in this one's place. So a load looks for the key in all that it
   reads, and where a kept state spares it the events, in the tail and the newest segment: as far as an append
   looks. What is in the stream is what the result says, and nothing is decided. After the append, what is in
   the stream is looked at too, for another call may have come between.
7. The time and the id of a changeset are known when it is appended. A decider whose ``evolve`` sees them folds
   its new events twice: before the append as a check, and after it. So the state that such an append keeps is
   the one before its events.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec

from headstream import limits
from headstream.caches import KeptState
from headstream.decider import Decider
from headstream.decisions import Decision
from headstream.errors import (
    CorruptData,
    HeadstreamError,
    InvalidInput,
    OutcomeUnknown,
    Unavailable,
    UnsupportedFormat,
    WrongExpectedVersion,
    why,
)
from headstream.model import Head, RecordedEvent, check_text, check_writable
from headstream.protocol import read
from headstream.protocol.append import Proposal
from headstream.protocol.codec import Batch, Chain, Frame
from headstream.protocol.ops import Gen, Stamp
from headstream.protocol.read import Cursor
from headstream.protocol.rivals import after_fault, after_race
from headstream.protocol.snapshot import Kept
from headstream.session import Request, Session, check_age, check_number

S = TypeVar("S")
E = TypeVar("E")
R = TypeVar("R")

log: Final = logging.getLogger("headstream.deciding")

_rows: Final = msgspec.msgpack.Decoder(list[tuple[str, Any, str | None, str | None]]).decode


def nothing_to_do(_state: object) -> None:
    """The decision of whoever only loads."""


class Transaction(Generic[S, E]):
    """One load, decide, append, as often as it takes: says what is to be done next, and a shell does it.

    ::

        while (decision := work.decision) is None:
            if work.unread:
                work.fold(run(work.read()))
            elif request := work.propose():
                try:
                    work.accept(run(session.append(request)))
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
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        attempts: int = 1,
        max_age: float = 0.0,
    ) -> None:
        check_writable(stream)
        if not isinstance(decider, Decider):
            raise InvalidInput(f"the decider is a Decider, not {type(decider).__name__}")
        if not callable(decide):
            raise InvalidInput(f"decide is a function of the state, not {type(decide).__name__}")
        if key is not None:
            check_text("a key", key, limits.MAX_IDEMPOTENCY_KEY)
        if metadata is not None and not isinstance(metadata, Mapping):
            raise InvalidInput(f"metadata is a mapping, not {type(metadata).__name__}")
        check_number("attempts", attempts, 1)
        check_age(max_age)
        self._session = session
        self._stream = stream
        self._decider = decider
        self._decide = decide
        self._key = key
        self._metadata = metadata or {}
        self._attempts = attempts
        self._max_age = max_age
        self._conflicts = self._repeats = 0
        self._unknown: OutcomeUnknown | None = None
        self._request: Request | None = None
        self._accepted: Head | None = None
        self._adopting = self._repeated = False
        self._result: Any = None
        self._events: tuple[E, ...] = ()
        self._earlier: Frame | Batch | None = None
        self._looked = 0
        self._stamp = bytes(16), 0
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
        self._kept_at = 0
        """The version of the last state that the stream keeps of this decider."""
        self._size = 0
        """Bytes of data of the events since the last kept state."""
        self._follows: bytes | None = None
        """The changeset that the next event that is read must follow, if the state was remembered."""

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
            remedy = "load the stream" if self._key is None else "repeat it with the same key"
            raise OutcomeUnknown(
                f"the append is done, by this call or by another with its key, and could not be read back: {remedy}",
                stream=self._stream,
                follows=self.head.version,
                changeset_ids=(str(self._accepted.changeset_id),),
                **why(error),
            ) from error

    def _read(self) -> Gen[list[RecordedEvent]]:
        if self._cursor is None:
            self._cursor = yield from self._begin()
            if self._decider.recorded:
                stamp = yield from Stamp(self._cursor.known.state.fields.changeset_id)
                self._stamp = stamp.id, stamp.micros
        events: list[RecordedEvent] = []
        if not self._cursor.exhausted:
            events, self._cursor, chain = yield from self._session.page(self._cursor)
            if self._is_other(chain):
                self._forget()
                self._start_over()
                self._cursor = None
                return (yield from self._read())
            if self._key is not None and self._accepted is None:
                self._look(chain)
        return events

    def _begin(self) -> Gen[Cursor]:
        """What is to be read."""
        cursor = self._remembered() or (yield from self._reading()())
        if self._accepted is not None and not self._adopting:
            return cursor
        restored = yield from self._restored(cursor)
        if restored is None:
            cursor = yield from self._reading()()
            restored = yield from self._restored(cursor)
        if restored is None:
            self._unusable("it is gone")
            restored = cursor
        if self._key is not None and self._accepted is None and restored.first > self._looked + 1:
            self._earlier = yield from self._session.changeset_with_key(restored.known, self._key)
        return restored

    def _remembered(self) -> Cursor | None:
        """A read without a request for the head, if the append has just seen one that is new enough."""
        if self._end is None and self._conflicts == 0:
            known = self._session.recent(self._stream, self._max_age)
            return None if known is None else Cursor(known, self._version + 1, known.state.version)
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
            self._size += _size_of(page)
        if self._accepted is not None:
            self._found += [event for event in page if event.version > self.head.version]
        if not self._cursor.exhausted:
            return
        self.unread = False
        if self._accepted is not None:
            self._compare(self._accepted)
            return
        self._version = self._looked = self._cursor.known.state.version
        self.head = self._session.head_of(self._cursor.known)
        if self._earlier is not None:
            self._adopt(self._earlier)

    # --- a command that was carried out before ---------------------------------------------------------------------

    def _look(self, chain: Chain) -> None:
        """Look for the key in what was read."""
        for changeset in chain:
            if changeset.key == self._key:
                self._earlier = changeset

    def _adopt(self, earlier: Frame | Batch) -> None:
        """The command was carried out, by this changeset: read its events, and the state after them."""
        head = Head(self._stream, earlier.version, "", earlier.id)
        self._accepted = self.head if self.head.version == earlier.version else head
        self.head = Head(self._stream, earlier.follows, "", earlier.parent)
        self._adopting = self._repeated = True
        self._start_over()
        self._aim(earlier.version)

    # --- kept states -------------------------------------------------------------------------------------------------

    def _restored(self, cursor: Cursor) -> Gen[Cursor | None]:
        """The rest of a read, after the newest state that was kept of what it would read; ``None`` if that is gone."""
        decider, snapshots = self._decider, self._decider.snapshots
        self._kept_at = 0
        if snapshots is None or decider.name is None:
            return cursor
        state, name, version = cursor.known.state, decider.name, decider.version
        last = cursor.last if self._accepted is None else min(cursor.last, self.head.version)
        self._kept_at = max(
            [entry.at for entry in state.snapshots if (entry.name, entry.version) == (name, version)], default=0
        )
        found = self._session.states.get(self._stream, name, version)
        if (found is None or found.at > last or found.at < self._kept_at) and self._version < self._kept_at <= last:
            try:
                found = yield from self._kept(cursor)
            except (CorruptData, UnsupportedFormat) as error:
                self._unusable(str(error))
                return cursor
            if found is None:
                return None
        if found is None or not self._version < found.at <= last:
            return cursor
        if found.changeset is not None and found.at == state.version and found.changeset != state.fields.changeset_id:
            self._forget()
            return cursor
        try:
            self._state = snapshots.decode(found.state)
        except Exception as error:  # noqa: BLE001 - whatever a decoder raises
            why = error.message if isinstance(error, InvalidInput) else f"{type(error).__name__} when it was decoded"
            self._unusable(f"{why}: count the decider's version up when its states change")
            return cursor
        self._version, self._size = found.at, found.size if found.at > self._kept_at else 0
        self._follows = found.changeset
        return Cursor(cursor.known, found.at + 1, cursor.last)

    def _is_other(self, chain: Chain) -> bool:
        """Whether the events that were read do not follow those of the remembered state: the stream was restored since."""
        expected, self._follows = self._follows, None
        first = next((changeset for changeset in chain if changeset.version > self._version), None)
        return expected is not None and first is not None and (first.follows, first.parent) != (self._version, expected)

    def _forget(self) -> None:
        """Remember the state no more, which is of events that the stream does not have."""
        assert self._decider.name is not None
        self._session.states.forget(self._stream, self._decider.name, self._decider.version)
        self._unusable("the stream has other events by now: it was restored or repaired")

    def _kept(self, cursor: Cursor) -> Gen[KeptState | None]:
        """The state that the head names, if it is there. Raises what a read raises."""
        assert self._decider.name is not None
        found = yield from read.kept_state(cursor.known, self._decider.name, self._decider.version)
        return None if found is None else KeptState(*found, 0)

    def _unusable(self, why: str) -> None:
        """The events say what it was: they are folded again, and the next append keeps a state anew."""
        self._kept_at = 0
        log.warning("the kept state of decider %r for stream %r is not used: %s", self._decider.name, self._stream, why)

    def _keeping(self, request: Request) -> Request:
        """The append, with the state to be kept if one is due and can be."""
        decider, snapshots = self._decider, self._decider.snapshots
        version = self._version + len(self._recorded)
        if snapshots is None or decider.name is None:
            return request
        if not snapshots.is_due(version - self._kept_at, self._size + _size_of(self._recorded)):
            return request
        at = self._version if decider.recorded else None
        if at is not None and (at == self._kept_at or self._after is self._state):
            return request
        encoded = self._encoded(self._after if at is None else self._state)
        if encoded is None:
            return request
        kept = Kept(decider.name, decider.version, encoded, at)
        return msgspec.structs.replace(request, proposal=msgspec.structs.replace(request.proposal, kept=kept))

    def _encoded(self, state: S) -> bytes | None:
        """A state as bytes; ``None`` for one that cannot be kept."""
        assert self._decider.snapshots is not None
        try:
            encoded = self._decider.snapshots.encode(state)
        except InvalidInput as error:
            self._warn(str(error))
            return None
        if len(encoded) > limits.MAX_SNAPSHOT:
            self._warn(f"it has {len(encoded)} bytes, and at most {limits.MAX_SNAPSHOT} are kept")
            return None
        return encoded

    def _warn(self, why: str) -> None:
        """Log, once for each decider, that states are not kept."""
        if not self._decider.warned:
            self._decider.warned = True
            log.warning(
                "a state of decider %r for stream %r is not kept, and loads fold its events again: %s",
                self._decider.name,
                self._stream,
                why,
            )

    def _remember(self, state: S, head: Head) -> None:
        """Keep a state in this client."""
        decider, snapshots, version = self._decider, self._decider.snapshots, head.version
        if snapshots is None or decider.name is None or version == 0:
            return
        states = self._session.states
        if states.holds(self._stream, decider.name, decider.version, version):
            return
        kept = None if self._request is None or self._adopting else self._request.proposal.kept
        size = self._size if kept is None else 0
        if kept is not None and kept.at is None:
            encoded: bytes | None = kept.state
        else:
            encoded = self._encoded(state)
            size += 0 if self._adopting else _size_of(self._recorded)
        if encoded is not None:
            states.put(self._stream, decider.name, decider.version, KeptState(version, encoded, size, head.changeset))

    # --- decide ----------------------------------------------------------------------------------------------------

    def propose(self) -> Request | None:
        """The append to make. ``None``, when nothing is to be done: then that is the decision.

        Raises what ``decide`` and ``evolve`` raise, and :class:`InvalidInput` for what is no event, or could not be decoded again.
        """
        if self._unknown is None:
            decider = self._decider
            self._result, decided = decider.parted(self._decide(self._state))
            events = decider.encoded(decided, self._metadata)
            if not events:
                self._request, self._recorded, self._events, self._after = None, [], (), self._state
                self._finish((), self._state, self.head)
                return None
            self._request = self._session.request(self._stream, events, self.head, self._key, adopts=True)
            self._recorded = _recorded(self._request.proposal, self._version, self._stamp)
            self._events = decider.reread(decided, self._recorded)
            self._after = decider.evolved(self._state, self._events, self._recorded)
            self._request = self._keeping(self._request)
        return self._request

    # --- append ----------------------------------------------------------------------------------------------------

    def accept(self, head: Head) -> None:
        """They are appended, and ``head`` is after them."""
        if self._key is None and not self._decider.recorded:
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
            # A head that the append has read just now is as new as any. After a pause it is not.
            self._load_again(error.actual if self._conflicts == 1 else None)
            if self._conflicts > 1:
                yield from after_race()
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
        yield from after_fault(self._repeats)

    def _load_again(self, end: int | None) -> None:
        """Load what others have appended; or all, if the state may have been changed in place by events that are not in the stream."""
        if self._after is self._state:
            self._start_over()
        self._aim(end)

    def _compare(self, head: Head) -> None:
        """Finish with what is in the stream, which may be from another call with the same key."""
        if self._adopting:
            found = tuple(self._decider.decoded(self._found))
            self._finish(found, self._state, head)
            return
        self._repeated = list(map(_content, self._found)) != list(map(_content, self._recorded))
        if self._repeated or (self._decider.recorded and self._after is self._state):
            self._adopting = True
            self._load_again(head.version)
        elif self._decider.recorded:
            self._finish(self._events, self._decider.evolved(self._state, self._events, self._found), head)
        else:
            self._finish(self._events, self._after, head)

    def _finish(self, events: tuple[E, ...], state: S, head: Head) -> None:
        self._remember(state, head)
        self.decision = Decision(self._result, events, state, head, self._repeated)


def _recorded(proposal: Proposal, follows: int, stamp: tuple[bytes, int]) -> list[RecordedEvent]:
    """The events as they will be read, but for the id and the time of their changeset: those are estimates."""
    return [
        RecordedEvent(proposal.stream, version, name, data, metadata, event_id, *stamp)
        for version, (name, data, metadata, event_id) in enumerate(_rows(proposal.rows), follows + 1)
    ]


def _size_of(events: list[RecordedEvent]) -> int:
    return sum([len(event.payload) for event in events if event.payload is not None])


def _content(event: RecordedEvent) -> tuple[object, ...]:
    return event.type, event.payload, event.metadata_json, event.id
