"""Fresh ids and the time, for both drivers."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from headstream.chance import bits80
from headstream.protocol.ops import Stamped

_TAIL: Final = 2**62 - 1
"""The random bits at the end of a UUIDv7."""


def stamp(after: bytes | None = None) -> Stamped:
    """A new UUIDv7, above ``after`` if that is given, and the time that it was made at."""
    return stamped(time.time_ns(), bits80, after)


def stamped(nanos: int, bits: Callable[[], int], after: bytes | None) -> Stamped:
    """The same at a given time; ``bits`` gives 80 random bits."""
    made = uuid7(nanos, bits())
    if after is not None and made <= after:
        made = uuid7_above(after, bits())
    return Stamped(made, nanos // 1000)


def uuid7(nanos: int, chance: int) -> bytes:
    """A UUIDv7 (RFC 9562): 48 bits of milliseconds, then 74 of the 80 random bits in ``chance``."""
    value = (
        (nanos // 1_000_000 & 0xFFFFFFFFFFFF) << 80
        | 0x7 << 76
        | (chance >> 68 & 0xFFF) << 64
        | 0b10 << 62
        | (chance & 0x3FFFFFFFFFFFFFFF)
    )
    return value.to_bytes(16, "big")


def uuid7_above(after: bytes, chance: int) -> bytes:
    """A UUIDv7 above ``after``: with a larger random part (RFC 9562, method 2), or of the next millisecond if that is used up."""
    value = int.from_bytes(after, "big")
    tail = (value & _TAIL) + 1 + (chance & 0xFF_FFFF_FFFF_FFFF)
    if tail > _TAIL:
        return uuid7(((value >> 80) + 1) * 1_000_000, chance)
    return (value & ~_TAIL | tail).to_bytes(16, "big")
