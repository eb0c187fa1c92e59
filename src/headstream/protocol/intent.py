"""Intents: small objects in the inbox, each of which says "this changeset is about to be committed to this stream".

Rules:

* An intent is durable before its commit is tried (it is part of the prelude), so whoever sees a committed changeset can
  also see its intent, unless somebody settled it already.
* It has the id of its changeset, which no other send ever has: an intent that arrives late announces an attempt that
  the head will never accept.
* It names the version that its changeset follows (so a stream that has grown past it without it proves it dead), and the
  objects that then are garbage.
"""

from __future__ import annotations

from typing import Final

import msgspec

from headstream.errors import CorruptData
from headstream.protocol import codec, keys
from headstream.protocol.codec import Count, Id
from headstream.protocol.ops import ALWAYS, Put


class Intent(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The fields of an intent, as stored."""

    id: Id
    stream: str
    follows: Count | None
    """The version that the changeset follows; ``None`` is reserved for intents sent before the head is known."""
    micros: Count
    """When it was announced, by the writer's clock: microseconds since 1970-01-01 UTC."""
    objects: list[str]
    """Keys of the segments and pages that were written for it."""


_decoder: Final = msgspec.msgpack.Decoder(Intent)


def put(intent: Intent) -> Put:
    """The write that announces a changeset."""
    return Put(keys.intent(intent.id), codec.seal("intent", intent), ALWAYS)


def decode(body: bytes, key: str) -> Intent:
    """The intent in the object ``key``."""
    intent, _ = codec.unseal("intent", body, key, _decoder)
    if keys.intent(intent.id) != key:
        raise CorruptData("the intent belongs under another key", key=key)
    return intent
