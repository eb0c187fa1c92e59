"""The checks of the API suite that are about deciders."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest

from headstream import (
    Decider,
    Event,
    EventStore,
    InvalidInput,
    RecordedEvent,
    Registry,
    Snapshots,
    WithMetadata,
    limits,
)
from support.api_checks import fresh, one, two

DEPOSITS = 10
"""Of each of the threads that race."""


@dataclass(frozen=True)
class Deposited:
    """Money comes."""

    cents: int


@dataclass(frozen=True)
class Withdrawn:
    """Money goes."""

    cents: int


@dataclass(frozen=True)
class Account:
    """What the rules need to know."""

    balance: int = 0
    events: int = 0


def evolve(account: Account, event: Deposited | Withdrawn) -> Account:
    """The account after an event."""
    cents = event.cents if isinstance(event, Deposited) else -event.cents
    return replace(account, balance=account.balance + cents, events=account.events + 1)


ACCOUNTS: Decider[Account, Deposited | Withdrawn] = Decider(Account, evolve, Registry(Deposited, Withdrawn))


KEEPING: Decider[Account, Deposited | Withdrawn] = Decider(
    Account,
    evolve,
    Registry(Deposited, Withdrawn),
    name="accounts",
    snapshots=Snapshots(Account, every=3),
)
"""The same, whose states are kept."""


def noted(state: list[str], event: Event) -> list[str]:
    """All data of a stream, in order."""
    return [*state, event.data]


def noting(name: str, *, version: int = 1, every: int = 1) -> Decider[list[str], Event]:
    """A decider whose states grow with the stream."""
    return Decider(list[str], noted, name=name, version=version, snapshots=Snapshots(list[str], every=every))


LARGE = "x" * (limits.SNAPSHOT_INLINE + 1)
"""A state that holds this is an object of its own."""


def deposit(_account: Account) -> Deposited:
    """A cent."""
    return Deposited(1)


def withdraw(account: Account) -> tuple[int, list[Withdrawn]]:
    """All that is there; how much that is."""
    return account.balance, [Withdrawn(account.balance)] if account.balance else []


def once(event: Event, _state: object) -> Event:
    """This event."""
    return event


def refuse(_account: object) -> None:
    """What is never asked."""
    raise AssertionError("it was decided again")


def shape(store: EventStore, stream: str) -> list[tuple[str, Any]]:
    """What a stream holds."""
    return [(event.type, event.data) for event in store.read(stream)]


@one
def check_a_decision(store: EventStore) -> None:
    """Its events are appended; it says the result, the events, the state after them and the head."""
    stream = fresh()
    first = store.transact(stream, ACCOUNTS, lambda _: [Deposited(3), Deposited(4)])
    assert (first.result, first.events, first.state) == (None, (Deposited(3), Deposited(4)), Account(7, 2))
    assert first.head == store.head(stream)
    second = store.transact(stream, ACCOUNTS, withdraw)
    assert (second.result, second.events, second.state) == (7, (Withdrawn(7),), Account(0, 3))
    assert second.head == store.head(stream)
    assert shape(store, stream) == [
        ("Deposited", {"cents": 3}),
        ("Deposited", {"cents": 4}),
        ("Withdrawn", {"cents": 7}),
    ]


@one
def check_a_decision_for_nothing(store: EventStore) -> None:
    """Writes nothing, also where there is no stream; and is a way to load a state."""
    stream = fresh()
    nothing = store.transact(stream, ACCOUNTS, withdraw)
    assert (nothing.result, nothing.events, nothing.state, nothing.head.version) == (0, (), Account(), 0)
    assert store.head(stream) is None
    store.transact(stream, ACCOUNTS, deposit)
    loaded = store.transact(stream, ACCOUNTS, lambda _: None)
    assert (loaded.state, loaded.head) == (Account(1, 1), store.head(stream))


@one
def check_a_decision_on_a_long_stream(store: EventStore) -> None:
    """All of its events are folded, wherever they lie."""
    stream = fresh()
    for number in range(12):
        store.append(stream, Event("Deposited", {"cents": number}))
    assert store.transact(stream, ACCOUNTS, withdraw).result == sum(range(12))


@one
def check_a_refusal(store: EventStore) -> None:
    """What ``decide`` raises comes through, and nothing is appended."""
    stream = fresh()

    def refuse(account: Account) -> None:
        raise LookupError(account.balance)

    store.transact(stream, ACCOUNTS, deposit)
    with pytest.raises(LookupError, match="1"):
        store.transact(stream, ACCOUNTS, refuse)
    assert list(store.read(stream))[-1].version == 1


@one
def check_metadata_of_a_decision(store: EventStore) -> None:
    """All of its events have it."""
    stream = fresh()
    store.transact(stream, ACCOUNTS, lambda _: [Deposited(1), Deposited(2)], metadata={"user": "ada"})
    assert [event.metadata for event in store.read(stream)] == [{"user": "ada"}] * 2


@one
def check_a_decision_where_none_can_be(store: EventStore) -> None:
    """In a stream of headstream's own, or without a name."""
    for stream in ("$feed", ""):
        with pytest.raises(InvalidInput):
            store.transact(stream, ACCOUNTS, deposit)


@two
def check_a_decision_is_made_anew(store: EventStore, other: EventStore) -> None:
    """If others were faster; on the state after their events."""
    stream = fresh()
    store.transact(stream, ACCOUNTS, deposit)
    seen: list[Account] = []

    def late(account: Account) -> Deposited:
        seen.append(account)
        if len(seen) <= 2:
            other.append(stream, Event("Deposited", {"cents": 100}))
        return Deposited(1)

    decision = store.transact(stream, ACCOUNTS, late)
    assert seen == [Account(1, 1), Account(101, 2), Account(201, 3)]
    assert decision.state == Account(202, 4)
    assert decision.head == store.head(stream)


@two
def check_the_same_key_twice(store: EventStore, other: EventStore) -> None:
    """Of two calls at once with one key, one appends; the other is told what that was."""
    stream = fresh()
    store.transact(stream, ACCOUNTS, deposit)

    def late(_account: Account) -> tuple[str, list[Deposited]]:
        other.transact(stream, ACCOUNTS, lambda _: [Deposited(5), Deposited(6)], key="k")
        other.transact(stream, ACCOUNTS, deposit)
        return "mine", [Deposited(7)]

    decision = store.transact(stream, ACCOUNTS, late, key="k")
    assert (decision.result, decision.events, decision.repeated) == ("mine", (Deposited(5), Deposited(6)), True)
    assert (decision.state, decision.head.version) == (Account(12, 3), 3)
    assert list(store.read(stream))[-1].version == 4


@two
def check_a_repeated_command(store: EventStore, other: EventStore) -> None:
    """A later call with the key decides nothing: it is told what the first appended, and the state after it."""
    for decider in (ACCOUNTS, KEEPING):
        stream = fresh()
        store.transact(stream, decider, deposit)
        first = store.transact(stream, decider, lambda _: ("mine", [Deposited(5), Deposited(6)]), key="k")
        assert (first.result, first.repeated, first.head.version) == ("mine", False, 3)
        for client in (store, other):
            if decider is ACCOUNTS:  # with kept states, a store without tails looks at its newest append only
                client.transact(stream, decider, deposit, key=f"other-{client is store}")
            again = client.transact(stream, decider, refuse, key="k")
            assert (again.result, again.events, again.repeated) == (None, (Deposited(5), Deposited(6)), True)
            assert (again.state, again.head.version) == (Account(12, 3), 3)
            assert again.head.changeset_id == first.head.changeset_id
        assert len(list(store.read(stream))) == (5 if decider is ACCOUNTS else 3)


@one
def check_a_command_that_append_has_made(store: EventStore) -> None:
    """Keys are those of the stream, whoever used them."""
    stream = fresh()
    head = store.append(stream, Event("Deposited", {"cents": 3}), key="k")
    decision = store.transact(stream, ACCOUNTS, refuse, key="k")
    assert (decision.events, decision.head, decision.repeated) == ((Deposited(3),), head, True)
    assert store.append(stream, Event("Deposited", {"cents": 3}), key="k") == head


@one
def check_what_an_event_says_of_itself(store: EventStore) -> None:
    """A fold that wants to know gets version, time, id and metadata: at once what a later load gets."""
    stream = fresh()

    def seen(state: tuple[Any, ...], event: Deposited, recorded: RecordedEvent) -> tuple[Any, ...]:
        said = recorded.version, recorded.metadata, recorded.id, recorded.recorded_at, recorded.changeset_id
        return (*state, (event.cents, *said))

    seeing = Decider(tuple[Any, ...], seen, Registry(Deposited), recorded=True)
    noted = WithMetadata(Deposited(2), {"reason": "gift", "user": "bob"}, id="d-2")
    for key in (None, "k"):
        decision = store.transact(stream, seeing, lambda _: [Deposited(1), noted], metadata={"user": "ada"}, key=key)
        assert decision.events == (Deposited(1), Deposited(2))
        assert decision.state == store.load(stream, seeing).state == seeing.fold(store.read(stream))
    assert [part[:4] for part in decision.state[:2]] == [
        (1, 1, {"user": "ada"}, None),
        (2, 2, {"user": "bob", "reason": "gift"}, "d-2"),
    ]
    assert [part[4:] for part in decision.state] == [(e.recorded_at, e.changeset_id) for e in store.read(stream)]
    assert store.transact(stream, seeing, refuse, key="k").state == decision.state


@two
def check_racing_decisions(store: EventStore, other: EventStore) -> None:
    """Every deposit counts once, and every withdrawal takes what was there."""
    stream = fresh()

    def work(client: EventStore) -> int:
        taken = 0
        for _ in range(DEPOSITS):
            client.transact(stream, ACCOUNTS, deposit)
            taken += client.transact(stream, ACCOUNTS, withdraw).result
        return taken

    with ThreadPoolExecutor(4) as pool:
        taken = sum(pool.map(work, (store, other, store, other)))
    assert taken + store.transact(stream, ACCOUNTS, withdraw).result == 4 * DEPOSITS


# --- loading and kept states -----------------------------------------------------------------------------------------


@one
def check_a_load(store: EventStore) -> None:
    """The state and the head; where there is no stream, the first state and version 0. Nothing is written."""
    stream = fresh()
    for decider in (ACCOUNTS, KEEPING):
        nothing = store.load(stream, decider)
        assert (nothing.state, nothing.head.version, store.head(stream)) == (Account(), 0, None)
    store.append(stream, Event("Deposited", {"cents": 3}), expected=nothing.head)
    for decider in (ACCOUNTS, KEEPING):
        loaded = store.load(stream, decider)
        assert (loaded.state, loaded.head) == (Account(3, 1), store.head(stream))


@one
def check_a_load_where_none_can_be(store: EventStore) -> None:
    """Of a stream of headstream's own, by what is no decider, of an age that is none."""
    calls: tuple[tuple[str, Any, dict[str, Any]], ...] = (
        ("$feed", ACCOUNTS, {}),
        ("", ACCOUNTS, {}),
        ("s", evolve, {}),
        ("s", ACCOUNTS, {"max_age": -1}),
        ("s", ACCOUNTS, {"max_age": float("nan")}),
        ("s", ACCOUNTS, {"max_age": True}),
    )
    for stream, decider, options in calls:
        with pytest.raises(InvalidInput):
            store.load(stream, decider, **options)


@two
def check_kept_states(store: EventStore, other: EventStore) -> None:
    """Whoever loads, sees what all events make, after each of them: those who kept states, those who did not, in either client."""
    stream = fresh()
    for number in range(1, 12):
        client = (store, other)[number % 2]
        if number % 5:
            assert client.transact(stream, KEEPING, deposit).state == Account(number, number)
        else:
            client.append(stream, Event("Deposited", {"cents": 1}))
        for loader in (store, other):
            for decider in (ACCOUNTS, KEEPING):
                assert loader.load(stream, decider).state == Account(number, number)


@two
def check_large_states(store: EventStore, other: EventStore) -> None:
    """They are objects of their own, and replace each other; they become small again, if their decider makes them so."""
    stream = fresh()
    notes = noting("notes")
    expected: list[str] = []
    for number in range(4):
        expected.append(f"{number}{LARGE}")
        store.transact(stream, notes, lambda _: Event("Noted", expected[-1]))
        assert other.load(stream, notes).state == expected
    other.transact(stream, noting("notes", version=2), lambda state: Event("Noted", str(len(state))))
    assert store.load(stream, notes).state == store.load(stream, noting("notes", version=2)).state == [*expected, "4"]


@two
def check_versions_of_a_decider(store: EventStore, other: EventStore) -> None:
    """A changed fold does not see the states of the one before; both may be at work on one stream."""

    def backwards(state: list[str], event: Event) -> list[str]:
        return [event.data, *state]

    stream = fresh()
    old = noting("notes")
    new = Decider(list[str], backwards, name="notes", version=2, snapshots=Snapshots(list[str], every=1))
    store.transact(stream, old, lambda _: [Event("Noted", "a"), Event("Noted", "b")])
    assert store.load(stream, new).state == other.load(stream, new).state == ["b", "a"]
    store.transact(stream, new, lambda _: Event("Noted", "c"))
    for client in (store, other):
        assert client.load(stream, new).state == ["c", "b", "a"]
        assert client.load(stream, old).state == ["a", "b", "c"]


@two
def check_several_deciders_on_one_stream(store: EventStore, other: EventStore) -> None:
    """Each has its own state, also when there are more than a head keeps."""
    stream = fresh()
    deciders = [noting(f"d{number}", every=1 + number % 2) for number in range(limits.MAX_SNAPSHOTS + 2)]
    expected: list[str] = []
    for number, decider in enumerate(deciders):
        expected.append(str(number) if number % 3 else LARGE)
        decision = store.transact(stream, decider, lambda _: Event("Noted", expected[-1]))
        assert decision.state == expected
    for client in (store, other):
        for decider in deciders:
            assert client.load(stream, decider).state == expected


@two
def check_a_conflict_while_a_state_is_due(store: EventStore, other: EventStore) -> None:
    """No state of the attempt that was refused is seen by anybody."""
    stream = fresh()
    notes = noting("notes")
    left = ["by another"]

    def late(state: list[str]) -> Event:
        if left:
            other.append(stream, Event("Noted", left.pop()))
        return Event("Noted", f"after {len(state)} {LARGE}")

    assert store.transact(stream, notes, late).state == ["by another", f"after 1 {LARGE}"]
    for client in (store, other):
        assert client.load(stream, notes).state == ["by another", f"after 1 {LARGE}"]


@two
def check_an_allowed_age(store: EventStore, other: EventStore) -> None:
    """A load may then be behind; a decision is made anew, if it was; a load without is not."""
    for decider in (ACCOUNTS, KEEPING):
        stream = fresh()
        store.transact(stream, decider, deposit)
        other.append(stream, Event("Deposited", {"cents": 100}))
        assert store.load(stream, decider, max_age=3600).state == Account(1, 1)
        seen: list[Account] = []

        def noticed(account: Account, seen: list[Account] = seen) -> Deposited:
            seen.append(account)
            return Deposited(1)

        assert store.transact(stream, decider, noticed, max_age=3600).state == Account(102, 3)
        assert seen == [Account(1, 1), Account(101, 2)]
        other.append(stream, Event("Deposited", {"cents": 100}))
        assert store.load(stream, decider).state == Account(202, 4)
        assert other.load(stream, decider, max_age=3600).state == Account(202, 4)


@one
def check_a_state_that_cannot_be_kept(store: EventStore) -> None:
    """The append is made without it."""
    lists = Decider(
        tuple[str, ...], lambda state, event: (*state, event.data), name="l", snapshots=Snapshots(list, every=2)
    )
    stream = fresh()
    for text in ("a", "b", "c"):
        store.transact(stream, lists, partial(once, Event("Noted", text)))
    assert store.load(stream, lists).state == ("a", "b", "c")
