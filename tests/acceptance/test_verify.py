"""Verifying and repairing, on real servers."""

from __future__ import annotations

from random import Random

import pytest

from acceptance.places import EMBEDDED, Place
from headstream import Event, EventStore
from headstream.protocol.ops import ALWAYS, About, Found, Get, Put
from headstream.verifying import Kind, Report, repair, verify

STREAMS = ("order_1/é", "b", "c")
PLACES = (*EMBEDDED, "azurite", "ministack")


def filled(place: Place) -> EventStore:
    """A store with segments, index pages, a feed, intents and a checkpoint."""
    store = place.connect(tail_bytes=300, fan_out=2, advance_every=0)
    for number in range(12):
        for stream in STREAMS:
            store.append(stream, [Event("E", {"number": number, "text": "x" * 60})] * (1 + number % 2))
        if number == 8:
            store.advance()
    with store.subscribe(checkpoint="worker", follow=False, advance=False) as subscription:
        assert list(subscription)
    return store


def report_of(store: EventStore) -> Report:
    """The report of a whole verification."""
    return verify(store, jobs=4).finish()


def keys_of(store: EventStore, folder: str) -> list[str]:
    """All keys in a folder."""
    return list(store._backend.list(folder, "", 1000).keys)


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_a_store_is_verified_and_repaired(place: Place) -> None:
    """Clean as it was written; damage is named; what is repaired is clean, and reads the same."""
    with filled(place) as store:
        report = report_of(store)
        assert report.faults == []
        assert (report.streams, report.events, report.positions) == (3, 54, 39)
        before = {stream: list(store.read(stream)) for stream in STREAMS}
        rng = Random(place.name)
        damaged = [rng.choice(keys_of(store, folder)) for folder in ("index/b/", "inbox/")]
        damaged += [keys_of(store, "segments/c/")[0], "heads/order__1.2f~c3~a9"]
        for key in damaged:
            found = store._backend.get(Get(key))
            assert isinstance(found, Found)
            at = 10 if key.startswith("heads/") else rng.randrange(2, len(found.body))
            body = found.body[:at] + bytes([found.body[at] ^ 16]) + found.body[at + 1 :]
            store._backend.commit((), Put(key, body, ALWAYS))
        faults = report_of(store).grave
        assert sorted(fault.key for fault in faults) == sorted(damaged)
        verification = verify(store, jobs=4)
        done = list(repair(verification))
        assert sorted(one.key for one in done if one.done) == sorted(damaged)
        assert report_of(store).faults == []
        assert {stream: list(store.read(stream)) for stream in STREAMS} == before
        store.advance()
        assert report_of(store).faults == []


@pytest.mark.parametrize("place", ["azurite", "ministack"], indirect=True)
def test_metadata_is_compared(place: Place) -> None:
    """Where the storage keeps it: another is a fault, none at all is information."""
    with filled(place) as store:
        assert store._backend.keeps_metadata
        found = store._backend.get(Get("heads/b"))
        assert isinstance(found, Found)
        assert found.metadata
        wrong = About("b", 3, bytes(16), None)
        for about, grave in ((wrong, True), (None, False)):
            store._backend.commit((), Put("heads/b", found.body, ALWAYS, about))
            (fault,) = report_of(store).faults
            assert (fault.key, fault.kind, fault.grave) == ("heads/b", Kind.METADATA, grave)
