"""Appending: each branch of the protocol as a story of requests and answers."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import msgspec
import pytest

from headstream import limits
from headstream.errors import (
    AccessDenied,
    CorruptData,
    InvalidInput,
    KeyReused,
    OutcomeUnknown,
    StoreNotFound,
    Unavailable,
    WrongExpectedVersion,
)
from headstream.model import ANY, EXISTS, Event, Expected, FeedEvent, Settings
from headstream.protocol import append as protocol
from headstream.protocol import codec, encoding, head, intent, keys
from headstream.protocol.append import Appended, Proposal
from headstream.protocol.head import Known, State, nothing
from headstream.protocol.intent import Intent
from headstream.protocol.ops import (
    ABSENT,
    MISSING,
    REFUSED,
    Commit,
    Found,
    Matches,
    NotApplied,
    Pause,
    Refused,
    Stored,
    Unknown,
)
from support import shown
from support.script import MICROS, Script, ident
from support.streams import BLOBS, TAIL, Stream

WITH_FEED = Settings(tail_bytes=TAIL.tail_bytes, fan_out=4, feed=True)
EVENTS = [Event("E", 1), Event("E", 2)]
ONE, TWO = [Event("E", b"x")], [Event("E", b"x")] * 2
"""What ``Stream.grow(1)`` and ``Stream.grow(1, 1)`` append."""
MINE, AGAIN, THIRD = 101, 102, 103
"""The stamps of this append's attempts."""
TIME_OUT = Unknown("time-out")
THROTTLED = NotApplied("throttled")


def append(
    stream: Stream,
    expected: int | Expected = ANY,
    *,
    known: Known | None = None,
    key: str | None = None,
    events: list[Event] = EVENTS,
    settings: Settings | None = None,
    just_saw: bool = False,
    adopts: bool = False,
) -> Script[Appended]:
    """An append to ``stream``, of two events if it is not said, about to make its first request."""
    proposal = Proposal(stream.name, encoding.encode_events(events), len(events), expected, key, adopts=adopts)
    return Script(protocol.append(settings or stream.settings, proposal, known, just_saw=lambda _known: just_saw))


def head_of(commit: Commit) -> State:
    """The head that a commit wants to write."""
    return head.decode(commit.head.body, commit.head.key, "s")


def land(stream: Stream, commit: Commit, etag: str = "late") -> Stream:
    """The commit takes effect after all."""
    assert isinstance(commit.head.when, Matches)
    assert stream.known.etag == commit.head.when.etag, "the etag is spent: this write cannot land any more"
    stream.objects.update({put.key: put.body for put in commit.prelude})
    stream.objects[stream.head_key] = commit.head.body
    stream.known = Known(head_of(commit), etag)
    return stream


def check_appended(appended: Appended, number: int, version: int, *, newest: int | None = None) -> None:
    """The changeset of attempt ``number`` ends at ``version``; the newest head that was seen is at ``newest``."""
    assert (appended.changeset_id, appended.version) == (ident(number), version)
    assert appended.known.state.version == (newest or version)


# --- the straight way --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("expected", [0, ANY])
def test_the_first_changeset(expected):
    """Told that the stream is new, it commits at once: no GET, created only if absent."""
    story = append(Stream(), expected, known=nothing("s"))
    story.stamp(MINE)
    commit = story.commit(Stored("e1"))
    assert (commit.prelude, commit.head.key, commit.head.when) == ((), "heads/s", ABSENT)
    appended = story.returned()
    check_appended(appended, MINE, 2)
    assert appended.known == Known(head_of(commit), "e1")
    (frame,) = codec.decode_chain(appended.known.state.tail, 0, None, "heads/s", stream="s")
    assert (frame.id, frame.micros, frame.key) == (ident(MINE), MICROS + MINE * 1_000_000, None)
    assert [event.data for event in codec.recorded("s", [frame], 1, 2)] == [1, 2]


@pytest.mark.parametrize("expected", [3, ANY, EXISTS])
def test_a_known_head(expected):
    """It is swapped by its etag; no GET."""
    stream = Stream().times(3)
    story = append(stream, expected, known=stream.known)
    story.stamp(MINE)
    commit = story.commit(Stored("e4"))
    assert commit.head.when == Matches("e3")
    assert commit.head.about is not None
    assert (commit.head.about.parent_id, commit.head.about.version) == (ident(3), 5)
    check_appended(story.returned(), MINE, 5)
    assert head_of(commit).tail[:3] == tuple(stream.frames)


@pytest.mark.parametrize("expected", [3, ANY, EXISTS])
def test_a_head_that_nobody_knows(expected):
    """It is read first."""
    stream = Stream().times(3)
    story = append(stream, expected)
    story.get("heads/s", stream.found())
    story.stamp(MINE)
    assert story.commit(Stored("e4")).head.when == Matches("e3")
    check_appended(story.returned(), MINE, 5)


def test_one_event_is_enough_to_exist():
    """A stream exists from version 1 on."""
    stream = Stream().grow()
    story = append(stream, EXISTS, known=stream.known)
    story.stamp(MINE)
    story.commit(Stored("e2"))
    check_appended(story.returned(), MINE, 3)


def test_any_creates_a_stream():
    """A stream that does not exist is at version 0."""
    story = append(Stream(), ANY)
    story.get("heads/s", MISSING)
    story.stamp(MINE)
    assert story.commit(Stored("e1")).head.when == ABSENT
    check_appended(story.returned(), MINE, 2)


def test_every_head_that_was_read_is_handed_on():
    """A caller who lost a race has what it needs next; what was known before is no news."""
    stream = Stream().times(3)
    stale = stream.known
    seen: list[Known] = []
    stream.times(2)
    proposal = Proposal("s", encoding.encode_events(EVENTS), 2, 3)
    story = Script(protocol.append(stream.settings, proposal, stale, seen.append))
    story.stamp(MINE)
    story.commit(REFUSED)
    story.pause()
    story.get("heads/s", stream.found())
    story.raised(WrongExpectedVersion)
    assert seen == [stream.known]


# --- the prelude -------------------------------------------------------------------------------------------------


def test_without_a_feed_there_is_no_intent():
    """And with room in the tail no object but the head is written."""
    stream = Stream(TAIL).grow()
    story = append(stream, 1, known=stream.known)
    story.stamp(MINE)
    assert story.commit(Stored("e")).prelude == ()


def test_the_intent():
    """With a feed, the prelude announces the changeset: its id, stream, the version that it follows, its time."""
    stream = Stream().times(3)
    story = append(stream, 3, known=stream.known, settings=WITH_FEED)
    story.stamp(MINE)
    (announced,) = story.commit(Stored("e")).prelude
    assert announced.key == keys.intent(ident(MINE), 3, "s")
    assert intent.decode(announced.body, announced.key) == Intent(
        ident(MINE), "s", 3, MICROS + MINE * 1_000_000, objects=[]
    )


def test_the_intent_names_what_else_was_written():
    """So that the garbage of a failed append can be found: the segment, and the pages that its reference filled."""
    settings = Settings(tail_bytes=0, fan_out=2, feed=True)
    stream = Stream(settings).times(6)
    story = append(stream, 6, known=stream.known)
    story.stamp(MINE)
    announced, *objects = story.commit(Stored("e")).prelude
    assert [put.key for put in objects] == [
        keys.segment("s", 7, ident(MINE)),
        keys.page("s", 1, 5, ident(MINE)),
        keys.page("s", 2, 1, ident(MINE)),
    ]
    assert intent.decode(announced.body, announced.key).objects == [put.key for put in objects]


def test_every_attempt_is_new():
    """A fresh id in the frame, the intent and the name of each object: no request is ever sent twice."""
    settings = Settings(tail_bytes=0, fan_out=2, feed=True)
    stream = Stream(settings).times(6)
    story = append(stream, 6, known=stream.known)
    commits = []
    for number in (MINE, AGAIN):
        story.stamp(number)
        commits.append(story.commit(THROTTLED))
        story.pause()
    one, two = commits
    assert not {put.key for put in one.prelude} & {put.key for put in two.prelude}
    assert {head_of(one).fields.changeset_id, head_of(two).fields.changeset_id} == {ident(MINE), ident(AGAIN)}
    assert one.head.when == two.head.when == Matches("e6")


def test_ids_of_a_stream_increase():
    """Each attempt asks for an id above that of the changeset before it; the first changeset has none before it."""
    stream = Stream().times(3)
    story = append(stream, ANY, known=stream.known)
    assert story.stamp(MINE) == ident(3)
    story.commit(REFUSED)
    story.pause()
    story.get("heads/s", stream.times(2).found())
    assert story.stamp(AGAIN) == ident(5)
    story.commit(Stored("e6"))
    story = append(Stream(), 0, known=nothing("s"))
    assert story.stamp(MINE) is None


def test_what_an_append_settles():
    """In the feed: it is listed in the head that it writes, in place of what the one before settled."""
    stream = Stream(name="$feed")
    rows = codec.encode_published([FeedEvent("a", 1, "E", None, None, None, ident(7), MICROS, 1)])
    proposal = Proposal("$feed", rows, 1, 0, settled=(ident(7),))
    story = Script(protocol.append(stream.settings, proposal, nothing("$feed")))
    story.stamp(MINE)
    commit = story.commit(Stored("e1"))
    assert commit.prelude == ()
    state = head.decode(commit.head.body, commit.head.key, "$feed")
    assert state.settled == {ident(7)}
    assert story.returned().known.state.settled == state.settled


# --- expected versions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expected", "changesets", "said"),
    [(0, 3, 0), (2, 3, 2), (4, 3, 4), (1, 0, 1), (EXISTS, 0, "EXISTS")],
    ids=shown,
)
def test_a_conflict(expected, changesets, said):
    """The stream is elsewhere: nothing is sent, and both versions are told."""
    stream = Stream().times(changesets)
    story = append(stream, expected)
    story.get("heads/s", stream.found() if changesets else MISSING)
    error = story.raised(WrongExpectedVersion)
    assert (error.stream, error.expected, error.actual) == ("s", said, changesets)


def test_a_stale_head_is_no_ground_for_a_conflict():
    """What is remembered may be old: the head is read before anybody is told that he is wrong."""
    stream = Stream().times(3)
    stale = stream.known
    stream.times(2)
    story = append(stream, 5, known=stale)
    story.get("heads/s", stream.found())
    story.stamp(MINE)
    assert story.commit(Stored("e6")).head.when == Matches("e5")
    check_appended(story.returned(), MINE, 7)


def test_a_version_that_the_stream_has_left_behind():
    """It never comes back to it: no request is needed to be certain, if the head was seen a moment ago."""
    stream = Stream().times(3)
    assert append(stream, 2, known=stream.known, just_saw=True).raised(WrongExpectedVersion).actual == 3
    story = append(stream, 2, known=stream.known)
    story.get("heads/s", stream.found())
    assert story.raised(WrongExpectedVersion).actual == 3


def test_a_version_that_the_stream_has_left_behind_with_a_key():
    """The append may be the one that was made after it."""
    stream = Stream(BLOBS).grow().grow(key="k").grow()
    story = append(stream, 1, key="k", events=ONE, known=stream.known, just_saw=True)
    second = stream.keys_of("segments/")[1]
    story.get_many([second], (Found(stream.objects[second], "e"),))
    assert (story.returned().version, story.returned().known) == (2, stream.known)


def test_a_stale_head_and_a_real_conflict():
    """A version that it has not reached may have been reached since: after reading once it is certain."""
    stream = Stream().times(3)
    story = append(stream, 4, known=stream.known, just_saw=True)
    story.get("heads/s", stream.found())
    assert story.raised(WrongExpectedVersion).actual == 3


def at_version(version: int) -> Known:
    """A head at this version, with an empty tail."""
    known = Stream(BLOBS).grow().known
    fields = msgspec.structs.replace(known.state.fields, version=version)
    return Known(msgspec.structs.replace(known.state, fields=fields), "e")


def test_the_last_version_of_all():
    """Versions have 16 digits in keys: the last one can be had, an append beyond is refused, not wrapped."""
    story = append(Stream(), ANY, known=at_version(limits.MAX_VERSION - 2))
    story.stamp(MINE)
    story.commit(Stored("e"))
    assert story.returned().version == limits.MAX_VERSION
    story = append(Stream(), ANY, known=at_version(limits.MAX_VERSION - 1))
    assert story.raised(InvalidInput).details == {"stream": "s"}


# --- races -------------------------------------------------------------------------------------------------------


def refused(stream: Stream, expected: int | Expected, *, key: str | None = None) -> Script[Appended]:
    """An append on a head that is stale: others appended since; it was refused, and waits a little."""
    stale = stream.known
    stream.times(2)
    story = append(stream, expected, known=stale, key=key)
    story.stamp(MINE)
    assert story.commit(REFUSED).head.when == Matches(stale.etag or "")
    assert story.pause() == limits.RACE_PAUSE[0]
    return story


def test_refused_and_in_conflict():
    """Somebody else was faster, and the caller's version is gone."""
    stream = Stream().times(3)
    story = refused(stream, 3)
    story.get("heads/s", stream.found())
    error = story.raised(WrongExpectedVersion)
    assert (error.expected, error.actual) == (3, 5)


def test_refused_and_rebased():
    """With ``ANY`` the append goes after whatever is there now, as a new attempt."""
    stream = Stream().times(3)
    story = refused(stream, ANY)
    story.get("heads/s", stream.found())
    story.stamp(AGAIN)
    commit = story.commit(Stored("e6"))
    assert commit.head.when == Matches("e5")
    check_appended(story.returned(), AGAIN, 7)
    assert head_of(commit).fields.parent_id == ident(5)


def test_refused_when_creating():
    """The stream was created by somebody else meanwhile."""
    stream = Stream().grow()
    story = append(stream, 0, known=nothing("s"))
    story.stamp(MINE)
    assert story.commit(REFUSED).head.when == ABSENT
    story.pause()
    story.get("heads/s", stream.found())
    assert story.raised(WrongExpectedVersion).actual == 1


def test_refused_for_no_reason():
    """Some services refuse a writer that raced another, though none won: the same head is there, so try again."""
    stream = Stream().times(3)
    story = append(stream, 3, known=stream.known)
    for number, longer in ((MINE, 1), (AGAIN, 2)):
        story.stamp(number)
        assert story.commit(REFUSED).head.when == Matches("e3")
        assert story.pause() == limits.RACE_PAUSE[0]
        story.get("heads/s", stream.found())
        assert story.pause() == longer * limits.FAULT_PAUSE[0]
    story.stamp(THIRD)
    story.commit(Stored("e4"))
    check_appended(story.returned(), THIRD, 5)


LEASED = Refused("the storage answered 412", "SomeLease")


@pytest.mark.parametrize("fresh", [True, False])
def test_refused_for_ever(fresh):
    """No head that is read has changed, so it was no race: it ends after a few tries, with the code of the answer."""
    stream = Stream() if fresh else Stream().times(3)
    story = append(stream, ANY, known=nothing("s") if fresh else stream.known)
    waited: list[float] = []
    for number in range(limits.FAULT_ATTEMPTS):
        story.stamp(1000 + number)
        story.commit(LEASED)
        story.pause()
        story.get("heads/s", MISSING if fresh else stream.found())
        waited.append(story.pause())
    assert waited[:3] == [limits.FAULT_PAUSE[0] * factor for factor in (1, 2, 4)]
    error = story.raised(OutcomeUnknown)
    assert (error.reason, error.code) == ("the storage answered 412", "SomeLease")
    assert len(error.changeset_ids) == limits.FAULT_ATTEMPTS
    assert isinstance(error.__cause__, Unavailable)
    assert error.__cause__.details["lost_races"] == 0
    assert error.__cause__.details["faults"] == limits.FAULT_ATTEMPTS


def test_a_race_in_between_begins_the_count_again():
    """Where the head moves on, refusals are of the moment; a fence of another is a move, too."""
    stream = Stream().times(3)
    story = append(stream, ANY, known=stream.known)
    for round_ in range(3):
        for number in range(limits.FAULT_ATTEMPTS - 1):
            story.stamp(1000 + number)
            story.commit(LEASED)
            story.pause()
            story.get("heads/s", stream.found())
            story.pause()
        story.stamp(MINE)
        story.commit(LEASED)
        story.pause()
        story.get("heads/s", (stream.fence() if round_ == 1 else stream.grow()).found())
    story.stamp(AGAIN)
    story.commit(Stored("e"))
    assert story.returned().lost == 3


def test_a_fence_that_is_refused_for_ever():
    """It is judged as the append's own write is."""
    stream, story = knocking()
    story.commit(LEASED)
    story.pause()
    story.get("heads/s", stream.found())
    assert story.pause() == limits.FAULT_PAUSE[0]
    story.stamp(MINE)
    story.commit(Stored("e"))
    check_appended(story.returned(), MINE, stream.version + 2)


def test_refused_but_written():
    """A gateway that sends a request twice reports its own first success as a conflict: what follows decides."""
    stream = Stream().times(3)
    story = append(stream, 3, known=stream.known)
    story.stamp(MINE)
    commit = story.commit(REFUSED)
    story.pause()
    story.get("heads/s", land(stream, commit).found())
    check_appended(story.returned(), MINE, 5)


def test_only_fenced():
    """A fence moves the etag and nothing else: the append tries again on the new head."""
    stream = Stream().times(3)
    story = append(stream, 3, known=stream.known)
    story.stamp(MINE)
    story.commit(REFUSED)
    story.pause()
    story.get("heads/s", stream.fence().found())
    story.stamp(AGAIN)
    commit = story.commit(Stored("e4"))
    assert commit.head.when == Matches("e3f")
    assert head_of(commit).fields.fence == 1
    check_appended(story.returned(), AGAIN, 5)


def test_fenced_before_it_existed():
    """The head of a stream that does not exist yet may be fenced: the first append tries again on that head, as version 0."""
    fenced = Known(head.fenced(nothing("s").state), "f1")
    story = append(Stream(), 0, known=nothing("s"))
    story.stamp(MINE)
    assert story.commit(REFUSED).head.when == ABSENT
    story.pause()
    story.get("heads/s", Found(head.encode(fenced.state), "f1"))
    assert story.stamp(AGAIN) is None
    commit = story.commit(Stored("e1"))
    assert commit.head.when == Matches("f1")
    assert (head_of(commit).fields.fence, head_of(commit).fields.parent_id) == (1, None)
    check_appended(story.returned(), AGAIN, 2)


@pytest.mark.parametrize("expected", [EXISTS, 1])
def test_fenced_before_it_existed_and_expected_to_exist(expected):
    """A head of version 0 is no stream: a conflict."""
    fenced = head.encode(head.fenced(nothing("s").state))
    story = append(Stream(), expected)
    story.get("heads/s", Found(fenced, "f1"))
    assert story.raised(WrongExpectedVersion).actual == 0


def pauses(story: Script[Appended], answer: object, stream: Stream, count: int) -> Iterator[float]:
    """The pauses after so many attempts that all get the same answer."""
    for number in range(count):
        story.stamp(1000 + number)
        story.commit(answer)  # type: ignore[arg-type]
        yield story.pause()
        if not isinstance(answer, NotApplied):  # a race is one only if the head has changed
            story.get("heads/s", (stream.fence() if answer is REFUSED else stream).found())


def test_lost_races_are_bounded(monkeypatch):
    """Attempts end, and pauses do not grow before; the last attempt is not known to have failed."""
    monkeypatch.setattr(limits, "APPEND_ATTEMPTS", 12)
    stream = Stream().times(3)
    story = append(stream, ANY, known=stream.known)
    waited = list(pauses(story, REFUSED, stream, 12))
    assert waited == [limits.RACE_PAUSE[0]] * 12
    error = story.raised(OutcomeUnknown)
    assert isinstance(error.__cause__, Unavailable)
    assert error.__cause__.details == {"stream": "s", "lost_races": 12, "faults": 0}
    assert len(error.changeset_ids) == 12


def lost_races(stream: Stream, story: Script[Appended], count: int) -> None:
    """So many races that it loses, each to another changeset."""
    for number in range(count):
        story.stamp(1000 + number)
        story.commit(REFUSED)
        story.pause()
        story.get("heads/s", stream.grow().found())


def test_a_race_is_waited_for_in_round_trips():
    """However many were lost: a pause that grows would make the next one worse."""
    stream = Stream().grow()
    story = append(stream, ANY, known=stream.known)
    trips: list[float] = []
    for number in range(12):
        story.stamp(1000 + number)
        story.commit(REFUSED)
        pause = story.asked
        assert isinstance(pause, Pause)
        trips.append(pause.trips)
        story.pause()
        story.get("heads/s", stream.grow().found())
    assert trips == [1.0] * 12


def knocking(expected: Expected = ANY) -> tuple[Stream, Script[Appended]]:
    """An append that has lost so many races that it raises the fence next."""
    stream = Stream().grow()
    story = append(stream, expected, known=stream.known)
    lost_races(stream, story, limits.KNOCK)
    return stream, story


@pytest.mark.parametrize("expected", [ANY, EXISTS])
def test_a_race_that_is_lost_again_and_again(expected):
    """The fence is raised, without an intent: so the one that always wins loses its next commit. Ours follows on the new head."""
    stream, story = knocking(expected)
    commit = story.commit(Stored("mine"))
    assert (commit.prelude, commit.head.when) == ((), Matches(stream.known.etag or ""))
    assert head_of(commit) == head.fenced(stream.known.state)
    story.stamp(MINE)
    commit = story.commit(Stored("e"))
    assert commit.head.when == Matches("mine")
    assert head_of(commit).fields.fence == 1
    appended = story.returned()
    check_appended(appended, MINE, stream.version + 2)
    assert appended.lost == limits.KNOCK


def test_a_fence_that_comes_too_late():
    """Another race is lost; the next fence is raised after as many more."""
    stream, story = knocking()
    story.commit(REFUSED)
    story.pause()
    story.get("heads/s", stream.grow().found())
    lost_races(stream, story, limits.KNOCK - 1)
    assert story.commit(Stored("mine")).prelude == ()


@pytest.mark.parametrize("fault", [THROTTLED, TIME_OUT], ids=shown)
def test_a_fence_that_fails(fault):
    """A fault like another; nothing of the append was written."""
    stream, story = knocking()
    story.commit(fault)
    assert story.pause() == limits.FAULT_PAUSE[0]
    if fault is TIME_OUT:
        story.get("heads/s", stream.fence().found())
    story.stamp(MINE)
    assert story.commit(Stored("e")).head.when == Matches(stream.known.etag or "")
    check_appended(story.returned(), MINE, stream.version + 2)


def test_a_fence_that_another_has_raised():
    """One is enough: while it is newer than so many races, no other is raised."""
    stream = Stream().grow()
    story = append(stream, ANY, known=stream.known)
    lost_races(stream, story, limits.KNOCK - 1)
    stream.fence()
    lost_races(stream, story, limits.KNOCK)
    story.stamp(MINE)
    story.commit(REFUSED)
    story.pause()
    story.get("heads/s", stream.grow().found())
    assert story.commit(Stored("mine")).prelude == ()


def test_a_version_raises_no_fence():
    """It loses one race at most, but for those to fences of others, and then it is only tried again."""
    stream = Stream().grow()
    story = append(stream, 1, known=stream.known)
    for number in range(limits.KNOCK + 1):
        story.stamp(1000 + number)
        story.commit(REFUSED)
        story.pause()
        story.get("heads/s", stream.fence().found())
    story.stamp(MINE)
    story.commit(Stored("e"))
    check_appended(story.returned(), MINE, 3)


def test_a_stream_that_does_not_exist_has_no_fence_to_raise():
    """It is created, or found created; it is never another that changes."""
    story = append(Stream(), ANY, known=nothing("s"))
    for number in range(limits.FAULT_ATTEMPTS - 1):
        story.stamp(1000 + number)
        assert story.commit(REFUSED).head.when == ABSENT
        story.pause()
        story.get("heads/s", MISSING)
        story.pause()
    story.stamp(MINE)
    story.commit(Stored("e"))
    story.returned()


# --- faults ------------------------------------------------------------------------------------------------------


def test_not_applied():
    """The request certainly had no effect: the same head is good for another attempt, after a pause."""
    stream = Stream().times(3)
    story = append(stream, 3, known=stream.known)
    story.stamp(MINE)
    story.commit(THROTTLED)
    assert story.pause() == limits.FAULT_PAUSE[0]
    story.stamp(AGAIN)
    assert story.commit(Stored("e4")).head.when == Matches("e3")
    check_appended(story.returned(), AGAIN, 5)


def test_faults_are_bounded():
    """When no request has any effect, nothing was written, and the caller is told so."""
    stream = Stream().times(3)
    story = append(stream, 3, known=stream.known)
    waited = list(pauses(story, THROTTLED, stream, limits.FAULT_ATTEMPTS))
    first, longest = limits.FAULT_PAUSE
    assert waited[:3] == [first, 2 * first, 4 * first]
    assert max(waited) == waited[-1] == longest
    error = story.raised(Unavailable)
    assert error.details == {"stream": "s", "lost_races": 0, "faults": limits.FAULT_ATTEMPTS, "reason": "throttled"}
    assert error.__cause__ is THROTTLED


def test_a_head_that_cannot_be_read():
    """Before any attempt: nothing was written."""
    story = append(Stream(), ANY)
    story.get("heads/s", TIME_OUT)
    assert story.raised(Unavailable).details == {"key": "heads/s", "reason": "time-out"}


def unknown(stream: Stream, expected: int | Expected = 3, *, key: str | None = None) -> tuple[Script[Appended], Commit]:
    """An append whose first attempt was not answered, and that is about to read the head."""
    story = append(stream, expected, known=stream.known, key=key)
    story.stamp(MINE)
    commit = story.commit(TIME_OUT)
    assert story.pause() == limits.FAULT_PAUSE[0]
    return story, commit


def test_unknown_and_written():
    """The changeset that follows is our own: success."""
    stream = Stream().times(3)
    story, commit = unknown(stream)
    story.get("heads/s", land(stream, commit).found())
    appended = story.returned()
    check_appended(appended, MINE, 5)
    assert appended.known == stream.known


def test_unknown_and_written_and_built_upon():
    """Others have appended since: the newest changeset is theirs, the one that follows is ours."""
    stream = Stream().times(3)
    story, commit = unknown(stream)
    land(stream, commit).times(4)
    story.get("heads/s", stream.found())
    check_appended(story.returned(), MINE, 5, newest=9)


def test_unknown_and_sealed_since():
    """Ours lies in a segment behind an index page by now: it is looked up there."""
    stream = Stream(Settings(tail_bytes=0, fan_out=2, feed=False)).times(3)
    story, commit = unknown(stream)
    land(stream, commit).times(4)
    story.get("heads/s", stream.found())
    assert story.serve(stream.objects)[-1] == [keys.segment("s", 4, ident(MINE))]
    check_appended(story.returned(), MINE, 5, newest=9)


@pytest.mark.parametrize("expected", [3, EXISTS, ANY])
def test_unknown_and_another_was_faster(expected):
    """Another's changeset follows: our etag is spent, our attempt is dead. A conflict, or the next attempt."""
    stream = Stream().times(3)
    story, _ = unknown(stream, expected)
    story.get("heads/s", stream.times(2).found())
    if expected == 3:
        assert story.raised(WrongExpectedVersion).actual == 5
    else:
        story.stamp(AGAIN)
        assert story.commit(Stored("e6")).head.when == Matches("e5")
        check_appended(story.returned(), AGAIN, 7)


@pytest.mark.parametrize("expected", [3, ANY])
def test_unknown_and_nothing_yet(expected):
    """Nobody has appended: try again on the same head. It is won once, so at most one of both attempts lands."""
    stream = Stream().times(3)
    story, _ = unknown(stream, expected)
    story.get("heads/s", stream.found())
    story.stamp(AGAIN)
    assert story.commit(Stored("e4")).head.when == Matches("e3")
    check_appended(story.returned(), AGAIN, 5)


def test_a_late_effect_of_the_first_attempt():
    """It lands just before the second, which is refused: the one that follows is our first."""
    stream = Stream().times(3)
    story, first = unknown(stream)
    story.get("heads/s", stream.found())
    story.stamp(AGAIN)
    story.commit(REFUSED)
    story.pause()
    story.get("heads/s", land(stream, first).found())
    check_appended(story.returned(), MINE, 5)


def test_two_unknown_attempts_and_the_second_landed():
    """Both are remembered."""
    stream = Stream().times(3)
    story, _ = unknown(stream)
    story.get("heads/s", stream.found())
    story.stamp(AGAIN)
    second = story.commit(TIME_OUT)
    assert story.pause() == 2 * limits.FAULT_PAUSE[0]
    story.get("heads/s", land(stream, second).times(2).found())
    check_appended(story.returned(), AGAIN, 5, newest=7)


def test_unknown_and_fenced_meanwhile():
    """The first attempt is dead, though its version is still the newest; the second goes on the new etag."""
    stream = Stream().times(3)
    story, _ = unknown(stream)
    story.get("heads/s", stream.fence().found())
    story.stamp(AGAIN)
    assert story.commit(Stored("e4")).head.when == Matches("e3f")
    check_appended(story.returned(), AGAIN, 5)


def test_unknown_then_not_applied():
    """The attempt that had no effect is forgotten, the open one is not."""
    stream = Stream().times(3)
    story, first = unknown(stream)
    story.get("heads/s", stream.found())
    story.stamp(AGAIN)
    story.commit(THROTTLED)
    story.pause()
    story.stamp(THIRD)
    story.commit(REFUSED)
    story.pause()
    story.get("heads/s", land(stream, first).found())
    check_appended(story.returned(), MINE, 5)


def test_unknown_on_a_stale_head():
    """The head had moved before the attempt was sent: it cannot have landed."""
    stream = Stream().times(3)
    stale = stream.known
    stream.times(2)
    story = append(stream, ANY, known=stale)
    story.stamp(MINE)
    story.commit(TIME_OUT)
    story.pause()
    story.get("heads/s", stream.found())
    story.stamp(AGAIN)
    story.commit(Stored("e6"))
    check_appended(story.returned(), AGAIN, 7)


def test_the_outcome_stays_unknown():
    """Neither was the commit answered nor can the head be read: the caller gets what he needs to find out later."""
    stream = Stream().times(3)
    story, _ = unknown(stream)
    story.get("heads/s", TIME_OUT)
    error = story.raised(OutcomeUnknown)
    assert isinstance(error.__cause__, Unavailable)
    assert (error.stream, error.follows) == ("s", 3)
    assert error.changeset_ids == (str(UUID(bytes=ident(MINE))),)


def test_the_outcome_of_all_attempts_is_unknown():
    """When attempts run out, every id that may be in the stream is named."""
    stream = Stream().times(3)
    story = append(stream, 3, known=stream.known)
    list(pauses(story, TIME_OUT, stream, limits.FAULT_ATTEMPTS))
    error = story.raised(OutcomeUnknown)
    assert isinstance(error.__cause__, Unavailable)
    assert len(set(error.changeset_ids)) == limits.FAULT_ATTEMPTS


def test_the_last_attempt_is_looked_at(monkeypatch):
    """However many attempts there may be, what became of the last one is found out before anything is said."""
    monkeypatch.setattr(limits, "FAULT_ATTEMPTS", 1)
    stream = Stream().times(3)
    story, commit = unknown(stream, 3)
    stream.known = Known(head_of(commit), "e4")
    story.get("heads/s", Found(commit.head.body, "e4"))
    check_appended(story.returned(), MINE, 5)


def test_open_attempts_of_an_old_version_are_forgotten():
    """Once the stream has grown past them they are dead, and a later failure is no reason for doubt."""
    stream = Stream().times(3)
    story, _ = unknown(stream, ANY)
    story.get("heads/s", stream.times(2).found())
    for number in range(limits.FAULT_ATTEMPTS - 1):
        story.stamp(AGAIN + number)
        story.commit(THROTTLED)
        story.pause()
    story.raised(Unavailable)


def test_a_head_that_went_back():
    """No writer of this stream does that: with an attempt in the open, the outcome is unknown, because of corrupt data."""
    stream, longer = Stream().times(2), Stream().times(3)
    story, _ = unknown(longer)
    story.get("heads/s", stream.found())
    cause = story.raised(OutcomeUnknown).__cause__
    assert isinstance(cause, CorruptData)
    assert cause.message == "the head went back from version 3 to 2"
    assert cause.key == "heads/s"


def test_what_follows_is_damaged():
    """It cannot be told whose it is."""
    stream = Stream(BLOBS).times(3)
    story, commit = unknown(stream)
    land(stream, commit)
    story.get("heads/s", stream.found())
    story.get_many([keys.segment("s", 4, ident(MINE))], (MISSING,))
    assert isinstance(story.raised(OutcomeUnknown).__cause__, CorruptData)


@pytest.mark.parametrize("error", [AccessDenied("no"), StoreNotFound("gone")], ids=shown)
def test_errors_that_no_retry_mends(error):
    """They come through as they are: nothing was written."""
    stream = Stream().times(3)
    story = append(stream, 3, known=stream.known)
    story.stamp(MINE)
    story.commit(error)
    assert story.raised(type(error)) is error


def test_an_error_that_no_retry_mends_after_an_open_attempt():
    """It is the cause; the doubt about the first attempt remains."""
    stream = Stream().times(3)
    story, _ = unknown(stream)
    error = AccessDenied("the token expired")
    story.get("heads/s", error)
    unknown_outcome = story.raised(OutcomeUnknown)
    assert unknown_outcome.__cause__ is error
    assert len(unknown_outcome.changeset_ids) == 1


# --- keys --------------------------------------------------------------------------------------------------------


def test_a_key_is_kept_with_the_changeset():
    """It is part of the frame."""
    stream = Stream().grow()
    story = append(stream, 1, known=stream.known, key="pay-17")
    story.stamp(MINE)
    commit = story.commit(Stored("e2"))
    assert codec.decode_frame(head_of(commit).tail[-1], "heads/s").key == "pay-17"


def test_a_key_after_the_expected_version():
    """The same append was made before: its result, not a conflict; later changesets do not matter."""
    stream = Stream().times(3).grow(1, 1, key="pay-17").times(2)
    story = append(stream, 3, key="pay-17", events=TWO)
    story.get("heads/s", stream.found())
    check_appended(story.returned(), 4, 5, newest=7)


def test_a_key_after_the_expected_version_that_was_sealed():
    """It is looked up where that changeset lies now, however old."""
    stream = Stream(Settings(tail_bytes=0, fan_out=2, feed=False)).times(3).grow(1, 1, key="pay-17").times(9)
    story = append(stream, 3, key="pay-17", events=TWO)
    story.get("heads/s", stream.found())
    assert story.serve(stream.objects)[-1] == [keys.segment("s", 4, ident(4))]
    check_appended(story.returned(), 4, 5, newest=14)


def test_a_key_of_a_stream_that_begins_with_it():
    """An append that creates the stream may be repeated, too."""
    stream = Stream().grow(1, 1, key="pay-17").times(2)
    story = append(stream, 0, key="pay-17", events=TWO, known=nothing("s"))
    story.stamp(MINE)
    story.commit(REFUSED)
    story.pause()
    story.get("heads/s", stream.found())
    check_appended(story.returned(), 1, 2, newest=4)


@pytest.mark.parametrize(
    ("expected", "key"),
    [(3, "other"), (2, "pay-17"), (4, "pay-17"), (7, "pay-17"), (9, "pay-17"), (3, None)],
    ids=shown,
)
def test_another_key_or_another_place(expected, key):
    """Only the changeset that begins right after the expected version counts; in the middle of one is elsewhere."""
    stream = Stream().times(3).grow(1, 1, key="pay-17").times(2)
    story = append(stream, expected, key=key)
    story.get("heads/s", stream.found())
    if expected == stream.version:
        story.stamp(MINE)
        story.commit(Stored("e"))
        check_appended(story.returned(), MINE, 9)
    else:
        assert story.raised(WrongExpectedVersion).actual == 7


@pytest.mark.parametrize("expected", [ANY, EXISTS])
def test_a_key_in_the_tail(expected):
    """Without a version the newest changesets are searched, the newest first; no request for the tail."""
    stream = Stream().grow(1, key="pay-17").times(1).grow(1, key="pay-17").times(2)
    story = append(stream, expected, known=stream.known, key="pay-17", events=ONE)
    check_appended(story.returned(), 3, 3, newest=5)


def test_a_key_in_the_newest_segment():
    """One request more."""
    stream = Stream(BLOBS).times(2).grow(1, key="pay-17")
    story = append(stream, ANY, known=stream.known, key="pay-17", events=ONE)
    key = keys.segment("s", 3, ident(3))
    story.get_many([key], (Found(stream.objects[key], "e"),))
    check_appended(story.returned(), 3, 3)


def test_a_key_in_an_older_segment():
    """It is not searched there: the append is made. Who wants more names the version."""
    stream = Stream(BLOBS).grow(1, key="pay-17").times(1)
    story = append(stream, ANY, known=stream.known, key="pay-17")
    key = keys.segment("s", 2, ident(2))
    story.get_many([key], (Found(stream.objects[key], "e"),))
    story.stamp(MINE)
    story.commit(Stored("e3"))
    check_appended(story.returned(), MINE, 4)


def test_a_key_that_was_appended_meanwhile():
    """The head was stale; after the refusal the key is found in the new one."""
    stream = Stream().times(3)
    stale = stream.known
    stream.grow(1, key="pay-17")
    story = append(stream, ANY, known=stale, key="pay-17", events=ONE)
    story.stamp(MINE)
    story.commit(REFUSED)
    story.pause()
    story.get("heads/s", stream.found())
    check_appended(story.returned(), 4, 4)


def test_a_key_whose_newest_segment_cannot_be_had():
    """Nothing was written."""
    stream = Stream(BLOBS).times(2)
    story = append(stream, ANY, known=stream.known, key="pay-17")
    story.get_many([keys.segment("s", 2, ident(2))], TIME_OUT)
    story.raised(Unavailable)


OTHERS = [
    [Event("F", b"x")],
    [Event("E", b"y")],
    [Event("E", "x")],
    [Event("E", b"x", id="1")],
    [Event("E", b"x"), Event("E", b"x")],
]
"""Other events than ``ONE``: another type, other data, data of another kind, another id, and one more event."""


@pytest.mark.parametrize("events", OTHERS, ids=shown)
@pytest.mark.parametrize("expected", [2, ANY, EXISTS])
def test_a_key_with_other_events(expected, events):
    """Neither a success, which would drop them, nor a conflict, which would have the caller decide again."""
    stream = Stream().times(2).grow(1, key="pay-17").times(1)
    story = append(stream, expected, key="pay-17", events=events)
    story.get("heads/s", stream.found())
    error = story.raised(KeyReused)
    assert (error.stream, error.key, error.version) == ("s", "pay-17", 3)


def test_a_key_with_fewer_events():
    """The first event of a larger append is not that append."""
    stream = Stream().grow(1, 1, key="pay-17")
    error = append(stream, ANY, known=stream.known, key="pay-17", events=ONE).raised(KeyReused)
    assert error.version == 2


@pytest.mark.parametrize("expected", [0, ANY])
def test_a_key_with_other_metadata(expected):
    """A trace or a time is another each time."""
    stream = Stream().grow(1, key="pay-17").times(1)
    story = append(stream, expected, key="pay-17", events=[Event("E", b"x", {"trace": "2"})])
    story.get("heads/s", stream.found())
    check_appended(story.returned(), 1, 1, newest=2)


def test_a_key_with_other_events_in_a_segment():
    """They are compared wherever the changeset lies."""
    stream = Stream(BLOBS).times(2).grow(1, key="pay-17").times(3)
    story = append(stream, 2, key="pay-17")
    story.get("heads/s", stream.found())
    assert story.serve(stream.objects)[-1] == [keys.segment("s", 3, ident(3))]
    assert story.raised(KeyReused).version == 3


def test_a_key_with_other_events_at_the_version_that_is_expected():
    """There it has not been used: an append at another version is another append."""
    stream = Stream().times(2).grow(1, key="pay-17")
    story = append(stream, 3, known=stream.known, key="pay-17")
    story.stamp(MINE)
    story.commit(Stored("e4"))
    check_appended(story.returned(), MINE, 5)


def test_a_key_that_another_used_while_the_outcome_was_unknown():
    """The first attempt is dead, since another follows: nothing was written, and that is certain."""
    stream = Stream().times(3)
    story, _ = unknown(stream, 3, key="pay-17")
    story.get("heads/s", stream.grow(1, key="pay-17").found())
    assert story.raised(KeyReused).version == 4


def test_a_key_that_this_append_used_while_the_outcome_was_unknown():
    """Its own changeset is known by its id."""
    stream = Stream().times(3)
    story, commit = unknown(stream, ANY, key="pay-17")
    story.get("heads/s", land(stream, commit).found())
    check_appended(story.returned(), MINE, 5)


def test_a_key_with_other_events_that_the_caller_looks_at():
    """A decision is made again by other means: its caller takes what is in the stream."""
    stream = Stream().grow(1, key="pay-17").times(1)
    story = append(stream, 0, key="pay-17", adopts=True)
    story.get("heads/s", stream.found())
    check_appended(story.returned(), 1, 1, newest=2)


def test_a_key_with_exists_on_a_stream_that_does_not_exist():
    """There is nothing to find: a conflict."""
    story = append(Stream(), EXISTS, key="pay-17")
    story.get("heads/s", MISSING)
    assert story.raised(WrongExpectedVersion).expected == "EXISTS"


def test_nothing_is_left_open_between_appends():
    """Each append begins with no attempts of its own."""
    stream = Stream().times(3)
    story, _ = unknown(stream)
    story.get("heads/s", TIME_OUT)
    story.raised(OutcomeUnknown)
    other = append(stream, 3, known=stream.known)
    for number in range(limits.FAULT_ATTEMPTS):
        other.stamp(AGAIN + number)
        other.commit(THROTTLED)
        other.pause()
    other.raised(Unavailable)


def test_abandoned():
    """A driver that lets go of it, as on cancellation, gets no further request."""
    stream = Stream().times(3)
    proposal = Proposal("s", encoding.encode_events(EVENTS), 2, 3)
    step = protocol.append(stream.settings, proposal, stream.known)
    next(step)
    step.close()
