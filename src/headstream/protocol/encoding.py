"""What applications hand in, as it is stored: events as rows of MessagePack, their data and metadata as JSON.

Rules:

* Event data keeps its kind: JSON is stored as a MessagePack string, bytes as MessagePack binary, nothing as nil.
* What JSON cannot express is refused, never changed: the encoder would write ``null`` for NaN and infinities.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from headstream import limits
from headstream.errors import InvalidInput
from headstream.model import Event
from headstream.protocol.codec import Row

_pack: Final = msgspec.msgpack.Encoder().encode


def encode_events(events: Sequence[Event]) -> bytes:
    """The events of one changeset as MessagePack; :class:`InvalidInput` for what cannot be stored."""
    rows: list[Row] = []
    for event in events:  # in one piece: a call for each event would cost as much as its JSON
        data, metadata, event_id = event.data, event.metadata, event.id
        what = "data"
        try:
            if data is not None and type(data) is not bytes:
                data = bytes(data) if isinstance(data, (bytes, bytearray, memoryview)) else _to_json(data).decode()
            what = "metadata"
            text = _to_json(dict(metadata)).decode() if metadata else None
        except _NO_JSON as error:
            raise _no_json(what, len(rows), event, error) from None
        rows.append((event.type, data, text, None if event_id is None else str(event_id)))
    packed = _pack(rows)
    if len(packed) > limits.MAX_CHANGESET:
        raise InvalidInput(
            f"the events have {len(packed)} bytes encoded; at most {limits.MAX_CHANGESET} are possible in one append"
        )
    if b"null" in packed:  # one look at all of them
        _check_finite(events, rows)
    return packed


_NO_JSON: Final = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
"""What encoding raises for what it cannot express, and for what it does not know."""


def _no_json(what: str, number: int, event: Event, error: Exception) -> InvalidInput:
    return InvalidInput(f"the {what} of event {number} ({event.type!r}) is not JSON: {error}")


def _check_finite(events: Sequence[Event], rows: Sequence[Row]) -> None:
    """``null`` stands for ``None``, but for NaN and infinities too: :class:`InvalidInput` for those."""
    for number, (event, (_, data, text, _)) in enumerate(zip(events, rows, strict=True)):
        what = "data"
        try:
            if isinstance(data, str):
                _check_null(data, event.data)
            what = "metadata"
            if text is not None:
                _check_null(text, dict(event.metadata))
        except _NO_JSON as error:
            raise _no_json(what, number, event, error) from None


def encode_json(value: Any) -> bytes:
    """A value as JSON. Raises :class:`InvalidInput` for NaN and infinities, and what msgspec raises for what it does not know."""
    text = _to_json(value)
    if b"null" in text:
        _check_null(text.decode(), value)
    return text


def _check_null(text: str, value: object) -> None:
    """:class:`InvalidInput` for a value that has NaN or an infinity where its JSON has ``null``."""
    if "null" in text and _has_nonfinite(msgspec.to_builtins(value, enc_hook=_builtin)):
        raise InvalidInput("it holds NaN or an infinity, which JSON cannot express")


def _builtin(value: object) -> object:
    """What msgspec does not know by itself: pydantic models, and whatever else offers ``model_dump``."""
    if isinstance(value, msgspec.Raw):  # JSON text, whose nulls are its own
        return msgspec.json.decode(value)
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    raise TypeError(f"{type(value).__name__} is none of the types that msgspec encodes")


_to_json: Final = msgspec.json.Encoder(enc_hook=_builtin).encode


def _has_nonfinite(value: object) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(map(_has_nonfinite, value.values()))
    return isinstance(value, (list, tuple, set, frozenset)) and any(map(_has_nonfinite, value))
