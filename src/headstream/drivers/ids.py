"""Fresh ids and the time, for both drivers.

Rules:

* A clock that shows a time which is not stored (before 1970, after ``MAX_MICROS``) is refused here, before anything is sent: what is
  stamped is what every decoder takes.
* An id is never below the one that it must follow. If there is none above it, that is said.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from headstream import limits
from headstream.chance import bits80
from headstream.errors import InvalidInput
from headstream.protocol.ops import Stamped

_TAIL: Final = 2**62 - 1
"""The random bits at the end of a UUIDv7."""
_MAX_MILLIS: Final = 2**48 - 1


def stamp(after: bytes | None = None) -> Stamped:
    """A new UUIDv7, above ``after`` if that is given, and the time that it was made at."""
    return stamped(time.time_ns(), bits80, after)


def stamped(nanos: int, bits: Callable[[], int], after: bytes | None) -> Stamped:
    """The same at a given time; ``bits`` gives 80 random bits.

    Raises :class:`~headstream.InvalidInput` for a time that cannot be stored, and when there is no id above ``after``.
    """
    if not 0 <= nanos // 1000 <= limits.MAX_MICROS:
        seconds = nanos // 1_000_000_000
        raise InvalidInput(
            f"this machine's clock shows a time before 1970 or after 2286 ({seconds} seconds after 1970 began): "
            "set the clock, then try again; nothing was written"
        )
    made = uuid7(nanos, bits())
    if after is not None and made <= after:
        made = uuid7_above(after, bits())
    return Stamped(made, nanos // 1000)


def uuid7(nanos: int, chance: int) -> bytes:
    """A UUIDv7 (RFC 9562): 48 bits of milliseconds, then 74 of the 80 random bits in ``chance``. ``nanos``: 0 to 2^48 milliseconds."""
    millis = nanos // 1_000_000
    assert 0 <= millis <= _MAX_MILLIS, "the clock was checked"
    value = millis << 80 | 0x7 << 76 | (chance >> 68 & 0xFFF) << 64 | 0b10 << 62 | (chance & 0x3FFFFFFFFFFFFFFF)
    return value.to_bytes(16, "big")


def uuid7_above(after: bytes, chance: int) -> bytes:
    """A UUIDv7 above ``after``: with a larger random part (RFC 9562, method 2), or of the next millisecond if that is used up."""
    value = int.from_bytes(after, "big")
    tail = (value & _TAIL) + 1 + (chance & 0xFF_FFFF_FFFF_FFFF)
    if tail > _TAIL:
        millis = (value >> 80) + 1
        if millis > _MAX_MILLIS:
            raise InvalidInput(
                "the newest changeset of the stream has the last id that there can be, since a clock was far ahead: "
                "append to another stream; nothing was written"
            )
        return uuid7(millis * 1_000_000, chance)
    return (value & ~_TAIL | tail).to_bytes(16, "big")
