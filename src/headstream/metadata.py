"""Typed events with metadata of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Generic, TypeAlias, TypeVar
from uuid import UUID

import msgspec

from headstream.errors import InvalidInput

C = TypeVar("C")
C_co = TypeVar("C_co", covariant=True)

_NO_METADATA: Final[Mapping[str, Any]] = {}


class WithMetadata(msgspec.Struct, Generic[C_co], frozen=True):
    """An instance of a registered class, with metadata and an id that are its event's alone. It stands wherever
    the instance can.

    ``event``: the instance. ``metadata``: a mapping, as of :class:`~headstream.Event`. ``id``: an id of the
    application's own.

    Raises :class:`~headstream.InvalidInput` for metadata that is no mapping.
    """

    event: C_co
    metadata: Mapping[str, Any] = _NO_METADATA
    id: str | UUID | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.metadata, Mapping):
            raise InvalidInput(f"an event's metadata is a mapping, not {type(self.metadata).__name__}")


Typed: TypeAlias = C | WithMetadata[C]
"""A typed event as it is handed over."""
