"""What applications hand in, as it is stored: events as rows of MessagePack, their data and metadata as JSON.

Rules:

* Event data keeps its kind: JSON is stored as a MessagePack string, bytes as MessagePack binary, nothing as nil.
* What JSON cannot express is refused, never changed: the encoder would write ``null`` for NaN and infinities, and two members of one
  name for the keys ``1`` and ``"1"`` of a dictionary, of which a reader finds one.
* What is written can be read, by any Python: text that is handed in as it is (``msgspec.Raw``) is decoded first; lists and mappings are
  nested ``MAX_NESTING`` deep at most, and whole numbers have ``MAX_DIGITS`` digits at most.
* Plain values (dictionaries with strings as keys, lists, strings, numbers) cannot go wrong in most of these ways. All events of an
  append are looked through together, level by level, to see that they are plain: that costs about as much as their encoding. What is
  not plain is decoded once, as a reader will do.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from itertools import chain
from typing import Any, Final
from uuid import UUID

import msgspec

from headstream import limits
from headstream.errors import InvalidInput
from headstream.model import Event
from headstream.nesting import has_long_number, is_deep_json
from headstream.protocol.codec import Row

_pack: Final = msgspec.msgpack.Encoder().encode


def encode_events(events: Sequence[Event]) -> bytes:
    """The events of one changeset as MessagePack; :class:`InvalidInput` for what cannot be stored."""
    rows = _plain_rows(events)
    if rows is None:
        rows = _careful_rows(events)
    packed = _pack(rows)
    if len(packed) > limits.MAX_CHANGESET:
        raise InvalidInput(
            f"the events have {len(packed)} bytes encoded; at most {limits.MAX_CHANGESET} are possible in one append"
        )
    if b"null" in packed:  # one look at all of them
        _check_finite(events, rows)
    return packed


def _plain_rows(events: Sequence[Event]) -> list[Row] | None:
    """The rows of events whose data and metadata are plain, all encoded together; ``None`` if one of them is not, or cannot be encoded."""
    data = [event.data for event in events]
    values = [value for value in data if value is not None and type(value) is not bytes]
    mappings = [event.metadata for event in events if event.metadata]
    if not _is_plain([*values, *mappings]):
        return None
    try:
        texts, more = _lines(values), _lines(mappings)
    except _NO_JSON:
        return None
    if max(map(len, chain(texts, more)), default=0) > limits.MAX_DIGITS and not _is_plain(
        [*values, *mappings], long=True
    ):
        return None
    if len(texts) < len(data):
        rest = iter(texts)
        texts = [value if value is None or type(value) is bytes else next(rest) for value in data]
    following = iter(more)
    return [
        (
            event.type,
            text,
            next(following) if event.metadata else None,
            event_id if (event_id := event.id) is None or type(event_id) is str else _text(event_id),
        )
        for event, text in zip(events, texts, strict=True)
    ]


def _lines(values: Sequence[Any]) -> list[Any]:
    """Each of several values as JSON. Strings in JSON have no line breaks."""
    return _to_json_lines(values).decode().split("\n")[:-1]


def _careful_rows(events: Sequence[Event]) -> list[Row]:
    """The rows of any events, one after the other, each of which is decoded as a reader will do."""
    rows: list[Row] = []
    for event in events:
        data, metadata = event.data, event.metadata
        what = "data"
        try:
            if data is not None and type(data) is not bytes:
                if isinstance(data, (bytes, bytearray, memoryview)):
                    data = bytes(data)
                else:
                    data = _legible(data, as_it_is=type(data) is msgspec.Raw)
            what = "metadata"
            text = _legible(dict(metadata), as_it_is=_is_text(metadata)) if metadata else None
        except _NO_JSON as error:
            raise _no_json(what, len(rows), event, error) from None
        rows.append((event.type, data, text, _text(event.id)))
    return rows


def _text(event_id: str | UUID | None) -> str | None:
    """An id as it is stored: that of an enum is its value, not its name."""
    if event_id is None or type(event_id) is str:
        return event_id
    return str(event_id) if isinstance(event_id, UUID) else str.__str__(event_id)


_NO_JSON: Final = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
"""What encoding raises for what it cannot express, and for what it does not know."""


def _no_json(what: str, number: int, event: Event, error: Exception) -> InvalidInput:
    if isinstance(error, RecursionError):
        error = ValueError(f"it holds itself, or is nested too deeply for the stack that is left here ({error})")
    return InvalidInput(f"the {what} of event {number} ({event.type!r}) is not JSON: {error}")


# --- whether it can be read ----------------------------------------------------------------------------------------

_LARGE: Final = 10**limits.MAX_DIGITS
_LEAVES: Final = frozenset({str, int, float, bool, type(None), datetime, date, time, timedelta, UUID, Decimal, bytes})
_LISTS: Final = frozenset({list, tuple})
_PLAIN: Final = frozenset({dict, *_LISTS, *_LEAVES})
_TEXT: Final = frozenset({str})


def _is_plain(values: Sequence[Any], *, long: bool = False) -> bool:
    """Whether values are made of nothing but dictionaries with strings as keys, lists, strings, numbers and times, not nested too deeply.

    ``long``: whether one of them has so long a text that a number in it may have too many digits.
    """
    types = set(map(type, values))
    for _ in range(limits.MAX_NESTING + 1):
        if not types <= _PLAIN:
            return False
        if long and int in types and not all(-_LARGE < value < _LARGE for value in values if type(value) is int):
            return False
        if types <= _LEAVES:
            return True
        dicts = values if len(types) == 1 and dict in types else [value for value in values if type(value) is dict]
        if not _TEXT.issuperset(map(type, chain.from_iterable(dicts))):
            return False
        lists = [value for value in values if type(value) in _LISTS] if types & _LISTS else []
        types = set(map(type, chain(chain.from_iterable(map(dict.values, dicts)), chain.from_iterable(lists))))
        if long or not types <= _LEAVES:
            values = [*chain.from_iterable(map(dict.values, dicts)), *chain.from_iterable(lists)]
    return False


def _legible(value: Any, *, as_it_is: bool = False) -> str:
    """A value as JSON. ``ValueError``, or what decoding raises, for what a reader could not decode; and for an object with two
    members of one name, unless it was handed in as text, which is stored ``as_it_is``.
    """
    text = _to_json(value).decode()
    _check_raw(value)
    if text.count("[") + text.count("{") > limits.MAX_NESTING and is_deep_json(text):
        raise ValueError(
            f"it is nested too deeply: {limits.MAX_NESTING} lists and mappings within each other are possible"
        )
    if len(text) > limits.MAX_DIGITS and has_long_number(text, limits.MAX_DIGITS):
        raise ValueError(f"it has a whole number of more than {limits.MAX_DIGITS} digits: hand it in as a string")
    if _to_json(_from_json(text)).decode() != text and not as_it_is:
        json.loads(text, object_pairs_hook=_check_names)
    return text


def _is_text(metadata: Mapping[str, Any]) -> bool:
    """Whether all values of a mapping were handed in as text."""
    return all(type(name) is str and type(value) is msgspec.Raw for name, value in metadata.items())


def _check_raw(value: Any) -> None:
    """What decoding raises for a text in ``value`` that is no JSON by itself, though it may become some among others."""
    if isinstance(value, msgspec.Raw):
        _from_json(value)
    elif names := getattr(type(value), "__struct_fields__", None) or getattr(type(value), "__dataclass_fields__", None):
        for name in names:
            _check_raw(getattr(value, name, None))
    elif isinstance(value, Mapping):
        for part in value.values():
            _check_raw(part)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for part in value:
            _check_raw(part)


def _check_names(members: list[tuple[str, Any]]) -> None:
    """``ValueError`` if two members of an object have one name."""
    if len(dict(members)) < len(members):
        raise ValueError(
            "two keys of one mapping are the same in JSON, such as 1 and '1': a reader would find one of them"
        )


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
    if isinstance(value, msgspec.Raw):  # to_builtins does not know it; an encoder does
        return _from_json(value)
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump(mode="json")
    raise TypeError(f"{type(value).__name__} is none of the types that msgspec encodes")


_from_json: Final = msgspec.json.Decoder().decode
_encoder: Final = msgspec.json.Encoder(enc_hook=_builtin)
_to_json: Final = _encoder.encode
_to_json_lines: Final = _encoder.encode_lines


def _has_nonfinite(value: object) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(map(_has_nonfinite, value.values()))
    return isinstance(value, (list, tuple, set, frozenset)) and any(map(_has_nonfinite, value))
