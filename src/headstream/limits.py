"""Every bound of headstream, in one place. Sizes are bytes unless a name says otherwise.

A store's own settings (:class:`headstream.Settings`) are chosen when it is created; the numbers here hold for all stores.
"""

from __future__ import annotations

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

# --- what an application may hand in ----------------------------------------------------------------------------
MAX_STREAM_NAME: Final = 256
"""Of a stream's name in UTF-8: escaped (three bytes for one at most), with folder and id, it fits S3's 1,024-byte keys."""
MAX_TYPE: Final = 256
MAX_EVENT_ID: Final = 256
MAX_IDEMPOTENCY_KEY: Final = 256
MAX_EVENTS: Final = 10_000
"""Events in one append."""
MAX_CHANGESET: Final = 16 * MIB
"""One append, encoded: data, metadata and all. Memory for a read is bounded by a small multiple of it."""
MAX_CHECKPOINT_NAME: Final = 256
MAX_POLL: Final = 3600.0
"""Seconds between two polls of a subscription."""
MAX_VERSION: Final = 10**16 - 1
"""Keys carry versions with 16 digits, so that their order is the order of versions."""

# --- a store's settings -----------------------------------------------------------------------------------------
MAX_TAIL: Final = 1 * MIB
"""The tail travels with every append; beyond this, sealing is cheaper on every backend that was measured."""
MIN_FAN_OUT: Final = 2
MAX_FAN_OUT: Final = 1024
MAX_LEVELS: Final = 60
"""Index levels: with the smallest fan-out, more segments than versions can number."""
MAX_ADVANCE_EVERY: Final = 1_000_000
MAX_GRACE: Final = 86_400
"""Seconds."""
MAX_PREFIX: Final = 150
"""The path of a store inside its bucket."""

# --- the tail of a head ------------------------------------------------------------------------------------------
TAIL_RAW: Final = 512
"""Of changesets that are stored as they are, in any tail: what is more is compressed."""
TAIL_RATIO: Final = 4
"""Changesets are stored as they are while they have less than one part in so many of what is compressed."""

# --- what one stored object may be -------------------------------------------------------------------------------
MAX_SEGMENT: Final = MAX_CHANGESET + MAX_TAIL + 4 * MIB
"""Frames of a segment, uncompressed: a full tail, the largest changeset, and what the feed says of each of its events."""
MAX_OBJECT: Final = MAX_SEGMENT + 1 * MIB
MAX_FIELDS: Final = 1 * MIB
"""Of an object's fields: in a head, a compressed tail takes two thirds of it at most, and an index as large as it can be a quarter."""

# --- how long the protocols try ----------------------------------------------------------------------------------
APPEND_ATTEMPTS: Final = 200
"""Commits that one append may try before it gives up on a stream that others win again and again."""
CONFLICT_AGE: Final = 1.0
"""Seconds: how long ago a head may have been seen that reports a conflict without a request."""
FAULT_ATTEMPTS: Final = 8
"""Faults (time-outs, 5xx, throttling) on the commits of one append before it gives up: about five seconds of pauses."""
RACE_PAUSE: Final = (0.002, 0.5)
"""Seconds: the longest first pause after a lost race, and the longest of all. Each doubles; a random part is waited."""
FAULT_PAUSE: Final = (0.05, 2.0)
"""The same after a fault."""

PUBLISH_ATTEMPTS: Final = 10
"""Advances after which ``append(publish=True)`` gives up to see its events in the feed."""
ADVANCE_ATTEMPTS: Final = 50
"""Batches that one advance may lose to others, one after the other, before it leaves the rest to them."""

# --- the feed ----------------------------------------------------------------------------------------------------
FEED_TAIL: Final = 4
"""The tail of the feed's head, in tails of other streams: it is read by followers, and sealed into what a replay fetches."""
SAVE_EVERY: Final = 1.0
"""Seconds: how often a subscription saves its checkpoint, at most."""
STANDBY: Final = 30.0
"""Seconds without a sign of life after which a standby takes a checkpoint or a projection over, if the caller does not say."""
MIN_STANDBY: Final = 0.1
MAX_STANDBY: Final = 86_400.0
SIGNS_OF_LIFE: Final = 3
"""Signs of life that an owner gives in the time after which a standby takes over: so that one may be late, or lost."""
FEED_WINDOW: Final = 10_000
"""Intents that an advance holds in memory at once; more only while all of them are waiting for their appends."""
FEED_BATCH_INTENTS: Final = 1000
"""Intents that one batch of the feed settles: they are listed in the feed's head, 18 bytes each."""
FEED_BATCH_EVENTS: Final = 10_000
FEED_BATCH_BYTES: Final = MIB
"""Of one batch of the feed, about. The first changeset of a batch may be larger."""
FEED_AHEAD: Final = 8 * MIB
"""Of changesets that an advance found on its way and keeps for later batches, about."""
FEED_HEADS: Final = 64
"""Heads that an advance gets at once."""

# --- how much is in flight ---------------------------------------------------------------------------------------
READ_WINDOW: Final = 8 * MIB
"""Uncompressed bytes of segments fetched at once by one read (always at least one segment)."""
READ_WINDOW_OBJECTS: Final = 32
LIST_PAGE: Final = 1000
"""Keys in one page of a list: what S3 and GCS return at most."""
HEAD_CACHE: Final = 8 * MIB
"""Default size of a client's cache of heads."""
OBJECT_CACHE: Final = 1024 * MIB
"""Default size of a client's cache of immutable objects in a folder, on disk."""
THREADS: Final = 16
"""Threads in which an ``AsyncEventStore`` runs a backend that blocks."""

# --- snapshots ---------------------------------------------------------------------------------------------------
MAX_SNAPSHOT: Final = MAX_CHANGESET
"""One state, encoded. A larger one is not kept."""
SNAPSHOT_INLINE: Final = 4 * KIB
"""Of all states that travel in one head: with every append. What is more goes into an object of its own."""
MAX_SNAPSHOTS: Final = 8
"""Deciders that may keep a state of one stream; the oldest state gives way."""
SNAPSHOT_EVERY: Final = 100
"""Events after which a decider keeps its next state, if it does not say."""

# --- deciders ----------------------------------------------------------------------------------------------------
MAX_DECIDER_NAME: Final = 256
TRANSACT_ATTEMPTS: Final = 100
"""Decisions that one ``transact`` makes, if the caller does not say, before it leaves the stream to those who win it."""
TRANSACT_REPEATS: Final = 3
"""Repeats of an append of unknown outcome, with its key, in one ``transact``: each tries for about five seconds itself."""
