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
    position: int


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
        #: Every event up to it is in the tables, or not wanted.
        self.position = 0

    # --- beginning -------------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Take over the generation that serves; make the first if there is none."""
        self._twice(self._ledger.create)
        self._twice(self._begin)

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

    def _begin(self) -> None:
        with self._ledger.transaction() as rows:
            serving = next((row for row in rows if row.serving), None)
            if serving is None:
                serving = self._new(rows, serving=1)
                self._ledger.show(serving.generation, serving.tables)
            else:
                self._check(serving)
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
        self.position = row.position

    def check_end(self, end: int) -> None:
        """:class:`InvalidInput` if the feed ends at ``end``, and so before what was projected of it."""
        if end < self.position:
            raise InvalidInput(
                f"projection {self._definition.name!r} is at position {self.position} and the feed ends at {end}: "
                "the store is an older copy; rebuild the projection"
            )

    # --- events ----------------------------------------------------------------------------------------------------

    def apply(self, batch: list[FeedEvent]) -> Letter | None:
        """Project those of the events that come after :attr:`position`: all of them, or those before the first poison event.

        Returns what has to go to the dead letters before :meth:`skip` is called and the same batch applied again, or ``None``
        when all is done. Raises :class:`ProjectionStopped` if there are no dead letters, :class:`CheckpointLost`, and the errors
        of the database.
        """
        events = [event for event in batch if event.position > self.position]
        size = len(events)
        while events:
            failure = self._try(events[:size])
            if failure is None:
                del events[:size]
                size = len(events)
            elif size > 1:
                size = max(failure.at, 1)
            else:
                return self._letter(events[0], failure.error)
        return None

    def skip(self, position: int) -> None:
        """Go past the events up to ``position``: they are in the dead letters, or not wanted."""
        if position > self.position:
            with self._locked():
                self._ledger.move(self._generation, position)
            self.position = position

    def _try(self, events: list[FeedEvent]) -> _Failure | None:
        """Project events in one transaction, or none of them."""
        try:
            with self._locked():
                for number, event in enumerate(events):
                    self._handle(number, event)
                self._ledger.move(self._generation, events[-1].position)
        except _Refused as refused:
            return refused.failure
        except self._database.conflict as error:  # at the commit, which does not tell the event: halve
            return _Failure(len(events) // 2, error)
        self.position = events[-1].position
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

    def _letter(self, event: FeedEvent, error: Exception) -> Letter:
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
        return Letter(stream, Event(LETTER, data), key, event.position)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """A transaction on the generation that this is working on, if it still is."""
        with self._ledger.transaction(self._generation) as rows:
            self._check_owner(rows)
            yield

    def _check_owner(self, rows: list[Row]) -> None:
        mine = next((row for row in rows if row.generation == self._generation), None)
        if mine is None:
            raise CheckpointLost(
                "the projection was rebuilt by another worker, or removed: stop this one",
                name=self._definition.name,
            )
        if mine.owner != self._owner:
            raise self._lost(mine, "another worker runs the projection: stop this one")

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
            if any(row.serving and row.store == self._store and row.position > self.position for row in others):
                return False
            for row in others:
                self._ledger.remove(row)
            self._ledger.show(self._generation, " ".join(self._definition.tables))
        return True
