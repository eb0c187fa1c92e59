"""Intents: small objects in the inbox, each of which says "this changeset is about to be committed to this stream".

Rules:

* An intent is durable before its commit is tried (it is part of the prelude), so whoever sees a committed changeset can
  also see its intent, unless somebody settled it already.
* It has the id of its changeset, which no other send ever has: an intent that arrives late announces an attempt that
  the head will never accept.
* Its key says all that an advance of the feed has to know of an intent whose changeset was committed: a list is enough.
* Ids within a stream increase, also where clocks go back, and the changesets of a stream are announced one after the other: each by a
  writer that saw the one before it committed. So the first intents of the inbox, in the order of their keys, are the oldest of each stream.
* It names the version that its changeset follows (so a stream that has grown past it without it proves it dead), and the
  objects that then are garbage.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from headstream.errors import CorruptData
from headstream.protocol import codec, keys
from headstream.protocol.codec import Count, Id, Micros, Name
from headstream.protocol.ops import ALWAYS, Put


class Intent(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The fields of an intent, as stored."""

    id: Id
    stream: Name
    follows: Count
    """The version that the changeset follows."""
    micros: Micros
    """When it was announced, by the writer's clock: microseconds since 1970-01-01 UTC."""
    objects: list[str]
    """Keys of the segments, pages and snapshots that were written for it."""


class Announced(msgspec.Struct, frozen=True):
    """What the key of an intent says."""

    key: str
    id: bytes
    follows: int
    stream: str

    @property
    def millis(self) -> int:
        """When it was announced, by the writer's clock: milliseconds since 1970-01-01 UTC."""
        return int.from_bytes(self.id[:6], "big")


_decoder: Final = msgspec.msgpack.Decoder(Intent)
_KEY: Final = re.compile(rf"{keys.INBOX}([0-9a-f]{{32}})-(0|[1-9][0-9]{{0,15}})-(.+)")


def put(intent: Intent) -> Put:
    """The write that announces a changeset."""
    return Put(
        keys.intent(intent.id, intent.follows, intent.stream), codec.seal("intent", intent, check=_decoder), ALWAYS
    )


def announced(key: str) -> Announced:
    """What the key of an intent says; :class:`CorruptData` if it is none."""
    found = _KEY.fullmatch(key)
    try:
        if found is not None:
            return Announced(key, bytes.fromhex(found[1]), int(found[2]), keys.unescape(found[3]))
    except ValueError:
        pass
    raise CorruptData("an object that is no intent lies in the inbox: remove it", key=key)


def decode(body: bytes, key: str) -> Intent:
    """The intent in the object ``key``."""
    intent, _ = codec.unseal("intent", body, key, _decoder)
    if keys.intent(intent.id, intent.follows, intent.stream) != key:
        raise CorruptData("the intent belongs under another key", key=key)
    if not all(_made_by(intent, name) for name in intent.objects):
        raise CorruptData("the intent names objects that its append cannot have made", key=key)
    return intent


def _made_by(intent: Intent, key: str) -> bool:
    """Whether ``key`` is that of an object which only this attempt can have made: what is dead may be deleted."""
    folder, name = keys.escape(intent.stream), f"-{intent.id.hex()}"
    folders = tuple([f"{kind}{folder}/" for kind in (keys.SEGMENTS, keys.INDEX, keys.SNAPSHOTS)])
    return key.startswith(folders) and key.endswith(name)
