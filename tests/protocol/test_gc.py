"""Collecting garbage: what is live stays, whatever happens meanwhile; what is dead goes."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from headstream import limits
from headstream.errors import AccessDenied, CorruptData, Unavailable
from headstream.model import Settings
from headstream.protocol import append, feed, gc, head, keys, read
from headstream.protocol.append import Appended
from headstream.protocol.gc import Place, Swept, Tally
from headstream.protocol.head import nothing, spans, spans_of
from headstream.protocol.ops import (
    ABSENT,
    ALWAYS,
    MISSING,
    REFUSED,
    Commit,
    Delete,
    Found,
    Gen,
    Get,
    GetMany,
    List,
    NotApplied,
    Op,
    Page,
    Put,
    Stamp,
    Unknown,
)
from headstream.protocol.segment import decode_page
from support.script import Script
from support.world import SETTINGS, Announced, World, broken

BLOBS = Settings(tail_bytes=0, fan_out=2, feed=False, grace_seconds=60)
"""Every changeset is a segment of its own, and there are index pages soon."""
GRACE = 60
LATER = 3600.0
TIME_OUT = Unknown("time-out")
THROTTLED = NotApplied("throttled")
JUNK = b"junk"
FOLDERS = (keys.SEGMENTS, keys.INDEX)


@pytest.fixture
def world() -> World:
    """A store of many small objects."""
    return World(BLOBS)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists have three keys a page."""
    monkeypatch.setattr(limits, "LIST_PAGE", 3)


# --- what the tests look at and do ---------------------------------------------------------------------------------


def sweeping(world: World, stream: str = "s", *, dry: bool = False) -> Script[Swept]:
    """The first step of a sweep, before its first request."""
    return world.start(gc.sweep(stream, grace=GRACE, dry=dry))


def sweep(world: World, stream: str = "s", *, dry: bool = False, now: int | None = None) -> list[Swept]:
    """All steps of a sweep."""
    place: Place | None = Place()
    steps: list[Swept] = []
    while place is not None:
        steps.append(world.run(gc.sweep(stream, grace=GRACE, dry=dry, now=now, place=place)))
        place = steps[-1].rest
    return steps


def removed(steps: list[Swept]) -> int:
    """How many objects the steps removed."""
    return sum(step.segments.objects + step.pages.objects + step.snapshots.objects for step in steps)


def objects(world: World, stream: str = "s") -> set[str]:
    """The keys of all segments and pages of a stream."""
    folder = f"{keys.escape(stream)}/"
    return {*world.keys_of(keys.SEGMENTS + folder), *world.keys_of(keys.INDEX + folder)}


def live(world: World, stream: str = "s") -> set[str]:
    """The keys of all that the head of a stream leads to, each page read."""
    found: set[str] = set()
    run = spans(world.head(stream).state.fields)
    while run:
        span = run.pop()
        key = span.key(stream)
        found.add(key)
        if span.level:
            refs = decode_page(body_of(world, key), key, stream, span.ref, span.level)
            run += spans_of([(span.level - 1, ref) for ref in refs], span.last)
    return found


def body_of(world: World, key: str) -> bytes:
    """What is under a key."""
    found = world.backend.get(Get(key))
    assert isinstance(found, Found)
    return found.body


def everything(world: World) -> dict[str, bytes]:
    """All objects of the store."""
    return {key: body_of(world, key) for key in world.keys_of("")}


def data(world: World, stream: str = "s") -> list[object]:
    """All that is in a stream."""
    cursor = world.run(read.start(stream, None, after=0, before=None, limit=None, backwards=False))
    found: list[object] = []
    while not cursor.exhausted:
        events, cursor = world.run(read.step(cursor))
        found += [event.data for event in events]
    return found


def orphans(world: World, count: int = 1, stream: str = "s") -> list[Announced]:
    """Appends that wrote their objects and went no further, long ago."""
    made = [world.announce(stream, f"orphan {number}") for number in range(count)]
    world.wait(LATER)
    return made


def keys_made(appends: list[Announced]) -> set[str]:
    """The keys of what appends have made."""
    return {key for one in appends for key in one.keys}


def writes(world: World) -> list[Commit | Delete]:
    """The writes and deletes that were executed."""
    return [op for op in world.requests if isinstance(op, (Commit, Delete))]


# --- garbage and nothing else --------------------------------------------------------------------------------------


def test_a_store_without_garbage(world):
    """Nothing is removed, nobody is fenced."""
    for number in range(9):
        world.append("s", number)
    world.wait(LATER)
    before = everything(world)
    steps = sweep(world)
    assert [(step.segments, step.pages, step.fences, step.left, step.unknown) for step in steps] == [
        (Tally(), Tally(), 0, 0, ())
    ] * 3
    assert sum(step.looked for step in steps) == len(objects(world)) > 9
    assert everything(world) == before


def test_garbage_is_removed_and_nothing_else(world):
    """Segments and pages of appends that never tried the head, among many that did; their bytes are counted."""
    for number in range(10):
        world.append("s", number)
        orphans(world, 2)
    garbage = objects(world) - live(world)
    assert any(key.startswith(keys.INDEX) for key in garbage)
    bytes_of = {folder: [len(body_of(world, key)) for key in garbage if key.startswith(folder)] for folder in FOLDERS}
    kept, events = live(world), data(world)
    steps = sweep(world)
    assert steps[0].segments == Tally(20, sum(bytes_of[keys.SEGMENTS]))
    assert steps[1].pages == Tally(len(bytes_of[keys.INDEX]), sum(bytes_of[keys.INDEX]))
    assert (steps[0].pages, steps[1].segments) == (Tally(), Tally())
    assert [step.fences for step in steps] == [1, 1, 0]
    assert objects(world) == kept == live(world)
    assert data(world) == events == list(range(10))


@pytest.mark.usefixtures("small_pages")
def test_a_long_stream_in_pages(world):
    """Three keys a step: each step reads only the index pages that may lead to them."""
    for number in range(40):
        world.append("s", number)
        if number % 7 == 0:
            orphans(world)
    world.wait(LATER)
    garbage = objects(world) - live(world)
    steps = sweep(world)
    assert len(steps) > 20
    assert removed(steps) == len(garbage)
    assert objects(world) == live(world)
    assert data(world) == list(range(40))


@pytest.mark.usefixtures("small_pages")
def test_the_head_is_sent_once(world):
    """A later step asks whether it was modified, and goes on with the one it knows."""
    for number in range(8):
        world.append("s", number)
    world.wait(LATER)
    world.requests.clear()
    sweep(world)
    etag = world.head("s").etag
    gets = [op.if_none_match for op in world.requests if isinstance(op, Get) and op.key == "heads/s"]
    assert gets[0] is None
    assert set(gets[1:-1]) == {etag}


def test_a_stream_whose_objects_are_all_young(world):
    """They may belong to appends in flight: not even the head is read."""
    for number in range(3):
        world.append("s", number)
    world.announce("s", "in flight")
    world.requests.clear()
    assert removed(sweep(world)) == 0
    assert {type(op) for op in world.requests} == {Stamp, List}


def test_the_time_may_be_given(world):
    """In microseconds; no clock is asked then."""
    world.announce("s", "in flight")
    world.requests.clear()
    assert removed(sweep(world, now=world.now + GRACE * 1_000_000 - 1_000_000)) == 0
    assert removed(sweep(world, now=world.now + GRACE * 1_000_000 + 2_000_000)) == 1
    assert not any(isinstance(op, Stamp) for op in world.requests)


def test_an_id_from_the_future(world):
    """A clock was wrong: the garbage need not wait until it is right."""
    world.wait(10 * LATER)
    world.announce("s", "by a clock that is fast")
    world.wait(-10 * LATER)
    assert removed(sweep(world)) == 1
    assert objects(world) == set()


def test_a_stream_without_a_head(world):
    """What was left by first appends goes, after a head of version 0 has made sure that they never land."""
    (late,) = orphans(world)
    steps = sweep(world)
    assert (removed(steps), steps[0].fences) == (1, 1)
    assert objects(world) == set()
    assert (world.head("s").state.version, world.head("s").state.fields.fence) == (0, 1)
    assert not late.land()
    world.append("s", "the first")
    assert data(world) == ["the first"]


def test_a_head_of_version_0(world):
    """The stream does not exist, and its head is there already: it is fenced again."""
    world.backend.commit((), head.put(head.fenced(nothing("s").state), None))
    orphans(world)
    assert removed(sweep(world)) == 1
    assert world.head("s").state.fields.fence == 2


def test_the_feed():
    """It is swept like any stream; the fence keeps what its head says of settled intents."""
    world = World(SETTINGS)
    for number in range(30):
        world.append("s", number)
        world.advance()
    advance = world.start(publishing(world))
    world.play(advance, until=lambda op: isinstance(op, Commit) and bool(op.prelude))
    assert isinstance(advance.asked, Commit)
    for put in advance.asked.prelude:
        world.put(put)
    world.wait(LATER)
    settled = world.head(keys.FEED).state.settled
    assert settled
    assert removed(sweep(world, keys.FEED)) == len(advance.asked.prelude)
    assert world.head(keys.FEED).state.settled == settled
    world.append("s", 30)
    world.advance()
    assert world.published() == [("s", version) for version in range(1, 32)]


def publishing(world: World) -> Gen[Appended]:
    """An append to the feed as an advance makes it, of enough to seal its tail."""
    events = world.run(read.start(keys.FEED, None, after=0, before=None, limit=None, backwards=False))
    (page, _) = world.run(read.step(events))
    known = world.head(keys.FEED)
    rows = msgspec.msgpack.encode(
        [msgspec.structs.replace(page[0], position=known.state.version + 1 + number) for number in range(20)]
    )
    proposal = append.Proposal(keys.FEED, rows, 20, known.state.version, settled=())
    return append.append(feed.feed_settings(world.settings), proposal, known)


# --- beside others -------------------------------------------------------------------------------------------------


def is_get_of_head(op: Op[object]) -> bool:
    """Whether a head is asked for."""
    return isinstance(op, Get)


STEPS: dict[str, tuple[Callable[[Op[object]], bool], int]] = {
    "the list": (lambda op: isinstance(op, List), 1),
    "the head": (is_get_of_head, 1),
    "the pages": (lambda op: isinstance(op, GetMany), 1),
    "the sizes": (lambda op: isinstance(op, GetMany), 2),
    "the fence": (lambda op: isinstance(op, Commit), 1),
    "the deletion": (lambda op: isinstance(op, Delete), 1),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("more", [0, 1, 5])
def test_an_old_append_lands_during_a_sweep(world, step, more):
    """Before the fence it is in time, and its objects are live, also those that others have moved into pages since; after it, it is dead."""
    for number in range(12):
        world.append("s", number)
    late, dead = orphans(world, 2)
    until, count = STEPS[step]
    story = world.play(sweeping(world), until=until, count=count)
    landed = late.land()
    assert landed == (step != "the deletion")
    for number in range(more):
        world.append("s", f"more {number}")
    world.play(story)
    story.returned()
    assert data(world) == [*range(12), *(["orphan 0"] if landed else []), *(f"more {number}" for number in range(more))]
    assert dead.keys[0] not in objects(world)
    sweep(world)
    assert objects(world) == live(world)


def test_a_head_that_moves_needs_no_fence(world):
    """Somebody else has spent the etag: what the new head does not refer to is dead all the same."""
    world.append("s", 0)
    appends = orphans(world, 3)
    story = world.play(sweeping(world), until=Commit)
    assert appends[1].land()
    swept = world.play(story).returned()
    assert (swept.segments.objects, swept.fences, swept.left) == (2, 0, 0)
    assert objects(world) == live(world) >= set(appends[1].keys)


def test_objects_of_appends_that_began_after_the_list(world):
    """They are not in the list, and are left."""
    orphans(world)
    story = world.play(sweeping(world), until=Get)
    mine = world.announce("s", "in flight")
    world.play(story).returned()
    assert objects(world) == set(mine.keys)


def test_nothing_is_left_to_remove(world):
    """All that was a candidate has landed meanwhile."""
    (late,) = orphans(world)
    story = world.play(sweeping(world), until=Commit)
    assert late.land()
    world.requests.clear()
    assert removed([world.play(story).returned()]) == 0
    assert not any(isinstance(op, Delete) for op in world.requests)
    assert data(world) == ["orphan 0"]


def test_two_sweeps_at_once(world):
    """Each finds what the other has left; neither fails."""
    world.append("s", 0)
    orphans(world, 3)
    one, other = world.play(sweeping(world), until=Commit), world.play(sweeping(world), until=Commit)
    world.play(one, until=Delete)
    assert world.play(other).returned().segments.objects == 3
    assert world.play(one).returned().segments.objects == 3
    assert objects(world) == live(world)


def test_objects_that_went_meanwhile(world):
    """Somebody else has removed them: there is nothing to fence for."""
    world.append("s", 0)
    gone = orphans(world)
    story = world.play(sweeping(world), until=GetMany)
    world.backend.delete([*keys_made(gone)])
    assert world.play(story).returned().fences == 0


# --- a dry run -----------------------------------------------------------------------------------------------------


def test_a_dry_run_writes_nothing(world):
    """It says what would be removed; no fence either."""
    for number in range(6):
        world.append("s", number)
    orphans(world, 3)
    before = everything(world)
    world.requests.clear()
    dry = sweep(world, dry=True)
    assert writes(world) == []
    assert everything(world) == before
    assert [step.fences for step in dry] == [0, 0, 0]
    real = sweep(world)
    assert [(step.segments, step.pages) for step in dry] == [(step.segments, step.pages) for step in real]
    assert removed(real) > 3


# --- what is damaged or foreign --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "x",
        "0000000000000001",
        "1-0000000000000001-" + "0" * 32,
        "0000000000000000-" + "0" * 32,
        "0000000000000001-" + "0" * 32 + "/x",
    ],
)
def test_names_that_nobody_makes_among_segments(world, name):
    """They are reported and left."""
    key = f"segments/s/{name}"
    world.put(Put(key, JUNK, ALWAYS))
    world.wait(LATER)
    assert [step.unknown for step in sweep(world)] == [(key,), (), ()]
    assert objects(world) == {key}


@pytest.mark.parametrize("name", ["x", "0-0000000000000001-" + "0" * 32, "0000000000000001-" + "0" * 32])
def test_names_that_nobody_makes_among_pages(world, name):
    """They are reported and left."""
    key = f"index/s/{name}"
    world.put(Put(key, JUNK, ALWAYS))
    world.wait(LATER)
    assert [step.unknown for step in sweep(world)] == [(), (key,), ()]
    assert objects(world) == {key}


def check_nothing_is_removed(world: World, match: str, key: str) -> None:
    """A sweep of ``s`` says that the stream is damaged, and leaves everything as it is."""
    before = everything(world)
    with pytest.raises(CorruptData, match=match) as caught:
        sweep(world)
    assert caught.value.key == key
    assert everything(world) == before


def test_a_head_that_is_gone(world):
    """The objects prove that it was there: they are all that is left of the stream."""
    for number in range(5):
        world.append("s", number)
    world.wait(LATER)
    world.backend.delete(["heads/s"])
    check_nothing_is_removed(world, "the head is gone", "heads/s")


def test_a_head_that_is_gone_and_the_segment_of_a_tail():
    """A segment that another changeset sealed proves it, too."""
    world = World(SETTINGS)
    while not objects(world):
        world.append("s", "x" * 50)
    world.wait(LATER)
    world.backend.delete(["heads/s"])
    check_nothing_is_removed(world, "the head is gone", "heads/s")


def test_an_old_copy_of_a_head(world):
    """What was appended since is not garbage."""
    for number in range(3):
        world.append("s", number)
    old = body_of(world, "heads/s")
    for number in range(3):
        world.append("s", number)
    world.wait(LATER)
    world.put(Put("heads/s", old, ALWAYS))
    check_nothing_is_removed(world, "an old copy", "heads/s")


def test_only_pages_that_reach_beyond_the_head(world):
    """Pages are proof as well."""
    for number in range(9):
        world.append("s", number)
    world.wait(LATER)
    world.backend.delete(["heads/s", *world.keys_of("segments/")])
    check_nothing_is_removed(world, "the head is gone", "heads/s")


def test_a_head_that_goes_back_during_a_sweep(world):
    """Nothing is removed."""
    world.append("s", 0)
    old = body_of(world, "heads/s")
    world.append("s", 1)
    orphans(world)
    story = world.play(sweeping(world), until=Commit)
    world.put(Put("heads/s", old, ALWAYS))
    before = everything(world)
    error = world.play(story).raised(CorruptData)
    assert "went back" in str(error)
    assert everything(world) == before


def test_an_index_page_that_is_missing(world):
    """What it referred to is not known: nothing is removed."""
    for number in range(9):
        world.append("s", number)
    orphans(world)
    page = world.keys_of("index/s/")[0]
    world.backend.delete([page])
    check_nothing_is_removed(world, "an index page that the stream needs is missing", page)


@pytest.mark.parametrize("folder", FOLDERS)
def test_garbage_that_cannot_be_decoded(world, folder):
    """It may be all that is left of something: somebody has to look."""
    for number in range(10):
        world.append("s", number)
    orphans(world)
    (garbage, *_) = [key for key in sorted(objects(world) - live(world)) if key.startswith(folder)]
    world.put(Put(garbage, JUNK, ALWAYS))
    before = {key: body for key, body in everything(world).items() if key.startswith(folder)}
    with pytest.raises(CorruptData) as caught:
        sweep(world)
    assert caught.value.key == garbage
    assert {key: body_of(world, key) for key in before} == before


# --- faults ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [TIME_OUT, THROTTLED])
@pytest.mark.parametrize("applied", [False, True])
def test_any_request_may_fail(fault, applied):
    """What is live stays; it says that the storage did not answer, or manages; the next sweep removes the rest."""
    outcomes: set[type[object]] = set()
    for at in range(1, 9):
        world = World(BLOBS)
        for number in range(6):
            world.append("s", number)
        orphans(world, 2)
        if applied and fault is THROTTLED and at == 6:
            continue  # what was certainly not applied was not applied
        story = broken(world, gc.sweep("s", grace=GRACE, dry=False), at, fault, applied=applied)
        outcomes.add(type(story.error))
        assert isinstance(story.error, Unavailable | None)
        assert data(world) == list(range(6))
        sweep(world)
        assert objects(world) == live(world)
    assert outcomes == {type(None), Unavailable}


@pytest.mark.parametrize("answer", [TIME_OUT, THROTTLED, REFUSED])
def test_a_fence_that_never_succeeds(world, answer):
    """After some tries the garbage is left to the next sweep."""
    world.append("s", 0)
    orphans(world, 2)
    story = world.play(sweeping(world), until=Commit)
    pauses = []
    for _ in range(limits.FAULT_ATTEMPTS):
        assert story.commit(answer).head.key == "heads/s"
        story.expect(Get, world.backend.get(Get("heads/s", world.head("s").etag)))
        pauses.append(story.pause())
    swept = story.returned()
    assert (swept.segments, swept.left, swept.fences) == (Tally(), 2, 0)
    assert pauses == sorted(pauses)
    assert pauses[-1] == limits.FAULT_PAUSE[1]
    assert len(objects(world)) == 3


@pytest.mark.parametrize("answer", [TIME_OUT, REFUSED])
def test_a_fence_that_was_written_and_not_acknowledged(world, answer):
    """The head is another: that is what counts."""
    world.append("s", 0)
    orphans(world, 2)
    story = world.play(sweeping(world), until=Commit)
    assert isinstance(story.asked, Commit)
    world.execute(story.asked)
    story.commit(answer)
    assert world.play(story).returned().segments.objects == 2
    assert objects(world) == live(world)


def test_a_fence_of_no_head_that_is_refused(world):
    """A head that was not there still is not: the refusal was not true, and it is tried again."""
    orphans(world)
    story = world.play(sweeping(world), until=Commit)
    assert story.commit(REFUSED).head.when == ABSENT
    story.get("heads/s", MISSING)
    assert world.play(story).returned().segments.objects == 1


def test_what_no_retry_mends(world):
    """It comes through, as it is."""
    orphans(world)
    story = world.play(sweeping(world), until=Commit)
    story.commit(AccessDenied("read only"))
    story.raised(AccessDenied)


# --- requests --------------------------------------------------------------------------------------------------------


def test_sizes_are_asked_for_within_a_bound(world):
    """One object first, then as many as fit if all are as large as the largest."""
    names = [f"probes/{number}" for number in range(80)]
    seen: list[str] = []
    story = world.start(gc.weigh(names, lambda key, _body: seen.append(key)))
    answers = {
        1: (Found(b"x" * 1000, "e"),),
        limits.READ_WINDOW_OBJECTS: (Found(b"x" * (limits.READ_WINDOW // 2), "e"), MISSING),
        2: (MISSING, Found(b"x" * (limits.READ_WINDOW + 1), "e")),
    }
    windows = []
    while isinstance(story.asked, GetMany):
        windows.append(len(story.asked.gets))
        some = answers.get(windows[-1]) if len(windows) < 4 else None
        story.expect(GetMany, ((some or ()) + (MISSING,) * windows[-1])[: windows[-1]])
    sizes = story.returned()
    assert windows[:3] == [1, limits.READ_WINDOW_OBJECTS, 2]
    assert set(windows[3:]) == {1}
    assert seen == list(sizes) == [names[0], names[1], names[34]]
    assert sizes[names[34]] == limits.READ_WINDOW + 1


def test_a_page_without_keys_ends_a_list():
    """Even one that promises more."""
    assert gc.end_of(Page((), more=True)) is None
    assert gc.end_of(Page(("a", "b"), more=True)) == "b"
    assert gc.end_of(Page(("a", "b"), more=False)) is None


def test_tallies_add_up():
    """Objects and bytes."""
    assert Tally(1, 10) + Tally(2, 5) == Tally(3, 15)


def test_steps_add_up():
    """Numbers are summed, and the later one says where it goes on."""
    one = Swept(
        "s", Tally(1, 10), Tally(2, 20), Tally(3, 30), looked=3, left=4, fences=1, unknown=("a",), rest=Place("b")
    )
    other = Swept(
        "s", Tally(1, 1), Tally(1, 1), Tally(1, 1), looked=1, left=1, fences=1, unknown=("c",), rest=Place("d")
    )
    assert one + other == Swept(
        "s", Tally(2, 11), Tally(3, 21), Tally(4, 31), looked=4, left=5, fences=2, unknown=("a", "c"), rest=Place("d")
    )
