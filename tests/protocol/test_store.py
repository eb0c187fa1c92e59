"""Opening a store: creation and its races, storage that is refused, and descriptions that cannot be read."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import msgspec
import pytest

from headstream.errors import (
    CorruptData,
    InvalidInput,
    StoreNotFound,
    Unavailable,
    UnsuitableBackend,
    UnsupportedFormat,
)
from headstream.model import Settings
from headstream.protocol import keys, store
from headstream.protocol.ops import (
    ABSENT,
    MISSING,
    REFUSED,
    Found,
    Matches,
    NotApplied,
    Refused,
    Stored,
    Unknown,
)
from headstream.protocol.store import Description
from support import shown
from support.script import MICROS, Script, ident

FAULTS = [NotApplied("throttled"), Unknown("time-out")]
PROBE = keys.probe(ident(1))
DESCRIPTION = Description(1, UUID(int=7), "2026-11-24T15:27:36+00:00", Settings(tail_bytes=4096))


def opened(wanted: Mapping[str, int] | None = None, *, create: bool = True) -> Script[Description]:
    """The opening of a store on storage whose default tail is 4 KiB."""
    return Script(store.open_store(4096, wanted or {}, create=create))


def found(description: Description) -> Found:
    """The object that describes a store."""
    return Found(msgspec.json.encode(description), "e")


def probed(story: Script[Description], *answers: Stored | Refused | Exception) -> list[tuple[bytes, object]]:
    """The probe of the storage, with these answers; what it wrote."""
    written: list[tuple[bytes, object]] = []
    for answer in answers:
        commit = story.commit(answer)
        assert (commit.prelude, commit.head.key) == ((), PROBE)
        written.append((commit.head.body, commit.head.when))
    return written


GOOD = (Stored("1"), REFUSED, Stored("2"), REFUSED)


def creating(wanted: Mapping[str, int] | None = None) -> Script[Description]:
    """A store that is about to be created, on storage that is good."""
    story = opened(wanted)
    story.get("store.json", MISSING)
    story.stamp(1)
    probed(story, *GOOD)
    assert story.delete() == (PROBE,)
    return story


# --- opening -----------------------------------------------------------------------------------------------------


def test_an_existing_store():
    """One GET, and nothing is written."""
    story = opened()
    story.get("store.json", found(DESCRIPTION))
    assert story.returned() == DESCRIPTION


def test_an_existing_store_keeps_its_settings():
    """The default tail of the storage is for new stores only."""
    other = msgspec.structs.replace(DESCRIPTION, settings=Settings(tail_bytes=9, fan_out=3, feed=False))
    story = opened()
    story.get("store.json", found(other))
    assert story.returned().settings == other.settings


@pytest.mark.parametrize("wanted", [{"tail_bytes": 4096}, {"feed": True, "fan_out": 64}], ids=shown)
def test_asking_for_what_is(wanted):
    """Settings that the store has may be named."""
    story = opened(wanted)
    story.get("store.json", found(DESCRIPTION))
    assert story.returned() == DESCRIPTION


@pytest.mark.parametrize("wanted", [{"tail_bytes": 0}, {"feed": False}, {"fan_out": 2, "feed": True}], ids=shown)
def test_asking_for_something_else(wanted):
    """Settings are fixed when a store is created; both sides are told."""
    story = opened(wanted)
    story.get("store.json", found(DESCRIPTION))
    error = story.raised(InvalidInput)
    assert error.details == {
        "asked": wanted,
        "found": {name: getattr(DESCRIPTION.settings, name) for name in wanted},
    }


@pytest.mark.parametrize(
    "wanted",
    [{"tail_bytes": -1}, {"tail_bytes": 2**30}, {"fan_out": 1}, {"fan_out": 1025}, {"tail_bytes": 1.5}, {"feed": "no"}],
    ids=shown,
)
def test_impossible_settings(wanted):
    """Refused before any request: a store with them could not be opened again."""
    opened(wanted).raised(InvalidInput)


def test_no_store_and_none_wanted():
    """Nothing is written, and the message says how one is made."""
    story = opened(create=False)
    story.get("store.json", MISSING)
    assert "headstream init" in story.raised(StoreNotFound).message


@pytest.mark.parametrize("fault", FAULTS, ids=shown)
def test_storage_that_does_not_answer(fault):
    """Try again later."""
    story = opened()
    story.get("store.json", fault)
    error = story.raised(Unavailable)
    assert error.details == {"key": "store.json", "reason": fault.reason}
    assert error.__cause__ is fault


# --- creating ----------------------------------------------------------------------------------------------------


def test_a_new_store():
    """Created only if absent, with the settings asked for, and read back."""
    story = creating({"fan_out": 7})
    commit = story.commit(Stored("e"))
    assert (commit.head.key, commit.head.when) == ("store.json", ABSENT)
    made = store.decode(commit.head.body)
    assert made == Description(1, UUID(bytes=ident(1)), made.created_at, Settings(tail_bytes=4096, fan_out=7))
    assert made.created_at == "2023-11-14T22:13:21+00:00"
    assert MICROS == 1_700_000_000_000_000
    assert b"\n" in commit.head.body, "people read it"
    story.get("store.json", Found(commit.head.body, "e"))
    assert story.returned() == made


def test_the_storage_is_probed():
    """A create, a second one, a swap, a stale one: each with its condition, under a key of its own."""
    story = opened()
    story.get("store.json", MISSING)
    story.stamp(1)
    assert probed(story, *GOOD) == [
        (b"first", ABSENT),
        (b"again", ABSENT),
        (b"swapped", Matches("1")),
        (b"stale", Matches("1")),
    ]
    assert story.delete() == (PROBE,)


def test_two_creators():
    """One wins; the other takes what it finds, which is the winner's."""
    story = creating()
    story.commit(REFUSED)
    story.get("store.json", found(DESCRIPTION))
    assert story.returned() == DESCRIPTION


def test_two_creators_who_want_different_things():
    """The loser does not get a store that it did not ask for."""
    story = creating({"tail_bytes": 0})
    story.commit(REFUSED)
    story.get("store.json", found(DESCRIPTION))
    assert story.raised(InvalidInput).details["found"] == {"tail_bytes": 4096}


def test_created_without_an_answer():
    """Whatever became of the request: what is there now counts."""
    story = creating()
    commit = story.commit(Unknown("time-out"))
    story.get("store.json", Found(commit.head.body, "e"))
    assert story.returned().store_id == UUID(bytes=ident(1))


@pytest.mark.parametrize("answer", [Unknown("time-out"), Refused("the storage answered 412", "SomeLease")], ids=shown)
def test_created_but_not_there(answer):
    """Neither ours nor another's: try again later."""
    story = creating()
    story.commit(answer)
    story.get("store.json", MISSING)
    why = {"reason": answer.reason, "code": answer.code} if answer.code else {"reason": "time-out"}
    assert story.raised(Unavailable).details == {"key": "store.json", **why}


def test_creation_that_had_no_effect():
    """Try again later."""
    story = creating()
    story.commit(NotApplied("throttled"))
    story.raised(Unavailable)


@pytest.mark.parametrize(
    ("answers", "problems"),
    [
        ((REFUSED, REFUSED), ["refuses to create"]),
        ((Stored("1"), Stored("2"), REFUSED, REFUSED), ["If-None-Match is ignored", "refuses to swap"]),
        ((Stored("1"), REFUSED, REFUSED, REFUSED), ["refuses to swap"]),
        ((Stored("1"), REFUSED, Stored("2"), Stored("3")), ["If-Match is ignored"]),
        ((Stored("1"), Stored("2"), Stored("3"), Stored("4")), ["If-None-Match is ignored", "If-Match is ignored"]),
    ],
    ids=["no create", "no absent", "no swap", "no match", "nothing"],
)
def test_unsuitable_storage(answers, problems):
    """Storage that ignores conditions would lose events without a word: no store is created, and each fault is named."""
    story = opened()
    story.get("store.json", MISSING)
    story.stamp(1)
    probed(story, *answers)
    story.delete()
    message = story.raised(UnsuitableBackend).message
    assert message.count(";") == len(problems) - 1
    assert all(problem in message for problem in problems)


@pytest.mark.parametrize("fault", FAULTS, ids=shown)
def test_a_probe_that_cannot_be_removed(fault):
    """Storage that is good is tried again later; of storage that is not, there is something to say that no later try mends."""
    for answers, raised in ((GOOD, Unavailable), ((REFUSED, REFUSED), UnsuitableBackend)):
        story = opened()
        story.get("store.json", MISSING)
        story.stamp(1)
        probed(story, *answers)
        story.delete(fault)
        story.raised(raised)


@pytest.mark.parametrize("step", range(4))
@pytest.mark.parametrize("fault", FAULTS, ids=shown)
def test_a_probe_that_is_not_answered(fault, step):
    """It proves nothing: try again later."""
    story = opened()
    story.get("store.json", MISSING)
    story.stamp(1)
    probed(story, *GOOD[:step], fault)
    story.raised(Unavailable)


# --- reading the description -------------------------------------------------------------------------------------


def test_what_is_wrong_is_said_in_one_line():
    """However the object breaks its lines, and however long it is."""
    body = b'{"format": 1, "store_id": "a\n' + b"b" * 5000 + b'"}'
    with pytest.raises(CorruptData) as caught:
        store.decode(body)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("number", [0, -1, 2, 99])
def test_another_format(number):
    """Nothing but the number is looked at: a newer format may change all the rest."""
    with pytest.raises(UnsupportedFormat, match="upgrade") as caught:
        store.decode(b'{"format": %d, "settings": "whatever comes then"}' % number)
    assert caught.value.details == {"format": number, "known": 1}


GOOD_JSON = msgspec.json.encode(DESCRIPTION)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"<html>",
        b"\xff\xfe",
        b'{"format": "1"}',
        b'{"format": 1}',
        b'{"format": 1, "more": "\xff"}',
        b'{"format": 1, "more": ' + b"[" * 100_000,
        GOOD_JSON[:-1],
        GOOD_JSON + b"}",
        GOOD_JSON.replace(b"4096", b"-1"),
        GOOD_JSON.replace(b"4096", b"4096.5"),
        GOOD_JSON.replace(b"4096", b"true"),
        GOOD_JSON.replace(b'"fan_out":64', b'"fan_out":1'),
        GOOD_JSON.replace(b'"feed":true', b'"feed":1'),
        GOOD_JSON.replace(b'"fan_out":64', b'"fan_out":64,"shards":4'),
        GOOD_JSON.replace(b'"store_id":"0', b'"store_id":"x'),
        GOOD_JSON.replace(b'"created_at"', b'"created"'),
    ],
    ids=lambda body: repr(body[-40:]),
)
def test_damaged_json(body):
    """Not guessed at: corrupt, with its key, on one line."""
    assert body != GOOD_JSON
    with pytest.raises(CorruptData) as caught:
        store.decode(body)
    assert caught.value.key == "store.json"
    assert "\n" not in str(caught.value)


def test_unknown_members_at_the_top():
    """A later version may add what an older one can ignore."""
    assert store.decode(GOOD_JSON.replace(b'{"format"', b'{"comment":"hello","format"')) == DESCRIPTION
