"""Given, when, then: what the helpers accept, and what they find."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from headstream import Decider, Event, EventStore, InvalidInput, Registry
from headstream.testing.given import given
from support.api_deciding import ACCOUNTS, Account, Deposited, Withdrawn, deposit, withdraw

pytest_plugins = ["headstream.testing.fixtures"]


def test_what_was_decided():
    """The events, the result and the state after them."""
    then = given(ACCOUNTS, Deposited(3), Deposited(4)).when(withdraw)
    then.then(Withdrawn(7)).then_result(7).then_state(Account(0, 3))
    assert then.decision.head.version == 3


def test_nothing_was_decided():
    """Without any event before, or after."""
    given(ACCOUNTS).when(withdraw).then().then_result(0).then_state(Account())


def test_a_refusal_comes_through():
    """To be caught as any exception is."""

    def refuse(_account: Account) -> Deposited:
        raise LookupError

    with pytest.raises(LookupError):
        given(ACCOUNTS, Deposited(1)).when(refuse)


def test_each_decision_is_made_on_the_given_events():
    """Several may be made on the same."""
    account = given(ACCOUNTS, Deposited(1))
    for _ in range(2):
        account.when(deposit).then(Deposited(1)).then(Deposited(1)).then_state(Account(2, 2))
    assert account.state == Account(1, 1)


def test_plain_events():
    """Are compared as they are stored: whether the data is a class or a dictionary is all one."""
    counter = Decider(int, lambda n, event: n + event.data["cents"])
    given(counter, Event("Counted", Deposited(1))).when(lambda n: Event("Counted", {"cents": n})).then(
        Event("Counted", Deposited(1))
    ).then_state(2)


def test_an_event_of_an_older_version():
    """Is given as it is stored."""
    registry = Registry()
    registry.register(Deposited, upcasters=[lambda data: {"cents": data["dollars"] * 100}])
    accounts = Decider(int, lambda balance, event: balance + event.cents, registry)
    assert given(accounts, Event("Deposited", {"dollars": 2}), Deposited(1)).state == 201


@pytest.mark.parametrize(
    ("differ", "shown"),
    [
        (
            lambda then: then.then(),
            "other events were decided\n  expected:\n    nothing\n  actual:\n    ('Withdrawn'",
        ),
        (lambda then: then.then(Withdrawn(1)), "('Withdrawn', {'cents': 1}, {}, None)\n  actual:"),
        (lambda then: then.then(Deposited(7)), "('Deposited', {'cents': 7}"),
        (lambda then: then.then(Withdrawn(7), Withdrawn(7)), "other events were decided"),
        (lambda then: then.then_result(8), "another result was returned\n  expected:\n    8\n  actual:\n    7"),
        (lambda then: then.then_state(Account()), "the state after the events is another one"),
    ],
)
def test_what_differs_is_shown(differ, shown):
    """Both sides."""
    with pytest.raises(AssertionError) as caught:
        differ(given(ACCOUNTS, Deposited(7)).when(withdraw))
    assert shown in str(caught.value)


@dataclass
class Basket:
    """A state that can be changed in place."""

    items: list[str] = field(default_factory=list)


def filled(basket: Basket, event: Event) -> Basket:
    """A new basket."""
    return Basket([*basket.items, event.data])


def test_a_decision_that_changes_the_state_is_found():
    """It would be wrong after a conflict."""

    def decide(basket: Basket) -> Event:
        basket.items.append("mug")
        return Event("Filled", "mug")

    with pytest.raises(AssertionError, match="decide has changed the state"):
        given(Decider(Basket, filled)).when(decide)


def test_a_fold_that_depends_on_more_than_events_is_found():
    """A later load would give another state."""
    calls: list[Any] = []

    def evolve(_state: int, event: Event) -> int:
        calls.append(event)
        return len(calls)

    with pytest.raises(AssertionError, match="not that of a later load"):
        given(Decider(int, evolve)).when(lambda _: Event("E"))


def test_states_that_cannot_be_compared():
    """Are not."""

    class Opaque:
        pass

    given(Decider(Opaque, lambda _state, _event: Opaque())).when(lambda _: Event("E")).then(Event("E"))


def test_what_cannot_be_given():
    """Is what cannot be stored."""
    with pytest.raises(InvalidInput, match="no event type is registered for int"):
        given(ACCOUNTS, 7)


@pytest.mark.parametrize("_again", [1, 2])
def test_a_store_in_memory(event_store: EventStore, _again: int):
    """New and empty for each test."""
    assert list(event_store.streams()) == []
    assert event_store.transact("account-1", ACCOUNTS, deposit).state == Account(1, 1)
