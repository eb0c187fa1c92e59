"""Garbage: what no head refers to, and no head ever will.

An append makes its segments, index pages and snapshots before it tries the head. When the head refuses it, or its process dies, they stay. A sweep
looks at one page of the objects of one stream::

    1  LIST some objects of the stream
    2  GET its head
    3  GET the index pages that lead to those objects   -> the head refers to it: live
                                                        -> its attempt is younger than the grace: left for the next time
                                                        -> else: a candidate
    4  GET the candidates                               -> for their sizes, and what they prove (rule 6)
    5  fence the head of 2                              -> done: all candidates are dead
                                                        -> somebody else has written the head since: GET it, compare
                                                           again as in 3, and what it does not refer to is dead
                                                        -> the head is still the one of 2: again from 5
    6  DELETE what is dead

Rules, and what each leans on:

1. An object is named by its attempt, and no other attempt refers to it unless that one's head does already: it is live exactly if the head refers to it, by
   itself or through index pages, which never change. Heads only gain references to segments and pages, so of these what is live stays live. A snapshot that a head
   no longer names is named by no later one.
2. An attempt is built on a head that it knows before it makes any object, and it takes effect only on that very head (append, rules 1 to 3). So
   the attempts of the objects of 1 were built on the head of 2, or on earlier ones (*a get sees every write that was answered before it*). Listed
   after the head, an object might belong to an attempt on a later one.
3. Once the head is another than that of 2, none of these attempts can take effect any more, however late it arrives: a head's content never repeats. It does
   not matter who wrote it: the fence of 5 does so where nobody else does. What that later head does not refer to, no head ever will.
4. So a candidate is compared with the head of 2 if the fence took effect, for that head and the fenced one have the same references; else with the one that
   took its place. Deletions may be late, repeated, and made by several: what is dead stays dead.
5. A stream that has no head is fenced by one of version 0: the first append can then no longer create it.
6. Apart from its attempt's own changeset, an object holds only what was committed before it was made. If that reaches beyond the head, then
   the head is gone, or an old copy was put in its place, and the objects are what it can be mended from: :class:`CorruptData`, and nothing is deleted. The same for an
   object that cannot be decoded, and for an index page that is missing. A snapshot of a version that the head has proves nothing, whatever is in it.
7. Age decides nothing but whom a fence disturbs. It is judged by the id of the attempt and this machine's clock, so wrong clocks
   cost a writer a second try, and nothing else. An id from the future is old too: it waits for nobody.
8. Names that nobody here makes are reported, and never deleted.

Whoever reads is not disturbed: but for snapshots, and unless the head was rebuilt meanwhile, an older head refers to nothing that the newest does not lead to; and who finds a snapshot gone reads the head again. A dry run makes steps 1 to 4.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from headstream import limits
from headstream.errors import CorruptData
from headstream.protocol import codec, head, keys, snapshot
from headstream.protocol.head import Known, Span, State, spans, spans_of
from headstream.protocol.ops import (
    FAULTS,
    Commit,
    Delete,
    Found,
    Gen,
    Get,
    GetAnswer,
    GetMany,
    List,
    Page,
    Pause,
    Stamp,
    Stored,
    unavailable,
)
from headstream.protocol.read import load_head
from headstream.protocol.segment import PageFields, Ref, SegmentFields, decode_page, decode_segment

_AGAIN: Final = "the storage did not answer while garbage was collected; nothing is lost: run it again later"


class Tally(msgspec.Struct, frozen=True):
    """Some objects: how many, and their bytes as stored."""

    objects: int = 0
    size: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.objects + other.objects, self.size + other.size)


class Place(msgspec.Struct, frozen=True):
    """How far the sweep of a stream has come."""

    after: str = ""
    """The key after which it goes on, or the folder that it goes on with."""
    known: Known | None = None
    """The head as it was seen last, to save its body."""


class Swept(msgspec.Struct, frozen=True):
    """What the sweep of some objects of a stream found. In a dry run nothing was removed, and it says what would be."""

    stream: str
    segments: Tally = Tally()
    """Removed."""
    pages: Tally = Tally()
    """Removed."""
    snapshots: Tally = Tally()
    """Removed."""
    looked: int = 0
    """Objects that were looked at."""
    left: int = 0
    """Objects that are garbage and could not be removed this time: the head took no fence."""
    fences: int = 0
    """How often the head was fenced."""
    unknown: tuple[str, ...] = ()
    """Keys that nobody here makes."""
    rest: Place | None = None
    """Where the sweep goes on; ``None`` at the end of the stream's objects."""

    def __add__(self, later: Swept) -> Swept:
        """This and the steps after it."""
        return Swept(
            self.stream,
            self.segments + later.segments,
            self.pages + later.pages,
            self.snapshots + later.snapshots,
            self.looked + later.looked,
            self.left + later.left,
            self.fences + later.fences,
            self.unknown + later.unknown,
            later.rest,
        )


class _Named(msgspec.Struct, frozen=True):
    """What the key of a segment (level 0), of an index page or of a snapshot says."""

    key: str
    level: int
    first: int
    """The first version that it covers; of a snapshot, the version that it is of."""
    id: bytes


class _Outcome(msgspec.Struct, frozen=True):
    """What became of the old objects of one page of a list."""

    known: Known
    """The head as it was seen last."""
    removed: Tally = Tally()
    left: int = 0
    fenced: bool = False


KINDS: Final = (keys.SEGMENTS, keys.INDEX, keys.SNAPSHOTS)
"""The folders in which an append makes objects, in the order in which they are swept."""
_OBJECT: Final = re.compile(r"(?P<first>[0-9]{16})-(?P<id>[0-9a-f]{32})")
_PAGE: Final = re.compile(rf"(?P<level>[1-9][0-9]?)-{_OBJECT.pattern}")
_segment_fields: Final = msgspec.msgpack.Decoder(SegmentFields)
_page_fields: Final = msgspec.msgpack.Decoder(PageFields)
_BEGINNING: Final = Place()


# --- the objects of a stream ---------------------------------------------------------------------------------------


def sweep(stream: str, *, grace: int, dry: bool, now: int | None = None, place: Place = _BEGINNING) -> Gen[Swept]:
    """Remove what is garbage among the next objects of a stream, from ``place`` on: those of one page of a list.

    ``grace``: in seconds; objects of younger attempts are left. ``now``: microseconds since 1970-01-01 UTC; by default this
    machine's clock. ``dry``: look only, and write nothing. Hand :attr:`Swept.rest` back as ``place`` until it is ``None``.

    Raises :class:`CorruptData` when the stream is damaged, :class:`Unavailable`, and what a backend raises for good.
    """
    if now is None:
        now = (yield from Stamp()).micros
    folders = [f"{kind}{keys.escape(stream)}/" for kind in KINDS]
    number = next((number for number, folder in enumerate(folders) if place.after.startswith(folder)), 0)
    kind, folder = KINDS[number], folders[number]
    page = yield from list_page(folder, place.after)
    named, unknown = _parse(page.keys, folder, _PAGE if kind == keys.INDEX else _OBJECT)
    known = place.known
    removed, left, fenced = Tally(), 0, False
    if old := [name for name in named if is_old(name.id, grace, now)]:
        known = yield from load_head(stream, known)
        outcome = yield from _remove(known, old, dry=dry)
        known, removed, left, fenced = outcome.known, outcome.removed, outcome.left, outcome.fenced
    after = end_of(page) or (folders[number + 1] if number + 1 < len(folders) else None)
    return Swept(
        stream,
        segments=removed if kind == keys.SEGMENTS else Tally(),
        pages=removed if kind == keys.INDEX else Tally(),
        snapshots=removed if kind == keys.SNAPSHOTS else Tally(),
        looked=len(page.keys),
        left=left,
        fences=int(fenced),
        unknown=unknown,
        rest=Place(after, known) if after is not None else None,
    )


def is_old(attempt: bytes, grace: int, now: int) -> bool:
    """Whether an attempt with this id should have been over long ago (rule 7); ``grace`` in seconds, ``now`` in microseconds."""
    return abs(now // 1000 - int.from_bytes(attempt[:6], "big")) > grace * 1000


def _parse(found: Iterable[str], folder: str, pattern: re.Pattern[str]) -> tuple[list[_Named], tuple[str, ...]]:
    """What the keys in a folder say, and those that say nothing."""
    named: list[_Named] = []
    unknown: list[str] = []
    for key in found:
        parts = pattern.fullmatch(key, len(folder))
        if parts is None or int(parts["first"]) == 0:
            unknown.append(key)
        else:
            level = int(parts["level"]) if pattern is _PAGE else 0
            named.append(_Named(key, level, int(parts["first"]), bytes.fromhex(parts["id"])))
    return named, tuple(unknown)


def _remove(known: Known, old: Sequence[_Named], *, dry: bool) -> Gen[_Outcome]:
    """Steps 3 to 6: of old objects, remove those to which neither the head refers nor any later one can."""
    candidates = yield from _unreferenced(known, old)
    sizes = yield from _weigh(known.state, candidates)
    candidates = [name for name in candidates if name.key in sizes]
    if not candidates or dry:
        return _Outcome(known, _tally(candidates, sizes))
    seen, fenced = yield from _outdate(known)
    if seen is None:
        return _Outcome(known, left=len(candidates))
    dead = candidates if fenced else (yield from _unreferenced(seen, candidates))
    yield from delete([name.key for name in dead])
    return _Outcome(seen, _tally(dead, sizes), fenced=fenced)


def _tally(names: Sequence[_Named], sizes: dict[str, int]) -> Tally:
    return Tally(len(names), sum([sizes[name.key] for name in names]))


def _outdate(known: Known) -> Gen[tuple[Known | None, bool]]:
    """Step 5: a head that is another than ``known``, and whether it is the fenced one; none if ``known`` will not go away."""
    fenced = head.fenced(known.state)
    for attempt in range(limits.FAULT_ATTEMPTS):
        with suppress(*FAULTS):  # what became of it is seen below
            answer = yield from Commit((), head.put(fenced, known.etag))
            if isinstance(answer, Stored):
                return Known(fenced, answer.etag), True
        seen = yield from load_head(known.state.stream, known)
        if seen.etag != known.etag:
            if seen.state.age < known.state.age:
                raise CorruptData("the head went back while garbage was collected", key=keys.head(known.state.stream))
            return seen, False
        yield from Pause(min(limits.FAULT_PAUSE[0] * 2.0**attempt, limits.FAULT_PAUSE[1]))
    return None, False


# --- what a head refers to -----------------------------------------------------------------------------------------


def _unreferenced(known: Known, names: Sequence[_Named]) -> Gen[list[_Named]]:
    """Step 3: those of ``names`` that the head does not refer to. Only index pages that may lead to one of them are read."""
    stream = known.state.stream
    referenced = {key for entry in known.state.snapshots if (key := entry.key(stream)) is not None}
    run = spans(known.state.fields)
    while run:  # one level lower each time
        referenced.update([span.key(stream) for span in run])
        pages = _leading(run, names)
        run = []
        for start in range(0, len(pages), limits.READ_WINDOW_OBJECTS):
            some = pages[start : start + limits.READ_WINDOW_OBJECTS]
            answers = yield from _get_many([span.key(stream) for span in some])
            for span, answer in zip(some, answers, strict=True):
                run += _opened(stream, span, answer)
    return [name for name in names if name.key not in referenced]


def _leading(run: Sequence[Span], names: Sequence[_Named]) -> list[Span]:
    """The index pages among ``run`` that cover the first version of a name of a lower level."""
    firsts = {
        level: sorted([name.first for name in names if name.level < level]) for level in {span.level for span in run}
    }
    return [
        span
        for span in run
        if span.level > 0
        and bisect_left(firsts[span.level], span.ref.first) < bisect_right(firsts[span.level], span.last)
    ]


def _opened(stream: str, span: Span, answer: GetAnswer) -> list[Span]:
    """What an index page refers to."""
    key = span.key(stream)
    if not isinstance(answer, Found):
        raise CorruptData("an index page that the stream needs is missing", key=key)
    refs = decode_page(answer.body, key, stream, span.ref, span.level)
    return spans_of([(span.level - 1, ref) for ref in refs], span.last)


# --- what garbage is -----------------------------------------------------------------------------------------------


def _weigh(state: State, names: Sequence[_Named]) -> Gen[dict[str, int]]:
    """Step 4: the bytes of each object that is still there, as stored. It makes sure of rule 6."""
    by_key = {name.key: name for name in names}

    def look(key: str, body: bytes) -> None:
        _check_reach(state, by_key[key], body)

    return (yield from weigh(tuple(by_key), look))


def _check_reach(state: State, name: _Named, body: bytes) -> None:
    """What was committed before the object was made must be in the stream (rule 6)."""
    if name.key.startswith(keys.SNAPSHOTS):
        if name.first <= state.version:  # what was committed before it is older still: it need not be decoded
            return
        reach = snapshot.decode(body, name.key, state.stream)[0].follows
    elif name.level:
        reach = _reach_of_page(state.stream, name, body)
    else:
        reach = _reach_of_segment(state.stream, name, body)
    if reach > state.version:
        raise CorruptData(
            f"the head is gone, or an old copy of it is in its place: it has version {state.version}, and "
            f"{name.key!r} was made after version {reach} was appended; see `headstream verify`",
            key=keys.head(state.stream),
        )


def _reach_of_segment(stream: str, name: _Named, body: bytes) -> int:
    """The last version that was committed before the segment was made."""
    fields, _ = codec.unseal("segment", body, name.key, _segment_fields, extra=1)
    segment = decode_segment(body, name.key, stream, Ref(name.first, name.id, fields.size), fields.last)
    newest = segment.chain[-1]
    return newest.follows if newest.id == name.id else newest.version


def _reach_of_page(stream: str, name: _Named, body: bytes) -> int:
    """A version that was committed before the page was made: what it refers to was there already."""
    fields, _ = codec.unseal("page", body, name.key, _page_fields)
    ref = Ref(name.first, name.id, sum([entry.size for entry in fields.refs]))
    return decode_page(body, name.key, stream, ref, name.level)[-1].first


# --- requests ------------------------------------------------------------------------------------------------------


def list_page(prefix: str, after: str) -> Gen[Page]:
    """Some keys. Raises :class:`Unavailable`."""
    try:
        return (yield from List(prefix, after))
    except FAULTS as fault:
        raise unavailable(_AGAIN, fault, prefix=prefix) from fault


def end_of(page: Page) -> str | None:
    """The key after which a list goes on, if there may be more."""
    return page.keys[-1] if page.more and page.keys else None


def weigh(names: Sequence[str], look: Callable[[str, bytes], None] = lambda _key, _body: None) -> Gen[dict[str, int]]:
    """The bytes of each object that is still there; each is handed to ``look``. A list has no sizes, so the bodies are read: as many
    at once as would fit in ``READ_WINDOW`` if all were as large as the largest yet. Raises :class:`Unavailable`.
    """
    sizes: dict[str, int] = {}
    start, window = 0, 1
    while start < len(names):
        some = names[start : start + window]
        for name, answer in zip(some, (yield from _get_many(some)), strict=True):
            if isinstance(answer, Found):
                look(name, answer.body)
                sizes[name] = len(answer.body)
        start += window
        window = max(1, min(limits.READ_WINDOW // max(sizes.values(), default=1), limits.READ_WINDOW_OBJECTS))
    return sizes


def _get_many(names: Sequence[str]) -> Gen[tuple[GetAnswer, ...]]:
    try:
        return (yield from GetMany(tuple([Get(name) for name in names])))
    except FAULTS as fault:
        raise unavailable(_AGAIN, fault, key=names[0]) from fault


def delete(names: Iterable[str]) -> Gen[None]:
    """Remove objects, if there are any to be removed. Raises :class:`Unavailable`."""
    if some := tuple(names):
        try:
            yield from Delete(some)
        except FAULTS as fault:
            raise unavailable(_AGAIN, fault, key=some[0]) from fault
