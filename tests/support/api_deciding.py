"""The checks of the API suite that are about deciders."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pytest

from headstream import Decider, Event, EventStore, InvalidInput, Registry
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


def deposit(_account: Account) -> Deposited:
    """A cent."""
    return Deposited(1)


def withdraw(account: Account) -> tuple[int, list[Withdrawn]]:
    """All that is there; how much that is."""
    return account.balance, [Withdrawn(account.balance)] if account.balance else []


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
    assert (decision.result, decision.events) == ("mine", (Deposited(5), Deposited(6)))
    assert (decision.state, decision.head.version) == (Account(12, 3), 3)
    assert list(store.read(stream))[-1].version == 4


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
