r"""The keys of a store's objects, and the escaping of stream names in them.

The escaping is made for five properties, each proved by a property test:

* reversible: two names never share a key;
* order-preserving: keys sort as the names do (by code point, which is the order of UTF-8 bytes);
* prefix-preserving: names that begin with P are just those whose keys begin with the key of P;
* contained: an escaped name has no slash, and is never ``.`` or ``..``;
* portable: it uses only ``A-Z a-z 0-9 ! - . = _ ~``, which every service, SDK, shell and file system leaves alone.

Letters, digits and ``-`` stand for themselves. Every other byte of the name's UTF-8 becomes a lead character and a code; the
lead is chosen so that it sorts where the byte does::

    00-2c  !00 … !2c        2e 2f  .2e .2f        3a-40  =3a … =40
    5b-60  _0 _1 _2 _3 __ _a   ( [ \ ] ^ _ ` )     7b-ff  ~7b … ~ff
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from headstream.errors import CorruptData

STORE: Final = "store.json"
HEADS: Final = "heads/"
SEGMENTS: Final = "segments/"
INDEX: Final = "index/"
SNAPSHOTS: Final = "snapshots/"
INBOX: Final = "inbox/"
CHECKPOINTS: Final = "checkpoints/"
PROBES: Final = "probes/"

FEED: Final = "$feed"
"""The stream of all events."""

_UNDERSCORES: Final = ("_0", "_1", "_2", "_3", "__", "_a")


def _code(byte: int) -> str:
    char = chr(byte)
    if char == "-" or (char.isascii() and char.isalnum()):
        return char
    if byte < 0x2D:
        return f"!{byte:02x}"
    if byte < 0x30:
        return f".{byte:02x}"
    if byte < 0x41:
        return f"={byte:02x}"
    if byte < 0x61:
        return _UNDERSCORES[byte - 0x5B]
    return f"~{byte:02x}"


_CODES: Final = tuple(_code(byte) for byte in range(256))
_BYTES: Final = {code: byte for byte, code in enumerate(_CODES)}
_CODE: Final = re.compile(r"_.|[!.=~]..|.", re.DOTALL)


@lru_cache(maxsize=4096)
def escape(name: str) -> str:
    """The part of a key that stands for the stream ``name``."""
    return "".join([_CODES[byte] for byte in name.encode()])


@lru_cache(maxsize=4096)
def unescape(escaped: str) -> str:
    """The name that :func:`escape` made ``escaped`` of; ``ValueError`` if it made it of none."""
    try:
        return bytes([_BYTES[code] for code in _CODE.findall(escaped)]).decode()
    except KeyError as error:
        raise ValueError(f"{error} is no code of an escaped name") from None


def head(stream: str) -> str:
    """The key of a stream's head."""
    return HEADS + escape(stream)


def stream_of_head(key: str) -> str:
    """The name of the stream whose head has this key."""
    try:
        return unescape(key.removeprefix(HEADS))
    except ValueError as error:
        raise CorruptData(f"an object that is no head lies among the heads: {error}", key=key) from None


def segment(stream: str, first: int, object_id: bytes) -> str:
    """The key of the segment that begins with version ``first``."""
    return f"{SEGMENTS}{escape(stream)}/{first:016d}-{object_id.hex()}"


def page(stream: str, level: int, first: int, object_id: bytes) -> str:
    """The key of the index page of ``level`` (1, 2, …) whose oldest reference begins with version ``first``."""
    return f"{INDEX}{escape(stream)}/{level}-{first:016d}-{object_id.hex()}"


def snapshot(stream: str, at: int, object_id: bytes) -> str:
    """The key of a snapshot of the stream at version ``at`` that is an object of its own."""
    return f"{SNAPSHOTS}{escape(stream)}/{at:016d}-{object_id.hex()}"


def intent(changeset_id: bytes, follows: int, stream: str) -> str:
    """The key of the intent that announces a changeset after version ``follows`` of a stream."""
    return f"{INBOX}{changeset_id.hex()}-{follows}-{escape(stream)}"


def checkpoint(name: str) -> str:
    """The key of the checkpoint that a worker of this name keeps."""
    return CHECKPOINTS + escape(name)


def probe(probe_id: bytes) -> str:
    """The key of the object by which a new store tests its storage."""
    return PROBES + probe_id.hex()
