"""JSON text as it was given and as it is stored: it is passed through, never decoded and encoded again.

So numbers longer than a double, ``1.10``, repeated names and escapes stay what they are, in both directions. Only whitespace between
tokens is left out. Text is decoded once, to find out whether it can be: what the library cannot read is not appended.
"""

from __future__ import annotations

import codecs
import json
from typing import Final

import msgspec

from headstream.errors import InvalidInput
from headstream.model import RecordedEvent

NOT_JSON: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding raises."""
_decoded: Final = msgspec.json.Decoder().decode
_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encoded: Final = msgspec.json.Encoder().encode
_UTF_16: Final = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def without_mark(text: bytes, what: str) -> bytes:
    """The beginning of an input without its byte-order mark; :class:`InvalidInput` if it is UTF-16 or UTF-32."""
    if text.startswith(codecs.BOM_UTF8):
        return text[len(codecs.BOM_UTF8) :]
    if text.startswith(_UTF_16) or b"\0" in text[:4]:
        raise InvalidInput(f"{what} is UTF-16 or UTF-32, not UTF-8: save it as UTF-8, and try again")
    return text


def compact(text: bytes) -> bytes:
    """JSON text without whitespace between its tokens. Raises :data:`NOT_JSON`."""
    _decoded(text)
    return msgspec.json.format(text, indent=-1)


def check(event: RecordedEvent) -> None:
    """:class:`~headstream.CorruptData` for an event with text that is not JSON."""
    _ = event.data, event.metadata


def spaced(text: str) -> str:
    """JSON text on one line, with a blank after each comma and colon between tokens."""
    return msgspec.json.format(text, indent=0)


def line(text: str) -> msgspec.Raw:
    """Stored JSON text as a part of a line of output. A line break can only stand between tokens."""
    if "\n" in text or "\r" in text:
        text = msgspec.json.format(text, indent=-1)
    return msgspec.Raw(text.encode())


def data(text: bytes) -> msgspec.Raw | None:
    """Compact JSON text as an event's data."""
    return None if text == b"null" else msgspec.Raw(text)


def members(text: bytes, what: str) -> dict[str, msgspec.Raw]:
    """The members of an object, given as compact JSON text; :class:`InvalidInput` for none, or for a name that it has twice."""
    if not text.startswith(b"{"):
        raise InvalidInput(f"{what} is no JSON object")
    found = _object(text)
    if _encoded(found) != text:  # a name that is written with escapes, or one that comes again
        seen: set[str] = set()
        for name, _ in json.loads(text, object_pairs_hook=list, parse_int=str, parse_float=str):
            if name in seen:
                raise InvalidInput(f"{what} has the name {name!r} twice")
            seen.add(name)
    return found
