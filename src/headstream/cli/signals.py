"""What Ctrl-C and SIGTERM do to a command.

Both raise, so that what is under way is told, and what was made for a moment is removed. The interpreter does that only when the call at hand
returns, and a request that hangs does not. So a thread looks at the signals, too: after a while, or at the second signal, it ends the process.
"""

from __future__ import annotations

import os
import select
import signal
from threading import Thread
from types import FrameType
from typing import Final

from headstream.cli.failures import ExitCode, Terminated, say

PATIENCE: Final = 5.0
"""Seconds that a command has for ending by itself."""
_CODES: Final = {signal.SIGINT: ExitCode.INTERRUPTED, signal.SIGTERM: ExitCode.TERMINATED}


def heed() -> None:
    """Have signals end this process, from now on."""
    signal.signal(signal.SIGTERM, _terminate)
    if os.name == "nt":  # signals wake sockets only
        return
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    Thread(target=_watch, args=(reading,), name="headstream-signals", daemon=True).start()


def _terminate(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def _watch(pipe: int) -> None:
    """Wait for a signal that ends the process, then for the end, or for a second one."""
    number = 0
    while number not in _CODES:
        number = os.read(pipe, 1)[0]
    ready, _, _ = select.select([pipe], [], [], PATIENCE)
    if not ready:
        say("stopped while a request was under way: whether it was carried out is not known")
    os._exit(_CODES[signal.Signals(number)])
