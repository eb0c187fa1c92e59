"""The event store for callers that block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from threading import Lock
from types import TracebackType
from typing import Self, TypeVar
from uuid import UUID

from headstream.backends.base import Backend
from headstream.drivers import sync
from headstream.model import ANY, Event, Expectation, Head, RecordedEvent, Settings, check_stream
from headstream.protocol import layout
from headstream.protocol.layout import Layout, Reference
from headstream.protocol.ops import Gen
from headstream.protocol.read import Cursor
from headstream.protocol.store import Description
from headstream.session import Session, check_prefix

T = TypeVar("T")


class EventStore:
    """Streams of events in one place of storage. Made by :func:`headstream.connect`. Safe to use from several threads."""

    def __init__(self, backend: Backend, description: Description, *, url: str, cache_bytes: int) -> None:
        self._backend = backend
        self._description = description
        self._session = Session(description.settings, cache_bytes, description.store_id)
        self._turns = _Turns()
        #: Where the store is; without credentials.
        self.url = url

    @property
    def settings(self) -> Settings:
        """What was chosen when the store was created."""
        return self._description.settings

    @property
    def store_id(self) -> UUID:
        """The id that the store got when it was created."""
        return self._description.store_id

    def append(
        self, stream: str, events: Event | Iterable[Event], *, expected: Expectation = ANY, key: str | None = None
    ) -> Head:
        """Append events to a stream, all of them or none; durable when this returns.

        ``expected`` says where the stream must end: a :class:`Head` from an earlier append or read (cheapest), a version,
        ``NO_STREAM``, ``EXISTS`` or ``ANY``. ``key`` (at most 256 bytes) makes the append safe to repeat: if a changeset with this key
        already follows the expected version, its result is returned. With ``ANY`` and ``EXISTS`` the key is looked for in the newest
        changesets only: the tail and the newest segment.

        Returns the head after the append. One append takes 1 to 10,000 events, at most 16 MiB encoded.

        Raises :class:`InvalidInput`, :class:`WrongExpectedVersion`, :class:`OutcomeUnknown`, :class:`Unavailable`,
        :class:`CorruptData`, :class:`AccessDenied`, :class:`StoreNotFound`.
        """
        request = self._session.request(stream, events, expected, key)
        # Writers of one process take turns: racing each other would only cost refused commits.
        self._turns.take(stream)
        try:
            return self._run(self._session.append(request))
        finally:
            self._turns.give(stream)

    def read(
        self,
        stream: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int | None = None,
        backwards: bool = False,
    ) -> Reading:
        """The events of a stream with ``after < version < before``, oldest first, or newest first if ``backwards``; at most ``limit``.

        A read sees the stream as it was when the first event was asked for. It holds a few MiB at most, whatever the length. A stream
        that does not exist has no events. ``read(…).head()`` is where the stream ended.

        Raises :class:`InvalidInput` at once, and while iterating :class:`Unavailable`, :class:`CorruptData`,
        :class:`AccessDenied`, :class:`StoreNotFound`.
        """
        reading = self._session.reading(stream, after=after, before=before, limit=limit, backwards=backwards)
        return Reading(self, reading)

    def head(self, stream: str) -> Head | None:
        """Where a stream ends, or ``None`` if it does not exist. One small request."""
        return self._run(self._session.head(stream))

    def layout(self, stream: str) -> Layout | None:
        """Where the objects of a stream lie, for people and tools: its head, the changesets in it and what it references.

        ``None`` if the stream does not exist. One small request.
        """
        check_stream(stream)
        return self._run(layout.load(stream, self._session.cache.get(stream)))

    def references(self, page: Reference) -> tuple[Reference, ...]:
        """What an index page of a :meth:`layout` references, oldest first: segments, or pages of the level below. One request."""
        return self._run(layout.open_page(page))

    def streams(self, prefix: str = "") -> Iterator[str]:
        """The names of all streams that begin with ``prefix``, in order of their code points, lazily."""
        check_prefix(prefix)
        return self._streams(prefix)

    def _streams(self, prefix: str) -> Iterator[str]:
        after: str | None = ""
        while after is not None:
            names, after = self._run(self._session.list_streams(prefix, after))
            yield from names

    def close(self) -> None:
        """Let go of files and connections. Idempotent."""
        self._backend.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"EventStore({self.url!r})"

    def _run(self, gen: Gen[T]) -> T:
        return sync.run(gen, self._backend)


class _Turns:
    """A lock for each stream that somebody appends to right now."""

    def __init__(self) -> None:
        self._guard = Lock()
        self._turns: dict[str, tuple[Lock, int]] = {}

    def take(self, stream: str) -> None:
        """Wait until no other thread has the turn."""
        with self._guard:
            turn, users = self._turns.get(stream) or (Lock(), 0)
            self._turns[stream] = (turn, users + 1)
        try:
            turn.acquire()
        except BaseException:  # interrupted while it waited
            self._leave(stream)
            raise

    def give(self, stream: str) -> None:
        """Let the next thread have it."""
        self._leave(stream).release()

    def _leave(self, stream: str) -> Lock:
        with self._guard:
            turn, users = self._turns[stream]
            if users == 1:
                del self._turns[stream]
            else:
                self._turns[stream] = (turn, users - 1)
            return turn


class Reading(Iterator[RecordedEvent]):
    """The events of a read, one after the other; see :meth:`EventStore.read`.

    After an error it may be asked again: it goes on where it was, and never skips an event.
    """

    def __init__(self, store: EventStore, start: Callable[[], Gen[Cursor]]) -> None:
        self._store = store
        self._start = start
        self._begun: Cursor | None = None
        self._rest: Cursor | None = None
        self._events: Iterator[RecordedEvent] = iter(())

    def head(self) -> Head:
        """Where the stream ended when the read began; version 0 if it did not exist. Hand it to ``append(expected=…)``."""
        return self._store._session.head_of(self._begin().known)  # noqa: SLF001 - one class in two parts

    def __next__(self) -> RecordedEvent:
        for event in self._events:
            return event
        if self._turn_page():
            return next(self._events)
        raise StopIteration

    def _begin(self) -> Cursor:
        if self._begun is None:
            self._begun = self._rest = self._store._run(self._start())  # noqa: SLF001 - one class in two parts
        return self._begun

    def _turn_page(self) -> bool:
        """Fetch the next events; false if there are none."""
        rest = self._rest or self._begin()
        if rest.exhausted:
            return False
        events, self._rest = self._store._run(self._store._session.step(rest))  # noqa: SLF001
        self._events = iter(events)
        return True
