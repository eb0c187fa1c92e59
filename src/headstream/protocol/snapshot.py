"""Snapshots: states of deciders, kept with a stream so that a load need not fold it all.

Rules:

* A snapshot is derived: the changesets are the truth. One that is missing, damaged, or of another fold costs a longer load, and never an answer.
* It is written by the append whose events it is the state after, in the same commit: so it is of the stream
  exactly if they are. The head names it. If the state depends on what only the append knows (its time), it is
  the state before the events, which is of the stream in any case.
* It is named and versioned by its decider. Each pair of the two has one at most in a head: the newest; and a head has ``MAX_SNAPSHOTS``, of
  which the one of the oldest state gives way.
* A small one travels in the head. A larger one is an object of its own, named by the attempt that made it, like a segment; the head that no
  longer names it makes it garbage. Whoever reads by an older head finds it missing then, and reads the head again.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from headstream import limits
from headstream.errors import CorruptData, InvalidInput
from headstream.protocol import codec, keys
from headstream.protocol.codec import Count, Id, Name, Version
from headstream.protocol.ops import ALWAYS, Put

DeciderName = Annotated[str, msgspec.Meta(min_length=1, max_length=limits.MAX_DECIDER_NAME)]
Size = Annotated[int, msgspec.Meta(ge=0, le=limits.MAX_SNAPSHOT)]


class Kept(msgspec.Struct, frozen=True):
    """A state that is to be kept by an append: the one after its events, or the one that they follow."""

    name: str
    """Of the decider."""
    version: int
    """Of the decider."""
    state: bytes
    """Encoded by it."""
    at: int | None = None
    """The version of the stream whose state it is, if that is the one before the append, and not the one after it."""


class Snapshot(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a head says of a snapshot."""

    name: DeciderName
    version: Version
    at: Version
    """The version of the stream whose state it is."""
    size: Size
    """Bytes of the state."""
    state: bytes | None
    """The state, if it travels in the head."""
    id: Id | None
    """Else the attempt that made the object."""

    def key(self, stream: str) -> str | None:
        """The key of the object, if it is one."""
        return None if self.id is None else keys.snapshot(stream, self.at, self.id)


class Fields(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The fields of the object, as stored. The state is what follows them."""

    stream: Name
    at: Version
    id: Id
    follows: Count
    """The version that the changeset of the same append follows."""
    name: DeciderName
    version: Version


_fields: Final = msgspec.msgpack.Decoder(Fields)
Listed = Annotated[list[Snapshot], msgspec.Meta(min_length=1, max_length=limits.MAX_SNAPSHOTS)]
_BUILT: Final = msgspec.msgpack.Decoder(Listed)
"""As in :mod:`.head`: made before there are threads."""


def listed(value: Any) -> list[Snapshot]:
    """The snapshots of a head, from its extension; none if it has none."""
    return [] if value is None else msgspec.convert(value, Listed, builtin_types=(bytes,))


def size_of(snapshots: list[Snapshot]) -> int:
    """About how many bytes those that travel in a head take in memory."""
    return sum([350 + entry.size for entry in snapshots if entry.state is not None])


def inconsistency(snapshots: list[Snapshot], version: int) -> str | None:
    """What is wrong with the snapshots of a head of this version."""
    if len({(entry.name, entry.version) for entry in snapshots}) < len(snapshots):
        return "a decider has two snapshots"
    for entry in snapshots:
        if entry.at > version:
            return "it has a snapshot of what is not there"
        if (entry.state is None) == (entry.id is None) or (entry.state is not None and len(entry.state) != entry.size):
            return "a snapshot is neither in it nor elsewhere"
    return None


def keep(
    before: list[Snapshot], kept: Kept, *, stream: str, attempt: bytes, follows: int, at: int
) -> tuple[list[Snapshot], tuple[Put, ...]]:
    """The snapshots of a head of version ``at`` with one more, and the object that this takes."""
    others = [entry for entry in before if (entry.name, entry.version) != (kept.name, kept.version)]
    others = sorted(others, key=lambda entry: entry.at)[max(0, len(others) + 1 - limits.MAX_SNAPSHOTS) :]
    size, at = len(kept.state), at if kept.at is None else kept.at
    _check(kept, size, at)
    room = limits.SNAPSHOT_INLINE - sum([entry.size for entry in others if entry.state is not None])
    if size <= room:
        return [*others, Snapshot(kept.name, kept.version, at, size, kept.state, None)], ()
    fields = Fields(stream, at, attempt, follows, kept.name, kept.version)
    put = Put(keys.snapshot(stream, at, attempt), codec.seal("snapshot", fields, kept.state, check=_fields), ALWAYS)
    return [*others, Snapshot(kept.name, kept.version, at, size, None, attempt)], (put,)


def _check(kept: Kept, size: int, at: int) -> None:
    """:class:`InvalidInput` for a state that no reader of the head would take."""
    try:
        msgspec.convert((kept.name, kept.version, at, size, None, None), Snapshot)
        kept.name.encode()
    except (msgspec.ValidationError, UnicodeEncodeError, OverflowError) as error:
        raise InvalidInput(f"the state of a decider cannot be kept: {error}") from None


def decode(body: bytes, key: str, stream: str) -> tuple[Fields, bytes]:
    """The snapshot in the object ``key``."""
    fields, (state,) = codec.unseal("snapshot", body, key, _fields, extra=1)
    if not isinstance(state, bytes):
        raise CorruptData("the snapshot has no state", key=key)
    if fields.stream != stream or keys.snapshot(stream, fields.at, fields.id) != key:
        raise CorruptData("the snapshot belongs in another place", key=key)
    return fields, state


def decode_named(body: bytes, key: str, stream: str, entry: Snapshot) -> bytes:
    """The state in the object that a head names."""
    fields, state = decode(body, key, stream)
    if (fields.name, fields.version, len(state)) != (entry.name, entry.version, entry.size):
        raise CorruptData("the snapshot is not the one that the head names", key=key)
    return state
