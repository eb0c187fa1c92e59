"""Checkpoints: how far a worker with a name has read the feed.

Rules:

* A checkpoint moves only by a conditional write on the one that its worker read or wrote last. So of two workers with one name, the one
  that came later goes on, and the other is told at its next save.
* It never goes back: a worker saves positions that do not decrease, and whoever takes over begins where the checkpoint is.
* Its content never repeats: every write has a fresh id. So etags made of content are safe; and after an unknown outcome the id tells whose it is.
* It keeps the changeset of the feed at its position, so that a worker that resumes in another feed is told (:mod:`headstream.protocol.mark`).
* A worker on standby watches the id. An owner that works with standbys saves at least every third of their patience, even where it was, and
  marks the checkpoint as released when it ends. A standby takes it over when it is released, or when it has seen the same id for all of its
  patience, by its own clock: the clocks of two machines are never compared. It writes on the checkpoint that it saw, so of several standbys
  one succeeds, and an owner that was only paused is told at its next save.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from headstream import limits
from headstream.errors import CheckpointLost, CorruptData
from headstream.protocol import codec, keys
from headstream.protocol.codec import Count, Id, Micros, Name
from headstream.protocol.mark import Mark
from headstream.protocol.ops import (
    ABSENT,
    FAULTS,
    Commit,
    Delete,
    Fault,
    Found,
    Gen,
    Get,
    GetMany,
    List,
    Matches,
    NotApplied,
    Pause,
    Put,
    Refused,
    Stamp,
    Stored,
    unavailable,
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Checkpoint(msgspec.Struct, frozen=True):
    """How far a worker has read the feed, as the store keeps it."""

    name: str
    position: int
    """All events up to this one are handled; 0 for none."""
    owner: str
    """Who saved it: the host's name and the process's number."""
    micros: int
    """When it was saved, by the owner's clock: microseconds since 1970-01-01 UTC."""
    id: bytes
    """Of this save, 16 bytes."""
    etag: str
    """The storage's tag of the object."""
    changeset: bytes | None = None
    """The id of the feed's changeset that the position lies in, 16 bytes; ``None`` if that was not known."""
    released: bool = False
    """Whether its owner has ended, and a standby may take it over at once."""

    @property
    def mark(self) -> Mark:
        """The position, and the feed that it is of."""
        return Mark(self.position, self.changeset)

    @property
    def saved_at(self) -> datetime:
        """When it was saved, by the owner's clock, in UTC."""
        return _EPOCH + timedelta(microseconds=self.micros)


class Fields(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The fields of a checkpoint, as stored."""

    name: Name
    id: Id
    position: Count
    owner: str
    micros: Micros
    changeset: Id | None = None
    released: bool = False


_decoder: Final = msgspec.msgpack.Decoder(Fields)


def decode(body: bytes, key: str, etag: str) -> Checkpoint:
    """The checkpoint in the object ``key``."""
    fields, _ = codec.unseal("checkpoint", body, key, _decoder)
    if keys.checkpoint(fields.name) != key:
        raise CorruptData("the checkpoint belongs under another key", key=key)
    return Checkpoint(
        fields.name, fields.position, fields.owner, fields.micros, fields.id, etag, fields.changeset, fields.released
    )


def load(name: str) -> Gen[Checkpoint | None]:
    """The checkpoint of this name, if there is one. Raises :class:`Unavailable` and :class:`CorruptData`."""
    key = keys.checkpoint(name)
    try:
        answer = yield from Get(key)
    except FAULTS as fault:
        raise unavailable("the storage did not answer: try again later", fault, key=key) from fault
    return decode(answer.body, key, answer.etag) if isinstance(answer, Found) else None


def save(
    name: str,
    before: Checkpoint | None,
    mark: Mark,
    owner: str,
    *,
    release: bool = False,
    ours: set[bytes] | None = None,
) -> Gen[Checkpoint]:
    """Move the checkpoint from ``before`` to ``mark``; with ``release`` a standby may then take it over at once.

    ``ours``: the ids of this worker's saves from ``before`` whose end it does not know, since they failed or were interrupted; this one's are
    added. If the checkpoint is where one of them moved it, it is this worker's still.

    Raises :class:`CheckpointLost` when somebody else moved it; :class:`Unavailable` when it may or may not have moved; :class:`CorruptData`.
    """
    key = keys.checkpoint(name)
    owner = owner.encode(errors="replace").decode()  # the name of a host may be no text
    if before is not None and before.position > mark.position:
        mark = before.mark
    ours = set() if ours is None else ours
    earlier = frozenset(ours)
    last: Fault | None = None
    for attempt in range(limits.FAULT_ATTEMPTS):
        stamp = yield from Stamp()
        ours.add(stamp.id)
        fields = Fields(name, stamp.id, mark.position, owner, stamp.micros, mark.changeset, release)
        body = codec.seal("checkpoint", fields, check=_decoder)
        answer: Stored | Refused | None = None
        try:
            answer = yield from Commit((), Put(key, body, ABSENT if before is None else Matches(before.etag)))
        except FAULTS as fault:
            last = fault
        if isinstance(answer, Stored):
            return Checkpoint(name, mark.position, owner, stamp.micros, stamp.id, answer.etag, mark.changeset, release)
        if answer is not None or not isinstance(last, NotApplied):  # it may have moved, or a refusal may be untrue
            found = yield from load(name)
            if found is not None and found.id in ours:
                if found.id not in earlier:
                    return found
                before = found
            elif answer is not None and (found and found.etag) != (before and before.etag):
                raise _lost(name, found)
            if answer is not None:  # by a head that is as it was: no other worker was faster
                last = answer.fault
        yield from Pause(min(limits.FAULT_PAUSE[0] * 2.0**attempt, limits.FAULT_PAUSE[1]))
    raise unavailable("the checkpoint could not be saved: try again later", last, key=key) from last


def take_over(name: str, after: Mark, owner: str) -> Gen[Checkpoint]:
    """Make the checkpoint this worker's, where it is; at ``after`` if there is none. Whoever had it is told at its next save.

    Raises :class:`CheckpointLost` when others move it again and again meanwhile, :class:`Unavailable`, :class:`CorruptData`.
    """
    attempt = 0
    while True:
        found = yield from load(name)
        try:
            return (yield from save(name, found, found.mark if found is not None else after, owner))
        except CheckpointLost:  # it was saved once more by the one that had it, or taken over by another
            attempt += 1
            if attempt == limits.FAULT_ATTEMPTS:
                raise
        yield from Pause(min(limits.RACE_PAUSE[0] * 2.0**attempt, limits.RACE_PAUSE[1]))


class Watch(msgspec.Struct, frozen=True):
    """What a standby has seen of what another worker owns."""

    sign: object = None
    """What the owner changes with each sign of life, as it was seen last; ``None`` before the first look."""
    since: float | None = None
    """When the first look began that found it unchanged, in seconds by the watcher's clock: the look before it ended earlier."""

    def saw(self, sign: object, now: float) -> Watch:
        """After a look that began at ``now``."""
        if sign != self.sign:
            return Watch(sign)
        return Watch(sign, now) if self.since is None else self

    def is_stale(self, now: float, patience: float) -> bool:
        """Whether there was no sign of life for ``patience`` seconds."""
        return self.since is not None and now - self.since >= patience


def watch(
    name: str, after: Mark, owner: str, seen: Watch, *, now: float, patience: float
) -> Gen[tuple[Checkpoint | None, Watch]]:
    """Take the checkpoint over if no other worker uses it; otherwise ``None``. And what was seen, for the next look.

    ``now``: when this look begins, in seconds. ``patience``: how long a checkpoint must not have changed. Raises :class:`Unavailable`,
    :class:`CorruptData`.
    """
    found = yield from load(name)
    if found is not None and not found.released:
        seen = seen.saw(found.id, now)
        if not seen.is_stale(now, patience):
            return None, seen
    try:
        taken = yield from save(name, found, found.mark if found is not None else after, owner)
    except CheckpointLost:  # its owner lives, or another standby was first
        return None, Watch()
    return taken, seen


def _lost(name: str, found: Checkpoint | None) -> CheckpointLost:
    if found is None:
        return CheckpointLost("the checkpoint was removed while a worker was using it", name=name)
    return CheckpointLost(
        "another worker took the checkpoint over: stop this one", name=name, owner=found.owner, position=found.position
    )


def forget(name: str) -> Gen[None]:
    """Remove the checkpoint. A worker that uses it is told at its next save. Raises :class:`Unavailable`."""
    key = keys.checkpoint(name)
    try:
        yield from Delete((key,))
    except FAULTS as fault:
        raise unavailable("the storage did not answer: try again later", fault, key=key) from fault


def list_checkpoints(after: str) -> Gen[tuple[list[Checkpoint], str | None]]:
    """Some checkpoints, in the order of their names, and the key to go on after, if there may be more."""
    try:
        page = yield from List(keys.CHECKPOINTS, after)
        answers = yield from GetMany(tuple([Get(key) for key in page.keys]))
    except FAULTS as fault:
        raise unavailable("the storage did not answer: try again later", fault, key=keys.CHECKPOINTS) from fault
    found = [
        decode(answer.body, key, answer.etag)
        for key, answer in zip(page.keys, answers, strict=True)
        if isinstance(answer, Found)
    ]
    return found, page.keys[-1] if page.more and page.keys else None
