"""Following the feed: reading what is there, advancing it, reading what that brought.

Rules:

* A place is a position in the feed and whatever saves requests from there on. What it yields are all events after its position, in order.
* One poll is bounded: one page of the feed, or one step of an advance and the first page of what it found.
* When there is nothing to read and nothing in the inbox, a poll costs two small requests: the feed's head, not modified, and a list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import msgspec

from headstream.model import FeedEvent, Settings
from headstream.protocol import feed, keys, read
from headstream.protocol.feed import Progress
from headstream.protocol.head import Known
from headstream.protocol.ops import Gen
from headstream.protocol.read import Cursor
from headstream.protocol.verdicts import Cached, Defect


class Place(msgspec.Struct, frozen=True):
    """How far a follower has come."""

    position: int
    """Everything up to it was returned."""
    cursor: Cursor | None = None
    """What is being read."""
    progress: Progress | None = None
    """The advance that is being made."""


class Polled(msgspec.Struct, frozen=True):
    """What a poll found."""

    events: list[FeedEvent]
    place: Place
    idle: bool
    """Whether there was nothing to read and nothing to do."""
    problems: list[Defect] | None = None
    """If an advance came to its end: why the feed does not have everything (feed, rule 9)."""


def poll(
    settings: Settings, place: Place, cached: Cached, remember: Callable[[Known], None], *, advance: bool
) -> Gen[Polled]:
    """The next events after ``place``, if there are any; with ``advance``, the feed is advanced when it has none.

    Raises :class:`Unavailable`, :class:`CorruptData` for the feed itself, and what a backend raises for good.
    """
    progress: Progress | None = None
    problems: list[Defect] | None = None
    if place.cursor is not None and not place.cursor.exhausted:
        return (yield from _page(place.cursor, place.progress))
    if advance:
        progress = yield from feed.step(settings, place.progress or Progress(), cached)
        known = progress.plan.feed if progress.plan is not None else None
        idle = progress.done and not progress.published
        if progress.done:
            problems, progress = progress.problems, None
    else:
        known = yield from read.load_head(keys.FEED, cached(keys.FEED))
        idle = True
    if known is not None:
        remember(known)
        if known.state.version > place.position:
            polled = yield from _page(Cursor(known, place.position + 1, known.state.version), progress)
            return msgspec.structs.replace(polled, problems=problems)
    return Polled([], Place(place.position, None, progress), idle, problems)


def _page(cursor: Cursor, progress: Progress | None) -> Gen[Polled]:
    events, rest = yield from read.step(cursor)
    place = Place(rest.first - 1, None if rest.exhausted else rest, progress)
    return Polled(cast("list[FeedEvent]", events), place, idle=False)
