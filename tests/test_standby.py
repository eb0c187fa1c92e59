"""Subscriptions on standby: one worker handles the events, another takes over when it has ended, died or been cut off."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from headstream import CheckpointLost, Event, EventStore, InvalidInput, Subscription, connect, limits
from headstream.drivers import sync
from headstream.following import check_standby
from headstream.protocol import checkpoint
from headstream.protocol.mark import Mark
from headstream.protocol.ops import Unknown
from support.backends import Watched

DOWN = Unknown("time-out")
PATIENCE = 30.0


class Clock:
    """Time as the subscriptions see it: it moves by their waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now


class Waits:
    """Lets a subscription wait on the clock; something happens during a wait, and at last it is closed."""

    def __init__(self, clock: Clock, subscription: Subscription, *, end: int) -> None:
        self.waits: list[float] = []
        self.during = lambda: None
        self._clock, self._subscription, self._end = clock, subscription, end
        subscription._wait = self._wait  # type: ignore[method-assign]

    def _wait(self, seconds: float) -> None:
        self.waits.append(seconds)
        self._clock.now += seconds
        self.during()
        if len(self.waits) >= self._end:
            self._subscription.close()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Moved by waits only."""
    clock = Clock()
    monkeypatch.setattr("headstream.subscribing.time", clock)
    monkeypatch.setattr("headstream.subscribing.jittered", lambda pause: pause)
    monkeypatch.setattr("headstream.drivers.sync.time", SimpleNamespace(sleep=lambda _seconds: None))
    return clock


@pytest.fixture
def place() -> Watched:
    """A backend that tells what was asked of it."""
    return Watched()


@pytest.fixture
def store(place: Watched, clock: Clock) -> Iterator[EventStore]:
    """A client with five events in its store."""
    with connect(place, advance_every=0) as store:
        store.append("s", [Event("E", number) for number in range(5)], publish=True)
        yield store


def follow(store: EventStore, **options: Any) -> Subscription:
    """A worker with a standby, which looks every five seconds."""
    return store.subscribe(checkpoint="w", standby=PATIENCE, poll=(5, 5), **options)


def took(subscription: Subscription) -> bool:
    """Whether the checkpoint is this worker's."""
    return subscription._follower.begun


def test_the_first_begins_at_once(store, clock):
    """There is no checkpoint, so no other worker has it."""
    worker = follow(store)
    assert [next(worker).data for _ in range(5)] == [0, 1, 2, 3, 4]
    assert clock.now == 1000


def test_it_takes_over_from_a_worker_that_is_gone(store, clock, place):
    """After its patience, by a clock of its own; one small request for each look."""
    owner, standby = follow(store), follow(store)
    next(owner)
    owner.save()
    next(owner)
    waits = Waits(clock, standby, end=100)
    place.take()
    assert next(standby).data == 1
    assert waits.waits == [5.0] * 7
    looks = [request for request in place.take() if request == "get checkpoints/w"]
    assert len(looks) == 8
    with pytest.raises(CheckpointLost, match="another worker took the checkpoint over"):
        owner.save()


def test_an_owner_that_is_idle_gives_signs_of_life(store, clock, place):
    """Three in the patience of a standby: each a save."""
    owner = follow(store)
    waits = Waits(clock, owner, end=60)
    place.take()
    assert len(list(owner)) == 5
    saves = [request for request in place.take() if request == "commit checkpoints/w"]
    assert len(saves) == pytest.approx(sum(waits.waits) / (PATIENCE / limits.SIGNS_OF_LIFE), abs=2)
    assert len(saves) > 10


def test_a_worker_without_standby_gives_none(store, clock, place):
    """It costs nothing that was not asked for."""
    owner = store.subscribe(checkpoint="w", poll=(5, 5))
    Waits(clock, owner, end=50)
    list(owner)
    owner.save()
    place.take()
    owner._closed = False
    list(owner)
    assert not [request for request in place.take() if "checkpoints" in request]


def test_an_owner_that_ends_releases(store, clock):
    """The standby has it at its next look; also when an error in the loop ended it."""
    with follow(store) as owner:
        next(owner)
        standby = follow(store)
        waits = Waits(clock, standby, end=3)
        waits.during = lambda: owner.__exit__(None, None, None)
        assert next(standby).data == 0
    assert len(waits.waits) == 1
    assert not next(store.checkpoints()).released

    def work() -> None:
        with standby:
            for _ in standby:
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert next(store.checkpoints()).released
    assert next(follow(store)).data == 1


# --- the same, look by look ------------------------------------------------------------------------------------------


class Crew:
    """Followers of one checkpoint on one clock."""

    def __init__(self, store: EventStore, place: Watched, size: int) -> None:
        self.followers = [follow(store)._follower for _ in range(size)]
        self._place = place

    def look(self, number: int, now: float) -> bool:
        """One looks; whether the checkpoint is its own."""
        sync.run(self.followers[number].begin(now), self._place)
        return self.followers[number].begun

    def save(self, number: int, now: float, *, release: bool = False) -> None:
        """One saves."""
        sync.run(self.followers[number].save(now, release=release), self._place)


@pytest.fixture
def crew(store: EventStore, place: Watched) -> Crew:
    """Three, of which the first is the owner."""
    crew = Crew(store, place, 3)
    assert crew.look(0, 0)
    return crew


def test_standbys_wait_for_as_long_as_the_owner_lives(crew):
    """Whatever the clock says."""
    for now in range(0, 600, 5):
        if now % 10 == 0:
            crew.save(0, now)
        assert not crew.look(1, now + 1)
        assert not crew.look(2, now + 2)


def test_of_two_standbys_one_takes_over(crew, store):
    """The other waits for that one from then on, and takes over when that one is gone too."""
    owners = []
    for now in range(0, 300, 5):
        owners += [number for number in (1, 2) if not crew.followers[number].begun and crew.look(number, now + number)]
    assert owners == [1, 2]
    with pytest.raises(CheckpointLost):
        crew.save(0, 300)
    with pytest.raises(CheckpointLost):
        crew.save(1, 300)
    crew.save(2, 300)


def test_a_released_checkpoint_is_taken_at_the_next_look(crew):
    """By the first that looks, and not by the second."""
    assert not crew.look(1, 0)
    crew.save(0, 1, release=True)
    assert crew.look(2, 5)
    assert not crew.look(1, 6)


def test_the_newest_is_scaled_in(crew):
    """Nothing changes for the owner."""
    for now in range(0, 100, 5):
        assert not crew.look(1, now)
        crew.save(0, now)


def test_two_that_take_over_at_the_same_moment(crew, place):
    """Both saw it stale: one write counts, and the other waits."""
    for now in range(0, 31, 5):
        assert not crew.look(1, now)
        assert not crew.look(2, now)
    both = [crew.followers[number].begin(36.0) for number in (1, 2)]
    gets = [next(gen) for gen in both]
    found = [place.get(get) for get in gets]
    stamps = [gen.send(answer) for gen, answer in zip(both, found, strict=True)]
    for gen, stamp in zip(both, stamps, strict=True):
        sync.run(_resumed(gen, stamp), place)
    assert sorted(one.begun for one in crew.followers[1:]) == [False, True]


def _resumed(gen: Any, request: Any) -> Any:
    """The rest of a generator that has asked for something."""
    while True:
        try:
            request = gen.send((yield request))
        except StopIteration:
            return


def test_a_forgotten_checkpoint(crew, store):
    """It is created by the next that looks."""
    store.forget("w")
    assert crew.look(1, 0)


def test_looks_are_not_made_too_often(crew, place):
    """However often it is called, by appends of the same process for example."""
    place.take()
    for now in (0.0, 0.1, 4.9):
        crew.look(1, now)
    assert place.take() == ["get checkpoints/w"]


# --- an owner that cannot save ----------------------------------------------------------------------------------------


def test_an_owner_that_cannot_save_hands_out_nothing_more(store, clock, place):
    """Once a standby may have taken over: it could be handled twice. When the storage answers, it learns who has it."""
    owner = follow(store)
    assert next(owner).data == 0
    clock.now += 29
    place.faults.extend([DOWN] * 100)
    assert next(owner).data == 1
    waits = Waits(clock, owner, end=4)
    clock.now += 2
    assert list(owner) == []
    assert len(waits.waits) == 4
    assert all(wait > 0 for wait in waits.waits)
    owner._closed = False
    place.faults.clear()
    sync.run(checkpoint.take_over("w", Mark(0), "other"), place)
    with pytest.raises(CheckpointLost):
        next(owner)


def test_a_paused_owner_is_told_before_it_hands_out_more(store, clock, place):
    """It was stopped, and another took over: no event that it has at hand is given out."""
    owner = follow(store)
    assert next(owner).data == 0
    clock.now += 100
    sync.run(checkpoint.take_over("w", Mark(0), "other"), place)
    with pytest.raises(CheckpointLost):
        next(owner)


def test_a_standby_waits_for_the_storage(store, clock, place):
    """While it does not answer."""
    follow(store)
    owner, standby = follow(store), follow(store)
    next(owner)
    Waits(clock, standby, end=100)
    place.faults.extend([DOWN] * 3)
    assert next(standby).data == 0


# --- what is said ------------------------------------------------------------------------------------------------------


def test_a_lost_checkpoint_is_logged(store, clock, place, caplog):
    """As a warning."""
    worker = follow(store)
    next(worker)
    sync.run(checkpoint.take_over("w", Mark(0), "other"), place)
    with pytest.raises(CheckpointLost):
        worker.save()
    (record,) = caplog.records
    assert (record.levelno, record.name) == (logging.WARNING, "headstream.subscriptions.ends")
    assert "subscription 'w' ends: another worker took the checkpoint over" in record.getMessage()


def test_a_poison_event_is_logged(store, clock, caplog):
    """As an error, with the kind and without the text, which may hold data."""

    def work(error: BaseException) -> None:
        with follow(store) as worker:
            next(worker)
            next(worker)
            raise error

    with pytest.raises(ZeroDivisionError):
        work(ZeroDivisionError("secret"))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "subscription 'w' ends after position 1: ZeroDivisionError in its loop"
    with pytest.raises(KeyboardInterrupt):
        work(KeyboardInterrupt())
    assert len(caplog.records) == 1


# --- arguments ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("standby", "patience"),
    [(True, limits.STANDBY), (False, None), (2, 2.0), (0.5, 0.5), (timedelta(minutes=1), 60.0)],
    ids=str,
)
def test_what_standby_can_be(standby, patience):
    """Yes, no, or how long to wait for a sign of life."""
    assert check_standby(standby) == patience


@pytest.mark.parametrize("standby", [0, -1, 0.01, 10**6, "yes", float("nan"), timedelta(0), [1]], ids=str)
def test_what_standby_cannot_be(store, standby):
    """Refused at once."""
    with pytest.raises(InvalidInput, match="standby is"):
        store.subscribe(checkpoint="w", standby=standby)


def test_standby_without_a_checkpoint(store):
    """There would be nothing to wait for."""
    with pytest.raises(InvalidInput, match="with a checkpoint"):
        store.subscribe(standby=True)
