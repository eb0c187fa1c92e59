"""Deciding with kept states: what is requested, when a state is written, and what becomes of one that cannot be used.

What every client does on every backend is in ``support.api_deciding``.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from types import SimpleNamespace
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from headstream import Decider, Event, EventStore, InvalidInput, Registry, Snapshots, Unavailable, connect, limits
from headstream.protocol import keys
from headstream.protocol.ops import ALWAYS, Found, Get, NotApplied, Put
from headstream.protocol.read import load_head
from support.api_deciding import KEEPING, LARGE, Account, Deposited, deposit, evolve, noted, noting
from support.backends import Watched


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """A backend that can be watched; pauses take no time."""
    monkeypatch.setattr("headstream.drivers.sync.time.sleep", lambda _seconds: None)
    return Watched()


@pytest.fixture
def store(backend: Watched) -> Iterator[EventStore]:
    """A client of it."""
    with connect(backend, feed=False, tail_bytes=2000) as store:
        backend.take()
        yield store


@pytest.fixture
def fresh(backend: Watched) -> Iterator[Callable[[], EventStore]]:
    """Makes clients that have seen nothing yet."""
    made: list[EventStore] = []

    def client() -> EventStore:
        made.append(connect(backend))
        backend.take()
        return made[-1]

    yield client
    for store in made:
        store.close()


def cents(count: int) -> list[Event]:
    """So many deposits of a cent."""
    return [Event("Deposited", {"cents": 1})] * count


def note(text: str) -> Callable[[Any], Event]:
    """A decision for one event."""
    return lambda _state: Event("Noted", text)


def kept(store: EventStore, stream: str = "s") -> list[tuple[str, int, int]]:
    """Name, version and version of the stream of each state that a head keeps."""
    state = store._run(load_head(stream, None)).state
    return [(entry.name, entry.version, entry.at) for entry in state.snapshots]


def snapshots(backend: Watched) -> list[str]:
    """The keys of the states that are objects."""
    found = list(backend.list(keys.SNAPSHOTS, "", 1000).keys)
    backend.take()
    return found


class Counting(list[int]):
    """The cents of each event that a fold has seen."""


def counting(every: int, **options: Any) -> tuple[Decider[Account, Any], Counting]:
    """A decider that says what it folds."""
    folded = Counting()

    def seen(account: Account, event: Deposited) -> Account:
        folded.append(event.cents)
        return evolve(account, event)

    kept: Snapshots[Account] = Snapshots(Account, every=every)
    return Decider(Account, seen, Registry(Deposited), name="accounts", snapshots=kept, **options), folded


# --- what a load asks for ------------------------------------------------------------------------------------------


def test_a_long_stream_loads_by_one_get(store, backend, fresh):
    """Of a thousand events only those after the state are folded, and no segment is read: in a client that has seen nothing."""
    accounts, folded = counting(100)
    store.append("s", cents(990))
    store.transact("s", accounts, lambda _: [Deposited(1)] * 7)
    store.transact("s", accounts, lambda _: [Deposited(1)] * 3)
    assert kept(store) == [("accounts", 1, 997)]
    assert len(store.layout("s").references) > 0
    client = fresh()
    folded.clear()
    assert client.load("s", accounts).state == Account(1000, 1000)
    assert backend.take() == ["get heads/s"]
    assert folded == [1] * 3
    assert client.transact("s", accounts, deposit).state == Account(1001, 1001)
    assert backend.take() == ["get heads/s", "commit heads/s"]


def test_a_large_state_takes_another_get(store, backend, fresh):
    """Once: the client remembers it. Without snapshots, the whole stream is read."""
    notes = noting("notes")
    for _ in range(4):
        store.transact("s", notes, note(LARGE))
    (*_, newest) = snapshots(backend)
    client = fresh()
    assert len(client.load("s", notes).state) == 4
    assert backend.take() == ["get heads/s", f"get {newest}"]
    assert len(client.load("s", notes).state) == 4
    assert backend.take() == ["get heads/s"]
    client = fresh()
    assert len(client.load("s", Decider(list[str], notes.evolve)).state) == 4
    assert sum(request.count("segments/") for request in backend.take()) == 4


def test_what_is_remembered_is_not_folded_again(store, backend):
    """Between kept states, too: each event is folded once in this client, and what was decided as well."""
    accounts, folded = counting(1000)
    for number in range(1, 6):
        assert store.transact("s", accounts, deposit).state == Account(number, number)
        assert store.load("s", accounts).state == Account(number, number)
    assert folded == [1] * 5
    assert kept(store) == []


def test_nothing_remembered(backend):
    """A client without a cache folds what is after the kept state."""
    accounts, folded = counting(3)
    with connect(backend, feed=False, cache_bytes=0) as store:
        for _ in range(4):
            store.transact("s", accounts, deposit)
        folded.clear()
        assert store.load("s", accounts).state == Account(4, 4)
    assert folded == [1]


def test_nobody_changes_what_is_remembered(store):
    """A state that is changed in place, by the fold or by whoever got it, is that caller's alone."""

    def in_place(state: list[str], event: Event) -> list[str]:
        state.append(event.data)
        return state

    notes = Decider(list[str], in_place, name="notes", snapshots=Snapshots(list[str], every=2))
    for text in ("a", "b", "c"):
        store.transact("s", notes, note(text)).state.append("mine")
        store.load("s", notes).state.clear()
    assert store.load("s", notes).state == ["a", "b", "c"]


def test_streams_that_do_not_exist_are_not_remembered(store):
    """Whoever looks for many takes no room from those that exist."""
    store.transact("s", KEEPING, deposit)
    size = store._session.states._cache._size
    for number in range(100):
        assert store.load(f"none-{number}", KEEPING).state == Account()
    assert store._session.states._cache._size == size


# --- when a state is written -------------------------------------------------------------------------------------


def test_after_so_many_events(store):
    """Of others, too; with the append that reaches them, and not before so many more."""
    accounts, _ = counting(4)
    store.append("s", cents(2))
    store.transact("s", accounts, deposit)
    assert kept(store) == []
    store.transact("s", accounts, lambda _: [Deposited(1)] * 2)
    assert kept(store) == [("accounts", 1, 5)]
    for version, at in ((6, 5), (7, 5), (8, 5), (9, 9), (10, 9)):
        assert store.transact("s", accounts, deposit).head.version == version
        assert kept(store) == [("accounts", 1, at)]


@pytest.mark.parametrize("key", [False, True], ids=["no key", "keys"])
@pytest.mark.parametrize("clients", ["one", "a new one each time"])
def test_after_so_many_bytes(store, fresh, key, clients):
    """Of the data of the events since the last one: whoever counts them, and however they were appended."""
    notes = Decider(
        list[str],
        lambda state, event: [*state, event.data],
        name="notes",
        snapshots=Snapshots(list[str], every=1000, every_bytes=250),
    )
    for number in range(1, 11):
        client = store if clients == "one" else fresh()
        client.transact("s", notes, note("x" * 98), key=f"k{number}" if key else None)
        assert kept(store) == [("notes", 1, at) for at in (number // 3 * 3,) if at], "each has 100 bytes"


def test_only_appends_write_states(store, backend):
    """A load never does, nor a decision for nothing."""
    store.append("s", cents(500))
    backend.take()
    store.load("s", KEEPING)
    store.transact("s", KEEPING, lambda _: None)
    assert [request for request in backend.take() if not request.startswith("get")] == []
    assert kept(store) == []


def test_a_changed_version_is_kept_beside_the_old_one(store, fresh):
    """The first append of the new program keeps a state, for it folded all; programs of both versions may run."""
    old, new = counting(2)[0], counting(2, version=2)[0]
    for _ in range(4):
        store.transact("s", old, deposit)
    assert fresh().transact("s", new, deposit).state == Account(5, 5)
    assert kept(store) == [("accounts", 1, 4), ("accounts", 2, 5)]


def test_states_up_to_their_limit(store, backend, monkeypatch, caplog):
    """A larger one is not kept, and that is said; the events are appended."""
    monkeypatch.setattr(limits, "MAX_SNAPSHOT", 100)
    notes = noting("notes")
    store.transact("s", notes, note("x" * 87))
    assert kept(store) == [("notes", 1, 1)]
    decision = store.transact("s", notes, note("secret"))
    assert (decision.head.version, kept(store)) == (2, [("notes", 1, 1)])
    assert (
        "decider 'notes' for stream 's' is not kept, and loads fold its events again: it has 109 bytes" in caplog.text
    )
    assert "secret" not in caplog.text
    assert store.load("s", notes).state == ["x" * 87, "secret"]


# --- states that cannot be kept ------------------------------------------------------------------------------------


def lossy(every: int) -> Decider[tuple[str, ...], Event]:
    """A decider whose states come back as lists."""
    kept: Snapshots[Any] = Snapshots(list, every=every)
    return Decider(tuple, lambda state, event: (*state, event.data), name="lossy", snapshots=kept)


@pytest.mark.parametrize("every", [1, 10], ids=["due", "not due"])
def test_a_state_that_cannot_be_kept(store, fresh, caplog, every):
    """It costs no append. That is said once for a decider, without what is in the state, and every load is right."""
    decider = lossy(every)
    for number in range(1, 4):
        assert store.transact("s", decider, note("secret")).state == ("secret",) * number
        assert fresh().load("s", decider).state == ("secret",) * number
    assert kept(store) == []
    (record,) = caplog.records
    assert (record.levelname, record.name) == ("WARNING", "headstream.deciding")
    assert "decider 'lossy' for stream 's' is not kept, and loads fold its events again" in record.getMessage()
    assert "tuple comes back as list, not tuple: give its exact type" in record.getMessage()
    assert "secret" not in record.getMessage()


def test_a_state_that_can_be_kept_again(store):
    """The next append keeps it."""
    kinds: Snapshots[Any] = Snapshots(Any, every=1)
    newest: Decider[Any, Event] = Decider(list, lambda _state, event: event.data, name="newest", snapshots=kinds)
    as_tuple = Decider(list, lambda _state, event: tuple(event.data), name="newest", snapshots=kinds)
    assert store.transact("s", as_tuple, lambda _: Event("E", [1])).state == (1,)
    assert kept(store) == []
    store.transact("s", newest, lambda _: Event("E", [2]))
    assert kept(store) == [("newest", 1, 2)]


@pytest.mark.parametrize("fold", [0, 1])
def test_a_time_in_a_named_zone(store, fresh, fold):
    """During the hour that a clock goes back, such a time equals no time in another zone: its text says what it is."""

    @dataclass(frozen=True)
    class Due:
        at: datetime | None = None

    berlin = ZoneInfo("Europe/Berlin")
    due = Decider(
        Due,
        lambda _state, event: Due(datetime.fromisoformat(event.data).replace(tzinfo=berlin, fold=fold)),
        name="due",
        snapshots=Snapshots(Due, every=1),
    )
    decision = store.transact("s", due, note("2026-10-25T02:30:00"))
    assert kept(store) == [("due", 1, 1)]
    again = fresh().load("s", due).state
    assert again.at.isoformat() == decision.state.at.isoformat() == f"2026-10-25T02:30:00+0{2 - fold}:00"


def test_a_comparison_that_fails_after_the_append(store, caplog):
    """Nothing that a state does can make an append that is done look as if it was not."""

    class Odd(str):
        __slots__ = ()
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            raise ZeroDivisionError

    kept: Snapshots[Any] = Snapshots(encode=str.encode, decode=lambda data: Odd(data.decode()), every=10)
    odd: Decider[Any, Event] = Decider(Odd, lambda state, event: Odd(event.data), name="odd", snapshots=kept)
    assert store.transact("s", odd, note("a")).head.version == 1
    assert "see the cause (ZeroDivisionError)" in caplog.text


# --- kept states that cannot be used -------------------------------------------------------------------------------


def body_of(backend: Watched, key: str) -> bytes:
    """What is under a key."""
    found = backend.get(Get(key))
    assert isinstance(found, Found)
    return found.body


def newer(body: bytes) -> bytes:
    """The same in a format of the future."""
    return bytes([body[0], 2]) + body[2:]


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda _body: None,
    "empty": lambda _body: b"",
    "cut": lambda body: body[:-1],
    "changed": lambda body: body[:50] + bytes([body[50] ^ 1]) + body[51:],
    "newer": newer,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_snapshot_that_cannot_be_read(store, backend, fresh, caplog, damage):
    """All is folded instead, and that is said; whoever met it keeps a state anew with the next append, and then it is said no more."""
    notes = noting("notes", every=3)
    for text in (LARGE, "b", "c", "d"):
        store.transact("s", notes, note(text))
    (key,) = snapshots(backend)
    changed = DAMAGE[damage](body_of(backend, key))
    if changed is None:
        backend.delete([key])
    else:
        backend.commit((), Put(key, changed, ALWAYS))
    client = fresh()
    assert client.load("s", notes).state == [LARGE, "b", "c", "d"]
    (said,) = [record.getMessage() for record in caplog.records]
    assert "the kept state of decider 'notes' for stream 's' is not used: " in said
    assert caplog.records[0].levelno == logging.WARNING
    caplog.clear()
    assert fresh().transact("s", notes, note("e")).state == [LARGE, "b", "c", "d", "e"]
    caplog.clear()
    assert kept(store) == [("notes", 1, 5)]
    assert fresh().load("s", notes).state == [LARGE, "b", "c", "d", "e"]
    assert caplog.records == []


def test_a_snapshot_that_is_missing_is_looked_for_twice(store, backend, fresh):
    """The head may have been an old one: it is asked for again, once."""
    notes = noting("notes", every=3)
    for text in (LARGE, "b", "c"):
        store.transact("s", notes, note(text))
    (key,) = snapshots(backend)
    backend.delete([key])
    client = fresh()
    client.load("s", notes)
    assert backend.take()[:4] == ["get heads/s", f"get {key}", "get heads/s", f"get {key}"]


def test_a_snapshot_that_was_replaced_and_collected(store, backend, fresh, caplog):
    """Whoever has the head before finds it gone, reads the head again, and is not a word slower about it."""
    notes = noting("notes")
    store.transact("s", notes, note(LARGE))
    (old,) = snapshots(backend)
    client = fresh()
    assert client.head("s").version == 1
    store.transact("s", notes, note("b"))
    backend.delete([old])
    (new,) = snapshots(backend)
    assert client.load("s", notes, max_age=3600).state == [LARGE, "b"]
    assert backend.take() == [f"get {old}", "get heads/s", f"get {new}"]
    assert caplog.records == []


def test_a_snapshot_that_cannot_be_had(store, backend, fresh):
    """The storage does not answer: that is no damage, and the load fails as any other."""
    store.transact("s", noting("notes"), note(LARGE))
    client = fresh()
    backend.faults.extend([None, NotApplied()])
    with pytest.raises(Unavailable):
        client.load("s", noting("notes"))


def test_states_of_another_kind_under_the_same_name(store, fresh, caplog):
    """The type changed, and the version did not: all is folded, and the log says what to do."""
    store.transact("s", noting("notes"), note("secret"))
    lengths = Decider(
        int, lambda state, event: state + len(event.data), name="notes", snapshots=Snapshots(int, every=1)
    )
    for client in (store, fresh()):
        caplog.clear()
        assert client.load("s", lengths).state == 6
        assert "another type of states: count the decider's version up when its states change" in caplog.text
        assert "secret" not in caplog.text
    assert fresh().transact("s", lengths, note("ab")).state == 8
    assert fresh().load("s", lengths).state == 8


@dataclass(frozen=True)
class Tally:
    """A state as it was."""

    count: int = 0


def test_a_state_type_that_got_a_field(store, fresh, caplog):
    """The kept state could be decoded, with the field's default, and would be wrong."""

    def tallied(kind: Any) -> Decider[Any, Event]:
        def counted(state: Any, event: Event) -> Any:
            more = {"longest": max(state.longest, len(event.data))} if hasattr(state, "longest") else {}
            return kind(count=state.count + 1, **more)

        return Decider(kind, counted, name="tally", snapshots=Snapshots(kind, every=1))

    @dataclass(frozen=True)
    class Longer:
        count: int = 0
        longest: int = 0

    store.transact("s", tallied(Tally), note("four"))
    assert fresh().load("s", tallied(Tally)).state == Tally(1)
    for client in (store, fresh()):
        caplog.clear()
        assert client.load("s", tallied(Longer)).state == Longer(1, 4)
        assert "another type of states" in caplog.text
    assert fresh().transact("s", tallied(Longer), note("a")).state == Longer(2, 4)
    caplog.clear()
    assert fresh().load("s", tallied(Longer)).state == Longer(2, 4)
    assert caplog.text == ""
    assert fresh().load("s", tallied(Tally)).state == Tally(2), "a program that goes back does the same"


def test_a_state_from_before_there_were_fingerprints(store, fresh, monkeypatch, caplog):
    """Nothing is known of its type, so it is not used. What a decider's own functions make has none, and is."""
    with monkeypatch.context() as patched:
        patched.setattr(Snapshots, "_mark", b"")
        store.transact("s", noting("notes"), note("a"))
    assert fresh().load("s", noting("notes")).state == ["a"]
    assert "another type of states" in caplog.text
    own: Snapshots[Any] = Snapshots(encode=pickle.dumps, decode=pickle.loads, every=1)
    pickled: Decider[list[str], Event] = Decider(list, noted, name="pickled", snapshots=own)
    caplog.clear()
    store.transact("s", pickled, note("b"))
    assert fresh().load("s", pickled).state == ["a", "b"]
    assert caplog.text == ""


# --- conflicts, keys and lost answers --------------------------------------------------------------------------------


def test_a_conflict_while_a_state_is_due(store, backend, fresh):
    """The state of the attempt that was lost is nowhere: not in the stream, and not in this client."""
    notes = noting("notes")
    other, left = fresh(), ["by another"]

    def late(state: list[str]) -> Event:
        if left:
            other.append("s", Event("Noted", left.pop()))
        return Event("Noted", f"{len(state)}{LARGE}")

    assert store.transact("s", notes, late).state == ["by another", f"1{LARGE}"]
    assert kept(store) == [("notes", 1, 2)]
    (won,) = snapshots(backend)
    for client in (store, fresh()):
        assert client.load("s", notes).state == ["by another", f"1{LARGE}"]
    assert f"get {won}" in backend.take()


def test_after_a_conflict_a_newer_state_is_used(store, fresh):
    """Others have kept one meanwhile: only what is after it is folded."""
    accounts, folded = counting(50)
    store.transact("s", accounts, deposit)
    other, left = fresh(), [1]

    def late(account: Account) -> Deposited:
        if left:
            left.pop()
            other.transact("s", counting(50)[0], lambda _: [Deposited(1)] * 60)
            other.transact("s", counting(50)[0], deposit)
        return Deposited(account.events)

    folded.clear()
    assert store.transact("s", accounts, late).state == Account(62 + 62, 63)
    assert folded == [1, 1, 62], "the lost decision, the deposit after the state, the decision"


def test_another_call_with_the_same_key(store, fresh):
    """What it appended is in the stream, and the state after it is the right one, wherever states were kept."""
    notes = noting("notes")
    store.transact("s", notes, note("a"))

    def late(_state: list[str]) -> Event:
        fresh().transact("s", notes, note("theirs"), key="k")
        fresh().transact("s", notes, note("later"))
        return Event("Noted", "mine")

    decision = store.transact("s", notes, late, key="k")
    assert (decision.state, decision.head.version) == (["a", "theirs"], 2)
    assert [event.data for event in decision.events] == ["theirs"]
    for client in (store, fresh()):
        assert client.load("s", notes).state == ["a", "theirs", "later"]


# --- an allowed age ------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A clock that stands still until it is set."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr("headstream.caches.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_a_head_that_is_young_enough(store, backend, clock):
    """It takes no request to load by it, and one to decide; when it is too old, it is asked for again."""
    store.transact("s", KEEPING, deposit)
    backend.take()
    clock.now += 5
    assert store.load("s", KEEPING, max_age=5).state == Account(1, 1)
    assert backend.take() == []
    assert store.transact("s", KEEPING, deposit, max_age=5).state == Account(2, 2)
    assert backend.take() == ["commit heads/s"]
    clock.now += 5.1
    assert store.load("s", KEEPING, max_age=5).state == Account(2, 2)
    assert store.load("s", KEEPING, max_age=5).state == Account(2, 2)
    assert backend.take() == ["get heads/s"], "the answer is as young as can be"
    assert store.load("s", KEEPING).state == Account(2, 2)
    assert backend.take() == ["get heads/s"]


def test_a_decision_on_a_head_that_was_too_old(store, backend, fresh, clock):
    """The append is refused, looks at the head, and the decision is made anew on that: no other request."""
    store.transact("s", KEEPING, deposit)
    fresh().append("s", cents(1))
    backend.take()
    seen: list[int] = []

    def noticed(account: Account) -> Deposited:
        seen.append(account.events)
        return Deposited(1)

    assert store.transact("s", KEEPING, noticed, max_age=60).state == Account(3, 3)
    assert seen == [1, 2]
    assert backend.take() == ["commit heads/s", "get heads/s", "commit heads/s"]


def test_a_stream_that_was_not_there(store, backend, fresh, clock):
    """That is not remembered, whatever age is allowed."""
    assert store.load("s", KEEPING, max_age=60).state == Account()
    fresh().append("s", cents(1))
    assert store.load("s", KEEPING, max_age=60).state == Account(1, 1)


# --- threads -------------------------------------------------------------------------------------------------------


def test_threads_that_decide_on_one_stream_do_not_conflict(store, backend):
    """They take turns: each commit is the only one on its head, and each state is kept once."""
    accounts, _ = counting(10)

    def work(_thread: int) -> None:
        for _ in range(20):
            store.transact("s", accounts, deposit)

    backend.take()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    requests = backend.take()
    assert requests.count("commit heads/s") == 320
    assert store.stats().conflicts == 0
    assert store.load("s", accounts).state == Account(320, 320)
    assert kept(store) == [("accounts", 1, 320)]


def test_loads_beside_threads_that_decide(store):
    """They wait for nobody, and see the stream as it was at one moment."""
    accounts, _ = counting(7)
    notes = Decider(int, lambda state, _event: state + 1, name="counts", snapshots=Snapshots(int, every=3))

    def decide(_thread: int) -> None:
        for _ in range(50):
            store.transact("s", accounts, deposit)

    def load(thread: int) -> None:
        for number in range(50):
            loaded = store.load("s", accounts, max_age=number % 2 * 10)
            assert loaded.state == Account(loaded.head.version, loaded.head.version)
            counts = store.load("s", notes)
            assert counts.state == counts.head.version

    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(work, number) for number, work in enumerate((decide, decide, load, load, load, decide))]
        for future in waiting:
            future.result()
    assert store.load("s", accounts).state == Account(150, 150)


@pytest.mark.parametrize("stream", ["s", "another"])
@pytest.mark.parametrize("nested", ["append", "transact"])
def test_a_decision_that_appends(store, stream, nested):
    """It could wait for itself, or for who waits for it: that is an error that says what to do, and nothing is appended; both streams can be used on."""

    def decide(_account: Account) -> None:
        if nested == "append":
            store.append(stream, cents(1))
        else:
            store.transact(stream, KEEPING, deposit)

    with pytest.raises(InvalidInput, match=r"decide appends to a stream: .* so it returns events instead"):
        store.transact("s", KEEPING, decide)
    assert list(store.streams()) == []
    for name in ("s", stream):
        store.transact(name, KEEPING, deposit)


def test_a_decision_that_loads(store):
    """What it reads of other streams, or of its own, waits for nobody."""
    store.append("t", cents(3))
    decision = store.transact("s", KEEPING, lambda _: Deposited(store.load("t", KEEPING).state.balance))
    assert decision.state == Account(3, 1)


def test_a_decision_that_fails_gives_its_turn_back(store):
    """So the next thread has it."""

    def fail(_account: Account) -> None:
        raise LookupError

    for _ in range(2):
        with pytest.raises(LookupError):
            store.transact("s", KEEPING, fail)
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(store.transact, "s", KEEPING, deposit).result(10).state == Account(1, 1)


def test_the_age_of_a_remembered_head(store, fresh, clock):
    """An append that was found in a remembered head says nothing of how new that is."""
    store.append("s", Event("E", 1), key="k")
    fresh().append("s", Event("E", 2))
    clock.now += 100
    store.append("s", Event("E", 1), key="k")  # no request: it is in the head that is remembered
    assert store.load("s", Decider(int, lambda count, _: count + 1), max_age=50).state == 2
