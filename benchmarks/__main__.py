"""All benchmarks, tables, pictures and a summary: ``python -m benchmarks [repetitions]``; ``--quick`` only shows that they run."""

from __future__ import annotations

import argparse

from benchmarks import aims, append, cloud, contention, core, feed, long, plots, read, replay
from benchmarks.table import Measured


def measure(repetitions: int, *, quick: bool) -> list[Measured]:
    """One part after the other."""
    if quick:
        return [
            *append.main(1),
            *read.main(1),
            *contention.main(1, 5),
            *replay.main(1, 10_000),
            *long.main(3, 20_000),
            *cloud.main(1, 10, 50),
        ]
    core.main(3000)
    return [
        *append.main(repetitions),
        *read.main(repetitions),
        *contention.main(repetitions, contention.COMMITS),
        *feed.main(repetitions, replay.EVENTS),
        *long.main(long.ROUNDS, long.EVENTS),
        *cloud.main(repetitions, cloud.APPENDS, cloud.CHANGESETS),
    ]


def main() -> None:
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="All benchmarks.")
    parser.add_argument("repetitions", nargs="?", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="small sizes, once: the figures mean nothing")
    arguments = parser.parse_args()
    measured = measure(arguments.repetitions, quick=arguments.quick)
    aims.show(measured)
    plots.draw(measured)


if __name__ == "__main__":
    main()
