"""Whether a value came back as what it was, once it was encoded and decoded. No I/O.

Rules:

1. ``==`` does not say so: a time in a named zone is not equal to itself in another zone during one hour a year,
   and instances of two classes may be equal.
2. Neither do equal encodings: ``SecretStr`` is stars before and after, a tuple without a declared type is a
   list both times, a field that is excluded is in neither. So both values are walked together: their classes,
   every field that the classes declare, and every item.
3. Times are compared by their text, with the offset: the name of a zone is in no encoding, and does not count.
4. A number or text that came back as the plain type that was declared, and is equal, is the same: 5 where a
   float is declared, an enum's member where a string is.
5. A value without fields and with a ``==`` of its own decides for itself. One without cannot be compared, and
   is believed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from itertools import chain
from operator import attrgetter
from typing import Any, Final, TypeAlias, cast
from uuid import UUID

import msgspec

Difference: TypeAlias = list[str]
"""What is different, and then where that is: from the inside out."""
_Comparison: TypeAlias = Callable[[Any, Any], Difference | None]

_PLAIN: Final = frozenset([str, int, bool, float, bytes, type(None), date, timedelta, UUID])
"""Types for whose own instances ``==`` does say it."""
_ABSENT: Final = object()


def difference(before: object, after: object) -> Difference | None:
    """How ``after`` is another value than ``before``; ``None`` if it is the same.

    Raises what a comparison of the application's raises.
    """
    kind: Any = type(after)
    if type(before) is not kind:
        return None if _is_declared(before, after, kind) else [f"{kind.__name__}, not {type(before).__name__}"]
    if kind in _PLAIN:
        return None if before == after else _another(kind)
    return _comparison(cast("Hashable", kind))(before, after)


def described(found: Difference) -> str:
    """How it came back, for an error: names of fields and classes, and no value. A key of a dictionary may be one."""
    what, *places = found
    where = "".join(reversed(places)).removeprefix(".")
    return f"with {where!r} as {what}" if where else f"as {what}"


def field_names(kind: Any) -> tuple[str, ...] | None:
    """The fields of a Struct, a dataclass, an attrs class, a pydantic model or a named tuple; else ``None``."""
    if issubclass(kind, msgspec.Struct):
        return tuple(kind.__struct_fields__)
    if isinstance(found := getattr(kind, "model_fields", None), dict):
        return tuple(found)
    if dataclasses.is_dataclass(kind):
        return tuple([field.name for field in dataclasses.fields(kind)])
    if (attributes := getattr(kind, "__attrs_attrs__", None)) is not None:
        return tuple([attribute.name for attribute in attributes])
    return tuple(kind._fields) if issubclass(kind, tuple) and hasattr(kind, "_fields") else None


def _another(kind: type) -> Difference:
    return [f"another {kind.__name__}"]


def _is_declared(before: object, after: object, kind: type) -> bool:
    """Rule 4."""
    if isinstance(before, bool):
        return False
    if kind is float or kind is Decimal:
        return isinstance(before, int | kind) and before == after
    if kind is datetime:
        return isinstance(before, datetime) and _same_text(before, after) is None
    return (kind is str or kind is int) and isinstance(before, kind) and before == after


@lru_cache(maxsize=4096)
def _comparison(kind: Any) -> _Comparison:
    """How two instances of a class that is not plain are compared."""
    names = field_names(kind)
    if names is not None:
        return _of_fields(kind, names)
    if issubclass(kind, datetime | time):
        return _same_text
    for base, compare in _OF_BASES:
        if issubclass(kind, base):
            return compare
    return _believed if kind.__eq__ is object.__eq__ else _equal


def _of_fields(kind: Any, names: tuple[str, ...]) -> _Comparison:
    """The comparison of instances with these fields."""
    values: Callable[[Any], tuple[Any, ...]] = attrgetter(*names) if len(names) > 1 else _values(names)

    def compare(before: Any, after: Any) -> Difference | None:
        try:
            olds, news = values(before), values(after)
        except AttributeError:  # a field that was never given a value
            olds, news = _values(names)(before), _values(names)(after)
        return _each(olds, news, lambda number: f".{names[number]}")

    def compare_extra(before: Any, after: Any) -> Difference | None:
        found = compare(before, after)
        if found is None and (before.__pydantic_extra__ or after.__pydantic_extra__):
            return difference(before.__pydantic_extra__, after.__pydantic_extra__)
        return found

    return compare_extra if hasattr(kind, "__pydantic_extra__") else compare


def _values(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    return lambda value: tuple([getattr(value, name, _ABSENT) for name in names])


def _each(olds: Sequence[Any], news: Sequence[Any], place: Callable[[int], str]) -> Difference | None:
    """The first difference of values that belong together. Most have none: that is seen for all at once."""
    kinds = list(map(type, news))
    if kinds == list(map(type, olds)) and _are_same(kinds, olds, news):
        return None
    for number, (old, new) in enumerate(zip(olds, news, strict=True)):
        if (found := difference(old, new)) is not None:
            return [*found, place(number)]
    return None


def _are_same(kinds: list[Any], olds: Sequence[Any], news: Sequence[Any]) -> bool:
    """Whether values of the same classes are the same, if that can be told without a look at each."""
    if _PLAIN.issuperset(kinds):
        return olds == news
    values = _together(kinds[0]) if len(kinds) > 1 and kinds.count(kinds[0]) == len(kinds) else None
    if values is None:
        return False
    try:  # all fields of all of them, as one list
        olds, news = list(chain.from_iterable(map(values, olds))), list(chain.from_iterable(map(values, news)))
    except AttributeError:  # a field that was never given a value
        return False
    return _each(olds, news, str) is None


@lru_cache(maxsize=4096)
def _together(kind: Any) -> Callable[[Any], tuple[Any, ...]] | None:
    """What gives the fields of an instance, for a class that has several and nothing beside them."""
    names = field_names(kind)
    if names is None or len(names) < 2 or hasattr(kind, "__pydantic_extra__"):
        return None
    return attrgetter(*names)


def _same_text(before: Any, after: Any) -> Difference | None:
    return None if before.isoformat() == after.isoformat() else _another(type(after))


def _same_decimal(before: Decimal, after: Decimal) -> Difference | None:
    return None if before.as_tuple() == after.as_tuple() else _another(type(after))


def _same_items(before: Sequence[Any], after: Sequence[Any]) -> Difference | None:
    if len(before) != len(after):
        return _another(type(after))
    return _each(before, after, lambda number: f"[{number}]")


def _same_mapping(before: Mapping[Any, Any], after: Mapping[Any, Any]) -> Difference | None:
    if len(before) != len(after):
        return _another(type(after))
    for (key, old), (same, new) in zip(before.items(), after.items(), strict=True):
        if difference(key, same) is not None:  # in another order, perhaps
            if key not in after:
                return ["a mapping with other keys"]
            new = after[key]  # noqa: PLW2901 - it was not the one
        if (found := difference(old, new)) is not None:
            return [*found, "[…]"]
    return None


def _same_set(before: Iterable[Any], after: Iterable[Any]) -> Difference | None:
    if before == after or sorted(map(_text, before)) == sorted(map(_text, after)):
        return None
    return _another(type(after))


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime | time) else repr(value)


def _equal(before: object, after: object) -> Difference | None:
    return None if bool(before == after) else _another(type(after))


def _believed(_before: object, _after: object) -> None:
    return None


_OF_BASES: Final[tuple[tuple[Any, _Comparison], ...]] = (
    (Decimal, _same_decimal),
    ((str, int, float, bytes), _equal),
    ((list, tuple), _same_items),
    (Mapping, _same_mapping),
    ((set, frozenset), _same_set),
)
