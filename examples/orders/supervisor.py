"""Keeps a worker running beside an API: it begins again after an error, and ends in time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

log: Final = logging.getLogger(__name__)


async def supervise(
    name: str, work: Callable[[], Awaitable[object]], *, shortest: float = 1.0, longest: float = 60.0
) -> None:
    """Call ``work`` until it returns. After an error it is called again: the pause doubles, and is short again after a long run (seconds)."""
    pause = shortest
    while True:
        began = time.monotonic()
        try:
            await work()
        except Exception:
            if time.monotonic() - began > longest:
                pause = shortest
            log.exception("%s has failed: it begins again in %g seconds", name, pause)
        else:
            return
        await asyncio.sleep(pause)
        pause = min(2 * pause, longest)


@asynccontextmanager
async def supervised(
    name: str, work: Callable[[], Awaitable[object]], *, patience: float = 10.0
) -> AsyncIterator[None]:
    """Supervise ``work`` while the block runs, then cancel it; what does not end within ``patience`` seconds is left."""
    task = asyncio.create_task(supervise(name, work))
    try:
        yield
    finally:
        task.cancel()
        _, running = await asyncio.wait([task], timeout=patience)
        if running:
            log.error("%s has not ended within %g seconds", name, patience)
