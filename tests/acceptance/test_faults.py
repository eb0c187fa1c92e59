"""A proxy that cuts, delays, or answers for the server, before or after the server has acted: an append tells the truth."""

from __future__ import annotations

from itertools import product

import pytest

from acceptance.places import Place
from headstream import Event, EventStore, OutcomeUnknown, Unavailable, connect
from servers.proxy import Action, Answer, Cut, Delay
from support import shown

SERVERS = ("azurite", "ministack")
TIMEOUT = 0.5
FOREVER = 10**6
STATUSES = (408, 409, 429, 500, 503)
ACTIONS: list[Action] = [
    Cut(acted=False),
    Cut(acted=False, reset=True),
    Cut(acted=True),
    Cut(acted=True, reset=True),
    Delay(3 * TIMEOUT),
    *(Answer(status, acted=acted) for status, acted in product(STATUSES, (False, True))),
]
OBJECTS = ("/heads/", "/inbox/", "/segments/")


def open_store(place: Place) -> EventStore:
    """A store whose requests time out soon, and in which the third append seals a segment."""
    return connect(place.url, tail_bytes=300, client_options={"timeout": f"{TIMEOUT}s", "connect_timeout": "2s"})


def is_put(part: str):
    """A write of one kind of object."""
    return lambda method, path, _headers: method == "PUT" and part in path


@pytest.mark.parametrize("proxied", SERVERS, indirect=True)
@pytest.mark.parametrize("part", OBJECTS)
@pytest.mark.parametrize("action", ACTIONS, ids=shown)
def test_one_fault(proxied, part, action):
    """After one fault an append with a head succeeds, once, and those before and after it are there, too."""
    place, proxy = proxied
    with open_store(place) as store:
        head = store.append("s", Event("E", "first" + "x" * 150), expected=0)
        rule = proxy.fault(is_put(part), action)
        head = store.append("s", Event("E", "second" + "x" * 150), expected=head)
        assert head.version == 2
        head = store.append("s", Event("E", "third" + "x" * 150), expected=head)
        assert rule.happened == 1
        assert head.version == 3
        assert [event.data.rstrip("x") for event in store.read("s")] == ["first", "second", "third"]


@pytest.mark.parametrize("proxied", SERVERS, indirect=True)
@pytest.mark.parametrize("acted", [False, True])
def test_faults_without_end(proxied, acted):
    """When every commit is cut and the head cannot be read: the outcome is unknown, it says so, and the key resolves it."""
    place, proxy = proxied
    with open_store(place) as store:
        head = store.append("s", Event("E", 1), expected=0)
        proxy.fault(lambda _method, path, _headers: "/heads/" in path, Cut(acted=acted), times=FOREVER)
        with pytest.raises(OutcomeUnknown) as caught:
            store.append("s", Event("E", 2), expected=head, key="pay-17")
        proxy.heal()
        assert caught.value.follows == 1
        assert caught.value.changeset_ids
        resolved = store.append("s", Event("E", 2), expected=head, key="pay-17")
        assert resolved.version == 2
        events = list(store.read("s"))
        assert [event.data for event in events] == [1, 2]
        assert (str(events[1].changeset_id) in caught.value.changeset_ids) is acted


@pytest.mark.parametrize("proxied", SERVERS, indirect=True)
def test_a_server_that_stays_away(proxied):
    """When nothing can be written, nothing was, and it says so."""
    place, proxy = proxied
    with open_store(place) as store:
        head = store.append("s", Event("E", 1), expected=0)
        proxy.fault(is_put("/inbox/"), Answer(503), times=FOREVER)
        with pytest.raises(Unavailable):
            store.append("s", Event("E", 2), expected=head)
        proxy.heal()
        assert [event.data for event in store.read("s")] == [1]
        assert store.append("s", Event("E", 3), expected=head).version == 2


@pytest.mark.parametrize("proxied", SERVERS, indirect=True)
@pytest.mark.parametrize("action", [action for action in ACTIONS if getattr(action, "status", 0) != 409], ids=shown)
def test_reads_try_again(proxied, action):
    """A fault on the way of a read is not the caller's business."""
    place, proxy = proxied
    with open_store(place) as store:
        for number in range(6):
            store.append("s", Event("E", str(number) + "x" * 150))
    with open_store(place) as store:
        rule = proxy.fault(lambda method, path, _headers: method == "GET" and "/segments/" in path, action)
        assert [event.data[0] for event in store.read("s")] == list("012345")
        assert rule.happened == 1
