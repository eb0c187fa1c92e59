"""The event store for callers that block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Self, TypeVar, overload
from uuid import UUID

from headstream import limits
from headstream.advancing import Advancer
from headstream.backends.base import Backend
from headstream.bells import bell_of
from headstream.decider import Decider
from headstream.deciding import Transaction, nothing_to_do
from headstream.decisions import Decision, Loaded
from headstream.drivers import sync
from headstream.errors import HeadstreamError
from headstream.following import Follower, Streams, Wanted, check_after, check_checkpoint
from headstream.metadata import Typed
from headstream.model import ANY, Event, Expectation, Head, Settings, check_stream
from headstream.protocol import layout
from headstream.protocol.checkpoint import Checkpoint, forget, list_checkpoints
from headstream.protocol.layout import Layout, Reference
from headstream.protocol.mark import Mark
from headstream.protocol.ops import Gen
from headstream.protocol.store import Description
from headstream.readings import FeedReading, Reading
from headstream.session import Request, Session, check_number, check_prefix
from headstream.stats import Stats
from headstream.subscribing import Subscription
from headstream.turns import Turns

T = TypeVar("T")
F = TypeVar("F")
R = TypeVar("R")
S = TypeVar("S")


class EventStore:
    """Streams of events in one place of storage. Made by :func:`headstream.connect`. Safe to use from several threads."""

    def __init__(
        self,
        backend: Backend,
        description: Description,
        *,
        url: str,
        cache_bytes: int,
        runner: sync.Direct | None = None,
    ) -> None:
        self._backend = backend
        self._runner = runner or sync.Direct(backend)
        self._description = description
        self._session = Session(description.settings, cache_bytes, description.store_id, self._runner.meter)
        self._turns = Turns()
        self._bell = bell_of(description.store_id)
        self._advancer = Advancer(self._run, self._session)
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
        self,
        stream: str,
        events: Event | Iterable[Event],
        *,
        expected: Expectation = ANY,
        key: str | None = None,
        publish: bool = False,
    ) -> Head:
        """Append events to a stream, all of them or none; durable when this returns.

        ``expected`` says where the stream must end: a :class:`Head` from an earlier append or read (cheapest), a version,
        ``NO_STREAM``, ``EXISTS`` or ``ANY``. ``key`` (at most 256 bytes) makes the append safe to repeat: if a changeset with this key
        already follows the expected version, its result is returned. With ``ANY`` and ``EXISTS`` the key is looked for in the newest
        changesets only: the tail and the newest segment. With ``publish`` the call returns when the events are in the feed, and the
        head says where: :attr:`Head.positions`.

        Returns the head after the append. One append takes 1 to 10,000 events, at most 16 MiB encoded.

        Raises :class:`InvalidInput`, :class:`WrongExpectedVersion`, :class:`KeyReused` (the key is that of an append of other events),
        :class:`OutcomeUnknown`, :class:`Unavailable`, :class:`CorruptData`, :class:`AccessDenied`, :class:`RequestRejected`,
        :class:`StoreNotFound`; with ``publish`` :class:`NotPublished`.
        """
        request = self._session.request(stream, events, expected, key)
        if publish:
            self._session.check_feed()
            since = self._run(self._session.feed_version())
        with self._turns.of(stream):
            head = self._append(request)
        return self._advancer.publish(head, since) if publish else head

    def _append(self, request: Request) -> Head:
        """Append, in one's turn: writers of one process that raced each other would only cost refused commits."""
        head = self._run(self._session.append(request))
        self._bell.ring()
        if self._session.is_advance_due():
            self._advancer.start()
        return head

    @overload
    def transact(  # type: ignore[overload-overlap]  # a pair is an iterable, too: the first that fits is meant
        self,
        stream: str,
        decider: Decider[S, F],
        decide: Callable[[S], tuple[R, Iterable[Typed[F]] | None]],
        *,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        attempts: int = limits.TRANSACT_ATTEMPTS,
        max_age: float = 0.0,
    ) -> Decision[S, F, R]: ...

    @overload
    def transact(
        self,
        stream: str,
        decider: Decider[S, F],
        decide: Callable[[S], Typed[F] | Iterable[Typed[F]] | None],
        *,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        attempts: int = limits.TRANSACT_ATTEMPTS,
        max_age: float = 0.0,
    ) -> Decision[S, F, None]: ...

    def transact(
        self,
        stream: str,
        decider: Decider[S, F],
        decide: Callable[[S], Any],
        *,
        key: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        attempts: int = limits.TRANSACT_ATTEMPTS,
        max_age: float = 0.0,
    ) -> Decision[S, F, Any]:
        """Load a stream, decide, append what was decided; and decide anew, if others were faster.

        ``decide(state)`` gets the state of the stream after its newest event, and returns events: one, several or none (``None``); or ``(result, events)``. It
        is a plain function that changes nothing, since it may be called again: after a conflict, with what others have
        appended folded onto the state. What it raises comes through, and nothing is appended. Without events nothing is written.

        ``key`` makes the command safe to repeat: an unknown outcome is settled here, and a command that was
        carried out with this key is recognised in what is loaded, or where a kept state spares that, in the
        tail and the newest segment; then ``decide`` is not called. ``metadata`` is added to each event's own.
        After ``attempts`` decisions that others overtook, the last conflict comes through. With ``max_age``
        (seconds) the first decision may be
        made on a head that this client saw so recently, without a request; if it is out of date, the append says so, and the next decision is made on a new one.

        Threads of one process that append to the stream wait until this is done; and ``decide`` must not append itself.

        One small request and one commit, whatever the length of the stream, if it fits in its head, or the decider keeps states. The events that ``decide`` returns are decoded and folded before they
        are appended: what could not be loaded is not written.

        Returns the :class:`~headstream.Decision`: ``result``, ``events``, ``state`` and ``head``.

        Raises what ``decide`` and ``evolve`` raise, and :class:`InvalidInput`, :class:`WrongExpectedVersion`, :class:`OutcomeUnknown`,
        :class:`Unavailable`, :class:`CorruptData`, :class:`AccessDenied`, :class:`RequestRejected`, :class:`StoreNotFound`.
        """
        work = Transaction(
            self._session, stream, decider, decide, key=key, metadata=metadata, attempts=attempts, max_age=max_age
        )
        with self._turns.of(stream), self._turns.deciding:
            while (decision := work.decision) is None:
                if work.unread:
                    work.fold(self._recall(work.read()))
                elif request := work.propose():
                    try:
                        work.accept(self._append(request))
                    except HeadstreamError as error:
                        self._run(work.retry(error))
        return decision

    def load(self, stream: str, decider: Decider[S, F], *, max_age: float = 0.0) -> Loaded[S]:
        """The state of a stream after its newest event, and the head that it ends with; the decider's first state if the stream does not exist.

        One small request, if the stream fits in its head, or the decider keeps states and one is remembered here or kept in the head. With ``max_age`` (seconds) a
        head that this client saw so recently is good enough, which may take no request at all: the state may then be that much out of date.

        Raises what ``evolve`` raises, and :class:`InvalidInput`, :class:`Unavailable`, :class:`CorruptData`, :class:`AccessDenied`, :class:`RequestRejected`, :class:`StoreNotFound`.
        """
        work = Transaction(self._session, stream, decider, nothing_to_do, max_age=max_age)
        while (decision := work.decision) is None:
            if work.unread:
                work.fold(self._recall(work.read()))
            else:
                work.propose()
        return Loaded(decision.state, decision.head)

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
        :class:`AccessDenied`, :class:`RequestRejected`, :class:`StoreNotFound`.
        """
        reading = self._session.reading(stream, after=after, before=before, limit=limit, backwards=backwards)
        return Reading(self._recall, self._session, reading)

    # --- the feed --------------------------------------------------------------------------------------------------

    def feed(
        self,
        *,
        after: int | Mark = 0,
        limit: int | None = None,
        backwards: bool = False,
        streams: Streams | None = None,
        types: str | Iterable[str] | None = None,
        advance: bool = True,
    ) -> FeedReading:
        """The events of all streams with ``position > after``, in the order of the feed, or newest first if ``backwards``; at most ``limit``.

        ``streams``: only those of streams whose names begin with this, or with one of these; ``Exactly("order-1")`` is one stream by its whole
        name. ``types``: only those of this type, or of these. Everything that was appended before the first event is asked for is there: the feed is advanced first, unless ``advance`` is false,
        for readers that may not write. It holds a few MiB at most, whatever the length.

        ``after`` a position that the feed does not have, or a :class:`~headstream.Mark` of another feed, is :class:`FeedChanged`.

        Raises :class:`InvalidInput` at once, and while iterating :class:`FeedChanged`, :class:`Unavailable`, :class:`CorruptData`,
        :class:`AccessDenied`, :class:`RequestRejected`, :class:`StoreNotFound`.
        """
        self._session.check_feed()
        wanted = Wanted(streams, types)
        if limit is not None:
            check_number("limit", limit, 0)
        mark = check_after(after)
        advancing = self._advancer.before_read if advance else None
        return FeedReading(self._recall, self._session, mark, wanted, limit, backwards=backwards, advance=advancing)

    def advance(self, told: Callable[[int], object] | None = None) -> int:
        """Move into the feed what was appended and is not there yet; how many events that were.

        Nobody has to call it: whoever reads the feed advances it, and so do writers after every so many appends (``advance_every``). Any
        number of processes may do so at once. ``told`` is called from time to time with the number so far.

        A stream that cannot be read is left out until it is repaired, and stops no other: :class:`CorruptData` with the key of the object
        is raised when everything else is in the feed.

        Raises :class:`InvalidInput`, :class:`Unavailable`, :class:`CorruptData`, :class:`UnsupportedFormat`, :class:`AccessDenied`,
        :class:`RequestRejected`, :class:`StoreNotFound`.
        """
        self._session.check_feed()
        progress = self._advancer.advance(told)
        progress.check()
        return progress.published

    def subscribe(
        self,
        *,
        after: int | Mark = 0,
        checkpoint: str | None = None,
        standby: bool | float | timedelta = False,
        streams: Streams | None = None,
        types: str | Iterable[str] | None = None,
        follow: bool = True,
        advance: bool = True,
        poll: tuple[float, float] | None = None,
    ) -> Subscription:
        """The events of all streams with ``position > after``, those that are there and then those that will be: an iterator that waits.

        ``checkpoint``: a name under which the store keeps how far this worker has come; it goes on from there, and ``after`` counts only the first time.
        Of two workers with one name, the one that began later goes on, and the other gets :class:`CheckpointLost`. It is saved every second or so
        and on leaving the ``with`` block. So after a crash some events come again: handle each so that twice is no harm, or keep the
        position in your own database, with :class:`headstream.projections.Projection`.

        ``standby=True``, or a number of seconds: it waits while another worker uses the checkpoint, and takes it over when that one has ended or has
        given no sign of life for 30 seconds, or for so many. All workers of the name have to say so. Make it longer than the longest time that an
        event, or a list of :meth:`~headstream.Subscription.batches`, takes to be handled.

        ``streams`` and ``types`` are those of :meth:`feed`. ``follow=False`` ends where there is nothing more, for a function app or cron.
        ``advance=False`` is for readers that may not write, and see what others advance. ``poll``: the shortest and the longest pause
        in seconds between looks for what other processes appended; what this process appends is seen at once.

        Raises :class:`InvalidInput` at once, and while iterating :class:`CheckpointLost`, :class:`FeedChanged`, :class:`CorruptData`,
        :class:`AccessDenied`, :class:`RequestRejected`, :class:`StoreNotFound`; while the storage does not answer, it waits.
        """
        self._session.check_feed()
        follower = Follower(
            self._session,
            Wanted(streams, types),
            after=after,
            checkpoint_name=checkpoint,
            poll=poll if poll is not None else self._backend.default_poll,
            advance=advance,
            follow=follow,
            standby=standby,
        )
        return Subscription(follower, self._recall, self._bell)

    def checkpoints(self) -> Iterator[Checkpoint]:
        """The checkpoints that subscriptions keep in the store, in the order of their names, lazily."""
        after: str | None = ""
        while after is not None:
            found, after = self._run(list_checkpoints(after))
            yield from found

    def forget(self, checkpoint: str) -> None:
        """Remove a checkpoint: a subscription of this name begins anew. One that runs gets :class:`CheckpointLost`."""
        check_checkpoint(checkpoint)
        self._run(forget(checkpoint))

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
        """The names of all streams that begin with ``prefix``, in order of their code points, lazily.

        Rarely one of them has no events: its first append died, and was made impossible.
        """
        check_prefix(prefix)
        return self._streams(prefix)

    def _streams(self, prefix: str) -> Iterator[str]:
        after: str | None = ""
        while after is not None:
            names, after = self._run(self._session.list_streams(prefix, after))
            yield from names

    def stats(self) -> Stats:
        """What this client has asked of the storage since it was connected, as numbers; makes no request.

        Take two and subtract to see what something costs: ``store.stats() - before``. Also after it was closed.
        """
        return self._session.stats()

    def close(self) -> None:
        """Let go of files and connections. Idempotent."""
        self._close(self._advancer.stop)

    def _close(self, stop: Callable[[], None]) -> None:
        try:
            stop()
        finally:
            self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        interrupted = kind is not None and not issubclass(kind, Exception)
        self._close(self._advancer.leave if interrupted else self._advancer.stop)

    def __repr__(self) -> str:
        return f"EventStore({self.url!r})"

    def _run(self, gen: Gen[T]) -> T:
        return self._runner.run(gen)

    def _recall(self, gen: Gen[T]) -> T:
        return self._runner.recall(gen)
