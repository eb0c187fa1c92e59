"""A store in memory, made of the objects of streams, for steps of the core that list, read and write."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from headstream.backends.memory import MemoryBackend
from headstream.drivers import sync
from headstream.protocol import codec, head
from headstream.protocol.head import Change
from headstream.protocol.lineage import Lineage, Survey, step, survey
from headstream.protocol.ops import ALWAYS, Gen, Put
from support.script import MICROS, ident
from support.streams import Stream

T = TypeVar("T")


class Shelf:
    """Objects by their keys."""

    def __init__(self, *objects: Mapping[str, bytes]) -> None:
        self.backend = MemoryBackend()
        for some in objects:
            for key, body in some.items():
                self.put(key, body)

    def put(self, key: str, body: bytes) -> None:
        """Write an object, whatever is there."""
        self.backend.commit((), Put(key, body, ALWAYS))

    def change(self, key: str, change: Callable[[bytes], bytes] = lambda body: body[:-1]) -> None:
        """Damage an object."""
        self.put(key, change(self.body(key)))

    def delete(self, *keys: str) -> None:
        """Remove objects."""
        self.backend.delete(keys)

    def body(self, key: str) -> bytes:
        """What is in an object."""
        return self.backend._objects[key].body

    def keys_of(self, folder: str) -> list[str]:
        """The keys in a folder, such as ``segments/``, in order."""
        return list(self.backend.list(folder, "", 10_000).keys)

    def snapshot(self) -> dict[str, bytes]:
        """All objects."""
        return {key: found.body for key, found in self.backend._objects.items()}

    def run(self, gen: Gen[T]) -> T:
        """All of a step; what it raises comes through."""
        return sync.run(gen, self.backend)

    def lineage(self, stream: str = "s", first: int = 1, last: int | None = None) -> Lineage:
        """All of a survey."""
        found = Lineage(first)
        rest: Survey = survey(stream, first) if last is None else survey(stream, first, last)
        while not rest.ended:
            nodes, rest = self.run(step(rest))
            found.take(nodes)
        return found


def attempt(stream: Stream, number: int, size: int = 1) -> dict[str, bytes]:
    """The objects of an append to a stream as it is, with an event of ``size`` bytes, which is never committed."""
    state = stream.known.state
    frame = codec.encode_frame(
        ident(number),
        state.fields.changeset_id,
        state.version,
        MICROS,
        key=None,
        rows=codec._pack([("Never", b"?" * size, None, None)]),
    )
    _, puts = head.follow(state, Change(ident(number), frame, 1), stream.settings)
    return {put.key: put.body for put in puts}
