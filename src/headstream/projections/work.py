"""The work of one run of a projection on its database.

Rules, and what each leans on:

1. A transaction begins by changing the row of its generation, without changing anything in it. That is a lock, in every database: of two workers
   the second waits until the first has committed. Then it reads the row. If the owner is another, that one came later: stop.
2. The position moves in the transaction that holds the events up to it. So each event is in the tables exactly once.
3. Of several events that fail together, those before the poison are committed first, then it is tried alone; only what fails alone is poison. So
   neither its neighbours nor a connection that was just lost can make it so.
4. No transaction is open while the store is asked or written: both may lie in the same file.
5. A generation that is being built is nobody's business until one transaction exchanges the views and drops the old tables. Before that a crash
   leaves the old one serving; after it, the new one.
6. The old generation's worker is stopped before the new one catches up for the last time: so readers never see time go back.
7. Beside the position its mark is kept, so that a run in another feed is told (:mod:`headstream.protocol.mark`).
8. A standby looks at the row. It takes it over when its owner has released it, or when neither the position nor the count of the signs of life
   has changed for a time, by the standby's clock. Looking and taking are one transaction with the row's lock (1): so of several standbys one
   takes it, and an owner that was only paused is told by its next transaction.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from typing import Final, NamedTuple
from uuid import UUID, uuid4

from headstream.errors import CheckpointLost, InvalidInput, ProjectionStopped, Unavailable
from headstream.model import Event, FeedEvent
from headstream.projections.databases import Database
from headstream.projections.definition import Definition
from headstream.projections.ledger import Ledger, Row, names_of
from headstream.protocol.checkpoint import Watch
from headstream.protocol.mark import START, Mark

NO_OWNER: Final = ""
"""The owner of a generation that its worker has released."""
LETTER: Final = "EventNotProjected"
"""The type of a dead letter."""
MAX_ERROR: Final = 1000
"""Characters of an error's text in a dead letter."""
_MAX_HOST: Final = 200
_OUTAGES: Final[tuple[type[Exception], ...]] = (Unavailable, ConnectionError, TimeoutError)
"""Raised by a handler, they say nothing about its event, no more than the faults of its database do."""


class Letter(NamedTuple):
    """A poison event, as it goes to the dead letters."""

    stream: str
    event: Event
    key: str
    mark: Mark


class _Failure(NamedTuple):
    """What became of a transaction: the number of the event that may be poison, and the error."""

    at: int
    error: Exception


class _Refused(Exception):
    """Carries a failure out of a transaction, which is rolled back by that."""

    def __init__(self, failure: _Failure) -> None:
        super().__init__()
        self.failure = failure


class Work:
    """One run of a projection, on an open database. To be used by one thread at a time."""

    def __init__(self, definition: Definition, database: Database, store_id: UUID) -> None:
        self._definition = definition
        self._database = database
        self._outages = database.faults + _OUTAGES
        self._store = str(store_id)
        self._ledger = Ledger(database, definition.name)
        self._owner = f"{socket.gethostname()[:_MAX_HOST]}:{os.getpid()}:{uuid4().hex[:8]}"
        self._generation = 0
        self._tables = names_of(Row(0, 0, 0, 0, "", "", ""))
        self._watch = Watch()
        #: Every event up to it is in the tables, or not wanted.
        self.mark = START

    @property
    def position(self) -> int:
        """Every event up to it is in the tables, or not wanted."""
        return self.mark.position

    # --- beginning -------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Take over the generation that serves; make the first if there is none."""
        self._twice(self._ledger.create)
        self._twice(self._begin)

    def stand_by(self, patience: float, clock: Callable[[], float]) -> bool:
        """Take over the generation that serves, if no other worker gives a sign of life; whether it was taken.

        ``clock`` tells seconds. To be called again and again.
        """
        if self._watch.sign is None:
            self._twice(self._ledger.create)
        self._twice(partial(self._begin, patience, clock))
        return self._generation > 0

    def beat(self) -> None:
        """Give those on standby a sign of life. Raises :class:`CheckpointLost`."""
        with self._locked() as row:
            self._ledger.beat(row)

    def release(self) -> None:
        """Let a standby take over at once, if this worker has a generation. Raises :class:`CheckpointLost`."""
        if self._generation:
            with self._locked() as row:
                self._ledger.take(row.generation, NO_OWNER)

    def begin_rebuild(self, *, resume: bool) -> None:
        """Make a new generation beside the one that serves; or go on with one that was begun, if ``resume`` and there is one."""
        self._twice(self._ledger.create)
        self._twice(partial(self._begin_rebuild, resume=resume))

    def _twice(self, action: Callable[[], None]) -> None:
        """Of two workers that create the same at the same moment, one is refused; then it is there."""
        try:
            action()
        except self._database.raced:
            action()

    def _begin(self, patience: float | None = None, clock: Callable[[], float] = lambda: 0.0) -> None:
        now = clock()
        with self._ledger.transaction() as rows:
            serving = next((row for row in rows if row.serving), None)
            if serving is None:
                serving = self._new(rows, serving=1)
                self._ledger.show(serving.generation, serving.tables)
            else:
                self._check(serving)
                if patience is not None and serving.owner != NO_OWNER:
                    self._watch = self._watch.saw(serving, now)
                    if not self._watch.is_stale(now, patience):
                        return
                self._ledger.take(serving.generation, self._owner)
        self._work_on(serving)

    def _begin_rebuild(self, *, resume: bool) -> None:
        with self._ledger.transaction() as rows:
            for row in rows:
                self._check_newest(row)
            begun = [row for row in rows if not row.serving]
            fitting = [row for row in begun if (row.version, row.store) == (self._definition.version, self._store)]
            if resume and fitting:
                building = fitting[-1]
                self._ledger.take(building.generation, self._owner)
            else:
                for row in begun:
                    self._ledger.remove(row)
                building = self._new(rows, serving=0)
        self._work_on(building)

    def _new(self, rows: list[Row], *, serving: int) -> Row:
        definition = self._definition
        number = max([row.generation for row in rows], default=0) + 1
        row = Row(number, serving, definition.version, 0, self._owner, self._store, " ".join(definition.tables))
        self._ledger.add(row)
        if definition.create is not None:
            definition.create(self._database.connection, names_of(row))
            self._database.check()
        return row

    def _check(self, serving: Row) -> None:
        """Whether this code may go on with the generation that serves."""
        self._check_newest(serving)
        if serving.store != self._store:
            raise InvalidInput(
                f"projection {self._definition.name!r} was built from another store: rebuild it, or connect to store {serving.store}"
            )
        if serving.version < self._definition.version:
            raise InvalidInput(
                f"the tables of projection {self._definition.name!r} are of version {serving.version} "
                f"and its handler is of version {self._definition.version}: rebuild it"
            )

    def _check_newest(self, row: Row) -> None:
        if row.version > self._definition.version:
            raise self._lost(row, "a newer version of the handler has rebuilt the projection: stop this one")

    def _work_on(self, row: Row) -> None:
        self._generation = row.generation
        self._tables = names_of(row)
        self.mark = row.place

    # --- events ----------------------------------------------------------------------------------------------------

    def apply(self, batch: list[FeedEvent], mark_of: Callable[[FeedEvent], Mark]) -> Letter | None:
        """Project those of the events that come after :attr:`position`: all of them, or those before the first poison event.

        ``mark_of`` tells where in the feed an event of the batch is.

        Returns what has to go to the dead letters before :meth:`skip` is called and the same batch applied again, or ``None``
        when all is done. Raises :class:`ProjectionStopped` if there are no dead letters, :class:`CheckpointLost`, and the errors
        of the database.
        """
        events = [event for event in batch if event.position > self.position]
        size = len(events)
        while events:
            failure = self._try(events[:size], mark_of)
            if failure is None:
                del events[:size]
                size = len(events)
            elif size > 1:
                size = max(failure.at, 1)
            else:
                return self._letter(events[0], failure.error, mark_of(events[0]))
        return None

    def skip(self, mark: Mark) -> None:
        """Go past the events up to ``mark``: they are in the dead letters, or not wanted."""
        if mark.position > self.position:
            with self._locked():
                self._ledger.move(self._generation, mark)
            self.mark = mark

    def _try(self, events: list[FeedEvent], mark_of: Callable[[FeedEvent], Mark]) -> _Failure | None:
        """Project events in one transaction, or none of them."""
        mark = mark_of(events[-1])
        try:
            with self._locked():
                for number, event in enumerate(events):
                    self._handle(number, event)
                self._ledger.move(self._generation, mark)
        except _Refused as refused:
            return refused.failure
        except self._database.conflict as error:  # at the commit, which does not tell the event: halve
            return _Failure(len(events) // 2, error)
        self.mark = mark
        return None

    def _handle(self, number: int, event: FeedEvent) -> None:
        definition = self._definition
        # Not its own letters: a handler that chokes on them would write them for ever.
        if event.stream == definition.dead_letters:
            return
        try:
            definition.handle(self._database.connection, self._tables, event)
        except self._outages as fault:
            fault.add_note(
                f"projection {definition.name!r} was at position {event.position}: stream {event.stream!r}, version {event.version}"
            )
            raise
        except Exception as error:
            raise _Refused(_Failure(number, error)) from error
        self._database.check()

    def _letter(self, event: FeedEvent, error: Exception, mark: Mark) -> Letter:
        name, stream = self._definition.name, self._definition.dead_letters
        if stream is None:
            raise ProjectionStopped(
                "an event cannot be projected: mend the handler, then run the projection again",
                name=name,
                position=event.position,
                stream=event.stream,
                version=event.version,
            ) from error
        text = f"{type(error).__name__}: {error}"[:MAX_ERROR]
        data = {
            "projection": name,
            "generation": self._generation,
            "position": event.position,
            "stream": event.stream,
            "version": event.version,
            "type": event.type,
            "error": text.encode(errors="backslashreplace").decode(),
        }
        key = sha256(f"{self._generation} {event.position} {name}".encode()).hexdigest()
        return Letter(stream, Event(LETTER, data), key, mark)

    @contextmanager
    def _locked(self) -> Iterator[Row]:
        """A transaction on the generation that this is working on, if it still is; its row."""
        with self._ledger.transaction(self._generation) as rows:
            yield self._check_owner(rows)

    def _check_owner(self, rows: list[Row]) -> Row:
        mine = next((row for row in rows if row.generation == self._generation), None)
        if mine is None:
            raise CheckpointLost(
                "the projection was rebuilt by another worker, or removed: stop this one",
                name=self._definition.name,
            )
        if mine.owner != self._owner:
            raise self._lost(mine, "another worker runs the projection: stop this one")
        return mine

    def _lost(self, row: Row, message: str) -> CheckpointLost:
        return CheckpointLost(message, name=self._definition.name, owner=row.owner, position=row.position)

    # --- the end of a rebuild --------------------------------------------------------------------------------------

    def stop_serving_worker(self) -> None:
        """Have the worker of the generation that serves stop: its position stays where it is."""
        with self._ledger.transaction() as rows:
            self._check_owner(rows)
            for row in rows:
                if row.serving:
                    self._ledger.take(row.generation, self._owner)

    def switch(self) -> bool:
        """Have the new generation serve, and drop all others; ``False`` if one that serves has come further."""
        with self._ledger.transaction() as rows:
            self._check_owner(rows)
            others = [row for row in rows if row.generation != self._generation]
            if any(self._is_ahead(row) for row in others):
                return False
            for row in others:
                self._ledger.remove(row)
            self._ledger.show(self._generation, " ".join(self._definition.tables))
            self._ledger.take(self._generation, NO_OWNER)
        return True

    def _is_ahead(self, row: Row) -> bool:
        """Whether a generation serves that another worker has taken to a later position of this store since its worker was stopped."""
        ours = row.owner == self._owner  # then what it is ahead of is another feed: the store was restored
        return bool(row.serving) and row.store == self._store and not ours and row.position > self.position
