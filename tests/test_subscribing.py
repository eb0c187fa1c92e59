"""Subscriptions that block: what they yield, when they wake, what counts as handled, and how they end."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from headstream import (
    AccessDenied,
    CheckpointLost,
    Event,
    EventStore,
    InvalidInput,
    Subscription,
    Unavailable,
    connect,
    limits,
)
from headstream.backends.memory import MemoryBackend
from headstream.following import check_poll, jittered
from headstream.protocol import keys
from headstream.protocol.ops import NotApplied, Page, Put, Unknown
from support.backends import Watched

DOWN = Unknown("time-out")
NEVER = (3600.0, 3600.0)
"""Pauses that no test outlasts: whoever wakes was woken."""


@pytest.fixture(autouse=True)
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses without chance in them."""
    monkeypatch.setattr("headstream.subscribing.jittered", lambda pause: pause)


class Place(Watched):
    """Tells when somebody found nothing to do, and is about to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.idle = threading.Event()
        self.on_idle: Callable[[], object] = self.idle.set

    def list(self, prefix: str, after: str, limit: int) -> Page:
        """A page of keys."""
        page = super().list(prefix, after, limit)
        if not page.keys:
            self.on_idle()
        return page


class Clock:
    """Time as the subscription sees it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        """Seconds."""
        return self.now


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Place:
    """A backend; pauses of the core take no time."""
    monkeypatch.setattr("headstream.drivers.sync.time", SimpleNamespace(sleep=lambda _seconds: None))
    return Place()


@pytest.fixture
def store(place: Place) -> Iterator[EventStore]:
    """A client with five events in its store."""
    with connect(place, advance_every=0) as store:
        for number in range(5):
            store.append(f"s-{number % 2}", Event("AB"[number % 2], number))
        place.idle.clear()
        yield store


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Stands still until it is moved."""
    clock = Clock()
    monkeypatch.setattr("headstream.subscribing.time", clock)
    return clock


def waits_of(subscription: Subscription, monkeypatch: pytest.MonkeyPatch, *, end: int) -> list[float]:
    """How long it waits; it is closed after so many waits, none of which takes any time."""
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == end:
            subscription.close()

    monkeypatch.setattr(subscription, "_wait", wait)
    return waits


def numbers(events: Any) -> list[int]:
    """What is in them."""
    return [event.data for event in events]


def saved(store: EventStore) -> dict[str, int]:
    """Positions of the checkpoints."""
    return {one.name: one.position for one in store.checkpoints()}


# --- what it yields ----------------------------------------------------------------------------------------------


def test_it_catches_up_and_ends(store):
    """Without following, where there is nothing more: everything that was appended before, in order."""
    subscription = store.subscribe(follow=False)
    assert [event.position for event in subscription] == [1, 2, 3, 4, 5]
    assert list(subscription) == []
    assert subscription.position == 5
    assert iter(subscription) is not iter(subscription)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"after": 3}, [3, 4]),
        ({"streams": "s-1"}, [1, 3]),
        ({"types": {"A"}}, [0, 2, 4]),
        ({"streams": "s-1", "types": "A"}, []),
        ({"after": 2, "types": "A", "streams": ["s-0", "t"]}, [2, 4]),
    ],
    ids=str,
)
def test_what_is_wanted(store, asked, expected):
    """Of the positions after one, the streams and the types; what is not wanted counts as handled."""
    subscription = store.subscribe(follow=False, **asked)
    assert numbers(subscription) == expected
    assert subscription.position == 5


def test_without_advancing(store, place):
    """A reader that may not write waits for what others advance."""
    assert list(store.subscribe(follow=False, advance=False)) == []
    store.advance()
    place.take()
    assert numbers(store.subscribe(follow=False, advance=False)) == [0, 1, 2, 3, 4]
    assert {request.split()[0] for request in place.take()} == {"get"}


def test_batches(store):
    """Lists of at most so many, as they come."""
    subscription = store.subscribe(follow=False)
    assert [numbers(batch) for batch in subscription.batches(2)] == [[0, 1], [2, 3], [4]]
    assert list(subscription.batches()) == []
    assert [len(batch) for batch in store.subscribe(follow=False).batches()] == [5]


@pytest.mark.parametrize("size", [0, -1, 1.5, None, True])
def test_sizes_that_batches_cannot_have(store, size):
    """Refused at once."""
    with pytest.raises(InvalidInput, match="size is"):
        store.subscribe(follow=False).batches(size)


def test_batches_and_events(store):
    """One subscription, taken in both ways: nothing is skipped, nothing comes twice."""
    subscription = store.subscribe(follow=False)
    assert next(subscription).data == 0
    assert numbers(next(subscription.batches(2))) == [1, 2]
    assert next(subscription).data == 3
    assert numbers(next(subscription.batches(2))) == [4]


def test_a_long_feed(place, monkeypatch):
    """Page by page, in bounded memory."""
    monkeypatch.setattr(limits, "READ_WINDOW_OBJECTS", 2)
    with connect(place, tail_bytes=0, advance_every=0) as store:
        for number in range(30):
            store.append("s", Event("E", number), publish=True)
        assert numbers(store.subscribe(follow=False)) == list(range(30))


# --- waking ------------------------------------------------------------------------------------------------------


def test_it_wakes_for_an_append_of_the_same_process(store, place):
    """At once, however long its pauses are; whichever client appended."""
    with connect(place) as other, store.subscribe(after=5, poll=NEVER) as subscription:
        for number in range(3):
            place.idle.clear()
            writer = threading.Thread(target=lambda n=number: (place.idle.wait(30), other.append("t", Event("E", n))))
            writer.start()
            assert next(subscription).data == number
            writer.join(30)


def test_an_append_while_it_looks(store, place):
    """Just when it has seen that nothing is there: the bell is not missed."""

    def append() -> None:
        place.on_idle = place.idle.set
        store.append("t", Event("E", "now"))

    subscription = store.subscribe(after=5, poll=NEVER)
    place.on_idle = append
    assert next(subscription).data == "now"


def test_many_appends_wake_it_once(store):
    """Its queue of calls has at most one entry that it has not seen."""
    subscription = store.subscribe(poll=NEVER)
    for _ in range(50):
        store.append("t", Event("E"))
    assert subscription._calls.qsize() == 1
    assert len([next(subscription) for _ in range(55)]) == 55


def test_pauses_grow_while_nothing_comes(store, monkeypatch):
    """From the shortest to the longest; and begin anew when something was found."""
    subscription = store.subscribe(after=5, poll=(0.5, 3.0))
    waits = waits_of(subscription, monkeypatch, end=5)
    assert list(subscription) == []
    assert waits == [0.5, 1.0, 2.0, 3.0, 3.0]
    subscription = store.subscribe(after=4, poll=(0.5, 3.0))
    waits = waits_of(subscription, monkeypatch, end=3)
    follower = subscription._follower
    assert [follower.pause(), follower.pause()] == [0.5, 1.0]
    assert numbers(subscription) == [4]
    assert waits == [0.5, 1.0, 2.0]


def test_the_storage_says_how_often_to_look(store, monkeypatch, place):
    """Unless the caller does."""
    subscription = store.subscribe(after=5)
    waits = waits_of(subscription, monkeypatch, end=20)
    assert list(subscription) == []
    assert (waits[0], waits[-1]) == place.default_poll


@pytest.mark.parametrize("poll", [(1, 2), (0.001, 0.001), [1, 3600], (0.1, limits.MAX_POLL)])
def test_pauses_that_can_be(poll):
    """Above 0, the shortest first."""
    assert check_poll(poll) == (float(poll[0]), float(poll[1]))


@pytest.mark.parametrize(
    "poll", [(0, 1), (-1, 1), (2, 1), (1, 3601), (1,), (1, 2, 3), 1, "ab", (None, 1), (1, float("nan"))], ids=str
)
def test_pauses_that_cannot_be(store, poll):
    """Refused at once."""
    with pytest.raises(InvalidInput, match="poll is the shortest and the longest pause"):
        store.subscribe(poll=poll)


# --- what counts as handled --------------------------------------------------------------------------------------


def test_an_event_is_handled_when_the_next_is_asked_for(store):
    """Not when it is returned."""
    subscription = store.subscribe(streams="s-0", follow=False)
    assert subscription.position == 0
    seen = [(event.position, subscription.position) for event in subscription]
    assert seen == [(1, 0), (3, 1), (5, 3)]
    assert subscription.position == 5


def test_a_batch_is_handled_when_the_next_is_asked_for(store):
    """The same for lists."""
    subscription = store.subscribe(follow=False)
    assert [(len(batch), subscription.position) for batch in subscription.batches(2)] == [(2, 0), (2, 2), (1, 4)]
    assert subscription.position == 5


def test_an_exception_in_the_body(store):
    """The event that was being handled is not, and comes again."""

    def work() -> None:
        with store.subscribe(checkpoint="w") as subscription:
            for event in subscription:
                1 / (2 - event.data)

    with pytest.raises(ZeroDivisionError):
        work()
    assert saved(store) == {"w": 2}
    assert numbers(store.subscribe(checkpoint="w", follow=False)) == [2, 3, 4]


def test_leaving_a_loop(store):
    """Nobody asked for the next, so the last one comes again; ``save`` says that it was handled."""
    with store.subscribe(checkpoint="w") as subscription:
        for event in subscription:
            if event.data == 2:
                break
    assert saved(store) == {"w": 2}
    with store.subscribe(checkpoint="w") as subscription:
        assert next(subscription).data == 2
        subscription.save()
        assert subscription.position == 3
    assert saved(store) == {"w": 3}


def test_an_interrupt_while_it_waits(store, place):
    """Ctrl-C ends the wait; what was handled is saved, and the iteration could go on."""

    def interrupt() -> None:
        place.on_idle = place.idle.set
        raise KeyboardInterrupt

    seen: list[int] = []

    def work() -> None:
        with store.subscribe(checkpoint="w", poll=NEVER) as subscription:
            for event in subscription:
                seen.append(event.data)
                place.on_idle = interrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert (seen, saved(store)) == ([0, 1, 2, 3, 4], {"w": 5})
    subscription = store.subscribe(poll=NEVER)
    assert [next(subscription).data for _ in range(5)] == [0, 1, 2, 3, 4]
    place.on_idle = interrupt
    with pytest.raises(KeyboardInterrupt):
        next(subscription)
    assert subscription.position == 5
    store.append("t", Event("E", "after"))
    assert next(subscription).data == "after"


@contextmanager
def signals(handle: Callable[[], object], begin: threading.Event) -> Iterator[None]:
    """Send signals to this thread, from when ``begin`` is set until the first was handled; further ones do nothing.

    One is not enough: just before a thread begins to wait, a signal is noted only when the wait is over.
    """
    main = threading.get_ident()
    handled = threading.Event()

    def handler(_number: int, _frame: object) -> None:
        if not handled.is_set():
            handled.set()
            handle()

    def send() -> None:
        assert begin.wait(30)
        while not handled.wait(0.02):
            signal.pthread_kill(main, signal.SIGUSR1)

    sender = threading.Thread(target=send)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        sender.start()
        yield
    finally:
        sender.join(30)
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signal can be sent to a thread here")
def test_a_real_interrupt_while_it_waits(store, place):
    """The signal wakes the thread out of its pause."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    subscription = store.subscribe(after=5, poll=NEVER)
    with signals(interrupt, place.idle), pytest.raises(KeyboardInterrupt):
        next(subscription)
    store.append("t", Event("E", "after"))
    assert next(subscription).data == "after"


# --- ending ------------------------------------------------------------------------------------------------------


def test_closing_from_another_thread(store, place):
    """The iteration ends, as if there were no more; the last event was handled, since the next was asked for."""
    closer = threading.Thread(target=lambda: (place.idle.wait(30), subscription.close()))
    with store.subscribe(checkpoint="w", poll=NEVER) as subscription:
        closer.start()
        assert numbers(subscription) == [0, 1, 2, 3, 4]
        closer.join(30)
    assert saved(store) == {"w": 5}


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signal can be sent to a thread here")
def test_closing_from_a_signal_handler(store, place):
    """Of the thread that waits, in the middle of its wait; twice does no harm."""
    subscription = store.subscribe(poll=NEVER)

    def close() -> None:
        subscription.close()
        subscription.close()

    with signals(close, place.idle):
        assert [len(batch) for batch in subscription.batches(10)] == [5]
    assert subscription.position == 5


def test_closing_in_the_body(store):
    """The loop ends after the event at hand, which counts: the next was asked for. More is not fetched."""
    seen = []
    with store.subscribe(checkpoint="w") as subscription:
        for event in subscription:
            seen.append(event.data)
            if event.data == 1:
                subscription.close()
                subscription.close()
    assert (seen, subscription.position, saved(store)) == ([0, 1], 2, {"w": 2})
    assert list(subscription.batches()) == []


def test_a_subscription_that_ended_hears_no_more(store):
    """Closed, left, at its end, or forgotten: an append rings for none of them."""
    closed = store.subscribe()
    closed.close()
    with store.subscribe() as left:
        pass
    ended = store.subscribe(follow=False)
    for _ in ended:
        pass
    store.subscribe()
    store.append("t", Event("E"))
    assert all(subscription._calls.qsize() == 1 for subscription in (closed, left, ended))
    assert [one() for one in store._bell._listeners if one() is not None] == []


# --- storage that does not answer --------------------------------------------------------------------------------


def test_it_waits_while_the_storage_does_not_answer(store, place, monkeypatch, caplog):
    """It says so in the log, pauses longer each time, and goes on: nothing is skipped."""
    subscription = store.subscribe(poll=(0.5, 4.0))
    waits = waits_of(subscription, monkeypatch, end=9)
    place.faults.extend([DOWN, DOWN, NotApplied("throttled"), None, DOWN])
    with caplog.at_level(logging.WARNING, "headstream"):
        assert numbers(subscription) == [0, 1, 2, 3, 4]
    assert waits[:4] == [0.5, 1.0, 2.0, 4.0]
    assert len(caplog.records) == 4
    assert all(record.getMessage().startswith("a subscription waits for the storage: ") for record in caplog.records)


def test_it_waits_to_take_its_checkpoint_over(store, place, monkeypatch):
    """The same, before it has begun."""
    with store.subscribe(checkpoint="w", follow=False, poll=(0.5, 4.0)) as subscription:
        waits = waits_of(subscription, monkeypatch, end=9)
        place.faults.extend([DOWN, None, DOWN, DOWN])
        assert numbers(subscription) == [0, 1, 2, 3, 4]
    assert waits == [0.5, 1.0]
    assert saved(store) == {"w": 5}


def test_errors_that_no_waiting_mends(store, place):
    """They come through, and the subscription can be asked again."""
    subscription = store.subscribe(follow=False)
    place.faults.append(AccessDenied("expired"))
    with pytest.raises(AccessDenied):
        next(subscription)
    assert numbers(subscription) == [0, 1, 2, 3, 4]


# --- checkpoints -------------------------------------------------------------------------------------------------


def test_it_goes_on_where_its_checkpoint_is(store):
    """``after`` counts only the first time."""
    with store.subscribe(checkpoint="w", after=1, follow=False) as subscription:
        assert numbers(subscription) == [1, 2, 3, 4]
    store.append("t", Event("E", "new"))
    with store.subscribe(checkpoint="w", after=1, follow=False) as subscription:
        assert numbers(subscription) == ["new"]
    with store.subscribe(checkpoint="w", after=100, follow=False) as subscription:
        assert numbers(subscription) == []
    assert saved(store) == {"w": 6}


def test_of_two_workers_the_later_goes_on(store, clock):
    """The older is told at its next save, and stops; what it handled since it saved last comes again to the other."""
    older = store.subscribe(checkpoint="w")
    assert [next(older).data, next(older).data] == [0, 1]
    with store.subscribe(checkpoint="w", follow=False) as later:
        assert next(later).data == 0
        clock.now += limits.SAVE_EVERY
        with pytest.raises(CheckpointLost, match="another worker took the checkpoint over") as caught:
            next(older)
        assert (caught.value.name, caught.value.position) == ("w", 0)
        assert numbers(later) == [1, 2, 3, 4]
        with pytest.raises(CheckpointLost):
            older.save()
    assert saved(store) == {"w": 5}


def test_leaving_after_the_checkpoint_was_lost(store, clock):
    """The error comes through; nothing is saved."""

    def work() -> None:
        with store.subscribe(checkpoint="w") as older:
            assert [next(older).data, next(older).data] == [0, 1]
            next(store.subscribe(checkpoint="w"))
            clock.now += limits.SAVE_EVERY
            next(older)

    with pytest.raises(CheckpointLost):
        work()
    assert saved(store) == {"w": 0}


def test_leaving_without_an_error_tells_that_the_checkpoint_was_lost(store):
    """Else nobody would know that it was not saved."""
    older = store.subscribe(checkpoint="w")
    assert [next(older).data, next(older).data] == [0, 1]
    next(store.subscribe(checkpoint="w"))
    with pytest.raises(CheckpointLost), older:
        pass


def test_an_error_is_not_hidden_by_a_save_that_fails(store, place):
    """The body's error matters more."""

    def work() -> None:
        with store.subscribe(checkpoint="w") as subscription:
            assert [next(subscription).data, next(subscription).data] == [0, 1]
            place.faults.extend([NotApplied("throttled")] * limits.FAULT_ATTEMPTS)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert not place.faults
    assert saved(store) == {"w": 0}


def test_it_is_saved_every_second(store, place, clock):
    """Not for every event; when it is due, before the next event is returned."""
    with store.subscribe(checkpoint="w") as subscription:
        next(subscription)
        place.take()
        next(subscription)
        assert place.take() == []
        clock.now += limits.SAVE_EVERY
        next(subscription)
        assert place.take() == ["commit checkpoints/w"]
        assert saved(store) == {"w": 2}
        next(subscription)
        assert place.take() == ["list checkpoints/", "get checkpoints/w"]
    assert saved(store) == {"w": 3}


def test_nothing_new_is_not_saved(store, place, clock):
    """An idle worker writes nothing."""
    with store.subscribe(checkpoint="w", follow=False) as subscription:
        assert len(list(subscription)) == 5
        subscription.save()
    place.take()
    with store.subscribe(checkpoint="w", follow=False) as subscription:
        clock.now += limits.SAVE_EVERY
        assert list(subscription) == []
    assert [request for request in place.take() if request.startswith("commit")] == ["commit checkpoints/w"]


def test_what_is_not_wanted_is_saved_as_well(store):
    """Else a worker that wants little would read much again."""
    with store.subscribe(checkpoint="w", streams="nobody", follow=False) as subscription:
        assert list(subscription) == []
    assert saved(store) == {"w": 5}


def test_it_does_not_wait_longer_than_until_the_next_save(store, monkeypatch, clock):
    """The position is saved a second after the last event was handled, though nothing comes."""
    subscription = store.subscribe(checkpoint="w", poll=NEVER)
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        clock.now += seconds
        if len(waits) == 2:
            subscription.close()

    monkeypatch.setattr(subscription, "_wait", wait)
    assert len(list(subscription)) == 5
    assert waits == [limits.SAVE_EVERY, 3600.0]
    assert saved(store) == {"w": 5}


def test_a_save_that_fails_is_made_later(store, place, clock, caplog):
    """The events go on; it is said in the log."""
    with store.subscribe(checkpoint="w") as subscription:
        next(subscription)
        clock.now += limits.SAVE_EVERY
        place.faults.extend([NotApplied("throttled")] * limits.FAULT_ATTEMPTS)
        with caplog.at_level(logging.WARNING, "headstream"):
            assert next(subscription).data == 1
        assert "a subscription saves its checkpoint later" in caplog.text
        assert next(subscription).data == 2
        assert saved(store) == {"w": 0}
        clock.now += limits.SAVE_EVERY
        assert next(subscription).data == 3
        assert saved(store) == {"w": 3}


def test_a_save_that_is_refused_skips_no_event(store, place, clock):
    """It is tried before an event is taken: asked again after the error, the subscription yields it."""
    with store.subscribe(checkpoint="w") as subscription:
        assert next(subscription).data == 0
        clock.now += limits.SAVE_EVERY
        place.faults.append(AccessDenied("expired"))
        with pytest.raises(AccessDenied):
            next(subscription)
        assert next(subscription).data == 1


def test_saving_without_a_checkpoint(store):
    """There is nothing to save it in; and leaving the block saves nothing."""
    with store.subscribe(follow=False) as subscription:
        next(subscription)
        with pytest.raises(InvalidInput, match="no checkpoint to save"):
            subscription.save()
    assert saved(store) == {}


def test_saving_before_the_first_event(store):
    """The checkpoint is taken over then, and does not go back."""
    with store.subscribe(checkpoint="w", follow=False) as subscription:
        assert len(list(subscription)) == 5
    with store.subscribe(checkpoint="w", after=2, follow=False) as subscription:
        subscription.save()
        assert saved(store) == {"w": 5}
        assert list(subscription) == []
    store.subscribe(checkpoint="v", after=2).save()
    assert saved(store) == {"v": 2, "w": 5}


def test_leaving_before_the_first_event(store):
    """Nothing was taken over, and nothing is written."""
    with store.subscribe(checkpoint="w"):
        pass
    assert saved(store) == {}


def test_a_checkpoint_never_goes_back(store, place):
    """Also when a save takes effect that nobody was told of."""
    commit = place.commit

    def unanswered(prelude: Any, head: Put) -> Any:
        answer = commit(prelude, head)
        if head.key.startswith("checkpoints/"):
            place.commit = commit
            raise DOWN
        return answer

    with store.subscribe(checkpoint="w", follow=False) as subscription:
        next(subscription)
        place.commit = unanswered
        subscription.save()
        assert saved(store) == {"w": 1}
        assert [event.data for event in subscription] == [1, 2, 3, 4]
    assert saved(store) == {"w": 5}


def test_saving_when_the_storage_does_not_answer(store, place):
    """The caller who asked for it is told."""
    with store.subscribe(checkpoint="w") as subscription:
        next(subscription)
        place.faults.extend([NotApplied("throttled")] * limits.FAULT_ATTEMPTS)
        with pytest.raises(Unavailable):
            subscription.save()
        subscription.save()
    assert saved(store) == {"w": 1}


def test_pauses_have_chance_in_them():
    """Those who follow one store do not all look at once; none waits less than half of its pause."""
    pauses = {jittered(2.0) for _ in range(50)}
    assert len(pauses) > 40
    assert 1.0 <= min(pauses) <= max(pauses) <= 2.0


class _Interrupted(MemoryBackend):
    """A place whose writes of checkpoints count, and are not answered."""

    reason: BaseException | None = None

    def commit(self, prelude, head):
        answer = super().commit(prelude, head)
        if self.reason is not None and head.key.startswith(keys.CHECKPOINTS):
            raise self.reason
        return answer

    def get(self, get):
        if isinstance(self.reason, Unknown) and get.key.startswith(keys.CHECKPOINTS):
            raise self.reason
        return super().get(get)


@pytest.mark.parametrize("reason", [KeyboardInterrupt(), Unknown("no answer")], ids=["interrupted", "not answered"])
def test_a_save_that_counts_without_an_answer_loses_no_checkpoint(reason):
    """The checkpoint is still this worker's: it goes on from there. Another one that takes it over is told apart."""
    place = _Interrupted()
    with connect(place) as store:
        store.append("s", [Event("E")] * 3)
        worker = store.subscribe(checkpoint="w", follow=False)
        for position in (1, 2):
            next(worker)
            worker.acknowledge()
            place.reason = reason
            with pytest.raises((KeyboardInterrupt, Unavailable)):
                worker.save()
            place.reason = None
            worker.save()
            assert [checkpoint.position for checkpoint in store.checkpoints()] == [position]
        place.reason = reason
        with pytest.raises((KeyboardInterrupt, Unavailable)):
            worker.save()
        place.reason = None
        next(store.subscribe(checkpoint="w", follow=False))
        with pytest.raises(CheckpointLost):
            worker.save()
