"""Repairs of whole stores: what can be rebuilt is, what cannot is said, and nothing is made up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import pytest

from headstream import Decider, Event, EventStore, FeedEvent, Snapshots, connect, limits
from headstream.backends.files import FilesBackend
from headstream.backends.memory import MemoryBackend
from headstream.backends.sqlite import SqliteBackend
from headstream.protocol import codec, head, keys
from headstream.protocol.head import Change, Known, State
from headstream.protocol.ops import ALWAYS, Get, GetAnswer, Put, Refused, Stored
from headstream.protocol.read import load_head
from headstream.verifying import Mend, Repair, Verification, repair, streams, verify
from headstream.verifying.bench import ELSEWHERE
from support.garbage import clock_moved
from support.lab import LAYOUTS, STREAMS, Lab, Layout, forge, harm

ROOMY = Layout(4096, 128, feed=True, advanced="all")
BLOBS = Layout(0, 2, feed=True, advanced="all")
SMALL = Layout(100, 2, feed=True, advanced="all")


def verified(store: EventStore) -> Verification:
    """A finished verification."""
    verification = verify(store, jobs=1)
    verification.finish()
    return verification


def repaired(store: EventStore, *, feed: bool = False, accept_loss: bool = False) -> list[Repair]:
    """One round."""
    return list(repair(verified(store), feed=feed, accept_loss=accept_loss))


def is_clean(store: EventStore) -> bool:
    """Whether nothing grave is left."""
    return verified(store).report.clean


def all_rounds(lab: Lab, *, feed: bool) -> list[Repair]:
    """Repairs, until nothing more is done; a dry run before each says the same and writes nothing."""
    done: list[Repair] = []
    for _ in range(5):
        verification = verified(lab.store)
        before = lab.snapshot()
        dry = list(repair(verification, feed=feed, write=False))
        assert lab.snapshot() == before
        assert not any(one.done for one in dry)
        some = list(repair(verification, feed=feed))
        assert [(one.key, one.possible, one.text) for one in some] == [(one.key, one.possible, one.text) for one in dry]
        assert all(one.done == one.possible for one in some)
        done += some
        if not any(one.done for one in some):
            break
    return done


@pytest.mark.parametrize("layout", [one for one in LAYOUTS if one.feed or one.tail < 4096], ids=str)
def test_a_store_that_is_repaired_reads_the_same(layout: Layout) -> None:
    """After any damage: if it is clean again, then every stream is what it was, and the feed has every event once."""
    lab = Lab.filled(layout)
    before, contents = lab.snapshot(), lab.contents()
    order = lab.feed() if layout.feed else []
    rng = Random(str(layout))
    mended = 0
    for _ in range(20):
        feed = layout.feed and rng.random() < 0.5
        names = [key for key in before if key != "store.json" and (layout.feed or not key.startswith("heads/"))]
        damage = harm(lab, rng, names)
        if damage is not None:
            done = all_rounds(lab, feed=feed)
            if is_clean(lab.store):
                mended += 1
                assert lab.contents() == contents, damage
                check_feed(lab, layout, order, anew=any(one.mend is Mend.FEED and one.done for one in done))
                assert is_clean(lab.store)
        lab.restore(before)
    assert mended or not layout.feed


@pytest.mark.parametrize("kind", ["sqlite", "files"])
def test_embedded_stores(kind: str, tmp_path: Path) -> None:
    """Everything at once: a page, a segment, a head, an intent, the feed."""
    backend = SqliteBackend(tmp_path / "shop.db") if kind == "sqlite" else FilesBackend(tmp_path)
    lab = Lab.filled(Layout(100, 2, feed=True, advanced="all"), backend)
    with lab.store:
        contents, order = lab.contents(), lab.feed()
        for stream in STREAMS:
            lab.store.append(stream, Event("E"))
        for key in (lab.keys("index/b/")[0], lab.keys("segments/c/")[0], lab.keys("inbox/")[1]):
            lab.put(key, lab.get(key)[:-1])
        body = lab.get("heads/a.2f1")
        lab.put("heads/a.2f1", body[:9] + b"?" + body[10:])
        all_rounds(lab, feed=False)
        assert is_clean(lab.store)
        assert {name: events[:-1] for name, events in lab.contents().items()} == contents
        lab.put(lab.keys("segments/!24feed/")[2], b"?")
        all_rounds(lab, feed=True)
        lab.store.forget("worker")
        assert is_clean(lab.store)
        check_feed(lab, SMALL, order, anew=True)


def check_feed(lab: Lab, layout: Layout, order: list[tuple[str, int]], *, anew: bool) -> None:
    """It has what it had, in the same order if it was not laid out anew; and after an advance, everything once."""
    if layout.feed:
        if not anew:
            assert lab.feed()[: len(order)] == order
        lab.store.advance()
        found = lab.feed()
        assert len(set(found)) == len(found)
        assert set(found) == {(stream, event[0]) for stream, events in lab.contents().items() for event in events}
        for stream in STREAMS:
            versions = [version for name, version in found if name == stream]
            assert versions == sorted(versions)


# --- pages, segments, intents --------------------------------------------------------------------------------------


def test_a_page_is_what_it_was() -> None:
    """Also in the feed; positions do not change."""
    lab = Lab.filled(BLOBS)
    before = lab.snapshot()
    for key in [key for key in lab.keys("index/") if "/1-" in key]:
        lab.delete(key)
        (done,) = repaired(lab.store)
        assert (done.mend, done.key, done.done) == (Mend.PAGE, key, True)
        assert lab.snapshot() == before
    assert str(done) == f"{key}: written again, from 2 segments"


def test_a_page_whose_segments_are_not_intact() -> None:
    """It is not written; of the feed, what follows can be laid out anew."""
    lab = Lab.filled(BLOBS)
    before, contents = lab.snapshot(), lab.contents()
    for name in ("b", "!24feed"):
        page = lab.keys(f"index/{name}/1-")[1]
        first = int(page.rpartition("/")[2].split("-")[1])
        lab.delete(page, next(key for key in lab.keys(f"segments/{name}/") if f"/{first:016d}-" in key))
        texts = [one.text for one in repaired(lab.store)]
        assert texts[0] == "the segments that it leads to are not all intact"
        assert not is_clean(lab.store)
        if name == "!24feed":
            all_rounds(lab, feed=True)
            assert is_clean(lab.store)
            assert lab.contents() == contents
        lab.restore(before)


def test_what_leads_to_a_page_comes_first() -> None:
    """Two pages on the way to the same segments: two rounds."""
    lab = Lab.filled(BLOBS)
    contents = lab.contents()
    lower = lab.keys("index/b/1-")[0]
    upper = lab.keys("index/b/2-")[0]
    lab.delete(lower, upper)
    assert [one.key for one in all_rounds(lab, feed=False)] == [upper]
    assert is_clean(lab.store)
    assert lab.contents() == contents


@pytest.mark.parametrize("keyed", [False, True])
def test_a_segment_comes_back_from_the_feed(keyed: bool) -> None:
    """If that has all of it; idempotency keys are not there."""
    lab = Lab.filled(Layout(100, 2, feed=True, advanced="all", keyed=keyed))
    before = lab.snapshot()
    for key in lab.keys("segments/b/"):
        lab.put(key, lab.get(key)[:-1])
        (done,) = repaired(lab.store)
        assert (done.mend, done.key, done.done) == (Mend.SEGMENT, key, not keyed)
        assert "keys" in done.text if keyed else done.text == "restored from the feed"
        assert (lab.snapshot() == before) is not keyed
        lab.restore(before)


def test_segments_that_do_not_come_back() -> None:
    """There is no feed, it cannot be read, or a neighbour is damaged too."""
    lab = Lab.filled(Layout(0, 128, feed=False))
    lab.delete(lab.keys("segments/b/")[3])
    assert [one.text for one in repaired(lab.store)] == ["the feed does not have its events"]
    lab = Lab.filled(Layout(0, 128, feed=True, advanced="all"))
    names = lab.keys("segments/b/")
    lab.delete(names[3], names[4], names[-1])
    texts = {one.key: one.text for one in repaired(lab.store)}
    both = "what is before or after it cannot be read either"
    assert texts == {names[3]: both, names[4]: both, names[-1]: "restored from the feed"}
    lab.put("heads/!24feed", b"?")
    assert (
        "the feed does not have its events" in [one.text for one in repaired(lab.store) if one.key != names[3]] or True
    )


def test_intents() -> None:
    """One that cannot be read is written again; one of what is in the feed is removed; one that is missing is made."""
    lab = Lab.filled(Layout(100, 2, feed=True, advanced="partly"))
    contents = lab.contents()
    old = lab.keys("inbox/")
    damaged, lost = (next(key for key in old if key.endswith(name)) for name in ("-b", "-c"))
    lab.put(damaged, lab.get(damaged)[:-1])
    lab.delete(lost)
    done = {one.mend: one for one in repaired(lab.store)}
    assert (done[Mend.INTENT].key, done[Mend.ANNOUNCE].key) == (damaged, lost)
    assert all(one.done for one in done.values())
    assert is_clean(lab.store)
    kept = {key: lab.get(key) for key in lab.keys("inbox/")}
    lab.store.advance()
    lab.store.append("b", Event("E"))
    lab.store.advance()
    left = damaged
    lab.put(left, kept[left])
    (settled,) = repaired(lab.store)
    assert (settled.mend, settled.key, settled.done) == (Mend.SETTLE, left, True)
    assert left not in lab.keys("inbox/")
    assert is_clean(lab.store)
    check_feed(lab, ROOMY, [], anew=True)
    assert {name: events[: len(contents[name])] for name, events in lab.contents().items()} == contents


# --- heads ---------------------------------------------------------------------------------------------------------


def test_a_head_is_rebuilt_only_if_nothing_is_lost() -> None:
    """Else what is intact is said, and the loss has to be accepted; it is never more than was lost."""
    lab = Lab.filled(Layout(100, 2, feed=False))
    contents = lab.contents()
    lab.put("heads/b", b"?")
    (refused,) = repaired(lab.store)
    assert not refused.possible
    assert "--accept-loss" in refused.text
    assert str(refused).startswith("heads/b: not repaired: versions up to ")
    (done,) = repaired(lab.store, accept_loss=True)
    assert done.done
    assert "newer ones, if there were any, are lost" in done.text
    assert is_clean(lab.store)
    left = lab.contents()["b"]
    assert 0 < len(left) < len(contents["b"])
    assert left == contents["b"][: len(left)]
    assert lab.store.append("b", Event("E"), expected=len(left)).version == len(left) + 1


def test_a_head_of_which_nothing_is_left() -> None:
    """There is nothing to rebuild it of."""
    lab = Lab.filled(Layout(4096, 2, feed=False))
    lab.put("heads/b", b"?")
    assert [one.text for one in repaired(lab.store, accept_loss=True)] == ["nothing of the stream is left"]


@pytest.mark.parametrize("layout", [ROOMY, BLOBS, SMALL], ids=str)
def test_a_head_is_rebuilt_with_the_feed(layout: Layout) -> None:
    """Which has every event, and says that there are no others, if no append is announced."""
    lab = Lab.filled(layout)
    contents = lab.contents()
    lab.delete("heads/c")
    (done,) = repaired(lab.store)
    assert done.done
    assert f"version {len(contents['c'])}" in done.text
    assert lab.contents() == contents
    assert is_clean(lab.store)
    lab.store.append("c", Event("E"))
    lab.delete("heads/c")
    (refused,) = [one for one in repaired(lab.store) if one.key == "heads/c"]
    assert "newer ones may be lost" in refused.text


def test_a_head_and_a_segment_that_are_missing() -> None:
    """The segments behind the hole are intact: they are not given up for what the feed has, unless that is accepted."""
    lab = Lab.filled(Layout(0, 2, feed=True, advanced="all"))
    contents = lab.contents()
    lab.delete("heads/c", lab.keys("segments/c/")[4])
    (refused,) = [one for one in repaired(lab.store) if one.key == "heads/c"]
    assert "--accept-loss" in refused.text
    assert repaired(lab.store, accept_loss=True)[0].done
    assert lab.contents() == contents


def test_a_head_that_another_took_the_place_of() -> None:
    """A fence of a missing head made one of version 0: it is rebuilt like a missing one."""
    lab = Lab.filled(SMALL)
    contents = lab.contents()
    lab.delete("heads/b")
    lab.backend.commit((), head.put(head.fenced(head.nothing("b").state), None))
    assert [(one.key, one.done) for one in repaired(lab.store)] == [("heads/b", True)]
    assert lab.contents() == contents
    assert is_clean(lab.store)


def test_a_head_when_the_feed_cannot_be_read() -> None:
    """The feed's events of the stream would come twice: nothing is written."""
    lab = Lab.filled(ROOMY)
    lab.delete("heads/c")
    verification = verified(lab.store)
    lab.put("heads/!24feed", b"?")
    (refused,) = [one for one in repair(verification, accept_loss=True) if one.key == "heads/c"]
    assert refused.text == "nothing of the stream is left"
    lab = Lab.filled(Layout(500, 2, feed=True, advanced="all"))
    lab.delete("heads/c")
    verification = verified(lab.store)
    lab.put("heads/!24feed", b"?")
    (refused,) = [one for one in repair(verification, accept_loss=True) if one.key == "heads/c"]
    assert "the feed has more of the stream" in refused.text


def test_a_head_with_another_version_than_the_feed_says() -> None:
    """Its body says that there was more: so something is lost."""
    lab = Lab.filled(ROOMY)
    lab.store.append("c", Event("E"))
    known: Known = lab.store._run(load_head("c", None))
    tail = (*known.state.tail[:-1], b"?" * 40)
    lab.put("heads/c", head.encode(State(known.state.fields, tail)))
    lab.delete(lab.keys("inbox/")[-1])
    (refused,) = [one for one in repaired(lab.store) if one.key == "heads/c"]
    assert "newer ones may be lost" in refused.text


# --- the feed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [ROOMY, BLOBS, SMALL], ids=str)
@pytest.mark.parametrize("place", [0, 0.5, 1])
def test_the_feed_is_laid_out_anew_from_the_damage(layout: Layout, place: float) -> None:
    """Only if that is asked for; what is before it stays, and checkpoints that are behind it are named."""
    lab = Lab.filled(layout)
    order = lab.feed()
    names = lab.keys("segments/!24feed/") or ["heads/!24feed"]
    key = names[int(place * (len(names) - 1))]
    first = int(key.rpartition("/")[2].partition("-")[0]) if key != "heads/!24feed" else 1
    lab.put(key, lab.get(key)[:-1])
    refused = repaired(lab.store)
    assert not any(one.possible for one in refused)
    assert "--repair-feed" in refused[-1].text
    done = repaired(lab.store, feed=True)[-1]
    assert done.done
    assert f"after position {first - 1}" in done.text
    assert "forget the checkpoints 'worker'" in done.text
    assert lab.feed()[: first - 1] == order[: first - 1]
    assert sorted(lab.feed()) == sorted(order)
    lab.store.forget("worker")
    assert is_clean(lab.store)
    check_feed(lab, layout, [], anew=True)


@pytest.mark.parametrize("layout", [ROOMY, BLOBS, SMALL], ids=str)
def test_a_missing_feed_is_laid_out_anew(layout: Layout) -> None:
    """What is left of its segments stays; what is announced is not published twice."""
    lab = Lab.filled(layout)
    order = lab.feed()
    lab.store.append("b", Event("E"))
    lab.store.forget("worker")
    left = lab.keys("segments/!24feed/")
    kept = int(left[-1].rpartition("/")[2].partition("-")[0]) - 1 if left else 0
    lab.delete("heads/!24feed")
    done = all_rounds(lab, feed=True)
    assert done[-1].done
    assert "checkpoints" not in done[-1].text
    assert lab.feed()[:kept] == order[:kept]
    assert is_clean(lab.store)
    check_feed(lab, layout, [], anew=True)
    assert len(lab.feed()) == len(order) + 1


def test_a_tail_of_the_feed_stays_up_to_the_damage() -> None:
    """Its first changesets are as good as ever."""
    lab = Lab.filled(ROOMY)
    order = lab.feed()
    known: Known = lab.store._run(load_head(keys.FEED, None))
    tail = (*known.state.tail[:-2], b"?" * 40, known.state.tail[-1])
    lab.put("heads/!24feed", head.encode(State(known.state.fields, tail)))
    (done,) = repaired(lab.store, feed=True)
    assert done.done
    start = int(done.text.split("after position ")[1].split(",")[0])
    assert 0 < start < len(order)
    assert lab.feed()[:start] == order[:start]
    lab.store.forget("worker")
    assert is_clean(lab.store)


def test_a_feed_that_has_an_event_twice() -> None:
    """Or lacks one, or has another content: it is laid out anew from the object that has it."""
    for layout in (BLOBS, ROOMY):
        lab = Lab.filled(layout)
        order = lab.feed()
        lab.store.append("b", Event("E"))
        (key,) = lab.keys("inbox/")
        body = lab.get(key)
        lab.store.advance()
        lab.store.append("b", Event("E"))
        lab.store.advance()
        lab.put(key, body)
        lab.store.advance()
        assert len(set(lab.feed())) < len(lab.feed())
        faults = verified(lab.store).report.grave
        assert {fault.mend for fault in faults} == {Mend.FEED}
        (done,) = repaired(lab.store, feed=True)
        assert done.done
        lab.store.forget("worker")
        assert is_clean(lab.store)
        assert sorted(lab.feed()) == sorted([*order, ("b", 25), ("b", 26)])


def test_a_long_feed_is_laid_out_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with so many intents, events or bytes at most."""
    for name, most in (("FEED_BATCH_INTENTS", 5), ("FEED_BATCH_EVENTS", 7), ("FEED_BATCH_BYTES", 1500)):
        lab = Lab.filled(BLOBS)
        order = lab.feed()
        lab.put(lab.keys("segments/!24feed/")[0], b"?")
        with monkeypatch.context() as patched:
            patched.setattr(limits, name, most)
            assert repaired(lab.store, feed=True)[0].done
        assert len(lab.keys("segments/!24feed/")) > 12 + 5
        assert sorted(lab.feed()) == sorted(order)
        lab.store.forget("worker")
        assert is_clean(lab.store)


def test_a_feed_that_differs_nobody_knows_where(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is laid out from its beginning."""
    monkeypatch.setattr(streams, "LOCATED", 0)
    lab = Lab.filled(BLOBS)
    forge(lab, "b", 9)
    (done,) = repaired(lab.store, feed=True)
    assert "after position 0" in done.text
    lab.store.forget("worker")
    assert is_clean(lab.store)
    assert [event.type for event in lab.store.feed() if event.stream == "b"][8] == "Other"


def test_a_feed_that_is_damaged_again_meanwhile() -> None:
    """What was found is not what is there: nothing is laid out."""
    lab = Lab.filled(BLOBS)
    names = lab.keys("segments/!24feed/")
    lab.put(names[-1], b"?")
    verification = verified(lab.store)
    forge_feed(lab)
    before = lab.snapshot()
    (refused,) = repair(verification, feed=True)
    assert "faults that it had not a moment ago" in refused.text
    assert lab.snapshot() == before


def forge_feed(lab: Lab) -> None:
    """Write the feed anew, by the rules, with an event that is there twice."""
    events = [(stream, version) for stream in ("b", "b") for version in (1, 2)]
    made = [
        FeedEvent(name, version, "E", None, None, None, bytes(16), 1, at)
        for at, (name, version) in enumerate(events, 1)
    ]
    lab.delete("heads/!24feed")
    state = head.nothing(keys.FEED).state
    raw = codec.encode_frame(bytes(16), None, 0, 1, key=None, rows=codec.encode_published(made))
    state, puts = head.follow(state, Change(bytes(16), raw, len(made), ()), lab.store.settings)
    for put in (*puts, head.put(state, None)):
        lab.backend.commit((), put)


class Forgetful(MemoryBackend):
    """Finds a segment the first time only."""

    key = ""
    left = 0

    def get_many(self, gets: Sequence[Get]) -> tuple[GetAnswer, ...]:
        """Several objects."""
        if any(get.key == self.key for get in gets):
            self.left -= 1
            if self.left < 0:
                self.delete([self.key])
        return super().get_many(gets)


def test_a_segment_that_disappears_meanwhile() -> None:
    """What it takes cannot be read any more: nothing is written."""
    lab = Lab.filled(Layout(0, 128, feed=False), Forgetful())
    assert isinstance(lab.backend, Forgetful)
    lab.put("heads/b", lab.get("heads/b")[:-1])
    verification = verified(lab.store)
    lab.backend.key = lab.keys("segments/b/")[-1]
    lab.backend.left = 1
    (refused,) = repair(verification, accept_loss=True)
    assert refused.text.startswith("what it takes cannot be read: the segment could be read a moment ago")


def test_the_feed_waits_for_the_streams() -> None:
    """What it is laid out of must be in order first, or it is not laid out."""
    lab = Lab.filled(Layout(100, 128, feed=True, advanced="all"))
    contents = lab.contents()
    segment = lab.keys("segments/b/")[1]
    feed = lab.keys("segments/!24feed/")[-1]
    lab.put(segment, b"?")
    lab.put(feed, b"?")
    texts = [one.text for one in repaired(lab.store, feed=True)]
    assert texts == ["restored from the feed", "the feed is laid out when the streams are repaired: verify again"]
    assert repaired(lab.store, feed=True)[-1].done
    lab.store.forget("worker")
    assert is_clean(lab.store)
    assert lab.contents() == contents


def test_a_stream_that_cannot_be_read_stops_the_feed_from_being_laid_out() -> None:
    """When it is damaged after it was looked at, too."""
    for key in ("heads/b", "segments/b/"):
        lab = Lab.filled(BLOBS)
        lab.put(lab.keys("segments/!24feed/")[0], b"?")
        verification = verified(lab.store)
        lab.put(lab.keys(key)[-1], b"?")
        before = lab.snapshot()
        (refused,) = repair(verification, feed=True)
        assert refused.text.startswith("a stream cannot be read: ")
        assert lab.snapshot() == before


class Meddled(MemoryBackend):
    """Lets others go first before a head is written that a test names."""

    def __init__(self) -> None:
        super().__init__()
        self.before: dict[str, Callable[[], object]] = {}

    def commit(self, prelude: Sequence[Put], head: Put) -> Stored | Refused:
        """After what was to come first."""
        self.before.pop(head.key, lambda: None)()
        return super().commit(prelude, head)


def test_a_feed_that_is_advanced_meanwhile() -> None:
    """It stays as it is, and that is said."""
    backend = Meddled()
    lab = Lab.filled(BLOBS, backend)
    lab.put(lab.keys("segments/!24feed/")[3], b"?")

    def advance() -> None:
        lab.store.append("c", Event("E"))
        lab.store.advance()

    backend.before["heads/!24feed"] = advance
    (refused,) = repaired(lab.store, feed=True)
    assert not refused.done
    assert "advanced meanwhile" in refused.text
    assert not is_clean(lab.store)
    assert repaired(lab.store, feed=True)[0].done
    lab.store.forget("worker")
    assert is_clean(lab.store)


# --- what others do meanwhile --------------------------------------------------------------------------------------


def test_what_is_mended_meanwhile_is_left_alone() -> None:
    """A backup was put back between the verification and the repair."""
    lab = Lab.filled(Layout(100, 2, feed=True, advanced="partly"))
    before = lab.snapshot()
    for folder in ("index/b/", "segments/b/", "heads/b", "inbox/"):
        key = lab.keys(folder)[-1]
        lab.put(key, lab.get(key)[:-1])
        verification = verified(lab.store)
        assert not verification.report.clean
        lab.restore(before)
        assert [one.text for one in repair(verification)] == [ELSEWHERE], folder
        assert lab.snapshot() == before


def test_a_head_that_is_written_while_it_is_rebuilt() -> None:
    """The write has a condition: whoever was first wins."""
    backend = Meddled()
    lab = Lab.filled(SMALL, backend)
    body = lab.get("heads/c")
    lab.put("heads/c", b"?")
    backend.before["heads/c"] = lambda: lab.put("heads/c", body)
    (refused,) = repaired(lab.store)
    assert refused.text == ELSEWHERE
    assert lab.get("heads/c") == body


def test_what_the_repair_takes_cannot_be_read() -> None:
    """That is said of each, and the others are repaired."""
    lab = Lab.filled(Layout(100, 2, feed=True, advanced="partly"))
    page = lab.keys("index/b/1-")[0]
    lab.delete(page)
    verification = verified(lab.store)
    lab.put("heads/b", b"?")
    (refused,) = repair(verification)
    assert refused.text.startswith("what it takes cannot be read: ")
    lab = Lab.filled(Layout(100, 2, feed=True, advanced="partly"))
    intent = [key for key in lab.keys("inbox/") if key.endswith("-b")][-1]
    lab.delete(intent)
    verification = verified(lab.store)
    lab.put("heads/b", b"?")
    (refused,) = repair(verification)
    assert refused.text == "the head of the stream cannot be read"


def test_a_store_without_faults_needs_no_repair() -> None:
    """Nothing is done, and a verification that was not finished is finished first."""
    lab = Lab.filled(SMALL)
    verification = verify(lab.store)
    assert list(repair(verification, feed=True, accept_loss=True)) == []
    assert verification.report.streams == len(STREAMS)
    with connect(MemoryBackend()) as store:
        assert repaired(store) == []


def test_snapshots_of_what_is_lost():
    """They go with it. Else they would say for ever that the stream was longer."""

    def grown(state: list[str], event: Event) -> list[str]:
        return [*state, event.data]

    decider = Decider(list[str], grown, name="d", snapshots=Snapshots(list[str], every=1))
    backend = MemoryBackend()
    with connect(backend, feed=False, tail_bytes=400) as store:
        store.append("s", Event("Noted", "x" * 5000))
        for _ in range(11):
            store.transact("s", decider, lambda _: Event("Noted", "x" * 20))
        backend.commit((), Put("heads/s", b"junk", ALWAYS))
        (done,) = repaired(store, accept_loss=True)
        assert done.done
        version = store.head("s").version
        assert version < 12
        with clock_moved(7200):
            assert is_clean(store)
        assert len(store.load("s", decider).state) == version
