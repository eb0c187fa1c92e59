"""Which segments a stream is made of, by what they say of each other."""

from __future__ import annotations

import pytest

from headstream import limits
from headstream.model import Settings
from headstream.protocol import keys, lineage
from headstream.protocol.lineage import survey
from headstream.protocol.verify import START
from support.script import ident
from support.shelf import Shelf, attempt
from support.streams import BLOBS, Stream

PAIRS = Settings(tail_bytes=0, fan_out=2, feed=False)
SMALL = Settings(tail_bytes=150, fan_out=3, feed=False)


def refs(stream: Stream) -> list[tuple[int, bytes]]:
    """The segments of a stream by their first versions and ids, oldest first."""
    found = [key.rpartition("/")[2].split("-") for key in stream.keys_of("segments/")]
    return [(int(first), bytes.fromhex(name)) for first, name in found]


@pytest.mark.parametrize("settings", [BLOBS, PAIRS, SMALL])
@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_the_segments_of_a_stream(settings: Settings, count: int):
    """All but the newest are named by another; the newest is the only leaf."""
    stream = Stream(settings).times(count)
    found = Shelf(stream.objects).lineage()
    expected = refs(stream)
    assert [(ref.first, ref.id) for ref in found.chain] == expected[:-1]
    assert [(leaf.ref.first, leaf.ref.id) for leaf in found.leaves] == expected[-1:]
    sealed = stream.known.state.fields.sealed
    if found.leaves:
        end = found.leaves[0].end
        assert (end.version, end.changeset_id, end.digest) == (sealed.version, sealed.changeset_id, sealed.digest)
    if len(expected) < 2:
        assert found.end == START


def test_what_failed_attempts_left():
    """At any place they are no part of the chain; at the end they are leaves, and say how much of them was committed."""
    stream = Stream(SMALL)
    shelf = Shelf()
    for number in range(1, 9):
        stream.grow()
        for key, body in {**attempt(stream, 500 + number, 400), **attempt(stream, 600 + number, 40)}.items():
            shelf.put(key, body)
    for key, body in stream.objects.items():
        shelf.put(key, body)
    found = shelf.lineage()
    true = refs(stream)
    chain = [(ref.first, ref.id) for ref in found.chain]
    assert chain == true[: len(chain)]
    assert len(chain) >= len(true) - 1
    ends = {leaf.end.version: leaf.committed for leaf in found.leaves}
    assert ends[9] == 8, "the changeset of an attempt may never have been committed"
    assert all(committed <= 8 for committed in ends.values())


def test_objects_that_are_no_segments_are_left_out():
    """Another name, another key than its own, damage: the chain ends where it cannot be followed."""
    stream = Stream(BLOBS).times(6)
    shelf = Shelf(stream.objects)
    names = shelf.keys_of("segments/")
    shelf.put("segments/s/0000000000000001-x", b"")
    shelf.put("segments/s/what", b"")
    shelf.put(keys.segment("s", 2, ident(77)), shelf.body(names[1]))
    found = shelf.lineage()
    assert ([ref.first for ref in found.chain], found.loose) == ([1, 2, 3, 4, 5], 0)
    shelf.change(names[3])
    found = shelf.lineage()
    assert ([ref.first for ref in found.chain], [leaf.ref.first for leaf in found.leaves]) == ([1, 2], [3])
    assert found.loose == 2
    shelf.delete(names[0])
    found = shelf.lineage()
    assert (found.chain, found.leaves, found.loose) == ([], [], 4)


def test_a_part_of_a_stream():
    """From a version in the middle; the segment after the last proves it."""
    stream = Stream(BLOBS).times(9)
    shelf = Shelf(stream.objects)
    found = shelf.lineage(first=3, last=6)
    assert [ref.first for ref in found.chain] == [3, 4, 5]
    assert found.end.version == 5
    assert [leaf.ref.first for leaf in found.leaves] == [6]
    assert shelf.lineage(first=10).chain == []


def test_a_survey_goes_page_by_page(monkeypatch: pytest.MonkeyPatch):
    """However many there are; a segment that is removed meanwhile is left out."""
    monkeypatch.setattr(limits, "LIST_PAGE", 3)
    monkeypatch.setattr(lineage, "AT_ONCE", 2)
    stream = Stream(BLOBS).times(8)
    shelf = Shelf(stream.objects)
    assert [ref.first for ref in shelf.lineage().chain] == [1, 2, 3, 4, 5, 6, 7]
    assert [ref.first for ref in shelf.lineage(last=4).chain] == [1, 2, 3]
    rest = survey("s")
    _, rest = shelf.run(lineage.step(rest))
    shelf.delete(shelf.keys_of("segments/")[0])
    nodes, rest = shelf.run(lineage.step(rest))
    assert [node.ref.first for node in nodes] == [2]
    assert rest.names == (stream.keys_of("segments/")[2],)
