"""A process killed with SIGKILL in mid-append, many times: what it acknowledged is there, and no half changeset is."""

from __future__ import annotations

import random

import pytest

from acceptance.places import Place
from acceptance.processes import acknowledged, release, writers

ROUNDS = 12


@pytest.mark.parametrize("place", ["sqlite", "files", "azurite"], indirect=True)
def test_killed_in_mid_append(place: Place):
    """Two writers on one stream are killed after a random number of acknowledgements, again and again."""
    rng = random.Random(20120216)
    promised: dict[str, int] = {}
    place.connect(tail_bytes=1000, fan_out=4).close()
    for round_ in range(ROUNDS):
        with writers(place, 2, stream="s", commits=0, mode="any") as processes:
            release(processes)
            said = [""] * len(processes)
            for _ in range(rng.randint(1, 25)):
                for number, process in enumerate(processes):
                    assert process.stdout is not None
                    said[number] += process.stdout.readline()
            for process in processes:
                process.kill()
            for number, process in enumerate(processes):
                said[number] += process.communicate()[0]
        for text in said:
            promised |= {f"{payload}@{round_}": version for payload, version in acknowledged(text).items()}
        with place.connect() as store:
            events = list(store.read("s"))
        check_killed(events, promised)
    assert len(promised) > ROUNDS * 2


def check_killed(events, promised):
    """Names repeat from round to round: a promise is checked by its place."""
    versions = {two.version: two.data for two in events[1::2]}
    assert len(events) % 2 == 0
    assert [event.version for event in events] == list(range(1, len(events) + 1))
    assert all(
        one.data == two.data and one.changeset == two.changeset
        for one, two in zip(events[::2], events[1::2], strict=True)
    )
    assert len({event.changeset for event in events}) == len(events) // 2
    for payload, version in promised.items():
        assert versions[version] == payload.split("@")[0]
