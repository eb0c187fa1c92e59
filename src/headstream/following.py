"""What both kinds of subscription share: which events they want, what was handled, when to save and how long to wait. No I/O."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import timedelta
from random import uniform
from typing import Any, Final, TypeAlias, cast

import msgspec

from headstream import limits
from headstream.errors import HeadstreamError, InvalidInput
from headstream.model import FeedEvent, RecordedEvent, check_stream, check_text
from headstream.protocol import checkpoint
from headstream.protocol.checkpoint import Checkpoint, Watch
from headstream.protocol.codec import ID_SIZE, Chain
from headstream.protocol.follow import Place, Polled
from headstream.protocol.head import nothing
from headstream.protocol.keys import FEED
from headstream.protocol.mark import Mark, at, check_next
from headstream.protocol.ops import Gen
from headstream.protocol.read import Cursor
from headstream.session import Session, check_number, check_prefix

NOT_PUBLISHED: Final = (
    "the events are appended, but not seen in the feed yet: do not append them again; advance the feed, or wait"
)

log: Final = logging.getLogger("headstream.subscriptions")
ends: Final = log.getChild("ends")
"""For the ends of workers alone: a program that reports the error itself can switch it off."""

FINISHED: Final = Cursor(nothing(FEED), 1, 0)
"""A read that needs nothing more."""


class Exactly(msgspec.Struct, frozen=True):
    """One stream, by its whole name, where a bare string is what names begin with: ``streams=[Exactly("order-1"), "cart-"]``."""

    name: str
    """The stream's name."""


Streams: TypeAlias = str | Exactly | Iterable[str | Exactly]
"""Which streams a reader wants: what their names begin with, or whole names; one or several."""


class Wanted:
    """Which events of the feed a reader wants: of some streams, and of some types."""

    def __init__(self, streams: Streams | None, types: str | Iterable[str] | None) -> None:
        given = None if streams is None else _several("streams", streams)
        self._prefixes: tuple[str, ...] = tuple([one for one in given or () if not isinstance(one, Exactly)])
        self._names = frozenset([one.name for one in given or () if isinstance(one, Exactly)])
        self._all = given is None
        for prefix in self._prefixes:
            check_prefix(prefix)
        for name in self._names:
            check_stream(name)
        named = None if types is None else _several("types", types)
        for name in named or ():
            check_text("a type", name, limits.MAX_TYPE)
        self._types = None if named is None else frozenset(named)

    def among(self, events: list[FeedEvent]) -> list[FeedEvent]:
        """Those of ``events`` that are wanted."""
        prefixes, names, types = self._prefixes, self._names, self._types
        if not self._all:
            events = [event for event in events if event.stream in names or event.stream.startswith(prefixes)]
        if types is not None:
            events = [event for event in events if event.type in types]
        return events

    def page(self, events: list[RecordedEvent], limit: int | None) -> tuple[list[FeedEvent], int | None]:
        """Those of a page of the feed that are wanted, at most ``limit``; and how many are then still wanted."""
        taken = self.among(cast("list[FeedEvent]", events))
        if limit is not None:
            taken = taken[:limit]
            limit -= len(taken)
        return taken, limit


class Reached:
    """Where a read of the feed has come, compared with where it began."""

    def __init__(self, after: Mark, *, backwards: bool) -> None:
        self._after = None if backwards else after
        self._chain: Chain = ()

    def take(self, chain: Chain, cursor: Cursor) -> None:
        """A page, which lies in ``chain``; raises :class:`FeedChanged` if the first one does not follow the mark."""
        if self._after is not None:
            check_next(self._after, chain, cursor.known)
            self._after = None
        self._chain = chain

    def mark_at(self, position: int) -> Mark:
        """What the position of an event of the page is in the feed."""
        return at(self._chain, position)


def _several(what: str, given: object) -> tuple[Any, ...]:
    if isinstance(given, str | Exactly):
        return (given,)
    if not isinstance(given, Iterable):
        raise InvalidInput(f"{what} is a string or several, not {type(given).__name__}")
    return tuple(given)


class Follower:
    """Follows the feed for one subscription.

    Rules:

    * What a loop was given last counts as handled when the same loop asks for more. A loop that begins later is given it again.
    * What ``next`` was given by hand counts as handled when anything more is asked for, and so does everything before a ``next`` by hand.
    * An owner that works with standbys gives nothing out while it cannot tell that the checkpoint is still its own.
    """

    def __init__(
        self,
        session: Session,
        wanted: Wanted,
        *,
        after: int | Mark,
        checkpoint_name: str | None,
        poll: tuple[float, float],
        advance: bool,
        follow: bool,
        standby: bool | float | timedelta = False,
    ) -> None:
        mark = check_after(after)
        if checkpoint_name is not None:
            check_checkpoint(checkpoint_name)
        self._session = session
        self._wanted = wanted
        self._advance = advance
        self._follow = follow
        self._poll = check_poll(poll)
        self._pause = self._poll[0]
        self._name = checkpoint_name
        self._patience = check_standby(standby)
        if self._patience is not None and checkpoint_name is None:
            raise InvalidInput("standby is for a subscription with a checkpoint: subscribe with checkpoint='a name'")
        self._saved: Checkpoint | None = None
        self._saving: set[bytes] = set()
        self._saved_at = self._tried_at = 0.0
        self._watch = Watch()
        self._next_look = -math.inf
        self._owner = f"{socket.gethostname()}:{os.getpid()}"[: limits.MAX_CHECKPOINT_NAME]
        self._place = Place(mark)
        self._base = mark
        self._chain: Chain = ()
        self._events: deque[FeedEvent] = deque()
        self._last: Sequence[FeedEvent] = ()
        self._giver: object = None
        self._given = mark.position
        self.begun = checkpoint_name is None
        """Whether the checkpoint was taken over."""
        self.handled = mark.position
        """Every event up to this position was handled, or is not wanted."""
        self.over = False
        """Whether the end was reached, for a subscription that does not follow."""

    @property
    def is_named(self) -> bool:
        """Whether it has a checkpoint."""
        return self._name is not None

    @property
    def name(self) -> str:
        """What logs call it."""
        return "a subscription" if self._name is None else f"subscription {self._name!r}"

    def begin(self, now: float = 0.0) -> Gen[None]:
        """Take the checkpoint over, unless that was done: the worker that had it is told at its next save.

        On standby, only when no other worker uses it; before the next look is due, without a request. ``now``: seconds, by the caller's clock.
        """
        if self.begun:
            return
        assert self._name is not None
        mark = self._place.mark
        if self._patience is None:
            taken: Checkpoint | None = yield from checkpoint.take_over(self._name, mark, self._owner)
        elif now < self._next_look:
            return
        else:
            self._next_look = now + min(self._patience / limits.SIGNS_OF_LIFE, self._poll[1])
            taken, self._watch = yield from checkpoint.watch(
                self._name, mark, self._owner, self._watch, now=now, patience=self._patience
            )
        if taken is not None:
            self._note(taken, now)
            self._place = Place(taken.mark)
            self._base = taken.mark
            self._given = self.handled = taken.position
            self.begun = True

    # --- events ----------------------------------------------------------------------------------------------------

    def ask(self, loop: object = None) -> None:
        """More is asked for, by a loop or (``None``) by hand: what was given is handled, or is put back for a loop that is new."""
        if loop is None or self._giver is None or self._giver is loop:
            self.settle()
        else:
            self._events.extendleft(reversed(self._last))
            self._given = self.handled
            self._last, self._giver = (), None

    def next_event(self, loop: object = None) -> FeedEvent | None:
        """The next event that is at hand, after :meth:`ask`."""
        if not self._events:
            return None
        event = self._events.popleft()
        self._last, self._giver, self._given = (event,), loop, event.position
        return event

    def next_batch(self, size: int, loop: object = None) -> list[FeedEvent]:
        """The next events that are at hand, at most ``size``, after :meth:`ask`."""
        batch = [self._events.popleft() for _ in range(min(size, len(self._events)))]
        if batch:
            self._last, self._giver, self._given = batch, loop, batch[-1].position
        return batch

    def settle(self) -> None:
        """What was given was handled."""
        self._last, self._giver = (), None
        if self._events:
            self.handled = self._given
        else:
            self.handled = self._given = self._place.mark.position
            self._chain = ()

    def poll(self) -> Gen[Polled]:
        """Look for more events, when none is at hand."""
        session = self._session
        return session.poll(self._place, advance=self._advance)

    def absorb(self, polled: Polled) -> bool:
        """Take in what a poll found; whether it is time to wait."""
        self._base, self._chain = self._place.mark, polled.chain
        self._place = polled.place
        self._events.extend(self._wanted.among(polled.events))
        if not self._events:
            self.handled = self._given = self._place.position
        if polled.idle and not self._follow:
            self.over = True
        if not polled.idle:
            self._pause = self._poll[0]
        return polled.idle and not self.over

    def pause(self) -> float:
        """Seconds to wait at most before the next poll, unless a bell rings; longer each time that nothing was found."""
        pause = self._pause
        self._pause = min(pause * 2, self._poll[1])
        return pause

    # --- checkpoint ------------------------------------------------------------------------------------------------

    @property
    def mark(self) -> Mark:
        """What :attr:`handled` is in the feed."""
        return self.mark_at(self.handled)

    def mark_at(self, position: int) -> Mark:
        """What the position of an event at hand, or of the last one that was handled, is in the feed."""
        for mark in (self._place.mark, self._base):
            if mark.position == position:
                return mark
        return at(self._chain, position)

    @property
    def keeps(self) -> bool:
        """Whether it has a checkpoint to save."""
        return self._saved is not None

    @property
    def unsaved(self) -> bool:
        """Whether more was handled than the checkpoint says."""
        return self._saved is not None and self.handled > self._saved.position

    @property
    def releases(self) -> bool:
        """Whether there is a checkpoint to release at the end, for a standby."""
        return self._saved is not None and self._patience is not None and not self._saved.released

    def rest_until_look(self, now: float) -> float:
        """Seconds until the next look at the checkpoint, on standby; else 0."""
        return 0.0 if self.begun or self._patience is None else max(0.0, self._next_look - now)

    def due(self, now: float) -> float:
        """Seconds until the checkpoint should be saved: what was handled, or a sign of life for those on standby."""
        if self._saved is None:
            return math.inf
        every = limits.SAVE_EVERY if self.handled > self._saved.position else math.inf
        if self._patience is not None:
            every = min(every, self._patience / limits.SIGNS_OF_LIFE)
        return max(0.0, self._tried_at + every - now)

    def failed(self, now: float) -> bool:
        """A save failed, and the next is due later; whether a standby may have taken the checkpoint over by now."""
        self._tried_at = now
        return self.lapsed(now)

    def lapsed(self, now: float) -> bool:
        """Whether a standby may have taken the checkpoint over by now."""
        return self._patience is not None and self._saved is not None and now - self._saved_at >= self._patience

    def acknowledge(self) -> None:
        """What was given last is handled, before the next is asked for."""
        self.handled = max(self.handled, self._given)
        self._last, self._giver = (), None

    def save(self, now: float = 0.0, *, release: bool = False) -> Gen[None]:
        """Save the position up to which all was handled; :class:`InvalidInput` if there is no checkpoint to save it in.

        ``now``: when it begins, in seconds by the caller's clock. With ``release``, others may take it over.
        """
        if self._name is None:
            raise InvalidInput("the subscription has no checkpoint to save: subscribe with checkpoint='a name'")
        yield from self.begin(now)
        if self.begun:
            release = release and self._patience is not None
            saved = yield from checkpoint.save(
                self._name, self._saved, self.mark, self._owner, release=release, ours=self._saving
            )
            self._note(saved, now)

    def _note(self, saved: Checkpoint, now: float) -> None:
        self._saved = saved
        self._saving = set()  # last: an interrupt before that loses none
        self._saved_at = self._tried_at = now


def log_end(follower: Follower, error: BaseException | None) -> None:
    """Log that an error in its loop ends a worker with a name: if it is not one of headstream's, its kind only, since its text may hold data."""
    if follower.is_named and isinstance(error, Exception):
        why = str(error) if isinstance(error, HeadstreamError) else f"{type(error).__name__} in its loop"
        ends.error("%s ends after position %d: %s", follower.name, follower.handled, why)


def jittered(pause: float) -> float:
    """A random part of a pause, at least half of it: so that those who follow do not all look at once."""
    return uniform(pause / 2, pause)  # noqa: S311 - jitter, no secret


def check_checkpoint(name: object) -> None:
    """What a checkpoint can be called."""
    check_text("a checkpoint's name", name, limits.MAX_CHECKPOINT_NAME)


def check_after(after: object) -> Mark:
    """The mark after which a reader begins; :class:`InvalidInput` if it is none."""
    if isinstance(after, Mark):
        check_number("the position of a mark", after.position, 0)
        if after.changeset is not None and (type(after.changeset) is not bytes or len(after.changeset) != ID_SIZE):
            raise InvalidInput(f"the changeset of a mark is an id of {ID_SIZE} bytes, or None")
        return after
    check_number("after", after, 0)
    return Mark(cast("int", after))


def check_standby(standby: object) -> float | None:
    """How long a standby waits for a sign of life, in seconds; ``None`` for a worker that does not wait."""
    if standby is True:
        return limits.STANDBY
    if standby is False or standby is None:
        return None
    seconds = standby.total_seconds() if isinstance(standby, timedelta) else standby
    if isinstance(seconds, int | float) and limits.MIN_STANDBY <= seconds <= limits.MAX_STANDBY:
        return float(seconds)
    raise InvalidInput(
        f"standby is True, or {limits.MIN_STANDBY} to {limits.MAX_STANDBY} seconds without a sign of life, not {standby!r}"
    )


def check_poll(poll: Sequence[float]) -> tuple[float, float]:
    """The shortest and the longest pause between polls, in seconds."""
    try:
        shortest, longest = poll
        if 0 < shortest <= longest <= limits.MAX_POLL:
            return float(shortest), float(longest)
    except (TypeError, ValueError):
        pass
    raise InvalidInput(
        f"poll is the shortest and the longest pause in seconds, above 0 and at most {limits.MAX_POLL}, not {poll!r}"
    )
