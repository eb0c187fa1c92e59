"""Checkpoints: of two workers with one name one goes on, and none goes back, whatever happens to the requests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstream import limits
from headstream.errors import AccessDenied, CheckpointLost, CorruptData, Unavailable
from headstream.protocol import checkpoint, codec, keys
from headstream.protocol.checkpoint import Checkpoint, Fields
from headstream.protocol.mark import Mark
from headstream.protocol.ops import (
    ABSENT,
    MISSING,
    REFUSED,
    Commit,
    Found,
    Matches,
    NotApplied,
    Page,
    Refused,
    Stored,
    Unknown,
)
from support import shown
from support.damage import check_every_damage
from support.script import MICROS, Script, ident
from support.world import World

KEY = "checkpoints/mailer"
TIME_OUT = Unknown("time-out")
LEASED = Refused("the storage answered 412", "SomeLease")
THROTTLED = NotApplied("throttled")
FEED = ident(77)
"""A changeset of the feed."""
BEFORE = Checkpoint("mailer", 10, "host:1", MICROS, ident(1), "e1")


def body_of(name: str = "mailer", number: int = 1, position: int = 10, owner: str = "host:1") -> bytes:
    """A checkpoint as it is stored."""
    return codec.seal("checkpoint", Fields(name, ident(number), position, owner, MICROS))


def save(position: int = 20, before: Checkpoint | None = BEFORE) -> Script[Checkpoint]:
    """A save that is about to begin."""
    return Script(checkpoint.save("mailer", before, Mark(position, FEED), "host:2"))


def written(commit: Commit, etag: str) -> Checkpoint:
    """What a commit wants to write."""
    return checkpoint.decode(commit.head.body, commit.head.key, etag)


# --- saving ------------------------------------------------------------------------------------------------------


def test_the_first_save():
    """Only if there is none yet."""
    story = save(before=None)
    story.stamp(2)
    commit = story.commit(Stored("e2"))
    assert (commit.prelude, commit.head.key, commit.head.when, commit.head.about) == ((), KEY, ABSENT, None)
    saved = story.returned()
    assert saved == Checkpoint("mailer", 20, "host:2", MICROS + 2_000_000, ident(2), "e2", FEED)
    assert written(commit, "e2") == saved


def test_a_save_swaps_the_one_before():
    """By its etag."""
    story = save()
    story.stamp(2)
    assert story.commit(Stored("e2")).head.when == Matches("e1")
    assert story.returned().position == 20


def test_it_never_goes_back():
    """A position below the one that was saved is not written."""
    story = save(position=3)
    story.stamp(2)
    assert written(story.commit(Stored("e2")), "e2").position == 10
    assert story.returned().position == 10


def test_another_worker_has_it():
    """The one that came later goes on; this one is told who, and how far that one is."""
    story = save()
    story.stamp(2)
    story.commit(REFUSED)
    story.get(KEY, Found(body_of(number=9, position=15, owner="host:3"), "e9"))
    error = story.raised(CheckpointLost)
    assert (error.name, error.owner, error.position) == ("mailer", "host:3", 15)
    assert error.message == "another worker took the checkpoint over: stop this one"


def test_another_worker_created_it():
    """Two begin at once: one creates it, the other is told."""
    story = save(before=None)
    story.stamp(2)
    story.commit(REFUSED)
    story.get(KEY, Found(body_of(number=9), "e9"))
    assert story.raised(CheckpointLost).owner == "host:1"


def test_it_was_removed():
    """A worker whose checkpoint is gone has to stop, too: another may have begun anew."""
    story = save()
    story.stamp(2)
    story.commit(REFUSED)
    story.get(KEY, MISSING)
    error = story.raised(CheckpointLost)
    assert (error.owner, error.position) == ("", 0)
    assert "removed" in error.message


@pytest.mark.parametrize("before", [BEFORE, None], ids=["swap", "create"])
def test_refused_for_no_reason(before):
    """Nobody has moved it: some services refuse one that raced another. Try again, as a new attempt."""
    story = save(before=before)
    story.stamp(2)
    story.commit(REFUSED)
    story.get(KEY, Found(body_of(), "e1") if before else MISSING)
    assert story.pause() == limits.FAULT_PAUSE[0]
    story.stamp(3)
    commit = story.commit(Stored("e3"))
    assert commit.head.when == (Matches("e1") if before else ABSENT)
    assert story.returned().id == ident(3)


def test_refused_but_written():
    """A gateway that sent it twice reports its own success as a conflict: the id tells whose it is."""
    story = save()
    story.stamp(2)
    commit = story.commit(REFUSED)
    story.get(KEY, Found(commit.head.body, "e2"))
    assert story.returned() == written(commit, "e2")


def test_not_applied():
    """It certainly had no effect: try again, without a look."""
    story = save()
    story.stamp(2)
    story.commit(THROTTLED)
    assert story.pause() == limits.FAULT_PAUSE[0]
    story.stamp(3)
    assert story.commit(Stored("e3")).head.when == Matches("e1")
    assert story.returned().id == ident(3)


def test_unknown_and_written():
    """The look shows that it is there."""
    story = save()
    story.stamp(2)
    commit = story.commit(TIME_OUT)
    story.get(KEY, Found(commit.head.body, "e2"))
    assert story.returned() == written(commit, "e2")


@pytest.mark.parametrize("before", [BEFORE, None], ids=["swap", "create"])
def test_unknown_and_not_written(before):
    """It is not there: try again."""
    story = save(before=before)
    story.stamp(2)
    story.commit(TIME_OUT)
    story.get(KEY, Found(body_of(), "e1") if before else MISSING)
    story.pause()
    story.stamp(3)
    story.commit(Stored("e3"))
    assert story.returned().id == ident(3)


def test_a_late_effect_of_the_first_attempt():
    """It lands just before the second, which is refused: it is one of ours."""
    story = save()
    story.stamp(2)
    first = story.commit(TIME_OUT)
    story.get(KEY, Found(body_of(), "e1"))
    story.pause()
    story.stamp(3)
    story.commit(REFUSED)
    story.get(KEY, Found(first.head.body, "e2"))
    assert story.returned() == written(first, "e2")


def test_unknown_and_taken_over():
    """Another worker's is found: the next attempt is refused, and then it is certain."""
    story = save()
    story.stamp(2)
    story.commit(TIME_OUT)
    story.get(KEY, Found(body_of(number=9, owner="host:3"), "e9"))
    story.pause()
    story.stamp(3)
    story.commit(REFUSED)
    story.get(KEY, Found(body_of(number=9, owner="host:3"), "e9"))
    assert story.raised(CheckpointLost).owner == "host:3"


@pytest.mark.parametrize("answer", [TIME_OUT, REFUSED], ids=shown)
def test_a_look_that_fails(answer):
    """It may have moved: try again later."""
    story = save()
    story.stamp(2)
    story.commit(answer)
    story.get(KEY, TIME_OUT)
    assert story.raised(Unavailable).details == {"key": KEY, "reason": "time-out"}


@pytest.mark.parametrize("answer", [THROTTLED, TIME_OUT, LEASED], ids=shown)
def test_attempts_are_bounded(answer):
    """Pauses double up to a limit, then it is given up."""
    story = save()
    pauses = []
    for number in range(limits.FAULT_ATTEMPTS):
        story.stamp(2 + number)
        story.commit(answer)
        if answer is not THROTTLED:
            story.get(KEY, Found(body_of(), "e1"))
        pauses.append(story.pause())
    first, longest = limits.FAULT_PAUSE
    assert pauses[:3] == [first, 2 * first, 4 * first]
    assert pauses[-1] == max(pauses) == longest
    why = {"reason": answer.reason, "code": answer.code} if answer is LEASED else {"reason": answer.reason}
    assert story.raised(Unavailable).details == {"key": KEY, **why}


def test_an_error_that_no_retry_mends():
    """It comes through as it is."""
    error = AccessDenied("no")
    story = save()
    story.stamp(2)
    story.commit(error)
    assert story.raised(AccessDenied) is error


def test_two_workers_take_turns():
    """Each time the one that loaded later goes on; the position never decreases."""
    world = World()
    one = world.run(checkpoint.save("mailer", None, Mark(5), "one"))
    two = world.run(checkpoint.save("mailer", world.run(checkpoint.load("mailer")), Mark(5), "two"))
    with pytest.raises(CheckpointLost) as caught:
        world.run(checkpoint.save("mailer", one, Mark(9), "one"))
    assert (caught.value.owner, caught.value.position) == ("two", 5)
    again = world.run(checkpoint.load("mailer"))
    assert again == two
    world.run(checkpoint.save("mailer", again, Mark(9), "one"))
    with pytest.raises(CheckpointLost):
        world.run(checkpoint.save("mailer", two, Mark(7), "two"))
    loaded = world.run(checkpoint.load("mailer"))
    assert loaded is not None
    assert (loaded.position, loaded.owner) == (9, "one")


# --- taking it over ----------------------------------------------------------------------------------------------


def test_taking_over():
    """At the position where it is, from whoever had it."""
    story = Script(checkpoint.take_over("mailer", Mark(3), "host:2"))
    story.get(KEY, Found(body_of(), "e1"))
    story.stamp(2)
    commit = story.commit(Stored("e2"))
    assert commit.head.when == Matches("e1")
    assert story.returned() == Checkpoint("mailer", 10, "host:2", MICROS + 2_000_000, ident(2), "e2")


def test_taking_over_where_there_is_none():
    """It is created, at the position that the caller says."""
    story = Script(checkpoint.take_over("mailer", Mark(3), "host:2"))
    story.get(KEY, MISSING)
    story.stamp(2)
    assert story.commit(Stored("e2")).head.when == ABSENT
    assert story.returned().position == 3


def test_taking_over_while_it_is_saved():
    """The one that had it saved once more just then: where it is now, it is taken over."""
    story = Script(checkpoint.take_over("mailer", Mark(3), "host:2"))
    story.get(KEY, Found(body_of(), "e1"))
    story.stamp(2)
    story.commit(REFUSED)
    story.get(KEY, Found(body_of(number=9, position=15), "e9"))
    assert story.pause() == 2 * limits.RACE_PAUSE[0]
    story.get(KEY, Found(body_of(number=9, position=15), "e9"))
    story.stamp(3)
    assert story.commit(Stored("e3")).head.when == Matches("e9")
    assert story.returned().position == 15


def test_taking_over_what_others_move_again_and_again():
    """After so many times it is theirs; pauses grow up to a limit."""
    story = Script(checkpoint.take_over("mailer", Mark(3), "host:2"))
    pauses = []
    for number in range(limits.FAULT_ATTEMPTS):
        story.get(KEY, Found(body_of(number=100 + number), f"e{number}"))
        story.stamp(number)
        story.commit(REFUSED)
        story.get(KEY, Found(body_of(number=101 + number), f"e{number + 1}"))
        if number < limits.FAULT_ATTEMPTS - 1:
            pauses.append(story.pause())
    story.raised(CheckpointLost)
    assert pauses == sorted(pauses)
    assert max(pauses) <= limits.RACE_PAUSE[1]


def test_taking_over_when_the_storage_does_not_answer():
    """Try again later."""
    story = Script(checkpoint.take_over("mailer", Mark(3), "host:2"))
    story.get(KEY, TIME_OUT)
    story.raised(Unavailable)


# --- loading, removing, listing ----------------------------------------------------------------------------------


def test_loading():
    """One GET; none there is no error."""
    story = Script(checkpoint.load("mailer"))
    story.get(KEY, Found(body_of(), "e1"))
    found = story.returned()
    assert found == BEFORE
    assert found is not None
    assert found.saved_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
    story = Script(checkpoint.load("mailer"))
    story.get(KEY, MISSING)
    assert story.returned() is None


def test_removing():
    """Whether it is there or not."""
    story = Script(checkpoint.forget("mailer"))
    assert story.delete() == (KEY,)
    assert story.returned() is None


@pytest.mark.parametrize("fault", [THROTTLED, TIME_OUT], ids=shown)
@pytest.mark.parametrize(
    ("begin", "request_"),
    [
        (lambda: checkpoint.load("mailer"), lambda story, fault: story.get(KEY, fault)),
        (lambda: checkpoint.forget("mailer"), lambda story, fault: story.delete(fault)),
        (lambda: checkpoint.list_checkpoints(""), lambda story, fault: story.lists("checkpoints/", fault)),
    ],
    ids=["load", "forget", "list"],
)
def test_storage_that_does_not_answer(
    begin: Callable[[], Any], request_: Callable[[Script[Any], Exception], None], fault
):
    """Try again later."""
    story = Script(begin())
    request_(story, fault)
    error = story.raised(Unavailable)
    assert error.__cause__ is fault
    assert str(error.details["key"]).startswith("checkpoints/")


def test_listing():
    """A page at a time, in the order of names; one that was removed meanwhile is left out."""
    story = Script(checkpoint.list_checkpoints("checkpoints/a"))
    listed = ("checkpoints/b", "checkpoints/c", KEY)
    story.lists("checkpoints/", Page(listed, more=True), after="checkpoints/a")
    story.get_many(list(listed), (Found(body_of("b"), "e5"), MISSING, Found(body_of(), "e1")))
    found, after = story.returned()
    assert [one.name for one in found] == ["b", "mailer"]
    assert (found[1], after) == (BEFORE, KEY)


@pytest.mark.parametrize("page", [Page((), more=False), Page((), more=True)], ids=["last", "empty"])
def test_listing_none(page):
    """The end."""
    story = Script(checkpoint.list_checkpoints(""))
    story.lists("checkpoints/", page)
    story.get_many([], ())
    assert story.returned() == ([], None)


def test_listing_that_fails_at_the_bodies():
    """The same as at the list."""
    story = Script(checkpoint.list_checkpoints(""))
    story.lists("checkpoints/", Page((KEY,), more=False))
    story.get_many([KEY], TIME_OUT)
    story.raised(Unavailable)


# --- what is stored ------------------------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60), st.integers(0, limits.MAX_VERSION))
def test_round_trip(name, position):
    """Whatever its name."""
    found = checkpoint.decode(body_of(name, 3, position), keys.checkpoint(name), "e")
    assert (found.name, found.position, found.id) == (name, position, ident(3))


def test_under_another_key():
    """A checkpoint that was copied or renamed is not believed."""
    with pytest.raises(CorruptData, match="under another key") as caught:
        checkpoint.decode(body_of("other"), KEY, "e")
    assert caught.value.key == KEY


@pytest.mark.parametrize(
    "fields",
    [
        ("mailer", bytes(15), 0, "o", 0),
        ("mailer", bytes(17), 0, "o", 0),
        ("mailer", ident(1), -1, "o", 0),
        ("mailer", ident(1), 10**16, "o", 0),
        ("mailer", ident(1), 0, None, 0),
        ("mailer", ident(1), 0, "o", -1),
        ("mailer", ident(1), 0, "o"),
        ("mailer", ident(1), 0, "o", 0, bytes(15), False),
        ("mailer", ident(1), 0, "o", 0, None, 1),
        ("mailer", ident(1), 0, "o", 0, None, False, None),
        (b"mailer", ident(1), 0, "o", 0),
    ],
    ids=repr,
)
def test_a_checkpoint_that_no_writer_makes(fields):
    """A right checksum over wrong content is not enough."""
    packed: Any = codec.pack(fields)
    with pytest.raises(CorruptData, match="the checkpoint cannot be decoded"):
        checkpoint.decode(codec.seal("checkpoint", packed), KEY, "e")


def test_every_damage_is_found():
    """Each changed byte, each truncation, each byte too many."""
    check_every_damage(body_of(), KEY, lambda body: checkpoint.decode(body, KEY, "e"))


def test_content_never_repeats():
    """Saved twice at one position, it has two bodies: an etag made of content is safe."""
    one, two = (save(position=10) for _ in range(2))
    bodies = []
    for number, story in enumerate((one, two), 2):
        story.stamp(number)
        bodies.append(story.commit(Stored("e")).head.body)
    assert bodies[0] != bodies[1]
