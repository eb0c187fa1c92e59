"""Checking what is in a store besides the objects of streams: heads by their names, the inbox, checkpoints, the description.

Rules:

* Each step looks at one page of a list.
* An object that was listed and is gone when it is asked for was settled or forgotten meanwhile: that is no fault.
* What is in the feed, and whose intent nevertheless lies in the inbox, was settled by the feed's newest changeset: each advance deletes what
  the one before it settled. Any other such intent would be published again.
* An intent is sent by a writer that saw its stream at the version that it follows: a head that is read later and has a lower one went back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from headstream import limits
from headstream.errors import CorruptData, HeadstreamError, UnsupportedFormat
from headstream.protocol import checkpoint, fault, intent, keys, store
from headstream.protocol.census import Census
from headstream.protocol.checkpoint import Checkpoint
from headstream.protocol.fault import Fault, Kind
from headstream.protocol.intent import Announced, announced
from headstream.protocol.ops import FAULTS, Found, Gen, List, Page, unavailable
from headstream.protocol.read import changesets, load_head
from headstream.protocol.store import Description
from headstream.protocol.verify import AGAIN, get_many

_DAMAGE: Final = (CorruptData, UnsupportedFormat)


class Heads(msgspec.Struct, frozen=True):
    """Some of the streams that have a head, in the order of their keys."""

    streams: list[str]
    faults: list[Fault]
    rest: str | None
    """The key to go on after, if there may be more."""


class Mail(msgspec.Struct, frozen=True):
    """Some of the intents."""

    intents: int
    faults: list[Fault]
    rest: str | None


class Checkpoints(msgspec.Struct, frozen=True):
    """Some of the checkpoints."""

    found: list[Checkpoint]
    faults: list[Fault]
    rest: str | None


def describe_store(expected: Description) -> Gen[list[Fault]]:
    """Whether the description is still what the store was opened with."""
    (answer,) = yield from get_many((keys.STORE,))
    if not isinstance(answer, Found):
        return [fault.description("the description of the store is missing", Kind.MISSING)]
    try:
        found = store.decode(answer.body)
    except HeadstreamError as error:  # what it says cannot be read, is of another format, or is out of range
        return [fault.description(error.message, Kind.DAMAGED)]
    if found != expected:
        return [fault.description("it is not what the store was opened with")]
    return []


def heads(after: str = "") -> Gen[Heads]:
    """Some of the heads. Raises :class:`Unavailable`."""
    page = yield from list_page(keys.HEADS, after)
    streams: list[str] = []
    faults: list[Fault] = []
    for key in page.keys:
        try:
            stream = keys.stream_of_head(key)
        except CorruptData as error:
            faults.append(fault.unknown(key, error.message, grave=True))
        else:
            if stream:
                streams.append(stream)
            else:
                faults.append(fault.unknown(key, "a head has no name", grave=True))
    return Heads(streams, faults, rest_of(page))


# --- the inbox -----------------------------------------------------------------------------------------------------


def inbox(census: Census, versions: Mapping[str, int], after: str = "") -> Gen[Mail]:
    """Some of the intents, after the streams were checked: ``versions`` are those that they had. Raises :class:`Unavailable`."""
    page = yield from list_page(keys.INBOX, after)
    entries: list[Announced] = []
    faults: list[Fault] = []
    for key in page.keys:
        try:
            entries.append(announced(key))
        except CorruptData as error:
            faults.append(fault.unknown(key, error.message, grave=True))
    for start in range(0, len(entries), limits.FEED_HEADS):
        faults += yield from _read_intents(entries[start : start + limits.FEED_HEADS])
    doubtful: dict[str, list[Announced]] = {}
    for entry in entries:
        if _is_published(entry, census) or entry.follows > versions.get(entry.stream, -1):
            doubtful.setdefault(entry.stream, []).append(entry)
    for stream, some in doubtful.items():
        faults += yield from _doubt(stream, some, census)
    return Mail(len(entries), faults, rest_of(page))


def _is_published(entry: Announced, census: Census) -> bool:
    """Whether the feed has the changeset, if it was committed: for certain, that is if it has all of the stream up to there."""
    published = census.of(entry.stream)
    return published.digest is not None and entry.follows < published.version and entry.id not in census.settled


def _read_intents(entries: list[Announced]) -> Gen[list[Fault]]:
    answers = yield from get_many(tuple([entry.key for entry in entries]))
    faults: list[Fault] = []
    for entry, answer in zip(entries, answers, strict=True):
        if isinstance(answer, Found):
            try:
                intent.decode(answer.body, entry.key)
            except _DAMAGE as error:
                faults.append(fault.damaged_intent(entry.stream, entry.key, error))
    return faults


def _doubt(stream: str, entries: list[Announced], census: Census) -> Gen[list[Fault]]:
    """Intents of one stream that are in the feed already, if they were committed; or that are ahead of the stream."""
    try:
        known = yield from load_head(stream, None)
        version = known.state.version
        published = [entry for entry in entries if _is_published(entry, census) and entry.follows < version]
        follows = sorted({entry.follows for entry in published})
        committed: dict[int, bytes] = {}
        while follows:
            chain, answered = yield from changesets(known, follows)
            committed.update({frame.follows: frame.id for frame in chain})
            follows = follows[answered:]
    except _DAMAGE:  # the stream has a fault of its own
        return []
    faults = [
        fault.left_over(stream, entry.key, entry.follows)
        for entry in published
        if entry.id == committed.get(entry.follows)
    ]
    ahead = max([entry.follows for entry in entries])
    if ahead > version:
        announced_after = f"an append after version {ahead} was announced"
        if known.etag is None:
            faults.append(fault.missing_head(stream, f"the head is missing: {announced_after}"))
        else:
            faults.append(fault.behind(stream, version, announced_after, ahead))
    return faults


# --- checkpoints ---------------------------------------------------------------------------------------------------


def checkpoints(after: str = "") -> Gen[Checkpoints]:
    """Some of the checkpoints. Raises :class:`Unavailable`."""
    page = yield from list_page(keys.CHECKPOINTS, after)
    found: list[Checkpoint] = []
    faults: list[Fault] = []
    for start in range(0, len(page.keys), limits.FEED_HEADS):
        some = page.keys[start : start + limits.FEED_HEADS]
        answers = yield from get_many(some)
        for key, answer in zip(some, answers, strict=True):
            if isinstance(answer, Found):
                try:
                    found.append(checkpoint.decode(answer.body, key, answer.etag))
                except _DAMAGE as error:
                    faults.append(fault.damaged_checkpoint(key, error))
    return Checkpoints(found, faults, rest_of(page))


# --- lists ---------------------------------------------------------------------------------------------------------


def list_page(prefix: str, after: str) -> Gen[Page]:
    """Some keys. Raises :class:`Unavailable`."""
    try:
        return (yield from List(prefix, after))
    except FAULTS as error:
        raise unavailable(AGAIN, error, prefix=prefix) from error


def rest_of(page: Page) -> str | None:
    """The key after which a list goes on, if there may be more."""
    return page.keys[-1] if page.more and page.keys else None


def missing_intents(names: tuple[str, ...]) -> Gen[list[bool]]:
    """Of some intents, which are not in the inbox. Raises :class:`Unavailable`."""
    answers: list[bool] = []
    for start in range(0, len(names), limits.FEED_HEADS):
        some = yield from get_many(names[start : start + limits.FEED_HEADS])
        answers += [not isinstance(answer, Found) for answer in some]
    return answers
