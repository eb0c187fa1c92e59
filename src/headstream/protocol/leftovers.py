"""What else is left in a store: the folders of streams, objects by which storage was tested, and stale intents.

Rules:

* Each of them looks at one page of a list.
* A folder of segments or index pages may be that of a stream that has no head: only a list of the folders themselves finds it.
* A probe is of no use to anybody but the process that made it, and nothing refers to it. No examination of storage lasts as long as
  ``PROBES_LAST``.
* An intent is settled by an advance of the feed, and by nothing else: it is looked at, and never removed here.
* Names that nobody here makes are reported, and never removed.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from headstream.errors import CorruptData
from headstream.protocol import keys
from headstream.protocol.gc import Tally, delete, end_of, is_old, list_page, weigh
from headstream.protocol.intent import Announced, announced
from headstream.protocol.ops import Gen, Stamp

PROBES_LAST: Final = 2 * 60 * 60
"""Seconds: twice the longest examination that ``headstream doctor`` makes."""


class Folders(msgspec.Struct, frozen=True):
    """Some of the streams that have objects in a folder, in the order of their keys."""

    streams: tuple[str, ...]
    unknown: tuple[str, ...]
    """Keys that lie in no stream's folder."""
    rest: str | None
    """The key to go on after, if there may be more."""


class Probes(msgspec.Struct, frozen=True):
    """What a step found of the objects by which storage was tested."""

    removed: Tally
    unknown: tuple[str, ...]
    rest: str | None


class Inbox(msgspec.Struct, frozen=True):
    """What a step found of the intents."""

    stale: tuple[Announced, ...]
    """Those older than the grace, which the next advance of the feed settles."""
    unknown: tuple[str, ...]
    rest: str | None


_PROBE: Final = re.compile(rf"{keys.PROBES}([0-9a-f]{{32}})(/.+)?")


def folders(folder: str, after: str = "") -> Gen[Folders]:
    """Some of the streams that have objects in ``folder`` (one of ``gc.KINDS``), from the key ``after`` on.

    It lists keys of several folders: a backend that keeps folders as folders may refuse that by :class:`UnsuitableBackend`. The rest of a stream's
    folder is jumped over when a page ends in it. Raises :class:`Unavailable`.
    """
    page = yield from list_page(folder, after)
    streams: dict[str, None] = {}
    unknown: list[str] = []
    for key in page.keys:
        stream = _stream_of(key, folder)
        if stream is None:
            unknown.append(key)
        else:
            streams[stream] = None
    rest = end_of(page)
    if rest is not None and _stream_of(rest, folder) is not None:
        rest = f"{rest[: rest.index('/', len(folder))]}/~"
    return Folders(tuple(streams), tuple(unknown), rest)


def _stream_of(key: str, folder: str) -> str | None:
    """The stream in whose folder a key lies."""
    escaped, slash, _ = key.removeprefix(folder).partition("/")
    try:
        stream = keys.unescape(escaped)
    except ValueError:
        return None
    return stream if slash and keys.escape(stream) == escaped else None


def probes(*, grace: int, dry: bool, now: int | None = None, after: str = "") -> Gen[Probes]:
    """Remove some of the objects by which storage was tested, if their tests should have been over long ago.

    ``grace``, ``now`` and ``dry`` as in :func:`gc.sweep`; no grace is shorter than ``PROBES_LAST``. Raises :class:`Unavailable`.
    """
    if now is None:
        now = (yield from Stamp()).micros
    page = yield from list_page(keys.PROBES, after)
    ids = {key: bytes.fromhex(found[1]) for key in page.keys if (found := _PROBE.fullmatch(key))}
    sizes = yield from weigh([key for key, probe in ids.items() if is_old(probe, max(grace, PROBES_LAST), now)])
    if not dry:
        yield from delete(sizes)
    unknown = tuple([key for key in page.keys if key not in ids])
    return Probes(Tally(len(sizes), sum(sizes.values())), unknown, end_of(page))


def inbox(*, grace: int, now: int | None = None, after: str = "") -> Gen[Inbox]:
    """Some of the intents, of which those that are stale are returned; nothing is removed: that is for an advance of the feed.

    ``grace`` and ``now`` as in :func:`gc.sweep`. Raises :class:`Unavailable`.
    """
    if now is None:
        now = (yield from Stamp()).micros
    page = yield from list_page(keys.INBOX, after)
    stale: list[Announced] = []
    unknown: list[str] = []
    for key in page.keys:
        try:
            entry = announced(key)
        except CorruptData:
            unknown.append(key)
        else:
            if is_old(entry.id, grace, now):
                stale.append(entry)
    return Inbox(tuple(stale), tuple(unknown), end_of(page))
