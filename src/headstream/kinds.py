"""One class of typed events: how an instance becomes data, and data an instance. No I/O.

Rules:

* A model is encoded by the names that it reads: pydantic has one for each direction. What it computes is left
  out where it would refuse it.
* What can be known of a class is said when it is registered. The rest is seen when an instance is encoded: what
  would come back as another value is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cached_property
from typing import Any

import msgspec

from headstream.errors import InvalidInput
from headstream.fidelity import described, difference, field_names
from headstream.model import Event, RecordedEvent
from headstream.protocol import encoding


class Kind:
    """One class, and what its data is like. Raises :class:`InvalidInput` for a class that cannot be one of events."""

    def __init__(
        self,
        cls: type[Any],
        name: str | None,
        upcasters: Iterable[Callable[[Any], Any]],
        encode: Callable[[Any], Any] | None,
        decode: Callable[[Any], Any] | None,
    ) -> None:
        _check_class(cls)
        if (encode is None) != (decode is None):
            raise InvalidInput("encode and decode go together: what one makes, the other must read")
        if encode is None and field_names(cls) is None:
            raise InvalidInput(
                f"{cls.__name__} does not say what its fields are: make it a dataclass, a Struct or a pydantic model before it is"
                " registered, or give encode and decode"
            )
        self.cls = cls
        self.name = cls.__name__ if name is None else name
        self.upcasters = tuple(upcasters)
        self.version = len(self.upcasters) + 1
        self.decode = decode
        self._given = encode
        if encode is None and getattr(cls, "__pydantic_complete__", True):
            # At its decoration a class is not yet known by its name, which its own fields may refer to: then it
            # is found when it is needed.
            with suppress(NameError, ImportError):
                self.__dict__["_coded"] = self._found()

    # --- there ------------------------------------------------------------------------------------------------------

    def encode(self, instance: Any) -> Any:
        """The data of an event for an instance. Raises what its function raises; :class:`InvalidInput` for a model."""
        if self._given is not None:
            return self._given(instance)
        options = self._coded[1]
        if options is None:
            return instance
        try:
            return instance.model_dump(mode="json", **options)
        except Exception as error:
            raise InvalidInput(
                f"an event of type {self.name!r} cannot be encoded: see the cause ({type(error).__name__})"
            ) from error

    def check(self, before: Any, after: Any, payload: str | bytes | None) -> None:
        """:class:`InvalidInput` if an instance came back as another value, by way of this payload."""
        try:
            found = difference(before, after)
        except Exception:  # noqa: BLE001 - whatever a comparison of the application's raises: then the data says it
            found = ["a value that cannot be compared"]
            if self._encoded(after) == payload:
                return
        if found is None:
            return
        raise InvalidInput(
            f"an event of type {self.name!r} cannot be appended: it would come back {described(found)}: declare each field by the exact "
            f"class of what it holds, exclude none, or register {self.cls.__name__} with encode and decode"
        )

    def _encoded(self, instance: Any) -> str | bytes | None:
        data = self.encode(instance)
        if data is None or isinstance(data, bytes):
            return data
        return encoding.encode_json(data).decode()

    # --- and back ---------------------------------------------------------------------------------------------------

    def instance(self, payload: str | bytes | None, version: int) -> Any:
        """What ``payload``, of this schema version, stands for."""
        outdated = self.upcasters[version - 1 :]
        if self.decode is None and not outdated and isinstance(payload, str):
            return self._coded[0](payload)
        # Decoded here and not taken from the event, which remembers its data: an upcaster may change what it is given.
        data = msgspec.json.decode(payload) if isinstance(payload, str) else payload
        for upcast in outdated:
            data = upcast(data)
        if self.decode is not None:
            return self.decode(data)
        if isinstance(data, bytes):
            raise TypeError("it holds bytes, for which the class was registered without decode")
        return self._coded[0](msgspec.json.encode({} if data is None else data))

    @cached_property
    def _coded(self) -> tuple[Callable[[str | bytes], Any], dict[str, Any] | None]:
        """What makes an instance of JSON; and how a pydantic model is dumped, if it is one."""
        try:
            return self._found()
        except Exception as error:
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput(
                f"{self.cls.__name__} has a field of a type that is not known where the class is defined: {error}"
            ) from error

    def _found(self) -> tuple[Callable[[str | bytes], Any], dict[str, Any] | None]:
        if _is_pydantic(self.cls):
            if not getattr(self.cls, "__pydantic_complete__", True):
                self.cls.model_rebuild()
            return self.cls.model_validate_json, _dumping(self.cls)
        try:
            return msgspec.json.Decoder(self.cls).decode, None
        except TypeError as error:
            raise InvalidInput(
                f"msgspec cannot decode {self.cls.__name__}: {error}: change the class, or give encode and decode"
            ) from error


def _check_class(cls: object) -> None:
    if not isinstance(cls, type):
        remedy = {
            "list": ": Registry(First, Second)",
            "tuple": ": Registry(First, Second)",
            "UnionType": ": register each class of it",
            "_UnionGenericAlias": ": register each class of it",
            "_GenericAlias": ": make a subclass of it, and register that",
            "GenericAlias": ": make a class with a field of it, and register that",
        }.get(type(cls).__name__, "")
        raise InvalidInput(f"a class is registered, not {cls!r}{remedy}")
    if issubclass(cls, Event | RecordedEvent):
        raise InvalidInput(f"{cls.__name__} is headstream's own: register the classes that your events have")
    if getattr(cls, "_is_protocol", False):
        raise InvalidInput(
            f"{cls.__name__} is a Protocol, which no stored event has: register the classes that follow it"
        )
    if inspect.isabstract(cls):
        raise InvalidInput(f"{cls.__name__} is abstract and has no instances: register its subclasses")


def _is_pydantic(cls: type[Any]) -> bool:
    return callable(getattr(cls, "model_validate_json", None))


# --- pydantic -------------------------------------------------------------------------------------------------------


def _dumping(cls: Any) -> dict[str, Any]:
    """The options of ``model_dump`` that make what the model reads again; :class:`InvalidInput` if none do."""
    written, read = {}, {}
    config = cls.model_config
    by_alias = config.get("validate_by_alias", True) is not False
    by_name = config.get("populate_by_name", False) or config.get("validate_by_name", False)
    for name, field in cls.model_fields.items():
        if field.exclude and field.is_required():
            raise InvalidInput(
                f"the field {name!r} of {cls.__name__} is excluded from what is stored, and has no default: no event could be read"
            )
        names = _texts(field.validation_alias) if by_alias else set()
        read[name] = names | {name} if by_name or field.validation_alias is None else names
        written[name] = field.serialization_alias or name
    aliased = all(written[name] in read[name] for name in read)
    if not aliased and (strange := [name for name in read if name not in read[name]]):
        raise InvalidInput(
            f"the field {strange[0]!r} of {cls.__name__} is written by another name than it is read: give it one alias for both, "
            "or set populate_by_name=True"
        )
    options: dict[str, Any] = {"by_alias": aliased}
    if cls.model_computed_fields and config.get("extra") in {"forbid", "allow"}:
        options["exclude"] = set(cls.model_computed_fields)
    return options


def _texts(alias: Any) -> set[str]:
    """The names that a field is read by: of one alias, or a choice of several. A path into other fields is none."""
    if isinstance(alias, str):
        return {alias}
    return {choice for choice in getattr(alias, "choices", ()) if isinstance(choice, str)}
