"""Appending: one changeset, atomically, after the version that the caller expects.

Rules, and what each leans on:

1. The head moves only by a conditional write on the etag of the head that the changeset was built on. So a changeset is in the stream exactly
   if its conditional write took effect, and the same etag is won at most once (*the condition is checked and applied
   atomically*).
2. Everything the new head refers to, and its intent, is durable before the head is tried (*Commit*).
3. Every attempt has a fresh changeset id (above that of the changeset before it), in its frame, its intent and the names of its objects, and is sent once. A late effect of an old
   attempt can only be that attempt's own commit, and only while its etag still stands.
4. An attempt that was not acknowledged stays *open* until the stream has grown past the version it follows; even one that
   was refused, since a gateway may have sent it twice, or answered for a server that had acted. What then follows that
   version decides: an open attempt's own id, and the append has succeeded; anybody else's, and every open attempt is
   dead, for its etag is spent. Looking at the newest changeset instead would be wrong: others may have built on ours.
5. While an attempt is open, the append may try again, at the same version only. If both land, one of them loses (1).
6. An error that is raised while an attempt is open is :class:`OutcomeUnknown`; otherwise nothing was written.
7. A head that the client knows from before may be stale. It is good enough to try a commit on (1). One that was seen a moment ago is good enough to
   report a conflict with a version that the stream has left behind, since it never comes back to it; a moment, for a store can be set back, by a
   copy or a repair that accepts a loss. Any other mismatch is judged on a head that was read during this append.
8. A changeset with the append's key, where the key is looked for, is the append's own if it has the same events (:mod:`headstream.protocol.repetition`).
   With other events it is :class:`KeyReused`: to call that a success would drop them, and to append them would break the promise of the key.
9. An append that loses race after race raises the fence of the head (:mod:`headstream.protocol.rivals`, rule 4). The version stays, so attempts that are
   open stay so (4); they cannot land any more, as their etag is spent.
10. A refusal after which the head has not changed is a fault, and no race (:mod:`headstream.protocol.rivals`, rule 6). Its attempt stays open all the same (4).
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import msgspec

from headstream import limits
from headstream.errors import (
    CorruptData,
    HeadstreamError,
    InvalidInput,
    KeyReused,
    OutcomeUnknown,
    WrongExpectedVersion,
    why,
)
from headstream.model import Expected, Settings
from headstream.protocol import codec, head, intent, keys
from headstream.protocol.codec import Batch, Chain, Frame
from headstream.protocol.head import Change, Known
from headstream.protocol.intent import Intent
from headstream.protocol.ops import FAULTS, Commit, Fault, Gen, NotApplied, Refused, Stamp, Stored, unavailable
from headstream.protocol.read import changeset_after, load_head, newest_segment, tail_chain
from headstream.protocol.repetition import is_same
from headstream.protocol.rivals import Races, Spent
from headstream.protocol.snapshot import Kept


class Proposal(msgspec.Struct, frozen=True):
    """What the caller wants appended."""

    stream: str
    rows: bytes
    """The events, from :func:`encoding.encode_events`."""
    events: int
    """How many they are."""
    expected: int | Expected
    """A version, ``ANY`` or ``EXISTS`` (``NO_STREAM`` is version 0)."""
    key: str | None = None
    settled: tuple[bytes, ...] | None = None
    """In the feed: the intents that this settles."""
    kept: Kept | None = None
    """The state after the events, to be kept with them. It takes a version as ``expected``, for it is of no other."""
    adopts: bool = False
    """Whether a changeset with the key is the result even if its events are others: then the caller looks at them."""


class Appended(msgspec.Struct, frozen=True):
    """The changeset is in the stream: by this append, or by an earlier one with the same key."""

    changeset_id: bytes
    version: int
    """The version of the stream after it."""
    known: Known
    """The newest head that was seen; it may be past ``version``."""
    lost: int = 0
    """Races that it lost before."""


class _Open(msgspec.Struct):
    """Attempts that were not acknowledged, all of which follow the same version (rules 4 and 5)."""

    follows: int = 0
    ids: list[bytes] = []
    made: list[str] = []
    """Keys of the segments, pages and snapshots of all attempts."""


def append(
    settings: Settings,
    proposal: Proposal,
    known: Known | None,
    remember: Callable[[Known], None] = lambda _known: None,
    *,
    just_saw: Callable[[Known], bool] = lambda _known: False,
    made: list[str] | None = None,
) -> Gen[Appended]:
    """Append the changeset, trying again after races and faults as far as that is safe.

    ``known`` is the stream's head as the caller last saw it, if it did. Each head that is read on the way is handed to
    ``remember``, so that a caller who lost a race has what it needs next. ``just_saw`` says whether a head is as good as one that is read now. The keys of the objects that were made for attempts are added
    to ``made``: after :class:`WrongExpectedVersion` all of them are garbage.

    Raises :class:`WrongExpectedVersion`, :class:`KeyReused`, :class:`OutcomeUnknown`, :class:`Unavailable`, :class:`CorruptData`,
    and what a backend raises for good (``AccessDenied``, ``StoreNotFound``).
    """
    still_open = _Open(made=[] if made is None else made)
    try:
        return (yield from _append(settings, proposal, known, still_open, remember, just_saw=just_saw))
    except HeadstreamError as error:
        if not still_open.ids:
            raise
        raise OutcomeUnknown(
            "the append may or may not have happened: repeat it with the same key, or look for these changeset ids",
            stream=proposal.stream,
            follows=still_open.follows,
            changeset_ids=tuple(str(UUID(bytes=attempt)) for attempt in still_open.ids),
            **why(error),
        ) from error


def _append(
    settings: Settings,
    proposal: Proposal,
    known: Known | None,
    still_open: _Open,
    remember: Callable[[Known], None],
    *,
    just_saw: Callable[[Known], bool],
) -> Gen[Appended]:
    fresh = False
    races = Races()
    last: Fault | None = None
    while True:  # until one of two counts is used up; a last look at the head comes before that is said
        if known is None:
            known = yield from load_head(proposal.stream, None)
            fresh = True
            remember(known)
            if (done := (yield from _settle(known, still_open))) is not None:
                return done
            last = (yield from races.judge(known.etag)) or last
        version = known.state.fields.version
        if not _fits(proposal.expected, version):
            if fresh or (_is_past(proposal.expected, version) and just_saw(known)):
                return (yield from _mismatch(known, proposal))
            known = None
            continue
        _check_patience(proposal, races, last)
        if proposal.key is not None and (done := (yield from _duplicate(known, proposal, proposal.key))) is not None:
            return done
        try:
            answer = yield from _try(settings, proposal, known, still_open, races)
            if isinstance(answer, Appended):
                return answer
        except FAULTS as fault:
            last = fault
            known = known if isinstance(fault, NotApplied) else None
            pause = races.fail()
        else:
            known, races.spent = None, answer
            pause = races.lose()
        yield from pause


def _try(
    settings: Settings, proposal: Proposal, known: Known, still_open: _Open, races: Races
) -> Gen[Appended | Spent]:
    """One attempt, on a head whose fence is raised first if need be."""
    ground = yield from _knock(known, proposal, races)
    if isinstance(ground, Refused):
        return Spent(known.etag, ground)
    answer = yield from _attempt(settings, proposal, ground, still_open)
    if isinstance(answer, Refused):
        return Spent(ground.etag, answer)
    return msgspec.structs.replace(answer, lost=races.lost) if races.lost else answer


def _knock(known: Known, proposal: Proposal, races: Races) -> Gen[Known | Refused]:
    """The head to build on: as it is, or with its fence raised after too many lost races, unless another was faster again (rule 9)."""
    if not isinstance(proposal.expected, Expected) or not races.knocks(known.state.fields.fence) or known.etag is None:
        return known
    state = head.fenced(known.state)
    answer = yield from Commit((), head.put(state, known.etag))
    return Known(state, answer.etag) if isinstance(answer, Stored) else answer


def _check_patience(proposal: Proposal, races: Races, last: Fault | None) -> None:
    if races.exhausted:
        raise unavailable(
            "the append was given up; nothing was written: try again later",
            last,
            stream=proposal.stream,
            lost_races=races.lost,
            faults=races.faults + races.untrue,
        ) from last


def _attempt(settings: Settings, proposal: Proposal, known: Known, still_open: _Open) -> Gen[Appended | Refused]:
    """One commit."""
    state, stream = known.state, proposal.stream
    version, parent = state.fields.version, state.fields.changeset_id
    if version + proposal.events > limits.MAX_VERSION:
        raise InvalidInput(f"a stream has at most {limits.MAX_VERSION} events", stream=stream)
    stamp = yield from Stamp(parent)
    frame = codec.encode_frame(stamp.id, parent, version, stamp.micros, key=proposal.key, rows=proposal.rows)
    grown, prelude = head.follow(
        state, Change(stamp.id, frame, proposal.events, proposal.settled, proposal.kept), settings
    )
    objects = [put.key for put in prelude]
    still_open.made += objects
    if settings.feed:
        prelude = (intent.put(Intent(stamp.id, stream, version, stamp.micros, objects)), *prelude)
    assert not still_open.ids or still_open.follows == version
    still_open.follows = version
    still_open.ids.append(stamp.id)
    try:
        answer = yield from Commit(prelude, head.put(grown, known.etag))
    except (NotApplied, HeadstreamError):  # it was certainly not written
        still_open.ids.pop()
        raise
    if not isinstance(answer, Stored):
        return answer
    return Appended(stamp.id, version + proposal.events, Known(grown, answer.etag))


def _settle(known: Known, still_open: _Open) -> Gen[Appended | None]:
    """What became of the open attempts, now that the head was read again (rule 4)."""
    if not still_open.ids or known.state.version == still_open.follows:
        return None
    _check_growth(known, still_open.follows)
    frame = yield from changeset_after(known, still_open.follows)
    if frame.id in still_open.ids:
        return Appended(frame.id, frame.version, known)
    still_open.ids.clear()
    return None


def _check_growth(known: Known, version: int) -> None:
    if known.state.version < version:
        raise CorruptData(
            f"the head went back from version {version} to {known.state.version}", key=keys.head(known.state.stream)
        )


def _fits(expected: int | Expected, version: int) -> bool:
    return version == expected or expected is Expected.ANY or (expected is Expected.EXISTS and version > 0)


def _is_past(expected: int | Expected, version: int) -> bool:
    return isinstance(expected, int) and expected < version


def _mismatch(known: Known, proposal: Proposal) -> Gen[Appended]:
    """The stream is not where the caller expected it: the result of the same append made earlier, or the conflict."""
    expected, actual = proposal.expected, known.state.version
    if isinstance(expected, int) and proposal.key is not None and expected < actual:
        frame = yield from changeset_after(known, expected)
        if frame.follows == expected and frame.key == proposal.key:
            return _earlier(known, proposal, frame)
    raise WrongExpectedVersion(
        "the stream is not at the expected version; nothing was written: read it again, then decide again",
        stream=proposal.stream,
        expected=expected if isinstance(expected, int) else expected.value,
        actual=actual,
    )


def _duplicate(known: Known, proposal: Proposal, key: str) -> Gen[Appended | None]:
    """With no expected version: the result of the same append in the tail or the newest segment."""
    if not isinstance(proposal.expected, Expected):
        return None
    found = _with_key(tail_chain(known), key) or _with_key((yield from newest_segment(known)), key)
    return _earlier(known, proposal, found) if found is not None else None


def _earlier(known: Known, proposal: Proposal, found: Frame | Batch) -> Appended:
    """The result of the append that a changeset with its key is of (rule 8)."""
    assert isinstance(found, Frame), "the feed has no keys"
    if proposal.adopts or is_same(found.events, proposal.rows):
        return Appended(found.id, found.version, known)
    raise KeyReused(
        "the key belongs to an earlier append of other events; nothing was written: repeat that one with the events that it had, "
        "or take another key for these",
        stream=proposal.stream,
        key=proposal.key or "",
        version=found.version,
    )


def _with_key(chain: Chain, key: str) -> Frame | Batch | None:
    return next((frame for frame in reversed(chain) if frame.key == key), None)
