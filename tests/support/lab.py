"""Stores of every layout, damaged at random, object by object."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any, Final

import msgspec

from headstream import Decider, Event, EventStore, HeadstreamError, Snapshots, connect
from headstream.backends.base import Backend
from headstream.backends.memory import MemoryBackend
from headstream.protocol import codec, head
from headstream.protocol.head import Change
from headstream.protocol.ops import ALWAYS, Found, Get, Put
from headstream.protocol.read import load_head
from headstream.protocol.store import decode

FOLDERS: Final = ("heads/", "segments/", "index/", "snapshots/", "inbox/", "checkpoints/", "store.json")
STREAMS: Final = ("a/1", "b", "c")


def _keeping(size: int) -> Decider[str, Event]:
    """A decider whose states have so many bytes."""
    states: Snapshots[str] = Snapshots(str, every=1)
    return Decider(str, lambda state, event: f"{len(state)} {event.type}".ljust(size), name="kept", snapshots=states)


DECIDERS: Final = {"a/1": _keeping(5000), "b": _keeping(5001), "c": _keeping(50)}
"""One that keeps a state of each stream, once: the last one in the head."""


class Layout(msgspec.Struct, frozen=True):
    """How a store is laid out, and how far its feed has come."""

    tail: int
    fan_out: int
    feed: bool
    advanced: str = "partly"
    """``never``, ``partly`` or ``all``."""
    rounds: int = 12
    keyed: bool = False
    """Whether appends have idempotency keys."""

    def __str__(self) -> str:
        return f"{self.tail}-{self.fan_out}-{self.advanced if self.feed else 'nofeed'}"

    def settings(self) -> dict[str, Any]:
        """For ``connect``."""
        return {"tail_bytes": self.tail, "fan_out": self.fan_out, "feed": self.feed, "advance_every": 0}


LAYOUTS: Final = [
    Layout(tail, fan_out, feed, advanced)
    for tail in (0, 100, 4096)
    for fan_out in (2, 128)
    for feed, advanced in ((True, "never"), (True, "partly"), (True, "all"), (False, "never"))
]


class Lab:
    """A store whose objects are looked at and changed behind its back."""

    def __init__(self, store: EventStore) -> None:
        self.store = store
        self.backend: Backend = store._backend
        self._metadata: dict[str, Any] = {}

    @classmethod
    def filled(cls, layout: Layout, backend: Backend | None = None) -> Lab:
        """A store with some streams and a state of each, a stream that does not exist and was fenced, and a checkpoint."""
        lab = cls(connect(backend if backend is not None else MemoryBackend(), **layout.settings()))
        for number in range(layout.rounds):
            for at, stream in enumerate(STREAMS):
                event = Event(
                    "E", {"number": number, "text": "x" * 20 * at}, {"by": "me"} if at else {}, f"id-{number}"
                )
                events, key = [event] * (1 + number % 3), f"{number}" if layout.keyed else None
                if number == layout.rounds // 2:
                    lab.store.transact(stream, DECIDERS[stream], lambda _, events=events: events, key=key)
                else:
                    lab.store.append(stream, events, key=key)
            if layout.feed and (layout.advanced == "all" or (layout.advanced == "partly" and number % 4 == 2)):
                lab.store.advance()
        fenced = head.fenced(head.nothing("never").state)
        lab.backend.commit((), head.put(fenced, None))
        known = lab.store._run(load_head("b", None))
        lab.backend.commit((), head.put(head.fenced(known.state), known.etag))
        if layout.feed and layout.advanced != "never":
            with lab.store.subscribe(checkpoint="worker", follow=False, advance=False) as subscription:
                assert list(subscription)
        return lab

    def keys(self, folder: str | None = None) -> list[str]:
        """All keys, or those in a folder."""
        folders = FOLDERS if folder is None else (folder,)
        return [key for one in folders for key in self.backend.list(one, "", 100_000).keys]

    def get(self, key: str) -> bytes:
        """What is in an object."""
        found = self.backend.get(Get(key))
        assert isinstance(found, Found)
        return found.body

    def put(self, key: str, body: bytes) -> None:
        """Write an object, whatever is there; in memory it has the metadata that it had first."""
        memory = self.backend._objects if isinstance(self.backend, MemoryBackend) else {}
        if key in memory:
            self._metadata.setdefault(key, memory[key].metadata)
        self.backend.commit((), Put(key, body, ALWAYS))
        if key in memory:
            memory[key] = msgspec.structs.replace(memory[key], metadata=self._metadata.get(key))

    def delete(self, *names: str) -> None:
        """Remove objects."""
        if isinstance(self.backend, MemoryBackend):
            memory = self.backend._objects
            self._metadata.update({key: memory[key].metadata for key in names if key in memory})
        self.backend.delete(names)

    def snapshot(self) -> dict[str, bytes]:
        """All objects."""
        return {key: self.get(key) for key in self.keys()}

    def restore(self, before: Mapping[str, bytes]) -> None:
        """Have just these objects again."""
        now = self.snapshot()
        self.delete(*(now.keys() - before.keys()))
        for key, body in before.items():
            if now.get(key) != body:
                self.put(key, body)

    def contents(self) -> dict[str, list[tuple[object, ...]]]:
        """All events of all streams, as users see them."""
        return {
            stream: [
                (event.version, event.type, event.payload, event.metadata_json, event.id, event.changeset, event.micros)
                for event in self.store.read(stream)
            ]
            for stream in STREAMS
        }

    def feed(self) -> list[tuple[str, int]]:
        """Stream and version of each event in the feed, in its order."""
        return [(event.stream, event.version) for event in self.store.feed(advance=False)]


def forge(lab: Lab, stream: str, version: int) -> None:
    """Write a stream anew, by the rules, with another event."""
    events = list(lab.store.read(stream))
    lab.delete(f"heads/{stream}", *lab.keys(f"segments/{stream}/"), *lab.keys(f"index/{stream}/"))
    state = head.nothing(stream).state
    by_changeset: dict[bytes, list[Any]] = {}
    for event in events:
        by_changeset.setdefault(event.changeset, []).append(event)
    for changeset, some in by_changeset.items():
        rows = [
            ("Other" if event.version == version else event.type, event.payload, event.metadata_json, event.id)
            for event in some
        ]
        raw = codec.encode_frame(
            changeset,
            state.fields.changeset_id,
            state.version,
            some[0].micros,
            key=None,
            rows=msgspec.msgpack.encode(rows),
        )
        state, puts = head.follow(state, Change(changeset, raw, len(rows)), lab.store.settings)
        for put in puts:
            lab.backend.commit((), put)
    lab.backend.commit((), head.put(state, None))


class Damage(msgspec.Struct, frozen=True):
    """What was done to which objects."""

    what: str
    keys: tuple[str, ...]


def harm(lab: Lab, rng: Random, names: list[str]) -> Damage | None:
    """Damage one of the objects ``names``, in a way that alters what it means; ``None`` if that was none."""
    key = rng.choice(names)
    body = lab.get(key)
    what = rng.choice(("flip", "cut", "delete", "swap", "replace"))
    if what == "delete":
        lab.delete(key)
        return Damage(what, (key,))
    if what in {"flip", "cut"}:
        at = rng.randrange(len(body))
        changed = body[:at] if what == "cut" else body[:at] + bytes([body[at] ^ 1 << rng.randrange(8)]) + body[at + 1 :]
        if key == "store.json" and _says_the_same(body, changed):
            return None
        lab.put(key, changed)
        return Damage(what, (key,))
    folder = key.partition("/")[0]
    other = rng.choice([name for name in names if name.partition("/")[0] == folder])
    if lab.get(other) == body:
        return None
    theirs = lab.get(other)
    lab.put(key, theirs)
    if what == "swap":
        lab.put(other, body)
        return Damage(what, (key, other))
    return Damage(what, (key,))


def _says_the_same(body: bytes, changed: bytes) -> bool:
    """Whether a description means the same: the letters of an id may be small or large."""
    try:
        return decode(body) == decode(changed)
    except HeadstreamError:
        return False
