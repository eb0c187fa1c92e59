"""The command ``headstream-sim``: runs histories, in several processes if asked to, and tells the story of one that failed."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import msgspec

from headstream.testing.simulator.explore import CASES, Broken, explore
from headstream.testing.simulator.judge import judge
from headstream.testing.simulator.story import story
from headstream.testing.simulator.world import World

_SHARE: Final = 250
"""Histories that a process is given at once."""
_SEARCH: Final = 300
"""Further histories that are searched for a shorter story of the same broken promise."""


class Failure(msgspec.Struct, frozen=True):
    """A history that broke a promise."""

    seed: int
    promise: str
    length: int
    """Lines of its story."""


class Outcome(msgspec.Struct, frozen=True):
    """What some histories came to."""

    histories: int = 0
    requests: int = 0
    outcomes: Counter[str] = Counter()
    """Appends, by what became of them."""
    failures: tuple[Failure, ...] = ()

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.histories + other.histories,
            self.requests + other.requests,
            self.outcomes + other.outcomes,
            self.failures + other.failures,
        )


def simulate(seeds: Iterable[int]) -> Outcome:
    """Run and judge a history for each seed."""
    histories = requests = 0
    outcomes: Counter[str] = Counter()
    failures: list[Failure] = []
    for seed in seeds:
        world = World(seed)
        problem = attempt(world)
        if problem is not None:
            failures.append(Failure(seed, problem, len(world.trace)))
        histories += 1
        requests += world.steps
        outcomes.update([deed.outcome for deed in world.deeds])
    return Outcome(histories, requests, outcomes, tuple(failures))


def attempt(world: World) -> str | None:
    """Run and judge one history; the promise that it broke, or the error that escaped: both are defects."""
    try:
        world.run()
        judge(world)
    except Exception as error:  # noqa: BLE001 - whatever escapes from the core is a finding
        return str(error) if isinstance(error, AssertionError) else f"seed {world.seed}: {error!r} escaped"
    return None


def _shares(first: int, histories: int) -> Iterator[range]:
    for start in range(first, first + histories, _SHARE):
        yield range(start, min(start + _SHARE, first + histories))


def _run(first: int, histories: int, jobs: int) -> Iterator[Outcome]:
    if jobs == 1:
        yield from map(simulate, _shares(first, histories))
    else:
        with ProcessPoolExecutor(jobs) as pool:
            yield from pool.map(simulate, _shares(first, histories))


def _tell(failure: Failure, *, lines: int | None) -> None:
    """The story of a failure on stderr; its last ``lines``, or all of it."""
    world = World(failure.seed)
    attempt(world)
    told = list(story(world))
    shown = told if lines is None or len(told) <= lines else [*told[:3], "  …", *told[-lines:]]
    print("\n".join(shown), file=sys.stderr)
    print(f"broken: {failure.promise}", file=sys.stderr)


def _explore(name: str) -> int:
    for case in CASES:
        if name in {"", case.name}:
            began = time.monotonic()
            try:
                explored = explore(case)
            except Broken as broken:
                print(broken, file=sys.stderr)
                return 1
            print(
                f"{case.name}: every promise held in {explored.schedules:,} schedules ({explored.states:,} states, "
                f"{explored.ends:,} ends, {time.monotonic() - began:.0f} s)",
                flush=True,
            )
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command: prints what it ran, or the story of a broken promise, the shortest of those that were met."""
    parser = argparse.ArgumentParser(prog="headstream-sim", description="Run headstream through hostile histories.")
    parser.add_argument("--seed", type=int, default=1, help="the first seed (default: 1)")
    parser.add_argument("--histories", type=int, default=1000, help="how many seeds from there (default: 1000)")
    parser.add_argument(
        "--jobs", type=int, default=1, help="processes (default: 1; 0: as many as there are processors)"
    )
    parser.add_argument("--trace", action="store_true", help="print the whole story of the first seed")
    parser.add_argument(
        "--explore",
        nargs="?",
        const="",
        metavar="CASE",
        help="instead, try every schedule of the small cases; or of the one with this name",
    )
    chosen = parser.parse_args(arguments)
    if chosen.explore is not None:
        return _explore(chosen.explore)
    if chosen.trace:
        world = World(chosen.seed)
        problem = attempt(world)
        print("\n".join(story(world)))
        return 0 if problem is None else 1
    began = time.monotonic()
    total = Outcome()
    for outcome in _run(chosen.seed, chosen.histories, chosen.jobs or os.cpu_count() or 1):
        total += outcome
        if total.failures:
            further = simulate(range(chosen.seed + total.histories, chosen.seed + total.histories + _SEARCH))
            _tell(min(total.failures + further.failures, key=lambda failure: failure.length), lines=None)
            return 1
    seconds = time.monotonic() - began
    appends = ", ".join(f"{count:,} {name}" for name, count in sorted(total.outcomes.items()))
    print(
        f"{total.histories:,} histories from seed {chosen.seed}: every promise held; {total.requests:,} requests, "
        f"appends {appends}; {seconds:.0f} s, {total.histories / max(seconds, 0.001):,.0f} histories a second"
    )
    return 0
