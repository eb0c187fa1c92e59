"""Limits so small that their edges are met all the time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from headstream import limits

TINY: Final[dict[str, tuple[int, ...]]] = {
    "FEED_WINDOW": (1, 2, 5, 1000),
    "FEED_BATCH_INTENTS": (1, 2, 5, 1000),
    "FEED_BATCH_EVENTS": (1, 3, 1000),
    "FEED_BATCH_BYTES": (1, 1000, 10**6),
    "FEED_AHEAD": (1, 1000, 10**6),
    "FEED_HEADS": (1, 2, 64),
    "SNAPSHOT_INLINE": (0, 60, 4096),
    "MAX_SNAPSHOTS": (1, 8),
    "CONFLICT_AGE": (0, 10**9),
    "TAIL_RAW": (1, 300, 10**6),
    "READ_WINDOW": (1, 500, 10**6),
    "READ_WINDOW_OBJECTS": (1, 2, 32),
    "APPEND_ATTEMPTS": (2, 6, 200),
    "FAULT_ATTEMPTS": (2, 4, 8),
    "ADVANCE_ATTEMPTS": (2, 50),
    "KNOCK": (1, 2, 16),
}
"""Limits that a seed makes small, so that their edges are met all the time."""


@contextmanager
def limited(values: Mapping[str, int]) -> Iterator[None]:
    """Limits with these values inside. They are those of the whole process: one simulation at a time."""
    before = {name: getattr(limits, name) for name in values}
    try:
        for name, value in values.items():
            setattr(limits, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(limits, name, value)
