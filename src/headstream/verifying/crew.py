"""Threads that work side by side, each on one stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(work: Callable[[T], R], items: Iterable[T], jobs: int) -> Iterator[R]:
    """The results of ``work``, in the order in which they come. Not many more items are taken than are being worked on.

    What ``work`` raises comes through; the others are then waited for, and no more are begun.
    """
    if jobs == 1:
        yield from map(work, items)
        return
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="headstream-verify")
    running: set[Future[R]] = set()
    try:
        for item in items:
            running.add(pool.submit(work, item))
            if len(running) >= 2 * jobs:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from [future.result() for future in done]
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from [future.result() for future in done]
    finally:
        pool.shutdown(cancel_futures=True)
