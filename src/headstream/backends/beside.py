"""Work that blocks, done beside an event loop; also at the end of a process, where the pools of asyncio take none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Final, ParamSpec, TypeVar

from headstream.backends.workers import Workers

P = ParamSpec("P")
T = TypeVar("T")


class _Process:
    """What owns threads for as long as the process runs."""


_PROCESS: Final = _Process()
_workers: Final = Workers(_PROCESS, "headstream-beside")


def future_of(work: Callable[[], T], workers: Workers = _workers) -> Future[T]:
    """The result of ``work``, which a thread does. It is no task: an application that cancels all its tasks leaves it be."""
    future: Future[T] = Future()
    workers.start(partial(_settle, future, work))
    return future


async def beside(work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """What ``work`` returns or raises in a thread."""
    return await asyncio.wrap_future(future_of(partial(work, *args, **kwargs)))


async def settled(future: asyncio.Future[T]) -> T:
    """The result of a future, waited for even when the waiter is cancelled: then that comes through when it is there."""
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None:
        return future.result()
    if not future.cancelled():
        future.exception()  # so that asyncio does not complain that it was not looked at
    raise cancelled


def _settle(future: Future[T], work: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work()
    except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to who waits
        future.set_exception(error)
    else:
        future.set_result(result)
