"""What applications hand in, as it is stored: events as rows of MessagePack, their data and metadata as JSON.

Rules:

* Event data keeps its kind: JSON is stored as a MessagePack string, bytes as MessagePack binary, nothing as nil.
* What JSON cannot express is refused, never changed: the encoder would write ``null`` for NaN and infinities, and two members of one
  name for the keys ``1`` and ``"1"`` of a dictionary, of which a reader finds one.
* What is written can be read, by any Python: text that is handed in as it is (``msgspec.Raw``) is decoded first; lists and mappings are
  nested ``MAX_NESTING`` deep at most, and whole numbers have ``MAX_DIGITS`` digits at most.
* Plain values (dictionaries with strings as keys, lists, strings, numbers) cannot go wrong in most of these ways. The values of an
  append are encoded, then looked through together, level by level, to see that they are plain: that costs one to three times as
  much as their encoding. What is not plain is decoded once, as a reader will do.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec

from headstream import limits
from headstream.errors import InvalidInput
from headstream.model import Event
from headstream.nesting import has_long_number, is_deep_json, may_have_long_number
from headstream.protocol.codec import Row

_pack: Final = msgspec.msgpack.Encoder().encode


def encode_events(events: Sequence[Event]) -> bytes:
    """The events of one changeset as MessagePack; :class:`InvalidInput` for what cannot be stored."""
    rows: list[Row] = []
    values = []
    for event in events:  # in one piece: a call for each event would cost as much as its JSON
        data, metadata, event_id = event.data, event.metadata, event.id
        what, text = "data", None
        try:
            if data is not None and type(data) is not bytes:
                if isinstance(data, (bytes, bytearray, memoryview)):
                    data = bytes(data)
                else:
                    values.append(data)
                    data = _to_json(data).decode()
            if metadata:
                what = "metadata"
                values.append(mapping := dict(metadata))
                text = _to_json(mapping).decode()
        except _NO_JSON as error:
            raise _no_json(what, len(rows), event, error) from None
        if event_id is not None and type(event_id) is not str:  # that of an enum is its value, not its name
            event_id = str(event_id) if isinstance(event_id, UUID) else str.__str__(event_id)
        rows.append((event.type, data, text, event_id))
    packed = _pack(rows)
    if len(packed) > limits.MAX_CHANGESET:
        raise InvalidInput(
            f"the events have {len(packed)} bytes encoded; at most {limits.MAX_CHANGESET} are possible in one append"
        )
    _check(events, rows, values, packed)
    return packed


def _check(events: Sequence[Event], rows: Sequence[Row], values: Sequence[Any], packed: bytes) -> None:
    """One look at all of them, at what may be wrong; and at each of them, if that finds something."""
    if len(packed) > limits.MAX_DIGITS and may_have_long_number(packed, limits.MAX_DIGITS):
        _check_each(_check_digits, events, rows)
    if not _is_plain(values):
        _check_each(_check_legible, events, rows)
    if b"null" in packed:
        _check_each(_check_null, events, rows)


def _check_each(check: Callable[[str, Any, bool], None], events: Sequence[Event], rows: Sequence[Row]) -> None:
    """Call ``check`` with each text of JSON, the value that it was made of, and whether that was handed in as text;
    :class:`InvalidInput` for what it refuses.
    """
    for number, (event, (_, data, text, _)) in enumerate(zip(events, rows, strict=True)):
        what = "data"
        try:
            if isinstance(data, str):
                check(data, event.data, type(event.data) is msgspec.Raw)
            what = "metadata"
            if text is not None:
                check(text, dict(event.metadata), _is_text(event.metadata))
        except _NO_JSON as error:
            raise _no_json(what, number, event, error) from None


_NO_JSON: Final = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
"""What encoding raises for what it cannot express, and for what it does not know."""


def _no_json(what: str, number: int, event: Event, error: Exception) -> InvalidInput:
    if isinstance(error, RecursionError):
        error = ValueError(f"it holds itself, or is nested too deeply for the stack that is left here ({error})")
    return InvalidInput(f"the {what} of event {number} ({event.type!r}) is not JSON: {error}")


# --- whether it can be read ----------------------------------------------------------------------------------------

_LEAVES: Final = frozenset({str, int, float, bool, type(None), date, timedelta, UUID, Decimal, bytes})
_TIMES: Final = frozenset({datetime, time})
_LISTS: Final = frozenset({list, tuple})


def _is_plain(values: Sequence[Any]) -> bool:
    """Whether values are made of nothing but dictionaries with strings as keys, lists, strings, numbers and times, not nested too deeply.

    They must have been encoded before: what holds itself twice would be looked through for ever.
    """
    level: Sequence[Any] | None = values
    for _ in range(limits.MAX_NESTING):
        if not level:
            break
        level = _below(level)
    return level is not None and not level


def _below(level: Sequence[Any]) -> list[Any] | None:
    """What is within some values and has to be looked at in turn; ``None`` if one of them is not plain."""
    below: list[Any] = []
    for part in level:
        kind = type(part)
        if kind is dict:
            for name, member in part.items():
                if type(name) is not str:
                    return None
                if type(member) not in _LEAVES:
                    below.append(member)
        elif kind in _LISTS:
            if not _LEAVES.issuperset(map(type, part)):
                below += part
        elif kind not in _LEAVES and (kind not in _TIMES or _has_odd_offset(part)):
            return None
    return below


def _has_odd_offset(moment: datetime | time) -> bool:
    """Whether the offset of a time has seconds, which the encoder would cut off: an older one of a named zone, for example."""
    offset = moment.utcoffset() if moment.tzinfo is not None else None
    return offset is not None and offset % timedelta(minutes=1) != timedelta(0)


def _check_digits(text: str, *_: object) -> None:
    """``ValueError`` for a number that not every Python reads."""
    if has_long_number(text, limits.MAX_DIGITS):
        raise ValueError(f"it has a whole number of more than {limits.MAX_DIGITS} digits: hand it in as a string")


def _check_legible(text: str, value: object, as_it_is: bool) -> None:
    """``ValueError``, or what decoding raises, for what a reader could not decode; and for an object with two members of one
    name, unless it was handed in as text, which is stored ``as_it_is``.
    """
    _check_parts(value)
    if text.count("[") + text.count("{") > limits.MAX_NESTING and is_deep_json(text):
        raise ValueError(
            f"it is nested too deeply: {limits.MAX_NESTING} lists and mappings within each other are possible"
        )
    if _to_json(_from_json(text)).decode() != text and not as_it_is:
        json.loads(text, object_pairs_hook=_check_names)


def _is_text(metadata: Mapping[str, Any]) -> bool:
    """Whether all values of a mapping were handed in as text."""
    return all(type(name) is str and type(value) is msgspec.Raw for name, value in metadata.items())


def _check_parts(value: Any) -> None:
    """What decoding raises for a text in ``value`` that is no JSON by itself, though it may become some among others;
    ``ValueError`` for a time that would be cut.
    """
    if isinstance(value, msgspec.Raw):
        _from_json(value)
    elif isinstance(value, (datetime, time)):
        if _has_odd_offset(value):
            raise ValueError(
                "the offset of a time from UTC has seconds, which JSON does not keep: convert it to UTC first"
            )
    elif names := getattr(type(value), "__struct_fields__", None) or getattr(type(value), "__dataclass_fields__", None):
        for name in names:
            _check_parts(getattr(value, name, None))
    elif isinstance(value, Mapping):
        for part in value.values():
            _check_parts(part)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for part in value:
            _check_parts(part)


def _check_names(members: list[tuple[str, Any]]) -> None:
    """``ValueError`` if two members of an object have one name."""
    if len(dict(members)) < len(members):
        raise ValueError(
            "two keys of one mapping are the same in JSON, such as 1 and '1': a reader would find one of them"
        )


def encode_json(value: Any) -> bytes:
    """A value as JSON. Raises :class:`InvalidInput` for NaN and infinities, and what msgspec raises for what it does not know."""
    text = _to_json(value)
    if b"null" in text:
        _check_null(text.decode(), value)
    return text


def _check_null(text: str, value: object, *_: object) -> None:
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
_to_json: Final = msgspec.json.Encoder(enc_hook=_builtin).encode


def _has_nonfinite(value: object) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, Mapping):
        return any(map(_has_nonfinite, value.values()))
    return isinstance(value, (list, tuple, set, frozenset)) and any(map(_has_nonfinite, value))
