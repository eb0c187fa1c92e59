"""Threads that work side by side, each on one stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from headstream.backends.workers import Workers, answer, result

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(work: Callable[[T], R], items: Iterable[T], jobs: int) -> Iterator[R]:
    """The results of ``work``, in the order in which they come. Not many more items are taken than are being worked on.

    What ``work`` raises comes through; the others are then waited for, and no more are begun. After an interrupt they are
    not waited for: the storage may not answer.
    """
    if jobs == 1:
        yield from map(work, items)
        return
    results: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
    crew = _Crew()
    workers = Workers(crew, "headstream-verify", jobs)
    running = 0
    try:
        for item in items:
            workers.start(partial(answer, partial(crew.work, work, item), results))
            running += 1
            if running >= 2 * jobs:
                running -= 1
                yield result(results)
        while running:
            running -= 1
            yield result(results)
    except Exception:
        crew.ended = True
        for _ in range(running):
            results.get()
        raise
    finally:
        crew.ended = True
        workers.close()


class _Crew:
    """What the threads of one call have in common."""

    ended = False

    def work(self, work: Callable[[T], R], item: T) -> R | None:
        """Do it, unless nobody wants it any more."""
        return None if self.ended else work(item)
