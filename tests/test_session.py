"""Sessions: what a call's arguments mean, and what a client remembers of heads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count, repeat
from random import Random
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headstream import limits
from headstream.caches import Cache, HeadCache
from headstream.errors import InvalidInput, Unavailable, WrongExpectedVersion
from headstream.model import ANY, EXISTS, NO_STREAM, Event, Expectation, Head, Settings
from headstream.protocol import head as protocol
from headstream.protocol.feed import Progress
from headstream.protocol.follow import Place
from headstream.protocol.head import Known, nothing
from headstream.protocol.mark import Mark
from headstream.protocol.ops import MISSING, NOT_MODIFIED, REFUSED, Found, Get, GiveWay, Matches, Page, Stored, Unknown
from headstream.session import Session, check_prefix
from support import shown
from support.script import Script, ident
from support.streams import TAIL, Stream
from support.world import World

EVENT = Event("E")
STORE = UUID("01a20e2b-6b97-7abe-a0b4-1994ff175434")


def session(cache_bytes: int = limits.HEAD_CACHE) -> Session:
    """A client's view of a store without a feed."""
    return Session(TAIL, cache_bytes, STORE)


def head_of(known: Known) -> Head:
    """A head as this store's applications see it."""
    return session().head_of(known)


def append(one: Session, expected: Expectation = ANY, *, key: str | None = None, stream: str = "s") -> Script[Head]:
    """An append of one event, about to make its first request."""
    return Script(one.append(one.request(stream, EVENT, expected, key)))


def start(one: Session, stream: str = "s", **asked: Any) -> Callable[[], Any]:
    """How a read begins."""
    arguments: dict[str, Any] = {"after": 0, "before": None, "limit": None, "backwards": False} | asked
    return one.reading(stream, **arguments)


# --- the cache ---------------------------------------------------------------------------------------------------


def test_the_cache_gives_back_what_was_put():
    """By stream."""
    cache = HeadCache(Cache(limits.HEAD_CACHE))
    one, other = Stream(name="one").grow().known, Stream(name="other").grow().known
    cache.put(one)
    cache.put(other)
    assert (cache.get("one"), cache.get("other"), cache.get("none")) == (one, other, None)


def test_a_newer_head_is_not_replaced_by_an_older_one():
    """Answers overtake each other between threads; what was seen of a fence counts, too."""
    stream = Stream().grow()
    older = stream.known
    newer = stream.fence().known
    newest = stream.grow().known
    cache = HeadCache(Cache(limits.HEAD_CACHE))
    for put, expected in ((newer, newer), (older, newer), (newest, newest), (newer, newest), (older, newest)):
        cache.put(put)
        assert cache.get("s") is expected


def test_the_same_head_again_is_not_counted_twice():
    """The size is that of what is held."""
    known = Stream().grow(1000).known
    cache = HeadCache(Cache(known.state.size))
    for _ in range(3):
        cache.put(known)
    assert cache.get("s") is known


def test_the_least_recently_used_goes_first():
    """Looking at a head keeps it."""
    streams = [Stream(name=name).grow(1000).known for name in "abc"]
    cache = HeadCache(Cache(2 * streams[0].state.size))
    cache.put(streams[0])
    cache.put(streams[1])
    assert cache.get("a") is streams[0]
    cache.put(streams[2])
    assert [cache.get(name) for name in "abc"] == [streams[0], None, streams[2]]


def test_a_head_that_was_put_again_stays():
    """Appending to a stream keeps its head, too."""
    streams = [Stream(name=name).grow(1000).known for name in "abc"]
    cache = HeadCache(Cache(2 * streams[0].state.size))
    for known in (streams[0], streams[1], streams[0], streams[2]):
        cache.put(known)
    assert [cache.get(name) for name in "abc"] == [streams[0], None, streams[2]]


def test_a_head_larger_than_the_cache():
    """It is not kept, and leaves no debt behind."""
    small, large = Stream(name="small").grow().known, Stream(name="large").grow(5000).known
    cache = HeadCache(Cache(small.state.size))
    cache.put(large)
    assert cache.get("large") is None
    cache.put(small)
    assert cache.get("small") is small


def test_no_cache():
    """With no bytes nothing is remembered."""
    cache = HeadCache(Cache(0))
    cache.put(Stream().grow().known)
    assert cache.get("s") is None


@given(st.integers(0, 8000), st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2000)), max_size=40))
def test_the_cache_never_holds_more_than_it_may(capacity, puts):
    """Whatever is put, in whatever order."""
    cache = HeadCache(Cache(capacity))
    streams = {name: Stream(name=name) for name in "abcd"}
    for name, size in puts:
        known = streams[name].grow(size).known
        cache.put(known)
        held = [one for one in map(cache.get, "abcd") if one is not None]
        assert sum(one.state.size for one in held) == cache._cache._size <= capacity
        assert cache.get(name) in (known, None)


def test_threads_share_the_cache():
    """The newest head of each stream is there at the end, whoever put it when."""
    histories = {}
    for name in "abcd":
        stream = Stream(name=name)
        histories[name] = [stream.grow().known for _ in range(30)]
    cache = HeadCache(Cache(limits.HEAD_CACHE))

    def put(seed: int) -> None:
        heads = [known for history in histories.values() for known in history]
        Random(seed).shuffle(heads)
        for known in heads:
            cache.put(known)
            seen = cache.get(known.state.stream)
            assert seen is not None
            assert seen.state.age >= known.state.age

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(put, range(8)))
    assert all(cache.get(name) is history[-1] for name, history in histories.items())


# --- an append's arguments ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("events", [EVENT, [EVENT], (EVENT,), iter([EVENT])], ids=["one", "list", "tuple", "iterator"])
def test_events(events):
    """One, or several in any iterable."""
    request = session().request("s", events, ANY, None)
    assert request.proposal.events == 1


@pytest.mark.parametrize(
    ("expected", "means"),
    [(ANY, ANY), (EXISTS, EXISTS), (NO_STREAM, 0), (0, 0), (7, 7), (Head("s", 3, "e", ident(1)), 3)],
    ids=shown,
)
def test_expectations(expected, means):
    """``NO_STREAM`` is version 0, and a head is its version."""
    assert session().request("s", EVENT, expected, None).proposal.expected == means


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stream": ""}, "a stream's name cannot be empty"),
        ({"stream": "$feed"}, "names that begin with '$' are headstream's own"),
        ({"events": []}, "an append has 1 to 10000 events, not none"),
        ({"events": repeat(EVENT)}, "an append has 1 to 10000 events, not more"),
        ({"events": "text"}, "append takes an Event or several, not str"),
        ({"events": b"bytes"}, "append takes an Event or several, not bytes"),
        ({"events": 7}, "append takes an Event or several, not int"),
        ({"events": None}, "append takes an Event or several, not NoneType"),
        (
            {"events": {"type": "E"}},
            "append takes an Event or several, not dict: a dictionary is the data of an event; wrap it in Event(type, data)",
        ),
        (
            {"events": [EVENT, {"type": "E"}]},
            "append takes events, not dict: a dictionary is the data of an event; wrap it in Event(type, data)",
        ),
        ({"events": Event("E", object())}, "the data of event 0 ('E') is not JSON"),
        ({"expected": -1}, "the expected version is -1; it must be at least 0"),
        ({"expected": True}, "the expected version is a whole number, not bool"),
        ({"expected": 1.0}, "the expected version is a whole number, not float"),
        ({"expected": None}, "the expected version is a whole number, not NoneType"),
        ({"expected": "ANY"}, "the expected version is a whole number, not str"),
        ({"expected": Head("t", 3, "e", ident(1))}, "the expected head is that of stream 't', not of 's'"),
        ({"key": ""}, "a key cannot be empty"),
        ({"key": 7}, "a key is a string, not int"),
        ({"key": "k" * 257}, "a key has 257 bytes in UTF-8"),
    ],
    ids=shown,
)
def test_appends_that_cannot_be(arguments, message):
    """Refused before any request."""
    call: dict[str, Any] = {"stream": "s", "events": EVENT, "expected": ANY, "key": None} | arguments
    with pytest.raises(InvalidInput) as caught:
        session().request(**call)
    assert str(caught.value).startswith(message)


def test_the_most_events():
    """10,000 are taken, and no iterator is asked for many more."""
    assert session().request("s", [EVENT] * limits.MAX_EVENTS, ANY, None).proposal.events == limits.MAX_EVENTS
    numbers = count()
    with pytest.raises(InvalidInput):
        session().request("s", (Event("E") for _ in numbers), ANY, None)
    assert next(numbers) <= limits.MAX_EVENTS + 2


@pytest.mark.parametrize("cache_bytes", [-1, "8 MiB", 1.5, None], ids=shown)
def test_caches_that_cannot_be(cache_bytes):
    """A size is a number of bytes."""
    with pytest.raises(InvalidInput, match="cache_bytes is"):
        session(cache_bytes)


# --- what an append begins with ----------------------------------------------------------------------------------


def test_a_client_that_knows_nothing_reads_the_head():
    """The first append of a client costs a GET."""
    append(session()).get("heads/s", MISSING)


@pytest.mark.parametrize("expected", [NO_STREAM, 0], ids=shown)
def test_a_stream_that_is_said_to_be_new(expected):
    """No GET: creating tells."""
    story = append(session(), expected)
    story.stamp(1)
    story.commit(Stored("e1"))
    assert story.returned().version == 1


def test_the_next_append_costs_no_get():
    """What was appended is remembered, and swapped by the etag that came back."""
    one = session()
    story = append(one, NO_STREAM)
    story.stamp(1)
    story.commit(Stored("e1"))
    head = story.returned()
    assert (head.stream, head.version, head.etag, head.changeset) == ("s", 1, "e1", ident(1))
    for number, expected in ((2, ANY), (3, 2), (4, EXISTS)):
        story = append(one, expected)
        story.stamp(number)
        assert story.commit(Stored(f"e{number}")).head.when == Matches(f"e{number - 1}")
        assert story.returned().version == number


def test_a_head_is_as_good_as_the_cache():
    """A head from an earlier append or read needs neither a cache nor a GET."""
    one = session(cache_bytes=0)
    story = append(one, head_of(Stream().times(3).known))
    story.stamp(4)
    assert story.commit(Stored("e4")).head.when == Matches("e3")
    assert story.returned().version == 4


def test_the_newer_of_head_and_cache_is_used():
    """The cache may know of a fence that the head has not seen, or the other way round."""
    stream = Stream().times(3)
    older = stream.known
    newer = stream.fence().known
    for cached, held in ((older, newer), (newer, older)):
        one = session()
        one.cache.put(cached)
        story = append(one, head_of(held))
        story.stamp(4)
        assert story.commit(Stored("e4")).head.when == Matches("e3f")


def test_an_old_head_and_a_newer_cache():
    """The stream has left the version behind: it is a conflict, without a request."""
    stream = Stream().times(3)
    old = head_of(stream.known)
    one = session()
    one.cache.put(stream.grow().known)
    assert append(one, old).raised(WrongExpectedVersion).actual == 4


def test_a_store_that_was_set_back(monkeypatch):
    """A copy of an old head, or a repair that accepted a loss: the client is wrong for a second, and then looks."""
    stream = Stream().times(3)
    there = stream.found()
    one = session()
    one.cache.put(stream.grow().known)
    assert append(one, 3).raised(WrongExpectedVersion).actual == 4
    monkeypatch.setattr(limits, "CONFLICT_AGE", -1.0)
    story = append(one, 3)
    story.get("heads/s", there)
    story.stamp(9)
    story.commit(Stored("e9"))
    assert story.returned().version == 4


def test_a_head_of_another_store_saves_nothing():
    """What it knows is of another stream by the same name: only its version counts."""
    foreign = Session(TAIL, 0, UUID(int=1)).head_of(Stream().times(3).known)
    assert foreign.version > 0
    append(session(), foreign).get("heads/s", Stream().times(3).found())


def test_the_head_of_a_stream_that_did_not_exist():
    """A read of nothing returns a head, too; appending to it creates."""
    story = append(session(), head_of(nothing("s")))
    story.stamp(1)
    story.commit(Stored("e1"))
    assert story.returned().version == 1


def test_a_head_that_lost_its_memory():
    """A head that was made by hand, or is older than what was seen, counts by its version."""
    story = append(session(), Head("s", 3, "", ident(3)))
    story.get("heads/s", Stream().times(3).found())
    story.stamp(4)
    assert story.commit(Stored("e4")).head.when == Matches("e3")


def test_a_repeated_append_returns_where_it_ended_then():
    """By its key the earlier changeset is found; the stream is past it, so the head says where, not how to swap."""
    stream = Stream().times(3).grow(1, key="k").times(2)
    one = session()
    story = Script(one.append(one.request("s", Event("E", b"x"), 3, "k")))
    story.get("heads/s", stream.found())
    head = story.returned()
    assert (head.stream, head.version, head.etag, head.changeset) == ("s", 4, "", ident(4))
    assert one.cache.get("s") == stream.known, "the newest head is remembered nevertheless"


def test_a_failed_append_remembers_nothing_wrong():
    """After an unknown outcome the next append asks for the head, which may even have gone back."""
    stream = Stream().times(3)
    one = session()
    one.cache.put(stream.known)
    story = append(one, 3)
    story.stamp(9)
    story.commit(REFUSED)
    story.pause()
    story.get("heads/s", Unknown("time-out"))
    assert one.cache.get("s") is None


def test_a_lost_race_is_remembered():
    """Whoever reads next to decide again is asked for no body."""
    stream = Stream().times(3)
    one = session()
    one.cache.put(stream.known)
    stream.times(2)
    story = append(one, 3)
    story.stamp(9)
    story.commit(REFUSED)
    story.pause()
    story.get("heads/s", stream.found())
    story.raised(WrongExpectedVersion)
    assert one.cache.get("s") == stream.known


# --- reads -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"stream": ""}, "a stream's name cannot be empty"),
        ({"stream": "a/../b"}, "a stream's name cannot have '.' or '..'"),
        ({"after": -1}, "after is -1; it must be at least 0"),
        ({"after": None}, "after is a whole number, not NoneType"),
        ({"after": "1"}, "after is a whole number, not str"),
        ({"before": 0}, "before is 0; it must be at least 1"),
        ({"before": 2.5}, "before is a whole number, not float"),
        ({"limit": -1}, "limit is -1; it must be at least 0"),
        ({"limit": True}, "limit is a whole number, not bool"),
    ],
    ids=shown,
)
def test_reads_that_cannot_be(arguments, message):
    """Refused when the read is made, not when it is iterated."""
    with pytest.raises(InvalidInput) as caught:
        start(session(), **arguments)
    assert str(caught.value).startswith(message)


def test_a_read_remembers_and_revalidates():
    """The first costs a body, the next only if the stream changed."""
    stream = Stream().times(3)
    one = session()
    story = Script(start(one)())
    story.get("heads/s", stream.found())
    assert story.returned().last == 3
    story = Script(start(one, limit=1)())
    story.get("heads/s", NOT_MODIFIED, if_none_match="e3")
    assert story.returned().known == stream.known


def test_a_read_can_begin_again():
    """After a failure the same start is used once more; a stream that does not exist is not remembered."""
    stream = Stream().times(3)
    one = session()
    begin = start(one)
    story = Script(begin())
    story.get("heads/s", Unknown("time-out"))
    story.raised(Unavailable)
    story = Script(begin())
    story.get("heads/s", MISSING)
    assert story.returned().exhausted
    assert one.cache.get("s") is None
    story = Script(begin())
    story.get("heads/s", stream.found())
    assert [event.version for event in Script(one.step(story.returned())).returned()[0]] == [1, 2, 3]


def test_the_head_of_a_stream():
    """Where it ends; ``None`` where there is none. What was seen is remembered."""
    stream = Stream().times(3)
    one = session()
    story = Script(one.head("s"))
    story.get("heads/s", stream.found())
    head = story.returned()
    assert head is not None
    assert (head.version, head.etag, head.changeset) == (3, "e3", ident(3))
    assert one.cache.get("s") == stream.known
    story = Script(one.head("t"))
    story.get("heads/t", MISSING)
    assert story.returned() is None
    with pytest.raises(InvalidInput):
        one.head("")


def test_a_stream_that_was_fenced_before_it_existed():
    """Its head is remembered, for the append that creates it; to applications there is no stream."""
    fenced = protocol.encode(protocol.fenced(nothing("s").state))
    one = session()
    story = Script(one.head("s"))
    story.get("heads/s", Found(fenced, "f1"))
    assert story.returned() is None
    story = append(one, NO_STREAM)
    story.stamp(1)
    assert story.commit(Stored("e1")).head.when == Matches("f1")
    head = session().head_of(Known(protocol.fenced(nothing("s").state), "f1"))
    assert (head.version, head.etag, head.changeset, head.exists) == (0, "", None, False)


# --- the feed ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("every", "feed", "due"),
    [(1, True, [1, 2, 3, 4, 5, 6]), (3, True, [3, 6]), (0, True, []), (1, False, [])],
)
def test_when_an_advance_is_due(every, feed, due):
    """After every so many appends of this client, if the store has a feed."""
    one = Session(Settings(tail_bytes=0, feed=feed, advance_every=every), 0)
    assert [number for number in range(1, 7) if one.is_advance_due()] == due


def test_an_advance_uses_and_feeds_the_cache():
    """The feed's head is asked for by its etag, and remembered as the advance leaves it."""
    world = World()
    one = Session(world.settings, limits.HEAD_CACHE)
    made = world.append("s")
    progress = Progress()
    while not progress.done:
        progress = world.run(one.advance(progress))
    known = one.cache.get("$feed")
    assert known is not None
    assert known.etag == world.head("$feed").etag
    assert known.state.settled == {made.changeset_id}
    assert made.version == progress.published == 1
    world.requests.clear()
    assert world.run(one.poll(Place(Mark(1)), advance=True)).idle
    assert isinstance(world.requests[0], Get)
    assert world.requests[0].if_none_match == known.etag


def test_where_the_feed_is_at_least():
    """What is remembered is good enough; else its head is read, once."""
    world = World()
    world.append("s", 1, 2)
    world.advance()
    one = Session(world.settings, limits.HEAD_CACHE)
    world.requests.clear()
    assert [world.run(one.feed_version()) for _ in range(3)] == [2, 2, 2]
    assert len(world.requests) == 1
    assert World().run(Session(world.settings, limits.HEAD_CACHE).feed_version()) == 0


def test_positions_of_a_changeset():
    """Looked for from the end of the feed, not further back than after a position."""
    world = World()
    made = []
    for number in range(40):
        made.append(world.append(f"s{number % 3}", b"x" * 100, number).changeset_id)
        world.advance()
    one = Session(world.settings, limits.HEAD_CACHE)
    world.requests.clear()
    assert world.run(one.positions(made[-1], 0)) == range(79, 81)
    assert len(world.requests) == 1
    assert world.run(one.positions(made[0], 0)) == range(1, 3)
    assert world.run(one.positions(made[0], 2)) is None
    assert world.run(one.positions(bytes(16), 0)) is None


def test_a_feed_that_was_not_created():
    """Said, with what to do."""
    session_with = Session(Settings(tail_bytes=0, feed=True), 0)
    session_with.check_feed()
    with pytest.raises(InvalidInput, match="created without a feed: create one with feed=True"):
        session().check_feed()


# --- names -------------------------------------------------------------------------------------------------------


def listed(prefix: str, page: Page, after: str = "", after_key: str = "") -> tuple[list[str], str | None]:
    """A page of names."""
    story = Script(session().list_streams(prefix, after))
    story.lists("heads/" + {"": "", "$": "!24", "o": "o"}[prefix], page, after=after_key)
    return story.returned()


def test_pages_of_names():
    """Each says after which name the next one begins, the last that there is none."""
    assert listed("o", Page(("heads/o1", "heads/o2"), more=True)) == (["o1", "o2"], "o2")
    assert listed("o", Page(("heads/o3",), more=False), "o2", "heads/o2") == (["o3"], None)
    assert listed("o", Page((), more=False)) == ([], None)


def test_headstreams_own_streams_are_not_listed():
    """Unless the prefix names them; a page that holds nothing else still says how to go on."""
    own = Page(("heads/!24feed",), more=True)
    assert listed("", own) == ([], "$feed")
    assert listed("$", own) == (["$feed"], "$feed")
    assert listed("", Page(("heads/!24feed", "heads/o1"), more=False)) == (["o1"], None)


@pytest.mark.parametrize("prefix", ["", "o", "$", "a/.", "x" * 256])
def test_prefixes(prefix):
    """What a name can begin with, or nothing."""
    check_prefix(prefix)


@pytest.mark.parametrize("prefix", [None, 7, b"o", "x" * 257, "\ud800"], ids=shown)
def test_prefixes_that_cannot_be(prefix):
    """They are checked as names are."""
    with pytest.raises(InvalidInput, match="a prefix "):
        check_prefix(prefix)


def test_a_head_knows_what_it_saves():
    """What an application carries around saves the request that would read it."""
    known = Stream().times(2).known
    assert head_of(known)._known is known
    assert head_of(Known(known.state, None)).etag == ""


def test_found_is_what_the_helper_says():
    """The model's head objects have the etags that these tests name."""
    assert isinstance(Stream().times(3).found(), Found)
    assert Stream().times(3).found().etag == "e3"


# --- others that write the same stream ---------------------------------------------------------------------------


def one_append(one: Session, stream: Stream, *, adopts: bool = False) -> bool:
    """An append that is made at once; whether it gives way first."""
    story = Script(one.append(one.request("s", EVENT, ANY, None, adopts=adopts)))
    gives_way = isinstance(story.asked, GiveWay)
    if gives_way:
        assert story.expect(GiveWay, None).trips == limits.TRIPS
    story.stamp(1000 + stream.version)
    commit = story.commit(Stored(f"e{stream.version + 1}"))
    stream.known = Known(protocol.decode(commit.head.body, "heads/s", "s"), f"e{stream.version + 1}")
    assert story.returned().version == stream.version
    return gives_way


def after_a_race(one: Session) -> Stream:
    """An append that has lost a race, and was made."""
    stream = Stream().grow()
    one.cache.put(stream.known)
    story = append(one)
    story.stamp(900)
    story.commit(REFUSED)
    story.pause()
    story.get("heads/s", stream.grow().found())
    story.stamp(901)
    commit = story.commit(Stored("e3"))
    story.returned()
    stream.known = Known(protocol.decode(commit.head.body, "heads/s", "s"), "e3")
    return stream


def test_a_writer_that_is_alone_never_gives_way():
    """It has seen no sign of others."""
    one, stream = session(), Stream().grow()
    one.cache.put(stream.known)
    assert not any(one_append(one, stream) for _ in range(3 * limits.WINS))


def test_a_writer_that_lost_a_race_gives_way_after_so_many_wins():
    """And no more when it has met no other for long."""
    one = session()
    stream = after_a_race(one)
    gave_way = [number for number in range(3 * limits.SIGNS) if one_append(one, stream)]
    assert gave_way == list(range(limits.WINS, limits.SIGNS, limits.WINS))


def test_a_writer_that_was_in_conflict_gives_way_too():
    """Somebody else has appended, after all."""
    one, stream = session(), Stream().times(2)
    story = append(one, 1)
    story.get("heads/s", stream.found())
    story.raised(WrongExpectedVersion)
    gave_way = [number for number in range(limits.WINS + 1) if one_append(one, stream)]
    assert gave_way == [limits.WINS]


def test_a_decision_is_not_held_back():
    """Its head was read a moment ago, as those of the others: it has no advantage, and grows stale."""
    one = session()
    stream = after_a_race(one)
    assert not any(one_append(one, stream, adopts=True) for _ in range(3 * limits.WINS))
