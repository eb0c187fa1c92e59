"""Typed events: which class is which event type, and how old data becomes what a class expects today.

Rules:

* A type keeps its name for good. How its data is shaped is its *schema version*: 1, 2, 3 …, in the metadata of the event, where 1 is left out.
* Stored events never change. An upcaster makes the data of one schema version that of the next, whenever an old event is read.
* What an event is when it comes back is what it was: an instance is decoded again and compared, field by field,
  before it is appended.
* An event of a schema version that this program does not know yet is an error, whatever is done with unknown types: to skip it would be to
  decide without a fact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias, TypeVar, overload

import msgspec

from headstream import limits
from headstream.errors import InvalidInput
from headstream.kinds import Kind
from headstream.metadata import WithMetadata
from headstream.mistakes import no_event
from headstream.model import Event, RecordedEvent, check_text
from headstream.protocol import encoding

C = TypeVar("C")

SCHEMA_VERSION: Final = "schema_version"
"""The name in an event's metadata of the version that its data has; absent for version 1."""

Unknown: TypeAlias = Literal["raise", "skip", "keep"]
"""What to do with an event whose type is not registered."""
Upcaster: TypeAlias = Callable[[Any], Any]
"""Makes data of one schema version that of the next: JSON values in, anything that msgspec encodes as JSON out."""

_UNKNOWN: Final = ("raise", "skip", "keep")
_rows: Final = msgspec.msgpack.Decoder(list[tuple[str, Any, str | None, str | None]]).decode


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
        self._by_class: dict[type, Kind] = {}
        self._by_name: dict[str, Kind] = {}
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
        kind = Kind(cls, name, upcasters, encode, decode)
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

        ``event`` may be a :class:`WithMetadata`: what that says goes before ``metadata``.

        Raises :class:`InvalidInput` for an instance of another class, of a subclass too; and for one that would
        come back as another value.
        """
        made = self.prepare(event, metadata)
        ((name, payload, text, event_id),) = _rows(encoding.encode_events((made,)))
        stored = RecordedEvent("", 1, name, payload, text, event_id, bytes(16), 0)
        (again,) = self.reread((stored,))
        self.compare(event, again, payload)
        return made

    def prepare(self, event: object, metadata: Mapping[str, Any] | None = None) -> Event:
        """The same, for a caller who does the comparison. Raises :class:`InvalidInput`."""
        event_id = None
        if isinstance(event, WithMetadata):
            metadata = {**(metadata or {}), **event.metadata}
            event_id, event = event.id, event.event
        kind = self._by_class.get(type(event))
        if kind is None:
            raise InvalidInput(self._unregistered(event))
        metadata = metadata or {}
        if SCHEMA_VERSION in metadata:
            raise InvalidInput(f"{SCHEMA_VERSION!r} in the metadata is headstream's own; choose another name")
        if kind.version > 1:
            metadata = {**metadata, SCHEMA_VERSION: kind.version}
        return Event(kind.name, kind.encode(event), metadata, event_id)

    def reread(self, stored: Iterable[RecordedEvent]) -> list[Any]:
        """The instances of events to be appended. Raises :class:`InvalidInput` for one that no load could read."""
        try:
            return list(map(self.decode, stored))
        except InvalidInput as error:
            details = {name: value for name, value in error.details.items() if name not in {"stream", "version"}}
            why = f"nothing was appended, for it could not be loaded: {error.message}"
            raise InvalidInput(why, **details) from error.__cause__

    def compare(self, event: object, again: object, payload: str | bytes | None) -> None:
        """:class:`InvalidInput` if an instance, or a :class:`WithMetadata`, comes back from its payload as another value."""
        before = event.event if isinstance(event, WithMetadata) else event
        self._by_class[type(before)].check(before, again, payload)

    def _unregistered(self, event: object) -> str:
        kind = type(event)
        if isinstance(event, type):
            return f"no event is {no_event(event)}"
        parents = [parent.__name__ for parent in kind.__mro__[1:] if parent in self._by_class]
        if parents:
            return (
                f"no event type is registered for {kind.__name__}, a subclass of {parents[0]}, as which it would come back: "
                "register the class"
            )
        return f"no event type is registered for {kind.__name__}: register the class"

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


def _names(formerly: Iterable[str]) -> tuple[str, ...]:
    return (formerly,) if isinstance(formerly, str) else tuple(formerly)


def _version(event: RecordedEvent, kind: Kind) -> int:
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
