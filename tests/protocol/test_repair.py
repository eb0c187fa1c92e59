"""Index pages, references and intents, written again from what is intact."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from headstream.errors import CorruptData, Unavailable
from headstream.model import Settings
from headstream.protocol import intent, keys, repair
from headstream.protocol.codec import Frame
from headstream.protocol.head import spans
from headstream.protocol.intent import Intent
from headstream.protocol.ops import (
    ABSENT,
    ALWAYS,
    REFUSED,
    Commit,
    Matches,
    NotApplied,
    Put,
    Stored,
    Unknown,
)
from headstream.protocol.read import load_head
from headstream.protocol.repair import Place
from headstream.protocol.segment import Ref, encode_page
from headstream.protocol.verify import begin, step
from support.script import MICROS, Script, ident
from support.shelf import Shelf
from support.streams import Stream

PAIRS = Settings(tail_bytes=0, fan_out=2, feed=False)
DAMAGES: dict[str, Callable[[Shelf, str], None]] = {
    "missing": lambda shelf, key: shelf.delete(key),
    "cut": lambda shelf, key: shelf.change(key),
    "another": lambda shelf, key: shelf.put(key, encode_page("s", 1, [Ref(1, ident(1), 1)])),
}


def place_of(key: str) -> tuple[int, int]:
    """The level and the first version of a page."""
    level, first, _ = key.rpartition("/")[2].split("-")
    return int(level), int(first)


def mend(shelf: Shelf, key: str) -> list[Put] | None:
    """The writes that put an index page in place again."""
    level, first = place_of(key)
    place: Place | None = shelf.run(repair.find_page("s", level, first))
    assert place is not None
    found = shelf.lineage(first=first, last=place.span.last + 1)
    return repair.plan_page("s", place, found, 2, ident(999))


def read_all(shelf: Shelf) -> list[int]:
    """All versions of the stream, by a walk that has no fault to tell."""
    walk, found = begin(shelf.run(load_head("s", None))), []
    while not walk.ended:
        stride = shelf.run(step(walk))
        walk = stride.walk
        assert stride.faults == []
        found += [frame.version for part in stride.parts for frame in part.chain]
    return found


# --- index pages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_every_index_page_can_be_written_again(damage: Callable[[Shelf, str], None]):
    """One of the lowest level is what it was, byte for byte; a higher one gets fresh pages below it."""
    stream = Stream(PAIRS).times(16)
    pages = stream.keys_of("index/")
    assert {place_of(key)[0] for key in pages} == {1, 2, 3}
    for key in pages:
        shelf = Shelf(stream.objects)
        damage(shelf, key)
        puts = mend(shelf, key)
        assert puts is not None
        assert puts[-1].key == key
        assert isinstance(puts[-1].when, Matches) == (damage is not DAMAGES["missing"])
        assert all(put.when == ALWAYS and put.key.endswith(ident(999).hex()) for put in puts[:-1])
        assert shelf.run(repair.write(puts))
        if place_of(key)[0] == 1:
            assert shelf.snapshot() == stream.objects
        assert read_all(shelf) == list(range(1, 17))


def test_a_page_that_is_in_order_is_left_alone():
    """Also one that nothing refers to, and one of a newer format."""
    stream = Stream(PAIRS).times(16)
    shelf = Shelf(stream.objects)
    for key in stream.keys_of("index/"):
        assert shelf.run(repair.find_page("s", *place_of(key))) is None
    assert shelf.run(repair.find_page("s", 1, 16)) is None
    assert shelf.run(repair.find_page("s", 9, 1)) is None
    assert shelf.run(repair.find_page("none", 1, 1)) is None
    key = stream.keys_of("index/")[0]
    shelf.change(key, lambda body: bytes([body[0], 2]) + body[2:])
    assert shelf.run(repair.find_page("s", *place_of(key))) is None


def test_a_page_behind_another_that_cannot_be_read():
    """First the one that leads to it."""
    stream = Stream(PAIRS).times(16)
    shelf = Shelf(stream.objects)
    top = next(key for key in stream.keys_of("index/") if place_of(key)[0] == 3)
    shelf.delete(top)
    with pytest.raises(CorruptData) as caught:
        shelf.run(repair.find_page("s", 1, 1))
    assert caught.value.key == top


def test_segments_that_do_not_add_up():
    """A segment that is missing, or of another size than the reference says: no page is planned."""
    stream = Stream(PAIRS).times(16)
    key = stream.keys_of("index/")[0]
    segments = stream.keys_of("segments/")
    for number in (0, 1, 2):
        shelf = Shelf(stream.objects)
        shelf.delete(key, segments[number])
        assert mend(shelf, key) is None
    shelf = Shelf(stream.objects)
    shelf.delete(key)
    place = shelf.run(repair.find_page("s", 1, 1))
    assert place is not None
    ref = Ref(1, place.span.ref.id, place.span.ref.size + 1)
    wrong = Place(type(place.span)(1, ref, place.span.last), place.when)
    assert repair.plan_page("s", wrong, shelf.lineage(last=3), 2, ident(9)) is None
    assert repair.plan_page("s", place, shelf.lineage(last=9), 2, ident(9)) is None


@pytest.mark.parametrize("fan_out", [2, 3, 5])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 9, 10, 31])
def test_levels_are_those_of_a_stream_that_grew(fan_out: int, count: int):
    """With other pages, but in the same places."""
    stream = Stream(Settings(tail_bytes=0, fan_out=fan_out, feed=False)).times(count)
    shelf = Shelf(stream.objects)
    found = shelf.lineage()
    refs = [*found.chain, *[leaf.ref for leaf in found.leaves]]
    levels, puts = repair.shelve("s", refs, fan_out, ident(999))
    grown = stream.known.state.fields
    assert [[(ref.first, ref.size) for ref in level] for level in levels] == [
        [(ref.first, ref.size) for ref in level] for level in grown.levels
    ]
    assert levels[:1] == grown.levels[:1]
    assert sorted(put.key[:-33] for put in puts) == sorted(key[:-33] for key in stream.keys_of("index/"))
    assert len(spans(grown)) == sum(map(len, levels))


# --- intents -------------------------------------------------------------------------------------------------------


def test_an_intent_is_made_of_its_key():
    """Only if it cannot be read, and is still there."""
    key = keys.intent(ident(1), 7, "a/b")
    good = intent.put(Intent(ident(1), "a/b", 7, MICROS, []))
    assert good.key == key
    shelf = Shelf()
    assert shelf.run(repair.plan_intent(key)) is None
    shelf.put(key, good.body)
    assert shelf.run(repair.plan_intent(key)) is None
    shelf.change(key)
    put = shelf.run(repair.plan_intent(key))
    assert put is not None
    assert put.when == Matches(shelf.backend._objects[key].etag)
    made = intent.decode(put.body, key)
    assert (made.id, made.stream, made.follows, made.objects) == (ident(1), "a/b", 7, [])
    assert made.micros == int.from_bytes(ident(1)[:6], "big") * 1000


def test_changesets_are_announced_again():
    """As they were announced first, but for the objects that were made for them."""
    frames = [frame for frame in Stream().grow(1, 1).grow().chain() if isinstance(frame, Frame)]
    puts = repair.announce("s", frames)
    assert [put.key for put in puts] == [keys.intent(ident(1), 0, "s"), keys.intent(ident(2), 2, "s")]
    made = intent.decode(puts[1].body, puts[1].key)
    assert made == Intent(ident(2), "s", 2, frames[1].micros, [])


def test_an_intent_is_removed():
    """Or the storage does not answer."""
    shelf = Shelf({"inbox/x": b""})
    shelf.run(repair.remove("inbox/x"))
    assert shelf.snapshot() == {}
    story = Script(repair.remove("inbox/x"))
    assert story.delete(NotApplied("throttled")) == ("inbox/x",)
    assert story.raised(Unavailable)


# --- writing -------------------------------------------------------------------------------------------------------


def test_the_last_object_is_written_when_all_others_are(monkeypatch: pytest.MonkeyPatch):
    """Some at once; what counts is whether the last one's condition held."""
    monkeypatch.setattr(repair, "WRITES", 2)
    puts = [Put(f"k{number}", b"", ALWAYS) for number in range(5)]
    puts.append(Put("last", b"", ABSENT))
    for answer, done in ((Stored("e"), True), (REFUSED, False)):
        story = Script(repair.write(puts))
        together = []
        for _ in range(3):
            commit = story.expect(Commit, Stored("e"))
            together.append([put.key for put in (*commit.prelude, commit.head)])
        assert together == [["k0", "k1"], ["k2", "k3"], ["k4"]]
        commit = story.expect(Commit, answer)
        assert (commit.prelude, commit.head.key) == ((), "last")
        assert story.returned() is done


@pytest.mark.parametrize("fault", [NotApplied("throttled"), Unknown("time-out")])
def test_a_write_of_unknown_outcome_ends_the_repair(fault: Exception):
    """Nobody knows what is there now: verify again."""
    story = Script(repair.write([Put("a", b"", ALWAYS), Put("b", b"", ABSENT)]))
    story.expect(Commit, fault)
    assert "verify it again" in story.raised(Unavailable).message


def test_fresh_ids():
    """From the driver, with the time."""
    story = Script(repair.fresh())
    story.stamp(3)
    assert story.returned().id == ident(3)
