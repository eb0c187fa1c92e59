"""Clients that go on while a store is put back to an earlier copy: what they remember of lost events is not used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest

from headstream import Decider, Event, EventStore, OutcomeUnknown, Snapshots, connect
from headstream.backends.memory import MemoryBackend

KEPT = 5
"""Events of the copy."""
LOST = 5
"""Events after it."""
Names = list[str]


def added(names: Names, event: Event) -> Names:
    """The types of all events, as a state."""
    return [*names, event.type]


@pytest.fixture(params=[True, False], ids=["one by one", "in one append"])
def apart(request: pytest.FixtureRequest) -> bool:
    """Whether what was lost was appended event by event."""
    return bool(request.param)


@pytest.fixture
def decider() -> Decider[Names, Event]:
    """A decider that keeps states."""
    return Decider(initial=list, evolve=added, name="names", snapshots=Snapshots(list[str]))


@pytest.fixture
def place() -> MemoryBackend:
    """Where the store is."""
    return MemoryBackend()


@pytest.fixture
def client(place: MemoryBackend, decider: Decider[Names, Event], apart: bool) -> Iterator[EventStore]:
    """A client that has decided on events which the store does not have any more."""
    with connect(place) as store:
        store.append("s", [Event(f"Kept{number}") for number in range(KEPT)])
        copy = dict(place._objects)
        lost = [Event(f"Lost{number}") for number in range(LOST)]
        for events in [[event] for event in lost] if apart else [lost]:
            store.transact("s", decider, lambda _state, events=events: events)  # type: ignore[misc]
        place._objects.clear()
        place._objects.update(copy)
        place._keys[:] = sorted(copy)
        yield store


def test_an_append_finds_the_restored_stream(client):
    """The first says that it does not know, since its stream went back; what is repeated goes on at the end that is there."""
    with pytest.raises(OutcomeUnknown, match="went back"):
        client.append("s", Event("Again"))
    assert client.append("s", Event("Again")).version == KEPT + 1


@pytest.mark.parametrize("more", range(LOST + 3))
def test_a_state_of_lost_events_is_not_used(client, place, decider, more):
    """It is told however long the restored stream has grown; and the state that is kept next is that of the stream."""
    with connect(place) as other:

        def there() -> Names:
            return [event.type for event in other.read("s")]

        for number in range(more):
            other.append("s", Event(f"New{number}"))
        assert client.load("s", decider).state == there()
        with suppress(OutcomeUnknown):  # if the stream is shorter than what the client saw a moment ago
            client.transact("s", decider, lambda _state: Event("Decided"))
        assert client.transact("s", decider, lambda _state: Event("Decided")).state == there()
        assert client.load("s", decider).state == there()
        assert other.load("s", decider).state == there()
