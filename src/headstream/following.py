"""What both kinds of subscription share: which events they want, what was handled, when to save and how long to wait. No I/O."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Iterable, Sequence
from random import uniform
from typing import Final, cast

from headstream import limits
from headstream.errors import InvalidInput
from headstream.model import FeedEvent, RecordedEvent, check_text
from headstream.protocol import checkpoint
from headstream.protocol.checkpoint import Checkpoint
from headstream.protocol.follow import Place, Polled
from headstream.protocol.head import nothing
from headstream.protocol.keys import FEED
from headstream.protocol.ops import Gen
from headstream.protocol.read import Cursor
from headstream.session import Session, check_number, check_prefix

NOT_PUBLISHED: Final = (
    "the events are appended, but not seen in the feed yet: do not append them again; advance the feed, or wait"
)

FINISHED: Final = Cursor(nothing(FEED), 1, 0)
"""A read that needs nothing more."""


class Wanted:
    """Which events of the feed a reader wants: of streams that begin with one of some prefixes, and of some types."""

    def __init__(self, streams: str | Iterable[str] | None, types: str | Iterable[str] | None) -> None:
        self._prefixes = None if streams is None else _texts("streams", streams)
        for prefix in self._prefixes or ():
            check_prefix(prefix)
        named = None if types is None else _texts("types", types)
        for name in named or ():
            check_text("a type", name, limits.MAX_TYPE)
        self._types = None if named is None else frozenset(named)

    def among(self, events: list[FeedEvent]) -> list[FeedEvent]:
        """Those of ``events`` that are wanted."""
        prefixes, types = self._prefixes, self._types
        if prefixes is not None:
            events = [event for event in events if event.stream.startswith(prefixes)]
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


def _texts(what: str, given: object) -> tuple[str, ...]:
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, Iterable):
        raise InvalidInput(f"{what} is a string or several, not {type(given).__name__}")
    return tuple(given)


class Follower:
    """Follows the feed for one subscription."""

    def __init__(
        self,
        session: Session,
        wanted: Wanted,
        *,
        after: int,
        checkpoint_name: str | None,
        poll: tuple[float, float],
        advance: bool,
        follow: bool,
    ) -> None:
        check_number("after", after, 0)
        if checkpoint_name is not None:
            check_checkpoint(checkpoint_name)
        self._session = session
        self._wanted = wanted
        self._advance = advance
        self._follow = follow
        self._poll = check_poll(poll)
        self._pause = self._poll[0]
        self._name = checkpoint_name
        self._saved: Checkpoint | None = None
        self._owner = f"{socket.gethostname()}:{os.getpid()}"[: limits.MAX_CHECKPOINT_NAME]
        self._place = Place(after)
        self._events: deque[FeedEvent] = deque()
        self._given = after
        self.begun = checkpoint_name is None
        """Whether the checkpoint was taken over."""
        self.handled = after
        """Every event up to this position was handled, or is not wanted."""
        self.over = False
        """Whether the end was reached, for a subscription that does not follow."""

    def begin(self) -> Gen[None]:
        """Take the checkpoint over, unless that was done: whoever had it is told at its next save."""
        if self.begun:
            return
        assert self._name is not None
        self._saved = yield from checkpoint.take_over(self._name, self.handled, self._owner)
        self._place = Place(self._saved.position)
        self._given = self.handled = self._saved.position
        self.begun = True

    # --- events ----------------------------------------------------------------------------------------------------

    def next_event(self) -> FeedEvent | None:
        """The next event that is at hand; the one before it now counts as handled."""
        self.settle()
        if not self._events:
            return None
        event = self._events.popleft()
        self._given = event.position
        return event

    def next_batch(self, size: int) -> list[FeedEvent]:
        """The next events that are at hand, at most ``size``; those before them now count as handled."""
        self.settle()
        batch = [self._events.popleft() for _ in range(min(size, len(self._events)))]
        if batch:
            self._given = batch[-1].position
        return batch

    def settle(self) -> None:
        """What was given was handled, since more is asked for."""
        self.handled = self._given if self._events else self._place.position

    def poll(self) -> Gen[Polled]:
        """Look for more events, when none is at hand."""
        session = self._session
        return session.poll(self._place, advance=self._advance)

    def absorb(self, polled: Polled) -> bool:
        """Take in what a poll found; whether it is time to wait."""
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
    def unsaved(self) -> bool:
        """Whether more was handled than the checkpoint says."""
        return self._saved is not None and self.handled > self._saved.position

    def acknowledge(self) -> None:
        """What was given last is handled, before the next is asked for."""
        self.handled = max(self.handled, self._given)

    def save(self) -> Gen[None]:
        """Save the position up to which all was handled; :class:`InvalidInput` if there is no checkpoint to save it in."""
        if self._name is None:
            raise InvalidInput("the subscription has no checkpoint to save: subscribe with checkpoint='a name'")
        yield from self.begin()
        self._saved = yield from checkpoint.save(self._name, self._saved, self.handled, self._owner)


def jittered(pause: float) -> float:
    """A random part of a pause, at least half of it: so that those who follow do not all look at once."""
    return uniform(pause / 2, pause)  # noqa: S311 - jitter, no secret


def check_checkpoint(name: object) -> None:
    """What a checkpoint can be called."""
    check_text("a checkpoint's name", name, limits.MAX_CHECKPOINT_NAME)


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
