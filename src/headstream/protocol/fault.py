"""What verification reports: an object that is not what it must be, what that costs, and what to do.

Rules:

* A fault names the object that is wrong, not the one that noticed. Where two objects disagree and neither proves itself, it names the
  older one, and its text has the key of the other.
* A grave fault means that something cannot be read, or not be trusted, or will stop an append or the feed. What is not grave is for information.
* No event data is in any of it.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Final

import msgspec

from headstream.errors import CorruptData, UnsupportedFormat
from headstream.protocol import keys
from headstream.protocol.ops import About

BACKUP: Final = "put the object back from a backup"
UPGRADE: Final = "upgrade headstream"


class Kind(enum.StrEnum):
    """What is wrong with an object."""

    MISSING = "missing"
    """It must be there, and is not."""
    DAMAGED = "damaged"
    """It cannot be decoded, its checksum is wrong, or it is another object than its key says."""
    NEWER = "newer"
    """It was written by a newer headstream: nothing may be wrong with it."""
    CONTRADICTION = "contradiction"
    """It can be read, and does not agree with other objects."""
    METADATA = "metadata"
    """The names that a storage browser shows are not those of its content."""
    UNPUBLISHED = "unpublished"
    """Events of a stream are neither in the feed nor announced."""
    UNKNOWN = "unknown"
    """Nobody here makes an object of this name."""
    GARBAGE = "garbage"
    """Nothing refers to it any more."""


class Mend(enum.StrEnum):
    """How a fault can be repaired, if what that takes is intact."""

    PAGE = "page"
    """An index page, from the segments that it leads to."""
    SEGMENT = "segment"
    """A segment, from the feed, if that gives the same bytes: its digest tells."""
    HEAD = "head"
    """A head, from the segments of its stream, from what can be read of it, and from the feed."""
    TIME = "time"
    """A stream or the feed in which only the time of a changeset is wrong: by the nearest time that can be stored."""
    FEED = "feed"
    """The feed, from the streams: in another order from the damage on."""
    ANNOUNCE = "announce"
    """Intents, from the changesets that they announced."""
    SETTLE = "settle"
    """An intent that was left over is removed."""
    INTENT = "intent"
    """An intent, from its key."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong in a store."""

    kind: Kind
    key: str
    """The key of the object, relative to the store."""
    problem: str
    """What is wrong, as a sentence without its end."""
    stream: str | None = None
    """The stream that it touches; ``$feed`` for the feed."""
    first: int | None = None
    """The first version of the stream, or position of the feed, that it touches."""
    last: int | None = None
    """The last one."""
    lost: str | None = None
    """What cannot be read because of it."""
    remedy: str = ""
    """What to do."""
    mend: Mend | None = None
    """How a repair can mend it; ``None`` if nothing can."""
    grave: bool = True
    """Whether it is more than information."""

    def __str__(self) -> str:
        touched = "" if self.stream is None else f" (stream {self.stream!r}{self._versions()})"
        lost = "" if self.lost is None else f"; lost: {self.lost}"
        return f"{self.key}: {self.problem}{touched}{lost}; {self.remedy}"

    def _versions(self) -> str:
        if self.first is None:
            return ""
        return f", {self.first} to {self.last}" if self.last != self.first else f", {self.first}"


def kind_of(error: CorruptData | UnsupportedFormat) -> Kind:
    """What an error of a decoder says of the object."""
    return Kind.DAMAGED if isinstance(error, CorruptData) else Kind.NEWER


# --- the faults of a stream ----------------------------------------------------------------------------------------


def damaged_head(stream: str, key: str, error: CorruptData | UnsupportedFormat) -> Fault:
    """A head cannot be read."""
    kind = kind_of(error)
    return Fault(
        kind=kind,
        key=key,
        problem=error.message,
        stream=stream,
        lost="the way to the whole stream, and its newest changesets, which may be in this object alone",
        remedy="--repair rebuilds it, if nothing of it is lost" if kind is Kind.DAMAGED else UPGRADE,
        mend=Mend.HEAD if kind is Kind.DAMAGED else None,
    )


def missing_head(stream: str, problem: str) -> Fault:
    """A stream has no head, though other objects say that it had one; or an old one."""
    if stream == keys.FEED:
        return _missing_feed(problem)
    return Fault(
        kind=Kind.MISSING,
        key=keys.head(stream),
        problem=problem,
        stream=stream,
        lost="the way to the whole stream, and its newest changesets, if nothing else has them",
        remedy=f"{BACKUP}, or --repair rebuilds it, if nothing of it is lost",
        mend=Mend.HEAD,
    )


def _missing_feed(problem: str) -> Fault:
    return Fault(
        kind=Kind.MISSING,
        key=keys.head(keys.FEED),
        problem=problem,
        stream=keys.FEED,
        lost="the way to the feed, and the order of its newest events; the events themselves are in their streams",
        remedy=f"stop whoever advances the feed, then {BACKUP}, or let --repair-feed lay out anew what is lost",
        mend=Mend.FEED,
    )


def damaged_tail(stream: str, intact: int, version: int, error: CorruptData) -> Fault:
    """Changesets in a head cannot be read, from the one after version ``intact`` on."""
    first = min(intact + 1, version)
    return Fault(
        kind=Kind.DAMAGED,
        key=keys.head(stream),
        problem=error.message,
        stream=stream,
        first=first,
        last=version,
        lost=_events_lost(stream, first, version),
        remedy=_remedy(stream, Kind.DAMAGED),
        mend=Mend.FEED if stream == keys.FEED else Mend.HEAD,
    )


def lost_page(stream: str, key: str, first: int, last: int, *, kind: Kind, problem: str) -> Fault:
    """An index page cannot be read."""
    return Fault(
        kind=kind,
        key=key,
        problem=problem,
        stream=stream,
        first=first,
        last=last,
        lost="nothing, if the segments are intact; they were not checked, since only this page leads to them",
        remedy=UPGRADE if kind is Kind.NEWER else "--repair writes it again from the segments",
        mend=None if kind is Kind.NEWER else Mend.PAGE,
    )


def lost_segment(stream: str, key: str, first: int, last: int, *, kind: Kind, problem: str) -> Fault:
    """A segment cannot be read."""
    way = Mend.FEED if stream == keys.FEED else Mend.SEGMENT
    return Fault(
        kind=kind,
        key=key,
        problem=problem,
        stream=stream,
        first=first,
        last=last,
        lost=_events_lost(stream, first, last),
        remedy=_remedy(stream, kind),
        mend=None if kind is Kind.NEWER else way,
    )


def wrong_time(stream: str, key: str, first: int, last: int) -> Fault:
    """Changesets in an object have a time that cannot be stored: their writer's clock was wrong, and its headstream did not notice."""
    return Fault(
        kind=Kind.DAMAGED,
        key=key,
        problem="a changeset has a time before 1970 or after 2286, by a wrong clock: it cannot be read",
        stream=stream,
        first=first,
        last=last,
        lost="nothing but that time",
        remedy="--repair gives it the nearest time that can be stored",
        mend=Mend.TIME,
    )


def contradiction(stream: str, key: str, problem: str, first: int, last: int) -> Fault:
    """Objects of a stream can be read, and do not agree."""
    return Fault(
        kind=Kind.CONTRADICTION,
        key=key,
        problem=problem,
        stream=stream,
        first=first,
        last=last,
        remedy=_remedy(stream, Kind.CONTRADICTION),
        mend=Mend.FEED if stream == keys.FEED else None,
    )


def wrong_metadata(about: About, key: str, names: Sequence[str]) -> Fault:
    """An object has other metadata under these names than its content says, or none at all."""
    return Fault(
        kind=Kind.METADATA,
        key=key,
        problem=f"its {', '.join(names)} is wrong"
        if names
        else "it has none of the names that a storage browser shows",
        stream=about.stream,
        first=about.version,
        last=about.version,
        remedy="nothing for headstream, which reads the body only: whoever copied the object has to copy its metadata too",
        grave=bool(names),
    )


def _remedy(stream: str, kind: Kind) -> str:
    """What to do about an object that holds events."""
    if kind is Kind.NEWER:
        return UPGRADE
    if stream == keys.FEED:
        return f"{BACKUP}, or let --repair-feed lay out anew what follows"
    if kind is Kind.CONTRADICTION:
        return BACKUP
    return f"{BACKUP}, or --repair restores it, if the feed has all of it"


def _events_lost(stream: str, first: int, last: int) -> str:
    """The events of these versions or positions; the feed only repeats those of the streams."""
    if stream == keys.FEED:
        return "the order of its events; the events themselves are in their streams"
    return f"{last - first + 1} event{'s' if last > first else ''}, unless there is a backup"


# --- the feed against the streams ----------------------------------------------------------------------------------


def misplaced(stream: str, key: str, problem: str, version: int, position: int) -> Fault:
    """The feed has an event of a stream where it does not belong."""
    return Fault(
        kind=Kind.CONTRADICTION,
        key=key,
        problem=problem,
        stream=stream,
        first=version,
        last=version,
        lost="nothing of the stream; readers of the feed see it wrongly",
        remedy=f"let --repair-feed lay out the feed anew from position {position} or before",
        mend=Mend.FEED,
    )


def unpublished(stream: str, key: str, first: int, last: int) -> Fault:
    """Events of a stream are neither in the feed nor announced."""
    return Fault(
        kind=Kind.UNPUBLISHED,
        key=key,
        problem="the intent is missing, and what it announced is not in the feed: no advance will publish it",
        stream=stream,
        first=first,
        last=last,
        lost="nothing of the stream; readers of the feed miss these events",
        remedy="--repair announces them again",
        mend=Mend.ANNOUNCE,
    )


def differs(stream: str, key: str, version: int, position: int) -> Fault:
    """An event of the feed is not that of its stream."""
    problem = f"event {version} of a stream, at position {position}, is not what the stream has"
    return misplaced(stream, key, problem, version, position)


def differs_somewhere(stream: str) -> Fault:
    """The feed's events of a stream are not those of the stream, and nobody looked which."""
    problem = f"its events of stream {stream!r} are not those of the stream"
    return msgspec.structs.replace(misplaced(keys.FEED, keys.head(keys.FEED), problem, 1, 1), last=None, first=None)


def behind(stream: str, version: int, problem: str, last: int) -> Fault:
    """A head has a lower version than other objects prove."""
    return Fault(
        kind=Kind.CONTRADICTION,
        key=keys.head(stream),
        problem=f"{problem}, and it has version {version}: an old copy is in its place",
        stream=stream,
        first=version + 1,
        last=max(last, version + 1),
        lost="the newest events, unless the right head is put back",
        remedy="append nothing; put the newest copy of the head back from a backup",
        mend=None if version else Mend.HEAD,
    )


# --- the rest of a store -------------------------------------------------------------------------------------------


def unknown(key: str, problem: str, *, grave: bool) -> Fault:
    """Nobody here makes an object of this name."""
    return Fault(
        kind=Kind.UNKNOWN,
        key=key,
        problem=problem,
        remedy="find out who made it, and remove it",
        grave=grave,
    )


def garbage(key: str, problem: str, stream: str | None = None) -> Fault:
    """Nothing refers to these objects any more."""
    return Fault(
        kind=Kind.GARBAGE,
        key=key,
        problem=problem,
        stream=stream,
        remedy="nothing; `headstream gc` removes them",
        grave=False,
    )


def damaged_intent(stream: str, key: str, error: CorruptData | UnsupportedFormat) -> Fault:
    """An intent cannot be read."""
    kind = kind_of(error)
    return Fault(
        kind=kind,
        key=key,
        problem=error.message,
        stream=stream,
        lost="nothing; but an advance of the feed stops at it, if its append failed",
        remedy="--repair writes it again" if kind is Kind.DAMAGED else UPGRADE,
        mend=Mend.INTENT if kind is Kind.DAMAGED else None,
    )


def left_over(stream: str, key: str, follows: int) -> Fault:
    """An intent of a changeset that the feed has."""
    return Fault(
        kind=Kind.CONTRADICTION,
        key=key,
        problem="it announces a changeset that is in the feed: the next advance would publish it again",
        stream=stream,
        first=follows + 1,
        last=follows + 1,
        lost="nothing yet",
        remedy="--repair removes it",
        mend=Mend.SETTLE,
    )


def lost_snapshot(stream: str, key: str, problem: str, kind: Kind) -> Fault:
    """A snapshot that a head names is missing, or cannot be read."""
    return Fault(
        kind=kind,
        key=key,
        problem=problem,
        stream=stream,
        lost="nothing but time: its decider folds the events again",
        remedy=UPGRADE if kind is Kind.NEWER else "leave it: the next append of its decider keeps a new one",
    )


def damaged_checkpoint(key: str, error: CorruptData | UnsupportedFormat) -> Fault:
    """A checkpoint cannot be read."""
    kind = kind_of(error)
    return Fault(
        kind=kind,
        key=key,
        problem=error.message,
        lost="how far its worker has come",
        remedy=f"{BACKUP}, or remove it: its worker then begins anew" if kind is Kind.DAMAGED else UPGRADE,
    )


def ahead(key: str, name: str, position: int, end: int) -> Fault:
    """A checkpoint is ahead of the feed."""
    return Fault(
        kind=Kind.CONTRADICTION,
        key=key,
        problem=f"it is at position {position}, and the feed ends at {end}",
        stream=keys.FEED,
        first=end + 1,
        last=position,
        lost="its worker will miss events",
        remedy=f"forget the checkpoint {name!r}, and have its worker begin at a position that it is sure of",
    )


def description(problem: str, kind: Kind = Kind.CONTRADICTION) -> Fault:
    """What says what the store is is wrong."""
    return Fault(
        kind=kind,
        key=keys.STORE,
        problem=problem,
        lost="what the store is: its format and settings",
        remedy=BACKUP,
    )


def unreadable(stream: str, key: str, error: CorruptData | UnsupportedFormat) -> Fault:
    """An object to which nothing refers cannot be read."""
    return Fault(
        kind=kind_of(error),
        key=key,
        problem=f"nothing seems to refer to it, and it cannot be read: {error.message}",
        stream=stream,
        remedy="nothing; `headstream gc` leaves it, and what follows it, alone: remove it when the store is clean",
        grave=False,
    )
