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
MAX_NESTING: Final = 200
"""Lists and mappings within each other, in an event's data or metadata: any Python decodes these, also deep in its stack."""
HOSTILE_NESTING: Final = 1000
"""The same in what is stored: deeper than any version could write it, so it is damage."""
MAX_DIGITS: Final = 640
"""Of a whole number in JSON: the least that ``sys.set_int_max_str_digits`` can be set to, so every Python reads it."""
MAX_MICROS: Final = 10**16 - 1
"""The latest time that is stored, in microseconds since 1970: in November 2286."""
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

OBJECT_NESTING: Final = 16
"""Arrays and maps of MessagePack within each other in an object: more than any has."""

# --- how long the protocols try ----------------------------------------------------------------------------------
APPEND_ATTEMPTS: Final = 500
"""Commits that one append may try before it gives up on a stream that others win again and again."""
CONFLICT_AGE: Final = 1.0
"""Seconds: how long ago a head may have been seen that reports a conflict without a request."""
FAULT_ATTEMPTS: Final = 8
"""Faults (time-outs, 5xx, throttling) on the commits of one append before it gives up: about five seconds of pauses."""
RACE_PAUSE: Final = (0.002, 0.5)
"""Seconds: the longest pause after a lost race, of which a random part is waited; where requests go over a network, one round trip instead. It does not grow:
of four processes on one stream in SQLite three made 1 append each in 5 s and one 2,051 when it did; now 507 to 749. For a checkpoint, which has
one owner, it doubles up to the second number, which is also the longest that a round trip is taken for."""
FAULT_PAUSE: Final = (0.05, 2.0)
"""The same after a fault."""
CLOUD_TIMEOUT: Final = 120.0
"""Seconds that one call of a store in a cloud may take, if the caller does not say."""
LOCAL_TIMEOUT: Final = 60.0
"""The same for a file, a folder or memory."""
MAX_TIMEOUT: Final = 86_400
"""The longest that a caller may give."""
TRYING: Final = 0.5
"""The part of the time of a call after which nothing is tried again: the rest is for what was begun before."""
REQUEST_PART: Final = 0.25
"""The part that one request may take: a commit has two, one after the other. On this machine, the part for which a write waits for the lock among processes, and
then for other programs that have a SQLite database locked."""
RETRY_PART: Final = 0.2
"""The part after which the client of a cloud repeats a read, list or delete no more."""
BACKOFF_PART: Final = 0.04
"""The part that its longest pause before a repetition takes. These three make less than half."""

WINS: Final = 16
"""Appends that one client makes to a stream, one after the other, before it gives way, if others write the stream too. In simulated minutes with 2 and 4
clients 8 cost 6 to 9 % of all appends, 16 cost 3 to 4 %; with 32 one of four got less than half of what another got."""
TRIPS: Final = 2.0
"""Round trips for which it does: a loser commits two after its read, so one whose read falls into that time wins."""
SIGNS: Final = 80
"""Appends after which a client that has met no other takes itself to be alone: it has given way four times in vain."""
KNOCK: Final = 16
"""Races lost by one append, one after the other, before it raises the fence of the head: about four turns of another client."""
RIVALS: Final = 1000
"""Streams of which a client remembers that others write them too."""

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

# --- files of this machine ---------------------------------------------------------------------------------------
BUSY_SECONDS: Final = 5.0
"""How long at most a request waits for a program other than headstream that has a SQLite database locked."""
FORK_SECONDS: Final = 10.0
"""How long a fork waits for other threads to finish what they do in a SQLite file, which is closed while the process forks."""
DISK_RESERVE: Final = MIB
"""Free space without which a SQLite file is not written, nor opened: SQLite shares memory with other processes by a file, and a
process that touches a part of it for which the disk has no room is killed by the system."""
SHARED_MEMORY: Final = 256 * KIB
"""Of that file, what gets its room when the store is opened: enough for a log of 128 MiB."""
RENEWALS: Final = 4
"""How often one call opens a SQLite file again whose log was removed by another process."""

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
