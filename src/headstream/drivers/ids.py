"""Fresh ids and the time, for both drivers."""

from __future__ import annotations

import time

from headstream.chance import bits80
from headstream.protocol.ops import Stamped


def stamp() -> Stamped:
    """A new UUIDv7 and the time that it was made at."""
    nanos = time.time_ns()
    return Stamped(uuid7(nanos, bits80()), nanos // 1000)


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
