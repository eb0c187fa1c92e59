"""Commands that are repeated with their key, and folds that see what was recorded of an event: what is
requested, and how far back it reaches.

What every client does on every backend is in ``support.api_deciding``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_type

import pytest

from headstream import (
    Decider,
    Decision,
    Event,
    EventStore,
    InvalidInput,
    OutcomeUnknown,
    RecordedEvent,
    Registry,
    Snapshots,
    WithMetadata,
    connect,
)
from headstream.protocol.ops import NotApplied
from headstream.protocol.read import load_head
from headstream.testing.given import given
from support.api_deciding import ACCOUNTS, Account, Deposited, deposit, evolve, refuse
from support.backends import Watched


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Watched:
    """A backend that can be watched; pauses take no time."""
    monkeypatch.setattr("headstream.drivers.sync.time.sleep", lambda _seconds: None)
    return Watched()


@pytest.fixture
def store(backend: Watched) -> Iterator[EventStore]:
    """A client of it, with short tails."""
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


def keeping(every: int) -> Decider[Account, Any]:
    """A decider that keeps states."""
    return Decider(Account, evolve, Registry(Deposited), name="accounts", snapshots=Snapshots(Account, every=every))


def segments(store: EventStore) -> int:
    """How many a stream has."""
    layout = store.layout("s")
    assert layout is not None
    return len(layout.references)


# --- how far back a key is found -------------------------------------------------------------------------------------


def test_a_load_of_all_events_finds_a_key_anywhere(store, backend, fresh):
    """In the first segment of several, by the requests that the load makes anyway."""
    store.transact("s", ACCOUNTS, lambda _: Deposited(7), key="k")
    for _ in range(6):
        store.append("s", cents(60))
    assert segments(store) >= 3
    client = fresh()
    client.transact("s", ACCOUNTS, lambda _: None)
    without_key = backend.take()
    client = fresh()
    client.transact("s", ACCOUNTS, lambda _: None, key="never used")
    assert backend.take() == without_key
    client = fresh()
    decision = client.transact("s", ACCOUNTS, refuse, key="k")
    assert (decision.events, decision.state, decision.head.version) == ((Deposited(7),), Account(7, 1), 1)


def test_a_kept_state_leaves_the_tail_and_the_newest_segment(store, backend, fresh):
    """There a key is found, as far as an append looks; further back it is not, and the command is carried out again."""
    accounts = keeping(1)
    for number in range(1, 200):
        store.transact("s", accounts, deposit, key=f"k{number}")
    (*_, newest) = store.layout("s").references
    sealed = store._run(load_head("s", None)).state.fields.sealed.version
    assert newest.first > 1
    assert sealed < 199
    for version in (newest.first, sealed, sealed + 1, 199):
        again = fresh().transact("s", accounts, refuse, key=f"k{version}")
        assert (again.repeated, again.head.version, again.state) == (True, version, Account(version, version))
    client = fresh()
    client.transact("s", accounts, lambda _: None, key="never used")
    assert [request.split("/")[0] for request in backend.take()] == ["get heads", "get segments"]
    client.transact("s", accounts, lambda _: None, key="never used")
    assert [request.split("/")[0] for request in backend.take()] == ["get heads"], (
        "the keys of a segment are remembered"
    )
    assert client.transact("s", accounts, refuse, key=f"k{newest.first}").repeated
    further = fresh().transact("s", accounts, deposit, key=f"k{newest.first - 1}")
    assert (further.repeated, further.head.version) == (False, 200)


def test_a_key_of_a_command_that_did_nothing_is_not_found(store):
    """Nothing was written, so nothing is there: it is decided again."""
    assert store.transact("s", ACCOUNTS, lambda _: ("nothing", None), key="k").result == "nothing"
    assert store.transact("s", ACCOUNTS, deposit, key="k").repeated is False


@pytest.mark.parametrize("between", [0, 1, 100])
@pytest.mark.parametrize("decider", [ACCOUNTS, keeping(3)], ids=["plain", "keeping"])
def test_a_command_that_another_carries_out_meanwhile(store, fresh, between, decider):
    """It is found in what is read after the conflict, right behind the state or later, and not decided again."""
    other = fresh()
    asked: list[Account] = []

    def late(account: Account) -> Deposited:
        asked.append(account)
        for _ in range(between):
            other.append("s", cents(1))
        other.transact("s", decider, lambda _: Deposited(5), key="k")
        return Deposited(7)

    store.transact("s", decider, deposit)
    decision = store.transact("s", decider, late, key="k")
    assert (len(asked), decision.repeated, decision.events) == (1, True, (Deposited(5),))
    assert decision.state == Account(between + 6, between + 2)
    assert store.load("s", ACCOUNTS).state == Account(between + 6, between + 2)


def test_a_repeated_command_that_cannot_be_read_back(store, backend, fresh):
    """It was carried out, and no error may say that nothing was written."""
    store.transact("s", ACCOUNTS, lambda _: Deposited(7), key="k")
    for _ in range(6):
        store.append("s", cents(60))
    client = fresh()
    client.load("s", ACCOUNTS)
    loaded = len(backend.take())
    client = fresh()
    backend.faults.extend([None] * loaded + [NotApplied()] * 100)
    with pytest.raises(OutcomeUnknown, match="the append is done, by this call or by another with its key") as caught:
        client.transact("s", ACCOUNTS, refuse, key="k")
    assert (caught.value.stream, caught.value.follows) == ("s", 0)


# --- what is recorded of an event
# --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """When what was last seen."""

    versions: tuple[int, ...] = ()
    at: datetime | None = None


def seen(state: Seen, _event: Deposited, recorded: RecordedEvent) -> Seen:
    """The fold."""
    return Seen((*state.versions, recorded.version), recorded.recorded_at)


def seeing(every: int | None = None) -> Decider[Seen, Deposited]:
    """A decider whose states depend on the time of events."""
    kept: Snapshots[Seen] | None = None if every is None else Snapshots(Seen, every=every)
    return Decider(Seen, seen, Registry(Deposited), recorded=True, name="seen", snapshots=kept)


def test_the_state_after_a_decision_has_the_times_of_the_stream(store, backend):
    """It takes no request more."""
    for number in range(1, 4):
        decision = store.transact("s", seeing(), lambda _, number=number: [Deposited(1)] * number)
        assert backend.take() == ["get heads/s", "commit heads/s"]
        newest = next(store.read("s", backwards=True))
        assert decision.state == Seen(tuple(range(1, newest.version + 1)), newest.recorded_at)
        backend.take()


@pytest.mark.parametrize("every", [1, 2, 3])
def test_what_is_kept_has_the_times_of_the_stream(store, fresh, every):
    """An append keeps the state before its events, for their time is known only later. All loads give the same."""
    decider = seeing(every)
    for number in range(1, 9):
        client = store if number % 3 else fresh()
        decision = client.transact("s", decider, lambda _: Deposited(1))
        plain = seeing().fold(store.read("s"))
        assert decision.state == plain == store.load("s", decider).state == fresh().load("s", decider).state
        kept = [entry.at for entry in store._run(load_head("s", None)).state.snapshots]
        assert all(0 < number - at <= every for at in kept), "of what was there before the append"
        assert bool(kept) == (number > max(1, every - 1)), "nothing is there before the first"


def test_a_fold_that_changes_its_state_in_place(store, fresh):
    """Is made anew after the append; and no state is kept that might have been changed."""

    def in_place(state: list[Any], _event: Deposited, recorded: RecordedEvent) -> list[Any]:
        state.append([recorded.version, recorded.micros])
        return state

    decider: Decider[list[Any], Deposited] = Decider(
        list[Any], in_place, Registry(Deposited), recorded=True, name="l", snapshots=Snapshots(list[Any], every=1)
    )
    for _ in range(3):
        decision = store.transact("s", decider, lambda _: Deposited(1))
        assert decision.state == [[event.version, event.micros] for event in store.read("s")]
        assert decision.repeated is False
        assert fresh().load("s", decider).state == decision.state


def test_plain_events_and_skipped_ones_have_it(store):
    """The record that is given is that of the event, whatever was left out before it."""
    store.append("s", [Event("Audited"), *cents(1), Event("Audited"), *cents(1)])
    skipping = Decider(Seen, seen, Registry(Deposited, unknown="skip"), recorded=True)
    assert store.load("s", skipping).state.versions == (2, 4)
    plain = Decider(
        tuple[Any, ...], lambda state, event, recorded: (*state, (event.type, recorded.version)), recorded=True
    )
    assert store.load("s", plain).state[-1] == ("Deposited", 4)


def test_tests_of_a_decider_have_it():
    """``given`` does what the application does, with metadata too."""

    def users(state: tuple[str, ...], _event: Deposited, recorded: RecordedEvent) -> tuple[str, ...]:
        return (*state, recorded.metadata.get("user", "?"))

    decider = Decider(tuple[str, ...], users, Registry(Deposited), recorded=True)
    start = given(decider, WithMetadata(Deposited(1), {"user": "ada"}), Deposited(2))
    assert start.state == ("ada", "?")
    then = start.when(lambda _: WithMetadata(Deposited(3), {"user": "bob"}))
    then.then(WithMetadata(Deposited(3), {"user": "bob"})).then_state(("ada", "?", "bob"))
    with pytest.raises(AssertionError, match="other events were decided"):
        then.then(Deposited(3))


# --- metadata of each event ------------------------------------------------------------------------------------------


def test_metadata_of_each_event(store):
    """With a schema version, an id; what the event says goes before what the call says."""
    registry = Registry()
    registry.register(Deposited, upcasters=[dict])
    accounts = Decider(Account, evolve, registry)
    noted = WithMetadata(Deposited(1), {"a": 1}, id="id-1")
    store.transact("s", accounts, lambda _: ("result", [noted, Deposited(2)]), metadata={"a": 2, "b": 2})
    store.append("s", registry.encode(noted, {"a": 3, "c": 3}))
    assert [(event.metadata, event.id) for event in store.read("s")] == [
        ({"a": 1, "b": 2, "schema_version": 2}, "id-1"),
        ({"a": 2, "b": 2, "schema_version": 2}, None),
        ({"a": 1, "c": 3, "schema_version": 2}, "id-1"),
    ]
    assert store.transact("s", accounts, lambda _: noted).events == (Deposited(1),)


def test_what_has_no_metadata(store):
    """An instance of another class, a plain event, metadata that is no mapping."""
    with pytest.raises(InvalidInput, match="an event's metadata is a mapping, not list"):
        WithMetadata(Deposited(1), ["a"])
    with pytest.raises(InvalidInput, match="not Account: is its class registered"):
        store.transact("s", ACCOUNTS, lambda _: WithMetadata(Account()))
    with pytest.raises(InvalidInput, match="not WithMetadata"):
        store.transact("s", Decider(int, lambda n, _event: n), lambda _: WithMetadata(Deposited(1)))
    with pytest.raises(InvalidInput, match="no event type is registered for Account"):
        Registry(Deposited).encode(WithMetadata(Account()))
    assert store.head("s") is None


# --- types -----------------------------------------------------------------------------------------------------------


def annotated(_account: Account) -> WithMetadata[Deposited]:
    """One event with metadata."""
    return WithMetadata(Deposited(1), {"user": "ada"})


def several(_account: Account) -> list[Deposited | WithMetadata[Deposited]]:
    """Some with metadata, some without."""
    return [Deposited(1), annotated(_account)]


def with_a_result(_account: Account) -> tuple[int, list[WithMetadata[Deposited]]]:
    """A result beside them."""
    return 7, [annotated(_account)]


def test_types_are_told_as_they_are(store: EventStore) -> None:
    """mypy reads this, too."""
    accounts: Decider[Account, Deposited] = Decider(Account, only_deposits, Registry(Deposited))
    assert_type(store.transact("s", accounts, annotated), Decision[Account, Deposited, None])
    assert_type(store.transact("s", accounts, several), Decision[Account, Deposited, None])
    assert_type(store.transact("s", accounts, with_a_result), Decision[Account, Deposited, int])
    assert_type(Decider(Seen, seen, Registry(Deposited), recorded=True), Decider[Seen, Deposited])
    assert_type(given(accounts, Deposited(1)).when(with_a_result).decision, Decision[Account, Deposited, int])


def only_deposits(account: Account, event: Deposited) -> Account:
    """A fold of one kind."""
    return evolve(account, event)
