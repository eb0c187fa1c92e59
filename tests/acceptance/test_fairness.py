"""Clients that append to one stream all the time, over a slow network: each gets its part."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from acceptance.places import Place, find
from headstream import Event, EventStore
from servers.base import Server
from servers.proxy import Proxy

LATENCY = 0.02
"""Seconds that each request takes, at least."""
SECONDS = 5.0


@pytest.fixture(params=["azurite", "ministack"])
def slow(request, tmp_path, monkeypatch):
    """A place on a server that every request takes time to reach, for clients that are opened from now on."""
    place = find(request.param, request, tmp_path, monkeypatch.setenv)
    server: Server = request.getfixturevalue(request.param)
    place.connect(advance_every=0).close()  # created without the delay
    with Proxy(server.address, latency=LATENCY) as proxy:
        for variable, value in server.environment(proxy.address).items():
            monkeypatch.setenv(variable, value)
        yield place


def contend(place: Place, clients: int, append: Callable[[EventStore], object]) -> tuple[list[int], float]:
    """What each client appended in a while, and how long the slowest append took; the stream has all of it."""
    counts = [0] * clients
    slowest = [0.0] * clients
    failures: list[BaseException] = []
    start = threading.Barrier(clients)

    def work(number: int) -> None:
        try:
            with place.connect() as store:
                start.wait(60)
                end = time.monotonic() + SECONDS
                while (began := time.monotonic()) < end:
                    append(store)
                    counts[number] += 1
                    slowest[number] = max(slowest[number], time.monotonic() - began)
        except BaseException as failure:
            failures.append(failure)
            start.abort()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failures == []
    with place.connect() as store:
        head = store.head("s")
    assert head is not None
    assert head.version == sum(counts)
    return counts, max(slowest)


@pytest.mark.parametrize("clients", [2, 4])
def test_each_client_gets_its_part(slow, clients):
    """In seconds already: nobody waits until the others are done. Without the rules, the last one had a twentieth of the first one's part."""
    counts, slowest = contend(slow, clients, lambda store: store.append("s", Event("E")))
    print(sorted(counts), slowest)
    assert min(counts) >= max(counts) / 6
