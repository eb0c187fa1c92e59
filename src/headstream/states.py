"""States that are kept: when a decider keeps one, and how it becomes bytes. No I/O.

Rules:

1. A kept state is derived: it saves a load, and decides nothing. One that cannot be read is folded anew.
2. What is kept can be read again: a state is decoded and compared before it is written
   (:mod:`headstream.fidelity`). One that comes back as another value, or cannot be compared, is not kept. It
   costs no append: the events are appended without it.
3. A state is of a type. What that was made of is kept with it, as a fingerprint, so that a state is not taken
   for one of a type that got, lost or changed a field and has the same name and version. Functions of the
   application's own say nothing of a type, so there the version alone counts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any, Final, Generic, TypeVar

import msgspec

from headstream import limits, shapes
from headstream.errors import InvalidInput
from headstream.fidelity import described, difference
from headstream.protocol import encoding

S = TypeVar("S")

_MARKED: Final = b"\0"
"""Begins a state with a fingerprint. No JSON begins so: a program that knows of none folds the events."""


class Snapshots(Generic[S]):
    """When a decider keeps the state of a stream beside its events, so that a load folds only what came after it.

    ``state``: the type of the states, as msgspec or pydantic can decode it from JSON: a dataclass, a Struct, a model, ``dict[str, int]``, ``int`` …

    ``every``: after how many events since the last one a state is kept: with the append that reaches them. ``every_bytes``: or after how many bytes of their
    data, whichever is first.

    ``encode`` and ``decode``: for states of any other kind: a state as bytes, and back. Then ``state`` is not needed.

    A state that would come back as another value is not kept, and neither is one that was kept for another
    ``state`` type used. A state takes up to 16 MiB encoded. Up to 4 KiB of them travel in the head of the
    stream, larger ones are objects of their own.

    Raises :class:`~headstream.InvalidInput`.
    """

    def __init__(
        self,
        state: Any = None,
        *,
        every: int = limits.SNAPSHOT_EVERY,
        every_bytes: int | None = None,
        encode: Callable[[S], bytes] | None = None,
        decode: Callable[[bytes], S] | None = None,
    ) -> None:
        _check_count("every", every)
        if every_bytes is not None:
            _check_count("every_bytes", every_bytes)
        if (encode is None) != (decode is None):
            raise InvalidInput("encode and decode go together: what one makes, the other must read")
        if (state is None) == (encode is None):
            raise InvalidInput("give the type of the states, or encode and decode for them")
        self.every = every
        self.every_bytes = every_bytes
        self._state = state
        self._encode = encoding.encode_json if encode is None else encode
        self._decode = _decoder(state) if decode is None else decode

    def is_due(self, events: int, size: int) -> bool:
        """Whether to keep a state, ``events`` with ``size`` bytes of data after the last one."""
        return events >= self.every or (self.every_bytes is not None and size >= self.every_bytes)

    def encode(self, state: S) -> bytes:
        """A state as bytes. Raises :class:`~headstream.InvalidInput` for one that would not come back as it is."""
        kind = type(state)
        try:
            data = self._encode(state)
            again = self._decode(data)
            found = difference(state, again)
        except (
            Exception
        ) as error:  # what it says may be long, and hold a part of the state: it is the cause, and not in the message
            raise InvalidInput(
                f"the state cannot be kept: {kind.__name__} cannot be encoded, decoded and compared: see the cause ({type(error).__name__})"
            ) from error
        if not isinstance(data, bytes):
            raise InvalidInput(f"encode returns bytes, not {type(data).__name__}")
        if found is not None:
            raise InvalidInput(
                f"the state cannot be kept: {kind.__name__} comes back {described(found)}: give its exact type, or encode and decode"
            )
        return self._mark + data

    def decode(self, data: bytes) -> S:
        """The state of some bytes. Raises what the decoder raises; :class:`~headstream.InvalidInput` for another type."""
        if self._mark:
            if not data.startswith(self._mark):
                raise InvalidInput("it is of another type of states")
            data = data[len(self._mark) :]
        return self._decode(data)

    @cached_property
    def _mark(self) -> bytes:
        """What a state of this type begins with."""
        if self._state is None:
            return b""
        try:
            return _MARKED + shapes.fingerprint(self._state)
        except Exception:  # noqa: BLE001 - it can be decoded, and not described: then the version alone counts
            return b""

    def __repr__(self) -> str:
        size = "" if self.every_bytes is None else f", every_bytes={self.every_bytes}"
        state = "" if self._state is None else f"{getattr(self._state, '__name__', self._state)}, "
        return f"Snapshots({state}every={self.every}{size})"


def _decoder(state: Any) -> Callable[[bytes], Any]:
    parse = getattr(state, "model_validate_json", None)
    if callable(parse):
        return parse  # type: ignore[no-any-return]  # pydantic is no dependency
    try:
        return msgspec.json.Decoder(state).decode
    except (TypeError, NameError) as error:
        raise InvalidInput(f"no state can be decoded as {state!r}: {error}: give encode and decode") from error


def _check_count(what: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidInput(f"{what} is a whole number of at least 1, not {value!r}")
