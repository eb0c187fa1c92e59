"""Random bytes of the operating system, drawn in bulk.

``os.urandom`` is a system call, and lets another thread run: with many threads that costs more than all else of an append.
So ten bytes at a time are taken from a supply. A forked child throws the supply away, since its parent has the same.
"""

from __future__ import annotations

import os
from collections import deque
from typing import Final

_SIZE: Final = 10
_DRAWN: Final = 256
_supply: Final[deque[int]] = deque()


def bits80() -> int:
    """80 random bits. Safe to use from several threads, and after a fork."""
    try:
        return _supply.pop()
    except IndexError:
        drawn = os.urandom(_SIZE * _DRAWN)
        numbers = [int.from_bytes(drawn[start : start + _SIZE], "big") for start in range(0, len(drawn), _SIZE)]
        mine = numbers.pop()
        _supply.extend(numbers)
        return mine


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_supply.clear)
