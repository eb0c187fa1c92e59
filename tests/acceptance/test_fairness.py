"""Clients that append to one stream all the time, over a slow network: each gets its part."""

from __future__ import annotations

import threading
import time

import pytest

from acceptance.places import Place, find
from headstream import Event
from servers.base import Server
from servers.proxy import Proxy

LATENCY = 0.01
"""Seconds that each request takes, at least."""
SECONDS = 60.0
"""After which it is given up to wait for the appends: on a quiet machine they take a tenth."""


@pytest.fixture
def slow(request, tmp_path, monkeypatch):
    """A place on a server that every request takes time to reach, for clients that are opened from now on."""
    place = find(request.param, request, tmp_path, monkeypatch.setenv)
    server: Server = request.getfixturevalue(request.param)
    place.connect(advance_every=0).close()  # created without the delay
    with Proxy(server.address, latency=LATENCY) as proxy:
        for variable, value in server.environment(proxy.address).items():
            monkeypatch.setenv(variable, value)
        yield place


def contend(place: Place, clients: int, appends: int) -> list[int]:
    """What each client has appended when there are so many appends in all; the stream has all of it."""
    counts = [0] * clients
    failures: list[BaseException] = []
    start = threading.Barrier(clients)

    def work(number: int) -> None:
        try:
            with place.connect() as store:
                start.wait(SECONDS)
                end = time.monotonic() + SECONDS
                while sum(counts) < appends and time.monotonic() < end:
                    store.append("s", Event("E"))
                    counts[number] += 1
        except BaseException as failure:
            failures.append(failure)
            start.abort()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * SECONDS)
    assert failures == []
    with place.connect() as store:
        head = store.head("s")
    assert head is not None
    assert head.version == sum(counts)
    return sorted(counts)


@pytest.mark.parametrize("slow", ["azurite"], indirect=True)
def test_two_clients_share_a_stream(slow):
    """Neither waits until the other is done."""
    counts = contend(slow, 2, 200)
    assert counts[0] >= counts[1] / 5, counts


@pytest.mark.parametrize("slow", ["ministack"], indirect=True)
def test_four_clients_share_a_stream(slow):
    """Each has had a turn, at least."""
    counts = contend(slow, 4, 400)
    assert counts[0] >= sum(counts) / 40, counts
