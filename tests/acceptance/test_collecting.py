"""Collecting garbage on real storage, beside writers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import pytest

from acceptance.places import EMBEDDED, Place
from headstream import Event, EventStore
from headstream.collecting import Collected, Tally, collect
from support.garbage import LONG, clock_moved, contents, crash, live, objects

STREAMS = ("a", "a-1", "b/c", "never")
HIERARCHICAL = ("seaweedfs",)
"""Storage that keeps folders as folders: it lists those of several streams in another order."""


@pytest.mark.parametrize("place", [*EMBEDDED, "azurite", "ministack", "seaweedfs"], indirect=True)
def test_after_crashes_all_garbage_goes_and_nothing_else(place: Place):
    """A dry run finds it; a real one removes it, while others write; then nothing is left."""
    with place.connect(tail_bytes=300, fan_out=2, advance_every=0) as store:
        with clock_moved(-LONG):
            for number in range(8):
                for stream in STREAMS[:3]:
                    store.append(stream, Event("E", f"{number} " + "x" * 100))
            for stream in STREAMS:
                crash(store, stream, 2, announced=False)
        store.advance()
        before, dead = contents(store), objects(store, STREAMS) - live(store)
        assert len(dead) >= 8
        if place.name in HIERARCHICAL:
            dead = {key for key in dead if not key.startswith("segments/never/")}
        dry = collect(store, dry_run=True)
        assert (contents(store), dead <= objects(store, STREAMS)) == (before, True)
        done, appended = collected_beside_writers(store)
        check(place, dry, done, len(dead))
        assert dead.isdisjoint(objects(store, STREAMS))
        assert contents(store) == {name: [*data, *appended[name]] for name, data in before.items()}
        with clock_moved(LONG):
            collect(store)
        assert {key for key in objects(store, STREAMS) if not key.startswith("segments/never/")} == live(store)
        assert sorted(event.data for event in store.feed()) == sorted(chain(*contents(store).values()))


def collected_beside_writers(store: EventStore) -> tuple[Collected, dict[str, list[str]]]:
    """A collection, and what others appended meanwhile."""
    with ThreadPoolExecutor(len(STREAMS)) as pool:
        writing = {stream: pool.submit(write, store, stream) for stream in STREAMS[:3]}
        done = pool.submit(collect, store).result()
        return done, {stream: future.result() for stream, future in writing.items()}


def write(store: EventStore, stream: str) -> list[str]:
    """Some appends, each acknowledged."""
    data = [f"more {number} {'y' * 90}" for number in range(12)]
    for one in data:
        store.append(stream, Event("E", one))
    return data


def check(place: Place, dry: Collected, done: Collected, dead: int) -> None:
    """Both runs say the same of what is garbage."""
    assert done.removed.objects == dry.removed.objects == dead
    assert done.removed.size == dry.removed.size > 0
    assert done.probes == Tally()
    assert (done.problems, done.unknown, done.left, done.stale) == (0, 0, 0, 0)
    assert done.headless == dry.headless == (place.name not in HIERARCHICAL)
