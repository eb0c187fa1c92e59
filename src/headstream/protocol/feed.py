"""The feed: every event of the store in one order, itself the stream ``$feed``. Whoever wants to read it may advance it.

An advance moves committed changesets from the inbox into the feed::

    survey    1  GET the feed's head
              2  LIST the inbox                      -> first: what is known to be announced
              3  LIST the inbox again                -> second: what may be settled
              4  DELETE what is in the second list and in the head of 1 as settled: a crash left it there
    publish   5  GET the heads of the streams of the oldest intents (:mod:`headstream.protocol.verdicts`)
              6  for every intent of the second list:
                   no intent of the first list follows this version of the stream, or a later one
                                                     -> leave it to the next survey
                   its changeset is in the stream    -> publish it
                   the stream has grown past it      -> it is dead: delete the objects that were made for it, and the intent
                   its stream cannot be read         -> leave it, and all of the stream that follows it (rule 9)
                  else, younger than the grace      -> leave it
                   else                              -> fence the head, then it is dead
              7  append the events to the feed, at the version of 1, with the settled intents listed in the new head
    clear     8  DELETE the settled intents; whoever waits for the events has them before that
              and again from 5 for the next oldest, until the second list is used up.

Rules, and what each leans on:

1. Of one stream, an intent is sent only when the changesets before it were committed, and so announced (append, rules 1 and 2). So whatever precedes
   an intent of the first list was announced before the second list began, and is in it (*a list misses none that was written
   before it began*), unless it was settled. With one list only, a later changeset could overtake an earlier one. The heads may be
   read at any time after that: so one pair of lists serves many batches.
2. What the second list has is not in the feed of 1, but for what its newest changeset settled: each advance deletes what it settled, and what
   that changeset settled, before it appends the next (4, 8). The intent is not written again, since nothing is sent twice (append, rule 3).
3. The append of 7 takes effect only if the feed is still the one of 1. So of two advances one wins, and nothing is published twice.
4. A dead changeset never comes to life: its etag was spent, by a changeset of another or by the fence. So its intent and its objects may be deleted
   at any time, and by several.
5. A stream that does not exist is fenced by a head of version 0: the first append can then no longer create the head.
6. A head that has not reached the version that an intent follows is gone, or an old copy: nothing is settled by it, for what
   looks dead may be all that is left of the stream.
7. Ids of one stream increase (append, rule 3). So the first keys of the inbox hold the oldest intents of every stream, and an advance may look at a window of
   it: the second list ends where the first one did, or behind what the feed of 1 lists as settled, if that is later (rule 2). Memory is bounded, whatever waits.
8. When an intent is old is judged by its id and this machine's clock. Wrong clocks cost a slow writer a conflict; and a dead intent of a stream
   whose ids are ahead of the clock waits until the stream grows, or the clock is there.

9. What cannot be read stops nothing but itself: the intents of a stream whose head or changesets cannot be read, and dead intents that cannot be read, stay
   where they are. The advance goes on with all others, passes over that stream for the rest of its way, so that no window is full of it, and tells of it
   when it is done. Only what the feed of 1 lists as settled is deleted of it, too (rule 2). An object that is no intent may hide one of any
   stream: it stops the advance.

A committed changeset is never skipped, since its intent is deleted only after the feed has it; each stream keeps its order (1, 7); nothing is
there twice (2, 3). Across streams, events of one batch are in the order of their times, by the clocks of their writers.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType

import msgspec

from headstream import limits
from headstream.errors import OutcomeUnknown, Unavailable, WrongExpectedVersion, why
from headstream.model import FeedEvent, Settings
from headstream.protocol import append, codec, intent, keys
from headstream.protocol.append import Appended, Proposal
from headstream.protocol.codec import Frame
from headstream.protocol.head import Known
from headstream.protocol.intent import Announced
from headstream.protocol.ops import (
    FAULTS,
    Delete,
    Found,
    Gen,
    Get,
    List,
    Stamp,
    unavailable,
)
from headstream.protocol.read import load_head
from headstream.protocol.rivals import after_race
from headstream.protocol.verdicts import AGAIN, DEFECTS, Cached, Committed, Dead, Defect, Verdicts, get_many, look


class Plan(msgspec.Struct, frozen=True):
    """What a survey found, and what is left of it to publish."""

    feed: Known
    rest: tuple[Announced, ...]
    """Of the second list, what the first one makes sure of and what was not dealt with yet; oldest first."""
    more: bool
    """Whether the inbox goes on behind the window."""
    settled: tuple[str, ...] = ()
    """Keys of intents that the newest changeset of the feed settled: they are deleted before the next is appended."""
    verdicts: Verdicts = msgspec.field(default_factory=Verdicts)
    """What is known of the rest already."""

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do, and nothing lies behind the window."""
        return not (self.rest or self.settled or self.more)


class Batch(msgspec.Struct, frozen=True):
    """What one batch did."""

    plan: Plan
    """What is left."""
    published: int = 0
    """Events."""
    settled: int = 0
    """Intents that are dealt with, dead ones included."""
    lost: bool = False
    """Another advance was first, or came after: the plan is void."""
    defects: Mapping[str, Defect] = MappingProxyType({})
    """Keys of dead intents that cannot be read, and why."""


class Progress(msgspec.Struct, frozen=True):
    """How far an advance has come, which takes as many steps as there are batches."""

    plan: Plan | None = None
    done: bool = False
    published: int = 0
    """Events."""
    settled: int = 0
    """Intents."""
    lost: int = 0
    """Batches lost to others, one after the other."""
    window: int = 0
    """Intents to look at; 0 for ``FEED_WINDOW``."""
    idle: bool = True
    """Whether the window has nothing yet that could be settled."""
    unreadable: Mapping[str, Defect] = MappingProxyType({})
    """Streams that were left alone, since they cannot be read (rule 9), and why."""
    defects: Mapping[str, Defect] = MappingProxyType({})
    """The same of objects in the inbox, by their keys."""

    @property
    def problems(self) -> list[Defect]:
        """Why the feed does not have all that was committed before the advance began; empty if it does."""
        return [*self.unreadable.values(), *self.defects.values()]

    def check(self) -> None:
        """Raise the first of the problems, if there is any: with the key of the object, and how many others there are."""
        if not self.problems:
            return
        first, *others = self.problems
        if others:
            more = f"{len(others)} other object{'s' if len(others) > 1 else ''} of the store cannot be read either"
            first = type(first)(f"{first.message}; {more}: run `headstream verify`", **first.details)  # type: ignore[arg-type]
        raise first


def step(settings: Settings, progress: Progress, cached: Cached) -> Gen[Progress]:
    """The next step of an advance: a survey or a batch. When it is done, all that was committed before it began is in the feed, but
    for what :attr:`Progress.problems` tells of.

    Raises :class:`Unavailable`, :class:`CorruptData` for the feed itself, and what a backend raises for good.
    """
    if progress.plan is None:
        window = progress.window or limits.FEED_WINDOW
        plan = yield from survey(cached(keys.FEED), window, progress.unreadable)
        return msgspec.structs.replace(progress, plan=plan, done=plan.finished)
    if progress.plan.settled:
        plan = msgspec.structs.replace(progress.plan, settled=())
        with suppress(*((Unavailable,) if plan.finished else ())):  # at the end of an advance, the next one can do it
            yield from _delete(progress.plan.settled)
        return msgspec.structs.replace(progress, plan=plan, done=plan.finished)
    if not progress.plan.rest:  # the window is used up, and there is more
        window = (progress.window or limits.FEED_WINDOW) * 2 if progress.idle else 0
        return msgspec.structs.replace(progress, plan=None, window=window, idle=True)
    batch = yield from publish(settings, progress.plan, cached)
    lost = progress.lost + 1 if batch.lost else 0
    if batch.lost:
        yield from after_race()
    unreadable = {**progress.unreadable, **progress.plan.verdicts.unreadable}
    return Progress(
        plan=None if batch.lost else batch.plan,
        done=lost >= limits.ADVANCE_ATTEMPTS or (not batch.lost and batch.plan.finished),
        published=progress.published + batch.published,
        settled=progress.settled + batch.settled,
        lost=lost,
        window=progress.window,
        idle=progress.idle and not batch.settled and len(unreadable) == len(progress.unreadable),
        unreadable=unreadable,
        defects={**progress.defects, **batch.defects},
    )


# --- survey ------------------------------------------------------------------------------------------------------


def survey(known: Known | None, window: int, unreadable: Container[str] = ()) -> Gen[Plan]:
    """Steps 1 to 4, for the ``window`` oldest intents; ``known`` is the feed's head as it was seen last.

    ``unreadable``: streams that are passed over (rule 9).
    """
    feed = yield from load_head(keys.FEED, known)
    settled = feed.state.settled
    inbox = _Inbox(settled, unreadable)
    first, more = yield from inbox.list(window, None)
    if not first:
        return Plan(feed, (), more=False)
    sure = {entry.stream: -1 for entry in first}
    for entry in first:
        sure[entry.stream] = max(sure[entry.stream], entry.follows)
    last = max([first[-1].key, *[f"{keys.INBOX}{changeset_id.hex()}~" for changeset_id in settled]]) if more else None
    second, _ = yield from inbox.list(None, last, {entry.key: entry for entry in first})
    yield from _delete([entry.key for entry in second if entry.id in settled])
    rest = [entry for entry in second if entry.id not in settled and entry.follows <= sure.get(entry.stream, -1)]
    return Plan(feed, tuple(rest), more)


class _Inbox:
    """The inbox, without what an advance passes over (rule 9)."""

    def __init__(self, settled: Container[bytes], unreadable: Container[str]) -> None:
        self._settled = settled
        self._unreadable = unreadable

    def list(
        self, window: int | None, last: str | None, seen: Mapping[str, Announced] = MappingProxyType({})
    ) -> Gen[tuple[list[Announced], bool]]:
        """The oldest intents: ``window`` of them, or up to the key ``last``; and whether there may be more."""
        found: list[Announced] = []
        after = ""
        while window is None or len(found) < window:
            try:
                page = yield from List(keys.INBOX, after)
            except FAULTS as fault:
                raise unavailable(AGAIN, fault) from fault
            for key in page.keys:
                if last is not None and key > last:
                    break
                entry = seen.get(key) or intent.announced(key)
                if entry.stream not in self._unreadable or entry.id in self._settled:
                    found.append(entry)
            if not page.more or not page.keys or (last is not None and page.keys[-1] >= last):
                return found, False
            after = page.keys[-1]
        return found, True


# --- publish -----------------------------------------------------------------------------------------------------


class _Harvest:
    """What a batch has collected."""

    def __init__(self) -> None:
        self._times: dict[str, int] = {}
        self.changesets: list[tuple[int, str, Frame]] = []
        """To be published: its time, or that of the one before it in the stream if that is later; stream; frame."""
        self.events = 0
        self._weight = 0

    def publish(self, stream: str, found: Committed) -> bool:
        """Have it published after what the stream has here already, if there is room; the first always has it."""
        frame = found.frame
        events, weight = self.events + len(frame.events), self._weight + found.weight
        if self.changesets and (events > limits.FEED_BATCH_EVENTS or weight > limits.FEED_BATCH_BYTES):
            return False
        self.events, self._weight = events, weight
        self._times[stream] = max(frame.micros, self._times.get(stream, 0))
        self.changesets.append((self._times[stream], stream, frame))
        return True


def publish(settings: Settings, plan: Plan, cached: Cached = lambda _stream: None) -> Gen[Batch]:
    """Steps 5 to 8, for the oldest intents of a plan."""
    stamp = yield from Stamp()
    youngest = stamp.micros // 1000 - settings.grace_seconds * 1000
    verdicts = plan.verdicts
    coming = yield from look(
        verdicts, plan.rest, limits.FEED_BATCH_INTENTS, cached, lambda entry: entry.millis < youngest
    )
    harvest = _Harvest()
    taken: list[Announced] = []
    dead: list[Announced] = []
    left: list[Announced] = []
    behind: set[str] = set()
    """Streams of which something is left, and so everything after it."""
    for entry in plan.rest[: limits.FEED_BATCH_INTENTS]:
        if entry.id in coming:
            continue
        verdict = verdicts.of(entry)
        if isinstance(verdict, Dead):
            dead.append(entry)
        elif verdict is not None and entry.stream not in behind and harvest.publish(entry.stream, verdict):
            taken.append(entry)
        else:
            if not verdicts.is_stuck(entry):  # rule 9
                left.append(entry)
            behind.add(entry.stream)
    feed, lost = plan.feed, False
    if taken:
        appended = yield from _append(settings, feed, harvest.changesets)
        if appended is None:
            return Batch(plan, lost=True)
        feed, lost = appended.known, appended.known.state.version != appended.version
    defects = yield from _bury(dead)
    for entry in (*taken, *dead):
        verdicts.drop(entry)
    rest = (*left, *[entry for entry in plan.rest[limits.FEED_BATCH_INTENTS :] if not verdicts.is_stuck(entry)])
    return Batch(
        Plan(feed, rest, plan.more, tuple([entry.key for entry in taken]), verdicts),
        published=harvest.events,
        settled=len(taken) + len(dead) - len(defects),
        lost=lost,
        defects=defects,
    )


def _append(settings: Settings, feed: Known, harvested: list[tuple[int, str, Frame]]) -> Gen[Appended | None]:
    """Step 7; ``None`` when another advance was first."""
    events: list[FeedEvent] = []
    position = feed.state.version + 1
    harvested.sort(key=lambda entry: entry[0])
    for _, stream, frame in harvested:
        events += frame.published(stream, position + len(events))
    settled = tuple([frame.id for _, _, frame in harvested])
    proposal = Proposal(
        keys.FEED, codec.encode_published(events), len(events), feed.state.version, key=None, settled=settled
    )
    made: list[str] = []
    try:
        return (yield from append.append(feed_settings(settings), proposal, feed, made=made))
    except WrongExpectedVersion:
        pass
    except OutcomeUnknown as error:
        raise Unavailable(AGAIN, **why(error)) from error
    with suppress(Unavailable):  # garbage, which a collection would find too
        yield from _delete(made)
    return None


def feed_settings(settings: Settings) -> Settings:
    """How the feed itself is written: with a longer tail, and announced to nobody."""
    tail = min(limits.FEED_TAIL * settings.tail_bytes, limits.MAX_TAIL)
    return msgspec.structs.replace(settings, tail_bytes=tail, feed=False)


def _bury(dead: Sequence[Announced]) -> Gen[dict[str, Defect]]:
    """Delete what was made for changesets that are dead, then their intents; those that cannot be read stay, and are returned (rule 9)."""
    defects: dict[str, Defect] = {}
    for start in range(0, len(dead), limits.FEED_HEADS):
        some = dead[start : start + limits.FEED_HEADS]
        answers = yield from get_many(tuple([Get(entry.key) for entry in some]))
        orphans: list[str] = []
        for entry, answer in zip(some, answers, strict=True):
            if isinstance(answer, Found):
                try:
                    orphans += intent.decode(answer.body, entry.key).objects
                except DEFECTS as error:
                    defects[entry.key] = error
        yield from _delete(orphans)
        yield from _delete([entry.key for entry in some if entry.key not in defects])
    return defects


def _delete(names: Iterable[str]) -> Gen[None]:
    some = tuple(names)
    if some:
        try:
            yield from Delete(some)
        except FAULTS as fault:
            raise unavailable(AGAIN, fault) from fault
