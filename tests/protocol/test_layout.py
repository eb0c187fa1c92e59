"""Layouts: what a head says of where the objects of a stream lie."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import msgspec

from headstream.errors import CorruptData, InvalidInput, Unavailable
from headstream.model import Settings
from headstream.protocol import head, keys, layout
from headstream.protocol.head import Known, nothing
from headstream.protocol.layout import Layout, Reference
from headstream.protocol.ops import MISSING, NOT_MODIFIED, Found, Unknown
from support.script import Script, ident, run
from support.streams import TAIL, Stream

PAIRS = Settings(tail_bytes=0, fan_out=2, feed=False)


def load(stream: Stream) -> Layout:
    """The layout of a stream that exists."""
    found = run(layout.load(stream.name, None), stream.objects)
    assert found is not None
    return found


def test_a_stream_that_does_not_exist():
    """It has no layout."""
    assert run(layout.load("s", None)) is None


def test_a_stream_that_was_fenced_before_it_existed():
    """A head of version 0 is no stream, and has no layout."""
    body = head.encode(head.fenced(nothing("s").state))
    assert run(layout.load("s", None), {"heads/s": body}) is None


def test_a_short_stream():
    """All of it is in the tail; it references nothing."""
    stream = Stream(TAIL).grow(1, 1, key="k").times(1)
    found = load(stream)
    assert (found.stream, found.version, found.key, found.fence) == ("s", 3, "heads/s", 0)
    assert (found.changeset_id, found.parent_id) == (UUID(bytes=ident(2)), UUID(bytes=ident(1)))
    assert found.digest == stream.known.state.fields.digest.hex()
    assert found.size == len(stream.objects["heads/s"])
    assert found.references == ()
    assert [(one.id, one.first, one.last, one.size, one.key) for one in found.tail] == [
        (UUID(bytes=ident(1)), 1, 2, len(stream.frames[0]), "k"),
        (UUID(bytes=ident(2)), 3, 3, len(stream.frames[1]), None),
    ]
    assert found.tail[0].recorded_at == datetime(2023, 11, 14, 22, 13, 21, tzinfo=UTC)


def test_the_first_changeset_has_no_parent():
    """The list ends there."""
    assert load(Stream().grow()).parent_id is None


def test_a_known_head():
    """A head that did not change costs no body."""
    stream = Stream().times(2)
    story = Script(layout.load("s", stream.known))
    story.get("heads/s", NOT_MODIFIED, if_none_match="e2")
    assert story.returned() == msgspec.structs.replace(load(stream), etag="e2")


def test_references():
    """Oldest first, over all levels; together they cover all versions before the tail."""
    stream = Stream(PAIRS).times(5)
    found = load(stream)
    assert [(one.level, one.first, one.last) for one in found.references] == [(1, 1, 2), (1, 3, 4), (0, 5, 5)]
    assert [one.key for one in found.references] == [
        keys.page("s", 1, 1, ident(3)),
        keys.page("s", 1, 3, ident(5)),
        keys.segment("s", 5, ident(5)),
    ]
    assert all(one.key in stream.objects for one in found.references)
    assert found.tail == ()


def test_what_a_page_references():
    """One request, and one level down."""
    stream = Stream(PAIRS).times(7)
    (top, _, _) = load(stream).references
    assert (top.level, top.first, top.last) == (2, 1, 4)
    below = run(layout.open_page(top), stream.objects)
    assert [(one.level, one.first, one.last) for one in below] == [(1, 1, 2), (1, 3, 4)]
    lowest = run(layout.open_page(below[1]), stream.objects)
    assert [(one.level, one.first, one.last) for one in lowest] == [(0, 3, 3), (0, 4, 4)]
    assert sum(one.size for one in below) == top.size


def a_page() -> tuple[Stream, Reference]:
    """A stream, and the reference to its index page."""
    stream = Stream(PAIRS).times(3)
    return stream, load(stream).references[0]


def test_a_segment_is_no_page():
    """It references nothing by an index, and says so before any request."""
    _, page = a_page()
    story = Script(layout.open_page(msgspec.structs.replace(page, level=0)))
    story.raised(InvalidInput)


def test_a_page_that_cannot_be_had():
    """Missing is corrupt, silence is not."""
    stream, page = a_page()
    story = Script(layout.open_page(page))
    story.get(page.key, MISSING)
    assert story.raised(CorruptData).key == page.key
    story = Script(layout.open_page(page))
    story.get(page.key, Unknown("time-out"))
    assert story.raised(Unavailable).details == {"key": page.key, "reason": "time-out"}
    story = Script(layout.open_page(page))
    story.get(page.key, Found(stream.objects[page.key][:-1], "e"))
    assert story.raised(CorruptData).key == page.key


def test_a_damaged_tail_is_reported():
    """Nothing is shown that was not checked."""
    stream = Stream().times(2)
    known = Known(msgspec.structs.replace(stream.known.state, tail=(b"damaged", stream.frames[1])), "e")
    story = Script(layout.load("s", known))
    story.get("heads/s", NOT_MODIFIED, if_none_match="e")
    assert story.raised(CorruptData).key == "heads/s"
