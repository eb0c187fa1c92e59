"""How long one call may go on trying: the bound of ``connect(timeout=…)``, kept by both drivers.

Between two tries the core asks for a pause. When the time for trying is over, the driver throws :class:`Unavailable` in there, with the reason of the
last fault: the core makes :class:`OutcomeUnknown` of it if an attempt is open, as of every error. A call that needs no pause is not interrupted; it ends by
itself, since each of its requests has a bound.
"""

from __future__ import annotations

import time

from headstream import limits
from headstream.errors import Unavailable
from headstream.protocol.ops import Fault, unavailable


class Patience:
    """Of one call that may take so many ``seconds``, beginning now."""

    __slots__ = ("_ends", "_last", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends = time.monotonic() + limits.TRYING * seconds
        self._last: Fault | None = None

    def failed(self, error: Exception) -> None:
        """A request failed."""
        if isinstance(error, Fault):
            self._last = error

    def check(self) -> None:
        """Before a pause: raises :class:`Unavailable` if there is no time for another try."""
        if time.monotonic() >= self._ends:
            raise self._over() from self._last

    def _over(self) -> Unavailable:
        return unavailable(
            "the time for this call is over; nothing was written: try again later, or connect with a longer timeout",
            self._last,
            timeout=self._seconds,
        )
