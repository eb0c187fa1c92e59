"""Whether an append repeats an earlier one: the same events, whatever their metadata.

Rules:

1. Type, data and id of every event must be equal, and their number and order. Metadata may differ: a trace or a time is another at each try.
2. Data that is not JSON is compared byte by byte. JSON texts that differ are compared by value: the order of names in an object and the spaces between
   tokens mean nothing. Numbers are equal if they are exactly the same number (``1.10`` and ``1.1``), and are never equal to ``true``.
3. When in doubt, they are not the same: an error loses nothing, while a success would drop the events. So an object that has a name twice
   is equal only to one that has the same pairs in the same order; and texts that are nested too deeply to be compared are not equal.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import Any, Final

import msgspec

from headstream.protocol.codec import Row

_rows: Final = msgspec.msgpack.Decoder(list[Row]).decode


def is_same(stored: list[Row], rows: bytes) -> bool:
    """Whether the events of a changeset are those of ``rows``, which :func:`encoding.encode_events` made."""
    proposed = _rows(rows)
    return len(stored) == len(proposed) and all(map(_is_same_event, stored, proposed))


def _is_same_event(one: Row, other: Row) -> bool:
    (type_, data, _, event_id), (other_type, other_data, _, other_id) = one, other
    return type_ == other_type and event_id == other_id and _is_same_data(data, other_data)


def _is_same_data(one: str | bytes | None, other: str | bytes | None) -> bool:
    if one == other:
        return True
    try:
        return bool(_value(one) == _value(other))
    except (ValueError, InvalidOperation, RecursionError):  # rule 3
        return False


def _value(data: str | bytes | None) -> Any:
    """What data says; bytes and nothing say themselves."""
    if not isinstance(data, str):
        return data
    return json.loads(data, object_pairs_hook=_object, parse_float=_number, parse_int=_number)


def _object(pairs: list[tuple[str, Any]]) -> Any:
    named = dict(pairs)
    return named if len(named) == len(pairs) else tuple(pairs)


def _number(text: str) -> tuple[str, Decimal]:
    """A number as nothing else that JSON has is: a tuple, so that 1 is not true."""
    return "number", Decimal(text)
