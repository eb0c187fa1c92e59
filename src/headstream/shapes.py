"""What a type is made of, as a number: so that a change of it is noticed. No I/O.

The same type has the same number in every process and version of Python. A change of its fields, their names,
their types or what they must be changes it; its docstring, its defaults and the name of its module do not.
"""

from __future__ import annotations

import hashlib
from typing import Any, Final

import msgspec

SIZE: Final = 8
"""Bytes of a fingerprint."""

_PROSE: Final = frozenset(["title", "description", "default", "examples", "deprecated"])
"""What a JSON schema says beside the shape."""
_NAMED: Final = frozenset(["properties", "$defs", "patternProperties"])
"""Where a JSON schema has names of the application's as keys."""


def fingerprint(kind: Any) -> bytes:
    """:data:`SIZE` bytes that stand for what a type is made of. Raises what msgspec or pydantic raises."""
    schema = getattr(kind, "model_json_schema", None)
    shape = _bare(schema()) if callable(schema) else _outline(msgspec.inspect.type_info(kind), [])
    return hashlib.sha256(msgspec.json.encode(shape, order="deterministic")).digest()[:SIZE]


def _bare(schema: Any, *, names: bool = False) -> Any:
    """A JSON schema without prose. ``names``: its keys are names of fields, none of which is prose."""
    if isinstance(schema, dict):
        return {
            key: _bare(value, names=key in _NAMED and not names)
            for key, value in schema.items()
            if names or key not in _PROSE
        }
    return [_bare(item) for item in schema] if isinstance(schema, list) else schema


def _outline(found: Any, around: list[type]) -> Any:
    """What msgspec knows of a type. ``around``: the classes that it is a part of, which it may have as a part again."""
    if isinstance(found, tuple | list):
        return [_outline(part, around) for part in found]
    if isinstance(found, msgspec.inspect.Metadata):
        return _outline(found.type, around)
    if isinstance(found, msgspec.inspect.EnumType):
        return ["enum", sorted([repr(member.value) for member in found.cls])]
    if isinstance(found, msgspec.inspect.Field):
        return [found.encode_name, found.required, _outline(found.type, around)]
    if not isinstance(found, msgspec.Struct):
        return (
            found if isinstance(found, str | int | float | bool | None) else getattr(found, "__qualname__", repr(found))
        )
    cls = getattr(found, "cls", None)
    if cls in around:
        return ["again", around.index(cls)]
    inside = [*around, cls] if isinstance(cls, type) else around
    parts = [_outline(getattr(found, name), inside) for name in found.__struct_fields__ if name != "cls"]
    unknown = found.cls.__qualname__ if isinstance(found, msgspec.inspect.CustomType) else None
    return [type(found).__name__, unknown, *parts]
