"""Typed events: which class is which event type, and how old data becomes what a class expects today.

Rules:

* A type keeps its name for good. How its data is shaped is its *schema version*: 1, 2, 3 …, in the metadata of the event, where 1 is left out.
* Stored events never change. An upcaster makes the data of one schema version that of the next, whenever an old event is read.
* An event of a schema version that this program does not know yet is an error, whatever is done with unknown types: to skip it would be to
  decide without a fact.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import cached_property
from typing import Any, Final, Literal, TypeAlias, TypeVar, overload

import msgspec

from headstream import limits
from headstream.errors import InvalidInput
from headstream.model import Event, RecordedEvent, check_text

C = TypeVar("C")

SCHEMA_VERSION: Final = "schema_version"
"""The name in an event's metadata of the version that its data has; absent for version 1."""

Unknown: TypeAlias = Literal["raise", "skip", "keep"]
"""What to do with an event whose type is not registered."""
Upcaster: TypeAlias = Callable[[Any], Any]
"""Makes data of one schema version that of the next: JSON values in, anything that msgspec encodes as JSON out."""

_UNKNOWN: Final = ("raise", "skip", "keep")


class Registry:
    """Which class stands for which event type.

    ``classes`` are registered by their own names, as :meth:`register` does: dataclasses, msgspec Structs, attrs classes, named tuples and pydantic
    models as they are, any other class with functions of its own. ``unknown`` says what :meth:`decode` does with an event whose
    type nobody registered: ``"raise"`` :class:`InvalidInput`, ``"skip"`` it, or ``"keep"`` it as the :class:`RecordedEvent` that it is.

    Register when the program starts; afterwards the registry is safe to use from several threads.

    Raises :class:`InvalidInput`.
    """

    def __init__(self, *classes: type, unknown: Unknown = "raise") -> None:
        if unknown not in _UNKNOWN:
            raise InvalidInput(f"unknown is one of {', '.join(map(repr, _UNKNOWN))}, not {unknown!r}")
        self.unknown: Unknown = unknown
        self._by_class: dict[type, _Kind] = {}
        self._by_name: dict[str, _Kind] = {}
        for cls in classes:
            self.register(cls)

    @overload
    def register(
        self,
        cls: type[C],
        /,
        *,
        name: str | None = None,
        formerly: Iterable[str] = (),
        upcasters: Iterable[Upcaster] = (),
        encode: Callable[[C], Any] | None = None,
        decode: Callable[[Any], C] | None = None,
    ) -> type[C]: ...

    @overload
    def register(
        self,
        /,
        *,
        name: str | None = None,
        formerly: Iterable[str] = (),
        upcasters: Iterable[Upcaster] = (),
        encode: Callable[[Any], Any] | None = None,
        decode: Callable[[Any], Any] | None = None,
    ) -> Callable[[type[C]], type[C]]: ...

    def register(
        self,
        cls: type[Any] | None = None,
        /,
        *,
        name: str | None = None,
        formerly: Iterable[str] = (),
        upcasters: Iterable[Upcaster] = (),
        encode: Callable[[Any], Any] | None = None,
        decode: Callable[[Any], Any] | None = None,
    ) -> Any:
        """Let a class stand for an event type; as a decorator, above ``@dataclass``, or called with the class.

        ``name``: the event type, if it is not the name of the class. ``formerly``: names that it had before, which are still read.

        ``upcasters``: one for each change of the data, oldest first: the first makes version 1 version 2, and so on. So the class has the version after the
        last of them; never remove one.

        ``encode`` and ``decode``: for a class that msgspec and pydantic do not know. ``encode`` makes of an instance JSON values, or ``bytes``; ``decode``
        makes an instance of them.

        Raises :class:`InvalidInput`, also for a class or a name that is registered already.
        """
        if cls is None:
            return lambda found: self.register(
                found, name=name, formerly=formerly, upcasters=upcasters, encode=encode, decode=decode
            )
        kind = _Kind(cls, name, upcasters, encode, decode)
        names = (kind.name, *_names(formerly))
        if cls in self._by_class:
            raise InvalidInput(f"{cls.__name__} is registered already, as {self._by_class[cls].name!r}")
        for one in names:
            check_text("an event's type", one, limits.MAX_TYPE)
            if one in self._by_name or names.count(one) > 1:
                raise InvalidInput(f"the event type {one!r} is registered already: a type has one class")
        self._by_class[cls] = kind
        self._by_name.update(dict.fromkeys(names, kind))
        return cls

    @property
    def types(self) -> tuple[str, ...]:
        """The event types that are registered, former names among them: what ``subscribe(types=…)`` takes."""
        return tuple(self._by_name)

    def __contains__(self, cls: object) -> bool:
        return cls in self._by_class

    def encode(self, event: object, metadata: Mapping[str, Any] | None = None) -> Event:
        """The event to append for an instance of a registered class, with this metadata and its schema version.

        Raises :class:`InvalidInput` for an instance of another class, of a subclass too: it would not come back as what it is.
        """
        kind = self._by_class.get(type(event))
        if kind is None:
            raise InvalidInput(f"no event type is registered for {type(event).__name__}: register the class")
        metadata = metadata or {}
        if SCHEMA_VERSION in metadata:
            raise InvalidInput(f"{SCHEMA_VERSION!r} in the metadata is headstream's own; choose another name")
        if kind.version > 1:
            metadata = {**metadata, SCHEMA_VERSION: kind.version}
        return Event(kind.name, event if kind.encode is None else kind.encode(event), metadata)

    def decode(self, event: RecordedEvent) -> Any:
        """The instance that a recorded event stands for; an old one in today's form.

        For a type that is not registered it is ``None`` with ``unknown="skip"``, and the event itself with ``"keep"``.

        Raises :class:`InvalidInput` for an unknown type if so chosen, for a schema version that this program does not know, and for data that
        does not fit the class; the error of msgspec, pydantic or an upcaster is its cause.
        """
        kind = self._by_name.get(event.type)
        if kind is None:
            if self.unknown == "raise":
                raise _refused(
                    event, "its type is not registered: register a class for it, or choose unknown='skip' or 'keep'"
                )
            return event if self.unknown == "keep" else None
        version = _version(event, kind)
        try:
            return kind.instance(event.payload, version)
        except Exception as error:
            raise _refused(
                event, f"its data does not fit {kind.cls.__name__}: see the cause", schema_version=version
            ) from error

    def __repr__(self) -> str:
        return f"Registry({', '.join(cls.__name__ for cls in self._by_class)})"


class _Kind:
    """One class, and what its data is like."""

    def __init__(
        self,
        cls: type[Any],
        name: str | None,
        upcasters: Iterable[Upcaster],
        encode: Callable[[Any], Any] | None,
        decode: Callable[[Any], Any] | None,
    ) -> None:
        if not isinstance(cls, type):
            raise InvalidInput(f"a class is registered, not {cls!r}")
        if (encode is None) != (decode is None):
            raise InvalidInput("encode and decode go together: what one makes, the other must read")
        if encode is None and not _is_described(cls):
            raise InvalidInput(
                f"{cls.__name__} does not say what its fields are: make it a dataclass, a Struct or a pydantic model before it is"
                " registered, or give encode and decode"
            )
        self.cls = cls
        self.name = cls.__name__ if name is None else name
        self.upcasters = tuple(upcasters)
        self.version = len(self.upcasters) + 1
        self.encode = encode
        self.decode = decode

    def instance(self, payload: str | bytes | None, version: int) -> Any:
        """What ``payload``, of this schema version, stands for."""
        outdated = self.upcasters[version - 1 :]
        if self.decode is None and not outdated and isinstance(payload, str):
            return self._parse(payload)
        # Decoded here and not taken from the event, which remembers its data: an upcaster may change what it is given.
        data = msgspec.json.decode(payload) if isinstance(payload, str) else payload
        for upcast in outdated:
            data = upcast(data)
        if self.decode is not None:
            return self.decode(data)
        if isinstance(data, bytes):
            raise TypeError("it holds bytes, for which the class was registered without decode")
        return self._parse(msgspec.json.encode({} if data is None else data))

    @cached_property
    def _parse(self) -> Callable[[str | bytes], Any]:
        """Made when it is first needed: at its decoration a class is not yet known by its name, which its own fields may refer to."""
        if _is_pydantic(self.cls):
            parse: Callable[[str | bytes], Any] = self.cls.model_validate_json
            return parse
        return msgspec.json.Decoder(self.cls).decode


def _is_pydantic(cls: type[Any]) -> bool:
    return callable(getattr(cls, "model_validate_json", None))


def _is_described(cls: type[Any]) -> bool:
    return (
        issubclass(cls, msgspec.Struct)
        or dataclasses.is_dataclass(cls)
        or hasattr(cls, "__attrs_attrs__")
        or (issubclass(cls, tuple) and hasattr(cls, "_fields"))
        or _is_pydantic(cls)
    )


def _names(formerly: Iterable[str]) -> tuple[str, ...]:
    return (formerly,) if isinstance(formerly, str) else tuple(formerly)


def _version(event: RecordedEvent, kind: _Kind) -> int:
    if event.metadata_json is None:
        return 1
    version = event.metadata.get(SCHEMA_VERSION, 1)
    if type(version) is not int or version < 1:
        raise _refused(event, f"{SCHEMA_VERSION!r} in its metadata is not a version")
    if version > kind.version:
        raise _refused(
            event,
            f"this program knows {kind.cls.__name__} up to schema version {kind.version}: run the newer program that wrote it",
            schema_version=version,
        )
    return version


def _refused(event: RecordedEvent, why: str, **details: object) -> InvalidInput:
    return InvalidInput(
        f"the event cannot be decoded: {why}", stream=event.stream, version=event.version, type=event.type, **details
    )
