"""Reading: which objects a read asks for, in which order and how many at once, and what it says when one is not right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstream import limits
from headstream.errors import CorruptData, Unavailable
from headstream.model import RecordedEvent, Settings
from headstream.protocol import head, keys, read
from headstream.protocol.head import Known, nothing
from headstream.protocol.ops import MISSING, NOT_MODIFIED, Found, NotApplied, Page, Unknown
from headstream.protocol.read import Cursor
from headstream.protocol.segment import Ref, encode_page
from support import shown
from support.script import Script, ident, run
from support.streams import BLOBS, TAIL, Stream

FAULTS = [NotApplied("throttled"), Unknown("time-out")]
PAIRS = Settings(tail_bytes=0, fan_out=2, feed=False)
ONE = len(Stream().times(2).frames[1])
"""A tail of so many bytes holds one changeset: each append seals the one before."""


def begin(stream: Stream, known: Known | None = None, **asked: Any) -> Cursor:
    """The start of a read of ``stream``."""
    arguments: dict[str, Any] = {"after": 0, "before": None, "limit": None, "backwards": False} | asked
    return run(read.start(stream.name, known, **arguments), stream.objects)


def read_all(
    cursor: Cursor, objects: Mapping[str, bytes]
) -> tuple[list[RecordedEvent], list[list[list[str]]], list[list[int]]]:
    """The events of a whole read; the keys of each request of each step; the versions of each step."""
    events: list[RecordedEvent] = []
    asked: list[list[list[str]]] = []
    pages: list[list[int]] = []
    while not cursor.exhausted:
        story = Script(read.step(cursor))
        asked.append(story.serve(objects))
        page, cursor = story.returned()
        assert page, "a step that yields nothing would let a reader spin"
        pages.append([event.version for event in page])
        events += page
    return events, asked, pages


def segments(*versions: int) -> list[str]:
    """Keys of blobs that hold one event each."""
    return [keys.segment("s", version, ident(version)) for version in versions]


# --- the head ----------------------------------------------------------------------------------------------------


def test_a_head_that_nobody_knows():
    """One GET."""
    stream = Stream().times(3)
    story = Script(read.load_head("s", None))
    story.get("heads/s", stream.found())
    assert story.returned() == stream.known


def test_a_known_head_is_asked_for_by_its_etag():
    """304: an unchanged stream costs no body."""
    stream = Stream().times(3)
    story = Script(read.load_head("s", stream.known))
    story.get("heads/s", NOT_MODIFIED, if_none_match="e3")
    assert story.returned() is stream.known


def test_a_known_head_that_changed():
    """The new one is taken."""
    stream = Stream().times(3)
    old = stream.known
    stream.grow()
    story = Script(read.load_head("s", old))
    story.get("heads/s", stream.found(), if_none_match="e3")
    assert story.returned() == stream.known


@pytest.mark.parametrize("known", [None, nothing("s")], ids=["unknown", "known not to exist"])
def test_a_stream_that_does_not_exist(known):
    """Version 0, no etag, and no error."""
    story = Script(read.load_head("s", known))
    story.get("heads/s", MISSING)
    assert story.returned() == nothing("s")


@pytest.mark.parametrize("fault", FAULTS, ids=shown)
def test_a_head_that_cannot_be_had(fault):
    """After all retries of the layers below: try again later; the cause is kept."""
    story = Script(read.load_head("s", None))
    story.get("heads/s", fault)
    error = story.raised(Unavailable)
    assert error.details == {"key": "heads/s", "reason": fault.reason}
    assert error.__cause__ is fault


def test_a_damaged_head():
    """It is named."""
    story = Script(read.load_head("s", None))
    story.get("heads/s", Found(b"<html>", "e"))
    assert story.raised(CorruptData).key == "heads/s"


# --- ranges ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ({}, 1, 10),
        ({"after": 4}, 5, 10),
        ({"before": 5}, 1, 4),
        ({"after": 2, "before": 8}, 3, 7),
        ({"limit": 3}, 1, 3),
        ({"limit": 100}, 1, 10),
        ({"after": 2, "before": 8, "limit": 2}, 3, 4),
        ({"backwards": True}, 1, 10),
        ({"backwards": True, "limit": 3}, 8, 10),
        ({"backwards": True, "after": 8, "limit": 3}, 9, 10),
        ({"backwards": True, "after": 2, "before": 8, "limit": 2}, 6, 7),
        ({"before": 1000}, 1, 10),
    ],
    ids=shown,
)
def test_what_is_asked(asked, first, last):
    """``after < version < before``, at most ``limit``, from the end if backwards."""
    cursor = begin(Stream().times(10), **asked)
    assert (cursor.first, cursor.last) == (first, last)
    assert not cursor.exhausted


@pytest.mark.parametrize(
    "asked",
    [
        {"limit": 0},
        {"limit": 0, "backwards": True},
        {"after": 10},
        {"after": 10**20},
        {"before": 1},
        {"after": 5, "before": 6},
    ],
    ids=shown,
)
def test_nothing_is_asked(asked):
    """Then no object but the head is."""
    assert begin(Stream(BLOBS).times(10), **asked).exhausted


def test_a_stream_without_events():
    """Nothing to read is no error."""
    assert begin(Stream()).exhausted
    assert begin(Stream(), backwards=True).exhausted


HISTORIES = st.tuples(
    st.integers(0, 200),
    st.integers(2, 4),
    st.lists(st.lists(st.integers(0, 60), min_size=1, max_size=3), min_size=1, max_size=25),
)


ASKED = st.fixed_dictionaries(
    {
        "after": st.integers(0, 40),
        "before": st.none() | st.integers(1, 41),
        "limit": st.none() | st.integers(0, 40),
        "backwards": st.booleans(),
    }
)


@given(HISTORIES, ASKED, st.sampled_from([1, 150, limits.READ_WINDOW]))
def test_any_read_of_any_stream(history, asked, window):
    """What a list would give, whatever the layout and the window; no segment is fetched twice."""
    tail_bytes, fan_out, changesets = history
    stream = Stream(Settings(tail_bytes=tail_bytes, fan_out=fan_out, feed=False))
    for sizes in changesets:
        stream.grow(*sizes)
    before = asked["before"] or limits.MAX_VERSION
    expected = [event for event in stream.events() if asked["after"] < event.version < before]
    if asked["backwards"]:
        expected.reverse()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "READ_WINDOW", window)
        events, requests, _ = read_all(begin(stream, **asked), stream.objects)
    assert events == expected[: asked["limit"]]
    segments_asked = [key for step in requests for request in step for key in request if key.startswith("segments/")]
    assert len(segments_asked) == len(set(segments_asked))


# --- requests ----------------------------------------------------------------------------------------------------


def test_a_short_stream_is_in_its_head():
    """No other object is asked for."""
    stream = Stream(TAIL).grow(1, 1).times(2)
    events, asked, _ = read_all(begin(stream), stream.objects)
    assert asked == [[]]
    assert events == stream.events()


def test_segments_are_fetched_together():
    """Those of the head in one request, oldest first; the next step has the tail."""
    stream = Stream(Settings(tail_bytes=ONE, fan_out=8, feed=False)).times(4)
    sealed = stream.known.state.fields.sealed.version
    assert sealed == 3
    _, asked, pages = read_all(begin(stream), stream.objects)
    assert asked == [[stream.keys_of("segments/")], []]
    assert pages == [[1, 2, 3], [4]]


def test_backwards_begins_with_the_tail():
    """And goes on with the segments; each step's events are newest first."""
    stream = Stream(Settings(tail_bytes=ONE, fan_out=8, feed=False)).times(4)
    _, asked, pages = read_all(begin(stream, backwards=True), stream.objects)
    assert asked == [[], [stream.keys_of("segments/")]]
    assert pages == [[4], [3, 2, 1]]


def test_the_newest_events_touch_no_old_segment():
    """The last n events cost what they weigh."""
    stream = Stream(BLOBS).times(4)
    _, asked, pages = read_all(begin(stream, backwards=True, limit=2), stream.objects)
    assert asked == [[segments(3, 4)]]
    assert pages == [[4, 3]]


def test_only_what_overlaps_is_fetched():
    """Both ends of the range are respected."""
    stream = Stream(Settings(tail_bytes=0, fan_out=20, feed=False)).times(10)
    for backwards in (False, True):
        _, asked, _ = read_all(begin(stream, after=3, before=7, backwards=backwards), stream.objects)
        assert asked == [[segments(4, 5, 6)]]


def test_a_window_has_a_size(monkeypatch):
    """As many segments as fit, and at least one."""
    stream = Stream(Settings(tail_bytes=0, fan_out=20, feed=False))
    for size in (100, 100, 100, 400, 100):
        stream.grow(size)
    sizes = [ref.size for ref in stream.known.state.fields.levels[0]]
    monkeypatch.setattr(limits, "READ_WINDOW", sum(sizes[1:3]))
    _, asked, pages = read_all(begin(stream), stream.objects)
    assert asked == [[segments(1, 2)], [segments(3)], [segments(4)], [segments(5)]]
    assert pages == [[1, 2], [3], [4], [5]]
    _, asked, pages = read_all(begin(stream, backwards=True), stream.objects)
    assert asked == [[segments(5)], [segments(4)], [segments(2, 3)], [segments(1)]]
    assert pages == [[5], [4], [3, 2], [1]]


def test_a_window_has_a_number_of_objects(monkeypatch):
    """However small they are."""
    monkeypatch.setattr(limits, "READ_WINDOW_OBJECTS", 3)
    stream = Stream(Settings(tail_bytes=0, fan_out=20, feed=False)).times(7)
    _, asked, _ = read_all(begin(stream), stream.objects)
    assert asked == [[segments(1, 2, 3)], [segments(4, 5, 6)], [segments(7)]]


def test_the_first_version_is_one_page_a_level_away():
    """Nine blobs in pairs: the pages down to the first, and then each page once."""
    stream = Stream(PAIRS).times(9)
    _, asked, pages = read_all(begin(stream), stream.objects)
    top, first, second, third = (
        keys.page("s", 2, 1, ident(7)),
        keys.page("s", 1, 1, ident(3)),
        keys.page("s", 1, 3, ident(5)),
        keys.page("s", 1, 5, ident(7)),
    )
    fourth = keys.page("s", 1, 7, ident(9))
    assert asked == [
        [[top], [first], segments(1, 2)],
        [[top], [second], segments(3, 4)],
        [[third], segments(5, 6)],
        [[fourth], segments(7, 8)],
        [segments(9)],
    ]
    assert pages == [[1, 2], [3, 4], [5, 6], [7, 8], [9]]


def test_a_page_serves_several_windows(monkeypatch):
    """References once had are kept by the cursor: a page is not asked for again."""
    monkeypatch.setattr(limits, "READ_WINDOW_OBJECTS", 1)
    stream = Stream(Settings(tail_bytes=0, fan_out=3, feed=False)).times(4)
    page = keys.page("s", 1, 1, ident(4))
    _, asked, _ = read_all(begin(stream), stream.objects)
    assert asked == [[[page], segments(1)], [segments(2)], [segments(3)], [segments(4)]]
    _, asked, _ = read_all(begin(stream, backwards=True), stream.objects)
    assert asked == [[segments(4)], [[page], segments(3)], [segments(2)], [segments(1)]]


def test_a_read_goes_on_in_the_head_that_it_began_with():
    """What is appended meanwhile is not seen, and nothing that is needed goes away."""
    stream = Stream(PAIRS).times(5)
    cursor = begin(stream)
    expected = stream.events()
    stream.times(20)
    assert read_all(cursor, stream.objects)[0] == expected


@pytest.mark.parametrize(("version", "gets"), [(1, 5), (16, 5), (32, 1), (33, 0)])
def test_the_newest_are_near_and_the_oldest_not_far(version, gets):
    """Versions in the tail cost no request, in the newest segment one, in the oldest one a level."""
    stream = Stream(Settings(tail_bytes=ONE, fan_out=2, feed=False)).times(33)
    _, asked, _ = read_all(begin(stream, after=version - 1, limit=1), stream.objects)
    assert sum(map(len, asked)) <= gets


# --- objects that are not right ----------------------------------------------------------------------------------


def objects_without(stream: Stream, key: str) -> dict[str, bytes]:
    """All objects but one."""
    return {other: body for other, body in stream.objects.items() if other != key}


def every_object(settings: Settings) -> list[str]:
    """Keys of all segments and pages that reads of the streams below need."""
    stream = Stream(settings).times(9)
    return [*stream.keys_of("segments/"), *stream.keys_of("index/")]


@pytest.mark.parametrize("key", every_object(PAIRS))
@pytest.mark.parametrize("damage", ["missing", "damaged", "misplaced"])
def test_an_object_that_is_not_right(key, damage):
    """Missing, damaged or another one's: the read says which it is, and yields nothing wrong before."""
    stream = Stream(PAIRS).times(9)
    objects = objects_without(stream, key)
    if damage == "damaged":
        objects[key] = stream.objects[key][:-1]
    if damage == "misplaced":
        folder = key.split("/")[0] + "/"
        objects[key] = next(stream.objects[other] for other in stream.keys_of(folder) if other != key)
    events: list[RecordedEvent] = []

    def read_on(cursor: Cursor) -> None:
        while not cursor.exhausted:
            page, cursor = run(read.step(cursor), objects)
            events.extend(page)

    with pytest.raises(CorruptData) as caught:
        read_on(begin(stream))
    assert caught.value.key == key
    assert events == stream.events()[: len(events)]


@pytest.mark.parametrize("fault", FAULTS, ids=shown)
def test_a_segment_that_cannot_be_had(fault):
    """Try again later; the same cursor can be used."""
    stream = Stream(BLOBS).times(3)
    cursor = begin(stream)
    story = Script(read.step(cursor))
    story.get_many(segments(1, 2, 3), fault)
    assert story.raised(Unavailable).details == {"key": segments(1)[0], "reason": fault.reason}
    assert read_all(cursor, stream.objects)[0] == stream.events()


@pytest.mark.parametrize("fault", FAULTS, ids=shown)
def test_a_page_that_cannot_be_had(fault):
    """The same."""
    stream = Stream(PAIRS).times(3)
    story = Script(read.step(begin(stream)))
    page = keys.page("s", 1, 1, ident(3))
    story.get(page, fault)
    assert story.raised(Unavailable).details == {"key": page, "reason": fault.reason}


def test_segments_of_two_histories():
    """Each segment names the changeset before it: a whole one from elsewhere does not fit in."""
    mine = Stream(BLOBS).times(3)
    yours = Stream(BLOBS).times(1).grow(number=7).grow(number=3)
    key = keys.segment("s", 3, ident(3))
    story = Script(read.step(begin(mine)))
    story.serve(mine.objects | {key: yours.objects[key]})
    error = story.raised(CorruptData)
    assert (error.key, error.message) == (key, "the segment does not follow the one before it")


def test_a_page_that_covers_less_than_it_should():
    """What a page references must lead to what its reference promised."""
    stream = Stream(PAIRS).times(3)
    page = keys.page("s", 1, 1, ident(3))
    size = stream.known.state.fields.levels[1][0].size
    refs = [Ref(1, ident(1), len(stream.frames[0])), Ref(2, ident(9), size - len(stream.frames[0]))]
    story = Script(read.step(begin(stream)))
    story.serve(stream.objects | {page: encode_page("s", 1, refs)})
    assert story.raised(CorruptData).key == keys.segment("s", 2, ident(9))


def test_a_damaged_tail():
    """The frames in the head have checksums of their own."""
    stream = Stream().times(2)
    tail = (stream.frames[0], stream.frames[1][:-1] + b"?")
    known = Known(msgspec.structs.replace(stream.known.state, tail=tail), "e")
    story = Script(read.step(Cursor(known, 1, 2)))
    assert story.raised(CorruptData).key == "heads/s"


def test_a_tail_that_begins_elsewhere():
    """Its changesets follow each other up to the newest, and the first of them does not follow the segments."""
    stream = Stream().times(3)
    state = stream.known.state
    known = Known(msgspec.structs.replace(state, tail=state.tail[1:]), "e")
    story = Script(read.step(Cursor(known, 1, 3)))
    assert "does not begin where its segments end" in str(story.raised(CorruptData))


# --- one changeset -----------------------------------------------------------------------------------------------

MIXED = Settings(tail_bytes=120, fan_out=2, feed=False)


def mixed() -> Stream:
    """Changesets of one to three events, in the tail, in segments and behind pages."""
    stream = Stream(MIXED)
    for count in (1, 2, 3) * 6:
        stream.grow(*[1] * count)
    assert len(stream.known.state.fields.levels) > 1
    return stream


def test_the_changeset_after_any_version():
    """Found in the tail, in the newest segment, or down the index."""
    stream = mixed()
    for frame in stream.chain():
        for version in range(frame.follows, frame.version):
            assert run(read.changeset_after(stream.known, version), stream.objects) == frame


def test_the_changeset_after_a_version_that_was_not_reached():
    """That is the caller's error, or the stream's."""
    stream = mixed()
    with pytest.raises(CorruptData, match=f"no changeset holds version {stream.version + 1} "):
        run(read.changeset_after(stream.known, stream.version), stream.objects)


def all_changesets(stream: Stream, follows: list[int]) -> tuple[list[int], list[list[list[str]]]]:
    """The versions that the changesets follow which are found for ``follows``; the keys of each request of each call."""
    found: list[int] = []
    asked: list[list[list[str]]] = []
    while follows:
        story = Script(read.changesets(stream.known, follows))
        asked.append(story.serve(stream.objects))
        chain, answered = story.returned()
        assert 1 <= answered <= len(follows)
        assert {frame.follows for frame in chain} <= set(follows[:answered])
        found += [frame.follows for frame in chain]
        follows = follows[answered:]
    return found, asked


@given(st.sets(st.integers(0, 35), min_size=1), st.sampled_from([1, 150, limits.READ_WINDOW]))
def test_the_changesets_after_some_versions(wanted, window):
    """Those that begin there, each once; a version in the middle of a changeset has none."""
    stream = mixed()
    begins = {frame.follows for frame in stream.chain()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "READ_WINDOW", window)
        found, asked = all_changesets(stream, sorted(version for version in wanted if version < stream.version) or [0])
    assert found == sorted(begins & wanted) or (found == [0] and min(wanted) >= stream.version)
    fetched = [key for call in asked for request in call for key in request if key.startswith("segments/")]
    assert len(fetched) == len(set(fetched))


def test_changesets_in_the_tail_cost_no_request():
    """All of them at once, when the first is there."""
    stream = Stream().times(5)
    assert all_changesets(stream, [0, 2, 4]) == ([0, 2, 4], [[]])


def test_changesets_in_neighbouring_segments_are_fetched_together():
    """As many as fit; a segment between them that holds none ends the run."""
    stream = Stream(Settings(tail_bytes=0, fan_out=20, feed=False)).times(8)
    assert all_changesets(stream, [1, 2, 3, 6]) == ([1, 2, 3, 6], [[segments(2, 3, 4)], [segments(7)]])


def test_changesets_in_a_segment_and_in_the_tail():
    """The tail is a call of its own."""
    stream = Stream(Settings(tail_bytes=ONE, fan_out=8, feed=False)).times(4)
    found, asked = all_changesets(stream, [2, 3])
    assert (found, [len(call) for call in asked]) == ([2, 3], [1, 0])


def test_a_window_of_changesets_has_a_number_of_objects(monkeypatch):
    """The rest is for the next call."""
    monkeypatch.setattr(limits, "READ_WINDOW_OBJECTS", 2)
    stream = Stream(Settings(tail_bytes=0, fan_out=20, feed=False)).times(5)
    assert all_changesets(stream, [0, 1, 2, 3, 4])[1] == [[segments(1, 2)], [segments(3, 4)], [segments(5)]]


def test_a_window_of_changesets_has_a_size(monkeypatch):
    """And at least one segment."""
    stream = Stream(Settings(tail_bytes=0, fan_out=20, feed=False))
    for size in (100, 100, 400, 100):
        stream.grow(size)
    sizes = [ref.size for ref in stream.known.state.fields.levels[0]]
    monkeypatch.setattr(limits, "READ_WINDOW", sizes[0] + sizes[1])
    assert all_changesets(stream, [0, 1, 2, 3])[1] == [[segments(1, 2)], [segments(3)], [segments(4)]]


@pytest.mark.parametrize("fault", FAULTS, ids=shown)
def test_changesets_that_cannot_be_had(fault):
    """Try again later."""
    stream = Stream(BLOBS).times(3)
    story = Script(read.changesets(stream.known, [0, 1]))
    story.get_many(segments(1, 2), fault)
    story.raised(Unavailable)


def test_the_newest_segment():
    """One request; none if nothing was sealed."""
    stream = Stream(BLOBS).times(3)
    story = Script(read.newest_segment(stream.known))
    story.get_many(segments(3), (Found(stream.objects[segments(3)[0]], "e"),))
    assert [frame.id for frame in story.returned()] == [ident(3)]
    assert Script(read.newest_segment(Stream().grow().known)).returned() == []


# --- names -------------------------------------------------------------------------------------------------------


def test_listing_streams():
    """A page of keys becomes a page of names, in order."""
    story = Script(read.list_streams("order-", ""))
    story.lists("heads/order-", Page(("heads/order-1", "heads/order-1.2f2"), more=True))
    assert story.returned() == (["order-1", "order-1/2"], True)


def test_listing_on():
    """The next page begins after the last name."""
    story = Script(read.list_streams("order-", "order-1/2"))
    story.lists("heads/order-", Page((), more=False), after="heads/order-1.2f2")
    assert story.returned() == ([], False)


@pytest.mark.parametrize("fault", FAULTS, ids=shown)
def test_a_list_that_cannot_be_had(fault):
    """Try again later."""
    story = Script(read.list_streams("order-", ""))
    story.lists("heads/order-", fault)
    assert story.raised(Unavailable).details == {"prefix": "order-", "reason": fault.reason}


def test_a_stranger_in_the_list():
    """An object that is no head is named, not skipped."""
    story = Script(read.list_streams("", ""))
    story.lists("heads/", Page(("heads/.DS_Store",), more=False))
    assert story.raised(CorruptData).key == "heads/.DS_Store"


def test_the_state_of_the_model_is_a_head():
    """The helper's streams are what a store would hold."""
    stream = mixed()
    assert head.decode(stream.objects["heads/s"], "heads/s", "s") == stream.known.state
