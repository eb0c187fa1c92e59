"""Contests: clients that append to one stream all the time get about the same, in simulated time and with the core that is shipped."""

from __future__ import annotations

import pytest

from headstream import limits
from headstream.protocol.ops import Pause
from headstream.protocol.rivals import Races
from headstream.testing.simulator.contest import Field, Result, contest

NEVER = 10**9
SPREADS = [0.0, 0.1, 0.5]
"""How much the time of a request varies: not at all, as on a slowed test server; a little; as on a real network."""


def share(results: list[Result]) -> float:
    """What the slowest client has of what the fastest has."""
    counts = [result.appends for result in results]
    return min(counts) / max(counts)


def total(results: list[Result]) -> int:
    return sum([result.appends for result in results])


def alone(spread: float) -> int:
    return total(contest(Field(clients=1, spread=spread)))


@pytest.mark.parametrize("spread", SPREADS)
@pytest.mark.parametrize("clients", [2, 4])
def test_the_slowest_gets_half_of_what_the_fastest_gets(clients, spread):
    """In a minute; nobody waits for long, and all together append as much as one alone."""
    results = contest(Field(clients=clients, spread=spread))
    assert share(results) >= 0.5
    assert max([result.slowest for result in results]) < 15
    assert total(results) >= 0.92 * alone(spread)


@pytest.mark.parametrize("spread", SPREADS)
def test_many_clients_do_not_wear_each_other_out(spread):
    """Sixteen of them append as much as one, and every one of them gets something."""
    results = contest(Field(clients=16, spread=spread))
    assert total(results) >= 0.92 * alone(spread)
    assert min([result.appends for result in results]) >= 20


@pytest.mark.parametrize("clients", [2, 4])
def test_clients_that_publish_each_event(clients):
    """They meet at the head of the feed as well; whoever loses there mostly finds its work done."""
    results = contest(Field(clients=clients, spread=0.3, publish=True))
    assert share(results) >= 0.5
    assert total(results) >= total(contest(Field(clients=1, spread=0.3, publish=True)))
    assert max([result.slowest for result in results]) < 5


def test_clients_that_seldom_append_hardly_meet():
    """Two that think for a second between appends find each other's changeset: two round trips more, and the head. None gives way."""
    results = contest(Field(clients=2, spread=0.1, think=1.0))
    assert share(results) > 0.8
    assert sum([result.requests for result in results]) < 5 * total(results)


def test_a_client_that_is_alone_waits_for_nobody(monkeypatch):
    """It appends as often as if there were no rules at all."""
    with_rules = alone(0.1)
    monkeypatch.setattr(limits, "WINS", NEVER)
    monkeypatch.setattr(limits, "KNOCK", NEVER)
    assert alone(0.1) == with_rules


def test_the_same_seed_gives_the_same_contest():
    """Nothing but the seed decides."""
    field = Field(clients=3, spread=0.3, seconds=10)
    assert contest(field) == contest(field)
    assert contest(field) != contest(Field(clients=3, spread=0.3, seconds=10, seed=2))


# --- what each rule is for ---------------------------------------------------------------------------------------


def test_without_a_sign_the_winner_wins_always(monkeypatch):
    """Where every request takes the same time, the one that has just won is always first: the other must be able to say that it is there."""
    monkeypatch.setattr(limits, "KNOCK", NEVER)
    assert share(contest(Field(clients=2, spread=0.0))) < 0.05


def test_without_giving_way_turns_are_long(monkeypatch):
    """Then one lasts until chance ends it."""

    def slowest() -> float:
        return sum([max([one.slowest for one in contest(Field(clients=2, spread=0.05, seed=seed))]) for seed in (1, 2)])

    fair = slowest()
    monkeypatch.setattr(limits, "WINS", NEVER)
    monkeypatch.setattr(limits, "KNOCK", NEVER)
    assert slowest() > 3 * fair


def test_pauses_that_grow_have_the_losers_lose(monkeypatch):
    """When a pause after a race doubles up to half a second, as it once did."""
    monkeypatch.setattr(limits, "WINS", NEVER)
    monkeypatch.setattr(limits, "KNOCK", NEVER)

    def lose(races: Races) -> Pause:
        races.lost += 1
        return Pause(min(0.002 * 2.0 ** min(races.lost - 1, 30), 0.5))

    monkeypatch.setattr(Races, "lose", lose)
    assert share(contest(Field(clients=4, spread=0.1))) < 0.4
