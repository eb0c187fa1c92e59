"""The feed: replay and size, advance, latency, and its price for those who append.

``python -m benchmarks.feed [repetitions] [events to replay]``; a million is worth the wait on a quiet machine. Each part can be run alone:
``benchmarks.replay``, ``.advance``, ``.latency`` and ``.price``.
"""

from __future__ import annotations

import sys

from benchmarks import advance, latency, price, replay
from benchmarks.table import Measured


def main(repetitions: int, events: int) -> list[Measured]:
    """Measure and print, one part after the other."""
    measured = replay.main(repetitions, events)
    advance.main(repetitions, advance.EVENTS)
    latency.main(repetitions, latency.EVENTS)
    price.main(repetitions, price.APPENDS)
    return measured


if __name__ == "__main__":
    main(
        int(sys.argv[1]) if len(sys.argv) > 1 else 3,
        int(sys.argv[2]) if len(sys.argv) > 2 else replay.EVENTS,
    )
