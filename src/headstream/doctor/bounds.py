"""How much an examination does, at most."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headstream import limits
from headstream.errors import InvalidInput

LEAST_ROUNDS: Final = 3
"""Rounds of a race or a comparison, however slow the storage is."""

RANGES: Final = {
    "connections": (2, 32),
    "rounds": (LEAST_ROUNDS, 10_000),
    "keys": (20, 4_000),
    "samples": (5, 1_000),
    "body_bytes": (1, limits.MAX_OBJECT),
    "seconds": (5, 3_600),
}
"""The least and the most that each of the bounds may be."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """How much an examination does. On slow storage it does less, so that every check has its share of the time.

    Raises :class:`InvalidInput` for a number out of its range.
    """

    connections: int = 6
    """Clients, each with connections of its own, that race each other: 2 to 32."""
    rounds: int = 24
    """Of each race, 3 to 10,000. The more, the rarer the race that is found; storage that ignores conditions shows it in the first."""
    keys: int = 1_050
    """Of the list that is read in pages, 20 to 4,000. The default is more than S3 and GCS put in one page."""
    samples: int = 30
    """Of each latency, 5 to 1,000."""
    body_bytes: int = 5 * limits.MIB
    """Of the large object, 1 to :data:`headstream.limits.MAX_OBJECT`."""
    seconds: int = 120
    """For all checks, 5 to 3,600. A request in flight is waited for, and what was written is removed after that."""

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            value: Any = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise InvalidInput(f"{name} is a whole number from {least:,} to {most:,}", **{name: value})

    @property
    def comparisons(self) -> int:
        """Rounds of the checks that compare what all connections see: a third of those of a race."""
        return max(LEAST_ROUNDS, self.rounds // 3)
