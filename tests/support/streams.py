"""Streams that grow in memory by the core's own transition, with every object that was ever written and a plain list to compare with."""

from __future__ import annotations

from headstream.model import Event, RecordedEvent, Settings
from headstream.protocol import codec, encoding, head, keys
from headstream.protocol.codec import Chain
from headstream.protocol.head import Change, Known, nothing
from headstream.protocol.ops import Found, Put
from headstream.protocol.snapshot import Kept
from support.script import MICROS, ident

TAIL = Settings(tail_bytes=64 * 1024, fan_out=4, feed=False)
"""Everything stays in the tail."""
BLOBS = Settings(tail_bytes=0, fan_out=4, feed=False)
"""Every changeset is a segment of its own."""


class Stream:
    """A stream, its objects, and what must be in it."""

    def __init__(self, settings: Settings = TAIL, name: str = "s") -> None:
        self.settings = settings
        self.name = name
        self.known: Known = nothing(name)
        self.objects: dict[str, bytes] = {}
        self.frames: list[bytes] = []
        self.ends: list[int] = []
        """The version after each changeset."""
        self.puts: tuple[Put, ...] = ()
        """The prelude of the newest changeset."""

    def grow(self, *sizes: int, key: str | None = None, number: int | None = None, kept: Kept | None = None) -> Stream:
        """Append one changeset with an event of each size, one of one byte if there is none; its id is ``ident(number)``."""
        number = len(self.frames) + 1 if number is None else number
        events = [Event("E", b"x" * size) for size in sizes or (1,)]
        state = self.known.state
        frame = codec.encode_frame(
            ident(number),
            state.fields.changeset_id,
            state.version,
            MICROS + number * 1_000_000,
            key=key,
            rows=encoding.encode_events(events),
        )
        grown, self.puts = head.follow(state, Change(ident(number), frame, len(events), kept=kept), self.settings)
        self._write(Known(grown, f"e{len(self.frames) + 1}"))
        self.frames.append(frame)
        self.ends.append(grown.version)
        return self

    def times(self, count: int) -> Stream:
        """Append so many changesets of one event."""
        for _ in range(count):
            self.grow()
        return self

    def fence(self) -> Stream:
        """Move the fence, as whoever settles old intents does."""
        assert self.known.etag is not None
        self.puts = ()
        self._write(Known(head.fenced(self.known.state), self.known.etag + "f"))
        return self

    def _write(self, known: Known) -> None:
        self.known = known
        self.objects.update({put.key: put.body for put in self.puts})
        self.objects[self.head_key] = head.encode(known.state)

    @property
    def head_key(self) -> str:
        """The key of the head."""
        return keys.head(self.name)

    @property
    def version(self) -> int:
        """How many events there are."""
        return self.known.state.version

    def found(self) -> Found:
        """The head object."""
        assert self.known.etag is not None
        return Found(self.objects[self.head_key], self.known.etag)

    def keys_of(self, folder: str) -> list[str]:
        """The keys of all objects in a folder, such as ``segments/``, in order."""
        return sorted(key for key in self.objects if key.startswith(folder))

    def chain(self) -> Chain:
        """All changesets, decoded."""
        return codec.decode_chain(self.frames, 0, None, "the model", stream=self.name)

    def events(self) -> list[RecordedEvent]:
        """All events."""
        return codec.recorded(self.name, self.chain(), 1, self.version)
