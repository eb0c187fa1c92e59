"""headstream: an event store that lives in a bucket.

Streams of events are linked lists of immutable changesets in object storage; one small head object per stream points at the newest, and it moves
only by a conditional write. ``connect`` opens a store; see ``docs/`` for everything else.
"""

import logging as _logging

from headstream.aio import AsyncEventStore
from headstream.client import EventStore
from headstream.connecting import connect, connect_async
from headstream.decider import Decider
from headstream.decisions import Decision, Loaded
from headstream.errors import (
    AccessDenied,
    CheckpointLost,
    CorruptData,
    HeadstreamError,
    InvalidInput,
    KeyReused,
    NotPublished,
    OutcomeUnknown,
    ProjectionStopped,
    RequestRejected,
    StoreNotFound,
    Unavailable,
    UnsuitableBackend,
    UnsupportedFormat,
    WrongExpectedVersion,
)
from headstream.events import Registry
from headstream.metadata import WithMetadata
from headstream.model import (
    ANY,
    EXISTS,
    NO_STREAM,
    Event,
    Expectation,
    Expected,
    FeedEvent,
    Head,
    RecordedEvent,
    Settings,
)
from headstream.protocol.checkpoint import Checkpoint
from headstream.readings import FeedReading, Reading
from headstream.readings_aio import AsyncFeedReading, AsyncReading
from headstream.states import Snapshots
from headstream.stats import Stats
from headstream.subscribing import Subscription
from headstream.subscribing_aio import AsyncSubscription

__all__ = [
    "ANY",
    "EXISTS",
    "NO_STREAM",
    "AccessDenied",
    "AsyncEventStore",
    "AsyncFeedReading",
    "AsyncReading",
    "AsyncSubscription",
    "Checkpoint",
    "CheckpointLost",
    "CorruptData",
    "Decider",
    "Decision",
    "Event",
    "EventStore",
    "Expectation",
    "Expected",
    "FeedEvent",
    "FeedReading",
    "Head",
    "HeadstreamError",
    "InvalidInput",
    "KeyReused",
    "Loaded",
    "NotPublished",
    "OutcomeUnknown",
    "ProjectionStopped",
    "Reading",
    "RecordedEvent",
    "Registry",
    "RequestRejected",
    "Settings",
    "Snapshots",
    "Stats",
    "StoreNotFound",
    "Subscription",
    "Unavailable",
    "UnsuitableBackend",
    "UnsupportedFormat",
    "WithMetadata",
    "WrongExpectedVersion",
    "connect",
    "connect_async",
]
__version__ = "0.1.0"

# Whoever wants to know configures logging; see docs/how-to/observe.md.
_logging.getLogger("headstream").addHandler(_logging.NullHandler())
