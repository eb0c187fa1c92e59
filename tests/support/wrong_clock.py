"""Changesets as writers made them that did not check their clock: right checksums around a time that no decoder takes."""

from __future__ import annotations

from zlib import crc32

import msgspec

from headstream.backends.base import Backend
from headstream.drivers.sync import run
from headstream.model import Event, Settings
from headstream.protocol import codec, encoding, head, keys
from headstream.protocol.head import Change
from headstream.protocol.ops import ALWAYS, Put
from headstream.protocol.read import load_head

BEFORE_1970 = -1
AFTER_2286 = 10**16

_pack = msgspec.msgpack.Encoder().encode


def frame_of(
    changeset: bytes, parent: bytes | None, follows: int, micros: int, *, rows: bytes, key: str | None
) -> bytes:
    """A changeset with any time."""
    packed = _pack((changeset, parent, follows, micros, key, msgspec.Raw(rows)))
    return crc32(packed).to_bytes(4, "big") + packed


def append_at(
    backend: Backend,
    settings: Settings,
    stream: str,
    micros: int,
    *data: object,
    key: str | None = None,
    announced: bool = True,
) -> bytes:
    """Append an event for each of ``data``, by a clock that shows ``micros``; the id of the changeset."""
    known = run(load_head(stream, None), backend)
    fields = known.state.fields
    before = fields.changeset_id
    changeset = (1 << 100 if before is None else int.from_bytes(before, "big") + (1 << 40)).to_bytes(16, "big")
    rows = encoding.encode_events([Event("E", one) for one in data or (None,)])
    frame = frame_of(changeset, before, fields.version, micros, rows=rows, key=key)
    grown, puts = head.follow(known.state, Change(changeset, frame, len(data) or 1), settings)
    if announced:
        body = codec.seal("intent", (changeset, stream, fields.version, micros, [put.key for put in puts]))
        puts = (Put(keys.intent(changeset, fields.version, stream), body, ALWAYS), *puts)
    backend.commit(puts, head.put(grown, known.etag))
    return changeset
