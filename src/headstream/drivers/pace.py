"""How long a round trip to the storage takes, as a client has measured it, and so how long it waits for others.

The core counts in round trips, since it has no clock. Only the driver knows what they are worth.
"""

from __future__ import annotations

import random
from typing import Final

from headstream import limits
from headstream.protocol.ops import GiveWay, Pause

_WEIGHT: Final = 1 / 8
"""Of the newest measurement: a slow answer or two change little, and after twenty the old state is forgotten."""


class Pace:
    """One client's measure of a round trip. A storage on the same machine has none: its locks serve clients in turn."""

    def __init__(self, *, remote: bool) -> None:
        #: Whether commits are worth measuring.
        self.remote = remote
        #: Seconds of a round trip; 0 while none was measured.
        self.trip = 0.0

    def committed(self, seconds: float, *, prelude: bool) -> None:
        """A commit was answered: it took one round trip, or two if a prelude came before the head."""
        trip = min(seconds / (2 if prelude else 1), limits.RACE_PAUSE[1])
        self.trip = trip if self.trip == 0 else self.trip + (trip - self.trip) * _WEIGHT

    def longest(self, pause: Pause) -> float:
        """Seconds that a pause may last."""
        return pause.trips * self.trip if pause.trips and self.trip else pause.at_most

    def pause(self, pause: Pause) -> float:
        """Seconds that a pause lasts: a random part of what it may."""
        return random.uniform(0, self.longest(pause))  # noqa: S311 - jitter, no secret

    def give_way(self, way: GiveWay) -> float:
        """Seconds for which others may go first."""
        return way.trips * self.trip
