"""Processes killed with SIGKILL in mid-append, many times: what they acknowledged is there, and no half changeset is."""

from __future__ import annotations

import random

import pytest

from acceptance.places import Place
from acceptance.processes import acknowledged, release, writers
from headstream import RecordedEvent

ROUNDS = 12


@pytest.mark.parametrize("place", ["sqlite", "files", "azurite"], indirect=True)
def test_killed_in_mid_append(place: Place):
    """Two writers, each on a stream of its own, are killed after a random number of acknowledgements, again and again."""
    rng = random.Random(20120216)
    promised: dict[str, dict[int, str]] = {"s-p0": {}, "s-p1": {}}
    place.connect(tail_bytes=1000, fan_out=4).close()
    for _ in range(ROUNDS):
        with writers(place, 2, stream="s", commits=0, mode="own") as processes:
            release(processes)
            said = [""] * len(processes)
            for _ in range(rng.randint(1, 20)):
                for number, process in enumerate(processes):
                    assert process.stdout is not None
                    said[number] += process.stdout.readline()
            for process in processes:
                process.kill()
            for number, process in enumerate(processes):
                assert process.stdout is not None
                said[number] += process.stdout.read()
        for number, text in enumerate(said):
            new = {version: payload for payload, version in acknowledged(text).items()}
            assert not new.keys() & promised[f"s-p{number}"].keys()
            promised[f"s-p{number}"] |= new
    with place.connect() as store:
        for stream, by_version in promised.items():
            assert len(by_version) > ROUNDS
            check(list(store.read(stream)), by_version)


def check(events: list[RecordedEvent], promised: dict[int, str]) -> None:
    """Versions without a gap, whole changesets of two events, each once, and every promise at its version."""
    assert [event.version for event in events] == list(range(1, len(events) + 1))
    pairs = list(zip(events[::2], events[1::2], strict=True))
    assert all(one.data == two.data and one.changeset == two.changeset for one, two in pairs)
    assert len({one.changeset for one, _ in pairs}) == len(pairs)
    found = {two.version: two.data for _, two in pairs}
    assert promised.items() <= found.items()
