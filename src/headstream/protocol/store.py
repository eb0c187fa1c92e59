"""Opening a store: ``store.json`` says what it is. The one object that is JSON, so that a person can read it.

Rules:

* It is created once, by ``If-None-Match: *``, and never changes: of two creators one wins, and the other takes what it finds.
* A new store is created only on storage that refuses a second create and a stale swap: many look-alikes of S3 ignore
  the conditions and would lose events without a word.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from headstream import limits
from headstream.errors import (
    CorruptData,
    InvalidInput,
    StoreNotFound,
    UnsuitableBackend,
    UnsupportedFormat,
)
from headstream.model import Settings
from headstream.nesting import is_deep_json
from headstream.protocol import keys
from headstream.protocol.codec import FORMAT
from headstream.protocol.ops import (
    ABSENT,
    FAULTS,
    Commit,
    Condition,
    Delete,
    Fault,
    Found,
    Gen,
    Get,
    Matches,
    Put,
    Stamp,
    Stored,
    Unknown,
    unavailable,
)


class Breach(enum.StrEnum):
    """A promise about conditional writes that storage may break, as a sentence about it."""

    REFUSES_CREATE = "it refuses to create an object"
    IGNORES_ABSENT = "it creates an object that exists (If-None-Match is ignored)"
    REFUSES_SWAP = "it refuses to swap an object by its etag"
    IGNORES_MATCH = "it swaps an object by a stale etag (If-Match is ignored)"


class Description(msgspec.Struct, frozen=True):
    """What ``store.json`` says."""

    format: int
    store_id: UUID
    created_at: str
    """ISO 8601, UTC, by the creator's clock."""
    settings: Settings


class _Version(msgspec.Struct):
    format: int


_decoder: Final = msgspec.json.Decoder(Description)
_version: Final = msgspec.json.Decoder(_Version)


def decode(body: bytes) -> Description:
    """The description in the body of ``store.json``."""
    try:
        number = _version.decode(body).format
        if number == FORMAT:
            return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if isinstance(error, RecursionError) and not is_deep_json(body.decode(errors="replace"), limits.OBJECT_NESTING):
            raise  # the stack of this process is too small
        reason = " ".join(str(error).split())[:200]
        raise CorruptData(f"the description of the store cannot be read: {reason}", key=keys.STORE) from None
    raise UnsupportedFormat("the store was made by another version of headstream: upgrade", format=number, known=FORMAT)


def open_store(default_tail: int, wanted: Mapping[str, int], *, create: bool) -> Gen[Description]:
    """What the store is; created, if there is none and ``create`` allows it, with the settings ``wanted``.

    Raises :class:`StoreNotFound`, :class:`UnsupportedFormat`, :class:`CorruptData`, :class:`UnsuitableBackend`,
    :class:`Unavailable`; :class:`InvalidInput` when a setting is out of range, or not what an existing store has.
    """
    chosen: dict[str, Any] = {"tail_bytes": default_tail, **wanted}
    settings = Settings(**chosen)
    try:
        found = yield from _describe()
        if found is None:
            if not create:
                raise StoreNotFound("there is no store here: create it with `headstream init URL`")
            found = yield from _create(settings)
    except FAULTS as fault:
        raise unavailable("the storage did not answer: try again later", fault, key=keys.STORE) from fault
    existing = {name: getattr(found.settings, name) for name in wanted}
    if existing != wanted:
        raise InvalidInput(
            "the store exists with other settings, and they are fixed at its creation: leave them out",
            asked=dict(wanted),
            found=existing,
        )
    return found


def _describe() -> Gen[Description | None]:
    answer = yield from Get(keys.STORE)
    return decode(answer.body) if isinstance(answer, Found) else None


def _create(settings: Settings) -> Gen[Description]:
    stamp = yield from Stamp()
    yield from _prove_conditions(stamp.id)
    created_at = datetime.fromtimestamp(stamp.micros // 1_000_000, UTC).isoformat()
    description = Description(FORMAT, UUID(bytes=stamp.id), created_at, settings)
    body = msgspec.json.format(msgspec.json.encode(description), indent=2)
    last: Fault | None = None
    try:
        answer = yield from Commit((), Put(keys.STORE, body, ABSENT))
        last = None if isinstance(answer, Stored) else answer.fault
    except Unknown as fault:  # whatever became of it: what is there now is ours, another creator's, or nothing yet
        last = fault
    found = yield from _describe()
    if found is None:
        raise unavailable("the store could not be created: try again later", last, key=keys.STORE) from last
    return found


def _prove_conditions(probe_id: bytes) -> Gen[None]:
    """Refuse storage that takes a second create, or a swap by an etag that is no longer there."""
    key = keys.probe(probe_id)

    def write(body: bytes, when: Condition) -> Gen[str | None]:
        answer = yield from Commit((), Put(key, body, when))
        return answer.etag if isinstance(answer, Stored) else None

    first = yield from write(b"first", ABSENT)
    again = yield from write(b"again", ABSENT)
    swapped = (yield from write(b"swapped", Matches(first))) if first is not None else None
    stale = (yield from write(b"stale", Matches(first))) if first is not None else None
    breaches = {
        Breach.REFUSES_CREATE: first is None,
        Breach.IGNORES_ABSENT: again is not None,
        Breach.REFUSES_SWAP: first is not None and swapped is None,
        Breach.IGNORES_MATCH: stale is not None,
    }
    broken = "; ".join(breach for breach, seen in breaches.items() if seen)
    try:
        yield from Delete((key,))
    except FAULTS:
        if not broken:  # else there is something to say that no later try mends
            raise
    if broken:
        raise UnsuitableBackend(
            f"this storage would lose events, and no store was created: {broken}: `headstream doctor` shows what it keeps"
        )
