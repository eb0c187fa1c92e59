"""What several test modules share."""

from __future__ import annotations

import re


def shown(value: object) -> str:
    """A parameter as part of a test's name: the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value) or "''")
