"""headstream: an event store that lives in a bucket.

Streams of events are linked lists of immutable changesets in object storage; one small head object per stream points at the newest, and it moves
only by a conditional write. ``connect`` opens a store; see ``docs/`` for everything else.
"""

from headstream.aio import AsyncEventStore, AsyncReading
from headstream.client import EventStore, Reading
from headstream.connecting import connect, connect_async
from headstream.errors import (
    AccessDenied,
    CorruptData,
    HeadstreamError,
    InvalidInput,
    OutcomeUnknown,
    StoreNotFound,
    Unavailable,
    UnsuitableBackend,
    UnsupportedFormat,
    WrongExpectedVersion,
)
from headstream.model import ANY, EXISTS, NO_STREAM, Event, Expectation, Expected, Head, RecordedEvent, Settings

__all__ = [
    "ANY",
    "EXISTS",
    "NO_STREAM",
    "AccessDenied",
    "AsyncEventStore",
    "AsyncReading",
    "CorruptData",
    "Event",
    "EventStore",
    "Expectation",
    "Expected",
    "Head",
    "HeadstreamError",
    "InvalidInput",
    "OutcomeUnknown",
    "Reading",
    "RecordedEvent",
    "Settings",
    "StoreNotFound",
    "Unavailable",
    "UnsuitableBackend",
    "UnsupportedFormat",
    "WrongExpectedVersion",
    "connect",
    "connect_async",
]
__version__ = "0.1.0"
