"""Threads that work side by side, each on one stream, and that nothing waits for after an interrupt."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from headstream.backends.workers import Workers, answer, result

T = TypeVar("T")
R = TypeVar("R")

_Answers = SimpleQueue[tuple[Any, BaseException | None]]


def side_by_side(
    work: Callable[[T], R], items: Iterable[T], jobs: int, name: str, *, in_order: bool = False
) -> Generator[R, None, None]:
    """The results of ``work``, in the order in which they come, or in that of ``items``. ``name``: of the threads.

    Not many more items are taken than are being worked on. What ``work`` raises comes through, and so does what is thrown
    into the generator; the others are then waited for, and no more are begun. After an interrupt they are not waited for:
    the storage may not answer.
    """
    if jobs == 1:
        yield from map(work, items)
        return
    shared: _Answers = SimpleQueue()
    waiting: deque[_Answers] = deque()
    crew = _Crew()
    workers = Workers(crew, name, jobs)
    try:
        for item in items:
            answers: _Answers = SimpleQueue() if in_order else shared
            workers.start(partial(answer, partial(crew.work, work, item), answers))
            waiting.append(answers)
            if len(waiting) >= 2 * jobs:
                yield result(waiting.popleft())
        while waiting:
            yield result(waiting.popleft())
    except Exception:
        crew.ended = True
        for answers in waiting:
            answers.get()
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
